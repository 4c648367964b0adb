//! Copies of the database on a schedule.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::alarm::Alarm;
use crate::chain::Chain;
use crate::clock::Clock;
use crate::config::Backup;
use crate::engine::Engine;

/// How long after the start the first copy is made: not in the way of what a start has to do.
const FIRST_AFTER: Duration = Duration::from_mins(1);

/// Makes copies for ever. Each has its name only once it is whole; the oldest beyond the wanted number go.
pub(super) async fn make(engine: &Engine, clock: &dyn Clock, backup: Option<&Backup>) -> Infallible {
    let Some(backup) = backup else { return std::future::pending().await };
    let mut next = clock.now().plus(FIRST_AFTER.min(backup.every));
    loop {
        clock.sleep_until(next).await;
        make_one(engine, clock, backup).await;
        next = clock.now().plus(backup.every);
    }
}

async fn make_one(engine: &Engine, clock: &dyn Clock, backup: &Backup) {
    let moment: String = clock.now().to_string().chars().filter(char::is_ascii_alphanumeric).collect();
    let file = backup.to.join(format!("callout-{moment}.db"));
    let made = match fs::create_dir_all(&backup.to) {
        Ok(()) => engine.copy_store(&file).await.map_err(|error| Chain(&error).to_string()),
        Err(error) => Err(error.to_string()),
    };
    match made.and_then(|()| forget_oldest(&backup.to, backup.keep).map_err(|error| error.to_string())) {
        Ok(()) => {
            tracing::info!(file = %file.display(), "made a copy of the database and looked through it");
            engine.alarms().over(Alarm::BackupFailed, clock.now());
        }
        Err(error) => {
            tracing::error!(%error, folder = %backup.to.display(), "no copy of the database could be made; trying again at the next time");
            engine.alarms().raise(Alarm::BackupFailed, None, clock.now());
        }
    }
}

/// The names have the moment in them, so that their order is that of their age.
fn forget_oldest(folder: &Path, keep: usize) -> io::Result<()> {
    let mut copies = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("callout-") && Path::new(name).extension().is_some_and(|extension| extension == "db") {
            copies.push(path);
        }
    }
    copies.sort();
    let n_too_many = copies.len().saturating_sub(keep);
    copies.iter().take(n_too_many).try_for_each(fs::remove_file)
}
