//! Values that change through a shared reference, one whole value at a time.
//!
//! A load sees everything that was written before the store or exchange whose value it sees.

#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering};
#[cfg(all(shuttle, feature = "locks"))]
use shuttle::sync::atomic::{AtomicU64, Ordering};

#[cfg(not(any(loom, all(shuttle, feature = "locks"))))]
use core::sync::atomic::{AtomicU64, Ordering};

/// A word of 64 bits.
#[derive(Debug)]
pub struct Word64(AtomicU64);

impl Word64 {
    /// A word.
    #[must_use]
    pub fn new(value: u64) -> Self {
        Self(AtomicU64::new(value))
    }

    /// Reads it, once and whole.
    #[inline]
    #[must_use]
    pub fn load(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Writes it.
    #[inline]
    pub fn store(&self, value: u64) {
        self.0.store(value, Ordering::Release);
    }

    /// Writes `new` if it is `old`.
    ///
    /// # Errors
    /// What it is instead.
    #[inline]
    pub fn compare_exchange(&self, old: u64, new: u64) -> Result<(), u64> {
        self.0.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).map(|_| ())
    }

    /// Adds, without a look at overflow.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::AcqRel);
    }

    /// Takes away, without a look at overflow.
    #[inline]
    pub fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::AcqRel);
    }
}
