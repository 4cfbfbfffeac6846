//! A file of two pages, mapped in pieces by one area and as a whole by another, against a list of pieces for each page.
//!
//! The model has base pages and knows nothing of tables: where a piece lies, a hole is 4 KiB; where none does, it is the whole page.
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use std::collections::{BTreeMap, BTreeSet};

use hugefolio::{
    Admin, Advice, Bytes, CallError, Calls, Cause, Failed, FaultError, Fd, FillRefusal, HugeCount, HugeSize, Machine,
    MapCall, MountOptions, MoveScope, Moves, NodeId, OpenCall, PageCount, PageState, Pid, PieceState, Prot, RemapFlags,
    RemapRequest, Share, Touch, UffdCallError, UffdModes, Vaddr, WriteProtection,
};

const BASE: u64 = 4096;
const HUGE: u64 = HugeSize::M2.bytes().get();
const PARTS: u64 = HUGE / BASE;
const STEPS: u32 = 1_500;
const NODES: [NodeId; 2] = [NodeId::new(0), NodeId::new(1)];

/// A piece: its length in base pages, whether it may be written, and whether a userfaultfd protects it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    length: u64,
    writable: bool,
    protected: bool,
}

/// What an area maps of one page, by where it begins.
type Mapped = BTreeMap<u64, Part>;

#[derive(Clone, Debug, Default)]
struct Model {
    /// Which pages the file has.
    cached: [bool; 2],
    /// Which of their base pages broke.
    broken: [BTreeSet<u64>; 2],
    /// Pages that left the file with broken memory.
    lost: u64,
    /// The file's size in pages.
    size: u64,
    divided: [Mapped; 2],
    /// Base pages that were taken out of the divided area.
    taken: [BTreeSet<u64>; 2],
    /// Are holes of the page protected, so that what comes there is?
    noted: [bool; 2],
    whole: [bool; 2],
    /// Was the page taken out of the plain area as a whole?
    plain_broken: [bool; 2],
    writable: bool,
    modes: UffdModes,
    bytes: BTreeMap<u64, u8>,
}

impl Model {
    fn piece(&self, part: u64) -> Option<(u64, Part)> {
        let (&start, &piece) = self.divided[page(part)].range(..=part % PARTS).next_back()?;
        (part % PARTS < start + piece.length).then_some((start, piece))
    }

    /// Bytes mapped by both areas.
    fn mapped(&self) -> u64 {
        let parts: u64 = self.divided.iter().flat_map(BTreeMap::values).map(|piece| piece.length).sum();
        parts * BASE + self.whole.iter().filter(|&&whole| whole).count() as u64 * HUGE
    }

    /// A hole is the whole page as long as nothing of it was ever smaller.
    fn is_untouched(&self, n: usize) -> bool {
        self.divided[n].is_empty() && self.taken[n].is_empty()
    }

    fn fresh(&self, n: usize, length: u64) -> Part {
        Part { length, writable: self.writable && !self.noted[n], protected: self.noted[n] }
    }

    /// What becomes of an access to a part of the divided area: nothing if it is good.
    fn touch(&mut self, part: u64, write: bool) -> Result<(), &'static str> {
        let (n, at) = (page(part), part % PARTS);
        if write && !self.writable {
            return Err("protection");
        }
        if self.taken[n].contains(&at) {
            return Err("broken");
        }
        if self.piece(part).is_none() {
            let broken = self.cached[n] && !self.broken[n].is_empty();
            if broken && self.broken[n].contains(&at) {
                return Err("broken");
            }
            if self.cached[n] && self.modes.contains(UffdModes::MINOR) {
                return Err("minor");
            }
            if !self.cached[n] && n as u64 >= self.size {
                return Err("eof");
            }
            self.cached[n] = true;
            let (start, length) = if self.is_untouched(n) && !broken { (0, PARTS) } else { (at, 1) };
            let piece = self.fresh(n, length);
            self.divided[n].insert(start, piece);
        }
        let (start, piece) = self.piece(part).unwrap();
        if write && !piece.writable {
            if piece.protected && self.modes.contains(UffdModes::WRITE_PROTECT) {
                return Err("protected");
            }
            self.divided[n].insert(start, Part { writable: true, protected: false, ..piece });
        }
        Ok(())
    }

    /// How many parts a CONTINUE maps, and why no more.
    fn map_parts(&mut self, from: u64, count: u64) -> (u64, Option<&'static str>) {
        let mut done = 0;
        while done < count {
            let (n, at) = (page(from + done), (from + done) % PARTS);
            let whole = at == 0 && count - done >= PARTS;
            if !self.cached[n] {
                return (done, Some("absent"));
            }
            if if whole { !self.broken[n].is_empty() } else { self.broken[n].contains(&at) } {
                return (done, Some("broken"));
            }
            let there = if whole { !self.is_untouched(n) } else { self.piece(from + done).is_some() };
            if there || self.taken[n].contains(&at) {
                return (done, Some("exists"));
            }
            let length = if whole { PARTS } else { 1 };
            let piece = self.fresh(n, length);
            self.divided[n].insert(at, piece);
            done += length;
        }
        (done, None)
    }

    /// A base page breaks; who had it mapped, as (the divided area?, the page or part).
    fn poison(&mut self, part: u64) -> (Vec<(bool, u64)>, bool) {
        let (n, at) = (page(part), part % PARTS);
        if !self.broken[n].insert(at) {
            return (Vec::new(), true);
        }
        let known = self.broken[n].len() > 1;
        let mut victims = Vec::new();
        if std::mem::take(&mut self.whole[n]) {
            self.plain_broken[n] = true;
            victims.push((false, n as u64));
        }
        if let Some((start, piece)) = self.piece(part) {
            self.divided[n].remove(&start);
            for within in start..start + piece.length {
                self.divided[n].insert(within, Part { length: 1, ..piece });
            }
            self.divided[n].remove(&at);
            self.taken[n].insert(at);
            victims.push((true, part));
        }
        let outcome_known = known && victims.is_empty();
        (victims, outcome_known)
    }

    /// Is any of a page protected: a piece, or a hole?
    fn is_protected(&self, n: usize) -> bool {
        let mapped: u64 = self.divided[n].values().map(|piece| piece.length).sum();
        let holes = mapped + (self.taken[n].len() as u64) < PARTS;
        self.divided[n].values().any(|piece| piece.protected) || self.noted[n] && holes
    }

    fn protect_writes(&mut self, n: usize, on: bool) {
        for piece in self.divided[n].values_mut() {
            (piece.protected, piece.writable) = (on, piece.writable && !on);
        }
        self.noted[n] = on;
    }

    fn drop_page(&mut self, n: usize) {
        self.noted[n] = self.is_protected(n);
        self.divided[n].clear();
        self.taken[n].clear();
    }

    fn truncate(&mut self, size: u64) {
        for n in usize::try_from(size).unwrap()..2 {
            self.lost += u64::from(self.cached[n] && !self.broken[n].is_empty());
            self.cached[n] = false;
            self.broken[n].clear();
            self.divided[n].clear();
            self.taken[n].clear();
            (self.noted[n], self.whole[n], self.plain_broken[n]) = (false, false, false);
            self.bytes.retain(|&part, _| page(part) != n);
        }
        self.size = size;
    }
}

fn page(part: u64) -> usize {
    usize::try_from(part / PARTS).unwrap()
}

struct Pair {
    machine: Machine,
    model: Model,
    pid: Pid,
    file: Fd,
    uffd: Fd,
    at: Vaddr,
    plain: Vaddr,
    random: u64,
    moved: u32,
    broke: u32,
}

const LENGTH: Bytes = Bytes::new(2 * HUGE);

impl Pair {
    fn new(seed: u64) -> Self {
        let nodes = Machine::builder().node(NODES[0], Bytes::mib(64)).node(NODES[1], Bytes::mib(64));
        let mut machine = nodes.cmdline("hugepages=6").build().unwrap();
        let hstate = machine.hstates().default_hstate().id;
        let mount = machine.mount(&MountOptions::unlimited(hstate)).unwrap();
        let pid = machine.spawn();
        let file = machine.open(pid, &OpenCall::create(mount, "file")).unwrap();
        machine.ftruncate(pid, file, LENGTH).unwrap();
        let at = machine.mmap(pid, &MapCall::file(file, LENGTH, Share::Shared)).unwrap();
        let plain = machine.mmap(pid, &MapCall::file(file, LENGTH, Share::Shared)).unwrap();
        machine.madvise(pid, at, LENGTH, Advice::Split).unwrap();
        let uffd = machine.userfaultfd(pid).unwrap();
        let model = Model { size: 2, writable: true, ..Model::default() };
        let random = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self { machine, model, pid, file, uffd, at, plain, random, moved: 0, broke: 0 }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % below
    }

    /// A base page of the two, mostly near the edges of pages.
    fn part(&mut self) -> u64 {
        let within = if self.random(4) == 0 { self.random(PARTS) } else { self.random(12) };
        self.random(2) * PARTS + within
    }

    fn step(&mut self) -> String {
        match self.random(100) {
            0..38 => self.touch(),
            38..54 => self.map_parts(),
            54..62 => self.touch_plain(),
            62..64 => self.poison(),
            64..70 => self.protect_writes(),
            70..76 => self.watch(),
            76..82 => self.collapse(),
            82..88 => self.protect(),
            88..92 => self.drop_page(),
            92..95 => self.truncate(),
            95 => self.move_area(),
            96 => self.pin(),
            97 => self.save(),
            98 => self.move_page(),
            _ => self.fork(),
        }
    }

    fn touch(&mut self) -> String {
        let (part, write, value) = (self.part(), self.random(2) == 0, u8::try_from(self.random(256)).unwrap());
        let addr = self.at + Bytes::new(part * BASE);
        let must = self.model.touch(part, write);
        let came = match write {
            true => self.machine.write_byte(self.pid, addr, value).map(|()| value),
            false => self.machine.read_byte(self.pid, addr),
        };
        if write && must.is_ok() {
            self.model.bytes.insert(part, value);
        }
        let known = match came {
            Ok(byte) => Ok(byte),
            Err(CallError::Failed(FaultError::UserfaultMinor { addr: told })) if told == addr => Err("minor"),
            Err(CallError::Failed(FaultError::Protection(_))) => Err("protection"),
            Err(CallError::Failed(FaultError::BeyondEof { .. })) => Err("eof"),
            Err(CallError::Failed(FaultError::Poisoned { addr: told, size })) if told == addr && size.get() == BASE => {
                Err("broken")
            }
            Err(CallError::Failed(FaultError::UserfaultWriteProtected { addr: told })) => {
                assert_eq!(told, addr.align_down(Bytes::new(HUGE)));
                Err("protected")
            }
            Err(other) => panic!("{other}"),
        };
        assert_eq!(known, must.map(|()| self.model.bytes.get(&part).copied().unwrap_or(0)));
        format!("touch {part}, {write}: {must:?}")
    }

    fn touch_plain(&mut self) -> String {
        let part = self.part();
        let came = self.machine.read_byte(self.pid, self.plain + Bytes::new(part * BASE));
        let n = page(part);
        let there = self.model.cached[n] || (n as u64) < self.model.size;
        let good = there && self.model.broken[n].is_empty() && !self.model.plain_broken[n];
        assert_eq!(came.is_ok(), good);
        if let Ok(byte) = came {
            assert_eq!(byte, self.model.bytes.get(&part).copied().unwrap_or(0));
            (self.model.cached[n], self.model.whole[n]) = (true, true);
        }
        format!("touch {part} of the plain area")
    }

    fn map_parts(&mut self) -> String {
        let from = self.part();
        let count = if self.random(3) == 0 { PARTS } else { 1 + self.random(6) }.min(2 * PARTS - from);
        let (start, length) = (self.at + Bytes::new(from * BASE), Bytes::new(count * BASE));
        let came = self.machine.uffd_continue(self.pid, self.uffd, start, length);
        if self.model.modes.is_empty() {
            assert!(came.is_err());
            return "nobody watches".to_owned();
        }
        let must = self.model.map_parts(from, count);
        let came = match came {
            Ok(()) => (count, None),
            Err(CallError::Failed(UffdCallError::Failed(error))) => (
                error.filled.get() / BASE,
                Some(match error.refusal {
                    FillRefusal::Exists(_) => "exists",
                    FillRefusal::NotCached(_) => "absent",
                    FillRefusal::BrokenPart(_) => "broken",
                    other => panic!("{other}"),
                }),
            ),
            Err(other) => panic!("{other}"),
        };
        assert_eq!(came, must);
        format!("map {count} from {from}: {must:?}")
    }

    fn watch(&mut self) -> String {
        if self.model.modes.is_empty() {
            let modes = [UffdModes::MINOR, UffdModes::WRITE_PROTECT, UffdModes::MINOR | UffdModes::WRITE_PROTECT];
            self.model.modes = modes[usize::try_from(self.random(3)).unwrap()];
            self.machine.uffd_register(self.pid, self.uffd, self.at, LENGTH, self.model.modes).unwrap();
        } else {
            self.machine.uffd_unregister(self.pid, self.uffd, self.at, LENGTH).unwrap();
            self.end_watch();
        }
        format!("watched: {:?}", self.model.modes)
    }

    fn end_watch(&mut self) {
        (0..2).for_each(|n| self.model.protect_writes(n, false));
        self.model.modes = UffdModes::empty();
    }

    /// Whole pages alone, but of all their pieces.
    fn protect_writes(&mut self) -> String {
        let (n, on) = (self.random(2), self.random(2) == 0);
        let (addr, how) =
            (self.at + Bytes::new(n * HUGE), if on { WriteProtection::Set } else { WriteProtection::Clear });
        let came = self.machine.uffd_write_protect(self.pid, self.uffd, addr, Bytes::new(HUGE), how);
        assert_eq!(came.is_ok(), self.model.modes.contains(UffdModes::WRITE_PROTECT));
        if came.is_ok() {
            self.model.protect_writes(usize::try_from(n).unwrap(), on);
        }
        format!("protect writes of {n}, {on}: {came:?}")
    }

    /// Of two pages at most, since no other one comes in their place.
    fn poison(&mut self) -> String {
        let part = self.part();
        let n = page(part);
        let fresh = self.model.broken[n].is_empty();
        if !self.model.cached[n] || fresh && self.model.lost + self.sick() >= 3 {
            return "nothing to poison".to_owned();
        }
        let offset = Bytes::new(part * BASE);
        let frames = [self.at + offset, self.plain + offset].map(|addr| self.machine.frame_at(self.pid, addr));
        let Some(frame) = frames.into_iter().flatten().next() else { return "nobody has it mapped".to_owned() };
        let (victims, known) = self.model.poison(part);
        let failure = self.machine.memory_failure(frame, Cause::Test);
        let mut must: Vec<_> = victims
            .iter()
            .map(|&(divided, n)| match divided {
                true => (self.at + Bytes::new(n * BASE), Bytes::new(BASE)),
                false => (self.plain + Bytes::new(n * HUGE), Bytes::new(HUGE)),
            })
            .collect();
        let mut came: Vec<_> = failure.victims.iter().map(|victim| (victim.addr, victim.size)).collect();
        must.sort_unstable();
        came.sort_unstable();
        assert_eq!((came, failure.outcome == Failed::Known), (must, known));
        self.broke += u32::from(!known);
        format!("poison {part}: {victims:?}")
    }

    fn sick(&self) -> u64 {
        self.model.broken.iter().filter(|broken| !broken.is_empty()).count() as u64
    }

    fn collapse(&mut self) -> String {
        self.machine.madvise(self.pid, self.at, LENGTH, Advice::Collapse).unwrap();
        for n in 0..2 {
            let in_pieces = self.model.divided[n].values().any(|piece| piece.length < PARTS);
            if in_pieces && self.model.taken[n].is_empty() {
                let whole = Part { length: PARTS, writable: self.model.writable, protected: false };
                self.model.divided[n] = Mapped::from([(0, whole)]);
                self.model.noted[n] = false;
            }
        }
        "collapse".to_owned()
    }

    fn protect(&mut self) -> String {
        self.model.writable = !self.model.writable;
        let prot = if self.model.writable { Prot::READ | Prot::WRITE } else { Prot::READ };
        self.machine.mprotect(self.pid, self.at, LENGTH, prot).unwrap();
        if !self.model.writable {
            self.model.divided.iter_mut().flat_map(BTreeMap::values_mut).for_each(|piece| piece.writable = false);
        }
        format!("writable: {}", self.model.writable)
    }

    fn drop_page(&mut self) -> String {
        let n = self.random(2);
        self.machine.madvise(self.pid, self.at + Bytes::new(n * HUGE), Bytes::new(HUGE), Advice::DontNeed).unwrap();
        self.model.drop_page(usize::try_from(n).unwrap());
        format!("drop {n}")
    }

    fn truncate(&mut self) -> String {
        let size = self.random(3);
        self.machine.ftruncate(self.pid, self.file, Bytes::new(size * HUGE)).unwrap();
        self.model.truncate(size);
        format!("truncate to {size}")
    }

    /// To somewhere else and no further: nobody watches it there.
    fn move_area(&mut self) -> String {
        let to = Vaddr::new(if self.at.get() == 64 * HUGE { 128 * HUGE } else { 64 * HUGE });
        let flags = RemapFlags::MAY_MOVE | RemapFlags::FIXED;
        let request = RemapRequest { from: self.at, old_len: LENGTH, new_len: LENGTH, flags, to };
        self.at = self.machine.mremap(self.pid, &request).unwrap();
        assert_eq!(self.at, to);
        if !self.model.modes.is_empty() {
            self.end_watch();
        }
        "move".to_owned()
    }

    fn save(&mut self) -> String {
        let before = self.machine.hugetlb_pages(self.pid);
        let (state, _) = self.machine.state();
        let mut machine = Machine::from_state(state).unwrap();
        machine.validate().unwrap();
        let pid = machine.processes().next().unwrap().0;
        assert_eq!(machine.hugetlb_pages(pid), before);
        for part in (0..16).chain(PARTS - 1..PARTS + 16) {
            let addr = self.at + Bytes::new(part * BASE);
            assert_eq!(machine.mapping_at(pid, addr), self.machine.mapping_at(self.pid, addr), "part {part}");
        }
        "save".to_owned()
    }

    /// Nobody can tell where a page lies: what is mapped, and what is in it, stays.
    fn move_page(&mut self) -> String {
        let n = self.random(2);
        let to = NODES[usize::try_from(self.random(2)).unwrap()];
        let addr = self.at + Bytes::new(n * HUGE);
        let came = self.machine.move_page(self.pid, addr, to, MoveScope::All);
        if !self.model.broken[usize::try_from(n).unwrap()].is_empty() {
            return "a page with broken memory stays where it is".to_owned();
        }
        let mapped = !self.model.divided[usize::try_from(n).unwrap()].is_empty();
        assert_eq!(came.is_ok(), mapped, "{came:?}");
        assert!(!mapped || self.machine.node_of(self.pid, addr) == Ok(to));
        self.moved += u32::from(mapped);
        format!("move page {n}: {came:?}")
    }

    /// A page that is pinned through one of its pieces stays where it is.
    fn pin(&mut self) -> String {
        let part = self.part();
        let addr = self.at + Bytes::new(part * BASE);
        let must = self.model.touch(part, false);
        let came = self.machine.pin(self.pid, addr, Touch::Read);
        assert_eq!(came.is_ok(), must.is_ok(), "{came:?}");
        if let Ok(pin) = came {
            assert_eq!(self.machine.frame_at(self.pid, addr), Some(pin.page()));
            let here = self.machine.node_of(self.pid, addr).unwrap();
            let there = NODES[usize::from(here == NODES[0])];
            assert!(self.machine.move_page(self.pid, addr, there, MoveScope::All).is_err());
            self.machine.unpin(pin);
        }
        format!("pin {part}: {must:?}")
    }

    /// A child has nothing mapped; what it touches it maps whole, and all of that goes with it.
    fn fork(&mut self) -> String {
        let child = self.machine.fork(self.pid).unwrap();
        assert_eq!(self.machine.hugetlb_pages(child), Some(Bytes::ZERO));
        let came = self.machine.read_byte(child, self.at);
        let broken = self.model.broken[0].contains(&0);
        assert_eq!(came.is_ok(), !broken && (self.model.cached[0] || self.model.size > 0));
        if came.is_ok() {
            self.model.cached[0] = true;
        }
        self.machine.validate().unwrap();
        self.machine.exit(child);
        "fork".to_owned()
    }

    fn compare(&mut self) {
        self.machine.validate().unwrap_or_else(|broken| panic!("{broken}"));
        assert_eq!(self.machine.hugetlb_pages(self.pid), Some(Bytes::new(self.model.mapped())));
        let pool = self.machine.pool(HugeSize::M2).unwrap();
        let cached = self.model.cached.iter().filter(|&&cached| cached).count() as u64;
        assert_eq!(pool.free, HugeCount::new(6 - cached - self.model.lost));
        for _ in 0..4 {
            self.compare_part();
        }
    }

    /// Everything that can be asked about one base page.
    fn compare_part(&mut self) {
        let part = self.part();
        let (n, within) = (page(part), part % PARTS);
        let addr = self.at + Bytes::new(part * BASE);
        let came = self.machine.mapping_at(self.pid, addr).unwrap();
        let small = Bytes::new(BASE);
        let hole = if self.model.is_untouched(n) { Bytes::new(HUGE) } else { small };
        let (size, state) = match self.model.piece(part) {
            Some((_, Part { length, writable, protected })) => {
                (Bytes::new(length * BASE), PieceState::Page { writable, uffd_wp: protected })
            }
            None if self.model.taken[n].contains(&within) => (small, PieceState::Broken),
            None => (hole, PieceState::Hole { uffd_wp: self.model.noted[n] }),
        };
        assert_eq!((came.piece.size, came.piece.state), (size, state));
        let counts = (self.model.divided[n].len(), self.model.taken[n].len());
        assert_eq!((came.leaves as usize, came.broken as usize), counts);
        let in_pieces = self.model.divided[n].values().any(|piece| piece.length < PARTS) || counts.1 > 0;
        assert_eq!(came.tables, (PageCount::ZERO, PageCount::new(u64::from(in_pieces))));
        let mapcount = u32::from(state.is_page()) + u32::from(self.model.whole[n]);
        assert_eq!(came.mapcount, mapcount);
        let shown = match state {
            PieceState::Page { uffd_wp, .. } => {
                PageState::Present { anonymous: false, exclusive: mapcount == 1, uffd_wp }
            }
            PieceState::Hole { uffd_wp: true } => PageState::Marker,
            _ => PageState::Absent,
        };
        let whole = size.get() == HUGE && state.is_page();
        assert!(whole || self.machine.page_state(self.pid, addr) == Some(shown));
        if self.model.cached[n] {
            let cache = if self.model.broken[n].is_empty() { PARTS } else { PARTS + 1 };
            let refs = cache + counts.0 as u64 + u64::from(self.model.whole[n]);
            assert_eq!(came.refs, Some(refs));
        }
    }
}

#[test]
fn pieces_are_what_the_list_says() {
    let (mut moved, mut broke) = (0, 0);
    for seed in 0..60 {
        let mut pair = Pair::new(seed);
        let mut told = Vec::new();
        for _ in 0..STEPS {
            let step = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let step = pair.step();
                pair.compare();
                step
            }));
            match step {
                Ok(step) => told.push(step),
                Err(_) => panic!("seed {seed}: {:#?}", &told[told.len().saturating_sub(12)..]),
            }
        }
        moved += pair.moved;
        broke += pair.broke;
    }
    assert!(moved > 100 && broke > 100, "{moved} pages moved, {broke} broke");
}
