//! Ranked locks.
//!
//! Every lock knows its rank; debug builds keep what each thread holds and panic on the first inversion, whether or not a
//! second thread is there to deadlock with.

#[cfg(not(shuttle))]
use parking_lot::{Mutex as RawMutex, RwLock as RawRwLock};
#[cfg(shuttle)]
use shuttle::sync::atomic::AtomicU64;
#[cfg(shuttle)]
use shuttle::sync::{Mutex as RawMutex, RwLock as RawRwLock};

use core::cell::RefCell;
#[cfg(not(shuttle))]
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering;

use crate::{Rank, RankStack};

#[cfg(not(shuttle))]
std::thread_local!(static HELD: RefCell<RankStack> = const { RefCell::new(RankStack::new()) });
#[cfg(shuttle)]
shuttle::thread_local!(static HELD: RefCell<RankStack> = RefCell::new(RankStack::new()));

/// One entry of this thread's rank stack.
struct Entered;

impl Entered {
    fn new(rank: Rank) -> Self {
        if cfg!(debug_assertions) {
            HELD.with(|held| held.borrow_mut().enter(rank));
        }
        Self
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if cfg!(debug_assertions) {
            HELD.with(|held| held.borrow_mut().leave());
        }
    }
}

/// State behind a lock: a section. It begins a pair of cache lines of its own, so that who works in one section does not slow down who works in
/// the next one in memory. The lock comes first there, and the beginning of the state is next to it.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct Section<T> {
    state: RawMutex<T>,
    rank: Rank,
}

impl<T> Section<T> {
    /// Puts `state` behind a lock of that rank.
    pub fn new(rank: Rank, state: T) -> Self {
        Self { state: RawMutex::new(state), rank }
    }

    /// Runs `f` on the state, alone.
    pub fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        let _entered = Entered::new(self.rank);
        #[cfg(not(shuttle))]
        let mut state = self.state.lock();
        #[cfg(shuttle)]
        let mut state = self.state.lock().expect("a panic ends a shuttle run");
        f(&mut state)
    }

    /// The state, by the only owner.
    pub fn into_inner(self) -> T {
        #[cfg(not(shuttle))]
        return self.state.into_inner();
        #[cfg(shuttle)]
        self.state.into_inner().expect("a panic ends a shuttle run")
    }
}

/// A number of a [`Section`] that may be read without entering it, and may then be a moment old. Its cache lines are of no interest to anybody while
/// the number stays as it is.
#[derive(Debug)]
#[repr(align(128))]
pub struct Glance(AtomicU64);

impl Glance {
    /// Shows `number`.
    pub fn new(number: u64) -> Self {
        Self(AtomicU64::new(number))
    }

    /// Shows `number` from now on. For who is in the section that it is of.
    pub fn show(&self, number: u64) {
        if self.0.load(Ordering::Relaxed) != number {
            self.0.store(number, Ordering::Release);
        }
    }

    /// What it shows.
    pub fn number(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// Exclusion that guards no data: a scope. Many objects share a table of these by hash, so a thread must never hold two of
/// one rank. It has a pair of cache lines of its own, as a [`Section`] has.
#[derive(Debug)]
#[repr(align(128))]
pub struct Gate {
    lock: RawRwLock<()>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { lock: RawRwLock::new(()) }
    }
}

impl Gate {
    /// Runs `f` together with other readers.
    pub fn read<R>(&self, rank: Rank, f: impl FnOnce() -> R) -> R {
        let _entered = Entered::new(rank);
        #[cfg(not(shuttle))]
        let _held = self.lock.read();
        #[cfg(shuttle)]
        let _held = self.lock.read().expect("a panic ends a shuttle run");
        f()
    }

    /// Runs `f` alone.
    pub fn write<R>(&self, rank: Rank, f: impl FnOnce() -> R) -> R {
        let _entered = Entered::new(rank);
        #[cfg(not(shuttle))]
        let _held = self.lock.write();
        #[cfg(shuttle)]
        let _held = self.lock.write().expect("a panic ends a shuttle run");
        f()
    }
}
