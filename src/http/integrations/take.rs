//! What comes of what a tool says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use crate::config::Integration;
use crate::engine::{self, NewAlert, Raising, Request};
use crate::escalation::{Alert, Ignored, Status, Via};
use crate::hash::{hex, sha256};
use crate::id::AlertId;
use crate::integrations::{Act, Notice, began_at, bounded};
use crate::store::ClaimKey;
use crate::timestamp::Timestamp;

use super::super::App;
use super::super::new_alert::{DEDUP_KEY_CHARS_MAX, LINK_CHARS_MAX, MESSAGE_CHARS_MAX};
use super::super::problem::Problem;

/// How many alerts of one request are written at once; their commits share the disk's work.
pub const COMMITS_AT_ONCE_MAX: usize = 256;
/// How long after a tool said that a time of trouble is over its other node may still tell of it as new. What
/// comes later was not late: Alertmanager says so when it heard nothing for a while and then the same again.
pub const LATE_REPEAT_MAX: Duration = Duration::from_mins(1);

/// What came of a notice.
#[derive(Clone, Debug)]
pub(super) enum Deed {
    /// There is a new alert.
    Raised(Arc<Alert>),
    /// The open alert counted a repetition.
    Repeated(Arc<Alert>),
    /// The alert is acknowledged.
    Acknowledged(Arc<Alert>),
    /// The alert is resolved, and any other of its key.
    Resolved(Arc<Alert>),
    /// Nothing is open, or what was said is older than what is known.
    Nothing,
}

impl Deed {
    /// The alert that it is about, where there is one.
    pub(super) fn alert(&self) -> Option<&Arc<Alert>> {
        match self {
            Self::Raised(alert) | Self::Repeated(alert) | Self::Acknowledged(alert) | Self::Resolved(alert) => {
                Some(alert)
            }
            Self::Nothing => None,
        }
    }
}

/// What came of all that a request said.
#[derive(Debug)]
pub(super) struct Tally(pub(super) Vec<Deed>);

impl Tally {
    /// How much of what, for whoever looks at the answer.
    pub(super) fn counts(&self) -> Value {
        let count = |is_it: fn(&Deed) -> bool| self.0.iter().filter(|deed| is_it(deed)).count();
        json!({
            "raised": count(|deed| matches!(deed, Deed::Raised(_))),
            "repeated": count(|deed| matches!(deed, Deed::Repeated(_))),
            "acknowledged": count(|deed| matches!(deed, Deed::Acknowledged(_))),
            "resolved": count(|deed| matches!(deed, Deed::Resolved(_))),
            "unchanged": count(|deed| matches!(deed, Deed::Nothing)),
        })
    }

    /// The first alert that it is about.
    pub(super) fn alert(&self) -> Option<&Arc<Alert>> {
        self.0.iter().find_map(Deed::alert)
    }
}

/// Does what each notice says. Those about one problem keep their order; the others are written together. Where
/// one could not be written the sender must say all of it again.
pub(super) async fn take_all(
    app: &App,
    integration: &Arc<Integration>,
    notices: Vec<Notice>,
) -> Result<Tally, Problem> {
    let mut problems: Vec<Vec<Notice>> = Vec::new();
    let mut places: BTreeMap<Box<str>, usize> = BTreeMap::new();
    for notice in notices {
        let place = notice.key.clone().map_or(problems.len(), |key| *places.entry(key).or_insert(problems.len()));
        match problems.get_mut(place) {
            Some(of_problem) => of_problem.push(notice),
            None => problems.push(vec![notice]),
        }
    }
    let taken = stream::iter(problems).map(|of_problem| async move {
        let mut deeds = Vec::new();
        for notice in of_problem {
            deeds.push(take(app, integration, notice).await);
        }
        deeds
    });
    let taken: Vec<Result<Deed, engine::Error>> =
        taken.buffered(COMMITS_AT_ONCE_MAX).flat_map(stream::iter).collect().await;
    let n_failed = taken.iter().filter(|taken| taken.is_err()).count();
    if n_failed > 0 {
        app.engine().metrics().integration(&integration.name, "unavailable");
        tracing::error!(
            integration = &*integration.name,
            n_failed,
            n_said = taken.len(),
            "what the integration `{}` said could not be kept; it was answered so that it says it again",
            integration.name,
        );
    }
    let tally = Tally(taken.into_iter().collect::<Result<_, _>>()?);
    app.engine().metrics().integration(&integration.name, "accepted");
    Ok(tally)
}

async fn take(app: &App, integration: &Integration, notice: Notice) -> Result<Deed, engine::Error> {
    let key = notice.key.as_deref().map(|key| dedup_key(&integration.name, key));
    match notice.act {
        Act::Trigger => trigger(app, integration, notice, key).await,
        Act::Acknowledge => acknowledge(app, integration, &notice, key.as_deref()).await,
        Act::Resolve => resolve(app, integration, &notice, key.as_deref()).await,
    }
}

async fn trigger(
    app: &App,
    integration: &Integration,
    notice: Notice,
    key: Option<Box<str>>,
) -> Result<Deed, engine::Error> {
    let engine = app.engine();
    let began = key.as_deref().zip(notice.began_at);
    let over = began.map(|(key, began)| told_to_be_over(key, began));
    if let Some(over) = &over
        && is_just_over(app, over).await?
    {
        return Ok(Deed::Nothing);
    }
    if let Some((key, began)) = began {
        end_of_earlier_trouble(app, integration, key, began).await?;
    }
    match engine.raise(new_alert(app, integration, notice, key), None).await? {
        Raising::Repeated(alert) => Ok(Deed::Repeated(alert)),
        Raising::Created(alert) => match &over {
            // The other node said that it is over while this one was being raised.
            Some(over) if is_just_over(app, over).await? => {
                Ok(Deed::Resolved(engine.resolve(alert.id(), &integration.name).await?))
            }
            Some(_) | None => Ok(Deed::Raised(alert)),
        },
    }
}

/// Whether the tool said a moment ago that this time of trouble is over.
async fn is_just_over(app: &App, over: &Request) -> Result<bool, engine::Error> {
    let ended = app.engine().changed_by(over).await?;
    Ok(ended.is_some_and(|alert| app.engine().now().since(alert.updated_at) < LATE_REPEAT_MAX))
}

/// Trouble that began after somebody answered for the alert is new trouble, whose people must be called: that
/// the earlier one was over was never heard.
async fn end_of_earlier_trouble(
    app: &App,
    integration: &Integration,
    key: &str,
    began: Timestamp,
) -> Result<(), engine::Error> {
    for alert in app.engine().alerts_of(key).await? {
        let answered_at = alert.acknowledged.as_ref().map(|acknowledged| acknowledged.at);
        let is_later = answered_at.is_some_and(|at| at < began)
            && began_at(&alert.raised.details).is_some_and(|earlier| earlier < began);
        if alert.status == Status::Acknowledged && is_later {
            harmless(app.engine().resolve(alert.id(), &integration.name).await)?;
        }
    }
    Ok(())
}

async fn acknowledge(
    app: &App,
    integration: &Integration,
    notice: &Notice,
    key: Option<&str>,
) -> Result<Deed, engine::Error> {
    let Some(alert) = meant(app, integration, notice, key).await?.into_iter().next() else { return Ok(Deed::Nothing) };
    let acknowledged = app.engine().acknowledge(alert.id(), &integration.name, Via::Api, None).await;
    Ok(harmless(acknowledged)?.map_or(Deed::Nothing, Deed::Acknowledged))
}

async fn resolve(
    app: &App,
    integration: &Integration,
    notice: &Notice,
    key: Option<&str>,
) -> Result<Deed, engine::Error> {
    let mut deed = Deed::Nothing;
    for alert in meant(app, integration, notice, key).await? {
        if is_about_earlier_trouble(notice, &alert) {
            continue;
        }
        let over = key.zip(notice.began_at).map(|(key, began)| told_to_be_over(key, began));
        let resolved = match over {
            Some(over) => app.engine().resolve_for(alert.id(), &integration.name, &over).await,
            None => app.engine().resolve(alert.id(), &integration.name).await,
        };
        if let Some(alert) = harmless(resolved)? {
            deed = Deed::Resolved(alert);
        }
    }
    Ok(deed)
}

/// Whether what is told to be over began, and ended, before the trouble that the alert is about began.
fn is_about_earlier_trouble(notice: &Notice, alert: &Alert) -> bool {
    let (Some(told), Some(known)) = (notice.began_at, began_at(&alert.raised.details)) else { return false };
    told < known && notice.ended_at.is_none_or(|ended| ended <= known)
}

/// The alerts that a notice means, newest first. One that was raised without a key was called by its id in the
/// answer.
async fn meant(
    app: &App,
    integration: &Integration,
    notice: &Notice,
    key: Option<&str>,
) -> Result<Vec<Arc<Alert>>, engine::Error> {
    let Some(key) = key else { return Ok(Vec::new()) };
    let alerts = app.engine().alerts_of(key).await?;
    let id = notice.key.as_deref().and_then(|key| key.parse::<AlertId>().ok());
    match id {
        Some(id) if alerts.is_empty() => Ok(by_id(app, integration, id).await?.into_iter().collect()),
        Some(_) | None => Ok(alerts),
    }
}

/// The alert with this id, if this integration raised it and it is not over.
pub(super) async fn by_id(
    app: &App,
    integration: &Integration,
    id: AlertId,
) -> Result<Option<Arc<Alert>>, engine::Error> {
    let found = harmless(app.engine().alert(id).await)?;
    Ok(found.filter(|alert| alert.raised.source.as_deref() == Some(&*integration.name)))
}

/// What somebody else was quicker with is no failure.
pub(super) fn harmless(result: Result<Arc<Alert>, engine::Error>) -> Result<Option<Arc<Alert>>, engine::Error> {
    match result {
        Ok(alert) => Ok(Some(alert)),
        Err(
            engine::Error::NoSuchAlert
            | engine::Error::Impossible(
                Ignored::AlreadyResolved | Ignored::AlreadyAcknowledged | Ignored::NotOpen | Ignored::NotEscalating,
            ),
        ) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Acknowledges or resolves this very alert.
pub(super) async fn settle(
    app: &App,
    integration: &Integration,
    alert: AlertId,
    act: Act,
) -> Result<Option<Arc<Alert>>, engine::Error> {
    match act {
        Act::Acknowledge => harmless(app.engine().acknowledge(alert, &integration.name, Via::Api, None).await),
        Act::Resolve => harmless(app.engine().resolve(alert, &integration.name).await),
        Act::Trigger => Ok(None),
    }
}

/// Names that a tool said of one time of trouble that it is over.
fn told_to_be_over(dedup_key: &str, began: Timestamp) -> Request {
    let name = format!("over\n{dedup_key}\n{}", began.as_millis());
    Request { key: ClaimKey(sha256(name.as_bytes())), fingerprint: [0; 32] }
}

/// The dedup key that an alert has by a tool's key for the problem. One that is too long is told apart by its hash.
pub fn dedup_key(integration: &str, key: &str) -> Box<str> {
    let whole = format!("{integration}:{key}");
    if whole.chars().count() <= DEDUP_KEY_CHARS_MAX {
        return whole.into();
    }
    format!("{integration}:sha256:{}", hex(&sha256(key.as_bytes()))).into()
}

fn new_alert(app: &App, integration: &Integration, notice: Notice, dedup_key: Option<Box<str>>) -> NewAlert {
    let settings = app.settings();
    let named = integration.policy.as_deref().and_then(|name| settings.policies.get(name));
    let policy = named.unwrap_or_else(|| settings.policies.first());
    NewAlert {
        message: readable(&notice.message),
        severity: notice.severity,
        policy: Some(policy.name.clone()),
        dedup_key,
        source: Some((&*integration.name).into()),
        link: notice.link.filter(|link| link.chars().count() <= LINK_CHARS_MAX),
        details: bounded(notice.details).into(),
        plan: Arc::clone(&policy.plan),
    }
}

/// A text that an alert can have: one that is too long is cut and says so, and there is always one.
fn readable(message: &str) -> Box<str> {
    let message = message.trim();
    if message.is_empty() {
        return "An alert without a text".into();
    }
    let n_chars = message.chars().count();
    if n_chars <= MESSAGE_CHARS_MAX {
        return message.into();
    }
    let note = format!("… (cut; {n_chars} characters were sent)");
    let kept = MESSAGE_CHARS_MAX.saturating_sub(note.chars().count());
    message.chars().take(kept).chain(note.chars()).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_key_is_told_apart_by_its_hash() {
        assert_eq!(&*dedup_key("legacy", "db-3/disk"), "legacy:db-3/disk");
        let [one, other] = ["a", "b"].map(|end| dedup_key("legacy", &format!("{}{end}", "ü".repeat(600))));
        assert_ne!(one, other);
        assert!(one.starts_with("legacy:sha256:") && one.len() < 100, "{one}");
    }

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        assert_eq!(&*readable(" It burns "), "It burns");
        assert_eq!(&*readable("\n"), "An alert without a text");
        let cut = readable(&"災".repeat(5_000));
        assert_eq!(cut.chars().count(), MESSAGE_CHARS_MAX);
        assert!(cut.ends_with("災… (cut; 5000 characters were sent)"), "{cut}");
    }
}
