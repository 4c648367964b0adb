//! Vonage's webhooks at the front door: who is believed, what is answered, and that nothing is answered
//! 200 that was not kept.

use jsonwebtoken::{EncodingKey, Header};
use reqwest::Method;
use serde_json::{Value, json};

use callout::clock::system_now;
use callout::vonage::signature::hash;

use crate::engine_frail::Frail;
use crate::harness::{Answer, Callout, Mood, Setup, TONYS_PSID, client_ref, events_of};

const PATHS: [&str; 2] = ["/webhooks/status", "/webhooks/inbound"];
const SECRET: &str = "callout-test-signature-secret-0123456789abcdef";
/// A status and a final report with the tokens that Vonage would sign them with, made independently of callout.
const SIGNED: [(&str, &str); 2] = [
    (
        r#"{"message_uuid":"0f6d6a52-6f0b-4c5e-9a51-2d1f0a1c9e01","to":"447700900001","from":"447700900100","timestamp":"2026-03-01T02:15:07Z","status":"read","channel":"whatsapp","client_ref":"co1.01HQZ4.2.1"}"#,
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpYXQiOjE3NzIzMzEzMDcsImp0aSI6IjZiOWYyYTBlLTJhNTUtNGQwZi04YTJjLTBjNmY3ZjFmM2ExMCIsImlzcyI6IlZvbmFnZSIsInBheWxvYWRfaGFzaCI6ImY5NWU2NTBhMzMzMzQzMDkxNGFlMDg2NjgyZWQ2OTFiNmU1NGM2ZjhjMGE0OGZjNTU4M2NhOTFkNDkzNmFlZTgiLCJhcGlfa2V5IjoiYWJjZDEyMzQiLCJhcHBsaWNhdGlvbl9pZCI6IjExMTExMTExLTIyMjItNDMzMy04NDQ0LTU1NTU1NTU1NTU1NSJ9.ZDnwdZ2QyZMSHPVY01B2Gb8VQEsfU5DJ_oMhHBOAd60",
    ),
    (
        r#"{"dispatch_uuid":"5b1c0c3e-6a5f-4a3e-9d53-0b9a3f6d7e21","template":"failover","status":"completed","timestamp":"2026-03-01T02:15:07.412Z","usage":{"price":"0.0353","currency":"EUR"},"_links":{"messages":[{"message_uuid":"0f6d6a52-6f0b-4c5e-9a51-2d1f0a1c9e01","href":"v0.1/messages/0f6d6a52-6f0b-4c5e-9a51-2d1f0a1c9e01","channel":"messenger","status":"read"}]}}"#,
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpYXQiOjE3NzIzMzEzMDcsImp0aSI6IjBkOWI3YzllLTUyYjEtNGYwZS1iYjBiLThmNmYzZDJhN2M1NSIsImlzcyI6IlZvbmFnZSIsInBheWxvYWRfaGFzaCI6ImFhM2MwNzAwYzNlY2NhODkxMTM1OWIxZDZkYjMxMzMyYTIwZTQ0NmNmMWZlYjA0MWJiYTE5Njc0ZDJiMzhlMWQiLCJhcGlfa2V5IjoiYWJjZDEyMzQiLCJhcHBsaWNhdGlvbl9pZCI6IjExMTExMTExLTIyMjItNDMzMy04NDQ0LTU1NTU1NTU1NTU1NSJ9.emI7oZwFM2lmPLO9F_IY3Pr-7h0RxzZyI7lC1HWqfpU",
    ),
];

impl Callout {
    async fn signed_webhook(&self, body: &str, authorization: Option<&str>) -> Answer {
        let mut request = self.stranger(Method::POST, PATHS[0]).header("content-type", "application/json");
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        Answer::of(request.body(body.to_owned())).await
    }

    async fn count(&self, sample: &str) -> u64 {
        let metrics = Answer::of(self.stranger(Method::GET, "/metrics")).await;
        let line = metrics.text().lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        line.map_or(0, |count| count.parse().unwrap())
    }
}

fn who_demands_signatures() -> Setup {
    Setup { signature_secret: Some(SECRET), ..Setup::default() }
}

/// A bearer token over these claims, signed with the right secret.
fn token(claims: &Value) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    format!("Bearer {}", jsonwebtoken::encode(&Header::default(), claims, &key).unwrap())
}

#[tokio::test]
async fn either_path_takes_any_of_the_five_bodies() {
    let bodies = [
        serde_json::from_str(SIGNED[0].0).unwrap(),
        serde_json::from_str(SIGNED[1].0).unwrap(),
        json!({ "message_uuid": "77a0c1de-20a8-43e5-8b40-51a7ad7f6f02", "to": { "type": "messenger", "id": TONYS_PSID },
            "from": { "type": "messenger", "id": "108450971234567" }, "timestamp": "2026-03-01T02:13:01.020Z",
            "status": "rejected", "error": { "code": 1340, "reason": "Outside Allowed Window" } }),
        json!({ "channel": "sms", "message_uuid": "1b0e7a52-5d0d-4f2a-9d13-0a5bb2c4aa21", "to": "447700900100",
            "from": "447700900009", "timestamp": "2026-03-01T02:22:10Z", "message_type": "text", "text": "ok" }),
        json!({ "msisdn": "447700900009", "to": "447700900100", "messageId": "0A0000000123ABCD1", "text": "ok",
            "type": "text", "message-timestamp": "2026-03-01 02:22:10" }),
    ];
    let callout = Callout::start().await;
    for path in PATHS {
        for body in &bodies {
            callout.webhook(path, body).await.is(200);
        }
        let read = callout.raise_any().await;
        let sent = callout.vonage.sent().last().unwrap().clone();
        let body = json!({ "message_uuid": sent.id, "to": sent.to(), "from": "x", "status": "read",
            "timestamp": "2026-03-01T02:16:00Z", "channel": "messenger", "client_ref": client_ref(&sent) });
        callout.webhook(path, &body).await.is(200);
        let answered = callout.raise_any().await;
        let body = json!({ "channel": "messenger", "message_uuid": format!("in-{}", path.len()), "to": "108450971234567",
            "from": TONYS_PSID, "timestamp": "2026-03-01T02:16:05Z", "message_type": "text", "text": "ok" });
        callout.webhook(path, &body).await.is(200);
        for alert in [read, answered] {
            assert_eq!(callout.alert(&alert).await["status"], "acknowledged", "{path}");
        }
    }
}

#[tokio::test]
async fn a_report_is_seen_in_the_alert_as_soon_as_it_is_answered() {
    let callout = Callout::start().await;
    let alert = callout.raise_any().await;
    let sent = callout.vonage.nth(1).await;
    for status in ["submitted", "delivered", "read"] {
        callout.report(&sent, status).await.is(200);
        assert_eq!(callout.alert(&alert).await["attempts"][0]["status"], status);
    }
    let alert = callout.alert(&alert).await;
    assert_eq!(
        alert["acknowledged"],
        json!({ "by": "Tony", "via": "read", "channel": "messenger", "at": "2026-03-01T02:15:07.000Z" })
    );
}

#[tokio::test]
async fn what_comes_twice_late_or_in_any_order_has_its_effect_once() {
    let callout = Callout::start().await;
    let alert = callout.raise_any().await;
    let first = callout.vonage.nth(1).await;
    callout.comes_to_attempt(&alert, 2).await;
    for status in ["delivered", "delivered", "submitted", "read", "read", "delivered", "rejected"] {
        callout.report(&first, status).await.is(200);
    }
    let alert = callout.alert(&alert).await;
    assert_eq!(alert["attempts"][0]["status"], "read", "a weaker report never undoes a stronger one");
    assert_eq!(alert["status"], "acknowledged", "also by a read on an earlier attempt");
    let n_of = |event: &str| events_of(&alert).iter().filter(|name| **name == event).count();
    assert_eq!((n_of("delivered"), n_of("read"), n_of("acknowledged"), n_of("rejected")), (1, 1, 1, 0));
}

#[tokio::test]
async fn a_failed_message_is_told_with_its_reason_and_the_next_channel_is_tried() {
    let callout = Callout::start().await;
    let alert = callout.raise_any().await;
    let sent = callout.vonage.nth(1).await;
    let report = json!({ "message_uuid": sent.id, "to": sent.to(), "from": "x", "status": "rejected",
        "timestamp": "2026-03-01T02:16:00Z", "channel": "messenger", "client_ref": client_ref(&sent),
        "error": { "type": "https://developer.vonage.com/api-errors/messages#1340", "title": 1340,
            "detail": "Sent outside of the allowed window" } });
    callout.webhook(PATHS[0], &report).await.is(200);
    let alert = callout.alert(&alert).await;
    assert_eq!(
        (&alert["attempts"][0]["status"], &alert["attempts"][0]["error"]["code"]),
        (&json!("rejected"), &json!("1340"))
    );
    assert_eq!(alert["current"]["channel"], "sms");
}

#[tokio::test]
async fn what_concerns_no_alert_is_answered_200_and_counted() {
    let callout = Callout::start().await;
    let of_nobody = json!({ "message_uuid": "0f6d6a52-6f0b-4c5e-9a51-2d1f0a1c9eff", "to": "447700900001", "from": "1",
        "timestamp": "2026-03-01T02:15:07Z", "status": "delivered", "channel": "sms", "new_field": { "x": [1] } });
    callout.webhook(PATHS[0], &of_nobody).await.is(200);
    let seen = json!({ "message_uuid": "0f6d6a52-6f0b-4c5e-9a51-2d1f0a1c9eff", "to": "447700900001", "from": "1",
        "timestamp": "yesterday", "status": "seen", "channel": "pigeon" });
    callout.webhook(PATHS[0], &seen).await.is(200);
    callout.webhook(PATHS[0], &json!({ "hello": "world" })).await.is(200);
    assert_eq!(callout.count("callout_webhooks_total{kind=\"delivered\",outcome=\"parked\"}").await, 1);
    assert_eq!(callout.count("callout_webhooks_total{kind=\"foreign\",outcome=\"unknown_status\"}").await, 1);
    assert_eq!(callout.count("callout_webhooks_total{kind=\"foreign\",outcome=\"unknown_shape\"}").await, 1);
}

#[tokio::test]
async fn on_dispatch_a_report_that_comes_before_the_answer_to_the_send_is_applied() {
    let callout = Setup::on_dispatch().start().await;
    callout.vonage.becomes(Mood::Hangs);
    let alert = callout.post("/alerts", &json!({ "message": "x" })).await.is(201).json();
    let workflow = callout.vonage.nth(1).await;
    for (spelling, id, to) in [("dispatch", "m-1", TONYS_PSID), ("workflow", "m-2", TONYS_PSID)] {
        let report = json!({ "message_uuid": id, "to": { "type": "messenger", "id": to },
            "from": { "type": "messenger", "id": "108450971234567" }, "timestamp": "2026-03-01T02:16:01.020Z",
            "status": if id == "m-1" { "delivered" } else { "read" },
            "_links": { spelling: { "dispatch_uuid": workflow.id } } });
        callout.webhook(PATHS[0], &report).await.is(200);
    }
    assert_eq!(callout.alert(&alert).await["status"], "escalating", "nobody knows yet whose report that is");
    callout.vonage.becomes(Mood::Accepts);
    let alert = callout.until_status(&alert, "acknowledged").await;
    assert_eq!(alert["acknowledged"]["via"], "read");
}

#[tokio::test]
async fn a_body_that_is_not_json_or_no_object_is_400() {
    let callout = Callout::start().await;
    for path in PATHS {
        for body in ["", "{", "[]", "7", "null", "status=read"] {
            let request = callout.stranger(Method::POST, path).header("content-type", "application/json").body(body);
            Answer::of(request).await.problem(400, "not-json");
        }
    }
}

#[tokio::test]
async fn a_rightly_signed_webhook_is_taken() {
    let callout = who_demands_signatures().start().await;
    for (body, token) in SIGNED {
        for scheme in ["Bearer", "bearer", "BEARER"] {
            callout.signed_webhook(body, Some(&format!("{scheme} {token}"))).await.is(200);
        }
    }
    let alert = callout.raise_any().await;
    let sent = callout.vonage.nth(1).await;
    let body = json!({ "message_uuid": sent.id, "to": sent.to(), "from": "x", "status": "read",
        "timestamp": "2026-03-01T02:16:00Z", "channel": "messenger", "client_ref": client_ref(&sent) })
    .to_string();
    let any_age = token(&json!({ "iat": 1, "payload_hash": hash(body.as_bytes()) }));
    callout.signed_webhook(&body, Some(&any_age)).await.is(200);
    assert_eq!(callout.alert(&alert).await["status"], "acknowledged");
}

#[tokio::test]
async fn an_unsigned_webhook_is_503_so_that_it_is_sent_again_signed() {
    let callout = who_demands_signatures().start().await;
    for authorization in [None, Some("Basic dXNlcjpwYXNz"), Some("Bearer"), Some("")] {
        let answer = callout.signed_webhook(SIGNED[0].0, authorization).await;
        answer.problem(503, "unsigned");
        assert_eq!(answer.header("retry-after"), "5");
    }
    assert_eq!(callout.count("callout_webhooks_total{kind=\"unsigned\",outcome=\"refused\"}").await, 4);
}

#[tokio::test]
async fn a_wrong_signature_a_changed_body_or_another_algorithm_is_401_and_has_no_effect() {
    let callout = who_demands_signatures().start().await;
    let alert = callout.raise_any().await;
    let sent = callout.vonage.nth(1).await;
    let read = json!({ "message_uuid": sent.id, "to": sent.to(), "from": "x", "status": "read",
        "timestamp": "2026-03-01T02:16:00Z", "channel": "messenger", "client_ref": client_ref(&sent) })
    .to_string();
    let claims = json!({ "iat": 1_772_331_307, "payload_hash": hash(read.as_bytes()) });
    let encode = |header: &Header, secret: &str| {
        jsonwebtoken::encode(header, &claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
    };
    let unsigned = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
    let good = encode(&Header::default(), SECRET);
    let body_of_good = good.split('.').nth(1).unwrap();
    for (why, authorization) in [
        ("another secret", format!("Bearer {}", encode(&Header::default(), "another-secret"))),
        ("another body's token", format!("Bearer {}", SIGNED[0].1)),
        ("no payload_hash", token(&json!({ "iat": 1_772_331_307 }))),
        ("another algorithm", format!("Bearer {}", encode(&Header::new(jsonwebtoken::Algorithm::HS512), SECRET))),
        ("no algorithm", format!("Bearer {unsigned}.{body_of_good}.")),
        ("no token", "Bearer nonsense".to_owned()),
        ("no token", "Bearer a.b.c".to_owned()),
    ] {
        let answer = callout.signed_webhook(&read, Some(&authorization)).await;
        let problem = answer.problem(401, "bad-signature");
        assert!(answer.header("www-authenticate").starts_with("Bearer"), "{why}");
        assert!(!problem.to_string().contains(SECRET));
    }
    let changed = read.replace("02:16:00", "02:16:01");
    callout.signed_webhook(&changed, Some(&format!("Bearer {good}"))).await.problem(401, "bad-signature");
    assert_eq!(callout.alert(&alert).await, alert);
    callout.signed_webhook(&read, Some(&format!("Bearer {good}"))).await.is(200);
}

#[tokio::test]
async fn the_age_of_a_signature_counts_where_it_is_configured() {
    let setup = Setup { signature_age_max: Some(90_000), ..who_demands_signatures() };
    let callout = setup.start().await;
    let body = SIGNED[0].0;
    let signed_before = |seconds: i64| {
        let iat = system_now().as_millis() / 1_000 - seconds;
        token(&json!({ "iat": iat, "payload_hash": hash(body.as_bytes()) }))
    };
    callout.signed_webhook(body, Some(&signed_before(0))).await.is(200);
    callout.signed_webhook(body, Some(&signed_before(89_000))).await.is(200);
    callout.signed_webhook(body, Some(&signed_before(90_002))).await.problem(401, "bad-signature");
    let ageless = token(&json!({ "payload_hash": hash(body.as_bytes()) }));
    callout.signed_webhook(body, Some(&ageless)).await.problem(401, "bad-signature");
}

#[tokio::test]
async fn what_cannot_be_kept_is_never_answered_200() {
    let store = Frail::new();
    let callout = Setup::in_store(&store).start().await;
    let alert = callout.raise_any().await;
    let sent = callout.vonage.nth(1).await;
    let of_nobody = json!({ "message_uuid": "0f6d6a52-6f0b-4c5e-9a51-2d1f0a1c9eff", "to": "447700900001", "from": "1",
        "timestamp": "2026-03-01T02:15:07Z", "status": "delivered", "channel": "sms" });
    let reply = json!({ "channel": "messenger", "message_uuid": "in-1", "to": "108450971234567", "from": TONYS_PSID,
        "timestamp": "2026-03-01T02:16:05Z", "message_type": "text", "text": "ok" });
    store.fail_everything();
    for answer in [
        callout.report(&sent, "read").await,
        callout.webhook(PATHS[0], &of_nobody).await,
        callout.webhook(PATHS[1], &reply).await,
    ] {
        answer.problem(503, "unavailable");
        assert_eq!(answer.header("retry-after"), "5");
    }
    store.heal();
    assert_eq!(callout.alert(&alert).await, alert);
    callout.report(&sent, "read").await.is(200);
    assert_eq!(callout.alert(&alert).await["status"], "acknowledged", "Vonage sends it again, and then it counts");
}
