//! The ledger of one hstate.

use alloc_crate::collections::BTreeSet;
use alloc_crate::string::String;
use alloc_crate::vec::Vec;

use core::ops::{Deref, DerefMut};

use units::{HstateId, HugeCount, Name, NodeId, Nodemask};

use crate::record::{HugeFolio, Payers, Record};
use crate::records::Records;
use crate::{Balance, Claim};

/// Counters of one node of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct NodeCounts {
    /// All pages on the node.
    pub nr: HugeCount,
    /// Free ones.
    pub free: HugeCount,
    /// Surplus ones.
    pub surplus: HugeCount,
    /// Free ones whose memory is broken: they count as free, and nobody gets them.
    pub poisoned: HugeCount,
}

impl NodeCounts {
    /// Free pages that somebody could get.
    #[must_use]
    #[inline]
    pub fn sound(&self) -> HugeCount {
        self.free - self.poisoned
    }
}

/// Counters of a node in a line of cache of their own: threads on different nodes do not wait for each other's.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
#[repr(align(64))]
pub(crate) struct OwnLine(NodeCounts);

impl Deref for OwnLine {
    type Target = NodeCounts;

    #[inline]
    fn deref(&self) -> &NodeCounts {
        &self.0
    }
}

impl DerefMut for OwnLine {
    #[inline]
    fn deref_mut(&mut self) -> &mut NodeCounts {
        &mut self.0
    }
}

/// All counters of one hstate. The section that decides.
///
/// What nearly every path changes comes first, in the order written: it shares one line of cache with the lock of the section.
#[doc(alias = "hstate")]
#[derive(Clone, Debug)]
#[repr(C)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Pool {
    pub(crate) max: HugeCount,
    pub(crate) nr: HugeCount,
    pub(crate) free: HugeCount,
    pub(crate) resv: HugeCount,
    pub(crate) surplus: HugeCount,
    pub(crate) overcommit: HugeCount,
    pub(crate) demote_to: Option<HstateId>,
    pub(crate) nodes: Vec<OwnLine>,
    pub(crate) next_to_alloc: NodeId,
    pub(crate) next_to_free: NodeId,
    /// Slots that there are, and those among them that mean nothing.
    slots: u32,
    vacant: Vec<u32>,
    /// What is in them. Elsewhere while many threads work on the pool.
    records: Records,
    /// How asking the page allocator for pages went.
    #[cfg_attr(feature = "serde", serde(default))]
    pub(crate) tries: Tries,
    /// Pages that it does not count any more and whose memory was not given back yet.
    #[cfg_attr(feature = "serde", serde(default))]
    pub(crate) leaving: HugeCount,
}

/// How often the page allocator was asked for a page of a pool whose pages it has as blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Tries {
    /// It had one (`htlb_buddy_alloc_success`).
    pub successes: u64,
    /// It had none (`htlb_buddy_alloc_fail`). Where a policy asks elsewhere then, that is another try.
    pub failures: u64,
}

/// What becomes of a folio that was freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Stays in the pool.
    Kept,
    /// Stays, although there are surplus pages: a reservation needs it.
    KeptForReservation,
    /// Leaves it.
    Destroyed,
}

impl Pool {
    /// An empty pool for a machine whose highest node is `last_node`; its pages are demoted to `demote_to`, unless told otherwise.
    #[must_use]
    pub fn new(last_node: NodeId, demote_to: Option<HstateId>) -> Self {
        Self {
            max: HugeCount::ZERO,
            nr: HugeCount::ZERO,
            free: HugeCount::ZERO,
            resv: HugeCount::ZERO,
            surplus: HugeCount::ZERO,
            overcommit: HugeCount::ZERO,
            demote_to,
            nodes: alloc_crate::vec![OwnLine::default(); last_node.index() + 1],
            next_to_alloc: NodeId::new(0),
            next_to_free: NodeId::new(0),
            slots: 0,
            vacant: Vec::new(),
            records: Records::default(),
            tries: Tries::default(),
            leaving: HugeCount::ZERO,
        }
    }

    /// The administrator's target (`/proc/sys/vm/nr_hugepages`).
    #[doc(alias = "max_huge_pages")]
    #[must_use]
    pub const fn max(&self) -> HugeCount {
        self.max
    }

    /// All pages (`nr_hugepages`).
    #[doc(alias = "nr_huge_pages")]
    #[must_use]
    pub const fn nr(&self) -> HugeCount {
        self.nr
    }

    /// Free pages, reserved ones included (`free_hugepages`).
    #[doc(alias = "free_huge_pages")]
    #[must_use]
    pub const fn free(&self) -> HugeCount {
        self.free
    }

    /// Reserved and not yet allocated (`resv_hugepages`). Never more than are free.
    #[doc(alias = "resv_huge_pages")]
    #[must_use]
    pub const fn resv(&self) -> HugeCount {
        self.resv
    }

    /// Pages beyond the persistent ones (`surplus_hugepages`).
    #[doc(alias = "surplus_huge_pages")]
    #[must_use]
    pub const fn surplus(&self) -> HugeCount {
        self.surplus
    }

    /// How many surplus pages new allocations may reach (`nr_overcommit_hugepages`).
    #[doc(alias = "nr_overcommit_huge_pages")]
    #[must_use]
    pub const fn overcommit(&self) -> HugeCount {
        self.overcommit
    }

    /// Pages that are the administrator's: all but the surplus.
    #[doc(alias = "persistent_huge_pages")]
    #[must_use]
    #[inline]
    pub fn persistent(&self) -> HugeCount {
        self.nr - self.surplus
    }

    /// Free pages that nobody has reserved.
    #[doc(alias = "available_huge_pages")]
    #[must_use]
    #[inline]
    pub fn available(&self) -> HugeCount {
        self.free - self.resv
    }

    /// The counters that decide about a request.
    #[must_use]
    #[inline]
    pub const fn balance(&self) -> Balance {
        Balance { free: self.free, resv: self.resv, surplus: self.surplus, overcommit: self.overcommit }
    }

    /// The counters of one node.
    #[doc(alias("nr_huge_pages_node", "free_huge_pages_node", "surplus_huge_pages_node"))]
    #[must_use]
    #[inline]
    pub fn node(&self, node: NodeId) -> NodeCounts {
        self.nodes.get(node.index()).copied().unwrap_or_default().0
    }

    /// Takes a free page of `node` off the count, if the account has one there. The shelf of that node then has one to take.
    #[inline]
    pub(crate) fn claim(&mut self, node: NodeId, claim: Claim) -> bool {
        if self.balance().claimable(self.node(node).sound(), claim).is_zero() {
            return false;
        }
        self.free -= ONE;
        self.nodes[node.index()].free -= ONE;
        if claim == Claim::Reserved {
            self.resv -= ONE;
        }
        true
    }

    /// A claim that led to no page ends; the page is on its shelf still.
    pub(crate) fn unclaim(&mut self, node: NodeId, claim: Claim) {
        self.add_free(node);
        if claim == Claim::Reserved {
            self.resv += ONE;
        }
    }

    /// A page that is on the shelf of `node` already now counts as free.
    #[inline]
    pub(crate) fn add_free(&mut self, node: NodeId) {
        self.free += ONE;
        self.nodes[node.index()].free += ONE;
    }

    /// A persistent page that is on the shelf of its node already joined the pool.
    #[inline]
    pub(crate) fn add_free_page(&mut self, node: NodeId) {
        self.nr += ONE;
        self.free += ONE;
        let node = &mut self.nodes[node.index()];
        node.nr += ONE;
        node.free += ONE;
    }

    /// A page joined the pool.
    #[inline]
    pub(crate) fn add_page(&mut self, node: NodeId, kind: Joins) {
        self.nr += ONE;
        self.nodes[node.index()].nr += ONE;
        if let Some(counting) = kind.counted_on(node) {
            self.surplus += ONE;
            self.nodes[counting.index()].surplus += ONE;
        }
    }

    /// A page that is not free leaves the pool.
    #[inline]
    pub(crate) fn remove_page(&mut self, node: NodeId, kind: Joins) {
        self.nr -= ONE;
        self.nodes[node.index()].nr -= ONE;
        if let Some(counting) = kind.counted_on(node) {
            self.surplus -= ONE;
            self.nodes[counting.index()].surplus -= ONE;
        }
    }

    /// As what a page of `node` leaves that nothing says is surplus: as the administrator's, or if he has none left as a surplus page of whoever counts it.
    #[inline]
    pub(crate) fn leaves_as(&self, node: NodeId) -> Joins {
        if !self.persistent().is_zero() {
            return Joins::Persistent;
        }
        if !self.node(node).surplus.is_zero() {
            return Joins::Surplus;
        }
        let counting = (0..).zip(&self.nodes).find(|(_, counts)| counts.surplus > counts.nr);
        counting.map_or(Joins::Persistent, |(n, _)| Joins::SurplusOf(NodeId::new(n)))
    }

    /// A free page leaves the pool; its shelf then has one of that condition to take.
    #[inline]
    pub(crate) fn remove_free(&mut self, node: NodeId, kind: Joins, condition: Condition) {
        self.free -= ONE;
        let counts = &mut self.nodes[node.index()];
        counts.free -= ONE;
        if condition == Condition::Poisoned {
            counts.poisoned -= ONE;
        }
        self.remove_page(node, kind);
    }

    /// As [`Pool::remove_free`] of any page: what is broken goes first.
    #[inline]
    pub(crate) fn remove_worst(&mut self, node: NodeId, kind: Joins) -> Condition {
        let worst = if self.nodes[node.index()].poisoned.is_zero() { Condition::Sound } else { Condition::Poisoned };
        self.remove_free(node, kind, worst);
        worst
    }

    /// Decides about a folio whose last reference went and which lies on its shelf already. A surplus page leaves the pool
    /// unless a reservation would then have no page.
    #[inline]
    pub(crate) fn settle_freed(&mut self, node: NodeId, restored: bool, condition: Condition) -> Fate {
        if restored {
            self.resv += ONE;
        }
        let surplus = !self.node(node).surplus.is_zero();
        if surplus && self.free >= self.resv {
            self.remove_page(node, Joins::Surplus);
            return Fate::Destroyed;
        }
        self.add_free(node);
        if condition == Condition::Poisoned {
            self.nodes[node.index()].poisoned += ONE;
        }
        if surplus { Fate::KeptForReservation } else { Fate::Kept }
    }

    /// The first node of `allowed`, from the cursor on, that `fits`; the cursor moves past it, or if none does once around.
    #[doc(alias("hstate_next_node_to_free", "for_each_node_mask_to_free"))]
    #[inline]
    pub(crate) fn next_freeing(&mut self, allowed: Nodemask, fits: impl Fn(&NodeCounts) -> bool) -> Option<NodeId> {
        let (found, cursor) = self.first_fit(allowed, self.next_to_free, fits)?;
        self.next_to_free = cursor;
        found
    }

    /// As [`Pool::next_freeing`], with the cursor of allocations.
    #[doc(alias("hstate_next_node_to_alloc", "for_each_node_mask_to_alloc"))]
    #[inline]
    pub(crate) fn next_allocating(&mut self, allowed: Nodemask, fits: impl Fn(&NodeCounts) -> bool) -> Option<NodeId> {
        let (found, cursor) = self.first_fit(allowed, self.next_to_alloc, fits)?;
        self.next_to_alloc = cursor;
        found
    }

    /// The node that fits and where the cursor is then; nothing if no node is allowed.
    #[inline]
    fn first_fit(
        &self,
        allowed: Nodemask,
        from: NodeId,
        fits: impl Fn(&NodeCounts) -> bool,
    ) -> Option<(Option<NodeId>, NodeId)> {
        let first = allowed.next_from(from)?;
        let mut node = first;
        loop {
            let next = allowed.next_after(node)?;
            if self.nodes.get(node.index()).is_some_and(|counts| fits(counts)) {
                return Some((Some(node), next));
            }
            if next == first {
                return Some((None, first));
            }
            node = next;
        }
    }

    /// A slot for what is kept of a page; [`Records::place`] makes it that page's.
    #[inline]
    pub(crate) fn new_slot(&mut self) -> u32 {
        self.vacant.pop().unwrap_or_else(|| {
            self.slots = self.slots.checked_add(1).expect("a pool has less than 2^32 pages");
            self.slots - 1
        })
    }

    /// What is in the slot must be of a free page, or of none.
    #[inline]
    pub(crate) fn drop_slot(&mut self, slot: u32) {
        self.vacant.push(slot);
    }

    /// What it keeps of its folios.
    #[must_use]
    pub const fn records(&self) -> &Records {
        &self.records
    }

    /// What it keeps of its folios, to be changed or taken from it while many threads work on it.
    #[must_use]
    #[inline]
    pub const fn records_mut(&mut self) -> &mut Records {
        &mut self.records
    }

    /// How asking the page allocator for pages went.
    #[must_use]
    pub const fn tries(&self) -> Tries {
        self.tries
    }

    /// Pages that it does not count any more and whose memory was not given back yet.
    #[must_use]
    pub const fn leaving(&self) -> HugeCount {
        self.leaving
    }

    /// Who pays for each of its folios that somebody pays for.
    pub fn payers(&self) -> impl Iterator<Item = Payers> {
        let payers = |record: &Record| Payers {
            node: record.node,
            usage: record.usage_owner,
            rsvd: record.rsvd_owner,
            memory: record.memory_owner,
        };
        let somebody = |payers: &Payers| payers.usage.or(payers.rsvd).or(payers.memory).is_some();
        self.records.all().iter().map(payers).filter(somebody)
    }

    /// Its folios, in the order of their slots.
    pub fn folios(&self, hstate: HstateId) -> impl Iterator<Item = HugeFolio> {
        let vacant: BTreeSet<u32> = self.vacant.iter().copied().collect();
        let live = (0..).zip(self.records.all()).filter(move |(slot, _)| !vacant.contains(slot));
        live.map(move |(slot, record)| record.folio(hstate, slot))
    }

    /// Is it the pool of a machine of so many nodes and pools?
    ///
    /// # Errors
    /// What is not.
    pub fn check(&self, nodes: usize, hstates: usize) -> Result<(), String> {
        if self.nodes.len() != nodes || self.records.all().iter().any(|record| record.node.index() >= nodes) {
            return Err(alloc_crate::format!("it counts by other nodes than the {nodes} that there are"));
        }
        if self.records.all().len() > self.slots as usize {
            return Err(alloc_crate::format!("it has {} records in {} slots", self.records.all().len(), self.slots));
        }
        if let Some(slot) = self.records.poison.keys().find(|&&slot| slot as usize >= self.records.all().len()) {
            return Err(alloc_crate::format!("broken memory is known of slot {slot}, which is not there"));
        }
        match self.demote_to.filter(|to| to.index() >= hstates) {
            Some(to) => Err(alloc_crate::format!("its pages are demoted to {to}, which is not there")),
            None => Ok(()),
        }
    }

    /// Every place where it names something.
    pub fn names(&mut self) -> Vec<Name<'_>> {
        let mut names = Vec::new();
        for record in self.records.all_mut() {
            names.extend(record.home.as_mut().map(|(inode, _)| Name::from(inode)));
            names.extend(record.subpool.as_mut().map(Name::from));
            names.extend(record.usage_owner.as_mut().map(Name::from));
            names.extend(record.rsvd_owner.as_mut().map(Name::from));
            names.extend(record.memory_owner.as_mut().map(Name::from));
            names.extend(record.owed_to.as_mut().map(|(map, _)| Name::from(map)));
        }
        names
    }

    /// Recounts what one ledger alone can tell: node sums, signs, every reservation has a free page.
    ///
    /// # Errors
    /// What is broken.
    pub fn validate(&self) -> Result<(), String> {
        let sum = |f: fn(&NodeCounts) -> HugeCount| {
            self.nodes.iter().map(|counts| f(counts)).fold(HugeCount::ZERO, HugeCount::saturating_add)
        };
        if let Some(node) = self.nodes.iter().find(|n| n.poisoned > n.free) {
            return Err(alloc_crate::format!("a node has more broken pages than free ones: {:?}", node.0));
        }
        let sums = (sum(|n| n.nr), sum(|n| n.free), sum(|n| n.surplus));
        if sums != (self.nr, self.free, self.surplus) {
            return Err(alloc_crate::format!("the nodes add up to {sums:?}, the pool says {self:?}"));
        }
        if self.resv > self.free || self.free > self.nr || self.surplus > self.nr {
            return Err(alloc_crate::format!(
                "nr {} free {} resv {} surplus {} cannot be",
                self.nr,
                self.free,
                self.resv,
                self.surplus
            ));
        }
        // A node may have more surplus than pages: a shrink takes free pages wherever they are.
        if let Some(node) = self.nodes.iter().find(|n| n.free > n.nr) {
            return Err(alloc_crate::format!("a node has {:?}", node.0));
        }
        let vacant: BTreeSet<_> = self.vacant.iter().filter(|&&slot| slot < self.slots).collect();
        if vacant.len() != self.vacant.len() {
            return Err("a vacant record is listed twice, or is none".into());
        }
        let mut left =
            (0..).zip(self.records.all()).filter(|(slot, record)| vacant.contains(slot) && !record.is_fresh());
        if let Some((slot, record)) = left.next() {
            return Err(alloc_crate::format!("slot {slot} is vacant and still means something: {record:?}"));
        }
        let live = self.slots as usize - vacant.len();
        if u64::try_from(live) != Ok(self.nr.saturating_add(self.leaving).get()) {
            return Err(alloc_crate::format!("{live} records for {} pages and {} leaving", self.nr, self.leaving));
        }
        Ok(())
    }
}

/// What a free page is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Anything.
    Sound,
    /// Nothing: some of its memory is broken.
    Poisoned,
}

/// In what capacity a page joins or leaves a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Joins {
    /// One of the administrator's, or a temporary one.
    Persistent,
    /// Beyond those.
    Surplus,
    /// The same where its node counts no surplus page: another node counts more of them than it has pages.
    SurplusOf(NodeId),
}

impl Joins {
    /// The node that counts a page of `node` among its surplus pages.
    const fn counted_on(self, node: NodeId) -> Option<NodeId> {
        match self {
            Self::Persistent => None,
            Self::Surplus => Some(node),
            Self::SurplusOf(other) => Some(other),
        }
    }
}

pub(crate) const ONE: HugeCount = HugeCount::new(1);
