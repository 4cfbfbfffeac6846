//! `hugefolio conform --live zoneinfo`: the arithmetic of free pages beside what the running kernel printed. It only reads.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};

use hugefolio::text::Zoneinfo;
use hugefolio::{NodeId, PageShift};
use lab::zoneinfo::{Host, Knobs, check_zoneinfo};
use serde_json::json;

use crate::output::{Output, Status};

const ZONEINFO: &str = "/proc/zoneinfo";
const KNOBS: &str = "/proc/sys/vm";
const NODES: &str = "/sys/devices/system/node";

/// Compares every line that is computed.
pub(crate) fn live(output: &mut Output) -> io::Result<Status> {
    let (zoneinfo, knobs, host) = match ask() {
        Ok(asked) => asked,
        Err(fault) => return output.fault(&fault),
    };
    let check = check_zoneinfo(&zoneinfo, &knobs, &host);
    if output.is_json() {
        for difference in &check.differences {
            output.object(&json!({ "difference": difference.to_string() }))?;
        }
        let grown = check.grown.as_ref().map(|grown| {
            json!({
                "node": grown.node.get(),
                "zone": grown.zone.name(),
                "now": grown.now.get(),
                "then": [grown.then.start().get(), grown.then.end().get()],
            })
        });
        let ok = check.differences.is_empty();
        output.object(&json!({ "lines": check.lines, "differ": check.differences.len(), "grown": grown, "ok": ok }))?;
    } else {
        write!(output.stream(), "{check}")?;
    }
    Ok(if check.differences.is_empty() { Status::Passed } else { Status::Failed })
}

/// The knobs come first: reading the ratios brings the protections up to date.
fn ask() -> Result<(Zoneinfo, Knobs, Host), String> {
    let mut sysctl = String::new();
    for knob in Knobs::NAMES {
        let value = read(&format!("{KNOBS}/{knob}"))?;
        sysctl.push_str(&format!("{knob} = {}\n", value.trim_end()));
    }
    let knobs = sysctl.parse().map_err(|error| format!("{KNOBS}: {error}"))?;
    let zoneinfo = read(ZONEINFO)?.parse().map_err(|error| format!("{ZONEINFO}: {error}"))?;
    Ok((zoneinfo, knobs, Host { shift: page_shift()?, cpus: cpus()? }))
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
}

fn page_shift() -> Result<PageShift, String> {
    const SMAPS: &str = "/proc/self/smaps";
    let text = read(SMAPS)?;
    let size = text.lines().find_map(|line| line.strip_prefix("KernelPageSize:")).map(str::trim);
    match size {
        Some("4 kB") => Ok(PageShift::K4),
        Some("16 kB") => Ok(PageShift::K16),
        Some("64 kB") => Ok(PageShift::K64),
        _ => Err(format!("{SMAPS}: the size of a page is none of 4, 16 and 64 kB")),
    }
}

/// The processors of each node, from lists such as `0-3,8`.
fn cpus() -> Result<BTreeMap<NodeId, u32>, String> {
    let mut nodes = BTreeMap::new();
    for entry in fs::read_dir(NODES).map_err(|error| format!("{NODES}: {error}"))? {
        let name = entry.map_err(|error| format!("{NODES}: {error}"))?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("node")).and_then(|n| n.parse().ok());
        let Some(node) = number else { continue };
        let path = format!("{NODES}/node{node}/cpulist");
        let list = read(&path)?;
        let count = count(list.trim()).ok_or_else(|| format!("{path}: `{}` is no list of processors", list.trim()))?;
        nodes.insert(NodeId::new(node), count);
    }
    Ok(nodes)
}

fn count(list: &str) -> Option<u32> {
    let ranges = list.split(',').filter(|range| !range.is_empty());
    ranges
        .map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
            last.checked_sub(first)?.checked_add(1)
        })
        .try_fold(0u32, |sum, n| sum.checked_add(n?))
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn lists_of_processors() {
        assert_eq!(["", "0", "0-3", "0-3,8,10-11"].map(count), [Some(0), Some(1), Some(4), Some(7)]);
        assert_eq!(["x", "3-0", "0-4294967295", "1-2-3"].map(count), [None; 4]);
    }
}
