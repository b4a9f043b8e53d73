//! Stored objects as they come from a store that belongs to somebody else, and the documents in them.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::codec::{keys, mend_mac};
use crate::codec::{
    CompressionLevel, ContentDigest, DigestKeys, ObjectHeader, ObjectKind, RepositoryId, StoredHasher, WriterId,
    assemble_object,
};
use crate::fs::{Lock, LockKind};
use crate::fuzz_check::{seen, shown, split_choice, text};
use crate::repository::{
    BackupBegin, BackupNeeds, BackupNote, BackupRecord, ClusterIdentity, FileEntry, MapRoot, ObjectReader, ObjectSpec,
    PackIndex, Repository, RepositoryDescription, SinkError, WriterDescription,
};
use crate::store::{LeftOver, ObjectBody, ObjectKey, PutOutcome, Store, StoreError, StoreFuture};

/// A store that answers with one object for every key but that of the description.
struct OneObject {
    description: Vec<u8>,
    object: Vec<u8>,
}

impl OneObject {
    fn bytes(&self, key: &ObjectKey) -> &[u8] {
        if key.as_str() == "repository.json" { &self.description } else { &self.object }
    }
}

fn answer<'a, T: Send + 'a>(value: T) -> StoreFuture<'a, T> {
    Box::pin(std::future::ready(Ok(value)))
}

impl Store for OneObject {
    fn describe(&self) -> String {
        "a store of somebody else".to_owned()
    }

    fn put_new<'a>(&'a self, _: &'a ObjectKey, _: &'a [u8], _: ObjectBody<'a>) -> StoreFuture<'a, PutOutcome> {
        answer(PutOutcome::AlreadyPresent)
    }

    fn get_range<'a>(&'a self, key: &'a ObjectKey, offset: u64, length: usize) -> StoreFuture<'a, Bytes> {
        let bytes = self.bytes(key);
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let end = start.saturating_add(length).min(bytes.len());
        answer(Bytes::copy_from_slice(&bytes[start..end]))
    }

    fn size<'a>(&'a self, key: &'a ObjectKey) -> StoreFuture<'a, u64> {
        answer(self.bytes(key).len() as u64)
    }

    fn list_after<'a>(&'a self, _: &'a str, _: &'a str, _: usize) -> StoreFuture<'a, Vec<ObjectKey>> {
        answer(Vec::new())
    }

    fn delete<'a>(&'a self, _: &'a ObjectKey) -> StoreFuture<'a, bool> {
        answer(false)
    }

    fn time_of<'a>(&'a self, key: &'a ObjectKey) -> StoreFuture<'a, Timestamp> {
        let store = self.describe();
        Box::pin(std::future::ready(Err(StoreError::NotFound { key: key.clone(), store })))
    }

    fn left_overs<'a>(&'a self, _: usize) -> StoreFuture<'a, Vec<LeftOver>> {
        answer(Vec::new())
    }

    fn tidy<'a>(&'a self, _: &'a str) -> StoreFuture<'a, u64> {
        answer(0)
    }

    fn keep_reserve(&self) -> StoreFuture<'_, ()> {
        answer(())
    }

    fn give_up_reserve(&self) -> StoreFuture<'_, bool> {
        answer(false)
    }

    fn lock<'a>(&'a self, _: LockKind) -> StoreFuture<'a, Lock> {
        answer(Lock::Unsupported)
    }
}

/// That of the repository in `tests/data/format-v1`.
pub(super) const ID: [u8; 16] = *b"golden-format-01";

fn spec() -> ObjectSpec {
    ObjectSpec { kind: ObjectKind::Document, system_identifier: None, name: "o".to_owned() }
}

fn header() -> ObjectHeader {
    ObjectHeader {
        kind: ObjectKind::Document,
        repository: RepositoryId::from_bytes(ID),
        system_identifier: None,
        plain_bytes: None,
        body_bytes: None,
        plain_digest: Some(ContentDigest::from_bytes([1; 32])),
        body_digest: None,
        auxiliary: None,
        writer: WriterId::from_bytes([2; 16]),
        created: Timestamp::UNIX_EPOCH,
        key_generation: 0,
        secret_generation: 0,
        name: "o".to_owned(),
    }
}

/// An object of these bytes; see [`objects`].
fn object_of(choice: u8, rest: &[u8], keys: &DigestKeys) -> Vec<u8> {
    match choice % 4 {
        0 => rest.to_vec(),
        1 => {
            let mut bytes = rest.to_vec();
            mend_mac(&mut bytes, keys);
            bytes
        }
        2 => {
            let mut stored = StoredHasher::default();
            stored.update(rest);
            let header =
                ObjectHeader { body_bytes: Some(rest.len() as u64), body_digest: Some(stored.finish()), ..header() };
            let mut bytes = header.encode(keys).expect("a header").to_vec();
            bytes.extend_from_slice(rest);
            bytes
        }
        _ => {
            let (at, patch) =
                rest.split_first_chunk::<2>().map_or((0, rest), |(at, patch)| (u16::from_le_bytes(*at), patch));
            let plain: Vec<u8> = (0..3000u16).flat_map(u16::to_le_bytes).collect();
            let level = CompressionLevel::new(1).expect("a level");
            let whole = assemble_object(header(), &mut &plain[..], 2000, level, keys).expect("an object");
            let mut bytes = [&whole.header_bytes[..], &whole.body].concat();
            let end = bytes.len();
            let at = usize::from(at) % end;
            for (to, from) in bytes[at..].iter_mut().zip(patch) {
                *to ^= from;
            }
            if choice & 0x80 != 0 {
                mend_mac(&mut bytes, keys);
            }
            bytes
        }
    }
}

/// A whole object, opened, read and verified. The first byte says what is made right in it: nothing; the MAC of its
/// header; a right header before the bytes, which are the body; or a right object of which the bytes then overwrite a
/// part, behind the offset.
pub(super) fn objects(data: &[u8]) {
    let (choice, rest) = split_choice(data);
    let keys = keys();
    let object = object_of(choice, rest, &keys);
    let key = ObjectKey::parse("main/o").expect("a key");
    // A real object is looked for under its own name.
    let named = |header: ObjectHeader| ObjectSpec {
        kind: header.kind,
        system_identifier: header.system_identifier,
        name: header.name,
    };
    let spec = ObjectHeader::decode(&object, &keys).map_or_else(|_| spec(), named);
    let description = RepositoryDescription {
        format: 1,
        required_features: Vec::new(),
        id: RepositoryId::from_bytes(ID),
        created: Timestamp::UNIX_EPOCH,
    };
    let description = serde_json::to_vec(&description).expect("a description");
    let repository = Repository::open(Arc::new(OneObject { description, object }), None).expect("a repository");
    let reader = match ObjectReader::open(&repository, &key, &spec) {
        Ok(reader) => reader,
        Err(error) => return seen(&error),
    };
    let mut plain_bytes = 0u64;
    let read = reader.read_to(&mut |piece| {
        plain_bytes += piece.len() as u64;
        Ok::<(), std::convert::Infallible>(())
    });
    match read {
        Ok(()) => assert_eq!(plain_bytes, reader.plain_bytes()),
        Err(SinkError::Repository(error)) => seen(&error),
        Err(SinkError::Sink(never)) => match never {},
    }
    for checked in [reader.check_whole(&mut |_| ()), reader.check_copy_alone()] {
        if let Err(error) = checked {
            seen(&error);
        }
    }
    let frames = reader.frames().len();
    let run = reader.check_run(0..frames, &mut |_, checked| {
        if let Err(error) = checked {
            seen(&error);
        }
    });
    if let Err(error) = run {
        seen(&error);
    }
}

/// What is read must print and read back the same.
fn json<T: Serialize + DeserializeOwned + std::fmt::Debug>(bytes: &[u8]) -> Option<T> {
    match serde_json::from_slice::<T>(bytes) {
        Ok(value) => {
            let printed = serde_json::to_vec(&value).expect("what was read can be printed");
            let again: T = serde_json::from_slice(&printed).expect("what it prints");
            assert_eq!(serde_json::to_vec(&again).expect("as before"), printed);
            Some(value)
        }
        Err(error) => {
            shown(&error);
            None
        }
    }
}

/// The byte that chooses a note: one that the corpus did not have when notes came.
const NOTE: u8 = 255;

/// The documents of a repository, and the index of a pack. The first byte chooses.
pub(super) fn documents(data: &[u8]) {
    let (choice, rest) = split_choice(data);
    if choice == NOTE {
        // What people are shown of a pinned or doubted backup.
        drop(json::<BackupNote>(rest));
        return;
    }
    match choice % 11 {
        0 => drop(json::<RepositoryDescription>(rest)),
        1 => drop(json::<ClusterIdentity>(rest)),
        2 => drop(json::<WriterDescription>(rest)),
        3 => drop(json::<BackupBegin>(rest)),
        4 => drop(json::<BackupNeeds>(rest)),
        5 => {
            if let Some(record) = json::<BackupRecord>(rest) {
                text(&record.id.to_string());
                text(record.cluster.as_str());
            }
        }
        6 => drop(json::<MapRoot>(rest)),
        7 => {
            for line in rest.split(|byte| *byte == b'\n').take(100) {
                if let Some(path) = json::<FileEntry>(line).and_then(|entry| entry.path()) {
                    let safe = |part| matches!(part, std::path::Component::Normal(_));
                    assert!(path.to_path().components().all(safe));
                }
            }
        }
        8 => match PackIndex::decode(rest) {
            Ok(index) => assert_eq!(index.encode(), rest),
            Err(error) => seen(&error),
        },
        9 => crate::restore::fuzz_marker(rest),
        _ => {
            // The description is read before anything is known.
            let store = OneObject { description: rest.to_vec(), object: Vec::new() };
            if let Err(error) = Repository::open(Arc::new(store), None) {
                seen(&error);
            }
        }
    }
}
