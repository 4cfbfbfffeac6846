//! Why is there no huge page? What stands in the way of an aligned range of frames, who has it, and what would make it go.
//!
//! [`crate::Machine::why`] looks for the windows of an order that come nearest to being free, and tells what is in them;
//! [`crate::Machine::why_range`] tells it of one window. [`of_pages`] does the same for an allocator that stands by itself, which knows no
//! names of what it handed out. It all goes by the records of whole blocks, never frame by frame: an untouched terabyte is a few steps.
//!
//! ```
//! use hugefolio::why::{Verdict, Wanted};
//! use hugefolio::{Bytes, GfpFlags, HugeSize, Machine, NodeId, Order, Pages, pages::PageRequest};
//!
//! let node = NodeId::new(0);
//! let mut machine = Machine::builder().node(node, Bytes::gib(6)).build()?;
//! let fixed = machine.alloc_pages(&PageRequest::new(Order::ZERO, GfpFlags::KERNEL, node))?;
//! let order = HugeSize::G1.order(machine.page_shift()).unwrap();
//! let why = machine.why(&Wanted::of(order));
//! assert_eq!(why.best().map(|best| best.verdict), Some(Verdict::Free));
//!
//! let there = machine.block(fixed).unwrap().pfn;
//! let window = machine.why_range(there, order).unwrap();
//! assert_eq!(window.verdict, Verdict::Stays { blocks: 1 });
//! assert!(window.to_string().contains("free-block"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod machine;
mod survey;
mod text;

use memmap::Folio;
use page_alloc::{PageAllocator, Source, Zones};
use policy::ZoneRef;
use units::{BlockId, HugeIndex, HugeSize, InodeId, Nodemask, Order, PageCount, Pfn};
use zone::{Found, Held};

use survey::Survey;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// How large.
    pub order: Order,
    /// On which nodes.
    pub nodes: Nodemask,
    /// Of how many windows to tell, the best first.
    pub candidates: usize,
}

impl Wanted {
    /// A block of an order on any node; the best window is told of.
    #[must_use]
    pub const fn of(order: Order) -> Self {
        Self { order, nodes: Nodemask::ALL, candidates: 1 }
    }
}

/// An aligned range of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its zone.
    pub zone: ZoneRef,
    /// Its first frame.
    pub start: Pfn,
    /// How large it is.
    pub order: Order,
    /// Whether it lies in an area that is lent until a gigantic page needs it.
    pub source: Source,
}

impl Window {
    /// The first frame behind it.
    #[must_use]
    pub fn end(&self) -> Pfn {
        self.start.offset(self.order.pages())
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// What was asked.
    pub wanted: Wanted,
    /// Windows that were looked at.
    pub windows: u64,
    /// Those of them that are free.
    pub free: u64,
    /// Those from which everything leaves by itself when the window is asked for.
    pub movable: u64,
    /// The windows that come nearest, the best first.
    pub candidates: Vec<Candidate>,
}

impl Why {
    /// The window that comes nearest; nothing where no zone has one.
    #[must_use]
    pub fn best(&self) -> Option<&Candidate> {
        self.candidates.first()
    }
}

/// A window, and what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Where.
    pub window: Window,
    /// Everything that is not free, from below.
    pub obstacles: Vec<Obstacle>,
    /// What comes of a request for it.
    pub verdict: Verdict,
}

impl Candidate {
    /// What has to be moved, and can be: the cheapest way to the window, where nothing else is in it.
    pub fn moves(&self) -> impl Iterator<Item = &Obstacle> {
        self.obstacles.iter().filter(|obstacle| obstacle.mend == Mend::Move)
    }

    /// What does not leave by itself.
    pub fn stays(&self) -> impl Iterator<Item = &Obstacle> {
        self.obstacles.iter().filter(|obstacle| !obstacle.mend.is_automatic())
    }
}

/// What comes of a request for a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is free.
    Free,
    /// It is had by moving these.
    ByMoving {
        /// How many blocks.
        blocks: u64,
        /// How many pages.
        pages: PageCount,
    },
    /// Everything in it can be moved, and there is not enough free memory elsewhere to move it to.
    NoRoom {
        /// Pages to be moved.
        pages: PageCount,
        /// Free pages elsewhere, above the lowest marks.
        room: PageCount,
    },
    /// Something stays.
    Stays {
        /// How many blocks that is.
        blocks: u64,
    },
}

/// A block in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// Its first frame.
    pub pfn: Pfn,
    /// Its size.
    pub order: Order,
    /// Who has it.
    pub holder: Holder,
    /// What makes it go.
    pub mend: Mend,
}

/// Who has a block.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Holder {
    /// A user of the machine, under a name.
    Block(BlockId),
    /// A pool of huge pages, or whoever has the page from there.
    Pool {
        /// The size of its pages.
        size: HugeSize,
        /// References; nobody has a page without any.
        refs: u64,
        /// The file and index at which it is cached or mapped.
        home: Option<(InodeId, HugeIndex)>,
    },
    /// Nobody any more: it was a page of a pool and waits for descriptors of its own.
    Leaving,
    /// A processor keeps it to hand it out again.
    Processor,
    /// The kernel kept it at boot.
    Boot,
    /// Its memory is broken.
    Broken,
    /// Nobody: there is no memory.
    Nowhere,
    /// An area that is lent, and of which the window has a part alone.
    LentArea,
    /// Nobody in particular: areas alone may be taken, and the window is in none.
    NotLent,
    /// A thread that asked for it, as far as anybody watches.
    Asked {
        /// The thread.
        pid: u32,
        /// Its name.
        comm: String,
    },
    /// Somebody who is known to nobody here.
    Unknown,
}

/// What makes a block go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mend {
    /// Nothing is to be done: processors give back what they keep.
    Drain,
    /// Nothing is to be done: it is moved.
    Move,
    /// Whoever pins it lets it go.
    Unpin {
        /// How many do.
        pins: u32,
    },
    /// Whoever has it gives it back: it cannot be moved.
    FreeBlock,
    /// The pool of its size is made smaller by this page.
    ShrinkPool,
    /// A reservation of its pool is given up, and then the pool is made smaller: every free page stands for one.
    DropReservation,
    /// Whoever has the huge page lets it go, and its pool is made smaller.
    LetGo,
    /// Memory comes there.
    Online,
    /// Nothing: it is there as long as the machine runs.
    Nothing,
}

impl Mend {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Drain => "drain-lists",
            Self::Move => "move",
            Self::Unpin { .. } => "unpin",
            Self::FreeBlock => "free-block",
            Self::ShrinkPool => "shrink-pool",
            Self::DropReservation => "drop-reservation",
            Self::LetGo => "let-go",
            Self::Online => "online-memory",
            Self::Nothing => "nothing",
        }
    }

    /// Does a request for the window see to it?
    #[must_use]
    pub const fn is_automatic(self) -> bool {
        matches!(self, Self::Drain | Self::Move)
    }
}

/// As [`crate::Machine::why`], for an allocator by itself. What it handed out is movable where its owner said so.
#[must_use]
pub fn of_pages(pages: &PageAllocator, wanted: &Wanted) -> Why {
    let mut survey = Survey::new(pages.zones().map(|(zone, _)| zone), wanted, pages.rules().largest);
    for (zone, _) in pages.zones() {
        let at = survey::place_of(zone);
        for &(start, end) in &zone.layout().spans {
            for found in zone.in_use(start, end) {
                survey.add(at, found.pfn, found.order, found.held);
            }
        }
    }
    survey.answer(wanted, |window| {
        let of = |found: &Found| (asked(pages, found.pfn), mend_of(found.held));
        candidate(pages, window, of)
    })
}

/// Who asked for a block, if anybody watches that.
fn asked(pages: &PageAllocator, pfn: Pfn) -> Holder {
    match pages.owner_of(pfn) {
        Some(owner) => Holder::Asked { pid: owner.by.pid, comm: owner.by.comm.clone() },
        None => Holder::Unknown,
    }
}

const fn mend_of(held: Held) -> Mend {
    match held {
        Held::Movable => Mend::Move,
        Held::Free | Held::Cached => Mend::Drain,
        Held::Reserved => Mend::Nothing,
        Held::Used => Mend::FreeBlock,
    }
}

/// Everything that is in a window, with who has it and what makes it go.
fn candidate(pages: &PageAllocator, window: Window, mut of: impl FnMut(&Found) -> (Holder, Mend)) -> Option<Candidate> {
    let zone = pages.zone(window.zone)?;
    let mut obstacles = survey::holes(zone, window.start, window.end());
    for found in zone.in_use(window.start, window.end()) {
        let (holder, mend) = match found.held {
            Held::Cached => (Holder::Processor, Mend::Drain),
            Held::Reserved => (Holder::Boot, Mend::Nothing),
            _ => of(&found),
        };
        obstacles.push(Obstacle { pfn: found.pfn, order: found.order, holder, mend });
    }
    obstacles.sort_by_key(|obstacle| obstacle.pfn);
    let verdict = verdict(pages, &window, &obstacles);
    Some(Candidate { window, obstacles, verdict })
}

fn verdict(pages: &PageAllocator, window: &Window, obstacles: &[Obstacle]) -> Verdict {
    let stays = obstacles.iter().filter(|obstacle| !obstacle.mend.is_automatic()).count();
    let moves = || obstacles.iter().filter(|obstacle| obstacle.mend == Mend::Move);
    let to_move: PageCount = moves().map(|obstacle| obstacle.order.pages()).sum();
    if stays > 0 {
        return Verdict::Stays { blocks: stays as u64 };
    }
    if to_move.is_zero() {
        return Verdict::Free;
    }
    let room = survey::room(pages, window, obstacles);
    if room < to_move {
        return Verdict::NoRoom { pages: to_move, room };
    }
    Verdict::ByMoving { blocks: moves().count() as u64, pages: to_move }
}

/// Does nobody have a folio?
const fn is_idle(folio: &Folio) -> bool {
    folio.refs() == 0
}
