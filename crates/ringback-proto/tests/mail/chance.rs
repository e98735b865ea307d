//! A seeded generator of mutations: small, and the same on every machine.

/// Linear congruential (Knuth's MMIX); good enough to choose octets.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }

    /// Changes a few places: an octet, a cut, a repetition, or a word that parsers care about.
    pub(crate) fn mutate(&mut self, octets: &[u8], words: &[&[u8]]) -> Vec<u8> {
        let mut octets = octets.to_vec();
        for _ in 0..=self.below(6) {
            let at = self.below(octets.len() + 1);
            let end = (at + self.below(40)).min(octets.len());
            match self.below(5) {
                0 if at < octets.len() => octets[at] = self.below(256) as u8,
                0 | 1 => octets.truncate(at),
                2 => drop(octets.drain(at..end)),
                3 => {
                    let again = octets[at..end].to_vec();
                    octets.splice(at..at, again);
                }
                _ => {
                    let word = words[self.below(words.len())];
                    octets.splice(at..at, word.iter().copied());
                }
            }
        }
        octets
    }
}
