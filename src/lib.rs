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
//! | [`config`] | from a file, flags and the environment to values that cannot be wrong |

pub mod clock;
pub mod config;
pub mod contact;
pub mod escalation;
pub mod id;
pub mod incoming;
pub mod sender;
pub mod store;
pub mod timestamp;
