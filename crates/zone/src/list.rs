//! Free lists.

use crate::zone::{ORDERS, bit};

/// No node.
pub(crate) const NIL: u32 = u32::MAX;

/// The neighbours of a node on its list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) prev: u32,
    pub(crate) next: u32,
}

impl Link {
    pub(crate) const NONE: Self = Self { prev: NIL, next: NIL };
}

/// Where the nodes of a list have their links.
pub(crate) trait Nodes {
    fn link(&self, node: u32) -> Link;
    fn link_mut(&mut self, node: u32) -> &mut Link;
}

/// The end of a list where a block goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It is taken next.
    Head,
    /// It is taken last.
    Tail,
}

/// The free blocks of one order and type, in the order in which they are handed out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FreeList {
    pub(crate) head: u32,
    pub(crate) tail: u32,
    /// Blocks, which are more than nodes where a node is a run.
    pub(crate) blocks: u64,
}

impl FreeList {
    pub(crate) const EMPTY: Self = Self { head: NIL, tail: NIL, blocks: 0 };

    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.head == NIL
    }

    /// Adds a node; the count of blocks is the caller's.
    #[inline]
    pub(crate) fn link(&mut self, nodes: &mut impl Nodes, node: u32, end: End) {
        match end {
            End::Head => {
                *nodes.link_mut(node) = Link { prev: NIL, next: self.head };
                if self.head == NIL {
                    self.tail = node;
                } else {
                    nodes.link_mut(self.head).prev = node;
                }
                self.head = node;
            }
            End::Tail => {
                *nodes.link_mut(node) = Link { prev: self.tail, next: NIL };
                if self.tail == NIL {
                    self.head = node;
                } else {
                    nodes.link_mut(self.tail).next = node;
                }
                self.tail = node;
            }
        }
    }

    /// Takes a node of this list out.
    #[inline]
    pub(crate) fn unlink(&mut self, nodes: &mut impl Nodes, node: u32) {
        let Link { prev, next } = nodes.link(node);
        if prev == NIL {
            self.head = next;
        } else {
            nodes.link_mut(prev).next = next;
        }
        if next == NIL {
            self.tail = prev;
        } else {
            nodes.link_mut(next).prev = prev;
        }
    }

    /// Takes the first node out, if there is one.
    #[inline]
    pub(crate) fn unlink_head(&mut self, nodes: &mut impl Nodes) -> Option<u32> {
        let node = self.head;
        if node == NIL {
            return None;
        }
        let next = nodes.link(node).next;
        self.head = next;
        if next == NIL {
            self.tail = NIL;
        } else {
            nodes.link_mut(next).prev = NIL;
        }
        Some(node)
    }

    /// The nodes from head to tail.
    pub(crate) fn nodes<N: Nodes>(self, nodes: &N) -> impl Iterator<Item = u32> {
        let from = |node: u32| (node != NIL).then_some(node);
        core::iter::successors(from(self.head), move |&node| from(nodes.link(node).next))
    }
}

/// The free blocks of one type, by order.
#[derive(Clone, Debug)]
pub(crate) struct TypeLists {
    lists: [FreeList; ORDERS],
    /// Bit n: the list of order n has a block.
    pub(crate) occupied: u32,
}

impl TypeLists {
    pub(crate) const EMPTY: Self = Self { lists: [FreeList::EMPTY; ORDERS], occupied: 0 };

    /// The list of an order; all orders of a zone are below 16.
    #[inline]
    pub(crate) const fn of(&self, order: usize) -> &FreeList {
        &self.lists[order % ORDERS]
    }

    /// The same, to change it; [`TypeLists::settle`] comes after.
    #[inline]
    pub(crate) const fn of_mut(&mut self, order: usize) -> &mut FreeList {
        &mut self.lists[order % ORDERS]
    }

    /// Notes whether a list has a block.
    #[inline]
    pub(crate) const fn settle(&mut self, order: usize) {
        if self.of(order).is_empty() {
            self.occupied &= !bit(order);
        } else {
            self.occupied |= bit(order);
        }
    }

    /// Puts a block on a list.
    #[inline(always)]
    pub(crate) fn link(&mut self, order: usize, nodes: &mut impl Nodes, node: u32, end: End) {
        let list = self.of_mut(order);
        list.link(nodes, node, end);
        list.blocks += 1;
        self.occupied |= bit(order);
    }

    /// Takes a block off a list.
    #[inline]
    pub(crate) fn unlink(&mut self, order: usize, nodes: &mut impl Nodes, node: u32) {
        let list = self.of_mut(order);
        list.unlink(nodes, node);
        list.blocks -= 1;
        if list.is_empty() {
            self.occupied &= !bit(order);
        }
    }

    /// Takes the block at the head of a list off.
    #[inline]
    pub(crate) fn unlink_head(&mut self, order: usize, nodes: &mut impl Nodes) -> Option<u32> {
        let list = self.of_mut(order);
        let node = list.unlink_head(nodes)?;
        list.blocks -= 1;
        if list.is_empty() {
            self.occupied &= !bit(order);
        }
        Some(node)
    }
}
