//! What one core reads: `scripts/bench target` runs it and shows the numbers.
//!
//!     pgv-rates wal FOLDER RUNS     the segments of a folder through the WAL reader
//!     pgv-rates pages RUNS          512 MiB of pages through the check of their sums
//!
//! Prints MB/s (10^6 bytes), a line for each run, and nothing else.

use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{env, fs};

use pgv::pg::{
    Lsn, PageVerdict, TimelineHistory, WalContent, WalReader, WalRecord, WalSegmentHeader, WalSegmentName, WalStart,
    judge_page, page_checksum,
};

const PAGE_BYTES: usize = 8192;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *arguments.as_slice() {
        ["wal", folder, runs] => wal(Path::new(folder), runs.parse().expect("RUNS is a number")),
        ["pages", runs] => pages(runs.parse().expect("RUNS is a number")),
        _ => panic!("usage: pgv-rates wal FOLDER RUNS | pgv-rates pages RUNS"),
    }
}

/// Runs `work`, which says how many bytes it read.
#[allow(clippy::print_stdout)]
fn measure(runs: usize, mut work: impl FnMut() -> usize) {
    for _ in 0..runs {
        let started = Instant::now();
        let bytes = work();
        let rate = u128::try_from(bytes).expect("a length") * 1000 / started.elapsed().as_nanos().max(1);
        println!("{rate}");
    }
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let is_segment = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| WalSegmentName::parse(name).is_ok())
    };
    let entries = fs::read_dir(folder).expect("FOLDER can be listed");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).filter(is_segment).collect();
    paths.sort();
    paths
}

fn wal(folder: &Path, runs: usize) {
    let contents: Vec<Vec<u8>> =
        segments(folder).iter().map(|path| fs::read(path).expect("a segment can be read")).collect();
    let bytes: usize = contents.iter().map(Vec::len).sum();
    let first = WalSegmentHeader::decode(contents.first().expect("FOLDER holds segments")).expect("it is a segment");
    measure(runs, || {
        let start = WalStart::Segment(first.page_address);
        let mut reader = WalReader::new(first.into(), TimelineHistory::first(), start, None);
        let mut commits = 0_u64;
        for part in contents.iter().flat_map(|content| content.chunks(256 << 10)) {
            let is_commit = |record: &WalRecord| matches!(record.content, WalContent::Commit(_));
            let _ = reader.feed(part, |record| commits += u64::from(is_commit(&record)));
        }
        let run = reader.finish();
        let read = run.next_lsn.distance_from(first.page_address).unwrap_or_default();
        assert!(commits > 0 && read * 2 > bytes as u64, "most of it was not read: {run:?}");
        bytes
    });
}

fn pages(runs: usize) {
    let newer = Lsn::new(78).expect("an LSN");
    let mut page: Vec<u8> = (0..PAGE_BYTES).map(|at| u8::try_from(at * 7 % 251).expect("a byte")).collect();
    page.splice(..8, [0, 0, 0, 0, 77, 0, 0, 0]);
    page.splice(14..16, 200_u16.to_le_bytes());
    let sum = page_checksum(&page, 0);
    page.splice(8..10, sum.to_le_bytes());
    let all = page.repeat(8192);
    measure(runs, || {
        let parts = || (0..8).flat_map(|_| all.chunks_exact(PAGE_BYTES));
        let bad = parts().filter(|page| judge_page(page, 0, newer) != PageVerdict::Good).count();
        assert_eq!(bad, 0);
        8 * all.len()
    });
}
