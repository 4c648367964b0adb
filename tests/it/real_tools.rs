//! The tools themselves, set up with the files that people paste: Debian's Alertmanager with each of its senders,
//! `PagerDuty`'s own clients, and curl. callout runs as a process of its own; Vonage is a small server that accepts
//! everything.
//!
//! What is not installed is left out and said so; where `CALLOUT_TEST_ALL` is set it fails instead.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use callout::clock::system_now;
use callout::integrations::Posted;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::config::TEST_ONLY_PRIVATE_KEY;
use crate::harness::{python, tool};

/// Longer than anything here takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_mins(1);
const API_KEY: &str = "the-key-of-the-api-for-real-tools";
const KEYS: [(&str, &str, &str); 4] = [
    ("prometheus", "alertmanager", "the-key-of-prometheus-0123"),
    ("legacy", "pagerduty", "0123456789abcdef0123456789abcdef"),
    ("genie", "opsgenie", "11111111-2222-4333-8444-555555555555"),
    ("go", "goalert", "the-key-of-goalert-0123456"),
];

fn key_of(name: &str) -> &'static str {
    KEYS.iter().find(|(known, ..)| *known == name).unwrap().2
}

/// A file that people paste.
fn pasted(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/integrations").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// A port that is free now; a service that is started again must find its place again.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop((self.0.kill(), self.0.wait()));
    }
}

/// A folder with a configuration, and a Vonage that accepts everything.
struct Home {
    folder: TempDir,
    port: u16,
    n_sent: Arc<AtomicU64>,
    http: reqwest::Client,
    _vonage: JoinSet<()>,
}

async fn accept(State(n_sent): State<Arc<AtomicU64>>) -> (StatusCode, Json<Value>) {
    let number = n_sent.fetch_add(1, Ordering::Relaxed);
    (StatusCode::ACCEPTED, Json(json!({ "message_uuid": format!("aaaaaaaa-bbbb-4ccc-8ddd-{number:012}") })))
}

impl Home {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let n_sent = Arc::<AtomicU64>::default();
        let router = Router::new().route("/v1/messages", post(accept)).with_state(Arc::clone(&n_sent));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let vonage = listener.local_addr().unwrap();
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.unwrap() });
        let port = free_port();
        let integrations: Vec<Value> =
            KEYS.iter().map(|(name, kind, key)| json!({ "name": name, "kind": kind, "key": key })).collect();
        let config = json!({
            "server": { "listen": format!("127.0.0.1:{port}"), "api_key": API_KEY },
            "store": "sqlite:callout.db",
            "vonage": { "application_id": "11111111-2222-4333-8444-555555555555", "private_key": "private.key",
                        "url": format!("http://{vonage}"), "from": { "sms": "447700900100" } },
            "users": [{ "name": "Tony", "channels": [{ "type": "sms", "id_num": "447700900001" }] }],
            "integrations": integrations,
        });
        std::fs::write(folder.path().join("callout.yaml"), config.to_string()).unwrap();
        std::fs::write(folder.path().join("private.key"), TEST_ONLY_PRIVATE_KEY).unwrap();
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        Self { folder, port, n_sent, http, _vonage: server }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Starts callout, which has this place or finds it again.
    async fn serve(&self) -> Process {
        let child = Command::new(env!("CARGO_BIN_EXE_callout"))
            .args(["serve"])
            .current_dir(self.folder.path())
            .env_clear()
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.until_answers(&format!("{}/readyz", self.url())).await;
        Process(child)
    }

    async fn until_answers(&self, url: &str) {
        self.until(url, async || self.http.get(url).send().await.is_ok_and(|answer| answer.status().is_success()))
            .await;
    }

    async fn until(&self, what: &str, is_so: impl AsyncFn() -> bool) {
        let looking = async {
            let mut pace = tokio::time::interval(Duration::from_millis(50));
            while !is_so().await {
                pace.tick().await;
            }
        };
        let came = tokio::time::timeout(PATIENCE, looking).await;
        assert!(came.is_ok(), "it never came to this: {what}; {:#}", self.alerts().await);
    }

    /// All alerts, the oldest first.
    async fn alerts(&self) -> Value {
        let request = self.http.get(format!("{}/alerts?limit=200", self.url())).bearer_auth(API_KEY);
        let Ok(answer) = request.send().await else { return Value::Null };
        let mut alerts = answer.json::<Value>().await.unwrap()["alerts"].take();
        alerts.as_array_mut().unwrap().reverse();
        alerts
    }

    async fn until_alerts(&self, what: &str, are_so: impl Fn(&[Value]) -> bool) {
        self.until(what, async || self.alerts().await.as_array().is_some_and(|alerts| are_so(alerts))).await;
    }

    /// Starts Alertmanager with a file that people paste, made quick.
    async fn alertmanager(&self, program: &Path, file: &str, integration: &str) -> Alertmanager {
        let quick = pasted(file)
            .replace("http://127.0.0.1:9000", &self.url())
            .replace("put-the-key-of-the-integration-here", key_of(integration))
            .replace("group_wait: 10s", "group_wait: 100ms")
            .replace("group_interval: 1m", "group_interval: 1s")
            .replace("repeat_interval: 1h", "repeat_interval: 1s");
        let config = self.folder.path().join(file);
        std::fs::write(&config, quick).unwrap();
        let port = free_port();
        let child = Command::new(program)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.path={}", self.folder.path().join("alertmanager").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args(["--cluster.listen-address=", "--log.level=error"])
            .spawn()
            .unwrap();
        let process = Process(child);
        let url = format!("http://127.0.0.1:{port}");
        self.until_answers(&format!("{url}/-/ready")).await;
        Alertmanager { url, http: self.http.clone(), _process: process }
    }
}

/// A running Alertmanager.
struct Alertmanager {
    url: String,
    http: reqwest::Client,
    _process: Process,
}

impl Alertmanager {
    /// What Prometheus tells it.
    async fn hears(&self, instance: &str, is_over: bool) {
        let now = system_now();
        let ends = now.plus(Duration::from_hours(1));
        let alert = json!([{
            "labels": { "alertname": "DiskNearlyFull", "severity": "critical", "instance": instance },
            "annotations": { "summary": format!("{instance} has 2 % left on /var") },
            "startsAt": "2026-01-01T00:00:00Z", "endsAt": if is_over { now } else { ends }.to_string(),
            "generatorURL": "http://prom.example.test/graph",
        }]);
        let request = self.http.post(format!("{}/api/v2/alerts", self.url)).json(&alert);
        assert_eq!(request.send().await.unwrap().status(), 200);
    }
}

fn has(alerts: &[Value], message: &str, status: &str) -> bool {
    alerts.iter().any(|alert| alert["message"].as_str().unwrap().contains(message) && alert["status"] == status)
}

#[tokio::test]
async fn alertmanager_fires_repeats_and_resolves_with_a_kill_of_callout_in_between() {
    let Some(program) = tool("CALLOUT_TEST_ALERTMANAGER", "prometheus-alertmanager", &["--version"]) else { return };
    let home = Home::new().await;
    let mut callout = home.serve().await;
    let alertmanager = home.alertmanager(&program, "alertmanager.yml", "prometheus").await;
    alertmanager.hears("db-3", false).await;
    home.until_alerts("it is raised", |alerts| has(alerts, "db-3 has 2 % left on /var", "escalating")).await;
    home.until_alerts("it is repeated", |alerts| alerts[0]["repeats"].as_u64() >= Some(2)).await;
    let alerts = home.alerts().await;
    assert_eq!(alerts.as_array().unwrap().len(), 1, "repetitions raise nothing: {alerts:#}");
    assert_eq!(alerts[0]["source"], "prometheus");
    home.until("Tony is called once", async || home.n_sent.load(Ordering::Relaxed) == 1).await;
    let path = format!("{}/alerts/{}/acknowledge", home.url(), alerts[0]["id"].as_str().unwrap());
    assert_eq!(home.http.post(path).bearer_auth(API_KEY).send().await.unwrap().status(), 200);

    callout.0.kill().unwrap();
    callout.0.wait().unwrap();
    alertmanager.hears("db-4", false).await;
    let _callout = home.serve().await;
    home.until_alerts("what was told meanwhile comes", |alerts| has(alerts, "db-4", "escalating")).await;
    let repeats = home.alerts().await[0]["repeats"].as_u64();
    home.until_alerts("the first is told of again", |alerts| alerts[0]["repeats"].as_u64() > repeats).await;
    assert_eq!(home.alerts().await.as_array().unwrap().len(), 2);
    home.until("nobody is called for the first again", async || home.n_sent.load(Ordering::Relaxed) == 2).await;

    alertmanager.hears("db-3", true).await;
    alertmanager.hears("db-4", true).await;
    home.until_alerts("both are resolved", |alerts| alerts.iter().all(|alert| alert["status"] == "resolved")).await;
    assert_eq!(home.n_sent.load(Ordering::Relaxed), 2, "one message for each");
}

#[tokio::test]
async fn alertmanagers_own_senders_for_pagerduty_and_opsgenie_work_unchanged() {
    let Some(program) = tool("CALLOUT_TEST_ALERTMANAGER", "prometheus-alertmanager", &["--version"]) else { return };
    for (file, integration) in [("alertmanager-pagerduty.yml", "legacy"), ("alertmanager-opsgenie.yml", "genie")] {
        let home = Home::new().await;
        let _callout = home.serve().await;
        let alertmanager = home.alertmanager(&program, file, integration).await;
        alertmanager.hears("db-3", false).await;
        home.until_alerts("it is raised", |alerts| has(alerts, "DiskNearlyFull", "escalating")).await;
        home.until_alerts("it is repeated", |alerts| alerts[0]["repeats"].as_u64() >= Some(1)).await;
        assert_eq!(home.alerts().await[0]["source"], integration);
        alertmanager.hears("db-3", true).await;
        home.until_alerts("it is resolved", |alerts| has(alerts, "DiskNearlyFull", "resolved")).await;
        assert_eq!(home.alerts().await.as_array().unwrap().len(), 1, "{file}");
    }
}

const CLIENTS: &str = r#"
import sys
import pagerduty, pdpyras
url, key = sys.argv[1:]
class OverPlainHttp(pagerduty.EventsApiV2Client):
    """The newer client wants https, which a proxy in front of callout speaks; there is none here."""
    url = property(lambda self: url, lambda self, value: None)
newer = OverPlainHttp(key)
older = pdpyras.EventsAPISession(key)
older.url = url
for name, client in (("newer", newer), ("older", older)):
    given = client.trigger(f"{name}: db-3 is nearly full", "db-3", dedup_key=f"{name}/disk", severity="error",
                           custom_details={"free": "2 %"})
    assert given == f"{name}/disk", given
    assert client.acknowledge(given) == given
    assert client.resolve(given) == given
    made = client.trigger(f"{name}: without a key", "db-3")
    client.resolve(made)
    client.trigger(f"{name}: still open", "db-3")
    client.acknowledge("nobody knows this one")
newer.send_change_event({"summary": "deployed", "source": "ci"})
try:
    OverPlainHttp("f" * 32).trigger("a stranger", "nowhere")
except pagerduty.Error:
    print("the stranger was refused")
"#;

#[tokio::test]
async fn pagerdutys_own_clients_trigger_acknowledge_and_resolve() {
    let Some(python) = python("pagerduty, pdpyras") else { return };
    let home = Home::new().await;
    let _callout = home.serve().await;
    let output = Command::new(python).args(["-c", CLIENTS, &home.url(), key_of("legacy")]).output().unwrap();
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("the stranger was refused"), "{said}\n{errors}");
    let alerts = home.alerts().await;
    let alerts = alerts.as_array().unwrap();
    assert_eq!(alerts.len(), 6, "{alerts:#?}");
    for name in ["newer", "older"] {
        assert!(has(alerts, &format!("{name}: db-3 is nearly full"), "resolved"), "{alerts:#?}");
        assert!(has(alerts, &format!("{name}: without a key"), "resolved"), "{alerts:#?}");
        assert!(has(alerts, &format!("{name}: still open"), "escalating"), "{alerts:#?}");
    }
}

#[tokio::test]
async fn the_script_for_goalerts_endpoint_raises_and_resolves() {
    let Some(_curl) = tool("CALLOUT_TEST_CURL", "curl", &["--version"]) else { return };
    let home = Home::new().await;
    let _callout = home.serve().await;
    let run = |arguments: &[&str]| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/integrations/goalert.sh");
        let mut command = Command::new("sh");
        command.arg(script).args(arguments).env("CALLOUT", home.url()).env("KEY", key_of("go")).env("NO_PROXY", "*");
        assert!(command.status().unwrap().success());
    };
    run(&[]);
    run(&["Another text", "db-3/disk"]);
    let alerts = home.alerts().await;
    assert_eq!((&alerts[0]["message"], &alerts[0]["repeats"]), (&json!("The disk of db-3 is nearly full"), &json!(1)));
    run(&["over", "db-3/disk", "close"]);
    assert_eq!(home.alerts().await[0]["status"], "resolved");
}

#[test]
fn the_file_for_any_json_loads_and_its_sample_is_understood() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("json.yaml"), pasted("json.yaml")).unwrap();
    std::fs::write(folder.path().join("json-sample.json"), pasted("json-sample.json")).unwrap();
    std::fs::write(folder.path().join("private.key"), TEST_ONLY_PRIVATE_KEY).unwrap();
    let check = |integration: &str, sample: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_callout"));
        command.args(["check", "--config", "json.yaml", "--integration", integration, "--sample", sample]);
        let output = command.current_dir(folder.path()).env_clear().output().unwrap();
        let said = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap());
        (output.status.code(), said[0].clone(), said[1].clone())
    };
    let (code, said, _) = check("ci", "json-sample.json");
    assert_eq!(code, Some(0), "{said}");
    for expected in [
        "trigger\n",
        "  dedup_key  ci:deploy/release\n",
        "  message    deploy is failed on release\n",
        "  severity   warning\n",
        "  link       https://ci.example.org/pipelines/42\n",
        r#"  details    {"author":"unknown","commit":"5b1f0c6d"}"#,
    ] {
        assert!(said.contains(expected), "{expected}\n{said}");
    }
    std::fs::write(folder.path().join("bad.json"), r#"{ "status": "failed", "pipeline": {} }"#).unwrap();
    let (code, _, errors) = check("ci", "bad.json");
    assert_eq!(code, Some(2));
    assert!(
        errors.contains("the template `message` needs `body.pipeline.name`, which the body does not have"),
        "{errors}"
    );
    let (code, _, errors) = check("cy", "json-sample.json");
    assert_eq!(code, Some(2));
    assert!(errors.contains("the integrations are ci"), "{errors}");
    assert_eq!(check("ci", "nowhere.json").0, Some(2));
}

#[test]
fn grafanas_contact_point_names_what_callout_listens_for() {
    let file = pasted("grafana-contact-point.yaml");
    for line in [
        "type: webhook",
        "url: http://127.0.0.1:9000/integrations/cloud",
        "authorization_scheme: Bearer",
        "authorization_credentials: put-the-key-of-the-integration-here",
        "disableResolveMessage: false",
    ] {
        assert!(file.lines().any(|of_file| of_file.trim() == line), "{line}");
    }
    // What the contact point's receiver posts is read by the kind that the documents name for it.
    let body = br#"{"alerts":[{"labels":{"alertname":"Down"}}]}"#;
    let posted = Posted { body, content_type: Some("application/json"), query: "" };
    assert_eq!(callout::integrations::Form::Grafana(None).read(posted).unwrap().len(), 1);
}
