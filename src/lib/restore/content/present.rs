//! What stands in directories whose content is kept where it is right, or that are emptied, compared with the map on the
//! way through both.

use std::iter::Peekable;
use std::path::{Path, PathBuf};

use super::{Content, TOLD_MAX};
use crate::fs::{PathKind, RoomBelow, Sorted, Sorter, Tree};
use crate::pg::{ControlFile, DataPath, PgMajorVersion};
use crate::restore::configuration::{FILES, OUTSIDE_FOLDER};
use crate::restore::error::RestoreError;
use crate::restore::manifest::MANIFEST;
use crate::restore::marker::MARKER;
use crate::restore::target_directory::{DirectoryAction, STAGED_PREFIX};

/// What a restore writes beside the files of a backup.
const OWN_NAMES: [&str; 7] = [
    "backup_label",
    MANIFEST,
    OUTSIDE_FOLDER,
    "postgresql.auto.conf",
    "recovery.signal",
    "standby.signal",
    "tablespace_map",
];

/// Bytes that a record has beside its path from its directory on; in a tablespace that is linked.
const RECORD_BYTES: u64 = "pg_tblspc/16384/".len() as u64 + 2;

/// Names in the directories, sorted as the map is.
pub(super) struct Present {
    /// Where they were sorted, for messages.
    sorted_in: PathBuf,
    found: Option<Peekable<Sorted>>,
    gone: Gone,
    /// How many names were removed, and the first of them.
    removed: (u64, Vec<PathBuf>),
}

/// Directories that are gone with all that was in them, which may not all have been passed yet.
///
/// LIMIT: each name begins with the one before it, so there are no more than a name has bytes.
#[derive(Default)]
struct Gone(Vec<Vec<u8>>);

impl Gone {
    /// Whether a path went with one of them; those that it lies behind are forgotten.
    ///
    /// ORDER: by bytes, so `log.old` stands between `log` and `log/a`, and `log0` behind all that is in `log`.
    fn holds(&mut self, path: &[u8]) -> bool {
        let behind = |gone: &[u8]| path.strip_prefix(gone).and_then(|rest| rest.first().copied());
        self.0.retain(|gone| behind(gone).is_some_and(|byte| byte <= b'/'));
        self.0.iter().any(|gone| behind(gone) == Some(b'/'))
    }
}

/// One of the names.
struct Found {
    /// Its path as the map would have it.
    path: Vec<u8>,
    kind: PathKind,
}

impl Found {
    /// Ordered as paths are: the zero behind a path is less than what may follow it.
    fn encode(&self) -> Vec<u8> {
        let kind = match self.kind {
            PathKind::Directory => b'd',
            PathKind::File => b'f',
            PathKind::Link => b'l',
            PathKind::Other => b'o',
        };
        [self.path.as_slice(), &[0, kind]].concat()
    }

    fn decode(record: &[u8]) -> Option<Self> {
        let (kind, rest) = record.split_last()?;
        let kind = match kind {
            b'd' => PathKind::Directory,
            b'f' => PathKind::File,
            b'l' => PathKind::Link,
            _ => PathKind::Other,
        };
        Some(Self { path: rest.strip_suffix(&[0])?.to_vec(), kind })
    }
}

/// How many names there are to sort.
#[derive(Debug, Default)]
pub(in super::super) struct FoundNames {
    count: u64,
    bytes: u64,
}

impl FoundNames {
    /// Those of one directory.
    pub(in super::super) fn add(&mut self, found: &RoomBelow) {
        self.count += found.names;
        self.bytes = self.bytes.saturating_add(found.path_bytes + found.names * RECORD_BYTES);
    }

    /// Room that sorting them takes on the disk.
    pub(in super::super) fn spilled_bytes(&self) -> u64 {
        Sorter::spilled_bytes(self.count, self.bytes)
    }
}

impl Present {
    fn of(sorted_in: &Path, found: Option<Sorted>) -> Self {
        Self {
            sorted_in: sorted_in.to_owned(),
            found: found.map(Iterator::peekable),
            gone: Gone::default(),
            removed: (0, Vec::new()),
        }
    }

    /// How many names were removed that the map does not have, and the first of them.
    pub(super) fn removed(self) -> (u64, Vec<PathBuf>) {
        self.removed
    }

    /// Nothing stands anywhere.
    fn nothing(directory: &Path) -> Self {
        Self::of(directory, None)
    }

    fn next_below(&mut self, limit: Option<&DataPath>) -> Option<Result<Found, RestoreError>> {
        let found = self.found.as_mut()?;
        loop {
            let next = found.next_if(|record| match (record, limit) {
                (Ok(record), Some(limit)) => {
                    let path = record.get(..record.len().saturating_sub(2)).unwrap_or_default();
                    path <= limit.as_bytes()
                }
                (_, None) | (Err(_), _) => true,
            })?;
            let next = match next {
                Ok(record) => match Found::decode(&record) {
                    Some(found) => found,
                    None => return Some(Err(RestoreError::Spill { path: self.sorted_in.clone() })),
                },
                Err(error) => return Some(Err(error.into())),
            };
            if !self.gone.holds(&next.path) {
                return Some(Ok(next));
            }
        }
    }
}

/// Whether a name in a tablespace is another major version's, of a cluster that is none of our business.
pub(in super::super) fn is_of_other_major(name: &std::ffi::OsStr, major: PgMajorVersion) -> bool {
    let name = name.to_string_lossy();
    name.starts_with("PG_") && !name.starts_with(&format!("PG_{major}_"))
}

impl Content<'_> {
    /// Looks at what stands in the directories that are not emptied.
    pub(super) fn look_around(&self) -> Result<Present, RestoreError> {
        if !self.keeps() {
            return Ok(Present::nothing(&self.plan.directory));
        }
        let mut sorter = Sorter::new(self.scratch());
        if self.plan.directory_action.keeps_content() {
            let has_manifest = self.manifest.is_some();
            let mut is_ours =
                |name: &std::ffi::OsStr| name == MARKER || name == "lost+found" || (has_manifest && name == MANIFEST);
            self.list(&self.places.data, b"", &mut is_ours, &mut sorter)?;
        }
        for plan in self.plan.tablespaces.iter().filter(|plan| plan.action.keeps_content()) {
            let Some(tree) = self.places.tablespaces.get(&plan.oid) else { continue };
            let mut is_not_ours = |name: &std::ffi::OsStr| {
                let is_foreign = is_of_other_major(name, self.plan.record.major_version);
                if is_foreign {
                    let place = tree.path().join(name);
                    self.reporter.warn(&format!("\"{}\" is not of this server and stays", place.display()));
                }
                is_foreign || name == MARKER || name == "lost+found"
            };
            self.list(tree, format!("pg_tblspc/{}/", plan.oid).as_bytes(), &mut is_not_ours, &mut sorter)?;
        }
        Ok(Present::of(&self.plan.directory, Some(sorter.finish()?)))
    }

    fn list(
        &self,
        tree: &Tree,
        prefix: &[u8],
        is_skipped: &mut dyn FnMut(&std::ffi::OsStr) -> bool,
        sorter: &mut Sorter<'_>,
    ) -> Result<(), RestoreError> {
        tree.list(is_skipped, &mut |relative, kind| {
            self.cancelled()?;
            let is_staged = prefix.is_empty() && relative == Path::new(self.places.control_file);
            let name = if is_staged { Path::new(ControlFile::PATH) } else { relative };
            let path = [prefix, name.as_os_str().as_encoded_bytes()].concat();
            Ok::<(), RestoreError>(sorter.push(&Found { path, kind }.encode())?)
        })
    }

    /// What stands in directories that are emptied and that neither the backup has nor a restore writes: how many names, and
    /// the first of them. Nothing is touched.
    pub(in crate::restore) fn others(&self) -> Result<(u64, Vec<PathBuf>), RestoreError> {
        let mut sorter = Sorter::new(self.scratch());
        let is_staged = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with(STAGED_PREFIX);
        let is_kept = |name: &std::ffi::OsStr| name == MARKER || name == "lost+found" || is_staged(name);
        let own_names: Vec<&str> = OWN_NAMES.into_iter().chain(FILES.map(|(_, usual)| usual)).collect();
        let mut is_ours = |name: &std::ffi::OsStr| is_kept(name) || own_names.iter().any(|own| name == *own);
        self.list(&self.places.data, b"", &mut is_ours, &mut sorter)?;
        for plan in self.plan.tablespaces.iter().filter(|plan| plan.action == DirectoryAction::EmptyAndFill) {
            let Some(tree) = self.places.tablespaces.get(&plan.oid) else { continue };
            let prefix = format!("pg_tblspc/{}/", plan.oid);
            self.list(tree, prefix.as_bytes(), &mut |name| is_kept(name), &mut sorter)?;
        }
        let mut present = Present::of(&self.plan.directory, Some(sorter.finish()?));
        self.each_entry(&mut |path, _| self.standing_at(&path, &mut present).map(drop))?;
        self.remove_rest(&mut present)?;
        Ok(present.removed())
    }

    /// What stands where the map has this path; everything before it that the map does not have is removed.
    pub(super) fn standing_at(&self, path: &DataPath, present: &mut Present) -> Result<Option<PathKind>, RestoreError> {
        while let Some(found) = present.next_below(Some(path)) {
            let found = found?;
            if found.path == path.as_bytes() {
                return Ok(Some(found.kind));
            }
            let is_above =
                || path.as_bytes().strip_prefix(found.path.as_slice()).is_some_and(|rest| rest.first() == Some(&b'/'));
            // COMPAT: servers do not send the directory of a tablespace that lies in the data directory.
            if found.kind == PathKind::Directory && is_above() {
                continue;
            }
            self.remove_extra(found, present)?;
        }
        Ok(None)
    }

    /// Removes what stands behind the last path of the map.
    pub(super) fn remove_rest(&self, present: &mut Present) -> Result<(), RestoreError> {
        while let Some(found) = present.next_below(None) {
            self.remove_extra(found?, present)?;
        }
        Ok(())
    }

    /// Removes what stands where something of another kind belongs. A directory takes with it what is in it, so it is told.
    pub(super) fn remove_other(
        &self,
        path: &DataPath,
        kind: PathKind,
        present: &mut Present,
    ) -> Result<(), RestoreError> {
        if kind == PathKind::Directory {
            return self.remove_extra(Found { path: path.as_bytes().to_vec(), kind }, present);
        }
        let (tree, relative) = self.places.place_of(path);
        if kind == PathKind::Link {
            self.warn_of_link(tree, &relative);
        }
        self.touch(|| Ok(tree.remove(&relative)?))
    }

    fn remove_extra(&self, found: Found, present: &mut Present) -> Result<(), RestoreError> {
        let (tree, relative) = self.places.place_of_bytes(&found.path);
        if found.kind == PathKind::Directory {
            present.gone.0.push(found.path);
        }
        if found.kind == PathKind::Link {
            self.warn_of_link(tree, &relative);
        }
        let (count, paths) = &mut present.removed;
        *count += 1;
        if paths.len() < TOLD_MAX {
            paths.push(tree.path().join(&relative));
        }
        self.touch(|| Ok(tree.remove(&relative)?))
    }

    /// What a link leads to is not looked at, and stays.
    fn warn_of_link(&self, tree: &Tree, relative: &Path) {
        if let Ok(target) = tree.link_target(relative) {
            let link = tree.path().join(relative);
            self.reporter.warn(&format!("\"{}\" was a link; \"{}\" stays as it is", link.display(), target.display()));
        }
    }

    /// Whether something that stands is kept where it is right.
    pub(super) fn keeps(&self) -> bool {
        let tablespaces = self.plan.tablespaces.iter().map(|plan| plan.action);
        tablespaces.chain([self.plan.directory_action]).any(DirectoryAction::keeps_content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_for_sorting_names_is_known_before() {
        let found = |names| RoomBelow { file_bytes: 0, names, path_bytes: 21 * names };
        let mut few = FoundNames::default();
        few.add(&found(1000));
        assert_eq!(few.spilled_bytes(), 0);
        let mut many = FoundNames::default();
        many.add(&found(1_000_000));
        many.add(&found(1_000_000));
        let record = Found { path: b"pg_tblspc/16384/PG_15_202209061/5/12".to_vec(), kind: PathKind::File }.encode();
        assert_eq!(record.len(), 38, "the path has 20 bytes from the tablespace on");
        assert_eq!(many.spilled_bytes(), 2_000_000 * (record.len() as u64 + 1 + 4));
    }
}
