//! `conform --live zoneinfo` on this host: it only reads, so it needs no root and changes nothing.

mod common;

use std::fs;
use std::io::Write;

use common::Folder;

/// The files that it reads; where one is missing, one line says so.
fn missing() -> Option<&'static str> {
    const READ: [&str; 4] =
        ["/proc/zoneinfo", "/proc/self/smaps", "/proc/sys/vm/min_free_kbytes", "/sys/devices/system/node"];
    READ.into_iter().find(|path| fs::metadata(path).is_err())
}

#[test]
fn the_zoneinfo_of_this_host_follows_from_its_sizes_and_knobs() {
    if let Some(path) = missing() {
        // Past the capture of output: a skipped test must not look like one that passed.
        let _ = writeln!(std::io::stderr(), "skipped the zoneinfo of this host: there is no {path}");
        return;
    }
    let folder = Folder::new("zoneinfo_live");
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
