//! What changes while a mapping is made and touched, as far as it decides.

use hugetlb::{AllocRefusal, Balance, Claim, ReserveRefusal, Subpool, SurplusRefusal};
use page_alloc::{NoBlock, NoPages};
use units::{HugeCount, Ledger, Order, PageCount};

use super::host::{GroupCount, Host, HostPool};
use super::verdict::{GroupCounter, OverGroupLimit, TouchRefusal};

pub(super) const ONE: HugeCount = HugeCount::new(1);

/// An allowed node.
struct Node {
    free: HugeCount,
    /// Blocks of this page size that the page allocator has.
    blocks: HugeCount,
    /// Free base pages that can be had.
    spare: PageCount,
    /// Those below the marks.
    kept: PageCount,
    zones: u32,
}

/// A group and what it is charged now.
struct Group<'a> {
    folder: &'a str,
    count: GroupCount,
}

impl Group<'_> {
    /// How many more pages may be charged, if that is `asked` at least.
    fn room(&self, counter: GroupCounter, asked: HugeCount) -> Result<HugeCount, OverGroupLimit> {
        let (charged, limit) = match counter {
            GroupCounter::Usage => (self.count.usage, self.count.usage_limit),
            GroupCounter::Rsvd => (self.count.rsvd, self.count.rsvd_limit),
        };
        let refused = OverGroupLimit { folder: self.folder.to_owned(), counter, charged, limit, asked };
        charge::room(charged, limit, asked).ok_or(refused)
    }

    fn charge(&mut self, counter: GroupCounter, pages: HugeCount) {
        let charged = match counter {
            GroupCounter::Usage => &mut self.count.usage,
            GroupCounter::Rsvd => &mut self.count.rsvd,
        };
        *charged = charged.saturating_add(pages);
    }
}

/// Was a page promised before it was touched?
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Promised {
    /// By `mmap`.
    Yes,
    /// No: the touch asks for everything.
    No,
}

/// One pool, one mount and one task's groups.
pub(super) struct State<'a> {
    balance: Balance,
    order: Order,
    largest: Order,
    nodes: Vec<Node>,
    groups: Vec<Group<'a>>,
    subpool: Option<Subpool>,
}

impl<'a> State<'a> {
    pub(super) fn new(host: &'a Host, pool: &HostPool) -> Self {
        let order = host.order(pool.size).unwrap_or(Order::MAX);
        let nodes = host.nodes.iter().filter(|node| host.allowed.contains(node.node)).map(|node| Node {
            free: pool.nodes.iter().find(|(of, _)| *of == node.node).map_or(HugeCount::ZERO, |(_, counts)| counts.free),
            blocks: node.blocks_of(order),
            spare: node.free(),
            kept: node.kept,
            zones: node.zones,
        });
        let groups = host.groups.iter().map(|group| Group { folder: &group.folder, count: group.count(pool.size) });
        Self {
            balance: pool.balance,
            order,
            largest: host.largest,
            nodes: nodes.collect(),
            groups: groups.collect(),
            subpool: host.mount.as_ref().and_then(|mount| mount.limits).map(|limits| limits.subpool()),
        }
    }

    /// The least room that a group leaves, from the task's own upwards.
    pub(super) fn room(&self, counter: GroupCounter, asked: HugeCount) -> Result<HugeCount, OverGroupLimit> {
        self.groups.iter().try_fold(HugeCount::MAX, |room, group| Ok(room.min(group.room(counter, asked)?)))
    }

    pub(super) fn charge(&mut self, counter: GroupCounter, pages: HugeCount) {
        self.groups.iter_mut().for_each(|group| group.charge(counter, pages));
    }

    /// Takes `count` pages of the mount; what is left is to be reserved in the pool.
    pub(super) fn take(&mut self, count: HugeCount) -> Result<HugeCount, hugetlb::SubpoolFull> {
        self.subpool.as_mut().map_or(Ok(count), |subpool| subpool.take(count))
    }

    /// Reserves `count` pages in the pool, with surplus pages if need be.
    pub(super) fn reserve(&mut self, count: HugeCount) -> Result<(), ReserveRefusal> {
        if count.is_zero() {
            return Ok(());
        }
        let Balance { free, resv, .. } = self.balance;
        let short = self.balance.shortfall(count);
        let mut left = short;
        let mut gathered = vec![HugeCount::ZERO; self.nodes.len()];
        while !left.is_zero() {
            let made = self.make_surplus(left);
            let (at, made) = made.map_err(|surplus| ReserveRefusal::Pool { asked: count, free, resv, surplus })?;
            gathered[at] += made;
            left -= made;
        }
        self.balance.resv = resv.saturating_add(count);
        self.balance.free = free.saturating_add(short);
        self.nodes.iter_mut().zip(gathered).for_each(|(node, made)| node.free = node.free.saturating_add(made));
        let on_allowed = self.free_on_allowed();
        if count > on_allowed {
            return Err(ReserveRefusal::Cpuset { asked: count, free: on_allowed });
        }
        Ok(())
    }

    pub(super) fn free_on_allowed(&self) -> HugeCount {
        self.nodes.iter().fold(HugeCount::ZERO, |sum, node| sum.saturating_add(node.free))
    }

    /// Makes surplus pages, at most `wanted`, all on one node; says where and how many. They are neither free nor anybody's yet.
    fn make_surplus(&mut self, wanted: HugeCount) -> Result<(usize, HugeCount), SurplusRefusal> {
        if self.order > self.largest {
            return Err(SurplusRefusal::Gigantic);
        }
        let room = self.balance.surplus_room()?.min(wanted);
        let Some(at) = self.nodes.iter().position(|node| !node.blocks.is_zero()) else {
            return Err(self.no_pages().into());
        };
        let node = &mut self.nodes[at];
        let made = room.min(node.blocks);
        node.blocks -= made;
        let used = made.get().saturating_mul(self.order.pages().get());
        node.spare = node.spare.saturating_sub(PageCount::new(used));
        self.balance.surplus += made;
        Ok((at, made))
    }

    fn no_pages(&self) -> NoPages {
        NoPages::NoBlock(NoBlock {
            order: self.order,
            zones: self.nodes.iter().map(|node| node.zones).sum(),
            free: self.nodes.iter().map(|node| node.spare.saturating_add(node.kept)).sum(),
            refused_by: match () {
                () if self.nodes.is_empty() => Ledger::Node,
                () if self.nodes.iter().all(|node| node.spare.is_zero()) => Ledger::Watermark,
                () => Ledger::Contiguity,
            },
        })
    }

    /// Touches pages as long as the same counters serve them, at most `wanted`; says how many.
    pub(super) fn touch(&mut self, wanted: HugeCount, promised: Promised) -> Result<HugeCount, TouchRefusal> {
        let mut run = wanted;
        let mut claim = if promised == Promised::Yes { Claim::Reserved } else { Claim::Available };
        if promised == Promised::No {
            if let Some(subpool) = &self.subpool {
                run = run.min(subpool.room(ONE).map_err(AllocRefusal::from)?);
                if !subpool.rsv().is_zero() {
                    claim = Claim::Reserved;
                    run = run.min(subpool.rsv());
                }
            }
            run = run.min(self.room(GroupCounter::Rsvd, ONE)?);
        }
        run = run.min(self.room(GroupCounter::Usage, ONE)?);
        run = self.take_pages(run, claim)?;
        self.charge(GroupCounter::Usage, run);
        if promised == Promised::No {
            self.charge(GroupCounter::Rsvd, run);
            self.take(run).map_err(AllocRefusal::from)?;
        }
        Ok(run)
    }

    /// Takes free pages of one node, or makes surplus ones.
    fn take_pages(&mut self, wanted: HugeCount, claim: Claim) -> Result<HugeCount, AllocRefusal> {
        let balance = self.balance;
        let claimable = |node: &Node| balance.claimable(node.free, claim);
        if let Some(node) = self.nodes.iter_mut().find(|node| !claimable(node).is_zero()) {
            let run = wanted.min(claimable(node));
            node.free -= run;
            self.balance.free = balance.free.saturating_sub(run);
            self.spend(run, claim);
            return Ok(run);
        }
        match self.make_surplus(wanted) {
            Ok((_, run)) => {
                self.spend(run, claim);
                Ok(run)
            }
            Err(surplus) => {
                let Balance { free, resv, .. } = self.balance;
                let available = if claim == Claim::Reserved { free } else { free.saturating_sub(resv) };
                Err(if available.is_zero() {
                    AllocRefusal::Pool { free, resv, surplus }
                } else {
                    AllocRefusal::Node { available, surplus }
                })
            }
        }
    }

    fn spend(&mut self, pages: HugeCount, claim: Claim) {
        if claim == Claim::Reserved {
            self.balance.resv = self.balance.resv.saturating_sub(pages);
        }
    }
}
