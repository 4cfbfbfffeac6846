//! Objects by name: of one owner, and of many threads.

use std::ops::Index;

use slotmap::{Key, SecondaryMap, SlotMap};
use sync::Rank;
use sync::locks::Section;

/// Objects of one kind, by the name that each gets when it comes. Names and what is behind them are apart, so that the latter can be spread over locks.
#[derive(Clone, Debug)]
pub(crate) struct Objects<K: Key, V> {
    names: SlotMap<K, ()>,
    values: SecondaryMap<K, V>,
}

impl<K: Key, V> Objects<K, V> {
    pub(crate) fn new() -> Self {
        Self { names: SlotMap::with_key(), values: SecondaryMap::new() }
    }

    pub(crate) fn insert(&mut self, value: V) -> K {
        let name = self.names.insert(());
        self.values.insert(name, value);
        name
    }

    pub(crate) fn remove(&mut self, name: K) -> Option<V> {
        self.names.remove(name);
        self.values.remove(name)
    }

    pub(crate) fn get(&self, name: K) -> Option<&V> {
        self.values.get(name)
    }

    pub(crate) fn get_mut(&mut self, name: K) -> Option<&mut V> {
        self.values.get_mut(name)
    }

    pub(crate) fn contains_key(&self, name: K) -> bool {
        self.names.contains_key(name)
    }

    /// All of them, in the order of their places.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        self.values.iter()
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = K> {
        self.values.keys()
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.values.values()
    }
}

impl<K: Key, V> Index<K> for Objects<K, V> {
    type Output = V;

    fn index(&self, name: K) -> &V {
        &self.values[name]
    }
}

impl<K: Key, V> FromIterator<V> for Objects<K, V> {
    fn from_iter<I: IntoIterator<Item = V>>(values: I) -> Self {
        let mut objects = Self::new();
        values.into_iter().for_each(|value| {
            objects.insert(value);
        });
        objects
    }
}

/// Locks over the objects of one kind.
const LOCKS: usize = 64;

/// Objects of one kind, spread over locks by their names: who works on one meets nobody who works on another, unless these two share a lock.
#[derive(Debug)]
pub(crate) struct Places<K, V>(Vec<Section<Vec<Place<K, V>>>>);

/// What is there, and its name, since a place is used again.
type Place<K, V> = Option<(K, V)>;

/// The lock and the place behind it.
#[expect(clippy::cast_possible_truncation, reason = "the lower half of a name is its place")]
fn place_of(name: impl Key) -> (usize, usize) {
    let place = name.data().as_ffi() as u32 as usize;
    (place % LOCKS, place / LOCKS)
}

impl<K: Key, V> Places<K, V> {
    pub(crate) fn new(rank: Rank, objects: impl IntoIterator<Item = (K, V)>) -> Self {
        let places = Self((0..LOCKS).map(|_| Section::new(rank, Vec::new())).collect());
        objects.into_iter().for_each(|(name, value)| places.insert(name, value));
        places
    }

    pub(crate) fn insert(&self, name: K, value: V) {
        let (lock, place) = place_of(name);
        self.0[lock].with(|places| {
            if places.len() <= place {
                places.resize_with(place + 1, || None);
            }
            places[place] = Some((name, value));
        });
    }

    pub(crate) fn remove(&self, name: K) -> Option<V> {
        let (lock, place) = place_of(name);
        self.0[lock].with(|places| places.get_mut(place)?.take_if(|(there, _)| *there == name).map(|(_, value)| value))
    }

    #[inline]
    pub(crate) fn with<R>(&self, name: K, f: impl FnOnce(&mut V) -> R) -> Option<R> {
        let (lock, place) = place_of(name);
        self.0[lock].with(|places| match places.get_mut(place) {
            Some(Some((there, value))) if *there == name => Some(f(value)),
            _ => None,
        })
    }
}

impl<K, V> Places<K, V> {
    fn into_iter(self) -> impl Iterator<Item = (K, V)> {
        self.0.into_iter().flat_map(Section::into_inner).flatten()
    }
}

impl<K: Key, V> From<Places<K, V>> for SecondaryMap<K, V> {
    fn from(places: Places<K, V>) -> Self {
        places.into_iter().collect()
    }
}

/// [`Objects`] of many threads.
#[derive(Debug)]
pub(crate) struct Spread<K: Key, V> {
    names: Section<SlotMap<K, ()>>,
    places: Places<K, V>,
}

impl<K: Key, V> Spread<K, V> {
    pub(crate) fn new(rank: Rank, Objects { names, mut values }: Objects<K, V>) -> Self {
        Self { names: Section::new(rank, names), places: Places::new(rank, values.drain()) }
    }

    /// Nobody knows the name before its object is there.
    pub(crate) fn insert(&self, value: V) -> K {
        let name = self.names.with(|names| names.insert(()));
        self.places.insert(name, value);
        name
    }

    /// The object goes first: its name is nobody else's while it is there.
    pub(crate) fn remove(&self, name: K) -> Option<V> {
        let value = self.places.remove(name);
        self.names.with(|names| names.remove(name));
        value
    }

    #[inline]
    pub(crate) fn with<R>(&self, name: K, f: impl FnOnce(&mut V) -> R) -> Option<R> {
        self.places.with(name, f)
    }

    /// The names that there are; some of them may be gone when they are used.
    pub(crate) fn keys(&self) -> Vec<K> {
        self.names.with(|names| names.keys().collect())
    }
}

impl<K: Key, V> From<Spread<K, V>> for Objects<K, V> {
    fn from(Spread { names, places }: Spread<K, V>) -> Self {
        Self { names: names.into_inner(), values: places.into() }
    }
}

#[cfg(test)]
mod tests {
    use slotmap::DefaultKey;

    use super::*;

    /// Names are the same before, while and after objects are spread, and one that is gone never names another.
    #[test]
    fn spread_and_put_together_they_are_what_they_were() {
        let mut objects: Objects<DefaultKey, u32> = (0..300).collect();
        let gone: Vec<_> = objects.keys().step_by(3).collect();
        gone.iter().for_each(|&name| assert!(objects.remove(name).is_some()));
        let before: Vec<_> = objects.iter().map(|(name, &value)| (name, value)).collect();
        let spread = Spread::new(Rank(1, 0), objects);
        for &(name, value) in &before {
            assert_eq!(spread.with(name, |there| core::mem::replace(there, value + 1)), Some(value));
        }
        let new: Vec<_> = (1_000..1_050).map(|value| (spread.insert(value), value)).collect();
        for &name in &gone {
            assert_eq!((spread.with(name, |&mut value| value), spread.remove(name)), (None, None), "{name:?} is gone");
        }
        assert_eq!((spread.remove(new[7].0), spread.remove(new[7].0)), (Some(1_007), None));
        assert_eq!(spread.keys().len(), before.len() + 49);
        let objects = Objects::from(spread);
        assert!(before.iter().all(|&(name, value)| objects.get(name) == Some(&(value + 1))));
        assert!(new.iter().all(|&(name, value)| objects.get(name) == (value != 1_007).then_some(&value)));
        assert_eq!((objects.keys().count(), objects.values().count()), (before.len() + 49, before.len() + 49));
    }
}
