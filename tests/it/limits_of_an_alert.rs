//! Everything that an alert remembers has a limit: whatever the world does to it, it stays small, and
//! it goes on working beyond each limit.

use callout::escalation::{Alert, Happening, Status, Verdict, step};

use crate::machine::language::{raise_with, read_event, read_moment, read_plan};

/// An alert in the middle of things, told one thing after the other, one a second.
struct Alarm {
    alert: Alert,
    seconds: u32,
}

impl Alarm {
    fn raised(plan: &str) -> Self {
        Self { alert: raise_with(read_plan(plan)), seconds: 0 }
    }

    /// Tells the alert something, a second after the last thing.
    fn told(&mut self, event: &str) -> &mut Self {
        self.seconds += 1;
        let (minutes, seconds) = (self.seconds / 60, self.seconds % 60);
        let now = read_moment(&format!("{minutes}:{seconds:02}"));
        if let Verdict::Move { next, .. } = step(&self.alert, &read_event(event), now) {
            self.alert = next;
        }
        self
    }

    fn times_told_of(&self, happening: Happening) -> usize {
        self.alert.timeline.iter().filter(|entry| entry.happening == happening).count()
    }
}

const MESSAGES: &str = "plan messages, repeat 0\n  Tony: sms 5:00, whatsapp 5:00";
const DISPATCH: &str = "plan dispatch, repeat 0\n  Tony: messenger 5:00, sms 5:00";

#[test]
fn a_long_outage_is_told_of_ten_times_and_the_giving_up_once_more() {
    let mut alarm = Alarm::raised(MESSAGES);
    for n_try in 1..=300 {
        // The pause between two tries is 18 seconds at most.
        for _ in 0..20 {
            alarm.told("turn");
        }
        alarm.told(&format!("trouble #1 try {n_try}"));
    }
    assert_eq!(alarm.times_told_of(Happening::SendFailed), 10);
    for _ in 0..20 {
        alarm.told("turn");
    }
    let (minutes, seconds) = ((alarm.seconds - 3) / 60, (alarm.seconds - 3) % 60);
    alarm.told(&format!("trouble #1 try 301, last accepted {minutes}:{seconds:02}"));
    assert_eq!(alarm.times_told_of(Happening::SendFailed), 11);
    assert_eq!(alarm.alert.newest_attempt(), 2);
}

#[test]
fn a_process_that_keeps_dying_is_told_of_ten_times() {
    let mut alarm = Alarm::raised(MESSAGES);
    for _ in 0..100 {
        alarm.told("turn").told("sender lost");
    }
    assert_eq!(alarm.times_told_of(Happening::ResentAfterRestart), 10);
    assert_eq!(alarm.alert.attempt(1).unwrap().tries, 100);
}

#[test]
fn repetitions_are_counted_for_ever_and_told_twenty_times() {
    let mut alarm = Alarm::raised(MESSAGES);
    for _ in 0..500 {
        alarm.told("repeat");
    }
    assert_eq!(alarm.times_told_of(Happening::Repeated), 20);
    assert_eq!(alarm.alert.repeats, 500);
}

#[test]
fn a_flood_of_replies_is_told_a_hundred_times_and_the_last_one_still_resolves() {
    let mut alarm = Alarm::raised(MESSAGES);
    alarm.told("turn").told("accepted #1 m-1");
    for reply in 0..500 {
        alarm.told(&format!("reply #1 r-{reply} by sms, stop"));
    }
    assert_eq!(alarm.times_told_of(Happening::Reply), 100);
    assert_eq!(alarm.alert.answered.len(), 64);
    alarm.told("reply #1 r-500 by sms, resolve");
    assert_eq!(alarm.alert.status, Status::Resolved);
}

#[test]
fn of_many_messages_of_one_attempt_the_newest_ids_are_kept() {
    let mut alarm = Alarm::raised(MESSAGES);
    alarm.told("turn");
    for message in 0..100 {
        alarm.told(&format!("accepted #1 m-{message}"));
    }
    let ids = &alarm.alert.attempt(1).unwrap().provider_ids;
    assert_eq!(ids.len(), 16);
    assert_eq!(ids.last().unwrap().as_str(), "m-99");
    alarm.told("submitted #1 m-100").told("delivered #1 m-101").told("read #1 m-102");
    let ids = &alarm.alert.attempt(1).unwrap().provider_ids;
    assert_eq!(ids.len(), 16);
    assert_eq!(ids.last().unwrap().as_str(), "m-99", "what reports tell of older ones never pushes it out");
}

#[test]
fn beyond_sixty_four_messages_of_a_workflow_only_what_matters_counts() {
    let mut alarm = Alarm::raised(DISPATCH);
    alarm.told("turn").told("accepted #1 d-1");
    for message in 0..500 {
        alarm.told(&format!("submitted #1 m-{message} on channel 1"));
        alarm.told(&format!("delivered #1 m-{message} on channel 1"));
        alarm.told(&format!("rejected #1 m-{message} on channel 1"));
    }
    assert_eq!(alarm.alert.attempt(1).unwrap().messages.len(), 64);
    let n_entries = alarm.alert.timeline.len();
    assert!(n_entries < 250, "the timeline has {n_entries} entries");
    alarm.told("read #1 m-499 on channel 1");
    assert_eq!(alarm.alert.status, Status::Acknowledged);
}
