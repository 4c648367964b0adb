//! What the buttons of the pages do. Each ends where it began, at the alert's page.

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Redirect, Response};
use serde_json::Map;

use crate::engine::{self, NewAlert, Raising};
use crate::escalation::{Severity, Via};
use crate::http::App;
use crate::http::auth::Caller;
use crate::http::extract::Body;
use crate::http::new_alert;
use crate::http::problem::Problem;
use crate::id::AlertId;

use super::{FORM_BYTES_MAX, field, form, frame};

/// Where alerts say that they come from that were raised on the page.
const SOURCE: &str = "dashboard";

/// What the page says about the button that was pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// The alert's status did not allow it any more.
    TooLate,
}

impl Note {
    const fn name(self) -> &'static str {
        match self {
            Self::TooLate => "too-late",
        }
    }

    /// In words.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::TooLate => {
                "Somebody was quicker: the alert's status did not allow that any more. Nothing was changed."
            }
        }
    }
}

/// The note that an address carries.
pub(super) fn note_in(uri: &Uri) -> Option<Note> {
    let query = uri.query().unwrap_or_default();
    let (_, name) = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "note")?;
    [Note::TooLate].into_iter().find(|note| note.name() == name)
}

pub(super) async fn raise(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Body(bytes, _held): Body<FORM_BYTES_MAX>,
) -> Response {
    let raised = async {
        let new = new_alert(&app, &form(&headers, &bytes)?)?;
        let (Raising::Created(alert) | Raising::Repeated(alert)) = app.engine().raise(new, None).await?;
        Ok::<AlertId, Problem>(alert.id())
    };
    match raised.await {
        Ok(id) => Redirect::to(&format!("/alerts/{id}")).into_response(),
        Err(problem) => frame::problem(Some(&caller), &problem),
    }
}

/// A form says the same as the body of `POST /alerts`, in fewer words.
fn new_alert(app: &App, form: &[(String, String)]) -> Result<NewAlert, Problem> {
    let mut body = Map::new();
    for name in ["message", "policy", "severity"] {
        if let Some(value) = field(form, name) {
            body.insert(name.to_owned(), value.into());
        }
    }
    body.entry("severity").or_insert_with(|| Severity::Info.name().into());
    body.insert("source".to_owned(), SOURCE.into());
    let settings = app.settings();
    new_alert::read(body, &settings.policies, &settings.channel_rules)
}

pub(super) async fn act(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
    Body(bytes, _held): Body<FORM_BYTES_MAX>,
) -> Response {
    let done = async {
        let unknown = || Problem::not_found("There is no such button, or no alert has this id.");
        let Path((id, action)) = path.map_err(|_unreadable| unknown())?;
        let id: AlertId = id.parse().map_err(|_not_an_id| unknown())?;
        let form = form(&headers, &bytes)?;
        let by = caller.person();
        let engine = app.engine();
        let answer = match &*action {
            "acknowledge" => engine.acknowledge(id, by, Via::Api, None).await,
            "resolve" => engine.resolve(id, by).await,
            "escalate" => {
                // The page may be old: only the attempt that it showed is left behind.
                let attempt = field(&form, "attempt").and_then(|number| number.parse().ok());
                let attempt = attempt.ok_or_else(|| Problem::bad_request("The form does not say which attempt."))?;
                engine.escalate(id, by, Some(attempt), None).await
            }
            _ => return Err(unknown()),
        };
        match answer {
            Ok(_) => Ok(format!("/alerts/{id}")),
            Err(engine::Error::Impossible(_)) => Ok(format!("/alerts/{id}?note={}", Note::TooLate.name())),
            Err(error) => Err(Problem::from(error)),
        }
    };
    match done.await {
        Ok(target) => Redirect::to(&target).into_response(),
        Err(problem) => frame::problem(Some(&caller), &problem),
    }
}
