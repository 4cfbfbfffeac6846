//! Mounts and names: mount, umount, unlink, open, memfd, close.

use super::seal::{GROW, NO_EXEC, SEALED, SHRINK};
use super::unmap::TO_END;
use super::users::{READ, SEARCH, WRITE};
use super::world::{Descriptor, File, FileId, Mount, MountId, Opened, PAGE, User, aligned};
use super::{Fail, NaiveMachine, Outcome, no_1g};
use crate::op::{
    Close, FileName, Flags, Memfd, MemfdFlag, MountName, Open, OpenFlag, SizeName, Truncate, Umount, Unlink,
};
use crate::target::{Answer, StepResult};

/// What a path of a mount leads to.
enum Found {
    Directory,
    File(FileId),
    Nothing,
}

impl NaiveMachine {
    pub(super) fn attached(&self, name: &MountName) -> Option<MountId> {
        self.mounts.iter().find(|mount| mount.attached && mount.name == *name).map(|mount| mount.id)
    }

    pub(super) fn attached_mount(&self, name: &MountName) -> Result<MountId, Fail> {
        self.attached(name).ok_or(Fail::Target(StepResult::NoMount))
    }

    pub(super) fn mount(&mut self, op: &crate::op::Mount) -> Outcome {
        if self.attached(&op.mount).is_some() {
            return Err(Fail::Target(StepResult::Dup));
        }
        no_1g(op.pagesize)?;
        let (owner, mode) = Self::root_of(op.opts.as_ref().map(|opts| opts.0.as_str()))?;
        if !matches!(op.pagesize, None | Some(SizeName::M2)) {
            return Err(Fail::NotModelled("mount options other than plain ones"));
        }
        if !self.directories.contains(&op.mount) {
            self.directories.push(op.mount.clone());
        }
        let limits = self.new_limits(op)?;
        let id = MountId(self.fresh_id());
        self.mounts.push(Mount { id, name: op.mount.clone(), attached: true, limits, owner, mode });
        if !self.mounted.contains(&op.mount) {
            self.mounted.push(op.mount.clone());
        }
        Ok(Answer::ok())
    }

    /// A mount that anything is open or mapped of is busy; lazily it goes all the same, and its files when nobody uses it.
    pub(super) fn umount(&mut self, op: &Umount) -> Outcome {
        let Some(mount) = self.attached(&op.mount) else {
            let known = self.directories.contains(&op.mount);
            return Err(Fail::Errno(if known { "EINVAL" } else { "ENOENT" }));
        };
        let lazy = op.lazy.is_some_and(|lazy| lazy.is_on());
        if !lazy && self.mount_is_used(mount) {
            return Err(Fail::Errno("EBUSY"));
        }
        self.detach(&op.mount);
        Ok(Answer::ok())
    }

    /// Takes a mount out of the tree.
    pub(super) fn detach(&mut self, name: &MountName) {
        for mount in self.mounts.iter_mut().filter(|mount| mount.name == *name) {
            mount.attached = false;
        }
        self.evict_unused();
    }

    /// Looks a path up: the empty name and `.` are the root directory, and there are no other directories.
    fn look_up(&self, mount: MountId, path: &str) -> Result<Found, Fail> {
        let (name, rest) = path.split_once('/').unwrap_or((path, ""));
        if matches!(path, "" | "." | "/" | "./") {
            return Ok(Found::Directory);
        }
        let file = self
            .files
            .iter()
            .find(|(_, file)| file.mount == Some(mount) && file.name.as_deref() == Some(name))
            .map(|(id, _)| *id);
        match file {
            Some(_) if path.contains('/') => Err(Fail::Errno("ENOTDIR")),
            Some(id) => Ok(Found::File(id)),
            None if !rest.is_empty() => Err(Fail::Errno("ENOENT")),
            None => Ok(Found::Nothing),
        }
    }

    fn existing(&self, user: User, mount: MountId, path: &str) -> Result<FileId, Fail> {
        if !path.is_empty() {
            self.ask_root(user, mount, SEARCH)?;
        }
        match self.look_up(mount, path)? {
            Found::Directory => Err(Fail::Errno("EISDIR")),
            Found::Nothing => Err(Fail::Errno("ENOENT")),
            Found::File(id) => Ok(id),
        }
    }

    pub(super) fn unlink(&mut self, op: &Unlink) -> Outcome {
        let mount = self.attached_mount(&op.path.mount)?;
        let user = self.user(op.by)?;
        let id = self.existing(user, mount, op.path.name())?;
        self.ask_root(user, mount, WRITE | SEARCH)?;
        self.ask_sticky(user, mount, id)?;
        self.file_mut(id).name = None;
        self.evict_unused();
        Ok(Answer::ok())
    }

    pub(super) fn truncate_path(&mut self, op: &Truncate) -> Outcome {
        let mount = self.attached_mount(&op.path.mount)?;
        let user = self.user(op.by)?;
        if op.len.signed() < 0 {
            return Err(Fail::Errno("EINVAL"));
        }
        let id = self.existing(user, mount, op.path.name())?;
        self.ask_file(user, id, WRITE)?;
        self.set_size(id, op.len.unsigned())
    }

    /// Every inode counts, the root among them.
    fn room_for_inode(&self, mount: MountId) -> Result<(), Fail> {
        let limits = self.mounts.iter().find(|other| other.id == mount).and_then(|mount| mount.limits);
        match limits.and_then(|limits| limits.inodes) {
            Some(inodes) if self.files_of(mount) + 1 >= inodes => Err(Fail::Errno("ENOSPC")),
            _ => Ok(()),
        }
    }

    fn new_file(&mut self, owner: User, mount: Option<MountId>, name: Option<String>) -> FileId {
        let id = FileId(self.fresh_id());
        let file = File { owner, mount, name, seals: SEALED, ..File::default() };
        self.files.insert(id, file);
        id
    }

    fn add_descriptor(&mut self, p: u16, name: &FileName, descriptor: Descriptor) -> Outcome {
        let process = self.process_mut(p);
        process.descriptors.push(Some(descriptor));
        let at = process.descriptors.len() - 1;
        process.files.insert(name.clone(), at);
        Ok(Answer::ok())
    }

    pub(super) fn open(&mut self, p: u16, op: &Open) -> Outcome {
        let mount = self.attached_mount(&op.path.mount)?;
        let user = self.process(p).user;
        let has = |flag| op.flags.has(flag);
        let read_only = has(OpenFlag::Rdonly);
        let on = if has(OpenFlag::Tmpfile) {
            if read_only || has(OpenFlag::Creat) {
                return Err(Fail::Errno("EINVAL"));
            }
            self.ask_root(user, mount, WRITE | SEARCH)?;
            self.room_for_inode(mount)?;
            Opened::File(self.new_file(user, Some(mount), None))
        } else {
            self.open_path(user, mount, op.path.name(), &op.flags)?
        };
        let descriptor = Descriptor { on, read: read_only || !has(OpenFlag::Wronly), write: !read_only };
        self.add_descriptor(p, &op.file, descriptor)
    }

    fn open_path(&mut self, user: User, mount: MountId, path: &str, flags: &Flags<OpenFlag>) -> Result<Opened, Fail> {
        let creates = flags.has(OpenFlag::Creat);
        if !path.is_empty() {
            self.ask_root(user, mount, SEARCH)?;
        }
        match self.look_up(mount, path)? {
            Found::Directory => {
                let reads = flags.has(OpenFlag::Rdonly) && !flags.has(OpenFlag::Trunc);
                if reads && !creates { Ok(Opened::Directory(mount)) } else { Err(Fail::Errno("EISDIR")) }
            }
            Found::File(_) if creates && flags.has(OpenFlag::Excl) => Err(Fail::Errno("EEXIST")),
            Found::File(id) => {
                let reads = flags.has(OpenFlag::Rdonly) || !flags.has(OpenFlag::Wronly);
                let writes = !flags.has(OpenFlag::Rdonly) || flags.has(OpenFlag::Trunc);
                self.ask_file(user, id, if reads { READ } else { 0 } | if writes { WRITE } else { 0 })?;
                if flags.has(OpenFlag::Trunc) {
                    self.set_size(id, 0)?;
                }
                Ok(Opened::File(id))
            }
            Found::Nothing if !creates => Err(Fail::Errno("ENOENT")),
            Found::Nothing if path.ends_with('/') => Err(Fail::Errno("EISDIR")),
            Found::Nothing => {
                self.ask_root(user, mount, WRITE | SEARCH)?;
                self.room_for_inode(mount)?;
                Ok(Opened::File(self.new_file(user, Some(mount), Some(path.to_owned()))))
            }
        }
    }

    pub(super) fn memfd(&mut self, p: u16, op: &Memfd) -> Outcome {
        no_1g(op.pagesize)?;
        if !op.flags.has(MemfdFlag::Hugetlb) {
            return match op.pagesize {
                None | Some(SizeName::Default) => Err(Fail::NotModelled("memfds of base pages")),
                Some(_) => Err(Fail::Errno("EINVAL")),
            };
        }
        let ours = matches!(op.pagesize, None | Some(SizeName::Default | SizeName::M2 | SizeName::Log(0 | 21)));
        if !ours {
            return Err(Fail::Errno("ENODEV"));
        }
        let file = self.new_file(User::default(), None, None);
        let noexec = op.flags.has(MemfdFlag::NoexecSeal);
        self.file_mut(file).seals = match (op.flags.has(MemfdFlag::Seal), noexec) {
            (_, true) => NO_EXEC,
            (true, false) => 0,
            (false, false) => SEALED,
        };
        let descriptor = Descriptor { on: Opened::File(file), read: true, write: true };
        self.add_descriptor(p, &op.file, descriptor)
    }

    pub(super) fn close_file(&mut self, p: u16, op: &Close) -> Outcome {
        let process = self.process_mut(p);
        let descriptor =
            process.files.remove(&op.file).and_then(|at| process.descriptors.get_mut(at)).and_then(Option::take);
        self.evict_unused();
        match descriptor {
            Some(_) => Ok(Answer::ok()),
            None => Err(Fail::Errno("EBADF")),
        }
    }

    /// Sets a file's size to whole huge pages: every page from there on goes, mapped or not, and every reservation.
    pub(super) fn set_size(&mut self, id: FileId, size: u64) -> Outcome {
        if !aligned(size) {
            return Err(Fail::Errno("EINVAL"));
        }
        let file = self.file(id);
        let forbidden = (size > file.size && file.seals & GROW != 0) || (size < file.size && file.seals & SHRINK != 0);
        if forbidden {
            return Err(Fail::Errno("EPERM"));
        }
        let from = size / PAGE;
        self.file_mut(id).size = size;
        self.unmap_file(id, from, TO_END);
        self.cut(id, from, TO_END);
        Ok(Answer::ok())
    }
}
