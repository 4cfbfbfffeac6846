//! Of pages that move, stay or break.

use hugetlb::{DissolveError, UnpoisonError};
use hugetlbfs::PageForPinError;
use mm::{HomeNodeError, MbindError, MigrateError, PinError, SoftOfflineError};

use super::{Errno, ToErrno};
use crate::calls::{
    CpusetError, InjectError, MigratePagesError, MovePageError, NoPin, NoPolicyNodes, PinFileError,
    SoftOfflineCallError, UnpoisonCallError,
};

impl ToErrno for MigrateError {
    fn errno(&self) -> Errno {
        match self {
            Self::NoTarget(_) => Errno::ENOMEM,
            Self::Referenced { .. } => Errno::EAGAIN,
            _ => Errno::EBUSY,
        }
    }
}

impl ToErrno for PinError {
    fn errno(&self) -> Errno {
        match self {
            Self::Fault(error) => error.errno(),
            Self::File(PageForPinError::BeyondEof(_)) => Errno::EINVAL,
            _ => Errno::ENOMEM,
        }
    }
}

impl ToErrno for PinFileError {
    fn errno(&self) -> Errno {
        match self {
            Self::BadFd(_) => Errno::EBADFD,
            Self::Pin(error) => error.errno(),
            _ => Errno::EINVAL,
        }
    }
}

impl ToErrno for NoPin {
    fn errno(&self) -> Errno {
        Errno::ENOENT
    }
}

impl ToErrno for MovePageError {
    fn errno(&self) -> Errno {
        match self {
            Self::NoArea(_) => Errno::EFAULT,
            Self::Absent(_) => Errno::ENOENT,
            Self::NoSuchNode(_) => Errno::ENODEV,
            Self::NotAllowed(_) | Self::Shared(_) => Errno::EACCES,
            Self::Migrate(error) => error.errno(),
        }
    }
}

impl ToErrno for MigratePagesError {
    fn errno(&self) -> Errno {
        match self {
            Self::NoNodes => Errno::EINVAL,
            Self::NoTarget(_) => Errno::ENOMEM,
        }
    }
}

impl ToErrno for CpusetError {
    fn errno(&self) -> Errno {
        match self {
            Self::NoGroup => Errno::ENOENT,
            Self::NoSuchNode(_) => Errno::EINVAL,
            Self::HasProcesses { .. } => Errno::ENOSPC,
        }
    }
}

impl ToErrno for DissolveError {
    fn errno(&self) -> Errno {
        match self {
            Self::Metadata(_) => Errno::ENOMEM,
            _ => Errno::EBUSY,
        }
    }
}

impl ToErrno for SoftOfflineCallError {
    fn errno(&self) -> Errno {
        match self {
            Self::Disabled => Errno::EOPNOTSUPP,
            Self::Stays(SoftOfflineError::Migrate(MigrateError::NoTarget(_))) => Errno::ENOMEM,
            Self::Stays(_) => Errno::EBUSY,
        }
    }
}

impl ToErrno for InjectError {
    fn errno(&self) -> Errno {
        match self {
            Self::Fault(error) => error.errno(),
            Self::BadRange(_) => Errno::EINVAL,
            Self::Known(_) => Errno::EHWPOISON,
            Self::SoftOffline(error) => error.errno(),
        }
    }
}

impl ToErrno for UnpoisonError {
    fn errno(&self) -> Errno {
        Errno::EBUSY
    }
}

impl ToErrno for UnpoisonCallError {
    fn errno(&self) -> Errno {
        match self {
            Self::RealFailure => Errno::EOPNOTSUPP,
            Self::Folio(error) => error.errno(),
        }
    }
}

impl ToErrno for NoPolicyNodes {
    fn errno(&self) -> Errno {
        Errno::EINVAL
    }
}

impl ToErrno for MbindError {
    fn errno(&self) -> Errno {
        match self {
            Self::Hole(_) => Errno::EFAULT,
            Self::Elsewhere(_) => Errno::EIO,
            _ => Errno::EINVAL,
        }
    }
}

impl ToErrno for HomeNodeError {
    fn errno(&self) -> Errno {
        match self {
            Self::NoPolicy => Errno::ENOENT,
            Self::NoHome(_) => Errno::EOPNOTSUPP,
            _ => Errno::EINVAL,
        }
    }
}
