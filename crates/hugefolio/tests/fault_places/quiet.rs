//! Public operations that ask for nothing that a plan could refuse, and why not.
//!
//! Each is run where every attempt is refused; it succeeds all the same, and did not ask.

use hugefolio::{
    Admin, Bytes, Calls, CgroupCounter, CpuId, Credentials, Existing, FileAccess, GfpFlags, GmemFlags, GuestMemory,
    HugeSize, Limit, MemfdFlags, Mempolicy, Moves, Nodemask, OpenCall, Order, Origin, PageCount, Pages, Pfn, Place,
    Policies, PolicyInForce, Prot, Seals, SegmentCall, UffdModes, VaddrRange,
};

use crate::scene::{M2, N0, N1, Scene, huge, pages, scene, scene_of};

/// The operation, the reason, what is made beforehand, and the operation itself, which says whether it succeeded.
type Quiet = (&'static str, &'static str, fn(&mut Scene), fn(&mut Scene) -> bool);

const LOOKS: &str = "it only looks";
const NUMBER: &str = "it writes down a number, or a name";
const AREAS: &str = "areas and what is known of them are not among what a plan can refuse";
const OBJECTS: &str = "processes, files and descriptors are not among what a plan can refuse";
const REFUSED: &str = "it is always refused, for another reason";
const GIVES: &str = "it only gives back";

fn nothing(_: &mut Scene) {}

/// A file of guest memory, mapped by the host.
fn guest(s: &mut Scene) {
    let fd = s.machine.gmem_create(s.parent, pages(2), GmemFlags::MMAP | GmemFlags::HUGETLB, Some(M2)).unwrap();
    let view = s.machine.gmem_map(s.parent, fd, Bytes::ZERO, pages(1)).unwrap();
    (s.more.fd, s.more.view) = (Some(fd), Some(view));
}

fn block(s: &mut Scene) {
    let request = page_alloc::PageRequest::new(Order::new(3), GfpFlags::KERNEL, N0);
    s.more.blocks.push(s.machine.alloc_pages(&request).unwrap());
}

fn segment(s: &mut Scene) {
    s.more.segment = Some(s.machine.shmget(s.parent, &SegmentCall::new(pages(1))).unwrap());
}

fn sealable(s: &mut Scene) {
    s.more.fd = Some(s.machine.memfd(s.parent, Some(M2), MemfdFlags::ALLOW_SEALING).unwrap());
}

fn watched(s: &mut Scene) {
    let fd = s.machine.userfaultfd(s.parent).unwrap();
    s.machine.uffd_register(s.parent, fd, s.shared, pages(4), UffdModes::MISSING).unwrap();
    s.more.fd = Some(fd);
}

fn bound(s: &mut Scene) {
    let bind = Mempolicy::Bind { nodes: Nodemask::of(N0), home: None };
    s.machine.mbind(s.parent, s.shared, pages(4), bind, Existing::Ignored).unwrap();
}

fn broken(s: &mut Scene) {
    let hstate = s.machine.hstates().default_hstate().id;
    let page = s.machine.shelf(hstate, N0).unwrap().iter().next().unwrap().pfn;
    s.machine.memory_failure(page, hugefolio::Cause::Test);
}

/// A machine a part of whose memory has been taken out.
fn unplugged(s: &mut Scene) {
    *s = scene_of("", Bytes::mib(512));
    for section in 0..4 {
        let start = Pfn::new(section << 15);
        let zone = page_alloc::zone_of(&mut s.machine, start).unwrap();
        if s.machine.offline_memory(start, SECTION).is_ok() {
            s.more.plug = Some(hugefolio::pages::Plug { zone, start, pages: SECTION });
            return;
        }
    }
}

fn first_page(s: &mut Scene) -> Pfn {
    s.machine.frame_at(s.parent, s.shared).unwrap()
}

pub(crate) const QUIET: &[Quiet] = &[
    ("Calls::spawn", OBJECTS, nothing, |s| {
        let pid = s.machine.spawn();
        s.machine.exit(pid)
    }),
    ("Calls::spawn_in", OBJECTS, nothing, |s| s.machine.spawn_in(Some(s.group)).is_ok()),
    ("Calls::spawn_with", OBJECTS, nothing, |s| s.machine.spawn_with(Credentials::root(), Some(s.group)).is_ok()),
    ("Calls::spawn_as", OBJECTS, nothing, |s| {
        let policy = PolicyInForce::default();
        let credentials = Credentials::root();
        let origin = Origin { local: N1, allowed: Nodemask::ALL, policy, cgroup: Some(s.group), credentials };
        s.machine.spawn_as(origin).is_ok()
    }),
    ("Calls::mprotect", AREAS, nothing, |s| s.machine.mprotect(s.parent, s.private, pages(2), Prot::READ).is_ok()),
    ("Calls::munlock", AREAS, nothing, |s| s.machine.munlock(s.parent, s.private, pages(2)).is_ok()),
    ("Calls::msync", LOOKS, nothing, |s| s.machine.msync(s.parent, s.shared, pages(4)).is_ok()),
    ("Calls::mincore", LOOKS, nothing, |s| s.machine.mincore(s.parent, s.shared, pages(4)).is_ok()),
    ("Calls::page_state", LOOKS, nothing, |s| s.machine.page_state(s.parent, s.shared).is_some()),
    ("Calls::smaps", LOOKS, nothing, |s| {
        s.machine.smaps(s.parent, VaddrRange::new(s.shared, s.shared + pages(4))).is_some()
    }),
    ("Calls::hugetlb_pages", LOOKS, nothing, |s| s.machine.hugetlb_pages(s.parent).is_some()),
    ("Calls::status", LOOKS, nothing, |s| s.machine.status(s.parent).is_some()),
    ("Calls::open", OBJECTS, nothing, |s| s.machine.open(s.parent, &OpenCall::create(s.mount, "other")).is_ok()),
    ("Calls::memfd", OBJECTS, nothing, |s| s.machine.memfd(s.parent, Some(M2), MemfdFlags::empty()).is_ok()),
    ("Calls::pread", LOOKS, nothing, |s| s.machine.pread(s.parent, s.file, Bytes::ZERO, pages(1), 8).is_ok()),
    ("Calls::pwrite", REFUSED, nothing, |s| s.machine.pwrite(s.parent, s.file, Bytes::ZERO).is_err()),
    ("Calls::fstat", LOOKS, nothing, |s| s.machine.fstat(s.parent, s.file).is_ok()),
    ("Calls::add_seals", NUMBER, sealable, |s| {
        s.machine.add_seals(s.parent, s.more.fd.unwrap(), Seals::SHRINK).is_ok()
    }),
    ("Calls::seals", LOOKS, sealable, |s| s.machine.seals(s.parent, s.more.fd.unwrap()).is_ok()),
    ("Calls::userfaultfd", OBJECTS, nothing, |s| s.machine.userfaultfd(s.parent).is_some()),
    ("Calls::uffd_register", AREAS, nothing, |s| {
        let fd = s.machine.userfaultfd(s.parent).unwrap();
        s.machine.uffd_register(s.parent, fd, s.shared, pages(4), UffdModes::MISSING).is_ok()
    }),
    ("Calls::uffd_unregister", AREAS, watched, |s| {
        s.machine.uffd_unregister(s.parent, s.more.fd.unwrap(), s.shared, pages(4)).is_ok()
    }),
    ("Calls::uffd_zero", REFUSED, watched, |s| {
        s.machine.uffd_zero(s.parent, s.more.fd.unwrap(), s.shared, pages(1)).is_err()
    }),
    ("Calls::shmat", AREAS, segment, |s| {
        s.machine.shmat(s.parent, s.more.segment.unwrap(), Place::Anywhere, FileAccess::ReadWrite).is_ok()
    }),
    ("Admin::statfs", LOOKS, nothing, |s| s.machine.statfs(s.mount).is_some()),
    ("Admin::create_cgroup", OBJECTS, nothing, |s| s.machine.create_cgroup("h").is_ok()),
    (
        "Admin::remove_cgroup",
        OBJECTS,
        |s| _ = s.machine.create_cgroup("h").unwrap(),
        |s| {
            let group = s.machine.cgroup("h").unwrap().unwrap();
            s.machine.remove_cgroup(group).is_ok()
        },
    ),
    ("Admin::cgroup", LOOKS, nothing, |s| s.machine.cgroup("g").is_ok()),
    ("Admin::set_cgroup_limit", NUMBER, nothing, |s| {
        s.machine.set_cgroup_limit(s.group, M2, CgroupCounter::Usage, Limit::Pages(huge(16))).is_ok()
    }),
    ("Admin::cgroup_view", LOOKS, nothing, |s| s.machine.cgroup_view(s.group, M2).is_some()),
    ("Admin::set_memory_limit", NUMBER, nothing, |s| s.machine.set_memory_limit(s.group, None).is_ok()),
    ("Admin::memory_view", LOOKS, nothing, |s| s.machine.memory_view(s.group).is_some()),
    ("Admin::attach", OBJECTS, nothing, |s| s.machine.attach(s.child, None).is_ok()),
    ("Admin::read_file", LOOKS, nothing, |s| s.machine.read_file("/proc/meminfo").is_ok()),
    ("Admin::pool", LOOKS, nothing, |s| s.machine.pool(M2).is_ok()),
    ("Admin::set_demote_size", NUMBER, nothing, |s| s.machine.set_demote_size(HugeSize::G1, M2).is_ok()),
    ("Admin::set_nr_overcommit", NUMBER, nothing, |s| s.machine.set_nr_overcommit(M2, huge(9)).is_ok()),
    ("GuestMemory::gmem_of", LOOKS, guest, |s| s.machine.gmem_of(s.parent, s.more.fd.unwrap()).is_some()),
    ("GuestMemory::gmem_bind", NUMBER, guest, |s| {
        s.machine.gmem_bind(s.parent, s.more.fd.unwrap(), Some(Pfn::new(1 << 20))).is_ok()
    }),
    ("GuestMemory::gmem_truncate", "the size it has is the only one that is taken", guest, |s| {
        s.machine.gmem_truncate(s.parent, s.more.fd.unwrap(), pages(2)).is_ok()
    }),
    ("GuestMemory::permit_conversion", NUMBER, nothing, |s| {
        s.machine.permit_conversion(hugefolio::text::Switch::On);
        true
    }),
    ("GuestMemory::gmem_map", AREAS, guest, |s| {
        s.machine.gmem_map(s.parent, s.more.fd.unwrap(), pages(1), pages(1)).is_ok()
    }),
    ("GuestMemory::gmem_unmap", GIVES, guest, |s| s.machine.gmem_unmap(s.parent, s.more.view.unwrap()).is_ok()),
    ("GuestMemory::guest_leaf", LOOKS, guest, |s| {
        s.machine.guest_leaf(s.parent, s.more.fd.unwrap(), Bytes::ZERO).is_none()
    }),
    ("GuestMemory::gmem_policy", NUMBER, guest, |s| {
        s.machine.gmem_policy(s.parent, s.more.fd.unwrap(), Bytes::ZERO, pages(1), None).is_ok()
    }),
    ("Moves::node_of", LOOKS, nothing, |s| s.machine.node_of(s.parent, s.shared).is_ok()),
    ("Moves::frame_at", LOOKS, nothing, |s| s.machine.frame_at(s.parent, s.shared).is_some()),
    ("Moves::mapping_at", LOOKS, nothing, |s| s.machine.mapping_at(s.parent, s.shared).is_some()),
    ("Moves::mapcount_of", LOOKS, nothing, |s| {
        let frame = s.machine.frame_at(s.parent, s.shared).unwrap();
        s.machine.mapcount_of(frame).is_some()
    }),
    ("Moves::numa_maps", LOOKS, nothing, |s| s.machine.numa_maps(s.parent).is_some()),
    ("Moves::tell_of_failures_early", NUMBER, nothing, |s| {
        s.machine.tell_of_failures_early(hugefolio::text::Switch::On);
        true
    }),
    ("Moves::permit_soft_offline", NUMBER, nothing, |s| {
        s.machine.permit_soft_offline(hugefolio::text::Switch::Off);
        true
    }),
    ("Moves::frame", LOOKS, nothing, |s| {
        let page = first_page(s);
        s.machine.frame(page) != hugefolio::Frame::Free
    }),
    // One that was broken for good is refused, but is looked at like any other.
    ("Moves::unpoison", GIVES, broken, |s| {
        let page = first_page(s);
        s.machine.unpoison(page).is_err()
    }),
    ("Policies::set_mempolicy", NUMBER, nothing, |s| {
        s.machine.set_mempolicy(s.parent, Mempolicy::Interleave(Nodemask::of(N0).with(N1))).is_ok()
    }),
    ("Policies::set_home_node", NUMBER, bound, |s| s.machine.set_home_node(s.parent, s.shared, pages(4), N1).is_ok()),
    ("Policies::set_cpuset", NUMBER, nothing, |s| s.machine.set_cpuset(s.group, Nodemask::of(N0)).is_ok()),
    ("Policies::cpuset", LOOKS, nothing, |s| !s.machine.cpuset(Some(s.group)).is_empty()),
    ("Policies::run_on_node", NUMBER, nothing, |s| s.machine.run_on_node(s.parent, N1)),
    ("Pages::free_pages", GIVES, block, |s| s.machine.free_pages(s.more.blocks[0]).is_ok()),
    ("Pages::block", LOOKS, block, |s| s.machine.block(s.more.blocks[0]).is_some()),
    ("Pages::pin_pages", NUMBER, block, |s| s.machine.pin_pages(s.more.blocks[0]).is_ok()),
    (
        "Pages::unpin_pages",
        NUMBER,
        |s| {
            block(s);
            s.machine.pin_pages(s.more.blocks[0]).unwrap();
        },
        |s| s.machine.unpin_pages(s.more.blocks[0]).is_ok(),
    ),
    ("Pages::drain_pages", GIVES, block, |s| {
        s.machine.drain_pages();
        true
    }),
    ("Machine::faults", "it is the plan itself", nothing, |s| s.machine.faults().is_armed()),
    ("Machine::limit", NUMBER, nothing, |s| {
        let limits = s.machine.host_limits();
        s.machine.limit(limits);
        true
    }),
    ("Machine::record_events", NUMBER, nothing, |s| {
        s.machine.record_events();
        true
    }),
    ("Machine::take_events", LOOKS, nothing, |s| s.machine.take_events().is_empty()),
    ("Machine::record_page_events", NUMBER, nothing, |s| {
        s.machine.record_page_events();
        true
    }),
    ("Machine::take_page_events", LOOKS, nothing, |s| s.machine.take_page_events().zones.is_empty()),
    ("Machine::run_on", NUMBER, nothing, |s| s.machine.run_on(CpuId::new(0)).is_ok()),
    ("Machine::drain_lists", GIVES, nothing, |s| {
        s.machine.drain_lists();
        true
    }),
    ("Machine::online_memory", "memory that comes brings its descriptors", unplugged, |s| {
        s.machine.online_memory(s.more.plug.unwrap()).is_ok()
    }),
];

const SECTION: PageCount = PageCount::new(1 << 15);

#[test]
fn what_asks_for_nothing_succeeds_where_everything_is_refused() {
    for &(name, why, prepare, run) in QUIET {
        let mut s = scene();
        prepare(&mut s);
        let before = s.machine.faults().asked();
        s.machine.faults().refuse_all();
        assert!(run(&mut s), "{name} fails, though {why}");
        let plan = s.machine.faults();
        assert_eq!((plan.asked(), plan.last_refused()), (before, None), "{name} asks, though {why}");
        plan.clear();
        s.machine.validate().unwrap_or_else(|broken| panic!("{name}: {broken}"));
    }
}
