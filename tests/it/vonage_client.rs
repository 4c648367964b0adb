//! What is sent to Vonage over HTTP, and what is made of each answer.
//!
//! A small server plays Vonage: it writes down each request and answers from a script, whole bytes
//! at a time, so that it can also fall silent or hang up at any point.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use callout::contact::Channel;
use callout::escalation::{Backend, Tone, TroubleOutcome};
use callout::sender::{Answer, Notice, Outbound, SendTrouble, Sender, TroubleCause};
use callout::vonage::answer::BODY_BYTES_MAX;
use callout::vonage::{Error, PrivateKey, Senders, Settings, TimeLimits, VonageSender};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::vonage_fixture::{NOW, NUMBER, leg, outbound, senders};
use crate::vonage_token::claims_of;

const MESSAGE: &str = "0f6d6a52-6f0b-4c5e-9a51-2d1f0a1c9e01";

/// What the server does with one request.
#[derive(Clone)]
enum Play {
    /// Writes this and closes the connection.
    Write(Vec<u8>),
    /// Writes this and then says nothing more.
    WriteAndHang(Vec<u8>),
}

/// A request as it arrived.
#[derive(Clone)]
struct Request {
    head: String,
    body: Value,
}

impl Request {
    /// The values of a header, each as it was sent.
    fn header(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    fn token(&self) -> &str {
        self.header("authorization")[0].strip_prefix("Bearer ").unwrap()
    }
}

struct FakeVonage {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    /// Ends the server when the test does.
    _server: JoinSet<()>,
}

impl FakeVonage {
    /// Plays these in order, one for each connection, and then hangs up on whoever comes.
    async fn playing(plays: Vec<Play>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let mut server = JoinSet::new();
        server.spawn(serve(listener, plays.into(), Arc::clone(&requests)));
        Self { address, requests, _server: server }
    }

    async fn answering(status: u16, headers: &str, body: &str) -> Self {
        Self::playing(vec![answer(status, headers, body)]).await
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

async fn serve(listener: TcpListener, mut plays: VecDeque<Play>, requests: Arc<Mutex<Vec<Request>>>) {
    let mut silent = Vec::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        let Some(request) = read_request(&mut stream).await else { continue };
        requests.lock().unwrap().push(request);
        match plays.pop_front() {
            Some(Play::Write(bytes)) => {
                // The client may have read enough and left.
                let _left = stream.write_all(&bytes).await;
                let _left = stream.shutdown().await;
            }
            Some(Play::WriteAndHang(bytes)) => {
                stream.write_all(&bytes).await.unwrap();
                silent.push(stream);
            }
            None => {}
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let mut request = Request { head: head.to_owned(), body: Value::Null };
        let length: usize = request.header("content-length")[0].parse().unwrap();
        if body.len() >= length {
            request.body = serde_json::from_str(body).unwrap();
            return Some(request);
        }
    }
}

fn answer(status: u16, headers: &str, body: &str) -> Play {
    let length = body.len();
    Play::Write(
        format!("HTTP/1.1 {status} -\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}").into(),
    )
}

fn accepted() -> Play {
    answer(202, "content-type: application/json\r\n", &json!({ "message_uuid": MESSAGE }).to_string())
}

fn settings(base_url: &str) -> Settings {
    Settings {
        base_url: base_url.parse().unwrap(),
        rcs_url: base_url.parse().unwrap(),
        application_id: "11111111-2222-4333-8444-555555555555".into(),
        private_key: PrivateKey::from_pem(include_str!("keys/test-only.pem")).unwrap(),
        senders: senders(),
        time_limits: TimeLimits::SERVICE,
    }
}

fn sender(base_url: &str) -> VonageSender {
    VonageSender::new(settings(base_url), || NOW).unwrap()
}

/// A sender that soon loses its patience with an answer.
fn impatient(base_url: &str) -> VonageSender {
    let time_limits = TimeLimits { request: Duration::from_secs(1), ..TimeLimits::SERVICE };
    VonageSender::new(Settings { time_limits, ..settings(base_url) }, || NOW).unwrap()
}

fn sms() -> Outbound {
    outbound(Backend::Messages, leg(Channel::Sms, 600), Vec::new())
}

fn workflow() -> Outbound {
    outbound(Backend::Dispatch, leg(Channel::Messenger, 600), vec![leg(Channel::Sms, 600)])
}

#[track_caller]
fn trouble(answer: Answer) -> SendTrouble {
    match answer {
        Answer::Trouble(trouble) => trouble,
        other @ (Answer::Accepted(_) | Answer::Refused(_)) => panic!("{other:?}"),
    }
}

/// What comes of a send that is answered so.
async fn sent(status: u16, headers: &str, body: &str) -> Answer {
    let vonage = FakeVonage::answering(status, headers, body).await;
    let answer = sender(&vonage.url()).send(&sms()).await;
    assert_eq!(vonage.requests().len(), 1, "a send is one request");
    answer
}

#[tokio::test]
async fn a_message_goes_to_messages_with_our_token() {
    let vonage = FakeVonage::playing(vec![accepted()]).await;
    let answer = sender(&vonage.url()).send(&sms()).await;
    assert_eq!(answer, Answer::Accepted(MESSAGE.parse().ok()));
    let request = &vonage.requests()[0];
    assert!(request.head.starts_with("POST /v1/messages HTTP/1.1\r\n"), "{}", request.head);
    assert_eq!(request.header("content-type"), ["application/json"]);
    assert_eq!(request.header("accept"), ["application/json"]);
    assert_eq!(request.header("user-agent"), [concat!("callout/", env!("CARGO_PKG_VERSION"))]);
    assert_eq!(request.header("authorization").len(), 1);
    assert_eq!(claims_of(request.token())["application_id"], "11111111-2222-4333-8444-555555555555");
    assert_eq!(request.body["to"], NUMBER);
    assert_eq!(request.body["client_ref"], sms().reference.to_string());
}

#[tokio::test]
async fn a_workflow_goes_to_dispatch() {
    let body = json!({ "dispatch_uuid": "5b1c0c3e-6a5f-4a3e-9d53-0b9a3f6d7e21" }).to_string();
    let vonage = FakeVonage::answering(202, "", &body).await;
    let answer = sender(&vonage.url()).send(&workflow()).await;
    assert_eq!(answer, Answer::Accepted("5b1c0c3e-6a5f-4a3e-9d53-0b9a3f6d7e21".parse().ok()));
    let request = &vonage.requests()[0];
    assert!(request.head.starts_with("POST /v0.1/dispatch HTTP/1.1\r\n"), "{}", request.head);
    assert_eq!(request.body["template"], "failover");
    assert_eq!(request.body["workflow"].as_array().unwrap().len(), 2);
}

fn notice() -> Notice {
    let outbound = workflow();
    Notice { leg: outbound.step.first, by: "Anna".into(), tone: Tone::News, code: outbound.code }
}

#[tokio::test]
async fn a_confirmation_is_one_message_of_messages_whatever_the_alert_was_sent_with() {
    let vonage = FakeVonage::playing(vec![accepted()]).await;
    assert_eq!(sender(&vonage.url()).tell(&notice()).await, Answer::Accepted(MESSAGE.parse().ok()));
    let request = &vonage.requests()[0];
    assert!(request.head.starts_with("POST /v1/messages HTTP/1.1\r\n"), "{}", request.head);
    assert_eq!(request.body["text"], format!("Anna has it\n{}", notice().code));
    assert_eq!(request.body.get("client_ref"), None);
}

#[tokio::test]
async fn a_refused_confirmation_quotes_nobodys_address() {
    let to = notice().leg.address.reveal().to_owned();
    let problem = json!({ "title": "Not allowed", "detail": format!("{to} cannot be told Anna has it") }).to_string();
    let vonage = FakeVonage::answering(422, "", &problem).await;
    let Answer::Refused(failure) = sender(&vonage.url()).tell(&notice()).await else { panic!("it was refused") };
    assert!(failure.detail.contains("Not allowed") && !failure.detail.contains(&to), "{}", failure.detail);
}

#[tokio::test]
async fn an_rcs_message_is_taken_back_at_the_agents_own_host() {
    let (everything_else, region) = (FakeVonage::playing(Vec::new()).await, FakeVonage::answering(202, "", "").await);
    let settings = Settings { rcs_url: region.url().parse().unwrap(), ..settings(&everything_else.url()) };
    let sender = VonageSender::new(settings, || NOW).unwrap();
    assert_eq!(sender.revoke(&MESSAGE.parse().unwrap()).await, Answer::Accepted(None));
    let request = &region.requests()[0];
    assert!(request.head.starts_with(&format!("PATCH /v1/messages/{MESSAGE} HTTP/1.1\r\n")), "{}", request.head);
    assert_eq!(request.body, json!({ "status": "revoked" }));
    assert!(!request.token().is_empty() && everything_else.requests().is_empty());
}

#[tokio::test]
async fn an_id_that_is_a_path_stays_within_its_own_segment() {
    let vonage = FakeVonage::answering(404, "", "").await;
    sender(&vonage.url()).revoke(&"../dispatch?a#b".parse().unwrap()).await;
    let head = &vonage.requests()[0].head;
    assert!(head.starts_with("PATCH /v1/messages/..%2Fdispatch%3Fa%23b HTTP/1.1\r\n"), "{head}");
}

#[tokio::test]
async fn a_path_in_the_base_address_stays_in_front() {
    for base in ["/fake", "/fake/", "/fake?x=1#y"] {
        let vonage = FakeVonage::playing(vec![accepted()]).await;
        sender(&format!("{}{base}", vonage.url())).send(&sms()).await;
        assert!(vonage.requests()[0].head.starts_with("POST /fake/v1/messages HTTP/1.1"), "{base}");
    }
}

#[tokio::test]
async fn accepted_is_accepted_even_if_the_body_cannot_be_read() {
    assert_eq!(sent(202, "", "").await, Answer::Accepted(None));
    assert_eq!(sent(202, "", "<html>thanks</html>").await, Answer::Accepted(None));
    assert_eq!(sent(202, "", "[]").await, Answer::Accepted(None));
    let oversized = format!(r#"{{"message_uuid":"{MESSAGE}","pad":"{}"}}"#, "x".repeat(BODY_BYTES_MAX));
    assert_eq!(sent(202, "", &oversized).await, Answer::Accepted(None));
    let largest = oversized.replacen(&"x".repeat(oversized.len() - BODY_BYTES_MAX), "", 1);
    assert_eq!(largest.len(), BODY_BYTES_MAX);
    assert_eq!(sent(202, "", &largest).await, Answer::Accepted(MESSAGE.parse().ok()));
}

#[tokio::test]
async fn accepted_is_accepted_even_if_the_body_breaks_off_or_never_comes() {
    let half = b"HTTP/1.1 202 -\r\ncontent-length: 100\r\n\r\n{\"mess".to_vec();
    let vonage = FakeVonage::playing(vec![Play::Write(half.clone()), Play::WriteAndHang(half)]).await;
    let sender = impatient(&vonage.url());
    assert_eq!(sender.send(&sms()).await, Answer::Accepted(None));
    assert_eq!(sender.send(&sms()).await, Answer::Accepted(None));
}

#[tokio::test]
async fn a_message_that_vonage_finds_fault_with_is_refused() {
    let list = json!({ "type": "https://developer.vonage.com/api-errors/messages#1150", "title": "Invalid params",
        "detail": format!("{NUMBER} cannot be messaged with \"[Tony]: Main server is down\""),
        "invalid_parameters": [{ "name": "to", "reason": "unusable" }] });
    let object =
        json!({ "title": "Bad request", "invalid_parameters": { "name": "workflow[0].to", "reason": "missing" } });
    for status in [400, 404, 409, 413, 422] {
        let answer = sent(status, "content-type: application/problem+json\r\n", &list.to_string()).await;
        let Answer::Refused(failure) = answer else { panic!("{status}: {answer:?}") };
        assert_eq!(failure.code.as_deref(), Some("1150"));
        let expected = format!("HTTP {status}: Invalid params: … cannot be messaged with \"…\" (to: unusable)");
        assert_eq!(&*failure.detail, expected);
        let answer = sent(status, "", &object.to_string()).await;
        let Answer::Refused(failure) = answer else { panic!("{status}: {answer:?}") };
        assert_eq!(failure.code.as_deref(), Some(status.to_string().as_str()));
        assert!(failure.detail.ends_with("(workflow[0].to: missing)"), "{}", failure.detail);
    }
}

#[tokio::test]
async fn the_same_statuses_from_somebody_else_blame_nobody() {
    for status in [400, 404, 409, 413, 422] {
        for body in ["", "<html>not here</html>", "{}", "[{\"title\":\"x\"}]", "{\"error\":\"x\"}"] {
            let trouble = trouble(sent(status, "", body).await);
            assert_eq!(
                (trouble.cause, trouble.outcome),
                (TroubleCause::Provider, TroubleOutcome::Unknown),
                "{status} {body}"
            );
            assert_eq!(trouble.failure.code.as_deref(), Some(status.to_string().as_str()));
        }
    }
}

#[tokio::test]
async fn trouble_is_told_by_its_cause_and_whether_it_can_have_gone_out() {
    use TroubleCause::{Balance, Credentials, Provider, RateLimit};
    use TroubleOutcome::{NotSent, Unknown};
    for (status, fragment, cause, outcome) in [
        (401, "unathorized", Credentials, NotSent),
        (402, "low-balance", Balance, NotSent),
        (403, "forbidden", Credentials, NotSent),
        (403, "out-of-credit", Balance, NotSent),
        (429, "1000", RateLimit, NotSent),
        (500, "1000", Provider, Unknown),
        (503, "unavailable", Provider, Unknown),
        (418, "teapot", Provider, Unknown),
    ] {
        let body = json!({ "type": format!("https://developer.nexmo.com/api-errors#{fragment}"), "title": "No" });
        let trouble = trouble(sent(status, "", &body.to_string()).await);
        assert_eq!((trouble.cause, trouble.outcome), (cause, outcome), "{status} {fragment}");
        assert_eq!(trouble.failure.code.as_deref(), Some(fragment));
        assert_eq!(trouble.retry_after, None);
    }
}

#[tokio::test]
async fn a_wait_that_vonage_asks_for_is_passed_on() {
    let wait = async |header: &str| trouble(sent(429, &format!("retry-after: {header}\r\n"), "").await).retry_after;
    assert_eq!(wait("7").await, Some(Duration::from_secs(7)));
    assert_eq!(wait("Sun, 01 Mar 2026 02:15:37 GMT").await, Some(Duration::from_secs(30)));
    assert_eq!(wait("later").await, None);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = FakeVonage::playing(vec![accepted()]).await;
    let location = format!("location: {}/v1/messages\r\n", elsewhere.url());
    for status in [301, 302, 307, 308] {
        let trouble = trouble(sent(status, &location, "").await);
        assert_eq!((trouble.cause, trouble.outcome), (TroubleCause::Provider, TroubleOutcome::Unknown));
        assert!(trouble.failure.detail.contains("redirect"), "{}", trouble.failure.detail);
    }
    assert!(elsewhere.requests().is_empty(), "the token went nowhere else");
}

#[tokio::test]
async fn silence_ends_at_the_time_limit_and_nobody_knows() {
    let vonage = FakeVonage::playing(vec![Play::WriteAndHang(Vec::new())]).await;
    let trouble = trouble(impatient(&vonage.url()).send(&sms()).await);
    assert_eq!((trouble.cause, trouble.outcome), (TroubleCause::Unreachable, TroubleOutcome::Unknown));
    assert!(trouble.failure.detail.starts_with("no answer in time"), "{}", trouble.failure.detail);
}

#[tokio::test]
async fn a_connection_that_breaks_after_the_request_leaves_it_open_and_is_not_tried_again() {
    let vonage = FakeVonage::playing(vec![Play::Write(Vec::new()), accepted()]).await;
    let trouble = trouble(sender(&vonage.url()).send(&sms()).await);
    assert_eq!((trouble.cause, trouble.outcome), (TroubleCause::Unreachable, TroubleOutcome::Unknown));
    assert_eq!(vonage.requests().len(), 1);
}

#[tokio::test]
async fn a_refused_connection_certainly_sent_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let trouble = trouble(sender(&url).send(&sms()).await);
    assert_eq!((trouble.cause, trouble.outcome), (TroubleCause::Unreachable, TroubleOutcome::NotSent));
    assert!(trouble.failure.detail.contains("refused"), "{}", trouble.failure.detail);
}

#[tokio::test]
async fn a_connection_without_tls_where_tls_is_expected_certainly_sent_nothing() {
    let vonage = FakeVonage::playing(Vec::new()).await;
    let url = vonage.url().replace("http:", "https:");
    let time_limits = TimeLimits { connect: Duration::from_millis(100), ..TimeLimits::SERVICE };
    let sender = VonageSender::new(Settings { time_limits, ..settings(&url) }, || NOW).unwrap();
    let trouble = trouble(sender.send(&sms()).await);
    assert_eq!((trouble.cause, trouble.outcome), (TroubleCause::Unreachable, TroubleOutcome::NotSent));
    assert!(trouble.failure.detail.starts_with("no connection in time"), "{}", trouble.failure.detail);
    assert!(vonage.requests().is_empty());
}

#[tokio::test]
async fn one_token_serves_until_vonage_refuses_it() {
    let plays = vec![accepted(), answer(401, "", ""), accepted(), accepted()];
    let vonage = FakeVonage::playing(plays).await;
    let sender = sender(&vonage.url());
    for _ in 0..4 {
        sender.send(&sms()).await;
    }
    let requests = vonage.requests();
    let tokens: Vec<&str> = requests.iter().map(Request::token).collect();
    assert_eq!(tokens[0], tokens[1]);
    assert_ne!(tokens[1], tokens[2], "a refused token is not used again");
    assert_eq!(tokens[2], tokens[3]);
}

#[tokio::test]
async fn a_channel_without_a_sender_is_our_own_trouble() {
    let vonage = FakeVonage::playing(Vec::new()).await;
    let nobody = Settings { senders: Senders::default(), ..settings(&vonage.url()) };
    let sender = VonageSender::new(nobody, || NOW).unwrap();
    for outbound in [sms(), workflow()] {
        let trouble = trouble(sender.send(&outbound).await);
        assert_eq!((trouble.cause, trouble.outcome), (TroubleCause::Ourselves, TroubleOutcome::NotSent));
        assert!(trouble.failure.detail.starts_with("no sender is configured for "), "{}", trouble.failure.detail);
    }
    assert!(vonage.requests().is_empty());
}

#[tokio::test]
async fn a_channel_that_dispatch_does_not_know_is_refused_since_no_wait_can_mend_it() {
    let vonage = FakeVonage::playing(Vec::new()).await;
    let rcs = outbound(Backend::Dispatch, leg(Channel::Rcs, 600), vec![leg(Channel::Sms, 600)]);
    let answer = sender(&vonage.url()).send(&rcs).await;
    assert!(matches!(&answer, Answer::Refused(failure) if failure.detail.contains("rcs")), "{answer:?}");
    assert!(vonage.requests().is_empty());
}

#[tokio::test]
async fn new_settings_count_from_the_next_send_on() {
    let old = FakeVonage::playing(vec![accepted()]).await;
    let new = FakeVonage::playing(vec![accepted(), accepted()]).await;
    let sender = sender(&old.url());
    sender.send(&sms()).await;
    let other = Settings { application_id: "another".into(), ..settings(&new.url()) };
    sender.reload(other).unwrap();
    sender.send(&sms()).await;
    assert!(matches!(sender.reload(settings("mailto:vonage@example.com")), Err(Error::BaseUrl)));
    sender.send(&sms()).await;
    assert_eq!((old.requests().len(), new.requests().len()), (1, 2), "bad settings leave the old ones in force");
    assert_eq!(claims_of(new.requests()[0].token())["application_id"], "another");
}

#[tokio::test]
async fn an_address_that_cannot_be_used_is_refused_at_once() {
    for base in ["ftp://api.nexmo.com", "unix:/run/vonage", "data:,x"] {
        assert!(matches!(VonageSender::new(settings(base), || NOW), Err(Error::BaseUrl)), "{base}");
    }
    for base in ["https://key:secret@api.nexmo.com", "https://key@api.nexmo.com"] {
        assert!(matches!(VonageSender::new(settings(base), || NOW), Err(Error::CredentialsInBaseUrl)), "{base}");
    }
}

#[tokio::test]
async fn a_sender_shows_neither_key_nor_token() {
    let vonage = FakeVonage::playing(vec![accepted()]).await;
    let sender = sender(&vonage.url());
    sender.send(&sms()).await;
    let shown = format!("{sender:?}");
    assert!(!shown.contains(vonage.requests()[0].token()), "{shown}");
    assert!(shown.contains("PrivateKey(…)"), "{shown}");
}
