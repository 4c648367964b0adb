//! callout's own form of the configuration.

use std::collections::BTreeSet;
use std::path::Path;

use super::draft::Draft;
use super::keeping;
use super::messenger;
use super::problem::Report;
use super::section::{Given, Section, Written, text};
use super::sender::{Form, SenderKey};
use super::tree::{Node, Value};
use crate::escalation::Backend;

const KEYS: [&str; 16] = [
    "server",
    "store",
    "retention",
    "backup",
    "heartbeat",
    "vonage",
    "users",
    "policies",
    "integrations",
    "text",
    "whatsapp_template",
    "confirm",
    "callbacks",
    "smtp",
    "alarms",
    "$schema",
];
const SERVER_KEYS: [&str; 4] = ["listen", "public_url", "api_key", "api_keys"];
const VONAGE_KEYS: [&str; 10] = [
    "backend",
    "application_id",
    "private_key",
    "signature_secret",
    "signature_age_max",
    "from",
    "max_per_second",
    "messenger",
    "url",
    "rcs_url",
];

/// Finds the values of the form's keys.
pub(super) fn read<'t>(root: &'t Node, folder: &'t Path, report: &mut Report) -> Option<Draft<'t>> {
    let top = Section::open(root, "the file", &KEYS, report)?;
    let server = top.section("server", &SERVER_KEYS, report);
    if top.lacks("vonage") {
        let hint = "it holds the application id, the private key and the senders";
        report.error_with_hint(top.place, "`vonage` is missing", Some(hint.into()));
    }
    let vonage = top.section("vonage", &VONAGE_KEYS, report);
    let (senders, reported_senders) = senders(vonage, folder, report);
    let signature_secrets = signature_secrets(vonage, folder, report);
    let messenger = vonage.and_then(|vonage| vonage.section("messenger", &messenger::KEYS, report));
    let mut value = |section: Option<Section<'t, '_>>, key: &str| match section {
        None => Written::Absent,
        Some(section) => section.text(key, report).map(|(scalar, place)| Given::from_file(scalar, place, folder)),
    };
    let listen = value(server, "listen");
    let public_url = value(server, "public_url");
    let api_key = value(server, "api_key");
    let store = value(Some(top), "store");
    let retention = value(Some(top), "retention");
    let backend = value(vonage, "backend");
    let vonage_url = value(vonage, "url");
    let rcs_url = value(vonage, "rcs_url");
    let max_per_second = value(vonage, "max_per_second");
    let signature_age_max = value(vonage, "signature_age_max");
    // A section that is missing altogether has been reported as such, once.
    let mut credential = |key| if vonage.is_some() { value(vonage, key) } else { Written::Reported };
    let application_id = credential("application_id");
    let private_key = credential("private_key");
    Some(Draft {
        form: Form::Native,
        backend_default: Backend::Messages,
        listen,
        public_url,
        api_key,
        api_keys: server.map_or(Written::Absent, |server| server.list("api_keys", report)),
        store,
        retention,
        backup: top.section("backup", &keeping::BACKUP_KEYS, report),
        heartbeat: top.section("heartbeat", &keeping::HEARTBEAT_KEYS, report),
        backend,
        vonage_url,
        rcs_url,
        max_per_second,
        credentials: ("vonage", vonage.map_or(top.place, |vonage| vonage.place)),
        application_id: ("application_id", application_id),
        private_key: ("private_key", private_key),
        signature_secrets,
        signature_age_max,
        senders,
        reported_senders,
        messenger,
        users: ("users", top.list("users", report)),
        policies: top.list("policies", report),
        top,
    })
}

fn senders<'t>(
    vonage: Option<Section<'t, '_>>,
    folder: &'t Path,
    report: &mut Report,
) -> (Vec<(SenderKey, Given<'t>)>, BTreeSet<SenderKey>) {
    let known: Vec<&str> = SenderKey::ALL.iter().filter_map(|key| key.name(Form::Native)).collect();
    let mut senders = Vec::new();
    let mut reported = BTreeSet::new();
    let Some(vonage) = vonage else {
        return (senders, SenderKey::ALL.into());
    };
    if vonage.lacks("from") {
        let hint = format!("it holds {}", super::suggestion::listed(&known));
        report.error_with_hint(vonage.place, "`from` is missing", Some(hint.into()));
        return (senders, SenderKey::ALL.into());
    }
    let Some(from) = vonage.section("from", &known, report) else {
        return (senders, SenderKey::ALL.into());
    };
    for key in SenderKey::ALL {
        let Some(name) = key.name(Form::Native) else { continue };
        match from.text(name, report) {
            Written::Absent => {}
            Written::Given((scalar, place)) => senders.push((key, Given::from_file(scalar, place, folder))),
            Written::Reported => drop(reported.insert(key)),
        }
    }
    (senders, reported)
}

/// One secret, or several while a new one replaces an old one.
fn signature_secrets<'t>(vonage: Option<Section<'t, '_>>, folder: &'t Path, report: &mut Report) -> Vec<Given<'t>> {
    let Some(node) = vonage.and_then(|vonage| vonage.node("signature_secret")) else { return Vec::new() };
    let items = match &node.value {
        Value::List(items) => items.as_slice(),
        Value::Null | Value::Scalar(_) | Value::Map(_) | Value::Reported => std::slice::from_ref(node),
    };
    items
        .iter()
        .filter_map(|item| text(item, "`signature_secret`", report).given())
        .map(|(scalar, place)| Given::from_file(scalar, place, folder))
        .collect()
}
