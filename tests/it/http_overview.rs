//! The first page: what is found by the filters, page by page, and whether the pager itself is well.

use std::time::Duration;

use callout::engine::READY_KEPT;
use serde_json::{Value, json};

use crate::engine_frail::{Call, Frail};
use crate::harness::{Callout, KEY, Mood, PATIENCE, Setup, path_of};

/// How many recent alerts a page has.
const A_PAGE: usize = 25;

impl Callout {
    async fn overview(&self, cookie: &str, query: &str) -> String {
        self.page(&format!("/{query}"), cookie).await.is(200).text().to_owned()
    }

    async fn resolved(&self, number: usize) -> Value {
        let alert = self.post("/alerts", &json!({ "message": format!("Trouble {number:02}") })).await.is(201).json();
        self.press(&format!("{}/resolve", path_of(&alert))).await.is(200);
        alert
    }
}

/// The texts of the alerts on a page, those that escalate before the others.
fn texts(page: &str) -> Vec<&str> {
    let cards = page.split("<h3><a").skip(1).map(|rest| rest.split_once('>').unwrap().1);
    let rows = page.split("<span class=\"text\">").skip(1);
    cards.chain(rows).map(|rest| rest.split_once('<').unwrap().0).collect()
}

/// Where a link on the page leads.
fn link<'p>(page: &'p str, name: &str) -> Option<&'p str> {
    let before = page.split(&format!("\">{name}</a>")).next().filter(|before| before.len() < page.len())?;
    before.rsplit_once("href=\"").map(|(_, address)| address.strip_prefix('/').unwrap())
}

#[tokio::test]
async fn the_filters_hold_for_what_escalates_too() {
    let callout = Callout::start().await;
    let cookie = callout.sign_in(KEY, "").await;
    callout.raise(&json!({ "message": "Loud", "policy": "default" })).await;
    callout.raise(&json!({ "message": "Quiet", "policy": "quiet" })).await;
    let over = callout.raise(&json!({ "message": "Quiet and over", "policy": "quiet" })).await;
    callout.press(&format!("{}/resolve", path_of(&over))).await.is(200);
    let of = async |query: &str| {
        let page = callout.overview(&cookie, query).await;
        let mut found: Vec<String> = texts(&page).into_iter().map(str::to_owned).collect();
        found.sort();
        (found, page.contains("Escalating now"))
    };
    let found =
        |texts: &[&str], has_now: bool| (texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>(), has_now);
    assert_eq!(of("").await, found(&["Loud", "Quiet", "Quiet and over"], true));
    assert_eq!(of("?policy=quiet").await, found(&["Quiet", "Quiet and over"], true));
    assert_eq!(of("?policy=default").await, found(&["Loud"], true));
    assert_eq!(of("?policy=nobody").await, found(&[], true));
    assert_eq!(of("?status=resolved").await, found(&["Quiet and over"], false));
    assert_eq!(of("?status=escalating").await, found(&["Loud", "Quiet"], false));
    assert_eq!(of("?status=escalating&policy=quiet").await, found(&["Quiet"], false));
    assert_eq!(of("?status=nonsense&policy=").await, found(&["Loud", "Quiet", "Quiet and over"], true));
    let countdown = callout.overview(&cookie, "?status=escalating").await;
    assert_eq!(countdown.matches("data-until").count(), 2, "who is called, and how long still");
}

#[tokio::test]
async fn older_alerts_are_on_further_pages_and_the_filters_stay() {
    let callout = Callout::start().await;
    let cookie = callout.sign_in(KEY, "").await;
    for number in 0..A_PAGE + 3 {
        callout.resolved(number).await;
    }
    let newest = callout.overview(&cookie, "?status=resolved&policy=default").await;
    assert_eq!(texts(&newest).len(), A_PAGE);
    assert_eq!((texts(&newest)[0], link(&newest, "Newest")), ("Trouble 27", None));
    let older = link(&newest, "Older").unwrap().replace("&amp;", "&");
    assert!(older.contains("status=resolved") && older.contains("policy=default"), "{older}");
    let oldest = callout.overview(&cookie, &older).await;
    assert_eq!(texts(&oldest), ["Trouble 02", "Trouble 01", "Trouble 00"]);
    assert_eq!(link(&oldest, "Older"), None);
    assert_eq!(link(&oldest, "Newest").unwrap().replace("&amp;", "&"), "?status=resolved&policy=default");
}

/// The tiles that do not say that all is well, and what is said above them.
fn ills(page: &str) -> (String, Vec<String>) {
    let text_after = |text: &str, tag: &str| -> String {
        let rest = text.split_once(tag).unwrap().1;
        let inner = rest.split_once('>').unwrap().1;
        let inner = inner.split_once("</d").or_else(|| inner.split_once("</p")).unwrap().0;
        inner.split('<').map(|piece| piece.split_once('>').map_or(piece, |(_, text)| text)).collect()
    };
    let headline = page.split_once("id=\"headline\"").unwrap().1;
    let headline = headline.split_once('>').unwrap().1.split_once('<').unwrap().0.to_owned();
    let tiles = page.split_once("class=\"tiles\"").unwrap().1.split_once("</dl>").unwrap().0;
    let ill = tiles.split("<div class=\"").filter(|tile| tile.starts_with("ill"));
    (headline, ill.map(|tile| format!("{}: {}", text_after(tile, "<dt"), text_after(tile, "<dd"))).collect())
}

#[tokio::test]
async fn the_page_says_what_is_ill_about_the_pager_itself() {
    let store = Frail::new();
    let callout = Setup::in_store(&store).start().await;
    let cookie = callout.sign_in(KEY, "").await;
    assert_eq!(ills(&callout.overview(&cookie, "").await), ("The pager is well.".to_owned(), Vec::new()));

    callout.clock.advance(READY_KEPT);
    store.fail(Call::Probe, 1);
    let (headline, ill) = ills(&callout.overview(&cookie, "").await);
    assert_eq!(headline, "The store keeps nothing. New alerts are refused until it does.");
    assert_eq!(ill, ["Store: keeps nothing now; the log says why"]);
    assert_eq!(ills(&callout.overview(&cookie, "").await).0, "The pager is well.");

    callout.vonage.becomes(Mood::Fails);
    let alert = callout.post("/alerts", &json!({ "message": "x" })).await.is(201).json();
    callout.until(&alert, "its send fails", |alert| alert["attempts"][0]["status"] == "retrying").await;
    let (headline, ill) = ills(&callout.overview(&cookie, "").await);
    assert!(headline.contains("Vonage") || headline.contains("A send fails"), "{headline}");
    assert!(ill.len() == 1 && ill[0].starts_with("Vonage: "), "{ill:?}");
    callout.vonage.becomes(Mood::Accepts);
    callout.press(&format!("{}/resolve", path_of(&alert))).await.is(200);

    let poisoned = callout.raise(&json!({ "message": "Poison" })).await;
    store.poison(poisoned["id"].as_str().unwrap().parse().unwrap());
    let aside = async {
        loop {
            let (headline, ill) = ills(&callout.overview(&cookie, "").await);
            if ill.iter().any(|tile| tile.starts_with("Audit: ") && tile.ends_with("1 set aside")) {
                return headline;
            }
            callout.clock.advance(Duration::from_secs(30));
            tokio::task::yield_now().await;
        }
    };
    let headline = tokio::time::timeout(PATIENCE, aside).await.expect("the poisoned alert is set aside");
    assert_eq!(headline, "There are alerts that the pager cannot work on.");
}
