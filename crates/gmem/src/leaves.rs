//! By leaves of which size the guest has its pages mapped.

use alloc::vec::Vec;
use core::iter;
use core::ops::Range;

use units::{Order, RangeMap};

/// Runs of pages that are mapped by leaves of one size. Large leaves are few, and asked for often: they are kept apart.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(from = "RangeMap<Order>", into = "RangeMap<Order>")
)]
pub(crate) struct Leaves {
    base: RangeMap<()>,
    large: RangeMap<Order>,
}

impl Leaves {
    pub(crate) const NONE: Self = Self { base: RangeMap::new(), large: RangeMap::new() };

    /// The size of the leaf that maps a page.
    pub(crate) fn get(&self, index: u64) -> Option<Order> {
        self.base.get(index).map(|()| Order::ZERO).or_else(|| self.large.get(index).copied())
    }

    /// Pages are mapped by leaves of that size, whatever they were mapped by before.
    pub(crate) fn set(&mut self, pages: Range<u64>, order: Order) {
        if order == Order::ZERO {
            self.large.clear(pages.clone());
            self.base.set(pages, ());
        } else {
            self.base.clear(pages.clone());
            self.large.set(pages, order);
        }
    }

    /// Pages are not mapped any more; whether any was.
    pub(crate) fn clear(&mut self, pages: Range<u64>) -> bool {
        let base = self.base.clear(pages.clone());
        self.large.clear(pages) || base
    }

    /// Leaves of a range that are larger become leaves of that size; whether there were any.
    pub(crate) fn split(&mut self, pages: Range<u64>, to: Order) -> bool {
        let larger = self.large.overlapping(pages).filter(|&(_, &order)| order > to);
        let larger: Vec<_> = larger.map(|(run, _)| run).collect();
        let any = !larger.is_empty();
        larger.into_iter().for_each(|run| self.set(run, to));
        any
    }

    /// Does no leaf reach across that page's beginning?
    pub(crate) fn is_apart(&self, index: u64) -> bool {
        self.large.get(index).is_none_or(|order| index.is_multiple_of(order.pages().get()))
    }

    /// All runs, in ascending order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Range<u64>, Order)> {
        let mut base = self.base.iter().map(|(run, ())| (run, Order::ZERO)).peekable();
        let mut large = self.large.iter().map(|(run, &order)| (run, order)).peekable();
        iter::from_fn(move || match (base.peek(), large.peek()) {
            (Some((a, _)), Some((b, _))) if a.start < b.start => base.next(),
            (_, Some(_)) => large.next(),
            _ => base.next(),
        })
    }
}

impl From<RangeMap<Order>> for Leaves {
    fn from(runs: RangeMap<Order>) -> Self {
        let mut leaves = Self::NONE;
        runs.iter().for_each(|(run, &order)| leaves.set(run, order));
        leaves
    }
}

impl From<Leaves> for RangeMap<Order> {
    fn from(leaves: Leaves) -> Self {
        leaves.iter().collect()
    }
}
