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
    pub(crate) max_per_second: u32,
    /// How long the first channel waits, in seconds.
    pub(crate) expiry: u32,
    pub(crate) store: Option<String>,
}

impl Setup {
    pub(crate) fn new(provider: SocketAddr) -> Self {
        Self { provider, max_per_second: 0, expiry: 3_600, store: None }
    }
}

impl Contender {
    pub(crate) fn callout(setup: &Setup) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let number = |n: u32| format!("4477009{n:05}");
        let config = json!({
            "server": { "listen": "127.0.0.1:0" },
            "store": setup.store.as_deref().unwrap_or("sqlite:callout.db"),
            "vonage": {
                "url": format!("http://{}", setup.provider), "max_per_second": setup.max_per_second,
                "application_id": "11111111-2222-4333-8444-555555555555", "private_key": "private.key",
                "signature_secret": SIGNATURE_SECRET, "from": { "messenger": "108450971234567", "sms": "447700900100" },
            },
            "users": [
                { "name": "Tony", "channels": [
                    { "type": "messenger", "id_num": "6542087712345678", "expiry_time": setup.expiry },
                    { "type": "sms", "id_num": number(1), "expiry_time": 3_600 } ] },
                { "name": "Ann", "channels": [{ "type": "sms", "id_num": number(2), "expiry_time": 3_600 }] },
            ],
        });
        std::fs::write(folder.path().join("callout.yaml"), config.to_string()).expect("a file");
        std::fs::write(folder.path().join("private.key"), private_key()).expect("a file");
        let (child, address) = start_callout(folder.path());
        Self { child, address, folder, is_callout: true }
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
        (self.child, self.address) = start_callout(self.folder.path());
        let mut wire = Wire::connect(self.address).await.expect("it listens");
        let ready = wire.get("/readyz").await.expect("it answers");
        assert_eq!(ready.status, 200, "{}", String::from_utf8_lossy(&ready.body));
        begun.elapsed()
    }

    /// Resident memory in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
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
        let message = format!("{}{number} /var is full on db-{number}.example.org, 2 % left", crate::provider::MARK);
        let details = json!({ "host": format!("db-{number}"), "mount": "/var", "free_bytes": 41_943_040_u32 });
        json!({ "message": message, "severity": "critical", "details": details }).to_string().into_bytes()
    }

    /// A status webhook and its token. The floor knows the alert by its number, callout by the message.
    pub(crate) fn status(&self, number: u64, message_uuid: &str, status: &str) -> (Vec<u8>, String) {
        let reference = if self.is_callout { "of-another-kind".to_owned() } else { number.to_string() };
        let body = json!({
            "message_uuid": message_uuid, "to": "6542087712345678", "from": "108450971234567", "channel": "messenger",
            "timestamp": "2026-01-01T00:00:00Z", "status": status, "client_ref": reference,
        });
        let body = body.to_string().into_bytes();
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &body);
        let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let claims = json!({ "iat": 1_767_225_600, "iss": "Vonage", "jti": message_uuid, "payload_hash": hash });
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

fn start_callout(folder: &Path) -> (Child, SocketAddr) {
    let mut command = Command::new(program());
    command.arg("serve").current_dir(folder).env_clear().env("CALLOUT_API_KEY", API_KEY).env("CALLOUT_LOG", "callout=info");
    // What it says for each alert is a part of the work; it goes where a service manager would read it.
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut log = BufReader::new(child.stderr.take().expect("its log"));
    let begun = Instant::now();
    let mut line = String::new();
    let address = loop {
        line.clear();
        assert!(log.read_line(&mut line).is_ok_and(|n_bytes| n_bytes > 0), "callout ended");
        assert!(begun.elapsed() < START_MAX, "callout does not start");
        if let Some((_, address)) = line.split_once("callout listens on http://") {
            break address.split_whitespace().next().and_then(|address| address.parse().ok()).expect("an address");
        }
    };
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    (child, address)
}

fn private_key() -> String {
    let pair = KeyPair::generate(KeySize::Rsa2048).expect("a key");
    let der: Pkcs8V1Der<'_> = pair.as_der().expect("its form");
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der.as_ref()))
}
