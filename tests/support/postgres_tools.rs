//! PostgreSQL's own tools as oracles.

use std::path::Path;
use std::time::Duration;

use crate::support::cluster::tool_command;
use crate::support::{Outcome, PgVersion, TestCluster, run_within};

const LIMIT: Duration = Duration::from_secs(120);

/// Compares `data` with its backup_manifest; the WAL is not looked at, it comes from the archive.
#[track_caller]
pub(crate) fn pg_verifybackup(version: PgVersion, data: &Path, options: &[&str]) -> Outcome {
    let mut command = tool_command(version, "pg_verifybackup");
    command.arg("--no-parse-wal").args(options).arg(data);
    run_within(LIMIT, command)
}

/// Checks every page of a cleanly stopped cluster.
#[track_caller]
pub(crate) fn pg_checksums(version: PgVersion, data: &Path) -> Outcome {
    let mut command = tool_command(version, "pg_checksums");
    command.arg("--check").arg("--pgdata").arg(data);
    run_within(LIMIT, command)
}

/// Checks tables and indexes of every database of a running server that takes writes.
#[track_caller]
pub(crate) fn pg_amcheck(cluster: &TestCluster) -> Outcome {
    let mut command = cluster.client("pg_amcheck");
    command.args(["--all", "--install-missing", "--heapallindexed"]);
    run_within(LIMIT, command)
}

/// Everything the server holds as SQL, comparable between two servers.
#[track_caller]
pub(crate) fn dump(cluster: &TestCluster) -> String {
    let mut command = cluster.client("pg_dumpall");
    command.arg("--no-sync");
    let text = run_within(LIMIT, command).success().stdout;
    // newer minor versions write a random key into these lines
    let is_random = |line: &&str| line.starts_with("\\restrict ") || line.starts_with("\\unrestrict ");
    text.lines().filter(|line| !is_random(line)).collect::<Vec<_>>().join("\n")
}

/// A plain-format base backup without WAL, by PostgreSQL's own tool.
#[track_caller]
pub(crate) fn pg_basebackup(cluster: &TestCluster, target: &Path, options: &[&str]) -> Outcome {
    let mut command = cluster.client("pg_basebackup");
    command.args(["--checkpoint=fast", "--no-sync", "--wal-method=none", "--pgdata"]).arg(target).args(options);
    run_within(LIMIT, command)
}
