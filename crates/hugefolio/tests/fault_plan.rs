//! Every attempt that can fail is made to fail, one after the other; each time the machine must be as it was.
//!
//! "As it was" means what anybody can see (counters, files, mappings, contents) and that a recount finds nothing wrong.
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use hugefolio::{
    Admin, Advice, Arrival, Bytes, Calls, Cause, CopyCall, FallocateMode, Fd, HugeCount, HugeSize, Machine, MapCall,
    MapFlags, MountOptions, Moves, NodeId, Nodemask, OpenCall, Payload, Pid, ResizeNodes, Share, Touch, UffdModes,
    Vaddr,
};

const PAGE: Bytes = HugeSize::M2.bytes();

const fn pages(n: u64) -> Bytes {
    Bytes::new(n * PAGE.get())
}

/// A machine with a file, a parent that maps it both ways and has touched some of it, and a child.
struct Scene {
    machine: Machine,
    parent: Pid,
    child: Pid,
    file: Fd,
    shared: Vaddr,
    private: Vaddr,
}

fn scene() -> Scene {
    let mut machine = Machine::builder().node(NodeId::new(0), Bytes::mib(128)).cmdline("hugepages=16").build().unwrap();
    machine.set_nr_overcommit(HugeSize::M2, HugeCount::new(4)).unwrap();
    let hstate = machine.hstates().default_hstate().id;
    let mount = machine.mount(&MountOptions::unlimited(hstate)).unwrap();
    let parent = machine.spawn();
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
    let mut text = format!("{:?}\n", machine.pool(HugeSize::M2).unwrap());
    text += &format!("{:?}\n", machine.fstat(scene.parent, scene.file));
    for pid in [scene.parent, scene.child] {
        text += &format!("{:?}\n", machine.hugetlb_pages(pid));
        for base in [scene.shared, scene.private] {
            for n in 0..4 {
                text += &format!("{:?} ", machine.page_state(pid, base + pages(n)));
            }
        }
    }
    // Free or kept by the processor: a block that went and came back may lie on either side.
    let node = NodeId::new(0);
    text += &format!("{:?}", machine.spare_pages(node));
    text
}

/// Runs `call` with its first, second, third ... attempt at any site refused, until none is left to refuse. Says how many there
/// were. `keeps` says whether a failed call leaves everything as it was, or may keep what it finished before.
fn fail_at_every_step(name: &str, keeps: Keeps, call: impl Fn(&mut Scene) -> bool) -> u64 {
    for k in 0.. {
        let mut scene = scene();
        let before = seen(&scene);
        scene.machine.faults().fail_nth(None, k);
        let succeeded = call(&mut scene);
        let never_reached = scene.machine.faults().is_armed();
        scene.machine.faults().clear();
        scene.machine.validate().unwrap_or_else(|broken| panic!("{name}, failing attempt {k}: {broken}"));
        if never_reached {
            assert!(succeeded, "{name}: nothing was refused, yet it failed");
            return k;
        }
        if keeps == Keeps::Nothing && !succeeded {
            assert_eq!(seen(&scene), before, "{name}, failing attempt {k}");
        }
        scene.machine.exit(scene.child);
        scene.machine.exit(scene.parent);
        scene.machine.validate().unwrap_or_else(|broken| panic!("{name}, after attempt {k} and exit: {broken}"));
        assert!(k < 1000, "{name} never ends");
    }
    unreachable!("the loop returns")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Keeps {
    Nothing,
    WhatWasDone,
}

#[test]
fn mapping() {
    for (name, share) in [("shared", Share::Shared), ("private", Share::Private)] {
        let attempts = fail_at_every_step(name, Keeps::Nothing, |s| {
            s.machine.mmap(s.parent, &MapCall::anonymous(pages(2), share)).is_ok()
        });
        assert!(attempts >= 1, "{name}: {attempts}");
    }
    // More than is free: surplus pages have to be made, and all of them go again if one cannot be had.
    let attempts = fail_at_every_step("surplus", Keeps::Nothing, |s| {
        s.machine.mmap(s.parent, &MapCall::anonymous(pages(10), Share::Private)).is_ok()
    });
    assert!(attempts >= 3, "surplus: {attempts}");
}

#[test]
fn touching() {
    let attempts = fail_at_every_step("shared hole", Keeps::Nothing, |s| {
        s.machine.write_byte(s.parent, s.shared + pages(2), 9).is_ok()
    });
    assert!(attempts >= 4, "a table page, a descriptor, a charge and a cache node: {attempts}");
    // A page that nobody promised enters the map with the allocation, and must leave it again with the failure.
    fail_at_every_step("shared hole without promise", Keeps::WhatWasDone, |s| {
        let call = MapCall::anonymous(pages(1), Share::Shared).with_flags(MapFlags::NORESERVE);
        s.machine.mmap(s.parent, &call).is_ok_and(|at| s.machine.write_byte(s.parent, at, 9).is_ok())
    });
    fail_at_every_step("private hole", Keeps::Nothing, |s| s.machine.read_byte(s.parent, s.private + pages(3)).is_ok());
    fail_at_every_step("child's hole", Keeps::Nothing, |s| {
        s.machine.write_byte(s.child, s.private + pages(3), 9).is_ok()
    });
    fail_at_every_step("child's copy", Keeps::Nothing, |s| s.machine.write_byte(s.child, s.private, 9).is_ok());
    fail_at_every_step("copy of a cached page", Keeps::WhatWasDone, |s| {
        s.machine.write_byte(s.child, s.private + pages(2), 9).is_ok()
    });
}

/// What a userfaultfd fills in is had as by a touch, and given back as by one that fails.
#[test]
fn filling() {
    for (name, shared) in [("shared copy", true), ("private copy", false)] {
        let attempts = fail_at_every_step(name, Keeps::Nothing, |s| {
            let at = if shared { s.shared } else { s.private };
            let fd = s.machine.userfaultfd(s.parent).unwrap();
            s.machine.uffd_register(s.parent, fd, at, pages(4), UffdModes::MISSING).unwrap();
            let call = CopyCall {
                start: at + pages(3),
                len: pages(1),
                payload: Payload::Bytes(b"filled"),
                arrival: Arrival::Open,
            };
            let filled = s.machine.uffd_copy(s.parent, fd, &call).is_ok();
            assert!(!filled || s.machine.read_byte(s.parent, at + pages(3)) == Ok(b'f'), "{name}");
            filled
        });
        assert!(attempts >= 2, "{name}: {attempts}");
    }
    fail_at_every_step("cached page", Keeps::Nothing, |s| {
        let fd = s.machine.userfaultfd(s.child).unwrap();
        s.machine.uffd_register(s.child, fd, s.shared, pages(1), UffdModes::MINOR).unwrap();
        s.machine.uffd_continue(s.child, fd, s.shared, pages(1)).is_ok()
    });
}

/// An owner that cannot get a copy takes the page from its child, so it does not fail; nothing else may be lost by that.
#[test]
fn the_owner_copies_or_steals() {
    let attempts = fail_at_every_step("owner's copy", Keeps::WhatWasDone, |s| {
        s.machine.write_byte(s.parent, s.private, 9).is_ok()
    });
    assert!(attempts >= 2, "{attempts}");
}

#[test]
fn files() {
    fail_at_every_step("fallocate", Keeps::WhatWasDone, |s| {
        s.machine.fallocate(s.parent, s.file, FallocateMode::Extend, Bytes::ZERO, pages(6)).is_ok()
    });
    fail_at_every_step("punch", Keeps::WhatWasDone, |s| {
        s.machine.fallocate(s.parent, s.file, FallocateMode::PunchHole, Bytes::ZERO, pages(1)).is_ok()
    });
    fail_at_every_step("truncate", Keeps::WhatWasDone, |s| s.machine.ftruncate(s.parent, s.file, pages(1)).is_ok());
}

#[test]
fn processes() {
    let attempts = fail_at_every_step("fork", Keeps::WhatWasDone, |s| match s.machine.fork(s.parent) {
        Ok(child) => s.machine.exit(child),
        Err(_) => false,
    });
    assert!(attempts >= 1, "{attempts}");
    fail_at_every_step("populate", Keeps::WhatWasDone, |s| {
        let call = MapCall::anonymous(pages(2), Share::Private).with_flags(MapFlags::POPULATE);
        // Populating never fails the call; only the reservation does.
        s.machine.mmap(s.parent, &call).is_ok()
    });
    fail_at_every_step("dontneed", Keeps::WhatWasDone, |s| {
        s.machine.madvise(s.parent, s.private, pages(4), Advice::DontNeed).is_ok()
    });
}

#[test]
fn resizing() {
    let attempts = fail_at_every_step("grow", Keeps::WhatWasDone, |s| {
        s.machine.set_nr_hugepages(HugeSize::M2, HugeCount::new(20), ResizeNodes::Global(Nodemask::ALL)).is_ok()
    });
    assert_eq!(attempts, 4, "one block of frames for each page");
}

/// A page that cannot be moved for want of one to move to stays, unmarked; one whose failure cannot be noted is lost as a whole, and
/// nothing else is.
#[test]
fn moving() {
    let attempts = fail_at_every_step("soft offline without a page to spare", Keeps::Nothing, |s| {
        let pool = s.machine.pool(HugeSize::M2).unwrap();
        let rest = pool.free.get() - pool.resv.get();
        let call = MapCall::anonymous(pages(rest), Share::Private);
        s.machine.mmap(s.parent, &call).is_ok_and(|at| {
            let page = s.machine.frame_at(s.parent, s.private).unwrap();
            let done = s.machine.soft_offline(page).is_ok();
            s.machine.munmap(s.parent, at, pages(rest)).unwrap();
            done
        })
    });
    assert!(attempts >= 1, "soft offline: {attempts}");
    let attempts = fail_at_every_step("memory failure", Keeps::WhatWasDone, |s| {
        let page = s.machine.frame_at(s.parent, s.private).unwrap();
        s.machine.memory_failure(page, Cause::Test);
        true
    });
    assert_eq!(attempts, 1, "the note");
    let attempts = fail_at_every_step("fork with a pinned page", Keeps::WhatWasDone, |s| {
        let Ok(pin) = s.machine.pin(s.parent, s.private + pages(1), Touch::Write) else { return false };
        let forked = s.machine.fork(s.parent);
        s.machine.unpin(pin);
        forked.is_ok_and(|child| s.machine.exit(child))
    });
    assert!(attempts >= 2, "tables and a charge: {attempts}");
}
