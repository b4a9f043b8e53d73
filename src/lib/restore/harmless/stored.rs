//! What a backup says of its server before anything is restored: its settings as the copy will read them, and what its
//! control file demands of a recovery.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::pg::{
    ClearScope, ConfigEntry, ConfigEntryKind, ControlFile, ReplayNeeds, clear_recovery_settings, parse_config,
};
use crate::repository::{BackupRecord, ClusterRef, DocumentRef, FileMap, Repository};
use crate::restore::configuration::{AUTO_FILE, MAIN_FILE, inside_data_directory};
use crate::restore::error::RestoreError;
use crate::restore::includes::{ConfigurationFiles, content, normal, resolved};
use crate::restore::settings::minimal_settings;
use crate::server::{CONFIG_FILE_BYTES_MAX, read_config_file};

/// LIMIT: levels of includes, as the server has it (`CONF_FILE_MAX_DEPTH`).
const DEPTH_MAX: usize = 10;
/// LIMIT: includes that are told.
const TOLD_MAX: usize = 20;

/// What was found in a backup.
#[derive(Debug, Clone, Default)]
pub(in crate::restore) struct StoredFacts {
    /// The settings of all files, in their order; none when a file is missing or cannot be read by a server.
    pub(in crate::restore) entries: Option<Vec<ConfigEntry>>,
    /// A warning for each include in the data directory that leads out of it: a copy beside its original would read the
    /// original's files, or anybody's. What lies there is restored as it was backed up, so they are told, not changed.
    pub(in crate::restore) leading_away: Vec<String>,
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
    /// Among the documents, by its whole path on the original's host: outside the data directory, or behind a link in it.
    Outside(PathBuf),
}

/// Where an include leads.
enum Included {
    /// To what was backed up.
    Stored(Place),
    /// Out of the data directory, to this file of this host.
    Here(PathBuf),
    /// Out of the data directory, to wherever that is seen from where it is restored to.
    Away,
}

/// What the files say that were read.
#[derive(Default)]
struct Found {
    entries: Vec<ConfigEntry>,
    /// Whether something could not be read that a server would read, or fail at.
    is_incomplete: bool,
    leading_away: Vec<String>,
}

impl Found {
    fn tell(&mut self, by: &Path, line: usize, named: &Path, how: &str) {
        if self.leading_away.len() < TOLD_MAX {
            let (by, named) = (by.display(), named.display());
            self.leading_away.push(format!("\"{by}\" line {line} includes \"{named}\"{how}"));
        }
    }
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
        let Found { entries, is_incomplete, leading_away } = self.found()?;
        Ok(StoredFacts { entries: (!is_incomplete).then_some(entries), leading_away, needs })
    }

    fn found(&self) -> Result<Found, RestoreError> {
        let mut found = Found::default();
        match self.main_place()? {
            Some(main) => self.read_into(&mut found, &main, 0)?,
            // It is written anew.
            None => found.entries = parse_config(minimal_settings(self.record)?.as_bytes()).unwrap_or_default(),
        }
        let auto = self.inside(Path::new(AUTO_FILE), CONFIG_FILE_BYTES_MAX)?.unwrap_or_default();
        // What pgv wrote there for another recovery goes.
        match parse_config(&clear_recovery_settings(&auto, ClearScope::Everything)) {
            Ok(own) => found.entries.extend(own),
            Err(_) => found.is_incomplete = true,
        }
        Ok(found)
    }

    /// Where the main file is, if the backup has it.
    fn main_place(&self) -> Result<Option<Place>, RestoreError> {
        let usual = self.place_inside(PathBuf::from(MAIN_FILE));
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
        match inside_data_directory(self.record, path) {
            Some(inside) => self.place_inside(inside.to_owned()),
            None => Place::Outside(path.to_owned()),
        }
    }

    /// The place of a path below the data directory, where it may be behind a link.
    fn place_inside(&self, path: PathBuf) -> Place {
        let whole = self.record.setting("data_directory").map(|data| Path::new(data).join(&path));
        match whole.filter(|whole| self.files.entry(&path).is_none() && self.document(whole).is_some()) {
            Some(whole) => Place::Outside(whole),
            None => Place::Inside(path),
        }
    }

    fn document(&self, path: &Path) -> Option<&DocumentRef> {
        self.record.documents.iter().find(|document| document.path.as_deref() == Some(path))
    }

    fn inside(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, RestoreError> {
        self.files.entry(path).map(|entry| content(self.map, entry, limit)).transpose()
    }

    fn text(&self, place: &Place) -> Result<Option<Vec<u8>>, RestoreError> {
        match place {
            Place::Inside(path) => self.inside(path, CONFIG_FILE_BYTES_MAX),
            Place::Outside(path) => {
                let load = |document| self.repository.document(self.cluster, &self.record.id, document);
                Ok(self.document(path).map(load).transpose()?)
            }
        }
    }

    /// Adds the settings of a file and of what it includes.
    fn read_into(&self, found: &mut Found, place: &Place, depth: usize) -> Result<(), RestoreError> {
        let text = self.text(place)?.filter(|_| depth <= DEPTH_MAX);
        let Some(Ok(entries)) = text.as_deref().map(parse_config) else {
            found.is_incomplete = true;
            return Ok(());
        };
        for entry in entries {
            if entry.kind == ConfigEntryKind::Setting {
                found.entries.push(entry);
                continue;
            }
            let named = Path::new(OsStr::from_bytes(&entry.value));
            match (self.included(place, named), entry.kind) {
                (Included::Stored(named), ConfigEntryKind::IncludeDirectory) => {
                    self.read_directory(found, &named, depth + 1)?;
                }
                (Included::Stored(named), ConfigEntryKind::IncludeIfExists) if self.text(&named)?.is_none() => {}
                (Included::Stored(named), _) => self.read_into(found, &named, depth + 1)?,
                (Included::Here(file), kind) => {
                    let how = " by its absolute path, so the copy reads that file, which may be its original's";
                    found.tell(place.path(), entry.line, named, how);
                    read_here(found, &file, kind)?;
                }
                (Included::Away, _) => {
                    let how = ", which leads out of the directory, so the copy reads what lies there, seen from where it is \
                               restored to";
                    found.tell(place.path(), entry.line, named, how);
                    found.is_incomplete = true;
                }
            }
        }
        Ok(())
    }

    /// What an include of a file names.
    fn included(&self, by: &Place, named: &Path) -> Included {
        match by {
            Place::Inside(_) if named.is_absolute() => Included::Here(named.to_owned()),
            Place::Inside(path) => match normal(&path.parent().unwrap_or(Path::new("")).join(named)) {
                Some(path) => Included::Stored(self.place_inside(path)),
                None => Included::Away,
            },
            Place::Outside(path) => {
                Included::Stored(self.place_of(&resolved(&path.parent().unwrap_or(Path::new("/")).join(named))))
            }
        }
    }

    /// The documents that lay in a directory, but for those that the backup has as files, too.
    fn documents_in(&self, directory: &Path) -> Vec<Place> {
        let paths = self.record.documents.iter().filter_map(|document| document.path.as_deref());
        paths.filter(|path| path.parent() == Some(directory)).map(|path| self.place_of(path)).collect()
    }

    fn read_directory(&self, found: &mut Found, place: &Place, depth: usize) -> Result<(), RestoreError> {
        let mut files: Vec<Place> = match place {
            Place::Inside(directory) => {
                let files = self.files.below(directory).map(|path| Place::Inside(path.to_owned()));
                let whole = self.record.setting("data_directory").map(|data| Path::new(data).join(directory));
                let behind_links = whole.into_iter().flat_map(|whole| self.documents_in(&whole));
                files.chain(behind_links.filter(|place| matches!(place, Place::Outside(_)))).collect()
            }
            Place::Outside(directory) => self.documents_in(directory),
        };
        files.retain(|file| {
            let name = file.path().file_name().unwrap_or_default().as_bytes();
            !name.starts_with(b".") && name.ends_with(b".conf")
        });
        files.sort_by(|one, other| one.path().file_name().cmp(&other.path().file_name()));
        files.iter().try_for_each(|file| self.read_into(found, file, depth))
    }
}

/// Adds the settings of a file on this host.
fn read_here(found: &mut Found, file: &Path, kind: ConfigEntryKind) -> Result<(), RestoreError> {
    if kind == ConfigEntryKind::IncludeIfExists && !crate::fs::is_present(file)? {
        return Ok(());
    }
    // Of a directory there is whatever is there then: what it says is found when it is restored.
    match read_config_file(file) {
        Ok(entries) if kind != ConfigEntryKind::IncludeDirectory => found.entries.extend(entries),
        _ => found.is_incomplete = true,
    }
    Ok(())
}

impl Place {
    fn path(&self) -> &Path {
        match self {
            Self::Inside(path) | Self::Outside(path) => path,
        }
    }
}
