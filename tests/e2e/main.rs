//! End-to-end tests with real PostgreSQL servers.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods)]

#[path = "../support/mod.rs"]
mod support;

mod backup;
mod connection;
mod demo;
mod documents;
mod harness_self_test;
mod init;
mod recovery_conf;
mod recovery_conf_files;
mod restore;
mod restore_ended;
mod restore_places;
mod restore_safety;
mod restore_steps;
mod restore_targets;
mod restore_trees;
mod verify;
mod wal_archive;
