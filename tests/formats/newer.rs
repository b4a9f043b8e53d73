//! What a newer pgv may write: refused as newer when a reader must know it, ignored when it need not.

use std::error::Error;
use std::path::Path;

use pgv::codec::{BodyLayout, CompressionLevel, ContentDigest, FrameCompressor, HEADER_BYTES, ObjectHeader, SeekTable};
use pgv::error::{Classified as _, ErrorClass};
use pgv::repository::PackIndex;
use serde_json::{Value, json};

use crate::fixture::{self, FIRST, Fixture, SECOND, SYSTEM};
use crate::listing::{listing, open};
use crate::sealing::{backup_key, change_header, change_json, change_listed};

/// The number of the second backup's own pack.
const OWN_NUMBER: u64 = 100;

fn fixture() -> (tempfile::TempDir, Fixture) {
    let temp = tempfile::tempdir().unwrap();
    let fixture = fixture::write(&temp.path().join("repository"), Path::new("/srv/space"));
    (temp, fixture)
}

fn segment() -> String {
    format!("main/{SYSTEM}/wal/00000001/0000000100000000/000000010000000000000003")
}

/// A message as it is printed: each level, then its cause.
fn chain(error: &dyn Error) -> String {
    error.source().map_or(error.to_string(), |source| format!("{error}: {}", chain(source)))
}

fn change_description(fixture: &Fixture, change: impl FnOnce(&mut Value)) {
    let path = fixture.root.join("repository.json");
    let mut value: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut value);
    std::fs::write(path, serde_json::to_vec(&value).unwrap()).unwrap();
}

/// What became of a pack that was written again.
struct Rewritten {
    body_bytes: u64,
    plain_bytes: u64,
    index_digest: ContentDigest,
}

/// Writes the second backup's own pack again, its frames changed and its index of that version.
fn rewrite_pack(fixture: &Fixture, version: u16, change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Rewritten {
    let keys = fixture.repository.keys();
    let path = fixture.root.join(format!("main/{SYSTEM}/packs/{SECOND}/00000000"));
    let bytes = std::fs::read(&path).unwrap();
    let (header, mut rest) = (ObjectHeader::decode(&bytes, keys).unwrap(), &bytes[HEADER_BYTES..]);
    let mut contents = Vec::new();
    for entry in SeekTable::decode(rest).unwrap().entries() {
        let (frame, after) = rest.split_at(entry.stored_bytes as usize);
        contents.push(zstd::decode_all(frame).unwrap());
        rest = after;
    }
    let mut index = PackIndex::decode(&contents.pop().unwrap()).unwrap();
    let mut contents = contents.split_off(1); // without the copy of the header
    change(&mut contents);
    let mut compressor = FrameCompressor::new(CompressionLevel::DEFAULT).unwrap();
    let (mut layout, mut body) = BodyLayout::begin(&header).unwrap();
    for (content, entry) in contents.iter().zip(&mut index.frames) {
        let frame = compressor.compress(content).unwrap();
        entry.offset = layout.add(frame.len(), content.len()).unwrap().offset;
        (entry.stored_bytes, entry.plain_bytes) = (frame.len() as u32, content.len() as u32);
        if entry.page_hashes.is_empty() {
            entry.digest = keys.plain_digest(content);
        }
        body.extend(frame);
    }
    let plain_bytes = layout.plain_bytes();
    let mut index = index.encode();
    index[6..8].copy_from_slice(&version.to_le_bytes());
    let frame = compressor.compress(&index).unwrap();
    layout.add(frame.len(), index.len()).unwrap();
    body.extend(frame);
    body.extend(layout.finish().unwrap());
    std::fs::write(path, [header.encode(keys).unwrap().as_slice(), &body].concat()).unwrap();
    Rewritten { body_bytes: body.len() as u64, plain_bytes, index_digest: keys.plain_digest(&index) }
}

/// Tells `needs` of the second backup, and its record, what became of its pack.
fn change_need(fixture: &Fixture, pack: &Rewritten) {
    change_listed(fixture, SECOND, "needs", |needs| {
        let packs = needs["packs"].as_array_mut().unwrap();
        let own = packs.iter_mut().find(|need| need["number"] == OWN_NUMBER).unwrap();
        own["body_bytes"] = pack.body_bytes.into();
        own["plain_bytes"] = pack.plain_bytes.into();
        own["index_digest"] = serde_json::to_value(pack.index_digest).unwrap();
    });
}

#[test]
fn what_a_reader_must_know_is_refused_as_newer() {
    type Row = (&'static str, fn(&Fixture), &'static str);
    let rows: [Row; 10] = [
        (
            "format of the repository",
            |fixture| change_description(fixture, |value| value["format"] = 2.into()),
            "has format 2; this pgv knows format 1",
        ),
        (
            "format of the repository, nothing else of which is known",
            |fixture| change_description(fixture, |value| *value = json!({ "format": 3 })),
            "has format 3; this pgv knows format 1",
        ),
        (
            "required feature of the repository",
            |fixture| change_description(fixture, |value| value["required_features"] = json!(["braids"])),
            "\"repository.json\" in repository",
        ),
        (
            "format of an object",
            |fixture| change_header(fixture, &segment(), 14, &[2, 0]),
            "written by a newer pgv: it has object format 2; this pgv knows 1",
        ),
        (
            "required feature of an object",
            |fixture| change_header(fixture, &segment(), 20, &[4]),
            "written by a newer pgv: it uses required features 4 that this pgv does not know",
        ),
        (
            "kind of an object",
            |fixture| change_header(fixture, &segment(), 16, &[99]),
            "written by a newer pgv: it uses kind 99 that this pgv does not know",
        ),
        (
            "codec of an object",
            |fixture| change_header(fixture, &segment(), 18, &[2]),
            "written by a newer pgv: it uses codec 2 that this pgv does not know",
        ),
        (
            "cipher of an object",
            |fixture| change_header(fixture, &segment(), 19, &[1]),
            "written by a newer pgv: it uses cipher 1 that this pgv does not know",
        ),
        (
            "required feature of a record",
            |fixture| {
                change_json(fixture, &backup_key(FIRST, "record"), |value| {
                    value["required_features"] = json!(["knots"])
                });
            },
            "needs the feature \"knots\" that this pgv does not know",
        ),
        (
            "version of a pack's index",
            |fixture| change_need(fixture, &rewrite_pack(fixture, 2, |_| {})),
            "needs the feature \"pack index version 2\" that this pgv does not know",
        ),
    ];
    for (what, change, words) in rows {
        let (_temp, fixture) = fixture();
        listing(&open(&fixture.root).unwrap()).unwrap();
        change(&fixture);
        let error = open(&fixture.root).and_then(|repository| listing(&repository)).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Unsupported, "{what}: {}", chain(&error));
        assert!(chain(&error).contains(words), "{what}: {}", chain(&error));
    }
}

/// Adds a field that nobody knows to every JSON object; `settings` and `libraries` are maps of the server's names.
fn add_fields(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(add_fields),
        Value::Object(object) => {
            for (name, value) in object.iter_mut() {
                if name != "settings" && name != "libraries" {
                    add_fields(value);
                }
            }
            object.insert("of_the_future".to_owned(), json!({ "what": ["ever", 1] }));
        }
        _ => {}
    }
}

/// What is listed, without the digests that follow from texts of other length.
fn comparable(fixture: &Fixture) -> String {
    let text = listing(&open(&fixture.root).unwrap()).unwrap();
    let line = |line: &str| match line.strip_prefix("backup ").and_then(|rest| rest.split_once(' ')) {
        Some((id, record)) => {
            let mut record: Value = serde_json::from_str(record).unwrap();
            for name in ["root_digest", "needs_digest"] {
                record.as_object_mut().unwrap().remove(name).unwrap();
            }
            format!("backup {id} {record}\n")
        }
        None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

#[test]
fn json_fields_that_nobody_knows_are_ignored() {
    let (_temp, fixture) = fixture();
    let before = comparable(&fixture);
    change_description(&fixture, add_fields);
    change_json(&fixture, &format!("main/{SYSTEM}/identity"), add_fields);
    change_json(&fixture, &format!("main/writers/{}", fixture.writer.id()), add_fields);
    let mut leaf = Vec::new();
    let pack = rewrite_pack(&fixture, 1, |frames| {
        for line in frames[1].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let mut entry = serde_json::from_slice(line).unwrap();
            add_fields(&mut entry);
            leaf.extend(serde_json::to_vec(&entry).unwrap());
            leaf.push(b'\n');
        }
        assert!(leaf.len() > frames[1].len());
        frames[1] = leaf.clone();
    });
    change_need(&fixture, &pack);
    change_listed(&fixture, SECOND, "root", |root| {
        root["leaves"][0]["place"][2] = leaf.len().into();
        root["leaves"][0]["digest"] = serde_json::to_value(fixture.repository.keys().plain_digest(&leaf)).unwrap();
    });
    for backup in [FIRST, SECOND] {
        for object in ["root", "needs"] {
            change_listed(&fixture, backup, object, add_fields);
        }
        change_json(&fixture, &backup_key(backup, "begin"), add_fields);
        change_json(&fixture, &backup_key(backup, "record"), add_fields);
    }
    assert_eq!(comparable(&fixture), before);

    // `begin` is read only of a backup without record.
    std::fs::remove_file(fixture.root.join(backup_key(SECOND, "record"))).unwrap();
    let unfinished = open(&fixture.root).unwrap().unfinished_backups(&fixture.cluster).unwrap();
    assert_eq!(unfinished[0].begin.as_ref().unwrap().host, "db1.example.org");
}

#[test]
fn optional_features_and_flags_that_nobody_knows_are_ignored() {
    let (_temp, fixture) = fixture();
    let before = listing(&fixture.repository).unwrap();
    let objects = [segment(), format!("main/{SYSTEM}/identity"), format!("main/{SYSTEM}/packs/{SECOND}/00000000")];
    for key in objects {
        change_header(&fixture, &key, 24, &[0xFF; 8]);
    }
    assert_eq!(listing(&open(&fixture.root).unwrap()).unwrap(), before);
}
