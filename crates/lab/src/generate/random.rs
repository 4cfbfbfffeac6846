//! Random numbers that the seed alone decides, on every machine alike (splitmix64).

/// A sequence of random numbers.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`; 0 if that is 0.
    pub(crate) fn below(&mut self, limit: u32) -> u32 {
        let scaled = ((self.next() >> 32) * u64::from(limit)) >> 32;
        u32::try_from(scaled).unwrap_or(0)
    }

    /// A number from `first` to `last`, both possible.
    pub(crate) fn between(&mut self, first: u32, last: u32) -> u32 {
        first + self.below(last.saturating_sub(first) + 1)
    }

    /// Whether something happens that happens so many times in a hundred.
    pub(crate) fn percent(&mut self, times: u32) -> bool {
        self.below(100) < times
    }

    /// One of `choices`, which is not empty.
    pub(crate) fn of<'c, T>(&mut self, choices: &'c [T]) -> &'c T {
        let limit = u32::try_from(choices.len()).unwrap_or(u32::MAX);
        &choices[self.below(limit) as usize]
    }

    /// One of `choices`, if there is any.
    pub(crate) fn any<T: Clone>(&mut self, choices: impl IntoIterator<Item = T>) -> Option<T> {
        let choices: Vec<T> = choices.into_iter().collect();
        (!choices.is_empty()).then(|| self.of(&choices).clone())
    }

    /// One of `choices`, each as often as its weight says.
    pub(crate) fn weighted<T: Copy>(&mut self, choices: &[(T, u32)]) -> Option<T> {
        let total = choices.iter().map(|(_, weight)| weight).sum();
        let mut left = self.below(total);
        for (choice, weight) in choices {
            if left < *weight {
                return Some(*choice);
            }
            left -= weight;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_for_ever() {
        let mut random = Random::new(1);
        let numbers: Vec<u32> = (0..4).map(|_| random.below(1000)).collect();
        assert_eq!(numbers, [566, 745, 971, 444]);
    }

    #[test]
    fn every_choice_comes_and_none_without_weight() {
        let mut random = Random::new(7);
        let mut seen = [0u32; 3];
        for _ in 0..1000 {
            let index: usize = random.weighted(&[(0, 1), (1, 0), (2, 9)]).expect("weights are given");
            seen[index] += 1;
        }
        assert!(seen[0] > 50 && seen[1] == 0 && seen[2] > 800, "{seen:?}");
        assert_eq!(random.any::<u8>([]), None);
    }
}
