//! Names of files.

use alloc::collections::btree_map::Entry;

use units::{HstateId, InodeId, MountId, SubpoolId};

use crate::inode::hold_alive;
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
    /// The mount's `nr_inodes=` is used up.
    #[error("the mount allows {limit} inodes, the root included")]
    NoInodes {
        /// The limit.
        limit: u64,
    },
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
}

enum Found {
    File(InodeId),
    MayCreate(HstateId, Option<SubpoolId>),
}

/// Opens the file of that name, making it if it may be made. The file is held open.
///
/// # Errors
/// Nothing is changed.
#[doc(alias("hugetlbfs_create", "hugetlbfs_tmpfile"))]
pub fn open<P: Env>(p: &mut P, mount: MountId, name: &str, create: Create) -> Result<InodeId, OpenError> {
    loop {
        let found = p.with_mount(mount, |m| {
            let found = find_or_make(m, name, create)?;
            // The inode to come counts at once, so that the limit holds and the mount stays.
            m.inodes += u64::from(matches!(found, Found::MayCreate(..)));
            Ok(found)
        });
        match found.unwrap_or(Err(OpenError::NoMount))? {
            Found::File(id) if hold_alive(p, id, Hold::Open) => return Ok(id),
            // It went just now: look again.
            Found::File(_) => (),
            Found::MayCreate(hstate, subpool) => {
                let id = create_inode(p, InodeKind::OnMount(mount), hstate, subpool, Seals::SEAL, Hold::Open);
                if create == Create::Unnamed || give_name(p, mount, name, id) {
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

fn find_or_make(mount: &Mount, name: &str, create: Create) -> Result<Found, OpenError> {
    if create != Create::Unnamed {
        check_name(mount, name, create)?;
        if let Some(&id) = mount.names.get(name) {
            return if create == Create::Exclusive { Err(OpenError::Exists) } else { Ok(Found::File(id)) };
        }
    }
    if create == Create::Never {
        return Err(OpenError::NoEntry);
    }
    match mount.nr_inodes {
        // The root directory counts.
        Some(limit) if mount.inodes + 1 >= limit => Err(OpenError::NoInodes { limit }),
        _ => Ok(Found::MayCreate(mount.hstate, mount.subpool)),
    }
}

/// The file of that name.
///
/// # Errors
/// No such mount or file.
pub fn look_up<P: Env>(p: &mut P, mount: MountId, name: &str) -> Result<InodeId, OpenError> {
    match p.with_mount(mount, |m| find_or_make(m, name, Create::Never)) {
        Some(Ok(Found::File(id))) => Ok(id),
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
    let Some((first, rest)) = name.split_once('/') else { return Ok(()) };
    if mount.names.contains_key(first) {
        return Err(OpenError::NotDirectory);
    }
    Err(if rest.is_empty() && create != Create::Never { OpenError::IsDirectory } else { OpenError::NoEntry })
}

/// Removes a name. The file stays while it is open or mapped.
///
/// # Errors
/// No such mount or name.
pub fn unlink<P: Env>(p: &mut P, mount: MountId, name: &str) -> Result<(), UnlinkError> {
    if name == "." || name.is_empty() {
        return Err(UnlinkError::IsDirectory);
    }
    let removed = p.with_mount(mount, |m| m.names.remove(name)).ok_or(UnlinkError::NoMount)?;
    release(p, removed.ok_or(UnlinkError::NoEntry)?, Hold::Link);
    Ok(())
}
