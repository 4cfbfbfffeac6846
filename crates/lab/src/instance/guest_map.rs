//! Guest memory as lines of cells.

use hugefolio::{Attribute, Backing, FolioKind, Gmem, Machine};

/// Cells of a line, unless it stands for fewer pages.
const CELLS: u64 = 64;

/// What a cell shows: of several things that its pages are, the last one in this order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cell {
    Absent,
    Whole,
    Pieces,
    Shared,
    Pinned,
}

impl Cell {
    const fn letter(self) -> char {
        match self {
            Self::Absent => '.',
            Self::Whole => '#',
            Self::Pieces => 'p',
            Self::Shared => 's',
            Self::Pinned => 'P',
        }
    }
}

/// What the letters mean.
pub const GUEST_MAP_KEY: &str = "# private, p private and split, s shared, P pinned, . not in memory";

/// A line for each stretch of a file that is allocated at once; for base pages, for all of it.
pub(super) fn lines(machine: &Machine, name: &str, file: &Gmem) -> Vec<String> {
    let step = match file.backing() {
        Backing::Base => file.pages().get(),
        Backing::Huge { order, .. } => order.pages().get(),
    };
    (0..file.pages().get())
        .step_by(usize::try_from(step).unwrap_or(usize::MAX))
        .map(|start| format!("{name} {start}: [{}]", line(machine, file, start, step.min(file.pages().get() - start))))
        .collect()
}

fn line(machine: &Machine, file: &Gmem, start: u64, pages: u64) -> String {
    let cells = pages.min(CELLS);
    let mut row = vec![Cell::Absent; usize::try_from(cells).unwrap_or(0)];
    let mut mark = |from: u64, to: u64, as_what: Cell| {
        // The cells that pages from `from` to before `to` have a part in.
        let (first, past) = ((from - start) * cells / pages, ((to - start) * cells).div_ceil(pages));
        for cell in first..past {
            if let Some(cell) = usize::try_from(cell).ok().and_then(|cell| row.get_mut(cell)) {
                *cell = (*cell).max(as_what);
            }
        }
    };
    let size = file.backing().order().pages().get();
    let shared: Vec<_> = file.attributes().filter(|(_, attribute)| *attribute == Attribute::Shared).collect();
    let cached = file.cached().map(|(index, pfn)| (index.get(), pfn));
    for (index, pfn) in cached.filter(|(index, _)| (start..start + pages).contains(index)) {
        let whole = machine.folio(pfn).is_some_and(|(_, folio)| !matches!(folio.kind, FolioKind::Piece(_)));
        mark(index, index + size, if whole { Cell::Whole } else { Cell::Pieces });
        for (first, count, piece) in machine.pieces_of(pfn) {
            if piece.pins() > 0 {
                let at = index + (first.get() - pfn.get());
                mark(at, at + count.get(), Cell::Pinned);
            }
        }
        if machine.folio(pfn).is_some_and(|(at, folio)| at == pfn && size == 1 && folio.pins() > 0) {
            mark(index, index + 1, Cell::Pinned);
        }
        for (run, _) in &shared {
            let (from, to) = (run.start.get().max(index), run.end.get().min(index + size));
            if from < to {
                mark(from, to, Cell::Shared);
            }
        }
    }
    row.into_iter().map(Cell::letter).collect()
}
