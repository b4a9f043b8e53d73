//! The files of a backup that may be configuration, and how the paths in it are read.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use super::configuration::MAIN_FILE;
use super::error::RestoreError;
use crate::pg::ControlFile;
use crate::repository::{BackupRecord, FileEntry, FileKind, FileMap};

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
        if !is_servers
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

/// The absolute path without `.` and `..`, as the server resolves it (`canonicalize_path`): above the root there is
/// nothing.
pub(super) fn resolved(path: &Path) -> PathBuf {
    let mut resolved = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => resolved.push(name),
            Component::ParentDir => drop(resolved.pop()),
            _ => {}
        }
    }
    resolved
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
        for (path, found) in [("/etc/pg/./../a.conf", "/etc/a.conf"), ("/etc/../../../a.conf", "/a.conf"), ("/..", "/")]
        {
            assert_eq!(resolved(Path::new(path)), Path::new(found));
        }
    }
}
