//! Tasks: how work on an alert is kept from getting lost.
//!
//! Work goes to its end even when whoever asked for it goes away, because effects follow a commit.
//! Work that fails or panics stops no other: the alert it was about is looked at again later.

use std::future::Future;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::time::Duration;

use futures_util::FutureExt;

use crate::alarm::Alarm;
use crate::id::AlertId;
use crate::store;

use super::timers::Wake;
use super::watching::FAILURES_BEFORE_QUARANTINE;
use super::{Engine, Error};
use crate::chain::Chain;

/// How long to wait before an alert is worked on again that cannot be understood, or that brings callout
/// itself to fail: a person must look, and others must not suffer.
const SET_ASIDE_FOR: Duration = Duration::from_mins(1);
/// The same from the third failure in a row on.
const QUARANTINED_FOR: Duration = Duration::from_hours(1);

impl Engine {
    /// Runs work on a task of its own; only abandoning the engine ends it early.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let end = self.0.end.clone();
        // What a task is made of is handed on from one owner to the next; in a box it stays in its place.
        let work = Box::pin(work);
        self.0.tracker.spawn(async move {
            let _finished = end.run_until_cancelled_owned(work).await;
        });
    }

    /// Does work to its end on a task of its own, even if whoever asked goes away meanwhile. A panic is
    /// the asker's.
    pub(super) async fn to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let end = self.0.end.clone();
        // As above: a request's work holds much, and would be moved several times before it is begun.
        let work = Box::pin(work);
        let task = self.0.tracker.spawn(async move { end.run_until_cancelled_owned(work).await });
        match task.await {
            Ok(Some(outcome)) => outcome,
            Ok(None) => Err(Error::Stopped),
            Err(failed) => match failed.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                Err(_cancelled) => Err(Error::Stopped),
            },
        }
    }

    /// Works on an alert; if that fails, the alert is woken again later for the same reason.
    pub(super) async fn look_after(&self, wake: Wake, work: impl Future<Output = Result<(), Error>>) {
        let again_after = match AssertUnwindSafe(work).catch_unwind().await {
            Ok(Ok(())) => return self.0.watch.take_back(wake.id),
            Ok(Err(error)) => {
                self.could_not(wake.id, &error);
                match error {
                    Error::NoSuchAlert | Error::Impossible(_) | Error::KeyReused | Error::Stopped => return,
                    // Several looks at one alert may fail side by side; one of them comes back.
                    Error::Contended | Error::Store(store::Error::Busy | store::Error::Unavailable(_)) => {
                        return self.look_again(wake);
                    }
                    Error::Store(store::Error::Corrupt { .. }) => self.set_aside(wake.id),
                }
            }
            Err(_panic) => {
                self.0.metrics.failure();
                tracing::error!(alert.id = %wake.id, "a defect of callout stopped the work on the alert; the panic itself stands in the log before this line");
                self.set_aside(wake.id)
            }
        };
        self.0.timers.arm(self.now().plus(again_after), wake);
    }

    /// Leaves an alert alone for a while, the longer once it has failed again and again, and says so. Others go
    /// on as if it were not there.
    fn set_aside(&self, id: AlertId) -> Duration {
        let n_failures = self.0.watch.set_aside(id);
        if n_failures < FAILURES_BEFORE_QUARANTINE {
            tracing::error!(alert.id = %id, n_failures, "the alert is set aside for a minute, then taken up again");
            return SET_ASIDE_FOR;
        }
        tracing::error!(alert.id = %id, n_failures, "the alert is in QUARANTINE: callout cannot work on it and calls NOBODY for it; see to it yourself; it is tried again in an hour and after a restart");
        self.0.alarms.raise(Alarm::AuditFailed, Some(id), self.now());
        QUARANTINED_FOR
    }

    /// Tells the operator that work on an alert failed.
    pub(super) fn could_not(&self, id: AlertId, error: &Error) {
        self.0.metrics.failure();
        tracing::error!(alert.id = %id, error = %Chain(error), "could not go on with the alert; it is taken up again later or after a restart");
    }
}
