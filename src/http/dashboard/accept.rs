//! What a caller would rather read: a page or JSON.

use axum::http::{HeaderMap, header};

/// Whether the caller asks for a page rather than for JSON (RFC 9110, section 12.5.1). Whoever takes both alike,
/// or anything, gets JSON: that is what the API promises.
pub(in crate::http) fn wants_page(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let ranges: Vec<(String, u16)> = values.flat_map(|value| value.split(',')).filter_map(range).collect();
    let quality = |of: [&str; 3]| {
        let found = of.iter().find_map(|name| ranges.iter().find(|(range, _)| range == name));
        found.map_or(0, |(_, quality)| *quality)
    };
    quality(["text/html", "text/*", "*/*"]) > quality(["application/json", "application/*", "*/*"])
}

/// A media range and its weight in thousandths.
fn range(text: &str) -> Option<(String, u16)> {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().filter(|name| !name.is_empty())?.to_ascii_lowercase();
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    Some((name, weight.map_or(1_000, thousandths)))
}

/// A weight has three digits behind the point at most; what is none counts as nothing.
fn thousandths(text: &str) -> u16 {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = format!("{part:0<3}");
    match (whole, part.len(), digits.parse::<u16>()) {
        ("0", 0..=3, Ok(thousandths)) => thousandths,
        ("1", 0..=3, Ok(0)) => 1_000,
        (_, _, _) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_get_pages_and_everybody_else_gets_json() {
        let asked = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, axum::http::HeaderValue::from_static(accept));
            wants_page(&headers)
        };
        for page in [
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
            "text/html",
            "TEXT/HTML; q=0.5, application/json;q=0.499",
            "application/json;q=0, text/html;q=0.001",
            "text/*, application/json;q=0.9",
        ] {
            assert!(asked(page), "{page}");
        }
        for json in [
            "*/*",
            "",
            "application/json",
            "application/json, text/html",
            "application/json, text/html;q=0.9",
            "text/html;q=0, */*",
            "text/html;q=1.5",
            "text/html;q=0.8, */*",
            "application/problem+json",
            "text/htmlx",
            ", ;q=1, text/html;q=banana",
        ] {
            assert!(!asked(json), "{json}");
        }
        assert!(!wants_page(&HeaderMap::new()), "no header at all");
    }
}
