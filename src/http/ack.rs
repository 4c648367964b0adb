//! The acknowledge page (contract R11): a link shows the alert and one button; only the button
//! acknowledges, because messengers and mail scanners open links by themselves.

use std::sync::{Arc, LazyLock};

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use crate::engine;
use crate::escalation::{Alert, Status, Via};
use crate::id::AttemptNumber;
use crate::link::Token;

use super::App;
use super::problem::Problem;
use super::standalone::Standalone;
use super::view::in_utc;

static PAGE: LazyLock<Standalone> = LazyLock::new(|| Standalone::with(STYLE));

/// The acknowledge page
///
/// What a message's link opens. Opening it changes nothing.
#[utoipa::path(get, path = "/a/{token}", tag = "people",
    params(("token" = String, Path, pattern = "^[A-Za-z0-9_-]+$", description = "From the message's link.")),
    responses((status = 200, description = "The page", content_type = "text/html", body = String)))]
pub(super) async fn show(
    State(app): State<App>,
    token: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let (token, alert) = opened(&app, token).await?;
    Ok(page(&alert, token.attempt))
}

/// The page's button
///
/// Acknowledges as the user whose link it is.
#[utoipa::path(post, path = "/a/{token}", tag = "people",
    params(("token" = String, Path, pattern = "^[A-Za-z0-9_-]+$", description = "From the message's link.")),
    responses((status = 200, description = "The page", content_type = "text/html", body = String)))]
pub(super) async fn press(
    State(app): State<App>,
    token: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let (token, alert) = opened(&app, token).await?;
    let step = alert.attempt(token.attempt).and_then(|attempt| alert.step_of(attempt));
    let by = step.map_or("", |step| step.user.as_ref());
    let channel = step.and_then(crate::escalation::Step::shown_channel);
    match app.engine().acknowledge(alert.id(), by, Via::Link, channel).await {
        Ok(alert) => Ok(page(&alert, token.attempt)),
        // It was resolved meanwhile: the page says so.
        Err(engine::Error::Impossible(_)) => {
            let alert = app.engine().alert(alert.id()).await?;
            Ok(page(&alert, token.attempt))
        }
        Err(error) => Err(error.into()),
    }
}

async fn opened(app: &App, path: Result<Path<String>, PathRejection>) -> Result<(Token, Arc<Alert>), Problem> {
    let unknown = || Problem::not_found("This link belongs to no alert.");
    let token: Option<Token> = path.ok().and_then(|Path(token)| token.parse().ok());
    let token = token.ok_or_else(unknown)?;
    match app.engine().opened_by(&token).await {
        Ok(alert) => Ok((token, alert)),
        Err(engine::Error::NoSuchAlert) => Err(unknown()),
        Err(error) => Err(error.into()),
    }
}

fn page(alert: &Alert, attempt: AttemptNumber) -> Response {
    let page = PAGE.page(&format!("Alert {}", alert.code()), &view(alert, attempt));
    let headers = [(header::CACHE_CONTROL, "no-store"), (HeaderName::from_static("x-robots-tag"), "noindex, nofollow")];
    (headers, PAGE.answer(StatusCode::OK, page)).into_response()
}

fn view(alert: &Alert, attempt: AttemptNumber) -> Markup {
    let user = alert
        .attempt(attempt)
        .and_then(|attempt| alert.step_of(attempt))
        .map_or_else(String::new, |step| step.user.to_string());
    html! {
        p.code { (alert.raised.severity.name()) " · " (alert.code()) }
        h1 dir="auto" { (alert.raised.message) }
        p.when { "Raised " time datetime=(alert.raised.at) { (in_utc(alert.raised.at)) } }
        (answer(alert, &user))
    }
}

fn answer(alert: &Alert, user: &str) -> Markup {
    match alert.status {
        Status::Escalating(_) | Status::Exhausted => html! {
            form method="post" {
                button type="submit" { "I have seen it" }
            }
            p { "Pressing the button acknowledges the alert as " strong { (user) } ". Nobody else is called then." }
        },
        Status::Acknowledged => html! {
            @let by = alert.acknowledged.as_ref().map_or("somebody", |acknowledgement| &acknowledgement.by);
            p.done { "Acknowledged by " strong { (by) } ". Nobody else is called." }
        },
        Status::Resolved => html! { p.done { "Resolved. Nothing is left to do." } },
    }
}

/// The look of the other pages; written into this one, which must be whole with one request on a bad connection.
const STYLE: &str = "\
:root{--ground:#f5f6f8;--card:#fff;--line:#dfe2e8;--text:#1a1d23;--soft:#545b69;--accent:#3451c7;--on-accent:#fff;--good:#17663a;--good-soft:#e2f4e8}\
@media (prefers-color-scheme:dark){:root{--ground:#101216;--card:#191c22;--line:#2d323c;--text:#e8eaee;--soft:#a3abba;--accent:#93a8ff;--on-accent:#10142a;--good:#72d69a;--good-soft:#16301f}}\
body{font:1.05rem/1.5 system-ui,sans-serif;margin:0;padding:1.25rem;background:var(--ground);color:var(--text)}\
main{max-width:34rem;margin:0 auto;background:var(--card);border:1px solid var(--line);border-radius:.8rem;padding:1.1rem 1.25rem}\
h1{font-size:1.45rem;line-height:1.3;margin:.4rem 0;overflow-wrap:anywhere;white-space:pre-wrap}\
.code,.when{color:var(--soft);font-size:.9rem;margin:0}.code{font-weight:600;letter-spacing:.04em}\
button{font:inherit;font-weight:700;width:100%;min-height:3.5rem;margin-top:1.2rem;border:0;border-radius:.55rem;background:var(--accent);color:var(--on-accent)}\
button:focus-visible{outline:3px solid var(--accent);outline-offset:3px}\
.done{font-weight:600;background:var(--good-soft);color:var(--good);border-radius:.55rem;padding:.8rem 1rem}";
