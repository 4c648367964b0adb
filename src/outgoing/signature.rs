//! Signing callbacks as Standard Webhooks 1.0.0 says.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::timestamp::Timestamp;

/// A secret that callbacks are signed with: its decoded bytes.
pub struct SigningKey(hmac::Key);

impl SigningKey {
    /// The key of these bytes.
    pub fn new(bytes: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    fn sign(&self, signed: &[u8]) -> String {
        format!("v1,{}", STANDARD.encode(hmac::sign(&self.0, signed)))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[secret]")
    }
}

/// Seconds since 1970, as `webhook-timestamp` has them.
pub(super) fn seconds(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(1000)
}

/// What stands in `webhook-signature`: a signature by each key, so that a receiver may know either.
pub fn signatures(keys: &[SigningKey], id: &str, seconds: i64, body: &str) -> String {
    let signed = format!("{id}.{seconds}.{body}");
    let signatures: Vec<String> = keys.iter().map(|key| key.sign(signed.as_bytes())).collect();
    signatures.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_one_that_receivers_expect() {
        let bytes: Vec<u8> = (0x20..=0x3f).collect();
        let body = r#"{"type":"alert.acknowledged","timestamp":"2026-01-01T00:00:00Z","data":{"alert_id":"al_7","by":"maria"}}"#;
        let keys = [SigningKey::new(&bytes), SigningKey::new(&[7; 24])];
        let signatures = signatures(&keys, "msg_01CALLOUTTESTVECTOR000001", 1_767_225_600, body);
        let (first, second) = signatures.split_once(' ').unwrap();
        assert_eq!(first, "v1,cQ1yUM9yK6IZbAWKM0nBfNMSZw1ZmxQx8g4kUGsILR0=");
        assert!(second.starts_with("v1,") && second != first, "while a key is replaced, both sign");
    }
}
