//! End-to-end tests with real PostgreSQL servers.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods)]

#[path = "../support/mod.rs"]
mod support;

mod archive_always;
mod backup;
mod backup_links;
mod backup_places;
mod backup_remote;
mod backup_session;
mod backup_told;
mod backup_whole;
mod canaries;
mod check;
mod clone;
mod comfort;
mod connection;
mod connection_hosts;
mod connection_oracle;
mod crash_archive;
mod crash_backup;
mod crash_restore;
mod demo;
mod direct;
mod direct_backup;
mod direct_parts;
mod documents;
mod expire;
mod faults_while_replaying;
mod harmless;
mod harness_self_test;
mod init;
mod json_answers;
mod manners;
mod many;
mod oracle_history;
mod postgresql_cases;
mod recovery_conf;
mod recovery_conf_files;
mod replication_facts;
mod restore;
mod restore_delta;
mod restore_ended;
mod restore_old_wal;
mod restore_oracle;
mod restore_places;
mod restore_safety;
mod restore_siblings;
mod restore_start;
mod restore_steps;
mod restore_targets;
mod restore_trees;
mod silent_promotion;
mod standby;
mod standby_commands;
mod standby_of_copy;
mod target_clock;
mod target_lists;
mod verify;
mod versions;
mod versions_complete;
mod wal_archive;
mod wal_end;
mod wal_fixtures;
mod wal_reader;
