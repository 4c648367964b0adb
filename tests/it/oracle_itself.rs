//! A test of the oracle: histories with one thing wrong each, and the promise that must be named. An oracle
//! that lets something pass would make every test that asks it worthless.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::oracle::history::History;
use crate::oracle::{PROMISES, judge};

const ID: &str = "01928f3e-0000-7000-8000-000000000001";
const OTHER: &str = "01928f3e-0000-7000-8000-000000000002";

/// So many milliseconds after the beginning.
fn at(millis: i64) -> Value {
    json!(1_772_331_300_000_i64 + millis)
}

fn reference(attempt: u32) -> String {
    let alert = callout::id::AlertId::from_bits(0x0192_8f3e_0000_7000_8000_0000_0000_0001);
    assert_eq!(alert.to_string(), ID);
    callout::id::AttemptRef { alert, attempt }.to_string()
}

const TONY: &str = "447700900001";
const ANNA: &str = "447700900002";

fn entry(millis: i64, event: &str, attempt: Option<u32>) -> Value {
    json!({ "at": at(millis), "event": event, "attempt": attempt })
}

fn sent(millis: i64, attempt: u32, channel: &str, to: &str) -> Value {
    json!({ "at": at(millis), "client_ref": reference(attempt), "message_uuid": format!("m-{attempt}-{millis}"),
        "channel": channel, "to": to, "node": "a" })
}

fn webhook(millis: i64, attempt: u32, kind: &str) -> Value {
    json!({ "at": at(millis), "answered_at": at(millis + 5), "answer": 200, "kind": kind,
        "client_ref": reference(attempt) })
}

/// A reply that has no code.
fn bare_reply(millis: i64, channel: &str, from: &str) -> Value {
    json!({ "at": at(millis), "answered_at": at(millis + 5), "answer": 200, "kind": "reply",
        "writer": { "channel": channel, "address": from } })
}

fn attempt(number: u32, user: &str, channel: &str, status: &str, sent: i64, window: i64) -> Value {
    json!({ "number": number, "round": 1, "user": user, "channel": channel, "status": status, "tries": 1,
        "sent_at": at(sent), "expires_at": at(sent + window), "delivered_at": null, "read_at": null })
}

/// Tony does not read on either channel, a minute each; Anna reads on hers.
fn good() -> Value {
    let mut anna = attempt(3, "Anna", "sms", "read", 120_050, 60_000);
    anna["read_at"] = at(130_003);
    json!({
        "plans": { "default": { "users": [
            { "name": "Tony", "channels": [ { "type": "whatsapp", "id_num": TONY, "expiry_time": 60 },
                                            { "type": "sms", "id_num": TONY, "expiry_time": 60 } ] },
            { "name": "Anna", "channels": [ { "type": "sms", "id_num": ANNA, "expiry_time": 60 } ] } ] } },
        "client": [ { "at": at(0), "answered_at": at(3), "call": "raise", "status": 201, "id": ID, "key": "k",
                      "body": "b", "dedup_key": "server" } ],
        "provider": { "complete": true,
            "sent": [ sent(5, 1, "whatsapp", TONY), sent(60_020, 2, "sms", TONY), sent(120_040, 3, "sms", ANNA) ],
            "webhooks": [ webhook(500, 1, "submitted"), webhook(130_000, 3, "read") ] },
        "alerts": [ {
            "id": ID, "status": "acknowledged", "policy": "default", "dedup_key": "server", "repeats": 0,
            "created_at": at(1), "updated_at": at(130_003), "round": 1, "current": null,
            "acknowledged": { "by": "Anna", "via": "read" },
            "attempts": [ attempt(1, "Tony", "whatsapp", "expired", 10, 60_000),
                          attempt(2, "Tony", "sms", "expired", 60_030, 60_000), anna ],
            "timeline": [
                entry(1, "raised", None), entry(10, "sent", Some(1)), entry(503, "submitted", Some(1)),
                entry(60_015, "expired", Some(1)), entry(60_015, "failed_over", Some(2)),
                entry(60_030, "sent", Some(2)), entry(120_035, "expired", Some(2)),
                entry(120_035, "escalated", Some(3)), entry(120_050, "sent", Some(3)),
                entry(130_003, "read", Some(3)),
                { "at": at(130_003), "event": "acknowledged", "by": "Anna", "detail": "read" } ] } ],
        "faults": [],
        "ended_at": at(900_000) })
}

/// As [`good`], but nobody reads and the alert is exhausted.
fn exhausted() -> Value {
    let mut history = good();
    history["provider"]["webhooks"] = json!([]);
    let alert = &mut history["alerts"][0];
    alert["status"] = json!("exhausted");
    alert["acknowledged"] = Value::Null;
    alert["attempts"][2]["status"] = json!("expired");
    alert["attempts"][2]["read_at"] = Value::Null;
    let timeline = alert["timeline"].as_array_mut().unwrap();
    timeline.truncate(9);
    timeline.extend([entry(180_052, "expired", Some(3)), entry(180_052, "exhausted", None)]);
    history
}

/// As [`good`], but while Tony's first message is waited for.
fn waiting() -> Value {
    let mut history = good();
    history["provider"]["sent"].as_array_mut().unwrap().truncate(1);
    history["provider"]["webhooks"].as_array_mut().unwrap().truncate(1);
    history["ended_at"] = at(30_000);
    let alert = &mut history["alerts"][0];
    alert["status"] = json!("escalating");
    alert["acknowledged"] = Value::Null;
    alert["attempts"].as_array_mut().unwrap().truncate(1);
    alert["attempts"][0]["status"] = json!("submitted");
    alert["current"] = json!({ "attempt": 1, "expires_at": at(60_010) });
    alert["timeline"].as_array_mut().unwrap().truncate(3);
    history
}

/// As [`waiting`], but the account is refused for five minutes, which is told of at once.
fn refused() -> Value {
    let mut history = waiting();
    history["provider"]["webhooks"] = json!([]);
    history["provider"]["sent"][0]["outcome"] = json!("trouble");
    history["faults"] = json!([ { "kind": "account", "at": at(0), "until": at(300_000) } ]);
    history["alarms"] = json!([ { "at": at(6), "name": "vonage_credentials_refused", "alert": null } ]);
    history["ended_at"] = at(300_000);
    let alert = &mut history["alerts"][0];
    alert["attempts"][0]["status"] = json!("sending");
    alert["attempts"][0]["sent_at"] = Value::Null;
    alert["attempts"][0]["expires_at"] = Value::Null;
    alert["current"]["expires_at"] = Value::Null;
    alert["updated_at"] = at(290_000);
    alert["timeline"].as_array_mut().unwrap().truncate(1);
    history
}

/// As [`waiting`], but the first message fails on a node that alone does not get through, and another one sends it.
fn alone() -> Value {
    let mut history = waiting();
    history["faults"] = json!([ { "kind": "alone", "node": "a", "at": at(0), "until": at(300_000) } ]);
    history["provider"]["sent"][0]["outcome"] = json!("trouble");
    let mut by_another = sent(2_000, 1, "whatsapp", TONY);
    by_another["node"] = json!("b");
    push(&mut history["provider"]["sent"], by_another);
    history["provider"]["webhooks"][0] = webhook(2_500, 1, "submitted");
    let alert = &mut history["alerts"][0];
    alert["attempts"][0] = attempt(1, "Tony", "whatsapp", "submitted", 2_005, 60_000);
    alert["current"]["expires_at"] = at(62_005);
    alert["updated_at"] = at(2_503);
    alert["timeline"] = json!([
        entry(1, "raised", None),
        entry(6, "send_failed", Some(1)),
        entry(2_005, "sent", Some(1)),
        entry(2_503, "submitted", Some(1))
    ]);
    history
}

/// As [`good`], but the process was killed while Tony's second message was waited for, and the next one fired its
/// deadline.
fn restarted() -> Value {
    let mut history = good();
    history["recovery_ms"] = json!(40_000);
    history["taken_up"] = json!({ "deadlines_ms": 1_000, "sends_ms": 1_000 });
    history["faults"] = json!([ { "kind": "crash", "at": at(110_000), "until": at(123_000) } ]);
    let alert = &mut history["alerts"][0];
    for (line, millis) in [(6, 123_100), (7, 123_100), (8, 123_120)] {
        alert["timeline"][line]["at"] = at(millis);
    }
    alert["attempts"][2]["sent_at"] = at(123_120);
    alert["attempts"][2]["expires_at"] = at(183_120);
    history["provider"]["sent"][2]["at"] = at(123_110);
    history
}

/// As [`good`], but the process was killed while it sent Anna's message, and the next one sent it again.
fn resent() -> Value {
    let mut history = good();
    history["recovery_ms"] = json!(40_000);
    history["taken_up"] = json!({ "deadlines_ms": 1_000, "sends_ms": 1_000 });
    history["faults"] = json!([ { "kind": "crash", "at": at(120_045), "until": at(122_000) } ]);
    push(&mut history["provider"]["sent"], sent(122_110, 3, "sms", ANNA));
    let alert = &mut history["alerts"][0];
    alert["timeline"][8]["at"] = at(122_120);
    alert["timeline"].as_array_mut().unwrap().insert(8, entry(122_100, "resent_after_restart", Some(3)));
    alert["attempts"][2]["sent_at"] = at(122_120);
    alert["attempts"][2]["expires_at"] = at(182_120);
    history
}

/// As [`good`], but more is posted than can be kept, and somebody is refused.
fn overloaded() -> Value {
    let mut history = good();
    history["faults"] = json!([ { "kind": "overload", "at": at(-10_000), "until": at(90_000), "keeps_per_minute": 0,
        "late_max_ms": 5_000 } ]);
    push(
        &mut history["client"],
        json!({ "at": at(5), "answered_at": at(900), "call": "raise", "status": 503, "retry_after": true }),
    );
    history
}

/// As [`exhausted`], twice: Tony and Anna were called for another alert too, at the same times.
fn both_exhausted() -> Value {
    let mut history = exhausted();
    let reference = callout::id::AlertId::from_bits(0x0192_8f3e_0000_7000_8000_0000_0000_0002);
    assert_eq!(reference.to_string(), OTHER);
    let mut other = history["alerts"][0].clone();
    (other["id"], other["dedup_key"]) = (json!(OTHER), Value::Null);
    push(&mut history["alerts"], other);
    for (millis, attempt, channel, to) in
        [(5, 1, "whatsapp", TONY), (60_020, 2, "sms", TONY), (120_040, 3, "sms", ANNA)]
    {
        let mut sent = sent(millis, attempt, channel, to);
        sent["client_ref"] = json!(callout::id::AttemptRef { alert: reference, attempt }.to_string());
        sent["message_uuid"] = json!(format!("other-{attempt}"));
        push(&mut history["provider"]["sent"], sent);
    }
    history
}

/// As [`both_exhausted`], but Anna answered one of the two without saying which.
fn one_answered() -> Value {
    let mut history = both_exhausted();
    push(&mut history["provider"]["webhooks"], bare_reply(200_000, "sms", ANNA));
    let alert = &mut history["alerts"][1];
    alert["status"] = json!("acknowledged");
    alert["acknowledged"] = json!({ "by": "Anna", "via": "reply" });
    push(
        &mut alert["timeline"],
        json!({ "at": at(200_003), "event": "acknowledged", "by": "Anna", "detail": "reply" }),
    );
    history
}

/// As [`waiting`], but the disk damages the alert's record, and that is told of.
fn damaged() -> Value {
    let mut history = waiting();
    history["poisoned"] = json!({ ID: at(20_000) });
    history["alarms"] = json!([ { "at": at(190_000), "name": "audit_failed", "alert": ID } ]);
    history["ended_at"] = at(900_000);
    history
}

type Base = fn() -> Value;
type Bend = fn(&mut Value);
type Bad = (&'static str, Base, &'static str, Bend);
type Good = (&'static str, Base, Bend);

/// What is done to a history, what that is, and the promise that is broken then.
const BAD: &[Bad] = &[
    ("an accepted alert is gone", good, "P1", |h| h["alerts"] = json!([])),
    ("an alert is kept without an attempt", good, "P1", |h| h["alerts"][0]["attempts"] = json!([])),
    ("an acknowledgement is answered and gone", waiting, "P1", |h| {
        push(
            &mut h["client"],
            json!({ "at": at(9_000), "answered_at": at(9_001), "call": "acknowledge",
            "status": 200, "id": ID }),
        );
    }),
    ("a resolution is answered and gone", good, "P1", |h| {
        push(
            &mut h["client"],
            json!({ "at": at(200_000), "answered_at": at(200_001), "call": "resolve",
            "status": 200, "id": ID }),
        );
    }),
    ("a refusal does not say when to ask again", good, "P2", |h| {
        push(
            &mut h["client"],
            json!({ "at": at(5), "answered_at": at(6), "call": "raise", "status": 503, "retry_after": false }),
        );
    }),
    ("a refusal comes after a minute", good, "P2", |h| {
        h["answer_max_ms"] = json!(5_000);
        push(
            &mut h["client"],
            json!({ "at": at(5), "answered_at": at(60_000), "call": "raise", "status": 503, "retry_after": true }),
        );
    }),
    ("it is answered before it is raised", good, "P2", |h| h["client"][0]["answered_at"] = at(0)),
    ("an acknowledgement is answered before it happens", good, "P2", |h| {
        push(
            &mut h["client"],
            json!({ "at": at(9_000), "answered_at": at(9_001), "call": "acknowledge",
            "status": 200, "id": ID }),
        );
    }),
    ("the same key raises two alerts", good, "P3", |h| {
        let mut second = h["client"][0].clone();
        second["id"] = json!(OTHER);
        push(&mut h["client"], second);
    }),
    ("a key is taken for another body", good, "P3", |h| {
        let mut second = h["client"][0].clone();
        second["body"] = json!("another");
        push(&mut h["client"], second);
    }),
    ("a repetition is refused", good, "P3", |h| {
        let mut second = h["client"][0].clone();
        second["status"] = json!(422);
        second["id"] = Value::Null;
        push(&mut h["client"], second);
    }),
    ("one problem has two open alerts", good, "P3", |h| {
        let mut second = h["alerts"][0].clone();
        second["id"] = json!(OTHER);
        second["created_at"] = at(70_000);
        push(&mut h["alerts"], second);
    }),
    ("the first message is a minute late", good, "P4", |h| h["provider"]["sent"][0]["at"] = at(59_000)),
    ("the first message never goes out", waiting, "P4", |h| h["provider"]["sent"] = json!([])),
    ("Tony's second channel is skipped", good, "P5", |h| {
        h["alerts"][0]["attempts"][1]["user"] = json!("Anna");
    }),
    ("it begins with the second channel", good, "P5", |h| {
        h["alerts"][0]["attempts"][0]["channel"] = json!("sms");
    }),
    ("it is exhausted before Anna is called", exhausted, "P5", |h| {
        let alert = &mut h["alerts"][0];
        alert["attempts"].as_array_mut().unwrap().truncate(2);
        let timeline = alert["timeline"].as_array_mut().unwrap();
        timeline.truncate(7);
        timeline.push(entry(120_035, "exhausted", None));
    }),
    ("it moves on without a reason", good, "P5", |h| {
        h["alerts"][0]["timeline"].as_array_mut().unwrap().remove(3);
    }),
    ("it moves on for a rejection that never was", good, "P5", |h| {
        h["alerts"][0]["timeline"][3]["event"] = json!("rejected");
        h["alerts"][0]["attempts"][0]["status"] = json!("rejected");
    }),
    ("it moves on for a refusal that never was", good, "P5", |h| {
        h["alerts"][0]["timeline"][3]["event"] = json!("refused");
    }),
    ("it moves on for a wish that nobody had", good, "P5", |h| {
        h["alerts"][0]["timeline"][7]["by"] = json!("Bob");
    }),
    ("it waits for what the provider never had", good, "P5", |h| {
        h["provider"]["sent"].as_array_mut().unwrap().remove(1);
    }),
    ("Anna's message goes to Tony", good, "P5", |h| h["provider"]["sent"][2]["to"] = json!(TONY)),
    ("Anna's message goes out before Tony's second", good, "P5", |h| h["provider"]["sent"][2]["at"] = at(60_018)),
    ("Tony is given half a minute", good, "P6", |h| {
        h["alerts"][0]["attempts"][0]["expires_at"] = at(30_010);
    }),
    ("the next message goes out after half a minute", good, "P6", |h| h["provider"]["sent"][1]["at"] = at(30_020)),
    ("a deadline fires early", good, "P7", |h| {
        h["alerts"][0]["attempts"][0]["expires_at"] = at(60_100);
    }),
    ("a deadline fires a minute late", good, "P7", |h| {
        h["alerts"][0]["timeline"][6]["at"] = at(100_000);
        h["alerts"][0]["attempts"][1]["expires_at"] = at(90_030);
        h["plans"]["default"]["users"][0]["channels"][1]["expiry_time"] = json!(30);
    }),
    ("a message goes out after a read", good, "P8", |h| {
        push(&mut h["provider"]["sent"], sent(150_000, 3, "sms", ANNA));
    }),
    ("two messages go out right after a read", good, "P8", |h| {
        push(&mut h["provider"]["sent"], sent(131_000, 3, "sms", ANNA));
        push(&mut h["provider"]["sent"], sent(132_000, 3, "sms", ANNA));
    }),
    ("it moves on after it was acknowledged", good, "P8", |h| {
        push(&mut h["alerts"][0]["timeline"], entry(180_055, "expired", Some(3)));
    }),
    ("a late read is lost", exhausted, "P9", |h| push(&mut h["provider"]["webhooks"], webhook(100_000, 1, "read"))),
    ("a read after the end is lost", exhausted, "P9", |h| {
        push(&mut h["provider"]["webhooks"], webhook(500_000, 3, "read"));
    }),
    ("a late reply is lost", exhausted, "P9", |h| push(&mut h["provider"]["webhooks"], webhook(100_000, 1, "reply"))),
    ("a message goes out twice for nothing", good, "P10", |h| {
        push(&mut h["provider"]["sent"], sent(61_000, 2, "sms", TONY));
    }),
    ("a message goes out three times for one crash", good, "P10", |h| {
        push(&mut h["provider"]["sent"], sent(60_500, 2, "sms", TONY));
        push(&mut h["provider"]["sent"], sent(61_000, 2, "sms", TONY));
        h["faults"] = json!([ { "kind": "crash", "at": at(60_200), "until": at(60_400) } ]);
    }),
    ("it is kept as sent and never was", good, "P10", |h| {
        h["provider"]["sent"].as_array_mut().unwrap().pop();
    }),
    ("a deadline passes and nothing happens", waiting, "P11", |h| h["ended_at"] = at(300_000)),
    ("it hangs in the middle of a send", waiting, "P11", |h| {
        h["alerts"][0]["current"]["expires_at"] = Value::Null;
        h["alerts"][0]["updated_at"] = at(10);
        h["ended_at"] = at(300_000);
    }),
    ("nobody is being called", waiting, "P11", |h| h["alerts"][0]["current"] = Value::Null),
    ("a report takes effect twice", good, "P12", |h| {
        h["alerts"][0]["timeline"].as_array_mut().unwrap().insert(3, entry(600, "submitted", Some(1)));
    }),
    ("a delivery undoes a read", good, "P12", |h| {
        h["alerts"][0]["attempts"][2]["status"] = json!("delivered");
    }),
    ("it is acknowledged twice", good, "P12", |h| {
        let again = h["alerts"][0]["timeline"][10].clone();
        push(&mut h["alerts"][0]["timeline"], again);
    }),
    ("a forgery is answered 200", good, "P13", |h| {
        let mut forged = webhook(700, 1, "delivered");
        forged["forged"] = json!(true);
        push(&mut h["provider"]["webhooks"], forged);
    }),
    ("a forged read acknowledges it", good, "P13", |h| {
        h["provider"]["webhooks"][1]["forged"] = json!(true);
        h["provider"]["webhooks"][1]["answer"] = json!(401);
    }),
    ("it is delivered and nobody said so", good, "P13", |h| {
        h["alerts"][0]["attempts"][0]["delivered_at"] = at(700);
    }),
    ("it is acknowledged at the API and nobody called", good, "P13", |h| {
        h["alerts"][0]["acknowledged"]["via"] = json!("api");
    }),
    ("it is resolved and nobody said so", good, "P13", |h| {
        h["alerts"][0]["status"] = json!("resolved");
        push(&mut h["alerts"][0]["timeline"], entry(140_000, "resolved", None));
    }),
    ("a read is answered 200 and lost", exhausted, "P14", |h| {
        push(&mut h["provider"]["webhooks"], webhook(125_000, 3, "read"));
    }),
    ("a delivery is answered 200 and lost", good, "P14", |h| {
        push(&mut h["provider"]["webhooks"], webhook(700, 1, "delivered"));
    }),
    ("a rejection is answered 200 and lost", waiting, "P14", |h| {
        push(&mut h["provider"]["webhooks"], webhook(700, 1, "rejected"));
    }),
    ("a reply that resolves is lost", good, "P9", |h| {
        let mut reply = webhook(125_000, 2, "reply");
        reply["wants"] = json!("resolve");
        push(&mut h["provider"]["webhooks"], reply);
    }),
    ("a reply without a code is lost", exhausted, "P9", |h| {
        push(&mut h["provider"]["webhooks"], bare_reply(200_000, "sms", ANNA));
    }),
    ("a reply that quotes a message is lost", both_exhausted, "P9", |h| {
        let mut reply = bare_reply(200_000, "sms", ANNA);
        reply["message_uuid"] = json!("other-3");
        push(&mut h["provider"]["webhooks"], reply);
    }),
    ("a reply that may mean either of two alerts shows at neither", both_exhausted, "P14", |h| {
        push(&mut h["provider"]["webhooks"], bare_reply(200_000, "sms", ANNA));
    }),
    ("a reply that may mean either of two alerts shows at one before it was written", one_answered, "P14", |h| {
        for line in h["alerts"][1]["timeline"].as_array_mut().unwrap().iter_mut().rev().take(1) {
            line["at"] = at(190_000);
        }
    }),
    ("it is acknowledged by a reply of somebody else", one_answered, "P13", |h| {
        let webhooks = h["provider"]["webhooks"].as_array_mut().unwrap();
        webhooks.last_mut().unwrap()["writer"]["address"] = json!("447700900009");
    }),
    ("a deadline is taken up ten seconds after the start", restarted, "P15", |h| {
        h["faults"][0]["until"] = at(113_000);
        h["alerts"][0]["attempts"][1]["expires_at"] = at(112_000);
        h["plans"]["default"]["users"][0]["channels"][1]["expiry_time"] = json!(51);
    }),
    ("a deadline is not taken up after the start", waiting, "P15", |h| {
        h["taken_up"] = json!({ "deadlines_ms": 1_000, "sends_ms": 1_000 });
        h["faults"] = json!([ { "kind": "crash", "at": at(50_000), "until": at(70_000) } ]);
        h["ended_at"] = at(72_000);
    }),
    ("a half-done send is taken up two seconds after the start", resent, "P15", |h| {
        h["faults"][0]["until"] = at(120_050);
    }),
    ("others take up a half-done send later than they should", resent, "P15", |h| {
        h["taken_up"] = json!({ "by_others": true, "deadlines_ms": 2_000, "sends_ms": 2_000 });
        h["faults"][0]["until"] = at(400_000);
    }),
    ("a half-done send is not taken up", waiting, "P15", |h| {
        h["taken_up"] = json!({ "deadlines_ms": 1_000, "sends_ms": 1_000 });
        h["faults"] = json!([ { "kind": "crash", "at": at(8), "until": at(2_000) } ]);
        h["provider"]["webhooks"] = json!([]);
        let alert = &mut h["alerts"][0];
        alert["timeline"].as_array_mut().unwrap().truncate(1);
        alert["updated_at"] = at(1);
        alert["current"]["expires_at"] = Value::Null;
        alert["attempts"][0]["sent_at"] = Value::Null;
        alert["attempts"][0]["expires_at"] = Value::Null;
    }),
    ("an outage exhausts it", exhausted, "P16", |h| {
        h["faults"] = json!([ { "kind": "outage", "at": at(170_000), "until": at(400_000), "known_at": at(171_000) } ]);
    }),
    ("an outage costs Tony his turn", good, "P16", |h| {
        h["faults"] = json!([ { "kind": "outage", "at": at(50_000), "until": at(60_018), "known_at": at(51_000) } ]);
    }),
    ("nobody has a whole expiry after an outage", good, "P16", |h| {
        h["faults"] = json!([ { "kind": "outage", "at": at(50_000), "until": at(60_014), "known_at": at(51_000) } ]);
    }),
    ("what one node alone cannot send is left to it", alone, "P16", |h| {
        h["provider"]["sent"][1]["node"] = json!("a");
        h["provider"]["sent"][1]["outcome"] = json!("trouble");
    }),
    ("another node sends it after a minute", alone, "P16", |h| {
        h["ended_at"] = at(90_000);
        h["provider"]["sent"][1]["at"] = at(60_000);
    }),
    ("a channel is given up for what one node alone has met", alone, "P16", |h| {
        h["provider"]["sent"][1]["node"] = json!("a");
        h["provider"]["sent"][1]["outcome"] = json!("trouble");
        h["alerts"][0]["attempts"][0]["status"] = json!("failed");
    }),
    ("the account is refused and nobody is told", refused, "P17", |h| h["alarms"] = json!([])),
    ("the account is refused and somebody is told after two minutes", refused, "P17", |h| {
        h["alarms"][0]["at"] = at(120_000);
    }),
    ("the account is refused and something else is told", refused, "P17", |h| {
        h["alarms"][0]["name"] = json!("vonage_unreachable");
    }),
    ("an alert cannot be read and nobody is told", damaged, "P18", |h| h["alarms"] = json!([])),
    ("an alert cannot be read and another one is told of", damaged, "P18", |h| h["alarms"][0]["alert"] = json!(OTHER)),
    ("an alert that nobody can read holds up the first message of another", good, "P18", |h| {
        h["late_max_ms"] = json!(30_000);
        h["poisoned"] = json!({ OTHER: at(-60_000) });
        h["provider"]["sent"][0]["at"] = at(9_000);
    }),
    ("an alert that nobody can read holds up a deadline of another", good, "P18", |h| {
        h["late_max_ms"] = json!(30_000);
        h["poisoned"] = json!({ OTHER: at(60_000) });
        for line in [6, 7] {
            h["alerts"][0]["timeline"][line]["at"] = at(129_000);
        }
    }),
    ("an alert that nobody can read hides the deadline of another", waiting, "P18", |h| {
        h["late_max_ms"] = json!(30_000);
        h["poisoned"] = json!({ OTHER: at(20_000) });
        h["ended_at"] = at(70_000);
    }),
    ("who is refused in an overload is not told when to come again", overloaded, "P19", |h| {
        h["client"][1]["retry_after"] = json!(false);
    }),
    ("a post is answered 500 in an overload", overloaded, "P19", |h| h["client"][1]["status"] = json!(500)),
    ("nearly everybody is refused in an overload", overloaded, "P19", |h| {
        h["faults"][0]["keeps_per_minute"] = json!(60);
    }),
    ("who is accepted in an overload is messaged after a quarter of a minute", overloaded, "P19", |h| {
        h["provider"]["sent"][0]["at"] = at(15_000);
    }),
    ("an overload holds a deadline up", overloaded, "P19", |h| {
        h["alerts"][0]["timeline"][3]["at"] = at(70_000);
    }),
    ("an alert is accepted while the store keeps nothing", good, "P20", |h| {
        h["faults"] = json!([ { "kind": "store", "at": at(-10), "until": at(100), "keeps_nothing": true } ]);
    }),
    ("a read is taken in while the store keeps nothing", good, "P20", |h| {
        h["faults"] = json!([ { "kind": "store", "at": at(129_000), "until": at(131_000), "keeps_nothing": true } ]);
    }),
    ("a node that is cut off sends", good, "P21", |h| {
        h["faults"] = json!([ { "kind": "partition", "node": "a", "at": at(100_000), "until": at(125_000) } ]);
    }),
    ("a process that is replaced in good order sends again", resent, "P22", |h| {
        h["faults"][0]["kind"] = json!("replaced");
    }),
    ("the status is not what the timeline says", good, "P23", |h| h["alerts"][0]["status"] = json!("resolved")),
    ("an attempt has no line in the timeline", good, "P23", |h| {
        h["alerts"][0]["timeline"].as_array_mut().unwrap().remove(4);
    }),
    ("the timeline goes back in time", good, "P23", |h| h["alerts"][0]["timeline"][2]["at"] = at(5)),
    ("a repetition is not counted", good, "P23", |h| h["alerts"][0]["repeats"] = json!(2)),
    ("another has acknowledged it than is told", good, "P23", |h| {
        h["alerts"][0]["acknowledged"]["by"] = json!("Tony");
    }),
];

/// What is done to a history that breaks no promise.
const GOOD: &[Good] = &[
    ("as it should be", good, |_| {}),
    ("everybody was called and nobody read", exhausted, |_| {}),
    ("somebody is being waited for", waiting, |_| {}),
    ("no answer came, and the alert is not there", good, |h| {
        push(&mut h["client"], json!({ "at": at(5), "call": "raise", "dedup_key": "other" }));
    }),
    ("an alert is there for which no answer came", good, |h| {
        h["client"][0]["status"] = Value::Null;
        h["client"][0]["answered_at"] = Value::Null;
        h["client"][0]["id"] = Value::Null;
    }),
    ("a crash costs a second message", good, |h| {
        push(&mut h["provider"]["sent"], sent(60_500, 2, "sms", TONY));
        h["faults"] = json!([ { "kind": "crash", "at": at(60_022), "until": at(60_400) } ]);
    }),
    ("a lost answer costs a second message", good, |h| {
        h["provider"]["sent"][1]["answered"] = json!(false);
        push(&mut h["provider"]["sent"], sent(60_500, 2, "sms", TONY));
    }),
    ("a process was away for a minute", good, |h| {
        h["faults"] = json!([ { "kind": "crash", "at": at(110_000), "until": at(119_990) } ]);
        h["alerts"][0]["attempts"][1]["expires_at"] = at(115_000);
        h["alerts"][0]["attempts"][1]["sent_at"] = at(55_000);
        h["plans"]["default"]["users"][0]["channels"][1]["expiry_time"] = json!(59);
    }),
    ("one message was on its way when somebody read", good, |h| {
        h["provider"]["sent"][2]["answered"] = json!(false);
        push(&mut h["provider"]["sent"], sent(130_100, 3, "sms", ANNA));
    }),
    ("a webhook that was not answered is not there", good, |h| {
        let mut lost = webhook(700, 1, "delivered");
        lost["answer"] = json!(503);
        push(&mut h["provider"]["webhooks"], lost);
    }),
    ("messages as the sandbox lists them", good, |h| {
        let sent = &mut h["provider"]["sent"][0];
        for (field, value) in [
            ("number", json!(1)),
            ("api", json!("messages")),
            ("from", json!("447700900100")),
            ("text", json!("[Tony]: …")),
            ("status", json!("submitted")),
            ("body", json!({})),
        ] {
            sent[field] = value;
        }
        h["provider"]["complete"] = json!(false);
    }),
    ("a reply that may mean either of two alerts answers one of them", one_answered, |_| {}),
    ("a reply that may mean either of two alerts is sent again, and was heard before", one_answered, |h| {
        let reply = h["provider"]["webhooks"].as_array_mut().unwrap().last_mut().unwrap();
        reply["answer"] = Value::Null;
        let mut again = bare_reply(205_000, "sms", ANNA);
        again["written_at"] = at(200_000);
        push(&mut h["provider"]["webhooks"], again);
    }),
    ("a reply that quotes a message answers its alert", one_answered, |h| {
        let reply = h["provider"]["webhooks"].as_array_mut().unwrap().last_mut().unwrap();
        reply["message_uuid"] = json!("other-3");
    }),
    ("a deadline passes between two processes", restarted, |_| {}),
    ("a send is made again after a start", resent, |_| {}),
    ("a send is made again by another node", resent, |h| {
        h["taken_up"] = json!({ "by_others": true, "deadlines_ms": 2_000, "sends_ms": 30_000 });
    }),
    ("a process is replaced between two messages", restarted, |h| h["faults"][0]["kind"] = json!("replaced")),
    ("too much is posted, and the rest is refused", overloaded, |_| {}),
    ("what one node alone cannot send is sent by another", alone, |_| {}),
    ("what one node alone cannot send is acknowledged meanwhile", alone, |h| {
        h["provider"]["sent"].as_array_mut().unwrap().pop();
        h["provider"]["webhooks"] = json!([]);
        push(
            &mut h["client"],
            json!({ "at": at(1_000), "answered_at": at(1_003), "call": "acknowledge", "status": 200, "id": ID }),
        );
        let alert = &mut h["alerts"][0];
        alert["status"] = json!("acknowledged");
        alert["acknowledged"] = json!({ "by": "Bob", "via": "api" });
        alert["current"] = Value::Null;
        alert["attempts"][0]["status"] = json!("superseded");
        alert["attempts"][0]["sent_at"] = Value::Null;
        alert["timeline"].as_array_mut().unwrap().truncate(2);
        push(&mut alert["timeline"], json!({ "at": at(1_002), "event": "acknowledged", "by": "Bob", "detail": "api" }));
    }),
    ("the account is refused, and that is told of", refused, |_| {}),
    ("an alert cannot be read, and that is told of", damaged, |_| {}),
    ("an alert cannot be read, and the others go on", good, |h| h["poisoned"] = json!({ OTHER: at(-60_000) })),
    ("a forgery is refused", good, |h| {
        let mut forged = webhook(700, 1, "delivered");
        forged["forged"] = json!(true);
        forged["answer"] = json!(401);
        push(&mut h["provider"]["webhooks"], forged);
    }),
    ("the store keeps nothing, and callers are refused", good, |h| {
        h["faults"] = json!([ { "kind": "store", "at": at(10_000), "until": at(20_000), "keeps_nothing": true } ]);
        h["answer_max_ms"] = json!(5_000);
        push(
            &mut h["client"],
            json!({ "at": at(12_000), "answered_at": at(14_000), "call": "raise", "status": 503, "retry_after": true }),
        );
    }),
    ("an outage that ends in time", good, |h| {
        h["faults"] = json!([ { "kind": "outage", "at": at(20_000), "until": at(50_000), "known_at": at(21_000) } ]);
    }),
    ("a delivery is told after its time ran out, by a node whose clock is behind", good, |h| {
        h["faults"] = json!([{ "kind": "clock", "at": at(0), "until": at(0) }]);
        h["plans"]["default"]["users"][0]["channels"][0]["condition_status"] = json!("delivered");
        h["alerts"][0]["attempts"][0]["delivered_at"] = at(59_900);
        push(&mut h["provider"]["webhooks"], webhook(60_500, 1, "delivered"));
        h["alerts"][0]["timeline"].as_array_mut().unwrap().insert(5, entry(59_900, "delivered", Some(1)));
    }),
];

fn push(list: &mut Value, value: Value) {
    list.as_array_mut().unwrap().push(value);
}

fn told(value: Value) -> History {
    serde_json::from_value(value).unwrap()
}

#[test]
fn every_bad_history_is_found_by_the_promise_that_it_breaks() {
    let mut problems = Vec::new();
    for (what, base, promise, bend) in BAD {
        let mut history = base();
        bend(&mut history);
        let broken = judge(&told(history));
        if !broken.iter().any(|broken| broken.promise == *promise) {
            problems.push(format!("{what}: {promise} is not among {broken:#?}"));
        }
    }
    assert!(BAD.len() >= 30 && problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn every_promise_that_is_judged_has_a_bad_history() {
    for (promise, words) in PROMISES {
        assert!(BAD.iter().any(|(_, _, breaks, _)| breaks == promise), "{promise}, {words}: no history breaks it");
    }
    for (what, _, breaks, _) in BAD {
        assert!(PROMISES.iter().any(|(promise, _)| promise == breaks), "{what}: {breaks} is no promise");
    }
}

#[test]
fn nothing_is_said_about_a_good_history() {
    for (what, base, bend) in GOOD {
        let mut history = base();
        bend(&mut history);
        let broken: Vec<String> = judge(&told(history)).iter().map(ToString::to_string).collect();
        assert!(broken.is_empty(), "{what}: {broken:#?}");
    }
}

#[test]
fn what_is_wrong_is_said_in_a_sentence() {
    let mut history = good();
    history["alerts"] = json!([]);
    let broken: Vec<String> = judge(&told(history)).iter().map(ToString::to_string).collect();
    let sentence = format!(
        "P1 is broken for alert {ID}: raising it at 2026-03-01T02:15:00.000Z was answered 201, and the store does not have it"
    );
    assert_eq!(broken, [sentence]);
}

/// Every function of the tests and of the sources, by the words in front of it.
fn is_a_function(name: &str) -> bool {
    fn is_in(folder: &Path, words: &str) -> bool {
        folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).any(|path| {
            let is_rust = path.extension().is_some_and(|end| end == "rs");
            if path.is_dir() {
                is_in(&path, words)
            } else {
                is_rust && fs::read_to_string(path).unwrap().contains(words)
            }
        })
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    ["tests", "src"].iter().any(|folder| is_in(&root.join(folder), &format!("fn {name}(")))
}

#[test]
fn every_promise_has_a_row_that_says_how_it_is_held_true() {
    let page = include_str!("../../docs/promise.md");
    for number in 1..=23 {
        let promise = format!("P{number}");
        let row = page.lines().find(|line| line.starts_with(&format!("| {promise} |")));
        let row = row.unwrap_or_else(|| panic!("docs/promise.md says nothing of {promise}"));
        let places = row.rsplit(" | ").next().unwrap();
        let is_judged = PROMISES.iter().any(|(judged, _)| *judged == promise);
        assert_eq!(places.contains("days"), is_judged, "{promise}: by the oracle or not? {places}");
        for name in places.split('`').skip(1).step_by(2) {
            let function = name.rsplit("::").next().unwrap();
            assert!(is_a_function(function), "{promise}: there is no test {name}");
        }
    }
}
