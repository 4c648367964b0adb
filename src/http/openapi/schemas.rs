//! The forms that no type of ours has: names from closed sets, and bodies that are read by hand.

use std::borrow::Cow;

use serde_json::{Map, Value, json};
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::config::channel::{
    CHANNELS_PER_USER_MAX, EXPIRY_SECONDS_DEFAULT, EXPIRY_SECONDS_MAX, EXPIRY_SECONDS_MIN_MESSAGES, NAME_CHARS_MAX,
    USERS_PER_POLICY_MAX,
};
use crate::contact::Channel;
use crate::escalation::{Happening, Severity};

use super::super::alerts::BY_CHARS_MAX;
use super::super::new_alert::{DEDUP_KEY_CHARS_MAX, LINK_CHARS_MAX, MESSAGE_CHARS_MAX, SOURCE_CHARS_MAX};

/// A type whose values are names from a closed set.
macro_rules! names {
    ($(#[$meta:meta])* $name:ident, $names:expr) => {
        $(#[$meta])*
        #[derive(Debug)]
        pub(in super::super) struct $name;

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let names = $names.into_iter().map(Value::from);
                ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names)).into()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                stringify!($name).into()
            }
        }
    };
}

pub(super) use names;

names!(
    /// What has become of an alert.
    AlertStatus,
    ["escalating", "acknowledged", "exhausted", "resolved"]
);
names!(
    /// What has become of an attempt.
    AttemptStatus,
    [
        "sending", "retrying", "sent", "submitted", "delivered", "read", "rejected", "undeliverable", "refused",
        "failed", "expired", "superseded"
    ]
);
names!(
    /// How bad it is.
    SeverityName,
    Severity::ALL.map(Severity::name)
);
names!(
    /// A way to reach a user.
    ChannelName,
    Channel::ALL.map(Channel::name)
);
names!(
    /// What happened.
    EventName,
    Happening::ALL.map(Happening::name)
);
names!(
    /// How somebody acknowledged.
    ViaName,
    ["read", "reply", "link", "api"]
);

/// Any JSON object.
#[derive(Debug)]
pub(in super::super) struct AnyObject;

impl PartialSchema for AnyObject {
    fn schema() -> RefOr<Schema> {
        let any = AdditionalProperties::FreeForm(true);
        ObjectBuilder::new().schema_type(Type::Object).additional_properties(Some(any)).into()
    }
}

impl ToSchema for AnyObject {
    fn name() -> Cow<'static, str> {
        "AnyObject".into()
    }
}

/// A body that is described by [`of_requests`] under the same name.
macro_rules! described {
    ($($(#[$meta:meta])* $name:ident)*) => {$(
        $(#[$meta])*
        #[derive(Debug)]
        pub(in super::super) struct $name;

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new().into()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                stringify!($name).into()
            }
        }
    )*};
}

pub(super) use described;

described! {
    /// What is posted to raise an alert.
    NewAlert
    /// Who acknowledges or resolves.
    By
    /// Who calls the next user, and after which attempt.
    Escalation
    /// What Vonage sends.
    Webhook
    /// A stream of events.
    ServerSentEvents
}

/// Something that is no space, as Rust counts spaces.
const SOMETHING: &str = r"[^\t-\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]";

/// A text of 1 to `chars_max` characters, not all of them spaces; null is as good as absent.
fn text(chars_max: usize, about: &str) -> Value {
    json!({ "type": ["string", "null"], "minLength": 1, "maxLength": chars_max, "pattern": SOMETHING, "description": about })
}

/// The bodies that are read by hand, with the limits that reading them has.
pub(super) fn of_requests() -> Map<String, Value> {
    let mut message = text(MESSAGE_CHARS_MAX, "What people must read.");
    super::put(&mut message, "type", "string".into());
    let mut link = text(LINK_CHARS_MAX, "Where to read more.");
    super::put(&mut link, "pattern", r"^https?://[A-Za-z0-9][A-Za-z0-9.-]*\.[A-Za-z]{2,}(/[!-~]*)?$".into());
    let mut severity = json!({ "description": "How bad it is; `critical` unless told otherwise." });
    let names = Severity::ALL.map(|severity| Value::from(severity.name()));
    super::put(&mut severity, "enum", names.into_iter().chain([Value::Null]).collect());
    let by = text(BY_CHARS_MAX, "Who says so; the name of the API key unless told otherwise.");
    let mut policy = text(NAME_CHARS_MAX, "A policy of the configuration; the first unless told otherwise.");
    super::put(&mut policy, "examples", json!(["default"]));
    let attempt = json!({ "type": ["integer", "null"], "minimum": 1, "maximum": u32::MAX, "description": "Does nothing unless this attempt is still the current one." });
    let bodies = json!({
        "NewAlert": {
            "type": "object", "additionalProperties": false, "required": ["message"],
            "description": "An alert to be raised. Either `policy` or `users` says who is called.",
            "properties": {
                "message": message, "policy": policy, "severity": severity,
                "dedup_key": text(DEDUP_KEY_CHARS_MAX, "Names the problem: while an alert with it is open, nobody is paged again."),
                "source": text(SOURCE_CHARS_MAX, "Where the alert comes from."),
                "link": link,
                "details": { "type": ["object", "null"], "additionalProperties": true, "description": "Any JSON object; kept and shown." },
                "users": { "type": ["array", "null"], "minItems": 1, "maxItems": USERS_PER_POLICY_MAX, "items": { "$ref": "#/components/schemas/NewUser" }, "description": "Users for this alert only, in place of a policy." },
            },
            "not": { "required": ["policy", "users"], "properties": { "policy": { "type": "string" }, "users": { "type": "array" } } },
            "examples": [{ "message": "Main server is down", "severity": "critical", "dedup_key": "server-1/down", "source": "nagios", "link": "https://runbooks.example/server-1", "details": { "host": "server-1" } }],
        },
        "NewUser": {
            "type": "object", "additionalProperties": false, "required": ["name", "channels"],
            "properties": {
                "name": { "type": "string", "minLength": 1, "maxLength": NAME_CHARS_MAX, "pattern": r"^[!-~]([ -~]*[!-~])?$" },
                "channels": { "type": "array", "minItems": 1, "maxItems": CHANNELS_PER_USER_MAX, "items": { "$ref": "#/components/schemas/NewChannel" } },
            },
        },
        "NewChannel": {
            "type": "object", "additionalProperties": false, "required": ["type", "id_num"],
            "description": "A sender must be configured for the type.",
            "properties": {
                "type": { "enum": Channel::ALL.map(Channel::name) },
                "id_num": { "type": "string", "minLength": 7, "maxLength": 15, "pattern": "^[1-9][0-9]{6,14}$", "description": "The phone number with country code, or the id." },
                "expiry_time": { "type": ["integer", "null"], "minimum": EXPIRY_SECONDS_MIN_MESSAGES, "maximum": EXPIRY_SECONDS_MAX, "default": EXPIRY_SECONDS_DEFAULT, "description": "How many seconds to wait for a read." },
                "condition_status": { "enum": ["read", "delivered", null] },
            },
        },
        "By": { "type": "object", "additionalProperties": false, "properties": { "by": by.clone() } },
        "Escalation": { "type": "object", "additionalProperties": false, "properties": { "by": by, "attempt": attempt } },
        // What a stream is in a schema the standard does not say: some read it as text, others event by event.
        "ServerSentEvents": { "description": "A stream of events; the data of each is a `TimelineEntry` in JSON." },
        "Webhook": {
            "type": "object", "additionalProperties": true,
            "description": "A report or an inbound message, of the Messages API v1 or v0.1, or of the Dispatch API. What is not known is answered 200 and counted.",
            "examples": [{ "message_uuid": "aaaaaaaa-bbbb-4ccc-8ddd-0123456789ab", "to": "447700900001", "from": "447700900101", "timestamp": "2026-11-23T08:32:34Z", "status": "read", "channel": "sms" }],
        },
    });
    match bodies {
        Value::Object(bodies) => bodies,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}
