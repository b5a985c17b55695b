//! Random values that others must not guess, all from one seed: the same seed and the same inputs
//! give the same outputs.

use std::fmt;
use std::hash::BuildHasher;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use siphasher::sip::SipHasher13;

/// Bytes of randomness that a generator starts from.
pub type Seed = [u8; 32];

/// Generator of ports, tokens, ids and keys: ChaCha with 12 rounds.
pub struct Random(ChaCha12Rng);

impl Random {
    /// A generator that goes on from `seed`, which comes from the operating system and is used for
    /// nothing else.
    #[must_use]
    pub fn new(seed: Seed) -> Self {
        Self(ChaCha12Rng::from_seed(seed))
    }

    /// Random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// A random number below `bound`, which is not zero.
    pub fn below(&mut self, bound: u32) -> u32 {
        let wide = self.0.next_u64();
        ((u128::from(wide) * u128::from(bound)) >> 64) as u32
    }

    /// Keys for hash tables.
    pub fn hash_keys(&mut self) -> HashKeys {
        HashKeys::new(self.bytes())
    }
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Random(…)")
    }
}

/// Keys of SipHash-1-3, so that nobody can choose names that collide in a hash table.
#[derive(Clone, Copy)]
pub struct HashKeys(u64, u64);

impl HashKeys {
    /// Keys of these random bytes.
    #[must_use]
    pub fn new(bytes: [u8; 16]) -> Self {
        let keys = u128::from_le_bytes(bytes);
        Self(keys as u64, (keys >> 64) as u64)
    }
}

impl BuildHasher for HashKeys {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0, self.1)
    }
}

impl fmt::Debug for HashKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKeys(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_every_value() {
        let draw = |seed| {
            let mut random = Random::new([seed; 32]);
            let below: Vec<_> = (0..100).map(|_| random.below(1000)).collect();
            (random.bytes::<8>(), below, random.hash_keys().hash_one("x"))
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert!(draw(1).1.iter().all(|n| *n < 1000));
    }
}
