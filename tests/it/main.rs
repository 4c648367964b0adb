//! Every test that looks at callout from the outside, in one program.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail a test by panicking, and clippy excuses test functions only"
)]

mod alerts;
mod api_clients;
mod browser;
mod callbacks;
mod clock_steps;
mod config;
mod copies;
mod email;
mod engine_courtesies;
mod engine_escalation;
mod engine_frail;
mod engine_handing_over;
mod engine_pace;
mod engine_repair;
mod engine_replies;
mod engine_restart;
mod engine_stage;
mod engine_trouble;
mod engine_watch;
mod engine_webhooks;
mod every_path;
mod following;
mod fuzz;
mod harness;
mod http_alerts;
mod http_bodies;
mod http_connections;
mod http_errors;
mod http_events;
mod http_fields;
mod http_health;
mod http_integrations;
mod http_links;
mod http_once;
mod http_openapi;
mod http_overview;
mod http_pages;
mod http_people;
mod http_replies;
mod http_webhooks;
mod layering;
mod limits_of_an_alert;
mod machine;
mod metrics_shown;
#[path = "../oracle/mod.rs"]
mod oracle;
mod oracle_itself;
mod planted_bugs;
mod postgres;
mod process;
mod readme;
mod real_tools;
mod records;
mod restart;
mod retention;
mod sandbox_api;
mod sandbox_dispatch;
mod sandbox_faults;
mod sandbox_people;
mod sandbox_stage;
mod sandbox_webhooks;
mod scenarios;
mod settled;
mod sqlite;
mod stores;
mod strangers;
mod supply_chain;
mod systemd_unit;
mod terminal;
mod traces;
mod vonage_bodies;
mod vonage_client;
mod vonage_fixture;
mod vonage_signature;
mod vonage_token;
mod vonage_webhook;
mod vonage_wording;
