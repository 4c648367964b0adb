//! The commands at a terminal: the doctor, completions, manual pages, and clients that need none of the secrets.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Callout, KEY, Mood};

/// Runs callout in a folder to its end, away from the test's own threads.
async fn run(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_callout"));
    command.args(arguments).current_dir(folder).env_clear().envs(environment.iter().copied()).stdin(Stdio::null());
    // The doctor looks for `df`.
    command.env("PATH", "/usr/bin:/bin");
    tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A configuration for a service that runs already, with a secret that is not set here.
fn write(folder: &Path, callout: &Callout, change: impl FnOnce(&mut Value)) {
    let mut file = json!({
        "server": { "listen": callout.address().to_string(), "api_key": KEY,
            "public_url": format!("http://{}", callout.address()) },
        "store": "sqlite:callout.db",
        "vonage": { "application_id": "11111111-2222-4333-8444-555555555555", "private_key": "private.key",
            "url": callout.vonage.url(), "signature_secret": "${VONAGE_SIGNATURE_SECRET}",
            "from": { "messenger": "108450971234567", "sms": "Callout", "whatsapp": "447700900100" } },
        "users": [{ "name": "Tony", "channels": [
            { "type": "messenger", "id_num": "6542087712345678", "expiry_time": 300 },
            { "type": "sms", "id_num": "447700900001", "expiry_time": 300 } ] }],
    });
    change(&mut file);
    std::fs::write(folder.join("private.key"), include_bytes!("keys/test-only.pem")).unwrap();
    std::fs::write(folder.join("callout.yaml"), file.to_string()).unwrap();
}

const SECRET: (&str, &str) = ("VONAGE_SIGNATURE_SECRET", "0123456789abcdef0123456789abcdef");

#[tokio::test]
async fn a_client_finds_server_and_key_without_the_service_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let callout = Callout::start().await;
    callout.raise(&json!({ "message": "Disk is full" })).await;
    write(folder.path(), &callout, |_| {});
    let output = run(folder.path(), &["list"], &[]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("Disk is full"), "{}", text(&output.stdout));
    assert!(!text(&output.stdout).contains('\u{1b}'), "no colours where no terminal is");
    let json = run(folder.path(), &["list", "--json"], &[]).await;
    let list: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(list, callout.get("/alerts").await.is(200).json(), "the API's own object");
    // The service itself does need the secret.
    assert_eq!(run(folder.path(), &["check"], &[]).await.status.code(), Some(2));
}

#[tokio::test]
async fn what_the_service_refuses_is_named_once_however_much_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let callout = Callout::start().await;
    write(folder.path(), &callout, |_| {});
    let refused = async |arguments: &[&str]| {
        let output = run(folder.path(), arguments, &[]).await;
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(1), ""));
        text(&output.stderr)
    };
    let nothing = "/message: must not be empty";
    assert_eq!(refused(&["send", ""]).await, format!("error: callout answered 422 Unprocessable Entity: {nothing}\n"));
    let both = refused(&["send", "", "--policy", "nights"]).await;
    assert_eq!(both.lines().count(), 3, "{both}");
    assert_eq!(both.matches(nothing).count(), 1, "{both}");
    assert_eq!(both.matches("/policy: is not a policy").count(), 1, "{both}");
}

#[tokio::test]
async fn a_closed_pipe_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let callout = Callout::start().await;
    for number in 0..3 {
        callout.post("/alerts", &json!({ "message": format!("alert {number}") })).await.is(201);
    }
    write(folder.path(), &callout, |_| {});
    let program = env!("CARGO_BIN_EXE_callout");
    let script = format!(
        "set -o pipefail; {program} list | head -1; {program} completions bash | head -1; {program} man | head -1"
    );
    let mut command = Command::new("bash");
    command.args(["-c", &script]).current_dir(folder.path()).env_clear().env("PATH", "/usr/bin:/bin");
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
    assert_eq!(text(&output.stdout).lines().count(), 3);
}

#[tokio::test]
async fn shells_and_man_know_every_command() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(folder.path(), &["completions", shell], &[]).await;
        assert!(output.status.success() && text(&output.stdout).contains("doctor"), "{shell}");
    }
    let page = run(folder.path(), &["man"], &[]).await;
    assert!(text(&page.stdout).contains(".TH callout"), "{}", text(&page.stdout));
    let pages = folder.path().join("pages");
    let output = run(folder.path(), &["man", "--dir", pages.to_str().unwrap()], &[]).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(pages.join("callout-send.1").exists() && pages.join("callout-doctor.1").exists());
}

async fn doctor(folder: &Path) -> (Option<i32>, Vec<(String, String, String)>) {
    let output = run(folder, &["doctor", "--json"], &[SECRET]).await;
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
    let part = |finding: &Value, name: &str| finding[name].as_str().unwrap().to_owned();
    let findings = answer["checks"].as_array().unwrap().iter();
    let findings = findings.map(|one| (part(one, "check"), part(one, "health"), part(one, "what"))).collect();
    assert_eq!(answer["healthy"], json!(output.status.success()));
    (output.status.code(), findings)
}

#[track_caller]
fn finds(findings: &[(String, String, String)], check: &str, health: &str, words: &str) {
    let is_it = |(c, h, what): &(String, String, String)| c == check && h == health && what.contains(words);
    assert!(findings.iter().any(is_it), "no {health} {check} with {words:?} in {findings:#?}");
}

#[tokio::test]
async fn the_doctor_says_what_is_wrong_tonight_and_sends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let callout = Callout::start().await;
    // As the real one does with a message that is empty.
    callout.vonage.becomes(Mood::Refuses);
    write(folder.path(), &callout, |_| {});
    let (_, findings) = doctor(folder.path()).await;
    finds(&findings, "configuration", "ok", "is understood");
    finds(&findings, "key", "ok", "can sign");
    finds(&findings, "vonage", "ok", "takes our token");
    finds(&findings, "clock", "ok", "within");
    finds(&findings, "signature", "ok", "signed");
    finds(&findings, "store", "ok", "can be written to");
    finds(&findings, "service", "ok", "is ready");
    finds(&findings, "webhooks", "ok", "leads here");
    finds(&findings, "people", "ok", "1 of 1");

    write(folder.path(), &callout, |file| {
        let other = json!({ "name": "Ann", "channels": [{ "type": "sms", "id_num": "447700900001" }] });
        let asleep = json!({ "name": "Kim", "channels": [{ "type": "whatsapp", "id_num": "447700900003", "expiry_time": 3600 }] });
        file["users"].as_array_mut().unwrap().extend([other, asleep]);
        file["server"].as_object_mut().unwrap().remove("public_url");
    });
    let (code, findings) = doctor(folder.path()).await;
    assert_eq!(code, Some(1));
    finds(&findings, "people", "wrong", "tonight Ann cannot answer");
    finds(&findings, "people", "wrong", "tonight Kim cannot be reached");
    finds(&findings, "people", "warning", "Ann and Tony share one address on sms");
    finds(&findings, "people", "warning", "Kim may sleep through whatsapp");
    finds(&findings, "webhooks", "warning", "not known");

    let other = Callout::start().await;
    write(folder.path(), &callout, |file| {
        file["server"]["public_url"] = format!("http://{}", other.address()).into();
        file["vonage"]["url"] = "http://127.0.0.1:1".into();
    });
    let (_, findings) = doctor(folder.path()).await;
    finds(&findings, "webhooks", "wrong", "another callout answers");
    finds(&findings, "vonage", "wrong", "cannot be reached");

    write(folder.path(), &callout, |file| file["users"] = json!([]));
    let (code, findings) = doctor(folder.path()).await;
    assert_eq!(code, Some(1));
    finds(&findings, "configuration", "wrong", "callout.yaml");
    let alerts = callout.request(Method::GET, "/alerts").send().await.unwrap().json::<Value>().await.unwrap();
    assert_eq!(alerts["alerts"], json!([]), "the doctor raises nothing");
    let asked = callout.vonage.sent();
    assert!(!asked.is_empty() && asked.iter().all(|sent| sent.body == json!({})), "the doctor sends nothing");
}
