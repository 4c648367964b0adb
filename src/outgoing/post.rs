//! One try of one callback.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use url::Url;

use crate::store::Delivery;
use crate::target::Allowed;
use crate::timestamp::Timestamp;

use super::names::{Guarded, LeadsInside, Names};
use super::signature::{self, SigningKey};

/// How long one try may take, from the name to the end of the answer (Standard Webhooks: 15 to 30 s).
pub const CALLBACK_TIMEOUT: Duration = Duration::from_secs(15);
/// How much of an answer is taken in, so that its connection can be used again; none of it is looked at.
pub const CALLBACK_ANSWER_BYTES_MAX: usize = 64 << 10;
/// How long a connection is kept for the next callback.
const IDLE_CONNECTION: Duration = Duration::from_secs(10);

/// What came of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tried {
    /// The endpoint has it: 2xx.
    Delivered,
    /// The endpoint wants nothing any more: 410.
    Gone,
    /// It is to be tried again.
    Failed {
        /// What went wrong; nothing private.
        failure: Box<str>,
        /// How long the endpoint asked us to wait.
        retry_after: Option<Duration>,
    },
}

/// The way to one endpoint.
#[derive(Debug)]
pub(super) struct Line {
    url: Url,
    keys: Vec<SigningKey>,
    allowed: Arc<Allowed>,
    http: reqwest::Client,
}

impl Line {
    pub(super) fn new(
        url: Url,
        keys: Vec<SigningKey>,
        allowed: Allowed,
        names: Arc<dyn Names>,
    ) -> Result<Self, reqwest::Error> {
        let allowed = Arc::new(allowed);
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            // A proxy would connect to addresses that nobody has looked at.
            .no_proxy()
            .timeout(CALLBACK_TIMEOUT)
            .pool_idle_timeout(IDLE_CONNECTION)
            .dns_resolver(Guarded { names, allowed: Arc::clone(&allowed) })
            .build()?;
        Ok(Self { url, keys, allowed, http })
    }

    /// Tries once. `now` is the time of the world outside, which receivers compare with their own.
    pub(super) async fn post(&self, delivery: &Delivery, now: Timestamp) -> Tried {
        if let Err(refused) = self.allowed.check(&self.url) {
            return Tried::Failed { failure: format!("the URL {refused}").into(), retry_after: None };
        }
        let seconds = signature::seconds(now);
        let request = self
            .http
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("callout/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", &*delivery.event)
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", signature::signatures(&self.keys, &delivery.event, seconds, &delivery.body))
            .body(delivery.body.as_bytes().to_vec());
        match request.send().await {
            Ok(response) => judge(response).await,
            Err(error) => Tried::Failed { failure: in_words(&error).into(), retry_after: None },
        }
    }
}

async fn judge(mut response: reqwest::Response) -> Tried {
    let status = response.status();
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = retry_after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
    let mut n_bytes = 0;
    while n_bytes < CALLBACK_ANSWER_BYTES_MAX {
        match response.chunk().await {
            Ok(Some(chunk)) => n_bytes += chunk.len(),
            // The status has said what counts.
            Ok(None) | Err(_) => break,
        }
    }
    match status {
        StatusCode::GONE => Tried::Gone,
        status if status.is_success() => Tried::Delivered,
        status if status.is_redirection() => {
            let failure = format!("HTTP {}: redirects are not followed", status.as_u16());
            Tried::Failed { failure: failure.into(), retry_after }
        }
        status => Tried::Failed { failure: format!("HTTP {}", status.as_u16()).into(), retry_after },
    }
}

/// What went wrong, without the URL, which may hold a token.
fn in_words(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    let mut innermost = None;
    while let Some(source) = cause {
        if source.is::<LeadsInside>() {
            return LeadsInside.to_string();
        }
        innermost = Some(source);
        cause = source.source();
    }
    let what = if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the answer broke off"
    };
    match innermost {
        Some(innermost) => format!("{what}: {innermost}"),
        None => what.to_owned(),
    }
}
