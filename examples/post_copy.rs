//! Post-copy migration of a guest in pages of 1 GiB: how many bytes must a fault wait for?
//!
//! Two machines, the guest's memory on both in a file of huge pages. The guest runs on the target from the first moment; what it touches and is not there
//! yet is fetched from the source, written through a second mapping of the file, and mapped with `UFFDIO_CONTINUE`. With huge pages mapped
//! as a whole, the guest waits for 1 GiB; in pieces, for 4 KiB. Meanwhile the rest streams in, and each page that is complete becomes one entry.

use std::collections::BTreeSet;

use hugefolio::{
    Advice, Bytes, CallError, Calls, FaultError, Fd, FillError, FillRefusal, HugeSize, Machine, MapCall, MemfdFlags,
    NodeId, Pid, Share, UffdCallError, UffdModes, Vaddr,
};

const PAGE: HugeSize = HugeSize::G1;
const BASE: Bytes = Bytes::kib(4);
/// How much the background stream sends at once.
const CHUNK: Bytes = Bytes::mib(256);

/// The memory of a guest on one host.
struct Host {
    machine: Machine,
    vmm: Pid,
    /// What the guest uses.
    guest: Vaddr,
    /// The same memory for whoever writes what arrives.
    alias: Vaddr,
}

fn host() -> Result<Host, Box<dyn std::error::Error>> {
    let mut machine =
        Machine::builder().node(NodeId::new(0), Bytes::gib(4)).cmdline("hugepagesz=1G hugepages=1").build()?;
    let vmm = machine.spawn();
    let file = machine.memfd(vmm, Some(PAGE), MemfdFlags::empty())?;
    machine.ftruncate(vmm, file, PAGE.bytes())?;
    let guest = machine.mmap(vmm, &MapCall::file(file, PAGE.bytes(), Share::Shared))?;
    let alias = machine.mmap(vmm, &MapCall::file(file, PAGE.bytes(), Share::Shared))?;
    Ok(Host { machine, vmm, guest, alias })
}

/// A guest that arrives: which parts are there, and what its faults cost.
struct Arrival {
    target: Host,
    uffd: Fd,
    there: BTreeSet<u64>,
    /// Bytes that the guest waited for.
    waited: Vec<Bytes>,
}

impl Arrival {
    fn begin() -> Result<Self, Box<dyn std::error::Error>> {
        let mut target = host()?;
        let Host { machine, vmm, guest, alias } = &mut target;
        // The page exists from the first byte that is written through the alias; the guest's mapping is told of each part.
        machine.write_byte(*vmm, *alias, 0)?;
        machine.madvise(*vmm, *guest, PAGE.bytes(), Advice::Split)?;
        let uffd = machine.userfaultfd(*vmm).ok_or("the process is alive")?;
        machine.uffd_register(*vmm, uffd, *guest, PAGE.bytes(), UffdModes::MINOR)?;
        Ok(Self { target, uffd, there: BTreeSet::new(), waited: Vec::new() })
    }

    /// Fetches a part from the source, and lets the guest have it.
    fn fetch(&mut self, source: &mut Host, offset: Bytes, length: Bytes) -> Result<(), Box<dyn std::error::Error>> {
        let parts = offset.get() / BASE.get()..(offset + length).get() / BASE.get();
        for part in parts.filter(|part| !self.there.contains(part)).collect::<Vec<_>>() {
            let at = Bytes::new(part * BASE.get());
            let byte = source.machine.read_byte(source.vmm, source.guest + at)?;
            if byte != 0 {
                self.target.machine.write_byte(self.target.vmm, self.target.alias + at, byte)?;
            }
            self.there.insert(part);
        }
        let mut done = Bytes::ZERO;
        while done < length {
            let start = self.target.guest + offset + done;
            match self.target.machine.uffd_continue(self.target.vmm, self.uffd, start, length - done) {
                Ok(()) => break,
                // A part that the guest asked for before is mapped, and no obstacle.
                Err(CallError::Failed(UffdCallError::Failed(FillError {
                    filled,
                    refusal: FillRefusal::Exists(_),
                }))) => {
                    done += filled + BASE;
                }
                Err(other) => return Err(other.into()),
            }
        }
        Ok(())
    }

    /// The guest reads a byte; if it is not there, it waits for as much as can be mapped by itself.
    fn read(&mut self, source: &mut Host, offset: Bytes) -> Result<u8, Box<dyn std::error::Error>> {
        loop {
            match self.target.machine.read_byte(self.target.vmm, self.target.guest + offset) {
                Ok(byte) => return Ok(byte),
                Err(CallError::Failed(FaultError::UserfaultMinor { addr })) => {
                    self.fetch(source, addr.since(self.target.guest), BASE)?;
                    self.waited.push(BASE);
                }
                Err(other) => return Err(other.into()),
            }
        }
    }

    /// Everything is there: one entry again.
    fn finish(&mut self) -> Result<(), Box<dyn std::error::Error>> {
        let Host { machine, vmm, guest, .. } = &mut self.target;
        machine.madvise(*vmm, *guest, PAGE.bytes(), Advice::Collapse)?;
        machine.uffd_unregister(*vmm, self.uffd, *guest, PAGE.bytes())?;
        Ok(())
    }
}

/// A guest with something written here and there, which touches that while it arrives.
fn migrate() -> Result<Arrival, Box<dyn std::error::Error>> {
    let mut source = host()?;
    let used: Vec<Bytes> =
        (0..8).map(|n: u64| Bytes::new((n * 37 + 5) % 256 * Bytes::mib(4).get() + n * 8192)).collect();
    for (n, &offset) in (1..).zip(&used) {
        source.machine.write_byte(source.vmm, source.guest + offset, n)?;
    }
    let mut arrival = Arrival::begin()?;
    let mut stream = Bytes::ZERO;
    for (n, &offset) in (1..).zip(&used) {
        assert_eq!(arrival.read(&mut source, offset)?, n, "the guest finds what it left");
        if n % 2 == 0 {
            arrival.fetch(&mut source, stream, CHUNK)?;
            stream += CHUNK;
        }
    }
    arrival.finish()?;
    Ok(arrival)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arrival = migrate()?;
    for (n, waited) in (1..).zip(&arrival.waited) {
        println!("fault {n}: waited for {waited}; with whole pages it would have been {}", PAGE.bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guest_waits_for_base_pages_and_ends_with_one_entry() {
        let mut arrival = migrate().unwrap();
        assert!((4..=8).contains(&arrival.waited.len()), "{:?}", arrival.waited);
        assert!(arrival.waited.iter().all(|&waited| waited == BASE));
        let Host { machine, vmm, .. } = &mut arrival.target;
        machine.validate().unwrap();
        assert_eq!(machine.hugetlb_pages(*vmm), Some(PAGE.bytes() + PAGE.bytes()), "both mappings, whole");
    }
}
