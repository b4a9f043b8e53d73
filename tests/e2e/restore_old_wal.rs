//! A primary that died with commits in segments that were never archived: `--wal-from` gets them, and nothing passes
//! them over in silence.

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Ledger, Moment, Outcome, PgVersion, Settled, Site, SmallFileSystem, TestCluster, TestFolder};

/// What is said of a folder of which nobody knows what is in it.
const CANNOT_BE_TOLD: &str = "it cannot be told whether ";

/// What the tests begin with: two rows that are archived, and more that are not, in three segments.
struct Dead {
    site: Site,
    ledger: Ledger,
    /// A moment in the middle of the rows that are not archived.
    middle: Moment,
    /// The segments of these rows, oldest first; the log ends in the last one.
    left: Vec<String>,
}

impl Dead {
    /// A primary that was killed when it had committed 2 and `rows` rows.
    fn new(version: PgVersion, folder: &TestFolder, rows: usize) -> Self {
        Self::with(version, folder, rows, None)
    }

    /// The same, where the first segment that was left has this in it, too.
    fn with(version: PgVersion, folder: &TestFolder, rows: usize, bulk: Option<&str>) -> Self {
        let builder = TestCluster::builder(version, folder).initdb("--wal-segsize=1").line("autovacuum = off");
        let mut site = Site::of(builder.line("wal_keep_size = '64MB'"), folder);
        let mut ledger = Ledger::create(&site.primary);
        site.backup(&[]).success();
        ledger.commit_many(&site.primary, 2);
        site.primary.archive_all();
        site.primary.configure(&["archive_command = 'false'"]);
        site.primary.reload();
        let mut left = Vec::new();
        ledger.commit_many(&site.primary, rows / 3);
        bulk.into_iter().for_each(|bulk| drop(site.primary.query(bulk)));
        left.push(site.primary.switch_wal());
        ledger.commit_many(&site.primary, rows / 3);
        let middle = site.primary.now();
        left.push(site.primary.switch_wal());
        ledger.commit_many(&site.primary, rows - 2 * (rows / 3) - 1);
        // Pages that are whole, before and behind the place of some damage.
        let message = "SELECT pg_logical_emit_message(false, 'test', repeat('x', 50000))";
        site.primary.query(&format!("{message}; {message}"));
        ledger.commit(&site.primary);
        left.push(site.primary.query("SELECT pg_walfile_name(pg_current_wal_lsn())"));
        site.primary.kill();
        Self { site, ledger, middle, left }
    }

    fn pg_wal(&self) -> PathBuf {
        self.site.primary.data.join("pg_wal")
    }

    fn restore_from(&self, directory: &Path, options: &[&str]) -> Outcome {
        let data = self.site.primary.data.display().to_string();
        self.site.restore(directory, &[&["--wal-from", &data], options].concat())
    }

    /// The tree of the cluster; its server cannot be asked any more.
    fn tree(&self) -> PathBuf {
        let folders = std::fs::read_dir(self.site.pgv.repository.join("main")).unwrap();
        let mut folders = folders.map(|entry| entry.unwrap().path());
        folders.find(|path| path.join("identity").exists()).unwrap()
    }

    /// Where the archive has that file, or would have it.
    fn archived(&self, name: &str) -> PathBuf {
        self.tree().join("wal").join(&name[..8]).join(&name[..16]).join(name)
    }
}

/// Starts what was restored.
#[track_caller]
fn started(dead: &Dead, folder: &TestFolder, data: &Path, expected: Settled) -> TestCluster {
    let name = format!("{}-server", data.file_name().unwrap().display());
    let mut copy = TestCluster::at(dead.site.primary.version, folder, &name, data);
    assert_eq!(copy.start_and_settle(), expected, "log:\n{}", copy.log());
    copy
}

#[track_caller]
fn ends_with(outcome: &Outcome, status: i32, words: &[&str]) {
    assert_eq!(outcome.status.code(), Some(status), "{outcome}");
    for word in words {
        assert!(outcome.stderr.contains(word) || outcome.stdout.contains(word), "no {word:?} in\n{outcome}");
    }
}

/// Turns a bit of a file round.
fn flip(path: &Path, offset: u64) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], offset).unwrap();
}

fn every_row_comes_back(version: PgVersion) {
    let folder = TestFolder::new("old-wal");
    let dead = Dead::new(version, &folder, 100);
    let pg_wal = dead.pg_wal().display().to_string();
    let latest = folder.join("latest");

    // Not in silence.
    let refused = dead.site.restore(&latest, &[]);
    ends_with(&refused, 3, &["100 commits after the end of the archive", "--archive-only", "--wal-from", &pg_wal]);
    let refused = dead.site.restore(&latest, &["--no-prove"]);
    ends_with(&refused, 3, &["100 commits after the end of the archive"]);
    assert!(!latest.exists());
    // Nor once an earlier restore has moved it aside.
    let moved = dead.site.primary.data.with_file_name("primary.pgv-20261121T143000Z");
    std::fs::rename(&dead.site.primary.data, &moved).unwrap();
    let refused = dead.site.restore(&latest, &[]);
    let hint = format!("--wal-from {}", moved.display());
    ends_with(&refused, 3, &["100 commits after the end of the archive", "--archive-only", &hint]);
    std::fs::rename(&moved, &dead.site.primary.data).unwrap();
    let archive_only = folder.join("archive-only");
    let outcome = dead.site.restore(&archive_only, &["--archive-only"]);
    ends_with(&outcome, 0, &["100 commits"]);
    let mut copy = started(&dead, &folder, &archive_only, Settled::Open);
    Ledger::assert(&copy, &[1, 2]);
    copy.stop();

    // Beside it: a dry run touches neither place nor archive.
    let plan = dead.restore_from(&latest, &["--dry-run", "--output", "json"]);
    ends_with(&plan, 0, &[]);
    let plan: Value = serde_json::from_str(&plan.stdout).unwrap();
    assert_eq!(plan["old_wal"]["commits"], 100, "{plan:#}");
    let names: Vec<&str> =
        plan["old_wal"]["segments"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, dead.left);
    assert!(dead.left.iter().all(|name| !dead.archived(name).exists()) && !latest.exists());
    let outcome = dead.restore_from(&latest, &[]);
    ends_with(&outcome, 0, &["100 commits that the archive lacks", "is not complete"]);
    let [first, second, last] = dead.left.as_slice() else { panic!("{:?}", dead.left) };
    // It opens while it does not archive: its server must not take the last one for complete once it does.
    let status = latest.join("pg_wal/archive_status");
    let names = std::fs::read_dir(status).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.collect::<Vec<_>>(), [format!("{last}.done")]);
    let mut copy = started(&dead, &folder, &latest, Settled::Open);
    Ledger::assert(&copy, &dead.ledger.all());
    copy.query("INSERT INTO ledger VALUES (1000, 'goes on')");
    copy.stop();
    assert!(dead.archived(first).exists() && dead.archived(second).exists());

    // In its place, which is moved aside with the pg_wal that is read; it archives, and now the old last segment has its
    // partial name, from the server itself.
    let data = dead.site.primary.data.clone();
    let options = ["--move-aside", "--keep-archiving", "--old-primary-is-gone"];
    // What was complete is archived by now.
    ends_with(&dead.restore_from(&data, &options), 0, &["34 commits that the archive lacks", ".pgv-"]);
    let mut copy = started(&dead, &folder, &data, Settled::Open);
    Ledger::assert(&copy, &dead.ledger.all());
    copy.archive_all();
    assert!(!dead.archived(last).exists(), "the last segment was archived under its full name");
    assert!(dead.archived(&format!("{last}.partial")).exists(), "log:\n{}", copy.log());
    // It is lost, and so is the first segment of its timeline, which begins with what the partial one holds.
    copy.kill();
    drop(copy);
    for entry in std::fs::read_dir(data.parent().unwrap()).unwrap().map(Result::unwrap) {
        if entry.file_name().to_str().unwrap().starts_with("primary") && entry.path().is_dir() {
            std::fs::remove_dir_all(entry.path()).unwrap();
        }
    }
    std::fs::remove_dir_all(dead.tree().join("wal/00000002")).unwrap();
    let told = dead.site.pgv.run("pgv", &["target"]);
    ends_with(&told, 0, &[&format!("\"{last}.partial\" in the archive holds 34 commits after its last segment")]);
    let again = folder.join("again");
    // One that cannot be read is not passed over either.
    let partial = dead.archived(&format!("{last}.partial"));
    flip(&partial, 100);
    ends_with(&dead.site.restore(&again, &[]), 3, &["and cannot be read", "--archive-only"]);
    ends_with(&dead.site.restore(&again, &["--archive-only", "--dry-run"]), 0, &["and cannot be read"]);
    flip(&partial, 100);
    let refused = dead.site.restore(&again, &[]);
    ends_with(&refused, 3, &[&format!("\"{last}.partial\" in the archive holds 34 commits"), "--wal-from FOLDER"]);
    let fetched = folder.make("fetched").join(format!("{last}.partial"));
    dead.site.pgv.run("pgv-fetch", &[&format!("{last}.partial"), fetched.to_str().unwrap()]).success();
    let from = ["--wal-from", fetched.parent().unwrap().to_str().unwrap()];
    ends_with(&dead.site.restore(&again, &from), 0, &["34 commits that the archive lacks"]);
    Ledger::assert(&started(&dead, &folder, &again, Settled::Open), &dead.ledger.all());
    let less = folder.join("less");
    ends_with(&dead.site.restore(&less, &["--archive-only"]), 0, &["34 commits", "as --archive-only says"]);
}

#[test]
fn commits_that_a_killed_postgresql_15_had_not_archived_come_back() {
    every_row_comes_back(PgVersion::V15);
}

#[test]
fn commits_that_a_killed_postgresql_17_had_not_archived_come_back() {
    every_row_comes_back(PgVersion::V17);
}

#[test]
fn targets_lie_in_the_old_pg_wal_too() {
    let folder = TestFolder::new("old-wal-targets");
    let dead = Dead::new(PgVersion::V15, &folder, 9);
    let until = dead.ledger.until(&dead.middle);
    assert_eq!(until.len(), 8);
    let data = dead.site.primary.data.display().to_string();

    let (at_time, by_xid, unproven) = (folder.join("at-time"), folder.join("by-xid"), folder.join("unproven"));
    let row = &dead.ledger.rows[4];
    let xid = row.xid.to_string();
    let shown = dead.site.pgv.run("pgv", &["target", "--wal-from", &data, "--target-xid", &xid]);
    assert!(shown.success().stdout.contains("old WAL"));
    // Who asks up to where there is WAL hears for what pgv-restore would refuse it.
    let latest = dead.site.pgv.run("pgv", &["target", "--output", "json"]).success();
    let answer: Value = serde_json::from_str(&latest.stdout).unwrap();
    let [told] = answer["warnings"].as_array().unwrap().as_slice() else { panic!("{answer:#}") };
    for words in ["holds 9 commits after the end of the archive at ", "--archive-only", "--wal-from \""] {
        assert!(told.as_str().unwrap().contains(words) && latest.stderr.contains(words), "no {words:?} in\n{latest}");
    }
    let counted = dead.site.pgv.run("pgv", &["target", "--wal-from", &data]).success();
    assert!(!counted.stderr.contains("holds"), "{counted}");
    let around = dead.site.pgv.run("pgv", &["target", "--wal-from", &data, "--around", &dead.middle.text]);
    assert!(around.success().stdout.contains(&dead.ledger.rows[10].xid.to_string()));

    // Who is refused a target that lies there hears where.
    let told = ["holds 9 commits after the end of the archive at ", &format!("--wal-from \"{data}\" reads it")];
    for target in [["--target-time", &dead.middle.text], ["--target-xid", &xid]] {
        ends_with(&dead.site.restore(&at_time, &target), 3, &told);
        ends_with(&dead.site.pgv.run("pgv", &[&["target"], &target[..]].concat()), 3, &told);
    }

    // Only what recovery needs is copied; what is complete of that is archived from then on.
    ends_with(&dead.restore_from(&by_xid, &["--target-xid", &xid]), 0, &["3 commits that the archive"]);
    assert!(by_xid.join("pg_wal").join(&dead.left[0]).exists());
    assert!(!by_xid.join("pg_wal").join(&dead.left[1]).exists());
    Ledger::assert(&started(&dead, &folder, &by_xid, Settled::Paused), &dead.ledger.through(row));
    ends_with(&dead.restore_from(&at_time, &["--target-time", &dead.middle.text]), 0, &["3 commits that the archive"]);
    let copy = started(&dead, &folder, &at_time, Settled::Paused);
    Ledger::assert(&copy, &until);
    copy.promote();
    Ledger::assert(&copy, &until);
    // Unproven, recovery goes to the end of what was copied, every CRC of which was checked.
    ends_with(&dead.restore_from(&unproven, &["--no-prove"]), 0, &["3 commits that the archive"]);
    Ledger::assert(&started(&dead, &folder, &unproven, Settled::Open), &dead.ledger.all());
}

/// A folder that was named is not all that there is: what another one holds besides is not passed over either.
#[test]
fn commits_that_neither_the_archive_nor_the_named_pg_wal_has_are_told() {
    let folder = TestFolder::new("old-wal-beside");
    let dead = Dead::new(PgVersion::V15, &folder, 9);
    let [first, _, last] = dead.left.as_slice() else { panic!("{:?}", dead.left) };
    let (pg_wal, data) = (dead.pg_wal(), folder.join("new"));
    let read = |name: &str| std::fs::read(pg_wal.join(name)).unwrap();
    let named = |name: &str, options: &[&str]| {
        let from = folder.join(name).display().to_string();
        dead.site.restore(&data, &[&["--wal-from", &from, "--dry-run"], options].concat())
    };
    let hint = format!("--wal-from {}", pg_wal.display());

    // One segment of three.
    for name in ["one", "earlier", "copy"] {
        folder.make(name);
    }
    folder.write(format!("one/{first}"), read(first));
    let one = folder.join("one").display().to_string();
    let words = format!("6 commits after the end of the archive and of \"{one}\" at ");
    ends_with(&named("one", &[]), 3, &[&words, &hint, "--archive-only"]);
    ends_with(&named("one", &["--no-prove"]), 3, &[&words, &hint]);
    // A target is what was asked for, whatever lies behind it.
    ends_with(&named("one", &["--target-xid", &dead.ledger.rows[3].xid.to_string()]), 0, &[]);

    // All of them, but from before the last commit, which is in the last one.
    let whole = read(last);
    let cut: Vec<u8> = whole[..16384].iter().copied().chain(std::iter::repeat_n(0, whole.len() - 16384)).collect();
    for name in &dead.left {
        folder.write(format!("earlier/{name}"), if name == last { cut.clone() } else { read(name) });
        folder.write(format!("copy/{name}"), read(name));
    }
    ends_with(&named("earlier", &[]), 3, &["holds 1 commit after the end of the archive and of", &hint]);
    // The same, and more than the other has.
    ends_with(&named("copy", &[]), 0, &["9 commits that the archive lacks"]);
    let moved = "primary.pgv-20261121T143000Z";
    folder.make(moved);
    folder.make(format!("{moved}/pg_wal"));
    folder.write(format!("{moved}/pg_wal/{first}"), read(first));
    ends_with(&named("copy", &[]), 0, &["9 commits that the archive lacks"]);

    // Said and done.
    let outcome = dead.site.restore(&data, &["--wal-from", &one, "--archive-only"]);
    ends_with(&outcome, 0, &["3 commits that the archive lacks", "they are left out, as --archive-only says"]);
    let copy = started(&dead, &folder, &data, Settled::Open);
    Ledger::assert(&copy, &dead.ledger.all()[..5]);
}

/// A copy that became a primary wrote a history and a timeline of which the archive has nothing.
#[test]
fn a_timeline_that_was_never_archived_comes_back() {
    let folder = TestFolder::new("old-wal-timeline");
    let mut dead = Dead::new(PgVersion::V15, &folder, 3);
    let second = folder.join("second");
    ends_with(&dead.restore_from(&second, &[]), 0, &["3 commits"]);
    let mut copy = started(&dead, &folder, &second, Settled::Open);
    dead.ledger.commit_many(&copy, 2);
    copy.switch_wal();
    dead.ledger.commit_many(&copy, 2);
    copy.kill();

    // In the place of the original, where nobody names it.
    let (data, away) = (dead.site.primary.data.clone(), folder.join("away"));
    std::fs::rename(&data, &away).unwrap();
    std::fs::rename(&second, &data).unwrap();
    let third = folder.join("third");
    let words = "holds 5 commits on timeline 2 after the end of the archive at ";
    let hint = format!("--wal-from {} --target-timeline 2", data.join("pg_wal").display());
    for options in [&[][..], &["--no-prove"]] {
        ends_with(&dead.site.restore(&third, options), 3, &[words, &hint, "--archive-only"]);
    }
    // What was committed on the first timeline is left out, too, when it is named.
    let named = dead.site.restore(&third, &["--target-timeline", "1"]);
    ends_with(&named, 3, &["holds 1 commit after the end of the archive at "]);
    let delta = dead.site.restore(&data, &["--delta", "--target-immediate"]);
    let copied = format!("cp -a {} COPY", data.join("pg_wal").display());
    let read_in_place = dead.site.restore(&data, &["--delta", "--wal-from", data.to_str().unwrap()]);
    ends_with(&read_in_place, 3, &["that --delta updates, and would be removed", &copied, "--wal-from COPY"]);
    ends_with(&delta, 3, &[words, &copied, "--wal-from COPY --target-timeline 2", "--archive-only"]);
    ends_with(&dead.site.restore(&data, &["--delta", "--archive-only", "--dry-run"]), 0, &[words]);
    let moved = data.with_file_name("primary.pgv-20261121T143000Z");
    std::fs::rename(&data, &moved).unwrap();
    ends_with(&dead.site.restore(&third, &[]), 3, &[words, &format!("{}/pg_wal", moved.display())]);
    assert!(!third.exists());
    std::fs::rename(&moved, &second).unwrap();
    std::fs::rename(&away, &data).unwrap();

    let from = second.display().to_string();
    ends_with(&dead.site.restore(&third, &["--wal-from", &from]), 0, &["1, then 2", "commits that the archive lacks"]);
    let copy = started(&dead, &folder, &third, Settled::Open);
    Ledger::assert(&copy, &dead.ledger.all());
    assert_eq!(copy.query("SELECT timeline_id FROM pg_control_checkpoint()"), "3");
    let histories = dead.tree().join("history");
    assert!(histories.join("00000002.history").exists());
}

/// A copy took the place of a server of which everything is archived, and died within its first segment.
#[test]
fn commits_on_a_timeline_of_which_the_archive_has_nothing_are_told() {
    let folder = TestFolder::new("old-wal-first-segment");
    let builder = TestCluster::builder(PgVersion::V15, &folder).initdb("--wal-segsize=1").line("autovacuum = off");
    let mut site = Site::of(builder, &folder);
    let mut ledger = Ledger::create(&site.primary);
    site.backup(&[]).success();
    ledger.commit_many(&site.primary, 2);
    site.primary.archive_all();
    site.primary.stop();
    let data = site.primary.data.clone();
    std::fs::rename(&data, folder.join("away")).unwrap();
    site.restore(&data, &[]).success();
    let mut copy = TestCluster::at(PgVersion::V15, &folder, "copy", &data);
    assert_eq!(copy.start_and_settle(), Settled::Open, "log:\n{}", copy.log());
    ledger.commit_many(&copy, 3);
    // Its server archives them, or says why not.
    let new = folder.join("new");
    ends_with(&site.restore(&new, &["--dry-run"]), 0, &["holds WAL that the archive lacks"]);
    copy.kill();

    let pg_wal = data.join("pg_wal");
    let words = "holds 3 commits on timeline 2 after the end of the archive at ";
    let refused = site.restore(&new, &[]);
    ends_with(&refused, 3, &[words, "--archive-only", &format!("--wal-from {}", pg_wal.display())]);
    // Without its history, nobody knows where the timeline comes from.
    let (history, hidden) = (pg_wal.join("00000002.history"), folder.join("hidden"));
    std::fs::rename(&history, &hidden).unwrap();
    let unknown =
        [CANNOT_BE_TOLD, "is of timeline 2, whose history is not there", "\"00000002.history\"", "--archive-only"];
    ends_with(&site.restore(&new, &[]), 3, &unknown);
    ends_with(&site.restore(&new, &["--wal-from", &data.display().to_string()]), 3, &unknown);
    ends_with(&site.restore(&data, &["--delta", "--target-immediate"]), 3, &unknown);
    ends_with(&site.restore(&new, &["--dry-run", "--archive-only"]), 0, &[CANNOT_BE_TOLD]);
    ends_with(&site.restore(&new, &["--dry-run", "--target-timeline", "1"]), 0, &[]);
    std::fs::rename(&hidden, &history).unwrap();
    // Whether the archive has the history or not.
    let history = pg_wal.join("00000002.history").display().to_string();
    site.pgv.run_in(&data, "pgv-archive", &["--cluster", "main", &history, "00000002.history"]).success();
    ends_with(&site.restore(&new, &[]), 3, &[words]);
    // A target, or a timeline, is what was asked for.
    ends_with(&site.restore(&new, &["--target-timeline", "1", "--dry-run"]), 0, &[]);
    ends_with(&site.restore(&new, &["--target-immediate", "--dry-run"]), 0, &[]);
    // But nothing is removed unsaid.
    for target in [&["--target-immediate"][..], &["--target-timeline", "1"], &[]] {
        ends_with(&site.restore(&data, &[&["--delta"], target].concat()), 3, &[words]);
    }
    ends_with(&site.restore(&data, &["--delta", "--dry-run", "--archive-only"]), 0, &[words, "they are left out"]);

    let moved = data.with_file_name("primary.pgv-20261121T143000Z");
    std::fs::rename(&data, &moved).unwrap();
    ends_with(&site.restore(&data, &[]), 3, &[words, &moved.join("pg_wal").display().to_string()]);
    site.restore(&data, &["--wal-from", &moved.display().to_string()]).success();
    let mut again = TestCluster::at(PgVersion::V15, &folder, "again", &data);
    assert_eq!(again.start_and_settle(), Settled::Open, "log:\n{}", again.log());
    Ledger::assert(&again, &ledger.all());
}

#[test]
fn damage_in_the_old_pg_wal_is_not_taken_for_its_end() {
    let folder = TestFolder::new("old-wal-damage");
    let dead = Dead::new(PgVersion::V15, &folder, 9);
    let [first, _, last] = dead.left.as_slice() else { panic!("{:?}", dead.left) };
    let (first, last) = (dead.pg_wal().join(first), dead.pg_wal().join(last));
    let whole = std::fs::read(&last).unwrap();
    let whole_first = std::fs::read(&first).unwrap();
    let data = folder.join("new");

    // What is damaged in the last pages that were written looks like the end, for PostgreSQL, too.
    for options in [&[][..], &["--no-prove"]] {
        flip(&last, 8192 + 4000);
        let damaged = dead.restore_from(&data, options);
        ends_with(&damaged, 5, &["is damaged", "valid page", "--target-lsn "]);
        // What lies before it can be had.
        let hint = damaged.stderr.split("--target-lsn ").nth(1).unwrap();
        let lsn = hint.split_whitespace().next().unwrap();
        ends_with(&dead.restore_from(&data, &["--target-lsn", lsn, "--dry-run"]), 0, &[]);
        // A restore to the latest cannot know what is lost.
        ends_with(&dead.site.restore(&data, options), 3, &[CANNOT_BE_TOLD, "--archive-only"]);
        std::fs::write(&last, &whole).unwrap();

        flip(&first, 300);
        ends_with(&dead.restore_from(&data, options), 5, &["is damaged", "goes on in a later segment"]);
        std::fs::write(&first, &whole_first).unwrap();
    }

    // Its first page: then it looks like a segment that was never written.
    for offset in [0, 10] {
        flip(&last, offset);
        ends_with(&dead.restore_from(&data, &[]), 5, &["its first page is not valid, but"]);
        std::fs::write(&last, &whole).unwrap();
    }
    // Cut off, as by a copy that was broken off.
    std::fs::write(&last, &whole[..500_000]).unwrap();
    ends_with(&dead.restore_from(&data, &[]), 5, &["has 500000 bytes: expected 1048576"]);
    // Zeros from some page on: the end, with fewer rows.
    let cut: Vec<u8> = whole[..16384].iter().copied().chain(std::iter::repeat_n(0, whole.len() - 16384)).collect();
    std::fs::write(&last, &cut).unwrap();
    ends_with(&dead.restore_from(&data, &["--dry-run"]), 0, &["commits that the archive lacks"]);
    assert!(!data.exists());
}

/// What cannot be stored has nothing stored behind it: pgv-fetch would take it for a hole.
#[test]
fn a_full_repository_gets_no_hole_and_the_copy_has_all_rows() {
    let folder = TestFolder::new("old-wal-full");
    let small = SmallFileSystem::mount(&folder, "repository", 128 << 20);
    // Some 300 kB that nothing compresses further; there is room for the small segment behind it.
    let bulk = "SELECT pg_logical_emit_message(false, 'test', string_agg(md5(random()::text), ''))
        FROM generate_series(1, 18000)";
    let dead = Dead::with(PgVersion::V15, &folder, 9, Some(bulk));
    let filler = std::fs::OpenOptions::new().write(true).open(small.fill("filler")).unwrap();
    let new = folder.join("new");
    filler.set_len(filler.metadata().unwrap().len() - (160 << 10)).unwrap();
    let little_room = "has 0 MiB left, and up to 2 MiB of WAL from";
    ends_with(
        &dead.restore_from(&new, &["--dry-run"]),
        0,
        &[little_room, "recovery takes what does not fit from pg_wal"],
    );
    let outcome = dead.restore_from(&new, &[]);
    let not_stored = format!("{} and the WAL file behind it were not stored in the archive", dead.left[0]);
    ends_with(&outcome, 0, &[&not_stored, "recovery takes them from pg_wal", "No space left"]);
    assert!(dead.left.iter().all(|name| !dead.archived(name).exists()));
    Ledger::assert(&started(&dead, &folder, &new, Settled::Open), &dead.ledger.all());
    let second = dead.pg_wal().join(&dead.left[1]).display().to_string();
    dead.site.pgv.run_in(&dead.site.primary.data, "pgv-archive", &[&second, &dead.left[1]]).success();
}

/// Commits may be where nobody can look: that is refused, like commits that are seen.
#[test]
fn what_cannot_be_looked_into_is_refused_too() {
    let folder = TestFolder::new("old-wal-unjudged");
    let dead = Dead::new(PgVersion::V15, &folder, 9);
    let (data, pg_wal, new) = (dead.site.primary.data.clone(), dead.pg_wal(), folder.join("new"));
    let moved = data.with_file_name("primary.pgv-20261121T143000Z");
    let restore = |options: &[&str]| dead.site.restore(&new, &[&["--dry-run"], options].concat());
    let is_refused = |words: &[&str]| {
        for aside in [false, true] {
            if aside {
                std::fs::rename(&data, &moved).unwrap();
            }
            ends_with(&restore(&[]), 3, &[words, &[CANNOT_BE_TOLD, "--archive-only"]].concat());
            if aside {
                std::fs::rename(&moved, &data).unwrap();
            }
        }
        ends_with(&restore(&["--archive-only"]), 0, &[CANNOT_BE_TOLD, words[0]]);
        ends_with(&restore(&["--target-immediate"]), 0, &[]);
    };

    // Its disk is not mounted.
    let away = folder.join("away");
    std::fs::rename(&pg_wal, &away).unwrap();
    std::os::unix::fs::symlink(folder.join("absent"), &pg_wal).unwrap();
    is_refused(&["is no directory", "mount it"]);
    ends_with(&restore(&["--wal-from", &away.display().to_string()]), 0, &["9 commits that the archive lacks"]);
    std::fs::remove_file(&pg_wal).unwrap();
    std::fs::create_dir(&pg_wal).unwrap();
    is_refused(&["holds no WAL segment", "mount it"]);
    // No server of this cluster has written there: without its control file, or with that of another one.
    let control = data.join("global/pg_control");
    let whole = std::fs::read(&control).unwrap();
    let stranger = TestCluster::builder(PgVersion::V15, &folder).name("stranger").initdb("--wal-segsize=1").create();
    std::fs::write(&control, std::fs::read(stranger.data.join("global/pg_control")).unwrap()).unwrap();
    ends_with(&restore(&[]), 0, &[]);
    std::fs::rename(&control, folder.join("hidden")).unwrap();
    ends_with(&restore(&[]), 0, &[]);
    std::fs::rename(folder.join("hidden"), &control).unwrap();
    std::fs::write(&control, &whole).unwrap();
    std::fs::remove_dir(&pg_wal).unwrap();
    std::fs::rename(&away, &pg_wal).unwrap();

    // The way to what lies behind is not there.
    let (first, kept) = (pg_wal.join(&dead.left[0]), std::fs::read(pg_wal.join(&dead.left[0])).unwrap());
    let unreached = format!("{}\" cannot be reached: \"{}\" before it is not there", dead.left[1], dead.left[0]);
    std::fs::remove_file(&first).unwrap();
    is_refused(&[&unreached]);
    let zeroed: Vec<u8> = std::iter::repeat_n(0, 8192).chain(kept[8192..].iter().copied()).collect();
    for content in [vec![0; kept.len()], zeroed] {
        std::fs::write(&first, content).unwrap();
        is_refused(&[&unreached]);
        for target in [&["--target-immediate"][..], &[]] {
            let delta = dead.site.restore(&data, &[&["--delta"], target].concat());
            ends_with(&delta, 3, &[CANNOT_BE_TOLD, &unreached, "which deletes it: --archive-only"]);
        }
        ends_with(&dead.site.restore(&data, &["--delta", "--archive-only", "--dry-run"]), 0, &[CANNOT_BE_TOLD]);
    }
    // A file of another cluster in its place; and beside the own ones, which are judged all the same.
    let foreign: Vec<u8> = kept[..24].iter().copied().chain([1; 8]).chain(kept[32..].iter().copied()).collect();
    std::fs::write(&first, &foreign).unwrap();
    is_refused(&[&unreached]);
    std::fs::write(&first, &kept).unwrap();
    let beside = format!("primary/pg_wal/{}{:08X}", &dead.left[2][..16], 0xF0);
    folder.write(&beside, &foreign);
    ends_with(&restore(&[]), 3, &["holds 9 commits after the end of the archive at "]);
    for name in &dead.left {
        std::fs::remove_file(pg_wal.join(name)).unwrap();
    }
    is_refused(&["is of system identifier"]);
    assert!(!new.exists());
}

/// What was shut down and archived is not missed, nor is what was restored and never started.
#[test]
fn nothing_is_missed_where_no_server_wrote_more() {
    let folder = TestFolder::new("old-wal-not-missed");
    let builder = TestCluster::builder(PgVersion::V15, &folder).initdb("--wal-segsize=1").line("autovacuum = off");
    let mut site = Site::of(builder, &folder);
    let mut ledger = Ledger::create(&site.primary);
    site.backup(&[]).success();
    ledger.commit_many(&site.primary, 2);
    site.primary.stop();
    let (data, new) = (site.primary.data.clone(), folder.join("new"));
    let is_silent = || {
        let outcome = site.restore(&new, &["--dry-run"]);
        ends_with(&outcome, 0, &[]);
        assert!(!outcome.stderr.contains("it cannot be told"), "{outcome}");
    };
    is_silent();
    std::fs::rename(data.join("pg_wal"), folder.join("away")).unwrap();
    is_silent();
    // Restored, and never started, whatever became of it.
    std::fs::rename(&data, folder.join("original")).unwrap();
    site.restore(&data, &[]).success();
    is_silent();
    std::fs::remove_dir_all(data.join("pg_wal")).unwrap();
    is_silent();
    ends_with(&site.restore(&data, &["--delta", "--dry-run"]), 0, &[]);
    ends_with(&site.restore(&data, &["--move-aside"]), 0, &[]);
    is_silent();
}

#[test]
fn holes_are_filled_and_what_does_not_belong_is_refused() {
    let folder = TestFolder::new("old-wal-hole");
    let mut dead = Dead::new(PgVersion::V15, &folder, 3);
    let (hole, other) = (folder.join("hole"), folder.join("other"));

    // The segment of the archived rows goes; another one behind it is archived by hand.
    let mut archived: Vec<PathBuf> = std::fs::read_dir(dead.archived(&dead.left[0]).parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().len() == 24)
        .collect();
    archived.sort();
    let gone = archived.pop().unwrap();
    let first = dead.pg_wal().join(&dead.left[0]).display().to_string();
    let archive = dead.site.pgv.run_in(&dead.site.primary.data, "pgv-archive", &[&first]);
    archive.success();
    std::fs::remove_file(&gone).unwrap();
    ends_with(&dead.site.restore(&hole, &[]), 3, &["--wal-from"]);
    ends_with(&dead.restore_from(&hole, &[]), 0, &["5 commits"]);
    assert!(gone.exists(), "the archive did not get what it lacked");
    Ledger::assert(&started(&dead, &folder, &hole, Settled::Open), &dead.ledger.all());

    // A file of the future, with content of the past.
    let name = format!("primary/pg_wal/{}{:08X}", &dead.left[2][..16], 0xF0);
    folder.write(name, std::fs::read(dead.pg_wal().join(&dead.left[0])).unwrap());
    ends_with(&dead.restore_from(&other, &["--dry-run"]), 0, &["1 commit"]);

    // Whose WAL it is, and whether it still grows.
    let foreign = TestCluster::builder(PgVersion::V15, &folder).name("foreign").initdb("--wal-segsize=1").start();
    let data = foreign.data.display().to_string();
    ends_with(&dead.site.restore(&other, &["--wal-from", &data]), 3, &["a server runs in"]);
    drop(foreign);
    let foreign = TestCluster::builder(PgVersion::V15, &folder).name("stranger").initdb("--wal-segsize=1").create();
    let data = foreign.data.display().to_string();
    let outcome = dead.site.restore(&other, &["--wal-from", &data]);
    ends_with(&outcome, 3, &["is of system identifier"]);
    let empty = folder.make("empty").display().to_string();
    ends_with(&dead.site.restore(&other, &["--wal-from", &empty]), 3, &["holds no WAL segment"]);
    ends_with(&dead.restore_from(&other, &["--standby"]), 2, &["--wal-from is not for --standby"]);

    // A primary that came back archives what it has: nothing is refused beside it.
    dead.site.primary.start();
    let words = ["holds WAL that the archive lacks", "will not replay it: ", &dead.left[2]];
    ends_with(&dead.site.restore(&other, &["--dry-run"]), 0, &words);
    assert!(!other.exists());
}

/// The segment in which a killed server's log goes on is lost: its control file says that there was one.
#[test]
fn a_last_segment_that_is_lost_is_not_taken_for_the_end_of_the_log() {
    let folder = TestFolder::new("old-wal-last");
    let builder = TestCluster::builder(PgVersion::V15, &folder).initdb("--wal-segsize=1").line("autovacuum = off");
    let mut site = Site::of(builder, &folder);
    let mut ledger = Ledger::create(&site.primary);
    site.backup(&[]).success();
    ledger.commit_many(&site.primary, 2);
    site.primary.archive_all();
    site.primary.configure(&["archive_command = 'false'"]);
    site.primary.reload();
    // A page of the segment without a commit.
    site.primary.query("SELECT pg_logical_emit_message(false, 'test', repeat('x', 20000))");
    ledger.commit_many(&site.primary, 3);
    site.primary.query("CHECKPOINT");
    let last = site.primary.query("SELECT pg_walfile_name(pg_current_wal_lsn())");
    site.primary.kill();
    let (data, new) = (site.primary.data.clone(), folder.join("new"));
    let (path, from) = (data.join("pg_wal").join(&last), data.display().to_string());
    let whole = std::fs::read(&path).unwrap();
    let restore = |options: &[&str]| site.restore(&new, &[&["--dry-run"], options].concat());
    ends_with(&restore(&[]), 3, &["holds 3 commits after the end of the archive"]);

    let names = format!("in segment \"{last}\", that is not there or cannot be read");
    let is_refused = || {
        ends_with(&restore(&[]), 3, &[CANNOT_BE_TOLD, "global/pg_control", &names, "--archive-only"]);
        ends_with(&restore(&["--archive-only"]), 0, &[CANNOT_BE_TOLD, &names]);
        ends_with(&restore(&["--target-immediate"]), 0, &[]);
        ends_with(&restore(&["--wal-from", &from]), 3, &[&names, "the log can be read up to ", "--archive-only"]);
        ends_with(&restore(&["--wal-from", &from, "--archive-only"]), 0, &[&names, "what lay behind that is left out"]);
    };
    std::fs::remove_file(&path).unwrap();
    is_refused();
    std::fs::write(&path, vec![0; whole.len()]).unwrap();
    is_refused();
    // All but its first page, on which there is no commit.
    let cut: Vec<u8> = whole[..8192].iter().copied().chain(std::iter::repeat_n(0, whole.len() - 8192)).collect();
    std::fs::write(&path, cut).unwrap();
    is_refused();
    // What a folder beside it has is not lost.
    std::fs::create_dir(folder.join("copy")).unwrap();
    std::fs::write(folder.join("copy").join(&last), &whole).unwrap();
    let copy = folder.join("copy").display().to_string();
    let with_copy = restore(&["--wal-from", &copy]);
    ends_with(&with_copy, 0, &["3 commits that the archive lacks"]);
    assert!(!with_copy.stderr.contains(CANNOT_BE_TOLD), "{with_copy}");
}

/// Its segments are there, and the log in them ends before what its server had written when it was shut down.
#[test]
fn the_log_of_a_server_that_was_shut_down_must_be_readable_to_its_end() {
    let folder = TestFolder::new("old-wal-shut-down");
    let builder = TestCluster::builder(PgVersion::V15, &folder).initdb("--wal-segsize=1").line("autovacuum = off");
    let mut site = Site::of(builder, &folder);
    let mut ledger = Ledger::create(&site.primary);
    site.backup(&[]).success();
    ledger.commit_many(&site.primary, 2);
    site.primary.archive_all();
    site.primary.configure(&["archive_command = 'false'"]);
    site.primary.reload();
    // Pages of the segment without a commit.
    site.primary.query("SELECT pg_logical_emit_message(false, 'test', repeat('x', 20000))");
    ledger.commit_many(&site.primary, 3);
    let last = site.primary.query("SELECT pg_walfile_name(pg_current_wal_lsn())");
    let next = site.primary.query("SELECT pg_walfile_name(pg_current_wal_lsn() + 1048576)");
    site.primary.stop();
    let (data, new) = (site.primary.data.clone(), folder.join("new"));
    let (pg_wal, from) = (data.join("pg_wal"), data.display().to_string());
    let restore = |options: &[&str]| site.restore(&new, &[&["--dry-run"], options].concat());
    let is_read = || {
        ends_with(&restore(&[]), 3, &["holds 3 commits after the end of the archive"]);
        let read = restore(&["--wal-from", &from]);
        ends_with(&read, 0, &["3 commits that the archive lacks"]);
        assert!(!read.stderr.contains(CANNOT_BE_TOLD), "{read}");
    };
    is_read();
    // In it stands the record of the shutdown alone.
    std::fs::rename(pg_wal.join(&next), folder.join("hidden")).unwrap();
    is_read();

    let whole = std::fs::read(pg_wal.join(&last)).unwrap();
    let cut = |kept: usize| -> Vec<u8> {
        whole[..kept].iter().copied().chain(std::iter::repeat_n(0, whole.len() - kept)).collect()
    };
    let names = format!("in segment \"{next}\", that is not there or cannot be read");
    for kept in [8192, 40] {
        std::fs::write(pg_wal.join(&last), cut(kept)).unwrap();
        for is_there in [false, true] {
            if is_there {
                std::fs::copy(folder.join("hidden"), pg_wal.join(&next)).unwrap();
                crate::support::TestAccount::get().take_over(&pg_wal.join(&next));
            }
            ends_with(&restore(&[]), 3, &[CANNOT_BE_TOLD, "--archive-only"]);
            ends_with(&restore(&["--archive-only"]), 0, &[CANNOT_BE_TOLD]);
            if is_there {
                ends_with(&restore(&["--wal-from", &from]), 5, &["the log goes on in a later segment"]);
            } else {
                ends_with(&restore(&[]), 3, &[&names]);
                let words = [&names[..], "the log can be read up to ", "beside --wal-from as it is"];
                ends_with(&restore(&["--wal-from", &from]), 3, &words);
                let words = [&names[..], "what lay behind that is left out"];
                ends_with(&restore(&["--wal-from", &from, "--archive-only"]), 0, &words);
            }
            let delta = site.restore(&data, &["--delta", "--target-immediate"]);
            ends_with(&delta, 3, &[CANNOT_BE_TOLD, "which deletes it: --archive-only"]);
        }
        std::fs::remove_file(pg_wal.join(&next)).unwrap();
    }
}
