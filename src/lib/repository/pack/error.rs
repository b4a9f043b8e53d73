//! Why a pack was not written.

use crate::codec::{BodyError, CompressionError};
use crate::error::{Classified, ErrorClass};
use crate::repository::error::RepositoryError;
use crate::store::{ObjectKey, PartsAbandoned};

/// A pack that could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// The repository failed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// A frame could not be compressed.
    #[error("could not compress a frame")]
    Compression(#[from] CompressionError),
    /// A pack could not be laid out.
    #[error("could not lay out a pack")]
    Body(#[from] BodyError),
    /// A pack of this name is there already.
    #[error("pack \"{key}\" is there already")]
    AlreadyPresent {
        /// Its key.
        key: ObjectKey,
    },
    /// A thread could not be started.
    #[error("could not start a thread")]
    Thread(#[source] std::io::Error),
    /// The backup was given up.
    #[error("the pack was given up")]
    Abandoned(#[source] PartsAbandoned),
    /// Asked for the end of a file, or for a frame, of which nothing was begun: a bug of ours.
    #[error("internal error: a file was ended in a pack that was not begun")]
    NoFile,
    /// A thread ended without a word.
    #[error("a thread that writes packs ended unexpectedly")]
    ThreadDied,
}

impl Classified for PackError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Repository(error) => error.class(),
            Self::Compression(error) => error.class(),
            Self::Body(error) => error.class(),
            Self::AlreadyPresent { .. } => ErrorClass::Conflict,
            Self::Thread(error) => ErrorClass::of_io(error),
            Self::Abandoned(_) => ErrorClass::Interrupted,
            Self::NoFile | Self::ThreadDied => ErrorClass::Internal,
        }
    }
}
