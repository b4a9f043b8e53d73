//! Hints about an old pg_wal that cannot be used, or must not be passed over.

use std::path::Path;

use crate::cli::program::Program;
use crate::cli::typed::{Typed, shown};
use crate::pg::{TimelineHistory, TimelineId, WalFileName};
use crate::restore::{OldWalError, RestoreError};
use crate::wal_search::WalSearchError;

pub(super) fn hint(error: &OldWalError, typed: &Typed) -> Vec<String> {
    match error {
        OldWalError::Unarchived { path, is_removed: true, timeline, .. } => vec![
            format!("It would be deleted. To recover them, copy it first: cp -a {} COPY", shown(path)),
            format!("and read the copy: --wal-from COPY{}", along(*timeline)),
            "To restore without them: --archive-only".to_owned(),
        ],
        OldWalError::InUpdated { path } => {
            vec![format!("Copy it first: cp -a {} COPY", shown(path)), "and read the copy: --wal-from COPY".to_owned()]
        }
        OldWalError::Unarchived { path, beside: Some(_), timeline, .. } => vec![
            format!("To recover them: --wal-from {}{}", shown(path), along(*timeline)),
            "When neither folder has it all, name one that holds the segments of both.".to_owned(),
            "To restore without them: --archive-only".to_owned(),
        ],
        OldWalError::Unarchived { path, beside: None, timeline, .. } => vec![
            format!("To recover them, too: --wal-from {}{}", shown(path), along(*timeline)),
            "To restore without them: --archive-only".to_owned(),
        ],
        OldWalError::InPartial { partial, .. } => vec![
            format!(
                "A promotion left it, and what came after that was never archived. To recover them, too, fetch it into an \
                 empty folder: {}",
                typed.program(Program::Fetch, &format!("{partial}.partial FOLDER/{partial}.partial"))
            ),
            "and read that: --wal-from FOLDER".to_owned(),
            "To restore without them: --archive-only".to_owned(),
        ],
        OldWalError::PartialUnjudged { .. } => vec!["To restore without it: --archive-only".to_owned()],
        OldWalError::NamedEndsEarly { early, .. } => {
            vec![elsewhere(early), "To recover what can be read: --archive-only, beside --wal-from as it is".to_owned()]
        }
        OldWalError::Unjudged { path, is_removed, source } => of_unjudged((path, *is_removed), source),
        OldWalError::ServerRuns { path, .. } => {
            vec![format!("Stop it first; it archives what it has as it stops: {}", typed.pg_ctl(path, "stop"))]
        }
        OldWalError::NoWal { moved: Some(moved), .. } | OldWalError::InKilledRestore { moved: Some(moved), .. } => {
            vec![format!("A restore has moved aside what stood there: --wal-from {}", shown(moved))]
        }
        OldWalError::NoWal { moved: None, .. } => {
            vec!["--wal-from names a pg_wal, or the data directory that it lies in.".to_owned()]
        }
        OldWalError::OtherCluster { .. } | OldWalError::OtherVersion { .. } | OldWalError::OtherSegmentSize { .. } => {
            vec!["--wal-from names the pg_wal of the cluster that is restored.".to_owned()]
        }
        OldWalError::OtherTimeline { found, .. } => other_timeline(found),
        OldWalError::InKilledRestore { moved: None, .. } => {
            vec!["The directory that was moved aside has the end .pgv-TIME; its pg_wal is meant.".to_owned()]
        }
        OldWalError::ArchivedMeanwhile { .. } => {
            vec!["A server still archives; stop it, and restore anew.".to_owned()]
        }
        _ => Vec::new(),
    }
}

/// What makes it readable, and what says up to where it is.
fn of_unjudged((path, is_removed): (&Path, bool), why: &RestoreError) -> Vec<String> {
    let read = match (why, is_removed) {
        (RestoreError::OldWal(OldWalError::NoFolder { .. } | OldWalError::NoWal { .. }), _) => {
            "If its WAL is on another disk, mount it, or name the folder: --wal-from DIR".to_owned()
        }
        (RestoreError::OldWal(missing @ (OldWalError::Unreached { .. } | OldWalError::EndsEarly { .. })), _) => {
            elsewhere(missing)
        }
        (RestoreError::OldWal(OldWalError::OtherTimeline { found, .. }), _) => other_timeline(found).join(" "),
        (RestoreError::OldWal(OldWalError::NoHistory { timeline, .. }), _) => {
            format!(
                "If another place has \"{}\", copy it into {}. When that timeline is not meant: --target-timeline N, another one.",
                WalFileName::TimelineHistory(*timeline),
                shown(path)
            )
        }
        (_, true) => format!("cp -a {} COPY, and --wal-from COPY says up to where it can be read.", shown(path)),
        (_, false) => format!("--wal-from {} says up to where it can be read.", shown(path)),
    };
    let without = if is_removed { "To restore without it, which deletes it" } else { "To restore without it" };
    vec![read, format!("{without}: --archive-only")]
}

/// Of a segment that is missing there.
fn elsewhere(error: &OldWalError) -> String {
    let missing = match error {
        OldWalError::Unreached { missing, .. } | OldWalError::EndsEarly { segment: missing, .. } => missing.to_string(),
        _ => "what is missing".to_owned(),
    };
    format!("If another place has \"{missing}\", a folder with all of them can be read: --wal-from DIR")
}

/// What was written before the two timelines of one number can be read.
fn other_timeline(found: &TimelineHistory) -> Vec<String> {
    let timeline = found.timeline();
    let own = timeline.to_hex();
    let before = found.parents().next_back().unwrap_or(timeline);
    vec![
        format!(
            "Two servers were promoted to timeline {timeline}. What this one wrote on it cannot be restored with this archive."
        ),
        format!(
            "For what it wrote before, copy its pg_wal without \"{own}*\", and read that: --wal-from COPY --target-timeline {before}"
        ),
    ]
}

/// The timeline that they are on, when another one would be followed.
fn along(timeline: Option<TimelineId>) -> String {
    timeline.map(|timeline| format!(" --target-timeline {timeline}")).unwrap_or_default()
}

/// Damage in it: up to where it can be recovered all the same.
pub(super) fn hint_of_damage(error: &WalSearchError) -> Vec<String> {
    let WalSearchError::OldFault { last_record: Some(lsn), .. } = error else { return Vec::new() };
    vec![
        format!("Everything before it can be recovered: --target-lsn {lsn}"),
        "Without --wal-from, the archive alone is restored.".to_owned(),
    ]
}
