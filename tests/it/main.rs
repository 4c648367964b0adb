//! Every test that looks at callout from the outside, in one program.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail a test by panicking, and clippy excuses test functions only"
)]

mod engine_escalation;
mod engine_frail;
mod engine_pace;
mod engine_repair;
mod engine_replies;
mod engine_restart;
mod engine_stage;
mod engine_trouble;
mod engine_webhooks;
mod vonage_bodies;
mod vonage_client;
mod vonage_fixture;
mod vonage_signature;
mod vonage_token;
mod vonage_webhook;
