//! `pgv verify`: whether everything in a repository is what it was when it was stored, and what it costs where it is not.
//!
//! What is checked, and by what, each stored byte being read once but where it is said:
//!
//! | object | by |
//! | --- | --- |
//! | every one | the key's place in the layout; header: MAC, repository, system identifier, kind and logical name; seek table: sums against the sizes in the header and the object's own |
//! | all but packs | body digest of every stored byte; copy of the header; zstd's checksum of each frame; plain digest of the content |
//! | identity, writer, begin, record, history | what they say, against the place where they lie |
//! | root, needs, documents | plain digest in their header against the record's |
//! | leaves | plain digest against the root's; order, sums and extents of their entries; number and bytes of files against the record's |
//! | packs of a backup whose record or `needs` cannot be read | copy of the header; zstd's checksum of each frame |
//! | packs | size, plain size and digest of the index against `needs`; copy of the header; index against seek table; each frame against its digest and page hashes in the index |
//! | files | their digest against the frames in which their extents lie, in whichever backup's packs |
//! | records | the MAC by which the next one names them |
//! | WAL | plain size; continuity along every path of timelines from each backup on; `wal_records`: every record, by reading the segments again |
//! | histories | one for each timeline of which there are segments or backups |
//!
//! Root, needs and leaves are small and read twice: as objects or frames, and as what they say.
//!
//! The way of what is found: [`Finding`]s are values, one for each object. Damage in one object stops nothing. At the
//! end, pure functions tell what each costs ([`Cost`]): `costs`, `wal_costs`.
//!
//! LIMIT: memory. The objects are listed in pages of a thousand keys; two threads hold up to 16 MiB each (a run of frames
//! of a pack, or a window of another object), many hold less; of WAL the ranges without holes are kept; of backups their
//! records and tables of packs; what is known of files is sorted outside memory (`pieces`).

mod catalog;
mod chooser;
mod costs;
mod family;
mod finding;
mod left_overs;
mod objects;
mod packs;
mod pass;
mod pieces;
mod report;
mod runs;
mod sample;
mod segments;
mod wal_costs;
mod wal_records;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use crate::clock::Stopwatch;
use crate::error::{Classified, ErrorClass};
use crate::fs::FileError;
use crate::report::{Cancel, Reporter};
use crate::repository::{BackupId, ClusterName, Repository, RepositoryError};

pub use finding::{Cost, Finding};
pub use report::{
    SCHEMA_VERSION, VerifiedBackup, VerifiedRepository, VerifyFailed, VerifyLeftOver, VerifyLeftOverKind, VerifyRead,
    VerifyReport, VerifyScope,
};
pub use sample::Depth;

use finding::Findings;
use pass::{Outcome, Pass};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// The repository's URL, as it was given.
    pub url: String,
    /// Its directory.
    pub path: PathBuf,
    /// The configuration file in use.
    pub configuration_file: Option<PathBuf>,
    /// The only cluster that is asked for.
    pub cluster: Option<ClusterName>,
    /// The only backup that is asked for: its objects, its packs, its WAL up to where it is consistent.
    pub backup: Option<BackupId>,
    /// How much is read.
    pub depth: Depth,
    /// Whether the records of the WAL are read.
    pub wal_records: bool,
    /// How many threads read; no more than [`THREADS_MAX`] do.
    pub threads: usize,
    /// A directory of the repository for what is too much for memory.
    pub scratch: Option<PathBuf>,
    /// Another one for it, where that has no room or may not be written.
    pub temporary: PathBuf,
}

/// LIMIT: threads; each holds some MiB.
pub const THREADS_MAX: usize = 16;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The repository cannot be listed at all.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// No such cluster.
    #[error("cluster \"{cluster}\" is not registered in {store}")]
    UnknownCluster {
        /// Its name.
        cluster: ClusterName,
        /// Where.
        store: String,
    },
    /// No such backup.
    #[error("backup {backup} is not in {store}")]
    UnknownBackup {
        /// Its id.
        backup: BackupId,
        /// Where.
        store: String,
    },
    /// A thread could not be started.
    #[error("could not start a thread")]
    Thread(#[source] std::io::Error),
    /// What the maps say of files, which may be too much for memory, could not be kept on the disk.
    #[error("could not sort the parts of files outside memory")]
    Sort(#[source] FileError),
    /// There is too little room for that.
    #[error(
        "sorting the parts of files needs about {needed} bytes, which neither the repository nor \"{}\" has for it, \
         where {available} are left",
        path.display()
    )]
    NoRoom {
        /// Where there is too little, too.
        path: PathBuf,
        /// About how many bytes that takes.
        needed: u64,
        /// How many there are.
        available: u64,
    },
    /// A mistake in pgv.
    #[error("internal error: {what}")]
    Internal {
        /// What cannot be.
        what: &'static str,
    },
    /// A signal came.
    #[error("interrupted; what was found until then is not shown")]
    Cancelled,
}

impl Classified for VerifyError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Repository(error) => error.class(),
            Self::UnknownCluster { .. } | Self::UnknownBackup { .. } => ErrorClass::NotFound,
            Self::Thread(error) => ErrorClass::of_io(error),
            Self::Sort(error) => error.class(),
            Self::NoRoom { .. } => ErrorClass::NoSpace,
            Self::Internal { .. } => ErrorClass::Internal,
            Self::Cancelled => ErrorClass::Interrupted,
        }
    }
}

/// Looks at everything that is asked for. Only a repository that cannot be listed at all is an error.
pub fn verify(
    repository: &Repository,
    options: &VerifyOptions,
    reporter: &dyn Reporter,
    cancel: &Cancel,
) -> Result<VerifyReport, VerifyError> {
    let watch = Stopwatch::start();
    let mut findings = Findings::default();
    let trees = catalog::gather(repository, options, &mut findings)?;
    let mut pass = Pass::new(repository, options, reporter, cancel, findings);
    pass.objects(&trees)?;
    let mut backups = Vec::new();
    for tree in &trees {
        let lost_with_packs = pass.packs(tree)?;
        let lost = pass.judge(tree, &lost_with_packs)?;
        backups.extend(tree.backups.iter().map(|backup| VerifiedBackup {
            cluster: tree.cluster.name.clone(),
            system_identifier: tree.cluster.system_identifier,
            id: backup.record.id,
            can_be_restored: !lost.contains(&backup.record.id),
        }));
        backups.extend(tree.unreadable.iter().map(|id| VerifiedBackup {
            cluster: tree.cluster.name.clone(),
            system_identifier: tree.cluster.system_identifier,
            id: *id,
            can_be_restored: false,
        }));
    }
    let Outcome { findings, mut read, left_overs, more_left_overs } = pass.finish(&trees)?;
    read.seconds = watch.elapsed().as_secs_f64();
    let more_damaged = findings.more;
    Ok(VerifyReport {
        schema_version: SCHEMA_VERSION,
        configuration_file: options.configuration_file.clone(),
        repository: VerifiedRepository { url: options.url.clone(), path: options.path.clone(), id: repository.id() },
        scope: scope(options),
        read,
        backups,
        damaged: findings.into_list(),
        more_damaged,
        left_overs,
        more_left_overs,
    })
}

fn scope(options: &VerifyOptions) -> VerifyScope {
    let (depth, sample_percent, seed) = match options.depth {
        Depth::Full => ("full", None, None),
        Depth::Quick => ("quick", None, None),
        Depth::Sample { percent, seed } => ("sample", Some(percent), Some(seed)),
    };
    VerifyScope {
        depth,
        sample_percent,
        seed,
        cluster: options.cluster.clone(),
        backup: options.backup,
        wal_records: options.wal_records,
    }
}
