//! `pgv expire`: what retention wants gone, and how it goes without anybody losing what he needs.
//!
//! | step | by |
//! | --- | --- |
//! | read one tree, every record of it | `facts` |
//! | which backups stay, by which rule | `rules` |
//! | which WAL nobody needs | `wal` |
//! | what can no longer be reached | `reach` |
//! | all of that as one value | `plan` |
//! | do it: marks, then what they allow | `apply` |
//! | pins | `pin` |
//!
//! INVARIANT: nothing is deleted that the plan does not name, and nothing that a listed backup, a running one or one that
//! was finished meanwhile needs. A run that was interrupted is finished by the next.

mod apply;
mod error;
mod facts;
mod pin;
mod plan;
mod reach;
mod report;
mod rules;
mod wal;

#[cfg(test)]
mod tests;

pub use error::ExpireError;
pub use pin::{PinOptions, Pinned, Unpinned, pin, unpin};
pub use plan::{Fate, PlannedBackup, PlannedUnfinished, PlannedWal, TreePlan, WalKept};
pub use reach::LostTargets;
pub use report::{ExpireOptions, ExpireReport, ExpiredRepository, SCHEMA_VERSION, apply, plan};
pub use rules::{KeepReason, Rules};
