//! Cold start, idle memory and work, size of the program.

use std::time::{Duration, Instant};

use crate::contender::{self, Contender, Setup};
use crate::figures::{Sample, heading, mebibytes, row};
use crate::provider::Provider;

/// How long an idle process is watched.
pub(crate) const WATCHED: Duration = Duration::from_secs(20);

pub(crate) async fn start() {
    heading("start");
    let (_provider, address) = Provider::start().await;
    let (mut on_new_store, mut again, mut floors) = (Sample::default(), Sample::default(), Sample::default());
    for _ in 0..11 {
        let folder = tempfile::tempdir().expect("a folder");
        contender::write_files(folder.path(), &Setup::new(address));
        let begun = Instant::now();
        let mut callout = Contender::callout_in(folder);
        callout.is_ready().await;
        on_new_store.add(begun.elapsed());
        again.add(callout.kill_and_start().await);
        let begun = Instant::now();
        Contender::floor("call", address).is_ready().await;
        floors.add(begun.elapsed());
    }
    row("start to ready, empty store", &on_new_store.line());
    row("  again, after kill -9", &again.line());
    row("  floor", &floors.line());
    let callout = Contender::callout(&Setup::new(address));
    let busy = callout.busy_for(WATCHED).await;
    row("idle memory", &format!("{:.1} MiB", mebibytes(callout.memory())));
    row("processor while nothing happens", &format!("{:.2} %", busy * 100.0));
    let size = std::fs::metadata(contender::program()).map_or(0, |file| file.len());
    row("program, stripped", &format!("{:.1} MiB", mebibytes(size)));
}
