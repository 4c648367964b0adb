//! Alerts to test with. They come about as in the service: raised, and then moved by real events.

#![expect(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test ends where it is surprised")]

use std::sync::Arc;

use callout::contact::{Address, Channel};
use callout::escalation::{
    Alert, Backend, Condition, Event, Failure, Intent, Leg, Plan, Raised, Reach, Recipient, Reply, Report,
    ReportStatus, Severity, Trouble, TroubleOutcome, Verdict, Via, WorkflowOutcome, raise, step,
};
use callout::id::{AlertId, AlertNumber, ProviderId};
use callout::timestamp::Timestamp;

/// Some moment; the alert with number `n` is raised `n` seconds later.
const MONDAY_NIGHT: i64 = 1_772_331_307_000;

/// A moment, counted in seconds.
pub(crate) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(MONDAY_NIGHT + i64::try_from(seconds).expect("a test's time is short") * 1_000)
}

/// What Vonage calls something.
pub(crate) fn provider_id(text: &str) -> ProviderId {
    text.parse().expect("a test's id is one")
}

/// Somebody's address.
pub(crate) fn address(channel: Channel, text: &str) -> Address {
    Address::parse(channel, text).expect("a test's address is one")
}

fn leg(channel: Channel, text: &str, expiry_seconds: u32, condition: Condition) -> Leg {
    Leg { channel, address: address(channel, text), expiry_seconds, condition }
}

/// Tony on Messenger and by text message, then Anna by WhatsApp and Viber; twice.
pub(crate) fn plan(backend: Backend) -> Arc<Plan> {
    let tony = vec![
        leg(Channel::Messenger, "6542087712345678", 300, Condition::Read),
        leg(Channel::Sms, "447700900001", 600, Condition::Delivered),
    ];
    let anna = vec![
        leg(Channel::Whatsapp, "447700900002", 60, Condition::Read),
        leg(Channel::ViberService, "447700900003", 60, Condition::Read),
    ];
    let users =
        [Recipient { name: "Tony".into(), channels: tony }, Recipient { name: "Anna 🦊".into(), channels: anna }];
    Arc::new(Plan::new(backend, &users, 1).expect("a test's plan is one"))
}

/// What is posted as the alert with this number.
pub(crate) fn raised(number: u64) -> Raised {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&number.to_be_bytes());
    Raised {
        id: AlertId::new(at(number), random),
        number: AlertNumber(number),
        message: "Main server is down".into(),
        severity: Severity::Critical,
        policy: Some("default".into()),
        dedup_key: None,
        source: Some("nagios".into()),
        link: None,
        details: r#"{"host": "server-1"}"#.into(),
        at: at(number),
        plan: plan(Backend::Messages),
    }
}

/// The alert with this number, as it begins.
pub(crate) fn alert(number: u64) -> Arc<Alert> {
    begin(raised(number))
}

/// The alert with this number, for a problem with a name.
pub(crate) fn alert_with_key(number: u64, key: &str) -> Arc<Alert> {
    begin(Raised { dedup_key: Some(key.into()), ..raised(number) })
}

/// An alert as it begins.
pub(crate) fn begin(raised: Raised) -> Arc<Alert> {
    Arc::new(raise(Arc::new(raised)))
}

/// The alert after an event that must change it.
#[track_caller]
pub(crate) fn after(alert: &Alert, event: &Event, now: Timestamp) -> Arc<Alert> {
    match step(alert, event, now) {
        Verdict::Move { next, .. } => Arc::new(next),
        Verdict::Stay(ignored) => panic!("{event:?} changes nothing: {ignored:?}"),
    }
}

/// The alert after its current attempt was sent and accepted under a name.
#[track_caller]
pub(crate) fn after_sending(alert: &Alert, id: &str) -> Arc<Alert> {
    let sending = after(alert, &Event::TurnCame, alert.updated_at);
    let accepted = Event::Accepted { attempt: sending.newest_attempt(), id: Some(provider_id(id)) };
    after(&sending, &accepted, alert.updated_at)
}

/// The alert after a try of its current attempt that did not get through.
#[track_caller]
pub(crate) fn after_failing(alert: &Alert) -> Arc<Alert> {
    let sending = after(alert, &Event::TurnCame, alert.updated_at);
    let attempt = sending.newest_attempt();
    let try_number = sending.attempt(attempt).expect("it was begun").tries;
    let failure = Failure { code: None, detail: "Nobody there".into() };
    after(&sending, &Event::Trouble { attempt, try_number, trouble: trouble(alert, failure) }, alert.updated_at)
}

fn trouble(alert: &Alert, failure: Failure) -> Trouble {
    Trouble {
        failure,
        outcome: TroubleOutcome::NotSent,
        retry_after: None,
        jitter: 17,
        last_accepted_at: Some(alert.updated_at),
        failing_here_since: None,
    }
}

/// The alert after Tony wrote that he has seen it; an attempt must have been sent.
#[track_caller]
pub(crate) fn after_acknowledging(alert: &Alert) -> Arc<Alert> {
    after(alert, &Event::Acknowledge { by: "Tony".into(), via: Via::Api, channel: None }, alert.updated_at)
}

/// The alert after somebody said that the problem is over.
#[track_caller]
pub(crate) fn after_resolving(alert: &Alert) -> Arc<Alert> {
    after(alert, &Event::Resolve { by: "Tony".into() }, alert.updated_at)
}

/// The alert after everybody was asked for and nobody answered.
#[track_caller]
pub(crate) fn after_everybody(alert: &Alert) -> Arc<Alert> {
    let mut alert = Arc::new(alert.clone());
    while alert.progress().is_some() {
        alert = after(&alert, &Event::NextUser { by: "Tony".into(), attempt: None }, alert.updated_at);
    }
    alert
}

/// Numbers that look random and are the same in every run (splitmix64).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % n
    }

    pub(crate) fn one_of<T: Clone>(&mut self, choices: &[T]) -> T {
        let n = u64::try_from(choices.len()).expect("few");
        choices[usize::try_from(self.below(n)).expect("few")].clone()
    }
}

/// What happens to an alert in the course of many random events. Each alert on the way is handed to `see`.
pub(crate) fn wander(raised: Raised, seed: u64, mut see: impl FnMut(&Alert)) {
    let mut dice = Dice::new(seed);
    let mut alert = begin(raised);
    let mut now = alert.updated_at;
    see(&alert);
    for n in 0..60 {
        now = now.plus(std::time::Duration::from_millis(dice.below(400_000)));
        let event = some_event(&alert, &mut dice, n);
        if let Verdict::Move { next, .. } = step(&alert, &event, now) {
            alert = Arc::new(next);
            see(&alert);
        }
    }
}

fn some_event(alert: &Alert, dice: &mut Dice, n: u64) -> Event {
    let attempt = u32::try_from(1 + dice.below(u64::from(alert.newest_attempt()))).expect("few");
    let try_number = alert.attempt(attempt).map_or(1, |attempt| attempt.tries);
    let failure = Failure { code: dice.one_of(&[None, Some("1320")]).map(Into::into), detail: "Nobody there".into() };
    let by = dice.one_of(&["Tony", "Zoë", "the night shift 🌙"]).into();
    let report = |dice: &mut Dice| Report {
        id: Some(provider_id(&format!("message-{}", dice.below(6)))),
        leg: u8::try_from(dice.below(2)).expect("few"),
        status: dice.one_of(&[
            ReportStatus::Submitted,
            ReportStatus::Delivered,
            ReportStatus::Undeliverable,
            ReportStatus::Rejected,
            ReportStatus::Read,
        ]),
        failure: Some(Failure { code: None, detail: "No such number".into() }),
    };
    match dice.below(22) {
        0..=5 => Event::TurnCame,
        // Nobody answers for a send that was never begun.
        9..=12 if try_number == 0 => Event::TurnCame,
        6..=8 => Event::TimePassed { reach: Reach::Open },
        9 | 10 => Event::Accepted { attempt, id: Some(provider_id(&format!("sent-{n}"))) },
        11 => Event::Refused { attempt, try_number, failure },
        12 => Event::Trouble {
            attempt,
            try_number,
            trouble: Trouble {
                outcome: dice.one_of(&[TroubleOutcome::NotSent, TroubleOutcome::Unknown]),
                ..trouble(alert, failure)
            },
        },
        13 => Event::SenderLost,
        14 | 15 => Event::Reported { attempt, report: report(dice) },
        16 => Event::WorkflowEnded {
            attempt,
            outcome: dice.one_of(&[WorkflowOutcome::Completed, WorkflowOutcome::Error]),
            messages: vec![report(dice)],
        },
        17 => Event::Replied {
            attempt,
            reply: Reply {
                id: Some(provider_id(&format!("reply-{n}"))),
                channel: Channel::Whatsapp,
                intent: dice.one_of(&[Intent::Acknowledge, Intent::NextUser, Intent::Resolve, Intent::OptOut]),
            },
        },
        18 if n > 30 => Event::Acknowledge { by, via: Via::Link, channel: Some(Channel::Sms) },
        19 => Event::NextUser { by, attempt: None },
        20 if n > 40 => Event::Resolve { by },
        _ => Event::Repeated,
    }
}
