//! Proves the harness with PostgreSQL's own tools alone, before it is trusted to judge pgv: servers start, WAL is
//! archived by cp, pg_basebackup restores, and the oracle says yes and no where it must.

use std::path::Path;
use std::time::Duration;

use crate::support::{
    Ledger, Moment, PgVersion, Pgv, Settled, SmallFileSystem, TestAccount, TestCluster, TestFolder, dump, pg_amcheck,
    pg_basebackup, pg_checksums, pg_verifybackup, program, run, wait_until,
};

/// A primary that archives by cp, a base backup, rows before and after it, and a moment in the middle.
struct Scene {
    archive: std::path::PathBuf,
    backup: std::path::PathBuf,
    primary: TestCluster,
    ledger: Ledger,
    middle: Moment,
}

fn scene(version: PgVersion, folder: &TestFolder) -> Scene {
    let archive = folder.make("archive");
    let primary = TestCluster::builder(version, folder).archive_to_folder(&archive).start();
    let mut ledger = Ledger::create(&primary);
    ledger.commit_many(&primary, 3);
    let backup = folder.join("backup");
    pg_basebackup(&primary, &backup, &[]).success();
    ledger.commit_many(&primary, 3);
    ledger.abort(&primary);
    let middle = primary.now();
    ledger.commit_many(&primary, 3);
    primary.archive_all();
    Scene { archive, backup, primary, ledger, middle }
}

/// Writes what a person would write by hand to recover `data` from `archive`.
fn prepare_recovery(folder: &TestFolder, data: &Path, archive: &Path, settings: &[String]) {
    let name = data.file_name().unwrap().to_str().unwrap();
    folder.write(format!("{name}/recovery.signal"), "");
    let mut text = format!("restore_command = 'cp {}/%f %p'\n", archive.display());
    for setting in settings {
        text.push_str(setting);
        text.push('\n');
    }
    folder.write(format!("{name}/postgresql.auto.conf"), text);
}

fn restores_to_a_time(version: PgVersion) {
    let folder = TestFolder::new("self-time");
    let scene = scene(version, &folder);
    pg_verifybackup(version, &scene.backup, &[]).success();
    let target = format!("recovery_target_time = '{}'", scene.middle.text);
    prepare_recovery(&folder, &scene.backup, &scene.archive, &[target]);
    let mut copy = TestCluster::at(version, &folder, "copy", &scene.backup);
    assert_eq!(copy.start_and_settle_with(&["archive_mode=off"]), Settled::Paused);

    let expected = scene.ledger.until(&scene.middle);
    assert_eq!(expected, [1, 2, 3, 4, 5, 6]);
    Ledger::assert(&copy, &expected);
    copy.promote();
    assert!(!copy.is_in_recovery());
    Ledger::assert(&copy, &expected);
    pg_amcheck(&copy).success();
    copy.stop();
    pg_checksums(version, &scene.backup).success();
    assert_eq!(scene.primary.version, version);
}

#[test]
fn postgresql_15_restores_to_a_time() {
    restores_to_a_time(PgVersion::V15);
}

#[test]
fn postgresql_17_restores_to_a_time() {
    restores_to_a_time(PgVersion::V17);
}

#[test]
fn commit_times_and_positions_are_exact() {
    let folder = TestFolder::new("self-exact");
    let scene = scene(PgVersion::V15, &folder);
    let row = &scene.ledger.rows[6];
    let exact = row.committed_at.text.clone();
    for (name, settings, expected) in [
        ("inclusive", vec![format!("recovery_target_time = '{exact}'")], scene.ledger.until(&row.committed_at)),
        (
            "exclusive",
            vec![format!("recovery_target_time = '{exact}'"), "recovery_target_inclusive = off".to_owned()],
            scene.ledger.before(&row.committed_at),
        ),
        ("position", vec![format!("recovery_target_lsn = '{}'", row.lsn)], scene.ledger.through(row)),
        ("transaction", vec![format!("recovery_target_xid = '{}'", row.xid)], scene.ledger.through(row)),
    ] {
        let data = folder.join(name);
        copy_tree(&scene.backup, &data);
        prepare_recovery(&folder, &data, &scene.archive, &settings);
        let mut copy = TestCluster::at(PgVersion::V15, &folder, &format!("c-{name}"), &data);
        assert_eq!(copy.start_and_settle_with(&["archive_mode=off"]), Settled::Paused, "{name}");
        Ledger::assert(&copy, &expected);
    }
}

fn copy_tree(from: &Path, to: &Path) {
    let mut command = crate::support::TestAccount::get().command("cp");
    command.arg("-a").arg(from).arg(to);
    run(command).success();
}

#[test]
fn the_oracle_sees_a_row_more_a_row_less_and_a_changed_row() {
    let folder = TestFolder::new("self-oracle");
    let primary = TestCluster::builder(PgVersion::V15, &folder).start();
    let mut ledger = Ledger::create(&primary);
    ledger.commit_many(&primary, 4);
    assert_eq!(Ledger::compare(&primary, &ledger.all()), Ok(()));
    let one_less = ledger.through(&ledger.rows[2]);
    assert_eq!(
        Ledger::compare(&primary, &one_less),
        Err("the ledger differs: missing [], not expected [4], changed []".to_owned())
    );
    primary.query("DELETE FROM ledger WHERE id = 2");
    primary.query("UPDATE ledger SET payload = 'x' WHERE id = 3");
    assert_eq!(
        Ledger::compare(&primary, &ledger.all()),
        Err("the ledger differs: missing [2], not expected [], changed [3]".to_owned())
    );
}

#[test]
fn a_recovery_that_ends_early_is_seen() {
    let folder = TestFolder::new("self-early");
    let scene = scene(PgVersion::V15, &folder);
    let target = "recovery_target_time = '2099-01-01 00:00:00+00'".to_owned();
    prepare_recovery(&folder, &scene.backup, &scene.archive, &[target]);
    let mut copy = TestCluster::at(PgVersion::V15, &folder, "copy", &scene.backup);
    let settled = copy.start_and_settle_with(&["archive_mode=off"]);
    assert!(matches!(settled, Settled::Ended(status) if status.code() == Some(1)), "{settled:?}");
    copy.wait_for_log("recovery ended before configured recovery target was reached");
}

#[test]
fn a_killed_server_starts_again_with_all_committed_rows() {
    let folder = TestFolder::new("self-kill");
    let mut primary = TestCluster::builder(PgVersion::V17, &folder).start();
    let mut ledger = Ledger::create(&primary);
    ledger.commit_many(&primary, 2);
    let before = dump(&primary);
    primary.kill();
    assert!(primary.try_query("SELECT 1").stderr.contains("failed"));
    primary.start();
    Ledger::assert(&primary, &ledger.all());
    primary.stop_immediately();
    primary.start();
    assert_eq!(dump(&primary), before);
    ledger.commit(&primary);
    assert_ne!(dump(&primary), before);
}

#[test]
fn commands_run_as_the_server_runs_them() {
    let folder = TestFolder::new("self-command");
    let cluster = TestCluster::builder(PgVersion::V15, &folder).create();
    let outcome =
        cluster.run_as_server("umask; pwd; echo \"${HOME-no home}\"; echo $0 >&2; exit 3", &[]).expect_code(3);
    assert_eq!(outcome.stdout, format!("0077\n{}\nno home\n", cluster.data.display()));
    assert_eq!(cluster.run_as_server("echo $A", &[("A", "b")]).success().stdout, "b\n");
    let killed = cluster.run_as_server("kill -9 $$", &[]);
    assert_eq!(killed.status.code(), None);
}

#[test]
fn tablespaces_lie_outside_the_data_directory() {
    let folder = TestFolder::new("self-space");
    let primary = TestCluster::builder(PgVersion::V15, &folder).start();
    let location = primary.create_tablespace(&folder, "extra");
    primary.query("CREATE TABLE t TABLESPACE extra AS SELECT generate_series(1, 1000) AS i");
    assert!(std::fs::read_dir(location).unwrap().count() > 0);
}

#[test]
fn a_small_file_system_fills() {
    let folder = TestFolder::new("self-full");
    let small = SmallFileSystem::mount(&folder, "small", 1024 * 1024);
    let file = small.path().join("file");
    let error = std::fs::write(&file, vec![1; 2 * 1024 * 1024]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    std::fs::remove_file(&file).unwrap();
    small.set_read_only(true);
    let error = std::fs::write(&file, b"x").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
}

#[test]
#[should_panic(expected = "gave up waiting until pigs fly")]
fn waiting_has_an_end() {
    wait_until("pigs fly", Duration::from_millis(50), || false);
}

#[test]
fn programs_run_as_the_ordinary_account() {
    for name in ["pgv", "pgv-archive", "pgv-basebackup", "pgv-fetch", "pgv-recovery-conf", "pgv-restore"] {
        let mut command = TestAccount::get().command(program(name));
        command.arg("--version").env_clear();
        let outcome = run(command).success();
        assert!(outcome.stdout.starts_with(name), "{outcome}");
    }
    let folder = TestFolder::new("self-programs");
    let outcome = Pgv::new(&folder).run("pgv", &["info", "--help"]).success();
    assert!(outcome.stdout.contains("--config"), "{outcome}");
    assert_ne!(TestAccount::get().uid, 0);
}
