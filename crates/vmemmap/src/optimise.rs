//! Giving back what says the same for all.

use page_alloc::NoPages;
use units::{Order, PageCount, Pfn};

use crate::Env;
use crate::pages::{FlushOwed, Near, put_page, take_page};
use crate::state::HugeBlock;
use crate::tails::{TailKey, Use};

/// What became of a block that was to be optimised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// It reads a shared tail, and gave so many pages back.
    Optimised(PageCount),
    /// It has all its descriptors, as before, and is as good as any other.
    Left(Left),
}

/// Why a block was left as it is. That is no error: memory is not saved, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Left {
    /// The administrator does not want it.
    #[error("optimising is switched off")]
    Off,
    /// Its descriptors do not fill two pages, or each names its head.
    #[error("descriptors of a block of {0} have no page to give back")]
    TooSmall(Order),
    /// It was optimised before.
    #[error("its descriptors are optimised already")]
    Already,
    /// Its memory holds its own descriptors.
    #[error("its descriptors lie in its own memory")]
    SelfHosted,
    /// There is no such block.
    #[error("no block of that size with descriptors of its own begins at {0}")]
    Undescribed(Pfn),
    /// A page for the tail that all share could not be had.
    #[error("no page for a shared tail: {0}")]
    NoTail(NoPages),
    /// A page for what is its own could not be had.
    #[error("no page for its own descriptors: {0}")]
    NoHead(NoPages),
}

impl Left {
    const fn is_for_lack_of_memory(self) -> bool {
        matches!(self, Self::NoTail(_) | Self::NoHead(_))
    }
}

/// Lets a block read the shared tail of its zone and size, if it can.
#[doc(alias = "hugetlb_vmemmap_optimize_folio")]
pub fn optimise<P: Env>(p: &mut P, block: HugeBlock) -> Outcome {
    let mut owed = FlushOwed::default();
    let outcome = remap(p, block, &mut owed);
    owed.settle(p, block.zone.node);
    outcome
}

/// The same for many, with one flush for all of them. Where memory for one is lacking, what those before it gave back is used, once for each.
/// Each outcome is told as it comes.
#[doc(alias = "hugetlb_vmemmap_optimize_folios")]
pub fn optimise_all<P: Env>(p: &mut P, blocks: &[HugeBlock], mut told: impl FnMut(HugeBlock, Outcome)) {
    let mut owed = FlushOwed::default();
    for &block in blocks {
        let outcome = match remap(p, block, &mut owed) {
            Outcome::Left(why) if why.is_for_lack_of_memory() && !owed.is_nothing() => {
                core::mem::take(&mut owed).settle(p, block.zone.node);
                remap(p, block, &mut owed)
            }
            outcome => outcome,
        };
        told(block, outcome);
    }
    if let Some(block) = blocks.first() {
        owed.settle(p, block.zone.node);
    }
}

fn remap<P: Env>(p: &mut P, block: HugeBlock, owed: &mut FlushOwed) -> Outcome {
    let key = match p.with_vmemmap(|v| v.check(block)) {
        Ok(key) => key,
        Err(why) => return Outcome::Left(why),
    };
    let used = match use_tail(p, key) {
        Ok(used) => used,
        Err(none) => return Outcome::Left(Left::NoTail(none)),
    };
    let head = match take_page(p, key.node, Near::Only) {
        Ok(head) => head,
        Err(none) => {
            if let Some(tail) = p.with_vmemmap(|v| v.unuse(used)) {
                put_page(p, key.node, tail);
            }
            return Outcome::Left(Left::NoHead(none));
        }
    };
    // From here on nothing fails.
    let (old, freed) = p.with_vmemmap(|v| v.remap(block.pfn, used, head));
    owed.add(old);
    Outcome::Optimised(freed)
}

/// One use of a tail. Whoever needs the first one makes it, outside of the section, since that may wait for memory; if two do, one of
/// them finds the other's there and gives his own page back, which nobody has seen.
fn use_tail<P: Env>(p: &mut P, key: TailKey) -> Result<Use, NoPages> {
    if let Some(used) = p.with_vmemmap(|v| v.tails.claim(key)) {
        return Ok(used);
    }
    let page = take_page(p, key.node, Near::Only)?;
    let (used, spare) = p.with_vmemmap(|v| v.tails.publish(key, page));
    if let Some(spare) = spare {
        put_page(p, key.node, spare);
    }
    Ok(used)
}
