//! What recovery meets on its way to its end, besides transactions, that can stop it or lead it out of its directory.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use super::RecordSpan;
use crate::pg::{Lsn, ReplayNeeds, TimelineId, WalContent, WalLevel, WalRecord};

/// LIMIT: tablespaces that are listed, each directory once.
const LISTED_MAX: usize = 10_000;
/// `RM_MIN_CUSTOM_ID`: from there on they belong to extensions.
const CUSTOM_RESOURCE_MANAGER_MIN: u8 = 128;

/// What replay meets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct OnTheWay {
    /// The directories outside that CREATE TABLESPACE uses, each where it does so first.
    pub created_tablespaces: Vec<CreatedTablespace>,
    /// How many more there are than are listed.
    pub unlisted_tablespaces: u64,
    /// The highest values of the settings that replay needs, of those that changed on the way.
    pub needs: Option<ReplayNeeds>,
    /// Where the server went over to `wal_level` minimal first: no recovery gets across.
    pub minimal_from: Option<RecordSpan>,
    /// The resource managers of extensions, whose library replay needs.
    pub resource_managers: BTreeSet<u8>,
}

/// A `CREATE TABLESPACE`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CreatedTablespace {
    /// Where its record lies.
    #[serde(flatten)]
    pub span: RecordSpan,
    /// On which timeline.
    pub timeline: TimelineId,
    /// Its OID.
    pub oid: u32,
    /// Its directory, which replay uses as it is.
    #[serde(serialize_with = "as_text")]
    pub path: PathBuf,
}

fn as_text<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

impl OnTheWay {
    /// Takes the next record that is replayed.
    pub(super) fn see(&mut self, record: &WalRecord) {
        if record.resource_manager >= CUSTOM_RESOURCE_MANAGER_MIN {
            self.resource_managers.insert(record.resource_manager);
        }
        match &record.content {
            // One without a path lies in the data directory.
            WalContent::CreateTablespace { oid, path } if !path.is_empty() => self.take(CreatedTablespace {
                span: RecordSpan::of(record),
                timeline: record.timeline,
                oid: *oid,
                path: PathBuf::from(OsStr::from_bytes(path)),
            }),
            WalContent::ParameterChange(change) => {
                let needs = ReplayNeeds::from(change);
                self.needs = Some(self.needs.map_or(needs, |earlier| earlier.highest(needs)));
                if change.wal_level == WalLevel::Minimal {
                    self.minimal_from.get_or_insert(RecordSpan::of(record));
                }
            }
            _ => {}
        }
    }

    fn take(&mut self, created: CreatedTablespace) {
        if self.created_tablespaces.iter().any(|known| known.path == created.path) {
            return;
        }
        if self.created_tablespaces.len() < LISTED_MAX {
            self.created_tablespaces.push(created);
        } else {
            self.unlisted_tablespaces += 1;
        }
    }

    /// Takes what is met behind that.
    pub(super) fn merge(&mut self, later: Self) {
        later.created_tablespaces.into_iter().for_each(|created| self.take(created));
        self.unlisted_tablespaces = self.unlisted_tablespaces.saturating_add(later.unlisted_tablespaces);
        self.needs = match (self.needs, later.needs) {
            (Some(one), Some(other)) => Some(one.highest(other)),
            (one, other) => one.or(other),
        };
        self.minimal_from = self.minimal_from.or(later.minimal_from);
        self.resource_managers.extend(later.resource_managers);
    }

    /// Without what begins at `end` or behind.
    pub fn before(mut self, end: Lsn) -> Self {
        self.created_tablespaces.retain(|created| created.span.lsn < end);
        self.minimal_from = self.minimal_from.filter(|span| span.lsn < end);
        self
    }
}
