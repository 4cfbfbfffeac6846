//! The pools of the host: their counters and their knobs.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use lab::op::{SizeName, Written};
use lab::target::{Counters, NodeCounters, NodeSizes, PoolCounters};
use rustix::io::Errno;

use crate::errno;
use crate::host::{self, nodes, number};
use crate::sys::process::pause;

/// How often a grow that comes short is tried again: a block of memory may be busy for a moment.
const MOST_TRIES: usize = 4;
/// How long to wait before.
const PAUSE: Duration = Duration::from_millis(10);

/// The folder's name of a pool.
fn folder(size: SizeName) -> String {
    let log = size.log2().unwrap_or(21);
    let kilobytes = 1u64.checked_shl(u32::from(log.saturating_sub(10))).unwrap_or(0);
    format!("hugepages-{kilobytes}kB")
}

pub(crate) fn file(size: SizeName, name: &str) -> PathBuf {
    PathBuf::from(format!("/sys/kernel/mm/hugepages/{}/{name}", folder(size)))
}

fn node_file(size: SizeName, node: u32, name: &str) -> PathBuf {
    PathBuf::from(format!("/sys/devices/system/node/node{node}/hugepages/{}/{name}", folder(size)))
}

fn pool(size: SizeName) -> PoolCounters {
    let read = |name: &str| number(file(size, name)).unwrap_or(0);
    PoolCounters {
        nr: read("nr_hugepages"),
        free: read("free_hugepages"),
        resv: read("resv_hugepages"),
        surplus: read("surplus_hugepages"),
    }
}

fn of_node(size: SizeName, node: u32) -> NodeCounters {
    let read = |name: &str| number(node_file(size, node, name)).unwrap_or(0);
    NodeCounters { nr: read("nr_hugepages"), free: read("free_hugepages"), surplus: read("surplus_hugepages") }
}

/// The counters of the pools alone.
pub(crate) fn counters() -> Counters {
    let (m2, g1) = (SizeName::M2, SizeName::G1);
    let mut counters = Counters { m2: pool(m2), g1: pool(g1), ..Counters::default() };
    (counters.node0_m2, counters.node0_g1) = (of_node(m2, 0), of_node(g1, 0));
    for node in nodes().into_iter().filter(|node| *node != 0) {
        counters.nodes.push(node.to_string(), NodeSizes { m2: of_node(m2, node), g1: of_node(g1, node) });
    }
    counters
}

/// What of the pools is in use or left over; `None` if nothing is.
pub(crate) fn in_use() -> Option<String> {
    let of = |name: &str, pool: PoolCounters| {
        let busy = pool.nr != pool.free || pool.resv != 0 || pool.surplus != 0;
        busy.then(|| format!("{name} nr={} free={} resv={} surplus={}", pool.nr, pool.free, pool.resv, pool.surplus))
    };
    let Counters { m2, g1, .. } = counters();
    of("2M", m2).or_else(|| of("1G", g1))
}

/// Whether the pools are empty and every counter is 0.
pub(crate) fn are_empty() -> bool {
    counters().fields().iter().all(|(_, value)| *value == 0)
}

fn written(path: PathBuf, text: &str) -> Result<(), Errno> {
    host::write(path, text).map_err(|error: io::Error| errno::of(&error))
}

/// Sets the number of persistent pages. A grow that comes short is tried again: the memory is there, only not at once.
pub(crate) fn set_nr(size: SizeName, node: Option<u32>, value: &Written) -> Result<(), Errno> {
    let path = match node {
        Some(node) => node_file(size, node, "nr_hugepages"),
        None => file(size, "nr_hugepages"),
    };
    written(path.clone(), &value.bytes())?;
    if let Written::Number(wanted) = *value {
        for _ in 0..MOST_TRIES {
            if number(&path).is_none_or(|nr| nr >= wanted) {
                break;
            }
            // Without it the next try may come short again; that is all.
            let _ = host::write("/proc/sys/vm/compact_memory", "1");
            pause(PAUSE);
            written(path.clone(), &value.bytes())?;
        }
    }
    Ok(())
}

/// Sets the most surplus pages.
pub(crate) fn set_overcommit(size: SizeName, value: &str) -> Result<(), Errno> {
    written(file(size, "nr_overcommit_hugepages"), value)
}

/// Writes another knob of a pool.
pub(crate) fn set(size: SizeName, name: &str, value: &str) -> Result<(), Errno> {
    written(file(size, name), value)
}

/// Which node comes first when pages are spread depends on what was done before. Writes to one node leave it there.
pub(crate) fn begin_at_first_node() {
    for size in [SizeName::M2, SizeName::G1] {
        for count in ["1", "0"] {
            // Where there is no such pool, or no page for it, there is nothing to spread.
            let _ = written(node_file(size, 0, "nr_hugepages"), count);
        }
    }
}

/// Empties the pools as far as they are not used.
pub(crate) fn empty() {
    let zero = |size| {
        // What this cannot reach is seen in the counters after it.
        let _ = set_overcommit(size, "0");
        let _ = set(size, "nr_hugepages", "0");
        let pool = pool(size);
        if pool.resv == 0 && pool.nr > 0 {
            // Free surplus pages leave when they have become persistent.
            let _ = set(size, "nr_hugepages", &pool.nr.to_string());
            let _ = set(size, "nr_hugepages", "0");
        }
    };
    zero(SizeName::M2);
    zero(SizeName::G1);
    let _ = host::write("/proc/sys/vm/hugetlb_optimize_vmemmap", "0");
    let _ = host::write("/proc/sys/vm/hugetlb_shm_group", "0");
}
