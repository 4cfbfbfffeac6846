//! Calls on where pages lie, which the C library does not have.

#![expect(unsafe_code, reason = "the calls have no safe wrapper; what they point to is ours")]

use rustix::io::Errno;

use super::checked;
use super::memory::Reach;

/// `set_mempolicy_home_node`.
const SET_HOME_NODE: i64 = 450;
/// Bits of a mask of nodes, and one more, which the kernel takes off.
const MOST_NODES: u64 = 65;

/// Says where pages of this process are to lie.
pub(crate) fn set_policy(mode: i32, nodes: u64) -> Result<u64, Errno> {
    // SAFETY: the mask has as many bits as it is said to have.
    checked(unsafe { libc::syscall(libc::SYS_set_mempolicy, i64::from(mode), &raw const nodes, MOST_NODES) })
}

/// Says where pages of a range are to lie.
pub(crate) fn bind(reach: Reach, mode: i32, nodes: u64, flags: u32) -> Result<u64, Errno> {
    let (start, len) = (reach.start(), reach.len() as u64);
    // SAFETY: as for `set_policy`; nothing of the program lies in a reach.
    let call = unsafe {
        libc::syscall(libc::SYS_mbind, start, len, i64::from(mode), &raw const nodes, MOST_NODES, u64::from(flags))
    };
    checked(call)
}

/// Moves all pages of this process from nodes to nodes; how many stay.
pub(crate) fn migrate(from: u64, to: u64) -> Result<u64, Errno> {
    // SAFETY: the masks have as many bits as they are said to have.
    checked(unsafe { libc::syscall(libc::SYS_migrate_pages, 0, MOST_NODES, &raw const from, &raw const to) })
}

/// Says where policies of a range begin to look.
pub(crate) fn set_home(reach: Reach, node: u32) -> Result<u64, Errno> {
    let (start, len) = (reach.start(), reach.len() as u64);
    // SAFETY: the call changes no memory.
    checked(unsafe { libc::syscall(SET_HOME_NODE, start, len, u64::from(node), 0u64) })
}

/// Moves the page at the start of a range, or with no node asks where it is. The status of the page: its node, or what is wrong with it.
pub(crate) fn move_page(reach: Reach, node: Option<u32>, flags: u32) -> Result<i32, Errno> {
    let pages = [reach.start() as *const libc::c_void];
    let nodes = node.map(|node| [i32::try_from(node).unwrap_or(i32::MAX)]);
    let target = nodes.as_ref().map_or(std::ptr::null(), |nodes| nodes.as_ptr());
    // The kernel leaves the status of a page alone that it could not move.
    let mut status = [-libc::EAGAIN];
    // SAFETY: each list has the one entry that it is said to have.
    let call = unsafe {
        libc::syscall(libc::SYS_move_pages, 0, 1u64, pages.as_ptr(), target, status.as_mut_ptr(), i64::from(flags))
    };
    checked(call).map(|_| status[0])
}

/// Runs on these processors alone from now on.
pub(crate) fn run_on(processors: &[usize]) -> Result<u64, Errno> {
    // SAFETY: all zeros are the empty set, and processors beyond it are left out.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        for &processor in processors.iter().filter(|&&processor| processor < libc::CPU_SETSIZE as usize) {
            libc::CPU_SET(processor, &mut set);
        }
        set
    };
    // SAFETY: the set is as large as it is said to be.
    checked(i64::from(unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) }))
}
