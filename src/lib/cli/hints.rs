//! What a person can do about an error: the only place where advice is written.
//!
//! Errors carry data, not advice; a hint is made here from the data of any error in the chain. Full sentences.

use std::error::Error;

use super::root_guard::RootRefused;
use super::usage::UsageError;

/// The hints for an error and everything that caused it, outermost first, none twice.
pub(crate) fn hints(error: &(dyn Error + 'static)) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        for hint in hints_of_one(error) {
            if !found.contains(&hint) {
                found.push(hint);
            }
        }
        next = error.source();
    }
    found
}

fn hints_of_one(error: &(dyn Error + 'static)) -> Vec<String> {
    if let Some(error) = error.downcast_ref::<UsageError>() {
        return error.hints().to_vec();
    }
    if let Some(error) = error.downcast_ref::<RootRefused>() {
        return vec![
            format!("Run it as the account that owns the data directory: {}", error.command_line()),
            "To run it as root all the same, add --allow-root.".to_owned(),
        ];
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] UsageError);

    #[test]
    fn the_whole_chain_is_asked() {
        let inner = UsageError::new("inner").with_hint("Do this.").with_hint("Do this.");
        assert_eq!(hints(&Outer(inner)), ["Do this."]);
        assert!(hints(&std::io::Error::other("x")).is_empty());
    }
}
