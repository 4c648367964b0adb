//! A whole service on a port of its own, with a Vonage that is played and a clock that is moved by hand.
//!
//! A test says what happens in the world (an alert is posted, Vonage reports, time passes) and then looks
//! through the API, as anybody would. Waiting is for a state, never for a time, and bounded by
//! [`PATIENCE`].

mod answer;
mod clock;
mod left_out;
mod lines;
mod tool;
mod vonage;

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use callout::config::{self, Config, Environment, Flags, Overrides};
use callout::http::Limits;
use callout::service::{self, Service};
use callout::store::{MemoryStore, SqliteStore, Store};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::task::JoinSet;

pub(crate) use answer::Answer;
pub(crate) use clock::HandClock;
pub(crate) use left_out::leave_out;
pub(crate) use lines::Lines;
pub(crate) use tool::{python, tool};
pub(crate) use vonage::{FakeVonage, Mood, Sent, client_ref};

use crate::engine_frail::Frail;

/// Set to a level, it makes the stories log as the service would; `strangers/privacy.rs` reads what they say.
pub(crate) const LOG_OF_THE_STORIES: &str = "CALLOUT_TEST_LOG";
/// How long a test waits for a state that must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// The API key of every test.
pub(crate) const KEY: &str = "test-key-0123456789abcdef0123456789abcdef";
/// Tony's channels are messenger, then sms, five minutes each; Ann's are whatsapp, then viber.
pub(crate) const TONYS_PSID: &str = "6542087712345678";
pub(crate) const TONYS_NUMBER: &str = "447700900001";
pub(crate) const ANNS_NUMBER: &str = "447700900002";

/// Keeps no connection: each test has a runtime of its own, and a connection ends with its runtime.
static CLIENT: LazyLock<reqwest::Client> =
    LazyLock::new(|| reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap());

/// What a service is made of; what is not said is as an operator would begin.
pub(crate) struct Setup {
    pub(crate) backend: &'static str,
    pub(crate) store: Kept,
    pub(crate) signature_secret: Option<&'static str>,
    pub(crate) signature_age_max: Option<u32>,
    pub(crate) public_url: Option<&'static str>,
    pub(crate) limits: Limits,
}

/// Where alerts are kept.
pub(crate) enum Kept {
    InMemory,
    InFile(PathBuf),
    In(Arc<Frail>),
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            backend: "messages",
            store: Kept::InMemory,
            signature_secret: None,
            signature_age_max: None,
            public_url: Some("https://callout.example"),
            limits: Limits::SERVICE,
        }
    }
}

impl Setup {
    pub(crate) fn on_dispatch() -> Self {
        Self { backend: "dispatch", ..Self::default() }
    }

    pub(crate) fn in_file(path: &Path) -> Self {
        Self { store: Kept::InFile(path.to_owned()), ..Self::default() }
    }

    pub(crate) fn in_store(store: &Arc<Frail>) -> Self {
        Self { store: Kept::In(Arc::clone(store)), ..Self::default() }
    }

    /// The configuration as an operator would write it.
    fn file(&self, vonage_url: &str) -> Value {
        let mut file = json!({
            "server": { "listen": "127.0.0.1:0", "api_key": KEY },
            "store": "memory:",
            "vonage": {
                "backend": self.backend,
                "application_id": "11111111-2222-4333-8444-555555555555",
                "private_key": "private.key",
                "url": vonage_url,
                "max_per_second": 0,
                "from": { "messenger": "108450971234567", "viber": "15263", "whatsapp": "447700900100", "sms": "447700900101" },
            },
            "users": [
                { "name": "Tony", "channels": [
                    { "type": "messenger", "id_num": TONYS_PSID, "expiry_time": 300 },
                    { "type": "sms", "id_num": TONYS_NUMBER, "expiry_time": 300 } ] },
                { "name": "Ann", "channels": [
                    { "type": "whatsapp", "id_num": ANNS_NUMBER, "expiry_time": 600 },
                    { "type": "viber_service_msg", "id_num": ANNS_NUMBER, "expiry_time": 600 } ] },
            ],
            "policies": [
                { "name": "default", "users": ["Tony", "Ann"] },
                { "name": "quiet", "users": ["Ann"] },
            ],
        });
        if let Some(secret) = self.signature_secret {
            file["vonage"]["signature_secret"] = secret.into();
        }
        if let Some(seconds) = self.signature_age_max {
            file["vonage"]["signature_age_max"] = seconds.into();
        }
        if let Some(url) = self.public_url {
            file["server"]["public_url"] = url.into();
        }
        file
    }

    pub(crate) async fn start(self) -> Callout {
        if let Some(level) = Environment::of_process().get(LOG_OF_THE_STORIES) {
            callout::telemetry::begin(Some(level), callout::telemetry::Format::Text);
        }
        let vonage = FakeVonage::start().await;
        let file = self.file(&vonage.url());
        let config = read(&file);
        let clock = Arc::new(HandClock::new());
        let store = self.store;
        let open = |_: &Config| -> Result<Arc<dyn Store>, service::Error> {
            Ok(match store {
                Kept::InMemory => Arc::new(MemoryStore::new()),
                Kept::InFile(path) => Arc::new(SqliteStore::open(&path)?),
                Kept::In(store) => store,
            })
        };
        let service = Service::start_with(&config, Arc::<HandClock>::clone(&clock), open).await.unwrap();
        let service = Arc::new(service);
        let mut serving = JoinSet::new();
        let (served, limits) = (Arc::clone(&service), self.limits);
        serving.spawn(async move { served.serve_within(limits).await.unwrap() });
        Callout { vonage, clock, service, file, serving }
    }
}

/// Reads a configuration.
fn read(file: &Value) -> Config {
    let no_environment = Environment::default();
    let overrides = Overrides::new(&Flags::default(), &no_environment);
    let read_key = |_: &Path, _: usize| Ok(include_bytes!("../keys/test-only.pem").to_vec());
    let loaded =
        config::parse(Path::new("test.yaml"), file.to_string().as_bytes(), &overrides, &no_environment, &read_key);
    loaded.unwrap_or_else(|problems| panic!("{problems}")).config
}

/// A running service.
pub(crate) struct Callout {
    pub(crate) vonage: FakeVonage,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) service: Arc<Service>,
    file: Value,
    serving: JoinSet<()>,
}

impl Callout {
    pub(crate) async fn start() -> Self {
        Setup::default().start().await
    }

    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.service.address().unwrap()
    }

    /// A request without a key.
    pub(crate) fn stranger(&self, method: Method, path: &str) -> RequestBuilder {
        CLIENT.request(method, format!("http://{}{path}", self.address()))
    }

    /// A request with the key.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.stranger(method, path).bearer_auth(KEY)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(Method::POST, path).json(body)).await
    }

    /// Posts without a body.
    pub(crate) async fn press(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::POST, path)).await
    }

    pub(crate) async fn post_with_key(&self, path: &str, key: &str, body: &Value) -> Answer {
        Answer::of(self.request(Method::POST, path).header("Idempotency-Key", key).json(body)).await
    }

    /// Raises an alert and returns it once its first message is accepted.
    pub(crate) async fn raise(&self, body: &Value) -> Value {
        let alert = self.post("/alerts", body).await.is(201).json();
        self.until(&alert, "the first message is accepted", |alert| alert["attempts"][0]["sent_at"].is_string()).await
    }

    /// The main server is down.
    pub(crate) async fn raise_any(&self) -> Value {
        self.raise(&json!({ "message": "Main server is down" })).await
    }

    /// The alert as it stands.
    pub(crate) async fn alert(&self, alert: &Value) -> Value {
        self.get(&path_of(alert)).await.is(200).json()
    }

    /// The alert as soon as it is so.
    pub(crate) async fn until(&self, alert: &Value, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let mut changes = self.service.engine().changes();
        let mut newest = Value::Null;
        let wait = async {
            loop {
                newest = self.alert(alert).await;
                if is_so(&newest) {
                    return;
                }
                let _changed = changes.recv().await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        assert!(waited.is_ok(), "it never came to this: {what}\n{newest:#}");
        newest
    }

    pub(crate) async fn until_status(&self, alert: &Value, status: &str) -> Value {
        self.until(alert, status, |alert| alert["status"] == status).await
    }

    /// The time passes until this attempt is sent, and it is.
    pub(crate) async fn comes_to_attempt(&self, alert: &Value, number: u64) -> Value {
        loop {
            let now = self
                .until(alert, "the wait for a read begins", |alert| {
                    alert["status"] != "escalating" || alert["current"]["expires_at"].is_string()
                })
                .await;
            let current = now["current"]["attempt"].as_u64();
            if current == Some(number) {
                return now;
            }
            assert!(current.is_some_and(|current| current < number), "attempt {number} never comes: {now:#}");
            self.clock.reach(now["current"]["expires_at"].as_str().unwrap().parse().unwrap());
            self.until(alert, "it moves on", |alert| alert["current"]["attempt"].as_u64() != current).await;
        }
    }

    /// A webhook without a signature.
    pub(crate) async fn webhook(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.stranger(Method::POST, path).json(body)).await
    }

    /// Vonage reports on a message of Messages.
    pub(crate) async fn report(&self, sent: &Sent, status: &str) -> Answer {
        let body = json!({ "message_uuid": sent.id, "to": sent.to(), "from": "447700900100", "status": status,
            "timestamp": "2026-03-01T02:16:00Z", "channel": sent.channel(), "client_ref": client_ref(sent) });
        self.webhook("/webhooks/status", &body).await
    }

    /// The operator changes the file and has it read again.
    pub(crate) fn reload(&self, change: impl FnOnce(&mut Value)) {
        let mut file = self.file.clone();
        change(&mut file);
        self.service.reload(&read(&file)).unwrap();
    }

    /// Ends the service as an operator would, and waits for it.
    pub(crate) async fn stop(mut self) {
        self.service.stop();
        tokio::time::timeout(PATIENCE, self.serving.join_next()).await.unwrap().unwrap().unwrap();
    }
}

/// The path of an alert.
pub(crate) fn path_of(alert: &Value) -> String {
    format!("/alerts/{}", alert["id"].as_str().unwrap())
}

/// The names of the events in an alert's timeline, in order.
pub(crate) fn events_of(alert: &Value) -> Vec<&str> {
    alert["timeline"].as_array().unwrap().iter().map(|entry| entry["event"].as_str().unwrap()).collect()
}
