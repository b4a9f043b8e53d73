//! WAL on this machine that the archive lacks and that nobody asked for: would commits be lost?

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::super::RestoreOptions;
use super::super::decision::Decision;
use super::super::error::RestoreError;
use super::super::facts;
use super::super::places::MOVED_ASIDE;
use super::folder::refuse_running;
use super::{CombinedSegments, Gain, OldWal, OldWalError, OldWalUse, Reach, find_use};
use crate::error::chain;
use crate::fs::{self, FileError};
use crate::pg::{RecoveryMode, RecoveryTarget, WalSegmentName};
use crate::report::{Cancel, Reporter};
use crate::repository::WalArchive;

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
        warnings.extend(asked.warning_of(&place)?);
        match moved_aside(&place) {
            // Of what lies there for long, commits alone matter.
            Ok(moved) => {
                for place in moved {
                    warnings.extend(asked.warning_of_commits(&place, &place.join(PG_WAL))?);
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
    fn warning_of(&self, place: &Path) -> Result<Option<String>, RestoreError> {
        let folder = place.join(PG_WAL);
        let (identifier, facts) = (self.decision.selected.cluster.system_identifier, &self.decision.facts);
        // Advice about segments must never keep anybody from restoring; only commits do.
        let missing = match facts::unarchived_segments(place, identifier, facts) {
            Err(error) => {
                let folder = folder.display();
                return Ok(Some(format!("could not look for WAL in \"{folder}\": {}", error.source)));
            }
            Ok(missing) => missing,
        };
        if let Some(warning) = self.warning_of_commits(place, &folder)? {
            return Ok(Some(warning));
        }
        if missing.is_empty() {
            return Ok(None);
        }
        let named: Vec<String> = missing.iter().take(NAMED_SEGMENTS_MAX).map(WalSegmentName::to_string).collect();
        let more = missing.len().saturating_sub(named.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        Ok(Some(format!(
            "\"{}\" holds WAL that the archive lacks, and this restore will not replay it: {}{more}",
            folder.display(),
            named.join(", ")
        )))
    }

    /// Refuses to lose commits, or says which ones are.
    fn warning_of_commits(&self, place: &Path, folder: &Path) -> Result<Option<String>, RestoreError> {
        let options = self.options;
        let is_latest = options.mode == RecoveryMode::Targeted && options.target == RecoveryTarget::Latest;
        if !is_latest || options.wal_from.is_some() || !fs::is_directory(folder)? {
            return Ok(None);
        }
        let Some(lost) = self.lost_in(place, folder)? else { return Ok(None) };
        let OldWalUse { commits, archived_end, last_commit, .. } = lost;
        let Some(last) = last_commit else { return Ok(None) };
        let refusal = OldWalError::Unarchived { path: folder.to_owned(), commits, last: Box::new(last), archived_end };
        match options.archive_only {
            true => Ok(Some(format!("{refusal}; they are left out, as --archive-only says"))),
            false => Err(refusal.into()),
        }
    }

    /// What the WAL in `place` would add; none when that is not asked.
    fn lost_in(&self, place: &Path, folder: &Path) -> Result<Option<OldWalUse>, RestoreError> {
        let Decision { selected, facts, choice, .. } = self.decision;
        if let Err(OldWalError::ServerRuns { .. }) = refuse_running(place, folder) {
            return Ok(None);
        }
        let old = match OldWal::open(place, &selected.identity, facts) {
            Ok(old) => old,
            Err(error) if error.is_not_ours() => return Ok(None),
            Err(error) => return self.unjudged(folder.to_owned(), error.into()),
        };
        let archive = WalArchive::new(&self.options.repository, &selected.cluster);
        let source = CombinedSegments::new(&self.options.repository, archive, Some(&old));
        let threads = self.options.proving.threads();
        let with_old = old.added_to(facts);
        let gain = Gain { old: &old, source: &source, archived: facts, facts: &with_old, threads };
        let reach = Reach { end: None, last_record: None };
        match find_use(&gain, (&choice.path, &choice.record), reach, None, (self.reporter, self.cancel)) {
            Ok(found) => Ok(Some(found)),
            Err(error) => self.unjudged(old.folder, error),
        }
    }

    fn unjudged(&self, path: PathBuf, source: RestoreError) -> Result<Option<OldWalUse>, RestoreError> {
        if self.options.archive_only {
            return Ok(None);
        }
        Err(OldWalError::Unjudged { path, source: Box::new(source) }.into())
    }
}
