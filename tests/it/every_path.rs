//! Every state that small plans can reach, and every event in each of them; then every order in which
//! the webhooks of one message can come.
//!
//! What is checked after each step stands in `machine/rules.rs`; in addition: an event that is told
//! twice acts once, and from each state the clock alone ends the alert.

#![expect(clippy::expect_used, clippy::panic, reason = "a test that meets something impossible must say so and stop")]

use std::collections::BTreeSet;

use callout::escalation::{Alert, Verdict, step};

use crate::machine::coverage::{Pair, list};
use crate::machine::language::{raise_with, read_event, read_moment, read_plan};
use crate::machine::rules::{Seen, broken_rule};
use crate::machine::walk::{Detail, Walked, walk};
use crate::machine::{differs_from_file, story};

const ONE_CHANNEL: &str = "plan messages, repeat 0
  Tony: messenger 0:02";
const TWO_CHANNELS: &str = "plan messages, repeat 0
  Tony: messenger 0:02, sms 2:00";
const TWO_ROUNDS: &str = "plan messages, repeat 1
  Tony: messenger 0:02 delivered, sms 2:00";
const TWO_USERS: &str = "plan messages, repeat 0
  Tony: messenger 0:02 delivered, whatsapp 0:03
  Michael: sms 2:00";
const THREE_PLACES: &str = "plan messages, repeat 0
  Tony: messenger 0:02
  Michael: sms 2:00
  Tony: whatsapp 0:30";
const ONE_WORKFLOW: &str = "plan dispatch, repeat 0
  Tony: messenger 0:15 delivered, sms 1:00";
const TWO_WORKFLOWS: &str = "plan dispatch, repeat 0
  Tony: messenger 0:15 delivered, messenger 1:00
  Michael: sms 0:15, viber_service 0:15";

#[track_caller]
fn keeps_every_rule(plan: &str, detail: Detail) -> Walked {
    match walk(plan, detail, step) {
        Ok(walked) => {
            assert!(walked.n_states > 100, "only {} states were visited", walked.n_states);
            walked
        }
        Err(broken) => panic!("`{}` is broken:\n{plan}\n{}", broken.rule, broken.way.join("\n")),
    }
}

#[test]
fn one_channel_keeps_every_rule_in_every_detail() {
    keeps_every_rule(ONE_CHANNEL, Detail::Full);
}

#[test]
fn two_rounds_of_two_channels_keep_every_rule() {
    keeps_every_rule(TWO_ROUNDS, Detail::Current);
}

#[test]
fn two_users_with_three_channels_keep_every_rule() {
    keeps_every_rule(TWO_USERS, Detail::Current);
}

#[test]
fn a_person_in_two_places_keeps_every_rule() {
    keeps_every_rule(THREE_PLACES, Detail::Current);
}

#[test]
fn two_workflows_keep_every_rule() {
    keeps_every_rule(TWO_WORKFLOWS, Detail::Current);
}

#[test]
fn every_kind_of_event_is_tried_in_every_kind_of_state() {
    let mut walked: BTreeSet<Pair> = keeps_every_rule(ONE_CHANNEL, Detail::Full).pairs;
    walked.extend(keeps_every_rule(ONE_WORKFLOW, Detail::Current).pairs);
    walked.extend(keeps_every_rule(TWO_CHANNELS, Detail::Current).pairs);
    let played = story::all().into_iter().flat_map(|(_, text)| story::play(&text, step).told);
    let told: BTreeSet<Pair> = played.map(|told| Pair::of(&told.seen())).collect();
    let difference = differs_from_file("coverage.list", &list(&walked, &told));
    assert!(difference.is_none(), "{}", difference.unwrap_or_default());
}

/// What must come out the same in whatever order the webhooks come.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    status: &'static str,
    acknowledged: Option<(Box<str>, &'static str)>,
    sent: bool,
    delivered: bool,
    read: bool,
    /// The current attempt; of no account once somebody has read, since a failure that came first
    /// will have called the next one.
    current: Option<u32>,
}

impl Outcome {
    fn of(alert: &Alert) -> Self {
        let first = alert.attempt(1).expect("an alert has an attempt");
        Self {
            status: alert.status.name(),
            acknowledged: alert.acknowledged.as_ref().map(|by| (by.by.clone(), by.via.name())),
            sent: first.sent_at.is_some(),
            delivered: first.delivered_at.is_some(),
            read: first.read_at.is_some(),
            current: alert.progress().map(|_| alert.newest_attempt()),
        }
    }
}

/// Tells a freshly begun alert these things, one a second.
fn told(plan: &str, events: &[&str]) -> Outcome {
    let mut alert = raise_with(read_plan(plan));
    let all = ["turn"].iter().chain(events);
    for (seconds, told) in all.enumerate() {
        let event = read_event(told);
        let now = read_moment(&format!("0:{seconds:02}"));
        let verdict = step(&alert, &event, now);
        let seen = Seen { before: &alert, event: &event, now, verdict: &verdict };
        assert_eq!(broken_rule(&seen), None, "{told} of {events:?}");
        if let Verdict::Move { next, .. } = verdict {
            alert = next;
        }
    }
    Outcome::of(&alert)
}

/// Calls `look` with every order of `rest` behind `begun`.
fn each_order<'a>(begun: &mut Vec<&'a str>, rest: &[&'a str], look: &mut dyn FnMut(&[&'a str])) {
    if rest.is_empty() {
        look(begun);
    }
    for index in 0..rest.len() {
        let mut others = rest.to_vec();
        begun.push(others.remove(index));
        each_order(begun, &others, look);
        begun.pop();
    }
}

/// Every choice out of these events comes to the same end in each of its orders. Returns how many
/// orders were tried.
#[track_caller]
fn order_does_not_matter(plan: &str, events: [&str; 6]) -> usize {
    let mut n_orders = 0;
    for choice in 0..1_u32 << events.len() {
        let chosen: Vec<&str> =
            (0..).zip(events).filter(|(place, _)| choice & (1 << place) != 0).map(|(_, event)| event).collect();
        let expected = told(plan, &chosen);
        each_order(&mut Vec::new(), &chosen, &mut |order| {
            n_orders += 1;
            assert_eq!(told(plan, order), expected, "{order:?} against {chosen:?}");
        });
    }
    n_orders
}

#[test]
fn six_webhooks_of_a_message_come_to_the_same_end_in_any_order() {
    let plan = "plan messages, repeat 0\n  Tony: messenger 5:00, sms 5:00\n  Michael: sms 5:00";
    let events = [
        "accepted #1 m-1",
        "submitted #1 m-1",
        "delivered #1 m-1",
        "read #1 m-1",
        "rejected #1 m-1",
        "undeliverable #1",
    ];
    assert_eq!(order_does_not_matter(plan, events), 1_957);
}

#[test]
fn six_webhooks_of_a_workflow_come_to_the_same_end_in_any_order() {
    let plan = "plan dispatch, repeat 0\n  Tony: messenger 5:00, sms 5:00\n  Michael: sms 5:00, rcs 5:00";
    let events = [
        "accepted #1 d-1",
        "rejected #1 m-1 on channel 1",
        "submitted #1 m-2 on channel 2",
        "read #1 m-2 on channel 2",
        "workflow #1 completed: m-1 on channel 1 rejected; m-2 on channel 2 submitted",
        "workflow #1 error",
    ];
    assert_eq!(order_does_not_matter(plan, events), 1_957);
}
