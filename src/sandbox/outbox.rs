//! The webhooks that still have to be delivered, and when.
//!
//! Webhooks about one message are sent one after the other: the next goes out once the one before was
//! answered, or could not be. A webhook that is answered 429 or 5xx, or not at all, is sent again after
//! 5 s, 10 s, 20 s and so on up to every 15 minutes, and given up after 24 hours (Vonage's support
//! article on retries); it no longer holds the others up meanwhile, since each event is repeated on its
//! own. Any other answer settles it, 4xx included.
//!
//! It is synchronous, reads no clock and opens no connection.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::webhook::Webhook;
use crate::timestamp::Timestamp;

/// The first pause before a webhook is sent again; it doubles each time.
pub const RETRY_FIRST: Duration = Duration::from_secs(5);
/// The longest pause.
pub const RETRY_MAX: Duration = Duration::from_mins(15);
/// After this time a webhook is given up.
pub const GIVE_UP_AFTER: Duration = Duration::from_hours(24);
/// The most webhooks that wait. While there are as many, nothing new happens at the stand-in: nothing
/// is lost, it only comes later.
pub const WAITING_MAX: usize = 100_000;

/// A webhook on its way.
pub(super) struct Parcel {
    pub(super) webhook: Webhook,
    tries: u32,
    first_try: Option<Timestamp>,
}

/// What came of sending a webhook once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// 2xx
    Accepted,
    /// Another answer that is final.
    Refused,
    /// 429, 5xx or no answer.
    Again,
}

/// How many webhooks went which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WebhookCounts {
    /// Answered 2xx.
    pub accepted: u64,
    /// Answered otherwise and therefore lost, as at Vonage.
    pub refused: u64,
    /// Sent again after 429, 5xx or no answer.
    pub repeated: u64,
    /// Given up after 24 hours.
    pub given_up: u64,
    /// Not settled yet.
    pub waiting: usize,
}

#[derive(Default)]
pub(super) struct Outbox {
    due: BTreeMap<(Timestamp, u64), Parcel>,
    /// The lines whose first webhook has not been tried yet, with those that stand behind it.
    lines: HashMap<Arc<str>, VecDeque<Parcel>>,
    n_put: u64,
    counts: WebhookCounts,
}

impl Outbox {
    /// Takes a webhook, to be sent at `now` or when its turn comes.
    pub(super) fn put(&mut self, webhook: Webhook, now: Timestamp) {
        let parcel = Parcel { webhook, tries: 0, first_try: None };
        self.counts.waiting += 1;
        if let Some(behind) = self.lines.get_mut(&parcel.webhook.line) {
            behind.push_back(parcel);
        } else {
            self.lines.insert(Arc::clone(&parcel.webhook.line), VecDeque::new());
            self.schedule(parcel, now);
        }
    }

    fn schedule(&mut self, parcel: Parcel, at: Timestamp) {
        self.n_put += 1;
        self.due.insert((at, self.n_put), parcel);
    }

    pub(super) fn next(&self) -> Option<Timestamp> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// The next webhook that is due; it is on its way from now on.
    pub(super) fn take_due(&mut self, now: Timestamp) -> Option<Parcel> {
        let entry = self.due.first_entry().filter(|entry| entry.key().0 <= now)?;
        let mut parcel = entry.remove();
        parcel.tries += 1;
        parcel.first_try.get_or_insert(now);
        Some(parcel)
    }

    /// A webhook has been tried.
    pub(super) fn tried(&mut self, parcel: Parcel, delivery: Delivery, now: Timestamp) {
        if parcel.tries == 1 {
            let line = &parcel.webhook.line;
            match self.lines.get_mut(line).and_then(VecDeque::pop_front) {
                Some(next) => self.schedule(next, now),
                None => {
                    self.lines.remove(line);
                }
            }
        }
        let pause = RETRY_MAX.min(RETRY_FIRST.saturating_mul(1 << parcel.tries.saturating_sub(1).min(20)));
        let settled = match delivery {
            Delivery::Accepted => &mut self.counts.accepted,
            Delivery::Refused => &mut self.counts.refused,
            Delivery::Again if now.plus(pause).since(parcel.first_try.unwrap_or(now)) > GIVE_UP_AFTER => {
                &mut self.counts.given_up
            }
            Delivery::Again => {
                self.counts.repeated += 1;
                self.schedule(parcel, now.plus(pause));
                return;
            }
        };
        *settled += 1;
        self.counts.waiting = self.counts.waiting.saturating_sub(1);
    }

    pub(super) const fn counts(&self) -> WebhookCounts {
        self.counts
    }

    /// How many more webhooks it can take before it is full.
    pub(super) const fn room(&self) -> usize {
        WAITING_MAX.saturating_sub(self.counts.waiting)
    }

    /// Whether a webhook about this message waits for its first try, or is on it.
    pub(super) fn has_line(&self, message_uuid: &str) -> bool {
        self.lines.contains_key(message_uuid)
    }

    /// Drops all that waits.
    pub(super) fn forget(&mut self) {
        // What is on its way comes back through `tried` and is settled there.
        let forgotten = self.due.len() + self.lines.values().map(VecDeque::len).sum::<usize>();
        self.counts.waiting = self.counts.waiting.saturating_sub(forgotten);
        self.due.clear();
        self.lines.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::webhook::{Content, WebhookKind};
    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_772_331_307_000);

    fn webhook(line: &str, body: &'static str) -> Webhook {
        let content = Content::Body(body.into());
        Webhook { line: line.into(), kind: WebhookKind::Status, url: None, content, application: None }
    }

    fn body(parcel: &Parcel) -> &[u8] {
        match &parcel.webhook.content {
            Content::Body(bytes) => bytes,
            Content::Query(query) => query.as_bytes(),
        }
    }

    #[test]
    fn webhooks_about_one_message_wait_for_each_other_and_others_do_not() {
        let mut outbox = Outbox::default();
        for (line, body) in [("a", "a1"), ("a", "a2"), ("b", "b1")] {
            outbox.put(webhook(line, body), START);
        }
        let first = outbox.take_due(START).unwrap();
        let other = outbox.take_due(START).unwrap();
        assert_eq!((body(&first), body(&other)), (&b"a1"[..], &b"b1"[..]));
        assert!(outbox.take_due(START).is_none());
        outbox.tried(first, Delivery::Accepted, START);
        assert_eq!(body(&outbox.take_due(START).unwrap()), b"a2");
    }

    #[test]
    fn a_webhook_that_is_sent_again_holds_nobody_up() {
        let mut outbox = Outbox::default();
        outbox.put(webhook("a", "a1"), START);
        outbox.put(webhook("a", "a2"), START);
        let first = outbox.take_due(START).unwrap();
        outbox.tried(first, Delivery::Again, START);
        assert_eq!(body(&outbox.take_due(START).unwrap()), b"a2");
        assert_eq!(outbox.next(), Some(START.plus(RETRY_FIRST)));
    }

    #[test]
    fn pauses_double_up_to_a_quarter_of_an_hour_and_end_after_a_day() {
        let mut outbox = Outbox::default();
        outbox.put(webhook("a", "a1"), START);
        let (mut now, mut pauses) = (START, Vec::new());
        while let Some(next) = outbox.next() {
            pauses.push(next.since(now).as_secs());
            now = next;
            let parcel = outbox.take_due(now).unwrap();
            outbox.tried(parcel, Delivery::Again, now);
        }
        assert_eq!(
            pauses.iter().take(11).copied().collect::<Vec<_>>(),
            [0, 5, 10, 20, 40, 80, 160, 320, 640, 900, 900]
        );
        assert!(now.since(START) <= GIVE_UP_AFTER && now.since(START) + RETRY_MAX > GIVE_UP_AFTER);
        assert_eq!(outbox.counts(), WebhookCounts { repeated: 102, given_up: 1, ..WebhookCounts::default() });
    }
}
