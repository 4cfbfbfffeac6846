//! Frames for descriptors, and what is owed before old ones are given back.

use page_alloc::{NoBlock, NoPages, PageRequest};
use units::{GfpFlags, Ledger, NodeId, Order, PageCount, Pfn, Site};

use crate::Env;
use crate::homes::{FrameRuns, FrameSource, Home};

/// May the page be of another node?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Near {
    /// No: the pages around it are of this one.
    Only,
    /// If need be.
    First,
}

fn request(node: NodeId, near: Near) -> PageRequest {
    let effort = match near {
        Near::Only => GfpFlags::NORETRY | GfpFlags::THISNODE,
        Near::First => GfpFlags::RETRY_MAYFAIL,
    };
    PageRequest::new(Order::ZERO, GfpFlags::KERNEL | GfpFlags::NOWARN | effort, node)
}

/// A page for descriptors.
pub(crate) fn take_page<P: Env>(p: &mut P, node: NodeId, near: Near) -> Result<Pfn, NoPages> {
    if p.refused(Site::VmemmapPage) {
        let none = NoBlock { order: Order::ZERO, zones: 0, free: PageCount::ZERO, refused_by: Ledger::Watermark };
        return Err(none.into());
    }
    page_alloc::alloc(p, &request(node, near)).map(|block| block.pfn)
}

/// Pages for all descriptors of a block, in few large blocks, for which the page of its first ones is given back: so all of them lie as the block does, and its
/// parts have their pages in parts of these. Nothing where they cannot be had so, and then nothing was done.
pub(crate) fn take_whole<P: Env>(p: &mut P, node: NodeId, pages: PageCount) -> Option<FrameRuns> {
    if p.may_refuse() {
        return None;
    }
    let mut frames = FrameRuns::default();
    let old_first = PageCount::new(1);
    let taken = page_alloc::alloc_many(p, &request(node, Near::First), pages, old_first, |frame, order| {
        frames.push(Home { frame, pages: order.pages(), origin: FrameSource::Allocated });
    });
    if taken.is_zero() {
        return None;
    }
    for _ in taken.get()..pages.get() {
        match take_page(p, node, Near::First) {
            Ok(frame) => frames.push(Home::page(frame)),
            Err(_) => {
                put_frames(p, node, &frames);
                return None;
            }
        }
    }
    Some(frames)
}

/// The same for all but its first page, one by one: as many as can be had, and why there were no more.
pub(crate) fn take_singly<P: Env>(
    p: &mut P,
    node: NodeId,
    pages: PageCount,
) -> Result<FrameRuns, (PageCount, NoPages)> {
    let mut frames = FrameRuns::default();
    for found in 0..pages.get() {
        match take_page(p, node, Near::First) {
            Ok(frame) => frames.push(Home::page(frame)),
            Err(why) => {
                put_frames(p, node, &frames);
                return Err((PageCount::new(found), why));
            }
        }
    }
    Ok(frames)
}

/// Gives a page back that the page allocator handed out, most likely on `near`.
pub(crate) fn put_page<P: Env>(p: &mut P, near: NodeId, frame: Pfn) {
    put_run(p, near, Home::page(frame));
}

fn put_frames<P: Env>(p: &mut P, near: NodeId, frames: &FrameRuns) {
    frames.iter().for_each(|home| put_run(p, near, home));
}

fn put_run<P: Env>(p: &mut P, near: NodeId, Home { frame, pages, .. }: Home) {
    let freed = page_alloc::free_many(p, near, frame, pages);
    debug_assert_eq!(freed, Ok(()), "the frames were handed out for descriptors");
}

/// Frames that held descriptors. Somebody may still read them through an old translation, so they can only be had by flushing.
#[must_use]
#[derive(Debug, Default)]
pub(crate) struct FlushOwed(FrameRuns);

impl FlushOwed {
    pub(crate) fn add(&mut self, frames: FrameRuns) {
        if self.0.is_empty() {
            self.0 = frames;
        } else {
            self.0.extend(frames);
        }
    }

    pub(crate) const fn is_nothing(&self) -> bool {
        self.0.is_empty()
    }

    /// Flushes once, and gives all of them back, most of which are likely on `near`.
    pub(crate) fn settle<P: Env>(self, p: &mut P, near: NodeId) {
        if self.is_nothing() {
            return;
        }
        p.with_vmemmap(crate::Vmemmap::note_flush);
        self.0.each(|home| {
            if home.origin == FrameSource::Boot {
                p.release_boot_frames(home.frame, home.pages);
            }
            put_run(p, near, home);
        });
    }
}
