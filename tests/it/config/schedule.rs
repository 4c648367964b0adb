//! What `callout check` prints: who would be called when.

use callout::config::schedule::lines;

use super::{SOUND, Story, sound_but};

fn schedule(text: &str) -> String {
    let policies = Story::of(text).loaded().config.policies;
    let lines: Vec<String> = lines(&policies).iter().map(ToString::to_string).collect();
    lines.join("\n")
}

#[test]
fn each_round_calls_each_channel_when_the_one_before_has_expired() {
    assert_eq!(
        schedule(SOUND),
        "default (messages):\n\
         round 1\n\
         0:00 Tony messenger\n\
         5:00 Tony sms\n\
         round 2\n\
         15:00 Tony messenger\n\
         20:00 Tony sms\n\
         30:00 exhausted"
    );
}

#[test]
fn one_round_needs_no_number() {
    assert_eq!(
        schedule(&sound_but(", repeat: 1", "")),
        "default (messages):\n0:00 Tony messenger\n5:00 Tony sms\n15:00 exhausted"
    );
}

#[test]
fn dispatch_shows_when_vonage_itself_fails_over() {
    assert_eq!(
        schedule(include_str!("../../../config/sample-with-times.json")),
        "default (dispatch):\n\
         0:00 Tony messenger\n\
         5:00 Tony sms\n\
         15:00 Michael viber_service\n\
         17:00 Michael whatsapp\n\
         20:20 Michael sms\n\
         25:20 exhausted"
    );
}

#[test]
fn hours_are_shown_from_the_first_on() {
    let text = sound_but("expiry_time: 300", "expiry_time: 3599").replace(", repeat: 1", "");
    assert_eq!(schedule(&text), "default (messages):\n0:00 Tony messenger\n59:59 Tony sms\n1:09:59 exhausted");
}

#[test]
fn every_policy_has_its_own_schedule() {
    let text = sound_but(", repeat: 1 }", " }\n  - { name: again, users: [Tony, Tony] }");
    assert_eq!(
        schedule(&text),
        "default (messages):\n\
         0:00 Tony messenger\n\
         5:00 Tony sms\n\
         15:00 exhausted\n\
         again (messages):\n\
         0:00 Tony messenger\n\
         5:00 Tony sms\n\
         15:00 Tony messenger\n\
         20:00 Tony sms\n\
         30:00 exhausted"
    );
}
