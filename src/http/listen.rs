//! The listener: HTTP/1 only, with limits on connections and on how long a caller may take.
//!
//! axum's own server never closes a silent connection, and a server that also speaks HTTP/2 waits
//! without limit for the first bytes; so this one speaks HTTP/1 only, by hyper, on connections of its
//! own ([`Connection`]). There is room for so many; when few places are left, each connection is closed after its
//! answer, and when all are taken, one that has kept callout waiting is closed for the next that comes
//! ([`Places`]). So neither callers who come again and again nor those who say nothing keep out all others, Vonage
//! among them. What has no place yet waits in the operating system's queue and costs nothing here.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::ConnectInfo;
use axum::http::{HeaderValue, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::App;
use super::connection::Connection;
use super::place::{Heard, Places};

/// How much a caller may ask of the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a caller may take to send a request's head, and how long an idle connection is kept.
    pub head: Duration,
    /// The longest that a request may take from its head to its answer, body included.
    pub request: Duration,
    /// How long a caller may read nothing of an answer while more of it waits to be sent.
    pub unread: Duration,
    /// The most connections at one moment.
    pub connections: usize,
    /// How long a connection may keep callout waiting before it may have to make room for a new one.
    pub spared: Duration,
    /// How long open connections may go on after a stop was asked for.
    pub drain: Duration,
}

/// How long a caller may take to send a request's head, and how long an idle connection is kept.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest that a request may take, body and answer together. Vonage waits 15 seconds for the answer
/// to a webhook, and its own retry is better than an answer that comes too late.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a caller may read nothing of an answer.
pub const UNREAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The most connections at one moment. When there are so many, one that is idle or slow is closed for a new one.
pub const CONNECTIONS_MAX: usize = 4_096;
/// A connection that has been idle, or has not brought its request to an end, for less is left alone even when all
/// places are taken.
pub const SPARED: Duration = Duration::from_millis(500);
/// How long open connections may go on after a stop was asked for. Together with the engine's own
/// [`DRAIN_MAX`](crate::engine::DRAIN_MAX) it stays below the 20 seconds that a stop may take.
const DRAIN: Duration = Duration::from_secs(5);

impl Limits {
    /// What the service uses.
    pub const SERVICE: Self = Self {
        head: HEADER_TIMEOUT,
        request: REQUEST_TIMEOUT,
        unread: UNREAD_TIMEOUT,
        connections: CONNECTIONS_MAX,
        spared: SPARED,
        drain: DRAIN,
    };
}

/// Connections are closed after each answer while less than one in so many is free.
pub(super) const CROWDED_BELOW_ONE_IN: usize = 4;
/// How many open files are left to everything that is not a connection of a caller: the sends that are on
/// their way ([`crate::engine::IN_FLIGHT_MAX`]), the store, and what the runtime needs.
const FILES_LEFT: usize = 256;
/// Connections that are accepted however few files may be open.
const CONNECTIONS_MIN: usize = 16;

impl Limits {
    /// These limits where the process may have so many files open: callers alone must not use them up, or
    /// no message could be sent and nothing be kept.
    #[must_use]
    pub fn within_files(self, open_files_max: usize) -> Self {
        let room = open_files_max.saturating_sub(FILES_LEFT).max(CONNECTIONS_MIN);
        Self { connections: self.connections.min(room), ..self }
    }
}

/// The most bytes of a request's head. Hyper's own refusal of more is turned into a problem.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;
/// How long to wait before the next connection is accepted when the operating system had no room for one.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// How long a connection that was asked to make room is waited for before the next one is asked.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(10);

/// Serves until the app is told to stop, then lets requests that have begun come to their end.
pub(super) async fn serve(listener: TcpListener, app: &App, router: Router, limits: Limits) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let stop = app.stop();
    let mut door = Door::new(app.clone(), limits);
    let connections = TaskTracker::new();
    let end = CancellationToken::new();
    for number in 0.. {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = door.accept(&listener) => accepted,
        };
        match accepted {
            Ok(accepted) => {
                let served = serve_connection(accepted, number, router.clone(), Arc::clone(&door.hall), stop.clone());
                let end = end.clone();
                connections.spawn(async move {
                    tokio::select! {
                        biased;
                        () = end.cancelled() => {}
                        () = served => {}
                    }
                });
            }
            Err(error) => {
                tracing::warn!(error = %error, "a connection could not be accepted; is the limit on open files too low?");
                // Either way it is time to go on.
                let _stopped = tokio::time::timeout(ACCEPT_AGAIN_AFTER, stop.cancelled()).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(limits.drain, connections.wait()).await.is_err() {
        tracing::warn!(n_open = connections.len(), "some connections did not end in time and were closed");
        end.cancel();
    }
    Ok(())
}

/// A connection that there is room for.
struct Accepted {
    stream: TcpStream,
    peer: SocketAddr,
    /// Held while it is open.
    permit: OwnedSemaphorePermit,
}

/// What all connections share.
struct Hall {
    app: App,
    limits: Limits,
    room: Arc<Semaphore>,
    places: Places,
}

impl Hall {
    /// Connections are closed after each answer while fewer places are left than this.
    const fn few(&self) -> usize {
        self.limits.connections / CROWDED_BELOW_ONE_IN
    }

    /// Has a connection end with this answer while there are too many of them.
    fn thin_out<B>(&self, answer: &mut Response<B>) {
        if self.room.available_permits() < self.few() {
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

/// Lets connections in, one after the other.
struct Door {
    hall: Arc<Hall>,
    /// Whether it was told that all places are taken, and few are free still.
    is_full: bool,
}

impl Door {
    fn new(app: App, limits: Limits) -> Self {
        let room = Arc::new(Semaphore::new(limits.connections));
        Self { hall: Arc::new(Hall { app, limits, room, places: Places::new() }), is_full: false }
    }

    async fn accept(&mut self, listener: &tokio::net::TcpListener) -> io::Result<Accepted> {
        let (stream, peer) = listener.accept().await?;
        // Answers are small and each one is awaited; holding them back would only add to the wait.
        stream.set_nodelay(true)?;
        let permit = match Arc::clone(&self.hall.room).try_acquire_owned() {
            Ok(permit) => permit,
            Err(TryAcquireError::NoPermits) => self.make_room().await?,
            Err(error @ TryAcquireError::Closed) => return Err(io::Error::other(error)),
        };
        if self.is_full && self.hall.room.available_permits() > self.hall.few() {
            self.is_full = false;
            tracing::info!("there is room for new connections again");
        }
        Ok(Accepted { stream, peer, permit })
    }

    /// Waits for a place, and has those who keep callout waiting make one.
    async fn make_room(&mut self) -> io::Result<OwnedSemaphorePermit> {
        if !self.is_full {
            self.is_full = true;
            tracing::warn!(
                n_open = self.hall.limits.connections,
                "all connections are taken; those that are idle or slow are closed for new ones"
            );
        }
        loop {
            self.hall.places.ask_one_to_go(self.hall.limits.spared);
            let place = Arc::clone(&self.hall.room).acquire_owned();
            if let Ok(permit) = tokio::time::timeout(ASK_AGAIN_AFTER, place).await {
                return permit.map_err(io::Error::other);
            }
        }
    }
}

async fn serve_connection(accepted: Accepted, number: u64, router: Router, hall: Arc<Hall>, stop: CancellationToken) {
    let Accepted { stream, peer, permit } = accepted;
    let place = hall.places.open(number);
    let asked = Arc::clone(&place);
    let service = router.map_request(move |request: Request<Incoming>| {
        let mut request = request.map(|body| Heard::new(body, &asked));
        request.extensions_mut().insert(ConnectInfo(peer));
        request
    });
    let (answered, crowd) = (Arc::clone(&place), Arc::clone(&hall));
    let service = service.map_response(move |mut answer: Response<Body>| {
        crowd.thin_out(&mut answer);
        // A stream goes on until callout has said all of it.
        if answer.body().size_hint().exact().is_some() {
            answered.idle();
        }
        answer
    });
    let stream = Connection::new(stream, Arc::clone(&place), hall.limits.unread);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(hall.limits.head)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    tokio::pin!(connection);
    let mut is_stopping = false;
    let ended = loop {
        tokio::select! {
            biased;
            () = stop.cancelled(), if !is_stopping => {
                is_stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            ended = &mut connection => break ended,
            // What has come in meanwhile was read just now.
            () = place.asked_to_go() => if place.has_kept_us_waiting(hall.limits.spared) {
                hall.app.engine().metrics().connection_displaced();
                break Ok(());
            },
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = %error, "a connection broke off");
    }
    hall.places.closed(number);
    drop(permit);
}
