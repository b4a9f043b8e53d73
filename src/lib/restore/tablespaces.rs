//! Where each tablespace goes.

use std::path::{Path, PathBuf};

use super::error::RestoreError;
use super::target_directory::{DirectoryProblem, overlap};
use crate::repository::BackupRecord;

/// A tablespace and the directory that it will have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TablespacePlace {
    pub(super) oid: u32,
    pub(super) original: PathBuf,
    pub(super) directory: PathBuf,
}

/// Gives every tablespace outside the data directory its place: mapped, below `all_in`, or where it was.
pub(super) fn place(
    record: &BackupRecord,
    mappings: &[(PathBuf, PathBuf)],
    all_in: Option<&Path>,
) -> Result<Vec<TablespacePlace>, RestoreError> {
    let outside = record.tablespaces.iter().filter(|tablespace| tablespace.path.is_absolute());
    let known: Vec<PathBuf> = outside.clone().map(|tablespace| tablespace.path.clone()).collect();
    if let Some((old, _)) = mappings.iter().find(|(old, _)| !known.contains(old)) {
        return Err(RestoreError::UnknownTablespace { backup: record.id, old: old.clone(), known });
    }
    let places = outside.map(|tablespace| {
        let mapped = mappings.iter().find(|(old, _)| *old == tablespace.path).map(|(_, new)| new.clone());
        let below = || all_in.map(|all_in| all_in.join(tablespace.oid.to_string()));
        let directory = mapped.or_else(below).unwrap_or_else(|| tablespace.path.clone());
        TablespacePlace { oid: tablespace.oid, original: tablespace.path.clone(), directory }
    });
    Ok(places.collect())
}

/// Refuses directories that are the same or lie in each other. Their paths must be free of links.
pub(super) fn refuse_overlaps(data: &Path, places: &[(u32, PathBuf)]) -> Result<(), RestoreError> {
    for (number, (oid, directory)) in places.iter().enumerate() {
        let others = places.iter().take(number).map(|(_, other)| other.as_path()).chain([data]);
        if let Some(other) = others.into_iter().find(|other| overlap(directory, other)) {
            let problem = DirectoryProblem::Nested { other: other.to_owned() };
            return Err(RestoreError::UnsafeTablespace { oid: *oid, directory: directory.clone(), problem });
        }
    }
    Ok(())
}

/// The content of `tablespace_map`, from which the server makes the links anew (`do_pg_backup_start`).
pub(super) fn tablespace_map(places: &[(u32, PathBuf)]) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt as _;
    let mut map = Vec::new();
    for (oid, directory) in places {
        map.extend_from_slice(format!("{oid} ").as_bytes());
        for byte in directory.as_os_str().as_bytes() {
            if matches!(byte, b'\n' | b'\r' | b'\\') {
                map.push(b'\\');
            }
            map.push(*byte);
        }
        map.push(b'\n');
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::TablespaceRef;
    use crate::restore::testing;

    #[test]
    fn tablespaces_go_where_they_are_mapped_else_below_else_where_they_were() {
        let mut record = testing::record(1, (1, "0/2000028"), (1, "0/2000100"), "2026-11-20T10:00:00Z");
        let at = |oid, path: &str| TablespaceRef { oid, path: path.into() };
        record.tablespaces = vec![at(1, "/a"), at(2, "/b"), at(3, "pg_tblspc/3")];
        let mapping = [(PathBuf::from("/a"), PathBuf::from("/x"))];
        let places = |mapping: &[_], all_in| {
            let places = place(&record, mapping, all_in).unwrap();
            places.iter().map(|place| place.directory.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(places(&mapping, Some(Path::new("/all"))), ["/x", "/all/2"]);
        assert_eq!(places(&mapping, None), ["/x", "/b"]);
        let unknown = [(PathBuf::from("/c"), PathBuf::from("/x"))];
        assert!(matches!(place(&record, &unknown, None), Err(RestoreError::UnknownTablespace { .. })));
    }

    #[test]
    fn overlapping_directories_are_refused() {
        let data = Path::new("/data/main");
        let refused = |places: &[(u32, &str)]| {
            let places: Vec<_> = places.iter().map(|(oid, path)| (*oid, PathBuf::from(path))).collect();
            refuse_overlaps(data, &places).is_err()
        };
        for places in [
            &[(1, "/data/main")][..],
            &[(1, "/data/main/x")],
            &[(1, "/data")],
            &[(1, "/a"), (2, "/a")],
            &[(1, "/a"), (2, "/a/b")],
            &[(1, "/a/b"), (2, "/a")],
        ] {
            assert!(refused(places), "{places:?}");
        }
        assert!(!refused(&[(1, "/data/main2"), (2, "/a")]));
    }

    #[test]
    fn the_map_escapes_as_the_server_does() {
        let places = [(16_384, PathBuf::from("/a b")), (2, PathBuf::from("/x\\y\nz"))];
        assert_eq!(tablespace_map(&places), b"16384 /a b\n2 /x\\\\y\\\nz\n");
    }
}
