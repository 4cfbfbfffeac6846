//! In which order each node looks for memory.

use alloc::vec::Vec;

use units::{NodeId, Nodemask, ZoneKind};

/// A zone of a node, as it stands in a list.
#[doc(alias = "zoneref")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct ZoneRef {
    /// The node.
    pub node: NodeId,
    /// The kind of zone.
    pub kind: ZoneKind,
}

/// A node that others may get memory from.
pub(crate) struct Neighbour {
    pub(crate) node: NodeId,
    /// From the highest down.
    pub(crate) zones: Vec<ZoneKind>,
    pub(crate) has_cpus: bool,
}

/// Which zones a request may go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All, from near to far.
    #[doc(alias = "ZONELIST_FALLBACK")]
    Everywhere,
    /// Those of its node, of which there may be none.
    #[doc(alias("ZONELIST_NOFALLBACK", "__GFP_THISNODE"))]
    ThisNode,
    /// All, and those of private nodes.
    #[doc(alias = "ZONELIST_PRIVATE")]
    Private,
    /// Those of its node, be it private.
    PrivateThisNode,
}

/// What one node looks through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lists {
    pub(crate) ordinary: List,
    /// With the private nodes, where there are any.
    private: Option<List>,
}

impl Lists {
    #[inline]
    pub(crate) fn with_private(&self) -> &List {
        self.private.as_ref().unwrap_or(&self.ordinary)
    }
}

/// One way through the nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct List {
    /// Nodes from near to far.
    pub(crate) nodes: Vec<NodeId>,
    /// Their zones.
    pub(crate) zones: Vec<ZoneRef>,
    /// How many of the zones, at the front, are of the node itself.
    own: usize,
}

impl List {
    #[inline]
    pub(crate) fn own(&self) -> &[ZoneRef] {
        &self.zones[..self.own]
    }
}

/// The lists of all nodes of `locals`, by index: over `ordinary` nodes, and over `all` unless there are none but these.
///
/// How often a node was the first of its distance is counted from list to list, so that equally distant nodes take turns. What is
/// private counts apart, so that its coming and going changes no other list.
pub(crate) fn build_all(
    locals: Nodemask,
    ordinary: &[Neighbour],
    all: &[Neighbour],
    distances: &[Vec<u8>],
) -> Vec<Lists> {
    let mut lists = alloc::vec![Lists::default(); distances.len()];
    let mut load = alloc::vec![0u32; distances.len()];
    let mut load_of_all = load.clone();
    for local in locals.iter() {
        let from = &distances[local.index()];
        lists[local.index()] = Lists {
            ordinary: build(local, ordinary, from, &mut load),
            private: (!all.is_empty()).then(|| build(local, all, from, &mut load_of_all)),
        };
    }
    lists
}

fn build(local: NodeId, neighbours: &[Neighbour], distances: &[u8], load: &mut [u32]) -> List {
    let mut left: Vec<&Neighbour> = neighbours.iter().collect();
    let mut list = List::default();
    let mut last = local;
    while let Some(place) = nearest(local, &left, distances, load) {
        let next = left.remove(place);
        if distances[next.node.index()] != distances[last.index()] {
            load[next.node.index()] += 1;
        }
        last = next.node;
        list.nodes.push(next.node);
        list.zones.extend(next.zones.iter().map(|&kind| ZoneRef { node: next.node, kind }));
        if next.node == local {
            list.own = list.zones.len();
        }
    }
    list
}

/// The place of the next node. A small penalty each for a lower number than the local node's, so that not all nodes begin with the
/// same neighbour, and for processors, which have their own use for the memory; of equals the one of lower number.
fn nearest(local: NodeId, left: &[&Neighbour], distances: &[u8], load: &[u32]) -> Option<usize> {
    if let Some(home) = left.iter().position(|neighbour| neighbour.node == local) {
        return Some(home);
    }
    let cost = |neighbour: &&Neighbour| {
        let penalty = u32::from(neighbour.node < local) + u32::from(neighbour.has_cpus);
        (u32::from(distances[neighbour.node.index()]) + penalty, load[neighbour.node.index()])
    };
    // `min_by_key` keeps the first of equals, and the nodes are ascending.
    left.iter().enumerate().min_by_key(|(_, neighbour)| cost(neighbour)).map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use units::{NodeId, ZoneKind};

    use super::{Neighbour, build};

    /// Of each new distance only the first node is burdened, and the node itself never.
    #[test]
    fn nasty_what_each_list_adds_to_the_load_of_nodes() {
        let nodes = |count: u8| -> Vec<Neighbour> {
            let node = |n| Neighbour { node: NodeId::new(n), zones: vec![ZoneKind::Normal], has_cpus: true };
            (0..count).map(node).collect()
        };
        let order = |list: super::List| list.nodes.iter().map(|node| node.get()).collect::<Vec<_>>();
        let mut load = [0u32; 4];
        let list = build(NodeId::new(0), &nodes(4), &[10, 20, 20, 30], &mut load);
        assert_eq!((order(list), load), (vec![0, 1, 2, 3], [0, 1, 0, 1]));
        // The next list from the same place begins with the one that had its turn less often.
        let list = build(NodeId::new(0), &nodes(4), &[10, 20, 20, 30], &mut load);
        assert_eq!((order(list), load), (vec![0, 2, 1, 3], [0, 1, 1, 2]));
        // A node without memory burdens its first neighbour as well: no distance is its own.
        let mut load = [0u32; 3];
        let list = build(NodeId::new(2), &nodes(2), &[20, 20, 10], &mut load);
        assert_eq!((order(list), load), (vec![0, 1], [1, 0, 0]));
    }
}
