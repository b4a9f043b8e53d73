//! Whether a segment that differs from the stored one of its name differs in the log at all.
//!
//! Behind a switch record, and behind the end of the log, a segment holds what its server found there: another standby
//! has other bytes. INVARIANT: what holds a record that the stored one lacks is never taken for the same.

use std::io::SeekFrom;
use std::ops::ControlFlow;

use super::WalFileContent;
use crate::codec::{ContentDigest, PlainHasher, fill};
use crate::pg::{ExtentSink, WalExtent, WalExtentEnding, WalFileName};
use crate::repository::error::RepositoryError;
use crate::repository::object::OBJECT_FRAME_BYTES;
use crate::repository::object_reader::{ObjectReader, SinkError};

/// What of the log is in ours and in the stored one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SameLog {
    /// The stored one has all of ours.
    Contained,
    /// Ours begins with all of the stored one, which ends early, and goes on.
    Longer,
    /// Neither, or it cannot be said.
    No,
}

/// The stored one has enough of.
struct Enough;

/// Compares what is to be stored with what is.
pub(super) fn compare(
    name: &WalFileName,
    content: &mut WalFileContent<'_>,
    stored: &ObjectReader<'_>,
    hasher: &PlainHasher,
) -> Result<SameLog, RepositoryError> {
    let (WalFileName::Segment(segment) | WalFileName::Partial(segment)) = name else { return Ok(SameLog::No) };
    let mut pass_ours = |sink: &mut ExtentSink<'_>| {
        content.pass(sink).map_err(|source| RepositoryError::ReadSource { name: name.to_string(), source })
    };
    let mut pass_theirs = |sink: &mut ExtentSink<'_>| pass_stored(stored, sink);
    let Some(ours) = WalExtent::read(segment, &mut pass_ours)? else { return Ok(SameLog::No) };
    let Some(theirs) = WalExtent::read(segment, &mut pass_theirs)? else { return Ok(SameLog::No) };
    let mut is_same = |bytes: u64| -> Result<bool, RepositoryError> {
        Ok(digest_of(bytes, hasher, &mut pass_ours)? == digest_of(bytes, hasher, &mut pass_theirs)?)
    };
    let shared = ours.log_bytes.min(theirs.log_bytes);
    if shared == 0 || ours.ending == WalExtentEnding::Unclear || !is_same(shared)? {
        return Ok(SameLog::No);
    }
    // Of a segment recovery needs the end, too: the stored one must lead into the next.
    let is_enough = matches!(name, WalFileName::Partial(_))
        || matches!(theirs.ending, WalExtentEnding::Full | WalExtentEnding::Switch);
    Ok(match ours.log_bytes <= theirs.log_bytes {
        true if is_enough => SameLog::Contained,
        false if theirs.ending == WalExtentEnding::Early => SameLog::Longer,
        _ => SameLog::No,
    })
}

fn pass_stored(stored: &ObjectReader<'_>, sink: &mut ExtentSink<'_>) -> Result<(), RepositoryError> {
    let read = stored.read_to(&mut |bytes| match sink(bytes) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Enough),
    });
    match read {
        Ok(()) | Err(SinkError::Sink(Enough)) => Ok(()),
        Err(SinkError::Repository(error)) => Err(error),
    }
}

/// That of the first `bytes`.
fn digest_of(
    bytes: u64,
    hasher: &PlainHasher,
    pass: &mut impl FnMut(&mut ExtentSink<'_>) -> Result<(), RepositoryError>,
) -> Result<ContentDigest, RepositoryError> {
    let (mut hasher, mut left) = (hasher.clone(), bytes);
    pass(&mut |piece| {
        let taken = piece.get(..usize::try_from(left).unwrap_or(usize::MAX)).unwrap_or(piece);
        hasher.update(taken);
        left -= taken.len() as u64;
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(hasher.finish())
}

impl WalFileContent<'_> {
    /// Hands it over from its beginning, until `sink` breaks.
    fn pass(&mut self, sink: &mut ExtentSink<'_>) -> std::io::Result<()> {
        let file = match self {
            Self::Whole(bytes) => {
                let _ = sink(bytes);
                return Ok(());
            }
            Self::File(file, _) => file,
        };
        file.seek(SeekFrom::Start(0))?;
        let mut piece = vec![0; OBJECT_FRAME_BYTES];
        loop {
            let filled = fill(*file, &mut piece)?;
            match piece.get(..filled).filter(|filled| !filled.is_empty()) {
                Some(filled) if sink(filled).is_continue() => {}
                _ => return Ok(()),
            }
        }
    }
}
