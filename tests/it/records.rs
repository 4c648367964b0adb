//! The stored forms: what is written is read back, and what was ever shipped still is.

#![expect(clippy::expect_used, reason = "a test ends where it is surprised")]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use callout::contact::Channel;
use callout::escalation::{Alert, Backend, Confirm, Failure, Plan, Raised, ReportStatus, Severity, WorkflowOutcome};
use callout::id::{AlertId, AlertNumber, AttemptRef};
use callout::incoming::{Foreign, InboundMessage, Incoming, MessageStatus, WorkflowEnd};
use callout::store::record::{
    Error, read_alert, read_incoming, read_plan, read_raised, write_incoming, write_plan, write_raised, write_state,
};
use callout::wording::{Button, Template, WhatsappTemplate, Wording};
use serde_json::{Value, json};

use crate::alerts::{Dice, address, after_everybody, at, begin, plan, provider_id, raised, wander};

/// An alert, as its three records.
struct Records {
    plan: String,
    raised: String,
    state: String,
}

impl Records {
    fn of(alert: &Alert) -> Self {
        Self {
            plan: write_plan(alert.plan()).expect("it can be written").record,
            raised: write_raised(&alert.raised).expect("it can be written"),
            state: write_state(alert).expect("it can be written"),
        }
    }

    fn read(&self, id: AlertId, number: AlertNumber) -> Result<Alert, Error> {
        let raised = read_raised(&self.raised, id, number, Arc::new(read_plan(&self.plan)?))?;
        read_alert(Arc::new(raised), &self.state)
    }
}

#[test]
fn whatever_happens_to_an_alert_is_written_and_read_back() {
    let mut dice = Dice::new(1);
    let mut n_seen = 0;
    for seed in 0..150 {
        let backend = dice.one_of(&[Backend::Messages, Backend::Dispatch]);
        let raised = Raised {
            plan: if dice.one_of(&[true, false]) { worded(&plan(backend)) } else { plan(backend) },
            severity: dice.one_of(&Severity::ALL),
            dedup_key: dice.one_of(&[None, Some("server-1/\"down\"")]).map(Into::into),
            policy: dice.one_of(&[None, Some("nächtlich")]).map(Into::into),
            link: dice.one_of(&[None, Some("https://runbooks.example/1")]).map(Into::into),
            ..raised(seed)
        };
        wander(raised, seed, |alert| {
            let read = Records::of(alert).read(alert.id(), alert.raised.number);
            assert_eq!(read.as_ref(), Ok(alert), "seed {seed}");
            n_seen += 1;
        });
    }
    assert!(n_seen > 1_500, "only {n_seen} alerts were seen");
}

/// The plan with everything that can be said of how people are spoken to.
/// The same plan, whose first channel is an e-mail to a long address.
fn mailed(plan: &Plan) -> Arc<Plan> {
    let mut steps = plan.steps().to_vec();
    let first = &mut steps[0].first;
    first.channel = Channel::Email;
    first.address =
        address(Channel::Email, "tony+a.rather.long.address.for.those.who.are.on.call@operations.example.org");
    Arc::new(Plan::from_steps(plan.backend(), steps, 1).expect("a test's plan is one"))
}

fn worded(plan: &Plan) -> Arc<Plan> {
    let template = |text: &str| text.parse::<Template>().expect("a test's template is one");
    let wording = Wording {
        text: template("{{ user }} ({{severity}}): {{ message }} {{ link }}"),
        text_by_channel: BTreeMap::from([
            (Channel::Sms, template("{{ code }} {{ message }}")),
            (Channel::ViberService, template("{ {{ policy }} } {{ source }}")),
        ]),
        whatsapp_template: Some(WhatsappTemplate {
            name: "9b6b4fcb_da19:oncall_alert".into(),
            locale: "en_GB".into(),
            parameters: vec![template("{{ severity }}"), template("{{ message }}")],
            buttons: Button::ALL.to_vec(),
        }),
    };
    Arc::new(plan.clone().with_wording(Arc::new(wording)).with_confirm(Confirm::Everybody))
}

#[test]
fn a_plan_in_callouts_own_words_is_kept_as_it_always_was() {
    let record = write_plan(&plan(Backend::Messages)).expect("it can be written").record;
    assert!(!record.contains("wording") && !record.contains("confirm"), "{record}");
    assert_eq!(read_plan(&record), Ok(Plan::clone(&plan(Backend::Messages))));
}

#[test]
fn a_template_that_cannot_be_read_any_more_is_an_error_and_never_another_text() {
    let record = write_plan(&worded(&plan(Backend::Messages))).expect("it can be written").record;
    let damaged = record.replace("{{severity}}", "{{weather}}");
    assert_ne!(record, damaged);
    assert!(matches!(read_plan(&damaged), Err(Error::Malformed { .. })));
}

fn webhooks() -> Vec<Incoming> {
    let status = MessageStatus {
        id: Some(provider_id("aaaaaaaa-bbbb-4ccc-8ddd-0123456789ab")),
        workflow: None,
        reference: Some(AttemptRef { alert: raised(7).id, attempt: 3 }),
        channel: Some(Channel::Sms),
        to: Some(address(Channel::Sms, "447700900001")),
        status: ReportStatus::Undeliverable,
        failure: Some(Failure { code: Some("1260".into()), detail: "Destination unreachable".into() }),
    };
    let nothing_known = MessageStatus {
        id: None,
        workflow: Some(provider_id("workflow-1")),
        reference: None,
        channel: None,
        to: None,
        status: ReportStatus::Read,
        failure: None,
    };
    let message = InboundMessage {
        id: Some(provider_id("in-1")),
        channel: Channel::Messenger,
        from: address(Channel::Messenger, "6542087712345678"),
        at: Some(at(5)),
        text: Some("わかった 👍".into()),
        payload: Some("ack:B2C3".into()),
        quoted: Some(provider_id("m-1")),
    };
    let silent = InboundMessage { id: None, at: None, text: None, payload: None, quoted: None, ..message.clone() };
    let mut webhooks = vec![
        Incoming::Status(status.clone()),
        Incoming::Status(nothing_known.clone()),
        Incoming::Message(message),
        Incoming::Message(silent),
        Incoming::Foreign(Foreign::LegacySms),
        Incoming::Foreign(Foreign::UnknownStatus),
        Incoming::Foreign(Foreign::UnknownSender),
        Incoming::Foreign(Foreign::UnknownShape),
    ];
    for (outcome, messages) in
        [(WorkflowOutcome::Completed, Vec::new()), (WorkflowOutcome::Error, vec![status, nothing_known])]
    {
        let workflow = provider_id("workflow-1");
        webhooks.push(Incoming::WorkflowEnd(WorkflowEnd { workflow, outcome, messages }));
    }
    webhooks
}

#[test]
fn every_webhook_is_written_and_read_back() {
    for webhook in webhooks() {
        let record = write_incoming(&webhook).unwrap();
        assert_eq!(read_incoming(&record), Ok(webhook), "{record}");
    }
}

#[test]
fn equal_plans_have_one_name_and_different_plans_have_two() {
    let messages = write_plan(&plan(Backend::Messages)).unwrap();
    assert_eq!(messages, write_plan(&plan(Backend::Messages)).unwrap());
    assert_ne!(messages.hash, write_plan(&plan(Backend::Dispatch)).unwrap().hash);
}

#[test]
fn a_record_that_is_damaged_anywhere_is_refused_or_still_an_alert_that_can_be() {
    let alert = after_everybody(&begin(raised(1)));
    let records = Records::of(&alert);
    let mut n_refused = 0;
    for place in 0..records.state.len() {
        let mut bytes = records.state.clone().into_bytes();
        bytes[place] ^= 0b10;
        let Ok(state) = String::from_utf8(bytes) else { continue };
        let damaged = Records { state, plan: records.plan.clone(), raised: records.raised.clone() };
        // What is accepted has passed the promises: here it is enough that nothing panics.
        if damaged.read(alert.id(), alert.raised.number).is_err() {
            n_refused += 1;
        }
    }
    assert!(n_refused > records.state.len() / 2, "{n_refused} of {} were refused", records.state.len());
    let cut = Records { state: records.state.chars().take(100).collect(), ..Records::of(&alert) };
    assert!(matches!(cut.read(alert.id(), alert.raised.number), Err(Error::Malformed { .. })));
}

#[test]
fn a_record_of_a_newer_callout_is_called_that() {
    let alert = begin(raised(1));
    let mut records = Records::of(&alert);
    records.state = records.state.replacen("\"v\":1", "\"v\":2", 1);
    assert_eq!(records.read(alert.id(), alert.raised.number), Err(Error::Version { found: 2 }));
}

#[test]
fn a_record_that_no_alert_can_be_like_is_refused() {
    let alert = begin(raised(1));
    let mut records = Records::of(&alert);
    records.state = records.state.replacen("\"step\":0", "\"step\":77", 1);
    let promise = "each attempt carries out a step of the plan";
    assert_eq!(records.read(alert.id(), alert.raised.number), Err(Error::Promise(promise)));
    let nobody = r#"{"v":1,"backend":"messages","repeat":0,"steps":[]}"#;
    assert!(matches!(read_plan(nobody), Err(Error::Plan(_))));
}

#[test]
fn an_error_does_not_tell_what_stands_in_the_record() {
    let error = read_incoming(r#"{"v":1,"webhook":{"message":{"channel":"447700900001"}}}"#).unwrap_err();
    assert_eq!(error.to_string(), "the record cannot be read at line 1, column 54");
}

/// An alert, as it stands in a file.
fn golden(alert: &Alert) -> Value {
    let Records { plan, raised, state } = Records::of(alert);
    json!({
        "id": alert.id().to_string(),
        "number": alert.raised.number.0,
        "plan": parse(&plan),
        "raised": parse(&raised),
        "state": parse(&state),
    })
}

/// The alert that stands in a file.
fn load(golden: &Value) -> Alert {
    let records = Records {
        plan: golden["plan"].to_string(),
        raised: golden["raised"].to_string(),
        state: golden["state"].to_string(),
    };
    let id = golden["id"].as_str().expect("a text").parse().expect("an id");
    let number = AlertNumber(golden["number"].as_u64().expect("a number"));
    records.read(id, number).expect("it was shipped")
}

fn parse(record: &str) -> Value {
    serde_json::from_str(record).expect("a record is JSON")
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/records")
}

/// Writes files with much in them, for the version that is written today.
fn write_goldens() {
    let mut goldens = Vec::new();
    for (name, backend) in [("messages", Backend::Messages), ("dispatch", Backend::Dispatch)] {
        let link = Some("https://runbooks.example/server-1".into());
        let raised = Raised { plan: plan(backend), dedup_key: Some("server-1/down".into()), link, ..raised(1) };
        goldens.push((format!("{name}-raised"), golden(&begin(raised.clone()))));
        for (n, seed) in (1..).zip([11, 12, 15]) {
            let mut last = None;
            wander(raised.clone(), seed, |alert| last = Some(alert.clone()));
            goldens.push((format!("{name}-eventful-{n}"), golden(&last.expect("it was raised"))));
        }
        if backend == Backend::Messages {
            let raised = Raised { plan: worded(&plan(backend)), ..raised.clone() };
            goldens.push((format!("{name}-worded"), golden(&begin(raised))));
        }
        if backend == Backend::Messages {
            let raised = Raised { plan: mailed(&plan(backend)), ..raised.clone() };
            goldens.push((format!("{name}-email"), golden(&begin(raised))));
        }
        goldens.push((format!("{name}-exhausted"), golden(&after_everybody(&begin(raised)))));
    }
    let records = webhooks().into_iter().map(|webhook| parse(&write_incoming(&webhook).expect("it can be written")));
    goldens.push(("webhooks".to_owned(), records.collect()));
    fs::create_dir_all(folder()).expect("a folder");
    for (name, golden) in goldens {
        let text = serde_json::to_string_pretty(&golden).expect("it is JSON") + "\n";
        fs::write(folder().join(format!("v1-{name}.json")), text).expect("a file");
    }
}

/// With `CALLOUT_WRITE_RECORDS=1` the files are written anew first. That is for a new version, with
/// names of its own, and never to make this test pass: a file that changes stands for databases that
/// cannot be read any more.
#[test]
#[expect(clippy::disallowed_methods, reason = "a person asks the test itself for something")]
fn every_record_that_was_ever_shipped_still_loads_and_is_written_the_same() {
    if std::env::var_os("CALLOUT_WRITE_RECORDS").is_some() {
        write_goldens();
    }
    let mut n_alerts = 0;
    for file in fs::read_dir(folder()).expect("there are records") {
        let path = file.expect("a file").path();
        let kept = parse(&fs::read_to_string(&path).expect("a text"));
        let written = if let Some(webhooks) = kept.as_array() {
            let webhooks = webhooks.iter().map(|record| read_incoming(&record.to_string()).expect("it was shipped"));
            webhooks.map(|webhook| parse(&write_incoming(&webhook).expect("it can be written"))).collect()
        } else {
            n_alerts += 1;
            golden(&load(&kept))
        };
        assert_eq!(kept, written, "{} would be written differently today", path.display());
    }
    assert!(n_alerts >= 10, "only {n_alerts} alerts were found");
}
