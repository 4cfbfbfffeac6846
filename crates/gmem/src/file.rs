//! What a file of guest memory is.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use policy::PolicyInForce;
use units::{HstateId, Name, Order, PageCount, PageIndex, Pfn, RangeMap, SubpoolId};

use crate::leaves::Leaves;

/// Who may touch a page.
#[doc(alias = "KVM_MEMORY_ATTRIBUTE_PRIVATE")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Attribute {
    /// The guest alone.
    Private,
    /// The host as well.
    Shared,
}

bitflags::bitflags! {
    /// How a file is made.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct GmemFlags: u64 {
        /// The host may map it.
        #[doc(alias = "GUEST_MEMFD_FLAG_MMAP")]
        const MMAP = 1 << 0;
        /// All of it is shared at first.
        #[doc(alias = "GUEST_MEMFD_FLAG_INIT_SHARED")]
        const INIT_SHARED = 1 << 1;
        /// It is made of huge pages.
        #[doc(alias = "GUEST_MEMFD_FLAG_HUGETLB")]
        const HUGETLB = 1 << 2;
    }
}

/// What a file is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Backing {
    /// Base pages.
    Base,
    /// Huge pages that were allotted to it.
    Huge {
        /// Their pool.
        hstate: HstateId,
        /// Their size.
        order: Order,
        /// What is left of the allotment.
        subpool: SubpoolId,
    },
}

impl Backing {
    /// The size of what is allocated at once.
    #[must_use]
    pub const fn order(&self) -> Order {
        match self {
            Self::Base => Order::ZERO,
            Self::Huge { order, .. } => *order,
        }
    }
}

/// A mapping of a file by the host: a range of it, in base pages whatever the file is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct View {
    pub(crate) pages: Range<u64>,
    pub(crate) mapped: RangeMap<()>,
}

impl View {
    /// Base pages that it has mapped, by index in the file.
    pub fn mapped(&self) -> impl Iterator<Item = Range<PageIndex>> {
        self.mapped.iter().map(|(run, ())| PageIndex::new(run.start)..PageIndex::new(run.end))
    }

    /// The range that it is of.
    #[must_use]
    pub const fn pages(&self) -> Range<PageIndex> {
        PageIndex::new(self.pages.start)..PageIndex::new(self.pages.end)
    }
}

/// Which mapping of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct ViewId(pub(crate) u32);

/// One file.
#[doc(alias("guest_memfd", "gmem_inode", "kvm_gmem"))]
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Gmem {
    pub(crate) pages: PageCount,
    pub(crate) mappable: bool,
    pub(crate) backing: Backing,
    /// Of every page, also where there is none yet.
    pub(crate) attributes: RangeMap<Attribute>,
    /// First frames, by the index of their first page. A huge page that was split is still one entry: its pieces lie where they did.
    pub(crate) cache: BTreeMap<PageIndex, Pfn>,
    /// The sizes of the leaves by which the guest has pages mapped.
    pub(crate) leaves: Leaves,
    /// The guest's frame for the first page; nothing while it is not bound to a guest.
    pub(crate) bound: Option<Pfn>,
    pub(crate) views: BTreeMap<ViewId, View>,
    pub(crate) next_view: u32,
    pub(crate) policy: Vec<(Range<PageIndex>, PolicyInForce)>,
    /// Base pages that broke, of a file that is made of those. A pool knows of its own.
    pub(crate) broken: BTreeSet<PageIndex>,
    pub(crate) opens: u32,
}

impl Gmem {
    /// Its size.
    #[must_use]
    pub const fn pages(&self) -> PageCount {
        self.pages
    }

    /// What it is made of.
    #[must_use]
    pub const fn backing(&self) -> Backing {
        self.backing
    }

    /// Who may touch a page.
    #[must_use]
    pub fn attribute(&self, index: PageIndex) -> Option<Attribute> {
        self.attributes.get(index.get()).copied()
    }

    /// Runs of pages that the same may touch.
    pub fn attributes(&self) -> impl Iterator<Item = (Range<PageIndex>, Attribute)> {
        self.attributes.iter().map(|(run, &attribute)| (PageIndex::new(run.start)..PageIndex::new(run.end), attribute))
    }

    /// What it has in memory: the index of the first page and the first frame of each page of the size that it is made of.
    pub fn cached(&self) -> impl Iterator<Item = (PageIndex, Pfn)> {
        self.cache.iter().map(|(&index, &pfn)| (index, pfn))
    }

    /// The frame of a page, if it is in memory.
    #[must_use]
    pub fn frame(&self, index: PageIndex) -> Option<Pfn> {
        let first = self.floor(index);
        self.cache.get(&first).map(|pfn| pfn.offset(PageCount::new(index.get() - first.get())))
    }

    /// Runs of pages that the guest has mapped, and by leaves of which size.
    pub fn leaves(&self) -> impl Iterator<Item = (Range<PageIndex>, Order)> {
        self.leaves.iter().map(|(run, order)| (PageIndex::new(run.start)..PageIndex::new(run.end), order))
    }

    /// The mappings of the host.
    pub fn views(&self) -> impl Iterator<Item = (ViewId, &View)> {
        self.views.iter().map(|(&id, view)| (id, view))
    }

    /// How many mappings of the host have each page mapped.
    #[must_use]
    pub fn mapped_by_host(&self) -> RangeMap<u32> {
        let mut counts = RangeMap::filled(0..self.pages.get(), 0);
        for view in self.views.values() {
            for (run, ()) in view.mapped.iter() {
                counts.update(run, |n| n + 1);
            }
        }
        counts
    }

    /// Descriptors that are open.
    #[must_use]
    pub const fn opens(&self) -> u32 {
        self.opens
    }

    /// 512-byte blocks in memory, for base pages of that many bytes.
    #[must_use]
    pub fn blocks(&self, shift: units::PageShift) -> u64 {
        let one = self.backing.order().pages().get() * (shift.bytes().get() / 512);
        self.cache.len() as u64 * one
    }

    /// The first page of what is allocated together with a page.
    #[must_use]
    pub const fn floor(&self, index: PageIndex) -> PageIndex {
        let order = self.backing.order().get();
        PageIndex::new(index.get() >> order << order)
    }

    /// The pages that are allocated together with a page.
    pub(crate) const fn around(&self, index: PageIndex) -> Range<u64> {
        let first = self.floor(index).get();
        first..first + self.backing.order().pages().get()
    }

    pub(crate) fn is_private(&self, range: Range<u64>) -> bool {
        self.attributes.is_all(range, &Attribute::Private)
    }

    pub(crate) const fn is_held(&self) -> bool {
        self.opens > 0
    }

    pub(crate) fn policy_of(&self, index: PageIndex) -> Option<PolicyInForce> {
        self.policy.iter().find(|(range, _)| range.contains(&index)).map(|(_, policy)| *policy)
    }

    /// Every place where it names something.
    pub fn names(&mut self) -> Vec<Name<'_>> {
        match &mut self.backing {
            Backing::Huge { subpool, .. } => Vec::from([Name::from(subpool)]),
            Backing::Base => Vec::new(),
        }
    }

    /// Are its numbers below `most`, and is it of a pool of that many with pages of that size?
    ///
    /// # Errors
    /// What is not.
    pub fn check(&self, most: u64, order_of: impl Fn(HstateId) -> Option<Order>) -> Result<(), String> {
        if let Backing::Huge { hstate, order, .. } = self.backing
            && order_of(hstate) != Some(order)
        {
            return Err(format!("{hstate} has no pages of {order}"));
        }
        let frames = self.cache.values().chain(&self.bound);
        if self.pages.get() > most || frames.into_iter().any(|pfn| pfn.get() > most) {
            return Err(format!("{} or a frame is beyond all bounds", self.pages));
        }
        match self.views.keys().find(|id| id.0 >= self.next_view) {
            Some(id) => Err(format!("{id:?} is mapped, and the next one is {}", self.next_view)),
            None if self.next_view > 1 << 31 => Err(format!("{} mappings were made", self.next_view)),
            None => Ok(()),
        }
    }

    /// Is all of a run in memory?
    fn is_there(&self, run: &Range<u64>) -> bool {
        let mut at = run.start;
        while at < run.end && self.frame(PageIndex::new(at)).is_some() {
            at = self.around(PageIndex::new(at)).end;
        }
        at >= run.end
    }

    /// Recounts what one file alone can tell: every page has an attribute, everything lies inside the file, a leaf is one of memory
    /// that is there, and none larger than one base page has a shared page in it.
    ///
    /// # Errors
    /// What is broken.
    pub fn validate(&self) -> Result<(), String> {
        let all = 0..self.pages.get();
        let covered: u64 = self.attributes.iter().map(|(run, _)| run.end - run.start).sum();
        if !self.attributes.is_canonical() || covered != all.end || self.attributes.touches(all.end..u64::MAX) {
            return Err(format!("the attributes do not cover {} once, or not as coarsely as they could", self.pages));
        }
        if let Some((index, _)) =
            self.cache.iter().find(|&(index, _)| self.floor(*index) != *index || index.get() >= all.end)
        {
            return Err(format!("{index} is cached, and is no page of the file"));
        }
        for (run, order) in self.leaves.iter() {
            let size = order.pages().get();
            let whole = run.start.is_multiple_of(size) && run.end.is_multiple_of(size);
            let private = order == Order::ZERO || self.is_private(run.clone());
            if !whole || !private || !self.is_there(&run) || order > self.backing.order() {
                return Err(format!("the guest has {run:?} mapped by leaves of {order}, which cannot be"));
            }
        }
        for (id, view) in &self.views {
            let inside = view.pages.end <= all.end
                && view.mapped.iter().all(|(run, ())| run.start >= view.pages.start && run.end <= view.pages.end);
            let shared = view.mapped.iter().all(|(run, ())| self.attributes.is_all(run, &Attribute::Shared));
            if !inside || !shared || !self.mappable {
                return Err(format!("{id:?} has something mapped that it may not"));
            }
        }
        Ok(())
    }
}
