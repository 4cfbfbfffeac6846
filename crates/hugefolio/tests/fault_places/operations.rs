//! Operations, each of which is made to fail at every place that it passes.

use hugefolio::{
    Admin, Advice, Arrival, Attribute, Bytes, Calls, Cause, ConvertCall, CopyCall, FallocateMode, GfpFlags, GmemFlags,
    GuestMemory, HugeSize, MapCall, MapFlags, MoveScope, Moves, Nodemask, Order, Pages, Payload, ResizeNodes, Share,
    Touch, UffdModes, Vaddr,
};

use crate::scene::{ALL, M2, N0, N1, Scene, huge, pages, total};
use crate::{Leaves, Operation};

fn anonymous(s: &mut Scene, n: u64, flags: MapFlags) -> Option<Vaddr> {
    s.machine.mmap(s.parent, &MapCall::anonymous(pages(n), Share::Shared).with_flags(flags)).ok()
}

pub(crate) const OPERATIONS: &[Operation] = &[
    ("grow", Leaves::Steps(|s| (12..=15).contains(&total(s))), |s| {
        s.machine.set_nr_hugepages(M2, huge(16), ALL).unwrap();
        total(s) == 16
    }),
    ("grow a node", Leaves::Steps(|s| (12..=14).contains(&total(s))), |s| {
        s.machine.set_nr_hugepages(M2, huge(3), ResizeNodes::Node(N1)).unwrap();
        total(s) == 15
    }),
    // There is no room for one: it is asked for all the same.
    ("grow a pool of gigantic pages", Leaves::Nothing, |s| {
        s.machine.set_nr_hugepages(HugeSize::G1, huge(1), ALL).is_ok()
    }),
    ("shrink", Leaves::Nothing, |s| {
        s.machine.set_nr_hugepages(M2, huge(8), ALL).unwrap();
        total(s) == 8
    }),
    // A page whose descriptors cannot be had is made with its own, or stays as surplus.
    ("pages without descriptors come and go", Leaves::OtherWay, |s| {
        s.machine.write_file("/proc/sys/vm/hugetlb_optimize_vmemmap", "1").unwrap();
        for count in [15, 12] {
            s.machine.set_nr_hugepages(M2, huge(count), ALL).unwrap();
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
    ("memory that breaks in a page in pieces", Leaves::OtherWay, |s| {
        s.machine.madvise(s.parent, s.shared, pages(1), Advice::Split).unwrap();
        let page = s.machine.frame_at(s.parent, s.shared).unwrap();
        s.machine.memory_failure(page, Cause::Test);
        s.machine.read_byte(s.parent, s.shared).is_err()
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
pub(crate) fn no_half_guest(s: &mut Scene) -> bool {
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
