//! What came back over HTTP, and what a test says about it.

use axum::http::HeaderMap;
use bytes::Bytes;
use serde_json::Value;

/// An answer, with the request that it answers.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) request: String,
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) async fn of(request: reqwest::RequestBuilder) -> Self {
        let (client, request) = request.build_split();
        let request = request.unwrap();
        let name = format!("{} {}", request.method(), request.url().path());
        let response = client.execute(request).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { request: name, status, headers, body: response.bytes().await.unwrap() }
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.unwrap_or_else(|| panic!("{} came without {name}", self.request)).to_str().unwrap()
    }

    /// It has this status.
    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{} was answered: {}", self.request, self.text());
        self
    }

    /// The body, which is JSON and says so.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), "application/json", "{}", self.request);
        serde_json::from_slice(&self.body).unwrap()
    }

    /// It is this error, in the form that every error has; an answer to HEAD has the form without the body.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, kind: &str) -> Value {
        assert_eq!(self.status, status, "{} was answered: {}", self.request, self.text());
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.request);
        if self.request.starts_with("HEAD ") {
            assert!(self.body.is_empty(), "{}", self.request);
            return Value::Null;
        }
        let problem: Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem["type"], format!("/problems/{kind}"), "{}: {problem}", self.request);
        assert_eq!(problem["status"], status, "{}: {problem}", self.request);
        for field in ["title", "detail"] {
            assert!(problem[field].as_str().is_some_and(|text| !text.is_empty()), "{}: {problem}", self.request);
        }
        problem
    }

    /// It refuses the request for exactly these fields: pointer, and what the text about it says.
    #[track_caller]
    pub(crate) fn refuses(&self, expected: &[(&str, &str)]) {
        let problem = self.problem(422, "invalid");
        let errors = problem["errors"].as_array().unwrap();
        let pointers: Vec<&str> = errors.iter().map(|error| error["pointer"].as_str().unwrap()).collect();
        let mut wanted: Vec<&str> = expected.iter().map(|(pointer, _)| *pointer).collect();
        let mut named = pointers.clone();
        wanted.sort_unstable();
        named.sort_unstable();
        assert_eq!(named, wanted, "{problem:#}");
        for (pointer, words) in expected {
            let of_field = errors.iter().filter(|error| error["pointer"] == *pointer);
            let details: Vec<&str> = of_field.map(|error| error["detail"].as_str().unwrap()).collect();
            assert!(details.iter().any(|detail| detail.contains(words)), "{pointer} says {details:?}, not {words:?}");
        }
    }
}
