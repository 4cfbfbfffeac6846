//! The instance: operations run on a [`Machine`].
//!
//! Names of processes, mappings, descriptors and mounts live here and not in the library. A mapping's name owns a slot of 8 GiB,
//! so that mappings never touch unless an operation says so; a name is known once a mapping succeeded under it, and stays
//! known after it was unmapped.

mod actor;
mod answers;
mod cgroups;
mod files;
mod guest_map;
mod guests;
mod knobs;
mod memory;
mod pages;
mod pins;
mod placement;
mod ranges;
mod saved;
mod segments;
mod tables;
mod uffd;

use std::collections::{BTreeMap, BTreeSet};

use hugefolio::boot::Arch;
use hugefolio::explain::SavedHost;
use hugefolio::{
    Admin, BlockId, Bytes, Calls, CgroupId, Context, Credentials, Event, Gid, GmemPin, GuestMemory as _, HugeCount,
    HugeSize, Machine, MachineBuilder, MountId, NodeId, Nodemask, PageShift, Pages as _, Pfn, Pid, ResizeNodes, Uid,
    UmountMode,
};

use crate::limits::Limits;
use crate::op::{self, About, Actor, CgroupName, Op, UserId};
use crate::scenario::{GuestQuery, Known, PieceQuery, TablesQuery, ZoneQuery};
use crate::target::{
    Answer, ArchName, BeginError, Counters, FsCounters, Header, NodeCounters, NodeSizes, PoolCounters, StepResult,
    Target,
};

use actor::ActorState;
use cgroups::NamedGroup;
pub use guest_map::GUEST_MAP_KEY;
pub use placement::placed;
pub use saved::SavedNames;
use segments::Segments;

/// Processes that a script can name.
pub(crate) const ACTORS: u16 = 16;

/// The target that runs operations on a machine of its own.
#[derive(Clone, Debug)]
pub struct Instance {
    machine: Machine,
    actors: BTreeMap<u16, ActorState>,
    /// Mounts by name, in the order in which the names were first mounted; nothing while one is not mounted.
    mounts: Vec<(String, Option<MountId>)>,
    /// Control groups in the order in which their names were first made.
    groups: Vec<NamedGroup>,
    /// Every control group ever made.
    made: Vec<CgroupId>,
    /// Names that a mount was tried on.
    tried: BTreeSet<String>,
    segments: Segments,
    /// Names of mappings in order of first mention: the place is the slot.
    slots: Vec<String>,
    events: Vec<Event>,
    /// How many 1 GiB pages the next grow can find, where that was told.
    gigantic_found: Option<u64>,
    begins: Begins,
    /// Blocks of ordinary pages by name.
    blocks: BTreeMap<String, BlockId>,
    /// Whether answers come with a picture of guest memory.
    pictures: bool,
    /// Pins of guest memory by name.
    guest_pins: BTreeMap<String, Pfn>,
    /// Memory of its own, where a scenario describes some.
    pages: Option<pages::Pages>,
    /// Page tables of nobody, by name.
    tables: BTreeMap<String, tables::Tables>,
    /// How much its machines may take.
    limits: Limits,
}

/// With which machine the next scenario begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begins {
    /// The one that its header describes, or the usual one.
    Described,
    /// This one.
    AsItIs,
}

impl Default for Instance {
    fn default() -> Self {
        Self::new()
    }
}

impl Instance {
    /// An instance of the usual machine: one node of 24 GiB, pools of 2 MiB and 1 GiB pages.
    #[must_use]
    pub fn new() -> Self {
        let machine = usual().build().expect("a node of 24 GiB can be");
        Self::of(machine)
    }

    /// An instance of that machine.
    #[must_use]
    pub fn of(mut machine: Machine) -> Self {
        machine.record_events();
        machine.limit(Limits::default().of_machines());
        Self {
            machine,
            actors: BTreeMap::new(),
            mounts: Vec::new(),
            groups: Vec::new(),
            made: Vec::new(),
            tried: BTreeSet::new(),
            segments: Segments::default(),
            slots: Vec::new(),
            events: Vec::new(),
            gigantic_found: None,
            begins: Begins::Described,
            blocks: BTreeMap::new(),
            pictures: false,
            guest_pins: BTreeMap::new(),
            pages: None,
            tables: BTreeMap::new(),
            limits: Limits::default(),
        }
    }

    /// Its machine, and those that scenarios describe, take no more of their host's memory from now on; [`Limits::default`] unless said here.
    pub const fn keep_within(&mut self, limits: Limits) {
        self.limits = limits;
        self.machine.limit(limits.of_machines());
    }

    /// The machine itself.
    #[must_use]
    pub const fn machine(&self) -> &Machine {
        &self.machine
    }

    /// What the machine's files say now, as those of a host. The mount `NAME` is at `/mnt/NAME`.
    #[must_use]
    pub fn saved_host(&mut self) -> SavedHost {
        let mounts: Vec<_> = self.mounts().map(|(name, id)| (format!("/mnt/{name}"), id)).collect();
        let mounts: Vec<_> = mounts.iter().map(|(dir, id)| (dir.as_str(), *id)).collect();
        SavedHost::of(&mut self.machine, &mounts)
    }

    /// From now on every answer comes with a picture of the memory of guests, a line for each huge page.
    pub const fn draw_guests(&mut self) {
        self.pictures = true;
    }

    fn picture(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (number, state) in &self.actors {
            let files = state.files.iter().filter_map(|(name, &fd)| {
                let (_, process) = self.machine.processes().find(|&(pid, _)| pid == state.pid)?;
                Some((name, self.machine.gmem(process.gmem(fd)?)?))
            });
            for (name, file) in files {
                lines.extend(guest_map::lines(&self.machine, &format!("a{number} {name}"), file));
            }
        }
        lines
    }

    /// What the last operation did.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The mounts by name.
    pub(crate) fn mounts(&self) -> impl Iterator<Item = (&str, MountId)> {
        self.mounts.iter().filter_map(|(name, id)| Some((name.as_str(), (*id)?)))
    }

    /// How many 1 GiB pages the pool has after the next write that grows it, at most.
    pub(crate) const fn advise_gigantic(&mut self, reached: u64) {
        self.gigantic_found = Some(reached);
    }

    fn slot(&mut self, name: &str) -> usize {
        self.slots.iter().position(|known| known == name).unwrap_or_else(|| {
            self.slots.push(name.to_owned());
            self.slots.len() - 1
        })
    }

    fn mounted(&self, name: &str) -> Option<MountId> {
        self.mounts.iter().find(|(known, _)| known == name).and_then(|&(_, id)| id)
    }

    fn pid(&self, actor: Actor) -> Option<Pid> {
        self.actors.get(&actor.number()).map(|state| state.pid)
    }

    fn run(&mut self, op: &Op) -> Answer {
        match op {
            Op::Nop(_) => Answer::ok(),
            Op::Spawn(op::Spawn { actor, cg, uid, gid }) => self.spawn(*actor, cg.as_ref(), &user(*uid, *gid)),
            Op::Kill(op::Kill { actor }) | Op::Exit(op::Exit { actor, .. }) => self.exit(*actor),
            Op::Fork(op::Fork { actor, child }) => self.fork(*actor, *child),
            _ => match op.about() {
                About::Knob => self.knob(op),
                About::Mount => self.mount_op(op),
                About::Group => self.cgroup_op(op),
                About::Pages => self.pages_op(op),
                About::Guest => self.guest_op(op),
                About::Tables => self.tables_op(op),
                _ => self.actor_op(op),
            },
        }
    }

    fn actor_op(&mut self, op: &Op) -> Answer {
        let Some(actor) = op.actor() else { return StepResult::BadOp.into() };
        // A mount is looked for before the process.
        if let Op::Open(open) = op
            && self.mounted(open.path.mount.as_str()).is_none()
        {
            return StepResult::NoMount.into();
        }
        if self.pid(actor).is_none() {
            return StepResult::BadActor.into();
        }
        match op.about() {
            About::File => self.file_op(op),
            About::Segment => self.segment_op(op),
            About::Uffd => self.uffd_op(op),
            About::Placement => self.placement_op(op),
            _ => self.memory_op(op),
        }
    }

    fn spawn(&mut self, actor: Actor, cg: Option<&CgroupName>, user: &Credentials) -> Answer {
        if actor.number() >= ACTORS || self.pid(actor).is_some() {
            return StepResult::BadActor.into();
        }
        let cgroup = match cg.map_or(Ok(None), |cg| self.cgroup_named(cg)) {
            Ok(cgroup) => cgroup,
            Err(error) => return answers::failed(&error),
        };
        match self.machine.spawn_with(user.clone(), cgroup) {
            Ok(pid) => {
                self.actors.insert(actor.number(), ActorState::new(pid));
                Answer::ok()
            }
            Err(error) => answers::failed(&error),
        }
    }

    fn fork(&mut self, actor: Actor, child: Actor) -> Answer {
        let Some(parent) = self.actors.get(&actor.number()) else { return StepResult::BadActor.into() };
        if child.number() >= ACTORS || self.pid(child).is_some() {
            return StepResult::BadActor.into();
        }
        match self.machine.fork(parent.pid) {
            Ok(pid) => {
                // What is pinned is so for the parent's device.
                let mut state = ActorState { pid, pins: BTreeMap::new(), ..parent.clone() };
                self.inherit_views(parent.pid, &mut state);
                self.actors.insert(child.number(), state);
                Answer::ok()
            }
            Err(error) => answers::refused(&error),
        }
    }

    fn exit(&mut self, actor: Actor) -> Answer {
        match self.actors.remove(&actor.number()) {
            Some(state) => {
                self.machine.exit(state.pid);
                Answer::ok()
            }
            None => StepResult::BadActor.into(),
        }
    }

    fn pool_counters(&mut self, size: HugeSize) -> PoolCounters {
        let Ok(pool) = self.machine.pool(size) else { return PoolCounters::default() };
        PoolCounters {
            nr: signed(pool.nr),
            free: signed(pool.free),
            resv: signed(pool.resv),
            surplus: signed(pool.surplus),
        }
    }

    fn node_counters(&mut self, size: HugeSize, node: NodeId) -> NodeCounters {
        let Ok(pool) = self.machine.pool(size) else { return NodeCounters::default() };
        let found = pool.nodes.iter().find(|(there, _)| *there == node).map(|(_, counts)| *counts);
        let counts = found.unwrap_or_default();
        NodeCounters { nr: signed(counts.nr), free: signed(counts.free), surplus: signed(counts.surplus) }
    }
}

fn signed(count: hugefolio::HugeCount) -> i64 {
    i64::try_from(count.get()).unwrap_or(i64::MAX)
}

impl Instance {
    fn begin_machine(&mut self, header: &Header) -> Result<(), BeginError> {
        if std::mem::replace(&mut self.begins, Begins::Described) == Begins::AsItIs {
            return match &header.machine {
                Some(_) => Err(BeginError::Machine(
                    "the scenario describes a machine, and one was loaded: leave one of them out".to_owned(),
                )),
                None => Ok(()),
            };
        }
        let Some(line) = &header.machine else {
            self.renew(usual().build().map_err(|error| BeginError::Machine(error.to_string()))?);
            return Ok(());
        };
        let mut builder = if line.nodes.is_empty() { usual() } else { Machine::builder() };
        for (n, memory) in line.nodes.iter().enumerate() {
            let node = u8::try_from(n).map_err(|_| BeginError::Machine(format!("{n} nodes are too many")))?;
            let node = NodeId::new(node);
            if memory.unsigned() > 0 {
                builder = builder.node(node, Bytes::new(memory.unsigned()));
            }
            builder = builder.cpus(node, line.cpus_of(n));
        }
        for &(a, b, distance) in &line.distances {
            builder = builder.distance(NodeId::new(a), NodeId::new(b), distance);
        }
        let arch = match line.arch {
            ArchName::X86_64 => Arch::X86_64,
            ArchName::Arm64 => Arch::Arm64(PageShift::K4),
            ArchName::Arm64Base16K => Arch::Arm64(PageShift::K16),
            ArchName::Arm64Base64K => Arch::Arm64(PageShift::K64),
        };
        let builder = builder
            .arch(arch)
            .groups(line.groups)
            .memory_accounting(line.memory)
            .tail_life(line.tails)
            .behaviour(line.behaviour)
            .limits(self.limits.of_machines());
        let machine = builder.cmdline(&line.boot.join(" ")).build();
        let machine = machine.map_err(|error| BeginError::Machine(error.to_string()))?;
        self.renew(machine);
        Ok(())
    }

    /// Nothing is left but what was asked for all scenarios.
    fn renew(&mut self, machine: Machine) {
        let limits = self.limits;
        *self = Self { pictures: self.pictures, ..Self::of(machine) };
        self.keep_within(limits);
    }
}

/// The machine that the recordings were made on, as far as scripts can tell.
fn usual() -> MachineBuilder {
    Machine::builder().node(NodeId::new(0), Bytes::gib(24))
}

impl Instance {
    /// Takes everything down that operations can have made: also what stays at the end of a script.
    pub(crate) fn take_down(&mut self) {
        let segments = self.segments_made();
        self.machine.faults().clear();
        self.end();
        for segment in segments {
            // It may have been removed before.
            let _ = self.machine.shmrm(segment);
        }
        for pin in std::mem::take(&mut self.guest_pins).into_values() {
            self.machine.gmem_unpin(GmemPin::take_up(pin), Context::Sleepable);
        }
        for block in std::mem::take(&mut self.blocks).into_values() {
            // Nobody pins what a script takes.
            let _ = self.machine.free_pages(block);
        }
        self.machine.quiesce();
        self.machine.drain_pages();
        let sizes: Vec<HugeSize> = self.machine.hstates().iter().map(|hstate| hstate.size).collect();
        // Twice: the pages of one size may be the memory that the descriptors of another one lack.
        for &size in sizes.iter().chain(&sizes) {
            let all = ResizeNodes::Global(Nodemask::ALL);
            // Surplus pages that nobody promised stay in a pool that shrinks; they become persistent first.
            let nr = self.machine.pool(size).map_or(HugeCount::ZERO, |pool| pool.nr);
            for count in [nr, HugeCount::ZERO] {
                // A pool that cannot be written to is as it was at boot.
                let _ = self.machine.set_nr_hugepages(size, count, all);
            }
        }
        self.machine.quiesce();
    }
}

impl Target for Instance {
    fn name(&self) -> &str {
        "instance"
    }

    fn begin(&mut self, header: &Header) -> Result<(), BeginError> {
        let memory = (!header.memory.is_empty()).then(|| pages::Pages::new(&header.memory)).transpose();
        let memory = memory.map_err(BeginError::Machine)?;
        self.begin_machine(header)?;
        self.pages = memory;
        Ok(())
    }

    fn step(&mut self, op: &Op) -> Answer {
        let mut answer = self.run(op);
        self.events = self.machine.take_events();
        if self.machine.folios() >= self.limits.folios {
            let most = self.limits.folios;
            answer.extras.why = Some(format!("the limit of {most} records of allocated memory is reached"));
        }
        if op.about() == About::Guest {
            answer.extras.steps = guests::steps_of(&self.events);
        }
        if self.pictures {
            answer.picture = self.picture();
        }
        answer
    }

    fn ask_zone(&mut self, query: &ZoneQuery) -> Option<Known> {
        self.ask_of_zone(query)
    }

    fn shared_tails(&mut self) -> Option<u64> {
        Some(self.machine.vmemmap().tail_pages().get())
    }

    fn ask_guest(&mut self, query: &GuestQuery) -> Option<Known> {
        self.ask_of_guest(query)
    }

    fn ask_piece(&mut self, query: &PieceQuery) -> Option<Known> {
        self.ask_of_piece(query)
    }

    fn ask_tables(&mut self, query: &TablesQuery) -> Option<Known> {
        self.tables.get(query.tables.as_str()).map(|tables| tables.ask(query.field))
    }

    fn read_file(&mut self, path: &str) -> Option<String> {
        let own = self.pages.as_ref().and_then(|pages| pages.read(path));
        own.or_else(|| self.machine.read_file(path).ok())
    }

    fn counters(&mut self) -> Counters {
        let (m2, g1) = (self.pool_counters(HugeSize::M2), self.pool_counters(HugeSize::G1));
        let node0 = NodeId::new(0);
        let (node0_m2, node0_g1) = (self.node_counters(HugeSize::M2, node0), self.node_counters(HugeSize::G1, node0));
        let mut counters = Counters { m2, g1, node0_m2, node0_g1, ..Counters::default() };
        for node in self.machine.topology().nodes().iter().filter(|node| *node != node0).collect::<Vec<_>>() {
            let (m2, g1) = (self.node_counters(HugeSize::M2, node), self.node_counters(HugeSize::G1, node));
            counters.nodes.push(node.get().to_string(), NodeSizes { m2, g1 });
        }
        self.count_cgroups(&mut counters);
        for (name, mount) in &self.mounts {
            let Some(fs) = mount.and_then(|id| self.machine.statfs(id)) else { continue };
            let fs = FsCounters {
                bsize: i64::try_from(fs.block_size.get()).unwrap_or(i64::MAX),
                blocks: fs.blocks,
                bfree: fs.free_blocks,
                bavail: fs.free_blocks,
                files: fs.files,
                ffree: fs.free_files,
            };
            counters.fs.push(name.clone(), fs);
        }
        for (number, state) in &self.actors {
            let mapped = self.machine.hugetlb_pages(state.pid).unwrap_or(Bytes::ZERO);
            let kib = i64::try_from(mapped.get() / 1024).unwrap_or(i64::MAX);
            counters.hp_kb.push(number.to_string(), kib);
        }
        counters
    }

    fn end(&mut self) -> Counters {
        while let Some((_, state)) = self.actors.pop_first() {
            self.machine.exit(state.pid);
        }
        self.remove_segments();
        for (_, mount) in &mut self.mounts {
            if let Some(id) = mount.take() {
                // Every process is gone, so nothing is in use.
                let _ = self.machine.umount(id, UmountMode::Lazy);
            }
        }
        self.events = self.machine.take_events();
        self.counters()
    }
}

/// Who a process is that is started so.
fn user(uid: Option<UserId>, gid: Option<UserId>) -> Credentials {
    let number = |id: Option<UserId>| id.map_or(0, UserId::get);
    Credentials::of(Uid(number(uid)), Gid(number(gid)))
}
