//! The verb table.
//!
//! An argument is `name: Type ["json key", ...]`. `or VALUE` gives its usual value, which scenarios do not print and JSON
//! always holds; an `Option` may be left out in both. Arguments that are not optional stand in order, the others as
//! `name=value`. `by actor` marks the verbs that a process does. `writes` names the files by which scenarios write a knob.

use super::amount::{
    ExitCode, Fill, MountValue, Node, PageIndex, PageTotal, Pages, Size, Span, UserId, Verbatim, Written,
};
use super::argument::{Argument, Presence};
use super::draw::{DrawSource, Draws};
use super::error::OpError;
use super::flag::{
    AttachFlag, FallocateMode, Flags, MemfdFlag, MmapFlag, MremapFlag, OpenFlag, Seal, SegmentFlag, UffdMode,
};
use super::json::{RecordSink, RecordSource};
use super::knob::file_of;
use super::name::{Actor, CgroupName, FileName, MapName, MountName, MountPath, SegmentName, UffdName};
use super::record::{Record, Scalar};
use super::table::{ArgumentInfo, Sink, Source, Verb, verbs};
use super::text::nearest;
use super::word::{Access, Advice, Protection, SizeName, Switch};
use super::words::{Word, WordSink, WordSource};

verbs! {
    /// Sets the number of persistent huge pages of a pool, of all nodes or of one.
    SetNr = "set_nr" {
        /// The new number of huge pages.
        value: Written ["n", "raw"];
        /// The pool's page size.
        size: SizeName ["sz"] or SizeName::M2;
        /// The node whose pages alone change.
        node: Option<Node> ["node"];
    } writes
        "/sys/kernel/mm/hugepages/hugepages-{size:kB}kB/nr_hugepages",
        "/sys/devices/system/node/node{node}/hugepages/hugepages-{size:kB}kB/nr_hugepages"

    /// Sets the number of persistent huge pages of the default size.
    SysctlNr = "sysctl_nr" {
        /// The new number of huge pages.
        value: Written ["n", "raw"];
    } writes "/proc/sys/vm/nr_hugepages"

    /// Sets how many surplus pages a pool may have.
    SetOvercommit = "set_overcommit" {
        /// The new limit of surplus pages.
        value: Written ["n", "raw"];
        /// The pool's page size.
        size: SizeName ["sz"] or SizeName::M2;
    } writes "/sys/kernel/mm/hugepages/hugepages-{size:kB}kB/nr_overcommit_hugepages"

    /// Splits free huge pages of a pool into pages of its demote size.
    Demote = "demote" {
        /// How many pages to split.
        value: Written ["n", "raw"];
        /// The pool's page size.
        size: SizeName ["sz"] or SizeName::M2;
    } writes "/sys/kernel/mm/hugepages/hugepages-{size:kB}kB/demote"

    /// Chooses the size into which pages of a pool are split.
    DemoteSize = "demote_size" {
        /// The smaller size, such as 2048kB.
        value: Written ["n", "raw"];
        /// The pool's page size.
        size: SizeName ["sz"] or SizeName::M2;
    } writes "/sys/kernel/mm/hugepages/hugepages-{size:kB}kB/demote_size"

    /// Switches vmemmap optimisation of new huge pages on (1) or off (0).
    SetHvo = "set_hvo" {
        /// 1 or 0.
        value: Written ["n", "raw"];
    } writes "/proc/sys/vm/hugetlb_optimize_vmemmap"

    /// Writes any other file of /proc or /sys that the machine has.
    Write = "write" {
        /// The file.
        path: Verbatim ["path"];
        /// What is written.
        value: Written ["n", "raw"];
    }

    /// Mounts hugetlbfs.
    Mount = "mount" {
        /// The mount's name.
        mount: MountName ["mnt"];
        /// Further options, handed over before the others.
        opts: Option<Verbatim> ["opts"];
        /// The page size of its files.
        pagesize: Option<SizeName> ["pagesize"];
        /// The most bytes that its files may hold.
        size: Option<MountValue> ["size"];
        /// The bytes reserved for it at the time of the mount.
        min_size: Option<MountValue> ["min_size"];
        /// The most inodes, the root directory included.
        nr_inodes: Option<MountValue> ["nr_inodes"];
    }

    /// Unmounts.
    Umount = "umount" {
        /// The mount.
        mount: MountName ["mnt"];
        /// At once from the tree, in truth when the last user goes.
        lazy: Option<Switch> ["lazy"];
    }

    /// Removes a file's name.
    Unlink = "unlink" {
        /// The file.
        path: MountPath ["mnt", "name"];
        /// The process that does it; else the superuser.
        by: Option<Actor> ["by"];
    }

    /// Sets a file's size by its name.
    Truncate = "truncate" {
        /// The file.
        path: MountPath ["mnt", "name"];
        /// The new size.
        len: Size ["len"];
        /// The process that does it; else the superuser.
        by: Option<Actor> ["by"];
    }

    /// Makes a control group.
    CgCreate = "cg_create" {
        /// The group.
        cg: CgroupName ["cg"];
        /// Lets groups below it have the hugetlb controller.
        sub: Option<Switch> ["sub"];
    }

    /// Limits what a control group may use of a page size.
    CgMax = "cg_max" {
        /// The group.
        cg: CgroupName ["cg"];
        /// The limit in bytes, or max.
        value: Written ["n", "raw"];
        /// The page size.
        size: SizeName ["sz"] or SizeName::M2;
    } writes "/sys/fs/cgroup/{cg}/hugetlb.{size:B}.max"

    /// Limits what a control group may reserve of a page size.
    CgRsvdMax = "cg_rsvd_max" {
        /// The group.
        cg: CgroupName ["cg"];
        /// The limit in bytes, or max.
        value: Written ["n", "raw"];
        /// The page size.
        size: SizeName ["sz"] or SizeName::M2;
    } writes "/sys/fs/cgroup/{cg}/hugetlb.{size:B}.rsvd.max"

    /// Moves a process into a control group.
    CgAttach = "cg_attach" by actor {
        /// The group; `/` is the root.
        cg: CgroupName ["cg"];
    }

    /// Removes a control group.
    CgRmdir = "cg_rmdir" {
        /// The group.
        cg: CgroupName ["cg"];
    }

    /// Starts an empty process. A control group that refuses it leaves none behind.
    Spawn = "spawn" by actor {
        /// The group it starts in.
        cg: Option<CgroupName> ["cg"];
        /// Its user; any but 0 has no capabilities.
        uid: Option<UserId> ["uid"];
        /// Its group of users.
        gid: Option<UserId> ["gid"];
    }

    /// Kills a process.
    Kill = "kill" by actor {}

    /// Does nothing; the counters are read all the same.
    Nop = "nop" {}

    /// Copies a process.
    Fork = "fork" by actor {
        /// The new process.
        child: Actor ["c"];
    }

    /// Ends a process.
    Exit = "exit" by actor {
        /// Its exit status.
        code: Option<ExitCode> ["code"];
    }

    /// Maps anonymous huge pages or a file.
    Mmap = "mmap" by actor {
        /// The name that the mapping gets.
        map: MapName ["m"];
        /// Its length.
        len: Size ["len"];
        /// How it is mapped.
        flags: Flags<MmapFlag> ["flags"] or Flags::NONE;
        /// The file mapped; without it and without `anon` the call gets no file.
        file: Option<FileName> ["f"];
        /// The offset in the file.
        off: Option<Size> ["off"];
        /// The page size of an anonymous mapping.
        pagesize: Option<SizeName> ["hsz"];
        /// What it may be used for; rw if left out.
        prot: Option<Protection> ["prot"];
        /// Moves the wanted address by so many bytes.
        addr_off: Option<Size> ["addr_off"];
        /// The mapping over which it is laid with MAP_FIXED.
        at: Option<MapName> ["at"];
        /// The offset in that mapping.
        at_off: Option<Size> ["at_off"];
    }

    /// Unmaps a range of a mapping.
    Munmap = "munmap" by actor {
        /// The mapping.
        map: MapName ["m"];
        /// The range, counted from the mapping's start.
        range: Span ["off", "len"];
    }

    /// Changes the length or the place of a mapping.
    Mremap = "mremap" by actor {
        /// The mapping.
        map: MapName ["m"];
        /// The old length.
        old: Size ["old"];
        /// The new length.
        new: Size ["new"];
        /// How it may move.
        flags: Flags<MremapFlag> ["flags"] or Flags::NONE;
        /// Where in the mapping the old range begins.
        off: Option<Size> ["off"];
        /// The name whose place it moves to.
        to: Option<MapName> ["to"];
        /// Moves the wanted address by so many bytes.
        addr_off: Option<Size> ["addr_off"];
    }

    /// Changes what a range of a mapping may be used for.
    Mprotect = "mprotect" by actor {
        /// The mapping.
        map: MapName ["m"];
        /// The range.
        range: Span ["off", "len"];
        /// What it may be used for.
        prot: Protection ["prot"];
    }

    /// Gives advice about a range of a mapping.
    Madvise = "madvise" by actor {
        /// The mapping.
        map: MapName ["m"];
        /// The range.
        range: Span ["off", "len"];
        /// The advice.
        advice: Advice ["adv"];
    }

    /// Locks a range of a mapping into memory.
    Mlock = "mlock" by actor {
        /// The mapping.
        map: MapName ["m"];
        /// The range.
        range: Span ["off", "len"];
    }

    /// Unlocks a range of a mapping.
    Munlock = "munlock" by actor {
        /// The mapping.
        map: MapName ["m"];
        /// The range.
        range: Span ["off", "len"];
    }

    /// Writes a range of a mapping back.
    Msync = "msync" by actor {
        /// The mapping.
        map: MapName ["m"];
        /// The range.
        range: Span ["off", "len"];
    }

    /// Asks which pages of a range are in memory; answers `vec`.
    Mincore = "mincore" by actor {
        /// The mapping.
        map: MapName ["m"];
        /// The range.
        range: Span ["off", "len"];
    }

    /// Loads or stores one byte of each page, until the first fault that fails; answers `done`, and `rd` for loads.
    Touch = "touch" by actor {
        /// The mapping.
        map: MapName ["m"];
        /// The pages.
        pages: Pages ["pg", "n"];
        /// Load or store.
        access: Access ["w"] or Access::Read;
        /// Where in each page.
        poff: Option<Size> ["poff"];
        /// The byte stored in the first page; 1 if left out.
        value: Option<Fill> ["v"];
    }

    /// Lets the kernel load or store one byte of a mapping, as read(2) and write(2) do.
    Uaccess = "uaccess" by actor {
        /// The mapping.
        map: MapName ["m"];
        /// The page.
        page: PageIndex ["pg"];
        /// Load or store.
        access: Access ["w"] or Access::Read;
    }

    /// Opens a file of a mount.
    Open = "open" by actor {
        /// The name that the descriptor gets.
        file: FileName ["f"];
        /// The file.
        path: MountPath ["mnt", "name"];
        /// How it is opened.
        flags: Flags<OpenFlag> ["flags"] or Flags::NONE;
    }

    /// Makes a file without name.
    Memfd = "memfd" by actor {
        /// The name that the descriptor gets.
        file: FileName ["f"];
        /// How it is made.
        flags: Flags<MemfdFlag> ["flags"] or Flags::of(&[MemfdFlag::Hugetlb]);
        /// Its page size.
        pagesize: Option<SizeName> ["hsz"];
    }

    /// Closes a descriptor.
    Close = "close" by actor {
        /// The descriptor.
        file: FileName ["f"];
    }

    /// Sets the size of an open file.
    Ftruncate = "ftruncate" by actor {
        /// The descriptor.
        file: FileName ["f"];
        /// The new size.
        len: Size ["len"];
    }

    /// Allocates or punches a range of a file.
    Fallocate = "fallocate" by actor {
        /// The descriptor.
        file: FileName ["f"];
        /// The range.
        range: Span ["off", "len"];
        /// What is done to it.
        mode: Flags<FallocateMode> ["mode"] or Flags::NONE;
    }

    /// Asks for a file's size, blocks, block size and links.
    Fstat = "fstat" by actor {
        /// The descriptor.
        file: FileName ["f"];
    }

    /// Reads a range of a file; answers the bytes read (`n`) and the first one (`b0`).
    Pread = "pread" by actor {
        /// The descriptor.
        file: FileName ["f"];
        /// The range.
        range: Span ["off", "len"];
    }

    /// Writes zeros to a range of a file.
    Pwrite = "pwrite" by actor {
        /// The descriptor.
        file: FileName ["f"];
        /// The range.
        range: Span ["off", "len"];
    }

    /// Writes a file back.
    Fsync = "fsync" by actor {
        /// The descriptor.
        file: FileName ["f"];
    }

    /// Adds seals to a memfd.
    AddSeals = "seal" by actor {
        /// The descriptor.
        file: FileName ["f"];
        /// The seals.
        seals: Flags<Seal> ["seals"];
    }

    /// Asks for a memfd's seals.
    GetSeals = "get_seals" by actor {
        /// The descriptor.
        file: FileName ["f"];
    }

    /// Asks how the pages of a mapping are mapped; answers `pm`, one letter a page.
    Pagemap = "pagemap" by actor {
        /// The mapping.
        map: MapName ["m"];
        /// The first page; page 0 if left out.
        page: Option<PageIndex> ["pg"];
        /// How many pages; the whole mapping if left out.
        count: Option<PageTotal> ["n"];
    }

    /// Asks for the VMAs of a mapping and the huge pages in them.
    Smaps = "smaps" by actor {
        /// The mapping.
        map: MapName ["m"];
    }

    /// Makes a System V segment of huge pages.
    Shmget = "shmget" by actor {
        /// The name that the segment gets.
        segment: SegmentName ["s"];
        /// Its length.
        len: Size ["len"];
        /// How it is made.
        flags: Flags<SegmentFlag> ["flags"] or Flags::NONE;
        /// Its page size.
        pagesize: Option<SizeName> ["hsz"];
    }

    /// Maps a segment.
    Shmat = "shmat" by actor {
        /// The segment.
        segment: SegmentName ["s"];
        /// The name that the mapping gets.
        map: MapName ["m"];
        /// How it is mapped.
        flags: Option<Flags<AttachFlag>> ["flags"];
        /// The segment's page size.
        pagesize: Option<SizeName> ["hsz"];
    }

    /// Unmaps a segment.
    Shmdt = "shmdt" by actor {
        /// The mapping.
        map: MapName ["m"];
    }

    /// Removes a segment; it goes when its last mapping goes.
    Shmrm = "shmrm" by actor {
        /// The segment.
        segment: SegmentName ["s"];
    }

    /// Opens a userfaultfd whose faults raise SIGBUS, so that nothing waits.
    UffdOpen = "uffd_open" by actor {
        /// The name that the descriptor gets.
        uffd: UffdName ["u"];
    }

    /// Watches a range of a mapping.
    UffdRegister = "uffd_register" by actor {
        /// The userfaultfd.
        uffd: UffdName ["u"];
        /// The mapping.
        map: MapName ["m"];
        /// The range.
        range: Span ["off", "len"];
        /// What is watched.
        mode: Flags<UffdMode> ["mode"] or Flags::NONE;
    }

    /// Ends the watch of a range.
    UffdUnregister = "uffd_unregister" by actor {
        /// The userfaultfd.
        uffd: UffdName ["u"];
        /// The mapping.
        map: MapName ["m"];
        /// The range.
        range: Span ["off", "len"];
    }

    /// Fills missing pages; answers the bytes `copied`.
    UffdCopy = "uffd_copy" by actor {
        /// The userfaultfd.
        uffd: UffdName ["u"];
        /// The mapping.
        map: MapName ["m"];
        /// The range.
        range: Span ["off", "len"];
        /// `wp` maps them write-protected.
        mode: Option<Flags<UffdMode>> ["mode"];
        /// The byte at the start of every 4 KiB of them, the rest being 0; 1 if left out.
        value: Option<Fill> ["v"];
    }

    /// Maps pages that are in the page cache; answers the bytes `copied`.
    UffdContinue = "uffd_continue" by actor {
        /// The userfaultfd.
        uffd: UffdName ["u"];
        /// The mapping.
        map: MapName ["m"];
        /// The range.
        range: Span ["off", "len"];
    }

    /// Fills missing pages with zeros.
    UffdZero = "uffd_zero" by actor {
        /// The userfaultfd.
        uffd: UffdName ["u"];
        /// The mapping.
        map: MapName ["m"];
        /// The range.
        range: Span ["off", "len"];
    }

    /// Sets or clears write protection of a range.
    UffdWp = "uffd_wp" by actor {
        /// The userfaultfd.
        uffd: UffdName ["u"];
        /// The mapping.
        map: MapName ["m"];
        /// The range.
        range: Span ["off", "len"];
        /// `wp` sets it, none clears it.
        mode: Flags<UffdMode> ["mode"] or Flags::NONE;
    }

    /// Closes a userfaultfd.
    UffdClose = "uffd_close" by actor {
        /// The userfaultfd.
        uffd: UffdName ["u"];
    }
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
