//! PostgreSQL's vocabulary as types: one type per idea, one strict parser per type.
//!
//! Pure: no I/O, no clock, no async. Everything here may be fed bytes from a disk, a network or a person.

mod lsn;
mod system_identifier;
mod timeline;
mod version;

pub use lsn::{Lsn, LsnParseError};
pub use system_identifier::{SystemIdentifier, SystemIdentifierParseError};
pub use timeline::{TimelineId, TimelineIdParseError};
pub use version::{PgMajorVersion, PgVersionError};
