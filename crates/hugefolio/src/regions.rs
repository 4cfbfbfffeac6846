//! What is known of memory, by the node that it lies on, and of huge folios, by their slots.

use hugetlb::{Pool, Records};
use memmap::HugeSlot;
use page_alloc::ZoneSlot;
use policy::ZoneRef;
use sync::Rank;
use sync::locks::Section;
use units::{NodeId, Pfn, ZoneKind};

use crate::shared::Ledger;

/// Which frames lie on which node. No folio lies on two.
#[derive(Clone, Debug)]
pub(crate) struct Frames {
    /// Where frames of a node begin, in ascending order; those before the first are of its node too.
    starts: Vec<(Pfn, usize)>,
    nodes: usize,
}

impl Frames {
    pub(crate) fn new(nodes: impl Iterator<Item = NodeId>, zones: &[Option<ZoneSlot>]) -> Self {
        let zones_of = |node| ZoneKind::ALL.map(|kind| (node, page_alloc::index(ZoneRef { node, kind })));
        let spans = |(node, place): (NodeId, usize)| {
            let zone = zones.get(place).and_then(Option::as_ref).map(|slot| &slot.zone);
            zone.into_iter()
                .flat_map(move |zone| zone.layout().spans.iter().map(move |&(start, _)| (start, node.index())))
        };
        let mut starts: Vec<(Pfn, usize)> = nodes.flat_map(zones_of).flat_map(spans).collect();
        starts.sort_unstable();
        starts.dedup_by_key(|&mut (_, node)| node);
        let nodes = starts.iter().map(|&(_, node)| node + 1).max().unwrap_or(1);
        Self { starts, nodes }
    }

    pub(crate) const fn nodes(&self) -> usize {
        self.nodes
    }

    #[inline]
    pub(crate) fn node_of(&self, pfn: Pfn) -> usize {
        let from = self.starts.iter().rev().find(|&&(start, _)| start <= pfn);
        from.or(self.starts.first()).map_or(0, |&(_, node)| node)
    }
}

/// A lock for each node.
#[derive(Debug)]
pub(crate) struct ByNode<T>(Vec<Section<T>>);

impl<T> ByNode<T> {
    pub(crate) fn new(rank: Rank, parts: Vec<T>) -> Self {
        Self(parts.into_iter().map(|part| Section::new(rank, part)).collect())
    }

    #[inline]
    pub(crate) fn with<R>(&self, node: usize, f: impl FnOnce(&mut T) -> R) -> R {
        self.0[node].with(f)
    }

    pub(crate) fn into_parts(self) -> impl Iterator<Item = T> {
        self.0.into_iter().map(Section::into_inner)
    }
}

/// Locks over what a pool keeps of its folios.
const LOCKS: u32 = 64;

/// What a pool keeps of its folios, spread over locks by their slots.
#[derive(Debug)]
pub(crate) struct BySlot(Vec<Section<Records>>);

impl BySlot {
    /// Takes it from the pool.
    pub(crate) fn of(rank: Rank, pool: &mut Pool) -> Self {
        let parts = core::mem::take(pool.records_mut()).take_apart(LOCKS);
        Self(parts.into_iter().map(|part| Section::new(rank, part)).collect())
    }

    /// Gives it back.
    pub(crate) fn into_pool(self, ledger: Ledger) -> Pool {
        let mut pool = ledger.pool.into_inner();
        *pool.records_mut() = Records::put_together(self.0.into_iter().map(Section::into_inner));
        pool
    }

    #[inline]
    pub(crate) fn with<R>(&self, at: HugeSlot, f: impl FnOnce(&mut Records) -> R) -> R {
        self.0[(at.slot % LOCKS) as usize].with(f)
    }
}

#[cfg(test)]
mod tests {
    use units::{Bytes, CpuId};

    use super::*;
    use crate::{Machine, SharedMachine};

    #[test]
    fn every_frame_is_of_one_node() {
        let node = NodeId::new;
        let builder = Machine::builder().node(node(0), Bytes::gib(1)).node(node(2), Bytes::gib(2));
        let shared = SharedMachine::from(builder.build().unwrap());
        let frames = &shared.frames;
        assert_eq!(frames.nodes(), 3);
        let mut cpu = shared.check_out(CpuId::new(0)).unwrap();
        let mut on = shared.on(&mut cpu);
        let mut seen = [0; 3];
        for pfn in (0..80 << 18).step_by(1 << 14).map(Pfn::new) {
            let Some(zone) = page_alloc::zone_of(&mut on, pfn) else { continue };
            assert_eq!(frames.node_of(pfn), zone.node.index(), "{pfn}");
            seen[zone.node.index()] += 1;
        }
        assert_eq!(seen.map(|frames| frames > 0), [true, false, true]);
    }
}
