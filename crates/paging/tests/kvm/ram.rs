//! The memory of a guest. All `unsafe` of this test is here.
#![expect(unsafe_code, reason = "a guest's memory is mapped here and handed to the kernel")]

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, Ordering};

use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// Memory from guest-physical address 0 on, of which only what is used exists.
pub(crate) struct Ram {
    start: *mut c_void,
    len: usize,
}

impl Ram {
    pub(crate) fn new(len: usize) -> rustix::io::Result<Self> {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new mapping at an address that the kernel chooses overlaps nothing that anybody uses.
        let start = unsafe { mmap_anonymous(null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, flags) }?;
        let ram = Self { start, len };
        // SAFETY: the range is the mapping just made; huge pages or not, its contents are the same.
        unsafe { madvise(start, len, Advice::LinuxNoHugepage) }?;
        Ok(ram)
    }

    /// Gives the memory to a machine. It must be dropped after the machine.
    pub(crate) fn register(&self, vm: &VmFd) -> Result<(), kvm_ioctls::Error> {
        let region = kvm_userspace_memory_region {
            slot: 0,
            flags: 0,
            guest_phys_addr: 0,
            memory_size: self.len as u64,
            userspace_addr: self.start as u64,
        };
        // SAFETY: the region is our mapping, all of it, and it lives longer than `vm`: `Guest` drops the machine first. Everybody here
        // reads and writes it by atomic words alone, so the guest may do so at any time.
        unsafe { vm.set_user_memory_region(region) }
    }

    fn word(&self, at: u64) -> &AtomicU64 {
        let at = usize::try_from(at).expect("an address of the guest");
        assert!(at.is_multiple_of(8) && at + 8 <= self.len, "{at:#x} is no word of the guest's memory");
        // SAFETY: the word is inside of the mapping and aligned, as was just looked; mappings are zeroed, and every value is a word. It lives as
        // long as `self`, and whoever shares it, this program or the guest, uses it by whole words.
        unsafe { AtomicU64::from_ptr(self.start.cast::<u8>().add(at).cast()) }
    }

    pub(crate) fn load(&self, at: u64) -> u64 {
        self.word(at).load(Ordering::Acquire)
    }

    pub(crate) fn store(&self, at: u64, value: u64) {
        self.word(at).store(value, Ordering::Release);
    }

    pub(crate) fn compare_exchange(&self, at: u64, old: u64, new: u64) -> Result<(), u64> {
        self.word(at).compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).map(|_| ())
    }

    /// Everything from `from` on is zero again, and takes no memory.
    pub(crate) fn forget(&self, from: u64) {
        let from = usize::try_from(from).expect("an address of the guest");
        assert!(from.is_multiple_of(4096) && from <= self.len);
        // SAFETY: the range is the end of our mapping. No reference into it is held across this call, and the guest does not run.
        let forgotten =
            unsafe { madvise(self.start.cast::<u8>().add(from).cast(), self.len - from, Advice::LinuxDontNeed) };
        forgotten.expect("memory of our own can be given back");
    }
}

impl Drop for Ram {
    fn drop(&mut self) {
        // SAFETY: this is the mapping that `new` made, and no reference into it outlives `self`.
        let gone = unsafe { munmap(self.start, self.len) };
        debug_assert!(gone.is_ok());
    }
}
