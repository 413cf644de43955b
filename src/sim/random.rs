/// SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014): a counter and a mixing
/// function, in integers alone, so that a seed gives the same numbers on every system.
#[derive(Debug, Clone)]
pub(super) struct Random {
    state: u64,
}

/// 2^64 divided by the golden ratio, made odd.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

const MILLION: u64 = 1_000_000;

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// A generator for the one of many purposes that `parts` name. It depends on nothing else, so that one purpose's
    /// numbers stay the same when another comes or goes.
    pub(super) fn derived(seed: u64, parts: &[u64]) -> Self {
        Self::new(parts.iter().fold(seed, |state, part| Self::new(state ^ part).next()))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, 0 where that is 0. All are equally likely, but for one part in 2^64 / `bound`.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// Whether something happens that does so `ppm` times in a million. Of what never happens it costs nothing to ask.
    pub(super) fn chance(&mut self, ppm: u32) -> bool {
        ppm > 0 && self.below(MILLION) < u64::from(ppm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_reference() {
        // https://prng.di.unimi.it/splitmix64.c with x = 1234567
        let mut random = Random::new(1_234_567);
        let expected = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        assert_eq!(expected.map(|_| random.next()), expected);
    }

    #[test]
    fn bounds_are_kept() {
        let mut random = Random::new(1);
        assert!((0..1_000).all(|_| random.below(3) < 3));
        assert_eq!((random.below(0), random.below(1)), (0, 0));
        let before = random.state;
        assert!((0..1_000).all(|_| !random.chance(0)));
        assert_eq!(random.state, before);
        assert!((0..1_000).all(|_| random.chance(1_000_000)));
    }

    #[test]
    fn purposes_have_numbers_of_their_own() {
        let first = |parts: &[u64]| Random::derived(7, parts).next();
        let all = [first(&[]), first(&[0]), first(&[1]), first(&[0, 0]), first(&[0, 1]), first(&[1, 0])];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }
}
