//! Public operations that need something made beforehand.
//!
//! Whoever lets go of a page asks for memory only if the page leaves its pool and has given descriptors back: so the pool is cut down to
//! nothing first, and what is in use is surplus.

use hugefolio::boot::Arch;
use hugefolio::{
    Admin, Advice, Attribute, ByteRange, Bytes, Calls, Context, ConvertCall, Existing, FallocateMode, FileAccess,
    GfpFlags, GmemFlags, GuestMemory, HugeSize, Injection, MapCall, MemfdFlags, Mempolicy, MountOptions, MoveScope,
    Moves, Nodemask, Order, PageCount, PageShift, Pages, Pfn, PinKind, Place, Policies, RemapFlags, RemapRequest,
    ResizeNodes, Seals, SegmentCall, Share, Touch, UffdModes, UmountMode, Vaddr, WriteProtection, Writer,
};

use crate::operations::no_half_guest;
use crate::scene::{ALL, BASE, M2, N0, N1, Scene, huge, pages, scene, scene_on, total, with_shared_tails};
use crate::{Leaves, Prepared};

const STEPS: Leaves = Leaves::Steps(|s| total(s) == 12);

/// The memory of a node in pieces of 128 MiB, as blocks of memory are.
const SECTION: PageCount = PageCount::new(1 << 15);

/// Pages that give descriptors back, all of them surplus once `made` is there: whatever is let go leaves the pool.
fn leaving(make: impl FnOnce(&mut Scene)) -> Scene {
    let mut s = with_shared_tails();
    make(&mut s);
    s.machine.set_nr_hugepages(M2, huge(0), ALL).unwrap();
    s
}

/// The same once the child is gone, so that the parent has its pages alone.
fn leaving_alone(make: impl FnOnce(&mut Scene)) -> Scene {
    leaving(|s| {
        make(s);
        s.machine.exit(s.child);
    })
}

/// A segment that the parent has attached, with a page in it.
fn attached(s: &mut Scene) {
    let segment = s.machine.shmget(s.parent, &SegmentCall::new(pages(1))).unwrap();
    let at = s.machine.shmat(s.parent, segment, Place::Anywhere, FileAccess::ReadWrite).unwrap();
    s.machine.write_byte(s.parent, at, 1).unwrap();
    (s.more.segment, s.more.at) = (Some(segment), Some(at));
}

/// Nobody has the file open or mapped: its name alone keeps it.
fn by_name_alone(s: &mut Scene) {
    s.machine.exit(s.parent);
    s.parent = s.machine.spawn();
}

/// A page of the parent that only a pin keeps.
fn kept_by_a_pin(s: &mut Scene) {
    let at = s.machine.mmap(s.parent, &MapCall::anonymous(pages(1), Share::Private)).unwrap();
    s.more.pin = Some(s.machine.pin(s.parent, at, Touch::Write).unwrap());
    s.machine.munmap(s.parent, at, pages(1)).unwrap();
}

/// A guest of two huge pages, both in memory.
fn guest(s: &mut Scene) {
    let flags = GmemFlags::MMAP | GmemFlags::HUGETLB;
    let fd = s.machine.gmem_create(s.parent, pages(2), flags, Some(M2)).unwrap();
    s.machine.gmem_allocate(s.parent, fd, Bytes::ZERO, pages(2)).unwrap();
    s.more.fd = Some(fd);
}

/// A guest that shares a page of base pages with the host, which has mapped it.
fn shared_guest(s: &mut Scene) {
    let fd = s.machine.gmem_create(s.parent, Bytes::kib(16), GmemFlags::MMAP, None).unwrap();
    s.machine.gmem_convert(s.parent, fd, &ConvertCall::new(Bytes::ZERO, BASE, Attribute::Shared)).unwrap();
    let view = s.machine.gmem_map(s.parent, fd, Bytes::ZERO, Bytes::kib(16)).unwrap();
    (s.more.fd, s.more.view) = (Some(fd), Some(view));
}

/// A guest one of whose huge pages is in pieces, and has all its descriptors.
fn split_guest() -> Scene {
    prepared(with_shared_tails(), |s| {
        guest(s);
        s.machine.gmem_split(s.parent, s.more.fd.unwrap(), Bytes::ZERO, Order::ZERO).unwrap();
    })
}

fn prepared(mut s: Scene, make: impl FnOnce(&mut Scene)) -> Scene {
    make(&mut s);
    s
}

/// Ordinary blocks that can be moved, on a node, with holes between them.
fn movable_blocks(s: &mut Scene, node: units::NodeId) {
    let request = page_alloc::PageRequest::new(Order::new(4), GfpFlags::HIGHUSER_MOVABLE | GfpFlags::THISNODE, node);
    let blocks: Vec<_> = (0..8).map(|_| s.machine.alloc_pages(&request).unwrap()).collect();
    for (n, block) in blocks.into_iter().enumerate() {
        if n % 2 == 0 {
            s.machine.free_pages(block).unwrap();
        } else {
            s.more.blocks.push(block);
        }
    }
}

fn first_block(s: &mut Scene) -> Pfn {
    s.machine.block(s.more.blocks[0]).unwrap().pfn
}

pub(crate) const CALLS: &[Prepared] = &[
    ("exit", Leaves::OtherWay, || leaving(|_| ()), |s| s.machine.exit(s.child) && s.machine.exit(s.parent)),
    ("munmap", Leaves::OtherWay, || leaving_alone(|_| ()), |s| s.machine.munmap(s.parent, s.private, pages(4)).is_ok()),
    ("mremap", Leaves::Nothing, scene, |s| {
        let (flags, to) = (RemapFlags::MAY_MOVE | RemapFlags::FIXED, Vaddr::new(1 << 40));
        let request = RemapRequest { from: s.private, old_len: pages(4), new_len: pages(4), flags, to };
        s.machine.mremap(s.parent, &request).is_ok()
    }),
    (
        "madvise",
        Leaves::OtherWay,
        || leaving_alone(|_| ()),
        |s| s.machine.madvise(s.parent, s.private, pages(4), Advice::DontNeed).is_ok(),
    ),
    ("madvise, which populates", STEPS, scene, |s| {
        s.machine.madvise(s.parent, s.private, pages(4), Advice::PopulateRead).is_ok()
    }),
    ("mlock", STEPS, scene, |s| s.machine.mlock(s.parent, s.shared, pages(4)).is_ok()),
    (
        "close",
        Leaves::OtherWay,
        || {
            leaving(|s| {
                let fd = s.machine.memfd(s.parent, Some(M2), MemfdFlags::empty()).unwrap();
                s.machine.fallocate(s.parent, fd, FallocateMode::Extend, Bytes::ZERO, pages(1)).unwrap();
                s.more.fd = Some(fd);
            })
        },
        |s| s.machine.close(s.parent, s.more.fd.unwrap()).is_ok(),
    ),
    ("ftruncate", Leaves::OtherWay, || leaving(|_| ()), |s| s.machine.ftruncate(s.parent, s.file, Bytes::ZERO).is_ok()),
    ("truncate", Leaves::OtherWay, || leaving(|_| ()), |s| s.machine.truncate(s.mount, "file", Bytes::ZERO).is_ok()),
    (
        "truncate by a process",
        Leaves::OtherWay,
        || leaving(|_| ()),
        |s| s.machine.truncate_as(s.parent, s.mount, "file", Bytes::ZERO).is_ok(),
    ),
    ("unlink", Leaves::OtherWay, || leaving_alone(by_name_alone), |s| s.machine.unlink(s.mount, "file").is_ok()),
    (
        "unlink by a process",
        Leaves::OtherWay,
        || leaving_alone(by_name_alone),
        |s| s.machine.unlink_as(s.parent, s.mount, "file").is_ok(),
    ),
    ("make a segment", Leaves::Nothing, scene, |s| s.machine.shmget(s.parent, &SegmentCall::new(pages(6))).is_ok()),
    (
        "detach a segment",
        Leaves::OtherWay,
        || {
            leaving(|s| {
                attached(s);
                s.machine.shmrm(s.more.segment.unwrap()).unwrap();
            })
        },
        |s| s.machine.shmdt(s.parent, s.more.at.unwrap()).is_ok(),
    ),
    (
        "remove a segment",
        Leaves::OtherWay,
        || {
            leaving(|s| {
                attached(s);
                s.machine.shmdt(s.parent, s.more.at.unwrap()).unwrap();
            })
        },
        |s| s.machine.shmrm(s.more.segment.unwrap()).is_ok(),
    ),
    (
        "write-protect",
        Leaves::Nothing,
        || {
            prepared(scene(), |s| {
                let fd = s.machine.userfaultfd(s.parent).unwrap();
                s.machine.uffd_register(s.parent, fd, s.shared, pages(4), UffdModes::WRITE_PROTECT).unwrap();
                s.more.fd = Some(fd);
            })
        },
        |s| {
            let fd = s.more.fd.unwrap();
            s.machine.uffd_write_protect(s.parent, fd, s.shared, pages(4), WriteProtection::Set).is_ok()
        },
    ),
    ("mount with a minimum", Leaves::Nothing, scene, |s| {
        let mut options = MountOptions::unlimited(s.machine.hstates().default_hstate().id);
        options.min = Some(huge(6));
        s.machine.mount(&options).is_ok()
    }),
    ("mount by text", Leaves::Nothing, scene, |s| s.machine.mount_with("min_size=12M").is_ok()),
    (
        "umount",
        Leaves::OtherWay,
        || leaving(|s| s.more.mount = Some(s.machine.mount_with("min_size=4M").unwrap())),
        |s| s.machine.umount(s.more.mount.unwrap(), UmountMode::Strict).is_ok(),
    ),
    ("write a knob", Leaves::Steps(|s| (12..=15).contains(&total(s))), scene, |s| {
        s.machine.write_file("/proc/sys/vm/nr_hugepages", "16").is_ok() && total(s) == 16
    }),
    ("write a knob as somebody", Leaves::Steps(|s| (12..=15).contains(&total(s))), scene, |s| {
        let path = "/proc/sys/vm/nr_hugepages_mempolicy";
        s.machine.write_file_as(&Writer::default(), path, "16").is_ok() && total(s) == 16
    }),
    (
        "do what was put off",
        Leaves::OtherWay,
        || {
            let mut s = leaving(kept_by_a_pin);
            let pin = s.more.pin.take().unwrap();
            s.machine.unpin_in(pin, Context::Atomic);
            s
        },
        |s| {
            s.machine.quiesce();
            s.machine.deferred().iter().next().is_none()
        },
    ),
    (
        "demote",
        Leaves::Nothing,
        || {
            let cmdline = "hugepagesz=32M hugepages=1 hugetlb_free_vmemmap=on";
            scene_on(Arch::Arm64(PageShift::K4), cmdline, Bytes::mib(512))
        },
        |s| s.machine.demote(HugeSize::M32, huge(1), ALL).is_ok(),
    ),
    ("dissolve without descriptors", Leaves::Nothing, with_shared_tails, |s| {
        let hstate = s.machine.hstates().default_hstate().id;
        let page = s.machine.shelf(hstate, N0).unwrap().iter().next().unwrap().pfn;
        s.machine.dissolve(page).is_ok()
    }),
    ("make a guest's memory", Leaves::Nothing, scene, |s| {
        s.machine.gmem_create(s.parent, pages(2), GmemFlags::HUGETLB, Some(M2)).is_ok()
    }),
    (
        "allocate a guest's memory",
        Leaves::Steps(no_half_guest),
        || {
            prepared(scene(), |s| {
                let flags = GmemFlags::MMAP | GmemFlags::HUGETLB;
                s.more.fd = s.machine.gmem_create(s.parent, pages(2), flags, Some(M2)).ok();
            })
        },
        |s| s.machine.gmem_allocate(s.parent, s.more.fd.unwrap(), Bytes::ZERO, pages(2)).is_ok(),
    ),
    // What is in pieces is put together first.
    ("a hole in a guest's memory", Leaves::OtherWay, split_guest, |s| {
        s.machine.gmem_punch(s.parent, s.more.fd.unwrap(), Bytes::ZERO, pages(1)).is_ok()
    }),
    (
        "the host reads a guest's memory",
        Leaves::Nothing,
        || prepared(scene(), shared_guest),
        |s| s.machine.gmem_read(s.parent, s.more.view.unwrap(), Bytes::ZERO).is_ok(),
    ),
    (
        "the host writes to a guest's memory",
        Leaves::Nothing,
        || prepared(scene(), shared_guest),
        |s| s.machine.gmem_write(s.parent, s.more.view.unwrap(), Bytes::ZERO, 1).is_ok(),
    ),
    (
        "the host pins a guest's memory",
        Leaves::Nothing,
        || prepared(scene(), shared_guest),
        |s| {
            let pin = s.machine.gmem_pin(s.parent, s.more.view.unwrap(), Bytes::ZERO);
            pin.is_ok_and(|pin| {
                s.machine.gmem_unpin(pin, Context::Sleepable);
                true
            })
        },
    ),
    (
        "the last pin of a guest's memory",
        Leaves::OtherWay,
        || {
            leaving(|s| {
                guest(s);
                let fd = s.more.fd.unwrap();
                s.machine.gmem_convert(s.parent, fd, &ConvertCall::new(Bytes::ZERO, BASE, Attribute::Shared)).unwrap();
                let view = s.machine.gmem_map(s.parent, fd, Bytes::ZERO, BASE).unwrap();
                s.more.guest_pin = Some(s.machine.gmem_pin(s.parent, view, Bytes::ZERO).unwrap());
                s.machine.exit(s.parent);
            })
        },
        |s| {
            let pin = s.more.guest_pin.take().unwrap();
            s.machine.gmem_unpin(pin, Context::Sleepable);
            true
        },
    ),
    (
        "a guest's memory breaks",
        Leaves::OtherWay,
        || prepared(scene(), guest),
        |s| s.machine.gmem_memory_failure(s.parent, s.more.fd.unwrap(), BASE).is_ok(),
    ),
    (
        "split a guest's page",
        Leaves::Nothing,
        || prepared(with_shared_tails(), guest),
        |s| s.machine.gmem_split(s.parent, s.more.fd.unwrap(), Bytes::ZERO, Order::ZERO).is_ok(),
    ),
    ("merge a guest's page", Leaves::OtherWay, split_guest, |s| {
        s.machine.gmem_merge(s.parent, s.more.fd.unwrap()).is_ok()
    }),
    ("pin", STEPS, scene, |s| {
        let pin = s.machine.pin(s.parent, s.shared + pages(2), Touch::Write);
        pin.is_ok_and(|pin| {
            s.machine.unpin(pin);
            true
        })
    }),
    (
        "unpin",
        Leaves::OtherWay,
        || leaving(kept_by_a_pin),
        |s| {
            let pin = s.more.pin.take().unwrap();
            s.machine.unpin(pin);
            true
        },
    ),
    (
        "unpin where one may wait",
        Leaves::OtherWay,
        || leaving(kept_by_a_pin),
        |s| {
            let pin = s.more.pin.take().unwrap();
            s.machine.unpin_in(pin, Context::Sleepable);
            true
        },
    ),
    ("pin an area", STEPS, scene, |s| {
        let at = s.shared + pages(2);
        s.machine.pin_pages_of(s.parent, at, huge(2), Touch::Write, PinKind::LongTerm).is_ok()
    }),
    (
        "pin a file",
        STEPS,
        || {
            prepared(scene(), |s| {
                let fd = s.machine.memfd(s.parent, Some(M2), MemfdFlags::ALLOW_SEALING).unwrap();
                s.machine.ftruncate(s.parent, fd, pages(2)).unwrap();
                s.machine.add_seals(s.parent, fd, Seals::SHRINK).unwrap();
                s.more.fd = Some(fd);
            })
        },
        |s| {
            let range = ByteRange { offset: Bytes::ZERO, len: pages(2) };
            s.machine.pin_file(s.parent, s.more.fd.unwrap(), range).is_ok()
        },
    ),
    (
        "unpin an area",
        Leaves::OtherWay,
        || {
            leaving(|s| {
                let at = s.machine.mmap(s.parent, &MapCall::anonymous(pages(1), Share::Private)).unwrap();
                s.more.pins = s.machine.pin_pages_of(s.parent, at, huge(1), Touch::Write, PinKind::LongTerm).ok();
                s.machine.munmap(s.parent, at, pages(1)).unwrap();
            })
        },
        |s| s.machine.unpin_pages_of(s.parent, s.more.pins.unwrap(), Context::Sleepable).is_ok(),
    ),
    ("break memory of an area", Leaves::OtherWay, scene, |s| {
        s.machine.inject(s.parent, s.shared, pages(1), Injection::Hard).is_ok()
    }),
    ("bind and move", STEPS, scene, |s| {
        let bind = Mempolicy::Bind { nodes: Nodemask::of(N1), home: None };
        let existing = Existing::MovedStrictly(MoveScope::All);
        s.machine.mbind(s.parent, s.shared, pages(4), bind, existing).is_ok()
    }),
    ("ordinary pages of a process", Leaves::Nothing, scene, |s| {
        s.machine
            .alloc_pages_for(s.parent, Order::new(3), GfpFlags::KERNEL)
            .is_ok_and(|block| s.machine.free_pages(block).is_ok())
    }),
    (
        "take frames that others have",
        Leaves::Nothing,
        || prepared(scene(), |s| movable_blocks(s, N0)),
        |s| {
            let pfn = Pfn::new(first_block(s).get() >> 9 << 9);
            s.machine
                .take_frames(pfn, Order::new(9), GfpFlags::KERNEL)
                .is_ok_and(|block| s.machine.free_pages(block).is_ok())
        },
    ),
    (
        "compact",
        Leaves::OtherWay,
        || prepared(scene(), |s| movable_blocks(s, N0)),
        |s| {
            s.machine.compact_pages(N0);
            true
        },
    ),
    (
        "memory goes",
        STEPS,
        || prepared(scene(), |s| movable_blocks(s, N1)),
        |s| {
            let pfn = Pfn::new(first_block(s).get() >> 15 << 15);
            s.machine.offline_memory(pfn, SECTION).is_ok()
        },
    ),
    (
        "memory with a huge page in use goes",
        STEPS,
        || {
            prepared(scene(), |s| {
                s.machine.set_nr_hugepages(M2, huge(2), ResizeNodes::Node(N1)).unwrap();
                s.machine.set_nr_hugepages(M2, huge(10), ResizeNodes::Node(N0)).unwrap();
                s.machine.move_page(s.parent, s.shared, N1, MoveScope::All).unwrap();
            })
        },
        |s| {
            let pfn = s.machine.frame_at(s.parent, s.shared).unwrap();
            s.machine.offline_memory(Pfn::new(pfn.get() >> 15 << 15), SECTION).is_ok()
        },
    ),
];
