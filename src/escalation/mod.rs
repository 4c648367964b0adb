//! The escalation state machine: one pure function that decides everything.
//!
//! [`raise`] makes an alert, [`step`] says what an event does to it, and [`next_wake`] reads off
//! when the clock must be looked at again. Nothing here reads a clock, waits, fails, allocates a
//! name or knows Vonage; the [engine](crate::engine) does all of that around it.
//!
//! ```text
//!                   TurnCame              Accepted
//!   raise ──▶ Ready ────────▶ Sending ──────────────▶ Waiting ──▶ time is up: next step ──▶ Ready
//!               ▲  Trouble or    │                       │
//!               └────────────────┘                       └─ failed: next step ──▶ Ready
//!                 sender lost
//!
//!   from anywhere: read, reply, link, API ──▶ Acknowledged ──▶ Resolved
//!   after the last step of the last round ──▶ Exhausted ──▶ Acknowledged, Resolved
//! ```
//!
//! What is deliberately absent: a way to set or cancel a timer (deadlines are part of the state),
//! an error (an event that does not fit is [`Ignored`]), and any difference between Vonage's two
//! APIs other than how many channels a step has.

mod alert;
mod answers;
mod attempt_status;
mod event;
mod outlook;
mod plan;
mod promises;
mod reports;
mod settled;
mod step;

pub use alert::{
    Acknowledgement, Alert, Attempt, Ending, Entry, Failure, Happening, LegMessage, Progress, Raised, ReportStatus,
    Severity, Status, Via, Why,
};
pub use attempt_status::AttemptStatus;
pub use event::{
    Effect, Event, Ignored, Intent, Reach, Reply, Report, Tone, Trouble, TroubleOutcome, Verdict, WorkflowOutcome,
};
pub use outlook::{Coming, Outlook, outlook};
pub use plan::{ATTEMPTS_MAX, Backend, Condition, Confirm, Leg, Plan, PlanError, Recipient, Step};
pub use promises::{broken_promise, broken_transition};
pub use step::{BACKOFF_MAX, FAILING_MAX, RETRY_AFTER_MAX, SEND_LEASE, next_wake, raise, step};
