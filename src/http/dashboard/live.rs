//! Telling open pages that something has changed. What has changed the page takes itself, so that a stream costs
//! next to nothing and shows nothing.

use std::convert::Infallible;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::Uri;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio_util::sync::CancellationToken;

use crate::engine::Engine;
use crate::http::App;
use crate::http::auth::Caller;
use crate::http::problem::Problem;
use crate::id::AlertId;
use crate::timestamp::Timestamp;

/// How many pages may listen at one moment; further ones are told to come again.
pub const LIVE_STREAMS_MAX: usize = 500;
/// The shortest time between two calls to look again.
pub const LIVE_EVERY: Duration = Duration::from_millis(500);
/// How long a page goes without being told to look again: what other processes on the store do, and how the
/// service itself does, is not heard of here.
pub const LIVE_LOOK_AGAIN: Duration = Duration::from_secs(10);
/// How long one stream lasts. The browser then opens the next one, and its session is judged anew.
pub const LIVE_LIFETIME: Duration = Duration::from_mins(15);

struct Stream {
    engine: Engine,
    changes: Receiver<AlertId>,
    /// The one alert that the page shows; none where it shows all.
    only: Option<AlertId>,
    until: Timestamp,
    stop: CancellationToken,
    is_new: bool,
    _permit: OwnedSemaphorePermit,
}

pub(super) async fn listen(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Response, Problem> {
    let query = uri.query().unwrap_or_default();
    let only = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "alert");
    let only = match only {
        Some((_, id)) => Some(id.parse().map_err(|_not_an_id| Problem::not_found("No alert has this id."))?),
        None => None,
    };
    let permit = app.streams().try_acquire_owned();
    let permit = permit.map_err(|_full| Problem::unavailable("Too many pages are open; reload this one later."))?;
    let engine = app.engine().clone();
    let until = engine.now().plus(LIVE_LIFETIME);
    let stream = Stream {
        changes: engine.changes(),
        until: caller.session_until().map_or(until, |ends| ends.min(until)),
        engine,
        only,
        stop: app.stop(),
        is_new: true,
        _permit: permit,
    };
    let events = stream::unfold(stream, |mut stream| async move {
        stream.next().await?;
        Some((Ok::<Event, Infallible>(Event::default().event("look").data("now")), stream))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(LIVE_LOOK_AGAIN)).into_response())
}

impl Stream {
    /// Waits until the page should look again; none at the end of the stream. The first time is at once, for what
    /// changed while the page was on its way.
    async fn next(&mut self) -> Option<()> {
        if std::mem::take(&mut self.is_new) {
            return Some(());
        }
        let stop = self.stop.clone();
        // What happens in the meantime is told of together.
        if tokio::time::timeout(LIVE_EVERY, stop.cancelled()).await.is_ok() || self.engine.now() >= self.until {
            return None;
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => None,
            told = tokio::time::timeout(LIVE_LOOK_AGAIN, self.change()) => told.unwrap_or(Some(())),
        }
    }

    async fn change(&mut self) -> Option<()> {
        loop {
            match self.changes.recv().await {
                Ok(id) if self.only.is_some_and(|only| only != id) => {}
                Ok(_) | Err(RecvError::Lagged(_)) => break,
                Err(RecvError::Closed) => return None,
            }
        }
        while !matches!(self.changes.try_recv(), Err(TryRecvError::Empty | TryRecvError::Closed)) {}
        Some(())
    }
}
