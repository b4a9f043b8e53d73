//! What is in an archive, by its names alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::WalArchive;
use crate::pg::{TimelineId, WalFileName, WalSegmentName, WalSegmentSize};
use crate::repository::backup::BackupRecord;
use crate::repository::error::RepositoryError;
use crate::repository::wal_range::WalRange;
use crate::repository::{Unlistable, layout};
use crate::store::ObjectKey;

/// The segments of an archive.
#[derive(Debug)]
pub(crate) struct ListedWal {
    /// As ranges without holes, by timeline.
    pub(crate) ranges: BTreeMap<TimelineId, Vec<WalRange>>,
    /// Folders of which it cannot be said what is in them.
    pub(crate) unlisted: Vec<UnlistedWal>,
}

/// A folder of an archive that cannot be listed.
#[derive(Debug, Clone)]
pub(crate) struct UnlistedWal {
    /// Which one, as keys name it.
    pub(crate) folder: String,
    /// Whose segments it holds.
    pub(crate) timeline: TimelineId,
    /// The first and the last segment that belong into it; of a whole timeline that is not known from its name.
    pub(crate) span: Option<(WalSegmentName, WalSegmentName)>,
    /// Whether it is the folder of the whole timeline.
    pub(crate) is_timeline: bool,
    /// Why.
    pub(crate) error: Arc<RepositoryError>,
}

impl UnlistedWal {
    /// What is known of a folder below the segments of a cluster; `None` when no segments belong there.
    pub(crate) fn of(below_wal: &str, hidden: Unlistable, size: WalSegmentSize) -> Option<Self> {
        let mut parts = below_wal.split('/');
        let timeline = TimelineId::parse_hex(parts.next()?).ok()?;
        let span = match parts.next() {
            Some(part) => {
                let first = WalSegmentName::parse(&format!("{part}00000000")).ok()?;
                let segments_of_a_log = (1u64 << 32) / size.bytes();
                let last = first.number(size)?.checked_add(segments_of_a_log)?.checked_sub(1)?;
                Some((first, WalSegmentName::from_number(first.timeline(), last, size)?))
            }
            None => None,
        };
        let is_timeline = span.is_none();
        Some(Self { folder: hidden.folder, timeline, span, is_timeline, error: Arc::new(hidden.error) })
    }

    /// All segments of these timelines.
    pub(crate) fn of_timelines(timelines: impl IntoIterator<Item = TimelineId>, hidden: Unlistable) -> Vec<Self> {
        let (folder, error) = (hidden.folder, Arc::new(hidden.error));
        let all = |timeline| Self {
            folder: folder.clone(),
            timeline,
            span: None,
            is_timeline: true,
            error: Arc::clone(&error),
        };
        timelines.into_iter().map(all).collect()
    }

    /// Whether a segment of that name would lie in it.
    pub(crate) fn may_hold(&self, name: &WalSegmentName) -> bool {
        let in_span = |(first, last): (WalSegmentName, WalSegmentName)| first <= *name && *name <= last;
        name.timeline() == self.timeline && (self.is_timeline || self.span.is_some_and(in_span))
    }
}

impl WalArchive<'_> {
    /// The records that can be read. A backup that cannot be listed is an error: who asks proves that WAL is absent.
    pub(in crate::repository) fn backup_records(&self) -> Result<Vec<BackupRecord>, RepositoryError> {
        let mut records = Vec::new();
        for entry in self.repository.backups(self.cluster)? {
            match entry.record {
                Ok(record) => records.push(record),
                Err(error) if error.unlistable_folder().is_some() => return Err(error),
                Err(_) => {}
            }
        }
        Ok(records)
    }

    /// The timelines of which there are segments.
    pub fn timelines(&self) -> Result<Vec<TimelineId>, RepositoryError> {
        let folders = self.repository.folders(&layout::wal_timelines(self.cluster))?;
        Ok(folders.iter().filter_map(|folder| TimelineId::parse_hex(folder).ok()).collect())
    }

    /// The timelines of which there is a history file.
    pub fn histories(&self) -> Result<Vec<TimelineId>, RepositoryError> {
        let keys = self.repository.list(&layout::histories(self.cluster))?;
        let timeline = |key: &ObjectKey| match WalFileName::parse(key.file_name()) {
            Ok(WalFileName::TimelineHistory(timeline)) => Some(timeline),
            _ => None,
        };
        Ok(keys.iter().filter_map(timeline).collect())
    }

    /// Every segment of a timeline, in order.
    pub fn segments(&self, timeline: TimelineId) -> Result<Vec<WalSegmentName>, RepositoryError> {
        let keys = self.repository.list(&layout::wal_timeline(self.cluster, timeline))?;
        Ok(keys.iter().filter_map(segment_of).collect())
    }

    /// What is archived, as far as it can be listed.
    pub(crate) fn listed(&self, size: WalSegmentSize) -> Result<ListedWal, RepositoryError> {
        let mut listed = ListedWal { ranges: BTreeMap::new(), unlisted: Vec::new() };
        let all = layout::wal_timelines(self.cluster);
        let below = |folder: &str| folder.strip_prefix(&all).unwrap_or_default().to_owned();
        for timeline in self.timelines()? {
            let prefix = layout::wal_timeline(self.cluster, timeline);
            let mut ranges = Vec::new();
            let mut take = |key| {
                if let Some(segment) = segment_of(&key) {
                    WalRange::extend(&mut ranges, segment, size);
                }
            };
            let hidden = match self.repository.for_each_readable(&prefix, &mut take) {
                Ok(hidden) => hidden,
                Err(error) => match error.unlistable_folder().map(str::to_owned) {
                    Some(folder) => {
                        ranges.clear();
                        vec![Unlistable { folder, error }]
                    }
                    None => return Err(error),
                },
            };
            listed.ranges.insert(timeline, ranges);
            let unlisted = hidden.into_iter().filter_map(|one| UnlistedWal::of(&below(&one.folder), one, size));
            listed.unlisted.extend(unlisted);
        }
        Ok(listed)
    }
}

fn segment_of(key: &ObjectKey) -> Option<WalSegmentName> {
    match WalFileName::parse(key.file_name()) {
        Ok(WalFileName::Segment(segment)) => Some(segment),
        _ => None,
    }
}
