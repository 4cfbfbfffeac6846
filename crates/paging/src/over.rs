//! What is in a range, entry by entry: each step goes as far as what was found, never as far as a page would be.

use units::{Vaddr, VaddrRange};

use crate::arch::Arch;
use crate::entry::Entry;
use crate::level::{Grain, Level};
use crate::memory::{Slot, Table, TableMemory};
use crate::start::{AtTop, Start};
use crate::walk::{Found, PageTables, Place, find_from, first_of};

/// Everything over a range in order of addresses, holes too; see [`PageTables::over`].
#[derive(Debug)]
pub struct Over<'a, A, M, S = AtTop> {
    tables: PageTables<A, S>,
    mem: &'a M,
    next: Option<Vaddr>,
    last: Vaddr,
    /// The table that was read last, and what it maps: the next entry is often in it.
    near: Option<(Table, Level, VaddrRange)>,
}

impl<A: Arch, S: Start> PageTables<A, S> {
    /// What is over `range`, in order: where it begins, and what a walk finds there. Of the first one, the part before the range counts
    /// too. Who changes entries meanwhile may be seen or not.
    #[doc(alias("walk_page_range", "hugetlb_walk_range"))]
    pub fn over<'a, M: TableMemory>(&self, mem: &'a M, range: VaddrRange) -> Over<'a, A, M, S> {
        let next = (!range.is_empty()).then_some(range.start);
        Over { tables: *self, mem, next, last: last_of(range), near: None }
    }
}

impl<A: Arch, M: TableMemory, S: Start> Iterator for Over<'_, A, M, S> {
    type Item = (Vaddr, Found);

    fn next(&mut self) -> Option<Self::Item> {
        let addr = self.next?;
        let near = self.near.filter(|(.., range)| range.contains(addr));
        let found = match near {
            Some((table, level, _)) => {
                find_from::<A, M>(self.mem, first_of::<A>(table, Grain::single::<A>(level), addr), addr)
            }
            None => self.tables.find(self.mem, addr),
        };
        let (table, level) = (found.place.slot().table, found.place.grain().level());
        if near.is_none_or(|(near, ..)| near != table) {
            let start = addr.align_down(A::reach(level));
            let end = Vaddr::new(start.get().saturating_add(A::reach(level).get()));
            self.near = Some((table, level, VaddrRange { start, end }));
        }
        let around = found.place.grain().around(addr);
        self.next = Some(around.end).filter(|&next| next > addr && next <= self.last);
        Some((around.start, found))
    }
}

/// The last address of a range that is not empty.
pub(crate) fn last_of(range: VaddrRange) -> Vaddr {
    Vaddr::new(range.end.get().saturating_sub(1))
}

/// Visits what is neither table nor outside of `range` below one table, each entry or group inside of its section, in order of addresses. `base`
/// is where the table begins to map.
pub(crate) fn each<A: Arch, M: TableMemory>(
    mem: &mut M,
    (table, level, base): (Table, Level, Vaddr),
    range: VaddrRange,
    f: &mut impl FnMut(&mut M, Vaddr, Found),
) {
    let first = A::index(level, range.start.max(base));
    let end = Vaddr::new(base.get().saturating_add(A::reach(level).get() - 1));
    let last = A::index(level, last_of(range).min(end));
    let section = Place::new(Slot { table, index: 0 }, Grain::single::<A>(level)).section();
    let at = |index: u16| Vaddr::new(base.get() + (u64::from(index) << A::shift(level)));
    if level == Level::Pte {
        return mem.section(section, |mem| {
            let mut index = first;
            while index <= last {
                index = visit::<A, M>(mem, Slot { table, index }, level, at(index), f).unwrap_or(last) + 1;
            }
        });
    }
    let mut index = first;
    while index <= last {
        let below = mem.section(section, |mem| {
            let slot = Slot { table, index };
            match A::decode(level, mem.load(slot)) {
                Entry::Table(below) => Some(below),
                _ => {
                    index = visit::<A, M>(mem, slot, level, at(index), f).unwrap_or(last);
                    None
                }
            }
        });
        if let Some((below, lower)) = below.zip(level.below()) {
            each::<A, M>(mem, (below, lower, at(index)), range, f);
        }
        index += 1;
    }
}

/// Visits one entry or one group; the last index that belongs to it.
#[inline]
fn visit<A: Arch, M: TableMemory>(
    mem: &mut M,
    slot: Slot,
    level: Level,
    at: Vaddr,
    f: &mut impl FnMut(&mut M, Vaddr, Found),
) -> Option<u16> {
    let found = find_from::<A, M>(mem, Place::new(slot, Grain::single::<A>(level)), at);
    let grain = found.place.grain();
    f(mem, grain.around(at).start, found);
    found.place.slot().index.checked_add(grain.entries::<A>() - 1)
}

/// Visits everything over `range`, as [`each`].
pub(crate) fn each_of<A: Arch, M: TableMemory, S: Start>(
    tables: PageTables<A, S>,
    mem: &mut M,
    range: VaddrRange,
    f: &mut impl FnMut(&mut M, Vaddr, Found),
) {
    if !range.is_empty() {
        let level = tables.level();
        let base = range.start.align_down(A::reach(level));
        each::<A, M>(mem, (tables.root(), level, base), range, f);
    }
}
