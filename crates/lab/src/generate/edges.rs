//! Ranges, now and then with edges that no huge page has.

use super::view::{DescriptorView, MapView, PAGE};
use super::{Generator, Random};
use crate::op::{Actor, FileName, MapName, Op, Protection, Size, Span};

/// What an edge is moved by.
const CROOKED: [i64; 6] = [1, 4096, -4096, PAGE / 2, PAGE - 4096, -1];

/// Whether an operation is an fallocate whose end, filled up to a whole huge page, no file can have. Linux 6.18 does not
/// refuse it and stops working when the file goes.
pub fn ends_beyond_files(op: &Op) -> bool {
    let Op::Fallocate(call) = op else {
        return false;
    };
    let (off, len) = (call.range.off.signed(), call.range.len.signed());
    let end = off.checked_add(len);
    off >= 0 && len > 0 && end.is_none_or(|end| end > i64::MAX - (PAGE - 1))
}

/// So many huge pages in bytes.
pub(super) fn bytes(pages: u32) -> i64 {
    i64::from(pages) * PAGE
}

/// A range of pages of a mapping: where it begins, and how many.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) first: u32,
    pub(super) count: u32,
}

impl Part {
    pub(super) fn span(self) -> Span {
        Span::new(Size::bytes(bytes(self.first)), Size::bytes(bytes(self.count)))
    }
}

/// The same range with one edge, or both, moved.
pub(super) fn crooked(random: &mut Random, span: Span) -> Span {
    let by = Size::bytes(*random.of(&CROOKED));
    let moved = |size: Size| Size::bytes(size.signed().saturating_add(by.signed()));
    match random.below(5) {
        0 => Span::new(moved(span.off), span.len),
        1 => Span::new(moved(span.off), Size::bytes(span.len.signed() - by.signed())),
        2 => Span::new(span.off, Size::ZERO),
        _ => Span::new(span.off, moved(span.len)),
    }
}

impl Generator {
    /// A mapping of a process, with what is believed of it.
    pub(super) fn map(&mut self) -> Option<(Actor, MapName, MapView)> {
        self.map_that(|_| true)
    }

    /// A mapping of a process of which `wanted` holds.
    pub(super) fn map_that(&mut self, wanted: impl Fn(&MapView) -> bool) -> Option<(Actor, MapName, MapView)> {
        let all = self.view.processes.iter().flat_map(|(number, process)| {
            let maps = process.maps.iter().filter(|(_, map)| wanted(map));
            maps.map(|(name, map)| (Actor::new(*number), name.clone(), map.clone()))
        });
        let all: Vec<_> = all.collect();
        self.random.any(all)
    }

    /// A descriptor of a process.
    pub(super) fn descriptor(&mut self) -> Option<(Actor, FileName, DescriptorView)> {
        let all = self.view.processes.iter().flat_map(|(number, process)| {
            process.files.iter().map(|(name, file)| (Actor::new(*number), name.clone(), *file))
        });
        let all: Vec<_> = all.collect();
        self.random.any(all)
    }

    /// Pages of a mapping that are mapped and `wanted`, as a rule; sometimes others, or what lies behind the end.
    pub(super) fn part(&mut self, map: &MapView, wanted: impl Fn(Protection) -> bool) -> Part {
        let fits = |page: u32| map.live.get(&page).is_some_and(|prot| wanted(*prot));
        let live: Vec<u32> = map.live.keys().copied().filter(|page| fits(*page)).collect();
        let any = self.random.percent(5);
        match self.random.any(live).filter(|_| !any) {
            Some(first) => {
                let most = *self.random.of(&[1, 1, 1, 2, 3, 8]);
                let run = (0..most).take_while(|more| fits(first + more)).count();
                Part { first, count: u32::try_from(run).unwrap_or(1).max(1) }
            }
            None if map.apart => Part { first: self.random.below(map.pages + 1), count: *self.random.of(&[1, 1, 2]) },
            None => Part { first: self.random.below(map.pages), count: 1 },
        }
    }

    /// Any pages of a mapping, mapped or not: a piece, or all of it.
    pub(super) fn piece(&mut self, map: &MapView) -> Part {
        if map.pages <= 1 || self.random.percent(30) {
            return Part { first: 0, count: map.pages.max(1) };
        }
        let first = self.random.below(map.pages);
        Part { first, count: self.random.between(1, map.pages - first) }
    }

    /// The bytes of a part of a mapping, with crooked edges so many times in a hundred.
    pub(super) fn span(&mut self, map: &MapView, part: Part, crooked_percent: u32) -> Span {
        let span = part.span();
        if map.apart && self.random.percent(crooked_percent) { crooked(&mut self.random, span) } else { span }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{Fallocate, Flags};

    #[test]
    fn the_fatal_range_is_known_by_its_end() {
        let call = |off: i64, len: i64| -> Op {
            let file = FileName::new("f").expect("a letter is a name");
            let range = Span::new(Size::bytes(off), Size::bytes(len));
            Fallocate { actor: Actor::new(0), file, range, mode: Flags::NONE }.into()
        };
        let last = i64::MAX - (PAGE - 1);
        assert!(ends_beyond_files(&call(last, PAGE - 1)));
        assert!(ends_beyond_files(&call(i64::MAX - 1, 1)));
        assert!(ends_beyond_files(&call(i64::MAX, i64::MAX)));
        assert!(!ends_beyond_files(&call(last - PAGE, PAGE)));
        assert!(!ends_beyond_files(&call(-1, i64::MAX)));
        assert!(!ends_beyond_files(&call(0, 0)));
    }
}
