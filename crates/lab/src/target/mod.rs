//! What runs operations: the instance, the recorded kernel, the running kernel.

mod answer;
mod counters;
mod record;
mod recorded;

use hugefolio::{Behaviour, GroupVersion, TailLife};

pub use hugefolio::MemoryAccounting;

pub use answer::{Answer, Extras, Refusal, StepResult};
pub use counters::{
    CgroupCounters, CgroupSizes, Counters, Difference, FsCounters, MemoryCounters, NodeCounters, NodeSizes, Ordered,
    PoolCounters, diff_fields,
};
pub use record::{RecordError, record};
pub use recorded::{Recorded, RecordedLine};

use crate::input::Problem;
use crate::op::{Op, Size, SizeName};
use crate::scenario::{GuestQuery, Known, MemoryLine, PieceQuery, TablesQuery, ZoneQuery};

/// The architecture of a machine, with its base page size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ArchName {
    /// x86-64.
    #[default]
    X86_64,
    /// arm64 with base pages of 4 KiB.
    Arm64,
    /// arm64 with base pages of 16 KiB.
    Arm64Base16K,
    /// arm64 with base pages of 64 KiB.
    Arm64Base64K,
}

impl ArchName {
    /// Every architecture with its word.
    pub const ALL: [(&'static str, ArchName); 4] = [
        ("x86-64", ArchName::X86_64),
        ("arm64", ArchName::Arm64),
        ("arm64-16K", ArchName::Arm64Base16K),
        ("arm64-64K", ArchName::Arm64Base64K),
    ];

    /// Its word.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(_, arch)| *arch == self).map_or("", |(word, _)| *word)
    }

    /// Its default huge page size: what one table of the lowest level maps.
    pub const fn default_size(self) -> SizeName {
        match self {
            ArchName::X86_64 | ArchName::Arm64 => SizeName::M2,
            ArchName::Arm64Base16K => SizeName::Log(25),
            ArchName::Arm64Base64K => SizeName::Log(29),
        }
    }
}

/// The machine that a scenario wants, in kernel boot syntax.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MachineLine {
    /// Its architecture.
    pub arch: ArchName,
    /// The memory of each node, node 0 first.
    pub nodes: Vec<Size>,
    /// Nodes that have not one processor, and how many they have.
    pub cpus: Vec<(u8, u32)>,
    /// Distances of two nodes that are not 20.
    pub distances: Vec<(u8, u8, u8)>,
    /// Which interface its control groups have.
    pub groups: GroupVersion,
    /// Whether its memory controller accounts huge pages.
    pub memory: MemoryAccounting,
    /// What becomes of shared tails of descriptors that nobody reads.
    pub tails: TailLife,
    /// Which way it takes where kernels did differently.
    pub behaviour: Behaviour,
    /// The kernel's boot parameters, such as `hugepagesz=2M`, in order.
    pub boot: Vec<String>,
}

impl MachineLine {
    /// How many processors a node has.
    pub fn cpus_of(&self, node: usize) -> u32 {
        self.cpus.iter().find(|(of, _)| usize::from(*of) == node).map_or(1, |&(_, cpus)| cpus)
    }

    /// How far one node is from another.
    pub fn distance(&self, a: usize, b: usize) -> u8 {
        let between = |&&(x, y, _): &&(u8, u8, u8)| {
            let (x, y) = (usize::from(x), usize::from(y));
            (x, y) == (a, b) || (x, y) == (b, a)
        };
        let usual = if a == b { 10 } else { 20 };
        self.distances.iter().rev().find(between).map_or(usual, |&(_, _, distance)| distance)
    }
}

/// What stands before the first operation of a script or scenario.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Header {
    /// The script's name.
    pub script: String,
    /// What it shows.
    pub desc: String,
    /// The seed of a random script.
    pub seed: Option<u64>,
    /// The profile of a random script.
    pub profile: Option<String>,
    /// The machine; without one, that of the recordings: one node of 24 GiB, pools of 2 MiB (the default) and 1 GiB pages.
    pub machine: Option<MachineLine>,
    /// Memory of its own, as it stands, with the numbers of the lines.
    pub memory: Vec<(usize, MemoryLine)>,
}

/// Why a target cannot begin a script.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BeginError {
    /// The target cannot be such a machine.
    #[error("the machine cannot be built: {0}")]
    Machine(String),
    /// The recording cannot be used.
    #[error("{0}")]
    Recording(Problem),
    /// The running system is not in the state in which scripts begin.
    #[error("{0}")]
    Host(String),
}

/// Something that runs operations.
pub trait Target {
    /// What it is called in reports.
    fn name(&self) -> &str;

    /// Starts a script on a fresh machine.
    ///
    /// # Errors
    /// The target cannot be the machine of the header, or has no recording of the script.
    fn begin(&mut self, header: &Header) -> Result<(), BeginError>;

    /// Runs one operation to its end.
    fn step(&mut self, op: &Op) -> Answer;

    /// The counters as they are now.
    fn counters(&mut self) -> Counters;

    /// The text of a file of /proc, /sys or a control group, if the target has it.
    fn read_file(&mut self, path: &str) -> Option<String> {
        let _ = path;
        None
    }

    /// What is known of a file of guest memory; nothing where there is none, or no such page.
    fn ask_guest(&mut self, query: &GuestQuery) -> Option<Known> {
        let _ = query;
        None
    }

    /// What a process has at an address of a mapping; nothing where there is no mapping.
    fn ask_piece(&mut self, query: &PieceQuery) -> Option<Known> {
        let _ = query;
        None
    }

    /// Something of page tables by themselves.
    fn ask_tables(&mut self, query: &TablesQuery) -> Option<Known> {
        let _ = query;
        None
    }

    /// Something of a zone that the scenario describes, if the target has it.
    fn ask_zone(&mut self, query: &ZoneQuery) -> Option<Known> {
        let _ = query;
        None
    }

    /// How many pages are shared tails of descriptors, if the target knows such.
    fn shared_tails(&mut self) -> Option<u64> {
        None
    }

    /// Why no step after this one means anything, if something outside the operations put an end to them.
    fn out_of_order(&self) -> Option<String> {
        None
    }

    /// Ends the script as the recordings do, and answers the counters after it: the processes exit by ascending number,
    /// the segments are removed, the mounts are unmounted in their order; control groups stay.
    fn end(&mut self) -> Counters;
}
