//! What callout proves itself with, and what others prove themselves with to callout.
//!
//! A key that cannot sign is found here, when the configuration is read, and not when the first
//! alert must be sent. No message holds any part of a key.

use std::io;
use std::path::{Path, PathBuf};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use uuid::Uuid;

use super::problem::{Place, Report, quoted};
use super::secret::Secret;
use super::section::Given;

/// The most bytes of a file with a private key; an RSA key of 16384 bits needs a fifth of it.
pub const KEY_BYTES_MAX: usize = 64 * 1024;
/// The fewest characters of a signature secret that withstands guessing: 256 bits, as long as the
/// hash of HS256 (RFC 7518, section 3.2).
pub const SIGNATURE_SECRET_CHARS_ADVISED: usize = 32;

/// Reads a small file in full; the second argument is the most bytes that are wanted. The
/// configuration is handed this, so that it can be read without a disk.
pub type ReadFile<'a> = &'a dyn Fn(&Path, usize) -> io::Result<Vec<u8>>;

pub(super) fn application_id(given: Given<'_>, report: &mut Report) -> Option<Box<str>> {
    let text = given.text.trim();
    if let Ok(uuid) = Uuid::try_parse(text) {
        return Some(uuid.hyphenated().to_string().into());
    }
    let hint = "the id of your Vonage application, for example 11111111-2222-4333-8444-555555555555";
    let message = if text.ends_with("...") || text.starts_with("abcd1234") {
        "the application id still holds the tutorial's placeholder".to_owned()
    } else {
        format!("the application id {} is not a UUID", quoted(given.written))
    };
    report.error_with_hint(given.place, message, Some(hint.into()));
    None
}

/// The private key that a file names. PEM text in place of a path is taken as the key itself, so
/// that a file may say `${NAME}`.
pub(super) fn private_key_of_file(given: Given<'_>, read_file: ReadFile<'_>, report: &mut Report) -> Option<Secret> {
    let text = given.text.trim();
    if text.starts_with("-----BEGIN") {
        return private_key(given.text, given.place, report);
    }
    if text.is_empty() {
        report.error_with_hint(given.place, "`private_key` is empty", Some("the path of a PEM file".into()));
        return None;
    }
    let path = match given.folder {
        Some(folder) => folder.join(text),
        None => PathBuf::from(text),
    };
    let shown = quoted(&path.display().to_string());
    let bytes = match read_file(&path, KEY_BYTES_MAX.saturating_add(1)) {
        Ok(bytes) => bytes,
        Err(error) => {
            let hint = "the path is relative to the configuration; CALLOUT_PRIVATE_KEY can hold the key instead";
            report.error_with_hint(
                given.place,
                format!("the private key {shown}: {}", reason(&error)),
                Some(hint.into()),
            );
            return None;
        }
    };
    if bytes.len() > KEY_BYTES_MAX {
        report.error(given.place, format!("the private key {shown} is larger than {} KiB", KEY_BYTES_MAX / 1024));
        return None;
    }
    private_key(&String::from_utf8_lossy(&bytes), given.place, report)
}

/// Checks that a PEM text is a key that signs. `\n` written out counts as a line feed where the
/// text has none, since that is how some environments carry a key.
pub(super) fn private_key(text: &str, place: Place, report: &mut Report) -> Option<Secret> {
    let text = text.trim();
    let text = if text.contains('\n') { text.to_owned() } else { text.replace("\\n", "\n") };
    let signs = EncodingKey::from_rsa_pem(text.as_bytes())
        .and_then(|key| jsonwebtoken::encode(&Header::new(Algorithm::RS256), &serde_json::json!({}), &key))
        .is_ok();
    if signs {
        return Some(Secret::new(text));
    }
    let hint = if text.contains("-----BEGIN PUBLIC KEY") || text.contains("-----BEGIN RSA PUBLIC KEY") {
        "this is the public key; the private one is needed, which Vonage gave when the application was made"
    } else if text.contains("-----BEGIN CERTIFICATE") {
        "this is a certificate; the private key of the Vonage application is needed"
    } else if text.contains("-----BEGIN ENCRYPTED") || text.contains("Proc-Type: 4,ENCRYPTED") {
        "this key has a passphrase; a key without one is needed"
    } else if text.contains("-----BEGIN OPENSSH") {
        "this is an SSH key; the private key of the Vonage application is needed"
    } else {
        "it begins with -----BEGIN PRIVATE KEY----- or -----BEGIN RSA PRIVATE KEY-----"
    };
    report.error_with_hint(place, "the private key is not an RSA private key in PEM form", Some(hint.into()));
    None
}

/// What went wrong with a file, in words that are the same on each system where they can be.
pub(super) fn reason(error: &io::Error) -> String {
    let kind = error.kind();
    if kind == io::ErrorKind::NotFound {
        "there is no such file".to_owned()
    } else if kind == io::ErrorKind::PermissionDenied {
        "may not be read by this user".to_owned()
    } else if kind == io::ErrorKind::IsADirectory {
        "is a folder".to_owned()
    } else {
        format!("cannot be read: {error}")
    }
}

pub(super) fn signature_secret(given: Given<'_>, report: &mut Report) -> Option<Secret> {
    let text = given.text.trim();
    if text.is_empty() {
        report.error_with_hint(
            given.place,
            "the signature secret is empty",
            Some("leave it out to check nothing".into()),
        );
        return None;
    }
    let n_chars = text.chars().count();
    if n_chars < SIGNATURE_SECRET_CHARS_ADVISED {
        let message = format!("the signature secret has {n_chars} characters");
        let hint = format!("{SIGNATURE_SECRET_CHARS_ADVISED} or more keep others from guessing it");
        report.warning(given.place, message, hint);
    }
    Some(Secret::new(text))
}
