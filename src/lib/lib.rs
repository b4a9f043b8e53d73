//! Physical backup, WAL archiving and point-in-time recovery for PostgreSQL.
//!
//! The layers, lowest first; a module imports from lower layers and from its own, never upward, and the verbs
//! of layer 3 never import each other (`tests/architecture.rs` holds this):
//!
//! | layer | modules | knows |
//! | --- | --- | --- |
//! | 0 | [`error`], [`report`], [`clock`], [`pg`], [`fs`], [`codec`] | PostgreSQL's vocabulary, durable files, bytes to bytes, time |
//! | 1 | [`store`], [`server`] | keys to bytes; talking to PostgreSQL |
//! | 2 | [`repository`], [`wal_search`] | what is kept where, in which format; searching the log itself |
//! | 3 | [`init`], [`archive`], [`fetch`], [`backup`], [`restore`], [`recovery_conf`], [`info`], [`verify`], [`check`], [`expire`] | one verb each |
//! | 4 | [`config`], [`cli`] | settings, command line, words and exit statuses |
//!
//! Library code never prints, never ends the process and never reads the environment: it takes resolved options,
//! reports through [`report::Reporter`] and returns values.

#![cfg_attr(
    any(test, feature = "fuzzing"),
    allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation, clippy::disallowed_methods)
)]

pub mod clock;
pub mod codec;
pub mod error;
pub mod fs;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz_check;
#[cfg(test)]
pub(crate) mod hostile;
pub(crate) mod nearest;
pub(crate) mod parallel;
pub mod pg;
pub mod report;
pub(crate) mod watchdog;

pub mod server;
pub mod store;

pub mod repository;

pub mod wal_search;

pub mod archive;
pub mod backup;
pub mod check;
pub mod expire;
pub mod fetch;
pub mod info;
pub mod init;
pub mod recovery_conf;
pub mod restore;
pub mod standby;
pub mod verify;

pub mod cli;
pub mod config;

#[doc(hidden)]
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
