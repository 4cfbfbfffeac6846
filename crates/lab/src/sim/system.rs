//! Pools, knobs, ordinary pages, memory that comes, goes and breaks, and attempts that fail.

use hugefolio::Machine;

use super::draw::Draw;
use crate::op::Op;

/// Where an attempt can fail.
const SITES: [&str; 9] = [
    "region-descriptor",
    "table-page",
    "cache-node",
    "vmemmap-page",
    "charge",
    "memory-charge",
    "frame",
    "raw-poison",
    "attributes",
];

impl Draw {
    pub(super) fn knob(&mut self, machine: &Machine) -> String {
        let sizes = Self::sizes(machine);
        let size = *self.random.of(&sizes);
        // Large ones are few.
        let most = if size >= 1 << 30 { 2 } else { 40 };
        let count = self.random.below(most + 1);
        let folder = format!("/sys/kernel/mm/hugepages/hugepages-{}kB", size / 1024);
        let node = self.random.below(self.nodes);
        let of_node = format!("/sys/devices/system/node/node{node}/hugepages/hugepages-{}kB", size / 1024);
        match self.random.below(26) {
            0..5 => format!("echo {count} > {folder}/nr_hugepages"),
            5..8 => format!("echo {count} > {of_node}/nr_hugepages"),
            8..11 => format!("echo {} > {folder}/nr_overcommit_hugepages", self.random.below(8)),
            11..15 => format!("echo {} > {folder}/demote", self.random.between(1, 3)),
            15 => format!("echo {} > {of_node}/demote", self.random.between(1, 3)),
            16 => {
                let smaller = *self.random.of(&sizes);
                format!("echo {}kB > {folder}/demote_size", smaller / 1024)
            }
            17..19 => format!("echo {} > /proc/sys/vm/hugetlb_optimize_vmemmap", self.random.below(2)),
            19..22 => "quiesce".to_owned(),
            22 => {
                format!("echo {} > /proc/sys/vm/min_free_kbytes", self.random.of(&[128, 512, 1024, 2048, 8192]))
            }
            23 => format!("echo {} > /proc/sys/vm/watermark_scale_factor", self.random.of(&[1, 10, 100, 1000])),
            24 => format!("echo {} > /proc/sys/vm/percpu_pagelist_high_fraction", self.random.of(&[0, 8, 50])),
            _ => format!(
                "write /proc/sys/vm/lowmem_reserve_ratio \"{}\"",
                self.random.of(&["256 256 32 0 0", "1 1 1 1 1", "9"])
            ),
        }
    }

    pub(super) fn page(&mut self, machine: &Machine) -> Option<String> {
        let zones: Vec<_> = machine
            .pages()
            .zones()
            .flat_map(|(zone, _)| zone.layout().spans.iter().map(move |&(start, end)| (zone, start.get(), end.get())))
            .filter(|(_, start, end)| end > start)
            .collect();
        let (zone, start, end) = self.random.any(zones)?;
        let at = format!("{}:{}", zone.node().get(), zone.layout().kind.name());
        let block = zone.layout().pageblock.pages().get();
        Some(match self.random.below(30) {
            0..9 => self.take_page(),
            9..16 => {
                let held: Vec<String> = self.blocks.iter().cloned().collect();
                format!("free_pages {}", self.random.any(held)?)
            }
            16..18 => "drain_pages".to_owned(),
            18 => format!("on_cpu {}", self.random.below(4)),
            19..21 => format!("compact {}", self.random.below(self.nodes)),
            21..25 => {
                let order = *self.random.of(&[0, 2, 5, 9, 9, 10, 12]);
                let frames = 1u64 << order;
                let places = u32::try_from((end - start) / frames).unwrap_or(u32::MAX).max(1);
                let first = (start / frames + u64::from(self.random.below(places))) * frames;
                format!("alloc_contig B{} {at} {first}..{}", self.random.below(12), first + frames)
            }
            25..28 => {
                let blocks = u32::try_from((end - start) / block).unwrap_or(u32::MAX).max(1);
                let first = start / block + u64::from(self.random.below(blocks));
                let count = *self.random.of(&[1, 1, 2, 8, 64]);
                format!("offline {at} {}..{}", first * block, (first + count) * block)
            }
            _ => self.random.any(self.gone.clone())?,
        })
    }

    fn take_page(&mut self) -> String {
        let name = self.random.below(12);
        let order = *self.random.of(&[0, 0, 0, 1, 2, 3, 5, 8, 9, 9, 10]);
        let gfp = *self.random.of(&[
            "GFP_KERNEL",
            "GFP_KERNEL",
            "GFP_HIGHUSER_MOVABLE",
            "GFP_HIGHUSER_MOVABLE",
            "GFP_ATOMIC",
            "GFP_DMA32",
        ]);
        let node =
            if self.random.percent(40) { format!(" node={}", self.random.below(self.nodes)) } else { String::new() };
        format!("alloc_pages B{name} {gfp} order={order}{node}")
    }

    /// Memory of an ordinary mapping breaks, or is taken out of use.
    pub(super) fn broken(&mut self) -> Option<String> {
        let actor = self.actor()?;
        let how = *self.random.of(&["hwpoison", "soft_offline", "soft_offline"]);
        let first = self.random.below(3);
        let offset = *self.random.of(&[0, 4096, 1 << 20]);
        let at = u64::from(first) * (2 << 20) + offset;
        Some(format!("a{actor} {how} m{} {at}..{}", self.random.below(6), at + 4096))
    }

    pub(super) fn failure(&mut self) -> String {
        let after = *self.random.of(&[0, 0, 0, 1, 1, 2, 3, 5, 8]);
        let after = if after == 0 { String::new() } else { format!(" after={after}") };
        format!("fail_next {}{after}", self.random.of(&SITES))
    }

    pub(super) fn observe_pages(&mut self, op: &Op) {
        match op {
            Op::AllocPages(call) => _ = self.blocks.insert(call.block.as_str().to_owned()),
            Op::AllocContig(call) => _ = self.blocks.insert(call.block.as_str().to_owned()),
            Op::FreePages(call) => _ = self.blocks.remove(call.block.as_str()),
            Op::Offline(call) => {
                self.gone.push(format!(
                    "online {}:{} {}..{}",
                    call.at.node,
                    call.at.kind.name(),
                    call.frames.first,
                    call.frames.end
                ));
            }
            Op::Online(_) => {
                let line = op.to_string();
                self.gone.retain(|gone| *gone != line);
            }
            _ => {}
        }
    }
}
