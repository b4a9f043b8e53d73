//! A restored copy is harmless until it is told that it takes a place, with real servers as the judges.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::{Ledger, Outcome, PgVersion, Settled, Site, TestCluster, TestFolder, run};

fn json(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}\n{outcome}"))
}

/// What a server in that directory would have as the value of a setting.
#[track_caller]
fn seen_by_server(cluster: &TestCluster, data: &Path, name: &str) -> String {
    let mut postgres = cluster.tool("postgres");
    postgres.arg("-D").arg(data).args(["-C", name]);
    run(postgres).success().stdout.trim_end().to_owned()
}

/// Waits until the archiver has the configuration of the site: what is written now it must not read for it.
#[track_caller]
fn archives(site: &Site) {
    site.primary.archive_all();
}

/// The hostile value of a setting, and what a harmless copy has instead.
fn hostile(evidence: &str) -> Vec<(&'static str, String, &'static str)> {
    let command = format!("touch {evidence}");
    let library = || "/tmp/pgv-evil".to_owned();
    let mut rows: Vec<(&str, String, &str)> = [
        "archive_command",
        "archive_cleanup_command",
        "recovery_end_command",
        "restore_command",
        "ssl_passphrase_command",
        "basebackup_to_shell.command",
        "plperl.on_init",
        "plperl.on_plperl_init",
        "plperl.on_plperlu_init",
        "pltcl.start_proc",
        "plv8.start_proc",
        "promote_trigger_file",
    ]
    .into_iter()
    .map(|name| (name, command.clone(), ""))
    .collect();
    for name in ["archive_library", "shared_preload_libraries", "session_preload_libraries", "local_preload_libraries"]
    {
        rows.push((name, library(), ""));
    }
    rows.push(("synchronous_standby_names", "evil".to_owned(), ""));
    rows.push(("jit_provider", library(), "llvmjit"));
    rows.push(("dynamic_library_path", library(), "$libdir"));
    rows.push(("recovery_min_apply_delay", "3600000".to_owned(), "0"));
    rows.push(("max_logical_replication_workers", "7".to_owned(), "0"));
    rows.push(("ssl", "on".to_owned(), "off"));
    rows
}

#[test]
fn hostile_settings_are_listed_and_switched_off_until_they_are_trusted() {
    let folder = TestFolder::new("harmless-settings");
    let mut site = Site::new(PgVersion::V15, &folder);
    archives(&site);
    let evidence = folder.join("evidence");
    let rows = hostile(evidence.to_str().unwrap());
    assert!(rows.len() >= 15);
    // The running server never reads them: they come to the backup by three files.
    let line = |(name, value, _): &(&str, String, &str)| format!("{name} = '{value}'\n");
    let (own, included) = rows.split_at(9);
    let (auto, included) = included.split_at(4);
    fs::write(site.primary.data.join("more.conf"), included.iter().map(line).collect::<String>()).unwrap();
    let auto_file = site.primary.data.join("postgresql.auto.conf");
    let text = fs::read_to_string(&auto_file).unwrap();
    fs::write(&auto_file, text + &auto.iter().map(line).collect::<String>()).unwrap();
    let own: String = own.iter().map(line).collect();
    site.primary.configure(&[&format!("{own}include 'more.conf'")]);
    let (ledger, middle) = site.with_history();

    let data = folder.join("copy");
    let plan = site.restore(&data, &["--target-time", &middle.text, "--dry-run", "--output", "json"]).success();
    let plan = json(&plan)["configuration"].clone();
    assert_eq!((&plan["trust"], &plan["is_known"]), (&"switched_off".into(), &true.into()), "{plan}");
    let outcome = site.restore(&data, &["--target-time", &middle.text]).success();
    for (name, value, harmless) in &rows {
        assert_eq!(seen_by_server(&site.primary, &data, name), expected(name, harmless, &outcome, &data), "{name}");
        if *name != "max_logical_replication_workers" {
            let listed = plan["risky"].as_array().unwrap().iter().find(|one| one["name"] == *name);
            let listed = listed.unwrap_or_else(|| panic!("{name} is not listed: {plan}"));
            assert_eq!((&listed["value"], &listed["harmless"]), (&value.as_str().into(), &(*harmless).into()));
            // In the plan and in the last words.
            let line = format!("{name} = '{value}'");
            assert!(outcome.stderr.contains(&line) && outcome.stdout.contains(&line), "{line}\n{outcome}");
        }
    }
    assert!(outcome.stderr.contains("--trust-config keeps them"), "{outcome}");
    let give_back = format!("--clear --trust-config -D {}", data.display());
    assert!(outcome.stdout.contains(&give_back), "{outcome}");

    let mut copy = TestCluster::at(PgVersion::V15, &folder, "copy-server", &data);
    assert_eq!(copy.start_and_settle(), Settled::Paused, "log:\n{}", copy.log());
    Ledger::assert(&copy, &ledger.until(&middle));
    copy.query("CHECKPOINT");
    copy.promote();
    copy.query("SELECT pg_switch_wal()");
    copy.stop();
    assert!(!evidence.exists());

    // They stay off behind the end of recovery, and come back by one command, archiving apart.
    assert_eq!(seen_by_server(&site.primary, &data, "shared_preload_libraries"), "");
    assert_eq!(seen_by_server(&site.primary, &data, "restore_command"), "");
    let path = data.display().to_string();
    site.pgv.run("pgv-recovery-conf", &["--clear", "--trust-config", "-D", &path]).success();
    for (name, value, _) in &rows {
        assert_eq!(seen_by_server(&site.primary, &data, name), *value, "{name}");
    }
    assert_eq!(seen_by_server(&site.primary, &data, "archive_mode"), "off");

    // Trusted from the beginning, and in place.
    let trusted = folder.join("trusted");
    let options = ["--trust-config", "--target-immediate", "--output", "json"];
    let planned = json(&site.restore(&trusted, &[&options[..], &["--dry-run"]].concat()).success());
    let report = json(&site.restore(&trusted, &options).success());
    assert_eq!(report["configuration"]["trust"], "asked");
    assert_eq!(planned["configuration"], report["configuration"], "by the backup, and by the files");
    assert_eq!(seen_by_server(&site.primary, &trusted, "shared_preload_libraries"), "/tmp/pgv-evil");
    assert_eq!(seen_by_server(&site.primary, &trusted, "archive_mode"), "off");
    site.primary.stop();
    let options = ["--move-aside", "--archive-only", "--dry-run", "--output", "json"];
    let in_place = json(&site.restore(&site.primary.data, &options).success());
    assert_eq!((&in_place["configuration"]["trust"], &in_place["archiving"]), (&"in_place".into(), &false.into()));
    let always = ["--archive-only", "--dry-run", "--output", "json"];
    for (options, trust) in [
        (&["--standby"][..], "standby"),
        (&["--keep-archiving", "--old-primary-is-gone"], "takes_over"),
        (&[], "switched_off"),
    ] {
        let plan = json(&site.restore(&folder.join("other"), &[&always[..], options].concat()).success());
        assert_eq!(plan["configuration"]["trust"], trust);
    }
}

/// A file that is missing now may be there when the server starts: then all that is known is off, on every version.
#[track_caller]
fn is_off_as_a_whole(version: PgVersion) {
    let folder = TestFolder::new("harmless-unread");
    let site = Site::new(version, &folder);
    archives(&site);
    let missing = folder.join("missing.conf");
    site.primary.configure(&[&format!("include '{}'", missing.display())]);
    let (ledger, middle) = site.with_history();
    let data = folder.join("copy");
    let outcome = site.restore(&data, &["--target-time", &middle.text]).success();
    let words = "not all of its files can be read here: every setting";
    assert!(outcome.stderr.contains(words) && outcome.stdout.contains(words), "{outcome}");
    folder.write("missing.conf", "shared_preload_libraries = 'evil'\njit_provider = 'evil'\nmax_connections = 5\n");
    let mut copy = TestCluster::at(version, &folder, "copy-server", &data);
    assert_eq!(copy.start_and_settle(), Settled::Paused, "log:\n{}", copy.log());
    Ledger::assert(&copy, &ledger.until(&middle));
    let shown = ["shared_preload_libraries", "jit_provider", "max_connections", "max_logical_replication_workers"];
    assert_eq!(shown.map(|name| copy.query(&format!("SHOW {name}"))), ["", "llvmjit", "30", "0"]);
}

#[test]
fn a_configuration_that_cannot_be_read_is_switched_off_as_a_whole() {
    is_off_as_a_whole(PgVersion::V13);
    is_off_as_a_whole(PgVersion::V18);
}

#[test]
#[ignore = "slow tier: scripts/test --all"]
fn a_configuration_that_cannot_be_read_is_switched_off_as_a_whole_on_the_others() {
    for version in [PgVersion::V14, PgVersion::V15, PgVersion::V16, PgVersion::V17] {
        is_off_as_a_whole(version);
    }
}

/// What a copy must have: of the commands of a recovery, ours.
fn expected(name: &str, harmless: &str, outcome: &Outcome, data: &Path) -> String {
    let ours = |word: &str| {
        let text = fs::read_to_string(data.join("postgresql.auto.conf")).unwrap();
        let line = text.lines().rfind(|line| line.starts_with(&format!("{name} = "))).unwrap();
        let value = line.split_once(" = ").unwrap().1.trim_matches('\'').to_owned();
        assert!(value.contains(word) && !value.contains("touch"), "{value}\n{outcome}");
        value
    };
    match name {
        "restore_command" => ours("pgv-fetch"),
        "recovery_end_command" => ours("pgv-recovery-conf"),
        _ => harmless.to_owned(),
    }
}

#[test]
fn a_tablespace_that_the_wal_creates_is_refused_where_somebody_uses_it() {
    let folder = TestFolder::new("harmless-spaces");
    let mut site = Site::new(PgVersion::V15, &folder);
    site.primary.query("ALTER SYSTEM SET allow_in_place_tablespaces = on");
    site.primary.reload();
    let (mut ledger, before) = site.with_history();
    site.primary.query("CREATE TABLESPACE inside LOCATION ''");
    let late = site.primary.create_tablespace(&folder, "late");
    let path = late.display().to_string();
    site.primary.query("CREATE TABLE in_late TABLESPACE late AS SELECT generate_series(1, 1000) AS i");
    ledger.commit_many(&site.primary, 2);
    site.primary.query("CHECKPOINT");
    site.primary.archive_all();

    let told = json(&site.pgv.run("pgv", &["target", "--output", "json"]).success());
    let created = &told["point"]["proof"]["on_the_way"]["created_tablespaces"];
    assert_eq!((created.as_array().unwrap().len(), &created[0]["path"]), (1, &path.as_str().into()), "{told}");
    let lsn = created[0]["lsn"].as_str().unwrap().to_owned();
    let line = format!("in \"{path}\" at {lsn}");
    let told = site.pgv.run("pgv", &["target"]).success();
    assert!(told.stdout.contains(&line), "{told}");
    let data = folder.join("copy");
    let refused = site.restore(&data, &[]).expect_code(3).expect_stderr(&line);
    let refused = refused.expect_stderr(&format!("--allow-tablespace-path {path}"));
    refused.expect_stderr(&format!("--target-lsn {lsn} --target-exclusive"));
    assert!(!data.exists());
    site.restore(&data, &["--allow-tablespace-path", "/elsewhere"]).expect_code(3);
    site.restore(&data, &["--no-prove", "--dry-run"]).success().expect_stderr("no WAL was read, so it is not known");
    site.restore(&data, &["--target-time", &before.text, "--dry-run"]).success();

    // With the option, PostgreSQL does what the refusal says: both servers have one file.
    let file = site.primary.data.join(site.primary.query("SELECT pg_relation_filepath('in_late')"));
    assert!(fs::metadata(&file).unwrap().len() > 0);
    let outcome = site.restore(&data, &["--allow-tablespace-path", &path]).success();
    outcome.expect_stderr("must be gone for good");
    let mut copy = TestCluster::at(PgVersion::V15, &folder, "copy-server", &data);
    assert_eq!(copy.start_and_settle(), Settled::Open, "log:\n{}", copy.log());
    Ledger::assert(&copy, &ledger.all());
    assert_eq!(copy.query("SELECT count(*) FROM in_late"), "1000");
    copy.query("DELETE FROM in_late");
    copy.query("VACUUM in_late");
    assert_eq!(fs::metadata(&file).unwrap().len(), 0, "the copy did not write into its original's file");
    copy.stop();
    site.primary.stop_immediately();

    // A directory that is not there ends the recovery, and what the plan says helps.
    fs::rename(&late, folder.join("late-away")).unwrap();
    let alone = folder.join("alone");
    let command = format!("mkdir -m 0700 {path}");
    site.restore(&alone, &["--archive-only"]).success().expect_stderr(&command);
    let mut copy = TestCluster::at(PgVersion::V15, &folder, "alone-server", &alone);
    assert!(matches!(copy.start_and_settle(), Settled::Ended(_)));
    assert!(copy.log().contains(&format!("directory \"{path}\" does not exist")), "log:\n{}", copy.log());
    folder.make(&late);
    assert_eq!(copy.start_and_settle(), Settled::Open, "log:\n{}", copy.log());
    assert_eq!(copy.query("SELECT count(*) FROM in_late"), "1000");
}

/// The values of the primary at its backup, and those that its file says by then.
const LOWERED: [(&str, u32, u32); 5] = [
    ("max_connections", 50, 30),
    ("max_locks_per_transaction", 80, 64),
    ("max_prepared_transactions", 5, 0),
    ("max_wal_senders", 12, 10),
    ("max_worker_processes", 12, 8),
];

#[test]
fn what_replay_needs_is_set_where_the_configuration_has_less() {
    let folder = TestFolder::new("harmless-values");
    let mut builder = TestCluster::builder(PgVersion::V15, &folder);
    for (name, value, _) in LOWERED {
        builder = builder.line(format!("{name} = {value}"));
    }
    let mut site = Site::of(builder, &folder);
    archives(&site);
    let lines = LOWERED.map(|(name, _, value)| format!("{name} = {value}"));
    site.primary.configure(&lines.each_ref().map(String::as_str));
    let mut ledger = Ledger::create(&site.primary);
    ledger.commit_many(&site.primary, 2);
    site.backup(&[]).success();
    site.primary.query("ALTER SYSTEM SET max_connections = 60");
    for (name, value, _) in &LOWERED[1..] {
        site.primary.query(&format!("ALTER SYSTEM SET {name} = {value}"));
    }
    site.primary.stop();
    site.primary.start();
    ledger.commit_many(&site.primary, 2);
    let end = site.primary.now();
    ledger.commit_many(&site.primary, 1);
    site.primary.archive_all();

    let data = folder.join("copy");
    let options = ["--target-time", end.text.as_str(), "--output", "json"];
    let report = json(&site.restore(&data, &options).success());
    let raised: Vec<(&str, u64, u64)> = report["configuration"]["raised"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["name"].as_str().unwrap(), one["needed"].as_u64().unwrap(), one["found"].as_u64().unwrap()))
        .collect();
    let wanted =
        LOWERED.map(|(name, value, low)| (name, u64::from(if low == 30 { 60 } else { value }), u64::from(low)));
    assert_eq!(raised, wanted);

    // Each alone keeps PostgreSQL from getting there; a later target keeps them.
    let auto_file = data.join("postgresql.auto.conf");
    let written = fs::read_to_string(&auto_file).unwrap();
    let mut copy = TestCluster::at(PgVersion::V15, &folder, "copy-server", &data);
    for (name, _, _) in &LOWERED[1..] {
        let without = written.lines().filter(|line| !line.starts_with(&format!("{name} = ")));
        fs::write(&auto_file, without.map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        let from = copy.log().len();
        assert!(matches!(copy.start_and_settle(), Settled::Ended(_)), "{name}");
        let log = copy.log()[from..].to_owned();
        assert!(
            log.contains("insufficient parameter settings") && log.contains(&format!("{name} = ")),
            "{name}\n{log}"
        );
    }
    // What changes on the way pauses it there.
    let (raised, at_backup) = ("max_connections = '60'", "max_connections = '50'");
    fs::write(&auto_file, written.replace(raised, at_backup)).unwrap();
    assert_eq!(copy.start_and_settle(), Settled::Paused);
    assert!(copy.log().contains("max_connections = 50 is a lower setting"), "log:\n{}", copy.log());
    copy.stop();
    fs::write(&auto_file, &written).unwrap();
    let path = data.display().to_string();
    let later = ["--write", "-D", &path, "--target-time", &end.text];
    site.pgv.run("pgv-recovery-conf", &later).success();
    assert_eq!(copy.start_and_settle(), Settled::Paused, "log:\n{}", copy.log());
    Ledger::assert(&copy, &ledger.until(&end));
    copy.promote();
    // The end of recovery takes them out.
    assert!(!fs::read_to_string(&auto_file).unwrap().contains("max_locks_per_transaction"));
}

/// 13 ends the recovery as later versions do while its copy may be read before it is opened. Else it warns, and opens
/// without what was not logged.
#[test]
#[ignore = "slow tier: scripts/test --all"]
fn wal_of_wal_level_minimal_costs_13_what_was_not_logged() {
    let folder = TestFolder::new("harmless-minimal-13");
    let mut site = Site::new(PgVersion::V13, &folder);
    site.with_history();
    site.primary.stop();
    site.primary.start_with(&["wal_level=minimal", "archive_mode=off", "max_wal_senders=0", "wal_skip_threshold=0"]);
    site.primary.query("CREATE TABLE unlogged_rows AS SELECT generate_series(1, 1000) AS id");
    site.primary.stop();
    site.primary.start();
    site.primary.archive_all();
    // Whoever reads the pages sets hints in them, which are logged: not before.
    assert_eq!(site.primary.query("SELECT count(*) FROM unlogged_rows"), "1000");

    let data = folder.join("copy");
    site.restore(&data, &[]).expect_code(3).expect_stderr("wal_level = minimal");
    site.restore(&data, &["--no-prove"]).success();
    let mut copy = TestCluster::at(PgVersion::V13, &folder, "copy-server", &data);
    let settled = copy.start_and_settle();
    assert!(matches!(settled, Settled::Ended(_)), "{settled:?}\nlog:\n{}", copy.log());
    assert!(copy.log().contains("hot standby is not possible"), "log:\n{}", copy.log());
    assert_eq!(copy.start_and_settle_with(&["hot_standby=off"]), Settled::Open, "log:\n{}", copy.log());
    assert!(copy.log().contains("data may be missing"), "log:\n{}", copy.log());
    assert_eq!(copy.query("SELECT count(*) FROM unlogged_rows"), "0");
}

#[test]
fn wal_of_wal_level_minimal_is_told_before_the_recovery_meets_it() {
    let folder = TestFolder::new("harmless-minimal");
    let mut site = Site::new(PgVersion::V15, &folder);
    let (mut ledger, _) = site.with_history();
    site.primary.stop();
    site.primary.start_with(&["wal_level=minimal", "archive_mode=off", "max_wal_senders=0"]);
    let before = ledger.all();
    ledger.commit_many(&site.primary, 2);
    site.primary.stop();
    site.primary.start();
    ledger.commit_many(&site.primary, 2);
    site.primary.archive_all();

    let data = folder.join("copy");
    let refused = site.restore(&data, &[]).expect_code(3).expect_stderr("wal_level = minimal");
    let hint = refused.stderr.split("--target-lsn ").nth(1).unwrap_or_else(|| panic!("{refused}"));
    let lsn = hint.split_whitespace().next().unwrap();
    assert!(hint.contains("--target-exclusive"), "{refused}");
    site.pgv.run("pgv", &["target"]).expect_code(3).expect_stderr(lsn);
    site.restore(&data, &["--target-lsn", lsn, "--target-exclusive"]).success();
    let mut copy = TestCluster::at(PgVersion::V15, &folder, "copy-server", &data);
    assert_eq!(copy.start_and_settle(), Settled::Paused, "log:\n{}", copy.log());
    Ledger::assert(&copy, &before);
    copy.stop();

    let across = folder.join("across");
    site.restore(&across, &["--no-prove"]).success();
    let mut copy = TestCluster::at(PgVersion::V15, &folder, "across-server", &across);
    assert!(matches!(copy.start_and_settle(), Settled::Ended(_)));
    assert!(copy.log().contains("generated with wal_level=minimal"), "log:\n{}", copy.log());
}
