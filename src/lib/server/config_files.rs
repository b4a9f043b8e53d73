//! The configuration files of a server that cannot be asked: one file with all that it includes
//! (`src/backend/utils/misc/guc-file.l`, `conffiles.c`).

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use crate::error::{Classified, ErrorClass};
use crate::fs::{self, FileError};
use crate::pg::{ConfigEntry, ConfigEntryKind, ConfigSyntaxError, parse_config};

/// LIMIT: `CONF_FILE_MAX_DEPTH`; the server refuses deeper ones, which are mostly circles.
const INCLUDE_DEPTH_MAX: usize = 10;
/// LIMIT: bytes of one configuration file.
pub const CONFIG_FILE_BYTES_MAX: u64 = 16 << 20;

/// Why the configuration of a server cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigFilesError {
    /// A file or directory that cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A line that the server would refuse.
    #[error("could not read \"{}\"", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line.
        #[source]
        source: ConfigSyntaxError,
    },
    /// Files that include each other, or nearly.
    #[error("\"{}\" is included more than {INCLUDE_DEPTH_MAX} levels deep", path.display())]
    TooDeep {
        /// The file.
        path: PathBuf,
    },
}

impl Classified for ConfigFilesError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::File(error) => error.class(),
            Self::Syntax { source, .. } => source.class(),
            Self::TooDeep { .. } => ErrorClass::InvalidInput,
        }
    }
}

/// All settings of a configuration file, those of included files in their places: the last one of a name counts.
pub fn read_config_file(path: &Path) -> Result<Vec<ConfigEntry>, ConfigFilesError> {
    let mut entries = Vec::new();
    read_into(&mut entries, path, 0)?;
    Ok(entries)
}

fn read_into(entries: &mut Vec<ConfigEntry>, path: &Path, depth: usize) -> Result<(), ConfigFilesError> {
    if depth > INCLUDE_DEPTH_MAX {
        return Err(ConfigFilesError::TooDeep { path: path.to_owned() });
    }
    let text = fs::read_at_most(path, CONFIG_FILE_BYTES_MAX)?;
    let syntax = |source| ConfigFilesError::Syntax { path: path.to_owned(), source };
    for entry in parse_config(&text).map_err(syntax)? {
        // A path is relative to the file that names it.
        let named = || path.parent().unwrap_or(Path::new("")).join(OsStr::from_bytes(&entry.value));
        match entry.kind {
            ConfigEntryKind::Setting => entries.push(entry),
            ConfigEntryKind::Include => read_into(entries, &named(), depth + 1)?,
            ConfigEntryKind::IncludeIfExists if !fs::is_present(&named())? => {}
            ConfigEntryKind::IncludeIfExists => read_into(entries, &named(), depth + 1)?,
            ConfigEntryKind::IncludeDirectory => {
                for file in files_of_directory(&named())? {
                    read_into(entries, &file, depth + 1)?;
                }
            }
        }
    }
    Ok(())
}

/// The files of an `include_dir`, in the order of the server.
fn files_of_directory(directory: &Path) -> Result<Vec<PathBuf>, FileError> {
    let mut files = Vec::new();
    for entry in fs::sorted_entries(directory)? {
        let name = entry.name.into_vec();
        let path = directory.join(OsStr::from_bytes(&name));
        // A link to a directory is one, as it is for the server.
        if !name.starts_with(b".") && name.ends_with(b".conf") && !fs::is_directory(&path)? {
            files.push(path);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::config_value;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let temp = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = temp.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        temp
    }

    #[test]
    fn includes_stand_where_they_are_named() {
        let temp = folder(&[
            (
                "postgresql.conf",
                "a = 1\ninclude_dir 'conf.d'\nb = 1\ninclude_if_exists 'none.conf'\ninclude 'x/x.conf'\n",
            ),
            ("conf.d/20.conf", "a = 3\nb = 3\n"),
            ("conf.d/10.conf", "a = 2\nc = 2\n"),
            ("conf.d/.30.conf", "a = hidden\n"),
            ("conf.d/40.conf.bak", "a = backup\n"),
            ("conf.d/50.conf/file", "a = directory\n"),
            ("x/x.conf", "include_if_exists 'y.conf'\n"),
            ("x/y.conf", "d = 4\n"),
        ]);
        let entries = read_config_file(&temp.path().join("postgresql.conf")).unwrap();
        let value = |name| config_value(&entries, name).map(|value| String::from_utf8(value.to_vec()).unwrap());
        let wanted = [("a", Some("3")), ("b", Some("1")), ("c", Some("2")), ("d", Some("4")), ("include", None)];
        for (name, wanted) in wanted {
            assert_eq!(value(name).as_deref(), wanted, "{name}");
        }
    }

    #[test]
    fn what_the_server_refuses_is_an_error() {
        let temp = folder(&[
            ("circle.conf", "include 'circle.conf'\n"),
            ("missing.conf", "include 'none.conf'\n"),
            ("broken.conf", "a = \n"),
            ("directory.conf", "include_dir 'none'\n"),
        ]);
        let error = |name| read_config_file(&temp.path().join(name)).unwrap_err();
        assert!(matches!(error("circle.conf"), ConfigFilesError::TooDeep { .. }));
        assert!(matches!(error("missing.conf"), ConfigFilesError::File(error) if error.is_not_found()));
        assert!(matches!(error("directory.conf"), ConfigFilesError::File(_)));
        assert!(matches!(error("broken.conf"), ConfigFilesError::Syntax { .. }));
        assert_eq!(error("broken.conf").class(), ErrorClass::InvalidInput);
    }
}
