//! How broken up the free memory is.

use core::fmt;

use units::{Order, PageCount};

/// Thousandths. A number of its own, since it prints as the kernel prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Permille(pub i32);

impl Permille {
    /// The value for a request that would succeed.
    pub const SUITABLE: Self = Self(-1000);
}

impl fmt::Display for Permille {
    /// Quotient and remainder are printed apart, so half a unit below zero is ` 0.-500`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = f.width().unwrap_or(0);
        write!(f, "{:width$}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

/// Free memory as seen by a request of one order.
struct Blocks {
    total: u64,
    pages: u64,
    /// Blocks of the order that could be cut out of all.
    suitable: u64,
}

fn count(free: impl IntoIterator<Item = u64>, order: Order) -> Blocks {
    let mut seen = Blocks { total: 0, pages: 0, suitable: 0 };
    for (blocks, of) in free.into_iter().zip((0..).map_while(Order::try_new)) {
        seen.total = seen.total.saturating_add(blocks);
        seen.pages = seen.pages.saturating_add(blocks.saturating_mul(of.pages().get()));
        if of >= order {
            let pieces = of.pages().get() >> order.get();
            seen.suitable = seen.suitable.saturating_add(blocks.saturating_mul(pieces));
        }
    }
    seen
}

/// Would a failure of this order be for want of memory (towards 0) or for fragmentation (towards 1000)? `free` counts free
/// blocks per order, from order 0. Where a block is large enough the answer is [`Permille::SUITABLE`].
#[must_use]
pub fn fragmentation_index(free: impl IntoIterator<Item = u64>, order: Order) -> Permille {
    let seen = count(free, order);
    if seen.total == 0 {
        return Permille(0);
    }
    if seen.suitable > 0 {
        return Permille::SUITABLE;
    }
    let wanted = u128::from(seen.pages) * 1000 / u128::from(order.pages().get());
    let share = (1000 + wanted) / u128::from(seen.total);
    Permille(i32::try_from(1000 - i128::try_from(share).unwrap_or(i128::MAX)).unwrap_or(i32::MIN))
}

/// The share of free memory that a request of this order cannot use.
#[doc(alias = "unusable_free_index")]
#[must_use]
pub fn unusable_index(free: impl IntoIterator<Item = u64>, order: Order) -> Permille {
    let seen = count(free, order);
    let usable = seen.suitable.saturating_mul(order.pages().get());
    let unusable = PageCount::new(seen.pages).saturating_sub(PageCount::new(usable)).get();
    let index = (u128::from(unusable) * 1000).checked_div(u128::from(seen.pages)).unwrap_or(1000);
    Permille(i32::try_from(index).unwrap_or(1000))
}
