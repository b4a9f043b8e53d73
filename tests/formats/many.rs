//! How much memory `pgv verify` takes of a repository with many objects: of many segments no more than of few, of files
//! what its documentation says.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pgv::codec::CompressionLevel;
use pgv::pg::{TimelineId, WalFileName, WalSegmentName, WalSegmentSize};
use pgv::repository::{ClusterRef, Repository, WalArchive, WalFileContent, Writer};

use crate::support::{TestFolder, program};
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

/// Runs `pgv verify` and returns its answer and the most memory that it had, in KiB.
fn verify(folder: &TestFolder, root: &std::path::Path, options: &[&str]) -> (serde_json::Value, u64) {
    let config = folder.write("pgv.toml", format!("[[repo]]\nurl = \"{}\"\n", root.display()));
    let answer = std::fs::File::create(folder.join("answer")).unwrap();
    let mut command = std::process::Command::new(program("pgv"));
    command.env_clear().arg("verify").arg("--config").arg(config).args(["--output", "json", "-j", "2"]).args(options);
    let mut child = command.stdout(answer).stderr(std::process::Stdio::null()).spawn().unwrap();
    let status = PathBuf::from(format!("/proc/{}/status", child.id()));
    let mut peak = 0;
    let ended = loop {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let now = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        peak = peak.max(now.unwrap_or(0));
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(ended.success(), "{ended}");
    (serde_json::from_slice(&std::fs::read(folder.join("answer")).unwrap()).unwrap(), peak)
}

#[test]
#[ignore = "slow tier: scripts/test --all"]
fn the_memory_of_verify_does_not_grow_with_the_segments() {
    let folder = TestFolder::in_memory("many");
    let swept = Swept::write(&folder.join("repository"), *b"many-segments-01");
    let (before, few) = verify(&folder, &swept.root, &[]);
    let segments = count("PGV_TEST_SEGMENTS", 20_000);
    let (cluster, writer) = swept.cluster_and_writer();
    archive(&swept.repository, &cluster, &writer, segments);
    let (after, many) = verify(&folder, &swept.root, &[]);
    let objects = |answer: &serde_json::Value| answer["read"]["objects"].as_u64().unwrap();
    assert_eq!(objects(&after), objects(&before) + segments);
    println!("verify: {few} KiB with {} objects, {many} KiB with {}", objects(&before), objects(&after));
    assert!(many < few + 16 * 1024, "{few} KiB, then {many} KiB");
}

/// 80 bytes for each file, up to twice that for room to grow, and the runs of frames that two threads read.
#[test]
#[ignore = "slow tier: scripts/test --all"]
fn the_memory_of_verify_grows_with_the_files_as_it_says() {
    let folder = TestFolder::in_memory("many");
    let files = count("PGV_TEST_FILES", 200_000);
    let content: BTreeMap<String, Vec<u8>> =
        (0..files).map(|number| (format!("base/5/{number:08}"), number.to_le_bytes().to_vec())).collect();
    let few = Swept::write(&folder.join("few"), *b"many-files-00001");
    let (_, before) = verify(&folder, &few.root, &[]);
    let mut many = Swept::write(&folder.join("many"), *b"many-files-00001");
    many.back_up_more(content);
    let (answer, after) = verify(&folder, &many.root, &[]);
    assert_eq!(answer["backups"].as_array().unwrap().len(), 3);
    println!("verify: {before} KiB with few files, {after} KiB with {files}");
    assert!(after < before + 32 * 1024 + files * 160 / 1024, "{before} KiB, then {after} KiB");
}
