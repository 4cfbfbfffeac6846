//! Free folios of one node of one pool.

use alloc_crate::string::String;
use alloc_crate::vec::Vec;

use crate::HugeFolio;
use crate::pool::Condition;

/// The free folios, last in first out. It only follows: [`crate::Pool`] decides who may take.
#[doc(alias = "hugepage_freelists")]
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Shelf {
    folios: Vec<HugeFolio>,
    /// Slots of those among them whose memory is broken. Nobody gets them; they leave the pool first.
    poisoned: Vec<u32>,
    /// Those of them that the ledger does not count as such yet. Nobody is at that in a machine at rest.
    #[cfg_attr(feature = "serde", serde(skip))]
    arriving: Vec<u32>,
}

/// Did a folio take the place of another one?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Swapped {
    /// Yes.
    Done,
    /// No: the other one is broken.
    Broken,
    /// No: somebody has taken the other one.
    Gone,
}

impl Shelf {
    /// Nothing free.
    #[must_use]
    pub const fn new() -> Self {
        Self { folios: Vec::new(), poisoned: Vec::new(), arriving: Vec::new() }
    }

    /// Puts a folio on top. The ledger must not count it free before.
    #[doc(alias = "enqueue_hugetlb_folio")]
    #[inline]
    pub fn put(&mut self, folio: HugeFolio) {
        self.folios.push(folio);
    }

    /// Takes the top folio that is not broken, after a claim on the ledger.
    ///
    /// # Panics
    /// Nothing is there: somebody took without a claim.
    #[doc(alias = "dequeue_hugetlb_folio_node_exact")]
    #[inline]
    pub fn take_claimed(&mut self) -> HugeFolio {
        let top = if self.poisoned.is_empty() { self.folios.pop() } else { self.take_healthy() };
        top.expect("a claim on the ledger is backed by a folio on the shelf")
    }

    #[cold]
    fn take_healthy(&mut self) -> Option<HugeFolio> {
        let at = self.folios.iter().rposition(|folio| !self.poisoned.contains(&folio.slot))?;
        Some(self.folios.remove(at))
    }

    /// Takes the folio that was set aside last, after the ledger let it go: one that still arrives only where no other is left, for then the ledger
    /// counts it already.
    #[cold]
    pub(crate) fn take_poisoned(&mut self) -> Option<HugeFolio> {
        let arrived = self.poisoned.iter().rposition(|slot| !self.arriving.contains(slot));
        let slot = self.poisoned.remove(arrived.or_else(|| self.poisoned.len().checked_sub(1))?);
        self.arriving.retain(|&there| there != slot);
        self.remove(slot)
    }

    /// Takes a certain folio, if it is there, after the ledger let one in such a condition go. Of which kind it was found: what was let go as sound may be
    /// set aside by now, but one that others have claims on is not taken as broken; nor one that the ledger counts only next.
    pub(crate) fn take(&mut self, folio: HugeFolio, condition: Condition) -> Option<Condition> {
        let aside = self.poisoned.contains(&folio.slot);
        if self.arriving.contains(&folio.slot) || !aside && condition == Condition::Poisoned {
            return None;
        }
        self.remove(folio.slot)?;
        Some(if self.readmit(folio) { Condition::Poisoned } else { Condition::Sound })
    }

    /// Takes a certain folio, if it is there and not broken, after a claim on the ledger.
    #[cold]
    pub(crate) fn take_sound(&mut self, folio: HugeFolio) -> Option<HugeFolio> {
        if self.poisoned.contains(&folio.slot) { None } else { self.remove(folio.slot) }
    }

    /// Takes a folio that still arrives, and which the ledger does not count after all.
    #[cold]
    pub(crate) fn take_arriving(&mut self, folio: HugeFolio) -> Option<HugeFolio> {
        self.arrived(folio);
        self.readmit(folio);
        self.remove(folio.slot)
    }

    fn remove(&mut self, slot: u32) -> Option<HugeFolio> {
        let at = self.folios.iter().position(|folio| folio.slot == slot)?;
        Some(self.folios.remove(at))
    }

    /// Puts `new` where `old` lies, on top of all others, if that is there and not broken: nobody finds one folio less meanwhile.
    #[cold]
    pub(crate) fn swap_sound(&mut self, old: HugeFolio, new: HugeFolio) -> Swapped {
        if self.poisoned.contains(&old.slot) {
            return Swapped::Broken;
        }
        match self.remove(old.slot) {
            None => Swapped::Gone,
            Some(_) => {
                self.folios.push(new);
                Swapped::Done
            }
        }
    }

    /// The memory of a folio is broken. Was it healthy, and is it there?
    pub(crate) fn set_aside(&mut self, folio: HugeFolio) -> bool {
        let there = self.folios.iter().any(|there| there.slot == folio.slot);
        let new = there && !self.poisoned.contains(&folio.slot);
        if new {
            self.poisoned.push(folio.slot);
        }
        new
    }

    /// Puts a folio on top whose memory is broken, and which the ledger counts next: until [`Shelf::arrived`] it stays set aside.
    #[cold]
    pub(crate) fn put_broken(&mut self, folio: HugeFolio) {
        self.folios.push(folio);
        self.poisoned.push(folio.slot);
        self.arriving.push(folio.slot);
    }

    /// The ledger counts the folio as broken.
    #[cold]
    pub(crate) fn arrived(&mut self, folio: HugeFolio) {
        self.arriving.retain(|&slot| slot != folio.slot);
    }

    /// A folio that was set aside is as good as any other again. Was it one, which the ledger counts as such?
    pub(crate) fn readmit(&mut self, folio: HugeFolio) -> bool {
        if self.arriving.contains(&folio.slot) {
            return false;
        }
        let before = self.poisoned.len();
        self.poisoned.retain(|&slot| slot != folio.slot);
        self.poisoned.len() < before
    }

    /// The free folios, bottom first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = HugeFolio> {
        self.folios.iter().copied()
    }

    /// Those that are not broken, bottom first.
    pub(crate) fn sound(&self) -> impl DoubleEndedIterator<Item = HugeFolio> {
        self.folios.iter().copied().filter(|folio| !self.poisoned.contains(&folio.slot))
    }

    /// Recounts: whatever is set aside is there, once.
    ///
    /// # Errors
    /// What is broken.
    pub fn validate(&self) -> Result<(), String> {
        let wrong = self.poisoned.iter().enumerate().find(|&(n, slot)| {
            self.poisoned[..n].contains(slot) || !self.folios.iter().any(|folio| folio.slot == *slot)
        });
        match wrong {
            Some((_, slot)) => Err(alloc_crate::format!("slot {slot} is set aside twice, or is not there")),
            None => Ok(()),
        }
    }

    /// How many of them are set aside.
    #[must_use]
    pub fn poisoned(&self) -> usize {
        self.poisoned.len()
    }
}
