//! What holds for all requests of an instance.

use units::{GfpFlags, Order};
use zone::Grouping;

/// What was chosen when the kernel was built, at boot, or by a knob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The largest order that a request can have.
    pub largest: Order,
    /// The order of a pageblock.
    pub pageblock: Order,
    /// The order of a section: memory comes and goes up to the end of one.
    #[doc(alias = "PFN_SECTION_SHIFT")]
    pub section: Order,
    /// Wishes that are granted now: at boot nobody can wait.
    #[doc(alias = "gfp_allowed_mask")]
    pub granted: GfpFlags,
    /// Is there any cpuset beside the one of all?
    #[doc(alias = "cpusets_enabled")]
    pub cpusets: Cpusets,
    /// Are pages grouped by what they can do?
    pub grouping: Grouping,
    /// Can pages be moved to make room for a block?
    pub compaction: Compactor,
    /// Are whole pageblocks kept at all costs?
    pub defrag: Defrag,
    /// Could a process be killed to free memory?
    pub killer: Killer,
    /// Do requests look whether a near node could free something before they leave it?
    #[doc(alias = "node_reclaim_mode")]
    pub near_reclaim: NearReclaimMode,
    /// When an urgent block enlarges the reserve.
    pub reserve: ReserveAfter,
    /// What a series of pages must leave free.
    pub bulk_mark: BulkMark,
    /// Does everybody see at once what is free?
    pub counters: Counters,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            largest: Order::new(10),
            pageblock: Order::new(9),
            section: Order::new(15),
            granted: GfpFlags::all(),
            cpusets: Cpusets::default(),
            grouping: Grouping::default(),
            compaction: Compactor::default(),
            defrag: Defrag::default(),
            killer: Killer::default(),
            near_reclaim: NearReclaimMode::default(),
            reserve: ReserveAfter::default(),
            bulk_mark: BulkMark::default(),
            counters: Counters::default(),
        }
    }
}

/// Whether tasks may be confined to nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cpusets {
    /// Nobody asks what a task's cpuset allows.
    #[default]
    Off,
    /// Everybody does.
    On,
    /// And at least one allows no zone that its tasks' requests could use.
    #[doc(alias = "cpusets_insane_config")]
    Insane,
}

/// Whether there is compaction.
#[doc(alias = "CONFIG_COMPACTION")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compactor {
    /// There is.
    #[default]
    Built,
    /// There is not.
    Absent,
}

/// Whether mixing pageblocks is the last resort.
#[doc(alias = "defrag_mode")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Defrag {
    /// It happens as soon as no zone of the node has a block of the right type.
    #[default]
    Off,
    /// Reclaim and compaction go first, for whoever can wait.
    On,
}

/// Whether processes can be killed for memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Killer {
    /// They can.
    #[default]
    Works,
    /// Not while devices are suspended, as the victim could not be written away.
    #[doc(alias = "pm_suspended_storage")]
    Suspended,
}

/// When a block handed to an urgent request enlarges the reserve.
#[doc(alias = "reserve_highatomic_pageblock")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReserveAfter {
    /// Always.
    #[default]
    EveryBlock,
    /// Only if it came from the zone. One from a processor's lists says nothing of how hard blocks are to be had. Linux does so since
    /// 2026.
    BlocksOfTheZone,
}

/// What a series of pages must leave free above the low mark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BulkMark {
    /// As many pages as were asked for, whether or not some of them are there already.
    #[default]
    Asked,
    /// As many as are still to come.
    Left,
}

/// Whether counters of free pages are exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Counters {
    /// They are.
    #[default]
    Exact,
    /// Each processor hands in what it took and gave once it is much, so they may be off by that: see [`crate::Drift`].
    #[doc(alias = "vm_stat_diff")]
    ByProcessor,
}

/// Whether nodes reclaim their own pages before requests leave them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NearReclaimMode {
    /// Requests go on to the next zone.
    #[default]
    Off,
    /// They look whether a near node could free something.
    On,
}
