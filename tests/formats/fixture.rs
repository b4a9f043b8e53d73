//! A repository written by the library's public interface, the same each time: WAL of four kinds, a backup with every
//! kind of entry, and a second one that refers to the packs of the first.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use pgv::codec::{CompressionLevel, ContentDigest, FileHasher, ObjectKind, RepositoryId};
use pgv::pg::{DataPath, Lsn, PgMajorVersion, SystemIdentifier, TimelineId, WalFileName, WalSegmentSize};
use pgv::repository::{
    BackupBegin, BackupId, BackupMethod, BackupRecord, BackupSizes, BackupWriter, ClusterIdentity, ClusterName,
    ClusterRef, DocumentKind, Extent, FORMAT, FileEntry, FileKind, NodeDescription, PackOptions, Repository,
    RepositoryDescription, RepositoryError, ServerDescription, Stored, StoredContent, StoredFile, TablespaceRef,
    WalArchive, WalFileContent, Writer, WriterDescription,
};
use pgv::store::LocalStore;

use crate::sealing;

pub(crate) const SYSTEM: &str = "7000000000000000001";
pub(crate) const FIRST: &str = "20261121T143000Z-00000001";
pub(crate) const SECOND: &str = "20261122T143000Z-00000002";
const BLOCK_BYTES: u32 = 8192;
const SEGMENT_BYTES: usize = 2 << 20;
/// The number that the second backup gives its own pack.
const OWN_NUMBER: u32 = 100;

pub(crate) struct Fixture {
    pub(crate) root: PathBuf,
    pub(crate) repository: Repository,
    pub(crate) cluster: ClusterRef,
    pub(crate) writer: Writer,
}

/// What lies under a path of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    File(Vec<u8>),
    Directory,
    Link(PathBuf),
}

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn backup_id(text: &str) -> BackupId {
    text.parse().unwrap()
}

/// Bytes that compress well and tell where they come from.
pub(crate) fn pattern(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|at| ((at >> 13) as u8).wrapping_mul(31) ^ (at % 7) as u8 ^ seed).collect()
}

/// Every WAL file of the fixture.
pub(crate) fn wal_files() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        // Two frames each.
        ("000000010000000000000003", pattern(SEGMENT_BYTES, 3)),
        ("000000010000000100000000", pattern(SEGMENT_BYTES, 4)),
        ("000000010000000100000001.partial", pattern(SEGMENT_BYTES, 5)),
        ("000000010000000000000003.00000028.backup", b"START WAL LOCATION: 0/3000028\n".to_vec()),
        ("00000002.history", b"1\t1/100000\tno recovery target specified\n".to_vec()),
    ]
}

/// The files of a backup. Those of the second differ from the first's in one of them.
pub(crate) fn content(backup: &str, tablespace: &Path) -> Vec<(DataPath, Content)> {
    let file = |length, seed| Content::File(pattern(length, seed));
    let changed = if backup == SECOND { 77 } else { 7 };
    let entries: Vec<(&[u8], Content)> = vec![
        (b"PG_VERSION", Content::File(b"15\n".to_vec())),
        (b"base", Content::Directory),
        (b"base/5", Content::Directory),
        // Larger than a frame, and lying in two packs.
        (b"base/5/16384", file(300_000, 1)),
        (b"base/5/16385", file(0, 0)),
        (b"base/5/16386", file(20_000, changed)),
        (b"base/5/16387", file(65_536, 9)),
        (b"base/5/16388", file(65_537, 10)),
        (b"base/5/odd-\xff\x80", file(11, 2)),
        (b"global", Content::Directory),
        (b"global/pg_control", file(8192, 8)),
        (b"pg_tblspc", Content::Directory),
        (b"pg_tblspc/16400", Content::Link(tablespace.to_owned())),
        (b"pg_tblspc/16400/PG_15_202209061", Content::Directory),
        (b"pg_tblspc/16400/PG_15_202209061/16389", file(100_000, 6)),
        (b"pg_wal", Content::Directory),
    ];
    entries.into_iter().map(|(path, content)| (DataPath::parse(path).unwrap(), content)).collect()
}

/// The documents of both backups.
pub(crate) fn documents(tablespace: &Path) -> Vec<(DocumentKind, &'static str, Option<PathBuf>, Vec<u8>)> {
    let map = format!("16400 {}\n", tablespace.display());
    vec![
        (DocumentKind::BackupLabel, "backup_label", None, b"START WAL LOCATION: 0/3000028\n".to_vec()),
        (DocumentKind::TablespaceMap, "tablespace_map", None, map.into_bytes()),
        (
            DocumentKind::BackupManifest,
            "backup_manifest",
            None,
            b"{ \"PostgreSQL-Backup-Manifest-Version\": 1 }\n".to_vec(),
        ),
        (
            DocumentKind::Configuration,
            "configuration-000",
            Some("/etc/postgresql/15/main/pg_hba.conf".into()),
            b"local all all peer\n".to_vec(),
        ),
    ]
}

/// Writes the whole fixture to `root`, which must not exist.
pub(crate) fn write(root: &Path, tablespace: &Path) -> Fixture {
    let store = Arc::new(LocalStore::create(root).unwrap());
    let description = RepositoryDescription {
        format: FORMAT,
        required_features: Vec::new(),
        id: RepositoryId::from_bytes(*b"golden-format-01"),
        created: at("2026-11-21T00:00:00Z"),
    };
    let (repository, created) = Repository::create(store, &description).unwrap();
    assert!(created);
    let cluster = ClusterRef {
        name: ClusterName::parse("main").unwrap(),
        system_identifier: SYSTEM.parse::<SystemIdentifier>().unwrap(),
    };
    let description = WriterDescription::new("db1.example.org", Path::new("/srv/pgdata"), at("2026-11-21T00:00:01Z"));
    let writer = Writer::new(&repository, description);
    let fixture = Fixture { root: root.to_owned(), repository, cluster, writer };
    fixture.register();
    fixture.archive();
    fixture.first_backup(tablespace);
    fixture.second_backup(tablespace);
    fixture
}

/// A root, as the document says: the library offers none to build by hand.
#[derive(serde::Serialize)]
struct MapRootText {
    leaves: [LeafText; 1],
    entries: u64,
}

#[derive(serde::Serialize)]
struct LeafText {
    first: &'static str,
    place: Extent,
    digest: ContentDigest,
}

impl Fixture {
    fn register(&self) {
        let identity = ClusterIdentity {
            cluster: self.cluster.name.clone(),
            system_identifier: self.cluster.system_identifier,
            major_version: PgMajorVersion::new(15).unwrap(),
            wal_segment_size: WalSegmentSize::new(SEGMENT_BYTES as u64).unwrap(),
            since: at("2026-11-21T00:00:02.5Z"),
        };
        self.repository.introduce(&self.cluster.name, &self.writer).unwrap();
        self.repository.register(&identity, &self.writer).unwrap();
    }

    fn archive(&self) {
        let archive = WalArchive::new(&self.repository, &self.cluster);
        for (name, content) in wal_files() {
            let name = WalFileName::parse(name).unwrap();
            let stored =
                archive.store(&name, WalFileContent::Whole(&content), CompressionLevel::DEFAULT, &self.writer).unwrap();
            assert_eq!(stored, Stored::Created);
        }
    }

    pub(crate) fn begin(&self, id: &str, parents: &[&str]) -> BackupWriter {
        let begin = BackupBegin {
            id: backup_id(id),
            host: "db1.example.org".to_owned(),
            parents: parents.iter().map(|id| backup_id(id)).collect(),
            began: at("2026-11-21T14:30:00Z"),
        };
        BackupWriter::begin(&self.repository, &self.cluster, &self.writer, &begin).unwrap()
    }

    fn entry(&self, path: &DataPath, kind: FileKind) -> FileEntry {
        let mode = if matches!(kind, FileKind::File { .. }) { 0o600 } else { 0o700 };
        FileEntry::new(path, mode, at("2026-11-20T10:00:00Z"), kind)
    }

    fn store_documents(&self, backup: &mut BackupWriter, tablespace: &Path) {
        for (kind, name, path, content) in documents(tablespace) {
            backup.store_document(kind, name, path, &content).unwrap();
        }
    }

    fn first_backup(&self, tablespace: &Path) {
        self.full_backup(FIRST, tablespace, |_| ());
    }

    /// One that refers to no other; its record is changed before it is stored.
    pub(crate) fn full_backup(&self, id: &str, tablespace: &Path, change: impl FnOnce(&mut BackupRecord)) {
        let mut backup = self.begin(id, &[]);
        // So small that a file has to go on in the next pack.
        let options = PackOptions { pack_bytes: 200_000, ..PackOptions::default() };
        let mut packs = backup.packs(options).unwrap();
        let mut entries = Vec::new();
        for (path, content) in content(id, tablespace) {
            let kind = match content {
                Content::Directory => FileKind::Directory,
                Content::Link(target) => FileKind::Link { target },
                Content::File(bytes) => {
                    packs.begin_file(bytes.len() as u64).unwrap();
                    packs.write(&bytes).unwrap();
                    let StoredFile { extents, digest } = packs.end_file().unwrap();
                    FileKind::File { bytes: bytes.len() as u64, digest, extents }
                }
            };
            entries.push((path.clone(), self.entry(&path, kind)));
        }
        self.store_documents(&mut backup, tablespace);
        let stored = backup.store_map(entries, packs).unwrap();
        let mut record = self.record(&backup, &stored, &[], tablespace);
        change(&mut record);
        backup.finish(&record).unwrap();
    }

    /// As a later pgv will take it: only what changed is stored, everything else lies in the first backup's packs.
    fn second_backup(&self, tablespace: &Path) {
        let earlier = self.repository.record(&self.cluster, &backup_id(FIRST)).unwrap();
        let map = self.repository.file_map(&self.cluster, &earlier).unwrap();
        let mut needs = map.needs().clone();
        let mut backup = self.begin(SECOND, &[FIRST]);
        let mut packs = backup.packs(PackOptions::default()).unwrap();
        let (mut leaf, mut entries) = (Vec::new(), 0);
        let after = content(SECOND, tablespace);
        map.for_each::<RepositoryError>(&mut |path, mut entry| {
            let (_, now) = after.iter().find(|(known, _)| *known == path).unwrap();
            if let (FileKind::File { digest, extents, .. }, Content::File(bytes)) = (&mut entry.kind, now) {
                let mut hasher = FileHasher::new(self.repository.keys(), bytes.len() as u64, BLOCK_BYTES);
                hasher.update(bytes);
                if hasher.finish() != *digest {
                    packs.begin_file(bytes.len() as u64).unwrap();
                    packs.write(bytes).unwrap();
                    StoredFile { extents: *extents, digest: *digest } = packs.end_file().unwrap();
                    extents.iter_mut().for_each(|extent| extent.pack = OWN_NUMBER);
                }
            }
            leaf.extend(serde_json::to_vec(&entry).unwrap());
            leaf.push(b'\n');
            entries += 1;
            Ok(())
        })
        .unwrap();
        let mut place = packs.write_frame(&leaf).unwrap();
        place.pack = OWN_NUMBER;
        for mut need in packs.finish().unwrap() {
            need.number = OWN_NUMBER;
            need.live_bytes = need.plain_bytes;
            needs.packs.push(need);
        }
        let root = MapRootText {
            leaves: [LeafText { first: "PG_VERSION", place, digest: self.repository.keys().plain_digest(&leaf) }],
            entries,
        };
        let stored = StoredContent {
            root_digest: sealing::create_json(self, SECOND, "root", ObjectKind::Root, &root),
            needs_digest: sealing::create_json(self, SECOND, "needs", ObjectKind::Needs, &needs),
            sizes: BackupSizes {
                stored_bytes: needs.packs.last().map_or(0, |need| need.body_bytes),
                ..BackupSizes::default()
            },
        };
        self.store_documents(&mut backup, tablespace);
        let record = self.record(&backup, &stored, &[FIRST], tablespace);
        backup.finish(&record).unwrap();
    }

    pub(crate) fn record(
        &self,
        backup: &BackupWriter,
        stored: &StoredContent,
        parents: &[&str],
        tablespace: &Path,
    ) -> BackupRecord {
        let settings = [("port", "5432"), ("TimeZone", "Europe/Berlin")];
        let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        BackupRecord {
            required_features: Vec::new(),
            id: backup.id(),
            sequence: backup.sequence(),
            previous: backup.previous().cloned(),
            parents: parents.iter().map(|id| backup_id(id)).collect(),
            cluster: self.cluster.name.clone(),
            system_identifier: self.cluster.system_identifier,
            method: BackupMethod::Stream,
            label: "golden".to_owned(),
            node: NodeDescription { host: "/var/run/postgresql".to_owned(), port: 5432, is_standby: false },
            major_version: PgMajorVersion::new(15).unwrap(),
            version_num: 150_020,
            pgv_version: "0.1.0".to_owned(),
            start_lsn: "0/3000028".parse::<Lsn>().unwrap(),
            start_timeline: TimelineId::FIRST,
            stop_lsn: "0/3000100".parse::<Lsn>().unwrap(),
            stop_timeline: TimelineId::FIRST,
            start_time: at("2026-11-21T14:30:00.123456Z"),
            stop_time: at("2026-11-21T14:31:00Z"),
            wal_segment_size: WalSegmentSize::new(SEGMENT_BYTES as u64).unwrap(),
            block_bytes: BLOCK_BYTES,
            data_checksums: true,
            sizes: BackupSizes {
                files: 9,
                directories: 6,
                file_bytes: 559_279,
                stored_bytes: stored.sizes.stored_bytes,
            },
            root_digest: stored.root_digest,
            needs_digest: stored.needs_digest,
            documents: backup.documents().to_vec(),
            tablespaces: vec![TablespaceRef { oid: 16400, path: tablespace.to_owned() }],
            server: ServerDescription {
                version: Some("PostgreSQL 15.20".to_owned()),
                settings: pairs(&settings),
                libraries: pairs(&[("libc", "2.36")]),
            },
            findings: Vec::new(),
        }
    }
}
