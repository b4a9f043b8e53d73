//! Creating and loading whole objects: the envelope around plain bytes, and the checks on the way back.

use std::io::Read;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Repository;
use super::error::{Damage, RepositoryError};
use super::object_reader::{ObjectReader, SinkError};
use super::writer::Writer;
use crate::codec::{
    AssembledObject, BodyError, CompressionLevel, ContentDigest, EnvelopeError, HEADER_BYTES, ObjectHeader, ObjectKind,
    assemble_object,
};
use crate::error::{Classified, ErrorClass};
use crate::pg::{PgMajorVersion, SystemIdentifier};
use crate::store::{ObjectBody, ObjectKey, ObjectKeyError, PutOutcome, StoreError, block_on};

/// Plain bytes per frame of objects that are assembled whole.
pub(crate) const OBJECT_FRAME_BYTES: usize = 1 << 20;
/// LIMIT: plain bytes of an object of JSON text.
const TEXT_BYTES_MAX: u64 = 256 << 20;

/// LIMIT: plain bytes of an object that is written and read as a whole.
pub(crate) const WHOLE_BYTES_MAX: u64 = 1 << 30;

/// What an object must be, whatever key it lies under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectSpec {
    /// Its kind.
    pub kind: ObjectKind,
    /// The cluster that it belongs to, if it belongs to one.
    pub system_identifier: Option<SystemIdentifier>,
    /// Its logical name.
    pub name: String,
}

/// What storing came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// It was stored now.
    Created,
    /// The identical content was stored already.
    Identical,
}

/// What is looked at before anything else.
#[derive(Deserialize)]
struct NeededFirst {
    #[serde(default)]
    required_features: Vec<String>,
    #[serde(default)]
    major_version: Option<u32>,
}

impl Repository {
    pub(crate) fn invalid_key(&self, source: ObjectKeyError) -> RepositoryError {
        StoreError::InvalidKey { store: self.describe(), source }.into()
    }

    pub(crate) fn damaged(&self, key: &ObjectKey, damage: Damage) -> RepositoryError {
        RepositoryError::Damaged { key: key.clone(), store: self.describe(), damage }
    }

    /// A header of which sizes and digests are not yet known.
    pub(crate) fn new_header(&self, spec: &ObjectSpec, writer: &Writer) -> ObjectHeader {
        ObjectHeader {
            kind: spec.kind,
            repository: self.id,
            system_identifier: spec.system_identifier,
            plain_bytes: None,
            body_bytes: None,
            plain_digest: None,
            body_digest: None,
            auxiliary: None,
            writer: writer.id(),
            created: writer.description().since,
            key_generation: 0,
            secret_generation: 0,
            name: spec.name.clone(),
        }
    }

    pub(crate) fn assemble(
        &self,
        spec: &ObjectSpec,
        plain: &mut dyn Read,
        level: CompressionLevel,
        writer: &Writer,
    ) -> Result<AssembledObject, RepositoryError> {
        let (header, name) = (self.new_header(spec, writer), spec.name.clone());
        assemble_object(header, plain, OBJECT_FRAME_BYTES, level, &self.keys).map_err(|error| match error {
            BodyError::Read(source) => RepositoryError::ReadSource { name, source },
            source => RepositoryError::Assemble { name, source },
        })
    }

    /// Creates an object of `plain`, unless one of that key exists; says which, and the digest of `plain`.
    pub(crate) fn create_object(
        &self,
        key: &ObjectKey,
        spec: &ObjectSpec,
        plain: &[u8],
        writer: &Writer,
    ) -> Result<(PutOutcome, ContentDigest), RepositoryError> {
        let found = plain.len() as u64;
        if found > WHOLE_BYTES_MAX {
            return Err(RepositoryError::TooLarge { name: spec.name.clone(), found, limit: WHOLE_BYTES_MAX });
        }
        let object = self.assemble(spec, &mut &*plain, CompressionLevel::DEFAULT, writer)?;
        let body = ObjectBody::Whole(&object.body);
        let outcome = block_on(self.store.put_new(key, &object.header_bytes, body))?;
        Ok((outcome, object.plain_digest))
    }

    /// Creates an object of JSON text, unless one of that key exists.
    pub(crate) fn create_json<T: Serialize>(
        &self,
        key: &ObjectKey,
        spec: &ObjectSpec,
        value: &T,
        writer: &Writer,
    ) -> Result<(PutOutcome, ContentDigest), RepositoryError> {
        let failed = |source| RepositoryError::Text { name: spec.name.clone(), source };
        let mut text = serde_json::to_vec_pretty(value).map_err(failed)?;
        text.push(b'\n');
        self.create_object(key, spec, &text, writer)
    }

    /// Loads a whole object of at most `limit` plain bytes, every check made.
    pub(crate) fn load_object(
        &self,
        key: &ObjectKey,
        spec: &ObjectSpec,
        limit: u64,
    ) -> Result<Vec<u8>, RepositoryError> {
        let reader = ObjectReader::open(self, key, spec)?;
        let plain_bytes = reader.plain_bytes();
        if plain_bytes > limit {
            let problem = format!("it holds {plain_bytes} bytes where at most {limit} are expected");
            return Err(self.damaged(key, Damage::Invalid { problem }));
        }
        let mut plain = Vec::new();
        let read = reader.read_to(&mut |piece| {
            plain.extend_from_slice(piece);
            Ok::<(), std::convert::Infallible>(())
        });
        match read {
            Ok(()) => Ok(plain),
            Err(SinkError::Repository(error)) => Err(error),
            Err(SinkError::Sink(never)) => match never {},
        }
    }

    /// Loads an object of JSON text.
    pub(crate) fn load_json<T: DeserializeOwned>(
        &self,
        key: &ObjectKey,
        spec: &ObjectSpec,
    ) -> Result<T, RepositoryError> {
        let text = self.load_object(key, spec, TEXT_BYTES_MAX)?;
        serde_json::from_slice(&text).map_err(|error| self.damaged(key, Damage::Text(error)))
    }

    /// Loads an object of JSON text that may need something that this pgv does not know: that is told before the rest is
    /// read, of which nothing can be expected then.
    pub(crate) fn load_versioned_json<T: DeserializeOwned>(
        &self,
        key: &ObjectKey,
        spec: &ObjectSpec,
    ) -> Result<T, RepositoryError> {
        let text = self.load_object(key, spec, TEXT_BYTES_MAX)?;
        let damaged = |error| self.damaged(key, Damage::Text(error));
        let needed: NeededFirst = serde_json::from_slice(&text).map_err(damaged)?;
        if let Some(feature) = needed.required_features.into_iter().next() {
            return Err(RepositoryError::UnknownFeature { object: key.to_string(), store: self.describe(), feature });
        }
        if let Some(Err(source)) = needed.major_version.map(PgMajorVersion::new) {
            return Err(RepositoryError::UnknownVersion { object: key.to_string(), store: self.describe(), source });
        }
        serde_json::from_slice(&text).map_err(damaged)
    }

    /// Reads an object's header; `None` when the store says that there is no such object.
    pub(crate) fn stored_header(
        &self,
        key: &ObjectKey,
        spec: &ObjectSpec,
    ) -> Result<Option<ObjectHeader>, RepositoryError> {
        match block_on(self.store.get_range(key, 0, HEADER_BYTES)) {
            Ok(bytes) => self.checked_header(key, spec, &bytes).map(Some),
            Err(error) if error.class() == ErrorClass::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Decodes a header and checks that the object is the one that is meant.
    pub(crate) fn checked_header(
        &self,
        key: &ObjectKey,
        spec: &ObjectSpec,
        bytes: &[u8],
    ) -> Result<ObjectHeader, RepositoryError> {
        let header = ObjectHeader::decode(bytes, &self.keys).map_err(|error| self.header_error(key, error))?;
        let damage = if header.repository != self.id {
            Damage::OtherField { field: "repository id" }
        } else if header.system_identifier != spec.system_identifier {
            Damage::OtherField { field: "system identifier" }
        } else if header.kind != spec.kind {
            Damage::OtherKind { expected: spec.kind, found: header.kind }
        } else if header.name != spec.name {
            Damage::OtherObject { expected: spec.name.clone(), found: header.name }
        } else {
            return Ok(header);
        };
        Err(self.damaged(key, damage))
    }

    fn header_error(&self, key: &ObjectKey, error: EnvelopeError) -> RepositoryError {
        if error.class() == ErrorClass::Unsupported {
            RepositoryError::NewerObject { key: key.clone(), store: self.describe(), source: error }
        } else {
            self.damaged(key, Damage::Header(error))
        }
    }
}
