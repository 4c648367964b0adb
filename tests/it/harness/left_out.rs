//! What a test needs may be missing.

use callout::config::Environment;

/// Something is missing that a test needs: the test says what it leaves out, and fails where nothing may be left out.
#[expect(clippy::print_stderr, reason = "what is left out is said")]
pub(crate) fn leave_out(what: &str) {
    assert!(Environment::of_process().get("CALLOUT_TEST_ALL").is_none(), "CALLOUT_TEST_ALL is set, but {what}");
    eprintln!("LEFT OUT: {what}");
}
