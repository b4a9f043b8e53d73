//! `pgv-recovery-conf`: writes the recovery configuration of a data directory, and takes it out again.
//!
//! INVARIANT: nothing is changed before everything was decided ([`WritePlan`], [`ClearPlan`]), and whatever ends the
//! program, `postgresql.auto.conf` is whole: the old one or the new one.
//!
//! PostgreSQL keeps recovery settings after recovery. A target that is left over promotes a later standby, or ends a
//! later recovery before its time; so `recovery_end_command` clears them. It runs once the signal file is gone
//! (`src/backend/access/transam/xlog.c`, `CleanupAfterArchiveRecovery`; tried on 13 to 18), so that a crash in between
//! starts an ordinary server, never a recovery without target.

mod clear;
mod data_directory;
mod error;
mod write;

#[cfg(test)]
mod tests;

pub use clear::{ClearPlan, clear, plan_clear};
pub use error::RecoveryConfError;
pub use write::{ArchivingChoice, RecoveryConfOptions, WritePlan, plan_print, plan_write, write};
