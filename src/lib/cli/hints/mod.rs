//! What a person can do about an error: the only place where advice is written.
//!
//! Errors carry data, not advice; a hint is made here from the data of any error in the chain. Full sentences.
//! An error that shows another one in its place (`#[error(transparent)]`) hides it from the chain: `inside` knows them.

mod backup;
mod check;
mod configuration;
mod copy;
mod expire;
mod init;
mod inside;
mod man;
mod old_wal;
mod recovery_conf;
mod repository;
mod restore;
mod server;
mod standby;
mod start;
mod target;
mod verify;
mod wal;

use std::error::Error;
use std::sync::Arc;

use super::root_guard::RootRefused;
use super::typed::{Typed, switch_to};
use super::usage::UsageError;
use crate::config::account_name;
use crate::pg::shell_quote;

/// The hints for an error and everything that caused it, outermost first, none twice.
pub(crate) fn hints(error: &(dyn Error + 'static), typed: &Typed) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        for hint in hints_of_one(error, typed) {
            if !found.contains(&hint) {
                found.push(hint);
            }
        }
        next = inside::inside(error).or_else(|| error.source());
    }
    found
}

fn hints_of_one(error: &(dyn Error + 'static), typed: &Typed) -> Vec<String> {
    if let Some(error) = error.downcast_ref::<UsageError>() {
        return error.hints().to_vec();
    }
    if let Some(error) = error.downcast_ref::<RootRefused>() {
        return vec![
            format!("Run it as the account that owns the data directory: {}", error.command_line()),
            "To run it as root all the same, add --allow-root.".to_owned(),
        ];
    }
    let of_modules = [
        backup::hint,
        check::hint,
        configuration::hint,
        expire::hint,
        init::hint,
        man::hint,
        recovery_conf::hint,
        repository::hint,
        restore::hint,
        server::hint,
        standby::hint,
        start::hint,
        target::hint,
        verify::hint,
        wal::hint,
    ];
    of_modules.into_iter().flat_map(|hint| hint(error, typed)).collect()
}

/// That another account is the one to run it.
fn as_owner(path: &str, owner: u32) -> String {
    let path = shell_quote(path);
    match account_name(owner) {
        Some(name) => format!("Run it as the owner of {path}: {}...", switch_to(&name, false)),
        None => format!("Run it as the owner of {path}: user {owner}."),
    }
}

/// The error itself, whether or not its owner keeps it in a box, or shares it.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let boxed = || error.downcast_ref::<Box<E>>().map(AsRef::as_ref);
    let shared = || error.downcast_ref::<Arc<E>>().map(AsRef::as_ref);
    error.downcast_ref::<E>().or_else(boxed).or_else(shared)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] Box<UsageError>);

    #[derive(Debug, thiserror::Error)]
    #[error("inner")]
    struct Inner;

    #[test]
    fn the_whole_chain_is_asked() {
        let usage = UsageError::new("inner").with_hint("Do this.").with_hint("Do this.");
        assert_eq!(hints(&usage, &Typed::default()), ["Do this."]);
        assert!(hints(&std::io::Error::other("x"), &Typed::default()).is_empty());
    }

    #[test]
    fn boxed_and_shared_causes_are_found() {
        let outer = Outer(Box::new(UsageError::new("x")));
        assert!(find::<UsageError>(outer.source().unwrap()).is_some());
        assert!(find::<UsageError>(&Arc::new(UsageError::new("x"))).is_some());
        assert!(find::<Inner>(outer.source().unwrap()).is_none());
    }
}
