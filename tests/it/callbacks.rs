//! Callbacks, from the change of an alert to whoever listens, over real sockets.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use callout::alarm::{Alarm, Alarms};
use callout::callback::Topic;
use callout::chance::SeededChance;
use callout::clock::{Clock, SteadyClock, system_now};
use callout::engine::{Engine, Parts, Settings};
use callout::escalation::{Backend, Via};
use callout::id::AlertId;
use callout::metrics::Metrics;
use callout::outgoing::{CALLBACK_WAITS, CallbackParts, Callbacks, Endpoint, Names, SigningKey, SystemNames};
use callout::sender::{Answer, Outbound, Sender};
use callout::store::{Delivery, DeliveryPage, MemoryStore, SqliteStore, Store, Which};
use callout::target::Allowed;
use callout::traces::Traces;
use serde_json::Value;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::engine_stage::{new_alert, tutorial};
use crate::harness::python;

/// How long a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many times as fast as real time the waits between tries pass: three days in four seconds.
const HURRY: u32 = 100_000;
const SECRET: &str = "whsec_ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";

fn key() -> SigningKey {
    let bytes: Vec<u8> = (0x20..=0x3f).collect();
    SigningKey::new(&bytes)
}

/// Takes every message.
struct Willing;

#[async_trait]
impl Sender for Willing {
    async fn send(&self, _outbound: &Outbound) -> Answer {
        Answer::Accepted(None)
    }
}

/// A callback as it came in.
#[derive(Clone, Debug)]
struct Heard {
    id: String,
    timestamp: i64,
    signature: String,
    body: String,
}

impl Heard {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn kind(&self) -> String {
        self.json()["type"].as_str().unwrap().to_owned()
    }
}

/// Listens for callbacks; answers 200 after what it was told to answer first.
#[derive(Default)]
struct Receiver {
    heard: Mutex<Vec<Heard>>,
    answers: Mutex<VecDeque<Response>>,
    always: Mutex<Option<StatusCode>>,
    n_elsewhere: AtomicUsize,
}

struct Listening {
    receiver: Arc<Receiver>,
    address: SocketAddr,
}

async fn hear(State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Bytes) -> Response {
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    receiver.heard.lock().unwrap().push(Heard {
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp").parse().unwrap(),
        signature: header("webhook-signature"),
        body: String::from_utf8(body.to_vec()).unwrap(),
    });
    let next = receiver.answers.lock().unwrap().pop_front();
    let always = *receiver.always.lock().unwrap();
    next.unwrap_or_else(|| always.unwrap_or(StatusCode::OK).into_response())
}

async fn elsewhere(State(receiver): State<Arc<Receiver>>) -> StatusCode {
    receiver.n_elsewhere.fetch_add(1, Ordering::Relaxed);
    StatusCode::OK
}

impl Listening {
    async fn open() -> Self {
        Self::on("127.0.0.1:0".parse().unwrap()).await
    }

    async fn on(address: SocketAddr) -> Self {
        let receiver = Arc::new(Receiver::default());
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/hook", post(hear)).fallback(elsewhere).with_state(Arc::clone(&receiver));
        drop(TaskTracker::new().spawn(async move { axum::serve(listener, router).await }));
        Self { receiver, address }
    }

    fn endpoint(&self) -> Endpoint {
        endpoint(&format!("http://{}/hook", self.address))
    }

    fn heard(&self) -> Vec<Heard> {
        self.receiver.heard.lock().unwrap().clone()
    }

    fn kinds(&self) -> Vec<String> {
        self.heard().iter().map(Heard::kind).collect()
    }

    fn answers(&self, answers: impl IntoIterator<Item = Response>) {
        self.receiver.answers.lock().unwrap().extend(answers);
    }

    fn always(&self, status: StatusCode) {
        *self.receiver.always.lock().unwrap() = Some(status);
    }
}

fn endpoint(url: &str) -> Endpoint {
    let mut allowed = Allowed::default();
    allowed.allow("127.0.0.1");
    Endpoint { url: Url::parse(url).unwrap(), keys: vec![key()], topics: Topic::ALL.into(), allowed }
}

/// An engine with callbacks over a store.
struct Story {
    engine: Engine,
    callbacks: Callbacks,
    store: Arc<dyn Store>,
    alarms: Arc<Alarms>,
}

impl Story {
    async fn begin(store: Arc<dyn Store>, endpoints: Vec<Endpoint>) -> Self {
        Self::with(store, endpoints, Arc::new(SystemNames), HURRY).await
    }

    async fn with(store: Arc<dyn Store>, endpoints: Vec<Endpoint>, names: Arc<dyn Names>, hurry: u32) -> Self {
        let metrics = Arc::new(Metrics::new());
        let alarms = Arc::new(Alarms::new(Arc::clone(&metrics)));
        let parts = Parts {
            store: Arc::clone(&store),
            sender: Arc::new(Willing),
            // Escalations keep to real time, so that nothing happens but what the story says.
            clock: Arc::new(SteadyClock::system()),
            chance: Arc::new(SeededChance::new(1)),
            metrics: Arc::clone(&metrics),
            alarms: Arc::clone(&alarms),
            traces: Traces::off(),
            link_secret: [7; 32],
            settings: Settings::default(),
        };
        let engine = Engine::start(parts).await.unwrap();
        let parts = CallbackParts {
            store: Arc::clone(&store),
            clock: Arc::new(SteadyClock::faster(system_now(), hurry)),
            wall_clock: system_now,
            chance: Arc::new(SeededChance::new(2)),
            metrics,
            alarms: Arc::clone(&alarms),
            names,
            changes: engine.changes(),
        };
        let callbacks = Callbacks::start(parts, endpoints, Some("https://callout.example".into())).unwrap();
        Self { engine, callbacks, store, alarms }
    }

    async fn raise(&self) -> AlertId {
        use callout::engine::Raising;
        let Raising::Created(alert) = self.engine.raise(new_alert(&tutorial(Backend::Messages)), None).await.unwrap()
        else {
            panic!("it is new");
        };
        let id = alert.id();
        until("the first message has gone out", || async { self.engine.alert(id).await.unwrap().timeline.len() >= 2 })
            .await;
        id
    }

    async fn raise_and_acknowledge(&self) -> AlertId {
        let id = self.raise().await;
        drop(self.engine.acknowledge(id, "Tony", Via::Link, None).await.unwrap());
        id
    }

    async fn kept(&self, is_dead: bool) -> Vec<Delivery> {
        let page = DeliveryPage { is_dead, before: None, limit: 200 };
        self.store.outbox().unwrap().deliveries(page).await.unwrap()
    }

    async fn end(self) {
        self.callbacks.stop().await;
        self.engine.stop().await;
    }
}

/// Waits for something that must happen.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) {
    let clock = SteadyClock::system();
    let limit = clock.now().plus(PATIENCE);
    while !is_so().await {
        assert!(clock.now() < limit, "in vain: {what}");
        clock.sleep_until(clock.now().plus(Duration::from_millis(5))).await;
    }
}

const STORY: [&str; 3] = ["alert.raised", "alert.sent", "alert.acknowledged"];

#[tokio::test(flavor = "multi_thread")]
async fn who_listens_hears_the_story_of_an_alert_in_its_order() {
    let directory = tempfile::tempdir().unwrap();
    for store in [in_memory(), in_a_file(directory.path())] {
        let listening = Listening::open().await;
        let story = Story::begin(store, vec![listening.endpoint()]).await;
        let id = story.raise_and_acknowledge().await;
        drop(story.engine.resolve(id, "Anna").await.unwrap());
        until("four callbacks", || async { listening.heard().len() == 4 }).await;
        assert_eq!(listening.kinds(), [&STORY[..], &["alert.resolved"]].concat());
        let heard = listening.heard();
        let acknowledged = heard[2].json();
        let data = &acknowledged["data"];
        assert_eq!(data["alert_id"], id.to_string());
        assert_eq!(
            (&data["status"], &data["by"], &data["via"]),
            (&"acknowledged".into(), &"Tony".into(), &"link".into())
        );
        assert_eq!(data["url"], format!("https://callout.example/alerts/{id}"));
        assert_eq!(
            (&heard[1].json()["data"]["user"], &heard[1].json()["data"]["channel"]),
            (&"Tony".into(), &"messenger".into())
        );
        for callback in &heard {
            assert!(!callback.id.contains('.') && callback.body.len() < 20_000);
            assert!(
                !callback.body.contains("6542087712345678") && !callback.body.contains("Main server"),
                "nothing private"
            );
        }
        until("what was delivered is forgotten", || async { story.kept(false).await.is_empty() }).await;
        story.end().await;
    }
}

fn in_memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new())
}

fn in_a_file(directory: &Path) -> Arc<dyn Store> {
    std::fs::create_dir_all(directory).unwrap();
    Arc::new(SqliteStore::open(&directory.join("callout.db")).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_told_before_the_process_died_is_told_after_it() {
    let directory = tempfile::tempdir().unwrap();
    // Nobody listens there.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let story = Story::with(
        in_a_file(directory.path()),
        vec![endpoint(&format!("http://{address}/hook"))],
        Arc::new(SystemNames),
        1,
    )
    .await;
    story.raise_and_acknowledge().await;
    assert_eq!(story.kept(false).await.len(), 3, "each was kept in the commit of its change");
    story.engine.abandon();
    story.end().await;

    let listening = Listening::on(address).await;
    let story = Story::begin(in_a_file(directory.path()), vec![listening.endpoint()]).await;
    until("the callbacks", || async { listening.heard().len() >= 3 }).await;
    assert_eq!(listening.kinds(), STORY);
    story.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_callback_is_tried_again_under_the_same_id_and_later_ones_wait_for_it() {
    let listening = Listening::open().await;
    let busy = (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "600")]).into_response();
    let moved = (StatusCode::FOUND, [("location", "/elsewhere")]).into_response();
    listening.answers([StatusCode::INTERNAL_SERVER_ERROR.into_response(), busy, moved]);
    let story = Story::begin(in_memory(), vec![listening.endpoint()]).await;
    story.raise_and_acknowledge().await;
    until("the callbacks", || async { listening.heard().len() >= 6 }).await;
    let heard = listening.heard();
    assert_eq!(
        listening.kinds(),
        ["alert.raised"; 4].into_iter().chain(["alert.sent", "alert.acknowledged"]).collect::<Vec<_>>()
    );
    for again in &heard[1..4] {
        assert_eq!((&again.id, &again.body), (&heard[0].id, &heard[0].body));
    }
    assert_eq!(listening.receiver.n_elsewhere.load(Ordering::Relaxed), 0, "no redirect is followed");
    story.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_days_a_callback_is_given_up_and_can_be_replayed() {
    let listening = Listening::open().await;
    listening.always(StatusCode::INTERNAL_SERVER_ERROR);
    let only_raised = Endpoint { topics: vec![Topic::Raised], ..listening.endpoint() };
    let story = Story::begin(in_memory(), vec![only_raised]).await;
    let mut told = story.alarms.listen();
    story.raise().await;
    until("it is given up", || async { !story.kept(true).await.is_empty() }).await;
    let dead = story.kept(true).await;
    assert_eq!((dead.len(), dead[0].failure.as_deref()), (1, Some("HTTP 500")));
    assert_eq!(listening.heard().len(), CALLBACK_WAITS.len() + 1);
    assert_eq!(told.recv().await.unwrap().alarm, Alarm::DeliveryDead);
    listening.always(StatusCode::NO_CONTENT);
    let outbox = story.store.outbox().unwrap();
    assert_eq!(outbox.replay(Which::At(dead[0].place + 1), system_now()).await.unwrap(), 0);
    assert_eq!(outbox.replay(Which::At(dead[0].place), system_now()).await.unwrap(), 1);
    story.callbacks.look();
    until("it is delivered", || async { story.kept(false).await.is_empty() }).await;
    let heard = listening.heard();
    assert_eq!(heard.last().unwrap().id, heard[0].id, "receivers know it again");
    story.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_says_it_is_gone_gets_nothing_more_until_a_reload() {
    let listening = Listening::open().await;
    listening.always(StatusCode::GONE);
    let story = Story::begin(in_memory(), vec![listening.endpoint()]).await;
    let mut told = story.alarms.listen();
    story.raise_and_acknowledge().await;
    assert_eq!(told.recv().await.unwrap().alarm, Alarm::EndpointGone);
    story.raise_and_acknowledge().await;
    assert_eq!(listening.heard().len(), 1, "the first was the last");
    listening.always(StatusCode::OK);
    story.callbacks.set(vec![listening.endpoint()], None).unwrap();
    until("everything is told", || async { story.kept(false).await.is_empty() }).await;
    assert!(listening.kinds().contains(&"alarm.raised".to_owned()), "{:?}", listening.kinds());
    story.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_hangs_holds_up_no_other() {
    let hanging = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let slow = endpoint(&format!("http://{}/hook", hanging.local_addr().unwrap()));
    let listening = Listening::open().await;
    let story = Story::begin(in_memory(), vec![slow, listening.endpoint()]).await;
    for _ in 0..20 {
        story.raise_and_acknowledge().await;
    }
    until("the other hears all of it", || async { listening.heard().len() == 60 }).await;
    story.callbacks.set(Vec::new(), None).unwrap();
    story.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_hears_only_what_it_wants_to() {
    let listening = Listening::open().await;
    let choosy = Endpoint { topics: vec![Topic::Acknowledged, Topic::Alarm], ..listening.endpoint() };
    let story = Story::begin(in_memory(), vec![choosy]).await;
    let id = story.raise_and_acknowledge().await;
    story.alarms.raise(Alarm::DiskLow, None, system_now());
    until("two callbacks", || async { listening.heard().len() == 2 }).await;
    let mut kinds = listening.kinds();
    kinds.sort();
    assert_eq!(kinds, ["alarm.raised", "alert.acknowledged"]);
    let alarm = listening.heard().into_iter().find(|heard| heard.kind() == "alarm.raised").unwrap().json();
    assert_eq!((&alarm["data"]["alarm"], &alarm["data"]["alert_id"]), (&"disk_low".into(), &Value::Null));
    drop(story.engine.resolve(id, "Tony").await.unwrap());
    assert_eq!(listening.heard().len(), 2);
    story.end().await;
}

/// A name service of somebody who wants to look inside: the world outside first, and then this machine.
#[derive(Default)]
struct Rebinding {
    n_asked: AtomicUsize,
}

#[async_trait]
impl Names for Rebinding {
    async fn addresses(&self, _name: &str) -> io::Result<Vec<IpAddr>> {
        let n_asked = self.n_asked.fetch_add(1, Ordering::Relaxed);
        let outside: IpAddr = "192.0.2.1".parse().unwrap();
        let inside: IpAddr = "127.0.0.1".parse().unwrap();
        Ok(match n_asked % 3 {
            0 => vec![inside],
            1 => vec![inside, outside],
            _ => vec!["::ffff:127.0.0.1".parse().unwrap()],
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_turns_to_the_inside_is_never_connected_to() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let names = Arc::new(Rebinding::default());
    let url = Url::parse(&format!("https://rebinding.example:{port}/hook")).unwrap();
    let rebinding = Endpoint { url, keys: vec![key()], topics: vec![Topic::Raised], allowed: Allowed::default() };
    let story = Story::with(in_memory(), vec![rebinding], Arc::<Rebinding>::clone(&names), HURRY).await;
    story.raise().await;
    until("it is given up", || async { !story.kept(true).await.is_empty() }).await;
    assert!(names.n_asked.load(Ordering::Relaxed) > CALLBACK_WAITS.len(), "each try asks anew");
    let failure = story.kept(true).await[0].failure.clone().unwrap();
    assert!(failure.contains("allow") && !failure.contains("rebinding.example"), "{failure}");
    let connected = tokio::time::timeout(Duration::from_millis(10), listener.accept()).await;
    assert!(connected.is_err(), "somebody connected");
    story.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_library_of_standard_webhooks_takes_our_signatures() {
    let Some(python) = python("standardwebhooks") else { return };
    let listening = Listening::open().await;
    let two_keys = Endpoint { keys: vec![SigningKey::new(&[9; 32]), key()], ..listening.endpoint() };
    let story = Story::begin(in_memory(), vec![two_keys]).await;
    story.raise_and_acknowledge().await;
    until("the callbacks", || async { listening.heard().len() == 3 }).await;
    for heard in listening.heard() {
        let verify = |body: &str| {
            let program = "import sys\nfrom standardwebhooks.webhooks import Webhook\n\
                           secret, body, id, timestamp, signature = sys.argv[1:]\n\
                           headers = {'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': signature}\n\
                           print(Webhook(secret).verify(body, headers)['type'])";
            let timestamp = heard.timestamp.to_string();
            let arguments = ["-c", program, SECRET, body, &heard.id, &timestamp, &heard.signature];
            Command::new(&python).args(arguments).output().unwrap()
        };
        let verified = verify(&heard.body);
        let (printed, complaint) =
            (String::from_utf8_lossy(&verified.stdout), String::from_utf8_lossy(&verified.stderr));
        assert_eq!(printed.trim(), heard.kind(), "{complaint}");
        assert!(!verify(&heard.body.replace("alert", "alarm")).status.success(), "a changed body is not taken");
    }
    story.end().await;
}
