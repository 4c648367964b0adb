//! Whose turn it is on each connection, so that room can be made for somebody new.
//!
//! There are only so many connections. When all are taken, the next caller may be Vonage with somebody's answer, and
//! must not wait until one of them has used up its time. So each says whether callout waits for its caller, and since
//! when; of those that have kept it waiting for a while, one is closed for whoever comes new: first those on which
//! nothing has been begun, so that nothing is lost, then whoever takes longest to say or to hear something. That a
//! byte comes now and then does not count. No connection is closed while callout works on a request of it.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::HttpBody;
use bytes::Bytes;
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::sync::Notify;

/// It is callout's turn.
const OURS: u64 = u64::MAX;
/// It is the caller's turn, and something has been begun: a request, or the sending of an answer.
const BEGUN: u64 = 1 << 63;

/// All connections that are open.
#[derive(Debug)]
pub(super) struct Places {
    began: Instant,
    open: Mutex<HashMap<u64, Arc<Place>>>,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Place {
    began: Instant,
    /// [`OURS`], or since when it has been the caller's turn, in microseconds since `began`, with [`BEGUN`] or
    /// without. So the one that is the first to go has the smallest.
    turn: AtomicU64,
    asked_to_go: Notify,
}

impl Places {
    pub(super) fn new() -> Self {
        Self { began: now(), open: Mutex::default() }
    }

    /// A critical section holds only map operations, and is never held over an await.
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Place>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection is opened; it is the caller's turn.
    pub(super) fn open(&self, number: u64) -> Arc<Place> {
        let place = Arc::new(Place { began: self.began, turn: AtomicU64::new(0), asked_to_go: Notify::new() });
        place.idle();
        self.lock().insert(number, Arc::clone(&place));
        place
    }

    pub(super) fn closed(&self, number: u64) {
        self.lock().remove(&number);
    }

    /// Asks one of those to go whose turn it has been for as long as `spared`.
    pub(super) fn ask_one_to_go(&self, spared: Duration) {
        let places = self.lock();
        let silent = places.values().filter(|place| place.has_kept_us_waiting(spared));
        if let Some(first) = silent.min_by_key(|place| place.turn.load(Ordering::Relaxed)) {
            first.asked_to_go.notify_one();
        }
    }
}

impl Place {
    fn micros(&self) -> u64 {
        u64::try_from(now().saturating_duration_since(self.began).as_micros()).unwrap_or(BEGUN) & !BEGUN
    }

    /// It is the caller's turn, who has not begun anything.
    pub(super) fn idle(&self) {
        self.turn.store(self.micros(), Ordering::Relaxed);
    }

    /// Something came in.
    pub(super) fn heard(&self) {
        if self.turn.load(Ordering::Relaxed) & BEGUN == 0 {
            self.turn.store(self.micros() | BEGUN, Ordering::Relaxed);
        }
    }

    /// The caller does not take in what it was answered.
    pub(super) fn unread(&self) {
        self.turn.fetch_or(BEGUN, Ordering::Relaxed);
    }

    /// A request is whole: it is callout's turn.
    pub(super) fn ours(&self) {
        self.turn.store(OURS, Ordering::Relaxed);
    }

    /// Whether it has been the caller's turn for so long.
    pub(super) fn has_kept_us_waiting(&self, spared: Duration) -> bool {
        let turn = self.turn.load(Ordering::Relaxed);
        turn != OURS && u128::from(self.micros().saturating_sub(turn & !BEGUN)) >= spared.as_micros()
    }

    /// Returns when somebody new needs the place.
    pub(super) async fn asked_to_go(&self) {
        self.asked_to_go.notified().await;
    }
}

/// The body of a request, which says when the caller has sent all of it.
#[derive(Debug)]
pub(super) struct Heard {
    body: Incoming,
    place: Arc<Place>,
}

impl Heard {
    pub(super) fn new(body: Incoming, place: &Arc<Place>) -> Self {
        if body.is_end_stream() {
            place.ours();
        }
        Self { body, place: Arc::clone(place) }
    }
}

impl HttpBody for Heard {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if matches!(polled, Poll::Ready(None)) || self.body.is_end_stream() {
            self.place.ours();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[expect(clippy::disallowed_methods, reason = "a limit on a socket is real time, whatever the service's clock says")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those that are open, with since when it has been whose turn.
    fn places(turns: &[u64]) -> (Places, Vec<Arc<Place>>) {
        let mut places = Places::new();
        places.began = places.began.checked_sub(Duration::from_secs(100)).unwrap();
        let open: Vec<_> = (0..).zip(turns).map(|(number, turn)| (places.open(number), *turn)).collect();
        let set = |(place, turn): (Arc<Place>, u64)| {
            place.turn.store(turn, Ordering::Relaxed);
            place
        };
        (places, open.into_iter().map(set).collect())
    }

    /// Which of them are asked to go, one after the other.
    fn asked(turns: &[u64], spared: Duration) -> Vec<usize> {
        let (places, open) = places(turns);
        let mut order = Vec::new();
        for _ in turns {
            places.ask_one_to_go(spared);
            let is_asked = |place: &Arc<Place>| {
                let mut asked = Box::pin(place.asked_to_go());
                asked.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())).is_ready()
            };
            let Some(number) = open.iter().position(is_asked) else { break };
            order.push(number);
            places.closed(u64::try_from(number).unwrap());
        }
        order
    }

    const MILLI: u64 = 1_000;

    #[test]
    fn who_has_begun_nothing_goes_first_and_then_who_takes_longest() {
        let turns = [BEGUN | (1_000 * MILLI), 3_000 * MILLI, OURS, 2_000 * MILLI, BEGUN | (500 * MILLI)];
        assert_eq!(
            asked(&turns, Duration::from_millis(500)),
            [3, 1, 4, 0],
            "nobody is sent away who waits for callout"
        );
    }

    #[test]
    fn who_has_just_got_its_turn_is_left_alone() {
        let turns = [99_900 * MILLI, BEGUN | (1_000 * MILLI), BEGUN | (99_800 * MILLI)];
        assert_eq!(asked(&turns, Duration::from_secs(1)), [1]);
    }
}
