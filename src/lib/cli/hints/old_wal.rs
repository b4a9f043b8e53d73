//! Hints about an old pg_wal that cannot be used, or must not be passed over.

use crate::cli::typed::{Typed, shown};
use crate::pg::TimelineId;
use crate::restore::OldWalError;
use crate::wal_search::WalSearchError;

pub(super) fn hint(error: &OldWalError, typed: &Typed) -> Vec<String> {
    match error {
        OldWalError::Unarchived { path, is_removed: true, timeline, .. } => vec![
            format!("It would be deleted. To recover them, copy it first: cp -a {} COPY", shown(path)),
            format!("and read the copy: --wal-from COPY{}", along(*timeline)),
            "To restore without them: --archive-only".to_owned(),
        ],
        OldWalError::Unarchived { path, beside: Some(_), timeline, .. } => vec![
            format!("To recover them: --wal-from {}{}", shown(path), along(*timeline)),
            "When neither folder has it all, name one that holds the segments of both.".to_owned(),
            "To restore without them: --archive-only".to_owned(),
        ],
        OldWalError::Unarchived { path, beside: None, timeline, .. } => vec![
            format!("To recover them, too: --wal-from {}{}", shown(path), along(*timeline)),
            "To restore without them: --archive-only".to_owned(),
        ],
        OldWalError::Unjudged { path, .. } => vec![
            format!("--wal-from {} says up to where it can be read.", shown(path)),
            "To restore without it: --archive-only".to_owned(),
        ],
        OldWalError::ServerRuns { path, .. } => {
            vec![format!("Stop it first; it archives what it has as it stops: {}", typed.pg_ctl(path, "stop"))]
        }
        OldWalError::NoWal { .. } => {
            vec!["--wal-from names a pg_wal, or the data directory that it lies in.".to_owned()]
        }
        OldWalError::OtherCluster { .. } | OldWalError::OtherVersion { .. } | OldWalError::OtherSegmentSize { .. } => {
            vec!["--wal-from names the pg_wal of the cluster that is restored.".to_owned()]
        }
        OldWalError::InKilledRestore { .. } => {
            vec!["The directory that was moved aside has the end .pgv-TIME; its pg_wal is meant.".to_owned()]
        }
        OldWalError::ArchivedMeanwhile { .. } => {
            vec!["A server still archives; stop it, and restore anew.".to_owned()]
        }
        _ => Vec::new(),
    }
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
