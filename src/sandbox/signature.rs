//! How Vonage signs a webhook, and the ways in which a signature can be wrong.
//!
//! A webhook carries `Authorization: Bearer <JWT>`, signed with HS256 and the account's signature
//! secret; its `payload_hash` is the SHA-256 of the body as sent (Vonage's page on signed webhooks).
//! The token is written by hand here and not by the library that the service verifies with, so that
//! one misreading cannot hide the other.

use std::fmt;

use aws_lc_rs::{digest, hmac};
use serde::Serialize;

use crate::timestamp::Timestamp;

/// The account's signature secret, used as its bytes stand. Its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// Takes the secret as the dashboard shows it.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// A secret that is certainly another one.
    fn other(&self) -> Self {
        Self(format!("{} but another", self.0).into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

/// The account's key that every signature names; ours is invented.
pub const API_KEY: &str = "abcd1234";

/// How a webhook is signed, rightly or wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seal {
    /// As it should be.
    Right,
    /// With a secret that the service does not have.
    OtherSecret,
    /// Rightly, but without the hash of the body.
    WithoutHash,
    /// With the algorithm `none` and no signature.
    NoAlgorithm,
}

/// What a signature says beside the hash of the body.
#[derive(Clone, Copy, Debug)]
pub struct Issue<'a> {
    /// When it was signed.
    pub at: Timestamp,
    /// Unique to this signature.
    pub id: &'a str,
    /// The application that the message belongs to; none where the sender used Basic credentials.
    pub application: Option<&'a str>,
}

#[derive(Serialize)]
struct Header {
    alg: &'static str,
    typ: &'static str,
}

#[derive(Serialize)]
struct Claims<'a> {
    iat: i64,
    jti: &'a str,
    iss: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_hash: Option<&'a str>,
    api_key: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    application_id: Option<&'a str>,
}

/// The token that Vonage sends along with `body`.
pub fn sign(secret: &Secret, issue: Issue<'_>, body: &[u8]) -> String {
    seal(Seal::Right, secret, issue, body)
}

/// The token as `seal` has it.
pub(super) fn seal(seal: Seal, secret: &Secret, issue: Issue<'_>, body: &[u8]) -> String {
    let hash = payload_hash(body);
    let payload_hash = match seal {
        Seal::WithoutHash => None,
        Seal::Right | Seal::OtherSecret | Seal::NoAlgorithm => Some(hash.as_str()),
    };
    let alg = match seal {
        Seal::NoAlgorithm => "none",
        Seal::Right | Seal::OtherSecret | Seal::WithoutHash => "HS256",
    };
    let claims = Claims {
        iat: issue.at.as_millis() / 1000,
        jti: issue.id,
        iss: "Vonage",
        payload_hash,
        api_key: API_KEY,
        application_id: issue.application,
    };
    let signed = format!("{}.{}", part(&Header { alg, typ: "JWT" }), part(&claims));
    let mac = match seal {
        Seal::NoAlgorithm => String::new(),
        Seal::Right | Seal::WithoutHash => mac(secret, &signed),
        Seal::OtherSecret => mac(&secret.other(), &signed),
    };
    format!("{signed}.{mac}")
}

fn part(value: &impl Serialize) -> String {
    base64url(&serde_json::to_vec(value).unwrap_or_default())
}

fn mac(secret: &Secret, signed: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.0.as_bytes());
    base64url(hmac::sign(&key, signed.as_bytes()).as_ref())
}

/// The SHA-256 of a body in lower-case hexadecimal digits.
pub fn payload_hash(body: &[u8]) -> String {
    use fmt::Write;

    let mut text = String::with_capacity(64);
    for byte in digest::digest(&digest::SHA256, body).as_ref() {
        if write!(text, "{byte:02x}").is_err() {
            break;
        }
    }
    text
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Base 64 in the alphabet for addresses, without padding (RFC 4648, section 5).
fn base64url(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0_u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for index in 0..=chunk.len() {
            let digit = usize::try_from(group >> (18 - 6 * index) & 63).unwrap_or(0);
            text.push(char::from(ALPHABET.get(digit).copied().unwrap_or(b'A')));
        }
    }
    text
}

/// Reads base 64 in the alphabet for addresses; padding is no part of a token and is refused.
pub(super) fn from_base64url(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for chunk in text.as_bytes().chunks(4) {
        let mut group = 0_u32;
        for byte in chunk {
            let digit = ALPHABET.iter().position(|letter| letter == byte)?;
            group = group << 6 | u32::try_from(digit).ok()?;
        }
        let n_bytes = match chunk.len() {
            4 => 3,
            3 => 2,
            2 => 1,
            _ => return None,
        };
        let whole = (group << (6 * (4 - chunk.len()))).to_be_bytes();
        bytes.extend(whole.iter().skip(1).take(n_bytes));
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_64_is_read_back_for_every_length() {
        for length in 0..70_u8 {
            let bytes: Vec<u8> = (0..length).map(|byte| byte.wrapping_mul(37)).collect();
            assert_eq!(from_base64url(&base64url(&bytes)), Some(bytes));
        }
        assert_eq!(base64url(b"{\"a\":1}"), "eyJhIjoxfQ");
        assert_eq!(from_base64url("a"), None);
        assert_eq!(from_base64url("ab=="), None);
    }

    #[test]
    fn the_secret_is_never_shown() {
        assert_eq!(format!("{:?}", Secret::new("hush")), "Secret(…)");
    }
}
