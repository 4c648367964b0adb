//! Our token for Vonage: a JWT, signed RS256 with the application's private key.
//!
//! Signing takes one to two milliseconds, as long as all the rest of a send, so one token serves
//! every send until it is well within its life. A token that Vonage refused is never used again.
//!
//! Vonage wants the claims `application_id`, `iat` and `jti`, allows a life from half a minute to a
//! day, and reads a quarter of an hour where `exp` is missing (support article on JWT, 360000958407).

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;

use crate::timestamp::Timestamp;

/// How long a token is valid, from the moment it says it was made.
pub const LIFE: Duration = Duration::from_mins(15);
/// How old a token may become before the next send signs a new one. What is left of its life covers
/// the slowest send and a clock that is minutes slow.
pub const RENEWED_AFTER: Duration = Duration::from_mins(8);
/// By how much a token says that it is older than it is. Vonage refuses a token from its future, and
/// a host's clock may run a few seconds ahead.
pub const BACKDATED_BY: Duration = Duration::from_secs(10);

/// An RSA private key that is known to sign.
#[derive(Clone)]
pub struct PrivateKey(EncodingKey);

/// Why a text is no private key that can sign for Vonage. It never quotes the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrivateKeyError {
    /// There is no PEM block of an RSA key in it.
    #[error(
        "is not an RSA private key in PEM form; it should look like `-----BEGIN PRIVATE KEY-----` and the lines after it"
    )]
    NotAPrivateKey,
    /// The other half of the pair.
    #[error("is a public key; the application's private key is needed")]
    Public,
    /// Protected by a passphrase.
    #[error("is protected by a passphrase; callout needs the key without one")]
    Encrypted,
    /// It reads as a key but cannot sign.
    #[error("cannot sign: it is damaged, or an RSA key of fewer than 2048 bits")]
    CannotSign,
}

impl PrivateKey {
    /// Reads a PEM block, `PRIVATE KEY` (as Vonage gives it) or `RSA PRIVATE KEY`, and makes sure
    /// that it can sign.
    pub fn from_pem(pem: &str) -> Result<Self, PrivateKeyError> {
        if pem.contains("PUBLIC KEY-----") {
            return Err(PrivateKeyError::Public);
        }
        if pem.contains("ENCRYPTED") {
            return Err(PrivateKeyError::Encrypted);
        }
        let key =
            EncodingKey::from_rsa_pem(pem.trim().as_bytes()).map_err(|_reason| PrivateKeyError::NotAPrivateKey)?;
        match jsonwebtoken::crypto::sign(b"callout", &key, Algorithm::RS256) {
            Ok(_signature) => Ok(Self(key)),
            Err(_reason) => Err(PrivateKeyError::CannotSign),
        }
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PrivateKey(…)")
    }
}

/// A token as it stands behind `Bearer`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Arc<str>);

impl Token {
    /// The token itself. Only the request to Vonage may use this.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(…)")
    }
}

/// No token could be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    /// The system gives no random bytes for the token's id.
    #[error("the system gives no random bytes")]
    NoRandomness,
    /// The key cannot sign.
    #[error("the private key cannot sign")]
    CannotSign,
}

/// Signs tokens for one application, as seldom as it can.
#[derive(Debug)]
pub struct Tokens {
    application_id: Box<str>,
    key: PrivateKey,
    kept: Mutex<Option<Kept>>,
}

#[derive(Debug)]
struct Kept {
    token: Token,
    signed_at: Timestamp,
}

/// What the token says, in Vonage's names.
#[derive(Serialize)]
struct Claims<'a> {
    application_id: &'a str,
    iat: i64,
    exp: i64,
    jti: String,
}

impl Tokens {
    /// Signs for this application with this key.
    pub fn new(application_id: Box<str>, key: PrivateKey) -> Self {
        Self { application_id, key, kept: Mutex::new(None) }
    }

    /// A token that is good now, `now` being the time of the world outside.
    pub fn token(&self, now: Timestamp) -> Result<Token, SigningError> {
        // Held while signing on purpose: whoever waits here gets the token that is being made.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = &*kept {
            // A clock that was set back makes the token one from the future.
            let is_fresh = now >= kept.signed_at && now.since(kept.signed_at) < RENEWED_AFTER;
            if is_fresh {
                return Ok(kept.token.clone());
            }
        }
        let token = self.sign(now)?;
        *kept = Some(Kept { token: token.clone(), signed_at: now });
        Ok(token)
    }

    /// Vonage refused this token: the next send signs anew.
    pub fn forget(&self, refused: &Token) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // Another send may have signed anew already; that token deserves its own try.
        if kept.as_ref().is_some_and(|kept| kept.token == *refused) {
            *kept = None;
        }
    }

    fn sign(&self, now: Timestamp) -> Result<Token, SigningError> {
        let mut random = [0_u8; 16];
        aws_lc_rs::rand::fill(&mut random).map_err(|_unspecified| SigningError::NoRandomness)?;
        let issued = now.as_millis() / 1_000 - whole_seconds(BACKDATED_BY);
        let claims = Claims {
            application_id: &self.application_id,
            iat: issued,
            exp: issued + whole_seconds(LIFE),
            jti: uuid::Builder::from_random_bytes(random).into_uuid().to_string(),
        };
        match jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &self.key.0) {
            Ok(token) => Ok(Token(token.into())),
            Err(_reason) => Err(SigningError::CannotSign),
        }
    }
}

fn whole_seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
