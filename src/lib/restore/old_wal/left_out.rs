//! Segments on this machine that a restore does not replay, without commits being lost against anybody's will: it stops
//! before them by its target, or their server will archive them.

use std::path::Path;

use super::super::error::RestoreError;
use super::unarchived::Unarchived;
use super::{OldWal, OldWalUse, PG_WAL};
use crate::error::{Classified as _, ErrorClass};
use crate::pg::WalSegmentName;
use crate::repository::ArchiveFacts;

/// LIMIT: names of segments in one warning.
const NAMED_SEGMENTS_MAX: usize = 5;

impl Unarchived<'_> {
    /// Names what this restore leaves out by its target, or since its server will archive it.
    pub(super) fn told_of_segments(
        &self,
        place: &Path,
        old: &mut OldWal,
        known: &ArchiveFacts,
    ) -> Result<Option<String>, RestoreError> {
        let Some(text) = segments_text(old, &self.decision.facts, &place.join(PG_WAL)) else { return Ok(None) };
        let foreign = old.foreign.take();
        match self.lost_in(old, known, self.is_removed(place)) {
            Ok((OldWalUse { commits: 0, .. }, end)) => {
                // WAL that cannot be read to its end may hold some.
                let is_read = matches!(self.unread((place, foreign), (old, end), known), Ok(None));
                Ok((!is_read).then_some(text))
            }
            Ok((OldWalUse { commits: 1, .. }, _)) => Ok(Some(format!("{text} (1 commit)"))),
            Ok((OldWalUse { commits, .. }, _)) => Ok(Some(format!("{text} ({commits} commits)"))),
            Err(error) if error.class() == ErrorClass::Interrupted => Err(error),
            Err(_) => Ok(Some(text)),
        }
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
}
