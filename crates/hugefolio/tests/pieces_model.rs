//! A file of two pages, mapped in pieces by one area and as a whole by another, against a list of pieces for each page.
//!
//! The model has base pages and knows nothing of tables: where a piece lies, a hole is 4 KiB; where none does, it is the whole page.
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use std::collections::BTreeMap;

use hugefolio::{
    Admin, Advice, Bytes, CallError, Calls, FaultError, Fd, FillRefusal, HugeCount, HugeSize, Machine, MapCall,
    MountOptions, MoveScope, Moves, NodeId, OpenCall, Pid, Prot, RemapFlags, RemapRequest, Share, Touch, UffdCallError,
    UffdModes, Vaddr,
};

const BASE: u64 = 4096;
const HUGE: u64 = HugeSize::M2.bytes().get();
const PARTS: u64 = HUGE / BASE;
const STEPS: u32 = 1_500;
const NODES: [NodeId; 2] = [NodeId::new(0), NodeId::new(1)];

/// What an area maps of one page: pieces by where they begin, with their length in base pages and whether they may be written.
type Mapped = BTreeMap<u64, (u64, bool)>;

#[derive(Clone, Debug, Default)]
struct Model {
    /// Which pages the file has.
    cached: [bool; 2],
    /// The file's size in pages.
    size: u64,
    divided: [Mapped; 2],
    whole: [bool; 2],
    writable: bool,
    watched: bool,
    bytes: BTreeMap<u64, u8>,
}

impl Model {
    fn piece(&self, part: u64) -> Option<(u64, bool)> {
        let (&start, &(length, writable)) = self.divided[page(part)].range(..=part % PARTS).next_back()?;
        (part % PARTS < start + length).then_some((start, writable))
    }

    /// Bytes mapped by both areas.
    fn mapped(&self) -> u64 {
        let parts: u64 = self.divided.iter().flat_map(BTreeMap::values).map(|piece| piece.0).sum();
        parts * BASE + self.whole.iter().filter(|&&whole| whole).count() as u64 * HUGE
    }

    /// What becomes of an access to a part of the divided area: nothing if it is good.
    fn touch(&mut self, part: u64, write: bool) -> Result<(), &'static str> {
        let n = page(part);
        if write && !self.writable {
            return Err("protection");
        }
        if let Some((start, writable)) = self.piece(part) {
            if write && !writable {
                self.divided[n].get_mut(&start).unwrap().1 = true;
            }
            return Ok(());
        }
        if self.cached[n] && self.watched {
            return Err("minor");
        }
        if !self.cached[n] && n as u64 >= self.size {
            return Err("eof");
        }
        self.cached[n] = true;
        let hole = if self.divided[n].is_empty() { (0, PARTS) } else { (part % PARTS, 1) };
        self.divided[n].insert(hole.0, (hole.1, self.writable));
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
            if if whole { !self.divided[n].is_empty() } else { self.piece(from + done).is_some() } {
                return (done, Some("exists"));
            }
            let length = if whole { PARTS } else { 1 };
            self.divided[n].insert(at, (length, self.writable));
            done += length;
        }
        (done, None)
    }

    fn truncate(&mut self, size: u64) {
        for n in usize::try_from(size).unwrap()..2 {
            self.cached[n] = false;
            self.divided[n].clear();
            self.whole[n] = false;
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
}

const LENGTH: Bytes = Bytes::new(2 * HUGE);

impl Pair {
    fn new(seed: u64) -> Self {
        let nodes = Machine::builder().node(NODES[0], Bytes::mib(64)).node(NODES[1], Bytes::mib(64));
        let mut machine = nodes.cmdline("hugepages=4").build().unwrap();
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
        Self { machine, model, pid, file, uffd, at, plain, random, moved: 0 }
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
            0..40 => self.touch(),
            40..60 => self.map_parts(),
            60..70 => self.touch_plain(),
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
            Err(other) => panic!("{other}"),
        };
        assert_eq!(known, must.map(|()| self.model.bytes.get(&part).copied().unwrap_or(0)));
        format!("touch {part}, {write}: {must:?}")
    }

    fn touch_plain(&mut self) -> String {
        let part = self.part();
        let came = self.machine.read_byte(self.pid, self.plain + Bytes::new(part * BASE));
        let n = page(part);
        let good = self.model.whole[n] || self.model.cached[n] || (n as u64) < self.model.size;
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
        if !self.model.watched {
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
                    other => panic!("{other}"),
                }),
            ),
            Err(other) => panic!("{other}"),
        };
        assert_eq!(came, must);
        format!("map {count} from {from}: {must:?}")
    }

    fn watch(&mut self) -> String {
        if self.model.watched {
            self.machine.uffd_unregister(self.pid, self.uffd, self.at, LENGTH).unwrap();
        } else {
            self.machine.uffd_register(self.pid, self.uffd, self.at, LENGTH, UffdModes::MINOR).unwrap();
        }
        self.model.watched = !self.model.watched;
        format!("watched: {}", self.model.watched)
    }

    fn collapse(&mut self) -> String {
        self.machine.madvise(self.pid, self.at, LENGTH, Advice::Collapse).unwrap();
        for mapped in &mut self.model.divided {
            let in_pieces = mapped.values().any(|piece| piece.0 < PARTS);
            if in_pieces {
                *mapped = Mapped::from([(0, (PARTS, self.model.writable))]);
            }
        }
        "collapse".to_owned()
    }

    fn protect(&mut self) -> String {
        self.model.writable = !self.model.writable;
        let prot = if self.model.writable { Prot::READ | Prot::WRITE } else { Prot::READ };
        self.machine.mprotect(self.pid, self.at, LENGTH, prot).unwrap();
        if !self.model.writable {
            self.model.divided.iter_mut().flat_map(BTreeMap::values_mut).for_each(|piece| piece.1 = false);
        }
        format!("writable: {}", self.model.writable)
    }

    fn drop_page(&mut self) -> String {
        let n = self.random(2);
        self.machine.madvise(self.pid, self.at + Bytes::new(n * HUGE), Bytes::new(HUGE), Advice::DontNeed).unwrap();
        self.model.divided[usize::try_from(n).unwrap()].clear();
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
        self.model.watched = false;
        "move".to_owned()
    }

    fn save(&mut self) -> String {
        let before = self.machine.hugetlb_pages(self.pid);
        let (state, _) = self.machine.state();
        let mut machine = Machine::from_state(state).unwrap();
        machine.validate().unwrap();
        let pid = machine.processes().next().unwrap().0;
        assert_eq!(machine.hugetlb_pages(pid), before);
        "save".to_owned()
    }

    /// Nobody can tell where a page lies: what is mapped, and what is in it, stays.
    fn move_page(&mut self) -> String {
        let n = self.random(2);
        let to = NODES[usize::try_from(self.random(2)).unwrap()];
        let addr = self.at + Bytes::new(n * HUGE);
        let came = self.machine.move_page(self.pid, addr, to, MoveScope::All);
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
        assert_eq!(pool.free, HugeCount::new(4 - cached));
    }
}

#[test]
fn pieces_are_what_the_list_says() {
    let mut moved = 0;
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
    }
    assert!(moved > 100, "{moved} pages moved");
}
