//! A running service: configuration in, listening socket and working engine out.
//!
//! `serve` and `demo` run the same service, and so do the tests; only what it is made of differs.

mod api_key;
mod copies;
mod vigil;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_util::sync::CancellationToken;

use crate::alarm::Alarms;
use crate::chance::{Chance, SystemChance};
use crate::clock::{Clock, system_now};
use crate::config::{self, ApiKey, Backup, Config, Secret, StoreChoice};
use crate::contact::Channel;
use crate::engine::{self, Engine, Parts};
use crate::hash::sha256;
use crate::heartbeat::{HeartbeatUrl, Missed};
use crate::http::{self, App, Keys, Limits};
use crate::metrics::Metrics;
use crate::outgoing::{
    AlarmMail, CallbackError, CallbackParts, Callbacks, Endpoint, MailError, MailSettings, MailTls, Mailer, SigningKey,
    SystemNames, Ways,
};
use crate::sender::Sender;
use crate::store::{self, MemoryStore, OpenError, PostgresError, PostgresStore, SqliteStore, Store};
use crate::traces::Traces;
use crate::vonage::signature::EmptySecret;
use crate::vonage::{self, PrivateKey, PrivateKeyError, SignatureSecret, TimeLimits, VonageSender};

pub use api_key::{KeyFile, KeyFileError};

/// A service that has its socket and its store, and is taking up its alerts.
#[derive(Debug)]
pub struct Service {
    listener: TcpListener,
    kept: Kept,
    engine: Engine,
    backup: Option<Backup>,
    heartbeat: Option<(HeartbeatUrl, Duration)>,
    app: App,
    sender: Arc<VonageSender>,
    callbacks: Arc<Callbacks>,
    mailer: Arc<Mailer>,
    alarm_mail: Arc<AlarmMail>,
    api_key: Option<Secret>,
    stop: CancellationToken,
}

/// What only a restart can change.
#[derive(Clone, Debug)]
struct Kept {
    listen: SocketAddr,
    store: StoreChoice,
}

impl Kept {
    fn of(config: &Config) -> Self {
        Self { listen: config.server.listen, store: config.store.clone() }
    }

    /// Tells the operator what was read and does not count.
    fn tell_of_changes(&self, config: &Config) {
        if config.server.listen != self.listen {
            tracing::warn!("server.listen has changed; it counts after a restart only");
        }
        let is_same_store = match (&config.store, &self.store) {
            (StoreChoice::Memory, StoreChoice::Memory) => true,
            (StoreChoice::Sqlite(read), StoreChoice::Sqlite(kept)) => read == kept,
            (StoreChoice::Postgres(read), StoreChoice::Postgres(kept)) => read.reveal() == kept.reveal(),
            (StoreChoice::Memory | StoreChoice::Sqlite(_) | StoreChoice::Postgres(_), _) => false,
        };
        if !is_same_store {
            tracing::warn!("store has changed; it counts after a restart only");
        }
    }
}

/// Why a service could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else listens there, or it is not an address of this machine.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The API key's file could not be read or made.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The database cannot be used.
    #[error(transparent)]
    Sqlite(#[from] OpenError),
    /// The database does not say on which timeline its deadlines stand.
    #[error("cannot go on with the deadlines of the database")]
    Timeline(#[source] store::Error),
    /// The PostgreSQL database cannot be used.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// The private key cannot be used.
    #[error(transparent)]
    PrivateKey(#[from] PrivateKeyError),
    /// A signature secret cannot be used.
    #[error(transparent)]
    SignatureSecret(#[from] EmptySecret),
    /// Vonage cannot be spoken to.
    #[error(transparent)]
    Vonage(#[from] vonage::Error),
    /// The alerts could not be taken up.
    #[error("cannot take up the alerts of the store")]
    Engine(#[from] engine::Error),
    /// Callbacks cannot be delivered.
    #[error(transparent)]
    Callbacks(#[from] CallbackError),
    /// The mail server cannot be used.
    #[error(transparent)]
    Mail(#[from] MailError),
    /// The database's disk failed while the service ran.
    #[error(
        "the disk of the database failed, so that nothing can be promised any more; see to the disk, then start callout again"
    )]
    StoreFailed,
    /// The heartbeat cannot be prepared.
    #[error("the heartbeat cannot be prepared")]
    Heartbeat(#[from] Missed),
    /// The heartbeat's URL is none.
    #[error("the heartbeat's URL cannot be read")]
    HeartbeatUrl(#[from] url::ParseError),
    /// The socket failed while serving.
    #[error("the listening socket failed")]
    Serve(#[source] io::Error),
}

impl Service {
    /// Binds the socket, opens the store and starts the engine.
    pub async fn start(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        Self::start_traced(config, clock, Traces::off()).await
    }

    /// As [`Service::start`], with somebody who is told what is done and how long it takes.
    pub async fn start_traced(config: &Config, clock: Arc<dyn Clock>, traces: Traces) -> Result<Self, Error> {
        let preparation = Preparation::begin(config)?;
        let (store, clock) = open(config, clock, &preparation.chance).await?;
        preparation.finish(config, store, clock, traces).await
    }

    /// As [`Service::start`], over a store that the caller opens, once the socket is there.
    pub async fn start_with(
        config: &Config,
        clock: Arc<dyn Clock>,
        open: impl FnOnce(&Config) -> Result<Arc<dyn Store>, Error>,
    ) -> Result<Self, Error> {
        let preparation = Preparation::begin(config)?;
        let store = open(config)?;
        preparation.finish(config, store, clock, Traces::off()).await
    }

    /// Where it listens; the port is a real one even where the configuration said zero.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The engine, for whoever runs in the same process.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The key that could do everything when the service started, unless there were only others.
    pub fn api_key(&self) -> Option<&Secret> {
        self.api_key.as_ref()
    }

    /// Takes a configuration that was read again. Running alerts keep their frozen plans.
    pub fn reload(&self, config: &Config) -> Result<(), Error> {
        let api_key = the_one_key(config, &SystemChance::new())?;
        let http_settings = http_settings(config, api_key.as_ref())?;
        self.sender.reload(vonage_settings(config)?)?;
        self.callbacks.set(endpoints(config), config.server.public_url.clone())?;
        self.mailer.set(mail_settings(config))?;
        self.alarm_mail.recipients.store(Arc::new(config.alarm_recipients.clone()));
        self.engine.set(engine_settings(config));
        self.app.set(http_settings);
        self.kept.tell_of_changes(config);
        tell_of_risks(config);
        Ok(())
    }

    /// Serves until [`Service::stop`] is called, then finishes what was begun.
    pub async fn serve(&self) -> Result<(), Error> {
        let limits = Limits::SERVICE;
        self.serve_within(open_files_max().map_or(limits, |max| limits.within_files(max))).await
    }

    /// As [`Service::serve`], with limits of the caller's own.
    pub async fn serve_within(&self, limits: Limits) -> Result<(), Error> {
        let listener = self.listener.try_clone().map_err(Error::Serve)?;
        let clock = self.engine.clock();
        let beating = self.heartbeat.as_ref().map(|(pulse, every)| vigil::Beating { pulse, every: *every });
        let served = tokio::select! {
            served = http::serve(listener, &self.app, limits) => served,
            // Nothing can be promised any more; whoever is not answered asks again.
            () = self.engine.store_failed() => return Err(Error::StoreFailed),
            never = copies::make(&self.engine, clock, self.backup.as_ref()) => match never {},
            never = vigil::keep(&self.engine, clock, beating) => match never {},
        };
        vigil::notify(sd_notify::NotifyState::Stopping);
        self.callbacks.stop().await;
        self.engine.stop().await;
        self.engine.traces().flush().await;
        served.map_err(Error::Serve)
    }

    /// Tells systemd that the service is there, where systemd has started it.
    pub fn say_ready(&self) {
        vigil::notify(sd_notify::NotifyState::Ready);
    }

    /// Whether it was asked to come to its end.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Asks the service to come to its end.
    pub fn stop(&self) {
        self.stop.cancel();
    }
}

/// What a service has before its store is opened, so that a second one on the same socket touches no store.
struct Preparation {
    listener: TcpListener,
    chance: Arc<dyn Chance>,
    api_key: Option<Secret>,
    /// Certificates are read and the key is tried meanwhile, which takes as long as opening the store.
    sender: JoinHandle<Result<VonageSender, Error>>,
}

impl Preparation {
    fn begin(config: &Config) -> Result<Self, Error> {
        let address = config.server.listen;
        let listener = TcpListener::bind(address).map_err(|source| Error::Listen { address, source })?;
        let chance: Arc<dyn Chance> = Arc::new(SystemChance::new());
        let api_key = the_one_key(config, chance.as_ref())?;
        let vonage = config.vonage.clone();
        let sender = spawn_blocking(move || Ok(VonageSender::new(settings_of(&vonage)?, system_now)?));
        Ok(Self { listener, chance, api_key, sender })
    }

    async fn finish(
        self,
        config: &Config,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        traces: Traces,
    ) -> Result<Service, Error> {
        let Self { listener, chance, api_key, sender } = self;
        let sender = match sender.await {
            Ok(sender) => Arc::new(sender?),
            Err(failed) => match failed.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                Err(_ended) => return Err(Error::Engine(engine::Error::Stopped)),
            },
        };
        let metrics = Arc::new(Metrics::new());
        if let Some(meter) = store.meter() {
            metrics.watch(meter);
        }
        let alarms = Arc::new(Alarms::new(Arc::clone(&metrics)));
        let mailer = Arc::new(Mailer::default());
        mailer.set(mail_settings(config))?;
        let outgoing: Arc<dyn Sender> = Arc::new(Ways::new(Arc::clone(&sender), Arc::clone(&mailer)));
        let engine = Engine::start(Parts {
            store: Arc::clone(&store),
            sender: outgoing,
            clock: Arc::clone(&clock),
            chance: Arc::clone(&chance),
            metrics: Arc::clone(&metrics),
            alarms: Arc::clone(&alarms),
            traces,
            link_secret: link_secret(config),
            settings: engine_settings(config),
        })
        .await?;
        let alarm_mail = Arc::new(AlarmMail {
            mailer: Arc::clone(&mailer),
            recipients: ArcSwap::from_pointee(config.alarm_recipients.clone()),
            clock: Arc::clone(&clock),
            chance: Arc::clone(&chance),
        });
        let parts = CallbackParts {
            store,
            clock,
            wall_clock: system_now,
            chance,
            metrics,
            alarms,
            names: Arc::new(SystemNames),
            changes: engine.changes(),
        };
        let callbacks = Arc::new(Callbacks::start(parts, endpoints(config), config.server.public_url.clone())?);
        callbacks.accompany(Arc::clone(&alarm_mail));
        let stop = CancellationToken::new();
        let app =
            App::new(engine.clone(), Arc::clone(&callbacks), http_settings(config, api_key.as_ref())?, stop.clone());
        tell_of_risks(config);
        let heartbeat = heartbeat(config)?;
        let backup = config.backup.clone();
        Ok(Service {
            listener,
            kept: Kept::of(config),
            engine,
            backup,
            heartbeat,
            app,
            sender,
            callbacks,
            mailer,
            alarm_mail,
            api_key,
            stop,
        })
    }
}

/// How many files this process may have open, where the operating system tells it in Linux' way.
fn open_files_max() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse().ok())
}

fn heartbeat(config: &Config) -> Result<Option<(HeartbeatUrl, Duration)>, Error> {
    let Some(heartbeat) = &config.heartbeat else { return Ok(None) };
    Ok(Some((HeartbeatUrl::new(url::Url::parse(heartbeat.url.reveal())?)?, heartbeat.every)))
}

/// The folder of the database, where it is a file.
fn copies_folder(config: &Config) -> Option<PathBuf> {
    match &config.store {
        StoreChoice::Sqlite(path) => Some(path.parent().map_or_else(PathBuf::new, Path::to_path_buf)),
        StoreChoice::Memory | StoreChoice::Postgres(_) => None,
    }
}

/// Opens the store, which may bring the clock that nodes, or the processes before and after a restart, agree on.
async fn open(
    config: &Config,
    clock: Arc<dyn Clock>,
    chance: &Arc<dyn Chance>,
) -> Result<(Arc<dyn Store>, Arc<dyn Clock>), Error> {
    match &config.store {
        StoreChoice::Memory => Ok((Arc::new(MemoryStore::new()), clock)),
        StoreChoice::Sqlite(path) => {
            let store = SqliteStore::open(path)?;
            let clock = store::clock_of(&store, clock).await.map_err(Error::Timeline)?;
            Ok((Arc::new(store), clock))
        }
        StoreChoice::Postgres(address) => {
            let store = PostgresStore::open(address.reveal(), clock, Arc::clone(chance)).await?;
            let clock = store.clock();
            Ok((Arc::new(store), clock))
        }
    }
}

/// How a configuration has callout speak to Vonage.
pub fn vonage_settings(config: &Config) -> Result<vonage::Settings, Error> {
    settings_of(&config.vonage)
}

fn settings_of(config: &config::Vonage) -> Result<vonage::Settings, Error> {
    let of = |channel: Channel| config.senders.of(channel).map(Box::from);
    Ok(vonage::Settings {
        base_url: config.base_url.clone(),
        rcs_url: config.rcs_url.clone(),
        application_id: config.application_id.clone(),
        private_key: PrivateKey::from_pem(config.private_key.reveal())?,
        senders: vonage::Senders {
            messenger: of(Channel::Messenger),
            messenger_category: config.messenger.clone(),
            viber_service: of(Channel::ViberService),
            whatsapp: of(Channel::Whatsapp),
            sms: of(Channel::Sms),
            rcs: of(Channel::Rcs),
        },
        time_limits: TimeLimits::SERVICE,
    })
}

/// Every node has the private key and no stranger does. Links that were sent before another key was put in
/// its place do not open after the next start.
fn link_secret(config: &Config) -> [u8; 32] {
    sha256(config.vonage.private_key.reveal().as_bytes())
}

fn mail_settings(config: &Config) -> Option<MailSettings> {
    let smtp = config.smtp.as_ref()?;
    let credentials = smtp.credentials.as_ref().map(|(user, password)| (user.clone(), password.reveal().into()));
    let tls = match smtp.tls {
        config::SmtpTls::Wrapped => MailTls::Wrapped,
        config::SmtpTls::StartTls => MailTls::StartTls,
        config::SmtpTls::None => MailTls::None,
    };
    Some(MailSettings { host: smtp.host.clone(), port: smtp.port, tls, credentials, from: smtp.from.clone() })
}

fn endpoints(config: &Config) -> Vec<Endpoint> {
    let endpoint = |callback: &config::Callback| Endpoint {
        url: callback.url.clone(),
        keys: callback.secrets.iter().map(|secret| SigningKey::new(secret.reveal())).collect(),
        topics: callback.topics.clone(),
        allowed: callback.allowed.clone(),
    };
    config.callbacks.iter().map(endpoint).collect()
}

fn engine_settings(config: &Config) -> engine::Settings {
    engine::Settings {
        max_per_second: config.vonage.max_per_second,
        public_url: config.server.public_url.clone(),
        retention: config.retention,
    }
}

/// The key that may do everything: the one that is given, or one that is made where none is given at all.
fn the_one_key(config: &Config, chance: &dyn Chance) -> Result<Option<Secret>, KeyFileError> {
    match &config.server.api_key {
        Some(key) => Ok(Some(key.clone())),
        None if config.server.api_keys.is_empty() => KeyFile::of(config).read_or_make(chance).map(Some),
        None => Ok(None),
    }
}

fn http_settings(config: &Config, api_key: Option<&Secret>) -> Result<http::Settings, Error> {
    let secrets = config.vonage.signature_secrets.iter();
    let keys = api_key.map(ApiKey::the_one).into_iter().chain(config.server.api_keys.iter().cloned());
    Ok(http::Settings {
        policies: config.policies.clone(),
        integrations: config.integrations.iter().cloned().map(Arc::new).collect(),
        channel_rules: config.channel_rules(),
        keys: Arc::new(Keys::new(keys)),
        signature_secrets: secrets.map(|secret| SignatureSecret::new(secret.reveal())).collect::<Result<_, _>>()?,
        public_url: config.server.public_url.clone(),
        signature_age_max: config.vonage.signature_age_max,
        copies_folder: copies_folder(config),
    })
}

/// What the operator should know on each start.
fn tell_of_risks(config: &Config) {
    if config.vonage.signature_secrets.is_empty() {
        tracing::warn!(
            "webhooks are NOT verified: whoever reaches this service can silence an alert; set vonage.signature_secret or CALLOUT_SIGNATURE_SECRET"
        );
    }
    if matches!(config.store, StoreChoice::Memory) {
        tracing::warn!("alerts are kept in memory only: they are LOST when the process ends; set store to sqlite:PATH");
    }
}
