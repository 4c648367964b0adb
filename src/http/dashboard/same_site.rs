//! Whether a request that changes something comes from a page of ours.
//!
//! A browser sends the session with whatever a page asks for. The cookie is `SameSite=Strict`; beyond that, a
//! change must be wished from a page of ours, as the browser itself says in headers that no page can write:
//! `Sec-Fetch-Site` where the browser trusts the connection, else `Origin`. Neither means no.

use axum::http::{HeaderMap, header};

/// Whether the browser says that the request comes from a page of this service. `public_url` is how the service is
/// reached from outside, where it is known: a proxy may have changed the host.
pub(in crate::http) fn is_from_us(headers: &HeaderMap, public_url: Option<&str>) -> bool {
    if let Some(site) = one(headers, "sec-fetch-site") {
        return site == "same-origin";
    }
    let Some(origin) = one(headers, header::ORIGIN.as_str()) else { return false };
    let Some((_, authority)) = origin.split_once("://") else { return false };
    let is_host = one(headers, header::HOST.as_str()).is_some_and(|host| host.eq_ignore_ascii_case(authority));
    is_host || public_url.and_then(origin_of).is_some_and(|ours| ours.eq_ignore_ascii_case(origin))
}

/// Whether the browser reached us by https, as it says itself.
pub(super) fn is_over_tls(headers: &HeaderMap, public_url: Option<&str>) -> bool {
    match one(headers, header::ORIGIN.as_str()) {
        Some(origin) if origin.contains("://") => origin.starts_with("https://"),
        Some(_) | None => public_url.is_some_and(|url| url.starts_with("https://")),
    }
}

fn origin_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let end = rest.find('/').map_or(url.len(), |slash| url.len() - rest.len() + slash);
    url.get(..end)
}

/// The header, where it is sent exactly once; a second one is taken for a third party's.
fn one<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value.to_str().unwrap_or_default()),
        (Some(_), Some(_)) => Some(""),
        (None, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(sent: &[(&'static str, &'static str)]) -> bool {
        let headers = sent.iter().map(|(name, value)| {
            (axum::http::HeaderName::from_static(name), axum::http::HeaderValue::from_static(value))
        });
        let mut map = HeaderMap::new();
        headers.for_each(|(name, value)| {
            map.append(name, value);
        });
        is_from_us(&map, Some("https://pager.example/team"))
    }

    #[test]
    fn only_a_page_of_ours_changes_anything() {
        const HOST: (&str, &str) = ("host", "pager.internal:9000");
        for ours in [
            &[HOST, ("sec-fetch-site", "same-origin")][..],
            &[HOST, ("sec-fetch-site", "same-origin"), ("origin", "https://pager.example")],
            &[HOST, ("origin", "http://pager.internal:9000")],
            &[HOST, ("origin", "https://pager.example")],
        ] {
            assert!(judged(ours), "{ours:?}");
        }
        for foreign in [
            &[HOST][..],
            &[HOST, ("sec-fetch-site", "cross-site")],
            &[HOST, ("sec-fetch-site", "same-site"), ("origin", "http://pager.internal:9000")],
            &[HOST, ("sec-fetch-site", "none")],
            &[HOST, ("origin", "null")],
            &[HOST, ("origin", "https://evil.example")],
            &[HOST, ("origin", "http://pager.internal:9001")],
            &[HOST, ("origin", "http://pager.internal:9000.evil.example")],
            &[HOST, ("origin", "http://pager.example")],
            &[HOST, ("origin", "http://pager.internal:9000"), ("origin", "https://evil.example")],
            &[HOST, ("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
            &[HOST, ("origin", "")],
        ] {
            assert!(!judged(foreign), "{foreign:?}");
        }
    }
}
