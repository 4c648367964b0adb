//! What every page has around it.

use axum::http::{HeaderName, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

use crate::config::Role;
use crate::escalation::{Severity, Status};
use crate::http::auth::Caller;
use crate::http::problem::Problem;
use crate::http::view::in_utc;
use crate::timestamp::Timestamp;

use super::assets;

/// Everything comes from here, nothing is written into a page, nobody frames it, and no form leads elsewhere.
pub(super) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// A page and what is known of whoever looks at it.
pub(super) struct Page<'a> {
    /// What the tab is called.
    pub(super) title: &'a str,
    /// Who is signed in, if anybody is.
    pub(super) caller: Option<&'a Caller>,
    /// The server's time, which the moving parts count from.
    pub(super) now: Option<Timestamp>,
    /// Where the page hears of changes, if it does.
    pub(super) live: Option<&'a str>,
    /// What it shows.
    pub(super) content: Markup,
}

impl Page<'_> {
    /// The answer that carries the page.
    pub(super) fn answer(self, status: StatusCode) -> Response {
        let headers = [
            (header::CACHE_CONTROL, "no-store"),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            // Forms must say to our own pages where they come from; no other site learns anything.
            (header::REFERRER_POLICY, "same-origin"),
            (HeaderName::from_static("x-robots-tag"), "noindex, nofollow"),
        ];
        (status, headers, Html(self.markup().into_string())).into_response()
    }

    fn markup(self) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (self.title) " · callout" }
                    link rel="icon" type="image/svg+xml" href=(assets::icon());
                    link rel="stylesheet" href=(assets::style());
                    script src=(assets::script()) defer {}
                }
                body data-now=[self.now] data-live=[self.live] {
                    a.skip href="#main" { "Skip to the content" }
                    header.top {
                        a.brand href="/" {
                            (bell())
                            span { "callout" }
                        }
                        span.grow {}
                        @if self.live.is_some() {
                            span #connection .connection role="status" { "Live updates need JavaScript; reload to see more." }
                        }
                        @if let Some(caller) = self.caller { (signed_in(caller)) }
                    }
                    main #main tabindex="-1" { (self.content) }
                    p #announce .unseen role="status" aria-live="polite" {}
                }
            }
        }
    }
}

fn signed_in(caller: &Caller) -> Markup {
    let may_only_look = !caller.may(Role::Answer) && !caller.may(Role::Raise);
    html! {
        span.who { (caller.person()) @if may_only_look { " (may only look)" } }
        @if caller.session_until().is_some() {
            form method="post" action=(super::SIGN_OUT) {
                button.quiet type="submit" { "Sign out" }
            }
        }
    }
}

fn bell() -> Markup {
    html! {
        svg.bell viewBox="0 0 32 32" aria-hidden="true" {
            path d="M16 4a8 8 0 0 0-8 8v6l-3 5h22l-3-5v-6a8 8 0 0 0-8-8Z" {}
            path d="M12 25a4 4 0 0 0 8 0Z" {}
        }
    }
}

/// A moment: in UTC for whoever runs no script, in the reader's own time otherwise.
pub(super) fn moment(at: Timestamp) -> Markup {
    html! { time datetime=(at) { (in_utc(at)) } }
}

/// How long ago a moment was; the moment itself for whoever runs no script.
pub(super) fn ago(at: Timestamp) -> Markup {
    html! { time datetime=(at) data-ago { (in_utc(at)) } }
}

/// How long it is until a moment.
pub(super) fn countdown(until: Timestamp) -> Markup {
    html! { time.countdown datetime=(until) data-until { "until " (in_utc(until)) } }
}

/// How much of a wait is over.
pub(super) fn wait(label: &str, from: Timestamp, until: Timestamp, now: Timestamp) -> Markup {
    let whole = until.since(from).as_secs().max(1);
    let over = now.since(from).as_secs().min(whole);
    html! {
        progress max=(whole) value=(over) data-from=(from) aria-label=(label) {}
    }
}

/// A severity as a word in its colour.
pub(super) fn severity(severity: Severity) -> Markup {
    let name = severity.name();
    html! { span.badge.(name) { (name) } }
}

/// A status as a word in its colour, with a sign.
pub(super) fn status(status: Status) -> Markup {
    let name = status.name();
    html! { span.badge.status.(name) { (name) } }
}

/// The page that says what went wrong.
pub(super) fn problem(caller: Option<&Caller>, problem: &Problem) -> Response {
    let content = html! {
        section.card.narrow {
            h1 { (problem.title()) }
            p { (problem.detail()) }
            p { a href="/" { "To the alerts" } }
        }
    };
    Page { title: problem.title(), caller, now: None, live: None, content }.answer(problem.status())
}
