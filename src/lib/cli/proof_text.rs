//! What reading WAL has shown, in words: for the plan of a restore and for `pgv target`.

use jiff::{SignedDuration, Timestamp};

use super::size::utc_text;
use crate::pg::{Lsn, RecoveryTarget, TargetBound};
use crate::restore::{OldWalUse, Proof};
use crate::wal_search::{Ending, EndingKind, OnTheWay, Stop, StopRecord, StopSide};

/// LIMIT: tablespaces that are told in a plan; programs get all.
const SHOWN_TABLESPACES: usize = 20;

/// Lines of a plan: a word, and what it says.
pub(super) fn lines(proof: &Proof, target: &RecoveryTarget) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    let last = proof.last_record;
    let from = match (target, &proof.stop) {
        (RecoveryTarget::Time(time, _), _) => Some(Origin::Time(*time)),
        (_, Some(Stop { what: StopRecord::Ending(ending), .. })) => Some(Origin::Time(ending.time)),
        (_, Some(Stop { what: StopRecord::RestorePoint(point), .. })) => Some(Origin::Time(point.time)),
        (RecoveryTarget::Lsn(lsn, _), _) => Some(Origin::Lsn(*lsn)),
        (RecoveryTarget::Latest, None) => Some(Origin::End(last.end_lsn)),
        _ => None,
    };
    match &proof.stop {
        Some(stop) => lines.push(("stops", stop_text(stop, from))),
        None if *target == RecoveryTarget::Latest => {
            lines.push(("ends", format!("with the record at {}, up to {}", last.lsn, last.end_lsn)));
        }
        None => {}
    }
    if let Some(commit) = &proof.commit_before {
        lines.push(("last commit", ending_text(commit, from)));
    }
    if let Some(commit) = &proof.commit_after {
        lines.push(("lost from", ending_text(commit, from)));
    }
    lines.extend(way_lines(&proof.on_the_way));
    lines
}

/// From where distances are told.
#[derive(Clone, Copy)]
pub(super) enum Origin {
    /// A target that has a time.
    Time(Timestamp),
    /// A target that is a position, at a record without a time.
    Lsn(Lsn),
    /// The end of the WAL.
    End(Lsn),
}

/// What recovery meets on its way.
fn way_lines(way: &OnTheWay) -> Vec<(&'static str, String)> {
    let created = &way.created_tablespaces;
    let shown = created.iter().take(SHOWN_TABLESPACES);
    let mut lines: Vec<(&str, String)> = shown
        .map(|one| {
            // The path comes from the WAL.
            let path = one.path.display().to_string().escape_debug().to_string();
            ("on the way", format!("CREATE TABLESPACE ({}) in \"{path}\" at {}", one.oid, one.span.lsn))
        })
        .collect();
    let more = (created.len() as u64).saturating_sub(SHOWN_TABLESPACES as u64).saturating_add(way.unlisted_tablespaces);
    if more > 0 {
        lines.push(("", format!("and {more} more tablespaces")));
    }
    if !way.resource_managers.is_empty() {
        let numbers: Vec<String> = way.resource_managers.iter().map(u8::to_string).collect();
        lines.push(("on the way", format!("records of extensions (resource manager {})", numbers.join(", "))));
    }
    lines
}

/// What the old pg_wal adds, as lines of a plan.
pub(super) fn old_wal_lines(old: &OldWalUse) -> Vec<(&'static str, String)> {
    let folder = old.folder.display();
    let (Some(first), Some(last)) = (old.segments.first(), old.segments.last()) else {
        return vec![("old WAL", format!("nothing is needed of \"{folder}\": the archive has it all"))];
    };
    let names = match old.segments.len() {
        1 => format!("segment {}", first.name),
        count => format!("{count} segments, {} to {}", first.name, last.name),
    };
    let reach = format!("up to {}; the archive alone ends at {}", old.end_lsn, old.archived_end);
    let mut lines = vec![("old WAL", format!("{names} from \"{folder}\", {reach}"))];
    if let Some(commit) = &old.last_commit {
        let commits = if old.commits == 1 { "1 commit".to_owned() } else { format!("{} commits", old.commits) };
        lines.push(("", format!("{commits} that the archive lacks, the last {}", utc_text(commit.time))));
    }
    if !last.complete {
        lines.push(("", format!("{} is not complete: the archive does not get it", last.name)));
    }
    lines
}

fn stop_text(stop: &Stop, from: Option<Origin>) -> String {
    let side = match stop.side {
        StopSide::Before => "before",
        StopSide::After => "after",
    };
    let what = match &stop.what {
        StopRecord::Ending(ending) => ending_text(ending, from),
        StopRecord::RestorePoint(point) => {
            format!("restore point \"{}\" at {}, {}", point.name, point.span.lsn, utc_text(point.time))
        }
        StopRecord::Any => format!("the record at {}", stop.span.lsn),
    };
    format!("{side} {what}")
}

/// The end of a transaction: what it was, where, when, and how far from a moment.
pub(super) fn ending_text(ending: &Ending, from: Option<Origin>) -> String {
    let kind = match ending.kind {
        EndingKind::Commit => "commit",
        EndingKind::Abort => "abort",
    };
    let of = ending.xid.map(|xid| format!(" of transaction {xid}")).unwrap_or_default();
    let distance = match from {
        Some(Origin::Time(from)) => distance_text(from, ending.time),
        Some(Origin::Lsn(from)) => bytes_between(from, ending.span.lsn, "target"),
        Some(Origin::End(from)) => bytes_between(from, ending.span.end_lsn, "end"),
        None => String::new(),
    };
    format!("the {kind}{of} at {}, {}{distance}", ending.span.lsn, precise_text(ending.time))
}

/// A time to the microsecond: commits a moment apart must be told from each other.
pub(super) fn precise_text(time: Timestamp) -> String {
    crate::pg::format_target_time(time)
}

/// How long before or after the target something happened: `, 2.100 s before the target`.
fn distance_text(from: Timestamp, time: Timestamp) -> String {
    let distance = from.duration_until(time);
    let (length, word) = if distance < SignedDuration::ZERO { (-distance, "before") } else { (distance, "after") };
    if length.is_zero() {
        return String::new();
    }
    let seconds = length.as_secs();
    let length = match seconds {
        0..60 => format!("{:.6} s", length.as_secs_f64()),
        60..86_400 => format!("{}:{:02}:{:02} h", seconds / 3600, seconds / 60 % 60, seconds % 60),
        _ => format!("{} days", seconds / 86_400),
    };
    format!(" ({length} {word} the target)")
}

/// How many bytes of WAL before or after a position something lies: ` (184 bytes before the target)`.
fn bytes_between(from: Lsn, lsn: Lsn, what: &str) -> String {
    let word = if lsn < from { "before" } else { "after" };
    match from.get().abs_diff(lsn.get()) {
        0 => String::new(),
        1 => format!(" (1 byte {word} the {what})"),
        bytes => format!(" ({bytes} bytes {word} the {what})"),
    }
}

/// The options that lead to this target, to be pasted.
pub(super) fn target_options(target: &RecoveryTarget) -> String {
    let option = match target {
        RecoveryTarget::Latest => String::new(),
        RecoveryTarget::Immediate => "--target-immediate".to_owned(),
        RecoveryTarget::Time(time, _) => format!("--target-time '{}'", precise_text(*time)),
        RecoveryTarget::Lsn(lsn, _) => format!("--target-lsn {lsn}"),
        RecoveryTarget::TransactionId(xid, _) => format!("--target-xid {xid}"),
        RecoveryTarget::RestorePoint(name) => {
            format!("--target-name {}", crate::pg::shell_quote(name.as_str()))
        }
    };
    match target.bound() {
        Some(TargetBound::Exclusive) => format!("{option} --target-exclusive"),
        _ => option,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_told_in_the_unit_of_their_size() {
        let time = |seconds: f64| {
            Timestamp::UNIX_EPOCH.checked_add(SignedDuration::from_secs_f64(100_000.0 + seconds)).unwrap()
        };
        for (from, to, words) in [
            (0.0, 0.0, ""),
            (0.0, 0.25, " (0.250000 s after the target)"),
            (2.5, 0.0, " (2.500000 s before the target)"),
            (0.0, 3725.0, " (1:02:05 h after the target)"),
            (0.0, 200_000.0, " (2 days after the target)"),
        ] {
            assert_eq!(distance_text(time(from), time(to)), words);
        }
    }

    #[test]
    fn positions_are_told_in_bytes() {
        let at = |lsn: &str| lsn.parse().unwrap();
        for (from, lsn, words) in [
            ("1/0", "1/0", ""),
            ("1/0", "1/1", " (1 byte after the target)"),
            ("1/0", "0/FFFFFF48", " (184 bytes before the target)"),
            ("1/0", "2/0", " (4294967296 bytes after the target)"),
        ] {
            assert_eq!(bytes_between(at(from), at(lsn), "target"), words);
        }
    }

    #[test]
    fn options_lead_where_they_were_asked_for() {
        let point = RecoveryTarget::RestorePoint("it's".parse().unwrap());
        assert_eq!(target_options(&point), r"--target-name 'it'\''s'");
        let lsn = RecoveryTarget::Lsn("1/2".parse().unwrap(), TargetBound::Exclusive);
        assert_eq!(target_options(&lsn), "--target-lsn 1/2 --target-exclusive");
    }
}
