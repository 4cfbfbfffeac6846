//! Operations on mounts and files.

use super::edges::{bytes, crooked};
use super::view::PAGE;
use super::{Action, Generator};
use crate::op::{
    Actor, Close, Fallocate, FallocateMode, FileName, Flags, Fstat, Ftruncate, Memfd, MemfdFlag, MountName, MountPath,
    Op, Open, OpenFlag, Pread, Size, Span, Switch, Truncate, Umount, Unlink,
};

/// How many names there are for mounts, for the files of one, and for the descriptors of a process.
const MOUNTS: u32 = 2;
const FILES: u32 = 4;
const DESCRIPTORS: u32 = 6;

impl Generator {
    pub(super) fn mount(&mut self) -> Option<Op> {
        let names = (0..MOUNTS).filter_map(|index| MountName::new(&format!("M{index}")).ok());
        let unused: Vec<MountName> = names.filter(|name| !self.view.mounts.contains(name)).collect();
        let mount = self.random.any(unused)?;
        Some(self.mount_of(mount))
    }

    fn mounted(&mut self) -> Option<MountName> {
        let mounts: Vec<MountName> = self.view.mounts.iter().cloned().collect();
        self.random.any(mounts)
    }

    pub(super) fn umount(&mut self) -> Option<Op> {
        let mount = self.mounted()?;
        let lazy = self.random.percent(25).then_some(Switch::ON);
        Some(Umount { mount, lazy }.into())
    }

    /// A file that has a name.
    fn path(&mut self) -> Option<MountPath> {
        let paths: Vec<(MountName, String)> = self.view.paths.keys().cloned().collect();
        let (mount, name) = self.random.any(paths)?;
        MountPath::new(mount, &name).ok()
    }

    pub(super) fn unlink(&mut self) -> Option<Op> {
        let path = self.path()?;
        let by = self.by();
        Some(Unlink { path, by }.into())
    }

    pub(super) fn truncate_path(&mut self) -> Option<Op> {
        let path = self.path()?;
        let len = self.size();
        let by = self.by();
        Some(Truncate { path, len, by }.into())
    }

    /// A file's new size.
    fn size(&mut self) -> Size {
        if self.random.percent(5) {
            return Size::bytes(*self.random.of(&[4096, PAGE + 1, -1]));
        }
        let pages = *self.random.of(&[0, 1, 2, 3, 4, 4, 5, 6, 8, 10]);
        Size::bytes(bytes(pages))
    }

    /// A descriptor's name that the process does not use, as a rule.
    pub(super) fn new_descriptor(&mut self, actor: Actor) -> Option<FileName> {
        let process = self.view.processes.get(&actor.number())?;
        let names = (0..DESCRIPTORS).filter_map(|index| FileName::new(&format!("f{index}")).ok());
        let unused: Vec<FileName> = names.filter(|name| !process.files.contains_key(name)).collect();
        self.random.any(unused)
    }

    /// Opens a file that there is, for a second owner, or makes one. A new file soon gets a size.
    pub(super) fn open_file(&mut self) -> Option<Op> {
        let actor = self.process()?;
        let file = self.new_descriptor(actor)?;
        let known = self.path().filter(|_| self.random.percent(60));
        let (path, flags) = match known {
            Some(path) => {
                let usual: &[OpenFlag] = &[];
                let flags = match self.random.below(12) {
                    0 => &[OpenFlag::Trunc],
                    1 | 2 => &[OpenFlag::Rdonly],
                    3 => &[OpenFlag::Creat],
                    4 => &[OpenFlag::Wronly],
                    _ => usual,
                };
                (path, Flags::of(flags))
            }
            None => {
                let mount = self.mounted()?;
                let name = format!("x{}", self.random.below(FILES));
                let flags: &[OpenFlag] = match self.random.below(20) {
                    0 => &[],
                    1 => &[OpenFlag::Tmpfile],
                    2 => &[OpenFlag::Creat, OpenFlag::Excl],
                    _ => &[OpenFlag::Creat],
                };
                (MountPath::new(mount, &name).ok()?, Flags::of(flags))
            }
        };
        self.grow_soon(actor, &file);
        Some(Open { actor, file, path, flags }.into())
    }

    pub(super) fn memfd(&mut self) -> Option<Op> {
        let actor = self.process()?;
        let file = self.new_descriptor(actor)?;
        self.grow_soon(actor, &file);
        let flags: &[MemfdFlag] = match self.random.below(12) {
            0..4 => &[MemfdFlag::Hugetlb, MemfdFlag::Seal],
            4 => &[MemfdFlag::Hugetlb, MemfdFlag::NoexecSeal],
            _ => &[MemfdFlag::Hugetlb],
        };
        Some(Memfd { actor, file, flags: Flags::of(flags), pagesize: None }.into())
    }

    /// Most files are of use only with a size.
    fn grow_soon(&mut self, actor: Actor, file: &FileName) {
        if self.random.percent(60) {
            let len = Size::bytes(bytes(*self.random.of(&[1, 2, 3, 4, 4, 6, 8])));
            self.opening.push_back(Ftruncate { actor, file: file.clone(), len }.into());
        }
    }

    pub(super) fn close(&mut self) -> Option<Op> {
        let (actor, file, _) = self.descriptor()?;
        Some(Close { actor, file }.into())
    }

    pub(super) fn ftruncate(&mut self) -> Option<Op> {
        let (actor, file, _) = self.descriptor()?;
        let len = self.size();
        Some(Ftruncate { actor, file, len }.into())
    }

    /// Allocates or punches pages in a file, or a bit behind its end.
    pub(super) fn fallocate(&mut self, action: Action) -> Option<Op> {
        let (actor, file, descriptor) = self.descriptor()?;
        let size = self.view.size(descriptor).max(1);
        let behind = u32::from(self.random.percent(20));
        let first = self.random.below(size + behind);
        let count = *self.random.of(&[1, 1, 2, 3, 4]);
        let mut range = Span::new(Size::bytes(bytes(first)), Size::bytes(bytes(count)));
        if self.random.percent(15) {
            range = crooked(&mut self.random, range);
        }
        let mode: &[FallocateMode] = match action {
            Action::Punch => &[FallocateMode::Punch],
            _ => match self.random.below(40) {
                0 => &[FallocateMode::PunchOnly],
                1 => &[FallocateMode::ZeroRange],
                2..12 => &[FallocateMode::KeepSize],
                _ => &[],
            },
        };
        Some(Fallocate { actor, file, range, mode: Flags::of(mode) }.into())
    }

    pub(super) fn stat(&mut self) -> Option<Op> {
        let (actor, file, descriptor) = self.descriptor()?;
        if self.random.percent(60) {
            return Some(Fstat { actor, file }.into());
        }
        let first = self.random.below(self.view.size(descriptor) + 1);
        let off = bytes(first) + *self.random.of(&[0, 0, 0, 4096, PAGE - 1]);
        let len = *self.random.of(&[1, 4096, PAGE]);
        Some(Pread { actor, file, range: Span::new(Size::bytes(off), Size::bytes(len)) }.into())
    }
}
