//! The single values of a configuration: addresses, the store, the backend, the rate.
//!
//! Each function takes a text from wherever it was given, answers with the value that it means, and
//! otherwise reports what is wrong with it. None of them looks anything up: a host name is not
//! resolved and a store is not opened.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use super::problem::{Report, quoted};
use super::secret::Secret;
use super::section::{Given, Section};
use super::suggestion;
use crate::escalation::{Backend, Confirm};

/// The port that the tutorial's webhook server listens on.
pub const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9000);
/// How many messages a second are sent when nobody says how many: below the 30 that Vonage allows
/// an account unless agreed otherwise.
pub const MAX_PER_SECOND_DEFAULT: u32 = 25;
/// The highest rate that can be meant.
pub const MAX_PER_SECOND_MAX: u32 = 10_000;
/// The longest age of a webhook's signature that can be asked for: 30 days.
pub const SIGNATURE_AGE_SECONDS_MAX: u32 = 30 * 86_400;
/// The database beside the file when nobody says where alerts are kept.
const STORE_FILE_DEFAULT: &str = "callout.db";
const VONAGE_URL_DEFAULT: &str = "https://api.nexmo.com/";

/// Where alerts are kept.
#[derive(Clone, Debug)]
pub enum StoreChoice {
    /// In memory; gone when the process ends.
    Memory,
    /// In a SQLite database at this path.
    Sqlite(PathBuf),
    /// In a Postgres database at this address, which holds a password.
    Postgres(Secret),
}

impl StoreChoice {
    /// A database in the folder of the configuration.
    pub(super) fn beside(folder: &Path) -> Self {
        Self::Sqlite(folder.join(STORE_FILE_DEFAULT))
    }
}

pub(super) fn listen(given: Given<'_>, report: &mut Report) -> Option<SocketAddr> {
    let text = given.text.trim();
    let numeric = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    if let Ok(address) = numeric.parse() {
        return Some(address);
    }
    let message = format!("{} is not an address to listen on", quoted(given.written));
    report.error_with_hint(given.place, message, Some("an IP address and a port, for example 127.0.0.1:9000".into()));
    None
}

pub(super) fn public_url(given: Given<'_>, report: &mut Report) -> Option<Box<str>> {
    let url = base_url(given, "the public URL", "for example https://callout.example.org", report)?;
    Some(url.as_str().trim_end_matches('/').into())
}

pub(super) fn vonage_url(given: Given<'_>, report: &mut Report) -> Option<Url> {
    ending_in_slash(given, "the URL of Vonage's API", "for example https://api.nexmo.com", report)
}

/// Messages can be revoked only where the RCS agent is at home.
pub(super) fn rcs_url(given: Given<'_>, report: &mut Report) -> Option<Url> {
    let hint = "https://api-eu.nexmo.com, https://api-us.nexmo.com or https://api-ap.nexmo.com";
    ending_in_slash(given, "the URL of Vonage's RCS API", hint, report)
}

fn ending_in_slash(given: Given<'_>, name: &str, hint: &str, report: &mut Report) -> Option<Url> {
    let mut url = base_url(given, name, hint, report)?;
    if !url.path().ends_with('/') {
        // Without the slash, joining a path would replace the last segment instead of following it.
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Some(url)
}

/// Whether people are told who has an alert.
pub(super) fn confirm(section: &Section<'_, '_>, report: &mut Report) -> Option<Confirm> {
    let (scalar, place) = section.text("confirm", report).given()?;
    match scalar.text.trim() {
        "true" => Some(Confirm::Everybody),
        "false" => Some(Confirm::Nobody),
        _ => {
            let message = format!("`confirm` must be true or false, not {}", quoted(&scalar.written));
            report.error(place, message);
            None
        }
    }
}

/// Vonage's own API, with `/` at the end of its path.
pub(super) fn vonage_url_default() -> Option<Url> {
    Url::parse(VONAGE_URL_DEFAULT).ok()
}

fn base_url(given: Given<'_>, name: &str, hint: &str, report: &mut Report) -> Option<Url> {
    let complaint = match Url::parse(given.text.trim()) {
        Err(url::ParseError::RelativeUrlWithoutBase) => format!("{name} must begin with https:// or http://"),
        Err(error) => format!("{name} cannot be read: {error}"),
        Ok(url) if !matches!(url.scheme(), "http" | "https") => format!("{name} must begin with https:// or http://"),
        Ok(url) if url.query().is_some() || url.fragment().is_some() => format!("{name} must end before any ? or #"),
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            format!("{name} must not hold a user name or password")
        }
        Ok(url) => return Some(url),
    };
    report.error_with_hint(given.place, complaint, Some(hint.into()));
    None
}

pub(super) fn store(given: Given<'_>, report: &mut Report) -> Option<StoreChoice> {
    const HINT: &str = "`memory:`, `sqlite:PATH` or `postgres://USER:PASSWORD@HOST/DATABASE`";
    let text = given.text.trim();
    if matches!(text, "memory:" | "memory") {
        return Some(StoreChoice::Memory);
    }
    if let Some(path) = text.strip_prefix("sqlite:") {
        return sqlite(path, given, report);
    }
    let complaint = if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        match of_each_host(text).try_for_each(|address| match Url::parse(&address) {
            Ok(url) if url.has_host() => Ok(()),
            Ok(_) => Err("the address of the Postgres database names no host".to_owned()),
            Err(error) => Err(format!("the address of the Postgres database cannot be read: {error}")),
        }) {
            Ok(()) => return Some(StoreChoice::Postgres(Secret::new(text))),
            Err(complaint) => complaint,
        }
    } else {
        // Not shown: it may be an address with a password and a slip in its first letters.
        "this is not a store".to_owned()
    };
    report.error_with_hint(given.place, complaint, Some(HINT.into()));
    None
}

/// An address for each of the hosts that a PostgreSQL address may name, separated by commas, each with a port.
fn of_each_host(text: &str) -> impl Iterator<Item = String> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let (authority, end) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (user, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
    hosts.split(',').map(move |host| format!("{scheme}://{user}{host}{end}"))
}

fn sqlite(path: &str, given: Given<'_>, report: &mut Report) -> Option<StoreChoice> {
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() || path == ":memory:" {
        let hint = "`sqlite:callout.db`, or `memory:` to keep nothing";
        report.error_with_hint(given.place, "the store names no file", Some(hint.into()));
        return None;
    }
    if path.contains('?') {
        report.error_with_hint(
            given.place,
            "the path of the store must not hold `?`",
            Some("options are not read".into()),
        );
        return None;
    }
    Some(StoreChoice::Sqlite(match given.folder {
        Some(folder) => folder.join(path),
        None => PathBuf::from(path),
    }))
}

pub(super) fn backend(given: Given<'_>, report: &mut Report) -> Option<Backend> {
    match given.text.trim() {
        "messages" => Some(Backend::Messages),
        "dispatch" => Some(Backend::Dispatch),
        other => {
            let hint = suggestion::hint(other, "the backends are", &["messages", "dispatch"]);
            report.error_with_hint(given.place, format!("{} is not a backend", quoted(given.written)), Some(hint));
            None
        }
    }
}

pub(super) fn max_per_second(given: Given<'_>, report: &mut Report) -> Option<u32> {
    let hint = "messages per second; 0 for no limit";
    whole_number(given, "the rate", (0, MAX_PER_SECOND_MAX), hint, report)
}

pub(super) fn alerts_per_second(given: Given<'_>, report: &mut Report) -> Option<NonZeroU32> {
    let hint = "alerts that this key may raise in a second; leave it out for no limit";
    whole_number(given, "`max_per_second`", (1, MAX_PER_SECOND_MAX), hint, report).and_then(NonZeroU32::new)
}

pub(super) fn signature_age_max(given: Given<'_>, report: &mut Report) -> Option<Duration> {
    let hint = "seconds; Vonage repeats a webhook for 24 hours, so less than 90000 may lose some";
    let seconds = whole_number(given, "`signature_age_max`", (1, SIGNATURE_AGE_SECONDS_MAX), hint, report)?;
    Some(Duration::from_secs(u64::from(seconds)))
}

fn whole_number(given: Given<'_>, name: &str, (min, max): (u32, u32), hint: &str, report: &mut Report) -> Option<u32> {
    let text = given.text.trim();
    match text.parse() {
        Ok(number) if (min..=max).contains(&number) && text.bytes().all(|byte| byte.is_ascii_digit()) => Some(number),
        Ok(_) | Err(_) => {
            let message = format!("{name} must be a whole number from {min} to {max}, not {}", quoted(given.written));
            report.error_with_hint(given.place, message, Some(hint.into()));
            None
        }
    }
}
