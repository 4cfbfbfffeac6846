//! Of pools, control groups and files of the kernel.

use charge::{CreateError, EnterError, HandOnError, LimitError, NoGroup, RemoveError};

use super::{Errno, ToErrno};
use crate::text::{PageKnobError, WriteError};
use crate::{CgroupLimitError, DemoteCallError, DemoteError, KnobError, ResizeCallError, ResizeError};

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
            Self::ReadOnlyCgroupFile(_) | Self::ReadOnlyCpusetFile(_) => Errno::EACCES,
            Self::Cpuset(error) => error.errno(),
            Self::Limit(error) => error.errno(),
            Self::HandOn(error) => error.errno(),
            Self::Pages(PageKnobError::WriteOnly(_)) => Errno::EACCES,
            Self::Pages(PageKnobError::NoSuchNode(_)) => Errno::ENOENT,
            Self::Pages(_) => Errno::EINVAL,
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
            Self::Metadata(_) => Errno::ENOMEM,
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
