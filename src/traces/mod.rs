//! Traces, for whoever collects them (OpenTelemetry, by OTLP over HTTP): what was done, and how long it took.
//!
//! Nobody collects unless the standard's own variables name a collector; then each place that would tell of
//! something costs a look at an empty `Option`, and the log is the same either way.
//!
//! An alert lives longer than a request and survives a restart. So it has a trace of its own, and the trace's id is
//! the alert's id: each node and each start adds to it without keeping anything for it. A request is in the trace
//! of its caller, who may say so in `traceparent`; it and what it brought about are linked to each other.
//!
//! A trace must never hold up an escalation: what was done goes into a queue that has a limit, and what finds no
//! room in it is dropped. No name, address, text, token or key is in any of it.

mod collector;

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{
    Link, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Context, InstrumentationScope, KeyValue, Value};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, IdGenerator, RandomIdGenerator, SamplingDecision, ShouldSample, SpanData, SpanEvents,
    SpanLinks, SpanProcessor,
};
use reqwest::header::HeaderMap;

use crate::hash::sha256;
use crate::id::{AlertId, AttemptNumber};

pub use collector::{TELL_AGAIN_AFTER, TIMEOUT_MAX};

/// How long a stop waits for the last spans to reach the collector. With the listener's time and the engine's
/// ([`DRAIN_MAX`](crate::engine::DRAIN_MAX)) it makes up the 20 seconds that a stop may take.
pub const FLUSH_MAX: Duration = Duration::from_secs(1);

tokio::task_local! {
    /// The request that is being answered on this task.
    static REQUEST: SpanContext;
}

/// Tells a collector what was done, or nobody. Cheap to clone; all clones tell the same one.
#[derive(Clone, Debug, Default)]
pub struct Traces(Option<Arc<Tracer>>);

#[derive(Debug)]
struct Tracer {
    queue: BatchSpanProcessor,
    sampler: Box<dyn ShouldSample>,
    ids: RandomIdGenerator,
    scope: InstrumentationScope,
}

/// When something began, and within which request; nothing where nobody collects.
#[derive(Clone, Debug)]
pub struct Begun(Option<Beginning>);

#[derive(Clone, Debug)]
struct Beginning {
    at: SystemTime,
    request: Option<SpanContext>,
}

/// Something that was done for an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// It was raised. This is the root of its trace.
    Raise,
    /// A change was committed, or could not be.
    Commit {
        /// What brought the change about.
        event: &'static str,
        /// What came of it.
        outcome: &'static str,
    },
    /// An attempt was sent once.
    Send {
        /// Which attempt.
        attempt: AttemptNumber,
        /// Which of its tries.
        try_number: u32,
        /// Over which channel.
        channel: &'static str,
        /// What came of it.
        outcome: &'static str,
    },
    /// A webhook was taken in.
    Webhook {
        /// Of which kind it was.
        kind: &'static str,
        /// What became of it.
        outcome: &'static str,
    },
    /// A deadline passed, and the alert moved on.
    Deadline {
        /// The attempt that was waited for.
        attempt: AttemptNumber,
    },
}

/// The outcome of a send or a commit that did not do what it was to do.
const FAILED: [&str; 8] =
    ["refused", "credentials", "balance", "rate_limit", "provider", "unreachable", "ourselves", "unavailable"];

impl Deed {
    const fn name(self) -> &'static str {
        match self {
            Self::Raise => "raise",
            Self::Commit { .. } => "commit",
            Self::Send { .. } => "send",
            Self::Webhook { .. } => "webhook",
            Self::Deadline { .. } => "deadline",
        }
    }

    const fn outcome(self) -> Option<&'static str> {
        match self {
            Self::Commit { outcome, .. } | Self::Send { outcome, .. } | Self::Webhook { outcome, .. } => Some(outcome),
            Self::Raise | Self::Deadline { .. } => None,
        }
    }

    const fn kind(self) -> SpanKind {
        match self {
            Self::Send { .. } => SpanKind::Client,
            Self::Raise | Self::Commit { .. } | Self::Webhook { .. } | Self::Deadline { .. } => SpanKind::Internal,
        }
    }

    fn attributes(self, alert: AlertId) -> Vec<KeyValue> {
        let mut attributes = vec![KeyValue::new("alert.id", alert.to_string())];
        let mut say = |name: &'static str, value: Value| attributes.push(KeyValue::new(name, value));
        match self {
            Self::Raise => {}
            Self::Commit { event, outcome: _ } => say("event", event.into()),
            Self::Send { attempt, try_number, channel, outcome: _ } => {
                say("attempt", i64::from(attempt).into());
                say("try", i64::from(try_number).into());
                say("channel", channel.into());
            }
            Self::Webhook { kind, outcome: _ } => say("kind", kind.into()),
            Self::Deadline { attempt } => say("attempt", i64::from(attempt).into()),
        }
        if let Some(outcome) = self.outcome() {
            say("outcome", outcome.into());
        }
        attributes
    }

    fn status(self) -> Status {
        match self.outcome() {
            Some(outcome) if FAILED.contains(&outcome) => Status::error(outcome),
            Some(_) | None => Status::Unset,
        }
    }
}

/// A request that is being answered.
#[derive(Clone, Debug)]
pub struct Request {
    context: SpanContext,
    parent: SpanContext,
    at: SystemTime,
}

impl Request {
    /// Answers it: whatever is begun meanwhile on the same task knows that it is for this request.
    pub async fn answer<T>(&self, answering: impl Future<Output = T>) -> T {
        REQUEST.scope(self.context.clone(), answering).await
    }
}

impl Traces {
    /// Tells nobody.
    pub const fn off() -> Self {
        Self(None)
    }

    /// Tells the collector that the standard's variables name; nobody where they name none.
    pub fn by_variables<'a>(variable: impl Fn(&str) -> Option<&'a str>) -> Self {
        let Some(queue) = collector::queue(variable) else { return Self::off() };
        // The variables of the sampler are read by the library itself.
        let sampler = opentelemetry_sdk::trace::Config::default().sampler;
        let scope = InstrumentationScope::builder(env!("CARGO_PKG_NAME")).with_version(env!("CARGO_PKG_VERSION"));
        Self(Some(Arc::new(Tracer { queue, sampler, ids: RandomIdGenerator::default(), scope: scope.build() })))
    }

    /// Whether anybody is told.
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Something begins.
    pub fn begin(&self) -> Begun {
        let beginning = || Beginning { at: wall_clock(), request: REQUEST.try_with(SpanContext::clone).ok() };
        Begun(self.0.as_ref().map(|_on| beginning()))
    }

    /// What was begun is done.
    pub fn did(&self, begun: Begun, alert: AlertId, deed: Deed) {
        let (Some(tracer), Begun(Some(Beginning { at, request }))) = (&self.0, begun) else { return };
        let attributes = deed.attributes(alert);
        if !tracer.samples(&Context::new(), lottery(alert), deed.name(), &deed.kind(), &attributes) {
            return;
        }
        let root = root_of(alert);
        let (span_id, parent_span_id) = match deed {
            Deed::Raise => (root.span_id(), SpanId::INVALID),
            Deed::Commit { .. } | Deed::Send { .. } | Deed::Webhook { .. } | Deed::Deadline { .. } => {
                (tracer.ids.new_span_id(), root.span_id())
            }
        };
        tracer.queue.on_end(SpanData {
            span_context: SpanContext::new(root.trace_id(), span_id, TraceFlags::SAMPLED, false, TraceState::default()),
            attributes,
            links: links(request),
            status: deed.status(),
            ..tracer.span(deed.name().into(), deed.kind(), parent_span_id, at)
        });
    }

    /// A request came; none where nobody collects.
    pub fn request(&self, headers: &HeaderMap) -> Option<Request> {
        let tracer = self.0.as_ref()?;
        let caller = TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(headers));
        let parent = caller.span().span_context().clone();
        let trace_id = if parent.is_valid() { parent.trace_id() } else { tracer.ids.new_trace_id() };
        let flags = if tracer.samples(&caller, trace_id, "request", &SpanKind::Server, &[]) {
            TraceFlags::SAMPLED
        } else {
            TraceFlags::NOT_SAMPLED
        };
        let context = SpanContext::new(trace_id, tracer.ids.new_span_id(), flags, false, parent.trace_state().clone());
        Some(Request { context, parent, at: wall_clock() })
    }

    /// The request is answered. The path is known by its pattern only: a path itself may hold a token.
    pub fn answered(
        &self,
        request: Request,
        method: &'static str,
        pattern: Option<&str>,
        status: u16,
        alert: Option<AlertId>,
    ) {
        let Some(tracer) = self.0.as_ref().filter(|_on| request.context.is_sampled()) else { return };
        let mut attributes = vec![
            KeyValue::new("http.request.method", method),
            KeyValue::new("http.response.status_code", i64::from(status)),
        ];
        attributes.extend(pattern.map(|pattern| KeyValue::new("http.route", pattern.to_owned())));
        attributes.extend(alert.map(|alert| KeyValue::new("alert.id", alert.to_string())));
        let name = pattern.map_or(Cow::Borrowed(method), |pattern| format!("{method} {pattern}").into());
        let Request { context, parent, at } = request;
        tracer.queue.on_end(SpanData {
            span_context: context,
            parent_span_is_remote: parent.is_remote(),
            attributes,
            links: links(alert.map(root_of)),
            status: if status >= 500 { Status::error("") } else { Status::Unset },
            ..tracer.span(name, SpanKind::Server, parent.span_id(), at)
        });
    }

    /// Tells what is still to be told, for [`FLUSH_MAX`] at the longest; nothing is told afterwards.
    pub async fn flush(&self) {
        let Some(tracer) = self.0.clone() else { return };
        // The queue waits for its thread by blocking. What it could not tell in time is lost, and nobody can help it.
        let flushed = tokio::task::spawn_blocking(move || tracer.queue.shutdown_with_timeout(FLUSH_MAX)).await;
        if !matches!(flushed, Ok(Ok(()))) {
            tracing::warn!("the last traces did not reach their collector in time");
        }
    }
}

impl Tracer {
    fn samples(&self, parent: &Context, id: TraceId, name: &str, kind: &SpanKind, attributes: &[KeyValue]) -> bool {
        let parent = parent.has_active_span().then_some(parent);
        let sampled = self.sampler.should_sample(parent, id, name, kind, attributes, &[]);
        sampled.decision == SamplingDecision::RecordAndSample
    }

    /// A span that ends now, with nothing said about it yet.
    fn span(&self, name: Cow<'static, str>, kind: SpanKind, parent: SpanId, start_time: SystemTime) -> SpanData {
        SpanData {
            span_context: SpanContext::NONE,
            parent_span_id: parent,
            parent_span_is_remote: false,
            span_kind: kind,
            name,
            start_time,
            // A clock that was set back meanwhile must not make a span end before it began.
            end_time: wall_clock().max(start_time),
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: self.scope.clone(),
        }
    }
}

/// The root of an alert's trace.
fn root_of(alert: AlertId) -> SpanContext {
    let (trace_id, [_, _, _, _, _, _, _, _, span_id @ ..]) = (alert.to_bits(), alert.to_bits().to_be_bytes());
    let (trace_id, span_id) = (TraceId::from(trace_id), SpanId::from(u64::from_be_bytes(span_id)));
    SpanContext::new(trace_id, span_id, TraceFlags::SAMPLED, false, TraceState::default())
}

/// What the sampler draws lots with. A sampler takes the last bits of a trace's id for random ones; those of an
/// alert's id follow each other in a storm, and two of them say which kind of id it is.
fn lottery(alert: AlertId) -> TraceId {
    let [first_half @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = sha256(&alert.to_bits().to_be_bytes());
    TraceId::from_bytes(first_half)
}

fn links(to: Option<SpanContext>) -> SpanLinks {
    let mut links = SpanLinks::default();
    links.links.extend(to.map(Link::with_context));
    links
}

/// What a collector compares with the times of other machines.
#[expect(
    clippy::disallowed_methods,
    reason = "spans are shorter than a Timestamp is exact, and nothing is decided by them"
)]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use opentelemetry_sdk::trace::Sampler;

    use super::*;

    #[test]
    fn a_storm_of_alerts_is_sampled_one_by_one_and_each_alert_whole() {
        let sampler = Sampler::TraceIdRatioBased(0.1);
        let is_drawn = |alert: AlertId| {
            let result = sampler.should_sample(None, lottery(alert), "", &SpanKind::Internal, &[], &[]);
            result.decision == SamplingDecision::RecordAndSample
        };
        // What a storm's ids are like: a UUIDv7, and those that follow it.
        let first = 0x0192_8f3e_0000_7abc_8def_0123_4567_89ab_u128;
        let storm = (first..first + 1_000).map(AlertId::from_bits);
        let n_drawn = storm.clone().filter(|alert| is_drawn(*alert)).count();
        assert!((50..200).contains(&n_drawn), "{n_drawn} of a thousand");
        assert_eq!(storm.filter(|alert| is_drawn(*alert)).count(), n_drawn, "the same again for the next span");
    }
}
