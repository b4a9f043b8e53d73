//! A small repository in which nothing is wrong: segments of 1 MiB, two backups, the second one in the packs of the first.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::codec::CompressionLevel;
use crate::pg::testing::{segment_size, wal_segment};
use crate::pg::{Lsn, TimelineId, WalFileName, WalSegmentName};
use crate::report::{Cancel, SilentReporter};
use crate::repository::testing::{self, TestRepository};
use crate::repository::{
    BackupId, BackupMark, BackupNote, BackupRecord, PackOptions, Repository, RepositoryError, WalArchive,
    WalFileContent, backup_testing,
};
use crate::store::LocalStore;
use crate::verify::{Cost, Depth, Finding, VerifyOptions, VerifyReport, verify};

pub(super) struct Scene {
    pub(super) test: TestRepository,
}

pub(super) fn lsn(text: &str) -> Lsn {
    text.parse().unwrap()
}

/// The name of the segment of that number, on that timeline.
pub(super) fn segment(timeline: u32, number: u64) -> WalSegmentName {
    WalSegmentName::from_number(TimelineId::new(timeline).unwrap(), number, segment_size()).unwrap()
}

pub(super) fn options() -> VerifyOptions {
    VerifyOptions {
        url: "/repo".to_owned(),
        path: "/repo".into(),
        configuration_file: None,
        cluster: None,
        backup: None,
        depth: Depth::Full,
        wal_records: false,
        threads: 2,
        scratch: None,
        temporary: std::env::temp_dir(),
    }
}

/// Bytes that compress well and differ from page to page.
pub(super) fn pattern(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|at| ((at >> 13) as u8).wrapping_mul(31) ^ (at % 7) as u8 ^ seed).collect()
}

/// Files of all sizes that are handled differently.
pub(super) fn files() -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::from([
        ("PG_VERSION".to_owned(), b"15\n".to_vec()),
        ("base/".to_owned(), Vec::new()),
        ("base/big".to_owned(), pattern(900_000, 1)),
        ("base/empty".to_owned(), Vec::new()),
        ("base/just-above".to_owned(), pattern(65_537, 3)),
        ("base/just-not".to_owned(), pattern(65_536, 4)),
    ]);
    for number in 0..12 {
        files.insert(format!("base/small-{number:02}"), pattern(20_000 + number * 1001, number as u8));
    }
    files
}

impl Scene {
    /// Only registered.
    pub(super) fn empty() -> Self {
        Self { test: testing::with_real_cluster() }
    }

    /// Segments 2 to 12 on timeline 1, a backup in segment 3, and one in segment 8 that lies in the packs of the first.
    pub(super) fn sound() -> (Self, BackupRecord, BackupRecord) {
        let scene = Self::empty();
        scene.archive(1, 2..=12);
        let first = scene.backup(1, 3);
        let second = backup_testing::backup_referring_to_with(
            &scene.test,
            &first,
            |_, _| {},
            |record| {
                place(record, 1, 8);
            },
        );
        (scene, first, second)
    }

    pub(super) fn archive(&self, timeline: u32, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            let name = segment(timeline, number);
            self.store(&name.to_string(), &wal_segment(&name.to_string(), 0));
        }
    }

    pub(super) fn store(&self, name: &str, content: &[u8]) {
        let archive = WalArchive::new(&self.test.repository, &self.test.cluster);
        let name = WalFileName::parse(name).unwrap();
        archive.store(&name, WalFileContent::Whole(content), CompressionLevel::DEFAULT, &self.test.writer).unwrap();
    }

    /// A backup that begins and ends in that segment.
    pub(super) fn backup(&self, timeline: u32, number: u64) -> BackupRecord {
        let options = PackOptions { pack_bytes: 700_000, ..PackOptions::default() };
        backup_testing::backup_with(&self.test, &files(), options, |record| place(record, timeline, number))
    }

    pub(super) fn verify(&self) -> VerifyReport {
        self.verify_with(options())
    }

    pub(super) fn verify_with(&self, options: VerifyOptions) -> VerifyReport {
        verify(&self.test.repository, &options, &SilentReporter, &Cancel::new()).unwrap()
    }

    pub(super) fn root(&self) -> PathBuf {
        self.test.root()
    }

    /// The backups, in the order of their names.
    pub(super) fn ids(&self) -> Vec<BackupId> {
        let prefix = format!("main/{}/backups/", self.test.cluster.system_identifier);
        let keys = self.test.repository.list(&prefix).unwrap();
        let mut ids: Vec<BackupId> =
            keys.iter().map(|key| key.as_str()[prefix.len()..].split('/').next().unwrap().parse().unwrap()).collect();
        ids.dedup();
        ids
    }

    /// Pins the first backup and marks it, as people and retention do.
    pub(super) fn mark_the_first(&self) {
        let (repository, cluster, writer) = (&self.test.repository, &self.test.cluster, &self.test.writer);
        let note = BackupNote {
            id: self.ids()[0],
            host: "db1".to_owned(),
            set: "2026-11-21T14:30:00Z".parse().unwrap(),
            reason: "for the auditors".to_owned(),
        };
        repository.pin_backup(cluster, &note, writer).unwrap();
        repository.mark_backup(cluster, BackupMark::Doubt, &note, writer).unwrap();
    }

    /// What its pins and marks say.
    pub(super) fn notes(&self, id: &BackupId) -> Result<String, ()> {
        let (repository, cluster) = (&self.test.repository, &self.test.cluster);
        let folders = repository.backup_folders(cluster).map_err(drop)?;
        let folder = folders.get(id).ok_or(())?;
        let mut text = String::new();
        for (name, note) in repository.pins(cluster, id, folder).map_err(drop)? {
            text.push_str(&format!("{name} {:?}", note.map_err(drop)?));
        }
        Ok(text)
    }

    /// The repository as another program opens it.
    pub(super) fn reopened(&self) -> Result<Repository, RepositoryError> {
        Repository::open(Arc::new(LocalStore::open(&self.root()).unwrap()), None)
    }

    /// Every object's file, sorted.
    pub(super) fn objects(&self) -> Vec<PathBuf> {
        let keys = self.test.repository.list("").unwrap();
        keys.iter().map(|key| self.root().join(key.as_str())).collect()
    }

    pub(super) fn flip(&self, path: &std::path::Path, bit: usize) {
        let mut bytes = std::fs::read(path).unwrap();
        bytes[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(path, bytes).unwrap();
    }
}

/// Says that a backup was taken in that segment.
pub(super) fn place(record: &mut BackupRecord, timeline: u32, number: u64) {
    let start = number * segment_size().bytes();
    record.start_lsn = Lsn::new(start + 0x28).unwrap();
    record.stop_lsn = Lsn::new(start + 0x100).unwrap();
    (record.start_timeline, record.stop_timeline) =
        (TimelineId::new(timeline).unwrap(), TimelineId::new(timeline).unwrap());
    record.wal_segment_size = segment_size();
    let content = files();
    let regular = content.iter().filter(|(name, _)| !name.ends_with('/'));
    record.sizes.files = regular.clone().count() as u64;
    record.sizes.file_bytes = regular.map(|(_, bytes)| bytes.len() as u64).sum();
}

/// The finding about that object.
pub(super) fn about<'a>(report: &'a VerifyReport, object: &str) -> &'a Finding {
    let found = report.damaged.iter().find(|finding| finding.object.contains(object));
    found.unwrap_or_else(|| panic!("nothing about {object} in {:#?}", report.damaged))
}

/// What that costs, as lines.
pub(super) fn costs(finding: &Finding) -> Vec<String> {
    let line = |cost: &Cost| match cost {
        Cost::Backup { backup, files, .. } => match files {
            Some(files) => format!("{files} files of {backup}"),
            None => format!("all of {backup}"),
        },
        Cost::Targets { timeline, after_lsn, before_lsn, before_backup, .. } => match (before_lsn, before_backup) {
            (Some(lsn), Some(backup)) => format!("targets on {timeline} from {after_lsn} to {lsn}, {backup}"),
            _ => format!("targets on {timeline} from {after_lsn} on"),
        },
        Cost::Timeline { timeline } => format!("timeline {timeline}"),
        Cost::Unlisted { backup } => format!("{backup} is not listed"),
        Cost::Cluster => "the cluster".to_owned(),
        Cost::Unknown => "unknown".to_owned(),
        Cost::Nothing { .. } => "nothing".to_owned(),
    };
    finding.costs.iter().map(line).collect()
}
