//! A VMM that wants huge pages and falls back when the pool is short: its test suite, without a kernel.
//!
//! `back_guest` is the code under test. It asks for everything at once, so that a short pool shows at `mmap` and never later as
//! a SIGBUS in a running guest; if the pool is short it takes what there is and says how much.

use hugefolio::errno::ToErrno;
use hugefolio::{Blame, Bytes, Calls, HugeCount, HugeSize, Machine, MapCall, NodeId, Pid, Share, Vaddr};

const PAGE: HugeSize = HugeSize::M2;

/// Guest memory, and how much of it is huge.
#[derive(Debug, PartialEq)]
struct Guest {
    huge: Option<Vaddr>,
    huge_bytes: Bytes,
    small_bytes: Bytes,
}

/// Backs a guest of `size` bytes with as many huge pages as the pool promises.
fn back_guest(machine: &mut Machine, vmm: Pid, size: Bytes) -> Guest {
    let mut huge_bytes = size;
    while !huge_bytes.is_zero() {
        match machine.mmap(vmm, &MapCall::anonymous(huge_bytes, Share::Private)) {
            Ok(huge) => return Guest { huge: Some(huge), huge_bytes, small_bytes: size - huge_bytes },
            Err(error) => {
                println!("{huge_bytes}: {} from the ledger {:?}: {error}", error.errno(), error.ledger());
                huge_bytes -= PAGE.bytes();
            }
        }
    }
    Guest { huge: None, huge_bytes, small_bytes: size }
}

fn host(pool: u64) -> (Machine, Pid) {
    let mut machine = Machine::builder()
        .node(NodeId::new(0), Bytes::gib(1))
        .cmdline(&format!("hugepages={pool}"))
        .build()
        .expect("one node of 1 GiB can be");
    let vmm = machine.spawn();
    (machine, vmm)
}

fn bytes(pages: u64) -> Bytes {
    PAGE.total(HugeCount::new(pages))
}

fn main() {
    let (mut machine, vmm) = host(3);
    println!("{:?}", back_guest(&mut machine, vmm, bytes(4)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use hugefolio::errno::Errno;
    use hugefolio::{Admin, Ledger};

    #[test]
    fn a_pool_that_is_large_enough_backs_the_whole_guest() {
        let (mut machine, vmm) = host(4);
        let guest = back_guest(&mut machine, vmm, bytes(4));
        assert_eq!((guest.huge_bytes, guest.small_bytes), (bytes(4), Bytes::ZERO));
    }

    #[test]
    fn a_short_pool_is_taken_whole_and_every_page_of_it_can_be_touched() {
        let (mut machine, vmm) = host(3);
        let guest = back_guest(&mut machine, vmm, bytes(4));
        assert_eq!((guest.huge_bytes, guest.small_bytes), (bytes(3), bytes(1)));
        for page in 0..3 {
            let addr = guest.huge.unwrap() + bytes(page);
            machine.write_byte(vmm, addr, 1).expect("what was promised can be touched");
        }
    }

    #[test]
    fn an_empty_pool_backs_nothing_and_says_so() {
        let (mut machine, vmm) = host(0);
        let refused = machine.mmap(vmm, &MapCall::anonymous(bytes(1), Share::Private)).unwrap_err();
        assert_eq!((refused.errno(), refused.ledger()), (Errno::ENOMEM, Some(Ledger::Reservation)));
        assert_eq!(back_guest(&mut machine, vmm, bytes(2)).huge, None);
    }

    #[test]
    fn overcommit_backs_what_the_pool_lacks_until_its_cap() {
        let (mut machine, vmm) = host(1);
        machine.set_nr_overcommit(PAGE, HugeCount::new(2)).unwrap();
        assert_eq!(back_guest(&mut machine, vmm, bytes(4)).huge_bytes, bytes(3));
        let refused = machine.mmap(vmm, &MapCall::anonymous(bytes(1), Share::Private)).unwrap_err();
        assert_eq!(refused.ledger(), Some(Ledger::SurplusCap));
    }
}
