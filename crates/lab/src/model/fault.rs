//! Faults: the first touch of a page, and copies on write.

use super::NaiveMachine;
use super::pool::Claim;
use super::world::{FileId, MountId, PAGE, Page, PageId, Vma, floor};
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
        if !self.claim(vma, index) {
            return Err(Fault::Bus);
        }
        let mount = self.file(vma.file).mount;
        let page = self.new_page(Page { anon: !vma.shared, cached: vma.shared, mount, ..Page::default() });
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
    fn write_private(&mut self, p: u16, addr: u64, old: PageId) -> Result<PageId, Fault> {
        let own_alone = |page: &Page| page.anon && page.maps == 1;
        if own_alone(self.page(old)) {
            return Ok(old);
        }
        let vma = self.process(p).vma_at(addr).ok_or(UNMAPPED)?;
        let index = vma.index(addr);
        let owns_page = vma.owner.is_some() && self.page(old).anon;
        let taken = if owns_page { self.take_of_mount(self.file(vma.file).mount) } else { self.claim(&vma, index) };
        if !taken {
            if owns_page {
                self.steal(&vma, index, old);
                if own_alone(self.page(old)) {
                    return Ok(old);
                }
            }
            return Err(Fault::Bus);
        }
        self.prepare(p, addr);
        let mount = self.file(vma.file).mount;
        let copy = self.new_page(Page { anon: true, mount, bytes: self.page(old).bytes.clone(), ..Page::default() });
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

    /// Takes a page from the pool for a file page of a VMA: with a reservation if there is one that was not used.
    pub(super) fn claim(&mut self, vma: &Vma, index: u64) -> bool {
        if vma.shared {
            return self.claim_for_file(vma.file, index);
        }
        let owner = vma.owner.and_then(|owner| self.owners.get(&owner));
        let unused = owner.is_some_and(|owner| !owner.consumed.contains_key(&index));
        if unused { self.pool.take(Claim::Reserved) } else { self.take_of_mount(self.file(vma.file).mount) }
    }

    /// Counts a page that nobody reserved against a mount and takes it: one that the minimum lends if it does.
    fn take_of_mount(&mut self, mount: Option<MountId>) -> bool {
        let Some(missing) = self.count_in(mount, 1) else {
            return false;
        };
        let taken = self.pool.take(if missing == 0 { Claim::Reserved } else { Claim::Unreserved });
        if !taken {
            self.give_back(mount, 1, 1 - missing);
        }
        taken
    }

    /// Whether [`claim`](Self::claim) would get a page.
    pub(super) fn could_claim(&self, vma: &Vma, index: u64) -> bool {
        let mut other = self.clone();
        other.claim(vma, index)
    }

    /// Writes down that an owner has used its reservation for a page.
    pub(super) fn consume(&mut self, vma: &Vma, index: u64, page: PageId) {
        if let Some(owner) = vma.owner.and_then(|owner| self.owners.get_mut(&owner)) {
            owner.consumed.insert(index, page);
        }
    }

    /// Takes a page from the pool for a page of a file, which is then reserved if it was not.
    pub(super) fn claim_for_file(&mut self, file: FileId, index: u64) -> bool {
        let reserved = self.file(file).reserved.contains(&index);
        let taken = if reserved { self.pool.take(Claim::Reserved) } else { self.take_of_mount(self.file(file).mount) };
        if taken {
            self.file_mut(file).reserved.insert(index);
        }
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
    /// Stops at the first page that fails.
    pub(super) fn populate(&mut self, p: u16, start: u64, end: u64) -> Result<(), ()> {
        let mut addr = floor(start);
        while addr < end {
            let vma = self.process(p).vma_at(addr).ok_or(())?;
            if !(vma.prot.read || vma.prot.write) {
                return Err(());
            }
            let access = if vma.prot.write && !vma.shared { Access::Write } else { Access::Read };
            self.fault(p, &vma, addr, access).map_err(|_| ())?;
            addr += PAGE;
        }
        Ok(())
    }
}
