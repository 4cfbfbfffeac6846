//! Of files, mounts and descriptors.

use hugetlb::AllocRefusal;
use hugetlbfs::{FallocateError, MountError, OpenError, SealError, TruncateError, UmountError, UnlinkError};

use super::{Errno, ToErrno};
use crate::calls::{
    BadFd, FallocateCallError, FtruncateError, OpenCallError, ReadCallError, SizeWithoutHuge, WriteCallError,
};
use crate::{MountCallError, NoSuchSize, TruncateByNameError};

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

impl ToErrno for OpenError {
    fn errno(&self) -> Errno {
        match self {
            Self::Exists => Errno::EEXIST,
            Self::NoInodes { .. } => Errno::ENOSPC,
            Self::IsDirectory => Errno::EISDIR,
            Self::NotDirectory => Errno::ENOTDIR,
            Self::Denied(_) => Errno::EACCES,
            Self::Contradictory => Errno::EINVAL,
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

impl ToErrno for UnlinkError {
    fn errno(&self) -> Errno {
        match self {
            Self::IsDirectory => Errno::EISDIR,
            Self::NotDirectory => Errno::ENOTDIR,
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
            Self::Empty | Self::Negative => Errno::EINVAL,
            Self::TooLarge => Errno::EFBIG,
            Self::Sealed => Errno::EPERM,
            // A descriptor is plain memory, and a limit on memory is one; every other refusal is a page that the file cannot have.
            Self::Refused {
                refusal: AllocRefusal::Descriptor(_) | AllocRefusal::Memory(_) | AllocRefusal::MemoryFault,
                ..
            }
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
        match self {
            Self::Offset(_) => Errno::EINVAL,
            Self::BadFd(_) | Self::NotReadable(_) => Errno::EBADF,
            Self::Poisoned(_) => Errno::EIO,
        }
    }
}

impl ToErrno for WriteCallError {
    fn errno(&self) -> Errno {
        match self {
            Self::Offset(_) | Self::Unsupported => Errno::EINVAL,
            Self::BadFd(_) | Self::NotWritable(_) => Errno::EBADF,
        }
    }
}

impl ToErrno for SizeWithoutHuge {
    fn errno(&self) -> Errno {
        Errno::EINVAL
    }
}

impl ToErrno for SealError {
    fn errno(&self) -> Errno {
        match self {
            Self::Sealed => Errno::EPERM,
            Self::MappedWritable | Self::Kept(_) => Errno::EBUSY,
            _ => Errno::EBADF,
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
            Self::NoFolder => Errno::ENOENT,
            _ => Errno::EINVAL,
        }
    }
}
