//! What is going on: the pager's own health, the alerts that escalate now, and recent ones below.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use maud::{Markup, html};

use crate::config::Role;
use crate::engine::{Room, Vitals};
use crate::escalation::{Alert, Progress, Severity, Status};
use crate::http::alerts::STATUSES;
use crate::http::auth::Caller;
use crate::http::new_alert::MESSAGE_CHARS_MAX;
use crate::http::problem::Problem;
use crate::http::{App, Settings};
use crate::id::AlertId;
use crate::store::{self, StatusFilter};
use crate::timestamp::Timestamp;

use super::frame::{self, Page};
use super::{RAISE, ladder};

/// How many escalating alerts are shown.
const ESCALATING_SHOWN: usize = 50;
/// How many alerts a page of recent ones has.
const RECENT_SHOWN: usize = 25;

/// Which recent alerts are asked for.
struct Wish {
    status: Option<(&'static str, StatusFilter)>,
    policy: Option<Box<str>>,
    before: Option<AlertId>,
}

impl Wish {
    /// What cannot be understood is left out: a person who mistypes an address still wants the page.
    fn in_address(uri: &Uri) -> Self {
        let query = uri.query().unwrap_or_default();
        let of = |wanted: &str| {
            let mut fields = url::form_urlencoded::parse(query.as_bytes());
            fields.find(|(name, value)| name == wanted && !value.is_empty()).map(|(_, value)| value.into_owned())
        };
        let status = of("status");
        Self {
            status: status.and_then(|wanted| STATUSES.into_iter().find(|(name, _)| *name == wanted)),
            policy: of("policy").map(Into::into),
            before: of("before").and_then(|id| id.parse().ok()),
        }
    }

    fn address(&self, before: Option<AlertId>) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        if let Some((status, _)) = self.status {
            query.append_pair("status", status);
        }
        if let Some(policy) = &self.policy {
            query.append_pair("policy", policy);
        }
        if let Some(before) = before {
            query.append_pair("before", &before.to_string());
        }
        format!("/?{}", query.finish())
    }

    const fn is_everything(&self) -> bool {
        self.status.is_none() && self.policy.is_none() && self.before.is_none()
    }
}

pub(super) async fn show(State(app): State<App>, Extension(caller): Extension<Caller>, uri: Uri) -> Response {
    let wish = Wish::in_address(&uri);
    let listed = async {
        let engine = app.engine();
        let escalating = store::Page {
            status: Some(StatusFilter::Escalating),
            policy: wish.policy.clone(),
            limit: ESCALATING_SHOWN + 1,
            ..store::Page::default()
        };
        let recent = store::Page {
            status: wish.status.map(|(_, status)| status),
            policy: wish.policy.clone(),
            before: wish.before,
            limit: RECENT_SHOWN + 1,
        };
        // Whoever asks for a status sees that status only.
        let escalating = if wish.status.is_none() { Some(engine.list(&escalating).await?) } else { None };
        Ok::<_, Problem>((escalating, engine.list(&recent).await?))
    };
    let (escalating, recent) = match listed.await {
        Ok(listed) => listed,
        Err(problem) => return frame::problem(Some(&caller), &problem),
    };
    let vitals = app.engine().readiness().await;
    let store_keeps = vitals.is_ok();
    let vitals = vitals.unwrap_or_else(|_keeps_nothing| app.engine().vitals());
    let now = app.engine().now();
    let settings = app.settings();
    let content = html! {
        h1.unseen { "Alerts" }
        (headline(&vitals, store_keeps))
        @if let Some(escalating) = escalating { (escalating_now(escalating, now)) }
        (pager(&vitals, store_keeps, &settings, now))
        (recent_ones(&wish, &settings, &recent, now))
        @if caller.may(Role::Raise) { (raise_form(&settings)) }
    };
    Page { title: "Alerts", caller: Some(&caller), now: Some(now), live: Some("/live"), content }.answer(StatusCode::OK)
}

/// A tile: how one part does, in words; the colour only helps.
fn tile(health: &str, name: &str, words: &Markup) -> Markup {
    html! { div.(health) { dt { (name) } dd { (words) } } }
}

const fn well_unless(is_ill: bool) -> &'static str {
    if is_ill { "ill" } else { "well" }
}

/// Whether the pager itself is well, part by part.
fn pager(vitals: &Vitals, store_keeps: bool, settings: &Settings, now: Timestamp) -> Markup {
    let vonage_is_ill = vitals.outage_since.is_some() || vitals.n_failing_at_vonage > 0;
    html! {
        section #vitals data-live-part aria-labelledby="vitals-title" {
            h2 #vitals-title { "The pager itself" }
            dl.tiles {
                (tile(well_unless(vonage_is_ill), "Vonage", &html! {
                    @if let Some(since) = vitals.outage_since {
                        "unreachable since " (frame::moment(since)) ", " (vitals.n_failing_at_vonage) " alerts affected"
                    } @else if vitals.n_failing_at_vonage > 0 {
                        (vitals.n_failing_at_vonage) " failing"
                    } @else if let Some(at) = vitals.last_accepted_at {
                        "took a message " (frame::ago(at))
                    } @else {
                        "nothing sent since the start"
                    }
                }))
                (store(vitals, store_keeps))
                (audit(vitals, now))
                @let is_signed = !settings.signature_secrets.is_empty();
                (tile(if is_signed { "well" } else { "doubtful" }, "Webhooks", &html! {
                    @if is_signed { "signatures checked" } @else { "not verified" }
                }))
                (tile("well", "Work", &html! { (vitals.n_waiting) " to send, " (vitals.n_armed) " deadlines" }))
            }
            p.hint.stamp { "As of " (frame::moment(now)) }
        }
    }
}

/// Whether the pager itself is well, at a glance.
fn headline(vitals: &Vitals, store_keeps: bool) -> Markup {
    let (health, words) = worst(vitals, store_keeps);
    html! { p #headline .pulse.(health) data-live-part { (words) } }
}

/// The worst of what is to be said, with its colour.
const fn worst(vitals: &Vitals, store_keeps: bool) -> (&'static str, &'static str) {
    if vitals.is_stopping {
        ("ill", "The pager is stopping.")
    } else if !store_keeps {
        ("ill", "The store keeps nothing. New alerts are refused until it does.")
    } else if vitals.outage_since.is_some() {
        ("ill", "Nothing gets through to Vonage. Alerts wait where they are.")
    } else if matches!(vitals.room, Room::Full) {
        ("ill", "The disk is full. New alerts are refused.")
    } else if vitals.n_quarantined > 0 {
        ("ill", "There are alerts that the pager cannot work on.")
    } else if vitals.is_audit_stale {
        ("ill", "The pager has not passed its own audit for a while.")
    } else if vitals.n_failing > 0 {
        ("ill", "A send fails. It is tried again.")
    } else if matches!(vitals.room, Room::Low) {
        ("doubtful", "The disk is nearly full. Make room before new alerts are refused.")
    } else {
        ("well", "The pager is well.")
    }
}

fn store(vitals: &Vitals, store_keeps: bool) -> Markup {
    let (health, words) = if !store_keeps {
        ("ill", "keeps nothing now; the log says why")
    } else if vitals.room == Room::Full {
        ("ill", "disk full: new alerts are refused")
    } else if vitals.room == Room::Low {
        ("doubtful", "keeps alerts, but the disk is nearly full")
    } else if vitals.is_durable {
        ("well", "keeps alerts on disk")
    } else {
        ("doubtful", "memory only: lost at the end")
    };
    tile(health, "Store", &html! { (words) })
}

fn audit(vitals: &Vitals, now: Timestamp) -> Markup {
    let passed_at = vitals.audited_ago.map(|ago| now.minus(ago));
    let health = match (vitals.n_quarantined > 0 || vitals.is_audit_stale, passed_at) {
        (true, _) => "ill",
        (false, Some(_)) => "well",
        (false, None) => "doubtful",
    };
    tile(
        health,
        "Audit",
        &html! {
            @match passed_at {
                Some(passed_at) => { "all alerts looked after " (frame::ago(passed_at)) },
                None => "not passed since the start",
            }
            @if vitals.n_quarantined > 0 { ", but " (vitals.n_quarantined) " set aside" }
        },
    )
}

fn escalating_now(mut alerts: Vec<Arc<Alert>>, now: Timestamp) -> Markup {
    let are_more = alerts.len() > ESCALATING_SHOWN;
    alerts.truncate(ESCALATING_SHOWN);
    alerts.sort_by_key(|alert| (alert.raised.severity, ladder::deadline(alert).unwrap_or(now)));
    html! {
        section #escalating data-live-part aria-labelledby="escalating-title" {
            h2 #escalating-title {
                "Escalating now "
                span.count { (alerts.len()) @if are_more { "+" } }
            }
            @if alerts.is_empty() {
                p.calm { "Nobody is being called." }
            } @else {
                ul.cards {
                    @for alert in &alerts { li { (card(alert, now)) } }
                }
            }
            @if are_more { p.hint { "The newest " (ESCALATING_SHOWN) " are shown." } }
        }
    }
}

fn card(alert: &Alert, now: Timestamp) -> Markup {
    let place = alert.attempts.last().and_then(|attempt| Some((attempt, alert.step_of(attempt)?)));
    html! {
        article.card.alert.(alert.raised.severity.name()) {
            p.line {
                (frame::severity(alert.raised.severity))
                span.code { (alert.code()) }
                span.hint { "raised " (frame::ago(alert.raised.at)) }
            }
            h3 dir="auto" { a id={ "alert-" (alert.code()) } href={ "/alerts/" (alert.id()) } { (alert.raised.message) } }
            @if let Some((attempt, step)) = place {
                p.calling {
                    "Calling " strong { (step.user) } " on " (ladder::channels(step))
                    @if alert.plan().repeat() > 0 { span.hint.whole { ", round " (alert.round) " of " (u64::from(alert.plan().repeat()) + 1) } }
                }
                @match alert.progress() {
                    Some(Progress::Waiting { until }) => {
                        p.line {
                            span { (attempt.status().name()) ", waiting for a read" }
                            span.grow {}
                            (frame::countdown(until))
                        }
                        (frame::wait("Time until the next step", attempt.sent_at.unwrap_or(until), until, now))
                        (ladder::next(alert, now))
                    }
                    Some(Progress::Sending { .. } | Progress::Ready { .. }) => p { (attempt.status().name()) "…" },
                    None => {}
                }
            }
        }
    }
}

fn recent_ones(wish: &Wish, settings: &Settings, found: &[Arc<Alert>], now: Timestamp) -> Markup {
    let older = match found.get(RECENT_SHOWN.saturating_sub(1)) {
        Some(last) if found.len() > RECENT_SHOWN => Some(last.id()),
        Some(_) | None => None,
    };
    let is_asked_for = wish.status.is_some();
    let shown = found.iter().take(RECENT_SHOWN);
    let shown: Vec<_> = shown.filter(|alert| is_asked_for || alert.progress().is_none()).collect();
    html! {
        section aria-labelledby="recent-title" {
            div.line.wrap {
                h2 #recent-title { @if wish.is_everything() { "Recent" } @else { "Found" } }
                span.grow {}
                (filter(wish, settings))
            }
            div #recent data-live-part {
                @if shown.is_empty() {
                    p.calm {
                        @if !found.is_empty() { "Nothing else." }
                        @else if wish.is_everything() { "No alerts yet." }
                        @else { "No alert is like this." }
                    }
                } @else if wish.status.is_some_and(|(_, status)| status == StatusFilter::Escalating) {
                    ul.cards { @for alert in &shown { li { (card(alert, now)) } } }
                } @else {
                    ul.rows { @for alert in &shown { li { (row(alert)) } } }
                }
                @if wish.before.is_some() || older.is_some() {
                    nav.line aria-label="Pages" {
                        @if wish.before.is_some() { a.button href=(wish.address(None)) { "Newest" } }
                        @if let Some(older) = older { a.button href=(wish.address(Some(older))) { "Older" } }
                    }
                }
            }
        }
    }
}

fn filter(wish: &Wish, settings: &Settings) -> Markup {
    html! {
        form.filter method="get" action="/" role="search" aria-label="Filter alerts" {
            label for="status" { "Status" }
            select #status name="status" {
                option value="" { "any" }
                @for (name, _) in STATUSES {
                    option value=(name) selected[wish.status.is_some_and(|(wanted, _)| wanted == name)] { (name) }
                }
            }
            label for="policy" { "Policy" }
            select #policy name="policy" {
                option value="" { "any" }
                @for policy in settings.policies.iter() {
                    option value=(policy.name) selected[wish.policy.as_deref() == Some(&*policy.name)] { (policy.name) }
                }
            }
            button type="submit" { "Show" }
        }
    }
}

fn row(alert: &Alert) -> Markup {
    html! {
        a.row href={ "/alerts/" (alert.id()) } {
            (frame::status(alert.status))
            span.text dir="auto" { (alert.raised.message) }
            span.meta {
                span.code { (alert.code()) }
                @if let (Status::Acknowledged, Some(acknowledged)) = (alert.status, &alert.acknowledged) {
                    span { "by " (acknowledged.by) }
                }
                @if let Some(policy) = &alert.raised.policy { span { (policy) } }
                (frame::ago(alert.raised.at))
            }
        }
    }
}

fn raise_form(settings: &Settings) -> Markup {
    html! {
        details.card.raise {
            summary { "Raise a test alert" }
            p.hint { "It calls the people of the policy like any other alert, until somebody reads or answers." }
            form.stack method="post" action=(RAISE) data-once {
                label for="message" { "Text" }
                textarea #message name="message" rows="2" required maxlength=(MESSAGE_CHARS_MAX) {
                    "This is a test of the pager. Please read and acknowledge it."
                }
                label for="raise-policy" { "Policy" }
                select #raise-policy name="policy" {
                    @for policy in settings.policies.iter() { option value=(policy.name) { (policy.name) } }
                }
                label for="severity" { "Severity" }
                select #severity name="severity" {
                    @for severity in Severity::ALL.iter().rev() { option value=(severity.name()) { (severity.name()) } }
                }
                button.primary type="submit" { "Raise and call people" }
            }
        }
    }
}
