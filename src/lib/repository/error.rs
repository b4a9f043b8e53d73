//! What can go wrong with a repository, and which object it went wrong with.

use jiff::Timestamp;

use super::writer::WriterDescription;
use crate::codec::{BodyError, CompressionError, EnvelopeError, ObjectKind, RepositoryId, SeekTableError};
use crate::error::{Classified, ErrorClass};
use crate::pg::{PgVersionError, SystemIdentifier};
use crate::store::{ObjectKey, StoreError};

/// What is stored under a name for which another content came, and may make room for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredInConflict {
    /// A beginning of the log in what came, which ends early.
    Shorter(ObjectKey),
    /// The history of a timeline of which the archive has no segment.
    LoneHistory(ObjectKey),
}

/// A repository operation that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepositoryError {
    /// The store failed, or says that an object does not exist.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store answers, but no repository was ever created in it.
    #[error("{store} is not a repository: it has no \"repository.json\"")]
    NotARepository {
        /// Where.
        store: String,
    },
    /// Another repository than the configuration remembers.
    #[error("{store} has id {found} where the configuration has {expected}")]
    OtherRepository {
        /// Where.
        store: String,
        /// The id that the configuration remembers.
        expected: RepositoryId,
        /// The id that was found.
        found: RepositoryId,
    },
    /// Made by a newer pgv.
    #[error("{store} has format {found}; this pgv knows format {known}")]
    NewerFormat {
        /// Where.
        store: String,
        /// Its format.
        found: u32,
        /// The newest one that this program knows.
        known: u32,
    },
    /// Uses something that this pgv does not know.
    #[error("\"{object}\" in {store} needs the feature \"{feature}\" that this pgv does not know")]
    UnknownFeature {
        /// Which object says so.
        object: String,
        /// Where.
        store: String,
        /// Which feature.
        feature: String,
    },
    /// Is of a PostgreSQL that this pgv does not know.
    #[error("\"{object}\" in {store} is of a PostgreSQL that this pgv does not know")]
    UnknownVersion {
        /// Which object says so.
        object: String,
        /// Where.
        store: String,
        /// Which version.
        #[source]
        source: PgVersionError,
    },
    /// An object is not what it should be.
    #[error("object \"{key}\" in {store} is damaged")]
    Damaged {
        /// Which one.
        key: ObjectKey,
        /// Where.
        store: String,
        /// In which way.
        #[source]
        damage: Damage,
    },
    /// An object was written by a newer pgv.
    #[error("object \"{key}\" in {store} was written by a newer pgv")]
    NewerObject {
        /// Which one.
        key: ObjectKey,
        /// Where.
        store: String,
        /// What it has that is new.
        #[source]
        source: EnvelopeError,
    },
    /// Another content is stored under this name.
    #[error("\"{name}\" is stored in {store} with different content{}", describe_conflict(theirs, *stored_at))]
    Conflict {
        /// The logical name.
        name: Box<str>,
        /// Where.
        store: String,
        /// Who tried to store it now.
        ours: Box<WriterDescription>,
        /// Who stored it, when that is known.
        theirs: Option<Box<WriterDescription>>,
        /// When, by the store's clock, when that is known.
        stored_at: Option<Timestamp>,
        /// The stored one, where there is a way out.
        stored: Option<Box<StoredInConflict>>,
    },
    /// Another system identifier is registered under this cluster name.
    #[error("cluster \"{cluster}\" in {store} is registered with system identifier {}, not {found}", join(registered))]
    OtherSystem {
        /// The cluster's name.
        cluster: String,
        /// Where.
        store: String,
        /// What is registered.
        registered: Vec<SystemIdentifier>,
        /// What asked.
        found: SystemIdentifier,
    },
    /// No cluster of that name is registered.
    #[error("cluster \"{cluster}\" is not registered in {store}")]
    UnknownCluster {
        /// The cluster's name.
        cluster: String,
        /// Where.
        store: String,
    },
    /// An object could not be put together.
    #[error("could not assemble object \"{name}\"")]
    Assemble {
        /// Its logical name.
        name: String,
        /// What failed.
        #[source]
        source: BodyError,
    },
    /// Nothing could be decompressed at all.
    #[error("could not set up decompression for object \"{name}\"")]
    Decompression {
        /// Its logical name.
        name: String,
        /// What failed.
        #[source]
        source: CompressionError,
    },
    /// An object could not be written as text.
    #[error("could not write object \"{name}\" as text")]
    Text {
        /// Its name.
        name: String,
        /// What failed.
        #[source]
        source: serde_json::Error,
    },
    /// An object that no reader would take.
    #[error("object \"{name}\" would have {found} bytes, more than the {limit} that are read")]
    TooLarge {
        /// Its logical name.
        name: String,
        /// Its size.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// What should be stored could not be read.
    #[error("could not read what should be stored as \"{name}\"")]
    ReadSource {
        /// Its logical name.
        name: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// What should be stored changed while it was read.
    #[error("the content of \"{name}\" changed while it was read")]
    SourceChanged {
        /// Its logical name.
        name: String,
    },
}

/// In which way an object is damaged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// Its header cannot be believed.
    #[error("invalid header")]
    Header(#[source] EnvelopeError),
    /// Its seek table cannot be read.
    #[error("invalid seek table")]
    SeekTable(#[source] SeekTableError),
    /// A frame cannot be decompressed.
    #[error("invalid frame at offset {offset}")]
    Frame {
        /// Where the frame begins in the body.
        offset: u64,
        /// What is wrong with it.
        #[source]
        source: CompressionError,
    },
    /// The object is another one than its key says.
    #[error("it is \"{found}\" where \"{expected}\" should be")]
    OtherObject {
        /// The logical name that was expected.
        expected: String,
        /// The one that its header has.
        found: String,
    },
    /// It is of another kind, repository or cluster than it should be.
    #[error("its header has another {field} than expected")]
    OtherField {
        /// Which field.
        field: &'static str,
    },
    /// It is of another kind than its name says.
    #[error("it is of kind {found:?}, not {expected:?}")]
    OtherKind {
        /// The kind that was expected.
        expected: ObjectKind,
        /// The one that its header has.
        found: ObjectKind,
    },
    /// It is shorter or longer than its header says.
    #[error("it has {found} bytes where its header says {expected}")]
    Size {
        /// What the header says.
        expected: u64,
        /// What there is.
        found: u64,
    },
    /// Its content does not have the digest that it should have.
    #[error("its {what} does not match its digest")]
    Digest {
        /// Which part.
        what: &'static str,
    },
    /// Its text cannot be read.
    #[error("its text cannot be read")]
    Text(#[source] serde_json::Error),
    /// It says something impossible.
    #[error("{problem}")]
    Invalid {
        /// What.
        problem: String,
    },
}

impl RepositoryError {
    /// The folder that could not be listed, when that is what failed.
    pub(crate) fn unlistable_folder(&self) -> Option<&str> {
        match self {
            Self::Store(StoreError::Unlistable(hidden)) => Some(&hidden.folder),
            _ => None,
        }
    }

    /// Whether an object was read to its end, and is not what its digest says.
    pub(crate) fn is_wrong_digest(&self) -> bool {
        matches!(self, Self::Damaged { damage: Damage::Digest { .. }, .. })
    }

    /// Whether the store itself said that there is no such object.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Store(StoreError::NotFound { .. }))
    }
}

impl Classified for RepositoryError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => error.class(),
            Self::NotARepository { .. } => ErrorClass::Unavailable,
            Self::OtherRepository { .. } | Self::OtherSystem { .. } => ErrorClass::Refused,
            Self::UnknownCluster { .. } => ErrorClass::Usage,
            Self::NewerFormat { .. }
            | Self::UnknownFeature { .. }
            | Self::UnknownVersion { .. }
            | Self::NewerObject { .. } => ErrorClass::Unsupported,
            Self::Damaged { .. } => ErrorClass::Corrupt,
            Self::Conflict { .. } => ErrorClass::Conflict,
            Self::Assemble { source, .. } => source.class(),
            Self::Decompression { source, .. } => source.class(),
            Self::Text { .. } => ErrorClass::Internal,
            Self::TooLarge { .. } => ErrorClass::Refused,
            Self::ReadSource { source, .. } => ErrorClass::of_io(source),
            Self::SourceChanged { .. } => ErrorClass::InvalidInput,
        }
    }
}

fn join(identifiers: &[SystemIdentifier]) -> String {
    identifiers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn describe_conflict(theirs: &Option<Box<WriterDescription>>, stored_at: Option<Timestamp>) -> String {
    let by = theirs.as_ref().map(|writer| format!(" by {writer}"));
    let at = stored_at.map(|time| format!(" at {time:.0}"));
    [by, at].into_iter().flatten().collect()
}
