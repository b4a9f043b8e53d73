//! `pgv-basebackup` killed at its steps: a backup is listed only when it is whole, nothing of a killed one is in the way of
//! the next, and the server is in no backup any more.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::support::crash::{Step, kill_before, spread, steps_of};
use crate::support::{PgVersion, Site, TestCluster, TestFolder, pg_verifybackup, wait_until};

const VERSION: PgVersion = PgVersion::V15;

struct Scene {
    site: Site,
    folder: TestFolder,
}

impl Scene {
    fn new(name: &str) -> Self {
        let folder = TestFolder::in_memory(name);
        let builder = TestCluster::builder(VERSION, &folder).initdb("--wal-segsize=1");
        let site = Site::of(builder, &folder);
        site.backup(&[]).success();
        Self { site, folder }
    }

    fn command(&self) -> Command {
        self.site.pgv.command("pgv-basebackup", &["--checkpoint", "fast"])
    }

    fn staged(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.site.pgv.repository.join(".staging")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// How many of the killed ones were listed all the same: each is restored and compared with its manifest.
    fn killed_at(&self, steps: &[Step]) -> (usize, usize) {
        let (mut killed, mut listed) = (0, 0);
        for (number, step) in steps.iter().enumerate() {
            let before = self.site.backups();
            // In which of its threads a step is counted may differ from run to run: then it ends by itself.
            killed += usize::from(kill_before(step, &self.command()).is_none());
            let new: Vec<String> = self.site.backups().into_iter().filter(|id| !before.contains(id)).collect();
            assert!(new.len() <= 1, "{step}: {new:?}");
            for id in &new {
                listed += 1;
                let data = self.folder.join(format!("copy-{number}"));
                self.site.restore(&data, &["--backup", id, "--target-immediate"]).success();
                let extra = ["postgresql.auto.conf", "recovery.signal", "tablespace_map", "backup_manifest", "pg_wal"];
                let options: Vec<String> = extra.iter().map(|name| format!("--ignore={name}")).collect();
                pg_verifybackup(VERSION, &data, &options.iter().map(String::as_str).collect::<Vec<_>>()).success();
                fs::remove_dir_all(data).unwrap();
            }
            self.site.pgv.run("pgv", &["info"]).success();
        }
        (killed, listed)
    }

    /// The next backup is as if none had been killed.
    fn goes_on(&self) {
        let senders = "SELECT count(*) FROM pg_stat_replication";
        wait_until("the server has noticed", Duration::from_secs(60), || self.site.primary.query(senders) == "0");
        let before = self.site.backups().len();
        self.site.backup(&[]).success();
        assert_eq!(self.site.backups().len(), before + 1);
        assert_eq!(self.staged(), [""; 0].map(PathBuf::from));
        self.site.pgv.run("pgv", &["verify"]).success();
    }
}

#[test]
fn a_backup_is_listed_whole_or_not_at_its_last_steps() {
    let scene = Scene::new("kill-backup");
    let steps = steps_of(&scene.folder, &scene.command());
    // What publishes the record, and what comes after it.
    let is_link = |step: &&Step| step.call == "linkat";
    let record = steps.iter().rfind(is_link).unwrap();
    assert!(record.line.contains("\"record\""), "{record}");
    let at = steps.iter().position(|step| step == record).unwrap();
    let last: Vec<Step> = steps[at - 3..].iter().filter(|step| step.call != "write").cloned().collect();
    let (killed, listed) = scene.killed_at(&last);
    assert!(killed >= 3 && listed >= 1, "{killed} killed, {listed} listed, of {}", last.len());
    scene.goes_on();
}

#[test]
#[ignore = "slow tier: scripts/test --all"]
fn a_backup_is_listed_whole_or_not_at_many_steps() {
    let scene = Scene::new("kill-backup-all");
    let steps = steps_of(&scene.folder, &scene.command());
    let last = steps.len().saturating_sub(40);
    let chosen = [spread(&steps[..last], 30), steps[last..].to_vec()].concat();
    let (killed, listed) = scene.killed_at(&chosen);
    assert!(killed > chosen.len() / 2 && listed >= 1, "{killed} killed, {listed} listed, of {}", chosen.len());
    scene.goes_on();
}
