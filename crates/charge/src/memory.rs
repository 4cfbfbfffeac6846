//! The memory controller, as far as it accounts huge pages.
//!
//! One counter of base pages for each group, whatever their size in use; a charge counts for the group and all above it. Unlike the owners of
//! [`Counter`](crate::Counter)s, a group that is removed stays the owner of what it was charged: its ancestors count it anyway.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use units::{Blame, CgroupId, Ledger, PageCount};

use crate::Charges;
use crate::group::{Controller, GroupVersion, HandOnError, NoGroup};

/// Does the memory controller account huge pages? In cgroup v2 the mount decides that.
#[doc(alias = "memory_hugetlb_accounting")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum MemoryAccounting {
    /// It does not, and has nothing else to account here: no group has it.
    #[default]
    Off,
    /// Each huge page is charged when it is allocated, and until it is free.
    HugePages,
}

/// How often a request that a limit refuses asks for room: once, once more after what processors keep for later was given back, and
/// sixteen times because what it asks for is worth the effort. Each is an event.
#[doc(alias("MAX_RECLAIM_RETRIES", "try_charge_memcg"))]
pub const TRIES: u64 = 18;

/// What happened because of a limit on memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct MemoryEvents {
    /// The limit was about to be exceeded (`max`).
    pub max: u64,
    /// Memory was to be made at the cost of processes, as nothing else could be given back (`oom`).
    pub oom: u64,
}

/// What a group shows of its memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryView {
    /// What is charged to the group and all below it (`memory.current`): huge pages, as nothing else is modelled.
    pub charged: PageCount,
    /// The limit (`memory.max`); nothing is `max`.
    pub limit: Option<PageCount>,
    /// Events of the group's limit and of those below it (`memory.events`).
    pub events: MemoryEvents,
    /// Events of the group's own limit (`memory.events.local`).
    pub local_events: MemoryEvents,
}

/// A limit on memory refused a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the group allows {limit} of memory; {charged} are charged and {asked} more were asked for")]
pub struct OverMemory {
    /// The group whose limit it was: the charging one or an ancestor.
    pub cgroup: CgroupId,
    /// Charged at that moment.
    pub charged: PageCount,
    /// The limit.
    pub limit: PageCount,
    /// What was asked for.
    pub asked: PageCount,
}

impl Blame for OverMemory {
    fn ledger(&self) -> Option<Ledger> {
        Some(Ledger::Memcg)
    }
}

/// Memory that somebody pays for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaidMemory {
    /// Who was charged.
    pub owner: CgroupId,
    /// How much.
    pub pages: PageCount,
}

/// The memory of one group.
#[doc(alias = "mem_cgroup")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub(crate) struct Memory {
    /// The group's own; without it, the nearest ancestor that has it pays.
    pub(crate) controller: Controller,
    /// What its children get.
    pub(crate) hands_on: Controller,
    pub(crate) charged: PageCount,
    limit: Option<PageCount>,
    events: MemoryEvents,
    local_events: MemoryEvents,
}

impl Default for Memory {
    fn default() -> Self {
        Self::new(Controller::Absent)
    }
}

impl Memory {
    pub(crate) fn new(controller: Controller) -> Self {
        let nothing = MemoryEvents::default();
        let hands_on = Controller::Absent;
        Self { controller, hands_on, charged: PageCount::ZERO, limit: None, events: nothing, local_events: nothing }
    }
}

impl Charges {
    /// Only the root group of cgroup v2, with a memory controller that accounts huge pages or without one. The root is not accounted.
    #[must_use]
    pub fn with_memory(hstates: u8, accounting: MemoryAccounting) -> Self {
        Self { accounting, ..Self::new(hstates, GroupVersion::V2) }
    }

    /// Does the memory controller account huge pages?
    #[must_use]
    pub const fn memory_accounting(&self) -> MemoryAccounting {
        self.accounting
    }

    /// Charges memory to a group and all its ancestors, or to nobody for the root; says who owns the charge. A refusal is several events
    /// of the group whose limit it was and of all above it.
    ///
    /// # Errors
    /// A limit on the way up would be exceeded; nothing is charged then.
    #[doc(alias("mem_cgroup_charge_hugetlb", "try_charge_memcg"))]
    pub fn charge_memory(
        &mut self,
        cgroup: Option<CgroupId>,
        pages: PageCount,
    ) -> Result<Option<CgroupId>, OverMemory> {
        if self.accounting == MemoryAccounting::Off {
            return Ok(None);
        }
        let owner = cgroup.and_then(|cgroup| self.resolve_memory(cgroup));
        if let Some(refused) = self.over_memory(owner, pages) {
            self.note(refused.cgroup, |events| events.max = events.max.saturating_add(TRIES));
            return Err(refused);
        }
        self.walk_memory(owner, |memory| memory.charged += pages);
        Ok(owner)
    }

    /// Gives a charge back.
    #[doc(alias = "mem_cgroup_uncharge")]
    pub fn uncharge_memory(&mut self, owner: CgroupId, pages: PageCount) {
        self.walk_memory(Some(owner), |memory| {
            debug_assert!(memory.charged >= pages, "uncharged more memory than was charged");
            memory.charged = memory.charged.saturating_sub(pages);
        });
        self.forget_all_unused(Some(owner));
    }

    /// Sets a limit. What is charged beyond it stays: huge pages cannot be reclaimed, and nobody is killed for them here.
    ///
    /// # Errors
    /// There is no such group with the controller.
    #[doc(alias = "memory_max_write")]
    pub fn set_memory_limit(&mut self, cgroup: CgroupId, limit: Option<PageCount>) -> Result<(), NoGroup> {
        let memory = &mut self.groups.get_mut(cgroup).filter(|group| group.has_memory()).ok_or(NoGroup)?.memory;
        memory.limit = limit;
        if limit.is_some_and(|limit| memory.charged > limit) {
            self.note(cgroup, |events| events.oom = events.oom.saturating_add(1));
        }
        Ok(())
    }

    /// What a group shows of its memory; nothing for one without the controller.
    #[must_use]
    pub fn memory_view(&self, cgroup: CgroupId) -> Option<MemoryView> {
        let Memory { charged, limit, events, local_events, .. } = self.alive(cgroup).filter(|g| g.has_memory())?.memory;
        Some(MemoryView { charged, limit, events, local_events })
    }

    /// Does a group have the memory controller?
    #[must_use]
    pub fn has_memory(&self, cgroup: CgroupId) -> bool {
        self.memory_view(cgroup).is_some()
    }

    /// Do the children of a group get the memory controller?
    #[must_use]
    pub fn hands_memory_on(&self, cgroup: CgroupId) -> bool {
        self.alive(cgroup).is_some_and(|group| group.memory.hands_on == Controller::Present)
    }

    /// Lets the children of a group have the memory controller; those that exist begin with nothing charged.
    ///
    /// # Errors
    /// The group does not exist, does not have the controller itself, or holds processes.
    #[doc(alias = "cgroup_subtree_control_write")]
    pub fn hand_memory_on(&mut self, cgroup: CgroupId) -> Result<(), HandOnError> {
        let group = self.groups.get_mut(cgroup).filter(|group| group.is_alive()).ok_or(HandOnError::NoGroup)?;
        if !group.has_memory() {
            return Err(HandOnError::NotAccounted);
        }
        if group.memory.hands_on == Controller::Present {
            return Ok(());
        }
        if group.processes > 0 {
            return Err(HandOnError::HasProcesses { processes: group.processes });
        }
        group.memory.hands_on = Controller::Present;
        for child in self.children(Some(cgroup)).collect::<Vec<_>>() {
            self.groups[child].memory.controller = Controller::Present;
        }
        Ok(())
    }

    /// Groups that are made below this one from now on are without the memory controller.
    ///
    /// # Errors
    /// The group does not exist, or has children.
    pub fn keep_memory_to_itself(&mut self, cgroup: CgroupId) -> Result<(), HandOnError> {
        self.alive(cgroup).ok_or(HandOnError::NoGroup)?;
        if self.hands_memory_on(cgroup) {
            let children: Vec<CgroupId> = self.children(Some(cgroup)).collect();
            if children.iter().any(|&child| self.hands_memory_on(child)) {
                return Err(HandOnError::ChildHandsOn);
            }
            if !children.is_empty() {
                return Err(HandOnError::AccountedChildren);
            }
            self.groups[cgroup].memory.hands_on = Controller::Absent;
        }
        Ok(())
    }

    /// The group that pays for what is charged to `cgroup` now: itself, or the nearest ancestor that is alive and has the controller.
    #[must_use]
    pub fn resolve_memory(&self, cgroup: CgroupId) -> Option<CgroupId> {
        self.ancestry(self.remembered(cgroup)?).find(|&id| self.groups[id].has_memory())
    }

    /// The lowest group on the way up whose limit refuses.
    fn over_memory(&self, owner: Option<CgroupId>, asked: PageCount) -> Option<OverMemory> {
        owner.into_iter().flat_map(|owner| self.ancestry(owner)).find_map(|cgroup| {
            let Memory { charged, limit, .. } = self.groups[cgroup].memory;
            let limit = limit.filter(|&limit| charged.saturating_add(asked) > limit)?;
            Some(OverMemory { cgroup, charged, limit, asked })
        })
    }

    /// An event of a group's limit, which those above hear of.
    #[doc(alias = "memcg_memory_event")]
    fn note(&mut self, cgroup: CgroupId, event: impl Fn(&mut MemoryEvents)) {
        if let Some(group) = self.groups.get_mut(cgroup) {
            event(&mut group.memory.local_events);
        }
        self.walk_memory(Some(cgroup), |memory| event(&mut memory.events));
    }

    /// The memory of a group, removed or not, and of all above it.
    fn walk_memory(&mut self, from: Option<CgroupId>, mut f: impl FnMut(&mut Memory)) {
        let mut at = from;
        while let Some(group) = at.and_then(|id| self.groups.get_mut(id)) {
            f(&mut group.memory);
            at = group.parent;
        }
    }

    /// Recounts the memory of every group from all that is paid for.
    ///
    /// # Errors
    /// What is broken.
    pub fn validate_memory_against(&self, paid: impl IntoIterator<Item = PaidMemory>) -> Result<(), String> {
        let mut counted: BTreeMap<CgroupId, PageCount> = BTreeMap::new();
        for PaidMemory { owner, pages } in paid {
            if !self.groups.contains_key(owner) {
                return Err(format!("{owner:?} pays for memory and is not known"));
            }
            for id in self.ancestry(owner) {
                let counted = counted.entry(id).or_insert(PageCount::ZERO);
                *counted = counted.saturating_add(pages);
            }
        }
        for (id, group) in &self.groups {
            let there = counted.get(&id).copied().unwrap_or(PageCount::ZERO);
            if there != group.memory.charged {
                return Err(format!("{id:?} is charged {} of memory, {there} are paid for", group.memory.charged));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HUGE: PageCount = PageCount::new(512);

    fn chain() -> (Charges, CgroupId, CgroupId) {
        let mut charges = Charges::with_memory(1, MemoryAccounting::HugePages);
        let top = charges.create(None, "top").unwrap();
        charges.hand_memory_on(top).unwrap();
        let low = charges.create(Some(top), "low").unwrap();
        (charges, top, low)
    }

    #[test]
    fn a_refusal_is_an_event_of_whose_limit_it_was() {
        let (mut charges, top, low) = chain();
        charges.set_memory_limit(top, Some(HUGE)).unwrap();
        assert_eq!(charges.charge_memory(Some(low), HUGE), Ok(Some(low)));
        let refused = charges.charge_memory(Some(low), HUGE).unwrap_err();
        assert_eq!((refused.cgroup, refused.charged, refused.ledger()), (top, HUGE, Some(Ledger::Memcg)));
        let events = |c: &Charges, id| c.memory_view(id).map(|view| (view.events.max, view.local_events.max));
        assert_eq!((events(&charges, top), events(&charges, low)), (Some((TRIES, TRIES)), Some((0, 0))));
        charges.set_memory_limit(low, Some(HUGE)).unwrap();
        let refused = charges.charge_memory(Some(low), HUGE).unwrap_err();
        assert_eq!(refused.cgroup, low, "the lowest that refuses");
        assert_eq!((events(&charges, top), events(&charges, low)), (Some((2 * TRIES, TRIES)), Some((TRIES, TRIES))));
        charges.validate_memory_against([PaidMemory { owner: low, pages: HUGE }]).unwrap();
        charges.uncharge_memory(low, HUGE);
        charges.validate_memory_against([]).unwrap();
    }

    #[test]
    fn a_removed_group_is_the_owner_to_the_end() {
        let (mut charges, top, low) = chain();
        let owner = charges.charge_memory(Some(low), HUGE).unwrap().unwrap();
        charges.remove(low).unwrap();
        let again = charges.create(Some(top), "low").unwrap();
        let charged = |c: &Charges, id| c.memory_view(id).map(|view| view.charged);
        assert_eq!((charged(&charges, top), charged(&charges, again)), (Some(HUGE), Some(PageCount::ZERO)));
        charges.validate().unwrap();
        charges.uncharge_memory(owner, HUGE);
        assert_eq!((charged(&charges, top), charges.ids().count()), (Some(PageCount::ZERO), 2));
    }

    #[test]
    fn nobody_is_charged_where_nothing_is_accounted_and_the_root_never_is() {
        let mut charges = Charges::new(1, GroupVersion::V2);
        let top = charges.create(None, "top").unwrap();
        assert_eq!((charges.charge_memory(Some(top), HUGE), charges.memory_view(top)), (Ok(None), None));
        assert_eq!(charges.set_memory_limit(top, None), Err(NoGroup));
        let (mut charges, top, low) = chain();
        assert_eq!(charges.charge_memory(None, HUGE), Ok(None));
        charges.enter(low).unwrap();
        assert_eq!(charges.hand_memory_on(low), Err(HandOnError::HasProcesses { processes: 1 }));
        assert_eq!(charges.enter(top), Err(crate::EnterError::HandsOn));
        assert_eq!(charges.keep_memory_to_itself(top), Err(HandOnError::AccountedChildren));
    }

    #[test]
    fn below_a_group_that_keeps_it_to_itself_that_group_pays() {
        let mut charges = Charges::with_memory(1, MemoryAccounting::HugePages);
        let top = charges.create(None, "top").unwrap();
        let low = charges.create(Some(top), "low").unwrap();
        assert_eq!((charges.charge_memory(Some(low), HUGE), charges.has_memory(low)), (Ok(Some(top)), false));
        charges.uncharge_memory(top, HUGE);
    }
}
