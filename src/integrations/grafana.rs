//! Grafana's alerting webhook: Alertmanager's form and more. The webhooks of Grafana before its version 8 and of
//! Grafana `OnCall` are told apart by their fields.

use aws_lc_rs::hmac;
use serde_json::{Map, Value};

use super::notice::{Act, Notice};
use super::words::{copied, link, severity, text};
use super::{Unreadable, alertmanager};

/// The header that Grafana signs in, unless told otherwise.
pub const SIGNATURE_HEADER_DEFAULT: &str = "X-Grafana-Alerting-Signature";

const OF_ALERT: [&str; 7] = ["values", "valueString", "dashboardURL", "panelURL", "silenceURL", "ruleUID", "orgId"];
/// Where a person looks first.
const LINKS: [&str; 3] = ["panelURL", "dashboardURL", "generatorURL"];

pub(super) fn read(body: &Value) -> Result<Vec<Notice>, Unreadable> {
    if let Some(alerts) = body.get("alerts").and_then(Value::as_array) {
        let numbered = alerts.iter().enumerate();
        return numbered.map(|(index, alert)| alertmanager::notice(body, alert, index, &OF_ALERT, &LINKS)).collect();
    }
    let (key, links): (_, &[&str]) = match (text(body, "ruleId"), text(body, "alert_uid")) {
        (Some(rule), _) => {
            let organisation = text(body, "orgId").unwrap_or_else(|| "1".to_owned());
            (format!("rule-{organisation}-{rule}"), &["ruleUrl"])
        }
        (None, Some(alert)) => (alert, &["link_to_upstream_details"]),
        (None, None) => {
            return Err(Unreadable::because("there is neither `alerts`, nor `ruleId` as in Grafana before version 8"));
        }
    };
    let act = match text(body, "state").unwrap_or_default().to_ascii_lowercase().as_str() {
        "ok" => Act::Resolve,
        // Nothing is wrong yet, or nobody wants to know.
        "pending" | "paused" => return Ok(Vec::new()),
        _ => Act::Trigger,
    };
    let said = ["title", "ruleName", "message"].iter().filter_map(|name| text(body, name));
    let mut said: Vec<String> = said.collect();
    said.dedup();
    let message = said.into_iter().next().unwrap_or_else(|| "An alert without a title".to_owned());
    let mut details = Map::new();
    copied(body, &["ruleId", "ruleName", "orgId", "state", "message", "evalMatches", "tags", "imageUrl"], &mut details);
    let tags = body.get("tags").unwrap_or(&Value::Null);
    Ok(vec![Notice {
        act,
        key: Some(key.into()),
        message: message.into(),
        severity: severity(&text(tags, "severity").unwrap_or_default()),
        link: link(links.iter().map(|name| text(body, name))),
        details,
        began_at: None,
        ended_at: None,
    }])
}

/// How Grafana signs what it sends.
#[derive(Clone)]
pub struct Seal {
    key: hmac::Key,
    header: Box<str>,
    timestamp_header: Option<Box<str>>,
}

impl std::fmt::Debug for Seal {
    /// Shows nothing of the secret.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Seal").field("header", &self.header).finish_non_exhaustive()
    }
}

/// Why what was posted does not count as Grafana's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// There is no signature.
    #[error("the request is not signed")]
    Missing,
    /// The signature is another one.
    #[error("the signature does not fit the secret or the body")]
    Wrong,
}

impl Seal {
    /// Signs with `secret` in `header`; where Grafana is told of a timestamp header, that moment is signed too.
    pub fn new(secret: &str, header: Option<&str>, timestamp_header: Option<&str>) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()),
            header: header.unwrap_or(SIGNATURE_HEADER_DEFAULT).into(),
            timestamp_header: timestamp_header.map(Into::into),
        }
    }

    /// Whether a request is Grafana's. `header` answers with the value of a header, by its name in any case.
    pub fn check<'h>(&self, header: impl Fn(&str) -> Option<&'h str>, body: &[u8]) -> Result<(), SealError> {
        let signature = header(&self.header).ok_or(SealError::Missing)?;
        let mut signed = Vec::new();
        if let Some(name) = &self.timestamp_header {
            signed.extend(header(name).ok_or(SealError::Missing)?.as_bytes());
            signed.push(b':');
        }
        signed.extend(body);
        let signature = unhex(signature.trim()).ok_or(SealError::Wrong)?;
        match hmac::verify(&self.key, &signed, &signature) {
            Ok(()) => Ok(()),
            Err(_) => Err(SealError::Wrong),
        }
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    let byte =
        |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?, 16).ok();
    pairs.map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "callout-grafana-secret";
    const BODY: &[u8] = br#"{"status":"firing","alerts":[]}"#;
    const OVER_BODY: &str = "88fde5ee8a927da6956c97c25577b087e0e5a1c4af84a8311db7a7f61c5e6604";
    const OVER_TIME_AND_BODY: &str = "65187b88c0f64c518effec0e2166d788470d51d9892be20d54220ee17f11162d";

    fn headers<'h>(of: &'h [(&'h str, &'h str)]) -> impl Fn(&str) -> Option<&'h str> {
        move |name| of.iter().find(|(header, _)| header.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    #[test]
    fn a_signature_over_the_body_is_known_and_no_other() {
        let seal = Seal::new(SECRET, None, None);
        let name = SIGNATURE_HEADER_DEFAULT;
        assert_eq!(seal.check(headers(&[(name, OVER_BODY)]), BODY), Ok(()));
        assert_eq!(seal.check(headers(&[(name, &OVER_BODY.to_uppercase())]), BODY), Ok(()));
        assert_eq!(seal.check(headers(&[(name, OVER_BODY)]), b"{}"), Err(SealError::Wrong));
        assert_eq!(seal.check(headers(&[(name, OVER_TIME_AND_BODY)]), BODY), Err(SealError::Wrong));
        assert_eq!(seal.check(headers(&[]), BODY), Err(SealError::Missing));
        for nonsense in ["", "8", "zz", "8ä", OVER_BODY.trim_end_matches("04")] {
            assert_eq!(seal.check(headers(&[(name, nonsense)]), BODY), Err(SealError::Wrong), "{nonsense}");
        }
        assert!(!format!("{seal:?}").contains(SECRET));
    }

    #[test]
    fn with_a_timestamp_header_the_moment_is_signed_too() {
        let seal = Seal::new(SECRET, Some("X-Signed"), Some("X-At"));
        let signed = [("x-signed", OVER_TIME_AND_BODY), ("x-at", "1767225600")];
        assert_eq!(seal.check(headers(&signed), BODY), Ok(()));
        let moved = [("x-signed", OVER_TIME_AND_BODY), ("x-at", "1767225601")];
        assert_eq!(seal.check(headers(&moved), BODY), Err(SealError::Wrong));
        assert_eq!(seal.check(headers(&[("x-signed", OVER_TIME_AND_BODY)]), BODY), Err(SealError::Missing));
    }
}
