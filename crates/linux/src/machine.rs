//! The machine that a script wants, as far as this host can be one.

use lab::op::SizeName;
use lab::target::{ArchName, Header, MachineLine};

use crate::bounds;
use crate::host::HostNode;

/// The least memory of a node in a scenario that this host can stand for: pools of scripts fit into it.
const LEAST_MEMORY: u64 = 4 << 30;
/// The same for one of several nodes.
const LEAST_OF_SEVERAL: u64 = 512 << 20;

/// The pools that the machine of a header begins with: pages by size. Says why this host cannot be that machine.
pub(crate) fn boot(header: &Header, host: &[HostNode]) -> Result<Vec<(SizeName, i64)>, String> {
    let nodes = host.len();
    if !header.memory.is_empty() {
        return Err(
            "the scenario describes memory of its own, and the memory of a running kernel is as it is".to_owned()
        );
    }
    let wanted = header.machine.as_ref().map_or(1, |machine| machine.nodes.len().max(1));
    if wanted != nodes {
        return Err(format!("the host has {nodes} memory nodes, not {wanted}"));
    }
    let Some(machine) = &header.machine else { return Ok(Vec::new()) };
    if machine.arch != ArchName::X86_64 {
        return Err(format!("the host is no {}", machine.arch.word()));
    }
    if machine.groups != MachineLine::default().groups {
        return Err("live runs have control groups of version 2 alone".to_owned());
    }
    if machine.tails != MachineLine::default().tails {
        return Err("the host shares no tails of descriptors".to_owned());
    }
    if machine.behaviour != MachineLine::default().behaviour {
        return Err("the host does what its kernel does".to_owned());
    }
    differs(machine, host)?;
    let least = if nodes > 1 { LEAST_OF_SEVERAL } else { LEAST_MEMORY };
    if let Some(memory) = machine.nodes.iter().find(|memory| memory.unsigned() < least && memory.unsigned() > 0) {
        return Err(format!("the host has more memory than {memory}"));
    }
    let mut pools: Vec<(SizeName, i64)> = Vec::new();
    let mut size = None;
    for word in &machine.boot {
        match word.split_once('=') {
            Some(("hugepagesz", "2M")) => size = Some(SizeName::M2),
            Some(("hugepagesz", "1G")) => size = Some(SizeName::G1),
            Some(("hugepages", count)) => {
                let of = size.unwrap_or(SizeName::M2);
                let most = if of == SizeName::G1 { bounds::PAGES_1G } else { bounds::PAGES_2M };
                let count = count.parse::<u64>().ok().filter(|count| *count <= most);
                let count = count.ok_or_else(|| format!("the host does not boot with {word}"))?;
                if pools.iter().any(|(known, _)| *known == of) {
                    return Err(format!("{word} is a second word for the same pool, which only a boot can take"));
                }
                pools.push((of, i64::try_from(count).unwrap_or(0)));
            }
            _ => return Err(format!("the host was not booted with {word}")),
        }
    }
    Ok(pools)
}

/// Whether the nodes of the host are those of the machine: which have memory, which have processors, and how far they are apart.
fn differs(machine: &MachineLine, host: &[HostNode]) -> Result<(), String> {
    if machine.nodes.len() < 2 {
        return Ok(());
    }
    for (n, (node, memory)) in host.iter().zip(&machine.nodes).enumerate() {
        if (node.memory > 0) != (memory.unsigned() > 0) || (node.cpus > 0) != (machine.cpus_of(n) > 0) {
            return Err(format!(
                "node {n} of the host has {} bytes of memory and {} processors",
                node.memory, node.cpus
            ));
        }
        let wanted: Vec<u8> = (0..host.len()).map(|other| machine.distance(n, other)).collect();
        if node.distances != wanted {
            return Err(format!("the distances of node {n} of the host are {:?}", node.distances));
        }
    }
    Ok(())
}
