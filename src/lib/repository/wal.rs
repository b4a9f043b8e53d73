//! The WAL archive of one cluster: one name, one content, for ever.

mod listing;
mod same_log;

use std::convert::Infallible;
use std::io::Read;

use jiff::Timestamp;

use super::Repository;
use super::cluster::ClusterRef;
use super::error::{Damage, RepositoryError, StoredInConflict};
use super::file_object::ReadSeek;
use super::layout;
use super::object::{ObjectSpec, Stored};
use super::object_reader::{ObjectReader, SinkError};
use super::writer::{Writer, WriterDescription};
use crate::codec::{AssembledObject, CompressionLevel, ContentDigest, HEADER_BYTES, ObjectHeader, WriterId};
use crate::pg::{WalFileName, WalSegmentName};
use crate::store::{ObjectBody, ObjectKey, PutOutcome, StoreError, block_on};

pub(crate) use listing::{ListedWal, UnlistedWal};
use same_log::SameLog;

/// LIMIT: bytes of a `.history` or `.backup` file.
const TEXT_FILE_BYTES_MAX: u64 = 1 << 20;

/// LIMIT: bytes of a file of which what is stored is held in memory.
const ONE_PASS_BYTES_MAX: u64 = 16 << 20;

/// The content of a WAL file.
pub enum WalFileContent<'a> {
    /// All of it, read once.
    Whole(&'a [u8]),
    /// A file of that many bytes. What is stored of a small one is held in memory, so it is read once; a larger one is read
    /// once for its digest, once for the size and digest of what is stored, and once to store it, and every pass must give
    /// the digest of the first.
    File(&'a mut (dyn ReadSeek + Send), u64),
}

/// A WAL file in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchivedWal {
    /// Its size.
    pub plain_bytes: u64,
    /// The digest of its content.
    pub digest: ContentDigest,
    /// Its size as stored, header included.
    pub stored_bytes: u64,
    /// When the program that stored it began, by its host's clock: shown, and an upper bound of the times of the records in it.
    pub created: Timestamp,
    /// Who stored it.
    pub writer: WriterId,
}

/// The WAL archive of one cluster.
#[derive(Debug, Clone)]
pub struct WalArchive<'a> {
    pub(super) repository: &'a Repository,
    pub(super) cluster: &'a ClusterRef,
}

impl<'a> WalArchive<'a> {
    /// The archive of that cluster.
    pub fn new(repository: &'a Repository, cluster: &'a ClusterRef) -> Self {
        Self { repository, cluster }
    }

    /// The cluster.
    pub fn cluster(&self) -> &ClusterRef {
        self.cluster
    }

    /// Stores a WAL file. The identical one again is a success, and so is a segment of which the stored one has all of
    /// the log; a different one is refused for ever.
    pub fn store(
        &self,
        name: &WalFileName,
        mut content: WalFileContent<'_>,
        level: CompressionLevel,
        writer: &Writer,
    ) -> Result<Stored, RepositoryError> {
        self.repository.introduce(&self.cluster.name, writer)?;
        let (key, spec) = (self.key(name)?, self.spec(name));
        let put = |object: AssembledObject| -> Result<_, RepositoryError> {
            let body = ObjectBody::Whole(&object.body);
            Ok((block_on(self.repository.store.put_new(&key, &object.header_bytes, body))?, object.header))
        };
        let (outcome, header) = match &mut content {
            WalFileContent::Whole(bytes) => {
                let mut bytes: &[u8] = bytes;
                put(self.repository.assemble(&spec, &mut bytes, level, writer)?)?
            }
            WalFileContent::File(file, bytes) if *bytes <= ONE_PASS_BYTES_MAX => {
                let (file, bytes) = (&mut **file, *bytes);
                let mut content = Read::take(file, bytes.saturating_add(1));
                let object = self.repository.assemble(&spec, &mut content, level, writer)?;
                if object.header.plain_bytes != Some(bytes) {
                    return Err(RepositoryError::SourceChanged { name: spec.name });
                }
                put(object)?
            }
            WalFileContent::File(file, bytes) => {
                let shorter_lived: &mut (dyn ReadSeek + Send) = &mut **file;
                let file = (shorter_lived, Some(*bytes));
                let created = self.repository.create_object_of_file(&key, &spec, file, level, writer)?;
                (created.outcome, created.header)
            }
        };
        match outcome {
            PutOutcome::Created => Ok(Stored::Created),
            PutOutcome::AlreadyPresent => self.compare((name, &key, &spec), &header, content, writer),
        }
    }

    /// Opens a WAL file; `None` when the store says that there is none.
    pub fn open(&self, name: &WalFileName) -> Result<Option<ObjectReader<'a>>, RepositoryError> {
        let (key, spec) = (self.key(name)?, self.spec(name));
        match ObjectReader::open(self.repository, &key, &spec) {
            Ok(reader) => Ok(Some(reader)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What the archive has under that name, by its header; `None` when the store says that there is none.
    pub fn look_up(&self, name: &WalFileName) -> Result<Option<ArchivedWal>, RepositoryError> {
        let (key, spec) = (self.key(name)?, self.spec(name));
        let Some(header) = self.repository.stored_header(&key, &spec)? else { return Ok(None) };
        self.archived(&key, &header).map(Some)
    }

    /// Loads a `.history` or `.backup` file; `None` when the store says that there is none.
    pub fn load_text(&self, name: &WalFileName) -> Result<Option<Vec<u8>>, RepositoryError> {
        match self.repository.load_object(&self.key(name)?, &self.spec(name), TEXT_FILE_BYTES_MAX) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the store has a file of that name, whatever is in it.
    pub fn has(&self, name: &WalFileName) -> Result<bool, RepositoryError> {
        match block_on(self.repository.store.size(&self.key(name)?)) {
            Ok(_) => Ok(true),
            Err(StoreError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Who stored a file; `None` when there is none, or nobody knows.
    pub fn stored_by(&self, name: &WalFileName) -> Result<Option<WriterDescription>, RepositoryError> {
        let (key, spec) = (self.key(name)?, self.spec(name));
        let Some(header) = self.repository.stored_header(&key, &spec)? else { return Ok(None) };
        self.repository.writer(&self.cluster.name, &header.writer)
    }

    /// When the store says that it got a file.
    pub fn stored_at(&self, name: &WalFileName) -> Result<Timestamp, RepositoryError> {
        Ok(block_on(self.repository.store.time_of(&self.key(name)?))?)
    }

    /// The first segment of that timeline after `segment`, whatever lies between.
    pub fn next_stored(&self, segment: &WalSegmentName) -> Result<Option<WalSegmentName>, RepositoryError> {
        let prefix = layout::wal_timeline(self.cluster, segment.timeline());
        let mut after = self.key(&WalFileName::Segment(*segment))?;
        while let Some(key) = self.repository.first_after(&prefix, after.as_str())? {
            if let Ok(WalFileName::Segment(found)) = WalFileName::parse(key.file_name()) {
                return Ok(Some(found));
            }
            after = key;
        }
        Ok(None)
    }

    /// The stored one under that name, when it may make room for what came.
    fn in_conflict(&self, name: &WalFileName, key: &ObjectKey, same_log: SameLog) -> Option<Box<StoredInConflict>> {
        let stored = match same_log {
            SameLog::Longer => StoredInConflict::Shorter,
            _ if self.is_lone_history(name) => StoredInConflict::LoneHistory,
            _ => return None,
        };
        Some(Box::new(stored(key.clone())))
    }

    /// Whether it is the history of a timeline of which there is proven to be no segment.
    fn is_lone_history(&self, name: &WalFileName) -> bool {
        let WalFileName::TimelineHistory(timeline) = name else { return false };
        self.timelines().is_ok_and(|timelines| !timelines.contains(timeline))
    }

    fn key(&self, name: &WalFileName) -> Result<ObjectKey, RepositoryError> {
        layout::wal(self.cluster, name).map_err(|source| self.repository.invalid_key(source))
    }

    fn spec(&self, name: &WalFileName) -> ObjectSpec {
        ObjectSpec {
            kind: layout::wal_kind(name),
            system_identifier: Some(self.cluster.system_identifier),
            name: layout::wal_name(name),
        }
    }

    fn archived(&self, key: &ObjectKey, header: &ObjectHeader) -> Result<ArchivedWal, RepositoryError> {
        match (header.plain_bytes, header.plain_digest, header.body_bytes) {
            (Some(plain_bytes), Some(digest), Some(body_bytes)) => Ok(ArchivedWal {
                plain_bytes,
                digest,
                stored_bytes: body_bytes + HEADER_BYTES as u64,
                created: header.created,
                writer: header.writer,
            }),
            _ => {
                let problem = "its header lacks sizes or digest".to_owned();
                Err(self.repository.damaged(key, Damage::Invalid { problem }))
            }
        }
    }

    /// Something is stored under this name: the same, or a conflict.
    fn compare(
        &self,
        (name, key, spec): (&WalFileName, &ObjectKey, &ObjectSpec),
        ours: &ObjectHeader,
        content: WalFileContent<'_>,
        writer: &Writer,
    ) -> Result<Stored, RepositoryError> {
        let Some(theirs) = self.repository.stored_header(key, spec)? else {
            return Err(self.repository.damaged(key, Damage::Invalid { problem: "it came and went".to_owned() }));
        };
        if ours.plain_digest != theirs.plain_digest || ours.plain_bytes != theirs.plain_bytes {
            let same_log = match ours.plain_bytes == theirs.plain_bytes {
                true => self.compare_log(name, content, (key, spec))?,
                false => SameLog::No,
            };
            if same_log != SameLog::Contained {
                // Who it was is a help, not a condition: the conflict stands without it.
                let stored_by = self.repository.writer(&self.cluster.name, &theirs.writer).ok().flatten();
                return Err(RepositoryError::Conflict {
                    name: spec.name.as_str().into(),
                    store: self.repository.describe(),
                    ours: Box::new(writer.description().clone()),
                    theirs: stored_by.map(Box::new),
                    stored_at: block_on(self.repository.store.time_of(key)).ok(),
                    stored: self.in_conflict(name, key, same_log),
                });
            }
        }
        let expected = self.archived(key, &theirs)?.stored_bytes;
        let found = block_on(self.repository.store.size(key))?;
        if expected != found {
            return Err(self.repository.damaged(key, Damage::Size { expected, found }));
        }
        // Whoever hears "identical" removes his own: a header does not say that what is behind it is whole.
        match ObjectReader::open(self.repository, key, spec)?.read_to(&mut |_| Ok::<(), Infallible>(())) {
            Ok(()) => Ok(Stored::Identical),
            Err(SinkError::Repository(error)) => Err(error),
            Err(SinkError::Sink(never)) => match never {},
        }
    }
}

impl WalArchive<'_> {
    /// How the log in a segment differs from that in the stored one, which must be whole for that.
    fn compare_log(
        &self,
        name: &WalFileName,
        mut content: WalFileContent<'_>,
        (key, spec): (&ObjectKey, &ObjectSpec),
    ) -> Result<SameLog, RepositoryError> {
        let hasher = self.repository.keys().plain_hasher();
        let compared = ObjectReader::open(self.repository, key, spec)
            .and_then(|stored| same_log::compare(name, &mut content, &stored, &hasher));
        match compared {
            Err(RepositoryError::Damaged { .. }) => Ok(SameLog::No),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, SeekFrom};

    use super::*;
    use crate::error::{Classified, ErrorClass};
    use crate::pg::TimelineId;
    use crate::pg::WalSegmentSize;
    use crate::pg::testing::{MADE_NUMBER, MadeEnd, made_segment};
    use crate::repository::testing;

    fn segment(number: u64) -> WalSegmentName {
        WalSegmentName::from_number(TimelineId::FIRST, number, size()).unwrap()
    }

    fn size() -> WalSegmentSize {
        WalSegmentSize::new(1 << 20).unwrap()
    }

    fn names() -> Vec<WalFileName> {
        [
            "000000010000000000000003",
            "000000010000000000000003.partial",
            "000000010000000000000003.00000028.backup",
            "00000002.history",
        ]
        .map(|name| WalFileName::parse(name).unwrap())
        .to_vec()
    }

    #[test]
    fn one_name_one_content_for_ever() {
        let test = testing::repository();
        let archive = WalArchive::new(&test.repository, &test.cluster);
        let store = |name: &WalFileName, content: &[u8]| {
            archive.store(name, WalFileContent::Whole(content), CompressionLevel::DEFAULT, &test.writer)
        };
        for name in names() {
            assert_eq!(store(&name, b"one").unwrap(), Stored::Created);
            assert_eq!(store(&name, b"one").unwrap(), Stored::Identical);
            let conflict = store(&name, b"two").unwrap_err();
            assert_eq!(conflict.class(), ErrorClass::Conflict);
            assert!(conflict.to_string().contains("host \"host-one\", directory \"/data/one\""), "{conflict}");
            let RepositoryError::Conflict { stored, .. } = conflict else { panic!("{conflict}") };
            let is_lone = matches!(stored.as_deref(), Some(StoredInConflict::LoneHistory(_)));
            assert_eq!(is_lone, matches!(name, WalFileName::TimelineHistory(_)), "{name}");
            let mut read = Vec::new();
            let reader = archive.open(&name).unwrap().unwrap();
            reader
                .read_to(&mut |bytes| {
                    read.extend_from_slice(bytes);
                    Ok::<(), ()>(())
                })
                .unwrap();
            assert_eq!(read, b"one");
        }
        assert!(archive.open(&WalFileName::parse("000000010000000000000004").unwrap()).unwrap().is_none());
        store(&WalFileName::parse("000000020000000000000003").unwrap(), b"one").unwrap();
        let conflict = store(&WalFileName::parse("00000002.history").unwrap(), b"two").unwrap_err();
        assert!(matches!(conflict, RepositoryError::Conflict { stored: None, .. }), "{conflict:?}");
    }

    /// What lies behind the log differs from server to server.
    #[test]
    fn a_segment_of_which_all_log_is_stored_is_the_same() {
        use MadeEnd::{Cut, Full, Switch};
        let same = Ok(Stored::Identical);
        let (other, longer) = (Err(false), Err(true));
        let (few, more, others) = (&[7, 8, 9][..], &[7, 8, 9, 10], &[7, 8, 11, 10]);
        type Made<'a> = (&'a [u32], MadeEnd);
        // What is stored, what comes then, and what that comes to as a segment and as a partial one.
        type Row<'a> = (Made<'a>, Made<'a>, Result<Stored, bool>, Result<Stored, bool>);
        let rows: [Row<'_>; 13] = [
            ((few, Switch), (few, Switch), same, same),
            ((few, Switch), (few, Cut), same, same),
            ((more, Switch), (few, Cut), same, same),
            ((more, Full), (more, Cut), same, same),
            ((more, Cut), (few, Cut), other, same),
            ((few, Cut), (few, Cut), other, same),
            ((few, Cut), (more, Cut), longer, longer),
            ((few, Cut), (few, Switch), longer, longer),
            ((few, Cut), (few, Full), longer, longer),
            ((few, Switch), (more, Cut), other, other),
            ((more, Switch), (few, Switch), other, other),
            ((more, Full), (others, Cut), other, other),
            ((others, Cut), (few, Cut), other, other),
        ];
        for (stored, comes, as_segment, as_partial) in rows {
            let what = format!("{stored:?} {comes:?}");
            let (stored, comes) = (made_segment(1, stored.0, stored.1, 0).0, made_segment(1, comes.0, comes.1, 7).0);
            for (suffix, expected) in [("", as_segment), (".partial", as_partial)] {
                let test = testing::repository_in_memory();
                let archive = WalArchive::new(&test.repository, &test.cluster);
                let name = WalFileName::parse(&format!("{}{suffix}", segment(MADE_NUMBER))).unwrap();
                let store = |content| archive.store(&name, content, CompressionLevel::DEFAULT, &test.writer);
                assert_eq!(store(WalFileContent::Whole(&stored)).unwrap(), Stored::Created);
                let (mut file, bytes) = (std::io::Cursor::new(comes.clone()), comes.len() as u64);
                for content in [WalFileContent::Whole(&comes), WalFileContent::File(&mut file, bytes)] {
                    let found = store(content).map_err(|error| {
                        let RepositoryError::Conflict { stored, .. } = &error else { panic!("{what}: {error}") };
                        matches!(stored.as_deref(), Some(StoredInConflict::Shorter(_)))
                    });
                    assert_eq!(found, expected, "{what}{suffix}");
                }
                // What is damaged has not been compared.
                let path = test.root().join(archive.key(&name).unwrap().as_str());
                let mut damaged = std::fs::read(&path).unwrap();
                let at = 1020 + (damaged.len() - 1020) / 2;
                damaged[at] ^= 1;
                std::fs::write(&path, damaged).unwrap();
                assert!(store(WalFileContent::Whole(&comes)).is_err(), "{what}{suffix}");
            }
        }
    }

    /// PostgreSQL archives a file again when it does not know that it was stored, as after a crash, and removes it then.
    #[test]
    fn what_is_damaged_is_not_called_identical() {
        let test = testing::repository();
        let archive = WalArchive::new(&test.repository, &test.cluster);
        let content: Vec<u8> = (0..3_000_001u32).map(|n| (n / 50) as u8).collect();
        let name = WalFileName::Segment(segment(1));
        let store = || archive.store(&name, WalFileContent::Whole(&content), CompressionLevel::DEFAULT, &test.writer);
        store().unwrap();
        let path = test.root().join(archive.key(&name).unwrap().as_str());
        let whole = std::fs::read(&path).unwrap();
        for at in (1020..whole.len()).step_by(whole.len() / 20) {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, damaged).unwrap();
            let error = store().unwrap_err();
            assert_eq!(error.class(), ErrorClass::Corrupt, "{at}: {error}");
        }
        std::fs::write(&path, whole).unwrap();
        assert_eq!(store().unwrap(), Stored::Identical);
    }

    #[test]
    fn a_file_is_stored_the_same_in_one_pass_and_in_three() {
        let test = testing::repository();
        let archive = WalArchive::new(&test.repository, &test.cluster);
        let store = |name: &WalFileName, content: WalFileContent<'_>| {
            archive.store(name, content, CompressionLevel::DEFAULT, &test.writer)
        };
        let large = usize::try_from(ONE_PASS_BYTES_MAX).unwrap() + 1;
        for (number, length) in [(2, 0), (3, 1 << 20), (4, large - 1), (5, large)] {
            let content: Vec<u8> = (0..length).map(|n| (n / 50) as u8).collect();
            let (name, bytes) = (WalFileName::Segment(segment(number)), length as u64);
            let mut file = std::io::Cursor::new(content.clone());
            for wrong in [bytes + 1, bytes.saturating_sub(1)].into_iter().filter(|wrong| *wrong != bytes) {
                let error = store(&name, WalFileContent::File(&mut file, wrong)).unwrap_err();
                assert!(matches!(error, RepositoryError::SourceChanged { .. }), "{length} {error:?}");
                file.set_position(0);
            }
            assert_eq!(store(&name, WalFileContent::File(&mut file, bytes)).unwrap(), Stored::Created);
            assert_eq!(store(&name, WalFileContent::Whole(&content)).unwrap(), Stored::Identical);
            let key = archive.key(&name).unwrap();
            let stored = |key| std::fs::read(test.root().join(ObjectKey::as_str(key))).unwrap();
            let once = stored(&key);
            assert!(block_on(test.repository.store.delete(&key)).unwrap());
            store(&name, WalFileContent::Whole(&content)).unwrap();
            assert!(once == stored(&key), "{length}");
        }
        let content: Vec<u8> = (0..3_000_001u32).map(|n| (n / 50) as u8).collect();
        let name = WalFileName::Segment(segment(1));
        let mut file = std::io::Cursor::new(content.clone());
        assert_eq!(store(&name, WalFileContent::File(&mut file, 3_000_001)).unwrap(), Stored::Created);
        let mut read = Vec::new();
        archive
            .open(&name)
            .unwrap()
            .unwrap()
            .read_to(&mut |bytes| {
                read.extend_from_slice(bytes);
                Ok::<(), ()>(())
            })
            .unwrap();
        assert!(read == content);
    }

    /// Gives other bytes from the second time on that it is read from the beginning.
    struct Changing(std::io::Cursor<Vec<u8>>, u32);

    impl Read for Changing {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            self.0.read(into)
        }
    }

    impl Seek for Changing {
        fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
            if to == SeekFrom::Start(0) {
                self.1 += 1;
                self.0.get_mut()[7] = u8::from(self.1 >= 3);
            }
            self.0.seek(to)
        }
    }

    #[test]
    fn a_file_that_changes_between_the_passes_is_not_stored() {
        let test = testing::repository();
        let archive = WalArchive::new(&test.repository, &test.cluster);
        let name = WalFileName::Segment(segment(1));
        let bytes = ONE_PASS_BYTES_MAX + 1;
        let mut file = Changing(std::io::Cursor::new(vec![0; usize::try_from(bytes).unwrap()]), 0);
        let content = WalFileContent::File(&mut file, bytes);
        let error = archive.store(&name, content, CompressionLevel::DEFAULT, &test.writer).unwrap_err();
        assert!(matches!(error, RepositoryError::SourceChanged { .. }), "{error:?}");
        assert!(archive.open(&name).unwrap().is_none());
    }

    #[test]
    fn ranges_and_holes() {
        let test = testing::repository();
        let archive = WalArchive::new(&test.repository, &test.cluster);
        for number in [4095, 4096, 4097, 5000] {
            let name = WalFileName::Segment(segment(number));
            archive.store(&name, WalFileContent::Whole(b"x"), CompressionLevel::DEFAULT, &test.writer).unwrap();
        }
        for name in names().iter().skip(1) {
            archive.store(name, WalFileContent::Whole(b"x"), CompressionLevel::DEFAULT, &test.writer).unwrap();
        }
        let ranges = archive.listed(size()).unwrap().ranges;
        let counts: Vec<_> =
            ranges[&TimelineId::FIRST].iter().map(|range| (range.first, range.last, range.count)).collect();
        assert_eq!(counts, [(segment(4095), segment(4097), 3), (segment(5000), segment(5000), 1)]);
        assert_eq!(archive.next_stored(&segment(1)).unwrap(), Some(segment(4095)));
        assert_eq!(archive.next_stored(&segment(4097)).unwrap(), Some(segment(5000)));
        assert_eq!(archive.next_stored(&segment(5000)).unwrap(), None);
        assert_eq!(archive.histories().unwrap(), [TimelineId::new(2).unwrap()]);
    }
}
