//! Zone lists against a reference that follows the rules word for word, on every small machine.

use std::collections::BTreeMap;

use policy::{NodeSpec, Reach, Topology, TopologyError, ZoneRef};
use units::{NodeId, Nodemask, PageCount, PerZone, ZoneKind};

const MAX_NUMNODES: u32 = 1024;

#[derive(Clone, Debug)]
struct Small {
    /// Zones with pages, by node.
    zones: Vec<Vec<ZoneKind>>,
    cpus: Vec<bool>,
    distance: Vec<Vec<u8>>,
}

impl Small {
    fn topology(&self) -> Result<Topology, TopologyError> {
        let nodes = self.zones.iter().zip(&self.cpus).zip(0..).map(|((zones, cpus), n)| {
            let mut present = PerZone::default();
            zones.iter().for_each(|&zone| present[zone] = PageCount::new(7));
            (NodeId::new(n), NodeSpec { present, cpus: u32::from(*cpus) * 4, initiator: false, online: true })
        });
        Topology::of(nodes.collect(), |a, b| self.distance[a.index()][b.index()])
    }

    fn has_memory(&self, node: usize) -> bool {
        self.zones[node].iter().any(|&zone| zone != ZoneKind::Device)
    }

    /// The nodes in order, for each node. Every node's own load is the memory of the rules.
    fn reference(&self) -> Vec<Vec<usize>> {
        let count = self.zones.len();
        let mut load = vec![0u32; count];
        let mut lists = Vec::new();
        for local in 0..count {
            let mut used = vec![false; count];
            let mut list = Vec::new();
            let mut previous = local;
            loop {
                let mut best = None;
                let mut least = u32::MAX;
                if self.has_memory(local) && !used[local] {
                    best = Some(local);
                } else {
                    for node in 0..count {
                        if used[node] || !self.has_memory(node) {
                            continue;
                        }
                        let mut cost = u32::from(self.distance[local][node]);
                        if node < local {
                            cost += 1;
                        }
                        if self.cpus[node] {
                            cost += 1;
                        }
                        cost = cost * MAX_NUMNODES + load[node];
                        if cost < least {
                            least = cost;
                            best = Some(node);
                        }
                    }
                }
                let Some(node) = best else { break };
                if self.distance[local][node] != self.distance[local][previous] {
                    load[node] += 1;
                }
                used[node] = true;
                previous = node;
                list.push(node);
            }
            lists.push(list);
        }
        lists
    }

    fn compare(&self) {
        let topology = match self.topology() {
            Ok(topology) => topology,
            Err(error) => {
                assert_eq!(error, TopologyError::NoNodes);
                assert!((0..self.zones.len()).all(|node| !self.has_memory(node)));
                return;
            }
        };
        for (local, nodes) in self.reference().into_iter().enumerate() {
            let from = id(local);
            let list: Vec<usize> = topology.zone_list(from).iter().map(|node| node.index()).collect();
            assert_eq!(list, nodes, "from {local} of {self:?}");
            let zones: Vec<ZoneRef> = nodes.iter().flat_map(|&node| self.downwards(node)).collect();
            assert_eq!(topology.zones(from, Reach::Everywhere), zones, "from {local} of {self:?}");
            assert_eq!(topology.zones(from, Reach::ThisNode), self.downwards(local), "on {local} of {self:?}");
        }
        let has = |f: &dyn Fn(usize) -> bool| (0..self.zones.len()).filter(|&n| f(n)).map(id).collect::<Nodemask>();
        let states = topology.states();
        assert_eq!(topology.nodes(), has(&|n| self.has_memory(n)));
        assert_eq!(states.cpu, has(&|n| self.cpus[n]));
        assert_eq!(states.normal_memory, has(&|n| self.zones[n].iter().any(|zone| zone.is_for_kernel())));
        assert_eq!(states.online, Nodemask::first(u8::try_from(self.zones.len()).expect("few")));
    }

    fn downwards(&self, node: usize) -> Vec<ZoneRef> {
        let mut kinds: Vec<ZoneKind> = self.zones[node].iter().copied().filter(|&k| k != ZoneKind::Device).collect();
        kinds.sort();
        kinds.into_iter().rev().map(|kind| ZoneRef { node: id(node), kind }).collect()
    }
}

fn id(node: usize) -> NodeId {
    NodeId::new(u8::try_from(node).expect("few nodes"))
}

fn bit(bits: usize, n: usize) -> bool {
    bits >> n & 1 == 1
}

#[test]
fn every_machine_of_two_nodes() {
    let kinds = [ZoneKind::Dma, ZoneKind::Normal, ZoneKind::Movable, ZoneKind::Device];
    let zones = |bits: usize| (0..4).filter(|&n| bit(bits, n)).map(|n| kinds[n]).collect::<Vec<_>>();
    for bits in 0..256 {
        for cpus in 0..4 {
            for (there, back) in [(20, 20), (11, 40), (40, 11), (10, 10)] {
                let zones = vec![zones(bits & 15), zones(bits >> 4)];
                let cpus = (0..2).map(|n| bit(cpus, n)).collect();
                Small { zones, cpus, distance: vec![vec![10, there], vec![back, 10]] }.compare();
            }
        }
    }
}

#[test]
fn every_machine_of_four_nodes_at_two_distances() {
    for memory in 0..16 {
        for cpus in 0..16 {
            for far in 0..64 {
                let zones = |n| if bit(memory, n) { vec![ZoneKind::Normal] } else { vec![] };
                let mut distance = vec![vec![10; 4]; 4];
                let pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)];
                for (n, (a, b)) in pairs.into_iter().enumerate() {
                    distance[a][b] = if bit(far, n) { 21 } else { 20 };
                    distance[b][a] = distance[a][b];
                }
                let cpus = (0..4).map(|n| bit(cpus, n)).collect();
                Small { zones: (0..4).map(zones).collect(), cpus, distance }.compare();
            }
        }
    }
}

fn equal_nodes(distance: Vec<Vec<u8>>) -> Small {
    let count = distance.len();
    Small { zones: vec![vec![ZoneKind::Normal]; count], cpus: vec![true; count], distance }
}

#[test]
fn the_first_of_each_distance_is_burdened() {
    let mut distance = vec![vec![10, 20, 20, 30]; 4];
    for (n, row) in distance.iter_mut().enumerate() {
        row[n] = 10;
    }
    let small = equal_nodes(distance);
    let topology = small.topology().expect("a machine");
    let list = |n| topology.zone_list(id(n)).iter().map(|node| node.index()).collect::<Vec<_>>();
    assert_eq!(list(0), [0, 1, 2, 3]);
    small.compare();
}

/// Equally far nodes were once tried in the order of their numbers, from every node: all machines then filled node 0 first. Numbers
/// behind the local one go first, so that the nodes' lists begin with different neighbours.
#[test]
fn equally_far_nodes_take_turns() {
    let mut distance = vec![vec![20; 4]; 4];
    for (n, row) in distance.iter_mut().enumerate() {
        row[n] = 10;
    }
    let topology = equal_nodes(distance).topology().expect("a machine");
    let list = |n| topology.zone_list(id(n)).iter().map(|node| node.index()).collect::<Vec<_>>();
    assert_eq!(
        [list(0), list(1), list(2), list(3)],
        [vec![0, 1, 2, 3], vec![1, 2, 3, 0], vec![2, 3, 0, 1], vec![3, 0, 1, 2]]
    );
}

#[test]
fn a_node_without_memory_looks_elsewhere_and_has_nothing_itself() {
    let mut small = equal_nodes(vec![vec![10, 20], vec![20, 10]]);
    small.zones[1].clear();
    let topology = small.topology().expect("a machine");
    assert_eq!(topology.zone_list(id(1)), [id(0)]);
    assert_eq!(topology.zones(id(1), Reach::ThisNode), []);
    assert_eq!((topology.zone_list(id(2)), topology.distance(id(0), id(2))), (&[][..], None));
}

#[test]
fn a_request_uses_the_zones_it_may() {
    let mut small = equal_nodes(vec![vec![10, 20], vec![20, 10]]);
    small.zones = vec![vec![ZoneKind::Dma, ZoneKind::Normal], vec![ZoneKind::Normal, ZoneKind::Movable]];
    let topology = small.topology().expect("a machine");
    let usable = |highest, mask| {
        let zones = topology.usable_zones(id(0), Reach::Everywhere, highest, mask);
        zones.map(|zone| (zone.node.index(), zone.kind)).collect::<Vec<_>>()
    };
    let (dma, normal, movable) = (ZoneKind::Dma, ZoneKind::Normal, ZoneKind::Movable);
    assert_eq!(usable(movable, None), [(0, normal), (0, dma), (1, movable), (1, normal)]);
    assert_eq!(usable(normal, None), [(0, normal), (0, dma), (1, normal)]);
    assert_eq!(usable(normal, Some(Nodemask::of(id(1)))), [(1, normal)]);
    assert_eq!(topology.policy_zone(), Some(normal));
}

#[test]
fn lists_follow_what_is_plugged() {
    let distance = |a: NodeId, b: NodeId| if a == b { 10 } else { 20 };
    let empty = NodeSpec { present: PerZone::default(), ..NodeSpec::normal(PageCount::ZERO) };
    let full = NodeSpec::normal(PageCount::new(512));
    let nodes = |second| BTreeMap::from([(id(0), full), (id(1), second)]);
    let mut topology = Topology::of(nodes(NodeSpec { online: false, ..empty }), distance).expect("a machine");
    assert_eq!((topology.states().possible.len(), topology.states().online.len()), (2, 1));
    topology.set_node(id(1), full).expect("memory is plugged");
    assert_eq!(topology, Topology::of(nodes(full), distance).expect("a machine"));
    assert_eq!(topology.zone_list(id(0)), [id(0), id(1)]);
    topology.set_node(id(0), empty).expect("memory is left on the other node");
    assert_eq!((topology.zone_list(id(0)), topology.nodes()), (&[id(1)][..], Nodemask::of(id(1))));
    let before = topology.clone();
    assert_eq!(topology.set_node(id(1), empty), Err(TopologyError::NoNodes));
    assert_eq!(topology.set_node(id(7), full), Err(TopologyError::NoSuchNode(id(7))));
    assert_eq!(topology, before);
}

#[test]
fn node_64_is_refused() {
    let nodes = BTreeMap::from([(NodeId::new(64), NodeSpec::normal(PageCount::new(1)))]);
    assert_eq!(Topology::of(nodes, |_, _| 10), Err(TopologyError::NodeOutOfRange(NodeId::new(64))));
}

/// Only the first node of each distance counts in the lists to come: from node 1, at equal distance of 2 and 3, node 3 was first once
/// already.
#[test]
fn equally_near_nodes_in_turn() {
    let far = [[10, 20, 20, 30], [20, 10, 25, 25], [20, 25, 10, 25], [30, 25, 25, 10]];
    let topology = Topology::new(Nodemask::first(4), |a, b| far[a.index()][b.index()]).expect("four nodes");
    let list = |n| topology.zone_list(id(n)).iter().map(|node| node.index()).collect::<Vec<_>>();
    assert_eq!((list(0), list(1)), (vec![0, 1, 2, 3], vec![1, 0, 2, 3]));
}
