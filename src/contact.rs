//! Channels and addresses: how a user can be reached.
//!
//! An [`Address`] is private to the person it belongs to. It has no `Display`, and its `Debug`
//! shows the shortened form only, so that no log line can carry a phone number by accident.

use std::fmt;
use std::str::FromStr;

/// One kind of way to reach a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// Facebook Messenger.
    Messenger,
    /// A Viber service message.
    ViberService,
    /// WhatsApp.
    Whatsapp,
    /// A text message.
    Sms,
    /// Rich Communication Services.
    Rcs,
    /// A multimedia message (United States only at Vonage).
    Mms,
    /// An e-mail; it goes by SMTP and never through Vonage.
    Email,
}

impl Channel {
    /// Every channel, in the order in which documents list them.
    pub const ALL: [Self; 7] =
        [Self::Messenger, Self::ViberService, Self::Whatsapp, Self::Sms, Self::Rcs, Self::Mms, Self::Email];

    /// The channels that Vonage carries.
    pub const OF_VONAGE: [Self; 6] =
        [Self::Messenger, Self::ViberService, Self::Whatsapp, Self::Sms, Self::Rcs, Self::Mms];

    /// The name that callout shows and that Messages v1 uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Messenger => "messenger",
            Self::ViberService => "viber_service",
            Self::Whatsapp => "whatsapp",
            Self::Sms => "sms",
            Self::Rcs => "rcs",
            Self::Mms => "mms",
            Self::Email => "email",
        }
    }

    /// Whether a `read` is ever reported on this channel; Vonage never does for SMS and MMS
    /// (Messages API reference, status webhook; Dispatch guide), and nobody does for e-mail.
    pub const fn reports_read(self) -> bool {
        match self {
            Self::Messenger | Self::ViberService | Self::Whatsapp | Self::Rcs => true,
            Self::Sms | Self::Mms | Self::Email => false,
        }
    }

    /// Whether an address on this channel is a phone number (otherwise an opaque id).
    pub const fn has_number(self) -> bool {
        match self {
            Self::Messenger | Self::Email => false,
            Self::ViberService | Self::Whatsapp | Self::Sms | Self::Rcs | Self::Mms => true,
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The text names no channel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a channel")]
pub struct UnknownChannel;

impl FromStr for Channel {
    type Err = UnknownChannel;

    /// Accepts the names of [`Channel::name`], Viber's old name `viber_service_msg`, the spelling
    /// `viber_sevice_msg` that Vonage's Dispatch specification carries, and plain `viber`.
    fn from_str(text: &str) -> Result<Self, UnknownChannel> {
        match text {
            "messenger" => Ok(Self::Messenger),
            "viber_service" | "viber_service_msg" | "viber_sevice_msg" | "viber" => Ok(Self::ViberService),
            "whatsapp" => Ok(Self::Whatsapp),
            "sms" => Ok(Self::Sms),
            "rcs" => Ok(Self::Rcs),
            "mms" => Ok(Self::Mms),
            "email" => Ok(Self::Email),
            _ => Err(UnknownChannel),
        }
    }
}

/// Where a user is reached on a channel: a phone number in E.164 digits, a Messenger id, or an e-mail address.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(Box<str>);

/// Why a text is not an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Nothing is left after trimming.
    #[error("is empty")]
    Empty,
    /// A phone number holds something else than digits.
    #[error("is not a phone number: only digits can stand here")]
    NotDigits,
    /// A phone number is shorter or longer than Vonage takes.
    #[error("is not a phone number with country code: it must have {min} to {max} digits", min = NUMBER_DIGITS_MIN, max = NUMBER_DIGITS_MAX)]
    DigitCount,
    /// An id is longer than Vonage takes.
    #[error("is longer than {max} characters", max = ID_CHARS_MAX)]
    TooLong,
    /// An e-mail address is none, or one that no mail server takes without quotes.
    #[error("is not an e-mail address")]
    NotEmail,
    /// An id holds white space or control characters.
    #[error("must not hold spaces or control characters")]
    BadCharacter,
}

/// The fewest digits of a phone number (Messages API reference, `to` of an SMS).
pub const NUMBER_DIGITS_MIN: usize = 7;
/// The most digits of a phone number (E.164).
pub const NUMBER_DIGITS_MAX: usize = 15;
/// The most characters of an id (Messages API reference, `to` of a Messenger message).
pub const ID_CHARS_MAX: usize = 50;
/// The most characters of an e-mail address (RFC 5321, section 4.5.3.1: a path has 256 with its brackets).
pub const EMAIL_CHARS_MAX: usize = 254;
/// The most characters before the `@` (the same section).
pub const EMAIL_LOCAL_CHARS_MAX: usize = 64;

impl Address {
    /// Reads an address as people write it: a phone number may carry `+` or `00` in front and
    /// spaces, dots, hyphens, slashes or brackets inside; they are dropped.
    pub fn parse(channel: Channel, text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        match channel {
            Channel::Email => Self::parse_email(text),
            Channel::Messenger => Self::parse_id(text),
            Channel::ViberService | Channel::Whatsapp | Channel::Sms | Channel::Rcs | Channel::Mms => {
                Self::parse_number(text)
            }
        }
    }

    fn parse_number(text: &str) -> Result<Self, AddressError> {
        let digits: String =
            text.chars().filter(|character| !matches!(character, ' ' | '-' | '.' | '/' | '(' | ')')).collect();
        let digits = digits.strip_prefix('+').or_else(|| digits.strip_prefix("00")).unwrap_or(&digits);
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(AddressError::NotDigits);
        }
        if !(NUMBER_DIGITS_MIN..=NUMBER_DIGITS_MAX).contains(&digits.len()) {
            return Err(AddressError::DigitCount);
        }
        Ok(Self(digits.into()))
    }

    /// Only what needs no quotes (RFC 5322, `dot-atom`), so that an address can never be read as anything else.
    fn parse_email(text: &str) -> Result<Self, AddressError> {
        let (local, domain) = text.rsplit_once('@').ok_or(AddressError::NotEmail)?;
        let is_local = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
        let is_domain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let is_dotted = |part: &str, is_known: fn(u8) -> bool| {
            part.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(is_known))
        };
        let is_sound = text.len() <= EMAIL_CHARS_MAX
            && local.len() <= EMAIL_LOCAL_CHARS_MAX
            && is_dotted(local, is_local)
            && is_dotted(domain, is_domain);
        if is_sound { Ok(Self(text.into())) } else { Err(AddressError::NotEmail) }
    }

    fn parse_id(text: &str) -> Result<Self, AddressError> {
        if text.chars().count() > ID_CHARS_MAX {
            return Err(AddressError::TooLong);
        }
        if text.chars().any(|character| character.is_whitespace() || character.is_control()) {
            return Err(AddressError::BadCharacter);
        }
        Ok(Self(text.into()))
    }

    /// The address in full. Only the way to Vonage and the stored record may use this.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The form that people are shown: the last four characters behind an ellipsis.
    pub fn shortened(&self) -> String {
        let n_chars = self.0.chars().count();
        let tail: String = self.0.chars().skip(n_chars.saturating_sub(4)).collect();
        format!("…{tail}")
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.shortened())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phone_number_is_read_as_people_write_it() {
        for text in ["447700900001", "+44 7700 900001", "0044-7700-900001", " (44) 7700.900001 "] {
            let address = Address::parse(Channel::Sms, text).map(|address| address.reveal().to_owned());
            assert_eq!(address, Ok("447700900001".to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_no_phone_number_is_refused_with_the_reason() {
        assert_eq!(Address::parse(Channel::Sms, " "), Err(AddressError::Empty));
        assert_eq!(Address::parse(Channel::Sms, "USER PHONE NUMBER"), Err(AddressError::NotDigits));
        assert_eq!(Address::parse(Channel::Whatsapp, "1234"), Err(AddressError::DigitCount));
        assert_eq!(Address::parse(Channel::Rcs, "1234567890123456"), Err(AddressError::DigitCount));
        assert_eq!(Address::parse(Channel::Messenger, &"9".repeat(51)), Err(AddressError::TooLong));
        assert_eq!(Address::parse(Channel::Messenger, "a b"), Err(AddressError::BadCharacter));
    }

    #[test]
    fn an_e_mail_address_is_one_or_is_refused() {
        for text in ["ops@example.org", "a.b+c@x.example", " tony@localhost ", "o'neil@ex-ample.org"] {
            assert!(Address::parse(Channel::Email, text).is_ok(), "{text}");
        }
        let long = format!("{}@example.org", "a".repeat(65));
        for text in [
            "",
            "ops",
            "@example.org",
            "ops@",
            "a b@example.org",
            "a@b@c",
            "a..b@example.org",
            "x@-_.org",
            "ops@example.org\r\nBcc: x@y.z",
            "<ops@example.org>",
            "ops@[127.0.0.1]",
            "\"a\"@example.org",
            "ö@example.org",
            &long,
        ] {
            assert!(Address::parse(Channel::Email, text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_never_shows_itself_whole() {
        let address = Address::parse(Channel::Sms, "447700900001");
        assert_eq!(format!("{address:?}"), "Ok(…0001)");
    }

    #[test]
    fn each_channel_is_read_back_from_its_name() {
        for channel in Channel::ALL {
            assert_eq!(channel.name().parse(), Ok(channel));
        }
        assert_eq!("viber_service_msg".parse(), Ok(Channel::ViberService));
        assert_eq!("watsapp".parse::<Channel>(), Err(UnknownChannel));
    }
}
