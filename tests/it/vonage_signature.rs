//! Which webhooks are taken for Vonage's.

use std::time::Duration;

use callout::timestamp::Timestamp;
use callout::vonage::signature::{self, Genuine, TOKEN_BYTES_MAX, hash};
use callout::vonage::{SignatureError, SignatureSecret};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

const SECRET: &str = "callout-test-signature-secret-0123456789abcdef";

const STATUS_BODY: &[u8] = br#"{"message_uuid":"0f6d6a52-6f0b-4c5e-9a51-2d1f0a1c9e01","to":"447700900001","from":"447700900100","timestamp":"2026-03-01T02:15:07Z","status":"read","channel":"whatsapp","client_ref":"co1.01HQZ4.2.1"}"#;
const STATUS_TOKEN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpYXQiOjE3NzIzMzEzMDcsImp0aSI6IjZiOWYyYTBlLTJhNTUtNGQwZi04YTJjLTBjNmY3ZjFmM2ExMCIsImlzcyI6IlZvbmFnZSIsInBheWxvYWRfaGFzaCI6ImY5NWU2NTBhMzMzMzQzMDkxNGFlMDg2NjgyZWQ2OTFiNmU1NGM2ZjhjMGE0OGZjNTU4M2NhOTFkNDkzNmFlZTgiLCJhcGlfa2V5IjoiYWJjZDEyMzQiLCJhcHBsaWNhdGlvbl9pZCI6IjExMTExMTExLTIyMjItNDMzMy04NDQ0LTU1NTU1NTU1NTU1NSJ9.ZDnwdZ2QyZMSHPVY01B2Gb8VQEsfU5DJ_oMhHBOAd60";

const REPORT_BODY: &[u8] = br#"{"dispatch_uuid":"5b1c0c3e-6a5f-4a3e-9d53-0b9a3f6d7e21","template":"failover","status":"completed","timestamp":"2026-03-01T02:15:07.412Z","usage":{"price":"0.0353","currency":"EUR"},"_links":{"messages":[{"message_uuid":"0f6d6a52-6f0b-4c5e-9a51-2d1f0a1c9e01","href":"v0.1/messages/0f6d6a52-6f0b-4c5e-9a51-2d1f0a1c9e01","channel":"messenger","status":"read"}]}}"#;
const REPORT_TOKEN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpYXQiOjE3NzIzMzEzMDcsImp0aSI6IjBkOWI3YzllLTUyYjEtNGYwZS1iYjBiLThmNmYzZDJhN2M1NSIsImlzcyI6IlZvbmFnZSIsInBheWxvYWRfaGFzaCI6ImFhM2MwNzAwYzNlY2NhODkxMTM1OWIxZDZkYjMxMzMyYTIwZTQ0NmNmMWZlYjA0MWJiYTE5Njc0ZDJiMzhlMWQiLCJhcGlfa2V5IjoiYWJjZDEyMzQiLCJhcHBsaWNhdGlvbl9pZCI6IjExMTExMTExLTIyMjItNDMzMy04NDQ0LTU1NTU1NTU1NTU1NSJ9.emI7oZwFM2lmPLO9F_IY3Pr-7h0RxzZyI7lC1HWqfpU";

/// Whether the webhook is genuine, whenever it was signed.
fn verify<'a>(
    authorization: impl IntoIterator<Item = &'a [u8]>,
    body: &[u8],
    secrets: &[SignatureSecret],
) -> Result<(), SignatureError> {
    signature::verify(authorization, body, secrets).map(|_genuine| ())
}

fn secrets(secrets: &[&str]) -> Vec<SignatureSecret> {
    secrets.iter().map(|secret| SignatureSecret::new(secret).unwrap()).collect()
}

/// What callout says to the status body under these `Authorization` headers.
fn judged(headers: &[&str]) -> Result<(), SignatureError> {
    verify(headers.iter().map(|header| header.as_bytes()), STATUS_BODY, &secrets(&[SECRET]))
}

/// What callout says to the status body with this token.
fn judged_token(token: &str) -> Result<(), SignatureError> {
    judged(&[&format!("Bearer {token}")])
}

fn claims() -> Value {
    json!({ "iat": 1_772_331_307, "iss": "Vonage", "payload_hash": hash(STATUS_BODY) })
}

/// A token with these claims and this header, signed with the right secret.
fn signed(header: &Header, claims: &Value) -> String {
    jsonwebtoken::encode(header, claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

/// Base64url of a JSON value, got from the library by letting it encode the value as claims.
fn base64(json: &Value) -> String {
    signed(&Header::default(), json).split('.').nth(1).unwrap().to_owned()
}

/// A token with any header at all, signed with the right secret.
fn signed_with_header(header: &Value) -> String {
    let message = format!("{}.{}", base64(header), base64(&claims()));
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

#[test]
fn what_vonage_signs_is_genuine() {
    let secrets = secrets(&[SECRET]);
    for (token, body) in [(STATUS_TOKEN, STATUS_BODY), (REPORT_TOKEN, REPORT_BODY)] {
        let header = format!("Bearer {token}");
        assert_eq!(verify([header.as_bytes()], body, &secrets), Ok(()));
    }
}

#[test]
fn the_scheme_is_taken_in_any_case_and_spacing() {
    for scheme in ["bearer ", "BEARER ", "Bearer  ", " Bearer\t"] {
        assert_eq!(judged(&[&format!("{scheme}{STATUS_TOKEN} ")]), Ok(()), "{scheme:?}");
    }
}

#[test]
fn either_of_two_secrets_will_do_while_one_replaces_the_other() {
    let header = format!("Bearer {STATUS_TOKEN}");
    let verified = |list: &[&str]| verify([header.as_bytes()], STATUS_BODY, &secrets(list));
    assert_eq!(verified(&["the old one", SECRET]), Ok(()));
    assert_eq!(verified(&[SECRET, "the new one"]), Ok(()));
    assert_eq!(verified(&["the old one", "the new one"]), Err(SignatureError::WrongSignature));
    assert_eq!(verified(&[]), Err(SignatureError::WrongSignature));
}

#[test]
fn without_a_bearer_token_the_signature_is_missing() {
    assert_eq!(judged(&[]), Err(SignatureError::Missing));
    for header in ["", "Bearer", "Bearer ", "Basic YTpi", STATUS_TOKEN] {
        assert_eq!(judged(&[header]), Err(SignatureError::Missing), "{header}");
    }
}

#[test]
fn two_authorization_headers_are_one_too_many() {
    let header = format!("Bearer {STATUS_TOKEN}");
    assert_eq!(judged(&[&header, &header]), Err(SignatureError::Several));
    assert_eq!(judged(&["Basic YTpi", &header]), Err(SignatureError::Several));
}

#[test]
fn a_changed_body_is_noticed_to_the_byte() {
    let header = format!("Bearer {STATUS_TOKEN}");
    for index in 0..STATUS_BODY.len() {
        let mut body = STATUS_BODY.to_vec();
        body[index] ^= 1;
        assert_eq!(verify([header.as_bytes()], &body, &secrets(&[SECRET])), Err(SignatureError::BodyChanged));
    }
    for body in [b"".as_slice(), REPORT_BODY, &[STATUS_BODY, b"\n"].concat()] {
        assert_eq!(verify([header.as_bytes()], body, &secrets(&[SECRET])), Err(SignatureError::BodyChanged));
    }
}

#[test]
fn a_token_must_say_which_body_it_belongs_to() {
    for payload_hash in [Value::Null, json!("")] {
        let mut claims = claims();
        claims["payload_hash"] = payload_hash;
        assert_eq!(judged_token(&signed(&Header::default(), &claims)), Err(SignatureError::NoPayloadHash));
    }
    assert_eq!(judged_token(&signed(&Header::default(), &json!({}))), Err(SignatureError::NoPayloadHash));
    let short = json!({ "payload_hash": hash(STATUS_BODY).get(..63) });
    assert_eq!(judged_token(&signed(&Header::default(), &short)), Err(SignatureError::BodyChanged));
    let number = json!({ "payload_hash": 7 });
    assert_eq!(judged_token(&signed(&Header::default(), &number)), Err(SignatureError::Malformed));
}

#[test]
fn age_expiry_and_audience_of_a_token_do_not_count() {
    for (claim, value) in [
        ("iat", json!(0)),
        ("iat", json!(99_999_999_999_u64)),
        ("iat", json!("yesterday")),
        ("exp", json!(1)),
        ("nbf", json!(99_999_999_999_u64)),
        ("aud", json!("somebody else")),
        ("iss", json!(["x"])),
    ] {
        let mut claims = claims();
        claims[claim] = value;
        assert_eq!(judged_token(&signed(&Header::default(), &claims)), Ok(()), "{claims}");
    }
}

#[test]
fn only_hs256_counts_whatever_the_token_says() {
    for algorithm in [Algorithm::HS384, Algorithm::HS512] {
        assert_eq!(judged_token(&signed(&Header::new(algorithm), &claims())), Err(SignatureError::WrongAlgorithm));
    }
    for alg in ["none", "None", "RS256", "ES256", "hs256", "", "XX"] {
        let token = signed_with_header(&json!({ "alg": alg }));
        assert_eq!(judged_token(&token), Err(SignatureError::WrongAlgorithm), "{alg}");
        let unsigned = format!("{}.", token.rsplit_once('.').unwrap().0);
        assert_eq!(judged_token(&unsigned), Err(SignatureError::WrongAlgorithm), "{alg} without signature");
    }
    assert_eq!(judged_token(&signed_with_header(&json!({}))), Err(SignatureError::WrongAlgorithm));
}

#[test]
fn a_token_signed_with_a_private_key_is_not_taken_even_if_the_secret_is_its_public_key() {
    let private = EncodingKey::from_rsa_pem(include_bytes!("keys/test-only.pem")).unwrap();
    let token = jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims(), &private).unwrap();
    let header = format!("Bearer {token}");
    let public = secrets(&[include_str!("keys/test-only.pub.pem")]);
    assert_eq!(verify([header.as_bytes()], STATUS_BODY, &public), Err(SignatureError::WrongAlgorithm));
}

#[test]
fn an_empty_secret_cannot_be_configured_and_one_made_with_it_is_refused() {
    assert!(SignatureSecret::new("").is_err());
    let forged = jsonwebtoken::encode(&Header::default(), &claims(), &EncodingKey::from_secret(b"")).unwrap();
    assert_eq!(judged_token(&forged), Err(SignatureError::WrongSignature));
}

#[test]
fn a_token_must_not_bring_its_own_key_or_rules() {
    for field in ["crit", "jku", "jwk", "x5u", "x5c"] {
        let token = signed_with_header(&json!({ "alg": "HS256", field: ["https://evil.example/key"] }));
        assert_eq!(judged_token(&token), Err(SignatureError::OwnRules), "{field}");
    }
    let named = signed_with_header(&json!({ "alg": "HS256", "kid": "../../dev/null" }));
    assert_eq!(judged_token(&named), Ok(()), "a name of a key is passed over: the secret is ours all the same");
}

#[test]
fn what_is_no_jwt_is_refused() {
    let parts: Vec<&str> = STATUS_TOKEN.split('.').collect();
    let (header, claims, signature) = (parts[0], parts[1], parts[2]);
    for token in [
        "x".to_owned(),
        "..".to_owned(),
        format!("{header}.{claims}"),
        format!("{header}.{claims}.{signature}=="),
        format!("{header}.{claims}.{signature}.{signature}"),
        format!("{header}=.{claims}.{signature}"),
        format!("{header}.{claims}.{signature} {signature}"),
        format!("{claims} {header}.{claims}.{signature}"),
        format!("{header}.{claims}.{}", signature.replace('_', "/")),
        signed_with_header(&json!("HS256")),
    ] {
        assert_eq!(judged_token(&token), Err(SignatureError::Malformed), "{token}");
    }
    assert_eq!(judged_token("é.é.é"), Err(SignatureError::Malformed));
    assert_eq!(
        verify([b"Bearer \xff.\xff.\xff".as_slice()], STATUS_BODY, &secrets(&[SECRET])),
        Err(SignatureError::Malformed)
    );
}

#[test]
fn a_token_within_a_token_is_no_token() {
    assert_eq!(judged_token(&signed(&Header::default(), &json!(STATUS_TOKEN))), Err(SignatureError::Malformed));
}

#[test]
fn a_cut_or_foreign_signature_is_wrong() {
    let (message, signature) = STATUS_TOKEN.rsplit_once('.').unwrap();
    let other = REPORT_TOKEN.rsplit_once('.').unwrap().1;
    for signature in ["", signature.get(..4).unwrap(), other] {
        assert_eq!(judged_token(&format!("{message}.{signature}")), Err(SignatureError::WrongSignature));
    }
}

#[test]
fn a_token_has_a_limit() {
    let padded = |n_bytes: usize| {
        let mut claims = claims();
        claims["pad"] = json!("x".repeat(n_bytes));
        signed(&Header::default(), &claims)
    };
    assert_eq!(judged_token(&padded(2_500)), Ok(()));
    let long = padded(3_500);
    assert!(long.len() > TOKEN_BYTES_MAX);
    assert_eq!(judged_token(&long), Err(SignatureError::TooLong));
}

#[test]
fn a_secret_does_not_show_itself() {
    assert_eq!(format!("{:?}", secrets(&[SECRET])), "[SignatureSecret(…)]");
}

#[test]
fn the_moment_of_signing_is_known_for_whoever_asks_for_its_age() {
    let header = format!("Bearer {STATUS_TOKEN}");
    let genuine = signature::verify([header.as_bytes()], STATUS_BODY, &secrets(&[SECRET])).unwrap();
    let signed_at = Timestamp::from_millis(1_772_331_307_000);
    assert_eq!(genuine, Genuine { signed_at: Some(signed_at) });
    let (minute, second) = (Duration::from_mins(1), Duration::from_secs(1));
    assert!(genuine.is_fresh(signed_at.plus(minute), minute));
    assert!(!genuine.is_fresh(signed_at.plus(minute + second), minute), "a minute and a second ago");
    let early = Timestamp::from_millis(1_772_331_307_000 - 61_000);
    assert!(!genuine.is_fresh(early, minute), "by a clock that is a minute and a second ahead");
    assert!(!Genuine { signed_at: None }.is_fresh(signed_at, minute), "nobody knows when");
}
