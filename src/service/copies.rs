//! Copies of the database on a schedule.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;

use crate::alarm::{Alarm, Alarms};
use crate::chain::Chain;
use crate::clock::Clock;
use crate::config::Backup;
use crate::engine::Engine;
use crate::store::CopyError;

/// How long after the start the first copy is made: not in the way of what a start has to do.
const FIRST_AFTER: Duration = Duration::from_mins(1);

/// What can be copied while it is in use.
#[async_trait]
pub(super) trait Copied: Sync {
    /// As [`Engine::copy_store`].
    async fn copy(&self, to: &Path) -> Result<(), CopyError>;

    /// Whom to tell.
    fn alarms(&self) -> &Alarms;
}

#[async_trait]
impl Copied for Engine {
    async fn copy(&self, to: &Path) -> Result<(), CopyError> {
        self.copy_store(to).await
    }

    fn alarms(&self) -> &Alarms {
        Self::alarms(self)
    }
}

/// Makes copies for ever. Each has its name only once it is whole; the oldest beyond the wanted number go.
pub(super) async fn make(copied: &dyn Copied, clock: &dyn Clock, backup: Option<&Backup>) -> Infallible {
    let Some(backup) = backup else { return std::future::pending().await };
    let mut next = clock.now().plus(FIRST_AFTER.min(backup.every));
    loop {
        clock.sleep_until(next).await;
        make_one(copied, clock, backup).await;
        next = clock.now().plus(backup.every);
    }
}

async fn make_one(copied: &dyn Copied, clock: &dyn Clock, backup: &Backup) {
    let moment: String = clock.now().to_string().chars().filter(char::is_ascii_alphanumeric).collect();
    let file = backup.to.join(format!("callout-{moment}.db"));
    let made = match fs::create_dir_all(&backup.to) {
        Ok(()) => copied.copy(&file).await.map_err(|error| Chain(&error).to_string()),
        Err(error) => Err(error.to_string()),
    };
    match made.and_then(|()| forget_oldest(&backup.to, backup.keep).map_err(|error| error.to_string())) {
        Ok(()) => {
            tracing::info!(file = %file.display(), "made a copy of the database and looked through it");
            copied.alarms().over(Alarm::BackupFailed, clock.now());
        }
        Err(error) => {
            tracing::error!(%error, folder = %backup.to.display(), "no copy of the database could be made; trying again at the next time");
            copied.alarms().raise(Alarm::BackupFailed, None, clock.now());
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::alarm::Phase;
    use crate::clock::SteadyClock;
    use crate::metrics::Metrics;
    use crate::timestamp::Timestamp;

    const BEGAN: Timestamp = Timestamp::from_millis(1_772_366_400_000);
    const AN_HOUR: Duration = Duration::from_hours(1);

    /// Something to copy, on a disk that may be full.
    struct Database {
        is_full: AtomicBool,
        alarms: Alarms,
    }

    #[async_trait]
    impl Copied for Database {
        async fn copy(&self, to: &Path) -> Result<(), CopyError> {
            if self.is_full.load(Ordering::Relaxed) {
                return Err(CopyError::Unsupported);
            }
            fs::write(to, "a copy").map_err(|source| CopyError::File { path: to.to_owned(), source })
        }

        fn alarms(&self) -> &Alarms {
            &self.alarms
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_are_kept_a_failed_one_is_told_of_and_the_next_one_is_made() {
        let clock = SteadyClock::faster(BEGAN, 1);
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("copies");
        let backup = Backup { every: AN_HOUR, keep: 2, to: to.clone() };
        let database = Database { is_full: false.into(), alarms: Alarms::new(Arc::new(Metrics::new())) };
        let mut told = database.alarms.listen();
        let story = async {
            clock.sleep_until(BEGAN.plus(Duration::from_secs(59))).await;
            assert!(!to.exists(), "not in the way of what a start has to do");
            clock.sleep_until(BEGAN.plus(Duration::from_secs(61))).await;
            assert_eq!(names(&to), ["callout-20260301T120100000Z.db"]);
            fs::write(to.join("notes.txt"), "of somebody else").unwrap();
            clock.sleep_until(BEGAN.plus(2 * AN_HOUR + Duration::from_mins(2))).await;
            let two = ["callout-20260301T130100000Z.db", "callout-20260301T140100000Z.db", "notes.txt"];
            assert_eq!(names(&to), two, "the oldest is gone");
            database.is_full.store(true, Ordering::Relaxed);
            clock.sleep_until(BEGAN.plus(3 * AN_HOUR + Duration::from_mins(2))).await;
            assert_eq!(names(&to), two, "a copy that failed takes none away");
            let failed = told.try_recv().unwrap();
            assert_eq!((failed.alarm, failed.phase), (Alarm::BackupFailed, Phase::Raised));
            database.is_full.store(false, Ordering::Relaxed);
            clock.sleep_until(BEGAN.plus(4 * AN_HOUR + Duration::from_mins(2))).await;
            let two = ["callout-20260301T140100000Z.db", "callout-20260301T160100000Z.db", "notes.txt"];
            assert_eq!(names(&to), two);
            let over = told.try_recv().unwrap();
            assert_eq!((over.alarm, over.phase), (Alarm::BackupFailed, Phase::Over));
        };
        tokio::select! {
            never = make(&database, &clock, Some(&backup)) => match never {},
            () = story => {}
        }
    }
}
