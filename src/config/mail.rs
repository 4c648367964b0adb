//! The mail server, and who is mailed alarms.

use url::{Host, Url};

use super::problem::{Place, Report, quoted};
use super::secret::Secret;
use super::section::{Section, text};
use crate::contact::{Address, Channel};

/// How many people alarms are mailed to.
pub const ALARM_RECIPIENTS_MAX: usize = 20;

const SMTP_KEYS: [&str; 2] = ["url", "from"];
const ALARM_KEYS: [&str; 1] = ["email"];
const URL_HINT: &str =
    "smtps://USER:PASSWORD@HOST, or smtp:// for STARTTLS; special characters of the password as %40 and so on";

/// The mail server.
#[derive(Clone, Debug)]
pub struct Smtp {
    /// Its name.
    pub host: Box<str>,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: SmtpTls,
    /// User and password, where it wants them.
    pub credentials: Option<(Box<str>, Secret)>,
    /// The address that mail comes from.
    pub from: Box<str>,
}

/// How the connection to the mail server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtpTls {
    /// From the first byte on: `smtps://`.
    Wrapped,
    /// By STARTTLS, or there is no connection: `smtp://`.
    StartTls,
    /// Not at all: `smtp://` to this machine.
    None,
}

/// Reads the section `smtp`.
pub(super) fn smtp(top: &Section<'_, '_>, report: &mut Report) -> Option<Smtp> {
    let section = top.section("smtp", &SMTP_KEYS, report)?;
    let url = section.text("url", report).or_missing(section.place, "url", Some(URL_HINT), report);
    let url = url.and_then(|(scalar, place)| read_url(&scalar.text, place, report));
    let from = section.text("from", report);
    let from = from.or_missing(section.place, "from", Some("the address that mail comes from"), report);
    let from = from.and_then(|(scalar, place)| address(&scalar.text, &scalar.written, place, "`from`", report));
    let (url, tls) = url?;
    let port = url.port().unwrap_or(match tls {
        SmtpTls::Wrapped => 465,
        SmtpTls::StartTls => 587,
        SmtpTls::None => 25,
    });
    let credentials = (!url.username().is_empty())
        .then(|| (plain(url.username()), Secret::new(plain(url.password().unwrap_or_default()))));
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    Some(Smtp { host: host.into(), port, tls, credentials, from: from? })
}

/// The complaints show nothing of the URL, which holds a password.
fn read_url(text: &str, place: Place, report: &mut Report) -> Option<(Url, SmtpTls)> {
    let url = Url::parse(text.trim()).ok().filter(|url| url.has_host() && matches!(url.path(), "" | "/"));
    let tls = url.as_ref().and_then(|url| match url.scheme() {
        "smtps" => Some(SmtpTls::Wrapped),
        "smtp" if is_this_machine(url) => Some(SmtpTls::None),
        "smtp" => Some(SmtpTls::StartTls),
        _ => None,
    });
    if tls.is_none() {
        report.error_with_hint(place, "the `url` of the mail server cannot be read", Some(URL_HINT.into()));
    }
    url.zip(tls)
}

fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => {
            name.eq_ignore_ascii_case("localhost")
                || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// A part of a URL without its percent signs.
fn plain(part: &str) -> Box<str> {
    let query = format!("x={}", part.replace('+', "%2B").replace('&', "%26"));
    url::form_urlencoded::parse(query.as_bytes()).next().map(|(_, value)| value.into()).unwrap_or_default()
}

fn address(text: &str, written: &str, place: Place, name: &str, report: &mut Report) -> Option<Box<str>> {
    match Address::parse(Channel::Email, text) {
        Ok(address) => Some(address.reveal().into()),
        Err(problem) => {
            let message = format!("{name} {problem}: {}", quoted(written));
            report.error_with_hint(place, message, Some("for example ops@example.org".into()));
            None
        }
    }
}

/// Reads the section `alarms`: who is mailed them.
pub(super) fn alarm_recipients(top: &Section<'_, '_>, report: &mut Report) -> Vec<Box<str>> {
    let Some(section) = top.section("alarms", &ALARM_KEYS, report) else { return Vec::new() };
    let Some((items, place)) = section.list("email", report).given() else { return Vec::new() };
    if items.len() > ALARM_RECIPIENTS_MAX {
        let message = format!("alarms are mailed to {} people; {ALARM_RECIPIENTS_MAX} is the most", items.len());
        report.error(place, message);
    }
    if top.lacks("smtp") {
        let hint = "smtp: { url: smtps://USER:PASSWORD@HOST, from: callout@example.org }";
        report.error_with_hint(place, "alarms are to be mailed, and there is no `smtp`", Some(hint.into()));
    }
    let items = items.iter().take(ALARM_RECIPIENTS_MAX);
    let texts = items.filter_map(|item| text(item, "an entry of `email`", report).given()).collect::<Vec<_>>();
    texts
        .into_iter()
        .filter_map(|(scalar, place)| address(&scalar.text, &scalar.written, place, "an entry of `email`", report))
        .collect()
}
