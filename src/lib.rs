//! callout makes sure that a person *reads* an alert.
//!
//! The modules, in reading order:
//!
//! | module | what it is |
//! |---|---|
//! | [`timestamp`], [`id`], [`contact`] | values that cannot be wrong |
//! | [`escalation`] | the core: one pure function that decides everything |
//! | [`clock`], [`sender`], [`incoming`] | the small ports: time, what goes out, what comes back |
//! | [`store`] | where alerts are kept |
//! | [`sandbox`] | a stand-in for Vonage, the other side of everything |

pub mod clock;
pub mod contact;
pub mod escalation;
pub mod id;
pub mod incoming;
pub mod sandbox;
pub mod sender;
pub mod store;
pub mod timestamp;
