//! The first page: what is found by the filters, page by page, and whether the pager itself is well.

use std::time::Duration;

use callout::engine::READY_KEPT;
use callout::store::Disk;
use serde_json::{Value, json};

use crate::engine_frail::{Call, Frail};
use crate::harness::{Answer, Callout, KEY, Mood, PATIENCE, Setup, path_of};

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
    let cards = page.split("<h3 dir=\"auto\"><a").skip(1).map(|rest| rest.split_once('>').unwrap().1);
    let rows = page.split("<span class=\"text\" dir=\"auto\">").skip(1);
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

/// How one part does: the tile's colour, and its words.
fn tile(page: &str, name: &str) -> (String, String) {
    let tiles = page.split_once("class=\"tiles\"").unwrap().1.split_once("</dl>").unwrap().0;
    let tile = tiles.split("<div class=\"").find(|tile| tile.contains(&format!("<dt>{name}</dt>"))).unwrap();
    let (health, rest) = tile.split_once('"').unwrap();
    let words = rest.split_once("<dd>").unwrap().1.split_once("</dd>").unwrap().0;
    let words = words.split('<').map(|piece| piece.split_once('>').map_or(piece, |(_, text)| text)).collect();
    (health.to_owned(), words)
}

/// What stands above the tiles, and its colour.
fn headline(page: &str) -> (String, String) {
    let (before, rest) = page.split_once("\" id=\"headline\"").unwrap();
    let (_, class) = before.rsplit_once("class=\"pulse ").unwrap();
    let words = rest.split_once('>').unwrap().1.split_once('<').unwrap().0;
    said(class, words)
}

fn said(health: &str, words: &str) -> (String, String) {
    (health.to_owned(), words.to_owned())
}

impl Callout {
    /// The first page as soon as a part does so; time passes meanwhile.
    async fn overview_when(&self, cookie: &str, name: &str, expected: &(String, String)) -> String {
        let mut newest = String::new();
        let comes = async {
            loop {
                newest = self.overview(cookie, "").await;
                if tile(&newest, name) == *expected {
                    return;
                }
                self.clock.advance(Duration::from_secs(10));
                tokio::task::yield_now().await;
            }
        };
        let came = tokio::time::timeout(PATIENCE, comes).await;
        assert!(came.is_ok(), "{name} never was {expected:?}, but {:?}", tile(&newest, name));
        newest
    }
}

#[tokio::test]
async fn the_page_says_that_the_disk_is_nearly_full_before_it_is() {
    let store = Frail::new();
    let callout = Setup::in_store(&store).start().await;
    let cookie = callout.sign_in(KEY, "").await;
    assert_eq!(headline(&callout.overview(&cookie, "").await), said("well", "The pager is well."));

    store.stands_on(Disk { free_bytes: 500 << 20, is_low: true, is_full: false });
    let low = said("doubtful", "keeps alerts, but the disk is nearly full");
    let page = callout.overview_when(&cookie, "Store", &low).await;
    assert_eq!(headline(&page), said("doubtful", "The disk is nearly full. Make room before new alerts are refused."));

    store.stands_on(Disk { free_bytes: 0, is_low: true, is_full: true });
    let page = callout.overview_when(&cookie, "Store", &said("ill", "disk full: new alerts are refused")).await;
    assert_eq!(headline(&page), said("ill", "The disk is full. New alerts are refused."));

    store.stands_on(Disk { free_bytes: 5 << 30, is_low: false, is_full: false });
    let page = callout.overview_when(&cookie, "Store", &said("doubtful", "memory only: lost at the end")).await;
    assert_eq!(headline(&page), said("well", "The pager is well."));
}

#[tokio::test]
async fn the_page_says_that_the_audit_has_not_passed_for_a_while() {
    const STALE: &str = "The pager has not passed its own audit for a while.";
    let store = Frail::new();
    let callout = Setup::in_store(&store).start().await;
    let cookie = callout.sign_in(KEY, "").await;
    let passed = |page: &str| tile(page, "Audit").1.starts_with("all alerts looked after ");
    let page = callout.overview(&cookie, "").await;
    assert!(passed(&page) && tile(&page, "Audit").0 == "well", "{:?}", tile(&page, "Audit"));

    store.fail(Call::Audit, usize::MAX);
    callout.clock.advance(Duration::from_secs(91));
    let page = callout.overview(&cookie, "").await;
    assert_eq!((headline(&page), &*tile(&page, "Audit").0), (said("ill", STALE), "ill"));
    assert!(passed(&page), "it says when it last did: {:?}", tile(&page, "Audit"));

    store.heal();
    let again = async {
        while headline(&callout.overview(&cookie, "").await).0 != "well" {
            callout.clock.advance(Duration::from_secs(10));
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.expect("an audit passes again");
}

#[tokio::test]
async fn an_audit_that_never_passed_is_no_better_than_one_that_did_long_ago() {
    let store = Frail::new();
    store.fail(Call::Audit, usize::MAX);
    let callout = Setup::in_store(&store).start().await;
    let cookie = callout.sign_in(KEY, "").await;
    let at_first = callout.overview(&cookie, "").await;
    assert_eq!(tile(&at_first, "Audit"), said("doubtful", "not passed since the start"));
    assert_eq!(headline(&at_first), said("well", "The pager is well."));

    callout.clock.advance(Duration::from_secs(91));
    let page = callout.overview(&cookie, "").await;
    assert_eq!(tile(&page, "Audit"), said("ill", "not passed since the start"));
    assert_eq!(headline(&page), said("ill", "The pager has not passed its own audit for a while."));
    let ready = Answer::of(callout.stranger(reqwest::Method::GET, "/readyz")).await.is(200).json();
    assert!(ready["warnings"].to_string().contains("no audit of the open alerts has passed"), "{ready}");
}
