//! Words of Vonage's, made fit to be kept and shown.
//!
//! What Vonage says about a failure is the operator's best hint, and may quote the number that was
//! called or the text that was sent. So everything that is known to be private is taken out, and so
//! is whatever looks like a phone number.

/// The most characters of a failure's detail.
pub(super) const DETAIL_CHARS_MAX: usize = 400;
/// The most characters of a failure's code; Vonage's longest fragment has about 20.
pub(super) const CODE_CHARS_MAX: usize = 40;
/// From this many digits on, a run of digits is taken for a phone number.
const NUMBER_DIGITS_MIN: usize = 7;
/// What stands in place of something private.
const HIDDEN: &str = "…";

/// One line of at most [`DETAIL_CHARS_MAX`] characters, without anything of `private` and without
/// phone numbers. Of `private`, what is too short to be told from ordinary words is left alone.
pub(super) fn presentable(words: &str, private: &[String]) -> Box<str> {
    let mut words = words.to_owned();
    for secret in private.iter().filter(|secret| secret.chars().count() >= 5) {
        words = words.replace(secret.as_str(), HIDDEN);
    }
    let words = without_numbers(&words);
    let words: Vec<&str> =
        words.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    shortened(&words.join(" "), DETAIL_CHARS_MAX).into()
}

/// A code that can stand in a metric or a log line as it is; none where it cannot be one.
pub(super) fn code(word: &str) -> Option<Box<str>> {
    let word = word.trim();
    let plain = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    // Seven digits in a row could be a number that somebody can be called on.
    let n_digits = word.bytes().filter(u8::is_ascii_digit).count();
    let fits = (1..=CODE_CHARS_MAX).contains(&word.len());
    if plain && fits && n_digits < NUMBER_DIGITS_MIN { Some(word.into()) } else { None }
}

fn shortened(words: &str, chars_max: usize) -> String {
    if words.chars().count() <= chars_max {
        return words.to_owned();
    }
    let mut kept: String = words.chars().take(chars_max.saturating_sub(1)).collect();
    kept.push_str(HIDDEN);
    kept
}

/// Replaces each run of seven digits or more, single spaces and hyphens between them included.
fn without_numbers(words: &str) -> String {
    let mut shown = String::with_capacity(words.len());
    let mut run = String::new();
    for character in words.chars() {
        let continues = character.is_ascii_digit()
            || (matches!(character, ' ' | '-') && run.ends_with(|c: char| c.is_ascii_digit()));
        if continues {
            run.push(character);
        } else {
            end_run(&mut shown, &mut run);
            shown.push(character);
        }
    }
    end_run(&mut shown, &mut run);
    shown
}

fn end_run(shown: &mut String, run: &mut String) {
    let n_digits = run.bytes().filter(u8::is_ascii_digit).count();
    if n_digits < NUMBER_DIGITS_MIN {
        shown.push_str(run);
    } else {
        shown.push_str(HIDDEN);
        if run.ends_with(' ') {
            shown.push(' ');
        }
    }
    run.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_vonage_quotes_is_not_kept() {
        for (said, kept) in [
            ("to 447700900001 is not usable", "to … is not usable"),
            ("to +44 7700 900-001 is not usable", "to +… is not usable"),
            ("code 1340, HTTP 422", "code 1340, HTTP 422"),
            ("447700900001", "…"),
        ] {
            assert_eq!(&*presentable(said, &[]), kept);
        }
    }

    #[test]
    fn what_is_known_to_be_private_is_not_kept() {
        let private = ["PSID_abcdef".to_owned(), "Main server is down".to_owned()];
        let said = "Recipient PSID_abcdef\nrefused: \"Main server is down\"";
        assert_eq!(&*presentable(said, &private), "Recipient … refused: \"…\"");
    }

    #[test]
    fn long_words_are_cut() {
        let kept = presentable(&"é".repeat(1_000), &[]);
        assert_eq!(kept.chars().count(), DETAIL_CHARS_MAX);
        assert!(kept.ends_with('…'));
    }

    #[test]
    fn a_code_is_a_short_plain_word() {
        assert_eq!(code(" 1340 ").as_deref(), Some("1340"));
        assert_eq!(code("low-balance").as_deref(), Some("low-balance"));
        assert_eq!(code("447700900001"), None);
        assert_eq!(code("two words"), None);
        assert_eq!(code(""), None);
        assert_eq!(code(&"x".repeat(CODE_CHARS_MAX + 1)), None);
    }
}
