//! Random recovery targets against what the servers themselves recorded.
//!
//! One history on three timelines: plain transactions, savepoints, rolled back ones, prepared ones, restore points (one
//! name twice), an idle end. The oracle is what `pg_walinspect` on the living servers says of every record, and the
//! table's own rows with the transactions that wrote them. From that alone follows which rows a target gives, where
//! replay stops, and whether there is such a point at all; `pgv target`, the restored server and the oracle must agree.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::oracle_history::{Ending, History, Place};
use crate::support::{Outcome, PgVersion, Random, Settled, TestCluster};

const VERSION: PgVersion = PgVersion::V15;
/// As many as there are processors in the smallest machine that builds this.
const THREADS: usize = 2;

/// Where recovery should stop, as the oracle understands it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Time(i64),
    Xid(u32),
    Lsn(u64),
    Name(String),
}

#[derive(Debug, Clone)]
struct Asked {
    target: Target,
    is_exclusive: bool,
    /// Named with --target-timeline, unless left to pgv.
    timeline: Option<u32>,
    options: Vec<String>,
}

/// What recovery along one path comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Expected {
    stop: u64,
    is_after: bool,
    /// Rows that are visible, in order.
    rows: Vec<i64>,
    /// End of the last record that is replayed.
    end: u64,
    /// Transactions of the commits on either side of the stop.
    before: Option<u32>,
    after: Option<u32>,
}

/// The text of a moment in a spelling of the generator's choice.
fn spelled(micros: i64, random: &mut Random) -> String {
    let time = jiff::Timestamp::from_microsecond(micros).unwrap();
    let at = |zone: &str| time.to_zoned(jiff::tz::TimeZone::get(zone).unwrap());
    match random.below(8) {
        0 => format!("{}+05:45", at("Asia/Kathmandu").strftime("%Y-%m-%d %H:%M:%S%.6f")),
        1 => format!("{} Europe/Berlin", at("Europe/Berlin").strftime("%Y-%m-%d %H:%M:%S%.6f")),
        2 => format!("{} America/St_Johns", at("America/St_Johns").strftime("%Y-%m-%d %H:%M:%S%.6f")),
        3 => format!("{}Z", at("UTC").strftime("%Y-%m-%dT%H:%M:%S%.6f")),
        4 => format!("{}-0930", at("Pacific/Marquesas").strftime("%Y-%m-%d %H:%M:%S%.6f")),
        5 => format!("{}+14", at("Pacific/Kiritimati").strftime("%Y-%m-%dT%H:%M:%S%.6f")),
        6 => format!("{}[Asia/Kathmandu]", at("Asia/Kathmandu").strftime("%Y-%m-%dT%H:%M:%S%.6f+05:45")),
        _ => format!("{}+00", at("UTC").strftime("%Y-%m-%d %H:%M:%S%.6f")),
    }
}

fn random_target(history: &History, random: &mut Random) -> Asked {
    let timeline = u32::try_from(random.below(history.paths.len())).unwrap() + 1;
    let place = history.path(timeline);
    let from = history.first_backup_end;
    let endings: Vec<&Ending> = place.endings.iter().filter(|ending| ending.start > from && ending.xid > 0).collect();
    let mut is_exclusive = random.below(2) == 0;
    let target = match random.below(10) {
        0..4 => {
            let at = random.pick(&endings).time;
            Target::Time(at + [-1, 0, 0, 1, 700][random.below(5)])
        }
        4..6 => Target::Xid(random.pick(&endings).xid),
        6..8 => {
            // Not the last one: what the server wrote when it was stopped is archived too.
            let behind = place.records.iter().filter(|(start, _)| *start > from);
            let records: Vec<&(u64, u64)> = behind.rev().skip(1).collect();
            let records: Vec<&(u64, u64)> = records.into_iter().rev().collect();
            // The record of a transaction's end, one of its neighbours, or any.
            let number = match random.below(2) {
                0 => {
                    let ending = random.pick(&endings).start;
                    let at = records.partition_point(|(start, _)| *start < ending);
                    (at + random.below(3)).saturating_sub(1).min(records.len() - 1)
                }
                _ => random.below(records.len()),
            };
            Target::Lsn(records[number].0 + [0, 0, 1, 8][random.below(4)])
        }
        _ => {
            is_exclusive = false;
            Target::Name(random.pick(&place.points.iter().map(|(_, _, name)| name.clone()).collect::<Vec<_>>()).clone())
        }
    };
    let timeline = (random.below(4) > 0).then_some(timeline);
    let mut options = match &target {
        Target::Time(micros) => vec!["--target-time".to_owned(), spelled(*micros, random)],
        Target::Xid(xid) => vec!["--target-xid".to_owned(), xid.to_string()],
        Target::Lsn(lsn) => vec!["--target-lsn".to_owned(), format!("{:X}/{:X}", lsn >> 32, lsn & 0xFFFF_FFFF)],
        Target::Name(name) => vec!["--target-name".to_owned(), name.clone()],
    };
    options.extend(timeline.map(|timeline| format!("--target-timeline={timeline}")));
    options.extend(is_exclusive.then(|| "--target-exclusive".to_owned()));
    Asked { target, is_exclusive, timeline, options }
}

/// Where PostgreSQL stops, by contract A3.3, from the position where the backup's WAL begins.
fn expected(place: &Place, asked: &Asked, from: u64) -> Option<Expected> {
    let (stop, is_after) = match &asked.target {
        Target::Time(time) => {
            let is_behind = |ending: &&Ending| match asked.is_exclusive {
                true => ending.time >= *time,
                false => ending.time > *time,
            };
            (place.endings.iter().filter(|ending| ending.start >= from).find(is_behind)?.start, false)
        }
        Target::Xid(xid) => {
            let ending = place.endings.iter().find(|ending| ending.start >= from && ending.xid == *xid)?;
            (ending.start, !asked.is_exclusive)
        }
        Target::Lsn(lsn) => {
            let (start, _) = place.records.iter().find(|(start, _)| *start >= *lsn)?;
            (*start, !asked.is_exclusive)
        }
        Target::Name(name) => {
            let (start, ..) = place.points.iter().find(|(start, _, other)| *start >= from && other == name)?;
            (*start, true)
        }
    };
    let is_recovered = |start: u64| start < stop || (is_after && start == stop);
    let (_, end) = place.records.iter().rfind(|(start, _)| is_recovered(*start))?;
    let commits: Vec<&Ending> =
        place.endings.iter().filter(|ending| ending.is_commit && ending.start >= from).collect();
    Some(Expected {
        stop,
        is_after,
        rows: place.rows(is_recovered),
        end: *end,
        before: commits
            .iter()
            .rfind(|ending| is_recovered(ending.start))
            .map(|ending| ending.xid)
            .filter(|xid| *xid > 0),
        after: commits
            .iter()
            .find(|ending| !is_recovered(ending.start))
            .map(|ending| ending.xid)
            .filter(|xid| *xid > 0),
    })
}

pub(crate) fn lsn(value: &Value) -> u64 {
    let text = value.as_str().unwrap_or_else(|| panic!("no LSN: {value}"));
    let (high, low) = text.split_once('/').unwrap();
    (u64::from_str_radix(high, 16).unwrap() << 32) + u64::from_str_radix(low, 16).unwrap()
}

/// What a target came to, for the tally.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Restored,
    NotThere,
    Ambiguous,
}

fn check(history: &History, number: usize, asked: &Asked) -> Verdict {
    let options: Vec<&str> = asked.options.iter().map(String::as_str).collect();
    let answer = history.site.pgv.run("pgv", &[&["target", "--output", "json"], options.as_slice()].concat());
    if answer.status.code() != Some(0) {
        return refused(history, asked, answer);
    }
    let answer: Value = serde_json::from_str(&answer.stdout).unwrap();
    let point = &answer["point"];
    let path: Vec<u32> = serde_json::from_value(answer["timelines"].clone()).unwrap();
    let timeline = *path.last().unwrap();
    assert!(asked.timeline.is_none_or(|asked| asked == timeline), "{answer}");
    let place = history.path(timeline);
    let backup = &history.backups[point["backup"].as_str().unwrap()];
    let expected = expected(place, asked, backup.1).unwrap_or_else(|| panic!("there is no such point: {answer}"));

    // The proof is the oracle's.
    let proof = &point["proof"];
    let found = Expected {
        stop: lsn(&proof["stop"]["lsn"]),
        is_after: proof["stop"]["side"] == "after",
        rows: expected.rows.clone(),
        end: lsn(&proof["last_record"]["end_lsn"]),
        before: proof["commit_before"]["xid"].as_u64().map(|xid| u32::try_from(xid).unwrap()),
        after: proof["commit_after"]["xid"].as_u64().map(|xid| u32::try_from(xid).unwrap()),
    };
    assert_eq!(found, expected, "{answer}");
    if asked.timeline.is_none() {
        // Nobody was asked, so all paths that have such a point must give the same rows.
        for (other, place) in (1..).zip(&history.paths) {
            if let Some(elsewhere) = self::expected(place, asked, history.first_backup_start)
                && elsewhere.stop >= history.first_backup_end
            {
                assert_eq!(elsewhere.rows, expected.rows, "timeline {other} has it too: {answer}");
            }
        }
    }

    // And so is the server.
    let name = format!("t{number}");
    let data = history.folder.join(&name);
    history.site.restore(&data, &options).success();
    let mut copy = TestCluster::at(VERSION, &history.folder, &format!("{name}s"), &data);
    let settled = copy.start_and_settle();
    assert_eq!(settled, Settled::Paused, "log:\n{}", copy.log());
    let state =
        copy.query("SELECT pg_last_wal_replay_lsn(), coalesce(string_agg(id::text, ',' ORDER BY id), '') FROM oracle");
    let (replayed, rows) = state.split_once('|').unwrap();
    let rows: Vec<i64> = rows.split(',').filter(|id| !id.is_empty()).map(|id| id.parse().unwrap()).collect();
    assert_eq!(rows, expected.rows, "log:\n{}", copy.log());
    assert_eq!(lsn(&Value::from(replayed)), expected.end, "replayed to {replayed}\nlog:\n{}", copy.log());
    copy.kill();
    drop(copy);
    std::fs::remove_dir_all(&data).unwrap();
    Verdict::Restored
}

/// Only what the oracle does not know, or knows twice, may be refused; a restore refuses it too.
fn refused(history: &History, asked: &Asked, answer: Outcome) -> Verdict {
    let answer = answer.expect_code(3);
    let data = history.folder.join("refused");
    let options: Vec<&str> = asked.options.iter().map(String::as_str).collect();
    history.site.restore(&data, &options).expect_code(3);
    assert!(!data.exists());
    let is_on = |timeline: &u32| asked.timeline.is_none_or(|asked| asked == *timeline);
    let timelines = (1..).take(history.paths.len()).filter(is_on);
    // Where all paths give the same rows, one of them must be taken.
    let known: BTreeSet<Vec<i64>> = timelines
        .flat_map(|timeline| history.backup_starts(timeline).map(move |from| (timeline, from)))
        .filter_map(|(timeline, from)| expected(history.path(timeline), asked, from))
        .filter(|expected| expected.stop >= history.first_backup_end)
        .map(|expected| expected.rows)
        .collect();
    if answer.stderr.contains("could lie on more than one path") {
        assert!(known.len() > 1, "they all agree: {known:?}\n{answer}");
        return Verdict::Ambiguous;
    }
    assert!(known.is_empty(), "there is such a point: {known:?}\n{answer}");
    assert!(answer.stderr.contains("hint: "), "{answer}");
    Verdict::NotThere
}

#[allow(clippy::print_stdout)]
fn random_targets(count: usize) {
    let seed = Random::seed();
    let history = History::new();
    let mut random = Random::of(seed);
    let targets: Vec<Asked> = (0..count).map(|_| random_target(&history, &mut random)).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut tally = BTreeMap::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(asked) = targets.get(number) else { return tally };
            let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&history, number, asked)));
            let verdict = checked.unwrap_or_else(|_| panic!("PGV_TEST_SEED={seed}, target {number}: {asked:?}"));
            *tally.entry(verdict).or_insert(0usize) += 1;
        }
    };
    let mut tally: BTreeMap<Verdict, usize> = BTreeMap::new();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            for (verdict, count) in worker.join().unwrap() {
                *tally.entry(verdict).or_default() += count;
            }
        }
    });
    println!("PGV_TEST_SEED={seed}: {tally:?}");
    assert!(tally.get(&Verdict::Restored).copied().unwrap_or(0) * 2 > count, "too few were restored: {tally:?}");
}

/// PGV_TEST_SEED repeats a run; the history is another one each time, so its clock and positions differ a little.
#[test]
fn random_targets_give_exactly_the_rows_of_the_oracle() {
    random_targets(40);
}

#[test]
#[ignore = "slow tier: scripts/test --all"]
fn five_hundred_random_targets_give_exactly_the_rows_of_the_oracle() {
    random_targets(500);
}

/// A restore point that timeline 2 has could lie on timeline 1, too, once a segment of that is lost.
fn what_may_lie_behind_a_hole_is_not_passed_over(history: &History) {
    let options = ["target", "--target-name", "two-more-0"];
    let words = "only the one of timeline 2 has the target";
    history.site.pgv.run("pgv", &options).success().expect_stderr(words);
    let cluster = std::fs::read_dir(history.site.pgv.repository.join("main")).unwrap();
    let mut trees = cluster.map(|entry| entry.unwrap().path()).filter(|path| path.join("identity").exists());
    let folder = trees.next().unwrap().join("wal/00000001/0000000100000000");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> = files.filter(|path| path.extension().is_none()).collect();
    segments.sort();
    let (lost, away) = (&segments[segments.len() - 2], history.folder.join("away"));
    std::fs::rename(lost, &away).unwrap();
    history.site.pgv.run("pgv", &options).expect_code(3).expect_stderr("could lie on more than one path of timelines");
    std::fs::rename(&away, lost).unwrap();
}

/// What is not there is refused by `pgv target` and by a restore, with the nearest points that are.
#[test]
fn targets_that_do_not_exist_are_refused_with_the_nearest_that_do() {
    let history = History::new();
    let last = history.path(1).endings.iter().rfind(|ending| ending.is_commit && ending.xid > 0).unwrap();
    let last_commit = format!("the commit of transaction {} at ", last.xid);
    let largest = history.path(3).endings.iter().map(|ending| ending.xid).max().unwrap();
    let around = |xid: u32| {
        let endings = || history.path(1).endings.iter().map(|ending| ending.xid).filter(|xid| *xid > 0);
        let below = endings().filter(|other| *other < xid).max().unwrap();
        let above = endings().filter(|other| *other > xid).min();
        let above = above.map_or(String::new(), |above| format!(": --target-xid {above}"));
        [format!(": --target-xid {below}"), above]
    };
    let (sub, prepared) = (around(history.subtransaction), around(history.prepared_only));
    let (subtransaction, prepared_only) = (history.subtransaction.to_string(), history.prepared_only.to_string());
    let in_none = "is not in the archive: WAL was read from ";
    let two = "; it is on timeline 2, at ";
    let idle = "--target-time";
    // The timeline that goes furthest, and another one, by position and by time.
    let end = |timeline: &u32| history.path(*timeline).records.last().unwrap().0;
    let (furthest, nearer) = (&3, [1, 2].iter().min_by_key(|one| end(one)).unwrap());
    let commits =
        || (1..=3).flat_map(|timeline| history.path(timeline).endings.iter().map(move |ending| (timeline, ending)));
    let commits = || commits().filter(|(_, ending)| ending.is_commit && ending.xid > 0);
    let far = format!("{:X}/{:X}", end(furthest) >> 32, end(furthest) & 0xFFFF_FFFF);
    let nearest = |ending: &Ending| format!("The nearest before it is the commit of transaction {} at ", ending.xid);
    let by_place = nearest(commits().max_by_key(|(_, ending)| ending.start).unwrap().1);
    let by_time = nearest(commits().max_by_key(|(_, ending)| ending.time).unwrap().1);
    let (nearer_option, last_by_time) = (format!("--target-timeline={nearer}"), " --target-timeline 3");
    let elsewhere = format!("; it is on timeline {furthest}, at {far}");
    let rows: &[(&[&str], &[&str])] = &[
        (&["--target-xid", "4000000", "--target-timeline", "3"], &[in_none, &format!(": --target-xid {largest}")]),
        (&["--target-xid", &subtransaction, "--target-timeline", "1"], &[in_none, "The nearest before it", &sub[0]]),
        (&["--target-xid", &subtransaction, "--target-timeline", "1", "--target-exclusive"], &[in_none, &sub[1]]),
        (&["--target-xid", &prepared_only, "--target-timeline", "1"], &[in_none, &prepared[0], &prepared[1]]),
        (
            &["--target-name", "nowhere", "--target-timeline", "1"],
            &[in_none, "The last restore points: ", "\"twice\" (", "--target-timeline 2)"],
        ),
        // Of another timeline, and of the path itself before its newest backup.
        (
            &["--target-name", "idel", "--target-timeline", "3"],
            &["a name like it: \"idle\" (", " --target-timeline 1)"],
        ),
        (&["--target-name", "oen-0", "--target-timeline", "3"], &["a name like it: \"one-0\" ("]),
        (&["--target-name", "idel"], &["a name like it: \"idle\" ("]),
        (&["--target-lsn", &far, &nearer_option], &[&elsewhere, "To recover along that timeline: "]),
        (&["--target-lsn", "6/0"], &["lies after the end of the archive at ", &by_place]),
        (&[idle, "2100-01-01 00:00:00+00", "--target-timeline=1"], &[&by_time, last_by_time]),
        (&["--target-name", "two-0", "--target-timeline", "1"], &[two, "--target-timeline 2"]),
        (&["--target-name", "two-more-1", "--target-timeline", "3"], &[two, "--target-timeline 2"]),
        (&[idle, &history.idle_time, "--target-timeline", "1"], &[in_none, &last_commit, "Without a target"]),
        (&[idle, "2100-01-01 00:00:00+00"], &["is later than everything in the archive", &by_time]),
        (&["--target-lsn", "7/0", "--target-timeline", "3"], &["lies after the end of the archive at ", &by_place]),
        (
            &[idle, "2026-10-25 02:30:00+02:00"],
            &["2026-10-25 00:30:00.000000+00", "lies before the end of the earliest"],
        ),
        (&["--target-timeline", "9"], &["timeline 9 is not in the archive"]),
    ];
    what_may_lie_behind_a_hole_is_not_passed_over(&history);
    let data = history.folder.join("refused");
    for (options, words) in rows {
        let target = history.site.pgv.run("pgv", &[&["target"], *options].concat());
        let restore = history.site.restore(&data, options);
        for mut outcome in [target, restore] {
            outcome = outcome.expect_code(3);
            for words in *words {
                outcome = outcome.expect_stderr(words);
            }
        }
        assert!(!data.exists(), "{options:?}");
    }
    history.site.pgv.run("pgv", &["target", "--backup", "20200101T000000Z-00000000"]).expect_code(1);
    // The one spelling that may mean either of two moments, and the one that means none.
    for time in ["2026-10-25 02:30:00 Europe/Berlin", "2026-03-29 02:30:00 Europe/Berlin"] {
        history.site.pgv.run("pgv", &["target", "--target-time", time]).expect_code(2);
    }
    // Behind the last commit there are points all the same.
    let idle = history.site.pgv.run("pgv", &["target", "--target-name", "idle", "--output", "json"]).success();
    let idle: Value = serde_json::from_str(&idle.stdout).unwrap();
    assert_eq!(idle["point"]["proof"]["commit_before"]["xid"], last.xid);
    assert_eq!(idle["point"]["proof"]["commit_after"], Value::Null);
}
