//! The `backup_manifest` of what is restored (`--manifest`), for `pg_verifybackup`.
//!
//! The checksums of the backup's files are taken from their bytes while these are checked; what the restore writes or
//! changes itself is read at the end. What `pg_verifybackup` never looks at is left out.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use jiff::Timestamp;

use super::configuration::{FILES, OUTSIDE_FOLDER, inside_data_directory, place_below, place_of};
use super::error::RestoreError;
use super::plan::RestorePlan;
use crate::fs::{self, PathKind, Tree};
use crate::pg::{DataPath, ManifestChecksum, ManifestChecksumAlgorithm, ManifestFile, ManifestText, WalRange};
use crate::repository::ClusterRef;

/// Its name in the data directory.
pub(super) const MANIFEST: &str = "backup_manifest";
/// What `pg_verifybackup` does not look at (`src/bin/pg_verifybackup/pg_verifybackup.c`, `main`).
const IGNORED: [&str; 5] = [MANIFEST, "pg_wal", "postgresql.auto.conf", "recovery.signal", "standby.signal"];
/// Documents that a restore writes as files.
const DOCUMENTS: [&str; 2] = ["backup_label", "tablespace_map"];
/// What is collected before it is written.
const BUFFER_BYTES: usize = 64 << 10;
/// How much of a file is read at once.
const READ_BYTES: usize = 1 << 20;

/// A manifest that is being written.
pub(super) struct ManifestWriter<'a> {
    plan: &'a RestorePlan,
    data: &'a Tree,
    /// Files that the restore may write or change, below the data directory; and a folder of them.
    own: Vec<PathBuf>,
    state: Mutex<State>,
}

struct State {
    file: File,
    text: ManifestText,
    buffer: Vec<u8>,
    written: u64,
}

impl<'a> ManifestWriter<'a> {
    /// Begins one, in the place of one that may stand there.
    pub(super) fn create(plan: &'a RestorePlan, cluster: &ClusterRef, data: &'a Tree) -> Result<Self, RestoreError> {
        let name = Path::new(MANIFEST);
        if fs::look_at(&data.path().join(name))?.is_some() {
            data.remove(name)?;
        }
        let file = data.create_file(name, fs::PRIVATE_FILE_MODE | (0o040 & plan.mode_mask))?;
        let (text, begin) = ManifestText::begin(plan.record.major_version, cluster.system_identifier);
        let configuration = FILES.iter().map(|(name, usual)| place_of(plan, name, usual));
        let inside = configuration.filter_map(|place| place.strip_prefix(&plan.directory).ok().map(Path::to_owned));
        let stored = plan.record.documents.iter().filter_map(|document| document.path.as_deref());
        let behind_links = stored.filter(|path| inside_data_directory(&plan.record, path).is_some());
        let behind_links = behind_links.map(|path| place_below(&plan.record, path));
        let own = inside.chain(behind_links).chain(DOCUMENTS.map(PathBuf::from)).collect();
        let state = State { file, text, buffer: begin.into_bytes(), written: 0 };
        Ok(Self { plan, data, own, state: Mutex::new(state) })
    }

    /// Notes a file of the backup, with the CRC-32C of its bytes.
    pub(super) fn note(&self, path: &DataPath, bytes: u64, modified: i64, crc: u32) -> Result<(), RestoreError> {
        let place = path.to_path();
        let is_ours = place.starts_with(OUTSIDE_FOLDER) || self.own.iter().any(|own| own == place);
        if is_ours || IGNORED.iter().any(|ignored| place.starts_with(ignored)) {
            return Ok(());
        }
        self.add(path, bytes, modified, ManifestChecksum::Crc32c(crc.to_le_bytes()))
    }

    fn add(
        &self,
        path: &DataPath,
        size_bytes: u64,
        modified: i64,
        checksum: ManifestChecksum,
    ) -> Result<(), RestoreError> {
        let modified = Timestamp::from_second(modified).unwrap_or(Timestamp::UNIX_EPOCH);
        let last_modified = modified.strftime("%Y-%m-%d %H:%M:%S GMT").to_string().into();
        let file = ManifestFile { path: path.clone(), size_bytes, last_modified, checksum: Some(checksum) };
        let mut state = self.state.lock().map_err(|_| self.lost())?;
        let entry = state.text.file(&file);
        state.buffer.extend_from_slice(entry.as_bytes());
        if state.buffer.len() >= BUFFER_BYTES { self.flush(&mut state) } else { Ok(()) }
    }

    fn flush(&self, state: &mut State) -> Result<(), RestoreError> {
        self.data.write_at(&state.file, Path::new(MANIFEST), state.written, &state.buffer)?;
        state.written += state.buffer.len() as u64;
        state.buffer.clear();
        Ok(())
    }

    /// Adds what the restore has written itself, and ends it.
    pub(super) fn finish(self) -> Result<(), RestoreError> {
        let mut own = self.own.clone();
        let outside = self.data.path().join(OUTSIDE_FOLDER);
        if fs::is_directory(&outside)? {
            let each = &mut |below: &Path, kind| {
                if kind == PathKind::File {
                    own.push(Path::new(OUTSIDE_FOLDER).join(below));
                }
                Ok::<(), fs::FileError>(())
            };
            Tree::open(&outside)?.list(&mut |_| false, each)?;
        }
        own.sort();
        own.dedup();
        for path in own {
            self.add_own(&path)?;
        }
        let record = &self.plan.record;
        let range = WalRange { timeline: record.start_timeline, start_lsn: record.start_lsn, end_lsn: record.stop_lsn };
        let lost = self.lost();
        let Self { data, state, .. } = self;
        let State { file, text, mut buffer, written } = state.into_inner().map_err(|_| lost)?;
        buffer.extend_from_slice(text.finish(&[range]).as_bytes());
        Ok(data.write_at(&file, Path::new(MANIFEST), written, &buffer)?)
    }

    /// A file as it is now, if there is one.
    fn add_own(&self, path: &Path) -> Result<(), RestoreError> {
        let Ok(name) = DataPath::parse(path.as_os_str().as_encoded_bytes()) else { return Ok(()) };
        let place = self.data.path().join(path);
        if !matches!(fs::look_at(&place)?, Some(facts) if facts.kind == PathKind::File) {
            return Ok(());
        }
        let file = self.data.open_to_read(path)?;
        let mut hasher = ManifestChecksum::hasher(ManifestChecksumAlgorithm::Crc32c);
        let mut bytes = 0;
        loop {
            let piece = fs::read_range_of(&file, &place, bytes, READ_BYTES)?;
            hasher.update(&piece);
            bytes += piece.len() as u64;
            if piece.len() < READ_BYTES {
                break;
            }
        }
        let modified = fs::modified(&place)?.as_second();
        self.add(&name, bytes, modified, hasher.finish())
    }

    fn lost(&self) -> RestoreError {
        RestoreError::Spill { path: self.plan.directory.clone() }
    }
}
