//! Memory that a scenario describes: what is written is read back, stands as it was described, and what cannot be is refused with its
//! line and what to write instead.

use std::path::Path;

use lab::instance::Instance;
use lab::scenario::{Scenario, ZoneField, ZoneQuery};
use lab::target::{StepResult, Target};

/// The first problem of a scenario with these header lines.
fn problem(header: &str) -> String {
    match Scenario::parse("x", &format!("{header}\nnop\n")) {
        Ok(scenario) => match scenario.check(Path::new("x")) {
            Ok(()) => "none".to_owned(),
            Err(problems) => problems[0].to_string(),
        },
        Err(problems) => problems[0].to_string(),
    }
}

/// Lines of a header, and how what is said of them begins.
const WRONG: &[(&str, &str)] = &[
    ("zone 0:Norml 0..512", "x:1:6: `Norml` is not a kind of zone; did you mean `Normal`?"),
    ("zone 64:Normal 0..512", "x:1:6: `64` is not a node, 0 to 63; write a zone as NODE:KIND"),
    ("zone 0:Normal 512..0", "x:1:15: the range `512..0` ends before it begins; write frames"),
    ("zone 0:Normal", "x:1:1: this line is written `zone 0:Normal 0..4096"),
    ("zone 0:Normal 0..1024 mark=1,2,3", "x:1:23: `zone` takes no `mark`; did you mean `marks`?"),
    ("zone 0:Normal 0..1024 marks=1,2", "x:1:23: `marks=1,2` is not what `marks` takes; write 3 to 4 numbers"),
    ("zone 0:Normal 0..1024 boost=1 boost=2", "x:1:31: `boost` is given twice; keep one"),
    ("zone 0:Normal 0..1024\nzone 0:Normal 1024..2048", "x:2:1: 0:Normal is described twice; give all"),
    ("zone 0:Normal 0..99999999", "x:1:1: 99999999 frames are too many; all zones have at most 16777216"),
    ("free 0:Normal 0 Movable 7", "x:1:1: no zone is described; add a line such as `zone 0:Normal 0..4096`"),
    (
        "zone 0:Normal 0..512\nfree 1:Normal 0 Movable 7",
        "x:2:1: no line describes the zone 1:Normal; add `zone 1:Normal",
    ),
    (
        "zone 0:Normal 0..512\nfree 0:Normal 0 Moveable 7",
        "x:2:17: `Moveable` is not a type of pageblocks; did you mean `Movable`?",
    ),
    ("zone 0:Normal 0..512\nfree 0:Normal 31 Movable 7", "x:2:15: `31` is not an order; write a number from 0 to 30"),
    ("zone 0:Normal 0..512\nfree 0:Normal 0 Movable 512", "x:2:1: 512 is not inside the zone; write frames of 0..512"),
    (
        "zone 0:Normal 0..512\nfree 0:Normal 3 Movable 12",
        "x:2:1: 12 is not made of blocks of order 3; begin at 8, a multiple of 8",
    ),
    (
        "zone 0:Normal 0..512\nfree 0:Normal 3 Movable 8\nused 0:Normal 0 9",
        "x:3:1: frames of 9 stand on line 2 already; take them out",
    ),
    (
        "zone 0:Normal 0..512\nfree 0:Normal 0 Movable 8,9",
        "x:1:1: 0:Normal cannot be so: zone Normal of node:0: free blocks at pfn:0x8 and beside",
    ),
    (
        "zone 0:Normal 0..512\nfree 0:Normal 0 CMA 8",
        "x:1:1: 0:Normal cannot be so: zone Normal of node:0: the free block of CMA order:0",
    ),
    (
        "zone 0:Normal 0..1024\nblock 0:Normal CMA 0..600",
        "x:2:1: 0..600 is not made of pageblocks; begin and end at multiples of 512",
    ),
    (
        "zone 0:Normal 0..512\npcp 0:Normal 0 Movable 8",
        "x:1:1: a processor keeps pages of a zone without lists; add lists=",
    ),
    (
        "zone 0:Normal 0..512 lists=7,28,200\npcp 0:Normal 0 Movable 8 cpu=1",
        "x:2:1: there is no processor 1; add its node",
    ),
    ("zone 0:Normal 0..512 lists=7,28,200\npcp 0:Normal 5 Movable 32", "x:2:1: "),
    ("memory largest=19\nzone 0:Normal 0..512", "x:1:1: largest=19 is too large; write 18 at most"),
    (
        "memory grouping=no\nzone 0:Normal 0..512",
        "x:1:8: `grouping=no` is not what `grouping` takes; write one of on, off",
    ),
    ("memory cpus=0\nmemory cpus=1\nzone 0:Normal 0..512", "x:2:1: `memory` stands once"),
    (
        "private 0 caps=reclaim\nzone 0:Normal 0..512",
        "x:2:1: a machine needs at least one node with memory; give a node",
    ),
    ("private 1 caps=tiering\nzone 0:Normal 0..512", "x:1:1: tiering on node:1 takes the right to reclaim there"),
    (
        "private 1 caps=tier\nzone 0:Normal 0..512",
        "x:1:11: `caps=tier` is not what `caps` takes; write a list of reclaim",
    ),
];

#[test]
fn a_wrong_line_is_named_with_its_mend() {
    for (header, wanted) in WRONG {
        let said = problem(header);
        assert!(said.starts_with(wanted), "{header}\n said {said}\n want {wanted}");
    }
}

const LINES: &str = "\
memory cpus=0,1 largest=6 pageblock=5 section=6 compaction=off defrag=on near_reclaim=on killer=off counters=by-processor
zone 0:Normal 0..192 marks=1,2,3,4 protection=0,0,0,5,0,0 boost=6 boost_factor=7 lists=2,8,30 allocated
block 0:Normal Unmovable 32..64
block 0:Normal Isolate 128
free 0:Normal 3 Movable 16,8
free 0:Normal 0 Unmovable 33
used 0:Normal 2 40
movable 0:Normal 0 0..3
pcp 0:Normal 0 Movable 4,6 cpu=1 high=9
private 2 caps=reclaim,tiering
zone 1:Movable 256..320
zone 2:Normal 512..576
";

#[test]
fn lines_print_as_they_are_written_and_as_json_lines() {
    let text = format!("{LINES}\nnop\n");
    let scenario = Scenario::parse("x", &text).expect("lines that can be");
    assert_eq!(scenario.to_string(), text);
    let json = scenario.to_json_lines("x");
    let read =
        Scenario::read_from(Path::new("x.jsonl"), lab::scenario::Format::JsonLines, json.as_bytes()).expect("JSON");
    let lines = |scenario: &Scenario| scenario.header("x").memory.into_iter().map(|(_, line)| line).collect::<Vec<_>>();
    assert_eq!(lines(&read), lines(&scenario));
}

#[test]
fn what_is_described_stands_so() {
    let scenario = Scenario::parse("x", &format!("{LINES}\non_cpu 1\n")).expect("lines that can be");
    scenario.check(Path::new("x")).expect("memory that can be");
    let mut instance = Instance::new();
    instance.begin(&scenario.header("x")).expect("memory that can be");
    scenario.ops().for_each(|op| assert_eq!(instance.step(op).result, StepResult::Ok));
    let at = <lab::op::ZoneName as lab::op::Value>::from_text("0:Normal").expect("a zone");
    let movable = hugefolio::Migratetype::Movable;
    for (field, wanted) in [
        (ZoneField::Free, "17"),
        (ZoneField::Min, "7"),
        (ZoneField::Promo, "4"),
        (ZoneField::Boost, "6"),
        (ZoneField::Protection, "0,0,0,5,0,0"),
        (ZoneField::Cached, "2"),
        (ZoneField::CachedHigh, "9"),
        (ZoneField::Batch, "2"),
        (ZoneField::Isolated, "1"),
        (ZoneField::List(3, movable), "16,8"),
        (ZoneField::Kept(0, movable), "4,6"),
        (ZoneField::Type(63), "Unmovable"),
        (ZoneField::Type(159), "Isolate"),
        (ZoneField::Page(1), "movable:1:0"),
        (ZoneField::Page(42), "used:40:2"),
        (ZoneField::Page(6), "cached:6:0"),
        (ZoneField::Page(100), "used:100:0"),
        (ZoneField::Blocks(3), "2"),
        (ZoneField::Pageblocks(movable), "4"),
    ] {
        let known = instance.ask_zone(&ZoneQuery { at, field }).map(|known| known.to_string());
        assert_eq!(known.as_deref(), Some(wanted), "{field}");
    }
    let far = ZoneQuery { at, field: ZoneField::Page(1 << 40) };
    assert_eq!(instance.ask_zone(&far), None);
}

/// Whatever is done to memory that is described, nothing panics and every recount holds: a step answers `NOTMODELLED` otherwise.
#[test]
fn any_operation_on_described_memory() {
    let header = "memory largest=6 pageblock=5 section=6 cpus=0,1\nzone 0:Normal 0..512 marks=4,8,12 lists=2,8,30\nzone 1:Movable 512..1024\n\
                  private 2 caps=reclaim\nzone 2:Normal 1024..1280\nnop\n";
    let scenario = Scenario::parse("x", header).expect("lines that can be");
    for seed in 0..150u64 {
        let mut instance = Instance::new();
        instance.begin(&scenario.header("x")).expect("memory that can be");
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut steps = 0;
        while steps < 60 {
            let bytes: Vec<u8> = (0..40)
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    state.to_le_bytes()[3]
                })
                .collect();
            let op = lab::op::Op::draw(&mut lab::op::Draws::new(&bytes));
            if op.about() != lab::op::About::Pages {
                continue;
            }
            steps += 1;
            if let StepResult::NotModelled(reason) = instance.step(&op).result {
                assert!(!reason.contains("recounts"), "seed {seed}: {op}: {reason}");
            }
        }
    }
}
