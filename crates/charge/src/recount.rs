//! Recounting charges: from the tree alone, and from everything that somebody pays for.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;

use units::{CgroupId, HstateId, HugeCount, NodeId};

use crate::{Charges, Counter};

/// Pages that somebody pays for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paid {
    /// Who was charged.
    pub owner: CgroupId,
    /// On which counter.
    pub counter: Counter,
    /// How many.
    pub pages: HugeCount,
    /// Where pages in use lie.
    pub node: Option<NodeId>,
}

impl Charges {
    /// Recounts what the tree alone can tell: every group is charged at least what its children are, its nodes add up, and a
    /// removed group is charged for something.
    ///
    /// # Errors
    /// What is broken.
    pub fn validate(&self) -> Result<(), String> {
        for (id, group) in &self.groups {
            if !group.is_alive() && (group.is_unused() || group.processes > 0) {
                return Err(format!("{id:?} was removed and is empty, or has processes"));
            }
            for (n, account) in group.accounts.iter().enumerate() {
                let below = self.groups.values().filter(|child| child.parent == Some(id));
                let (usage, rsvd) = below.fold((HugeCount::ZERO, HugeCount::ZERO), |(usage, rsvd), child| {
                    let child = &child.accounts[n];
                    (usage.saturating_add(child.usage.pages), rsvd.saturating_add(child.rsvd.pages))
                });
                if account.usage.history.most < account.usage.pages || account.rsvd.history.most < account.rsvd.pages {
                    return Err(format!("{id:?} remembers less than it holds in pool {n}"));
                }
                if usage > account.usage.pages || rsvd > account.rsvd.pages {
                    return Err(format!("{id:?} is charged less than its children in pool {n}"));
                }
                if account.nodes().iter().fold(HugeCount::ZERO, |sum, &n| sum.saturating_add(n)) != account.usage.pages
                {
                    return Err(format!("{id:?} counts other pages by node than in all in pool {n}"));
                }
            }
        }
        Ok(())
    }

    /// Recounts every counter of every group from all that is paid for.
    ///
    /// # Errors
    /// What is broken.
    pub fn validate_against(&self, paid: impl IntoIterator<Item = Paid>) -> Result<(), String> {
        let mut counted: BTreeMap<(CgroupId, Counter), HugeCount> = BTreeMap::new();
        let mut on_nodes: BTreeMap<(CgroupId, HstateId, NodeId), HugeCount> = BTreeMap::new();
        for Paid { owner, counter, pages, node } in paid {
            let mut at = Some(owner);
            while let Some(id) = at {
                let Some(group) = self.groups.get(id) else { return Err(format!("{owner:?} pays and is not known")) };
                let counted = counted.entry((id, counter)).or_default();
                *counted = counted.saturating_add(pages);
                if let Some(node) = node {
                    let counted = on_nodes.entry((id, counter.hstate(), node)).or_default();
                    *counted = counted.saturating_add(pages);
                }
                at = group.parent;
            }
        }
        for (id, group) in &self.groups {
            for (n, account) in (0..=u8::MAX).zip(&group.accounts) {
                let hstate = HstateId::new(n);
                for counter in [Counter::Usage(hstate), Counter::Rsvd(hstate)] {
                    let there = counted.get(&(id, counter)).copied().unwrap_or_default();
                    let says = account.count(counter).pages;
                    if there != says {
                        return Err(format!("{id:?} is charged {says} on {counter:?}, {there} are paid for"));
                    }
                }
                for (node, &says) in (0..=u8::MAX).map(NodeId::new).zip(account.nodes()) {
                    let there = on_nodes.get(&(id, hstate, node)).copied().unwrap_or_default();
                    if there != says {
                        return Err(format!("{id:?} counts {says} on {node}, {there} are there"));
                    }
                }
            }
        }
        Ok(())
    }
}
