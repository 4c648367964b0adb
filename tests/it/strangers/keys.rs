//! Keys and roles: who is let in, and how far.

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;

use callout::http::{FAILURES_BURST, FAILURES_PER_SECOND};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use super::{HandClock, KEY, Stage, problem};

const RAISER: &str = "a-key-that-only-raises-alerts";
const READER: &str = "a-key-that-only-reads-alerts";
const ANSWERER: &str = "a-key-that-only-answers-alerts";

/// A key for each role; the reader's stands in the file as its hash.
fn a_key_for_each_role() -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, READER.as_bytes());
    let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "api_keys:\n\
         - {{ name: nagios, key: {RAISER}, roles: [raise] }}\n\
         - {{ name: wallboard, key_hash: \"sha256:{hash}\", roles: [read] }}\n\
         - {{ name: night shift, key: {ANSWERER}, roles: [answer] }}\n\
         - {{ name: chief, key: {KEY}, roles: [admin] }}"
    )
}

#[tokio::test]
async fn each_role_opens_its_own_doors_and_no_others() {
    let stage = Stage::with_server(&a_key_for_each_role()).await;
    let id = stage.raise(&json!({ "message": "Main server is down" })).await;
    let calls = [
        (Method::POST, "/alerts".to_owned(), "raise"),
        (Method::GET, "/alerts".to_owned(), "read"),
        (Method::HEAD, "/alerts".to_owned(), "read"),
        (Method::GET, "/alerts?limit=1".to_owned(), "read"),
        (Method::GET, format!("/alerts/{id}"), "read"),
        (Method::POST, format!("/alerts/{id}/escalate"), "answer"),
        (Method::POST, format!("/alerts/{id}/acknowledge"), "answer"),
        (Method::POST, format!("/alerts/{id}/resolve"), "answer"),
        (Method::GET, format!("/alerts/{id}/events"), "read"),
    ];
    for (method, path, role) in calls {
        for (key, its_role) in [(RAISER, "raise"), (READER, "read"), (ANSWERER, "answer"), (KEY, "admin")] {
            let mut request = stage.with_key(key, method.clone(), &path);
            if path == "/alerts" && method == Method::POST {
                request = request.json(&json!({ "message": "Main server is down" }));
            }
            let response = request.send().await.unwrap();
            if its_role == role || its_role == "admin" {
                assert!(response.status().is_success(), "{its_role} {method} {path}: {}", response.status());
            } else if method == Method::HEAD {
                assert_eq!(response.status(), 403, "{its_role} {method} {path}");
            } else {
                let (status, kind, body) = problem(response).await;
                assert_eq!((status, kind.as_str()), (403, "forbidden"), "{its_role} {method} {path}");
                assert!(body["detail"].as_str().unwrap().contains(&format!("`{role}`")), "{body}");
            }
        }
    }
    stage.end().await;
}

#[tokio::test]
async fn a_wrong_key_and_none_are_refused_alike() {
    let clock = HandClock::new();
    let stage = Stage::at(&a_key_for_each_role(), clock.clone()).await;
    let headers: [&[u8]; 22] = [
        b"",
        b"Bearer",
        b"Bearer ",
        b"Bearer  ",
        b"Bearer wrong",
        b"Bearer the-key-that-may-do-everythin",
        b"Bearer the-key-that-may-do-everything-",
        b"Bearer THE-KEY-THAT-MAY-DO-EVERYTHING",
        b"Bearer the-key-that-may-do-everything, Bearer the-key-that-may-do-everything",
        b"Bearer the-key-that-may-do-everything x",
        b"Bearer \"the-key-that-may-do-everything\"",
        b"the-key-that-may-do-everything",
        b"Basic dGhlLWtleS10aGF0LW1heS1kby1ldmVyeXRoaW5nOg==",
        b"Token the-key-that-may-do-everything",
        b"Bearer:the-key-that-may-do-everything",
        b"Bearer\tthe-key-that-may-do-everything",
        b"Bearer null",
        b"Bearer undefined",
        b"Bearer \xff\xfe",
        b"Bearer ' OR 1=1 --",
        b"Bearer sha256:0000000000000000000000000000000000000000000000000000000000000000",
        b"Bearer eyJhbGciOiJub25lIn0.e30.",
    ];
    for header in headers {
        // A second each, so that none of them is one too many.
        clock.pass(1_000);
        let value = reqwest::header::HeaderValue::from_bytes(header).unwrap();
        let request = stage.request(Method::GET, "/alerts").header("authorization", value);
        let response = request.send().await.unwrap();
        let asked = response.headers().get("www-authenticate").cloned();
        let (status, kind, _) = problem(response).await;
        assert_eq!((status, kind.as_str()), (401, "unauthorized"), "{}", String::from_utf8_lossy(header));
        assert_eq!(asked.unwrap(), "Bearer realm=\"callout\"");
    }
    let (no_key, key_in_query) = (stage.request(Method::GET, "/alerts"), format!("/alerts?key={KEY}&api_key={KEY}"));
    let twice = stage.with_key(KEY, Method::GET, "/alerts").header("authorization", "Bearer wrong");
    for request in [no_key, stage.request(Method::GET, &key_in_query), twice] {
        clock.pass(1_000);
        assert_eq!(problem(request.send().await.unwrap()).await.0, 401);
    }
    let hash_of_a_key = "sha256:".to_owned() + &"0".repeat(64);
    for key in [hash_of_a_key.as_str(), &"x".repeat(8_000)] {
        clock.pass(1_000);
        assert_eq!(problem(stage.with_key(key, Method::GET, "/alerts").send().await.unwrap()).await.0, 401);
    }
    stage.end().await;
}

#[tokio::test]
async fn nothing_under_alerts_is_shown_to_strangers_not_even_what_does_not_exist() {
    let clock = HandClock::new();
    let stage = Stage::at(&a_key_for_each_role(), clock.clone()).await;
    let id = stage.raise(&json!({ "message": "Main server is down" })).await;
    for method in [Method::GET, Method::POST, Method::HEAD, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS]
    {
        for path in [
            "/alerts".to_owned(),
            format!("/alerts/{id}"),
            format!("/alerts/{id}/resolve"),
            format!("/alerts/{id}/events"),
        ] {
            clock.pass(1_000);
            let response = stage.request(method.clone(), &path).send().await.unwrap();
            assert_eq!(response.status(), 401, "{method} {path}");
        }
    }
    assert_eq!(stage.alert(&id).await["status"], "escalating");
    stage.end().await;
}

#[tokio::test]
async fn an_answer_bears_the_name_of_the_key_unless_somebody_is_named() {
    let stage = Stage::with_server(&a_key_for_each_role()).await;
    for (body, by) in [(None, "night shift"), (Some(json!({ "by": "Zoë" })), "Zoë")] {
        let id = stage.raise(&json!({ "message": "Main server is down" })).await;
        let request = stage.with_key(ANSWERER, Method::POST, &format!("/alerts/{id}/acknowledge"));
        let request = match &body {
            Some(body) => request.json(body),
            None => request,
        };
        let alert: Value = request.send().await.unwrap().json().await.unwrap();
        assert_eq!(alert["acknowledged"]["by"], by);
    }
    stage.end().await;

    let stage = Stage::usual().await;
    let id = stage.raise(&json!({ "message": "Main server is down" })).await;
    let request = stage.with_key(KEY, Method::POST, &format!("/alerts/{id}/acknowledge"));
    let alert: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(alert["acknowledged"]["by"], "api", "the one key is called so");
    stage.end().await;
}

#[tokio::test]
async fn two_callers_with_the_same_idempotency_key_do_not_see_each_others_answers() {
    let stage = Stage::with_server(&a_key_for_each_role()).await;
    let mut ids = Vec::new();
    for (key, message) in [(RAISER, "the first"), (KEY, "the second"), (RAISER, "the first"), (KEY, "the second")] {
        let request = stage.with_key(key, Method::POST, "/alerts").header("idempotency-key", "job-17");
        let response = request.json(&json!({ "message": message })).send().await.unwrap();
        assert_eq!(response.status(), 201);
        let alert: Value = response.json().await.unwrap();
        assert_eq!(alert["message"], message);
        ids.push(alert["id"].clone());
    }
    assert_eq!(ids[0], ids[2]);
    assert_eq!(ids[1], ids[3]);
    assert_ne!(ids[0], ids[1]);
    stage.end().await;
}

#[tokio::test]
async fn whoever_tries_too_many_keys_is_told_to_wait_and_holds_up_nobody_else() {
    let clock = HandClock::new();
    let stage = Stage::at(&format!("api_key: {KEY}"), clock.clone()).await;
    let from = |last: u8| {
        let address = IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
        Client::builder().no_proxy().local_address(address).build().unwrap()
    };
    let url = format!("http://{}/alerts", stage.address);
    let (guesser, other) = (from(2), from(3));
    let guess = || guesser.get(&url).bearer_auth("not-the-key-of-this-service").send();

    for _ in 0..FAILURES_BURST.get() {
        assert_eq!(guess().await.unwrap().status(), 401);
    }
    for _ in 0..50 {
        let response = guess().await.unwrap();
        assert_eq!(response.headers()["retry-after"], "1");
        assert_eq!(problem(response).await.1, "too-many-requests");
    }
    let without_any = guesser.get(&url).send().await.unwrap();
    assert_eq!(without_any.status(), 429, "asking without a key counts as well");
    assert_eq!(other.get(&url).send().await.unwrap().status(), 401, "another address has not failed yet");
    let with_key = guesser.get(&url).bearer_auth(KEY).send().await.unwrap();
    assert_eq!(with_key.status(), 200, "the key is let in, also from there");

    clock.pass(1_000);
    let mut n_heard = 0;
    for _ in 0..50 {
        n_heard += u32::from(guess().await.unwrap().status() == 401);
    }
    assert_eq!(n_heard, FAILURES_PER_SECOND.get());
    stage.end().await;
}

#[tokio::test]
async fn a_key_raises_no_more_alerts_in_a_second_than_it_may() {
    let clock = HandClock::new();
    let keys = format!(
        "api_keys:\n- {{ name: nagios, key: {RAISER}, roles: [raise], max_per_second: 5 }}\n\
         - {{ name: chief, key: {KEY}, roles: [admin] }}"
    );
    let stage = Stage::at(&keys, clock.clone()).await;
    let raise = |key| {
        let request = stage.with_key(key, Method::POST, "/alerts").json(&json!({ "message": "Main server is down" }));
        async move { request.send().await.unwrap() }
    };
    for _ in 0..5 {
        assert_eq!(raise(RAISER).await.status(), 201);
    }
    let response = raise(RAISER).await;
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(problem(response).await.0, 429);
    assert_eq!(raise(KEY).await.status(), 201, "another key has a limit of its own, or none");
    clock.pass(1_000);
    assert_eq!(raise(RAISER).await.status(), 201);
    stage.end().await;
}

#[tokio::test]
async fn a_reload_brings_new_keys_in_and_old_ones_out() {
    let stage = Stage::usual().await;
    let status = |key: &'static str| {
        let request = stage.with_key(key, Method::GET, "/alerts");
        async move { request.send().await.unwrap().status().as_u16() }
    };
    assert_eq!((status(KEY).await, status(READER).await), (200, 401));
    stage.reload(&format!("api_keys: [{{ name: wallboard, key: {READER}, roles: [read] }}]"));
    assert_eq!((status(KEY).await, status(READER).await), (401, 200));
    stage.end().await;
}

#[tokio::test]
async fn without_any_key_one_is_made_that_only_its_owner_can_read() {
    let stage = Stage::with_server("").await;
    let file = stage.folder().join("callout.api-key");
    let key = std::fs::read_to_string(&file).unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(key.trim().len() >= 64, "it cannot be guessed");
    let with_it = stage.with_key(key.trim(), Method::GET, "/alerts").send().await.unwrap();
    assert_eq!(with_it.status(), 200);
    assert_eq!(stage.request(Method::GET, "/alerts").send().await.unwrap().status(), 401);
    stage.end().await;
}
