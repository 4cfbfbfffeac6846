//! Who allocates.

use units::{GfpFlags, Nodemask};

/// What the task is that allocates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// Where it allocates.
    pub site: TaskSite,
    /// What it may have of the reserves.
    pub standing: Standing,
    /// Is it about to die?
    pub fate: Fate,
    /// What the code it runs in forbids its requests.
    pub scope: IoScope,
    /// Whether the pages will be pinned for long.
    pub pin: Pin,
    /// Nodes that its cpuset allows.
    #[doc(alias = "mems_allowed")]
    pub allowed: Nodemask,
    /// Nodes that its requests may spill to where they do not insist on the cpuset: those of the nearest ancestor with a wall.
    #[doc(alias = "cpuset_node_allowed")]
    pub walled: Nodemask,
}

impl Default for Task {
    fn default() -> Self {
        Self {
            site: TaskSite::default(),
            standing: Standing::default(),
            fate: Fate::default(),
            scope: IoScope::default(),
            pin: Pin::default(),
            allowed: Nodemask::ALL,
            walled: Nodemask::ALL,
        }
    }
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TaskSite {
    /// From a task.
    #[default]
    Task,
    /// From a task that must meet deadlines.
    #[doc(alias = "rt_or_dl_task")]
    RealTime,
    /// From a soft interrupt.
    SoftInterrupt,
    /// From an interrupt.
    Interrupt,
}

impl TaskSite {
    pub(crate) const fn is_task(self) -> bool {
        matches!(self, Self::Task | Self::RealTime)
    }
}

/// What a task may have of the reserves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// Nothing.
    #[default]
    Ordinary,
    /// Everything: it works to free memory.
    #[doc(alias = "PF_MEMALLOC")]
    Reclaimer,
    /// Half of it: it is being killed for memory.
    #[doc(alias = "tsk_is_oom_victim")]
    Victim,
}

/// Whether a task will live to use its memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fate {
    /// It will.
    #[default]
    Lives,
    /// A signal will end it.
    #[doc(alias = "fatal_signal_pending")]
    Ends,
    /// It is writing what is left of it to a file, and must not be killed meanwhile.
    #[doc(alias = "PF_DUMPCORE")]
    DumpsCore,
}

/// What a task must not start while it allocates, since it is inside of it already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IoScope {
    /// It may do everything.
    #[default]
    All,
    /// No calls into file systems.
    #[doc(alias("PF_MEMALLOC_NOFS", "memalloc_nofs_save"))]
    NoFs,
    /// No input and output either.
    #[doc(alias("PF_MEMALLOC_NOIO", "memalloc_noio_save"))]
    NoIo,
}

/// Whether the pages of a request will stay where they are for long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pin {
    /// They may move.
    #[default]
    Short,
    /// They may not, so they come from no movable zone and no area that is lent.
    #[doc(alias("PF_MEMALLOC_PIN", "memalloc_pin_save"))]
    Long,
}

impl Task {
    /// What is left of a request's wishes where this task is.
    #[doc(alias = "current_gfp_context")]
    #[must_use]
    #[inline]
    pub fn permits(&self, gfp: GfpFlags) -> GfpFlags {
        let without = match self.scope {
            IoScope::All => GfpFlags::empty(),
            IoScope::NoFs => GfpFlags::FS,
            IoScope::NoIo => GfpFlags::IO.union(GfpFlags::FS),
        };
        let pinned = if self.pin == Pin::Long { GfpFlags::MOVABLE } else { GfpFlags::empty() };
        gfp.difference(without.union(pinned))
    }
}
