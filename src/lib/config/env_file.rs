//! Files of variables, read as systemd reads an `EnvironmentFile`.
//!
//! One `NAME=VALUE` a line. Lines that begin with `#` or `;` are comments. A backslash at the end of a line joins it
//! with the next. Single quotes keep everything; inside double quotes a backslash keeps `"`, `\`, `` ` `` and `$`.

use std::iter::Peekable;
use std::str::Chars;

/// One variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Assignment {
    pub(super) name: String,
    pub(super) value: String,
    /// The line it begins on, counted from one.
    pub(super) line: usize,
}

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EnvFileError {
    pub(super) line: usize,
    pub(super) message: String,
}

/// Reads a whole file.
pub(super) fn parse(text: &str) -> Result<Vec<Assignment>, EnvFileError> {
    let mut reader = Reader { left: text.chars().peekable(), line: 1 };
    let mut assignments = Vec::new();
    while reader.skip_to_assignment() {
        assignments.push(reader.assignment()?);
    }
    Ok(assignments)
}

struct Reader<'a> {
    left: Peekable<Chars<'a>>,
    line: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.left.next();
        if c == Some('\n') {
            self.line += 1;
        }
        c
    }

    /// Skips blank lines and comments; false at the end.
    fn skip_to_assignment(&mut self) -> bool {
        while let Some(c) = self.left.peek() {
            match c {
                '#' | ';' => while self.next().is_some_and(|c| c != '\n') {},
                c if c.is_whitespace() => {
                    self.next();
                }
                _ => return true,
            }
        }
        false
    }

    fn assignment(&mut self) -> Result<Assignment, EnvFileError> {
        let line = self.line;
        let mut name = String::new();
        loop {
            match self.next() {
                Some('=') => break,
                Some('\n') | None => {
                    // Not shown: it may be a secret.
                    return Err(EnvFileError { line, message: "expected NAME=VALUE".to_owned() });
                }
                Some(c) => name.push(c),
            }
        }
        let name = name.trim_end().to_owned();
        let valid = |(at, c): (usize, char)| c == '_' || c.is_ascii_alphabetic() || at > 0 && c.is_ascii_digit();
        if name.is_empty() || !name.chars().enumerate().all(valid) {
            return Err(EnvFileError { line, message: format!("invalid variable name \"{}\"", name.escape_debug()) });
        }
        let value = self.value(line)?;
        Ok(Assignment { name, value, line })
    }

    /// The value up to the end of the line: quoted and plain pieces, one after the other.
    fn value(&mut self, line: usize) -> Result<String, EnvFileError> {
        let mut value = String::new();
        // Blanks count only when something follows them on the line.
        let mut blanks = String::new();
        loop {
            match self.next() {
                None | Some('\n') => break,
                Some('\\') => match self.next() {
                    // Joined with the next line.
                    None | Some('\n') => {}
                    Some(c) => {
                        value.push_str(&std::mem::take(&mut blanks));
                        value.push(c);
                    }
                },
                Some(c) if c.is_whitespace() => {
                    if !value.is_empty() {
                        blanks.push(c);
                    }
                }
                Some(quote @ ('"' | '\'')) => {
                    value.push_str(&std::mem::take(&mut blanks));
                    self.quoted(quote, &mut value, line)?;
                }
                Some(c) => {
                    value.push_str(&std::mem::take(&mut blanks));
                    value.push(c);
                }
            }
        }
        Ok(value)
    }

    fn quoted(&mut self, quote: char, value: &mut String, line: usize) -> Result<(), EnvFileError> {
        loop {
            match self.next() {
                None => return Err(EnvFileError { line, message: format!("missing closing {quote}") }),
                Some(c) if c == quote => return Ok(()),
                Some('\\') if quote == '"' => match self.next() {
                    Some('\n') | None => {}
                    Some(c @ ('"' | '\\' | '`' | '$')) => value.push(c),
                    Some(c) => value.extend(['\\', c]),
                },
                Some(c) => value.push(c),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values(text: &str) -> Vec<(String, String, usize)> {
        parse(text).unwrap().into_iter().map(|found| (found.name, found.value, found.line)).collect()
    }

    #[test]
    fn lines_read_as_systemd_reads_them() {
        for (text, value) in [
            ("A=b", "b"),
            ("A=b c  ", "b c"),
            ("A=", ""),
            ("A=  b", "b"),
            ("A='b $c \\n \"d\"'", "b $c \\n \"d\""),
            (r#"A="b \"c\" \\ \$d \x""#, r#"b "c" \ $d \x"#),
            ("A=b\\\nc", "bc"),
            ("A=\"b\nc\"", "b\nc"),
            (r"A=b\ c", "b c"),
            ("A=host=db user='a b'", "host=db user=a b"),
            ("A=b#c", "b#c"),
            ("A = b", "b"),
        ] {
            assert_eq!(values(text), [("A".to_owned(), value.to_owned(), 1)], "{text}");
        }
    }

    #[test]
    fn comments_and_blank_lines_are_skipped_and_lines_are_counted() {
        let text = "# one\n\n  ; two\nPGV_REPO=/srv\r\n  PGUSER=pgv\n# end";
        let expected = [("PGV_REPO", "/srv", 4), ("PGUSER", "pgv", 5)];
        assert_eq!(values(text), expected.map(|(name, value, line)| (name.to_owned(), value.to_owned(), line)));
    }

    #[test]
    fn other_lines_are_refused_with_their_line() {
        for (text, line, message) in [
            ("\nexport", 2, "expected NAME=VALUE"),
            ("export A=b", 1, "invalid variable name \"export A\""),
            ("=b", 1, "invalid variable name \"\""),
            ("1A=b", 1, "invalid variable name \"1A\""),
            ("A=b\nB='c\n\n", 2, "missing closing '"),
        ] {
            assert_eq!(parse(text), Err(EnvFileError { line, message: message.to_owned() }), "{text}");
        }
    }

    proptest! {
        #[test]
        fn single_quotes_keep_everything(value in "[^']{0,40}") {
            let text = format!("A='{value}'\n");
            prop_assert_eq!(&parse(&text).unwrap()[0].value, &value);
        }

        #[test]
        fn arbitrary_text_never_panics(text in "\\PC{0,80}|[A-Z=\"'\\\\\n ]{0,40}") {
            let _ = parse(&text);
        }
    }
}
