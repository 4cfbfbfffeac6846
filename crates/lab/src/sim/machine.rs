//! Machines of all kinds.

use hugefolio::{GroupVersion, MemoryAccounting, TailLife};

use crate::generate::random::Random;
use crate::op::Size;
use crate::target::{ArchName, MachineLine};

const fn mib(n: i64) -> Size {
    Size::bytes(n << 20)
}

/// A machine of one to four nodes, small as a rule, with any of the boot parameters.
pub(super) fn draw(random: &mut Random) -> MachineLine {
    let mut machine = MachineLine::default();
    (machine.groups, machine.memory) = *random.of(&[
        (GroupVersion::V2, MemoryAccounting::Off),
        (GroupVersion::V2, MemoryAccounting::Off),
        (GroupVersion::V2, MemoryAccounting::HugePages),
        (GroupVersion::V1, MemoryAccounting::Off),
    ]);
    machine.tails = if random.percent(20) { TailLife::Kept } else { TailLife::Counted };
    let nodes = *random.of(&[1, 1, 1, 2, 2, 3, 4]);
    // Pages of 1 GiB need room.
    let large = random.percent(25);
    let sizes: &[i64] = if large { &[2048, 3072, 4096] } else { &[64, 128, 256, 512, 1024] };
    machine.nodes = (0..nodes).map(|_| mib(*random.of(sizes))).collect();
    if nodes > 1 && random.percent(20) {
        machine.nodes[nodes - 1] = mib(0);
    } else if nodes > 1 && random.percent(20) {
        machine.cpus.push((u8::try_from(nodes - 1).unwrap_or(0), 0));
    } else if random.percent(30) {
        machine.cpus.push((0, random.between(2, 4)));
    }
    if nodes > 2 {
        machine.distances.extend([(0, 1, 21), (0, 2, 30), (1, 2, 15)]);
    }
    machine.arch = *random.of(&[ArchName::X86_64, ArchName::X86_64, ArchName::X86_64, ArchName::Arm64]);
    if random.percent(10) {
        machine.arch = *random.of(&[ArchName::Arm64Base16K, ArchName::Arm64Base64K]);
        machine.boot.push("default_hugepagesz=2M".to_owned());
    }
    machine.boot.extend(boot(random, nodes, large));
    machine
}

fn boot(random: &mut Random, nodes: usize, large: bool) -> Vec<String> {
    let mut words = Vec::new();
    if random.percent(50) {
        words.push(format!("hugetlb_free_vmemmap={}", random.of(&["on", "on", "on", "off"])));
    }
    if random.percent(20) {
        let word = *random.of(&["kernelcore", "movablecore"]);
        words.push(format!("{word}={}", random.of(&["32M", "64M", "50%", "256M", "mirror"])));
    }
    if large && random.percent(40) {
        words.push("hugetlb_cma=1G".to_owned());
        if random.percent(40) {
            words.push("hugetlb_cma_only=1".to_owned());
        }
    }
    if large && random.percent(60) {
        words.push(format!("hugepagesz=1G hugepages={}", random.between(0, 2)));
    }
    if random.percent(70) {
        let count = |random: &mut Random| *random.of(&[0, 1, 2, 3, 4, 8, 12, 20, 40]);
        let each = nodes > 1 && random.percent(40);
        let counts = if each {
            let of = |n| format!("{n}:{}", count(random));
            (0..nodes).map(of).collect::<Vec<_>>().join(",")
        } else {
            count(random).to_string()
        };
        words.push(format!("hugepagesz=2M hugepages={counts}"));
    }
    // Two parameters that belong together are one word here, and two there.
    words.iter().flat_map(|word| word.split(' ')).map(str::to_owned).collect()
}
