//! `callout demo`: service, stand-in Vonage and an alert in one process, at many times real speed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::net::TcpListener;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::chance::{Chance, SystemChance};
use crate::clock::{Clock, SteadyClock, system_now};
use crate::config::{self, Config, Environment, Flags, Overrides};
use crate::engine::{Engine, NewAlert, Raising};
use crate::escalation::{Alert, Entry, Happening, Progress, Severity, Status};
use crate::sandbox::habits::People;
use crate::sandbox::signature::Secret;
use crate::sandbox::{Options, Sandbox};
use crate::service::Service;
use crate::timestamp::Timestamp;

use super::terminal::{BOLD, DIM, GREEN, Printed, RED, YELLOW, can_redraw, chain, complain, styled, to_stdout};
use super::{DONE, EXHAUSTED, FAILED, throwaway_key};

#[derive(Clone, Debug, Args)]
pub(super) struct DemoArguments {
    /// How many times faster than real time it runs.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    speed: u32,
}

/// The people on call, and what they do: the same files that stand in `config/`.
const SAMPLE: &str = include_str!("../../config/sample.json");
const PEOPLE: &str = include_str!("../../config/demo-people.yaml");
/// What the alert says.
const MESSAGE: &str = "Main server is down";
/// How often the bar is drawn anew, in real time.
const REDRAW_EVERY: Duration = Duration::from_millis(100);
/// How many characters the bar has.
const BAR_CHARS: u64 = 24;

pub(super) async fn run(arguments: &DemoArguments) -> u8 {
    let stage = match Stage::build(arguments.speed).await {
        Ok(stage) => stage,
        Err(what) => {
            complain(&what, None);
            return FAILED;
        }
    };
    let play = stage.play();
    tokio::pin!(play);
    let code = tokio::select! {
        code = &mut play => code,
        () = super::asked_to_stop() => FAILED,
    };
    stage.stop.cancel();
    stage.service.stop();
    code
}

/// Everything that the demonstration needs, running.
struct Stage {
    clock: Arc<SteadyClock>,
    config: Config,
    service: Arc<Service>,
    stop: CancellationToken,
}

impl Stage {
    async fn build(speed: u32) -> Result<Self, String> {
        let clock = Arc::new(SteadyClock::faster(system_now(), speed));
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|error| chain(&error))?;
        let vonage = listener.local_addr().map_err(|error| chain(&error))?;
        let signature_secret = random_text();
        let config = configuration(&format!("http://{vonage}"), &signature_secret)?;
        let service =
            Service::start(&config, Arc::<SteadyClock>::clone(&clock)).await.map_err(|error| chain(&error))?;
        let service = Arc::new(service);
        let address = service.address().map_err(|error| chain(&error))?;
        let webhooks = format!("http://{address}").parse().map_err(|error: url::ParseError| error.to_string())?;
        let mut options = Options::new(webhooks);
        options.signature_secret = Some(Secret::new(&signature_secret));
        options.people = People::parse("demo-people.yaml", PEOPLE).map_err(|error| error.to_string())?;
        let sandbox = Sandbox::new(options, Arc::<SteadyClock>::clone(&clock)).map_err(|error| chain(&error))?;
        let stop = CancellationToken::new();
        let tracker = tokio_util::task::TaskTracker::new();
        let sandbox_stop = stop.clone();
        tracker.spawn(async move { sandbox.run(listener, sandbox_stop).await });
        let serving = Arc::clone(&service);
        tracker.spawn(async move { serving.serve().await });
        Ok(Self { clock, config, service, stop })
    }

    /// Raises the alert and shows what happens until it is over.
    async fn play(&self) -> u8 {
        let engine = self.service.engine();
        let mut news = engine.changes();
        let raised = engine.raise(self.alert(), None).await;
        let mut alert = match raised {
            Ok(Raising::Created(alert) | Raising::Repeated(alert)) => alert,
            Err(error) => {
                complain(&chain(&error), None);
                return FAILED;
            }
        };
        let mut screen = Screen::new(alert.raised.at);
        screen.print(&self.introduction());
        loop {
            screen.show(&alert, self.clock.now());
            match alert.status {
                Status::Escalating(_) if !screen.is_closed => {}
                Status::Escalating(_) | Status::Resolved => return DONE,
                Status::Acknowledged => {
                    screen.print(&epilogue(&alert));
                    return DONE;
                }
                Status::Exhausted => return EXHAUSTED,
            }
            let redraw_at = self.clock.now().plus(REDRAW_EVERY * self.clock.speed());
            tokio::select! {
                told = news.recv() => match told {
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return FAILED,
                },
                () = self.clock.sleep_until(redraw_at) => {}
            }
            alert = match look(engine, &alert).await {
                Some(alert) => alert,
                None => return FAILED,
            };
        }
    }

    fn alert(&self) -> NewAlert {
        let policy = self.config.policies.first();
        NewAlert {
            message: MESSAGE.into(),
            severity: Severity::Critical,
            policy: Some(policy.name.clone()),
            dedup_key: None,
            source: Some("demo".into()),
            link: None,
            details: "{}".into(),
            plan: Arc::clone(&policy.plan),
        }
    }

    fn introduction(&self) -> String {
        let mut text = format!(
            "{}\n\nThe people on call, one after the other, if nobody reads:\n",
            styled(BOLD, &format!("callout, {} times faster than real time", self.clock.speed()))
        );
        for line in config::schedule::lines(&self.config.policies).iter().skip(1) {
            text.push_str(&format!("  {}\n", styled(DIM, &line.to_string())));
        }
        text.push('\n');
        text
    }
}

async fn look(engine: &Engine, alert: &Alert) -> Option<Arc<Alert>> {
    match engine.alert(alert.id()).await {
        Ok(alert) => Some(alert),
        Err(error) => {
            complain(&chain(&error), None);
            None
        }
    }
}

fn random_text() -> String {
    let mut random = [0; 24];
    SystemChance::new().fill(&mut random);
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The sample as a newcomer would use it, with everything else made up on the spot.
fn configuration(vonage_url: &str, signature_secret: &str) -> Result<Config, String> {
    let private_key = throwaway_key::make().map_err(|error| error.to_string())?;
    let environment: Environment = [
        ("CALLOUT_LISTEN", "127.0.0.1:0"),
        ("CALLOUT_STORE", "memory:"),
        ("CALLOUT_BACKEND", "messages"),
        ("CALLOUT_VONAGE_URL", vonage_url),
        ("CALLOUT_PRIVATE_KEY", &private_key),
        ("CALLOUT_SIGNATURE_SECRET", signature_secret),
        ("CALLOUT_API_KEY", &random_text()),
    ]
    .into_iter()
    .collect();
    let overrides = Overrides::new(&Flags::default(), &environment);
    let read_no_file = |_: &Path, _: usize| Err(std::io::ErrorKind::NotFound.into());
    let loaded = config::parse(Path::new("sample.json"), SAMPLE.as_bytes(), &overrides, &environment, &read_no_file);
    Ok(loaded.map_err(|problems| problems.to_string())?.config)
}

/// What has been shown, and the bar at the bottom of it.
struct Screen {
    began_at: Timestamp,
    n_shown: usize,
    has_bar: bool,
    can_redraw: bool,
    is_closed: bool,
}

impl Screen {
    fn new(began_at: Timestamp) -> Self {
        Self { began_at, n_shown: 0, has_bar: false, can_redraw: can_redraw(), is_closed: false }
    }

    fn print(&mut self, text: &str) {
        let erased = if self.has_bar { "\r\x1b[2K" } else { "" };
        self.has_bar = false;
        self.is_closed |= to_stdout(&format!("{erased}{text}")) == Printed::Closed;
    }

    /// Prints what has happened since, and draws the bar of the wait that goes on.
    fn show(&mut self, alert: &Alert, now: Timestamp) {
        let news: String =
            alert.timeline.iter().skip(self.n_shown).filter_map(|entry| self.line(alert, entry)).collect();
        self.n_shown = alert.timeline.len();
        if !news.is_empty() {
            self.print(&news);
        }
        if self.can_redraw
            && let Some(bar) = bar(alert, now)
        {
            self.print(&bar);
            self.has_bar = true;
        }
    }

    fn line(&self, alert: &Alert, entry: &Entry) -> Option<String> {
        let words = words(alert, entry)?;
        let seconds = entry.at.since(self.began_at).as_secs();
        Some(format!("{} {words}\n", styled(DIM, &format!("{:>4}:{:02}", seconds / 60, seconds % 60))))
    }
}

/// What an entry of the timeline means, in words. Vonage's handing on is passed over.
fn words(alert: &Alert, entry: &Entry) -> Option<String> {
    let attempt = entry.attempt.and_then(|number| alert.attempt(number));
    let step = attempt.and_then(|attempt| alert.step_of(attempt));
    let user = step.map_or("", |step| step.user.as_ref());
    let channel = step.map_or("", |step| step.first.channel.name());
    let why = entry.detail.as_deref().unwrap_or_default();
    Some(match entry.happening {
        Happening::Raised => format!("{} code {}", styled(BOLD, &format!("“{}”", alert.raised.message)), alert.code()),
        Happening::Sent => {
            let minutes = step.map_or(0, |step| step.window().as_secs() / 60);
            format!("{} messaged by {channel}; {minutes} minutes to read it", styled(YELLOW, user))
        }
        Happening::Delivered => format!("  {}", styled(DIM, "delivered to the phone, not read")),
        Happening::Expired => format!("  {}", styled(RED, "not read in time")),
        Happening::Rejected | Happening::Undeliverable | Happening::Refused => {
            format!("  {}", styled(RED, &format!("cannot be delivered ({why})")))
        }
        Happening::SendFailed => format!("  {}", styled(RED, &format!("could not be sent ({why}), trying again"))),
        Happening::FailedOver => format!("next channel: {channel}"),
        Happening::Escalated => format!("next person: {}", styled(BOLD, user)),
        Happening::RoundStarted => "next round".to_owned(),
        Happening::Read => format!("  {}", styled(GREEN, &format!("{user} opened it"))),
        Happening::Acknowledged => styled(GREEN, &format!("acknowledged by {}", entry.by.as_deref().unwrap_or(user))),
        Happening::Exhausted => styled(RED, "nobody is left to call"),
        Happening::Resolved => styled(GREEN, "resolved"),
        Happening::Reply => format!("  {user} wrote back"),
        Happening::Submitted | Happening::Repeated | Happening::ResentAfterRestart => return None,
    })
}

/// How much of the current expiry is over.
fn bar(alert: &Alert, now: Timestamp) -> Option<String> {
    let Some(Progress::Waiting { until }) = alert.progress() else { return None };
    let step = alert.step_of(alert.attempts.last()?)?;
    let window = step.window().as_secs().max(1);
    let left = until.since(now).as_secs();
    let gone = window.saturating_sub(left);
    let full = usize::try_from(BAR_CHARS * gone / window).ok()?;
    let empty = usize::try_from(BAR_CHARS).ok()?.saturating_sub(full);
    Some(format!(
        "        {}{} {} {} {}:{:02} left",
        "█".repeat(full),
        styled(DIM, &"░".repeat(empty)),
        step.user,
        step.first.channel,
        left / 60,
        left % 60
    ))
}

fn epilogue(alert: &Alert) -> String {
    let by = alert.acknowledged.as_ref().map_or("somebody", |acknowledgement| &acknowledgement.by);
    format!(
        "\n{by} has it; nobody else is called.\n\
         Now with your own people: write callout.yaml (config/callout.example.yaml shows how), then run: {}\n",
        styled(BOLD, "callout check")
    )
}
