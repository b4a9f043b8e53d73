//! Splits Rust source into tokens: enough to see paths, items and braces, with comments and literals out of the way.

/// One token and the line it stands on, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
}

impl Token {
    /// Whether this is a name or a keyword.
    pub(crate) fn is_word(&self) -> bool {
        self.text.starts_with(|c: char| c == '_' || c.is_alphabetic())
    }
}

struct Lexer {
    characters: Vec<char>,
    position: usize,
    line: usize,
    tokens: Vec<Token>,
}

/// Names, numbers, `::` and single punctuation marks. A plain string becomes `"` and its text, another literal `"`
/// alone; a lifetime vanishes.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { characters: text.chars().collect(), position: 0, line: 1, tokens: Vec::new() };
    while let Some(character) = lexer.peek(0) {
        lexer.step(character);
    }
    lexer.tokens
}

impl Lexer {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.characters.get(self.position + ahead).copied()
    }

    fn advance(&mut self) -> Option<char> {
        let character = self.peek(0)?;
        self.position += 1;
        if character == '\n' {
            self.line += 1;
        }
        Some(character)
    }

    fn push(&mut self, text: impl Into<String>, line: usize) {
        self.tokens.push(Token { text: text.into(), line });
    }

    fn step(&mut self, character: char) {
        let line = self.line;
        match (character, self.peek(1)) {
            ('/', Some('/')) => {
                while self.peek(0).is_some_and(|c| c != '\n') {
                    self.advance();
                }
            }
            ('/', Some('*')) => self.skip_block_comment(),
            ('"', _) => self.quoted(),
            ('\'', _) => self.character_or_lifetime(),
            (':', Some(':')) => {
                self.position += 2;
                self.push("::", line);
            }
            (c, _) if c == '_' || c.is_alphanumeric() => self.word(),
            (c, _) => {
                self.advance();
                if !c.is_whitespace() {
                    self.push(c, line);
                }
            }
        }
    }

    fn skip_block_comment(&mut self) {
        let mut depth = 0_usize;
        while let Some(character) = self.peek(0) {
            match (character, self.peek(1)) {
                ('/', Some('*')) => {
                    depth += 1;
                    self.position += 2;
                }
                ('*', Some('/')) => {
                    depth -= 1;
                    self.position += 2;
                    if depth == 0 {
                        return;
                    }
                }
                _ => {
                    self.advance();
                }
            }
        }
    }

    fn quoted(&mut self) {
        let line = self.line;
        let mut text = String::from('"');
        self.advance();
        while let Some(character) = self.advance() {
            match character {
                '\\' => {
                    self.advance();
                }
                '"' => break,
                _ => text.push(character),
            }
        }
        self.push(text, line);
    }

    /// `'x'` and `'\n'` are literals, `'name` is a lifetime or a label.
    fn character_or_lifetime(&mut self) {
        let line = self.line;
        self.advance();
        if self.peek(0) == Some('\\') {
            self.advance();
            self.advance();
            while self.advance().is_some_and(|c| c != '\'') {}
            self.push('"', line);
        } else if self.peek(1) == Some('\'') {
            self.advance();
            self.advance();
            self.push('"', line);
        } else {
            while self.peek(0).is_some_and(|c| c == '_' || c.is_alphanumeric()) {
                self.advance();
            }
        }
    }

    fn word(&mut self) {
        let line = self.line;
        let mut word = String::new();
        while let Some(character) = self.peek(0).filter(|c| *c == '_' || c.is_alphanumeric()) {
            word.push(character);
            self.advance();
        }
        let raw = matches!(word.as_str(), "r" | "br" | "cr");
        match self.peek(0) {
            Some('"') if raw => self.raw_string(0),
            Some('"') if matches!(word.as_str(), "b" | "c") => self.quoted(),
            Some('\'') if word == "b" => self.character_or_lifetime(),
            Some('#') if raw => {
                let hashes = self.characters[self.position..].iter().take_while(|c| **c == '#').count();
                if self.peek(hashes) == Some('"') {
                    self.position += hashes;
                    self.raw_string(hashes);
                } else {
                    self.position += 1; // a raw name: r#type
                }
            }
            _ => self.push(word, line),
        }
    }

    fn raw_string(&mut self, hashes: usize) {
        let line = self.line;
        self.advance();
        while let Some(character) = self.advance() {
            if character == '"' && (0..hashes).all(|ahead| self.peek(ahead) == Some('#')) {
                self.position += hashes;
                break;
            }
        }
        self.push('"', line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<String> {
        tokens(source).into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn comments_and_literals_hide_their_text() {
        assert_eq!(texts("a // std::fs\n/* x /* y */ z */ b"), ["a", "b"]);
        assert_eq!(texts(r##"f("std::env \" }", r#"a"b"#, b"x", 'c', '\'', b'\n', '{')"##).len(), 16);
        assert!(!texts(r##"r#"} fn"#"##).contains(&"}".to_owned()));
    }

    #[test]
    fn lifetimes_are_not_literals() {
        assert_eq!(
            texts("fn f<'a>(x: &'a str) { 'x' }"),
            ["fn", "f", "<", ">", "(", "x", ":", "&", "str", ")", "{", "\"", "}"]
        );
    }

    #[test]
    fn lines_are_counted() {
        let found = tokens("a\n\"two\nlines\"\nb::c");
        assert_eq!(found.iter().map(|token| token.line).collect::<Vec<_>>(), [1, 2, 4, 4, 4]);
    }
}
