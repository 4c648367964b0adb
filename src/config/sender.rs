//! Who messages come from: one sender for each kind of channel.

use std::collections::BTreeSet;
use std::fmt;

use super::problem::{Report, quoted};
use super::section::Given;
use crate::contact::{Address, AddressError, Channel, ID_CHARS_MAX};

/// The two forms of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The JSON of Vonage's tutorial.
    Tutorial,
    /// callout's own.
    Native,
}

/// A key under which a sender is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SenderKey {
    Messenger,
    Viber,
    Whatsapp,
    Sms,
    Rcs,
    /// No sender of Vonage's: mail goes through the server of `smtp`.
    Mail,
}

impl SenderKey {
    pub(super) const ALL: [Self; 5] = [Self::Messenger, Self::Viber, Self::Whatsapp, Self::Sms, Self::Rcs];

    /// The key that serves a channel. A number that sends SMS sends MMS as well.
    pub(super) const fn of(channel: Channel) -> Self {
        match channel {
            Channel::Messenger => Self::Messenger,
            Channel::ViberService => Self::Viber,
            Channel::Whatsapp => Self::Whatsapp,
            Channel::Sms | Channel::Mms => Self::Sms,
            Channel::Rcs => Self::Rcs,
            Channel::Email => Self::Mail,
        }
    }

    /// The key in the file, if this form of the file has it.
    pub(super) const fn name(self, form: Form) -> Option<&'static str> {
        match (form, self) {
            (Form::Native, Self::Messenger) => Some("messenger"),
            (Form::Native, Self::Viber) => Some("viber"),
            (Form::Native, Self::Whatsapp) => Some("whatsapp"),
            (Form::Native, Self::Sms) => Some("sms"),
            (Form::Native, Self::Rcs) => Some("rcs"),
            (Form::Tutorial, Self::Messenger) => Some("MESSENGER"),
            (Form::Tutorial, Self::Viber) => Some("VIBER"),
            (Form::Tutorial, Self::Whatsapp) => Some("WHATSAPP"),
            (Form::Tutorial, Self::Sms) => Some("SMS"),
            (Form::Tutorial, Self::Rcs) | (_, Self::Mail) => None,
        }
    }

    /// The key with the sections above it, if this form of the file has it.
    pub(super) const fn path(self, form: Form) -> Option<&'static str> {
        match (form, self) {
            (Form::Native, Self::Messenger) => Some("vonage.from.messenger"),
            (Form::Native, Self::Viber) => Some("vonage.from.viber"),
            (Form::Native, Self::Whatsapp) => Some("vonage.from.whatsapp"),
            (Form::Native, Self::Sms) => Some("vonage.from.sms"),
            (Form::Native, Self::Rcs) => Some("vonage.from.rcs"),
            (Form::Tutorial, Self::Messenger) => Some("FROM.MESSENGER"),
            (Form::Tutorial, Self::Viber) => Some("FROM.VIBER"),
            (Form::Tutorial, Self::Whatsapp) => Some("FROM.WHATSAPP"),
            (Form::Tutorial, Self::Sms) => Some("FROM.SMS"),
            (Form::Native, Self::Mail) => Some("smtp"),
            (Form::Tutorial, Self::Rcs | Self::Mail) => None,
        }
    }

    /// The channels that this sender serves.
    pub(super) fn channels(self) -> impl Iterator<Item = Channel> {
        Channel::ALL.into_iter().filter(move |channel| Self::of(*channel) == self)
    }
}

/// The senders that messages can come from.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Senders {
    messenger: Option<Box<str>>,
    viber: Option<Box<str>>,
    whatsapp: Option<Box<str>>,
    sms: Option<Box<str>>,
    rcs: Option<Box<str>>,
}

impl Senders {
    /// The `from` of a message on a channel, as Vonage takes it: a Page id, a service id, digits, or
    /// an alphanumeric name.
    pub fn of(&self, channel: Channel) -> Option<&str> {
        match SenderKey::of(channel) {
            SenderKey::Messenger => self.messenger.as_deref(),
            SenderKey::Viber => self.viber.as_deref(),
            SenderKey::Whatsapp => self.whatsapp.as_deref(),
            SenderKey::Sms => self.sms.as_deref(),
            SenderKey::Rcs => self.rcs.as_deref(),
            SenderKey::Mail => None,
        }
    }

    /// The channels that can be sent on.
    pub fn channels(&self) -> BTreeSet<Channel> {
        Channel::ALL.into_iter().filter(|channel| self.of(*channel).is_some()).collect()
    }

    fn set(&mut self, key: SenderKey, sender: Box<str>) {
        let slot = match key {
            SenderKey::Messenger => &mut self.messenger,
            SenderKey::Viber => &mut self.viber,
            SenderKey::Whatsapp => &mut self.whatsapp,
            SenderKey::Sms => &mut self.sms,
            SenderKey::Rcs => &mut self.rcs,
            SenderKey::Mail => return,
        };
        *slot = Some(sender);
    }
}

impl fmt::Debug for Senders {
    /// Shows which channels have a sender, not the senders.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.channels()).finish()
    }
}

/// The most digits of a numeric SMS sender (Vonage, SMS sender identity).
pub const SMS_SENDER_DIGITS_MAX: usize = 15;
/// The most characters of an alphanumeric SMS sender (Vonage, SMS sender identity).
pub const SMS_SENDER_CHARS_MAX: usize = 11;

/// Why a text cannot be a sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum SenderProblem {
    /// What the tutorial's file says before somebody fills it in.
    #[error("still holds the tutorial's placeholder")]
    Placeholder,
    /// An id or a phone number breaks the rules of its kind.
    #[error("{0}")]
    Address(AddressError),
    /// An SMS sender is neither a number nor a short name.
    #[error(
        "must be a number of at most {SMS_SENDER_DIGITS_MAX} digits, or at most {SMS_SENDER_CHARS_MAX} letters and digits"
    )]
    SmsSender,
    /// An RCS agent's id holds something else than letters, digits, `-`, `_` and `&`.
    #[error("must be 1 to {ID_CHARS_MAX} letters, digits, `-`, `_` or `&`")]
    RcsSender,
}

/// Whether a text is what the tutorial's file says where a value is to be filled in.
pub(super) fn is_placeholder(text: &str) -> bool {
    let text = text.trim().to_ascii_uppercase();
    ["COMPANY ", "USER "].iter().any(|beginning| text.starts_with(beginning))
}

fn read_sender(key: SenderKey, text: &str) -> Result<Box<str>, SenderProblem> {
    if is_placeholder(text) {
        return Err(SenderProblem::Placeholder);
    }
    let address = |channel| match Address::parse(channel, text) {
        Ok(address) => Ok(address.reveal().into()),
        Err(error) => Err(SenderProblem::Address(error)),
    };
    match key {
        // A Viber service id is an id, though a Viber user has a number.
        SenderKey::Messenger | SenderKey::Viber => address(Channel::Messenger),
        SenderKey::Whatsapp => address(Channel::Whatsapp),
        SenderKey::Sms => read_sms_sender(text.trim()),
        SenderKey::Rcs => read_rcs_sender(text.trim()),
        SenderKey::Mail => address(Channel::Email),
    }
}

fn read_sms_sender(text: &str) -> Result<Box<str>, SenderProblem> {
    if text.chars().any(char::is_alphabetic) {
        let fits =
            text.chars().count() <= SMS_SENDER_CHARS_MAX && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        return if fits { Ok(text.into()) } else { Err(SenderProblem::SmsSender) };
    }
    let digits: String =
        text.chars().filter(|character| !matches!(character, ' ' | '-' | '.' | '/' | '(' | ')')).collect();
    let digits = digits.strip_prefix('+').or_else(|| digits.strip_prefix("00")).unwrap_or(&digits);
    let fits = (1..=SMS_SENDER_DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    if fits { Ok(digits.into()) } else { Err(SenderProblem::SmsSender) }
}

fn read_rcs_sender(text: &str) -> Result<Box<str>, SenderProblem> {
    let fits = (1..=ID_CHARS_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'&'));
    if fits { Ok(text.into()) } else { Err(SenderProblem::RcsSender) }
}

/// Reads the senders of a file. A placeholder is an error only where some user needs the sender:
/// the tutorial's file lists four, and nobody needs to have them all.
pub(super) fn read(
    given: &[(SenderKey, Given<'_>)],
    used: &BTreeSet<Channel>,
    form: Form,
    report: &mut Report,
) -> Senders {
    let mut senders = Senders::default();
    for (key, given) in given {
        let name = key.path(form).unwrap_or_default();
        match read_sender(*key, given.text) {
            Ok(sender) => {
                if *key == SenderKey::Sms && sender.bytes().any(|byte| byte.is_ascii_alphabetic()) {
                    report.warning(
                        given.place,
                        format!("nobody can reply to the SMS sender {}", quoted(given.written)),
                        "use a number if people should be able to answer",
                    );
                }
                senders.set(*key, sender);
            }
            Err(SenderProblem::Placeholder) if key.channels().all(|channel| !used.contains(&channel)) => {
                let message = format!("`{name}` still holds the tutorial's placeholder, and no user needs it");
                report.warning(given.place, message, "remove it, or fill it in");
            }
            Err(problem) => {
                let message = format!("`{name}` {problem}");
                report.error_with_hint(given.place, message, Some(sender_hint(*key).into()));
            }
        }
    }
    senders
}

fn sender_hint(key: SenderKey) -> &'static str {
    match key {
        SenderKey::Messenger => "the id of your Facebook Page, for example 108450971234567",
        SenderKey::Viber => "the id of your Viber service, for example 15263",
        SenderKey::Whatsapp => "your WhatsApp business number with country code, for example 447700900100",
        SenderKey::Sms => "your virtual number, for example 447700900101, or a name such as CALLOUT",
        SenderKey::Rcs => "the id of your RCS agent, for example CalloutOps",
        SenderKey::Mail => "an e-mail address, for example callout@example.org",
    }
}
