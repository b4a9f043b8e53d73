//! What the fuzz targets of every layer check, and how they cut their input; see `fuzzing`.

use crate::error::{Classified, ErrorClass};

/// LIMIT: characters of one message.
const MESSAGE_CHARS_MAX: usize = 16 << 10;

/// Checks an error as a person would see it (control characters are the printer's to escape), and that pgv-fetch can
/// never take damage for a proof of absence.
pub(crate) fn seen<E: Classified>(error: &E) {
    assert!(!matches!(error.class(), ErrorClass::NotFound | ErrorClass::Internal), "{:?}: {error}", error.class());
    shown(error);
}

/// The same for errors whose class says what a server said.
pub(crate) fn shown(error: &dyn std::error::Error) {
    let mut level = Some(error);
    while let Some(error) = level {
        text(&error.to_string());
        level = error.source();
    }
}

/// Checks a text that a person would see.
pub(crate) fn text(message: &str) {
    assert!(message.chars().count() <= MESSAGE_CHARS_MAX, "a message of {} bytes", message.len());
}

/// Cuts the input in two: what the first byte says, and the rest.
pub(crate) fn split_choice(data: &[u8]) -> (u8, &[u8]) {
    data.split_first().map_or((0, data), |(choice, rest)| (*choice, rest))
}

/// Cuts a piece off whose length stands before it, in two bytes.
pub(crate) fn split_piece<'a>(data: &mut &'a [u8]) -> &'a [u8] {
    let Some((length, rest)) = data.split_first_chunk::<2>() else { return std::mem::take(data) };
    let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
    let (piece, rest) = rest.split_at(length);
    *data = rest;
    piece
}
