//! The API key that is made at the first start where none is given.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::chance::Chance;
use crate::config::{Config, Secret, StoreChoice};

/// The file that holds the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFile(PathBuf);

/// The key's file could not be read or made.
#[derive(Debug, thiserror::Error)]
#[error("cannot read or make the file of the API key, {}; give a key in CALLOUT_API_KEY instead", path.display())]
pub struct KeyFileError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// What a made key begins with, so that it is recognised where it turns up.
const PREFIX: &str = "callout_";
/// How many random bytes a made key has.
const KEY_BYTES: usize = 32;

impl KeyFile {
    /// Beside the database; where alerts are not kept in a file, beside the configuration.
    pub fn of(config: &Config) -> Self {
        Self::beside(&config.store, &config.path)
    }

    /// As [`KeyFile::of`], where only the store and the file of the configuration are known.
    pub fn beside(store: &StoreChoice, config: &Path) -> Self {
        match store {
            StoreChoice::Sqlite(path) => Self(path.with_extension("api-key")),
            StoreChoice::Memory | StoreChoice::Postgres(_) => Self(config.with_extension("api-key")),
        }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The key, if there is one.
    pub fn read(&self) -> Result<Option<Secret>, KeyFileError> {
        match fs::read_to_string(&self.0) {
            Ok(text) if !text.trim().is_empty() => Ok(Some(Secret::new(text.trim()))),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.error(source)),
        }
    }

    /// The key; a new one is made where there is none, in a file that only its owner can read.
    pub fn read_or_make(&self, chance: &dyn Chance) -> Result<Secret, KeyFileError> {
        if let Some(key) = self.read()? {
            tracing::info!(file = %self.0.display(), "the API key stands in this file");
            return Ok(key);
        }
        let mut random = [0; KEY_BYTES];
        chance.fill(&mut random);
        let mut key = PREFIX.to_owned();
        for byte in random {
            key.push_str(&format!("{byte:02x}"));
        }
        self.write(&key).map_err(|source| self.error(source))?;
        tracing::info!(file = %self.0.display(), "made an API key; it stands in this file, which only its owner can read");
        Ok(Secret::new(key))
    }

    fn write(&self, key: &str) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&self.0)?;
        // The mode counts for a new file only, and an empty one may have been there.
        file.set_permissions(Permissions::from_mode(0o600))?;
        writeln!(file, "{key}")?;
        file.sync_all()
    }

    fn error(&self, source: io::Error) -> KeyFileError {
        KeyFileError { path: self.0.clone(), source }
    }
}
