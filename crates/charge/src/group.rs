//! The tree of control groups: making and removing them, and who is in one.

use alloc::string::String;
use alloc::vec::Vec;

use units::{CgroupId, Nodemask};

use crate::Charges;
use crate::count::Account;
use crate::memory::{Memory, MemoryAccounting};

/// Which interface groups have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum GroupVersion {
    /// cgroup v1: a hierarchy for huge pages alone. Every group has the controller, the root too, and may hold processes.
    V1,
    /// cgroup v2: one hierarchy, in which a group holds processes or hands the controller on.
    #[default]
    V2,
}

/// There is no such group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the group does not exist")]
pub struct NoGroup;

/// Why a group cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// The parent group is gone.
    #[error("the parent group does not exist")]
    NoParent,
    /// A sibling, or a file beside it, has that name.
    #[error("something of that name exists")]
    Exists,
    /// A group cannot be called so.
    #[error("a name has no slash and no line end")]
    BadName,
}

/// Why a group cannot be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RemoveError {
    /// No such group.
    #[error("the group does not exist")]
    NoGroup,
    /// Groups below it are alive.
    #[error("the group has children: remove them first")]
    HasChildren,
    /// The root stays.
    #[error("the root group cannot be removed")]
    Root,
    /// Processes are in it.
    #[error("{processes} processes are in the group: let them exit or move them away")]
    HasProcesses {
        /// How many.
        processes: u64,
    },
}

/// Why a process cannot be in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnterError {
    /// No such group.
    #[error("the group does not exist")]
    NoGroup,
    /// In cgroup v2 a group whose children have the controller holds no processes itself.
    #[error("the group hands the controller on to its children and can hold no process itself")]
    HandsOn,
}

/// Why a group cannot hand the controller on to its children, or no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandOnError {
    /// No such group.
    #[error("the group does not exist")]
    NoGroup,
    /// It does not have the controller itself.
    #[error("the group has not got the controller from its own parent")]
    NotAccounted,
    /// Processes are in it.
    #[error("{processes} processes are in the group: a group holds processes or hands the controller on")]
    HasProcesses {
        /// How many.
        processes: u64,
    },
    /// A child hands the controller on in its turn.
    #[error("a child hands the controller on in its turn")]
    ChildHandsOn,
    /// In cgroup v1 every group has the controller.
    #[error("in cgroup v1 every group has the controller")]
    Everywhere,
    /// Children have charges of their own; Linux would forget their limits and events.
    #[error("groups below have the controller; remove them first (taking it from them is not modelled)")]
    AccountedChildren,
}

/// A group is removed or alive; a removed one stays as long as something is charged to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub(crate) enum Life {
    Alive,
    Removed,
}

/// Does a group have, or hand on, the controller?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub(crate) enum Controller {
    Present,
    Absent,
}

/// One group below the root.
#[doc(alias = "hugetlb_cgroup")]
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) parent: Option<CgroupId>,
    pub(crate) life: Life,
    /// Its own; without it, the nearest ancestor that has it pays.
    pub(crate) controller: Controller,
    /// What its children get.
    pub(crate) hands_on: Controller,
    pub(crate) processes: u64,
    /// The nodes that its processes may use; none where it is as above it.
    #[cfg_attr(feature = "serde", serde(default))]
    pub(crate) mems: Nodemask,
    /// By hstate.
    pub(crate) accounts: Vec<Account>,
    /// What the memory controller knows.
    #[cfg_attr(feature = "serde", serde(default))]
    pub(crate) memory: Memory,
}

impl Group {
    pub(crate) fn is_alive(&self) -> bool {
        self.life == Life::Alive
    }

    pub(crate) fn is_accounted(&self) -> bool {
        self.is_alive() && self.controller == Controller::Present
    }

    pub(crate) fn has_memory(&self) -> bool {
        self.is_alive() && self.memory.controller == Controller::Present
    }

    pub(crate) fn is_unused(&self) -> bool {
        self.accounts.iter().all(Account::is_unused) && self.memory.charged.is_zero()
    }
}

impl Charges {
    /// A new group without limits; `parent` nothing means below the root, whose children all have the controller.
    ///
    /// # Errors
    /// The parent is gone or a sibling has the name.
    pub fn create(&mut self, parent: Option<CgroupId>, name: &str) -> Result<CgroupId, CreateError> {
        let parent = parent.or(self.root);
        let controller = match parent {
            None => Controller::Present,
            Some(parent) => self.alive(parent).ok_or(CreateError::NoParent)?.hands_on,
        };
        if name.contains(['/', '\n']) {
            return Err(CreateError::BadName);
        }
        if matches!(name, "" | "." | "..") || self.child(parent, name).is_some() {
            return Err(CreateError::Exists);
        }
        Ok(self.add(parent, name, controller))
    }

    pub(crate) fn add(&mut self, parent: Option<CgroupId>, name: &str, controller: Controller) -> CgroupId {
        let hands_on = match self.version {
            GroupVersion::V1 => Controller::Present,
            GroupVersion::V2 => Controller::Absent,
        };
        let memory = match (self.accounting, parent) {
            (MemoryAccounting::Off, _) => Controller::Absent,
            (MemoryAccounting::HugePages, None) => Controller::Present,
            (MemoryAccounting::HugePages, Some(parent)) => self.groups[parent].memory.hands_on,
        };
        self.groups.insert(Group {
            name: name.into(),
            parent,
            life: Life::Alive,
            controller,
            hands_on,
            processes: 0,
            mems: Nodemask::EMPTY,
            accounts: alloc::vec![Account::default(); self.hstates],
            memory: Memory::new(memory),
        })
    }

    /// Removes a group. What it is charged for stays charged to its ancestors.
    ///
    /// # Errors
    /// The group does not exist, has children or holds processes. Charges are no obstacle.
    #[doc(alias = "hugetlb_cgroup_css_offline")]
    pub fn remove(&mut self, cgroup: CgroupId) -> Result<(), RemoveError> {
        if self.root == Some(cgroup) {
            return Err(RemoveError::Root);
        }
        let group = self.alive(cgroup).ok_or(RemoveError::NoGroup)?;
        if group.processes > 0 {
            return Err(RemoveError::HasProcesses { processes: group.processes });
        }
        if self.children(Some(cgroup)).next().is_some() {
            return Err(RemoveError::HasChildren);
        }
        self.groups[cgroup].life = Life::Removed;
        self.forget_unused(cgroup);
        Ok(())
    }

    /// The group at a path of names from the root on, such as `g0/c0`; nothing stands for the root itself.
    ///
    /// # Errors
    /// There is none.
    pub fn look_up(&self, path: &str) -> Result<Option<CgroupId>, NoGroup> {
        let mut names = path.split('/').filter(|name| !name.is_empty());
        names.try_fold(None, |parent: Option<CgroupId>, name| {
            self.child(parent.or(self.root), name).map(Some).ok_or(NoGroup)
        })
    }

    /// Lets a process into a group.
    ///
    /// # Errors
    /// The group does not exist, or holds no processes because its children have the controller.
    #[doc(alias("cgroup_attach_task", "cgroup_migrate_vet_dst"))]
    pub fn enter(&mut self, cgroup: CgroupId) -> Result<(), EnterError> {
        let group = self.groups.get_mut(cgroup).filter(|group| group.is_alive()).ok_or(EnterError::NoGroup)?;
        let handed_on = [group.hands_on, group.memory.hands_on];
        if self.version == GroupVersion::V2 && handed_on.contains(&Controller::Present) {
            return Err(EnterError::HandsOn);
        }
        group.processes += 1;
        Ok(())
    }

    /// A process left its group. Nothing that it is charged for moves.
    pub fn leave(&mut self, cgroup: CgroupId) {
        if let Some(group) = self.groups.get_mut(cgroup) {
            debug_assert!(group.processes > 0, "a process left a group that it was not in");
            group.processes = group.processes.saturating_sub(1);
        }
    }

    /// Lets the children of a group have the controller; those that exist begin with nothing charged.
    ///
    /// # Errors
    /// The group does not exist, does not have the controller itself, or holds processes.
    #[doc(alias = "cgroup_subtree_control_write")]
    pub fn hand_on(&mut self, cgroup: CgroupId) -> Result<(), HandOnError> {
        let group = self.groups.get_mut(cgroup).filter(|group| group.is_alive()).ok_or(HandOnError::NoGroup)?;
        if !group.is_accounted() {
            return Err(HandOnError::NotAccounted);
        }
        if group.hands_on == Controller::Present {
            return Ok(());
        }
        if group.processes > 0 {
            return Err(HandOnError::HasProcesses { processes: group.processes });
        }
        group.hands_on = Controller::Present;
        for child in self.children(Some(cgroup)).collect::<Vec<_>>() {
            self.groups[child].controller = Controller::Present;
        }
        Ok(())
    }

    /// Groups that are made below this one from now on are without the controller.
    ///
    /// # Errors
    /// The group does not exist, or has children.
    pub fn keep_to_itself(&mut self, cgroup: CgroupId) -> Result<(), HandOnError> {
        let group = self.alive(cgroup).ok_or(HandOnError::NoGroup)?;
        if self.version == GroupVersion::V1 {
            return Err(HandOnError::Everywhere);
        }
        if group.hands_on == Controller::Present {
            let children: Vec<CgroupId> = self.children(Some(cgroup)).collect();
            if children.iter().any(|&child| self.groups[child].hands_on == Controller::Present) {
                return Err(HandOnError::ChildHandsOn);
            }
            if !children.is_empty() {
                return Err(HandOnError::AccountedChildren);
            }
            self.groups[cgroup].hands_on = Controller::Absent;
        }
        Ok(())
    }

    /// Do the children of a group get the controller?
    #[must_use]
    pub fn hands_on(&self, cgroup: CgroupId) -> bool {
        self.alive(cgroup).is_some_and(|group| group.hands_on == Controller::Present)
    }

    /// Does a group have the controller, and with it counters and limits of its own?
    #[must_use]
    pub fn is_accounted(&self, cgroup: CgroupId) -> bool {
        self.alive(cgroup).is_some_and(Group::is_accounted)
    }

    /// How many processes are in a group.
    #[must_use]
    pub fn processes(&self, cgroup: CgroupId) -> u64 {
        self.alive(cgroup).map_or(0, |group| group.processes)
    }

    /// The groups that exist; the root only where it is accounted.
    pub fn iter(&self) -> impl Iterator<Item = CgroupId> {
        self.groups.iter().filter(|(_, group)| group.is_alive()).map(|(id, _)| id)
    }

    /// The path of a group from the root on, such as `g0/c0`.
    #[must_use]
    pub fn path(&self, cgroup: CgroupId) -> Option<String> {
        let group = self.alive(cgroup)?;
        Some(match group.parent.filter(|&parent| self.root != Some(parent)) {
            Some(parent) => alloc::format!("{}/{}", self.path(parent)?, group.name),
            None => group.name.clone(),
        })
    }

    pub(crate) fn alive(&self, cgroup: CgroupId) -> Option<&Group> {
        self.groups.get(cgroup).filter(|group| group.is_alive())
    }

    pub(crate) fn children(&self, parent: Option<CgroupId>) -> impl Iterator<Item = CgroupId> {
        self.groups.iter().filter(move |(_, group)| group.is_alive() && group.parent == parent).map(|(id, _)| id)
    }

    fn child(&self, parent: Option<CgroupId>, name: &str) -> Option<CgroupId> {
        self.children(parent).find(|&id| self.groups[id].name == name)
    }

    /// Nothing names a removed group any more once nothing is charged to it.
    pub(crate) fn forget_unused(&mut self, cgroup: CgroupId) {
        if self.groups.get(cgroup).is_some_and(|group| !group.is_alive() && group.is_unused()) {
            let group = self.groups.remove(cgroup);
            self.heirs.insert(cgroup, group.and_then(|group| group.parent));
        }
    }
}
