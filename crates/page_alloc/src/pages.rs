//! What is in pages, and what is wrong with them.
//!
//! For tests of those who use pages: without a [`PageWatch`] nothing here costs anything.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use policy::ZoneRef;
use units::{GfpFlags, Order, PageCount, Pfn};
use zone::BadFree;

use crate::allocator::PageAllocator;
use crate::page_owner::{MoveReason, PageOwners, Runner};
use crate::zones::Zones;

/// What a page holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Content {
    /// Whatever was there when the machine started.
    #[default]
    Unknown,
    /// Zeroes.
    Zero,
    /// The pattern of a free page.
    #[doc(alias("PAGE_POISON", "page_poison"))]
    Pattern,
    /// What somebody wrote.
    Written,
}

/// Why a page cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BadPage {
    /// Somebody maps it.
    Mapped,
    /// It belongs to a file.
    Cached,
    /// Somebody refers to it.
    Referenced,
    /// Its flags are not those of such a page.
    Flags,
    /// A control group pays for it.
    Charged,
}

impl BadPage {
    /// As the kernel says it.
    #[doc(alias = "page_bad_reason")]
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Mapped => "nonzero mapcount",
            Self::Cached => "non-NULL mapping",
            Self::Referenced => "nonzero _refcount",
            Self::Flags => "PAGE_FLAGS_CHECK_AT_FREE flag(s) set",
            Self::Charged => "page still charged to cgroup",
        }
    }
}

/// What is done to pages when they come and go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageHooks {
    /// What happens to what is in them.
    pub init: PageInit,
    /// Whether free pages have a mapping.
    pub mapping: FreeMapping,
}

/// What happens to what is in pages. The three exclude each other: with a pattern nothing is zeroed unasked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PageInit {
    /// Zeroed for those who ask.
    #[default]
    OnRequest,
    /// Zeroed when handed out.
    #[doc(alias = "init_on_alloc")]
    OnAlloc,
    /// Zeroed when given back, and not once more for those who ask.
    #[doc(alias = "init_on_free")]
    OnFree,
    /// Filled with a pattern when given back, which is looked at when handed out.
    #[doc(alias = "page_poisoning_enabled")]
    Pattern,
}

/// Whether free pages can be read and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FreeMapping {
    /// They can.
    #[default]
    Kept,
    /// They cannot.
    #[doc(alias = "debug_pagealloc")]
    Removed,
}

/// One step of handing pages out or taking them back, in the order in which they happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookStep {
    /// They can be read and written from now on.
    Map,
    /// Their pattern is looked at: before they are zeroed, or there would be nothing to see.
    CheckPattern,
    /// They are zeroed.
    Zero,
    /// They are filled with the pattern.
    FillPattern,
    /// They cannot be read and written any more.
    Unmap,
}

/// What is known of pages that somebody looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageWatch {
    hooks: PageHooks,
    content: BTreeMap<Pfn, Content>,
    bad: BTreeMap<Pfn, BadPage>,
    /// Whose memory is broken.
    poisoned: Vec<Pfn>,
    steps: Vec<HookStep>,
    /// Free pages that somebody wrote to.
    spoiled: Vec<Pfn>,
    /// Blocks that are in nobody's hands.
    leaked: Vec<(Pfn, Order)>,
    /// Who asked for what.
    owners: Option<PageOwners>,
}

fn each(pfn: Pfn, order: Order) -> impl Iterator<Item = Pfn> {
    (0..order.pages().get()).map(move |n| pfn.offset(PageCount::new(n)))
}

impl PageWatch {
    /// Nothing is known of any page.
    #[must_use]
    pub fn new(hooks: PageHooks) -> Self {
        Self { hooks, ..Self::default() }
    }

    /// The same, with owners of pages noted from now on.
    #[must_use]
    pub fn with_owners(self, owners: PageOwners) -> Self {
        Self { owners: Some(owners), ..self }
    }

    /// Who asked for what, where that is noted.
    #[must_use]
    pub const fn owners(&self) -> Option<&PageOwners> {
        self.owners.as_ref()
    }

    /// Says who runs from now on, where owners are noted.
    pub fn run(&mut self, runner: Runner) {
        if let Some(owners) = &mut self.owners {
            owners.runner = runner;
        }
    }

    /// A block became several.
    pub(crate) fn split(&mut self, pfn: Pfn, from: Order, to: Order) {
        if let Some(owners) = &mut self.owners {
            owners.split(pfn, from, to);
        }
    }

    /// A part of a split block goes back unused.
    pub(crate) fn gave(&mut self, pfn: Pfn, order: Order) {
        if let Some(owners) = &mut self.owners {
            owners.gave(pfn, order);
        }
    }

    /// The owner of a block refers to another one now, which holds what the old one held.
    pub(crate) fn moved(&mut self, from: Pfn, to: Pfn, order: Order, reason: MoveReason) {
        for (old, new) in each(from, order).zip(each(to, order)) {
            let content = self.content(old);
            self.content.insert(new, content);
        }
        if let Some(owners) = &mut self.owners {
            owners.moved(from, to, order, reason);
        }
    }

    /// What a page holds.
    #[must_use]
    pub fn content(&self, pfn: Pfn) -> Content {
        self.content.get(&pfn).copied().unwrap_or_default()
    }

    /// Somebody writes to a page, whosever it is.
    pub fn write(&mut self, pfn: Pfn) {
        self.content.insert(pfn, Content::Written);
    }

    /// Something is wrong with a page. If that happens again, the later one counts.
    pub fn spoil(&mut self, pfn: Pfn, bad: BadPage) {
        self.bad.insert(pfn, bad);
    }

    /// Nothing is wrong with a page any more.
    pub fn mend(&mut self, pfn: Pfn) {
        self.bad.remove(&pfn);
    }

    /// Is the memory of a page broken?
    #[doc(alias = "PageHWPoison")]
    #[must_use]
    pub fn is_poisoned(&self, pfn: Pfn) -> bool {
        self.poisoned.contains(&pfn)
    }

    /// Blocks that are in nobody's hands: they were bad, or broken.
    #[must_use]
    pub fn leaked(&self) -> &[(Pfn, Order)] {
        &self.leaked
    }

    /// Free pages that were found written to when they were handed out.
    #[must_use]
    pub fn spoiled(&self) -> &[Pfn] {
        &self.spoiled
    }

    /// The steps since the last call.
    pub fn take_steps(&mut self) -> Vec<HookStep> {
        core::mem::take(&mut self.steps)
    }

    pub(crate) fn poison(&mut self, pfn: Pfn) {
        self.poisoned.push(pfn);
    }

    pub(crate) fn unpoison(&mut self, pfn: Pfn) {
        self.poisoned.retain(|&poisoned| poisoned != pfn);
    }

    /// May a block be handed out? A bad one never comes back.
    #[doc(alias = "check_new_pages")]
    pub(crate) fn admits(&mut self, pfn: Pfn, order: Order) -> bool {
        let bad = each(pfn, order).any(|page| self.bad.contains_key(&page));
        if bad {
            self.leaked.push((pfn, order));
        }
        !bad
    }

    /// A block is handed out.
    #[doc(alias = "post_alloc_hook")]
    pub(crate) fn handed_out(&mut self, pfn: Pfn, order: Order, gfp: GfpFlags) {
        if let Some(owners) = &mut self.owners {
            owners.took(pfn, order, gfp);
        }
        if self.hooks.mapping == FreeMapping::Removed {
            self.steps.push(HookStep::Map);
        }
        if self.hooks.init == PageInit::Pattern {
            self.steps.push(HookStep::CheckPattern);
            self.spoiled.extend(each(pfn, order).filter(|page| self.content.get(page) == Some(&Content::Written)));
        }
        let asked = gfp.contains(GfpFlags::ZERO);
        let zero = match self.hooks.init {
            PageInit::OnAlloc => true,
            PageInit::OnRequest | PageInit::Pattern => asked,
            PageInit::OnFree => false,
        };
        if zero {
            self.steps.push(HookStep::Zero);
            self.content.extend(each(pfn, order).map(|page| (page, Content::Zero)));
        }
    }

    /// A block comes back; says whether it goes to the free lists.
    #[doc(alias = "free_pages_prepare")]
    pub(crate) fn taken_back(&mut self, pfn: Pfn, order: Order) -> bool {
        self.gave(pfn, order);
        // Broken memory is only noticed where it comes by itself.
        let broken = order == Order::ZERO && self.is_poisoned(pfn);
        if broken || each(pfn, order).any(|page| self.bad.contains_key(&page)) {
            self.leaked.push((pfn, order));
            return false;
        }
        let (step, content) = match self.hooks.init {
            PageInit::Pattern => (HookStep::FillPattern, Content::Pattern),
            PageInit::OnFree => (HookStep::Zero, Content::Zero),
            PageInit::OnRequest | PageInit::OnAlloc => return self.unmapped(),
        };
        self.steps.push(step);
        self.content.extend(each(pfn, order).map(|page| (page, content)));
        self.unmapped()
    }

    fn unmapped(&mut self) -> bool {
        if self.hooks.mapping == FreeMapping::Removed {
            self.steps.push(HookStep::Unmap);
        }
        true
    }
}

impl PageAllocator {
    /// Looks at single pages from now on.
    pub fn watch_pages(&mut self, watch: PageWatch) {
        self.watch = Some(Box::new(watch));
        self.settle();
    }

    /// What is known of single pages.
    pub fn pages(&mut self) -> Option<&mut PageWatch> {
        self.watch.as_deref_mut()
    }

    /// The memory of a free page is broken: it is taken off the lists, and the rest of its block stays. Whether it was free.
    #[doc(alias = "take_page_off_buddy")]
    pub fn poison(&mut self, zone: ZoneRef, pfn: Pfn) -> bool {
        let taken = self.with_zone(zone, |parts| parts.zone.pick(pfn, Order::ZERO)).flatten();
        if taken.is_some() {
            self.watch.get_or_insert_default().poison(pfn);
            self.settle();
        }
        taken.is_some()
    }

    /// The page is not broken after all, and goes back.
    ///
    /// # Errors
    /// Nobody took it off the lists.
    #[doc(alias = "put_page_back_buddy")]
    pub fn unpoison(&mut self, zone: ZoneRef, pfn: Pfn) -> Result<(), BadFree> {
        let poisoned = self.watch.as_mut().is_some_and(|watch| watch.is_poisoned(pfn));
        if !poisoned {
            return Err(BadFree::Free { pfn, block: pfn });
        }
        let put = self.with_zone(zone, |parts| parts.zone.put(pfn, Order::ZERO));
        put.unwrap_or(Err(BadFree::Outside { pfn, order: Order::ZERO }))?;
        if let Some(watch) = &mut self.watch {
            watch.unpoison(pfn);
        }
        Ok(())
    }
}
