//! Where the processes of a story live: a folder, a stand-in Vonage, and one callout after the other.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use callout::clock::{Clock, SteadyClock, system_now};
use callout::timestamp::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard, oneshot};

use crate::shim::Shim;

/// Far more than anything here takes; a test that waits so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
pub(crate) const API_KEY: &str = "the-key-of-the-tests-that-torture";
const SIGNATURE_SECRET: &str = "the-signature-secret-of-the-tests-that-torture";
const PRIVATE_KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/keys/test-only.pem");
/// How many times faster than real time the stand-in's people live.
pub(crate) const SPEED: u32 = 5;

/// Waits without regard to anything.
pub(crate) async fn pause(time: Duration) {
    SteadyClock::system().sleep_until(system_now().plus(time)).await;
}

/// How many stories are played at a time: most of what they do is waiting.
const STORIES_AT_A_TIME: u32 = 2;

static STAGE: RwLock<()> = RwLock::const_with_max_readers((), STORIES_AT_A_TIME);

/// The story is played beside another one, which may make it a little late.
pub(crate) async fn beside_another() -> RwLockReadGuard<'static, ()> {
    STAGE.read().await
}

/// The story is played alone, because it measures how much is done in a time.
pub(crate) async fn alone() -> RwLockWriteGuard<'static, ()> {
    STAGE.write().await
}

/// A folder for files that are written once and looked at once: in memory, where there is such a place.
pub(crate) fn quick_folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// Waits until something is so.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            pause(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.unwrap_or_else(|_late| panic!("never came: {what}"))
}

/// A port that is free now and not among those that the system gives to anybody, since it is used
/// again after each kill.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 22_000 + u16::try_from(std::process::id() % 90).unwrap() * 10;
    for _ in 0..1_000 {
        let port = 22_000 + (first - 22_000 + NEXT.fetch_add(1, Ordering::Relaxed)) % 1_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port from 22000 to 22999 is free");
}

/// What a process has said on standard error so far.
pub(crate) type Log = Arc<Mutex<Vec<String>>>;

/// Ends a process that the test has begun, whatever comes of the test.
#[derive(Debug)]
pub(crate) struct Guarded(pub(crate) Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        // It may have ended already.
        let _killed = self.0.kill();
        let _waited = self.0.wait();
    }
}

/// Starts a process, and waits until it has said these words or has ended.
async fn begin(mut command: Command, words: &'static str) -> (Guarded, Log, bool) {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let log = Log::default();
    let (told, hears) = oneshot::channel();
    let kept = Arc::clone(&log);
    std::thread::spawn(move || {
        let mut told = Some(told);
        for line in stderr.lines().map_while(Result::ok) {
            let is_it = line.contains(words);
            kept.lock().unwrap().push(line);
            if is_it && let Some(told) = told.take() {
                // The test may be over.
                let _heard = told.send(());
            }
        }
    });
    let listens = tokio::time::timeout(PATIENCE, hears).await.expect("it listens, or ends, in time");
    (Guarded(child), log, listens.is_ok())
}

/// Asks the stand-in for something that it refuses, and when that was for it.
async fn same_moment(http: &reqwest::Client, sandbox: &str) -> (Timestamp, Timestamp) {
    let refused = http.post(format!("{sandbox}/v1/messages")).body("{}").send().await.unwrap();
    let here = system_now();
    assert!(!refused.status().is_success());
    let requests: Value = http.get(format!("{sandbox}/requests")).send().await.unwrap().json().await.unwrap();
    (here, requests["requests"][0]["at"].as_str().unwrap().parse().unwrap())
}

/// The folder, the stand-in, and how callout is told to behave.
pub(crate) struct Home {
    pub(crate) folder: TempDir,
    pub(crate) http: reqwest::Client,
    pub(crate) port: u16,
    pub(crate) sandbox_port: u16,
    host: String,
    store: String,
    /// One moment, by our clock and by the stand-in's.
    same_moment: (Timestamp, Timestamp),
    _sandbox: Guarded,
}

/// Who has been called how, by policy; the plan that each alert must keep to.
pub(crate) const POLICIES: [(&str, &[&str]); 5] = [
    ("quick", &["Anna"]),
    ("climb", &["Tony", "Anna"]),
    ("failing", &["Maria", "Joe"]),
    ("nobody", &["Tony", "Joe"]),
    ("far", &["Joe", "Tony", "Maria"]),
];
/// The channels of each user, in order.
pub(crate) const USERS: [(&str, &[&str]); 4] = [
    ("Tony", &["whatsapp", "sms"]),
    ("Anna", &["whatsapp", "sms"]),
    ("Maria", &["viber_service", "whatsapp"]),
    ("Joe", &["sms"]),
];
pub(crate) const EXPIRY_SECONDS: u32 = 1;

/// The number of a user.
pub(crate) fn number(user: &str) -> String {
    let index = USERS.iter().position(|(name, _)| *name == user).unwrap();
    format!("44770090000{}", index + 1)
}

fn config() -> Value {
    let users: Vec<Value> = USERS
        .iter()
        .map(|(name, channels)| {
            let number = number(name);
            let channel = |kind: &&str| json!({ "type": kind, "id_num": number, "expiry_time": EXPIRY_SECONDS });
            json!({ "name": name, "channels": channels.iter().map(channel).collect::<Vec<_>>() })
        })
        .collect();
    let policies: Vec<Value> =
        POLICIES.iter().map(|(name, users)| json!({ "name": name, "users": users, "repeat": 0 })).collect();
    json!({
        "vonage": { "backend": "messages", "application_id": "11111111-2222-4333-8444-555555555555",
            "private_key": PRIVATE_KEY,
            "from": { "sms": "447700900101", "whatsapp": "447700900100", "viber": "15263" } },
        "users": users,
        "policies": policies,
    })
}

/// Tony never looks; Anna reads on WhatsApp; Maria is not on Viber and answers on WhatsApp; Joe's
/// phone is off. Times are the stand-in's own.
fn people() -> Value {
    json!({ "people": [
        { "name": "Tony", "addresses": { "whatsapp": "447700900001", "sms": "447700900001" },
          "whatsapp": { "delivered": "500ms", "read": "never" }, "sms": { "delivered": "1s" } },
        { "name": "Anna", "addresses": { "whatsapp": "447700900002", "sms": "447700900002" },
          "whatsapp": { "delivered": "300ms", "read": "1500ms" }, "sms": { "delivered": "1s" } },
        { "name": "Maria", "addresses": { "viber_service": "447700900003", "whatsapp": "447700900003" },
          "viber_service": { "rejected": { "code": 1300, "after": "500ms" } },
          "whatsapp": { "delivered": "300ms", "reply": { "after": "1s", "text": "on my way" } } },
        { "name": "Joe", "phone": "off", "addresses": { "sms": "447700900004" } },
    ] })
}

impl Home {
    /// With a database in the folder.
    pub(crate) async fn new() -> Self {
        Self::with_store(None).await
    }

    /// With this store, or with a database in the folder.
    pub(crate) async fn with_store(store: Option<String>) -> Self {
        Self::among(store, "127.0.0.1", None).await
    }

    /// With a database in the folder, where the stand-in looks at the wall clock of this shim.
    pub(crate) async fn with_wall_clock(of: &Shim) -> Self {
        Self::among(None, "127.0.0.1", Some(of)).await
    }

    /// With everybody but callout itself at this address.
    pub(crate) async fn among(store: Option<String>, host: &str, shim: Option<&Shim>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("callout.yaml"), config().to_string()).unwrap();
        std::fs::write(folder.path().join("people.yaml"), people().to_string()).unwrap();
        let (port, sandbox_port) = (free_port(), free_port());
        let mut command = Command::new(env!("CARGO_BIN_EXE_callout"));
        command.env_clear().current_dir(folder.path()).args(["sandbox", "--people", "people.yaml"]);
        command.args(["--listen", &format!("{host}:{sandbox_port}"), "--speed", &SPEED.to_string()]);
        command.args(["--webhooks", &format!("http://{host}:{port}"), "--signature-secret", SIGNATURE_SECRET]);
        if let Some(shim) = shim {
            shim.preload(&mut command);
        }
        let (sandbox, log, listens) = begin(command, "listens on").await;
        assert!(listens, "the sandbox does not start: {:?}", log.lock().unwrap());
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().unwrap();
        let store = store.unwrap_or_else(|| format!("sqlite:{}", folder.path().join("callout.db").display()));
        let same_moment = same_moment(&http, &format!("http://{host}:{sandbox_port}")).await;
        Self { folder, http, host: host.to_owned(), port, sandbox_port, store, same_moment, _sandbox: sandbox }
    }

    /// Where the database server listens, where the alerts are on one.
    pub(crate) fn store_port(&self) -> Option<u16> {
        let server: tokio_postgres::Config = self.store.parse().ok()?;
        server.get_ports().first().copied()
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("callout.db")
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}:{}", self.host, self.port)
    }

    /// The command that starts a callout here.
    pub(crate) fn command(&self) -> Command {
        self.command_at(self.port)
    }

    /// The same at another port.
    pub(crate) fn command_at(&self, port: u16) -> Command {
        self.command_of(Path::new(env!("CARGO_BIN_EXE_callout")), port)
    }

    /// The same with another program.
    pub(crate) fn command_of(&self, program: &Path, port: u16) -> Command {
        let mut command = Command::new(program);
        self.complete(&mut command, &format!("127.0.0.1:{port}"));
        command
    }

    /// Says to a callout what it needs to know.
    fn complete(&self, command: &mut Command, listen: &str) {
        command.env_clear().current_dir(self.folder.path());
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("CALLOUT_API_KEY", API_KEY).env("CALLOUT_SIGNATURE_SECRET", SIGNATURE_SECRET);
        command.env("CALLOUT_MAX_PER_SECOND", "0");
        command.args(["serve", "--listen", listen, "--store", &self.store]);
        command.args(["--vonage-url", &format!("http://{}:{}", self.host, self.sandbox_port)]);
    }

    /// Starts a callout; returns once it listens or has ended.
    pub(crate) async fn start(&self, shim: Option<&Shim>) -> Result<Server, Ended> {
        let mut command = self.command();
        if let Some(shim) = shim {
            shim.preload(&mut command);
        }
        Self::start_command(command).await
    }

    /// The same with a command that is still to be told what callout needs to know.
    pub(crate) async fn start_with(&self, mut command: Command, listen: &str, config: &Path) -> Result<Server, Ended> {
        self.complete(&mut command, listen);
        command.arg("--config").arg(config);
        Self::start_command(command).await
    }

    pub(crate) async fn start_command(command: Command) -> Result<Server, Ended> {
        let spawned = system_now();
        let (mut process, log, listens) = begin(command, "callout listens on").await;
        if listens {
            return Ok(Server { process, log, spawned, listens: system_now() });
        }
        let code = process.0.wait().unwrap().code();
        let said = log.lock().unwrap().join("\n");
        Err(Ended { code, said, spawned })
    }

    pub(crate) async fn get(&self, url: &str) -> Option<Value> {
        let answer = self.http.get(url).bearer_auth(API_KEY).send().await.ok()?;
        if answer.status() != 200 {
            return None;
        }
        answer.json().await.ok()
    }

    /// An alert as callout shows it.
    pub(crate) async fn alert(&self, id: &str) -> Option<Value> {
        self.get(&format!("{}/alerts/{id}", self.url())).await
    }

    /// What the stand-in answers there.
    pub(crate) async fn sandbox(&self, path: &str) -> Value {
        let url = format!("http://{}:{}{path}", self.host, self.sandbox_port);
        self.http.get(url).send().await.unwrap().json().await.unwrap()
    }

    /// Posts an alert once; the status of the answer, if there was one.
    pub(crate) async fn post_once(&self, message: &str) -> Option<u16> {
        static N_POSTED: AtomicU16 = AtomicU16::new(0);
        let n_posted = N_POSTED.fetch_add(1, Ordering::Relaxed);
        let body = json!({ "message": format!("{message}, post {n_posted}"), "policy": "quick" });
        let request = self.http.post(format!("{}/alerts", self.url())).bearer_auth(API_KEY).json(&body);
        request.send().await.ok().map(|answer| answer.status().as_u16())
    }

    /// When it was for us what it was for the stand-in then, whose time runs faster.
    pub(crate) fn real_time(&self, there: Timestamp) -> Timestamp {
        let (here, then) = self.same_moment;
        here.plus(there.since(then) / SPEED)
    }

    /// Every alert that callout knows, in the short form.
    pub(crate) async fn all_alerts(&self) -> Vec<Value> {
        let mut alerts = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = self.get(&format!("{}/alerts?limit=200{cursor}", self.url())).await.unwrap();
            alerts.extend(page["alerts"].as_array().unwrap().iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return alerts,
            }
        }
    }
}

/// A running `callout serve`.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) process: Guarded,
    pub(crate) log: Log,
    /// Just before it was begun.
    pub(crate) spawned: Timestamp,
    /// When it said that it listens.
    pub(crate) listens: Timestamp,
}

/// A `callout serve` that ended before it listened.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code; none where a signal ended it.
    pub(crate) code: Option<i32>,
    /// What it said.
    pub(crate) said: String,
    /// Just before it was begun.
    pub(crate) spawned: Timestamp,
}

impl Server {
    /// As `kill -9` does.
    pub(crate) fn kill(&mut self) {
        // It may have died by itself at a named point.
        let _killed = self.process.0.kill();
        self.process.0.wait().unwrap();
    }

    /// How it has ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.process.0.try_wait().unwrap()
    }

    /// As `kill` does; returns the exit code.
    pub(crate) async fn terminate(&mut self) -> Option<i32> {
        signal(self.process.0.id(), "TERM");
        let mut patience = 1_000;
        loop {
            if let Some(status) = self.ended() {
                return status.code();
            }
            patience -= 1;
            assert!(patience > 0, "it does not end: {}", self.said());
            pause(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn said(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }
}

pub(crate) fn signal(process: u32, name: &str) {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(process.to_string()).status().unwrap();
    assert!(sent.success());
}

/// Copies the database's files as they are.
pub(crate) fn copy_database(from: &Path, to: &Path) {
    for end in ["", "-wal"] {
        let named = |path: &Path| PathBuf::from(format!("{}{end}", path.display()));
        if named(from).exists() {
            std::fs::copy(named(from), named(to)).unwrap();
        }
    }
}
