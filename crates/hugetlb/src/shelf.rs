//! Free folios of one node of one pool.

use alloc_crate::vec::Vec;

use crate::HugeFolio;

/// The free folios, last in first out. It only follows: [`crate::Pool`] decides who may take.
#[doc(alias = "hugepage_freelists")]
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    folios: Vec<HugeFolio>,
}

impl Shelf {
    /// Nothing free.
    #[must_use]
    pub const fn new() -> Self {
        Self { folios: Vec::new() }
    }

    /// Puts a folio on top. The ledger must not count it free before.
    #[doc(alias = "enqueue_hugetlb_folio")]
    #[inline]
    pub fn put(&mut self, folio: HugeFolio) {
        self.folios.push(folio);
    }

    /// Takes the top folio after a claim on the ledger.
    ///
    /// # Panics
    /// Nothing is there: somebody took without a claim.
    #[doc(alias = "dequeue_hugetlb_folio_node_exact")]
    #[inline]
    pub fn take_claimed(&mut self) -> HugeFolio {
        self.folios.pop().expect("a claim on the ledger is backed by a folio on the shelf")
    }

    /// The free folios, bottom first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = HugeFolio> {
        self.folios.iter().copied()
    }
}
