//! `callout backup` and `callout restore`: copies of an SQLite database.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::clock::system_now;
use crate::config::{self, Environment, StoreChoice};
use crate::store::{CopyError, Holding, copy_closed, look_through_copy, restore};

use super::client::{Answered, Service, ServiceArguments};
use super::terminal::{chain, complain, to_stdout};
use super::{ConfigArguments, DAMAGED, DONE, FAILED, complain_of};

#[derive(Clone, Debug, Args)]
pub(super) struct BackupArguments {
    /// The file to write the copy to; it must not exist.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    #[command(flatten)]
    service: ServiceArguments,
}

#[derive(Clone, Debug, Args)]
pub(super) struct RestoreArguments {
    /// The copy to put in place.
    file: PathBuf,
    /// Put it in place of a database that is there already; that one is kept beside it.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    config: ConfigArguments,
}

/// Copies the database of the running service, or of none.
pub(super) async fn backup(arguments: &BackupArguments, environment: &Environment) -> u8 {
    if arguments.to.exists() {
        complain(&format!("{} is there already", arguments.to.display()), Some("name a file that is not there yet"));
        return FAILED;
    }
    let Ok(service) = Service::find(&arguments.service, environment) else { return FAILED };
    match service.download("/backup").await {
        Ok(Answered::Copy(response)) => match receive(response, &arguments.to).await {
            Ok(holding) => copied(&arguments.to, holding),
            Err(code) => code,
        },
        Ok(Answered::Nobody) => copy_without_service(arguments, environment),
        Err(_said) => FAILED,
    }
}

fn copy_without_service(arguments: &BackupArguments, environment: &Environment) -> u8 {
    let overrides = ConfigArguments { config: arguments.service.config.clone(), ..ConfigArguments::default() };
    let database = match database_of(&overrides, environment) {
        Ok(database) => database,
        Err(code) => return code,
    };
    match copy_closed(&database, &arguments.to) {
        Ok(holding) => copied(&arguments.to, holding),
        Err(error) => failed(&error),
    }
}

/// Writes what comes in under another name, looks through it, and names it.
async fn receive(mut response: reqwest::Response, to: &Path) -> Result<Holding, u8> {
    let mut part = to.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let received = async {
        let mut file = fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        while let Some(piece) = response.chunk().await.map_err(std::io::Error::other)? {
            file.write_all(&piece)?;
        }
        file.sync_all()
    };
    let outcome = match received.await {
        Ok(()) => look_through_copy(&part).and_then(|holding| {
            fs::rename(&part, to).map_err(|source| CopyError::File { path: to.to_owned(), source })?;
            Ok(holding)
        }),
        Err(source) => Err(CopyError::File { path: to.to_owned(), source }),
    };
    outcome.map_err(|error| {
        // What came in so far is of no use.
        let _removed_or_not = fs::remove_file(&part);
        failed(&error)
    })
}

/// Puts a copy in the place of the database. No service may be running.
pub(super) fn put_back(arguments: &RestoreArguments, environment: &Environment) -> u8 {
    let database = match database_of(&arguments.config, environment) {
        Ok(database) => database,
        Err(code) => return code,
    };
    match restore(&arguments.file, &database, arguments.force, system_now()) {
        Ok(restored) => {
            let aside = restored
                .aside
                .map_or_else(String::new, |aside| format!("The database that was there is now {}.\n", aside.display()));
            let _read_or_not = to_stdout(&format!(
                "{} is in place: {}.\n{aside}Start `callout serve`; the alerts that escalate go on where they were.\n",
                database.display(),
                holds(restored.holding),
            ));
            DONE
        }
        Err(error) => failed(&error),
    }
}

fn database_of(arguments: &ConfigArguments, environment: &Environment) -> Result<PathBuf, u8> {
    match config::load(&arguments.overrides(environment), environment) {
        Ok(loaded) => match loaded.config.store {
            StoreChoice::Sqlite(path) => Ok(path),
            StoreChoice::Memory | StoreChoice::Postgres(_) => Err(failed(&CopyError::Unsupported)),
        },
        Err(problems) => Err(complain_of(&problems)),
    }
}

fn copied(to: &Path, holding: Holding) -> u8 {
    let _read_or_not = to_stdout(&format!("{} is a whole copy: {}.\n", to.display(), holds(holding)));
    DONE
}

fn holds(holding: Holding) -> String {
    let Holding { n_alerts, n_escalating } = holding;
    let noun = if n_alerts == 1 { "alert" } else { "alerts" };
    format!("{n_alerts} {noun}, {n_escalating} escalating")
}

fn failed(error: &CopyError) -> u8 {
    let (hint, code) = match error {
        CopyError::Exists { .. } => {
            (Some("--force puts the copy in its place and keeps what is there beside it"), FAILED)
        }
        CopyError::Damaged { .. } => (Some("try an older copy; nothing was changed"), DAMAGED),
        CopyError::Open(_) => (Some("stop the service first"), FAILED),
        CopyError::Unsupported | CopyError::File { .. } | CopyError::Failed { .. } | CopyError::Store(_) => {
            (None, FAILED)
        }
    };
    complain(&chain(error), hint);
    code
}
