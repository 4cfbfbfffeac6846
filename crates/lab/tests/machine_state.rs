//! Saved machines: what is written is read back and goes on as if nothing had been, and what cannot be is refused with the place.

use lab::generate::{Generator, Profile};
use lab::instance::Instance;
use lab::machine_state::{BadMachine, Limits, SavedMachine};
use lab::op::Op;
use lab::scenario::Scenario;
use lab::target::{Header, StepResult, Target, diff_fields};
use proptest::prelude::*;
use proptest::test_runner::TestRng;
use serde_json::Value;

fn parse(text: &str) -> Result<SavedMachine, BadMachine> {
    SavedMachine::parse(text, Limits::default())
}

/// A machine after random steps, and the generator that made them.
fn grown(seed: u64, profile: Profile, steps: u64) -> (Instance, Generator) {
    let mut generator = Generator::new(seed, profile);
    let mut instance = Instance::new();
    instance.begin(&Header { machine: profile.machine(), ..Header::default() }).expect("there is such a machine");
    for _ in 0..steps {
        let op = generator.next_op();
        let answer = instance.step(&op);
        generator.observe(&op, &answer);
    }
    (instance, generator)
}

/// Everything that the machine's files say.
fn shown(instance: &mut Instance) -> String {
    format!("{:?}", instance.saved_host())
}

fn same_step(op: &Op, here: &mut Instance, there: &mut Instance) -> lab::target::Answer {
    let (ours, theirs) = (here.step(op), there.step(op));
    assert_eq!((&ours.result, &ours.refusal), (&theirs.result, &theirs.refusal), "{op}");
    let mut differences = diff_fields(&ours.extras.fields(), &theirs.extras.fields());
    differences.extend(here.counters().diff(&there.counters()));
    assert!(differences.is_empty(), "{op}: {differences:?}");
    assert_eq!(here.events().len(), there.events().len(), "{op}");
    there.machine().validate().unwrap_or_else(|broken| panic!("{op}: {broken}"));
    ours
}

fn saved_and_loaded(seed: u64, profile: Profile) {
    let (mut here, mut generator) = grown(seed, profile, 30 + seed % 7 * 20);
    let saved = here.saved();
    let text = saved.to_string();
    let read = parse(&text).unwrap_or_else(|error| panic!("{profile:?} {seed}: {error}"));
    let mut there = Instance::resumed(&read).unwrap_or_else(|error| panic!("{profile:?} {seed}: {error}"));
    let difference = there.saved().diff(&saved);
    assert!(difference.is_empty(), "{profile:?} {seed}:\n{difference}");
    assert!(there.saved().to_string() == text, "{profile:?} {seed}: the same is written in another way");
    assert_eq!(shown(&mut here), shown(&mut there));
    assert!(saved.diff(&read).is_empty());
    for _ in 0..50 {
        let op = generator.next_op();
        let answer = same_step(&op, &mut here, &mut there);
        generator.observe(&op, &answer);
    }
    assert_eq!(shown(&mut here), shown(&mut there));
    assert_eq!(here.end(), there.end());
}

const PROFILES: [Profile; 9] = [
    Profile::Basic,
    Profile::Fork,
    Profile::File,
    Profile::Subpool,
    Profile::Cgroup,
    Profile::Mix,
    Profile::Uffd,
    Profile::Gig,
    Profile::Memcg,
];

/// A machine that was saved and loaded shows what it showed and answers what it would have answered.
#[test]
fn what_is_saved_goes_on_as_if_nothing_had_been() {
    for profile in PROFILES {
        for seed in 0..40 {
            saved_and_loaded(seed, profile);
        }
    }
}

/// A zone had been below its high mark, which was not written down: the machine that was loaded let its processor keep more pages, and handed out others
/// than the one that had been saved. Found by random operations.
#[test]
fn a_zone_that_was_short_of_pages_still_was() {
    let mut here = Instance::new();
    let machine = "machine node=64M,cpus=3 hugepagesz=2M hugepages=2\nnop\n";
    let header = Scenario::parse("machine", machine).expect("a header").header("machine");
    here.begin(&header).expect("there is such a machine");
    run(
        &mut here,
        "set_nr 34\nset_nr 10\nset_hvo 1\necho 512 > /proc/sys/vm/min_free_kbytes\nalloc_pages A order=3\n\
         alloc_contig B 0:DMA32 9216..10240\nset_nr 28\n",
    );
    let mut there = Instance::resumed(&parse(&here.saved().to_string()).unwrap()).unwrap();
    let lines = "free_pages A\nalloc_pages A GFP_HIGHUSER_MOVABLE order=0\n";
    for op in Scenario::parse("lines", lines).expect("the lines of a scenario").ops() {
        same_step(op, &mut here, &mut there);
    }
}

fn run(instance: &mut Instance, lines: &str) {
    let scenario = Scenario::parse("lines", lines).expect("the lines of a scenario");
    for op in scenario.ops() {
        assert_eq!(instance.step(op).result, StepResult::Ok, "{op}");
    }
}

/// The text of a machine with one page of an area touched, with the value at `way` replaced.
fn with(way: &str, value: Value) -> String {
    let mut instance = Instance::new();
    run(&mut instance, "set_nr 4\nmount h size=8M\na0 spawn\na0 mmap A 4M private,anon\na0 touch A p0 write\n");
    let mut text = serde_json::to_value(instance.saved()).expect("keys that are text");
    *text.pointer_mut(way).unwrap_or_else(|| panic!("there is no {way}")) = value;
    text.to_string()
}

fn refusal(way: &str, value: impl Into<Value>) -> String {
    let text = with(way, value.into());
    match parse(&text).and_then(|saved| Instance::resumed(&saved)) {
        Ok(_) => panic!("{way} is taken"),
        Err(error) => error.to_string(),
    }
}

/// A refusal says which part it is about.
#[test]
fn refusals_name_the_place() {
    let says = |way: &str, value: Value, wanted: &str| {
        let said = refusal(way, value);
        assert!(said.contains(wanted), "{way}: {said}");
    };
    says("/version", 2.into(), "version 2: only version 1 is read");
    says(
        "/machine/maps/1/kind",
        serde_json::json!({"private": {"areas": 1, "rsvd_owner": "group:7"}}),
        "map:1 names group:7",
    );
    says("/machine/inodes/0/inode/map", "map:9".into(), "inode:0 names map:9, which is not there");
    says("/machine/inodes/0/inode/map", "map:gone".into(), "has no map");
    says("/machine/mounts/0/subpool", "mount:0".into(), "\"mount:0\" is not subpool:N");
    says("/machine/pools/1/ledger/resv", 2.into(), "pool 1 counts 2 huge pages reserved, holders have 1");
    says("/machine/pools/1/ledger/free", 9.into(), "pool 1");
    says("/machine/sizes/default", 7.into(), "sizes: the default is hstate:7, of 2");
    says("/machine/processes/0/origin/local", 5.into(), "process:0: there is no node:5");
    says("/machine/processes/0/mm", "space:gone".into(), "of a process is gone");
    says("/machine/uffds", serde_json::json!([{"mm": "space:0", "holders": 1}]), "counts 1 descriptors");
    says("/zones/0/spans", serde_json::json!([[0, 1u64 << 40]]), "zone 0: the zone has 1099511627776 frames");
    says("/zones/0/free/0/runs/0/0", 3.into(), "the zone of node:0: pfn:0x3 is not the start of a block of order:10");
    // Free neighbours that share a link: the list had no end, and the recount took memory until there was none.
    let neighbours = serde_json::json!([{"order": 0, "type": "Movable", "runs": [[512, 512], [513, 513]]}]);
    says("/zones/0/free", neighbours, "free blocks at pfn:0x200 and beside it overlap or were not merged");
    says("/zones/0/processors", serde_json::json!([]), "a zone has the lists of 0 processors");
    says("/names/actors/0/pid", "process:3".into(), "a0 is no process of the machine");
}

/// A page of descriptors was said to be in a frame that is free. All counts were right, and the frame was given back twice when its block was restored.
#[test]
fn descriptors_in_frames_that_nobody_handed_out_are_refused() {
    let mut instance = Instance::new();
    let scenario = Scenario::parse("optimised", "machine node=128M hugetlb_free_vmemmap=on hugepages=4\na0 spawn\n");
    let header = scenario.expect("a machine and a step").header("optimised");
    instance.begin(&header).expect("there is such a machine");
    let mut text = serde_json::to_value(instance.saved()).expect("keys that are text");
    let runs = text.pointer_mut("/machine/descriptors/runs").and_then(Value::as_array_mut).expect("runs");
    let first_page = runs.iter_mut().find(|run| run["origin"] == "allocated").expect("pages are optimised");
    first_page["frame"] = 20_000.into();
    let refused = parse(&text.to_string()).and_then(|saved| Instance::resumed(&saved)).err().map(|e| e.to_string());
    assert!(refused.as_deref().is_some_and(|said| said.contains("0 were handed out")), "{refused:?}");
}

/// A text that is longer than the reader permits is not even looked at.
#[test]
fn the_reader_sets_the_limits() {
    let text = Instance::new().saved().to_string();
    let short = Limits { bytes: text.len() - 1, ..Limits::default() };
    assert!(matches!(SavedMachine::parse(&text, short), Err(BadMachine::TooLong { .. })));
    // All frames, those of descriptors among them.
    let machine = Instance::new();
    let spans = machine.machine().pages().zones().flat_map(|(zone, _)| &zone.layout().spans);
    let frames = spans.map(|(start, end)| end.get() - start.get()).sum();
    let small = Limits { frames: hugefolio::PageCount::new(frames - 1), ..Limits::default() };
    assert!(matches!(SavedMachine::parse(&text, small), Err(BadMachine::Zone(2, _))), "the last zone is too much");
    let enough = Limits { frames: hugefolio::PageCount::new(frames), bytes: text.len() };
    assert!(SavedMachine::parse(&text, enough).is_ok());
}

/// What differs is said in the words of the project, one thing a line.
#[test]
fn a_difference_is_said_line_by_line() {
    let before = parse(&with("/version", 1.into())).unwrap();
    let mut instance = Instance::resumed(&before).unwrap();
    run(&mut instance, "a0 touch A p1 write\n");
    let diff = before.diff(&instance.saved());
    let has = |lines: &[String], wanted: &str| lines.iter().any(|line| line == wanted);
    assert!(has(&diff.here, "pool 2M resv: 1") && has(&diff.there, "pool 2M resv: 0"), "{diff}");
    assert!(
        diff.there.iter().any(|line| line.starts_with("space 0 table entry 0x200000200000: dirty=true pfn=")),
        "{diff}"
    );
    let of_zones = |line: &String| line.starts_with("node:");
    assert!(!diff.here.iter().chain(&diff.there).any(of_zones), "no zone took part:\n{diff}");
}

/// Every value of a text, by the way to it.
fn ways(value: &Value, way: &str, all: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let escaped = key.replace('~', "~0").replace('/', "~1");
                ways(value, &format!("{way}/{escaped}"), all);
            }
        }
        Value::Array(values) => {
            values.iter().enumerate().for_each(|(n, value)| ways(value, &format!("{way}/{n}"), all))
        }
        _ => (),
    }
    all.push(way.to_owned());
}

/// A number below `len`.
fn below(dice: u64, len: usize) -> usize {
    usize::try_from(dice % len as u64).expect("below a usize")
}

/// Makes something else of one value.
fn spoil(text: &mut Value, random: &mut TestRng) {
    let mut all = Vec::new();
    ways(text, "", &mut all);
    let n = below(random.next_u64(), all.len());
    let other = text.pointer(&all[below(random.next_u64(), all.len())]).cloned();
    let Some(value) = text.pointer_mut(&all[n]) else { return };
    let dice = random.next_u64();
    match value {
        Value::Number(number) => {
            let old = number.as_u64().unwrap_or(0);
            let numbers =
                [0, 1, old.wrapping_add(1), old.wrapping_sub(1), old ^ 512, old << 9, u64::MAX, 1 << 52, 1 << 63];
            *value = numbers[below(dice, numbers.len())].into();
        }
        Value::String(name) => match (dice % 3, name.split_once(':')) {
            (0, Some((kind, _))) => *name = format!("{kind}:{}", dice >> 8 & 7),
            (1, Some((kind, _))) => *name = format!("{kind}:gone"),
            _ => *value = other.unwrap_or_default(),
        },
        Value::Array(values) if !values.is_empty() && dice.is_multiple_of(2) => {
            let at = below(dice >> 8, values.len());
            match dice >> 32 & 3 {
                0 => _ = values.remove(at),
                1 => values.push(values[at].clone()),
                2 => values.swap(0, at),
                _ => values.reverse(),
            }
        }
        Value::Object(fields) if !fields.is_empty() && dice.is_multiple_of(2) => {
            let key = fields.keys().nth(below(dice >> 8, fields.len())).cloned();
            fields.remove(&key.unwrap_or_default());
        }
        _ => *value = other.unwrap_or_default(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    /// Whatever is done to a text: it is refused, or it is the text of a machine that recounts clean.
    #[test]
    fn a_spoilt_text_is_refused_or_a_machine(seed in 0..24u64, spoils in 1..4usize, mut random in any::<u64>().prop_perturb(|_, random| random)) {
        let profile = PROFILES[usize::try_from(seed % 8).unwrap()];
        let (instance, _) = grown(seed, profile, 40);
        let mut text = serde_json::to_value(instance.saved()).unwrap();
        for _ in 0..spoils {
            spoil(&mut text, &mut random);
        }
        if let Ok(saved) = parse(&text.to_string()) && let Ok(instance) = Instance::resumed(&saved) {
            instance.machine().validate().unwrap();
        }
    }
}
