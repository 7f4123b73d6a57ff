//! Randomness: one ChaCha12 generator a thread, seeded by the kernel or, in simulations, by hand.

use crate::clock::Nanos;
use rand_chacha::ChaCha12Rng;
use rand_core::{Rng as _, SeedableRng as _};

/// A cryptographic generator that belongs to one thread.
///
/// It is cryptographic because what it draws decides what an observer can tell: the order of a
/// burst, a delay, a route. Its state is never printed.
pub struct Rng(ChaCha12Rng);

impl std::fmt::Debug for Rng {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Rng")
    }
}

impl Rng {
    /// Seeded by the kernel.
    ///
    /// # Panics
    /// If the kernel has no randomness to give: nothing here is safe without it.
    pub fn from_os() -> Self {
        let mut seed = [0; 32];
        #[expect(clippy::expect_used, reason = "no randomness, no mix: stop at once")]
        getrandom::fill(&mut seed).expect("the kernel's random generator answers");
        Self::from_seed(seed)
    }

    /// Seeded by hand: for simulations that must repeat.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Rng(ChaCha12Rng::from_seed(seed))
    }

    /// Another generator, independent of what this one draws next.
    pub fn fork(&mut self) -> Self {
        Self::from_seed(self.bytes())
    }

    /// Fills `out`.
    pub fn fill(&mut self, out: &mut [u8]) {
        self.0.fill_bytes(out);
    }

    /// `N` random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }

    /// A uniform 64-bit number.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A uniform number below `bound`, without bias (Lemire 2019); 0 when `bound` is 0.
    pub fn below(&mut self, bound: u32) -> u32 {
        let mut product = u64::from(self.0.next_u32()) * u64::from(bound);
        if (product & 0xffff_ffff) < u64::from(bound) {
            let threshold = u64::from(bound.wrapping_neg() % bound);
            while (product & 0xffff_ffff) < threshold {
                product = u64::from(self.0.next_u32()) * u64::from(bound);
            }
        }
        u32::try_from(product >> 32).unwrap_or(u32::MAX)
    }

    /// A uniform number in the open interval (0, 1), with 53 random bits.
    pub fn unit(&mut self) -> f64 {
        ((self.0.next_u64() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// A uniform span from `low` up to `high`.
    pub fn between(&mut self, low: Nanos, high: Nanos) -> Nanos {
        low + scaled(high - low, self.unit())
    }

    /// An exponentially distributed span with mean `mean`.
    pub fn exponential(&mut self, mean: Nanos) -> Nanos {
        scaled(mean, -self.unit().ln())
    }

    /// Puts `items` into a uniformly random order (Fisher-Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let bound = u32::try_from(last + 1).unwrap_or(u32::MAX);
            items.swap(last, self.below(bound) as usize);
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a float-to-integer cast saturates")]
fn scaled(span: Nanos, factor: f64) -> Nanos {
    Nanos((span.0 as f64 * factor) as u64)
}
