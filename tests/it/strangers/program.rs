//! The program itself, as a process of its own, with everything that it writes.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// How long the program may take for anything; it is never waited for so long unless it fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running `callout`. Everything it writes to standard error is kept.
pub(crate) struct Program {
    child: Child,
    said: Arc<Mutex<String>>,
    n_lines: watch::Receiver<usize>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Program {
    /// Starts `callout serve`, by way of a shell that raises the limit on open files as far as it may.
    pub(crate) fn serve(folder: &Path, environment: &[(&str, &str)]) -> Self {
        let script = "ulimit -n \"$(ulimit -H -n)\" 2>/dev/null; exec \"$0\" serve --config callout.yaml 2>&1";
        let mut child = Command::new("sh")
            .args(["-c", script, env!("CARGO_BIN_EXE_callout")])
            .current_dir(folder)
            .env_clear()
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let output = child.stdout.take().expect("it is piped");
        let said = Arc::new(Mutex::new(String::new()));
        let (counter, n_lines) = watch::channel(0);
        let keeper = Arc::clone(&said);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n') {
                let line = String::from_utf8_lossy(&line.expect("a pipe can be read")).into_owned();
                keeper.lock().unwrap_or_else(PoisonError::into_inner).push_str(&format!("{line}\n"));
                counter.send_modify(|n_lines| *n_lines += 1);
            }
        });
        Self { child, said, n_lines, reader: Some(reader) }
    }

    /// Everything it has written so far.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it has written something.
    pub(crate) async fn until_it_says(&self, words: &str) {
        let mut n_lines = self.n_lines.clone();
        let said = async {
            while !self.said().contains(words) {
                n_lines.changed().await.unwrap_or_else(|_ended| panic!("it ended without {words:?}:\n{}", self.said()));
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, said).await;
        assert!(in_time.is_ok(), "it never said {words:?}:\n{}", self.said());
    }

    /// Where it listens.
    pub(crate) async fn address(&self) -> SocketAddr {
        const BEFORE: &str = "callout listens on http://";
        self.until_it_says(BEFORE).await;
        let said = self.said();
        let (_, behind) = said.split_once(BEFORE).expect("it said so");
        behind
            .split(|character: char| character.is_whitespace() || character == '\u{1b}')
            .next()
            .expect("an address")
            .parse()
            .expect("an address")
    }

    /// Sends it a signal by the name that `kill` knows.
    pub(super) fn signal(&self, name: &str) {
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.child.id())]).status();
        assert!(sent.expect("a shell").success());
    }

    /// Stops it, and answers everything that it has ever written.
    pub(crate) async fn stop(mut self) -> String {
        self.signal("TERM");
        let reader = self.reader.take().expect("it was not stopped before");
        tokio::task::spawn_blocking(move || reader.join()).await.expect("a thread").expect("it could read");
        assert!(self.child.wait().expect("it ends").success(), "{}", self.said());
        self.said()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // After a test that failed it still runs; after `stop` there is nothing left to kill.
        let _killed = self.child.kill();
        let _waited = self.child.wait();
    }
}

/// The soft limit on open files in a file of the `/proc` file system.
pub(super) fn open_files_max(limits: &str) -> usize {
    let mut text = String::new();
    File::open(limits).and_then(|mut file| file.read_to_string(&mut text)).expect("the limits of a process");
    let line = text.lines().find(|line| line.starts_with("Max open files")).expect("a limit on open files");
    line.split_whitespace().nth(3).and_then(|soft| soft.parse().ok()).unwrap_or(usize::MAX)
}
