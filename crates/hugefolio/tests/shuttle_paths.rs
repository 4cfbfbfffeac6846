//! Whole paths that end something, or make something else of it, while somebody uses it: every interleaving that a schedule can give.
//!
//! Run with `cargo xtask ci shuttle`. The number of schedules is that of HUGEFOLIO_SCHEDULES; ten thousand are
//! `HUGEFOLIO_SCHEDULES=10000 RUSTFLAGS="--cfg shuttle" cargo test -p hugefolio --test shuttle_paths --target-dir target/shuttle`. After each, all that there is is
//! counted.
#![cfg(shuttle)]
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod schedules;

use hugefolio::{
    Admin, Bytes, Calls, CgroupId, EnterError, HugeCount, HugeSize, Machine, MapCall, MapFlags, NodeId, OnCpu, Pid,
    RemoveError, Share, Vaddr,
};

use schedules::{Part, race_all, under_schedules};

const SCHEDULES: usize = 500;
const NODE: NodeId = NodeId::new(0);
const PAGE: Bytes = HugeSize::M2.bytes();

fn part(part: impl FnOnce(&mut OnCpu<'_>) + Send + 'static) -> Part {
    Box::new(part)
}

fn machine(cmdline: &str) -> Machine {
    Machine::builder().node(NODE, Bytes::mib(32)).cmdline(cmdline).build().unwrap()
}

/// Total, free, reserved and surplus pages of a pool.
fn pool(machine: &mut Machine, size: HugeSize) -> [u64; 4] {
    let pool = machine.pool(size).unwrap();
    [pool.nr, pool.free, pool.resv, pool.surplus].map(HugeCount::get)
}

/// What a group is charged for as used and as reserved.
fn charged(machine: &mut Machine, group: CgroupId) -> [u64; 2] {
    let view = machine.cgroup_view(group, HugeSize::M2).unwrap();
    [view.usage, view.rsvd].map(HugeCount::get)
}

mod copies {
    use super::*;

    /// A page that parent and child have since a fork, each in a group of its own, and so many pages in all.
    struct Family {
        machine: Machine,
        groups: [CgroupId; 2],
        parent: Pid,
        child: Pid,
        at: Vaddr,
        pages: u64,
    }

    fn family(pages: u64) -> Family {
        let mut machine = machine(&format!("hugepages={pages}"));
        let groups = ["parent", "child"].map(|name| machine.create_cgroup(name).unwrap());
        let parent = machine.spawn_in(Some(groups[0])).unwrap();
        let at = machine.mmap(parent, &MapCall::anonymous(PAGE, Share::Private)).unwrap();
        machine.write_byte(parent, at, 1).unwrap();
        let child = machine.fork(parent).unwrap();
        machine.attach(child, Some(groups[1])).unwrap();
        Family { machine, groups, parent, child, at, pages }
    }

    /// Whoever is left goes, and nothing is missing: each page is free, and no group pays for one.
    fn assert_nothing_is_left(machine: &mut Machine, family: ([CgroupId; 2], [Pid; 2], u64)) {
        let (groups, pids, pages) = family;
        for pid in pids {
            machine.exit(pid);
        }
        machine.validate().unwrap_or_else(|broken| panic!("{broken}"));
        assert_eq!(pool(machine, HugeSize::M2), [pages, pages, 0, 0]);
        assert_eq!(groups.map(|group| charged(machine, group)), [[0, 0]; 2]);
    }

    /// The child copies the page, or finds no page to copy it to, while its parent exits. Whether others map the page was looked at and the page written in two
    /// steps, and who exited between them was still counted, or was counted no more and read what had been written.
    #[test]
    fn a_child_copies_while_its_parent_exits() {
        for pages in [1, 2] {
            under_schedules(SCHEDULES, move || {
                let Family { machine, groups, parent, child, at, pages } = family(pages);
                let write = move |on: &mut OnCpu<'_>| {
                    let written = on.write_byte(child, at, 2);
                    assert!(written.is_ok() || pages == 1, "there was a page for the copy: {written:?}");
                    assert_eq!(on.read_byte(child, at), Ok(if written.is_ok() { 2 } else { 1 }));
                };
                let mut machine = race_all(machine, vec![part(write), part(move |on| assert!(on.exit(parent)))]);
                assert_eq!(pool(&mut machine, HugeSize::M2)[1], pages - 1, "the child has one page");
                assert_nothing_is_left(&mut machine, (groups, [parent, child], pages));
            });
        }
    }

    /// The parent copies the page, or takes it from its child, while the child exits. The child's entry was taken out twice, or the parent, who found the child
    /// gone, was refused a page that was his alone.
    #[test]
    fn a_parent_copies_while_its_child_exits() {
        for pages in [1, 2] {
            under_schedules(SCHEDULES, move || {
                let Family { machine, groups, parent, child, at, pages } = family(pages);
                let write = move |on: &mut OnCpu<'_>| {
                    on.write_byte(parent, at, 3).unwrap();
                    assert_eq!(on.read_byte(parent, at), Ok(3));
                };
                let mut machine = race_all(machine, vec![part(write), part(move |on| assert!(on.exit(child)))]);
                assert_eq!(pool(&mut machine, HugeSize::M2)[1], pages - 1, "the parent has one page");
                assert_nothing_is_left(&mut machine, (groups, [parent, child], pages));
            });
        }
    }

    /// Both write while one of them exits in another thread of its own: a touch that had looked its area up went on in a space that was gone, and the page it took
    /// stayed in a table that nobody had.
    #[test]
    fn both_copy_while_one_of_them_exits() {
        for (pages, parent_goes) in [(1, false), (1, true), (2, false), (2, true)] {
            under_schedules(SCHEDULES, move || {
                let Family { machine, groups, parent, child, at, pages } = family(pages);
                let (goes, stays) = if parent_goes { (parent, child) } else { (child, parent) };
                let write = move |pid, value| part(move |on| _ = on.write_byte(pid, at, value));
                let mut machine =
                    race_all(machine, vec![write(goes, 2), write(stays, 3), part(move |on| assert!(on.exit(goes)))]);
                let seen = machine.read_byte(stays, at);
                assert!(seen == Ok(3) || (parent_goes && pages == 1 && seen != Ok(2)), "{seen:?}");
                assert_nothing_is_left(&mut machine, (groups, [parent, child], pages));
            });
        }
    }
}

mod groups {
    use super::*;

    /// `g` hands the controller on to `c` and `d`, and a process is in `c`.
    struct Tree {
        machine: Machine,
        above: CgroupId,
        group: CgroupId,
        beside: CgroupId,
        pid: Pid,
    }

    fn tree() -> Tree {
        let mut machine = machine("hugepages=2");
        let above = machine.create_cgroup("g").unwrap();
        machine.write_file("/sys/fs/cgroup/g/cgroup.subtree_control", "+hugetlb").unwrap();
        let [group, beside] = ["g/c", "g/d"].map(|path| machine.create_cgroup(path).unwrap());
        let pid = machine.spawn_in(Some(group)).unwrap();
        Tree { machine, above, group, beside, pid }
    }

    /// The process moves to the group beside its own, which is removed.
    fn move_out_and_remove(tree: &Tree) -> Part {
        let Tree { group, beside, pid, .. } = *tree;
        part(move |on| {
            on.attach(pid, Some(beside)).unwrap();
            on.remove_cgroup(group).unwrap();
        })
    }

    /// The process goes, and the groups are empty: none of them is kept by a charge that nobody gives back.
    fn assert_nothing_is_left(machine: &mut Machine, above: CgroupId, beside: CgroupId, pid: Pid) {
        machine.exit(pid);
        machine.validate().unwrap_or_else(|broken| panic!("{broken}"));
        assert_eq!(pool(machine, HugeSize::M2), [2, 2, 0, 0]);
        assert_eq!([above, beside].map(|group| charged(machine, group)), [[0, 0]; 2]);
        machine.remove_cgroup(beside).unwrap();
        machine.remove_cgroup(above).unwrap();
        machine.validate().unwrap_or_else(|broken| panic!("{broken}"));
    }

    /// A page that was promised is touched while the group that pays for the promise goes. The promise is charged to the groups above it, and so is the page,
    /// whichever of the groups is asked for it.
    #[test]
    fn a_reserved_touch_against_the_removal_of_its_group() {
        under_schedules(SCHEDULES, || {
            let mut tree = tree();
            let pid = tree.pid;
            let at = tree.machine.mmap(pid, &MapCall::anonymous(PAGE, Share::Private)).unwrap();
            let remove = move_out_and_remove(&tree);
            let Tree { machine, above, beside, pid, .. } = tree;
            let mut machine = race_all(machine, vec![remove, part(move |on| on.write_byte(pid, at, 1).unwrap())]);
            assert_eq!(charged(&mut machine, above), [1, 1]);
            assert_nothing_is_left(&mut machine, above, beside, pid);
        });
    }

    /// A page is touched that nobody promised, while the toucher's group goes. Who pays was looked up before, and the group was forgotten by the time of the charge:
    /// nobody paid, and the limits of the groups above it did not hold.
    #[test]
    fn a_touch_against_the_removal_of_its_group() {
        under_schedules(SCHEDULES, || {
            let mut tree = tree();
            let call = MapCall::anonymous(PAGE, Share::Private).with_flags(MapFlags::NORESERVE);
            let at = tree.machine.mmap(tree.pid, &call).unwrap();
            let remove = move_out_and_remove(&tree);
            let Tree { machine, above, beside, pid, .. } = tree;
            let mut machine = race_all(machine, vec![remove, part(move |on| on.write_byte(pid, at, 1).unwrap())]);
            assert_eq!(charged(&mut machine, above), [1, 1]);
            assert_nothing_is_left(&mut machine, above, beside, pid);
        });
    }

    /// Pages are promised while the group that is to pay goes, and the promise ends.
    #[test]
    fn a_promise_against_the_removal_of_its_group() {
        under_schedules(SCHEDULES, || {
            let tree = tree();
            let remove = move_out_and_remove(&tree);
            let Tree { machine, above, beside, pid, .. } = tree;
            let promise = part(move |on| {
                let at = on.mmap(pid, &MapCall::anonymous(PAGE + PAGE, Share::Private)).unwrap();
                on.munmap(pid, at, PAGE).unwrap();
            });
            let mut machine = race_all(machine, vec![remove, promise]);
            assert_eq!(charged(&mut machine, above), [0, 1], "one page is still promised");
            assert_nothing_is_left(&mut machine, above, beside, pid);
        });
    }

    /// The last process of a group exits while the group is removed and another one enters it: one of the two is refused, and a removed group is never entered.
    #[test]
    fn a_removal_against_who_leaves_and_who_enters() {
        under_schedules(SCHEDULES, || {
            let Tree { mut machine, above, group, beside, pid } = tree();
            let at = machine.mmap(pid, &MapCall::anonymous(PAGE, Share::Private)).unwrap();
            machine.write_byte(pid, at, 1).unwrap();
            let other = machine.spawn_in(Some(beside)).unwrap();
            let enter = move |on: &mut OnCpu<'_>| {
                let entered = on.attach(other, Some(group));
                assert!(entered.is_ok() || entered == Err(hugefolio::CallError::Failed(EnterError::NoGroup)));
                if let Ok(at) = on.mmap(other, &MapCall::anonymous(PAGE, Share::Private)) {
                    on.write_byte(other, at, 2).unwrap();
                }
            };
            let remove = move |on: &mut OnCpu<'_>| {
                let removed = on.remove_cgroup(group);
                assert!(matches!(removed, Ok(()) | Err(RemoveError::HasProcesses { .. })));
            };
            let mut machine = race_all(machine, vec![part(move |on| assert!(on.exit(pid))), part(enter), part(remove)]);
            machine.exit(other);
            let _ = machine.remove_cgroup(group);
            assert_nothing_is_left(&mut machine, above, beside, pid);
        });
    }
}

mod demotion {
    use hugefolio::boot::Arch;
    use hugefolio::{Cause, Failed, Frame, MapSource, Moves, Nodemask, PageShift, ResizeNodes, SoftOfflined};

    use super::*;

    const LARGE: HugeSize = HugeSize::M32;
    const ALL: ResizeNodes = ResizeNodes::Global(Nodemask::ALL);
    /// Small pages of one large one.
    const PARTS: u64 = 16;

    /// Two large pages, which become sixteen small ones each.
    fn large() -> Machine {
        let builder = Machine::builder().node(NODE, Bytes::mib(160)).arch(Arch::Arm64(PageShift::K4));
        builder.cmdline("hugepagesz=32M hugepages=2").build().unwrap()
    }

    fn demote(count: u64) -> Part {
        part(move |on| on.demote(LARGE, HugeCount::new(count), ALL).unwrap())
    }

    fn resize(size: HugeSize, count: u64) -> Part {
        part(move |on| on.set_nr_hugepages(size, HugeCount::new(count), ALL).unwrap())
    }

    fn map(size: HugeSize, count: u64) -> MapCall {
        let call = MapCall::anonymous(size.total(HugeCount::new(count)), Share::Private);
        MapCall { source: MapSource::Anonymous(Some(size)), ..call }
    }

    /// Both pools, the larger first, where nothing is reserved or surplus and everything is free: how many pages they have.
    fn at_rest(machine: &mut Machine) -> [u64; 2] {
        machine.validate().unwrap_or_else(|broken| panic!("{broken}"));
        [LARGE, HugeSize::M2].map(|size| {
            let [nr, free, resv, surplus] = pool(machine, size);
            assert_eq!([free, resv, surplus], [nr, 0, 0]);
            assert_eq!(machine.pool(size).unwrap().max.get(), nr);
            nr
        })
    }

    fn assert_one_of(machine: &mut Machine, ends: &[[u64; 2]]) {
        let end = at_rest(machine);
        assert!(ends.contains(&end), "{end:?} is none of {ends:?}");
    }

    /// Whether a page is reserved was looked at before it was taken to be split: the promise was for a page that was in pieces by then.
    #[test]
    fn against_a_reserved_touch() {
        under_schedules(SCHEDULES, || {
            let mut machine = large();
            let pid = machine.spawn();
            let at = machine.mmap(pid, &map(LARGE, 1)).unwrap();
            let mut machine = race_all(machine, vec![demote(2), part(move |on| on.write_byte(pid, at, 1).unwrap())]);
            assert_eq!(pool(&mut machine, LARGE), [1, 0, 0, 0]);
            machine.exit(pid);
            assert_eq!(at_rest(&mut machine), [1, PARTS]);
        });
    }

    /// Of the two pages one is promised and touched, or there is none left to promise.
    #[test]
    fn against_a_promise_and_a_touch_without_one() {
        under_schedules(SCHEDULES, || {
            let mut machine = large();
            let pids = [(); 2].map(|()| machine.spawn());
            let at = machine.mmap(pids[1], &map(LARGE, 1).with_flags(MapFlags::NORESERVE)).unwrap();
            let promise = part(move |on| {
                if let Ok(at) = on.mmap(pids[0], &map(LARGE, 1)) {
                    on.write_byte(pids[0], at, 1).expect("what was promised can be touched");
                }
            });
            let mut machine =
                race_all(machine, vec![demote(1), promise, part(move |on| _ = on.write_byte(pids[1], at, 1))]);
            pids.iter().for_each(|&pid| assert!(machine.exit(pid)));
            assert_one_of(&mut machine, &[[2, 0], [1, PARTS]]);
        });
    }

    /// The larger pool is resized meanwhile: it is as if one had come after the other.
    #[test]
    fn against_a_resize_of_the_larger_pool() {
        for (count, ends) in [(0, [[0, 0], [0, PARTS]]), (1, [[0, PARTS], [1, PARTS]]), (3, [[2, PARTS], [3, PARTS]])] {
            under_schedules(SCHEDULES, move || {
                let mut machine = race_all(large(), vec![demote(1), resize(LARGE, count)]);
                assert_one_of(&mut machine, &ends);
            });
        }
    }

    /// The smaller pool is resized meanwhile. It got pages that it was not asked to have, in the middle of its own count, and lost as many others.
    #[test]
    fn against_a_resize_of_the_smaller_pool() {
        for (count, ends) in [(0, [[1, 0], [1, PARTS]]), (4, [[1, 4], [1, PARTS + 4]])] {
            under_schedules(SCHEDULES, move || {
                let mut machine = race_all(large(), vec![demote(1), resize(HugeSize::M2, count)]);
                assert_one_of(&mut machine, &ends);
            });
        }
    }

    /// A surplus page of the smaller pool is made for a promise while it gets pages of the administrator's. Surplus goes with its user, and the others stay.
    #[test]
    fn against_surplus_pages() {
        under_schedules(SCHEDULES, || {
            let mut machine = large();
            machine.set_nr_overcommit(HugeSize::M2, HugeCount::new(2)).unwrap();
            let pid = machine.spawn();
            let user = part(move |on| {
                let at = on.mmap(pid, &map(HugeSize::M2, 2)).unwrap();
                on.write_byte(pid, at, 1).unwrap();
            });
            let mut machine = race_all(machine, vec![demote(1), user]);
            machine.exit(pid);
            assert_eq!(at_rest(&mut machine), [1, PARTS]);
        });
    }

    /// A page is allotted to an owner, who takes it, while both are to be split.
    #[test]
    fn against_an_allotment() {
        under_schedules(SCHEDULES, || {
            let machine = large();
            let hstate = machine.hstates().by_size(LARGE).unwrap().id;
            let owner = part(move |on| {
                let Ok(allotted) = hugetlb::allot(on, hstate, HugeCount::new(1), None) else { return };
                let resv = on.pool(LARGE).unwrap();
                assert!(resv.resv <= resv.free && !resv.free.is_zero(), "{resv:?}");
                hugetlb::end_allotment(on, allotted);
            });
            let mut machine = race_all(machine, vec![demote(2), owner]);
            assert_one_of(&mut machine, &[[1, PARTS], [0, 2 * PARTS]]);
        });
    }

    /// A base page is put out of use, or breaks, while the huge page that it is in is to be split: it leaves the larger pool or the smaller one, and nobody gets it
    /// afterwards. It was written down for a huge page that was in pieces by then, or for a piece whose frames nobody had written down yet: one pool counted a broken
    /// page that it did not have, and the page itself was handed out again.
    #[test]
    fn against_a_page_that_nobody_is_to_use() {
        let machine = large();
        let hstate = machine.hstates().by_size(LARGE).unwrap().id;
        let pages: Vec<_> = machine.shelf(hstate, NODE).unwrap().iter().map(|folio| folio.pfn).collect();
        for (pfn, soft) in pages.into_iter().flat_map(|pfn| [(pfn, false), (pfn, true)]) {
            under_schedules(SCHEDULES, move || {
                let lose = part(move |on| {
                    if soft {
                        assert_eq!(on.soft_offline(pfn), Ok(SoftOfflined::Dissolved));
                    } else {
                        let failure = on.memory_failure(pfn, Cause::Test);
                        assert!(matches!(failure.outcome, Failed::Dissolved), "{failure:?}");
                    }
                });
                let mut machine = race_all(large(), vec![demote(1), lose]);
                assert_eq!(machine.frame(pfn), Frame::Broken);
                assert_one_of(&mut machine, &[[1, PARTS - 1], [0, PARTS], [1, PARTS]]);
            });
        }
    }

    /// The pool shrinks to nothing while its promised page is touched.
    #[test]
    fn a_shrink_against_a_reserved_touch() {
        under_schedules(SCHEDULES, || {
            let mut machine = machine("hugepages=2");
            let pid = machine.spawn();
            let at = machine.mmap(pid, &map(HugeSize::M2, 1)).unwrap();
            let touch = part(move |on| on.write_byte(pid, at, 1).unwrap());
            let mut machine = race_all(machine, vec![resize(HugeSize::M2, 0), touch]);
            assert_eq!(pool(&mut machine, HugeSize::M2), [1, 0, 0, 1], "the page in use is surplus");
            machine.exit(pid);
            machine.validate().unwrap();
            assert_eq!(pool(&mut machine, HugeSize::M2), [0; 4]);
        });
    }

    /// The pool grows while a page is touched that nobody promised: there is one, or there is none yet.
    #[test]
    fn a_growth_against_a_touch_without_a_promise() {
        under_schedules(SCHEDULES, || {
            let mut machine = machine("");
            let pid = machine.spawn();
            let at = machine.mmap(pid, &map(HugeSize::M2, 1).with_flags(MapFlags::NORESERVE)).unwrap();
            let touch = part(move |on| _ = on.write_byte(pid, at, 1));
            let mut machine = race_all(machine, vec![resize(HugeSize::M2, 2), touch]);
            let [nr, free, resv, surplus] = pool(&mut machine, HugeSize::M2);
            let used = u64::from(machine.frame_at(pid, at).is_some());
            assert_eq!([nr, free, resv, surplus], [2, 2 - used, 0, 0]);
            machine.exit(pid);
            machine.validate().unwrap();
            assert_eq!(pool(&mut machine, HugeSize::M2), [2, 2, 0, 0]);
        });
    }
}

mod mounts {
    use hugefolio::{Fd, MountId, MountOptions, OpenCall, UmountMode};

    use super::*;

    /// A mount with a minimum of two pages, and with a maximum or without; a file of one page, touched.
    fn mounted(max: Option<u64>) -> (Machine, MountId, Pid, Fd, Vaddr) {
        let mut machine = machine("hugepages=2");
        let mut options = MountOptions::unlimited(machine.hstates().default_hstate().id);
        options.min = Some(HugeCount::new(2));
        options.max = max.map(HugeCount::new);
        let mount = machine.mount(&options).unwrap();
        let pid = machine.spawn();
        let fd = machine.open(pid, &OpenCall::create(mount, "file")).unwrap();
        let at = machine.mmap(pid, &MapCall::file(fd, PAGE, Share::Shared)).unwrap();
        machine.write_byte(pid, at, 1).unwrap();
        assert_eq!(pool(&mut machine, HugeSize::M2), [2, 1, 1, 0]);
        (machine, mount, pid, fd, at)
    }

    /// The mount goes lazily while its only file loses its name and then its last user: the minimum is given back once, and not before its last page is there.
    #[test]
    fn a_mount_goes_while_its_last_file_does() {
        for max in [None, Some(4)] {
            under_schedules(SCHEDULES, move || {
                let (machine, mount, pid, ..) = mounted(max);
                let unlink = part(move |on| {
                    let _ = on.unlink(mount, "file");
                    assert!(on.exit(pid));
                });
                let end = part(move |on| on.umount(mount, UmountMode::Lazy).unwrap());
                let mut machine = race_all(machine, vec![unlink, end]);
                let left = pool(&mut machine, HugeSize::M2);
                assert!(left == [2, 2, 0, 0], "{left:?}");
            });
        }
    }

    /// A file that has lost its name loses its mapping, its descriptor, and its mount at once, each elsewhere. Whoever is last ends the limits.
    #[test]
    fn a_mount_goes_while_a_nameless_file_loses_its_users() {
        for max in [None, Some(4)] {
            under_schedules(SCHEDULES, move || {
                let (mut machine, mount, pid, fd, at) = mounted(max);
                machine.unlink(mount, "file").unwrap();
                let parts = vec![
                    part(move |on| on.munmap(pid, at, PAGE).unwrap()),
                    part(move |on| on.close(pid, fd).unwrap()),
                    part(move |on| on.umount(mount, UmountMode::Lazy).unwrap()),
                ];
                let mut machine = race_all(machine, parts);
                assert_eq!(pool(&mut machine, HugeSize::M2), [2, 2, 0, 0]);
            });
        }
    }
}
