//! The kernel's text: byte for byte, against recordings of Linux 6.18, the running kernel and another project's readers.

use std::fs;
use std::path::Path;

use hugefolio::text::{
    Access, HugetlbMeminfo, HugetlbPages, KnobPath, KnobPathError, KnobValue, KnobWrite, MountSize, MountText,
    NodeHugepages, NodeKnob, PoolKnob, ReportError, ShmGroup, ShowMemLine, SmapsHugetlb, Switch, SysctlKnob, VmFlag,
    VmFlags, WriteError, Written, demote_size, sysctl_count, sysfs_count,
};
use hugefolio::{FileMode, Gid, Uid};
use procfs_core::process::{MMapPath, MemoryMaps, Status, VmFlags as ProcfsVmFlags};
use procfs_core::{FromBufRead, Meminfo};
use proptest::prelude::*;
use units::{Bytes, HugeCount, HugeSize, NodeId};

const MEMINFO: &str = include_str!("text/meminfo");
const NODE_MEMINFO: &str = include_str!("text/node0-meminfo");
const STATUS: &str = include_str!("text/status");
const SMAPS: &str = include_str!("text/smaps");

fn count(n: u64) -> HugeCount {
    HugeCount::new(n)
}

fn meminfo() -> HugetlbMeminfo {
    HugetlbMeminfo {
        total: count(12),
        free: count(5),
        reserved: count(1),
        surplus: count(123_456),
        size: HugeSize::M2,
        hugetlb: Bytes::gib(1),
    }
}

/// `text` with the lines that `ours` has replaced by ours.
fn replace_lines(text: &str, ours: &str) -> String {
    let label = |line: &str| line.split_once(':').map(|(label, _)| label.to_owned());
    let lines = text.lines().map(|line| ours.lines().find(|new| label(new) == label(line)).unwrap_or(line));
    lines.fold(String::new(), |all, line| all + line + "\n")
}

#[test]
fn meminfo_text() {
    let want = "HugePages_Total:      12\nHugePages_Free:        5\nHugePages_Rsvd:        1\nHugePages_Surp:    123456\n\
                Hugepagesize:       2048 kB\nHugetlb:         1048576 kB\n";
    assert_eq!(meminfo().to_string(), want);
    assert_eq!(want.parse(), Ok(meminfo()));
    let recorded: HugetlbMeminfo = MEMINFO.parse().expect("recorded");
    assert!(MEMINFO.contains(&recorded.to_string()));
}

#[test]
fn another_reader_of_meminfo_sees_our_numbers() {
    let text = replace_lines(MEMINFO, &meminfo().to_string());
    let theirs = Meminfo::from_buf_read(text.as_bytes()).expect("readable");
    assert_eq!(theirs.hugepages_total, Some(12));
    assert_eq!(theirs.hugepages_free, Some(5));
    assert_eq!(theirs.hugepages_rsvd, Some(1));
    assert_eq!(theirs.hugepages_surp, Some(123_456));
    assert_eq!(theirs.hugepagesize, Some(2 << 20));
    assert_eq!(theirs.hugetlb, Some(1 << 30));
}

#[test]
fn node_meminfo_text() {
    let node = NodeHugepages { node: NodeId::new(3), total: count(7), free: count(0), surplus: count(99_999) };
    let want = "Node 3 HugePages_Total:     7\nNode 3 HugePages_Free:      0\nNode 3 HugePages_Surp:  99999\n";
    assert_eq!(node.to_string(), want);
    assert_eq!(want.parse(), Ok(node));
    let recorded: NodeHugepages = NODE_MEMINFO.parse().expect("recorded");
    assert!(NODE_MEMINFO.ends_with(&recorded.to_string()));
}

#[test]
fn show_mem_text() {
    let line =
        ShowMemLine { node: NodeId::new(1), total: count(2), free: count(1), surplus: count(0), size: HugeSize::G1 };
    let want = "Node 1 hugepages_total=2 hugepages_free=1 hugepages_surp=0 hugepages_size=1048576kB\n";
    assert_eq!(line.to_string(), want);
    assert_eq!(want.parse(), Ok(line));
}

#[test]
fn process_text_and_another_reader() {
    let pages = HugetlbPages(Bytes::mib(6));
    assert_eq!(pages.to_string(), "HugetlbPages:\t    6144 kB\n");
    let recorded: HugetlbPages = STATUS.parse().expect("recorded");
    assert!(STATUS.contains(&recorded.to_string()));
    let text = replace_lines(STATUS, &pages.to_string());
    assert_eq!(text.parse(), Ok(pages));
    let theirs = Status::from_buf_read(text.as_bytes()).expect("readable");
    assert_eq!(theirs.hugetlbpages, Some(6144));
}

#[test]
fn smaps_text_and_another_reader() {
    let smaps = SmapsHugetlb { shared: Bytes::mib(2), private: Bytes::mib(4) };
    let text = "Shared_Hugetlb:     2048 kB\nPrivate_Hugetlb:    4096 kB\n";
    assert_eq!(smaps.to_string(), text);
    assert_eq!(text.parse(), Ok(smaps));
    assert!(SMAPS.contains(&SMAPS.parse::<SmapsHugetlb>().expect("recorded").to_string()));

    let recorded: VmFlags = SMAPS.parse().expect("recorded");
    assert_eq!(recorded.to_string(), "VmFlags: rd wr sh mr mw me ms de nr ht \n");
    assert!(SMAPS.ends_with(&recorded.to_string()));
    assert!(recorded.contains(VmFlag::HUGETLB) && !recorded.contains(VmFlag::ACCOUNT));
    let mut shuffled: Vec<VmFlag> = recorded.iter().collect();
    shuffled.reverse();
    assert_eq!(shuffled.into_iter().collect::<VmFlags>(), recorded);

    let theirs = MemoryMaps::from_buf_read(replace_lines(SMAPS, text).as_bytes()).expect("readable");
    let theirs = theirs.iter().next().expect("one mapping");
    assert_eq!(theirs.extension.map["Shared_Hugetlb"], 2 << 20);
    assert_eq!(theirs.extension.map["Private_Hugetlb"], 4 << 20);
    assert!(theirs.extension.vm_flags.contains(ProcfsVmFlags::HT));
    assert!(matches!(theirs.pathname, MMapPath::Path(_)));
}

#[test]
fn reports_that_cannot_be_read_say_where() {
    let error = |text: &str| text.parse::<HugetlbMeminfo>().expect_err("broken").to_string();
    assert!(error("MemTotal: 1 kB\n").contains("Hugepagesize:"));
    let ours = meminfo().to_string();
    let broken =
        [("   12\n", "  -12\n"), ("    12\n", " 1 2\n"), ("2048 kB", "2047 kB"), ("2048 kB", "2048"), (" 5\n", "\n")];
    for (from, to) in broken {
        assert!(matches!(ours.replace(from, to).parse::<HugetlbMeminfo>(), Err(ReportError::BadValue { .. })), "{to}");
    }
    assert!(matches!(ours.repeat(2).parse::<HugetlbMeminfo>(), Err(ReportError::Twice { .. })));
    let too_big = ours.replace(" 1048576 kB", " 18446744073709551615 kB");
    assert!(matches!(too_big.parse::<HugetlbMeminfo>(), Err(ReportError::BadValue { .. })));
    let long = ours.replace("   12\n", &format!("{}\n", "x".repeat(100_000)));
    assert!(error(&long).len() < 300);
    assert!("Node 64 HugePages_Total: 1\n".parse::<NodeHugepages>().is_err());
    assert!("Node 0 hugepages_total=1".parse::<ShowMemLine>().is_err());
    assert!("VmFlags: rd XX\n".parse::<VmFlags>().is_err());
}

#[test]
fn paths_of_the_knobs() {
    let examples = [
        ("/proc/sys/vm/nr_hugepages", KnobPath::Sysctl(SysctlKnob::NrHugepages)),
        ("/proc/sys/vm/hugetlb_shm_group", KnobPath::Sysctl(SysctlKnob::HugetlbShmGroup)),
        (
            "/sys/kernel/mm/hugepages/hugepages-1048576kB/demote_size",
            KnobPath::Pool { size: HugeSize::G1, knob: PoolKnob::DemoteSize },
        ),
        (
            "/sys/devices/system/node/node12/hugepages/hugepages-64kB/free_hugepages",
            KnobPath::Node { node: NodeId::new(12), size: HugeSize::K64, knob: NodeKnob::FreeHugepages },
        ),
    ];
    for (path, knob) in examples {
        assert_eq!(path.parse(), Ok(knob));
        assert_eq!(knob.to_string(), path);
    }
    let elsewhere =
        ["", "/proc/sys/vm", "/proc/sys/vmx/nr_hugepages", "nr_hugepages", "/sys/devices/system/node/node0/meminfo"];
    for path in elsewhere {
        assert!(matches!(KnobPath::parse(path), Err(KnobPathError::Elsewhere(_))), "{path}");
    }
    let pool = |size: &str| KnobPath::parse(&format!("/sys/kernel/mm/hugepages/hugepages-{size}/nr_hugepages"));
    for size in ["2048", "02048kB", "2049kB", "kB", "2MB", "0kB", "1kB", "18446744073709551616kB", "-2048kB", "+2048kB"]
    {
        assert!(matches!(pool(size), Err(KnobPathError::BadSize(_))), "{size}");
    }
    for node in ["64", "x", "", "01", "-1", "99999999999999999999"] {
        let path = format!("/sys/devices/system/node/node{node}/hugepages/hugepages-2048kB/nr_hugepages");
        assert!(matches!(KnobPath::parse(&path), Err(KnobPathError::BadNode(_))), "{node}");
    }
    let resv = KnobPath::parse("/sys/devices/system/node/node0/hugepages/hugepages-2048kB/resv_hugepages");
    let message = resv.expect_err("reservations have no node").to_string();
    assert!(message.contains("free_hugepages"), "{message}");
}

#[test]
fn every_knob_path_reads_back() {
    let pools = PoolKnob::ALL.iter().map(|&knob| KnobPath::Pool { size: HugeSize::M32, knob });
    let nodes = NodeKnob::ALL.iter().map(|&knob| KnobPath::Node { node: NodeId::new(63), size: HugeSize::G16, knob });
    let all: Vec<KnobPath> =
        SysctlKnob::ALL.iter().map(|&knob| KnobPath::Sysctl(knob)).chain(pools).chain(nodes).collect();
    assert_eq!(all.len(), 5 + 8 + 5);
    for path in all {
        assert_eq!(KnobPath::parse(&path.to_string()), Ok(path));
    }
}

#[test]
fn values_shown() {
    assert_eq!(KnobValue::Count(count(7)).to_string(), "7\n");
    assert_eq!(KnobValue::Size(HugeSize::M2).to_string(), "2048kB\n");
    assert_eq!(KnobValue::Switch(Switch::On).to_string(), "1\n");
    assert_eq!(KnobValue::Group(ShmGroup(-1)).to_string(), "-1\n");
}

fn invalid<T: PartialEq + std::fmt::Debug>(got: &Result<Option<Written<T>>, WriteError>) -> bool {
    matches!(got, Err(WriteError::Invalid { .. }))
}

fn value<T>(got: Result<Option<Written<T>>, WriteError>) -> Option<(T, u64)> {
    got.expect("accepted").map(|w| (w.value, w.consumed.get()))
}

/// Answers of Linux 6.18 to the same texts, from a number file of another subsystem that is read by the same rule.
#[test]
fn numbers_written_to_sysfs() {
    let zeros = format!("{}9", "0".repeat(35));
    let accepted = [("8", 8), ("8\n", 8), ("+8", 8), ("8\0", 8), ("8\0x", 8), ("8\n\0x", 8), (zeros.as_str(), 9)];
    for (text, want) in accepted {
        assert_eq!(value(sysfs_count(text.as_bytes())), Some((count(want), text.len() as u64)), "{text:?}");
    }
    assert_eq!(value(sysfs_count(b"18446744073709551615")), Some((HugeCount::MAX, 20)));
    assert_eq!(value(sysfs_count(b"")), None);
    for text in
        ["8\n\n", "-8", "-0", " 8", "8 ", "8 9", "8x", "\n", " ", "+", "+-8", "++8", "+\n", "0x10", "abc", "\0", "8K"]
    {
        assert!(invalid(&sysfs_count(text.as_bytes())), "{text:?}");
    }
    for text in ["18446744073709551616", "99999999999999999999x"] {
        assert!(matches!(sysfs_count(text.as_bytes()), Err(WriteError::OutOfRange { .. })), "{text:?}");
    }
}

/// Answers of Linux 6.18 to the same texts, from a number file of another subsystem that is read by the same rule.
#[test]
fn numbers_written_to_proc_sys() {
    let blank = format!("{}8", " ".repeat(40));
    let accepted = [
        ("8", 8, 1),
        ("8\n", 8, 2),
        (" 8", 8, 2),
        ("8 ", 8, 2),
        ("8\t\n", 8, 3),
        ("8\n\n", 8, 3),
        ("8 9", 8, 2),
        ("8\n9", 8, 2),
        ("9 x", 9, 2),
        ("\x0b8", 8, 2),
        ("\n8", 8, 2),
        ("0x10", 16, 4),
        ("0X1f", 31, 4),
        ("010", 8, 3),
        ("00000000000000000010", 8, 20),
        ("0x000000000000000010", 16, 20),
        ("18446744073709551615", u64::MAX, 20),
        (blank.as_str(), 8, 41),
    ];
    for (text, want, consumed) in accepted {
        assert_eq!(value(sysctl_count(text.as_bytes())), Some((count(want), consumed)), "{text:?}");
    }
    assert_eq!(value(sysctl_count(b"9 \xff")), Some((count(9), 2)));
    assert_eq!(value(sysctl_count(b"")), None);
    let refused = [
        "+8",
        "-8",
        "-0",
        "- 8",
        "8x",
        "x8",
        "\n",
        " ",
        "08",
        "8,9",
        "8K",
        "0x",
        "0xg",
        "0x 8",
        "+",
        "-",
        "8\0",
        "8\0x",
        "8\r",
        "8\x0b",
        "8\x0c",
        "8\u{a0}",
        "\u{fc}",
        "18446744073709551616",
        "99999999999999999999",
        "111111111111111111111",
        "000000000000000000010",
        "0x0000000000000000010",
    ];
    for text in refused {
        assert!(invalid(&sysctl_count(text.as_bytes())), "{text:?}");
    }
}

#[test]
fn what_a_write_asks_for() {
    let write = |path: &str, text: &str| {
        let path = KnobPath::parse(path).expect("a knob");
        path.read_write(text.as_bytes()).map(|w| w.map(|w| w.value))
    };
    let pool = "/sys/kernel/mm/hugepages/hugepages-1048576kB";
    assert_eq!(write(&format!("{pool}/nr_hugepages"), "8\n"), Ok(Some(KnobWrite::Count(count(8)))));
    assert_eq!(write("/proc/sys/vm/nr_hugepages", " 0x8 \n"), Ok(Some(KnobWrite::Count(count(8)))));
    assert!(write(&format!("{pool}/nr_hugepages"), " 0x8 \n").is_err());
    assert_eq!(write(&format!("{pool}/demote"), "1"), Ok(Some(KnobWrite::Count(count(1)))));
    assert_eq!(write(&format!("{pool}/demote_size"), "2M\n"), Ok(Some(KnobWrite::Size(HugeSize::M2))));
    assert_eq!(write("/proc/sys/vm/hugetlb_shm_group", "1000"), Ok(Some(KnobWrite::Group(ShmGroup(1000)))));
    assert_eq!(write("/proc/sys/vm/hugetlb_shm_group", "-1"), Ok(Some(KnobWrite::Group(ShmGroup(-1)))));
    assert_eq!(write("/proc/sys/vm/hugetlb_shm_group", "-2147483648"), Ok(Some(KnobWrite::Group(ShmGroup(i32::MIN)))));
    for text in ["2147483648", "-2147483649", "4294967295", "18446744073709551615", "- 5", "-00000000000000000000"] {
        assert!(write("/proc/sys/vm/hugetlb_shm_group", text).is_err(), "{text}");
    }
    let hvo = "/proc/sys/vm/hugetlb_optimize_vmemmap";
    assert_eq!(write(hvo, "0"), Ok(Some(KnobWrite::Switch(Switch::Off))));
    assert_eq!(write(hvo, "2"), Ok(Some(KnobWrite::Switch(Switch::On))));
    assert!(write(hvo, "abc").is_err());
    let free = KnobPath::Pool { size: HugeSize::G1, knob: PoolKnob::FreeHugepages };
    assert_eq!(free.read_write(b"1"), Err(WriteError::ReadOnly(free)));
    assert_eq!(free.access(), Access::ReadOnly);
}

#[test]
fn sizes_to_demote_to() {
    let wraps_to_2m = "18446744073711648768";
    for text in ["2M", "2m\n", "2048kB\n", "2048k", "2097152", "0x200000", "2Mxyz", "2M\u{e9}", wraps_to_2m] {
        assert_eq!(value(demote_size(text.as_bytes())), Some((HugeSize::M2, text.len() as u64)), "{text:?}");
    }
    assert_eq!(value(demote_size(b"")), None);
    for text in ["M", "3M", "0", "-2M", "+2M", " 2M", "\n", "1K", "\u{e9}", "16E"] {
        assert!(invalid(&demote_size(text.as_bytes())), "{text:?}");
    }
}

#[test]
fn the_running_kernel_prints_as_we_do() {
    let Ok(text) = fs::read_to_string("/proc/meminfo") else {
        return println!("skipped: no /proc/meminfo here");
    };
    let Ok(ours) = text.parse::<HugetlbMeminfo>() else {
        return println!("skipped: the running kernel has no huge pages");
    };
    assert!(text.contains(&ours.to_string()), "{text}");
    if let Ok(text) = fs::read_to_string("/sys/devices/system/node/node0/meminfo") {
        let ours: NodeHugepages = text.parse().expect("node meminfo");
        assert!(text.contains(&ours.to_string()), "{text}");
    }
    let status = fs::read_to_string("/proc/self/status").expect("our own status");
    let pages: HugetlbPages = status.parse().expect("with huge pages");
    assert!(status.contains(&pages.to_string()));
}

/// Every file of the running kernel's pools has a name that we know, the mode that we say and a value that we print.
#[test]
fn the_running_kernels_knobs_are_ours() {
    let Ok(pools) = fs::read_dir("/sys/kernel/mm/hugepages") else {
        return println!("skipped: no /sys/kernel/mm/hugepages here");
    };
    for pool in pools {
        let pool = pool.expect("readable").path();
        let mut files: Vec<String> = file_names(&pool);
        files.sort();
        let demotable = files.iter().any(|name| name == "demote");
        let ours = PoolKnob::ALL.iter().filter(|knob| demotable || !knob.needs_demotion());
        assert_eq!(files, ours.map(|knob| knob.name()).collect::<Vec<_>>());
        for name in files {
            check_knob(&pool.join(name));
        }
    }
    for knob in SysctlKnob::ALL {
        check_knob(Path::new(&KnobPath::Sysctl(*knob).to_string()));
    }
}

fn file_names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    entries.map(|entry| entry.expect("readable").file_name().into_string().expect("ASCII")).collect()
}

#[cfg(unix)]
fn mode(path: &Path) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt;
    Some(fs::metadata(path).ok()?.permissions().mode() & 0o777)
}

#[cfg(not(unix))]
fn mode(_: &Path) -> Option<u32> {
    None
}

fn check_knob(path: &Path) {
    let knob: KnobPath = path.to_str().expect("ASCII").parse().expect("a knob");
    let Some(mode) = mode(path) else {
        return println!("skipped: no {} here", path.display());
    };
    assert_eq!(mode, knob.access().mode(), "{}", path.display());
    let Ok(text) = fs::read_to_string(path) else {
        return assert_eq!(knob.access(), Access::WriteOnly, "{}", path.display());
    };
    let shown = match knob {
        KnobPath::Pool { knob: PoolKnob::DemoteSize, .. } => {
            KnobValue::Size(demote_size(text.as_bytes()).expect("a size").expect("not empty").value)
        }
        _ => KnobValue::Count(sysfs_count(text.as_bytes()).expect("a number").expect("not empty").value),
    };
    assert_eq!(shown.to_string(), text);
}

proptest! {
    #[test]
    fn reports_read_back(total: u64, free: u64, reserved: u64, surplus: u64, kib in 0..u64::MAX >> 10, shift in 12..=62_u8, node in 0..64_u8) {
        let size = HugeSize::from_shift(shift).expect("a size");
        let [total, free, reserved, surplus] = [total, free, reserved, surplus].map(HugeCount::new);
        let node = NodeId::new(node);
        let meminfo = HugetlbMeminfo { total, free, reserved, surplus, size, hugetlb: Bytes::kib(kib) };
        prop_assert_eq!(meminfo.to_string().parse(), Ok(meminfo));
        let on_node = NodeHugepages { node, total, free, surplus };
        prop_assert_eq!(on_node.to_string().parse(), Ok(on_node));
        let line = ShowMemLine { node, total, free, surplus, size };
        prop_assert_eq!(line.to_string().parse(), Ok(line));
        let smaps = SmapsHugetlb { shared: Bytes::kib(kib), private: Bytes::kib(kib / 2) };
        prop_assert_eq!(smaps.to_string().parse(), Ok(smaps));
        let pages = HugetlbPages(Bytes::kib(kib));
        prop_assert_eq!(pages.to_string().parse(), Ok(pages));
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..40), digits in "[-+0-9xXkKmM \n]{0,30}", path in ".{0,40}") {
        for text in [&bytes[..], digits.as_bytes()] {
            let _ = sysfs_count(text);
            let _ = demote_size(text);
            if let Ok(Some(written)) = sysctl_count(text) {
                prop_assert!(written.consumed.get() <= text.len() as u64);
            }
        }
        let _ = KnobPath::parse(&path);
        let _ = KnobPath::parse(&format!("/sys/devices/system/node/node{path}"));
        let text = String::from_utf8_lossy(&bytes);
        let _ = text.parse::<HugetlbMeminfo>();
        let _ = format!("Node {text}").parse::<ShowMemLine>();
        let _ = format!("Node {text} HugePages_Total:").parse::<NodeHugepages>();
        let _ = format!("VmFlags: {text}").parse::<VmFlags>();
    }
}

/// Maximum and minimum in pages, and the limit of inodes.
type Limits = (Option<u64>, Option<u64>, Option<u64>);

/// What a Linux 6.18 made of each text, as `statfs` and `/proc/mounts` showed it; all with an empty pool.
#[test]
fn owner_and_mode_of_a_mount() {
    let owner = |text| {
        let options = MountText::parse(text).ok()?;
        Some((options.uid, options.gid, options.mode.map(FileMode::bits)))
    };
    assert_eq!(owner("uid=0x10,gid=+7,mode=37777777777"), Some((Some(Uid(16)), Some(Gid(7)), Some(0o1777))));
    assert_eq!(owner("mode=040"), Some((None, None, Some(0o40))));
    assert_eq!(owner("gid=4294967295"), None);
}

#[test]
fn options_of_a_mount() {
    let page = HugeSize::M2;
    let limits = |text: &str| {
        let options = MountText::parse(text).ok()?;
        let count = |size: Option<MountSize>| size.map(|size| size.count_floor(page, HugeCount::ZERO).get());
        Some((count(options.size), count(options.min_size), options.nr_inodes))
    };
    let taken: &[(&str, Limits)] = &[
        ("", (None, None, None)),
        (",", (None, None, None)),
        ("size=4M", (Some(2), None, None)),
        (",size=4M,", (Some(2), None, None)),
        ("size=0x400000", (Some(2), None, None)),
        ("size=4Mx", (Some(2), None, None)),
        ("size=4M%", (Some(0), None, None)),
        ("size=50%x", (Some(0), None, None)),
        ("size=99999999999999999999", (Some(3_703_250_709_272), None, None)),
        ("size=16E", (Some(0), None, None)),
        ("size=8E", (Some(4_398_046_511_104), None, None)),
        ("size=4095", (Some(0), None, None)),
        ("size=3M", (Some(1), None, None)),
        ("size=010", (Some(0), None, None)),
        ("min_size=1", (None, Some(0), None)),
        ("size=4M,size=8M", (Some(4), None, None)),
        ("size=8M,size=50%", (Some(0), None, None)),
        ("nr_inodes=3k", (None, None, Some(3072))),
        ("nr_inodes=18446744073709551615", (None, None, None)),
        ("nr_inodes=16E", (None, None, Some(0))),
        ("rw,sync,size=4M", (Some(2), None, None)),
        ("size=4M,,nr_inodes=5", (Some(2), None, Some(5))),
        ("uid=0x10,gid=+7,mode=7777", (None, None, None)),
    ];
    for (text, want) in taken {
        assert_eq!(limits(text).as_ref(), Some(want), "{text:?}");
    }
    let refused = [
        "size=",
        "size",
        "size=x",
        "size= 4M",
        "size=-1",
        "size=+4M",
        "min_size=x",
        "min_size",
        "nr_inodes=x",
        "nr_inodes=-1",
        "nr_inodes",
        "pagesize=x",
        "pagesize=",
        "pagesize=0",
        " pagesize=2M",
        "uid=x",
        "uid=-1",
        "uid=4294967295",
        "uid=4294967296",
        "uid",
        "gid=++7",
        "mode=999",
        "mode=0x1ff",
        "mode=",
        "foo=1",
        "foo",
        "size=4M, nr_inodes=5",
        "SIZE=4M",
        "noexec",
        "source=x",
    ];
    for text in refused {
        assert_eq!(limits(text), None, "{text:?}");
    }
}

/// 24 pages: half of them, and more than there are.
#[test]
fn hundredths_of_a_pool() {
    let half = |text: &str| MountText::parse(text).unwrap().size.unwrap().count_floor(HugeSize::M2, count(24)).get();
    assert_eq!((half("size=50%"), half("size=200%"), half("size=4%")), (12, 48, 0));
}

#[test]
fn messages_about_mount_options_say_what_to_write() {
    for (text, want) in [
        ("size", "`size` needs a value: write size=8M"),
        ("mode=999", "`mode=999`: the value is not permission bits in octal digits; write for example mode=755"),
        (
            "sise=8M",
            "`sise=8M` is no option of hugetlbfs: use pagesize=, size=, min_size=, nr_inodes=, uid=, gid= or mode=",
        ),
    ] {
        assert_eq!(MountText::parse(text).unwrap_err().to_string(), want);
    }
}
