//! Objects made and changed by hand: taken apart and sealed again with a right MAC, as a newer pgv would write them.

use std::path::{Path, PathBuf};

use pgv::codec::{
    CompressionLevel, ContentDigest, DigestKeys, HEADER_BYTES, ObjectHeader, ObjectKind, assemble_object,
};
use pgv::store::{ObjectBody, ObjectKey, PutOutcome, block_on};
use serde::Serialize;
use serde_json::Value;

use crate::fixture::{Fixture, SYSTEM};

/// The key of a backup's object, as the document says.
pub(crate) fn backup_key(backup: &str, object: &str) -> String {
    format!("main/{SYSTEM}/backups/{backup}/{object}")
}

fn header(fixture: &Fixture, kind: ObjectKind, name: String) -> ObjectHeader {
    ObjectHeader {
        kind,
        repository: fixture.repository.id(),
        system_identifier: Some(fixture.cluster.system_identifier),
        plain_bytes: None,
        body_bytes: None,
        plain_digest: None,
        body_digest: None,
        auxiliary: None,
        writer: fixture.writer.id(),
        created: fixture.writer.description().since,
        key_generation: 0,
        secret_generation: 0,
        name,
    }
}

fn pretty(value: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).unwrap();
    text.push(b'\n');
    text
}

/// Stores a JSON object of a backup and returns its digest.
pub(crate) fn create_json(
    fixture: &Fixture,
    backup: &str,
    object: &str,
    kind: ObjectKind,
    value: &impl Serialize,
) -> ContentDigest {
    let (plain, keys) = (pretty(value), fixture.repository.keys());
    let header = header(fixture, kind, format!("backup/{backup}/{object}"));
    let object_bytes = assemble_object(header, &mut &plain[..], 1 << 20, CompressionLevel::DEFAULT, keys).unwrap();
    let key = ObjectKey::parse(&backup_key(backup, object)).unwrap();
    let body = ObjectBody::Whole(&object_bytes.body);
    let outcome = block_on(fixture.repository.store().put_new(&key, &object_bytes.header_bytes, body)).unwrap();
    assert_eq!(outcome, PutOutcome::Created);
    keys.plain_digest(&plain)
}

/// An object as it lies there, taken apart.
pub(crate) struct Sealed {
    path: PathBuf,
    pub(crate) header: ObjectHeader,
    pub(crate) plain: Vec<u8>,
}

impl Sealed {
    pub(crate) fn open(path: &Path, keys: &DigestKeys) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let header = ObjectHeader::decode(&bytes, keys).unwrap();
        let plain = zstd::decode_all(&bytes[HEADER_BYTES..]).unwrap();
        Self { path: path.to_owned(), header, plain }
    }

    /// Puts the object in its place again, with the content that it has now.
    pub(crate) fn seal(self, keys: &DigestKeys) -> ContentDigest {
        let object =
            assemble_object(self.header, &mut &self.plain[..], 1 << 20, CompressionLevel::DEFAULT, keys).unwrap();
        std::fs::write(&self.path, [object.header_bytes.as_slice(), &object.body].concat()).unwrap();
        keys.plain_digest(&self.plain)
    }
}

/// Changes the JSON of an object and seals it again; returns its new digest.
pub(crate) fn change_json(fixture: &Fixture, key: &str, change: impl FnOnce(&mut Value)) -> ContentDigest {
    let keys = fixture.repository.keys();
    let mut object = Sealed::open(&fixture.root.join(key), keys);
    let mut value: Value = serde_json::from_slice(&object.plain).unwrap();
    change(&mut value);
    object.plain = pretty(&value);
    object.seal(keys)
}

/// Changes `root` or `needs` of a backup, and its record accordingly.
pub(crate) fn change_listed(fixture: &Fixture, backup: &str, object: &str, change: impl FnOnce(&mut Value)) {
    let digest = change_json(fixture, &backup_key(backup, object), change);
    change_json(fixture, &backup_key(backup, "record"), |record| {
        record[format!("{object}_digest")] = serde_json::to_value(digest).unwrap();
    });
}

/// Changes bytes of a header and gives it a right MAC.
pub(crate) fn change_header(fixture: &Fixture, key: &str, at: usize, with: &[u8]) {
    let path = fixture.root.join(key);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[at..at + with.len()].copy_from_slice(with);
    let mac = fixture.repository.keys().mac(&bytes[..480]);
    bytes[480..512].copy_from_slice(mac.as_bytes());
    std::fs::write(path, bytes).unwrap();
}
