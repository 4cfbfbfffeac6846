//! Processes.

use std::collections::BTreeMap;
use std::fmt;

use gmem::ViewId;
use hugetlbfs::Origin;
use mm::{FileAccess, PinNote};
use units::{GmemId, InodeId, MmId, Name, UffdId};

/// A file descriptor of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
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

/// Pages that one process keeps pinned, all of which it lets go at once: a mapping of a device, a buffer of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct PinId(u32);

impl PinId {
    /// The pin of that number.
    #[must_use]
    pub const fn new(n: u32) -> Self {
        Self(n)
    }
}

impl fmt::Display for PinId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pin:{}", self.0)
    }
}

/// What a descriptor stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct OpenFile {
    /// The file.
    pub inode: InodeId,
    /// What it permits.
    pub access: FileAccess,
}

/// A mapping of guest memory by a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct GmemView {
    /// The file.
    pub file: GmemId,
    /// Which of its mappings.
    pub view: ViewId,
}

/// One process: an address space, open files, and what it brings to every allocation.
#[doc(alias = "task_struct")]
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Process {
    /// Its address space.
    pub mm: MmId,
    /// Where it runs, where it may allocate, and who pays.
    pub origin: Origin,
    files: BTreeMap<Fd, OpenFile>,
    uffds: BTreeMap<Fd, UffdId>,
    #[cfg_attr(feature = "serde", serde(default))]
    gmems: BTreeMap<Fd, GmemId>,
    #[cfg_attr(feature = "serde", serde(default))]
    views: Vec<GmemView>,
    next: u32,
    #[cfg_attr(feature = "serde", serde(default))]
    pins: BTreeMap<PinId, Vec<PinNote>>,
}

impl Process {
    pub(crate) const fn new(mm: MmId, origin: Origin) -> Self {
        Self {
            mm,
            origin,
            files: BTreeMap::new(),
            uffds: BTreeMap::new(),
            gmems: BTreeMap::new(),
            views: Vec::new(),
            next: 3,
            pins: BTreeMap::new(),
        }
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

    /// What it keeps pinned.
    pub fn pins(&self) -> impl Iterator<Item = (PinId, &[PinNote])> {
        self.pins.iter().map(|(&id, pins)| (id, pins.as_slice()))
    }

    /// Its files of guest memory.
    pub fn gmems(&self) -> impl Iterator<Item = (Fd, GmemId)> {
        self.gmems.iter().map(|(&fd, &file)| (fd, file))
    }

    /// The file of guest memory that `fd` stands for.
    #[must_use]
    pub fn gmem(&self, fd: Fd) -> Option<GmemId> {
        self.gmems.get(&fd).copied()
    }

    /// What it has mapped of guest memory.
    #[must_use]
    pub fn views(&self) -> &[GmemView] {
        &self.views
    }

    /// Every place where it names something.
    pub(crate) fn names(&mut self) -> Vec<Name<'_>> {
        let mut names = vec![Name::from(&mut self.mm)];
        names.extend(self.origin.cgroup.as_mut().map(Name::from));
        names.extend(self.files.values_mut().map(|file| Name::from(&mut file.inode)));
        names.extend(self.uffds.values_mut().map(Name::from));
        names.extend(self.gmems.values_mut().map(Name::from));
        names.extend(self.views.iter_mut().map(|view| Name::from(&mut view.file)));
        names
    }

    /// A descriptor has one meaning and a number that was given already.
    pub(crate) fn check(&self) -> Result<(), String> {
        let mut given: Vec<&Fd> = self.files.keys().chain(self.uffds.keys()).chain(self.gmems.keys()).collect();
        given.sort_unstable();
        let twice = given.windows(2).find(|two| two[0] == two[1]).map(|two| two[0]);
        match (twice, given.last()) {
            (Some(fd), _) => Err(format!("{fd} stands for two things")),
            (_, Some(fd)) if fd.0 >= self.next => Err(format!("{fd} is given, and the next one is {}", self.next)),
            _ if self.next > 1 << 31 => Err(format!("{} descriptors were given", self.next)),
            _ => Ok(()),
        }
    }

    /// Keeps pins. Numbers are used again: pins have no other name.
    pub(crate) fn add_pins(&mut self, pins: Vec<PinNote>) -> PinId {
        let id = (0..).map(PinId).find(|id| !self.pins.contains_key(id)).unwrap_or(PinId(u32::MAX));
        self.pins.insert(id, pins);
        id
    }

    pub(crate) fn remove_pins(&mut self, id: PinId) -> Option<Vec<PinNote>> {
        self.pins.remove(&id)
    }

    pub(crate) fn add_uffd(&mut self, uffd: UffdId) -> Fd {
        let fd = Fd(self.next);
        self.next += 1;
        self.uffds.insert(fd, uffd);
        fd
    }

    pub(crate) fn add_gmem(&mut self, file: GmemId) -> Fd {
        let fd = Fd(self.next);
        self.next += 1;
        self.gmems.insert(fd, file);
        fd
    }

    pub(crate) fn remove_gmem(&mut self, fd: Fd) -> Option<GmemId> {
        self.gmems.remove(&fd)
    }

    pub(crate) fn add_view(&mut self, view: GmemView) {
        self.views.push(view);
    }

    pub(crate) fn set_views(&mut self, views: Vec<GmemView>) {
        self.views = views;
    }

    pub(crate) fn remove_view(&mut self, view: GmemView) -> bool {
        let before = self.views.len();
        self.views.retain(|one| *one != view);
        self.views.len() < before
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

    /// A child with copies of all descriptors. What is pinned is so for the parent's device.
    pub(crate) fn forked(&self, mm: MmId) -> Self {
        Self { mm, pins: BTreeMap::new(), ..self.clone() }
    }
}
