//! What is measured: a callout process or a floor, with its folder, address and process id.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;

use crate::provider::Message;
use crate::wire::Wire;

pub(crate) const API_KEY: &str = "bench-key-0123456789abcdef0123456789abcdef";
const SIGNATURE_SECRET: &str = "bench-signature-secret-of-forty-characters";
/// How long a contender may take until it listens; a million alerts take a while the first time.
const START_MAX: Duration = Duration::from_mins(2);

/// A process that is killed when it is dropped.
pub(crate) struct Contender {
    child: Child,
    pub(crate) address: SocketAddr,
    folder: tempfile::TempDir,
    pub(crate) is_callout: bool,
}

/// What a callout is started with.
pub(crate) struct Setup {
    pub(crate) provider: SocketAddr,
    /// The pace of sends; zero means no limit.
    pub(crate) max_per_second: u32,
    /// Where alerts are kept, if it is not in SQLite.
    pub(crate) store: Option<String>,
}

impl Setup {
    pub(crate) fn new(provider: SocketAddr) -> Self {
        Self { provider, max_per_second: 0, store: None }
    }
}

/// How long the first channel of the policy that alerts get by default waits, in seconds.
pub(crate) const EXPIRY: u32 = 3_600;
/// Policies with a shorter wait have its length as their name.
pub(crate) const SHORT_EXPIRIES: std::ops::RangeInclusive<u32> = 5..=60;

impl Contender {
    pub(crate) fn callout(setup: &Setup) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        write_files(folder.path(), setup);
        Self::callout_in(folder)
    }

    /// Starts callout where its files and its store lie already.
    pub(crate) fn callout_in(folder: tempfile::TempDir) -> Self {
        let (child, address) = start_callout(folder.path(), &[]);
        Self { child, address, folder, is_callout: true }
    }

    /// Starts callout within another program that watches it, such as `valgrind`.
    pub(crate) fn callout_within(setup: &Setup, watcher: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        write_files(folder.path(), setup);
        let (child, address) = start_callout(folder.path(), watcher);
        Self { child, address, folder, is_callout: true }
    }

    /// Asks the process to end as a service manager does, and waits until it has.
    pub(crate) fn end(&mut self) {
        let asked = Command::new("kill").arg(self.child.id().to_string()).status().expect("kill");
        assert!(asked.success());
        self.child.wait().expect("it ends");
    }

    pub(crate) fn floor(kind: &str, provider: SocketAddr) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let database = folder.path().join("floor.db");
        let url = format!("http://{provider}/v1/messages");
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--floor", kind]).arg(&database).arg(url).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().expect("it starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("its output");
        BufReader::new(stdout).read_line(&mut line).expect("its address");
        let address = line.trim().parse().expect("an address");
        Self { child, address, folder, is_callout: false }
    }

    /// Kills the process as a power switch would, starts it again, and says how long it took to be ready.
    pub(crate) async fn kill_and_start(&mut self) -> Duration {
        self.child.kill().expect("it is killed");
        self.child.wait().expect("it ends");
        let begun = Instant::now();
        (self.child, self.address) = start_callout(self.folder.path(), &[]);
        self.is_ready().await;
        begun.elapsed()
    }

    /// Makes sure that it says of itself that it is ready.
    pub(crate) async fn is_ready(&self) {
        let mut wire = Wire::connect(self.address).await.expect("it listens");
        let ready = wire.get("/readyz", API_KEY).await.expect("it answers");
        assert_eq!(ready.status, 200, "{}", String::from_utf8_lossy(&ready.body));
    }

    /// Which part of one processor it uses for this long.
    pub(crate) async fn busy_for(&self, watched: Duration) -> f64 {
        let ticks = self.ticks();
        tokio::time::sleep(watched).await;
        (self.ticks() - ticks) as f64 / 100.0 / watched.as_secs_f64()
    }

    /// Resident memory in bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.of_status("VmRSS:")
    }

    /// The most memory that was ever resident, in bytes.
    pub(crate) fn memory_at_its_peak(&self) -> u64 {
        self.of_status("VmHWM:")
    }

    fn of_status(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1_024
    }

    /// Processor time used so far, in ticks of a hundredth of a second.
    pub(crate) fn ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        [11, 12].iter().filter_map(|index| fields.get(*index)?.parse::<u64>().ok()).sum()
    }

    /// The body of a new alert with this number.
    pub(crate) fn alert(number: u64) -> Vec<u8> {
        Self::alert_of(number, "critical", "default")
    }

    /// The same, of a severity and policy.
    pub(crate) fn alert_of(number: u64, severity: &str, policy: &str) -> Vec<u8> {
        let message = format!("{}{number} /var is full on db-{number}.example.org, 2 % left", crate::provider::MARK);
        let details = json!({ "host": format!("db-{number}"), "mount": "/var", "free_bytes": 41_943_040_u32 });
        json!({ "message": message, "severity": severity, "policy": policy, "details": details })
            .to_string()
            .into_bytes()
    }

    /// A status webhook and its token.
    pub(crate) fn status(message: &Message, status: &str) -> (Vec<u8>, String) {
        let body = json!({
            "message_uuid": message.uuid, "to": "6542087712345678", "from": "108450971234567",
            "channel": "messenger", "timestamp": "2026-01-01T00:00:00Z", "status": status, "client_ref": message.reference,
        });
        let body = body.to_string().into_bytes();
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &body);
        let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let claims = json!({
            "iat": 1_767_225_600, "iss": "Vonage", "jti": random_uuid(), "payload_hash": hash,
            "api_key": "abcd1234", "application_id": "11111111-2222-4333-8444-555555555555",
        });
        let key = EncodingKey::from_secret(SIGNATURE_SECRET.as_bytes());
        let token = jsonwebtoken::encode(&Header::default(), &claims, &key).expect("a token");
        (body, token)
    }

    pub(crate) fn file_bytes(&self) -> u64 {
        let files = std::fs::read_dir(self.folder.path()).expect("a folder").flatten();
        let of_the_database = files.filter(|file| file.file_name().to_string_lossy().contains(".db"));
        of_the_database.filter_map(|file| Some(file.metadata().ok()?.len())).sum()
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        // It may have ended already.
        let _killed = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// The program that is measured.
pub(crate) fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_callout"))
}

pub(crate) fn write_files(folder: &Path, setup: &Setup) {
    let number = |n: u32| format!("4477009{n:05}");
    let two_ways = |name: &str, expiry: u32| {
        json!({ "name": name, "channels": [
            { "type": "messenger", "id_num": "6542087712345678", "expiry_time": expiry },
            { "type": "sms", "id_num": number(1), "expiry_time": EXPIRY },
        ] })
    };
    let mut users = vec![
        two_ways("Tony", EXPIRY),
        json!({ "name": "Ann", "channels": [{ "type": "sms", "id_num": number(2), "expiry_time": EXPIRY }] }),
    ];
    let mut policies = vec![json!({ "name": "default", "users": ["Tony", "Ann"] })];
    for expiry in SHORT_EXPIRIES {
        let name = format!("Tony within {expiry}");
        users.push(two_ways(&name, expiry));
        policies.push(json!({ "name": expiry.to_string(), "users": [name, "Ann"] }));
    }
    let config = json!({
        "server": { "listen": "127.0.0.1:0" },
        "store": setup.store.as_deref().unwrap_or("sqlite:callout.db"),
        "vonage": {
            "url": format!("http://{}", setup.provider), "max_per_second": setup.max_per_second,
            "application_id": "11111111-2222-4333-8444-555555555555", "private_key": "private.key",
            "signature_secret": SIGNATURE_SECRET, "from": { "messenger": "108450971234567", "sms": "447700900100" },
        },
        "users": users,
        "policies": policies,
    });
    std::fs::write(folder.join("callout.yaml"), config.to_string()).expect("a file");
    std::fs::write(folder.join("private.key"), private_key()).expect("a file");
}

fn start_callout(folder: &Path, watcher: &[&str]) -> (Child, SocketAddr) {
    let program = program();
    let mut command = match watcher.split_first() {
        Some((watcher, arguments)) => {
            let mut command = Command::new(watcher);
            command.args(arguments).arg(program);
            command
        }
        None => Command::new(program),
    };
    command.arg("serve").current_dir(folder);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CALLOUT_")) {
        command.env_remove(name);
    }
    command.env("CALLOUT_API_KEY", API_KEY).env("CALLOUT_LOG", "callout=info");
    // What it says for each alert is a part of the work; it goes where a service manager would read it.
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut log = BufReader::new(child.stderr.take().expect("its log"));
    let begun = Instant::now();
    let (mut line, mut told) = (String::new(), String::new());
    let address = loop {
        line.clear();
        let is_alive = log.read_line(&mut line).is_ok_and(|n_bytes| n_bytes > 0);
        told.push_str(&line);
        assert!(is_alive, "callout ended: {told}");
        assert!(begun.elapsed() < START_MAX, "callout does not start: {told}");
        if let Some((_, address)) = line.split_once("callout listens on http://") {
            break address.split_whitespace().next().and_then(|address| address.parse().ok()).expect("an address");
        }
    };
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    (child, address)
}

pub(crate) fn random_uuid() -> String {
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random).expect("random bytes");
    uuid::Builder::from_random_bytes(random).into_uuid().to_string()
}

fn private_key() -> String {
    let pair = KeyPair::generate(KeySize::Rsa2048).expect("a key");
    let der: Pkcs8V1Der<'_> = pair.as_der().expect("its form");
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der.as_ref()))
}
