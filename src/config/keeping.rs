//! Copies of the database on a schedule, and the heartbeat.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::problem::{Report, quoted};
use super::secret::Secret;
use super::section::{Given, Section};
use super::span;

/// The keys of `backup`.
pub(super) const BACKUP_KEYS: [&str; 3] = ["every", "keep", "to"];
/// The keys of `heartbeat`.
pub(super) const HEARTBEAT_KEYS: [&str; 2] = ["url", "every"];

/// How often a copy is made when nobody says how often.
pub const BACKUP_EVERY_DEFAULT: Duration = Duration::from_mins(15);
/// How many copies are kept when nobody says how many.
pub const BACKUP_KEEP_DEFAULT: u32 = 4;
/// The most copies that can be kept.
pub const BACKUP_KEEP_MAX: u32 = 1_000;
/// How often the heartbeat beats when nobody says how often.
pub const HEARTBEAT_EVERY_DEFAULT: Duration = Duration::from_mins(1);
const BACKUP_EVERY: (Duration, Duration) = (Duration::from_mins(1), Duration::from_hours(24 * 7));
const HEARTBEAT_EVERY: (Duration, Duration) = (Duration::from_secs(10), Duration::from_hours(1));

/// Copies of the database on a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// How often one is made.
    pub every: Duration,
    /// How many are kept.
    pub keep: usize,
    /// The folder that they are written to.
    pub to: PathBuf,
}

/// A URL that is called as long as callout goes on.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    /// The URL; whoever knows it can pretend to be callout.
    pub url: Secret,
    /// How often it is called.
    pub every: Duration,
}

pub(super) fn backup(section: &Section<'_, '_>, folder: &Path, report: &mut Report) -> Option<Backup> {
    let every = section.text("every", report).given().map_or(Some(BACKUP_EVERY_DEFAULT), |(scalar, place)| {
        span::span(Given::from_file(scalar, place, folder), "`every`", BACKUP_EVERY, "for example 15m", report)
    });
    let keep = section.text("keep", report).given().map_or(Some(BACKUP_KEEP_DEFAULT), |(scalar, place)| {
        let keep = scalar.text.trim().parse().ok().filter(|keep| (1..=BACKUP_KEEP_MAX).contains(keep));
        if keep.is_none() {
            let message =
                format!("`keep` must be a whole number from 1 to {BACKUP_KEEP_MAX}, not {}", quoted(&scalar.written));
            report.error_with_hint(place, message, Some("how many copies are kept".into()));
        }
        keep
    });
    let hint = "the folder for the copies, best on another disk";
    let to = section.text("to", report).or_missing(section.place, "to", Some(hint), report);
    let to = to.map(|(scalar, _)| folder.join(&*scalar.text));
    Some(Backup { every: every?, keep: usize::try_from(keep?).unwrap_or(usize::MAX), to: to? })
}

pub(super) fn heartbeat(section: &Section<'_, '_>, folder: &Path, report: &mut Report) -> Option<Heartbeat> {
    let every = section.text("every", report).given().map_or(Some(HEARTBEAT_EVERY_DEFAULT), |(scalar, place)| {
        span::span(Given::from_file(scalar, place, folder), "`every`", HEARTBEAT_EVERY, "for example 1m", report)
    });
    let hint = "the address that your monitoring gave you";
    let (scalar, place) = section.text("url", report).or_missing(section.place, "url", Some(hint), report)?;
    match url::Url::parse(scalar.text.trim()) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => {
            Some(Heartbeat { url: Secret::new(url.as_str()), every: every? })
        }
        // Not shown: it is as good as a password.
        Ok(_) | Err(_) => {
            report.error_with_hint(place, "the heartbeat's URL cannot be read", Some("https://…".into()));
            None
        }
    }
}
