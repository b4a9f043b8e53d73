//! Configuration that the files of a backup lack: it lies outside the data directory, as on Debian, or behind links in it,
//! as configuration management and Kubernetes put it there. It is stored as documents, or would be lost with the machine.

use std::path::{Component, Path, PathBuf};

use super::BackupError;
use super::session::ServerSession;
use crate::fs::{self, PathKind};
use crate::pg::DataPath;
use crate::report::Reporter;
use crate::server::ServerError;

/// LIMIT: bytes of one configuration file.
const CONFIGURATION_BYTES_MAX: u32 = 4 << 20;

/// The configuration files of a server, as far as its data directory may lack them.
#[derive(Default)]
pub(super) struct Configuration {
    /// Those that the files of the backup lack.
    lacking: Vec<(PathBuf, Vec<u8>)>,
    /// Those in the data directory of a server elsewhere: whether they are links shows when its files have come.
    awaited: Vec<Awaited>,
}

/// A file that the server may send.
struct Awaited {
    name: DataPath,
    path: PathBuf,
    /// None when the server does not let the role read it.
    content: Option<Vec<u8>>,
}

/// Where a server has its data directory.
pub(super) struct DataDirectory<'a> {
    /// As it calls it.
    pub(super) told: &'a Path,
    /// As it is seen from this host, when it is proven to be here.
    pub(super) local: Option<&'a Path>,
}

impl Configuration {
    /// Reads what the files of the backup lack, or may lack.
    pub(super) fn read(
        session: &mut ServerSession<'_>,
        directory: &DataDirectory<'_>,
        mut paths: Vec<PathBuf>,
        reporter: &dyn Reporter,
    ) -> Result<Self, BackupError> {
        paths.retain(|path| path.is_absolute());
        paths.sort();
        paths.dedup();
        let mut found = Self::default();
        // A role that may not would leave an error for every file in the server's log.
        let reads_files = directory.local.is_some() || session.sql(async |sql| sql.role_rights().await)?.reads_files();
        let is_local = directory.local.is_some();
        for path in paths {
            match (inside(&path, directory.told), directory.local) {
                (None, _) => match read_file(session, &path, is_local)? {
                    Some(content) => found.lacking.push((path, content)),
                    None => warn_of_lost(&path, "lies outside the data directory", reporter),
                },
                (Some(name), Some(local)) if is_behind_link(local, name.to_path()) => {
                    let content = read_file(session, &path, is_local)?;
                    found.take_linked(path, content, reporter);
                }
                (Some(_), Some(_)) => {}
                (Some(name), None) => {
                    let content = if reads_files { read_file(session, &path, is_local)? } else { None };
                    found.awaited.push(Awaited { name, path, content });
                }
            }
        }
        Ok(found)
    }

    /// The files that a server elsewhere may send.
    pub(super) fn awaited(&self) -> impl Iterator<Item = &DataPath> {
        self.awaited.iter().map(|awaited| &awaited.name)
    }

    /// All that is to be stored beside files that lack some.
    pub(super) fn beside(
        mut self,
        lack: impl Fn(&DataPath) -> bool,
        reporter: &dyn Reporter,
    ) -> Vec<(PathBuf, Vec<u8>)> {
        for Awaited { name, path, content } in std::mem::take(&mut self.awaited) {
            if lack(&name) {
                self.take_linked(path, content, reporter);
            }
        }
        self.lacking
    }

    fn take_linked(&mut self, path: PathBuf, content: Option<Vec<u8>>, reporter: &dyn Reporter) {
        let Some(content) = content else {
            return warn_of_lost(&path, "lies behind a link in the data directory", reporter);
        };
        let shown = path.display();
        reporter.step(&format!(
            "configuration file \"{shown}\" lies behind a link in the data directory: its content is stored with the backup"
        ));
        self.lacking.push((path, content));
    }
}

fn warn_of_lost(path: &Path, place: &str, reporter: &dyn Reporter) {
    reporter.warn(&format!(
        "configuration file \"{}\" {place} and could not be read, so it is not stored with the backup",
        path.display()
    ));
}

/// The name of a file in the data directory; none of one that lies elsewhere.
fn inside(path: &Path, data_directory: &Path) -> Option<DataPath> {
    let inside = path.strip_prefix(data_directory).ok()?;
    let is_plain = inside.components().all(|component| matches!(component, Component::Normal(_)));
    DataPath::parse(inside.as_os_str().as_encoded_bytes()).ok().filter(|_| is_plain)
}

/// Whether the file, or a directory on the way to it, is a link.
fn is_behind_link(data_directory: &Path, name: &Path) -> bool {
    let mut path = data_directory.to_owned();
    name.components().any(|component| {
        path.push(component);
        matches!(fs::look_at(&path), Ok(Some(facts)) if facts.kind == PathKind::Link)
    })
}

/// Reads a file by the server, or here when the server does not let the role.
fn read_file(session: &mut ServerSession<'_>, path: &Path, is_local: bool) -> Result<Option<Vec<u8>>, BackupError> {
    if let Some(text) = path.to_str()
        && let Some(bytes) = read_by_server(session, text, CONFIGURATION_BYTES_MAX)?
    {
        return Ok(Some(bytes));
    }
    // Only a server that is proven to be on this host has its files here.
    if !is_local {
        return Ok(None);
    }
    Ok(fs::read_at_most(path, u64::from(CONFIGURATION_BYTES_MAX)).ok())
}

/// Has the server read a file; `None` when it does not let the role, or cannot.
pub(super) fn read_by_server(
    session: &mut ServerSession<'_>,
    path: &str,
    limit: u32,
) -> Result<Option<Vec<u8>>, BackupError> {
    session.sql(async |sql| match sql.read_binary_file(path, limit).await {
        Err(ServerError::PermissionDenied { .. } | ServerError::Server { .. }) => Ok(None),
        read => read,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_is_behind_a_link_when_any_part_of_its_name_is_one() {
        let (data, apart) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (data, apart) = (data.path(), apart.path());
        std::fs::create_dir(data.join("conf.d")).unwrap();
        std::fs::write(data.join("conf.d/a.conf"), "").unwrap();
        std::fs::write(apart.join("b.conf"), "").unwrap();
        symlink(apart.join("b.conf"), data.join("conf.d/b.conf")).unwrap();
        symlink(apart, data.join("mounted")).unwrap();
        for (name, expected) in
            [("conf.d/a.conf", false), ("conf.d/b.conf", true), ("mounted/b.conf", true), ("none.conf", false)]
        {
            assert_eq!(is_behind_link(data, Path::new(name)), expected, "{name}");
        }
        let name = |path: &str| inside(Path::new(path), Path::new("/srv/data")).map(|name| name.to_string());
        assert_eq!(name("/srv/data/conf.d/a.conf").as_deref(), Some("conf.d/a.conf"));
        assert_eq!((name("/etc/a.conf"), name("/srv/data/../a.conf"), name("/srv/data")), (None, None, None));
    }
}
