//! The real process: how it begins, is told to read its configuration again, and ends.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;

use crate::harness::{Answer, FakeVonage, KEY, Lines, Mood};

/// How long a stop may take.
const STOP_MAX: Duration = Duration::from_secs(20);

/// A running `callout serve`.
pub(crate) struct Process {
    id: u32,
    address: String,
    log: Lines,
    ended: oneshot::Receiver<ExitStatus>,
}

/// The configuration of a process that sends to this Vonage.
pub(crate) fn config(vonage: &FakeVonage) -> Value {
    json!({
        "server": { "listen": "127.0.0.1:0", "api_key": KEY },
        "store": "sqlite:callout.db",
        "vonage": { "application_id": "11111111-2222-4333-8444-555555555555", "private_key": "private.key",
            "url": vonage.url(), "from": { "sms": "447700900101" } },
        "users": [{ "name": "Tony", "channels": [{ "type": "sms", "id_num": "447700900001", "expiry_time": 300 }] }],
    })
}

pub(crate) fn write(folder: &Path, config: &Value) {
    std::fs::write(folder.join("private.key"), include_bytes!("keys/test-only.pem")).unwrap();
    std::fs::write(folder.join("callout.yaml"), config.to_string()).unwrap();
}

fn callout(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_callout"));
    command.args(arguments).current_dir(folder).env_clear().stdin(Stdio::null());
    command
}

impl Process {
    pub(crate) async fn start(folder: &Path) -> Self {
        Self::start_as(callout(folder, &["serve"])).await
    }

    async fn start_as(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let log = Lines::of(child.stderr.take().unwrap());
        let id = child.id();
        let mut process = Self { id, address: String::new(), log, ended: ending(child) };
        let line = process.says("callout listens on http://").await;
        let (_, address) = line.split_once("http://").unwrap();
        process.address.push_str(address.split_whitespace().next().unwrap());
        process
    }

    /// The next line of the log that holds these words.
    async fn says(&mut self, words: &str) -> String {
        self.log.says(words).await
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.id.to_string()).status().unwrap();
        assert!(sent.success());
    }

    /// The exit code, which must come within the time that a stop may take.
    async fn exit_code(&mut self) -> Option<i32> {
        let ended = tokio::time::timeout(STOP_MAX, &mut self.ended).await;
        let Ok(Ok(status)) = ended else { panic!("it does not end within {STOP_MAX:?}") };
        status.code()
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::POST, path, KEY, Some(body)).await
    }

    pub(crate) async fn call(&self, method: Method, path: &str, key: &str, body: Option<&Value>) -> Answer {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.request(method, format!("http://{}{path}", self.address)).bearer_auth(key);
        Answer::of(match body {
            Some(body) => request.json(body),
            None => request,
        })
        .await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _killed = Command::new("kill").arg("-KILL").arg(self.id.to_string()).stderr(Stdio::null()).status();
    }
}

/// Tells when the process has ended, and leaves no zombie.
fn ending(mut child: Child) -> oneshot::Receiver<ExitStatus> {
    let (ended, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        // The test may be over.
        let _told = ended.send(child.wait().unwrap());
    });
    receiver
}

/// What a command that ends by itself says on standard error, and its exit code.
fn run(mut command: Command) -> (Option<i32>, String) {
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (child.wait().unwrap().code(), said)
}

#[tokio::test]
async fn a_stop_ends_with_0_and_records_the_send_that_was_on_its_way() {
    let folder = tempfile::tempdir().unwrap();
    let vonage = FakeVonage::start().await;
    write(folder.path(), &config(&vonage));
    let mut process = Process::start(folder.path()).await;
    vonage.becomes(Mood::Hangs);
    let alert = process.post("/alerts", &json!({ "message": "x" })).await.is(201).json();
    vonage.nth(1).await;
    process.signal("TERM");
    process.says("stopping").await;
    vonage.becomes(Mood::Accepts);
    assert_eq!(process.exit_code().await, Some(0));
    let mut process = Process::start(folder.path()).await;
    let path = format!("/alerts/{}", alert["id"].as_str().unwrap());
    let alert = process.call(Method::GET, &path, KEY, None).await.is(200).json();
    assert_eq!((&alert["attempts"][0]["status"], &alert["attempts"][0]["tries"]), (&json!("sent"), &json!(1)));
    process.signal("INT");
    assert_eq!(process.exit_code().await, Some(0));
    assert_eq!(vonage.sent().len(), 1, "nothing was sent twice");
}

#[tokio::test]
async fn a_stop_ends_with_0_in_time_also_while_a_send_hangs_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let vonage = FakeVonage::start().await;
    write(folder.path(), &config(&vonage));
    let mut process = Process::start(folder.path()).await;
    vonage.becomes(Mood::Hangs);
    process.post("/alerts", &json!({ "message": "x" })).await.is(201);
    vonage.nth(1).await;
    process.signal("TERM");
    assert_eq!(process.exit_code().await, Some(0));
}

#[tokio::test]
async fn whoever_asks_twice_is_not_kept_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let vonage = FakeVonage::start().await;
    write(folder.path(), &config(&vonage));
    let mut process = Process::start(folder.path()).await;
    vonage.becomes(Mood::Hangs);
    process.post("/alerts", &json!({ "message": "x" })).await.is(201);
    vonage.nth(1).await;
    process.signal("TERM");
    process.says("stopping").await;
    process.signal("TERM");
    process.says("asked twice to stop").await;
    assert_eq!(process.exit_code().await, Some(1));
}

#[tokio::test]
async fn a_reload_counts_from_now_on_and_changes_no_running_alert() {
    let folder = tempfile::tempdir().unwrap();
    let vonage = FakeVonage::start().await;
    let mut config = config(&vonage);
    write(folder.path(), &config);
    let mut process = Process::start(folder.path()).await;
    let old = process.post("/alerts", &json!({ "message": "x" })).await.is(201).json();
    config["users"][0]["name"] = "Ann".into();
    config["server"]["api_key"] = "another-key-0123456789abcdef0123456789".into();
    write(folder.path(), &config);
    process.signal("HUP");
    process.says("the configuration was read again").await;
    let path = format!("/alerts/{}", old["id"].as_str().unwrap());
    process.call(Method::GET, &path, KEY, None).await.problem(401, "unauthorized");
    let key = "another-key-0123456789abcdef0123456789";
    let same = process.call(Method::GET, &path, key, None).await.is(200).json();
    assert_eq!(same["current"]["user"], "Tony");
    let body = json!({ "message": "x" });
    let new = process.call(Method::POST, "/alerts", key, Some(&body)).await.is(201).json();
    assert_eq!(new["current"]["user"], "Ann");
}

#[tokio::test]
async fn a_bad_file_is_told_of_and_the_old_configuration_stays() {
    let folder = tempfile::tempdir().unwrap();
    let vonage = FakeVonage::start().await;
    write(folder.path(), &config(&vonage));
    let mut process = Process::start(folder.path()).await;
    std::fs::write(folder.path().join("callout.yaml"), "server:\n  listne: 1\n").unwrap();
    process.signal("HUP");
    process.says("the configuration was NOT taken, the old one stays").await;
    process.says("callout.yaml:2:3:").await;
    process.post("/alerts", &json!({ "message": "x" })).await.is(201);
}

#[tokio::test]
async fn what_only_a_restart_can_change_is_told_of_at_a_reload() {
    let folder = tempfile::tempdir().unwrap();
    let vonage = FakeVonage::start().await;
    let mut config = config(&vonage);
    write(folder.path(), &config);
    let mut process = Process::start(folder.path()).await;
    config["store"] = "sqlite:another.db".into();
    config["server"]["listen"] = "127.0.0.1:9".into();
    write(folder.path(), &config);
    process.signal("HUP");
    process.says("server.listen").await;
    process.says("store").await;
}

#[test]
fn a_bad_configuration_is_2_with_every_problem_and_its_place() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("callout.yaml"), "server:\n  listne: 1\nvonage:\n  backend: pigeons\n").unwrap();
    for command in ["serve", "check"] {
        let (code, said) = run(callout(folder.path(), &[command]));
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("callout.yaml:2:3:") && said.contains("callout.yaml:4:"), "{said}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was started");
    assert_eq!(run(callout(folder.path(), &["serve", "--no-such-flag"])).0, Some(2));
    assert_eq!(run(callout(folder.path(), &["--help"])).0, Some(0));
}

#[tokio::test]
async fn an_address_that_is_taken_is_1_and_nothing_is_begun() {
    let folder = tempfile::tempdir().unwrap();
    let vonage = FakeVonage::start().await;
    let mut config = config(&vonage);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    config["server"]["listen"] = taken.local_addr().unwrap().to_string().into();
    write(folder.path(), &config);
    let (code, said) = run(callout(folder.path(), &["serve"]));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("cannot listen on 127.0.0.1:") && said.contains("in use"), "{said}");
    assert!(!folder.path().join("callout.db").exists());
}

#[tokio::test]
async fn without_an_api_key_one_is_made_that_only_the_owner_can_read() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let vonage = FakeVonage::start().await;
    let mut config = config(&vonage);
    config["server"].as_object_mut().unwrap().remove("api_key");
    write(folder.path(), &config);
    // A file that an earlier start could not finish must not leave the key open.
    let file = folder.path().join("callout.api-key");
    std::fs::write(&file, "").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let mut process = Process::start(folder.path()).await;
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let key = std::fs::read_to_string(&file).unwrap();
    assert!(key.trim().len() >= 40, "it cannot be guessed");
    process.call(Method::GET, "/alerts", key.trim(), None).await.is(200);
    process.signal("TERM");
    assert_eq!(process.exit_code().await, Some(0));
    let process = Process::start(folder.path()).await;
    process.call(Method::GET, "/alerts", key.trim(), None).await.is(200);
}

#[tokio::test]
async fn a_flood_of_connections_keeps_no_message_from_being_sent() {
    let folder = tempfile::tempdir().unwrap();
    let vonage = FakeVonage::start().await;
    let mut config = config(&vonage);
    let channel = json!({ "type": "sms", "id_num": "447700900001", "expiry_time": 1 });
    config["users"][0]["channels"] = json!([channel, channel]);
    write(folder.path(), &config);
    let mut few_files = Command::new("sh");
    few_files.args(["-c", "ulimit -n 300 && exec \"$0\" serve", env!("CARGO_BIN_EXE_callout")]);
    few_files.current_dir(folder.path()).env_clear().stdin(Stdio::null());
    let process = Process::start_as(few_files).await;
    let alert = process.post("/alerts", &json!({ "message": "x" })).await.is(201).json();
    let mut flood = JoinSet::new();
    let connected = Arc::new(Semaphore::new(0));
    for _ in 0..400 {
        let (address, connected) = (process.address.clone(), Arc::clone(&connected));
        flood.spawn(async move {
            let _held = TcpStream::connect(address).await.unwrap();
            connected.add_permits(1);
            std::future::pending::<()>().await;
        });
    }
    // Those that there is no room for may have to wait before they are even connected.
    let _first = connected.acquire_many(100).await.unwrap();
    vonage.nth(2).await;
    drop(flood);
    let path = format!("/alerts/{}", alert["id"].as_str().unwrap());
    let alert = process.call(Method::GET, &path, KEY, None).await.is(200).json();
    assert_eq!(alert["attempts"][1]["tries"], 1, "its first send got through: {alert:#}");
}

#[tokio::test]
async fn the_log_holds_nothing_private() {
    let folder = tempfile::tempdir().unwrap();
    let vonage = FakeVonage::start().await;
    write(folder.path(), &config(&vonage));
    let mut process = Process::start(folder.path()).await;
    let alert = process.post("/alerts", &json!({ "message": "secret words" })).await.is(201).json();
    vonage.nth(1).await;
    let reply = json!({ "channel": "sms", "message_uuid": "in-1", "to": "447700900101", "from": "447700900001",
        "message_type": "text", "text": "other secret words" });
    process.post("/webhooks/inbound", &reply).await.is(200);
    process
        .post("/webhooks/inbound", &json!({ "message_uuid": "x", "status": "odd", "to": "447700900001" }))
        .await
        .is(200);
    process.post("/alerts", &json!({ "message": 447_700_900_001_u64 })).await.is(422);
    process.call(Method::GET, "/alerts", "wrong-secret-key", None).await.is(401);
    process.signal("TERM");
    assert_eq!(process.exit_code().await, Some(0));
    let mut log = String::new();
    while let Some(line) = process.log.next().await {
        log.push_str(&line);
    }
    assert!(log.contains(alert["id"].as_str().unwrap()), "the log tells of the alert: {log}");
    for private in ["447700900001", "secret", KEY, "PRIVATE KEY"] {
        assert!(!log.contains(private), "{private} stands in the log: {log}");
    }
}
