//! The unit for systemd: systemd can read it, and it leaves callout no more of the machine than it needs.

use std::path::Path;
use std::process::Command;

use crate::harness::tool;

/// The most of systemd's points for exposure, in tenths: 20 and less is what it calls "OK".
const EXPOSURE_MAX: &str = "20";

/// What systemd's own tool says to the unit, with the program where it is now.
fn analyze(arguments: &[&str]) -> Option<String> {
    let program = tool("CALLOUT_TEST_SYSTEMD_ANALYZE", "systemd-analyze", &["--version"])?;
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/callout.service");
    let text = std::fs::read_to_string(unit).unwrap();
    assert!(text.contains("ExecStart=/usr/local/bin/callout "), "{text}");
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("callout.service");
    std::fs::write(&unit, text.replace("/usr/local/bin/callout", env!("CARGO_BIN_EXE_callout"))).unwrap();
    let output = Command::new(program).args(arguments).arg(&unit).output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "systemd-analyze {arguments:?}:\n{said}");
    Some(said)
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    let Some(said) = analyze(&["verify", "--man=no"]) else { return };
    let of_ours: Vec<&str> = said.lines().filter(|line| line.contains("callout.service")).collect();
    assert!(of_ours.is_empty(), "{of_ours:?}");
}

#[test]
fn the_unit_leaves_callout_little_of_the_machine() {
    analyze(&["security", "--offline=true", "--no-pager", "--threshold", EXPOSURE_MAX]);
}
