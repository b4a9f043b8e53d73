//! Which part of the content is read.

/// How much of the objects is looked at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Depth {
    /// Every stored byte.
    Full,
    /// Of content a random part of so many percent; of everything else all.
    Sample {
        /// More than 0, at most 100.
        percent: f64,
        /// Where the random numbers begin: the same one reads the same part of the same repository.
        seed: u64,
    },
    /// That objects are there, their sizes, headers and seek tables.
    Quick,
}

/// Chooses what is read; the same for the same seed and the same questions.
#[derive(Debug, Clone)]
pub(super) struct Sampler {
    state: u64,
    /// Of 2^32.
    share: u64,
}

impl Sampler {
    pub(super) fn new(depth: Depth) -> Self {
        let (percent, state) = match depth {
            Depth::Full => (100.0, 0),
            Depth::Quick => (0.0, 0),
            Depth::Sample { percent, seed } => (percent, seed),
        };
        // In millionths of a percent, so that no float is ever cut.
        let millionths = format!("{:.0}", percent.clamp(0.0, 100.0) * 1e6).parse::<u64>().unwrap_or_default();
        Self { state, share: (millionths << 32) / 100_000_000 }
    }

    /// Whether any content is read at all.
    pub(super) fn reads_anything(&self) -> bool {
        self.share > 0
    }

    /// Whether the next piece is read.
    pub(super) fn takes(&mut self) -> bool {
        (self.next() >> 32) < self.share
    }

    /// The numbers of splitmix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(depth: Depth) -> usize {
        let mut sampler = Sampler::new(depth);
        (0..100_000).filter(|_| sampler.takes()).count()
    }

    #[test]
    fn takes_the_share_that_was_asked_for() {
        assert_eq!(taken(Depth::Full), 100_000);
        assert_eq!(taken(Depth::Quick), 0);
        for seed in [0, 1, u64::MAX] {
            let five = taken(Depth::Sample { percent: 5.0, seed });
            assert!((4_700..5_300).contains(&five), "{five}");
            assert_eq!(five, taken(Depth::Sample { percent: 5.0, seed }));
        }
        assert_eq!(taken(Depth::Sample { percent: 100.0, seed: 3 }), 100_000);
    }
}
