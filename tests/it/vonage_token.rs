//! Our token for Vonage, and the key that signs it.

use callout::timestamp::Timestamp;
use callout::vonage::token::{LIFE, RENEWED_AFTER, Token, Tokens};
use callout::vonage::{PrivateKey, PrivateKeyError};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;

use crate::vonage_fixture::NOW;

const APPLICATION: &str = "11111111-2222-4333-8444-555555555555";

/// Reads a token of ours with the public key, which also proves its signature; its age is not judged.
pub(crate) fn claims_of(token: &str) -> Value {
    let mut validation = Validation::new(Algorithm::RS256);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    let key = DecodingKey::from_rsa_pem(include_bytes!("keys/test-only.pub.pem")).unwrap();
    jsonwebtoken::decode(token, &key, &validation).unwrap().claims
}

fn tokens() -> Tokens {
    Tokens::new(APPLICATION.into(), PrivateKey::from_pem(include_str!("keys/test-only.pem")).unwrap())
}

fn claims(token: &Token) -> Value {
    claims_of(token.reveal())
}

#[test]
fn a_token_says_who_we_are_and_how_long_it_is_good() {
    let token = claims(&tokens().token(NOW).unwrap());
    let now = NOW.as_millis() / 1_000;
    assert_eq!(token["application_id"], APPLICATION);
    assert_eq!(token["iat"], now - 10, "a little in the past, for hosts whose clock is fast");
    assert_eq!(token["exp"], now - 10 + 900);
    assert!(uuid::Uuid::try_parse(token["jti"].as_str().unwrap()).is_ok());
    assert_eq!(token.as_object().unwrap().len(), 4);
}

#[test]
fn one_token_serves_many_sends_until_it_is_well_within_its_life() {
    let tokens = tokens();
    let first = tokens.token(NOW).unwrap();
    let last_moment = NOW.as_millis() + i64::try_from(RENEWED_AFTER.as_millis()).unwrap() - 1;
    assert_eq!(tokens.token(Timestamp::from_millis(last_moment)).unwrap(), first);
    let second = tokens.token(NOW.plus(RENEWED_AFTER)).unwrap();
    assert_ne!(second, first);
    assert_ne!(claims(&second)["jti"], claims(&first)["jti"]);
    assert!(RENEWED_AFTER * 3 < LIFE * 2, "a third of its life is left to the slowest send");
}

#[test]
fn a_clock_that_was_set_back_makes_a_new_token() {
    let tokens = tokens();
    let first = tokens.token(NOW).unwrap();
    let earlier = Timestamp::from_millis(NOW.as_millis() - 1);
    assert_ne!(tokens.token(earlier).unwrap(), first, "Vonage refuses a token from the future");
}

#[test]
fn a_refused_token_is_not_used_again_and_takes_no_other_with_it() {
    let tokens = tokens();
    let first = tokens.token(NOW).unwrap();
    tokens.forget(&first);
    let second = tokens.token(NOW).unwrap();
    assert_ne!(second, first);
    tokens.forget(&first);
    assert_eq!(tokens.token(NOW).unwrap(), second, "a late refusal of the first says nothing of the second");
}

#[test]
fn a_key_is_read_in_both_forms_and_with_space_around_it() {
    for pem in [include_str!("keys/test-only.pem"), include_str!("keys/test-only-pkcs1.pem")] {
        for pem in [pem.to_owned(), format!("\n  {pem}\n\n"), pem.replace('\n', "\r\n")] {
            let tokens = Tokens::new(APPLICATION.into(), PrivateKey::from_pem(&pem).unwrap());
            assert_eq!(claims(&tokens.token(NOW).unwrap())["application_id"], APPLICATION);
        }
    }
}

#[test]
fn what_cannot_sign_is_refused_with_the_reason() {
    let cut: String = include_str!("keys/test-only.pem").lines().take(5).collect();
    for (text, reason) in [
        ("", PrivateKeyError::NotAPrivateKey),
        ("private.key", PrivateKeyError::NotAPrivateKey),
        (&cut, PrivateKeyError::NotAPrivateKey),
        (include_str!("keys/test-only-ec.pem"), PrivateKeyError::NotAPrivateKey),
        (include_str!("keys/test-only.pub.pem"), PrivateKeyError::Public),
        (
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----",
            PrivateKeyError::Encrypted,
        ),
        (include_str!("keys/test-only-1024.pem"), PrivateKeyError::CannotSign),
        ("-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----", PrivateKeyError::NotAPrivateKey),
    ] {
        assert_eq!(PrivateKey::from_pem(text).err(), Some(reason), "{text}");
    }
}

#[test]
fn neither_key_nor_token_shows_itself() {
    let tokens = tokens();
    let token = tokens.token(NOW).unwrap();
    assert_eq!(format!("{token:?}"), "Token(…)");
    let shown = format!("{tokens:?}");
    assert!(shown.contains("PrivateKey(…)") && !shown.contains(token.reveal()), "{shown}");
}
