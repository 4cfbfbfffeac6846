//! A deliberately simple model of HugeTLB as Linux 6.18 answers: flat lists, sets of single pages, no sharing of code with
//! the library. What it says is compared with the recorded kernel, and what the library says is compared with it.
//!
//! It knows 2 MiB pages; no demotion, no broken memory. What
//! it does not know it answers with [`NotModelled`](crate::target::StepResult::NotModelled).
//!
//! By itself it is sound: `reserved <= free` always. [`Quirks`] make it copy the accounting defects of the kernel.

mod advise;
mod cgroup;
mod check;
mod fault;
mod file;
mod fs;
mod guest;
mod knob;
mod limits;
mod mmap;
mod nodes;
mod pins;
mod placement;
mod pool;
mod process;
mod query;
mod quirks;
mod range;
mod remap;
mod seal;
mod segment;
mod uffd;
mod unmap;
mod users;
mod world;

use std::collections::BTreeMap;

use hugefolio::MemoryAccounting;

use crate::op::{About, Actor, BlockName, MapName, MountName, Op, SegmentName, SizeName};
use crate::target::{
    Answer, BeginError, Counters, Header, MachineLine, NodeCounters, NodeSizes, PoolCounters, StepResult, Target,
};
use cgroup::{Group, GroupId};
use guest::{Guest, GuestId};
use nodes::Layout;
use pool::{Pool, PoolNode};
use world::{File, FileId, Mount, Named, Owner, OwnerId, PAGE, Page, PageId, Process, Segment, WatcherId, count};

pub use check::Unsound;
pub use quirks::{Quirk, Quirks};

/// Why an operation does not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fail {
    /// A system call's error.
    Errno(&'static str),
    /// A result of the target layer.
    Target(StepResult),
    /// The model does not know it.
    NotModelled(&'static str),
}

type Outcome = Result<Answer, Fail>;

impl From<Fail> for Answer {
    fn from(fail: Fail) -> Answer {
        match fail {
            Fail::Errno(name) => Answer::from(StepResult::Errno(name.to_owned())),
            Fail::Target(result) => Answer::from(result),
            Fail::NotModelled(reason) => Answer::not_modelled(reason),
        }
    }
}

/// The 1 GiB pool is not modelled.
fn no_1g(size: Option<SizeName>) -> Result<(), Fail> {
    match size.and_then(SizeName::log2) {
        Some(30) => Err(Fail::NotModelled("1 GiB pages")),
        _ => Ok(()),
    }
}

/// The naive reference machine.
#[derive(Debug, Clone)]
pub struct NaiveMachine {
    quirks: Quirks,
    layout: Layout,
    pool: Pool,
    pages: BTreeMap<PageId, Page>,
    owners: BTreeMap<OwnerId, Owner>,
    files: BTreeMap<FileId, File>,
    processes: BTreeMap<u16, Process>,
    mounts: Vec<Mount>,
    /// Every control group ever made.
    groups: Vec<Group>,
    /// Huge pages are charged to the memory of groups.
    accounts_memory: bool,
    /// The last page that was not had was refused by a limit on memory.
    memory_refused: bool,
    /// Pages that groups pay for for ever, though nobody has them.
    forsaken: Vec<(Option<GroupId>, i64)>,
    /// The names that were ever groups, in that order: the order of the counters.
    group_names: Vec<String>,
    /// The names that were ever mounted, in that order: the order of the counters.
    mounted: Vec<MountName>,
    /// The names that have a directory: all that a mount was tried on.
    directories: Vec<MountName>,
    /// Every segment ever made, and which of them the names stand for.
    segments: Vec<Segment>,
    /// How often one was attached.
    attaches: u64,
    segment_names: BTreeMap<SegmentName, usize>,
    /// The names of mappings in the order in which they were first spoken of: the order of their places.
    slots: Vec<MapName>,
    /// The order of all VMAs: a file's are visited in it.
    places: Vec<u64>,
    /// The userfaultfds that are open, and the address space of each.
    watchers: BTreeMap<WatcherId, u64>,
    /// Files of guest memory, and which base page of which of them a pin is of.
    guests: BTreeMap<GuestId, Guest>,
    guest_pins: BTreeMap<BlockName, (GuestId, u64)>,
    next_id: u64,
}

impl Default for NaiveMachine {
    fn default() -> Self {
        Self::new(Quirks::NONE)
    }
}

impl NaiveMachine {
    /// An empty machine: no pages, no processes.
    pub fn new(quirks: Quirks) -> Self {
        Self {
            quirks,
            layout: Layout::single(),
            pool: Pool::new(),
            pages: BTreeMap::new(),
            owners: BTreeMap::new(),
            files: BTreeMap::new(),
            processes: BTreeMap::new(),
            mounts: Vec::new(),
            groups: Vec::new(),
            accounts_memory: false,
            memory_refused: false,
            forsaken: Vec::new(),
            group_names: Vec::new(),
            mounted: Vec::new(),
            directories: Vec::new(),
            segments: Vec::new(),
            attaches: 0,
            segment_names: BTreeMap::new(),
            slots: Vec::new(),
            places: Vec::new(),
            watchers: BTreeMap::new(),
            guests: BTreeMap::new(),
            guest_pins: BTreeMap::new(),
            next_id: 0,
        }
    }

    fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// A new place behind all others.
    fn last_place(&mut self) -> Option<u64> {
        let place = self.fresh_id();
        self.places.push(place);
        Some(place)
    }

    /// A new place right behind another.
    fn place_behind(&mut self, other: Option<u64>) -> Option<u64> {
        let at = self.places.iter().position(|place| Some(*place) == other);
        let place = self.fresh_id();
        self.places.insert(at.map_or(self.places.len(), |at| at + 1), place);
        Some(place)
    }

    /// VMAs that were cut go to the end, both parts; places that nobody has are forgotten.
    fn settle_places(&mut self) {
        let used: Vec<u64> = self.processes.values().flat_map(|p| p.vmas.iter().filter_map(|vma| vma.place)).collect();
        self.places.retain(|place| used.contains(place));
        for number in self.processes.keys().copied().collect::<Vec<_>>() {
            for at in 0..self.process(number).vmas.len() {
                if self.process(number).vmas[at].place.is_none() {
                    let place = self.last_place();
                    self.process_mut(number).vmas[at].place = place;
                }
            }
        }
    }

    fn process(&self, actor: u16) -> &Process {
        self.processes.get(&actor).expect("an operation's process was found alive before it began")
    }

    fn process_mut(&mut self, actor: u16) -> &mut Process {
        self.processes.get_mut(&actor).expect("an operation's process was found alive before it began")
    }

    fn page(&self, id: PageId) -> &Page {
        self.pages.get(&id).expect("pages that an entry or a cache names exist")
    }

    fn page_mut(&mut self, id: PageId) -> &mut Page {
        self.pages.get_mut(&id).expect("pages that an entry or a cache names exist")
    }

    fn file(&self, id: FileId) -> &File {
        self.files.get(&id).expect("files that a VMA or a descriptor names exist")
    }

    fn file_mut(&mut self, id: FileId) -> &mut File {
        self.files.get_mut(&id).expect("files that a VMA or a descriptor names exist")
    }

    /// The place of a mapping's name in the order of first mention.
    fn slot(&mut self, name: &MapName) -> usize {
        match self.slots.iter().position(|known| known == name) {
            Some(slot) => slot,
            None => {
                self.slots.push(name.clone());
                self.slots.len() - 1
            }
        }
    }

    /// Where the mapping of a name lies.
    fn named(&mut self, actor: u16, name: &MapName) -> Result<Named, Fail> {
        self.slot(name);
        let named = self.process(actor).names.get(name).copied();
        named.filter(|named| named.addr != 0).ok_or(Fail::Target(StepResult::Nomap))
    }

    fn run(&mut self, op: &Op) -> Outcome {
        match op {
            // Nothing is ever put off here.
            Op::Nop(_) | Op::Quiesce(_) => Ok(Answer::ok()),
            Op::SetNr(op) => self.set_nr(op),
            Op::SysctlNr(op) => self.sysctl_nr(op),
            Op::SetOvercommit(op) => self.set_overcommit(op),
            Op::Write(op) => self.write(op),
            Op::Mount(op) => self.mount(op),
            Op::Umount(op) => self.umount(op),
            Op::Unlink(op) => self.unlink(op),
            Op::Truncate(op) => self.truncate_path(op),
            Op::CgCreate(op) => self.cg_create(op),
            Op::CgMax(op) => self.cg_max(op),
            Op::CgRsvdMax(op) => self.cg_rsvd_max(op),
            Op::CgMemoryMax(op) => self.cg_memory_max(op),
            Op::CgMems(op) => self.cg_mems(op),
            Op::CgAttach(op) => self.cg_attach(op),
            Op::CgRmdir(op) => self.cg_rmdir(op),
            Op::Spawn(op) => self.spawn(op),
            Op::GmemUnpin(op) => self.gmem_unpin(op),
            Op::Open(open) => {
                self.attached_mount(&open.path.mount)?;
                self.run_alive(open.actor, op)
            }
            other => match other.actor() {
                Some(actor) => self.run_alive(actor, other),
                None => Err(Fail::NotModelled("this operation")),
            },
        }
    }

    /// Operations of a process, which must be alive.
    fn run_alive(&mut self, actor: Actor, op: &Op) -> Outcome {
        let p = actor.number();
        if !self.processes.contains_key(&p) {
            return Err(Fail::Target(StepResult::BadActor));
        }
        match op {
            Op::Kill(_) | Op::Exit(_) => self.exit(p),
            Op::Fork(op) => self.fork(p, op),
            Op::Mmap(op) => self.mmap(p, op),
            Op::Munmap(op) => self.munmap(p, op),
            Op::Mremap(op) => self.mremap(p, op),
            Op::Mprotect(op) => self.mprotect(p, op),
            Op::Madvise(op) => self.madvise(p, op),
            Op::Mlock(op) => self.mlock(p, op),
            Op::Munlock(op) => self.munlock(p, op),
            Op::Msync(op) => self.msync(p, op),
            Op::Mincore(op) => self.mincore(p, op),
            Op::UffdOpen(op) => self.uffd_open(p, op),
            Op::UffdRegister(op) => self.uffd_register(p, op),
            Op::UffdUnregister(op) => self.uffd_unregister(p, op),
            Op::UffdCopy(op) => self.uffd_copy(p, op),
            Op::UffdContinue(op) => self.uffd_continue(p, op),
            Op::UffdZero(op) => self.uffd_zero(p, op),
            Op::UffdWp(op) => self.uffd_wp(p, op),
            Op::UffdClose(op) => self.uffd_close(p, op),
            Op::Touch(op) => self.touch(p, op),
            Op::Uaccess(op) => self.uaccess(p, op),
            Op::Open(op) => self.open(p, op),
            Op::Memfd(op) => self.memfd(p, op),
            Op::Close(op) if self.close_guest(p, &op.file) => Ok(Answer::ok()),
            Op::Close(op) => self.close_file(p, op),
            Op::Ftruncate(op) => self.ftruncate(p, op),
            Op::Fallocate(op) => self.fallocate(p, op),
            Op::Fstat(op) => self.fstat(p, op),
            Op::Pread(op) => self.pread(p, op),
            Op::Pwrite(op) => self.pwrite(p, op),
            Op::Fsync(op) => self.fsync(p, op),
            Op::AddSeals(op) => self.add_seals(p, op),
            Op::GetSeals(op) => self.get_seals(p, op),
            Op::Shmget(op) => self.shmget(op),
            Op::Shmat(op) => self.shmat(p, op),
            Op::Shmdt(op) => self.shmdt(p, op),
            Op::Shmrm(op) => self.shmrm(op),
            Op::Pagemap(op) => self.pagemap(p, op),
            Op::Smaps(op) => self.smaps(p, op),
            Op::RunOn(op) => self.run_on(p, op),
            Op::SetMempolicy(op) => self.set_mempolicy(p, op),
            Op::Mbind(op) => self.mbind(p, op),
            Op::HomeNode(op) => self.home_node(p, op),
            Op::MovePage(op) => self.move_page(p, op),
            Op::WhereIs(op) => self.where_is(p, op),
            Op::NumaMaps(op) => self.numa_maps(p, op),
            Op::MigratePages(op) => self.migrate_pages(p, op),
            Op::Pin(op) => self.pin(p, op),
            Op::Udmabuf(op) => self.udmabuf(p, op),
            Op::Unpin(op) => self.unpin(p, op),
            other if other.verb().about == About::Guest => self.guest_op(p, other),
            _ => Err(Fail::NotModelled("this operation")),
        }
    }
}

impl Target for NaiveMachine {
    fn name(&self) -> &str {
        "naive model"
    }

    fn begin(&mut self, header: &Header) -> Result<(), BeginError> {
        let memory = header.machine.as_ref().map_or(MemoryAccounting::Off, |machine| machine.memory);
        let MachineLine { nodes, cpus, distances, .. } = header.machine.clone().unwrap_or_default();
        let plain = MachineLine { memory, nodes, cpus, distances, ..MachineLine::default() };
        if plain.nodes.len() == 1 || header.machine.as_ref().is_some_and(|machine| *machine != plain) {
            return Err(BeginError::Machine(
                "the naive model has empty pools of 2 MiB pages; leave out all of the machine but its nodes".to_owned(),
            ));
        }
        *self = Self::new(self.quirks);
        self.accounts_memory = memory == MemoryAccounting::HugePages;
        if !plain.nodes.is_empty() {
            self.have_nodes(&plain);
        }
        Ok(())
    }

    fn step(&mut self, op: &Op) -> Answer {
        let answer = self.run(op).unwrap_or_else(Answer::from);
        self.settle_places();
        debug_assert!(self.quirks != Quirks::NONE || self.pool.is_sound(), "{op} leaves {:?}", self.pool);
        answer
    }

    fn counters(&mut self) -> Counters {
        let pool = &self.pool;
        let m2 = PoolCounters { nr: pool.nr(), free: pool.free(), resv: pool.resv, surplus: pool.surplus() };
        let mut counters = Counters { m2, ..Counters::default() };
        for &node in &self.layout.memory {
            let PoolNode { nr, free, surplus } = pool.nodes[node];
            let m2 = NodeCounters { nr, free, surplus };
            if node == 0 {
                counters.node0_m2 = m2;
            } else {
                counters.nodes.push(node.to_string(), NodeSizes { m2, ..NodeSizes::default() });
            }
        }
        self.count_groups(&mut counters);
        for name in &self.mounted {
            if let Some(mount) = self.attached(name) {
                counters.fs.push(name.as_str(), self.statfs(mount));
            }
        }
        for (actor, process) in &self.processes {
            let kilobytes = count(process.entries.len()) * (PAGE >> 10).cast_signed();
            counters.hp_kb.push(actor.to_string(), kilobytes);
        }
        counters
    }

    fn end(&mut self) -> Counters {
        while let Some(actor) = self.processes.keys().next().copied() {
            self.end_process(actor);
        }
        self.remove_segments();
        for name in std::mem::take(&mut self.mounted) {
            self.detach(&name);
        }
        self.counters()
    }
}
