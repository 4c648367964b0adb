//! The misbehaviour that the stand-in can play, chosen by a list of names.
//!
//! A list is written `500=3,twice,late=30s`. Most faults take a number: how many requests, messages
//! or webhooks suffer before things go well again; without one it is for ever. Nothing is left to
//! chance: the same list plays the same way each time.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::people::parse_time;

/// One kind of misbehaviour. [`Fault::meaning`] says what each does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is explained in KNOWN, which people are shown as well")]
pub enum Fault {
    Slow,
    WebhookFirst,
    Silent,
    BadRequest,
    Unauthorized,
    NoBalance,
    Forbidden,
    NotFound,
    Unprocessable,
    TooMany,
    TooManyWait,
    Internal,
    Unavailable,
    Gateway,
    Garbled,
    Reset,
    Down,
    ReadFirst,
    Reversed,
    Late,
    NoRead,
    Rejected,
    Undeliverable,
    Twice,
    Links,
    ReportEarly,
    ReportError,
    NoReport,
    Unsigned,
    WrongSecret,
    Altered,
    NoHash,
    NoAlgorithm,
    UnknownStatus,
    UnknownChannel,
    ExtraFields,
    IntegerTitle,
    GarbageTime,
    OldTime,
    NoReference,
    OtherShape,
    LegacySms,
    StaleReply,
    NoContext,
}

/// How the statuses of a Dispatch workflow name it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Links {
    /// `_links.dispatch.dispatch_uuid`, as people captured it.
    #[default]
    Dispatch,
    /// `_links.workflow.dispatch_uuid`, as the specification has it.
    Workflow,
    /// Not at all.
    Absent,
}

/// What may stand behind `=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    /// How often; without one, always.
    Count,
    /// How long; this without one.
    Time(Duration),
    /// A delivery error code; this without one.
    Code(u16),
    /// A spelling of `_links`.
    Links,
}

struct Known {
    fault: Fault,
    name: &'static str,
    takes: Takes,
    meaning: &'static str,
}

const fn known(fault: Fault, name: &'static str, takes: Takes, meaning: &'static str) -> Known {
    Known { fault, name, takes, meaning }
}

/// Every fault with its name. Those of answers count requests, those of a message's life count
/// messages, the others count webhooks.
#[rustfmt::skip]
const KNOWN: &[Known] = &[
    known(Fault::Slow, "slow", Takes::Time(Duration::from_secs(5)), "each answer comes that much later; the message does not wait for it"),
    known(Fault::WebhookFirst, "webhook-first", Takes::Count, "the answer waits until the first webhook was answered"),
    known(Fault::Silent, "silent", Takes::Count, "accepted, and then no webhook at all"),
    known(Fault::BadRequest, "400", Takes::Count, "the answer is 400"),
    known(Fault::Unauthorized, "401", Takes::Count, "the answer is 401"),
    known(Fault::NoBalance, "402", Takes::Count, "the answer is 402, low balance"),
    known(Fault::Forbidden, "403", Takes::Count, "the answer is 403"),
    known(Fault::NotFound, "404", Takes::Count, "the answer is 404"),
    known(Fault::Unprocessable, "422", Takes::Count, "the answer is 422 with a list of wrong parameters"),
    known(Fault::TooMany, "429", Takes::Count, "the answer is 429"),
    known(Fault::TooManyWait, "retry-after", Takes::Count, "the answer is 429 with Retry-After: 2"),
    known(Fault::Internal, "500", Takes::Count, "the answer is 500"),
    known(Fault::Unavailable, "503", Takes::Count, "the answer is 503"),
    known(Fault::Gateway, "gateway", Takes::Count, "the answer is 502 with a page of HTML"),
    known(Fault::Garbled, "garbled", Takes::Count, "accepted, but the answer is no JSON"),
    known(Fault::Reset, "reset", Takes::Count, "accepted, but the connection breaks before the answer"),
    known(Fault::Down, "down", Takes::Count, "the connection breaks and nothing is accepted"),
    known(Fault::ReadFirst, "read-first", Takes::Count, "the read comes before submitted and delivered"),
    known(Fault::Reversed, "reversed", Takes::Count, "a message's statuses come in the opposite order"),
    known(Fault::Late, "late", Takes::Time(Duration::from_mins(10)), "each read comes that much later"),
    known(Fault::NoRead, "no-read", Takes::Count, "delivered, but no read comes"),
    known(Fault::Rejected, "rejected", Takes::Code(1340), "each message is rejected at once with that code"),
    known(Fault::Undeliverable, "undeliverable", Takes::Code(1260), "each message is undeliverable at once with that code"),
    known(Fault::Twice, "twice", Takes::Count, "a webhook is sent twice"),
    known(Fault::Links, "links", Takes::Links, "how Dispatch's statuses name the workflow: dispatch, workflow or none"),
    known(Fault::ReportEarly, "report-early", Takes::Count, "Dispatch's final report comes before the last status"),
    known(Fault::ReportError, "report-error", Takes::Count, "Dispatch's final report says error, whatever happened"),
    known(Fault::NoReport, "no-report", Takes::Count, "Dispatch sends no final report"),
    known(Fault::Unsigned, "unsigned", Takes::Count, "a webhook carries no signature"),
    known(Fault::WrongSecret, "wrong-secret", Takes::Count, "a webhook is signed with another secret"),
    known(Fault::Altered, "altered", Takes::Count, "a webhook's body is changed after it was signed"),
    known(Fault::NoHash, "no-hash", Takes::Count, "a webhook's signature has no payload_hash"),
    known(Fault::NoAlgorithm, "no-algorithm", Takes::Count, "a webhook's signature says alg none"),
    known(Fault::UnknownStatus, "unknown-status", Takes::Count, "before a status comes one with the unknown word seen"),
    known(Fault::UnknownChannel, "unknown-channel", Takes::Count, "before a status comes one of the unknown channel telegram"),
    known(Fault::ExtraFields, "extra-fields", Takes::Count, "a webhook has fields that nobody knows"),
    known(Fault::IntegerTitle, "integer-title", Takes::Count, "error.title is a number, not a text"),
    known(Fault::GarbageTime, "garbage-time", Takes::Count, "a webhook's timestamp is no time"),
    known(Fault::OldTime, "old-time", Takes::Count, "a webhook's timestamp is in the form 2020-01-01 14:00:00 UTC"),
    known(Fault::NoReference, "no-client-ref", Takes::Count, "a status does not carry the client_ref that was sent"),
    known(Fault::OtherShape, "other-shape", Takes::Count, "a message's webhooks have the shape of the other API"),
    known(Fault::LegacySms, "legacy-sms", Takes::Count, "a webhook about an SMS comes as a GET of the old SMS API"),
    known(Fault::StaleReply, "stale-reply", Takes::Count, "a reply says that it was written an hour earlier"),
    known(Fault::NoContext, "no-context", Takes::Count, "a reply does not say which message it answers"),
];

impl Fault {
    /// Every fault, in the order of the help.
    pub fn all() -> impl Iterator<Item = Self> {
        KNOWN.iter().map(|known| known.fault)
    }

    fn known(self) -> Option<&'static Known> {
        KNOWN.iter().find(|known| known.fault == self)
    }

    /// The name by which a list chooses it.
    pub fn name(self) -> &'static str {
        self.known().map_or("", |known| known.name)
    }

    /// What it does, for people.
    pub fn meaning(self) -> &'static str {
        self.known().map_or("", |known| known.meaning)
    }
}

/// How far a fault goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    Always,
    Times(u32),
    Lasting(Duration),
    Code(u16),
    Links(Links),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Played {
    fault: Fault,
    extent: Extent,
}

/// The misbehaviour that is to be played. The default is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(Vec<Played>);

/// What is wrong with a list of faults; it shows every fault there is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct FaultsError(Vec<Mistake>);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Mistake {
    #[error("`{0}` is not a fault")]
    Unknown(Box<str>),
    #[error("`{0}` stands in the list twice")]
    Twice(&'static str),
    #[error("`{name}` takes a number of times from 1, such as {name}=3")]
    Count { name: &'static str },
    #[error("`{name}` takes a time, such as {name}=30s")]
    Time { name: &'static str },
    #[error("`{name}` takes a delivery error code, such as {name}=1300")]
    Code { name: &'static str },
    #[error("`{name}` takes dispatch, workflow or none, such as {name}=workflow")]
    Links { name: &'static str },
}

impl fmt::Display for FaultsError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mistake in &self.0 {
            writeln!(formatter, "{mistake}")?;
        }
        write!(formatter, "Faults are written as a list such as 500=3,twice,late=30s. There are:\n{}", Faults::help())
    }
}

impl FromStr for Faults {
    type Err = FaultsError;

    fn from_str(list: &str) -> Result<Self, FaultsError> {
        let mut played: Vec<Played> = Vec::new();
        let mut mistakes = Vec::new();
        for entry in list.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let (name, value) =
                entry.split_once('=').map_or((entry, None), |(name, value)| (name.trim(), Some(value.trim())));
            let Some(known) = KNOWN.iter().find(|known| known.name == name) else {
                mistakes.push(Mistake::Unknown(name.into()));
                continue;
            };
            if played.iter().any(|played| played.fault == known.fault) {
                mistakes.push(Mistake::Twice(known.name));
            }
            match known.extent(value) {
                Ok(extent) => played.push(Played { fault: known.fault, extent }),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        if mistakes.is_empty() { Ok(Self(played)) } else { Err(FaultsError(mistakes)) }
    }
}

impl Known {
    fn extent(&self, value: Option<&str>) -> Result<Extent, Mistake> {
        let name = self.name;
        match (self.takes, value) {
            (Takes::Count, None) => Ok(Extent::Always),
            (Takes::Count, Some(text)) => {
                text.parse().ok().filter(|times| *times > 0).map(Extent::Times).ok_or(Mistake::Count { name })
            }
            (Takes::Time(default), None) => Ok(Extent::Lasting(default)),
            (Takes::Time(_), Some(text)) => parse_time(text).map(Extent::Lasting).ok_or(Mistake::Time { name }),
            (Takes::Code(default), None) => Ok(Extent::Code(default)),
            (Takes::Code(_), Some(text)) => text
                .parse()
                .ok()
                .filter(|code| (1000..2000).contains(code))
                .map(Extent::Code)
                .ok_or(Mistake::Code { name }),
            (Takes::Links, Some("dispatch")) => Ok(Extent::Links(Links::Dispatch)),
            (Takes::Links, Some("workflow")) => Ok(Extent::Links(Links::Workflow)),
            (Takes::Links, Some("none")) => Ok(Extent::Links(Links::Absent)),
            (Takes::Links, Some(_) | None) => Err(Mistake::Links { name }),
        }
    }
}

impl Faults {
    /// Every fault with its meaning, one on a line.
    pub fn help() -> String {
        let lines: Vec<String> = KNOWN
            .iter()
            .map(|known| {
                let value = match known.takes {
                    Takes::Count => "[=TIMES]",
                    Takes::Time(_) => "[=TIME]",
                    Takes::Code(_) => "[=CODE]",
                    Takes::Links => "=SPELLING",
                };
                format!("  {:<24}{}", format!("{}{value}", known.name), known.meaning)
            })
            .collect();
        lines.join("\n")
    }

    /// Whether `fault` is to be played now; uses up one of its times.
    pub(super) fn take(&mut self, fault: Fault) -> bool {
        let Some(played) = self.0.iter_mut().find(|played| played.fault == fault) else {
            return false;
        };
        match &mut played.extent {
            Extent::Always | Extent::Lasting(_) | Extent::Code(_) | Extent::Links(_) => true,
            Extent::Times(0) => false,
            Extent::Times(left) => {
                *left -= 1;
                true
            }
        }
    }

    /// The first of `faults` in the order of the list that is to be played now; uses up one of its times.
    pub(super) fn take_first(&mut self, faults: &[Fault]) -> Option<Fault> {
        let listed: Vec<Fault> = self.0.iter().map(|played| played.fault).collect();
        listed.into_iter().filter(|fault| faults.contains(fault)).find(|fault| self.take(*fault))
    }

    fn extent(&self, fault: Fault) -> Option<Extent> {
        self.0.iter().find(|played| played.fault == fault).map(|played| played.extent)
    }

    /// How long `fault` lasts, where it is in the list.
    pub(super) fn lasting(&self, fault: Fault) -> Option<Duration> {
        match self.extent(fault)? {
            Extent::Lasting(time) => Some(time),
            Extent::Always | Extent::Times(_) | Extent::Code(_) | Extent::Links(_) => None,
        }
    }

    /// The code of `fault`, where it is in the list.
    pub(super) fn code(&self, fault: Fault) -> Option<u16> {
        match self.extent(fault)? {
            Extent::Code(code) => Some(code),
            Extent::Always | Extent::Times(_) | Extent::Lasting(_) | Extent::Links(_) => None,
        }
    }

    /// How statuses name their workflow.
    pub(super) fn links(&self) -> Links {
        match self.extent(Fault::Links) {
            Some(Extent::Links(links)) => links,
            Some(Extent::Always | Extent::Times(_) | Extent::Lasting(_) | Extent::Code(_)) | None => Links::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_stands_in_the_table_once_and_is_read_by_its_name() {
        for fault in Fault::all() {
            assert_eq!(KNOWN.iter().filter(|known| known.fault == fault).count(), 1, "{fault:?}");
            assert_eq!(KNOWN.iter().filter(|known| known.name == fault.name()).count(), 1, "{fault:?}");
            let list = if fault == Fault::Links { "links=none" } else { fault.name() };
            assert!(list.parse::<Faults>().unwrap().take(fault), "{list}");
        }
    }

    #[test]
    fn a_number_says_how_often() {
        let mut faults: Faults = " 500=2, twice ".parse().unwrap();
        let taken: Vec<bool> = (0..4).map(|_| faults.take(Fault::Internal)).collect();
        assert_eq!(taken, [true, true, false, false]);
        assert!((0..100).all(|_| faults.take(Fault::Twice)));
        assert!(!faults.take(Fault::Reset));
    }

    #[test]
    fn several_answers_come_in_the_order_of_the_list() {
        let mut faults: Faults = "429=1,500=1".parse().unwrap();
        let answers = [Fault::Internal, Fault::TooMany];
        let taken: Vec<_> = (0..3).map(|_| faults.take_first(&answers)).collect();
        assert_eq!(taken, [Some(Fault::TooMany), Some(Fault::Internal), None]);
    }

    #[test]
    fn every_mistake_is_told_at_once_with_all_there_is() {
        let error = "500=0,slwo,late=soon,links,rejected=7,twice,twice".parse::<Faults>().unwrap_err().to_string();
        for part in [
            "`500` takes a number",
            "`slwo` is not",
            "`late` takes a time",
            "`links` takes",
            "`rejected` takes",
            "`twice` stands",
        ] {
            assert!(error.contains(part), "{part} in {error}");
        }
        for fault in Fault::all() {
            assert!(error.contains(fault.meaning()), "{fault:?}");
        }
    }
}
