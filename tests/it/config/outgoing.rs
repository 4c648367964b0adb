//! The ways out that are not Vonage, as they are written in the file.

use callout::callback::Topic;
use callout::config::SmtpTls;
use callout::contact::Channel;

use super::{SOUND, Story, sound_but};

const SECRET: &str = "whsec_ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";

/// The sound file with one more line at its end, which is its line 16.
fn with(line: &str) -> String {
    format!("{SOUND}{line}\n")
}

#[track_caller]
fn problem_of(line: &str) -> String {
    let problem = Story::of(&with(line)).problems();
    let (_place, problem) = problem.split_once(": ").expect("a place");
    problem.to_owned()
}

#[test]
fn an_endpoint_hears_of_everything_unless_it_chooses() {
    let line = format!(
        "callbacks: [{{ url: \"https://ops.example.org/hook?key=1\", secret: {SECRET} }}, \
         {{ url: \"http://hooks.internal/\", secret: [{SECRET}, \"${{OLD}}\"], events: [alarm, read], allow: [hooks.internal] }}]"
    );
    let config = Story::of(&with(&line)).with("OLD", SECRET).loaded().config;
    let [all, some] = config.callbacks.as_slice() else { panic!("two were given") };
    assert_eq!(all.topics, Topic::ALL);
    assert_eq!((some.topics.as_slice(), some.secrets.len()), (&[Topic::Alarm, Topic::Read][..], 2));
    assert_eq!(all.secrets[0].reveal().len(), 32, "decoded before use");
    assert!(!format!("{config:?}").contains("ICEi"), "a secret is never shown");
}

#[test]
fn every_mistake_in_a_callback_is_told() {
    let of = |rest: &str| problem_of(&format!("callbacks: [{{ {rest} }}]"));
    let secret = format!("secret: {SECRET}");
    for (rest, problem) in [
        (
            format!("url: \"https://ops.example.org/\", {secret}, events: [acknowleged]"),
            "`acknowleged` is not an event (did you mean `acknowledged`?)",
        ),
        (format!("url: \"https://ops.example.org/\", {secret}, events: []"), "`events` names nothing (leave out"),
        (
            format!("url: \"http://ops.example.org/\", {secret}"),
            "the `url` of a callback must begin with https://; http:// is for hosts in `allow` only",
        ),
        (
            format!("url: \"https://10.0.0.1/\", {secret}"),
            "the `url` of a callback leads to a private network, which must be named in `allow`",
        ),
        (
            format!("url: \"https://tony:pass@ops.example.org/\", {secret}"),
            "the `url` of a callback must not hold a user name or password",
        ),
        (
            format!("url: \"https://ops.example.org/\", {secret}, allow: [\"10.0.0.0/8\"]"),
            "`10.0.0.0/8` is neither a host's name nor an address",
        ),
        ("url: \"https://ops.example.org/\"".to_owned(), "`secret` is missing (`whsec_` and the base64"),
        (
            "url: \"https://ops.example.org/\", secret: whsec_c2hvcnQ=".to_owned(),
            "the `secret` of a callback has 5 bytes",
        ),
        ("url: \"https://ops.example.org/\", secret: hunter2".to_owned(), "the `secret` of a callback cannot be read"),
        (secret.clone(), "`url` is missing"),
    ] {
        let told = of(&rest);
        assert!(told.starts_with(problem), "{told}\ninstead of\n{problem}");
        assert!(!told.contains("hunter2") && !told.contains("pass@"), "{told}");
    }
}

#[test]
fn a_mail_server_is_protected_unless_it_is_this_machine() {
    for (url, tls, port) in [
        ("smtps://callout:p%40ss@mail.example.org", SmtpTls::Wrapped, 465),
        ("smtp://mail.example.org", SmtpTls::StartTls, 587),
        ("smtp://mail.example.org:2525", SmtpTls::StartTls, 2525),
        ("smtp://localhost", SmtpTls::None, 25),
        ("smtp://127.0.0.1:1025", SmtpTls::None, 1025),
    ] {
        let line = format!("smtp: {{ url: \"{url}\", from: callout@example.org }}");
        let config = Story::of(&with(&line)).loaded().config;
        let smtp = config.smtp.as_ref().expect("it was given");
        assert_eq!((smtp.tls, smtp.port), (tls, port), "{url}");
        if let Some((user, password)) = &smtp.credentials {
            assert_eq!((&**user, password.reveal()), ("callout", "p@ss"));
        }
        assert!(!format!("{config:?}").contains("p@ss"), "a password is never shown");
    }
}

#[test]
fn e_mail_needs_a_server_and_the_messages_backend() {
    let by_mail = sound_but("{ type: sms, id_num: \"447700900001\" }", "{ type: email, id_num: tony@example.org }");
    let told = Story::of(&by_mail).problems();
    assert!(told.contains("no sender is configured for email (add `smtp` to the configuration)"), "{told}");
    let server =
        "smtp: { url: \"smtp://localhost\", from: callout@example.org }\nalarms: { email: [ops@example.org] }\n";
    let config = Story::of(&format!("{by_mail}{server}")).loaded().config;
    let policy = config.policies.iter().next().expect("one policy");
    let channels: Vec<_> = policy.plan.steps().iter().map(|step| step.first.channel).collect();
    assert_eq!(channels, [Channel::Messenger, Channel::Email]);
    assert_eq!(config.alarm_recipients.len(), 1);
    let on_dispatch = format!("{by_mail}{server}").replace("backend: messages", "backend: dispatch");
    let told = Story::of(&on_dispatch).problems();
    assert!(told.contains("email is not available on Dispatch (a workflow is Vonage's and knows no e-mail"), "{told}");
}

#[test]
fn a_wrong_address_or_a_missing_server_is_told() {
    let told = problem_of("alarms: { email: [ops@example.org] }");
    assert!(told.starts_with("alarms are to be mailed, and there is no `smtp`"), "{told}");
    let told = problem_of("smtp: { url: \"smtp://localhost\", from: nobody }");
    assert!(told.starts_with("`from` is not an e-mail address"), "{told}");
    let told = problem_of("smtp: { url: \"https://mail.example.org:hunter2\", from: callout@example.org }");
    assert!(told.starts_with("the `url` of the mail server cannot be read"), "{told}");
}
