//! Gathers what a check looks at: the server, the repository, whether a segment makes its way, then what is archived.

use std::error::Error;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::asked::{AskedRepository, OpenRepository, Patience, Selected};
use super::facts::{CheckFacts, ServerPart, Thresholds, Trial};
use super::finding::{Cause, Untried};
use super::judge::{judge, setting_names};
use super::metrics;
use super::report::{CheckReport, CheckState};
use crate::clock::{Clock, Deadline, wait};
use crate::error::{Classified, ErrorClass};
use crate::fs;
use crate::pg::{SystemIdentifier, WalSegmentName, has_switched_off};
use crate::report::{Activity, Cancel, Reporter};
use crate::repository::ClusterSelection;
use crate::server::{
    CONFIG_FILE_BYTES_MAX, ConnectionSettings, FileSetting, LocalDirectory, ServerError, ServerFacts, ServerHealth,
    SqlClient, drive, targets_in_directory,
};

/// How long the archiver may take to tell that it has archived what has arrived.
const ARCHIVER_PATIENCE: Duration = Duration::from_secs(3);
/// How often it is asked.
const ARCHIVER_ASKED_EVERY: Duration = Duration::from_millis(100);

/// What to look at.
pub struct CheckOptions {
    /// Opens the repository.
    pub open_repository: OpenRepository,
    /// Its directory.
    pub repository_path: PathBuf,
    /// Which cluster is meant.
    pub selection: ClusterSelection,
    /// How to reach its server, or why that is not known.
    pub connection: Result<ConnectionSettings, Cause>,
    /// The configuration file in use.
    pub configuration_file: Option<PathBuf>,
    /// How long to wait for a segment to arrive; when absent, the server is not asked to end one.
    pub switch: Option<Duration>,
    /// How long the server may take for an answer, and for how long nothing may move in the repository.
    pub stall_timeout: Duration,
    /// From when on something is worth a word.
    pub thresholds: Thresholds,
}

/// There is no answer.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// There can be no runtime for the connection.
    #[error("could not prepare to connect")]
    Runtime(#[source] std::io::Error),
    /// There can be no thread for the repository.
    #[error("could not start a thread")]
    Thread(#[source] std::io::Error),
    /// A signal came.
    #[error("ended by a signal")]
    Interrupted,
}

impl Classified for CheckError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Runtime(error) | Self::Thread(error) => ErrorClass::of_io(error),
            Self::Interrupted => ErrorClass::Interrupted,
        }
    }
}

/// An error as a finding has it.
pub(super) fn cause(error: impl Error + Send + Sync + 'static) -> Cause {
    Arc::new(error)
}

/// Looks at everything and judges it. What cannot be looked at is part of the answer, and no error. A repository that
/// does not answer is left to a thread: the caller ends the process.
pub fn check(
    options: CheckOptions,
    clock: &dyn Clock,
    reporter: &dyn Reporter,
    cancel: &Cancel,
) -> Result<CheckReport, CheckError> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(CheckError::Runtime)?;
    let patience = Patience { limit: options.stall_timeout, cancel };
    let probe = Probe { runtime, repository: AskedRepository::new(patience), patience, reporter };
    let gathered = probe.gather(options, clock);
    // A name that is still being looked up would be waited for.
    probe.runtime.shutdown_background();
    let facts = gathered?;
    let checks = judge(&facts);
    let cluster = facts.tree.as_ref().and_then(|tree| tree.as_ref().ok()).map(|tree| tree.cluster.clone());
    Ok(CheckReport {
        checked_at: facts.now,
        cluster,
        state: checks.iter().map(|item| item.state).max().unwrap_or(CheckState::Unknown),
        metrics: metrics::of(&facts, &checks),
        checks,
        configuration_file: facts.configuration_file,
    })
}

struct Probe<'a> {
    runtime: Runtime,
    repository: AskedRepository<'a>,
    patience: Patience<'a>,
    reporter: &'a dyn Reporter,
}

/// A server that answers.
struct Connected {
    client: SqlClient,
    part: ServerPart,
    system_identifier: Option<SystemIdentifier>,
}

impl Probe<'_> {
    fn gather(&self, options: CheckOptions, clock: &dyn Clock) -> Result<CheckFacts, CheckError> {
        let mut connected = self.connect(options.connection)?;
        let system_identifier = connected.as_ref().ok().and_then(|connected| connected.system_identifier);
        let of_server = connected.as_ref().ok().and_then(|connected| connected.part.health.timeline);
        let opened = self.repository.open(
            options.open_repository,
            options.repository_path.clone(),
            options.selection,
            system_identifier,
        )?;
        let (mut repository, selected) = match opened {
            Ok(opened) => (opened.facts, Some(opened.selected)),
            Err(cause) => (Err(cause), None),
        };
        let trial = match (&selected, &connected, options.switch) {
            (Some(Ok(selected)), Ok(connected), Some(limit)) => self.trial(selected, connected, limit)?,
            _ => Trial::NotMade(Untried::NotAsked),
        };
        if let (Trial::Arrived { .. }, Ok(connected)) = (&trial, &mut connected) {
            self.ask_archiver_again(connected)?;
        }
        self.check_cancel()?;
        let tree = match selected {
            Some(Ok(selected)) => {
                let tree = self.repository.tree(Arc::clone(&selected), of_server)?;
                if let Ok(repository) = &mut repository {
                    repository.below = self.repository.folders_below(options.repository_path, selected)?;
                }
                Some(tree)
            }
            Some(Err(cause)) => Some(Err(cause)),
            None => None,
        };
        let server = connected.map(|connected| {
            self.runtime.block_on(connected.client.close());
            connected.part
        });
        Ok(CheckFacts {
            now: clock.now(),
            configuration_file: options.configuration_file,
            repository,
            tree,
            server,
            trial,
            thresholds: options.thresholds,
        })
    }

    fn check_cancel(&self) -> Result<(), CheckError> {
        if self.patience.cancel.is_cancelled() { Err(CheckError::Interrupted) } else { Ok(()) }
    }

    /// Waits for the server, unless a signal comes.
    fn wait<T>(&self, future: impl Future<Output = T>) -> Result<T, CheckError> {
        drive(&self.runtime, self.patience.cancel, future).ok_or(CheckError::Interrupted)
    }

    /// Asks the server, if it can be reached.
    fn connect(&self, settings: Result<ConnectionSettings, Cause>) -> Result<Result<Connected, Cause>, CheckError> {
        let mut settings = match settings {
            Ok(settings) => settings,
            Err(cause) => return Ok(Err(cause)),
        };
        let limit = self.patience.limit;
        // Each of several hosts and addresses has this time of its own.
        settings.connect_timeout = Some(settings.connect_timeout.map_or(limit, |own| own.min(limit)));
        self.wait(async {
            let mut client = SqlClient::connect(&settings).await.map_err(cause)?;
            client.set_query_timeout(limit);
            let answers = answers(&client).await.map_err(cause)?;
            Ok((client, answers))
        })?
        .map_or_else(|cause| Ok(Err(cause)), |(client, answers)| self.with_directory(client, answers).map(Ok))
    }

    /// Adds what can be seen of the server's directory from here; nothing of one that does not answer.
    fn with_directory(&self, client: SqlClient, answers: Answers) -> Result<Connected, CheckError> {
        let Answers { facts, role, health, left_over_targets } = answers;
        let (endpoint, told) = (client.endpoint().clone(), facts.data_directory.clone());
        let identifier = facts.system_identifier;
        let seen = self.patience.watch("data directory", &Activity::default(), move |activity| {
            activity.begin("looking at the data directory".to_owned());
            let local = identifier.map(|identifier| LocalDirectory::find(&endpoint, told.as_deref(), identifier));
            let directory = local.as_ref().and_then(LocalDirectory::proven);
            let owner = directory.and_then(|path| Some(fs::look_at(path).ok()??.owner));
            let switched_off = directory.filter(|path| is_switched_off(path)).map(Path::to_owned);
            let targets = left_over_targets.or_else(|| directory.map(targets_in_directory)).unwrap_or_default();
            (directory.and_then(wal_directory), owner, switched_off, targets)
        })?;
        let (wal_directory, owner, switched_off, left_over_targets) = seen.unwrap_or_else(|silent| {
            self.reporter.warn(&silent.to_string());
            (None, None, None, Vec::new())
        });
        let part = ServerPart {
            endpoint: client.endpoint().to_string(),
            version: client.version_text().unwrap_or("unknown").to_owned(),
            role,
            health,
            settings: facts.settings,
            left_over_targets,
            data_directory: facts.data_directory,
            wal_directory,
            owner,
            switched_off,
        };
        Ok(Connected { client, part, system_identifier: identifier })
    }

    /// Has the server end a segment, and waits for it in the archive.
    fn trial(&self, selected: &Arc<Selected>, server: &Connected, limit: Duration) -> Result<Trial, CheckError> {
        if server.part.health.in_recovery {
            return Ok(Trial::NotMade(Untried::Standby));
        }
        if server.part.is_archiving_off() {
            return Ok(Trial::NotMade(Untried::ArchivingOff));
        }
        let (end, timeline) = match self.wait(server.client.switch_wal())? {
            Ok(switched) => switched,
            Err(error) if error.is_permission_denied() => return Ok(Trial::Denied(cause(error))),
            Err(error) => return Ok(Trial::Failed(cause(error))),
        };
        let size = selected.cluster.identity.wal_segment_size;
        let segment = WalSegmentName::containing_previous_byte(timeline, end, size);
        self.reporter.step(&format!("waiting for segment {segment} to arrive in the archive"));
        self.repository.wait_for(selected, segment, limit)
    }

    /// What failed and waited before a trial that arrived, the trial has mended, if the archiver says so: that is a
    /// moment after the segment has arrived.
    fn ask_archiver_again(&self, server: &mut Connected) -> Result<(), CheckError> {
        let health = &mut server.part.health;
        let waits = |health: &ServerHealth| health.waiting.is_some_and(|waiting| waiting.count > 0);
        let deadline = Deadline::after(ARCHIVER_PATIENCE);
        while health.archiver.fails() || waits(health) {
            let answers = self.wait(async {
                Ok::<_, ServerError>((server.client.archiver().await?, server.client.waiting_wal().await?))
            })?;
            // What was known before counts.
            let Ok((archiver, waiting)) = answers else { return Ok(()) };
            (health.archiver, health.waiting) = (archiver, waiting);
            if deadline.has_passed() {
                return Ok(());
            }
            wait(ARCHIVER_ASKED_EVERY);
        }
        Ok(())
    }
}

/// What the server says of itself.
struct Answers {
    facts: ServerFacts,
    role: String,
    health: ServerHealth,
    /// None when the role may not see them.
    left_over_targets: Option<Vec<FileSetting>>,
}

async fn answers(client: &SqlClient) -> Result<Answers, ServerError> {
    let facts = client.server_facts(&setting_names()).await?;
    let rights = client.role_rights().await?;
    let health = client.health().await?;
    let left_over_targets = if health.in_recovery { Some(Vec::new()) } else { client.targets_in_files().await? };
    Ok(Answers { facts, role: rights.role, health, left_over_targets })
}

/// Whether a restore switched archiving off there, and nobody has given it back.
fn is_switched_off(data_directory: &Path) -> bool {
    let file = data_directory.join("postgresql.auto.conf");
    fs::read_at_most(&file, CONFIG_FILE_BYTES_MAX).is_ok_and(|text| has_switched_off(&text))
}

fn wal_directory(data_directory: &Path) -> Option<(PathBuf, fs::FileSystemRoom)> {
    let path = fs::real_path(&data_directory.join("pg_wal")).ok()?;
    let room = fs::room_at(&path).ok()?;
    Some((path, room))
}
