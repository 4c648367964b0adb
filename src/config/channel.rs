//! The rules of a user and of a user's channels.
//!
//! They are the same for the configuration file, where a problem has a line and a column, and for
//! an ad-hoc list of users in `POST /alerts`, where it has a JSON pointer. So nothing here knows
//! where a value came from: a rule takes texts and answers with the field that is at fault.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::problem::quoted;
use super::section::Written;
use super::sender::{Form, SenderKey, is_placeholder};
use super::suggestion;
use crate::contact::{Address, AddressError, Channel};
use crate::escalation::{Backend, Condition, Leg};

/// How long a channel may wait for a read when nobody says how long (the tutorial's own value).
pub const EXPIRY_SECONDS_DEFAULT: u32 = 600;
/// The longest expiry: one day (Vonage's own bound for `expiry_time`, Dispatch reference).
pub const EXPIRY_SECONDS_MAX: u32 = 86_400;
/// The shortest expiry on Dispatch (Vonage's own bound, Dispatch reference).
pub const EXPIRY_SECONDS_MIN_DISPATCH: u32 = 15;
/// The shortest expiry on Messages, where callout does the waiting.
pub const EXPIRY_SECONDS_MIN_MESSAGES: u32 = 1;
/// Below this, people hardly have the time to find their phone; a warning.
pub const EXPIRY_SECONDS_ADVISED_MIN: u32 = 60;
/// Above this, an alert stands still for long on one channel; a warning.
pub const EXPIRY_SECONDS_ADVISED_MAX: u32 = 600;
/// The most characters of the name of a user or a policy.
pub const NAME_CHARS_MAX: usize = 100;
/// The most channels of one user.
pub const CHANNELS_PER_USER_MAX: usize = 20;
/// The most users of one policy, or of an alert's own list.
pub const USERS_PER_POLICY_MAX: usize = 100;

/// What a channel must fit into: the backend, and the channels that a sender is configured for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelRules {
    backend: Backend,
    senders: BTreeSet<Channel>,
    form: Form,
}

impl ChannelRules {
    /// Rules for a backend and the channels that can be sent on.
    pub(super) fn new(backend: Backend, senders: BTreeSet<Channel>, form: Form) -> Self {
        Self { backend, senders, form }
    }

    /// The backend that plans are made for.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// The shortest expiry that the backend takes, in seconds.
    pub fn expiry_seconds_min(&self) -> u32 {
        match self.backend {
            Backend::Messages => EXPIRY_SECONDS_MIN_MESSAGES,
            Backend::Dispatch => EXPIRY_SECONDS_MIN_DISPATCH,
        }
    }
}

/// The fields of a channel as they were written. A number is given as its digits.
#[derive(Clone, Copy, Debug)]
pub struct ChannelFields<'a> {
    /// `type`: which channel.
    pub kind: Written<&'a str>,
    /// `id_num`: the phone number or id.
    pub id_num: Written<&'a str>,
    /// `expiry_time`: seconds; 600 when absent.
    pub expiry_time: Written<&'a str>,
    /// `condition_status`: `read` or `delivered`; `read` when absent.
    pub condition_status: Written<&'a str>,
}

/// A field of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChannelField {
    /// Which channel.
    Type,
    /// The phone number or id.
    IdNum,
    /// How long to wait.
    ExpiryTime,
    /// What spares the user's further channels.
    ConditionStatus,
}

impl ChannelField {
    /// Every field, in the order in which documents list them.
    pub const ALL: [Self; 4] = [Self::Type, Self::IdNum, Self::ExpiryTime, Self::ConditionStatus];

    /// The field's key, in the file as in the API.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::IdNum => "id_num",
            Self::ExpiryTime => "expiry_time",
            Self::ConditionStatus => "condition_status",
        }
    }
}

/// What is wrong with a channel. No message holds the address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelProblem {
    /// A field that must be there is not.
    #[error("`{}` is missing", .0.key())]
    Missing(ChannelField),
    /// No channel has this name.
    #[error("{} is not a channel", quoted(.0))]
    UnknownType(Box<str>),
    /// Dispatch never had this channel.
    #[error("{0} is not available on Dispatch")]
    NotOnDispatch(Channel),
    /// Nothing can be sent on this channel.
    #[error("no sender is configured for {channel}")]
    NoSender {
        /// The channel.
        channel: Channel,
        /// The key of the configuration that is missing; none if this form of it has no such key.
        key: Option<&'static str>,
    },
    /// What the tutorial's file says before somebody fills it in.
    #[error("`id_num` still holds the tutorial's placeholder")]
    Placeholder(Option<Channel>),
    /// The address cannot be one.
    #[error("`id_num` {reason}")]
    BadAddress {
        /// The channel that it should be an address of.
        channel: Channel,
        /// Which rule it breaks.
        reason: AddressError,
    },
    /// The expiry is no number of seconds.
    #[error("`expiry_time` must be a whole number of seconds, not {}", quoted(.0))]
    ExpiryNotANumber(Box<str>),
    /// The expiry is shorter or longer than the backend takes.
    #[error("`expiry_time` must be from {min} to {EXPIRY_SECONDS_MAX} seconds{}", on(*.backend))]
    ExpiryOutOfRange {
        /// The shortest expiry there.
        min: u32,
        /// The backend.
        backend: Backend,
    },
    /// Neither `read` nor `delivered`.
    #[error("{} is not a condition", quoted(.0))]
    UnknownCondition(Box<str>),
}

fn on(backend: Backend) -> &'static str {
    match backend {
        Backend::Messages => "",
        Backend::Dispatch => " on Dispatch",
    }
}

impl ChannelProblem {
    /// The field that is at fault.
    pub fn field(&self) -> ChannelField {
        match self {
            Self::Missing(field) => *field,
            Self::UnknownType(_) | Self::NotOnDispatch(_) | Self::NoSender { .. } => ChannelField::Type,
            Self::Placeholder(_) | Self::BadAddress { .. } => ChannelField::IdNum,
            Self::ExpiryNotANumber(_) | Self::ExpiryOutOfRange { .. } => ChannelField::ExpiryTime,
            Self::UnknownCondition(_) => ChannelField::ConditionStatus,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<Box<str>> {
        match self {
            Self::Missing(ChannelField::Type) => Some(format!("the channels are {}", channel_names()).into()),
            Self::Missing(ChannelField::IdNum) | Self::Placeholder(None) => {
                Some("the phone number or Messenger id of the user".into())
            }
            Self::Missing(ChannelField::ExpiryTime | ChannelField::ConditionStatus) => None,
            Self::UnknownType(written) => {
                let names = Channel::ALL.map(Channel::name);
                // Dispatch's own word for Viber is understood, so it is worth suggesting from.
                let known = names.iter().copied().chain(["viber_service_msg", "viber"]);
                match suggestion::nearest(written, known) {
                    Some(word) => Some(format!("did you mean `{word}`?").into()),
                    None => Some(format!("the channels are {}", channel_names()).into()),
                }
            }
            Self::NotOnDispatch(Channel::Email) => {
                Some("a workflow is Vonage's and knows no e-mail; use the messages backend, or take it out".into())
            }
            Self::NotOnDispatch(_) => Some("use the messages backend for it".into()),
            Self::NoSender { key: Some(key), .. } => Some(format!("add `{key}` to the configuration").into()),
            Self::NoSender { key: None, .. } => {
                Some("the tutorial's form of the configuration has no place for it; use the native form".into())
            }
            Self::Placeholder(Some(channel)) => Some(address_hint(*channel).into()),
            Self::BadAddress { channel, .. } if channel.has_number() => Some("for example 447700900001".into()),
            Self::BadAddress { channel: Channel::Email, .. } => Some("for example ops@example.org".into()),
            Self::BadAddress { .. } => Some("for example 6542087712345678".into()),
            Self::ExpiryNotANumber(_) => Some("for example 600".into()),
            Self::ExpiryOutOfRange { .. } => {
                Some(format!("{EXPIRY_SECONDS_ADVISED_MIN} to {EXPIRY_SECONDS_ADVISED_MAX} is advised").into())
            }
            Self::UnknownCondition(written) => {
                Some(suggestion::hint(written, "the conditions are", &["read", "delivered"]))
            }
        }
    }
}

fn channel_names() -> String {
    suggestion::listed(&Channel::ALL.map(Channel::name))
}

fn address_hint(channel: Channel) -> &'static str {
    if channel.has_number() {
        "a phone number with country code, for example 447700900001"
    } else if channel == Channel::Email {
        "an e-mail address, for example ops@example.org"
    } else {
        "the id that the Page sees this user under, for example 6542087712345678"
    }
}

/// Reads a channel, or says everything that is wrong with it. A field that was
/// [reported](Written::Reported) elsewhere makes no problem here, and no channel either: then the
/// list of problems may be empty.
pub fn read(fields: ChannelFields<'_>, rules: &ChannelRules) -> Result<Leg, Vec<ChannelProblem>> {
    let mut problems = Vec::new();
    let channel = keep(read_type(fields.kind), &mut problems);
    let address = keep(read_address(fields.id_num, channel), &mut problems);
    if let Some(channel) = channel
        && let Some(problem) = unusable(channel, rules)
    {
        problems.push(problem);
    }
    let expiry_seconds = keep(read_expiry(fields.expiry_time, rules), &mut problems);
    let condition = keep(read_condition(fields.condition_status), &mut problems);
    match (channel, address, expiry_seconds, condition) {
        (Some(channel), Some(address), Some(expiry_seconds), Some(condition)) if problems.is_empty() => {
            Ok(Leg { channel, address, expiry_seconds, condition })
        }
        _incomplete => {
            problems.sort_by_key(ChannelProblem::field);
            Err(problems)
        }
    }
}

/// `Ok(None)` is a field without a value that needs no complaint.
type Field<T> = Result<Option<T>, ChannelProblem>;

fn keep<T>(field: Field<T>, problems: &mut Vec<ChannelProblem>) -> Option<T> {
    field.unwrap_or_else(|problem| {
        problems.push(problem);
        None
    })
}

fn read_type(kind: Written<&str>) -> Field<Channel> {
    match kind {
        Written::Absent => Err(ChannelProblem::Missing(ChannelField::Type)),
        Written::Reported => Ok(None),
        Written::Given(text) => match text.trim().parse() {
            Ok(channel) => Ok(Some(channel)),
            Err(_unknown) => Err(ChannelProblem::UnknownType(text.into())),
        },
    }
}

/// Why nothing can be sent on a channel that exists.
fn unusable(channel: Channel, rules: &ChannelRules) -> Option<ChannelProblem> {
    if rules.backend == Backend::Dispatch && matches!(channel, Channel::Rcs | Channel::Email) {
        Some(ChannelProblem::NotOnDispatch(channel))
    } else if rules.senders.contains(&channel) {
        None
    } else {
        Some(ChannelProblem::NoSender { channel, key: SenderKey::of(channel).path(rules.form) })
    }
}

fn read_address(id_num: Written<&str>, channel: Option<Channel>) -> Field<Address> {
    let text = match id_num {
        Written::Absent => return Err(ChannelProblem::Missing(ChannelField::IdNum)),
        Written::Reported => return Ok(None),
        Written::Given(text) => text,
    };
    if is_placeholder(text) {
        return Err(ChannelProblem::Placeholder(channel));
    }
    match channel {
        // Without a channel nobody can say what an address must look like.
        None => Ok(None),
        Some(channel) => match Address::parse(channel, text) {
            Ok(address) => Ok(Some(address)),
            Err(reason) => Err(ChannelProblem::BadAddress { channel, reason }),
        },
    }
}

fn read_expiry(expiry_time: Written<&str>, rules: &ChannelRules) -> Field<u32> {
    let text = match expiry_time {
        Written::Absent => return Ok(Some(EXPIRY_SECONDS_DEFAULT)),
        Written::Reported => return Ok(None),
        Written::Given(text) => text.trim(),
    };
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ChannelProblem::ExpiryNotANumber(text.into()));
    }
    let min = rules.expiry_seconds_min();
    match text.parse() {
        Ok(seconds) if (min..=EXPIRY_SECONDS_MAX).contains(&seconds) => Ok(Some(seconds)),
        // What does not fit into the number is out of range as well.
        Ok(_) | Err(_) => Err(ChannelProblem::ExpiryOutOfRange { min, backend: rules.backend }),
    }
}

fn read_condition(condition_status: Written<&str>) -> Field<Condition> {
    match condition_status {
        Written::Absent => Ok(Some(Condition::Read)),
        Written::Reported => Ok(None),
        Written::Given(text) => match text.trim() {
            "read" => Ok(Some(Condition::Read)),
            "delivered" => Ok(Some(Condition::Delivered)),
            other => Err(ChannelProblem::UnknownCondition(other.into())),
        },
    }
}

/// Why a text cannot be the name of a user or a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameProblem {
    /// Nothing is left after trimming.
    #[error("is empty")]
    Empty,
    /// It would not fit into a message.
    #[error("is longer than {NAME_CHARS_MAX} characters")]
    TooLong,
    /// It would break the lines that it is shown in.
    #[error("must not hold line feeds or other control characters")]
    ControlCharacter,
}

/// Reads the name of a user or a policy; space around it is dropped.
pub fn name(text: &str) -> Result<Arc<str>, NameProblem> {
    let text = text.trim();
    if text.is_empty() {
        Err(NameProblem::Empty)
    } else if text.chars().count() > NAME_CHARS_MAX {
        Err(NameProblem::TooLong)
    } else if text.chars().any(char::is_control) {
        Err(NameProblem::ControlCharacter)
    } else {
        Ok(text.into())
    }
}
