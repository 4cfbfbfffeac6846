//! Pages that processes keep: for a pipe, for one transfer, for long.

use std::collections::BTreeSet;

use super::nodes::Taken;
use super::seal::{SHRINK, WRITE};
use super::world::{FileId, Opened, PAGE, Page, PageId, SMALL, Vma, floor};
use super::{Fail, NaiveMachine, Outcome};
use crate::op::{Access, Pin, PinFor, PinName, Udmabuf, Unpin};
use crate::target::{Answer, StepResult};

const BAD: Fail = Fail::Errno("EFAULT");
const INVALID: Fail = Fail::Errno("EINVAL");
const LACKING: Fail = Fail::Errno("ENOMEM");
/// The most that a device gets at once.
const MOST: u64 = 64 << 20;

/// What one `pin` keeps.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) pages: Vec<PageId>,
    /// It is more than a reference.
    pub(super) firm: bool,
}

impl NaiveMachine {
    pub(super) fn pin(&mut self, p: u16, op: &Pin) -> Outcome {
        let named = self.named(p, &op.map)?;
        let firm = op.purpose != PinFor::Pipe;
        let mut kept = Kept { pages: Vec::new(), firm };
        for n in 0..u64::from(op.pages.count.get()) {
            let page = u64::from(op.pages.first.get()) + n;
            match self.page_to_pin(p, named.addr.wrapping_add(page.wrapping_mul(PAGE)), op) {
                Some(page) => {
                    self.hold(page, firm);
                    kept.pages.push(page);
                }
                None => {
                    self.let_go(&kept);
                    return Err(BAD);
                }
            }
        }
        self.keep(p, &op.pin, kept);
        Ok(Answer::ok())
    }

    /// The page at an address, brought in as for an access, and the process's own if others could write to it.
    fn page_to_pin(&mut self, p: u16, addr: u64, op: &Pin) -> Option<PageId> {
        let vma = self.process(p).vma_at(addr)?;
        let place = floor(addr);
        let absent = !self.process(p).entries.contains_key(&place);
        if op.access == Access::Read && absent && !vma.prot.read {
            return None;
        }
        let page = self.access(p, addr, op.access).ok()?;
        let reads = op.access == Access::Read && !vma.shared && op.purpose != PinFor::Pipe;
        let others = match self.page(page) {
            page if page.anon => page.maps > 1,
            _ => op.purpose == PinFor::Vfio,
        };
        if !(reads && others) {
            return Some(page);
        }
        // A copy that is only read is not written, and stays protected.
        let own = self.write_private(p, place, page).ok()?;
        if own != page {
            self.page_mut(own).dirty = false;
        }
        Some(own)
    }

    fn hold(&mut self, page: PageId, firm: bool) {
        let page = self.page_mut(page);
        page.held += 1;
        page.firm += u32::from(firm);
    }

    /// Ends what was kept; pages that nobody else has go.
    fn let_go(&mut self, kept: &Kept) {
        let mut loose = BTreeSet::new();
        for &id in &kept.pages {
            let page = self.page_mut(id);
            page.held -= 1;
            page.firm -= u32::from(kept.firm);
            if page.held == 0 && page.maps == 0 && !page.cached {
                loose.insert(id);
            }
        }
        let in_order: Vec<PageId> = kept.pages.iter().copied().filter(|page| loose.remove(page)).collect();
        self.free(in_order);
        self.end_unused_mounts();
    }

    /// A name that is used again leaves what it meant, with no name.
    fn keep(&mut self, p: u16, name: &PinName, kept: Kept) {
        let id = self.fresh_id();
        let process = self.process_mut(p);
        process.kept.insert(id, kept);
        process.pin_names.insert(name.clone(), id);
    }

    pub(super) fn unpin(&mut self, p: u16, op: &Unpin) -> Outcome {
        let process = self.process_mut(p);
        let id = process.pin_names.remove(&op.pin).ok_or(Fail::Target(StepResult::Nomap))?;
        if let Some(kept) = process.kept.remove(&id) {
            self.let_go(&kept);
        }
        Ok(Answer::ok())
    }

    /// A process that is gone keeps nothing.
    pub(super) fn let_all_go(&mut self, kept: impl IntoIterator<Item = Kept>) {
        for kept in kept {
            self.let_go(&kept);
        }
    }

    /// The child gets a page of its own for one that is pinned; its parent's stays its own.
    pub(super) fn copy_for_child(&mut self, p: u16, vma: &Vma, addr: u64, page: PageId) -> Result<PageId, Fail> {
        let rounds = self.rounds(p, Some(vma), vma.index(addr));
        let Taken { payers, node } = self.take_of_mount(p, vma.file, &rounds).ok_or(LACKING)?;
        let mount = self.file(vma.file).mount;
        let bytes = self.page(page).bytes.clone();
        let dirty = vma.prot.write;
        Ok(self.new_page(Page { payers, node, anon: true, dirty, mount, bytes, ..Page::default() }))
    }

    pub(super) fn udmabuf(&mut self, p: u16, op: &Udmabuf) -> Outcome {
        let descriptor = self.process(p).descriptor(&op.file).ok_or(Fail::Errno("EBADFD"))?;
        let Opened::File(file) = descriptor.on else { return Err(INVALID) };
        let (off, len) = (op.range.off.unsigned(), op.range.len.unsigned());
        let known = self.file(file);
        let seals = known.seals;
        let memory = known.mount.is_none() && !known.segment;
        if !memory || seals & SHRINK == 0 || seals & WRITE != 0 {
            return Err(INVALID);
        }
        let end = off.checked_add(len).filter(|end| *end <= known.size && len > 0).ok_or(INVALID)?;
        if !off.is_multiple_of(SMALL) || !len.is_multiple_of(SMALL) || len > MOST {
            return Err(INVALID);
        }
        let mut kept = Kept { pages: Vec::new(), firm: true };
        for index in off / PAGE..end.div_ceil(PAGE) {
            match self.page_for_device(p, file, index) {
                Some(page) => {
                    self.hold(page, true);
                    kept.pages.push(page);
                }
                None => {
                    self.let_go(&kept);
                    return Err(LACKING);
                }
            }
        }
        self.keep(p, &op.pin, kept);
        Ok(Answer::ok())
    }

    /// The file's page; one that is not there is promised first and then taken near the process, and nobody pays for its use.
    fn page_for_device(&mut self, p: u16, file: FileId, index: u64) -> Option<PageId> {
        if let Some(page) = self.file(file).cache.get(&index) {
            return Some(*page);
        }
        let promised = self.file(file).reserved.contains_key(&index);
        if !promised {
            self.promise(p, file, index)?;
        }
        let Some(node) = self.pool.take_promised(&self.nearest(p)) else {
            if !promised {
                self.file_mut(file).reserved.remove(&index);
                self.give_back(self.file(file).mount, 1, 1);
            }
            return None;
        };
        let mount = self.file(file).mount;
        let page = self.new_page(Page { node, mount, cached: true, ..Page::default() });
        self.file_mut(file).cache.insert(index, page);
        Some(page)
    }
}
