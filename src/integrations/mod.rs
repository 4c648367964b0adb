//! What other tools say about problems, each in its own form, brought into one: a list of notices.
//!
//! One file for each form, and each a function from a request to notices. Who may send, and what comes of a
//! notice, is the front door's business. Senders change and add fields as they like, so that nothing is an
//! error that can be borne: an alert that is refused for its form is an alert that nobody reads.

mod alertmanager;
mod details;
mod goalert;
mod grafana;
mod mapping;
mod notice;
pub mod opsgenie;
pub mod pagerduty;
mod words;

use std::sync::Arc;

use serde_json::Value;

pub use details::{DETAIL_CHARS_MAX, DETAIL_ENTRIES_MAX, DETAILS_BYTES_MAX, bounded};
pub use grafana::{SIGNATURE_HEADER_DEFAULT, Seal, SealError};
pub use mapping::{Field, MAP_DETAILS_MAX, Mapping, TEMPLATE_FUEL_MAX, TemplateError};
pub use notice::{Act, Notice, began_at};

/// Which tool's form an integration takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Prometheus' Alertmanager, webhook version 4.
    Alertmanager,
    /// Grafana's alerting webhook, and the one it had before.
    Grafana,
    /// `PagerDuty`'s Events API, version 2, and 1.
    Pagerduty,
    /// Opsgenie's alert API.
    Opsgenie,
    /// `GoAlert`'s generic endpoint.
    Goalert,
    /// Any JSON, with a template for each field.
    Json,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Alertmanager, Self::Grafana, Self::Pagerduty, Self::Opsgenie, Self::Goalert, Self::Json];

    /// Its name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alertmanager => "alertmanager",
            Self::Grafana => "grafana",
            Self::Pagerduty => "pagerduty",
            Self::Opsgenie => "opsgenie",
            Self::Goalert => "goalert",
            Self::Json => "json",
        }
    }
}

/// A tool's form, with what must be known to read it.
#[derive(Clone, Debug)]
pub enum Form {
    /// See [`Kind::Alertmanager`].
    Alertmanager,
    /// See [`Kind::Grafana`]; with a seal, only what is signed is read.
    Grafana(Option<Arc<Seal>>),
    /// See [`Kind::Pagerduty`].
    Pagerduty,
    /// See [`Kind::Opsgenie`].
    Opsgenie,
    /// See [`Kind::Goalert`].
    Goalert,
    /// See [`Kind::Json`].
    Json(Arc<Mapping>),
}

/// What a tool posted.
#[derive(Clone, Copy, Debug)]
pub struct Posted<'a> {
    /// Its body.
    pub body: &'a [u8],
    /// What the body claims to be.
    pub content_type: Option<&'a str>,
    /// What stands behind the question mark of its address.
    pub query: &'a str,
}

/// What was posted cannot be understood at all; each reason names a place in the body. Nothing of the body's
/// own text stands in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", reasons.join("; "))]
pub struct Unreadable {
    /// Why, at least once.
    pub reasons: Vec<String>,
}

impl Unreadable {
    fn because(reason: impl Into<String>) -> Self {
        Self { reasons: vec![reason.into()] }
    }
}

impl Form {
    /// Which tool's it is.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Alertmanager => Kind::Alertmanager,
            Self::Grafana(_) => Kind::Grafana,
            Self::Pagerduty => Kind::Pagerduty,
            Self::Opsgenie => Kind::Opsgenie,
            Self::Goalert => Kind::Goalert,
            Self::Json(_) => Kind::Json,
        }
    }

    /// What the tool says, in the order in which it says it.
    pub fn read(&self, posted: Posted<'_>) -> Result<Vec<Notice>, Unreadable> {
        match self {
            Self::Alertmanager => alertmanager::read(&json(posted.body)?),
            Self::Grafana(_) => grafana::read(&json(posted.body)?),
            Self::Pagerduty => Ok(vec![pagerduty::read(&json(posted.body)?)?]),
            Self::Opsgenie => Ok(vec![opsgenie::read(&json(posted.body)?)?]),
            Self::Goalert => Ok(vec![goalert::read(posted)?]),
            Self::Json(mapping) => Ok(vec![mapping.read(&json(posted.body)?)?]),
        }
    }
}

/// The body as JSON, whatever type it claims to be: many tools claim a wrong one.
pub fn json(body: &[u8]) -> Result<Value, Unreadable> {
    serde_json::from_slice(body).map_err(|error| {
        // What `serde_json` says of the fault itself may quote the body.
        Unreadable::because(format!("the body is not JSON: line {}, column {}", error.line(), error.column()))
    })
}
