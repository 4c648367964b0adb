//! `callout doctor`: whether everything that a page needs is in its place. It sends no message.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Value, json};

use crate::clock::system_now;
use crate::config::{self, Config, Environment, Severity, StoreChoice};
use crate::contact::{Address, Channel};
use crate::escalation::Leg;
use crate::service::vonage_settings;
use crate::timestamp::Timestamp;
use crate::vonage::VonageSender;

use super::client::reachable;
use super::terminal::{GREEN, RED, YELLOW, chain, styled, to_stdout};
use super::{ConfigArguments, DONE, FAILED};

/// How long an answer from outside or from the service may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How far the clock may be off: tokens are valid for minutes, and dated back by ten seconds.
const CLOCK_OFF_MAX: Duration = Duration::from_secs(10);
/// Below so much free room for the database there is a warning.
const FREE_KIB_ADVISED: u64 = 1 << 20;

#[derive(Clone, Debug, Args)]
pub(super) struct DoctorArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
}

/// How a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Well,
    Doubtful,
    Wrong,
}

impl Health {
    const fn name(self) -> &'static str {
        match self {
            Self::Well => "ok",
            Self::Doubtful => "warning",
            Self::Wrong => "wrong",
        }
    }
}

/// One line of the answer.
struct Finding {
    check: &'static str,
    health: Health,
    what: String,
    advice: &'static str,
}

/// Gathers what is found.
#[derive(Default)]
struct Chart(Vec<Finding>);

impl Chart {
    fn well(&mut self, check: &'static str, what: impl Into<String>) {
        self.0.push(Finding { check, health: Health::Well, what: what.into(), advice: "" });
    }

    fn doubtful(&mut self, check: &'static str, what: impl Into<String>, advice: &'static str) {
        self.0.push(Finding { check, health: Health::Doubtful, what: what.into(), advice });
    }

    fn wrong(&mut self, check: &'static str, what: impl Into<String>, advice: &'static str) {
        self.0.push(Finding { check, health: Health::Wrong, what: what.into(), advice });
    }

    fn is_healthy(&self) -> bool {
        self.0.iter().all(|finding| finding.health != Health::Wrong)
    }

    fn text(&self) -> String {
        let line = |finding: &Finding| {
            let style = match finding.health {
                Health::Well => GREEN,
                Health::Doubtful => YELLOW,
                Health::Wrong => RED,
            };
            let advice = if finding.advice.is_empty() { String::new() } else { format!("; {}", finding.advice) };
            format!(
                "{} {:<13} {}{advice}\n",
                styled(style, &format!("{:<7}", finding.health.name())),
                finding.check,
                finding.what
            )
        };
        self.0.iter().map(line).collect()
    }

    fn json(&self) -> String {
        let finding = |finding: &Finding| json!({ "check": finding.check, "health": finding.health.name(), "what": finding.what, "advice": finding.advice });
        let checks: Vec<Value> = self.0.iter().map(finding).collect();
        format!("{:#}\n", json!({ "healthy": self.is_healthy(), "checks": checks }))
    }
}

pub(super) async fn run(arguments: &DoctorArguments, environment: &Environment) -> u8 {
    let mut chart = Chart::default();
    match config::load(&arguments.config.overrides(environment), environment) {
        Err(problems) => {
            for problem in &problems {
                chart.wrong("configuration", problem.to_string(), "nothing else is looked at until this is mended");
            }
        }
        Ok(loaded) => {
            chart.well("configuration", format!("{} is understood", loaded.config.path.display()));
            for warning in loaded.warnings.iter().filter(|warning| warning.severity() == Severity::Warning) {
                chart.doubtful("configuration", warning.to_string(), "");
            }
            look(&loaded.config, &mut chart).await;
        }
    }
    let _read_or_not = to_stdout(&if arguments.json { chart.json() } else { chart.text() });
    if chart.is_healthy() { DONE } else { FAILED }
}

async fn look(config: &Config, chart: &mut Chart) {
    look_at_vonage(config, chart).await;
    if config.vonage.signature_secrets.is_empty() {
        let advice = "set vonage.signature_secret, or anybody who reaches the service can silence an alert";
        chart.doubtful("signature", "webhooks are not verified", advice);
    } else {
        chart.well("signature", "webhooks must be signed by Vonage");
    }
    look_at_store(config, chart);
    let (http, local) = match client() {
        Ok(http) => (http, format!("http://{}", reachable(config.server.listen))),
        Err(error) => return chart.wrong("service", chain(&error), "the HTTP client cannot be set up"),
    };
    let runs = look_at_service(&http, &local, chart).await;
    look_from_outside(config, &http, runs.then_some(&*local), chart).await;
    look_at_people(config, chart);
}

fn client() -> Result<reqwest::Client, reqwest::Error> {
    let json = HeaderValue::from_static("application/json");
    reqwest::Client::builder()
        .timeout(ANSWER_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .default_headers(HeaderMap::from_iter([(CONTENT_TYPE, json)]))
        .build()
}

/// The private key, Vonage, and the clock by Vonage's.
async fn look_at_vonage(config: &Config, chart: &mut Chart) {
    let settings = match vonage_settings(config) {
        Ok(settings) => settings,
        Err(error) => {
            let advice = "download the application's private key again, or make a new pair in Vonage's dashboard";
            return chart.wrong("key", chain(&error), advice);
        }
    };
    chart.well("key", "the private key can sign");
    let sender = match VonageSender::new(settings, system_now) {
        Ok(sender) => sender,
        Err(error) => return chart.wrong("vonage", chain(&error), "see vonage.url"),
    };
    let probed = match sender.probe().await {
        Ok(probed) => probed,
        Err(error) => {
            let advice = "look at the network, the proxy and vonage.url; no alert gets out until this works";
            return chart.wrong("vonage", format!("{} cannot be reached: {error}", config.vonage.base_url), advice);
        }
    };
    let status = probed.status;
    match status {
        400 | 422 => chart.well("vonage", format!("it answers, and takes our token ({status} to an empty message)")),
        401 | 403 => chart.wrong(
            "vonage",
            format!("it refuses our token ({status})"),
            "application_id and private_key must belong together, and the application needs the capability Messages",
        ),
        402 => chart.wrong("vonage", "the balance is used up (402)", "top the account up"),
        429 => chart.doubtful("vonage", "it says that too much is sent (429)", "try again in a minute"),
        _ => chart.wrong("vonage", format!("it answered {status} to an empty message"), "see Vonage's status page"),
    }
    match probed.date.as_deref().and_then(moment) {
        None => chart.doubtful("clock", "Vonage's answer tells no time", "compare the clock yourself"),
        Some(theirs) => {
            let ours = system_now();
            let off = ours.since(theirs).max(theirs.since(ours));
            if off <= CLOCK_OFF_MAX {
                chart.well("clock", format!("within {} s of Vonage's", off.as_secs().max(1)));
            } else {
                let advice = "switch time synchronisation on; minutes off make Vonage refuse our tokens";
                chart.wrong("clock", format!("{} s off Vonage's", off.as_secs()), advice);
            }
        }
    }
}

/// The moment of a `Date` header.
fn moment(text: &str) -> Option<Timestamp> {
    let moment = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(Timestamp::from_millis(moment.timestamp().as_millisecond()))
}

fn look_at_store(config: &Config, chart: &mut Chart) {
    let path = match &config.store {
        StoreChoice::Memory => {
            let advice = "give a path in `store`";
            return chart.doubtful("store", "alerts are kept in memory, and lost when the process ends", advice);
        }
        StoreChoice::Postgres(_) => {
            return chart.well("store", "PostgreSQL; whether it answers is the service's to say");
        }
        StoreChoice::Sqlite(path) => path,
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let trial = folder.join(format!(".callout-doctor-{}", std::process::id()));
    match std::fs::write(&trial, b"callout doctor").and_then(|()| std::fs::remove_file(&trial)) {
        Ok(()) => chart.well("store", format!("{} can be written to", folder.display())),
        Err(error) => {
            let advice = "run the doctor as the service's user, and see who owns the folder";
            return chart.wrong("store", format!("{} cannot be written to: {error}", folder.display()), advice);
        }
    }
    match free_kib(folder) {
        Some(free) if free < FREE_KIB_ADVISED => {
            chart.doubtful("store", format!("{} MiB are free", free / 1024), "make room; a full disk takes no alert");
        }
        Some(free) => chart.well("store", format!("{} MiB are free", free / 1024)),
        None => {}
    }
}

/// What `df` says is free, where there is one.
fn free_kib(folder: &Path) -> Option<u64> {
    let output = std::process::Command::new("df").arg("-Pk").arg(folder).output().ok()?;
    String::from_utf8(output.stdout).ok()?.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()
}

/// Whether the service runs here and is ready.
async fn look_at_service(http: &reqwest::Client, local: &str, chart: &mut Chart) -> bool {
    let Ok(answer) = http.get(format!("{local}/readyz")).send().await else {
        chart.doubtful("service", format!("callout does not run at {local}"), "start it with `callout serve`");
        return false;
    };
    let status = answer.status();
    let body: Value = answer.json().await.unwrap_or_default();
    if body.get("status").and_then(Value::as_str) == Some("ready") {
        chart.well("service", format!("callout at {local} is ready"));
        for warning in body.get("warnings").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            chart.doubtful("service", warning, "");
        }
        return true;
    }
    let detail = body.get("detail").and_then(Value::as_str).unwrap_or("this is not callout");
    chart.wrong("service", format!("{local} answers {status}: {detail}"), "see its log");
    status.as_u16() == 503
}

/// Sends to the public address what Vonage might send, only nonsense: this service refuses and counts it.
async fn look_from_outside(config: &Config, http: &reqwest::Client, local: Option<&str>, chart: &mut Chart) {
    let Some(public) = &config.server.public_url else {
        let advice = "set server.public_url, so that messages carry a link and this can be looked at";
        return chart.doubtful("webhooks", "it is not known where Vonage reaches this service", advice);
    };
    let url = format!("{public}/webhooks/status");
    let before = refused(http, local).await;
    let answer = match http.post(&url).body("not json").send().await {
        Ok(answer) => answer,
        Err(error) => {
            let advice = "is the proxy or the tunnel running? Without it no read and no reply arrives";
            return chart.wrong(
                "webhooks",
                format!("{url} cannot be reached: {}", chain(&error.without_url())),
                advice,
            );
        }
    };
    let status = answer.status();
    let body: Value = answer.json().await.unwrap_or_default();
    let kind = body.get("type").and_then(Value::as_str).unwrap_or_default();
    if !["/problems/not-json", "/problems/unsigned", "/problems/bad-signature"].contains(&kind) {
        let advice = "server.public_url must lead to this service, with /webhooks/ and /a/ let through unchanged";
        return chart.wrong("webhooks", format!("something else answers at {url} ({status})"), advice);
    }
    match (before, refused(http, local).await) {
        (Some(before), Some(after)) if after > before => {
            chart.well("webhooks", format!("{url} leads here; give it to the Vonage application"));
        }
        (Some(_), Some(_)) => {
            let advice = "server.public_url leads to another callout than the one that runs here";
            chart.wrong("webhooks", format!("another callout answers at {url}"), advice);
        }
        (_, _) => {
            chart.doubtful("webhooks", format!("a callout answers at {url}"), "whether it is this one is not known");
        }
    }
}

/// How many webhooks the service has refused so far.
async fn refused(http: &reqwest::Client, local: Option<&str>) -> Option<f64> {
    let text = http.get(format!("{}/metrics", local?)).send().await.ok()?.text().await.ok()?;
    let of_refused = text.lines().filter(|line| line.starts_with("callout_webhooks_total") && line.contains("refused"));
    Some(of_refused.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
}

/// Who of a policy cannot be reached tonight, and why.
fn look_at_people(config: &Config, chart: &mut Chart) {
    let mut channels: BTreeMap<&str, Vec<&Leg>> = BTreeMap::new();
    let mut has_template = true;
    for policy in config.policies.iter() {
        has_template &= policy.plan.wording().whatsapp_template.is_some();
        for step in policy.plan.steps() {
            let of_user = channels.entry(&step.user).or_default();
            for leg in step.legs() {
                if !of_user.iter().any(|known| known.channel == leg.channel && known.address == leg.address) {
                    of_user.push(leg);
                }
            }
        }
    }
    let n_users = channels.len();
    let mut n_troubled = 0_usize;
    for (user, legs) in &channels {
        let before = chart.0.len();
        look_at_person(config, (user, legs), has_template, chart);
        n_troubled += usize::from(chart.0.len() > before);
    }
    let mut owners: BTreeMap<(Channel, &Address), Vec<&str>> = BTreeMap::new();
    for (user, legs) in &channels {
        for leg in legs {
            owners.entry((leg.channel, &leg.address)).or_default().push(user);
        }
    }
    for ((channel, address), users) in owners.into_iter().filter(|(_, users)| users.len() > 1) {
        let what = format!("{} share one address on {channel} ({})", users.join(" and "), address.shortened());
        chart.doubtful("people", what, "whoever reads there counts as either; each needs an address of their own");
    }
    chart
        .well("people", format!("{} of {n_users} can be reached and can answer without a doubt", n_users - n_troubled));
}

fn look_at_person(config: &Config, (user, legs): (&str, &[&Leg]), has_template: bool, chart: &mut Chart) {
    let has_link = config.server.public_url.is_some();
    let can_reply = |leg: &&&Leg| {
        let sender = config.vonage.senders.of(leg.channel).unwrap_or_default();
        // Nobody can write back to a name.
        leg.channel.reports_read() || sender.bytes().all(|byte| byte.is_ascii_digit())
    };
    if !has_link && !legs.iter().any(|leg| can_reply(&leg)) {
        let advice = "set server.public_url for a link, or send from a number";
        chart.wrong(
            "people",
            format!(
                "tonight {user} cannot answer: SMS reports no read, a name takes no reply, and no message has a link"
            ),
            advice,
        );
    } else if !has_link && !legs.iter().any(|leg| leg.channel.reports_read()) {
        let advice = "set server.public_url, so that messages end in a link";
        chart.doubtful(
            "people",
            format!("tonight {user} can answer only by writing back: SMS reports no read"),
            advice,
        );
    }
    let is_whatsapp = |leg: &&Leg| leg.channel == Channel::Whatsapp;
    if !has_template && legs.iter().all(is_whatsapp) {
        let advice = "set whatsapp_template, or give them a second channel";
        chart.wrong(
            "people",
            format!("tonight {user} cannot be reached unless they wrote to WhatsApp within 24 hours"),
            advice,
        );
    } else if !has_template && legs.iter().any(is_whatsapp) {
        chart.doubtful(
            "people",
            format!("WhatsApp reaches {user} only within 24 hours of their last message"),
            "set whatsapp_template",
        );
    }
    if let Some(leg) = legs.iter().find(|leg| leg.expiry_seconds > config::channel::EXPIRY_SECONDS_ADVISED_MAX) {
        let what = format!(
            "{user} may sleep through {} for {} minutes before anything else is tried",
            leg.channel,
            leg.expiry_seconds / 60
        );
        chart.doubtful("people", what, "a shorter expiry_time calls the next sooner");
    }
}
