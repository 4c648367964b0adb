//! How webhooks are signed and delivered.

use std::time::Duration;

use callout::contact::Channel;
use callout::sandbox::Letter;
use callout::sandbox::post::IN_FLIGHT_MAX;
use callout::sandbox::signature::{Issue, Secret, payload_hash, sign};
use callout::sandbox::webhook::WebhookKind;
use callout::timestamp::Timestamp;
use serde_json::json;

use crate::sandbox_stage::{APPLICATION, Gate, SECRET, Stage, claims, sms};

/// A status of Messages v1 and its token, computed elsewhere.
const STATUS: &str = r#"{"message_uuid":"0f6d6a52-6f0b-4c5e-9a51-2d1f0a1c9e01","to":"447700900001","from":"447700900100","timestamp":"2026-03-01T02:15:07Z","status":"read","channel":"whatsapp","client_ref":"co1.01HQZ4.2.1"}"#;
const STATUS_HASH: &str = "f95e650a3333430914ae086682ed691b6e54c6f8c0a48fc5583ca91d4936aee8";
const STATUS_TOKEN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpYXQiOjE3NzIzMzEzMDcsImp0aSI6IjZiOWYyYTBlLTJhNTUtNGQwZi04YTJjLTBjNmY3ZjFmM2ExMCIsImlzcyI6IlZvbmFnZSIsInBheWxvYWRfaGFzaCI6ImY5NWU2NTBhMzMzMzQzMDkxNGFlMDg2NjgyZWQ2OTFiNmU1NGM2ZjhjMGE0OGZjNTU4M2NhOTFkNDkzNmFlZTgiLCJhcGlfa2V5IjoiYWJjZDEyMzQiLCJhcHBsaWNhdGlvbl9pZCI6IjExMTExMTExLTIyMjItNDMzMy04NDQ0LTU1NTU1NTU1NTU1NSJ9.ZDnwdZ2QyZMSHPVY01B2Gb8VQEsfU5DJ_oMhHBOAd60";

/// A final report of Dispatch and its token, computed elsewhere.
const REPORT: &str = r#"{"dispatch_uuid":"5b1c0c3e-6a5f-4a3e-9d53-0b9a3f6d7e21","template":"failover","status":"completed","timestamp":"2026-03-01T02:15:07.412Z","usage":{"price":"0.0353","currency":"EUR"},"_links":{"messages":[{"message_uuid":"0f6d6a52-6f0b-4c5e-9a51-2d1f0a1c9e01","href":"v0.1/messages/0f6d6a52-6f0b-4c5e-9a51-2d1f0a1c9e01","channel":"messenger","status":"read"}]}}"#;
const REPORT_HASH: &str = "aa3c0700c3ecca8911359b1d6db31332a20e446cf1feb041bba19674d2b38e1d";
const REPORT_TOKEN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpYXQiOjE3NzIzMzEzMDcsImp0aSI6IjBkOWI3YzllLTUyYjEtNGYwZS1iYjBiLThmNmYzZDJhN2M1NSIsImlzcyI6IlZvbmFnZSIsInBheWxvYWRfaGFzaCI6ImFhM2MwNzAwYzNlY2NhODkxMTM1OWIxZDZkYjMxMzMyYTIwZTQ0NmNmMWZlYjA0MWJiYTE5Njc0ZDJiMzhlMWQiLCJhcGlfa2V5IjoiYWJjZDEyMzQiLCJhcHBsaWNhdGlvbl9pZCI6IjExMTExMTExLTIyMjItNDMzMy04NDQ0LTU1NTU1NTU1NTU1NSJ9.emI7oZwFM2lmPLO9F_IY3Pr-7h0RxzZyI7lC1HWqfpU";

#[test]
fn a_signature_is_the_one_that_was_computed_elsewhere() {
    for (body, hash, id, token) in [
        (STATUS, STATUS_HASH, "6b9f2a0e-2a55-4d0f-8a2c-0c6f7f1f3a10", STATUS_TOKEN),
        (REPORT, REPORT_HASH, "0d9b7c9e-52b1-4f0e-bb0b-8f6f3d2a7c55", REPORT_TOKEN),
    ] {
        assert_eq!(payload_hash(body.as_bytes()), hash);
        let at: Timestamp = "2026-03-01T02:15:07Z".parse().unwrap();
        let issue = Issue { at, id, application: Some(APPLICATION) };
        assert_eq!(sign(&Secret::new(SECRET), issue, body.as_bytes()), token);
    }
}

#[tokio::test]
async fn every_webhook_is_signed_over_its_very_bytes() {
    let stage = Stage::open("", "").await;
    stage.send(&sms()).await;
    for hook in stage.hooks_after(2).await {
        let claims = claims(hook.token.as_ref().unwrap());
        assert_eq!(claims["payload_hash"], json!(payload_hash(&hook.bytes)));
        assert_eq!((&claims["iss"], &claims["application_id"]), (&json!("Vonage"), &json!(APPLICATION)));
        assert_eq!(claims.get("exp"), None);
    }
}

#[tokio::test]
async fn a_webhook_that_meets_trouble_comes_again_with_the_same_body_and_a_fresh_signature() {
    let stage = Stage::open("", "").await;
    stage.answer_webhooks(&[503, 429, 500]);
    stage.sandbox.post(WebhookKind::Status, &json!({ "any": "body" }));
    let hooks = stage.hooks_after(4).await;
    stage.quiet(1).await;
    assert!(hooks.iter().all(|hook| hook.bytes == hooks[0].bytes && hook.path == "/below/webhooks/status"));
    let pauses: Vec<Duration> = hooks.windows(2).map(|pair| pair[1].at.since(pair[0].at)).collect();
    for (pause, least) in pauses.iter().zip([5, 10, 20]) {
        assert!(*pause >= Duration::from_secs(least), "{pauses:?}");
    }
    let mut ids: Vec<String> =
        hooks.iter().map(|hook| claims(hook.token.as_ref().unwrap())["jti"].to_string()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 4);
    assert_eq!(stage.sandbox.webhooks().repeated, 3);
}

#[tokio::test]
async fn a_webhook_that_is_refused_does_not_come_again() {
    let stage = Stage::open("", "").await;
    stage.answer_webhooks(&[401, 400]);
    stage.send(&sms()).await;
    stage.quiet(2).await;
    let counts = stage.call("GET", "/sandbox/webhooks", &json!(null)).await.unwrap().body();
    assert_eq!(counts, json!({ "accepted": 0, "refused": 2, "repeated": 0, "given_up": 0, "waiting": 0 }));
    assert_eq!(stage.hooks().len(), 2);
}

#[tokio::test]
async fn only_so_many_webhooks_are_on_their_way_at_once() {
    let stage = Stage::open("", "").await;
    stage.set_gate(Gate::Closed);
    for _ in 0..IN_FLIGHT_MAX + 20 {
        stage.sandbox.post(WebhookKind::Status, &json!({}));
    }
    assert_eq!(stage.hooks_after(IN_FLIGHT_MAX).await.len(), IN_FLIGHT_MAX);
    assert_eq!(stage.sandbox.webhooks().waiting, IN_FLIGHT_MAX + 20);
    stage.set_gate(Gate::Open);
    assert_eq!(stage.hooks_after(IN_FLIGHT_MAX + 20).await.len(), IN_FLIGHT_MAX + 20);
}

#[tokio::test]
async fn somebody_who_was_never_sent_anything_can_write_all_the_same() {
    let stage = Stage::open("", "").await;
    for channel in Channel::OF_VONAGE {
        stage.sandbox.reply(&Letter::text(channel, "447700900099", "who is this?"));
    }
    let hooks = stage.hooks_after(6).await;
    let mut channels: Vec<String> = hooks.iter().map(|hook| hook.field("/channel")).collect();
    let mut expected = Channel::OF_VONAGE.map(|channel| channel.name().to_owned()).to_vec();
    channels.sort_unstable();
    expected.sort_unstable();
    assert_eq!(channels, expected);
    assert!(hooks.iter().all(|hook| hook.field("/message_type") == "text" && hook.field("/text") == "who is this?"));
}
