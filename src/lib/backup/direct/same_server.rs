//! Whether what is read here is what the server has that answers: its kind, and its tablespaces.

use std::path::Path;

use crate::backup::whole::Tablespaces;
use crate::backup::{BackupError, IncompleteError};
use crate::pg::{ControlFile, DatabaseState};
use crate::repository::TablespaceRef;

/// A server that recovers says so in its control file, and no other does. A primary's may well hold the checkpoint that
/// its standby begins a backup with.
pub(super) fn check_kind(control: &ControlFile, is_standby: bool, directory: &Path) -> Result<(), BackupError> {
    if (control.state == DatabaseState::InArchiveRecovery) == is_standby {
        return Ok(());
    }
    Err(BackupError::OtherKind { directory: directory.to_owned(), found: control.state, is_standby })
}

/// A restored server follows every line of the map: each must be of a link that was taken, and lead where that does, but
/// for a tablespace that was dropped before its turn came; `remaining` says which were not. The answer has those of links
/// that were taken and are not in the map, too: what was made after the start is in the WAL.
pub(super) fn checked_links(
    mut map: Vec<TablespaceRef>,
    taken: &[TablespaceRef],
    remaining: impl FnOnce() -> Result<Tablespaces, BackupError>,
) -> Result<Vec<TablespaceRef>, BackupError> {
    let mut missing = Vec::new();
    for TablespaceRef { oid, path } in &map {
        match taken.iter().find(|taken| taken.oid == *oid) {
            Some(taken) if taken.path == *path => {}
            Some(taken) => {
                let (found, expected) = (taken.path.clone(), path.clone());
                return Err(BackupError::OtherTablespace { oid: *oid, found, expected });
            }
            None => missing.push(*oid),
        }
    }
    if !missing.is_empty() {
        let remaining = remaining()?;
        if let Some(oid) = missing.into_iter().find(|oid| remaining.contains(*oid)) {
            return Err(IncompleteError::NoTablespace { oid }.into());
        }
    }
    let made_later = taken.iter().filter(|taken| map.iter().all(|known| known.oid != taken.oid));
    let made_later: Vec<TablespaceRef> = made_later.cloned().collect();
    map.extend(made_later);
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Classified as _, ErrorClass};

    const CONTROL_15: &[u8] = include_bytes!("../../../../tests/data/postgres-15/pg_control");

    #[test]
    fn the_directory_of_another_kind_of_server_is_refused() {
        let mut control = ControlFile::decode(CONTROL_15).unwrap();
        for (state, of_standby, of_primary) in [
            (DatabaseState::InProduction, false, true),
            (DatabaseState::InArchiveRecovery, true, false),
            (DatabaseState::ShutDown, false, true),
        ] {
            control.state = state;
            for (is_standby, fits) in [(true, of_standby), (false, of_primary)] {
                let checked = check_kind(&control, is_standby, Path::new("/data"));
                assert_eq!(checked.is_ok(), fits, "{state} {is_standby}");
                let Err(error) = checked else { continue };
                assert_eq!(error.class(), ErrorClass::Refused);
                assert!(error.to_string().starts_with("data directory \"/data\" is not the server's"), "{error}");
            }
        }
    }

    #[test]
    fn every_line_of_the_map_is_of_a_link_that_was_taken() {
        let space = |oid, path: &str| TablespaceRef { oid, path: path.into() };
        let map = || vec![space(1, "/one"), space(2, "/two")];
        let asked_never = || -> Result<Tablespaces, BackupError> { panic!("nothing is missing") };
        let all = [space(1, "/one"), space(2, "/two"), space(3, "/new")];
        assert_eq!(checked_links(map(), &all, asked_never).unwrap(), all);
        let error = checked_links(map(), &[space(1, "/one"), space(2, "/elsewhere")], asked_never).unwrap_err();
        assert!(matches!(error, BackupError::OtherTablespace { oid: 2, .. }), "{error}");
        assert_eq!(error.class(), ErrorClass::Refused);
        let with = |oids: &[u32]| Ok(Tablespaces::of_oids(oids));
        // Dropped meanwhile, or not taken though it is there.
        assert_eq!(checked_links(map(), &[space(1, "/one")], || with(&[1])).unwrap(), map());
        let error = checked_links(map(), &[space(1, "/one")], || with(&[1, 2])).unwrap_err();
        assert!(matches!(error, BackupError::Incomplete(IncompleteError::NoTablespace { oid: 2 })), "{error}");
    }
}
