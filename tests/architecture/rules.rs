//! The rules as tables, and the checks that read them.

use std::fmt;

use crate::source::{NamedPath, SourceFile};

/// One broken rule at one place.
#[derive(Debug)]
pub(crate) struct Violation {
    path: String,
    line: usize,
    message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// The modules, lowest first. A module may import from lines above its own and from itself, never from its own line's
/// neighbours or below: an import is legal only towards a strictly smaller index.
const LAYERS: &[&[&str]] = &[
    // layer 0, whose own order is: the failure classes, the time, PostgreSQL's vocabulary, then what speaks of them
    &["error"],
    &["report", "clock", "parallel", "nearest", "fuzz_check"],
    &["watchdog"],
    &["pg"],
    &["fs", "codec"],
    // layer 1
    &["store", "server"],
    // layer 2
    &["repository"],
    &["wal_search"],
    // layer 3: the verbs
    &["init", "archive", "fetch", "backup", "restore", "recovery_conf", "info", "verify", "check", "expire", "standby"],
    // layer 4
    &["config"],
    &["cli"],
    // not in any build that is installed
    &["fuzzing"],
    // layer 5
    &["bin"],
];

/// A name that only its homes may use.
struct Forbidden {
    /// Parts of a path that must appear next to each other.
    name: &'static str,
    homes: &'static [&'static str],
    instead: &'static str,
}

const fn forbid(name: &'static str, homes: &'static [&'static str], instead: &'static str) -> Forbidden {
    Forbidden { name, homes, instead }
}

const EXIT: &[&str] = &["cli", "bin"];
const SETTINGS: &[&str] = &["cli", "config"];
const RETURN: &str = "return an error; cli turns it into an exit status";
const REPORT: &str = "speak through report::Reporter";
const OPTIONS: &str = "take the value as a resolved option";
const CLOCK: &str = "take a clock::Clock, or use clock::Deadline or clock::Stopwatch";
const FILES: &str = "use crate::fs, which syncs and names the path in its errors";

const FORBIDDEN_PATHS: &[Forbidden] = &[
    forbid("process::exit", EXIT, RETURN),
    forbid("process::abort", EXIT, RETURN),
    forbid("ExitCode", EXIT, RETURN),
    forbid("exit_group", EXIT, RETURN),
    forbid("io::stdout", &["cli"], REPORT),
    forbid("io::stderr", &["cli"], REPORT),
    forbid("rustix::stdio", &["cli"], REPORT),
    forbid("std::env", SETTINGS, OPTIONS),
    forbid("TimeZone::system", SETTINGS, OPTIONS),
    forbid("SystemTime", &["clock"], CLOCK),
    forbid("Timestamp::now", &["clock"], CLOCK),
    forbid("Instant::now", &["clock"], CLOCK),
    forbid("Zoned::now", &["clock"], CLOCK),
    forbid("Uuid::now_v7", &["clock"], CLOCK),
    forbid("std::fs", &["fs"], FILES),
    forbid("tokio::fs", &["fs"], FILES),
    forbid("rustix::fs", &["fs"], FILES),
    forbid("unix::fs::symlink", &["fs"], FILES),
    forbid("unix::fs::chown", &["fs"], FILES),
    forbid("OpenOptions", &["fs"], FILES),
    forbid("File::create", &["fs"], FILES),
    forbid("File::create_new", &["fs"], FILES),
    forbid("File::open", &["fs"], FILES),
    forbid("File::options", &["fs"], FILES),
];

/// Types that may be named anywhere: naming one does nothing to a file.
const ALLOWED_PATHS: &[&str] = &["std::fs::File", "std::fs::Metadata"];

/// A type whose constants may be named anywhere, too: `rustix::process::umask` takes it.
const ALLOWED_TYPE: &str = "rustix::fs::Mode";

const FORBIDDEN_MACROS: &[Forbidden] = &[
    forbid("print", &["cli"], REPORT),
    forbid("println", &["cli"], REPORT),
    forbid("eprint", &["cli"], REPORT),
    forbid("eprintln", &["cli"], REPORT),
    forbid("dbg", &[], REPORT),
];

/// The limit of a file without its tests; see `LONG_FILES` for what lies between the aim and the limit.
const FILE_LINES_AIM: usize = 400;
const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;
const PROGRAM_LINES_MAX: usize = 30;

/// Files above the aim, with their length. A ratchet: numbers only go down, and an entry leaves when its file is short.
const LONG_FILES: &[(&str, usize)] = &[];

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn violation(file: &SourceFile, line: usize, message: String) -> Violation {
    Violation { path: file.path.clone(), line, message }
}

/// The top-level module that a path leads to, when it stays in this crate.
fn destination(file: &SourceFile, path: &NamedPath) -> Option<String> {
    let parts = &path.parts;
    match parts.first().map(String::as_str)? {
        "crate" | "pgv" => parts.get(1).cloned(),
        "super" => {
            let climbed = parts.iter().take_while(|part| *part == "super").count();
            // a file's own module is its last part; from there each `super` climbs one
            if climbed < file.module.len() { file.module.first().cloned() } else { parts.get(climbed).cloned() }
        }
        _ => None,
    }
}

/// Imports that run upward or sideways.
pub(crate) fn imports(file: &SourceFile) -> Vec<Violation> {
    let mut found = Vec::new();
    let Some(module) = file.module.first() else {
        for name in file.declared_modules.iter().filter(|name| layer_of(name).is_none()) {
            found.push(violation(file, 1, format!("module \"{name}\" has no layer in tests/architecture/rules.rs")));
        }
        return found;
    };
    let Some(own_layer) = layer_of(module) else {
        found.push(violation(file, 1, format!("module \"{module}\" has no layer in tests/architecture/rules.rs")));
        return found;
    };
    for path in &file.paths {
        let Some(target) = destination(file, path).filter(|target| target != module) else { continue };
        let message = match layer_of(&target) {
            None => format!("\"{}\" names no module of a known layer", path.parts.join("::")),
            Some(_) if module == "bin" && target != "cli" => {
                format!("\"{}\": programs use cli alone", path.parts.join("::"))
            }
            Some(layer) if layer < own_layer => continue,
            Some(layer) => {
                let direction = if layer == own_layer { "sideways" } else { "upward" };
                format!("\"{}\" runs {direction}: {module} must not import {target}", path.parts.join("::"))
            }
        };
        found.push(violation(file, path.line, message));
    }
    found
}

fn names(path: &[String], forbidden: &Forbidden) -> bool {
    let parts: Vec<&str> = forbidden.name.split("::").collect();
    path.windows(parts.len()).any(|window| window == parts)
}

/// Calls and imports outside their one home.
pub(crate) fn forbidden_calls(file: &SourceFile) -> Vec<Violation> {
    let module = file.module.first().map_or("", String::as_str);
    let mut found = Vec::new();
    for path in &file.paths {
        let text = path.parts.join("::");
        let hit = FORBIDDEN_PATHS
            .iter()
            .filter(|forbidden| !ALLOWED_PATHS.contains(&text.as_str()) && names(&path.parts, forbidden))
            .filter(|_| !text.starts_with(ALLOWED_TYPE));
        if let Some(forbidden) = hit.into_iter().find(|forbidden| !forbidden.homes.contains(&module)) {
            found.push(violation(file, path.line, format!("\"{text}\" is not for here: {}", forbidden.instead)));
        }
    }
    for (name, line) in &file.macros {
        let hit = FORBIDDEN_MACROS.iter().find(|forbidden| forbidden.name == name);
        if let Some(forbidden) = hit.filter(|forbidden| !forbidden.homes.contains(&module)) {
            found.push(violation(file, *line, format!("\"{name}!\" is not for here: {}", forbidden.instead)));
        }
    }
    found
}

/// Files and functions that are too long.
pub(crate) fn sizes(file: &SourceFile) -> Vec<Violation> {
    let mut found = Vec::new();
    let listed = LONG_FILES.iter().find(|(path, _)| *path == file.path).map(|(_, lines)| *lines);
    let limit = match file.module.first().map(String::as_str) {
        Some("bin") => PROGRAM_LINES_MAX,
        _ => listed.unwrap_or(FILE_LINES_AIM).min(FILE_LINES_MAX),
    };
    if file.line_count > limit {
        let text = format!("{} lines without tests, {limit} allowed; split it by what it is about", file.line_count);
        found.push(violation(file, 1, text));
    }
    for function in file.functions.iter().filter(|function| function.line_count > FUNCTION_LINES_MAX) {
        let text =
            format!("function \"{}\" has {} lines, {FUNCTION_LINES_MAX} allowed", function.name, function.line_count);
        found.push(violation(file, function.line, text));
    }
    found
}

/// Entries of `LONG_FILES` that are higher than their file, or that have lost it.
pub(crate) fn stale_ratchet(sources: &[SourceFile]) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, lines) in LONG_FILES {
        let actual = sources.iter().find(|file| file.path == *path).map_or(0, |file| file.line_count);
        if actual < *lines {
            let message = format!("LONG_FILES says {lines} lines, there are {actual}; lower it (or remove it at 400)");
            found.push(Violation { path: (*path).to_owned(), line: 1, message });
        }
    }
    found
}

/// A file that does not begin by saying what it is for.
pub(crate) fn introduction(file: &SourceFile) -> Option<Violation> {
    let begins = file.first_line.starts_with("//! ");
    (!begins).then(|| violation(file, 1, "the first line is not a \"//!\" comment that says what it is for".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> SourceFile {
        SourceFile::parse(path, text)
    }

    fn import_messages(path: &str, text: &str) -> Vec<String> {
        imports(&file(path, text)).iter().map(ToString::to_string).collect()
    }

    fn call_count(path: &str, text: &str) -> usize {
        forbidden_calls(&file(path, text)).len()
    }

    #[test]
    fn downward_imports_pass() {
        for (path, text) in [
            ("src/lib/archive/put.rs", "use crate::{error::ErrorClass, repository::layout}; use super::name::Name;"),
            ("src/lib/cli/run.rs", "use crate::config::Config; fn f() { crate::archive::run() }"),
            ("src/lib/pg/lsn.rs", "use crate::error::Classified; use super::timeline::TimelineId; use crate::pg::Lsn;"),
            ("src/bin/pgv.rs", "fn main() -> std::process::ExitCode { pgv::cli::main() }"),
            ("src/lib/store/mod.rs", "pub(crate) struct X; pub(in crate::store) fn f() {}"),
        ] {
            assert_eq!(import_messages(path, text), Vec::<String>::new(), "{path}");
        }
    }

    #[test]
    fn upward_and_sideways_imports_fail() {
        for (path, text, expected) in [
            ("src/lib/pg/lsn.rs", "use crate::store::Store;", "upward: pg must not import store"),
            ("src/lib/archive/put.rs", "\nuse crate::{fetch, pg};", "put.rs:2: \"crate::fetch\" runs sideways"),
            ("src/lib/restore/plan.rs", "fn f() { crate::backup::run() }", "sideways: restore must not import backup"),
            ("src/lib/restore/plan.rs", "use super::super::backup::run;", "sideways"),
            ("src/lib/restore/mod.rs", "use super::backup::run;", "sideways"),
            ("src/lib/config/mod.rs", "use crate::cli::Error;", "upward"),
            ("src/lib/error.rs", "use crate::report::Reporter;", "upward"),
            ("src/lib/fs/mod.rs", "use crate::codec::Digest;", "sideways"),
            ("src/lib/pg/lsn.rs", "use crate::Store;", "names no module"),
            ("src/bin/pgv.rs", "use pgv::archive::run;", "programs use cli alone"),
            ("src/lib/stray.rs", "", "module \"stray\" has no layer"),
            ("src/lib/lib.rs", "pub mod pg; pub mod stray;", "module \"stray\" has no layer"),
        ] {
            let messages = import_messages(path, text);
            assert_eq!(messages.len(), 1, "{path}: {text}: {messages:?}");
            assert!(messages[0].contains(expected), "{}", messages[0]);
        }
    }

    #[test]
    fn forbidden_calls_fail_outside_their_home_and_pass_inside() {
        for (home, text) in [
            ("cli", "fn f() { std::process::exit(1) }"),
            ("cli", "use std::process::{self, ExitCode};"),
            ("cli", "fn f() { println!(\"x\") }"),
            ("cli", "fn f() { eprintln!(\"x\") }"),
            ("cli", "fn f() { std::io::stdout().flush() }"),
            ("cli", "use std::io::{Write, stderr};"),
            ("cli", "fn f() { rustix::stdio::stdout() }"),
            ("config", "use std::env;"),
            ("config", "fn f() { std::env::var(\"X\") }"),
            ("clock", "fn f() { Timestamp::now() }"),
            ("clock", "fn f() { std::time::Instant::now() }"),
            ("clock", "fn f() { jiff::Zoned::now() }"),
            ("clock", "use std::time::SystemTime;"),
            ("fs", "use std::fs;"),
            ("fs", "use std::fs::{self, File};"),
            ("fs", "fn f() { std::fs::rename(a, b) }"),
            ("fs", "fn f() { File::create(x) }"),
            ("fs", "fn f() { std::fs::File::open(x) }"),
            ("fs", "use std::fs::OpenOptions;"),
            ("fs", "use std::os::unix::fs::symlink;"),
            ("fs", "use rustix::fs::{renameat_with, RenameFlags};"),
        ] {
            assert!(call_count("src/lib/archive/put.rs", text) > 0, "passes in archive: {text}");
            assert_eq!(call_count(&format!("src/lib/{home}/x.rs"), text), 0, "fails in its home: {text}");
        }
    }

    #[test]
    fn harmless_look_alikes_pass() {
        for text in [
            "use std::fs::File; fn f(file: &File) {}",
            "fn f() { command.stdout(Stdio::piped()).env(\"A\", \"b\") }",
            "// std::env and println!(\"x\")\nfn f() { let x = \"std::fs::rename\"; }",
            "#[cfg(test)]\nmod tests { fn f() { std::fs::write(a, b); println!(\"x\"); } }",
            "use crate::fs::write_file; fn f() { env!(\"CARGO_PKG_VERSION\") }",
            "use std::os::unix::fs::MetadataExt;",
            "use rustix::fs::Mode; fn f() { rustix::process::umask(rustix::fs::Mode::RWXO) }",
        ] {
            assert_eq!(call_count("src/lib/archive/put.rs", text), 0, "{text}");
        }
    }

    #[test]
    fn long_files_and_functions_fail() {
        let body = "    x;\n".repeat(69);
        let long = file("src/lib/archive/put.rs", &format!("fn f() {{\n{body}}}\n"));
        assert_eq!(long.functions[0].line_count, 71);
        assert_eq!(sizes(&long).len(), 1);
        let short = file("src/lib/archive/put.rs", &format!("fn f() {{\n{}}}\n", "    x;\n".repeat(68)));
        assert_eq!(sizes(&short).len(), 0);
        assert_eq!(sizes(&file("src/lib/archive/put.rs", &"x;\n".repeat(401))).len(), 1);
        assert_eq!(sizes(&file("src/lib/archive/put.rs", &"x;\n".repeat(400))).len(), 0);
        assert_eq!(sizes(&file("src/bin/pgv.rs", &"x;\n".repeat(31))).len(), 1);
        let tests = format!("x;\n#[cfg(test)]\nmod tests {{\n{}}}\n", "    fn g() {}\n".repeat(500));
        assert_eq!(sizes(&file("src/lib/archive/put.rs", &tests)).len(), 0);
    }

    #[test]
    fn a_file_without_introduction_fails() {
        assert!(introduction(&file("src/lib/pg/lsn.rs", "use std::fmt;\n")).is_some());
        assert!(introduction(&file("src/lib/pg/lsn.rs", "//! Positions in the WAL.\n")).is_none());
    }
}
