//! Private nodes: who owns them, and who gets there.

use std::collections::BTreeMap;

use policy::{DriverId, GateReason, NodeCap, NodeCaps, NodeSpec, PrivateError, PrivateNode, Reach, Topology, ZoneRef};
use units::{NodeId, Nodemask, PageCount, ZoneKind};

fn node(n: u8) -> NodeId {
    NodeId::new(n)
}

fn nodes_of(topology: &Topology, from: u8, reach: Reach) -> Vec<u8> {
    topology.zones(node(from), reach).iter().map(|zone| zone.node.get()).collect()
}

const OURS: PrivateNode = PrivateNode { owner: DriverId(7), caps: NodeCaps::NONE };

/// Nodes 0 and 1 have memory, node 2 none yet; 2 is nearer to 0 than 1 is.
fn machine() -> Topology {
    let spec = |n| NodeSpec::normal(PageCount::new(if n == 2 { 0 } else { 100 }));
    let nodes = (0..3).map(|n| (node(n), spec(n))).collect::<BTreeMap<_, _>>();
    Topology::of(nodes, |a, b| match (a.get(), b.get()) {
        (a, b) if a == b => 10,
        (0 | 2, 0 | 2) => 12,
        _ => 20,
    })
    .expect("a machine")
}

#[test]
fn nasty_a_private_node_is_in_no_ordinary_list() {
    let mut topology = machine();
    let before = topology.clone();
    topology.make_private(node(2), OURS).expect("it has no memory");
    topology.set_node(node(2), NodeSpec::normal(PageCount::new(50))).expect("memory comes");
    let states = topology.states();
    assert_eq!((states.memory, states.memory_private), (Nodemask::first(2), Nodemask::of(node(2))));
    assert!(states.cpu.contains(node(2)), "it may have processors all the same");
    for from in 0..3 {
        let (all, this) = (Reach::Everywhere, Reach::ThisNode);
        assert_eq!(nodes_of(&topology, from, all), nodes_of(&before, from, all), "from {from}");
        assert_eq!(nodes_of(&topology, from, this), nodes_of(&before, from, this), "on {from}");
    }
    assert_eq!(nodes_of(&topology, 2, Reach::ThisNode), [0u8; 0], "not even on the node itself");
    assert_eq!(nodes_of(&topology, 0, Reach::Private), [0, 2, 1]);
    assert_eq!(nodes_of(&topology, 2, Reach::Private), [2, 0, 1]);
    let own = ZoneRef { node: node(2), kind: ZoneKind::Normal };
    assert_eq!(topology.zones(node(2), Reach::PrivateThisNode), [own]);
    // With no private node about, the private lists are the ordinary ones.
    assert_eq!(nodes_of(&before, 0, Reach::Private), [0, 1]);
}

#[test]
fn who_can_own_a_node() {
    let mut topology = machine();
    let caps = NodeCaps::NONE.with(NodeCap::Tiering);
    let of = |caps| PrivateNode { owner: DriverId(7), caps };
    assert_eq!(topology.make_private(node(9), OURS), Err(PrivateError::NoSuchNode(node(9))));
    assert_eq!(topology.make_private(node(2), of(caps)), Err(PrivateError::TieringNeedsReclaim(node(2))));
    let pages = PageCount::new(100);
    assert_eq!(topology.make_private(node(1), OURS), Err(PrivateError::HasMemory { node: node(1), pages }));
    assert_eq!(topology.make_private(node(2), of(caps.with(NodeCap::Reclaim))), Ok(()));
    let owned = Err(PrivateError::Owned { node: node(2), owner: DriverId(7) });
    assert_eq!(topology.make_private(node(2), OURS), owned);
    assert_eq!(topology.release_private(node(2), DriverId(8)), owned);
    topology.set_node(node(2), NodeSpec::normal(pages)).expect("memory comes");
    let there = Err(PrivateError::HasMemory { node: node(2), pages });
    assert_eq!(topology.release_private(node(2), DriverId(7)), there);
    topology.set_node(node(2), NodeSpec::normal(PageCount::ZERO)).expect("memory goes");
    assert_eq!(topology.release_private(node(2), DriverId(7)), Ok(()));
    assert_eq!(topology.release_private(node(2), DriverId(7)), Err(PrivateError::NotPrivate(node(2))));
}

#[test]
fn one_gate_says_what_may_be_done() {
    let mut topology = machine();
    let caps = NodeCaps::NONE.with(NodeCap::Reclaim).with(NodeCap::UserMigrate);
    topology.make_private(node(2), PrivateNode { owner: DriverId(1), caps }).expect("it has no memory");
    let reasons = [GateReason::Reclaim, GateReason::Tiering, GateReason::UserMigrate];
    let private = reasons.map(|reason| topology.reach_for(node(2), reason));
    assert_eq!(private, [Some(Reach::Private), None, Some(Reach::Private)]);
    assert_eq!(reasons.map(|reason| topology.reach_for(node(0), reason)), [Some(Reach::Everywhere); 3]);
    assert!(topology.permits(node(0), NodeCap::LongTermPin) && !topology.permits(node(2), NodeCap::LongTermPin));
}
