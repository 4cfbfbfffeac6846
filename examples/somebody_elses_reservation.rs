//! Free pages that are not for you: a VMM's test of the case that `free_hugepages` hides.
//!
//! A database has mapped its buffer and not touched it yet. The pool looks free; a guest started with `MAP_NORESERVE` starts, runs,
//! and dies on its first touch. The code under test looks at what is *available* instead.

use hugefolio::{Admin, Bytes, Calls, HugeCount, HugeSize, Machine, MapCall, MapFlags, NodeId, Pid, Share, Vaddr};

const PAGE: HugeSize = HugeSize::M2;

/// How many huge pages a guest could still get on this host: the code under test.
fn pages_for_guests(machine: &mut Machine) -> u64 {
    let mut number = |file: &str| {
        let text = machine.read_file(&format!("/sys/kernel/mm/hugepages/hugepages-2048kB/{file}"));
        text.ok().and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    number("free_hugepages").saturating_sub(number("resv_hugepages"))
}

/// A host whose database has mapped three of four pages and touched none.
fn host() -> (Machine, Pid, Vaddr, Pid) {
    let mut machine =
        Machine::builder().node(NodeId::new(0), Bytes::gib(1)).cmdline("hugepages=4").build().expect("a host");
    let database = machine.spawn();
    let three = PAGE.total(HugeCount::new(3));
    let buffer = machine.mmap(database, &MapCall::anonymous(three, Share::Private)).expect("three of four");
    let vmm = machine.spawn();
    (machine, database, buffer, vmm)
}

fn start_guest(machine: &mut Machine, vmm: Pid, pages: u64) -> Vaddr {
    let call = MapCall::anonymous(PAGE.total(HugeCount::new(pages)), Share::Private);
    machine.mmap(vmm, &call.with_flags(MapFlags::NORESERVE)).expect("without a promise a mapping always succeeds")
}

fn main() {
    let (mut machine, _, _, vmm) = host();
    println!("for guests: {} pages", pages_for_guests(&mut machine));
    let memory = start_guest(&mut machine, vmm, 2);
    for page in 0..2 {
        let addr = memory + PAGE.total(HugeCount::new(page));
        println!("touch {page}: {:?}", machine.write_byte(vmm, addr, 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hugefolio::errno::{Signal, signal};
    use hugefolio::{Blame, CallError, Ledger};

    #[test]
    fn free_pages_that_are_reserved_are_not_offered() {
        let (mut machine, ..) = host();
        assert_eq!(machine.pool(PAGE).unwrap().free, HugeCount::new(4));
        assert_eq!(pages_for_guests(&mut machine), 1);
    }

    #[test]
    fn a_guest_without_promise_dies_at_the_second_touch_and_the_database_never_does() {
        let (mut machine, database, buffer, vmm) = host();
        let memory = start_guest(&mut machine, vmm, 2);
        machine.write_byte(vmm, memory, 1).unwrap();
        let refused = machine.write_byte(vmm, memory + PAGE.bytes(), 1).unwrap_err();
        let CallError::Failed(fault) = refused else { panic!("{refused}") };
        assert_eq!((signal(&fault), fault.ledger()), (Signal::Sigbus(2), Some(Ledger::Pool)));
        for page in 0..3 {
            machine.write_byte(database, buffer + PAGE.total(HugeCount::new(page)), 1).unwrap();
        }
    }

    #[test]
    fn the_database_s_exit_makes_room() {
        let (mut machine, database, _, vmm) = host();
        machine.exit(database);
        assert_eq!(pages_for_guests(&mut machine), 4);
        let memory = start_guest(&mut machine, vmm, 4);
        for page in 0..4 {
            machine.write_byte(vmm, memory + PAGE.total(HugeCount::new(page)), 1).unwrap();
        }
    }
}
