//! A look at all names of the data directory before the server is asked for a checkpoint: what would end the backup
//! later ends it now.
//!
//! INVARIANT: names are looked at as they are listed, and not kept, however many a directory has.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::scan::entry_kind;
use super::steps::Steps;
use crate::backup::whole::{Tablespaces, warn_of_left_over};
use crate::backup::{BackupError, IncompleteError};
use crate::fs::{FileError, Links, LiveDirectory};
use crate::pg::{BackupScope, DataPath, EntryScope};
use crate::report::Reporter;

/// What was seen.
#[derive(Debug)]
pub(super) struct Seen {
    /// Links in `pg_tblspc` that lead nowhere and are no tablespace's any more, as a crash leaves them.
    pub(super) left_over: BTreeSet<DataPath>,
    /// About how many bytes of names are sorted on the disk at once.
    pub(super) sorted_bytes: u64,
}

/// Walks through the directories that a backup takes.
pub(super) fn look(
    data_directory: &Path,
    scope: &BackupScope,
    tablespaces: &Tablespaces,
    reporter: &dyn Reporter,
) -> Result<Seen, BackupError> {
    tablespaces.check_directory(data_directory, scope.tablespace_directory())?;
    let mut walk = Walk { scope, tablespaces, reporter, left_over: BTreeSet::new() };
    let sorted_bytes = walk.visit(&LiveDirectory::open(data_directory)?, None)?;
    Ok(Seen { left_over: walk.left_over, sorted_bytes })
}

struct Walk<'a> {
    scope: &'a BackupScope,
    tablespaces: &'a Tablespaces,
    reporter: &'a dyn Reporter,
    left_over: BTreeSet<DataPath>,
}

impl Walk<'_> {
    /// About how many bytes are on the disk at once when its names are sorted, and those of each directory in it.
    fn visit(&mut self, directory: &LiveDirectory, above: Option<&DataPath>) -> Result<u64, BackupError> {
        let (mut count, mut bytes, mut below) = (0, 0, 0);
        directory.each_name::<BackupError>(&mut |name, kind| {
            let path = DataPath::parse(&match above {
                Some(above) => [above.as_bytes(), b"/", name.as_bytes()].concat(),
                None => name.as_bytes().to_vec(),
            })?;
            let kind = match kind {
                Some(kind) => kind,
                None => match directory.facts(name)? {
                    Some(facts) => facts.kind,
                    None => return Ok(()),
                },
            };
            (count, bytes) = (count + 1, bytes + path.as_bytes().len() as u64);
            match self.scope.entry(&path, entry_kind(kind)) {
                EntryScope::Moved => Err(IncompleteError::Moved { path }.into()),
                EntryScope::Directory => {
                    below = below.max(self.descend(directory, name, path, Links::Refuse)?);
                    Ok(())
                }
                EntryScope::Tablespace => {
                    below = below.max(self.descend(directory, name, path, Links::Follow)?);
                    Ok(())
                }
                _ => Ok(()),
            }
        })?;
        Ok(Steps::spilled_bytes(count, bytes).saturating_add(below))
    }

    fn descend(
        &mut self,
        directory: &LiveDirectory,
        name: &OsStr,
        path: DataPath,
        links: Links,
    ) -> Result<u64, BackupError> {
        match directory.directory(name, links) {
            Ok(Some(below)) => self.visit(&below, Some(&path)),
            Ok(None) => Ok(0),
            Err(error) => match name.to_str().and_then(|digits| digits.parse().ok()) {
                Some(oid) if links == Links::Follow && leads_nowhere(&error) && !self.tablespaces.contains(oid) => {
                    warn_of_left_over(oid, self.reporter);
                    self.left_over.insert(path);
                    Ok(0)
                }
                _ => Err(error.into()),
            },
        }
    }
}

fn leads_nowhere(error: &FileError) -> bool {
    error.source.kind() == std::io::ErrorKind::NotFound
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::ControlFile;
    use crate::report::SilentReporter;

    #[test]
    fn the_room_for_the_names_of_huge_directories_is_known_before() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(temp.path().join("pg_tblspc")).unwrap();
        let control = include_bytes!("../../../../tests/data/postgres-15/pg_control");
        let scope = BackupScope::of(&ControlFile::decode(control).unwrap());
        let needed = || look(temp.path(), &scope, &Tablespaces::default(), &SilentReporter).unwrap().sorted_bytes;
        let fill = |folder: &str, count: u64| {
            std::fs::create_dir_all(temp.path().join(folder)).unwrap();
            for number in 0..count {
                std::fs::write(temp.path().join(format!("{folder}/{number:0>200}")), "").unwrap();
            }
        };
        fill("a/few", 3000);
        assert_eq!(needed(), 0);
        // Only one of two directories side by side is sorted at a time; not so of one in the other.
        fill("a/many", 21_000);
        fill("b/many", 20_000);
        let a = 21_000 * ("a/many/".len() as u64 + 200 + 6);
        assert_eq!(needed(), a);
        fill("a/many/more", 20_000);
        let more = 20_000 * ("a/many/more/".len() as u64 + 200 + 6);
        let needed = needed();
        assert!((a + more..a + more + 100).contains(&needed), "{needed}, {}", a + more);
    }
}
