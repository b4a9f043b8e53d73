//! What a method hands over, and the record that is made of it.

use jiff::Timestamp;

use super::description::Description;
use super::direct::Taker;
use super::session::{ServerIdentity, ServerSession};
use super::streamed::StreamedFiles;
use super::{BackupError, BackupOptions};
use crate::fs::SpillFile;
use crate::pg::{DataFileKind, DataPath};
use crate::report::{Cancel, Reporter};
use crate::repository::{
    BackupMethod, BackupRecord, BackupWriter, DocumentKind, NodeDescription, SelectedCluster, StoredContent,
    TablespaceRef,
};
use crate::server::WalPosition;

/// All that was taken.
pub(super) struct Taken {
    pub(super) method: BackupMethod,
    pub(super) start: WalPosition,
    pub(super) stop: WalPosition,
    /// By the server's clock.
    pub(super) start_time: Timestamp,
    pub(super) stop_time: Timestamp,
    pub(super) backup_label: Vec<u8>,
    pub(super) tablespace_map: Option<Vec<u8>>,
    /// The server's; a direct backup has none.
    pub(super) manifest: Option<SpillFile>,
    pub(super) tablespaces: Vec<TablespaceRef>,
    pub(super) findings: Vec<String>,
    pub(super) content: TakenContent,
}

/// The files, whose map is still to be stored.
pub(super) enum TakenContent {
    /// Sorted, and still to be compared with the manifest.
    Streamed(Box<StreamedFiles>),
    /// Sorted, and mostly stored.
    Read(Box<Taker>),
}

impl TakenContent {
    fn store(self, backup: &mut BackupWriter, cancel: &Cancel) -> Result<StoredContent, BackupError> {
        match self {
            Self::Streamed(files) => files.store(backup, cancel),
            Self::Read(taker) => Ok(taker.finish(backup)?),
        }
    }
}

impl TakenContent {
    /// Whether it lacks a file that was looked for. Of files that are read here it is known before.
    fn lack(&self, file: &DataPath) -> bool {
        match self {
            Self::Streamed(files) => files.arrived.lack(file),
            Self::Read(_) => false,
        }
    }
}

/// LIMIT: relation files that are told one by one.
pub(super) const CUT_MAX: usize = 100;

/// A relation's file that ends within a page: what came behind is lost, unless replay writes it anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CutRelation {
    pub(super) path: DataPath,
    pub(super) bytes: u64,
}

/// Whether this is a relation's file, and ends within a page.
pub(super) fn is_within_page(path: &DataPath, bytes: u64, page_bytes: u64) -> bool {
    bytes.checked_rem(page_bytes).is_some_and(|rest| rest > 0) && matches!(path.classify(), DataFileKind::Relation(_))
}

impl TakenContent {
    /// PostgreSQL warns of such files too, where it verifies checksums.
    pub(super) fn warn_of_cut(&self, page_bytes: u32, reporter: &dyn Reporter) {
        let cut = match self {
            Self::Streamed(files) => files.arrived.cut(),
            Self::Read(taker) => taker.cut(),
        };
        for CutRelation { path, bytes } in cut {
            reporter.warn(&format!(
                "\"{path}\" has {bytes} bytes, which is no multiple of {page_bytes}: its last page is cut short"
            ));
        }
    }
}

/// Stores documents and map, and puts the record together.
#[expect(clippy::too_many_arguments, reason = "everything that a record says comes together here, once")]
pub(super) fn store(
    session: &mut ServerSession<'_>,
    selected: &SelectedCluster,
    server: &ServerIdentity,
    description: Description,
    taken: Taken,
    backup: &mut BackupWriter,
    options: &BackupOptions,
    reporter: &dyn Reporter,
) -> Result<BackupRecord, BackupError> {
    session.check_cancel()?;
    reporter.step("storing the file map");
    backup.store_document(DocumentKind::BackupLabel, "backup_label", None, &taken.backup_label)?;
    if let Some(map) = &taken.tablespace_map {
        backup.store_document(DocumentKind::TablespaceMap, "tablespace_map", None, map)?;
    }
    if let Some(mut manifest) = taken.manifest {
        backup.store_document_file(DocumentKind::BackupManifest, "backup_manifest", &mut manifest)?;
    }
    let configuration = description.configuration.beside(|file| taken.content.lack(file), reporter);
    for (number, (path, bytes)) in configuration.into_iter().enumerate() {
        let name = format!("configuration-{number:03}");
        backup.store_document(DocumentKind::Configuration, &name, Some(path), &bytes)?;
    }
    let stored = taken.content.store(backup, session.cancel())?;
    Ok(BackupRecord {
        required_features: Vec::new(),
        id: backup.id(),
        sequence: backup.sequence(),
        previous: backup.previous().cloned(),
        parents: Vec::new(),
        cluster: selected.cluster.name.clone(),
        system_identifier: server.system_identifier,
        method: taken.method,
        label: options.label.clone(),
        node: NodeDescription { host: session.host(), port: session.port(), is_standby: server.is_standby },
        major_version: server.major_version,
        version_num: server.version_num,
        pgv_version: env!("CARGO_PKG_VERSION").to_owned(),
        start_lsn: taken.start.lsn,
        start_timeline: taken.start.timeline,
        stop_lsn: taken.stop.lsn,
        stop_timeline: taken.stop.timeline,
        start_time: taken.start_time,
        stop_time: taken.stop_time,
        wal_segment_size: selected.identity.wal_segment_size,
        block_bytes: description.block_bytes,
        data_checksums: description.data_checksums,
        sizes: stored.sizes,
        root_digest: stored.root_digest,
        needs_digest: stored.needs_digest,
        documents: backup.documents().to_vec(),
        tablespaces: taken.tablespaces,
        server: description.server,
        findings: taken.findings,
    })
}
