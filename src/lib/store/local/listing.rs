//! What lies in the directory of a store, as keys.

use std::io::ErrorKind;
use std::path::Path;

use super::{LOST_AND_FOUND, LocalStore};
use crate::fs;
use crate::store::{ObjectKey, StoreError};

/// A walk through the tree in the order of keys.
pub(super) struct Listing<'a> {
    pub(super) store: &'a LocalStore,
    pub(super) prefix: &'a str,
    pub(super) after: &'a str,
    pub(super) limit: usize,
}

impl Listing<'_> {
    pub(super) fn visit(&self, directory: &str, found: &mut Vec<ObjectKey>) -> Result<(), StoreError> {
        let path = self.store.root.join(directory);
        let entries = match fs::sorted_entries(&path) {
            Ok(entries) => entries,
            // It is an object, and nothing is below it.
            Err(error) if error.source.kind() == ErrorKind::NotADirectory && self.store.check_root().is_ok() => {
                return Ok(());
            }
            // Nothing was stored there yet.
            Err(error) if error.is_not_found() && self.store.check_root().is_ok() => {
                let hidden = |error| self.store.unlistable(directory, error);
                return fs::check_absent(&self.store.root, Path::new(directory)).map_err(hidden);
            }
            Err(error) => return Err(self.store.unlistable(directory, error)),
        };
        let mut names = Vec::with_capacity(entries.len());
        for entry in entries {
            // What is no key is no object and hides none: `left_overs` tells of it.
            let Some(name) = entry.name.to_str().filter(|name| ObjectKey::parse(name).is_ok()) else { continue };
            if name != LOST_AND_FOUND {
                let below = if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") };
                names.push(match entry.is_link {
                    true => self.linked(below),
                    false if entry.is_directory => (format!("{below}/"), None),
                    false => (below, None),
                });
            }
        }
        // ORDER: with the slash behind directories, the order of names is the order of keys.
        names.sort_by(|(one, _), (other, _)| one.cmp(other));
        for (name, hidden) in names {
            if found.len() >= self.limit {
                return Ok(());
            }
            if let Some(directory) = name.strip_suffix('/') {
                let leads_to_prefix = name.starts_with(self.prefix) || self.prefix.starts_with(&name);
                // No key has a byte above '~': who names it wants nothing more of the directory.
                let is_passed = self.after.strip_prefix(&name) == Some("~");
                let may_hold_later = name.as_str() > self.after || self.after.starts_with(&name) && !is_passed;
                match (leads_to_prefix && may_hold_later, hidden) {
                    (true, Some(hidden)) => return Err(hidden),
                    (true, None) => self.visit(directory, found)?,
                    (false, _) => {}
                }
            } else if name.starts_with(self.prefix) && name.as_str() > self.after {
                found.extend(ObjectKey::parse(&name));
            }
        }
        Ok(())
    }

    /// A link, with a slash when it leads to a directory. One that leads nowhere hides what it led to, and is told when
    /// its turn comes.
    fn linked(&self, name: String) -> (String, Option<StoreError>) {
        if !name.starts_with(self.prefix) && !self.prefix.starts_with(&name) {
            return (name, None);
        }
        let leads_to_directory = fs::is_directory(&self.store.root.join(&name)).and_then(|leads_to_directory| {
            if !leads_to_directory {
                fs::check_absent(&self.store.root, Path::new(&name))?;
            }
            Ok(leads_to_directory)
        });
        match leads_to_directory {
            Ok(true) => (format!("{name}/"), None),
            Ok(false) => (name, None),
            Err(error) => {
                let hidden = self.store.unlistable(&name, error);
                (format!("{name}/"), Some(hidden))
            }
        }
    }
}
