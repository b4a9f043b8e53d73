//! A site as a person sets it up: a server, `pgv init`, the archive_command that init prints.

use std::path::PathBuf;

use crate::support::{Builder, Ledger, Moment, Outcome, PgVersion, Pgv, TestCluster, TestFolder};

/// A running primary that archives into a repository.
pub(crate) struct Site {
    pub(crate) pgv: Pgv,
    pub(crate) primary: TestCluster,
}

impl Site {
    /// A new cluster with a repository beside it, both as `pgv init` leaves them.
    #[track_caller]
    pub(crate) fn new(version: PgVersion, folder: &TestFolder) -> Self {
        Self::of(TestCluster::builder(version, folder), folder)
    }

    /// Like `new`, of a cluster that was prepared.
    #[track_caller]
    pub(crate) fn of(builder: Builder<'_>, folder: &TestFolder) -> Self {
        let primary = builder.line("archive_mode = on").line("wal_level = replica").start();
        let pgv = Pgv::new(folder);
        let site = Self { pgv, primary };
        let printed = site.init(&[]).success();
        let line = printed.stdout.lines().map(str::trim).find(|line| line.starts_with("archive_command = "));
        let line = line.unwrap_or_else(|| panic!("pgv init printed no archive_command\n{printed}"));
        site.primary.configure(&[line]);
        site.primary.reload();
        site
    }

    /// `pgv init` for the primary.
    #[track_caller]
    pub(crate) fn init(&self, options: &[&str]) -> Outcome {
        let repository = self.pgv.repository.display().to_string();
        let conninfo = self.primary.conninfo();
        let arguments = ["init", "--repo", &repository, "--cluster", "main", "-d", &conninfo];
        self.pgv.run("pgv", &[&arguments, options].concat())
    }

    /// `pgv-basebackup --checkpoint fast`.
    #[track_caller]
    pub(crate) fn backup(&self, options: &[&str]) -> Outcome {
        self.pgv.run("pgv-basebackup", &[&["--checkpoint", "fast"], options].concat())
    }

    /// `pgv-restore -D DIR`.
    #[track_caller]
    pub(crate) fn restore(&self, directory: &std::path::Path, options: &[&str]) -> Outcome {
        let directory = directory.display().to_string();
        self.pgv.run("pgv-restore", &[&["-D", &directory], options].concat())
    }

    /// The tree of the primary in the repository.
    pub(crate) fn tree(&self) -> PathBuf {
        let identifier = self.primary.query("SELECT system_identifier FROM pg_control_system()");
        self.pgv.repository.join("main").join(identifier)
    }

    /// The archived segments of the first timeline, in order; whole ones alone.
    pub(crate) fn archived_segments(&self) -> Vec<PathBuf> {
        let below = |folder: PathBuf| {
            let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
            entries.map(|entry| entry.expect("a directory can be read").path())
        };
        let is_segment = |path: &PathBuf| path.file_name().is_some_and(|name| name.len() == 24);
        let mut found: Vec<PathBuf> =
            below(self.tree().join("wal/00000001")).flat_map(below).filter(is_segment).collect();
        found.sort();
        found
    }

    /// The ids of the listed backups, oldest first.
    pub(crate) fn backups(&self) -> Vec<String> {
        let folder = self.tree().join("backups");
        let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
        let record_of = |entry: std::io::Result<std::fs::DirEntry>| {
            let path = entry.expect("a directory can be read").path();
            let written = std::fs::metadata(path.join("record")).and_then(|record| record.modified()).ok()?;
            Some((written, path.file_name()?.to_string_lossy().into_owned()))
        };
        let mut backups: Vec<_> = entries.filter_map(record_of).collect();
        backups.sort();
        backups.into_iter().map(|(_, id)| id).collect()
    }

    /// Rows, a backup, rows, a moment, rows, everything archived: what most restores begin with.
    #[track_caller]
    pub(crate) fn with_history(&self) -> (Ledger, Moment) {
        let mut ledger = Ledger::create(&self.primary);
        ledger.commit_many(&self.primary, 3);
        self.backup(&[]).success();
        ledger.commit_many(&self.primary, 3);
        ledger.abort(&self.primary);
        let middle = self.primary.now();
        ledger.commit_many(&self.primary, 3);
        self.primary.archive_all();
        (ledger, middle)
    }
}
