//! Includes by absolute path in configuration that lies in the data directory: a copy beside its original would read the
//! original's files. What lies in the data directory is restored as it was backed up, so they are told, not changed.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use super::configuration::MAIN_FILE;
use super::error::RestoreError;
use crate::pg::{ConfigEntryKind, ControlFile, parse_config};
use crate::repository::{BackupRecord, FileEntry, FileKind, FileMap};
use crate::server::CONFIG_FILE_BYTES_MAX;

/// LIMIT: levels of includes, as the server has it (`CONF_FILE_MAX_DEPTH`).
const DEPTH_MAX: usize = 10;
/// LIMIT: files that may be configuration by their place alone. A directory that somebody has put among the server's may
/// have any number.
const BY_PLACE_MAX: usize = 10_000;
/// LIMIT: includes that are told.
const TOLD_MAX: usize = 20;

/// The files of a backup that may be configuration, by their paths below the data directory.
#[derive(Debug, Default)]
pub(super) struct ConfigurationFiles(BTreeMap<PathBuf, FileEntry>);

impl ConfigurationFiles {
    /// Keeps the file if it may be configuration: by its name, or by its place, where the server has no files of its
    /// own. The control file is kept, too.
    pub(super) fn note(&mut self, path: PathBuf, entry: FileEntry, main: Option<&Path>) {
        let folder = path.iter().next().unwrap_or_default().as_encoded_bytes();
        let is_servers =
            folder == b"base" || folder == b"global" || (folder.starts_with(b"pg_") && path.iter().count() > 1);
        if (!is_servers && self.0.len() < BY_PLACE_MAX)
            || main == Some(path.as_path())
            || path.extension() == Some(OsStr::new("conf"))
            || path == Path::new(ControlFile::PATH)
        {
            self.0.insert(path, entry);
        }
    }

    /// The file at a path below the data directory.
    pub(super) fn entry(&self, path: &Path) -> Option<&FileEntry> {
        self.0.get(path)
    }

    /// The files in a directory, in the order of their names.
    pub(super) fn below(&self, directory: &Path) -> impl Iterator<Item = &Path> {
        self.0.keys().map(PathBuf::as_path).filter(move |file| file.parent() == Some(directory))
    }
}

/// The main file below the data directory; none when it lies elsewhere.
pub(super) fn main_file_inside(record: &BackupRecord) -> Option<PathBuf> {
    match (record.setting("config_file"), record.setting("data_directory")) {
        (Some(file), Some(data)) => Path::new(file).strip_prefix(data).ok().map(Path::to_owned),
        _ => Some(PathBuf::from(MAIN_FILE)),
    }
}

/// A warning for each include that leads out of a copy.
pub(super) fn leading_away(
    map: &FileMap<'_>,
    files: &ConfigurationFiles,
    main: &Path,
) -> Result<Vec<String>, RestoreError> {
    let mut found = Vec::new();
    follow(map, files, main, 0, &mut found)?;
    Ok(found)
}

fn follow(
    map: &FileMap<'_>,
    files: &ConfigurationFiles,
    path: &Path,
    depth: usize,
    found: &mut Vec<String>,
) -> Result<(), RestoreError> {
    let Some(entry) = files.0.get(path).filter(|_| depth <= DEPTH_MAX) else { return Ok(()) };
    let text = content(map, entry, CONFIG_FILE_BYTES_MAX)?;
    // What the server would refuse is the server's to name.
    for entry in parse_config(&text).unwrap_or_default() {
        let named = Path::new(OsStr::from_bytes(&entry.value));
        if entry.kind == ConfigEntryKind::Setting || found.len() >= TOLD_MAX {
            continue;
        }
        if named.is_absolute() {
            found.push(format!(
                "\"{}\" line {} includes \"{}\" by its absolute path, so the copy reads that file, which may be its \
                 original's",
                path.display(),
                entry.line,
                named.display()
            ));
            continue;
        }
        let Some(named) = normal(&path.parent().unwrap_or(Path::new("")).join(named)) else { continue };
        if entry.kind == ConfigEntryKind::IncludeDirectory {
            for file in files.below(&named).filter(|file| file.extension() == Some(OsStr::new("conf"))) {
                follow(map, files, file, depth + 1, found)?;
            }
        } else {
            follow(map, files, &named, depth + 1, found)?;
        }
    }
    Ok(())
}

/// The path without `.` and `..`; none when it leads out of the data directory.
pub(super) fn normal(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => normal.push(name),
            Component::CurDir => {}
            Component::ParentDir if normal.pop() => {}
            _ => return None,
        }
    }
    Some(normal)
}

/// The content of a file; of one that is larger than it should be, nothing.
pub(super) fn content(map: &FileMap<'_>, entry: &FileEntry, limit: u64) -> Result<Vec<u8>, RestoreError> {
    let mut content = Vec::new();
    let FileKind::File { bytes, extents, .. } = &entry.kind else { return Ok(content) };
    if *bytes > limit {
        return Ok(content);
    }
    for extent in extents {
        let range = extent.offset..extent.offset.saturating_add(extent.length);
        content.extend(map.open_pack(extent.pack)?.read_range(range, limit)?);
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_in_the_data_directory() {
        let of = |path| normal(Path::new(path)).map(|path| path.display().to_string());
        assert_eq!(of("conf.d/./a.conf").as_deref(), Some("conf.d/a.conf"));
        assert_eq!(of("x/../a.conf").as_deref(), Some("a.conf"));
        assert_eq!((of("../a.conf"), of("/a.conf")), (None, None));
    }
}
