//! What the buttons of the pages do. Each ends where it began, at the alert's page.

use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Redirect, Response};

use crate::engine::{self, NewAlert, Raising};
use crate::escalation::{Severity, Via};
use crate::http::App;
use crate::http::auth::Caller;
use crate::http::extract::Body;
use crate::http::new_alert::MESSAGE_CHARS_MAX;
use crate::http::problem::{FieldError, Problem};
use crate::id::AlertId;

use super::{FORM_BYTES_MAX, field, form};

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
    Body(bytes): Body<FORM_BYTES_MAX>,
) -> Response {
    let raised = async {
        let new = new_alert(&app, &form(&headers, &bytes)?)?;
        let (Raising::Created(alert) | Raising::Repeated(alert)) = app.engine().raise(new, None).await?;
        Ok::<AlertId, Problem>(alert.id())
    };
    match raised.await {
        Ok(id) => Redirect::to(&format!("/alerts/{id}")).into_response(),
        Err(problem) => super::problem_page(Some(&caller), &problem),
    }
}

fn new_alert(app: &App, form: &[(String, String)]) -> Result<NewAlert, Problem> {
    let settings = app.settings();
    let message = field(form, "message").filter(|message| message.chars().count() <= MESSAGE_CHARS_MAX);
    let wrong = |pointer: &str, detail: &str| {
        Problem::invalid(vec![FieldError { pointer: pointer.to_owned(), detail: detail.to_owned() }])
    };
    let message = message.ok_or_else(|| wrong("/message", "must have 1 to 4000 characters"))?;
    let policy = match field(form, "policy") {
        Some(name) => settings.policies.get(name),
        None => Some(settings.policies.first()),
    };
    let policy = policy.ok_or_else(|| wrong("/policy", "is not a policy"))?;
    let wanted = field(form, "severity").unwrap_or_else(|| Severity::Info.name());
    let severity = Severity::ALL.into_iter().find(|severity| severity.name() == wanted);
    Ok(NewAlert {
        message: message.into(),
        severity: severity.ok_or_else(|| wrong("/severity", "is not a severity"))?,
        policy: Some(policy.name.clone()),
        dedup_key: None,
        source: Some(SOURCE.into()),
        link: None,
        details: "{}".into(),
        plan: Arc::clone(&policy.plan),
    })
}

pub(super) async fn act(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
    Body(bytes): Body<FORM_BYTES_MAX>,
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
        Err(problem) => super::problem_page(Some(&caller), &problem),
    }
}
