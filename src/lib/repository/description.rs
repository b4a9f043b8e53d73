//! `repository.json`: plain JSON without an envelope, since everything else is read with what it says.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::{Damage, RepositoryError};
use super::layout;
use crate::clock::Clock;
use crate::codec::RepositoryId;
use crate::error::{Classified, ErrorClass};
use crate::store::{ObjectBody, ObjectKey, PutOutcome, Store, StoreError, block_on};

/// The repository format that this program reads and writes.
pub const FORMAT: u32 = 1;
/// LIMIT: bytes of `repository.json`.
const DESCRIPTION_BYTES_MAX: usize = 64 * 1024;

/// What `repository.json` says. Unknown fields are ignored, unknown required features refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryDescription {
    /// Format number; a reader refuses a larger one than it knows.
    pub format: u32,
    /// Names of features that a reader must know; none exist in format 1.
    #[serde(default)]
    pub required_features: Vec<String>,
    /// The repository's id.
    pub id: RepositoryId,
    /// When it was created; shown only.
    pub created: Timestamp,
}

impl RepositoryDescription {
    /// The name of the object that makes a directory a repository.
    pub const NAME: &str = layout::DESCRIPTION;

    /// That of a repository of which other objects say what it was.
    pub fn of_traces(id: RepositoryId, created: Timestamp) -> Self {
        Self { format: FORMAT, required_features: Vec::new(), id, created }
    }

    /// A description with a new random id.
    pub fn new(clock: &dyn Clock) -> Self {
        let id = RepositoryId::from_bytes(*uuid::Uuid::new_v4().as_bytes());
        Self::of_traces(id, clock.now())
    }
}

/// What is looked at before anything else, so that a newer format is refused as such.
#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
    #[serde(default)]
    required_features: Vec<String>,
}

pub(super) fn key(store: &dyn Store) -> Result<ObjectKey, RepositoryError> {
    layout::description().map_err(|source| StoreError::InvalidKey { store: store.describe(), source }.into())
}

pub(crate) fn load(store: &dyn Store) -> Result<RepositoryDescription, RepositoryError> {
    let key = key(store)?;
    let damaged = |damage| RepositoryError::Damaged { key: key.clone(), store: store.describe(), damage };
    let bytes = match block_on(store.get_range(&key, 0, DESCRIPTION_BYTES_MAX)) {
        Err(error) if error.class() == ErrorClass::NotFound => {
            return Err(RepositoryError::NotARepository { store: store.describe() });
        }
        other => other?,
    };
    let format: FormatOnly = serde_json::from_slice(&bytes).map_err(|error| damaged(Damage::Text(error)))?;
    if format.format > FORMAT {
        return Err(RepositoryError::NewerFormat { store: store.describe(), found: format.format, known: FORMAT });
    }
    if let Some(feature) = format.required_features.into_iter().next() {
        return Err(RepositoryError::UnknownFeature { object: key.to_string(), store: store.describe(), feature });
    }
    if format.format < FORMAT {
        let problem = format!("it has format {}, expected {FORMAT}", format.format);
        return Err(damaged(Damage::Invalid { problem }));
    }
    serde_json::from_slice(&bytes).map_err(|error| damaged(Damage::Text(error)))
}

pub(crate) fn create(store: &dyn Store, new: &RepositoryDescription) -> Result<bool, RepositoryError> {
    let key = key(store)?;
    let failed = |source| RepositoryError::Text { name: key.to_string(), source };
    let mut text = serde_json::to_vec_pretty(new).map_err(failed)?;
    text.push(b'\n');
    Ok(block_on(store.put_new(&key, &text, ObjectBody::Whole(&[])))? == PutOutcome::Created)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::Repository;
    use crate::repository::testing;
    use crate::store::LocalStore;
    use std::sync::Arc;

    fn reopened(json: &str) -> Result<Repository, RepositoryError> {
        let test = testing::repository();
        let root = test.temp.path().join("repo");
        std::fs::write(root.join("repository.json"), json).unwrap();
        Repository::open(Arc::new(LocalStore::open(&root).unwrap()), None)
    }

    #[test]
    fn newer_and_damaged_descriptions_are_told_apart() {
        let id = "00000000000000000000000000000001";
        let newer = reopened(r#"{"format": 2, "something": "else"}"#).unwrap_err();
        assert!(matches!(newer, RepositoryError::NewerFormat { found: 2, .. }), "{newer:?}");
        // Of what needs a feature, nothing else need be understood.
        let feature = reopened(r#"{"format":1,"id":{"new":1},"required_features":["x"]}"#).unwrap_err();
        assert!(matches!(feature, RepositoryError::UnknownFeature { .. }), "{feature:?}");
        let zero = format!(r#"{{"format":0,"id":"{id}","created":"2026-01-01T00:00:00Z"}}"#);
        assert_eq!(reopened(&zero).unwrap_err().class(), ErrorClass::Corrupt);
        assert_eq!(reopened("{").unwrap_err().class(), ErrorClass::Corrupt);
        let unknown = format!(r#"{{"format":1,"id":"{id}","created":"2026-01-01T00:00:00Z","colour":"blue"}}"#);
        assert_eq!(reopened(&unknown).unwrap().id().to_string(), id);
    }

    #[test]
    fn a_pinned_id_must_match_and_creating_twice_keeps_the_first() {
        let test = testing::repository();
        let root = test.temp.path().join("repo");
        let store = Arc::new(LocalStore::open(&root).unwrap());
        let other = RepositoryId::from_bytes([1; 16]);
        let error = Repository::open(store.clone(), Some(other)).unwrap_err();
        assert!(matches!(error, RepositoryError::OtherRepository { .. }));
        let again = RepositoryDescription::new(&crate::clock::SystemClock);
        let (repository, created) = Repository::create(store, &again).unwrap();
        assert!(!created);
        assert_eq!(repository.id(), test.repository.id());
    }
}
