//! Frames for descriptors, and what is owed before old ones are given back.

use alloc::vec::Vec;

use page_alloc::{NoBlock, NoPages, PageRequest};
use units::{GfpFlags, Ledger, NodeId, Order, PageCount, Pfn, Site};

use crate::Env;
use crate::homes::{FrameSource, Home};

/// May the page be of another node?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Near {
    /// No: the pages around it are of this one.
    Only,
    /// If need be.
    First,
}

/// A page for descriptors.
pub(crate) fn take_page<P: Env>(p: &mut P, node: NodeId, near: Near) -> Result<Pfn, NoPages> {
    let effort = match near {
        Near::Only => GfpFlags::NORETRY | GfpFlags::THISNODE,
        Near::First => GfpFlags::RETRY_MAYFAIL,
    };
    if p.refused(Site::VmemmapPage) {
        let none = NoBlock { order: Order::ZERO, zones: 0, free: PageCount::ZERO, refused_by: Ledger::Watermark };
        return Err(none.into());
    }
    let request = PageRequest::new(Order::ZERO, GfpFlags::KERNEL | GfpFlags::NOWARN | effort, node);
    page_alloc::alloc(p, &request).map(|block| block.pfn)
}

/// Gives a page back that the page allocator handed out.
pub(crate) fn put_page<P: Env>(p: &mut P, frame: Pfn) {
    let Some(zone) = page_alloc::zone_of(p, frame) else {
        debug_assert!(false, "{frame} is of no zone");
        return;
    };
    let freed = page_alloc::free(p, zone, frame, Order::ZERO);
    debug_assert_eq!(freed, Ok(()), "the frame was handed out for descriptors");
}

/// Frames that held descriptors. Somebody may still read them through an old translation, so they can only be had by flushing.
#[must_use]
#[derive(Debug, Default)]
pub(crate) struct FlushOwed(Vec<Home>);

impl FlushOwed {
    pub(crate) fn add(&mut self, homes: Vec<Home>) {
        self.0.extend(homes);
    }

    pub(crate) fn is_nothing(&self) -> bool {
        self.0.is_empty()
    }

    /// Flushes once, and gives all of them back.
    pub(crate) fn settle<P: Env>(self, p: &mut P) {
        if self.is_nothing() {
            return;
        }
        p.with_vmemmap(crate::Vmemmap::note_flush);
        for Home { frame, pages, origin } in self.0 {
            if origin == FrameSource::Boot {
                p.release_boot_frames(frame, pages);
            }
            (0..pages.get()).for_each(|n| put_page(p, frame.offset(PageCount::new(n))));
        }
    }
}
