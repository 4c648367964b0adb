//! What a webhook says: bytes in, one [`Incoming`] out.
//!
//! Five shapes of body can reach either of our addresses, depending on how the account and the
//! application are set up: a status and an inbound message in the form of Messages v1 (flat) and in
//! that of v0.1 and Dispatch (nested), Dispatch's final report, and, where the account is set to the
//! old SMS API, a legacy SMS body. They are told apart by what is in them, never by the address they
//! came to.
//!
//! Everything is read leniently, because a webhook that is not understood is an escalation that does
//! not stop: numbers may stand as text and texts as numbers, unknown fields are passed over, and a
//! field that makes no sense is treated as missing. Only a body that is no JSON object is an error.
//! Vonage's published schemas, taken at their word, refuse statuses that it does send.
//!
//! Deliberately absent: whether the webhook is genuine ([`signature`](super::signature)) and what it
//! means for an alert (the engine).

mod fields;
mod inbound;
mod status;

use serde_json::Value;

use crate::incoming::{Foreign, Incoming};

use fields::Fields;

/// The body is no JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotJson {
    /// The bytes are not JSON, or nested too deeply.
    #[error("the body is not JSON (line {line}, column {column})")]
    Syntax {
        /// The line where reading ended, from 1.
        line: usize,
        /// The column where reading ended, from 1.
        column: usize,
    },
    /// It is JSON, but a list or a single value.
    #[error("the body is JSON, but not an object")]
    NotAnObject,
}

/// Reads a webhook's body.
///
/// The depth of nesting is bounded by `serde_json` (128); the size is the caller's to bound.
pub fn read(body: &[u8]) -> Result<Incoming, NotJson> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(understand(Fields::new(&object))),
        Ok(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            Err(NotJson::NotAnObject)
        }
        Err(error) => Err(NotJson::Syntax { line: error.line(), column: error.column() }),
    }
}

fn understand(body: Fields<'_>) -> Incoming {
    let names_message = body.has("message_uuid") || body.has("client_ref");
    if body.has("dispatch_uuid") && !body.has("message_uuid") {
        status::workflow_end(body)
    } else if body.has("status") && (names_message || status::workflow(body).is_some()) {
        status::message_status(body)
    } else if body.object("message").is_some() {
        inbound::nested(body)
    } else if body.has("channel")
        && ["message_type", "text", "reply", "button"].into_iter().any(|field| body.has(field))
    {
        inbound::flat(body)
    } else if body.has("messageId") || body.has("msisdn") {
        Incoming::Foreign(Foreign::LegacySms)
    } else {
        Incoming::Foreign(Foreign::UnknownShape)
    }
}
