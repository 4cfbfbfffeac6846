//! What `explain` predicts from a machine's text is what then happens on the machine.
//!
//! Machines are drawn at random: pools, surplus, reservations and pages of others, mounts and control groups with limits, nodes that a task may
//! not use. The machine's text is all that the prediction sees. Then a copy of the machine makes the mapping and touches every
//! page: result, refusal with its numbers, and the count of touches must be those predicted. What is said to mend it is then
//! done on another copy, after which everything must succeed; with one page less it must not.
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod draw;

use draw::Draw;
use hugefolio::explain::{
    FaultVerdict, GroupCounter, Host, HostError, HostProblem, MapRefusal, MapVerdict, Mend, OverGroupLimit, Promise,
    Question, Report, SavedHost, TouchRefusal, Wish, mends, would_fault, would_map,
};
use hugefolio::{
    Admin, AllocRefusal, Blame, Bytes, CallError, Calls, CgroupId, Counter, Credentials, FaultError, GroupVersion,
    HugeCount, HugeSize, Machine, MapCall, MapCallError, MapFlags, Mempolicy, MmapError, MountId, NodeId, Nodemask,
    OpenCall, Origin, OverLimit, Pid, ReserveRefusal, Share, Vaddr,
};

const DIR: &str = "/mnt/huge";

/// A machine, somebody on it, and what that somebody wishes.
struct Scene {
    machine: Machine,
    task: Pid,
    /// Nodes that count for the task: its cpuset's, narrowed by a binding policy.
    nodes: Nodemask,
    mount: Option<MountId>,
    /// The task's control group.
    group: Option<&'static str>,
    wish: Wish,
}

/// Groups that can hold tasks. In cgroup v2 the last has no counters: whoever is there is charged to the group above.
const GROUPS: [&str; 3] = ["g/a", "g/b", "n/x"];

/// Groups with limits; the limit of a group may be above or below that of its parent.
fn groups(machine: &mut Machine, draw: &mut Draw, size: HugeSize) {
    machine.create_cgroup("g").unwrap();
    machine.create_cgroup("n").unwrap();
    let v1 = machine.charges().version() == GroupVersion::V1;
    if !v1 {
        machine.write_file("/sys/fs/cgroup/g/cgroup.subtree_control", "+hugetlb").unwrap();
    }
    for group in GROUPS {
        machine.create_cgroup(group).unwrap();
    }
    for group in ["g", "g/a", "g/b", "n"] {
        for file in if v1 { ["limit_in_bytes", "rsvd.limit_in_bytes"] } else { ["max", "rsvd.max"] } {
            if draw.chance(3) {
                let limit = size.total(HugeCount::new(draw.below(14))).get() + draw.below(4096);
                let file = format!("{}/hugetlb.{size}B.{file}", folder(machine, group));
                machine.write_file(&file, &limit.to_string()).unwrap();
            }
        }
    }
}

fn folder(machine: &Machine, group: &str) -> String {
    match machine.charges().version() {
        GroupVersion::V1 => format!("/sys/fs/cgroup/hugetlb/{group}"),
        GroupVersion::V2 => format!("/sys/fs/cgroup/{group}"),
    }
}

/// A group to be in; the root for many.
fn some_group(draw: &mut Draw) -> Option<&'static str> {
    GROUPS.get(usize::try_from(draw.below(5)).unwrap()).copied()
}

fn cgroup(machine: &mut Machine, group: Option<&str>) -> Option<CgroupId> {
    group.and_then(|group| machine.cgroup(group).unwrap())
}

fn scene(draw: &mut Draw) -> Scene {
    let two = draw.chance(2);
    let gigantic = draw.chance(8);
    let mut builder = Machine::builder();
    if draw.chance(3) {
        builder = builder.groups(GroupVersion::V1);
    }
    for node in 0..=u8::from(two) {
        let memory = if gigantic { Bytes::gib(3) } else { Bytes::mib(8 + 2 * draw.below(40)) };
        builder = builder.node(NodeId::new(node), memory);
    }
    let mut machine = builder.build().unwrap();
    let size = if gigantic { HugeSize::G1 } else { HugeSize::M2 };
    let most = if gigantic { 3 } else { 12 };
    for node in 0..=u8::from(two) {
        let file = format!("/sys/devices/system/node/node{node}/hugepages/hugepages-{}kB/nr_hugepages", size.kib());
        machine.write_file(&file, &draw.below(most).to_string()).unwrap();
    }
    if !gigantic && draw.chance(2) {
        machine.set_nr_overcommit(size, HugeCount::new(draw.below(10))).unwrap();
    }
    groups(&mut machine, draw, size);
    let mount = draw.chance(2).then(|| mount(&mut machine, draw, size)).flatten();
    others(&mut machine, draw, size);
    if draw.chance(4) {
        // Lowered behind the back of surplus pages, or raised.
        let _ = machine.set_nr_overcommit(size, HugeCount::new(draw.below(6)));
    }
    let group = some_group(draw);
    let cgroup = cgroup(&mut machine, group);
    let (origin, nodes) = origin(draw, machine.topology().nodes(), cgroup);
    let task = machine.spawn_as(origin).unwrap();
    let share = if draw.chance(2) { Share::Private } else { Share::Shared };
    let promise = if draw.chance(2) { Promise::Never } else { Promise::AtMap };
    let len = Bytes::new((1 + draw.below(most)) * size.bytes().get() - draw.below(4096));
    let wish = Wish { size: Some(size), len, share, promise };
    Scene { machine, task, nodes, mount, group, wish }
}

/// A mount with limits, of which somebody else may hold a part. Where a minimum is in use its unspent part does not show, so
/// that nobody uses such a mount here.
fn mount(machine: &mut Machine, draw: &mut Draw, size: HugeSize) -> Option<MountId> {
    let bytes = |pages: u64| size.total(HugeCount::new(pages)).get();
    let max = draw.below(8);
    let options = match draw.below(4) {
        0 => format!("pagesize={size}"),
        1 => format!("pagesize={size},min_size={}", bytes(draw.below(4))),
        2 => format!("pagesize={size},size={},min_size={}", bytes(max), bytes(draw.below(max + 1))),
        _ => format!("pagesize={size},size={}", bytes(max)),
    };
    let mount = machine.mount_with(&options).ok()?;
    if !options.contains("min_size") {
        let other = machine.spawn();
        let file = machine.open(other, &OpenCall::create(mount, "theirs")).unwrap();
        let len = Bytes::new(bytes(1 + draw.below(4)));
        if let Ok(at) = machine.mmap(other, &MapCall::file(file, len, Share::Shared)) {
            let _ = machine.write_byte(other, at, 1);
        }
    }
    Some(mount)
}

/// What others reserve and use.
fn others(machine: &mut Machine, draw: &mut Draw, size: HugeSize) {
    for _ in 0..draw.below(4) {
        let group = some_group(draw);
        let cgroup = cgroup(machine, group);
        let other = machine.spawn_in(cgroup).unwrap();
        let pages = 1 + draw.below(5);
        let flags = if draw.chance(3) { MapFlags::NORESERVE } else { MapFlags::empty() };
        let share = if draw.chance(2) { Share::Private } else { Share::Shared };
        let call = MapCall {
            source: hugefolio::MapSource::Anonymous(Some(size)),
            ..MapCall::anonymous(size.total(HugeCount::new(pages)), share).with_flags(flags)
        };
        let Ok(at) = machine.mmap(other, &call) else { continue };
        for page in 0..draw.below(pages + 1) {
            let _ = machine.write_byte(other, at + size.total(HugeCount::new(page)), 1);
        }
        if draw.chance(4) {
            machine.exit(other);
        }
    }
}

fn origin(draw: &mut Draw, all: Nodemask, cgroup: Option<CgroupId>) -> (Origin, Nodemask) {
    let mut some = || {
        let mask: Nodemask = all.iter().filter(|_| draw.chance(2)).collect();
        if mask.is_empty() { all } else { mask }
    };
    let (allowed, wished) = (some(), some());
    let local = wished.next_from(NodeId::new(0)).unwrap();
    let policy = match draw.below(4) {
        0 => Mempolicy::Bind { nodes: wished, home: None },
        1 => Mempolicy::Preferred(local),
        2 => Mempolicy::Interleave(wished),
        _ => Mempolicy::Default,
    };
    let nodes = policy.reservation_nodes(allowed);
    (Origin { local, allowed, policy: policy.into(), cgroup, credentials: Credentials::root() }, nodes)
}

/// The machine's text, with the nodes that count for the task.
fn text(scene: &mut Scene) -> SavedHost {
    let mounts: Vec<(&str, MountId)> = scene.mount.iter().map(|&mount| (DIR, mount)).collect();
    // buddyinfo does not show what a processor keeps.
    scene.machine.drain_lists();
    let mut saved = SavedHost::of(&mut scene.machine, &mounts);
    saved.insert("/proc/self/status", format!("Name:\tx\nMems_allowed_list:\t{}\n", scene.nodes));
    saved
}

fn host(scene: &mut Scene) -> Host {
    let mount = scene.mount.map(|_| DIR.to_owned());
    Host::read(&mut text(scene), &Question { mount, cgroup: Some(format!("/{}", scene.group.unwrap_or_default())) })
        .unwrap()
}

/// What happened.
#[derive(Debug, PartialEq)]
enum Done {
    NotMapped(MapRefusal),
    Stopped(u64, TouchRefusal),
    All,
}

fn predicted(host: &Host, wish: &Wish) -> Done {
    match (would_map(host, wish), would_fault(host, wish)) {
        (MapVerdict::Refused(refusal), FaultVerdict::NotMapped) => Done::NotMapped(refusal),
        (MapVerdict::Maps, FaultVerdict::Stops { after, refusal }) => Done::Stopped(after.get(), refusal),
        (MapVerdict::Maps, FaultVerdict::All) => Done::All,
        other => panic!("{other:?}"),
    }
}

/// The refusal of a group, by the folder of its files.
fn by_name(machine: &mut Machine, over: &OverLimit) -> OverGroupLimit {
    let groups = ["g", "g/a", "g/b", "n"];
    let group = groups.into_iter().find(|group| machine.cgroup(group) == Ok(Some(over.cgroup))).unwrap();
    OverGroupLimit {
        folder: folder(machine, group),
        counter: if matches!(over.counter, Counter::Usage(_)) { GroupCounter::Usage } else { GroupCounter::Rsvd },
        charged: over.usage,
        limit: over.limit,
        asked: over.asked,
    }
}

fn done(machine: &mut Machine, task: Pid, mount: Option<MountId>, wish: &Wish) -> Done {
    let size = wish.size.unwrap();
    let flags = if wish.promise == Promise::Never { MapFlags::NORESERVE } else { MapFlags::empty() };
    let call = match mount {
        Some(mount) => {
            let file = machine.open(task, &OpenCall::create(mount, "mine")).unwrap();
            MapCall::file(file, wish.len, wish.share)
        }
        None => {
            MapCall { source: hugefolio::MapSource::Anonymous(Some(size)), ..MapCall::anonymous(wish.len, wish.share) }
        }
    };
    let at: Vaddr = match machine.mmap(task, &call.with_flags(flags)) {
        Ok(at) => at,
        Err(CallError::Failed(MapCallError::Mmap(MmapError::Refused(ReserveRefusal::Charge(over))))) => {
            return Done::NotMapped(MapRefusal::Group(by_name(machine, &over)));
        }
        Err(CallError::Failed(MapCallError::Mmap(error))) => return Done::NotMapped(MapRefusal::Mmap(error)),
        Err(other) => panic!("{other}"),
    };
    let pages = size.count_floor(wish.len.round_up(size.bytes()).unwrap());
    for page in 0..pages.get() {
        match machine.write_byte(task, at + size.total(HugeCount::new(page)), 1) {
            Ok(()) => {}
            Err(CallError::Failed(FaultError::Refused(AllocRefusal::Charge(over)))) => {
                return Done::Stopped(page, TouchRefusal::Group(by_name(machine, &over)));
            }
            Err(CallError::Failed(FaultError::Refused(refusal))) => {
                return Done::Stopped(page, TouchRefusal::Alloc(refusal));
            }
            Err(other) => panic!("{other}"),
        }
    }
    Done::All
}

/// Does what is said to help, but for `less` pages; nothing where it is nothing that a machine can be told.
fn mended(scene: &Scene, all: &[Mend], less: u64) -> Option<Done> {
    let mut machine = scene.machine.clone();
    let (mut mount, page) = (scene.mount, scene.wish.size.unwrap().bytes());
    for mend in all {
        match mend {
            Mend::Knob { path, count } => {
                machine.write_file(&path.to_string(), &(count.get() - less).to_string()).unwrap();
            }
            Mend::Mount { size, max, .. } => {
                let options = format!("pagesize={size},size={}", size.total(*max).get() - less * page.get());
                mount = Some(machine.mount_with(&options).unwrap());
            }
            Mend::Limit { file, limit } => {
                // A limit below what is charged is refused, and the old one stays: then it is that one that must not suffice.
                let _ = machine.write_file(file, &(limit.get() - less * page.get()).to_string());
            }
            _ => return None,
        }
    }
    Some(done(&mut machine, scene.task, mount, &scene.wish))
}

#[test]
fn predictions_are_what_happens() {
    let mut draw = Draw(0x9e37_79b9_7f4a_7c15);
    let mut seen = std::collections::BTreeMap::new();
    for n in 0..6000 {
        let mut scene = scene(&mut draw);
        let host = host(&mut scene);
        let expected = predicted(&host, &scene.wish);
        let mut copy = scene.machine.clone();
        let happened = done(&mut copy, scene.task, scene.mount, &scene.wish);
        copy.validate().unwrap();
        assert_eq!(expected, happened, "scene {n}: {:?} on {host:?}", scene.wish);
        let kind = match &happened {
            Done::NotMapped(error) => format!("mmap {:?}", error.ledger()),
            Done::Stopped(_, refusal) => format!("touch {:?}", refusal.ledger()),
            Done::All => "all".to_owned(),
        };
        let mends = mends(&host, &scene.wish);
        assert_eq!(happened == Done::All, mends.is_empty(), "scene {n}: {:?} on {host:?}", scene.wish);
        let mut helped = "";
        if let Some(after) = mended(&scene, &mends, 0) {
            assert_eq!(after, Done::All, "scene {n}: {:?} with {mends:?} on {host:?}", scene.wish);
            if mends.len() == 1 {
                let after = mended(&scene, &mends, 1).unwrap();
                assert_ne!(after, Done::All, "scene {n}: {:?}: less than {mends:?} helps on {host:?}", scene.wish);
                helped = ", mended by one change";
            }
        }
        *seen.entry(format!("{kind}{helped}")).or_insert(0_u32) += 1;
    }
    for kind in [
        "all",
        "mmap Some(Reservation), mended by one change",
        "mmap Some(SurplusCap), mended by one change",
        "mmap Some(Subpool), mended by one change",
        "mmap Some(Node), mended by one change",
        "mmap Some(Contiguity)",
        "mmap Some(CgroupRsvd), mended by one change",
        "touch Some(CgroupRsvd), mended by one change",
        "touch Some(CgroupUsage), mended by one change",
        "touch Some(Pool), mended by one change",
        "touch Some(SurplusCap), mended by one change",
        "touch Some(Subpool), mended by one change",
        "touch Some(Node), mended by one change",
        "touch Some(Contiguity)",
    ] {
        assert!(seen.get(kind).is_some_and(|&times| times >= 10), "{kind} is too rare: {seen:#?}");
    }
}

/// A host saved in the repository.
fn saved(name: &str) -> SavedHost {
    fn walk(folder: &std::path::Path, root: &std::path::Path, host: &mut SavedHost) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, host);
            } else {
                let name = format!("/{}", path.strip_prefix(root).unwrap().display());
                host.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/hosts").join(name);
    let mut host = SavedHost::default();
    walk(&root, &root, &mut host);
    host
}

fn questions() -> Vec<(&'static str, Question)> {
    vec![
        ("cgroup-nested", Question::default()),
        ("cgroup-nested", Question { cgroup: Some("/pod/one".to_owned()), mount: None }),
        ("cgroup-v1", Question::default()),
        ("mount-minimum", Question { mount: Some("/mnt/huge".to_owned()), cgroup: None }),
        ("wrong-node", Question::default()),
    ]
}

/// Every file in turn is missing, empty, binary, doubled, far too long, or has numbers that no kernel shows. Either the file does
/// not matter to the question, or the refusal names it, with the line wherever there is one.
#[test]
fn bad_text_is_refused_by_file_and_line() {
    for (name, question) in questions() {
        let good = saved(name);
        Host::read(&mut good.clone(), &question).unwrap();
        let files: Vec<(String, Vec<u8>)> =
            good.files().map(|(path, text)| (path.to_owned(), text.to_owned())).collect();
        for (path, text) in files {
            let with = |bad: &[u8]| {
                let mut host = good.clone();
                host.insert(&path, bad);
                Host::read(&mut host, &question).err()
            };
            let of_this_file = |error: Option<HostError>| {
                if let Some(error) = &error {
                    assert_eq!(error.file, path, "{error}");
                }
                error
            };
            for bad in [&b"\xff\xfe\n"[..], b"ok\n\x80", b"1\n\0"] {
                if let Some(error) = of_this_file(with(bad)) {
                    assert_eq!(error.problem, HostProblem::NotText, "{error}");
                    assert!(error.line.is_some(), "{error}");
                }
            }
            let number = std::str::from_utf8(&text).unwrap().trim_end().bytes().all(|b| b.is_ascii_digit());
            for bad in ["99999999999999999999\n", "-1\n", "0x10\n", "1 1\n", "1\n1\n", "", "\n", " 1\n"] {
                let error = of_this_file(with(bad.as_bytes()));
                let matters = number && with(b"nonsense\n").is_some();
                assert_eq!(
                    error.is_some_and(|error| error.line.is_some()) || !number,
                    matters || !number,
                    "{path}: {bad:?}"
                );
            }
            let long = vec![b'1'; (1 << 20) + 1];
            if let Some(error) = of_this_file(with(&long)) {
                assert_eq!(error.problem, HostProblem::TooLong);
            }
            let mut missing = good.clone();
            assert!(missing.remove(&path));
            // Some files may be missing; what they are about is then elsewhere, or a folder is not what it was.
            let _ = Host::read(&mut missing, &question);
        }
    }
}

/// Bytes are changed anywhere. Nothing panics, whatever is asked of what can still be read.
#[test]
fn any_text_at_all_ends_in_an_answer() {
    let mut draw = Draw(0x2545_f491_4f6c_dd1d);
    let mut read = 0;
    for (name, question) in questions() {
        let good = saved(name);
        let files: Vec<(String, Vec<u8>)> =
            good.files().map(|(path, text)| (path.to_owned(), text.to_owned())).collect();
        for _ in 0..3000 {
            let mut host = good.clone();
            for _ in 0..=draw.below(3) {
                let (path, text) = &files[usize::try_from(draw.below(files.len() as u64)).unwrap()];
                let mut text = text.clone();
                for _ in 0..=draw.below(4) {
                    if text.is_empty() {
                        break;
                    }
                    let at = usize::try_from(draw.below(text.len() as u64)).unwrap();
                    match draw.below(4) {
                        0 => text[at] = b"0123456789- \n\0max"[usize::try_from(draw.below(17)).unwrap()],
                        1 => text.insert(at, b'9'),
                        2 => drop(text.remove(at)),
                        _ => drop(text.splice(at..at, *b"18446744073709551615")),
                    }
                }
                host.insert(path.clone(), text);
            }
            let Ok(host) = Host::read(&mut host, &question) else { continue };
            read += 1;
            let len = Bytes::new(1 << draw.below(64));
            let size = draw.of(&[None, Some(HugeSize::M2), Some(HugeSize::G1)]);
            let promise = if draw.chance(2) { Promise::Never } else { Promise::AtMap };
            let wish = Wish { size, len, share: Share::Private, promise };
            assert!(Report::new(&host, &wish).to_string().lines().count() <= 8);
        }
    }
    assert!(read > 1000, "only {read} hosts could be read");
}
