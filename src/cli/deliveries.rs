//! The command that looks at callbacks and replays them.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value;

use crate::config::Environment;

use super::client::{Service, ServiceArguments, exit, pretty};
use super::terminal::to_stdout;
use super::{DONE, show};

#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct DeliveriesArguments {
    #[command(subcommand)]
    what: Option<What>,
    /// Only those that were given up.
    #[arg(long)]
    dead: bool,
    /// At most this many, 1 to 200.
    #[arg(long)]
    limit: Option<u16>,
    #[command(flatten)]
    service: ServiceArguments,
}

#[derive(Clone, Debug, Subcommand)]
enum What {
    /// Let callbacks that were given up be tried again.
    Replay(ReplayArguments),
}

#[derive(Clone, Debug, Args)]
struct ReplayArguments {
    /// Which one: the id that `callout deliveries --dead` shows.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    id: Option<u64>,
    /// All of them.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    service: ServiceArguments,
}

pub(super) async fn run(arguments: &DeliveriesArguments, environment: &Environment) -> u8 {
    match &arguments.what {
        Some(What::Replay(replay)) => replay_them(replay, environment).await,
        None => list(arguments, environment).await,
    }
}

async fn list(arguments: &DeliveriesArguments, environment: &Environment) -> u8 {
    let limit = arguments.limit.map_or_else(String::new, |limit| format!("&limit={limit}"));
    let path = format!("/deliveries?dead={}{limit}", arguments.dead);
    exit(async {
        let service = Service::find(&arguments.service, environment)?;
        let answer = service.call(Method::GET, &path, None).await?;
        let text = if arguments.service.json { pretty(&answer) } else { show::deliveries(&answer) };
        let _read_or_not = to_stdout(&text);
        Ok(DONE)
    })
    .await
}

async fn replay_them(arguments: &ReplayArguments, environment: &Environment) -> u8 {
    let path = match arguments.id {
        Some(id) => format!("/deliveries/{id}/replay"),
        None => "/deliveries/replay".to_owned(),
    };
    exit(async {
        let service = Service::find(&arguments.service, environment)?;
        let answer = service.call(Method::POST, &path, None).await?;
        let n_replayed = answer.get("replayed").and_then(Value::as_u64).unwrap_or_default();
        let text = if arguments.service.json { pretty(&answer) } else { format!("{n_replayed} replayed\n") };
        let _read_or_not = to_stdout(&text);
        Ok(DONE)
    })
    .await
}
