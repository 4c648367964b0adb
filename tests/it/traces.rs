//! Traces: what a collector is told of an alert, and that nobody waits for a collector.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::HeaderMap;
use callout::clock::SteadyClock;
use callout::id::AlertId;
use callout::sandbox::signature::Secret;
use callout::sandbox::webhook::WebhookKind;
use callout::sandbox::{Options, Sandbox};
use callout::traces::Traces;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Known;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::TEST_ONLY_PRIVATE_KEY;
use crate::harness::PATIENCE;
use crate::strangers::program::Program;

const KEY: &str = "planted-key-of-the-caller-2b90";
const SIGNATURE: &str = "planted-signature-secret-77d2-with-32-characters";
const COLLECTORS_KEY: &str = "planted-key-of-the-collector-e51f";
const PSID: &str = "7731904455660091";
const PHONE: &str = "447700900791";
const TEXT: &str = "PlantedAlertText";
/// The example of W3C's Trace Context, and its two ids.
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A collector that keeps what it is told.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<(HeaderMap, Bytes)>>>);

impl Collector {
    /// Collects on a port of its own.
    async fn start(tasks: &TaskTracker, stop: CancellationToken) -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let collector = Self::default();
        let kept = collector.clone();
        let keep = move |headers: HeaderMap, body: Bytes| async move {
            kept.0.lock().unwrap_or_else(PoisonError::into_inner).push((headers, body));
        };
        let router = axum::Router::new().route("/v1/traces", axum::routing::post(keep));
        tasks.spawn(async move { axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await });
        (collector, url)
    }

    fn told(&self) -> Vec<(HeaderMap, Bytes)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn batches(&self) -> Vec<ExportTraceServiceRequest> {
        self.told().into_iter().map(|(_, body)| ExportTraceServiceRequest::decode(body).unwrap()).collect()
    }

    fn spans(&self) -> Vec<Span> {
        let batches = self.batches().into_iter().flat_map(|batch| batch.resource_spans);
        batches.flat_map(|of_resource| of_resource.scope_spans).flat_map(|of_scope| of_scope.spans).collect()
    }
}

fn said_of(attributes: &[KeyValue], key: &str) -> Option<String> {
    let value = attributes.iter().find(|attribute| attribute.key == key)?.value.clone()?;
    if let Known::IntValue(number) = value.value.clone()? {
        return Some(number.to_string());
    }
    let Some(Known::StringValue(text)) = value.value else { panic!("{key} is {value:?}") };
    Some(text)
}

/// A span in words: its name and what is said of it, in the order of the keys.
fn in_words(span: &Span) -> String {
    let mut words: Vec<String> = span.attributes.iter().map(|attribute| attribute.key.clone()).collect();
    words.retain(|key| key != "alert.id");
    words.sort();
    let said = words.iter().map(|key| format!(" {key}={}", said_of(&span.attributes, key).unwrap()));
    std::iter::once(span.name.clone()).chain(said).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn configure(folder: &Path, vonage: &str) {
    let text = format!(
        r#"
server: {{ listen: "127.0.0.1:0", public_url: "https://callout.example.org" }}
store: sqlite:callout.db
vonage:
  application_id: 3f0c9d52-6b1e-4c7a-9d84-2b7e51a0c6f3
  private_key: private.key
  url: {vonage}
  from: {{ messenger: "108450971234567", sms: "447700900101" }}
users: [{{ name: Tony, channels: [{{ type: messenger, id_num: "{PSID}", expiry_time: 1 }}, {{ type: sms, id_num: "{PHONE}" }}] }}]
"#
    );
    std::fs::write(folder.join("callout.yaml"), text).unwrap();
    std::fs::write(folder.join("private.key"), TEST_ONLY_PRIVATE_KEY).unwrap();
}

/// The real program with a stand-in for Vonage.
struct Stage {
    program: Program,
    address: std::net::SocketAddr,
    sandbox: Sandbox,
    http: reqwest::Client,
    _folder: TempDir,
}

impl Stage {
    async fn start(tasks: &TaskTracker, stop: &CancellationToken, environment: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        configure(folder.path(), &format!("http://{}", listener.local_addr().unwrap()));
        let keys = [("CALLOUT_API_KEY", KEY), ("CALLOUT_SIGNATURE_SECRET", SIGNATURE)];
        let program = Program::serve(folder.path(), &[&keys, environment].concat());
        let address = program.address().await;
        let mut options = Options::new(format!("http://{address}").parse().unwrap());
        options.signature_secret = Some(Secret::new(SIGNATURE));
        let sandbox = Sandbox::new(options, Arc::new(SteadyClock::system())).unwrap();
        let (playing, until) = (sandbox.clone(), stop.clone());
        tasks.spawn(async move { playing.run(listener, until).await });
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { program, address, sandbox, http, _folder: folder }
    }

    async fn raise(&self) -> String {
        let request = self.http.post(format!("http://{}/alerts", self.address)).bearer_auth(KEY);
        let request = request.header("traceparent", TRACEPARENT).json(&json!({ "message": TEXT }));
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 201);
        answer.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned()
    }
}

/// The ids of an alert's trace and of its root.
fn ids_of(id: &str) -> (String, String) {
    let bits = id.parse::<AlertId>().unwrap().to_bits().to_be_bytes();
    (hex(&bits), hex(&bits[8..]))
}

fn assert_alert_is_one_trace(spans: &[Span], id: &str) {
    let (trace, root) = ids_of(id);
    let of_alert: Vec<&Span> = spans.iter().filter(|span| hex(&span.trace_id) == trace).collect();
    let words: BTreeSet<String> = of_alert.iter().map(|span| in_words(span)).collect();
    for expected in [
        "raise",
        "commit event=raised outcome=committed",
        "send attempt=1 channel=messenger outcome=accepted try=1",
        "commit event=accepted outcome=committed",
        "deadline attempt=1",
        "commit event=time_passed outcome=committed",
        "send attempt=2 channel=sms outcome=accepted try=1",
        "webhook kind=read outcome=effective",
    ] {
        assert!(words.contains(expected), "{expected} is not among {words:#?}");
    }
    for span in &of_alert {
        assert_eq!(said_of(&span.attributes, "alert.id").as_deref(), Some(id), "{span:?}");
        let parent = if span.name == "raise" { "" } else { &root };
        assert_eq!(hex(&span.parent_span_id), parent, "{span:?}");
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano, "{span:?}");
    }
}

fn assert_request_is_in_its_callers_trace(spans: &[Span], id: &str) {
    let (trace, root) = ids_of(id);
    let named = |words: &str| spans.iter().find(|span| in_words(span) == words).unwrap();
    let request = spans.iter().find(|span| span.name == "POST /alerts").unwrap();
    assert_eq!(format!("00-{}-{}-01", hex(&request.trace_id), hex(&request.parent_span_id)), TRACEPARENT);
    assert_eq!(
        in_words(request),
        "POST /alerts http.request.method=POST http.response.status_code=201 http.route=/alerts"
    );
    assert_eq!(said_of(&request.attributes, "alert.id"), Some(id.to_owned()));
    assert_eq!((hex(&request.links[0].trace_id), hex(&request.links[0].span_id)), (trace, root.clone()));
    let raised = named("raise");
    assert_eq!(hex(&raised.span_id), root);
    assert_eq!(raised.links[0].span_id, request.span_id, "the alert knows its request");
    let read = named("webhook kind=read outcome=effective");
    let webhooks = spans.iter().filter(|span| span.name == "POST /webhooks/status");
    assert!(webhooks.map(|span| &span.span_id).any(|id| *id == read.links[0].span_id));
}

fn assert_collector_is_told_nothing_private(collector: &Collector) {
    let resource = collector.batches()[0].resource_spans[0].resource.clone().unwrap();
    assert_eq!(said_of(&resource.attributes, "service.name").unwrap(), "pager-of-the-north");
    assert_eq!(said_of(&resource.attributes, "service.version").unwrap(), env!("CARGO_PKG_VERSION"));
    for (headers, body) in collector.told() {
        assert_eq!(headers["authorization"], format!("Bearer {COLLECTORS_KEY}"));
        let body = String::from_utf8_lossy(&body).into_owned();
        for private in [KEY, SIGNATURE, PSID, PHONE, TEXT, "Tony", COLLECTORS_KEY, "/a/"] {
            assert!(!body.contains(private), "a collector is told {private}");
        }
    }
}

#[tokio::test]
async fn an_alert_is_one_trace_from_the_post_to_the_read_and_its_request_is_in_the_callers() {
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let (collector, url) = Collector::start(&tasks, stop.clone()).await;
    let headers = format!("authorization=Bearer {COLLECTORS_KEY}");
    let stage = Stage::start(
        &tasks,
        &stop,
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &url),
            ("OTEL_EXPORTER_OTLP_HEADERS", &headers),
            ("OTEL_SERVICE_NAME", "pager-of-the-north"),
            ("CALLOUT_LOG", "trace"),
        ],
    )
    .await;
    let id = stage.raise().await;
    let second = stage.sandbox.wait_for_sent(2, PATIENCE).await.unwrap();
    assert_eq!(&*second.to, PHONE, "the first was not read in time");
    stage.sandbox.post(
        WebhookKind::Status,
        &json!({ "message_uuid": &*second.message_uuid, "client_ref": second.client_ref.as_deref(), "to": PHONE,
                 "from": "447700900101", "channel": "sms", "status": "read", "timestamp": "2026-11-23T08:00:00Z" }),
    );
    stage.program.until_it_says("event=\"acknowledged\"").await;
    stage.sandbox.until(PATIENCE, |sandbox| (sandbox.webhooks().waiting == 0).then_some(())).await.unwrap();
    let said = stage.program.stop().await;
    stop.cancel();

    let spans = collector.spans();
    assert_alert_is_one_trace(&spans, &id);
    assert_request_is_in_its_callers_trace(&spans, &id);
    assert_collector_is_told_nothing_private(&collector);
    assert!(!said.contains(COLLECTORS_KEY), "{said}");
    assert!(!said.contains("traces do not reach"), "{said}");
    let raised = said.lines().find(|line| line.contains("event=\"raised\"")).unwrap();
    assert!(raised.contains(" INFO alert "), "a line of the log is as it is without traces: {raised}");
    tasks.close();
    tasks.wait().await;
}

#[tokio::test]
async fn a_collector_that_is_not_there_is_told_of_once_and_holds_nobody_up() {
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/traces", nobody.local_addr().unwrap());
    drop(nobody);
    let environment =
        [("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &*url), ("OTEL_BSP_SCHEDULE_DELAY", "10"), ("CALLOUT_LOG", "info")];
    let stage = Stage::start(&tasks, &stop, &environment).await;
    stage.raise().await;
    stage.program.until_it_says("traces do not reach their collector").await;
    for n_alerts in 2..5 {
        stage.raise().await;
        stage.sandbox.wait_for_sent(n_alerts, PATIENCE).await.unwrap();
    }
    let said = tokio::time::timeout(PATIENCE, stage.program.stop()).await.unwrap();
    assert_eq!(said.matches("traces do not reach their collector").count(), 1, "{said}");
    stop.cancel();
    tasks.close();
    tasks.wait().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_collector_that_never_answers() {
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    // It takes connections, in the operating system's queue, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let longer_than_a_stop = Duration::from_mins(1).as_millis().to_string();
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*url), ("OTEL_EXPORTER_OTLP_TIMEOUT", &*longer_than_a_stop)];
    let stage = Stage::start(&tasks, &stop, &environment).await;
    stage.raise().await;
    stage.sandbox.wait_for_sent(1, PATIENCE).await.unwrap();
    let said = tokio::time::timeout(PATIENCE, stage.program.stop()).await.unwrap();
    assert!(said.contains("the last traces did not reach their collector in time"), "{said}");
    stop.cancel();
    tasks.close();
    tasks.wait().await;
}

#[tokio::test]
async fn nobody_is_told_unless_a_collector_is_named() {
    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
    let is_on = |variables: &[(&str, &'static str)]| {
        let found = |name: &str| variables.iter().find(|(other, _)| *other == name).map(|(_, value)| *value);
        Traces::by_variables(found).is_on()
    };
    assert!(!is_on(&[]));
    assert!(!is_on(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]));
    assert!(!is_on(&[ENDPOINT, ("OTEL_SDK_DISABLED", "true")]));
    assert!(!is_on(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")]));
    assert!(!is_on(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "no address")]), "it is said, and the service starts");
    assert!(is_on(&[ENDPOINT]));
    assert!(is_on(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]), "it is said that it is not spoken");
}
