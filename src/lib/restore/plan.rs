//! What a restore will do: decided before anything is touched, printed by `--dry-run`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::apart::{Neighbour, linked_from, used_by_running_servers};
use super::choose::Choice;
use super::content::{Content, FoundNames};
use super::error::RestoreError;
use super::harmless::{CopyPlan, StoredFacts, StoredFiles};
use super::includes::{self, ConfigurationFiles};
use super::map_check;
use super::marker::{Marker, killed_restore};
use super::old_wal::OldWalUse;
use super::proof::Proof;
use super::tablespaces::{TablespaceChoice, TablespacePlan};
use super::target_directory::{DirectoryAction, DirectoryCheck, DirectoryRole, InTheWay};
use crate::fs::{self, PathFacts, RoomBelow};
use crate::pg::{
    RecoveryMode, RecoveryTarget, RecoveryTargetAction, RecoveryTargetTimeline, SystemIdentifier, TargetBound,
    TimelineHistory,
};
use crate::repository::{BackupId, BackupRecord, ClusterRef, FileKind, FileMap, Repository, WalCoverage};
use crate::server::read_control_file;

/// Room for WAL beside the files, in segments: what recovery and the first minutes need.
const WAL_MARGIN_SEGMENTS: u64 = 8;
/// Mode of a data directory that its group may read (`pg_ctl`, initdb `--allow-group-access`).
const GROUP_DIRECTORY_MODE: u32 = 0o750;

/// One file system and what will be written to it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Room {
    /// The first directory on it that is written to.
    pub path: PathBuf,
    /// Bytes that will be written; where files stand already that are kept or removed, at least so many more.
    pub needed_bytes: u64,
    /// Bytes that are left.
    pub available_bytes: u64,
}

/// A restore, decided.
#[derive(Debug, Clone)]
pub struct RestorePlan {
    /// The data directory, as an absolute path.
    pub directory: PathBuf,
    /// What will be done with what is there.
    pub directory_action: DirectoryAction,
    /// What tells this restore from others in its markers; that of the killed one that it begins anew.
    pub(super) restore_id: String,
    /// The backup of the killed restore that it begins anew or goes on with.
    pub(super) killed_backup: Option<BackupId>,
    /// Whether there is more in the directories than what restores put there, so that they are never emptied.
    pub(super) had_content: bool,
    /// Its mode.
    pub directory_mode: u32,
    /// The bits that files and directories may have.
    pub mode_mask: u32,
    /// The tablespaces.
    pub tablespaces: Vec<TablespacePlan>,
    /// The backup.
    pub record: BackupRecord,
    /// The path of timelines.
    pub path: TimelineHistory,
    /// The WAL along it.
    pub coverage: WalCoverage,
    /// Whether there is a hole on the path, before the target or behind.
    pub has_hole: bool,
    /// What it becomes.
    pub mode: RecoveryMode,
    /// Where recovery stops.
    pub target: RecoveryTarget,
    /// What happens there.
    pub action: RecoveryTargetAction,
    /// The timeline that the server is told to follow.
    pub target_timeline: RecoveryTargetTimeline,
    /// Bytes of all files.
    pub file_bytes: u64,
    /// The file systems.
    pub room: Vec<Room>,
    /// What reading the WAL has shown; none when it was not read.
    pub proof: Option<Proof>,
    /// What recovery needs of the old pg_wal, when one was named.
    pub old_wal: Option<OldWalUse>,
    /// What the backup says of its server.
    pub(super) stored: StoredFacts,
    /// What is decided about the settings of the copy.
    pub copy: CopyPlan,
    /// What the person should know.
    pub warnings: Vec<String>,
}

/// Where to restore to.
#[derive(Debug, Clone)]
pub struct Destination<'a> {
    /// The data directory, as an absolute path.
    pub directory: &'a Path,
    /// The tablespaces.
    pub tablespaces: &'a TablespaceChoice,
    /// What may be done with what is in the way.
    pub in_the_way: InTheWay,
    /// The repository's directory, which must stay apart.
    pub repository_root: Option<PathBuf>,
    /// The home directory of this account.
    pub home: Option<&'a Path>,
    /// The data directory of the configured cluster, whose server may run.
    pub pgdata: Option<PathBuf>,
    /// Bytes of WAL that are copied beside the files of the backup.
    pub old_wal_bytes: u64,
}

impl Destination<'_> {
    /// What must be neither written to nor renamed.
    fn apart_from(&self, record: &BackupRecord, cluster: SystemIdentifier) -> Vec<Neighbour> {
        let repository = self.repository_root.iter().map(|root| Neighbour::new(root, "the repository"));
        let recorded = record.setting("data_directory").map(PathBuf::from);
        let mut servers: Vec<PathBuf> = self.pgdata.iter().cloned().chain(recorded).collect();
        // A server that runs in the directory itself has words of its own.
        servers.retain(|path| !matches!(fs::is_same(path, self.directory), Ok(true)));
        servers.dedup();
        let running = used_by_running_servers(&servers);
        // A delta changes what is of its own cluster: after pg_upgrade, another one has its files in the same directory.
        let is_other = |path: &PathBuf| matches!(read_control_file(path), Ok(Some(control)) if control.system_identifier != cluster);
        servers.retain(|path| self.in_the_way != InTheWay::Delta || !is_other(path));
        repository.chain(running).chain(linked_from(&servers)).collect()
    }
}

impl RestorePlan {
    /// Decides where everything goes, and refuses what is unsafe or does not fit.
    pub fn new(
        repository: &Repository,
        cluster: &ClusterRef,
        destination: &Destination<'_>,
        choice: Choice,
        (mode, target, action): (RecoveryMode, RecoveryTarget, RecoveryTargetAction),
    ) -> Result<Self, RestoreError> {
        let Choice { record, path, coverage, has_hole, mut warnings, .. } = choice;
        let system_identifier = cluster.system_identifier;
        let mut apart_from = destination.apart_from(&record, system_identifier);
        let check = DirectoryCheck {
            path: destination.directory,
            system_identifier,
            apart_from: &apart_from,
            backup: record.id,
            in_the_way: destination.in_the_way,
            home: destination.home,
            role: DirectoryRole::Data,
        };
        let directory_action = check.decide()?;
        let killed = killed_in(destination.directory, directory_action)?;
        apart_from.push(Neighbour::new(destination.directory, "the directory that is restored into"));
        let tablespaces = destination.tablespaces.plan(
            &record,
            system_identifier,
            &apart_from,
            (destination.in_the_way, destination.home),
            killed.as_ref(),
            directory_action.keeps_content().then_some(destination.directory),
        )?;
        warnings.extend(tablespace_warnings(&tablespaces).map(str::to_owned));
        let (sizes, stored) = look_into(repository, cluster, &record)?;
        // In place, they lead where they should.
        if record.setting("data_directory").map(Path::new) != Some(destination.directory) {
            warnings.extend_from_slice(&stored.leading_away);
        }
        let mut plan = Self {
            directory: destination.directory.to_owned(),
            directory_action,
            had_content: directory_action == DirectoryAction::Update
                || killed.as_ref().is_some_and(|marker| marker.had_content),
            killed_backup: killed.as_ref().map(|marker| marker.backup),
            restore_id: killed.map_or_else(|| uuid::Uuid::new_v4().simple().to_string(), |marker| marker.restore),
            directory_mode: directory_mode(&record),
            mode_mask: directory_mode(&record),
            tablespaces,
            target_timeline: match mode {
                // A number, so that no history that appears later leads elsewhere.
                RecoveryMode::Targeted => RecoveryTargetTimeline::Id(path.timeline()),
                // It goes along when a primary is replaced.
                RecoveryMode::Standby => RecoveryTargetTimeline::Latest,
            },
            path,
            coverage,
            has_hole,
            mode,
            target,
            action,
            file_bytes: sizes.total(),
            room: Vec::new(),
            proof: None,
            old_wal: None,
            stored,
            copy: CopyPlan::default(),
            warnings,
            record,
        };
        plan.room = plan.rooms(&sizes, destination.old_wal_bytes)?;
        Ok(plan)
    }

    /// The target that is written: *latest* is the last record that was read, so that a hole or a failing fetch cannot
    /// end recovery before it (contract C2.5).
    pub(super) fn written_target(&self) -> RecoveryTarget {
        match (&self.target, &self.proof, self.mode) {
            (RecoveryTarget::Latest, Some(proof), RecoveryMode::Targeted) => {
                RecoveryTarget::Lsn(proof.last_record.lsn, TargetBound::Inclusive)
            }
            (target, _, _) => target.clone(),
        }
    }

    /// What goes to each file system.
    fn rooms(&self, sizes: &Sizes, old_wal_bytes: u64) -> Result<Vec<Room>, RestoreError> {
        // Where files are kept, old WAL makes room for new.
        let segments = if self.directory_action.keeps_content() { 0 } else { WAL_MARGIN_SEGMENTS };
        let margin = segments * self.record.wal_segment_size.bytes();
        let sorting = Content::spilled_bytes(sizes.extents, sizes.record_bytes);
        let bytes = [margin, old_wal_bytes, sorting].into_iter().fold(sizes.data_directory, u64::saturating_add);
        let mut parts = vec![(self.directory.as_path(), bytes, self.directory_action)];
        for tablespace in &self.tablespaces {
            let bytes = sizes.tablespaces.get(&tablespace.oid).copied().unwrap_or_default();
            parts.push((&tablespace.path, bytes, tablespace.action));
        }
        let mut names = FoundNames::default();
        let mut rooms: Vec<(u64, u64, Room)> = Vec::new();
        for (path, needed_bytes, action) in parts {
            let (existing, facts) = existing_above(path)?;
            // What stands there will make room, or is right and is kept: which of it is known only when it was read.
            let is_filled = action == DirectoryAction::EmptyAndFill || action.keeps_content();
            let filled = if is_filled { fs::room_below(path)? } else { RoomBelow::default() };
            if action.keeps_content() {
                names.add(&filled);
            }
            let filled_bytes = filled.file_bytes;
            match rooms.iter_mut().find(|(device, _, _)| *device == facts.device) {
                Some((_, filled, room)) => {
                    room.needed_bytes = room.needed_bytes.saturating_add(needed_bytes);
                    *filled = filled.saturating_add(filled_bytes);
                }
                None => {
                    let available_bytes = fs::available_bytes(&existing)?;
                    let room = Room { path: path.to_owned(), needed_bytes, available_bytes };
                    rooms.push((facts.device, filled_bytes, room));
                }
            }
        }
        // They are sorted where the data directory is, which came first.
        if let Some((_, _, room)) = rooms.first_mut() {
            room.needed_bytes = room.needed_bytes.saturating_add(names.spilled_bytes());
        }
        let mut least = Vec::new();
        for (_, filled_bytes, room) in rooms {
            let needed_bytes = room.needed_bytes.saturating_sub(filled_bytes);
            if needed_bytes > room.available_bytes {
                let (needed, available) = (needed_bytes, room.available_bytes);
                return Err(RestoreError::NoRoom { path: room.path, needed, available });
            }
            least.push(Room { needed_bytes, ..room });
        }
        Ok(least)
    }
}

/// The mode of the data directory, and the bits that what is in it may have.
fn directory_mode(record: &BackupRecord) -> u32 {
    match record.setting("data_directory_mode").is_some_and(|mode| mode.ends_with("750")) {
        true => GROUP_DIRECTORY_MODE,
        false => fs::PRIVATE_DIRECTORY_MODE,
    }
}

/// The restore that is begun anew or goes on, when one does.
fn killed_in(directory: &Path, action: DirectoryAction) -> Result<Option<Marker>, RestoreError> {
    match action {
        DirectoryAction::EmptyAndFill | DirectoryAction::Update | DirectoryAction::Resume => killed_restore(directory),
        DirectoryAction::Create | DirectoryAction::Fill | DirectoryAction::MoveAside => Ok(None),
    }
}

/// What a person should know of the tablespaces before they are written.
fn tablespace_warnings(tablespaces: &[TablespacePlan]) -> impl Iterator<Item = &'static str> {
    let is_original = |tablespace: &&TablespacePlan| tablespace.path == tablespace.original;
    let any_original = tablespaces.iter().any(|one| is_original(&one)).then_some(
        "tablespaces go to their original places; if the original still runs on this machine, map them elsewhere",
    );
    let any_renamed = tablespaces.iter().any(|one| one.action == DirectoryAction::MoveAside).then_some(
        "the tablespace links of a data directory that is renamed lead to the restored tablespaces from then on: \
         rename the tablespaces back before its server is started again",
    );
    [any_original, any_renamed].into_iter().flatten()
}

/// The path itself, or the nearest directory above it that is there.
fn existing_above(path: &Path) -> Result<(PathBuf, PathFacts), RestoreError> {
    let mut path = path;
    loop {
        if let Some(facts) = fs::look_at(path)? {
            return Ok((path.to_owned(), facts));
        }
        path = path.parent().unwrap_or(Path::new("/"));
    }
}

/// Bytes by place.
#[derive(Default)]
struct Sizes {
    data_directory: u64,
    tablespaces: BTreeMap<u32, u64>,
    /// Parts of packs that files are made of.
    extents: u64,
    /// Bytes of the records by which these are sorted.
    record_bytes: u64,
}

/// What a backup says of room and settings.
fn look_into(
    repository: &Repository,
    cluster: &ClusterRef,
    record: &BackupRecord,
) -> Result<(Sizes, StoredFacts), RestoreError> {
    let map = repository.file_map(cluster, record)?;
    let main = includes::main_file_inside(record);
    let (sizes, files) = look_through(&map, record, main.as_deref())?;
    let stored = StoredFiles { repository, cluster, record, map: &map, files: &files }.facts()?;
    Ok((sizes, stored))
}

/// What the map of a backup says of room and configuration.
fn look_through(
    map: &FileMap<'_>,
    record: &BackupRecord,
    main: Option<&Path>,
) -> Result<(Sizes, ConfigurationFiles), RestoreError> {
    let (mut sizes, mut files) = (Sizes::default(), ConfigurationFiles::default());
    map.for_each(&mut |path, entry| {
        map_check::check(record, &path, &entry.kind)?;
        if let FileKind::File { bytes, extents, .. } = &entry.kind {
            sizes.extents += extents.len() as u64;
            sizes.record_bytes += extents.len() as u64 * Content::record_bytes(&path);
            let mut components = path.components();
            let is_tablespace = components.next() == Some(b"pg_tblspc");
            let oid = components.next().and_then(|oid| std::str::from_utf8(oid).ok()?.parse::<u32>().ok());
            let place = match oid.filter(|oid| is_tablespace && record.tablespaces.iter().any(|one| one.oid == *oid)) {
                Some(oid) => sizes.tablespaces.entry(oid).or_default(),
                None => &mut sizes.data_directory,
            };
            *place = place.saturating_add(*bytes);
            files.note(path.to_path().to_owned(), entry, main);
        }
        Ok::<(), RestoreError>(())
    })?;
    Ok((sizes, files))
}

impl Sizes {
    fn total(&self) -> u64 {
        self.tablespaces.values().fold(self.data_directory, |sum, bytes| sum.saturating_add(*bytes))
    }
}
