//! The machine of the primary dies, and its synchronous standby takes its place: what was answered is there, and
//! whoever was being called goes on being called.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use callout::clock::system_now;
use serde_json::json;
use tempfile::TempDir;
use tokio_postgres::NoTls;

use crate::history::judge_by_the_oracle;
use crate::home::{Home, beside_another, pause, until};
use crate::judge::{Life, Pace, judge};
use crate::kills::collect;
use crate::left_out::leave_out;
use crate::load::Load;
use crate::postgres::{as_postgres, binaries, make_data, start_on};
use crate::size::{Size, seed};

const FAILOVERS: Size = Size { name: "FAILOVERS", taste: 1, ci: 1, long: 20 };
/// How long there is nobody who takes writes.
const NOBODY: Duration = Duration::from_secs(2);
/// How long callout may take afterwards until it accepts alerts again.
const BACK_WITHIN: Duration = Duration::from_secs(10);

/// A server with its data. The shell that started it ends it when its pipe does.
struct Server {
    data: PathBuf,
    address: String,
    _shell: Child,
}

/// A primary and its standby.
struct Pair {
    binaries: PathBuf,
    folder: TempDir,
}

impl Pair {
    fn new() -> Option<Self> {
        let Some(binaries) = binaries().filter(|binaries| binaries.join("pg_basebackup").is_file()) else {
            leave_out("a failover to a standby: this needs the programs of a PostgreSQL server");
            return None;
        };
        Some(Self { binaries, folder: tempfile::tempdir().unwrap() })
    }

    fn start(&self, data: &Path) -> Server {
        let (shell, address) = start_on(&self.binaries, self.folder.path(), data, &[]);
        Server { data: data.to_owned(), address, _shell: shell }
    }

    fn primary(&self) -> Server {
        self.start(&make_data(&self.binaries, self.folder.path()))
    }

    /// A new standby, which the primary waits for at each commit from now on.
    async fn standby_of(&self, primary: &Server) -> Server {
        let data = self.folder.path().join("standby");
        let mut copy = as_postgres(self.folder.path(), &self.binaries.join("pg_basebackup"));
        copy.args([
            "--write-recovery-conf",
            "--checkpoint=fast",
            "--no-sync",
            "--dbname",
            &primary.address,
            "--pgdata",
        ]);
        let copied = copy.arg(&data).output().unwrap();
        assert!(copied.status.success(), "pg_basebackup failed: {}", String::from_utf8_lossy(&copied.stderr));
        let standby = self.start(&data);
        sql(primary, "ALTER SYSTEM SET synchronous_standby_names = '*'").await;
        sql(primary, "SELECT pg_reload_conf()").await;
        let is_synchronous = async || {
            let found = sql(primary, "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'").await;
            (!found.is_empty()).then_some(())
        };
        until("the standby is synchronous", is_synchronous).await;
        standby
    }
}

#[expect(clippy::disallowed_methods, reason = "a test has no tracker; the task ends with the connection")]
async fn sql(server: &Server, statement: &str) -> Vec<tokio_postgres::SimpleQueryMessage> {
    let (client, connection) = tokio_postgres::connect(&format!("{}/postgres", server.address), NoTls).await.unwrap();
    tokio::spawn(connection);
    let answer = client.simple_query(statement).await.unwrap();
    answer.into_iter().filter(|said| matches!(said, tokio_postgres::SimpleQueryMessage::Row(_))).collect()
}

/// As when its machine loses its power: the server and everything that it started.
fn kill(server: &Server) {
    let file = std::fs::read_to_string(server.data.join("postmaster.pid")).unwrap();
    let postmaster = file.lines().next().unwrap();
    let children = Command::new("ps").args(["-o", "pid=", "--ppid", postmaster]).output().unwrap();
    let children = String::from_utf8(children.stdout).unwrap();
    let killed = Command::new("kill").arg("-KILL").arg(postmaster).args(children.split_whitespace()).status().unwrap();
    assert!(killed.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_synchronous_standby_takes_over_and_nothing_is_lost() {
    let _beside = beside_another().await;
    for round in 0..FAILOVERS.get() {
        let Some(pair) = Pair::new() else { return };
        let primary = pair.primary();
        let standby = pair.standby_of(&primary).await;
        fail_over(&primary, &standby, seed() + u64::try_from(round).unwrap()).await;
    }
}

async fn fail_over(primary: &Server, standby: &Server, seed: u64) {
    sql(primary, "CREATE DATABASE callout").await;
    let place = |server: &Server| server.address.rsplit_once('@').unwrap().1.to_owned();
    let store = format!("postgres://postgres@{},{}/callout?sslmode=disable", place(primary), place(standby));
    let home = Home::with_store(Some(store)).await;
    let mut callout = home.start(None).await.unwrap();
    let lives = vec![Life { begun: callout.spawned, listens: Some(callout.listens), ended: None }];
    let load = Load::begin(&home, 4, 5, seed);
    pause(Duration::from_secs(3)).await;
    let at = system_now();
    kill(primary);
    pause(NOBODY).await;
    sql(standby, "SELECT pg_promote()").await;
    let promoted = system_now();
    let n_promised = load.ledger.lock().unwrap().promised.len();
    assert!(n_promised > 0, "there was load");
    let is_back = async || (load.ledger.lock().unwrap().promised.len() > n_promised).then_some(());
    until("alerts are accepted again", is_back).await;
    let back_after = system_now().since(promoted);
    let fault = json!({ "kind": "store", "at": at.to_string(), "until": system_now().to_string() });
    pause(Duration::from_secs(2)).await;
    let evidence = collect(&home, load.end().await, lives).await;
    let mut verdict = judge(&evidence, Pace::SeveralNodes);
    verdict.broken.extend(judge_by_the_oracle(&home, &evidence, &[fault], Pace::SeveralNodes));
    assert!(verdict.broken.is_empty(), "seed {seed}:\n{}", verdict.broken.join("\n"));
    eprintln!(
        "seed {seed}: a failover: {n_promised} alerts accepted before it and {} in all, {} sends of which {} repeated; 0 lost, \
         0 skipped; alerts were accepted again {back_after:?} after the standby was promoted",
        evidence.ledger.promised.len(),
        evidence.sent.len(),
        verdict.n_repeated,
    );
    assert!(back_after < BACK_WITHIN, "it took {back_after:?}");
    assert_eq!(callout.terminate().await, Some(0));
}
