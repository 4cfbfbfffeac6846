//! Charges against a list of who pays for what.

use charge::{Charges, Counter, Receipt};
use proptest::prelude::*;
use units::{CgroupId, HstateId, HugeCount};

const USAGE: Counter = Counter::Usage(HstateId::new(0));

/// A chain of three groups and a sibling of the lowest.
fn tree() -> (Charges, [CgroupId; 4]) {
    let mut charges = Charges::new(1);
    let mut make = |parent, name: &str| charges.create(parent, name).unwrap_or_else(|error| panic!("{error}"));
    let top = make(None, "top");
    let middle = make(Some(top), "middle");
    let groups = [top, middle, make(Some(middle), "low"), make(Some(middle), "sibling")];
    (charges, groups)
}

const PARENT: [Option<usize>; 4] = [None, Some(0), Some(1), Some(1)];

fn pays(mut who: usize, group: usize) -> bool {
    loop {
        if who == group {
            return true;
        }
        match PARENT[who] {
            Some(parent) => who = parent,
            None => return false,
        }
    }
}

proptest! {
    #[test]
    fn a_group_pays_for_itself_and_all_below(
        limits in prop::array::uniform4(prop::option::of(1..12u64)),
        ops in prop::collection::vec((0..4usize, 1..4u64, any::<bool>(), any::<prop::sample::Index>()), 1..80),
    ) {
        let (mut charges, groups) = tree();
        for (group, limit) in groups.iter().zip(limits) {
            charges.set_limit(*group, USAGE, limit.map_or(HugeCount::MAX, HugeCount::new));
        }
        let mut paid: Vec<(usize, u64, Receipt)> = Vec::new();
        for (who, pages, charge, which) in ops {
            let total = |paid: &[(usize, u64, Receipt)], group| {
                paid.iter().filter(|(who, ..)| pays(*who, group)).map(|(_, pages, _)| pages).sum::<u64>()
            };
            if charge {
                let over = (0..4).find(|&g| pays(who, g) && limits[g].is_some_and(|l| total(&paid, g) + pages > l));
                match charges.charge(Some(groups[who]), USAGE, HugeCount::new(pages)) {
                    Ok(receipt) => {
                        prop_assert_eq!(over, None);
                        paid.push((who, pages, receipt));
                    }
                    Err(refused) => prop_assert!(over.is_some(), "{:?}", refused),
                }
            } else if !paid.is_empty() {
                let (_, _, receipt) = paid.swap_remove(which.index(paid.len()));
                charges.uncharge(receipt);
            }
            for (n, group) in groups.iter().enumerate() {
                prop_assert_eq!(charges.charged(*group, USAGE).get(), total(&paid, n));
            }
        }
    }
}
