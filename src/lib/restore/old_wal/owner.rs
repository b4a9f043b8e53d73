//! Whose data directory it is in which WAL is looked for, and whether there must be some.

use std::path::Path;

use crate::fs::{self, FileError};
use crate::pg::{ControlFile, DatabaseState, Lsn, WalSegmentName, WalSegmentSize};
use crate::repository::{ArchiveFacts, ClusterIdentity};

/// With one of these and a `backup_label`, no server has been started yet in what was restored.
const SIGNALS: [&str; 2] = ["recovery.signal", "standby.signal"];

/// Whose it is.
#[derive(Debug)]
pub(super) enum Owner {
    /// No server of this cluster has written there: no data directory, that of another cluster, or one that was restored
    /// and never started.
    Nobody,
    /// A server of this cluster, as far as can be seen; with what its control file says, when that can be read.
    Server(Option<Box<ControlFile>>),
}

impl Owner {
    /// Looks at what lies in a data directory.
    pub(super) fn of(directory: &Path, identity: &ClusterIdentity) -> Result<Self, FileError> {
        let bytes = match fs::read_at_most(&directory.join(ControlFile::PATH), ControlFile::FILE_LENGTH as u64) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Ok(Self::Nobody),
            Err(error) => return Err(error),
        };
        let Ok(control) = ControlFile::decode(&bytes) else { return Ok(Self::Server(None)) };
        let is_other = control.system_identifier != identity.system_identifier;
        if is_other || was_never_started(directory)? {
            return Ok(Self::Nobody);
        }
        Ok(Self::Server(Some(Box::new(control))))
    }
}

/// A server gives the label another name when it has begun to recover.
fn was_never_started(directory: &Path) -> Result<bool, FileError> {
    if !fs::is_present(&directory.join("backup_label"))? {
        return Ok(false);
    }
    for signal in SIGNALS {
        if fs::is_present(&directory.join(signal))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a server was shut down, and the archive has all that it wrote: a server that archives switches segments before
/// the record of its shutdown.
pub(super) fn is_all_archived(control: &ControlFile, known: &ArchiveFacts) -> bool {
    let (timeline, lsn, size) = (control.checkpoint.timeline, control.checkpoint.lsn, known.segment_size);
    let last = WalSegmentName::containing(timeline, lsn, size);
    let Some(start) = last.start_lsn(size) else { return false };
    let is_first_record = is_first_record(lsn, start);
    let reaches = || known.history(timeline).and_then(|path| known.end_along(&path)).is_some_and(|end| end >= start);
    control.state == DatabaseState::ShutDown && (known.contains(&last) || (is_first_record && reaches()))
}

/// Whether a server was shut down, and all that it wrote lies before `end`, up to where the log was read, but for the
/// record of its shutdown when that stands alone.
pub(super) fn is_all_read(control: &ControlFile, end: Lsn, size: WalSegmentSize) -> bool {
    let (timeline, lsn) = (control.checkpoint.timeline, control.checkpoint.lsn);
    let start = WalSegmentName::containing(timeline, lsn, size).start_lsn(size);
    let is_alone = start.is_some_and(|start| is_first_record(lsn, start) && start <= end);
    control.state == DatabaseState::ShutDown && (is_alone || lsn < end)
}

fn is_first_record(lsn: Lsn, start: Lsn) -> bool {
    lsn.distance_from(start) == Some(FIRST_RECORD_OFFSET)
}

/// Where the first record of a segment begins that goes on from no other one: behind the long page header.
const FIRST_RECORD_OFFSET: u64 = 40;

#[cfg(test)]
mod tests {
    use super::super::super::testing::{self, archive, time};
    use super::*;
    use crate::pg::{PgMajorVersion, SystemIdentifier, TimelineId};
    use crate::repository::ClusterName;

    fn identity() -> ClusterIdentity {
        ClusterIdentity {
            cluster: ClusterName::parse("main").unwrap(),
            system_identifier: SystemIdentifier::new(7_000_000_000_000_000_001).unwrap(),
            major_version: PgMajorVersion::new(15).unwrap(),
            wal_segment_size: testing::size(),
            since: time("2026-11-20T14:30:00Z"),
        }
    }

    #[test]
    fn a_server_of_the_cluster_is_told_from_all_others() {
        let temp = tempfile::tempdir().unwrap();
        let own = identity().system_identifier;
        let owner = || Owner::of(temp.path(), &identity()).unwrap();
        assert!(matches!(owner(), Owner::Nobody));
        std::fs::create_dir(temp.path().join("global")).unwrap();
        let write = |name: &str, content: &[u8]| std::fs::write(temp.path().join(name), content).unwrap();
        write(ControlFile::PATH, &testing::control_file(SystemIdentifier::new(own.get() + 1).unwrap()));
        assert!(matches!(owner(), Owner::Nobody));
        write(ControlFile::PATH, &testing::control_file(own));
        assert!(matches!(owner(), Owner::Server(Some(_))));
        // A backup was going on when it died; or it was restored and never started.
        write("backup_label", b"");
        assert!(matches!(owner(), Owner::Server(Some(_))));
        write("recovery.signal", b"");
        assert!(matches!(owner(), Owner::Nobody));
        write(ControlFile::PATH, b"damaged");
        assert!(matches!(owner(), Owner::Server(None)));
    }

    #[test]
    fn what_was_shut_down_is_archived_when_the_segment_before_its_last_record_is() {
        let mut control = ControlFile::decode(&testing::control_file(identity().system_identifier)).unwrap();
        let facts = archive(&[(1, 1, 5, "2026-11-20T12:00:00Z")], &[]);
        control.checkpoint.timeline = TimelineId::FIRST;
        for (state, lsn, expected) in [
            (DatabaseState::ShutDown, "0/6000028", true),
            (DatabaseState::ShutDown, "0/5000100", true),
            (DatabaseState::ShutDown, "0/6000100", false),
            (DatabaseState::ShutDown, "0/7000028", false),
            (DatabaseState::InProduction, "0/5000100", false),
            (DatabaseState::ShutDownInRecovery, "0/5000100", false),
        ] {
            control.state = state;
            control.checkpoint.lsn = lsn.parse::<Lsn>().unwrap();
            assert_eq!(is_all_archived(&control, &facts), expected, "{state:?} {lsn}");
        }
    }
}
