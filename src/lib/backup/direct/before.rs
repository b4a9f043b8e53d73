//! A look at all names of the data directory before the server is asked for a checkpoint: what would end the backup
//! later ends it now.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::scan::entry_kind;
use crate::backup::whole::{Tablespaces, warn_of_left_over};
use crate::backup::{BackupError, IncompleteError};
use crate::fs::{FileError, Links, LiveDirectory};
use crate::pg::{BackupScope, DataPath, EntryScope};
use crate::report::Reporter;

/// Walks through the directories that a backup takes. The answer: links in `pg_tblspc` that lead nowhere and are no
/// tablespace's any more, as a crash leaves them.
pub(super) fn look(
    data_directory: &Path,
    scope: &BackupScope,
    tablespaces: &Tablespaces,
    reporter: &dyn Reporter,
) -> Result<BTreeSet<DataPath>, BackupError> {
    tablespaces.check_directory(data_directory, scope.tablespace_directory())?;
    let mut walk = Walk { scope, tablespaces, reporter, left_over: BTreeSet::new() };
    walk.visit(&LiveDirectory::open(data_directory)?, None)?;
    Ok(walk.left_over)
}

struct Walk<'a> {
    scope: &'a BackupScope,
    tablespaces: &'a Tablespaces,
    reporter: &'a dyn Reporter,
    left_over: BTreeSet<DataPath>,
}

impl Walk<'_> {
    fn visit(&mut self, directory: &LiveDirectory, above: Option<&DataPath>) -> Result<(), BackupError> {
        for (name, kind) in directory.names()? {
            let path = DataPath::parse(&match above {
                Some(above) => [above.as_bytes(), b"/", name.as_bytes()].concat(),
                None => name.as_bytes().to_vec(),
            })?;
            let kind = match kind {
                Some(kind) => kind,
                None => match directory.facts(&name)? {
                    Some(facts) => facts.kind,
                    None => continue,
                },
            };
            match self.scope.entry(&path, entry_kind(kind)) {
                EntryScope::Moved => return Err(IncompleteError::Moved { path }.into()),
                EntryScope::Directory => self.descend(directory, &name, path, Links::Refuse)?,
                EntryScope::Tablespace => self.descend(directory, &name, path, Links::Follow)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn descend(
        &mut self,
        directory: &LiveDirectory,
        name: &OsStr,
        path: DataPath,
        links: Links,
    ) -> Result<(), BackupError> {
        match directory.directory(name, links) {
            Ok(Some(below)) => self.visit(&below, Some(&path)),
            Ok(None) => Ok(()),
            Err(error) => match name.to_str().and_then(|digits| digits.parse().ok()) {
                Some(oid) if links == Links::Follow && leads_nowhere(&error) && !self.tablespaces.contains(oid) => {
                    warn_of_left_over(oid, self.reporter);
                    self.left_over.insert(path);
                    Ok(())
                }
                _ => Err(error.into()),
            },
        }
    }
}

fn leads_nowhere(error: &FileError) -> bool {
    error.source.kind() == std::io::ErrorKind::NotFound
}
