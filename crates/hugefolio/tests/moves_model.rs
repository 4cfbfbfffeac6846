//! Random mappings, moves, pins and failures on two nodes, against pages counted one by one.
//!
//! The model has a page for every page of the pool and knows nothing of ledgers: every counter is a count of its pages. Which page a
//! touch or a move gets is the library's choice among those that the rules permit.
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use std::collections::{BTreeMap, BTreeSet};

use hugefolio::{
    Admin, Advice, Bytes, CallError, Calls, Cause, Dissolved, Failed, FaultError, Frame, HugeCount, HugeSize,
    IsolateError, Machine, MapCall, MigrateError, MovePageError, MoveScope, Moves, NodeId, PageCount, Pfn, Pid, Pin,
    ResizeNodes, Share, SoftOfflined, Touch, Vaddr,
};

const NODES: [NodeId; 2] = [NodeId::new(0), NodeId::new(1)];
const PLACES: usize = 10;
const STEPS: usize = 4_000;

const fn pages(n: u64) -> Bytes {
    Bytes::new(n * HugeSize::M2.bytes().get())
}

/// A page of the pool.
#[derive(Clone, Debug, Default)]
struct Page {
    node: usize,
    broken: BTreeSet<u64>,
    /// The place that maps it.
    place: Option<usize>,
    pins: usize,
    /// It was made on the node of the page whose place it took, and is not moved as long as it is used.
    stays: bool,
}

impl Page {
    fn is_free(&self) -> bool {
        self.place.is_none() && self.pins == 0
    }

    fn is_sound_and_free(&self) -> bool {
        self.is_free() && self.broken.is_empty()
    }
}

/// A private page of the one process: an area of its own.
#[derive(Clone, Debug)]
struct Place {
    at: Vaddr,
    /// The page that was touched or moved to.
    page: Option<Pfn>,
    /// Its reservation is not spent.
    reserved: bool,
    /// Its page broke.
    poisoned: bool,
    /// Its reservation returns with this page, which somebody still pins.
    owed: Option<Pfn>,
    value: u8,
}

struct Model {
    pages: BTreeMap<Pfn, Page>,
    places: Vec<Option<Place>>,
    broken: BTreeSet<Pfn>,
    max: u64,
}

impl Model {
    fn reserved(&self) -> usize {
        self.places.iter().flatten().filter(|place| place.reserved).count()
    }

    fn free(&self) -> usize {
        self.pages.values().filter(|page| page.is_free()).count()
    }

    fn available(&self) -> usize {
        self.free() - self.reserved()
    }

    fn sound_on(&self, node: usize) -> usize {
        self.pages.values().filter(|page| page.node == node && page.is_sound_and_free()).count()
    }

    /// Where a page would be taken from that prefers `first`.
    fn nearest(&self, first: usize) -> Option<usize> {
        [first, 1 - first].into_iter().find(|&node| self.sound_on(node) > 0)
    }

    /// The last reference of a page went.
    fn released(&mut self, pfn: Pfn) {
        if self.pages[&pfn].is_free() {
            self.pages.entry(pfn).or_default().stays = false;
            for place in self.places.iter_mut().flatten() {
                if place.owed == Some(pfn) {
                    (place.owed, place.reserved) = (None, true);
                }
            }
        }
    }

    /// Nobody has the page any more; its broken base pages stay behind.
    fn leaves(&mut self, pfn: Pfn) {
        let page = self.pages.remove(&pfn).unwrap();
        self.broken.extend(page.broken.iter().map(|&offset| pfn.offset(PageCount::new(offset))));
    }

    /// A free page becomes ordinary memory, if it is not needed.
    fn dissolves(&mut self, pfn: Pfn) -> bool {
        let can = self.available() > 0;
        if can {
            self.leaves(pfn);
            self.max -= 1;
        }
        can
    }
}

struct Rig {
    machine: Machine,
    pid: Pid,
    model: Model,
    pins: Vec<Pin>,
    state: u64,
}

impl Rig {
    fn new(seed: u64, each: u64) -> Self {
        let builder = Machine::builder().node(NODES[0], Bytes::mib(128)).node(NODES[1], Bytes::mib(128));
        let mut machine = builder.build().unwrap();
        let mut model =
            Model { pages: BTreeMap::new(), places: vec![None; PLACES], broken: BTreeSet::new(), max: 2 * each };
        let hstate = machine.hstates().default_hstate().id;
        for (n, node) in NODES.into_iter().enumerate() {
            machine.set_nr_hugepages(HugeSize::M2, HugeCount::new(each), ResizeNodes::Node(node)).unwrap();
            let shelf = machine.shelf(hstate, node).unwrap();
            model.pages.extend(shelf.iter().map(|folio| (folio.pfn, Page { node: n, ..Page::default() })));
        }
        let pid = machine.spawn();
        Self { machine, pid, model, pins: Vec::new(), state: seed }
    }

    fn below(&mut self, n: usize) -> usize {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.state >> 33).unwrap() % n
    }

    fn step(&mut self) -> &'static str {
        let n = self.below(PLACES);
        let what = self.below(20);
        if self.model.places[n].is_none() {
            return match what {
                0..15 => self.map(n),
                15 => self.fail_free(),
                16 => self.offline_free(),
                17 => self.dissolve(),
                _ => self.unpoison(),
            };
        }
        match what {
            0..7 => self.touch(n),
            7..9 => self.let_go(n),
            9 => self.unmap(n),
            10..14 => self.move_place(n),
            14..16 => self.pin(n),
            16..18 => self.unpin(),
            18 => self.fail_used(n),
            _ => self.offline_used(n),
        }
    }

    fn map(&mut self, n: usize) -> &'static str {
        let mapped = self.machine.mmap(self.pid, &MapCall::anonymous(pages(1), Share::Private));
        assert_eq!(mapped.is_ok(), self.model.available() > 0);
        if let Ok(at) = mapped {
            let place = Place { at, page: None, reserved: true, poisoned: false, owed: None, value: 0 };
            self.model.places[n] = Some(place);
        }
        "map"
    }

    fn touch(&mut self, n: usize) -> &'static str {
        let value = u8::try_from(self.below(255)).unwrap();
        let place = self.model.places[n].clone().unwrap();
        let written = self.machine.write_byte(self.pid, place.at, value);
        if place.poisoned {
            assert_eq!(written, Err(CallError::Failed(FaultError::Poisoned { addr: place.at, size: pages(1) })));
            return "touch of broken memory";
        }
        let had = place.page.is_some();
        let node = self.model.nearest(0).filter(|_| place.reserved || self.model.available() > 0);
        assert_eq!(written.is_ok(), had || node.is_some(), "{written:?}");
        if written.is_err() {
            return "touch without a page";
        }
        if !had {
            let pfn = self.machine.frame_at(self.pid, place.at).unwrap();
            let page = self.model.pages.get_mut(&pfn).unwrap();
            assert!(page.is_sound_and_free() && Some(page.node) == node);
            page.place = Some(n);
            let place = self.model.places[n].as_mut().unwrap();
            (place.page, place.reserved, place.owed) = (Some(pfn), false, None);
        }
        self.model.places[n].as_mut().unwrap().value = value;
        "touch"
    }

    /// The place stays, its page goes: the reservation returns with it.
    fn let_go(&mut self, n: usize) -> &'static str {
        let at = self.model.places[n].as_ref().unwrap().at;
        self.machine.madvise(self.pid, at, pages(1), Advice::DontNeed).unwrap();
        let place = self.model.places[n].as_mut().unwrap();
        place.poisoned = false;
        if let Some(pfn) = place.page.take() {
            place.owed = Some(pfn);
            self.model.pages.get_mut(&pfn).unwrap().place = None;
            self.model.released(pfn);
        }
        "let go"
    }

    fn unmap(&mut self, n: usize) -> &'static str {
        let place = self.model.places[n].take().unwrap();
        self.machine.munmap(self.pid, place.at, pages(1)).unwrap();
        if let Some(pfn) = place.page {
            self.model.pages.get_mut(&pfn).unwrap().place = None;
            self.model.released(pfn);
        }
        "unmap"
    }

    fn move_place(&mut self, n: usize) -> &'static str {
        let to = self.below(2);
        let place = self.model.places[n].clone().unwrap();
        let moved = self.machine.move_page(self.pid, place.at, NODES[to], MoveScope::Own);
        let Some(from) = place.page else {
            assert_eq!(moved, Err(CallError::Failed(MovePageError::Absent(place.at))));
            return "move of nothing";
        };
        let page = self.model.pages[&from].clone();
        if page.node != to && page.stays {
            let refused = IsolateError::Isolated(from);
            assert_eq!(moved, Err(CallError::Failed(MovePageError::Migrate(MigrateError::Isolate(refused)))));
            return "move of a page that stays";
        }
        if page.node != to && page.pins > 0 {
            let refused = CallError::Failed(MovePageError::Migrate(MigrateError::Referenced {
                pfn: from,
                extra: page.pins as u64,
                pins: u32::try_from(page.pins).unwrap(),
            }));
            assert_eq!(moved, Err(refused));
            return "move of a pinned page";
        }
        assert_eq!(moved, Ok(NODES[to]));
        if page.node != to {
            let spare = self.model.available() > 0 && self.model.sound_on(to) > 0;
            self.moved(n, from, to, spare);
        }
        "move"
    }

    /// The page of place `n` is another one now: one to spare, or one made for this, for which the old one leaves.
    fn moved(&mut self, n: usize, from: Pfn, to: usize, spare: bool) {
        let at = self.model.places[n].as_ref().unwrap().at;
        let pfn = self.machine.frame_at(self.pid, at).unwrap();
        if spare {
            let page = self.model.pages.get_mut(&pfn).unwrap();
            assert!(page.is_sound_and_free() && page.node == to);
            page.place = Some(n);
            self.model.pages.get_mut(&from).unwrap().place = None;
        } else {
            assert!(!self.model.pages.contains_key(&pfn), "a page was to be made");
            let stays = self.model.pages[&from].node == to;
            self.model.leaves(from);
            self.model.pages.insert(pfn, Page { node: to, place: Some(n), stays, ..Page::default() });
        }
        self.model.places[n].as_mut().unwrap().page = Some(pfn);
    }

    fn pin(&mut self, n: usize) -> &'static str {
        let place = self.model.places[n].clone().unwrap();
        let Some(pfn) = place.page.filter(|_| self.pins.len() < 4) else { return "no pin" };
        let pin = self.machine.pin(self.pid, place.at, Touch::Write).unwrap();
        assert_eq!(pin.page(), pfn);
        self.model.pages.get_mut(&pfn).unwrap().pins += 1;
        self.pins.push(pin);
        "pin"
    }

    fn unpin(&mut self) -> &'static str {
        if self.pins.is_empty() {
            return "no unpin";
        }
        let at = self.below(self.pins.len());
        let pin = self.pins.swap_remove(at);
        let pfn = pin.folio();
        self.machine.unpin(pin);
        self.model.pages.get_mut(&pfn).unwrap().pins -= 1;
        self.model.released(pfn);
        "unpin"
    }

    fn fail_used(&mut self, n: usize) -> &'static str {
        let offset = self.below(512) as u64;
        let Some(pfn) = self.model.places[n].as_ref().unwrap().page else { return "no failure" };
        let page = self.model.pages[&pfn].clone();
        let failure = self.machine.memory_failure(pfn.offset(PageCount::new(offset)), Cause::Test);
        assert_eq!(failure.victims.len(), 1);
        let record = self.model.pages.get_mut(&pfn).unwrap();
        record.broken.insert(offset);
        record.place = None;
        record.stays &= page.pins > 0;
        let place = self.model.places[n].as_mut().unwrap();
        (place.page, place.poisoned) = (None, true);
        let expected = match page.pins {
            0 if self.model.dissolves(pfn) => matches!(failure.outcome, Failed::Dissolved),
            0 => matches!(failure.outcome, Failed::Kept(_)),
            _ => failure.outcome == Failed::Referenced,
        };
        assert!(expected, "{failure:?}");
        "failure in use"
    }

    /// A frame of any page of the pool that nobody maps.
    fn any_unmapped(&mut self) -> Option<Pfn> {
        let unmapped: Vec<Pfn> =
            self.model.pages.iter().filter(|(_, p)| p.place.is_none()).map(|(&pfn, _)| pfn).collect();
        if unmapped.is_empty() {
            return None;
        }
        let at = self.below(unmapped.len());
        Some(unmapped[at])
    }

    fn fail_free(&mut self) -> &'static str {
        let offset = self.below(512) as u64;
        let Some(pfn) = self.any_unmapped() else { return "no failure" };
        let page = self.model.pages[&pfn].clone();
        let failure = self.machine.memory_failure(pfn.offset(PageCount::new(offset)), Cause::Test);
        self.model.pages.get_mut(&pfn).unwrap().broken.insert(offset);
        let expected = if !page.broken.is_empty() {
            failure.outcome == Failed::Known
        } else if page.pins > 0 {
            failure.outcome == Failed::Referenced
        } else if self.model.dissolves(pfn) {
            failure.outcome == Failed::Dissolved
        } else {
            matches!(failure.outcome, Failed::Kept(_))
        };
        assert!(expected && failure.victims.is_empty(), "{failure:?}");
        "failure of a free page"
    }

    fn offline_free(&mut self) -> &'static str {
        let Some(pfn) = self.any_unmapped() else { return "nothing to offline" };
        let page = self.model.pages[&pfn].clone();
        let offline = self.machine.soft_offline(pfn);
        if !page.broken.is_empty() {
            assert_eq!(offline, Ok(SoftOfflined::Known));
        } else if page.pins > 0 {
            assert!(offline.is_err());
        } else {
            self.model.pages.get_mut(&pfn).unwrap().broken.insert(0);
            let gone = self.model.dissolves(pfn);
            assert_eq!(offline.ok(), gone.then_some(SoftOfflined::Dissolved));
            if !gone {
                self.model.pages.get_mut(&pfn).unwrap().broken.clear();
            }
        }
        "soft offline of a free page"
    }

    fn offline_used(&mut self, n: usize) -> &'static str {
        let Some(pfn) = self.model.places[n].as_ref().unwrap().page else { return "nothing to offline" };
        let page = self.model.pages[&pfn].clone();
        let available = self.model.available() > 0;
        let target = self.model.nearest(page.node).filter(|_| available);
        let offline = self.machine.soft_offline(pfn);
        if page.pins > 0 || page.stays {
            assert!(offline.is_err());
            return "soft offline of a pinned page";
        }
        self.model.pages.get_mut(&pfn).unwrap().broken.insert(0);
        self.moved(n, pfn, target.unwrap_or(page.node), target.is_some());
        // The old page is free now, and as many are to spare as before: it leaves, unless it left for the one that was made.
        if target.is_some() {
            assert!(self.model.dissolves(pfn));
        }
        assert!(matches!(offline, Ok(SoftOfflined::Moved { .. })), "{offline:?}");
        "soft offline in use"
    }

    fn dissolve(&mut self) -> &'static str {
        let Some(pfn) = self.any_unmapped() else { return "nothing to dissolve" };
        let gone = self.model.pages[&pfn].is_free() && self.model.dissolves(pfn);
        assert_eq!(self.machine.dissolve(pfn).ok(), gone.then_some(Dissolved::Done));
        "dissolve"
    }

    fn unpoison(&mut self) -> &'static str {
        let known: Vec<Pfn> =
            self.model.pages.iter().filter(|(_, p)| !p.broken.is_empty()).map(|(&pfn, _)| pfn).collect();
        let known: Vec<Pfn> = known.into_iter().chain(self.model.broken.iter().copied()).collect();
        if known.is_empty() {
            return "nothing to unpoison";
        }
        let at = self.below(known.len());
        let pfn = known[at];
        let done = self.machine.unpoison(pfn);
        match self.model.pages.get_mut(&pfn) {
            Some(page) => {
                assert_eq!(done.is_ok(), page.is_free());
                if page.is_free() {
                    page.broken.clear();
                }
            }
            None => {
                done.unwrap();
                self.model.broken.remove(&pfn);
            }
        }
        "unpoison"
    }

    fn compare(&mut self) {
        self.machine.validate().unwrap();
        let hstate = self.machine.hstates().default_hstate().id;
        let pool = self.machine.pool_of(hstate).unwrap();
        for (n, node) in NODES.into_iter().enumerate() {
            let count = |f: &dyn Fn(&Page) -> bool| {
                HugeCount::new(self.model.pages.values().filter(|page| page.node == n && f(page)).count() as u64)
            };
            let ours = pool.node(node);
            assert_eq!(ours.nr, count(&|_| true));
            assert_eq!(ours.free, count(&Page::is_free));
            assert_eq!(ours.poisoned, count(&|page| page.is_free() && !page.broken.is_empty()));
        }
        assert_eq!(pool.resv(), HugeCount::new(self.model.reserved() as u64));
        assert_eq!((pool.surplus(), pool.max()), (HugeCount::ZERO, HugeCount::new(self.model.max)));
        for place in self.model.places.clone().into_iter().flatten() {
            assert_eq!(self.machine.frame_at(self.pid, place.at), place.page);
            if place.page.is_some() {
                assert_eq!(self.machine.read_byte(self.pid, place.at), Ok(place.value));
            }
        }
        for pfn in self.model.broken.clone() {
            assert_eq!(self.machine.frame(pfn), Frame::Broken);
        }
    }
}

#[test]
fn pages_counted_one_by_one_agree() {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in 1..=20u64 {
        let mut rig = Rig::new(seed, 3 + seed % 4);
        for step in 0..STEPS / 20 {
            let before = format!("{:?}", rig.model.places);
            let what = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let what = rig.step();
                rig.compare();
                what
            }));
            let Ok(what) = what else { panic!("seed {seed}, step {step}, places before: {before}") };
            *seen.entry(what).or_default() += 1;
        }
        // What somebody still has goes home, and nothing is left over.
        while !rig.pins.is_empty() {
            rig.unpin();
        }
        rig.machine.exit(rig.pid);
        rig.machine.validate().unwrap();
    }
    for what in ["touch of broken memory", "move of a pinned page", "failure in use", "soft offline in use", "unpoison"]
    {
        assert!(seen.get(what).is_some_and(|&times| times > 5), "{what} was hardly tried: {seen:?}");
    }
}
