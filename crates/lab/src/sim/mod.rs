//! Whole machines under random operations of every kind, looked at after each step.
//!
//! A seed gives a row of worlds. A world is a machine, drawn from the boot parameters that there are, and some hundred operations on it: those of
//! [`crate::generate`], and beside them guests, pages in pieces, memory that comes and goes or breaks, ordinary pages, knobs, and attempts that fail.
//! After each step the machine is recounted, and what was asked is printed and read again; now and then it is saved and loaded, and goes on as what was
//! loaded; at its end everything is taken down, and nothing may be left. There is no second machine to compare with: what is found is what a
//! machine can tell of itself.
//!
//! A seed gives the same worlds, answers and lines always.
//!
//! ```
//! use lab::sim::{Sim, STEPS};
//!
//! let mut sim = Sim::new(1);
//! let world = sim.next_world(STEPS).expect("nothing is wrong");
//! assert_eq!(Sim::new(1).next_world(STEPS).expect("nothing is wrong"), world);
//! ```

mod draw;
mod guests;
mod machine;
mod pieces;
mod system;
mod watched;

use std::collections::BTreeMap;
use std::fmt;

use crate::generate::random::Random;
use crate::op::Op;
use crate::scenario::{HeaderLine, Item, Scenario, Step, Wanted};
use crate::shrink::shrink;
use crate::target::MachineLine;

use draw::Draw;
use watched::{Digest, Watched};

/// How many operations a world has, unless something else is asked for.
pub const STEPS: u64 = 300;

/// How often a failing world is run again to make it short.
pub const TRIES: usize = 4000;

/// The worlds of a seed.
#[derive(Debug)]
pub struct Sim {
    seed: u64,
    worlds: u64,
}

/// A world that went as it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct World {
    /// Which of the seed's.
    pub number: u64,
    /// Its machine.
    pub machine: MachineLine,
    /// The operations that were done.
    pub steps: u64,
    /// A sum over every operation, answer and counter.
    pub digest: u64,
    /// How often each verb did what it was asked for.
    pub done: BTreeMap<&'static str, u64>,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The seed.
    pub seed: u64,
    /// Which of its worlds.
    pub world: u64,
    /// The machine.
    pub machine: MachineLine,
    /// The operations, the last of which shows it.
    pub ops: Vec<Op>,
    /// What is wrong.
    pub wrong: String,
}

impl Sim {
    /// The worlds of that seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { seed, worlds: 0 }
    }

    /// The next worlds begin after so many.
    pub const fn skip(&mut self, worlds: u64) {
        self.worlds += worlds;
    }

    /// Runs the next world, of so many operations at most.
    ///
    /// # Errors
    /// What is wrong.
    pub fn next_world(&mut self, steps: u64) -> Result<World, Box<Finding>> {
        self.next_world_told(steps, &mut |_| ())
    }

    /// As [`Self::next_world`]; `tell` hears of every operation before it is done.
    ///
    /// # Errors
    /// What is wrong.
    pub fn next_world_told(&mut self, steps: u64, tell: &mut dyn FnMut(&Op)) -> Result<World, Box<Finding>> {
        let number = self.worlds;
        self.worlds += 1;
        let mut random = Random::new(self.seed.wrapping_mul(0x9e37_79b9).wrapping_add(number));
        let machine = machine::draw(&mut random);
        let mut draw = Draw::new(&mut random, &machine);
        let mut ops = Vec::new();
        let found = |machine: &MachineLine, ops: Vec<Op>, wrong| {
            Box::new(Finding { seed: self.seed, world: number, machine: machine.clone(), ops, wrong })
        };
        let (mut digest, mut done) = (Digest::default(), BTreeMap::new());
        let mut watched = match Watched::begin(&machine) {
            Ok(Some(watched)) => watched,
            Ok(None) => return Ok(World { number, machine, steps: 0, digest: digest.sum(), done }),
            Err(wrong) => return Err(found(&machine, ops, wrong)),
        };
        for _ in 0..steps {
            let op = draw.next_op(watched.machine());
            ops.push(op.clone());
            tell(&op);
            match watched.step(&op) {
                Ok(answer) => {
                    digest.add(&op, &answer, &watched.counters());
                    draw.observe(&op, &answer);
                    if answer.result.is_ok() {
                        *done.entry(op.verb().name).or_insert(0) += 1;
                    }
                }
                Err(wrong) => return Err(found(&machine, ops, wrong)),
            }
        }
        match watched.end() {
            Ok(()) => Ok(World { number, machine, steps, digest: digest.sum(), done }),
            Err(wrong) => Err(found(&machine, ops, wrong)),
        }
    }
}

/// What is wrong with operations on a machine, and after how many of them.
#[must_use]
pub fn wrong_with(machine: &MachineLine, ops: &[Op]) -> Option<(usize, String)> {
    let mut watched = match Watched::begin(machine) {
        Ok(watched) => watched?,
        Err(wrong) => return Some((0, wrong)),
    };
    for (n, op) in ops.iter().enumerate() {
        if let Err(wrong) = watched.step(op) {
            return Some((n + 1, wrong));
        }
    }
    watched.end().err().map(|wrong| (ops.len(), wrong))
}

impl Finding {
    /// The same with only what it needs; what is wrong stays of the same kind.
    #[must_use]
    pub fn shrunk(&self, tries: usize) -> Self {
        let kind = kind(&self.wrong);
        let same = |ops: &[Op]| wrong_with(&self.machine, ops).is_some_and(|(_, wrong)| self::kind(&wrong) == kind);
        let ops = shrink(&self.ops, tries, same);
        let wrong = wrong_with(&self.machine, &ops).map_or_else(|| self.wrong.clone(), |(_, wrong)| wrong);
        Self { ops, wrong, ..self.clone() }
    }

    /// It as a scenario. `nop` stands where the machine is saved and loaded.
    #[must_use]
    pub fn scenario(&self) -> Scenario {
        let title = format!("World {} of seed {}", self.world, self.seed);
        let header = [HeaderLine::Title(title), HeaderLine::Machine(self.machine.clone())].map(Item::Header);
        let steps = self.ops.iter().map(|op| Item::Step(Step { op: op.clone(), wanted: Wanted::Any }));
        Scenario::of(header.into_iter().chain([Item::Blank]).chain(steps))
    }
}

/// What is wrong without the numbers.
fn kind(wrong: &str) -> String {
    wrong
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .filter(|c| c.is_alphabetic() || c.is_whitespace())
        .take(60)
        .collect()
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, machine, steps, digest, .. } = self;
        write!(f, "world {number}: {steps} steps, {digest:016x}, {}", HeaderLine::Machine(machine.clone()))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}, world {}: {}", self.seed, self.world, self.wrong)?;
        write!(f, "{}", self.scenario())
    }
}
