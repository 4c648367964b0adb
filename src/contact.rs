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
}

impl Channel {
    /// Every channel, in the order in which documents list them.
    pub const ALL: [Self; 6] = [Self::Messenger, Self::ViberService, Self::Whatsapp, Self::Sms, Self::Rcs, Self::Mms];

    /// The name that callout shows and that Messages v1 uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Messenger => "messenger",
            Self::ViberService => "viber_service",
            Self::Whatsapp => "whatsapp",
            Self::Sms => "sms",
            Self::Rcs => "rcs",
            Self::Mms => "mms",
        }
    }

    /// Whether Vonage reports `read` on this channel at all; it never does for SMS and MMS
    /// (Messages API reference, status webhook; Dispatch guide).
    pub const fn reports_read(self) -> bool {
        match self {
            Self::Messenger | Self::ViberService | Self::Whatsapp | Self::Rcs => true,
            Self::Sms | Self::Mms => false,
        }
    }

    /// Whether an address on this channel is a phone number (otherwise an opaque id).
    pub const fn has_number(self) -> bool {
        match self {
            Self::Messenger => false,
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
            _ => Err(UnknownChannel),
        }
    }
}

/// Where a user is reached on a channel: a phone number in E.164 digits, or a Messenger id.
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

impl Address {
    /// Reads an address as people write it: a phone number may carry `+` or `00` in front and
    /// spaces, dots, hyphens, slashes or brackets inside; they are dropped.
    pub fn parse(channel: Channel, text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        if channel.has_number() { Self::parse_number(text) } else { Self::parse_id(text) }
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
