//! Every error has one form, whoever found it, and nothing below `/alerts` is shown without the key.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::engine_frail::Frail;
use crate::harness::{Answer, Callout, KEY, Setup, path_of};

impl Callout {
    /// Lets so much time pass that earlier requests without a key do not count any more.
    fn forgives(&self) {
        self.clock.advance(Duration::from_secs(1));
    }
}

/// Every path there is, with the methods that it takes.
fn paths(id: &str) -> Vec<(String, Vec<Method>)> {
    let get = || vec![Method::GET, Method::HEAD];
    let post = || vec![Method::POST];
    vec![
        ("/alerts".into(), [get(), post()].concat()),
        (format!("/alerts/{id}"), get()),
        (format!("/alerts/{id}/events"), get()),
        (format!("/alerts/{id}/acknowledge"), post()),
        (format!("/alerts/{id}/resolve"), post()),
        (format!("/alerts/{id}/escalate"), post()),
        ("/webhooks/status".into(), post()),
        ("/webhooks/inbound".into(), post()),
        ("/a/1-1-00112233445566778899aabbccddeeff".into(), [get(), post()].concat()),
        ("/healthz".into(), get()),
        ("/readyz".into(), get()),
        ("/metrics".into(), get()),
    ]
}

fn methods() -> Vec<Method> {
    let named = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];
    named.into_iter().chain([Method::TRACE, Method::from_bytes(b"BREW").unwrap()]).collect()
}

#[tokio::test]
async fn another_method_is_405_with_the_methods_that_would_do() {
    let callout = Callout::start().await;
    let alert = callout.raise_any().await;
    for (path, taken) in paths(alert["id"].as_str().unwrap()) {
        for method in methods().into_iter().filter(|method| !taken.contains(method)) {
            let answer = Answer::of(callout.request(method, &path)).await;
            answer.problem(405, "method-not-allowed");
            let mut allowed: Vec<&str> = answer.header("allow").split(',').map(str::trim).collect();
            let mut expected: Vec<&str> = taken.iter().map(Method::as_str).collect();
            allowed.sort_unstable();
            expected.sort_unstable();
            assert_eq!(allowed, expected, "{}", answer.request);
        }
    }
}

#[tokio::test]
async fn nonsense_at_every_path_is_answered_with_a_problem() {
    let callout = Callout::start().await;
    let alert = callout.raise_any().await;
    for (path, taken) in paths(alert["id"].as_str().unwrap()) {
        if !taken.contains(&Method::POST) || path.starts_with("/a/") {
            continue;
        }
        for nonsense in ["{", "[]", "\"x\"", "{\"a\":}", "nonsense", "\u{feff}{}", "{}{}"] {
            let request = callout.request(Method::POST, &path).header("content-type", "application/json");
            let answer = Answer::of(request.body(nonsense)).await;
            assert_eq!(answer.header("content-type"), "application/problem+json", "{path} {nonsense}");
            assert!((400..500).contains(&answer.status), "{path} {nonsense}: {}", answer.text());
        }
        let not_text = b"{\"message\":\"\xff\xfe\"}".to_vec();
        let request = callout.request(Method::POST, &path).header("content-type", "application/json");
        Answer::of(request.body(not_text)).await.problem(400, "not-json");
        let deep = format!("{{\"message\":{}1{}}}", "[".repeat(5_000), "]".repeat(5_000));
        let request = callout.request(Method::POST, &path).header("content-type", "application/json");
        Answer::of(request.body(deep)).await.problem(400, "not-json");
    }
}

#[tokio::test]
async fn json_that_cannot_be_read_is_400_and_says_where() {
    let callout = Callout::start().await;
    let request = callout.request(Method::POST, "/alerts").header("content-type", "application/json");
    let answer = Answer::of(request.body("{\n  \"message\": \"x\",\n  \"severity\" \"info\"\n}")).await;
    let problem = answer.problem(400, "not-json");
    assert_eq!(problem["detail"], "Line 3, column 14: expected `:`.");
}

#[tokio::test]
async fn another_content_type_than_json_is_415() {
    let callout = Callout::start().await;
    let alert = callout.raise_any().await;
    let escalate = format!("{}/escalate", path_of(&alert));
    for path in ["/alerts", escalate.as_str(), "/webhooks/status", "/webhooks/inbound"] {
        for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "json", ""] {
            let request = callout.request(Method::POST, path).header("content-type", content_type);
            let answer = Answer::of(request.body("{\"message\":\"x\"}")).await;
            answer.problem(415, "unsupported-media-type");
        }
    }
    for content_type in
        ["application/json", "application/json; charset=utf-8", "Application/JSON", "application/ld+json"]
    {
        let request = callout.request(Method::POST, "/alerts").header("content-type", content_type);
        Answer::of(request.body("{\"message\":\"x\"}")).await.is(201);
    }
    Answer::of(callout.request(Method::POST, "/alerts").body("{\"message\":\"x\"}")).await.is(201);
}

/// An alert whose body has exactly this many bytes.
fn alert_of_bytes(n_bytes: usize) -> String {
    let empty = "{\"message\":\"x\",\"details\":{\"pad\":\"\"}}";
    empty.replace("\"\"", &format!("\"{}\"", "p".repeat(n_bytes - empty.len())))
}

#[tokio::test]
async fn a_body_over_its_limit_is_413_and_one_at_its_limit_is_not() {
    let callout = Callout::start().await;
    for (path, limit, taken) in
        [("/alerts", 256 * 1024, 201), ("/webhooks/status", 64 * 1024, 200), ("/webhooks/inbound", 64 * 1024, 200)]
    {
        let post = |n_bytes: usize| {
            let request = callout.request(Method::POST, path).header("content-type", "application/json");
            Answer::of(request.body(alert_of_bytes(n_bytes)))
        };
        post(limit).await.is(taken);
        let problem = post(limit + 1).await.problem(413, "too-large");
        assert!(problem["detail"].as_str().unwrap().contains(&limit.to_string()), "{problem}");
        post(3 * 1024 * 1024).await.problem(413, "too-large");
    }
}

#[tokio::test]
async fn what_does_not_exist_is_404() {
    let callout = Callout::start().await;
    for path in [
        "/nothing",
        "/alerts/",
        "/alerts/x",
        "/alerts/%FF",
        "/alerts/01928f3e-0000-7000-8000-000000000000",
        "/alerts/x/events",
        "/alerts/x/y/z",
        "/alerts//",
        "/webhooks",
        "/webhooks/",
        "/webhooks/x",
        "/a",
        "/a/",
        "/a/x",
        "/a/%FF",
        "/a/1-1-00112233445566778899aabbccddeeff",
        "/healthz/",
        "/alerts/..%2f..%2fetc",
    ] {
        callout.get(path).await.problem(404, "not-found");
    }
    for action in ["acknowledge", "resolve", "escalate"] {
        for id in ["x", "%FF", "01928f3e-0000-7000-8000-000000000000"] {
            callout.press(&format!("/alerts/{id}/{action}")).await.problem(404, "not-found");
        }
    }
}

#[tokio::test]
async fn a_path_that_is_no_text_leads_nowhere() {
    let callout = Callout::start().await;
    for path in ["/integrations/%ff", "/integrations/ci/%ff", "/v2/alerts/%ff/close", "/a/%ff", "/alerts/%ff/resolve"] {
        Answer::of(callout.request(Method::POST, path)).await.problem(404, "not-found");
    }
    for path in ["/v2/alerts/%ff", "/v2/alerts/requests/%ff", "/alerts/%ff", "/assets/%ff"] {
        Answer::of(callout.request(Method::GET, path)).await.problem(404, "not-found");
    }
}

#[tokio::test]
async fn nothing_below_alerts_is_shown_or_done_without_the_key() {
    let callout = Callout::start().await;
    let alert = callout.raise_any().await;
    let id = alert["id"].as_str().unwrap();
    let known = paths(id).into_iter().map(|(path, _)| path).filter(|path| path.starts_with("/alerts"));
    let unknown = ["/alerts/", "/alerts/x/y/z", "/alerts//", "/alerts/%FF"].map(str::to_owned);
    for path in known.chain(unknown) {
        for method in methods() {
            callout.forgives();
            let answer = Answer::of(callout.stranger(method.clone(), &path)).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path}");
            assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"callout\"");
            answer.problem(401, "unauthorized");
        }
    }
    assert_eq!(callout.alert(&alert).await, alert, "nothing was done");
}

#[tokio::test]
async fn only_the_very_key_opens() {
    let callout = Callout::start().await;
    for header in [
        "",
        "Bearer",
        "Bearer ",
        KEY,
        &format!("Basic {KEY}"),
        &format!("Bearer {KEY}x"),
        &format!("Bearer {}", KEY.strip_prefix('t').unwrap()),
        &format!("Bearer {}", KEY.to_uppercase()),
        &format!("Bearer {KEY} {KEY}"),
        "Bearer \u{e9}",
    ] {
        callout.forgives();
        let request = callout.stranger(Method::GET, "/alerts").header("authorization", header);
        Answer::of(request).await.problem(401, "unauthorized");
    }
    let twice = callout.request(Method::GET, "/alerts").header("authorization", format!("Bearer {KEY}"));
    Answer::of(twice).await.problem(401, "unauthorized");
    for scheme in ["Bearer", "bearer", "BEARER", "Bearer "] {
        let request = callout.stranger(Method::GET, "/alerts").header("authorization", format!("{scheme} {KEY}"));
        Answer::of(request).await.is(200);
    }
}

#[tokio::test]
async fn a_large_body_without_the_key_still_gets_its_answer() {
    let callout = Callout::start().await;
    let request = callout.stranger(Method::POST, "/alerts").header("content-type", "application/json");
    Answer::of(request.body(alert_of_bytes(3 * 1024 * 1024))).await.problem(401, "unauthorized");
}

#[tokio::test]
async fn while_the_store_is_unavailable_everything_that_needs_it_is_503_and_says_when_to_come_back() {
    let store = Frail::new();
    let callout = Setup::in_store(&store).start().await;
    let alert = callout.raise_any().await;
    let link = callout.vonage.nth(1).await.link();
    let path = path_of(&alert);
    store.fail_everything();
    // The newest proof that the store keeps something has served its time.
    callout.clock.advance(callout::engine::READY_KEPT);
    let action = |name: &str| format!("{path}/{name}");
    let body = json!({ "message": "x" });
    let answers = [
        callout.post("/alerts", &body).await,
        callout.post_with_key("/alerts", "k", &body).await,
        callout.get("/alerts").await,
        callout.get(&path).await,
        callout.get(&action("events")).await,
        callout.press(&action("acknowledge")).await,
        callout.press(&action("resolve")).await,
        callout.press(&action("escalate")).await,
        callout.get(&link).await,
        callout.press(&link).await,
        callout.get("/readyz").await,
    ];
    for answer in answers {
        let problem = answer.problem(503, "unavailable");
        assert_eq!(answer.header("retry-after"), "5", "{}", answer.request);
        assert!(!problem.to_string().contains("story"), "what failed inside is not shown: {problem}");
    }
    callout.get("/healthz").await.is(200);
    callout.get("/metrics").await.is(200);
    store.heal();
    assert_eq!(callout.alert(&alert).await, alert);
}
