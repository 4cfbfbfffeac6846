//! The pages of a file that are in memory.

use alloc::collections::BTreeMap;

use hugetlb::HugeFolio;
use units::{HugeIndex, HugeRange, InodeId, Pfn, Site};

use crate::Env;

/// The folios of one file, by index.
#[doc(alias("address_space", "i_pages"))]
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct PageCache {
    pages: BTreeMap<HugeIndex, Pfn>,
}

/// No node for the cache; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no node for the page cache")]
pub struct NoCacheNode;

impl PageCache {
    /// Nothing in memory.
    #[must_use]
    pub const fn new() -> Self {
        Self { pages: BTreeMap::new() }
    }

    /// The folio at `index`.
    #[must_use]
    pub fn get(&self, index: HugeIndex) -> Option<Pfn> {
        self.pages.get(&index).copied()
    }

    /// How many folios.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pages.len()
    }

    /// Is nothing of the file in memory?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// The first cached index of `range`.
    #[must_use]
    pub fn first_in(&self, range: HugeRange) -> Option<HugeIndex> {
        self.pages.range(range.start..range.end).next().map(|(&index, _)| index)
    }

    /// All folios in order.
    pub fn iter(&self) -> impl Iterator<Item = (HugeIndex, Pfn)> {
        self.pages.iter().map(|(&index, &pfn)| (index, pfn))
    }
}

/// Makes `folio` the page at `index`; the cache takes its references and the folio's reservation is spent. Call inside the
/// page's fault mutex, with no page there yet.
///
/// # Errors
/// The fault plan refuses the node; nothing is changed.
#[doc(alias = "hugetlb_add_to_page_cache")]
pub fn add_to_cache<P: Env>(p: &mut P, inode: InodeId, index: HugeIndex, folio: HugeFolio) -> Result<(), NoCacheNode> {
    if p.refused(Site::CacheNode) {
        return Err(NoCacheNode);
    }
    let refs = p.hstate(folio.hstate).cache_refs();
    p.with_memmap(folio.pfn, |map| map.get_refs(folio.pfn, refs));
    let old = p.with_cache(inode, |cache| cache.pages.insert(index, folio.pfn));
    debug_assert_eq!(old, Some(None), "a page was there already, or the file is gone");
    hugetlb::installed(p, folio, inode, index);
    Ok(())
}

/// Makes `new` the page at `index` in place of `old`, with the cache's references. Inside the file's scope, with the page unmapped or being
/// mapped anew. Says whether `old` was there.
#[doc(alias = "folio_migrate_mapping")]
pub fn replace_in_cache<P: Env>(p: &mut P, inode: InodeId, index: HugeIndex, old: HugeFolio, new: HugeFolio) -> bool {
    let replaced = p.with_cache(inode, |cache| match cache.pages.get_mut(&index) {
        Some(page) if *page == old.pfn => {
            *page = new.pfn;
            true
        }
        _ => false,
    });
    if replaced != Some(true) {
        return false;
    }
    let refs = p.hstate(old.hstate).cache_refs();
    p.with_memmap(new.pfn, |map| map.get_refs(new.pfn, refs));
    hugetlb::put_folio(p, old.pfn, refs);
    true
}

/// Takes the page at `index` out and drops the cache's references. Call inside the page's fault mutex, with the page unmapped.
/// Says whether there was one.
#[doc(alias("filemap_remove_folio", "hugetlb_delete_from_page_cache"))]
pub fn remove_from_cache<P: Env>(p: &mut P, inode: InodeId, index: HugeIndex, refs: u64) -> bool {
    let page = p.with_cache(inode, |cache| cache.pages.remove(&index)).flatten();
    let Some(pfn) = page else { return false };
    hugetlb::put_folio(p, pfn, refs);
    true
}
