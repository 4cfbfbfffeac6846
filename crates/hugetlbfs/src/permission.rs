//! Who asks, whose a file is, and what that permits.

use alloc::vec::Vec;
use core::fmt;

/// A user.
#[doc(alias = "kuid_t")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Uid(pub u32);

/// A group of users.
#[doc(alias = "kgid_t")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Gid(pub u32);

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uid:{}", self.0)
    }
}

impl fmt::Display for Gid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gid:{}", self.0)
    }
}

bitflags::bitflags! {
    /// What a task may do whoever it is: of Linux's capabilities those that decide here.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
    pub struct Capabilities: u8 {
        /// Make segments of huge pages, whatever its groups (`CAP_IPC_LOCK`).
        const IPC_LOCK = 1 << 0;
        /// Read, write and search, whatever the mode says (`CAP_DAC_OVERRIDE`).
        const DAC_OVERRIDE = 1 << 1;
        /// Act as the owner of any file (`CAP_FOWNER`).
        const FOWNER = 1 << 2;
    }
}

bitflags::bitflags! {
    /// What is asked of a file or directory, as one digit of a mode has it.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Permissions: u16 {
        /// Read it.
        const READ = 4;
        /// Write it; of a directory, make and remove names.
        const WRITE = 2;
        /// Search a directory.
        const SEARCH = 1;
    }
}

/// Permission bits, with the one for sticky directories. A mount takes no others for its root, and files are made with fewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct FileMode(u16);

impl FileMode {
    const STICKY: u16 = 0o1000;

    /// A mode of those bits; what a mode does not have is dropped.
    #[must_use]
    pub const fn new(bits: u16) -> Self {
        Self(bits & 0o1777)
    }

    /// Its bits.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }
}

impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

/// Whose a file or directory is, and what it lets others do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct FileOwner {
    /// Its owner.
    pub uid: Uid,
    /// Its group.
    pub gid: Gid,
    /// What owner, group and others may do.
    pub mode: FileMode,
}

impl FileOwner {
    /// The root directory of a mount that says nothing else.
    pub const ROOT_DIRECTORY: Self = Self { uid: Uid(0), gid: Gid(0), mode: FileMode::new(0o755) };

    /// A file that belongs to the superuser alone.
    pub(crate) const PRIVATE: Self = Self { mode: FileMode::new(0o600), ..Self::ROOT_DIRECTORY };

    /// A new file.
    pub(crate) const fn new_file(by: &Credentials) -> Self {
        Self { uid: by.uid, gid: by.gid, ..Self::PRIVATE }
    }
}

impl fmt::Display for FileOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} mode:{}", self.uid, self.gid, self.mode)
    }
}

/// Who a task is. The identities that Linux keeps apart for files, signals and the rest are one here.
#[doc(alias = "cred")]
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Credentials {
    /// Its user.
    pub uid: Uid,
    /// Its group, which its files get.
    pub gid: Gid,
    /// Further groups.
    pub groups: Vec<Gid>,
    /// What it may do whoever it is.
    pub capabilities: Capabilities,
}

impl Default for Credentials {
    fn default() -> Self {
        Self::root()
    }
}

impl Credentials {
    /// The superuser, with all capabilities.
    #[must_use]
    pub const fn root() -> Self {
        Self { uid: Uid(0), gid: Gid(0), groups: Vec::new(), capabilities: Capabilities::all() }
    }

    /// A user of one group. The superuser has all capabilities, others have none.
    #[must_use]
    pub const fn of(uid: Uid, gid: Gid) -> Self {
        let capabilities = if uid.0 == 0 { Capabilities::all() } else { Capabilities::empty() };
        Self { uid, gid, groups: Vec::new(), capabilities }
    }

    /// Is the task in that group?
    #[doc(alias = "in_group_p")]
    #[must_use]
    pub fn in_group(&self, gid: Gid) -> bool {
        self.gid == gid || self.groups.contains(&gid)
    }

    /// May the task make segments of huge pages, where those of `group` may?
    #[doc(alias = "can_do_hugetlb_shm")]
    #[must_use]
    pub fn may_make_segments(&self, group: Gid) -> bool {
        self.capabilities.contains(Capabilities::IPC_LOCK) || self.in_group(group)
    }

    /// Asks for all of `wanted`. One digit of the mode decides: an owner who may less than others gets less.
    ///
    /// # Errors
    /// The mode does not permit it.
    #[doc(alias("inode_permission", "generic_permission"))]
    pub fn ask(&self, of: &FileOwner, wanted: Permissions) -> Result<(), Denied> {
        let bits = of.mode.0;
        let digit = if self.uid == of.uid {
            bits >> 6
        } else if self.in_group(of.gid) {
            bits >> 3
        } else {
            bits
        };
        if Permissions::from_bits_truncate(digit).contains(wanted)
            || self.capabilities.contains(Capabilities::DAC_OVERRIDE)
        {
            return Ok(());
        }
        Err(Denied { uid: self.uid, wanted, of: *of })
    }

    /// May the task remove this file from a directory that it may write? From a sticky one only its owner may and the file's.
    #[doc(alias = "check_sticky")]
    #[must_use]
    pub fn may_remove(&self, directory: &FileOwner, file: &FileOwner) -> bool {
        directory.mode.0 & FileMode::STICKY == 0
            || self.uid == file.uid
            || self.uid == directory.uid
            || self.capabilities.contains(Capabilities::FOWNER)
    }
}

/// A mode does not permit what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{uid} may not {} what is {of}", self.what())]
pub struct Denied {
    /// Who asked.
    pub uid: Uid,
    /// What for.
    pub wanted: Permissions,
    /// Whose it is.
    pub of: FileOwner,
}

impl Denied {
    fn what(&self) -> &'static str {
        match (self.wanted.contains(Permissions::WRITE), self.wanted.contains(Permissions::READ)) {
            (true, true) => "read and write",
            (true, false) => "write",
            (false, true) => "read",
            (false, false) => "search",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: [u32; 3] = [0, 7, 8];

    /// Bit by bit, without digits.
    fn naive(by: &Credentials, of: &FileOwner, wanted: Permissions) -> bool {
        let mut all = true;
        for (flag, owner, group, other) in
            [(4, 0o400, 0o040, 0o004), (2, 0o200, 0o020, 0o002), (1, 0o100, 0o010, 0o001)]
        {
            if wanted.bits() & flag != 0 {
                let mut member = by.gid.0 == of.gid.0;
                for gid in &by.groups {
                    member |= gid.0 == of.gid.0;
                }
                let bit = match (by.uid.0 == of.uid.0, member) {
                    (true, _) => owner,
                    (false, true) => group,
                    (false, false) => other,
                };
                all &= of.mode.bits() & bit != 0;
            }
        }
        all || by.capabilities.contains(Capabilities::DAC_OVERRIDE)
    }

    #[test]
    fn one_digit_decides() {
        for (uid, gid, extra) in IDS.iter().flat_map(|&u| IDS.iter().flat_map(move |&g| IDS.map(|e| (u, g, e)))) {
            let by = Credentials { groups: alloc::vec![Gid(extra)], ..Credentials::of(Uid(uid), Gid(gid)) };
            for (mode, wanted) in (0..0o1000).flat_map(|mode| (1..8).map(move |wanted| (mode, wanted))) {
                let of = FileOwner { uid: Uid(7), gid: Gid(8), mode: FileMode::new(mode) };
                let wanted = Permissions::from_bits_truncate(wanted);
                assert_eq!(by.ask(&of, wanted).is_ok(), naive(&by, &of, wanted), "{by:?} {of} {wanted:?}");
            }
        }
    }

    #[test]
    fn an_owner_may_get_less_than_others() {
        let of = FileOwner { uid: Uid(7), gid: Gid(8), mode: FileMode::new(0o077) };
        assert!(Credentials::of(Uid(7), Gid(8)).ask(&of, Permissions::READ).is_err());
        assert!(Credentials::of(Uid(9), Gid(9)).ask(&of, Permissions::READ).is_ok());
    }

    #[test]
    fn sticky_directories_keep_names() {
        let sticky = FileOwner { uid: Uid(1), gid: Gid(1), mode: FileMode::new(0o1777) };
        let file = FileOwner { uid: Uid(2), ..sticky };
        let may = |uid, directory| Credentials::of(Uid(uid), Gid(1)).may_remove(directory, &file);
        assert_eq!([0, 1, 2, 3].map(|uid| may(uid, &sticky)), [true, true, true, false]);
        assert!(may(3, &FileOwner { mode: FileMode::new(0o777), ..sticky }));
    }

    #[test]
    fn segments_want_the_group_or_the_capability() {
        let user = Credentials::of(Uid(7), Gid(8));
        assert!(user.may_make_segments(Gid(8)) && !user.may_make_segments(Gid(9)));
        let more = Credentials { groups: alloc::vec![Gid(9)], ..user.clone() };
        assert!(more.may_make_segments(Gid(9)));
        assert!(Credentials { capabilities: Capabilities::IPC_LOCK, ..user }.may_make_segments(Gid(9)));
    }

    #[test]
    fn new_files_are_their_makers() {
        let by = Credentials::of(Uid(7), Gid(8));
        assert_eq!(FileOwner::new_file(&by), FileOwner { uid: Uid(7), gid: Gid(8), mode: FileMode::new(0o600) });
        assert_eq!(FileMode::new(0o7_777), FileMode::new(0o1_777));
    }
}
