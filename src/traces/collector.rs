//! The way to the collector.
//!
//! The library's queue empties on a thread of its own; its requests are made on the service's runtime, by a client
//! like those for Vonage and callbacks. None of it is traced itself.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry::KeyValue;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanProcessor};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::chain::Chain;
use crate::clock::system_now;
use crate::target::is_on_this_machine;
use crate::timestamp::Timestamp;

/// How often it is said that the collector is not reached.
pub const TELL_AGAIN_AFTER: Duration = Duration::from_mins(15);
/// The longest that one request to the collector may take, whatever the variables say; their default is ten seconds.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(30);
/// How much of an answer is read; a success is empty or says how many spans were refused.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// The variables that name a collector, the more particular one first.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// The queue to the collector that the variables name; none where they name none.
pub(super) fn queue<'a>(variable: impl Fn(&str) -> Option<&'a str>) -> Option<BatchSpanProcessor> {
    let given = |name: &str| variable(name).map(str::trim).filter(|value| !value.is_empty());
    let endpoint = ENDPOINTS.into_iter().find_map(given)?;
    let is_disabled = given("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    if is_disabled || given("OTEL_TRACES_EXPORTER") == Some("none") {
        return None;
    }
    let protocol = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"].into_iter().find_map(given);
    if let Some(other) = protocol.filter(|protocol| *protocol != "http/protobuf") {
        tracing::warn!(
            protocol = other,
            "traces are sent by http/protobuf all the same; callout speaks nothing else to a collector"
        );
    }
    let milliseconds = ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"].into_iter().find_map(given);
    let timeout =
        milliseconds.and_then(|value| value.parse().ok()).map_or(Duration::from_secs(10), Duration::from_millis);
    match build(endpoint, timeout.min(TIMEOUT_MAX), given("OTEL_SERVICE_NAME")) {
        Ok(queue) => {
            tracing::info!("traces are sent to the collector that {} names", ENDPOINTS.join(" or "));
            Some(queue)
        }
        Err(error) => {
            tracing::error!(%error, "no traces are sent: the variables of the collector cannot be used");
            None
        }
    }
}

fn build(endpoint: &str, timeout: Duration, service: Option<&str>) -> Result<BatchSpanProcessor, HttpError> {
    let collector = Collector {
        http: http_client(endpoint, timeout)?,
        runtime: Handle::current(),
        posts: TaskTracker::new(),
        silence: Mutex::default(),
    };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(collector)
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(timeout)
        .build()?;
    let mut queue = BatchSpanProcessor::builder(exporter).build();
    let resource = Resource::builder_empty()
        .with_attribute(KeyValue::new("service.name", env!("CARGO_PKG_NAME")))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_detectors(&[Box::new(TelemetryResourceDetector), Box::new(EnvResourceDetector::new())])
        .with_attributes(service.map(|name| KeyValue::new("service.name", name.to_owned())));
    queue.set_resource(&resource.build());
    Ok(queue)
}

fn http_client(endpoint: &str, timeout: Duration) -> Result<reqwest::Client, HttpError> {
    let builder = reqwest::Client::builder()
        .user_agent(concat!("callout/", env!("CARGO_PKG_VERSION")))
        .timeout(timeout)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false);
    // A collector on this machine is never behind the proxy that leads out of it.
    let builder = if is_on_this_machine(&Url::parse(endpoint)?) { builder.no_proxy() } else { builder };
    Ok(builder.build()?)
}

/// Posts to the collector, and says when it is not reached.
#[derive(Debug)]
struct Collector {
    http: reqwest::Client,
    runtime: Handle,
    posts: TaskTracker,
    /// When it was last said that it is not reached; none while it is. Never held over an await.
    silence: Mutex<Option<Timestamp>>,
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let request = reqwest::Request::try_from(request)?;
        // This is polled on the queue's thread, which has no runtime.
        let posted = self.posts.spawn_on(post(self.http.clone(), request), &self.runtime).await?;
        match &posted {
            Ok(response) if response.status().is_success() => self.is_reached(),
            Ok(response) => self.is_not_reached(&format!("it answers HTTP {}", response.status().as_u16())),
            Err(error) => self.is_not_reached(&Chain(error.as_ref()).to_string()),
        }
        posted
    }
}

async fn post(http: reqwest::Client, request: reqwest::Request) -> Result<Response<Bytes>, HttpError> {
    // The address may hold a key.
    let mut answer = http.execute(request).await.map_err(reqwest::Error::without_url)?;
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        response = response.header(name, value);
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err("its answer is too long".into());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(response.body(body.into())?)
}

impl Collector {
    fn is_reached(&self) {
        let said = self.silence.lock().unwrap_or_else(PoisonError::into_inner).take();
        if said.is_some() {
            tracing::info!("traces reach their collector again");
        }
    }

    fn is_not_reached(&self, reason: &str) {
        let now = system_now();
        let mut silence = self.silence.lock().unwrap_or_else(PoisonError::into_inner);
        if silence.is_none_or(|said_at| now.since(said_at) >= TELL_AGAIN_AFTER) {
            *silence = Some(now);
            tracing::warn!(reason, "traces do not reach their collector and are dropped; alerts go on as ever");
        }
    }
}
