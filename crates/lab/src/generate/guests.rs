//! Memory of guests: files of a few huge pages, with names of their own, each new.

use super::Generator;
use crate::op::{
    About, Actor, BasePage, BlockName, Close, FileName, Fill, Flags, GmemAllocate, GmemConvert, GmemCreate, GmemMap,
    GmemPin, GmemPunch, GmemTouch, GmemTruncate, GmemUnmap, GmemUnpin, GuestAttribute, GuestTouch, MapName, Op, Size,
    SizeName, Span,
};
use crate::target::Answer;

/// The base pages of a huge page.
const PARTS: u32 = 512;
/// The most files and mappings that there are at once.
const MOST: usize = 3;

/// What a name stands for in one process.
#[derive(Debug, Clone)]
struct Known<N> {
    process: u16,
    name: N,
    /// Its base pages.
    first: u32,
    count: u32,
}

/// What the generator believes there is of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Guests {
    files: Vec<Known<FileName>>,
    views: Vec<Known<MapName>>,
    pins: Vec<BlockName>,
    /// Names given so far.
    names: u32,
}

/// The base pages in so many bytes.
fn parts(size: Size) -> u32 {
    u32::try_from(size.unsigned() >> 12).unwrap_or(u32::MAX)
}

/// The bytes of a range of base pages.
fn span(first: u32, end: u32) -> Span {
    let bytes = |parts: u32| Size::bytes(i64::from(parts) << 12);
    Span::new(bytes(first), bytes(end - first))
}

impl Guests {
    /// Takes in an answer; says whether it was to an operation on guest memory.
    pub(super) fn observe(&mut self, op: &Op, answer: &Answer) -> bool {
        let ours = op.verb().about == About::Guest;
        if !answer.result.is_ok() {
            return ours;
        }
        match op {
            Op::GmemCreate(op) => {
                let (process, name) = (op.actor.number(), op.file.clone());
                self.files.push(Known { process, name, first: 0, count: parts(op.len) });
            }
            Op::GmemMap(op) => {
                let (process, name) = (op.actor.number(), op.map.clone());
                let (first, count) = (parts(op.range.off), parts(op.range.len));
                self.views.push(Known { process, name, first, count });
            }
            Op::GmemUnmap(op) => {
                let here = |known: &Known<MapName>| known.process == op.actor.number() && known.name == op.map;
                self.views.retain(|known| !here(known));
            }
            Op::GmemPin(op) => self.pins.push(op.pin.clone()),
            Op::GmemUnpin(op) => self.pins.retain(|pin| *pin != op.pin),
            Op::Close(op) => {
                let here = |known: &Known<FileName>| known.process == op.actor.number() && known.name == op.file;
                self.files.retain(|known| !here(known));
            }
            Op::Exit(_) | Op::Kill(_) => {
                let gone = op.actor().map(Actor::number);
                self.files.retain(|known| Some(known.process) != gone);
                self.views.retain(|known| Some(known.process) != gone);
            }
            Op::Fork(fork) => {
                let (parent, child) = (fork.actor.number(), fork.child.number());
                let files: Vec<_> = self.files.iter().filter(|known| known.process == parent).cloned().collect();
                self.files.extend(files.into_iter().map(|known| Known { process: child, ..known }));
                let views: Vec<_> = self.views.iter().filter(|known| known.process == parent).cloned().collect();
                self.views.extend(views.into_iter().map(|known| Known { process: child, ..known }));
            }
            _ => {}
        }
        ours
    }
}

impl Generator {
    /// Something about guest memory, if there is anything to do it to.
    pub(super) fn guest(&mut self) -> Option<Op> {
        let few = self.guests.files.len() < MOST;
        if few && (self.guests.files.is_empty() || self.random.percent(12)) {
            return self.guest_file();
        }
        let known = self.guests.files.clone();
        let Known { process, name: file, count, .. } = self.random.any(known)?;
        let actor = Actor::new(process);
        let (first, end) = self.guest_range(count);
        let range = span(first, end);
        Some(match self.random.below(40) {
            0..10 => {
                let to = if self.random.percent(50) { GuestAttribute::Private } else { GuestAttribute::Shared };
                GmemConvert { actor, file, range, to: Flags::of(&[to]) }.into()
            }
            10..17 => {
                let value = self.guest_value();
                GuestTouch { actor, file, page: BasePage::new(first), value }.into()
            }
            17..19 => GmemAllocate { actor, file, range }.into(),
            19..23 => self.guest_hole(actor, file, count),
            23 => {
                let len = Size::bytes(i64::from(*self.random.of(&[count, count, PARTS])) << 12);
                GmemTruncate { actor, file, len }.into()
            }
            24..27 if self.guests.views.len() < MOST => {
                let map = MapName::new(&format!("V{}", self.guest_name())).ok()?;
                GmemMap { actor, map, file, range: span(0, count) }.into()
            }
            27..32 => self.host_touch()?,
            32..35 => self.host_pin()?,
            35..38 => GmemUnpin { pin: self.random.any(self.guests.pins.clone())?, atomic: None }.into(),
            38 => {
                let Known { process, name: map, .. } = self.random.any(self.guests.views.clone())?;
                GmemUnmap { actor: Actor::new(process), map }.into()
            }
            _ => Close { actor, file }.into(),
        })
    }

    /// A number that no name had.
    fn guest_name(&mut self) -> u32 {
        self.guests.names += 1;
        self.guests.names
    }

    fn guest_file(&mut self) -> Option<Op> {
        let actor = self.process()?;
        let file = FileName::new(&format!("G{}", self.guest_name())).ok()?;
        let pages = i64::from(self.random.between(1, 4));
        let odd = if self.random.percent(4) { 4096 } else { 0 };
        let len = Size::bytes((pages << 21) + odd);
        Some(GmemCreate { actor, file, len, pagesize: Some(SizeName::M2), flags: None }.into())
    }

    fn guest_value(&mut self) -> Option<Fill> {
        self.random.percent(50).then(|| Fill::new(self.random.between(1, 200)))
    }

    /// Near where huge pages begin and end, as a rule.
    fn guest_part(&mut self, count: u32) -> u32 {
        let any = self.random.below(count);
        let near = *self.random.of(&[0, 1, 2, 5, PARTS - 1, PARTS, PARTS + 1, count - 1, any, any]);
        near.min(count - 1)
    }

    fn guest_range(&mut self, count: u32) -> (u32, u32) {
        if self.random.percent(15) {
            return (0, count);
        }
        let (a, b) = (self.guest_part(count), self.guest_part(count));
        if self.random.percent(50) { (a, a + 1) } else { (a.min(b), a.max(b) + 1) }
    }

    /// Whole huge pages, seldom less.
    fn guest_hole(&mut self, actor: Actor, file: FileName, count: u32) -> Op {
        let (first, end) = self.guest_range(count);
        let range = if self.random.percent(90) {
            span(first / PARTS * PARTS, end.next_multiple_of(PARTS))
        } else {
            span(first, end)
        };
        GmemPunch { actor, file, range }.into()
    }

    fn host_touch(&mut self) -> Option<Op> {
        let (actor, map, page) = self.host_place()?;
        let value = self.guest_value();
        Some(GmemTouch { actor, map, page, value }.into())
    }

    fn host_pin(&mut self) -> Option<Op> {
        let (actor, map, page) = self.host_place()?;
        let pin = BlockName::new(&format!("K{}", self.guest_name())).ok()?;
        Some(GmemPin { actor, pin, map, page }.into())
    }

    /// A base page of what a process has mapped.
    fn host_place(&mut self) -> Option<(Actor, MapName, BasePage)> {
        let Known { process, name, first, count } = self.random.any(self.guests.views.clone())?;
        let page = BasePage::new(first + self.guest_part(count));
        Some((Actor::new(process), name, page))
    }
}
