//! The corpus of `fuzz/` as a plain test, and the same doors with arbitrary and with mutilated bytes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

fn fuzz_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn names_in(folder: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(fuzz_folder().join(folder)).unwrap();
    entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

fn corpus(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = fuzz_folder().join("corpus").join(target.name);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), std::fs::read(&path).unwrap())).collect()
}

/// Every file that a fuzzer kept or that a defect left.
#[test]
fn the_corpus_is_read_or_refused() {
    for target in TARGETS {
        let files = corpus(target);
        assert!(!files.is_empty(), "fuzz/corpus/{} is empty", target.name);
        for (path, data) in files {
            let checked = std::panic::catch_unwind(|| target.check(&data));
            assert!(checked.is_ok(), "{} fails", path.display());
        }
    }
}

#[test]
fn every_target_has_its_program_its_corpus_and_its_line_in_the_table() {
    let names: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(names_in("fuzz_targets"), names);
    assert_eq!(names_in("corpus"), names);
    let table = std::fs::read_to_string(fuzz_folder().join("README.md")).unwrap();
    for name in names {
        assert!(table.contains(&format!("| `{name}` |")), "fuzz/README.md has no line of {name}");
    }
}

#[test]
fn memory_is_counted_where_it_is_taken() {
    let peak = counting::peak_of(|| {
        let first = vec![1u8; 300_000];
        drop(std::hint::black_box(first));
        let mut second = vec![2u8; 100_000];
        second.reserve_exact(150_000);
        drop(std::hint::black_box(second));
    });
    assert!((350_000..400_000).contains(&peak), "{peak}");
    let greedy =
        Target { name: "greedy", run: |data| drop(vec![0u8; data.len() * 10]), constant_bytes: 100, factor: 9 };
    assert!(std::panic::catch_unwind(|| greedy.check(&[0; 1000])).is_err());
    Target { factor: 10, ..greedy }.check(&[0; 1000]);
}

#[derive(Debug, Clone)]
enum Change {
    Set(prop::sample::Index, u8),
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index, prop::sample::Index),
    Copy(prop::sample::Index, prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (at(), 0u8..8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        (at(), at()).prop_map(|(from, to)| Change::Cut(from, to)),
        (at(), at()).prop_map(|(from, to)| Change::Copy(from, to)),
        (at(), prop::collection::vec(any::<u8>(), 1..40)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
    ]
}

fn changed(mut data: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        let length = data.len().max(1);
        data.resize(length, 0);
        match change {
            Change::Set(at, byte) => data[at.index(length)] = *byte,
            Change::Flip(at, bit) => data[at.index(length)] ^= 1 << bit,
            Change::Cut(from, to) => {
                let (from, to) = (from.index(length), to.index(length));
                data.drain(from.min(to)..from.max(to));
            }
            Change::Copy(from, to) => {
                let part = data[from.index(length)..].iter().copied().take(200).collect::<Vec<_>>();
                let at = to.index(length);
                data.splice(at..at, part);
            }
            Change::Insert(at, bytes) => {
                let at = at.index(length);
                data.splice(at..at, bytes.iter().copied());
            }
        }
    }
    data
}

/// Arbitrary bytes, and files of the corpus with a few changes: never a panic, never more memory than the limit.
#[test]
fn arbitrary_and_mutilated_bytes_are_read_or_refused() {
    for target in TARGETS {
        let seeds: Vec<Vec<u8>> = corpus(target).into_iter().map(|(_, data)| data).collect();
        let arbitrary = prop::collection::vec(any::<u8>(), 0..400);
        let mutilated = (prop::sample::select(seeds), prop::collection::vec(change(), 1..6))
            .prop_map(|(seed, changes)| changed(seed, &changes));
        let mut runner = TestRunner::new(Config { cases: 1000, failure_persistence: None, ..Config::default() });
        let outcome = runner.run(&prop_oneof![1 => arbitrary, 3 => mutilated], |data| {
            target.check(&data);
            Ok(())
        });
        if let Err(failure) = outcome {
            panic!("{}: {failure}", target.name);
        }
    }
}

/// What we accept, the system's tar sees the same (failures.md D9); the target itself compares with the `tar` crate.
#[test]
fn accepted_archives_are_the_same_to_the_tar_of_the_system() {
    let target = find("tar").unwrap();
    let mut compared = 0;
    for (path, data) in corpus(target) {
        // An archive of nothing, not even an end, is none to other readers.
        let Some((archive, seen)) = pg::accepted(&data).filter(|(_, seen)| !seen.is_empty()) else { continue };
        let ours: Vec<_> = seen.into_iter().map(|(name, kind, size, _, link, _)| (name, kind, size, link)).collect();
        assert_eq!(listed_by_tar(&archive), ours, "{}", path.display());
        compared += ours.len();
    }
    assert!(compared >= 10, "{compared} entries compared");
}

/// Name, type, size and link of an entry.
type Listed = (Vec<u8>, u8, u64, Option<Vec<u8>>);

/// The entries as the system's tar lists them.
fn listed_by_tar(archive: &[u8]) -> Vec<Listed> {
    use std::io::Write as _;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(archive).unwrap();
    let output = std::process::Command::new("tar")
        .args(["--list", "-v", "--full-time", "--numeric-owner", "--quoting-style=c", "-P", "--file"])
        .arg(file.path())
        .env("LC_ALL", "C")
        .output()
        .expect("tar is part of every system");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let list = output.stdout;
    let lines = list.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let listed = lines.map(|line| {
        let text = String::from_utf8_lossy(line);
        let kind = match line[0] {
            b'-' => b'0',
            b'd' => b'5',
            b'l' => b'2',
            other => other,
        };
        let size = text.split_whitespace().nth(2).unwrap().parse().unwrap();
        let quote = line.iter().position(|byte| *byte == b'"').unwrap();
        let (name, rest) = unquoted(&line[quote + 1..]);
        let link = rest.strip_prefix(b" -> \"").map(|link| unquoted(link).0);
        (name, kind, size, 0, link, 0)
    });
    let same = crate::pg::tar_oracle::same_form(listed.collect());
    same.into_iter().map(|(name, kind, size, _, link, _)| (name, kind, size, link)).collect()
}

/// A text quoted as in C, up to its closing quote, and what follows.
fn unquoted(mut text: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut plain = Vec::new();
    while let Some((&byte, rest)) = text.split_first() {
        text = rest;
        match byte {
            b'"' => break,
            b'\\' => {
                let digits = text.iter().take(3).take_while(|byte| byte.is_ascii_digit()).count();
                if digits == 3 {
                    plain.push(u8::from_str_radix(std::str::from_utf8(&text[..3]).unwrap(), 8).unwrap());
                    text = &text[3..];
                } else {
                    let escapes = [(b'a', 7), (b'b', 8), (b't', 9), (b'n', 10), (b'v', 11), (b'f', 12), (b'r', 13)];
                    plain
                        .push(escapes.iter().find(|(letter, _)| *letter == text[0]).map_or(text[0], |(_, byte)| *byte));
                    text = &text[1..];
                }
            }
            byte => plain.push(byte),
        }
    }
    (plain, text)
}
