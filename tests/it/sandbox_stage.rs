//! A running stand-in for Vonage, with somebody in the service's place who writes every webhook down.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may fail as tests do")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use bytes::Bytes;
use callout::clock::{Clock, SteadyClock};
use callout::sandbox::faults::Faults;
use callout::sandbox::habits::People;
use callout::sandbox::ids::Ids;
use callout::sandbox::signature::Secret;
use callout::sandbox::{Options, Sandbox};
use callout::timestamp::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The moment at which every story begins: 2026-03-01T02:15:07Z.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_772_331_307_000);
/// How much faster than real the stories run.
const SPEED: u32 = 1000;
/// After this long, in real time, something that should happen is taken not to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// The signature secret of the account.
pub(crate) const SECRET: &str = "callout-test-signature-secret-0123456789abcdef";
/// The application of the caller.
pub(crate) const APPLICATION: &str = "11111111-2222-4333-8444-555555555555";
/// `{"alg":"RS256","typ":"JWT"}`
const RS256: &str = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9";

/// A webhook as it arrived.
#[derive(Clone)]
pub(crate) struct Hook {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) token: Option<String>,
    pub(crate) bytes: Bytes,
    pub(crate) at: Timestamp,
}

impl Hook {
    pub(crate) fn body(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_default()
    }

    /// The text of a field; empty where it has none.
    pub(crate) fn field(&self, pointer: &str) -> String {
        self.body().pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// When it says that it happened.
    pub(crate) fn happened(&self) -> Timestamp {
        self.field("/timestamp").parse().unwrap()
    }

    pub(crate) fn status(&self) -> String {
        self.field("/status")
    }
}

/// Somebody in the service's place.
#[derive(Clone)]
struct Recorder {
    hooks: watch::Sender<Vec<Hook>>,
    answers: Arc<Mutex<VecDeque<StatusCode>>>,
    /// While it is closed, nobody is answered.
    gate: watch::Sender<Gate>,
    clock: SteadyClock,
}

/// Whether webhooks are answered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    Open,
    Closed,
}

async fn record(State(recorder): State<Recorder>, request: Request) -> StatusCode {
    let (parts, body) = request.into_parts();
    let token = parts.headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
    let hook = Hook {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        token: token.map(|token| token.strip_prefix("Bearer ").unwrap().to_owned()),
        bytes: axum::body::to_bytes(body, 1 << 20).await.unwrap(),
        at: recorder.clock.now(),
    };
    let answer = recorder.answers.lock().unwrap().pop_front().unwrap_or(StatusCode::OK);
    recorder.hooks.send_modify(|hooks| hooks.push(hook));
    recorder.gate.subscribe().wait_for(|gate| *gate == Gate::Open).await.unwrap();
    answer
}

/// The stand-in, its clock, and who listens to it.
pub(crate) struct Stage {
    pub(crate) sandbox: Sandbox,
    pub(crate) clock: SteadyClock,
    pub(crate) url: String,
    recorder: Recorder,
    client: reqwest::Client,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What the stand-in answered.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Reply {
    pub(crate) fn body(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// The text of a field; empty where it has none.
    pub(crate) fn field(&self, pointer: &str) -> String {
        self.body().pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    }
}

impl Stage {
    /// A stand-in that knows these people and misbehaves so.
    pub(crate) async fn open(people: &str, faults: &str) -> Self {
        Self::open_with(people, faults, Some(Secret::new(SECRET))).await
    }

    pub(crate) async fn open_with(people: &str, faults: &str, signature_secret: Option<Secret>) -> Self {
        let clock = SteadyClock::faster(START, SPEED);
        let (hooks, gate) = (watch::Sender::new(Vec::new()), watch::Sender::new(Gate::Open));
        let recorder = Recorder { hooks, answers: Arc::default(), gate, clock };
        let mut tasks = JoinSet::new();
        let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let webhooks = format!("http://{}/below", service.local_addr().unwrap()).parse().unwrap();
        let router = Router::new().fallback(record).with_state(recorder.clone());
        tasks.spawn(async move { axum::serve(service, router).await.unwrap() });
        let people = People::parse("people.yaml", people).unwrap();
        let faults = faults.parse::<Faults>().unwrap();
        let options = Options { signature_secret, people, faults, ids: Ids::Seeded(1), ..Options::new(webhooks) };
        let sandbox = Sandbox::new(options, Arc::new(clock)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (running, stop) = (sandbox.clone(), CancellationToken::new());
        let token = stop.clone();
        tasks.spawn(async move { running.run(listener, token).await.unwrap() });
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        Self { sandbox, clock, url, recorder, client, stop, tasks }
    }

    /// Stops it and waits until it has stopped.
    pub(crate) async fn close(mut self) {
        self.stop.cancel();
        // The first of the two tasks to end is the stand-in; the recorder would go on for ever.
        tokio::time::timeout(PATIENCE, self.tasks.join_next()).await.unwrap().unwrap().unwrap();
    }

    /// The service answers the next webhooks so, and 200 after that.
    pub(crate) fn answer_webhooks(&self, statuses: &[u16]) {
        let statuses = statuses.iter().map(|status| StatusCode::from_u16(*status).unwrap());
        self.recorder.answers.lock().unwrap().extend(statuses);
    }

    /// From now on webhooks are answered, or wait for an answer.
    pub(crate) fn set_gate(&self, gate: Gate) {
        self.recorder.gate.send_replace(gate);
    }

    /// A bearer token that is good now.
    pub(crate) fn bearer(&self) -> String {
        let issued = self.clock.now().as_millis() / 1000;
        // A day is long enough for the slowest machine, even at this speed.
        let claims = json!({ "application_id": APPLICATION, "iat": issued, "exp": issued + 86_400, "jti": "1" });
        let key = jsonwebtoken::EncodingKey::from_secret(b"the application's key");
        let signed = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap();
        format!("Bearer {RS256}.{}", signed.split_once('.').unwrap().1)
    }

    /// Any request with good credentials.
    pub(crate) async fn call(&self, method: &str, path: &str, body: &Value) -> Result<Reply, reqwest::Error> {
        self.call_as(Some(&self.bearer()), method, path, body.to_string()).await
    }

    pub(crate) async fn call_as(
        &self,
        authorization: Option<&str>,
        method: &str,
        path: &str,
        body: String,
    ) -> Result<Reply, reqwest::Error> {
        let request = self.client.request(method.parse().unwrap(), format!("{}{path}", self.url));
        let request = match authorization {
            Some(value) => request.header("authorization", value),
            None => request,
        };
        let response = request.header("content-type", "application/json").body(body).send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Reply { status, headers, text: response.text().await? })
    }

    /// Sends a message and answers its id.
    pub(crate) async fn send(&self, message: &Value) -> String {
        let reply = self.call("POST", "/v1/messages", message).await.unwrap();
        assert_eq!(reply.status, 202, "{}", reply.text);
        reply.field("/message_uuid")
    }

    /// Starts a workflow and answers its id.
    pub(crate) async fn dispatch(&self, workflow: &Value) -> String {
        let reply = self.call("POST", "/v0.1/dispatch", workflow).await.unwrap();
        assert_eq!(reply.status, 202, "{}", reply.text);
        reply.field("/dispatch_uuid")
    }

    /// The webhooks so far.
    pub(crate) fn hooks(&self) -> Vec<Hook> {
        self.recorder.hooks.borrow().clone()
    }

    /// Waits until at least so many webhooks have come, and answers all that have.
    #[track_caller]
    pub(crate) fn hooks_after(&self, least: usize) -> impl Future<Output = Vec<Hook>> + use<> {
        let place = std::panic::Location::caller();
        let mut hooks = self.recorder.hooks.subscribe();
        async move {
            let enough = tokio::time::timeout(PATIENCE, hooks.wait_for(|hooks| hooks.len() >= least)).await;
            let enough = enough.map(|hooks| hooks.unwrap().clone());
            enough.unwrap_or_else(|_| panic!("{place}: only {} webhooks of {least}", hooks.borrow().len()))
        }
    }

    /// The webhooks, waiting for as many as are expected, whose statuses must be these.
    #[track_caller]
    pub(crate) fn expect_statuses(&self, expected: &[&'static str]) -> impl Future<Output = Vec<Hook>> + use<> {
        let place = std::panic::Location::caller();
        let (hooks, expected) = (self.hooks_after(expected.len()), expected.to_vec());
        async move {
            let hooks = hooks.await;
            let seen: Vec<String> = hooks.iter().map(Hook::status).collect();
            assert_eq!(seen, expected, "{place}");
            hooks
        }
    }

    /// Waits until nothing is under way any more: every webhook that was to come has come. Only of use
    /// where nothing is to happen later.
    pub(crate) async fn quiet(&self, n_settled: u64) {
        let settled = self.sandbox.until(PATIENCE, |sandbox| {
            let counts = sandbox.webhooks();
            (counts.waiting == 0 && counts.accepted + counts.refused == n_settled).then_some(())
        });
        settled.await.unwrap_or_else(|error| panic!("{error}: {:?}", self.sandbox.webhooks()));
    }
}

/// A text message to Tony's phone.
pub(crate) fn sms() -> Value {
    json!({
        "message_type": "text", "channel": "sms", "from": "447700900101", "to": "447700900001",
        "text": "[Tony]: Main server is down", "client_ref": "c1.1"
    })
}

/// A `WhatsApp` message to Tony.
pub(crate) fn whatsapp() -> Value {
    json!({
        "message_type": "text", "channel": "whatsapp", "from": "447700900100", "to": "447700900001",
        "text": "[Tony]: Main server is down", "client_ref": "c1.2"
    })
}

/// The claims of a webhook's token.
pub(crate) fn claims(token: &str) -> Value {
    let key = jsonwebtoken::DecodingKey::from_secret(SECRET.as_bytes());
    let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::HS256);
    rules.required_spec_claims.clear();
    rules.validate_exp = false;
    jsonwebtoken::decode::<Value>(token, &key, &rules).map(|token| token.claims).unwrap_or_default()
}
