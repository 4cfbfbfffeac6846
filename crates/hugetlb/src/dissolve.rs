//! Free huge pages that become ordinary memory, one by one.

use units::{Blame, Event, HugeCount, HugeSize, Ledger, NodeId, PageCount, Pfn};

use crate::deferred::settle;
use crate::free::shelve;
use crate::pool::{Condition, Joins, ONE, Pool};
use crate::surplus::destroy_restored;
use vmemmap::NoMetadata;

use crate::{Env, HugeFolio};

/// Why a huge page stays one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DissolveError {
    /// Somebody uses it.
    #[error("the page at {pfn} is in use")]
    InUse {
        /// Its first frame.
        pfn: Pfn,
    },
    /// Pages of this size cannot leave their pool.
    #[error("pages of {0} stay what they are once the machine has booted")]
    Permanent(HugeSize),
    /// Every free page stands for a reservation.
    #[error("{} pages are free and {} of them reserved: none can be spared", .free.get(), .resv.get())]
    Reserved {
        /// Free pages of the pool.
        free: HugeCount,
        /// Reserved ones.
        resv: HugeCount,
    },
    /// Its descriptors would need memory.
    #[error(transparent)]
    Metadata(#[from] NoMetadata),
}

impl Blame for DissolveError {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::InUse { .. } => Some(Ledger::PinnedFolio),
            Self::Permanent(_) => Some(Ledger::Pool),
            Self::Reserved { .. } => Some(Ledger::Reservation),
            Self::Metadata(lacking) => lacking.ledger(),
        }
    }
}

/// What became of a frame's huge page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dissolved {
    /// There was none.
    NotHuge,
    /// It is ordinary memory now.
    Done,
}

/// Makes the free huge page that a frame is a part of ordinary memory. A node with surplus pages loses one of them, any other one of
/// the administrator's, whose target falls with it.
///
/// # Errors
/// It is in use, needed for a reservation, or cannot leave its pool; nothing is changed.
#[doc(alias = "dissolve_free_hugetlb_folio")]
pub fn dissolve<P: Env>(p: &mut P, pfn: Pfn) -> Result<Dissolved, DissolveError> {
    settle(p, pfn);
    let Some(folio) = crate::folio_of(p, pfn) else { return Ok(Dissolved::NotHuge) };
    let h = p.hstate(folio.hstate);
    if p.with_memmap(folio.pfn, |map| map.get(folio.pfn).is_none_or(|record| record.refs() > 0)) {
        return Err(DissolveError::InUse { pfn: folio.pfn });
    }
    if !h.resizable {
        return Err(DissolveError::Permanent(h.size));
    }
    let condition = p.with_records(folio.at(), |records| records.condition(folio));
    let kind = p.with_pool(folio.hstate, |pool| pool.dissolve(folio, condition))?;
    let Some(found) = p.with_shelf(folio.hstate, folio.node, |shelf| shelf.take(folio, condition)) else {
        // Whoever took it from the shelf meanwhile has it, and the ledger has one page too few.
        p.with_pool(folio.hstate, |pool| pool.undo_dissolve(folio.node, kind, condition));
        return Err(DissolveError::InUse { pfn: folio.pfn });
    };
    if found != condition {
        p.with_pool(folio.hstate, |pool| pool.correct(folio.node, found));
    }
    if let Err(lacking) = vmemmap::restore(p, folio.pfn) {
        put_back(p, folio, kind);
        return Err(lacking.into());
    }
    p.emit(|| Event::Dissolved { hstate: folio.hstate, folio: folio.pfn });
    destroy_restored(p, h, folio);
    Ok(Dissolved::Done)
}

#[cold]
fn put_back<P: Env>(p: &mut P, folio: HugeFolio, kind: Joins) {
    let condition = p.with_records(folio.at(), |records| records.condition(folio));
    shelve(p, folio, condition, |pool| pool.undo_dissolve(folio.node, kind, condition));
}

/// Dissolves every free huge page of a range, from below; those before the first that stays are gone.
///
/// # Errors
/// The first that stays, and why.
#[doc(alias = "dissolve_free_hugetlb_folios")]
pub fn dissolve_range<P: Env>(p: &mut P, start: Pfn, end: Pfn, step: PageCount) -> Result<(), DissolveError> {
    let mut at = start;
    while at < end {
        dissolve(p, at)?;
        at = at.offset(step);
    }
    Ok(())
}

impl Pool {
    fn dissolve(&mut self, folio: HugeFolio, condition: Condition) -> Result<Joins, DissolveError> {
        if self.available().is_zero() {
            return Err(DissolveError::Reserved { free: self.free, resv: self.resv });
        }
        let node = self.node(folio.node);
        let there = if condition == Condition::Poisoned { node.poisoned } else { node.sound() };
        if there.is_zero() {
            return Err(DissolveError::InUse { pfn: folio.pfn });
        }
        let kind = if node.surplus.is_zero() { self.leaves_as(folio.node) } else { Joins::Surplus };
        self.remove_free(folio.node, kind, condition);
        if kind == Joins::Persistent {
            self.max = self.max.saturating_sub(ONE);
        }
        Ok(kind)
    }

    /// A page was taken as sound that broke at that moment, or the other way round.
    fn correct(&mut self, node: NodeId, found: Condition) {
        let poisoned = &mut self.nodes[node.index()].poisoned;
        match found {
            Condition::Poisoned => *poisoned -= ONE,
            Condition::Sound => *poisoned += ONE,
        }
    }

    fn undo_dissolve(&mut self, node: NodeId, kind: Joins, condition: Condition) {
        self.add_page(node, kind);
        self.add_free(node);
        if condition == Condition::Poisoned {
            self.nodes[node.index()].poisoned += ONE;
        }
        if kind == Joins::Persistent {
            self.max += ONE;
        }
    }
}

#[cfg(test)]
mod tests {
    use units::{HstateId, NodeId};

    use super::*;

    /// Dissolving once lowered the administrator's target for a page that was surplus, and from then on the pool fell short of it.
    #[test]
    fn a_surplus_page_is_not_of_the_target() {
        let node = NodeId::new(0);
        let mut pool = Pool::new(node, None);
        let (zone, hstate) = (units::ZoneKind::Normal, HstateId::new(0));
        let folio = |slot| HugeFolio {
            pfn: Pfn::new(u64::from(slot) * 512),
            hstate,
            node,
            zone,
            source: page_alloc::Source::Ordinary,
            slot,
        };
        for kind in [Joins::Persistent, Joins::Persistent, Joins::Surplus] {
            pool.add_page(node, kind);
            pool.add_free(node);
        }
        pool.max = HugeCount::new(2);
        assert_eq!(pool.dissolve(folio(0), Condition::Sound), Ok(Joins::Surplus));
        assert_eq!((pool.max.get(), pool.nr.get(), pool.surplus.get()), (2, 2, 0));
        assert_eq!(pool.dissolve(folio(1), Condition::Sound), Ok(Joins::Persistent));
        assert_eq!((pool.max.get(), pool.nr.get(), pool.surplus.get()), (1, 1, 0));
        // Somebody has taken the last one meanwhile: the ledger is as before.
        let kind = pool.dissolve(folio(2), Condition::Sound).unwrap_or(Joins::Surplus);
        pool.undo_dissolve(node, kind, Condition::Sound);
        assert_eq!((pool.max.get(), pool.nr.get(), pool.free.get()), (1, 1, 1));

        // Another node counts it as its own surplus page.
        pool.surplus = HugeCount::new(1);
        pool.nodes.resize_with(2, Default::default);
        pool.nodes[1].surplus = HugeCount::new(1);
        pool.max = HugeCount::ZERO;
        let kind = pool.dissolve(folio(2), Condition::Sound).unwrap_or(Joins::Persistent);
        assert_eq!((pool.max.get(), pool.nr.get(), pool.surplus.get(), pool.nodes[1].surplus.get()), (0, 0, 0, 0));
        pool.undo_dissolve(node, kind, Condition::Sound);
        assert_eq!((pool.max.get(), pool.nr.get(), pool.surplus.get(), pool.nodes[1].surplus.get()), (0, 1, 1, 1));
    }
}
