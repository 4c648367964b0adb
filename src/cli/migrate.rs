//! `callout migrate`

use std::path::Path;
use std::sync::Arc;

use clap::Args;

use crate::chance::SystemChance;
use crate::clock::SteadyClock;
use crate::store::{MoveError, OpenError, PostgresError, move_to_postgres};

use super::terminal::{chain, complain, to_stdout};
use super::{DONE, FAILED, MISCONFIGURED};

/// From where to where.
#[derive(Debug, Args)]
pub(super) struct MigrateArguments {
    /// The SQLite database that is left: sqlite:PATH. Stop the callout that uses it first.
    #[arg(long, value_name = "STORE")]
    from: String,
    /// The PostgreSQL database that takes over, without any alerts yet: postgres://…
    #[arg(long, value_name = "STORE")]
    to: String,
}

pub(super) async fn run(arguments: &MigrateArguments) -> u8 {
    let Some(path) = arguments.from.strip_prefix("sqlite:") else {
        complain("--from must be sqlite:PATH", Some("moving is possible from SQLite to PostgreSQL"));
        return MISCONFIGURED;
    };
    if !arguments.to.starts_with("postgres://") && !arguments.to.starts_with("postgresql://") {
        complain("--to must be postgres://USER:PASSWORD@HOST/DATABASE", None);
        return MISCONFIGURED;
    }
    let (clock, chance) = (Arc::new(SteadyClock::system()), Arc::new(SystemChance::new()));
    match move_to_postgres(Path::new(path), &arguments.to, clock, chance).await {
        Ok(moved) => {
            let mut text = String::from("moved, and counted:\n");
            for (table, n_rows) in &moved.rows {
                text.push_str(&format!("  {n_rows:>9} {table}\n"));
            }
            if let Some(ahead) = moved.ahead_millis {
                text.push_str(&format!(
                    "the old database's time was {} ms {} the new one's: what waits was set right and keeps the time it has left\n",
                    ahead.unsigned_abs(),
                    if ahead > 0 { "ahead of" } else { "behind" },
                ));
            }
            text.push_str(&match &moved.kept_as {
                Some(name) => format!("the old database is kept as {}\n", name.display()),
                None => format!("rename {path} now, so that it is not served by accident\n"),
            });
            text.push_str("start callout with the new store: running alerts go on where they were\n");
            let _read_or_not = to_stdout(&text);
            DONE
        }
        Err(error) => {
            complain(&chain(&error), hint(&error));
            FAILED
        }
    }
}

fn hint(error: &MoveError) -> Option<&'static str> {
    match error {
        MoveError::From(OpenError::InUse { .. }) => Some("stop it first; nothing was moved"),
        MoveError::Damaged { .. } => {
            Some("put a copy that `callout backup` made in its place, and move that: callout restore FILE")
        }
        MoveError::To(PostgresError::Connect { .. }) => Some("nothing was moved"),
        MoveError::From(_)
        | MoveError::Reading { .. }
        | MoveError::To(_)
        | MoveError::HoldsAlerts
        | MoveError::InUse
        | MoveError::Writing { .. }
        | MoveError::Miscounted { .. } => None,
    }
}
