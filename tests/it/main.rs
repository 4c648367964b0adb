//! Every test that looks at callout from the outside, in one program.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail a test by panicking, and clippy excuses test functions only"
)]

mod alerts;
mod config;
mod harness;
mod http_alerts;
mod http_connections;
mod http_errors;
mod http_events;
mod http_fields;
mod http_health;
mod http_links;
mod http_once;
mod http_people;
mod http_replies;
mod http_webhooks;
mod process;
mod records;
mod sqlite;
mod stores;
mod vonage_bodies;
mod vonage_client;
mod vonage_fixture;
mod vonage_signature;
mod vonage_token;
mod vonage_webhook;
