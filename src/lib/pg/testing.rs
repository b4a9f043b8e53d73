//! Whole WAL segments and control files for unit tests, made from what real servers wrote.

use super::{ControlFile, SystemIdentifier, WalSegmentName, WalSegmentSize};

#[cfg(test)]
pub(crate) use super::wal::made::{MADE_NUMBER, MadeEnd, made_segment};

/// The control file of the PostgreSQL 13 cluster that the segments are of.
pub(crate) const CONTROL_FILE: &[u8] = include_bytes!("../../../tests/data/postgres-13/pg_control");
/// The control file of a PostgreSQL 15 cluster.
pub(crate) const OTHER_CONTROL_FILE: &[u8] = include_bytes!("../../../tests/data/postgres-15/pg_control");
const FIRST_PAGE: &[u8] = include_bytes!("../../../tests/data/postgres-13/wal-first-page");

pub(crate) fn control_file() -> ControlFile {
    ControlFile::decode(CONTROL_FILE).unwrap()
}

pub(crate) fn system_identifier() -> SystemIdentifier {
    control_file().system_identifier
}

pub(crate) fn segment_size() -> WalSegmentSize {
    control_file().wal_segment_size
}

/// A segment of 1 MiB that may bear that name; after its first page all bytes are `fill`.
pub(crate) fn wal_segment(name: &str, fill: u8) -> Vec<u8> {
    let start = WalSegmentName::parse(name).unwrap().start_lsn(segment_size()).unwrap();
    let mut segment = FIRST_PAGE.to_vec();
    segment[8..16].copy_from_slice(&start.get().to_le_bytes());
    segment.resize(usize::try_from(segment_size().bytes()).unwrap(), fill);
    segment
}
