//! `pgv-recovery-conf`: the command line of the generator of recovery configuration.
//!
//! INVARIANT: `--clear` reads no configuration: PostgreSQL runs it as `recovery_end_command` at the end of a recovery,
//! and nothing that became of pgv.toml since may keep the targets in place. Its status is never above 125, which would
//! stop the server.

use std::path::PathBuf;

use clap::Parser;

use super::args::CommonArgs;
use super::context::{Context, NeedsConfiguration, Outcome, VerbArgs};
use super::program::Verb;
use super::recovery_args::RecoveryArgs;
use super::recovery_commands::RecoveryCommands;
use super::recovery_conf_text::{ClearAnswer, WriteAnswer};
use super::usage::UsageError;
use crate::clock::SystemClock;
use crate::error::Classified;
use crate::pg::{ClearScope, RecoveryMode, RecoverySettings, RestoredArchiving, WalReadAhead};
use crate::recovery_conf::{self, ArchivingChoice, RecoveryConfOptions};
use crate::report::Reporter as _;

/// Prints or writes the recovery configuration for a target or a standby
#[derive(Debug, Clone, Parser)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RecoveryConfArgs {
    /// Data directory; without it lines are printed that fit any
    #[arg(short = 'D', long, value_name = "DIR")]
    pub(crate) pgdata: Option<PathBuf>,

    /// Write the settings and the signal file into DIR instead of printing them
    #[arg(long, requires = "pgdata")]
    pub(crate) write: bool,

    /// Remove from DIR what was written for a recovery, and only that
    #[arg(
        long,
        requires = "pgdata",
        conflicts_with_all = [
            "write", "target", "target_timeline", "target_exclusive", "target_action", "standby", "keep_archiving"
        ]
    )]
    pub(crate) clear: bool,

    /// With --clear: let a copy archive again, too; for one that takes the place of its original
    #[arg(long, requires = "clear")]
    pub(crate) everything: bool,

    /// With --clear: let a harmless copy run the code that its configuration names, and nothing else; at any time
    #[arg(long, requires = "clear", conflicts_with = "everything")]
    pub(crate) trust_config: bool,

    #[command(flatten)]
    pub(crate) recovery: RecoveryArgs,
}

const EXAMPLES: &str = "\
The settings go to postgresql.auto.conf in DIR, between marks, with an empty recovery.signal or
standby.signal. Targets of an earlier recovery are always removed. At the end of the recovery the
server itself runs --clear, so that no target is left for a later one; a recovery_end_command that
was there runs after it. A server that recovers to a target does not archive (archive_mode = off),
since a copy must not write into the archive of its original: --clear leaves it so, and --clear
--everything takes that back, for the next start. ALTER SYSTEM drops the marks; then --clear
removes the targets alone. What pgv-restore switched off because it runs code comes back with
--clear --everything, or alone with --clear --trust-config.

Examples:
  pgv-recovery-conf --target-time '2026-11-20 14:30:00+00'   print the lines
  pgv-recovery-conf --write -D DIR --target-name before_upgrade
  pgv-recovery-conf --write -D DIR --target-lsn 0/5000028 --target-action promote --dry-run
  pgv-recovery-conf --write -D DIR --standby --primary-conninfo 'host=db1 user=replicator'
  pgv-recovery-conf --clear -D DIR                           what recovery_end_command runs
  pgv-recovery-conf --clear --everything -D DIR              and let it archive again
  pgv-recovery-conf --clear --trust-config -D DIR            let a copy load its libraries again

Exit status: 0 done; 2 usage or configuration; 3 refused; 4 not reachable, no room or no
permission; 5 damaged data; 70 a defect of pgv. With --clear it is never above 125.";

impl VerbArgs for RecoveryConfArgs {
    const VERB: Verb = Verb::RecoveryConf;

    fn common(&self) -> Option<&CommonArgs> {
        Some(&self.recovery.common)
    }

    fn needs_configuration(&self) -> NeedsConfiguration {
        if self.clear { NeedsConfiguration::No } else { NeedsConfiguration::Yes }
    }

    fn writes(&self) -> bool {
        (self.write || self.clear) && !self.recovery.dry_run
    }

    fn run(self, context: &Context) -> Result<Outcome, Box<dyn Classified>> {
        run(self, context)
    }
}

/// Runs the verb.
pub(crate) fn run(args: RecoveryConfArgs, context: &Context) -> Result<Outcome, Box<dyn Classified>> {
    let answer = if args.clear { clear(&args, context)? } else { write(&args, context)? };
    context.printer().answer(&answer)?;
    Ok(Outcome::Done)
}

fn clear(args: &RecoveryConfArgs, context: &Context) -> Result<String, Box<dyn Classified>> {
    let scope = match (args.everything, args.trust_config) {
        (true, _) => ClearScope::Everything,
        (false, true) => ClearScope::Harmlessness,
        (false, false) => ClearScope::Recovery,
    };
    let directory = args.pgdata.as_deref().ok_or_else(|| UsageError::new("--clear needs -D DIR"))?;
    let plan = recovery_conf::plan_clear(directory, scope)?;
    let reporter = context.reporter();
    for warning in &plan.warnings {
        reporter.warn(warning);
    }
    if !args.recovery.dry_run {
        recovery_conf::clear(&plan, &SystemClock)?;
    }
    Ok(ClearAnswer { plan: &plan, dry_run: args.recovery.dry_run }.show(args.recovery.output.output)?)
}

fn write(args: &RecoveryConfArgs, context: &Context) -> Result<String, Box<dyn Classified>> {
    // What was typed comes first: it is wrong whatever is configured.
    let target = args.recovery.target.target()?;
    args.recovery.action.action(&target)?;
    let password_warning = args.recovery.standby.check_conninfo()?;
    let options = options(args, RecoveryCommands::of(context)?)?;
    let mut plan = match &args.pgdata {
        Some(directory) => recovery_conf::plan_write(directory, &options)?,
        None => recovery_conf::plan_print(&options)?,
    };
    plan.warnings.extend(password_warning);
    let reporter = context.reporter();
    for warning in &plan.warnings {
        reporter.warn(warning);
    }
    let writes = args.write && !args.recovery.dry_run;
    if writes {
        recovery_conf::write(&plan, &SystemClock)?;
    }
    let dry_run = args.write && args.recovery.dry_run;
    Ok(WriteAnswer { plan: &plan, typed: context.typed(), written: writes, dry_run }
        .show(args.recovery.output.output)?)
}

/// The settings that the arguments ask for.
fn options(args: &RecoveryConfArgs, commands: RecoveryCommands) -> Result<RecoveryConfOptions, Box<dyn Classified>> {
    let target = args.recovery.target.target()?;
    let target_action = args.recovery.action.action(&target)?;
    let (mode, archiving) = match (args.recovery.standby.standby, args.recovery.keep_archiving) {
        (true, false) => (RecoveryMode::Standby, ArchivingChoice::AsItIs),
        (true, true) => (RecoveryMode::Standby, ArchivingChoice::Own),
        (false, false) => (RecoveryMode::Targeted, ArchivingChoice::Off),
        (false, true) => (RecoveryMode::Targeted, ArchivingChoice::Own),
    };
    let settings = RecoverySettings {
        mode,
        restore_command: Some(commands.restore),
        recovery_end_command: Some(commands.recovery_end),
        archive_cleanup_command: None,
        target,
        target_action,
        target_timeline: args.recovery.target.timeline(),
        unset_targets: Vec::new(),
        primary_conninfo: args.recovery.standby.primary_conninfo.clone(),
        primary_slot_name: args.recovery.standby.primary_slot_name.clone(),
        archiving: RestoredArchiving::Unchanged,
        read_ahead: WalReadAhead::Unchanged,
        minimums: Vec::new(),
        harmless: None,
    };
    Ok(RecoveryConfOptions { settings, archiving, keep_timeline: args.recovery.target.target_timeline.is_none() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<RecoveryConfArgs, clap::Error> {
        RecoveryConfArgs::try_parse_from(std::iter::once("x").chain(words.iter().copied()))
    }

    fn options_of(words: &[&str]) -> Result<RecoveryConfOptions, Box<dyn Classified>> {
        let commands = RecoveryCommands { restore: "fetch".to_owned(), recovery_end: "end".to_owned() };
        options(&parsed(words).unwrap(), commands)
    }

    #[test]
    fn a_recovery_switches_archiving_off_and_a_standby_leaves_it() {
        for (words, mode, archiving) in [
            (&[] as &[_], RecoveryMode::Targeted, ArchivingChoice::Off),
            (&["--keep-archiving", "--target-immediate"], RecoveryMode::Targeted, ArchivingChoice::Own),
            (&["--standby"], RecoveryMode::Standby, ArchivingChoice::AsItIs),
            (&["--standby", "--keep-archiving"], RecoveryMode::Standby, ArchivingChoice::Own),
        ] {
            let options = options_of(words).unwrap();
            assert_eq!((options.settings.mode, options.archiving), (mode, archiving), "{words:?}");
        }
    }

    #[test]
    fn clear_goes_with_nothing_that_is_written() {
        for words in [
            &["--target-xid", "7"] as &[_],
            &["--target-exclusive"],
            &["--target-timeline", "2"],
            &["--target-action", "promote"],
            &["--standby"],
            &["--keep-archiving"],
            &["--write"],
        ] {
            let all: Vec<_> = ["--clear", "-D", "d"].iter().chain(words).copied().collect();
            assert!(parsed(&all).is_err(), "{words:?}");
        }
        assert!(parsed(&["--clear", "-D", "d", "--everything", "--dry-run"]).is_ok());
        assert!(parsed(&["--everything", "-D", "d"]).is_err());
        assert!(parsed(&["--clear"]).is_err() && parsed(&["--write"]).is_err());
    }
}
