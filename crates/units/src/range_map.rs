//! A value for every number of an interval, kept as coarsely as it is uniform.

mod chunks;

use alloc::vec::Vec;
use core::ops::Range;

use self::chunks::Chunks;

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
    runs: Chunks<Run<V>>,
}

/// Numbers that follow each other and have one value.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Run<V> {
    start: u64,
    end: u64,
    value: V,
}

impl<V> Run<V> {
    const fn range(&self) -> Range<u64> {
        self.start..self.end
    }
}

impl<V> Default for RangeMap<V> {
    fn default() -> Self {
        Self { runs: Chunks::NONE }
    }
}

impl<V: Clone + PartialEq> RangeMap<V> {
    /// No number has a value.
    #[must_use]
    pub const fn new() -> Self {
        Self { runs: Chunks::NONE }
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
        self.run_at(at).map(|(_, value)| value)
    }

    /// The run that a number is in.
    #[must_use]
    #[inline]
    pub fn run_at(&self, at: u64) -> Option<(Range<u64>, &V)> {
        let run = self.runs.before(self.runs.first_not(|run| run.start <= at))?;
        (at < run.end).then(|| (run.range(), &run.value))
    }

    /// Gives all numbers of a range one value.
    pub fn set(&mut self, range: Range<u64>, value: V) {
        if range.is_empty() {
            return;
        }
        let (at, _) = self.cut_out(&range);
        let follows = self.runs.get(at).is_some_and(|right| right.start == range.end && right.value == value);
        if let Some(left) = self.runs.before_mut(at)
            && left.end == range.start
            && left.value == value
        {
            left.end = range.end;
            if follows && let Some(right) = self.runs.remove(at) {
                // The place before is where it was.
                if let Some(left) = self.runs.before_mut(at) {
                    left.end = right.end;
                }
            }
        } else if follows && let Some(right) = self.runs.get_mut(at) {
            right.start = range.start;
        } else {
            self.runs.insert(at, Run { start: range.start, end: range.end, value });
        }
    }

    /// Gives a run as it is another value, if it then still is one, and says so.
    fn set_run(&mut self, range: &Range<u64>, value: &V) -> bool {
        let at = self.runs.first_not(|run| run.end <= range.start);
        let Some(run) = self.runs.get(at) else { return false };
        if run.value == *value && run.start <= range.start && run.end >= range.end {
            return true;
        }
        let joins_left = |left: &Run<V>| left.end == range.start && left.value == *value;
        let joins_right = |right: &Run<V>| right.start == range.end && right.value == *value;
        if run.range() != *range
            || self.runs.before(at).is_some_and(joins_left)
            || self.runs.after(at).is_some_and(joins_right)
        {
            return false;
        }
        if let Some(run) = self.runs.get_mut(at) {
            run.value = value.clone();
        }
        true
    }

    /// Takes the values of a range away; whether there were any.
    pub fn clear(&mut self, range: Range<u64>) -> bool {
        !range.is_empty() && self.cut_out(&range).1
    }

    /// Changes the value of every number of a range that has one.
    pub fn update(&mut self, range: Range<u64>, change: impl Fn(&V) -> V) {
        let Some((run, value)) = self.overlapping(range.clone()).next() else { return };
        if run == range {
            // Most often one run alone is concerned.
            let changed = change(value);
            if !self.set_run(&range, &changed) {
                self.set(range, changed);
            }
            return;
        }
        let changed: Vec<_> = self.overlapping(range).map(|(run, value)| (run, change(value))).collect();
        changed.into_iter().for_each(|(run, value)| self.set(run, value));
    }

    /// No run reaches into the range any more; the place for one that begins where the range does, and whether any did.
    fn cut_out(&mut self, range: &Range<u64>) -> (chunks::At, bool) {
        let at = self.runs.first_not(|run| run.start < range.start);
        let mut any = false;
        if let Some(left) = self.runs.before_mut(at)
            && left.end > range.start
        {
            let past = core::mem::replace(&mut left.end, range.start);
            if past > range.end {
                let rest = Run { start: range.end, end: past, value: left.value.clone() };
                return (self.runs.insert(at, rest), true);
            }
            any = true;
        }
        while let Some(run) = self.runs.get_mut(at)
            && run.start < range.end
        {
            any = true;
            if run.end > range.end {
                run.start = range.end;
                break;
            }
            self.runs.remove(at);
        }
        (at, any)
    }

    /// The runs that have numbers of a range, as far as they have, in ascending order.
    pub fn overlapping(&self, range: Range<u64>) -> impl Iterator<Item = (Range<u64>, &V)> {
        let Range { start, end } = range;
        let first = self.runs.first_not(|run| run.end <= start);
        self.runs
            .from(first)
            .take_while(move |run| run.start < end && start < end)
            .map(move |run| (run.start.max(start)..run.end.min(end), &run.value))
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
        self.runs.iter().map(|run| (run.range(), &run.value))
    }

    /// How many runs there are.
    #[must_use]
    pub fn runs(&self) -> usize {
        self.runs.iter().count()
    }

    /// Has no number a value?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.iter().next().is_none()
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
        const N: u64 = 64;
        let (mut map, mut array) = (RangeMap::new(), [None; 64]);
        let mut state = 7u64;
        let mut draw = |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % n
        };
        for step in 0..40_000 {
            let start = draw(N);
            // Short ranges make many runs, long ones few.
            let longest = [N, 3, 1][step / 512 % 3];
            let range = start..(start + draw(longest.min(N - start) + 1));
            let slots = &mut array[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
            match draw(4) {
                0 => {
                    let any = slots.iter().any(Option::is_some);
                    assert_eq!(map.clear(range.clone()), any, "step {step}");
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
