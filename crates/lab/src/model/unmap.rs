//! How pages, reservations and files go: unmapping, freeing, closing, evicting.

use super::pool::FreeRule;
use super::world::{
    FileId, Limits, Mount, MountId, Opened, Owner, OwnerId, PageId, SMALL, TASK_END, Vma, aligned, ceil_small, count,
    pages_in,
};
use super::{Fail, NaiveMachine, Outcome, Quirk};
use crate::op::Munmap;
use crate::target::Answer;

/// From this file page to the end.
pub(super) const TO_END: u64 = u64::MAX;

impl NaiveMachine {
    /// Removes the entries of a part of a VMA and adds the pages that nothing holds any more to `loose`.
    ///
    /// An owner that drops its anonymous page while there is no surplus gets the reservation back: at once if nobody else
    /// maps the page, else when the last one drops it. All pages of one call are tested before any is freed.
    pub(super) fn zap(&mut self, p: u16, vma: &Vma, start: u64, end: u64, loose: &mut Vec<PageId>) {
        let gone: Vec<(u64, PageId)> =
            self.process(p).entries.range(start..end).map(|(addr, page)| (*addr, *page)).collect();
        for (addr, id) in gone {
            self.process_mut(p).entries.remove(&addr);
            let index = vma.index(addr);
            let no_surplus = self.pool.surplus() == 0;
            let at_once = self.quirks.has(Quirk::OwnerRestoresAtOnce);
            let page = self.page_mut(id);
            page.maps -= 1;
            // A pin keeps it as a mapping would.
            let (last, anon, cached) = (page.maps == 0 && page.held == 0, page.anon, page.cached);
            if let (Some(owner), true, true) = (vma.owner, anon, no_surplus) {
                if !last && !at_once {
                    self.page_mut(id).promise = Some((owner, index));
                } else if self.owner_mut(owner).consumed.remove(&index).is_some() {
                    self.page_mut(id).restore = true;
                }
            }
            if last && !cached {
                loose.push(id);
            }
        }
    }

    /// The places of a range themselves are gone, and their protection with them.
    fn unprotect(&mut self, p: u16, start: u64, end: u64) {
        self.process_mut(p).protected.retain(|addr| !(start..end).contains(addr));
    }

    /// Frees pages that nothing holds.
    pub(super) fn free(&mut self, loose: Vec<PageId>) {
        let rule = if self.quirks.has(Quirk::SurplusFreeIgnoresReservations) {
            FreeRule::SurplusFirst
        } else {
            FreeRule::KeepsPromises
        };
        for id in loose {
            if self.page(id).held > 0 {
                continue;
            }
            let page = self.pages.remove(&id).expect("a loose page exists");
            let restores = page.restore
                || self.keep_promise(id, page.promise)
                || (page.mount.is_some() && self.count_out(page.mount, 1, 1) == 0);
            self.pool.put(page.node, restores, rule);
        }
    }

    /// Whether a page's promise still holds, and then gives the reservation back to its owner: the owner still covers the file
    /// page, and got no other page there since.
    fn keep_promise(&mut self, page: PageId, promise: Option<(OwnerId, u64)>) -> bool {
        let Some((owner, index)) = promise else {
            return false;
        };
        let mut vmas = self.processes.values().flat_map(|process| &process.vmas);
        if !vmas.any(|vma| vma.owner == Some(owner) && vma.address(index).is_some()) {
            return false;
        }
        let consumed = &mut self.owner_mut(owner).consumed;
        let last = consumed.get(&index) == Some(&page);
        if last {
            consumed.remove(&index);
        }
        last
    }

    fn owner_mut(&mut self, owner: OwnerId) -> &mut Owner {
        self.owners.get_mut(&owner).expect("the reservation of a VMA lives as long as the VMA")
    }

    /// Unmaps a range, and lets go the files that nothing refers to any more.
    pub(super) fn unmap(&mut self, p: u16, start: u64, end: u64) {
        self.unmap_areas(p, start, end);
        self.evict_unused();
    }

    /// Unmaps a range whose edges cut no VMA inside a huge page: everything is unmapped, then freed, then closed.
    pub(super) fn unmap_areas(&mut self, p: u16, start: u64, end: u64) {
        if start >= end {
            return;
        }
        let process = self.process_mut(p);
        process.split(start);
        process.split(end);
        let vmas = process.vmas_in(start, end);
        let mut loose = Vec::new();
        for vma in &vmas {
            self.zap(p, vma, vma.start, vma.end, &mut loose);
            self.unprotect(p, vma.start, vma.end);
        }
        self.free(loose);
        for vma in &vmas {
            self.close_vma(p, vma);
        }
        self.drop_tables(p);
    }

    /// Closes one VMA: an owner gives back what it did not use; the last one of an mmap takes its reservation along.
    fn close_vma(&mut self, p: u16, vma: &Vma) {
        self.process_mut(p).vmas.retain(|other| other.start != vma.start);
        let Some(owner) = vma.owner else {
            return;
        };
        let used = self.owner_mut(owner).consumed.range(vma.first..vma.index(vma.end)).count();
        let unused = pages_in(vma.end - vma.start) - count(used);
        if unused > 0 {
            self.give_back(self.file(vma.file).mount, unused, unused);
        }
        let lives = self.processes.values().any(|process| process.vmas.iter().any(|vma| vma.owner == Some(owner)));
        if !lives {
            self.owners.remove(&owner);
        }
    }

    /// A page table lasts while anything is mapped in its GiB.
    pub(super) fn drop_tables(&mut self, p: u16) {
        let process = self.process_mut(p);
        let vmas = &process.vmas;
        process.tables.retain(|gib| vmas.iter().any(|vma| vma.start < (gib + 1) << 30 && gib << 30 < vma.end));
    }

    /// Whether a descriptor or a VMA of any process refers to a file of the wanted kind.
    fn referred(&self, wanted: impl Fn(Opened) -> bool) -> bool {
        self.processes.values().any(|process| {
            let open = process.descriptors.iter().flatten().any(|descriptor| wanted(descriptor.on));
            open || process.vmas.iter().any(|vma| wanted(Opened::File(vma.file)))
        })
    }

    /// Whether anything of a mount is open or mapped.
    pub(super) fn mount_is_used(&self, mount: MountId) -> bool {
        self.referred(|on| match on {
            Opened::File(file) => self.file(file).mount == Some(mount),
            Opened::Directory(directory) => directory == mount,
        })
    }

    /// Evicts the files that nobody can reach: without name and reference, or of an unmounted mount that nobody uses.
    pub(super) fn evict_unused(&mut self) {
        let dead: Vec<FileId> = self
            .files
            .iter()
            .filter(|(id, file)| {
                let attached = |mount: MountId| self.mounts.iter().any(|other| other.id == mount && other.attached);
                let named =
                    file.name.is_some() && file.mount.is_some_and(|mount| attached(mount) || self.mount_is_used(mount));
                !named && (!file.segment || file.removed) && !self.referred(|on| on == Opened::File(**id))
            })
            .map(|(id, _)| *id)
            .collect();
        for id in dead {
            self.cut(id, 0, TO_END);
            self.files.remove(&id);
        }
        self.end_unused_mounts();
    }

    /// A mount that is not in the tree any more ends with its last file and its last page, and its minimum with it.
    pub(super) fn end_unused_mounts(&mut self) {
        let has_pages = |mount: MountId| self.pages.values().any(|page| page.mount == Some(mount));
        let used = |mount: &Mount| mount.attached || self.mount_is_used(mount.id) || has_pages(mount.id);
        let (kept, ended): (Vec<Mount>, Vec<Mount>) = self.mounts.iter().cloned().partition(used);
        self.mounts = kept;
        // By now nothing counts against the maximum, and the minimum is whole; a kernel with quirks does not look at the latter.
        let done = |limits: &Limits| limits.max.map_or(limits.lendable == limits.min, |_| limits.used == 0);
        for limits in ended.iter().filter_map(|mount| mount.limits).filter(done) {
            self.pool.unreserve(limits.min);
        }
    }

    /// Removes the file pages `from..to` from the cache and frees them, then gives back what was reserved and not there.
    pub(super) fn cut(&mut self, id: FileId, from: u64, to: u64) {
        let pages = self.drop_cached(id, from, to);
        self.free(pages);
        let reserved = &mut self.file_mut(id).reserved;
        let before = count(reserved.len());
        reserved.retain(|index, _| !(from..to).contains(index));
        let given_back = before - count(reserved.len());
        if given_back > 0 {
            self.give_back(self.file(id).mount, given_back, given_back);
        }
    }

    /// Takes the file pages `from..to`, which nobody maps, out of the cache; their reservations are used up.
    pub(super) fn drop_cached(&mut self, id: FileId, from: u64, to: u64) -> Vec<PageId> {
        let file = self.file_mut(id);
        let indexes: Vec<u64> = file.cache.range(from..to).map(|(index, _)| *index).collect();
        let mut pages = Vec::new();
        for index in indexes {
            pages.extend(file.cache.remove(&index));
            file.reserved.remove(&index);
        }
        for page in &pages {
            self.page_mut(*page).cached = false;
        }
        pages
    }

    /// All VMAs of all processes that have some of the file pages `from..to`, in the order of their first file pages and then of their
    /// places.
    pub(super) fn vmas_of(&self, id: FileId, from: u64, to: u64) -> Vec<(u16, Vma)> {
        let mut vmas: Vec<(u16, Vma)> = self
            .processes
            .iter()
            .flat_map(|(p, process)| process.vmas.iter().map(|vma| (*p, *vma)))
            .filter(|(_, vma)| vma.file == id && vma.first < to && from < vma.index(vma.end))
            .collect();
        let stands = |vma: &Vma| self.places.iter().position(|place| Some(*place) == vma.place);
        vmas.sort_by_key(|(_, vma)| (vma.first, stands(vma)));
        vmas
    }

    /// Unmaps the file pages `from..to` everywhere, private copies too: VMA by VMA, each freed before the next.
    pub(super) fn unmap_file(&mut self, id: FileId, from: u64, to: u64) {
        for (p, vma) in self.vmas_of(id, from, to) {
            let start = vma.address(from).unwrap_or(vma.start);
            let end = vma.address(to).unwrap_or(vma.end);
            let mut loose = Vec::new();
            self.zap(p, &vma, start, end, &mut loose);
            if to == TO_END {
                self.unprotect(p, start, end);
            }
            self.free(loose);
        }
    }

    /// munmap: the start must be aligned to 4 KiB, and edges that cut a VMA to huge pages; nothing mapped is no error.
    pub(super) fn munmap(&mut self, p: u16, op: &Munmap) -> Outcome {
        let start = self.named(p, &op.map)?.addr.wrapping_add(op.range.off.unsigned());
        let len = ceil_small(op.range.len.unsigned()).unwrap_or(0);
        let end = start.checked_add(len).filter(|end| *end <= TASK_END);
        let end = end.ok_or(Fail::Errno("EINVAL"))?;
        if start % SMALL != 0 || len == 0 {
            return Err(Fail::Errno("EINVAL"));
        }
        let cuts = |at: u64| !aligned(at) && self.process(p).vma_at(at).is_some_and(|vma| vma.start < at);
        if cuts(start) {
            return Err(Fail::Errno("EINVAL"));
        }
        if cuts(end) {
            // What the lower edge cut stays cut.
            self.process_mut(p).split(start);
            return Err(Fail::Errno("EINVAL"));
        }
        self.unmap(p, start, end);
        Ok(Answer::ok())
    }
}
