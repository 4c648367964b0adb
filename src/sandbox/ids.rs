//! Where the stand-in's ids come from.

use std::sync::Arc;

use aws_lc_rs::{digest, rand};

/// How ids are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ids {
    /// From the system's randomness.
    #[default]
    Random,
    /// From this number and a counter, so that a test sees the same ids each time.
    Seeded(u64),
}

/// Makes ids in the form of UUIDs of version 4.
#[derive(Debug)]
pub(super) struct IdSource {
    ids: Ids,
    n_made: u64,
}

impl IdSource {
    pub(super) const fn new(ids: Ids) -> Self {
        Self { ids, n_made: 0 }
    }

    pub(super) fn next(&mut self) -> Arc<str> {
        self.n_made += 1;
        let mut bytes = [0; 16];
        let drawn = match self.ids {
            Ids::Random => rand::fill(&mut bytes).is_ok(),
            Ids::Seeded(_) => false,
        };
        if !drawn {
            let seed = match self.ids {
                Ids::Random => 0,
                Ids::Seeded(seed) => seed,
            };
            let input = [seed.to_be_bytes(), self.n_made.to_be_bytes()].concat();
            for (byte, hashed) in bytes.iter_mut().zip(digest::digest(&digest::SHA256, &input).as_ref()) {
                *byte = *hashed;
            }
        }
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string().into()
    }
}
