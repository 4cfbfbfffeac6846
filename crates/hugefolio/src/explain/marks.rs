//! What zones keep for others: pages below the marks are no huge pages to be had.

use std::collections::BTreeMap;

use units::{NodeId, PageCount, ZoneKind};

use super::files::{HostError, HostFiles, Page};
use crate::text::Zoneinfo;

const ZONEINFO: &str = "/proc/zoneinfo";

/// What each zone keeps from a request for pages that can be moved. Without the file nothing is known to be kept.
pub(super) fn kept(files: &mut dyn HostFiles) -> Result<BTreeMap<(NodeId, ZoneKind), PageCount>, HostError> {
    let Some(page) = Page::find(files, ZONEINFO)? else { return Ok(BTreeMap::new()) };
    let text: Zoneinfo = page.text().parse().map_err(|wrong| page.wrong(wrong))?;
    let place_of = |node: NodeId| {
        let mut kinds = text.0.iter().filter(|zone| zone.node == node).map(|zone| zone.zone);
        kinds.position(|kind| kind == ZoneKind::Movable)
    };
    let kept = text.0.iter().map(|zone| {
        let protection = place_of(zone.node).and_then(|place| zone.protection.get(place)).copied();
        ((zone.node, zone.zone), zone.pages.min.saturating_add(protection.unwrap_or_default()))
    });
    Ok(kept.collect())
}

/// Takes so many pages out of free blocks, the smallest first: what is left are the blocks that can be had. Says how many there were to
/// take.
pub(super) fn take_out(blocks: &mut [u64], kept: PageCount) -> PageCount {
    let mut left = kept.get();
    for order in 0..blocks.len() {
        let size = 1_u64 << order;
        let whole = blocks[order].min(left / size);
        blocks[order] -= whole;
        left -= whole * size;
        if left > 0 && blocks[order] > 0 {
            // A part of one block: the rest of it are smaller ones.
            blocks[order] -= 1;
            let rest = size - left;
            (0..order).for_each(|below| blocks[below] += rest >> below & 1);
            return kept;
        }
    }
    PageCount::new(kept.get() - left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_block_that_is_kept_in_part_the_rest_is_free() {
        let mut blocks = [1, 0, 0, 2];
        assert_eq!(take_out(&mut blocks, PageCount::new(4)), PageCount::new(4));
        assert_eq!(blocks, [1, 0, 1, 1]);
        assert_eq!(take_out(&mut blocks, PageCount::new(100)), PageCount::new(13));
        assert_eq!(blocks, [0; 4]);
    }
}
