//! What a backup holds, found out from its map before anything is written, and the parts of files sorted as they lie
//! in the packs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::configuration::StoredConfiguration;
use super::error::RestoreError;
use crate::codec::ContentDigest;
use crate::pg::{ControlFile, DataPath};
use crate::repository::{
    BackupRecord, ClusterRef, DocumentKind, Extent, FileEntry, FileKind, FileMap, Repository, SinkError,
};

/// LIMIT: bytes of a configuration file that is looked into.
const CONFIGURATION_BYTES_MAX: u64 = 16 << 20;

/// What a backup holds.
#[derive(Debug, Default)]
pub(super) struct ContentFacts {
    /// Bytes of the files in the data directory itself.
    pub(super) data_bytes: u64,
    /// Bytes of the files in each tablespace outside it.
    pub(super) tablespace_bytes: BTreeMap<u32, u64>,
    /// Whether the group may read the original's files.
    pub(super) group_access: bool,
    pub(super) configuration: StoredConfiguration,
    pub(super) backup_label: Vec<u8>,
    pub(super) manifest: Option<Vec<u8>>,
}

/// Reads the map and the documents of a backup, and opens every pack that it needs.
pub(super) fn gather(
    repository: &Repository,
    cluster: &ClusterRef,
    record: &BackupRecord,
) -> Result<ContentFacts, RestoreError> {
    let map = repository.file_map(cluster, record)?;
    let mut facts = ContentFacts::default();
    let mut wanted: BTreeMap<DataPath, FileEntry> = BTreeMap::new();
    let config = configuration_inside(record);
    let mut has_control = false;
    map.for_each(&mut |path, entry| {
        if let FileKind::File { bytes, .. } = &entry.kind {
            match tablespace_of(&path, record) {
                Some((oid, _)) => *facts.tablespace_bytes.entry(oid).or_default() += bytes,
                None => facts.data_bytes += bytes,
            }
            has_control |= path.as_bytes() == ControlFile::PATH.as_bytes();
            facts.group_access |= path.as_bytes() == b"PG_VERSION" && entry.mode & 0o040 != 0;
            facts.configuration.has_hba |= path.as_bytes() == b"pg_hba.conf";
            let is_known = matches!(path.as_bytes(), b"postgresql.conf" | b"postgresql.auto.conf" | b"backup_label");
            if is_known || config.iter().any(|(_, relative)| path.to_path() == relative) {
                wanted.insert(path, entry);
            }
        }
        Ok::<(), RestoreError>(())
    })?;
    if !has_control {
        return Err(RestoreError::Incomplete { backup: record.id, what: ControlFile::PATH });
    }
    for need in &map.needs().packs {
        map.open_pack(need.number)?;
    }
    let take = |name: &Path| -> Result<Option<Vec<u8>>, RestoreError> {
        let found = wanted.iter().find(|(path, _)| path.to_path() == name);
        found.map(|(_, entry)| read_small(&map, entry)).transpose()
    };
    facts.configuration.auto_conf = take(Path::new("postgresql.auto.conf"))?.unwrap_or_default();
    facts.configuration.postgresql_conf = take(Path::new("postgresql.conf"))?;
    for (original, relative) in &config {
        facts.configuration.outside.extend(take(relative)?.map(|content| (original.clone(), content)));
    }
    let label_in_map = take(Path::new("backup_label"))?;
    load_documents(repository, cluster, record, &mut facts)?;
    if facts.backup_label.is_empty() {
        // Without it the server would start, and be silently wrong (contract.md A4.6).
        let missing = || RestoreError::Incomplete { backup: record.id, what: "backup_label" };
        facts.backup_label = label_in_map.filter(|label| !label.is_empty()).ok_or_else(missing)?;
    }
    Ok(facts)
}

fn load_documents(
    repository: &Repository,
    cluster: &ClusterRef,
    record: &BackupRecord,
    facts: &mut ContentFacts,
) -> Result<(), RestoreError> {
    for document in &record.documents {
        let load = || repository.document(cluster, &record.id, document);
        match document.kind {
            DocumentKind::BackupLabel => facts.backup_label = load()?,
            DocumentKind::BackupManifest => facts.manifest = Some(load()?),
            DocumentKind::Configuration => {
                let path = document.path.clone().unwrap_or_else(|| PathBuf::from(&document.name));
                facts.configuration.outside.push((path, load()?));
            }
            // Written anew, for the places that the tablespaces will have.
            DocumentKind::TablespaceMap => {}
        }
    }
    Ok(())
}

/// Configuration files that were in the data directory under other names than the usual ones, as in a copy that was
/// itself restored: where they were, and their path in the backup.
fn configuration_inside(record: &BackupRecord) -> Vec<(PathBuf, PathBuf)> {
    let Some(data) = record.setting("data_directory") else { return Vec::new() };
    let files = ["config_file", "hba_file", "ident_file"].into_iter().filter_map(|name| record.setting(name));
    let inside = files.filter_map(|file| {
        let relative = Path::new(file).strip_prefix(data).ok()?;
        (relative.components().count() > 1).then(|| (PathBuf::from(file), relative.to_owned()))
    });
    inside.collect()
}

fn read_small(map: &FileMap<'_>, entry: &FileEntry) -> Result<Vec<u8>, RestoreError> {
    let mut content = Vec::new();
    if let FileKind::File { extents, .. } = &entry.kind {
        for extent in extents {
            let range = extent.offset..extent.offset.saturating_add(extent.length);
            content.extend(map.open_pack(extent.pack)?.read_range(range, CONFIGURATION_BYTES_MAX)?);
        }
    }
    Ok(content)
}

/// The tablespace outside the data directory that a path lies in, and the rest of the path; the rest of the
/// tablespace's own entry is absent.
pub(super) fn tablespace_of(path: &DataPath, record: &BackupRecord) -> Option<(u32, Option<DataPath>)> {
    let rest = path.as_bytes().strip_prefix(b"pg_tblspc/")?;
    let end = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
    let (digits, below) = rest.split_at_checked(end)?;
    let oid: u32 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let is_outside = |path: &Path| path.is_absolute();
    record.tablespaces.iter().find(|tablespace| tablespace.oid == oid && is_outside(&tablespace.path))?;
    let below = below.strip_prefix(b"/").and_then(|below| DataPath::parse(below).ok());
    Some((oid, below))
}

/// Part of a file, and where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Piece {
    pub(super) pack: u32,
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) file: usize,
    pub(super) file_offset: u64,
}

/// A file that is to be written.
#[derive(Debug, Clone)]
pub(super) struct PlannedFile {
    /// As it is called in the backup.
    pub(super) path: DataPath,
    /// Which tree, and its path there.
    pub(super) tree: usize,
    pub(super) relative: PathBuf,
    pub(super) mode: u32,
    pub(super) bytes: u64,
    pub(super) digest: ContentDigest,
}

/// Every part of every file; sorted, each pack is read once from its beginning to its end.
#[derive(Debug, Default)]
pub(super) struct PieceList {
    pub(super) files: Vec<PlannedFile>,
    pub(super) pieces: Vec<Piece>,
}

impl PieceList {
    pub(super) fn add(&mut self, file: PlannedFile, extents: &[Extent]) {
        let number = self.files.len();
        let mut file_offset = 0;
        for extent in extents.iter().filter(|extent| extent.length > 0) {
            let Extent { pack, offset, length } = *extent;
            self.pieces.push(Piece { pack, offset, length, file: number, file_offset });
            file_offset += length;
        }
        self.files.push(file);
    }

    pub(super) fn sort(&mut self) {
        self.pieces.sort_unstable();
    }

    /// The pieces pack by pack.
    pub(super) fn by_pack(&self) -> impl Iterator<Item = &[Piece]> {
        self.pieces.chunk_by(|one, other| one.pack == other.pack)
    }
}

/// A sink's error or the repository's.
pub(super) fn flatten(error: SinkError<RestoreError>) -> RestoreError {
    match error {
        SinkError::Repository(error) => error.into(),
        SinkError::Sink(error) => error,
    }
}
