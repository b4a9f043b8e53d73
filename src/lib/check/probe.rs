//! Gathers what a check looks at: the repository first, then the server, then whether a segment makes its way.

use std::error::Error;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::facts::{CheckFacts, Problem, RepositoryFacts, ServerPart, Thresholds, Trial};
use super::judge::{judge, setting_names};
use super::metrics;
use super::report::{CheckReport, CheckState, SCHEMA_VERSION, cluster_text};
use super::tree::tree;
use crate::clock::{Clock, Deadline, Stopwatch, wait};
use crate::error::{Classified, ErrorClass, chain};
use crate::fs;
use crate::pg::{SystemIdentifier, WalFileName, WalSegmentName};
use crate::report::{Cancel, Reporter};
use crate::repository::{ClusterSelection, Repository, SelectedCluster, WalArchive};
use crate::server::{ConnectionSettings, LocalDirectory, ServerError, SqlClient, drive};

/// How often it is looked whether a segment arrived.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What to look at.
pub struct CheckOptions<'a> {
    /// The repository, or why it could not be opened.
    pub repository: Result<Repository, Problem>,
    /// Its directory.
    pub repository_path: PathBuf,
    /// Which cluster is meant.
    pub selection: ClusterSelection,
    /// How to reach its server, or why that is not known.
    pub connection: Result<ConnectionSettings, Problem>,
    /// The configuration file in use.
    pub configuration_file: Option<PathBuf>,
    /// How long to wait for a segment to arrive; when absent, the server is not asked to end one.
    pub switch: Option<Duration>,
    /// From when on something is worth a word.
    pub thresholds: Thresholds,
    /// What a person can do about an error.
    pub hints: &'a dyn Fn(&(dyn Error + 'static)) -> Vec<String>,
}

/// There is no answer.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// There can be no runtime for the connection.
    #[error("could not prepare to connect")]
    Runtime(#[source] std::io::Error),
    /// A signal came.
    #[error("ended by a signal")]
    Interrupted,
}

impl Classified for CheckError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Runtime(error) => ErrorClass::of_io(error),
            Self::Interrupted => ErrorClass::Interrupted,
        }
    }
}

/// Looks at everything and judges it. What cannot be looked at is part of the answer, and no error.
pub fn check(
    options: &CheckOptions<'_>,
    clock: &dyn Clock,
    reporter: &dyn Reporter,
    cancel: &Cancel,
) -> Result<CheckReport, CheckError> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(CheckError::Runtime)?;
    let probe = Probe { options, runtime, reporter, cancel };
    let facts = probe.gather(clock)?;
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
    options: &'a CheckOptions<'a>,
    runtime: Runtime,
    reporter: &'a dyn Reporter,
    cancel: &'a Cancel,
}

/// A server that answers.
struct Connected {
    client: SqlClient,
    part: ServerPart,
    system_identifier: Option<SystemIdentifier>,
}

impl Probe<'_> {
    fn gather(&self, clock: &dyn Clock) -> Result<CheckFacts, CheckError> {
        let connected = self.connect()?;
        let repository = self.repository();
        let system_identifier = connected.as_ref().ok().and_then(|connected| connected.system_identifier);
        let selected = self.options.repository.as_ref().ok().map(|repository| {
            let selected = repository.select_cluster(&self.options.selection, system_identifier);
            let selected = selected.map_err(|error| self.problem(&error));
            selected.map(|selected| (repository, selected))
        });
        let trial = match (&selected, &connected) {
            (Some(Ok((repository, selected))), Ok(connected)) => self.trial(repository, selected, connected)?,
            _ => Trial::NotMade("not tried"),
        };
        let of_server = connected.as_ref().ok().and_then(|connected| connected.part.health.timeline);
        self.check_cancel()?;
        let tree = selected.map(|selected| {
            let (repository, selected) = selected?;
            tree(repository, &selected, of_server).map_err(|error| self.problem(&error))
        });
        let server = connected.map(|connected| {
            self.runtime.block_on(connected.client.close());
            connected.part
        });
        Ok(CheckFacts {
            now: clock.now(),
            configuration_file: self.options.configuration_file.clone(),
            repository,
            tree,
            server,
            trial,
            thresholds: self.options.thresholds,
        })
    }

    fn problem(&self, error: &(dyn Error + 'static)) -> Problem {
        Problem::new(error, (self.options.hints)(error))
    }

    fn check_cancel(&self) -> Result<(), CheckError> {
        if self.cancel.is_cancelled() { Err(CheckError::Interrupted) } else { Ok(()) }
    }

    /// Waits for the server, unless a signal comes.
    fn wait<T>(&self, future: impl Future<Output = T>) -> Result<T, CheckError> {
        drive(&self.runtime, self.cancel, future).ok_or(CheckError::Interrupted)
    }

    /// Asks the server, if it can be reached.
    fn connect(&self) -> Result<Result<Connected, Problem>, CheckError> {
        let settings = match &self.options.connection {
            Ok(settings) => settings,
            Err(problem) => return Ok(Err(problem.clone())),
        };
        self.wait(async {
            let client = SqlClient::connect(settings).await.map_err(|error| self.problem(&error))?;
            let (part, system_identifier) = server(&client).await.map_err(|error| self.problem(&error))?;
            Ok(Connected { client, part, system_identifier })
        })
    }

    fn repository(&self) -> Result<RepositoryFacts, Problem> {
        self.options.repository.as_ref().map_err(Clone::clone)?;
        let path = &self.options.repository_path;
        // A link to it has neither its owner nor its mode.
        let real = fs::real_path(path).unwrap_or_else(|_| path.clone());
        let looked = fs::look_at(&real).and_then(|facts| Ok((facts, fs::room_at(&real)?)));
        let (facts, room) = looked.map_err(|error| self.problem(&error))?;
        let gone = || Problem { text: format!("there is nothing at \"{}\"", path.display()), hints: Vec::new() };
        let facts = facts.ok_or_else(gone)?;
        let is_own = rustix::process::geteuid().as_raw() == facts.owner;
        Ok(RepositoryFacts {
            path: path.clone(),
            owner: facts.owner,
            mode: facts.mode,
            is_read_only: is_own && !facts.is_writable,
            room,
        })
    }

    /// Has the server end a segment, and waits for it in the archive.
    fn trial(
        &self,
        repository: &Repository,
        selected: &SelectedCluster,
        server: &Connected,
    ) -> Result<Trial, CheckError> {
        let Some(limit) = self.options.switch else { return Ok(Trial::NotMade("not tried")) };
        if server.part.health.in_recovery {
            return Ok(Trial::NotMade("a standby ends no segments; check its primary, too"));
        }
        let (end, timeline) = match self.wait(server.client.switch_wal())? {
            Ok(switched) => switched,
            Err(error) => {
                return Ok(Trial::Failed {
                    is_permission_denied: error.is_permission_denied(),
                    problem: chain(&error),
                });
            }
        };
        let size = selected.identity.wal_segment_size;
        let segment = WalSegmentName::containing_previous_byte(timeline, end, size);
        let archive = WalArchive::new(repository, &selected.cluster);
        self.reporter.step(&format!("waiting for segment {segment} to arrive in the archive"));
        let (watch, deadline) = (Stopwatch::start(), Deadline::after(limit));
        loop {
            match archive.look_up(&WalFileName::Segment(segment)) {
                Ok(Some(_)) => return Ok(Trial::Arrived { segment, took: watch.elapsed() }),
                Ok(None) if deadline.has_passed() => return Ok(Trial::Missing { segment, waited: limit }),
                Ok(None) => self.check_cancel()?,
                Err(error) => return Ok(Trial::Failed { problem: chain(&error), is_permission_denied: false }),
            }
            wait(LOOK_EVERY);
        }
    }
}

/// What the server says of itself, and its system identifier, if the role may know it.
async fn server(client: &SqlClient) -> Result<(ServerPart, Option<SystemIdentifier>), ServerError> {
    let facts = client.server_facts(&setting_names()).await?;
    let rights = client.role_rights().await?;
    let health = client.health().await?;
    let local = match facts.system_identifier {
        Some(identifier) => LocalDirectory::find(client.endpoint(), facts.data_directory.as_deref(), identifier),
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
    Ok((part, facts.system_identifier))
}

fn wal_directory(data_directory: &Path) -> Option<(PathBuf, fs::FileSystemRoom)> {
    let path = fs::real_path(&data_directory.join("pg_wal")).ok()?;
    let room = fs::room_at(&path).ok()?;
    Some((path, room))
}
