//! The language of the stories: moments, plans and what the machine is told.
//!
//! ```text
//! plan messages, repeat 1
//!   Tony: messenger 5:00 delivered, sms 5:00
//!
//! 0:00 raise
//! 0:00 turn
//! 0:01 accepted #1 m-1
//! 0:02 trouble #1 try 1, unknown outcome, retry after 0:30, jitter -200, last accepted 0:01
//! 0:03 rejected #1 m-1 on channel 1, because 1340 outside the allowed window
//! 0:04 workflow #1 error: m-1 on channel 1 rejected; m-2 on channel 2 undeliverable
//! 0:05 reply #1 r-1 by sms, next
//! 0:06 acknowledge by Tony via link on sms
//! 0:07 next by Maria, if #2
//! ```
//!
//! A moment is minutes and seconds (`5:00`), or hours too (`1:05:00`), with up to three decimals.

use std::sync::Arc;
use std::time::Duration;

use callout::contact::{Address, Channel};
use callout::escalation::{
    Alert, Backend, Condition, Event, Failure, Intent, Leg, Plan, Raised, Reach, Recipient, Reply, Report,
    ReportStatus, Severity, Trouble, TroubleOutcome, Via, WorkflowOutcome, raise,
};
use callout::id::{AlertId, AlertNumber, AttemptNumber, ProviderId};
use callout::timestamp::Timestamp;

/// Every status of a report, the weakest first.
pub(crate) const REPORTS: [ReportStatus; 5] = [
    ReportStatus::Submitted,
    ReportStatus::Delivered,
    ReportStatus::Rejected,
    ReportStatus::Undeliverable,
    ReportStatus::Read,
];

/// The moment that stories call `0:00`.
const BEGIN: Timestamp = Timestamp::from_millis(1_772_331_307_412);

/// Reads how long after the beginning of the story something is.
pub(crate) fn read_span(text: &str) -> Duration {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    assert!(whole.contains(':'), "`{text}` is not a moment such as 5:00");
    let seconds = whole.split(':').fold(0, |sum, part| sum * 60 + number::<u64>(part));
    Duration::from_secs(seconds) + Duration::from_millis(number(&format!("{decimals:0<3}")))
}

/// Reads a moment of the story.
pub(crate) fn read_moment(text: &str) -> Timestamp {
    BEGIN.plus(read_span(text))
}

/// Writes a moment of the story.
pub(crate) fn show_moment(moment: Timestamp) -> String {
    let millis = moment.since(BEGIN).as_millis();
    let (hours, minutes, seconds) = (millis / 3_600_000, millis / 60_000 % 60, millis / 1_000 % 60);
    let whole =
        if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") };
    match millis % 1_000 {
        0 => whole,
        rest => format!("{whole}.{rest:03}").trim_end_matches('0').to_owned(),
    }
}

/// Reads the lines of a plan: the line that begins with `plan`, then a line for each user.
pub(crate) fn read_plan(text: &str) -> Plan {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let head = lines.next().expect("a plan begins with a line");
    let (backend, repeat) = match head.strip_prefix("plan ").and_then(|rest| rest.split_once(", repeat ")) {
        Some(("messages", repeat)) => (Backend::Messages, number(repeat)),
        Some(("dispatch", repeat)) => (Backend::Dispatch, number(repeat)),
        _ => panic!("`{head}` is not `plan messages, repeat 0` or `plan dispatch, repeat 0`"),
    };
    let recipients: Vec<Recipient> = lines.map(read_recipient).collect();
    Plan::new(backend, &recipients, repeat).expect("the plan can be made")
}

fn read_recipient(line: &str) -> Recipient {
    let (name, channels) = line.split_once(": ").expect("a user is `Name: channel 5:00, …`");
    Recipient { name: name.into(), channels: channels.split(", ").map(read_leg).collect() }
}

fn read_leg(text: &str) -> Leg {
    let words: Vec<&str> = text.split(' ').collect();
    let (channel, expiry, condition) = match words.as_slice() {
        [channel, expiry] => (read_channel(channel), expiry, Condition::Read),
        [channel, expiry, "delivered"] => (read_channel(channel), expiry, Condition::Delivered),
        _ => panic!("`{text}` is not `channel 5:00` or `channel 5:00 delivered`"),
    };
    let address = Address::parse(channel, "447700900001").expect("a number is an address on every channel");
    let expiry_seconds = u32::try_from(read_span(expiry).as_secs()).expect("an expiry is short");
    Leg { channel, address, expiry_seconds, condition }
}

/// Raises an alert with this plan at the beginning of the story.
pub(crate) fn raise_with(plan: Plan) -> Alert {
    raise(Arc::new(Raised {
        id: AlertId::new(BEGIN, [7; 10]),
        number: AlertNumber(1),
        message: "Main server is down".into(),
        severity: Severity::Critical,
        policy: Some("default".into()),
        dedup_key: None,
        source: None,
        link: None,
        details: "{}".into(),
        at: BEGIN,
        plan: Arc::new(plan),
    }))
}

/// Reads what the machine is told.
pub(crate) fn read_event(text: &str) -> Event {
    let (told, options) = text.split_once(", ").map_or((text, ""), |(told, options)| (told, options));
    let options: Vec<&str> = options.split(", ").filter(|option| !option.is_empty()).collect();
    let words: Vec<&str> = told.split(' ').collect();
    match words.as_slice() {
        ["time"] => Event::TimePassed { reach: read_reach(&options) },
        ["outage", "over"] => Event::OutageOver,
        ["turn"] => Event::TurnCame,
        ["sender", "lost"] => Event::SenderLost,
        ["accepted", attempt] => Event::Accepted { attempt: read_attempt(attempt), id: None },
        ["accepted", attempt, id] => Event::Accepted { attempt: read_attempt(attempt), id: Some(read_id(id)) },
        ["refused", attempt, "try", tries] => Event::Refused {
            attempt: read_attempt(attempt),
            try_number: number(tries),
            failure: read_failure(&options).unwrap_or_else(|| failure(Some("422"), "the recipient is not usable")),
        },
        ["trouble", attempt, "try", tries] => Event::Trouble {
            attempt: read_attempt(attempt),
            try_number: number(tries),
            trouble: read_trouble(&options),
        },
        ["workflow", attempt, rest @ ..] => read_workflow(read_attempt(attempt), &rest.join(" ")),
        ["reply", attempt, id, "by", channel] => read_reply(attempt, Some(read_id(id)), channel, &options),
        ["reply", attempt, "by", channel] => read_reply(attempt, None, channel, &options),
        ["acknowledge", "by", by] => Event::Acknowledge { by: (*by).into(), via: Via::Api, channel: None },
        ["acknowledge", "by", by, "via", "link", "on", channel] => {
            Event::Acknowledge { by: (*by).into(), via: Via::Link, channel: Some(read_channel(channel)) }
        }
        ["next", "by", by] => Event::NextUser { by: (*by).into(), attempt: read_condition(&options) },
        ["resolve", "by", by] => Event::Resolve { by: (*by).into() },
        ["repeat"] => Event::Repeated,
        [status, attempt, rest @ ..] => Event::Reported {
            attempt: read_attempt(attempt),
            report: read_report(status, rest, read_failure(&options)),
        },
        _ => panic!("`{text}` is nothing that the machine can be told"),
    }
}

fn read_reach(options: &[&str]) -> Reach {
    match options {
        [] => Reach::Open,
        ["doubtful"] => Reach::Doubtful,
        ["blocked"] => Reach::Blocked,
        _ => panic!("{options:?} is not `doubtful` or `blocked`"),
    }
}

fn read_condition(options: &[&str]) -> Option<AttemptNumber> {
    let [option] = options else { return None };
    Some(read_attempt(option.strip_prefix("if ").expect("a condition is `if #2`")))
}

fn read_trouble(options: &[&str]) -> Trouble {
    let mut trouble = Trouble {
        failure: failure(Some("503"), "Vonage is in trouble"),
        outcome: TroubleOutcome::NotSent,
        retry_after: None,
        jitter: 0,
        last_accepted_at: None,
        failing_here_since: None,
    };
    for option in options {
        match option.rsplit_once(' ').unwrap_or((option, "")) {
            ("unknown", "outcome") => {
                trouble.outcome = TroubleOutcome::Unknown;
                trouble.failure = failure(None, "no answer in time");
            }
            ("retry after", span) => trouble.retry_after = Some(read_span(span)),
            ("jitter", thousandths) => trouble.jitter = number(thousandths),
            ("last accepted", moment) => trouble.last_accepted_at = Some(read_moment(moment)),
            ("failing here since", moment) => trouble.failing_here_since = Some(read_moment(moment)),
            _ => panic!("`{option}` says nothing about a trouble"),
        }
    }
    trouble
}

fn read_report(status: &str, words: &[&str], failure: Option<Failure>) -> Report {
    let status = REPORTS.into_iter().find(|report| report.name() == status);
    let status = status.unwrap_or_else(|| panic!("nothing is reported of {words:?}"));
    let (id, leg) = match words {
        [] => (None, 0),
        [id] => (Some(read_id(id)), 0),
        [id, "on", "channel", place] => (Some(read_id(id)), number::<u8>(place) - 1),
        ["on", "channel", place] => (None, number::<u8>(place) - 1),
        _ => panic!("{words:?} is not `m-1 on channel 2`"),
    };
    Report { id, leg, status, failure }
}

fn read_workflow(attempt: AttemptNumber, text: &str) -> Event {
    let (outcome, messages) = text.split_once(": ").unwrap_or((text, ""));
    let outcome = match outcome {
        "completed" => WorkflowOutcome::Completed,
        "error" => WorkflowOutcome::Error,
        _ => panic!("`{outcome}` is not `completed` or `error`"),
    };
    let messages = messages.split("; ").filter(|message| !message.is_empty());
    let messages = messages.map(|message| {
        let (words, status) = message.rsplit_once(' ').expect("a message is `m-1 on channel 1 read`");
        read_report(status, &words.split(' ').collect::<Vec<_>>(), None)
    });
    Event::WorkflowEnded { attempt, outcome, messages: messages.collect() }
}

fn read_reply(attempt: &str, id: Option<ProviderId>, channel: &str, options: &[&str]) -> Event {
    let intent = match options {
        [] => Intent::Acknowledge,
        ["next"] => Intent::NextUser,
        ["resolve"] => Intent::Resolve,
        ["stop"] => Intent::OptOut,
        _ => panic!("{options:?} is not `next`, `resolve` or `stop`"),
    };
    Event::Replied { attempt: read_attempt(attempt), reply: Reply { id, channel: read_channel(channel), intent } }
}

fn read_failure(options: &[&str]) -> Option<Failure> {
    let [option] = options else { return None };
    let reason = option.strip_prefix("because ").expect("a reason is `because 1340 outside the allowed window`");
    match reason.split_once(' ') {
        Some((code, detail)) if code.bytes().all(|byte| byte.is_ascii_digit()) => Some(failure(Some(code), detail)),
        _ => Some(failure(None, reason)),
    }
}

pub(crate) fn failure(code: Option<&str>, detail: &str) -> Failure {
    Failure { code: code.map(Into::into), detail: detail.into() }
}

fn read_attempt(text: &str) -> AttemptNumber {
    number(text.strip_prefix('#').unwrap_or_else(|| panic!("`{text}` is not an attempt such as #1")))
}

pub(crate) fn read_id(text: &str) -> ProviderId {
    text.parse().expect("an id is visible ASCII")
}

fn read_channel(text: &str) -> Channel {
    text.parse().unwrap_or_else(|_unknown| panic!("`{text}` is not a channel"))
}

fn number<N: std::str::FromStr>(text: &str) -> N {
    text.parse().unwrap_or_else(|_not_a_number| panic!("`{text}` is not a number that fits here"))
}
