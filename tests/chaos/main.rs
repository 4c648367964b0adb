//! Tests that torture the real program: kill it at any instant, cut its power, break its disk.
//!
//! A plain `cargo test` runs a taste of each. `CALLOUT_CHAOS=ci` or `CALLOUT_CHAOS=long` makes them
//! larger; single sizes and the seed can be given too (see `size.rs` and docs/promise.md).
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests fail a test by panicking and say what they saw, and clippy excuses test functions only"
)]

mod clock;
mod damage;
mod dice;
mod disk;
mod failover;
mod graceful;
mod history;
mod home;
mod judge;
mod kills;
#[path = "../it/harness/left_out.rs"]
mod left_out;
mod load;
mod nodes;
#[path = "../oracle/mod.rs"]
mod oracle;
mod overload;
mod postgres;
mod power_cut;
mod shim;
mod size;
mod upgrade;
mod watcher;
