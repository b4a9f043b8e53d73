//! What a backup says of its server before anything is restored: its settings as the copy will read them, and what its
//! control file demands of a recovery.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::pg::{
    ClearScope, ConfigEntry, ConfigEntryKind, ControlFile, ReplayNeeds, clear_recovery_settings, parse_config,
};
use crate::repository::{BackupRecord, ClusterRef, FileMap, Repository};
use crate::restore::configuration::{AUTO_FILE, MAIN_FILE};
use crate::restore::error::RestoreError;
use crate::restore::includes::{ConfigurationFiles, content, normal, resolved};
use crate::restore::settings::minimal_settings;
use crate::server::{CONFIG_FILE_BYTES_MAX, read_config_file};

/// LIMIT: levels of includes, as the server has it (`CONF_FILE_MAX_DEPTH`).
const DEPTH_MAX: usize = 10;

/// What was found in a backup.
#[derive(Debug, Clone, Default)]
pub(in crate::restore) struct StoredFacts {
    /// The settings of all files, in their order; none when a file is missing or cannot be read by a server.
    pub(in crate::restore) entries: Option<Vec<ConfigEntry>>,
    /// What the control file demands; none when the backup has none, which is found out when it is restored.
    pub(in crate::restore) needs: Option<ReplayNeeds>,
}

/// The files of a backup.
pub(in crate::restore) struct StoredFiles<'a> {
    pub(in crate::restore) repository: &'a Repository,
    pub(in crate::restore) cluster: &'a ClusterRef,
    pub(in crate::restore) record: &'a BackupRecord,
    pub(in crate::restore) map: &'a FileMap<'a>,
    pub(in crate::restore) files: &'a ConfigurationFiles,
}

/// Where a file of the configuration is found.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// Below the data directory.
    Inside(PathBuf),
    /// Among the documents, by its whole path on the original's host.
    Outside(PathBuf),
    /// On this host: an absolute include of a file inside.
    Here(PathBuf),
}

impl StoredFiles<'_> {
    pub(in crate::restore) fn facts(&self) -> Result<StoredFacts, RestoreError> {
        let needs = match self.inside(Path::new(ControlFile::PATH), ControlFile::FILE_LENGTH as u64)? {
            None => None,
            Some(bytes) => {
                let invalid = |source| RestoreError::RestoredControlFile { backup: self.record.id, source };
                Some(ReplayNeeds::from(&ControlFile::decode(&bytes).map_err(invalid)?.settings))
            }
        };
        Ok(StoredFacts { entries: self.entries()?, needs })
    }

    fn entries(&self) -> Result<Option<Vec<ConfigEntry>>, RestoreError> {
        let mut entries = Vec::new();
        let is_read = match self.main_place()? {
            Some(main) => self.read_into(&mut entries, &main, 0)?,
            // It is written anew.
            None => {
                let lines = minimal_settings(self.record)?;
                entries = parse_config(lines.as_bytes()).unwrap_or_default();
                true
            }
        };
        let auto = self.inside(Path::new(AUTO_FILE), CONFIG_FILE_BYTES_MAX)?.unwrap_or_default();
        // What pgv wrote there for another recovery goes.
        match parse_config(&clear_recovery_settings(&auto, ClearScope::Everything)) {
            Ok(own) if is_read => entries.extend(own),
            _ => return Ok(None),
        }
        Ok(Some(entries))
    }

    /// Where the main file is, if the backup has it.
    fn main_place(&self) -> Result<Option<Place>, RestoreError> {
        let usual = Place::Inside(PathBuf::from(MAIN_FILE));
        let place = self.record.setting("config_file").map_or(usual.clone(), |path| self.place_of(Path::new(path)));
        for place in [place, usual] {
            if self.text(&place)?.is_some() {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// The place of an absolute path in configuration that lies outside.
    fn place_of(&self, path: &Path) -> Place {
        let is_stored = self.record.documents.iter().any(|document| document.path.as_deref() == Some(path));
        let inside = self.record.setting("data_directory").and_then(|data| path.strip_prefix(data).ok());
        match inside.filter(|_| !is_stored) {
            Some(inside) => Place::Inside(inside.to_owned()),
            None => Place::Outside(path.to_owned()),
        }
    }

    fn inside(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, RestoreError> {
        self.files.entry(path).map(|entry| content(self.map, entry, limit)).transpose()
    }

    fn text(&self, place: &Place) -> Result<Option<Vec<u8>>, RestoreError> {
        match place {
            Place::Inside(path) => self.inside(path, CONFIG_FILE_BYTES_MAX),
            Place::Outside(path) => {
                let documents = &self.record.documents;
                let found = documents.iter().find(|document| document.path.as_deref() == Some(path));
                let load = |document| self.repository.document(self.cluster, &self.record.id, document);
                Ok(found.map(load).transpose()?)
            }
            Place::Here(_) => Ok(None),
        }
    }

    /// Adds the settings of a file and of what it includes; says whether a server could read them all.
    fn read_into(&self, entries: &mut Vec<ConfigEntry>, place: &Place, depth: usize) -> Result<bool, RestoreError> {
        if let Place::Here(path) = place {
            let Ok(found) = read_config_file(path) else { return Ok(false) };
            entries.extend(found);
            return Ok(true);
        }
        let Some(text) = self.text(place)?.filter(|_| depth <= DEPTH_MAX) else { return Ok(false) };
        let Ok(found) = parse_config(&text) else { return Ok(false) };
        for entry in found {
            if entry.kind == ConfigEntryKind::Setting {
                entries.push(entry);
                continue;
            }
            let Some(named) = self.included(place, Path::new(OsStr::from_bytes(&entry.value))) else {
                return Ok(false);
            };
            let is_read = match entry.kind {
                ConfigEntryKind::IncludeDirectory => self.read_directory(entries, &named, depth + 1)?,
                ConfigEntryKind::IncludeIfExists if !self.is_there(&named)? => true,
                _ => self.read_into(entries, &named, depth + 1)?,
            };
            if !is_read {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_there(&self, place: &Place) -> Result<bool, RestoreError> {
        Ok(match place {
            Place::Here(path) => crate::fs::is_present(path)?,
            _ => self.text(place)?.is_some(),
        })
    }

    /// What an include of a file names.
    fn included(&self, by: &Place, named: &Path) -> Option<Place> {
        match by {
            Place::Inside(_) if named.is_absolute() => Some(Place::Here(named.to_owned())),
            Place::Inside(path) => normal(&path.parent().unwrap_or(Path::new("")).join(named)).map(Place::Inside),
            Place::Outside(path) => {
                Some(self.place_of(&resolved(&path.parent().unwrap_or(Path::new("/")).join(named))))
            }
            Place::Here(_) => None,
        }
    }

    fn read_directory(
        &self,
        entries: &mut Vec<ConfigEntry>,
        place: &Place,
        depth: usize,
    ) -> Result<bool, RestoreError> {
        let is_read_there = |path: &Path| {
            let name = path.file_name().unwrap_or_default().as_bytes();
            !name.starts_with(b".") && name.ends_with(b".conf")
        };
        let mut named: Vec<Place> = match place {
            Place::Inside(directory) => {
                self.files.below(directory).map(|path| Place::Inside(path.to_owned())).collect()
            }
            Place::Outside(directory) => {
                let paths = self.record.documents.iter().filter_map(|document| document.path.clone());
                paths.filter(|path| path.parent() == Some(directory)).map(Place::Outside).collect()
            }
            // Whatever is there: the server reads it, and what it says is found when it is restored.
            Place::Here(_) => return Ok(false),
        };
        named.retain(|place| matches!(place, Place::Inside(path) | Place::Outside(path) if is_read_there(path)));
        named.sort_by(|one, other| one.path().cmp(other.path()));
        for file in named {
            if !self.read_into(entries, &file, depth)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Place {
    fn path(&self) -> &Path {
        match self {
            Self::Inside(path) | Self::Outside(path) | Self::Here(path) => path,
        }
    }
}
