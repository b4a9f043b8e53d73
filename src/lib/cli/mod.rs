//! The command line: programs, verbs, options, words, exit statuses. The top of the library: only `src/bin` uses it.
//!
//! | file | for |
//! | --- | --- |
//! | `process`, `front_door`, `context` | the frame around every run |
//! | `program`, `args`, `recovery_args`, `recovery_commands` | which programs and shared options there are |
//! | `archive`, `fetch`, `backup`, `restore`, `recovery_conf` with `recovery_conf_text`, `init`, `info`, `verify`, `expire`, `pin`, `completions`, `man` | one verb each |
//! | `backup_from` | which node of a cluster a backup is taken from |
//! | `opening`, `init_configuration` | from settings to what verbs work on, and back |
//! | `exit_status` | the one table of exit statuses |
//! | `printer`, `hints`, `logging`, `terminal_reporter` | the only places that print |
//! | `start`, `copy_server` | the start of a restored server |
//! | `standby`, `standby_nodes`, `standby_exec`, `standby_text`, `standby_plugin` | the choice of a node: whom to ask, the command, the answers |
//! | `init_text`, `info_text`, `verify_text`, `expire_text`, `restore_text`, `restore_steps`, `size`, `table` | answers in words |
//! | `typed` | commands for people, to be pasted |

mod archive;
mod args;
mod backup;
mod backup_from;
mod check;
mod check_text;
mod check_words;
mod completions;
mod context;
mod copy_server;
mod copy_text;
mod exit_status;
mod expire;
mod expire_text;
mod fetch;
mod front_door;
mod hints;
mod info;
mod info_backups;
mod info_text;
mod init;
mod init_configuration;
mod init_findings;
mod init_text;
mod logging;
mod man;
mod opening;
mod pin;
mod printer;
mod process;
mod program;
mod proof_text;
mod recovery_args;
mod recovery_commands;
mod recovery_conf;
mod recovery_conf_text;
mod restore;
mod restore_steps;
mod restore_text;
mod root_guard;
mod signals;
mod size;
mod standby;
mod standby_exec;
mod standby_nodes;
mod standby_plugin;
mod standby_text;
mod start;
mod table;
mod target;
mod target_text;
mod terminal_reporter;
mod typed;
mod usage;
mod verify;
mod verify_text;

pub use process::main;
pub use program::Program;
