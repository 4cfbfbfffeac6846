//! Errors and signals as Linux reports them: the one place where they are derived.

use std::fmt;

use charge::{CreateError, EnterError, HandOnError, LimitError, NoGroup, RemoveError};
use hugetlbfs::{
    FallocateError, MountError, OpenError, SealError, SegmentError, TruncateError, UmountError, UnlinkError,
};
use mm::{
    AdviseError, AttachError, DetachError, FaultError, FillError, FillRefusal, ForkError, MincoreError, MlockError,
    MmapError, MprotectError, MremapError, MunmapError, PopulateError, ProtectError, RegisterError, UnregisterError,
};

use crate::calls::{
    BadFd, CallError, FallocateCallError, FtruncateError, MapCallError, OpenCallError, ReadCallError, UffdCallError,
};
use crate::explain::{MapRefusal, TouchRefusal};
use crate::text::WriteError;
use crate::{
    CgroupLimitError, DemoteCallError, DemoteError, KnobError, MountCallError, NoSegment, NoSuchSize, ResizeCallError,
    ResizeError, SegmentCallError, TruncateByNameError,
};

macro_rules! errnos {
    ($($name:ident = $number:literal),* $(,)?) => {
        /// An error number, by its Linux name.
        #[doc(alias = "errno")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "the names are Linux's own")]
        #[non_exhaustive]
        pub enum Errno {
            $($name = $number),*
        }

        impl Errno {
            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name)),*
                }
            }

            /// Its number on x86-64 and arm64.
            #[must_use]
            pub const fn number(self) -> i32 {
                self as i32
            }
        }
    };
}

errnos! {
    EPERM = 1, ENOENT = 2, ESRCH = 3, EBADF = 9, EAGAIN = 11, ENOMEM = 12, EACCES = 13, EFAULT = 14, EBUSY = 16, EEXIST = 17,
    ENODEV = 19, ENOTDIR = 20, EISDIR = 21, EINVAL = 22, EFBIG = 27, ENOSPC = 28, ERANGE = 34, EOVERFLOW = 75,
    EOPNOTSUPP = 95,
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An error that a system call reports as a number.
pub trait ToErrno {
    /// The number.
    fn errno(&self) -> Errno;
}

/// The signal that a failed access raises, with its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Nothing is mapped there (`SEGV_MAPERR`), the area does not permit it (`SEGV_ACCERR`), or it may only be run (`SEGV_PKUERR`).
    Sigsegv(u8),
    /// No page can be had (`BUS_ADRERR`).
    Sigbus(u8),
}

/// The signal of a failed access.
#[must_use]
pub const fn signal(error: &FaultError) -> Signal {
    match error {
        FaultError::NoArea(_) => Signal::Sigsegv(1),
        FaultError::Protection(_) => Signal::Sigsegv(2),
        FaultError::ExecuteOnly(_) => Signal::Sigsegv(4),
        _ => Signal::Sigbus(2),
    }
}

impl<E: ToErrno> ToErrno for CallError<E> {
    fn errno(&self) -> Errno {
        match self {
            Self::NoProcess => Errno::ESRCH,
            Self::Failed(error) => error.errno(),
        }
    }
}

/// A failed access by the kernel on a task's behalf.
impl ToErrno for FaultError {
    fn errno(&self) -> Errno {
        Errno::EFAULT
    }
}

impl ToErrno for MmapError {
    fn errno(&self) -> Errno {
        match self {
            Self::NoLength
            | Self::MisalignedOffset { .. }
            | Self::MisalignedAddress { .. }
            | Self::NeitherSharedNorPrivate
            | Self::SplitsPage(_) => Errno::EINVAL,
            Self::Occupied(_) => Errno::EEXIST,
            Self::Overflow => Errno::EOVERFLOW,
            Self::UnknownFlag => Errno::EOPNOTSUPP,
            Self::Access => Errno::EACCES,
            Self::Sealed => Errno::EPERM,
            // Whatever ledger refused: a mapping that cannot be promised is out of memory.
            Self::NoRoom(_) | Self::Refused(_) => Errno::ENOMEM,
            _ => Errno::ESRCH,
        }
    }
}

impl ToErrno for MapCallError {
    fn errno(&self) -> Errno {
        match self {
            Self::BadFd(error) => error.errno(),
            Self::NoSuchSize(_) => Errno::EINVAL,
            Self::Mmap(error) => error.errno(),
        }
    }
}

impl ToErrno for MapRefusal {
    fn errno(&self) -> Errno {
        match self {
            Self::NoPool(_) => Errno::EINVAL,
            Self::Group(_) => Errno::ENOMEM,
            Self::Mmap(error) => error.errno(),
        }
    }
}

/// The signal of a touch that a ledger refuses, whichever it is.
impl TouchRefusal {
    /// The signal.
    #[must_use]
    pub const fn signal(&self) -> Signal {
        Signal::Sigbus(2)
    }
}

impl ToErrno for BadFd {
    fn errno(&self) -> Errno {
        Errno::EBADF
    }
}

/// Of `memfd_create`; a mapping of an unknown size is an invalid argument instead.
impl ToErrno for NoSuchSize {
    fn errno(&self) -> Errno {
        Errno::ENODEV
    }
}

impl ToErrno for SegmentError {
    fn errno(&self) -> Errno {
        match self {
            Self::Refused(_) => Errno::ENOMEM,
            _ => Errno::EINVAL,
        }
    }
}

impl ToErrno for SegmentCallError {
    fn errno(&self) -> Errno {
        match self {
            Self::NotPermitted { .. } => Errno::EPERM,
            Self::NoSuchSize(_) => Errno::EINVAL,
            Self::Segment(error) => error.errno(),
        }
    }
}

impl ToErrno for AttachError {
    fn errno(&self) -> Errno {
        match self {
            // An address that is taken is a bad argument to this call.
            Self::Mmap(MmapError::Occupied(_)) => Errno::EINVAL,
            Self::Mmap(error) => error.errno(),
            _ => Errno::EINVAL,
        }
    }
}

impl ToErrno for DetachError {
    fn errno(&self) -> Errno {
        Errno::EINVAL
    }
}

impl ToErrno for NoSegment {
    fn errno(&self) -> Errno {
        Errno::EINVAL
    }
}

impl ToErrno for MunmapError {
    fn errno(&self) -> Errno {
        Errno::EINVAL
    }
}

impl ToErrno for MremapError {
    fn errno(&self) -> Errno {
        match self {
            Self::NoArea(_) | Self::PastArea(_) | Self::WatchedAmongSeveral(_) => Errno::EFAULT,
            _ => Errno::EINVAL,
        }
    }
}

impl ToErrno for MprotectError {
    fn errno(&self) -> Errno {
        match self {
            Self::Hole(_) | Self::BadRange(_) => Errno::ENOMEM,
            Self::Access(_) => Errno::EACCES,
            _ => Errno::EINVAL,
        }
    }
}

impl ToErrno for AdviseError {
    fn errno(&self) -> Errno {
        match self {
            Self::Hole => Errno::ENOMEM,
            Self::NotRemovable => Errno::EACCES,
            Self::Punch(error) => error.errno(),
            Self::Populate(error) => error.errno(),
            _ => Errno::EINVAL,
        }
    }
}

impl ToErrno for PopulateError {
    fn errno(&self) -> Errno {
        match self {
            Self::Hole(_) => Errno::ENOMEM,
            Self::Protection(_) => Errno::EINVAL,
            _ => Errno::EFAULT,
        }
    }
}

impl ToErrno for MlockError {
    fn errno(&self) -> Errno {
        match self {
            Self::BadRange(_) => Errno::EINVAL,
            _ => Errno::ENOMEM,
        }
    }
}

impl ToErrno for MincoreError {
    fn errno(&self) -> Errno {
        match self {
            Self::Misaligned(_) => Errno::EINVAL,
            _ => Errno::ENOMEM,
        }
    }
}

impl ToErrno for ForkError {
    fn errno(&self) -> Errno {
        Errno::ENOMEM
    }
}

impl ToErrno for OpenError {
    fn errno(&self) -> Errno {
        match self {
            Self::Exists => Errno::EEXIST,
            Self::NoInodes { .. } => Errno::ENOSPC,
            Self::IsDirectory => Errno::EISDIR,
            Self::NotDirectory => Errno::ENOTDIR,
            Self::Denied(_) => Errno::EACCES,
            _ => Errno::ENOENT,
        }
    }
}

impl ToErrno for OpenCallError {
    fn errno(&self) -> Errno {
        match self {
            Self::UnnamedReadOnly => Errno::EINVAL,
            Self::Open(error) => error.errno(),
        }
    }
}

impl ToErrno for TruncateByNameError {
    fn errno(&self) -> Errno {
        match self {
            Self::Open(error) => error.errno(),
            Self::Truncate(error) => error.errno(),
        }
    }
}

impl ToErrno for KnobError {
    fn errno(&self) -> Errno {
        match self {
            Self::NoFile(_) | Self::NoSuchSize(_) | Self::NoSuchFile(_) => Errno::ENOENT,
            Self::Text(WriteError::OutOfRange { .. }) => Errno::ERANGE,
            Self::Text(WriteError::ReadOnly(_)) | Self::WriteOnly(_) => Errno::EACCES,
            Self::Text(_) => Errno::EINVAL,
            Self::Resize(error) => error.errno(),
            Self::Demote(error) => error.errno(),
            Self::RootKeepsController => Errno::EOPNOTSUPP,
            Self::NoCgroupFile(_) | Self::NoCgroup(_) => Errno::ENOENT,
            Self::ReadOnlyCgroupFile(_) => Errno::EACCES,
            Self::Limit(error) => error.errno(),
            Self::HandOn(error) => error.errno(),
        }
    }
}

impl ToErrno for CreateError {
    fn errno(&self) -> Errno {
        match self {
            Self::Exists => Errno::EEXIST,
            Self::BadName => Errno::EINVAL,
            _ => Errno::ENOENT,
        }
    }
}

impl ToErrno for RemoveError {
    fn errno(&self) -> Errno {
        match self {
            Self::NoGroup => Errno::ENOENT,
            _ => Errno::EBUSY,
        }
    }
}

impl ToErrno for EnterError {
    fn errno(&self) -> Errno {
        match self {
            Self::NoGroup => Errno::ENOENT,
            _ => Errno::EBUSY,
        }
    }
}

impl ToErrno for HandOnError {
    fn errno(&self) -> Errno {
        match self {
            Self::NoGroup | Self::NotAccounted => Errno::ENOENT,
            Self::AccountedChildren | Self::Everywhere => Errno::EOPNOTSUPP,
            _ => Errno::EBUSY,
        }
    }
}

impl ToErrno for LimitError {
    fn errno(&self) -> Errno {
        match self {
            Self::NoGroup => Errno::ENOENT,
            Self::Root => Errno::EINVAL,
            _ => Errno::EBUSY,
        }
    }
}

impl ToErrno for CgroupLimitError {
    fn errno(&self) -> Errno {
        match self {
            Self::NoSuchSize(_) => Errno::ENOENT,
            Self::Limit(error) => error.errno(),
        }
    }
}

impl ToErrno for NoGroup {
    fn errno(&self) -> Errno {
        Errno::ENOENT
    }
}

impl ToErrno for UnlinkError {
    fn errno(&self) -> Errno {
        match self {
            Self::IsDirectory => Errno::EISDIR,
            Self::Denied(_) => Errno::EACCES,
            Self::Sticky { .. } => Errno::EPERM,
            _ => Errno::ENOENT,
        }
    }
}

impl ToErrno for TruncateError {
    fn errno(&self) -> Errno {
        match self {
            Self::Sealed { .. } => Errno::EPERM,
            Self::NoInode => Errno::ENOENT,
            _ => Errno::EINVAL,
        }
    }
}

impl ToErrno for FtruncateError {
    fn errno(&self) -> Errno {
        match self {
            Self::BadFd(error) => error.errno(),
            Self::NotWritable(_) => Errno::EINVAL,
            Self::Truncate(error) => error.errno(),
        }
    }
}

impl ToErrno for FallocateError {
    fn errno(&self) -> Errno {
        match self {
            Self::Empty => Errno::EINVAL,
            Self::TooLarge => Errno::EFBIG,
            Self::Sealed => Errno::EPERM,
            // A descriptor is plain memory; every other refusal is a page that the file cannot have.
            Self::Refused { refusal: hugetlb::AllocRefusal::Descriptor(_), .. }
            | Self::Descriptor(_)
            | Self::CacheNode(_) => Errno::ENOMEM,
            Self::Refused { .. } => Errno::ENOSPC,
            _ => Errno::ENOENT,
        }
    }
}

impl ToErrno for FallocateCallError {
    fn errno(&self) -> Errno {
        match self {
            Self::BadFd(_) | Self::NotWritable(_) => Errno::EBADF,
            Self::Unsupported => Errno::EOPNOTSUPP,
            Self::Fallocate(error) => error.errno(),
        }
    }
}

impl ToErrno for ReadCallError {
    fn errno(&self) -> Errno {
        Errno::EBADF
    }
}

impl ToErrno for SealError {
    fn errno(&self) -> Errno {
        match self {
            Self::Sealed => Errno::EPERM,
            Self::MappedWritable => Errno::EBUSY,
            _ => Errno::EBADF,
        }
    }
}

impl<E: ToErrno> ToErrno for UffdCallError<E> {
    fn errno(&self) -> Errno {
        match self {
            Self::BadFd(error) => error.errno(),
            Self::Failed(error) => error.errno(),
        }
    }
}

impl ToErrno for RegisterError {
    fn errno(&self) -> Errno {
        match self {
            Self::Gone => Errno::ENOMEM,
            Self::NotWritable(_) => Errno::EPERM,
            Self::Busy(_) => Errno::EBUSY,
            _ => Errno::EINVAL,
        }
    }
}

impl ToErrno for UnregisterError {
    fn errno(&self) -> Errno {
        match self {
            Self::Gone => Errno::ENOMEM,
            _ => Errno::EINVAL,
        }
    }
}

impl ToErrno for ProtectError {
    fn errno(&self) -> Errno {
        match self {
            Self::Gone => Errno::ESRCH,
            Self::NotWatched(_) => Errno::ENOENT,
            _ => Errno::EINVAL,
        }
    }
}

/// Some progress is worth another call, whatever stopped it.
impl ToErrno for FillError {
    fn errno(&self) -> Errno {
        match self.refusal {
            _ if !self.filled.is_zero() => Errno::EAGAIN,
            FillRefusal::Gone => Errno::ESRCH,
            FillRefusal::NotWatched(_) => Errno::ENOENT,
            // Linux takes a page that cannot be had for one that somebody else brought meanwhile.
            FillRefusal::Exists(_) | FillRefusal::Refused(_) => Errno::EEXIST,
            FillRefusal::NotCached(_) | FillRefusal::BeyondEof { .. } => Errno::EFAULT,
            FillRefusal::CacheNode(_) | FillRefusal::NoTablePage => Errno::ENOMEM,
            _ => Errno::EINVAL,
        }
    }
}

impl ToErrno for MountError {
    fn errno(&self) -> Errno {
        match self {
            Self::Refused(_) | Self::NoRoot => Errno::ENOMEM,
            _ => Errno::EINVAL,
        }
    }
}

impl ToErrno for MountCallError {
    fn errno(&self) -> Errno {
        match self {
            Self::Text(crate::text::MountTextError::ReadOnly) => Errno::EOPNOTSUPP,
            Self::Text(_) | Self::NoSuchSize(_) => Errno::EINVAL,
            Self::Mount(error) => error.errno(),
        }
    }
}

impl ToErrno for UmountError {
    fn errno(&self) -> Errno {
        match self {
            Self::Busy { .. } => Errno::EBUSY,
            _ => Errno::EINVAL,
        }
    }
}

impl ToErrno for ResizeError {
    fn errno(&self) -> Errno {
        match self {
            Self::NoSuchNode(_) => Errno::ENOENT,
            _ => Errno::EINVAL,
        }
    }
}

impl ToErrno for DemoteError {
    fn errno(&self) -> Errno {
        match self {
            // Such a pool has no file to write to.
            Self::NoTarget(_) | Self::NoSuchNode(_) => Errno::ENOENT,
            _ => Errno::EINVAL,
        }
    }
}

impl ToErrno for DemoteCallError {
    fn errno(&self) -> Errno {
        match self {
            Self::NoSuchSize(_) => Errno::ENOENT,
            Self::Demote(error) => error.errno(),
        }
    }
}

impl ToErrno for ResizeCallError {
    fn errno(&self) -> Errno {
        match self {
            Self::NoSuchSize(_) => Errno::ENOENT,
            Self::Resize(error) => error.errno(),
        }
    }
}
