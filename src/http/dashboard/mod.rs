//! The pages for browsers: what escalates now, one alert as it lives, and the form that lets a browser in.
//!
//! Pages are made here and complete without a script: they can be read and their buttons pressed. The script only
//! moves the clocks and takes a page again when the server says that something has changed, so there is one place
//! that knows how an alert looks. What a page does goes through the engine's calls for people, like the API's.

mod accept;
mod actions;
mod alert;
mod assets;
mod frame;
mod ladder;
mod live;
mod overview;
mod same_site;
mod session;
mod sign_in;

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};

use crate::engine::{self, Engine};
use crate::escalation::Alert;

use super::App;
use super::auth::Caller;
use super::problem::Problem;

pub use live::{LIVE_EVERY, LIVE_LIFETIME, LIVE_LOOK_AGAIN, LIVE_STREAMS_MAX};
pub use session::{SESSION_BYTES_MAX, SESSION_LIFETIME};

pub(super) use accept::wants_page;
pub(super) use same_site::is_from_us;
pub(super) use session::{COOKIE_IN_THE_CLEAR, COOKIE_OVER_TLS, Session, SessionKey};

/// The largest form that is read, in bytes.
pub const FORM_BYTES_MAX: usize = 64 * 1024;

/// Where a page raises an alert.
pub(super) const RAISE: &str = "/actions/raise";
const SIGN_IN: &str = "/sign-in";
const SIGN_OUT: &str = "/sign-out";

/// The paths of the pages, beside `/alerts/<id>` that they share with the API.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/", get(overview::show))
        .route("/live", get(live::listen))
        .route(RAISE, post(actions::raise))
        .route("/actions/{id}/{action}", post(actions::act))
        .route(SIGN_IN, get(sign_in::show).post(sign_in::enter))
        .route(SIGN_OUT, post(sign_in::leave))
        .route("/assets/{name}", get(assets::serve))
}

/// Whether a path needs a session or a key.
pub(super) fn is_guarded(path: &str) -> bool {
    path == "/" || path == "/live" || path.starts_with("/actions/")
}

/// The session that a browser sends, whatever it is worth.
pub(super) fn session_cookie(headers: &HeaderMap) -> Option<&str> {
    let mut cookies = headers.get_all(header::COOKIE).iter();
    session::cookie(cookies.find_map(|value| value.to_str().ok().filter(|text| session::cookie(text).is_some()))?)
}

/// What sessions are made with.
pub(super) async fn session_key(engine: &Engine) -> Result<SessionKey, engine::Error> {
    Ok(SessionKey::new(&engine.secret(session::SECRET).await?))
}

/// A browser that may not come in: it is asked to sign in where that helps, and told why otherwise.
pub(super) fn turned_away(uri: &Uri, problem: &Problem) -> Response {
    if problem.status() == StatusCode::UNAUTHORIZED {
        return Redirect::to(&sign_in::address(uri)).into_response();
    }
    frame::problem(None, problem)
}

/// The page of one alert, or of what stands in its way.
pub(super) fn alert_page(app: &App, caller: &Caller, alert: Result<Arc<Alert>, Problem>, uri: &Uri) -> Response {
    match alert {
        Ok(alert) => alert::page(app, caller, &alert, actions::note_in(uri)),
        Err(problem) => frame::problem(Some(caller), &problem),
    }
}

/// A form as a browser sends it.
fn form(headers: &HeaderMap, bytes: &[u8]) -> Result<Vec<(String, String)>, Problem> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(Problem::bad_request("This path takes the forms of callout's own pages."));
    }
    Ok(url::form_urlencoded::parse(bytes).into_owned().collect())
}

/// A field of a form, without the space around it; none where it is empty.
fn field<'f>(form: &'f [(String, String)], name: &str) -> Option<&'f str> {
    let (_, value) = form.iter().find(|(found, _)| found == name)?;
    Some(value.trim()).filter(|value| !value.is_empty())
}
