//! One line of a configuration file: the lexer of `src/backend/utils/misc/guc-file.l`.
//!
//! INVARIANT: the longest match counts, as it does for the server; a line that the server refuses is refused.

/// A line is not empty, not a comment and not a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LineSyntaxError;

/// The lines of a text, each with its line break.
pub(super) fn split_lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|&byte| byte == b'\n')
}

/// Name and value of one line; none for an empty line or a comment.
pub(super) fn parse_line(line: &[u8]) -> Result<Option<(String, Vec<u8>)>, LineSyntaxError> {
    let mut lexer = Lexer(line.strip_suffix(b"\n").unwrap_or(line));
    let name = match lexer.next()? {
        Token::End => return Ok(None),
        Token::Identifier(name) => String::from_utf8_lossy(name).into_owned(),
        _ => return Err(LineSyntaxError),
    };
    let value = match lexer.next()? {
        Token::Equals => lexer.next()?,
        token => token,
    };
    let value = match value {
        // An identifier with a point can be a name; a value it is only as the quoted text.
        Token::Identifier(text) if text.contains(&b'.') => return Err(LineSyntaxError),
        Token::Identifier(text) | Token::Plain(text) => text.to_vec(),
        Token::Quoted(text) => {
            let mut value = unescape(text);
            // An escaped zero byte ends the value, as the server keeps it in a C string.
            value.truncate(run_length(&value, |byte| byte != 0));
            value
        }
        Token::Equals | Token::End => return Err(LineSyntaxError),
    };
    match lexer.next()? {
        Token::End => Ok(Some((name, value))),
        _ => Err(LineSyntaxError),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    /// A name, or two with a point between them.
    Identifier(&'a [u8]),
    /// A number, perhaps with a unit, or an unquoted text.
    Plain(&'a [u8]),
    /// The inside of a quoted text.
    Quoted(&'a [u8]),
    Equals,
    /// The end of the line, or a comment.
    End,
}

struct Lexer<'a>(&'a [u8]);

impl<'a> Lexer<'a> {
    fn next(&mut self) -> Result<Token<'a>, LineSyntaxError> {
        self.skip(|byte| matches!(byte, b' ' | b'\t' | b'\r'));
        let start = self.0;
        match start.first() {
            None | Some(b'#') => Ok(Token::End),
            Some(b'=') => {
                self.advance(1);
                Ok(Token::Equals)
            }
            Some(b'\'') => self.quoted(),
            Some(&byte) if is_letter(byte) => Ok(self.word()),
            Some(_) => {
                let length = integer_length(start).max(real_length(start));
                if length == 0 { Err(LineSyntaxError) } else { Ok(Token::Plain(self.advance(length))) }
            }
        }
    }

    /// Takes the next `count` bytes.
    fn advance(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at_checked(count).unwrap_or((self.0, &[]));
        self.0 = rest;
        taken
    }

    fn skip(&mut self, matches: impl Fn(u8) -> bool) -> &'a [u8] {
        self.advance(run_length(self.0, matches))
    }

    fn word(&mut self) -> Token<'a> {
        let word = self.skip(|byte| is_letter_or_digit(byte) || matches!(byte, b'-' | b'.' | b':' | b'/'));
        let is_identifier =
            |part: &[u8]| part.first().copied().is_some_and(is_letter) && part.iter().copied().all(is_letter_or_digit);
        let parts = word.split(|&byte| byte == b'.');
        if parts.clone().count() <= 2 && parts.clone().all(is_identifier) {
            Token::Identifier(word)
        } else {
            Token::Plain(word)
        }
    }

    fn quoted(&mut self) -> Result<Token<'a>, LineSyntaxError> {
        self.advance(1);
        let inside = self.0;
        loop {
            self.skip(|byte| !matches!(byte, b'\'' | b'\\' | 0));
            match self.0 {
                [b'\\', 0, ..] => return Err(LineSyntaxError),
                [b'\\', _, ..] | [b'\'', b'\'', ..] => self.advance(2),
                [b'\'', rest @ ..] => {
                    let length = inside.len().saturating_sub(self.0.len());
                    self.0 = rest;
                    return Ok(Token::Quoted(inside.get(..length).unwrap_or_default()));
                }
                _ => return Err(LineSyntaxError),
            };
        }
    }
}

fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn is_letter_or_digit(byte: u8) -> bool {
    is_letter(byte) || byte.is_ascii_digit()
}

fn run_length(text: &[u8], matches: impl Fn(u8) -> bool) -> usize {
    text.iter().position(|&byte| !matches(byte)).unwrap_or(text.len())
}

fn after(text: &[u8], count: usize) -> &[u8] {
    text.get(count..).unwrap_or_default()
}

fn sign_length(text: &[u8]) -> usize {
    usize::from(matches!(text.first(), Some(b'+' | b'-')))
}

fn digits_length(text: &[u8]) -> usize {
    run_length(text, |byte| byte.is_ascii_digit())
}

/// Length of a whole number with the letters of a unit; zero when there is none.
fn integer_length(text: &[u8]) -> usize {
    let sign = sign_length(text);
    let unsigned = after(text, sign);
    let hexadecimal = match unsigned {
        [b'0', b'x', digits @ ..] => run_length(digits, |byte| byte.is_ascii_hexdigit()),
        _ => 0,
    };
    let number = if hexadecimal > 0 { hexadecimal.saturating_add(2) } else { digits_length(unsigned) };
    if number == 0 {
        return 0;
    }
    let unit = run_length(after(unsigned, number), |byte| byte.is_ascii_alphabetic());
    sign.saturating_add(number).saturating_add(unit)
}

/// Length of a number with a point, perhaps with an exponent; zero when there is none.
fn real_length(text: &[u8]) -> usize {
    let sign = sign_length(text);
    let whole = digits_length(after(text, sign));
    let point = sign.saturating_add(whole);
    if after(text, point).first() != Some(&b'.') {
        return 0;
    }
    let fraction = digits_length(after(text, point.saturating_add(1)));
    let number = point.saturating_add(1).saturating_add(fraction);
    let exponent = match after(text, number) {
        [b'e' | b'E', rest @ ..] => {
            let sign = sign_length(rest);
            let digits = digits_length(after(rest, sign));
            if digits > 0 { sign.saturating_add(digits).saturating_add(1) } else { 0 }
        }
        _ => 0,
    };
    number.saturating_add(exponent)
}

/// Undoes the escapes inside quotes: doubled quotes, letters as in C, up to three octal digits.
fn unescape(inside: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(inside.len());
    let mut rest = inside;
    loop {
        rest = match rest {
            [] => return value,
            [b'\\', digit @ b'0'..=b'7', tail @ ..] => {
                let more = run_length(tail.get(..2).unwrap_or(tail), |byte| matches!(byte, b'0'..=b'7'));
                let digits = tail.iter().take(more);
                let octal = |number: u8, digit: &u8| number.wrapping_mul(8).wrapping_add(digit - b'0');
                value.push(digits.fold(digit - b'0', octal));
                after(tail, more)
            }
            [b'\\', escaped, tail @ ..] => {
                value.push(match escaped {
                    b'b' => 0x08,
                    b'f' => 0x0c,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    other => *other,
                });
                tail
            }
            [b'\'', b'\'', tail @ ..] => {
                value.push(b'\'');
                tail
            }
            [byte, tail @ ..] => {
                value.push(*byte);
                tail
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(line: &str) -> Option<Vec<u8>> {
        match parse_line(line.as_bytes()) {
            Ok(Some((name, value))) => {
                assert_eq!(name, "x", "{line}");
                Some(value)
            }
            Ok(None) => panic!("{line}: nothing"),
            Err(LineSyntaxError) => None,
        }
    }

    /// Accepted lines with what a server of version 15 answers to `postgres -C x` for them.
    #[test]
    fn reads_values_as_the_server_does() {
        for (line, wanted) in [
            ("x = on", "on"),
            ("x=on\n", "on"),
            ("  x\ton\r\n", "on"),
            ("x 'on'#c", "on"),
            ("x'on'", "on"),
            ("x = 1", "1"),
            ("x = -1", "-1"),
            ("x = +0x1Fk", "+0x1Fk"),
            ("x = 0x", "0x"),
            ("x = 128MB", "128MB"),
            ("x = .5", ".5"),
            ("x = 1.", "1."),
            ("x = -1.5e-3", "-1.5e-3"),
            ("x = pg_catalog-a:b/c", "pg_catalog-a:b/c"),
            ("x = a.b.c", "a.b.c"),
            ("x = a.1", "a.1"),
            ("x = ''", ""),
            ("x = ''''", "'"),
            ("x = 'it''s'", "it's"),
            (r"x = 'it\'s'", "it's"),
            (r"x = 'a\\b'", r"a\b"),
            (r"x = 'a\b\f\n\r\t\q'", "a\u{8}\u{c}\n\r\tq"),
            (r"x = '\101\1012\7\108'", "AA2\u{7}\u{8}8"),
            (r"x = '\60\608'", "008"),
            (r"x = 'a\0b'", "a"),
            (r"x = '\18'", "\u{1}8"),
            ("x = '# no comment'", "# no comment"),
            ("x = 'a=b;c'", "a=b;c"),
        ] {
            assert_eq!(value(line), Some(wanted.as_bytes().to_vec()), "{line}");
        }
        assert_eq!(value(r"x = '\777'"), Some(vec![0xff]));
    }

    #[test]
    fn refuses_lines_that_the_server_refuses() {
        for line in [
            "x",
            "x =",
            "x = = 1",
            "x = 1 2",
            "x = 1e5",
            "x = 1.5s",
            "x = 'a",
            "x = 'a\\'",
            "x = a b",
            "x = 'a' 'b'",
            "x = a,b",
            "x = $a",
            "x = \"a\"",
            "x = (1)",
            "x = a.b",
            "x = 'a\0b'",
            "x = 'a\\\0b'",
            "x\0 = 1",
            "1 = 1",
            "= 1",
            "'x' = 1",
            "x-y = 1",
            "a.b.c = 1",
            ". = 1",
            "- = 1",
        ] {
            assert_eq!(value(line), None, "{line}");
        }
    }

    #[test]
    fn finds_nothing_in_empty_lines_and_comments() {
        for line in ["", "\n", " \t\r\n", "# x = 1", "  #x=1\n", "#\0"] {
            assert_eq!(parse_line(line.as_bytes()), Ok(None), "{line}");
        }
        assert_eq!(parse_line(b"a.b = 1"), Ok(Some(("a.b".to_owned(), b"1".to_vec()))));
        assert_eq!(parse_line(b"_\xe4$ = 1"), Err(LineSyntaxError));
    }

    #[test]
    fn splits_lines_without_losing_a_byte() {
        let text = b"a\n\nb\r\nc";
        assert_eq!(split_lines(text).collect::<Vec<_>>(), [&b"a\n"[..], b"\n", b"b\r\n", b"c"]);
        assert_eq!(split_lines(b"").count(), 0);
    }
}
