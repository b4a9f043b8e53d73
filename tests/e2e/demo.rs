//! scripts/demo to its end: what a newcomer sees first must work, as root and as an ordinary user.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::{Outcome, TestAccount, TestFolder, program, run_within};

/// A copy of scripts, since a checkout below /root is out of the account's reach.
fn copy_scripts(folder: &TestFolder, names: &[&str]) {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    folder.make("scripts");
    for name in names {
        folder.write(format!("scripts/{name}"), std::fs::read(scripts.join(name)).unwrap());
    }
}

fn demo(folder: &TestFolder, mut command: Command) -> Outcome {
    copy_scripts(folder, &["demo", "lib.sh"]);
    let programs = program("pgv").parent().unwrap().to_owned();
    command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("PGV_DEMO_PROGRAMS", programs);
    command.env("TMPDIR", folder.make("tmp")).current_dir("/");
    command.arg(folder.join("scripts/demo")).arg("--no-build");
    run_within(Duration::from_secs(120), command).success()
}

fn assert_shown(folder: &TestFolder, outcome: &Outcome) {
    let mut lines = outcome.stdout.lines();
    for step in [
        "$ initdb -D data ",
        "$ pgv init --repo ",
        "$ pg_ctl -D data -l log -w restart",
        "$ pgv-basebackup --checkpoint fast",
        "$ psql -c 'INSERT INTO orders VALUES (8)'",
        "$ rm -rf data",
        "$ pgv-restore -D data --target-time '",
        "$ pg_ctl -D data -l log -w start",
        "(5 rows)",
        "Exactly the rows committed before ",
        "$ psql -c 'SELECT pg_wal_replay_resume()'",
        "Done.",
    ] {
        assert!(lines.any(|line| line.starts_with(step)), "{step:?} is not shown, or not in its place\n{outcome}");
    }
    let left: Vec<_> = std::fs::read_dir(folder.join("tmp")).unwrap().collect();
    assert!(left.is_empty(), "{left:?} was left behind");
}

#[test]
fn the_demo_shows_the_main_job_to_an_ordinary_user_and_cleans_up() {
    let folder = TestFolder::new("demo");
    let outcome = demo(&folder, TestAccount::get().command("bash"));
    assert_shown(&folder, &outcome);
    assert!(outcome.stdout.contains(&format!(", as {}, with", TestAccount::get().name)), "{outcome}");
}

/// As root, server and programs run as an ordinary user; any other user has seen the same above.
#[test]
fn the_demo_shows_the_main_job_to_whoever_runs_the_tests() {
    let folder = TestFolder::new("demo-own");
    if TestAccount::tests_run_as_root() {
        use std::os::unix::fs::PermissionsExt as _;
        // mktemp's folder is entered by the server's account
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::set_permissions(folder.make("tmp"), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let outcome = demo(&folder, Command::new("bash"));
    assert_shown(&folder, &outcome);
    assert!(outcome.stdout.contains(&format!(", as {}, with", TestAccount::get().name)), "{outcome}");
}

/// On a machine where nothing is installed, who may not install is told what root has to type.
#[test]
fn who_may_not_install_gets_the_line_for_root() {
    let folder = TestFolder::new("install");
    copy_scripts(&folder, &["install", "lib.sh"]);
    let tools = folder.make("tools");
    for tool in ["basename", "dirname", "id"] {
        std::os::unix::fs::symlink(Path::new("/usr/bin").join(tool), tools.join(tool)).unwrap();
    }
    for options in [&["--demo"] as &[&str], &[]] {
        let mut command = TestAccount::get().command("/bin/bash");
        command.env_clear().env("PATH", &tools).env("HOME", folder.path()).current_dir("/");
        command.arg(folder.join("scripts/install")).args(options);
        let outcome = run_within(Duration::from_secs(60), command).expect_code(1);
        let outcome = outcome.expect_stderr("install: missing packages; run as root:\n");
        let line = outcome.stderr.lines().find(|line| line.trim_start().starts_with("apt-get install -y "));
        let line = line.unwrap_or_else(|| panic!("{outcome}"));
        for package in ["gcc", "git", "zstd", "openssl", "curl"] {
            assert!(line.split(' ').any(|word| word == package), "{package}: {line}");
        }
        assert_eq!(line.contains(" strace"), options.is_empty(), "{line}");
        assert!(!folder.join("target").exists(), "something was downloaded");
    }
}
