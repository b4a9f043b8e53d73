//! `pgv init`: creates a repository, registers a cluster in it, and finds out what the server still lacks.
//!
//! INVARIANT: nothing that is there is changed: a repository, a registration and a configuration file are created or
//! left as they are, so that running it again does no harm. The server is only asked, never changed.

mod archive_command;
mod configuration_file;
mod error;
mod facts;
mod finding;
mod given_back;
mod registration;
mod report;
mod role_check;
mod server_check;
mod server_state;

pub use archive_command::{ARCHIVE_COMMAND_BYTES_MAX, ArchiveCommand};
pub use configuration_file::{
    WrittenFile, check_configuration_places, remove_abandoned_beside_configuration, write_configuration_file,
};
pub use error::InitError;
pub use facts::{ClusterFacts, FactSource};
pub use finding::{Finding, FindingAction, Need};
pub use given_back::given_back;
pub use registration::{Registered, Registration, RegistrationOptions, register};
pub use report::{InitCluster, InitConfiguration, InitReport, InitRepository, InitServer};
pub use role_check::create_role_sql;
pub use server_check::assess;
pub use server_state::{PendingSetting, ServerState};
