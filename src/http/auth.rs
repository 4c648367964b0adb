//! Who may call: the bearer key of the API.

use aws_lc_rs::{constant_time, digest};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::App;
use super::problem::Problem;

/// A key, kept as its hash, so that comparing takes the same time whatever is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey([u8; 32]);

impl ApiKey {
    /// The key that must be sent.
    pub fn new(key: &str) -> Self {
        Self(sha256(key.as_bytes()))
    }

    fn is(&self, sent: &str) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &sha256(sent.as_bytes())).is_ok()
    }
}

/// SHA-256 of some bytes.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    for (byte, from) in hash.iter_mut().zip(digest::digest(&digest::SHA256, bytes).as_ref()) {
        *byte = *from;
    }
    hash
}

/// Lets a request through that needs no key or carries it. It judges by the path and before any path is
/// looked up, so that nobody without the key learns what exists below `/alerts` and what does not.
pub(super) async fn require_key(State(app): State<App>, request: Request, next: Next) -> Response {
    if !is_guarded(request.uri().path()) {
        return next.run(request).await;
    }
    let settings = app.settings();
    match bearer(request.headers()) {
        Some(sent) if settings.api_key.is(sent) => next.run(request).await,
        Some(_) => Problem::unauthorized("The API key is not one of this service.").into_response(),
        None => Problem::unauthorized("Send the API key as `Authorization: Bearer <key>`.").into_response(),
    }
}

fn is_guarded(path: &str) -> bool {
    path.strip_prefix("/alerts").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The token behind `Bearer`, in any case, where there is exactly one such header.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}
