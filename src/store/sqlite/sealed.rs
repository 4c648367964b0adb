//! Seals on records, so that a bit that a disk turned over is noticed and not believed.
//!
//! SQLite checks the order of its pages but not what stands in them: a record in which a letter has
//! changed would be read as if somebody had written it so. A seal is a part of the hash of the record and
//! of the row that it belongs to, and stands behind it on a line of its own; JSON as it is written here
//! has no second line. A migration that
//! looks into a record must leave that line out. Records without a seal are from before there were any, and are taken as they are.

use crate::hash::{hex, sha256_of};

/// The digits of a seal, four bits each. It is against accidents, not against forgers.
const SEAL_DIGITS: usize = 16;

/// The record is not what was written, or not where it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its seal does not fit: the file was damaged after it was written")]
pub(super) struct Damaged;

/// Puts the seal behind a record that belongs to `place`.
pub(super) fn seal(record: &str, place: &[&[u8]]) -> String {
    let seal = seal_of(record, place);
    let mut sealed = String::with_capacity(record.len() + 1 + seal.len());
    sealed.push_str(record);
    sealed.push('\n');
    sealed.push_str(&seal);
    sealed
}

/// The record, if it is what was written at `place`.
pub(super) fn unseal<'a>(sealed: &'a str, place: &[&[u8]]) -> Result<&'a str, Damaged> {
    match sealed.rsplit_once('\n') {
        None => Ok(sealed),
        Some((record, seal)) if seal == seal_of(record, place) => Ok(record),
        Some(_) => Err(Damaged),
    }
}

fn seal_of(record: &str, place: &[&[u8]]) -> String {
    let mut seal = hex(&sha256_of(place.iter().copied().chain([record.as_bytes()])));
    seal.truncate(SEAL_DIGITS);
    seal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_what_was_written_where_it_was_written_or_it_is_nothing() {
        let place: &[&[u8]] = &[&[1], b"id"];
        let sealed = seal("{\"a\":1}", place);
        assert_eq!(unseal(&sealed, place), Ok("{\"a\":1}"));
        assert_eq!(unseal(&sealed, &[&[2], b"id"]), Err(Damaged));
        assert_eq!(unseal(&sealed.replace('1', "3"), place), Err(Damaged));
        assert_eq!(unseal("{\"old\":1}", place), Ok("{\"old\":1}"), "there were no seals once");
    }
}
