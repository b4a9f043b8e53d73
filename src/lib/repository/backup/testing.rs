//! Backups for unit tests: small ones made of given files, and one that refers to the packs of another.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::file_map::{LeafRef, MapRoot};
use super::{
    BackupBegin, BackupId, BackupMethod, BackupNeeds, BackupRecord, BackupSizes, BackupWriter, DocumentKind, FileEntry,
    FileKind, NodeDescription, ServerDescription, StoredContent,
};
use crate::codec::{ContentDigest, ObjectKind};
use crate::pg::{DataPath, Lsn, PgMajorVersion, SystemIdentifier, TimelineId, WalSegmentSize};
use crate::repository::ClusterName;
use crate::repository::pack::{PackOptions, StoredFile};
use crate::repository::testing::TestRepository;

pub(crate) fn path(text: &str) -> DataPath {
    DataPath::parse(text.as_bytes()).unwrap()
}

fn epoch() -> Timestamp {
    "2026-11-21T00:00:00Z".parse().unwrap()
}

/// A record with made-up facts and the given digests.
pub(crate) fn record(
    test: &TestRepository,
    id: BackupId,
    writer: &BackupWriter,
    content: &StoredContent,
) -> BackupRecord {
    BackupRecord {
        required_features: Vec::new(),
        id,
        sequence: writer.sequence(),
        previous: writer.previous().cloned(),
        parents: Vec::new(),
        cluster: test.cluster.name.clone(),
        system_identifier: test.cluster.system_identifier,
        method: BackupMethod::Stream,
        label: "test".to_owned(),
        node: NodeDescription { host: "/tmp".to_owned(), port: 5432, is_standby: false },
        major_version: PgMajorVersion::new(15).unwrap(),
        version_num: 150_020,
        pgv_version: "0".to_owned(),
        start_lsn: Lsn::new(0x200_0028).unwrap(),
        start_timeline: TimelineId::FIRST,
        stop_lsn: Lsn::new(0x200_0100).unwrap(),
        stop_timeline: TimelineId::FIRST,
        start_time: epoch(),
        stop_time: epoch(),
        wal_segment_size: WalSegmentSize::new(16 << 20).unwrap(),
        block_bytes: 8192,
        data_checksums: true,
        sizes: BackupSizes::default(),
        root_digest: content.root_digest,
        needs_digest: content.needs_digest,
        documents: writer.documents().to_vec(),
        tablespaces: Vec::new(),
        server: ServerDescription::default(),
        findings: Vec::new(),
    }
}

fn begin(id: BackupId) -> BackupBegin {
    BackupBegin { id, host: "host-one".to_owned(), parents: Vec::new(), began: epoch() }
}

/// What every server sends with a backup; nothing in these tests reads it.
pub(crate) const BACKUP_LABEL: &[u8] = b"START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\n";

/// Takes a backup of these files; a name that ends with a slash is a directory.
pub(crate) fn backup(test: &TestRepository, files: &BTreeMap<String, Vec<u8>>, options: PackOptions) -> BackupRecord {
    backup_with(test, files, options, |_| {})
}

/// The same, with other facts in its record.
pub(crate) fn backup_with(
    test: &TestRepository,
    files: &BTreeMap<String, Vec<u8>>,
    options: PackOptions,
    change: impl FnOnce(&mut BackupRecord),
) -> BackupRecord {
    let id = BackupId::generate(epoch());
    let mut writer = BackupWriter::begin(&test.repository, &test.cluster, &test.writer, &begin(id)).unwrap();
    let mut packs = writer.packs(options).unwrap();
    let mut entries = Vec::new();
    writer.store_document(DocumentKind::BackupLabel, "backup_label", None, BACKUP_LABEL).unwrap();
    for (name, content) in files {
        if let Some(name) = name.strip_suffix('/') {
            entries.push((path(name), FileEntry::new(&path(name), 0o700, epoch(), FileKind::Directory)));
            continue;
        }
        packs.begin_file(content.len() as u64).unwrap();
        for piece in content.chunks(10_007) {
            packs.write(piece).unwrap();
        }
        let StoredFile { extents, digest } = packs.end_file().unwrap();
        let kind = FileKind::File { bytes: content.len() as u64, digest, extents };
        entries.push((path(name), FileEntry::new(&path(name), 0o600, epoch(), kind)));
    }
    let content = writer.store_map(entries, packs).unwrap();
    let mut record = record(test, id, &writer, &content);
    change(&mut record);
    writer.finish(&record).unwrap();
    record
}

/// A backup that holds nothing of its own but its map: every extent lies in the packs of `earlier`.
pub(crate) fn backup_referring_to(test: &TestRepository, earlier: &BackupRecord) -> BackupRecord {
    backup_referring_to_with(test, earlier, |_, _| {}, |_| {})
}

/// The same, with other entries in its map, and other facts in its record.
pub(crate) fn backup_referring_to_with(
    test: &TestRepository,
    earlier: &BackupRecord,
    mut change_entry: impl FnMut(&DataPath, &mut FileEntry),
    change: impl FnOnce(&mut BackupRecord),
) -> BackupRecord {
    let map = test.repository.file_map(&test.cluster, earlier).unwrap();
    let mut needs = map.needs().clone();
    let own_number = u32::try_from(needs.packs.len()).unwrap() + 100;
    let mut leaf = Vec::new();
    let mut entries = 0;
    map.for_each(&mut |path, mut entry| {
        change_entry(&path, &mut entry);
        leaf.extend(serde_json::to_vec(&entry).unwrap());
        leaf.push(b'\n');
        entries += 1;
        Ok::<(), crate::repository::RepositoryError>(())
    })
    .unwrap();
    let id = BackupId::generate(epoch());
    let mut writer = BackupWriter::begin(&test.repository, &test.cluster, &test.writer, &begin(id)).unwrap();
    writer.store_document(DocumentKind::BackupLabel, "backup_label", None, BACKUP_LABEL).unwrap();
    let mut packs = writer.packs(PackOptions::default()).unwrap();
    let mut place = packs.write_frame(&leaf).unwrap();
    place.pack = own_number;
    for mut need in packs.finish().unwrap() {
        need.number = own_number;
        needs.packs.push(need);
    }
    let digest = test.repository.keys().plain_digest(&leaf);
    let root = MapRoot { leaves: vec![LeafRef { first: String::new(), place, digest }], entries };
    let store = |object, kind, json: Vec<u8>| {
        let (key, spec) = test.repository.backup_object(&test.cluster, &id, object, kind).unwrap();
        test.repository.create_object(&key, &spec, &json, &test.writer).unwrap().1
    };
    let content = StoredContent {
        root_digest: store("root", ObjectKind::Root, serde_json::to_vec(&root).unwrap()),
        needs_digest: store("needs", ObjectKind::Needs, serde_json::to_vec::<BackupNeeds>(&needs).unwrap()),
        sizes: BackupSizes::default(),
    };
    let mut record = record(test, id, &writer, &content);
    record.parents = vec![earlier.id];
    change(&mut record);
    writer.finish(&record).unwrap();
    record
}

/// A backup whose map, documents and record say what a test wants, right or wrong.
#[derive(Default)]
pub(crate) struct HandMade {
    files: Vec<(String, Vec<u8>)>,
    /// Lines of the map without their braces, and what they are sorted by.
    pub(crate) lines: Vec<(Vec<u8>, String)>,
    documents: Vec<(DocumentKind, String, Option<std::path::PathBuf>, Vec<u8>)>,
    pub(crate) tablespaces: Vec<super::TablespaceRef>,
    pub(crate) settings: BTreeMap<String, String>,
}

impl HandMade {
    /// A file with content.
    pub(crate) fn file(&mut self, name: &str, content: &[u8]) {
        self.files.push((name.to_owned(), content.to_vec()));
    }

    pub(crate) fn directory(&mut self, name: &str) {
        let entry = FileEntry::new(&path(name), 0o700, epoch(), FileKind::Directory);
        let line = serde_json::to_string(&entry).unwrap();
        self.line(name, line.trim_matches(['{', '}']));
    }

    /// A line of the map, sorted where `name` belongs.
    pub(crate) fn line(&mut self, name: &str, line: &str) {
        self.line_bytes(name.as_bytes(), line);
    }

    pub(crate) fn line_bytes(&mut self, name: &[u8], line: &str) {
        self.lines.push((name.to_vec(), line.to_owned()));
    }

    pub(crate) fn document(&mut self, kind: DocumentKind, name: &str, path: Option<std::path::PathBuf>, bytes: &[u8]) {
        self.documents.push((kind, name.to_owned(), path, bytes.to_vec()));
    }
}

/// Stores such a backup.
pub(crate) fn hand_made(test: &TestRepository, made: HandMade) -> BackupRecord {
    let id = BackupId::generate(epoch());
    let mut writer = BackupWriter::begin(&test.repository, &test.cluster, &test.writer, &begin(id)).unwrap();
    for (kind, name, path, bytes) in made.documents {
        writer.store_document(kind, &name, path, &bytes).unwrap();
    }
    let mut packs = writer.packs(PackOptions::default()).unwrap();
    let mut lines: Vec<(Vec<u8>, String)> =
        made.lines.into_iter().map(|(name, line)| (name, format!("{{{line}}}\n"))).collect();
    for (name, content) in made.files {
        packs.begin_file(content.len() as u64).unwrap();
        packs.write(&content).unwrap();
        let StoredFile { extents, digest } = packs.end_file().unwrap();
        let kind = FileKind::File { bytes: content.len() as u64, digest, extents };
        let entry = FileEntry::new(&path(&name), 0o600, epoch(), kind);
        lines.push((name.into_bytes(), serde_json::to_string(&entry).unwrap() + "\n"));
    }
    lines.sort();
    let entries = lines.len() as u64;
    let leaf: Vec<u8> = lines.into_iter().flat_map(|(_, line)| line.into_bytes()).collect();
    let place = packs.write_frame(&leaf).unwrap();
    let needs = packs.finish().unwrap();
    let digest = test.repository.keys().plain_digest(&leaf);
    let root = MapRoot { leaves: vec![LeafRef { first: String::new(), place, digest }], entries };
    let store = |object, kind, json: Vec<u8>| {
        let (key, spec) = test.repository.backup_object(&test.cluster, &id, object, kind).unwrap();
        test.repository.create_object(&key, &spec, &json, &test.writer).unwrap().1
    };
    let content = StoredContent {
        root_digest: store("root", ObjectKind::Root, serde_json::to_vec(&root).unwrap()),
        needs_digest: store("needs", ObjectKind::Needs, serde_json::to_vec(&BackupNeeds { packs: needs }).unwrap()),
        sizes: BackupSizes::default(),
    };
    let mut record = record(test, id, &writer, &content);
    record.tablespaces = made.tablespaces;
    record.server.settings = made.settings;
    writer.finish(&record).unwrap();
    record
}

/// A record of which nothing matters but what a test says of it.
pub(crate) fn bare_record(id: BackupId) -> BackupRecord {
    let lsn = Lsn::new(1).unwrap();
    BackupRecord {
        required_features: Vec::new(),
        id,
        sequence: 1,
        previous: None,
        parents: Vec::new(),
        cluster: ClusterName::parse("main").unwrap(),
        system_identifier: SystemIdentifier::new(7_000_000_000_000_000_001).unwrap(),
        method: BackupMethod::Stream,
        label: "test".to_owned(),
        node: NodeDescription { host: "/tmp".to_owned(), port: 5432, is_standby: false },
        major_version: PgMajorVersion::new(15).unwrap(),
        version_num: 150_020,
        pgv_version: "0".to_owned(),
        start_lsn: lsn,
        start_timeline: TimelineId::FIRST,
        stop_lsn: lsn,
        stop_timeline: TimelineId::FIRST,
        start_time: Timestamp::UNIX_EPOCH,
        stop_time: Timestamp::UNIX_EPOCH,
        wal_segment_size: WalSegmentSize::new(16 << 20).unwrap(),
        block_bytes: 8192,
        data_checksums: true,
        sizes: BackupSizes::default(),
        root_digest: ContentDigest::from_bytes([0; 32]),
        needs_digest: ContentDigest::from_bytes([0; 32]),
        documents: Vec::new(),
        tablespaces: Vec::new(),
        server: ServerDescription::default(),
        findings: Vec::new(),
    }
}
