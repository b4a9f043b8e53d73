//! What a stream holds: files into packs, the list of them and documents aside, everything digested on the way.

use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use jiff::Timestamp;

use super::BackupError;
use super::streamed::Storage;
use crate::pg::{
    DataPath, ManifestChecksum, ManifestChecksumAlgorithm, ManifestHasher, TablespaceMap, TablespaceMapEntry,
    TarEnding, TarEntry, TarEntryKind, TarError, TarReader, TarSink,
};
use crate::repository::{FileEntry, FileKind, StoredFile, TablespaceRef};
use crate::server::BackupTablespace;

/// LIMIT: bytes of a backup_label, of which the label itself is the largest part.
const LABEL_BYTES_MAX: usize = 64 << 10;
/// LIMIT: bytes of a tablespace_map.
const MAP_BYTES_MAX: usize = 16 << 20;
/// LIMIT: files, directories and links of a backup, the list of which is kept outside memory until all came; a manifest
/// at its own limit lists about as many.
const ENTRIES_MAX: usize = 1 << 28;
/// The checksum that the server is asked to put into its manifest.
pub(super) const MANIFEST_CHECKSUM: ManifestChecksumAlgorithm = ManifestChecksumAlgorithm::Crc32c;
/// The tar reader tells each file's begin before its data and its end.
const NO_FILE: BackupError = BackupError::Internal { what: "data came before a file began" };

/// All that came.
pub(super) struct StreamedContent<'t> {
    pub(super) storage: Storage<'t>,
    pub(super) tablespaces: Vec<TablespaceRef>,
    pub(super) backup_label: Vec<u8>,
    pub(super) tablespace_map: Option<Vec<u8>>,
    /// What the server says of bad pages.
    pub(super) findings: Vec<String>,
}

/// Takes the stream apart.
pub(super) struct Content<'t> {
    reader: Option<(String, TarReader)>,
    sink: Sink<'t>,
    in_manifest: bool,
    /// Whether the server ends each archive with a mark.
    ends_are_marked: bool,
}

impl<'t> Content<'t> {
    pub(super) fn new(
        storage: Storage<'t>,
        announced: &[BackupTablespace],
        ends_are_marked: bool,
    ) -> Result<Self, BackupError> {
        let mut tablespaces = Vec::new();
        for tablespace in announced {
            if let (Some(oid), Some(location)) = (tablespace.oid, &tablespace.location) {
                let path = PathBuf::from(std::ffi::OsStr::from_bytes(location));
                tablespaces.push(TablespaceRef { oid, path });
            }
        }
        let mut sink =
            Sink { storage, prefix: None, current: None, tablespaces, backup_label: None, tablespace_map: None };
        sink.add_links()?;
        Ok(Self { reader: None, sink, in_manifest: false, ends_are_marked })
    }

    pub(super) fn begin_archive(&mut self, name: &str) -> Result<(), BackupError> {
        self.end_archive()?;
        self.sink.begin_archive(name)?;
        self.reader = Some((name.escape_debug().to_string(), TarReader::new()));
        Ok(())
    }

    pub(super) fn begin_manifest(&mut self) -> Result<(), BackupError> {
        self.end_archive()?;
        self.in_manifest = true;
        Ok(())
    }

    pub(super) fn data(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        if self.in_manifest {
            return self.sink.storage.manifest.add(bytes);
        }
        let Some((name, reader)) = &mut self.reader else {
            return Err(BackupError::Internal { what: "data came before an archive began" });
        };
        reader.push(bytes, &mut self.sink).map_err(|error| error.in_archive(name))
    }

    pub(super) fn finish(mut self) -> Result<StreamedContent<'t>, BackupError> {
        self.end_archive()?;
        let missing = |name| BackupError::DocumentMissing { name };
        let sink = self.sink;
        check_tablespace_map(sink.tablespace_map.as_deref(), &sink.tablespaces)?;
        Ok(StreamedContent {
            storage: sink.storage,
            tablespaces: sink.tablespaces,
            backup_label: sink.backup_label.ok_or(missing("backup_label"))?,
            tablespace_map: sink.tablespace_map,
            findings: Vec::new(),
        })
    }

    fn end_archive(&mut self) -> Result<(), BackupError> {
        let Some((archive, reader)) = self.reader.take() else { return Ok(()) };
        match reader.finish() {
            Ok(TarEnding::Marked) => Ok(()),
            // The end of its copy says that it is complete, and the manifest which files it has.
            Ok(TarEnding::Unmarked) if !self.ends_are_marked => Ok(()),
            Ok(TarEnding::Unmarked) => {
                Err(BackupError::ArchiveContent { archive, problem: "it is cut short".to_owned() })
            }
            Err(source) => Err(BackupError::Archive { archive, source }),
        }
    }
}

/// Where the current file goes.
enum Destination {
    Packs,
    BackupLabel,
    TablespaceMap,
    Nowhere,
}

struct Current {
    path: DataPath,
    entry: TarEntry,
    destination: Destination,
    checksum: ManifestHasher,
}

struct Sink<'t> {
    storage: Storage<'t>,
    /// Where the current archive's root lies below the data directory.
    prefix: Option<DataPath>,
    current: Option<Current>,
    tablespaces: Vec<TablespaceRef>,
    backup_label: Option<Vec<u8>>,
    tablespace_map: Option<Vec<u8>>,
}

/// An error that does not know yet which archive it happened in.
enum SinkFailure {
    Tar(TarError),
    Content(String),
    Backup(BackupError),
}

impl From<TarError> for SinkFailure {
    fn from(error: TarError) -> Self {
        Self::Tar(error)
    }
}

impl<E: Into<BackupError>> From<E> for SinkFailure {
    fn from(error: E) -> Self {
        Self::Backup(error.into())
    }
}

impl SinkFailure {
    fn in_archive(self, archive: &str) -> BackupError {
        let archive = archive.to_owned();
        match self {
            Self::Tar(source) => BackupError::Archive { archive, source },
            Self::Content(problem) => BackupError::ArchiveContent { archive, problem },
            Self::Backup(error) => error,
        }
    }
}

impl Sink<'_> {
    /// The server leaves out the links of tablespaces when it sends a tablespace_map; a restore wants them.
    fn add_links(&mut self) -> Result<(), BackupError> {
        for tablespace in self.tablespaces.iter().filter(|tablespace| tablespace.path.is_absolute()) {
            let path = tablespace_path(tablespace.oid)?;
            let kind = FileKind::Link { target: tablespace.path.clone() };
            let entry = FileEntry::new(&path, 0o777, Timestamp::UNIX_EPOCH, kind);
            self.storage.listing.add_other(&path, entry)?;
        }
        // One inside the data directory is a directory there, not a link.
        self.tablespaces.retain(|tablespace| tablespace.path.is_absolute());
        Ok(())
    }

    fn begin_archive(&mut self, name: &str) -> Result<(), BackupError> {
        if name == "base.tar" {
            self.prefix = None;
            return Ok(());
        }
        let oid = name.strip_suffix(".tar").and_then(|digits| digits.parse::<u32>().ok());
        let unknown = || {
            let problem = "it is neither \"base.tar\" nor the archive of a tablespace".to_owned();
            BackupError::ArchiveContent { archive: name.escape_debug().to_string(), problem }
        };
        self.prefix = Some(tablespace_path(oid.ok_or_else(unknown)?)?);
        Ok(())
    }

    /// What a server sends without end must not fill the disk with names.
    fn refuse_too_many(&self, limit: usize) -> Result<(), BackupError> {
        if self.storage.listing.came() >= limit { Err(BackupError::TooManyEntries { limit }) } else { Ok(()) }
    }

    fn destination(&self, path: &DataPath) -> Destination {
        if self.prefix.is_some() {
            return Destination::Packs;
        }
        match path.as_bytes() {
            b"backup_label" => Destination::BackupLabel,
            b"tablespace_map" => Destination::TablespaceMap,
            _ => Destination::Packs,
        }
    }
}

impl TarSink for Sink<'_> {
    type Error = SinkFailure;

    fn begin(&mut self, entry: TarEntry) -> Result<(), SinkFailure> {
        self.refuse_too_many(ENTRIES_MAX)?;
        let path = match &self.prefix {
            Some(prefix) => prefix.join(&entry.path)?,
            None => entry.path.clone(),
        };
        let mut destination = self.destination(&path);
        match &entry.kind {
            TarEntryKind::File { size_bytes } => {
                if matches!(destination, Destination::Packs) {
                    self.storage.packs.begin_file(*size_bytes)?;
                }
            }
            TarEntryKind::Directory => destination = Destination::Nowhere,
            TarEntryKind::TablespaceLink { .. } => {
                return Err(SinkFailure::Content(format!("\"{path}\" is a link, which was not asked for")));
            }
        }
        let checksum = ManifestChecksum::hasher(MANIFEST_CHECKSUM);
        self.current = Some(Current { path, entry, destination, checksum });
        Ok(())
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), SinkFailure> {
        let Some(current) = &mut self.current else { return Err(NO_FILE.into()) };
        current.checksum.update(bytes);
        match current.destination {
            Destination::Packs => self.storage.packs.write(bytes)?,
            Destination::BackupLabel => {
                append(self.backup_label.get_or_insert_default(), bytes, "backup_label", LABEL_BYTES_MAX)?;
            }
            Destination::TablespaceMap => {
                append(self.tablespace_map.get_or_insert_default(), bytes, "tablespace_map", MAP_BYTES_MAX)?;
            }
            Destination::Nowhere => {}
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), SinkFailure> {
        let Some(current) = self.current.take() else { return Err(NO_FILE.into()) };
        let Current { path, entry, destination, checksum } = current;
        let modified = Timestamp::from_second(entry.modified_seconds).unwrap_or(Timestamp::UNIX_EPOCH);
        let of_map = |kind| FileEntry::new(&path, entry.mode & 0o777, modified, kind);
        let Storage { packs, listing, arrived, .. } = &mut self.storage;
        match entry.kind {
            TarEntryKind::File { size_bytes } => {
                let stored = match destination {
                    Destination::Packs => Some(packs.end_file()?),
                    _ => None,
                };
                let kind =
                    stored.map(|StoredFile { extents, digest }| FileKind::File { bytes: size_bytes, digest, extents });
                arrived.note_file(&path, size_bytes);
                listing.add_file(&path, size_bytes, &checksum.finish(), kind.map(of_map))?;
            }
            TarEntryKind::Directory | TarEntryKind::TablespaceLink { .. } => {
                arrived.note_directory(&path);
                listing.add_other(&path, of_map(FileKind::Directory))?;
            }
        }
        Ok(())
    }
}

/// A restored server follows every line of the map, so it must be about the tablespaces that were sent.
fn check_tablespace_map(map: Option<&[u8]>, tablespaces: &[TablespaceRef]) -> Result<(), BackupError> {
    let problem = |problem| BackupError::ArchiveContent { archive: "base.tar".to_owned(), problem };
    let map = TablespaceMap::parse(map.unwrap_or_default())
        .map_err(|error| problem(format!("in its tablespace_map, {error}")))?;
    for entry in map.entries() {
        let place = std::path::Path::new(std::ffi::OsStr::from_bytes(&entry.path));
        let is_sent = tablespaces.iter().any(|sent| sent.oid == entry.oid && sent.path == place);
        if !is_sent && !entry.is_in_place() {
            let text = format!("its tablespace_map names tablespace {}, which was not announced there", entry.oid);
            return Err(problem(text));
        }
    }
    Ok(())
}

/// The tablespaces outside the data directory that a server's map names.
pub(super) fn tablespaces_of(map: Option<&[u8]>) -> Result<Vec<TablespaceRef>, BackupError> {
    let map = TablespaceMap::parse(map.unwrap_or_default()).map_err(BackupError::TablespaceMap)?;
    let outside = map.entries().iter().filter(|entry| !entry.is_in_place());
    let reference = |entry: &TablespaceMapEntry| TablespaceRef {
        oid: entry.oid,
        path: PathBuf::from(std::ffi::OsStr::from_bytes(&entry.path)),
    };
    Ok(outside.map(reference).collect())
}

fn tablespace_path(oid: u32) -> Result<DataPath, BackupError> {
    Ok(DataPath::parse(format!("pg_tblspc/{oid}").as_bytes())?)
}

fn append(to: &mut Vec<u8>, bytes: &[u8], name: &'static str, limit: usize) -> Result<(), BackupError> {
    if to.len().saturating_add(bytes.len()) > limit {
        return Err(BackupError::DocumentTooLarge { name, limit: limit as u64 });
    }
    to.extend_from_slice(bytes);
    Ok(())
}

#[cfg(test)]
#[path = "content_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "hostile_tests.rs"]
mod hostile_tests;
