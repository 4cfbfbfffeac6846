//! Which operation comes next.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hugefolio::Machine;

use crate::generate::random::Random;
use crate::generate::{Generator, Profile};
use crate::op::{Draws, Nop, Op};
use crate::target::{Answer, MachineLine};

use super::guests::Guests;

/// Kinds of operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Those of [`Generator`].
    Ordinary,
    /// Memory of guests.
    Guests,
    /// Pages that are mapped in pieces.
    Pieces,
    /// Pools of every size, and knobs.
    Knobs,
    /// Ordinary pages, and memory that comes and goes.
    Pages,
    /// Memory that breaks.
    Broken,
    /// An attempt that fails.
    Failure,
    /// Saved and loaded.
    Saved,
    /// Any operation with any arguments.
    Any,
}

/// How often each kind comes at the most, where a world has it.
const WEIGHTS: [(Kind, u32); 9] = [
    (Kind::Ordinary, 600),
    (Kind::Guests, 300),
    (Kind::Pieces, 300),
    (Kind::Knobs, 120),
    (Kind::Pages, 160),
    (Kind::Broken, 25),
    (Kind::Failure, 120),
    (Kind::Saved, 20),
    (Kind::Any, 20),
];

/// A source of operations on one machine.
#[derive(Debug)]
pub(super) struct Draw {
    pub(super) random: Random,
    generator: Generator,
    weights: Vec<(Kind, u32)>,
    /// What comes before anything is drawn.
    pub(super) next: VecDeque<Op>,
    pub(super) nodes: u32,
    pub(super) guests: Guests,
    /// Sets of mappings for pieces that are there: process, number, length and page in bytes.
    pub(super) pieces: BTreeMap<(u16, u32), (u64, u64)>,
    /// Blocks of ordinary pages by name.
    pub(super) blocks: BTreeSet<String>,
    /// Memory that went: what brings it back.
    pub(super) gone: Vec<String>,
    /// The answer to come is to one of ours.
    ours: bool,
}

/// An operation as it is written.
pub(super) fn op(line: &str) -> Op {
    line.parse().unwrap_or_else(|error| panic!("`{line}`: {error}"))
}

impl Draw {
    pub(super) fn new(random: &mut Random, machine: &MachineLine) -> Self {
        let nodes = u32::try_from(machine.nodes.len()).unwrap_or(1);
        let profiles: Vec<Profile> = Profile::named().filter(|profile| fits(*profile, machine)).collect();
        let profile = *random.of(&profiles);
        let seed = u64::from(random.below(u32::MAX));
        let mut weights: Vec<(Kind, u32)> = WEIGHTS
            .iter()
            .map(|&(kind, most)| (kind, if random.percent(30) { 0 } else { 1 + random.below(most) }))
            .collect();
        weights[0].1 += 100;
        Self {
            generator: Generator::on_nodes(seed, profile, nodes),
            random: random.clone(),
            weights,
            next: VecDeque::new(),
            nodes,
            guests: Guests::default(),
            pieces: BTreeMap::new(),
            blocks: BTreeSet::new(),
            gone: Vec::new(),
            ours: false,
        }
    }

    pub(super) fn next_op(&mut self, machine: &Machine) -> Op {
        if let Some(op) = self.next.pop_front() {
            self.ours = true;
            return op;
        }
        // What a world needs to begin with comes from there.
        let kind = if self.alive().is_empty() {
            Kind::Ordinary
        } else {
            self.random.weighted(&self.weights).unwrap_or(Kind::Ordinary)
        };
        let line = match kind {
            Kind::Ordinary => None,
            Kind::Guests => self.guest(machine),
            Kind::Pieces => self.piece(machine),
            Kind::Knobs => Some(self.knob(machine)),
            Kind::Pages => self.page(machine),
            Kind::Broken => self.broken(),
            Kind::Failure => Some(self.failure()),
            Kind::Saved => return self.mine(Nop {}.into()),
            Kind::Any => {
                let bytes: Vec<u8> = (0..48).map(|_| u8::try_from(self.random.below(256)).unwrap_or(0)).collect();
                let op = Op::draw(&mut Draws::new(&bytes));
                return self.mine(op);
            }
        };
        match line {
            Some(line) => self.mine(op(&line)),
            None => {
                self.ours = false;
                self.generator.next_op()
            }
        }
    }

    fn mine(&mut self, op: Op) -> Op {
        self.ours = true;
        op
    }

    pub(super) fn observe(&mut self, op: &Op, answer: &Answer) {
        self.generator.observe(op, answer);
        if !answer.result.is_ok() {
            return;
        }
        self.observe_guests(op);
        self.observe_pieces(op);
        self.observe_pages(op);
    }

    /// The processes that live.
    pub(super) fn alive(&self) -> Vec<u16> {
        self.generator.alive()
    }

    /// One of them.
    pub(super) fn actor(&mut self) -> Option<u16> {
        let alive = self.alive();
        self.random.any(alive)
    }

    /// The machine's page sizes as text has them, the default twice.
    pub(super) fn sizes(machine: &Machine) -> Vec<u64> {
        let all = machine.hstates().iter().map(|hstate| hstate.size.bytes().get());
        all.chain([machine.hstates().default_hstate().size.bytes().get()]).collect()
    }
}

/// Is the profile one for such a machine? Pages of 1 GiB need memory, several nodes have a profile of their own, and memory of guests is drawn here in
/// more ways than the profile has.
fn fits(profile: Profile, machine: &MachineLine) -> bool {
    match profile {
        Profile::Gig => machine.nodes.iter().any(|memory| memory.unsigned() >= 2 << 30),
        Profile::Numa | Profile::Nodes => machine.nodes.len() > 1,
        Profile::Guest => false,
        _ => true,
    }
}
