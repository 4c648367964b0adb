//! Every test that looks at callout from the outside, in one program.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail a test by panicking, and clippy excuses test functions only"
)]

mod alerts;
mod config;
mod readme;
mod records;
mod sqlite;
mod stores;
mod vonage_bodies;
mod vonage_client;
mod vonage_fixture;
mod vonage_signature;
mod vonage_token;
mod vonage_webhook;
