//! Acknowledge links: a token that belongs to one attempt and that nobody can guess.
//!
//! A token names its alert and attempt and carries 128 bits of an HMAC over them. Nothing of it is
//! kept, not even hashed. The key comes from a secret of the store and one of the configuration, so that a
//! stolen database or backup opens no link. Whether the alert can still be answered is for the machine to say.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::{constant_time, hmac};

use crate::id::{AlertId, AlertNumber, AttemptNumber};

/// Makes and checks the tokens of one installation.
pub struct LinkKey(hmac::Key);

/// How many bytes of the HMAC a token carries.
const TAG_BYTES: usize = 16;

impl LinkKey {
    /// The key from two secrets that are kept in different places, so that neither opens a link alone: one
    /// of the store, one of the configuration.
    pub fn new(of_store: &[u8; 32], of_configuration: &[u8; 32]) -> Self {
        let mixed = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, of_store), of_configuration);
        Self(hmac::Key::new(hmac::HMAC_SHA256, mixed.as_ref()))
    }

    /// The token of an attempt.
    pub fn token(&self, id: AlertId, number: AlertNumber, attempt: AttemptNumber) -> Token {
        Token { number, attempt, tag: self.tag(id, attempt) }
    }

    /// Whether the token is the attempt's; takes the same time either way.
    pub fn opens(&self, token: &Token, id: AlertId) -> bool {
        constant_time::verify_slices_are_equal(&self.tag(id, token.attempt), &token.tag).is_ok()
    }

    fn tag(&self, id: AlertId, attempt: AttemptNumber) -> [u8; TAG_BYTES] {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(b"callout acknowledge link");
        context.update(&id.to_bits().to_be_bytes());
        context.update(&attempt.to_be_bytes());
        let full = context.sign();
        let mut tag = [0; TAG_BYTES];
        for (byte, from) in tag.iter_mut().zip(full.as_ref()) {
            *byte = *from;
        }
        tag
    }
}

impl fmt::Debug for LinkKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("LinkKey([secret])")
    }
}

/// What stands behind `/a/` in an acknowledge link.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// The alert's number.
    pub number: AlertNumber,
    /// The attempt whose message carries the link.
    pub attempt: AttemptNumber,
    tag: [u8; TAG_BYTES],
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Token({}-{}-[secret])", self.number.0, self.attempt)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:x}-{:x}-", self.number.0, self.attempt)?;
        self.tag.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// The text is no token of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not an acknowledge token")]
pub struct NotAToken;

impl FromStr for Token {
    type Err = NotAToken;

    fn from_str(text: &str) -> Result<Self, NotAToken> {
        let mut parts = text.splitn(3, '-');
        let (Some(number), Some(attempt), Some(tag)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NotAToken);
        };
        if tag.len() != 2 * TAG_BYTES || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-')) {
            return Err(NotAToken);
        }
        let number = u64::from_str_radix(number, 16).map_err(|_not_hex| NotAToken)?;
        let attempt = AttemptNumber::from_str_radix(attempt, 16).map_err(|_not_hex| NotAToken)?;
        let bits = u128::from_str_radix(tag, 16).map_err(|_not_hex| NotAToken)?;
        Ok(Self { number: AlertNumber(number), attempt, tag: bits.to_be_bytes() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_its_own_attempt_only() {
        let key = LinkKey::new(&[7; 32], &[1; 32]);
        let (alert, other) = (AlertId::from_bits(1), AlertId::from_bits(2));
        let token = key.token(alert, AlertNumber(5), 3);
        assert_eq!(token.to_string().parse(), Ok(token.clone()));
        assert!(key.opens(&token, alert));
        assert!(!key.opens(&token, other));
        assert!(!LinkKey::new(&[8; 32], &[1; 32]).opens(&token, alert), "another store");
        assert!(!LinkKey::new(&[7; 32], &[2; 32]).opens(&token, alert), "another configuration");
        let next_attempt = Token { attempt: 4, ..token };
        assert!(!key.opens(&next_attempt, alert));
    }

    #[test]
    fn what_is_no_token_is_not_taken_for_one() {
        for text in ["", "1-1", "1-1-00", "1-1-zz112233445566778899aabbccddeeff", "-1-00112233445566778899aabbccddeeff"]
        {
            assert_eq!(text.parse::<Token>(), Err(NotAToken), "{text}");
        }
    }

    #[test]
    fn a_token_does_not_show_itself_in_logs() {
        let token = LinkKey::new(&[7; 32], &[1; 32]).token(AlertId::from_bits(1), AlertNumber(5), 3);
        assert_eq!(format!("{token:?}"), "Token(5-3-[secret])");
    }
}
