//! Reads the records of the WAL along every path of timelines, from each backup on.

use std::collections::BTreeSet;

use super::VerifyError;
use super::finding::{Findings, Subject};
use super::segments::CheckedSegments;
use super::wal_costs::{BackupSpan, WalPath, paths};
use crate::error::{Classified, chain};
use crate::pg::{Lsn, WalFileName, WalRecord, WalSegmentName};
use crate::report::{Cancel, Reporter};
use crate::repository::{ArchiveFacts, ClusterRef, StoredObject};
use crate::wal_search::{Search, WalSearch, WalSearchError};

/// Wants nothing of the records but that they are valid, up to a position or to the end.
struct Valid {
    until: Option<Lsn>,
    is_there: bool,
}

impl Search for Valid {
    fn see(&mut self, record: &WalRecord) {
        self.is_there |= self.until.is_some_and(|until| record.end_lsn >= until);
    }

    fn merge(&mut self, later: Self) {
        self.is_there |= later.is_there;
    }

    fn is_decided(&self) -> bool {
        self.is_there
    }

    fn found_to(&self) -> Option<Lsn> {
        self.until.filter(|_| self.is_there)
    }
}

/// Where and by whom records are read.
pub(super) struct RecordReader<'a> {
    pub(super) cluster: &'a ClusterRef,
    pub(super) source: &'a CheckedSegments<'a>,
    pub(super) archive: &'a ArchiveFacts,
    pub(super) threads: usize,
    /// Whether nothing is read but what backups need to be consistent; else all that can be reached from them.
    pub(super) only_needed: bool,
    pub(super) reporter: &'a dyn Reporter,
    pub(super) cancel: &'a Cancel,
}

impl RecordReader<'_> {
    /// Reads the WAL behind these backups. Says how many records there are.
    pub(super) fn read_all(&self, spans: &[BackupSpan], findings: &mut Findings) -> Result<u64, VerifyError> {
        let damaged: BTreeSet<WalSegmentName> = findings.damaged_segments(self.cluster);
        let (mut records, mut done) = (0, BTreeSet::new());
        let paths = paths(self.archive, &damaged, spans);
        for path in paths.iter().filter(|path| !paths.iter().any(|other| self.is_part_of(path, other))) {
            let mut next: Option<Lsn> = None;
            for span in &path.spans {
                let until = self.only_needed.then_some(span.stop_lsn);
                // Each path that leads through a backup has the same of it.
                let is_done = if self.only_needed { !done.insert(span.id) } else { false };
                if is_done || next.is_some_and(|next| span.start_lsn < next) {
                    continue;
                }
                let coverage = path.left.coverage(&path.path, span.start_lsn, until);
                let size = self.archive.segment_size;
                let Some(to) = coverage.last.and_then(|last| last.end_lsn(size)) else { continue };
                next = Some(to);
                let (read, ended) = self.read(path, (span.start_lsn, to), until);
                records += read;
                match ended {
                    Ok(()) => {}
                    Err(WalSearchError::Cancelled) => return Err(VerifyError::Cancelled),
                    Err(WalSearchError::Thread(error)) => return Err(VerifyError::Thread(error)),
                    Err(error) => next = self.note(&error, span.start_lsn, findings).or(next),
                }
            }
        }
        Ok(records)
    }

    /// Says how many records were read, up to the end or to where they cannot be.
    fn read(&self, path: &WalPath<'_>, range: (Lsn, Lsn), until: Option<Lsn>) -> (u64, Result<(), WalSearchError>) {
        let size = self.archive.segment_size;
        match WalSearch::new(self.source, &path.path, range, size, self.threads) {
            Ok(search) => {
                let new = || Valid { until, is_there: false };
                let (found, ended) = search.run_to_trouble(new, self.reporter, self.cancel);
                (found.map_or(0, |found| found.run.records), ended)
            }
            Err(error) => (0, Err(error)),
        }
    }

    /// Whether all that is archived along one path lies on the other, longer one.
    fn is_part_of(&self, part: &WalPath<'_>, whole: &WalPath<'_>) -> bool {
        let timeline = part.path.timeline();
        let Some(left_at) = whole.path.end_of(timeline) else { return false };
        let fork = WalSegmentName::containing(timeline, left_at, self.archive.segment_size);
        self.archive.last_segment(timeline).is_none_or(|last| last < fork)
    }

    /// Keeps what is wrong. Where it lies is returned, when that is known: what is behind is read from later backups.
    fn note(&self, error: &WalSearchError, from: Lsn, findings: &mut Findings) -> Option<Lsn> {
        let Some(segment) = error.segment() else {
            let (name, problem) = (format!("WAL of cluster {} from {from} on", self.cluster), chain(error));
            findings.add_named(self.cluster, name, problem, error.class(), Subject::Folder);
            return None;
        };
        if !self.source.is_known_as_damaged(&segment) {
            let object = StoredObject::Wal { cluster: self.cluster.clone(), name: WalFileName::Segment(segment) };
            findings.add(&object, chain(error), crate::error::ErrorClass::Corrupt);
        }
        segment.end_lsn(self.archive.segment_size)
    }
}
