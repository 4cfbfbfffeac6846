//! A sorted list in short chunks: a place is found by halving, and neighbours of a place are at hand.

use alloc::vec::Vec;
use core::iter;

/// Entries of a chunk at most: few enough to be moved, many enough that there are few chunks.
const MOST: usize = if cfg!(test) { 4 } else { 32 };
/// And so few that two neighbours with fewer become one.
const FEW: usize = MOST.div_ceil(3);

/// A place in the list: before an entry, or at the end of a chunk, which is before the first of the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    chunk: usize,
    slot: usize,
}

/// The list. No chunk is empty.
#[derive(Clone, Debug)]
pub(super) struct Chunks<T>(Vec<Vec<T>>);

impl<T> Chunks<T> {
    pub(super) const NONE: Self = Self(Vec::new());

    /// The place before the first entry for which something does not hold that holds for all before it.
    #[inline]
    pub(super) fn first_not(&self, holds: impl Fn(&T) -> bool) -> At {
        let past = match self.0.as_slice() {
            [_] => 1,
            chunks => chunks.partition_point(|chunk| chunk.first().is_some_and(&holds)),
        };
        let chunk = past.saturating_sub(1);
        At { chunk, slot: self.0.get(chunk).map_or(0, |entries| entries.partition_point(holds)) }
    }

    /// The same place, before an entry if there is one.
    #[inline]
    pub(super) fn normal(&self, At { chunk, slot }: At) -> At {
        match self.0.get(chunk) {
            Some(entries) if slot >= entries.len() && chunk + 1 < self.0.len() => At { chunk: chunk + 1, slot: 0 },
            _ => At { chunk, slot },
        }
    }

    /// The entry behind a place.
    #[inline]
    pub(super) fn get(&self, at: At) -> Option<&T> {
        let At { chunk, slot } = self.normal(at);
        self.0.get(chunk)?.get(slot)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, at: At) -> Option<&mut T> {
        let At { chunk, slot } = self.normal(at);
        self.0.get_mut(chunk)?.get_mut(slot)
    }

    /// The entry behind the one behind a place.
    #[inline]
    pub(super) fn after(&self, at: At) -> Option<&T> {
        let At { chunk, slot } = self.normal(at);
        self.get(At { chunk, slot: slot + 1 })
    }

    /// The entry before a place.
    #[inline]
    pub(super) fn before(&self, At { chunk, slot }: At) -> Option<&T> {
        match slot.checked_sub(1) {
            Some(slot) => self.0.get(chunk)?.get(slot),
            None => self.0.get(chunk.checked_sub(1)?)?.last(),
        }
    }

    #[inline]
    pub(super) fn before_mut(&mut self, At { chunk, slot }: At) -> Option<&mut T> {
        match slot.checked_sub(1) {
            Some(slot) => self.0.get_mut(chunk)?.get_mut(slot),
            None => self.0.get_mut(chunk.checked_sub(1)?)?.last_mut(),
        }
    }

    /// A new entry at a place; where it is.
    pub(super) fn insert(&mut self, At { mut chunk, mut slot }: At, entry: T) -> At {
        match self.0.get_mut(chunk) {
            None => {
                chunk = self.0.len();
                slot = 0;
                self.0.push(Vec::from([entry]));
            }
            Some(entries) if entries.len() < MOST => entries.insert(slot, entry),
            Some(entries) => {
                let mut upper = entries.split_off(MOST / 2);
                match slot.checked_sub(MOST / 2) {
                    None | Some(0) => entries.insert(slot, entry),
                    Some(above) => upper.insert(above, entry),
                }
                self.0.insert(chunk + 1, upper);
                if slot > MOST / 2 {
                    chunk += 1;
                    slot -= MOST / 2;
                }
            }
        }
        At { chunk, slot }
    }

    /// Takes out the entry behind a place. The place stays what it is: before the next one.
    pub(super) fn remove(&mut self, at: At) -> Option<T> {
        let At { chunk, slot } = self.normal(at);
        let entries = self.0.get_mut(chunk)?;
        if slot >= entries.len() {
            return None;
        }
        let entry = entries.remove(slot);
        if entries.is_empty() {
            self.0.remove(chunk);
        } else if entries.len() < FEW && self.0.get(chunk + 1).is_some_and(|next| next.len() < FEW) {
            let mut next = self.0.remove(chunk + 1);
            self.0[chunk].append(&mut next);
        }
        Some(entry)
    }

    /// All entries behind a place.
    pub(super) fn from(&self, mut at: At) -> impl Iterator<Item = &T> {
        iter::from_fn(move || {
            let At { chunk, slot } = self.normal(at);
            at = At { chunk, slot: slot + 1 };
            self.0.get(chunk)?.get(slot)
        })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flatten()
    }
}

impl<T: PartialEq> PartialEq for Chunks<T> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<T: Eq> Eq for Chunks<T> {}
