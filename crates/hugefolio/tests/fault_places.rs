//! Every place in the code that can fail is made to fail, by operations on a machine of two nodes with groups whose memory is accounted.
//!
//! After each failure a recount finds nothing wrong, and the machine is as it was before the operation. Where an operation goes step by step
//! and keeps the steps that it finished, the table says so, and what stays is looked at. The places are read off the source, so that a new one
//! is missed here until an operation reaches it.
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use hugefolio::{
    Admin, Advice, Arrival, Attribute, Bytes, Calls, Cause, ConvertCall, CopyCall, FallocateMode, Fd, GfpFlags,
    GmemFlags, GuestMemory, HugeCount, HugeSize, Machine, MapCall, MapFlags, MemoryAccounting, MountOptions, MoveScope,
    Moves, NodeId, Nodemask, OpenCall, Order, Pages, Payload, Pid, ResizeNodes, Share, Site, Touch, UffdModes, Vaddr,
};

const N0: NodeId = NodeId::new(0);
const N1: NodeId = NodeId::new(1);
const M2: HugeSize = HugeSize::M2;

const fn pages(n: u64) -> Bytes {
    Bytes::new(n * M2.bytes().get())
}

const fn huge(n: u64) -> HugeCount {
    HugeCount::new(n)
}

/// A parent and its child in a group, with a file that the parent maps both ways and has touched in part; every page lies on node 0,
/// and node 1 has none to spare.
struct Scene {
    machine: Machine,
    parent: Pid,
    child: Pid,
    file: Fd,
    shared: Vaddr,
    private: Vaddr,
}

fn scene() -> Scene {
    let builder = Machine::builder().node(N0, Bytes::mib(128)).node(N1, Bytes::mib(128));
    let mut machine = builder.memory_accounting(MemoryAccounting::HugePages).build().unwrap();
    machine.set_nr_hugepages(M2, huge(12), ResizeNodes::Node(N0)).unwrap();
    machine.set_nr_overcommit(M2, huge(4)).unwrap();
    let hstate = machine.hstates().default_hstate().id;
    let mut options = MountOptions::unlimited(hstate);
    options.max = Some(huge(16));
    let mount = machine.mount(&options).unwrap();
    let group = machine.create_cgroup("g").unwrap();
    let parent = machine.spawn();
    machine.attach(parent, Some(group)).unwrap();
    let file = machine.open(parent, &OpenCall::create(mount, "file")).unwrap();
    let shared = machine.mmap(parent, &MapCall::file(file, pages(4), Share::Shared)).unwrap();
    let private = machine.mmap(parent, &MapCall::file(file, pages(4), Share::Private)).unwrap();
    machine.write_byte(parent, shared, 1).unwrap();
    machine.write_byte(parent, private, 2).unwrap();
    machine.write_byte(parent, private + pages(1), 3).unwrap();
    let child = machine.fork(parent).unwrap();
    Scene { machine, parent, child, file, shared, private }
}

/// Everything that can be seen, as text.
fn seen(scene: &Scene) -> String {
    let mut machine = scene.machine.clone();
    let mut text = format!("{:?}\n", machine.pool(M2).unwrap());
    text += &format!("{:?}\n", machine.fstat(scene.parent, scene.file));
    for file in ["memory.current", "hugetlb.2MB.current", "hugetlb.2MB.rsvd.current", "hugetlb.2MB.numa_stat"] {
        text += &machine.read_file(&format!("/sys/fs/cgroup/g/{file}")).unwrap();
    }
    for pid in [scene.parent, scene.child] {
        text += &format!("{:?}\n", machine.hugetlb_pages(pid));
        for base in [scene.shared, scene.private] {
            for n in 0..4 {
                let at = base + pages(n);
                text += &format!("{:?} {:?} ", machine.page_state(pid, at), machine.node_of(pid, at));
            }
        }
    }
    for node in [N0, N1] {
        text += &format!("{:?} ", machine.spare_pages(node));
    }
    text
}

/// What is left of an operation that failed.
#[derive(Clone, Copy)]
enum Leaves {
    /// Nothing.
    Nothing,
    /// The steps that it finished before, or what the function looks at: it says whether that is all.
    Steps(fn(&mut Scene) -> bool),
    /// It does not fail, but does something else: the owner takes its page from others, a failure that cannot be noted costs a folio.
    OtherWay,
}

type Operation = (&'static str, Leaves, fn(&mut Scene) -> bool);

fn anonymous(s: &mut Scene, n: u64, flags: MapFlags) -> Option<Vaddr> {
    s.machine.mmap(s.parent, &MapCall::anonymous(pages(n), Share::Shared).with_flags(flags)).ok()
}

fn total(s: &mut Scene) -> u64 {
    s.machine.pool(M2).unwrap().nr.get()
}

const OPERATIONS: [Operation; 31] = [
    ("grow", Leaves::Steps(|s| (12..=15).contains(&total(s))), |s| {
        s.machine.set_nr_hugepages(M2, huge(16), ResizeNodes::Global(Nodemask::ALL)).unwrap();
        total(s) == 16
    }),
    ("grow a node", Leaves::Steps(|s| (12..=14).contains(&total(s))), |s| {
        s.machine.set_nr_hugepages(M2, huge(3), ResizeNodes::Node(N1)).unwrap();
        total(s) == 15
    }),
    // There is no room for one: it is asked for all the same.
    ("grow a pool of gigantic pages", Leaves::Nothing, |s| {
        s.machine.set_nr_hugepages(HugeSize::G1, huge(1), ResizeNodes::Global(Nodemask::ALL)).is_ok()
    }),
    ("shrink", Leaves::Nothing, |s| {
        s.machine.set_nr_hugepages(M2, huge(8), ResizeNodes::Global(Nodemask::ALL)).unwrap();
        total(s) == 8
    }),
    // A page whose descriptors cannot be had is made with its own, or stays as surplus.
    ("pages without descriptors come and go", Leaves::OtherWay, |s| {
        s.machine.write_file("/proc/sys/vm/hugetlb_optimize_vmemmap", "1").unwrap();
        for count in [15, 12] {
            s.machine.set_nr_hugepages(M2, huge(count), ResizeNodes::Global(Nodemask::ALL)).unwrap();
        }
        total(s) == 12
    }),
    ("dissolve", Leaves::Nothing, |s| {
        let hstate = s.machine.hstates().default_hstate().id;
        let page = s.machine.shelf(hstate, N0).unwrap().iter().next().unwrap().pfn;
        s.machine.dissolve(page).is_ok()
    }),
    ("promise to a file", Leaves::Nothing, |s| {
        s.machine.mmap(s.parent, &MapCall::anonymous(pages(2), Share::Shared)).is_ok()
    }),
    ("promise with surplus", Leaves::Nothing, |s| {
        s.machine.mmap(s.parent, &MapCall::anonymous(pages(7), Share::Private)).is_ok()
    }),
    ("touch what is promised", Leaves::Nothing, |s| s.machine.write_byte(s.parent, s.shared + pages(2), 9).is_ok()),
    ("touch an owner's hole", Leaves::Nothing, |s| s.machine.read_byte(s.parent, s.private + pages(3)).is_ok()),
    ("touch a child's hole", Leaves::Nothing, |s| s.machine.write_byte(s.child, s.private + pages(3), 9).is_ok()),
    ("touch what nobody promised", Leaves::Steps(|s| total(s) == 12), |s| {
        anonymous(s, 1, MapFlags::NORESERVE).is_some_and(|at| s.machine.write_byte(s.parent, at, 9).is_ok())
    }),
    ("a child's copy", Leaves::Nothing, |s| s.machine.write_byte(s.child, s.private, 9).is_ok()),
    ("an owner's copy", Leaves::OtherWay, |s| s.machine.write_byte(s.parent, s.private, 9).is_ok()),
    ("fork", Leaves::Nothing, |s| s.machine.fork(s.parent).is_ok_and(|child| s.machine.exit(child))),
    // Pinning a page that others map gives the process one of its own first.
    ("fork with a pin", Leaves::Steps(|s| total(s) == 12), |s| {
        let Ok(pin) = s.machine.pin(s.parent, s.private + pages(1), Touch::Read) else { return false };
        let forked = s.machine.fork(s.parent);
        s.machine.unpin(pin);
        forked.is_ok_and(|child| s.machine.exit(child))
    }),
    ("fallocate", Leaves::Steps(|s| total(s) == 12), |s| {
        s.machine.fallocate(s.parent, s.file, FallocateMode::Extend, Bytes::ZERO, pages(6)).is_ok()
    }),
    ("punch in the middle", Leaves::OtherWay, |s| {
        s.machine.write_byte(s.parent, s.shared + pages(1), 9).is_ok()
            && s.machine.fallocate(s.parent, s.file, FallocateMode::PunchHole, pages(1), pages(1)).is_ok()
    }),
    ("fill by copy", Leaves::Nothing, |s| fill(s, UffdModes::MISSING)),
    ("fill what is cached", Leaves::Nothing, |s| fill(s, UffdModes::MINOR)),
    ("fill in pieces", Leaves::Steps(|s| total(s) == 12), fill_in_pieces),
    ("a page in vain", Leaves::OtherWay, |s| {
        // A place between two others of its file that nothing promises: what was allocated for it has to be taken out again.
        let call = MapCall::anonymous(pages(3), Share::Shared).with_flags(MapFlags::NORESERVE);
        let Ok(at) = s.machine.mmap(s.parent, &call) else { return false };
        [0, 2, 1].iter().all(|&n| s.machine.write_byte(s.parent, at + pages(n), 9).is_ok())
    }),
    ("move a page", Leaves::Nothing, |s| s.machine.move_page(s.parent, s.shared, N1, MoveScope::All).is_ok()),
    ("move a process", Leaves::Steps(|s| total(s) == 12), |s| {
        // Private pages of the mount stay; the others go, one after the other.
        let own = [s.shared, s.shared + pages(3)];
        own.iter().all(|&at| s.machine.write_byte(s.parent, at, 9).is_ok())
            && s.machine.migrate_pages(s.parent, Nodemask::of(N0), Nodemask::of(N1), MoveScope::All).is_ok()
            && own.iter().all(|&at| s.machine.node_of(s.parent, at) == Ok(N1))
    }),
    ("soft offline", Leaves::Steps(|s| total(s) == 12), |s| {
        let rest = s.machine.pool(M2).unwrap();
        let rest = rest.free.get() - rest.resv.get();
        let Some(at) = anonymous(s, rest, MapFlags::empty()) else { return false };
        let page = s.machine.frame_at(s.parent, s.shared).unwrap();
        let done = s.machine.soft_offline(page).is_ok();
        s.machine.munmap(s.parent, at, pages(rest)).unwrap();
        done
    }),
    ("memory that breaks in use", Leaves::OtherWay, |s| {
        let page = s.machine.frame_at(s.parent, s.private).unwrap();
        s.machine.memory_failure(page, Cause::Test);
        true
    }),
    ("memory that breaks free", Leaves::OtherWay, |s| {
        let hstate = s.machine.hstates().default_hstate().id;
        let page = s.machine.shelf(hstate, N0).unwrap().iter().next().unwrap().pfn;
        s.machine.memory_failure(page, Cause::Test);
        total(s) == 11
    }),
    ("ordinary pages", Leaves::Nothing, |s| {
        let request = page_alloc::PageRequest::new(Order::new(3), GfpFlags::KERNEL, N0);
        s.machine.alloc_pages(&request).is_ok_and(|block| s.machine.free_pages(block).is_ok())
    }),
    ("ordinary pages without a name", Leaves::Nothing, |s| {
        let request = page_alloc::PageRequest::new(Order::new(3), GfpFlags::KERNEL, N0);
        page_alloc::alloc(&mut s.machine, &request)
            .is_ok_and(|block| page_alloc::free(&mut s.machine, block.zone, block.pfn, Order::new(3)).is_ok())
    }),
    ("guest memory of huge pages", Leaves::Steps(no_half_guest), |s| guest_of(s, pages(2), Some(M2))),
    ("guest memory of base pages", Leaves::Steps(no_half_guest), |s| guest_of(s, Bytes::kib(16), None)),
];

/// A guest's memory is made and touched, a page of it shared and made private again.
fn guest_of(s: &mut Scene, size: Bytes, page: Option<HugeSize>) -> bool {
    let (m, pid) = (&mut s.machine, s.parent);
    let huge = if page.is_some() { GmemFlags::HUGETLB } else { GmemFlags::empty() };
    let Ok(fd) = m.gmem_create(pid, size, GmemFlags::MMAP | huge, page) else { return false };
    let base = Bytes::kib(4);
    m.guest_access(pid, fd, base, Some(1)).is_ok()
        && [Attribute::Shared, Attribute::Private]
            .into_iter()
            .all(|to| m.gmem_convert(pid, fd, &ConvertCall::new(base, base, to)).is_ok())
}

/// Whatever was made of a guest's memory before a failure is whole: the pool has as many pages as before, and those of the guest are its own.
fn no_half_guest(s: &mut Scene) -> bool {
    let huge = s.machine.hstates().default_hstate().order;
    let files: Vec<_> = s.machine.processes().flat_map(|(_, process)| process.gmems()).collect();
    let whole = files.into_iter().all(|(_, file)| {
        let file = s.machine.gmem(file).unwrap();
        file.cached().all(|(_, pfn)| {
            let order = s.machine.folio(pfn).unwrap().1.order;
            order == file.backing().order() || file.backing().order() == huge
        })
    });
    whole && total(s) == 12
}

/// A userfaultfd fills a hole, or maps what is cached.
fn fill(s: &mut Scene, modes: UffdModes) -> bool {
    let (pid, at) = if modes == UffdModes::MINOR { (s.child, s.shared) } else { (s.parent, s.shared + pages(3)) };
    let fd = s.machine.userfaultfd(pid).unwrap();
    s.machine.uffd_register(pid, fd, at, pages(1), modes).unwrap();
    if modes == UffdModes::MINOR {
        return s.machine.uffd_continue(pid, fd, at, pages(1)).is_ok();
    }
    let payload = Payload::Bytes(b"filled");
    s.machine.uffd_copy(pid, fd, &CopyCall { start: at, len: pages(1), payload, arrival: Arrival::Open }).is_ok()
}

/// A userfaultfd maps a part of what is cached, and a fault a hole beside it.
fn fill_in_pieces(s: &mut Scene) -> bool {
    let (pid, at, base) = (s.child, s.shared, Bytes::kib(4));
    s.machine.madvise(pid, at, pages(1), Advice::Split).unwrap();
    let fd = s.machine.userfaultfd(pid).unwrap();
    s.machine.uffd_register(pid, fd, at, pages(1), UffdModes::MINOR).unwrap();
    let filled = s.machine.uffd_continue(pid, fd, at + base, base).is_ok();
    s.machine.uffd_unregister(pid, fd, at, pages(1)).unwrap();
    filled && s.machine.read_byte(pid, at).is_ok()
}

/// A place in the code: the site and the line that asks.
type Place = (String, u32);

/// Fails every attempt of an operation in turn, and of what undoes it then, if that is asked for; which places refused.
fn fail_each_attempt(
    &(name, leaves, operation): &Operation,
    then: Option<Site>,
    reached: &mut BTreeMap<Place, Site>,
) -> u64 {
    for k in 0.. {
        let mut scene = scene();
        let before = seen(&scene);
        match then {
            Some(site) => scene.machine.faults().fail_nth_then(k, site),
            None => scene.machine.faults().fail_nth(None, k),
        }
        let succeeded = operation(&mut scene);
        let plan = scene.machine.faults();
        let refused = plan.last_refused();
        plan.clear();
        let at = refused.map_or(String::new(), |at| format!("{:?} at {}", at.site, at.place));
        scene.machine.validate().unwrap_or_else(|broken| panic!("{name}, failing {at}: {broken}"));
        let Some(refused) = refused else {
            assert!(succeeded, "{name}: nothing was refused, yet it failed");
            return k;
        };
        reached.insert((refused.place.file().to_owned(), refused.place.line()), refused.site);
        if !succeeded {
            match leaves {
                Leaves::Nothing => assert_eq!(seen(&scene), before, "{name}, failing {at}"),
                Leaves::Steps(all) => assert!(all(&mut scene), "{name}, failing {at}, leaves {}", seen(&scene)),
                Leaves::OtherWay => (),
            }
        }
        scene.machine.exit(scene.child);
        scene.machine.exit(scene.parent);
        scene.machine.validate().unwrap_or_else(|broken| panic!("{name}, failing {at}, and exit: {broken}"));
        let memory = scene.machine.read_file("/sys/fs/cgroup/g/memory.current").unwrap();
        // What the file still holds is charged; nothing else is left.
        let cached = scene.machine.pool(M2).unwrap();
        let used = M2.total(HugeCount::new(cached.nr.get() - cached.free.get()));
        assert!(memory.trim().parse::<u64>().unwrap() <= used.get(), "{name}, failing {at}: {memory} of {used}");
        assert!(k < 1000, "{name} never ends");
    }
    unreachable!("the loop returns")
}

/// Every line of the rooms that asks the fault plan.
fn places_in_source() -> BTreeSet<Place> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let rooms = std::fs::read_dir(root.join("crates")).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = rooms.map(|room| room.join("src")).collect();
    let mut places = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let file = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
                let asks = text.lines().zip(1..).filter(|(line, _)| line.contains(".refused(Site::"));
                places.extend(asks.map(|(_, line)| (file.clone(), line)));
            }
        }
    }
    places
}

#[test]
fn every_place_that_can_fail_is_made_to_fail() {
    let mut reached = BTreeMap::new();
    let mut attempts = BTreeMap::new();
    for operation in &OPERATIONS {
        attempts.insert(operation.0, fail_each_attempt(operation, None, &mut reached));
    }
    // A page that nobody promised got its entry in the map, and then no node in the cache. The entry had to be taken out again, but to
    // look for it was refused a descriptor that only a new entry needs, and the map went on promising a page that had gone back
    // as nobody's. What really cannot be taken out, as a region would have to be split, stays promised with the page.
    let in_vain =
        ("a page in vain, kept", Leaves::OtherWay, OPERATIONS.iter().find(|of| of.0 == "a page in vain").unwrap().2);
    fail_each_attempt(&in_vain, Some(Site::RegionDescriptor), &mut reached);
    let there: BTreeSet<Place> = reached.keys().cloned().collect();
    let missed: Vec<Place> = places_in_source().difference(&there).cloned().collect();
    assert!(missed.is_empty(), "no operation reaches {missed:?}; {attempts:?}");
    let sites: BTreeSet<&str> = reached.values().map(|site| site_name(*site)).collect();
    let all: BTreeSet<&str> = Site::ALL.into_iter().map(site_name).collect();
    assert_eq!(all.difference(&sites).count(), 0, "{sites:?}");
    // These have nothing that can fail.
    assert_eq!((attempts["shrink"], attempts["dissolve"]), (0, 0), "{attempts:?}");
    assert_eq!(attempts["grow"], 4, "one block for each page");
}

fn site_name(site: Site) -> &'static str {
    match site {
        Site::RegionDescriptor => "RegionDescriptor",
        Site::TablePage => "TablePage",
        Site::CacheNode => "CacheNode",
        Site::VmemmapPage => "VmemmapPage",
        Site::Charge => "Charge",
        Site::MemoryCharge => "MemoryCharge",
        Site::Frame => "Frame",
        Site::RawPoison => "RawPoison",
        _ => "a site without a name here",
    }
}
