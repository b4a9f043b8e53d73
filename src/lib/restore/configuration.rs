//! Configuration of a restored server that did not lie in its data directory, as on Debian, or behind links in it, and what
//! it does.
//!
//! INVARIANT: a restored server reads no configuration of its original: what lay outside is put below [`OUTSIDE_FOLDER`],
//! what was behind a link is a file under its own name, what is not stored is written anew, and the command line names each
//! file that is not in its usual place.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use super::error::RestoreError;
use super::includes::resolved;
use super::plan::RestorePlan;
use crate::fs::{self, Tree};
use crate::pg::{
    ConfigEntry, ConfigEntryKind, DataPath, EXTERNAL_PID_FILE, config_lines, config_value, is_own_data, parse_config,
};
use crate::repository::{BackupRecord, ClusterRef, DocumentKind, Repository};
use crate::server::read_config_file;

/// Where configuration goes that lay outside the data directory.
pub const OUTSIDE_FOLDER: &str = "pgv-config";
/// The file that `ALTER SYSTEM` writes.
pub(super) const AUTO_FILE: &str = "postgresql.auto.conf";
pub(super) const MAIN_FILE: &str = "postgresql.conf";
pub(super) const HBA_FILE: &str = "pg_hba.conf";
/// The settings that name configuration files, and what the files are called in a data directory.
pub(super) const FILES: [(&str, &str); 3] =
    [("config_file", MAIN_FILE), ("hba_file", HBA_FILE), ("ident_file", "pg_ident.conf")];
/// Settings of a configuration file that lead a restored server to its original's places.
const LEADING_AWAY: [&str; 4] = ["data_directory", "hba_file", "ident_file", EXTERNAL_PID_FILE];
/// The settings that say where a server listens.
const PLACES: [&str; 2] = ["port", "unix_socket_directories"];
/// LIMIT: folders below each other in which a `postgresql.conf` is looked for.
const FOLDERS_DEEP_MAX: usize = 12;

/// Where the configuration of the restored server lies.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ConfigurationPlace {
    /// Settings for the command line of `postgres`; empty when the data directory has all that it needs.
    pub command_line: Vec<(String, String)>,
    /// Where its own files say that it listens; empty when that is known by the backup.
    #[serde(skip)]
    pub settings: BTreeMap<&'static str, String>,
}

impl ConfigurationPlace {
    /// Where it lies, once it has been written.
    pub(super) fn of(plan: &RestorePlan) -> Self {
        let main = main_file(plan);
        let places = FILES.map(|(name, usual)| match name {
            "config_file" => (name, usual, main.clone()),
            _ => (name, usual, place_of(plan, name, usual)),
        });
        let recorded = |name| plan.record.setting(name).map(str::to_owned);
        let command_line = command_line(&plan.directory, &places, &recorded);
        Self { command_line, settings: BTreeMap::new() }
    }

    /// Where that of a directory lies which was restored before, or came by other means; none when it has no
    /// `postgresql.conf` that is known from here.
    pub fn in_directory(directory: &Path) -> Option<Self> {
        let outside = directory.join(OUTSIDE_FOLDER);
        let mut found = Vec::new();
        find_main_files(&outside, FOLDERS_DEEP_MAX, &mut found);
        let main = match found.as_slice() {
            [only] => only.clone(),
            _ => Some(directory.join(MAIN_FILE)).filter(|file| matches!(fs::is_present(file), Ok(true)))?,
        };
        let is_there = |path: &PathBuf| matches!(fs::is_present(path), Ok(true));
        let places = FILES.map(|(name, usual)| match name {
            "config_file" => (name, usual, main.clone()),
            _ => {
                let candidates = [main.with_file_name(usual), outside.join(usual)];
                let place = candidates.into_iter().find(is_there).unwrap_or_else(|| directory.join(usual));
                (name, usual, place)
            }
        });
        let entries: Vec<ConfigEntry> =
            [&main, &directory.join(AUTO_FILE)].into_iter().filter_map(|file| entries_of(file)).flatten().collect();
        let value = |name: &str| Some(String::from_utf8_lossy(config_value(&entries, name)?).into_owned());
        let settings = PLACES.into_iter().filter_map(|name| Some((name, value(name)?))).collect();
        Some(Self { command_line: command_line(directory, &places, &value), settings })
    }
}

/// The `postgresql.conf` files below a folder, which holds whole paths.
fn find_main_files(folder: &Path, deep: usize, found: &mut Vec<PathBuf>) {
    for entry in fs::sorted_entries(folder).unwrap_or_default() {
        let path = folder.join(&entry.name);
        if entry.name == MAIN_FILE && !entry.is_directory {
            found.push(path);
        } else if let (true, Some(deeper)) = (entry.is_directory, deep.checked_sub(1)) {
            find_main_files(&path, deeper, found);
        }
    }
}

/// What the command line of the server must say of its files, which lie there.
fn command_line(
    directory: &Path,
    places: &[(&str, &str, PathBuf); 3],
    setting: &dyn Fn(&'static str) -> Option<String>,
) -> Vec<(String, String)> {
    let is_usual = places.iter().all(|(_, usual, place)| *place == directory.join(usual));
    let main = places.iter().find(|(name, ..)| *name == "config_file").map(|(.., place)| place.clone());
    let leads_away = main
        .into_iter()
        .chain([directory.join(AUTO_FILE)])
        .any(|file| entries_of(&file).unwrap_or_default().iter().any(|entry| leads_away(entry, directory)));
    let mut command_line = Vec::new();
    if is_usual && !leads_away {
        return command_line;
    }
    let mut add = |name: &str, value: String| command_line.push((name.to_owned(), value));
    // On Debian the file itself says where production's data directory is, so everything is said here.
    add("data_directory", directory.display().to_string());
    for (name, _, place) in places {
        add(name, place.display().to_string());
    }
    for name in PLACES {
        if let Some(value) = setting(name) {
            add(name, value);
        }
    }
    // Its original's is not its own, and an empty one the server cannot open.
    add(EXTERNAL_PID_FILE, external_pid_file(directory));
    command_line
}

/// The main file of the restored server: where its original's was, if the backup has it.
pub(super) fn main_file(plan: &RestorePlan) -> PathBuf {
    let place = place_of(plan, "config_file", MAIN_FILE);
    if matches!(fs::is_present(&place), Ok(true)) { place } else { plan.directory.join(MAIN_FILE) }
}

/// Where a configuration file is in the restored cluster.
pub(super) fn place_of(plan: &RestorePlan, name: &str, usual: &str) -> PathBuf {
    let record = &plan.record;
    let (Some(path), Some(_)) = (record.setting(name).map(Path::new), record.setting("data_directory")) else {
        return plan.directory.join(usual);
    };
    if is_stored(record, path) || inside_data_directory(record, path).is_some() {
        return plan.directory.join(place_below(record, path));
    }
    // It could not be read when the backup was taken.
    plan.directory.join(OUTSIDE_FOLDER).join(usual)
}

fn is_stored(record: &BackupRecord, path: &Path) -> bool {
    record.documents.iter().any(|document| document.path.as_deref() == Some(path))
}

/// A path of the original's below its data directory.
pub(super) fn inside_data_directory<'p>(record: &BackupRecord, path: &'p Path) -> Option<&'p Path> {
    path.strip_prefix(record.setting("data_directory")?).ok()
}

/// Where a configuration file is put, below the restored directory: under its own name when it was behind a link in the
/// data directory, else its whole path below one folder, so that relative includes work.
pub(super) fn place_below(record: &BackupRecord, path: &Path) -> PathBuf {
    match inside_data_directory(record, path) {
        Some(inside) => plain(inside),
        None => Path::new(OUTSIDE_FOLDER).join(plain(path)),
    }
}

/// The path without anything that leads out of the directory it is joined to. Servers name their files without it.
fn plain(path: &Path) -> PathBuf {
    path.components().filter(|component| matches!(component, Component::Normal(_))).collect()
}

/// The settings of a file and of what it includes; none when the server could not read it either.
pub(super) fn entries_of(main: &Path) -> Option<Vec<ConfigEntry>> {
    read_config_file(main).ok()
}

fn is_set(entry: &ConfigEntry, names: &[&str]) -> bool {
    entry.kind == ConfigEntryKind::Setting && names.iter().any(|name| entry.name.eq_ignore_ascii_case(name))
}

/// Whether a setting leads the restored server to its original's places; not the line that keeps it away from one.
fn leads_away(entry: &ConfigEntry, directory: &Path) -> bool {
    let is_own =
        entry.name.eq_ignore_ascii_case(EXTERNAL_PID_FILE) && entry.value == external_pid_file(directory).as_bytes();
    is_set(entry, &LEADING_AWAY) && !is_own
}

/// Where a copy writes its number, if its original writes one anywhere.
pub(super) fn external_pid_file(directory: &Path) -> String {
    directory.join("external.pid").display().to_string()
}

/// Writes the stored configuration that the files of the backup lack.
pub(super) fn write_stored_files(
    data: &Tree,
    repository: &Repository,
    cluster: &ClusterRef,
    plan: &RestorePlan,
) -> Result<(), RestoreError> {
    for document in plan.record.documents.iter().filter(|one| one.kind == DocumentKind::Configuration) {
        let Some(path) = &document.path else { continue };
        let place = place_below(&plan.record, path);
        // No backup names such a place: the server's own files are never configuration.
        if DataPath::parse(place.as_os_str().as_encoded_bytes()).is_ok_and(|place| is_own_data(&place)) {
            continue;
        }
        if fs::look_at(&data.path().join(&place))?.is_some() {
            // What stands there under the name of a file of the data directory came with the backup's files.
            if !place.starts_with(OUTSIDE_FOLDER) {
                continue;
            }
            // A backup of a restored cluster has the folder of that restore among its files.
            data.remove_file_durably(&place)?;
        }
        let content = repository.document(cluster, &plan.record.id, document)?;
        let content = redirect_includes(&content, path, plan);
        create_file_and_folders(data, &place, &content)?;
        create_included_directories(data, &plan.record, path, &content)?;
    }
    Ok(())
}

/// Creates the directories that a file includes: the server does not start without them, and an empty one (Debian's
/// `conf.d`) has no file that would be stored and bring it along.
fn create_included_directories(
    data: &Tree,
    record: &BackupRecord,
    file: &Path,
    content: &[u8],
) -> Result<(), RestoreError> {
    for entry in parse_config(content).unwrap_or_default() {
        let directory = Path::new(OsStr::from_bytes(&entry.value));
        if entry.kind != ConfigEntryKind::IncludeDirectory {
            continue;
        }
        if directory.is_absolute() {
            // It was redirected into the restored directory.
            if let Ok(inside) = directory.strip_prefix(data.path()) {
                create_folders(data, inside)?;
            }
            continue;
        }
        let directory = file.parent().unwrap_or(Path::new("/")).join(directory);
        // The name comes from a file: it must not lead out.
        if directory.components().all(|component| matches!(component, Component::RootDir | Component::Normal(_))) {
            create_folders(data, &place_below(record, &directory))?;
        }
    }
    Ok(())
}

/// Creates a file and the directories above it.
pub(super) fn create_file_and_folders(data: &Tree, place: &Path, content: &[u8]) -> Result<(), RestoreError> {
    create_folders(data, place.parent().unwrap_or(Path::new("")))?;
    Ok(data.create_file_with(place, fs::PRIVATE_FILE_MODE, content)?)
}

fn create_folders(data: &Tree, folder: &Path) -> Result<(), RestoreError> {
    let mut made = PathBuf::new();
    for component in folder.components() {
        made.push(component);
        data.create_directory(&made, fs::PRIVATE_DIRECTORY_MODE)?;
    }
    Ok(())
}

/// The text of `file` with includes by absolute path, and those that go upwards, leading to the copies. All else stays
/// byte for byte.
pub(super) fn redirect_includes(text: &[u8], file: &Path, plan: &RestorePlan) -> Vec<u8> {
    let mut redirected = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        match redirected_line(line, file, plan) {
            Some(line) => redirected.extend_from_slice(line.as_bytes()),
            None => redirected.extend_from_slice(line),
        }
    }
    redirected
}

fn redirected_line(line: &[u8], file: &Path, plan: &RestorePlan) -> Option<String> {
    let entries = parse_config(line).ok()?;
    let entry = entries.first().filter(|entry| entry.kind != ConfigEntryKind::Setting)?;
    let named = Path::new(OsStr::from_bytes(&entry.value));
    if !named.is_absolute() && !named.components().any(|component| component == Component::ParentDir) {
        return None;
    }
    let path = resolved(&file.parent().unwrap_or(Path::new("/")).join(named));
    // Also what is not stored is not read from its original's place.
    let place = plan.directory.join(place_below(&plan.record, &path));
    config_lines(&[(entry.name.as_str(), place.to_str()?.to_owned())]).ok()
}
