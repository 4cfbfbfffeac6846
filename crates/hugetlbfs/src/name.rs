//! Names of files.

use alloc::collections::btree_map::Entry;

use units::{HstateId, InodeId, MountId, SubpoolId};

use crate::inode::hold_alive;
use crate::permission::{Credentials, Denied, FileOwner, Permissions};
use crate::{Env, Hold, InodeKind, Mount, Seals, create_inode, hold, release};

/// May `open` make the file?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Create {
    /// No: it must be there.
    Never,
    /// If it is not there.
    IfMissing,
    /// It must not be there.
    Exclusive,
    /// A file without a name.
    Unnamed,
    /// A file with a name and one without at once, which cannot be.
    Contradictory,
}

/// What `open` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// May the file be made?
    pub create: Create,
    /// What a file that is there must permit; a new one permits its maker everything this once.
    pub wanted: Permissions,
}

/// Why a file cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Not mounted.
    #[error("no such mount")]
    NoMount,
    /// No file of that name.
    #[error("no file of that name")]
    NoEntry,
    /// There is one already.
    #[error("a file of that name exists")]
    Exists,
    /// The name is that of the root directory, or ends as only a directory's may.
    #[error("the name is a directory's")]
    IsDirectory,
    /// A part of the path is a file, which holds no other files.
    #[error("a part of the path is not a directory")]
    NotDirectory,
    /// A file with a name and one without were asked for at once.
    #[error("a file is made with a name or without one")]
    Contradictory,
    /// The mount's `nr_inodes=` is used up.
    #[error("the mount allows {limit} inodes, the root included")]
    NoInodes {
        /// The limit.
        limit: u64,
    },
    /// The mode of the root directory or of the file does not permit it.
    #[error(transparent)]
    Denied(#[from] Denied),
}

/// Why a name cannot be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnlinkError {
    /// Not mounted.
    #[error("no such mount")]
    NoMount,
    /// No file of that name.
    #[error("no file of that name")]
    NoEntry,
    /// The root directory stays.
    #[error("the name is a directory's")]
    IsDirectory,
    /// A part of the path is a file, or the name ends as only a directory's may.
    #[error("a part of the path is not a directory")]
    NotDirectory,
    /// The mode of the root directory does not permit it.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The root directory is sticky, and neither it nor the file is the task's.
    #[error("a sticky directory of {} keeps the file of {}", directory.uid, file.uid)]
    Sticky {
        /// The directory.
        directory: FileOwner,
        /// The file.
        file: FileOwner,
    },
}

enum Found {
    File(InodeId),
    MayCreate(HstateId, Option<SubpoolId>, FileOwner),
}

/// Opens the file of that name, making it if it may be made. The file is held open.
///
/// # Errors
/// Nothing is changed.
#[doc(alias("hugetlbfs_create", "hugetlbfs_tmpfile"))]
pub fn open<P: Env>(
    p: &mut P,
    by: &Credentials,
    mount: MountId,
    name: &str,
    how: Opening,
) -> Result<InodeId, OpenError> {
    if how.create == Create::Contradictory {
        return Err(OpenError::Contradictory);
    }
    loop {
        let found = p.with_mount(mount, |m| {
            let found = find_or_make(m, by, name, how.create)?;
            // The inode to come counts at once, so that the limit holds and the mount stays.
            m.inodes += u64::from(matches!(found, Found::MayCreate(..)));
            Ok(found)
        });
        match found.unwrap_or(Err(OpenError::NoMount))? {
            Found::File(id) => {
                if let Some(owner) = p.with_inode(id, |inode| inode.owner) {
                    by.ask(&owner, how.wanted)?;
                }
                if hold_alive(p, id, Hold::Open) {
                    return Ok(id);
                }
                // It went just now: look again.
            }
            Found::MayCreate(hstate, subpool, owner) => {
                let id = create_inode(p, InodeKind::OnMount(mount), hstate, subpool, Seals::SEAL, Hold::Open);
                // Nobody else can see it yet.
                p.with_inode(id, |inode| inode.owner = owner);
                if how.create == Create::Unnamed || give_name(p, mount, name, id) {
                    return Ok(id);
                }
                release(p, id, Hold::Open);
            }
        }
    }
}

/// Names a new file, unless somebody else was faster with that name.
fn give_name<P: Env>(p: &mut P, mount: MountId, name: &str, id: InodeId) -> bool {
    hold(p, id, Hold::Link);
    let named = p.with_mount(mount, |m| match m.names.entry(name.into()) {
        Entry::Vacant(free) => {
            free.insert(id);
            true
        }
        Entry::Occupied(_) => false,
    });
    if named != Some(true) {
        release(p, id, Hold::Link);
    }
    named == Some(true)
}

fn find_or_make(mount: &Mount, by: &Credentials, name: &str, create: Create) -> Result<Found, OpenError> {
    search(mount, by, name, create)?;
    if create != Create::Unnamed {
        check_name(mount, name, create)?;
        if let Some(&id) = mount.names.get(name) {
            return if create == Create::Exclusive { Err(OpenError::Exists) } else { Ok(Found::File(id)) };
        }
    }
    if create == Create::Never {
        return Err(OpenError::NoEntry);
    }
    by.ask(&mount.root, Permissions::WRITE | Permissions::SEARCH)?;
    match mount.nr_inodes {
        // The root directory counts.
        Some(limit) if mount.inodes + 1 >= limit => Err(OpenError::NoInodes { limit }),
        _ => Ok(Found::MayCreate(mount.hstate, mount.subpool, FileOwner::new_file(by))),
    }
}

/// Whoever names something below the root directory must be let through it.
fn search(mount: &Mount, by: &Credentials, name: &str, create: Create) -> Result<(), Denied> {
    if name.is_empty() || create == Create::Unnamed { Ok(()) } else { by.ask(&mount.root, Permissions::SEARCH) }
}

/// The file of that name, if it permits `wanted`.
///
/// # Errors
/// No such mount or file, or a mode that does not permit it.
pub fn look_up<P: Env>(
    p: &mut P,
    by: &Credentials,
    mount: MountId,
    name: &str,
    wanted: Permissions,
) -> Result<InodeId, OpenError> {
    match p.with_mount(mount, |m| find_or_make(m, by, name, Create::Never)) {
        Some(Ok(Found::File(id))) => {
            let owner = p.with_inode(id, |inode| inode.owner).ok_or(OpenError::NoEntry)?;
            by.ask(&owner, wanted)?;
            Ok(id)
        }
        Some(Ok(Found::MayCreate(..))) => Err(OpenError::NoEntry),
        Some(Err(error)) => Err(error),
        None => Err(OpenError::NoMount),
    }
}

/// A mount has one directory, its root: a path through anything else leads nowhere.
fn check_name(mount: &Mount, name: &str, create: Create) -> Result<(), OpenError> {
    if name == "." || name.is_empty() {
        return Err(if create == Create::Exclusive { OpenError::Exists } else { OpenError::IsDirectory });
    }
    let Some((_, rest)) = name.split_once('/') else { return Ok(()) };
    if is_below_file(mount, name) {
        return Err(OpenError::NotDirectory);
    }
    Err(if rest.is_empty() && create != Create::Never { OpenError::IsDirectory } else { OpenError::NoEntry })
}

/// Does the path lead through a file as if that were a directory?
fn is_below_file(mount: &Mount, name: &str) -> bool {
    name.split_once('/').is_some_and(|(first, _)| mount.names.contains_key(first))
}

/// Removes a name. The file stays while it is open or mapped.
///
/// # Errors
/// No such mount or name, or the directory does not let it go.
#[doc(alias = "may_delete")]
pub fn unlink<P: Env>(p: &mut P, by: &Credentials, mount: MountId, name: &str) -> Result<(), UnlinkError> {
    loop {
        let (directory, id) = p.with_mount(mount, |m| removable(m, by, name)).unwrap_or(Err(UnlinkError::NoMount))?;
        // A name without its file was removed just now: look again.
        let Some(file) = p.with_inode(id, |inode| inode.owner) else { continue };
        if !by.may_remove(&directory, &file) {
            return Err(UnlinkError::Sticky { directory, file });
        }
        let removed = p.with_mount(mount, |m| {
            let same = m.names.get(name) == Some(&id);
            if same {
                m.names.remove(name);
            }
            same
        });
        if removed == Some(true) {
            release(p, id, Hold::Link);
            return Ok(());
        }
    }
}

fn removable(mount: &Mount, by: &Credentials, name: &str) -> Result<(FileOwner, InodeId), UnlinkError> {
    search(mount, by, name, Create::Never)?;
    if name == "." || name.is_empty() {
        return Err(UnlinkError::IsDirectory);
    }
    let id = match mount.names.get(name) {
        Some(&id) => id,
        None if is_below_file(mount, name) => return Err(UnlinkError::NotDirectory),
        None => return Err(UnlinkError::NoEntry),
    };
    by.ask(&mount.root, Permissions::WRITE | Permissions::SEARCH)?;
    Ok((mount.root, id))
}
