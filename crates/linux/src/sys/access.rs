//! One byte of memory that may not be there.
//!
//! A load or store is the first instruction of a function of its own. If it faults, the signal handler knows it by its address, puts
//! signal and code into the register of the result and lets the function end: nothing is jumped over, and no state is shared.

#![expect(
    unsafe_code,
    reason = "memory is used on purpose where a page may be missing; the handler that catches it is set here"
)]

use std::arch::naked_asm;

use libc::{c_int, c_void, siginfo_t, ucontext_t};
use rustix::io::Errno;

use super::memory::Reach;

/// Set in results of accesses that faulted.
const FAULTED: u64 = 1 << 63;

/// A fault: the signal and its code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) signal: c_int,
    pub(crate) code: i32,
}

/// # Safety
/// The address holds no memory of the program itself, and [`catch_faults`] has been called.
#[unsafe(naked)]
unsafe extern "sysv64" fn load_at(address: u64) -> u64 {
    naked_asm!("movzx eax, byte ptr [rdi]", "ret")
}

/// # Safety
/// As [`load_at`].
#[unsafe(naked)]
unsafe extern "sysv64" fn store_at(address: u64, byte: u8) -> u64 {
    naked_asm!("mov byte ptr [rdi], sil", "xor eax, eax", "ret")
}

/// Where an access goes on that faulted; the result is set already.
#[unsafe(naked)]
extern "sysv64" fn after_fault() {
    naked_asm!("ret")
}

fn result(raw: u64) -> Result<u8, Fault> {
    let [low, high] = [raw & 0xffff_ffff, (raw & !FAULTED) >> 32];
    if raw & FAULTED == 0 {
        return Ok(low.to_le_bytes()[0]);
    }
    let code = u32::try_from(low).unwrap_or(0).cast_signed();
    Err(Fault { signal: c_int::try_from(high).unwrap_or(0), code })
}

/// Loads a byte.
pub(crate) fn load(reach: Reach) -> Result<u8, Fault> {
    // SAFETY: a reach holds no memory of the program, and a fault is caught.
    result(unsafe { load_at(reach.start()) })
}

/// Stores a byte.
pub(crate) fn store(reach: Reach, byte: u8) -> Result<(), Fault> {
    // SAFETY: a reach holds no memory of the program, and a fault is caught.
    result(unsafe { store_at(reach.start(), byte) }).map(drop)
}

extern "C" fn on_fault(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel hands valid pointers to a handler set with SA_SIGINFO, and both are ours until it ends.
    let (info, context) = unsafe { (&*info, &mut *context.cast::<ucontext_t>()) };
    let registers = &mut context.uc_mcontext.gregs;
    let address = |function: usize| i64::try_from(function).unwrap_or(0);
    let at = registers[libc::REG_RIP as usize];
    if at != address(load_at as *const () as usize) && at != address(store_at as *const () as usize) {
        // Memory broke because this process asked for it; the next access will tell.
        if signal == libc::SIGBUS && matches!(info.si_code, libc::BUS_MCEERR_AR | libc::BUS_MCEERR_AO) {
            return;
        }
        // SAFETY: a fault of the program itself; the process ends at once.
        unsafe { libc::_exit(120) }
    }
    let told = FAULTED | (u64::from(signal.unsigned_abs()) << 32) | u64::from(info.si_code.cast_unsigned());
    registers[libc::REG_RAX as usize] = told.cast_signed();
    registers[libc::REG_RIP as usize] = address(after_fault as *const () as usize);
}

/// From now on faults of [`load`] and [`store`] are answers; any other fault ends the process.
pub(crate) fn catch_faults() -> Result<(), Errno> {
    for signal in [libc::SIGBUS, libc::SIGSEGV] {
        // SAFETY: all zeros are a valid action without mask; the handler has the signature that SA_SIGINFO asks for and calls nothing
        // but `_exit`.
        let set = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_fault as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut())
        };
        super::checked(i64::from(set))?;
    }
    Ok(())
}
