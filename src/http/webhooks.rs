//! Vonage's webhooks. Either path takes any of Vonage's bodies, because the two addresses are easily
//! swapped when an application is set up.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;

use crate::clock::system_now;
use crate::vonage::{SignatureError, signature, webhook};

use super::App;
use super::extract::{WebhookBody, claims_json};
use super::openapi::schemas;
use super::problem::Problem;

/// What became of a message
///
/// Takes any of Vonage's bodies. 200 once its effect is durable: what is answered 200 is never sent again.
#[utoipa::path(post, path = "/webhooks/status", tag = "vonage", security((), ("signature" = [])), request_body = schemas::Webhook,
    responses((status = 200, description = "It is kept"), (status = 401, description = "")))]
pub(super) async fn status(app: State<App>, headers: HeaderMap, body: WebhookBody) -> Result<StatusCode, Problem> {
    receive(app, headers, body).await
}

/// Somebody wrote back
///
/// Takes any of Vonage's bodies. 200 once its effect is durable: what is answered 200 is never sent again.
#[utoipa::path(post, path = "/webhooks/inbound", tag = "vonage", security((), ("signature" = [])), request_body = schemas::Webhook,
    responses((status = 200, description = "It is kept"), (status = 401, description = "")))]
pub(super) async fn inbound(app: State<App>, headers: HeaderMap, body: WebhookBody) -> Result<StatusCode, Problem> {
    receive(app, headers, body).await
}

async fn receive(
    State(app): State<App>,
    headers: HeaderMap,
    WebhookBody(bytes, _held): WebhookBody,
) -> Result<StatusCode, Problem> {
    if !claims_json(&headers) {
        return Err(Problem::unsupported_media_type());
    }
    verify(&app, &headers, &bytes)?;
    let incoming = match webhook::read(&bytes) {
        Ok(incoming) => incoming,
        Err(error) => {
            app.engine().metrics().webhook("unreadable", "refused");
            return Err(Problem::not_json(error.to_string()));
        }
    };
    app.engine().receive(&incoming).await?;
    Ok(StatusCode::OK)
}

fn verify(app: &App, headers: &HeaderMap, bytes: &Bytes) -> Result<(), Problem> {
    let settings = app.settings();
    if settings.signature_secrets.is_empty() {
        return Ok(());
    }
    let values = headers.get_all(header::AUTHORIZATION).iter().map(header::HeaderValue::as_bytes);
    match signature::verify(values, bytes, &settings.signature_secrets) {
        Ok(genuine) => match settings.signature_age_max {
            Some(age) if !genuine.is_fresh(system_now(), age) => refuse(app, SignatureError::TooOld),
            Some(_) | None => Ok(()),
        },
        Err(SignatureError::Missing) => {
            app.engine().metrics().webhook("unsigned", "refused");
            tracing::warn!("a webhook without a signature was answered 503, so that Vonage sends it again, signed");
            Err(Problem::unsigned())
        }
        Err(error) => refuse(app, error),
    }
}

fn refuse(app: &App, error: SignatureError) -> Result<(), Problem> {
    app.engine().metrics().webhook("forged", "refused");
    tracing::warn!(reason = %error, "a webhook with a wrong signature was refused; check the signature secret if it was Vonage's");
    Err(Problem::bad_signature("The webhook's signature does not fit this service's secret or the body."))
}
