//! spawn, fork and exit.

use super::world::{PageId, Process, User, Vma};
use super::{Fail, NaiveMachine, Outcome};
use crate::op::{Actor, Fork, Spawn, UserId};
use crate::target::{Answer, StepResult};

impl NaiveMachine {
    /// A number that is free and among those that a target must run.
    fn check_new(&self, actor: Actor) -> Result<u16, Fail> {
        let number = actor.number();
        if number >= Actor::LIMIT || self.processes.contains_key(&number) {
            return Err(Fail::Target(StepResult::BadActor));
        }
        Ok(number)
    }

    pub(super) fn spawn(&mut self, op: &Spawn) -> Outcome {
        let number = self.check_new(op.actor)?;
        let group = op.cg.as_ref().map_or(Ok(None), |cg| self.enterable(cg))?;
        let space = self.fresh_id();
        let id = |id: Option<UserId>| id.map_or(0, UserId::get);
        let user = User { uid: id(op.uid), gid: id(op.gid) };
        let local = self.layout.memory.first().copied().unwrap_or(0);
        let allowed = self.mems(group);
        self.processes.insert(number, Process { user, group, local, allowed, space, ..Process::default() });
        Ok(Answer::ok())
    }

    /// The child knows all names and descriptors and has every VMA that fork is not told to leave out, but no reservation,
    /// no mark of a stolen page, and nobody who watches it. Entries are copied for VMAs that were prepared for anonymous pages; the
    /// others start empty.
    pub(super) fn fork(&mut self, p: u16, op: &Fork) -> Outcome {
        let number = self.check_new(op.child)?;
        let parent = self.process(p).clone();
        let mut child = Process {
            user: parent.user,
            group: parent.group,
            local: parent.local,
            allowed: parent.allowed,
            policy: parent.policy,
            names: parent.names.clone(),
            descriptors: parent.descriptors.clone(),
            files: parent.files.clone(),
            guests: parent.guests.clone(),
            guest_views: parent.guest_views.clone(),
            space: self.fresh_id(),
            watchers: parent.watchers.clone(),
            watcher_names: parent.watcher_names.clone(),
            ..Process::default()
        };
        for vma in parent.vmas.iter().filter(|vma| !vma.hints.dontfork) {
            // A child's VMA stands right behind its parent's.
            let place = self.place_behind(vma.place);
            child.vmas.push(Vma { owner: None, stolen: false, watch: None, place, ..*vma });
            if !vma.had_anon {
                continue;
            }
            // Page tables without entries are copied too.
            child.tables.extend(parent.tables.range(vma.start >> 30..=(vma.end - 1) >> 30));
            for (&addr, &page) in parent.entries.range(vma.start..vma.end) {
                match self.inherited(p, vma, addr, page) {
                    Ok(page) => _ = child.entries.insert(addr, page),
                    Err(fail) => {
                        self.processes.insert(number, child);
                        self.end_process(number);
                        return Err(fail);
                    }
                }
            }
        }
        self.processes.insert(number, child);
        Ok(Answer::ok())
    }

    /// The page that a child has in a place of its parent: the same, or a copy of one that is pinned.
    fn inherited(&mut self, p: u16, vma: &Vma, addr: u64, page: PageId) -> Result<PageId, Fail> {
        let known = self.page(page);
        let page = if known.anon && known.firm > 0 { self.copy_for_child(p, vma, addr, page)? } else { page };
        self.page_mut(page).maps += 1;
        Ok(page)
    }

    pub(super) fn exit(&mut self, p: u16) -> Outcome {
        self.end_process(p);
        Ok(Answer::ok())
    }

    /// The address space goes first, as by one munmap, then the descriptors.
    pub(super) fn end_process(&mut self, p: u16) {
        self.unmap(p, 0, u64::MAX);
        if let Some(gone) = self.processes.remove(&p) {
            self.let_all_go(gone.kept.into_values());
        }
        self.drop_unheld_watchers();
        self.end_unused_guests();
        self.evict_unused();
    }
}
