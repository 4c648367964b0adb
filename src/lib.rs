//! callout makes sure that a person *reads* an alert.
//!
//! The modules, in reading order; a module uses only those above it (`tests/it/layering.rs` checks that):
//!
//! | module | what it is |
//! |---|---|
//! | [`timestamp`], [`id`], [`contact`] | values that cannot be wrong |
//! | [`hash`], `chain` | the one hash; an error with its causes on one line |
//! | [`wording`] | how messages are worded |
//! | [`escalation`] | the core: one pure function that decides everything |
//! | [`clock`], [`chance`], [`sender`], [`incoming`] | the small ports: time, chance, what goes out, what comes back |
//! | [`metrics`], [`traces`] | what is counted; what was done, for whoever collects it |
//! | [`callback`], [`target`] | what other systems are told, and where that may go |
//! | [`store`] | where alerts are kept |
//! | [`config`] | from a file, flags and the environment to values that cannot be wrong |
//! | [`vonage`] | speaking Vonage: requests, answers, webhooks |
//! | [`integrations`] | what other tools post |
//! | [`heartbeat`] | a URL that is called as long as callout goes on |
//! | [`link`] | acknowledge links |
//! | [`alarm`] | what the people who run callout must be told |
//! | [`engine`] | runs the machine: events in, effects out |
//! | [`outgoing`] | the ways out that are not Vonage |
//! | [`http`] | the front door |
//! | [`sandbox`] | a stand-in for Vonage |
//! | [`service`] | all of it wired together |
//! | [`telemetry`], [`cli`] | logs, and the command line |

pub mod alarm;
pub mod callback;
mod chain;
pub mod chance;
pub mod cli;
pub mod clock;
pub mod config;
pub mod contact;
pub mod engine;
pub mod escalation;
pub mod hash;
pub mod heartbeat;
pub mod http;
pub mod id;
pub mod incoming;
pub mod integrations;
pub mod link;
pub mod metrics;
pub mod outgoing;
pub mod sandbox;
pub mod sender;
pub mod service;
pub mod store;
pub mod target;
pub mod telemetry;
pub mod timestamp;
pub mod traces;
pub mod vonage;
pub mod wording;
