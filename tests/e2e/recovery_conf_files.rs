//! What pgv-recovery-conf writes, read back by the server itself, run by the shell, and killed in the middle.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::{Outcome, PgVersion, TestAccount, TestCluster, TestFolder, program, run};

/// A cluster that is stopped, and the programs in a directory with a name of the test's choosing.
struct Scene {
    cluster: TestCluster,
    programs: PathBuf,
    config: PathBuf,
    folder: TestFolder,
}

/// Says what it was called with, a line for each word.
const FETCH: &str = "#!/bin/sh\nprintf '%s\\n' \"$0\" \"$@\"\n";

impl Scene {
    fn new(version: PgVersion, name: &str) -> Self {
        let folder = TestFolder::new("conf-files");
        let cluster = TestCluster::builder(version, &folder).create();
        let programs = folder.make(name);
        let config = folder.write(format!("{name}/pgv.toml"), "[[repo]]\nurl = \"/srv/pgv\"\n");
        // What a recovery has yet to begin from.
        folder.write("primary/backup_label", "");
        let scene = Self { cluster, programs, config, folder };
        let fetch = scene.folder.write("fetch", FETCH);
        scene.install("pgv-fetch", &fetch);
        scene.install("pgv-recovery-conf", &program("pgv-recovery-conf"));
        scene
    }

    /// By another process: a program that this one has open for writing cannot be run, and its children inherit that.
    fn install(&self, name: &str, source: &Path) {
        let mut command = TestAccount::get().command("install");
        command.args(["-m", "755"]).arg(source).arg(self.programs.join(name));
        run(command).success();
    }

    fn command(&self, options: &[&str]) -> std::process::Command {
        let mut command = TestAccount::get().command(self.programs.join("pgv-recovery-conf"));
        command.env_clear().current_dir("/").args(options);
        if !options.contains(&"--clear") {
            command.arg("--config").arg(&self.config);
        }
        command.arg("-D").arg(&self.cluster.data);
        command
    }

    #[track_caller]
    fn run(&self, options: &[&str]) -> Outcome {
        run(self.command(options))
    }

    /// What the server takes for the value of a setting.
    #[track_caller]
    fn server_says(&self, name: &str) -> String {
        let mut command = self.cluster.tool("postgres");
        command.args(["-C", name, "-D"]).arg(&self.cluster.data);
        let outcome = run(command).success();
        outcome.stdout.strip_suffix('\n').unwrap().to_owned()
    }

    /// Runs a command of the configuration as the server does: `%` replaced, by the shell, in the data directory, with
    /// umask 077 and without any variable.
    #[track_caller]
    fn as_server(&self, command: &str) -> Outcome {
        let (mut text, mut rest) = (String::new(), command.chars());
        while let Some(c) = rest.next() {
            match c {
                '%' => match rest.next().unwrap() {
                    'f' => text.push_str("00000002.history"),
                    'p' => text.push_str("pg_wal/RECOVERYHISTORY"),
                    '%' => text.push('%'),
                    other => panic!("the server knows no %{other}: {command}"),
                },
                c => text.push(c),
            }
        }
        self.cluster.run_as_server(&text, &[])
    }

    fn auto_file(&self) -> PathBuf {
        self.cluster.data.join("postgresql.auto.conf")
    }

    fn auto_text(&self) -> String {
        fs::read_to_string(self.auto_file()).unwrap()
    }

    fn has(&self, name: &str) -> bool {
        self.cluster.data.join(name).exists()
    }

    fn end_recovery(&self) {
        fs::remove_file(self.cluster.data.join("recovery.signal")).unwrap();
    }
}

#[test]
fn every_directory_name_comes_back_through_server_and_shell() {
    for name in
        ["plain", "a b", "it's", "$HOME `id` $(id)", "100% %f %p", "back\\slash\\", "a\"b;c|d&e<f>#", "-n*?", "\u{e4}"]
    {
        let scene = Scene::new(PgVersion::V15, name);
        scene.run(&["--write", "--target-immediate"]).success();
        let called = scene.as_server(&scene.server_says("restore_command")).success().stdout;
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let fetch = text(&scene.programs.join("pgv-fetch"));
        let config = text(&scene.config);
        let wanted = [&fetch, "--config", &config, "00000002.history", "pg_wal/RECOVERYHISTORY"];
        assert_eq!(called.lines().collect::<Vec<_>>(), wanted, "{name}");

        let end = scene.server_says("recovery_end_command");
        scene.as_server(&end).expect_code(1).expect_stderr("recovery has not ended");
        scene.end_recovery();
        scene.as_server(&end).success();
        assert_eq!(scene.server_says("recovery_target"), "");
        assert_eq!(scene.server_says("restore_command"), "");
    }
}

#[test]
fn a_line_break_in_a_name_is_refused() {
    let scene = Scene::new(PgVersion::V15, "a\nb");
    let before = scene.auto_text();
    let outcome = scene.run(&["--write", "--target-immediate"]).expect_code(2);
    outcome.expect_stderr("value of setting \"restore_command\" has a line break");
    assert_eq!(scene.auto_text(), before);
    assert!(!scene.has("recovery.signal"));
}

/// A target in an included file, one left over in postgresql.auto.conf, and every kind of new one: the server, which
/// refuses two, sees the new one alone.
fn the_server_sees_one_target(version: PgVersion) {
    let scene = Scene::new(version, "programs");
    scene.folder.write("primary/more.conf", "recovery_target_name = 'foreign'\n");
    scene.cluster.configure(&["include 'more.conf'"]);
    let left_over = scene.auto_text() + "recovery_target_xid = '4711'\nrecovery_target_inclusive = off\n";
    scene.folder.write("primary/postgresql.auto.conf", &left_over);
    for (options, name, value) in [
        (&["--target-immediate"] as &[&str], "recovery_target", "immediate"),
        (
            &["--target-time", "2026-11-20 14:30:00.5+01", "--target-exclusive"],
            "recovery_target_time",
            "2026-11-20 13:30:00.500000+00",
        ),
        (&["--target-lsn", "1A/2B"], "recovery_target_lsn", "1A/2B"),
        (&["--target-xid", "4294968007", "--target-timeline", "3"], "recovery_target_xid", "4294968007"),
        (&["--target-name", "it's 100 %"], "recovery_target_name", "it's 100 %"),
        (&["--target-timeline", "current"], "recovery_target_timeline", "current"),
    ] {
        let outcome = scene.run(&[&["--write"], options].concat()).success();
        outcome.expect_stderr("sets recovery_target_name");
        for setting in ["", "_time", "_lsn", "_xid", "_name"].map(|suffix| format!("recovery_target{suffix}")) {
            let wanted = if setting == name { value } else { "" };
            assert_eq!(scene.server_says(&setting), wanted, "{setting} {options:?}");
        }
        let exclusive = options.contains(&"--target-exclusive");
        assert_eq!(scene.server_says("recovery_target_inclusive"), if exclusive { "off" } else { "on" });
        if name == "recovery_target_timeline" {
            assert_eq!(scene.server_says(name), value);
        }
        assert_eq!(scene.server_says("archive_mode"), "off");
    }
    let options = ["--write", "--standby", "--primary-conninfo", "host=a password='x y'", "--primary-slot-name", "one"];
    let outcome = scene.run(&options).success();
    assert!(!outcome.stdout.contains("x y"), "{outcome}");
    assert_eq!(scene.server_says("primary_conninfo"), "host=a password='x y'");
    assert_eq!(scene.server_says("primary_slot_name"), "one");
    assert!(scene.has("standby.signal") && !scene.has("recovery.signal"));
}

#[test]
fn postgresql_15_sees_one_target() {
    the_server_sees_one_target(PgVersion::V15);
}

#[test]
fn postgresql_17_sees_one_target() {
    the_server_sees_one_target(PgVersion::V17);
}

/// With Debian's packages the main file lies elsewhere: whatever it sets, the server sees one target.
#[test]
fn a_main_file_elsewhere_cannot_add_a_target() {
    let scene = Scene::new(PgVersion::V15, "programs");
    let elsewhere = scene.folder.join("elsewhere.conf");
    fs::rename(scene.cluster.data.join("postgresql.conf"), &elsewhere).unwrap();
    for foreign in ["recovery_target = immediate", "recovery_target_time = '2020-01-01'", "recovery_target_lsn = '0/1'"]
    {
        scene.folder.write("elsewhere.conf", format!("{foreign}\n"));
        scene.run(&["--write", "--target-xid", "7"]).success();
        let mut command = scene.cluster.tool("postgres");
        command.args(["-C", "recovery_target_xid", "-D"]).arg(&scene.cluster.data);
        command.arg(format!("--config-file={}", elsewhere.display()));
        assert_eq!(run(command).success().stdout, "7\n", "{foreign}");
    }
}

#[test]
fn showing_touches_nothing_and_can_be_appended_as_it_is() {
    let scene = Scene::new(PgVersion::V15, "programs");
    let before = scene.auto_text();
    let shown = scene.run(&["--target-xid", "7"]).success().stdout;
    let dry = scene.run(&["--target-xid", "7", "--write", "--dry-run"]).success().stdout;
    assert_eq!(dry, format!("{shown}# nothing was written: --dry-run\n"));
    assert_eq!(scene.auto_text(), before);
    assert!(!scene.has("recovery.signal"));
    scene.folder.write("primary/postgresql.auto.conf", &shown);
    assert_eq!(scene.server_says("recovery_target_xid"), "7");

    let dry: serde_json::Value =
        serde_json::from_str(&scene.run(&["--clear", "--dry-run", "--output", "json"]).success().stdout).unwrap();
    assert_eq!((&dry["changed"], &dry["dry_run"]), (&true.into(), &true.into()));
    assert_eq!(scene.auto_text(), shown);
    let printed: serde_json::Value =
        serde_json::from_str(&scene.run(&["--target-xid", "7", "--output", "json"]).success().stdout).unwrap();
    assert_eq!(printed["action"], "print");
    assert_eq!(printed["target"], "transaction 7");
    assert!(printed["lines"].as_str().unwrap().contains("recovery_target_xid = '7'"));
}

/// Lets the command run for a while and kills it.
fn kill_after(mut command: std::process::Command, delay: Duration) {
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut child = command.spawn().unwrap();
    std::thread::sleep(delay);
    child.kill().unwrap();
    child.wait().unwrap();
}

const KILLS: u32 = 60;

/// Kills at fifty and more moments, spread over the time that a whole run takes.
fn killed_at_any_time(scene: &Scene, options: &[&str], prepare: impl Fn(), check: impl Fn()) {
    prepare();
    let started = Instant::now();
    scene.run(options).success();
    let whole = started.elapsed() + Duration::from_millis(2);
    for kill in 0..KILLS {
        prepare();
        kill_after(scene.command(options), whole * kill / KILLS);
        check();
    }
    prepare();
    scene.run(options).success();
}

#[test]
fn a_killed_clear_leaves_a_whole_file() {
    let scene = Scene::new(PgVersion::V15, "programs");
    // Long enough that writing it is not one moment.
    let users: String = (0..40_000).map(|i| format!("pgv_test.setting_{i} = 'value'\n")).collect();
    scene.folder.write("primary/postgresql.auto.conf", &users);
    scene.run(&["--write", "--target-immediate"]).success();
    scene.end_recovery();
    let old = scene.auto_text();
    let restore = || {
        scene.folder.write("primary/postgresql.auto.conf", &old);
    };
    scene.run(&["--clear"]).success();
    let new = scene.auto_text();
    assert_ne!(old, new);
    killed_at_any_time(&scene, &["--clear"], restore, || {
        let text = scene.auto_text();
        assert!(text == old || text == new, "{} bytes, neither {} nor {}", text.len(), old.len(), new.len());
    });
    assert_eq!(scene.auto_text(), new);
    scene.run(&["--clear"]).success();
    assert_eq!(scene.auto_text(), new);
}

#[test]
fn a_killed_write_never_leaves_a_recovery_without_its_target() {
    let scene = Scene::new(PgVersion::V15, "programs");
    let old = scene.auto_text();
    scene.run(&["--write", "--target-immediate"]).success();
    let new = scene.auto_text();
    let prepare = || {
        scene.folder.write("primary/postgresql.auto.conf", &old);
        let _ = fs::remove_file(scene.cluster.data.join("recovery.signal"));
    };
    killed_at_any_time(&scene, &["--write", "--target-immediate"], prepare, || {
        let text = scene.auto_text();
        assert!(text == old || text == new, "{text}");
        assert!(!scene.has("recovery.signal") || text == new, "a signal without its settings: {text}");
    });
    assert_eq!(scene.auto_text(), new);
    assert!(scene.has("recovery.signal"));
}
