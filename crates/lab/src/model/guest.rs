//! Memory of guests: files of huge pages, each base page of which is private or shared. One record for each base page that is not as at first.
//!
//! What happens to a guest's tables on the way, in order, is not modelled.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::pool::{Claim, FreeRule};
use super::world::{PAGE, SMALL, count};
use super::{Fail, NaiveMachine, Outcome, Quirk};
use crate::op::{self, BasePage, Fill, GuestAttribute, Op, SizeName, Span};
use crate::target::{Answer, Extras, StepResult};

const INVALID: Fail = Fail::Errno("EINVAL");
/// The base pages of a huge page.
const PARTS: u64 = PAGE / SMALL;
/// The order of a huge page.
const WHOLE: i64 = 9;

/// A file of guest memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GuestId(u64);

/// What there is of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Guest {
    /// Its huge pages, there or not.
    pages: u64,
    /// The huge pages that are there: the node of each.
    there: BTreeMap<u64, usize>,
    /// Those of them that are in pieces.
    split: BTreeSet<u64>,
    /// By base page: who is shared, what was written, how often it is pinned, the order of the guest's leaf.
    shared: BTreeSet<u64>,
    bytes: BTreeMap<u64, u8>,
    pins: BTreeMap<u64, u32>,
    leaves: BTreeMap<u64, i64>,
}

impl Guest {
    /// The base pages of a range of bytes that lies in the file.
    fn parts(&self, range: Span) -> Result<Range<u64>, Fail> {
        let (off, len) = (range.off.unsigned(), range.len.unsigned());
        let end = off.checked_add(len).ok_or(INVALID)?;
        let whole = off.is_multiple_of(SMALL) && len.is_multiple_of(SMALL) && len > 0;
        if whole && end <= self.pages * PAGE { Ok(off / SMALL..end / SMALL) } else { Err(INVALID) }
    }

    /// The first base page of a range that somebody pins.
    fn pinned_in(&self, parts: Range<u64>) -> Option<u64> {
        self.pins.range(parts).next().map(|(part, _)| *part)
    }

    fn all_private(&self, page: u64) -> bool {
        self.shared.range(parts_of(page)).next().is_none()
    }

    /// The reservations that it holds.
    pub(super) fn outstanding(&self) -> i64 {
        count(usize::try_from(self.pages).unwrap_or(usize::MAX)) - count(self.there.len())
    }

    /// The huge pages that it has in use.
    pub(super) fn in_use(&self) -> i64 {
        count(self.there.len())
    }
}

/// The base pages of a huge page.
const fn parts_of(page: u64) -> Range<u64> {
    page * PARTS..(page + 1) * PARTS
}

/// A part of such a file that a process has mapped.
#[derive(Debug, Clone, Copy)]
pub(super) struct GuestView {
    guest: GuestId,
    first: u64,
    end: u64,
}

/// The signal that ends an access of the host.
fn signal((result, code): (StepResult, i64)) -> Answer {
    Answer { extras: Extras { sc: Some(code), ..Extras::default() }, ..Answer::from(result) }
}

impl NaiveMachine {
    /// Operations of a living process on guest memory.
    pub(super) fn guest_op(&mut self, p: u16, op: &Op) -> Outcome {
        match op {
            Op::GmemCreate(op) => return self.gmem_create(p, op),
            Op::GmemUnmap(op) => return self.gmem_unmap(p, op),
            Op::GmemTouch(op) => return self.gmem_touch(p, op),
            Op::GmemPin(op) => return self.gmem_pin(p, op),
            _ => {}
        }
        let (Op::GmemMap(op::GmemMap { file, .. })
        | Op::GmemAllocate(op::GmemAllocate { file, .. })
        | Op::GmemPunch(op::GmemPunch { file, .. })
        | Op::GmemTruncate(op::GmemTruncate { file, .. })
        | Op::GmemConvert(op::GmemConvert { file, .. })
        | Op::GuestTouch(op::GuestTouch { file, .. })) = op
        else {
            return Err(Fail::NotModelled("this operation on guest memory"));
        };
        let id = self.process(p).guests.get(file).copied().ok_or(Fail::Errno("EBADF"))?;
        match op {
            Op::GmemMap(op) => {
                let parts = self.guest(id).parts(op.range)?;
                let view = GuestView { guest: id, first: parts.start, end: parts.end };
                self.process_mut(p).guest_views.insert(op.map.clone(), view);
                self.end_unused_guests();
            }
            Op::GmemAllocate(op) => {
                let parts = self.guest(id).parts(op.range)?;
                (parts.start / PARTS..parts.end.div_ceil(PARTS)).for_each(|page| self.bring(p, id, page));
            }
            Op::GmemPunch(op) => self.gmem_punch(id, op.range)?,
            Op::GmemTruncate(op) if op.len.unsigned() != self.guest(id).pages * PAGE => return Err(INVALID),
            Op::GmemConvert(op) => return self.gmem_convert(id, op),
            Op::GuestTouch(op) => return self.guest_touch(p, id, op.page, op.value),
            _ => {}
        }
        Ok(Answer::ok())
    }

    fn guest(&self, id: GuestId) -> &Guest {
        self.guests.get(&id).expect("files that a descriptor, a view or a pin names exist")
    }

    fn guest_mut(&mut self, id: GuestId) -> &mut Guest {
        self.guests.get_mut(&id).expect("files that a descriptor, a view or a pin names exist")
    }

    /// All pages are promised when the file is made.
    fn gmem_create(&mut self, p: u16, op: &op::GmemCreate) -> Outcome {
        if op.pagesize != Some(SizeName::M2) || op.flags.is_some() {
            return Err(Fail::NotModelled("guest memory but of 2 MiB pages that are private at first"));
        }
        let len = op.len.unsigned();
        if len == 0 || !len.is_multiple_of(PAGE) {
            return Err(INVALID);
        }
        let pages = len / PAGE;
        let promised = i64::try_from(pages).unwrap_or(i64::MAX);
        // No surplus pages are made for it.
        if self.pool.free() - self.pool.resv < promised {
            return Err(Fail::Errno("ENOMEM"));
        }
        self.pool.resv += promised;
        let id = GuestId(self.fresh_id());
        self.guests.insert(id, Guest { pages, ..Guest::default() });
        self.process_mut(p).guests.insert(op.file.clone(), id);
        Ok(Answer::ok())
    }

    /// Takes one of the promised pages where none is.
    fn bring(&mut self, p: u16, id: GuestId, page: u64) {
        if self.guest(id).there.contains_key(&page) {
            return;
        }
        let rounds = self.rounds(p, None, page);
        let node = self.pool.take(Claim::Reserved, &rounds).expect("a page that is promised is there");
        let guest = self.guest_mut(id);
        guest.there.insert(page, node);
        if !guest.all_private(page) {
            guest.split.insert(page);
        }
    }

    /// A huge page goes back, and is promised again.
    fn put_guest_page(&mut self, id: GuestId, page: u64) {
        let rule = if self.quirks.has(Quirk::SurplusFreeIgnoresReservations) {
            FreeRule::SurplusFirst
        } else {
            FreeRule::KeepsPromises
        };
        let guest = self.guest_mut(id);
        guest.split.remove(&page);
        guest.bytes.retain(|part, _| !parts_of(page).contains(part));
        guest.leaves.retain(|part, _| !parts_of(page).contains(part));
        if let Some(node) = guest.there.remove(&page) {
            self.pool.put(node, true, rule);
        }
    }

    /// Whole huge pages, none of which is pinned, or nothing.
    fn gmem_punch(&mut self, id: GuestId, range: Span) -> Result<(), Fail> {
        let guest = self.guest(id);
        let parts = guest.parts(range)?;
        if !parts.start.is_multiple_of(PARTS) || !parts.end.is_multiple_of(PARTS) {
            return Err(INVALID);
        }
        if guest.pinned_in(parts.clone()).is_some() {
            return Err(Fail::Errno("EAGAIN"));
        }
        (parts.start / PARTS..parts.end / PARTS).for_each(|page| self.put_guest_page(id, page));
        Ok(())
    }

    /// Huge page by huge page. What is to be private must be nobody's; the lowest page that is somebody's ends it, and what was
    /// converted before stays.
    fn gmem_convert(&mut self, id: GuestId, op: &op::GmemConvert) -> Outcome {
        if op.to.has(GuestAttribute::Unknown) || op.to.has(GuestAttribute::Reserved) {
            return Err(Fail::NotModelled("attributes that are none"));
        }
        let guest = self.guest_mut(id);
        let parts = guest.parts(op.range)?;
        let shares = !op.to.has(GuestAttribute::Private);
        if parts.clone().all(|part| guest.shared.contains(&part) == shares) {
            return Ok(Answer::ok());
        }
        for page in parts.start / PARTS..parts.end.div_ceil(PARTS) {
            let (around, there) = (parts_of(page), guest.there.contains_key(&page));
            let batch = around.start.max(parts.start)..around.end.min(parts.end);
            if shares && there && guest.split.insert(page) {
                guest.leaves.range_mut(around.clone()).for_each(|(_, leaf)| *leaf = 0);
            }
            if !shares && let Some(held) = guest.pinned_in(batch.clone()) {
                let at = i64::try_from(held * SMALL).ok();
                let extras = Extras { at, ..Extras::default() };
                return Ok(Answer { extras, ..Answer::from(StepResult::Errno("EAGAIN".to_owned())) });
            }
            for part in batch {
                let changes = if shares { guest.shared.insert(part) } else { guest.shared.remove(&part) };
                if changes {
                    guest.leaves.remove(&part);
                }
            }
            if guest.all_private(page) {
                guest.split.remove(&page);
            }
        }
        Ok(Answer::ok())
    }

    /// The guest has all of a whole page at once, and one base page of one in pieces.
    fn guest_touch(&mut self, p: u16, id: GuestId, page: BasePage, value: Option<Fill>) -> Outcome {
        let part = u64::from(page.get());
        if part >= self.guest(id).pages * PARTS {
            return Err(Fail::NotModelled("what a guest touches beyond the file"));
        }
        self.bring(p, id, part / PARTS);
        let guest = self.guest_mut(id);
        if !guest.leaves.contains_key(&part) {
            if guest.split.contains(&(part / PARTS)) {
                guest.leaves.insert(part, 0);
            } else {
                guest.leaves.extend(parts_of(part / PARTS).map(|part| (part, WHOLE)));
            }
        }
        let leaf = guest.leaves.get(&part).copied();
        let b0 = Some(guest.load_or_store(part, value));
        Ok(Answer { extras: Extras { b0, leaf, ..Extras::default() }, ..Answer::ok() })
    }

    fn view(&self, p: u16, map: &op::MapName) -> Result<GuestView, Fail> {
        self.process(p).guest_views.get(map).copied().ok_or(Fail::Target(StepResult::Nomap))
    }

    /// The host's access: no private page, and nothing beyond what it mapped.
    fn host_reaches(&mut self, p: u16, view: GuestView, page: BasePage) -> Result<u64, (StepResult, i64)> {
        let part = u64::from(page.get());
        if !(view.first..view.end).contains(&part) {
            return Err((StepResult::Sigsegv, 1));
        }
        if !self.guest(view.guest).shared.contains(&part) {
            return Err((StepResult::Sigbus, 2));
        }
        self.bring(p, view.guest, part / PARTS);
        Ok(part)
    }

    fn gmem_touch(&mut self, p: u16, op: &op::GmemTouch) -> Outcome {
        let view = self.view(p, &op.map)?;
        Ok(match self.host_reaches(p, view, op.page) {
            Ok(part) => {
                let b0 = Some(self.guest_mut(view.guest).load_or_store(part, op.value));
                Answer { extras: Extras { b0, ..Extras::default() }, ..Answer::ok() }
            }
            Err(fault) => signal(fault),
        })
    }

    fn gmem_pin(&mut self, p: u16, op: &op::GmemPin) -> Outcome {
        let view = self.view(p, &op.map)?;
        match self.host_reaches(p, view, op.page) {
            Ok(part) => {
                *self.guest_mut(view.guest).pins.entry(part).or_default() += 1;
                if let Some((before, part)) = self.guest_pins.insert(op.pin.clone(), (view.guest, part)) {
                    self.let_go_of_guest(before, part);
                }
                Ok(Answer::ok())
            }
            Err(fault) => Ok(signal(fault)),
        }
    }

    pub(super) fn gmem_unpin(&mut self, op: &op::GmemUnpin) -> Outcome {
        let (guest, part) = self.guest_pins.remove(&op.pin).ok_or(Fail::Target(StepResult::Nomap))?;
        self.let_go_of_guest(guest, part);
        Ok(Answer::ok())
    }

    fn let_go_of_guest(&mut self, id: GuestId, part: u64) {
        let pins = &mut self.guest_mut(id).pins;
        match pins.get_mut(&part) {
            Some(more) if *more > 1 => *more -= 1,
            _ => _ = pins.remove(&part),
        }
        self.end_unused_guests();
    }

    fn gmem_unmap(&mut self, p: u16, op: &op::GmemUnmap) -> Outcome {
        self.process_mut(p).guest_views.remove(&op.map).ok_or(Fail::Target(StepResult::Nomap))?;
        self.end_unused_guests();
        Ok(Answer::ok())
    }

    /// Whether a name stands for guest memory, which is closed then.
    pub(super) fn close_guest(&mut self, p: u16, name: &op::FileName) -> bool {
        let known = self.process_mut(p).guests.remove(name).is_some();
        self.end_unused_guests();
        known
    }

    /// A file that nobody has open or mapped is gone, but for its pinned pages; the promise ends with the last of these.
    pub(super) fn end_unused_guests(&mut self) {
        let ids: Vec<GuestId> = self.guests.keys().copied().collect();
        for id in ids {
            let has = |process: &super::world::Process| {
                process.guests.values().any(|guest| *guest == id)
                    || process.guest_views.values().any(|view| view.guest == id)
            };
            if self.processes.values().any(has) {
                continue;
            }
            let pages: Vec<u64> = self.guest(id).there.keys().copied().collect();
            for page in pages {
                if self.guest(id).pinned_in(parts_of(page)).is_none() {
                    self.put_guest_page(id, page);
                }
            }
            if self.guest(id).there.is_empty() {
                let pages = self.guest(id).outstanding();
                self.pool.unreserve(pages);
                self.guests.remove(&id);
            }
        }
    }
}

impl Guest {
    /// The first byte of a base page, after what is written there.
    fn load_or_store(&mut self, part: u64, value: Option<Fill>) -> u8 {
        if let Some(value) = value {
            self.bytes.insert(part, value.byte(0));
        }
        self.bytes.get(&part).copied().unwrap_or(0)
    }
}
