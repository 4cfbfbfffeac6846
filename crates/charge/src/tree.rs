//! The tree of control groups and their counters.

use alloc::string::String;
use alloc::vec::Vec;

use slotmap::SlotMap;
use units::{Blame, CgroupId, HstateId, HugeCount, Ledger};

/// One of the two counters of a control group for one hstate.
#[doc(alias = "rsvd_hugepage")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counter {
    /// Pages allocated.
    Usage(HstateId),
    /// Pages reserved, or allocated without a reservation.
    Rsvd(HstateId),
}

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

/// A limit refused a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the group allows {limit}; {} are charged and {} more were asked for", .usage.get(), .asked.get())]
pub struct OverLimit {
    /// The group whose limit it was: the charging one or an ancestor.
    pub cgroup: CgroupId,
    /// Which counter.
    pub counter: Counter,
    /// Charged at that moment.
    pub usage: HugeCount,
    /// The limit.
    pub limit: HugeCount,
    /// The pages asked for.
    pub asked: HugeCount,
}

impl Blame for OverLimit {
    fn ledger(&self) -> Option<Ledger> {
        Some(match self.counter {
            Counter::Usage(_) => Ledger::CgroupUsage,
            Counter::Rsvd(_) => Ledger::CgroupRsvd,
        })
    }
}

/// Why a group cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// The parent group is gone.
    #[error("the parent group does not exist")]
    NoParent,
    /// A sibling has that name.
    #[error("a group of that name exists")]
    Exists,
}

/// Why a group cannot be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RemoveError {
    /// No such group.
    #[error("the group does not exist")]
    NoGroup,
    /// Groups below it are alive.
    #[error("the group has children")]
    HasChildren,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    pages: HugeCount,
    limit: HugeCount,
}

impl Default for Count {
    fn default() -> Self {
        Self { pages: HugeCount::ZERO, limit: HugeCount::MAX }
    }
}

/// How many more pages may be charged where `charged` are and `limit` may be, if that is `asked` at least.
#[must_use]
pub fn room(charged: HugeCount, limit: HugeCount, asked: HugeCount) -> Option<HugeCount> {
    (charged.saturating_add(asked) <= limit).then_some(limit.saturating_sub(charged))
}

#[derive(Clone, Debug)]
struct Group {
    name: String,
    parent: Option<CgroupId>,
    removed: bool,
    usage: Vec<Count>,
    rsvd: Vec<Count>,
}

impl Group {
    fn count(&mut self, counter: Counter) -> &mut Count {
        let (list, hstate) = match counter {
            Counter::Usage(h) => (&mut self.usage, h),
            Counter::Rsvd(h) => (&mut self.rsvd, h),
        };
        &mut list[hstate.index()]
    }
}

/// All groups below the root and what they are charged.
#[doc(alias("hugetlb_cgroup", "page_counter"))]
#[derive(Clone, Debug)]
pub struct Charges {
    hstates: usize,
    groups: SlotMap<CgroupId, Group>,
}

impl Charges {
    /// Only the root group, which is not accounted.
    #[must_use]
    pub fn new(hstates: u8) -> Self {
        Self { hstates: usize::from(hstates), groups: SlotMap::with_key() }
    }

    /// A new group without limits; `parent` nothing means below the root.
    ///
    /// # Errors
    /// The parent is gone or a sibling has the name.
    pub fn create(&mut self, parent: Option<CgroupId>, name: &str) -> Result<CgroupId, CreateError> {
        if parent.is_some_and(|p| self.groups.get(p).is_none_or(|g| g.removed)) {
            return Err(CreateError::NoParent);
        }
        if self.groups.values().any(|g| !g.removed && g.parent == parent && g.name == name) {
            return Err(CreateError::Exists);
        }
        let counts = alloc::vec![Count::default(); self.hstates];
        let group = Group { name: name.into(), parent, removed: false, usage: counts.clone(), rsvd: counts };
        Ok(self.groups.insert(group))
    }

    /// Removes a group. What it is charged for stays charged to its ancestors.
    ///
    /// # Errors
    /// The group does not exist or has children.
    #[doc(alias = "hugetlb_cgroup_css_offline")]
    pub fn remove(&mut self, cgroup: CgroupId) -> Result<(), RemoveError> {
        if self.groups.values().any(|g| !g.removed && g.parent == Some(cgroup)) {
            return Err(RemoveError::HasChildren);
        }
        match self.groups.get_mut(cgroup) {
            Some(group) if !group.removed => {
                group.removed = true;
                Ok(())
            }
            _ => Err(RemoveError::NoGroup),
        }
    }

    /// Sets a limit.
    pub fn set_limit(&mut self, cgroup: CgroupId, counter: Counter, limit: HugeCount) {
        if let Some(group) = self.groups.get_mut(cgroup) {
            group.count(counter).limit = limit;
        }
    }

    /// What a group is charged, its descendants included.
    #[must_use]
    pub fn charged(&self, cgroup: CgroupId, counter: Counter) -> HugeCount {
        let Some(group) = self.groups.get(cgroup) else { return HugeCount::ZERO };
        match counter {
            Counter::Usage(h) => group.usage[h.index()].pages,
            Counter::Rsvd(h) => group.rsvd[h.index()].pages,
        }
    }

    /// Charges `pages` to a group and all its ancestors, or to nobody for the root.
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
        let mut at = owner;
        while let Some(id) = at {
            let group = &mut self.groups[id];
            let count = *group.count(counter);
            if room(count.pages, count.limit, pages).is_none() {
                return Err(OverLimit { cgroup: id, counter, usage: count.pages, limit: count.limit, asked: pages });
            }
            at = group.parent;
        }
        self.walk(owner, counter, |count| count.pages += pages);
        Ok(Receipt { owner, counter, pages })
    }

    /// Gives a charge back.
    #[doc(alias("hugetlb_cgroup_uncharge_folio", "hugetlb_cgroup_uncharge_counter"))]
    pub fn uncharge(&mut self, receipt: Receipt) {
        let Receipt { owner, counter, pages } = receipt;
        self.walk(owner, counter, |count| {
            debug_assert!(count.pages >= pages, "uncharged more than was charged");
            count.pages = count.pages.saturating_sub(pages);
        });
    }

    /// The group that an owner recorded earlier stands for now.
    #[must_use]
    pub fn resolve(&self, mut cgroup: CgroupId) -> Option<CgroupId> {
        loop {
            match self.groups.get(cgroup) {
                Some(group) if group.removed => cgroup = group.parent?,
                Some(_) => return Some(cgroup),
                None => return None,
            }
        }
    }

    fn walk(&mut self, from: Option<CgroupId>, counter: Counter, mut f: impl FnMut(&mut Count)) {
        let mut at = from;
        while let Some(group) = at.and_then(|id| self.groups.get_mut(id)) {
            f(group.count(counter));
            at = group.parent;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const H: HstateId = HstateId::new(0);

    #[test]
    fn an_ancestor_refuses_and_nothing_stays() {
        let mut charges = Charges::new(1);
        let top = charges.create(None, "top").unwrap();
        let low = charges.create(Some(top), "low").unwrap();
        charges.set_limit(top, Counter::Usage(H), HugeCount::new(2));
        let held = charges.charge(Some(low), Counter::Usage(H), HugeCount::new(2)).unwrap();
        let refused = charges.charge(Some(low), Counter::Usage(H), HugeCount::new(1)).unwrap_err();
        assert_eq!((refused.cgroup, refused.ledger()), (top, Some(Ledger::CgroupUsage)));
        assert_eq!(charges.charged(low, Counter::Usage(H)), HugeCount::new(2));
        charges.uncharge(held);
        assert_eq!(charges.charged(top, Counter::Usage(H)), HugeCount::ZERO);
    }

    #[test]
    fn a_removed_owner_forwards_to_its_parent() {
        let mut charges = Charges::new(1);
        let top = charges.create(None, "top").unwrap();
        let low = charges.create(Some(top), "low").unwrap();
        let held = charges.charge(Some(low), Counter::Usage(H), HugeCount::new(1)).unwrap();
        assert_eq!(charges.remove(top), Err(RemoveError::HasChildren));
        charges.remove(low).unwrap();
        assert_eq!(charges.resolve(low), Some(top));
        charges.uncharge(held);
        assert_eq!(charges.charged(top, Counter::Usage(H)), HugeCount::ZERO);
    }
}
