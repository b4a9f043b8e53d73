//! The golden repository read by docs/repository-format.md alone: with the offsets that stand there, BLAKE3, zstd and
//! JSON, and nothing of the library. What the library writes and what the document says are compared here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::document;
use crate::golden::data;

const CLUSTER_TREE: &str = "main/7000000000000000001";

/// The keys of part 5, derived with the contexts of its table.
struct Keys {
    plain: [u8; 32],
    page: [u8; 32],
    page_list: [u8; 32],
    mac: [u8; 32],
}

impl Keys {
    fn derive(repository_id: &[u8]) -> Self {
        let text = document::text();
        let rows = document::rows(document::section(&text, "5. Digests"));
        let context = |key: &str| {
            let row = rows.iter().find(|row| row[0].starts_with(key)).unwrap();
            row[1].trim_matches('`').to_owned()
        };
        let secret = blake3::derive_key(&context("W"), repository_id);
        let key = |name| blake3::derive_key(&context(name), &secret);
        Self { plain: key("plain"), page: key("page digest"), page_list: key("page list"), mac: key("MAC") }
    }

    fn plain_digest(&self, bytes: &[u8]) -> [u8; 32] {
        *blake3::keyed_hash(&self.plain, bytes).as_bytes()
    }

    fn page_list_digest(&self, bytes: &[u8]) -> [u8; 32] {
        let list: Vec<u8> =
            bytes.chunks(8192).flat_map(|page| *blake3::keyed_hash(&self.page, page).as_bytes()).collect();
        *blake3::keyed_hash(&self.page_list, &list).as_bytes()
    }
}

struct Golden {
    root: PathBuf,
    id: Vec<u8>,
    keys: Keys,
}

impl Golden {
    fn open() -> Self {
        Self::open_in("format-v1")
    }

    /// The one with every kind of entry, and the one with marks and pins.
    fn both() -> [Self; 2] {
        ["format-v1", "format-v1-marks"].map(Self::open_in)
    }

    fn open_in(folder: &str) -> Self {
        let root = data().join(folder).join("repository");
        let description: Value = serde_json::from_slice(&std::fs::read(root.join("repository.json")).unwrap()).unwrap();
        let id = from_hex(description["id"].as_str().unwrap());
        Self { keys: Keys::derive(&id), root, id }
    }

    fn object(&self, key: &str) -> Object {
        Object { bytes: std::fs::read(self.root.join(key)).unwrap() }
    }

    /// Every key but `repository.json`.
    fn object_keys(&self) -> Vec<String> {
        let mut keys = Vec::new();
        walk(&self.root, "", &mut keys);
        keys.retain(|key| key != "repository.json");
        assert!(keys.len() > 20);
        keys
    }

    fn json(&self, key: &str) -> Value {
        serde_json::from_slice(&self.object(key).plain()).unwrap()
    }
}

fn walk(folder: &Path, prefix: &str, keys: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let key = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            walk(&entry.path(), &format!("{key}/"), keys);
        } else {
            keys.push(key);
        }
    }
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

struct Object {
    bytes: Vec<u8>,
}

/// A frame by the seek table: its offset in the body, stored and plain size.
type Frame = (usize, usize, usize);

impl Object {
    fn field(&self, at: usize, bytes: usize) -> &[u8] {
        &self.bytes[at..at + bytes]
    }

    fn body(&self) -> &[u8] {
        &self.bytes[512..]
    }

    fn name(&self) -> &str {
        std::str::from_utf8(self.field(218, number(self.field(216, 2)) as usize)).unwrap()
    }

    fn is_pack(&self) -> bool {
        number(self.field(16, 2)) == 12
    }

    fn plain(&self) -> Vec<u8> {
        zstd::decode_all(self.body()).unwrap()
    }

    fn frames(&self) -> Vec<Frame> {
        let body = self.body();
        let end = body.len();
        assert_eq!(number(&body[end - 4..]), 0x8F92_EAB1);
        assert_eq!(body[end - 5], 0);
        let count = number(&body[end - 9..end - 5]) as usize;
        let table = end - 9 - 8 * count - 8;
        assert_eq!(number(&body[table..table + 4]), 0x184D_2A5E);
        assert_eq!(number(&body[table + 4..table + 8]) as usize, 8 * count + 9);
        let mut offset = 0;
        let mut frames = Vec::new();
        for entry in body[table + 8..end - 9].chunks(8) {
            let (stored, plain) = (number(&entry[..4]) as usize, number(&entry[4..]) as usize);
            frames.push((offset, stored, plain));
            offset += stored;
        }
        assert_eq!(offset, table);
        frames
    }

    fn frame(&self, (offset, stored, plain): Frame) -> Vec<u8> {
        let content = zstd::bulk::decompress(&self.body()[offset..offset + stored], 4 << 20).unwrap();
        assert_eq!(content.len(), plain);
        content
    }
}

/// Kind, logical name and whether there is a system identifier, by the tables of parts 3 and 6.
fn expected_header(key: &str) -> (u64, String, bool) {
    let parts: Vec<&str> = key.split('/').collect();
    match parts[1..] {
        ["writers", id] => (2, format!("writer/{id}"), false),
        [system, "identity"] => (1, format!("identity/{system}"), true),
        [_, "history", name] => (6, format!("wal/{name}"), true),
        [_, "wal", timeline, folder, name] => {
            assert_eq!((timeline, folder), (&name[..8], &name[..16]));
            let kind = if name.ends_with(".partial") { 4 } else { 3 + 2 * u64::from(name.ends_with(".backup")) };
            (kind, format!("wal/{name}"), true)
        }
        [_, "packs", backup, ordinal] => (12, format!("pack/{backup}/{ordinal}"), true),
        [_, "backups", backup, "documents", name] => (10, format!("backup/{backup}/documents/{name}"), true),
        [_, "backups", backup, "pins", name] => (16, format!("backup/{backup}/pins/{name}"), true),
        [_, "backups", backup, object] => {
            let kinds =
                [("begin", 7), ("root", 8), ("needs", 9), ("record", 11), ("doubt", 13), ("suspect", 14), ("gone", 15)];
            let kind = kinds.into_iter().find(|row| row.0 == object);
            (kind.unwrap().1, format!("backup/{backup}/{object}"), true)
        }
        _ => panic!("the document knows no key like \"{key}\""),
    }
}

#[test]
fn the_tables_of_header_and_offsets_leave_no_byte_out() {
    let text = document::text();
    let mut end = 0;
    let rows = document::rows(document::section(&text, "6. Objects"));
    for row in
        rows.iter().filter(|row| row.len() == 4 && row[0].parse::<u64>().is_ok() && row[1].parse::<u64>().is_ok())
    {
        assert_eq!(row[0].parse::<u64>().unwrap(), end, "{row:?}");
        end += row[1].parse::<u64>().unwrap();
        if end == 512 {
            return;
        }
    }
    panic!("the table of the header ends at {end}");
}

#[test]
fn headers_are_as_documented() {
    Golden::both().iter().for_each(has_headers_as_documented);
}

fn has_headers_as_documented(golden: &Golden) {
    for key in golden.object_keys() {
        let object = golden.object(&key);
        assert_eq!(number(object.field(0, 4)), 0x184D_2A50, "{key}");
        assert_eq!(number(object.field(4, 4)), 504, "{key}");
        assert_eq!(object.field(8, 6), b"PGVOBJ", "{key}");
        assert_eq!(number(object.field(14, 2)), 1, "{key}");
        let (kind, name, has_system) = expected_header(&key);
        assert_eq!((number(object.field(16, 2)), object.name()), (kind, name.as_str()), "{key}");
        assert_eq!(object.field(18, 14), [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "{key}");
        assert_eq!(object.field(32, 16), golden.id, "{key}");
        assert_eq!(number(object.field(48, 8)), if has_system { 7_000_000_000_000_000_001 } else { 0 }, "{key}");
        assert_eq!(object.field(136, 48), [0; 48], "{key}");
        assert_eq!(number(object.field(200, 8)), 1_795_219_201_000_000, "{key}");
        assert_eq!(object.field(208, 8), [0; 8], "{key}");
        let padding_from = 218 + object.name().len();
        assert!(object.field(padding_from, 480 - padding_from).iter().all(|byte| *byte == 0), "{key}");
        assert_eq!(
            blake3::keyed_hash(&golden.keys.mac, object.field(0, 480)).as_bytes(),
            object.field(480, 32),
            "{key}"
        );
    }
}

#[test]
fn bodies_are_as_documented() {
    Golden::both().iter().for_each(has_bodies_as_documented);
}

fn has_bodies_as_documented(golden: &Golden) {
    for key in golden.object_keys() {
        let object = golden.object(&key);
        let (plain, body) = (object.plain(), object.body());
        if object.is_pack() {
            assert_eq!([object.field(56, 8), object.field(64, 8)], [[0xFF; 8]; 2], "{key}");
            assert_eq!(object.field(72, 64), [0; 64], "{key}");
        } else {
            assert_eq!(number(object.field(56, 8)), plain.len() as u64, "{key}");
            assert_eq!(number(object.field(64, 8)), body.len() as u64, "{key}");
            assert_eq!(object.field(72, 32), golden.keys.plain_digest(&plain), "{key}");
            assert_eq!(object.field(104, 32), blake3::hash(body).as_bytes(), "{key}");
        }
        let mut copy = object.field(8, 472).to_vec();
        copy[64 - 8..72 - 8].fill(0);
        copy[104 - 8..136 - 8].fill(0);
        assert_eq!((number(&body[..4]), number(&body[4..8])), (0x184D_2A50, 472), "{key}");
        assert_eq!(body[8..480], copy, "{key}");
        let frames = object.frames();
        assert_eq!(frames[0], (0, 480, 0), "{key}");
        let contents: Vec<Vec<u8>> = frames[1..].iter().map(|frame| object.frame(*frame)).collect();
        assert!(contents.concat() == plain, "{key}");
        if let Some((_, full)) = contents.split_last().filter(|_| !object.is_pack()) {
            assert!(full.iter().all(|frame| frame.len() == 1 << 20), "{key}");
        }
    }
}

#[test]
fn packs_and_their_indexes_are_as_documented() {
    let golden = Golden::open();
    let (mut paged, mut unpaged) = (0, 0);
    for key in golden.object_keys() {
        let pack = golden.object(&key);
        if !pack.is_pack() {
            continue;
        }
        let frames = pack.frames();
        let (index_frame, content_frames) = frames[1..].split_last().unwrap();
        let index = pack.frame(*index_frame);
        assert_eq!(&index[..6], b"PGVPIX");
        assert_eq!((number(&index[6..8]), number(&index[8..12])), (1, 8192));
        assert_eq!(number(&index[12..16]) as usize, content_frames.len());
        let mut rest = &index[16..];
        for frame in content_frames {
            let content = pack.frame(*frame);
            let places = (number(&rest[..8]) as usize, number(&rest[8..12]) as usize, number(&rest[12..16]) as usize);
            assert_eq!(places, *frame);
            let digest = &rest[16..48];
            let pages = number(&rest[48..52]) as usize;
            rest = &rest[52..];
            if pages > 0 {
                paged += 1;
                assert_eq!(digest, golden.keys.page_list_digest(&content));
                assert_eq!(pages, content.len().div_ceil(8192));
            } else {
                unpaged += 1;
                assert_eq!(digest, golden.keys.plain_digest(&content));
            }
            for page in content.chunks(8192).take(pages) {
                assert_eq!(rest[..8], blake3::keyed_hash(&golden.keys.page, page).as_bytes()[..8]);
                rest = &rest[8..];
            }
        }
        assert!(rest.is_empty());
    }
    assert!(paged > 2 && unpaged > 2, "the golden packs show both: {paged}, {unpaged}");
}

/// From the record down to the bytes of the files, by the digests that the document says.
#[test]
fn backups_are_covered_by_digests_as_documented() {
    let golden = Golden::open();
    let digest = |value: &Value| from_hex(value.as_str().unwrap());
    let mut files = 0;
    for backup in ["20261121T143000Z-00000001", "20261122T143000Z-00000002"] {
        let folder = format!("{CLUSTER_TREE}/backups/{backup}");
        let plain = |object: &str| golden.object(&format!("{folder}/{object}")).plain();
        let record = golden.json(&format!("{folder}/record"));
        assert_eq!(digest(&record["root_digest"]), golden.keys.plain_digest(&plain("root")));
        assert_eq!(digest(&record["needs_digest"]), golden.keys.plain_digest(&plain("needs")));
        for document in record["documents"].as_array().unwrap() {
            let content = plain(&format!("documents/{}", document["name"].as_str().unwrap()));
            assert_eq!(digest(&document["digest"]), golden.keys.plain_digest(&content));
        }
        let mut packs = BTreeMap::new();
        for need in golden.json(&format!("{folder}/needs"))["packs"].as_array().unwrap() {
            let ordinal = need["ordinal"].as_u64().unwrap();
            let key = format!("{CLUSTER_TREE}/packs/{}/{ordinal:08}", need["backup"].as_str().unwrap());
            let pack = golden.object(&key);
            let index = pack.frame(*pack.frames().last().unwrap());
            assert_eq!(digest(&need["index_digest"]), golden.keys.plain_digest(&index));
            assert_eq!(need["body_bytes"].as_u64().unwrap(), pack.body().len() as u64);
            assert_eq!(need["plain_bytes"].as_u64().unwrap(), (pack.plain().len() - index.len()) as u64);
            packs.insert(need["number"].as_u64().unwrap(), pack.plain());
        }
        let part = |extent: &Value| {
            let [pack, offset, length] = [0, 1, 2].map(|at| extent[at].as_u64().unwrap());
            packs[&pack][offset as usize..(offset + length) as usize].to_vec()
        };
        let root = golden.json(&format!("{folder}/root"));
        let mut entries = 0;
        for leaf in root["leaves"].as_array().unwrap() {
            let text = part(&leaf["place"]);
            assert_eq!(digest(&leaf["digest"]), golden.keys.plain_digest(&text));
            for line in text.strip_suffix(b"\n").unwrap().split(|byte| *byte == b'\n') {
                entries += 1;
                let entry: Value = serde_json::from_slice(line).unwrap();
                if entry["kind"] == "file" {
                    files += 1;
                    let content: Vec<u8> = entry["extents"].as_array().unwrap().iter().flat_map(part).collect();
                    assert_eq!(entry["bytes"].as_u64().unwrap(), content.len() as u64);
                    let expected = match content.len() {
                        0..=65_536 => golden.keys.plain_digest(&content),
                        _ => golden.keys.page_list_digest(&content),
                    };
                    assert_eq!(digest(&entry["digest"]), expected);
                }
            }
        }
        assert_eq!(root["entries"], entries);
    }
    assert_eq!(files, 18);
}

#[test]
fn a_writers_id_is_as_documented() {
    let golden = Golden::open();
    let key = golden.object_keys().into_iter().find(|key| key.contains("/writers/")).unwrap();
    let writer = golden.json(&key);
    let text = format!("writer\0{}\0{}", writer["host"].as_str().unwrap(), writer["directory"].as_str().unwrap());
    let id = from_hex(key.rsplit('/').next().unwrap());
    assert_eq!(golden.keys.plain_digest(text.as_bytes())[..16], id);
}

/// The names of all fields of a JSON value; those of `settings` and `libraries` are the server's.
fn fields(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| fields(value, into)),
        Value::Object(object) => {
            for (name, value) in object {
                into.push(name.clone());
                if name != "settings" && name != "libraries" {
                    fields(value, into);
                }
            }
        }
        _ => {}
    }
}

#[test]
fn every_json_field_is_documented() {
    Golden::both().iter().for_each(has_documented_fields);
}

fn has_documented_fields(golden: &Golden) {
    let text = document::text();
    let documented = |heading: &str, value: &Value| {
        let mut names = Vec::new();
        fields(value, &mut names);
        assert!(!names.is_empty());
        for name in names {
            assert!(document::section(&text, heading).contains(&format!("`{name}`")), "\"{name}\" in \"{heading}\"");
        }
    };
    let description = std::fs::read(golden.root.join("repository.json")).unwrap();
    documented("4. repository.json", &serde_json::from_slice(&description).unwrap());
    for key in golden.object_keys() {
        match key.rsplit('/').next().unwrap() {
            "identity" => documented("7. Clusters", &golden.json(&key)),
            _ if key.contains("/writers/") => documented("7. Clusters", &golden.json(&key)),
            "root" => documented("10. The file map", &golden.json(&key)),
            "begin" | "needs" | "record" => documented("11. Backups", &golden.json(&key)),
            "doubt" | "suspect" | "gone" => documented("12. Deleting", &golden.json(&key)),
            _ if key.contains("/pins/") => documented("12. Deleting", &golden.json(&key)),
            _ => {}
        }
    }
    let first_pack = golden.object(&format!("{CLUSTER_TREE}/packs/20261122T143000Z-00000002/00000000"));
    let leaf = first_pack.frame(first_pack.frames()[2]);
    for line in leaf.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        documented("10. The file map", &serde_json::from_slice(line).unwrap());
    }
}
