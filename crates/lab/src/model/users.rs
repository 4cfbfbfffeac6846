//! Users, as far as they decide: an owner and nine bits, and one more that makes a directory sticky.

use super::world::{FileId, MountId, User};
use super::{Fail, NaiveMachine};
use crate::op::Actor;

pub(super) const READ: u32 = 4;
pub(super) const WRITE: u32 = 2;
pub(super) const SEARCH: u32 = 1;
const STICKY: u32 = 0o1000;
/// What files of mounts are made with.
const FILE_MODE: u32 = 0o600;

impl User {
    fn may(self, owner: User, mode: u32, wanted: u32) -> bool {
        let digit = match (self.uid == owner.uid, self.gid == owner.gid) {
            (true, _) => mode / 64,
            (false, true) => mode / 8,
            (false, false) => mode,
        };
        self.uid == 0 || (digit % 8) & wanted == wanted
    }

    /// With `hugetlb_shm_group` at 0.
    pub(super) fn may_make_segments(self) -> bool {
        self.uid == 0 || self.gid == 0
    }
}

impl NaiveMachine {
    /// Whoever does something to a path: a process, which must be alive, or the superuser.
    pub(super) fn user(&self, by: Option<Actor>) -> Result<User, Fail> {
        let Some(by) = by else { return Ok(User::default()) };
        match self.processes.get(&by.number()) {
            Some(process) => Ok(process.user),
            None => Err(Fail::Target(super::StepResult::BadActor)),
        }
    }

    pub(super) fn ask_root(&self, user: User, mount: MountId, wanted: u32) -> Result<(), Fail> {
        let root = self.mounts.iter().find(|known| known.id == mount).map(|mount| (mount.owner, mount.mode));
        match root {
            Some((owner, mode)) if !user.may(owner, mode, wanted) => Err(Fail::Errno("EACCES")),
            _ => Ok(()),
        }
    }

    pub(super) fn ask_file(&self, user: User, file: FileId, wanted: u32) -> Result<(), Fail> {
        if user.may(self.file(file).owner, FILE_MODE, wanted) { Ok(()) } else { Err(Fail::Errno("EACCES")) }
    }

    /// A sticky root keeps the files of others.
    pub(super) fn ask_sticky(&self, user: User, mount: MountId, file: FileId) -> Result<(), Fail> {
        let Some(root) = self.mounts.iter().find(|known| known.id == mount) else { return Ok(()) };
        let theirs = [root.owner.uid, self.file(file).owner.uid];
        if root.mode & STICKY != 0 && user.uid != 0 && !theirs.contains(&user.uid) {
            return Err(Fail::Errno("EPERM"));
        }
        Ok(())
    }

    /// The owner and the mode that plain options give a mount's root.
    pub(super) fn root_of(options: Option<&str>) -> Result<(User, u32), Fail> {
        let (mut owner, mut mode) = (User::default(), 0o755);
        for word in options.unwrap_or("").split(',').filter(|word| !word.is_empty()) {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let decimal = value.parse().ok();
            match (name, decimal, u32::from_str_radix(value, 8).ok()) {
                ("uid", Some(uid), _) if !value.starts_with('0') || uid == 0 => owner.uid = uid,
                ("gid", Some(gid), _) if !value.starts_with('0') || gid == 0 => owner.gid = gid,
                ("mode", _, Some(bits)) => mode = bits & 0o1777,
                _ => return Err(Fail::NotModelled("mount options other than plain ones")),
            }
        }
        Ok((owner, mode))
    }
}
