//! Huge page sizes of a machine.

use alloc_crate::string::String;
use alloc_crate::vec::Vec;

use units::{HstateId, HugeSize, Order, PageShift};

/// The fixed properties of one hstate.
#[doc(alias = "hstate")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Hstate {
    /// Its place in the order of registration.
    pub id: HstateId,
    /// Size of its pages.
    pub size: HugeSize,
    /// The same as an order of base pages.
    pub order: Order,
    /// Larger than the buddy allocator merges to: its pages are contiguous ranges, and never surplus.
    #[doc(alias = "hstate_is_gigantic")]
    pub gigantic: bool,
    /// Can pages be had and given back after boot? Gigantic ones only where contiguous ranges can be allocated.
    #[doc(alias = "gigantic_page_runtime_supported")]
    pub resizable: bool,
    /// The hstate that its pages are demoted to.
    #[doc(alias = "demote_order")]
    pub demote_to: Option<HstateId>,
}

impl Hstate {
    /// References that a page cache holds to one of its folios: one per base page.
    #[must_use]
    pub const fn cache_refs(&self) -> u64 {
        self.order.pages().get()
    }
}

/// All hstates of a machine, in order of registration.
#[doc(alias("hstates", "for_each_hstate"))]
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Hstates {
    list: Vec<Hstate>,
    default: HstateId,
}

impl Hstates {
    /// The table; `default` must be one of them.
    #[must_use]
    pub const fn new(list: Vec<Hstate>, default: HstateId) -> Self {
        Self { list, default }
    }

    /// Is it a table that a machine with such base pages can have?
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, base: PageShift) -> Result<(), String> {
        let known = |id: HstateId| id.index() < self.list.len();
        if !known(self.default) {
            return Err(alloc_crate::format!("the default is {}, of {}", self.default, self.list.len()));
        }
        let wrong = self.list.iter().enumerate().find(|(n, h)| {
            h.id.index() != *n || h.size.order(base) != Some(h.order) || h.demote_to.is_some_and(|to| !known(to))
        });
        let twice = self.list.iter().any(|a| self.list.iter().any(|b| a.id != b.id && a.size == b.size));
        match wrong {
            Some((n, h)) => Err(alloc_crate::format!("entry {n} cannot be: {h:?}")),
            None if twice => Err("a size is there twice".into()),
            None => Ok(()),
        }
    }

    /// The properties of `id`.
    ///
    /// # Panics
    /// For an id of another machine.
    #[must_use]
    #[inline]
    pub fn get(&self, id: HstateId) -> Hstate {
        self.list[id.index()]
    }

    /// The default hstate.
    #[doc(alias = "default_hstate_idx")]
    #[must_use]
    pub fn default_hstate(&self) -> Hstate {
        self.get(self.default)
    }

    /// The hstate of that size.
    #[doc(alias = "size_to_hstate")]
    #[must_use]
    #[inline]
    pub fn by_size(&self, size: HugeSize) -> Option<Hstate> {
        self.list.iter().find(|h| h.size == size).copied()
    }

    /// All of them, in order of registration.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Hstate> {
        self.list.iter().copied()
    }
}
