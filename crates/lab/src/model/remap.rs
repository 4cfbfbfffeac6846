//! mremap: shrinks a mapping in place, or moves it to a fixed address.

use super::world::{Named, PageId, SMALL, TASK_END, Vma, aligned, ceil, ceil_small, pages_in};
use super::{Fail, NaiveMachine, Outcome, Quirk};
use crate::op::{Mremap, MremapFlag};
use crate::target::{Answer, Extras};

/// The ranges of a call, in whole base pages.
#[derive(Clone, Copy)]
struct Call {
    from: u64,
    old: u64,
    to: u64,
    new: u64,
    fixed: bool,
    /// The lengths differ in base pages.
    resizes: bool,
}

fn overlap(a: u64, a_len: u64, b: u64, b_len: u64) -> bool {
    a < b.saturating_add(b_len) && b < a.saturating_add(a_len)
}

/// What is wrong with the call whatever is mapped.
fn check_arguments(op: &Mremap, call: Call) -> Result<(), Fail> {
    let has = |flag| op.flags.has(flag);
    let dontunmap = has(MremapFlag::Dontunmap);
    let flags_ok =
        (!call.fixed || has(MremapFlag::Maymove)) && (!dontunmap || (has(MremapFlag::Maymove) && call.old == call.new));
    let lengths_ok = call.new > 0 && call.new <= TASK_END && call.old <= TASK_END;
    let places_ok = call.from.is_multiple_of(SMALL) && lengths_ok;
    let target_ok = !call.fixed
        || call.to.is_multiple_of(SMALL)
            && call.to.checked_add(call.new).is_some_and(|end| end <= TASK_END)
            && !overlap(call.from, call.old, call.to, call.new);
    if flags_ok && places_ok && target_ok { Ok(()) } else { Err(Fail::Errno("EINVAL")) }
}

impl NaiveMachine {
    pub(super) fn mremap(&mut self, p: u16, op: &Mremap) -> Outcome {
        let named = self.named(p, &op.map)?;
        let off = op.off.unwrap_or_default().unsigned();
        let to = match &op.to {
            Some(to) => {
                let addr_off = op.addr_off.unwrap_or_default().unsigned();
                self.slot_address(to).wrapping_add(addr_off)
            }
            None => 0,
        };
        let lengths = (ceil_small(op.old.unsigned()), ceil_small(op.new.unsigned()));
        let (Some(old), Some(new)) = lengths else {
            return Err(Fail::Errno("EINVAL"));
        };
        let (from, fixed) = (named.addr.wrapping_add(off), op.flags.has(MremapFlag::Fixed));
        let call = Call { from, old, to, new, fixed, resizes: old != new };
        check_arguments(op, call)?;
        let first = self.process(p).vma_at(call.from);
        let first = first.ok_or(Fail::Errno("EFAULT"))?;
        // What only moves is looked at VMA by VMA, and a watched one must be all of it; the rest of the call comes after that.
        if call.fixed && !call.resizes && first.watch.is_some() && call.from + call.old > first.end {
            return Err(Fail::Errno("EFAULT"));
        }
        let call = check_mapped(op, call)?;
        let place = self.shrink_or_move(p, call, &first)?;
        self.rename(p, op, named, place);
        Ok(Answer { extras: Extras { moved: Some(u8::from(place != call.from)), ..Extras::default() }, ..Answer::ok() })
    }

    /// Without MREMAP_FIXED the tail goes and the rest stays. With it every VMA of the range moves by itself: its part of the
    /// target is emptied, then the tail goes. A range that changes its length, even within a huge page, must lie in one VMA, and
    /// so must what is watched.
    fn shrink_or_move(&mut self, p: u16, call: Call, first: &Vma) -> Result<u64, Fail> {
        let kept = call.from + call.new;
        let end = call.from + call.old;
        if !call.fixed {
            if kept < end && end > TASK_END {
                return Err(Fail::Errno("EINVAL"));
            }
            self.unmap(p, kept, end);
            return Ok(call.from);
        }
        if call.resizes && kept > first.end {
            return Err(Fail::Errno("EFAULT"));
        }
        for vma in self.process(p).vmas_in(call.from, kept) {
            let (start, stop) = (vma.start.max(call.from), vma.end.min(kept));
            let alone = (start, stop) == (call.from, kept);
            if vma.watch.is_some() && !alone {
                return Err(Fail::Errno("EFAULT"));
            }
            let to = call.to + (start - call.from);
            self.unmap(p, to, to + (stop - start));
            if alone {
                self.unmap(p, kept, end);
            }
            // The tail may have been cut off since.
            let vma = self.process(p).vma_at(start).expect("what moves is mapped");
            self.move_part(p, &vma, start, stop, to);
        }
        Ok(call.to)
    }

    /// Moves a part of a VMA. The part keeps its reservations, and so do the pieces left behind; these lose the mark that a
    /// page was stolen.
    fn move_part(&mut self, p: u16, vma: &Vma, start: u64, end: u64, to: u64) {
        let place = self.last_place();
        let process = self.process_mut(p);
        process.split(start);
        process.split(end);
        process.vmas.retain(|other| other.start != start);
        for rest in process.vmas.iter_mut().filter(|rest| vma.start <= rest.start && rest.end <= vma.end) {
            rest.stolen = false;
        }
        if self.quirks.has(Quirk::PartialMoveLosesMap) {
            self.forsake_rest(p, vma);
        }
        let process = self.process_mut(p);
        process.insert(Vma { start: to, end: to + (end - start), place, watch: None, ..vma.part(start, end) });
        let protected: Vec<u64> = process.protected.range(start..end).copied().collect();
        for addr in protected {
            process.protected.remove(&addr);
            // Whoever watches is not told of the move; what nobody watches moves as it is.
            if vma.watch.is_none() {
                process.protected.insert(to + (addr - start));
            }
        }
        let moving: Vec<(u64, PageId)> = process.entries.range(start..end).map(|(addr, page)| (*addr, *page)).collect();
        for (addr, page) in moving {
            process.entries.remove(&addr);
            let target = to + (addr - start);
            process.entries.insert(target, page);
            process.tables.insert(target >> 30);
        }
        self.drop_tables(p);
    }

    /// Takes the map from what is left of an owner's VMA; who paid for it goes on paying.
    fn forsake_rest(&mut self, p: u16, vma: &Vma) {
        let Some(payer) = vma.owner.and_then(|owner| self.owners.get(&owner)).map(|owner| owner.payer) else { return };
        let mut forsaken = 0;
        for rest in &mut self.process_mut(p).vmas {
            if vma.start <= rest.start && rest.end <= vma.end {
                rest.owner = None;
                forsaken += pages_in(rest.end - rest.start);
            }
        }
        self.forsaken.push((payer, forsaken));
    }

    /// The new name means the new place and the new length; without one the old name follows.
    fn rename(&mut self, p: u16, op: &Mremap, named: Named, place: u64) {
        let off = op.off.unwrap_or_default().unsigned();
        let names = &mut self.process_mut(p).names;
        if let Some(to) = &op.to {
            let moved = Named { addr: place, len: op.new.unsigned() };
            names.insert(to.clone(), moved);
        } else if place != named.addr.wrapping_add(off) {
            let addr = place.wrapping_sub(off);
            names.insert(op.map.clone(), Named { addr, ..named });
        }
    }
}

/// What is wrong with a call on huge pages: addresses that are not whole ones, growth, and what they cannot do. Lengths are
/// filled up to whole ones.
fn check_mapped(op: &Mremap, call: Call) -> Result<Call, Fail> {
    let invalid = Fail::Errno("EINVAL");
    let lengths = ceil(call.old).zip(ceil(call.new));
    let (old, new) = lengths.ok_or(invalid.clone())?;
    let places_ok = aligned(call.from) && (!call.fixed || aligned(call.to));
    if !places_ok || old == 0 || op.flags.has(MremapFlag::Dontunmap) || new > old {
        return Err(invalid);
    }
    Ok(Call { old, new, ..call })
}
