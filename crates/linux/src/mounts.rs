//! Mounts of a script, in a namespace that nobody else sees.

use std::ffi::CString;
use std::fs;
use std::path::PathBuf;

use lab::op::{self, MountName, MountPath, Size, Switch, Value};
use lab::target::{Answer, FsCounters, Ordered, StepResult};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount};

use crate::errno::{self, done};
use crate::sys::file;

/// The mounts in the order in which their names were first mounted.
#[derive(Debug)]
pub(crate) struct Mounts {
    folder: PathBuf,
    known: Vec<(String, bool)>,
}

impl Mounts {
    /// Goes into a namespace of our own, with a file system on `folder` that vanishes with it.
    pub(crate) fn separate(folder: PathBuf) -> Result<Self, Errno> {
        fs::create_dir_all(&folder).map_err(|error| errno::of(&error))?;
        crate::sys::process::leave_namespaces()?;
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private)?;
        mount("none", &folder, "tmpfs", MountFlags::empty(), None)?;
        Ok(Self { folder, known: Vec::new() })
    }

    pub(crate) fn folder(&self) -> String {
        self.folder.display().to_string()
    }

    pub(crate) fn is_mounted(&self, name: &MountName) -> bool {
        self.known.iter().any(|(known, live)| known == name.as_str() && *live)
    }

    pub(crate) fn mount(&mut self, op: &op::Mount) -> Answer {
        if self.is_mounted(&op.mount) {
            return StepResult::Dup.into();
        }
        let path = self.folder.join(op.mount.as_str());
        // It may be there already; whatever else is wrong the mount will say.
        let _ = fs::create_dir(&path);
        let limits = [("size", &op.size), ("min_size", &op.min_size), ("nr_inodes", &op.nr_inodes)];
        let limits =
            limits.iter().filter_map(|(name, value)| Some(format!("{name}={}", value.as_ref()?.option_text())));
        let pagesize = op.pagesize.map(|size| format!("pagesize={}", size_text(size)));
        let options: Vec<String> = op.opts.iter().map(|opts| opts.0.clone()).chain(pagesize).chain(limits).collect();
        let Ok(options) = CString::new(options.join(",")) else { return StepResult::BadOp.into() };
        let mounted = mount("none", &path, "hugetlbfs", MountFlags::empty(), Some(options.as_c_str()));
        if mounted.is_ok() {
            match self.known.iter_mut().find(|(name, _)| name == op.mount.as_str()) {
                Some((_, live)) => *live = true,
                None => self.known.push((op.mount.as_str().to_owned(), true)),
            }
        }
        done(mounted)
    }

    pub(crate) fn umount(&mut self, name: &MountName, lazy: Option<Switch>) -> Answer {
        let flags = if lazy.is_some_and(Switch::is_on) { UnmountFlags::DETACH } else { UnmountFlags::empty() };
        let unmounted = unmount(self.folder.join(name.as_str()), flags);
        if unmounted.is_ok() {
            self.known.iter_mut().filter(|(known, _)| known == name.as_str()).for_each(|(_, live)| *live = false);
        }
        done(unmounted)
    }

    fn path(&self, path: &MountPath) -> Option<CString> {
        CString::new(format!("{}/{}/{}", self.folder.display(), path.mount, path.name())).ok()
    }

    pub(crate) fn unlink(&self, path: &MountPath) -> Answer {
        match self.path(path) {
            Some(path) => done(rustix::fs::unlink(path)),
            None => StepResult::BadOp.into(),
        }
    }

    pub(crate) fn truncate(&self, path: &MountPath, len: Size) -> Answer {
        match self.path(path) {
            Some(path) => done(file::truncate_path(&path, len.signed())),
            None => StepResult::BadOp.into(),
        }
    }

    pub(crate) fn counters(&self) -> Ordered<FsCounters> {
        let mut all = Ordered::default();
        for (name, _) in self.known.iter().filter(|(_, live)| *live) {
            let Ok(stat) = rustix::fs::statfs(self.folder.join(name)) else { continue };
            let counters = FsCounters {
                bsize: stat.f_bsize,
                blocks: stat.f_blocks.cast_signed(),
                bfree: stat.f_bfree.cast_signed(),
                bavail: stat.f_bavail.cast_signed(),
                files: stat.f_files.cast_signed(),
                ffree: stat.f_ffree.cast_signed(),
            };
            all.push(name.clone(), counters);
        }
        all
    }

    /// Unmounts what there is, the first mounted first.
    pub(crate) fn unmount_all(&mut self) {
        for (name, live) in &mut self.known {
            let path = self.folder.join(name.as_str());
            if std::mem::take(live) && unmount(&path, UnmountFlags::empty()).is_err() {
                // Somebody still holds it: it goes with its last user.
                let _ = unmount(&path, UnmountFlags::DETACH);
            }
        }
    }

    /// Forgets all names.
    pub(crate) fn clear(&mut self) {
        self.unmount_all();
        for (name, _) in std::mem::take(&mut self.known) {
            let _ = fs::remove_dir(self.folder.join(name));
        }
        // Folders of mounts that failed.
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let _ = fs::remove_dir(entry.path());
        }
    }

    /// Takes away what the namespace was begun with.
    pub(crate) fn close(&mut self) {
        self.clear();
        let _ = unmount(&self.folder, UnmountFlags::DETACH);
    }
}

fn size_text(size: op::SizeName) -> String {
    match size.to_scalar() {
        op::Scalar::Text(text) => text,
        op::Scalar::Number(number) => number.to_string(),
    }
}
