//! The stories in `tests/scenarios`: what a person expects of an escalation.
//!
//! A new story is a new `.txt` file there with a plan and the lines at the margin. Playing all of them
//! with `UPDATE_SCENARIOS=1 cargo test --test it scenarios` writes the machine's answers below those
//! lines; they are reviewed like code.

use callout::escalation::step;

use crate::machine::{diff, differs_from_file, story};

#[test]
fn every_story_goes_as_it_is_written_and_breaks_no_rule() {
    let stories = story::all();
    assert!(!stories.is_empty());
    let mut problems = Vec::new();
    for (name, text) in stories {
        let played = story::play(&text, step);
        problems.extend(played.broken.into_iter().map(|broken| format!("tests/scenarios/{name}: {broken}")));
        problems.extend(differs_from_file(&name, &played.text));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn every_story_says_first_what_it_shows_and_then_shows_something() {
    for (name, text) in story::all() {
        assert!(text.starts_with("# "), "tests/scenarios/{name} does not begin with a sentence on what it shows");
        assert!(!story::play(&text, step).told.is_empty(), "tests/scenarios/{name} tells nothing");
    }
}

#[test]
fn an_answer_that_changed_is_shown_between_its_neighbours() {
    let told = "# A story.\nplan messages, repeat 0\n  Tony: sms 5:00\n\n0:00 raise\n0:00 turn\n";
    let played = story::play(told, step).text;
    assert_eq!(story::play(&played, step).text, played, "answers are written anew, not added");
    let expected = played.replace("0:30", "0:29");
    let shown =
        "  0:00 turn\n-         sending #1 until 0:29\n+         sending #1 until 0:30\n          send #1, try 1\n";
    assert!(diff(&expected, &played).contains(shown), "{}", diff(&expected, &played));
}
