//! Of a userfaultfd.

use mm::{FillError, FillRefusal, ProtectError, RegisterError, UnregisterError};

use super::{Errno, ToErrno};
use crate::calls::UffdCallError;

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
            Self::NoTablePage => Errno::ENOMEM,
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
            FillRefusal::Poisoned(_) => Errno::EHWPOISON,
            FillRefusal::BrokenPart(_) => Errno::EIO,
            FillRefusal::NotCached(_) | FillRefusal::BeyondEof { .. } | FillRefusal::TooManyRefs(_) => Errno::EFAULT,
            FillRefusal::CacheNode(_) | FillRefusal::NoTablePage => Errno::ENOMEM,
            _ => Errno::EINVAL,
        }
    }
}
