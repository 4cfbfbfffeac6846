//! What is not asked of the running kernel: more than the host can spare, what brings it down, and what lies outside of a script's world.

use std::collections::BTreeMap;

use lab::generate::ends_beyond_files;
use lab::op::{self, About, Access, Advice, Op, SizeName, UffdMode, Written};

/// The most persistent pages of 2 MiB.
pub const PAGES_2M: u64 = 64;
/// The most surplus pages of 2 MiB.
pub const SURPLUS_2M: u64 = 16;
/// The most pages of 1 GiB.
pub const PAGES_1G: u64 = 2;
/// The most bytes of base pages that one call may ask for.
pub const BASE_BYTES: u64 = 64 << 20;

/// Files that `write` may write, besides the pools' own.
const KNOBS: [&str; 5] = [
    "/proc/sys/vm/nr_hugepages",
    "/proc/sys/vm/nr_hugepages_mempolicy",
    "/proc/sys/vm/nr_overcommit_hugepages",
    "/proc/sys/vm/compact_memory",
    "/proc/sys/vm/hugetlb_shm_group",
];

/// Why a whole script is not run: the first of its operations that is not done, or a write that would never return.
pub fn script_refusal(ops: &[&Op]) -> Option<String> {
    ops.iter().find_map(|op| refusal(op)).or_else(|| endless_write(ops))
}

/// What became of the write protection of a mapping.
#[derive(Clone, Copy, PartialEq)]
enum Protection {
    /// A userfaultfd protects it.
    Watched,
    /// It was registered again without `wp`.
    Left,
}

/// A write to protection that nobody watches any more: Linux 6.18 takes the fault again and again.
fn endless_write(ops: &[&Op]) -> Option<String> {
    let mut maps: BTreeMap<&str, Protection> = BTreeMap::new();
    for op in ops {
        let written = match op {
            Op::UffdWp(op::UffdWp { map, mode, .. }) if mode.has(UffdMode::Wp) => {
                maps.insert(map.as_str(), Protection::Watched);
                continue;
            }
            Op::UffdRegister(op::UffdRegister { map, mode, .. }) if !mode.has(UffdMode::Wp) => {
                maps.entry(map.as_str()).and_modify(|protection| *protection = Protection::Left);
                continue;
            }
            Op::Touch(op::Touch { map, access: Access::Write, .. })
            | Op::Uaccess(op::Uaccess { map, access: Access::Write, .. }) => map.as_str(),
            _ => continue,
        };
        if maps.get(written) == Some(&Protection::Left) {
            return Some(
                "a write to protection that no userfaultfd watches any more never returns on Linux 6.18".into(),
            );
        }
    }
    None
}

/// Where the weights of nodes are.
pub(crate) const WEIGHTS: &str = "/sys/kernel/mm/mempolicy/weighted_interleave/";

/// Why `op` is not done, if it is not.
pub fn refusal(op: &Op) -> Option<String> {
    if ends_beyond_files(op) {
        return Some("an fallocate with this end brings Linux 6.18 down".to_owned());
    }
    if op.about() == About::Pages {
        return Some("no program of the host says which pages it gets, or what comes of reclaim".to_owned());
    }
    if op.about() == About::Guest {
        return Some("a running kernel is not asked to make memory of guests, or to fail".into());
    }
    if op.about() == About::Tables {
        return Some("no program of the host sees page tables".to_owned());
    }
    match op {
        Op::Madvise(op::Madvise { advice: Advice::Split, .. }) => Some("no Linux maps huge pages in pieces".to_owned()),
        Op::SetNr(op::SetNr { value, size, .. }) => too_many(value, most(*size), "huge pages"),
        Op::SysctlNr(op::SysctlNr { value }) => too_many(value, PAGES_2M, "huge pages"),
        Op::SetOvercommit(op::SetOvercommit { value, .. }) => too_many(value, SURPLUS_2M, "surplus pages"),
        Op::Write(op::Write { path, value, .. }) => written(&path.0, value),
        Op::Open(op::Open { path, .. })
        | Op::Unlink(op::Unlink { path, .. })
        | Op::Truncate(op::Truncate { path, .. }) => {
            outside(path.mount.as_str()).or_else(|| outside(&format!("/{}", path.name())))
        }
        Op::Mount(op::Mount { mount, .. }) | Op::Umount(op::Umount { mount, .. }) => outside(mount.as_str()),
        Op::CgCreate(op::CgCreate { cg, .. })
        | Op::CgMax(op::CgMax { cg, .. })
        | Op::CgRsvdMax(op::CgRsvdMax { cg, .. })
        | Op::CgMemoryMax(op::CgMemoryMax { cg, .. })
        | Op::CgMems(op::CgMems { cg, .. })
        | Op::CgAttach(op::CgAttach { cg, .. })
        | Op::CgRmdir(op::CgRmdir { cg })
        | Op::Spawn(op::Spawn { cg: Some(cg), .. }) => outside(cg.as_str()),
        Op::Pread(op::Pread { range, .. }) | Op::Pwrite(op::Pwrite { range, .. }) if range.len.signed() < 0 => None,
        Op::Pread(op::Pread { range, .. })
        | Op::Pwrite(op::Pwrite { range, .. })
        | Op::UffdCopy(op::UffdCopy { range, .. }) => {
            let len = range.len.unsigned();
            (len > BASE_BYTES).then(|| format!("a buffer of {len} bytes; at most {BASE_BYTES}"))
        }
        _ => None,
    }
}

const fn most(size: SizeName) -> u64 {
    match size {
        SizeName::G1 => PAGES_1G,
        _ => PAGES_2M,
    }
}

/// Is it a file of the pools of one node?
fn is_of_node(path: &str) -> bool {
    let rest = path.strip_prefix("/sys/devices/system/node/node");
    rest.and_then(|rest| rest.split_once('/'))
        .is_some_and(|(node, file)| node.bytes().all(|byte| byte.is_ascii_digit()) && file.starts_with("hugepages/"))
}

fn written(path: &str, value: &Written) -> Option<String> {
    let pool = path.starts_with("/sys/kernel/mm/hugepages/") || is_of_node(path);
    if path.starts_with(WEIGHTS) && !path.contains("..") {
        return None;
    }
    if !(KNOBS.contains(&path) || pool) || path.contains("..") {
        return Some(format!("{path} is not a file that a script may write on this host"));
    }
    if path.ends_with("hugetlb_shm_group") {
        return None;
    }
    let surplus = path.ends_with("nr_overcommit_hugepages");
    let most = match (surplus, path.contains("1048576kB")) {
        (true, _) => SURPLUS_2M,
        (false, true) => PAGES_1G,
        (false, false) => PAGES_2M,
    };
    too_many(value, most, if surplus { "surplus pages" } else { "huge pages" })
}

fn too_many(value: &Written, most: u64, what: &str) -> Option<String> {
    let wanted = amount(&value.bytes()).filter(|wanted| *wanted > most)?;
    Some(format!("{wanted} {what} are more than the host spares; at most {most}"))
}

/// The largest number for which any file of the kernel could take this text. Numbers beyond 64 bits are refused by all of them.
fn amount(text: &str) -> Option<u64> {
    let text = text.trim_start().trim_start_matches('+');
    let digits = |text: &str, radix: u32| {
        let end = text.find(|c: char| !c.is_digit(radix)).unwrap_or(text.len());
        u64::from_str_radix(&text[..end], radix).ok()
    };
    let hexadecimal = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).and_then(|text| digits(text, 16));
    [digits(text, 10), hexadecimal].into_iter().flatten().max()
}

/// A name that leads up, or is the folder of all names itself.
fn outside(path: &str) -> Option<String> {
    let leaves = path == "." || path.split('/').any(|part| part == "..");
    leaves.then(|| format!("{path} leads out of the script's own files"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> bool {
        refusal(&text.parse().expect("the line is an operation")).is_some()
    }

    #[test]
    fn pools_stay_small_however_the_number_is_written() {
        for text in
            ["set_nr 65", "set_nr 3 1G", "sysctl_nr \" +65\"", "sysctl_nr 0x41", "set_nr \"65 \"", "set_overcommit 17"]
        {
            assert!(refused(text), "{text}");
        }
        for text in ["set_nr 64", "set_nr 2 1G", "set_nr abc", "set_nr -1", "sysctl_nr 99999999999999999999999"] {
            assert!(!refused(text), "{text}");
        }
    }

    /// Registering without `wp` leaves the protection behind, and each try to compare such a script took the host a minute.
    #[test]
    fn a_write_that_never_returns_is_not_asked_for() {
        let refused = |lines: &[&str]| {
            let ops: Vec<Op> = lines.iter().map(|line| line.parse().expect("the line is an operation")).collect();
            script_refusal(&ops.iter().collect::<Vec<_>>()).is_some()
        };
        let (protect, leave) = ("a0 uffd_wp U A 0..2M wp", "a0 uffd_register U A 0..2M minor");
        assert!(refused(&[protect, leave, "a0 touch A p0 write"]));
        assert!(!refused(&[protect, leave, "a0 touch A p0", "a0 touch B p0 write"]));
        assert!(!refused(&[leave, protect, "a0 touch A p0 write"]));
    }

    #[test]
    fn nothing_outside_is_written_or_opened() {
        for text in [
            "write /proc/sys/kernel/panic 1",
            "write /sys/kernel/mm/hugepages/../ksm/run 1",
            "a0 open f M/../x creat,trunc",
            "unlink ../etc/passwd",
            "mount ..",
            "cg_rmdir a/../..",
            "mount .",
            "cg_rmdir .",
            "a0 fallocate f 9223372036854775806+1",
        ] {
            assert!(refused(text), "{text}");
        }
        for text in ["a0 open f M/x creat", "cg_create a/b", "mount M0", "a0 open f M/. tmpfile"] {
            assert!(!refused(text), "{text}");
        }
    }
}
