//! How much memory `pgv verify` and `pgv info` take of a repository with many objects: of many segments hardly more than of
//! few, and as little of many files.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pgv::codec::CompressionLevel;
use pgv::pg::{TimelineId, WalFileName, WalSegmentName, WalSegmentSize};
use pgv::repository::{ClusterRef, Repository, WalArchive, WalFileContent, Writer};

use crate::support::{TestFolder, peak_kib, program};
use crate::swept::Swept;

const SEGMENT_BYTES: u64 = 1 << 20;

/// The number in that variable, else the usual one.
fn count(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |text| text.parse().unwrap())
}

/// Archives so many segments behind those that are there.
fn archive(repository: &Repository, cluster: &ClusterRef, writer: &Writer, count: u64) {
    let size = WalSegmentSize::new(SEGMENT_BYTES).unwrap();
    let zeros = vec![0; SEGMENT_BYTES as usize];
    let next = AtomicU64::new(10);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let archive = WalArchive::new(repository, cluster);
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= 10 + count {
                        return;
                    }
                    let name = WalSegmentName::from_number(TimelineId::FIRST, number, size).unwrap();
                    let content = WalFileContent::Whole(&zeros);
                    let name = WalFileName::Segment(name);
                    archive.store(&name, content, CompressionLevel::DEFAULT, writer).unwrap();
                }
            });
        }
    });
}

/// What a run of `pgv` came to.
struct Measured {
    answer: serde_json::Value,
    /// The most memory that it had, in KiB.
    peak: u64,
    took: Duration,
}

/// Runs `pgv` with these words.
fn pgv(folder: &TestFolder, root: &std::path::Path, words: &[&str]) -> Measured {
    let config = folder.write("pgv.toml", format!("[[repo]]\nurl = \"{}\"\n", root.display()));
    let answer = std::fs::File::create(folder.join("answer")).unwrap();
    let mut command = std::process::Command::new(program("pgv"));
    command.env_clear().args(words).arg("--config").arg(config).args(["--output", "json"]);
    let began = std::time::Instant::now();
    let peak = peak_kib(command.stdout(answer).stderr(std::process::Stdio::null()));
    let took = began.elapsed();
    let answer = serde_json::from_slice(&std::fs::read(folder.join("answer")).unwrap()).unwrap();
    Measured { answer, peak, took }
}

const VERIFY: [&str; 3] = ["verify", "-j", "2"];

#[test]
#[ignore = "slow tier: scripts/test --all"]
fn the_memory_does_not_grow_with_the_segments() {
    let folder = TestFolder::in_memory("many");
    let swept = Swept::write(&folder.join("repository"), *b"many-segments-01");
    let few = [pgv(&folder, &swept.root, &VERIFY), pgv(&folder, &swept.root, &["info"])];
    let segments = count("PGV_TEST_SEGMENTS", 20_000);
    let (cluster, writer) = swept.cluster_and_writer();
    archive(&swept.repository, &cluster, &writer, segments);
    let many = [pgv(&folder, &swept.root, &VERIFY), pgv(&folder, &swept.root, &["info"])];
    let objects = |measured: &Measured| measured.answer["read"]["objects"].as_u64().unwrap();
    assert_eq!(objects(&many[0]), objects(&few[0]) + segments);
    let listed = |measured: &Measured| {
        let timelines = measured.answer["clusters"][0]["trees"][0]["wal"].as_array().unwrap();
        let ranges = timelines.iter().flat_map(|timeline| timeline["ranges"].as_array().unwrap());
        ranges.map(|range| range["count"].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!(listed(&many[1]), listed(&few[1]) + segments);
    for (verb, few, many) in [("verify", &few[0], &many[0]), ("info", &few[1], &many[1])] {
        println!("{verb}: {} KiB, then {} KiB with {segments} segments more, in {:?}", few.peak, many.peak, many.took);
        assert!(many.peak < few.peak + 16 * 1024, "{verb}: {} KiB, then {} KiB", few.peak, many.peak);
    }
}

#[test]
#[ignore = "slow tier: scripts/test --all"]
fn the_memory_of_verify_does_not_grow_with_the_files() {
    let folder = TestFolder::in_memory("many");
    let files = count("PGV_TEST_FILES", 400_000);
    // Thousands of them are in one frame.
    let content: BTreeMap<String, Vec<u8>> =
        (0..files).map(|number| (format!("base/5/{number:08}"), number.to_le_bytes().to_vec())).collect();
    let few = Swept::write(&folder.join("few"), *b"many-files-00001");
    let mut many = Swept::write(&folder.join("many"), *b"many-files-00001");
    many.back_up_more(content);
    for (threads, limit) in [("2", 64), ("256", 128)] {
        let words = ["verify", "-j", threads];
        let before = pgv(&folder, &few.root, &words).peak;
        let Measured { answer, peak: after, took } = pgv(&folder, &many.root, &words);
        assert_eq!(answer["backups"].as_array().unwrap().len(), 3);
        println!("verify -j {threads}: {before} KiB with few files, {after} KiB with {files}, in {took:?}");
        assert!(after < before + limit * 1024, "-j {threads}: {before} KiB, then {after} KiB");
    }
}
