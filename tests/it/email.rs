//! E-mail: as a channel of users, and for alarms, over a mail server of the test's own.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use callout::alarm::{Alarm, Alarms};
use callout::chance::SeededChance;
use callout::clock::{SteadyClock, system_now};
use callout::contact::{Address, Channel};
use callout::engine::{Engine, Parts, Raising, Settings};
use callout::escalation::{Backend, Condition, Leg, Plan};
use callout::id::AlertId;
use callout::metrics::Metrics;
use callout::outgoing::{AlarmMail, MailSettings, MailTls, Mailer, Ways};
use callout::sender::{Answer, Outbound, Sender};
use callout::store::MemoryStore;
use callout::traces::Traces;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use crate::callbacks::until;
use crate::engine_stage::{Part, Stage, TONY, down, leg, minutes, new_alert, seconds, user};

/// A mail as the server got it.
#[derive(Clone, Debug)]
struct Letter {
    to: String,
    text: String,
}

impl Letter {
    fn header(&self, name: &str) -> Option<&str> {
        let head = self.text.split("\r\n\r\n").next()?;
        head.split("\r\n").find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// A mail server. It takes every mail, but what it was told to say to the next recipients.
#[derive(Default)]
struct PostOffice {
    letters: Mutex<Vec<Letter>>,
    to_recipients: Mutex<VecDeque<&'static str>>,
}

impl PostOffice {
    async fn open() -> (Arc<Self>, MailSettings) {
        let office = Arc::new(Self::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let tracker = TaskTracker::new();
        let serving = Arc::clone(&office);
        drop(TaskTracker::new().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let office = Arc::clone(&serving);
                drop(tracker.spawn(async move { office.talk(stream).await }));
            }
        }));
        let host = "127.0.0.1".into();
        let from = "callout@example.org".into();
        (office, MailSettings { host, port, tls: MailTls::None, credentials: None, from })
    }

    async fn talk(&self, stream: TcpStream) -> Option<()> {
        let (reading, mut writing) = stream.into_split();
        let mut lines = BufReader::new(reading).lines();
        let mut to = String::new();
        writing.write_all(b"220 post office\r\n").await.ok()?;
        loop {
            let line = lines.next_line().await.ok()??;
            let answer = match line.get(..4).unwrap_or_default() {
                "EHLO" => "250-post office\r\n250 8BITMIME",
                "RCPT" => {
                    to = line.trim_start_matches("RCPT TO:").to_owned();
                    self.to_recipients.lock().unwrap().pop_front().unwrap_or("250 fine")
                }
                "DATA" => {
                    writing.write_all(b"354 go on\r\n").await.ok()?;
                    let mut text = String::new();
                    loop {
                        let line = lines.next_line().await.ok()??;
                        if line == "." {
                            break;
                        }
                        text.push_str(&line);
                        text.push_str("\r\n");
                    }
                    self.letters.lock().unwrap().push(Letter { to: to.clone(), text });
                    "250 taken"
                }
                "QUIT" => return Some(()),
                _ => "250 fine",
            };
            writing.write_all(format!("{answer}\r\n").as_bytes()).await.ok()?;
        }
    }

    fn letters(&self) -> Vec<Letter> {
        self.letters.lock().unwrap().clone()
    }

    fn says(&self, answers: &[&'static str]) {
        self.to_recipients.lock().unwrap().extend(answers);
    }
}

/// Vonage takes everything here.
#[derive(Debug)]
struct Vonage;

#[async_trait::async_trait]
impl Sender for Vonage {
    async fn send(&self, _outbound: &Outbound) -> Answer {
        Answer::Accepted(None)
    }
}

async fn engine(settings: MailSettings) -> Engine {
    let mailer = Arc::new(Mailer::default());
    mailer.set(Some(settings)).unwrap();
    let metrics = Arc::new(Metrics::new());
    let parts = Parts {
        store: Arc::new(MemoryStore::new()),
        sender: Arc::new(Ways::new(Arc::new(Vonage), mailer)),
        clock: Arc::new(SteadyClock::system()),
        chance: Arc::new(SeededChance::new(1)),
        alarms: Arc::new(Alarms::new(Arc::clone(&metrics))),
        metrics,
        traces: Traces::off(),
        link_secret: [7; 32],
        settings: Settings { public_url: Some("https://callout.example".into()), ..Settings::default() },
    };
    Engine::start(parts).await.unwrap()
}

fn by_email(address: &str) -> Leg {
    let address = Address::parse(Channel::Email, address).unwrap();
    Leg { channel: Channel::Email, address, expiry_seconds: 600, condition: Condition::Read }
}

fn plan(channels: &[Leg]) -> Arc<Plan> {
    Arc::new(Plan::new(Backend::Messages, &[user("Tony", channels)], 0).unwrap())
}

async fn raise(engine: &Engine, channels: &[Leg]) -> AlertId {
    match engine.raise(new_alert(&plan(channels)), None).await.unwrap() {
        Raising::Created(alert) => alert.id(),
        Raising::Repeated(_) => panic!("it is new"),
    }
}

async fn attempts(engine: &Engine, id: AlertId) -> Vec<&'static str> {
    engine.alert(id).await.unwrap().attempts.iter().map(|attempt| attempt.status().name()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_comes_by_mail_with_its_code_and_its_link() {
    let (office, settings) = PostOffice::open().await;
    let engine = engine(settings).await;
    let id = raise(&engine, &[by_email("tony@example.org")]).await;
    until("the mail", || async { attempts(&engine, id).await == ["sent"] }).await;
    let letter = office.letters()[0].clone();
    let code = engine.alert(id).await.unwrap().code().to_string();
    assert!(letter.to.contains("<tony@example.org>"), "{letter:?}");
    assert_eq!(letter.header("Subject"), Some(&*format!("[critical] {code} Main server is down")));
    assert_eq!(letter.header("Auto-Submitted"), Some("auto-generated"));
    let name = letter.header("Message-ID").unwrap();
    assert!(name.starts_with("<c") && name.ends_with(".1@example.org>"), "{name}");
    assert!(letter.text.contains("[Tony]: Main server is down") && letter.text.contains(&code), "{letter:?}");
    assert!(letter.text.contains("https://callout.example/a/"), "{letter:?}");
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipient_that_the_mail_server_refuses_is_passed_over_at_once() {
    let (office, settings) = PostOffice::open().await;
    office.says(&["550 no such user tony@example.org"]);
    let engine = engine(settings).await;
    let id = raise(&engine, &[by_email("tony@example.org"), leg(Channel::Sms, TONY, 600)]).await;
    until("the next channel", || async { attempts(&engine, id).await == ["refused", "sent"] }).await;
    let failure = engine.alert(id).await.unwrap().attempts[0].failure.clone().unwrap();
    assert_eq!(failure.code.as_deref(), Some("550"));
    assert!(!failure.detail.contains('@'), "what a server says may quote the address: {failure:?}");
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_of_the_mail_server_is_waited_out_under_the_same_name() {
    let (office, settings) = PostOffice::open().await;
    office.says(&["450 later", "421 closing", "535 who are you", "250 fine"]);
    let engine = engine(settings).await;
    let id = raise(&engine, &[by_email("tony@example.org")]).await;
    until("the mail", || async { attempts(&engine, id).await == ["sent"] }).await;
    assert_eq!(engine.alert(id).await.unwrap().attempts[0].tries, 4);
    assert_eq!(office.letters().len(), 1);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alarms_are_mailed_together_and_without_vonage() {
    let (office, settings) = PostOffice::open().await;
    let mailer = Arc::new(Mailer::default());
    mailer.set(Some(settings)).unwrap();
    let alarms = Alarms::new(Arc::new(Metrics::new()));
    let mail = AlarmMail {
        mailer,
        recipients: ArcSwap::from_pointee(vec!["ops@example.org".into(), "boss@example.org".into()]),
        clock: Arc::new(SteadyClock::faster(system_now(), 1_000)),
        chance: Arc::new(SeededChance::new(1)),
    };
    let told = alarms.listen();
    // The second recipient is tried again, and so is the first: twice is better than never.
    office.says(&["250 fine", "450 later"]);
    let carrying = TaskTracker::new().spawn(async move { mail.carry(told).await });
    alarms.raise(Alarm::VonageUnreachable, None, system_now());
    alarms.raise(Alarm::AlertExhausted, Some(AlertId::from_bits(7)), system_now());
    until("three mails", || async { office.letters().len() >= 3 }).await;
    let letter = office.letters().pop().unwrap();
    for part in [Alarm::VonageUnreachable.name(), Alarm::AlertExhausted.name(), &AlertId::from_bits(7).to_string()] {
        assert!(letter.text.replace("=\r\n", "").contains(part), "{part} is not in {letter:?}");
    }
    drop(alarms);
    tokio::time::timeout(Duration::from_secs(10), carrying).await.unwrap().unwrap();
}

fn mail_is_down(stage: &Stage) {
    stage.vonage.plays(|send, _| if send.step.first.channel == Channel::Email { down() } else { Part::Accept });
}

#[tokio::test(start_paused = true)]
async fn a_mail_server_that_is_down_holds_nobody_up_who_has_another_channel() {
    let stage = Stage::open().await;
    mail_is_down(&stage);
    let mut told = stage.engine.alarms().listen();
    let mixed = plan(&[by_email("tony@example.org"), leg(Channel::Sms, TONY, 600)]);
    let (one, two) = (stage.raise(&mixed).await, stage.raise(&mixed).await);
    stage.pass(seconds(50)).await;
    assert_eq!(stage.attempts(one).await, ["retrying"], "a minute's patience");
    stage.pass(seconds(40)).await;
    for id in [one, two] {
        assert_eq!(stage.attempts(id).await, ["failed", "sent"]);
    }
    assert_eq!(told.try_recv().unwrap().alarm, Alarm::EmailUnreachable);
}

#[tokio::test(start_paused = true)]
async fn who_has_nothing_but_mail_is_not_burnt_by_an_outage_of_the_mail_server() {
    let stage = Stage::open().await;
    mail_is_down(&stage);
    let only_mail = plan(&[by_email("tony@example.org")]);
    let id = stage.raise(&only_mail).await;
    stage.raise(&plan(&[leg(Channel::Sms, TONY, 600)])).await;
    stage.pass(minutes(30)).await;
    assert_eq!((stage.attempts(id).await, stage.status(id).await), (vec!["retrying"], "escalating"));
    stage.vonage.always(Part::Accept);
    stage.pass(seconds(20)).await;
    assert_eq!(stage.attempts(id).await, ["sent"]);
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_vonage_is_none_the_shorter_for_mail_that_gets_through() {
    let stage = Stage::open().await;
    stage.vonage.plays(|send, _| if send.step.first.channel == Channel::Email { Part::Accept } else { down() });
    let by_sms = plan(&[leg(Channel::Sms, TONY, 600)]);
    let held = [stage.raise(&by_sms).await, stage.raise(&by_sms).await];
    for _ in 0..20 {
        stage.raise(&plan(&[by_email("anna@example.org")])).await;
        stage.pass(minutes(1)).await;
    }
    for id in held {
        assert_eq!((stage.attempts(id).await, stage.status(id).await), (vec!["retrying"], "escalating"));
    }
}
