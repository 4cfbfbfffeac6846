//! The verb table. Each verb stands in one of the files of the folder; here is their order.
//!
//! An argument is `name: Type ["json key", ...]`. `or VALUE` gives its usual value, which scenarios do not print and JSON
//! always holds; an `Option` may be left out in both. Arguments that are not optional stand in order, the others as
//! `name=value`. `by actor` marks the verbs that a process does. `writes` names the files by which scenarios write a knob.
//! `about` says what all verbs of a file are about, by which targets divide them among their parts.

mod file;
mod group;
mod guest;
mod knob;
mod memory;
mod mount;
mod pages;
mod placement;
mod process;
mod segment;
mod tables;
mod uffd;

pub use file::*;
pub use group::*;
pub use guest::*;
pub use knob::*;
pub use memory::*;
pub use mount::*;
pub use pages::*;
pub use placement::*;
pub use process::*;
pub use segment::*;
pub use tables::*;
pub use uffd::*;

use super::draw::{DrawSource, Draws};
use super::error::OpError;
use super::json::{RecordSink, RecordSource};
use super::knob::file_of;
use super::name::Actor;
use super::record::{Record, Scalar};
use super::table::{About, Sink, Source, Verb, operations};
use super::text::nearest;
use super::words::{Word, WordSink, WordSource};

operations! {
    SetNr, SysctlNr, SetOvercommit, Demote, DemoteSize, SetHvo, Quiesce, Write, Mount, Umount, Unlink, Truncate,
    CgCreate, CgMax, CgRsvdMax, CgMemoryMax, CgMems, CgAttach, CgRmdir, Spawn, Kill, Nop, Fork, Exit, Mmap, Munmap, Mremap,
    Mprotect,
    Madvise, Mlock, Munlock, Msync, Mincore, Touch, Uaccess, Open, Memfd, Close, Ftruncate, Fallocate, Fstat,
    Pread, Pwrite, Fsync, AddSeals, GetSeals, Pagemap, Smaps, Shmget, Shmat, Shmdt, Shmrm, UffdOpen,
    UffdRegister, UffdUnregister, UffdCopy, UffdContinue, UffdZero, UffdWp, UffdClose, RunOn, SetMempolicy, Mbind, HomeNode,
    MovePage, WhereIs, MigratePages, NumaMaps, Pin, Udmabuf, Unpin, Hwpoison, SoftOffline,
    AllocPages, AllocBulk, AllocExact, AllocContig, FreePages, MarkMovable, DrainPages, Tick, OnCpu, Compact, Isolate, Unisolate,
    Online, Offline,
    GmemCreate, GmemBind, GmemAllocate, GmemPunch, GmemTruncate, GmemConvert, GmemConversion, GmemMap, GmemUnmap, GmemTouch, GmemPin,
    GmemUnpin, GuestTouch, GmemFail, GmemSplit, GmemMerge, FailNext,
    PtNew, PtPut, PtMap, PtWalk, PtRecheck, PtProtect,
}

fn unknown_verb(word: &str) -> OpError {
    let nearest = nearest(word, VERBS.iter().map(|verb| verb.name)).map(str::to_owned);
    OpError::UnknownVerb { word: word.chars().take(40).collect(), nearest }
}

impl Op {
    /// Reads an operation from a flat JSON object.
    ///
    /// # Errors
    /// The object has no known `op`, lacks a key, has one too many, or has a wrong value.
    pub fn from_record(record: &Record) -> Result<Op, OpError> {
        match record.get("op") {
            Some(Scalar::Text(name)) => Self::read(name, &mut RecordSource::new(record)),
            Some(Scalar::Number(n)) => Err(unknown_verb(&n.to_string())),
            None => Err(OpError::NoVerb),
        }
    }

    /// The flat JSON object that reads back as this operation.
    pub fn to_record(&self) -> Record {
        let mut sink = RecordSink::default();
        self.write(&mut sink);
        sink.record
    }

    /// Reads an operation from its process, its verb and the words after the verb.
    ///
    /// # Errors
    /// The verb is unknown, or an argument is wrong, missing or one too many.
    pub fn from_words(actor: Option<Actor>, verb: &str, words: &[Word<'_>]) -> Result<Op, OpError> {
        Self::read(verb, &mut WordSource::new(actor, words))
    }

    /// Draws an operation of any verb with any arguments.
    pub fn draw(draws: &mut Draws<'_>) -> Op {
        let verb = draws.of(VERBS).name;
        Self::read(verb, &mut DrawSource(draws)).expect("drawn arguments always fit their verb")
    }

    /// The process that does it.
    pub fn actor(&self) -> Option<Actor> {
        self.to_words().actor
    }

    fn to_words(&self) -> WordSink {
        let mut sink = WordSink::default();
        self.write(&mut sink);
        sink
    }
}

impl std::fmt::Display for Op {
    /// The line of a scenario that reads back as this operation; knobs print as the writes they are.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words = self.to_words();
        match file_of(self, &words.words) {
            Some((path, value)) => write!(f, "echo {value} > {path}"),
            None => f.write_str(&words.line()),
        }
    }
}
