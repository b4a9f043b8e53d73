//! The programs from outside: help, exit statuses, messages and settings, in a cleared environment.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods)]

#[path = "../support/mod.rs"]
mod support;

mod archive;
mod check;
mod exit_statuses;
mod fetch;
mod front_door;
mod help;
mod host;
mod info;
mod init;
mod messages;
mod root;
mod settings;
mod signals;
mod standby;
mod units;
mod unknown;
mod verify;
mod wal_host;

/// Every program, as the file is called.
const PROGRAMS: [&str; 7] =
    ["pgv", "pgv-archive", "pgv-fetch", "pgv-basebackup", "pgv-restore", "pgv-recovery-conf", "pgv-standby"];
