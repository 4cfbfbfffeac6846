//! What asks for more than there can be is refused with the limit, before it takes memory.

use lab::instance::Instance;
use lab::limits::Limits;
use lab::machine_state::{BadMachine, SavedMachine};
use lab::op::Op;
use lab::scenario::Scenario;
use lab::target::{Answer, BeginError, Target};

const FEW: Limits = Limits { folios: 50, ..Limits::SMALL };

fn begun(machine: &str, limits: Limits) -> Result<Instance, BeginError> {
    let mut instance = Instance::new();
    instance.keep_within(limits);
    let scenario = Scenario::parse("limits", &format!("machine {machine}\nnop\n")).expect("it can be read");
    instance.begin(&scenario.header("limits")).map(|()| instance)
}

fn step(instance: &mut Instance, line: &str) -> Answer {
    let answer = instance.step(&line.parse::<Op>().expect("an operation"));
    instance.machine().validate().unwrap_or_else(|broken| panic!("{line}: {broken}"));
    answer
}

/// 2^60 pages, a node of an exbibyte, 64 of them: nothing is allocated for what is not built.
#[test]
fn a_machine_has_as_much_memory_as_is_permitted() {
    let all = "node=1152921504606846976 ".repeat(64);
    let machines = [
        "node=1152921504606846976 hugepages=1152921504606846976",
        "node=65G",
        "node=40G node=40G",
        "arch=arm64-64K node=1152921504606846976 hugepagesz=2M hugepages=0:18446744073709551615",
        all.trim(),
    ];
    for machine in machines {
        let Err(BeginError::Machine(said)) = begun(machine, Limits::SMALL) else { panic!("{machine} is built") };
        assert!(said.contains("is the limit") || said.contains("cannot have"), "{machine}: {said}");
    }
    assert!(begun("node=64G hugepages=1152921504606846976", Limits::SMALL).is_ok(), "pools take what they may");
}

/// Whoever takes memory is refused where the records end, and can give it back.
#[test]
fn records_of_memory_are_counted() {
    let mut instance = begun("arch=arm64 node=1G hugepages=1000", FEW).expect("it is small");
    assert_eq!(instance.counters().m2.nr, 50, "boot takes no more either");
    step(&mut instance, "echo 0 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages");
    let full = step(&mut instance, "echo 16000000 > /sys/kernel/mm/hugepages/hugepages-64kB/nr_hugepages");
    assert_eq!(full.extras.why.as_deref(), Some("the limit of 50 records of allocated memory is reached"));
    assert_eq!(instance.machine().folios(), 50);
    step(&mut instance, "a0 spawn");
    for line in ["alloc_pages B order=0", "a0 gmem_create G 512M"] {
        step(&mut instance, line);
    }
    let refused = step(&mut instance, "a0 gmem_allocate G 0..512M");
    assert!(
        refused.result.word() == "ENOMEM" && refused.refusal.is_some() && refused.extras.why.is_some(),
        "{refused}"
    );
    step(&mut instance, "echo 0 > /sys/kernel/mm/hugepages/hugepages-64kB/nr_hugepages");
    assert!(step(&mut instance, "a0 gmem_allocate G 0..64K").result.is_ok());
}

/// A page of 1 GiB becomes 512, or 16384, without asking for memory.
#[test]
fn demotion_is_counted_before() {
    let mut instance = begun("arch=arm64 node=8G hugepagesz=1G hugepages=4", FEW).expect("it is small");
    let refused = step(&mut instance, "echo 4 > /sys/kernel/mm/hugepages/hugepages-1048576kB/demote");
    assert!(refused.to_string().contains("too many: 50 is the limit"), "{refused}");
    assert!(
        step(&mut instance, "echo 1 > /sys/kernel/mm/hugepages/hugepages-1048576kB/demote").result.is_ok(),
        "32 of 32 MiB"
    );
    let refused = step(&mut instance, "echo 1 > /sys/kernel/mm/hugepages/hugepages-32768kB/demote");
    assert!(refused.result.is_ok() || refused.to_string().contains("limit"), "{refused}");
}

/// Numbers as large as can be written are answered at once, whatever they are about.
#[test]
fn the_largest_numbers_are_answered() {
    let mut instance = begun("node=256M hugepages=4", Limits::SMALL).expect("it is small");
    let most = i64::MAX;
    for line in [
        "a0 spawn".to_owned(),
        "a0 memfd F".to_owned(),
        format!("a0 ftruncate F {most}"),
        "a0 ftruncate F 4611686018427387904".to_owned(),
        "a0 pread F 0..4611686018427387904".to_owned(),
        "a0 mmap A 64T shared,noreserve file=F".to_owned(),
        "a0 mincore A 0..64T".to_owned(),
        "a0 touch A p0..4294967295".to_owned(),
        "a0 madvise A 0..64T populate_write".to_owned(),
        "a0 madvise A 0..64T split".to_owned(),
        "a0 fallocate F 0..4611686018427387904".to_owned(),
        "a0 fallocate F 0..4611686018427387904 punch".to_owned(),
        "a0 munmap A 0..64T".to_owned(),
        format!("a0 mmap B {most} shared,anon"),
        format!("a0 shmget s {most}"),
        "a0 gmem_create G 4611686018427387904".to_owned(),
        "a0 gmem_convert G 0..4611686018427387904 shared".to_owned(),
        "a0 gmem_split G 0 30".to_owned(),
        "a0 gmem_map V G 0..4611686018427387904".to_owned(),
        "a0 gmem_punch G 0..4611686018427387904".to_owned(),
        format!("mount M size={most} min_size={most}"),
        format!("fail_next frame after={}", u32::MAX),
        format!("echo {most} > /proc/sys/vm/nr_hugepages"),
    ] {
        step(&mut instance, &line);
    }
    instance.end();
    assert_eq!(instance.machine().validate(), Ok(()));
}

/// A text is refused for its length, a machine for its frames, and what lies in each other for its depth.
#[test]
fn texts_have_limits_of_their_own() {
    let lines = "nop\n".repeat(20);
    let few = Limits { lines: 10, ..Limits::default() };
    let short = Limits { bytes: 40, ..Limits::default() };
    let folder = std::env::temp_dir().join(format!("hugefolio-limits-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("a.scenario");
    std::fs::write(&file, lines).expect("a file");
    for (limits, said) in [(few, "more than 10 lines"), (short, "or 40 bytes")] {
        let problems = Scenario::read_within(&file, limits).expect_err("it is too long");
        assert!(problems[0].to_string().contains(said), "{}", problems[0]);
    }
    assert!(Scenario::read_within(&file, Limits::default()).is_ok());
    std::fs::remove_dir_all(&folder).expect("it was made");

    let deep = format!("{{\"version\":1,\"machine\":{}", "[".repeat(1 << 20));
    assert!(matches!(SavedMachine::parse(&deep, Limits::default().of_states()), Err(BadMachine::Text(_))));
    let many = format!("{{\"version\":1,\"zones\":[{}]}}", "{},".repeat(1 << 20));
    assert!(SavedMachine::parse(&many, Limits::default().of_states()).is_err());
    let long = " ".repeat(1 << 10);
    let few = Limits { state: 1000, ..Limits::default() };
    assert!(matches!(SavedMachine::parse(&long, few.of_states()), Err(BadMachine::TooLong { most: 1000, .. })));
    // A machine that fits is too large where less is permitted.
    let text = begun("node=64G", Limits::SMALL).expect("it is small").saved().to_string();
    assert!(SavedMachine::parse(&text, Limits::SMALL.of_states()).is_ok());
    let less = Limits { memory: hugefolio::Bytes::gib(32), ..Limits::SMALL };
    assert!(matches!(SavedMachine::parse(&text, less.of_states()), Err(BadMachine::Zone(..))));
}

#[test]
fn limits_are_set_by_name() {
    let set =
        Limits::default().with("memory=1T").and_then(|limits| limits.with("folios=100000")).expect("both are limits");
    assert_eq!((set.memory, set.folios), (hugefolio::Bytes::gib(1024), 100_000));
    for (name, _) in Limits::NAMES {
        assert!(Limits::default().with(&format!("{name}=4K")).is_ok(), "{name}");
    }
    for bad in ["", "memory", "memory=", "memory=-1", "pages=4", "folios=many"] {
        let said = Limits::default().with(bad).expect_err("it is none").to_string();
        assert!(said.contains("NAME=SIZE") && said.contains("folios"), "{said}");
    }
}
