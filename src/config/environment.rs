//! What comes from outside the file: the environment and the flags.
//!
//! This is the only place that reads the process's environment, once, into an [`Environment`] that
//! is handed on; a test hands in its own. Flags win over the environment, both win over the file.
//! Nothing is checked here: a bad value becomes a problem, with the flag or the variable as its
//! place, beside the problems of the file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::problem::Place;

/// The variables of the environment, as they stood when the process started.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Reads the process's environment. What is not UTF-8 counts as not set.
    pub fn of_process() -> Self {
        let variables =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self(variables.collect())
    }

    /// The value of a variable, if it is set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

impl Environment {
    /// The same, with a value for each variable that the text names as `${NAME}` and nobody has set.
    pub(super) fn with_all_of(&self, text: &str, value: &str) -> Self {
        let mut filled = self.clone();
        for name in text.split("${").skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name) {
            filled.0.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
        filled
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl fmt::Debug for Environment {
    /// Shows the names only: values may be secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

/// The flags of the command line that say something about the configuration, as they were given.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--config`: the file to read.
    pub config: Option<String>,
    /// `--listen`: where to listen.
    pub listen: Option<String>,
    /// `--store`: where alerts are kept.
    pub store: Option<String>,
    /// `--backend`: `messages` or `dispatch`.
    pub backend: Option<String>,
    /// `--vonage-url`: the base of Vonage's API.
    pub vonage_url: Option<String>,
    /// `--public-url`: where the service is reached from outside.
    pub public_url: Option<String>,
}

/// A value from outside the file, and where it was given.
#[derive(Clone)]
pub(super) struct Override {
    pub(super) text: Box<str>,
    pub(super) place: Place,
}

/// What flags and environment say instead of the file.
#[derive(Clone, Default)]
pub struct Overrides {
    pub(super) config: Option<Override>,
    pub(super) listen: Option<Override>,
    pub(super) store: Option<Override>,
    pub(super) backend: Option<Override>,
    pub(super) vonage_url: Option<Override>,
    pub(super) public_url: Option<Override>,
    pub(super) max_per_second: Option<Override>,
    pub(super) api_key: Option<Override>,
    pub(super) private_key: Option<Override>,
    pub(super) signature_secret: Option<Override>,
}

impl Overrides {
    /// Gathers what is given: the flag if there is one, else the variable.
    ///
    /// An empty variable counts as not given, since that is how compose files and unit files leave
    /// a variable out. An empty flag is a value, and a bad one.
    pub fn new(flags: &Flags, environment: &Environment) -> Self {
        let variable = |name: &'static str| {
            let text = environment.get(name).filter(|text| !text.trim().is_empty())?;
            Some(Override { text: text.into(), place: Place::Variable(name) })
        };
        let either = |given: &Option<String>, flag: &'static str, name: &'static str| match given {
            Some(text) => Some(Override { text: text.as_str().into(), place: Place::Flag(flag) }),
            None => variable(name),
        };
        Self {
            config: either(&flags.config, "--config", "CALLOUT_CONFIG"),
            listen: either(&flags.listen, "--listen", "CALLOUT_LISTEN"),
            store: either(&flags.store, "--store", "CALLOUT_STORE"),
            backend: either(&flags.backend, "--backend", "CALLOUT_BACKEND"),
            vonage_url: either(&flags.vonage_url, "--vonage-url", "CALLOUT_VONAGE_URL"),
            public_url: either(&flags.public_url, "--public-url", "CALLOUT_PUBLIC_URL"),
            max_per_second: variable("CALLOUT_MAX_PER_SECOND"),
            api_key: variable("CALLOUT_API_KEY"),
            private_key: variable("CALLOUT_PRIVATE_KEY"),
            signature_secret: variable("CALLOUT_SIGNATURE_SECRET"),
        }
    }

    /// The file that was asked for, if one was.
    pub fn config_path(&self) -> Option<PathBuf> {
        self.config.as_ref().map(|given| PathBuf::from(&*given.text))
    }
}

impl fmt::Debug for Overrides {
    /// Shows where values were given, not the values: some are secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let given = [
            &self.config,
            &self.listen,
            &self.store,
            &self.backend,
            &self.vonage_url,
            &self.public_url,
            &self.max_per_second,
            &self.api_key,
            &self.private_key,
            &self.signature_secret,
        ];
        formatter.debug_set().entries(given.iter().copied().flatten().map(|given| given.place)).finish()
    }
}

/// Puts the values of `${NAME}` into a text. `$${` stands for `${` itself.
pub(super) fn expand(text: &str, environment: &Environment) -> Result<String, Unexpandable> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(literal) = before.strip_suffix('$') {
            expanded.push_str(literal);
            expanded.push_str("${");
            rest = after;
            continue;
        }
        expanded.push_str(before);
        let (name, behind) = after.split_once('}').ok_or(Unexpandable::Unclosed)?;
        if !is_name(name) {
            return Err(Unexpandable::NotAName);
        }
        expanded.push_str(environment.get(name).ok_or_else(|| Unexpandable::Unset(name.into()))?);
        rest = behind;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
}

/// Why a text with `${…}` has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unexpandable {
    #[error("`${{` is never closed by `}}`")]
    Unclosed,
    #[error("`${{…}}` must hold the name of an environment variable")]
    NotAName,
    #[error("`${{{0}}}` is not set in the environment")]
    Unset(Box<str>),
}
