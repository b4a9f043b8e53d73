//! What a folder of segments holds of a cluster's WAL, by names and headers.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::OldWalError;
use super::moved::last_moved_aside;
use crate::fs;
use crate::pg::{Lsn, TimelineHistory, TimelineId, WalFileName, WalSegmentHeader, WalSegmentName, WalSegmentSize};
use crate::repository::ArchiveFacts;
use crate::repository::{ClusterIdentity, WalRange};
use crate::server::postmaster_of;

/// LIMIT: bytes of a history file.
const HISTORY_BYTES_MAX: u64 = 1 << 20;

/// A history that the archive lacks.
#[derive(Debug, Clone)]
pub(in super::super) struct OldHistory {
    pub(in super::super) history: TimelineHistory,
    pub(in super::super) text: Vec<u8>,
}

/// The WAL in a folder that the archive lacks.
#[derive(Debug)]
pub(in super::super) struct OldWal {
    /// The folder itself, without links.
    pub(in super::super) folder: PathBuf,
    pub(super) segment_size: WalSegmentSize,
    /// The files that are what their names say. Also a `.partial` one, as a promotion or pg_receivewal leaves it, when
    /// there is none of the full name.
    pub(super) segments: BTreeMap<WalSegmentName, OsString>,
    /// The files that are not: recycled or never written; and damaged ones.
    unused: BTreeMap<WalSegmentName, OsString>,
    /// Why the first of the files that are of other WAL does not count.
    pub(super) foreign: Option<OldWalError>,
    pub(super) histories: BTreeMap<TimelineId, OldHistory>,
    /// Of these numbers the archive has other timelines.
    others: BTreeSet<TimelineId>,
    /// The last segment of each timeline, here or in the archive.
    last: BTreeMap<TimelineId, WalSegmentName>,
}

/// The folder that a person means: the pg_wal of a data directory, or the folder itself.
fn folder_of(directory: &Path) -> Result<PathBuf, OldWalError> {
    let inside = directory.join("pg_wal");
    let folder = if fs::is_directory(&inside)? { inside } else { directory.to_owned() };
    Ok(fs::real_path(&folder)?)
}

/// The server that runs in the data directory to which a folder belongs.
pub(super) fn refuse_running(directory: &Path, folder: &Path) -> Result<(), OldWalError> {
    let above = folder.parent().filter(|_| folder.ends_with("pg_wal"));
    for place in [Some(directory), above].into_iter().flatten() {
        if let Some(pid) = postmaster_of(place)? {
            return Err(OldWalError::ServerRuns { path: place.to_owned(), pid });
        }
    }
    Ok(())
}

impl OldWal {
    /// Looks at a pg_wal, or that of a data directory, whose server does not run.
    pub(in super::super) fn open(
        directory: &Path,
        identity: &ClusterIdentity,
        archived: &ArchiveFacts,
    ) -> Result<Self, OldWalError> {
        let opened = || {
            refuse_running(directory, &folder_of(directory)?)?;
            let mut old = Self::look(directory, identity, archived)?;
            old.foreign.take().map_or(Ok(old), Err)
        };
        opened().map_err(|error| match (error, last_moved_aside(directory)) {
            (OldWalError::NoWal { path, .. }, moved) => OldWalError::NoWal { path, moved },
            (OldWalError::File(error), moved @ Some(_)) if error.is_not_found() => {
                OldWalError::NoWal { path: directory.to_owned(), moved }
            }
            (error, _) => error,
        })
    }

    /// The same, whether or not a server writes there: what it says may be so no more. What is none of the cluster's WAL
    /// is passed over.
    pub(super) fn look(
        directory: &Path,
        identity: &ClusterIdentity,
        archived: &ArchiveFacts,
    ) -> Result<Self, OldWalError> {
        let folder = folder_of(directory)?;
        let mut old = Self {
            folder,
            segment_size: archived.segment_size,
            segments: BTreeMap::new(),
            unused: BTreeMap::new(),
            foreign: None,
            histories: BTreeMap::new(),
            others: BTreeSet::new(),
            last: archived.ranges.keys().filter_map(|one| Some((*one, archived.last_segment(*one)?))).collect(),
        };
        let mut any_segment = false;
        for entry in fs::sorted_entries(&old.folder)? {
            match entry.name.to_str().map(WalFileName::parse) {
                // In order, so that a full name comes before the partial one.
                Some(Ok(WalFileName::Segment(name) | WalFileName::Partial(name))) => {
                    any_segment = true;
                    if !archived.contains(&name) && !old.segments.contains_key(&name) {
                        match old.take_segment(name, entry.name, (identity, archived)) {
                            Err(error) if error.is_not_ours() => drop(old.foreign.get_or_insert(error)),
                            other => other?,
                        }
                    }
                }
                Some(Ok(WalFileName::TimelineHistory(timeline))) => {
                    if let Some(known) = archived.histories.get(&timeline) {
                        old.compare_history(known, &entry.name);
                    } else if !archived.unreadable_histories.contains_key(&timeline) {
                        old.take_history(timeline, &entry.name)?;
                    }
                }
                _ => {}
            }
        }
        if !any_segment {
            return Err(OldWalError::NoWal { path: old.folder, moved: None });
        }
        Ok(old)
    }

    fn take_segment(
        &mut self,
        name: WalSegmentName,
        file: OsString,
        (identity, archived): (&ClusterIdentity, &ArchiveFacts),
    ) -> Result<(), OldWalError> {
        let path = self.folder.join(&file);
        let beginning = match fs::read_range(&path, 0, WalSegmentHeader::LENGTH) {
            // A running server recycles segments while we look.
            Err(error) if error.is_not_found() => return Ok(()),
            other => other?,
        };
        let Ok(header) = WalSegmentHeader::decode(&beginning) else {
            self.unused.insert(name, file);
            return Ok(());
        };
        if header.system_identifier != identity.system_identifier {
            let (expected, found) = (identity.system_identifier, header.system_identifier);
            return Err(OldWalError::OtherCluster { path, expected, found });
        }
        if header.major != identity.major_version {
            let (expected, found) = (identity.major_version, header.major);
            return Err(OldWalError::OtherVersion { path, expected, found });
        }
        if header.segment_size != self.segment_size {
            let (expected, found) = (self.segment_size, header.segment_size);
            return Err(OldWalError::OtherSegmentSize { path, expected, found });
        }
        if header.check_name(&name).is_err() || self.is_of_another_timeline(&header, &name, archived) {
            self.unused.insert(name, file);
            return Ok(());
        }
        let (expected, found) = (self.segment_size.bytes(), fs::file_bytes(&path)?);
        if expected != found {
            return Err(OldWalError::Size { path, expected, found });
        }
        self.segments.insert(name, file);
        let last = self.last.entry(name.timeline()).or_insert(name);
        *last = name.max(*last);
        Ok(())
    }

    /// Whether the server that began the timeline gave a segment that it recycled this name: of the WAL behind its fork,
    /// which recovery had fetched too, even the address fits. A copy of the segment of the fork begins with that of its
    /// parent.
    fn is_of_another_timeline(
        &self,
        header: &WalSegmentHeader,
        name: &WalSegmentName,
        archived: &ArchiveFacts,
    ) -> bool {
        // Their names come before those of segments.
        if self.others.contains(&name.timeline()) {
            return true;
        }
        let own = self.histories.get(&name.timeline()).map(|old| &old.history);
        let history = own.or_else(|| archived.histories.get(&name.timeline()));
        history.zip(self.start_of(name)).is_some_and(|(history, start)| {
            header.timeline != name.timeline() && !history.contains(header.timeline, start)
        })
    }

    /// Two servers that were promoted apart from each other may have given one number to two timelines: the segments there
    /// go on from another place than those of the archive. A history that cannot be read says nothing.
    fn compare_history(&mut self, archived: &TimelineHistory, file: &OsString) {
        let path = self.folder.join(file);
        let Ok(text) = fs::read_at_most(&path, HISTORY_BYTES_MAX) else { return };
        match TimelineHistory::decode(archived.timeline(), &text) {
            Ok(found) if found.entries() != archived.entries() => {
                self.others.insert(found.timeline());
                let (found, archived) = (Box::new(found), Box::new(archived.clone()));
                self.foreign.get_or_insert(OldWalError::OtherTimeline { path, found, archived });
            }
            _ => {}
        }
    }

    fn take_history(&mut self, timeline: TimelineId, file: &OsString) -> Result<(), OldWalError> {
        let path = self.folder.join(file);
        let text = fs::read_at_most(&path, HISTORY_BYTES_MAX)?;
        let history = match TimelineHistory::decode(timeline, &text) {
            Ok(history) => history,
            Err(source) => return Err(OldWalError::History { path, source }),
        };
        self.histories.insert(timeline, OldHistory { history, text });
        Ok(())
    }

    /// Where a segment lies that the archive lacks.
    pub(super) fn path_of(&self, name: &WalSegmentName) -> Option<PathBuf> {
        Some(self.folder.join(self.segments.get(name)?))
    }

    /// Whether no later one of its timeline is known: the log may end in it.
    pub(super) fn is_last(&self, name: &WalSegmentName) -> bool {
        self.last.get(&name.timeline()).is_none_or(|last| last <= name)
    }

    /// The segments in which the log may end.
    pub(super) fn last_segments(&self) -> BTreeSet<WalSegmentName> {
        self.segments.keys().filter(|name| self.is_last(name)).copied().collect()
    }

    /// Where a file of that segment lies that does not begin as it must.
    pub(super) fn unused_path(&self, name: &WalSegmentName) -> Option<PathBuf> {
        Some(self.folder.join(self.unused.get(name)?))
    }

    /// What there is with the archive and this folder together.
    pub(in super::super) fn added_to(&self, archived: &ArchiveFacts) -> ArchiveFacts {
        let mut facts = archived.clone();
        for name in self.segments.keys() {
            insert(facts.ranges.entry(name.timeline()).or_default(), *name, self.segment_size);
        }
        for (timeline, old) in &self.histories {
            facts.histories.insert(*timeline, old.history.clone());
        }
        facts
    }

    /// Where a segment begins.
    pub(super) fn start_of(&self, name: &WalSegmentName) -> Option<Lsn> {
        name.start_lsn(self.segment_size)
    }
}

/// Adds a segment that is in none of the ranges.
fn insert(ranges: &mut Vec<WalRange>, name: WalSegmentName, size: WalSegmentSize) {
    let at = ranges.partition_point(|range| range.first <= name);
    ranges.insert(at, WalRange { timeline: name.timeline(), first: name, last: name, count: 1 });
    let mut joined: Vec<WalRange> = Vec::with_capacity(ranges.len());
    for range in ranges.drain(..) {
        match joined.last_mut() {
            Some(before) if before.last.next(size) == Some(range.first) => {
                before.last = range.last;
                before.count += range.count;
            }
            _ => joined.push(range),
        }
    }
    *ranges = joined;
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;
