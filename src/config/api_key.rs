//! The keys of the API: who may call, and what for.
//!
//! A key has a name, by which its answers and its requests are known, and roles, which say what it may
//! do. Of the keys of `server.api_keys` only hashes are kept, whether the file gives the hash or the key
//! itself. SHA-256 without salt or stretching is enough for a key that was drawn at random and for no
//! other, so that short keys are warned of, and refused where strangers can reach the service.
//!
//! `server.api_key` and `CALLOUT_API_KEY` give one key that may do everything, called [`NAME_OF_THE_ONE`].

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use aws_lc_rs::constant_time;

use super::problem::{Place, Report, quoted};
use super::secret::Secret;
use super::section::{Given, Section, Written, text};
use super::tree::Node;
use super::{setting, suggestion, user};
use crate::escalation::Acknowledgement;
use crate::hash::sha256;

/// The fewest characters of an API key that withstands guessing.
pub const API_KEY_CHARS_ADVISED: usize = 16;
/// The most characters of an API key; with the longest one a request's head is still far below its limit.
pub const API_KEY_CHARS_MAX: usize = 1024;
/// The most keys of a file. A key that is sent is compared with all of them.
pub const API_KEYS_MAX: usize = 100;
/// The name of the key that `server.api_key`, `CALLOUT_API_KEY` or the first start gives.
pub const NAME_OF_THE_ONE: &str = Acknowledgement::NOBODY_NAMED;

/// What a hash in the file begins with.
const HASH_PREFIX: &str = "sha256:";
const KEYS: [&str; 5] = ["name", "key", "key_hash", "roles", "max_per_second"];

/// Something that a key may be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Raise alerts.
    Raise,
    /// See alerts.
    Read,
    /// Acknowledge and resolve alerts, and send them to the next user.
    Answer,
    /// All of it.
    Admin,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Raise, Self::Read, Self::Answer, Self::Admin];

    /// Its name in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raise => "raise",
            Self::Read => "read",
            Self::Answer => "answer",
            Self::Admin => "admin",
        }
    }
}

/// The roles of a key; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roles(BTreeSet<Role>);

impl Roles {
    /// May do everything.
    pub fn admin() -> Self {
        Self(BTreeSet::from([Role::Admin]))
    }

    /// Whether what needs this role may be done.
    pub fn allow(&self, role: Role) -> bool {
        self.0.contains(&role) || self.0.contains(&Role::Admin)
    }
}

/// The SHA-256 of a key; all that is kept of it.
#[derive(Clone)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// The hash of a key.
    pub fn of(key: &str) -> Self {
        Self(sha256(key.as_bytes()))
    }

    /// The hash itself, for what is derived from it.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The hash that is written out in 64 hexadecimal digits.
    fn written(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            let pair =
                std::str::from_utf8(pair).ok().filter(|pair| pair.bytes().all(|digit| digit.is_ascii_hexdigit()));
            *byte = u8::from_str_radix(pair?, 16).ok()?;
        }
        (digits.len() == 2 * hash.len()).then_some(Self(hash))
    }

    /// Whether both are of the same key. It takes the same time either way.
    pub fn is(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[hash]")
    }
}

/// A key and what it may do.
#[derive(Clone, Debug)]
pub struct ApiKey {
    /// What it is called in answers and problems; no two keys alike.
    pub name: Arc<str>,
    /// What is kept of it.
    pub hash: KeyHash,
    /// What it may do.
    pub roles: Roles,
    /// How many alerts it may raise in a second, if that is limited.
    pub max_per_second: Option<NonZeroU32>,
}

impl ApiKey {
    /// The one key of a service that has no others: it may do everything.
    pub fn the_one(key: &Secret) -> Self {
        let hash = KeyHash::of(key.reveal());
        Self { name: NAME_OF_THE_ONE.into(), hash, roles: Roles::admin(), max_per_second: None }
    }
}

/// A key that callers send, at a service that listens at `listen`.
pub(super) fn api_key(given: Given<'_>, listen: SocketAddr, report: &mut Report) -> Option<Secret> {
    key(given, "the API key", listen, report)
}

/// As [`api_key`], for a key that people know as `name`.
pub(super) fn key(given: Given<'_>, name: &str, listen: SocketAddr, report: &mut Report) -> Option<Secret> {
    let key = given.text.trim();
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        let hint = "letters, digits and punctuation without spaces, as in an HTTP header";
        report.error_with_hint(given.place, format!("{name} cannot be sent as a bearer token"), Some(hint.into()));
        return None;
    }
    if key.len() > API_KEY_CHARS_MAX {
        report.error(given.place, format!("{name} has {} characters; {API_KEY_CHARS_MAX} is the most", key.len()));
        return None;
    }
    if key.len() < API_KEY_CHARS_ADVISED {
        let message = format!("{name} has {} characters", key.len());
        if listen.ip().is_loopback() {
            let hint = format!("{API_KEY_CHARS_ADVISED} or more keep others from guessing it");
            report.warning(given.place, message, hint);
        } else {
            let hint = format!(
                "where others reach the service, {API_KEY_CHARS_ADVISED} or more must keep them from guessing it"
            );
            report.error_with_hint(given.place, message, Some(hint.into()));
            return None;
        }
    }
    Some(Secret::new(key))
}

/// Reads the list of keys. `one` is the key that may do everything, if it is given as well.
pub(super) fn api_keys(
    (items, place): (&[Node], Place),
    one: Option<&Secret>,
    listen: SocketAddr,
    report: &mut Report,
) -> Vec<ApiKey> {
    if items.is_empty() {
        report.error_with_hint(place, "there are no API keys", Some("leave out `api_keys` to have one made".into()));
    }
    if items.len() > API_KEYS_MAX {
        report.error(place, format!("there are {} API keys; {API_KEYS_MAX} is the most", items.len()));
    }
    let mut keys: Vec<ApiKey> = one.map(ApiKey::the_one).into_iter().collect();
    for item in items.iter().take(API_KEYS_MAX) {
        let Some((key, place)) = read_one(item, listen, report) else { continue };
        if keys.iter().any(|other| other.name == key.name) {
            report.error(place, format!("another API key is called {} too", quoted(&key.name)));
        } else if let Some(other) = keys.iter().find(|other| other.hash.is(&key.hash)) {
            let message = format!("{} and {} are the same API key", quoted(&other.name), quoted(&key.name));
            report.error_with_hint(place, message, Some("give each its own".into()));
        } else {
            keys.push(key);
        }
    }
    // The one is known to whoever asked.
    keys.retain(|key| one.is_none() || &*key.name != NAME_OF_THE_ONE);
    keys
}

fn read_one(node: &Node, listen: SocketAddr, report: &mut Report) -> Option<(ApiKey, Place)> {
    let section = Section::open(node, "an entry of `api_keys`", &KEYS, report)?;
    let name = section.text("name", report).or_missing(section.place, "name", None, report);
    let name = name.and_then(|(scalar, place)| user::read_name(scalar, place, report));
    let hash = hash(section, listen, report);
    let roles = match section.list("roles", report) {
        Written::Given((items, place)) => read_roles(items, place, report),
        Written::Absent => {
            let hint = format!("the roles are {}", suggestion::listed(&Role::ALL.map(Role::name)));
            report.error_with_hint(section.place, "`roles` is missing", Some(hint.into()));
            None
        }
        Written::Reported => None,
    };
    let max_per_second = match section.text("max_per_second", report) {
        Written::Absent => Some(None),
        Written::Reported => None,
        Written::Given((scalar, place)) => setting::alerts_per_second(given(scalar, place), report).map(Some),
    };
    let key = ApiKey { name: name?, hash: hash?, roles: roles?, max_per_second: max_per_second? };
    Some((key, section.place_of("name")))
}

/// The key as it is, or its hash.
fn hash(section: Section<'_, '_>, listen: SocketAddr, report: &mut Report) -> Option<KeyHash> {
    match (section.text("key", report), section.text("key_hash", report)) {
        (Written::Given((scalar, place)), Written::Absent) => {
            api_key(given(scalar, place), listen, report).map(|key| KeyHash::of(key.reveal()))
        }
        (Written::Absent, Written::Given((scalar, place))) => {
            let hash = scalar.text.trim().strip_prefix(HASH_PREFIX).and_then(KeyHash::written);
            if hash.is_none() {
                let hint = "`sha256:` and 64 hexadecimal digits, as `printf %s \"$KEY\" | sha256sum` gives them";
                report.error_with_hint(place, "`key_hash` is not the hash of a key", Some(hint.into()));
            }
            hash
        }
        (Written::Absent, Written::Absent) => {
            let hint = "or `key_hash`, `sha256:` and the key's SHA-256";
            report.error_with_hint(section.place, "`key` is missing", Some(hint.into()));
            None
        }
        (Written::Given(_), Written::Given((_, place))) => {
            report.error_with_hint(place, "`key` stands here already", Some("give the key or its hash".into()));
            None
        }
        (Written::Reported, _) | (_, Written::Reported) => None,
    }
}

fn read_roles(items: &[Node], place: Place, report: &mut Report) -> Option<Roles> {
    let names = Role::ALL.map(Role::name);
    if items.is_empty() {
        let hint = suggestion::listed(&names);
        report.error_with_hint(place, "a key without a role may do nothing", Some(hint.into()));
        return None;
    }
    let mut roles = BTreeSet::new();
    let mut is_sound = true;
    for item in items {
        let Written::Given((scalar, place)) = text(item, "a role", report) else {
            is_sound = false;
            continue;
        };
        let written = scalar.text.trim();
        if let Some(role) = Role::ALL.into_iter().find(|role| role.name() == written) {
            roles.insert(role);
        } else {
            let hint = suggestion::hint(written, "the roles are", &names);
            report.error_with_hint(place, format!("{} is not a role", quoted(&scalar.written)), Some(hint));
            is_sound = false;
        }
    }
    is_sound.then_some(Roles(roles))
}

fn given(scalar: &super::tree::Scalar, place: Place) -> Given<'_> {
    Given { text: &scalar.text, written: &scalar.written, place, folder: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_that_of_one_key_and_shows_nothing() {
        // printf %s a-key-for-this-test | sha256sum
        let written = "e3f969b09308662d8fcdde43006ccf91da7473946cd14f1f6284ba0cae44d007";
        assert!(KeyHash::written(written).is_some_and(|hash| hash.is(&KeyHash::of("a-key-for-this-test"))));
        assert!(!KeyHash::of("one key").is(&KeyHash::of("another")));
        assert!(KeyHash::of("one key").is(&KeyHash::of("one key")));
        assert_eq!(format!("{:?}", KeyHash::of("one key")), "[hash]");
        for not_one in [
            "",
            "8c",
            &written.replacen(|_: char| true, "", 1),
            &format!("{written}00"),
            &written.replacen(|_: char| true, "+", 1),
        ] {
            assert!(KeyHash::written(not_one).is_none(), "{not_one}");
        }
    }

    #[test]
    fn only_an_admin_may_do_what_its_roles_do_not_name() {
        for role in Role::ALL {
            assert!(Roles::admin().allow(role));
            for other in Role::ALL {
                let may = Roles(BTreeSet::from([role])).allow(other);
                assert_eq!(may, role == other || role == Role::Admin, "{role:?} {other:?}");
            }
        }
    }
}
