//! Judges what Vonage answered to a send.
//!
//! The HTTP status decides whether the message, the recipient or something else is at fault; the
//! fragment of the problem's `type` only refines what the operator is told. The same fragment means
//! different things under different statuses (`#1000` is a rate limit and an internal error), and its
//! host has changed, so neither is trusted further.
//!
//! A status that blames the message counts only with a problem body of Vonage's: the same status with
//! a page of HTML comes from a proxy or a wrong address and says nothing about anybody.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::escalation::{Failure, TroubleOutcome};
use crate::id::ProviderId;
use crate::sender::{Answer, SendTrouble, TroubleCause};
use crate::timestamp::Timestamp;

use super::failure;

/// The most bytes of an answer's body that are read; Vonage's longest problems have about one
/// thousand.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// How many of a problem's invalid parameters are told; the operator mends them one by one anyway.
const PARAMETERS_MAX: usize = 5;

/// What came back over HTTP.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "a problem may quote addresses and texts")]
pub struct Received {
    /// The HTTP status.
    pub status: u16,
    /// How long we are asked to wait, where we are.
    pub retry_after: Option<Duration>,
    /// The body, where it is a JSON object within [`BODY_BYTES_MAX`].
    pub body: Option<Map<String, Value>>,
}

/// Says what an answer means. `id_field` is where the answer to an accepted send has its id;
/// `private` is what must not be quoted from a problem.
pub fn judge(received: &Received, id_field: &str, private: &[String]) -> Answer {
    let problem = Problem::of(received, private);
    match received.status {
        202 => Answer::Accepted(id(received, id_field)),
        400 | 404 | 409 | 413 | 422 if problem.is_vonages => Answer::Refused(problem.failure()),
        _ => Answer::Trouble(SendTrouble {
            cause: problem.cause(),
            outcome: outcome(received.status),
            retry_after: received.retry_after,
            failure: problem.failure(),
        }),
    }
}

fn id(received: &Received, id_field: &str) -> Option<ProviderId> {
    received.body.as_ref()?.get(id_field)?.as_str()?.parse().ok()
}

/// Whether a send that was answered so can have gone through. Vonage answers these before it looks
/// at the message; of all others nobody knows.
fn outcome(status: u16) -> TroubleOutcome {
    match status {
        401 | 402 | 403 | 429 => TroubleOutcome::NotSent,
        _ => TroubleOutcome::Unknown,
    }
}

/// An answer that is no acceptance, as far as it can be understood.
struct Problem {
    status: u16,
    /// It has the form of RFC 9457, at least in part.
    is_vonages: bool,
    /// What stands behind `#` in its type, in lower case.
    fragment: Option<Box<str>>,
    /// What it says, fit to be kept.
    words: Option<Box<str>>,
}

impl Problem {
    fn of(received: &Received, private: &[String]) -> Self {
        let status = received.status;
        let Some(body) = &received.body else {
            return Self { status, is_vonages: false, fragment: None, words: None };
        };
        let text = |field: &str| body.get(field).and_then(Value::as_str);
        let (kind, title, detail) = (text("type"), text("title"), text("detail"));
        let parameters = parameters(body.get("invalid_parameters"));
        let mut words = [title, detail].into_iter().flatten().collect::<Vec<_>>().join(": ");
        if !parameters.is_empty() {
            words = format!("{words} ({})", parameters.join("; "));
        }
        Self {
            status,
            is_vonages: kind.or(title).or(detail).is_some(),
            fragment: kind
                .and_then(|kind| kind.rsplit_once('#'))
                .and_then(|(_, fragment)| failure::code(&fragment.to_ascii_lowercase())),
            words: (!words.is_empty()).then(|| failure::presentable(&words, private)),
        }
    }

    fn failure(&self) -> Failure {
        let status = self.status;
        let detail = match &self.words {
            Some(words) => format!("HTTP {status}: {words}"),
            None => format!("HTTP {status}{}", hint(status)),
        };
        let code = self.fragment.clone().unwrap_or_else(|| status.to_string().into());
        Failure { code: Some(code), detail: detail.into() }
    }

    fn cause(&self) -> TroubleCause {
        match self.status {
            402 => return TroubleCause::Balance,
            429 => return TroubleCause::RateLimit,
            _ => {}
        }
        match self.fragment.as_deref() {
            Some("low-balance" | "out-of-credit") => TroubleCause::Balance,
            // The first is how the Messages reference spells it.
            Some(
                "unathorized" | "unauthorized" | "unprovisioned" | "forbidden" | "account-suspended" | "jwt-expired"
                | "jwt-revoked" | "invalid-api-key" | "invalid-signature",
            ) => TroubleCause::Credentials,
            _ if matches!(self.status, 401 | 403) => TroubleCause::Credentials,
            _ => TroubleCause::Provider,
        }
    }
}

/// What an operator may want to know where Vonage says nothing.
fn hint(status: u16) -> &'static str {
    match status {
        300..=399 => ", a redirect, which callout does not follow: is the address of Vonage's API right?",
        400 | 404 | 409 | 413 | 422 => " without a problem in JSON: is the address of Vonage's API right?",
        401 | 403 => ": are application id and private key a pair, and is the clock right?",
        402 => ": is there money on the account?",
        _ => " without a reason",
    }
}

/// What is wrong with which parameter. Dispatch gives one object, Messages a list of them.
fn parameters(value: Option<&Value>) -> Vec<String> {
    let parameters = match value {
        Some(Value::Array(list)) => list.as_slice(),
        Some(object @ Value::Object(_)) => std::slice::from_ref(object),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) | None => &[],
    };
    let text = |parameter: &Value, field: &str| parameter.get(field).and_then(Value::as_str).map(str::to_owned);
    parameters
        .iter()
        .filter_map(|parameter| match (text(parameter, "name"), text(parameter, "reason")) {
            (Some(name), Some(reason)) => Some(format!("{name}: {reason}")),
            (name, reason) => name.or(reason),
        })
        .take(PARAMETERS_MAX)
        .collect()
}

/// Reads a `Retry-After` header: whole seconds, or the moment in HTTP's form.
pub fn retry_after(header: &str, now: Timestamp) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let moment = jiff::fmt::rfc2822::parse(header).ok()?.timestamp();
    Some(Timestamp::from_millis(moment.as_millisecond()).since(now))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn received(status: u16, body: Value) -> Received {
        let Value::Object(body) = body else { return Received { status, retry_after: None, body: None } };
        Received { status, retry_after: None, body: Some(body) }
    }

    fn trouble(status: u16, body: Value) -> (TroubleCause, TroubleOutcome) {
        match judge(&received(status, body), "message_uuid", &[]) {
            Answer::Trouble(trouble) => (trouble.cause, trouble.outcome),
            other @ (Answer::Accepted(_) | Answer::Refused(_)) => panic!("{status} is {other:?}"),
        }
    }

    fn problem(fragment: &str) -> Value {
        json!({ "type": format!("https://developer.nexmo.com/api-errors#{fragment}"), "title": "Not now" })
    }

    #[test]
    fn an_accepted_send_is_accepted_whatever_the_body_says() {
        let id = "0f6d6a52-6f0b-4c5e-9a51-2d1f0a1c9e01";
        let judge = |body| judge(&received(202, body), "message_uuid", &[]);
        assert_eq!(judge(json!({ "message_uuid": id })), Answer::Accepted(id.parse().ok()));
        for body in [json!(null), json!({}), json!({ "message_uuid": 7 }), json!({ "message_uuid": "a b" })] {
            assert_eq!(judge(body), Answer::Accepted(None));
        }
    }

    #[test]
    fn each_status_that_blames_nobody_says_what_is_at_fault_and_whether_it_can_have_gone_out() {
        use TroubleCause::{Balance, Credentials, Provider, RateLimit};
        use TroubleOutcome::{NotSent, Unknown};
        for (status, body, cause, outcome) in [
            (401, json!(null), Credentials, NotSent),
            (401, problem("unathorized"), Credentials, NotSent),
            (401, problem("low-balance"), Balance, NotSent),
            (402, json!(null), Balance, NotSent),
            (402, problem("unauthorized"), Balance, NotSent),
            (403, json!(null), Credentials, NotSent),
            (403, problem("forbidden"), Credentials, NotSent),
            (403, problem("out-of-credit"), Balance, NotSent),
            (403, problem("LOW-BALANCE"), Balance, NotSent),
            (429, problem("1000"), RateLimit, NotSent),
            (429, json!(null), RateLimit, NotSent),
            (500, problem("1000"), Provider, Unknown),
            (503, json!(null), Provider, Unknown),
            (408, json!(null), Provider, Unknown),
            (425, json!(null), Provider, Unknown),
            (500, problem("account-suspended"), Credentials, Unknown),
            (200, json!({ "message_uuid": "m" }), Provider, Unknown),
            (302, json!(null), Provider, Unknown),
            (405, problem("not-found"), Provider, Unknown),
            (422, json!(null), Provider, Unknown),
            (404, json!({ "error": "no such page" }), Provider, Unknown),
            (400, json!({ "title": 400 }), Provider, Unknown),
        ] {
            assert_eq!(trouble(status, body.clone()), (cause, outcome), "{status} {body}");
        }
    }

    #[test]
    fn a_status_that_blames_the_message_needs_a_problem_in_json() {
        for status in [400, 404, 409, 413, 422] {
            for body in [json!({ "type": "t" }), json!({ "title": "t" }), json!({ "detail": "t" })] {
                let answer = judge(&received(status, body), "message_uuid", &[]);
                assert!(matches!(answer, Answer::Refused(_)), "{status}: {answer:?}");
            }
        }
    }

    #[test]
    fn a_refusal_names_the_parameters_in_either_form_and_no_address() {
        let private = ["447700900001".to_owned()];
        let list = json!({ "type": "https://developer.vonage.com/api-errors/messages#1150", "title": "Invalid params",
            "detail": "One or more parameters are not valid for 447700900001.",
            "invalid_parameters": [{ "name": "viber_service.ttl", "reason": "must be at least 30" }, { "name": "to" }] });
        let object = json!({ "title": "Bad request", "invalid_parameters": { "name": "workflow[0].to.id", "reason": "missing" } });
        let refusal = |body| match judge(&received(422, body), "message_uuid", &private) {
            Answer::Refused(failure) => failure,
            other @ (Answer::Accepted(_) | Answer::Trouble(_)) => panic!("{other:?}"),
        };
        let failure = refusal(list);
        assert_eq!(failure.code.as_deref(), Some("1150"));
        assert_eq!(
            &*failure.detail,
            "HTTP 422: Invalid params: One or more parameters are not valid for …. \
             (viber_service.ttl: must be at least 30; to)"
        );
        let failure = refusal(object);
        assert_eq!(failure.code.as_deref(), Some("422"));
        assert_eq!(&*failure.detail, "HTTP 422: Bad request (workflow[0].to.id: missing)");
    }

    #[test]
    fn a_wait_is_read_in_seconds_and_as_a_moment() {
        let now = Timestamp::from_millis(784_111_777_000);
        assert_eq!(retry_after(" 17 ", now), Some(Duration::from_secs(17)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:50:07 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:00 GMT", now), Some(Duration::ZERO), "it is over");
        for header in ["", "soon", "-3", "1.5"] {
            assert_eq!(retry_after(header, now), None, "{header}");
        }
    }
}
