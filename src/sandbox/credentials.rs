//! Whether a caller shows the credentials that Vonage would ask for.
//!
//! A stand-in does not know the application's public key, so it cannot check a signature. It checks
//! all the rest: that the token is made the way Vonage wants it and is neither too old nor from the
//! future (Vonage's support article on JWT: `application_id`, `iat` and `jti` are required; `exp` at
//! least 30 s and at most 24 h after `iat`; without `exp` a token lives for 15 minutes).

use std::time::Duration;

use serde::Deserialize;

use super::signature::from_base64url;
use crate::timestamp::Timestamp;

/// How far a caller's clock may be ahead.
const AHEAD_MAX: Duration = Duration::from_mins(1);
/// The life of a token that does not say when it ends.
const LIFE_DEFAULT: i64 = 15 * 60;
/// The shortest life that Vonage takes, in seconds.
const LIFE_MIN: i64 = 30;
/// The longest life that Vonage takes, in seconds.
const LIFE_MAX: i64 = 24 * 60 * 60;

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// An application, named in its token; webhooks are its own.
    Application(Box<str>),
    /// An account, with key and secret.
    Account,
}

impl Caller {
    pub(super) fn application(&self) -> Option<&str> {
        match self {
            Self::Application(id) => Some(id),
            Self::Account => None,
        }
    }
}

/// Why the credentials do not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("there is no Authorization header")]
    Missing,
    #[error("the Authorization header is neither `Bearer <JWT>` nor `Basic <key:secret>`")]
    Scheme,
    #[error("this call takes a bearer token only, not Basic credentials")]
    BearerOnly,
    #[error("the Basic credentials are not key and secret in base 64")]
    Basic,
    #[error("the bearer token is not a JWT of three parts")]
    NotAToken,
    #[error("the token must be signed with RS256")]
    Algorithm,
    #[error("the token has no `application_id` that is a UUID")]
    Application,
    #[error("the token has no `jti`")]
    Id,
    #[error("the token has no `iat`")]
    IssueTime,
    #[error("the token's `exp` must be 30 seconds to 24 hours after its `iat`")]
    Life,
    #[error("the token has expired")]
    Expired,
    #[error("the token's `iat` is in the future")]
    Future,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
}

#[derive(Deserialize)]
struct Claims {
    application_id: Option<String>,
    jti: Option<String>,
    iat: Option<i64>,
    exp: Option<i64>,
}

/// Reads an Authorization header. A token is judged by whichever of `clocks` suits it, because the
/// sandbox may run faster than the world in which the token was made.
pub(super) fn check(header: Option<&str>, clocks: &[Timestamp]) -> Result<Caller, Refusal> {
    let (scheme, value) = header.ok_or(Refusal::Missing)?.split_once(' ').ok_or(Refusal::Scheme)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        bearer(value.trim(), clocks)
    } else if scheme.eq_ignore_ascii_case("basic") {
        basic(value.trim())
    } else {
        Err(Refusal::Scheme)
    }
}

fn basic(value: &str) -> Result<Caller, Refusal> {
    let plain = value.trim_end_matches('=').replace('+', "-").replace('/', "_");
    let bytes = from_base64url(&plain).ok_or(Refusal::Basic)?;
    match bytes.iter().position(|byte| *byte == b':') {
        Some(colon) if colon > 0 && colon + 1 < bytes.len() => Ok(Caller::Account),
        Some(_) | None => Err(Refusal::Basic),
    }
}

fn bearer(token: &str, clocks: &[Timestamp]) -> Result<Caller, Refusal> {
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, signature] = parts.as_slice() else {
        return Err(Refusal::NotAToken);
    };
    let read = |part: &str| from_base64url(part).ok_or(Refusal::NotAToken);
    let header: Header = serde_json::from_slice(&read(header)?).map_err(|_not_json| Refusal::NotAToken)?;
    let claims: Claims = serde_json::from_slice(&read(claims)?).map_err(|_not_json| Refusal::NotAToken)?;
    if read(signature)?.is_empty() {
        return Err(Refusal::NotAToken);
    }
    if header.alg != "RS256" {
        return Err(Refusal::Algorithm);
    }
    let application =
        claims.application_id.filter(|id| uuid::Uuid::try_parse(id).is_ok()).ok_or(Refusal::Application)?;
    if claims.jti.is_none_or(|id| id.is_empty()) {
        return Err(Refusal::Id);
    }
    let issued = claims.iat.ok_or(Refusal::IssueTime)?;
    let ends = claims.exp.unwrap_or(issued.saturating_add(LIFE_DEFAULT));
    if !(LIFE_MIN..=LIFE_MAX).contains(&ends.saturating_sub(issued)) {
        return Err(Refusal::Life);
    }
    let mut verdict = Err(Refusal::Expired);
    for now in clocks {
        let from = Timestamp::from_millis(issued.saturating_mul(1000));
        let until = Timestamp::from_millis(ends.saturating_mul(1000));
        if now.plus(AHEAD_MAX) < from {
            verdict = Err(Refusal::Future);
        } else if *now < until {
            return Ok(Caller::Application(application.into()));
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::signature::{Issue, Secret, sign};

    const NOW: Timestamp = Timestamp::from_millis(1_772_331_307_000);
    // {"alg":"RS256","typ":"JWT"}
    const RS256: &str = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9";

    /// A token that says it is RS256, with the claims that the signer of webhooks would make.
    fn token(at: Timestamp, application: Option<&str>) -> String {
        let signed = sign(&Secret::new("secret"), Issue { at, id: "a", application }, b"");
        let mut parts = signed.split('.').skip(1);
        format!("Bearer {RS256}.{}.{}", parts.next().unwrap(), parts.next().unwrap())
    }

    const APPLICATION: &str = "11111111-2222-4333-8444-555555555555";

    #[test]
    fn a_fresh_token_of_an_application_is_taken() {
        let caller = check(Some(&token(NOW, Some(APPLICATION))), &[NOW]);
        assert_eq!(caller, Ok(Caller::Application(APPLICATION.into())));
    }

    #[test]
    fn a_token_lives_for_fifteen_minutes_and_may_be_a_minute_ahead() {
        let check_at = |issued: i64| {
            let at = Timestamp::from_millis(NOW.as_millis() + issued * 1000);
            check(Some(&token(at, Some(APPLICATION))), &[NOW]).err()
        };
        assert_eq!(check_at(-899), None);
        assert_eq!(check_at(-900), Some(Refusal::Expired));
        assert_eq!(check_at(60), None);
        assert_eq!(check_at(61), Some(Refusal::Future));
    }

    #[test]
    fn a_token_is_judged_by_the_clock_that_suits_it() {
        let ahead = NOW.plus(Duration::from_hours(48));
        assert!(check(Some(&token(NOW, Some(APPLICATION))), &[ahead, NOW]).is_ok());
    }

    #[test]
    fn what_vonage_would_refuse_is_refused_with_the_reason() {
        let signed = sign(&Secret::new("secret"), Issue { at: NOW, id: "a", application: Some(APPLICATION) }, b"");
        for (header, refusal) in [
            (None, Refusal::Missing),
            (Some("token".to_owned()), Refusal::Scheme),
            (Some("Digest abc".to_owned()), Refusal::Scheme),
            (Some("Bearer abc".to_owned()), Refusal::NotAToken),
            (Some("Basic !".to_owned()), Refusal::Basic),
            (Some(format!("Bearer {signed}")), Refusal::Algorithm),
            (Some(token(NOW, None)), Refusal::Application),
            (Some(token(NOW, Some("callout"))), Refusal::Application),
        ] {
            assert_eq!(check(header.as_deref(), &[NOW]), Err(refusal), "{header:?}");
        }
        // key:secret
        assert_eq!(check(Some("Basic a2V5OnNlY3JldA=="), &[NOW]), Ok(Caller::Account));
    }
}
