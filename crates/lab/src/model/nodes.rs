//! Nodes: in which order each looks for memory, and what policies make of that.

use super::NaiveMachine;
use super::cgroup::Payers;
use super::pool::{Nodes, Pool};
use super::world::Vma;
use crate::op::{NodesAre, PolicyMode};
use crate::target::MachineLine;

/// A set of nodes that is copied about.
pub(super) type Bits = u64;

/// The nodes of a set in order.
pub(super) fn nodes_of(bits: Bits) -> Vec<usize> {
    (0..64).filter(|node| bits >> node & 1 == 1).collect()
}

pub(super) fn bits_of(nodes: &[usize]) -> Bits {
    nodes.iter().fold(0, |bits, node| bits | 1 << node)
}

/// A page that was taken from the pool: who pays for it, and where it lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    pub(super) payers: Payers,
    pub(super) node: usize,
}

/// A memory policy in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) mode: PolicyMode,
    /// Those of its nodes that count.
    pub(super) nodes: Bits,
    /// Where it begins to look.
    pub(super) home: Option<usize>,
    /// The nodes that were asked for, where they mean themselves or are counted.
    pub(super) asked: Option<(NodesAre, Bits)>,
    /// The nodes that the process could use when the policy was made.
    pub(super) since: Bits,
}

impl Default for Policy {
    fn default() -> Self {
        Policy { mode: PolicyMode::Default, nodes: 0, home: None, asked: None, since: 0 }
    }
}

impl Policy {
    /// What a policy becomes when the process may use other nodes.
    pub(super) fn rebound(self, allowed: Bits) -> Policy {
        if self.asked.is_none() && self.since == allowed {
            return self;
        }
        let place = |node: usize| nodes_of(self.since).iter().position(|other| *other == node);
        let now = nodes_of(allowed);
        let moved = |node: usize| match place(node) {
            Some(place) if !now.is_empty() => now[place % now.len()],
            _ => node,
        };
        let nodes = match self.asked {
            None => bits_of(&nodes_of(self.nodes).into_iter().map(moved).collect::<Vec<_>>()),
            Some((NodesAre::Static, asked)) => asked & allowed,
            Some((NodesAre::Relative, asked)) => counted(asked, allowed),
        };
        let nodes = if nodes == 0 { allowed } else { nodes };
        let nodes = match self.mode {
            PolicyMode::Bind | PolicyMode::Interleave | PolicyMode::WeightedInterleave => nodes,
            _ => self.nodes,
        };
        Policy { nodes, since: allowed, ..self }
    }
}

/// Node `n` of a set means the `n`th node of those that may be used, around and around.
pub(super) fn counted(asked: Bits, allowed: Bits) -> Bits {
    let allowed = nodes_of(allowed);
    if allowed.is_empty() {
        return 0;
    }
    bits_of(&nodes_of(asked).into_iter().map(|node| allowed[node % allowed.len()]).collect::<Vec<_>>())
}

/// The nodes of the machine.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// Those with memory.
    pub(super) memory: Nodes,
    /// Those with processors.
    pub(super) processors: Nodes,
    /// For each node, those with memory from near to far.
    lists: Vec<Vec<usize>>,
    /// How many pages each gets in a row under a weighted policy.
    pub(super) weights: Vec<u8>,
}

impl Layout {
    /// Nodes with memory and processors so far apart.
    pub(super) fn new(memory: Nodes, processors: Nodes, distances: &[Vec<u8>]) -> Self {
        let mut load = vec![0; distances.len()];
        let list = |local: usize| {
            let mut left: Vec<usize> = memory.iter().copied().collect();
            let (mut list, mut last) = (Vec::new(), local);
            while !left.is_empty() {
                // Of two that are equally far: those behind in number, without processors, that were seldom first at their distance.
                let cost = |n: usize| {
                    let more = u32::from(n < local) + u32::from(processors.contains(&n));
                    (n != local, u32::from(distances[local][n]) + more, load[n], n)
                };
                let next = left.iter().copied().min_by_key(|n| cost(*n)).unwrap_or(0);
                if distances[local][next] != distances[local][last] {
                    load[next] += 1;
                }
                left.retain(|n| *n != next);
                list.push(next);
                last = next;
            }
            list
        };
        let lists = (0..distances.len()).map(list).collect();
        Self { memory, processors, lists, weights: vec![1; distances.len()] }
    }

    /// One node.
    pub(super) fn single() -> Self {
        Self::new(Nodes::from([0]), Nodes::from([0]), &[vec![10]])
    }

    /// All that there are, with memory or without.
    pub(super) fn there(&self) -> Bits {
        (0..self.lists.len()).fold(0, |bits, node| bits | 1 << node)
    }

    pub(super) fn all(&self) -> Bits {
        self.memory.iter().fold(0, |bits, node| bits | 1 << node)
    }

    /// Nodes of a set from near to far.
    fn from(&self, start: usize, among: Bits) -> Vec<usize> {
        let list = self.lists.get(start).map_or(&[][..], Vec::as_slice);
        list.iter().copied().filter(|node| among >> node & 1 == 1).collect()
    }

    /// The nodes to look through for the page at a place of its file, one list after the other.
    pub(super) fn rounds(&self, policy: &Policy, local: usize, allowed: Bits, index: u64) -> Vec<Vec<usize>> {
        let start = policy.home.unwrap_or(local);
        let nodes = nodes_of(policy.nodes);
        let nth = |row: &[usize]| row.get(usize::try_from(index % row.len().max(1) as u64).unwrap_or(0)).copied();
        match policy.mode {
            PolicyMode::Default | PolicyMode::Local => vec![self.from(local, allowed)],
            PolicyMode::Preferred => vec![self.from(nodes.first().copied().unwrap_or(local), allowed)],
            PolicyMode::PreferredMany => {
                vec![self.from(start, allowed & policy.nodes), self.from(start, allowed)]
            }
            PolicyMode::Bind if policy.nodes & allowed != 0 => vec![self.from(start, allowed & policy.nodes)],
            PolicyMode::Bind => vec![self.from(start, allowed)],
            PolicyMode::Interleave => vec![self.from(nth(&nodes).unwrap_or(local), allowed)],
            PolicyMode::WeightedInterleave => {
                let row: Vec<usize> =
                    nodes.iter().flat_map(|&node| vec![node; usize::from(self.weights[node].max(1))]).collect();
                vec![self.from(nth(&row).unwrap_or(local), allowed)]
            }
        }
    }
}

impl NaiveMachine {
    /// Has the nodes of a header.
    pub(super) fn have_nodes(&mut self, machine: &MachineLine) {
        let count = machine.nodes.len();
        let memory: Nodes = (0..count).filter(|&node| machine.nodes[node].unsigned() > 0).collect();
        let processors: Nodes = (0..count).filter(|&node| machine.cpus_of(node) > 0).collect();
        let row = |a: usize| (0..count).map(|b| machine.distance(a, b)).collect();
        let distances: Vec<Vec<u8>> = (0..count).map(row).collect();
        self.layout = Layout::new(memory.clone(), processors, &distances);
        self.pool = Pool::of(count, memory);
    }

    /// Where a page for this place is looked for: as the VMA's policy says, or else as the process's.
    pub(super) fn rounds(&self, p: u16, vma: Option<&Vma>, index: u64) -> Vec<Vec<usize>> {
        let process = self.process(p);
        let policy = vma.and_then(|vma| vma.policy).unwrap_or(process.policy);
        self.layout.rounds(&policy, process.local, process.allowed, index)
    }

    /// The nodes that count when pages are promised to a process, from near to far.
    pub(super) fn promise_nodes(&self, p: u16) -> Vec<usize> {
        let process = self.process(p);
        let bound = if process.policy.mode == PolicyMode::Bind { process.policy.nodes } else { process.allowed };
        let among = if bound & process.allowed == 0 { process.allowed } else { bound & process.allowed };
        self.layout.from(process.local, among)
    }

    /// The nodes that a process may use, from near to far, whatever its policy.
    pub(super) fn nearest(&self, p: u16) -> Vec<usize> {
        let process = self.process(p);
        self.layout.from(process.local, process.allowed)
    }

    /// As [`Self::promise_nodes`], for the administrator.
    pub(super) fn all_nodes(&self) -> Vec<usize> {
        self.layout.from(self.layout.memory.first().copied().unwrap_or(0), self.layout.all())
    }
}
