//! What `/metrics` shows: its names keep to the conventions, its size is bounded, and the dashboard and the
//! alert rules that are shipped ask for nothing that is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Setup, tool};

/// More series than this nobody wants of one process, however many alerts it has had.
const SERIES_MAX: usize = 600;

fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// What a service shows in whose life everything has happened that is measured.
async fn shown() -> String {
    let folder = tempfile::tempdir().unwrap();
    let callout = Setup::in_file(&folder.path().join("callout.db")).start().await;
    for number in 1..=3 {
        let alert = callout.raise(&json!({ "message": "x", "dedup_key": number.to_string() })).await;
        let sent = callout.vonage.nth(number).await;
        callout.report(&sent, "delivered").await.is(200);
        callout.report(&sent, "read").await.is(200);
        callout.report(&sent, "read").await.is(200);
        callout.until_status(&alert, "acknowledged").await;
    }
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

#[tokio::test]
async fn dashboard_and_rules_ask_only_for_what_is_there() {
    let text = shown().await;
    let known = kinds(&text);
    let dashboard = std::fs::read_to_string(project().join("config/grafana-dashboard.json")).unwrap();
    let rules = std::fs::read_to_string(project().join("config/prometheus-rules.yaml")).unwrap();
    for (file, text) in [("the dashboard", &dashboard), ("the rules", &rules)] {
        let names = names_in(text);
        assert!(names.len() > 5, "{file}: {names:?}");
        for name in names {
            // These are counted from the first one on.
            let late = ["callout_alarms_total", "callout_callbacks_total", "callout_integration_requests_total"];
            let is_there = known.contains_key(&*name) || late.contains(&&*name);
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
}
