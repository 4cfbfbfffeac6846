//! Words of operations: page sizes, protections, accesses, flags and advice.

use super::amount::Size;
use super::argument::{Place, Value, ValueError};
use super::draw::Draws;
use super::record::Scalar;
use super::text::nearest;

/// A huge page size as the callers of the kernel name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SizeName {
    /// No size: the default huge page size.
    Default,
    /// `2M`.
    M2,
    /// `1G`.
    G1,
    /// `log:NN`: 2^NN bytes, whether such a pool exists or not.
    Log(u8),
}

impl SizeName {
    /// The base-2 logarithm of the size; `None` for the default size.
    pub const fn log2(self) -> Option<u8> {
        match self {
            SizeName::Default => None,
            SizeName::M2 => Some(21),
            SizeName::G1 => Some(30),
            SizeName::Log(log) => Some(log),
        }
    }

    /// The size in bytes; `None` for the default size and for sizes of 2^63 and more.
    pub fn size(self) -> Option<Size> {
        self.log2().and_then(|log| 1i64.checked_shl(u32::from(log))).filter(|bytes| *bytes > 0).map(Size::bytes)
    }

    /// The name of the pool size of 2^`log` bytes.
    pub const fn from_log2(log: u8) -> Self {
        match log {
            21 => SizeName::M2,
            30 => SizeName::G1,
            log => SizeName::Log(log),
        }
    }
}

impl Value for SizeName {
    const EXPECTS: &'static str = "a huge page size: 2M, 1G, default or log:NN";
    fn draw(draws: &mut Draws<'_>) -> Self {
        *draws.of(&[SizeName::M2, SizeName::G1, SizeName::Default, SizeName::Log(16), SizeName::Log(21)])
    }
    fn from_text(text: &str) -> Result<Self, ValueError> {
        match text {
            "2M" => return Ok(SizeName::M2),
            "1G" => return Ok(SizeName::G1),
            "default" => return Ok(SizeName::Default),
            _ => {}
        }
        text.strip_prefix("log:")
            .and_then(|digits| digits.parse().ok())
            .filter(|log| *log < 64)
            .map(SizeName::Log)
            .ok_or_else(|| ValueError::new(format!("`{text}` is not a huge page size")))
    }
    fn to_text(&self) -> String {
        match self {
            SizeName::Default => "default".to_owned(),
            SizeName::M2 => "2M".to_owned(),
            SizeName::G1 => "1G".to_owned(),
            SizeName::Log(log) => format!("log:{log}"),
        }
    }
}

/// What a mapping may be used for: `r`, `w`, `x` together, or `none`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Protection {
    /// Loads are allowed.
    pub read: bool,
    /// Stores are allowed.
    pub write: bool,
    /// Instruction fetches are allowed.
    pub exec: bool,
}

impl Protection {
    /// Loads and stores.
    pub const READ_WRITE: Protection = Protection { read: true, write: true, exec: false };

    fn letters(self) -> String {
        [(self.read, 'r'), (self.write, 'w'), (self.exec, 'x')].iter().filter(|(on, _)| *on).map(|(_, c)| *c).collect()
    }

    fn from_letters(text: &str) -> Result<Self, ValueError> {
        let mut protection = Protection::default();
        for letter in text.chars() {
            match letter {
                'r' => protection.read = true,
                'w' => protection.write = true,
                'x' => protection.exec = true,
                other => return Err(ValueError::new(format!("{other:?} is not a protection"))),
            }
        }
        Ok(protection)
    }
}

impl Value for Protection {
    const EXPECTS: &'static str = "a protection: letters of rwx, or none";
    fn draw(draws: &mut Draws<'_>) -> Self {
        let bits = draws.byte();
        Self { read: bits & 1 != 0, write: bits & 2 != 0, exec: bits & 4 != 0 }
    }
    fn from_text(text: &str) -> Result<Self, ValueError> {
        if text == "none" { Ok(Self::default()) } else { Self::from_letters(text) }
    }
    fn to_text(&self) -> String {
        let letters = self.letters();
        if letters.is_empty() { "none".to_owned() } else { letters }
    }
    fn from_scalar(scalar: &Scalar) -> Result<Self, ValueError> {
        match scalar {
            Scalar::Text(text) => Self::from_letters(text),
            Scalar::Number(n) => Err(ValueError::new(format!("{n} is a number where letters of rwx are expected"))),
        }
    }
    fn to_scalar(&self) -> Scalar {
        Scalar::Text(self.letters())
    }
}

fn zero_or_one(scalar: &Scalar) -> Result<bool, ValueError> {
    match scalar {
        Scalar::Number(0) => Ok(false),
        Scalar::Number(1) => Ok(true),
        other => Err(ValueError::new(format!("{other} is neither 0 nor 1"))),
    }
}

/// Which way memory is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// A load.
    Read,
    /// A store.
    Write,
}

impl Value for Access {
    const EXPECTS: &'static str = "read or write";
    fn draw(draws: &mut Draws<'_>) -> Self {
        *draws.of(&[Access::Read, Access::Write])
    }
    fn from_text(text: &str) -> Result<Self, ValueError> {
        match text {
            "read" => Ok(Access::Read),
            "write" => Ok(Access::Write),
            _ => Err(ValueError {
                nearest: near(text, ["read", "write"]),
                ..ValueError::new(format!("`{text}` is not an access"))
            }),
        }
    }
    fn to_text(&self) -> String {
        match self {
            Access::Read => "read".to_owned(),
            Access::Write => "write".to_owned(),
        }
    }
    fn from_scalar(scalar: &Scalar) -> Result<Self, ValueError> {
        zero_or_one(scalar).map(|write| if write { Access::Write } else { Access::Read })
    }
    fn to_scalar(&self) -> Scalar {
        Scalar::Number(i64::from(*self == Access::Write))
    }
}

/// A switch that stands on a line as its own name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switch(bool);

impl Switch {
    /// Switched on.
    pub const ON: Switch = Switch(true);

    /// Whether it is on.
    pub const fn is_on(self) -> bool {
        self.0
    }
}

impl Value for Switch {
    const EXPECTS: &'static str = "the word itself, or =0";
    const PLACE_IF_OPTIONAL: Place = Place::Word;
    fn draw(draws: &mut Draws<'_>) -> Self {
        Self(draws.byte().is_multiple_of(2))
    }
    fn from_text(text: &str) -> Result<Self, ValueError> {
        match text {
            "1" => Ok(Switch(true)),
            "0" => Ok(Switch(false)),
            _ => Err(ValueError::new(format!("`{text}` is neither 0 nor 1"))),
        }
    }
    fn to_text(&self) -> String {
        u8::from(self.0).to_string()
    }
    fn from_scalar(scalar: &Scalar) -> Result<Self, ValueError> {
        zero_or_one(scalar).map(Switch)
    }
    fn to_scalar(&self) -> Scalar {
        Scalar::Number(i64::from(self.0))
    }
}

fn near<const N: usize>(text: &str, words: [&str; N]) -> Option<String> {
    nearest(text, words).map(str::to_owned)
}

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

macro_rules! advice {
    ($($(#[doc = $doc:literal])* $name:ident = $word:literal),* $(,)?) => {
        /// Advice of `madvise`. A word that is none of the known ones stands for advice that no kernel knows.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Advice {
            $($(#[doc = $doc])* $name,)*
            /// Advice unknown to every kernel, kept by its word.
            Unknown(String),
        }

        impl Advice {
            const EXPECTS: &'static str = concat!("advice, one of:" $(, " ", $word)*, " (another word is unknown advice)");

            const WORDS: &'static [&'static str] = &[$($word,)* "bogus"];

            fn from_word(word: &str) -> Self {
                match word {
                    $($word => Advice::$name,)*
                    other => Advice::Unknown(other.to_owned()),
                }
            }

            /// The word for it.
            pub fn word(&self) -> &str {
                match self {
                    $(Advice::$name => $word,)*
                    Advice::Unknown(word) => word,
                }
            }
        }
    };
}

advice! {
    /// MADV_NORMAL.
    Normal = "normal",
    /// MADV_RANDOM.
    Random = "random",
    /// MADV_SEQUENTIAL.
    Sequential = "sequential",
    /// MADV_WILLNEED.
    Willneed = "willneed",
    /// MADV_DONTNEED.
    Dontneed = "dontneed",
    /// MADV_FREE.
    Free = "free",
    /// MADV_REMOVE.
    Remove = "remove",
    /// MADV_DONTFORK.
    Dontfork = "dontfork",
    /// MADV_DOFORK.
    Dofork = "dofork",
    /// MADV_MERGEABLE.
    Mergeable = "mergeable",
    /// MADV_HUGEPAGE.
    Hugepage = "hugepage",
    /// MADV_NOHUGEPAGE.
    Nohugepage = "nohugepage",
    /// MADV_DONTDUMP.
    Dontdump = "dontdump",
    /// MADV_WIPEONFORK.
    Wipeonfork = "wipeonfork",
    /// MADV_KEEPONFORK.
    Keeponfork = "keeponfork",
    /// MADV_COLD.
    Cold = "cold",
    /// MADV_PAGEOUT.
    Pageout = "pageout",
    /// MADV_POPULATE_READ.
    PopulateRead = "populate_read",
    /// MADV_POPULATE_WRITE.
    PopulateWrite = "populate_write",
    /// MADV_DONTNEED_LOCKED.
    DontneedLocked = "dontneed_locked",
    /// MADV_COLLAPSE.
    Collapse = "collapse",
}

impl Value for Advice {
    const EXPECTS: &'static str = Advice::EXPECTS;
    fn draw(draws: &mut Draws<'_>) -> Self {
        Self::from_word(draws.of::<&str>(Self::WORDS))
    }
    fn from_text(text: &str) -> Result<Self, ValueError> {
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(ValueError::new(format!("`{text}` is not advice")));
        }
        Ok(Self::from_word(text))
    }
    fn to_text(&self) -> String {
        self.word().to_owned()
    }
}
