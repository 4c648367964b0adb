//! What strangers may not do, and what nobody may see.
//!
//! Each story runs the whole service over real HTTP, with the stand-in for Vonage behind it.

#![expect(clippy::expect_used, clippy::panic, reason = "a story that cannot go on must say so")]

mod attacks;
mod flood;
mod keys;
mod privacy;
pub(crate) mod program;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use callout::clock::{Clock, SteadyClock};
use callout::config::{self, Environment, Flags, Overrides};
use callout::sandbox::signature::Secret;
use callout::sandbox::{Options, Sandbox};
use callout::service::Service;
use callout::timestamp::Timestamp;
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::TEST_ONLY_PRIVATE_KEY;

/// The key that may do everything.
pub(crate) const KEY: &str = "the-key-that-may-do-everything";
/// What the stand-in signs webhooks with.
pub(crate) const SIGNATURE_SECRET: &str = "an-invented-secret-of-more-than-32-characters";
/// Where Tony is reached.
pub(crate) const MESSENGER_ID: &str = "6542087712345678";
pub(crate) const PHONE: &str = "447700900001";

/// A service and a stand-in for Vonage, both listening.
pub(crate) struct Stage {
    pub(crate) service: Arc<Service>,
    pub(crate) sandbox: Sandbox,
    pub(crate) address: SocketAddr,
    client: Client,
    folder: TempDir,
    vonage: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Stage {
    /// With one key that may do everything, in real time.
    pub(crate) async fn usual() -> Self {
        Self::with_server(&format!("api_key: {KEY}")).await
    }

    /// With these lines of the configuration's `server`, in real time.
    pub(crate) async fn with_server(server: &str) -> Self {
        Self::at(server, SteadyClock::system()).await
    }

    /// With these lines of the configuration's `server`, in a time of the test's own.
    pub(crate) async fn at(server: &str, clock: impl Clock) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(clock);
        let folder = TempDir::new().expect("a folder for the test");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let vonage = listener.local_addr().expect("a port");
        let config = configuration(folder.path(), vonage, server);
        let service = Arc::new(Service::start(&config, Arc::clone(&clock)).await.expect("the service starts"));
        let address = service.address().expect("it listens");
        let mut options = Options::new(format!("http://{address}").parse().expect("a URL"));
        options.signature_secret = Some(Secret::new(SIGNATURE_SECRET));
        let sandbox = Sandbox::new(options, clock).expect("the stand-in can be made");
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (playing, until) = (sandbox.clone(), stop.clone());
        tasks.spawn(async move { playing.run(listener, until).await });
        let serving = Arc::clone(&service);
        tasks.spawn(async move { serving.serve().await });
        Self { service, sandbox, address, client: client(), folder, vonage, stop, tasks }
    }

    /// Gives the service a new configuration, with these lines of `server`.
    pub(crate) fn reload(&self, server: &str) {
        self.service.reload(&configuration(self.folder.path(), self.vonage, server)).expect("it is taken");
    }

    /// The folder of the configuration.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A request to the service, without a key.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    /// A request with a key.
    pub(crate) fn with_key(&self, key: &str, method: Method, path: &str) -> RequestBuilder {
        self.request(method, path).bearer_auth(key)
    }

    /// Raises an alert; answers its id.
    pub(crate) async fn raise(&self, body: &Value) -> String {
        let response = self.with_key(KEY, Method::POST, "/alerts").json(body).send().await.expect("an answer");
        assert_eq!(response.status(), 201);
        let alert: Value = response.json().await.expect("an alert");
        alert["id"].as_str().expect("an id").to_owned()
    }

    /// An alert as the API shows it.
    pub(crate) async fn alert(&self, id: &str) -> Value {
        let response = self.with_key(KEY, Method::GET, &format!("/alerts/{id}")).send().await.expect("an answer");
        assert_eq!(response.status(), 200);
        response.json().await.expect("an alert")
    }

    /// Waits until the alert is so.
    pub(crate) async fn until(&self, id: &str, is_so: impl Fn(&Value) -> bool) {
        let mut changes = self.service.engine().changes();
        let so = async {
            while !is_so(&self.alert(id).await) {
                changes.recv().await.expect("the engine runs");
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), so).await.expect("it becomes so in time");
    }

    /// How many rows a table of the database has. The service's own lock keeps other processes out, not this one.
    pub(crate) fn rows(&self, table: &str) -> i64 {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let database =
            rusqlite::Connection::open_with_flags_and_vfs(self.folder().join("callout.db"), flags, c"unix-excl")
                .expect("a database");
        let count = format!("SELECT count(*) FROM {table}");
        database.query_row(&count, [], |row| row.get(0)).expect("a table")
    }

    /// Ends both.
    pub(crate) async fn end(self) {
        self.service.stop();
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// A client whose connections are its own.
pub(crate) fn client() -> Client {
    Client::builder().no_proxy().build().expect("a client")
}

/// The status and the kind of a problem, after everything that each problem promises was checked.
pub(crate) async fn problem(response: Response) -> (u16, String, Value) {
    let status = response.status().as_u16();
    let content_type = response.headers().get("content-type").map(|value| value.to_str().expect("a text").to_owned());
    assert_eq!(content_type.as_deref(), Some("application/problem+json"), "{status}");
    let body: Value = response.json().await.expect("a problem is JSON");
    assert_eq!(body["status"], status);
    assert!(body["title"].is_string() && body["detail"].is_string(), "{body}");
    let kind = body["type"].as_str().expect("a type").trim_start_matches("/problems/").to_owned();
    (status, kind, body)
}

fn configuration(folder: &Path, vonage: SocketAddr, server: &str) -> config::Config {
    let text = configuration_text(vonage, server);
    let environment = Environment::default();
    let overrides = Overrides::new(&Flags::default(), &environment);
    let read_file = |_: &Path, _: usize| Ok(TEST_ONLY_PRIVATE_KEY.as_bytes().to_vec());
    match config::parse(&folder.join("callout.yaml"), text.as_bytes(), &overrides, &environment, &read_file) {
        Ok(loaded) => loaded.config,
        Err(problems) => panic!("{problems}"),
    }
}

/// Writes the configuration for the program, with these lines of `server`.
pub(crate) fn configure(folder: &Path, vonage: SocketAddr, server: &str) {
    std::fs::write(folder.join("callout.yaml"), configuration_text(vonage, server)).expect("a file");
    std::fs::write(folder.join("private.key"), TEST_ONLY_PRIVATE_KEY).expect("a file");
}

fn configuration_text(vonage: SocketAddr, server: &str) -> String {
    let server: String = server.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        r#"
server:
  listen: 127.0.0.1:0
  public_url: https://callout.example.org
{server}
store: sqlite:callout.db
vonage:
  application_id: 3f0c9d52-6b1e-4c7a-9d84-2b7e51a0c6f3
  private_key: private.key
  signature_secret: {SIGNATURE_SECRET}
  max_per_second: 0
  url: http://{vonage}
  from: {{ messenger: "108450971234567", sms: "447700900101" }}
users:
  - name: Tony
    channels:
      - {{ type: messenger, id_num: "{MESSENGER_ID}" }}
      - {{ type: sms, id_num: "{PHONE}" }}
  - name: Anna
    channels:
      - {{ type: sms, id_num: "447700900002" }}
"#
    )
}

/// A clock that a test moves by hand.
#[derive(Clone)]
pub(crate) struct HandClock(watch::Sender<Timestamp>);

impl HandClock {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(Timestamp::from_millis(1_772_331_307_000)))
    }

    /// Lets some milliseconds pass.
    pub(crate) fn pass(&self, millis: u64) {
        self.0.send_modify(|now| *now = now.plus(std::time::Duration::from_millis(millis)));
    }
}

#[async_trait]
impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        *self.0.borrow()
    }

    async fn sleep_until(&self, moment: Timestamp) {
        self.0.subscribe().wait_for(|now| *now >= moment).await.expect("the clock goes on");
    }
}
