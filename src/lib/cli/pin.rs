//! `pgv pin` and `pgv unpin`: the command lines of what retention must leave alone.

use clap::Parser;

use super::args::CommonArgs;
use super::context::{Context, Outcome, VerbArgs};
use super::opening;
use super::program::Verb;
use crate::clock::SystemClock;
use crate::error::Classified;
use crate::expire::{self, PinOptions, Pinned, Unpinned};
use crate::fs::Lock;
use crate::repository::{BackupId, Repository};

/// Why a backup was pinned when nobody said.
const NO_REASON: &str = "no reason given";

/// Keeps a backup, and the WAL from its start on, whatever retention says
#[derive(Debug, Clone, Parser)]
#[command(after_help = PIN_EXAMPLES)]
pub(crate) struct PinArgs {
    /// The backup
    #[arg(value_name = "ID")]
    pub(crate) backup: BackupId,

    /// Why, for those who come later
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,

    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

const PIN_EXAMPLES: &str = "\
Examples:
  pgv pin 20261121T143000Z-1a2b3c4d --reason 'before the migration'
  pgv info                                                   shows what is pinned
  pgv unpin 20261121T143000Z-1a2b3c4d

Exit status: 0 it is pinned; 1 no such backup; 2 usage or configuration; 3 it is being deleted; 4
not reachable, or \"pgv expire\" is deleting; 5 the registration of a cluster is missing or damaged.";

/// Leaves a pinned backup to retention again
#[derive(Debug, Clone, Parser)]
#[command(after_help = UNPIN_EXAMPLES)]
pub(crate) struct UnpinArgs {
    /// The backup
    #[arg(value_name = "ID")]
    pub(crate) backup: BackupId,

    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

const UNPIN_EXAMPLES: &str = "\
Examples:
  pgv unpin 20261121T143000Z-1a2b3c4d

Exit status: 0 it is not pinned (any more); 1 no such backup; 2 usage or configuration; 3 it is
being deleted; 4 not reachable, or \"pgv expire\" is deleting; 5 the registration of a cluster is
missing or damaged.";

impl VerbArgs for PinArgs {
    const VERB: Verb = Verb::Pin;

    fn common(&self) -> Option<&CommonArgs> {
        Some(&self.common)
    }

    fn writes(&self) -> bool {
        true
    }

    fn run(self, context: &Context) -> Result<Outcome, Box<dyn Classified>> {
        let reason = self.reason.as_deref().unwrap_or(NO_REASON);
        let id = self.backup;
        let answer = change(context, id, |repository, options, is_alone| {
            expire::pin(repository, options, reason, &SystemClock).map(|pinned| pinned_text(id, pinned, is_alone))
        })?;
        context.printer().answer(&answer)?;
        Ok(Outcome::Done)
    }
}

impl VerbArgs for UnpinArgs {
    const VERB: Verb = Verb::Unpin;

    fn common(&self) -> Option<&CommonArgs> {
        Some(&self.common)
    }

    fn writes(&self) -> bool {
        true
    }

    fn run(self, context: &Context) -> Result<Outcome, Box<dyn Classified>> {
        let id = self.backup;
        let answer = change(context, id, |repository, options, _| {
            expire::unpin(repository, options).map(|unpinned| match unpinned {
                Unpinned::Now { is_marked: false } => format!("backup {id} is pinned no more\n"),
                Unpinned::Now { is_marked: true } => format!(
                    "backup {id} is pinned no more; no rule kept it before, so it goes without another grace when none does now\n"
                ),
                Unpinned::Never => format!("backup {id} was not pinned\n"),
            })
        })?;
        context.printer().answer(&answer)?;
        Ok(Outcome::Done)
    }
}

/// Without a lock, a run that deletes may not have seen the pin in time.
fn pinned_text(id: BackupId, pinned: Pinned, is_alone: bool) -> String {
    match pinned {
        Pinned::Now { is_marked: true } if !is_alone => format!(
            "backup {id} is pinned, but no rule kept it before: if \"pgv expire --apply\" was running, look at \"pgv info\" once \
             that has ended, whether it is still there\n"
        ),
        Pinned::Now { .. } => format!("backup {id} is pinned\n"),
        Pinned::Before => format!("backup {id} was pinned already\n"),
    }
}

/// With a repository in which nobody deletes meanwhile, when it has locks: that is the last argument.
fn change(
    context: &Context,
    backup: BackupId,
    change: impl FnOnce(&Repository, &PinOptions, bool) -> Result<String, expire::ExpireError>,
) -> Result<String, Box<dyn Classified>> {
    let configuration = context.configuration();
    let repo = configuration.repo()?;
    let repository = opening::open_repository(repo)?;
    let clusters = opening::clusters(configuration, &repository)?;
    let lock = opening::share(context)?;
    let is_alone = !matches!(lock, Lock::Unsupported);
    Ok(change(&repository, &PinOptions { clusters, backup, host: opening::host_name() }, is_alone)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_that_may_be_too_late_is_told() {
        let id: BackupId = "20261121T143000Z-1a2b3c4d".parse().unwrap();
        for (is_marked, is_alone, is_sure) in
            [(false, false, true), (false, true, true), (true, true, true), (true, false, false)]
        {
            let text = pinned_text(id, Pinned::Now { is_marked }, is_alone);
            assert_eq!(text == format!("backup {id} is pinned\n"), is_sure, "{text}");
            assert_eq!(text.contains("pgv info"), !is_sure, "{text}");
        }
    }
}
