//! Random operations: mostly valid, on what exists, with the edges where memory management goes wrong.
//!
//! The seed alone decides what is drawn, given the answers. A target is asked op by op, so that a generator knows what there
//! is:
//!
//! ```
//! use lab::generate::{Generator, Profile};
//! use lab::model::NaiveMachine;
//! use lab::target::Target;
//!
//! let mut generator = Generator::new(1, Profile::Fork);
//! let mut machine = NaiveMachine::default();
//! for _ in 0..200 {
//!     let op = generator.next_op();
//!     let answer = machine.step(&op);
//!     generator.observe(&op, &answer);
//! }
//! ```

mod edges;
mod files;
mod gigantic;
mod groups;
mod guests;
mod limits;
mod memory;
mod pins;
mod placement;
pub(crate) mod random;
mod uffd;
mod users;
mod view;

use std::collections::VecDeque;

use crate::op::{
    Access, Actor, Exit, Fork, Kill, Nop, Op, SetNr, SetOvercommit, Size, SizeName, Spawn, SysctlNr, Written,
};
use crate::target::{Answer, MachineLine, MemoryAccounting};
use gigantic::Gigantic;
use guests::Guests;
use random::Random;
use uffd::WatchesWrites;
use users::Users;
use view::View;

pub use edges::ends_beyond_files;

/// What the operations are mostly about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    /// Anonymous mappings, knobs and the calls on address ranges.
    Basic,
    /// Parents and children that share pages.
    Fork,
    /// Files of mounts and memfds, mapped by several processes.
    File,
    /// Mounts with limits, seals and segments.
    Subpool,
    /// Control groups, what their limits refuse and what remains when they are removed.
    Cgroup,
    /// All of them.
    Mix,
    /// Mappings of all kinds that userfaultfds watch and fill.
    Uffd,
    /// Both sizes of pages: half of it is about pages of 1 GiB, the rest as [`Mix`](Self::Mix). The naive model has the small ones alone.
    Gig,
    /// Memory of guests: half of it is about that, the rest as [`Basic`](Self::Basic).
    Guest,
    /// As [`Cgroup`](Self::Cgroup), with limits on memory, on a machine whose memory controller accounts huge pages.
    Memcg,
    /// Several nodes: half of it is about where pages lie, the rest as [`Mix`](Self::Mix).
    Numa,
    /// The same with four nodes, unequally far apart, one of them without processors and one without memory.
    Nodes,
}

/// A kind of operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Nr,
    Overcommit,
    Spawn,
    Fork,
    Exit,
    Mount,
    Umount,
    Unlink,
    TruncatePath,
    Anonymous,
    MapFile,
    Overlay,
    Load,
    Store,
    Uaccess,
    Munmap,
    Mremap,
    Mprotect,
    Dontneed,
    Remove,
    Populate,
    Hint,
    Lock,
    Ask,
    Open,
    Memfd,
    Close,
    Ftruncate,
    Allocate,
    Punch,
    Stat,
    Seal,
    Shmget,
    Shmat,
    Shmdt,
    Shmrm,
    UffdOpen,
    UffdRegister,
    UffdUnregister,
    UffdFill,
    UffdProtect,
    UffdClose,
    Pin,
    Unpin,
    Udmabuf,
    MakeGroup,
    Limit,
    Attach,
    RemoveGroup,
}

use Action as A;

/// How often each kind of operation is drawn, for each profile.
const WEIGHTS: &[(Action, [u32; Profile::ALL.len()])] = &[
    // basic, fork, file, subpool, cgroup, mix, uffd
    (A::Nr, [6, 4, 4, 4, 1, 5, 3]),
    (A::Overcommit, [4, 3, 3, 4, 3, 3, 2]),
    (A::Spawn, [3, 1, 3, 3, 4, 2, 1]),
    (A::Fork, [1, 9, 3, 3, 5, 5, 4]),
    (A::Exit, [2, 7, 2, 2, 4, 4, 3]),
    (A::Mount, [0, 0, 2, 7, 1, 2, 1]),
    (A::Umount, [0, 0, 1, 4, 0, 1, 0]),
    (A::Unlink, [0, 0, 2, 2, 1, 1, 0]),
    (A::TruncatePath, [0, 0, 1, 1, 1, 1, 0]),
    (A::Anonymous, [16, 10, 2, 2, 11, 9, 7]),
    (A::MapFile, [0, 4, 16, 16, 8, 10, 7]),
    (A::Overlay, [6, 2, 2, 2, 2, 4, 2]),
    (A::Load, [9, 13, 9, 9, 7, 10, 10]),
    (A::Store, [24, 32, 17, 17, 24, 24, 18]),
    (A::Uaccess, [3, 3, 2, 2, 2, 3, 2]),
    (A::Munmap, [10, 7, 7, 7, 7, 8, 4]),
    (A::Mremap, [9, 4, 3, 3, 3, 6, 4]),
    (A::Mprotect, [6, 4, 2, 2, 6, 4, 4]),
    (A::Dontneed, [6, 7, 4, 4, 4, 6, 5]),
    (A::Remove, [2, 0, 4, 4, 1, 3, 3]),
    (A::Populate, [3, 2, 2, 2, 3, 3, 2]),
    (A::Hint, [3, 2, 0, 0, 0, 2, 1]),
    (A::Lock, [2, 0, 0, 0, 7, 1, 1]),
    (A::Ask, [4, 4, 4, 4, 2, 4, 8]),
    (A::Open, [0, 0, 7, 8, 4, 4, 2]),
    (A::Memfd, [0, 1, 2, 2, 1, 2, 2]),
    (A::Close, [0, 0, 3, 3, 2, 2, 1]),
    (A::Ftruncate, [0, 1, 6, 6, 3, 4, 3]),
    (A::Allocate, [0, 0, 8, 8, 5, 5, 4]),
    (A::Punch, [0, 1, 9, 9, 5, 6, 4]),
    (A::Stat, [0, 0, 4, 4, 1, 2, 1]),
    (A::Seal, [0, 0, 1, 2, 0, 2, 0]),
    (A::Shmget, [1, 1, 0, 2, 1, 2, 1]),
    (A::Shmat, [1, 2, 0, 3, 1, 3, 1]),
    (A::Shmdt, [1, 1, 0, 2, 1, 1, 1]),
    (A::Shmrm, [0, 1, 0, 1, 0, 1, 0]),
    (A::UffdOpen, [0, 0, 0, 0, 0, 1, 4]),
    (A::UffdRegister, [0, 0, 0, 0, 0, 1, 12]),
    (A::UffdUnregister, [0, 0, 0, 0, 0, 0, 4]),
    (A::UffdFill, [0, 0, 0, 0, 0, 1, 16]),
    (A::UffdProtect, [0, 0, 0, 0, 0, 0, 12]),
    (A::UffdClose, [0, 0, 0, 0, 0, 0, 2]),
    (A::Pin, [2, 3, 2, 1, 1, 2, 1]),
    (A::Unpin, [2, 2, 2, 1, 1, 2, 1]),
    (A::Udmabuf, [0, 0, 1, 1, 1, 1, 0]),
    (A::MakeGroup, [0, 0, 0, 0, 4, 1, 0]),
    (A::Limit, [0, 0, 0, 0, 10, 2, 0]),
    (A::Attach, [0, 0, 0, 0, 4, 1, 0]),
    (A::RemoveGroup, [0, 0, 0, 0, 3, 1, 0]),
];

impl Profile {
    /// The profiles for machines that have pages of 2 MiB alone. They come in turn where none is asked for.
    pub const ALL: [Profile; 7] =
        [Profile::Basic, Profile::Fork, Profile::File, Profile::Subpool, Profile::Cgroup, Profile::Mix, Profile::Uffd];

    /// Every profile that can be asked for.
    pub fn named() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().chain([Profile::Gig, Profile::Guest, Profile::Memcg, Profile::Numa, Profile::Nodes])
    }

    /// Its name, as scripts carry it.
    pub const fn name(self) -> &'static str {
        match self {
            Profile::Basic => "basic",
            Profile::Fork => "fork",
            Profile::File => "file",
            Profile::Subpool => "subpool",
            Profile::Cgroup => "cgroup",
            Profile::Mix => "mix",
            Profile::Uffd => "uffd",
            Profile::Gig => "gig",
            Profile::Guest => "guest",
            Profile::Memcg => "memcg",
            Profile::Numa => "numa",
            Profile::Nodes => "nodes",
        }
    }

    /// The machine that its scripts need, if it is not that of the recordings.
    pub fn machine(self) -> Option<MachineLine> {
        match self {
            Profile::Memcg => Some(MachineLine { memory: MemoryAccounting::HugePages, ..MachineLine::default() }),
            Profile::Numa => Some(MachineLine { nodes: vec![Size::bytes(1 << 30); 2], ..MachineLine::default() }),
            Profile::Nodes => Some(placement::four_nodes()),
            _ => None,
        }
    }

    /// Is it about several nodes?
    const fn has_nodes(self) -> bool {
        matches!(self, Profile::Numa | Profile::Nodes)
    }

    fn weights(self) -> Vec<(Action, u32)> {
        let like = match self {
            Profile::Gig | Profile::Numa | Profile::Nodes => Profile::Mix,
            Profile::Memcg => Profile::Cgroup,
            Profile::Guest => Profile::Basic,
            other => other,
        };
        let column = Profile::ALL.iter().position(|profile| *profile == like).unwrap_or(0);
        WEIGHTS.iter().map(|(action, weights)| (*action, weights[column])).collect()
    }
}

/// The most processes that live at once.
const MOST_PROCESSES: u16 = 4;
/// How often a kind of operation is drawn that nothing exists for, before a process is started instead.
const MOST_TRIES: usize = 50;

/// A source of random operations.
#[derive(Debug, Clone)]
pub struct Generator {
    random: Random,
    profile: Profile,
    weights: Vec<(Action, u32)>,
    /// A running kernel will answer.
    on_kernel: bool,
    /// Does a registration watch for writes, if it watches for anything?
    watches_writes: WatchesWrites,
    view: View,
    gigantic: Gigantic,
    guests: Guests,
    users: Users,
    /// The nodes of the machine.
    nodes: u32,
    opening: VecDeque<Op>,
}

impl Generator {
    /// Operations of a profile, decided by `seed`.
    pub fn new(seed: u64, profile: Profile) -> Self {
        let nodes = profile.machine().map_or(1, |machine| machine.nodes.len().max(1));
        Self::on_nodes(seed, profile, u32::try_from(nodes).unwrap_or(1))
    }

    /// As [`Self::new`], for a machine with so many nodes.
    pub fn on_nodes(seed: u64, profile: Profile, nodes: u32) -> Self {
        let mut generator = Self {
            random: Random::new(seed),
            profile,
            weights: profile.weights(),
            on_kernel: false,
            watches_writes: WatchesWrites::Sometimes,
            view: View::default(),
            gigantic: Gigantic::default(),
            guests: Guests::default(),
            users: Users::new(seed, profile),
            nodes,
            opening: VecDeque::new(),
        };
        generator.open();
        generator
    }

    /// Operations for a running kernel. No private mapping moves that went through fork: 6.18 looks for the sharers of a
    /// page at the address that it had, and may never end. No mapping leaves its place to the kernel, which puts it among
    /// others that no model knows. Either all registrations with userfaultfds watch for writes or none does: a write to what
    /// was protected under an earlier registration never returns. Nor does a touch of a page whose memory a group may not have: where
    /// memory is limited nothing is touched but by the kernel.
    pub fn for_kernel(seed: u64, profile: Profile) -> Self {
        let watches_writes = if seed.is_multiple_of(3) { WatchesWrites::Never } else { WatchesWrites::Always };
        let mut generator = Self { on_kernel: true, watches_writes, ..Self::new(seed, profile) };
        if profile == Profile::Memcg {
            generator.weights.retain(|(action, _)| !matches!(action, A::Load | A::Store));
        }
        generator
    }

    /// A pool, sometimes surplus, a mount if files are wanted, and a process or two.
    fn open(&mut self) {
        // Where limits are to refuse, the pool seldom does.
        let pages = match self.profile {
            Profile::Cgroup | Profile::Memcg => *self.random.of(&[4, 8, 16, 24, 24, 64]),
            _ => *self.random.of(&[1, 2, 4, 6, 8, 8, 12, 16, 24, 64]),
        };
        if self.profile.has_nodes() {
            self.open_nodes();
        } else {
            self.opening.push_back(set_nr(pages));
        }
        if self.profile == Profile::Gig {
            let value = Written::Number(i64::from(self.random.between(1, 2)));
            self.opening.push_back(SetNr { value, size: SizeName::G1, node: None }.into());
        }
        if self.random.percent(50) {
            let limit = i64::from(self.random.between(1, 6));
            self.opening.push_back(set_overcommit(limit));
        }
        if !matches!(self.profile, Profile::Basic | Profile::Fork | Profile::Gig | Profile::Guest) {
            let mount = self.mount();
            self.opening.extend(mount);
        }
        if matches!(self.profile, Profile::Cgroup | Profile::Memcg) {
            self.open_groups();
        }
        for number in 0..self.random.between(1, 2) {
            let actor = Actor::new(u16::try_from(number).unwrap_or(0));
            let cg = self.group();
            let (uid, gid) = self.user();
            self.opening.push_back(Spawn { actor, cg, uid, gid }.into());
        }
    }

    /// The next operation. What the target answers to it must be given to [`observe`](Self::observe) before the next.
    pub fn next_op(&mut self) -> Op {
        let op = match self.opening.pop_front() {
            Some(op) => op,
            None => self.draw(),
        };
        debug_assert!(!ends_beyond_files(&op), "{op} brings kernels down");
        op
    }

    /// Takes in the answer to the operation drawn last.
    pub fn observe(&mut self, op: &Op, answer: &Answer) {
        if !self.gigantic.observe(op, answer) && !self.guests.observe(op, answer) {
            self.view.observe(op, answer);
        }
    }

    fn draw(&mut self) -> Op {
        if self.view.processes.is_empty()
            && self.random.percent(80)
            && let Some(op) = self.spawn()
        {
            return op;
        }
        for _ in 0..MOST_TRIES {
            if self.profile == Profile::Gig
                && self.random.percent(50)
                && let Some(op) = self.gigantic()
            {
                return op;
            }
            if self.profile == Profile::Guest
                && self.random.percent(50)
                && let Some(op) = self.guest()
            {
                return op;
            }
            if self.profile.has_nodes()
                && self.random.percent(50)
                && let Some(op) = self.placement()
            {
                return op;
            }
            let action = self.random.weighted(&self.weights);
            if let Some(op) = action.and_then(|action| self.propose(action)).filter(|op| !self.asks_more_of_users(op)) {
                return op;
            }
        }
        self.spawn().unwrap_or_else(|| Nop {}.into())
    }

    /// An operation of that kind, if there is anything to do it to.
    fn propose(&mut self, action: Action) -> Option<Op> {
        match action {
            A::Nr => Some(self.nr()),
            A::Overcommit => Some(set_overcommit(i64::from(*self.random.of(&[0, 0, 1, 2, 3, 4, 6, 8])))),
            A::Spawn => self.spawn(),
            A::Fork => self.fork(),
            A::Exit => self.exit(),
            A::Mount => self.mount(),
            A::Umount => self.umount(),
            A::Unlink => self.unlink(),
            A::TruncatePath => self.truncate_path(),
            A::Anonymous => self.anonymous(),
            A::MapFile => self.map_file(),
            A::Overlay => self.overlay(),
            A::Load => self.touch(Access::Read),
            A::Store => self.touch(Access::Write),
            A::Uaccess => self.uaccess(),
            A::Munmap => self.munmap(),
            A::Mremap => self.mremap(),
            A::Mprotect => self.mprotect(),
            A::Dontneed | A::Remove | A::Populate | A::Hint => self.madvise(action),
            A::Lock => self.lock(),
            A::Ask => self.ask(),
            A::Open => self.open_file(),
            A::Memfd => self.memfd(),
            A::Close => self.close(),
            A::Ftruncate => self.ftruncate(),
            A::Allocate | A::Punch => self.fallocate(action),
            A::Stat => self.stat(),
            A::Seal => self.seal(),
            A::Shmget | A::Shmat | A::Shmdt | A::Shmrm => self.segment(action),
            A::UffdOpen => self.uffd_open(),
            A::UffdRegister => self.uffd_register(),
            A::UffdUnregister => self.uffd_unregister(),
            A::UffdFill => self.uffd_fill(),
            A::UffdProtect => self.uffd_protect(),
            A::UffdClose => self.uffd_close(),
            A::Pin => self.pin(),
            A::Unpin => self.unpin(),
            A::Udmabuf => self.udmabuf(),
            A::MakeGroup => self.make_group(),
            A::Limit => self.limit(),
            A::Attach => self.attach(),
            A::RemoveGroup => self.remove_group(),
        }
    }

    fn nr(&mut self) -> Op {
        let pages = *self.random.of(&[0, 1, 2, 3, 4, 6, 8, 8, 10, 12, 16, 20, 24, 32, 48, 64]);
        let value = Written::Number(pages);
        match self.random.below(20) {
            0 => SysctlNr { value }.into(),
            1 => {
                let node = Some(crate::op::Node::new(u32::from(self.random.percent(10))));
                SetNr { value, size: SizeName::M2, node }.into()
            }
            _ => set_nr(pages),
        }
    }

    /// The processes that live.
    pub(crate) fn alive(&self) -> Vec<u16> {
        self.view.processes.keys().copied().collect()
    }

    /// A process that lives.
    fn process(&mut self) -> Option<Actor> {
        let numbers: Vec<u16> = self.view.processes.keys().copied().collect();
        self.random.any(numbers).map(Actor::new)
    }

    /// A process that could be born.
    fn unborn(&mut self) -> Option<Actor> {
        let free = (0..MOST_PROCESSES).filter(|number| !self.view.processes.contains_key(number));
        let free: Vec<u16> = free.collect();
        self.random.any(free).map(Actor::new)
    }

    fn spawn(&mut self) -> Option<Op> {
        let actor = self.unborn()?;
        let cg = if self.random.percent(80) { self.group() } else { None };
        let (uid, gid) = self.user();
        Some(Spawn { actor, cg, uid, gid }.into())
    }

    fn fork(&mut self) -> Option<Op> {
        let (actor, child) = (self.process()?, self.unborn()?);
        if !self.gigantic.may_fork(actor.number()) {
            return None;
        }
        Some(Fork { actor, child }.into())
    }

    fn exit(&mut self) -> Option<Op> {
        if self.view.processes.len() < 2 && self.random.percent(70) {
            return None;
        }
        let actor = self.process()?;
        Some(if self.random.percent(15) { Kill { actor }.into() } else { Exit { actor, code: None }.into() })
    }
}

fn set_nr(pages: i64) -> Op {
    SetNr { value: Written::Number(pages), size: SizeName::M2, node: None }.into()
}

fn set_overcommit(limit: i64) -> Op {
    SetOvercommit { value: Written::Number(limit), size: SizeName::M2 }.into()
}
