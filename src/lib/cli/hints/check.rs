//! Hints about what `pgv check` cannot look at.

use std::error::Error;

use crate::check::SilentRepository;
use crate::cli::typed::Typed;

pub(super) fn hint(error: &(dyn Error + 'static), _: &Typed) -> Vec<String> {
    match super::find::<SilentRepository>(error) {
        Some(_) => vec![
            "Is its file system, or the server behind it, down or stopped? What is only slow needs a longer stall_timeout in \
             [check] of pgv.toml."
                .to_owned(),
        ],
        None => Vec::new(),
    }
}
