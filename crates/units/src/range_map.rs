//! A value for every number of an interval, kept as coarsely as it is uniform.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Range;

/// Values of neighbouring numbers, in runs of equal ones: two runs that touch differ. A number may have no value.
///
/// ```
/// use units::RangeMap;
///
/// let mut map = RangeMap::new();
/// map.set(0..8, 'a');
/// map.set(3..5, 'b');
/// assert_eq!(map.iter().map(|(run, &v)| (run, v)).collect::<Vec<_>>(), [(0..3, 'a'), (3..5, 'b'), (5..8, 'a')]);
/// map.set(3..5, 'a');
/// assert_eq!(map.runs(), 1);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeMap<V> {
    /// By first number: the one behind the last, and the value.
    runs: BTreeMap<u64, (u64, V)>,
}

impl<V> Default for RangeMap<V> {
    fn default() -> Self {
        Self { runs: BTreeMap::new() }
    }
}

impl<V: Clone + PartialEq> RangeMap<V> {
    /// No number has a value.
    #[must_use]
    pub const fn new() -> Self {
        Self { runs: BTreeMap::new() }
    }

    /// All numbers of a range have one value.
    #[must_use]
    pub fn filled(range: Range<u64>, value: V) -> Self {
        let mut map = Self::new();
        map.set(range, value);
        map
    }

    /// The value of a number.
    #[must_use]
    #[inline]
    pub fn get(&self, at: u64) -> Option<&V> {
        self.runs.range(..=at).next_back().filter(|(_, (end, _))| at < *end).map(|(_, (_, value))| value)
    }

    /// The run that a number is in.
    #[must_use]
    #[inline]
    pub fn run_at(&self, at: u64) -> Option<(Range<u64>, &V)> {
        let (&start, (end, value)) = self.runs.range(..=at).next_back()?;
        (at < *end).then_some((start..*end, value))
    }

    /// Gives all numbers of a range one value.
    pub fn set(&mut self, range: Range<u64>, value: V) {
        if range.is_empty() {
            return;
        }
        let Range { mut start, mut end } = self.cut_out(range);
        if let Some((&before, (past, left))) = self.runs.range(..start).next_back()
            && *past == start
            && *left == value
        {
            start = before;
        }
        if let Some((past, right)) = self.runs.get(&end)
            && *right == value
        {
            let past = *past;
            self.runs.remove(&end);
            end = past;
        }
        self.runs.insert(start, (end, value));
    }

    /// Takes the values of a range away.
    pub fn clear(&mut self, range: Range<u64>) {
        if !range.is_empty() {
            self.cut_out(range);
        }
    }

    /// Changes the value of every number of a range that has one.
    pub fn update(&mut self, range: Range<u64>, change: impl Fn(&V) -> V) {
        let Some((run, value)) = self.overlapping(range.clone()).next() else { return };
        if run == range {
            // Most often one run alone is concerned.
            let changed = change(value);
            return self.set(range, changed);
        }
        let changed: Vec<_> = self.overlapping(range).map(|(run, value)| (run, change(value))).collect();
        changed.into_iter().for_each(|(run, value)| self.set(run, value));
    }

    /// No run reaches into the range any more; the range.
    fn cut_out(&mut self, range: Range<u64>) -> Range<u64> {
        if let Some((&first, (end, value))) = self.runs.range_mut(..range.start).next_back()
            && *end > range.start
        {
            let past = core::mem::replace(end, range.start);
            debug_assert!(first < range.start, "a run is never empty");
            if past > range.end {
                let rest = value.clone();
                self.runs.insert(range.end, (past, rest));
                return range;
            }
        }
        while let Some((&first, _)) = self.runs.range(range.clone()).next() {
            let Some((past, value)) = self.runs.remove(&first) else { break };
            if past > range.end {
                self.runs.insert(range.end, (past, value));
            }
        }
        range
    }

    /// The runs that have numbers of a range, as far as they have, in ascending order.
    pub fn overlapping(&self, range: Range<u64>) -> impl Iterator<Item = (Range<u64>, &V)> {
        let Range { start, end } = range;
        let reaching = self.runs.range(..start).next_back().filter(|(_, (past, _))| start < end && *past > start);
        let inside = self.runs.range(start..end.max(start));
        reaching
            .into_iter()
            .chain(inside)
            .map(move |(&first, (past, value))| (first.max(start)..(*past).min(end), value))
    }

    /// Does every number of a range have this value?
    #[must_use]
    pub fn is_all(&self, range: Range<u64>, value: &V) -> bool {
        range.is_empty() || self.run_at(range.start).is_some_and(|(run, there)| there == value && run.end >= range.end)
    }

    /// Has any number of a range a value?
    #[must_use]
    pub fn touches(&self, range: Range<u64>) -> bool {
        self.overlapping(range).next().is_some()
    }

    /// All runs, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = (Range<u64>, &V)> {
        self.runs.iter().map(|(&start, (end, value))| (start..*end, value))
    }

    /// How many runs there are.
    #[must_use]
    pub fn runs(&self) -> usize {
        self.runs.len()
    }

    /// Has no number a value?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Are the runs apart, not empty, and as few as they can be?
    #[must_use]
    pub fn is_canonical(&self) -> bool {
        let apart = self
            .iter()
            .zip(self.iter().skip(1))
            .all(|((left, a), (right, b))| left.end < right.start || (left.end == right.start && a != b));
        apart && self.iter().all(|(run, _)| !run.is_empty())
    }
}

impl<V: Clone + PartialEq> FromIterator<(Range<u64>, V)> for RangeMap<V> {
    fn from_iter<I: IntoIterator<Item = (Range<u64>, V)>>(runs: I) -> Self {
        let mut map = Self::new();
        runs.into_iter().for_each(|(run, value)| map.set(run, value));
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every change beside a plain array, with few numbers and values so that runs meet, join and are cut in every way.
    #[test]
    fn the_runs_are_what_an_array_has() {
        const N: u64 = 24;
        let (mut map, mut array) = (RangeMap::new(), [None; 24]);
        let mut state = 7u64;
        let mut draw = |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % n
        };
        for step in 0..40_000 {
            let start = draw(N);
            let range = start..(start + draw(N - start + 1));
            let slots = &mut array[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
            match draw(4) {
                0 => {
                    map.clear(range.clone());
                    slots.fill(None);
                }
                1 => {
                    map.update(range.clone(), |v| (v + 1) % 3);
                    slots.iter_mut().for_each(|slot| *slot = slot.map(|v| (v + 1) % 3));
                }
                _ => {
                    let value = draw(3);
                    map.set(range.clone(), value);
                    slots.fill(Some(value));
                }
            }
            assert!(map.is_canonical(), "step {step}: {map:?}");
            for at in 0..N {
                assert_eq!(map.get(at).copied(), array[usize::try_from(at).unwrap()], "step {step}, at {at}");
            }
            let seen: Vec<_> =
                map.overlapping(range.clone()).flat_map(|(run, &v)| run.map(move |at| (at, v))).collect();
            let there = range.clone().filter_map(|at| Some((at, array[usize::try_from(at).unwrap()]?)));
            assert_eq!(seen, there.collect::<Vec<_>>(), "step {step}");
            for value in 0..3 {
                let all = range.clone().all(|at| array[usize::try_from(at).unwrap()] == Some(value));
                assert_eq!(map.is_all(range.clone(), &value), all, "step {step}");
            }
        }
    }
}
