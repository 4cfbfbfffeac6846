//! Charges as a value: described, not grown.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use slotmap::{SecondaryMap, SlotMap};
use units::{CgroupId, Name, Nodemask};

use crate::Charges;
use crate::group::{Group, GroupVersion};
use crate::memory::MemoryAccounting;

/// Everything that charges are. A group is named by its place.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct ChargesState {
    version: GroupVersion,
    root: Option<CgroupId>,
    tree: Vec<Group>,
    /// Does the memory controller account huge pages?
    #[cfg_attr(feature = "serde", serde(default))]
    accounting: MemoryAccounting,
}

impl ChargesState {
    /// How many groups there are, removed ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tree.len()
    }

    /// Is there no group?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }

    /// Every place where it names a group.
    pub fn names(&mut self) -> Vec<Name<'_>> {
        let parents = self.tree.iter_mut().filter_map(|group| group.parent.as_mut());
        parents.chain(self.root.as_mut()).map(Name::from).collect()
    }

    fn check(&self, hstates: usize) -> Result<(), String> {
        if (self.version == GroupVersion::V1) != self.root.is_some() {
            return Err("the root is accounted in cgroup v1 and there alone".into());
        }
        if self.version == GroupVersion::V1 && self.accounting != MemoryAccounting::Off {
            return Err("the memory controller accounts huge pages in cgroup v2 alone".into());
        }
        for (n, group) in self.tree.iter().enumerate() {
            if group.accounts.len() != hstates {
                return Err(format!("group:{n} has {} accounts for {hstates} pools", group.accounts.len()));
            }
            if group.accounts.iter().any(|account| account.nodes().len() > usize::from(Nodemask::CAPACITY)) {
                return Err(format!("group:{n} counts pages on more nodes than there can be"));
            }
        }
        Ok(())
    }
}

impl Charges {
    /// Its state. Groups keep the names that they have; their places are those of [`Charges::ids`].
    #[must_use]
    pub fn state(&self) -> ChargesState {
        let tree = self.groups.values().cloned().collect();
        ChargesState { version: self.version, root: self.root, tree, accounting: self.accounting }
    }

    /// All groups, removed ones included, by their places.
    pub fn ids(&self) -> impl Iterator<Item = CgroupId> {
        self.groups.keys()
    }

    /// The charges that are in this state, in which groups are named by their places.
    ///
    /// # Errors
    /// The first contradiction found.
    pub fn from_state(state: ChargesState, hstates: usize) -> Result<Self, String> {
        state.check(hstates)?;
        let mut groups = SlotMap::with_key();
        let ChargesState { version, root, tree, accounting } = state;
        for group in tree {
            groups.insert(group);
        }
        let charges = Self { hstates, version, groups, heirs: SecondaryMap::new(), root, accounting };
        for id in charges.ids() {
            // A chain without end would be longer than there are groups.
            if charges.ancestry(id).nth(charges.groups.len()).is_some() {
                return Err(format!("{id:?} is above itself"));
            }
        }
        Ok(charges)
    }
}
