//! What the path needs of the machine that it runs on.

use policy::{Topology, ZoneRef};
use units::{NodeId, PageCount};
use zone::{PerCpuPages, Zone};

use crate::event::PageEvent;
use crate::growth::Growth;
use crate::kswapd::NodeState;
use crate::rules::Rules;

/// One zone and what belongs to it, as a section hands it out.
pub struct ZoneParts<'a> {
    /// Its free lists.
    pub zone: &'a mut Zone,
    /// What this processor keeps of it.
    pub lists: &'a mut PerCpuPages,
    /// Pages that are counted as free and are not on its lists yet.
    pub growth: &'a mut Growth,
    /// What is counted of it.
    pub counts: &'a mut ZoneCounts,
}

/// What is counted of a zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ZoneCounts {
    /// Pages allocated.
    #[doc(alias = "PGALLOC")]
    pub allocated: u64,
    /// Blocks of the node that was asked for.
    #[doc(alias = "NUMA_HIT")]
    pub hit: u64,
    /// Blocks of this zone for requests that had rather gone elsewhere.
    #[doc(alias = "NUMA_MISS")]
    pub miss: u64,
    /// Blocks of other nodes for requests that had rather come here.
    #[doc(alias = "NUMA_FOREIGN")]
    pub foreign: u64,
    /// Blocks for processors of this node.
    #[doc(alias = "NUMA_LOCAL")]
    pub local: u64,
    /// Blocks for processors of other nodes.
    #[doc(alias = "NUMA_OTHER")]
    pub other: u64,
    /// Pages in use that reclaim could free.
    #[doc(alias = "zone_reclaimable_pages")]
    pub reclaimable: PageCount,
}

/// Has something changed that a request looked at? Two equal cookies say no.
#[doc(alias("cpuset_mems_cookie", "zonelist_iter_begin"))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cookie {
    /// Rebuilds of the zone lists.
    pub lists: u64,
    /// Changes of the cpuset that the task is in.
    pub cpuset: u64,
}

/// The parts that the path looks at, one at a time. [`crate::PageAllocator`] has them for a single owner.
pub trait Zones {
    /// Nodes, zones and lists.
    fn topology(&self) -> &Topology;
    /// What holds for all requests.
    fn rules(&self) -> &Rules;
    /// What has changed so far.
    fn cookie(&self) -> Cookie;
    /// The node of the processor that allocates.
    fn cpu_node(&self) -> NodeId;
    /// The section of a zone; nothing where there is none.
    fn with_zone<R>(&mut self, zone: ZoneRef, f: impl FnOnce(ZoneParts<'_>) -> R) -> Option<R>;
    /// The section of a node.
    fn with_node<R>(&mut self, node: NodeId, f: impl FnOnce(&mut NodeState) -> R) -> R;
    /// Gives back what every processor keeps of a zone.
    #[doc(alias = "drain_all_pages")]
    fn drain_all(&mut self, zone: ZoneRef);
    /// Publishes an event, which is built only where somebody listens.
    fn emit(&mut self, event: impl FnOnce() -> PageEvent);
}
