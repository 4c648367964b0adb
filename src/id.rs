//! Names of things: alerts, attempts, and what Vonage calls a message.

use std::fmt;
use std::str::FromStr;

use crate::timestamp::Timestamp;

/// Names an alert: a UUID of version 7, so that ids sort by the time they were made.
///
/// It is kept as bytes and not as a number, which would take up twice the room beside something small.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlertId([u8; 16]);

/// The text names no alert.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not the id of an alert (a UUID)")]
pub struct NotAnAlertId;

impl AlertId {
    /// Makes an id from the moment and from random bits, both handed in so that tests have stable ids.
    pub fn new(now: Timestamp, random: [u8; 10]) -> Self {
        let millis = u64::try_from(now.as_millis()).unwrap_or(0);
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid().into_bytes())
    }

    /// The id that sorts right behind this one.
    #[must_use]
    pub const fn successor(self) -> Self {
        Self::from_bits(self.to_bits().saturating_add(1))
    }

    /// The id from its 128 bits, as a store keeps it.
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits.to_be_bytes())
    }

    /// The 128 bits.
    pub const fn to_bits(self) -> u128 {
        u128::from_be_bytes(self.0)
    }
}

impl fmt::Display for AlertId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(uuid::Uuid::from_bytes_ref(&self.0).as_hyphenated(), formatter)
    }
}

impl fmt::Debug for AlertId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for AlertId {
    type Err = NotAnAlertId;

    fn from_str(text: &str) -> Result<Self, NotAnAlertId> {
        match uuid::Uuid::try_parse(text) {
            Ok(uuid) => Ok(Self(uuid.into_bytes())),
            Err(_) => Err(NotAnAlertId),
        }
    }
}

/// Counts the attempts of one alert, from 1.
pub type AttemptNumber = u32;

/// Names one attempt of one alert; on Messages it travels as `client_ref` and comes back in each report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptRef {
    /// The alert.
    pub alert: AlertId,
    /// The attempt within the alert.
    pub attempt: AttemptNumber,
}

/// Crockford's base 32: digits and lower-case letters without i, l, o and u.
const BASE32: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// How many base-32 digits hold 128 bits.
const ID_DIGITS: usize = 26;
/// What every `client_ref` of ours begins with.
const PREFIX: &str = "c";

/// The most characters of a `client_ref`. One page of Vonage's Messages reference says 100, two
/// others say 40, as Messages v0.1 did; 40 is within all of them.
pub const CLIENT_REF_CHARS_MAX: usize = 40;

impl fmt::Display for AttemptRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(PREFIX)?;
        for digit in (0..ID_DIGITS).rev() {
            let value = (self.alert.to_bits() >> (5 * digit)) & 31;
            let character = usize::try_from(value).ok().and_then(|index| BASE32.get(index)).copied();
            fmt::Write::write_char(formatter, char::from(character.unwrap_or(b'0')))?;
        }
        write!(formatter, ".{}", self.attempt)
    }
}

/// The text is no `client_ref` of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a reference that callout gave")]
pub struct NotOurs;

impl FromStr for AttemptRef {
    type Err = NotOurs;

    fn from_str(text: &str) -> Result<Self, NotOurs> {
        let (id, attempt) = text.strip_prefix(PREFIX).and_then(|rest| rest.split_once('.')).ok_or(NotOurs)?;
        if id.len() != ID_DIGITS || attempt.starts_with(['+', '0']) {
            return Err(NotOurs);
        }
        let mut bits: u128 = 0;
        for (index, byte) in id.bytes().enumerate() {
            let value = BASE32.iter().position(|digit| *digit == byte).ok_or(NotOurs)?;
            if index == 0 && value > 7 {
                return Err(NotOurs);
            }
            bits = (bits << 5) | u128::try_from(value).unwrap_or(0);
        }
        match attempt.parse() {
            Ok(attempt) => Ok(Self { alert: AlertId::from_bits(bits), attempt }),
            Err(_) => Err(NotOurs),
        }
    }
}

/// What Vonage calls one message (`message_uuid`) or one workflow (`dispatch_uuid`).
///
/// Not always a UUID (Viber and native failover give other forms), so it is held as an opaque text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProviderId(Box<str>);

/// The most characters of a [`ProviderId`]; the longest seen is a workflow id of about 55.
pub const PROVIDER_ID_CHARS_MAX: usize = 128;

/// The text cannot be an id of Vonage's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not an id: 1 to {PROVIDER_ID_CHARS_MAX} visible ASCII characters")]
pub struct NotAProviderId;

impl ProviderId {
    /// The id as Vonage wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ProviderId {
    type Err = NotAProviderId;

    fn from_str(text: &str) -> Result<Self, NotAProviderId> {
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        if visible && (1..=PROVIDER_ID_CHARS_MAX).contains(&text.len()) {
            Ok(Self(text.into()))
        } else {
            Err(NotAProviderId)
        }
    }
}

impl fmt::Display for ProviderId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for ProviderId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Counts the alerts of one store, from 1; it is the alert's short code in another spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlertNumber(pub u64);

/// The few capital letters and digits by which a person on a phone names an alert.
///
/// It is the alert's number, scrambled: no two alerts of a store have the same code (until some
/// 600 million later the codes begin again), and nothing needs to be looked up to make or read one.
/// Letters and digits take turns, so that no word of a reply can look like a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ShortCode(AlertNumber);

/// Consonants that cannot be taken for another letter or a digit.
const CODE_LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
/// Digits that cannot be taken for a letter.
const CODE_DIGITS: &[u8; 8] = b"23456789";
/// Codes have 4 characters at first and grow to 8.
const CODE_CHARS_MIN: u32 = 4;
const CODE_CHARS_MAX: u32 = 8;
/// Shares no factor with 20 or 8, so that multiplying by it loses nothing.
const SCRAMBLE: u128 = 7_368_787;

/// How many codes have `n_chars` characters.
const fn codes_of_length(n_chars: u32) -> u64 {
    20_u64.pow(n_chars.div_ceil(2)) * 8_u64.pow(n_chars / 2)
}

/// How many different codes there are in all.
const fn codes_in_all() -> u64 {
    let mut sum = 0;
    let mut n_chars = CODE_CHARS_MIN;
    while n_chars <= CODE_CHARS_MAX {
        sum += codes_of_length(n_chars);
        n_chars += 1;
    }
    sum
}

/// The inverse of [`SCRAMBLE`] among the numbers below `modulus`.
const fn unscramble(modulus: u128) -> u128 {
    let (mut old, mut new) = ((SCRAMBLE % modulus).cast_signed(), modulus.cast_signed());
    let (mut old_factor, mut new_factor) = (1_i128, 0_i128);
    while new != 0 {
        let quotient = old / new;
        (old, new) = (new, old - quotient * new);
        (old_factor, new_factor) = (new_factor, old_factor - quotient * new_factor);
    }
    old_factor.rem_euclid(modulus.cast_signed()).cast_unsigned()
}

/// The text cannot be a short code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not the code of an alert")]
pub struct NotACode;

impl ShortCode {
    /// The code of the alert with this number.
    pub const fn of(number: AlertNumber) -> Self {
        Self(AlertNumber(number.0 % codes_in_all()))
    }

    /// The numbers that carry this code, the first of them; the others are whole multiples of the
    /// number of all codes further on. `newest` is the greatest number given so far.
    pub const fn number(self, newest: AlertNumber) -> AlertNumber {
        let first = self.0.0;
        if newest.0 < first {
            return AlertNumber(first);
        }
        AlertNumber(newest.0 - (newest.0 - first) % codes_in_all())
    }
}

impl fmt::Display for ShortCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.0;
        let mut n_chars = CODE_CHARS_MIN;
        while rest >= codes_of_length(n_chars) && n_chars < CODE_CHARS_MAX {
            rest -= codes_of_length(n_chars);
            n_chars += 1;
        }
        let modulus = u128::from(codes_of_length(n_chars));
        let mut value = u128::from(rest) * SCRAMBLE % modulus;
        for position in 0..n_chars {
            let alphabet: &[u8] = if position % 2 == 0 { CODE_LETTERS } else { CODE_DIGITS };
            let base = u128::try_from(alphabet.len()).unwrap_or(1);
            let index = usize::try_from(value % base).unwrap_or(0);
            value /= base;
            fmt::Write::write_char(formatter, char::from(alphabet.get(index).copied().unwrap_or(b'B')))?;
        }
        Ok(())
    }
}

impl FromStr for ShortCode {
    type Err = NotACode;

    /// Reads a code in any case.
    fn from_str(text: &str) -> Result<Self, NotACode> {
        let n_chars = u32::try_from(text.len()).map_err(|_too_long| NotACode)?;
        if !(CODE_CHARS_MIN..=CODE_CHARS_MAX).contains(&n_chars) {
            return Err(NotACode);
        }
        let mut value: u128 = 0;
        let mut weight: u128 = 1;
        for (position, byte) in text.bytes().enumerate() {
            let alphabet: &[u8] = if position % 2 == 0 { CODE_LETTERS } else { CODE_DIGITS };
            let byte = byte.to_ascii_uppercase();
            let index = alphabet.iter().position(|character| *character == byte).ok_or(NotACode)?;
            value += weight * u128::try_from(index).unwrap_or(0);
            weight *= u128::try_from(alphabet.len()).unwrap_or(1);
        }
        let modulus = u128::from(codes_of_length(n_chars));
        let rest = u64::try_from(value * unscramble(modulus) % modulus).map_err(|_impossible| NotACode)?;
        let before: u64 = (CODE_CHARS_MIN..n_chars).map(codes_of_length).sum();
        Ok(Self(AlertNumber(before + rest)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn alert_id() -> AlertId {
        AlertId::new(Timestamp::from_millis(1_772_331_307_412), [255, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    }

    #[test]
    fn an_alert_id_is_a_version_7_uuid_and_sorts_by_time() {
        let id = alert_id();
        assert_eq!(id.to_string().as_bytes().get(14), Some(&b'7'));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(AlertId::new(Timestamp::from_millis(1_772_331_307_413), [0; 10]) > id);
        assert_eq!("al_1".parse::<AlertId>(), Err(NotAnAlertId));
    }

    #[test]
    fn a_client_ref_names_its_attempt_and_fits_vonages_narrowest_limit() {
        let reference = AttemptRef { alert: alert_id(), attempt: u32::MAX };
        assert!(reference.to_string().len() <= CLIENT_REF_CHARS_MAX, "{reference}");
        assert_eq!(reference.to_string().parse(), Ok(reference));
    }

    #[test]
    fn a_foreign_client_ref_is_not_ours() {
        for text in
            ["", "c", "order-17", "c.1", "c0.1", "czzzzzzzzzzzzzzzzzzzzzzzzzz.1", "c00000000000000000000000000.01"]
        {
            assert_eq!(text.parse::<AttemptRef>(), Err(NotOurs), "{text}");
        }
    }

    #[test]
    fn codes_are_short_distinct_and_read_back_in_any_case() {
        let mut seen = HashSet::new();
        for number in (0..60_000).chain(codes_in_all() - 10..codes_in_all()) {
            let code = ShortCode::of(AlertNumber(number));
            let text = code.to_string();
            assert!((4..=8).contains(&text.len()), "{text}");
            assert_eq!(text.to_ascii_lowercase().parse(), Ok(code), "{text}");
            assert!(seen.insert(text));
        }
    }

    #[test]
    fn the_newest_alert_with_a_code_is_meant_once_codes_begin_again() {
        let number = AlertNumber(codes_in_all() + 17);
        assert_eq!(ShortCode::of(number).number(AlertNumber(codes_in_all() * 2)), number);
        assert_eq!(ShortCode::of(number).number(AlertNumber(100)), AlertNumber(17));
    }

    #[test]
    fn words_are_no_codes() {
        for word in ["next", "resolve", "down", "ok", "what", "2026", "K7M", "K7M2Q4W3X"] {
            assert_eq!(word.parse::<ShortCode>(), Err(NotACode), "{word}");
        }
    }
}
