//! The histories of timelines that the server never hands over: one that was promoted while archiving was off never marks
//! its `.history` file as ready, and without that file nobody can follow the segments of the new timeline.
//!
//! INVARIANT: a history that is missing, or that cannot be used, never holds up a segment. One that is another than the
//! archived one does: under its number the segments of two servers would be mixed.

use std::path::{Path, PathBuf};

use super::ArchiveError;
use super::source::{Source, SourceContent};
use crate::codec::CompressionLevel;
use crate::error;
use crate::fs;
use crate::pg::{TimelineHistory, TimelineId, WalFileName};
use crate::repository::{ClusterIdentity, WalArchive, WalFileContent, Writer};

/// The histories that lie beside a segment, and the archive that may lack them.
pub(super) struct Histories<'a> {
    pub(super) archive: &'a WalArchive<'a>,
    pub(super) identity: &'a ClusterIdentity,
    /// The segment.
    pub(super) segment: &'a Path,
    pub(super) data_directory: &'a Path,
    pub(super) level: CompressionLevel,
    pub(super) writer: &'a Writer,
}

/// Why a history was not stored: words, since nothing depends on the kind.
type Problem = Box<dyn std::error::Error>;

impl Histories<'_> {
    /// Stores the history of the segment's timeline when the archive lacks it, after those of its parents. What comes
    /// back is for people.
    pub(super) fn store_missing(&self, name: &WalFileName) -> Result<Option<String>, ArchiveError> {
        let (WalFileName::Segment(segment) | WalFileName::Partial(segment)) = name else { return Ok(None) };
        let timeline = segment.timeline();
        if timeline == TimelineId::FIRST {
            return Ok(None);
        }
        let stored = match self.archive.has(&WalFileName::TimelineHistory(timeline)) {
            Ok(true) => return self.refuse_other(timeline).map(|()| None),
            Ok(false) => self.store_with_parents(timeline),
            Err(error) => Err(error.into()),
        };
        let Err(error) = stored else { return Ok(None) };
        // Another server may have stored its own meanwhile.
        if self.archived(timeline).is_some() {
            return self.refuse_other(timeline).map(|()| None);
        }
        Ok(Some(format!(
            "the archive lacks the history of timeline {timeline}, without which nobody can follow \"{name}\": {}; to archive \
             it from where it is: pgv-archive --cluster {} PATH/{}",
            error::chain(error.as_ref()),
            self.archive.cluster().name,
            WalFileName::TimelineHistory(timeline),
        )))
    }

    /// Two servers that were promoted apart from each other may have given one number to two timelines.
    fn refuse_other(&self, timeline: TimelineId) -> Result<(), ArchiveError> {
        let Ok((ours, _)) = self.read(timeline) else { return Ok(()) };
        match self.archived(timeline) {
            Some(archived) if archived.entries() != ours.entries() => Err(ArchiveError::OtherTimeline {
                path: self.segment.to_owned(),
                data_directory: self.data_directory.to_owned(),
                ours: Box::new(ours),
                archived: Box::new(archived),
            }),
            _ => Ok(()),
        }
    }

    fn store_with_parents(&self, timeline: TimelineId) -> Result<(), Problem> {
        let (history, content) = self.read(timeline)?;
        for parent in history.parents().filter(|parent| *parent != TimelineId::FIRST) {
            if self.archive.has(&WalFileName::TimelineHistory(parent))? {
                continue;
            }
            // The history of the timeline itself says all that a recovery has to know of them.
            if let Ok((_, content)) = self.read(parent) {
                self.store(parent, &content)?;
            }
        }
        self.store(timeline, &content)
    }

    /// The histories of later timelines, beside the segment and in the archive, as far as they can be read.
    pub(super) fn known_after(&self, timeline: TimelineId) -> Vec<TimelineHistory> {
        let beside = fs::sorted_entries(self.segment.parent().unwrap_or(self.segment)).unwrap_or_default();
        let beside = beside.iter().filter_map(|entry| match WalFileName::parse(entry.name.to_str()?).ok()? {
            WalFileName::TimelineHistory(found) if found > timeline => Some(self.read(found).ok()?.0),
            _ => None,
        });
        let archived = self.archive.histories().unwrap_or_default();
        let archived = archived.into_iter().filter(|found| *found > timeline).filter_map(|found| self.archived(found));
        beside.chain(archived).collect()
    }

    /// The one in the archive; `None` when there is none that can be read.
    fn archived(&self, timeline: TimelineId) -> Option<TimelineHistory> {
        let content = self.archive.load_text(&WalFileName::TimelineHistory(timeline)).ok()??;
        TimelineHistory::decode(timeline, &content).ok()
    }

    fn store(&self, timeline: TimelineId, content: &[u8]) -> Result<(), Problem> {
        let name = WalFileName::TimelineHistory(timeline);
        self.archive.store(&name, WalFileContent::Whole(content), self.level, self.writer)?;
        Ok(())
    }

    /// Reads it as if the server had handed it over.
    fn read(&self, timeline: TimelineId) -> Result<(TimelineHistory, Vec<u8>), Problem> {
        let path = self.path(timeline);
        let source = Source::open(&path, None, self.data_directory)?;
        if source.system_identifier.is_some_and(|found| found != self.identity.system_identifier) {
            return Err("it belongs to another cluster".into());
        }
        let SourceContent::Whole(content) = source.content() else {
            return Err(ArchiveError::Text { path, problem: "it is no history" }.into());
        };
        let history =
            TimelineHistory::decode(timeline, &content).map_err(|source| ArchiveError::History { path, source })?;
        Ok((history, content))
    }

    /// Beside the segment.
    fn path(&self, timeline: TimelineId) -> PathBuf {
        self.segment.with_file_name(WalFileName::TimelineHistory(timeline).to_string())
    }
}
