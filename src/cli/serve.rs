//! `callout serve`

use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::clock::SteadyClock;
use crate::config::{self, Environment, Problem};
use crate::service::{self, Service};
use crate::store::OpenError;
use crate::telemetry;
use crate::traces::Traces;

use super::terminal::{chain, complain};
use super::{ConfigArguments, DAMAGED, DISK_FAILED, DONE, FAILED, complain_of};

pub(super) async fn run(arguments: &ConfigArguments, environment: &Environment) -> u8 {
    let loaded = match config::load(&arguments.overrides(environment), environment) {
        Ok(loaded) => loaded,
        Err(problems) => return complain_of(&problems),
    };
    begin_to_log(environment);
    tell(&loaded.warnings);
    let traces = Traces::by_variables(|name| environment.get(name));
    let (mut signals, service) = match (Signals::new(), start(&loaded.config, traces).await) {
        (Ok(signals), Ok(service)) => (signals, service),
        (_, Err(code)) => return code,
        (Err(error), Ok(_)) => {
            complain(&format!("cannot listen to signals: {error}"), None);
            return FAILED;
        }
    };
    let serving = service.serve();
    tokio::pin!(serving);
    loop {
        tokio::select! {
            served = &mut serving => {
                return match served {
                    Ok(()) => DONE,
                    Err(error) => {
                        complain(&chain(&error), None);
                        code_of(&error)
                    }
                };
            }
            wish = signals.next() => match wish {
                Wish::Reload => reload(arguments, environment, &service),
                Wish::Stop if service.is_stopping() => {
                    tracing::warn!("asked twice to stop; leaving at once, the next start takes up what is unfinished");
                    return FAILED;
                }
                Wish::Stop => {
                    tracing::info!("stopping: no new work is begun, what is on its way is finished");
                    service.stop();
                }
            },
        }
    }
}

async fn start(config: &config::Config, traces: Traces) -> Result<Service, u8> {
    let clock = Arc::new(SteadyClock::system());
    match Service::start_traced(config, clock, traces).await {
        Ok(service) => {
            let address = service.address().unwrap_or(config.server.listen);
            tracing::info!(config = %config.path.display(), "callout listens on http://{address}");
            service.say_ready();
            Ok(service)
        }
        Err(error) => {
            complain(&chain(&error), None);
            Err(code_of(&error))
        }
    }
}

/// What the exit says of why the service could not begin or go on.
fn code_of(error: &service::Error) -> u8 {
    match error {
        service::Error::Sqlite(
            OpenError::Gone { .. }
            | OpenError::LogGone { .. }
            | OpenError::Damaged { .. }
            | OpenError::NotOurs { .. }
            | OpenError::Unreadable { .. },
        ) => DAMAGED,
        service::Error::StoreFailed
        | service::Error::Timeline(_)
        | service::Error::Sqlite(OpenError::File { .. } | OpenError::Database { .. }) => DISK_FAILED,
        service::Error::Sqlite(
            OpenError::InUse { .. } | OpenError::Newer { .. } | OpenError::SqliteTooOld { .. } | OpenError::Thread(_),
        )
        | service::Error::Listen { .. }
        | service::Error::KeyFile(_)
        | service::Error::Postgres(_)
        | service::Error::PrivateKey(_)
        | service::Error::SignatureSecret(_)
        | service::Error::Vonage(_)
        | service::Error::Engine(_)
        | service::Error::Callbacks(_)
        | service::Error::Mail(_)
        | service::Error::Heartbeat(_)
        | service::Error::HeartbeatUrl(_)
        | service::Error::Serve(_) => FAILED,
    }
}

fn begin_to_log(environment: &Environment) {
    let format = match environment.get("CALLOUT_LOG_FORMAT") {
        Some("json") => telemetry::Format::Json,
        Some(_) | None => telemetry::Format::Text,
    };
    telemetry::begin(environment.get("CALLOUT_LOG"), format);
}

fn tell(warnings: &[Problem]) {
    for warning in warnings {
        tracing::warn!("{warning}");
    }
}

/// A bad file is told of and changes nothing.
fn reload(arguments: &ConfigArguments, environment: &Environment, service: &Service) {
    match config::load(&arguments.overrides(environment), environment) {
        Ok(loaded) => {
            tell(&loaded.warnings);
            match service.reload(&loaded.config) {
                Ok(()) => tracing::info!("the configuration was read again; running alerts keep their plans"),
                Err(error) => tracing::error!("the configuration was NOT taken, the old one stays: {}", chain(&error)),
            }
        }
        Err(problems) => tracing::error!("the configuration was NOT taken, the old one stays:\n{problems}"),
    }
}

/// What the operator asks for by a signal.
enum Wish {
    Reload,
    Stop,
}

struct Signals {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.hangup.recv() => Wish::Reload,
            _ = self.interrupt.recv() => Wish::Stop,
            _ = self.terminate.recv() => Wish::Stop,
        }
    }
}
