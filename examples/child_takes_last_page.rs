//! A VMM that forks (a snapshot, a device process) while its guest memory is private: who may still write, and who dies?
//!
//! Only the process that mapped the memory has promises. Its child shares every page until somebody writes; the child's copy comes from
//! what nobody has reserved, and the parent's copy comes first: it takes the page from the child rather than fail.

use hugefolio::{Bytes, Calls, HugeCount, HugeSize, Machine, MapCall, NodeId, Pid, Share, Vaddr};

const PAGE: HugeSize = HugeSize::M2;

/// A guest of two pages, written, in a pool of `pool` pages; and a child of its VMM.
fn forked(pool: u64) -> (Machine, Pid, Pid, Vaddr) {
    let mut machine = Machine::builder()
        .node(NodeId::new(0), Bytes::gib(1))
        .cmdline(&format!("hugepages={pool}"))
        .build()
        .expect("a host");
    let vmm = machine.spawn();
    let two = PAGE.total(HugeCount::new(2));
    let memory = machine.mmap(vmm, &MapCall::anonymous(two, Share::Private)).expect("two pages");
    for page in 0..2 {
        machine.write_byte(vmm, memory + PAGE.total(HugeCount::new(page)), 10).expect("promised");
    }
    let child = machine.fork(vmm).expect("a child");
    (machine, vmm, child, memory)
}

fn main() {
    let (mut machine, vmm, child, memory) = forked(3);
    println!("child writes the first page:  {:?}", machine.write_byte(child, memory, 20));
    println!("child writes the second page: {:?}", machine.write_byte(child, memory + PAGE.bytes(), 20));
    println!("parent writes it:             {:?}", machine.write_byte(vmm, memory + PAGE.bytes(), 30));
    println!("child reads it:               {:?}", machine.read_byte(child, memory + PAGE.bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use hugefolio::{Admin, Blame, CallError, FaultError, Ledger};

    #[test]
    fn a_child_that_takes_the_last_page_keeps_its_copy() {
        let (mut machine, vmm, child, memory) = forked(3);
        machine.write_byte(child, memory, 20).unwrap();
        assert_eq!((machine.read_byte(child, memory), machine.read_byte(vmm, memory)), (Ok(20), Ok(10)));
        assert_eq!(machine.pool(PAGE).unwrap().free, HugeCount::ZERO);
    }

    #[test]
    fn without_a_page_left_the_child_cannot_write_but_still_reads() {
        let (mut machine, _, child, memory) = forked(2);
        let refused = machine.write_byte(child, memory, 20).unwrap_err();
        assert_eq!(refused.ledger(), Some(Ledger::Pool));
        assert_eq!(machine.read_byte(child, memory), Ok(10));
    }

    #[test]
    fn the_parent_always_writes_and_the_child_loses_the_page_for_good() {
        let (mut machine, vmm, child, memory) = forked(2);
        machine.write_byte(vmm, memory, 30).expect("the owner never fails");
        assert_eq!(machine.read_byte(child, memory), Err(CallError::Failed(FaultError::Stolen)));
        machine.write_file("/proc/sys/vm/nr_hugepages", "8").unwrap();
        assert_eq!(
            machine.read_byte(child, memory),
            Err(CallError::Failed(FaultError::Stolen)),
            "a larger pool does not help"
        );
        assert_eq!(machine.read_byte(child, memory + PAGE.bytes()), Ok(10), "the page it still maps stays readable");
    }

    #[test]
    fn after_the_child_s_exit_the_parent_writes_in_place() {
        let (mut machine, vmm, child, memory) = forked(2);
        machine.exit(child);
        machine.write_byte(vmm, memory, 30).unwrap();
        let pool = machine.pool(PAGE).unwrap();
        assert_eq!((pool.nr, pool.free, pool.resv), (HugeCount::new(2), HugeCount::ZERO, HugeCount::ZERO));
    }
}
