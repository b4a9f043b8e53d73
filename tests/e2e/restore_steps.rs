//! The last words of a restore: each command does what is said of it where it is pasted.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::restore_places::paste;
use crate::support::{Outcome, PgVersion, Site, TestAccount, TestFolder, run, wait_until};

const VERSION: PgVersion = PgVersion::V15;
const PATIENCE: Duration = Duration::from_secs(60);

/// The steps of a restore, and the server that they start; ended when this goes.
struct Steps {
    commands: Vec<(String, String)>,
    data: PathBuf,
}

impl Steps {
    fn of(restored: &Outcome, data: PathBuf) -> Self {
        let report: Value = serde_json::from_str(&restored.stdout).unwrap();
        let steps = report["next_steps"].as_array().unwrap();
        let text = |step: &Value, name: &str| step[name].as_str().unwrap().to_owned();
        Self { commands: steps.iter().map(|step| (text(step, "what"), text(step, "command"))).collect(), data }
    }

    /// Runs the step that begins with these words, with this in the place of a word of its command.
    #[track_caller]
    fn paste(&self, what: &str, (word, with): (&str, &str)) -> Outcome {
        let step = self.commands.iter().find(|(step, _)| step.starts_with(what));
        let (_, command) = step.unwrap_or_else(|| panic!("no step {what:?} in {:?}", self.commands));
        paste(VERSION, &command.replace(word, with)).success()
    }

    /// Starts it and waits for the pause; the number of rows then.
    #[track_caller]
    fn rows_when_paused(&self) -> String {
        self.paste("Start it", ("", ""));
        wait_until("it is paused", PATIENCE, || self.paste("Look", ("", "")).stdout.contains("paused"));
        let count = "SELECT count(*) AS n FROM ledger";
        let look = "SELECT pg_get_wal_replay_pause_state(), pg_last_xact_replay_timestamp()";
        let answer = self.paste("Look", (look, count)).stdout;
        answer.lines().nth(2).unwrap_or_default().trim().to_owned()
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        let mut stop = TestAccount::get().command(VERSION.tool("pg_ctl"));
        stop.env_clear().current_dir("/").arg("-D").arg(&self.data).args(["-m", "immediate", "-w", "stop"]);
        run(stop);
    }
}

#[test]
fn the_next_steps_can_be_pasted() {
    let folder = TestFolder::new("steps");
    let site = Site::new(VERSION, &folder);
    let (mut ledger, middle) = site.with_history();
    let later = site.primary.now();
    ledger.commit_many(&site.primary, 2);
    let until = |moment| ledger.until(moment).len().to_string();
    site.primary.archive_all();
    let early = ledger.rows.iter().rfind(|row| row.committed_at.micros < middle.micros).unwrap();
    let data = folder.join("it's a copy");
    let restored = site.restore(&data, &["--target-time", &middle.text, "--output", "json"]).success();
    let steps = Steps::of(&restored, data.clone());
    assert_eq!(steps.rows_when_paused(), until(&middle));

    let paused = steps.paste("Too early?", ("LATER", &later.text));
    assert!(paused.stdout.contains("it stays on timeline 1"), "{paused}");
    assert_eq!(steps.rows_when_paused(), until(&later));

    steps.paste("Too late?", ("EARLIER", &early.committed_at.text));
    assert_eq!(steps.rows_when_paused(), ledger.through(early).len().to_string());

    steps.paste("Right?", ("", ""));
    let opened = "SELECT pg_promote()";
    wait_until("it has opened", PATIENCE, || {
        steps.paste("Right?", (opened, "SELECT pg_is_in_recovery()")).stdout.contains(" f")
    });
    let cleared = steps.paste("If it takes its original's place", ("", ""));
    assert!(cleared.stdout.contains("archive_mode"), "{cleared}");
    let (_, pgdata) = steps.commands.iter().find(|(what, _)| what.starts_with("So that pgv-archive")).unwrap();
    let config = std::fs::read_to_string(&site.pgv.config).unwrap();
    let lines = config.lines().map(|line| if line.starts_with("pgdata") { pgdata } else { line });
    std::fs::write(&site.pgv.config, lines.collect::<Vec<_>>().join("\n")).unwrap();
    steps.paste("To restart it", ("", ""));
    // Of the copy, not of the original beside it.
    steps.paste("Once it archives, take a backup", ("", ""));
    assert_eq!(site.backups().len(), 2);
    let info = site.pgv.run("pgv", &["info", "--output", "json"]).success();
    assert!(info.stdout.contains("\"timeline\": 2"), "{info}");
}
