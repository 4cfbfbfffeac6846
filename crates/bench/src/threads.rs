//! What a second thread costs.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;

use sync::Rank;
use sync::locks::Section;
use units::{Migratetype, Order, PageCount, Pfn, ZoneKind};
use zone::{AllocFlags, Level, MarkCheck, PerCpuPages, Want, Zone};

use crate::frames::{BuddySystem, Frames, lists_of, marked_zone};
use crate::torture::SharedFrames;

/// Any other lock may be taken while one of these is held.
const OUTERMOST: Rank = Rank(0, 0);

/// A zone behind its lock, shared as a machine of several threads shares it: each thread owns its lists, which go back when it ends.
#[derive(Debug)]
pub struct SharedZone(Section<Zone>);

impl SharedZone {
    /// Of so many pages, all of them free.
    #[must_use]
    pub fn new(pages: PageCount) -> Self {
        Self::of(marked_zone(pages))
    }

    /// Of a zone as it stands.
    #[must_use]
    pub fn of(zone: Zone) -> Self {
        Self(Section::new(OUTERMOST, zone))
    }

    /// The zone, by its only owner.
    #[must_use]
    pub fn into_inner(self) -> Zone {
        self.0.into_inner()
    }
}

/// The zone, as one thread sees it.
#[derive(Debug)]
pub struct WithLists<'a> {
    zone: &'a Section<Zone>,
    lists: PerCpuPages,
}

impl Frames for WithLists<'_> {
    fn add(&mut self, _: Pfn, _: Pfn) {}

    #[inline]
    fn alloc(&mut self, order: Order) -> Option<Pfn> {
        let flags = AllocFlags::NONE;
        let check = MarkCheck { order, level: Level::Low, highest: ZoneKind::Normal, flags };
        self.zone.with(|zone| {
            let want = Want { order, migratetype: Migratetype::Movable, flags };
            if zone.is_above_fast(check) { zone.take_cached(&mut self.lists, want) } else { None }
        })
    }

    #[inline]
    fn free(&mut self, pfn: Pfn, order: Order) {
        let put = self.zone.with(|zone| zone.put_cached(&mut self.lists, pfn, order));
        put.expect("it was handed out");
    }
}

impl Drop for WithLists<'_> {
    fn drop(&mut self) {
        self.zone.with(|zone| zone.drain(&mut self.lists));
    }
}

impl SharedFrames for SharedZone {
    type Handle<'a> = WithLists<'a>;

    fn handle(&self, _: u8) -> WithLists<'_> {
        WithLists { zone: &self.0, lists: self.0.with(|zone| lists_of(zone)) }
    }
}

/// A zone for each thread.
#[derive(Debug)]
pub struct ZoneEach([SharedZone; 2]);

impl ZoneEach {
    /// Of so many pages each.
    #[must_use]
    pub fn new(pages: PageCount) -> Self {
        Self([SharedZone::new(pages), SharedZone::new(pages)])
    }
}

impl SharedFrames for ZoneEach {
    type Handle<'a> = WithLists<'a>;

    fn handle(&self, n: u8) -> WithLists<'_> {
        self.0[usize::from(n) % 2].handle(n)
    }
}

/// Another allocator behind its lock.
pub struct SharedBuddy(Section<BuddySystem>);

impl SharedBuddy {
    /// Of so many pages.
    #[must_use]
    pub fn new(pages: PageCount) -> Self {
        Self(Section::new(OUTERMOST, BuddySystem::new(pages)))
    }
}

impl Frames for &SharedBuddy {
    fn add(&mut self, _: Pfn, _: Pfn) {}

    fn alloc(&mut self, order: Order) -> Option<Pfn> {
        self.0.with(|frames| frames.alloc(order))
    }

    fn free(&mut self, pfn: Pfn, order: Order) {
        self.0.with(|frames| frames.free(pfn, order));
    }
}

impl SharedFrames for SharedBuddy {
    type Handle<'a> = &'a Self;

    fn handle(&self, _: u8) -> &Self {
        self
    }
}

/// Threads that share nothing and have something to do: what they take longer than one is the machine's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nothing;

impl Frames for Nothing {
    fn add(&mut self, _: Pfn, _: Pfn) {}

    fn alloc(&mut self, order: Order) -> Option<Pfn> {
        let mut state = u64::from(order.get()) + 1;
        for _ in 0..50 {
            state = black_box(state).wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        }
        Some(Pfn::new(state >> 12))
    }

    fn free(&mut self, _: Pfn, _: Order) {}
}

impl SharedFrames for Nothing {
    type Handle<'a> = Self;

    fn handle(&self, _: u8) -> Self {
        Self
    }
}

/// Whose blocks a thread gives back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Its own, one by one.
    Private,
    /// The other thread's, by handfuls; with one thread its own.
    Crossed,
}

/// Pairs that each thread makes.
pub const PAIRS: u64 = 100_000;
const HANDFUL: u64 = 50;

/// Each of `threads` threads, one or two, takes and gives back single pages.
pub fn run<S: SharedFrames>(frames: &S, threads: u8, work: Work) {
    let mailboxes = [(); 2].map(|()| Section::new(OUTERMOST, Vec::new()));
    let start = Barrier::new(threads.into());
    thread::scope(|scope| {
        for n in 0..threads {
            let (mailboxes, start) = (&mailboxes, &start);
            scope.spawn(move || {
                let mut handle = frames.handle(n);
                start.wait();
                match work {
                    Work::Private => private(&mut handle),
                    Work::Crossed => crossed(&mut handle, [n, (n + 1) % threads].map(|n| &mailboxes[usize::from(n)])),
                }
                start.wait();
                give_back(&mut handle, &mailboxes[usize::from(n)]);
            });
        }
    });
}

fn private<F: Frames>(frames: &mut F) {
    for _ in 0..PAIRS {
        let pfn = frames.alloc(Order::ZERO).expect("memory is free");
        frames.free(black_box(pfn), Order::ZERO);
    }
}

fn crossed<F: Frames>(frames: &mut F, [own, other]: [&Section<Vec<Pfn>>; 2]) {
    let mut handful = Vec::new();
    for _ in 0..PAIRS / HANDFUL {
        handful.extend((0..HANDFUL).map(|_| frames.alloc(Order::ZERO).expect("memory is free")));
        other.with(|left| left.append(&mut handful));
        give_back(frames, own);
    }
}

fn give_back<F: Frames>(frames: &mut F, mailbox: &Section<Vec<Pfn>>) {
    for pfn in mailbox.with(std::mem::take) {
        frames.free(pfn, Order::ZERO);
    }
}
