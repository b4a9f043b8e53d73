//! Gathers what a check looks at: the repository first, then the server, then whether a segment makes its way.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::facts::{CheckFacts, RepositoryFacts, ServerPart, Thresholds, Trial};
use super::judge::{judge, setting_names};
use super::metrics;
use super::report::{CheckReport, CheckState, SCHEMA_VERSION, cluster_text};
use super::tree::tree;
use crate::clock::{Clock, Deadline, Stopwatch, wait};
use crate::error::chain;
use crate::fs;
use crate::pg::{SystemIdentifier, WalFileName, WalSegmentName};
use crate::report::{Cancel, Reporter};
use crate::repository::{ClusterSelection, Repository, SelectedCluster, WalArchive};
use crate::server::{ConnectionSettings, LocalDirectory, ServerError, SqlClient};

/// How often it is looked whether a segment arrived.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What to look at.
pub struct CheckOptions {
    /// The repository, or why it could not be opened.
    pub repository: Result<Repository, String>,
    /// Its directory.
    pub repository_path: PathBuf,
    /// Which cluster is meant.
    pub selection: ClusterSelection,
    /// How to reach its server, or why that is not known.
    pub connection: Result<ConnectionSettings, String>,
    /// The configuration file in use.
    pub configuration_file: Option<PathBuf>,
    /// How long to wait for a segment to arrive; when absent, the server is not asked to end one.
    pub switch: Option<Duration>,
    /// From when on something is worth a word.
    pub thresholds: Thresholds,
}

/// Looks at everything and judges it.
///
/// # Errors
/// Only when there can be no runtime for the connection.
pub fn check(
    options: &CheckOptions,
    clock: &dyn Clock,
    reporter: &dyn Reporter,
    cancel: &Cancel,
) -> std::io::Result<CheckReport> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let probe = Probe { options, runtime, reporter, cancel };
    let facts = probe.gather(clock);
    let checks = judge(&facts);
    let cluster = facts.tree.as_ref().and_then(|tree| tree.as_ref().ok()).map(|tree| cluster_text(&tree.cluster));
    Ok(CheckReport {
        schema_version: SCHEMA_VERSION,
        checked_at: facts.now,
        configuration_file: options.configuration_file.clone(),
        cluster,
        state: checks.iter().map(|item| item.state).max().unwrap_or(CheckState::Unknown),
        metrics: metrics::of(&facts, &checks),
        checks,
    })
}

struct Probe<'a> {
    options: &'a CheckOptions,
    runtime: Runtime,
    reporter: &'a dyn Reporter,
    cancel: &'a Cancel,
}

impl Probe<'_> {
    fn gather(&self, clock: &dyn Clock) -> CheckFacts {
        let connected = match &self.options.connection {
            Ok(settings) => {
                let client = self.runtime.block_on(SqlClient::connect(settings)).map_err(|error| chain(&error));
                client.and_then(|client| self.server(client).map_err(|error| chain(&error)))
            }
            Err(problem) => Err(problem.clone()),
        };
        let (client, server, system_identifier) = match connected {
            Ok((client, server, system_identifier)) => (Some(client), Ok(server), system_identifier),
            Err(problem) => (None, Err(problem), None),
        };
        let repository = self.repository();
        let selected = self.options.repository.as_ref().ok().map(|repository| {
            let selected = repository.select_cluster(&self.options.selection, system_identifier);
            selected.map_err(|error| chain(&error))
        });
        let trial = match (&self.options.repository, &selected, &client, &server) {
            (Ok(repository), Some(Ok(selected)), Some(client), Ok(server)) => {
                self.trial(repository, selected, client, server.health.in_recovery)
            }
            _ => Trial::NotMade("not tried"),
        };
        let tree = match (&self.options.repository, selected) {
            (Ok(repository), Some(selected)) => {
                let timeline = server.as_ref().ok().and_then(|server| server.health.timeline);
                let tree =
                    selected.and_then(|selected| tree(repository, &selected, timeline).map_err(|error| chain(&error)));
                Some(tree)
            }
            _ => None,
        };
        if let Some(client) = client {
            self.runtime.block_on(client.close());
        }
        CheckFacts {
            now: clock.now(),
            configuration_file: self.options.configuration_file.clone(),
            repository,
            tree,
            server,
            trial,
            thresholds: self.options.thresholds,
        }
    }

    fn repository(&self) -> Result<RepositoryFacts, String> {
        self.options.repository.as_ref().map_err(Clone::clone)?;
        let path = &self.options.repository_path;
        let looked = fs::look_at(path).and_then(|facts| Ok((facts, fs::room_at(path)?)));
        let (facts, room) = looked.map_err(|error| chain(&error))?;
        let facts = facts.ok_or_else(|| format!("there is nothing at \"{}\"", path.display()))?;
        let is_own = rustix::process::geteuid().as_raw() == facts.owner;
        Ok(RepositoryFacts {
            path: path.clone(),
            owner: facts.owner,
            mode: facts.mode,
            is_read_only: is_own && !facts.is_writable,
            room,
        })
    }

    fn server(&self, client: SqlClient) -> Result<(SqlClient, ServerPart, Option<SystemIdentifier>), ServerError> {
        self.runtime.block_on(async {
            let facts = client.server_facts(&setting_names()).await?;
            let rights = client.role_rights().await?;
            let health = client.health().await?;
            let local = match facts.system_identifier {
                Some(identifier) => {
                    LocalDirectory::find(client.endpoint(), facts.data_directory.as_deref(), identifier)
                }
                None => LocalDirectory::Elsewhere,
            };
            let directory = local.proven();
            let part = ServerPart {
                endpoint: client.endpoint().to_string(),
                version: client.version_text().unwrap_or("unknown").to_owned(),
                role: rights.role,
                health,
                settings: facts.settings,
                wal_directory: directory.and_then(wal_directory),
                owner: directory.and_then(|path| Some(fs::look_at(path).ok()??.owner)),
            };
            Ok((client, part, facts.system_identifier))
        })
    }

    /// Has the server end a segment, and waits for it in the archive.
    fn trial(
        &self,
        repository: &Repository,
        selected: &SelectedCluster,
        client: &SqlClient,
        in_recovery: bool,
    ) -> Trial {
        let Some(limit) = self.options.switch else { return Trial::NotMade("not tried") };
        if in_recovery {
            return Trial::NotMade("a standby ends no segments; check its primary, too");
        }
        let (end, timeline) = match self.runtime.block_on(client.switch_wal()) {
            Ok(switched) => switched,
            Err(error) => {
                return Trial::Failed { is_permission_denied: error.is_permission_denied(), problem: chain(&error) };
            }
        };
        let size = selected.identity.wal_segment_size;
        let segment = WalSegmentName::containing_previous_byte(timeline, end, size);
        let archive = WalArchive::new(repository, &selected.cluster);
        self.reporter.step(&format!("waiting for segment {segment} to arrive in the archive"));
        let (watch, deadline) = (Stopwatch::start(), Deadline::after(limit));
        loop {
            match archive.look_up(&WalFileName::Segment(segment)) {
                Ok(Some(_)) => return Trial::Arrived { segment, took: watch.elapsed() },
                Ok(None) if deadline.has_passed() => return Trial::Missing { segment, waited: limit },
                Ok(None) if self.cancel.is_cancelled() => {
                    return Trial::Failed { problem: "interrupted".to_owned(), is_permission_denied: false };
                }
                Ok(None) => wait(LOOK_EVERY),
                Err(error) => return Trial::Failed { problem: chain(&error), is_permission_denied: false },
            }
        }
    }
}

fn wal_directory(data_directory: &Path) -> Option<(PathBuf, fs::FileSystemRoom)> {
    let path = fs::real_path(&data_directory.join("pg_wal")).ok()?;
    let room = fs::room_at(&path).ok()?;
    Some((path, room))
}
