//! A trial for allocators of frames: threads take and give back blocks of all orders, their own and each other's, while every frame
//! has a record of who has it.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;

use sync::Rank;
use sync::locks::Section;
use units::{Order, PageCount, Pfn};

use crate::frames::Frames;

/// An allocator that several threads can use, each through a handle of its own.
pub trait SharedFrames: Sync {
    /// What one thread uses.
    type Handle<'a>: Frames
    where
        Self: 'a;

    /// The handle of thread `n`.
    fn handle(&self, n: u8) -> Self::Handle<'_>;
}

/// What is tried.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// Frames that the allocator has, from frame 0 on.
    pub frames: PageCount,
    /// Threads.
    pub threads: u8,
    /// Blocks that are taken, by all threads together.
    pub takes: u64,
    /// The largest order that is asked for.
    pub largest: Order,
    /// Where the choices begin.
    pub seed: u64,
}

/// A frame that two had at once, or that was another's when it was given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandedOutTwice {
    /// The frame.
    pub pfn: Pfn,
    /// Who got it.
    pub by: u8,
    /// Who has it; nobody where the block was not theirs any more.
    pub owner: Option<u8>,
}

impl fmt::Display for HandedOutTwice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.owner {
            Some(owner) => write!(f, "thread {} got {}, which thread {owner} has", self.by, self.pfn),
            None => write!(f, "thread {} gave {} back, which nobody has", self.by, self.pfn),
        }
    }
}

impl std::error::Error for HandedOutTwice {}

/// A block and who took it.
type Taken = (Pfn, Order, u8);

const NOBODY: u8 = 0;
/// Blocks that one thread has at most.
const MOST: usize = 64;

struct Records {
    owners: Vec<AtomicU8>,
    /// Blocks that one thread left for another to give back.
    left: Section<Vec<Taken>>,
}

impl Records {
    /// Changes the owner of every frame of a block.
    fn pass(&self, (pfn, order, by): Taken, from: u8, to: u8) -> Result<(), HandedOutTwice> {
        let frames = (0..order.pages().get()).map(|n| pfn.offset(PageCount::new(n)));
        for pfn in frames {
            let record = usize::try_from(pfn.get()).ok().and_then(|at| self.owners.get(at));
            let owner =
                record.map_or(Err(NOBODY), |r| r.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire));
            if let Err(owner) = owner {
                return Err(HandedOutTwice { pfn, by, owner: owner.checked_sub(1) });
            }
        }
        Ok(())
    }
}

/// Runs the trial; how many blocks were handed out. In the end all of them are given back.
///
/// # Errors
/// The first frame found that two had.
pub fn torture<S: SharedFrames>(frames: &S, trial: Trial) -> Result<u64, HandedOutTwice> {
    let count = usize::try_from(trial.frames.get()).unwrap_or(0);
    let records = Records {
        owners: (0..count).map(|_| AtomicU8::new(NOBODY)).collect(),
        left: Section::new(Rank(0, 0), Vec::new()),
    };
    let results: Vec<Result<u64, HandedOutTwice>> = thread::scope(|scope| {
        let run = |n| (n, &records);
        let threads: Vec<_> = (0..trial.threads)
            .map(run)
            .map(|(n, records)| scope.spawn(move || one_thread(&mut frames.handle(n), records, trial, n)))
            .collect();
        threads.into_iter().map(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    let taken = results.into_iter().sum::<Result<u64, _>>()?;
    let mut handle = frames.handle(0);
    for block in records.left.with(std::mem::take) {
        give(&mut handle, &records, block)?;
    }
    Ok(taken)
}

fn give<F: Frames>(frames: &mut F, records: &Records, block: Taken) -> Result<(), HandedOutTwice> {
    records.pass(block, block.2 + 1, NOBODY)?;
    frames.free(block.0, block.1);
    Ok(())
}

fn one_thread<F: Frames>(frames: &mut F, records: &Records, trial: Trial, n: u8) -> Result<u64, HandedOutTwice> {
    let mut state = trial.seed ^ (u64::from(n) << 32);
    let mut draw = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let (mut mine, mut taken): (Vec<Taken>, u64) = (Vec::new(), 0);
    for _ in 0..trial.takes / u64::from(trial.threads) {
        // Every order is half as frequent as the one below it.
        let order = Order::new(u8::try_from(draw(1 << 20).trailing_zeros()).unwrap_or(0).min(trial.largest.get()));
        if let Some(pfn) = frames.alloc(order) {
            let block = (pfn, order, n);
            records.pass(block, NOBODY, n + 1)?;
            mine.push(block);
            taken += 1;
        }
        let full = mine.len() > MOST;
        if full || draw(3) > 0 && !mine.is_empty() {
            let at = usize::try_from(draw(mine.len() as u64)).unwrap_or(0);
            let block = mine.swap_remove(at);
            if draw(8) > 0 { give(frames, records, block)? } else { records.left.with(|left| left.push(block)) }
        }
        if draw(8) == 0 {
            let left = records.left.with(Vec::pop);
            left.map_or(Ok(()), |block| give(frames, records, block))?;
        }
    }
    mine.into_iter().try_for_each(|block| give(frames, records, block))?;
    Ok(taken)
}
