//! The ladder of users and channels: what has happened, what is happening, and what will happen when.

use maud::{Markup, html};

use crate::contact::Channel;
use crate::escalation::{
    Alert, Attempt, AttemptStatus, Backend, Outlook, Progress, ReportStatus, Status, Step, outlook,
};
use crate::id::AttemptNumber;
use crate::timestamp::Timestamp;

use super::frame;

/// How many rungs are shown at once, counted from shortly before the current one.
const RUNGS_SHOWN: usize = 80;
/// How many of them may lie before the current one.
const RUNGS_BEFORE: usize = 40;

/// One step of one round.
struct Rung<'a> {
    round: u32,
    step: &'a Step,
    what: What<'a>,
}

enum What<'a> {
    /// It was or is being carried out.
    Tried(AttemptNumber, &'a Attempt),
    /// It was left out, because its user was done with.
    LeftOut,
    /// It comes then, if nobody answers.
    Comes(Timestamp),
    /// It is not needed any more.
    NotNeeded,
}

/// When the current wait is over.
pub(super) fn deadline(alert: &Alert) -> Option<Timestamp> {
    match alert.progress()? {
        Progress::Waiting { until } => Some(until),
        Progress::Ready { .. } | Progress::Sending { .. } => None,
    }
}

/// The channels of a step, with the end of the address where there is one channel.
pub(super) fn channels(step: &Step) -> Markup {
    html! {
        @for (index, leg) in step.legs().enumerate() {
            @if index > 0 { " → " }
            span.channel { (label(leg.channel)) }
        }
        @if step.further.is_empty() { " " span.address { (step.first.address.shortened()) } }
    }
}

/// A channel as people call it.
pub(super) const fn label(channel: Channel) -> &'static str {
    match channel {
        Channel::Messenger => "Messenger",
        Channel::ViberService => "Viber",
        Channel::Whatsapp => "WhatsApp",
        Channel::Sms => "SMS",
        Channel::Rcs => "RCS",
        Channel::Mms => "MMS",
        Channel::Email => "E-mail",
    }
}

/// Who is called when the current wait is over.
pub(super) fn next(alert: &Alert, now: Timestamp) -> Markup {
    let coming = outlook(alert, now, 1).coming.first().and_then(|next| alert.plan().steps().get(next.step));
    html! {
        p.next {
            "If nobody answers: "
            @if let Some(step) = coming { strong { (step.user) } " on " (channels(step)) }
            @else { "exhausted, nobody is left to call" }
        }
    }
}

/// The whole ladder.
pub(super) fn show(alert: &Alert, now: Timestamp) -> Markup {
    let forecast = outlook(alert, now, RUNGS_SHOWN);
    let rungs = rungs(alert, &forecast);
    let n_tried = rungs.iter().rposition(|rung| matches!(rung.what, What::Tried(..))).unwrap_or_default();
    let n_before = n_tried.saturating_sub(RUNGS_BEFORE);
    let shown: Vec<&Rung<'_>> = rungs.iter().skip(n_before).take(RUNGS_SHOWN).collect();
    let n_after = rungs.len().saturating_sub(n_before + shown.len()) + forecast.n_more;
    html! {
        section #ladder .card data-live-part aria-labelledby="ladder-title" {
            h2 #ladder-title { "Who is called, and when" }
            @if n_before > 0 { p.hint { (n_before) " earlier steps are left out." } }
            @for round in shown.chunk_by(|one, next| one.round == next.round) {
                @if alert.plan().repeat() > 0 && let Some(first) = round.first() {
                    h3.round { "Round " (first.round) " of " (u64::from(alert.plan().repeat()) + 1) }
                }
                ol.people {
                    @for person in round.chunk_by(|one, next| one.step.place == next.step.place) {
                        li.person {
                            @if let Some(first) = person.first() { h4 { (first.step.user) } }
                            ol.rungs { @for rung in person { (self::rung(alert, rung, now)) } }
                        }
                    }
                }
            }
            @if n_after > 0 { p.hint { "and " (n_after) " more steps." } }
            (end(alert, &forecast))
        }
    }
}

/// Every step of every round that has begun, and the ones to come.
fn rungs<'a>(alert: &'a Alert, forecast: &Outlook) -> Vec<Rung<'a>> {
    let steps = alert.plan().steps();
    let mut tried = (1..).zip(&alert.attempts).peekable();
    let mut coming = forecast.coming.iter().peekable();
    let is_over = alert.progress().is_none();
    let mut rungs = Vec::new();
    for round in 1..=alert.plan().repeat().saturating_add(1) {
        for (index, step) in steps.iter().enumerate() {
            let is_here = |attempt: &Attempt| attempt.round == round && usize::try_from(attempt.step) == Ok(index);
            let what = if let Some((number, attempt)) = tried.next_if(|(_, attempt)| is_here(attempt)) {
                What::Tried(number, attempt)
            } else if tried.peek().is_some() {
                What::LeftOut
            } else if let Some(next) = coming.next_if(|next| next.round == round && next.step == index) {
                What::Comes(next.at)
            } else if is_over {
                What::NotNeeded
            } else if coming.peek().is_some() {
                What::LeftOut
            } else {
                continue;
            };
            // A round that never began, and never will, is not worth a line.
            if matches!(what, What::NotNeeded) && round > alert.round {
                continue;
            }
            rungs.push(Rung { round, step, what });
        }
    }
    rungs
}

fn rung(alert: &Alert, rung: &Rung<'_>, now: Timestamp) -> Markup {
    match rung.what {
        What::Tried(number, attempt) => tried(alert, rung.step, number, attempt, now),
        What::LeftOut => html! {
            li.rung.unused { (mark(Mark::Skipped)) div { p.what { (channels(rung.step)) } p.hint { "left out" } } }
        },
        What::NotNeeded => html! {
            li.rung.unused { (mark(Mark::Skipped)) div { p.what { (channels(rung.step)) } p.hint { "not needed" } } }
        },
        What::Comes(at) => html! {
            li.rung.coming {
                (mark(Mark::Coming))
                div {
                    p.what { (channels(rung.step)) }
                    p.hint { "in " (frame::countdown(at)) ", at " (frame::moment(at)) ", if nobody answers" }
                }
            }
        },
    }
}

fn tried(alert: &Alert, step: &Step, number: AttemptNumber, attempt: &Attempt, now: Timestamp) -> Markup {
    let is_current = alert.progress().is_some() && number == alert.newest_attempt();
    let status = attempt.status();
    html! {
        li.rung.(tone(status)).current[is_current] aria-current=[is_current.then_some("step")] {
            (mark(if is_current { Mark::Current } else { mark_of(status) }))
            div {
                p.what {
                    (channels(step))
                    " " span.badge.fate.(tone(status)) { (status.name()) }
                }
                @if is_current { (waiting(alert, attempt, now)) }
                (fate(attempt))
                @if alert.plan().backend() == Backend::Dispatch { (messages(step, attempt)) }
                @if let Some(failure) = &attempt.failure {
                    p.failure {
                        (failure.detail)
                        @if let Some(code) = &failure.code { " (" (code) ")" }
                    }
                }
            }
        }
    }
}

fn waiting(alert: &Alert, attempt: &Attempt, now: Timestamp) -> Markup {
    html! {
        @match alert.progress() {
            Some(Progress::Waiting { until }) => {
                p.line { span { "waiting for a read" } span.grow {} (frame::countdown(until)) }
                (frame::wait("Time until the next step", attempt.sent_at.unwrap_or(until), until, now))
            }
            Some(Progress::Ready { from, .. }) if from > now => p { "is sent again in " (frame::countdown(from)) },
            Some(Progress::Ready { .. }) => p { "waits for its turn to be sent" },
            Some(Progress::Sending { .. }) => p { "is being sent" },
            None => {}
        }
    }
}

/// What became of the message, moment by moment.
fn fate(attempt: &Attempt) -> Markup {
    let moments = [
        ("sent", attempt.sent_at),
        ("submitted", attempt.submitted_at),
        ("delivered", attempt.delivered_at),
        ("read", attempt.read_at),
    ];
    html! {
        @if attempt.sent_at.is_some() || attempt.read_at.is_some() {
            ol.fate {
                @for (name, at) in moments {
                    @if let Some(at) = at { li { span { (name) } " " (frame::moment(at)) } }
                }
            }
        }
        @if attempt.tries > 1 { p.hint { (attempt.tries) " tries" } }
    }
}

fn messages(step: &Step, attempt: &Attempt) -> Markup {
    html! {
        @if !attempt.messages.is_empty() {
            ul.messages {
                @for message in &attempt.messages {
                    @let channel = step.legs().nth(usize::from(message.leg)).map(|leg| label(leg.channel));
                    li { (channel.unwrap_or("a channel")) ": " (ReportStatus::name(message.status)) }
                }
            }
        }
    }
}

fn end(alert: &Alert, forecast: &Outlook) -> Markup {
    html! {
        p.end {
            @match alert.status {
                Status::Escalating(_) => {
                    (mark(Mark::Coming))
                    span {
                        "Exhausted"
                        @if let Some(at) = forecast.exhausted_at { " at " (frame::moment(at)) }
                        ", if nobody answers"
                    }
                }
                Status::Acknowledged => {
                    (mark(Mark::Good))
                    span {
                        "Acknowledged"
                        @if let Some(acknowledged) = &alert.acknowledged {
                            " by " strong { (acknowledged.by) } " (" (acknowledged.via.name())
                            @if let Some(channel) = acknowledged.channel { ", " (label(channel)) }
                            "), " (frame::moment(acknowledged.at))
                        }
                    }
                }
                Status::Exhausted => { (mark(Mark::Bad)) span { "Exhausted: nobody answered. A later read or answer still counts." } }
                Status::Resolved => { (mark(Mark::Good)) span { "Resolved " (frame::moment(alert.updated_at)) } }
            }
        }
    }
}

/// The colour and the sign of a status, which its word always stands beside.
const fn tone(status: AttemptStatus) -> &'static str {
    match status {
        AttemptStatus::Read => "good",
        AttemptStatus::Sending | AttemptStatus::Sent | AttemptStatus::Submitted | AttemptStatus::Delivered => "moving",
        AttemptStatus::Retrying => "doubtful",
        AttemptStatus::Rejected | AttemptStatus::Undeliverable | AttemptStatus::Refused | AttemptStatus::Failed => {
            "bad"
        }
        AttemptStatus::Expired => "expired",
        AttemptStatus::Superseded => "unused",
    }
}

#[derive(Clone, Copy)]
enum Mark {
    Good,
    Bad,
    Expired,
    Current,
    Coming,
    Skipped,
}

const fn mark_of(status: AttemptStatus) -> Mark {
    match status {
        AttemptStatus::Read => Mark::Good,
        AttemptStatus::Sending
        | AttemptStatus::Retrying
        | AttemptStatus::Sent
        | AttemptStatus::Submitted
        | AttemptStatus::Delivered
        | AttemptStatus::Superseded => Mark::Skipped,
        AttemptStatus::Rejected | AttemptStatus::Undeliverable | AttemptStatus::Refused | AttemptStatus::Failed => {
            Mark::Bad
        }
        AttemptStatus::Expired => Mark::Expired,
    }
}

/// The sign in front of a rung.
fn mark(mark: Mark) -> Markup {
    let (class, path) = match mark {
        Mark::Good => ("good", "M5 10.5l3.5 3.5L15 7"),
        Mark::Bad => ("bad", "M6 6l8 8M14 6l-8 8"),
        Mark::Expired => ("expired", "M10 6v4.5l3 2"),
        Mark::Current => ("current", "M10 7v6M7 10h6"),
        Mark::Coming => ("coming", ""),
        Mark::Skipped => ("unused", "M6.5 10h7"),
    };
    html! {
        svg.mark.(class) viewBox="0 0 20 20" aria-hidden="true" {
            circle cx="10" cy="10" r="8.5" {}
            @if matches!(mark, Mark::Current) { circle.dot cx="10" cy="10" r="4" {} } @else { path d=(path) {} }
        }
    }
}
