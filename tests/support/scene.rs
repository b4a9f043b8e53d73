//! A site whose history a test writes step by step, and the copies that pgv-restore makes of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Ledger, LedgerRow, Outcome, PgVersion, Settled, Site, TestCluster, TestFolder};

/// A running primary with a ledger, small segments, and room for its copies.
pub(crate) struct Scene {
    pub(crate) site: Site,
    pub(crate) ledger: Ledger,
    pub(crate) folder: TestFolder,
}

/// What every kind of target is shown with: rows before a backup, before and behind one row, and before a restore point.
pub(crate) struct TargetPoints {
    pub(crate) at_backup: Vec<i64>,
    /// The row before that one.
    pub(crate) before: LedgerRow,
    pub(crate) row: LedgerRow,
    pub(crate) at_point: Vec<i64>,
}

/// Options of a restore, how its server settles, and the rows that it has then.
pub(crate) type TargetCase = (Vec<String>, Settled, Vec<i64>);

impl TargetPoints {
    /// Every kind of target, where the commit record of the row begins at `commit_begins`.
    pub(crate) fn cases(&self, ledger: &Ledger, commit_begins: &str) -> Vec<TargetCase> {
        let (with, without) = (ledger.through(&self.row), ledger.through(&self.before));
        let (time, xid) = (self.row.committed_at.text.as_str(), self.row.xid.to_string());
        let rows: [(&[&str], Settled, &[i64]); 8] = [
            (&["--target-time", time], Settled::Paused, &with),
            (&["--target-time", time, "--target-exclusive", "--target-action", "promote"], Settled::Open, &without),
            (&["--target-lsn", commit_begins], Settled::Paused, &with),
            (&["--target-lsn", commit_begins, "--target-exclusive"], Settled::Paused, &without),
            (&["--target-xid", &xid, "--target-action", "promote"], Settled::Open, &with),
            (&["--target-xid", &xid, "--target-exclusive"], Settled::Paused, &without),
            (&["--target-name", POINT], Settled::Paused, &self.at_point),
            (&["--target-immediate", "--backup", "latest"], Settled::Paused, &self.at_backup),
        ];
        let owned = |options: &[&str]| options.iter().map(|option| (*option).to_owned()).collect();
        rows.map(|(options, settled, rows)| (owned(options), settled, rows.to_vec())).into()
    }
}

/// The restore point of [`Scene::with_points`].
const POINT: &str = "it's 100 %";

impl Scene {
    /// The history that [`TargetPoints`] tells of, everything archived.
    pub(crate) fn with_points(version: PgVersion, name: &str) -> (Self, TargetPoints) {
        let mut scene = Self::new(version, name);
        scene.commit(3);
        scene.site.backup(&[]).success();
        let at_backup = scene.ledger.all();
        let before = scene.commit(2);
        scene.ledger.abort(&scene.site.primary);
        let row = scene.commit(1);
        scene.commit(1);
        scene.site.primary.query(&format!("SELECT pg_create_restore_point('{}')", POINT.replace('\'', "''")));
        let at_point = scene.ledger.all();
        scene.commit(2);
        scene.site.primary.archive_all();
        (scene, TargetPoints { at_backup, before, row, at_point })
    }

    /// A copy that stops at the restore point, and again when it is started again; another action then opens it.
    #[track_caller]
    pub(crate) fn stops_at_its_point(&self, points: &TargetPoints) {
        let mut stopped = self.restored("stopped", &["--target-name", POINT, "--target-action", "shutdown"]);
        for _ in 0..2 {
            let settled = stopped.start_and_settle();
            assert!(matches!(settled, Settled::Ended(_)), "{settled:?}\nlog:\n{}", stopped.log());
            assert!(stopped.log().contains("shutdown at recovery target"), "{}", stopped.log());
        }
        assert_eq!(stopped.start_and_settle_with(&["recovery_target_action=promote"]), Settled::Open);
        Ledger::assert(&stopped, &points.at_point);
        stopped.kill();
    }

    pub(crate) fn new(version: PgVersion, name: &str) -> Self {
        let folder = TestFolder::new(&format!("v{}-{name}", version.number()));
        let site = Site::of(TestCluster::builder(version, &folder).initdb("--wal-segsize=1"), &folder);
        let ledger = Ledger::create(&site.primary);
        Self { site, ledger, folder }
    }

    /// Commits so many rows; the last one.
    pub(crate) fn commit(&mut self, count: usize) -> LedgerRow {
        self.ledger.commit_many(&self.site.primary, count);
        self.ledger.rows.last().unwrap().clone()
    }

    /// `pgv-restore -D FOLDER/NAME`, which must succeed.
    #[track_caller]
    pub(crate) fn restored(&self, name: &str, options: &[&str]) -> TestCluster {
        let data = self.folder.join(name);
        self.site.restore(&data, options).success();
        TestCluster::at(self.site.primary.version, &self.folder, &format!("{name}-s"), &data)
    }

    /// Restores, starts, and compares the rows; the server runs on.
    #[track_caller]
    pub(crate) fn recovers(&self, name: &str, options: &[&str], settled: Settled, rows: &[i64]) -> TestCluster {
        let mut copy = self.restored(name, options);
        let found = copy.start_and_settle();
        let version = copy.version;
        assert_eq!(found, settled, "{version:?} {options:?}\nlog:\n{}", copy.log());
        if let Err(difference) = Ledger::compare(&copy, rows) {
            panic!("{version:?} {options:?}: {difference}\nlog:\n{}", copy.log());
        }
        copy
    }

    /// A restore that must be refused, with the words; the directory must not be made.
    #[track_caller]
    pub(crate) fn refused(&self, options: &[&str], code: i32, words: &[&str]) -> Outcome {
        let data = self.folder.join("refused");
        let mut outcome = self.site.restore(&data, options).expect_code(code);
        for words in words {
            outcome = outcome.expect_stderr(words);
        }
        assert!(!data.exists(), "something was made\n{outcome}");
        outcome
    }

    /// What a person changes after a failover: the configured cluster lives elsewhere now.
    pub(crate) fn configure_pgdata(&self, data: &Path) {
        let text = std::fs::read_to_string(&self.site.pgv.config).unwrap();
        let lines = text.lines().map(|line| match line.starts_with("pgdata") {
            true => format!("pgdata = \"{}\"", data.display()),
            false => line.to_owned(),
        });
        let changed: Vec<String> = lines.collect();
        assert!(changed.iter().any(|line| line.starts_with("pgdata")), "{text}");
        self.folder.write("pgv.toml", changed.join("\n") + "\n");
    }

    /// The proof of a target, by `pgv target`.
    pub(crate) fn proof(&self, options: &[&str]) -> Value {
        let found = self.site.pgv.run("pgv", &[&["target", "--output", "json"], options].concat()).success();
        let answer: Value = serde_json::from_str(&found.stdout).unwrap();
        answer["point"]["proof"].clone()
    }

    /// The names of all WAL files and histories in the repository.
    pub(crate) fn archived(&self) -> BTreeSet<String> {
        let tree = self.tree();
        let mut names = BTreeSet::new();
        for part in ["wal", "history"] {
            collect_names(&tree.join(part), &mut names);
        }
        names
    }

    /// The tree of the cluster, without asking the server, which may be gone.
    pub(crate) fn tree(&self) -> PathBuf {
        let cluster = self.site.pgv.repository.join("main");
        let mut trees = std::fs::read_dir(cluster).unwrap().map(|entry| entry.unwrap().path());
        trees.find(|path| path.join("identity").exists()).unwrap()
    }

    /// Where the archive keeps that segment.
    pub(crate) fn stored(&self, segment: &str) -> PathBuf {
        self.tree().join("wal").join(&segment[..8]).join(&segment[..16]).join(segment)
    }
}

fn collect_names(folder: &Path, names: &mut BTreeSet<String>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect_names(&path, names);
        } else {
            names.insert(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
}
