//! What the tools of others make of the description of the API: one makes requests from it and finds nothing that it
//! does not tell, another makes a client from it that pages people.

use std::path::Path;
use std::pin::pin;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::harness::{Callout, KEY, path_of, python};
use crate::http_integrations::{self, AM, CI, CLOUD, GENIE, GO, LEGACY};

/// A setting of schemathesis for the operations that `which` chooses.
fn of_operation(which: &str, settings: &str) -> String {
    format!("[[operations]]\n{which}\n{settings}\n")
}

/// What cannot be told in a schema: which policies and integrations are configured, whose key it is, and that an
/// `Idempotency-Key` is for one request only.
fn settings((id, token): &(String, String), integration: &str, key: &str) -> String {
    let may_be_refused = "checks.positive_data_acceptance.expected-statuses = [\"2xx\", \"400\", \"401\", \"404\", \"405\", \"409\", \"422\"]";
    // A tool's form is borne where it is not what it should be.
    let bears = "checks.negative_data_rejection.enabled = false";
    let header = |value: String| format!("headers = {{ Authorization = \"{value}\" }}");
    [
        header(format!("Bearer {KEY}")) + "\n",
        of_operation("include-name = \"POST /alerts\"", may_be_refused),
        of_operation("include-name = \"POST /alerts/{id}/escalate\"", may_be_refused),
        // The stream of an alert that escalates has no end.
        of_operation("include-path = \"/alerts/{id}/events\"", &format!("parameters = {{ id = \"{id}\" }}\n{bears}")),
        of_operation("include-path = \"/a/{token}\"", &format!("parameters = {{ token = \"{token}\" }}")),
        of_operation(
            "include-path-regex = \"^/integrations/\"",
            &format!(
                "parameters = {{ name = \"{integration}\" }}\n{}\n{may_be_refused}\n{bears}",
                header(format!("Bearer {key}"))
            ),
        ),
        of_operation(
            "include-path-regex = \"^/v2/(change/)?enqueue$|^/generic/\"",
            &format!("{may_be_refused}\n{bears}"),
        ),
        of_operation(
            "include-path-regex = \"^/v2/alerts\"",
            &format!("{}\n{may_be_refused}\n{bears}", header(format!("GenieKey {GENIE}"))),
        ),
        of_operation(
            "include-path-regex = \"^/api/v2/\"",
            &format!("{}\n{may_be_refused}\n{bears}", header(format!("Bearer {GO}"))),
        ),
    ]
    .concat()
}

/// Runs a tool to its end, away from the test's own threads.
async fn run(mut command: Command) -> Output {
    command.stdin(Stdio::null());
    tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap()
}

async fn requests_find_nothing(python: &Path, callout: &Callout, settings: String, arguments: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("schemathesis.toml"), settings).unwrap();
    let base = format!("http://{}", callout.address());
    let mut command = Command::new(python);
    command.args(["-m", "schemathesis.cli", "run", &format!("{base}/openapi.json")]).args(arguments);
    command.args(["--phases", "examples,coverage,fuzzing", "--seed", "1", "--request-timeout", "10"]);
    command.args(["--continue-on-failure", "--no-shrink", "--no-color", "--generation-database", "none"]);
    command.args(["--output-sanitize", "false"]).current_dir(folder.path());
    // Strangers are told to wait only where they come too fast, so time passes, and alerts go on their way meanwhile.
    let mut running = pin!(run(command));
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let output = loop {
        tokio::select! {
            output = &mut running => break output,
            _tick = ticks.tick() => callout.clock.advance(Duration::from_secs(1)),
        }
    };
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "schemathesis found something:\n{out}\n{err}");
    assert!(out.contains("generated"), "schemathesis has done nothing:\n{out}\n{err}");
}

/// An alert whose timeline has come to its end, and the token of its link.
async fn finished(callout: &Callout) -> (String, String) {
    let alert = callout.raise(&json!({ "message": "It is over" })).await;
    let link = callout.vonage.nth(1).await.link();
    callout.press(&format!("{}/resolve", path_of(&alert))).await.is(200);
    (alert["id"].as_str().unwrap().to_owned(), link.strip_prefix("/a/").unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_made_from_the_description_find_nothing_that_it_does_not_tell() {
    let Some(python) = python("schemathesis") else { return };
    let callout = http_integrations::callout().await;
    let settings = settings(&finished(&callout).await, "prometheus", AM);
    requests_find_nothing(&python, &callout, settings, &["--max-examples", "10", "--max-time", "60"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_do_they_at_the_address_of_any_kind_of_integration() {
    let Some(python) = python("schemathesis") else { return };
    let callout = http_integrations::callout().await;
    let finished = finished(&callout).await;
    for (name, key) in [("cloud", CLOUD), ("legacy", LEGACY), ("genie", GENIE), ("go", GO), ("ci", CI)] {
        let only = ["--include-path-regex", "^/integrations/", "--max-examples", "5", "--max-time", "10"];
        requests_find_nothing(&python, &callout, settings(&finished, name, key), &only).await;
    }
}

/// What a developer writes with the client.
const SCRIPT: &str = r#"
import sys

from callout_client import AuthenticatedClient
from callout_client.api.alerts import (
    acknowledge_an_alert, call_the_next_user_now, list_alerts, raise_an_alert, resolve_an_alert, see_an_alert,
)
from callout_client.api.operating import callout_can_work
from callout_client.api.tools import pagerduty_events
from callout_client.models import (
    AlertStatus, By, NewAlert, NewChannel, NewChannelType, NewUser, PagerdutyEvent, PagerdutyEventEventAction, Problem,
)

url, key, routing_key = sys.argv[1:]
client = AuthenticatedClient(base_url=url, token=key, raise_on_unexpected_status=True)

assert callout_can_work.sync(client=client).status == "ready"
raised = raise_an_alert.sync(client=client, body=NewAlert(message="Main server is down", dedup_key="server-1/down"))
assert raised.status == AlertStatus.ESCALATING and raised.current.user == "Tony", raised
seen = see_an_alert.sync(id=raised.id, client=client)
assert seen.message == "Main server is down" and seen.timeline[0].event == "raised", seen
listed = list_alerts.sync(client=client, status=AlertStatus.ESCALATING)
assert [alert.id for alert in listed.alerts] == [raised.id] and listed.next_cursor is None, listed
assert call_the_next_user_now.sync(id=raised.id, client=client).current.user == "Ann"
answered = acknowledge_an_alert.sync(id=raised.id, client=client, body=By(by="Kim"))
assert answered.status == AlertStatus.ACKNOWLEDGED and answered.acknowledged.by == "Kim", answered
assert resolve_an_alert.sync(id=raised.id, client=client).status == AlertStatus.RESOLVED

user = NewUser(name="Zoe", channels=[NewChannel(type_=NewChannelType.SMS, id_num="447700900009")])
assert raise_an_alert.sync(client=client, body=NewAlert(message="Disk is full", users=[user])).policy is None
problem = raise_an_alert.sync(client=client, body=NewAlert(message="x", policy="nobody"))
assert isinstance(problem, Problem) and problem.errors[0].pointer == "/policy", problem
stranger = AuthenticatedClient(base_url=url, token="wrong", raise_on_unexpected_status=True)
assert list_alerts.sync(client=stranger).status == 401

event = PagerdutyEvent(
    routing_key=routing_key, event_action=PagerdutyEventEventAction.RESOLVE, dedup_key="server-1/down")
assert pagerduty_events.sync(client=client, body=event).status == "success"
print("the client is content")
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_client_pages_people() {
    let Some(python) = python("openapi_python_client") else { return };
    let callout = http_integrations::callout().await;
    let folder = tempfile::tempdir().unwrap();
    // It knows no type for a database, and needs no formatter.
    let settings = "content_type_overrides: { application/vnd.sqlite3: application/octet-stream }\npost_hooks: []\n";
    std::fs::write(folder.path().join("settings.yaml"), settings).unwrap();
    let mut generate = Command::new(&python);
    generate.args(["-m", "openapi_python_client", "generate", "--fail-on-warning", "--meta", "none"]);
    generate.args(["--url", &format!("http://{}/openapi.json", callout.address()), "--config", "settings.yaml"]);
    generate.args(["--output-path", "callout_client"]).current_dir(folder.path());
    let output = run(generate).await;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success() && !said.concat().contains("WARNING"), "{}\n{}", said[0], said[1]);

    let mut script = Command::new(&python);
    script.args(["-c", SCRIPT, &format!("http://{}", callout.address()), KEY, LEGACY]).current_dir(folder.path());
    let output = run(script).await;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success() && said[0].contains("content"), "{}\n{}", said[0], said[1]);
}
