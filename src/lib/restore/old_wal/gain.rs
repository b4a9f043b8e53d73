//! What the old pg_wal adds to a recovery: which segments, up to where, and how many commits.

use std::ops::ControlFlow;
use std::path::PathBuf;

use serde::Serialize;

use super::super::error::RestoreError;
use super::super::proof::ReadGain;
use super::{CombinedSegments, OldWal, OldWalError};
use crate::codec::ContentDigest;
use crate::pg::{Lsn, TimelineHistory, TimelineId, WalPageScan, WalSegmentName};
use crate::report::{Cancel, Reporter};
use crate::repository::ArchiveFacts;
use crate::wal_search::{CommitCount, Ending, WalSearch};

/// A segment that recovery needs from the old pg_wal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OldSegment {
    /// Its name.
    pub name: WalSegmentName,
    /// The name of the file in the folder.
    pub file: String,
    /// Whether the log goes on behind its last byte, so that the archive gets it, too.
    pub complete: bool,
    /// Of its content, when it was checked.
    #[serde(skip)]
    pub(super) digest: ContentDigest,
    /// Whether the archive has later segments, or a timeline that left its own behind it, so that recovery gets there only when it has this one.
    #[serde(skip)]
    pub(super) fills_hole: bool,
}

/// What a recovery needs of the old pg_wal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OldWalUse {
    /// The folder.
    pub folder: PathBuf,
    /// Where recovery would end without it.
    pub archived_end: Lsn,
    /// Where the WAL ends with it, as far as it was read.
    pub end_lsn: Lsn,
    /// How many commits are recovered from behind the end of the archive.
    pub commits: u64,
    /// The last one of them.
    pub last_commit: Option<Ending>,
    /// The segments, in order.
    pub segments: Vec<OldSegment>,
    /// The timelines whose history the archive lacks.
    pub histories: Vec<TimelineId>,
    #[serde(skip)]
    pub(super) history_texts: Vec<(TimelineId, Vec<u8>)>,
}

/// Up to where a recovery goes.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Reach {
    /// The end of the last record that it reads; none when it reads all.
    pub(in super::super) end: Option<Lsn>,
    /// Where the last record begins that it recovers; none when that is not known.
    pub(in super::super) last_record: Option<Lsn>,
}

/// What is read, and how.
pub(in super::super) struct Gain<'a> {
    pub(in super::super) old: &'a OldWal,
    pub(in super::super) source: &'a CombinedSegments<'a>,
    pub(in super::super) archived: &'a ArchiveFacts,
    /// Archive and folder together.
    pub(in super::super) facts: &'a ArchiveFacts,
    /// Behind where commits count; none for the end of what is archived.
    pub(in super::super) behind: Option<Lsn>,
    pub(in super::super) threads: usize,
}

/// Finds what the folder adds along `path` from `start` on, where a backup or a segment begins, behind the archive's end,
/// every CRC checked: as it was `read` for the proof from that backup, else by reading it now.
pub(in super::super) fn find_use(
    gain: &Gain<'_>,
    (path, start): (&TimelineHistory, Lsn),
    reach: Reach,
    read: Option<&ReadGain>,
    (reporter, cancel): (&dyn Reporter, &Cancel),
) -> Result<OldWalUse, RestoreError> {
    let Gain { old, source, archived, facts, behind, threads } = gain;
    let size = facts.segment_size;
    let reached = archived.coverage(path, start, None);
    let whole = facts.coverage(path, start, None);
    let needed = reach.end.map_or(whole.end_lsn, |end| end.min(whole.end_lsn));
    let histories = path.parents().chain([path.timeline()]);
    let history_texts: Vec<_> =
        histories.filter_map(|timeline| Some((timeline, old.histories.get(&timeline)?.text.clone()))).collect();
    let behind = behind.unwrap_or(reached.end_lsn);
    let mut found = OldWalUse {
        folder: old.folder.clone(),
        archived_end: behind,
        end_lsn: needed.min(reached.end_lsn),
        commits: 0,
        last_commit: None,
        segments: Vec::new(),
        histories: history_texts.iter().map(|(timeline, _)| *timeline).collect(),
        history_texts,
    };
    // The record that crosses the end of the archive is read from its beginning.
    let from = reached.last.and_then(|last| old.start_of(&last)).map_or(start, |last| last.max(start));
    let to = WalSegmentName::containing_previous_byte(path.timeline(), needed, size).end_lsn(size).unwrap_or(needed);
    if needed > reached.end_lsn {
        let read = match read.filter(|read| read.from == start) {
            Some(read) => ReadGain { end_lsn: read.end_lsn.min(to), ..read.clone() },
            None => {
                let search = WalSearch::new(*source, path, (from, to), size, *threads)?;
                let new = || CommitCount::new(behind, reach.last_record);
                let read = search.run(new, reporter, cancel)?;
                let CommitCount { count: commits, last: last_commit, .. } = read.search;
                ReadGain { from: start, commits, last_commit, end_lsn: read.run.next_lsn }
            }
        };
        found.segments = segments(gain, path, (start, needed), read.end_lsn)?;
        (found.commits, found.last_commit, found.end_lsn) = (read.commits, read.last_commit, read.end_lsn);
    }
    if reach.end.is_none_or(|end| end >= whole.end_lsn) {
        refuse_damaged_next(gain, (path, start), whole.last)?;
    }
    Ok(found)
}

/// The segments of the folder that lie on the way; the log was read up to `end`.
fn segments(
    Gain { old, source, archived, facts, .. }: &Gain<'_>,
    path: &TimelineHistory,
    (from, to): (Lsn, Lsn),
    end: Lsn,
) -> Result<Vec<OldSegment>, RestoreError> {
    let mut segments = Vec::new();
    for candidates in path.segment_names(from, to, facts.segment_size) {
        let Some(name) = candidates.names.into_iter().find(|name| facts.contains(name)) else { continue };
        let (Some(file), Some(digest)) = (old.segments.get(&name), source.digest_of(&name)?) else { continue };
        segments.push(OldSegment {
            name,
            file: file.to_string_lossy().into_owned(),
            complete: name.end_lsn(facts.segment_size).is_some_and(|behind| behind <= end),
            digest,
            fills_hole: archived.last_segment(name.timeline()).is_some_and(|last| last > name)
                || leads_to_another(archived, &name),
        });
    }
    Ok(segments)
}

/// Whether the archive has the history of a timeline that goes through the whole segment.
fn leads_to_another(archived: &ArchiveFacts, name: &WalSegmentName) -> bool {
    let Some(end) = name.end_lsn(archived.segment_size) else { return false };
    archived.histories.values().any(|history| history.end_of(name.timeline()).is_some_and(|left_at| end <= left_at))
}

/// The file behind the last segment: a recycled one holds no page of its own place. One that does was damaged.
fn refuse_damaged_next(
    Gain { old, source, facts, .. }: &Gain<'_>,
    (path, start): (&TimelineHistory, Lsn),
    last: Option<WalSegmentName>,
) -> Result<(), RestoreError> {
    let size = facts.segment_size;
    let next = last.and_then(|last| last.with_timeline(path.timeline()).next(size));
    let Some((file, behind)) = next.and_then(|next| Some((old.unused_path(&next)?, old.start_of(&next)?))) else {
        return Ok(());
    };
    let format = WalSearch::format(*source, path, start, size)?;
    let mut scan = WalPageScan::new(format, path.clone(), behind);
    let _read_to_its_end = super::source::for_each_piece(&file, &mut |bytes| {
        scan.feed(bytes);
        ControlFlow::Continue(())
    })?;
    match scan.valid_pages() {
        0 => Ok(()),
        valid_pages => Err(OldWalError::NextSegment { path: file, valid_pages }.into()),
    }
}
