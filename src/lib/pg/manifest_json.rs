//! The JSON of a backup manifest, read one file at a time (`src/common/parse_manifest.c`).
//!
//! INVARIANT: a document is never held as a tree; an entry becomes its compact form before the next one is read.

use std::borrow::Cow;
use std::fmt;
use std::io::Read;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::data_path::DataPath;
use super::manifest::{ManifestError, ManifestFile, WalRange};
use super::manifest_checksum::{ManifestChecksum, ManifestChecksumAlgorithm};

pub(super) const VERSION: &str = "PostgreSQL-Backup-Manifest-Version";
pub(super) const SYSTEM_IDENTIFIER: &str = "System-Identifier";
pub(super) const FILES: &str = "Files";
pub(super) const WAL_RANGES: &str = "WAL-Ranges";
pub(super) const CHECKSUM: &str = "Manifest-Checksum";
/// LIMIT: WAL ranges; there is one for each timeline on the way through the backup.
const WAL_RANGES_MAX: usize = 1 << 14;

/// Takes the files one by one.
type EachFile<'f, E> = &'f mut dyn FnMut(ManifestFile) -> Result<(), E>;

/// What has been read so far. A typed failure is kept here, since serde carries only words.
pub(super) struct Parts<'f, E> {
    pub(super) version: u64,
    pub(super) system_identifier: Option<u64>,
    pub(super) has_files: bool,
    pub(super) wal_ranges: Option<Vec<WalRange>>,
    pub(super) checksum: Option<String>,
    each: EachFile<'f, E>,
    failure: Option<E>,
}

impl<'f, E: From<ManifestError>> Parts<'f, E> {
    /// Reads the whole document.
    pub(super) fn read(manifest: impl Read, each: EachFile<'f, E>) -> Result<Self, E> {
        let mut parts = Self {
            version: 0,
            system_identifier: None,
            has_files: false,
            wal_ranges: None,
            checksum: None,
            each,
            failure: None,
        };
        let mut json = serde_json::Deserializer::from_reader(manifest);
        let read = Document(&mut parts).deserialize(&mut json).and_then(|()| json.end());
        if let Some(failure) = parts.failure {
            return Err(failure);
        }
        read.map_err(|error| match error.is_io() {
            true => ManifestError::Read(error.into()),
            false => ManifestError::Json(error),
        })?;
        Ok(parts)
    }

    fn fail<F: serde::de::Error>(&mut self, failure: impl Into<E>) -> F {
        self.failure = Some(failure.into());
        F::custom("invalid manifest")
    }

    fn take<'de, A: MapAccess<'de>>(&mut self, field: &str, map: &mut A) -> Result<(), A::Error> {
        match field {
            SYSTEM_IDENTIFIER if self.version > 1 => {
                let number = map.next_value()?;
                set_once(&mut self.system_identifier, number, SYSTEM_IDENTIFIER).map_err(|e| self.fail(e))
            }
            FILES if self.has_files => Err(self.fail(ManifestError::DuplicateField { field: FILES })),
            FILES => map.next_value_seed(FileList(self)),
            WAL_RANGES => {
                let ranges = map.next_value_seed(RangeList)?;
                set_once(&mut self.wal_ranges, ranges, WAL_RANGES).map_err(|e| self.fail(e))
            }
            CHECKSUM => {
                let checksum = map.next_value()?;
                set_once(&mut self.checksum, checksum, CHECKSUM).map_err(|e| self.fail(e))
            }
            VERSION => Err(self.fail(ManifestError::DuplicateField { field: VERSION })),
            _ => {
                let (version, field) = (self.version, field.to_owned());
                Err(self.fail(ManifestError::UnknownField { version, field }))
            }
        }
    }
}

fn set_once<T>(place: &mut Option<T>, value: T, field: &'static str) -> Result<(), ManifestError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(ManifestError::DuplicateField { field }),
    }
}

/// The whole document: an object whose first field is the version.
struct Document<'p, 'f, E>(&'p mut Parts<'f, E>);

impl<'de, E: From<ManifestError>> DeserializeSeed<'de> for Document<'_, '_, E> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, E: From<ManifestError>> Visitor<'de> for Document<'_, '_, E> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let first: Option<String> = map.next_key()?;
        if first.as_deref() != Some(VERSION) {
            return Err(self.0.fail(ManifestError::VersionNotFirst { found: first.unwrap_or_default() }));
        }
        self.0.version = map.next_value()?;
        if !(1..=2).contains(&self.0.version) {
            let version = self.0.version;
            return Err(self.0.fail(ManifestError::Version { version }));
        }
        while let Some(field) = map.next_key::<String>()? {
            self.0.take(&field, &mut map)?;
        }
        Ok(())
    }
}

/// The array of files, each turned into its compact form and handed over as it is read.
struct FileList<'p, 'f, E>(&'p mut Parts<'f, E>);

impl<'de, E: From<ManifestError>> DeserializeSeed<'de> for FileList<'_, '_, E> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, E: From<ManifestError>> Visitor<'de> for FileList<'_, '_, E> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of files")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.0.has_files = true;
        let mut count = 0;
        while let Some(entry) = seq.next_element::<FileEntry<'de>>()? {
            let taken = entry.into_file(count).map_err(E::from).and_then(|file| (self.0.each)(file));
            if let Err(failure) = taken {
                return Err(self.0.fail(failure));
            }
            count += 1;
        }
        Ok(())
    }
}

/// The array of WAL ranges.
struct RangeList;

impl<'de> DeserializeSeed<'de> for RangeList {
    type Value = Vec<WalRange>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<WalRange>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for RangeList {
    type Value = Vec<WalRange>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of WAL ranges")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<WalRange>, A::Error> {
        let mut ranges = Vec::new();
        while let Some(range) = seq.next_element()? {
            if ranges.len() >= WAL_RANGES_MAX {
                return Err(A::Error::custom(format_args!("more than {WAL_RANGES_MAX} WAL ranges")));
            }
            ranges.push(range);
        }
        Ok(ranges)
    }
}

/// A file entry as it stands in the document.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileEntry<'a> {
    #[serde(rename = "Path", borrow, default, deserialize_with = "present")]
    path: Option<Cow<'a, str>>,
    #[serde(rename = "Encoded-Path", borrow, default, deserialize_with = "present")]
    encoded_path: Option<Cow<'a, str>>,
    #[serde(rename = "Size")]
    size_bytes: u64,
    #[serde(rename = "Last-Modified")]
    last_modified: Box<str>,
    #[serde(rename = "Checksum-Algorithm", borrow, default, deserialize_with = "present")]
    checksum_algorithm: Option<Cow<'a, str>>,
    #[serde(rename = "Checksum", borrow, default, deserialize_with = "present")]
    checksum: Option<Cow<'a, str>>,
}

/// A text that is there: `null` is not the same as an absent field.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Cow<'a, str>>, D::Error> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    Text::deserialize(deserializer).map(|text| Some(text.0))
}

impl FileEntry<'_> {
    fn into_file(self, index: usize) -> Result<ManifestFile, ManifestError> {
        let path = match (&self.path, &self.encoded_path) {
            (Some(path), None) => DataPath::parse(path.as_bytes()),
            (None, Some(digits)) => DataPath::parse_hex(digits),
            (None, None) => return Err(ManifestError::PathFields { index, found: "neither" }),
            (Some(_), Some(_)) => return Err(ManifestError::PathFields { index, found: "both" }),
        };
        let path = path.map_err(|source| ManifestError::Path { index, source })?;
        let checksum = self.checksum(&path)?;
        Ok(ManifestFile { path, size_bytes: self.size_bytes, last_modified: self.last_modified, checksum })
    }

    fn checksum(&self, path: &DataPath) -> Result<Option<ManifestChecksum>, ManifestError> {
        let path = || path.display().to_string();
        let (name, digits) = match (self.checksum_algorithm.as_deref(), self.checksum.as_deref()) {
            (None, None) => return Ok(None),
            (Some(name), None) if name.eq_ignore_ascii_case("NONE") => return Ok(None),
            (Some(name), Some(digits)) => (name, digits),
            _ => return Err(ManifestError::HalfChecksum { path: path() }),
        };
        let algorithm = ManifestChecksumAlgorithm::parse(name)
            .ok_or_else(|| ManifestError::ChecksumAlgorithm { path: path(), algorithm: name.to_owned() })?;
        let checksum = ManifestChecksum::parse_hex(algorithm, digits);
        let invalid = || ManifestError::ChecksumDigits { path: path(), algorithm, checksum: digits.to_owned() };
        checksum.ok_or_else(invalid).map(Some)
    }
}
