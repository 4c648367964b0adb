//! The oracle: one judge for every test that breaks things on purpose.
//!
//! It reads three records that know nothing of each other, and says which promise was broken for which
//! alert:
//!
//! 1. what the *client* was answered (each `POST /alerts`, acknowledge, resolve, escalate),
//! 2. what the *provider* was asked to send, and which webhooks it sent and how they were answered,
//! 3. what the *store* holds at the end: each alert as `GET /alerts/<id>` shows it,
//!
//! together with the faults that were injected, because a fault excuses lateness and one message more, and
//! nothing else. The names of the promises (P1 to P23) are explained in `docs/promise.md`.
//!
//! # The history, as JSON
//!
//! Moments are RFC 3339 texts or milliseconds since 1970, all of them by one true clock. Everything but
//! `plans`, `alerts` and `ended_at` may be left out.
//!
//! ```json
//! { "plans": { "default": { "backend": "messages", "repeat": 0, "users": [
//!       { "name": "Tony", "channels": [ { "type": "sms", "id_num": "447700900001", "expiry_time": 300,
//!                                         "condition_status": "read" } ] } ] } },
//!   "client": [ { "at": "…", "answered_at": "…", "call": "raise", "status": 201, "id": "…",
//!                 "key": "the idempotency key", "body": "anything that tells bodies apart", "dedup_key": null } ],
//!   "provider": { "complete": true,
//!       "sent": [ { "at": "…", "client_ref": "…", "message_uuid": "…", "dispatch_uuid": null, "channel": "sms",
//!                   "to": "447700900001", "outcome": "accepted", "answered": true, "node": "a" } ],
//!       "webhooks": [ { "at": "…", "answered_at": "…", "answer": 200, "kind": "read", "client_ref": "…" } ] },
//!   "alerts": [ …what GET /alerts/<id> answers… ],
//!   "faults": [ { "kind": "crash", "at": "…", "until": "…", "node": "a" } ],
//!   "ended_at": "…", "late_max_ms": 2000, "recovery_ms": 1000, "clocks_apart_ms": 0, "news_ms": 0,
//!   "answer_max_ms": 5000, "taken_up": { "by_others": false, "deadlines_ms": 1000, "sends_ms": 1000 },
//!   "alarms": [ { "at": "…", "name": "vonage_balance", "alert": null } ],
//!   "poisoned": { "an alert's id": "…" } }
//! ```
//!
//! - `plans` are found by the alert's `policy`; an ad-hoc alert's by its id.
//! - `provider.sent` can be filled with what `GET /sent` of `callout sandbox` answers (its messages were all
//!   accepted; unknown fields are passed over). `outcome` is `accepted`, `refused` (this message is at fault)
//!   or `trouble` (it was not taken). `answered: false` says that it was accepted and that callout was not
//!   told so. `complete` says that refused and failed requests and all webhooks are in the log; without it
//!   nothing is concluded from what is missing.
//! - a webhook's `kind` is submitted, delivered, read, rejected, undeliverable or reply; it names its message
//!   by `client_ref`, `message_uuid` or `dispatch_uuid`. A reply names the message that it answers, and says
//!   what it `wants`: acknowledge (default), next or resolve. One that has no code says who was its `writer`
//!   (`{"channel": "sms", "address": "…"}`) instead, and the message that it quotes, if it does: it may mean any
//!   alert that messaged them. `answer` is absent where none came. `written_at` is when it was first sent.
//! - `call` is raise, acknowledge, resolve or escalate; `status` is absent where no answer came.
//!   One that is `forged` was made up by somebody else.
//! - a fault's `kind` is crash, replaced (a process that ended in good order, for another one), overload (more is posted
//!   than can be kept; it may say how much can be: `keeps_per_minute`, and how late what was accepted may be:
//!   `late_max_ms`), pause (frozen), partition (a node without its store), alone (a node that alone does not
//!   get through to the provider; it excuses nothing where others do), outage (of the provider, for everybody), account (the provider refuses ours), store (it fails, or loses answers; with `keeps_nothing`
//!   nothing can be kept meanwhile), clock (stepped, so that times are not what they seem) or slow. `until` is when it was mended
//!   (a process: when the next one was started). An outage may say from when on it was `known_at`.
//! - `retry_after` of a call says whether its answer said when to ask again; `answer_max_ms` is how long a call may
//!   wait for its answer, and `news_ms` how long nodes take to hear of each other what fails.
//! - `taken_up` says how soon what a process left is seen to: after the next start, or `by_others` after its end. Nothing
//!   is concluded where it is left out, nor where something else was wrong at the same time.
//! - `alarms` are what the people who run callout were told; nothing is concluded where they are left out. `poisoned`
//!   are alerts whose record nobody can read any more, and since when; they excuse nothing but themselves.
//! - the history should end in quiet: `late_max_ms` and `recovery_ms` (how long after a fault is mended things
//!   may still be late) must have passed since the last fault.

pub(crate) mod history;

mod accepting;
mod escalating;
mod forging;
mod outcome;
mod recovering;
mod sending;
mod telling;
mod view;

use std::fmt;

use history::History;
use view::View;

/// Every promise that is judged, with a few words for it.
pub(crate) const PROMISES: &[(&str, &str)] = &[
    ("P1", "what was answered 2xx is kept"),
    ("P2", "nothing is answered 2xx before it is kept, and a refusal says when to ask again"),
    ("P3", "the same request raises one alert"),
    ("P4", "the first message goes out promptly"),
    ("P5", "nobody is skipped, and the order is kept"),
    ("P6", "everybody has their whole time"),
    ("P7", "deadlines are neither early nor late"),
    ("P8", "nobody is messaged after an answer"),
    ("P9", "a late read counts"),
    ("P10", "a message goes out once, and once more for each fault at most"),
    ("P11", "an alert ends, or something will happen to it"),
    ("P12", "webhooks have one effect, in any order"),
    ("P13", "a forgery changes nothing"),
    ("P14", "no webhook that was answered 200 is lost"),
    ("P15", "what a process left is taken up soon"),
    ("P16", "an outage burns nobody"),
    ("P17", "an account that is refused is told of within a minute"),
    ("P18", "an alert that nobody can work on is told of, and holds up no other"),
    ("P19", "too much is refused, and what was accepted goes on"),
    ("P20", "nothing is answered 2xx while the store keeps nothing"),
    ("P21", "who is cut off from the store sends nothing new"),
    ("P22", "a process that is replaced leaves nothing half done"),
    ("P23", "the timeline adds up to the state"),
];

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Broken {
    /// Its number, as in [`PROMISES`].
    pub(crate) promise: &'static str,
    /// The alert that it was broken for.
    pub(crate) alert: String,
    /// What happened, in a sentence.
    pub(crate) says: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} is broken for alert {}: {}", self.promise, self.alert, self.says)
    }
}

/// Everything that is wrong with a history; nothing where every promise was kept.
pub(crate) fn judge(history: &History) -> Vec<Broken> {
    let view = View::of(history);
    let mut broken = accepting::judge(&view);
    forging::judge(&view, &mut broken);
    telling::judge(&view, &mut broken);
    recovering::judge(&view, &mut broken);
    outcome::judge_unclear(&view, &mut broken);
    for seen in view.alerts.iter().filter(|seen| !seen.is_poisoned(history)) {
        escalating::judge(&view, seen, &mut broken);
        sending::judge(&view, seen, &mut broken);
        outcome::judge(&view, seen, &mut broken);
    }
    broken.sort();
    broken.dedup();
    broken
}
