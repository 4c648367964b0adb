//! Carries one attempt to Vonage and brings back what came of it; and tells people who has an alert,
//! and takes RCS messages back.
//!
//! It sends once, within its time limits, and follows no redirect: when to try again is decided by
//! the alert's state, which survives a restart, and never here. Settings are replaced as a whole
//! while sends are under way; each send uses the settings it began with.

use std::error::Error as _;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use reqwest::header::{ACCEPT, CONTENT_TYPE, DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use serde::Serialize;
use serde_json::Value;
use url::Url;

use crate::contact::Channel;
use crate::escalation::{Backend, Failure, TroubleOutcome};
use crate::id::ProviderId;
use crate::sender::{Answer, Notice, Outbound, SendTrouble, Sender, TroubleCause};
use crate::target::is_on_this_machine;
use crate::timestamp::Timestamp;

use super::answer::{self, BODY_BYTES_MAX, Received};
use super::dispatch::{self, BodyError};
use super::failure;
use super::messages::{self, NoSender};
use super::settings::{Senders, Settings, TimeLimits};
use super::text;
use super::token::Tokens;

/// Tells the time of the world outside, by which Vonage judges our token:
/// [`clock::system_now`](crate::clock::system_now) outside of tests.
pub type WallClock = fn() -> Timestamp;

/// How long a connection is kept for the next send. Load balancers commonly close theirs after 15
/// seconds or more, and a send on a connection that is just being closed ends as "nobody knows".
const IDLE_CONNECTION: Duration = Duration::from_secs(10);

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is not one of HTTP.
    #[error("the address of Vonage's API must begin with https:// or http:// and name a host")]
    BaseUrl,
    /// The address holds a user name or password.
    #[error("the address of Vonage's API must not hold a user name or password")]
    CredentialsInBaseUrl,
    /// The HTTP client cannot be set up, for example because the system has no usable certificates.
    #[error("the HTTP client cannot be set up")]
    Client(#[source] reqwest::Error),
}

/// Sends messages through Vonage.
#[derive(Debug)]
pub struct VonageSender {
    line: ArcSwap<Line>,
    wall_clock: WallClock,
}

impl VonageSender {
    /// Sends with these settings.
    pub fn new(settings: Settings, wall_clock: WallClock) -> Result<Self, Error> {
        Ok(Self { line: ArcSwap::from_pointee(Line::new(settings)?), wall_clock })
    }

    /// Uses other settings from the next send on; where they cannot be used, the old ones stay.
    pub fn reload(&self, settings: Settings) -> Result<(), Error> {
        self.line.store(Line::new(settings)?.into());
        Ok(())
    }
}

/// What Vonage says to a request that can have no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    /// The HTTP status: 400 or 422 says that we may send and that there was nothing to be sent.
    pub status: u16,
    /// What the answer's `Date` header says, as it was written.
    pub date: Option<Box<str>>,
}

impl VonageSender {
    /// Asks Vonage to send nothing at all (an empty object), in the application's name: it tells whether
    /// Vonage is reached and takes our token, and nobody is messaged. The error is in words.
    pub async fn probe(&self) -> Result<Probed, Box<str>> {
        let line = self.line.load_full();
        let token = line.tokens.token((self.wall_clock)()).map_err(|error| <Box<str>>::from(error.to_string()))?;
        let request = line.http.post(line.messages_url.clone()).bearer_auth(token.reveal()).body("{}");
        let response = request.send().await.map_err(|error| {
            let error = error.without_url();
            let mut text = error.to_string();
            let mut cause = error.source();
            while let Some(deeper) = cause {
                text.push_str(&format!(": {deeper}"));
                cause = deeper.source();
            }
            <Box<str>>::from(text)
        })?;
        let date = response.headers().get(DATE).and_then(|date| date.to_str().ok()).map(Box::from);
        Ok(Probed { status: response.status().as_u16(), date })
    }
}

#[async_trait]
impl Sender for VonageSender {
    async fn send(&self, outbound: &Outbound) -> Answer {
        let line = self.line.load_full();
        match line.send(outbound, self.wall_clock).await {
            Ok(answer) => answer,
            Err(failed) => failed.answer(),
        }
    }

    /// One message of Messages v1 on both backends: there is nothing to fail over to, and a workflow's
    /// reports could be taken for those of a lost one.
    async fn tell(&self, notice: &Notice) -> Answer {
        let line = self.line.load_full();
        line.tell(notice, self.wall_clock).await.unwrap_or_else(NotAnswered::answer)
    }

    async fn revoke(&self, message: &ProviderId) -> Answer {
        let line = self.line.load_full();
        line.revoke(message, self.wall_clock).await.unwrap_or_else(NotAnswered::answer)
    }
}

/// Everything that one send needs; made anew from new settings.
#[derive(Debug)]
struct Line {
    messages_url: Url,
    dispatch_url: Url,
    rcs_url: Url,
    senders: Senders,
    tokens: Tokens,
    http: reqwest::Client,
}

impl Line {
    fn new(settings: Settings) -> Result<Self, Error> {
        Ok(Self {
            messages_url: endpoint(&settings.base_url, ["v1", "messages"])?,
            dispatch_url: endpoint(&settings.base_url, ["v0.1", "dispatch"])?,
            rcs_url: endpoint(&settings.rcs_url, ["v1", "messages"])?,
            http: http_client(&settings.base_url, settings.time_limits).map_err(Error::Client)?,
            senders: settings.senders,
            tokens: Tokens::new(settings.application_id, settings.private_key),
        })
    }

    async fn send(&self, outbound: &Outbound, wall_clock: WallClock) -> Result<Answer, NotAnswered> {
        let (url, id_field, body) = match outbound.backend {
            Backend::Messages => {
                let body = messages::body(outbound, &self.senders).map_err(NotAnswered::from_messages)?;
                (&self.messages_url, "message_uuid", json(&body)?)
            }
            Backend::Dispatch => {
                let body = dispatch::body(outbound, &self.senders).map_err(NotAnswered::from_dispatch)?;
                (&self.dispatch_url, "dispatch_uuid", json(&body)?)
            }
        };
        let received = self.exchange(self.http.post(url.clone()).body(body), wall_clock).await?;
        // Nothing is quoted from an acceptance, so the usual case need not gather what is private.
        let private = if received.status == 202 { Vec::new() } else { private(outbound) };
        Ok(answer::judge(&received, id_field, &private))
    }

    async fn tell(&self, notice: &Notice, wall_clock: WallClock) -> Result<Answer, NotAnswered> {
        let body = messages::notice(notice, &self.senders).map_err(NotAnswered::from_messages)?;
        let request = self.http.post(self.messages_url.clone()).body(json(&body)?);
        let received = self.exchange(request, wall_clock).await?;
        let text = text::confirmation(notice);
        let private = [text.lines().map(str::to_owned).collect(), vec![notice.leg.address.reveal().to_owned()]];
        Ok(answer::judge(&received, "message_uuid", &private.concat()))
    }

    async fn revoke(&self, message: &ProviderId, wall_clock: WallClock) -> Result<Answer, NotAnswered> {
        let mut url = self.rcs_url.clone();
        // The address has a host, so it has segments; pushed, an id cannot leave its segment.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.push(&message.to_string());
        }
        let request = self.http.patch(url).body(json(&Revocation { status: "revoked" })?);
        let received = self.exchange(request, wall_clock).await?;
        Ok(answer::judge(&received, "message_uuid", &[]))
    }

    /// Makes a request in the application's name and reads its answer.
    async fn exchange(&self, request: reqwest::RequestBuilder, wall_clock: WallClock) -> Result<Received, NotAnswered> {
        let token =
            self.tokens.token(wall_clock()).map_err(|error| NotAnswered::Ourselves(error.to_string().into()))?;
        let request = request.bearer_auth(token.reveal());
        let response = request.send().await.map_err(|error| NotAnswered::Unreachable(error.without_url()))?;
        let received = Received {
            status: response.status().as_u16(),
            retry_after: response
                .headers()
                .get(RETRY_AFTER)
                .and_then(|header| answer::retry_after(header.to_str().ok()?, wall_clock())),
            body: read_body(response).await,
        };
        if received.status == 401 {
            self.tokens.forget(&token);
        }
        Ok(received)
    }
}

/// What asks Vonage to take a message back.
#[derive(Serialize)]
struct Revocation {
    status: &'static str,
}

fn endpoint(base: &Url, path: [&str; 2]) -> Result<Url, Error> {
    if !matches!(base.scheme(), "http" | "https") || !base.has_host() {
        return Err(Error::BaseUrl);
    }
    if !base.username().is_empty() || base.password().is_some() {
        return Err(Error::CredentialsInBaseUrl);
    }
    let mut url = base.clone();
    url.set_query(None);
    url.set_fragment(None);
    // The error is for addresses without a host, such as `mailto:`.
    url.path_segments_mut().map_err(|()| Error::BaseUrl)?.pop_if_empty().extend(path);
    Ok(url)
}

fn http_client(base: &Url, limits: TimeLimits) -> Result<reqwest::Client, reqwest::Error> {
    let json = HeaderValue::from_static("application/json");
    let builder = reqwest::Client::builder()
        .user_agent(concat!("callout/", env!("CARGO_PKG_VERSION")))
        .default_headers(HeaderMap::from_iter([(CONTENT_TYPE, json.clone()), (ACCEPT, json)]))
        .connect_timeout(limits.connect)
        .timeout(limits.request)
        .pool_idle_timeout(IDLE_CONNECTION)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false);
    // A stand-in Vonage on this machine is never behind the proxy that leads to the real one.
    let builder = if is_on_this_machine(base) { builder.no_proxy() } else { builder };
    builder.build()
}

fn json(body: &impl Serialize) -> Result<Vec<u8>, NotAnswered> {
    serde_json::to_vec(body)
        .map_err(|error| NotAnswered::Ourselves(format!("the request cannot be written as JSON: {error}").into()))
}

/// The body as a JSON object; none where it is something else, too long, or breaks off.
async fn read_body(mut response: reqwest::Response) -> Option<serde_json::Map<String, Value>> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if bytes.len() + chunk.len() > BODY_BYTES_MAX {
            return None;
        }
        bytes.extend_from_slice(&chunk);
    }
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(body)) => Some(body),
        Ok(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) | Err(_) => None,
    }
}

/// What a problem of Vonage's may quote and nobody may keep: each address, and each text whole and
/// line by line. The longest come first, so that none is hidden by a part of it.
fn private(outbound: &Outbound) -> Vec<String> {
    let mut private = Vec::new();
    for leg in outbound.step.legs() {
        private.push(leg.address.reveal().to_owned());
        let text = text::compose(outbound, leg.channel);
        private.extend(text.lines().map(str::to_owned));
        private.push(text);
    }
    private.push(outbound.raised.message.to_string());
    private.extend(outbound.raised.message.lines().map(str::to_owned));
    private.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    private.dedup();
    private
}

/// Why a send got no answer from Vonage.
enum NotAnswered {
    /// Nobody is configured to send on this channel.
    NoSender(Channel),
    /// Dispatch cannot send on this channel, today or ever.
    NotOnDispatch(Channel),
    /// Something of ours failed.
    Ourselves(Box<str>),
    /// No connection, or it broke, or no answer came in time.
    Unreachable(reqwest::Error),
}

impl NotAnswered {
    fn from_messages(NoSender(channel): NoSender) -> Self {
        Self::NoSender(channel)
    }

    fn from_dispatch(error: BodyError) -> Self {
        match error {
            BodyError::NoSender(channel) => Self::NoSender(channel),
            BodyError::NotOnDispatch(channel) => Self::NotOnDispatch(channel),
        }
    }

    fn answer(self) -> Answer {
        let ourselves = |detail: Box<str>| {
            Answer::Trouble(SendTrouble {
                cause: TroubleCause::Ourselves,
                failure: Failure { code: None, detail },
                outcome: TroubleOutcome::NotSent,
                retry_after: None,
            })
        };
        match self {
            // A reload can mend it, so the alert holds its position.
            Self::NoSender(channel) => ourselves(NoSender(channel).to_string().into()),
            // The plan is frozen, so nothing can mend it.
            Self::NotOnDispatch(channel) => {
                Answer::Refused(Failure { code: None, detail: BodyError::NotOnDispatch(channel).to_string().into() })
            }
            Self::Ourselves(detail) => ourselves(detail),
            Self::Unreachable(error) => Answer::Trouble(unreachable(&error)),
        }
    }
}

fn unreachable(error: &reqwest::Error) -> SendTrouble {
    let (outcome, what) = if error.is_connect() {
        (TroubleOutcome::NotSent, if error.is_timeout() { "no connection in time" } else { "no connection" })
    } else if error.is_timeout() {
        (TroubleOutcome::Unknown, "no answer in time")
    } else {
        (TroubleOutcome::Unknown, "the connection broke before the answer")
    };
    let detail = format!("{what}: {}", root_cause(error));
    SendTrouble {
        cause: TroubleCause::Unreachable,
        failure: Failure { code: None, detail: failure::presentable(&detail, &[]) },
        outcome,
        retry_after: None,
    }
}

/// The innermost reason, which names the thing itself ("connection refused", "unknown issuer").
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    let mut words = error.to_string();
    while let Some(inner) = cause {
        words = inner.to_string();
        cause = inner.source();
    }
    words
}
