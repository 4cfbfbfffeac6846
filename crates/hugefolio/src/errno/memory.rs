//! Of mappings and accesses.

use hugetlb::AllocRefusal;
use mm::{
    AdviseError, FaultError, ForkError, MincoreError, MlockError, MmapError, MprotectError, MremapError, MunmapError,
    PopulateError,
};

use super::{Errno, Signal, ToErrno};
use crate::calls::MapCallError;
use crate::explain::{MapRefusal, TouchRefusal};

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

impl ToErrno for MunmapError {
    fn errno(&self) -> Errno {
        Errno::EINVAL
    }
}

impl ToErrno for MremapError {
    fn errno(&self) -> Errno {
        match self {
            Self::NoArea(_) | Self::PastArea(_) | Self::WatchedAmongSeveral(_) => Errno::EFAULT,
            Self::NoTablePage => Errno::ENOMEM,
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
            Self::Broken(_) => Errno::EHWPOISON,
            _ => Errno::EINVAL,
        }
    }
}

impl ToErrno for PopulateError {
    fn errno(&self) -> Errno {
        match self {
            Self::Hole(_) => Errno::ENOMEM,
            Self::Protection(_) => Errno::EINVAL,
            Self::Fault { error: FaultError::Poisoned { .. }, .. } => Errno::EHWPOISON,
            _ if is_memory(self) => Errno::ENOMEM,
            _ => Errno::EFAULT,
        }
    }
}

/// Is it memory that a group may not have, and not a huge page?
const fn is_memory(error: &PopulateError) -> bool {
    let PopulateError::Fault { error: FaultError::Refused(refusal), .. } = error else { return false };
    matches!(refusal, AllocRefusal::Memory(_) | AllocRefusal::MemoryFault)
}

impl ToErrno for MlockError {
    fn errno(&self) -> Errno {
        match self {
            Self::BadRange(_) => Errno::EINVAL,
            // Memory that cannot be had is worth another call.
            Self::Populate(error) if is_memory(error) => Errno::EAGAIN,
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
