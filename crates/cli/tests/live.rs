//! The running kernel beside the library, and the host afterwards. These tests change huge pages of the host, so they need root, an idle
//! pool and what else [`linux::Running::start`] asks for; without it each says in one line why it is skipped.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::{Done, Folder};

/// What the program may leave on the host: where its lock is.
const FOLDER: &str = "/run/hugefolio";

/// Everything of the host that a run changes, as text by name.
fn host() -> BTreeMap<String, String> {
    let mut state = BTreeMap::new();
    let mut folders =
        vec!["/sys/kernel/mm/hugepages".to_owned(), "/sys/devices/system/node/node0/hugepages".to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = format!("{folder}/{}", entry.file_name().display());
            if entry.path().is_dir() { folders.push(path) } else { keep(&mut state, &path) }
        }
    }
    for entry in fs::read_dir("/proc/sys/vm").into_iter().flatten().flatten() {
        let path = entry.path().display().to_string();
        if path.contains("huge") {
            keep(&mut state, &path);
        }
    }
    keep(&mut state, "/proc/sysvipc/shm");
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    // Without their options: a tmpfs says how large it is where that is not half of the memory, and the first pages since boot that give their
    // descriptors back are memory that was not counted before.
    let places = mounts.lines().map(|line| line.split(' ').take(3).collect::<Vec<_>>().join(" "));
    state.insert("/proc/self/mounts".to_owned(), places.collect::<Vec<_>>().join("\n"));
    for root in mounts.lines().filter(|line| line.contains(" cgroup2 ")).filter_map(|line| line.split(' ').nth(1)) {
        keep(&mut state, &format!("{root}/cgroup.subtree_control"));
        let groups = fs::read_dir(root).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir());
        let groups = groups.map(|entry| entry.file_name().display().to_string()).collect::<Vec<_>>();
        state.insert(root.to_owned(), groups.join(" "));
    }
    let left =
        fs::read_dir(FOLDER).into_iter().flatten().flatten().map(|entry| entry.file_name().display().to_string());
    state.insert(FOLDER.to_owned(), left.filter(|name| name != "lock").collect());
    state
}

fn keep(state: &mut BTreeMap<String, String>, path: &str) {
    // Some knobs can only be written.
    if let Ok(text) = fs::read_to_string(path) {
        state.insert(path.to_owned(), text);
    }
}

/// What a run did; `None`, and a line that says why, if this host cannot be asked.
fn live(test: &str, folder: &Folder, arguments: &[&str]) -> Option<Done> {
    let done = folder.run(&[&["conform", "--live"], arguments].concat());
    let cannot = ["lacks", "are in use", "cannot be prepared"].iter().any(|reason| done.stderr.contains(reason));
    if done.code == 2 && cannot && !done.stderr.contains("damaged") {
        // Past the capture of output: a skipped test must not look like one that passed.
        let _ = writeln!(std::io::stderr(), "skipped {test}: {}", done.stderr.trim_end());
        return None;
    }
    Some(done)
}

fn start(folder: &Folder) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hugefolio"));
    let arguments = ["conform", "--live", "--scripts", "100000", "--seed", "7", "--ops", "40"];
    let command = command.args(arguments).current_dir(folder.path("")).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().expect("the program can be run")
}

/// Until the run has begun to change the host.
fn wait_for_state(child: &mut Child) {
    while !Path::new(FOLDER).join("state.json").exists() {
        let ended = child.try_wait().expect("the program can be asked");
        assert!(ended.is_none(), "the run ended before it began: {ended:?}");
        std::thread::yield_now();
    }
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([name, &child.id().to_string()]).status().expect("kill can be run");
    assert!(status.success());
}

/// One test, so that no two runs of this file wait for each other's lock while a state is compared.
#[test]
fn the_running_kernel_agrees_and_the_host_is_as_before() {
    let folder = Folder::new("live");
    let before = host();
    let Some(done) = live("the running kernel", &folder, &["--scripts", "8", "--ops", "40"]) else { return };
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    assert!(done.stdout.ends_with(" 0 different\n"), "{}", done.stdout);
    assert_eq!(host(), before, "after success");

    let wrong = folder.file("wrong.scenario", "set_nr 65\na0 spawn\nset_nr 3\n");
    let wrong = wrong.display().to_string();
    let done = folder.run(&["conform", "--live", &wrong]);
    assert!(done.stdout.starts_with("skipped wrong: 65 huge pages are more than the host spares"), "{}", done.stdout);
    assert_eq!(host(), before, "after a script that was skipped");

    let mut child = start(&folder);
    wait_for_state(&mut child);
    // A shell starts what runs in the background with interrupts ignored, and then they end nothing.
    signal(&child, "-TERM");
    let ended = child.wait().expect("the program ends");
    let mut told = String::new();
    child.stderr.take().expect("it is piped").read_to_string(&mut told).expect("the program prints text");
    assert_eq!((ended.code(), told.as_str()), (None, "hugefolio: interrupted; the host is put back as it was\n"));
    assert_eq!(host(), before, "after an interrupt");

    let mut child = start(&folder);
    wait_for_state(&mut child);
    child.kill().expect("the program can be killed");
    child.wait().expect("the program ends");
    assert_ne!(host(), before, "a killed run cannot clean up");
    let done = folder.run(&["conform", "--live", "--scripts", "1", "--ops", "1"]);
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    assert_eq!(host(), before, "after the next start");

    a_recording_plays_back(&folder);
    assert_eq!(host(), before, "after a recording");

    each_defect_is_named(&folder);
    assert_eq!(host(), before, "after the defects");

    descriptors_are_counted_alike(&folder);
    assert_eq!(host(), before, "after the descriptors");

    every_scenario_agrees(&folder);
    assert_eq!(host(), before, "after the scenarios");
}

/// Pools grow and shrink with their descriptors optimised and as they are.
fn descriptors_are_counted_alike(folder: &Folder) {
    let done = folder.run(&["conform", "--live", "hvo"]);
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    let all = done.stdout.starts_with("skipped hvo: ") || done.stdout.ends_with(" 0 different\n");
    assert!(all, "{}", done.stdout);
}

/// Those that this host can be the machine of.
fn every_scenario_agrees(folder: &Folder) {
    let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios").display().to_string();
    let done = folder.run(&["conform", "--live", &scenarios]);
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    assert!(done.stdout.ends_with(" 0 different\n"), "{}", done.stdout);
}

/// The scenarios that `docs/kernel-defects.md` leads to do part from the running kernel, and by the defect that they are named for.
fn each_defect_is_named(folder: &Folder) {
    let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
    for (defect, name) in [
        ("K1", "known-difference-k1-owner-unmaps-before-its-child"),
        ("K1", "known-difference-k1-a-pin-outlives-the-mapping"),
        ("K2", "known-difference-k2-moving-a-part-keeps-the-rest"),
        ("K3", "known-difference-k3-refused-reservation-keeps-the-minimum"),
        ("K4", "known-difference-k4-refused-page-gives-its-place-back"),
        ("K5", "known-difference-k5-reserved-pages-are-not-demoted"),
        ("K6", "known-difference-k6-page-kept-for-a-reservation"),
        ("K11", "known-difference-k11-refused-mount-keeps-no-minimum"),
        ("K12", "known-difference-k12-owner-keeps-the-page-it-takes"),
    ] {
        let file = scenarios.join(format!("{name}.scenario")).display().to_string();
        let done = folder.run(&["conform", "--live", "--json", &file]);
        let first = done.stdout.lines().next().unwrap_or_default();
        let came: serde_json::Value = serde_json::from_str(first).expect("a line of JSON");
        if let Some(reason) = came["skipped"].as_str() {
            let _ = writeln!(std::io::stderr(), "skipped {defect} on the running kernel: {reason}");
            continue;
        }
        assert_eq!((came["verdict"].as_str(), came["defect"].as_str()), (Some("not judged"), Some(defect)), "{first}");
        let steps = came["steps"].as_u64();
        assert!(steps.is_some_and(|steps| steps <= 10), "{name} has {steps:?} operations");
    }
}

fn a_recording_plays_back(folder: &Folder) {
    let script =
        "{\"script\":\"x\",\"desc\":\"\"}\n{\"op\":\"set_nr\",\"n\":2,\"sz\":\"2M\"}\n{\"op\":\"spawn\",\"p\":0}\n";
    folder.file("scripts/x.jsonl", script);
    folder.file("manifest.json", "[{\"name\":\"x\",\"steps\":2,\"features\":[]}]");
    let done = folder.run(&["record", "scripts", "--into", "recorded"]);
    assert_eq!((done.code, done.stdout.as_str()), (0, "recorded x\n"), "{}", done.stderr);
    let done = folder.run(&["conform", "--recorded", "."]);
    assert_eq!(done.code, 0, "{}", done.stdout);
}

/// What `zoneinfo` reads and this host does not have.
fn missing() -> Option<&'static str> {
    const READ: [&str; 4] =
        ["/proc/zoneinfo", "/proc/self/smaps", "/proc/sys/vm/min_free_kbytes", "/sys/devices/system/node"];
    READ.into_iter().find(|path| fs::metadata(path).is_err())
}

/// It only reads, so it needs no root and no idle pool.
#[test]
fn the_zoneinfo_of_this_host_follows_from_its_sizes_and_knobs() {
    if let Some(path) = missing() {
        // Past the capture of output: a skipped test must not look like one that passed.
        let _ = writeln!(std::io::stderr(), "skipped the zoneinfo of this host: there is no {path}");
        return;
    }
    let folder = Folder::new("zoneinfo");
    let knob = || fs::read_to_string("/proc/sys/vm/lowmem_reserve_ratio").unwrap_or_default();
    let before = knob();
    let done = folder.run(&["conform", "--live", "zoneinfo"]);
    let first_fault = done.stderr.lines().next().unwrap_or_default();
    if done.code == 2 {
        let _ = writeln!(std::io::stderr(), "skipped the zoneinfo of this host: {first_fault}");
        return;
    }
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);

    let json = folder.run(&["conform", "--live", "zoneinfo", "--json"]);
    let last = json.stdout.lines().last().unwrap_or_default();
    let came: serde_json::Value = serde_json::from_str(last).expect("a line of JSON");
    assert_eq!((came["ok"].as_bool(), came["differ"].as_u64()), (Some(true), Some(0)), "{}", json.stdout);
    assert!(came["lines"].as_u64().is_some_and(|lines| lines > 0), "nothing was compared: {last}");
    assert_eq!(knob(), before, "it only reads");
}
