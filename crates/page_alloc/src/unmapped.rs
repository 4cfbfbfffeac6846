//! Pages that the kernel has no mapping of.
//!
//! Mappings are taken away pageblock by pageblock. What has none is in a bank of its own, which no other block merges with and no
//! other request reaches: what differs in its mapping differs in everything.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use memmap::Broken;
use units::{Migratetype, Order, PageCount, Pfn};
use zone::{AllocFlags, BadFree, Want, Zone, ZoneState};

/// Has the kernel a mapping of a page?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// It has.
    Mapped,
    /// It has not: nothing can be read or written by mistake.
    #[doc(alias("__GFP_UNMAPPED", "ALLOC_UNMAPPED", "FREETYPE_UNMAPPED"))]
    Unmapped,
}

/// The pageblocks of a zone that the kernel has no mapping of.
#[derive(Clone, Debug, Default)]
pub struct Bank(Option<Box<Pages>>);

#[derive(Clone, Debug)]
struct Pages {
    /// Free lists of these pageblocks alone; everything else is allocated here.
    zone: Zone,
    blocks: BTreeSet<Pfn>,
    /// Pageblocks that are partly mapped, since a change and its undoing failed.
    lost: Vec<Pfn>,
}

impl Bank {
    /// Is there no such pageblock?
    #[must_use]
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Free pages without a mapping.
    #[must_use]
    pub fn free(&self) -> PageCount {
        self.0.as_ref().map_or(PageCount::ZERO, |pages| pages.zone.free())
    }

    /// Pageblocks without a mapping, by their first frames.
    pub fn blocks(&self) -> impl Iterator<Item = Pfn> {
        self.0.iter().flat_map(|pages| pages.blocks.iter().copied())
    }

    /// Pageblocks that nobody can use any more.
    #[must_use]
    pub fn lost(&self) -> &[Pfn] {
        self.0.as_ref().map_or(&[], |pages| &pages.lost)
    }

    /// Free blocks of one order, from head to tail.
    #[must_use]
    pub fn free_list(&self, order: Order) -> Vec<Pfn> {
        self.0.as_ref().map_or_else(Vec::new, |pages| pages.zone.free_list(order, Migratetype::Movable))
    }

    /// Is the frame one of a pageblock without a mapping?
    #[must_use]
    #[inline]
    pub fn holds(&self, pfn: Pfn) -> bool {
        self.0.as_ref().is_some_and(|pages| pages.blocks.contains(&start_of(pfn, &pages.zone)))
    }

    pub(crate) fn take(&mut self, order: Order) -> Option<Pfn> {
        let want = Want { order, migratetype: Migratetype::Movable, flags: AllocFlags::NONE };
        self.0.as_mut()?.zone.take(want)
    }

    pub(crate) fn put(&mut self, pfn: Pfn, order: Order) -> Result<(), BadFree> {
        self.0.as_mut().map_or(Err(BadFree::Outside { pfn, order }), |pages| pages.zone.put(pfn, order))
    }

    /// Takes a whole pageblock out, to be mapped again.
    pub(crate) fn take_block(&mut self) -> Option<(Pfn, Order)> {
        let pages = self.0.as_mut()?;
        let order = pages.zone.layout().pageblock;
        let want = Want { order, migratetype: Migratetype::Movable, flags: AllocFlags::NONE };
        let pfn = pages.zone.take(want)?;
        pages.blocks.remove(&pfn);
        Some((pfn, order))
    }

    /// Adds pageblocks of `zone` that have no mapping any more, all of them free.
    pub(crate) fn add(&mut self, zone: &Zone, pfn: Pfn, order: Order) {
        let pages = self.pages(zone);
        let whole = pages.zone.layout().pageblock;
        for n in 0..order.pages().get() >> whole.get() {
            let block = pfn.offset(PageCount::new(n << whole.get()));
            pages.blocks.insert(block);
            let put = pages.zone.put(block, whole);
            debug_assert_eq!(put, Ok(()), "the block is nobody's here");
        }
    }

    /// Writes off pageblocks that are neither.
    pub(crate) fn lose(&mut self, zone: &Zone, pfn: Pfn) {
        self.pages(zone).lost.push(pfn);
    }

    fn pages(&mut self, zone: &Zone) -> &mut Pages {
        self.0.get_or_insert_with(|| {
            let state = ZoneState::allocated(zone.layout().clone());
            let zone = Zone::from_state(&state).expect("a zone that exists has a layout that a zone can have");
            Box::new(Pages { zone, blocks: BTreeSet::new(), lost: Vec::new() })
        })
    }

    /// Recounts.
    ///
    /// # Errors
    /// The first invariant found broken.
    pub fn validate(&self) -> Result<(), Broken> {
        self.0.as_ref().map_or(Ok(()), |pages| pages.zone.validate())
    }
}

fn start_of(pfn: Pfn, zone: &Zone) -> Pfn {
    let size = zone.layout().pageblock.pages().get();
    Pfn::new(pfn.get() / size * size)
}
