//! userfaultfds whose faults are signals.
//!
//! A place of an address space is protected or not, whether it has a page or none.

use super::fault::Fault;
use super::nodes::Taken;
use super::world::{PAGE, Page, PageId, SMALL, TASK_END, Vma, Watch, WatcherId, aligned};
use super::{Fail, NaiveMachine, Outcome};
use crate::op::{
    Flags, MapName, Span, UffdClose, UffdContinue, UffdCopy, UffdMode, UffdName, UffdOpen, UffdRegister,
    UffdUnregister, UffdWp, UffdZero,
};
use crate::target::{Answer, Extras};

const INVALID: Fail = Fail::Errno("EINVAL");
const UNWATCHED: Fail = Fail::Errno("ENOENT");

/// What a call goes to: who watches, the process that owns the address space if it lives, and the range.
struct Call {
    watcher: WatcherId,
    owner: Option<u16>,
    start: u64,
    end: u64,
}

impl NaiveMachine {
    pub(super) fn uffd_open(&mut self, p: u16, op: &UffdOpen) -> Outcome {
        let id = WatcherId(self.fresh_id());
        let space = self.process(p).space;
        self.watchers.insert(id, space);
        let process = self.process_mut(p);
        process.watchers.push(id);
        process.watcher_names.insert(op.uffd.clone(), id);
        Ok(Answer::ok())
    }

    /// Whether there was anything to close is not told.
    pub(super) fn uffd_close(&mut self, p: u16, op: &UffdClose) -> Outcome {
        let process = self.process_mut(p);
        if let Some(id) = process.watcher_names.remove(&op.uffd) {
            process.watchers.retain(|held| *held != id);
        }
        self.drop_unheld_watchers();
        Ok(Answer::ok())
    }

    /// A userfaultfd without descriptors watches nothing.
    pub(super) fn drop_unheld_watchers(&mut self) {
        let held: Vec<WatcherId> = self.processes.values().flat_map(|process| process.watchers.clone()).collect();
        self.watchers.retain(|id, _| held.contains(id));
        for process in self.processes.values_mut() {
            for vma in &mut process.vmas {
                let Some(watch) = vma.watch.filter(|watch| !held.contains(&watch.by)) else { continue };
                vma.watch = None;
                if watch.writes {
                    process.protected.retain(|addr| !(vma.start..vma.end).contains(addr));
                }
            }
        }
    }

    /// The descriptor, then the range, then whether there is still an address space.
    fn call(&mut self, p: u16, uffd: &UffdName, map: &MapName, range: Span, valid: bool) -> Result<Call, Fail> {
        self.slot(map);
        let process = self.process(p);
        let watcher = *process.watcher_names.get(uffd).ok_or(Fail::Errno("EBADF"))?;
        let start = process.names.get(map).map_or(0, |named| named.addr).wrapping_add(range.off.unsigned());
        let len = range.len.unsigned();
        let end = start.checked_add(len).filter(|end| *end <= TASK_END).ok_or(INVALID)?;
        if !valid || len == 0 || !start.is_multiple_of(SMALL) || !len.is_multiple_of(SMALL) {
            return Err(INVALID);
        }
        let space = self.watchers[&watcher];
        let owner = self.processes.iter().find(|(_, process)| process.space == space).map(|(number, _)| *number);
        Ok(Call { watcher, owner, start, end })
    }

    pub(super) fn uffd_register(&mut self, p: u16, op: &UffdRegister) -> Outcome {
        let wanted = |mode| op.mode.has(mode);
        let named = wanted(UffdMode::Missing) || wanted(UffdMode::Minor) || wanted(UffdMode::Wp);
        let call = self.call(p, &op.uffd, &op.map, op.range, named)?;
        let owner = call.owner.ok_or(Fail::Errno("ENOMEM"))?;
        let vmas = self.process(owner).vmas_in(call.start, call.end);
        if vmas.is_empty() || !aligned(call.start) {
            return Err(INVALID);
        }
        for vma in &vmas {
            if !vma.may_write {
                return Err(Fail::Errno("EPERM"));
            }
            if call.end < vma.end && !aligned(call.end) {
                return Err(INVALID);
            }
            if vma.watch.is_some_and(|watch| watch.by != call.watcher) {
                return Err(Fail::Errno("EBUSY"));
            }
        }
        let watch = watch_of(call.watcher, &op.mode);
        for vma in vmas {
            if !vma.watch.is_some_and(|old| includes(old, watch)) {
                let (start, end) = (vma.start.max(call.start), vma.end.min(call.end));
                self.process_mut(owner).change(start, end, |vma| vma.watch = Some(watch));
            }
        }
        Ok(Answer::ok())
    }

    pub(super) fn uffd_unregister(&mut self, p: u16, op: &UffdUnregister) -> Outcome {
        let call = self.call(p, &op.uffd, &op.map, op.range, true)?;
        let owner = call.owner.ok_or(Fail::Errno("ENOMEM"))?;
        let vmas = self.process(owner).vmas_in(call.start, call.end);
        if vmas.is_empty() || !aligned(call.start) {
            return Err(INVALID);
        }
        let watched: Vec<Vma> = vmas.into_iter().filter(|vma| vma.watch.is_some()).collect();
        let not_mine = |vma: &Vma| vma.watch.is_some_and(|watch| watch.by != call.watcher);
        if watched.iter().any(not_mine) {
            return Err(INVALID);
        }
        for vma in watched {
            let (start, end) = (vma.start.max(call.start), vma.end.min(call.end));
            let process = self.process_mut(owner);
            // The protection goes first, also of a page that the end cuts.
            if vma.watch.is_some_and(|watch| watch.writes) {
                process.protected.retain(|addr| !(start..end).contains(addr));
            }
            process.split(start);
            if !aligned(end) {
                return Err(INVALID);
            }
            process.change(start, end, |vma| vma.watch = None);
        }
        Ok(Answer::ok())
    }

    /// Protects a place whether it has a page or not; an area whose writes nobody watches ends the walk.
    pub(super) fn uffd_wp(&mut self, p: u16, op: &UffdWp) -> Outcome {
        let call = self.call(p, &op.uffd, &op.map, op.range, true)?;
        let owner = call.owner.ok_or(Fail::Errno("ESRCH"))?;
        let vmas = self.process(owner).vmas_in(call.start, call.end);
        if vmas.is_empty() {
            return Err(UNWATCHED);
        }
        for vma in vmas {
            if !vma.watch.is_some_and(|watch| watch.writes) {
                return Err(UNWATCHED);
            }
            if !aligned(call.start) || !aligned(call.end) {
                return Err(INVALID);
            }
            let mut addr = vma.start.max(call.start);
            let process = self.process_mut(owner);
            while addr < vma.end.min(call.end) {
                if op.mode.has(UffdMode::Wp) {
                    process.protected.insert(addr);
                    process.tables.insert(addr >> 30);
                } else {
                    process.protected.remove(&addr);
                }
                addr += PAGE;
            }
        }
        Ok(Answer::ok())
    }

    /// The process and the VMA that pages are to be filled in: the one at the start, which must reach over the end and be
    /// watched by anybody. One that can never write to its file is prepared for anonymous pages even if it does not.
    fn target(&mut self, call: &Call) -> Result<(u16, Vma), Fail> {
        let owner = call.owner.ok_or(Fail::Errno("ESRCH"))?;
        let vma = self.process(owner).vma_at(call.start).ok_or(UNWATCHED)?;
        if !vma.shared || vma.reads_only {
            self.prepare(owner, call.start);
        }
        if vma.watch.is_none() || vma.end < call.end {
            return Err(UNWATCHED);
        }
        Ok((owner, vma))
    }

    pub(super) fn uffd_zero(&mut self, p: u16, op: &UffdZero) -> Outcome {
        let call = self.call(p, &op.uffd, &op.map, op.range, true)?;
        self.target(&call)?;
        Err(INVALID)
    }

    pub(super) fn uffd_copy(&mut self, p: u16, op: &UffdCopy) -> Outcome {
        let protect = op.mode.as_ref().is_some_and(|mode| mode.has(UffdMode::Wp));
        let byte = op.value.map_or(1, |fill| fill.byte(0));
        let call = self.call(p, &op.uffd, &op.map, op.range, true);
        Ok(self.fill(call, protect, |machine, owner, vma, addr| machine.copy_in(owner, vma, addr, byte, protect)))
    }

    pub(super) fn uffd_continue(&mut self, p: u16, op: &UffdContinue) -> Outcome {
        let call = self.call(p, &op.uffd, &op.map, op.range, true);
        Ok(self.fill(call, false, Self::map_cached))
    }

    /// Fills page after page. Some progress makes the first failure EAGAIN.
    fn fill(
        &mut self,
        call: Result<Call, Fail>,
        protect: bool,
        one: impl Fn(&mut Self, u16, &Vma, u64) -> Result<(), Fail>,
    ) -> Answer {
        let mut copied = 0;
        let run = || {
            let call = call?;
            let (owner, vma) = self.target(&call)?;
            let unwatched = protect && !vma.watch.is_some_and(|watch| watch.writes);
            if unwatched || !aligned(call.start) || !aligned(call.end) {
                return Err(INVALID);
            }
            for addr in (call.start..call.end).step_by(usize::try_from(PAGE).unwrap_or(usize::MAX)) {
                self.process_mut(owner).tables.insert(addr >> 30);
                one(self, owner, &vma, addr)?;
                copied += PAGE;
            }
            Ok(())
        };
        let result = run();
        let mut answer = match result {
            Ok(()) => Answer::ok(),
            Err(_) if copied > 0 => Fail::Errno("EAGAIN").into(),
            Err(fail) => fail.into(),
        };
        answer.extras = Extras { copied: i64::try_from(copied).ok(), ..Extras::default() };
        answer
    }

    /// A page in the way and a page that cannot be had are the same to the caller.
    fn copy_in(&mut self, p: u16, vma: &Vma, addr: u64, byte: u8, protect: bool) -> Result<(), Fail> {
        let index = vma.index(addr);
        let exists = Fail::Errno("EEXIST");
        let cached = vma.shared && self.file(vma.file).cache.contains_key(&index);
        if cached || self.process(p).entries.contains_key(&addr) {
            return Err(exists);
        }
        if vma.shared && !self.file(vma.file).holds(index) {
            return Err(if self.claim_in_vain(p, vma, index) { Fail::Errno("EFAULT") } else { exists });
        }
        let Taken { payers, node } = self.claim(p, vma, index).ok_or(exists)?;
        let mount = self.file(vma.file).mount;
        let bytes = (0..PAGE).step_by(4096).filter(|_| byte != 0).map(|at| (at, byte)).collect();
        let page = self.new_page(Page {
            payers,
            node,
            anon: !vma.shared,
            cached: vma.shared,
            mount,
            bytes,
            ..Page::default()
        });
        if vma.shared {
            self.file_mut(vma.file).cache.insert(index, page);
        } else {
            self.consume(vma, index, page);
        }
        self.fill_in(p, addr, page);
        if protect {
            self.process_mut(p).protected.insert(addr);
        }
        Ok(())
    }

    fn map_cached(&mut self, p: u16, vma: &Vma, addr: u64) -> Result<(), Fail> {
        let index = vma.index(addr);
        let page = self.file(vma.file).cache.get(&index).copied().ok_or(Fail::Errno("EFAULT"))?;
        if self.process(p).entries.contains_key(&addr) {
            return Err(Fail::Errno("EEXIST"));
        }
        self.fill_in(p, addr, page);
        Ok(())
    }

    /// What is filled in is as open as the caller says, whatever the place was before.
    fn fill_in(&mut self, p: u16, addr: u64, page: PageId) {
        self.process_mut(p).protected.remove(&addr);
        self.enter(p, addr, page);
    }

    /// What a write to a page that is there meets. A protection that nobody watches any more ends with the write.
    pub(super) fn check_protection(&mut self, p: u16, vma: &Vma, addr: u64) -> Result<(), Fault> {
        let watched = vma.watch.is_some_and(|watch| watch.writes);
        if watched && self.process(p).protected.contains(&addr) { Err(Fault::Bus) } else { Ok(()) }
    }
}

fn watch_of(by: WatcherId, mode: &Flags<UffdMode>) -> Watch {
    Watch { by, missing: mode.has(UffdMode::Missing), minor: mode.has(UffdMode::Minor), writes: mode.has(UffdMode::Wp) }
}

/// Whether a watch is for all that another is for.
fn includes(all: Watch, some: Watch) -> bool {
    (all.missing || !some.missing) && (all.minor || !some.minor) && (all.writes || !some.writes)
}
