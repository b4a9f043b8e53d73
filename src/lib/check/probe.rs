//! Gathers what a check looks at: the repository first, then the server, then whether a segment makes its way.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::facts::{BackupFacts, CheckFacts, RepositoryFacts, ServerPart, Thresholds, TreeFacts, Trial, WalRate};
use super::judge::{judge, setting_names};
use super::metrics;
use super::report::{CheckReport, CheckState, SCHEMA_VERSION, cluster_text};
use crate::clock::{Clock, Deadline, Stopwatch, wait};
use crate::error::chain;
use crate::fs;
use crate::pg::{SystemIdentifier, TimelineId, WalFileName, WalSegmentName};
use crate::report::{Cancel, Reporter};
use crate::repository::{
    ArchiveFacts, BackupSpan, ClusterSelection, Repository, RepositoryError, SelectedCluster, WalArchive, wal_summary,
};
use crate::server::{ConnectionSettings, LocalDirectory, ServerError, SqlClient};

/// By how many of the last segments the rate of WAL is measured.
const RATE_SEGMENTS: u64 = 256;
/// Of how many of these the stored size is looked at.
const RATE_SAMPLES: u64 = 8;
/// Segments that came within less say nothing of a rate.
const RATE_SPAN_MIN: Duration = Duration::from_secs(60);
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
        // A link to it has neither its owner nor its mode.
        let real = fs::real_path(path).unwrap_or_else(|_| path.clone());
        let looked = fs::look_at(&real).and_then(|facts| Ok((facts, fs::room_at(&real)?)));
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

/// What the repository holds of the cluster.
fn tree(
    repository: &Repository,
    selected: &SelectedCluster,
    of_server: Option<TimelineId>,
) -> Result<TreeFacts, RepositoryError> {
    let cluster = &selected.cluster;
    let archive = WalArchive::new(repository, cluster);
    let wal = ArchiveFacts::gather(&archive, selected.identity.wal_segment_size)?;
    let mut unreadable: Vec<String> =
        wal.unlisted.iter().map(|folder| format!("\"{}\" cannot be listed", folder.folder)).collect();
    let mut records = Vec::new();
    for entry in repository.backups(cluster)? {
        match entry.record {
            Ok(record) => records.push(record),
            Err(error) => unreadable.push(format!("backup {}: {}", entry.id, chain(&error))),
        }
    }
    for (id, error) in repository.begin_problems(cluster)? {
        unreadable.push(format!("backup {id}: {}", chain(&error)));
    }
    let spans: Vec<BackupSpan> = records.iter().map(BackupSpan::of).collect();
    let backups = records.iter().zip(&spans).map(|(record, span)| BackupFacts {
        id: record.id,
        stop_time: record.stop_time,
        timeline: record.stop_timeline,
        stored_bytes: record.sizes.stored_bytes,
        has_findings: !record.findings.is_empty(),
        missing_wal: wal_summary::missing(&wal, span).len(),
    });
    let last = wal.ranges.keys().next_back().and_then(|timeline| wal.last_segment(*timeline));
    let last_segment = last.map(|segment| (segment, wal.archived_at.get(&segment).copied()));
    let timelines =
        wal.ranges.keys().copied().chain(of_server).chain(records.iter().map(|record| record.stop_timeline));
    let mut missing_histories: Vec<TimelineId> = timelines
        .filter(|timeline| timeline.get() > 1 && !wal.histories.contains_key(timeline))
        .filter(|timeline| !wal.unreadable_histories.contains_key(timeline))
        .collect();
    missing_histories.sort();
    missing_histories.dedup();
    let unreadable_histories =
        wal.unreadable_histories.iter().map(|(timeline, why)| format!("{}.history: {why}", timeline.to_hex()));
    unreadable.extend(unreadable_histories);
    Ok(TreeFacts {
        cluster: cluster.clone(),
        segment_size: wal.segment_size,
        backups: backups.collect(),
        unreadable,
        end_lsn: last.and_then(|segment| wal.end_of(segment.timeline())),
        holes: wal.ranges.keys().flat_map(|timeline| wal_summary::holes(&wal, *timeline, &spans)).collect(),
        missing_histories,
        rate: last.and_then(|last| rate(&archive, &wal, last)),
        last_segment,
    })
}

/// The rate of WAL, by the last segments without a hole.
fn rate(archive: &WalArchive<'_>, wal: &ArchiveFacts, last: WalSegmentName) -> Option<WalRate> {
    let size = wal.segment_size;
    let first = wal.range_of(&last)?.first.number(size)?;
    let end = last.number(size)?;
    let first = first.max(end.saturating_sub(RATE_SEGMENTS));
    let segments = end.checked_sub(first).filter(|count| *count > 0)?;
    let facts = |number: u64| {
        let name = WalSegmentName::from_number(last.timeline(), number, size)?;
        archive.look_up(&WalFileName::Segment(name)).ok()?
    };
    let span = Duration::try_from(facts(end)?.created.duration_since(facts(first)?.created)).ok()?;
    let samples: BTreeMap<u64, u64> = (0..RATE_SAMPLES)
        .map(|sample| end - segments * sample / RATE_SAMPLES)
        .filter_map(|number| Some((number, facts(number)?.stored_bytes)))
        .collect();
    let stored_bytes = samples.values().sum::<u64>().checked_div(samples.len() as u64)?;
    (span >= RATE_SPAN_MIN).then_some(WalRate { segments, span, stored_bytes })
}
