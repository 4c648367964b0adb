//! Acknowledge links: looking changes nothing, the button acknowledges, nobody guesses one.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Callout, Setup, path_of};

impl Callout {
    async fn look(&self, link: &str) -> Answer {
        Answer::of(self.stranger(Method::GET, link)).await
    }

    async fn press_button(&self, link: &str) -> Answer {
        let form = [("content-type", "application/x-www-form-urlencoded")];
        let request = self.stranger(Method::POST, link).header(form[0].0, form[0].1);
        Answer::of(request.body("")).await
    }
}

#[track_caller]
fn is_private_page(answer: &Answer) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("referrer-policy"), "no-referrer");
    assert!(answer.header("content-security-policy").starts_with("default-src 'none'"));
}

#[tokio::test]
async fn a_link_shows_the_alert_and_one_button_and_looking_changes_nothing() {
    let callout = Callout::start().await;
    let alert = callout.raise(&json!({ "message": "Fire & <script>alert(1)</script>" })).await;
    let link = callout.vonage.nth(1).await.link();
    for _ in 0..3 {
        let page = callout.look(&link).await;
        is_private_page(&page);
        assert!(page.text().contains("Fire &amp; &lt;script&gt;"), "{}", page.text());
        assert_eq!(page.text().matches("<button").count(), 1);
        assert!(page.text().contains("<form method=\"post\">"));
        assert!(page.text().contains("Tony"));
        let head = Answer::of(callout.stranger(Method::HEAD, &link)).await.is(200);
        assert!(head.body.is_empty());
    }
    assert_eq!(callout.alert(&alert).await, alert);
}

#[tokio::test]
async fn the_button_acknowledges_as_the_user_whose_message_carried_the_link() {
    let callout = Callout::start().await;
    let alert = callout.raise_any().await;
    let tonys = callout.vonage.nth(1).await.link();
    callout.comes_to_attempt(&alert, 3).await;
    let page = callout.press_button(&tonys).await;
    is_private_page(&page);
    assert!(page.text().contains("Acknowledged by"), "{}", page.text());
    assert!(!page.text().contains("<button"));
    let now = callout.alert(&alert).await;
    assert_eq!(now["status"], "acknowledged");
    assert_eq!(
        now["acknowledged"],
        json!({ "by": "Tony", "via": "link", "channel": "messenger", "at": "2026-03-01T02:25:07.000Z" })
    );
    is_private_page(&callout.press_button(&tonys).await);
    assert_eq!(callout.alert(&alert).await, now, "pressing again is harmless");
    assert!(callout.look(&tonys).await.text().contains("Acknowledged by"));
}

#[tokio::test]
async fn on_dispatch_the_button_acknowledges_without_a_channel() {
    let callout = Setup::on_dispatch().start().await;
    let alert = callout.raise_any().await;
    let link = callout.vonage.nth(1).await.link();
    is_private_page(&callout.press_button(&link).await);
    let now = callout.alert(&alert).await;
    assert_eq!(
        now["acknowledged"],
        json!({ "by": "Tony", "via": "link", "channel": null, "at": "2026-03-01T02:15:07.000Z" })
    );
}

#[tokio::test]
async fn each_attempt_has_a_link_of_its_own_that_stays_the_same_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("callout.db");
    let callout = Setup::in_file(&path).start().await;
    let alert = callout.raise_any().await;
    callout.comes_to_attempt(&alert, 2).await;
    let links = [callout.vonage.nth(1).await.link(), callout.vonage.nth(2).await.link()];
    assert_ne!(links[0], links[1]);
    callout.stop().await;
    let callout = Setup::in_file(&path).start().await;
    is_private_page(&callout.press_button(&links[1]).await);
    assert_eq!(callout.alert(&alert).await["acknowledged"]["channel"], "sms");
}

#[tokio::test]
async fn a_link_that_was_guessed_or_mistyped_is_404() {
    let callout = Callout::start().await;
    let alert = callout.raise_any().await;
    let link = callout.vonage.nth(1).await.link();
    let tag = link.rsplit('-').next().unwrap();
    assert!(tag.len() >= 32, "at least 128 bits cannot be guessed: {link}");
    let (last, other) = if link.ends_with('0') { ('0', '1') } else { (link.chars().last().unwrap(), '0') };
    let cut = link.strip_suffix(last).unwrap();
    for guess in [
        format!("{cut}{other}"),
        link.replacen("-1-", "-2-", 1),
        cut.to_owned(),
        format!("{link}0"),
        link.to_uppercase().replacen("/A/", "/a/", 1),
        format!("{link}/"),
    ] {
        for answer in [callout.look(&guess).await, callout.press_button(&guess).await] {
            let problem = answer.problem(404, "not-found");
            assert_eq!(answer.header("cache-control"), "no-store");
            assert!(!problem.to_string().contains(tag), "{problem}");
        }
    }
    assert_eq!(callout.alert(&alert).await, alert);
}

#[tokio::test]
async fn the_link_of_a_resolved_alert_says_so_and_changes_nothing() {
    let callout = Callout::start().await;
    let alert = callout.raise_any().await;
    let link = callout.vonage.nth(1).await.link();
    let resolved = callout.press(&format!("{}/resolve", path_of(&alert))).await.is(200).json();
    for answer in [callout.look(&link).await, callout.press_button(&link).await] {
        is_private_page(&answer);
        assert!(answer.text().contains("Resolved"), "{}", answer.text());
        assert!(!answer.text().contains("<button"));
    }
    assert_eq!(callout.alert(&alert).await, resolved);
    assert_eq!(resolved["acknowledged"], Value::Null);
}

#[tokio::test]
async fn the_link_of_an_exhausted_alert_still_acknowledges() {
    let callout = Callout::start().await;
    let alert = callout.raise(&json!({ "message": "x", "policy": "quiet" })).await;
    let link = callout.vonage.nth(1).await.link();
    callout.comes_to_attempt(&alert, 2).await;
    callout.clock.reach("2026-03-01T05:00:00Z".parse().unwrap());
    callout.until_status(&alert, "exhausted").await;
    is_private_page(&callout.press_button(&link).await);
    assert_eq!(callout.alert(&alert).await["acknowledged"]["by"], "Ann");
}

#[tokio::test]
async fn without_a_public_url_messages_carry_no_link() {
    let callout = Setup { public_url: None, ..Setup::default() }.start().await;
    callout.raise_any().await;
    let text = callout.vonage.nth(1).await.text().to_owned();
    assert!(text.starts_with("[Tony]: Main server is down"), "{text}");
    assert!(!text.contains("/a/"), "{text}");
}
