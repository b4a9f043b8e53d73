//! A walk through the data directory, while the server works in it, in the order of the map.
//!
//! INVARIANT: entries come in the order of the bytes of their paths, a directory before what is in it; of each directory
//! on the way a part of the names is in memory, and some bytes for each unlogged relation, nothing else; it is open, and
//! so are those of the pieces not done yet. What goes away before its turn is left out, as
//! `BASE_BACKUP` does (`sendDir` in `src/backend/backup/basebackup.c`): its WAL says so.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use super::piece::{LargeFile, Piece, PieceLimits, Planned, PlannedKind, Run};
use super::steps::{Action, SortedSteps, Sorting, Step, Steps};
use crate::backup::{BackupError, IncompleteError};
use crate::codec::PAGED_FILE_BYTES;
use crate::fs::{self, FileError, Links, LiveDirectory, LiveFacts, PathKind};
use crate::pg::{BackupScope, DataFileKind, DataPath, EntryKind, EntryScope, UnloggedRelations};
use crate::report::Reporter;
use crate::repository::FRAME_BYTES;

/// Where tablespaces are linked.
const TABLESPACES: &str = "pg_tblspc";

/// The walk: an iterator of pieces.
pub(super) struct Scan<'a> {
    scope: BackupScope,
    sorting: Sorting<'a>,
    reporter: &'a dyn Reporter,
    limits: PieceLimits,
    /// Permission bits of the data directory, for a directory that stands where a link was.
    mode: u32,
    /// Directories that are tablespaces too, so that they are not taken twice.
    tablespaces_inside: HashSet<DataPath>,
    /// Links in `pg_tblspc` that lead nowhere, and need not.
    left_over: &'a BTreeSet<DataPath>,
    levels: Vec<Level>,
    batch: Vec<Planned>,
    batch_bytes: u64,
    /// How many files of the batch are open, and how often one comes from another directory than the one before.
    batch_open: usize,
    large: Option<(Arc<LargeFile>, u64)>,
    /// What comes behind the batch that was just handed over.
    control_file: Option<DataPath>,
    is_over: bool,
}

/// A directory whose entries are being visited.
struct Level {
    directory: Arc<LiveDirectory>,
    steps: SortedSteps,
}

impl<'a> Scan<'a> {
    /// Begins at the top.
    pub(super) fn new(
        data_directory: &Path,
        scope: BackupScope,
        limits: PieceLimits,
        left_over: &'a BTreeSet<DataPath>,
        sorting: Sorting<'a>,
        reporter: &'a dyn Reporter,
    ) -> Result<Self, BackupError> {
        let root = LiveDirectory::open(data_directory)?;
        let mut scan = Self {
            scope,
            sorting,
            reporter,
            limits,
            mode: root.own_facts()?.mode,
            tablespaces_inside: tablespaces_inside(&root)?,
            left_over,
            levels: Vec::new(),
            batch: Vec::new(),
            batch_bytes: 0,
            batch_open: 0,
            large: None,
            control_file: None,
            is_over: false,
        };
        scan.enter(Arc::new(root), None)?;
        Ok(scan)
    }

    fn advance(&mut self) -> Result<Option<Piece>, BackupError> {
        loop {
            if let Some((file, offset)) = self.large.take_if(|_| self.batch.is_empty()) {
                return Ok(Some(self.next_run(file, offset)));
            }
            if let Some(path) = self.control_file.take_if(|_| self.batch.is_empty()) {
                return Ok(Some(Piece::ControlFile(path)));
            }
            let is_full = self.batch_bytes >= FRAME_BYTES as u64 || self.batch.len() >= self.limits.batch_entries;
            let comes_before = self.large.is_some() || self.control_file.is_some();
            if (is_full || comes_before || self.levels.is_empty()) && !self.batch.is_empty() {
                return Ok(Some(self.take_batch()));
            }
            let Some(level) = self.levels.last_mut() else { return Ok(None) };
            match level.steps.next() {
                None => {
                    self.levels.pop();
                }
                Some(step) => {
                    let directory = Arc::clone(&level.directory);
                    if let Some(piece) = self.visit(step?, &directory)? {
                        return Ok(Some(piece));
                    }
                }
            }
        }
    }

    fn take_batch(&mut self) -> Piece {
        self.batch_bytes = 0;
        self.batch_open = 0;
        Piece::Batch(std::mem::take(&mut self.batch))
    }

    fn next_run(&mut self, file: Arc<LargeFile>, offset: u64) -> Piece {
        let left = file.bytes().saturating_sub(offset);
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(self.limits.run_bytes);
        let run = Run { file: Arc::clone(&file), offset, length };
        if !run.is_last() {
            self.large = Some((file, offset + length as u64));
        }
        Piece::Run(run)
    }

    /// May hand over the batch before it, when the file does not fit behind that.
    fn visit(&mut self, step: Step, directory: &Arc<LiveDirectory>) -> Result<Option<Piece>, BackupError> {
        let Step { path, action } = step;
        if let Action::Descend(links) = action {
            if !self.tablespaces_inside.contains(&path)
                && !self.left_over.contains(&path)
                && let Some(below) = directory.directory(name_of(&path), links)?
            {
                self.enter(Arc::new(below), Some(path))?;
            }
            return Ok(None);
        }
        let name = match action {
            Action::MadeDirectory => path.parent().map(|parent| parent.file_name().to_vec()).unwrap_or_default(),
            _ => path.file_name().to_vec(),
        };
        let name = OsStr::from_bytes(&name);
        let Some(facts) = directory.facts(name)? else { return Ok(None) };
        match (action, facts.kind) {
            (Action::Descend(_), _) => Ok(None),
            (Action::ControlFile, PathKind::File) => {
                self.control_file = Some(path);
                Ok(None)
            }
            (Action::File, PathKind::File) => self.add_file(path, facts, directory),
            (Action::EmptyDirectory | Action::MadeDirectory, PathKind::Link) => {
                self.add(path, LiveFacts { mode: self.mode, ..facts }, PlannedKind::Directory)
            }
            (
                Action::Directory | Action::EmptyDirectory | Action::MadeDirectory | Action::Tablespace,
                PathKind::Directory,
            ) => self.add(path, facts, PlannedKind::Directory),
            (Action::Tablespace, PathKind::Link) => match directory.link_target(name)? {
                Some(target) => {
                    check_text(name, &target)?;
                    self.add(path, facts, PlannedKind::Link { target })
                }
                None => Ok(None),
            },
            // Another thing has come into its place: what was there has gone.
            _ => Ok(None),
        }
    }

    fn add(&mut self, path: DataPath, facts: LiveFacts, kind: PlannedKind) -> Result<Option<Piece>, BackupError> {
        self.batch.push(Planned { path, facts, kind });
        Ok(None)
    }

    fn add_file(
        &mut self,
        path: DataPath,
        mut facts: LiveFacts,
        directory: &Arc<LiveDirectory>,
    ) -> Result<Option<Piece>, BackupError> {
        let mut kind = PlannedKind::RelationFile { directory: Arc::clone(directory) };
        let is_of_relation = matches!(path.classify(), DataFileKind::Relation(_));
        if facts.bytes > PAGED_FILE_BYTES || !is_of_relation {
            let Some(file) = directory.file(name_of(&path))? else { return Ok(None) };
            facts = file.facts();
            if facts.bytes > PAGED_FILE_BYTES {
                self.large = Some((Arc::new(LargeFile { path, file }), 0));
                return Ok(None);
            }
            if !is_of_relation {
                kind = PlannedKind::OpenFile(file);
            }
        }
        let is_new = !is_of_relation || !self.is_directory_of_last_file(directory);
        let is_too_much = self.batch_bytes + facts.bytes > FRAME_BYTES as u64
            || (is_new && self.batch_open >= self.limits.batch_open);
        let full = is_too_much.then(|| self.take_batch());
        self.batch_bytes += facts.bytes;
        self.batch_open += usize::from(is_new || full.is_some());
        self.batch.push(Planned { path, facts, kind });
        Ok(full)
    }

    fn is_directory_of_last_file(&self, directory: &Arc<LiveDirectory>) -> bool {
        let files = self.batch.iter().rev().filter_map(|planned| match &planned.kind {
            PlannedKind::RelationFile { directory } => Some(directory),
            _ => None,
        });
        files.take(1).any(|last| Arc::ptr_eq(last, directory))
    }

    fn enter(&mut self, directory: Arc<LiveDirectory>, path: Option<DataPath>) -> Result<(), BackupError> {
        let below = |name: &OsStr| match &path {
            Some(path) => DataPath::parse(&[path.as_bytes(), b"/", name.as_bytes()].concat()),
            None => DataPath::parse(name.as_bytes()),
        };
        let mut unlogged = UnloggedRelations::default();
        directory.each_name(&mut |name, _| {
            // One that comes after this belongs to a relation that is taken whole, as new ones are.
            if name.as_bytes().ends_with(b"_init") {
                unlogged.note(&below(name)?);
            }
            Ok::<(), BackupError>(())
        })?;
        let mut steps = Steps::new(self.sorting);
        directory.each_name(&mut |name, kind| {
            let kind = match kind {
                Some(kind) => kind,
                // COMPAT: a file system that does not tell it with the names.
                None => match directory.facts(name)? {
                    Some(facts) => facts.kind,
                    None => return Ok(()),
                },
            };
            let path = below(name)?;
            match kind != PathKind::File || !unlogged.leave_out(&path) {
                true => self.plan(path, kind, &mut steps),
                false => Ok(()),
            }
        })?;
        self.levels.push(Level { steps: steps.finish()?, directory });
        Ok(())
    }

    fn plan(&self, path: DataPath, kind: PathKind, steps: &mut Steps<'_>) -> Result<(), BackupError> {
        match self.scope.entry(&path, entry_kind(kind)) {
            EntryScope::File => steps.add(&path, Action::File),
            EntryScope::ControlFile => steps.add(&path, Action::ControlFile),
            EntryScope::Directory => {
                steps.add(&path, Action::Directory)?;
                steps.add(&path, Action::Descend(Links::Refuse))
            }
            EntryScope::Tablespace => {
                steps.add(&path, Action::Tablespace)?;
                steps.add(&path, Action::Descend(Links::Follow))
            }
            EntryScope::EmptyDirectory => {
                steps.add(&path, Action::EmptyDirectory)?;
                if path.as_bytes() == b"pg_wal" {
                    for name in self.scope.wal_directories() {
                        steps.add(&path.join(&DataPath::parse(name.as_bytes())?)?, Action::MadeDirectory)?;
                    }
                }
                Ok(())
            }
            EntryScope::LeftOut => Ok(()),
            EntryScope::Moved => Err(IncompleteError::Moved { path }.into()),
            EntryScope::Unexpected => {
                let what = if kind == PathKind::Link { "a link" } else { "no file or directory" };
                self.reporter.warn(&format!("\"{path}\" is {what}, so it is left out of the backup"));
                Ok(())
            }
        }
    }
}

impl Iterator for Scan<'_> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        if self.is_over {
            return None;
        }
        match self.advance() {
            Ok(piece) => {
                self.is_over = piece.is_none();
                piece
            }
            Err(error) => {
                self.is_over = true;
                Some(Piece::Failed(error))
            }
        }
    }
}

fn name_of(path: &DataPath) -> &OsStr {
    OsStr::from_bytes(path.file_name())
}

pub(super) fn entry_kind(kind: PathKind) -> EntryKind {
    match kind {
        PathKind::File => EntryKind::File,
        PathKind::Directory => EntryKind::Directory,
        PathKind::Link => EntryKind::Link,
        PathKind::Other => EntryKind::Special,
    }
}

/// Refuses a location that the record, which is JSON, cannot hold: at once, not when all data has been read.
fn check_text(name: &OsStr, target: &Path) -> Result<(), BackupError> {
    match (target.to_str(), name.to_str().and_then(|digits| digits.parse().ok())) {
        (None, Some(oid)) => {
            let location = target.as_os_str().as_bytes().escape_ascii().to_string();
            Err(BackupError::TablespaceName { oid, location })
        }
        _ => Ok(()),
    }
}

/// The tablespaces that lie in the data directory itself and are linked all the same.
fn tablespaces_inside(root: &LiveDirectory) -> Result<HashSet<DataPath>, BackupError> {
    let mut inside = HashSet::new();
    let Some(tablespaces) = root.directory(OsStr::new(TABLESPACES), Links::Refuse)? else { return Ok(inside) };
    let real_root = fs::real_path(root.path())?;
    tablespaces.each_name(&mut |name, _| {
        let Some(target) = tablespaces.link_target(name)? else { return Ok(()) };
        check_text(name, &target)?;
        let real = match fs::real_path(&tablespaces.path().join(&target)) {
            Ok(real) => real,
            Err(FileError { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if let Ok(relative) = real.strip_prefix(&real_root) {
            inside.insert(DataPath::parse(relative.as_os_str().as_bytes())?);
        }
        Ok::<(), BackupError>(())
    })?;
    Ok(inside)
}
