//! Whether a webhook is Vonage's: its bearer token is signed with the account's signature secret and
//! carries the SHA-256 of the body.
//!
//! The algorithm is HS256 whatever the token says, and the body's hash is required although Vonage's
//! page on signed webhooks calls it optional: without it, one captured token would make any body look
//! genuine. Both are compared in constant time.
//!
//! The age (`iat`) is for the caller to judge ([`Genuine::is_fresh`]), and is not judged unless the
//! configuration asks for it: Vonage repeats a webhook for a day, and nobody says whether it signs anew;
//! what comes twice has no effect here. Deliberately not checked: `exp` (there is none), and who the
//! token says it is from (whoever has the secret can write that).

use std::fmt;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::hash::sha256;
use crate::timestamp::Timestamp;

/// The most bytes of a token. Vonage's have about 600.
pub const TOKEN_BYTES_MAX: usize = 4 * 1024;

/// The account's signature secret, as the dashboard shows it.
#[derive(Clone)]
pub struct SignatureSecret(Box<str>);

/// A secret without a single byte, which anybody can sign with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is empty")]
pub struct EmptySecret;

impl SignatureSecret {
    /// Takes the secret as it is: its UTF-8 bytes are the key.
    pub fn new(secret: &str) -> Result<Self, EmptySecret> {
        if secret.is_empty() { Err(EmptySecret) } else { Ok(Self(secret.into())) }
    }
}

impl fmt::Debug for SignatureSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SignatureSecret(…)")
    }
}

/// Why a webhook is not taken for Vonage's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum SignatureError {
    /// There is no bearer token. After trouble of its own Vonage may send a webhook so, and sends it
    /// again, signed, when it is answered with a status from 500 on.
    #[error("the webhook carries no bearer token")]
    Missing,
    /// There are several `Authorization` headers, and no telling which one a proxy in front believed.
    #[error("the webhook carries several Authorization headers")]
    Several,
    /// The token is longer than [`TOKEN_BYTES_MAX`].
    #[error("the token is longer than {TOKEN_BYTES_MAX} bytes")]
    TooLong,
    /// The token is not a JWT.
    #[error("the token is not a JWT")]
    Malformed,
    /// The token names another algorithm than HS256.
    #[error("the token is not signed with HS256")]
    WrongAlgorithm,
    /// The token brings a key of its own to be checked with, or asks for rules that we do not know.
    #[error("the token brings its own key or rules")]
    OwnRules,
    /// None of our secrets made the signature.
    #[error("the signature was made with another secret (it is the account's signature secret that counts)")]
    WrongSignature,
    /// The token does not say which body it belongs to.
    #[error("the token carries no payload_hash")]
    NoPayloadHash,
    /// The token was signed too long ago, where the configuration asks for its age.
    #[error("the token was signed too long ago, or by a clock that is far ahead")]
    TooOld,
    /// The body is not the one that was signed; a proxy may have rewritten it.
    #[error("the body is not the one that was signed")]
    BodyChanged,
}

impl SignatureError {
    /// A word for logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Several => "several",
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::WrongAlgorithm => "wrong_algorithm",
            Self::OwnRules => "own_rules",
            Self::WrongSignature => "wrong_signature",
            Self::NoPayloadHash => "no_payload_hash",
            Self::TooOld => "too_old",
            Self::BodyChanged => "body_changed",
        }
    }
}

/// A webhook that one of our secrets has signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Genuine {
    /// When it was signed (`iat`), where the token says so.
    pub signed_at: Option<Timestamp>,
}

impl Genuine {
    /// Whether it was signed at most `age` ago, or at most as far ahead by the signer's clock. Vonage repeats
    /// a webhook for 24 hours, and nobody says whether each time with a new token.
    pub fn is_fresh(&self, now: Timestamp, age: Duration) -> bool {
        self.signed_at.is_some_and(|signed_at| now.since(signed_at) <= age && signed_at.since(now) <= age)
    }
}

/// Checks the values of the request's `Authorization` headers against the body as it was received.
///
/// Any of the secrets will do, so that a secret can be changed while webhooks are on their way. With
/// no secret at all nothing is genuine.
pub fn verify<'a>(
    authorization: impl IntoIterator<Item = &'a [u8]>,
    body: &[u8],
    secrets: &[SignatureSecret],
) -> Result<Genuine, SignatureError> {
    let token = bearer_token(authorization)?;
    check_header(token)?;
    let claims =
        secrets.iter().find_map(|secret| signed_claims(token, secret)).ok_or(SignatureError::WrongSignature)??;
    let claimed = claims.payload_hash.filter(|hash| !hash.is_empty()).ok_or(SignatureError::NoPayloadHash)?;
    match verify_slices_are_equal(claimed.to_ascii_lowercase().as_bytes(), hash(body).as_bytes()) {
        Ok(()) => Ok(Genuine { signed_at: claims.iat.as_ref().and_then(moment) }),
        Err(_unequal) => Err(SignatureError::BodyChanged),
    }
}

fn bearer_token<'a>(authorization: impl IntoIterator<Item = &'a [u8]>) -> Result<&'a str, SignatureError> {
    let mut headers = authorization.into_iter();
    let header = headers.next().ok_or(SignatureError::Missing)?;
    if headers.next().is_some() {
        return Err(SignatureError::Several);
    }
    let header = header.trim_ascii();
    let n_scheme = header.iter().position(u8::is_ascii_whitespace).ok_or(SignatureError::Missing)?;
    let (scheme, token) = header.split_at(n_scheme);
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Err(SignatureError::Missing);
    }
    let token = token.trim_ascii();
    if token.len() > TOKEN_BYTES_MAX {
        return Err(SignatureError::TooLong);
    }
    std::str::from_utf8(token).map_err(|_not_ascii| SignatureError::Malformed)
}

/// The header of a JWT, as far as it can do harm. Whatever else it names (`kid`, `typ`) is ignored.
#[derive(Deserialize)]
struct Header {
    alg: Option<Box<str>>,
    crit: Option<IgnoredAny>,
    jku: Option<IgnoredAny>,
    jwk: Option<IgnoredAny>,
    x5u: Option<IgnoredAny>,
    x5c: Option<IgnoredAny>,
}

/// Refuses by its header what would be refused anyway, so that the operator learns the reason.
fn check_header(token: &str) -> Result<(), SignatureError> {
    let (header, _) = token.split_once('.').ok_or(SignatureError::Malformed)?;
    // The library reads unverified claims into any type, but headers only into its own, which cannot
    // spell the algorithm `none`; so the header is handed to it in the place of claims.
    let header: Header = jsonwebtoken::dangerous::insecure_decode_claims(format!("_.{header}._"))
        .map_err(|_unreadable| SignatureError::Malformed)?;
    if header.alg.as_deref() != Some("HS256") {
        return Err(SignatureError::WrongAlgorithm);
    }
    let own = [header.crit, header.jku, header.jwk, header.x5u, header.x5c];
    if own.iter().any(Option::is_some) { Err(SignatureError::OwnRules) } else { Ok(()) }
}

#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    payload_hash: Option<Box<str>>,
    /// Seconds since 1970; read as any number, because a strange one must not make a webhook invalid.
    #[serde(default)]
    iat: Option<serde_json::Value>,
}

fn moment(seconds: &serde_json::Value) -> Option<Timestamp> {
    let whole = seconds.as_i64()?;
    Some(Timestamp::from_millis(whole.saturating_mul(1_000)))
}

/// The claims, where this secret made the signature; an error where it did, and they cannot be read.
fn signed_claims(token: &str, secret: &SignatureSecret) -> Option<Result<Claims, SignatureError>> {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    let key = DecodingKey::from_secret(secret.0.as_bytes());
    match jsonwebtoken::decode::<Claims>(token, &key, &validation) {
        Ok(token) => Some(Ok(token.claims)),
        Err(error) if matches!(error.kind(), ErrorKind::InvalidSignature) => None,
        // The library looks at the claims only once it has found the signature good.
        Err(_unreadable) => Some(Err(SignatureError::Malformed)),
    }
}

/// The lower-case hexadecimal SHA-256 of a body.
pub fn hash(body: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    for byte in sha256(body) {
        for half in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(u32::from(half), 16));
        }
    }
    text
}
