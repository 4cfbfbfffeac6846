//! The huge pages of a process: status and smaps.

use std::fmt;
use std::str::FromStr;

use units::Bytes;

use super::line::{ReportError, after, bad, kib};

/// The `HugetlbPages` line of `/proc/PID/status`: huge pages that the process has mapped, of all sizes.
#[doc(alias = "hugetlb_report_usage")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HugetlbPages(pub Bytes);

impl fmt::Display for HugetlbPages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "HugetlbPages:\t{:8} kB", self.0.get() >> 10)
    }
}

impl FromStr for HugetlbPages {
    type Err = ReportError;

    fn from_str(text: &str) -> Result<Self, ReportError> {
        kib(text, "HugetlbPages:").map(Self)
    }
}

/// The two lines of one mapping in `/proc/PID/smaps` that count huge pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SmapsHugetlb {
    /// `Shared_Hugetlb`: pages that are mapped more than once.
    pub shared: Bytes,
    /// `Private_Hugetlb`: pages that are mapped here alone.
    pub private: Bytes,
}

impl fmt::Display for SmapsHugetlb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Shared_Hugetlb: {:8} kB", self.shared.get() >> 10)?;
        writeln!(f, "Private_Hugetlb: {:7} kB", self.private.get() >> 10)
    }
}

impl FromStr for SmapsHugetlb {
    type Err = ReportError;

    fn from_str(text: &str) -> Result<Self, ReportError> {
        Ok(Self { shared: kib(text, "Shared_Hugetlb:")?, private: kib(text, "Private_Hugetlb:")? })
    }
}

/// A flag of a mapping, two letters in the `VmFlags` line of smaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VmFlag([u8; 2]);

impl VmFlag {
    /// May be read.
    pub const READ: Self = Self(*b"rd");
    /// May be written.
    pub const WRITE: Self = Self(*b"wr");
    /// May be executed.
    pub const EXEC: Self = Self(*b"ex");
    /// Shared with others.
    pub const SHARED: Self = Self(*b"sh");
    /// `mprotect` may allow reading.
    pub const MAY_READ: Self = Self(*b"mr");
    /// `mprotect` may allow writing.
    pub const MAY_WRITE: Self = Self(*b"mw");
    /// `mprotect` may allow execution.
    pub const MAY_EXEC: Self = Self(*b"me");
    /// May be shared.
    pub const MAY_SHARE: Self = Self(*b"ms");
    /// Faults on absent pages go to user space.
    pub const UFFD_MISSING: Self = Self(*b"um");
    /// Writes to protected pages go to user space.
    pub const UFFD_WP: Self = Self(*b"uw");
    /// Pages are locked.
    pub const LOCKED: Self = Self(*b"lo");
    /// Will be read in order.
    pub const SEQUENTIAL_READ: Self = Self(*b"sr");
    /// Will be read at random.
    pub const RANDOM_READ: Self = Self(*b"rr");
    /// Not inherited by fork.
    pub const DONT_COPY: Self = Self(*b"dc");
    /// `mremap` may not let it grow.
    pub const DONT_EXPAND: Self = Self(*b"de");
    /// Counted against the commit limit.
    pub const ACCOUNT: Self = Self(*b"ac");
    /// No reservation was made.
    pub const NO_RESERVE: Self = Self(*b"nr");
    /// Huge pages of a pool.
    pub const HUGETLB: Self = Self(*b"ht");
    /// Empty after fork.
    pub const WIPE_ON_FORK: Self = Self(*b"wf");
    /// Left out of core dumps.
    pub const DONT_DUMP: Self = Self(*b"dd");
    /// Written to since the last look.
    pub const SOFT_DIRTY: Self = Self(*b"sd");
    /// Transparent huge pages are wished for.
    pub const HUGEPAGE: Self = Self(*b"hg");
    /// Transparent huge pages are not wished for.
    pub const NO_HUGEPAGE: Self = Self(*b"nh");
    /// Equal pages may be merged.
    pub const MERGEABLE: Self = Self(*b"mg");

    /// The named flags in the order in which the kernel prints them.
    pub const ALL: [Self; 24] = [
        Self::READ,
        Self::WRITE,
        Self::EXEC,
        Self::SHARED,
        Self::MAY_READ,
        Self::MAY_WRITE,
        Self::MAY_EXEC,
        Self::MAY_SHARE,
        Self::UFFD_MISSING,
        Self::UFFD_WP,
        Self::LOCKED,
        Self::SEQUENTIAL_READ,
        Self::RANDOM_READ,
        Self::DONT_COPY,
        Self::DONT_EXPAND,
        Self::ACCOUNT,
        Self::NO_RESERVE,
        Self::HUGETLB,
        Self::WIPE_ON_FORK,
        Self::DONT_DUMP,
        Self::SOFT_DIRTY,
        Self::HUGEPAGE,
        Self::NO_HUGEPAGE,
        Self::MERGEABLE,
    ];

    /// The flag of two lower-case letters, named above or not.
    #[must_use]
    pub fn from_letters(letters: &str) -> Option<Self> {
        match letters.as_bytes() {
            &[a, b] if a.is_ascii_lowercase() && b.is_ascii_lowercase() => Some(Self([a, b])),
            _ => None,
        }
    }

    fn rank(self) -> usize {
        Self::ALL.iter().position(|&flag| flag == self).unwrap_or(Self::ALL.len())
    }
}

impl fmt::Display for VmFlag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", char::from(self.0[0]), char::from(self.0[1]))
    }
}

/// The `VmFlags` line of one mapping in smaps.
///
/// Collecting flags puts them into the kernel's order; reading a line keeps the order that it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VmFlags(Vec<VmFlag>);

impl VmFlags {
    /// Is `flag` set?
    #[must_use]
    pub fn contains(&self, flag: VmFlag) -> bool {
        self.0.contains(&flag)
    }

    /// The flags as printed.
    pub fn iter(&self) -> impl Iterator<Item = VmFlag> {
        self.0.iter().copied()
    }
}

impl FromIterator<VmFlag> for VmFlags {
    fn from_iter<I: IntoIterator<Item = VmFlag>>(flags: I) -> Self {
        let mut flags: Vec<VmFlag> = flags.into_iter().collect();
        flags.sort_by_key(|flag| (flag.rank(), *flag));
        flags.dedup();
        Self(flags)
    }
}

impl fmt::Display for VmFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VmFlags: ")?;
        for flag in self.iter() {
            write!(f, "{flag} ")?;
        }
        writeln!(f)
    }
}

impl FromStr for VmFlags {
    type Err = ReportError;

    fn from_str(text: &str) -> Result<Self, ReportError> {
        let words = after(text, "VmFlags:")?.split_ascii_whitespace();
        let flag = |word| VmFlag::from_letters(word).ok_or_else(|| bad("VmFlags:", word, "two letters"));
        words.map(flag).collect::<Result<Vec<_>, _>>().map(Self)
    }
}
