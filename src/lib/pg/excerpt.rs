//! Foreign text made fit for a message: bounded in length, control characters and quotes escaped.

/// LIMIT: characters of foreign text that a message shows.
const EXCERPT_CHARS_MAX: usize = 80;

/// `text` shortened and escaped, to be put between double quotes.
pub(crate) fn excerpt(text: &str) -> String {
    let mut shown = String::new();
    for (position, character) in text.chars().enumerate() {
        if position == EXCERPT_CHARS_MAX {
            shown.push_str("...");
            break;
        }
        // A single quote needs no escape between double quotes.
        if character == '\'' { shown.push(character) } else { shown.extend(character.escape_debug()) }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes_what_would_break_a_line_or_the_quotes() {
        assert_eq!(excerpt("a'b\"c\nd\u{1b}[0m"), "a'b\\\"c\\nd\\u{1b}[0m");
    }

    #[test]
    fn shortens_long_text() {
        assert_eq!(excerpt(&"x".repeat(80)), "x".repeat(80));
        assert_eq!(excerpt(&"x".repeat(81)), format!("{}...", "x".repeat(80)));
    }

    proptest! {
        #[test]
        fn is_one_bounded_line(text in "\\PC*|(?s).*") {
            let shown = excerpt(&text);
            prop_assert!(!shown.chars().any(char::is_control));
            prop_assert!(shown.chars().count() <= EXCERPT_CHARS_MAX * 10 + 3);
        }
    }
}
