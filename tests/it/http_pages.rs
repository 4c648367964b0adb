//! The pages for browsers: who gets in, what changes something and what does not, and that nothing that somebody
//! posted becomes a part of a page.

use std::sync::LazyLock;

use reqwest::{Method, RequestBuilder};
use serde_json::json;

use crate::harness::{Answer, Callout, KEY, Setup, events_of, path_of};

const READER: &str = "reader-key-0123456789abcdef0123456789";
const PAGE: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

/// Goes where it is sent only when told so.
static BROWSER: LazyLock<reqwest::Client> = LazyLock::new(|| {
    let still = reqwest::redirect::Policy::none();
    reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).redirect(still).build().unwrap()
});

impl Callout {
    fn browse(&self, method: Method, path: &str) -> RequestBuilder {
        BROWSER.request(method, format!("http://{}{path}", self.address())).header("accept", PAGE)
    }

    pub(crate) async fn page(&self, path: &str, cookie: &str) -> Answer {
        Answer::of(self.browse(Method::GET, path).header("cookie", cookie)).await
    }

    /// Fills in a form on a page of ours and sends it off.
    async fn fill_in(&self, path: &str, cookie: &str, form: &[(&str, &str)]) -> Answer {
        let origin = format!("http://{}", self.address());
        Answer::of(filled_in(self.browse(Method::POST, path), form).header("cookie", cookie).header("origin", origin))
            .await
    }

    /// Signs in and returns the cookie.
    pub(crate) async fn sign_in(&self, key: &str, name: &str) -> String {
        let answer = self.fill_in("/sign-in", "", &[("key", key), ("name", name), ("to", "/")]).await.is(303);
        answer.header("set-cookie").split(';').next().unwrap().to_owned()
    }
}

fn filled_in(request: RequestBuilder, form: &[(&str, &str)]) -> RequestBuilder {
    let body: String = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    request.header("content-type", "application/x-www-form-urlencoded").body(body)
}

#[track_caller]
fn is_page(answer: &Answer) {
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8", "{}", answer.text());
    assert_eq!(answer.header("cache-control"), "no-store");
    let policy = answer.header("content-security-policy");
    for rule in
        ["default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"]
    {
        assert!(policy.contains(rule), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    for written_into in [" style=", "<style", " onclick", "javascript:"] {
        assert!(!answer.text().contains(written_into), "{written_into}");
    }
}

#[tokio::test]
async fn a_browser_signs_in_once_and_comes_where_it_wanted() {
    let callout = Callout::start().await;
    let path = path_of(&callout.raise_any().await);
    let turned_away = callout.page(&path, "").await.is(303);
    let to_sign_in = turned_away.header("location").to_owned();
    assert!(to_sign_in.starts_with("/sign-in?to=%2Falerts%2F"), "{to_sign_in}");
    let form = callout.page(&to_sign_in, "").await.is(200);
    is_page(&form);
    assert!(form.text().contains(&format!("value=\"{path}\"")), "{}", form.text());

    let refused = callout.fill_in("/sign-in", "", &[("key", "wrong"), ("to", &path)]).await.is(401);
    is_page(&refused);
    assert!(!refused.headers.contains_key("set-cookie"));
    let entered = callout.fill_in("/sign-in", "", &[("key", KEY), ("name", "Ann"), ("to", &path)]).await.is(303);
    assert_eq!(entered.header("location"), path);
    let cookie = entered.header("set-cookie");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && !cookie.contains(KEY), "{cookie}");

    let cookie = cookie.split(';').next().unwrap().to_owned();
    for page in [&*path, "/", "/?status=escalating&policy=default"] {
        let page = callout.page(page, &cookie).await.is(200);
        is_page(&page);
        assert!(page.text().contains("Main server is down") || page.request.ends_with('?'), "{}", page.text());
    }
    let left = callout.fill_in("/sign-out", &cookie, &[]).await.is(303);
    assert_eq!(left.headers.get_all("set-cookie").iter().count(), 2);
    assert!(left.header("set-cookie").contains("Max-Age=0"));
}

#[tokio::test]
async fn by_https_the_cookie_is_one_that_only_https_can_set() {
    let callout = Callout::start().await;
    let request = filled_in(callout.browse(Method::POST, "/sign-in"), &[("key", KEY)]);
    let answer = Answer::of(request.header("origin", "https://callout.example")).await.is(303);
    let cookie = answer.header("set-cookie");
    assert!(cookie.starts_with("__Host-callout=") && cookie.ends_with("; Secure"), "{cookie}");
}

#[tokio::test]
async fn a_session_outlives_a_restart_and_ends_with_its_key_and_with_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("callout.db");
    let callout = Setup::in_file(&path).start().await;
    let cookie = callout.sign_in(KEY, "").await;
    callout.stop().await;
    let callout = Setup::in_file(&path).start().await;
    callout.page("/", &cookie).await.is(200);
    callout.reload(|file| file["server"]["api_key"] = "another-key-0123456789abcdef012345".into());
    callout.page("/", &cookie).await.is(303);
    callout.reload(|_| {});
    callout.page("/", &cookie).await.is(200);
    let end = callout.service.engine().now().plus(callout::http::SESSION_LIFETIME);
    callout.clock.reach(end);
    callout.page("/", &cookie).await.is(303);
}

#[tokio::test]
async fn the_buttons_do_what_they_say_as_whoever_signed_in() {
    let callout = Callout::start().await;
    let cookie = callout.sign_in(KEY, "Ann O'Neill").await;
    let form = [("message", "Just a test"), ("policy", "default"), ("severity", "info")];
    let raised = callout.fill_in("/actions/raise", &cookie, &form).await.is(303);
    let path = raised.header("location").to_owned();
    let alert = callout.get(&path).await.is(200).json();
    assert_eq!((&alert["message"], &alert["source"]), (&json!("Just a test"), &json!("dashboard")));

    let action = |name: &str| format!("/actions/{}/{name}", alert["id"].as_str().unwrap());
    callout.fill_in(&action("escalate"), &cookie, &[("attempt", "1")]).await.is(303);
    let next = callout.alert(&alert).await;
    assert_eq!(next["current"]["user"], "Ann");
    callout.fill_in(&action("escalate"), &cookie, &[("attempt", "1")]).await.is(303);
    assert_eq!(callout.alert(&alert).await["current"]["user"], "Ann", "a page that is old skips nobody");
    callout.fill_in(&action("escalate"), &cookie, &[]).await.is(400);

    callout.fill_in(&action("acknowledge"), &cookie, &[]).await.is(303);
    let acknowledged = callout.alert(&alert).await["acknowledged"].clone();
    assert_eq!((&acknowledged["by"], &acknowledged["via"]), (&json!("Ann O'Neill"), &json!("api")));
    let again = callout.fill_in(&action("resolve"), &cookie, &[]).await.is(303);
    assert_eq!(again.header("location"), path);
    let too_late = callout.fill_in(&action("acknowledge"), &cookie, &[]).await.is(303);
    assert!(callout.page(too_late.header("location"), &cookie).await.text().contains("Somebody was quicker"));
    let page = callout.page(&path, &cookie).await;
    assert!(page.text().contains("Resolved. Nothing is left to do.") && !page.text().contains("/actions/"));
    for unknown in [action("explode"), "/actions/1/resolve".to_owned()] {
        is_page(&callout.fill_in(&unknown, &cookie, &[]).await.is(404));
    }
}

#[tokio::test]
async fn only_a_page_of_ours_changes_anything_with_a_session() {
    let callout = Callout::start().await;
    let alert = callout.raise_any().await;
    let cookie = callout.sign_in(KEY, "").await;
    let id = alert["id"].as_str().unwrap();
    let paths = [
        format!("/actions/{id}/acknowledge"),
        format!("/actions/{id}/resolve"),
        format!("/actions/{id}/escalate"),
        format!("/alerts/{id}/acknowledge"),
        format!("/alerts/{id}/resolve"),
        "/actions/raise".to_owned(),
        "/alerts".to_owned(),
        "/sign-out".to_owned(),
        "/sign-in".to_owned(),
    ];
    let own = format!("http://{}", callout.address());
    let foreign: [&[(&str, &str)]; 9] = [
        &[],
        &[("origin", "null")],
        &[("origin", "https://evil.example")],
        &[("origin", "http://127.0.0.1:1")],
        &[("origin", "http://callout.example")],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site"), ("origin", &own)],
        &[("sec-fetch-site", "none")],
        &[("sec-fetch-site", "cross-site"), ("origin", &own)],
    ];
    for path in &paths {
        for headers in foreign {
            let form = [("attempt", "1"), ("message", "forged"), ("key", KEY)];
            let mut request = filled_in(callout.browse(Method::POST, path), &form).header("cookie", &cookie);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let answer = Answer::of(request).await.is(403);
            assert!(!answer.headers.contains_key("set-cookie"), "{path} {headers:?}");
        }
    }
    for (method, path) in [(Method::GET, &paths[0]), (Method::GET, &paths[3]), (Method::HEAD, &paths[3])] {
        Answer::of(callout.browse(method, path).header("cookie", &cookie)).await.is(405);
    }
    assert_eq!(callout.alert(&alert).await, alert, "nothing has changed");
    let list = callout.get("/alerts").await.json();
    assert_eq!(list["alerts"].as_array().unwrap().len(), 1, "nothing was raised");
}

#[tokio::test]
async fn a_key_that_may_only_look_sees_no_buttons_and_presses_none() {
    let callout = Callout::start().await;
    callout.reload(|file| {
        file["server"]["api_keys"] = json!([{ "name": "wallboard", "key": READER, "roles": ["read"] }]);
    });
    let alert = callout.raise_any().await;
    let cookie = callout.sign_in(READER, "").await;
    for path in ["/", &path_of(&alert)] {
        let page = callout.page(path, &cookie).await.is(200);
        assert!(page.text().contains("Main server is down") && !page.text().contains("/actions/"), "{}", page.text());
    }
    let id = alert["id"].as_str().unwrap();
    for path in [format!("/actions/{id}/acknowledge"), format!("/actions/{id}/resolve"), "/actions/raise".into()] {
        is_page(&callout.fill_in(&path, &cookie, &[("message", "x")]).await.is(403));
    }
    assert_eq!(events_of(&callout.alert(&alert).await), ["raised", "sent"]);
}

#[tokio::test]
async fn programs_get_json_and_problems_and_browsers_get_pages() {
    let callout = Callout::start().await;
    let alert = callout.raise_any().await;
    let path = path_of(&alert);
    for accept in ["*/*", "application/json", "application/json, text/html;q=0.9", "text/html;q=0.5, */*", ""] {
        let answer = Answer::of(callout.request(Method::GET, &path).header("accept", accept)).await.is(200);
        assert_eq!(answer.json()["id"], alert["id"], "{accept}");
        assert_eq!(answer.header("vary"), "Accept");
        for path in [&*path, "/", "/live"] {
            Answer::of(callout.stranger(Method::GET, path).header("accept", accept)).await.problem(401, "unauthorized");
        }
    }
    is_page(&Answer::of(callout.request(Method::GET, &path).header("accept", PAGE)).await.is(200));
    let cookie = callout.sign_in(KEY, "").await;
    let as_json = callout.stranger(Method::GET, &path).header("cookie", &cookie);
    assert_eq!(Answer::of(as_json).await.is(200).json()["id"], alert["id"]);
    let nothing = "/alerts/01928f3e-0000-7000-8000-000000000000";
    is_page(&callout.page(nothing, &cookie).await.is(404));
    callout.get(nothing).await.problem(404, "not-found");
    let list = callout.page("/alerts", &cookie).await.is(200);
    assert_eq!(list.header("content-type"), "application/json", "the list is for programs");
    for worthless in ["callout=", "callout=1.f.f.f", "callout=x; __Host-callout=y", cookie.split_at(cookie.len() - 1).0]
    {
        callout.page("/", worthless).await.is(303);
    }
}

#[tokio::test]
async fn too_many_wrong_keys_are_told_to_wait() {
    let callout = Callout::start().await;
    let mut statuses = Vec::new();
    for n in 0..=callout::http::FAILURES_BURST.get() {
        statuses.push(callout.fill_in("/sign-in", "", &[("key", &format!("guess-{n}"))]).await.status);
    }
    assert_eq!((statuses.first(), statuses.last()), (Some(&401), Some(&429)));
    callout.sign_in(KEY, "").await;
}

#[tokio::test]
async fn after_signing_in_nobody_is_sent_elsewhere() {
    let callout = Callout::start().await;
    for to in
        ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "/alerts/\\\\x", "/x"]
    {
        let entered = callout.fill_in("/sign-in", "", &[("key", KEY), ("to", to)]).await.is(303);
        assert_eq!(entered.header("location"), "/", "{to}");
    }
}

#[tokio::test]
async fn what_the_pages_load_may_be_kept_for_ever() {
    let callout = Callout::start().await;
    let form = callout.page("/sign-in", "").await.is(200);
    let loaded: Vec<&str> = form.text().split('"').filter(|text| text.starts_with("/assets/")).collect();
    assert_eq!(loaded.len(), 3, "{loaded:?}");
    for path in loaded {
        let asset = callout.page(path, "").await.is(200);
        assert!(asset.header("cache-control").contains("immutable"), "{path}");
        assert_eq!(asset.header("x-content-type-options"), "nosniff");
        let old = path.replacen('-', "-0", 1);
        callout.page(&old, "").await.problem(404, "not-found");
    }
}

/// Texts that would do something if they became markup, an address or a script.
fn payloads() -> Vec<String> {
    let mut payloads: Vec<String> = [
        "<script>pwn(1)</script>",
        "<SCRIPT SRC=//evil.example/x.js></SCRIPT>",
        "<img src=x onerror=pwn(2)>",
        "<svg onload=pwn(3)>",
        "<svg><script>pwn(4)</script></svg>",
        "\"><script>pwn(5)</script>",
        "'><script>pwn(6)</script>",
        "\" onmouseover=\"pwn(7)",
        "' onfocus='pwn(8)' autofocus='",
        "</title><script>pwn(9)</script>",
        "</textarea><script>pwn(10)</script>",
        "</pre><script>pwn(11)</script>",
        "</style><script>pwn(12)</script>",
        "<iframe src=javascript:pwn(13)>",
        "<iframe srcdoc='<script>pwn(14)</script>'>",
        "<a href=javascript:pwn(15)>x</a>",
        "<a href='data:text/html,<script>pwn(16)</script>'>x</a>",
        "<form action=//evil.example><button>x",
        "<base href=//evil.example>",
        "<meta http-equiv=refresh content='0;url=//evil.example'>",
        "<link rel=stylesheet href=//evil.example>",
        "<style>*{display:none}</style>",
        "<details open ontoggle=pwn(17)>",
        "<video><source onerror=pwn(18)></video>",
        "<audio src=x onerror=pwn(19)>",
        "<body onload=pwn(20)>",
        "<input autofocus onfocus=pwn(21)>",
        "<select autofocus onfocus=pwn(22)>",
        "<marquee onstart=pwn(23)>",
        "<math><mtext><script>pwn(24)</script>",
        "<object data=javascript:pwn(25)>",
        "<embed src=javascript:pwn(26)>",
        "<!--><script>pwn(27)</script>-->",
        "--><script>pwn(28)</script>",
        "]]><script>pwn(29)</script>",
        "<![CDATA[<script>pwn(30)</script>]]>",
        "&lt;script&gt;pwn(31)&lt;/script&gt;",
        "&#60;script&#62;pwn(32)",
        "\u{ff1c}script\u{ff1e}pwn(33)",
        "<scr<script>ipt>pwn(34)</scr</script>ipt>",
        "<script\u{0b}>pwn(35)</script>",
        "<script/x>pwn(36)</script>",
        "<img/src=x/onerror=pwn(37)>",
        "<img src=`x` onerror=pwn(38)>",
        "{{constructor.constructor('pwn(39)')()}}",
        "${pwn(40)}",
        "<%= pwn(41) %>",
        "#{pwn(42)}",
        "javascript:pwn(43)",
        "data:text/html,pwn(44)",
        "<p hx-get=//evil.example hx-trigger=load>",
        "<template><script>pwn(45)</script></template>",
        "<noscript><img src=x onerror=pwn(46)></noscript>",
        "<xss id=x tabindex=1 onfocus=pwn(47)>",
        "<button formaction=javascript:pwn(48)>x",
        "<svg><animate onbegin=pwn(49)>",
        "<svg><use href='data:image/svg+xml,x#y'>",
        "<time datetime=x onclick=pwn(50)>",
        "\u{202e}<script>pwn(51)</script>",
    ]
    .map(str::to_owned)
    .into();
    payloads.push("<".repeat(100));
    payloads.push("a\"b'c`d<e>f&g".to_owned());
    payloads
}

/// The names of all tags and of all attributes of a page, roughly as a browser reads them.
fn shape(page: &str) -> Vec<String> {
    let mut shape = Vec::new();
    for tag in page.split('<').skip(1).map(|after| after.split('>').next().unwrap_or_default()) {
        let outside: String = tag.split('"').step_by(2).collect::<Vec<_>>().join("\u{1}");
        shape.push(outside);
    }
    shape
}

#[tokio::test]
async fn nothing_that_somebody_posted_becomes_markup() {
    let callout = Callout::start().await;
    let cookie = callout.sign_in(KEY, "").await;
    assert!(payloads().len() > 60);
    let post = |text: String| {
        // Names are held to more than texts: no control characters.
        let is_of_a_name = |letter: &char| !letter.is_control() && *letter != '\u{202e}';
        let user = |text: &str| text.chars().filter(is_of_a_name).take(100).collect::<String>();
        json!({
            "message": text, "source": text, "dedup_key": text, "severity": "info",
            "details": { text.clone(): [text.clone()] },
            "users": [{ "name": user(&text), "channels": [{ "type": "sms", "id_num": "447700900001" }] }],
        })
    };
    let mut harmless = None;
    for text in std::iter::once("plain".to_owned()).chain(payloads()) {
        let alert = callout.raise(&post(text.clone())).await;
        let by: String = text.chars().take(100).collect();
        callout.post(&format!("{}/acknowledge", path_of(&alert)), &json!({ "by": by })).await.is(200);
        let page = callout.page(&path_of(&alert), &cookie).await.is(200);
        is_shaped(&page, &mut harmless, &text);
    }
    let list = callout.page("/", &cookie).await.is(200);
    assert!(!list.text().contains("<script>") && !list.text().contains("<img"), "{}", list.text());
    for link in ["javascript:alert(1)", "data:text/html,x", "//evil.example", "ftp://evil.example"] {
        callout.post("/alerts", &json!({ "message": "x", "link": link })).await.is(422);
    }
    let linked = callout.raise(&json!({ "message": "x", "link": "https://x.example/\"><script>pwn()</script>" })).await;
    let page = callout.page(&path_of(&linked), &cookie).await;
    assert!(page.text().contains("rel=\"noopener noreferrer\"") && !page.text().contains("<script>"));
}

#[track_caller]
fn is_shaped(page: &Answer, harmless: &mut Option<Vec<String>>, text: &str) {
    let mut tags = shape(page.text());
    tags.sort();
    tags.dedup();
    match harmless {
        None => *harmless = Some(tags),
        Some(harmless) => {
            let new: Vec<&String> = tags.iter().filter(|tag| !harmless.contains(tag)).collect();
            assert!(new.is_empty(), "{text}: {new:?}");
        }
    }
}
