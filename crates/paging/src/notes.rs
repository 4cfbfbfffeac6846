//! What stands in place of pages: notes, and pages that broke.

use units::{Vaddr, VaddrRange};

use crate::arch::Arch;
use crate::entry::{Entry, Marker};
use crate::flush::FlushOwed;
use crate::level::Grain;
use crate::memory::{TableMemory, Tlb};
use crate::over::each_of;
use crate::resize::SplitRefusal;
use crate::start::Start;
use crate::walk::PageTables;

impl<A: Arch, S: Start> PageTables<A, S> {
    /// The base page of `addr` broke. It is taken out of the page that is mapped there, which is divided for that, and whoever comes to its place
    /// finds out.
    ///
    /// # Errors
    /// Where there is no page, or no memory to divide it; what was divided until then maps the same.
    #[doc(alias("make_hwpoison_entry", "hugetlb_split_to_shift"))]
    pub fn poison<M: TableMemory>(
        &self,
        mem: &mut M,
        tlb: &mut impl Tlb,
        addr: Vaddr,
    ) -> Result<FlushOwed, SplitRefusal> {
        let mut owed = self.split(mem, tlb, addr, Grain::page::<A>())?;
        let found = self.find(mem, addr);
        let (level, slot) = (found.place.grain().level(), found.place.slot());
        mem.section(found.place.section(), |mem| {
            let mut word = mem.load(slot);
            loop {
                let entry = A::decode(level, word);
                let Entry::Leaf(leaf) = entry else { return Err(SplitRefusal::NoPage(entry)) };
                match mem.compare_exchange(slot, word, A::encode(level, Entry::Hwpoison(leaf.pfn))) {
                    Ok(()) => return Ok(()),
                    Err(other) => word = other,
                }
            }
        })?;
        owed.add(found.place.grain().around(addr));
        Ok(owed)
    }

    /// Leaves a note wherever nothing is in `range`, and adds it to other notes.
    #[doc(alias = "make_pte_marker")]
    pub fn note<M: TableMemory>(&self, mem: &mut M, range: VaddrRange, marker: Marker) {
        self.change_notes(mem, range, |old| old | marker);
    }

    /// Takes a note back in all of `range`.
    pub fn forget<M: TableMemory>(&self, mem: &mut M, range: VaddrRange, marker: Marker) {
        self.change_notes(mem, range, |old| old - marker);
    }

    fn change_notes<M: TableMemory>(&self, mem: &mut M, range: VaddrRange, change: impl Fn(Marker) -> Marker) {
        each_of(*self, mem, range, &mut |mem, _, found| {
            let old = match found.entry {
                Entry::None => Marker::empty(),
                Entry::Marker(marker) => marker,
                _ => return,
            };
            let new = match change(old) {
                none if none.is_empty() => Entry::None,
                some => Entry::Marker(some),
            };
            if new != found.entry {
                let level = found.place.grain().level();
                // Notes change inside of their section alone.
                mem.store(found.place.slot(), A::encode(level, new));
            }
        });
    }
}
