//! Alarms by e-mail, for whoever runs callout: the way that does not depend on Vonage.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::alarm::{ALARMS_WAITING_MAX, Phase, Told};
use crate::chance::Chance;
use crate::clock::Clock;
use crate::sender::Answer;

use super::email::{Mail, Mailer};

/// Alarms gather for so long before they are mailed together.
const GATHER: Duration = Duration::from_secs(5);
/// A mail about alarms goes out this often at the most; one that failed is tried again then.
pub const ALARM_MAIL_EVERY: Duration = Duration::from_mins(1);
/// How many alarms one mail names; it counts the others.
pub const ALARMS_PER_MAIL_MAX: usize = 20;

/// Mails alarms.
pub struct AlarmMail {
    /// Who sends them.
    pub mailer: Arc<Mailer>,
    /// To whom; nobody if it is empty.
    pub recipients: ArcSwap<Vec<Box<str>>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Random bits, for the names of mails.
    pub chance: Arc<dyn Chance>,
}

impl std::fmt::Debug for AlarmMail {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("AlarmMail").field("n_recipients", &self.recipients.load().len()).finish_non_exhaustive()
    }
}

impl AlarmMail {
    /// Mails what it hears for as long as there is somebody to hear.
    pub async fn carry(&self, mut told: broadcast::Receiver<Told>) {
        let mut waiting: VecDeque<Told> = VecDeque::new();
        loop {
            if waiting.is_empty() {
                match told.recv().await {
                    Ok(alarm) => waiting.push_back(alarm),
                    Err(RecvError::Lagged(_)) => continue,
                    Err(RecvError::Closed) => return,
                }
            }
            self.clock.sleep_until(self.clock.now().plus(GATHER)).await;
            while let Ok(alarm) = told.try_recv() {
                waiting.push_back(alarm);
                while waiting.len() > ALARMS_WAITING_MAX {
                    waiting.pop_front();
                }
            }
            if self.mail(&waiting).await {
                waiting.clear();
            }
            self.clock.sleep_until(self.clock.now().plus(ALARM_MAIL_EVERY)).await;
        }
    }

    /// Whether nothing is left to do: everybody has the mail, or nobody is to have it.
    async fn mail(&self, waiting: &VecDeque<Told>) -> bool {
        let recipients = self.recipients.load_full();
        let Some(first) = waiting.front() else { return true };
        let subject = match (waiting.len(), first.phase) {
            (1, Phase::Raised) => format!("[callout] {}", first.alarm.sentence()),
            (1, Phase::Over) => format!("[callout] over: {}", first.alarm.name()),
            (n_alarms, _) => format!("[callout] {n_alarms} alarms, the first: {}", first.alarm.sentence()),
        };
        let text = text(waiting);
        let mut random = [0; 16];
        self.chance.fill(&mut random);
        let name = format!("alarm-{:032x}", u128::from_le_bytes(random));
        let mut is_done = true;
        for to in recipients.iter() {
            let mail = Mail { to, subject: &subject, text: text.clone(), name: &name };
            match self.mailer.deliver(mail).await {
                Answer::Accepted(_) => {}
                Answer::Refused(failure) => {
                    tracing::error!(failure = %failure.in_words(), "the mail server refused a mail about an alarm; check alarms.email");
                }
                Answer::Trouble(trouble) => {
                    is_done = false;
                    tracing::error!(failure = %trouble.failure.in_words(), "an alarm could not be mailed; it is tried again in a minute");
                }
            }
        }
        is_done
    }
}

fn text(waiting: &VecDeque<Told>) -> String {
    let mut text = String::new();
    for told in waiting.iter().take(ALARMS_PER_MAIL_MAX) {
        match told.phase {
            Phase::Raised => {
                text.push_str(&format!("{}  {}\n", told.at, told.alarm.name()));
                text.push_str(&format!("    {}\n    {}\n", told.alarm.sentence(), told.alarm.advice()));
            }
            Phase::Over => text.push_str(&format!("{}  {} is over\n", told.at, told.alarm.name())),
        }
        if let Some(alert) = told.alert {
            text.push_str(&format!("    alert {alert}\n"));
        }
        text.push('\n');
    }
    if waiting.len() > ALARMS_PER_MAIL_MAX {
        text.push_str(&format!("… and {} more; see the log.\n", waiting.len() - ALARMS_PER_MAIL_MAX));
    }
    text
}
