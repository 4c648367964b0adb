//! Chance: the one place that random bits come from, so that tests can own it.

use std::fmt;
use std::sync::Mutex;
use std::sync::PoisonError;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

/// Gives random bits.
pub trait Chance: Send + Sync + 'static {
    /// Fills the bytes.
    fn fill(&self, bytes: &mut [u8]);
}

/// Bits that nobody can guess, from the operating system.
pub struct SystemChance(SystemRandom);

impl SystemChance {
    /// The operating system's generator.
    pub fn new() -> Self {
        Self(SystemRandom::new())
    }
}

impl Default for SystemChance {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SystemChance {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SystemChance")
    }
}

impl Chance for SystemChance {
    #[expect(clippy::expect_used, reason = "without randomness no secret can be made; going on would be worse")]
    fn fill(&self, bytes: &mut [u8]) {
        self.0.fill(bytes).expect("the operating system gives random bits");
    }
}

/// The same bits each time, for tests and demonstrations.
#[derive(Debug)]
pub struct SeededChance(Mutex<u64>);

impl SeededChance {
    /// Bits that follow from the seed alone.
    pub const fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }
}

impl Chance for SeededChance {
    /// Steps Sebastiano Vigna's `SplitMix64` generator.
    fn fill(&self, bytes: &mut [u8]) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for chunk in bytes.chunks_mut(8) {
            *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut mixed = *state;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            mixed ^= mixed >> 31;
            for (byte, random) in chunk.iter_mut().zip(mixed.to_le_bytes()) {
                *byte = random;
            }
        }
    }
}
