//! Of page tables by themselves: what a call that ends there would say.

use paging::{MapRefusal, NoSuchGrain, StepRefusal, Straddles, WalkStopped};

use super::{Errno, ToErrno};

impl ToErrno for StepRefusal {
    fn errno(&self) -> Errno {
        match self {
            Self::Leaf(_) | Self::Occupied(_) => Errno::EEXIST,
            Self::NoTable(_) => Errno::ENOMEM,
            _ => Errno::EINVAL,
        }
    }
}

impl ToErrno for WalkStopped {
    fn errno(&self) -> Errno {
        self.why.errno()
    }
}

impl ToErrno for MapRefusal {
    fn errno(&self) -> Errno {
        match self {
            Self::Occupied { .. } => Errno::EEXIST,
            Self::NoWay { why, .. } => why.errno(),
            _ => Errno::EINVAL,
        }
    }
}

impl ToErrno for NoSuchGrain {
    fn errno(&self) -> Errno {
        Errno::EINVAL
    }
}

impl ToErrno for Straddles {
    fn errno(&self) -> Errno {
        Errno::EINVAL
    }
}
