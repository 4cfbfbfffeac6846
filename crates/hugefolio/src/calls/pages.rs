//! Files about free pages.

use units::ZoneKind;

use super::Env;
use crate::text::{Buddyinfo, ExtfragIndex, FreeBlocks, UnusableIndex};

/// What a file about free pages shows, if `path` is one.
pub(super) fn read<P: Env>(p: &mut P, path: &str) -> Option<String> {
    match path {
        "/proc/buddyinfo" => Some(buddyinfo(p).to_string()),
        "/sys/kernel/debug/extfrag/extfrag_index" => Some(ExtfragIndex::of(&buddyinfo(p)).to_string()),
        "/sys/kernel/debug/extfrag/unusable_index" => Some(UnusableIndex::of(&buddyinfo(p)).to_string()),
        _ => None,
    }
}

/// A node is one zone, and that is a normal one.
fn buddyinfo<P: Env>(p: &mut P) -> Buddyinfo {
    let nodes = p.with_topology(policy::Topology::nodes);
    let rows = nodes.iter().filter_map(|node| {
        let blocks = p.with_zone(node, |zone| zone.free_blocks().collect())?;
        Some(FreeBlocks { node, zone: ZoneKind::Normal, blocks })
    });
    Buddyinfo(rows.collect())
}
