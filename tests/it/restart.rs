//! The real process is killed without warning, and another one takes up its work on the same database
//! (contract R15). Vonage is a small server in the test that notes what it is asked to send.

#![expect(clippy::expect_used, reason = "what does not come in time ends the test, and says what it was")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use callout::clock::{Clock, SteadyClock};
use callout::id::AttemptRef;
use callout::timestamp::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

/// Longer than anything here takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a restart may cost (contract R15).
const RESTART_MAX: Duration = Duration::from_secs(1);
const API_KEY: &str = "the-key-of-the-restart-tests";
const PRIVATE_KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/keys/test-only.pem");

/// Stands in for Vonage.
struct Vonage {
    url: String,
    asked: Arc<Asked>,
    _server: JoinSet<()>,
}

struct Asked {
    /// The `client_ref` of each send, in order.
    sends: watch::Sender<Vec<String>>,
    hangs: AtomicBool,
}

impl Vonage {
    async fn start() -> Self {
        let asked = Arc::new(Asked { sends: watch::Sender::default(), hangs: AtomicBool::new(false) });
        let router = Router::new().route("/v1/messages", post(take)).with_state(Arc::clone(&asked));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, asked, _server: server }
    }

    fn hang(&self, hangs: bool) {
        self.asked.hangs.store(hangs, Ordering::Relaxed);
    }

    fn sends(&self) -> Vec<String> {
        self.asked.sends.borrow().clone()
    }

    /// Waits until what was asked for fits.
    async fn until(&self, fits: impl FnMut(&Vec<String>) -> bool) -> Vec<String> {
        let mut sends = self.asked.sends.subscribe();
        let seen = tokio::time::timeout(PATIENCE, sends.wait_for(fits)).await;
        seen.unwrap_or_else(|_late| panic!("never came: {:?}", self.sends())).unwrap().clone()
    }
}

async fn take(State(asked): State<Arc<Asked>>, Json(body): Json<Value>) -> Response {
    let reference = body["client_ref"].as_str().unwrap().to_owned();
    asked.sends.send_modify(|sends| sends.push(reference));
    if asked.hangs.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
    let number = asked.sends.borrow().len();
    let message_uuid = format!("aaaaaaaa-bbbb-4ccc-8ddd-{number:012}");
    (StatusCode::ACCEPTED, Json(json!({ "message_uuid": message_uuid }))).into_response()
}

/// Where the processes of a story live one after the other.
struct Home {
    folder: TempDir,
    vonage: Vonage,
    http: reqwest::Client,
}

impl Home {
    /// Tony is called first and then Anna, both by SMS, with these expiries in seconds.
    async fn of_tony_and_anna(tony: u32, anna: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "vonage:\n  backend: messages\n  application_id: 11111111-2222-4333-8444-555555555555\n  \
             private_key: {PRIVATE_KEY}\n  from: {{ sms: \"447700900100\" }}\nusers:\n\
             - {{ name: Tony, channels: [ {{ type: sms, id_num: \"447700900001\", expiry_time: {tony} }} ] }}\n\
             - {{ name: Anna, channels: [ {{ type: sms, id_num: \"447700900002\", expiry_time: {anna} }} ] }}\n"
        );
        std::fs::write(folder.path().join("callout.yaml"), config).unwrap();
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        Self { folder, vonage: Vonage::start().await, http }
    }

    fn database(&self) -> PathBuf {
        self.folder.path().join("callout.db")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(Path::new(env!("CARGO_BIN_EXE_callout")));
        command
            .env_clear()
            .env("CALLOUT_API_KEY", API_KEY)
            .env("CALLOUT_MAX_PER_SECOND", "0")
            .current_dir(self.folder.path())
            .args(["serve", "--listen", "127.0.0.1:0", "--vonage-url", &self.vonage.url, "--store"])
            .arg(format!("sqlite:{}", self.database().display()))
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    /// Starts a process; returns once it listens.
    async fn start(&self) -> Process {
        let mut child = self.command().spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let (listening, listens) = oneshot::channel();
        std::thread::spawn(move || read_log(log, listening));
        let url = tokio::time::timeout(PATIENCE, listens).await.expect("it listens in time").expect("it goes on");
        Process { child, url, http: self.http.clone() }
    }
}

/// Says where the process listens once it does, and reads on to the end, so that the process never
/// waits for its reader.
fn read_log(log: BufReader<ChildStderr>, listening: oneshot::Sender<String>) {
    let mut listening = Some(listening);
    for line in log.lines().map_while(Result::ok) {
        if let Some((_, address)) = line.split_once("callout listens on ")
            && let Some(listening) = listening.take()
        {
            let url = address.split_whitespace().next().unwrap();
            listening.send(url.to_owned()).unwrap();
        }
    }
}

/// A running `callout serve`.
struct Process {
    child: Child,
    url: String,
    http: reqwest::Client,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Process {
    /// As `kill -9` does.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// As `kill` does.
    fn terminate(&mut self) -> Option<i32> {
        let told = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(told.success());
        self.child.wait().unwrap().code()
    }

    /// Posts an alert; returns its id once it is promised, or nothing where no answer came.
    async fn post(&self) -> Option<String> {
        post_alert(&self.http, &self.url).await
    }

    async fn alert(&self, id: &str) -> Value {
        let request = self.http.get(format!("{}/alerts/{id}", self.url)).bearer_auth(API_KEY);
        request.send().await.unwrap().error_for_status().unwrap().json().await.unwrap()
    }

    /// Waits until the alert fits.
    async fn until(&self, id: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let looking = async {
            let mut pace = tokio::time::interval(Duration::from_millis(20));
            loop {
                pace.tick().await;
                let alert = self.alert(id).await;
                if fits(&alert) {
                    return alert;
                }
            }
        };
        tokio::time::timeout(PATIENCE, looking).await.expect("the alert comes to it in time")
    }
}

async fn post_alert(http: &reqwest::Client, url: &str) -> Option<String> {
    let request = http.post(format!("{url}/alerts")).bearer_auth(API_KEY).json(&json!({ "message": "disk full" }));
    let response = request.send().await.ok()?;
    assert_eq!(response.status(), 201);
    let alert: Value = response.json().await.ok()?;
    Some(alert["id"].as_str().unwrap().to_owned())
}

fn attempts(alert: &Value) -> Vec<&str> {
    alert["attempts"].as_array().unwrap().iter().map(|attempt| attempt["status"].as_str().unwrap()).collect()
}

fn tells(alert: &Value, event: &str) -> bool {
    alert["timeline"].as_array().unwrap().iter().any(|entry| entry["event"] == event)
}

/// Lets the moment pass while nobody is there.
async fn wait_until_past(moment: Timestamp) {
    SteadyClock::system().sleep_until(moment.plus(Duration::from_millis(1))).await;
}

/// Fails unless `work` is done within what a restart may cost.
async fn promptly<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(RESTART_MAX, work).await.expect("within a second of the start")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_passes_while_nobody_is_there_is_handled_at_the_start() {
    let home = Home::of_tony_and_anna(1, 60).await;
    let mut first = home.start().await;
    let id = first.post().await.unwrap();
    let alert = first.until(&id, |alert| attempts(alert) == ["sent"]).await;
    let first_expiry: Timestamp = alert["current"]["expires_at"].as_str().unwrap().parse().unwrap();
    first.kill();
    wait_until_past(first_expiry).await;
    let second = home.start().await;
    promptly(home.vonage.until(|sends| sends.len() == 2)).await;
    let alert = second.until(&id, |alert| attempts(alert) == ["expired", "sent"]).await;
    assert!(!tells(&alert, "resent_after_restart"));
    assert_eq!(alert["attempts"][0]["tries"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_that_was_under_way_is_made_again_as_the_same_attempt() {
    let home = Home::of_tony_and_anna(60, 60).await;
    home.vonage.hang(true);
    let mut first = home.start().await;
    let id = first.post().await.unwrap();
    home.vonage.until(|sends| sends.len() == 1).await;
    first.kill();
    home.vonage.hang(false);
    let second = home.start().await;
    let sends = promptly(home.vonage.until(|sends| sends.len() == 2)).await;
    assert_eq!(sends[0], sends[1], "the same client_ref");
    let alert = second.until(&id, |alert| attempts(alert) == ["sent"]).await;
    assert!(tells(&alert, "resent_after_restart"));
    assert_eq!(alert["attempts"][0]["tries"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_safe_the_moment_it_is_promised() {
    let home = Home::of_tony_and_anna(60, 60).await;
    let mut first = home.start().await;
    let id = first.post().await.unwrap();
    first.kill();
    let second = home.start().await;
    let alert = second.until(&id, |alert| attempts(alert) == ["sent"]).await;
    let sends = home.vonage.sends();
    assert!((1..=2).contains(&sends.len()) && sends.iter().all(|send| *send == sends[0]), "{sends:?}");
    assert_eq!(tells(&alert, "resent_after_restart"), alert["attempts"][0]["tries"] == 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_was_answered_200_is_not_forgotten() {
    let home = Home::of_tony_and_anna(2, 60).await;
    let mut first = home.start().await;
    let id = first.post().await.unwrap();
    first.until(&id, |alert| attempts(alert) == ["sent"]).await;
    let read = json!({ "message_uuid": "aaaaaaaa-bbbb-4ccc-8ddd-000000000001", "to": "447700900001",
        "from": "447700900100", "timestamp": "2026-03-01T02:15:07Z", "status": "read", "channel": "sms",
        "client_ref": home.vonage.sends()[0] });
    let request = home.http.post(format!("{}/webhooks/status", first.url)).json(&read);
    assert_eq!(request.send().await.unwrap().status(), 200);
    first.kill();
    let second = home.start().await;
    assert_eq!(second.alert(&id).await["status"], "acknowledged");
    assert_eq!(home.vonage.sends().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_alerts_under_load_survive_a_kill() {
    let home = Home::of_tony_and_anna(600, 600).await;
    let mut first = home.start().await;
    let (promised, mut counted) = watch::channel(Vec::new());
    let promised = Arc::new(promised);
    let mut callers = JoinSet::new();
    for _ in 0..16 {
        let (http, url, promised) = (home.http.clone(), first.url.clone(), Arc::clone(&promised));
        callers.spawn(async move {
            while let Some(id) = post_alert(&http, &url).await {
                promised.send_modify(|ids: &mut Vec<String>| ids.push(id));
            }
        });
    }
    tokio::time::timeout(PATIENCE, counted.wait_for(|ids| ids.len() >= 100)).await.unwrap().unwrap();
    first.kill();
    callers.join_all().await;
    let promised = promised.borrow().clone();

    let second = home.start().await;
    for id in &promised {
        second.until(id, |alert| attempts(alert) == ["sent"]).await;
    }
    let mut n_sends: HashMap<String, usize> = HashMap::new();
    for reference in home.vonage.sends() {
        let reference: AttemptRef = reference.parse().unwrap();
        assert_eq!(reference.attempt, 1);
        *n_sends.entry(reference.alert.to_string()).or_default() += 1;
    }
    for id in &promised {
        let n_sends = n_sends.get(id).copied().unwrap_or(0);
        assert!((1..=2).contains(&n_sends), "alert {id} was sent {n_sends} times");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_database_leaves_at_once_and_says_why() {
    let home = Home::of_tony_and_anna(60, 60).await;
    let first = home.start().await;
    let mut second = home.command().spawn().unwrap();
    let waiting = tokio::task::spawn_blocking(move || {
        let code = second.wait().unwrap().code();
        let mut told = String::new();
        second.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        (code, told)
    });
    let limit = Duration::from_secs(2);
    let (code, told) = tokio::time::timeout(limit, waiting).await.expect("within two seconds").unwrap();
    assert_eq!(code, Some(1));
    assert!(told.contains("another callout") && told.contains("callout.db"), "{told}");
    assert!(first.post().await.is_some(), "the first one is not disturbed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_asked_to_end_leaves_nothing_to_be_repeated() {
    let home = Home::of_tony_and_anna(60, 60).await;
    let mut first = home.start().await;
    let id = first.post().await.unwrap();
    home.vonage.until(|sends| sends.len() == 1).await;
    assert_eq!(first.terminate(), Some(0));
    let second = home.start().await;
    let alert = second.until(&id, |alert| attempts(alert) == ["sent"]).await;
    assert!(!tells(&alert, "resent_after_restart"));
    assert_eq!(home.vonage.sends().len(), 1);
}
