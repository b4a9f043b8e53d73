//! Segments that are read for their records and checked on the way, so that every stored byte is read once.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::chooser::Ranges;
use super::objects::{self, CheckedObject, ObjectWork};
use crate::pg::{WalFileName, WalSegmentName, WalSegmentSize};
use crate::repository::{ClusterRef, Repository, StoredObject, WalArchive};
use crate::wal_search::{ArchivedSegments, SegmentSink, SegmentStanding, WalSearchError, WalSource};

/// The segments of a cluster, each checked as a whole when it is read first.
///
/// What is wrong with one is kept; for whoever reads records it is missing then.
pub(super) struct CheckedSegments<'a> {
    repository: &'a Repository,
    cluster: &'a ClusterRef,
    segment_size: WalSegmentSize,
    /// Whether they are to be checked; else that was done before.
    are_to_be_checked: bool,
    seen: Mutex<Seen>,
}

/// What was checked.
#[derive(Default)]
struct Seen {
    names: BTreeSet<WalSegmentName>,
    /// Stored bytes behind the headers.
    body_bytes: u64,
    problems: Vec<CheckedObject>,
}

/// What came of those that were read.
pub(super) struct ReadSegments {
    pub(super) count: u64,
    /// Stored bytes behind their headers.
    pub(super) body_bytes: u64,
    pub(super) problems: Vec<CheckedObject>,
}

impl<'a> CheckedSegments<'a> {
    pub(super) fn new(
        repository: &'a Repository,
        cluster: &'a ClusterRef,
        segment_size: WalSegmentSize,
        are_to_be_checked: bool,
    ) -> Self {
        Self { repository, cluster, segment_size, are_to_be_checked, seen: Mutex::default() }
    }

    /// Whether a segment was found to be damaged here.
    pub(super) fn is_known_as_damaged(&self, name: &WalSegmentName) -> bool {
        self.seen().problems.iter().any(|checked| checked.object.segment() == Some(*name) && checked.is_damaged())
    }

    /// What there is to check of those among `ranges` that nobody read, and what came of the others.
    pub(super) fn finish(self, ranges: &Ranges) -> (impl Iterator<Item = ObjectWork> + Send + 'a, ReadSegments) {
        let Self { cluster, segment_size, .. } = self;
        let Seen { names, body_bytes, problems } = self.seen.into_inner().unwrap_or_else(PoisonError::into_inner);
        let read = ReadSegments { count: names.len() as u64, body_bytes, problems };
        let ranges: Vec<_> = ranges.values().flatten().cloned().collect();
        let all = ranges.into_iter().flat_map(move |range| {
            let next = move |name: &WalSegmentName| name.next(segment_size).filter(|next| *next <= range.last);
            std::iter::successors(Some(range.first), next)
        });
        let unread = all.filter(move |name| !names.contains(name));
        (unread.map(move |name| work_of(cluster, name, segment_size)), read)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn work_of(cluster: &ClusterRef, name: WalSegmentName, segment_size: WalSegmentSize) -> ObjectWork {
    let object = StoredObject::Wal { cluster: cluster.clone(), name: WalFileName::Segment(name) };
    ObjectWork { object, is_whole: true, segment_size: Some(segment_size) }
}

impl WalSource for CheckedSegments<'_> {
    fn read(&self, name: &WalSegmentName, sink: &mut SegmentSink<'_>) -> Result<bool, WalSearchError> {
        if !self.are_to_be_checked || self.seen().names.contains(name) {
            return ArchivedSegments(WalArchive::new(self.repository, self.cluster)).read(name, sink);
        }
        // To its end, also when whoever reads records has enough.
        let mut flow = ControlFlow::Continue(());
        let mut pass_on = |bytes: &[u8]| {
            if flow.is_continue() {
                flow = sink(bytes);
            }
        };
        let work = work_of(self.cluster, *name, self.segment_size);
        let Some(checked) = objects::check_there(self.repository, work, &mut pass_on) else { return Ok(false) };
        let is_damaged = checked.is_damaged();
        let mut seen = self.seen();
        // Two threads may have read it side by side.
        if seen.names.insert(*name) {
            seen.body_bytes += checked.body_bytes();
            seen.problems.extend(Some(checked).filter(|checked| checked.problem.is_some()));
        }
        if is_damaged { Err(WalSearchError::Missing { segment: *name }) } else { Ok(true) }
    }

    fn archived_at(&self, segment: &WalSegmentName) -> Result<Option<jiff::Timestamp>, WalSearchError> {
        ArchivedSegments(WalArchive::new(self.repository, self.cluster)).archived_at(segment)
    }

    fn standing(&self, _: &WalSegmentName) -> SegmentStanding {
        SegmentStanding::Archived
    }
}
