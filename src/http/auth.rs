//! Who may call: the keys of the API and their roles.
//!
//! A key that is sent is compared with all keys, in a time that tells nothing. A wrong key and none at
//! all are answered alike, and too many of either are told to wait: each address for itself, and all
//! together. Whoever sends a valid key is not held up by that, wherever it comes from. What keeps keys
//! from being guessed is their length; the limit keeps a stranger from filling the log and the
//! processor.
//!
//! The address is that of the connection. What a proxy says in a header is not believed: anybody can
//! write such a header.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{ConnectInfo, OriginalUri, Request};
use axum::http::{Extensions, HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::config::{ApiKey, KeyHash, Role, Roles};
use crate::timestamp::Timestamp;

use super::App;
use super::dashboard::{self, Session, SessionKey};
use super::pace::{Pace, PaceOfEach};
use super::problem::Problem;

/// How many requests without a valid key an address may make in a second, and at once after a quiet
/// time; what is beyond is answered 429.
pub const FAILURES_PER_SECOND: NonZeroU32 = NonZeroU32::new(10).unwrap();
/// See [`FAILURES_PER_SECOND`].
pub const FAILURES_BURST: NonZeroU32 = NonZeroU32::new(100).unwrap();
/// The same for all addresses together.
pub const ALL_FAILURES_PER_SECOND: NonZeroU32 = NonZeroU32::new(100).unwrap();
/// See [`ALL_FAILURES_PER_SECOND`].
pub const ALL_FAILURES_BURST: NonZeroU32 = NonZeroU32::new(1_000).unwrap();
/// How many addresses are remembered for having failed.
pub const FAILED_ADDRESSES_MAX: usize = 10_000;

/// The keys of the API.
#[derive(Debug)]
pub struct Keys(Vec<Known>);

#[derive(Debug)]
struct Known {
    key: ApiKey,
    raising: Option<(Pace, Mutex<Timestamp>)>,
}

impl Keys {
    /// Takes the keys that are valid from now on.
    pub fn new(keys: impl IntoIterator<Item = ApiKey>) -> Self {
        let known = |key: ApiKey| {
            let pace = key.max_per_second.map(|max| Pace::new(max, max));
            Known { key, raising: pace.map(|pace| (pace, Mutex::new(Timestamp::EPOCH))) }
        };
        Self(keys.into_iter().map(known).collect())
    }

    /// The key that was sent. All are looked at, so that the time says nothing of the place.
    fn find(&self, sent: &str) -> Option<&Known> {
        let sent = KeyHash::of(sent);
        self.0.iter().fold(None, |found, known| if known.key.hash.is(&sent) { Some(known) } else { found })
    }

    /// The key that was typed into a form, if it is one of the service.
    pub(super) fn typed(&self, key: &str) -> Option<&ApiKey> {
        self.find(key).map(|known| &known.key)
    }

    /// What a browser's session says, and the key that it was begun with.
    fn behind(&self, sealed: &str, session_key: &SessionKey, now: Timestamp) -> Option<(Session, &Known)> {
        session_key.open(sealed, self.0.iter().map(|known| (&known.key.hash, known)), now)
    }
}

impl Known {
    /// Whether another alert may be raised with this key now.
    fn may_raise(&self, now: Timestamp) -> bool {
        let Some((pace, due)) = &self.raising else { return true };
        pace.allows(&mut due.lock().unwrap_or_else(PoisonError::into_inner), now)
    }
}

/// Whose key came with the request, or was given when the browser signed in.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    key: Arc<str>,
    roles: Roles,
    person: Option<Box<str>>,
    session_until: Option<Timestamp>,
}

impl Caller {
    /// The key's name.
    pub(super) fn name(&self) -> &str {
        &self.key
    }

    /// Who it is, where they said so when they signed in; else the key's name.
    pub(super) fn person(&self) -> &str {
        self.person.as_deref().unwrap_or(&self.key)
    }

    /// Whether the key allows what needs this role.
    pub(super) fn may(&self, role: Role) -> bool {
        self.roles.allow(role)
    }

    /// When the browser must sign in again; none for a key that comes with each request.
    pub(super) const fn session_until(&self) -> Option<Timestamp> {
        self.session_until
    }
}

/// Counts the requests that came without a valid key.
#[derive(Debug)]
pub(super) struct Failures(Mutex<Counted>);

#[derive(Debug)]
struct Counted {
    of_each: PaceOfEach<Origin>,
    of_all: PaceOfEach<()>,
}

impl Failures {
    /// None so far.
    pub(super) fn new() -> Self {
        let of_each = PaceOfEach::new(Pace::new(FAILURES_PER_SECOND, FAILURES_BURST), FAILED_ADDRESSES_MAX);
        let of_all = PaceOfEach::new(Pace::new(ALL_FAILURES_PER_SECOND, ALL_FAILURES_BURST), 1);
        Self(Mutex::new(Counted { of_each, of_all }))
    }

    /// Counts one; tells whether there have been too many.
    pub(super) fn are_too_many(&self, origin: Origin, now: Timestamp) -> bool {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        !(counted.of_each.allows(origin, now) && counted.of_all.allows((), now))
    }
}

/// Where a request comes from. An owner of an IPv6 network has it whole, so that it counts as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Origin(Option<IpAddr>);

impl Origin {
    /// The address of the connection that a request came on.
    pub(super) fn of(extensions: &Extensions) -> Self {
        let peer = extensions.get::<ConnectInfo<SocketAddr>>();
        Self(peer.map(|ConnectInfo(peer)| match peer.ip().to_canonical() {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        }))
    }
}

/// Lets a request through that needs no key, or that carries one which may do what it asks for. It judges
/// by the path and before any path is looked up, so that nobody without a key learns what exists below
/// `/alerts` and what does not.
pub(super) async fn with_key(app: &App, mut request: Request, next: Next) -> Response {
    if !is_guarded(request.uri().path()) {
        return next.run(request).await;
    }
    let may_be_session = dashboard::session_cookie(request.headers()).is_some();
    let session_key = if may_be_session { app.session_key().await.map(Some) } else { Ok(None) };
    match session_key.and_then(|session_key| admit(app, &request, session_key)) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) if dashboard::wants_page(request.headers()) => dashboard::turned_away(request.uri(), &problem),
        Err(problem) => problem.into_response(),
    }
}

fn admit(app: &App, request: &Request, session_key: Option<&SessionKey>) -> Result<Caller, Problem> {
    let settings = app.settings();
    let now = app.engine().now();
    let headers = request.headers();
    let (known, person, session_until) = if headers.contains_key(header::AUTHORIZATION) {
        let known = bearer(headers).and_then(|sent| settings.keys.find(sent));
        (known, None, None)
    } else if let (Some(sealed), Some(session_key)) = (dashboard::session_cookie(headers), session_key) {
        match settings.keys.behind(sealed, session_key, now) {
            Some((session, known)) => (Some(known), session.person, Some(session.until)),
            None => (None, None, None),
        }
    } else {
        (None, None, None)
    };
    let Some(known) = known else { return Err(no_valid_key(app, request)) };
    let changes_something = !matches!(*request.method(), Method::GET | Method::HEAD);
    let public_url = settings.public_url.as_deref();
    if session_until.is_some() && changes_something && !dashboard::is_from_us(headers, public_url) {
        return Err(Problem::from_another_page());
    }
    let name = &known.key.name;
    let role = needed(request);
    if !known.key.roles.allow(role) {
        let role = role.name();
        return Err(Problem::forbidden(format!("The API key `{name}` may not do this; the role `{role}` is needed.")));
    }
    if role == Role::Raise && !known.may_raise(now) {
        return Err(Problem::too_many("This API key has raised as many alerts as it may in a second."));
    }
    Ok(Caller { key: Arc::clone(name), roles: known.key.roles.clone(), person, session_until })
}

/// What to say to whoever sent no key that is valid. Too many are told to wait.
fn no_valid_key(app: &App, request: &Request) -> Problem {
    if app.failures().are_too_many(Origin::of(request.extensions()), app.engine().now()) {
        Problem::too_many("Too many requests came without a valid API key.")
    } else if bearer(request.headers()).is_some() {
        Problem::unauthorized("The API key is not one of this service.")
    } else {
        Problem::unauthorized("Send the API key as `Authorization: Bearer <key>`.")
    }
}

/// What a key must be allowed to do. Whatever is neither looking nor raising counts as answering, so
/// that a path which is added one day is not open to keys that were made for less.
fn needed(request: &Request) -> Role {
    let original = request.extensions().get::<OriginalUri>();
    let path = original.map_or_else(|| request.uri().path(), |OriginalUri(uri)| uri.path());
    if path == super::BACKUP_PATH {
        return Role::Admin;
    }
    match *request.method() {
        Method::GET | Method::HEAD => Role::Read,
        _ if matches!(path.trim_end_matches('/'), "/alerts" | dashboard::RAISE) => Role::Raise,
        _ if path.starts_with("/deliveries") => Role::Admin,
        _ => Role::Answer,
    }
}

fn is_guarded(path: &str) -> bool {
    let is_below = |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    path == super::BACKUP_PATH || dashboard::is_guarded(path) || is_below("/alerts") || is_below("/deliveries")
}

/// The token behind `Bearer`, in any case, where there is exactly one such header.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}
