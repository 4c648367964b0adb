//! The tools of others that some tests need.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use callout::config::Environment;

use super::leave_out;

/// A program, by a variable of the environment or on the path. Where it is not there, the test says so.
pub(crate) fn tool(variable: &str, name: &str, check: &[&str]) -> Option<PathBuf> {
    let environment = Environment::of_process();
    let program = PathBuf::from(environment.get(variable).unwrap_or(name));
    let mut command = Command::new(&program);
    let answers = command.args(check).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if answers.is_ok_and(|status| status.success()) {
        return Some(program);
    }
    leave_out(&format!("`{name} {}` does not run; {variable} may name another", check.join(" ")));
    None
}

/// A Python that has these modules.
pub(crate) fn python(modules: &str) -> Option<PathBuf> {
    tool("CALLOUT_TEST_PYTHON", "python3", &["-c", &format!("import {modules}")])
}
