//! WAL on this machine that the archive lacks and that nobody asked for: would commits be lost?

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::super::RestoreOptions;
use super::super::decision::Decision;
use super::super::error::RestoreError;
use super::super::places::MOVED_ASIDE;
use super::super::target_directory::InTheWay;
use super::folder::refuse_running;
use super::{CombinedSegments, Gain, OldWal, OldWalError, OldWalUse, Reach, find_use};
use crate::error::{Classified, ErrorClass, chain};
use crate::fs::{self, FileError};
use crate::pg::{RecoveryMode, RecoveryTarget, WalSegmentName};
use crate::report::{Cancel, Reporter};
use crate::repository::{ArchiveFacts, WalArchive};

/// The folder of WAL in a data directory.
const PG_WAL: &str = "pg_wal";
/// LIMIT: names of segments in one warning.
const NAMED_SEGMENTS_MAX: usize = 5;

/// What is asked.
pub(in super::super) struct Unarchived<'a> {
    pub(in super::super) options: &'a RestoreOptions,
    pub(in super::super) decision: &'a Decision,
    /// The directory that is restored into.
    pub(in super::super) directory: &'a Path,
    pub(in super::super) reporter: &'a dyn Reporter,
    pub(in super::super) cancel: &'a Cancel,
}

/// Warns of WAL that this restore will not replay. A restore to the latest is refused when commits are in it, unless the
/// person said that the archive alone is meant; a server that runs will archive them yet.
pub(in super::super) fn check_unarchived(asked: &Unarchived<'_>) -> Result<Vec<String>, RestoreError> {
    let mut places = BTreeSet::from([asked.directory.to_owned()]);
    places.extend(asked.options.pgdata.clone());
    let mut warnings = Vec::new();
    for place in places {
        warnings.extend(asked.warning_of(&place, true)?);
        match moved_aside(&place) {
            // Of what lies there for long, commits alone matter.
            Ok(moved) => {
                for place in moved {
                    warnings.extend(asked.warning_of(&place, false)?);
                }
            }
            Err(error) => warnings.push(format!("could not look for what was moved aside: {}", chain(&error))),
        }
    }
    Ok(warnings)
}

/// What earlier restores renamed that stood there.
fn moved_aside(place: &Path) -> Result<Vec<PathBuf>, FileError> {
    let (Some(folder), Some(name)) = (place.parent(), place.file_name()) else { return Ok(Vec::new()) };
    if !fs::is_directory(folder)? {
        return Ok(Vec::new());
    }
    let prefix = [name.as_encoded_bytes(), MOVED_ASIDE.as_bytes()].concat();
    let mut entries = fs::sorted_entries(folder)?;
    entries.retain(|entry| entry.name.as_encoded_bytes().starts_with(&prefix));
    Ok(entries.into_iter().map(|entry| folder.join(entry.name)).collect())
}

impl Unarchived<'_> {
    /// Segments in which no commit is lost are told `with_segments` alone.
    fn warning_of(&self, place: &Path, with_segments: bool) -> Result<Option<String>, RestoreError> {
        let folder = place.join(PG_WAL);
        let Decision { selected, facts, old: named, .. } = self.decision;
        let counts = self.counts_commits(place, &folder);
        // What ends in the last segment of the folder that was named may go on in the same segment elsewhere.
        let known = named.as_ref().map_or_else(|| facts.clone(), |named| facts.without(&named.last_segments()));
        let looked = match fs::is_directory(&folder) {
            Ok(true) => OldWal::look(place, &selected.identity, &known),
            Ok(false) => return Ok(None),
            Err(error) => Err(error.into()),
        };
        let old = match looked {
            Ok(old) => old,
            Err(error) if error.is_not_ours() => return Ok(None),
            Err(error) if counts && !self.options.archive_only => {
                return Err(OldWalError::Unjudged { path: folder, source: Box::new(error.into()) }.into());
            }
            // Advice about segments must never keep anybody from restoring; only commits do.
            Err(error) => {
                return Ok(Some(format!("could not look for WAL in \"{}\": {}", folder.display(), chain(&error))));
            }
        };
        if named.as_ref().is_some_and(|named| named.folder == old.folder) {
            return Ok(None);
        }
        if counts && let Some(warning) = self.warning_of_commits(&old, &known, &folder)? {
            return Ok(Some(warning));
        }
        Ok(segments_text(&old, facts, &folder).filter(|_| with_segments))
    }

    /// Whether commits count: for a restore to the latest, or one that removes them, in a folder whose server does not
    /// archive them yet.
    fn counts_commits(&self, place: &Path, folder: &Path) -> bool {
        let options = self.options;
        let is_latest = options.mode == RecoveryMode::Targeted && options.target == RecoveryTarget::Latest;
        // What does not belong to the backup is removed there, and its WAL with it, whatever the target.
        let is_removed = options.in_the_way == InTheWay::Delta && place == self.directory;
        (is_removed || is_latest) && !matches!(refuse_running(place, folder), Err(OldWalError::ServerRuns { .. }))
    }

    /// Refuses to lose commits, or says which ones are.
    fn warning_of_commits(
        &self,
        old: &OldWal,
        known: &ArchiveFacts,
        folder: &Path,
    ) -> Result<Option<String>, RestoreError> {
        let lost = judged(self.lost_in(old, known), self.options.archive_only, &old.folder)?;
        let Some(OldWalUse { commits, archived_end, last_commit: Some(last), .. }) = lost else { return Ok(None) };
        let beside = self.decision.old.as_ref().map(|named| named.folder.clone());
        let (path, last) = (folder.to_owned(), Box::new(last));
        let refusal = OldWalError::Unarchived { path, beside, commits, last, archived_end };
        match self.options.archive_only {
            true => Ok(Some(format!("{refusal}; they are left out, as --archive-only says"))),
            false => Err(refusal.into()),
        }
    }

    /// What the WAL there would add to what is `known`.
    fn lost_in(&self, old: &OldWal, known: &ArchiveFacts) -> Result<OldWalUse, RestoreError> {
        let Decision { selected, choice, old: named, old_wal, .. } = self.decision;
        let archive = WalArchive::new(&self.options.repository, &selected.cluster);
        let source = CombinedSegments::new(&self.options.repository, archive, [old].into_iter().chain(named));
        let threads = self.options.proving.threads();
        let with_old = old.added_to(known);
        let behind = old_wal.as_ref().map(|used| used.end_lsn);
        let gain = Gain { old, source: &source, archived: known, facts: &with_old, behind, threads };
        let reach = Reach { end: None, last_record: None };
        find_use(&gain, (&choice.path, &choice.record), reach, None, (self.reporter, self.cancel))
    }
}

/// What is lost; none when that cannot be told and the person wants the archive alone. A signal ends the restore in any
/// case.
fn judged(
    found: Result<OldWalUse, RestoreError>,
    archive_only: bool,
    folder: &Path,
) -> Result<Option<OldWalUse>, RestoreError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.class() == ErrorClass::Interrupted => Err(error),
        Err(_) if archive_only => Ok(None),
        Err(source) => Err(OldWalError::Unjudged { path: folder.to_owned(), source: Box::new(source) }.into()),
    }
}

/// Names the segments that the archive lacks, when there are any.
fn segments_text(old: &OldWal, facts: &ArchiveFacts, folder: &Path) -> Option<String> {
    let lacking: Vec<&WalSegmentName> = old.segments.keys().filter(|name| !facts.contains(name)).collect();
    (!lacking.is_empty()).then(|| {
        format!(
            "\"{}\" holds WAL that the archive lacks, and this restore will not replay it: {}",
            folder.display(),
            names_text(&lacking)
        )
    })
}

/// The first of them, and how many more there are.
fn names_text(segments: &[&WalSegmentName]) -> String {
    let named: Vec<String> = segments.iter().take(NAMED_SEGMENTS_MAX).map(ToString::to_string).collect();
    match segments.len().saturating_sub(named.len()) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_segments_are_named_and_the_others_counted() {
        let segments: Vec<WalSegmentName> =
            (1..=7).map(|number| WalSegmentName::parse(&format!("00000001000000000000000{number}")).unwrap()).collect();
        let segments: Vec<&WalSegmentName> = segments.iter().collect();
        let two = "000000010000000000000001, 000000010000000000000002";
        let five = format!("{two}, 000000010000000000000003, 000000010000000000000004, 000000010000000000000005");
        assert_eq!(names_text(&segments[..2]), two);
        assert_eq!(names_text(&segments[..5]), five);
        assert_eq!(names_text(&segments), format!("{five} and 2 more"));
    }

    #[test]
    fn a_signal_is_neither_a_refusal_nor_a_reason_to_go_on() {
        let folder = Path::new("/data/pg_wal");
        let cancelled = || Err(RestoreError::Cancelled { path: folder.to_owned() });
        for archive_only in [false, true] {
            let error = judged(cancelled(), archive_only, folder).unwrap_err();
            assert_eq!(error.class(), ErrorClass::Interrupted);
        }
        let unreadable = || Err(OldWalError::Changed { path: folder.to_owned() }.into());
        assert_eq!(judged(unreadable(), false, folder).unwrap_err().class(), ErrorClass::Refused);
        assert!(judged(unreadable(), true, folder).unwrap().is_none());
    }
}
