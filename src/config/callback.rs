//! The endpoints of callbacks: who is told, of what, and how it is signed.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::Url;

use super::problem::{Place, Report, quoted};
use super::section::{Section, Written, text};
use super::suggestion;
use super::tree::{Node, Value};
use crate::callback::Topic;
use crate::target::Allowed;

/// The most endpoints; each has a loop of its own, and each wanted event is a row for each of them.
pub const CALLBACKS_MAX: usize = 16;
/// The most secrets of one endpoint: the old, the new, and one more.
pub const CALLBACK_SECRETS_MAX: usize = 3;
/// The most names and addresses that one endpoint may be allowed.
pub const CALLBACK_ALLOW_MAX: usize = 50;
/// The fewest and the most bytes of a secret (Standard Webhooks, "signature scheme").
pub const CALLBACK_SECRET_BYTES_MIN: usize = 24;
/// See [`CALLBACK_SECRET_BYTES_MIN`].
pub const CALLBACK_SECRET_BYTES_MAX: usize = 64;

const KEYS: [&str; 4] = ["url", "secret", "events", "allow"];
/// What a secret begins with.
const SECRET_PREFIX: &str = "whsec_";
const SECRET_HINT: &str = "`whsec_` and the base64 of 24 to 64 random bytes: \
                           printf 'whsec_%s\\n' \"$(openssl rand -base64 32)\"";

/// An endpoint of callbacks.
#[derive(Clone, Debug)]
pub struct Callback {
    /// Where callbacks go.
    pub url: Url,
    /// What they are signed with; several while one replaces another.
    pub secrets: Vec<CallbackSecret>,
    /// What it is told of.
    pub topics: Vec<Topic>,
    /// What it may lead to although it is not the world outside.
    pub allowed: Allowed,
}

/// The decoded bytes of a secret.
#[derive(Clone)]
pub struct CallbackSecret(Box<[u8]>);

impl CallbackSecret {
    /// The bytes, for the one place that signs.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for CallbackSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[secret]")
    }
}

/// Reads the list of endpoints.
pub(super) fn read(top: &Section<'_, '_>, report: &mut Report) -> Vec<Callback> {
    let Some((items, place)) = top.list("callbacks", report).given() else { return Vec::new() };
    if items.len() > CALLBACKS_MAX {
        report.error(place, format!("there are {} callbacks; {CALLBACKS_MAX} is the most", items.len()));
    }
    let mut callbacks: Vec<Callback> = Vec::new();
    for item in items.iter().take(CALLBACKS_MAX) {
        let Some((callback, place)) = read_one(item, report) else { continue };
        if callbacks.iter().any(|other| other.url == callback.url) {
            let hint = "name all of its `events` in one entry";
            report.error_with_hint(place, "another entry of `callbacks` has this `url` too", Some(hint.into()));
        } else {
            callbacks.push(callback);
        }
    }
    callbacks
}

fn read_one(node: &Node, report: &mut Report) -> Option<(Callback, Place)> {
    let section = Section::open(node, "an entry of `callbacks`", &KEYS, report)?;
    let allowed = allowed(section, report);
    let url = section.text("url", report);
    let url = url.or_missing(section.place, "url", Some("for example https://ops.example.org/hook"), report);
    let url = url.and_then(|(scalar, place)| read_url(&scalar.text, place, &allowed, report));
    let secrets = secrets(section, report);
    let topics = topics(section, report);
    let callback = Callback { url: url?, secrets: secrets?, topics: topics?, allowed };
    Some((callback, section.place_of("url")))
}

/// The complaints name no part of the URL, which may hold a token.
fn read_url(text: &str, place: Place, allowed: &Allowed, report: &mut Report) -> Option<Url> {
    let Ok(mut url) = Url::parse(text.trim()) else {
        let hint = "for example https://ops.example.org/hook";
        report.error_with_hint(place, "the `url` of a callback cannot be read", Some(hint.into()));
        return None;
    };
    url.set_fragment(None);
    if let Err(refused) = allowed.check(&url) {
        let hint = url.host_str().map(|host| format!("if that is meant: allow: [\"{host}\"]").into());
        report.error_with_hint(place, format!("the `url` of a callback {refused}"), hint);
        return None;
    }
    Some(url)
}

fn allowed(section: Section<'_, '_>, report: &mut Report) -> Allowed {
    let mut allowed = Allowed::default();
    let Some((items, place)) = section.list("allow", report).given() else { return allowed };
    if items.len() > CALLBACK_ALLOW_MAX {
        let message = format!("`allow` names {} hosts; {CALLBACK_ALLOW_MAX} is the most", items.len());
        report.error(place, message);
    }
    for item in items.iter().take(CALLBACK_ALLOW_MAX) {
        let Some((scalar, place)) = text(item, "an entry of `allow`", report).given() else { continue };
        let is_host = !scalar.text.trim().is_empty() && !scalar.text.contains(['/', '@', '*', ' ']);
        if is_host {
            allowed.allow(&scalar.text);
        } else {
            let message = format!("{} is neither a host's name nor an address", quoted(&scalar.written));
            let hint = "for example hooks.internal or 10.1.2.3; no pattern, no network, no port";
            report.error_with_hint(place, message, Some(hint.into()));
        }
    }
    allowed
}

/// One secret, or several while a new one replaces an old one.
fn secrets(section: Section<'_, '_>, report: &mut Report) -> Option<Vec<CallbackSecret>> {
    let Some(node) = section.node("secret") else {
        if section.lacks("secret") {
            report.error_with_hint(section.place, "`secret` is missing", Some(SECRET_HINT.into()));
        }
        return None;
    };
    let items = match &node.value {
        Value::List(items) => items.as_slice(),
        Value::Null | Value::Scalar(_) | Value::Map(_) | Value::Reported => std::slice::from_ref(node),
    };
    if items.is_empty() || items.len() > CALLBACK_SECRETS_MAX {
        let message = format!("`secret` must hold 1 to {CALLBACK_SECRETS_MAX} secrets, not {}", items.len());
        report.error(node.place, message);
        return None;
    }
    let secrets: Vec<CallbackSecret> = items.iter().filter_map(|item| secret(item, report)).collect();
    (secrets.len() == items.len()).then_some(secrets)
}

fn secret(node: &Node, report: &mut Report) -> Option<CallbackSecret> {
    let (scalar, place) = text(node, "`secret`", report).given()?;
    let bytes = scalar.text.trim().strip_prefix(SECRET_PREFIX).and_then(|rest| STANDARD.decode(rest).ok());
    match bytes {
        Some(bytes) if (CALLBACK_SECRET_BYTES_MIN..=CALLBACK_SECRET_BYTES_MAX).contains(&bytes.len()) => {
            Some(CallbackSecret(bytes.into()))
        }
        Some(bytes) => {
            let message = format!("the `secret` of a callback has {} bytes", bytes.len());
            report.error_with_hint(place, message, Some(SECRET_HINT.into()));
            None
        }
        None => {
            report.error_with_hint(place, "the `secret` of a callback cannot be read", Some(SECRET_HINT.into()));
            None
        }
    }
}

/// What an endpoint is told of; of everything if it names nothing.
fn topics(section: Section<'_, '_>, report: &mut Report) -> Option<Vec<Topic>> {
    let items = match section.list("events", report) {
        Written::Absent => return Some(Topic::ALL.into()),
        Written::Reported => return None,
        Written::Given((items, _place)) => items,
    };
    let names = Topic::ALL.map(Topic::name);
    let mut topics = Vec::new();
    let mut is_sound = true;
    for item in items {
        let Some((scalar, place)) = text(item, "an event", report).given() else {
            is_sound = false;
            continue;
        };
        match Topic::named(scalar.text.trim()) {
            Some(topic) if topics.contains(&topic) => {}
            Some(topic) => topics.push(topic),
            None => {
                let hint = suggestion::hint(scalar.text.trim(), "the events are", &names);
                report.error_with_hint(place, format!("{} is not an event", quoted(&scalar.written)), Some(hint));
                is_sound = false;
            }
        }
    }
    if topics.is_empty() && is_sound {
        let hint = format!("leave out `events` for all of {}", suggestion::listed(&names));
        report.error_with_hint(section.place_of("events"), "`events` names nothing", Some(hint.into()));
        return None;
    }
    is_sound.then_some(topics)
}
