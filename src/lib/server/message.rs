//! Errors and notices as a server words them.
//!
//! INVARIANT: what a server sends is shown without control characters and within a bounded length.

use std::fmt;

use bytes::Bytes;
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::ErrorFields;

use crate::error::ErrorClass;

/// LIMIT: characters that are kept of one field of a message.
const MAX_FIELD_CHARS: usize = 4096;

/// A five-character error code of PostgreSQL (`src/backend/utils/errcodes.txt`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SqlState(String);

impl SqlState {
    /// The code, as `28P01`.
    pub fn code(&self) -> &str {
        &self.0
    }

    /// The two characters that name its kind.
    fn kind(&self) -> &str {
        self.0.get(..2).unwrap_or("")
    }

    /// What kind of failure the code stands for.
    pub fn class(&self) -> ErrorClass {
        match (self.code(), self.kind()) {
            ("42501", _) | (_, "28") => ErrorClass::PermissionDenied,
            ("3D000", _) => ErrorClass::Usage,
            ("55000" | "55006", _) => ErrorClass::Refused,
            // Not a negative answer: what the server lacks is an obstacle to what was asked for.
            ("58P01" | "42704", _) => ErrorClass::Unavailable,
            ("57014", _) => ErrorClass::TimedOut,
            ("XX001" | "XX002", _) => ErrorClass::Corrupt,
            (_, "0A" | "42" | "22") => ErrorClass::Unsupported,
            _ => ErrorClass::Unavailable,
        }
    }
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An error or a notice of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerMessage {
    /// `ERROR`, `FATAL`, `WARNING`, ..., never translated by servers since 9.6.
    pub severity: String,
    /// The error code; absent when the server sent none that has five characters.
    pub sqlstate: Option<SqlState>,
    /// The message itself.
    pub message: String,
    /// More about it.
    pub detail: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// The function of the server that says it: the same in every language.
    pub routine: Option<String>,
}

impl std::error::Error for ServerMessage {}

impl fmt::Display for ServerMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl ServerMessage {
    /// Reads the fields of an ErrorResponse or a NoticeResponse.
    pub(crate) fn decode(mut fields: ErrorFields<'_>) -> std::io::Result<Box<Self>> {
        let mut found = Self {
            severity: "ERROR".to_owned(),
            sqlstate: None,
            message: "the server sent no message".to_owned(),
            detail: None,
            hint: None,
            routine: None,
        };
        let mut untranslated = false;
        while let Some(field) = fields.next()? {
            let text = clean(field.value_bytes());
            match field.type_() {
                b'V' => {
                    untranslated = true;
                    found.severity = text;
                }
                b'S' if !untranslated => found.severity = text,
                b'C' => found.sqlstate = Self::sqlstate_of(&text),
                b'M' => found.message = text,
                b'D' => found.detail = Some(text),
                b'H' => found.hint = Some(text),
                b'R' => found.routine = Some(text),
                _ => {}
            }
        }
        Ok(Box::new(found))
    }

    pub(crate) fn sqlstate_of(code: &str) -> Option<SqlState> {
        let valid = code.len() == 5 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
        valid.then(|| SqlState(code.to_owned()))
    }

    /// Whether its code is this one.
    pub fn has_code(&self, code: &str) -> bool {
        self.sqlstate.as_ref().is_some_and(|state| state.code() == code)
    }

    /// What kind of failure it is.
    pub fn class(&self) -> ErrorClass {
        self.sqlstate.as_ref().map_or(ErrorClass::Unavailable, SqlState::class)
    }
}

/// Makes a text from a server fit for a terminal and a log.
pub(crate) fn clean(bytes: &[u8]) -> String {
    clean_text(&String::from_utf8_lossy(bytes))
}

/// Makes a text from a server fit for a terminal and a log.
pub(crate) fn clean_text(text: &str) -> String {
    let mut shown = String::new();
    for character in text.chars().take(MAX_FIELD_CHARS) {
        match character {
            // A line of its own would pass for one of ours.
            '\n' => shown.push_str("\\n"),
            '\t' => shown.push_str("\\t"),
            character if character.is_control() => shown.push(char::REPLACEMENT_CHARACTER),
            character => shown.push(character),
        }
    }
    shown
}

/// Notices that arrived and were not fetched yet.
#[derive(Debug, Default)]
pub(crate) struct NoticeBuffer {
    notices: std::collections::VecDeque<Box<ServerMessage>>,
}

impl NoticeBuffer {
    /// LIMIT: notices that are kept; when nobody fetches them the oldest go.
    const CAPACITY: usize = 256;

    pub(crate) fn push(&mut self, notice: Box<ServerMessage>) {
        if self.notices.len() == Self::CAPACITY {
            self.notices.pop_front();
        }
        self.notices.push_back(notice);
    }

    pub(crate) fn pop(&mut self) -> Option<Box<ServerMessage>> {
        self.notices.pop_front()
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &ServerMessage> {
        self.notices.iter().map(AsRef::as_ref)
    }

    pub(crate) fn take(&mut self) -> Vec<ServerMessage> {
        self.notices.drain(..).map(|notice| *notice).collect()
    }
}

/// A text column of a result, shown.
pub(crate) fn column_text(column: &Option<Bytes>) -> Option<String> {
    column.as_ref().and_then(|bytes| std::str::from_utf8(bytes).ok()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_controls_of_a_server_are_not_shown() {
        assert_eq!(clean(b"a\x1b[31mb\x07c\nd\xff"), "a\u{fffd}[31mb\u{fffd}c\\nd\u{fffd}");
        assert_eq!(clean(&[b'x'; 10_000]).len(), MAX_FIELD_CHARS);
    }

    #[test]
    fn codes_have_classes() {
        for (code, class) in [
            ("28P01", ErrorClass::PermissionDenied),
            ("28000", ErrorClass::PermissionDenied),
            ("42501", ErrorClass::PermissionDenied),
            ("57P03", ErrorClass::Unavailable),
            ("53300", ErrorClass::Unavailable),
            ("58P01", ErrorClass::Unavailable),
            ("42704", ErrorClass::Unavailable),
            ("3D000", ErrorClass::Usage),
            ("55000", ErrorClass::Refused),
            ("XX001", ErrorClass::Corrupt),
            ("0A000", ErrorClass::Unsupported),
        ] {
            assert_eq!(ServerMessage::sqlstate_of(code).unwrap().class(), class, "{code}");
        }
        assert_eq!(ServerMessage::sqlstate_of("28P0"), None);
        assert_eq!(ServerMessage::sqlstate_of("28P\u{e9}"), None);
    }

    #[test]
    fn notices_that_nobody_fetches_are_bounded() {
        let mut buffer = NoticeBuffer::default();
        for number in 0..1000 {
            buffer.push(Box::new(ServerMessage {
                severity: "WARNING".to_owned(),
                sqlstate: None,
                message: number.to_string(),
                detail: None,
                hint: None,
                routine: None,
            }));
        }
        let kept = buffer.take();
        assert_eq!((kept.len(), kept.last().unwrap().message.as_str()), (NoticeBuffer::CAPACITY, "999"));
    }
}
