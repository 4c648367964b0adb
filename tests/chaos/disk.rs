//! The disk fails under the running process: a write, a sync, a read, or no room is left.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::home::{Home, Server, USERS, beside_another, pause, until};
use crate::judge::{Life, Pace, judge};
use crate::kills::{check_copy, collect};
use crate::left_out::leave_out;
use crate::load::Load;
use crate::shim::{Shim, Switch};
use crate::size::{Size, seed};

const ROUNDS: Size = Size { name: "DISK_ROUNDS", taste: 1, ci: 2, long: 50 };
/// Each is asked for the n-th time.
const FAULTS: [(Switch, i32); 9] = [
    (Switch::FailSync, 1),
    (Switch::FailWrite, 1),
    (Switch::FailRead, 1),
    (Switch::FailSync, 4),
    (Switch::FailWrite, 8),
    (Switch::Full, 1),
    (Switch::FailWrite, 25),
    (Switch::FailSync, 15),
    (Switch::FailRead, 3),
];
/// How long a fault is looked at.
const FAULT_TIME: Duration = Duration::from_millis(700);
/// What a process says of a disk that failed, when it leaves because of it.
const DISK_FAILED: i32 = 74;

/// After a failed write or sync nobody may trust what this process says about the database; so it says
/// nothing more, or leaves.
async fn is_silent(home: &Home, server: &mut Server) {
    match home.post_once("after the fault").await {
        None | Some(503) => {}
        Some(status) => panic!("a disk failed and a request was answered {status}: {}", server.said()),
    }
    if let Some(status) = server.ended() {
        assert_eq!(status.code(), Some(DISK_FAILED), "{}", server.said());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_makes_callout_late_but_never_a_liar() {
    let _beside = beside_another().await;
    let home = Home::new().await;
    let load = Load::begin(&home, 4, 8, seed());
    let mut lives = Vec::new();
    let (mut n_failed, mut n_faults) = (0, 0);
    for n in 0..ROUNDS.get() * FAULTS.len() {
        let (switch, nth) = FAULTS[n % FAULTS.len()];
        let shim = Shim::over(&home.database()).switched(&home.file("switches"));
        let mut server = home.start(Some(&shim)).await.unwrap();
        lives.push(Life { begun: server.spawned, listens: Some(server.listens), ended: None });
        pause(FAULT_TIME).await;
        let n_syncs = shim.read(Switch::NSyncs);
        assert!(n_syncs > 0, "the shim is in place");
        shim.turn(switch, nth);
        n_faults += 1;
        pause(FAULT_TIME).await;
        let has_struck = shim.read(switch) == 0;
        match switch {
            Switch::FailSync if has_struck => {
                n_failed += 1;
                is_silent(&home, &mut server).await;
            }
            Switch::Full => {
                assert!(server.ended().is_none(), "a full disk is no reason to leave: {}", server.said());
                // It may still have room in a file that need not grow.
                let status = home.post_once("into the full disk").await;
                assert!(matches!(status, Some(201 | 503)), "{status:?}");
                shim.turn(Switch::Full, 0);
                until("there is room again", async || {
                    (home.post_once("there is room again").await == Some(201)).then_some(())
                })
                .await;
            }
            Switch::FailSync
            | Switch::FailWrite
            | Switch::FailRead
            | Switch::NSyncs
            | Switch::Wall
            | Switch::SlowSync => {
                if let Some(status) = server.ended() {
                    assert_eq!(status.code(), Some(DISK_FAILED), "{}", server.said());
                }
            }
        }
        server.kill();
        check_copy(&home.database());
    }
    assert!(n_failed > 0, "a sync failed at least once");
    let mut last = home.start(None).await.unwrap();
    lives.push(Life { begun: last.spawned, listens: Some(last.listens), ended: None });
    let evidence = collect(&home, load.end().await, lives).await;
    let verdict = judge(&evidence, Pace::WhenItCan);
    assert!(verdict.broken.is_empty(), "seed {}:\n{}", seed(), verdict.broken.join("\n"));
    assert_eq!(last.terminate().await, Some(0));
    eprintln!("{n_faults} faults of the disk: {} alerts accepted, 0 lost, 0 skipped", evidence.ledger.promised.len());
}

/// A small disk of its own.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// None where this machine does not let us.
    fn mount(mebibytes: u32) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={mebibytes}m");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).stderr(std::process::Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then(|| Self(folder))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, since a process may still be ending.
        let _unmounted = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_what_is_new_until_there_is_room_again() {
    let _beside = beside_another().await;
    let Some(disk) = SmallDisk::mount(8) else {
        return leave_out("a really full disk: no tmpfs can be mounted here (needs root)");
    };
    let database = disk.path().join("callout.db");
    let home = Home::with_store(Some(format!("sqlite:{}", database.display()))).await;
    let filler = disk.path().join("filler");
    std::fs::write(&filler, vec![0; 6 << 20]).unwrap();
    let mut server = home.start(None).await.unwrap();
    let lives = vec![Life { begun: server.spawned, listens: Some(server.listens), ended: None }];
    let load = Load::begin(&home, 4, 25, seed());
    let is_refused = async || (load.ledger.lock().unwrap().n_unanswered > 20).then_some(());
    until("the disk is full", is_refused).await;
    let n_promised = load.ledger.lock().unwrap().promised.len();
    assert!(n_promised > 0, "there was room at first");
    // The outcome of each is kept before the next one of its alert.
    let n_sent = async || home.sandbox("/sent").await["sent"].as_array().unwrap().len();
    let n_before = n_sent().await;
    until("while it is full, those who were accepted are called on", async || {
        (n_sent().await > n_before + 2 * USERS.len()).then_some(())
    })
    .await;
    assert!(server.ended().is_none(), "a full disk is no reason to leave: {}", server.said());
    std::fs::remove_file(&filler).unwrap();
    let goes_on = async || (load.ledger.lock().unwrap().promised.len() > n_promised + 20).then_some(());
    until("there is room again", goes_on).await;
    let evidence = collect(&home, load.end().await, lives).await;
    let verdict = judge(&evidence, Pace::WhenItCan);
    assert!(verdict.broken.is_empty(), "{}", verdict.broken.join("\n"));
    assert_eq!(server.terminate().await, Some(0));
}
