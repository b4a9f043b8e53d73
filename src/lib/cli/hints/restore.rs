//! Hints about restores that were refused: the nearest thing that can be done, to be pasted.

use std::error::Error;

use crate::cli::program::Program;
use crate::cli::proof_text;
use crate::cli::typed::Typed;
use crate::error::{Classified as _, ErrorClass};
use crate::pg::{RecoveryTarget, TargetBound, TimelineId, WalFileName, format_target_time};
use crate::restore::{Branch, Elsewhere, Nearby, NearbyPoint, OlderBackup, RestoreError, WayOut};
use crate::wal_search::Ending;

/// What a server that died still has.
const FROM_DEAD: &str = "If that server is dead: --wal-from PGDATA";
/// What was committed last may not be archived yet.
const SWITCH: &str =
    "If the original still runs: SELECT pg_switch_wal(); on it archives what it has written so far; then try again.";
/// How many restore points are named beside one that is not there.
const SHOWN_RESTORE_POINTS: usize = 5;

pub(super) fn hint(error: &(dyn Error + 'static), typed: &Typed) -> Vec<String> {
    match super::find::<RestoreError>(error) {
        Some(error) => of_restore(error, typed),
        None => Vec::new(),
    }
}

fn of_restore(error: &RestoreError, typed: &Typed) -> Vec<String> {
    match error {
        // These show the error inside them in their place.
        RestoreError::Repository(error) => super::repository::hint(error, typed),
        RestoreError::Selection(error) => super::repository::hint(error, typed),
        RestoreError::Copy(error) => super::copy::hint(error),
        RestoreError::OldWal(error) => super::old_wal::hint(error, typed),
        RestoreError::WalSearch(error) => super::old_wal::hint_of_damage(error),
        RestoreError::NoBackup { .. }
        | RestoreError::UnknownBackup { .. }
        | RestoreError::OnlyBackupsWithFindings { .. }
        | RestoreError::UnreadableBackup { .. } => of_missing_backup(error),
        RestoreError::TargetNotFound { target, not_found } => {
            let mut hints = of_nearby(target, not_found.timeline, &not_found.nearby);
            if let RecoveryTarget::Time(..) = target {
                hints.push("Without a target, everything in the archive is restored.".to_owned());
            }
            if not_found.nearby.after.is_none() && not_found.nearby.elsewhere.is_none() {
                hints.push(SWITCH.to_owned());
            }
            hints.push("\"pgv target --around TIME\" lists the transactions of a time.".to_owned());
            hints
        }
        RestoreError::TargetBehindArchive { target, timeline, nearby, .. } => {
            behind_archive(&RecoveryTarget::Lsn(*target, TargetBound::Inclusive), *timeline, nearby)
        }
        RestoreError::TimeBehindArchive { target, timeline, nearby, .. } => {
            behind_archive(&RecoveryTarget::Time(*target, TargetBound::Inclusive), *timeline, nearby)
        }
        RestoreError::StopBeforeBackupEnd { backup, .. } => {
            vec![format!("The earliest point that can be reached from it: --target-immediate --backup {backup}")]
        }
        RestoreError::TargetBeforeBackup { .. }
        | RestoreError::Hole { .. }
        | RestoreError::UnlistedWal { .. }
        | RestoreError::BackupWithoutWal { .. } => of_unreachable(error, typed),
        RestoreError::NotOnTimeline { .. }
        | RestoreError::UnknownTimeline { .. }
        | RestoreError::AmbiguousTimeline { .. } => of_timeline(error, typed),
        _ => of_place(error, typed),
    }
}

fn of_missing_backup(error: &RestoreError) -> Vec<String> {
    let hint = match error {
        RestoreError::NoBackup { older: Some(older), .. } => older_text(older),
        RestoreError::NoBackup { .. } => "\"pgv-basebackup\" takes one; \"pgv info\" shows what there is.".to_owned(),
        RestoreError::UnknownBackup { known, .. } => match known.last() {
            Some(newest) => format!("The newest is {newest}; \"pgv info\" shows them all."),
            None => "There is none at all: \"pgv-basebackup\" takes one.".to_owned(),
        },
        RestoreError::OnlyBackupsWithFindings { newest } => {
            format!("To restore one all the same, name it: --backup {newest}")
        }
        RestoreError::UnreadableBackup { older: Some(older), .. } => {
            format!("The newest older one that has all its objects: --backup {older}")
        }
        _ => "Without --backup, the others are considered.".to_owned(),
    };
    vec![hint]
}

fn of_unreachable(error: &RestoreError, typed: &Typed) -> Vec<String> {
    match error {
        RestoreError::TargetBeforeBackup { target, backup, was_named, stop_time, stop_lsn, older } => {
            let nearest = match target {
                RecoveryTarget::Time(..) => format!("--target-time '{}'", format_target_time(*stop_time)),
                RecoveryTarget::Lsn(..) => format!("--target-lsn {stop_lsn}"),
                _ => format!("--target-immediate --backup {backup}"),
            };
            let nearest = format!("The earliest point that can be reached from it: {nearest}");
            let others = was_named.then(|| "Without --backup, earlier backups are considered.".to_owned());
            older.iter().map(|older| older_text(older)).chain([nearest]).chain(others).collect()
        }
        RestoreError::Hole { hole, reachable_time, certain_lsn, backup, .. } => {
            let archived =
                reachable_time.map(|time| format!(", archived {}", format_target_time(time))).unwrap_or_default();
            let until = format!("Everything before {} can be reached{archived}.", hole.reachable_lsn);
            let nearest = match certain_lsn {
                Some(lsn) => format!("Certain to be reached: --target-lsn {lsn} --backup {backup}"),
                None => format!("Certain to be reached: --target-immediate --backup {backup}"),
            };
            vec![until, nearest, in_pg_wal(&hole.first.to_string(), typed), FROM_DEAD.to_owned()]
        }
        RestoreError::UnlistedWal { .. } => vec![
            "When the folder can be listed again, the same command goes on; a target before it needs nothing of it."
                .to_owned(),
        ],
        RestoreError::BackupWithoutWal { segment, .. } => {
            vec![
                in_pg_wal(&segment.to_string(), typed),
                FROM_DEAD.to_owned(),
                "--backup ID starts from another backup.".to_owned(),
            ]
        }
        _ => Vec::new(),
    }
}

fn behind_archive(target: &RecoveryTarget, timeline: TimelineId, nearby: &Nearby) -> Vec<String> {
    let others = ["Without a target, everything in the archive is restored.", SWITCH];
    of_nearby(target, timeline, nearby).into_iter().chain(others.map(str::to_owned)).collect()
}

/// The nearest points that there are, on whichever timeline they lie.
fn of_nearby(target: &RecoveryTarget, own: TimelineId, nearby: &Nearby) -> Vec<String> {
    let mut hints = Vec::new();
    if let Some(Elsewhere { timeline, .. }) = nearby.elsewhere {
        hints.push(format!("To recover along that timeline: --target-timeline {timeline}"));
    }
    let along = |timeline: TimelineId| match timeline == own {
        true => String::new(),
        false => format!(" --target-timeline {timeline}"),
    };
    let by_xid = matches!(target, RecoveryTarget::TransactionId(..));
    let near = [("before it", &nearby.before), ("after it", &nearby.after)];
    for (side, nearest) in near.into_iter().filter_map(|(side, nearest)| Some((side, nearest.as_ref()?))) {
        let ending = &nearest.ending;
        let option = match (by_xid, ending.xid) {
            (true, Some(xid)) => format!("--target-xid {xid}"),
            _ => format!("--target-lsn {}", ending.span.lsn),
        };
        hints.push(nearest_text(side, ending, &format!("{option}{}", along(nearest.timeline))));
    }
    match (target, nearby.backup) {
        (RecoveryTarget::Time(..) | RecoveryTarget::Lsn(..), Some(backup)) if nearby.before.is_none() => hints
            .push(format!("The nearest before it is the end of backup {backup}: --target-immediate --backup {backup}")),
        _ => {}
    }
    if let RecoveryTarget::RestorePoint(_) = target {
        let one = |one: &NearbyPoint| format!("\"{}\" ({}{})", one.point.name, one.point.span.lsn, along(one.timeline));
        let alike: Vec<String> = nearby.alike.iter().map(one).collect();
        if !alike.is_empty() {
            hints.push(format!("Restore points with a name like it: {}", alike.join(", ")));
        }
        let points: Vec<String> = nearby.restore_points.iter().rev().take(SHOWN_RESTORE_POINTS).map(one).collect();
        hints.push(match points.as_slice() {
            [] => "There is no restore point in the archive at all.".to_owned(),
            points => format!("The last restore points: {}", points.join(", ")),
        });
    }
    hints
}

fn nearest_text(side: &str, ending: &Ending, option: &str) -> String {
    format!("The nearest {side} is {}: {option}", proof_text::ending_text(ending, None))
}

/// A backup from before pg_upgrade or a rebuild is taken only when it is named.
fn older_text(older: &OlderBackup) -> String {
    let OlderBackup { id, system_identifier, version } = older;
    format!(
        "An earlier system of this cluster has one that can (PostgreSQL {version}, system identifier \
         {system_identifier}): --backup {id}"
    )
}

/// A segment that the archive lacks may still lie where it was written.
fn in_pg_wal(segment: &str, typed: &Typed) -> String {
    let command = typed.program(Program::Archive, &format!("PGDATA/pg_wal/{segment}"));
    format!("If a server still has \"{segment}\" in pg_wal, archive it: {command}")
}

fn of_timeline(error: &RestoreError, typed: &Typed) -> Vec<String> {
    match error {
        RestoreError::NotOnTimeline { of_backup, .. } => {
            vec![format!("The timeline of the backup: --target-timeline {of_backup}")]
        }
        RestoreError::UnknownTimeline { timeline, wal, problem, known } => {
            let known: Vec<String> = known.iter().map(ToString::to_string).collect();
            let others = format!("--target-timeline N follows one of these: {}", known.join(", "));
            if wal.is_none() || problem.is_some() {
                return vec![others];
            }
            let history = WalFileName::TimelineHistory(*timeline);
            let command = typed.program(Program::Archive, &format!("pg_wal/{history}"));
            vec![
                format!("Its history lies in pg_wal of the server that wrote that WAL; in that directory: {command}"),
                format!("To leave that WAL out, {others}; \"current\" is that of the backup."),
            ]
        }
        RestoreError::AmbiguousTimeline { branches, .. } => branches.iter().map(of_branch).collect(),
        _ => Vec::new(),
    }
}

fn of_branch(branch: &Branch) -> String {
    let origin = match branch.forked_at {
        Some(lsn) => format!("the server that began to write at {lsn}"),
        None => "the first server".to_owned(),
    };
    format!("If {origin} is meant: --target-timeline {}", branch.timeline)
}

fn of_place(error: &RestoreError, typed: &Typed) -> Vec<String> {
    let hint = match error {
        RestoreError::UnsafeTarget { way_out: WayOut::OtherPlace, .. } => {
            "Put the tablespace elsewhere, with --tablespace-mapping OLD=NEW, or all of them with --tablespace-dir DIR; a \
             --delta repeats what the first restore was given."
                .to_owned()
        }
        RestoreError::UnsafeTarget { way_out: WayOut::OtherPlaceOrLink, .. } => {
            "Put the tablespace elsewhere, with --tablespace-mapping OLD=NEW, or all of them with --tablespace-dir DIR; \
             or, if that data directory is given up, remove its link."
                .to_owned()
        }
        RestoreError::UnsafeTarget { way_out: WayOut::MoveAside, .. } => {
            "With --move-aside it is renamed, with a time stamp in its name; nothing is deleted. With --delta a data \
             directory of this cluster keeps what is right in it, and the rest is replaced or removed."
                .to_owned()
        }
        RestoreError::ServerRuns { path, .. } => format!("Stop it first: {}", typed.pg_ctl(path, "stop")),
        RestoreError::OtherCluster { .. } => {
            "Name another directory with -D, or another cluster with --cluster.".to_owned()
        }
        RestoreError::OtherBackup { found, .. } => format!(
            "--backup {found} goes on with that one; --delta makes of it what this one is; without --resume it is \
             emptied and restored."
        ),
        RestoreError::NoRoom { .. } => {
            "Make room there, or name a directory on a larger file system with -D, or put tablespaces elsewhere with \
             --tablespace-mapping or --tablespace-dir."
                .to_owned()
        }
        RestoreError::UnknownTablespace { known, .. } if known.is_empty() => {
            "The backup has no tablespaces.".to_owned()
        }
        RestoreError::UnknownTablespace { known, .. } => {
            let known: Vec<String> = known.iter().map(|path| path.display().to_string()).collect();
            format!("Its tablespaces lay at: {}", known.join(", "))
        }
        RestoreError::GivenUp { .. } => {
            "The same command begins it anew, with --resume it goes on; what it has renamed keeps its new name."
                .to_owned()
        }
        RestoreError::OriginalIsAlive { .. } => {
            "Stop it first, or leave --keep-archiving out: a copy beside its original does not archive.".to_owned()
        }
        RestoreError::File(error) if error.class() == ErrorClass::NoSpace => {
            "Once there is room, the same command begins anew; with --resume it keeps what is right already.".to_owned()
        }
        RestoreError::WrongContent { .. } | RestoreError::NoDocument { .. } => {
            "\"pgv info\" shows the other backups; --backup ID restores one.".to_owned()
        }
        _ => return Vec::new(),
    };
    vec![hint]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::pg::{Lsn, WalSegmentName};
    use crate::repository::BackupId;
    use crate::restore::WalHole;

    fn lsn(text: &str) -> Lsn {
        text.parse().unwrap()
    }

    fn hints(error: &RestoreError) -> String {
        crate::cli::hints::hints(error, &Typed::default()).join("\n")
    }

    #[test]
    fn a_target_before_the_backup_gets_the_earliest_one_of_its_kind() {
        let stop_time = "2026-11-20T14:30:00.5Z".parse().unwrap();
        let backup = BackupId::generate(stop_time);
        let early = jiff::Timestamp::UNIX_EPOCH;
        for (target, nearest) in [
            (RecoveryTarget::Time(early, TargetBound::Inclusive), "--target-time '2026-11-20 14:30:00.500000+00'"),
            (RecoveryTarget::Lsn(lsn("0/1"), TargetBound::Inclusive), "--target-lsn 0/300"),
        ] {
            let error = RestoreError::TargetBeforeBackup {
                target,
                backup,
                was_named: true,
                stop_time,
                stop_lsn: lsn("0/300"),
                older: None,
            };
            let text = hints(&error);
            assert!(text.contains(&format!("can be reached from it: {nearest}\nWithout --backup")), "{text}");
        }
    }

    #[test]
    fn a_hole_gets_what_is_certain_and_where_the_segment_may_be() {
        let first = WalSegmentName::parse("000000010000000000000005").unwrap();
        let hole = WalHole { first, last: first, count: 1, reachable_lsn: lsn("0/5000000") };
        let backup = BackupId::generate(jiff::Timestamp::UNIX_EPOCH);
        let mut error = RestoreError::Hole {
            target: "latest".to_owned(),
            hole,
            reachable_time: None,
            certain_lsn: Some(lsn("0/4000000")),
            backup,
        };
        let text = hints(&error);
        assert!(text.contains(&format!("--target-lsn 0/4000000 --backup {backup}")), "{text}");
        assert!(text.contains("pgv-archive PGDATA/pg_wal/000000010000000000000005"), "{text}");
        if let RestoreError::Hole { certain_lsn, .. } = &mut error {
            *certain_lsn = None;
        }
        assert!(hints(&error).contains("--target-immediate --backup"));
    }

    #[test]
    fn a_disk_that_became_full_is_told_with_the_way_on() {
        let full =
            |path: &str| crate::fs::FileError::new("get room for", Path::new(path), std::io::ErrorKind::StorageFull);
        let text = hints(&RestoreError::File(full("/r/base/1/2")));
        assert!(text.contains("\"df -h /r/base/1/2\"") && text.contains("with --resume it keeps"), "{text}");
    }

    #[test]
    fn every_branch_gets_its_option() {
        let branch = |number, forked_at: Option<&str>| Branch {
            timeline: TimelineId::new(number).unwrap(),
            forked_at: forked_at.map(lsn),
            end_lsn: None,
            end_time: None,
        };
        let branches = vec![branch(1, None), branch(2, Some("0/500"))];
        let error = RestoreError::AmbiguousTimeline { target: "x".to_owned(), branches };
        assert_eq!(
            crate::cli::hints::hints(&error, &Typed::default()),
            [
                "If the first server is meant: --target-timeline 1",
                "If the server that began to write at 0/500 is meant: --target-timeline 2",
            ]
        );
    }

    #[test]
    fn places_get_their_way_out() {
        let path = Path::new("/data/it's").to_owned();
        let refused =
            |way_out| RestoreError::UnsafeTarget { path: path.clone(), problem: "it is not empty".to_owned(), way_out };
        assert!(hints(&refused(WayOut::MoveAside)).contains("--move-aside"));
        assert!(hints(&refused(WayOut::OtherPlace)).contains("--tablespace-mapping"));
        assert!(hints(&refused(WayOut::OtherPlaceOrLink)).contains("or, if that data directory is given up"));
        assert_eq!(hints(&refused(WayOut::None)), "");
        let runs = RestoreError::ServerRuns { path: path.clone(), pid: 1 };
        assert_eq!(hints(&runs), r"Stop it first: pg_ctl -D '/data/it'\''s' stop");
        let alive = RestoreError::OriginalIsAlive { server: "db1".to_owned() };
        assert!(hints(&alive).contains("leave --keep-archiving out"));
    }
}
