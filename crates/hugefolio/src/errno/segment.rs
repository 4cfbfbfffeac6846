//! Of System V segments.

use hugetlbfs::SegmentError;
use mm::{AttachError, DetachError, MmapError};

use super::{Errno, ToErrno};
use crate::{NoSegment, SegmentCallError};

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
