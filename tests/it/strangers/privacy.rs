//! Nothing private is ever written to the log, at the most talkative level there is.
//!
//! A whole escalation is played before the real program, with everything that can go wrong on the way.
//! Whatever is private in it was planted there and stands nowhere else, so that it is found wherever it
//! turns up.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use callout::clock::SteadyClock;
use callout::contact::Channel;
use callout::sandbox::signature::Secret;
use callout::sandbox::webhook::WebhookKind;
use callout::sandbox::{Letter, Options, Sandbox};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::client;
use super::program::Program;
use crate::config::TEST_ONLY_PRIVATE_KEY;
use crate::harness::{ANNS_NUMBER, KEY, LOG_OF_THE_STORIES, TONYS_NUMBER, TONYS_PSID};
use crate::http_integrations::{AM, LEGACY};

/// The key that may do everything, from the environment.
const THE_ONE: &str = "planted-key-of-the-chief-7f3a";
/// A key from the file.
const LISTED: &str = "planted-key-of-nagios-90cc";
/// A key that is none.
const GUESSED: &str = "planted-guess-of-a-stranger-41d0";
/// What webhooks are signed with.
const SIGNATURE: &str = "planted-signature-secret-58b1-with-32-characters";
/// Addresses: of the configuration, of an ad-hoc list, of a stranger, and one that is wrong.
const PSID: &str = "7731904455660021";
const PHONE: &str = "447700900731";
const AD_HOC_PHONE: &str = "447700900732";
const STRANGERS_PHONE: &str = "447700900733";
const BAD_PHONE: &str = "0447700900734x";
/// Words: of the alert, its details and names, of replies and of what Vonage says.
const TEXT: &str = "PlantedAlertText";
const DETAIL: &str = "PlantedDetail";
const DEDUP: &str = "planted-dedup-key";
const REPLY: &str = "PlantedReplyText";
const REASON: &str = "PlantedBodyOfAWebhook";
const IDEMPOTENCY: &str = "planted-idempotency-key";
const QUERY: &str = "planted-query-value";

const PLANTED: [&str; 16] = [
    THE_ONE,
    LISTED,
    GUESSED,
    SIGNATURE,
    PSID,
    PHONE,
    AD_HOC_PHONE,
    STRANGERS_PHONE,
    BAD_PHONE,
    TEXT,
    DETAIL,
    DEDUP,
    REPLY,
    REASON,
    IDEMPOTENCY,
    QUERY,
];

fn configure(folder: &Path, vonage: SocketAddr, users: &str) {
    let text = format!(
        r#"
server:
  listen: 127.0.0.1:0
  public_url: https://callout.example.org
  api_keys: [{{ name: nagios, key: {LISTED}, roles: [raise, read, answer] }}]
store: sqlite:callout.db
vonage:
  application_id: 3f0c9d52-6b1e-4c7a-9d84-2b7e51a0c6f3
  private_key: private.key
  url: http://{vonage}
  from: {{ messenger: "108450971234567", sms: "447700900101" }}
{users}
"#
    );
    std::fs::write(folder.join("callout.yaml"), text).expect("a file");
    std::fs::write(folder.join("private.key"), TEST_ONLY_PRIVATE_KEY).expect("a file");
}

fn tony() -> String {
    format!(
        "users: [{{ name: Tony, channels: [{{ type: messenger, id_num: \"{PSID}\", expiry_time: 1 }}, \
         {{ type: sms, id_num: \"{PHONE}\" }}] }}]"
    )
}

const ENVIRONMENT: [(&str, &str); 3] =
    [("CALLOUT_LOG", "trace"), ("CALLOUT_API_KEY", THE_ONE), ("CALLOUT_SIGNATURE_SECRET", SIGNATURE)];

fn alert() -> Value {
    json!({
        "message": format!("{TEXT} is down"), "dedup_key": DEDUP, "source": "nagios",
        "link": format!("https://runbooks.example/{DETAIL}"), "details": { "note": DETAIL },
    })
}

/// What must not be found. A key of three lines is looked for by each of its lines.
fn assert_nothing_private(said: &str, further: &[String]) {
    assert!(said.contains("TRACE") || said.contains("DEBUG"), "the log is as talkative as it can be:\n{said}");
    let key_lines = TEST_ONLY_PRIVATE_KEY.lines().filter(|line| line.len() > 20);
    let private = PLANTED.into_iter().chain(key_lines).chain(further.iter().map(String::as_str));
    let found: Vec<&str> = said.lines().filter(|line| private.clone().any(|private| line.contains(private))).collect();
    assert!(found.is_empty(), "{} lines show something private:\n{}", found.len(), found.join("\n"));
}

/// What came to Vonage with each request, and nothing else knows.
fn bearer_tokens(headers: &HeaderMap) -> Option<String> {
    Some(headers.get("authorization")?.to_str().ok()?.trim_start_matches("Bearer ").to_owned())
}

#[tokio::test]
async fn a_whole_escalation_with_its_replies_links_and_attacks_leaves_nothing_private_in_the_log() {
    let folder = TempDir::new().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    configure(folder.path(), listener.local_addr().unwrap(), &tony());
    let program = Program::serve(folder.path(), &ENVIRONMENT);
    let address = program.address().await;
    let mut options = Options::new(format!("http://{address}").parse().unwrap());
    options.signature_secret = Some(Secret::new(SIGNATURE));
    let sandbox = Sandbox::new(options, Arc::new(SteadyClock::system())).unwrap();
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let (playing, until) = (sandbox.clone(), stop.clone());
    tasks.spawn(async move { playing.run(listener, until).await });

    let call = |method: Method, path: &str| client().request(method, format!("http://{address}{path}"));
    let raised = call(Method::POST, "/alerts").bearer_auth(LISTED).header("idempotency-key", IDEMPOTENCY);
    assert_eq!(raised.json(&alert()).send().await.unwrap().status(), 201);
    let patience = Duration::from_secs(20);
    let first = sandbox.wait_for_sent(1, patience).await.unwrap();
    let second = sandbox.wait_for_sent(2, patience).await.unwrap();
    assert_eq!((&*first.to, &*second.to), (PSID, PHONE), "it went on to the next channel");
    let link = second.text.as_deref().unwrap().split("https://callout.example.org").nth(1).unwrap();
    let link = link.split_whitespace().next().unwrap().to_owned();

    sandbox.reply(&Letter::text(Channel::Sms, STRANGERS_PHONE, REPLY));
    sandbox.reply(&Letter::text(Channel::Sms, PHONE, &format!("next {REPLY}")));
    let failure = json!({ "type": "https://x#1340", "title": 1340, "detail": format!("{REASON} to {PHONE}: {TEXT}") });
    for uuid in [&*second.message_uuid, REASON] {
        sandbox.post(
            WebhookKind::Status,
            &json!({ "message_uuid": uuid, "to": PHONE, "from": "447700900101", "channel": "sms", "status": "rejected",
                     "timestamp": "2026-11-23T08:00:00Z", "error": failure }),
        );
    }
    sandbox.post(WebhookKind::Inbound, &json!({ "from": STRANGERS_PHONE, "text": REPLY, "surprise": REASON }));
    sandbox.until(patience, |sandbox| (sandbox.webhooks().waiting == 0).then_some(())).await.unwrap();

    assert_eq!(call(Method::GET, &link).send().await.unwrap().status(), 200);
    assert_eq!(call(Method::POST, &link).send().await.unwrap().status(), 200);
    misuse(&call, &link).await;

    let ad_hoc = json!({ "message": TEXT, "users": [{ "name": "Zoë", "channels": [{ "type": "sms", "id_num": AD_HOC_PHONE }] }] });
    assert_eq!(call(Method::POST, "/alerts").bearer_auth(THE_ONE).json(&ad_hoc).send().await.unwrap().status(), 201);
    sandbox.wait_for_sent(3, patience).await.unwrap();

    let bad = format!("users: [{{ name: Tony, chanels: [{{ type: sms, id_num: \"{BAD_PHONE}\" }}] }}, \"{PHONE}\"]");
    configure(folder.path(), "127.0.0.1:1".parse().unwrap(), &bad);
    program.signal("HUP");
    program.until_it_says("was NOT taken").await;
    let said = program.stop().await;
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    let token = link.trim_start_matches("/a/").to_owned();
    let tag = token.rsplit('-').next().unwrap().to_owned();
    assert_nothing_private(&said, &[token, tag]);
}

/// Everything that a caller can do wrong, with something private in it.
async fn misuse(call: &impl Fn(Method, &str) -> reqwest::RequestBuilder, link: &str) {
    let wrong_key = call(Method::GET, "/alerts").bearer_auth(GUESSED).send();
    assert_eq!(wrong_key.await.unwrap().status(), 401);
    let not_json = call(Method::POST, "/alerts").bearer_auth(THE_ONE).body(format!("{{ {TEXT}: {PHONE}"));
    assert_eq!(not_json.send().await.unwrap().status(), 400);
    let wrong_fields = json!({ "message": 7, TEXT: PHONE, "users": [{ "name": TEXT, "channels": [{ "type": "sms", "id_num": BAD_PHONE }] }] });
    let wrong_fields = call(Method::POST, "/alerts").bearer_auth(THE_ONE).json(&wrong_fields).send();
    assert_eq!(wrong_fields.await.unwrap().status(), 422);
    let query = call(Method::GET, &format!("/alerts?{QUERY}={QUERY}&cursor={PHONE}")).bearer_auth(THE_ONE).send();
    assert_eq!(query.await.unwrap().status(), 422);
    let nowhere = call(Method::GET, &format!("/{TEXT}/{PHONE}?key={THE_ONE}")).send();
    assert_eq!(nowhere.await.unwrap().status(), 404);
    let mut other_link = link.to_owned();
    let last = other_link.pop().unwrap();
    other_link.push(if last == '0' { '1' } else { '0' });
    assert_eq!(call(Method::POST, &other_link).send().await.unwrap().status(), 404);
    let webhook = json!({ "message_uuid": REASON, "from": PHONE, "text": REPLY, "status": "read" });
    let unsigned = call(Method::POST, "/webhooks/status").json(&webhook).send();
    assert_eq!(unsigned.await.unwrap().status(), 503);
    let forged = call(Method::POST, "/webhooks/inbound").json(&webhook).bearer_auth(GUESSED).send();
    assert_eq!(forged.await.unwrap().status(), 401);
}

#[tokio::test]
async fn a_vonage_that_repeats_everything_it_was_told_puts_nothing_private_into_the_log() {
    let folder = TempDir::new().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    configure(folder.path(), listener.local_addr().unwrap(), &tony());
    let (told, mut tokens_told) = tokio::sync::mpsc::unbounded_channel();
    let repeat = move |headers: HeaderMap, body: Bytes| async move {
        let token = bearer_tokens(&headers).unwrap();
        let body = String::from_utf8_lossy(&body).into_owned();
        let status = if body.contains(PSID) { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::UNAUTHORIZED };
        let words = format!("{token} may not send {body} to +{PHONE}");
        told.send(token).unwrap();
        (status, Json(json!({ "type": "https://x#1150", "title": words, "detail": words, "instance": body })))
    };
    let vonage = axum::Router::new().fallback(repeat);
    let tasks = TaskTracker::new();
    let stop = CancellationToken::new();
    let until = stop.clone();
    tasks.spawn(async move { axum::serve(listener, vonage).with_graceful_shutdown(until.cancelled_owned()).await });

    let program = Program::serve(folder.path(), &ENVIRONMENT);
    let address = program.address().await;
    let request = client().post(format!("http://{address}/alerts")).bearer_auth(THE_ONE).json(&alert());
    assert_eq!(request.send().await.unwrap().status(), 201);
    // Refused by Messenger, and then again and again in trouble over SMS.
    let mut tokens = Vec::new();
    for _ in 0..3 {
        tokens.push(tokens_told.recv().await.unwrap());
    }
    program.until_it_says("Vonage refused the message").await;
    let said = program.stop().await;
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    let signatures: Vec<String> =
        tokens.iter().filter_map(|token| token.rsplit('.').next()).map(str::to_owned).collect();
    assert_eq!(signatures.len(), 3);
    assert_nothing_private(&said, &[tokens, signatures].concat());
}

#[tokio::test]
async fn without_a_signature_secret_each_start_says_so_loudly() {
    let folder = TempDir::new().unwrap();
    configure(folder.path(), "127.0.0.1:1".parse().unwrap(), &tony());
    for start in 0..2 {
        let program = Program::serve(folder.path(), &[("CALLOUT_API_KEY", THE_ONE)]);
        let address = program.address().await;
        let ready: Value = client().get(format!("http://{address}/readyz")).send().await.unwrap().json().await.unwrap();
        assert!(ready["warnings"][0].as_str().unwrap().contains("webhooks are not verified"), "{ready}");
        let said = program.stop().await;
        let loud = said.lines().any(|line| line.contains("WARN") && line.contains("webhooks are NOT verified"));
        assert!(loud, "start {start}:\n{said}");
    }
}

#[test]
fn all_stories_of_the_front_door_together_put_nothing_private_into_the_log() {
    let stories = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["http_", "--test-threads=2"])
        .env(LOG_OF_THE_STORIES, "trace")
        .output()
        .unwrap();
    assert!(stories.status.success(), "{}", String::from_utf8_lossy(&stories.stdout));
    let log = String::from_utf8_lossy(&stories.stderr);
    let n_alerts = log.lines().filter(|line| line.contains("event=\"raised\"")).count();
    assert!(n_alerts > 100, "only {n_alerts} alerts were told of");
    let message = "Main server is down";
    for private in [KEY, TONYS_PSID, TONYS_NUMBER, ANNS_NUMBER, message, AM, LEGACY, "has 2 % left", "PRIVATE KEY"] {
        let leaks: Vec<&str> = log.lines().filter(|line| line.contains(private)).take(3).collect();
        assert!(leaks.is_empty(), "{private} stands in the log:\n{}", leaks.join("\n"));
    }
}
