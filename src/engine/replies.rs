//! Somebody wrote back: what they ask for, and which alert they mean (contract R10).

use std::time::Duration;

use crate::escalation::{Alert, Attempt, Event, Intent, Progress, Reply};
use crate::hash::sha256;
use crate::id::{AlertId, AttemptNumber, ProviderId, ShortCode};
use crate::incoming::InboundMessage;
use crate::store::{ClaimKey, StatusFilter};

use super::apply::Request;
use super::receive::{Received, Routed};
use super::{Engine, Error};

/// A reply may bear a time this long before the message it answers: Vonage's times have whole seconds,
/// and its clock is not ours.
const CLOCKS_APART_MAX: Duration = Duration::from_mins(1);
/// How many open alerts that messaged an address are looked at for one that was sent before the reply was
/// written. A reply is hardly ever older than this many alerts.
const LOOKED_AT_MAX: usize = 200;
/// How many characters of a reply are read; no code stands further on.
const READ_CHARS_MAX: usize = 4_096;

/// What a message asks for, and the codes in it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Meaning {
    intent: Intent,
    codes: Vec<ShortCode>,
}

/// The alert that is meant.
struct Meant {
    id: AlertId,
    attempt: AttemptNumber,
}

impl Engine {
    pub(super) async fn take_message(&self, message: &InboundMessage) -> Result<Routed, Error> {
        let once = message.id.as_ref().map(once);
        if let Some(once) = &once
            && self.0.store.claimed(&once.key).await?.is_some()
        {
            return Ok(Received::Ineffective.into());
        }
        let message = &self.by_our_clock(message);
        let meaning = meaning_of(message);
        let Some(meant) = self.meant(message, &meaning).await? else {
            tracing::info!(channel = message.channel.name(), "a message came in that answers no alert");
            return Ok(Received::Unmatched.into());
        };
        if meaning.intent == Intent::OptOut {
            tracing::warn!(alert.id = %meant.id, channel = message.channel.name(),
                "a user asked not to be messaged any more; the provider may block further messages on this channel");
        }
        let reply = Reply { id: message.id.clone(), channel: message.channel, intent: meaning.intent };
        let event = Event::Replied { attempt: meant.attempt, reply };
        Ok(Routed::from(&self.apply(meant.id, &event, once.as_ref()).await?))
    }

    /// The message as written by our clock. Where our wall clock was stepped, it was right before that or it is right
    /// now, and nobody here knows which; so the later moment counts. Taken for too early, an answer would be one to no
    /// message of ours, answered 200 and without effect.
    fn by_our_clock(&self, message: &InboundMessage) -> InboundMessage {
        let at = message.at.map(|written| written.max(self.0.clock.of_wall(written)));
        InboundMessage { at, ..message.clone() }
    }

    /// The first that fits: a code, the quoted message, the newest alert that messaged this address. A quoted message
    /// that nobody knows is one whose name is not written down yet, or whose sender was lost before it could, if there is such
    /// a one; where it may be one of several, and one of these is being sent right now, nobody can tell yet.
    async fn meant(&self, message: &InboundMessage, meaning: &Meaning) -> Result<Option<Meant>, Error> {
        for code in &meaning.codes {
            if let Some(id) = self.coded(*code).await? {
                let alert = self.alert(id).await?;
                if was_messaged(&alert, message) {
                    return Ok(answered_attempt(&alert, message, Begun::WhenDue).map(|attempt| Meant { id, attempt }));
                }
            }
        }
        let quoted = match &message.quoted {
            Some(quoted) => self.0.store.find_message(quoted).await?,
            None => None,
        };
        if let Some(reference) = quoted {
            let alert = self.alert(reference.alert).await?;
            if was_messaged(&alert, message) {
                return Ok(answered_attempt(&alert, message, Begun::WhenDue)
                    .map(|attempt| Meant { id: reference.alert, attempt }));
            }
        }
        let quotes_unknown = message.quoted.is_some() && quoted.is_none();
        let statuses: &[StatusFilter] = match meaning.intent {
            Intent::Acknowledge | Intent::NextUser | Intent::OptOut => {
                &[StatusFilter::Escalating, StatusFilter::Exhausted]
            }
            Intent::Resolve => &[StatusFilter::Escalating, StatusFilter::Exhausted, StatusFilter::Acknowledged],
        };
        let (mut meant, mut may_be_meant) = (None, None);
        let (mut nameless, mut n_nameless, mut is_one_being_sent) = (None, 0_usize, false);
        for id in self.0.store.find_address(message.channel, &message.from, statuses, LOOKED_AT_MAX).await? {
            let Some(alert) = self.legible(id).await? else { continue };
            let answered = |begun| answered_attempt(&alert, message, begun).map(|attempt| Meant { id, attempt });
            if quotes_unknown && let Some(attempt) = newest_before(&alert, message, Begun::WhenDue, may_be_nameless) {
                nameless = nameless.or(Some(Meant { id, attempt }));
                n_nameless += 1;
                is_one_being_sent |= matches!(alert.progress(), Some(Progress::Sending { .. }));
            }
            meant = meant.or_else(|| answered(Begun::WhenAccepted));
            if meant.is_some() && !quotes_unknown {
                break;
            }
            may_be_meant = may_be_meant.or_else(|| answered(Begun::WhenDue));
        }
        // Which of them it is will be known once what is on its way has its name, and Vonage asks again.
        if n_nameless > 1 && is_one_being_sent {
            return Err(Error::Contended);
        }
        Ok(nameless.or(meant).or(may_be_meant))
    }
}

/// A reply that is delivered a second time must not be taken for an answer to the next alert, which is
/// the newest one by then. So it is claimed like a request with an idempotency key.
fn once(message: &ProviderId) -> Request {
    let hash = sha256(format!("inbound message {message}").as_bytes());
    Request { key: ClaimKey(hash), fingerprint: hash }
}

fn reaches(alert: &Alert, attempt: &Attempt, message: &InboundMessage) -> bool {
    attempt.tries > 0
        && alert
            .step_of(attempt)
            .is_some_and(|step| step.legs().any(|leg| leg.channel == message.channel && leg.address == message.from))
}

fn was_messaged(alert: &Alert, message: &InboundMessage) -> bool {
    alert.attempts.iter().any(|attempt| reaches(alert, attempt, message))
}

/// From when on a reply may be an answer to an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begun {
    /// From when Vonage is known to have had the message.
    WhenAccepted,
    /// From when it was to go out, where it may have gone out earlier than is known: the process that sent it
    /// may have been lost before it could write that down.
    WhenDue,
}

/// Whether a message of the attempt may have gone out whose name at Vonage is not known.
fn may_be_nameless(attempt: &Attempt) -> bool {
    attempt.unknown > 0 || attempt.ending.is_none() && attempt.provider_ids.is_empty()
}

/// The newest attempt that messaged the sender before the reply was written.
fn answered_attempt(alert: &Alert, message: &InboundMessage, begun: Begun) -> Option<AttemptNumber> {
    newest_before(alert, message, begun, |_any| true)
}

/// As [`answered_attempt`], of those only that are asked for.
fn newest_before(
    alert: &Alert,
    message: &InboundMessage,
    begun: Begun,
    is_asked_for: impl Fn(&Attempt) -> bool,
) -> Option<AttemptNumber> {
    let index = alert.attempts.iter().rposition(|attempt| {
        let is_unknown = begun != Begun::WhenAccepted && attempt.unknown > 0;
        let begun_at = attempt.sent_at.filter(|_| !is_unknown).unwrap_or(attempt.due_at);
        let was_before = message.at.is_none_or(|written| written.plus(CLOCKS_APART_MAX) >= begun_at);
        was_before && reaches(alert, attempt, message) && is_asked_for(attempt)
    })?;
    AttemptNumber::try_from(index + 1).ok()
}

/// What a message asks for. A button says it outright; words are read by their first one.
fn meaning_of(message: &InboundMessage) -> Meaning {
    if let Some(meaning) = message.payload.as_deref().and_then(meaning_of_payload) {
        return meaning;
    }
    let text: String = message.text.as_deref().unwrap_or_default().chars().take(READ_CHARS_MAX).collect();
    let words: Vec<&str> =
        text.split(|character: char| !character.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let codes: Vec<ShortCode> = words.iter().filter_map(|word| word.parse().ok()).collect();
    let mut spoken = words.iter().filter(|word| word.parse::<ShortCode>().is_err()).map(|word| word.to_lowercase());
    let (first, second) = (spoken.next(), spoken.next());
    let intent = match (first.as_deref(), second) {
        (Some("next" | "escalate" | "skip"), _) => Intent::NextUser,
        (Some("resolve" | "resolved"), _) => Intent::Resolve,
        // Carriers and Vonage act on these words only where nothing else is said.
        (Some("stop" | "stopall" | "unsubscribe" | "optout" | "cancel" | "end" | "quit"), None) => Intent::OptOut,
        (_, _) => Intent::Acknowledge,
    };
    Meaning { intent, codes }
}

/// Our own buttons carry `ack:CODE`, `next:CODE` or `resolve:CODE`.
fn meaning_of_payload(payload: &str) -> Option<Meaning> {
    let (verb, code) = payload.split_once(':')?;
    let intent = match verb {
        "ack" => Intent::Acknowledge,
        "next" => Intent::NextUser,
        "resolve" => Intent::Resolve,
        _ => return None,
    };
    Some(Meaning { intent, codes: vec![code.parse().ok()?] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contact::{Address, Channel};
    use crate::id::AlertNumber;

    fn says(text: &str) -> Meaning {
        let from = Address::parse(Channel::Sms, "447700900001").unwrap();
        let message = InboundMessage {
            id: None,
            channel: Channel::Sms,
            from,
            at: None,
            text: Some(text.into()),
            payload: None,
            quoted: None,
        };
        meaning_of(&message)
    }

    #[test]
    fn the_first_word_says_what_is_asked_for() {
        for text in ["next", "NEXT please", "  Skip.", "escalate!"] {
            assert_eq!(says(text).intent, Intent::NextUser, "{text}");
        }
        for text in ["resolve", "Resolved, it was the fuse"] {
            assert_eq!(says(text).intent, Intent::Resolve, "{text}");
        }
        for text in
            ["", "ok", "👍", "on my way, who is next?", "not resolved yet", "stop the database first", "見ました"]
        {
            assert_eq!(says(text).intent, Intent::Acknowledge, "{text}");
        }
        for text in ["STOP", "stop.", "Unsubscribe"] {
            assert_eq!(says(text).intent, Intent::OptOut, "{text}");
        }
    }

    #[test]
    fn a_code_is_found_anywhere_and_in_any_case() {
        let code = ShortCode::of(AlertNumber(41));
        let text = format!("ok, {}!", code.to_string().to_lowercase());
        assert_eq!(says(&text), Meaning { intent: Intent::Acknowledge, codes: vec![code] });
        assert_eq!(says(&format!("{code} next")), Meaning { intent: Intent::NextUser, codes: vec![code] });
    }

    #[test]
    fn our_buttons_say_it_outright() {
        let code = ShortCode::of(AlertNumber(41));
        let next = Meaning { intent: Intent::NextUser, codes: vec![code] };
        assert_eq!(meaning_of_payload(&format!("next:{code}")), Some(next));
        assert_eq!(meaning_of_payload("buy:now"), None);
        assert_eq!(meaning_of_payload("ack:"), None);
    }
}
