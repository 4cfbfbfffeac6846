//! A hypervisor that builds the page tables of its guest: no machine, no kernel, the guest's memory alone.
//!
//! The guest has 3 GiB of memory and devices below 4 GiB. Memory is mapped in the largest pages that fit, devices around the caches; then the kernel's
//! text is made read-only, for which one large page is divided.

use paging::arch::X86_64;
use paging::{Entry, Grain, Leaf, LeafFlags, Level, PageTables, Section, Slot, Table, TableMemory, Word};
use units::{Bytes, Pfn, Vaddr, VaddrRange};

/// The guest's memory as the hypervisor has it, with the frames that are for tables.
struct GuestMemory {
    bytes: Vec<u8>,
    tables: std::ops::Range<u64>,
    given_back: Vec<Table>,
}

impl GuestMemory {
    fn word(&mut self, slot: Slot) -> &mut [u8] {
        let at = Self::at(slot);
        &mut self.bytes[at..at + 8]
    }

    fn at(slot: Slot) -> usize {
        usize::try_from(slot.table.pfn().get() * 4096 + u64::from(slot.index) * 8).expect("tables lie in memory")
    }
}

impl TableMemory for GuestMemory {
    fn alloc_table(&mut self, _: Level) -> Option<Table> {
        let table = self.given_back.pop().or_else(|| self.tables.next().map(|frame| Table::new(Pfn::new(frame))))?;
        let at = Self::at(Slot { table, index: 0 });
        self.bytes[at..at + 4096].fill(0);
        Some(table)
    }

    fn free_table(&mut self, table: Table, _: Level) {
        self.given_back.push(table);
    }

    fn load(&self, slot: Slot) -> Word {
        let at = Self::at(slot);
        Word::new(u64::from_le_bytes(self.bytes[at..at + 8].try_into().expect("eight bytes")))
    }

    fn store(&mut self, slot: Slot, word: Word) {
        self.word(slot).copy_from_slice(&word.get().to_le_bytes());
    }

    fn compare_exchange(&mut self, slot: Slot, old: Word, new: Word) -> Result<(), Word> {
        // The guest does not run yet, so nobody else changes an entry.
        let now = self.load(slot);
        if now != old {
            return Err(now);
        }
        self.store(slot, new);
        Ok(())
    }

    fn section<R>(&mut self, _: Section, f: impl FnOnce(&mut Self) -> R) -> R {
        f(self)
    }
}

fn range(start: u64, end: u64) -> VaddrRange {
    VaddrRange::new(Vaddr::new(start), Vaddr::new(end))
}

/// The tables of a guest whose kernel's text is at 2 MiB, and how many entries they have.
fn build(memory: &mut GuestMemory) -> Result<(PageTables<X86_64>, u64), Box<dyn std::error::Error>> {
    let tables = PageTables::<X86_64>::new(memory)?;
    let largest = Grain::new::<X86_64>(Bytes::gib(1))?;
    let ram = Leaf::new(Pfn::new(0), LeafFlags::WRITE | LeafFlags::GLOBAL);
    let mut entries = tables.map_range(memory, range(0, 3 << 30), ram, largest)?;
    let devices = Leaf::new(Pfn::new(0xfe000), LeafFlags::WRITE | LeafFlags::UNCACHED | LeafFlags::NO_EXECUTE);
    entries += tables.map_range(memory, range(0xfe00_0000, 0xff00_3000), devices, largest)?;

    // No processor has used these tables, so there is nothing to flush; elsewhere this would be where the debt is paid.
    let nobody = &mut |_: VaddrRange| ();
    let text = range(0x20_0000, 0x20_3000);
    for edge in [text.start, Vaddr::new(text.end.get() - 1)] {
        tables.split(memory, nobody, edge, Grain::page::<X86_64>())?.settle(nobody);
    }
    let protected = tables.protect(memory, nobody, text, |flags| flags - LeafFlags::WRITE)?;
    protected.owed.settle(nobody);
    Ok((tables, entries))
}

fn guest() -> GuestMemory {
    // Tables from 1 MiB on; of the guest's 3 GiB only what is written is needed here.
    GuestMemory { bytes: vec![0; 2 << 20], tables: 0x100..0x200, given_back: Vec::new() }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut memory = guest();
    let (tables, entries) = build(&mut memory)?;
    println!("cr3 = {:#x}, {entries} entries at first", tables.root().pfn().get() << 12);
    // Where what is mapped changes its grain or its rights.
    let mut last = None;
    for (at, found) in tables.over(&memory, range(0, 1 << 32)) {
        let now = match found.entry {
            Entry::Leaf(leaf) => Some((found.place.grain(), leaf.flags)),
            _ => None,
        };
        if now != last {
            println!("{at}: {}", now.map_or("nothing".into(), |(grain, flags)| format!("{grain}, {flags:?}")));
            last = now;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_mapped_in_the_largest_pages_and_divided_where_it_must_be() {
        let mut memory = guest();
        let (tables, entries) = build(&mut memory).unwrap();
        // Three pages of 1 GiB; eight of 2 MiB and three of 4 KiB for devices.
        assert_eq!(entries, 3 + 8 + 3);
        let tally = tables.validate(&memory).unwrap();
        // The first page of 1 GiB became 511 of 2 MiB and 512 of 4 KiB.
        assert_eq!(tally.leaves, [512 + 3, 511 + 8, 2, 0, 0]);
        assert_eq!(tally.tables, [2, 2, 1, 1, 0]);
    }

    #[test]
    fn the_text_cannot_be_written_and_its_neighbour_can() {
        let mut memory = guest();
        let (tables, _) = build(&mut memory).unwrap();
        let can_be_written = |at: u64| match tables.find(&memory, Vaddr::new(at)).entry {
            Entry::Leaf(leaf) => leaf.flags.contains(LeafFlags::WRITE),
            _ => false,
        };
        assert!(!can_be_written(0x20_0000) && !can_be_written(0x20_2fff));
        assert!(can_be_written(0x1f_f000) && can_be_written(0x20_3000) && can_be_written(0xbfff_ffff));
    }

    #[test]
    fn devices_lie_around_the_caches_and_nothing_lies_beside_them() {
        let mut memory = guest();
        let (tables, _) = build(&mut memory).unwrap();
        let Entry::Leaf(leaf) = tables.find(&memory, Vaddr::new(0xfee0_0000)).entry else { panic!("no device") };
        assert_eq!(leaf.pfn, Pfn::new(0xfee00));
        assert!(leaf.flags.contains(LeafFlags::UNCACHED | LeafFlags::NO_EXECUTE));
        for beside in [0xc000_0000, 0xfdff_ffff, 0xff00_3000] {
            assert_eq!(tables.find(&memory, Vaddr::new(beside)).entry, Entry::None);
        }
    }
}
