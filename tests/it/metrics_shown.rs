//! What `/metrics` shows: its names keep to the conventions, its size is bounded, and the dashboard and the
//! alert rules that are shipped ask for nothing that is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::harness::{Answer, Callout, PATIENCE, Setup, tool};

/// More series than this nobody wants of one process, however many alerts it has had.
const SERIES_MAX: usize = 600;

fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A service in whose life everything has happened that is measured.
async fn busy(folder: &Path) -> Callout {
    let callout = Setup::in_file(&folder.join("callout.db")).start().await;
    for number in 1..=3 {
        let alert = callout.raise(&json!({ "message": "x", "dedup_key": number.to_string() })).await;
        let sent = callout.vonage.nth(number).await;
        callout.report(&sent, "delivered").await.is(200);
        callout.report(&sent, "read").await.is(200);
        callout.report(&sent, "read").await.is(200);
        callout.until_status(&alert, "acknowledged").await;
    }
    callout
}

/// What it shows.
async fn shown() -> String {
    let folder = tempfile::tempdir().unwrap();
    let callout = busy(folder.path()).await;
    let text = Answer::of(callout.stranger(Method::GET, "/metrics")).await.is(200);
    assert_eq!(text.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    text.text().to_owned()
}

/// Every metric with its type.
fn kinds(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect()
}

fn samples(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.starts_with('#'))
}

#[tokio::test]
async fn names_keep_to_the_conventions_and_labels_are_few() {
    let text = shown().await;
    let kinds = kinds(&text);
    assert!(kinds.len() >= 20, "only {} metrics", kinds.len());
    for (name, kind) in &kinds {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        assert!(name.bytes().all(is_plain), "{name}");
        assert!(name.starts_with("callout_") || name.starts_with("process_"), "{name} does not say whose it is");
        assert_eq!(name.ends_with("_total"), *kind == "counter", "{name} is a {kind}");
        for unit in ["_ms", "_millis", "_milliseconds", "_minutes", "_kb", "_percent"] {
            assert!(!name.contains(unit), "{name}: times are in seconds, sizes in bytes");
        }
        assert!(text.contains(&format!("# HELP {name} ")), "{name} is not explained");
    }
    assert!(samples(&text).count() < SERIES_MAX, "{} series", samples(&text).count());
    for sample in samples(&text) {
        for label in sample.split('"').skip(1).step_by(2) {
            let is_word = label.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            assert!(
                is_word || label == "+Inf" || label.parse::<f64>().is_ok(),
                "{sample}: {label} is not of a closed set"
            );
        }
    }
}

#[tokio::test]
async fn a_commit_and_the_process_are_measured() {
    let text = shown().await;
    let value = |name: &str| -> f64 {
        let sample = samples(&text).find(|sample| sample.starts_with(&format!("{name} ")));
        sample.unwrap_or_else(|| panic!("no {name}")).rsplit_once(' ').unwrap().1.parse().unwrap()
    };
    assert!(value("callout_store_commit_changes_count") >= 3.0);
    assert!(value("callout_store_commit_changes_sum") >= value("callout_store_commit_changes_count"));
    assert!((value("callout_store_waiting")).abs() < 0.5, "nothing waits when everything is answered");
    assert!(value("process_resident_memory_bytes") > 1_000_000.0);
    assert!(value("process_open_fds") > 3.0);
    assert!(value("process_start_time_seconds") > 1_700_000_000.0);
}

/// The names of metrics in a text, without what the parts of a histogram are called.
fn names_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let ours = words.filter(|word| word.starts_with("callout_") || word.starts_with("process_"));
    let whole = |word: &str| {
        let end = ["_bucket", "_sum", "_count"].into_iter().find(|end| word.ends_with(end)).unwrap_or("");
        word.strip_suffix(end).unwrap_or(word).to_owned()
    };
    ours.map(whole).collect()
}

/// Metrics that are there from the first one on, with their labels.
const LATE: [(&str, &[&str]); 3] = [
    ("callout_alarms_total", &["alarm"]),
    ("callout_callbacks_total", &["topic", "outcome"]),
    ("callout_integration_requests_total", &["integration", "outcome"]),
];

fn dashboard() -> String {
    std::fs::read_to_string(project().join("config/grafana-dashboard.json")).unwrap()
}

fn rules() -> String {
    std::fs::read_to_string(project().join("config/prometheus-rules.yaml")).unwrap()
}

/// What the dashboard asks Prometheus: each expression, and how its series are called.
fn questions() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&dashboard()).unwrap();
    let targets = dashboard["panels"].as_array().unwrap().iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let questions = targets.map(|target| {
        // Grafana puts in how often is scraped, and a little more.
        let expression = target["expr"].as_str().unwrap().replace("$__rate_interval", "1m");
        assert!(!expression.contains('$'), "{expression}");
        (expression, target["legendFormat"].as_str().unwrap_or_default().to_owned())
    });
    questions.collect()
}

#[tokio::test]
async fn dashboard_and_rules_ask_only_for_what_is_there() {
    let text = shown().await;
    let known = kinds(&text);
    let (dashboard, rules) = (dashboard(), rules());
    for (file, text) in [("the dashboard", &dashboard), ("the rules", &rules)] {
        let names = names_in(text);
        assert!(names.len() > 5, "{file}: {names:?}");
        for name in names {
            let is_there = known.contains_key(&*name) || LATE.iter().any(|(late, _)| *late == name);
            assert!(is_there, "{file} asks for {name}, which /metrics does not show");
        }
    }
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "no two panels have one id");
    for panel in panels {
        assert!(panel["targets"][0]["expr"].is_string() && panel["title"].is_string(), "{panel}");
    }
    let of_dashboard = names_in(&dashboard.to_string());
    let left_out: Vec<&&str> = known.keys().filter(|name| !of_dashboard.contains(**name)).collect();
    assert!(left_out.is_empty(), "the dashboard does not show {left_out:?}");
}

/// The labels that the samples of a metric have, beside those that Prometheus gives to each.
fn labels_of<'t>(text: &'t str, metric: &str) -> BTreeSet<&'t str> {
    let late = LATE.iter().filter(|(name, _)| *name == metric).flat_map(|(_, labels)| labels.iter().copied());
    let whole = |sample: &str| names_in(sample.split('{').next().unwrap()).contains(metric);
    let shown = samples(text).filter(|sample| whole(sample)).filter_map(|sample| sample.split_once('{'));
    let shown = shown.flat_map(|(_, labels)| labels.split("=\"").filter_map(|part| part.rsplit(['{', ',']).next()));
    let of_scrape = ["instance", "job"];
    let names = |name: &&str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase());
    shown.filter(names).chain(late).chain(of_scrape).collect()
}

#[tokio::test]
async fn the_dashboard_sorts_by_labels_that_its_metrics_have() {
    let text = shown().await;
    let mut n_labels = 0;
    for (expression, legend) in questions() {
        let known: BTreeSet<&str> = names_in(&expression).iter().flat_map(|name| labels_of(&text, name)).collect();
        let sorted_by = expression.split(" by (").skip(1).flat_map(|rest| rest.split(')').next().unwrap().split(','));
        let called = legend.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap());
        for label in sorted_by.chain(called).map(str::trim) {
            assert!(known.contains(label), "{expression} ({legend}) asks for {label}, there are {known:?}");
            n_labels += 1;
        }
    }
    assert!(n_labels > 20, "only {n_labels} labels were looked at");
}

/// Prometheus' own tool, which Debian's package `prometheus` has.
fn promtool(folder: &Path, arguments: &[&str], input: &str) {
    let Some(program) = tool("CALLOUT_TEST_PROMTOOL", "promtool", &["--version"]) else { return };
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "promtool {arguments:?}:\n{out}\n{err}");
}

#[tokio::test]
async fn prometheus_own_linter_finds_nothing() {
    promtool(&project(), &["check", "metrics"], &shown().await);
}

#[test]
fn the_rules_load_and_tell_their_stories() {
    promtool(&project(), &["check", "rules", "config/prometheus-rules.yaml"], "");
    promtool(&project().join("tests/prometheus"), &["test", "rules", "rules.test.yaml"], "");
    let stories = std::fs::read_to_string(project().join("tests/prometheus/rules.test.yaml")).unwrap();
    let rules = rules();
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 8, "{alerts:?}");
    for alert in alerts {
        let of_alert = stories.split("alertname: ").skip(1).filter(|rest| rest.starts_with(alert));
        let is_raised = of_alert.clone().any(|rest| rest.split("alertname").next().unwrap().contains("exp_labels"));
        assert!(is_raised, "no story raises {alert}");
    }
}

#[test]
fn prometheus_can_read_every_question_of_the_dashboard() {
    let folder = tempfile::tempdir().unwrap();
    let rules: Vec<Value> = (0..)
        .zip(questions())
        .map(|(number, (expression, _))| json!({ "record": format!("panel:question:{number}"), "expr": expression }))
        .collect();
    let rules = json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    // Every JSON is YAML.
    std::fs::write(folder.path().join("questions.yaml"), rules.to_string()).unwrap();
    promtool(folder.path(), &["check", "rules", "questions.yaml"], "");
}

/// A process that ends with the test.
struct Process(std::process::Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop((self.0.kill(), self.0.wait()));
    }
}

/// Prometheus itself, which scrapes the service each second and has the rules.
struct Prometheus {
    http: Client,
    url: String,
    _process: Process,
}

impl Prometheus {
    fn start(program: &Path, folder: &Path, service: std::net::SocketAddr) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = json!({
            "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
            "rule_files": [project().join("config/prometheus-rules.yaml")],
            "scrape_configs": [{ "job_name": "callout", "static_configs": [{ "targets": [service.to_string()] }] }],
        });
        std::fs::write(folder.join("prometheus.yaml"), config.to_string()).unwrap();
        let mut command = Command::new(program);
        command.args(["--config.file=prometheus.yaml", "--storage.tsdb.path=prometheus"]);
        command.arg(format!("--web.listen-address=127.0.0.1:{port}")).current_dir(folder);
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let http = Client::builder().no_proxy().build().unwrap();
        Self { http, url: format!("http://127.0.0.1:{port}"), _process: Process(process) }
    }

    /// What it answers, if it does.
    async fn answer(&self, path: &str, expression: &str) -> Option<Value> {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        let query = query.append_pair("query", expression).finish();
        self.http.get(format!("{}{path}?{query}", self.url)).send().await.ok()?.json().await.ok()
    }

    /// What it finds.
    async fn finds(&self, expression: &str) -> Vec<Value> {
        let answer = self.answer("/api/v1/query", expression).await.unwrap_or_default();
        answer["data"]["result"].as_array().cloned().unwrap_or_default()
    }
}

#[tokio::test]
async fn prometheus_itself_scrapes_the_service_and_finds_what_dashboard_and_rules_ask() {
    let Some(program) = tool("CALLOUT_TEST_PROMETHEUS", "prometheus", &["--version"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let callout = busy(folder.path()).await;
    let prometheus = Prometheus::start(&program, folder.path(), callout.address());
    let mut look = tokio::time::interval(Duration::from_millis(200));
    // Two scrapes: a rate needs two.
    let scraped = async {
        while prometheus.finds("count_over_time(up{job=\"callout\"}[1m]) >= 2 and up == 1").await.is_empty() {
            look.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, scraped).await.expect("Prometheus scrapes the service");
    let mut n_found = 0;
    for (expression, _) in questions() {
        let answer = prometheus.answer("/api/v1/query", &expression).await.unwrap();
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        n_found += usize::from(answer["data"]["result"].as_array().is_some_and(|found| !found.is_empty()));
    }
    assert!(n_found > 20, "only {n_found} questions of the dashboard have an answer");
    let judged = async {
        loop {
            let answer = prometheus.answer("/api/v1/rules", "").await.unwrap_or_default();
            let rules = answer["data"]["groups"][0]["rules"].as_array().cloned().unwrap_or_default();
            if !rules.is_empty() && rules.iter().all(|rule| rule["health"] != "unknown") {
                return rules;
            }
            look.tick().await;
        }
    };
    for rule in tokio::time::timeout(PATIENCE, judged).await.expect("Prometheus judges the rules") {
        assert_eq!((&rule["health"], &rule["state"]), (&json!("ok"), &json!("inactive")), "{rule}");
    }
}
