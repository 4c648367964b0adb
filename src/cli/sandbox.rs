//! `callout sandbox`

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::clock::{SteadyClock, system_now};
use crate::sandbox::faults::Faults;
use crate::sandbox::habits::People;
use crate::sandbox::signature::Secret;
use crate::sandbox::{Options, Sandbox};

use super::terminal::{chain, complain, to_stderr, to_stdout};
use super::{DONE, FAILED, MISCONFIGURED};

#[derive(Clone, Debug, Args)]
pub(super) struct SandboxArguments {
    /// Where to listen.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9001")]
    listen: String,
    /// Where the service is; webhooks go to /webhooks/status and /webhooks/inbound below it.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9000")]
    webhooks: Url,
    /// Sign webhooks with this secret [env: CALLOUT_SIGNATURE_SECRET].
    #[arg(long, value_name = "SECRET", env = "CALLOUT_SIGNATURE_SECRET", hide_env_values = true, hide_env = true)]
    signature_secret: Option<String>,
    /// How many times faster than real time its people live.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=SPEED_MAX))]
    speed: u32,
    /// Who reads what after how long; config/people.example.yaml explains itself.
    #[arg(long, value_name = "FILE")]
    people: Option<PathBuf>,
    /// Misbehaviour to play, such as 500=3,twice; `--faults help` lists it.
    #[arg(long, value_name = "LIST")]
    faults: Option<String>,
}

/// The most that time can be made faster.
const SPEED_MAX: i64 = 100_000;

pub(super) async fn run(arguments: &SandboxArguments) -> u8 {
    if arguments.faults.as_deref() == Some("help") {
        let _read_or_not = to_stdout(&format!("{}\n", Faults::help()));
        return DONE;
    }
    let (Some(people), Some(faults)) = (people(arguments), faults(arguments)) else { return MISCONFIGURED };
    let mut options = Options::new(arguments.webhooks.clone());
    options.signature_secret = arguments.signature_secret.as_deref().filter(|text| !text.is_empty()).map(Secret::new);
    options.people = people;
    options.faults = faults;
    let clock = Arc::new(SteadyClock::faster(system_now(), arguments.speed));
    let listener = match tokio::net::TcpListener::bind(&arguments.listen).await {
        Ok(listener) => listener,
        Err(error) => {
            complain(
                &format!("cannot listen on {}: {error}", arguments.listen),
                Some("--listen names another address"),
            );
            return FAILED;
        }
    };
    let sandbox = match Sandbox::new(options, clock) {
        Ok(sandbox) => sandbox,
        Err(error) => {
            complain(&chain(&error), None);
            return FAILED;
        }
    };
    let address = listener.local_addr().map_or_else(|_| arguments.listen.clone(), |address| address.to_string());
    to_stderr(&format!(
        "the stand-in Vonage listens on http://{address}; webhooks go to {}; GET /sent lists what it was asked to send\n",
        arguments.webhooks
    ));
    let stop = CancellationToken::new();
    let running = sandbox.run(listener, stop.clone());
    tokio::pin!(running);
    tokio::select! {
        ended = &mut running => finished(ended),
        () = super::asked_to_stop() => {
            stop.cancel();
            finished(running.await)
        }
    }
}

fn finished(ended: std::io::Result<()>) -> u8 {
    match ended {
        Ok(()) => DONE,
        Err(error) => {
            complain(&chain(&error), None);
            FAILED
        }
    }
}

fn people(arguments: &SandboxArguments) -> Option<People> {
    let Some(path) = &arguments.people else { return Some(People::default()) };
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => match People::parse(&name, &text) {
            Ok(people) => Some(people),
            Err(error) => {
                complain(&error.to_string(), None);
                None
            }
        },
        Err(error) => {
            complain(&format!("cannot read {name}: {error}"), None);
            None
        }
    }
}

fn faults(arguments: &SandboxArguments) -> Option<Faults> {
    match arguments.faults.as_deref().unwrap_or_default().parse() {
        Ok(faults) => Some(faults),
        Err(error) => {
            let error: crate::sandbox::faults::FaultsError = error;
            complain(&error.to_string(), None);
            None
        }
    }
}
