//! The pages in a real browser; `tests/browser/story.mjs` is the story. It needs node and Chromium.

use std::path::Path;
use std::process::Command;

use crate::harness::leave_out;

const CHROMIUM: &str = "/usr/bin/chromium";

#[test]
fn a_night_in_a_real_browser() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let browser = root.join("tests/browser");
    let has_node = Command::new("node").arg("--version").output().is_ok_and(|output| output.status.success());
    let missing = [
        ("node", has_node),
        (CHROMIUM, Path::new(CHROMIUM).exists()),
        ("tests/browser/node_modules (npm ci)", browser.join("node_modules/playwright-core").exists()),
    ];
    let missing: Vec<&str> = missing.iter().filter(|(_, is_there)| !is_there).map(|(name, _)| *name).collect();
    if !missing.is_empty() {
        return leave_out(&format!("the pages cannot be tried in a real browser; missing: {}", missing.join(", ")));
    }
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new("node")
        .arg(browser.join("story.mjs"))
        .arg(env!("CARGO_BIN_EXE_callout"))
        .arg(root.join("tests/it/keys/test-only.pem"))
        .arg(folder.path())
        .arg(root.join("target/screenshots"))
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success() && said[0].contains("come to its end"), "{}\n{}", said[0], said[1]);
}
