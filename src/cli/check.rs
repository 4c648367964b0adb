//! `callout check`

use crate::config::{self, Environment, schedule};

use super::terminal::{to_stderr, to_stdout};
use super::{ConfigArguments, DONE, complain_of};

pub(super) fn run(arguments: &ConfigArguments, environment: &Environment) -> u8 {
    match config::load(&arguments.overrides(environment), environment) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                to_stderr(&format!("{warning}\n"));
            }
            let lines = schedule::lines(&loaded.config.policies);
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let _read_or_not = to_stdout(&text);
            DONE
        }
        Err(problems) => complain_of(&problems),
    }
}
