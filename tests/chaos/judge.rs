//! Says which promise was broken for which alert, from what was answered, what was sent, and what
//! callout tells of its alerts in the end.

use std::collections::HashMap;
use std::time::Duration;

use callout::id::AttemptRef;
use callout::timestamp::Timestamp;
use serde_json::Value;

use crate::home::{POLICIES, USERS};
use crate::load::Ledger;

/// What a deadline or a send may be late after a start (contract R15).
const LATE_MAX: Duration = Duration::from_secs(1);

/// How late a send is made again that a dead node left half done; a little more than is promised, for the moment
/// between the claim and its commit.
const TAKEN_OVER_MAX: Duration = Duration::from_secs(31);

/// Everything that is known of a run.
pub(crate) struct Evidence {
    pub(crate) ledger: Ledger,
    /// Every alert that callout knows, as it shows it.
    pub(crate) alerts: HashMap<String, Value>,
    /// What the stand-in accepted.
    pub(crate) sent: Vec<Value>,
    /// The stand-in's webhooks, each try with its answer.
    pub(crate) webhooks: Vec<Value>,
    /// The processes in order.
    pub(crate) lives: Vec<Life>,
}

/// When a process was begun, and when it listened; one that died before it listened has the first only.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    pub(crate) begun: Timestamp,
    pub(crate) listens: Option<Timestamp>,
    /// When it was killed, where it was and is known.
    pub(crate) ended: Option<Timestamp>,
}

/// The judgement.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Each broken promise, with the alert.
    pub(crate) broken: Vec<String>,
    /// Accepted sends beyond the first of their attempt.
    pub(crate) n_repeated: usize,
    /// The latest that a deadline or an unfinished send was taken up after it could be.
    pub(crate) latest: Duration,
    latest_of: String,
}

/// Whether deadlines and unfinished sends must be taken up within what contract R15 allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    WithinASecond,
    /// Several nodes share the store: unfinished sends within thirty seconds. What a fault excuses of the rest the
    /// oracle knows.
    SeveralNodes,
    /// The disk did not allow it.
    WhenItCan,
}

pub(crate) fn judge(evidence: &Evidence, pace: Pace) -> Verdict {
    let mut verdict = Verdict::default();
    let mut posts: HashMap<AttemptRef, usize> = HashMap::new();
    let mut attempts: HashMap<&str, AttemptRef> = HashMap::new();
    for sent in &evidence.sent {
        let attempt: AttemptRef = sent["client_ref"].as_str().unwrap().parse().unwrap();
        *posts.entry(attempt).or_default() += 1;
        attempts.insert(sent["message_uuid"].as_str().unwrap(), attempt);
    }
    verdict.judge_accepted(evidence);
    for (id, alert) in &evidence.alerts {
        verdict.judge_way(id, alert, &posts, pace);
        match pace {
            Pace::WithinASecond | Pace::WhenItCan => verdict.judge_times(id, alert, &evidence.lives),
            Pace::SeveralNodes => verdict.judge_times_of_nodes(id, alert),
        }
    }
    for attempt in posts.keys() {
        let known = evidence.alerts.get(&attempt.alert.to_string());
        if known.is_none_or(|alert| list(alert, "attempts").len() < usize::try_from(attempt.attempt).unwrap()) {
            verdict.broken.push(format!("{attempt} was sent and nobody knows of it"));
        }
    }
    for webhook in &evidence.webhooks {
        if webhook["answered"] == 200 {
            verdict.judge_webhook(webhook, &attempts, &evidence.alerts);
        }
    }
    let late_max = match pace {
        Pace::WithinASecond => LATE_MAX,
        Pace::SeveralNodes | Pace::WhenItCan => Duration::MAX,
    };
    if verdict.latest > late_max {
        verdict.broken.push(format!("{:?} late: {}", verdict.latest, verdict.latest_of));
    }
    verdict
}

impl Verdict {
    fn judge_accepted(&mut self, evidence: &Evidence) {
        for promised in &evidence.ledger.promised {
            match evidence.alerts.get(&promised.id) {
                None => self.broken.push(format!("alert {} was promised at {} and is lost", promised.id, promised.at)),
                Some(alert) if alert["message"] != *promised.message || alert["policy"] != promised.policy => {
                    self.broken.push(format!("alert {} is not what was posted", promised.id));
                }
                Some(_) => {}
            }
        }
        let mut said: HashMap<&str, &str> = HashMap::new();
        for (id, alert) in &evidence.alerts {
            if let Some(other) = said.insert(alert["message"].as_str().unwrap(), id) {
                self.broken.push(format!("alerts {id} and {other} were raised by one request"));
            }
        }
        for done in &evidence.ledger.done {
            let alert = &evidence.alerts[&done.id];
            let is_so = match done.what {
                "resolve" => alert["status"] == "resolved",
                _ => !alert["acknowledged"].is_null() || alert["status"] == "resolved",
            };
            if !is_so {
                self.broken.push(format!("{} of alert {} was answered 200 and is lost", done.what, done.id));
            }
        }
    }

    /// Everybody in order, nobody skipped, each sent to as often as the timeline says.
    fn judge_way(&mut self, id: &str, alert: &Value, posts: &HashMap<AttemptRef, usize>, pace: Pace) {
        let mut broken = |what: String| self.broken.push(format!("alert {id}: {what}\n{alert:#}"));
        let plan = plan(alert["policy"].as_str().unwrap());
        let attempts = list(alert, "attempts");
        let status = alert["status"].as_str().unwrap();
        if status == "escalating" {
            broken("it does not end".to_owned());
        }
        if status == "exhausted" && attempts.len() < plan.len() {
            broken("it is exhausted and somebody was never called".to_owned());
        }
        if attempts.len() > plan.len() {
            broken("more is sent than is planned".to_owned());
        }
        for (index, (attempt, step)) in attempts.iter().zip(&plan).enumerate() {
            let number = index + 1;
            if (attempt["user"].as_str().unwrap(), attempt["channel"].as_str().unwrap()) != *step {
                broken(format!("attempt {number} is not to {} on {}", step.0, step.1));
            }
            let of = AttemptRef { alert: id.parse().unwrap(), attempt: u32::try_from(number).unwrap() };
            let n_posts = posts.get(&of).copied().unwrap_or(0);
            let is_last = number == attempts.len();
            let word = attempt["status"].as_str().unwrap();
            // A node that alone cannot reach the provider gives up what others could send; whether it waited long enough
            // the oracle knows.
            let is_given_up = word == "failed" && pace == Pace::SeveralNodes;
            if !is_last && !is_given_up && !matches!(word, "expired" | "rejected" | "read") {
                broken(format!("attempt {number} is {word} and was left"));
            }
            if n_posts == 0 && !is_given_up && !(is_last && matches!(word, "superseded" | "sending")) {
                broken(format!("attempt {number} was never sent"));
            }
            // A send that failed may have been accepted all the same; what faults excuse the oracle knows.
            let again = ["resent_after_restart", "send_failed"];
            let n_again =
                again.iter().flat_map(|event| events(alert, event)).filter(|entry| entry["attempt"] == number);
            let n_again = n_again.count();
            if n_posts > 1 + n_again {
                broken(format!(
                    "attempt {number} was sent {n_posts} times and had reason to be repeated {n_again} times"
                ));
            }
            self.n_repeated += n_posts.saturating_sub(1);
        }
        let after = list(alert, "timeline").iter().skip_while(|entry| entry["event"] != "acknowledged");
        let goes_on = ["expired", "failed_over", "escalated", "round_started", "exhausted"];
        for entry in after {
            if goes_on.contains(&entry["event"].as_str().unwrap()) {
                self.broken.push(format!("alert {id} went on after it was acknowledged\n{alert:#}"));
            }
        }
    }

    /// No deadline early, none later than a second after it passed or after the start behind it.
    fn judge_times(&mut self, id: &str, alert: &Value, lives: &[Life]) {
        // The process that did it, and from when on it could.
        let doer = |at: Timestamp| lives.iter().rfind(|life| life.begun <= at).unwrap();
        let could = |life: &Life| life.listens.unwrap_or(life.begun);
        for entry in events(alert, "expired") {
            let attempt = &alert["attempts"][usize::try_from(entry["attempt"].as_u64().unwrap()).unwrap() - 1];
            let (at, expires_at) = (time(&entry["at"]), time(&attempt["expires_at"]));
            let window = expires_at.since(time(&attempt["sent_at"]));
            if at < expires_at || window != Duration::from_secs(1) {
                self.broken.push(format!("alert {id}: an attempt expired early\n{alert:#}"));
            }
            self.late(at.since(expires_at.max(could(doer(at)))), id, "a deadline", alert);
        }
        for entry in events(alert, "resent_after_restart") {
            let at = time(&entry["at"]);
            self.late(at.since(could(doer(at))), id, "an unfinished send", alert);
        }
    }

    /// Somebody is always there: a deadline counts from itself, a send from when it was due.
    fn judge_times_of_nodes(&mut self, id: &str, alert: &Value) {
        for entry in events(alert, "expired") {
            let attempt = &alert["attempts"][usize::try_from(entry["attempt"].as_u64().unwrap()).unwrap() - 1];
            let (at, expires_at) = (time(&entry["at"]), time(&attempt["expires_at"]));
            if at < expires_at {
                self.broken.push(format!("alert {id}: an attempt expired early\n{alert:#}"));
            }
            self.late(at.since(expires_at), id, "a deadline", alert);
        }
        let mut due = time(&alert["created_at"]);
        for entry in list(alert, "timeline") {
            let at = time(&entry["at"]);
            match entry["event"].as_str().unwrap() {
                "resent_after_restart" => {
                    let late = at.since(due);
                    if late > TAKEN_OVER_MAX {
                        self.broken.push(format!("alert {id}: a send was taken over {late:?} late\n{alert:#}"));
                    }
                    due = at;
                }
                "failed_over" | "escalated" => due = at,
                _ => {}
            }
        }
    }

    fn late(&mut self, late: Duration, id: &str, what: &str, alert: &Value) {
        if late > self.latest {
            self.latest = late;
            self.latest_of = format!("{what} of alert {id}\n{alert:#}");
        }
    }

    /// A webhook that was answered 200 has its effect.
    fn judge_webhook(
        &mut self,
        webhook: &Value,
        attempts: &HashMap<&str, AttemptRef>,
        alerts: &HashMap<String, Value>,
    ) {
        let body = &webhook["body"];
        let message = match webhook["kind"].as_str() {
            Some("inbound") => &body["context"]["message_uuid"],
            _ => &body["message_uuid"],
        };
        let Some(of) = message.as_str().and_then(|message| attempts.get(message)) else {
            self.broken.push(format!("a webhook about no message: {webhook}"));
            return;
        };
        let Some(alert) = alerts.get(&of.alert.to_string()) else { return };
        let attempt = &alert["attempts"][usize::try_from(of.attempt).unwrap() - 1];
        let has = |event: &str| events(alert, event).any(|entry| entry["attempt"] == of.attempt);
        let is_answered = !alert["acknowledged"].is_null() || alert["status"] == "resolved";
        let is_so = match (webhook["kind"].as_str(), body["status"].as_str()) {
            // Nothing is written down about an alert that is over.
            (Some("inbound"), _) => {
                alert["status"] == "resolved" || (is_answered && events(alert, "reply").next().is_some())
            }
            (_, Some("read")) => is_answered && !attempt["read_at"].is_null(),
            (_, Some("delivered")) => !attempt["delivered_at"].is_null(),
            (_, Some("rejected")) => has("rejected"),
            (_, Some("submitted")) => true,
            (_, other) => panic!("a webhook with {other:?}"),
        };
        if !is_so {
            self.broken.push(format!("a webhook was answered 200 and is lost: {webhook}\n{alert:#}"));
        }
    }
}

/// Who is to be called, in order.
fn plan(policy: &str) -> Vec<(&'static str, &'static str)> {
    let (_, users) = POLICIES.iter().find(|(name, _)| *name == policy).unwrap();
    let channels = |user: &&'static str| {
        let (user, channels) = USERS.iter().find(|(name, _)| name == user).unwrap();
        channels.iter().map(|channel| (*user, *channel))
    };
    users.iter().flat_map(channels).collect()
}

fn list<'a>(alert: &'a Value, key: &str) -> &'a Vec<Value> {
    alert[key].as_array().unwrap()
}

fn events<'a>(alert: &'a Value, event: &'a str) -> impl Iterator<Item = &'a Value> {
    list(alert, "timeline").iter().filter(move |entry| entry["event"] == event)
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}
