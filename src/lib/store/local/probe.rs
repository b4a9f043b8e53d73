//! Whether a file system keeps what the store promises: tried on the very one, before anything relies on it.

use super::{LocalStore, STAGING};
use crate::fs::{self, FileError, Published, StagedFile};
use crate::store::StoreError;

/// How often the promises are tried before one is called broken.
const PROBES_MAX: usize = 3;

/// What was found out about the file system below a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreProbe {
    /// Bytes that can still be written.
    pub available_bytes: u64,
    /// Whether objects are published by hard links; else by renames that do not replace.
    pub hard_links: bool,
}

impl LocalStore {
    /// Tries what the store promises on this very file system: that creating never replaces, and that files and
    /// directories can be synced.
    pub fn probe(&self) -> Result<StoreProbe, StoreError> {
        // Another writer that begins meanwhile may take the file for one that was left behind.
        for _ in 1..PROBES_MAX {
            if let Ok(probe) = self.probe_once() {
                return Ok(probe);
            }
        }
        self.probe_once()
    }

    fn probe_once(&self) -> Result<StoreProbe, StoreError> {
        let failed = |error| self.failed(error);
        let staging = self.root.join(STAGING);
        // Left behind, it is removed like every staged file.
        let target = staging.join(fs::staged_name(&staging));
        let publish = |content: &[u8]| {
            let mut staged = StagedFile::create_in(&staging)?;
            staged.write_all(content)?;
            staged.publish_new(&target)
        };
        let outcomes = publish(b"first").and_then(|first| Ok((first, publish(b"second")?)));
        let content = fs::read_at_most(&target, 16);
        let removed = fs::remove_file(&target);
        // What could not be created cannot be removed either, and is what a person must hear of.
        let (outcomes, content) = (outcomes.map_err(failed)?, content.map_err(failed)?);
        removed.map_err(failed)?;
        if outcomes != (Published::Created, Published::AlreadyPresent) || content != b"first" {
            let problem = std::io::Error::other("the file system lets a second writer replace a file that it creates");
            return Err(failed(FileError::new("rely on", &self.root, problem)));
        }
        let available_bytes = fs::available_bytes(&self.root).map_err(failed)?;
        let hard_links = fs::has_hard_links(&staging).map_err(failed)?;
        Ok(StoreProbe { available_bytes, hard_links })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probe_proves_the_promises_and_leaves_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let store = LocalStore::create(&temp.path().join("store")).unwrap();
        assert!(store.probe().unwrap().available_bytes > 0);
        assert_eq!(std::fs::read_dir(store.root().join(STAGING)).unwrap().count(), 0);
    }
}
