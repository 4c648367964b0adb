//! Watching an alert from a terminal until somebody answers or nobody is left to call.

use std::collections::VecDeque;
use std::time::Duration;

use reqwest::{Method, Response, StatusCode};
use serde_json::Value;

use crate::clock::{Clock, SteadyClock};
use crate::timestamp::Timestamp;

use super::client::{Failed, Lost, Service, complain_of_answer, path_of};
use super::terminal::{Printed, can_redraw, complain, note, to_stdout};
use super::{DONE, EXHAUSTED, show};

/// How long to wait before callout is asked again after it was lost.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long callout may be away, as it is while it is restarted, before nobody looks for it any more.
const AWAY_MAX: Duration = Duration::from_mins(10);
/// How often the time that is left is drawn.
const REDRAW_EVERY: Duration = Duration::from_secs(1);

/// Prints the timeline as it grows, until the alert is no longer escalating. As JSON: the alert on the first line,
/// then one line for each entry. A restart of callout in between is lived through.
pub(super) async fn follow(service: &Service, alert: &Value, as_json: bool) -> Result<u8, Failed> {
    follow_by(&SteadyClock::system(), service, alert, as_json).await
}

async fn follow_by(clock: &SteadyClock, service: &Service, alert: &Value, as_json: bool) -> Result<u8, Failed> {
    let id = alert.get("id").and_then(Value::as_str).unwrap_or_default();
    let mut screen = Screen { as_json, can_redraw: !as_json && can_redraw(), has_bar: false, n_shown: 0 };
    if screen.print(&if as_json { format!("{alert}\n") } else { show::headline(alert) }) == Printed::Closed {
        return Ok(DONE);
    }
    let mut lost_at = None;
    loop {
        let lost = match watch(service, id, clock, &mut screen, &mut lost_at).await {
            Ok(code) => return Ok(code),
            Err(Interrupted::ForGood) => return Err(Failed),
            Err(Interrupted::ForNow(lost)) => lost,
        };
        let since = *lost_at.get_or_insert_with(|| {
            screen.clear();
            note(&format!("{lost}; looking for it again"));
            clock.now()
        });
        if clock.now().since(since) >= AWAY_MAX {
            let hint = format!("the alert may still be escalating; `callout show {id}` tells");
            complain(&format!("callout has been away for {} minutes", AWAY_MAX.as_secs() / 60), Some(&hint));
            return Err(Failed);
        }
        clock.sleep_until(clock.now().plus(ASK_AGAIN_AFTER)).await;
    }
}

/// Why watching ended before the alert did.
enum Interrupted {
    /// callout is away, as it is while it is restarted.
    ForNow(Lost),
    /// Waiting would not make it better; it has been complained of.
    ForGood,
}

impl From<Lost> for Interrupted {
    fn from(lost: Lost) -> Self {
        Self::ForNow(lost)
    }
}

/// Watches for as long as callout answers, and gives the exit code once there is nothing more to watch.
async fn watch(
    service: &Service,
    id: &str,
    clock: &SteadyClock,
    screen: &mut Screen,
    lost_at: &mut Option<Timestamp>,
) -> Result<u8, Interrupted> {
    let mut stream = good(service.events(id, screen.n_shown).await?).await?;
    if lost_at.take().is_some() {
        note("callout answers again");
    }
    let mut events = Events::default();
    let mut alert = Value::Null;
    loop {
        tokio::select! {
            chunk = stream.chunk() => match chunk {
                Ok(Some(chunk)) => events.take(&chunk),
                Ok(None) | Err(_) => break,
            },
            () = clock.sleep_until(clock.now().plus(REDRAW_EVERY)), if screen.can_redraw => {}
        }
        let mut news = String::new();
        while let Some(entry) = events.next() {
            screen.n_shown += 1;
            news.push_str(&if screen.as_json { format!("{entry}\n") } else { show::entry(&entry) });
        }
        if !news.is_empty() && screen.print(&news) == Printed::Closed {
            return Ok(DONE);
        }
        if screen.can_redraw {
            if !news.is_empty() || alert.is_null() {
                alert = look(service, id).await?;
            }
            screen.draw(&show::wait(&alert, clock.now()).unwrap_or_default());
        }
    }
    screen.clear();
    match look(service, id).await?.get("status").and_then(Value::as_str) {
        // The stream ended before the alert did: callout is going down.
        Some("escalating") => Err(Lost::Stopped.into()),
        Some("exhausted") => Ok(EXHAUSTED),
        Some(_) | None => Ok(DONE),
    }
}

async fn look(service: &Service, id: &str) -> Result<Value, Interrupted> {
    let response = good(service.ask(Method::GET, &path_of(id, ""), None).await?).await?;
    response.json().await.map_err(|_cut_off| Lost::Stopped.into())
}

/// The answer, if it is a good one. What may get better by waiting is told apart from what will not.
async fn good(response: Response) -> Result<Response, Interrupted> {
    let status = response.status();
    if status.is_success() {
        Ok(response)
    } else if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        Err(Lost::Answered(status).into())
    } else {
        complain_of_answer(status, &response.json().await.unwrap_or_default());
        Err(Interrupted::ForGood)
    }
}

/// What has been printed, and the line below it that is drawn again and again.
struct Screen {
    as_json: bool,
    can_redraw: bool,
    has_bar: bool,
    n_shown: usize,
}

impl Screen {
    fn print(&mut self, text: &str) -> Printed {
        self.clear();
        to_stdout(text)
    }

    fn draw(&mut self, bar: &str) {
        self.clear();
        self.has_bar = !bar.is_empty();
        let _drawn_or_not = to_stdout(bar);
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.has_bar) {
            let _cleared_or_not = to_stdout("\r\x1b[2K");
        }
    }
}

/// Server-sent events, as they come in.
#[derive(Debug, Default)]
struct Events {
    bytes: VecDeque<u8>,
}

impl Events {
    fn take(&mut self, chunk: &[u8]) {
        self.bytes.extend(chunk);
    }

    /// The data of the next whole event, if it is JSON.
    fn next(&mut self) -> Option<Value> {
        loop {
            let end = self.bytes.iter().position(|byte| *byte == b'\n')?;
            let line: Vec<u8> = self.bytes.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            if let Some(data) = line.trim_end().strip_prefix("data:")
                && let Ok(value) = serde_json::from_str(data.trim_start())
            {
                return Some(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whoever_follows_looks_for_a_callout_that_is_away_for_ten_minutes_and_no_longer() {
        // Nobody listens on port 1.
        let service = Service::at("http://127.0.0.1:1", "0123456789abcdef").ok().unwrap();
        let clock = SteadyClock::faster(Timestamp::EPOCH, 1);
        let began_at = clock.now();
        let followed =
            follow_by(&clock, &service, &json!({ "id": "01928f3e-0000-7000-8000-000000000000" }), true).await;
        assert!(followed.is_err());
        let away = clock.now().since(began_at);
        assert!(away >= AWAY_MAX && away < AWAY_MAX * 2, "{away:?}");
    }

    #[test]
    fn events_are_read_however_they_are_cut() {
        let text = "id: 1\nevent: raised\ndata: {\"event\":\"raised\"}\n\n: alive\n\ndata: {\"event\":\"sent\"}\n\n";
        for cut in 0..text.len() {
            let mut events = Events::default();
            let mut seen = Vec::new();
            for part in [&text.as_bytes()[..cut], &text.as_bytes()[cut..]] {
                events.take(part);
                while let Some(event) = events.next() {
                    seen.push(event["event"].as_str().unwrap_or_default().to_owned());
                }
            }
            assert_eq!(seen, ["raised", "sent"], "cut at {cut}");
        }
    }
}
