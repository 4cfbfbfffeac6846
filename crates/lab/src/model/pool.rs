//! The counters of the pool of 2 MiB pages, node by node, and the rules by which they move.

use std::collections::BTreeSet;

/// What a node has of the pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct PoolNode {
    /// All pages.
    pub(super) nr: i64,
    /// Free pages.
    pub(super) free: i64,
    /// Pages above the persistent number.
    pub(super) surplus: i64,
}

/// The counters of the pool, signed because a kernel's own may go below zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pool {
    /// By node; those without memory have no pages.
    pub(super) nodes: Vec<PoolNode>,
    /// Which of them have memory.
    with_memory: Nodes,
    /// Pages promised to mappings.
    pub(super) resv: i64,
    /// How many surplus pages there may be.
    pub(super) overcommit: u64,
    /// How many huge pages an untouched machine gives.
    memory: i64,
    /// Where the next page is made, and where the next one is taken away.
    next_made: usize,
    next_freed: usize,
}

/// A set of nodes.
pub(super) type Nodes = BTreeSet<usize>;

/// How a page is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// A reservation was made for it.
    Reserved,
    /// None was.
    Unreserved,
}

/// Whether a page that is freed may leave the pool although a reservation needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FreeRule {
    /// It stays where it is needed.
    KeepsPromises,
    /// It leaves whenever there is surplus, as 6.18 has it.
    SurplusFirst,
}

/// How many huge pages 24 GiB give. Each zone keeps its share of four times the root of all memory in kB, low zones besides one page for
/// every 256 above them. What is left is given two at a time, one to who asked and one for the next, who gets it only if the zone is
/// still above its mark: the last one never is.
fn obtainable() -> i64 {
    let zones: [i64; 3] = [4096, (1 << 20) - 4096, 20 << 18];
    let all: i64 = zones.iter().sum();
    let kept = (all * 4 * 16).isqrt() / 4;
    let of_zone = |n: usize| {
        let above: i64 = zones[n + 1..].iter().sum();
        let left = (zones[n] - kept * zones[n] / all - above / 256) / 512;
        (left - 1 + left % 2).max(0)
    };
    (0..zones.len()).map(of_zone).sum()
}

impl Pool {
    /// One node of 24 GiB.
    pub(super) fn new() -> Self {
        Self { memory: obtainable(), ..Self::of(1, Nodes::from([0])) }
    }

    /// So many nodes, some of which have memory, and more than anybody asks for.
    pub(super) fn of(count: usize, with_memory: Nodes) -> Self {
        let next = with_memory.first().copied().unwrap_or(0);
        Pool {
            nodes: vec![PoolNode::default(); count],
            with_memory,
            resv: 0,
            overcommit: 0,
            memory: 1 << 16,
            next_made: next,
            next_freed: next,
        }
    }

    pub(super) fn nr(&self) -> i64 {
        self.nodes.iter().map(|node| node.nr).sum()
    }

    pub(super) fn free(&self) -> i64 {
        self.nodes.iter().map(|node| node.free).sum()
    }

    pub(super) fn surplus(&self) -> i64 {
        self.nodes.iter().map(|node| node.surplus).sum()
    }

    fn persistent(&self) -> i64 {
        self.nr() - self.surplus()
    }

    /// Whether `more` surplus pages can be had.
    fn may_grow_by(&self, more: i64) -> bool {
        let surplus = u64::try_from(self.surplus() + more).unwrap_or(0);
        surplus <= self.overcommit && self.nr() + more <= self.memory
    }

    /// The first of `nodes` from the cursor on, around and around, that fits. The cursor stands behind it then; or, if none fits, at the first
    /// of these.
    fn turn(nodes: &Nodes, cursor: &mut usize, fits: impl Fn(usize) -> bool) -> Option<usize> {
        let behind = nodes.range(*cursor..).chain(nodes.range(..*cursor)).copied();
        let order: Vec<usize> = behind.collect();
        let at = order.iter().position(|&node| fits(node));
        if let Some(at) = at {
            *cursor = order[(at + 1) % order.len()];
        } else if let Some(&first) = order.first() {
            *cursor = first;
        }
        at.map(|at| order[at])
    }

    /// The administrator's number of all nodes or some: surplus pages become persistent, then pages are made; or free pages are
    /// freed, and what still is too many becomes surplus.
    pub(super) fn resize(&mut self, target: u64, on: &Nodes) {
        self.resize_within(target, on, u64::MAX);
    }

    /// As [`Self::resize`], by somebody who may have pages made on some nodes alone: the others refuse when it is their turn.
    pub(super) fn resize_within(&mut self, target: u64, on: &Nodes, within: u64) {
        let target = i64::try_from(target).unwrap_or(i64::MAX);
        let on: Nodes = on.intersection(&self.with_memory).copied().collect();
        while self.surplus() > 0 && target > self.persistent() {
            let nodes = &mut self.nodes;
            let Some(node) = Self::turn(&on, &mut self.next_made, |n| nodes[n].surplus > 0) else { break };
            self.nodes[node].surplus -= 1;
        }
        while target > self.persistent() && self.nr() < self.memory {
            let Some(node) = Self::turn(&on, &mut self.next_made, |n| within >> n & 1 == 1) else { break };
            self.nodes[node].nr += 1;
            self.nodes[node].free += 1;
        }
        // Pages that reservations or users hold are not freed; the surplus part of the free ones does not count.
        let (free, persistent) = (self.free(), self.persistent());
        let free_persistent = if free > persistent { (free - self.surplus()).max(0) } else { free };
        let needed = self.resv + persistent - free_persistent;
        // The kernel computes unsigned: below zero the floor is enormous and nothing is freed.
        let floor = if needed < 0 { i64::MAX } else { needed.max(target) };
        while self.persistent() > floor {
            let nodes = &mut self.nodes;
            let Some(node) = Self::turn(&on, &mut self.next_freed, |n| nodes[n].free > 0) else { break };
            self.nodes[node].nr -= 1;
            self.nodes[node].free -= 1;
        }
        while self.persistent() > target {
            let nodes = &mut self.nodes;
            let fits = |n: usize| nodes[n].surplus < nodes[n].nr;
            let Some(node) = Self::turn(&on, &mut self.next_freed, fits) else { break };
            self.nodes[node].surplus += 1;
        }
    }

    /// The administrator's number for one node: the others keep what they have.
    pub(super) fn resize_node(&mut self, target: u64, node: usize) {
        // What the other nodes have may be less than nothing, where their surplus is more than their pages; here that counts as nothing.
        let others = (self.persistent() - (self.nodes[node].nr - self.nodes[node].surplus)).max(0);
        self.resize(target.saturating_add_signed(others), &Nodes::from([node]));
    }

    /// Reserves `pages` for a task that may use some nodes: missing ones are made as surplus on the first of these, all or none.
    pub(super) fn reserve(&mut self, pages: i64, nearest: &[usize]) -> bool {
        if pages == 0 {
            return true;
        }
        let missing = (self.resv + pages - self.free()).max(0);
        if missing > 0 {
            let Some(&node) = nearest.first().filter(|_| self.may_grow_by(missing)) else { return false };
            self.nodes[node].nr += missing;
            self.nodes[node].free += missing;
            self.nodes[node].surplus += missing;
        }
        self.resv += pages;
        // Roughly: free pages of the nodes count, whoever they were promised to.
        let at_hand: i64 = nearest.iter().map(|&node| self.nodes[node].free).sum();
        if pages > at_hand {
            self.unreserve(pages);
            return false;
        }
        true
    }

    /// Gives reservations back; as many free surplus pages leave.
    pub(super) fn unreserve(&mut self, pages: i64) {
        self.resv -= pages;
        for _ in 0..pages.min(self.surplus()).max(0) {
            let nodes = &self.nodes;
            let fits = |n: usize| nodes[n].surplus > 0 && nodes[n].free > 0;
            let Some(node) = Self::turn(&self.with_memory, &mut self.next_freed, fits) else { break };
            self.nodes[node].nr -= 1;
            self.nodes[node].free -= 1;
            self.nodes[node].surplus -= 1;
        }
    }

    /// Takes one page into use: a free one, which without reservation must be above what is promised, else a new surplus
    /// page. `rounds` are the nodes to look through in order. Where the page lies.
    pub(super) fn take(&mut self, claim: Claim, rounds: &[Vec<usize>]) -> Option<usize> {
        let may_dequeue = claim == Claim::Reserved || self.free() > self.resv;
        let mut all = rounds.iter().flatten().copied();
        let free = all.clone().find(|&node| may_dequeue && self.nodes[node].free > 0);
        let node = if let Some(node) = free {
            self.nodes[node].free -= 1;
            node
        } else {
            let node = all.next().filter(|_| self.may_grow_by(1))?;
            self.nodes[node].nr += 1;
            self.nodes[node].surplus += 1;
            node
        };
        if claim == Claim::Reserved {
            self.resv -= 1;
        }
        Some(node)
    }

    /// Takes a free page that was promised, of the first of `nodes` that has one; none is made.
    pub(super) fn take_promised(&mut self, nodes: &[usize]) -> Option<usize> {
        let node = nodes.iter().copied().find(|&node| self.nodes[node].free > 0)?;
        self.nodes[node].free -= 1;
        self.resv -= 1;
        Some(node)
    }

    /// What becomes of a page that was taken to move something to it, which then stayed.
    pub(super) fn move_in_vain(&mut self, rounds: &[Vec<usize>], rule: FreeRule) -> bool {
        let first = rounds.first().map_or(&[][..], Vec::as_slice);
        if self.free() > self.resv
            && let Some(to) = first.iter().copied().find(|&node| self.nodes[node].free > 0)
        {
            self.nodes[to].free -= 1;
            self.put(to, false, rule);
            return true;
        }
        rounds.iter().flatten().next().is_some()
    }

    /// Frees one page that was in use. A page that `restores` gives its reservation back. While its node has surplus
    /// the page leaves the pool, unless a promise needs it.
    pub(super) fn put(&mut self, node: usize, restores: bool, rule: FreeRule) {
        if restores {
            self.resv += 1;
        }
        let not_needed = rule == FreeRule::SurplusFirst || self.free() >= self.resv;
        let node = &mut self.nodes[node];
        if node.surplus > 0 && not_needed {
            node.nr -= 1;
            node.surplus -= 1;
        } else {
            node.free += 1;
        }
    }

    /// Moves what a page in use stands for to another page, a free one of the first round or one that is made for this: totals stay. Where it is then,
    /// and whether it was made; nothing if there is nowhere to go.
    pub(super) fn move_page(&mut self, from: usize, rounds: &[Vec<usize>], rule: FreeRule) -> Option<(usize, bool)> {
        let first = rounds.first().map_or(&[][..], Vec::as_slice);
        if self.free() > self.resv
            && let Some(to) = first.iter().copied().find(|&node| self.nodes[node].free > 0)
        {
            self.nodes[to].free -= 1;
            self.put(from, false, rule);
            return Some((to, false));
        }
        let to = rounds.iter().flatten().copied().next()?;
        self.nodes[to].nr += 1;
        self.nodes[from].nr -= 1;
        if to != from && self.nodes[from].surplus > 0 {
            self.nodes[from].surplus -= 1;
            self.nodes[to].surplus += 1;
        }
        Some((to, true))
    }

    /// What always holds in a sound machine. A node may have more surplus than pages: a shrink takes free pages wherever they are.
    pub(super) fn is_sound(&self) -> bool {
        let sound = |node: &PoolNode| 0 <= node.free && node.free <= node.nr && 0 <= node.surplus;
        let reserved = 0 <= self.resv && self.resv <= self.free();
        reserved && self.surplus() <= self.nr() && self.nodes.iter().all(sound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(nr: i64, free: i64, resv: i64, surplus: i64) -> Pool {
        Pool { nodes: vec![PoolNode { nr, free, surplus }], resv, ..Pool::new() }
    }

    #[test]
    fn a_shrink_leaves_used_and_reserved_pages_as_surplus() {
        let mut shrunk = pool(4, 2, 1, 0);
        for (target, expected) in [(0, pool(3, 1, 1, 3)), (2, pool(3, 1, 1, 1)), (3, pool(3, 1, 1, 0))] {
            shrunk.resize(target, &Nodes::from([0]));
            assert_eq!(shrunk, expected, "set to {target}");
        }
    }

    #[test]
    fn a_restored_reservation_keeps_its_page() {
        let mut sound = pool(4, 2, 2, 2);
        sound.put(0, true, FreeRule::KeepsPromises);
        assert_eq!(sound, pool(4, 3, 3, 2));
        let mut kernel = pool(4, 2, 2, 2);
        kernel.put(0, true, FreeRule::SurplusFirst);
        assert_eq!(kernel, pool(3, 2, 3, 1));
    }
}
