//! Who watches callout from outside hears from it while it goes on, and only then.

use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::home::{Home, beside_another, pause, until};
use crate::shim::{Shim, Switch};

/// Longer than the store may be silent before callout counts as standing still (ten seconds).
const COMMIT: Duration = Duration::from_secs(12);
/// Longer than the pause between two looks at whether callout goes on (five seconds).
const A_LOOK: Duration = Duration::from_secs(6);

/// Stands where systemd would.
struct Systemd(UnixDatagram);

impl Systemd {
    /// What it has been told since it was last asked.
    fn heard(&self) -> Vec<String> {
        let mut heard = Vec::new();
        let mut bytes = [0; 4_096];
        while let Ok(length) = self.0.recv(&mut bytes) {
            heard.extend(String::from_utf8_lossy(&bytes[..length]).lines().map(str::to_owned));
        }
        heard
    }

    async fn hears(&self, what: &str) {
        until(what, async || self.heard().iter().any(|heard| heard == what).then_some(())).await;
    }
}

/// Answers every call of the heartbeat, and counts them.
async fn count_beats(listener: TcpListener, n_beats: Arc<AtomicUsize>) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = [0; 4_096];
        if stream.read(&mut bytes).await.is_ok_and(|length| bytes[..length].starts_with(b"GET /beat ")) {
            n_beats.fetch_add(1, Ordering::Relaxed);
            let _answered = stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_stands_still_watchdog_and_heartbeat_hear_nothing() {
    let _beside = beside_another().await;
    let home = Home::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let file = home.file("callout.yaml");
    let mut config: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let url = format!("http://{}/beat", listener.local_addr().unwrap());
    config["heartbeat"] = json!({ "url": url, "every": "10s" });
    std::fs::write(&file, config.to_string()).unwrap();
    let n_beats = Arc::<AtomicUsize>::default();
    let mut counting = JoinSet::new();
    counting.spawn(count_beats(listener, Arc::clone(&n_beats)));
    let systemd = Systemd(UnixDatagram::bind(home.file("notify")).unwrap());
    systemd.0.set_nonblocking(true).unwrap();

    let shim = Shim::over(&home.database()).switched(&home.file("switches"));
    let mut command = home.command();
    command.env("NOTIFY_SOCKET", home.file("notify")).env("WATCHDOG_USEC", "30000000");
    shim.preload(&mut command);
    let mut server = Home::start_command(command).await.unwrap();
    systemd.hears("READY=1").await;
    systemd.hears("WATCHDOG=1").await;
    until("the heartbeat", async || (n_beats.load(Ordering::Relaxed) == 1).then_some(())).await;

    shim.turn(Switch::SlowSync, i32::try_from(COMMIT.as_millis()).unwrap());
    let is_stuck = async || server.said().contains("callout does not go on").then_some(());
    until("it notices that the store does not answer", is_stuck).await;
    systemd.heard();
    let n_so_far = n_beats.load(Ordering::Relaxed);
    pause(A_LOOK).await;
    assert_eq!(systemd.heard(), Vec::<String>::new());
    assert_eq!(n_beats.load(Ordering::Relaxed), n_so_far);

    shim.turn(Switch::SlowSync, 0);
    systemd.hears("WATCHDOG=1").await;
    until("the heartbeat goes on", async || (n_beats.load(Ordering::Relaxed) > n_so_far).then_some(())).await;
    assert_eq!(server.terminate().await, Some(0));
    assert!(systemd.heard().contains(&"STOPPING=1".to_owned()));
}
