//! "Did you mean …?": the known word that a mistyped one is nearest to.

/// The word of `known` that `written` is probably meant to be, if one is near enough: a third of
/// its letters may differ.
pub(super) fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written = written.trim().to_lowercase();
    known
        .into_iter()
        .map(|word| (distance(&written, &word.to_lowercase()), word))
        .filter(|(distance, word)| *distance <= word.chars().count().div_ceil(3))
        .min_by_key(|(distance, _word)| *distance)
        .map(|(_distance, word)| word)
}

/// The hint for a word that is none of `known`: the nearest one, else all of them.
pub(super) fn hint(written: &str, introduction: &str, known: &[&str]) -> Box<str> {
    match nearest(written, known.iter().copied()) {
        Some(word) => format!("did you mean `{word}`?").into(),
        None => format!("{introduction} {}", listed(known)).into(),
    }
}

/// The words in a row, as a sentence lists them.
pub(super) fn listed(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [init @ .., last] => format!("{} and {last}", init.join(", ")),
    }
}

/// The number of letters to insert, remove, replace or swap with a neighbour.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut before_previous: Vec<usize> = Vec::new();
    let mut previous: Vec<usize> = (0..=right.len()).collect();
    let mut last_of_left = None;
    for (row, from_left) in left.chars().take(LETTERS_MAX).enumerate() {
        let mut current = vec![row + 1];
        for (column, from_right) in right.iter().copied().enumerate() {
            let at = |line: &[usize], index: usize| line.get(index).copied().unwrap_or(usize::MAX - 1);
            let replaced = at(&previous, column) + usize::from(from_left != from_right);
            let removed = at(&previous, column + 1) + 1;
            let inserted = at(&current, column) + 1;
            let swaps = column > 0
                && right.get(column - 1) == Some(&from_left)
                && last_of_left == Some(from_right)
                && from_left != from_right;
            let swapped = if swaps { at(&before_previous, column - 1) + 1 } else { usize::MAX };
            current.push(replaced.min(removed).min(inserted).min(swapped));
        }
        before_previous = std::mem::replace(&mut previous, current);
        last_of_left = Some(from_left);
    }
    previous.last().copied().unwrap_or(usize::MAX)
}

/// No known word is nearly so long; what is written may be.
const LETTERS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const CHANNELS: [&str; 4] = ["messenger", "viber_service", "whatsapp", "sms"];

    #[test]
    fn a_slip_of_the_finger_finds_the_word_that_was_meant() {
        for (written, meant) in [
            ("watsapp", "whatsapp"),
            ("WhatsApp", "whatsapp"),
            ("messanger", "messenger"),
            ("smss", "sms"),
            ("mss", "sms"),
        ] {
            assert_eq!(nearest(written, CHANNELS), Some(meant), "{written}");
        }
    }

    #[test]
    fn an_unlike_word_finds_nothing_and_the_hint_lists_all() {
        assert_eq!(nearest("pigeon", CHANNELS), None);
        assert_eq!(nearest(&"x".repeat(5_000), CHANNELS), None);
        assert_eq!(
            &*hint("pigeon", "the channels are", &CHANNELS),
            "the channels are messenger, viber_service, whatsapp and sms"
        );
    }
}
