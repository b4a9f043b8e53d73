//! Hints about what `pgv verify` found: what to do at once.

use std::error::Error;

use crate::cli::typed::Typed;
use crate::error::{Classified as _, ErrorClass};
use crate::verify::VerifyFailed;

pub(super) fn hint(error: &(dyn Error + 'static), _typed: &Typed) -> Vec<String> {
    let Some(failed) = super::find::<VerifyFailed>(error) else { return Vec::new() };
    match failed.class() {
        ErrorClass::Corrupt => {
            let backup = "A base backup taken now makes every later moment reachable again: pgv-basebackup";
            let copy = "A damaged object is put back from a copy of the repository, once it was moved out of the way.";
            let backup = Some(backup).filter(|_| !failed.loses_cluster());
            backup.into_iter().chain([copy]).map(str::to_owned).collect()
        }
        ErrorClass::PermissionDenied => {
            vec!["Run it as the account that may read the whole repository.".to_owned()]
        }
        _ => Vec::new(),
    }
}
