//! Backups in a repository: what makes one, what it holds, and which ones there are.
//!
//! INVARIANT: the record is written last and makes the backup; without it nothing of the backup counts.

mod catalog;
mod expiry;
mod file_map;
mod id;
mod lacks;
mod lost_record;
mod map_writer;
mod marks;
#[cfg(test)]
mod marks_model;
mod record;
#[cfg(test)]
mod wal_model;
mod writer;

pub(crate) use catalog::BackupFolder;
pub use catalog::{BackupEntry, UnfinishedBackup};
pub use file_map::{FileEntry, FileKind, FileMap, MapRoot};
pub use id::{BackupId, BackupIdError};
pub use lacks::Lack;
pub(crate) use lacks::{LackSearch, pack_name};
pub(crate) use lost_record::{ListedRecords, MissingRecord, MissingRecords, Recordless, SILENT_AFTER};
pub use map_writer::MapWriter;
pub use marks::{BackupMark, BackupNote};
pub(crate) use marks::{BackupState, DeletionStep, Hold, hold_of};
pub use record::{
    BackupBegin, BackupMethod, BackupNeeds, BackupRecord, BackupSizes, DocumentKind, DocumentRef, NodeDescription,
    PreviousRecord, ServerDescription, TablespaceRef,
};
pub use writer::{BackupWriter, BackupWriterError, StoredContent};

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
