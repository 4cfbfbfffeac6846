//! Free blocks of the largest order, as runs.

use alloc::vec::Vec;

use crate::list::{End, FreeList, Link, NIL, Nodes};

/// Blocks that follow each other both in memory and on their list, upwards or downwards.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// The block at the list's head side.
    first: u32,
    /// The block at its tail side.
    last: u32,
    link: Link,
    news: News,
}

/// Does the host know that blocks are free?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    Unreported,
    Reported,
}

impl Run {
    const fn blocks(self) -> u32 {
        self.first.abs_diff(self.last) + 1
    }

    const fn lowest(self) -> u32 {
        if self.first < self.last { self.first } else { self.last }
    }

    const fn contains(self, block: u32) -> bool {
        block.wrapping_sub(self.lowest()) < self.blocks()
    }

    /// Are blocks that go from head to tail as `before` and then as `after` one run?
    #[inline]
    const fn joins(before: (u32, u32), after: (u32, u32)) -> bool {
        let upwards = before.1.wrapping_add(1) == after.0 && before.0 <= before.1 && after.0 <= after.1;
        let downwards = before.1 == after.0.wrapping_add(1) && before.0 >= before.1 && after.0 >= after.1;
        upwards || downwards
    }
}

/// Runs of free blocks of the largest order; a block is named by its number among blocks of that order. Blocks of this order have no
/// buddies, so nobody looks one up except to take it out of use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs {
    nodes: Vec<Run>,
    spare: Vec<u32>,
}

impl Nodes for Runs {
    #[inline]
    fn link(&self, node: u32) -> Link {
        self.nodes[node as usize].link
    }

    #[inline]
    fn link_mut(&mut self, node: u32) -> &mut Link {
        &mut self.nodes[node as usize].link
    }
}

impl Runs {
    /// Adds blocks of which the host does not know at the head, the highest first.
    #[inline(always)]
    pub(crate) fn push_down(&mut self, list: &mut FreeList, high: u32, low: u32) {
        list.blocks += u64::from(high - low) + 1;
        if let Some(run) = self.nodes.get_mut(list.head as usize)
            && run.news == News::Unreported
            && Run::joins((high, low), (run.first, run.last))
        {
            run.first = high;
            return;
        }
        let node = self.add(high, low, News::Unreported);
        list.link(self, node, End::Head);
    }

    /// Adds the blocks from `first` to `last`, so that `first` is nearer to the head.
    #[inline]
    pub(crate) fn push(&mut self, list: &mut FreeList, first: u32, last: u32, end: End) {
        self.push_news(list, first, last, end, News::Unreported);
    }

    /// The same for blocks that the host knows of, or does not.
    #[inline]
    pub(crate) fn push_news(&mut self, list: &mut FreeList, first: u32, last: u32, end: End, news: News) {
        list.blocks += u64::from(first.abs_diff(last)) + 1;
        match end {
            End::Head => {
                if let Some(run) = self.nodes.get_mut(list.head as usize)
                    && run.news == news
                    && Run::joins((first, last), (run.first, run.last))
                {
                    run.first = first;
                    return;
                }
            }
            End::Tail => {
                if let Some(run) = self.nodes.get_mut(list.tail as usize)
                    && run.news == news
                    && Run::joins((run.first, run.last), (first, last))
                {
                    run.last = last;
                    return;
                }
            }
        }
        let node = self.add(first, last, news);
        list.link(self, node, end);
    }

    /// Takes the block at the head.
    #[inline(always)]
    pub(crate) fn pop(&mut self, list: &mut FreeList) -> Option<u32> {
        let node = list.head;
        let run = self.nodes.get_mut(node as usize)?;
        list.blocks -= 1;
        let block = run.first;
        if block == run.last {
            list.unlink_head(self);
            self.spare.push(node);
        } else if block < run.last {
            run.first = block + 1;
        } else {
            run.first = block - 1;
        }
        Some(block)
    }

    /// Takes out every block from `lowest` to `highest` that is on the list; how many these were.
    pub(crate) fn remove(&mut self, list: &mut FreeList, lowest: u32, highest: u32) -> u64 {
        let mut removed = 0;
        let mut node = list.head;
        while node != NIL {
            let run = self.nodes[node as usize];
            let next = run.link.next;
            let (from, to) = (run.lowest().max(lowest), (run.lowest() + run.blocks() - 1).min(highest));
            if from <= to {
                removed += u64::from(to - from) + 1;
                self.cut(list, node, from, to);
            }
            node = next;
        }
        list.blocks -= removed;
        removed
    }

    /// The lowest block of a list and the run that has it; [`NIL`] for both where there is none.
    #[inline]
    pub(crate) fn lowest(&self, list: FreeList) -> (u32, u32) {
        let (mut node, mut lowest) = (list.head, (NIL, NIL));
        while node != NIL {
            let run = &self.nodes[node as usize];
            if run.lowest() < lowest.0 {
                lowest = (run.lowest(), node);
            }
            node = run.link.next;
        }
        lowest
    }

    /// Takes the blocks from `from` to `to` out of a run, if it has all of them. The count of blocks is the caller's.
    #[inline]
    pub(crate) fn take_from(&mut self, list: &mut FreeList, node: u32, from: u32, to: u32) -> bool {
        let Some(run) = self.nodes.get(node as usize) else { return false };
        let (lowest, highest) = (run.first.min(run.last), run.first.max(run.last));
        if from < lowest || highest < to {
            return false;
        }
        if from == lowest && to == highest {
            list.unlink(self, node);
            self.spare.push(node);
        } else {
            self.cut(list, node, from, to);
        }
        true
    }

    /// Takes the blocks from `from` to `to` out of the run that has them.
    pub(crate) fn cut(&mut self, list: &mut FreeList, node: u32, from: u32, to: u32) {
        let run = self.nodes[node as usize];
        let upwards = run.first <= run.last;
        let (near, far) = if upwards { (from, to) } else { (to, from) };
        let step = |block: u32, forward: bool| if upwards == forward { block + 1 } else { block - 1 };
        match (near == run.first, far == run.last) {
            (true, true) => {
                list.unlink(self, node);
                self.spare.push(node);
            }
            (true, false) => self.nodes[node as usize].first = step(far, true),
            (false, true) => self.nodes[node as usize].last = step(near, false),
            (false, false) => {
                self.nodes[node as usize].last = step(near, false);
                let rest = self.add(step(far, true), run.last, run.news);
                self.nodes[rest as usize].link = Link { prev: node, next: run.link.next };
                match run.link.next {
                    NIL => list.tail = rest,
                    next => self.nodes[next as usize].link.prev = rest,
                }
                self.nodes[node as usize].link.next = rest;
            }
        }
    }

    /// Every run of a list from head to tail: its first and its last block.
    pub(crate) fn of(&self, list: FreeList) -> impl Iterator<Item = (u32, u32)> {
        list.nodes(self).map(|node| (self.nodes[node as usize].first, self.nodes[node as usize].last))
    }

    /// The blocks of a list that the host does not know of, from head to tail.
    pub(crate) fn unreported(&self, list: FreeList) -> impl Iterator<Item = u32> {
        let nodes = list.nodes(self).map(|node| self.nodes[node as usize]);
        nodes.filter(|run| run.news == News::Unreported).flat_map(|run| {
            (0..run.blocks()).map(move |n| if run.first <= run.last { run.first + n } else { run.first - n })
        })
    }

    pub(crate) fn contains(&self, list: FreeList, block: u32) -> bool {
        list.nodes(self).any(|node| self.nodes[node as usize].contains(block))
    }

    /// A block from `lowest` to `highest` that is on the list.
    pub(crate) fn first_of(&self, list: FreeList, lowest: u32, highest: u32) -> Option<u32> {
        list.nodes(self).find_map(|node| {
            let run = self.nodes[node as usize];
            let from = run.lowest().max(lowest);
            (from <= highest && run.contains(from)).then_some(from)
        })
    }

    #[inline]
    fn add(&mut self, first: u32, last: u32, news: News) -> u32 {
        let run = Run { first, last, link: Link::NONE, news };
        let Some(node) = self.spare.pop() else { return self.add_node(run) };
        self.nodes[node as usize] = run;
        node
    }

    #[cold]
    fn add_node(&mut self, run: Run) -> u32 {
        self.nodes.push(run);
        u32::try_from(self.nodes.len() - 1).expect("there are fewer runs than frames")
    }
}
