//! What is posted twice has its effect once: `Idempotency-Key` for a request that is repeated, `dedup_key`
//! for a problem that is told of again.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Answer, Callout, Mood, Setup, events_of, path_of};

impl Callout {
    async fn n_alerts(&self) -> usize {
        self.get("/alerts?limit=200").await.is(200).json()["alerts"].as_array().unwrap().len()
    }
}

#[tokio::test]
async fn the_same_request_gets_the_first_answer_byte_for_byte_though_the_alert_has_changed() {
    let callout = Callout::start().await;
    let body = json!({ "message": "x", "details": { "b": 1.50, "a": "ü" } });
    let first = callout.post_with_key("/alerts", "key-1", &body).await.is(201);
    let alert = first.json();
    callout.press(&format!("{}/resolve", path_of(&alert))).await.is(200);
    callout.clock.advance(Duration::from_hours(23));
    let again = callout.post_with_key("/alerts", "key-1", &body).await.is(201);
    assert_eq!(again.text(), first.text());
    assert_eq!(again.header("location"), first.header("location"));
    assert_eq!(callout.n_alerts().await, 1);
}

#[tokio::test]
async fn the_first_answer_is_given_again_though_the_configuration_would_not_allow_it_any_more() {
    let callout = Callout::start().await;
    let body = json!({ "message": "x", "policy": "quiet" });
    let first = callout.post_with_key("/alerts", "key-1", &body).await.is(201);
    callout.reload(|file| {
        file["policies"].as_array_mut().unwrap().pop();
    });
    callout.post_with_key("/alerts", "key-2", &body).await.refuses(&[("/policy", "the policies are default")]);
    assert_eq!(callout.post_with_key("/alerts", "key-1", &body).await.is(201).text(), first.text());
    let other = json!({ "message": "y", "policy": "quiet" });
    callout.post_with_key("/alerts", "key-1", &other).await.refuses(&[("", "use a new key for each request")]);
}

#[tokio::test]
async fn another_body_under_the_same_key_is_422() {
    let callout = Callout::start().await;
    callout.post_with_key("/alerts", "key-1", &json!({ "message": "x" })).await.is(201);
    let other = callout.post_with_key("/alerts", "key-1", &json!({ "message": "y" })).await;
    other.refuses(&[("", "use a new key for each request")]);
    assert_eq!(callout.n_alerts().await, 1);
}

#[tokio::test]
async fn a_request_that_was_refused_does_not_use_its_key_up() {
    let callout = Callout::start().await;
    callout.post_with_key("/alerts", "key-1", &json!({ "mesage": "x" })).await.is(422);
    callout.post_with_key("/alerts", "key-1", &json!({ "message": "x" })).await.is(201);
}

#[tokio::test]
async fn a_key_is_forgotten_after_a_day() {
    let callout = Callout::start().await;
    let body = json!({ "message": "x" });
    let first = callout.post_with_key("/alerts", "key-1", &body).await.is(201).json();
    callout.clock.advance(Duration::from_hours(24) + Duration::from_mins(2));
    let mut latest = first.clone();
    // Forgetting goes on in the background, once a minute of the service's clock.
    let forgotten = async {
        while latest["id"] == first["id"] {
            callout.clock.advance(Duration::from_mins(1));
            latest = callout.post_with_key("/alerts", "key-1", &body).await.is(201).json();
        }
    };
    tokio::time::timeout(crate::harness::PATIENCE, forgotten).await.unwrap();
    assert_eq!(callout.n_alerts().await, 2);
}

#[tokio::test]
async fn the_idempotency_key_wins_over_the_dedup_key() {
    let callout = Callout::start().await;
    let body = json!({ "message": "x", "dedup_key": "server-1/down" });
    let first = callout.post_with_key("/alerts", "key-1", &body).await.is(201);
    let again = callout.post_with_key("/alerts", "key-1", &body).await.is(201);
    assert_eq!(again.text(), first.text());
    assert_eq!(callout.alert(&first.json()).await["repeats"], 0);
    let repeated = callout.post_with_key("/alerts", "key-2", &body).await.is(200);
    assert_eq!(repeated.json()["repeats"], 1);
    callout.press(&format!("{}/resolve", path_of(&first.json()))).await.is(200);
    let again = callout.post_with_key("/alerts", "key-2", &body).await.is(200);
    assert_eq!(again.text(), repeated.text(), "a repetition is replayed as one, with its own 200");
    assert_eq!(callout.n_alerts().await, 1);
}

#[tokio::test]
async fn keys_of_different_calls_have_nothing_to_do_with_each_other() {
    let callout = Callout::start().await;
    let alert = callout.post_with_key("/alerts", "key-1", &json!({ "message": "x" })).await.is(201).json();
    let other = callout.raise_any().await;
    for alert in [alert, other] {
        let path = format!("{}/escalate", path_of(&alert));
        let escalated = callout.post_with_key(&path, "key-1", &json!({})).await.is(200).json();
        assert_eq!(escalated["current"]["user"], "Ann");
    }
}

#[tokio::test]
async fn escalating_honours_the_key() {
    let callout = Callout::start().await;
    let alert = callout.raise_any().await;
    let path = format!("{}/escalate", path_of(&alert));
    let body = json!({ "by": "Eve" });
    let first = callout.post_with_key(&path, "key-1", &body).await.is(200);
    let answers = join_all((0..50).map(|_| callout.post_with_key(&path, "key-1", &body))).await;
    for answer in answers {
        assert_eq!(answer.is(200).text(), first.text());
    }
    assert_eq!(callout.alert(&alert).await["current"]["user"], "Ann", "one user was skipped");
    let other = callout.post_with_key(&path, "key-1", &json!({})).await;
    other.refuses(&[("", "use a new key")]);
    callout.post_with_key(&path, "key-2", &body).await.is(200);
    callout.until_status(&alert, "exhausted").await;
    let first_again = callout.post_with_key(&path, "key-1", &body).await.is(200);
    assert_eq!(first_again.text(), first.text(), "also where it would be impossible by now");
}

#[tokio::test]
async fn a_key_has_1_to_255_visible_characters_and_stands_alone() {
    let callout = Callout::start().await;
    let body = json!({ "message": "x" });
    for key in ["", &"k".repeat(256)] {
        callout.post_with_key("/alerts", key, &body).await.problem(400, "bad-request");
    }
    let not_ascii = callout.request(reqwest::Method::POST, "/alerts").header("Idempotency-Key", b"\xc3\xbc".as_slice());
    Answer::of(not_ascii.json(&body)).await.problem(400, "bad-request");
    let twice = callout.request(reqwest::Method::POST, "/alerts").header("Idempotency-Key", "a");
    Answer::of(twice.header("Idempotency-Key", "b").json(&body)).await.problem(400, "bad-request");
    callout.post_with_key("/alerts", &"k".repeat(255), &body).await.is(201);
    assert_eq!(callout.n_alerts().await, 1);
}

/// Two hundred callers post the same at once.
async fn race(callout: &Callout, key: Option<&str>, body: &Value) -> Vec<Answer> {
    let post = || async {
        match key {
            Some(key) => callout.post_with_key("/alerts", key, body).await,
            None => callout.post("/alerts", body).await,
        }
    };
    join_all((0..200).map(|_| post())).await
}

#[tokio::test]
async fn two_hundred_racing_requests_with_one_key_raise_one_alert_and_get_one_answer() {
    let folder = tempfile::tempdir().unwrap();
    for setup in [Setup::default(), Setup::in_file(&folder.path().join("callout.db"))] {
        let callout = setup.start().await;
        let answers = race(&callout, Some("key-1"), &json!({ "message": "x", "dedup_key": "d" })).await;
        for answer in &answers {
            assert_eq!((answer.status, answer.text()), (201, answers[0].text()));
        }
        assert_eq!(callout.n_alerts().await, 1);
        let alert = callout.alert(&answers[0].json()).await;
        assert_eq!(alert["repeats"], 0);
        callout.until(&alert, "it is sent", |alert| alert["attempts"][0]["sent_at"].is_string()).await;
        assert_eq!(callout.vonage.sent().len(), 1);
    }
}

#[tokio::test]
async fn two_hundred_racing_reports_of_one_problem_raise_one_alert_and_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    for setup in [Setup::default(), Setup::in_file(&folder.path().join("callout.db"))] {
        let callout = setup.start().await;
        let answers = race(&callout, None, &json!({ "message": "x", "dedup_key": "d" })).await;
        let n_with = |status: u16| answers.iter().filter(|answer| answer.status == status).count();
        assert_eq!((n_with(201), n_with(200)), (1, 199));
        assert_eq!(callout.n_alerts().await, 1);
        assert_eq!(callout.alert(&answers[0].json()).await["repeats"], 199);
    }
}

#[tokio::test]
async fn keys_alerts_and_dedup_keys_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("callout.db");
    let callout = Setup::in_file(&path).start().await;
    let body = json!({ "message": "x", "dedup_key": "d", "details": { "n": 12_345_678_901_234_567_u64 } });
    let raised = callout.post_with_key("/alerts", "key-1", &body).await.is(201);
    let alert = callout.until(&raised.json(), "it is sent", |alert| alert["attempts"][0]["sent_at"].is_string()).await;
    let escalate = format!("{}/escalate", path_of(&alert));
    let escalated = callout.post_with_key(&escalate, "key-1", &json!({})).await.is(200);
    let before = callout.until(&alert, "Ann is called", |alert| alert["attempts"][1]["sent_at"].is_string()).await;
    callout.stop().await;

    let callout = Setup::in_file(&path).start().await;
    assert_eq!(callout.alert(&alert).await, before);
    assert_eq!(callout.post_with_key("/alerts", "key-1", &body).await.is(201).text(), raised.text());
    assert_eq!(callout.post_with_key(&escalate, "key-1", &json!({})).await.is(200).text(), escalated.text());
    callout.post_with_key("/alerts", "key-1", &json!({ "message": "y" })).await.refuses(&[("", "use a new key")]);
    assert_eq!(callout.post("/alerts", &body).await.is(200).json()["repeats"], 1);
    assert!(callout.vonage.sent().is_empty(), "what was accepted before is not sent again");
}

#[tokio::test]
async fn the_same_problem_told_again_is_counted_where_it_is_known() {
    let callout = Callout::start().await;
    let body = json!({ "message": "Main server is down", "dedup_key": "server-1/down" });
    let alert = callout.raise(&body).await;
    let repeated =
        callout.post("/alerts", &json!({ "message": "Still down", "dedup_key": "server-1/down" })).await.is(200);
    assert_eq!(repeated.header("location"), path_of(&alert));
    let repeated = repeated.json();
    assert_eq!((&repeated["id"], &repeated["repeats"]), (&alert["id"], &json!(1)));
    assert_eq!(repeated["message"], "Main server is down", "the alert stays what it was");
    assert_eq!(events_of(&repeated), ["raised", "sent", "repeated"]);
    callout.press(&format!("{}/acknowledge", path_of(&alert))).await.is(200);
    let repeated = callout.post("/alerts", &body).await.is(200).json();
    assert_eq!((&repeated["status"], &repeated["repeats"]), (&json!("acknowledged"), &json!(2)));
    callout.post("/alerts", &json!({ "message": "x", "dedup_key": "server-2/down" })).await.is(201);
    assert_eq!(callout.vonage.nth(2).await.channel(), "messenger", "nobody was called for the repetitions");
    assert_eq!(callout.n_alerts().await, 2);
}

#[tokio::test]
async fn once_the_alert_is_over_the_same_problem_raises_a_new_one() {
    let callout = Callout::start().await;
    let body = json!({ "message": "x", "dedup_key": "d" });
    let first = callout.raise(&body).await;
    callout.press(&format!("{}/resolve", path_of(&first))).await.is(200);
    callout.vonage.becomes(Mood::Refuses);
    let second = callout.post("/alerts", &body).await.is(201).json();
    callout.until_status(&second, "exhausted").await;
    let third = callout.post("/alerts", &body).await.is(201).json();
    assert_ne!(second["id"], third["id"]);
    assert_eq!(callout.n_alerts().await, 3);
}
