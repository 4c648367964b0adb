//! One alert as it lives: what it says, what is being done about it, and what can be done.

use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use crate::config::Role;
use crate::escalation::{Alert, Entry, Happening, Progress, Status};
use crate::http::App;
use crate::http::auth::Caller;
use crate::http::new_alert::is_web_address;
use crate::timestamp::Timestamp;

use super::actions::Note;
use super::frame::{self, Page};
use super::ladder;

/// The page of one alert.
pub(super) fn page(app: &App, caller: &Caller, alert: &Alert, note: Option<Note>) -> Response {
    let now = app.engine().now();
    let live = format!("/live?alert={}", alert.id());
    let content = html! {
        @if let Some(note) = note { p.error role="alert" { (note.words()) } }
        nav.back aria-label="Back" { a href="/" { "← All alerts" } }
        (head(alert))
        (state(alert, now))
        @if caller.may(Role::Answer) { (buttons(alert)) }
        div.columns {
            (ladder::show(alert, now))
            div {
                (timeline(alert))
                (details(alert))
            }
        }
    };
    let title = format!("{} {}", alert.code(), alert.status.name());
    Page { title: &title, caller: Some(caller), now: Some(now), live: Some(&live), content }.answer(StatusCode::OK)
}

fn head(alert: &Alert) -> Markup {
    let raised = &alert.raised;
    html! {
        section #head .head data-live-part {
            p.line.wrap {
                (frame::severity(raised.severity))
                (frame::status(alert.status))
                span.code title="The code that messages carry" { (alert.code()) }
                @if alert.repeats > 0 { span.hint { "posted " (u64::from(alert.repeats) + 1) " times" } }
            }
            h1.message dir="auto" { (raised.message) }
            p.facts {
                span { "Raised " (frame::moment(raised.at)) }
                @match &raised.policy { Some(policy) => span { "Policy " (policy) }, None => span { "Users of its own" } }
                @if let Some(source) = &raised.source { span { "From " (source) } }
                @if let Some(key) = &raised.dedup_key { span { "Key " (key) } }
                @if let Some(link) = raised.link.as_deref() { (link_to(link)) }
            }
        }
    }
}

/// A link that somebody posted: only where it leads to the web, and without telling the other side of us.
fn link_to(link: &str) -> Markup {
    html! {
        span {
            @if is_web_address(link) { a href=(link) rel="noopener noreferrer" target="_blank" { (link) } } @else { (link) }
        }
    }
}

/// What is going on, in one sentence.
fn state(alert: &Alert, now: Timestamp) -> Markup {
    let place = alert.attempts.last().and_then(|attempt| Some((attempt, alert.step_of(attempt)?)));
    html! {
        section #state .state.(alert.status.name()) data-live-part {
            @match (alert.status, place) {
                (Status::Escalating(progress), Some((attempt, step))) => {
                    p #headline {
                        "Calling " strong { (step.user) } " on " (ladder::channels(step)) ": " (attempt.status().name())
                    }
                    @if let Progress::Waiting { until } = progress {
                        p.big { (frame::countdown(until)) }
                        (frame::wait("Time until the next step", attempt.sent_at.unwrap_or(until), until, now))
                        (ladder::next(alert, now))
                    }
                }
                (Status::Acknowledged, _) => p #headline {
                    "Acknowledged"
                    @if let Some(acknowledged) = &alert.acknowledged { " by " strong { (acknowledged.by) } }
                    ". Nobody else is called."
                },
                (Status::Exhausted, _) => p #headline { "Everybody was called and nobody answered. It can still be acknowledged." },
                (Status::Resolved, _) => p #headline { "Resolved. Nothing is left to do." },
                (Status::Escalating(_), None) => p #headline { "Escalating" },
            }
        }
    }
}

/// What can be done. Whatever ends or skips something asks once more, also without a script.
fn buttons(alert: &Alert) -> Markup {
    let action = |name: &str| format!("/actions/{}/{name}", alert.id());
    let is_escalating = alert.progress().is_some();
    html! {
        div #actions .actions data-live-part {
            @if is_escalating || alert.status == Status::Exhausted {
                form method="post" action=(action("acknowledge")) data-once {
                    button #acknowledge .primary type="submit" { "Acknowledge" }
                }
            }
            @if is_escalating {
                details #next .ask {
                    summary { "Next user…" }
                    form method="post" action=(action("escalate")) data-once {
                        p { "Stop waiting for this user and call the next one now?" }
                        input type="hidden" name="attempt" value=(alert.newest_attempt());
                        button #escalate type="submit" { "Call the next user" }
                    }
                }
            }
            @if alert.status != Status::Resolved {
                details #end .ask {
                    summary { "Resolve…" }
                    form method="post" action=(action("resolve")) data-once {
                        p { "Is the problem itself over? A resolved alert stays resolved." }
                        button #resolve .danger type="submit" { "Resolve the alert" }
                    }
                }
            }
        }
    }
}

fn timeline(alert: &Alert) -> Markup {
    html! {
        section #timeline .card data-live-part aria-labelledby="timeline-title" {
            h2 #timeline-title { "Timeline" }
            ol.timeline {
                @for entry in alert.timeline.iter().rev() { (line(alert, entry)) }
            }
        }
    }
}

fn line(alert: &Alert, entry: &Entry) -> Markup {
    let attempt = entry.attempt.and_then(|number| alert.attempt(number));
    let step = attempt.and_then(|attempt| alert.step_of(attempt));
    let channel = entry.channel.or_else(|| step.and_then(crate::escalation::Step::shown_channel));
    html! {
        li.(entry.happening.name()) {
            (frame::moment(entry.at))
            span {
                strong { (words(entry.happening)) }
                @if let Some(step) = step { " " (step.user) }
                @if let Some(channel) = channel { ", " (ladder::label(channel)) }
                @if let Some(by) = &entry.by { " by " (by) }
                @if let Some(detail) = &entry.detail { span.hint { " " (detail) } }
            }
        }
    }
}

/// What happened, as people say it.
const fn words(happening: Happening) -> &'static str {
    match happening {
        Happening::Raised => "Raised",
        Happening::Repeated => "Posted again",
        Happening::Sent => "Sent:",
        Happening::SendFailed => "Send failed:",
        Happening::Submitted => "Handed on:",
        Happening::Delivered => "Delivered:",
        Happening::Read => "Read:",
        Happening::Rejected => "Rejected:",
        Happening::Undeliverable => "Undeliverable:",
        Happening::Refused => "Refused by Vonage:",
        Happening::Expired => "Not read in time:",
        Happening::FailedOver => "Next channel:",
        Happening::Escalated => "Next user:",
        Happening::RoundStarted => "Next round:",
        Happening::ResentAfterRestart => "Sent again, outcome unknown:",
        Happening::Reply => "Reply:",
        Happening::Acknowledged => "Acknowledged",
        Happening::Exhausted => "Exhausted",
        Happening::Resolved => "Resolved",
    }
}

fn details(alert: &Alert) -> Markup {
    let text = serde_json::from_str::<serde_json::Value>(&alert.raised.details).ok();
    let is_empty = text.as_ref().is_none_or(|value| value.as_object().is_some_and(serde_json::Map::is_empty));
    let pretty = text.and_then(|value| serde_json::to_string_pretty(&value).ok()).unwrap_or_default();
    html! {
        @if !is_empty {
            section.card {
                h2 { "Details" }
                pre tabindex="0" { (pretty) }
            }
        }
    }
}
