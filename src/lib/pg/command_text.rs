//! Text of the commands that PostgreSQL runs through the shell (`src/common/percentrepl.c`).
//!
//! ORDER: a word is quoted for the shell, then its `%` are doubled for PostgreSQL, and the whole command is quoted for
//! the configuration file last (`config_text`). The readers undo it the other way round.

/// A word of a command that PostgreSQL runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandWord<'a> {
    /// Reaches the program exactly as it is.
    Text(&'a str),
    /// A letter that PostgreSQL replaces, as `f` for `%f`: it puts in names without blanks or quotes.
    Placeholder(char),
}

/// The command of these words, for `restore_command` and its kind.
pub fn command_text(words: &[CommandWord<'_>]) -> String {
    let word = |word: &CommandWord<'_>| match word {
        CommandWord::Text(text) => percent_escape(&shell_quote(text)),
        CommandWord::Placeholder(letter) => format!("%{letter}"),
    };
    words.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// `text` as one word of a POSIX shell; as it is where no shell would touch it.
pub fn shell_quote(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ',' | ':' | '@' | '+' | '%');
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Whether a shell takes something in the text for more than itself where it stands in double quotes, as `pg_ctl` hands
/// the data directory and the log file to one.
pub fn is_touched_in_double_quotes(text: &str) -> bool {
    text.contains(['$', '`', '"', '\\'])
}

/// `text` as a shell must get it between double quotes.
pub fn escape_in_double_quotes(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '$' | '`' | '"' | '\\') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// `text` with `%` doubled, so that PostgreSQL takes none for a placeholder.
pub fn percent_escape(text: &str) -> String {
    text.replace('%', "%%")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    /// What the shell makes of one word.
    fn through_the_shell(quoted: &str) -> String {
        let output = Command::new("sh").arg("-c").arg(format!("printf %s {quoted}")).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{quoted}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn the_shell_reads_back_what_is_escaped_for_double_quotes() {
        for text in ["plain", "it's", r#"a $HOME `id` "q" \b \"#, r"\\$(x)"] {
            assert_eq!(through_the_shell(&format!("\"{}\"", escape_in_double_quotes(text))), text);
            assert_eq!(is_touched_in_double_quotes(text), escape_in_double_quotes(text) != text);
        }
    }

    #[test]
    fn the_shell_reads_back_every_quoted_word() {
        for text in [
            "",
            "plain/path-1.0_x",
            "with space",
            "it's",
            "'",
            "''",
            "\"double\"",
            "$HOME `id` $(id)",
            "back\\slash\\",
            "100%",
            "a;b&c|d>e<f",
            "*?[a]{b,c}~",
            "!bang #hash",
            "line\nbreak\ttab",
            "-n",
            "~root",
            "a=b",
            "\u{e4}\u{1f600}",
        ] {
            assert_eq!(through_the_shell(&shell_quote(text)), text);
        }
        assert_eq!(shell_quote("/usr/bin/pgv-fetch"), "/usr/bin/pgv-fetch");
    }

    #[test]
    fn quotes_for_the_shell_and_then_for_percent() {
        use CommandWord::{Placeholder, Text};
        let words = [Text("/opt/100 %f/pgv-fetch"), Text("--repo"), Text("50%"), Placeholder('f'), Placeholder('p')];
        assert_eq!(command_text(&words), "'/opt/100 %%f/pgv-fetch' --repo 50%% %f %p");
        assert_eq!(command_text(&[]), "");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn any_text_is_one_word(text in "[^\0]{0,40}") {
            prop_assert_eq!(through_the_shell(&shell_quote(&text)), text);
        }
    }

    proptest! {
        #[test]
        fn doubling_can_be_undone(text in "[%a-c]{0,20}") {
            prop_assert_eq!(percent_escape(&text).replace("%%", "%"), text);
        }
    }
}
