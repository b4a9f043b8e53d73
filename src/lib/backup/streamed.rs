//! What a stream is kept in until all of it came, and what is made of it then. In memory there is nothing of each file.

use super::BackupError;
use super::listing::{Listing, SortedListing};
use super::manifest_check::Comparison;
use super::room::{ListedFiles, check_room};
use super::whole::Arrived;
use crate::fs::{Sorter, SpillFile, Tree};
use crate::pg::{ManifestSum, ManifestSummary};
use crate::report::Cancel;
use crate::repository::{BackupSizes, BackupWriter, PackStream, StoredContent};

/// LIMIT: bytes of a manifest; it has about 200 bytes a file.
const MANIFEST_BYTES_MAX: u64 = 64 << 30;
/// About how many bytes of a file's name, place and sums are kept outside memory, its line in the manifest included.
const BYTES_PER_FILE: u64 = 400;

/// Where what comes is kept.
pub(super) struct Storage<'t> {
    pub(super) packs: PackStream,
    pub(super) listing: Listing<'t>,
    pub(super) manifest: SpilledManifest,
    pub(super) arrived: Arrived,
}

impl<'t> Storage<'t> {
    /// With files in that directory, in which there must be room for what the last backup had.
    pub(super) fn new(
        scratch: &'t Tree,
        packs: PackStream,
        last: Option<&BackupSizes>,
        arrived: Arrived,
    ) -> Result<Self, BackupError> {
        let files = last.map_or(0, |sizes| sizes.files.saturating_add(sizes.directories));
        check_room(scratch, files.saturating_mul(BYTES_PER_FILE), ListedFiles::OfLastBackup(files))?;
        Ok(Self { arrived, ..Self::with_sorter(scratch, Sorter::new(scratch), packs)? })
    }

    pub(super) fn with_sorter(scratch: &Tree, sorter: Sorter<'t>, packs: PackStream) -> Result<Self, BackupError> {
        let file = SpillFile::create_in(scratch).map_err(BackupError::Spill)?;
        let manifest = SpilledManifest { file, sum: ManifestSum::default() };
        Ok(Self { packs, listing: Listing::new(sorter), manifest, arrived: Arrived::default() })
    }
}

/// The server's manifest, as it comes.
pub(super) struct SpilledManifest {
    file: SpillFile,
    sum: ManifestSum,
}

impl SpilledManifest {
    /// Adds to its end.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        if self.file.written_bytes().saturating_add(bytes.len() as u64) > MANIFEST_BYTES_MAX {
            return Err(BackupError::DocumentTooLarge { name: "backup_manifest", limit: MANIFEST_BYTES_MAX });
        }
        self.sum.update(bytes)?;
        self.file.append(bytes).map_err(BackupError::Spill)
    }

    /// Reads it, and adds its files to those that came; hands out the file for those who want to store it.
    pub(super) fn read(
        self,
        listing: &mut Listing<'_>,
        cancel: &Cancel,
    ) -> Result<(ManifestSummary, SpillFile), BackupError> {
        use std::io::Seek as _;
        let Self { mut file, sum } = self;
        let verified = sum.finish()?;
        file.rewind().map_err(crate::pg::ManifestError::Read)?;
        let summary = verified.read(std::io::BufReader::new(&mut file), &mut |file| {
            check_cancel(cancel)?;
            listing.add_expected(&file)
        })?;
        Ok((summary, file))
    }
}

/// The files of a stream, stored and sorted, and not compared yet.
pub(super) struct StreamedFiles {
    pub(super) packs: PackStream,
    pub(super) listing: SortedListing,
    pub(super) arrived: Arrived,
}

impl StreamedFiles {
    /// Compares what came with the manifest, and stores the map of it on the way.
    pub(super) fn store(self, backup: &mut BackupWriter, cancel: &Cancel) -> Result<StoredContent, BackupError> {
        let Self { mut packs, listing, arrived: _ } = self;
        let mut map = backup.map();
        let mut comparison = Comparison::default();
        for record in listing {
            check_cancel(cancel)?;
            let (path, listed) = record?;
            if let Some((path, entry)) = comparison.take(path, listed)? {
                map.add(&path, &entry, &mut |leaf: &[u8]| packs.write_frame(leaf))?;
            }
        }
        comparison.finish()?;
        map.end(&mut |leaf: &[u8]| packs.write_frame(leaf))?;
        Ok(backup.store_root(map, packs.finish()?)?)
    }
}

fn check_cancel(cancel: &Cancel) -> Result<(), BackupError> {
    if cancel.is_cancelled() { Err(BackupError::Cancelled) } else { Ok(()) }
}
