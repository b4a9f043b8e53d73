//! `pgv target --drops` and `--around`: each line's options, pasted into pgv-restore, lead to just before what it names.

use serde_json::Value;

use crate::support::{PgVersion, Settled, Site, TestCluster, TestFolder};

const VERSION: PgVersion = PgVersion::V15;

struct Scene {
    site: Site,
    /// Where the tablespace lies.
    location: String,
    folder: TestFolder,
}

/// What is removed, in this order; and a query that tells whether it is there, with its database.
const THINGS: [(&str, &str, &str, &str); 6] = [
    ("DROP TABLE dropped", "postgres", "SELECT count(*) FROM dropped", "10"),
    ("TRUNCATE emptied", "postgres", "SELECT count(*) FROM emptied", "10"),
    (
        "VACUUM FULL rewritten",
        "postgres",
        "SELECT pg_relation_filenode('rewritten') = oid FROM pg_class WHERE relname = 'rewritten'",
        "t",
    ),
    ("DROP DATABASE other", "other", "SELECT count(*) FROM inside", "10"),
    ("DROP TABLESPACE space", "postgres", "SELECT count(*) FROM pg_tablespace WHERE spcname = 'space'", "1"),
    ("DROP TABLE last", "postgres", "SELECT count(*) FROM last", "10"),
];

impl Scene {
    fn new() -> Self {
        let folder = TestFolder::in_memory("lists");
        let builder = TestCluster::builder(VERSION, &folder).initdb("--wal-segsize=1").line("autovacuum = off");
        let site = Site::of(builder, &folder);
        let primary = &site.primary;
        for table in ["dropped", "emptied", "rewritten", "last"] {
            primary.query(&format!("CREATE TABLE {table} AS SELECT generate_series(1, 10) AS id"));
        }
        primary.query("CREATE DATABASE other");
        primary.query_in("other", "CREATE TABLE inside AS SELECT generate_series(1, 10) AS id");
        let location = primary.create_tablespace(&folder, "space").display().to_string();
        site.backup(&[]).success();
        for (statement, ..) in THINGS {
            // Others are at work, and so is vacuum, which writes the same kind of record as DROP DATABASE.
            primary.query("CREATE TABLE IF NOT EXISTS busy (id int); INSERT INTO busy VALUES (1)");
            primary.query("VACUUM ANALYZE busy");
            primary.query(statement);
        }
        primary.query("INSERT INTO busy VALUES (2)");
        primary.archive_all();
        Self { site, location, folder }
    }

    fn json(&self, options: &[&str]) -> Value {
        let outcome = self.site.pgv.run("pgv", &[&["target", "--output", "json"], options].concat()).success();
        serde_json::from_str(&outcome.stdout).unwrap()
    }

    /// Pastes the options of a line, and opens what they lead to: paused, the lock of the transaction that removes the
    /// thing would keep us from looking at it.
    fn restored(&self, name: &str, line: &str) -> TestCluster {
        let data = self.folder.join(name);
        let options: Vec<&str> = line.split_whitespace().collect();
        let mapping = format!("{}={}", self.location, self.folder.join(format!("{name}.space")).display());
        self.site
            .restore(&data, &[options.as_slice(), &["-T", &mapping, "--target-action", "promote"]].concat())
            .success();
        let mut copy = TestCluster::at(VERSION, &self.folder, &format!("{name}-s"), &data);
        assert_eq!(copy.start_and_settle(), Settled::Open, "{line}\nlog:\n{}", copy.log());
        copy
    }
}

fn answer(copy: &TestCluster, database: &str, query: &str) -> String {
    let mut command = copy.client("psql");
    command.args(["-X", "-A", "-t", "-q", "-d", database, "-c", query]);
    crate::support::run(command).stdout.trim().to_owned()
}

#[test]
fn what_was_removed_is_there_before_its_line_and_gone_before_the_next() {
    let scene = Scene::new();
    let list = scene.json(&["--drops"]);
    let removals = list["removals"].as_array().unwrap();
    assert_eq!(removals.len(), THINGS.len(), "{list}");
    assert!(removals.iter().all(|removal| removal["time"].is_string()), "{list}");
    let text = scene.site.pgv.run("pgv", &["target", "--drops"]).success();
    for (number, removal) in removals.iter().enumerate() {
        let line = removal["options_before"].as_str().unwrap();
        assert!(!line.contains("--target-timeline"), "{line}");
        assert!(text.stdout.lines().any(|shown| shown.ends_with(line)), "no line ends with {line:?}\n{text}");
        let mut copy = scene.restored(&format!("d{number}"), line);
        for (other, (statement, database, query, there)) in THINGS.iter().enumerate() {
            let found = answer(&copy, database, query);
            assert_eq!(
                found == *there,
                other >= number,
                "{statement}, at {line}: {found:?}\n{text}\nlog:\n{}",
                copy.log()
            );
        }
        copy.kill();
    }

    // The commits of that time have the same, by name.
    let around = scene.json(&["--around", removals[3]["time"].as_str().unwrap(), "--count", "20"]);
    let commits = around["commits"].as_array().unwrap();
    for removal in removals {
        let commit = commits.iter().find(|commit| commit["xid"] == removal["xid"]).unwrap();
        assert_eq!(commit["removed"], Value::from(vec![removal["what"].clone()]), "{around}");
    }
    assert_eq!(commits.iter().filter(|commit| commit["removed"] != Value::Array(vec![])).count(), THINGS.len());
    let oid = &removals[3]["what"]["database"]["oid"];
    let file = &removals[0]["what"]["relation_files"]["first"][0]["file_number"];
    let text = scene.site.pgv.run("pgv", &["target", "--around", removals[3]["time"].as_str().unwrap()]).success();
    assert!(text.stdout.contains(&format!("database {oid} ")), "{text}");
    assert!(text.stdout.contains(&format!("/{file}")), "{text}");

    // A timeline that was named is carried.
    let named = scene.json(&["--drops", "--target-timeline", "1"]);
    let line = named["removals"][0]["options_before"].as_str().unwrap();
    assert!(line.ends_with(" --target-timeline 1"), "{line}");
    scene.restored("named", line).kill();
}

#[test]
fn commits_around_a_time_lead_to_just_before_and_just_after() {
    let folder = TestFolder::in_memory("around");
    let site =
        Site::of(TestCluster::builder(VERSION, &folder).initdb("--wal-segsize=1").line("autovacuum = off"), &folder);
    let (ledger, middle) = site.with_history();
    let scene = Scene { site, location: "/nonexistent".to_owned(), folder };
    let list = scene.json(&["--around", &middle.text, "--count", "2"]);
    let commits = list["commits"].as_array().unwrap();
    let xids: Vec<u64> = commits.iter().map(|commit| commit["xid"].as_u64().unwrap()).collect();
    let at = ledger.rows.iter().position(|row| row.committed_at.micros > middle.micros).unwrap();
    let expected: Vec<u64> = ledger.rows[at - 2..at + 2].iter().map(|row| u64::from(row.xid)).collect();
    assert_eq!(xids, expected, "{list}");
    let text = scene.site.pgv.run("pgv", &["target", "--around", &middle.text, "--count", "2"]).success();
    for (commit, row) in commits.iter().zip(&ledger.rows[at - 2..]) {
        let lines = ["options_before", "options_after"].map(|field| commit[field].as_str().unwrap());
        assert!(text.stdout.lines().any(|shown| shown.ends_with(lines[0])), "{text}");
        for (line, rows) in lines.iter().zip([ledger.before(&row.committed_at), ledger.through(row)]) {
            let data = scene.folder.join("copy");
            let options: Vec<&str> = line.split_whitespace().collect();
            scene.site.restore(&data, &options).success();
            let mut copy = TestCluster::at(VERSION, &scene.folder, "copy-s", &data);
            assert_eq!(copy.start_and_settle(), Settled::Paused, "{line}\nlog:\n{}", copy.log());
            crate::support::Ledger::assert(&copy, &rows);
            copy.kill();
            drop(copy);
            std::fs::remove_dir_all(&data).unwrap();
        }
    }
}

/// Segments that are lost between two backups hide what happened in them, and nothing else.
#[test]
fn holes_between_backups_hide_only_what_lay_in_them() {
    let folder = TestFolder::in_memory("holes");
    let builder = TestCluster::builder(VERSION, &folder).initdb("--wal-segsize=1").line("autovacuum = off");
    let site = Site::of(builder, &folder);
    let primary = &site.primary;
    let hidden = || {
        primary.archive_all();
        let segment = primary.query("SELECT pg_walfile_name(pg_current_wal_insert_lsn())");
        primary.query("CREATE TABLE hidden AS SELECT 1; DROP TABLE hidden");
        primary.archive_all();
        primary.query("SELECT pg_create_restore_point('between')");
        primary.archive_all();
        std::fs::remove_file(site.tree().join("wal").join(&segment[..8]).join(&segment[..16]).join(&segment)).unwrap();
    };
    let seen = |name: &str| {
        primary.query(&format!("CREATE TABLE {name} AS SELECT 1"));
        let xid = primary.query(&format!("BEGIN; SELECT txid_current(); DROP TABLE {name}; COMMIT"));
        primary.query(&format!("SELECT pg_create_restore_point('{name}')"));
        xid
    };
    site.backup(&[]).success();
    seen("one");
    hidden();
    site.backup(&[]).success();
    let xid = seen("two");
    hidden();
    site.backup(&[]).success();
    seen("three");
    hidden();

    let list = site.pgv.run("pgv", &["target", "--drops", "--output", "json"]).success();
    let list: Value = serde_json::from_str(&list.stdout).unwrap();
    assert_eq!(list["removals"].as_array().unwrap().len(), 3, "{list}");
    let warnings: Vec<&str> = list["warnings"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(warnings.iter().filter(|line| line.contains("is missing: nothing is listed")).count(), 3, "{list}");

    // From the backup in the middle, though neither the earliest nor the newest one leads there.
    let middle = |options: &[&str]| {
        let found = site.pgv.run("pgv", &[&["target", "--output", "json"], options].concat()).success();
        serde_json::from_str::<Value>(&found.stdout).unwrap()["point"]["backup"].clone()
    };
    let backup = middle(&["--target-xid", &xid]);
    assert_eq!(middle(&["--target-name", "two"]), backup);
    assert_ne!(middle(&["--target-name", "one"]), backup);
    assert_ne!(middle(&["--target-name", "three"]), backup);
    // What may lie in a hole is not called absent.
    site.pgv.run("pgv", &["target", "--target-name", "nowhere"]).expect_code(3).expect_stderr("missing");
}

/// A damaged segment hides what happened from there to the next backup, and nothing else.
#[test]
fn damage_hides_only_what_lies_between_it_and_the_next_backup() {
    let folder = TestFolder::in_memory("damage");
    let builder = TestCluster::builder(VERSION, &folder).initdb("--wal-segsize=1").line("autovacuum = off");
    let site = Site::of(builder, &folder);
    let primary = &site.primary;
    let dropped = |name: &str| {
        primary.query(&format!("CREATE TABLE {name} AS SELECT 1"));
        let xid = primary.query(&format!("BEGIN; SELECT txid_current(); DROP TABLE {name}; COMMIT"));
        primary.archive_all();
        Value::from(xid.parse::<u64>().unwrap())
    };
    site.backup(&[]).success();
    let first = dropped("one");
    let segment = primary.query("SELECT pg_walfile_name(pg_current_wal_insert_lsn())");
    let filler = "SELECT string_agg(md5(i::text), '') FROM generate_series(1, 5000) AS i";
    primary.query(&format!("SELECT pg_logical_emit_message(false, 'filler', ({filler}))"));
    primary.archive_all();
    let hidden = dropped("hidden");
    site.backup(&[]).success();
    let last = dropped("two");
    let time = primary.query("SELECT clock_timestamp()");
    let stored = site.tree().join("wal").join(&segment[..8]).join(&segment[..16]).join(&segment);
    let mut bytes = std::fs::read(&stored).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&stored, bytes).unwrap();

    let list = site.pgv.run("pgv", &["target", "--drops", "--output", "json"]).expect_code(5).expect_stderr(&segment);
    let list: Value = serde_json::from_str(&list.stdout).unwrap();
    let xids: Vec<&Value> = list["removals"].as_array().unwrap().iter().map(|removal| &removal["xid"]).collect();
    assert_eq!(xids, [&first, &last], "{hidden}: {list}");
    assert_eq!(list["damaged_segments"], Value::from(vec![segment.clone()]));
    let text = site.pgv.run("pgv", &["target", "--drops"]).expect_code(5);
    let text = text.expect_stderr(&format!("WAL segment \"{segment}\" cannot be read: nothing is listed from "));
    assert_eq!(text.stdout.lines().filter(|line| line.contains("--target-exclusive")).count(), 2, "{text}");

    // From the second backup on, nothing is damaged.
    let around = ["target", "--output", "json", "--around", &time];
    let list = site.pgv.run("pgv", &around).success();
    let list: Value = serde_json::from_str(&list.stdout).unwrap();
    assert!(list["commits"].to_string().contains(&last.to_string()) && list["damaged_segments"].is_null(), "{list}");
    let early = [&around[..4], &["2026-01-01 00:00+00"]].concat();
    let list = site.pgv.run("pgv", &early).expect_code(5);
    let list: Value = serde_json::from_str(&list.stdout).unwrap();
    let has = |xid: &Value| list["commits"].as_array().unwrap().iter().any(|commit| commit["xid"] == *xid);
    assert_eq!([&first, &hidden, &last].map(has), [true, false, true], "{list}");
}
