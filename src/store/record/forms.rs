//! How single values are written: moments as milliseconds, ids as texts, choices as words.

use std::fmt::Display;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::contact::{Address, Channel};
use crate::escalation::{Failure, ReportStatus};
use crate::timestamp::Timestamp;

/// How a value of another module is written and read.
pub(super) trait Form {
    /// The value.
    type Of;

    /// Writes one.
    fn serialize<S: Serializer>(value: &Self::Of, serializer: S) -> Result<S::Ok, S::Error>;

    /// Reads one.
    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self::Of, D::Error>;
}

/// One value, to be handed to serde.
struct Out<'a, F: Form>(&'a F::Of);

impl<F: Form> Serialize for Out<'_, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        F::serialize(self.0, serializer)
    }
}

/// One value, to be had from serde.
struct In<F: Form>(F::Of);

impl<'de, F: Form> Deserialize<'de> for In<F> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        F::deserialize(deserializer).map(Self)
    }
}

/// Several of a form.
pub(super) struct List<F>(PhantomData<F>);

impl<F: Form> List<F> {
    pub(super) fn serialize<S: Serializer>(values: &[F::Of], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(Out::<F>))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<F::Of>, D::Error> {
        let values = Vec::<In<F>>::deserialize(deserializer)?;
        Ok(values.into_iter().map(|value| value.0).collect())
    }
}

/// One of a form, or nothing.
pub(super) struct Maybe<F>(PhantomData<F>);

impl<F: Form> Maybe<F> {
    #[expect(clippy::ref_option, reason = "serde hands over a reference to the field")]
    pub(super) fn serialize<S: Serializer>(value: &Option<F::Of>, serializer: S) -> Result<S::Ok, S::Error> {
        value.as_ref().map(Out::<F>).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<F::Of>, D::Error> {
        let value = Option::<In<F>>::deserialize(deserializer)?;
        Ok(value.map(|value| value.0))
    }
}

/// A moment, as milliseconds since 1970.
pub(super) struct Millis;

impl Form for Millis {
    type Of = Timestamp;

    fn serialize<S: Serializer>(value: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(value.as_millis())
    }

    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let millis = i64::deserialize(deserializer)?;
        let moment = Timestamp::from_millis(millis);
        if moment.as_millis() == millis { Ok(moment) } else { Err(D::Error::custom("no moment")) }
    }
}

/// A value that has a text of its own, such as an id or the name of a channel.
pub(super) struct Text<T>(PhantomData<T>);

impl<T: Display + FromStr<Err: Display>> Form for Text<T> {
    type Of = T;

    fn serialize<S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        Box::<str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// An address, in full.
///
/// It was read by the rules of its channel before it was kept. It is read back by the rules of
/// opaque ids, which change nothing, so that it is to the letter what the plan was made with.
pub(super) struct InFull;

impl Form for InFull {
    type Of = Address;

    fn serialize<S: Serializer>(value: &Address, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(value.reveal())
    }

    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Address, D::Error> {
        let text = Box::<str>::deserialize(deserializer)?;
        // What a record holds was an address once; a phone number and an id pass as ids.
        let id = Address::parse(Channel::Messenger, &text);
        id.or_else(|_not_one| Address::parse(Channel::Email, &text)).map_err(D::Error::custom)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "ReportStatus", rename_all = "snake_case")]
pub(super) enum ReportStatusForm {
    Submitted,
    Delivered,
    Rejected,
    Undeliverable,
    Read,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Failure")]
pub(super) struct FailureForm {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<Box<str>>,
    detail: Box<str>,
}

impl Form for FailureForm {
    type Of = Failure;

    fn serialize<S: Serializer>(value: &Failure, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(value, serializer)
    }

    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Failure, D::Error> {
        Self::deserialize(deserializer)
    }
}
