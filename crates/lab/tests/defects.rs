//! Every known defect of the kernel is recognised by its trigger and its exact delta, and by nothing less.
//!
//! Each test runs a script in which the trigger holds, writes a recording that differs from the instance by a given delta in one
//! step, and asks conformance. The defect's own delta stops the script there; any other delta is a difference of ours.
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use std::path::{Path, PathBuf};

use lab::conform::{Corpus, Verdict, conform};
use lab::defects;
use lab::instance::Instance;
use lab::scenario::Scenario;
use lab::target::{Counters, RecordedLine, Target};

/// A folder with one script and a recording of it in which `tamper` changed the counters from step `from` on.
fn corpus(name: &str, script: &str, from: usize, tamper: impl Fn(&mut Counters)) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    for sub in ["scripts", "recorded"] {
        std::fs::create_dir_all(folder.join(sub)).unwrap();
    }
    let scenario = Scenario::parse(name, script).unwrap_or_else(|problems| panic!("{}", problems[0]));
    std::fs::write(folder.join(format!("scripts/{name}.jsonl")), scenario.to_json_lines(name)).unwrap();
    let steps = scenario.ops().count();
    let manifest = format!(
        r#"[{{"name":"{name}","family":"t","kind":"hand","steps":{steps},"results":{{}},"features":[],"kbug":[],"flaky_on_kernel":false}}]"#
    );
    std::fs::write(folder.join("manifest.json"), manifest).unwrap();

    let mut instance = Instance::new();
    instance.begin(&scenario.header(name)).unwrap();
    let head = RecordedLine::Head { script: name.into(), kernel: "6.18".into(), counters: instance.counters() };
    let mut lines = vec![head.to_json()];
    for (index, op) in scenario.ops().enumerate() {
        let answer = instance.step(op);
        let mut counters = instance.counters();
        if index >= from {
            tamper(&mut counters);
        }
        let verb = op.to_record().get("op").map(ToString::to_string).unwrap_or_default();
        let verb = verb.trim_matches('"').to_owned();
        lines.push(RecordedLine::Step { index, verb, answer: Box::new(answer), counters }.to_json());
    }
    let mut counters = instance.end();
    tamper(&mut counters);
    lines.push(RecordedLine::End { counters }.to_json());
    std::fs::write(folder.join(format!("recorded/{name}.jsonl")), lines.join("\n") + "\n").unwrap();
    folder
}

fn verdict(name: &str, script: &str, from: usize, tamper: impl Fn(&mut Counters)) -> Verdict {
    let folder = corpus(name, script, from, tamper);
    let corpus = Corpus::open(&folder).unwrap_or_else(|problem| panic!("{problem}"));
    let report = conform(&corpus, &mut Instance::new(), &mut defects::all());
    report.unwrap_or_else(|problems| panic!("{}", problems[0])).scripts.remove(0).verdict
}

/// The defect's own delta stops the script at `step`; another one is a difference of ours.
fn recognised(
    name: &str,
    script: &str,
    step: usize,
    by: &str,
    own: impl Fn(&mut Counters),
    other: impl Fn(&mut Counters),
) {
    let right = verdict(name, script, step, own);
    assert!(stopped_at(&right, step, by), "{right:?}");
    let wrong = verdict(&format!("{name}_wrong"), script, step, other);
    assert!(differs_at(&wrong, step), "{wrong:?}");
}

fn differs_at(verdict: &Verdict, at: usize) -> bool {
    matches!(verdict, Verdict::Different { step, .. } if *step == at)
}

/// So many more pages of 2 MiB, all of them free and surplus.
fn more_surplus(counters: &mut Counters, pages: i64) {
    let (m2, node) = (&mut counters.m2, &mut counters.node0_m2);
    for count in [&mut m2.nr, &mut m2.free, &mut m2.surplus, &mut node.nr, &mut node.free, &mut node.surplus] {
        *count += pages;
    }
}

fn stopped_at(verdict: &Verdict, at: usize, by: &str) -> bool {
    matches!(verdict, Verdict::Stopped { step, defect, .. } if *step == at && defect.0 == by)
}

const K1_CLOSE: &str = "\
echo 4 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
a0 spawn
a0 mmap m 4M private,anon
a0 touch m p0..2 write
a0 fork a1
a0 munmap m 0..4M
";

#[test]
fn k1_is_one_reservation_less_for_each_page_that_the_owner_closed() {
    let right = verdict("k1_close", K1_CLOSE, 5, |c| c.m2.resv -= 2);
    assert!(stopped_at(&right, 5, "K1"), "{right:?}");
    for (name, wrong) in [("one", 1), ("three", 3), ("more", -2)] {
        let verdict = verdict(&format!("k1_close_{name}"), K1_CLOSE, 5, |c| c.m2.resv -= wrong);
        assert!(differs_at(&verdict, 5), "{name}: {verdict:?}");
    }
    let other_field = verdict("k1_close_free", K1_CLOSE, 5, |c| {
        c.m2.resv -= 2;
        c.m2.free -= 1;
    });
    assert!(matches!(other_field, Verdict::Different { .. }), "{other_field:?}");
    let too_early = verdict("k1_close_early", K1_CLOSE, 4, |c| c.m2.resv -= 2);
    assert!(differs_at(&too_early, 4), "{too_early:?}");
}

const K1_AFTER_K2: &str = "\
echo 8 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
a0 spawn
a0 mmap m 6M private,anon
a0 touch m p0..3 write
a0 mremap m 2M 2M maymove,fixed off=4M to=b
a0 fork a1
a0 exit
";

/// What stayed behind when a part moved is no owner's on Linux any more, so none of its reservations is restored at once. With
/// every page touched the move itself shows nowhere, and two pages too many were expected here.
#[test]
fn k1_needs_an_owner_that_k2_has_not_robbed() {
    recognised("k1_after_k2", K1_AFTER_K2, 6, "K1", |c| c.m2.resv -= 1, |c| c.m2.resv -= 3);
}

const K1_RETOUCH: &str = "\
echo 4 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
a0 spawn
a0 mmap m 2M private,anon
a0 touch m p0 write
a0 fork a1
a0 madvise m 0..2M dontneed
a0 touch m p0 write
";

#[test]
fn k1_is_one_reservation_less_when_the_owner_touches_the_place_again() {
    recognised("k1_retouch", K1_RETOUCH, 6, "K1", |c| c.m2.resv -= 1, |c| c.m2.resv += 1);
}

const K1_SPARES_SURPLUS: &str = "\
echo 8 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
echo 2 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_overcommit_hugepages
a0 spawn
a0 mmap m 8M private,anon
a0 touch m p0..4 write
a0 fork a1
a0 mmap rest 8M private,anon
a0 madvise m 4M..8M dontneed
a0 touch m p2..4 write
";

/// The formula speaks of the reservation alone. With no page to spare we make a surplus page for each place touched again, and Linux
/// has a reservation, and so takes a free page: the naive model that has the defect says so.
#[test]
fn k1_takes_a_reserved_page_where_we_make_a_surplus_one() {
    let tamper = |pages: i64| {
        move |c: &mut Counters| {
            c.m2.resv -= pages;
            more_surplus(c, -pages);
        }
    };
    recognised("k1_surplus", K1_SPARES_SURPLUS, 8, "K1", tamper(2), tamper(1));
}

const K11: &str = "\
echo 4 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
echo 4 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_overcommit_hugepages
mount M min_size=12M nr_inodes=0
";

#[test]
fn k11_is_the_minimum_of_a_mount_that_never_was() {
    let tamper = |made: i64| {
        move |c: &mut Counters| {
            c.m2.resv += 6;
            more_surplus(c, made);
        }
    };
    recognised("k11", K11, 2, "K11", tamper(2), tamper(1));
}

const K12: &str = "\
echo 1 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
cg_create g
a0 spawn cg=g
a0 memfd f hugetlb
a0 ftruncate f 2M
a0 mmap m 2M private file=f
a0 mmap other 2M private,noreserve file=f
a0 touch m p0 write
a0 fork a1
a0 touch m p0 write
";

#[test]
fn k12_is_a_page_that_is_had_once_more() {
    let tamper = |pages: i64| move |c: &mut Counters| c.cg.get_mut("g").expect("the group").m2.rsvd += pages << 21;
    recognised("k12", K12, 9, "K12", tamper(1), tamper(2));
    let no_other = K12.replace("a0 mmap other 2M private,noreserve file=f\n", "nop\n");
    let no_trigger = verdict("k12_no_trigger", &no_other, 9, tamper(1));
    assert!(differs_at(&no_trigger, 9), "{no_trigger:?}");
}

const K13: &str = "\
machine cgroup=memory_hugetlb_accounting

echo 4 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
cg_create g
echo 3M > /sys/fs/cgroup/g/memory.max
a0 spawn cg=g
a0 mmap m 4M private,anon
a0 madvise m 0..2M populate_write
a0 uaccess m 1 write
a0 munmap m 0..4M
";

#[test]
fn k13_is_a_reservation_that_a_refused_page_was_spent_on() {
    let tamper = |pages: i64| move |c: &mut Counters| c.m2.resv += pages;
    recognised("k13", K13, 7, "K13", tamper(1), tamper(2));
    let no_limit = K13.replace("echo 3M > /sys/fs/cgroup/g/memory.max\n", "nop\n");
    let no_trigger = verdict("k13_no_trigger", &no_limit, 7, tamper(1));
    assert!(differs_at(&no_trigger, 7), "{no_trigger:?}");
}

const K2: &str = "\
echo 8 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
a0 spawn
a0 mmap m 8M private,anon
a0 touch m p3 write
a0 mremap m 2M 2M maymove,fixed off=6M to=b
a0 touch m p0 write
a0 munmap m 0..6M
";

#[test]
fn k2_is_one_reservation_more_for_each_page_touched_in_the_rest() {
    recognised("k2_touch", K2, 5, "K2", |c| c.m2.resv += 1, |c| c.m2.resv += 2);
}

#[test]
fn k2_is_the_unused_rest_for_ever_when_the_rest_is_closed() {
    recognised("k2_close", K2, 6, "K2", |c| c.m2.resv += 2, |c| c.m2.resv += 3);
}

const K2_TAIL: &str = "\
echo 8 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
a0 spawn
a0 mmap m 12M private,anon
a0 mremap m 4M 2M maymove,fixed off=4M to=b
a0 touch b p0 write
a0 fork a1
a0 exit
";

/// A part that shrinks while it moves loses its tail first, and what lies behind the tail is another area from then on, which keeps
/// its map. Only the rest before it is forgotten, and K1 takes one off that.
#[test]
fn k2_spares_what_lies_behind_a_tail_that_was_cut_off() {
    let right = verdict("k2_tail", K2_TAIL, 6, |c| c.m2.resv += 1);
    assert!(stopped_at(&right, 6, "K1"), "{right:?}");
    let wrong = verdict("k2_tail_wrong", K2_TAIL, 6, |c| c.m2.resv += 3);
    assert!(matches!(wrong, Verdict::Different { step: 6, .. }), "{wrong:?}");
}

/// The naive model has no pages of 1 GiB, so with any of them in a script the formulas have to do: both at once are the sum of both.
#[test]
fn k1_and_k2_in_one_step_add_up() {
    let script = K2_TAIL.replace("a0 fork a1\n", "a0 fork a1\na1 memfd big pagesize=1G\n");
    let right = verdict("k1_and_k2", &script, 7, |c| c.m2.resv += 1);
    assert!(stopped_at(&right, 7, "K1"), "{right:?}");
    for wrong in [3, -2] {
        let verdict = verdict(&format!("k1_and_k2_{wrong}"), &script, 7, |c| c.m2.resv += wrong);
        assert!(matches!(verdict, Verdict::Different { step: 7, .. }), "{verdict:?}");
    }
}

const K2_CGROUP: &str = "\
echo 8 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
cg_create top sub
cg_create top/low
a0 spawn cg=top/low
a0 mmap m 6M private,anon
a0 touch m p0..3 write
a0 mremap m 2M 2M maymove,fixed off=4M to=b
a0 munmap m 0..2M
";

/// A group pays for ever for the rest that was closed, and so do all above it; even where no reservation is left.
#[test]
fn k2_is_a_charge_for_ever_when_the_rest_is_closed() {
    let rsvd = |c: &mut Counters, name: &str, pages: i64| {
        c.cg.get_mut(name).expect("the group exists").m2.rsvd += pages << 21;
    };
    let right = verdict("k2_cgroup", K2_CGROUP, 7, |c| {
        rsvd(c, "top", 1);
        rsvd(c, "top/low", 1);
    });
    assert!(stopped_at(&right, 7, "K2"), "{right:?}");
    let one = verdict("k2_cgroup_one", K2_CGROUP, 7, |c| rsvd(c, "top/low", 1));
    assert!(differs_at(&one, 7), "{one:?}");
    let two = verdict("k2_cgroup_two", K2_CGROUP, 7, |c| {
        rsvd(c, "top", 2);
        rsvd(c, "top/low", 2);
    });
    assert!(differs_at(&two, 7), "{two:?}");
}

const K1_CGROUP: &str = "\
echo 8 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
cg_create g
a0 spawn cg=g
a0 mmap m 2M private,anon
a0 touch m p0 write
a0 fork a1
a0 madvise m 0..2M dontneed
a0 touch m p0 write
";

/// A place that the owner touches again is not charged as one without reservation.
#[test]
fn k1_is_one_charge_less_when_the_owner_touches_the_place_again() {
    let tamper = |pages: i64| {
        move |c: &mut Counters| {
            c.m2.resv -= 1;
            c.cg.get_mut("g").expect("the group exists").m2.rsvd -= pages << 21;
        }
    };
    let right = verdict("k1_cgroup", K1_CGROUP, 7, tamper(1));
    assert!(stopped_at(&right, 7, "K1"), "{right:?}");
    for wrong in [0, 2] {
        let verdict = verdict(&format!("k1_cgroup_{wrong}"), K1_CGROUP, 7, tamper(wrong));
        assert!(differs_at(&verdict, 7), "{wrong}: {verdict:?}");
    }
}

/// The rest is closed at the end, and the part that moved after it.
const K2_END: &str = "\
echo 1 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
echo 8 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_overcommit_hugepages
a0 spawn
a0 mmap m 8M private,anon
a0 mremap m 2M 2M maymove,fixed to=b
";

/// What random scripts beside a running kernel showed: the end was judged without having been seen, so a leak that it brought to
/// light was a difference.
#[test]
fn k2_shows_at_the_end_too_and_surplus_pages_stay_with_what_leaks() {
    let leak = |surplus: i64| {
        move |c: &mut Counters| {
            c.m2.resv += 3;
            more_surplus(c, surplus);
        }
    };
    let touch = format!("{K2_END}a0 touch m p1..3\n");
    let made = |c: &mut Counters| {
        leak(2)(c);
        c.m2.resv -= 1;
    };
    assert!(stopped_at(&verdict("k2_surplus", &touch, 5, made), 5, "K2"), "two touches make two surplus pages");
    let wrong = verdict("k2_surplus_wrong", &touch, 5, leak(2));
    assert!(differs_at(&wrong, 5), "{wrong:?}");

    let right = verdict("k2_end", K2_END, usize::MAX, leak(2));
    assert!(stopped_at(&right, 4, "K2"), "{right:?}");
    let wrong = verdict("k2_end_wrong", K2_END, usize::MAX, leak(3));
    assert!(differs_at(&wrong, 4), "{wrong:?}");
}

/// The reservation of a page that the owner let go returns with the child's exit, while surplus pages are in use.
const K6: &str = "\
echo 1 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
echo 4 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_overcommit_hugepages
a0 spawn
a0 mmap m 2M private,anon
a0 touch m p0 write
a0 fork a1
a0 madvise m 0..2M dontneed
a0 mmap n 4M private,anon
a0 touch n p0..2 write
a1 exit
";

#[test]
fn k6_is_one_page_less_free_and_surplus_for_each_page_that_we_kept() {
    let tamper = |by: i64| {
        move |c: &mut Counters| {
            c.m2.nr -= by;
            c.m2.free -= by;
            c.m2.surplus -= by;
            c.node0_m2.nr -= by;
            c.node0_m2.free -= by;
            c.node0_m2.surplus -= by;
        }
    };
    recognised("k6", K6, 9, "K6", tamper(1), tamper(2));
}

#[test]
fn a_recording_that_equals_the_instance_is_equal() {
    for (name, script) in [("equal_k1", K1_CLOSE), ("equal_k2", K2), ("equal_k6", K6)] {
        let verdict = verdict(name, script, usize::MAX, |_| ());
        assert!(matches!(verdict, Verdict::Equal), "{name}: {verdict:?}");
    }
}

/// The pool is short of one page, and what the mount had lent fills its minimum.
const K3: &str = "\
echo 3 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
mount M size=8M min_size=4M
a0 spawn
a0 open F M/f creat
a0 mmap A 8M shared file=F
";

#[test]
fn k3_is_the_minimums_share_of_a_refused_reservation() {
    let right = verdict("k3", K3, 4, |c| c.m2.resv -= 2);
    assert!(stopped_at(&right, 4, "K3"), "{right:?}");
    for (name, wrong) in [("one", 1), ("three", 3)] {
        let verdict = verdict(&format!("k3_{name}"), K3, 4, |c| c.m2.resv -= wrong);
        assert!(differs_at(&verdict, 4), "{name}: {verdict:?}");
    }
    // Three pages more than the minimum lent do not fill it.
    let enough = K3.replace("min_size=4M", "min_size=6M");
    let verdict = verdict("k3_not_filled", &enough, 4, |c| c.m2.resv -= 3);
    assert!(differs_at(&verdict, 4), "{verdict:?}");
}

/// Surplus pages that stood for the minimum leave with it.
const K3_SURPLUS: &str = "\
echo 3 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_overcommit_hugepages
mount M size=8M min_size=4M
a0 spawn
a0 open F M/f creat
a0 mmap A 8M shared file=F
";

#[test]
fn k3_takes_surplus_pages_along() {
    let tamper = |by: i64| {
        move |c: &mut Counters| {
            c.m2.resv -= 2;
            c.m2.nr -= by;
            c.m2.free -= by;
            c.m2.surplus -= by;
            c.node0_m2.nr -= by;
            c.node0_m2.free -= by;
            c.node0_m2.surplus -= by;
        }
    };
    recognised("k3_surplus", K3_SURPLUS, 4, "K3", tamper(2), tamper(1));
}

/// Changes the free blocks of every mount.
fn blocks(by: i64) -> impl Fn(&mut Counters) {
    move |c: &mut Counters| {
        let mut changed = lab::target::Ordered::default();
        for (name, fs) in c.fs.iter() {
            changed.push(name, lab::target::FsCounters { bfree: fs.bfree + by, bavail: fs.bavail + by, ..*fs });
        }
        c.fs = changed;
    }
}

/// One page is there; the mapping without reservation wants three.
const K4: &str = "\
echo 1 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
mount M size=8M
a0 spawn
a0 open F M/f creat
a0 mmap A 6M shared,noreserve file=F
a0 touch A p0..3 write
";

#[test]
fn k4_is_one_block_of_the_mount_for_each_page_that_was_refused() {
    recognised("k4", K4, 5, "K4", blocks(-1), blocks(-2));
    let early = verdict("k4_early", K4, 4, blocks(-1));
    assert!(differs_at(&early, 4), "{early:?}");
    // The mount's own refusal costs nothing.
    let full = K4.replace("size=8M", "size=2M");
    let full = verdict("k4_full", &full, 5, blocks(-1));
    assert!(differs_at(&full, 5), "{full:?}");
}

/// Populating tries the page that failed once more.
const K4_POPULATE: &str = "\
echo 1 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
mount M size=8M
a0 spawn
a0 open F M/f creat
a0 mmap A 6M shared,noreserve,populate file=F
";

#[test]
fn k4_counts_the_second_try_of_populate() {
    recognised("k4_populate", K4_POPULATE, 4, "K4", blocks(-2), blocks(-1));
}

/// The refused page is taken from a mount that nobody sees any more; its minimum never returns.
const K4_LAZY: &str = "\
echo 3 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
mount M size=8M min_size=2M
a0 spawn
a0 open F M/f creat
a0 mmap A 8M shared,noreserve file=F
umount M lazy=1
a0 touch A p0..4 write
a0 munmap A 0..8M
a0 close F
";

#[test]
fn k4_keeps_the_minimum_of_a_mount_for_ever() {
    recognised("k4_lazy", K4_LAZY, 8, "K4", |c| c.m2.resv += 1, |c| c.m2.resv += 2);
}

/// An owner closes what its child still maps, in a file of a mount with a maximum.
const K1_MOUNT: &str = "\
echo 6 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
mount M size=8M
a0 spawn
a0 open F M/f creat
a0 mmap A 6M private file=F
a0 touch A p0..2 write
a0 fork a1
a0 munmap A 0..6M
";

#[test]
fn k1_frees_the_mounts_blocks_too_early() {
    let tamper = |resv: i64, by: i64| {
        move |c: &mut Counters| {
            c.m2.resv -= resv;
            blocks(by)(c);
        }
    };
    recognised("k1_mount", K1_MOUNT, 7, "K1", tamper(2, 2), tamper(2, 1));
}

#[test]
fn k1_fills_the_mounts_minimum_first() {
    let script = K1_MOUNT.replace("size=8M", "size=8M min_size=2M");
    // Linux has all three pages back, of which the minimum keeps one; we have one back, and use fills the minimum.
    let tamper = |resv: i64| {
        move |c: &mut Counters| {
            c.m2.resv -= resv;
            blocks(2)(c);
        }
    };
    recognised("k1_minimum", &script, 7, "K1", tamper(1), tamper(2));
}

/// One of two free 1 GiB pages is reserved.
const K5: &str = "\
echo 2 > /sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages
a0 spawn
a0 mmap A 1G private,anon pagesize=1G
echo 2 > /sys/kernel/mm/hugepages/hugepages-1048576kB/demote
";

fn demoted(more: i64, parts: i64) -> impl Fn(&mut Counters) {
    move |c: &mut Counters| {
        for (nr, free) in [(&mut c.g1.nr, &mut c.g1.free), (&mut c.node0_g1.nr, &mut c.node0_g1.free)] {
            (*nr, *free) = (*nr - more, *free - more);
        }
        for (nr, free) in [(&mut c.m2.nr, &mut c.m2.free), (&mut c.node0_m2.nr, &mut c.node0_m2.free)] {
            (*nr, *free) = (*nr + parts, *free + parts);
        }
    }
}

#[test]
fn k5_is_the_reserved_pages_that_were_demoted_too() {
    let right = verdict("k5", K5, 3, demoted(1, 512));
    assert!(stopped_at(&right, 3, "K5"), "{right:?}");
    for (name, more, parts) in [("parts", 1, 511), ("both", 2, 1024), ("less", -1, -512)] {
        let verdict = verdict(&format!("k5_{name}"), K5, 3, demoted(more, parts));
        assert!(differs_at(&verdict, 3), "{name}: {verdict:?}");
    }
    // With every free page reserved Linux does nothing either.
    let all = K5.replace("mmap A 1G", "mmap A 2G");
    let all = verdict("k5_all", &all, 3, demoted(2, 1024));
    assert!(differs_at(&all, 3), "{all:?}");
}
