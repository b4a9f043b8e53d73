//! Which path of timelines is chosen, and what is refused: tables of archives. Segments have 16 MiB, so that
//! `0/5000000` begins segment 5.

use jiff::Timestamp;

use super::choose::{Choice, Request, choose};
use super::error::RestoreError;
use super::testing::{archive, id, lsn, record, tli};
use crate::pg::{RecoveryTarget, RecoveryTargetTimeline, TargetBound, TimelineHistory};
use crate::repository::ArchiveFacts;
use crate::repository::{BackupId, BackupRecord};

/// An archive and its backups, the number of a backup being its sequence.
struct Scene {
    backups: Vec<BackupRecord>,
    archive: ArchiveFacts,
}

fn stamp(clock: &str) -> String {
    format!("2026-11-20T{clock}Z")
}

fn time(clock: &str) -> Timestamp {
    stamp(clock).parse().unwrap()
}

impl Scene {
    /// `(timeline, first segment, last segment, archived at)`.
    fn new(ranges: &[(u32, u64, u64, &str)]) -> Self {
        let times: Vec<String> = ranges.iter().map(|(.., clock)| stamp(clock)).collect();
        let stamped = ranges.iter().zip(&times);
        let ranges: Vec<_> =
            stamped.map(|((tli, first, last, _), time)| (*tli, *first, *last, time.as_str())).collect();
        Self { backups: Vec::new(), archive: archive(&ranges, &[]) }
    }

    fn history(mut self, timeline: u32, text: &str) -> Self {
        self.archive.histories.insert(tli(timeline), TimelineHistory::parse(tli(timeline), text).unwrap());
        self
    }

    fn backup(mut self, timeline: u32, start: &str, stop: &str, stop_time: &str) -> Self {
        let sequence = self.backups.len() as u64 + 1;
        self.backups.push(record(sequence, (timeline, start), (timeline, stop), &stamp(stop_time)));
        self
    }

    fn with_finding(mut self) -> Self {
        self.backups.last_mut().unwrap().findings.push("a page is torn".to_owned());
        self
    }

    fn choose(&self, line: &str) -> Result<Choice, RestoreError> {
        choose(&Self::request(line), &self.backups, &self.archive)
    }

    /// `latest`, `immediate`, `10:00:00`, `0/5000000`, `xid`, `name`; then `x` for exclusive, `t2` or `current` for a
    /// timeline, `b1` for a backup.
    fn request(line: &str) -> Request {
        let mut words = line.split(' ');
        let what = words.next().unwrap();
        let words: Vec<&str> = words.collect();
        let bound = if words.contains(&"x") { TargetBound::Exclusive } else { TargetBound::Inclusive };
        let number = |prefix: char| words.iter().find_map(|word| word.strip_prefix(prefix)?.parse::<u32>().ok());
        let timeline = match number('t') {
            Some(number) => RecoveryTargetTimeline::Id(tli(number)),
            None if words.contains(&"current") => RecoveryTargetTimeline::Current,
            None => RecoveryTargetTimeline::Latest,
        };
        let target = match what {
            "latest" => RecoveryTarget::Latest,
            "immediate" => RecoveryTarget::Immediate,
            "xid" => RecoveryTarget::TransactionId("700".parse().unwrap(), bound),
            "name" => RecoveryTarget::RestorePoint("here".parse().unwrap()),
            position if position.contains('/') => RecoveryTarget::Lsn(lsn(position), bound),
            clock => RecoveryTarget::Time(time(clock), bound),
        };
        let backup = number('b').map(|number| id(u64::from(number)));
        Request { target, timeline, backup }
    }

    /// `backup 1 on 1 2` (its number and the path), or the kind of refusal with what tells it apart.
    fn outcome(&self, line: &str) -> String {
        let number = |id: &BackupId| self.backups.iter().find(|record| record.id == *id).unwrap().sequence;
        match self.choose(line) {
            Ok(choice) => {
                let path = choice.path.parents().chain([choice.path.timeline()]);
                let path: Vec<String> = path.map(|timeline| timeline.to_string()).collect();
                format!("backup {} on {}", choice.record.sequence, path.join(" "))
            }
            Err(RestoreError::TargetBeforeBackup { backup, .. }) => format!("before backup {}", number(&backup)),
            Err(RestoreError::TargetBehindArchive { end, .. } | RestoreError::TimeBehindArchive { end, .. }) => {
                format!("behind {end}")
            }
            Err(RestoreError::AmbiguousTimeline { branches, .. }) => {
                let timelines: Vec<String> = branches.iter().map(|branch| branch.timeline.to_string()).collect();
                format!("ambiguous {}", timelines.join(" "))
            }
            Err(RestoreError::Hole { hole, certain_lsn, .. }) => {
                let certain = certain_lsn.map_or_else(|| "none".to_owned(), |lsn| lsn.to_string());
                format!("hole {} to {}, certain {certain}", hole.first, hole.last)
            }
            Err(RestoreError::BackupWithoutWal { backup, segment }) => {
                format!("backup {} lacks {segment}", number(&backup))
            }
            Err(RestoreError::NotOnTimeline { timeline, .. }) => format!("none on {timeline}"),
            Err(RestoreError::UnknownTimeline { timeline, problem, .. }) => {
                format!("unknown {timeline} {}", problem.unwrap_or_default()).trim_end().to_owned()
            }
            Err(RestoreError::UnknownBackup { .. }) => "unknown backup".to_owned(),
            Err(RestoreError::OnlyBackupsWithFindings { newest }) => format!("findings in {}", number(&newest)),
            Err(RestoreError::NoBackup { .. }) => "no backup".to_owned(),
            Err(other) => panic!("{line}: {other}"),
        }
    }

    #[track_caller]
    fn expect(&self, rows: &[(&str, &str)]) {
        for (line, outcome) in rows {
            assert_eq!(self.outcome(line), *outcome, "{line}");
        }
    }
}

/// One timeline, segments 1 to 9, archived until 12:00; backups in segments 2 and 5, and a bad one in 7.
fn one_timeline() -> Scene {
    Scene::new(&[(1, 1, 9, "12:00:00")])
        .backup(1, "0/2000028", "0/2000100", "08:00:00")
        .backup(1, "0/5000028", "0/5000100", "10:00:00")
        .backup(1, "0/7000028", "0/7000100", "11:00:00")
        .with_finding()
}

#[test]
fn the_newest_good_backup_before_the_target() {
    one_timeline().expect(&[
        ("latest", "backup 2 on 1"),
        ("immediate", "backup 2 on 1"),
        ("immediate b1", "backup 1 on 1"),
        ("latest b3", "backup 3 on 1"),
        ("latest b9", "unknown backup"),
        ("xid", "backup 2 on 1"),
        ("name", "backup 2 on 1"),
        ("name b1", "backup 1 on 1"),
        ("latest current", "backup 2 on 1"),
        ("latest t1", "backup 2 on 1"),
        ("latest t2", "unknown 2"),
    ]);
    let named = one_timeline().choose("latest b3").unwrap();
    assert!(
        named.warnings.iter().any(|text| text.contains("found in backup") && text.contains("a page is torn")),
        "{:?}",
        named.warnings
    );
}

#[test]
fn the_end_of_a_backup_is_the_first_point() {
    one_timeline().expect(&[
        // stop - 1, stop, stop + 1
        ("0/50000FF", "backup 1 on 1"),
        ("0/5000100", "backup 2 on 1"),
        ("0/5000101", "backup 2 on 1"),
        ("0/5000100 x", "backup 1 on 1"),
        ("0/5000101 x", "backup 2 on 1"),
        ("0/20000FF", "before backup 1"),
        ("0/2000100", "backup 1 on 1"),
        ("0/2000100 x", "before backup 1"),
        ("0/5000100 b1", "backup 1 on 1"),
        ("0/50000FF b2", "before backup 2"),
        ("09:59:59.999999", "backup 1 on 1"),
        ("10:00:00", "backup 2 on 1"),
        ("10:00:00 x", "backup 1 on 1"),
        ("10:00:00.000001 x", "backup 2 on 1"),
        ("07:59:59.999999", "before backup 1"),
        ("08:00:00", "backup 1 on 1"),
        ("09:00:00 b2", "before backup 2"),
    ]);
}

#[test]
fn the_end_of_the_archive_is_the_last_point() {
    one_timeline().expect(&[
        ("0/9FFFFFF", "backup 2 on 1"),
        // Recovery stops at a record that begins there, and none does.
        ("0/A000000", "behind 0/A000000"),
        ("0/A000000 x", "behind 0/A000000"),
        ("0/B000000", "behind 0/A000000"),
        ("FFFFFFFF/FFFFFFFF", "behind 0/A000000"),
        ("12:00:00", "backup 2 on 1"),
        // The clocks of servers differ a little.
        ("12:05:00", "backup 2 on 1"),
        ("12:05:00.000001", "behind 0/A000000"),
    ]);
    let choice = one_timeline().choose("0/8000000").unwrap();
    assert_eq!(choice.coverage.end_lsn, lsn("0/8000000"));
    assert_eq!(choice.coverage.last.unwrap().to_string(), "000000010000000000000008");
    assert_eq!(choice.coverage.count, 4);
}

#[test]
fn without_a_good_backup_there_is_nothing_to_choose() {
    let empty = || Scene::new(&[(1, 1, 9, "12:00:00")]);
    empty().expect(&[("latest", "no backup"), ("10:00:00", "no backup"), ("latest b1", "unknown backup")]);
    empty()
        .backup(1, "0/2000028", "0/2000100", "08:00:00")
        .with_finding()
        .expect(&[("latest", "findings in 1"), ("09:00:00 b1", "backup 1 on 1")]);
    Scene::new(&[]).backup(1, "0/2000028", "0/2000100", "08:00:00").expect(&[
        ("latest", "backup 1 lacks 000000010000000000000002"),
        ("immediate", "backup 1 lacks 000000010000000000000002"),
    ]);
}

#[test]
fn a_hole_stops_what_lies_behind_it() {
    // Segments 6 and 7 are missing.
    let scene = Scene::new(&[(1, 1, 5, "10:00:00"), (1, 8, 9, "12:00:00")])
        .backup(1, "0/2000028", "0/2000100", "08:00:00")
        .backup(1, "0/4000028", "0/4000100", "09:00:00");
    let hole = "hole 000000010000000000000006 to 000000010000000000000007, certain 0/5000000";
    scene.expect(&[
        ("latest", hole),
        ("0/5FFFFFF", "backup 2 on 1"),
        ("0/6000000", "hole 000000010000000000000006 to 000000010000000000000006, certain 0/5000000"),
        ("0/8000000", hole),
        ("08:30:00", "backup 1 on 1"),
        // Archived at 10:00 what was before the hole: a time before that may lie before it.
        ("09:30:00", "backup 2 on 1"),
        ("10:00:00", hole),
        ("10:03:00", hole),
        ("11:00:00", hole),
        ("name", "backup 2 on 1"),
        ("immediate", "backup 2 on 1"),
    ]);
    let is_warned = |line| scene.choose(line).unwrap().doubts.iter().any(|text| text.contains("has a hole"));
    assert!(is_warned("09:30:00") && is_warned("name"));
    // Backup 2 ended at 09:00, before the hole.
    assert!(!is_warned("08:30:00"));

    scene
        .backup(1, "0/7000028", "0/8000100", "11:00:00")
        .expect(&[("latest", "backup 3 lacks 000000010000000000000007"), ("latest b2", hole)]);
    Scene::new(&[(1, 1, 2, "10:00:00"), (1, 4, 5, "11:00:00")])
        .backup(1, "0/2000028", "0/2000100", "08:00:00")
        .expect(&[("latest", "hole 000000010000000000000003 to 000000010000000000000003, certain none")]);
}

/// A failover in the middle of segment 5: its whole segment exists on timeline 2 alone.
fn failover() -> Scene {
    Scene::new(&[(1, 1, 4, "10:00:00"), (2, 5, 9, "14:00:00")])
        .history(2, "1\t0/5800000\tno recovery target specified\n")
        .backup(1, "0/2000028", "0/2000100", "08:00:00")
}

#[test]
fn after_a_failover_there_is_one_path() {
    failover().expect(&[
        ("latest", "backup 1 on 1 2"),
        ("09:00:00", "backup 1 on 1 2"),
        ("13:00:00", "backup 1 on 1 2"),
        ("15:00:00", "behind 0/A000000"),
        // Before the fork, and only in the first segment of timeline 2.
        ("0/5400000", "backup 1 on 1 2"),
        ("0/5800000", "backup 1 on 1 2"),
        ("0/6000000", "backup 1 on 1 2"),
        ("name", "backup 1 on 1 2"),
        ("immediate", "backup 1 on 1"),
        ("latest current", "backup 1 on 1"),
        ("latest t1", "backup 1 on 1"),
        ("0/5400000 t1", "behind 0/5000000"),
    ]);
    let before_the_fork = failover().choose("0/5400000").unwrap();
    assert_eq!(before_the_fork.coverage.last.unwrap().to_string(), "000000020000000000000005");
    failover().backup(2, "0/6000028", "0/6000100", "12:00:00").expect(&[
        ("latest", "backup 2 on 1 2"),
        ("immediate", "backup 2 on 1 2"),
        ("11:00:00", "backup 1 on 1 2"),
        ("13:00:00", "backup 2 on 1 2"),
        ("latest t1", "backup 1 on 1"),
        ("latest t1 b2", "none on 1"),
        ("0/6000050", "backup 1 on 1 2"),
    ]);
}

/// Timeline 1 was left in the middle of segment 5 and went on to the end of segment 7; timeline 2 is archived to 9.
fn second_attempt() -> Scene {
    Scene::new(&[(1, 1, 7, "12:00:00"), (2, 5, 9, "14:00:00")])
        .history(2, "1\t0/5800000\tbefore 2026-11-20 10:00:00+00\n")
        .backup(1, "0/2000028", "0/2000100", "08:00:00")
}

#[test]
fn a_target_that_may_lie_on_two_branches_is_refused() {
    second_attempt().expect(&[
        ("11:00:00", "ambiguous 1 2"),
        ("09:00:00", "ambiguous 1 2"),
        ("name", "ambiguous 1 2"),
        ("xid", "ambiguous 1 2"),
        ("11:00:00 t1", "backup 1 on 1"),
        ("11:00:00 t2", "backup 1 on 1 2"),
        ("name t1", "backup 1 on 1"),
        // Timeline 1 holds nothing as late as that.
        ("13:00:00", "backup 1 on 1 2"),
        ("0/7FFFFFF", "ambiguous 1 2"),
        ("0/8000000", "backup 1 on 1 2"),
        ("0/5800001", "ambiguous 1 2"),
        ("0/5800000", "ambiguous 1 2"),
        ("0/5800000 x", "backup 1 on 1 2"),
        ("0/57FFFFF", "backup 1 on 1 2"),
        ("latest", "backup 1 on 1 2"),
        ("latest t1", "backup 1 on 1"),
        ("immediate", "backup 1 on 1"),
    ]);
    let latest = second_attempt().choose("latest").unwrap();
    let [left] = latest.left_behind.as_slice() else { panic!("{latest:?}") };
    assert!(left.unread_warning().unwrap().starts_with("timeline 1 went on up to 0/8000000 after it was left"));
    assert!(left.warning(Some(2)).starts_with("timeline 1 went on up to 0/8000000, with 2 commits, after"));

    // A backup that ended before the fork proves that what was before its end was before the fork.
    let proven = second_attempt().backup(1, "0/4000028", "0/4000100", "09:30:00");
    proven.expect(&[
        ("09:00:00", "backup 1 on 1 2"),
        ("09:29:59.999999", "backup 1 on 1 2"),
        ("09:30:00", "ambiguous 1 2"),
    ]);
}

#[test]
fn a_branch_that_went_on_within_the_segment_of_the_fork_counts() {
    let scene = Scene::new(&[(1, 1, 5, "12:00:00"), (2, 5, 9, "14:00:00")])
        .history(2, "1\t0/5800000\tbefore 2026-11-20 10:00:00+00\n")
        .backup(1, "0/2000028", "0/2000100", "08:00:00");
    scene.expect(&[
        ("11:00:00", "ambiguous 1 2"),
        ("0/5900000", "ambiguous 1 2"),
        ("13:00:00", "backup 1 on 1 2"),
        ("latest", "backup 1 on 1 2"),
    ]);
    let latest = scene.choose("latest").unwrap();
    let [left] = latest.left_behind.as_slice() else { panic!("{latest:?}") };
    // A record that was never complete fills the segment as well: only reading tells.
    assert_eq!(left.unread_warning(), None);
    assert!(
        left.warning(None).starts_with("timeline 1 may have gone on up to 0/6000000 after it was left at 0/5800000")
    );
    let words = "timeline 1 went on up to 0/6000000, with 1 commit, after it was left at 0/5800000";
    assert!(left.warning(Some(1)).starts_with(words));
}

#[test]
fn a_backup_on_one_branch_does_not_hide_the_other() {
    // The decoy: the newest backup that ended before the target lies on timeline 2 alone.
    let scene = Scene::new(&[(1, 1, 9, "16:00:00"), (2, 5, 9, "16:00:00")])
        .history(2, "1\t0/5800000\tx\n")
        .backup(1, "0/2000028", "0/2000100", "08:00:00")
        .backup(2, "0/6000028", "0/6000100", "14:00:00");
    scene.expect(&[
        ("15:00:00", "ambiguous 1 2"),
        ("0/7000000", "ambiguous 1 2"),
        ("15:00:00 t1", "backup 1 on 1"),
        ("15:00:00 t2", "backup 2 on 1 2"),
        ("15:00:00 b2", "backup 2 on 1 2"),
        ("latest", "backup 2 on 1 2"),
    ]);
    // The newest backup of all was taken on the timeline that was left: both are alive.
    scene.backup(1, "0/8000028", "0/8000100", "15:30:00").expect(&[
        ("latest", "ambiguous 1 2"),
        ("latest t1", "backup 3 on 1"),
        ("latest t2", "backup 2 on 1 2"),
        ("latest b3", "backup 3 on 1"),
    ]);
}

#[test]
fn forks_of_forks() {
    // 2 and 3 both left 1: two ends, neither is the latest.
    Scene::new(&[(1, 1, 4, "10:00:00"), (2, 5, 6, "12:00:00"), (3, 5, 9, "14:00:00")])
        .history(2, "1\t0/5100000\tx\n")
        .history(3, "1\t0/5200000\tx\n")
        .backup(1, "0/2000028", "0/2000100", "08:00:00")
        .expect(&[
            ("latest", "ambiguous 2 3"),
            ("11:00:00", "ambiguous 2 3"),
            ("13:00:00", "backup 1 on 1 3"),
            ("0/5080000", "backup 1 on 1 3"),
            ("0/5180000", "ambiguous 2 3"),
            ("0/8000000", "backup 1 on 1 3"),
        ]);
    // 3 left 2 before 2 left 1: nothing of 2 is on its path.
    Scene::new(&[(1, 1, 4, "10:00:00"), (2, 5, 6, "12:00:00"), (3, 4, 9, "14:00:00")])
        .history(2, "1\t0/5100000\tx\n")
        .history(3, "1\t0/5100000\tx\n2\t0/4800000\tx\n")
        .backup(1, "0/2000028", "0/2000100", "08:00:00")
        .expect(&[("latest", "backup 1 on 1 2 3"), ("0/4700000", "backup 1 on 1 2 3")]);
    // A fork before the backup is no path of it (contract A3.6).
    Scene::new(&[(1, 1, 9, "12:00:00"), (2, 2, 3, "09:00:00")])
        .history(2, "1\t0/2000080\tx\n")
        .backup(1, "0/4000028", "0/4000100", "10:00:00")
        .expect(&[("latest", "backup 1 on 1"), ("11:00:00", "backup 1 on 1"), ("latest t2", "none on 2")]);
}

#[test]
fn a_history_without_wal_leads_nowhere() {
    let scene = Scene::new(&[(1, 1, 7, "12:00:00")]).history(2, "1\t0/5800000\tx\n").backup(
        1,
        "0/2000028",
        "0/2000100",
        "08:00:00",
    );
    scene.expect(&[
        ("latest", "backup 1 on 1"),
        ("11:00:00", "backup 1 on 1"),
        ("0/6000000", "backup 1 on 1"),
        // Recovery would replay timeline 1 behind the fork in its place.
        ("latest t2", "hole 000000020000000000000005 to 000000020000000000000005, certain 0/5000000"),
        ("0/5000000 t2", "backup 1 on 1 2"),
    ]);
}

#[test]
fn a_history_that_cannot_be_read_is_told() {
    let mut scene = failover();
    scene.archive.histories.clear();
    scene.archive.unreadable_histories.insert(tli(2), "it is damaged".to_owned());
    scene.expect(&[
        ("latest", "unknown 2 it is damaged"),
        ("09:00:00", "unknown 2 it is damaged"),
        ("latest t1", "backup 1 on 1"),
        ("immediate", "backup 1 on 1"),
    ]);
    scene
        .backup(2, "0/6000028", "0/6000100", "12:00:00")
        .expect(&[("immediate", "unknown 2 it is damaged"), ("immediate b1", "backup 1 on 1")]);
}
