//! The command line.

#![expect(clippy::doc_markdown, reason = "these texts are shown by --help, where backticks would stand as they are")]

mod backup;
mod check;
mod client;
mod deliveries;
mod demo;
mod doctor;
mod follow;
mod manual;
mod migrate;
mod sandbox;
mod serve;
mod show;
mod terminal;
mod throwaway_key;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Environment, Flags, Overrides, Problems};
use crate::telemetry;

use terminal::complain;

/// Everything went well.
const DONE: u8 = 0;
/// Something failed that is not said otherwise below.
const FAILED: u8 = 1;
/// The configuration or the command line is wrong; nothing was started.
const MISCONFIGURED: u8 = 2;
/// The alert that was followed is exhausted: nobody answered.
const EXHAUSTED: u8 = 3;

/// The database is damaged or gone (as in sysexits.h: the data is wrong).
const DAMAGED: u8 = 65;
/// The disk of the database failed (as in sysexits.h: an input or output error).
const DISK_FAILED: u8 = 74;

/// Makes sure that a person reads the alert.
#[derive(Debug, Parser)]
#[command(
    name = "callout",
    version,
    about,
    long_about = "callout takes an alert, messages the first on-call user over that user's own channels through Vonage, and moves on, channel by channel and user by user, until somebody reads or answers.",
    after_help = "Exit codes: 0 done, 1 failed, 2 the configuration or the command line is wrong, 3 the followed alert is exhausted, 65 the database (or the copy to be restored) is damaged or gone, 74 the disk of the database failed.",
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service.
    Serve(ConfigArguments),
    /// Watch an escalation from beginning to end; needs nothing.
    Demo(demo::DemoArguments),
    /// Read a configuration: say what is wrong, or who would be called when.
    Check(check::CheckArguments),
    /// Raise an alert.
    Send(client::SendArguments),
    /// List alerts, newest first.
    List(client::ListArguments),
    /// Show an alert.
    Show(client::ShowArguments),
    /// Acknowledge an alert: somebody has seen it.
    Ack(client::ByArguments),
    /// Resolve an alert: the problem itself is over.
    Resolve(client::ByArguments),
    /// Go to the next user now.
    Escalate(client::EscalateArguments),
    /// Look at callbacks that wait or were given up; replay them.
    Deliveries(deliveries::DeliveriesArguments),
    /// Copy the database, while the service runs or not.
    Backup(backup::BackupArguments),
    /// Put a copy of the database in its place.
    Restore(backup::RestoreArguments),
    /// Move everything from SQLite to PostgreSQL, running alerts too.
    Migrate(migrate::MigrateArguments),
    /// Run a stand-in for Vonage.
    Sandbox(sandbox::SandboxArguments),
    /// Look whether everything is in its place for tonight; sends no message.
    Doctor(doctor::DoctorArguments),
    /// Print a script that completes commands and flags in a shell.
    Completions(manual::CompletionsArguments),
    /// Print the manual page, or write one for each command.
    Man(manual::ManArguments),
}

/// The flags that say something about the configuration. Each wins over its variable, and the variable over
/// the file. They are read as texts here and judged together with the file.
#[derive(Clone, Debug, Default, Args)]
struct ConfigArguments {
    /// The configuration [env: CALLOUT_CONFIG] [default: callout.yaml, callout.yml or config.json here].
    #[arg(long, value_name = "FILE")]
    config: Option<String>,
    /// Where to listen [env: CALLOUT_LISTEN] [default: 127.0.0.1:9000].
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where alerts are kept: memory:, sqlite:PATH or postgres://… [env: CALLOUT_STORE] [default: sqlite:callout.db].
    #[arg(long, value_name = "STORE")]
    store: Option<String>,
    /// How to send: messages or dispatch [env: CALLOUT_BACKEND].
    #[arg(long, value_name = "BACKEND")]
    backend: Option<String>,
    /// The base of Vonage's API [env: CALLOUT_VONAGE_URL] [default: https://api.nexmo.com].
    #[arg(long, value_name = "URL")]
    vonage_url: Option<String>,
    /// Where the service is reached from outside [env: CALLOUT_PUBLIC_URL].
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
}

impl ConfigArguments {
    fn overrides(&self, environment: &Environment) -> Overrides {
        let flags = Flags {
            config: self.config.clone(),
            listen: self.listen.clone(),
            store: self.store.clone(),
            backend: self.backend.clone(),
            vonage_url: self.vonage_url.clone(),
            public_url: self.public_url.clone(),
        };
        Overrides::new(&flags, environment)
    }
}

/// Runs the command that the process was called with.
pub fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are not errors; everything else is a wrong command line.
            let code = if error.use_stderr() { MISCONFIGURED } else { DONE };
            // A closed pipe is the reader's business.
            let _printed = error.print();
            return ExitCode::from(code);
        }
    };
    let environment = Environment::of_process();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("cannot start: {error}"), None);
            return ExitCode::from(FAILED);
        }
    };
    let code = runtime.block_on(async {
        match arguments.command {
            Command::Serve(arguments) => serve::run(&arguments, &environment).await,
            Command::Demo(arguments) => demo::run(&arguments).await,
            Command::Check(arguments) => check::run(&arguments, &environment),
            Command::Send(arguments) => client::send(&arguments, &environment).await,
            Command::List(arguments) => client::list(&arguments, &environment).await,
            Command::Show(arguments) => client::show(&arguments, &environment).await,
            Command::Ack(arguments) => client::change(&arguments, "acknowledge", &environment).await,
            Command::Resolve(arguments) => client::change(&arguments, "resolve", &environment).await,
            Command::Escalate(arguments) => client::escalate(&arguments, &environment).await,
            Command::Deliveries(arguments) => deliveries::run(&arguments, &environment).await,
            Command::Backup(arguments) => backup::backup(&arguments, &environment).await,
            Command::Restore(arguments) => backup::put_back(&arguments, &environment),
            Command::Migrate(arguments) => migrate::run(&arguments).await,
            Command::Sandbox(arguments) => sandbox::run(&arguments).await,
            Command::Doctor(arguments) => doctor::run(&arguments, &environment).await,
            Command::Completions(arguments) => manual::completions(&arguments),
            Command::Man(arguments) => manual::man(&arguments),
        }
    });
    // What still runs then is a blocking read of a terminal or a disk, which must not hold the exit back.
    runtime.shutdown_background();
    telemetry::flush();
    ExitCode::from(code)
}

/// Returns when the process is asked to end, by Ctrl-C or by SIGTERM.
async fn asked_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Without handlers the signals end the process by themselves.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Prints every problem of a configuration.
fn complain_of(problems: &Problems) -> u8 {
    terminal::to_stderr(&format!("{problems}\n"));
    MISCONFIGURED
}
