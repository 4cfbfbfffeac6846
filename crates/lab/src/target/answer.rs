//! What a target answers to an operation.

use std::fmt;

use units::Ledger;

use serde::{Deserialize, Serialize};

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepResult {
    /// It succeeded.
    Ok,
    /// A system call failed with this error name, such as `ENOMEM`.
    Errno(String),
    /// The process got SIGBUS; it goes on.
    Sigbus,
    /// The process got SIGSEGV; it goes on.
    Sigsegv,
    /// The process never mapped anything under this name.
    Nomap,
    /// There is no such process, or there is one already.
    BadActor,
    /// There is no such mount.
    NoMount,
    /// There is such a mount already.
    Dup,
    /// The process did not answer in time.
    TimedOut,
    /// The process died.
    Died,
    /// The target does not know the operation.
    BadOp,
    /// The target does not model this, for the reason given.
    NotModelled(String),
}

const WORDS: [(&str, StepResult); 10] = [
    ("ok", StepResult::Ok),
    ("SIGBUS", StepResult::Sigbus),
    ("SIGSEGV", StepResult::Sigsegv),
    ("NOMAP", StepResult::Nomap),
    ("BADACTOR", StepResult::BadActor),
    ("NOMNT", StepResult::NoMount),
    ("DUP", StepResult::Dup),
    ("TIMEOUT", StepResult::TimedOut),
    ("DIED", StepResult::Died),
    ("BADOP", StepResult::BadOp),
];

const NOT_MODELLED: &str = "NOTMODELLED";

impl StepResult {
    /// The result with this word: `ok`, an error name, a signal or a word of the target layer.
    pub fn from_word(word: &str) -> Option<Self> {
        if word == NOT_MODELLED {
            return Some(StepResult::NotModelled(String::new()));
        }
        let known = WORDS.iter().find(|(known, _)| *known == word).map(|(_, result)| result.clone());
        let errno = || {
            let rest = word.strip_prefix('E').filter(|rest| !rest.is_empty() && rest.len() < 24)?;
            let plain = rest.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
            plain.then(|| StepResult::Errno(word.to_owned()))
        };
        known.or_else(errno)
    }

    /// The words of all results but error names.
    pub fn plain_words() -> impl Iterator<Item = &'static str> {
        WORDS.iter().map(|(word, _)| *word)
    }

    /// The word for it.
    pub fn word(&self) -> &str {
        match self {
            StepResult::Errno(name) => name,
            StepResult::NotModelled(_) => NOT_MODELLED,
            other => WORDS.iter().find(|(_, result)| result == other).map_or("", |(word, _)| *word),
        }
    }

    /// Whether the operation succeeded.
    pub fn is_ok(&self) -> bool {
        *self == StepResult::Ok
    }
}

impl fmt::Display for StepResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Which ledger refused, and the numbers that decided it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The ledger.
    pub ledger: Ledger,
    /// The whole reason in one sentence.
    pub text: String,
}

macro_rules! extras {
    ($($(#[doc = $doc:literal])+ $field:ident: $ty:ty,)*) => {
        /// What an operation answers besides its result; each verb fills the fields that belong to it.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Extras {
            $(
                $(#[doc = $doc])+
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $field: Option<$ty>,
            )*
        }

        impl Extras {
            /// The names of all fields.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($field)),*];

            /// Names and values of the fields that are there.
            pub fn fields(&self) -> Vec<(&'static str, String)> {
                let mut fields = Vec::new();
                $(
                    if let Some(value) = &self.$field {
                        fields.push((stringify!($field), Printed::print(value)));
                    }
                )*
                fields
            }
        }
    };
}

trait Printed {
    fn print(&self) -> String;
}

macro_rules! printed_as_displayed {
    ($($ty:ty),*) => {$(
        impl Printed for $ty {
            fn print(&self) -> String {
                self.to_string()
            }
        }
    )*};
}
printed_as_displayed!(u8, u32, u64, i64, String);

impl Printed for Vec<u8> {
    fn print(&self) -> String {
        self.iter().map(u8::to_string).collect::<Vec<_>>().join(",")
    }
}

extras! {
    /// The byte of a file at which a conversion stopped.
    at: i64,
    /// The order of the leaf by which a guest has a page mapped.
    leaf: i64,
    /// What happened to a guest's tables and to the folios behind them, in order.
    steps: String,
    /// What an entry of page tables says, or what became of it.
    what: String,
    /// Which ranges were flushed, in order, and which is owed.
    flushed: String,
    /// The limit of a control group as it reads back.
    lim: String,
    /// The code of the signal that ended a `touch`.
    sc: i64,
    /// The pages that a `touch` reached.
    done: u64,
    /// The bytes that a `touch` read, at most 600.
    rd: Vec<u8>,
    /// 1 if `mremap` moved the mapping, else 0.
    moved: u8,
    /// One digit a huge page: whether it is in memory.
    vec: String,
    /// A file's size in bytes, or how much an entry of page tables maps.
    size: i64,
    /// A file's size in units of 512 bytes.
    blocks: i64,
    /// A file's page size in bytes.
    blksize: i64,
    /// How many names a file has.
    nlink: i64,
    /// The bytes that `pread` read.
    n: i64,
    /// The first of them.
    b0: u8,
    /// The seals of a memfd as bits.
    seals: u32,
    /// One letter a huge page: how it is mapped.
    pm: String,
    /// The VMAs of a mapping.
    vmas: u32,
    /// Kilobytes of huge pages in them, where shared and private are not told apart.
    hugetlb_kb: u64,
    /// Kilobytes of huge pages mapped more than once.
    shared_kb: u64,
    /// Kilobytes of huge pages mapped once.
    private_kb: u64,
    /// The bytes that a userfaultfd filled.
    copied: i64,
    /// The node that a page lies on.
    on: u32,
    /// Where the pages of a mapping lie and why, area by area.
    numa: String,
    /// The first frame of a block of pages.
    pfn: u64,
    /// Its zone.
    zone: String,
    /// The type of its pageblock.
    mt: String,
    /// What a request for pages asked on its way, in order.
    asked: String,
    /// What happened on the way, in order.
    events: String,
    /// Why a request makes no sense, in one sentence.
    why: String,
}

/// What a target answers to one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// How it ended.
    pub result: StepResult,
    /// What else it answers.
    pub extras: Extras,
    /// Which ledger refused, where the target can tell.
    pub refusal: Option<Refusal>,
    /// A picture of what is there now, where one was asked for.
    pub picture: Vec<String>,
}

impl Answer {
    /// Success without anything else to say.
    pub fn ok() -> Self {
        Self::from(StepResult::Ok)
    }

    /// The target does not model the operation.
    pub fn not_modelled(reason: impl Into<String>) -> Self {
        Self::from(StepResult::NotModelled(reason.into()))
    }
}

impl From<StepResult> for Answer {
    fn from(result: StepResult) -> Self {
        Self { result, extras: Extras::default(), refusal: None, picture: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_result_reads_back_from_its_word() {
        let mut results: Vec<StepResult> = WORDS.iter().map(|(_, result)| result.clone()).collect();
        results.push(StepResult::Errno("ENOMEM".to_owned()));
        for result in results {
            assert_eq!(StepResult::from_word(result.word()), Some(result));
        }
        for word in ["", "E", "Enomem", "SIGSTOP", "okay"] {
            assert_eq!(StepResult::from_word(word), None, "{word}");
        }
    }
}
