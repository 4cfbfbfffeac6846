//! Faults: the first touch of a page, and copies on write.

use super::cgroup::{Charge, Payers};
use super::nodes::Taken;
use super::pool::Claim;
use super::world::{FileId, PAGE, Page, PageId, Vma, floor};
use super::{NaiveMachine, Quirk};
use crate::op::Access;

/// How a fault fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// SIGBUS.
    Bus,
    /// SIGSEGV with this code.
    Segv(i64),
}

/// Nothing is mapped there.
const UNMAPPED: Fault = Fault::Segv(1);
/// The mapping does not allow it.
const FORBIDDEN: Fault = Fault::Segv(2);
/// Memory that may be executed alone is guarded by a protection key.
const GUARDED: Fault = Fault::Segv(4);

impl NaiveMachine {
    /// What a process's own load or store at `addr` meets: the page, or a signal.
    pub(super) fn access(&mut self, p: u16, addr: u64, access: Access) -> Result<PageId, Fault> {
        let vma = self.process(p).vma_at(addr).ok_or(UNMAPPED)?;
        match access {
            Access::Write if !vma.prot.write => return Err(FORBIDDEN),
            Access::Read if vma.prot.read || vma.prot.write => {}
            Access::Read if vma.prot.exec => return Err(GUARDED),
            Access::Read => return Err(FORBIDDEN),
            Access::Write => {}
        }
        self.fault(p, &vma, floor(addr), access)
    }

    /// Brings in the page at a huge page address of a VMA, whatever its protection.
    pub(super) fn fault(&mut self, p: u16, vma: &Vma, addr: u64, access: Access) -> Result<PageId, Fault> {
        let process = self.process_mut(p);
        process.tables.insert(addr >> 30);
        let page = match process.entries.get(&addr).copied() {
            Some(page) => page,
            None => self.fault_absent(p, vma, addr)?,
        };
        if access == Access::Read {
            return Ok(page);
        }
        self.check_protection(p, vma, addr)?;
        let written = if vma.shared { page } else { self.write_private(p, addr, page)? };
        self.process_mut(p).protected.remove(&addr);
        Ok(written)
    }

    /// No entry: the file's page if it has one, wherever the file ends; else a new page, of the file if the mapping is shared.
    fn fault_absent(&mut self, p: u16, vma: &Vma, addr: u64) -> Result<PageId, Fault> {
        if vma.stolen {
            return Err(Fault::Bus);
        }
        let index = vma.index(addr);
        if let Some(page) = self.file(vma.file).cache.get(&index).copied() {
            if vma.watch.is_some_and(|watch| watch.minor) {
                return Err(Fault::Bus);
            }
            self.enter(p, addr, page);
            return Ok(page);
        }
        if !self.file(vma.file).holds(index) {
            return Err(Fault::Bus);
        }
        if vma.watch.is_some_and(|watch| watch.missing) {
            return Err(Fault::Bus);
        }
        if !vma.shared {
            self.prepare(p, addr);
        }
        let Taken { payers, node } = self.claim(p, vma, index).ok_or(Fault::Bus)?;
        let mount = self.file(vma.file).mount;
        let page =
            self.new_page(Page { payers, node, anon: !vma.shared, cached: vma.shared, mount, ..Page::default() });
        if vma.shared {
            self.file_mut(vma.file).cache.insert(index, page);
        } else {
            self.consume(vma, index, page);
        }
        self.enter(p, addr, page);
        Ok(page)
    }

    /// A write to a private mapping: in place if the page is its own alone, else to a copy.
    ///
    /// An owner copies its own page without touching its other reservations. If there is none to copy to, the page is taken
    /// from all who have no reservation, so that the owner has it alone.
    pub(super) fn write_private(&mut self, p: u16, addr: u64, old: PageId) -> Result<PageId, Fault> {
        let own_alone = |page: &Page| page.anon && page.maps == 1;
        if own_alone(self.page(old)) {
            self.page_mut(old).dirty = true;
            return Ok(old);
        }
        let vma = self.process(p).vma_at(addr).ok_or(UNMAPPED)?;
        let index = vma.index(addr);
        let owns_page = vma.owner.is_some() && self.page(old).anon;
        let rounds = self.rounds(p, Some(&vma), index);
        let taken = if owns_page { self.take_of_mount(p, vma.file, &rounds) } else { self.claim(p, &vma, index) };
        let Some(Taken { payers, node }) = taken else {
            if !owns_page {
                return Err(Fault::Bus);
            }
            if self.quirks.has(Quirk::StealGoesByAddress) {
                self.steal_by_address(p, &vma, addr, old);
            } else {
                self.steal(&vma, index, old);
            }
            if !self.process(p).entries.contains_key(&addr) {
                return self.fault(p, &vma, addr, Access::Write);
            }
            if !own_alone(self.page(old)) {
                return Err(Fault::Bus);
            }
            self.page_mut(old).dirty = true;
            return Ok(old);
        };
        self.prepare(p, addr);
        let mount = self.file(vma.file).mount;
        let bytes = self.page(old).bytes.clone();
        let copy = self.new_page(Page { payers, node, anon: true, dirty: true, mount, bytes, ..Page::default() });
        self.enter(p, addr, copy);
        self.consume(&vma, index, copy);
        let page = self.page_mut(old);
        page.maps -= 1;
        if page.maps == 0 && !page.cached {
            self.free(vec![old]);
        }
        Ok(copy)
    }

    /// Takes a page from all VMAs without reservation that map it at this file page, and marks them: every page that they
    /// do not have fails from now on.
    fn steal(&mut self, owner: &Vma, index: u64, page: PageId) {
        for process in self.processes.values_mut() {
            for vma in &mut process.vmas {
                let at = vma.address(index).filter(|_| vma.file == owner.file && !vma.shared && vma.owner.is_none());
                let Some(addr) = at.filter(|addr| process.entries.get(addr) == Some(&page)) else {
                    continue;
                };
                process.entries.remove(&addr);
                vma.stolen = true;
                let page = self.pages.get_mut(&page).expect("a mapped page exists");
                page.maps -= 1;
            }
        }
    }

    /// As a kernel with that quirk does it: at the owner's address in every address space, for every VMA but the owner's own that has
    /// this file page somewhere. So an owner can lose the page itself, and whichever VMA comes first is marked.
    fn steal_by_address(&mut self, p: u16, owner: &Vma, addr: u64, page: PageId) {
        let index = owner.index(addr);
        for (other, vma) in self.vmas_of(owner.file, index, index + 1) {
            let itself = other == p && vma.start == owner.start;
            let mapped = self.process(other).entries.get(&addr) == Some(&page);
            if itself || vma.shared || vma.owner.is_some() || !mapped {
                continue;
            }
            let process = self.process_mut(other);
            process.entries.remove(&addr);
            for marked in process.vmas.iter_mut().filter(|marked| marked.start == vma.start) {
                marked.stolen = true;
            }
            let stolen = self.page_mut(page);
            stolen.maps -= 1;
            if stolen.maps == 0 && !stolen.cached {
                self.free(vec![page]);
            }
        }
    }

    /// Takes a page from the pool for a file page of a VMA: with a reservation if there is one that was not used.
    pub(super) fn claim(&mut self, p: u16, vma: &Vma, index: u64) -> Option<Taken> {
        let rounds = self.rounds(p, Some(vma), index);
        if vma.shared {
            return self.claim_for_file(p, vma.file, index, &rounds);
        }
        let owner = vma.owner.and_then(|owner| self.owners.get(&owner));
        let unused = owner.is_some_and(|owner| !owner.consumed.contains_key(&index));
        let taken =
            if unused { self.take_reserved(p, vma.file, &rounds) } else { self.take_of_mount(p, vma.file, &rounds) };
        if self.was_told_too_early() {
            let nobody = PageId(self.fresh_id());
            self.consume(vma, index, nobody);
        }
        taken
    }

    /// The page went back, and its place goes on as if it had one.
    fn was_told_too_early(&self) -> bool {
        self.memory_refused && self.quirks.has(Quirk::MemoryRefusedTooLate)
    }

    /// Takes a page that was reserved, if the process's control group may pay for its use.
    fn take_reserved(&mut self, p: u16, file: FileId, rounds: &[Vec<usize>]) -> Option<Taken> {
        self.memory_refused = false;
        let usage = self.payer(p);
        if !self.may_charge(usage, Charge::Usage, 1) {
            return None;
        }
        let node = self.pool.take(Claim::Reserved, rounds)?;
        let taken = self.pays_memory(p, true, self.file(file).mount, node);
        let payers = Payers { usage, rsvd: None, memory: self.memory_payer(p) };
        taken.then_some(Taken { payers, node })
    }

    /// Counts a page that nobody reserved against the mount of its file and takes it: one that the minimum lends if it does. The
    /// process's control group pays for it as a reserved page too, and is asked that first.
    pub(super) fn take_of_mount(&mut self, p: u16, file: FileId, rounds: &[Vec<usize>]) -> Option<Taken> {
        self.memory_refused = false;
        let (mount, payer) = (self.file(file).mount, self.payer(p));
        let missing = self.count_in(mount, 1)?;
        let paid = self.may_charge(payer, Charge::Rsvd, 1) && self.may_charge(payer, Charge::Usage, 1);
        let lent = missing == 0;
        let claim = if lent { Claim::Reserved } else { Claim::Unreserved };
        let node = paid.then(|| self.pool.take(claim, rounds)).flatten();
        let taken = node.filter(|&node| self.pays_memory(p, lent, mount, node));
        if taken.is_none() && !self.was_told_too_early() {
            self.refuse_page(mount, 1 - missing);
        }
        let payers = Payers { usage: payer, rsvd: payer, memory: self.memory_payer(p) };
        taken.map(|node| Taken { payers, node })
    }

    /// Takes a page for a place of a shared file that then cannot have it, and lets it go; says whether there was one. If it
    /// was reserved, for the place or by the minimum of the mount, that is the place's own reservation from now on.
    pub(super) fn claim_in_vain(&mut self, p: u16, vma: &Vma, index: u64) -> bool {
        let before = self.pool.resv;
        let Some(Taken { payers, node }) = self.claim(p, vma, index) else { return false };
        let restore = self.pool.resv < before;
        if !restore {
            self.file_mut(vma.file).reserved.remove(&index);
        }
        let mount = self.file(vma.file).mount;
        let page = self.new_page(Page { payers, node, mount, restore, ..Page::default() });
        self.free(vec![page]);
        true
    }

    /// Writes down that an owner has used its reservation for a page.
    pub(super) fn consume(&mut self, vma: &Vma, index: u64, page: PageId) {
        if let Some(owner) = vma.owner.and_then(|owner| self.owners.get_mut(&owner)) {
            owner.consumed.insert(index, page);
        }
    }

    /// Takes a page from the pool for a page of a file, which is then reserved if it was not.
    pub(super) fn claim_for_file(&mut self, p: u16, file: FileId, index: u64, rounds: &[Vec<usize>]) -> Option<Taken> {
        let reserved = self.file(file).reserved.contains_key(&index);
        let taken = if reserved { self.take_reserved(p, file, rounds) } else { self.take_of_mount(p, file, rounds) };
        if taken.is_none() && !self.was_told_too_early() {
            return None;
        }
        // A page that was not reserved is paid for by itself, not by its place.
        self.file_mut(file).reserved.entry(index).or_insert(None);
        taken
    }

    /// A page in use, taken from the pool before.
    pub(super) fn new_page(&mut self, page: Page) -> PageId {
        let id = PageId(self.fresh_id());
        self.pages.insert(id, page);
        id
    }

    pub(super) fn enter(&mut self, p: u16, addr: u64, page: PageId) {
        self.process_mut(p).entries.insert(addr, page);
        self.page_mut(page).maps += 1;
    }

    /// The VMA gets ready for anonymous pages; this stays, even if no page is had.
    pub(super) fn prepare(&mut self, p: u16, addr: u64) {
        let vmas = &mut self.process_mut(p).vmas;
        for vma in vmas.iter_mut().filter(|vma| (vma.start..vma.end).contains(&addr)) {
            vma.had_anon = true;
        }
    }

    /// Brings in every huge page that a range meets, as MAP_POPULATE and mlock do: private writable mappings as if written,
    /// and not what can be executed alone.
    /// Stops at the first page that fails; one that is not the first of its VMA is tried twice.
    pub(super) fn populate(&mut self, p: u16, start: u64, end: u64) -> Result<(), ()> {
        let mut addr = floor(start);
        let mut progress = None;
        while addr < end {
            let vma = self.process(p).vma_at(addr).ok_or(())?;
            if !(vma.prot.read || vma.prot.write) {
                return Err(());
            }
            let access = if vma.prot.write && !vma.shared { Access::Write } else { Access::Read };
            let again = progress == Some(vma.start);
            let failed = self.fault(p, &vma, addr, access).is_err();
            if failed && (!again || self.fault(p, &vma, addr, access).is_err()) {
                return Err(());
            }
            progress = Some(vma.start);
            addr += PAGE;
        }
        Ok(())
    }
}
