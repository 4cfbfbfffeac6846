//! Who allocated pages.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use policy::ZoneRef;
use units::{GfpFlags, Migratetype, Order, Pfn, ZoneKind};
use zone::Zone;

use crate::allocator::PageAllocator;
use crate::gfp;
use crate::zones::Zones;

/// Who runs, and for how long the machine has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runner {
    /// The thread.
    pub pid: u32,
    /// Its process.
    pub tgid: u32,
    /// Its name.
    pub comm: String,
    /// Nanoseconds since the machine started.
    pub ts_nsec: u64,
    /// Where in the code it is, one line for each call, the innermost first.
    pub stack: Vec<String>,
}

/// Why pages were moved.
#[doc(alias = "migrate_reason")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoveReason {
    /// To make larger blocks.
    Compaction,
    /// Their memory was taken out.
    Hotplug,
    /// A range of frames was asked for.
    Range,
}

impl MoveReason {
    /// As the kernel says it.
    #[doc(alias = "migrate_reason_names")]
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Compaction => "compaction",
            Self::Hotplug => "memory_hotplug",
            Self::Range => "contig_range",
        }
    }
}

/// One block that somebody asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its order.
    pub order: Order,
    /// What was wished.
    pub gfp: GfpFlags,
    /// Who asked for it.
    pub by: Runner,
    /// Why it was moved last.
    pub moved: Option<MoveReason>,
}

/// For each block in somebody's hands who asked for it. It costs nothing unless a [`crate::PageWatch`] has it.
#[doc(alias("page_owner", "page_ext"))]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageOwners {
    /// Who runs at the moment. Whoever drives the allocator says so before each request.
    pub runner: Runner,
    owners: BTreeMap<Pfn, Owner>,
}

impl PageOwners {
    /// Nobody has anything yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The blocks that somebody asked for, from the one on that `from` is in.
    pub fn blocks(&self, from: Pfn) -> impl Iterator<Item = (Pfn, &Owner)> {
        let first = self.of(from).map_or(from, |(pfn, _)| pfn);
        self.owners.range(first..).map(|(&pfn, owner)| (pfn, owner))
    }

    /// The block that a page is a part of.
    #[must_use]
    pub fn of(&self, page: Pfn) -> Option<(Pfn, &Owner)> {
        let (&pfn, owner) = self.owners.range(..=page).next_back()?;
        (page < pfn.offset(owner.order.pages())).then_some((pfn, owner))
    }

    /// Each place in the code that has blocks.
    #[doc(alias = "page_owner_stacks")]
    #[must_use]
    pub fn stacks(&self) -> Vec<StackCount> {
        let mut counts: BTreeMap<&[String], u64> = BTreeMap::new();
        self.owners.values().for_each(|owner| *counts.entry(&owner.by.stack).or_default() += 1);
        counts.into_iter().map(|(stack, blocks)| StackCount { stack: stack.to_vec(), blocks }).collect()
    }

    /// Somebody got a block.
    #[doc(alias = "__set_page_owner")]
    pub(crate) fn took(&mut self, pfn: Pfn, order: Order, gfp: GfpFlags) {
        self.gave(pfn, order);
        self.owners.insert(pfn, Owner { order, gfp, by: self.runner.clone(), moved: None });
    }

    /// Somebody gave a block back, or a part of one.
    #[doc(alias = "__reset_page_owner")]
    pub(crate) fn gave(&mut self, pfn: Pfn, order: Order) {
        let end = pfn.offset(order.pages());
        while let Some((whole, owner)) = self.of(pfn).filter(|(start, owner)| *start < pfn || owner.order > order) {
            let half = Order::new(owner.order.get() - 1);
            self.split(whole, owner.order, half);
        }
        let inside: Vec<Pfn> = self.owners.range(pfn..end).map(|(&start, _)| start).collect();
        inside.iter().for_each(|start| {
            self.owners.remove(start);
        });
    }

    /// A block became several.
    #[doc(alias = "__split_page_owner")]
    pub(crate) fn split(&mut self, pfn: Pfn, from: Order, to: Order) {
        let Some(owner) = self.owners.get(&pfn).filter(|owner| owner.order == from && to < from).cloned() else {
            return;
        };
        for n in 0..1u64 << (from.get() - to.get()) {
            let piece = Pfn::new(pfn.get() + (n << to.get()));
            self.owners.insert(piece, Owner { order: to, ..owner.clone() });
        }
    }

    /// A block was moved: who asked for the old one has the new one.
    #[doc(alias = "__folio_copy_owner")]
    pub(crate) fn moved(&mut self, from: Pfn, to: Pfn, order: Order, reason: MoveReason) {
        let owner = self.of(from).map(|(_, owner)| owner.clone());
        self.gave(from, order);
        self.gave(to, order);
        if let Some(owner) = owner {
            self.owners.insert(to, Owner { order, moved: Some(reason), ..owner });
        }
    }
}

/// A place in the code, and how many blocks it has.
#[doc(alias = "stack_print")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackCount {
    /// One line for each call, the innermost first.
    pub stack: Vec<String>,
    /// Blocks that were asked for there and are in use.
    pub blocks: u64,
}

impl fmt::Display for StackCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stack.iter().try_for_each(|line| writeln!(f, " {line}"))?;
        writeln!(f, "stack_count: {}\n", self.blocks)
    }
}

/// One block as the file of page owners shows it.
#[doc(alias = "print_page_owner")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedBlock {
    /// Its first frame.
    pub pfn: Pfn,
    /// Who asked for it.
    pub owner: Owner,
    /// Where it is.
    pub zone: ZoneRef,
    /// Which pageblock, counted from frame 0.
    pub pageblock: u64,
    /// The type of that.
    pub migratetype: Migratetype,
}

impl OwnedBlock {
    /// What it was asked for as. Where its pageblock is of another type, it is in the way of others there.
    #[must_use]
    pub fn asked_as(&self) -> Migratetype {
        type_of(&self.owner)
    }
}

fn type_of(owner: &Owner) -> Migratetype {
    gfp::migratetype(owner.gfp).unwrap_or(Migratetype::Unmovable)
}

impl fmt::Display for OwnedBlock {
    /// The record of the kernel's file, but for flags of the page: of these only node and zone are known.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Owner { order, gfp, by, moved } = &self.owner;
        let Runner { pid, tgid, comm, ts_nsec, stack } = by;
        writeln!(
            f,
            "Page allocated via order {}, mask {:#x}({gfp}), pid {pid}, tgid {tgid} ({comm}), ts {ts_nsec} ns",
            order.get(),
            gfp.bits()
        )?;
        writeln!(
            f,
            "PFN {:#x} type {} Block {} type {} Flags 0x0(node={}|zone={})",
            self.pfn.get(),
            self.asked_as(),
            self.pageblock,
            self.migratetype,
            self.zone.node.get(),
            number_of(self.zone.kind)
        )?;
        stack.iter().try_for_each(|line| writeln!(f, " {line}"))?;
        if let Some(reason) = moved {
            writeln!(f, "Page has been migrated, last migrate reason: {}", reason.name())?;
        }
        writeln!(f)
    }
}

impl PageAllocator {
    /// Every block that somebody asked for, from the one on that `from` is in; none where nobody watches owners.
    #[doc(alias = "read_page_owner")]
    #[must_use]
    pub fn owned_blocks(&self, from: Pfn) -> Vec<OwnedBlock> {
        let owners = self.watch.as_ref().and_then(|watch| watch.owners());
        let pageblock = self.rules().pageblock.get();
        let shown = |(pfn, owner): (Pfn, &Owner)| {
            let zone = self.zone_of(pfn)?;
            Some(OwnedBlock {
                pfn,
                owner: owner.clone(),
                zone: ZoneRef { node: zone.node(), kind: zone.layout().kind },
                pageblock: pfn.get() >> pageblock,
                migratetype: zone.migratetype(pfn),
            })
        };
        owners.into_iter().flat_map(|owners| owners.blocks(from)).filter_map(shown).collect()
    }

    /// Who asked for the block that a page is a part of; nothing where nobody watches owners.
    #[must_use]
    pub fn owner_of(&self, page: Pfn) -> Option<&Owner> {
        self.watch.as_ref()?.owners()?.of(page).map(|(_, owner)| owner)
    }

    /// The zone that a frame is in.
    fn zone_of(&self, pfn: Pfn) -> Option<&Zone> {
        let has = |zone: &&Zone| zone.layout().spans.iter().any(|&(start, end)| start <= pfn && pfn < end);
        self.slots().map(|slot| &slot.zone).find(has)
    }

    /// Of each type, how many pageblocks of a zone have a block that was asked for as another type. Processors keep nothing of the zone
    /// afterwards.
    #[doc(alias = "pagetypeinfo_showmixedcount")]
    pub fn mixed_pageblocks(&mut self, zone: ZoneRef) -> [u64; Migratetype::COUNT] {
        self.drain_all(zone);
        let mut mixed: BTreeSet<(u64, Migratetype)> = BTreeSet::new();
        let size = self.rules().pageblock.pages().get();
        for block in self.owned_blocks(Pfn::new(0)) {
            let end = block.pfn.offset(block.owner.order.pages()).get();
            for first in (block.pfn.get() / size * size..end).step_by(usize::try_from(size).unwrap_or(usize::MAX)) {
                let kind = self.zone(zone).map_or(block.migratetype, |zone| zone.migratetype(Pfn::new(first)));
                if block.zone == zone && kind != block.asked_as() {
                    mixed.insert((first, kind));
                }
            }
        }
        let mut counts = [0; Migratetype::COUNT];
        mixed.into_iter().for_each(|(_, kind)| counts[kind.index()] += 1);
        counts
    }
}

/// The number of a zone in a kernel of 64 bits, which has no high memory.
const fn number_of(kind: ZoneKind) -> u8 {
    match kind {
        ZoneKind::Dma => 0,
        ZoneKind::Dma32 => 1,
        ZoneKind::Normal => 2,
        ZoneKind::HighMem | ZoneKind::Movable => 3,
        ZoneKind::Device => 4,
    }
}
