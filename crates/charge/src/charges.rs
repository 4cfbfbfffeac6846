//! Charging and uncharging.

use slotmap::{SecondaryMap, SlotMap};
use units::{CgroupId, HstateId, HugeCount, NodeId};

use crate::count::{Account, Count, Counter, GroupView, Limit, LimitError, OverLimit};
use crate::group::{Controller, Group, GroupVersion, NoGroup};
use crate::memory::MemoryAccounting;

/// A charge that was taken: give it back with [`Charges::uncharge`] or record its owner.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Who was charged; nobody for the root group.
    pub owner: Option<CgroupId>,
    /// Which counter.
    pub counter: Counter,
    /// How many pages.
    pub pages: HugeCount,
}

/// All groups and what they are charged.
#[doc(alias("hugetlb_cgroup", "page_counter"))]
#[derive(Clone, Debug)]
pub struct Charges {
    pub(crate) hstates: usize,
    pub(crate) version: GroupVersion,
    pub(crate) groups: SlotMap<CgroupId, Group>,
    /// What was above a group that is forgotten: who is about to charge it may have learned its name before. One for each place of a group, the latest.
    pub(crate) heirs: SecondaryMap<CgroupId, Option<CgroupId>>,
    /// The root, where it is accounted: in cgroup v1.
    pub(crate) root: Option<CgroupId>,
    pub(crate) accounting: MemoryAccounting,
}

impl Charges {
    /// Only the root group. That of cgroup v2 is not accounted; nothing stands for it.
    #[must_use]
    pub fn new(hstates: u8, version: GroupVersion) -> Self {
        let (hstates, groups) = (usize::from(hstates), SlotMap::with_key());
        let (heirs, accounting) = (SecondaryMap::new(), MemoryAccounting::Off);
        let mut charges = Self { hstates, version, groups, heirs, root: None, accounting };
        if version == GroupVersion::V1 {
            charges.root = Some(charges.add(None, "", Controller::Present));
        }
        charges
    }

    /// Which interface the groups have.
    #[must_use]
    pub const fn version(&self) -> GroupVersion {
        self.version
    }

    /// The root, where it is accounted.
    #[must_use]
    pub const fn root(&self) -> Option<CgroupId> {
        self.root
    }

    /// Sets a limit.
    ///
    /// # Errors
    /// There is no such group with the controller, it is the root, or more is charged; the old limit stays.
    #[doc(alias = "hugetlb_cgroup_write")]
    pub fn set_limit(&mut self, cgroup: CgroupId, counter: Counter, limit: Limit) -> Result<(), LimitError> {
        if self.root == Some(cgroup) {
            return Err(LimitError::Root);
        }
        let count = self.count_mut(cgroup, counter).ok_or(LimitError::NoGroup)?;
        if let Some(pages) = limit.pages().filter(|&pages| pages < count.pages) {
            return Err(LimitError::Busy { charged: count.pages, limit: pages });
        }
        count.limit = limit;
        Ok(())
    }

    /// Forgets what a counter held at the most: from now on that is what it holds.
    ///
    /// # Errors
    /// There is no such group with the controller.
    #[doc(alias("hugetlb_cgroup_reset", "page_counter_reset_watermark"))]
    pub fn reset_most(&mut self, cgroup: CgroupId, counter: Counter) -> Result<(), NoGroup> {
        let count = self.count_mut(cgroup, counter).ok_or(NoGroup)?;
        count.history.most = count.pages;
        Ok(())
    }

    /// Forgets how often a counter's own limit refused.
    ///
    /// # Errors
    /// There is no such group with the controller.
    #[doc(alias = "hugetlb_cgroup_reset")]
    pub fn reset_refusals(&mut self, cgroup: CgroupId, counter: Counter) -> Result<(), NoGroup> {
        self.count_mut(cgroup, counter).ok_or(NoGroup)?.history.refusals = 0;
        Ok(())
    }

    fn count_mut(&mut self, cgroup: CgroupId, counter: Counter) -> Option<&mut Count> {
        let group = self.groups.get_mut(cgroup).filter(|group| group.is_accounted())?;
        Some(group.accounts[counter.hstate().index()].count_mut(counter))
    }

    /// What a group is charged, its descendants included.
    #[must_use]
    pub fn charged(&self, cgroup: CgroupId, counter: Counter) -> HugeCount {
        let group = self.groups.get(cgroup);
        group.map_or(HugeCount::ZERO, |group| group.accounts[counter.hstate().index()].count(counter).pages)
    }

    /// What a group shows of one pool; nothing for one without the controller.
    #[must_use]
    pub fn view(&self, cgroup: CgroupId, hstate: HstateId) -> Option<GroupView> {
        let group = self.alive(cgroup).filter(|group| group.is_accounted())?;
        let account = &group.accounts[hstate.index()];
        let mut local = account.nodes().to_vec();
        for child in self.children(Some(cgroup)) {
            // A child has pages only where its parent has them, too.
            let below = self.groups[child].accounts[hstate.index()].nodes();
            local.iter_mut().zip(below).for_each(|(here, &there)| *here = here.saturating_sub(there));
        }
        Some(account.view(local))
    }

    /// Charges `pages` to a group and all its ancestors, or to nobody for the root. A refusal is an event of the charging group
    /// and of all above it, whosever limit it was.
    ///
    /// # Errors
    /// A limit on the way up would be exceeded; nothing is charged then.
    #[doc(alias("hugetlb_cgroup_charge_cgroup", "hugetlb_cgroup_charge_cgroup_rsvd"))]
    pub fn charge(
        &mut self,
        cgroup: Option<CgroupId>,
        counter: Counter,
        pages: HugeCount,
    ) -> Result<Receipt, OverLimit> {
        let owner = cgroup.and_then(|c| self.resolve(c));
        if let Err(refused) = self.ask(owner, counter, pages) {
            let mut itself = true;
            self.walk(owner, counter.hstate(), |account| {
                account.events += 1;
                account.local_events += u64::from(core::mem::take(&mut itself));
            });
            return Err(refused);
        }
        self.walk(owner, counter.hstate(), |account| account.count_mut(counter).pages += pages);
        Ok(Receipt { owner, counter, pages })
    }

    /// Gives a charge back.
    #[doc(alias("hugetlb_cgroup_uncharge_folio", "hugetlb_cgroup_uncharge_counter"))]
    pub fn uncharge(&mut self, receipt: Receipt) {
        let Receipt { owner, counter, pages } = receipt;
        self.walk(owner, counter.hstate(), |account| {
            let count = account.count_mut(counter);
            debug_assert!(count.pages >= pages, "uncharged more than was charged");
            count.pages = count.pages.saturating_sub(pages);
        });
        self.forget_all_unused(owner);
    }

    /// A page that is charged as used lies on `node`.
    #[doc(alias = "hugetlb_cgroup_commit_charge")]
    pub fn place(&mut self, owner: CgroupId, hstate: HstateId, node: NodeId) {
        self.walk(Some(owner), hstate, |account| *account.node_mut(node) += HugeCount::new(1));
    }

    /// A page that is charged as used is about to be uncharged, and lay on `node`.
    pub fn displace(&mut self, owner: CgroupId, hstate: HstateId, node: NodeId) {
        self.walk(Some(owner), hstate, |account| {
            let here = account.node_mut(node);
            debug_assert!(!here.is_zero(), "a page left a node where none was");
            *here = here.saturating_sub(HugeCount::new(1));
        });
    }

    /// The group that pays for what is charged to `cgroup` now: itself, or the nearest ancestor that is alive and has the
    /// controller. Nothing stands for the root.
    #[must_use]
    pub fn resolve(&self, cgroup: CgroupId) -> Option<CgroupId> {
        let mut at = self.remembered(cgroup);
        while let Some(id) = at {
            let group = self.groups.get(id)?;
            if group.is_accounted() {
                return Some(id);
            }
            at = group.parent.and_then(|parent| self.remembered(parent));
        }
        None
    }

    /// A group, or the nearest one above it that is not forgotten.
    pub(crate) fn remembered(&self, cgroup: CgroupId) -> Option<CgroupId> {
        let mut at = cgroup;
        while !self.groups.contains_key(at) {
            at = self.heirs.get(at).copied().flatten()?;
        }
        Some(at)
    }

    /// A group, removed or not, and all above it.
    pub fn ancestry(&self, cgroup: CgroupId) -> impl Iterator<Item = CgroupId> {
        core::iter::successors(Some(cgroup).filter(|&id| self.groups.contains_key(id)), |&id| {
            self.groups.get(id)?.parent
        })
    }

    /// Asks every limit on the way up. The first that refuses remembers that, and those before it what they would have held.
    #[doc(alias = "page_counter_try_charge")]
    fn ask(&mut self, owner: Option<CgroupId>, counter: Counter, asked: HugeCount) -> Result<(), OverLimit> {
        let mut at = owner;
        while let Some((id, group)) = at.and_then(|id| Some((id, self.groups.get_mut(id)?))) {
            let count = group.accounts[counter.hstate().index()].count_mut(counter);
            if let Some(limit) = count.refuses(asked) {
                count.history.refusals += 1;
                return Err(OverLimit { cgroup: id, counter, usage: count.pages, limit, asked });
            }
            count.remember(asked);
            at = group.parent;
        }
        Ok(())
    }

    /// Every account from a group to the top. A removed group has its own to the end.
    fn walk(&mut self, from: Option<CgroupId>, hstate: HstateId, mut f: impl FnMut(&mut Account)) {
        let mut at = from;
        while let Some(group) = at.and_then(|id| self.groups.get_mut(id)) {
            f(&mut group.accounts[hstate.index()]);
            at = group.parent;
        }
    }

    pub(crate) fn forget_all_unused(&mut self, from: Option<CgroupId>) {
        let mut at = from;
        while let Some(id) = at {
            at = self.groups.get(id).and_then(|group| group.parent);
            self.forget_unused(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use units::{Blame, Ledger};

    use super::*;
    use crate::{EnterError, HandOnError, RemoveError};

    const H: HstateId = HstateId::new(0);
    const USAGE: Counter = Counter::Usage(H);
    const ONE: HugeCount = HugeCount::new(1);

    fn chain() -> (Charges, CgroupId, CgroupId) {
        let mut charges = Charges::new(1, GroupVersion::V2);
        let top = charges.create(None, "top").unwrap();
        charges.hand_on(top).unwrap();
        let low = charges.create(Some(top), "low").unwrap();
        (charges, top, low)
    }

    /// Somebody learned a group's name, and the group was removed and forgotten before he charged it: nobody paid, and no limit above it held.
    #[test]
    fn what_was_above_a_forgotten_group_pays() {
        let (mut charges, top, low) = chain();
        charges.remove(low).unwrap();
        let held = charges.charge(Some(low), USAGE, ONE).unwrap();
        assert_eq!((held.owner, charges.charged(top, USAGE)), (Some(top), ONE));
        charges.remove(top).unwrap();
        charges.uncharge(held);
        assert_eq!((charges.ids().count(), charges.resolve(low)), (0, None));
    }

    #[test]
    fn an_ancestor_refuses_and_nothing_stays_but_the_event() {
        let (mut charges, top, low) = chain();
        charges.set_limit(top, USAGE, Limit::Pages(HugeCount::new(2))).unwrap();
        let held = charges.charge(Some(low), USAGE, HugeCount::new(2)).unwrap();
        let refused = charges.charge(Some(low), USAGE, ONE).unwrap_err();
        assert_eq!((refused.cgroup, refused.ledger()), (top, Some(Ledger::CgroupUsage)));
        assert_eq!(charges.charged(low, USAGE), HugeCount::new(2));
        let events = |c: &Charges, id| c.view(id, H).map(|view| (view.events, view.local_events));
        assert_eq!((events(&charges, top), events(&charges, low)), (Some((1, 0)), Some((1, 1))));
        charges.uncharge(held);
        assert_eq!(charges.charged(top, USAGE), HugeCount::ZERO);
    }

    #[test]
    fn a_removed_owner_forwards_to_its_parent_and_is_forgotten_when_nothing_is_charged() {
        let (mut charges, top, low) = chain();
        let held = charges.charge(Some(low), USAGE, ONE).unwrap();
        charges.place(low, H, NodeId::new(0));
        assert_eq!(charges.remove(top), Err(RemoveError::HasChildren));
        charges.remove(low).unwrap();
        assert_eq!((charges.resolve(low), charges.charged(top, USAGE)), (Some(top), ONE));
        charges.validate().unwrap();
        charges.displace(low, H, NodeId::new(0));
        charges.uncharge(held);
        assert_eq!((charges.groups.len(), charges.charged(top, USAGE)), (1, HugeCount::ZERO));
        charges.validate().unwrap();
    }

    #[test]
    fn a_group_holds_processes_or_hands_the_controller_on() {
        let (mut charges, top, low) = chain();
        assert_eq!(charges.enter(top), Err(EnterError::HandsOn));
        charges.enter(low).unwrap();
        assert_eq!(charges.hand_on(low), Err(HandOnError::HasProcesses { processes: 1 }));
        assert_eq!(charges.remove(low), Err(RemoveError::HasProcesses { processes: 1 }));
        charges.leave(low);
        charges.hand_on(low).unwrap();
        assert_eq!(charges.keep_to_itself(top), Err(HandOnError::ChildHandsOn));
    }

    #[test]
    fn a_group_without_the_controller_lets_its_ancestor_pay() {
        let mut charges = Charges::new(1, GroupVersion::V2);
        let top = charges.create(None, "top").unwrap();
        let low = charges.create(Some(top), "low").unwrap();
        let held = charges.charge(Some(low), USAGE, ONE).unwrap();
        assert_eq!((held.owner, charges.view(low, H)), (Some(top), None));
        assert_eq!(charges.set_limit(low, USAGE, Limit::Max), Err(LimitError::NoGroup));
        charges.hand_on(top).unwrap();
        assert_eq!(charges.view(low, H).map(|view| view.usage), Some(HugeCount::ZERO));
        charges.uncharge(held);
    }

    #[test]
    fn a_limit_may_equal_what_is_charged_and_not_be_less() {
        let (mut charges, top, low) = chain();
        let held = charges.charge(Some(low), USAGE, HugeCount::new(2)).unwrap();
        let busy = LimitError::Busy { charged: HugeCount::new(2), limit: ONE };
        assert_eq!(charges.set_limit(top, USAGE, Limit::Pages(ONE)), Err(busy));
        charges.set_limit(top, USAGE, Limit::Pages(HugeCount::new(2))).unwrap();
        charges.uncharge(held);
    }

    #[test]
    fn the_root_is_a_group_in_v1_alone() {
        let mut charges = Charges::new(1, GroupVersion::V1);
        let root = charges.root().unwrap();
        let top = charges.create(None, "top").unwrap();
        let low = charges.create(Some(top), "low").unwrap();
        assert_eq!((charges.look_up(""), charges.look_up("top/low")), (Ok(None), Ok(Some(low))));
        assert_eq!((charges.path(root).as_deref(), charges.path(low).as_deref()), (Some(""), Some("top/low")));
        let held = charges.charge(Some(low), USAGE, ONE).unwrap();
        charges.enter(top).unwrap();
        charges.enter(root).unwrap();
        assert_eq!(charges.charged(root, USAGE), ONE);
        assert_eq!(
            (charges.set_limit(root, USAGE, Limit::Max), charges.remove(root)),
            (Err(LimitError::Root), Err(RemoveError::Root))
        );
        assert_eq!(charges.keep_to_itself(top), Err(HandOnError::Everywhere));
        charges.uncharge(held);
        assert_eq!(charges.view(root, H).map(|view| view.usage_history.most), Some(ONE));
        assert_eq!(Charges::new(1, GroupVersion::V2).root(), None);
    }
}
