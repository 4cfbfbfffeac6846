//! The smallest changes after which `mmap` and every touch succeed.

use std::fmt;

use hugetlb::{AllocRefusal, ReserveRefusal, SurplusRefusal};
use mm::MmapError;
use units::{Bytes, HugeCount, HugeSize, NodeId, Order};

use super::decide::{Stop, first_stop, pages_of, pool_of};
use super::host::{Host, MountLimits};
use super::verdict::{GroupCounter, MapRefusal, OverGroupLimit, TouchRefusal, Wish};
use crate::text::{KnobPath, NodeKnob, PoolKnob, SysctlKnob};

/// One change; it prints as a command.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mend {
    /// A larger pool, or a larger cap on surplus pages.
    Knob {
        /// Which file.
        path: KnobPath,
        /// What to write.
        count: HugeCount,
    },
    /// A higher limit of a control group.
    Limit {
        /// Which file.
        file: String,
        /// What to write.
        limit: Bytes,
    },
    /// Another mount with a higher limit: that of a mount does not change any more. (A remount says that all went well and
    /// changes nothing.)
    Mount {
        /// Where.
        dir: String,
        /// The size of its pages.
        size: HugeSize,
        /// `size=`, in pages.
        max: HugeCount,
    },
    /// Memory is free, but in pieces that are too small: moving what is in use may join them.
    Compact,
    /// Memory is not free: giving cached files up may free some.
    Reclaim,
    /// A pool that is there from boot.
    Boot {
        /// The size of its pages.
        size: HugeSize,
        /// How many.
        count: HugeCount,
    },
}

impl fmt::Display for Mend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Knob { path, count } => write!(f, "echo {} > {path}", count.get()),
            Self::Limit { file, limit } => write!(f, "echo {} > {file}", limit.get()),
            Self::Mount { dir, size, max } => {
                write!(f, "mount -t hugetlbfs -o pagesize={size},size={} none {dir}", size.total(*max).get())
            }
            Self::Compact => f.write_str("echo 1 > /proc/sys/vm/compact_memory"),
            Self::Reclaim => f.write_str("echo 3 > /proc/sys/vm/drop_caches && echo 1 > /proc/sys/vm/compact_memory"),
            Self::Boot { size, count } => write!(f, "boot with hugepagesz={size} hugepages={}", count.get()),
        }
    }
}

/// No host needs as many: after so many changes something is wrong with its numbers.
const MOST: usize = 64;

/// What to change, in order, so that all of `wish` succeeds; empty if it does already or if nothing here would help.
#[must_use]
pub fn mends(host: &Host, wish: &Wish) -> Vec<Mend> {
    let mut plan = Plan { host: host.clone(), wish: *wish, mends: Vec::new() };
    for _ in 0..MOST {
        let Some(stop) = first_stop(&plan.host, wish) else { return plan.mends };
        if plan.mend(&stop).is_none() {
            return Vec::new();
        }
    }
    Vec::new()
}

/// A host as it will be once the changes so far are made.
struct Plan {
    host: Host,
    wish: Wish,
    mends: Vec<Mend>,
}

impl Plan {
    /// Removes what stops the wish first; nothing if that is not possible.
    fn mend(&mut self, stop: &Stop) -> Option<()> {
        if let Stop::Map(MapRefusal::NoPool(missing)) = stop {
            let size = missing.0.size()?;
            let count = pages_of(size, &self.wish).ok()?;
            self.mends.push(Mend::Boot { size, count });
            // Nothing is known of such a machine, but that it has these pages.
            let pool = super::host::HostPool::persistent(size, count, self.host.allowed.next_from(NodeId::new(0))?);
            self.host.pools.push(pool);
            return Some(());
        }
        let size = pool_of(&self.host, &self.wish).ok()?.size;
        let pages = pages_of(size, &self.wish).ok()?;
        match stop {
            Stop::Map(MapRefusal::Group(over)) => self.raise(size, over, over.asked),
            Stop::Touch { after, refusal: TouchRefusal::Group(over) } => self.raise(size, over, pages - *after),
            Stop::Map(MapRefusal::Mmap(MmapError::Refused(refusal))) => match refusal {
                ReserveRefusal::Subpool(_) => self.mount_again(size, pages),
                ReserveRefusal::Pool { asked, free, resv, surplus } => {
                    let short = resv.saturating_add(*asked).saturating_sub(*free);
                    self.find_pages(size, Lack { pages: short, surplus: self.surplus(size), again: true }, surplus)
                }
                ReserveRefusal::Cpuset { asked, free } => self.grow(size, *asked - *free),
                _ => None,
            },
            Stop::Touch { refusal: TouchRefusal::Alloc(AllocRefusal::Subpool(_)), .. } => self.mount_again(size, pages),
            Stop::Touch {
                after,
                refusal: TouchRefusal::Alloc(AllocRefusal::Pool { surplus, .. } | AllocRefusal::Node { surplus, .. }),
            } => {
                let there = match surplus {
                    SurplusRefusal::Overcommit { surplus, .. } => *surplus,
                    _ => self.surplus(size),
                };
                self.find_pages(size, Lack { pages: pages - *after, surplus: there, again: false }, surplus)
            }
            _ => None,
        }
    }

    /// Writes a file; what was to be written to it before is out of date then.
    fn set(&mut self, mend: Mend) {
        let same = |old: &Mend| match (old, &mend) {
            (Mend::Knob { path: a, .. }, Mend::Knob { path: b, .. }) => a == b,
            (Mend::Limit { file: a, .. }, Mend::Limit { file: b, .. }) => a == b,
            (old, new) => old == new,
        };
        match self.mends.iter_mut().find(|old| same(old)) {
            Some(old) => *old = mend,
            None => self.mends.push(mend),
        }
    }

    /// A control group's limit that lets `more` pages be charged.
    fn raise(&mut self, size: HugeSize, over: &OverGroupLimit, more: HugeCount) -> Option<()> {
        let group = self.host.groups.iter_mut().find(|group| group.folder == over.folder)?;
        let file = group.limit_file(size, over.counter);
        let count = group.counts.iter_mut().find(|(of, _)| *of == size).map(|(_, count)| count)?;
        let limit = over.charged.checked_add(more)?;
        match over.counter {
            GroupCounter::Usage => count.usage_limit = limit,
            GroupCounter::Rsvd => count.rsvd_limit = limit,
        }
        let limit = limit.get().checked_mul(size.bytes().get()).map(Bytes::new)?;
        self.set(Mend::Limit { file, limit });
        Some(())
    }

    fn mount_again(&mut self, size: HugeSize, pages: HugeCount) -> Option<()> {
        let mount = self.host.mount.as_mut()?;
        mount.limits = Some(MountLimits { max: Some(pages), used: HugeCount::ZERO, min: HugeCount::ZERO });
        let dir = mount.dir.clone();
        self.mends.push(Mend::Mount { dir, size, max: pages });
        Some(())
    }

    fn surplus(&self, size: HugeSize) -> HugeCount {
        self.host.pool(size).map_or(HugeCount::ZERO, |pool| pool.balance.surplus)
    }

    /// More pages, of the kind that is the smallest change: surplus ones where there may be some, persistent ones where there
    /// may be none.
    fn find_pages(&mut self, size: HugeSize, lack: Lack, refused: &SurplusRefusal) -> Option<()> {
        match refused {
            SurplusRefusal::Overcommit { limit, .. } if !limit.is_zero() => {
                let pool = self.host.pools.iter_mut().find(|pool| pool.size == size)?;
                pool.balance.overcommit = lack.surplus.saturating_add(lack.pages);
                let count = pool.balance.overcommit;
                let path = self.sysctl_or(size, SysctlKnob::NrOvercommitHugepages, PoolKnob::NrOvercommitHugepages);
                self.set(Mend::Knob { path, count });
                Some(())
            }
            SurplusRefusal::NoPages(_) => {
                // All blocks are used up by then. A promise counts those again, a touch counts what comes after them.
                let order = self.host.order(size)?;
                let counted = if lack.again { self.blocks(order) } else { HugeCount::ZERO };
                self.join_blocks(size, lack.pages.saturating_sub(counted))
            }
            _ => self.grow(size, lack.pages),
        }
    }

    /// The file of a pool; the default one has a shorter name.
    fn sysctl_or(&self, size: HugeSize, sysctl: SysctlKnob, knob: PoolKnob) -> KnobPath {
        if size == self.host.default { KnobPath::Sysctl(sysctl) } else { KnobPath::Pool { size, knob } }
    }

    /// Blocks of that order on the allowed nodes.
    fn blocks(&self, order: Order) -> HugeCount {
        let nodes = self.host.nodes.iter().filter(|node| self.host.allowed.contains(node.node));
        nodes.fold(HugeCount::ZERO, |sum, node| sum.saturating_add(node.room(order)))
    }

    /// `more` blocks of this size on the allowed nodes than there are.
    fn join_blocks(&mut self, size: HugeSize, more: HugeCount) -> Option<()> {
        let order = self.host.order(size)?;
        if more.is_zero() {
            return Some(());
        }
        let allowed = self.host.allowed;
        let nodes = self.host.nodes.iter().filter(|node| allowed.contains(node.node));
        let spare = nodes.map(|node| node.free().get() >> order.get()).fold(0, u64::saturating_add);
        let enough = self.blocks(order).saturating_add(more).get() <= spare;
        self.set(if enough { Mend::Compact } else { Mend::Reclaim });
        let node = self.host.nodes.iter_mut().find(|node| allowed.contains(node.node))?;
        node.put(order, more);
        Some(())
    }

    /// `more` persistent pages where the task may use them. Surplus pages become persistent first, so that the number to write
    /// counts all pages.
    fn grow(&mut self, size: HugeSize, more: HugeCount) -> Option<()> {
        let order = self.host.order(size)?;
        self.join_blocks(size, more.saturating_sub(self.blocks(order)))?;
        let allowed = self.host.allowed;
        let everywhere = self.host.all_nodes().intersection(allowed) == self.host.all_nodes();
        let candidates = self.host.nodes.iter().filter(|node| allowed.contains(node.node));
        let best = candidates.max_by_key(|node| node.room(order))?;
        let node = best.node;
        let more = if everywhere { more } else { more.min(best.room(order)) };
        if more.is_zero() {
            return None;
        }
        let path = self.sysctl_or(size, SysctlKnob::NrHugepages, PoolKnob::NrHugepages);
        let pool = self.host.pools.iter_mut().find(|pool| pool.size == size)?;
        let counts = pool.nodes.iter_mut().find(|(of, _)| *of == node).map(|(_, counts)| counts)?;
        pool.nr = pool.nr.checked_add(more)?;
        pool.balance.free = pool.balance.free.checked_add(more)?;
        let absorbed = if everywhere { pool.balance.surplus } else { counts.surplus };
        pool.balance.surplus = pool.balance.surplus.saturating_sub(absorbed);
        (counts.nr, counts.free) = (counts.nr.checked_add(more)?, counts.free.checked_add(more)?);
        let mend = if everywhere {
            Mend::Knob { path, count: pool.nr }
        } else {
            counts.surplus = HugeCount::ZERO;
            Mend::Knob { path: KnobPath::Node { node, size, knob: NodeKnob::NrHugepages }, count: counts.nr }
        };
        if everywhere {
            pool.nodes.iter_mut().for_each(|(_, counts)| counts.surplus = HugeCount::ZERO);
        }
        self.take_blocks(order, node, more);
        self.set(mend);
        Some(())
    }

    /// The memory of new persistent pages is not free any more: that of `first`, then that of the other allowed nodes.
    fn take_blocks(&mut self, order: Order, first: NodeId, count: HugeCount) {
        let allowed = self.host.allowed;
        let mut left = count;
        let (near, far): (Vec<_>, Vec<_>) = self.host.nodes.iter_mut().partition(|node| node.node == first);
        for node in near.into_iter().chain(far).filter(|node| allowed.contains(node.node)) {
            left -= node.take(order, left);
        }
    }
}

/// Pages that are missing.
struct Lack {
    pages: HugeCount,
    /// Surplus pages that there are besides.
    surplus: HugeCount,
    /// Do `pages` count those again that could be made?
    again: bool,
}
