//! Raising, showing and listing alerts.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{ANNS_NUMBER, Answer, Callout, Mood, Setup, TONYS_NUMBER, TONYS_PSID, events_of, path_of};

/// The names of an object's fields, sorted.
fn fields_of(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

fn ids_of(list: &Value) -> Vec<&str> {
    list["alerts"].as_array().unwrap().iter().map(|alert| alert["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_raised_alert_is_answered_201_with_its_address_and_everything_about_it() {
    let callout = Callout::start().await;
    callout.vonage.becomes(Mood::Hangs);
    let answer = callout
        .post(
            "/alerts",
            &json!({ "message": "Main server is down", "policy": "default", "severity": "warning",
                "dedup_key": "server-1/down", "source": "nagios", "link": "https://runbooks.example/server-1",
                "details": { "host": "server-1", "load": 97.5, "tags": ["a", null] } }),
        )
        .await
        .is(201);
    let alert = answer.json();
    assert_eq!(answer.header("location"), path_of(&alert));
    assert_eq!(answer.header("cache-control"), "no-store");
    let id = alert["id"].as_str().unwrap();
    assert_eq!((id.len(), id.as_bytes()[14]), (36, b'7'), "{id} is a UUID of version 7");
    for (field, value) in [
        ("status", json!("escalating")),
        ("message", json!("Main server is down")),
        ("severity", json!("warning")),
        ("policy", json!("default")),
        ("dedup_key", json!("server-1/down")),
        ("repeats", json!(0)),
        ("source", json!("nagios")),
        ("link", json!("https://runbooks.example/server-1")),
        ("details", json!({ "host": "server-1", "load": 97.5, "tags": ["a", null] })),
        ("created_at", json!("2026-03-01T02:15:07.000Z")),
        ("updated_at", json!("2026-03-01T02:15:07.000Z")),
        ("round", json!(1)),
        ("acknowledged", Value::Null),
    ] {
        assert_eq!(alert[field], value, "{field}");
    }
    assert_eq!(alert["current"]["attempt"], 1);
    assert_eq!(alert["timeline"][0], json!({ "at": "2026-03-01T02:15:07.000Z", "event": "raised" }));
    assert_eq!(callout.alert(&alert).await["id"], alert["id"], "the answer does not wait for Vonage");
}

#[tokio::test]
async fn only_a_message_is_required() {
    let callout = Callout::start().await;
    let alert = callout.post("/alerts", &json!({ "message": "x" })).await.is(201).json();
    assert_eq!((&alert["severity"], &alert["policy"]), (&json!("critical"), &json!("default")));
    for field in ["dedup_key", "source", "link"] {
        assert_eq!(alert[field], Value::Null, "{field}");
    }
    assert_eq!(alert["details"], json!({}));
    let nulls = json!({ "message": "x", "policy": null, "severity": null, "dedup_key": null, "source": null,
        "link": null, "details": null, "users": null });
    let same = callout.post("/alerts", &nulls).await.is(201).json();
    assert_eq!((&same["severity"], &same["policy"]), (&json!("critical"), &json!("default")), "null means absent");
}

#[tokio::test]
async fn a_message_may_have_4000_characters_of_any_script() {
    let callout = Callout::start().await;
    for character in ["a", "障", "🔥", "م"] {
        let message = character.repeat(4_000);
        let alert = callout.post("/alerts", &json!({ "message": message })).await.is(201).json();
        assert_eq!(alert["message"], message);
        let too_long = callout.post("/alerts", &json!({ "message": character.repeat(4_001) })).await;
        too_long.refuses(&[("/message", "4001 characters; 4000 are allowed")]);
    }
}

#[tokio::test]
async fn an_escalation_can_be_followed_on_messages() {
    let callout = Callout::start().await;
    let alert = callout.raise_any().await;
    let first = callout.vonage.nth(1).await;
    assert_eq!((first.path.as_str(), first.channel(), first.to()), ("/v1/messages", "messenger", TONYS_PSID));
    callout.report(&first, "delivered").await.is(200);
    callout.comes_to_attempt(&alert, 2).await;
    assert_eq!(callout.vonage.nth(2).await.to(), TONYS_NUMBER);
    let alert = callout.comes_to_attempt(&alert, 4).await;
    let expected =
        ["round", "user", "channel", "address", "status", "sent_at", "expires_at", "delivered_at", "error", "tries"];
    let shown = |number: usize| expected.map(|field| alert["attempts"][number - 1][field].clone());
    assert_eq!(
        shown(1),
        [
            json!(1),
            json!("Tony"),
            json!("messenger"),
            json!("…5678"),
            json!("expired"),
            json!("2026-03-01T02:15:07.000Z"),
            json!("2026-03-01T02:20:07.000Z"),
            json!("2026-03-01T02:15:07.000Z"),
            Value::Null,
            json!(1)
        ]
    );
    assert_eq!(
        shown(4),
        [
            json!(1),
            json!("Ann"),
            json!("viber_service"),
            json!("…0002"),
            json!("sent"),
            json!("2026-03-01T02:35:07.000Z"),
            json!("2026-03-01T02:45:07.000Z"),
            Value::Null,
            Value::Null,
            json!(1)
        ],
        "Viber is called by its new name"
    );
    assert_eq!(alert["attempts"][0]["message_uuid"], first.id);
    assert_eq!(alert["attempts"][0]["dispatch_uuid"], Value::Null);
    assert_eq!(
        alert["current"],
        json!({ "attempt": 4, "user": "Ann", "channel": "viber_service", "address": "…0002", "status": "sent",
            "expires_at": "2026-03-01T02:45:07.000Z" })
    );
    assert_eq!(
        events_of(&alert),
        [
            "raised",
            "sent",
            "delivered",
            "expired",
            "failed_over",
            "sent",
            "expired",
            "escalated",
            "sent",
            "expired",
            "failed_over",
            "sent"
        ]
    );
    assert_eq!(
        alert["timeline"][1],
        json!({ "at": "2026-03-01T02:15:07.000Z", "event": "sent", "attempt": 1, "user": "Tony", "channel": "messenger" })
    );
}

#[tokio::test]
async fn no_address_is_shown_in_full() {
    let callout = Callout::start().await;
    let alert = callout.raise_any().await;
    callout.comes_to_attempt(&alert, 4).await;
    for path in [path_of(&alert), "/alerts".to_owned()] {
        let text = callout.get(&path).await.is(200).text().to_owned();
        for address in [TONYS_PSID, TONYS_NUMBER, ANNS_NUMBER] {
            assert!(!text.contains(address), "{text}");
        }
    }
}

#[tokio::test]
async fn an_alert_has_every_field_of_the_api_on_both_backends() {
    for setup in [Setup::default(), Setup::on_dispatch()] {
        let callout = setup.start().await;
        let alert = callout.raise_any().await;
        for field in [
            "id",
            "status",
            "message",
            "severity",
            "policy",
            "dedup_key",
            "repeats",
            "source",
            "link",
            "details",
            "created_at",
            "updated_at",
            "round",
            "current",
            "acknowledged",
            "attempts",
            "timeline",
        ] {
            assert!(fields_of(&alert).contains(&field), "{field} is missing: {alert:#}");
        }
        for field in ["attempt", "user", "channel", "expires_at"] {
            assert!(fields_of(&alert["current"]).contains(&field), "{field} is missing: {alert:#}");
        }
        for field in [
            "number",
            "round",
            "user",
            "channel",
            "status",
            "message_uuid",
            "dispatch_uuid",
            "tries",
            "sent_at",
            "expires_at",
            "delivered_at",
            "read_at",
            "error",
        ] {
            assert!(fields_of(&alert["attempts"][0]).contains(&field), "{field} is missing: {alert:#}");
        }
    }
}

#[tokio::test]
async fn on_dispatch_an_attempt_is_a_workflow_with_its_messages() {
    let callout = Setup::on_dispatch().start().await;
    let alert = callout.raise_any().await;
    let workflow = callout.vonage.nth(1).await;
    assert_eq!((workflow.path.as_str(), &workflow.body["template"]), ("/v0.1/dispatch", &json!("failover")));
    assert_eq!(alert["attempts"][0]["dispatch_uuid"], workflow.id);
    assert_eq!(alert["attempts"][0]["messages"], json!([]));
    let report = json!({ "message_uuid": "77a0c1de-20a8-43e5-8b40-51a7ad7f6f02",
        "to": { "type": "messenger", "id": TONYS_PSID }, "from": { "type": "messenger", "id": "108450971234567" },
        "timestamp": "2026-03-01T02:16:01.020Z", "status": "delivered",
        "_links": { "dispatch": { "dispatch_uuid": workflow.id, "href": format!("v0.1/dispatch/{}", workflow.id) } } });
    callout.webhook("/webhooks/status", &report).await.is(200);
    let alert = callout.alert(&alert).await;
    let attempt = &alert["attempts"][0];
    assert_eq!((&attempt["channel"], &attempt["message_uuid"]), (&Value::Null, &Value::Null));
    assert_eq!(alert["current"]["channel"], Value::Null);
    assert_eq!(
        attempt["messages"],
        json!([{ "channel": "messenger", "message_uuid": "77a0c1de-20a8-43e5-8b40-51a7ad7f6f02", "status": "delivered" }])
    );
    assert_eq!(attempt["expires_at"], "2026-03-01T02:25:07.000Z", "both channels' expiries together");
}

#[tokio::test]
async fn users_can_be_posted_instead_of_a_policy() {
    let callout = Callout::start().await;
    let alert = callout
        .raise(&json!({ "message": "x", "users": [ { "name": "Bo", "channels": [
            { "type": "viber_service_msg", "id_num": "+44 7700 900003", "expiry_time": "90" },
            { "type": "sms", "id_num": 447_700_900_003_u64, "condition_status": "delivered" } ] } ] }))
        .await;
    assert_eq!(alert["policy"], Value::Null);
    assert_eq!((&alert["current"]["user"], &alert["current"]["channel"]), (&json!("Bo"), &json!("viber_service")));
    assert_eq!(alert["current"]["expires_at"], "2026-03-01T02:16:37.000Z");
    callout.comes_to_attempt(&alert, 2).await;
    assert_eq!(callout.vonage.nth(2).await.to(), "447700900003");
    callout.clock.reach("2026-03-01T02:30:00Z".parse().unwrap());
    let alert = callout.until_status(&alert, "exhausted").await;
    assert_eq!((&alert["current"], &alert["attempts"].as_array().unwrap().len()), (&Value::Null, &2), "no repeats");
}

#[tokio::test]
async fn a_refused_message_says_why() {
    let callout = Callout::start().await;
    callout.vonage.becomes(Mood::Refuses);
    let alert = callout.post("/alerts", &json!({ "message": "x" })).await.is(201).json();
    let alert = callout.until_status(&alert, "exhausted").await;
    let attempt = &alert["attempts"][0];
    assert_eq!(attempt["status"], "refused");
    assert_eq!(attempt["error"]["code"], "1150");
    assert!(attempt["error"]["detail"].as_str().unwrap().contains("This user cannot be reached."), "{attempt:#}");
}

#[tokio::test]
async fn a_list_is_newest_first_in_pages_without_attempts_and_timeline() {
    let callout = Callout::start().await;
    let mut raised = Vec::new();
    // All in one millisecond: the clock stands still.
    for n in 0..5 {
        raised.push(callout.post("/alerts", &json!({ "message": format!("alert {n}") })).await.is(201).json());
    }
    let newest_first: Vec<&str> = raised.iter().rev().map(|alert| alert["id"].as_str().unwrap()).collect();
    let all = callout.get("/alerts").await.is(200).json();
    assert_eq!(ids_of(&all), newest_first);
    assert_eq!(all["next_cursor"], Value::Null);
    assert_eq!((&all["alerts"][0]["attempts"], &all["alerts"][0]["timeline"]), (&Value::Null, &Value::Null));
    assert!(!fields_of(&all["alerts"][0]).contains(&"attempts"));

    let first = callout.get("/alerts?limit=2").await.is(200).json();
    assert_eq!(ids_of(&first), newest_first[..2]);
    let cursor = first["next_cursor"].as_str().unwrap();
    callout.raise_any().await;
    let second = callout.get(&format!("/alerts?limit=2&cursor={cursor}")).await.is(200).json();
    assert_eq!(ids_of(&second), newest_first[2..4], "what is raised meanwhile does not move the pages");
    let cursor = second["next_cursor"].as_str().unwrap();
    let third = callout.get(&format!("/alerts?limit=2&cursor={cursor}")).await.is(200).json();
    assert_eq!((ids_of(&third), &third["next_cursor"]), (newest_first[4..].to_vec(), &Value::Null));
    let exact = callout.get("/alerts?limit=6").await.is(200).json();
    assert_eq!((ids_of(&exact).len(), &exact["next_cursor"]), (6, &Value::Null), "a full last page has no next one");
}

#[tokio::test]
async fn a_list_has_fifty_alerts_unless_told_otherwise_and_at_most_two_hundred() {
    let callout = Callout::start().await;
    callout.vonage.becomes(Mood::Hangs);
    for _ in 0..51 {
        callout.post("/alerts", &json!({ "message": "x" })).await.is(201);
    }
    let list = callout.get("/alerts").await.is(200).json();
    assert_eq!(ids_of(&list).len(), 50);
    assert!(list["next_cursor"].is_string());
    assert_eq!(ids_of(&callout.get("/alerts?limit=200").await.is(200).json()).len(), 51);
    assert_eq!(ids_of(&callout.get("/alerts?limit=1").await.is(200).json()).len(), 1);
    callout.vonage.becomes(Mood::Accepts);
}

#[tokio::test]
async fn a_list_can_be_narrowed_by_status_and_policy() {
    let callout = Callout::start().await;
    let acknowledged = callout.raise(&json!({ "message": "x", "policy": "quiet" })).await;
    callout.press(&format!("{}/acknowledge", path_of(&acknowledged))).await.is(200);
    let resolved = callout.raise_any().await;
    callout.press(&format!("{}/resolve", path_of(&resolved))).await.is(200);
    callout.vonage.becomes(Mood::Refuses);
    let exhausted = callout.post("/alerts", &json!({ "message": "x" })).await.is(201).json();
    callout.until_status(&exhausted, "exhausted").await;
    callout.vonage.becomes(Mood::Accepts);
    let escalating = callout.raise(&json!({ "message": "x", "policy": "quiet" })).await;
    for (query, expected) in [
        ("status=escalating", vec![&escalating]),
        ("status=acknowledged", vec![&acknowledged]),
        ("status=exhausted", vec![&exhausted]),
        ("status=resolved", vec![&resolved]),
        ("policy=quiet", vec![&escalating, &acknowledged]),
        ("policy=default", vec![&exhausted, &resolved]),
        ("policy=quiet&status=escalating", vec![&escalating]),
        ("policy=nobody%20knows", vec![]),
    ] {
        let expected: Vec<&str> = expected.iter().map(|alert| alert["id"].as_str().unwrap()).collect();
        let list = callout.get(&format!("/alerts?{query}")).await.is(200).json();
        assert_eq!(ids_of(&list), expected, "{query}");
    }
}

#[tokio::test]
async fn a_bad_query_names_everything_that_is_wrong_with_it() {
    let callout = Callout::start().await;
    let answer = callout.get("/alerts?status=open&limit=0&cursor=next&a%2Fb~=1&limit=2").await;
    answer.refuses(&[
        ("/status", "escalating, acknowledged, exhausted or resolved"),
        ("/limit", "more than once"),
        ("/cursor", "next_cursor"),
        ("/a~1b~0", "the parameters are status, policy, limit and cursor"),
    ]);
    for limit in ["0", "201", "-1", "many", "", "1.5", "99999999999999999999999"] {
        callout.get(&format!("/alerts?limit={limit}")).await.refuses(&[("/limit", "from 1 to 200")]);
    }
}

#[tokio::test]
async fn what_exists_is_shown_to_head_as_to_get() {
    let callout = Callout::start().await;
    let alert = callout.raise_any().await;
    for path in ["/alerts", &path_of(&alert), "/healthz"] {
        let head = Answer::of(callout.request(Method::HEAD, path)).await.is(200);
        assert!(head.body.is_empty());
        assert_eq!(head.header("content-type"), "application/json");
    }
}

#[tokio::test]
async fn somebody_who_knows_only_the_code_of_a_message_finds_and_answers_the_alert_by_it() {
    let callout = Callout::start().await;
    callout.raise(&json!({ "message": "Not this one" })).await;
    let alert = callout.raise(&json!({ "message": "Main server is down" })).await;
    let code = alert["code"].as_str().unwrap();
    let found = callout.get(&format!("/alerts/{}", code.to_lowercase())).await.is(200).json();
    assert_eq!(found["id"], alert["id"]);
    let answered = callout.press(&format!("/alerts/{code}/acknowledge")).await.is(200).json();
    assert_eq!((&answered["id"], &answered["status"]), (&alert["id"], &json!("acknowledged")));
    let stream = callout.get(&format!("/alerts/{code}/events")).await.is(200);
    assert!(stream.text().contains("acknowledged"));
    // A code that no alert has yet.
    callout.get("/alerts/Z9Z9").await.problem(404, "not-found");
}
