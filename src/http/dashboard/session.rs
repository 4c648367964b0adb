//! Sessions of browsers: a cookie that says until when, and as whom, and which proves that whoever got it knew
//! an API key.
//!
//! Nothing is kept of a session, and the key is not in it: the proof is an HMAC over the session and the hash of
//! the key, under a secret of the store. So it is good after a restart and at every process on the store, it ends
//! when its key is taken out of the configuration or exchanged, and a stolen database alone makes none.

use std::time::Duration;

use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::config::{ApiKey, KeyHash};
use crate::timestamp::Timestamp;

/// How long a browser stays signed in.
pub const SESSION_LIFETIME: Duration = Duration::from_hours(12);
/// The largest cookie of ours that is looked at.
pub const SESSION_BYTES_MAX: usize = 1_024;
/// The secret of the store that sessions are made with.
pub(super) const SECRET: &str = "sessions";

/// The cookie's name where the browser came by https: the prefix makes browsers take it from nobody else.
pub(in crate::http) const COOKIE_OVER_TLS: &str = "__Host-callout";
/// And where it came by plain http, which must be this machine or a network of one's own.
pub(in crate::http) const COOKIE_IN_THE_CLEAR: &str = "callout";

/// Makes and checks sessions.
pub(in crate::http) struct SessionKey(hmac::Key);

impl std::fmt::Debug for SessionKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SessionKey([secret])")
    }
}

/// What a cookie says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::http) struct Session {
    /// Who it is, where they said so.
    pub(in crate::http) person: Option<Box<str>>,
    /// When it ends.
    pub(in crate::http) until: Timestamp,
}

impl SessionKey {
    /// From the store's secret.
    pub(in crate::http) fn new(secret: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// The value of the cookie of somebody who knew the key.
    pub(in crate::http) fn seal(&self, session: &Session, key: &ApiKey) -> String {
        let said = said(session);
        let tag = self.tag(&said, &key.hash);
        format!("{said}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
    }

    /// The session in a cookie's value and the key that it was made with, if it is one of ours and not over.
    ///
    /// Each key comes as its hash, with whatever the caller knows it by.
    pub(in crate::http) fn open<'k, K>(
        &self,
        sealed: &str,
        keys: impl Iterator<Item = (&'k KeyHash, K)>,
        now: Timestamp,
    ) -> Option<(Session, K)> {
        if sealed.len() > SESSION_BYTES_MAX {
            return None;
        }
        let (said, tag) = sealed.rsplit_once('.')?;
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
        let is_of = |hash| constant_time::verify_slices_are_equal(self.tag(said, hash).as_ref(), &tag).is_ok();
        let key = keys.fold(None, |found, (hash, key)| if is_of(hash) { Some(key) } else { found })?;
        let session = read(said)?;
        (session.until > now).then_some((session, key))
    }

    fn tag(&self, said: &str, key: &KeyHash) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(b"callout session\n");
        context.update(key.bytes());
        context.update(said.as_bytes());
        context.sign()
    }
}

fn said(session: &Session) -> String {
    let person = session.person.as_deref().unwrap_or_default();
    format!("1.{:x}.{}", session.until.as_millis(), URL_SAFE_NO_PAD.encode(person))
}

fn read(said: &str) -> Option<Session> {
    let (until, person) = said.strip_prefix("1.")?.split_once('.')?;
    let until = Timestamp::from_millis(i64::from_str_radix(until, 16).ok()?);
    let person = String::from_utf8(URL_SAFE_NO_PAD.decode(person).ok()?).ok()?;
    Some(Session { person: (!person.is_empty()).then(|| person.into()), until })
}

/// The header that gives a browser its session.
pub(super) fn given(sealed: &str, over_tls: bool) -> String {
    let (name, secure) = naming(over_tls);
    let seconds = SESSION_LIFETIME.as_secs();
    format!("{name}={sealed}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
}

/// The headers that take it away again, whichever it has.
pub(super) fn taken_away() -> [String; 2] {
    [true, false].map(|over_tls| {
        let (name, secure) = naming(over_tls);
        format!("{name}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict{secure}")
    })
}

const fn naming(over_tls: bool) -> (&'static str, &'static str) {
    if over_tls { (COOKIE_OVER_TLS, "; Secure") } else { (COOKIE_IN_THE_CLEAR, "") }
}

/// The session's cookie among all cookies; the one that came by https is preferred.
pub(in crate::http) fn cookie(cookies: &str) -> Option<&str> {
    let of = |wanted: &str| {
        let mut pairs = cookies.split(';').filter_map(|pair| pair.trim().split_once('='));
        pairs.find(|(name, _)| *name == wanted).map(|(_, value)| value)
    };
    of(COOKIE_OVER_TLS).or_else(|| of(COOKIE_IN_THE_CLEAR))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    const NOON: Timestamp = Timestamp::from_millis(1_772_366_400_000);

    #[test]
    fn a_session_is_good_for_its_key_and_its_time_and_nothing_else() {
        let (ours, other) = (ApiKey::the_one(&Secret::new("key-1")), ApiKey::the_one(&Secret::new("key-2")));
        let session = Session { person: Some("Åsa. O'Neill".into()), until: NOON.plus(SESSION_LIFETIME) };
        let key = SessionKey::new(&[7; 32]);
        let sealed = key.seal(&session, &ours);
        assert!(!sealed.contains("key-1"));
        let open = |key: &SessionKey, sealed: &str, keys: &[ApiKey], now| {
            key.open(sealed, keys.iter().map(|key| (&key.hash, key)), now).map(|(session, _)| session)
        };
        let both = [other.clone(), ours.clone()];
        assert_eq!(open(&key, &sealed, &both, NOON), Some(session.clone()));
        assert_eq!(open(&key, &sealed, &both, session.until), None, "it is over");
        assert_eq!(open(&key, &sealed, std::slice::from_ref(&other), NOON), None, "its key is gone");
        assert_eq!(open(&SessionKey::new(&[8; 32]), &sealed, &both, NOON), None, "another store");
        let later = sealed.replacen("1.", "1.f", 1);
        assert_eq!(open(&key, &later, &both, NOON), None, "somebody made it longer");
        for wrong in ["", ".", "1..", "1.0..", &"a".repeat(2_000), &sealed.replace('.', "")] {
            assert_eq!(open(&key, wrong, &both, NOON), None, "{wrong}");
        }
    }

    #[test]
    fn the_cookie_that_only_https_can_set_is_preferred() {
        assert_eq!(cookie("a=b; callout=plain; __Host-callout=tls"), Some("tls"));
        assert_eq!(cookie("xcallout=no; callout=plain"), Some("plain"));
        assert_eq!(cookie("xcallout=no"), None);
        assert!(given("x", true).contains("__Host-callout=x; Path=/; ") && given("x", true).ends_with("; Secure"));
        assert!(!given("x", false).contains("Secure"));
    }
}
