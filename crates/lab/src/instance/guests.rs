//! Memory of guests.

use std::fmt::Write as _;

use hugefolio::errno::{Signal, ToErrno, signal_of_host_fault};
use hugefolio::text::Switch as Setting;
use hugefolio::{
    Attribute, Blame, Bytes, CallError, Context, ConvertCall, ConvertError, Event, GmemCallError, GmemConvertError,
    GmemFlags, GmemPin, GmemView, GuestMemory as _, GuestStep, HostFault, Order, PageCount, Pfn, Pid,
};

use super::{Instance, answers};
use crate::op::{self, BasePage, FileName, Fill, Flags, GuestAttribute, GuestFlag, MapName, Op, Span};
use crate::scenario::{GuestField, GuestQuery, Known};
use crate::target::{Answer, Extras, StepResult};

/// A bit that no flag and no attribute has.
const UNKNOWN: u64 = 1 << 40;

impl Instance {
    pub(super) fn guest_op(&mut self, op: &Op) -> Answer {
        match op {
            Op::GmemConversion(op::GmemConversion { on }) => {
                self.machine.permit_conversion(if on.is_on() { Setting::On } else { Setting::Off });
                Answer::ok()
            }
            Op::FailNext(op::FailNext { site, after }) => {
                let after = after.map_or(0, op::FrameTotal::get);
                self.machine.faults().fail_nth(Some(site.0), u64::from(after));
                Answer::ok()
            }
            Op::GmemUnpin(op::GmemUnpin { pin, atomic }) => {
                let Some(pin) = self.guest_pins.remove(pin.as_str()) else { return StepResult::Nomap.into() };
                let atomic = atomic.is_some_and(op::Switch::is_on);
                self.machine
                    .gmem_unpin(GmemPin::take_up(pin), if atomic { Context::Atomic } else { Context::Sleepable });
                Answer::ok()
            }
            _ => {
                let Some(actor) = op.actor() else { return StepResult::BadOp.into() };
                let Some(pid) = self.pid(actor) else { return StepResult::BadActor.into() };
                self.guest_op_of(actor.number(), pid, op)
            }
        }
    }

    fn guest_op_of(&mut self, actor: u16, pid: Pid, op: &Op) -> Answer {
        match op {
            Op::GmemCreate(create) => self.gmem_create(actor, pid, create),
            Op::GmemMap(op::GmemMap { map, file, range, .. }) => self.gmem_map(actor, pid, map, file, *range),
            Op::GmemUnmap(op::GmemUnmap { map, .. }) => {
                let state = self.actors.get_mut(&actor);
                let Some(view) = state.and_then(|state| state.views.remove(map.as_str())) else {
                    return StepResult::Nomap.into();
                };
                answers::done(self.machine.gmem_unmap(pid, view))
            }
            Op::GmemTouch(op::GmemTouch { map, page, value, .. }) => match self.view(actor, map) {
                None => StepResult::Nomap.into(),
                Some(view) => self.gmem_touch(pid, view, *page, *value),
            },
            Op::GmemPin(op::GmemPin { pin, map, page, .. }) => {
                let Some(view) = self.view(actor, map) else { return StepResult::Nomap.into() };
                match self.machine.gmem_pin(pid, view, at(*page)) {
                    Ok(held) => {
                        // A name means what was pinned last; what it meant before is let go.
                        if let Some(before) = self.guest_pins.insert(pin.as_str().to_owned(), held.write_down()) {
                            self.machine.gmem_unpin(GmemPin::take_up(before), Context::Sleepable);
                        }
                        Answer::ok()
                    }
                    Err(error) => host_fault(&error),
                }
            }
            _ => self.gmem_op_of_file(actor, pid, op),
        }
    }

    fn gmem_op_of_file(&mut self, actor: u16, pid: Pid, op: &Op) -> Answer {
        let (Op::GmemBind(op::GmemBind { file, .. })
        | Op::GmemAllocate(op::GmemAllocate { file, .. })
        | Op::GmemPunch(op::GmemPunch { file, .. })
        | Op::GmemTruncate(op::GmemTruncate { file, .. })
        | Op::GmemConvert(op::GmemConvert { file, .. })
        | Op::GuestTouch(op::GuestTouch { file, .. })
        | Op::GmemFail(op::GmemFail { file, .. })
        | Op::GmemSplit(op::GmemSplit { file, .. })
        | Op::GmemMerge(op::GmemMerge { file, .. })) = op
        else {
            return StepResult::BadOp.into();
        };
        let Some(fd) = self.actors.get(&actor).and_then(|state| state.files.get(file.as_str())).copied() else {
            return StepResult::Errno("EBADF".to_owned()).into();
        };
        let machine = &mut self.machine;
        match op {
            Op::GmemBind(op::GmemBind { frame, .. }) => {
                let frame = frame.map(|frame| Pfn::new(u64::from(frame.get())));
                answers::done(machine.gmem_bind(pid, fd, frame))
            }
            Op::GmemAllocate(op::GmemAllocate { range, .. }) => {
                let (offset, len) = bytes(*range);
                answers::settled(machine.gmem_allocate(pid, fd, offset, len))
            }
            Op::GmemPunch(op::GmemPunch { range, .. }) => {
                let (offset, len) = bytes(*range);
                answers::settled(machine.gmem_punch(pid, fd, offset, len))
            }
            Op::GmemTruncate(op::GmemTruncate { len, .. }) => {
                answers::done(machine.gmem_truncate(pid, fd, Bytes::new(len.unsigned())))
            }
            Op::GmemConvert(op::GmemConvert { range, to, .. }) => {
                converted(machine.gmem_convert(pid, fd, &convert_call(*range, to)))
            }
            Op::GuestTouch(op::GuestTouch { page, value, .. }) => {
                match machine.guest_access(pid, fd, at(*page), value.map(byte)) {
                    Ok(access) => {
                        let leaf = Some(i64::from(access.page.leaf.get()));
                        Answer { extras: Extras { b0: Some(access.value), leaf, ..Extras::default() }, ..Answer::ok() }
                    }
                    Err(error) => answers::refused(&error),
                }
            }
            Op::GmemFail(op::GmemFail { page, .. }) => answers::done(machine.gmem_memory_failure(pid, fd, at(*page))),
            Op::GmemSplit(op::GmemSplit { page, order, .. }) => match Order::try_new(order.get()) {
                Some(order) => answers::settled(machine.gmem_split(pid, fd, at(*page), order)),
                None => StepResult::BadOp.into(),
            },
            _ => answers::done(machine.gmem_merge(pid, fd)),
        }
    }

    fn gmem_create(&mut self, actor: u16, pid: Pid, create: &op::GmemCreate) -> Answer {
        let op::GmemCreate { file, len, pagesize, flags, .. } = create;
        let page = pagesize.and_then(|size| hugefolio::HugeSize::from_shift(size.log2()?));
        let huge = if page.is_some() { GmemFlags::HUGETLB } else { GmemFlags::empty() };
        let flags = flags.as_ref().map_or(GmemFlags::MMAP | huge, flags_of);
        match self.machine.gmem_create(pid, Bytes::new(len.unsigned()), flags, page) {
            Ok(fd) => {
                if let Some(state) = self.actors.get_mut(&actor) {
                    state.files.insert(file.as_str().to_owned(), fd);
                }
                Answer::ok()
            }
            Err(error) => answers::refused(&error),
        }
    }

    fn gmem_map(&mut self, actor: u16, pid: Pid, map: &MapName, file: &FileName, range: Span) -> Answer {
        let Some(state) = self.actors.get_mut(&actor) else { return StepResult::BadActor.into() };
        let Some(&fd) = state.files.get(file.as_str()) else { return StepResult::Errno("EBADF".to_owned()).into() };
        let (offset, len) = bytes(range);
        match self.machine.gmem_map(pid, fd, offset, len) {
            Ok(view) => {
                state.views.insert(map.as_str().to_owned(), view);
                Answer::ok()
            }
            Err(error) => answers::failed(&error),
        }
    }

    fn gmem_touch(&mut self, pid: Pid, view: GmemView, page: BasePage, value: Option<Fill>) -> Answer {
        let touched = match value {
            Some(value) => self.machine.gmem_write(pid, view, at(page), byte(value)).map(|()| byte(value)),
            None => self.machine.gmem_read(pid, view, at(page)),
        };
        match touched {
            Ok(value) => Answer { extras: Extras { b0: Some(value), ..Extras::default() }, ..Answer::ok() },
            Err(error) => host_fault(&error),
        }
    }

    /// The mappings of guest memory that a child has are its own, in the order of its parent's.
    pub(super) fn inherit_views(&self, parent: Pid, child: &mut super::actor::ActorState) {
        let views = |pid| {
            let process = self.machine.processes().find(|(other, _)| *other == pid);
            process.map_or(&[][..], |(_, process)| process.views())
        };
        let own: Vec<(GmemView, GmemView)> =
            views(parent).iter().copied().zip(views(child.pid).iter().copied()).collect();
        child.views.retain(|_, view| match own.iter().find(|(of, _)| of == view) {
            Some(&(_, own)) => {
                *view = own;
                true
            }
            None => false,
        });
    }

    fn view(&self, actor: u16, map: &MapName) -> Option<GmemView> {
        self.actors.get(&actor)?.views.get(map.as_str()).copied()
    }

    pub(super) fn ask_of_guest(&mut self, query: &GuestQuery) -> Option<Known> {
        let state = self.actors.get(&query.actor.number())?;
        let (pid, fd) = (state.pid, *state.files.get(query.file.as_str())?);
        let id = self.machine.gmem_of(pid, fd)?;
        let number = |n: u64| Known::Number(i64::try_from(n).unwrap_or(i64::MAX));
        if let GuestField::MaxLeaf(page) = query.field {
            let leaf = self.machine.guest_leaf(pid, fd, Bytes::new(page << 12))?;
            return Some(number(u64::from(leaf.get())));
        }
        let file = self.machine.gmem(id)?;
        let index = |page| hugefolio::PageIndex::new(page);
        let folio = |page| self.machine.folio(file.frame(index(page))?).map(|(_, folio)| folio);
        let subpool = || match file.backing() {
            hugefolio::Backing::Huge { subpool, .. } => self.machine.limits(subpool),
            hugefolio::Backing::Base => None,
        };
        Some(match query.field {
            GuestField::Blocks => number(file.blocks(self.machine.page_shift())),
            GuestField::Used => number(subpool()?.used.get()),
            GuestField::Rsv => number(subpool()?.rsv.get()),
            GuestField::Order(page) => number(u64::from(folio(page)?.order.get())),
            GuestField::Refs(page) => number(folio(page)?.refs()),
            GuestField::Mapped(page) => number(u64::from(folio(page)?.mapcount())),
            GuestField::Attribute(page) => Known::Text(match file.attribute(index(page))? {
                Attribute::Private => "private".to_owned(),
                Attribute::Shared => "shared".to_owned(),
            }),
            GuestField::Leaf(page) => {
                let leaf = file.leaves().find(|(run, _)| run.contains(&index(page)));
                Known::Text(leaf.map_or("none".to_owned(), |(_, order)| order.get().to_string()))
            }
            GuestField::MaxLeaf(_) => return None,
        })
    }
}

/// What the events of an operation say of guests' tables and of folios, in order.
pub(super) fn steps_of(events: &[Event]) -> Option<String> {
    let mut text = String::new();
    for event in events {
        let before = text.len();
        let sep = if before == 0 { "" } else { "; " };
        let written = match event {
            Event::Guest { first, pages, step, .. } => {
                let (from, to) = (first.get(), first.get() + pages.get());
                write!(text, "{sep}{} {from}..{to}", word(*step))
            }
            Event::Split { from, to, .. } => write!(text, "{sep}split {} to {}", from.get(), to.get()),
            Event::Merged { to, .. } => write!(text, "{sep}merged {}", to.get()),
            _ => continue,
        };
        debug_assert!(written.is_ok(), "a string takes everything");
    }
    (!text.is_empty()).then_some(text)
}

const fn word(step: GuestStep) -> &'static str {
    match step {
        GuestStep::LeavesSplit => "leaves-split",
        GuestStep::HostUnmapped => "host-unmapped",
        GuestStep::InvalidateBegin => "begin",
        GuestStep::Unmapped => "unmapped",
        GuestStep::AttributesStored => "stored",
        GuestStep::InvalidateEnd => "end",
    }
}

const fn at(page: BasePage) -> Bytes {
    Bytes::new((page.get() as u64) << 12)
}

const fn byte(value: Fill) -> u8 {
    value.byte(0)
}

fn bytes(range: Span) -> (Bytes, Bytes) {
    (Bytes::new(range.off.unsigned()), Bytes::new(range.len.unsigned()))
}

fn flags_of(flags: &Flags<GuestFlag>) -> GmemFlags {
    flags.iter().fold(GmemFlags::empty(), |all, flag| match flag {
        GuestFlag::Mmap => all | GmemFlags::MMAP,
        GuestFlag::Shared => all | GmemFlags::INIT_SHARED,
        GuestFlag::Huge => all | GmemFlags::HUGETLB,
        GuestFlag::Unknown => all | GmemFlags::from_bits_retain(UNKNOWN),
    })
}

fn convert_call(range: Span, to: &Flags<GuestAttribute>) -> ConvertCall {
    let (offset, size) = bytes(range);
    let private = if to.has(GuestAttribute::Private) { ConvertCall::PRIVATE } else { 0 };
    let unknown = if to.has(GuestAttribute::Unknown) { UNKNOWN } else { 0 };
    let flags = if to.has(GuestAttribute::Reserved) { UNKNOWN } else { 0 };
    ConvertCall { offset, size, attributes: private | unknown, flags }
}

fn converted(result: Result<(), CallError<GmemCallError<GmemConvertError>>>) -> Answer {
    let Err(error) = result else { return Answer::ok() };
    let mut answer = answers::refused(&error);
    if let CallError::Failed(GmemCallError::Failed(GmemConvertError::Convert(ConvertError::Stopped { at, .. }))) = error
    {
        let bytes = hugefolio::PageShift::K4.total(PageCount::new(at.get()));
        answer.extras.at = i64::try_from(bytes.get()).ok();
    }
    answer
}

fn host_fault(error: &CallError<HostFault>) -> Answer {
    let CallError::Failed(fault) = error else { return StepResult::Died.into() };
    let (result, code) = match signal_of_host_fault(fault) {
        Signal::Sigbus(code) => (StepResult::Sigbus, code),
        Signal::Sigsegv(code) => (StepResult::Sigsegv, code),
    };
    debug_assert!(fault.ledger().is_none() || fault.errno().number() > 0, "a refusal has a number");
    Answer {
        refusal: answers::refusal(fault),
        extras: Extras { sc: Some(i64::from(code)), ..Extras::default() },
        ..Answer::from(result)
    }
}
