//! Questions of one kind that come at the same time are put to the database as one.
//!
//! Each question costs the server and the node a round trip of their own, which is more than most answers cost. So at
//! most [`ASKED_AT_ONCE_MAX`] statements of a kind are under way at a time; whoever comes meanwhile joins the line, and
//! the next statement asks for all who wait by then. Whoever comes alone waits for nobody. A statement begins after
//! everybody whom it asks for has come, so that an answer is never older than the question. One question that the
//! server fails at takes nobody along: its statement is halved until it stands alone.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSqlOwned, ToSql};
use tokio_util::task::TaskTracker;

use crate::store::Error;

use super::asking::{Database, TRY_FOR_MAX};
use super::fault::{Fault, Reach, Refusal};

/// How many statements of one kind are under way at a time: a second one, so that one that gets no answer does not hold
/// up everybody.
const ASKED_AT_ONCE_MAX: usize = 2;
/// The most questions that one statement asks: a quick one does not wait long for slow ones.
const TOGETHER_MAX: usize = 128;
/// The most questions of one kind that wait. Whoever comes then is told to come again.
const WAITING_MAX: usize = 4_096;

/// What a question asks for.
pub(super) trait Key: ToSql + FromSqlOwned + Clone + Eq + Hash + Send + Sync + 'static {}

impl<K: ToSql + FromSqlOwned + Clone + Eq + Hash + Send + Sync + 'static> Key for K {}

/// The rows of one key, in the statement's order.
type Rows = Vec<Arc<Row>>;

/// Whoever waits for the rows of a key.
type Asker = oneshot::Sender<Result<Rows, Error>>;

/// Questions of one kind.
pub(super) struct Together<K> {
    database: Arc<Database>,
    /// Has one value, the list of the keys that are asked for.
    statement: &'static str,
    /// In which column of a row its key stands.
    key_column: usize,
    line: Mutex<Line<K>>,
    tracker: TaskTracker,
}

/// As long as a question waits, somebody asks.
struct Line<K> {
    waiting: Vec<(K, Asker)>,
    n_asked: usize,
}

impl<K: Key> Together<K> {
    pub(super) fn new(
        database: &Arc<Database>,
        statement: &'static str,
        key_column: usize,
        tracker: &TaskTracker,
    ) -> Arc<Self> {
        let line = Mutex::new(Line { waiting: Vec::new(), n_asked: 0 });
        Arc::new(Self { database: Arc::clone(database), statement, key_column, line, tracker: tracker.clone() })
    }

    /// The rows of a key.
    pub(super) async fn ask(self: &Arc<Self>, key: K) -> Result<Rows, Error> {
        let (asker, answer) = oneshot::channel();
        if self.join(key, asker)? {
            // On a task of its own: whoever came first may go away before the others have their answers.
            let voice = Voice { together: Arc::clone(self), is_done: false };
            self.tracker.spawn(voice.ask_for_all());
        }
        match tokio::time::timeout(TRY_FOR_MAX, answer).await {
            Ok(Ok(answer)) => answer,
            // The runtime is ending, or whoever asked for all panicked.
            Ok(Err(_dropped)) => Err(Refusal::Closed.into()),
            Err(_late) => Err(Refusal::Silent.into()),
        }
    }

    /// Joins the line. Whether one more statement has to be put for it.
    fn join(&self, key: K, asker: Asker) -> Result<bool, Error> {
        let mut line = self.line();
        if line.waiting.len() >= WAITING_MAX {
            return Err(Error::Busy);
        }
        line.waiting.push((key, asker));
        let is_needed = line.n_asked < ASKED_AT_ONCE_MAX;
        line.n_asked += usize::from(is_needed);
        Ok(is_needed)
    }

    /// Puts the statement for these, and in halves where the server fails at it.
    async fn answer(&self, askers: Vec<(K, Asker)>) {
        let mut parts = vec![askers];
        while let Some(mut part) = parts.pop() {
            let keys: Vec<K> = part.iter().map(|(key, _)| key.clone()).collect();
            let rows = match self.rows_of(&keys).await {
                Err(fault) if fault.reach() == Reach::Command && part.len() > 1 => {
                    let second_half = part.split_off(part.len() / 2);
                    parts.extend([second_half, part]);
                    continue;
                }
                answer => answer.map_err(Error::from),
            };
            for (key, asker) in part {
                let rows = rows.as_ref().map(|rows| rows.get(&key).cloned().unwrap_or_default());
                // Nobody may be waiting any more.
                drop(asker.send(rows.map_err(Clone::clone)));
            }
        }
    }

    async fn rows_of(&self, keys: &Vec<K>) -> Result<HashMap<K, Rows>, Fault> {
        let mut by_key: HashMap<K, Rows> = HashMap::with_capacity(keys.len());
        for row in self.database.rows(self.statement, &[keys]).await? {
            by_key.entry(row.try_get(self.key_column)?).or_default().push(Arc::new(row));
        }
        Ok(by_key)
    }

    /// A critical section holds only list operations, and is never held over an await.
    fn line(&self) -> MutexGuard<'_, Line<K>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks for all who wait, until nobody does.
struct Voice<K: Key> {
    together: Arc<Together<K>>,
    is_done: bool,
}

impl<K: Key> Voice<K> {
    async fn ask_for_all(mut self) {
        while let Some(askers) = self.next() {
            self.together.answer(askers).await;
        }
    }

    /// Those who wait, as many as are asked for together. Whoever gave up is left out.
    fn next(&mut self) -> Option<Vec<(K, Asker)>> {
        let mut line = self.together.line();
        line.waiting.retain(|(_, asker)| !asker.is_closed());
        if line.waiting.is_empty() {
            line.n_asked -= 1;
            self.is_done = true;
            return None;
        }
        let n_together = line.waiting.len().min(TOGETHER_MAX);
        Some(line.waiting.drain(..n_together).collect())
    }
}

impl<K: Key> Drop for Voice<K> {
    /// Where this one ended before its work, and no other asks, nobody would answer those who wait.
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        let mut line = self.together.line();
        line.n_asked -= 1;
        if line.n_asked == 0 {
            line.waiting.clear();
        }
    }
}
