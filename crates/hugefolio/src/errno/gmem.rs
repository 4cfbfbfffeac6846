//! Of guest memory.

use ::gmem::{
    AllocateError, ConvertError, ConvertRefusal, CreateError, GuestFault, HostFault, NoPage, PunchError, ResizeError,
    SplitByHandError, ViewError,
};
use hugetlb::restructure::{MergeError, SplitError};

use super::{Errno, Signal, ToErrno};
use crate::calls::{GmemCallError, GmemConvertError};

impl<E: ToErrno> ToErrno for GmemCallError<E> {
    fn errno(&self) -> Errno {
        match self {
            Self::NotGmem(_) => Errno::EBADF,
            Self::BadRange { .. } => Errno::EINVAL,
            Self::Failed(error) => error.errno(),
        }
    }
}

impl ToErrno for CreateError {
    fn errno(&self) -> Errno {
        match self {
            Self::Allot(_) => Errno::ENOMEM,
            _ => Errno::EINVAL,
        }
    }
}

impl ToErrno for AllocateError {
    fn errno(&self) -> Errno {
        match self {
            Self::Outside(_) => Errno::EINVAL,
            Self::Split(refusal) => refusal.errno(),
            _ => Errno::ENOMEM,
        }
    }
}

impl ToErrno for SplitError {
    fn errno(&self) -> Errno {
        match self {
            Self::Referenced(_) => Errno::EAGAIN,
            Self::Poisoned { .. } => Errno::EHWPOISON,
            Self::Metadata(_) => Errno::ENOMEM,
            _ => Errno::EINVAL,
        }
    }
}

impl ToErrno for MergeError {
    fn errno(&self) -> Errno {
        match self {
            Self::Referenced(_) => Errno::EAGAIN,
            Self::Poisoned { .. } => Errno::EHWPOISON,
            _ => Errno::EINVAL,
        }
    }
}

impl ToErrno for GuestFault {
    fn errno(&self) -> Errno {
        match self {
            Self::Poisoned(_) => Errno::EHWPOISON,
            Self::NoPage(refusal) => refusal.errno(),
            Self::NoTablePage => Errno::ENOMEM,
            _ => Errno::EFAULT,
        }
    }
}

impl ToErrno for HostFault {
    fn errno(&self) -> Errno {
        match self {
            Self::Private(_) => Errno::EACCES,
            Self::Poisoned(_) => Errno::EHWPOISON,
            Self::NoPage(refusal) => refusal.errno(),
            Self::NoTablePage => Errno::ENOMEM,
            _ => Errno::EFAULT,
        }
    }
}

impl ToErrno for ConvertRefusal {
    fn errno(&self) -> Errno {
        match self {
            Self::Held(_) => Errno::EAGAIN,
            Self::Split(refusal) => refusal.errno(),
            _ => Errno::ENOMEM,
        }
    }
}

impl ToErrno for GmemConvertError {
    fn errno(&self) -> Errno {
        match self {
            Self::Off => Errno::ENOTTY,
            Self::Convert(ConvertError::Stopped { why, .. }) => why.errno(),
            Self::UnknownBits(_) | Self::Convert(_) => Errno::EINVAL,
        }
    }
}

impl ToErrno for PunchError {
    fn errno(&self) -> Errno {
        match self {
            Self::Held(_) => Errno::EAGAIN,
            _ => Errno::EINVAL,
        }
    }
}

impl ToErrno for ViewError {
    fn errno(&self) -> Errno {
        match self {
            Self::NotMappable => Errno::ENODEV,
            _ => Errno::EINVAL,
        }
    }
}

impl ToErrno for ResizeError {
    fn errno(&self) -> Errno {
        Errno::EINVAL
    }
}

impl ToErrno for SplitByHandError {
    fn errno(&self) -> Errno {
        match self {
            Self::Split(refusal) => refusal.errno(),
            _ => Errno::ENOENT,
        }
    }
}

impl ToErrno for NoPage {
    fn errno(&self) -> Errno {
        Errno::ENOENT
    }
}

/// The signal of an access of the host to guest memory that fails.
#[must_use]
pub const fn signal_of_host_fault(error: &HostFault) -> Signal {
    match error {
        HostFault::Outside(_) => Signal::Sigsegv(1),
        HostFault::Poisoned(_) => Signal::Sigbus(4),
        _ => Signal::Sigbus(2),
    }
}
