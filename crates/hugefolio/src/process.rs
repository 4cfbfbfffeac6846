//! Processes.

use std::collections::BTreeMap;
use std::fmt;

use hugetlbfs::Origin;
use mm::FileAccess;
use units::{InodeId, MmId, UffdId};

/// A file descriptor of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fd(u32);

impl Fd {
    /// The descriptor of that number.
    #[must_use]
    pub const fn new(n: u32) -> Self {
        Self(n)
    }
}

impl fmt::Display for Fd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fd:{}", self.0)
    }
}

/// What a descriptor stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFile {
    /// The file.
    pub inode: InodeId,
    /// What it permits.
    pub access: FileAccess,
}

/// One process: an address space, open files, and what it brings to every allocation.
#[doc(alias = "task_struct")]
#[derive(Clone, Debug)]
pub struct Process {
    /// Its address space.
    pub mm: MmId,
    /// Where it runs, where it may allocate, and who pays.
    pub origin: Origin,
    files: BTreeMap<Fd, OpenFile>,
    uffds: BTreeMap<Fd, UffdId>,
    next: u32,
}

impl Process {
    pub(crate) const fn new(mm: MmId, origin: Origin) -> Self {
        Self { mm, origin, files: BTreeMap::new(), uffds: BTreeMap::new(), next: 3 }
    }

    /// Its open files.
    #[doc(alias = "files_struct")]
    pub fn files(&self) -> impl Iterator<Item = (Fd, OpenFile)> {
        self.files.iter().map(|(&fd, &file)| (fd, file))
    }

    /// What `fd` stands for.
    #[must_use]
    pub fn file(&self, fd: Fd) -> Option<OpenFile> {
        self.files.get(&fd).copied()
    }

    /// Its userfaultfds.
    pub fn uffds(&self) -> impl Iterator<Item = (Fd, UffdId)> {
        self.uffds.iter().map(|(&fd, &uffd)| (fd, uffd))
    }

    /// The userfaultfd that `fd` stands for.
    #[must_use]
    pub fn uffd(&self, fd: Fd) -> Option<UffdId> {
        self.uffds.get(&fd).copied()
    }

    pub(crate) fn add_uffd(&mut self, uffd: UffdId) -> Fd {
        let fd = Fd(self.next);
        self.next += 1;
        self.uffds.insert(fd, uffd);
        fd
    }

    pub(crate) fn remove_uffd(&mut self, fd: Fd) -> Option<UffdId> {
        self.uffds.remove(&fd)
    }

    pub(crate) fn add_file(&mut self, file: OpenFile) -> Fd {
        let fd = Fd(self.next);
        self.next += 1;
        self.files.insert(fd, file);
        fd
    }

    pub(crate) fn remove_file(&mut self, fd: Fd) -> Option<OpenFile> {
        self.files.remove(&fd)
    }

    /// A child with copies of all descriptors.
    pub(crate) fn forked(&self, mm: MmId) -> Self {
        Self { mm, ..self.clone() }
    }
}
