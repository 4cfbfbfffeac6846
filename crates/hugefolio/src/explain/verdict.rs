//! What is asked and what is answered.

use hugetlb::AllocRefusal;
use mm::{MmapError, Share};
use units::{Blame, Bytes, HugeCount, HugeSize, Ledger};

use crate::NoSuchSize;

/// When pages are promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// By `mmap`.
    AtMap,
    /// Never (`MAP_NORESERVE`).
    Never,
}

/// A mapping that somebody wishes to make, of pages that no file has or has reserved yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The size of its pages; the default where none is named. A file has the pages of its mount, whatever is said here.
    pub size: Option<HugeSize>,
    /// How long; rounded up to whole pages.
    pub len: Bytes,
    /// Who sees what is written.
    pub share: Share,
    /// When its pages are promised.
    pub promise: Promise,
}

impl Wish {
    /// A shared mapping whose pages `mmap` promises.
    #[must_use]
    pub const fn reserved(len: Bytes) -> Self {
        Self { size: None, len, share: Share::Shared, promise: Promise::AtMap }
    }

    /// A shared mapping without promise.
    #[must_use]
    pub const fn unreserved(len: Bytes) -> Self {
        Self { promise: Promise::Never, ..Self::reserved(len) }
    }

    /// The same, of pages of that size.
    #[must_use]
    pub const fn of(self, size: HugeSize) -> Self {
        Self { size: Some(size), ..self }
    }
}

/// Which of a group's counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupCounter {
    /// Pages in use.
    Usage,
    /// Pages reserved, or in use without a reservation.
    Rsvd,
}

impl GroupCounter {
    /// What the names of its files start with, after the size.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Usage => "",
            Self::Rsvd => "rsvd.",
        }
    }
}

/// A control group's limit refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{folder} allows {limit}; {} are charged and {} more were asked for", .charged.get(), .asked.get())]
pub struct OverGroupLimit {
    /// Where the group's files are.
    pub folder: String,
    /// Which of its counters.
    pub counter: GroupCounter,
    /// Charged at that moment.
    pub charged: HugeCount,
    /// The limit.
    pub limit: HugeCount,
    /// The pages asked for.
    pub asked: HugeCount,
}

impl Blame for OverGroupLimit {
    fn ledger(&self) -> Option<Ledger> {
        Some(match self.counter {
            GroupCounter::Usage => Ledger::CgroupUsage,
            GroupCounter::Rsvd => Ledger::CgroupRsvd,
        })
    }
}

/// Why `mmap` would fail.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MapRefusal {
    /// No pool of that size.
    #[error(transparent)]
    NoPool(#[from] NoSuchSize),
    /// A control group's limit.
    #[error(transparent)]
    Group(#[from] OverGroupLimit),
    /// Anything else.
    #[error(transparent)]
    Mmap(#[from] MmapError),
}

impl Blame for MapRefusal {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::NoPool(_) => None,
            Self::Group(over) => over.ledger(),
            Self::Mmap(error) => error.ledger(),
        }
    }
}

/// Why a touch would raise a signal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TouchRefusal {
    /// A control group's limit.
    #[error(transparent)]
    Group(#[from] OverGroupLimit),
    /// Anything else.
    #[error(transparent)]
    Alloc(#[from] AllocRefusal),
}

impl Blame for TouchRefusal {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::Group(over) => over.ledger(),
            Self::Alloc(refusal) => refusal.ledger(),
        }
    }
}

/// What `mmap` would say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapVerdict {
    /// It succeeds.
    Maps,
    /// It fails.
    Refused(MapRefusal),
}

/// What would become of touching every page of the mapping in turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultVerdict {
    /// Every touch succeeds.
    All,
    /// So many succeed, and the next one raises a signal.
    Stops {
        /// Touches that succeed.
        after: HugeCount,
        /// What stops the next.
        refusal: TouchRefusal,
    },
    /// There is no mapping to touch.
    NotMapped,
}
