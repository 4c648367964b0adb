//! What the pages load: one style, one script, one icon. Each is a part of the program and is called by its hash,
//! so that a browser may keep it for ever and never has an old one.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::hash::{hex, sha256};
use crate::http::problem::Problem;

/// How many digits of its hash a file has in its name.
const HASH_DIGITS: usize = 16;

struct Asset {
    path: String,
    content_type: &'static str,
    bytes: &'static str,
}

impl Asset {
    fn new(name: &str, extension: &str, content_type: &'static str, bytes: &'static str) -> Self {
        let mut hash = hex(&sha256(bytes.as_bytes()));
        hash.truncate(HASH_DIGITS);
        Self { path: format!("/assets/{name}-{hash}.{extension}"), content_type, bytes }
    }
}

static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("style", "css", "text/css; charset=utf-8", include_str!("assets/style.css")));
static SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("live", "js", "text/javascript; charset=utf-8", include_str!("assets/live.js")));
static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("icon", "svg", "image/svg+xml", include_str!("assets/icon.svg")));

/// Where the style is.
pub(super) fn style() -> &'static str {
    &STYLE.path
}

/// Where the script is.
pub(super) fn script() -> &'static str {
    &SCRIPT.path
}

/// Where the icon is.
pub(super) fn icon() -> &'static str {
    &ICON.path
}

/// Gives one of them to anybody: they are the same everywhere and say nothing of this service.
pub(super) async fn serve(name: Result<Path<String>, PathRejection>) -> Result<Response, Problem> {
    let path = name.map(|Path(name)| format!("/assets/{name}")).unwrap_or_default();
    let asset = [&STYLE, &SCRIPT, &ICON].into_iter().find(|asset| asset.path == path);
    let asset = asset.ok_or_else(|| Problem::not_found("No file of the pages is called this."))?;
    let headers =
        [(header::CONTENT_TYPE, asset.content_type), (header::CACHE_CONTROL, "public, max-age=31536000, immutable")];
    Ok((headers, asset.bytes).into_response())
}
