//! The JSON of Vonage's tutorial, read as it is.
//!
//! `APP`, `FROM` and `USERS` in capitals, exactly as the tutorial has them, with the times and
//! conditions for each channel that its third case adds. There is one policy, `default`; whatever
//! the form has no key for comes from flags, environment and defaults.

use std::collections::BTreeSet;
use std::path::Path;

use super::draft::Draft;
use super::problem::Report;
use super::section::{Given, Section, Written};
use super::sender::{Form, SenderKey};
use super::tree::{Node, Value};
use crate::escalation::Backend;

const KEYS: [&str; 4] = ["APP", "FROM", "USERS", "$schema"];
const APP_KEYS: [&str; 2] = ["APP_ID", "PRIVATE_KEY"];
const FROM_KEYS: [&str; 4] = ["MESSENGER", "VIBER", "WHATSAPP", "SMS"];

/// Whether a file is written in this form.
pub(super) fn is_meant(root: &Node) -> bool {
    match &root.value {
        Value::Map(entries) => entries.iter().any(|entry| matches!(&*entry.key, "APP" | "FROM" | "USERS")),
        Value::Null | Value::Scalar(_) | Value::List(_) | Value::Reported => false,
    }
}

/// Finds the values of the form's keys.
pub(super) fn read<'t>(root: &'t Node, folder: &'t Path, report: &mut Report) -> Option<Draft<'t>> {
    let top = Section::open(root, "the file", &KEYS, report)?;
    let app = part(&top, "APP", &APP_KEYS, report);
    let from = part(&top, "FROM", &FROM_KEYS, report);
    let mut value = |section: Option<Section<'t, '_>>, key: &str| match section {
        None => Written::Reported,
        Some(section) => section.text(key, report).map(|(scalar, place)| Given::from_file(scalar, place, folder)),
    };
    let application_id = value(app, "APP_ID");
    let private_key = value(app, "PRIVATE_KEY");
    let mut senders = Vec::new();
    let mut reported_senders = BTreeSet::new();
    for key in SenderKey::ALL {
        let Some(name) = key.name(Form::Tutorial) else { continue };
        match value(from, name) {
            Written::Absent => {}
            Written::Given(given) => senders.push((key, given)),
            Written::Reported => drop(reported_senders.insert(key)),
        }
    }
    Some(Draft {
        form: Form::Tutorial,
        backend_default: Backend::Dispatch,
        listen: Written::Absent,
        public_url: Written::Absent,
        api_key: Written::Absent,
        api_keys: Written::Absent,
        store: Written::Absent,
        retention: Written::Absent,
        backup: None,
        heartbeat: None,
        backend: Written::Absent,
        vonage_url: Written::Absent,
        rcs_url: Written::Absent,
        max_per_second: Written::Absent,
        credentials: ("APP", app.map_or(top.place, |app| app.place)),
        application_id: ("APP_ID", application_id),
        private_key: ("PRIVATE_KEY", private_key),
        signature_secrets: Vec::new(),
        signature_age_max: Written::Absent,
        senders,
        reported_senders,
        messenger: None,
        users: ("USERS", top.list("USERS", report)),
        policies: Written::Absent,
        top,
    })
}

fn part<'t, 'k>(
    top: &Section<'t, '_>,
    key: &str,
    known: &'k [&'k str],
    report: &mut Report,
) -> Option<Section<'t, 'k>> {
    if top.lacks(key) {
        let hint = format!("it holds {}", super::suggestion::listed(known));
        report.error_with_hint(top.place, format!("`{key}` is missing"), Some(hint.into()));
    }
    top.section(key, known, report)
}
