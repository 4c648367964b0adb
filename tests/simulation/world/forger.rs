//! Somebody who knows a message's ids and not the secret makes up webhooks that would silence its alert.

use std::sync::Arc;

use callout::clock::Clock;
use callout::vonage::signature::{self, SignatureError, SignatureSecret, hash};
use callout::vonage::webhook;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;

use super::wire::Subject;
use super::{World, millis, moment};
use crate::bugs::Bug;
use crate::oracle::history::{Wants, Webhook, WebhookKind};

const SECRET: &str = "the-signature-secret-of-the-simulated-days";
const ANOTHER: &str = "the-signature-secret-of-somebody-else-here";
/// Nobody's header, `{"alg":"none"}`.
const UNSIGNED_HEADER: &str = "eyJhbGciOiJub25lIn0";

fn signed(secret: &str, body: &[u8]) -> String {
    let claims = json!({ "iss": "Vonage", "payload_hash": hash(body) });
    encode(&Header::default(), &claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

impl World {
    /// A read that nobody made, with a token that does not prove it.
    pub(super) async fn forge(self: Arc<Self>, subject: Subject, after: u64) {
        self.sleep(millis(after)).await;
        let Some(engine) = self.some_engine().filter(|_| !self.is_mended()) else { return };
        let body = subject.status(&subject.outbound.step.first, "read", self.clock.now(), &mut self.dice());
        let body = body.to_string().into_bytes();
        let reference = subject.outbound.reference;
        let genuine = signed(SECRET, b"what Vonage signed was something else");
        let authorization = match self.dice().between(0, 3) {
            0 => None,
            1 => Some(signed(ANOTHER, &body)),
            2 => Some(genuine),
            _ => signed(SECRET, &body).split('.').nth(1).map(|claims| format!("{UNSIGNED_HEADER}.{claims}.")),
        };
        let header = authorization.map(|token| format!("Bearer {token}"));
        let secrets = [SignatureSecret::new(SECRET).unwrap()];
        let at = moment(self.clock.now());
        let answer = match signature::verify(header.iter().map(String::as_bytes), &body, &secrets) {
            Err(SignatureError::Missing) if self.bug != Some(Bug::SignaturesAreNotChecked) => 503,
            Err(_) if self.bug != Some(Bug::SignaturesAreNotChecked) => 401,
            Ok(_) | Err(_) => match engine.receive(&webhook::read(&body).unwrap()).await {
                Ok(_) => 200,
                Err(_) => 503,
            },
        };
        if answer == 401 {
            self.mark("a forgery was refused");
        }
        self.trace(|| format!("forgery about {reference} answered {answer}"));
        self.notes().webhooks.push(Webhook {
            at,
            answered_at: Some(moment(self.clock.now())),
            answer: Some(answer),
            kind: WebhookKind::Read,
            client_ref: Some(reference.to_string()),
            message_uuid: None,
            dispatch_uuid: None,
            wants: Wants::Acknowledge,
            forged: true,
            writer: None,
            written_at: None,
        });
    }
}
