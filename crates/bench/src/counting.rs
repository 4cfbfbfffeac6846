//! An allocator that counts.

#![expect(unsafe_code, reason = "an allocator is an unsafe trait; this one hands every call on to the system's")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

/// The system's allocator; adds up the bytes that are asked of it, where a block that grows counts with its whole new size and
/// what is given back is not taken off, and those that are given back.
#[derive(Debug)]
pub struct Counting {
    bytes: AtomicU64,
    back: AtomicU64,
}

impl Counting {
    /// Nothing asked for yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: AtomicU64::new(0), back: AtomicU64::new(0) }
    }

    /// The bytes that are asked for while `f` runs, by any thread.
    pub fn bytes_asked_by<R>(&self, f: impl FnOnce() -> R) -> (R, u64) {
        let before = self.bytes.load(Ordering::Relaxed);
        let result = f();
        (result, self.bytes.load(Ordering::Relaxed) - before)
    }

    /// The bytes that `f` asks for and does not give back, by any thread.
    pub fn bytes_kept_by<R>(&self, f: impl FnOnce() -> R) -> (R, u64) {
        let before = self.back.load(Ordering::Relaxed);
        let (result, asked) = self.bytes_asked_by(f);
        (result, asked.saturating_sub(self.back.load(Ordering::Relaxed) - before))
    }

    fn count_back(&self, bytes: usize) {
        self.back.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn count(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Default for Counting {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: every method hands its arguments to the system's allocator as they came and its answer back as it is, so what
// holds of that allocator holds of this one. Counting allocates nothing and does not panic.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.count(layout.size());
        // SAFETY: the caller promises what the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.count(layout.size());
        // SAFETY: the caller promises what the system's allocator asks for.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        self.count(new_size);
        self.count_back(layout.size());
        // SAFETY: `block` came from the system's allocator with `layout`, as all blocks of this one do; the caller promises
        // the rest.
        unsafe { System.realloc(block, layout, new_size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        self.count_back(layout.size());
        // SAFETY: `block` came from the system's allocator with `layout`, as all blocks of this one do.
        unsafe { System.dealloc(block, layout) }
    }
}
