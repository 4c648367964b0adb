//! Integrations: which tools may raise alerts, each in its own form, with a key of its own.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::api_key;
use super::policy::Policies;
use super::problem::{Place, Report, quoted};
use super::section::{Given, Section, Written, text};
use super::suggestion;
use super::tree::{self, Node, Scalar};
use super::{KeyHash, Server};
use crate::integrations::{Field, Form, Kind, MAP_DETAILS_MAX, Mapping, Seal};

/// The most integrations of a file. They are counted apart in the metrics.
pub const INTEGRATIONS_MAX: usize = 100;
/// The most characters of an integration's name.
pub const INTEGRATION_NAME_CHARS_MAX: usize = 64;

const KEYS: [&str; 8] = ["name", "kind", "key", "policy", "hmac_secret", "hmac_header", "hmac_timestamp_header", "map"];
const MAP_KEYS: [&str; 6] = ["message", "dedup_key", "severity", "link", "action", "details"];

/// A tool that may raise alerts.
#[derive(Clone, Debug)]
pub struct Integration {
    /// What it is called in its address, in metrics, and as the source of its alerts; no two alike.
    pub name: Arc<str>,
    /// What is kept of its key; no two alike, and none the same as a key of the API.
    pub key: KeyHash,
    /// Who is called; the first policy if it is not set.
    pub policy: Option<Box<str>>,
    /// What it posts.
    pub form: Form,
}

/// Reads the list.
pub(super) fn read(
    list: Written<(&[Node], Place)>,
    policies: Option<&Policies>,
    server: &Server,
    report: &mut Report,
) -> Vec<Integration> {
    let Written::Given((items, place)) = list else { return Vec::new() };
    if items.len() > INTEGRATIONS_MAX {
        report.error(place, format!("there are {} integrations; {INTEGRATIONS_MAX} is the most", items.len()));
    }
    let mut integrations: Vec<Integration> = Vec::new();
    let mut names = BTreeSet::new();
    for item in items.iter().take(INTEGRATIONS_MAX) {
        let Some(section) = Section::open(item, "an integration", &KEYS, report) else { continue };
        let name = read_name(section, report);
        if let Some(name) = &name
            && !names.insert(Arc::clone(name))
        {
            report.error(section.place_of("name"), format!("there are two integrations called {}", quoted(name)));
        }
        let key = read_key(section, server, &integrations, report);
        let policy = read_policy(section, policies, report);
        let form = read_form(section, report);
        if let (Some(name), Some(key), Some(policy), Some(form)) = (name, key, policy, form) {
            integrations.push(Integration { name, key, policy, form });
        }
    }
    integrations
}

fn read_name(section: Section<'_, '_>, report: &mut Report) -> Option<Arc<str>> {
    let hint = "it stands in the address, /integrations/<name>";
    let name = section.text("name", report).or_missing(section.place, "name", Some(hint), report);
    let (scalar, place) = name?;
    let name = scalar.text.trim();
    let is_plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.' | '~');
    let is_sound = name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.chars().all(is_plain)
        && name.len() <= INTEGRATION_NAME_CHARS_MAX;
    if !is_sound {
        let hint = format!(
            "1 to {INTEGRATION_NAME_CHARS_MAX} letters, digits, `-`, `_`, `.` and `~`, beginning with a letter or digit"
        );
        let message = format!("{} cannot stand in an address", quoted(&scalar.written));
        report.error_with_hint(place, message, Some(hint.into()));
        return None;
    }
    Some(name.into())
}

fn read_key(section: Section<'_, '_>, server: &Server, others: &[Integration], report: &mut Report) -> Option<KeyHash> {
    let hint = "the tool sends it, so that nobody else can raise alerts here";
    let (scalar, place) = section.text("key", report).or_missing(section.place, "key", Some(hint), report)?;
    let key = api_key::key(given(scalar, place), "the key", server.listen, report)?;
    let hash = KeyHash::of(key.reveal());
    let opens_the_api = server.api_keys.iter().any(|known| known.hash.is(&hash))
        || server.api_key.as_ref().is_some_and(|known| KeyHash::of(known.reveal()).is(&hash));
    if opens_the_api {
        let hint = "it stands in the tool's addresses; give the integration a key of its own";
        report.error_with_hint(place, "this is a key of the API", Some(hint.into()));
        return None;
    }
    if let Some(other) = others.iter().find(|other| other.key.is(&hash)) {
        let message = format!("the integration {} has the same key", quoted(&other.name));
        report.error_with_hint(place, message, Some("give each its own".into()));
        return None;
    }
    Some(hash)
}

/// The policy's name, if one is given and exists.
#[expect(clippy::option_option, reason = "none at all, and none that can be used, are two things")]
fn read_policy(section: Section<'_, '_>, policies: Option<&Policies>, report: &mut Report) -> Option<Option<Box<str>>> {
    let (scalar, place) = match section.text("policy", report) {
        Written::Absent => return Some(None),
        Written::Reported => return None,
        Written::Given(given) => given,
    };
    let name = scalar.text.trim();
    // Where no policy could be read, that has been said.
    let Some(policies) = policies else { return Some(Some(name.into())) };
    if policies.get(name).is_some() {
        return Some(Some(name.into()));
    }
    let known: Vec<&str> = policies.iter().map(|policy| &*policy.name).collect();
    let hint = suggestion::hint(name, "the policies are", &known);
    report.error_with_hint(place, format!("{} is not a policy", quoted(&scalar.written)), Some(hint));
    None
}

fn read_form(section: Section<'_, '_>, report: &mut Report) -> Option<Form> {
    let names = Kind::ALL.map(Kind::name);
    let hint = format!("the kinds are {}", suggestion::listed(&names));
    let (scalar, place) = section.text("kind", report).or_missing(section.place, "kind", Some(&hint), report)?;
    let written = scalar.text.trim();
    let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.name() == written) else {
        let hint = suggestion::hint(written, "the kinds are", &names);
        report.error_with_hint(place, format!("{} is not a kind of integration", quoted(&scalar.written)), Some(hint));
        return None;
    };
    for (key, of) in [
        ("hmac_secret", Kind::Grafana),
        ("hmac_header", Kind::Grafana),
        ("hmac_timestamp_header", Kind::Grafana),
        ("map", Kind::Json),
    ] {
        if let Some(entry) = section.entry(key).filter(|_entry| kind != of) {
            let message = format!("`{key}` means nothing for the kind `{}`", kind.name());
            report.error_with_hint(
                entry.key_place,
                message,
                Some(format!("it is for the kind `{}`", of.name()).into()),
            );
        }
    }
    match kind {
        Kind::Alertmanager => Some(Form::Alertmanager),
        Kind::Grafana => read_seal(section, report).map(Form::Grafana),
        Kind::Pagerduty => Some(Form::Pagerduty),
        Kind::Opsgenie => Some(Form::Opsgenie),
        Kind::Goalert => Some(Form::Goalert),
        Kind::Json => read_map(section, report).map(|map| Form::Json(Arc::new(map))),
    }
}

/// How Grafana signs, if it does.
#[expect(clippy::option_option, reason = "no seal, and one that cannot be used, are two things")]
fn read_seal(section: Section<'_, '_>, report: &mut Report) -> Option<Option<Arc<Seal>>> {
    let header = read_header(section, "hmac_header", report);
    let timestamp_header = read_header(section, "hmac_timestamp_header", report);
    let (scalar, place) = match section.text("hmac_secret", report) {
        Written::Given(given) => given,
        Written::Reported => return None,
        Written::Absent => {
            if let Some(entry) = section.entry("hmac_header").or_else(|| section.entry("hmac_timestamp_header")) {
                let message = format!("`{}` means nothing without `hmac_secret`", entry.key);
                report.error_with_hint(entry.key_place, message, Some("give Grafana's HMAC secret".into()));
            }
            return Some(None);
        }
    };
    if scalar.text.is_empty() {
        report.error_with_hint(place, "`hmac_secret` is empty", Some("the secret of Grafana's contact point".into()));
        return None;
    }
    Some(Some(Arc::new(Seal::new(&scalar.text, header.given(), timestamp_header.given()))))
}

fn read_header<'t>(section: Section<'t, '_>, key: &str, report: &mut Report) -> Written<&'t str> {
    match section.text(key, report) {
        Written::Absent => Written::Absent,
        Written::Reported => Written::Reported,
        Written::Given((scalar, place)) => {
            let name = scalar.text.trim();
            let is_of_names = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            if !name.is_empty() && name.bytes().all(is_of_names) {
                return Written::Given(name);
            }
            let hint = "for example X-Grafana-Alerting-Signature";
            report.error_with_hint(place, format!("`{key}` is not the name of a header"), Some(hint.into()));
            Written::Reported
        }
    }
}

fn read_map(section: Section<'_, '_>, report: &mut Report) -> Option<Mapping> {
    if section.lacks("map") {
        let hint = "for example `map: { message: \"{{ body.title }}\", dedup_key: \"{{ body.id }}\" }`";
        report.error_with_hint(section.place, "`map` is missing", Some(hint.into()));
        return None;
    }
    let map = section.section("map", &MAP_KEYS, report)?;
    let mut mapping = Mapping::new();
    let mut is_sound = true;
    for field in Field::ALL {
        match map.text(field.key(), report) {
            Written::Absent => {}
            Written::Reported => is_sound = false,
            Written::Given((scalar, place)) => is_sound &= add(&mut mapping, field, scalar, place, report),
        }
    }
    if map.lacks("message") {
        let hint = "it is the text that people must read, for example `\"{{ body.title }}\"`";
        report.error_with_hint(map.place, "`message` is missing in `map`", Some(hint.into()));
        is_sound = false;
    }
    if map.lacks("dedup_key") {
        let hint = "without it each request raises an alert, and none can be resolved by the tool";
        report.warning(map.place, "`dedup_key` is missing in `map`", hint);
    }
    if let Some(details) = map.node("details") {
        is_sound &= read_details(details, &mut mapping, report);
    }
    is_sound.then_some(mapping)
}

fn read_details(node: &Node, mapping: &mut Mapping, report: &mut Report) -> bool {
    let tree::Value::Map(entries) = &node.value else {
        let hint = "for example `details: { host: \"{{ body.host }}\" }`; without it the whole body is kept";
        report.error_with_hint(node.place, "`details` must be a mapping of names to templates", Some(hint.into()));
        return false;
    };
    if entries.len() > MAP_DETAILS_MAX {
        report.error(node.place, format!("there are {} details; {MAP_DETAILS_MAX} is the most", entries.len()));
        return false;
    }
    let mut is_sound = true;
    for entry in entries {
        is_sound &= match text(&entry.node, &format!("`{}`", entry.key), report) {
            Written::Given((scalar, place)) => add(mapping, Field::Detail(entry.key.clone()), scalar, place, report),
            Written::Absent | Written::Reported => false,
        };
    }
    is_sound
}

fn add(mapping: &mut Mapping, field: Field, scalar: &Scalar, place: Place, report: &mut Report) -> bool {
    let key = field.key().to_owned();
    match mapping.add(field, &scalar.text) {
        Ok(()) => true,
        Err(error) => {
            let hint = "templates are Jinja's, and the posted JSON is `body`";
            report.error_with_hint(place, format!("the template of `{key}` {error}"), Some(hint.into()));
            false
        }
    }
}

fn given(scalar: &Scalar, place: Place) -> Given<'_> {
    Given { text: &scalar.text, written: &scalar.written, place, folder: None }
}
