//! Every state that small plans can reach, and every event in each of them.
//!
//! What is checked after each step stands in `machine/rules.rs`; in addition: an event that is told
//! twice acts once, and from each state the clock alone ends the alert.

use std::collections::BTreeSet;

use callout::escalation::step;

use crate::machine::coverage::{Pair, list};
use crate::machine::walk::{Detail, Walked, walk};
use crate::machine::{differs_from_file, story};

const ONE_CHANNEL: &str = "plan messages, repeat 0
  Tony: messenger 0:02";
const ONE_WORKFLOW: &str = "plan dispatch, repeat 0
  Tony: messenger 0:15 delivered, sms 1:00";
const TWO_CHANNELS: &str = "plan messages, repeat 1
  Tony: messenger 0:02 delivered, sms 2:00";
const TWO_USERS: &str = "plan messages, repeat 0
  Tony: messenger 0:02 delivered, whatsapp 0:03
  Michael: sms 2:00 delivered, rcs 0:30";
const TWO_WORKFLOWS: &str = "plan dispatch, repeat 1
  Tony: messenger 0:15 delivered, sms 1:00
  Michael: viber_service 0:15, sms 0:20 delivered";
const THREE_USERS: &str = "plan messages, repeat 1
  Tony: messenger 0:02
  Michael: sms 2:00
  Tony: whatsapp 0:30";

#[track_caller]
fn keeps_every_rule(plan: &str, detail: Detail) -> Walked {
    match walk(plan, detail, step) {
        Ok(walked) => {
            println!("{} states, {} steps", walked.n_states, walked.n_steps);
            walked
        }
        Err(broken) => panic!("`{}` is broken:\n{}\n{}", broken.rule, plan, broken.way.join("\n")),
    }
}

#[test]
fn t1() {
    keeps_every_rule(ONE_CHANNEL, Detail::Full);
}
#[test]
fn t2() {
    keeps_every_rule(ONE_WORKFLOW, Detail::Full);
}
#[test]
fn t3() {
    keeps_every_rule(TWO_CHANNELS, Detail::Current);
}
#[test]
fn t4() {
    keeps_every_rule(TWO_USERS, Detail::Current);
}
#[test]
fn t5() {
    keeps_every_rule(TWO_WORKFLOWS, Detail::Current);
}
#[test]
fn t6() {
    keeps_every_rule(THREE_USERS, Detail::Current);
}
