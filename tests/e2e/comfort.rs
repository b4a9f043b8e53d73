//! What a person meets on the way through a recovery to a moment: told once, with the line that helps, and no noise.

use std::path::Path;

use serde_json::Value;

use crate::support::{Outcome, PgVersion, Scene, Settled, TestCluster};

const VERSION: PgVersion = PgVersion::V15;

fn json(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}\n{outcome}"))
}

/// The `next:` line of pgv-recovery-conf starts the copy as the first step of pgv-restore does.
fn starts_as_restored(scene: &Scene, restored: &Outcome, data: &Path, lsn: &str) {
    let path = data.display().to_string();
    let written = scene.site.pgv.run("pgv-recovery-conf", &["--write", "-D", &path, "--target-lsn", lsn]).success();
    let next = written.stdout.lines().find_map(|line| line.strip_prefix("next: ")).unwrap_or_default();
    let command = next.split("  (").next().unwrap();
    assert!(command.contains(" -l ") && command.contains("port="), "beside its original: {written}");
    assert!(restored.stdout.contains(command), "{command}\nis not in\n{restored}");
}

/// A recovery to a moment, opened; then pgv init and pgv check of the copy, and a second restore.
#[test]
fn a_copy_that_was_opened_is_told_what_undoes_the_restore() {
    let mut scene = Scene::new(VERSION, "comfort");
    scene.commit(2);
    scene.site.backup(&[]).success();
    let kept = scene.commit(2);
    // Nothing of it is archived, and the server runs.
    let time = kept.committed_at.text.clone();
    for program in ["pgv", "pgv-restore"] {
        let data = scene.folder.join("early").display().to_string();
        let verb = if program == "pgv" { ["target", "--target-time"] } else { ["-D", &data] };
        let rest: &[&str] = if program == "pgv" { &[] } else { &["--target-time"] };
        let outcome = scene.site.pgv.run(program, &[&verb[..], rest, &[&time]].concat()).expect_code(3);
        outcome
            .expect_stderr("the original runs in")
            .expect_stderr("SELECT pg_switch_wal();")
            .expect_stderr("try again");
    }
    scene.site.primary.archive_all();
    // The first timeline goes on without a commit.
    scene.site.primary.archive_all();
    scene.site.primary.archive_all();

    let data = scene.folder.join("copy");
    let restored = scene.site.restore(&data, &["--target-lsn", &kept.lsn, "--target-action", "promote"]).success();
    starts_as_restored(&scene, &restored, &data, &kept.lsn);
    let mut copy = TestCluster::at(VERSION, &scene.folder, "copy-s", &data);
    assert_eq!(copy.start_and_settle(), Settled::Paused, "log:\n{}", copy.log());
    copy.promote();

    let clear = format!("pgv-recovery-conf --clear --everything -D {}", data.display());
    let repository = scene.site.pgv.repository.display().to_string();
    let options = ["init", "--repo", &repository, "--cluster", "main", "-d", &copy.conninfo()];
    let printed = scene.site.pgv.run("pgv", &options).success();
    assert!(printed.stdout.contains(&clear) && !printed.stdout.contains("ALTER SYSTEM"), "{printed}");
    assert!(!printed.stdout.contains("nothing is missing"), "{printed}");
    let pgdata = format!("pgdata = \"{}\"", data.display());
    assert!(printed.stdout.contains(&pgdata) && printed.stdout.contains("in place of its pgdata"), "{printed}");
    let report = json(&scene.site.pgv.run("pgv", &[&options[..], &["--output", "json"]].concat()).success());
    let found: Vec<(&str, &str)> = report["server"]["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| (finding["what"].as_str().unwrap(), finding["action"].as_str().unwrap()))
        .collect();
    assert_eq!(found[..2], [("restored copy", "give_back"), ("pgdata", "configuration")], "{report:#}");
    assert!(!found.iter().any(|(what, _)| what.starts_with("archive_mode") || *what == "archive_command"), "{found:?}");
    let check = scene.site.pgv.run("pgv", &["check", "-d", &copy.conninfo()]).expect_code(1);
    assert!(check.stdout.contains(&clear) && check.stdout.contains("a restore switched archiving off in"), "{check}");

    // By that line and the other it archives, and nothing is missing.
    scene.configure_pgdata(&data);
    scene.site.pgv.run("pgv-recovery-conf", &["--clear", "--everything", "-D", &data.display().to_string()]).success();
    copy.stop();
    copy.start();
    scene.ledger.commit(&copy);
    copy.archive_all();
    let printed = scene.site.pgv.run("pgv", &options).success();
    assert!(!printed.stdout.contains("--clear") && !printed.stdout.contains("pgdata:"), "{printed}");
    copy.stop();

    // No commit is lost with what the first timeline has besides.
    let quiet = scene.site.restore(&scene.folder.join("second"), &["--dry-run"]).success();
    assert!(!quiet.stderr.contains("went on") && !quiet.stderr.contains("holds WAL"), "{quiet}");
    scene.configure_pgdata(&scene.site.primary.data.clone());
    scene.commit(1);
    scene.site.primary.archive_all();
    let told = scene.site.restore(&scene.folder.join("second"), &["--dry-run"]).success();
    told.expect_stderr("timeline 1 went on up to").expect_stderr(", with 1 commit, after it was left at");
}
