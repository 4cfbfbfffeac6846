//! Random conversions, accesses, pins, holes and ends of guest memory, beside a model with one record for each base page.
//!
//! `GUEST_STEPS=1000000 GUEST_SEED=7 cargo test --release -p hugefolio --test guests`
use crate::naive::{Answer, Naive};
use hugefolio::boot::Arch;
use hugefolio::errno::{Errno, ToErrno};
use hugefolio::{
    Admin, Attribute, Bytes, CallError, Calls, Context, ConvertCall, Counter, Fd, FolioKind, GmemCallError,
    GmemConvertError, GmemFlags, GmemPin, GmemView, GuestMemory, HugeCount, HugeSize, Machine, NodeId, Nodemask,
    PageCount, PageIndex, PageShift, Pid, RangeMap, ResizeNodes, Site,
};

/// A page of descriptors may be lacking in one step of so many.
const LACKING: u64 = 6;

struct Draw(u64);

impl Draw {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % u64::try_from(n.max(1)).unwrap()).unwrap()
    }
}

/// One machine, its guest, and the model beside it.
struct Both {
    machine: Machine,
    naive: Naive,
    page: HugeSize,
    pid: Pid,
    fd: Option<Fd>,
    views: Vec<GmemView>,
    /// Pins, with the page of the pool and the base page of it that each is of.
    pins: Vec<(GmemPin, usize, usize)>,
    /// First frames of the pages of the pool, by number in the model.
    frames: Vec<hugefolio::Pfn>,
    descriptors: i64,
    /// Ordinary pages before there were huge ones.
    spare: PageCount,
    /// Base pages that are looked at one by one after each step, besides the one that it was about; all, if there are not more.
    sample: usize,
    about: usize,
    looked: Draw,
}

impl Both {
    fn new(arch: Arch, page: HugeSize, pool: usize) -> Self {
        let beside = Bytes::mib(96).get().max(page.bytes().get());
        let memory = Bytes::new(page.bytes().get() * u64::try_from(pool).unwrap() + beside);
        let built =
            Machine::builder().node(NodeId::new(0), memory).arch(arch).cmdline("hugetlb_free_vmemmap=on").build();
        let mut machine = built.unwrap();
        let spare = machine.spare_pages(NodeId::new(0));
        let cgroup = machine.create_cgroup("/guests").unwrap();
        let count = HugeCount::new(u64::try_from(pool).unwrap());
        machine.set_nr_hugepages(page, count, ResizeNodes::Global(Nodemask::ALL)).unwrap();
        let pid = machine.spawn_in(Some(cgroup)).unwrap();
        let order = page.order(PageShift::K4).unwrap();
        let hstate = machine.hstates().iter().find(|h| h.size == page).unwrap().id;
        let shelf = machine.shelf(hstate, NodeId::new(0)).unwrap();
        let frames: Vec<_> = shelf.iter().map(|folio| folio.pfn).collect();
        assert_eq!(frames.len(), pool);
        let freeable = machine.vmemmap().geometry().freeable(order).get();
        let naive = Naive {
            size: usize::try_from(order.pages().get()).unwrap(),
            order: order.get(),
            freeable: i64::try_from(freeable).unwrap(),
            optimised: vec![freeable > 0; pool],
            free: (0..pool).collect(),
            allotments: Vec::new(),
            file: None,
            orphans: Vec::new(),
            lacking: false,
        };
        let descriptors = descriptors(&machine);
        Self {
            machine,
            naive,
            page,
            pid,
            fd: None,
            views: Vec::new(),
            pins: Vec::new(),
            frames,
            descriptors,
            spare,
            sample: 4096,
            about: 0,
            looked: Draw(99),
        }
    }

    fn bytes(at: usize) -> Bytes {
        PageShift::K4.total(PageCount::new(u64::try_from(at).unwrap()))
    }

    fn step(&mut self, draw: &mut Draw) -> String {
        let Some(fd) = self.fd else { return self.create(draw) };
        let total = self.naive.file.as_ref().unwrap().pages.len();
        // Most of a large file is never looked at, but its ends and what lies around the pages of before are.
        let at = match draw.below(8) {
            0 if total > self.sample => self.about.min(total - 1),
            1 if total > self.sample => total - 1,
            _ => draw.below(total),
        };
        self.about = at;
        let write = (draw.below(2) == 0).then(|| u8::try_from(draw.below(250)).unwrap() + 1);
        match draw.below(40) {
            0..14 => {
                // Short ranges and whole files, aligned and not.
                let to = match draw.below(4) {
                    0 => total,
                    1 => at + 1,
                    _ => at + 1 + draw.below((total - at).min(2 * self.naive.size)),
                };
                let shared = draw.below(2) == 0;
                let from = if draw.below(6) == 0 { at / self.naive.size * self.naive.size } else { at };
                let to = to.min(total);
                let attribute = if shared { Attribute::Shared } else { Attribute::Private };
                let call = ConvertCall::new(Self::bytes(from), Self::bytes(to - from), attribute);
                let got = match self.machine.gmem_convert(self.pid, fd, &call) {
                    Ok(()) => Answer::Done,
                    Err(error) => stopped(&error),
                };
                let expected = self.naive.convert(from, to, shared);
                assert_eq!(got, expected, "convert {from}..{to} {attribute:?}");
                format!("convert {from}..{to} {attribute:?}")
            }
            14..20 => {
                let got = self.machine.guest_access(self.pid, fd, Self::bytes(at), write);
                let got = got.map_or_else(|error| answer(&error, None), |access| Answer::Byte(access.value));
                assert_eq!(got, self.naive.guest(at, write), "guest {at}");
                format!("guest {at}")
            }
            20..28 if !self.views.is_empty() => self.host(draw, at, write),
            28..30 if self.views.len() < 2 => {
                let all = Self::bytes(total);
                self.views.push(self.machine.gmem_map(self.pid, fd, Bytes::ZERO, all).unwrap());
                self.naive.map();
                "map".into()
            }
            30..32 if !self.pins.is_empty() => self.unpin(draw),
            32..34 => {
                let to = at + 1 + draw.below(total - at);
                let got = self.machine.gmem_allocate(self.pid, fd, Self::bytes(at), Self::bytes(to - at));
                let got = got.map_or_else(|error| answer(&error, None), |()| Answer::Done);
                assert_eq!(got, self.naive.allocate(at, to), "allocate {at}..{to}");
                format!("allocate {at}..{to}")
            }
            34..37 => {
                let size = self.naive.size;
                let from = if draw.below(5) == 0 { at } else { at / size * size };
                let to = ((from / size + 1 + draw.below(2)) * size).min(total);
                let got = self.machine.gmem_punch(self.pid, fd, Self::bytes(from), Self::bytes(to - from));
                let got = got.map_or_else(|error| answer(&error, None), |()| Answer::Done);
                assert_eq!(got, self.naive.punch(from, to), "punch {from}..{to}");
                format!("punch {from}..{to}")
            }
            37 => self.close(fd),
            _ => "nothing".into(),
        }
    }

    fn create(&mut self, draw: &mut Draw) -> String {
        if !self.pins.is_empty() && draw.below(3) > 0 {
            return self.unpin(draw);
        }
        let pages = 1 + draw.below(4);
        let size = Self::bytes(pages * self.naive.size);
        let flags = GmemFlags::MMAP | GmemFlags::HUGETLB;
        let made = self.machine.gmem_create(self.pid, size, flags, Some(self.page));
        let got = made.as_ref().map_or_else(|error| answer(error, None), |_| Answer::Done);
        assert_eq!(got, self.naive.create(pages), "create {pages}");
        self.fd = made.ok();
        format!("create {pages}")
    }

    fn host(&mut self, draw: &mut Draw, at: usize, write: Option<u8>) -> String {
        let n = draw.below(self.views.len());
        let view = self.views[n];
        if draw.below(3) == 0 {
            let got = match self.machine.gmem_pin(self.pid, view, Self::bytes(at)) {
                Ok(pin) => {
                    let size = self.naive.size;
                    // The model backs it now, if it did not before.
                    let expected = self.naive.pin(n, at);
                    let id = self.naive.file.as_ref().unwrap().backed[at / size].unwrap().id;
                    self.pins.push((pin, id, at % size));
                    assert_eq!(Answer::Done, expected);
                    return format!("pin {at}");
                }
                Err(error) => answer(&error, None),
            };
            assert_eq!(got, self.naive.pin(n, at), "pin {at}");
            return format!("no pin {at}");
        }
        let offset = Self::bytes(at);
        let got = match write {
            Some(value) => self.machine.gmem_write(self.pid, view, offset, value).map(|()| value),
            None => self.machine.gmem_read(self.pid, view, offset),
        };
        let got = got.map_or_else(|error| answer(&error, None), Answer::Byte);
        assert_eq!(got, self.naive.host(n, at, write), "host {at}");
        format!("host {at}")
    }

    fn unpin(&mut self, draw: &mut Draw) -> String {
        let n = draw.below(self.pins.len());
        let (pin, id, at) = self.pins.swap_remove(n);
        let context = if draw.below(2) == 0 { Context::Sleepable } else { Context::Atomic };
        self.machine.gmem_unpin(pin, context);
        self.machine.quiesce();
        self.naive.unpin(id, at);
        format!("unpin {at} of page {id}")
    }

    fn close(&mut self, fd: Fd) -> String {
        for view in self.views.drain(..) {
            self.machine.gmem_unmap(self.pid, view).unwrap();
        }
        self.machine.close(self.pid, fd).unwrap();
        self.fd = None;
        self.naive.close();
        "close".into()
    }

    /// Which base pages of the file are looked at: all, or the ends of every huge page, what the step was about, and some more.
    fn places(&mut self) -> Vec<usize> {
        let Some(file) = &self.naive.file else { return Vec::new() };
        let total = file.pages.len();
        if total <= self.sample {
            return (0..total).collect();
        }
        let ends = (0..total).step_by(self.naive.size).flat_map(|at| [at, at + self.naive.size - 1]);
        let near = [self.about.saturating_sub(1), self.about, self.about + 1];
        let some = (0..32).map(|_| self.looked.below(total)).collect::<Vec<_>>();
        ends.chain(near).chain(some).filter(|&at| at < total).collect()
    }

    fn compare(&mut self) {
        let looked_at = self.places();
        self.machine.validate().unwrap();
        let pool = self.machine.pool(self.page).unwrap();
        let counters = [pool.free, pool.resv, pool.nr, pool.surplus].map(HugeCount::get);
        let (naive, n) = (&self.naive, |n: usize| u64::try_from(n).unwrap());
        assert_eq!(counters, [n(naive.free.len()), n(naive.reserved()), n(self.frames.len()), 0]);
        let group = self.machine.charges().iter().next().unwrap();
        let hstate = self.machine.hstates().iter().find(|h| h.size == self.page).unwrap().id;
        let charged = |counter| self.machine.charges().charged(group, counter).get();
        assert_eq!(charged(Counter::Rsvd(hstate)), n(naive.charged()));
        assert_eq!(charged(Counter::Usage(hstate)), n(self.frames.len() - naive.free.len()));
        assert_eq!(descriptors(&self.machine) - self.descriptors, naive.descriptors());
        for orphan in &naive.orphans {
            let few = |&(at, &pins): &(usize, &u32)| naive.size <= self.sample || pins > 0 || at % 4_099 == 0;
            for (at, &pins) in orphan.pins.iter().enumerate().filter(few) {
                self.check_piece(orphan.id, at, u64::from(pins), u64::from(pins));
            }
        }
        let Some(fd) = self.fd else { return };
        let file = self.machine.gmem_of(self.pid, fd).unwrap();
        let (gmem, model) = (self.machine.gmem(file).unwrap(), naive.file.as_ref().unwrap());
        let leaves = gmem.leaves().map(|(run, order)| (run.start.get()..run.end.get(), order.get()));
        let expected = model.pages.iter().enumerate().filter_map(|(at, page)| Some((n(at), page.leaf?)));
        let expected: RangeMap<u8> = expected.fold(RangeMap::new(), |mut runs, (at, leaf)| {
            runs.set(at..at + 1, leaf);
            runs
        });
        assert_eq!(leaves.collect::<RangeMap<u8>>(), expected);
        for at in looked_at {
            let page = &model.pages[at];
            let index = PageIndex::new(n(at));
            assert_eq!(gmem.attribute(index), Some(if page.shared { Attribute::Shared } else { Attribute::Private }));
            let backed = model.backed[at / naive.size];
            assert_eq!(gmem.frame(index), backed.map(|b| self.frames[b.id].offset(PageCount::new(n(at % naive.size)))));
            match backed {
                Some(b) if b.split => {
                    let mapped = n(page.views.iter().filter(|&&mapped| mapped).count());
                    self.check_piece(b.id, at % naive.size, 1 + mapped + u64::from(page.pins), u64::from(page.pins));
                }
                Some(b) => {
                    let (start, folio) = self.machine.folio(self.frames[b.id]).unwrap();
                    assert!(
                        start == self.frames[b.id]
                            && folio.order.get() == naive.order
                            && matches!(folio.kind, FolioKind::Huge(_))
                    );
                    assert_eq!(folio.refs(), n(naive.size));
                }
                None => (),
            }
        }
    }

    fn check_piece(&self, id: usize, at: usize, refs: u64, pins: u64) {
        let pfn = self.frames[id].offset(PageCount::new(u64::try_from(at).unwrap()));
        let (start, piece) = self.machine.folio(pfn).unwrap();
        assert!(start == pfn && matches!(piece.kind, FolioKind::Piece(_)), "{pfn} is {piece:?}");
        assert_eq!((piece.refs(), u64::from(piece.pins())), (refs, pins), "piece {at} of page {id}");
    }
}

fn descriptors(machine: &Machine) -> i64 {
    let pages = machine.vmemmap().pages();
    i64::try_from(pages.boot.get() + pages.allocated.get()).unwrap()
}

fn answer<E: ToErrno>(error: &E, at: Option<usize>) -> Answer {
    match error.errno() {
        Errno::ENOMEM => Answer::NoMemory(at),
        Errno::EAGAIN => Answer::Held(at),
        Errno::EACCES => Answer::Private,
        Errno::EINVAL => Answer::Invalid,
        other => panic!("{other} is no answer of the model"),
    }
}

fn stopped(error: &CallError<GmemCallError<GmemConvertError>>) -> Answer {
    let CallError::Failed(GmemCallError::Failed(GmemConvertError::Convert(hugefolio::ConvertError::Stopped {
        at,
        ..
    }))) = error
    else {
        return answer(error, None);
    };
    answer(error, Some(usize::try_from(at.get()).unwrap()))
}

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap())
}

fn run(arch: Arch, page: HugeSize, pool: usize, steps: u64, seed: u64) {
    println!("GUEST_STEPS={steps} GUEST_SEED={seed} cargo test -p hugefolio --test guests");
    let mut both = Both::new(arch, page, pool);
    let mut draw = Draw(seed);
    both.compare();
    let mut before = format!("{:?}", both.machine.state().0);
    before.truncate(200);
    for step in 0..steps {
        both.naive.lacking = draw.below(usize::try_from(LACKING).unwrap()) == 0;
        if both.naive.lacking {
            both.machine.faults().fail_nth(Some(Site::VmemmapPage), 0);
        }
        let done = both.step(&mut draw);
        both.machine.faults().clear();
        both.naive.lacking = false;
        println!("{step}: {done}");
        both.compare();
    }
    // Everything goes back to where it was.
    if let Some(fd) = both.fd {
        both.close(fd);
    }
    while !both.pins.is_empty() {
        both.unpin(&mut draw);
    }
    both.compare();
    let pool = both.machine.pool(page).unwrap();
    assert_eq!((pool.free, pool.resv), (pool.nr, HugeCount::ZERO));
    both.machine.set_nr_hugepages(page, HugeCount::ZERO, ResizeNodes::Global(Nodemask::ALL)).unwrap();
    both.machine.validate().unwrap();
    assert_eq!(both.machine.vmemmap().tail_pages().get(), 0);
    assert_eq!(
        both.machine.spare_pages(NodeId::new(0)),
        both.spare,
        "memory is as it was before there were huge pages"
    );
}

#[test]
fn a_page_of_sixteen_frames() {
    let steps = number("GUEST_STEPS", 20_000);
    run(Arch::Arm64(PageShift::K4), HugeSize::K64, 6, steps, number("GUEST_SEED", 1));
}

#[test]
fn a_page_of_2_mib() {
    let steps = number("GUEST_STEPS", 3_000).min(1_000_000);
    run(Arch::X86_64, HugeSize::M2, 6, steps, number("GUEST_SEED", 2));
}

/// Few steps of many pages: what a step touches is looked at, and a sample of the rest.
#[test]
fn a_page_of_1_gib() {
    let steps = number("GUEST_LARGE_STEPS", 200);
    println!("GUEST_LARGE_STEPS={steps}");
    run(Arch::X86_64, HugeSize::G1, 2, steps, number("GUEST_SEED", 3));
}
