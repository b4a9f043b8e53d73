//! What the tests with real servers share: an ordinary account, folders, servers, programs, and the oracle.
//!
//! Include it with `mod support;` from `tests/e2e`, or from another test binary with
//! `#[path = "../support/mod.rs"] mod support;`. A test declares its folder first and its clusters after it, so that
//! servers stop before their folder goes:
//!
//! ```ignore
//! let folder = TestFolder::new("restore-to-time");
//! let primary = TestCluster::builder(PgVersion::V15, &folder).archive_to_folder(&folder.make("wal")).start();
//! let mut ledger = Ledger::create(&primary);
//! ```
//!
//! No sleeps but the polling of `wait_until`; no network but loopback; nothing is skipped: what is missing panics and
//! names the command that installs it.

// Each test binary uses a part of it.
#![allow(dead_code, unused_imports)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stderr, clippy::disallowed_methods)]

mod account;
mod cluster;
mod command;
pub(crate) mod crash;
mod folder;
mod ledger;
mod memory;
mod pgv;
mod postgres_tools;
mod programs;
mod random;
mod scene;
mod silent;
mod site;
mod start;
mod tmpfs;
mod version;
mod wait;
mod waldump;

pub(crate) use account::TestAccount;
pub(crate) use cluster::{Builder, TestCluster, tool_command};
pub(crate) use command::{Outcome, run, run_within};
pub(crate) use folder::TestFolder;
pub(crate) use ledger::{Ledger, LedgerRow, Moment};
pub(crate) use memory::peak_kib;
pub(crate) use pgv::Pgv;
pub(crate) use postgres_tools::{dump, pg_amcheck, pg_basebackup, pg_checksums, pg_verifybackup};
pub(crate) use programs::program;
pub(crate) use random::Random;
pub(crate) use scene::{Scene, TargetPoints};
pub(crate) use silent::SilentFileSystem;
pub(crate) use site::Site;
pub(crate) use start::Settled;
pub(crate) use tmpfs::SmallFileSystem;
pub(crate) use version::PgVersion;
pub(crate) use wait::wait_until;
pub(crate) use waldump::{DumpedRecord, as_dumped, parse_dump, relation_path, unpacked};
