//! A small repository of which everything is known: WAL that real servers of 15 and 16 wrote, as two clusters that have
//! segments of the same names, and two backups of one of them. What is delivered from it is compared with what went in.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pgv::clock::SystemClock;
use pgv::codec::{CompressionLevel, RepositoryId};
use pgv::fetch::{self, FetchOptions};
use pgv::pg::{
    ControlFile, DataPath, Lsn, PgMajorVersion, RecoveryMode, RecoveryTarget, RecoveryTargetAction,
    RecoveryTargetTimeline, RestoredArchiving, SystemIdentifier, TimelineId, WalFileName, WalSegmentHeader,
    WalSegmentName, WalSegmentSize,
};
use pgv::report::{Cancel, SilentReporter};
use pgv::repository::{
    BackupBegin, BackupId, BackupMethod, BackupRecord, BackupSizes, BackupWriter, ClusterIdentity, ClusterName,
    ClusterRef, ClusterSelection, DocumentKind, FORMAT, FileEntry, FileKind, NodeDescription, PackOptions, Repository,
    RepositoryDescription, RepositoryError, ServerDescription, StoredFile, WalArchive, WalFileContent, Writer,
    WriterDescription,
};
use pgv::restore::{self, BackupChoice, InTheWay, PreparedSettings, Proving, RestoreOptions, TablespaceChoice};
use pgv::store::LocalStore;
use pgv::verify::{Depth, VerifyOptions, VerifyReport, verify};

use crate::fixture::{at, pattern};
use crate::golden::data;
use crate::listing::read_file;
use crate::support::unpacked;

/// The clusters: name and major version of the WAL in tests/data.
const CLUSTERS: [(&str, u32); 2] = [("main", 15), ("other", 16)];
/// The segments of each: few, for each case reads them all. Both have these names.
const SEGMENTS: std::ops::RangeInclusive<u64> = 7..=9;
/// Where each backup begins and ends, in the WAL of 15.
const BACKUPS: [(&str, &str, &str); 2] =
    [("20261121T050000Z-00000001", "0/700028", "0/700288"), ("20261121T060000Z-00000002", "0/900028", "0/900100")];
const SEGMENT_BYTES: u64 = 1 << 20;

pub(crate) struct Swept {
    pub(crate) root: PathBuf,
    pub(crate) repository: Repository,
    clusters: Vec<(ClusterRef, BTreeMap<WalFileName, Vec<u8>>)>,
    backups: BTreeMap<BackupId, BTreeMap<String, Vec<u8>>>,
}

/// The WAL files of that version.
fn wal_of(version: u32) -> BTreeMap<WalFileName, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(data().join(format!("postgres-{version}/wal"))).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().trim_end_matches(".zst").to_owned();
        let name = WalFileName::parse(&name);
        let size = WalSegmentSize::new(SEGMENT_BYTES).unwrap();
        let is_wanted = match &name {
            Ok(WalFileName::Segment(segment)) => SEGMENTS.contains(&segment.number(size).unwrap()),
            Ok(_) => true,
            Err(_) => false,
        };
        if is_wanted {
            files.insert(name.unwrap(), unpacked(&path));
        }
    }
    files
}

/// A control file as the cluster's server of 15 has it.
fn control_file(system_identifier: SystemIdentifier) -> Vec<u8> {
    const SEGMENT_BYTES_AT: usize = 228;
    const CRC_AT: usize = 288;
    let mut bytes = std::fs::read(data().join("postgres-15/pg_control")).unwrap();
    bytes[..8].copy_from_slice(&system_identifier.get().to_le_bytes());
    bytes[SEGMENT_BYTES_AT..SEGMENT_BYTES_AT + 4].copy_from_slice(&(SEGMENT_BYTES as u32).to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..CRC_AT]);
    bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The files of a backup: of every size that is handled in its own way, and alike in both backups but for one.
fn content(number: u8, system_identifier: SystemIdentifier) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::from([
        (ControlFile::PATH.to_owned(), control_file(system_identifier)),
        ("PG_VERSION".to_owned(), b"15\n".to_vec()),
        ("base/5/1".to_owned(), pattern(300_000, 1)),
        ("base/5/2".to_owned(), pattern(70_000, number)),
        ("base/5/3".to_owned(), Vec::new()),
    ]);
    for small in 4..9 {
        files.insert(format!("base/5/{small}"), pattern(usize::from(small) * 1001, small));
    }
    files
}

impl Swept {
    /// Writes it below `root`, which must not exist.
    pub(crate) fn write(root: &Path, id: [u8; 16]) -> Self {
        let store = Arc::new(LocalStore::create(root).unwrap());
        let created = at("2026-11-21T00:00:00Z");
        let (id, required_features) = (RepositoryId::from_bytes(id), Vec::new());
        let description = RepositoryDescription { format: FORMAT, required_features, id, created };
        let (repository, _) = Repository::create(store, &description).unwrap();
        let description = WriterDescription::new("db1", Path::new("/srv/pgdata"), created);
        let writer = Writer::new(&repository, description);
        let mut swept = Self { root: root.to_owned(), repository, clusters: Vec::new(), backups: BTreeMap::new() };
        for (name, version) in CLUSTERS {
            swept.archive(name, version, &writer);
        }
        for (number, (backup, start, stop)) in (2..).zip(BACKUPS) {
            let files = content(number, swept.clusters[0].0.system_identifier);
            swept.back_up(backup, files, (start.parse().unwrap(), stop.parse().unwrap()), &writer);
        }
        swept
    }

    fn archive(&mut self, name: &str, version: u32, writer: &Writer) {
        let files = wal_of(version);
        let first = files.iter().find(|(name, _)| matches!(name, WalFileName::Segment(_))).unwrap().1;
        let header = WalSegmentHeader::decode(first).unwrap();
        let system_identifier = header.system_identifier;
        let cluster = ClusterRef { name: ClusterName::parse(name).unwrap(), system_identifier };
        let identity = ClusterIdentity {
            cluster: cluster.name.clone(),
            system_identifier,
            major_version: PgMajorVersion::new(version).unwrap(),
            wal_segment_size: header.segment_size,
            since: at("2026-11-21T00:00:00Z"),
        };
        self.repository.register(&identity, writer).unwrap();
        let archive = WalArchive::new(&self.repository, &cluster);
        for (name, content) in &files {
            archive.store(name, WalFileContent::Whole(content), CompressionLevel::DEFAULT, writer).unwrap();
        }
        self.clusters.push((cluster, files));
    }

    /// Takes one more backup, of these files.
    pub(crate) fn back_up_more(&mut self, files: BTreeMap<String, Vec<u8>>) {
        let (_, start, stop) = BACKUPS[1];
        let writer = self.cluster_and_writer().1;
        let place = (start.parse().unwrap(), stop.parse().unwrap());
        self.back_up("20261121T070000Z-00000003", files, place, &writer);
    }

    /// The cluster with backups, and who wrote it.
    pub(crate) fn cluster_and_writer(&self) -> (ClusterRef, Writer) {
        let description = WriterDescription::new("db1", Path::new("/srv/pgdata"), at("2026-11-21T00:00:00Z"));
        (self.clusters[0].0.clone(), Writer::new(&self.repository, description))
    }

    fn back_up(&mut self, id: &str, files: BTreeMap<String, Vec<u8>>, place: (Lsn, Lsn), writer: &Writer) {
        let (start_lsn, stop_lsn) = place;
        let id: BackupId = id.parse().unwrap();
        let (cluster, _) = &self.clusters[0];
        let began = at("2026-11-21T05:00:00Z");
        let begin = BackupBegin { id, host: "db1".to_owned(), parents: Vec::new(), began };
        let mut backup = BackupWriter::begin(&self.repository, cluster, writer, &begin).unwrap();
        // So small that a file has to go on in the next pack.
        let pack_bytes = if files.len() < 100 { 60_000 } else { PackOptions::default().pack_bytes };
        let mut packs = backup.packs(PackOptions { pack_bytes, ..PackOptions::default() }).unwrap();
        let path = |name: &str| DataPath::parse(name.as_bytes()).unwrap();
        let entry = |name: &str, mode, kind| (path(name), FileEntry::new(&path(name), mode, began, kind));
        let folders = ["base", "base/5", "global", "pg_wal"];
        let mut entries: Vec<_> = folders.into_iter().map(|name| entry(name, 0o700, FileKind::Directory)).collect();
        for (name, content) in &files {
            packs.begin_file(content.len() as u64).unwrap();
            packs.write(content).unwrap();
            let StoredFile { extents, digest } = packs.end_file().unwrap();
            entries.push(entry(name, 0o600, FileKind::File { bytes: content.len() as u64, digest, extents }));
        }
        entries.sort_by(|one, other| one.0.cmp(&other.0));
        backup.store_document(DocumentKind::BackupLabel, "backup_label", None, b"START WAL LOCATION\n").unwrap();
        let stored = backup.store_map(entries, packs).unwrap();
        let record = BackupRecord {
            required_features: Vec::new(),
            id,
            sequence: backup.sequence(),
            previous: backup.previous().cloned(),
            parents: Vec::new(),
            cluster: cluster.name.clone(),
            system_identifier: cluster.system_identifier,
            method: BackupMethod::Stream,
            label: String::new(),
            node: NodeDescription { host: "/tmp".to_owned(), port: 5432, is_standby: false },
            major_version: PgMajorVersion::new(15).unwrap(),
            version_num: 150_018,
            pgv_version: "0.1.0".to_owned(),
            start_lsn,
            start_timeline: TimelineId::FIRST,
            stop_lsn,
            stop_timeline: TimelineId::FIRST,
            start_time: began,
            stop_time: began,
            wal_segment_size: WalSegmentSize::new(SEGMENT_BYTES).unwrap(),
            block_bytes: 8192,
            data_checksums: true,
            sizes: BackupSizes {
                files: files.len() as u64,
                directories: folders.len() as u64,
                file_bytes: files.values().map(|content| content.len() as u64).sum(),
                stored_bytes: stored.sizes.stored_bytes,
            },
            root_digest: stored.root_digest,
            needs_digest: stored.needs_digest,
            documents: backup.documents().to_vec(),
            tablespaces: Vec::new(),
            server: ServerDescription::default(),
            findings: Vec::new(),
        };
        backup.finish(&record).unwrap();
        self.backups.insert(id, files);
    }

    /// The files of all objects but repository.json, sorted.
    pub(crate) fn objects(&self) -> Vec<PathBuf> {
        let keys = self.repository.list("").unwrap();
        keys.iter().filter(|key| key.as_str() != "repository.json").map(|key| self.root.join(key.as_str())).collect()
    }

    pub(crate) fn verify(&self, depth: Depth) -> VerifyReport {
        let options = VerifyOptions {
            url: self.root.display().to_string(),
            path: self.root.clone(),
            configuration_file: None,
            cluster: None,
            backup: None,
            depth,
            wal_records: false,
            threads: 1,
        };
        verify(&self.repository, &options, &SilentReporter, &Cancel::new()).unwrap()
    }

    /// Fetches a WAL file as recovery does. Whether it was delivered; other bytes than those that were archived panic.
    pub(crate) fn fetch(&self, stored: &Path) -> bool {
        let key = stored.strip_prefix(&self.root).unwrap().to_str().unwrap();
        let of_key = |cluster: &ClusterRef| key.starts_with(&format!("{}/", cluster.name));
        let (cluster, files) = self.clusters.iter().find(|(cluster, _)| of_key(cluster)).unwrap();
        let name = WalFileName::parse(key.rsplit('/').next().unwrap()).unwrap();
        let destination = self.root.with_extension("fetched");
        let root = self.root.clone();
        let options = FetchOptions {
            name: name.to_string(),
            destination: destination.clone(),
            selection: ClusterSelection::Named(cluster.name.clone()),
            working_directory: PathBuf::from("/"),
            patience: Duration::ZERO,
            clock: Box::new(SystemClock),
            repository: "the repository".to_owned(),
            open_repository: Box::new(move || Repository::open(Arc::new(LocalStore::open(&root)?), None)),
        };
        let fetched = fetch::run(&options, &SilentReporter);
        let delivered = std::fs::read(&destination).ok();
        let _ = std::fs::remove_file(&destination);
        assert!(delivered.is_none_or(|delivered| delivered == files[&name]), "other bytes were delivered for {key}");
        fetched.is_ok()
    }

    /// How many files each backup has.
    pub(crate) fn files_of_one(&self) -> u32 {
        self.backups.values().next().unwrap().len() as u32
    }

    /// Restores every backup, and reads each file by itself. Which backups came back, and how many files; other content in
    /// what is said to be restored panics.
    pub(crate) fn restore_all(&self) -> (BTreeSet<BackupId>, u32) {
        let restored = self.backups.iter().filter(|(backup, files)| self.restore(**backup, files));
        let restored = restored.map(|(backup, _)| *backup).collect();
        (restored, self.backups.iter().map(|(backup, files)| self.read(*backup, files).unwrap_or(0)).sum())
    }

    /// The segment in which a backup begins and ends.
    pub(crate) fn segment_of(&self, backup: BackupId) -> PathBuf {
        let (_, start, _) = BACKUPS.into_iter().find(|(id, ..)| *id == backup.to_string()).unwrap();
        let start: Lsn = start.parse().unwrap();
        let size = WalSegmentSize::new(SEGMENT_BYTES).unwrap();
        let segment = WalSegmentName::containing(TimelineId::FIRST, start, size);
        let system_identifier = self.clusters[0].0.system_identifier;
        self.root.join(format!("main/{system_identifier}/wal/00000001/0000000100000000/{segment}"))
    }

    /// Reads each file of a backup: damage in one does not stand before the next. How many could be read.
    fn read(&self, backup: BackupId, files: &BTreeMap<String, Vec<u8>>) -> Result<u32, RepositoryError> {
        let cluster = &self.clusters[0].0;
        let record = self.repository.record(cluster, &backup)?;
        let map = self.repository.file_map(cluster, &record)?;
        let mut read = 0;
        map.for_each::<RepositoryError>(&mut |path, entry| {
            let FileKind::File { extents, .. } = entry.kind else { return Ok(()) };
            if let Ok(content) = read_file(&map, &extents) {
                let name = path.to_text().unwrap();
                assert!(content == files[name], "{name} of {backup} was read as something else");
                read += 1;
            }
            Ok(())
        })?;
        Ok(read)
    }

    fn restore(&self, backup: BackupId, files: &BTreeMap<String, Vec<u8>>) -> bool {
        let directory = self.root.with_extension("restored");
        let _ = std::fs::remove_dir_all(&directory);
        let options = self.restore_options(backup, &directory);
        let Ok(planned) = restore::plan(&options, &SilentReporter, &Cancel::new()) else { return false };
        let restored = restore::run(&options, planned, &SystemClock, &SilentReporter, &Cancel::new());
        if let Err(error) = restored {
            assert!(!directory.join(ControlFile::PATH).exists(), "{backup} could be started after: {error}");
            return false;
        }
        for (name, content) in files {
            let found = std::fs::read(directory.join(name)).unwrap();
            assert!(found == *content, "{name} of {backup} came back as something else");
        }
        true
    }

    fn restore_options(&self, backup: BackupId, directory: &Path) -> RestoreOptions {
        RestoreOptions {
            repository: self.repository.clone(),
            repository_root: Some(self.root.clone()),
            home: None,
            selection: ClusterSelection::Named(self.clusters[0].0.name.clone()),
            backup: BackupChoice::Id(backup),
            directory: directory.to_owned(),
            jobs: 2,
            manifest: false,
            scratch: self.root.clone(),
            working_directory: PathBuf::from("/"),
            tablespaces: TablespaceChoice { mapping: Vec::new(), directory: None },
            in_the_way: InTheWay::Refuse,
            mode: RecoveryMode::Targeted,
            target: RecoveryTarget::Immediate,
            action: RecoveryTargetAction::Promote,
            timeline: RecoveryTargetTimeline::Latest,
            // What is fetched is asked for by itself.
            proving: Proving::Skip,
            allowed_tablespace_paths: Vec::new(),
            trust_config: false,
            settings: PreparedSettings {
                restore_command: "pgv-fetch %f %p".to_owned(),
                recovery_end_command: pgv::pg::recovery_end_command("/usr/bin/pgv-recovery-conf"),
                primary_conninfo: None,
                primary_slot_name: None,
                archiving: RestoredArchiving::Off,
            },
            wal_from: None,
            archive_only: false,
            host: "test".to_owned(),
            level: CompressionLevel::DEFAULT,
            pgdata: None,
            original: None,
        }
    }
}
