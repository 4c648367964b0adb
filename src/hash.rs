//! The one hash of callout: what is kept instead of a secret, and what names what is long.

use aws_lc_rs::digest;

/// SHA-256 of some bytes.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    sha256_of([bytes])
}

/// SHA-256 of what stands in several places, one after the other.
pub fn sha256_of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// Bytes as hexadecimal digits, two for each. It is made for every record and every webhook, so it does not go
/// through the formatting of numbers.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]).map(digit).collect()
}

fn digit(value: u8) -> char {
    char::from_digit(value.into(), 16).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_one_that_others_compute() {
        let written: String = sha256(b"abc").iter().map(|byte| format!("{byte:02x}")).collect();
        // FIPS 180-4, the example with one block.
        assert_eq!(written, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(hex(&sha256_of([&b"a"[..], b"", b"bc"])), written, "in parts as in one piece");
    }
}
