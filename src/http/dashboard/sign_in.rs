//! Signing in and out. The key is typed once; the browser gets a session for it.

use axum::extract::{Request, State};
use axum::http::{Extensions, HeaderMap, StatusCode, Uri, header};
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use maud::html;

use crate::http::App;
use crate::http::alerts::BY_CHARS_MAX;
use crate::http::auth::Origin;
use crate::http::body::{self, Whose};
use crate::http::problem::Problem;

use super::frame::{self, Page};
use super::session::{self, SESSION_LIFETIME, Session};
use super::{FORM_BYTES_MAX, SIGN_IN, field, form, same_site};

/// Where to sign in so that the browser then comes where it wanted.
pub(super) fn address(wanted: &Uri) -> String {
    let wanted = wanted.path_and_query().map_or("/", axum::http::uri::PathAndQuery::as_str);
    if safe(wanted) == "/" {
        return SIGN_IN.to_owned();
    }
    let query: String = url::form_urlencoded::Serializer::new(String::new()).append_pair("to", wanted).finish();
    format!("{SIGN_IN}?{query}")
}

/// Where a browser may be sent after signing in: to our own pages and nowhere else.
fn safe(wanted: &str) -> &str {
    let is_ours = wanted.starts_with("/?") || wanted.starts_with("/alerts/");
    let is_plain = wanted.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_ours && is_plain { wanted } else { "/" }
}

pub(super) async fn show(State(app): State<App>, uri: Uri) -> Response {
    let query = uri.query().unwrap_or_default();
    let wanted = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "to");
    let wanted = wanted.map_or_else(String::new, |(_, value)| value.into_owned());
    page(&app, StatusCode::OK, safe(&wanted), None)
}

pub(super) async fn enter(State(app): State<App>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let (headers, extensions) = (parts.headers, parts.extensions);
    let form = match body::read(&app, Whose::Strangers, body, FORM_BYTES_MAX).await {
        Ok((bytes, _held)) => form(&headers, &bytes),
        Err(problem) => Err(problem),
    };
    match form {
        Ok(form) => entered(&app, &headers, &extensions, &form).await,
        Err(problem) => frame::problem(None, &problem),
    }
}

async fn entered(app: &App, headers: &HeaderMap, extensions: &Extensions, form: &[(String, String)]) -> Response {
    let settings = app.settings();
    let public_url = settings.public_url.as_deref();
    let wanted = safe(field(form, "to").unwrap_or_default());
    let now = app.engine().now();
    if !same_site::is_from_us(headers, public_url) {
        return page(app, StatusCode::FORBIDDEN, wanted, Some("Please sign in on this page."));
    }
    let Some(key) = field(form, "key").and_then(|typed| settings.keys.typed(typed)) else {
        return if app.failures().are_too_many(Origin::of(extensions), now) {
            let words = "Too many wrong keys came from here. Wait a few seconds, then try again.";
            page(app, StatusCode::TOO_MANY_REQUESTS, wanted, Some(words))
        } else {
            let words = "This is not a key of this service. The log of its first start says where its key is kept.";
            page(app, StatusCode::UNAUTHORIZED, wanted, Some(words))
        };
    };
    let person = field(form, "name").map(|name| name.chars().take(BY_CHARS_MAX).collect::<String>().into());
    let session = Session { person, until: now.plus(SESSION_LIFETIME) };
    match app.session_key().await {
        Ok(session_key) => {
            let cookie = session::given(&session_key.seal(&session, key), same_site::is_over_tls(headers, public_url));
            ([(header::SET_COOKIE, cookie)], Redirect::to(wanted)).into_response()
        }
        Err(problem) => frame::problem(None, &problem),
    }
}

pub(super) async fn leave(State(app): State<App>, headers: HeaderMap, request: Request) -> Response {
    // Read to its end, so that the connection can go on.
    if let Err(problem) = body::read(&app, Whose::Strangers, request.into_body(), FORM_BYTES_MAX).await {
        return frame::problem(None, &problem);
    }
    if !same_site::is_from_us(&headers, app.settings().public_url.as_deref()) {
        return frame::problem(None, &Problem::from_another_page());
    }
    let cookies = session::taken_away().map(|cookie| (header::SET_COOKIE, cookie));
    (AppendHeaders(cookies), Redirect::to(SIGN_IN)).into_response()
}

fn page(app: &App, status: StatusCode, wanted: &str, error: Option<&str>) -> Response {
    let hours = SESSION_LIFETIME.as_secs() / 3_600;
    let content = html! {
        section.card.narrow {
            h1 { "Sign in" }
            @if let Some(error) = error { p #error .error role="alert" { (error) } }
            form.stack method="post" action=(SIGN_IN) {
                input type="hidden" name="to" value=(wanted);
                label for="key" { "API key" }
                input #key type="password" name="key" required autocomplete="current-password" autofocus
                    aria-describedby=[error.map(|_| "error")];
                label for="name" { "Your name " span.hint { "(optional)" } }
                input #name type="text" name="name" maxlength=(BY_CHARS_MAX) autocomplete="name"
                    aria-describedby="name-hint";
                p #name-hint .hint { "Shown beside what you acknowledge." }
                button.primary type="submit" { "Sign in" }
            }
            p.hint { "This browser stays signed in for " (hours) " hours. The key itself is not kept in it." }
        }
    };
    let page = Page { title: "Sign in", caller: None, now: Some(app.engine().now()), live: None, content };
    page.answer(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_sent_to_our_own_pages_only() {
        for ours in ["/?status=resolved", "/alerts/01928f3e-0000-7000-8000-000000000000?note=late"] {
            assert_eq!(safe(ours), ours);
        }
        for foreign in [
            "",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example/alerts/1",
            "javascript:alert(1)",
            "/alerts/\\\\evil.example",
            "/alerts/1\r\nset-cookie: a=b",
            "/?\u{0}",
            "/?é",
            "/sign-out",
            " /alerts/1",
            "/alerts",
        ] {
            assert_eq!(safe(foreign), "/", "{foreign:?}");
        }
    }
}
