//! Flags of operations: sets of words, kept in the order in which they were given.

use super::argument::{Value, ValueError};
use super::draw::Draws;
use super::record::Scalar;
use super::text::nearest;

/// One flag of a set.
pub trait Flag: Copy + PartialEq + 'static {
    /// What a list of these may hold, for messages and the grammar page.
    const EXPECTS: &'static str;
    /// What one of these is called in messages.
    const WHAT: &'static str;
    /// Every flag with its word.
    const ALL: &'static [(&'static str, Self)];
}

/// Flags in the order in which they were given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flags<F>(Vec<F>);

impl<F: Flag> Flags<F> {
    /// No flags.
    pub const NONE: Flags<F> = Flags(Vec::new());

    /// These flags.
    pub fn of(flags: &[F]) -> Self {
        Self(flags.to_vec())
    }

    /// Whether `flag` is among them.
    pub fn has(&self, flag: F) -> bool {
        self.0.contains(&flag)
    }

    /// The flags in order.
    pub fn iter(&self) -> impl Iterator<Item = F> {
        self.0.iter().copied()
    }

    fn words(&self) -> String {
        let word = |flag: &F| F::ALL.iter().find(|(_, f)| f == flag).map_or("", |(word, _)| *word);
        self.0.iter().map(word).collect::<Vec<_>>().join(",")
    }

    fn from_words(text: &str) -> Result<Self, ValueError> {
        if text.is_empty() {
            return Ok(Self::NONE);
        }
        let flag = |word: &str| {
            F::ALL.iter().find(|(known, _)| *known == word).map(|(_, flag)| *flag).ok_or_else(|| ValueError {
                nearest: nearest(word, F::ALL.iter().map(|(known, _)| *known)).map(str::to_owned),
                ..ValueError::new(format!("`{word}` is not {}", F::WHAT))
            })
        };
        text.split(',').map(flag).collect::<Result<_, _>>().map(Self)
    }
}

impl<F: Flag> Value for Flags<F> {
    const EXPECTS: &'static str = F::EXPECTS;
    fn draw(draws: &mut Draws<'_>) -> Self {
        Self((0..draws.byte() % 3).map(|_| draws.of(F::ALL).1).collect())
    }
    fn from_text(text: &str) -> Result<Self, ValueError> {
        if text == "none" { Ok(Self::NONE) } else { Self::from_words(text) }
    }
    fn to_text(&self) -> String {
        if self.0.is_empty() { "none".to_owned() } else { self.words() }
    }
    fn from_scalar(scalar: &Scalar) -> Result<Self, ValueError> {
        match scalar {
            Scalar::Text(text) => Self::from_words(text),
            Scalar::Number(n) => Err(ValueError::new(format!("{n} is a number where a list of words is expected"))),
        }
    }
    fn to_scalar(&self) -> Scalar {
        Scalar::Text(self.words())
    }
}

macro_rules! flags {
    ($($(#[doc = $doc:literal])* $name:ident: $what:literal { $($(#[doc = $fdoc:literal])* $flag:ident = $word:literal),* $(,)? })*) => {$(
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[doc = $fdoc])* $flag),* }

        impl Flag for $name {
            const EXPECTS: &'static str = concat!("none, or a comma list of:" $(, " ", $word)*);
            const WHAT: &'static str = $what;
            const ALL: &'static [(&'static str, Self)] = &[$(($word, $name::$flag)),*];
        }
    )*};
}

flags! {
    /// Flags of `mmap`; without `noaddr` and `at=` a mapping goes to its name's own slot, and nothing may be there.
    MmapFlag: "a mapping flag" {
        /// MAP_SHARED.
        Shared = "shared",
        /// MAP_SHARED_VALIDATE.
        SharedValidate = "shared_validate",
        /// MAP_PRIVATE.
        Private = "private",
        /// MAP_ANONYMOUS with MAP_HUGETLB.
        Anon = "anon",
        /// With `anon`: no MAP_HUGETLB, so base pages.
        Small = "small",
        /// MAP_NORESERVE.
        Noreserve = "noreserve",
        /// MAP_POPULATE.
        Populate = "populate",
        /// MAP_NONBLOCK.
        Nonblock = "nonblock",
        /// MAP_LOCKED.
        Locked = "locked",
        /// MAP_FIXED instead of MAP_FIXED_NOREPLACE.
        Fixed = "fixed",
        /// No address hint: the kernel chooses.
        Noaddr = "noaddr",
        /// MAP_HUGETLB on a file.
        Hugetlb = "hugetlb",
    }
    /// Flags of `mremap`.
    MremapFlag: "an mremap flag" {
        /// MREMAP_MAYMOVE.
        Maymove = "maymove",
        /// MREMAP_FIXED.
        Fixed = "fixed",
        /// MREMAP_DONTUNMAP.
        Dontunmap = "dontunmap",
    }
    /// Flags of `open`; without `rdonly` and `wronly` a file is opened for both.
    OpenFlag: "an open flag" {
        /// O_CREAT.
        Creat = "creat",
        /// O_EXCL.
        Excl = "excl",
        /// O_TRUNC.
        Trunc = "trunc",
        /// O_RDONLY.
        Rdonly = "rdonly",
        /// O_WRONLY.
        Wronly = "wronly",
        /// O_TMPFILE.
        Tmpfile = "tmpfile",
    }
    /// Flags of `memfd`.
    MemfdFlag: "a memfd flag" {
        /// MFD_HUGETLB.
        Hugetlb = "hugetlb",
        /// MFD_ALLOW_SEALING.
        Seal = "seal",
        /// MFD_NOEXEC_SEAL.
        NoexecSeal = "noexec_seal",
    }
    /// Modes of `fallocate`; none allocates.
    FallocateMode: "an fallocate mode" {
        /// FALLOC_FL_KEEP_SIZE.
        KeepSize = "keep_size",
        /// FALLOC_FL_PUNCH_HOLE with FALLOC_FL_KEEP_SIZE.
        Punch = "punch",
        /// FALLOC_FL_PUNCH_HOLE alone.
        PunchOnly = "punch_only",
        /// FALLOC_FL_ZERO_RANGE.
        ZeroRange = "zero_range",
        /// FALLOC_FL_COLLAPSE_RANGE.
        Collapse = "collapse",
        /// FALLOC_FL_INSERT_RANGE.
        Insert = "insert",
    }
    /// Seals of a memfd.
    Seal: "a seal" {
        /// F_SEAL_SEAL.
        Seal = "seal",
        /// F_SEAL_SHRINK.
        Shrink = "shrink",
        /// F_SEAL_GROW.
        Grow = "grow",
        /// F_SEAL_WRITE.
        Write = "write",
        /// F_SEAL_FUTURE_WRITE.
        FutureWrite = "future_write",
        /// F_SEAL_EXEC.
        Exec = "exec",
    }
    /// Flags of `shmget`.
    SegmentFlag: "a segment flag" {
        /// SHM_NORESERVE.
        Noreserve = "noreserve",
    }
    /// Flags of `shmat`.
    AttachFlag: "an attach flag" {
        /// SHM_RDONLY.
        Rdonly = "rdonly",
    }
    /// How a file of guest memory is made.
    GuestFlag: "a flag of gmem_create" {
        /// GUEST_MEMFD_FLAG_MMAP.
        Mmap = "mmap",
        /// GUEST_MEMFD_FLAG_INIT_SHARED.
        Shared = "shared",
        /// GUEST_MEMFD_FLAG_HUGETLB.
        Huge = "huge",
        /// A bit that means nothing.
        Unknown = "unknown",
    }
    /// What pages of a guest become.
    GuestAttribute: "an attribute of pages of a guest" {
        /// The guest's alone.
        Private = "private",
        /// The host's as well.
        Shared = "shared",
        /// An attribute that means nothing.
        Unknown = "unknown",
        /// A reserved field that is not zero.
        Reserved = "reserved",
    }
    /// What becomes of pages that lie elsewhere.
    MoveFlag: "a flag of moves" {
        /// MPOL_MF_STRICT.
        Strict = "strict",
        /// MPOL_MF_MOVE.
        Move = "move",
        /// MPOL_MF_MOVE_ALL.
        All = "all",
    }
    /// Special memory that a request may have.
    AccessFlag: "special memory" {
        /// Areas that are kept for contiguous ranges.
        Cma = "cma",
        /// Pages that the kernel has no mapping of.
        Unmapped = "unmapped",
        /// Private nodes.
        Managed = "managed",
    }
    /// What a task is that asks for pages.
    TaskFlag: "something that a task is" {
        /// It works to free memory.
        Memalloc = "memalloc",
        /// It is being killed for memory.
        Victim = "victim",
        /// It is about to die.
        Dying = "dying",
        /// It must meet deadlines.
        Realtime = "realtime",
        /// It is in an interrupt.
        Interrupt = "interrupt",
    }
    /// Whose memory a range of frames is.
    AreaFlag: "a kind of area" {
        /// One that is lent until it is needed.
        Cma = "cma",
    }
    /// What a userfaultfd watches or does.
    UffdMode: "a userfaultfd mode" {
        /// Missing pages.
        Missing = "missing",
        /// Write protection.
        Wp = "wp",
        /// Pages that are in the page cache but not mapped.
        Minor = "minor",
    }
}
