//! Layers look down only.

use super::Violation;
use crate::workspace::Package;

pub(super) const RULE: &str = "layers-look-down";

/// The rooms, bottom up; those of one line stand beside each other and do not use one another.
const LAYERS: [&[&str]; 15] = [
    &["units"],
    &["sync"],
    &["memmap"],
    &["policy", "zone", "charge", "paging"],
    &["page_alloc"],
    &["vmemmap"],
    &["hugetlb"],
    &["filemap"],
    &["hugetlbfs", "gmem"],
    &["mm"],
    &["hugefolio"],
    &["lab"],
    &["linux"],
    &["cli", "bench"],
    &["xtask"],
];

fn layer(room: &str) -> Option<usize> {
    LAYERS.iter().position(|rooms| rooms.contains(&room))
}

pub(super) fn check(packages: &[Package]) -> Vec<Violation> {
    let mut found = Vec::new();
    for package in packages {
        let mut say = |message| {
            found.push(Violation { path: format!("package {}", package.room), line: None, rule: RULE, message });
        };
        let Some(own) = layer(&package.room) else {
            say("is not in the layer table: give it its place in xtask/src/tidy/layers.rs and in ARCHITECTURE.md"
                .into());
            continue;
        };
        for used in &package.uses {
            if layer(used).is_none_or(|used| used >= own) {
                say(format!("uses `{used}`, which does not stand below it: declare what is needed as an upcall"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(room: &str, uses: &[&str]) -> Package {
        let uses = uses.iter().map(|&u| u.to_owned()).collect();
        Package { room: room.to_owned(), uses, roots: Vec::new() }
    }

    #[test]
    fn looking_up_or_sideways_is_found() {
        let good = [package("units", &[]), package("sync", &["units"]), package("hugetlb", &["zone", "page_alloc"])];
        assert_eq!(check(&good), []);
        for (room, uses) in
            [("zone", "hugetlb"), ("zone", "policy"), ("units", "sync"), ("mm", "mm"), ("zone", "unknown")]
        {
            let found = check(&[package(room, &[uses])]);
            assert_eq!(found.len(), 1, "{room} uses {uses}");
            assert!(found[0].message.contains(uses));
        }
        assert_eq!(check(&[package("attic", &[])]).len(), 1);
    }
}
