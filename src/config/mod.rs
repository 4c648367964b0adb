//! Configuration: from a file, flags and the environment to values that cannot be wrong.
//!
//! Two forms of file are read, told apart by their content: the JSON of Vonage's tutorial,
//! unchanged, and callout's own YAML. One parser reads both, so that every problem has a line and a
//! column. Every problem is reported at once; with any error there is no configuration at all.
//!
//! | step | module |
//! |---|---|
//! | bytes to a tree of texts with places, `${NAME}` replaced | `tree`, `environment` |
//! | the keys of a form to a draft | `tutorial`, `native`, through `section` |
//! | the draft to a [`Config`] | `draft`, with the rules of `setting`, `credential`, `api_key`, `callback`, `integration`, `mail`, `sender`, [`channel`], `user`, `policy`, `wording` and `messenger` |
//!
//! [`load`] can be called again and again, on SIGHUP for example: it changes nothing but answers.
//! Nothing here opens a store, resolves a name, listens or logs.

mod api_key;
mod callback;
pub mod channel;
mod credential;
mod draft;
mod environment;
mod integration;
mod keeping;
mod mail;
mod messenger;
mod native;
mod policy;
mod problem;
pub mod schedule;
mod secret;
mod section;
mod sender;
mod setting;
mod span;
mod suggestion;
mod tree;
mod tutorial;
mod user;
mod wording;

use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

pub use api_key::{
    API_KEY_CHARS_ADVISED, API_KEY_CHARS_MAX, API_KEYS_MAX, ApiKey, KeyHash, NAME_OF_THE_ONE, Role, Roles,
};
pub use callback::{
    CALLBACK_ALLOW_MAX, CALLBACK_SECRET_BYTES_MAX, CALLBACK_SECRET_BYTES_MIN, CALLBACK_SECRETS_MAX, CALLBACKS_MAX,
    Callback, CallbackSecret,
};
pub use credential::{KEY_BYTES_MAX, ReadFile, SIGNATURE_SECRET_CHARS_ADVISED};
pub use environment::{Environment, Flags, Overrides};
pub use integration::{INTEGRATION_NAME_CHARS_MAX, INTEGRATIONS_MAX, Integration};
pub use keeping::{
    BACKUP_EVERY_DEFAULT, BACKUP_KEEP_DEFAULT, BACKUP_KEEP_MAX, Backup, HEARTBEAT_EVERY_DEFAULT, Heartbeat,
};
pub use mail::{ALARM_RECIPIENTS_MAX, Smtp, SmtpTls};
pub use messenger::TAG_CHARS_MAX;
pub use policy::{POLICIES_MAX, POLICY_NAME_DEFAULT, Policies, Policy, REPEAT_MAX};
pub use problem::{Place, Problem, Problems, Severity};
pub use secret::Secret;
pub use section::Written;
pub use sender::{SMS_SENDER_CHARS_MAX, SMS_SENDER_DIGITS_MAX, Senders};
pub use setting::{LISTEN_DEFAULT, MAX_PER_SECOND_DEFAULT, MAX_PER_SECOND_MAX, SIGNATURE_AGE_SECONDS_MAX, StoreChoice};
pub use span::{RETENTION_DEFAULT, RETENTION_MAX, RETENTION_MIN};
pub use tree::{DEPTH_MAX, FILE_BYTES_MAX, VALUES_MAX};
pub use user::USERS_MAX;

use channel::ChannelRules;
use draft::Surroundings;
use problem::Report;
use sender::Form;

use crate::contact::Channel;
use crate::escalation::Backend;
use crate::wording::MessengerCategory;

/// The names under which a configuration is looked for in the working directory when nobody says
/// which to read; the last is the tutorial's own.
pub const PATHS_DEFAULT: [&str; 3] = ["callout.yaml", "callout.yml", "config.json"];

/// Everything that callout is told before it starts.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens, and how it is reached.
    pub server: Server,
    /// Where alerts are kept.
    pub store: StoreChoice,
    /// How messages get to people.
    pub vonage: Vonage,
    /// How long alerts are kept that nobody needs to be called for any more; for ever if it is not set.
    pub retention: Option<Duration>,
    /// Copies of the database on a schedule, if they are wanted.
    pub backup: Option<Backup>,
    /// A URL that is called as long as callout goes on, if there is one.
    pub heartbeat: Option<Heartbeat>,
    /// Who is called.
    pub policies: Policies,
    /// Which tools may raise alerts.
    pub integrations: Vec<Integration>,
    /// The server that mail is handed to.
    pub smtp: Option<Smtp>,
    /// Who is mailed alarms.
    pub alarm_recipients: Vec<Box<str>>,
    /// Who else is told of what happens.
    pub callbacks: Vec<Callback>,
    /// The file that this was read from.
    pub path: PathBuf,
}

/// Where callout listens, and how it is reached.
#[derive(Clone, Debug)]
pub struct Server {
    /// The address of the HTTP service.
    pub listen: SocketAddr,
    /// Where people and Vonage reach it from outside, without a slash at the end.
    pub public_url: Option<Box<str>>,
    /// The key that may do everything; made at the first start if no key at all is given.
    pub api_key: Option<Secret>,
    /// Further keys, each with its own name and roles.
    pub api_keys: Vec<ApiKey>,
}

/// How messages get to people.
#[derive(Clone, Debug)]
pub struct Vonage {
    /// Which of Vonage's two APIs sends.
    pub backend: Backend,
    /// The base of Vonage's API; its path ends in `/`, so that paths can be joined to it.
    pub base_url: Url,
    /// The Vonage application, a UUID in its usual form.
    pub application_id: Box<str>,
    /// The application's private key as PEM text; it has been seen to sign.
    pub private_key: Secret,
    /// What Vonage signs webhooks with; several while one replaces another, none to check nothing.
    pub signature_secrets: Vec<Secret>,
    /// How old the signature of a webhook may be; any age if it is not set.
    pub signature_age_max: Option<Duration>,
    /// Who messages come from.
    pub senders: Senders,
    /// What Facebook is told Messenger messages are for; nothing if it is not set.
    pub messenger: Option<MessengerCategory>,
    /// Where RCS messages are revoked; like [`Vonage::base_url`], and the same unless it is set.
    pub rcs_url: Url,
    /// How many messages are sent in a second at most; 0 for no limit.
    pub max_per_second: u32,
}

impl Config {
    /// The rules for the channels of an ad-hoc list of users.
    pub fn channel_rules(&self) -> ChannelRules {
        let mut channels = self.vonage.senders.channels();
        channels.extend(self.smtp.as_ref().map(|_server| Channel::Email));
        ChannelRules::new(self.vonage.backend, channels, Form::Native)
    }
}

/// A configuration, and what is probably not meant in it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What somebody on call would rather have otherwise, sorted by place.
    pub warnings: Vec<Problem>,
}

/// Reads the file that the overrides name, or the first of [`PATHS_DEFAULT`] that exists, and the
/// private key that it names. Nothing is changed, whatever comes of it.
pub fn load(overrides: &Overrides, environment: &Environment) -> Result<Loaded, Problems> {
    let path = match overrides.config_path() {
        Some(path) => path,
        None => match PATHS_DEFAULT.iter().map(Path::new).find(|path| path.exists()) {
            Some(path) => path.to_path_buf(),
            None => return Err(nothing_to_read()),
        },
    };
    match read_file(&path, FILE_BYTES_MAX.saturating_add(1)) {
        Ok(bytes) => parse(&path, &bytes, overrides, environment, &read_file),
        Err(error) => {
            let mut report = Report::about(&path.display().to_string());
            report.error(Place::File, credential::reason(&error));
            Err(report.into_errors())
        }
    }
}

/// Reads a configuration from `bytes`. `path` is where they come from: messages begin with it, and
/// relative paths in the file begin in its folder. `read_file` reads the private key.
pub fn parse(
    path: &Path,
    bytes: &[u8],
    overrides: &Overrides,
    environment: &Environment,
    read_file: ReadFile<'_>,
) -> Result<Loaded, Problems> {
    let mut report = Report::about(&path.display().to_string());
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let root = tree::read(bytes, environment, &mut report);
    let draft = root.as_ref().and_then(|root| {
        if tutorial::is_meant(root) {
            tutorial::read(root, folder, &mut report)
        } else {
            native::read(root, folder, &mut report)
        }
    });
    let around = Surroundings { path, folder, overrides, read_file };
    match draft.and_then(|draft| draft.settle(around, &mut report)) {
        Some(config) => Ok(Loaded { config, warnings: report.into_warnings() }),
        None => Err(report.into_errors()),
    }
}

/// Where a service is found from the same machine.
#[derive(Clone, Debug)]
pub struct Whereabouts {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where it keeps its alerts; a key that it made stands beside them.
    pub store: StoreChoice,
    /// The key that may do everything, where the configuration gives one.
    pub api_key: Option<Secret>,
    /// The file that this was read from.
    pub path: PathBuf,
}

/// Stands for variables that are not set while only the whereabouts are asked for.
const NOT_SET: &str = "value-of-a-variable-that-is-not-set";

/// Reads of a configuration only where the service is found. What else is wrong with it, or which variables of
/// it are not set here, does not matter to whoever only wants to talk to the service.
pub fn locate(overrides: &Overrides, environment: &Environment) -> Result<Whereabouts, Problems> {
    let known = overrides.config_path();
    let path = known.or_else(|| PATHS_DEFAULT.iter().map(PathBuf::from).find(|path| path.exists()));
    let path = path.ok_or_else(nothing_to_read)?;
    let mut report = Report::about(&path.display().to_string());
    let bytes = match read_file(&path, FILE_BYTES_MAX.saturating_add(1)) {
        Ok(bytes) => bytes,
        Err(error) => {
            report.error(Place::File, credential::reason(&error));
            return Err(report.into_errors());
        }
    };
    let environment = environment.with_all_of(&String::from_utf8_lossy(&bytes), NOT_SET);
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let Some(root) = tree::read(&bytes, &environment, &mut report) else { return Err(report.into_errors()) };
    let draft = if tutorial::is_meant(&root) {
        tutorial::read(&root, folder, &mut report)
    } else {
        native::read(&root, folder, &mut report)
    };
    let Some(draft) = draft else { return Err(report.into_errors()) };
    let mut problems = Report::about(&path.display().to_string());
    let (listen, store, api_key) = draft.whereabouts(folder, overrides, &mut problems);
    if problems.has_errors() {
        return Err(problems.into_errors());
    }
    let api_key = api_key.filter(|key| !key.reveal().contains(NOT_SET));
    Ok(Whereabouts { listen, store, api_key, path })
}

fn nothing_to_read() -> Problems {
    let mut report = Report::about("configuration");
    let hint = "name one with --config or CALLOUT_CONFIG";
    let message = format!("none of {} is here", suggestion::listed(&PATHS_DEFAULT));
    report.error_with_hint(Place::File, message, Some(hint.into()));
    report.into_errors()
}

fn read_file(path: &Path, n_bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(n_bytes_max).unwrap_or(u64::MAX);
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}
