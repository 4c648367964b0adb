//! Tells the oracle what happened, in its own form.

use serde_json::{Value, json};

use crate::home::{EXPIRY_SECONDS, Home, POLICIES, USERS, number};
use crate::judge::{Evidence, Life, Pace};
use crate::oracle::history::History;
use crate::oracle::{PROMISES, judge};

/// How long after a fault something may still be late where nodes share a store: the lease of a send that
/// nobody ends, and a second more.
const RECOVERY_MS: u64 = 31_000;
/// Each node measures how far its clock is from the database's; on a busy machine that is not exact.
const CLOCKS_APART_MS: u64 = 100;
/// The longest that a request waits for its answer: ten seconds by callout itself, the rest for a busy machine.
const ANSWER_MAX_MS: u64 = 15_000;
/// How soon after a start deadlines are taken up, and half-done sends (contract R15); where others may be at it, two
/// seconds and two more for a busy machine, and thirty-one.
const TAKEN_UP: (u64, u64) = (1_000, 1_000);
const TAKEN_UP_FROM_OTHERS: (u64, u64) = (4_000, 31_000);

/// Everything that the oracle finds wrong.
pub(crate) fn judge_by_the_oracle(home: &Home, evidence: &Evidence, faults: &[Value], pace: Pace) -> Vec<String> {
    let taken_up = if pace == Pace::WithinASecond { TAKEN_UP } else { TAKEN_UP_FROM_OTHERS };
    let told = json!({
        "plans": plans(),
        "client": calls(evidence),
        "provider": { "sent": sent(home, evidence), "webhooks": webhooks(home, evidence) },
        "alerts": evidence.alerts.values().collect::<Vec<_>>(),
        "faults": faults,
        "ended_at": callout::clock::system_now().to_string(),
        "recovery_ms": if pace == Pace::WithinASecond { 1_000 } else { RECOVERY_MS },
        "answer_max_ms": ANSWER_MAX_MS,
        "taken_up": { "by_others": pace == Pace::SeveralNodes, "deadlines_ms": taken_up.0, "sends_ms": taken_up.1 },
        "clocks_apart_ms": if pace == Pace::SeveralNodes { CLOCKS_APART_MS } else { 0 },
    });
    let history: History = serde_json::from_value(told).unwrap();
    eprintln!("the oracle judges {} promises of {} alerts", PROMISES.len(), evidence.alerts.len());
    judge(&history).iter().map(ToString::to_string).collect()
}

fn plans() -> Value {
    let user = |name: &&str| {
        let (_, channels) = USERS.iter().find(|(known, _)| known == name).unwrap();
        let channel = |kind: &&str| json!({ "type": kind, "id_num": number(name), "expiry_time": EXPIRY_SECONDS });
        json!({ "name": name, "channels": channels.iter().map(channel).collect::<Vec<_>>() })
    };
    let plan = |users: &[&str]| json!({ "backend": "messages", "users": users.iter().map(user).collect::<Vec<_>>() });
    POLICIES.iter().map(|(name, users)| ((*name).to_owned(), plan(users))).collect::<serde_json::Map<_, _>>().into()
}

fn calls(evidence: &Evidence) -> Vec<Value> {
    let raised = evidence.ledger.promised.iter().map(|promised| {
        json!({ "at": promised.asked_at.to_string(), "answered_at": promised.at.to_string(), "call": "raise",
            "status": 201, "id": promised.id, "key": promised.message, "body": promised.message })
    });
    let done = evidence.ledger.done.iter().map(|done| {
        json!({ "at": done.asked_at.to_string(), "answered_at": done.at.to_string(), "call": done.what,
            "status": 200, "id": done.id })
    });
    let refused = evidence.ledger.refused.iter().map(|refused| {
        json!({ "at": refused.asked_at.to_string(), "answered_at": refused.at.to_string(), "call": refused.what,
            "status": 503, "retry_after": refused.retry_after })
    });
    raised.chain(done).chain(refused).collect()
}

/// In our own time.
fn moment(home: &Home, there: &Value) -> String {
    home.real_time(there.as_str().unwrap().parse().unwrap()).to_string()
}

fn sent(home: &Home, evidence: &Evidence) -> Vec<Value> {
    let sent = evidence.sent.iter().map(|sent| {
        json!({ "at": moment(home, &sent["at"]), "client_ref": sent["client_ref"],
            "message_uuid": sent["message_uuid"], "channel": sent["channel"], "to": sent["to"], "node": sent["from"] })
    });
    sent.collect()
}

fn webhooks(home: &Home, evidence: &Evidence) -> Vec<Value> {
    let webhooks = evidence.webhooks.iter().map(|webhook| {
        let (kind, about) = match webhook["kind"].as_str() {
            Some("inbound") => (json!("reply"), &webhook["body"]["context"]["message_uuid"]),
            _ => (webhook["body"]["status"].clone(), &webhook["body"]["message_uuid"]),
        };
        json!({ "at": moment(home, &webhook["at"]), "answer": webhook["answered"], "kind": kind, "message_uuid": about })
    });
    webhooks.collect()
}

/// Each process but the last was killed; the next one mends it.
pub(crate) fn crashes(lives: &[Life]) -> Vec<Value> {
    let between = lives.windows(2).map(|pair| {
        let mended = pair[1].listens.unwrap_or(pair[1].begun);
        json!({ "kind": "crash", "at": pair[0].ended.unwrap_or(pair[1].begun).to_string(), "until": mended.to_string() })
    });
    between.collect()
}

/// Each process but the last was stopped in good order, and the next one took its place.
pub(crate) fn stops(lives: &[Life]) -> Vec<Value> {
    let between = lives.windows(2).map(|pair| {
        let mended = pair[1].listens.unwrap_or(pair[1].begun);
        json!({ "kind": "replaced", "at": pair[0].ended.unwrap_or(pair[1].begun).to_string(), "until": mended.to_string() })
    });
    between.collect()
}
