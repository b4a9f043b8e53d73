//! What a repository holds of a cluster: its backups, its WAL, its histories.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::facts::{BackupFacts, TreeFacts, WalRate};
use super::finding::Unreadable;
use crate::clock::{Clock as _, SystemClock};
use crate::pg::{TimelineId, WalFileName, WalSegmentName};
use crate::repository::{
    ArchiveFacts, BackupEntry, BackupId, BackupSpan, ClusterRef, Lack, LackSearch, Repository, RepositoryError,
    SelectedCluster, WalArchive, wal_summary,
};

/// By how many of the last segments the rate of WAL is measured.
const RATE_SEGMENTS: u64 = 256;
/// Of how many of these the stored size is looked at.
const RATE_SAMPLES: u64 = 8;
/// Segments that came within less say nothing of a rate.
const RATE_SPAN_MIN: Duration = Duration::from_secs(60);

/// What the repository holds of the cluster.
pub(super) fn tree(
    repository: &Repository,
    selected: &SelectedCluster,
    of_server: Option<TimelineId>,
) -> Result<TreeFacts, RepositoryError> {
    let cluster = &selected.cluster;
    let archive = WalArchive::new(repository, cluster);
    // ORDER: what a backup needs was archived before its record was stored, so the WAL is looked at behind the records:
    // what is not there by then, is missing. What is deleted in between is no fault: each backup is looked for once more.
    let listed = repository.backups(cluster)?;
    let begin_problems = repository.begin_problems(cluster)?;
    let wal = ArchiveFacts::gather(&archive, selected.identity.wal_segment_size)?;
    let lacks = lacks_of(repository, cluster, &listed);
    let is_deleted =
        |id: BackupId| repository.backup_state(cluster, &id).is_ok_and(|state| state.gone || !state.record);
    let mut unreadable: Vec<Unreadable> =
        wal.unlisted.iter().map(|folder| Unreadable::Folder(folder.error.clone())).collect();
    let mut records = Vec::new();
    for entry in listed.into_iter().filter(|entry| !is_deleted(entry.id)) {
        match entry.record {
            Ok(record) => records.push(record),
            Err(error) => unreadable.push(Unreadable::Backup { id: entry.id, cause: Arc::new(error) }),
        }
    }
    for (id, error) in begin_problems.into_iter().filter(|(id, _)| !is_deleted(*id)) {
        unreadable.push(Unreadable::Backup { id, cause: Arc::new(error) });
    }
    let lost = repository.missing_records(cluster, &records.iter().collect::<Vec<_>>(), SystemClock.now())?.lost;
    unreadable.extend(lost.into_iter().map(|(id, error)| Unreadable::Backup { id, cause: Arc::new(error) }));
    unreadable.extend(records.iter().filter_map(|record| not_whole(record.id, lacks.get(&record.id)?)));
    let spans: Vec<BackupSpan> = records.iter().map(BackupSpan::of).collect();
    let backups = records.iter().zip(&spans).map(|(record, span)| BackupFacts {
        id: record.id,
        stop_time: record.stop_time,
        timeline: record.stop_timeline,
        stored_bytes: record.sizes.stored_bytes,
        has_findings: !record.findings.is_empty(),
        missing_wal: wal_summary::missing(&wal, span).len(),
        lacks: lacks.get(&record.id).and_then(|lacks| lacks.as_ref().ok().cloned()).unwrap_or_default(),
        are_packs_known: lacks.get(&record.id).is_none_or(|lacks| lacks.is_ok()),
    });
    let last = wal.ranges.keys().next_back().and_then(|timeline| wal.last_segment(*timeline));
    let last_segment = last.map(|segment| (segment, wal.archived_at.get(&segment).copied()));
    let timelines =
        wal.ranges.keys().copied().chain(of_server).chain(records.iter().map(|record| record.stop_timeline));
    let mut missing_histories: Vec<TimelineId> = timelines
        .filter(|timeline| timeline.get() > 1 && !wal.histories.contains_key(timeline))
        .filter(|timeline| !wal.unreadable_histories.contains_key(timeline))
        .collect();
    missing_histories.sort();
    missing_histories.dedup();
    let unreadable_histories = wal.unreadable_histories.iter();
    unreadable.extend(
        unreadable_histories
            .map(|(timeline, problem)| Unreadable::History { timeline: *timeline, problem: problem.clone() }),
    );
    Ok(TreeFacts {
        cluster: cluster.clone(),
        segment_size: wal.segment_size,
        backups: backups.collect(),
        unreadable,
        end_lsn: last.and_then(|segment| wal.end_of(segment.timeline())),
        holes: wal.ranges.keys().flat_map(|timeline| wal_summary::holes(&wal, *timeline, &spans)).collect(),
        missing_histories,
        rate: last.and_then(|last| rate(&archive, &wal, last)),
        last_segment,
    })
}

/// What each backup lacks whose record can be read, or why that cannot be known.
type Lacks = BTreeMap<BackupId, Result<Vec<Lack>, Arc<RepositoryError>>>;

fn lacks_of(repository: &Repository, cluster: &ClusterRef, listed: &[BackupEntry]) -> Lacks {
    let mut search = LackSearch::new(repository, cluster);
    let records = listed.iter().filter_map(|entry| entry.record.as_ref().ok());
    records.map(|record| (record.id, search.of(record).map_err(Arc::new))).collect()
}

fn not_whole(id: BackupId, lacks: &Result<Vec<Lack>, Arc<RepositoryError>>) -> Option<Unreadable> {
    match lacks {
        Ok(lacks) if lacks.is_empty() => None,
        Ok(lacks) => Some(Unreadable::NotWhole { id, lacks: lacks.clone() }),
        Err(error) => Some(Unreadable::Backup { id, cause: error.clone() }),
    }
}

/// The rate of WAL, by the last segments without a hole.
fn rate(archive: &WalArchive<'_>, wal: &ArchiveFacts, last: WalSegmentName) -> Option<WalRate> {
    let size = wal.segment_size;
    let first = wal.range_of(&last)?.first.number(size)?;
    let end = last.number(size)?;
    let first = first.max(end.saturating_sub(RATE_SEGMENTS));
    let segments = end.checked_sub(first).filter(|count| *count > 0)?;
    let facts = |number: u64| {
        let name = WalSegmentName::from_number(last.timeline(), number, size)?;
        archive.look_up(&WalFileName::Segment(name)).ok()?
    };
    let span = Duration::try_from(facts(end)?.created.duration_since(facts(first)?.created)).ok()?;
    let samples: BTreeMap<u64, u64> = (0..RATE_SAMPLES)
        .map(|sample| end - segments * sample / RATE_SAMPLES)
        .filter_map(|number| Some((number, facts(number)?.stored_bytes)))
        .collect();
    let stored_bytes = samples.values().sum::<u64>().checked_div(samples.len() as u64)?;
    (span >= RATE_SPAN_MIN).then_some(WalRate { segments, span, stored_bytes })
}

#[cfg(test)]
mod tests;
