//! What no version from 13 to 18 writes, or another one than the cluster's: handled, or refused by what it is, what was
//! found and what was expected.

use std::fs;

use crate::support::Outcome;
use crate::wal_host::{SEGMENT, WalHost, segment};

const VERSION_OFFSET: usize = 8;
const MAGIC_OFFSET: usize = 0;
const SEGMENT_SIZE_OFFSET: usize = 32;
const BLOCK_SIZE_OFFSET: usize = 36;

fn changed(mut bytes: Vec<u8>, offset: usize, new: &[u8]) -> Vec<u8> {
    bytes[offset..offset + new.len()].copy_from_slice(new);
    bytes
}

/// Refused with all these words; nothing is stored under the name.
#[track_caller]
fn refused(host: &WalHost, outcome: Outcome, words: &[&str]) {
    assert!(!outcome.status.success() && outcome.status.code().is_some_and(|code| code < 126), "{outcome}");
    for words in words {
        assert!(outcome.stderr.contains(words), "no {words:?}\n{outcome}");
    }
    assert!(!host.stored(SEGMENT).exists());
}

#[test]
fn wal_of_another_kind_is_refused_by_name() {
    let host = WalHost::new("unknown-wal");
    let whole = || segment(SEGMENT, 0);
    let cases: &[(usize, &[u8], &[&str])] = &[
        (MAGIC_OFFSET, &0xD119u16.to_le_bytes(), &["unsupported PostgreSQL version", "found magic D119", "D118 (18)"]),
        (MAGIC_OFFSET, &0x1234u16.to_le_bytes(), &["not a WAL segment", "found magic 1234"]),
        (MAGIC_OFFSET, &0xD118u16.to_le_bytes(), &["\"main\"", "18", "13"]),
        (SEGMENT_SIZE_OFFSET, &(3u32 << 20).to_le_bytes(), &["segment size"]),
        (SEGMENT_SIZE_OFFSET, &(2u32 << 20).to_le_bytes(), &[]),
        (BLOCK_SIZE_OFFSET, &3000u32.to_le_bytes(), &["block size 3000 bytes", "a power of two from 1024 to 65536"]),
    ];
    for (offset, new, words) in cases {
        host.write(SEGMENT, &changed(whole(), *offset, new));
        let words = [&["000000010000000000000003"], *words].concat();
        refused(&host, host.archive(SEGMENT), &words);
    }
}

#[test]
fn wal_of_other_blocks_is_stored_and_delivered() {
    let host = WalHost::new("unknown-blocks");
    let content = changed(segment(SEGMENT, 0), BLOCK_SIZE_OFFSET, &32_768u32.to_le_bytes());
    host.write(SEGMENT, &content);
    host.archive(SEGMENT).success();
    host.fetch(SEGMENT).success();
    assert_eq!(fs::read(host.fetched()).unwrap(), content);
}

/// A server of 19 asks for WAL, or archives a history: its control file is what tells.
#[test]
fn a_control_file_of_another_version_is_refused_by_name() {
    let host = WalHost::new("unknown-control");
    host.archived(SEGMENT);
    let path = host.data.join("global/pg_control");
    let known = fs::read(&path).unwrap();
    let newer = changed(known, VERSION_OFFSET, &1900u32.to_le_bytes());
    host.folder.write("data/global/pg_control", newer);
    let words = ["global/pg_control", "unsupported PostgreSQL version: found version 1900, expected 1300 (13 to 16)"];

    host.write("00000002.history", b"1\t0/3000000\tno recovery target specified\n");
    let outcome = host.archive("00000002.history");
    assert!(outcome.status.code().is_some_and(|code| (1..126).contains(&code)), "{outcome}");
    words.iter().for_each(|words| assert!(outcome.stderr.contains(words), "no {words:?}\n{outcome}"));

    let outcome = host.fetch(SEGMENT);
    assert!(outcome.status.code().is_some_and(|code| code > 1), "1 would say that there is none\n{outcome}");
    words.iter().for_each(|words| assert!(outcome.stderr.contains(words), "no {words:?}\n{outcome}"));
    assert!(!host.fetched().exists());
}
