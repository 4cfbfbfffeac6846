//! The nodes of a machine line: `node=896M,cpus=0`, `node=0`, `distances=0-1:21,0-2:17`.

use std::fmt;

use crate::op::{Size, Value};
use crate::target::MachineLine;

/// What is wrong with a word about nodes, and what to write instead.
pub(super) type BadNode = (String, &'static str);

/// No machine has more nodes.
const MOST: usize = 64;

/// Takes the memory of the next node, and its processors if it has not one.
pub(super) fn node(machine: &mut MachineLine, text: &str) -> Result<(), BadNode> {
    let (memory, cpus) = text.split_once(',').unwrap_or((text, "cpus=1"));
    let size = <Size as Value>::from_text(memory).ok().filter(|size| size.signed() >= 0);
    let bad = || (format!("`{text}` is not the memory of a node"), "write a size, such as node=24G or node=1G,cpus=0");
    let cpus = cpus.strip_prefix("cpus=").and_then(|cpus| cpus.parse::<u32>().ok()).filter(|&cpus| cpus <= 1024);
    let (size, cpus) = size.zip(cpus).ok_or_else(bad)?;
    let number = u8::try_from(machine.nodes.len()).ok().filter(|&n| usize::from(n) < MOST);
    let number = number.ok_or_else(|| (format!("{MOST} nodes are the most"), "leave some out"))?;
    machine.nodes.push(size);
    if cpus != 1 {
        machine.cpus.push((number, cpus));
    }
    Ok(())
}

/// Takes distances, both ways; those left out are 20.
pub(super) fn distances(machine: &mut MachineLine, text: &str) -> Result<(), BadNode> {
    let one = |part: &str| {
        let (pair, distance) = part.split_once(':')?;
        let (a, b) = pair.split_once('-')?;
        let number = |text: &str| text.parse::<u8>().ok().filter(|&n| usize::from(n) < MOST);
        let (a, b) = (number(a)?, number(b)?);
        let distance = distance.parse::<u8>().ok().filter(|&distance| distance > 10 && a != b)?;
        Some((a, b, distance))
    };
    for part in text.split(',') {
        let bad = || (format!("`{part}` is no distance of two nodes"), "write more than 10, such as distances=0-1:21");
        machine.distances.push(one(part).ok_or_else(bad)?);
    }
    Ok(())
}

/// The words that read back as these nodes.
pub(super) fn print(machine: &MachineLine, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (n, size) in machine.nodes.iter().enumerate() {
        write!(f, " node={size}")?;
        if let Some((_, cpus)) = machine.cpus.iter().find(|(of, _)| usize::from(*of) == n) {
            write!(f, ",cpus={cpus}")?;
        }
    }
    for (n, (a, b, distance)) in machine.distances.iter().enumerate() {
        write!(f, "{}{a}-{b}:{distance}", if n == 0 { " distances=" } else { "," })?;
    }
    Ok(())
}
