//! From the archive to the destination, every check before the name appears.

use std::path::Path;

use super::FetchError;
use crate::fs::{FileError, PRIVATE_FILE_MODE, StagedFile};
use crate::pg::{WalFileName, WalSegmentHeader};
use crate::report::Activity;
use crate::repository::{ClusterRef, ObjectReader, SinkError};

/// One file on its way.
pub(super) struct Delivery<'a> {
    /// What to call the repository.
    pub(super) store: &'a str,
    /// The file.
    pub(super) name: &'a WalFileName,
    /// The cluster that it belongs to.
    pub(super) cluster: &'a ClusterRef,
    /// Where it should go.
    pub(super) destination: &'a Path,
    /// Who watches.
    pub(super) activity: &'a Activity,
}

impl Delivery<'_> {
    /// Puts what `reader` reads at the destination and says how many bytes that were. What stood there is replaced at
    /// once; on failure it is left alone.
    pub(super) fn deliver(&self, reader: &ObjectReader<'_>) -> Result<u64, FetchError> {
        let undeliverable = FetchError::Destination;
        let writing = || self.activity.begin(format!("writing \"{}\"", self.destination.display()));
        writing();
        let mut staged = StagedFile::create_beside(self.destination, PRIVATE_FILE_MODE).map_err(undeliverable)?;
        let mut beginning: Vec<u8> = Vec::with_capacity(WalSegmentHeader::LENGTH);
        let read = reader.read_to(&mut |plain: &[u8]| -> Result<(), FileError> {
            let missing = WalSegmentHeader::LENGTH.saturating_sub(beginning.len());
            beginning.extend(plain.iter().take(missing));
            writing();
            staged.write_all(plain)
        });
        read.map_err(|error| match error {
            SinkError::Repository(source) => FetchError::Repository { name: *self.name, source },
            SinkError::Sink(source) => undeliverable(source),
        })?;
        let bytes = staged.written_bytes();
        if matches!(self.name, WalFileName::Segment(_) | WalFileName::Partial(_)) {
            self.check_segment(&beginning, bytes)?;
        }
        writing();
        // DURABILITY: PostgreSQL renames a restored file durably itself, or asks for it again.
        staged.replace_without_sync(self.destination).map_err(undeliverable)?;
        Ok(bytes)
    }

    /// A stored segment was checked when it was archived; a copy or a writer of another kind may have put it there too.
    fn check_segment(&self, beginning: &[u8], bytes: u64) -> Result<(), FetchError> {
        let (name, store) = (*self.name, || self.store.to_owned());
        let invalid = |source| FetchError::Header { name, store: store(), source };
        let header = WalSegmentHeader::decode(beginning).map_err(invalid)?;
        if let Some(segment) = name.segment() {
            header.check_name(&segment).map_err(invalid)?;
        }
        let (expected, found) = (self.cluster.system_identifier, header.system_identifier);
        if found != expected {
            return Err(FetchError::OtherSystem { name, store: store(), expected, found });
        }
        let expected = header.segment_size.bytes();
        if bytes != expected {
            return Err(FetchError::Size { name, store: store(), expected, found: bytes });
        }
        Ok(())
    }
}
