//! Of requests for ordinary pages.

use page_alloc::{BlockError, CmaError, ContextError, ContigError, HotplugError, NoBlock, NoPages};
use policy::TopologyError;
use zone::watermark::KnobRange;
use zone::{BadFree, IsolateRefusal};

use crate::OfflineError;

use super::{Errno, ToErrno};

macro_rules! one {
    ($($error:ty = $errno:ident),*) => {$(
        impl ToErrno for $error {
            fn errno(&self) -> Errno {
                Errno::$errno
            }
        }
    )*};
}

one!(
    NoBlock = ENOMEM,
    ContextError = EINVAL,
    BadFree = EINVAL,
    KnobRange = EINVAL,
    IsolateRefusal = EBUSY,
    TopologyError = ENODEV
);

impl ToErrno for ContigError {
    fn errno(&self) -> Errno {
        match self {
            Self::Busy(_) => Errno::EBUSY,
            Self::NoMemory(_) => Errno::ENOMEM,
            Self::Interrupted => Errno::EINTR,
            _ => Errno::EINVAL,
        }
    }
}

impl ToErrno for CmaError {
    fn errno(&self) -> Errno {
        match self {
            Self::Range(error) => error.errno(),
            Self::Full(_) => Errno::ENOMEM,
            _ => Errno::EINVAL,
        }
    }
}

impl ToErrno for OfflineError {
    fn errno(&self) -> Errno {
        match self {
            Self::Range(error) => error.errno(),
            // Whatever stays, the range is busy.
            Self::Busy(_) | Self::Huge(_) => Errno::EBUSY,
        }
    }
}

impl ToErrno for HotplugError {
    fn errno(&self) -> Errno {
        match self {
            Self::Present(_) => Errno::EEXIST,
            Self::Range(error) => error.errno(),
            Self::Topology(error) => error.errno(),
            _ => Errno::EINVAL,
        }
    }
}

impl ToErrno for NoPages {
    fn errno(&self) -> Errno {
        match self {
            Self::Context(error) => error.errno(),
            _ => Errno::ENOMEM,
        }
    }
}

impl ToErrno for BlockError {
    fn errno(&self) -> Errno {
        match self {
            Self::NoSuchBlock => Errno::ENOENT,
            Self::Pinned { .. } => Errno::EBUSY,
            _ => Errno::EINVAL,
        }
    }
}
