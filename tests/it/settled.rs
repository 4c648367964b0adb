//! What is asked for once nobody needs to be called any more: whom to tell who has the alert, and which
//! messages to take back.

use std::sync::Arc;

use callout::contact::{Address, Channel};
use callout::escalation::{
    Alert, Backend, Condition, Confirm, Effect, Event, Intent, Leg, Plan, Reach, Recipient, Reply, Report,
    ReportStatus, Tone, Verdict, Via, broken_transition, step,
};
use callout::id::AttemptNumber;
use callout::timestamp::Timestamp;

use crate::machine::language::raise_with;

const TONY: &str = "447700900001";
const ANNA: &str = "447700900002";

/// An alert while a story is told of it.
struct Story {
    alert: Alert,
    now: Timestamp,
    asked: Vec<String>,
}

fn leg(channel: Channel, address: &str) -> Leg {
    let address = Address::parse(channel, address).unwrap();
    Leg { channel, address, expiry_seconds: 60, condition: Condition::Read }
}

fn user(name: &str, legs: &[Leg]) -> Recipient {
    Recipient { name: name.into(), channels: legs.to_vec() }
}

/// Tony by Viber and SMS, then Anna by RCS and SMS; a minute each.
fn two_users() -> [Recipient; 2] {
    [
        user("Tony", &[leg(Channel::ViberService, TONY), leg(Channel::Sms, TONY)]),
        user("Anna", &[leg(Channel::Rcs, ANNA), leg(Channel::Sms, ANNA)]),
    ]
}

fn plan(backend: Backend) -> Plan {
    Plan::new(backend, &two_users(), 0).unwrap().with_confirm(Confirm::Everybody)
}

impl Story {
    fn of(plan: Plan) -> Self {
        let alert = raise_with(plan);
        let now = alert.raised.at;
        Self { alert, now, asked: Vec::new() }
    }

    /// Something happens; what is asked for besides sends is noted.
    fn tell(&mut self, event: &Event) {
        let verdict = step(&self.alert, event, self.now);
        assert_eq!(broken_transition(&self.alert, &verdict), None, "{event:?}");
        let Verdict::Move { next, effects } = verdict else { return };
        self.alert = next;
        self.asked.extend(effects.iter().filter_map(|effect| match effect {
            Effect::Send { .. } => None,
            Effect::Tell { attempt, leg, tone: Tone::Thanks } => Some(format!("thank #{attempt}.{leg}")),
            Effect::Tell { attempt, leg, tone: Tone::News } => Some(format!("tell #{attempt}.{leg}")),
            Effect::Revoke { attempt, id } => Some(format!("revoke #{attempt} {id}")),
        }));
    }

    /// Sends so many attempts, each a minute after the one before.
    fn send(&mut self, n_attempts: usize) {
        for _ in 0..n_attempts {
            if let Some(wake_at) = callout::escalation::next_wake(&self.alert) {
                self.now = self.now.max(wake_at);
            }
            self.tell(&Event::TimePassed { reach: Reach::Open });
            self.tell(&Event::TurnCame);
            let attempt = self.alert.newest_attempt();
            self.accept(attempt);
        }
    }

    fn accept(&mut self, attempt: AttemptNumber) {
        self.tell(&Event::Accepted { attempt, id: Some(format!("m-{attempt}").parse().unwrap()) });
    }

    fn report(&mut self, attempt: AttemptNumber, leg: u8, status: ReportStatus) {
        let id = match self.alert.plan().backend() {
            Backend::Messages => format!("m-{attempt}"),
            Backend::Dispatch => format!("m-{attempt}-{leg}"),
        };
        let id = Some(id.parse().unwrap());
        self.tell(&Event::Reported { attempt, report: Report { id, leg, status, failure: None } });
    }

    fn reply(&mut self, attempt: AttemptNumber, channel: Channel, intent: Intent) {
        self.tell(&Event::Replied { attempt, reply: Reply { id: None, channel, intent } });
    }

    fn acknowledge(&mut self, by: &str, via: Via, channel: Option<Channel>) {
        self.tell(&Event::Acknowledge { by: by.into(), via, channel });
    }

    /// What was asked for since somebody looked last.
    fn asked(&mut self) -> Vec<String> {
        std::mem::take(&mut self.asked)
    }
}

#[test]
fn whoever_read_it_is_thanked_and_the_others_are_told() {
    let mut story = Story::of(plan(Backend::Messages));
    story.send(3);
    story.report(3, 0, ReportStatus::Read);
    assert_eq!(story.asked(), ["thank #3.0", "tell #1.0", "tell #2.0"]);
}

#[test]
fn whoever_answers_is_not_told_on_their_other_channels() {
    let mut story = Story::of(plan(Backend::Messages));
    story.send(4);
    story.reply(2, Channel::Sms, Intent::Acknowledge);
    assert_eq!(story.asked(), ["thank #2.0", "tell #3.0", "tell #4.0", "revoke #3 m-3"]);
}

#[test]
fn whoever_opened_the_link_is_thanked_where_the_link_was() {
    let mut story = Story::of(plan(Backend::Messages));
    story.send(4);
    story.acknowledge("Tony", Via::Link, Some(Channel::ViberService));
    assert_eq!(story.asked(), ["thank #1.0", "tell #3.0", "tell #4.0", "revoke #3 m-3"]);
}

#[test]
fn everybody_is_told_of_an_acknowledgement_through_the_api() {
    let mut story = Story::of(plan(Backend::Messages));
    story.send(2);
    story.acknowledge("Maria", Via::Api, None);
    assert_eq!(story.asked(), ["tell #1.0", "tell #2.0"]);
}

#[test]
fn in_a_further_round_each_address_is_told_once() {
    let rounds = Plan::new(Backend::Messages, &two_users(), 2).unwrap().with_confirm(Confirm::Everybody);
    let mut story = Story::of(rounds);
    story.send(9);
    story.acknowledge("Maria", Via::Api, None);
    assert_eq!(story.asked().iter().filter(|asked| asked.starts_with("tell")).count(), 4);
}

#[test]
fn people_who_share_a_phone_are_told_once() {
    let shared = [user("Tony", &[leg(Channel::Sms, TONY)]), user("Anna", &[leg(Channel::Sms, TONY)])];
    let plan = Plan::new(Backend::Messages, &shared, 0).unwrap().with_confirm(Confirm::Everybody);
    let mut story = Story::of(plan);
    story.send(2);
    story.reply(2, Channel::Sms, Intent::Acknowledge);
    assert_eq!(story.asked(), ["thank #2.0"]);
}

#[test]
fn whom_no_message_reached_is_not_told() {
    let mut story = Story::of(plan(Backend::Messages));
    story.send(1);
    story.report(1, 0, ReportStatus::Undeliverable);
    story.send(1);
    story.acknowledge("Maria", Via::Api, None);
    assert_eq!(story.asked(), ["tell #2.0"], "the first message failed, and Anna was never messaged");
}

#[test]
fn on_dispatch_people_are_told_where_vonage_said_it_messaged_them() {
    let mut story = Story::of(plan(Backend::Dispatch));
    story.send(1);
    story.report(1, 0, ReportStatus::Undeliverable);
    story.report(1, 1, ReportStatus::Delivered);
    story.now = story.now.plus(std::time::Duration::from_mins(10));
    story.send(1);
    story.report(2, 1, ReportStatus::Read);
    assert_eq!(story.asked(), ["thank #2.1", "tell #1.1"], "nothing can be taken back on Dispatch");
}

#[test]
fn nothing_is_said_twice_whatever_comes_after_the_first_acknowledgement() {
    let mut story = Story::of(plan(Backend::Messages));
    story.send(3);
    story.reply(3, Channel::Rcs, Intent::Acknowledge);
    assert_eq!(story.asked().len(), 3);
    story.reply(3, Channel::Rcs, Intent::Acknowledge);
    story.reply(1, Channel::ViberService, Intent::Acknowledge);
    story.report(2, 0, ReportStatus::Delivered);
    story.report(1, 0, ReportStatus::Read);
    story.acknowledge("Maria", Via::Api, None);
    story.tell(&Event::Resolve { by: "Maria".into() });
    assert_eq!(story.asked(), [""; 0]);
}

#[test]
fn nobody_is_told_of_a_problem_that_is_over_nor_where_the_policy_is_silent() {
    let mut story = Story::of(plan(Backend::Messages));
    story.send(2);
    story.reply(2, Channel::Sms, Intent::Resolve);
    assert_eq!(story.asked(), [""; 0]);
    let mut story = Story::of(Plan::new(Backend::Messages, &two_users(), 0).unwrap());
    story.send(2);
    story.report(2, 0, ReportStatus::Read);
    assert_eq!(story.asked(), [""; 0]);
}

#[test]
fn an_exhausted_alert_that_is_answered_after_all_is_confirmed() {
    let mut story = Story::of(plan(Backend::Messages));
    story.send(5);
    assert_eq!(story.alert.status.name(), "exhausted");
    story.reply(4, Channel::Sms, Intent::Acknowledge);
    assert_eq!(story.asked(), ["thank #4.0", "tell #1.0", "tell #2.0", "revoke #3 m-3"]);
}

#[test]
fn an_unread_rcs_message_is_taken_back_when_the_problem_is_over() {
    let mut story = Story::of(plan(Backend::Messages));
    story.send(4);
    story.tell(&Event::Resolve { by: "Maria".into() });
    assert_eq!(story.asked(), ["revoke #3 m-3"]);
}

#[test]
fn what_somebody_read_or_answered_or_never_got_is_not_taken_back() {
    let mut story = Story::of(plan(Backend::Messages));
    story.send(3);
    story.reply(3, Channel::Rcs, Intent::Resolve);
    assert_eq!(story.asked(), [""; 0], "answered");
    let mut story = Story::of(plan(Backend::Messages));
    story.send(3);
    story.report(3, 0, ReportStatus::Rejected);
    story.tell(&Event::Resolve { by: "Maria".into() });
    assert_eq!(story.asked(), [""; 0], "never arrived");
}

#[test]
fn after_a_day_nothing_can_be_taken_back() {
    let mut story = Story::of(plan(Backend::Messages));
    story.send(5);
    story.now = story.now.plus(std::time::Duration::from_hours(24));
    story.tell(&Event::Resolve { by: "Maria".into() });
    assert_eq!(story.asked(), [""; 0]);
}

#[test]
fn a_message_whose_acceptance_comes_after_the_acknowledgement_is_taken_back_then() {
    let mut story = Story::of(plan(Backend::Messages));
    story.send(2);
    story.now = callout::escalation::next_wake(&story.alert).unwrap();
    story.tell(&Event::TimePassed { reach: Reach::Open });
    story.tell(&Event::TurnCame);
    story.report(1, 0, ReportStatus::Read);
    assert_eq!(story.asked(), ["thank #1.0"], "Anna's message is on its way, and nobody knows yet of it");
    story.accept(3);
    assert_eq!(story.asked(), ["revoke #3 m-3"]);
    story.accept(3);
    assert_eq!(story.asked(), [""; 0]);
}

#[test]
fn a_frozen_plan_keeps_its_word_when_it_is_shared() {
    let plan = Arc::new(plan(Backend::Messages));
    assert_eq!(plan.confirm(), Confirm::Everybody);
    assert_eq!(Plan::clone(&plan).with_confirm(Confirm::Nobody).confirm(), Confirm::Nobody);
    assert_ne!(*plan, Plan::clone(&plan).with_confirm(Confirm::Nobody), "it is another plan");
}
