//! Pages that are whole with one request: their style stands inside, and nothing else is loaded or run.

use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::hash::sha256;

/// What pages of one kind have in common.
#[derive(Debug)]
pub(super) struct Standalone {
    style: &'static str,
    policy: String,
}

impl Standalone {
    /// Pages with this style. It is let in by its hash, so that no other can be put in; they have no frame around
    /// them, and their forms go back to where they came from.
    pub(super) fn with(style: &'static str) -> Self {
        let hash = STANDARD.encode(sha256(style.as_bytes()));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
        );
        Self { style, policy }
    }

    /// The whole page.
    pub(super) fn page(&self, title: &str, content: &Markup) -> String {
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (title) }
                    style { (PreEscaped(self.style)) }
                }
                body { main { (content) } }
            }
        };
        page.into_string()
    }

    /// The answer that carries a page.
    pub(super) fn answer(&self, status: StatusCode, page: impl Into<axum::body::Body>) -> Response {
        let headers = [(header::CONTENT_SECURITY_POLICY, self.policy.as_str())];
        (status, headers, Html(page.into())).into_response()
    }
}
