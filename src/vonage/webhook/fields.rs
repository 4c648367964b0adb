//! Looking into a JSON object that may be anything.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::contact::{Address, Channel};
use crate::id::ProviderId;
use crate::timestamp::Timestamp;

/// The fields of a JSON object. A field of another form than is asked for counts as missing.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    pub(super) fn new(object: &'a Map<String, Value>) -> Self {
        Self(object)
    }

    /// Whether the field is there and says something.
    pub(super) fn has(self, field: &str) -> bool {
        self.0.get(field).is_some_and(|value| !value.is_null())
    }

    /// A text without the space around it, or a number as text.
    pub(super) fn word(self, field: &str) -> Option<Cow<'a, str>> {
        match self.0.get(field)? {
            Value::String(text) => Some(Cow::Borrowed(text.trim())).filter(|text| !text.is_empty()),
            Value::Number(number) => Some(Cow::Owned(number.to_string())),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// An object within the object.
    pub(super) fn object(self, field: &str) -> Option<Self> {
        self.0.get(field)?.as_object().map(Self)
    }

    /// The objects of a list; one object that stands alone counts as a list of one.
    pub(super) fn objects(self, field: &str) -> Vec<Self> {
        match self.0.get(field) {
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_object).map(Self).collect(),
            Some(Value::Object(object)) => vec![Self(object)],
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) | None => Vec::new(),
        }
    }

    /// What Vonage calls a message or a workflow.
    pub(super) fn id(self, field: &str) -> Option<ProviderId> {
        self.word(field)?.parse().ok()
    }

    /// The id that a link ends in, for example `v0.1/messages/<id>`, or the bare id.
    pub(super) fn id_of_link(self, field: &str) -> Option<ProviderId> {
        self.word(field)?.trim_end_matches('/').rsplit('/').next()?.parse().ok()
    }

    /// A moment in one of the forms seen: RFC 3339, or `2020-01-01 14:00:00 UTC` in old documents.
    pub(super) fn moment(self, field: &str) -> Option<Timestamp> {
        let word = self.word(field)?;
        if let Ok(moment) = word.parse() {
            return Some(moment);
        }
        let bare = word.trim_end_matches("UTC").trim_end_matches('Z').trim_end();
        format!("{}Z", bare.replacen(' ', "T", 1)).parse().ok()
    }

    /// One end of a message, `to` or `from`: a plain text in v1, an object in v0.1.
    pub(super) fn party(self, field: &str) -> Party<'a> {
        match self.object(field) {
            Some(party) => {
                let names = ["number", "id", "wa_id", "user_id"];
                Party { channel: party.channel("type"), name: names.iter().find_map(|name| party.word(name)) }
            }
            None => Party { channel: None, name: self.word(field) },
        }
    }

    /// A channel under any of its names.
    pub(super) fn channel(self, field: &str) -> Option<Channel> {
        self.word(field)?.to_ascii_lowercase().parse().ok()
    }
}

/// One end of a message.
pub(super) struct Party<'a> {
    /// The channel, where this end names it.
    pub(super) channel: Option<Channel>,
    /// The number or id.
    pub(super) name: Option<Cow<'a, str>>,
}

impl Party<'_> {
    /// The number or id as an address of this channel, where it can be one.
    pub(super) fn address(&self, channel: Channel) -> Option<Address> {
        Address::parse(channel, self.name.as_deref()?).ok()
    }
}
