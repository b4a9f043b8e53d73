//! Holds the layers, the homes of forbidden calls, and the sizes of files and functions.
//!
//! Reads the sources of `src/lib` and `src/bin` with a small lexer of its own; code under `#[cfg(test)]` is exempt.
//! The tables to edit are in `rules.rs`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods)]

mod lexer;
mod rules;
mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rules::Violation;
use source::SourceFile;

/// Every source file, by its path relative to the package.
fn sources() -> Vec<SourceFile> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for folder in ["src/lib", "src/bin"] {
        collect(&root.join(folder), &mut paths);
    }
    paths.sort();
    let read = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("could not read {path:?}: {error}"));
        SourceFile::parse(path.strip_prefix(root).unwrap().to_str().unwrap(), &text)
    };
    let files: Vec<SourceFile> = paths.iter().map(read).collect();
    let test_files: BTreeSet<String> = files.iter().flat_map(SourceFile::test_module_files).collect();
    files.into_iter().filter(|file| !is_below(&file.path, &test_files)).collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("could not read {folder:?}: {error}"));
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

/// Whether `path` is one of the test modules or inside the folder of one.
fn is_below(path: &str, test_files: &BTreeSet<String>) -> bool {
    test_files.iter().any(|file| {
        let folder = file.strip_suffix("/mod.rs").or_else(|| file.strip_suffix(".rs")).unwrap_or(file);
        path == file || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
    })
}

fn assert_none(violations: Vec<Violation>) {
    let lines: Vec<String> = violations.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{} violations:\n  {}\n", lines.len(), lines.join("\n  "));
}

#[test]
fn modules_import_only_from_lower_layers() {
    assert_none(sources().iter().flat_map(rules::imports).collect());
}

#[test]
fn forbidden_calls_stay_in_their_home() {
    assert_none(sources().iter().flat_map(rules::forbidden_calls).collect());
}

#[test]
fn files_and_functions_stay_small() {
    let sources = sources();
    let mut violations: Vec<Violation> = sources.iter().flat_map(rules::sizes).collect();
    violations.extend(rules::stale_ratchet(&sources));
    assert_none(violations);
}

#[test]
fn every_file_says_what_it_is_for() {
    assert_none(sources().iter().filter_map(rules::introduction).collect());
}

#[test]
fn sources_are_found() {
    let sources = sources();
    for expected in ["src/lib/lib.rs", "src/lib/clock.rs", "src/lib/pg/lsn.rs", "src/bin/pgv.rs"] {
        assert!(sources.iter().any(|file| file.path == expected), "{expected} was not read");
    }
}

#[test]
fn test_module_files_are_recognised() {
    let files = BTreeSet::from(["src/lib/pg/tests.rs".to_owned(), "src/lib/fs/checks/mod.rs".to_owned()]);
    assert!(is_below("src/lib/pg/tests.rs", &files));
    assert!(is_below("src/lib/pg/tests/deep.rs", &files));
    assert!(is_below("src/lib/fs/checks/mod.rs", &files));
    assert!(!is_below("src/lib/pg/tests_of_time.rs", &files));
    assert!(!is_below("src/lib/pg/mod.rs", &files));
}
