//! Random numbers of a seed that is told, so that what failed can be tried again.

/// SplitMix64: a few lines, the same everywhere.
pub(crate) struct Random(u64);

impl Random {
    /// The numbers of that seed.
    pub(crate) fn of(seed: u64) -> Self {
        Self(seed)
    }

    /// The seed that `PGV_TEST_SEED` names, else another one each time.
    pub(crate) fn seed() -> u64 {
        match std::env::var("PGV_TEST_SEED") {
            Ok(seed) => seed.parse().expect("PGV_TEST_SEED is a number"),
            Err(_) => u64::try_from(jiff::Timestamp::now().as_nanosecond() & i128::from(u32::MAX)).unwrap(),
        }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(count).unwrap()).unwrap()
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}
