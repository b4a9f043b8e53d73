//! Hints about the manual pages.

use std::error::Error;
use std::io::ErrorKind;

use super::super::man::PagesNotWritten;
use crate::cli::typed::Typed;
use crate::pg::shell_quote;

pub(super) fn hint(error: &(dyn Error + 'static), _typed: &Typed) -> Vec<String> {
    let Some(PagesNotWritten { directory, source }) = error.downcast_ref() else { return Vec::new() };
    let hint = match source.kind() {
        ErrorKind::NotFound => format!("Make it first: mkdir -p {}", shell_quote(&directory.to_string_lossy())),
        ErrorKind::NotADirectory => "Name a directory.".to_owned(),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "Name a directory that this account may write to, or run it as one that may.".to_owned()
        }
        _ => return Vec::new(),
    };
    vec![hint]
}
