//! The whole plan of a restore as a value: shown before anything is touched, carried out afterwards.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use super::choose::{Choice, ChoiceNote, stretches};
use super::configuration::{self, CodeSetting, ConfigurationPlan, ConfigurationRequest, ConfigurationSource};
use super::content::ContentFacts;
use super::error::RestoreError;
use super::facts::OriginalFacts;
use super::options::{ArchivingChoice, RestoreOptions};
use super::tablespaces::{self, TablespacePlace};
use super::target_directory::{DirectoryAction, DirectoryState, OccupiedDirectory, TargetDirectory, admit, inspect};
use super::wal_coverage::WalCoverage;
use crate::fs;
use crate::pg::{
    CommandWord, Lsn, RecoveryMode, RecoverySettings, RecoveryTarget, RecoveryTargetAction, RecoveryTargetTimeline,
    RestoredArchiving, TimelineId, WalSegmentName, command_text,
};
use crate::repository::{BackupRecord, ClusterRef};

/// LIMIT: segments that recovery keeps in `pg_wal` at once, for which room is asked.
const KEPT_SEGMENTS_MAX: u64 = 64;
/// Room for all that a server writes when it starts.
const START_BYTES: u64 = 32 << 20;
/// The port that PostgreSQL takes when nobody said.
const DEFAULT_PORT: u16 = 5432;

/// The data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedDirectory {
    /// Its path, without links.
    pub path: PathBuf,
    /// What is done with what is there.
    #[serde(flatten)]
    pub action: DirectoryAction,
}

/// A tablespace outside the data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedTablespace {
    /// Its OID.
    pub oid: u32,
    /// Where it was.
    pub original: PathBuf,
    /// Where it goes, without links.
    pub path: PathBuf,
    /// What is done with what is there.
    #[serde(flatten)]
    pub action: DirectoryAction,
    /// Bytes of its files.
    pub bytes: u64,
}

/// A file system that is written to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Room {
    /// A directory on it.
    pub directory: PathBuf,
    /// Bytes that are needed.
    pub needed_bytes: u64,
    /// Bytes that are free.
    pub available_bytes: u64,
}

/// Something beside the choice that the person should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "warning")]
pub enum RestoreWarning {
    /// The original's data directory holds WAL that the archive lacks.
    UnarchivedWal {
        /// The data directory.
        pgdata: PathBuf,
        /// The segments.
        segments: Vec<WalSegmentName>,
    },
    /// The original runs on this machine: the copy gets another port.
    OriginalIsRunning {
        /// Its data directory.
        pgdata: PathBuf,
        /// The copy's port.
        port: u16,
    },
    /// A `CREATE TABLESPACE` in the WAL would use the original's directory.
    TablespacesReplayLiterally,
    /// Nothing of the original's configuration was stored: a minimal one is written.
    ConfigurationNotStored,
}

/// All that a restore will do.
#[derive(Debug, Clone)]
pub struct RestorePlan {
    /// The cluster.
    pub cluster: ClusterRef,
    /// The backup.
    pub record: BackupRecord,
    /// What the directory becomes.
    pub mode: RecoveryMode,
    /// Where recovery stops.
    pub target: RecoveryTarget,
    /// What the server does there.
    pub action: RecoveryTargetAction,
    /// `recovery_target_timeline`
    pub timeline: RecoveryTargetTimeline,
    /// Each timeline on the way, and where it is left.
    pub stretches: Vec<(TimelineId, Option<Lsn>)>,
    /// The WAL on the way.
    pub coverage: WalCoverage,
    /// The data directory.
    pub directory: PlannedDirectory,
    /// The tablespaces outside it.
    pub tablespaces: Vec<PlannedTablespace>,
    /// Bytes of all files.
    pub file_bytes: u64,
    /// The file systems that are written to.
    pub rooms: Vec<Room>,
    /// Whether archiving is switched off in the copy.
    pub archiving_off: bool,
    /// About the choice.
    pub notes: Vec<ChoiceNote>,
    /// About everything else.
    pub warnings: Vec<RestoreWarning>,
    pub(super) group_access: bool,
    pub(super) tablespace_parents: Vec<PathBuf>,
    pub(super) configuration: ConfigurationPlan,
    pub(super) backup_label: Vec<u8>,
    pub(super) manifest: Option<Vec<u8>>,
}

impl RestorePlan {
    /// Where the configuration is that the server starts with.
    pub fn configuration_source(&self) -> ConfigurationSource {
        self.configuration.source
    }

    /// What is added to `postgresql.auto.conf`.
    pub fn settings(&self) -> &[(String, String)] {
        &self.configuration.settings
    }

    /// Settings in the restored configuration that run code.
    pub fn code_settings(&self) -> &[CodeSetting] {
        &self.configuration.code_settings
    }

    /// The command that starts the server.
    pub fn start_command(&self) -> &str {
        &self.configuration.start_command
    }

    /// The data directory and the tablespaces, in the order of the trees that are written.
    pub(super) fn all_directories(&self) -> Vec<(&Path, &DirectoryAction)> {
        let tablespaces = self.tablespaces.iter().map(|one| (one.path.as_path(), &one.action));
        std::iter::once((self.directory.path.as_path(), &self.directory.action)).chain(tablespaces).collect()
    }

    pub(super) fn tree_of(&self, oid: u32) -> Option<usize> {
        self.tablespaces.iter().position(|tablespace| tablespace.oid == oid).map(|position| position + 1)
    }
}

/// The directories of a restore as they are now.
pub(super) struct Directories {
    data: TargetDirectory,
    tablespaces: Vec<(TablespacePlace, TargetDirectory)>,
    /// The directory for all tablespaces, when it has to be created.
    parents: Vec<PathBuf>,
}

impl Directories {
    /// Looks at every directory that would be written to.
    pub(super) fn inspect(options: &RestoreOptions, record: &BackupRecord) -> Result<Self, RestoreError> {
        let data = inspect(&options.directory, &options.surroundings)?
            .map_err(|problem| RestoreError::UnsafeDirectory { directory: options.directory.clone(), problem })?;
        let all_in = options.tablespace_dir.as_deref();
        let places = tablespaces::place(record, &options.tablespace_mappings, all_in)?;
        let mut parents = Vec::new();
        let mut found = Vec::new();
        for place in places {
            let (oid, directory) = (place.oid, place.directory.clone());
            let unsafe_one = |problem| RestoreError::UnsafeTablespace { oid, directory: directory.clone(), problem };
            let below_new = all_in.filter(|all_in| place.directory.parent() == Some(*all_in));
            let seen = match below_new {
                Some(all_in) if fs::look_at(all_in)?.is_none() => {
                    let parent = inspect(all_in, &options.surroundings)?.map_err(unsafe_one)?;
                    let path = parent.path.join(oid.to_string());
                    parents.push(parent.path.clone());
                    TargetDirectory { path, state: DirectoryState::Absent, ..parent }
                }
                _ => inspect(&place.directory, &options.surroundings)?.map_err(unsafe_one)?,
            };
            found.push((place, seen));
        }
        let paths: Vec<(u32, PathBuf)> = found.iter().map(|(place, seen)| (place.oid, seen.path.clone())).collect();
        tablespaces::refuse_overlaps(&data.path, &paths)?;
        parents.dedup();
        Ok(Self { data, tablespaces: found, parents })
    }
}

/// What a plan is made from, beside the options.
pub(super) struct PlanInputs<'a> {
    pub(super) cluster: &'a ClusterRef,
    pub(super) target: RecoveryTarget,
    pub(super) choice: Choice,
    pub(super) content: ContentFacts,
    pub(super) directories: Directories,
    pub(super) original: OriginalFacts,
    pub(super) pg_ctl: PathBuf,
    pub(super) now: Timestamp,
}

/// Makes the plan, or says why there is none.
pub(super) fn plan(options: &RestoreOptions, inputs: PlanInputs<'_>) -> Result<RestorePlan, RestoreError> {
    let PlanInputs { cluster, target, choice, content, directories, original, pg_ctl, now } = inputs;
    let Choice { record, path, coverage, notes } = choice;
    let directory = admit_data(options, cluster, &directories.data, now)?;
    let tablespaces = admit_tablespaces(options, cluster, &directories, &content, now)?;
    let kept_wal = coverage.count.min(KEPT_SEGMENTS_MAX).saturating_mul(record.wal_segment_size.bytes());
    let needed = content.data_bytes.saturating_add(kept_wal).saturating_add(START_BYTES);
    let rooms = rooms(&directories, &content, needed)?;
    let mode = if options.standby.is_some() { RecoveryMode::Standby } else { RecoveryMode::Targeted };
    let action = options.action.unwrap_or(match target {
        RecoveryTarget::Latest => RecoveryTargetAction::Promote,
        _ => RecoveryTargetAction::Pause,
    });
    // A standby follows whatever its primary does; a recovery follows what was shown, whatever comes meanwhile.
    let timeline = match (mode, options.timeline) {
        (RecoveryMode::Standby, None) => RecoveryTargetTimeline::Latest,
        (RecoveryMode::Standby, Some(timeline)) => timeline,
        (RecoveryMode::Targeted, _) => RecoveryTargetTimeline::Id(path.timeline()),
    };
    let archiving_off = mode == RecoveryMode::Targeted && matches!(options.archiving, ArchivingChoice::Off);
    let is_elsewhere = original.pgdata.as_ref().is_some_and(|pgdata| *pgdata != directory.path);
    let port = other_port(&record).filter(|_| original.is_running && is_elsewhere);
    let request = ConfigurationRequest {
        record: &record,
        directory: &directory.path,
        recovery: recovery_settings(options, &target, mode, action, timeline),
        end_command: (mode == RecoveryMode::Targeted)
            .then(|| configuration::clearing_command(&options.commands.recovery_conf)),
        archiving_off,
        pg_ctl: &pg_ctl,
        port,
    };
    let configuration = configuration::plan(&content.configuration, request)?;
    let warnings = warnings(&original, is_elsewhere, port, configuration.source);
    let file_bytes = content.data_bytes.saturating_add(content.tablespace_bytes.values().sum());
    Ok(RestorePlan {
        cluster: cluster.clone(),
        mode,
        target,
        action,
        timeline,
        stretches: stretches(&path),
        coverage,
        directory,
        tablespaces,
        file_bytes,
        rooms,
        archiving_off,
        notes,
        warnings,
        group_access: content.group_access,
        tablespace_parents: directories.parents,
        configuration,
        backup_label: content.backup_label,
        manifest: content.manifest,
        record,
    })
}

fn recovery_settings(
    options: &RestoreOptions,
    target: &RecoveryTarget,
    mode: RecoveryMode,
    action: RecoveryTargetAction,
    timeline: RecoveryTargetTimeline,
) -> RecoverySettings {
    let standby = options.standby.clone().unwrap_or_default();
    let words = options.commands.fetch.iter().map(|word| CommandWord::Text(word));
    let words: Vec<CommandWord<'_>> =
        words.chain([CommandWord::Placeholder('f'), CommandWord::Placeholder('p')]).collect();
    RecoverySettings {
        mode,
        restore_command: Some(command_text(&words)),
        recovery_end_command: None,
        archive_cleanup_command: None,
        target: target.clone(),
        target_action: action,
        target_timeline: timeline,
        unset_targets: Vec::new(),
        primary_conninfo: standby.primary_conninfo,
        primary_slot_name: standby.primary_slot_name,
        // Written outside the recovery's block, which goes when recovery ends.
        archiving: RestoredArchiving::Unchanged,
    }
}

fn admit_data(
    options: &RestoreOptions,
    cluster: &ClusterRef,
    data: &TargetDirectory,
    now: Timestamp,
) -> Result<PlannedDirectory, RestoreError> {
    let action = admit(data, cluster.system_identifier, options.occupied, now);
    let unsafe_one = |problem| RestoreError::UnsafeDirectory { directory: data.path.clone(), problem };
    Ok(PlannedDirectory { path: data.path.clone(), action: action.map_err(unsafe_one)? })
}

fn admit_tablespaces(
    options: &RestoreOptions,
    cluster: &ClusterRef,
    directories: &Directories,
    content: &ContentFacts,
    now: Timestamp,
) -> Result<Vec<PlannedTablespace>, RestoreError> {
    let data = &directories.data;
    let killed = match &data.state {
        DirectoryState::KilledRestore(marker) => Some(marker.restore.as_str()),
        _ => None,
    };
    let mut planned = Vec::new();
    for (place, seen) in &directories.tablespaces {
        // Only what the same killed restore began is emptied; a marker of another one proves nothing.
        let is_of_same = matches!(&seen.state, DirectoryState::KilledRestore(marker)
            if marker.directory == data.path && killed == Some(marker.restore.as_str()));
        let mut seen = seen.clone();
        if matches!(seen.state, DirectoryState::KilledRestore(_)) && !is_of_same {
            seen.state =
                DirectoryState::Occupied { system_identifier: None, looks_like_postgresql: true, has_marker: false };
        }
        let action = admit(&seen, cluster.system_identifier, options.occupied, now).map_err(|problem| {
            RestoreError::UnsafeTablespace { oid: place.oid, directory: seen.path.clone(), problem }
        })?;
        planned.push(PlannedTablespace {
            oid: place.oid,
            original: place.original.clone(),
            path: seen.path,
            action,
            bytes: content.tablespace_bytes.get(&place.oid).copied().unwrap_or_default(),
        });
    }
    Ok(planned)
}

/// Sums up what each file system gets, and refuses when it is too small.
fn rooms(directories: &Directories, content: &ContentFacts, data_bytes: u64) -> Result<Vec<Room>, RestoreError> {
    let tablespaces = directories
        .tablespaces
        .iter()
        .map(|(place, seen)| (seen, content.tablespace_bytes.get(&place.oid).copied().unwrap_or_default()));
    let mut by_device: BTreeMap<u64, Room> = BTreeMap::new();
    for (seen, needed) in std::iter::once((&directories.data, data_bytes)).chain(tablespaces) {
        if !by_device.contains_key(&seen.device) {
            let available_bytes = fs::available_bytes(&seen.existing)?;
            let room = Room { directory: seen.path.clone(), needed_bytes: 0, available_bytes };
            by_device.insert(seen.device, room);
        }
        let Some(room) = by_device.get_mut(&seen.device) else { continue };
        room.needed_bytes = room.needed_bytes.saturating_add(needed);
        if matches!(seen.state, DirectoryState::KilledRestore(_)) {
            room.available_bytes = room.available_bytes.saturating_add(fs::bytes_below(&seen.path)?);
        }
    }
    let rooms: Vec<Room> = by_device.into_values().collect();
    match rooms.iter().find(|room| room.needed_bytes > room.available_bytes) {
        None => Ok(rooms),
        Some(room) => Err(RestoreError::NoRoom {
            directory: room.directory.clone(),
            needed: room.needed_bytes,
            available: room.available_bytes,
        }),
    }
}

fn other_port(record: &BackupRecord) -> Option<u16> {
    let port = record.setting("port").and_then(|port| port.parse().ok()).unwrap_or(DEFAULT_PORT);
    port.checked_add(1)
}

fn warnings(
    original: &OriginalFacts,
    is_elsewhere: bool,
    port: Option<u16>,
    source: ConfigurationSource,
) -> Vec<RestoreWarning> {
    let mut warnings = Vec::new();
    if let Some(pgdata) = &original.pgdata {
        if !original.unarchived.is_empty() {
            let segments = original.unarchived.clone();
            warnings.push(RestoreWarning::UnarchivedWal { pgdata: pgdata.clone(), segments });
        }
        warnings.extend(port.map(|port| RestoreWarning::OriginalIsRunning { pgdata: pgdata.clone(), port }));
        if is_elsewhere {
            warnings.push(RestoreWarning::TablespacesReplayLiterally);
        }
    }
    if source == ConfigurationSource::Minimal {
        warnings.push(RestoreWarning::ConfigurationNotStored);
    }
    warnings
}

impl OccupiedDirectory {
    /// As `--move-aside` says.
    pub fn of_flag(move_aside: bool) -> Self {
        if move_aside { Self::MoveAside } else { Self::Refuse }
    }
}
