//! Speaking Vonage: what goes out to it, what it answers, and what it tells us later.
//!
//! Used of Vonage: `POST /v1/messages` (Messages), `PATCH` of an RCS message to revoke it, `POST /v0.1/dispatch` (Dispatch, closed to new
//! users in 2025 and kept alive for those who have it), bearer tokens signed with an application's
//! private key, and the webhooks of both APIs with their signature.
//!
//! | file | what it does |
//! |---|---|
//! | [`settings`] | what must be known to reach Vonage |
//! | [`client`] | carries one attempt there: the [`Sender`](crate::sender::Sender) of the service |
//! | [`answer`] | judges what Vonage answered: accepted, refused, or trouble |
//! | [`token`] | our token for Vonage |
//! | [`dispatch`], [`messages`] | the two forms of a request; what they share is in `options` and `whatsapp` |
//! | [`text`] | what people read, within each channel's limit |
//! | [`signature`] | whether a webhook is Vonage's |
//! | [`webhook`] | what a webhook says |
//!
//! Promised: no retry happens here, no body is read beyond a limit, and neither a log line nor a
//! [`Failure`](crate::escalation::Failure) made here carries an address, a text, a key or a token.
//!
//! Deliberately not used: Messages' own `failover` (it moves on for `rejected` only, never for a
//! message that nobody reads), HTTP Basic authentication (webhooks would go to the account instead
//! of the application), media, and the Reports API.

pub mod answer;
pub mod client;
pub mod dispatch;
mod failure;
pub mod messages;
mod options;
pub mod settings;
pub mod signature;
pub mod text;
pub mod token;
pub mod webhook;
mod whatsapp;

pub use client::{Error, Probed, VonageSender, WallClock};
pub use settings::{Senders, Settings, TimeLimits};
pub use signature::{SignatureError, SignatureSecret};
pub use token::{PrivateKey, PrivateKeyError};
