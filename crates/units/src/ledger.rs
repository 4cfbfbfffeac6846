//! Who said no.

use core::fmt;

/// The ledger that refused a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Ledger {
    /// The pool holds no page that this request may take.
    Pool,
    /// The reservation could not be made: not enough unreserved pages.
    Reservation,
    /// The overcommit limit allows no further surplus page.
    SurplusCap,
    /// The mount's `size=` is used up.
    Subpool,
    /// A control group's limit on pages in use.
    CgroupUsage,
    /// A control group's limit on reserved pages.
    CgroupRsvd,
    /// A memory control group's limit.
    Memcg,
    /// No allowed node has what is needed.
    Node,
    /// The zones are at their watermarks: no free memory of this order.
    Watermark,
    /// No contiguous range of this size.
    Contiguity,
    /// Somebody holds a reference to the folio.
    PinnedFolio,
    /// A page that would hold the kernel's own records could not be had.
    Metadata,
    /// A folio has as many references as can be counted.
    References,
}

impl Ledger {
    /// The name that scenarios and traces use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pool => "pool",
            Self::Reservation => "reservation",
            Self::SurplusCap => "surplus-cap",
            Self::Subpool => "subpool",
            Self::CgroupUsage => "cgroup-usage",
            Self::CgroupRsvd => "cgroup-rsvd",
            Self::Memcg => "memcg",
            Self::Node => "node",
            Self::Watermark => "watermark",
            Self::Contiguity => "contiguity",
            Self::PinnedFolio => "pinned-folio",
            Self::Metadata => "metadata",
            Self::References => "references",
        }
    }

    /// Every ledger.
    pub const ALL: [Self; 13] = [
        Self::Pool,
        Self::Reservation,
        Self::SurplusCap,
        Self::Subpool,
        Self::CgroupUsage,
        Self::CgroupRsvd,
        Self::Memcg,
        Self::Node,
        Self::Watermark,
        Self::Contiguity,
        Self::PinnedFolio,
        Self::Metadata,
        Self::References,
    ];
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A refusal that can say which ledger decided.
pub trait Blame {
    /// The ledger that refused, or nothing where the request itself was wrong.
    fn ledger(&self) -> Option<Ledger>;
}
