//! The commands that talk to a running service.

use std::fmt;

use clap::Args;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Map, Value, json};

use crate::config::{self, Environment, Whereabouts};
use crate::service::KeyFile;

use super::terminal::{chain, complain, to_stdout};
use super::{ConfigArguments, DONE, FAILED, follow, show};

/// How long a connection and an answer may take.
const CONNECT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);
const ANSWER_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(20);

/// Which service to talk to.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct ServiceArguments {
    /// The service [env: CALLOUT_URL] [default: where the configuration says it listens].
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The service's configuration, to find its address and key [env: CALLOUT_CONFIG].
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<String>,
    /// Print the API's own JSON.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Clone, Debug, Args)]
pub(super) struct SendArguments {
    /// What people must read.
    text: String,
    /// The policy to follow; the first of the configuration if none is given.
    #[arg(long)]
    policy: Option<String>,
    /// critical, error, warning or info.
    #[arg(long)]
    severity: Option<String>,
    /// Names the problem, so that sending it again does not page again.
    #[arg(long)]
    dedup_key: Option<String>,
    /// Where the alert comes from.
    #[arg(long)]
    source: Option<String>,
    /// Where to read more.
    #[arg(long)]
    link: Option<String>,
    /// Show what happens until somebody answers (exit 0) or nobody is left to call (exit 3).
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    service: ServiceArguments,
}

#[derive(Clone, Debug, Args)]
pub(super) struct ListArguments {
    /// Only escalating, acknowledged, exhausted or resolved ones.
    #[arg(long)]
    status: Option<String>,
    /// Only those of this policy.
    #[arg(long)]
    policy: Option<String>,
    /// At most this many, 1 to 200.
    #[arg(long)]
    limit: Option<u16>,
    #[command(flatten)]
    service: ServiceArguments,
}

#[derive(Clone, Debug, Args)]
pub(super) struct ShowArguments {
    /// The alert's id, or its short code.
    id: String,
    /// Go on until somebody answers (exit 0) or nobody is left to call (exit 3).
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    service: ServiceArguments,
}

#[derive(Clone, Debug, Args)]
pub(super) struct ByArguments {
    /// The alert's id, or its short code.
    id: String,
    /// Who says so.
    #[arg(long)]
    by: Option<String>,
    #[command(flatten)]
    service: ServiceArguments,
}

#[derive(Clone, Debug, Args)]
pub(super) struct EscalateArguments {
    /// Only if this attempt is still the current one.
    #[arg(long)]
    attempt: Option<u32>,
    #[command(flatten)]
    by: ByArguments,
}

/// A command that could not be carried out; what there is to say has been said.
pub(super) struct Failed;

/// callout cannot be asked just now.
#[derive(Debug)]
pub(super) enum Lost {
    /// No connection came about, or it broke.
    Unreachable(String),
    /// It did not answer in time.
    Silent,
    /// It went away in the middle of its answer.
    Stopped,
    /// It says that it cannot answer yet.
    Answered(StatusCode),
}

impl fmt::Display for Lost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => write!(formatter, "cannot reach callout ({why})"),
            Self::Silent => formatter.write_str("callout does not answer"),
            Self::Stopped => formatter.write_str("callout went away"),
            Self::Answered(status) => write!(formatter, "callout answers {status}"),
        }
    }
}

impl Lost {
    fn hint(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "is `callout serve` running there? --url or CALLOUT_URL names another service",
            Self::Silent | Self::Stopped | Self::Answered(_) => "its log and /readyz say more",
        }
    }
}

async fn answer(request: RequestBuilder) -> Result<Response, Lost> {
    match tokio::time::timeout(ANSWER_TIMEOUT, request.send()).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => Err(Lost::Unreachable(chain(&error.without_url()))),
        Err(_) => Err(Lost::Silent),
    }
}

/// What came of asking for a copy.
pub(super) enum Answered {
    /// It is on its way.
    Copy(Response),
    /// Nobody listens there.
    Nobody,
}

pub(super) async fn send(arguments: &SendArguments, environment: &Environment) -> u8 {
    let mut body = Map::new();
    let given = [
        ("message", Some(&arguments.text)),
        ("policy", arguments.policy.as_ref()),
        ("severity", arguments.severity.as_ref()),
        ("dedup_key", arguments.dedup_key.as_ref()),
        ("source", arguments.source.as_ref()),
        ("link", arguments.link.as_ref()),
    ];
    for (name, value) in given {
        if let Some(value) = value {
            body.insert(name.to_owned(), json!(value));
        }
    }
    exit(async {
        let service = Service::find(&arguments.service, environment)?;
        let alert = service.call(Method::POST, "/alerts", Some(&Value::Object(body))).await?;
        if arguments.follow {
            return follow::follow(&service, &alert, arguments.service.json).await;
        }
        print_alert(&alert, &arguments.service);
        Ok(DONE)
    })
    .await
}

pub(super) async fn list(arguments: &ListArguments, environment: &Environment) -> u8 {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    let limit = arguments.limit.map(|limit| limit.to_string());
    let given = [("status", &arguments.status), ("policy", &arguments.policy), ("limit", &limit)];
    for (name, value) in given {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    let path = format!("/alerts?{}", query.finish());
    exit(async {
        let service = Service::find(&arguments.service, environment)?;
        let answer = service.call(Method::GET, &path, None).await?;
        let text = if arguments.service.json { pretty(&answer) } else { show::list(&answer) };
        let _read_or_not = to_stdout(&text);
        Ok(DONE)
    })
    .await
}

pub(super) async fn show(arguments: &ShowArguments, environment: &Environment) -> u8 {
    exit(async {
        let service = Service::find(&arguments.service, environment)?;
        let alert = service.call(Method::GET, &path_of(&arguments.id, ""), None).await?;
        if arguments.follow {
            return follow::follow(&service, &alert, arguments.service.json).await;
        }
        print_alert(&alert, &arguments.service);
        Ok(DONE)
    })
    .await
}

pub(super) async fn change(arguments: &ByArguments, call: &str, environment: &Environment) -> u8 {
    exit(change_alert(arguments, call, Map::new(), environment)).await
}

pub(super) async fn escalate(arguments: &EscalateArguments, environment: &Environment) -> u8 {
    let mut body = Map::new();
    if let Some(attempt) = arguments.attempt {
        body.insert("attempt".to_owned(), json!(attempt));
    }
    exit(change_alert(&arguments.by, "escalate", body, environment)).await
}

async fn change_alert(
    arguments: &ByArguments,
    call: &str,
    mut body: Map<String, Value>,
    environment: &Environment,
) -> Result<u8, Failed> {
    if let Some(by) = &arguments.by {
        body.insert("by".to_owned(), json!(by));
    }
    let service = Service::find(&arguments.service, environment)?;
    let path = path_of(&arguments.id, &format!("/{call}"));
    let alert = service.call(Method::POST, &path, Some(&Value::Object(body))).await?;
    print_alert(&alert, &arguments.service);
    Ok(DONE)
}

pub(super) async fn exit(work: impl Future<Output = Result<u8, Failed>>) -> u8 {
    work.await.unwrap_or(FAILED)
}

pub(super) fn path_of(id: &str, call: &str) -> String {
    let id: String = url::form_urlencoded::byte_serialize(id.as_bytes()).collect();
    format!("/alerts/{id}{call}")
}

pub(super) fn pretty(value: &Value) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

fn print_alert(alert: &Value, arguments: &ServiceArguments) {
    let text = if arguments.json { pretty(alert) } else { show::alert(alert) };
    let _read_or_not = to_stdout(&text);
}

/// A running service and the key to it.
pub(super) struct Service {
    base: String,
    key: String,
    client: reqwest::Client,
}

impl Service {
    /// The service that is named, or the one that the configuration on this machine describes.
    pub(super) fn find(arguments: &ServiceArguments, environment: &Environment) -> Result<Self, Failed> {
        let url = arguments.url.as_deref().or_else(|| environment.get("CALLOUT_URL"));
        let key = environment.get("CALLOUT_API_KEY").filter(|key| !key.is_empty());
        let (base, key) = match (url, key) {
            (Some(url), Some(key)) => (url.to_owned(), key.to_owned()),
            (url, key) => {
                let whereabouts = locate(arguments, environment)?;
                let base = url.map_or_else(|| format!("http://{}", reachable(whereabouts.listen)), str::to_owned);
                let key = match key {
                    Some(key) => key.to_owned(),
                    None => key_of(&whereabouts)?,
                };
                (base, key)
            }
        };
        Self::at(&base, &key)
    }

    /// The service at this address.
    pub(super) fn at(base: &str, key: &str) -> Result<Self, Failed> {
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| {
                complain(&chain(&error), None);
                Failed
            })?;
        Ok(Self { base: base.trim_end_matches('/').to_owned(), key: key.to_owned(), client })
    }

    /// Asks, and waits for the beginning of an answer.
    pub(super) async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Response, Lost> {
        let mut request = self.to(method, path);
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        answer(request).await
    }

    /// Asks for the timeline of an alert behind its first `n_seen` entries, as it grows.
    pub(super) async fn events(&self, id: &str, n_seen: usize) -> Result<Response, Lost> {
        answer(self.to(Method::GET, &path_of(id, "/events")).header("Last-Event-ID", n_seen)).await
    }

    fn to(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        request.header(AUTHORIZATION, format!("Bearer {}", self.key))
    }

    /// Asks for something large; how long it takes is up to whoever waits.
    pub(super) async fn download(&self, path: &str) -> Result<Answered, Failed> {
        match self.to(Method::GET, path).send().await {
            Ok(response) if response.status().is_success() => Ok(Answered::Copy(response)),
            Ok(response) => {
                let status = response.status();
                complain_of_answer(status, &response.json().await.unwrap_or_default());
                Err(Failed)
            }
            Err(error) if error.is_connect() => Ok(Answered::Nobody),
            Err(error) => {
                let error = chain(&error.without_url());
                complain(&format!("cannot have a copy from callout at {}: {error}", self.base), None);
                Err(Failed)
            }
        }
    }

    pub(super) async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failed> {
        let response = match self.ask(method, path, body).await {
            Ok(response) => response,
            Err(lost) => {
                complain(&format!("{lost} at {}", self.base), Some(lost.hint()));
                return Err(Failed);
            }
        };
        let status = response.status();
        let answer: Result<Value, reqwest::Error> = response.json().await;
        match answer {
            Ok(answer) if status.is_success() => Ok(answer),
            Ok(problem) => {
                complain_of_answer(status, &problem);
                Err(Failed)
            }
            Err(_) => {
                let hint = "is this address really callout's?";
                complain(&format!("{} answered {status} without JSON", self.base), Some(hint));
                Err(Failed)
            }
        }
    }
}

/// What a client needs to know is read, and nothing else: it needs none of the service's secrets.
fn locate(arguments: &ServiceArguments, environment: &Environment) -> Result<Whereabouts, Failed> {
    let arguments = ConfigArguments { config: arguments.config.clone(), ..ConfigArguments::default() };
    match config::locate(&arguments.overrides(environment), environment) {
        Ok(whereabouts) => Ok(whereabouts),
        Err(problems) => {
            let hint = "give --url (or CALLOUT_URL) and CALLOUT_API_KEY, or --config with the service's configuration";
            complain(&format!("cannot tell where callout runs:\n{problems}"), Some(hint));
            Err(Failed)
        }
    }
}

fn key_of(whereabouts: &Whereabouts) -> Result<String, Failed> {
    if let Some(key) = &whereabouts.api_key {
        return Ok(key.reveal().to_owned());
    }
    let file = KeyFile::beside(&whereabouts.store, &whereabouts.path);
    match file.read() {
        Ok(Some(key)) => Ok(key.reveal().to_owned()),
        Ok(None) => {
            let hint = "the service makes it at its first start; or give the key in CALLOUT_API_KEY";
            complain(&format!("there is no API key in {}", file.path().display()), Some(hint));
            Err(Failed)
        }
        Err(error) => {
            complain(&chain(&error), None);
            Err(Failed)
        }
    }
}

/// An address to listen on as an address to call: "everywhere" becomes "here".
pub(super) fn reachable(listen: std::net::SocketAddr) -> std::net::SocketAddr {
    let mut address = listen;
    if listen.ip().is_unspecified() {
        address.set_ip(match listen {
            std::net::SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

pub(super) fn complain_of_answer(status: StatusCode, problem: &Value) {
    let detail = show::harmless(problem.get("detail").and_then(Value::as_str).unwrap_or("callout gave no reason"));
    let mut text = format!("callout answered {status}: {detail}");
    for error in problem.get("errors").and_then(Value::as_array).into_iter().flatten() {
        let part = |name: &str| show::harmless(error.get(name).and_then(Value::as_str).unwrap_or_default());
        let (pointer, wrong) = (part("pointer"), part("detail"));
        let named = if pointer.is_empty() { wrong } else { format!("{pointer}: {wrong}") };
        // A single one is the detail already.
        if !detail.contains(&named) {
            text.push_str(&format!("\n  {named}"));
        }
    }
    let hint = match status {
        StatusCode::UNAUTHORIZED => Some("CALLOUT_API_KEY, or the key file beside the database, holds the key"),
        _ => None,
    };
    complain(&text, hint);
}
