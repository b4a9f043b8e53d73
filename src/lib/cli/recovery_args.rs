//! Where recovery ends, and what becomes of the server then: options that restore and recovery-conf share.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::args::{CommonArgs, OutputArgs};
use super::usage::UsageError;
use crate::error::{Classified, ErrorClass};
use crate::pg::{
    Lsn, RecoveryTarget, RecoveryTargetAction, RecoveryTargetTimeline, RestorePointName, TargetBound, TransactionId,
    parse_target_time,
};
use crate::repository::BackupIdError;
use crate::restore::{BackupChoice, Proving};
use crate::server::conninfo::{ConninfoError, check_for_libpq};

/// LIMIT: threads of one program, as for `backup.jobs`; far more cannot be started.
const JOBS_MAX: usize = 256;

/// The recovery target; none of them means the latest.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Recovery target (none: the latest)")]
pub(crate) struct TargetArgs {
    /// Stop at this time, with an offset or a region: '2026-11-20 14:30:00+00'
    #[arg(long, value_name = "TIME", group = "target", allow_hyphen_values = true)]
    pub(crate) target_time: Option<String>,

    /// Stop at this WAL location
    #[arg(long, value_name = "LSN", group = "target", allow_hyphen_values = true)]
    pub(crate) target_lsn: Option<Lsn>,

    /// Stop at the commit or abort of this transaction
    #[arg(long, value_name = "XID", group = "target", allow_hyphen_values = true)]
    pub(crate) target_xid: Option<TransactionId>,

    /// Stop at this restore point (pg_create_restore_point)
    #[arg(long, value_name = "NAME", group = "target")]
    pub(crate) target_name: Option<RestorePointName>,

    /// Stop as soon as the backup is consistent
    #[arg(long, group = "target")]
    pub(crate) target_immediate: bool,

    /// Timeline to follow: a number, latest or current [default: latest; pgv-recovery-conf keeps a copy's]
    #[arg(long, value_name = "TLI", allow_hyphen_values = true)]
    pub(crate) target_timeline: Option<RecoveryTargetTimeline>,

    /// Stop just before the target instead of just after it
    #[arg(long)]
    pub(crate) target_exclusive: bool,
}

impl TargetArgs {
    /// The target, read in full.
    pub(crate) fn target(&self) -> Result<RecoveryTarget, Box<dyn Classified>> {
        let bound = if self.target_exclusive { TargetBound::Exclusive } else { TargetBound::Inclusive };
        let target = if let Some(text) = &self.target_time {
            RecoveryTarget::Time(parse_target_time(text, jiff::tz::db())?, bound)
        } else if let Some(lsn) = self.target_lsn {
            RecoveryTarget::Lsn(lsn, bound)
        } else if let Some(xid) = self.target_xid {
            RecoveryTarget::TransactionId(xid, bound)
        } else if let Some(name) = &self.target_name {
            RecoveryTarget::RestorePoint(name.clone())
        } else if self.target_immediate {
            RecoveryTarget::Immediate
        } else {
            RecoveryTarget::Latest
        };
        if self.target_exclusive && target.bound().is_none() {
            let usage = UsageError::new(format!("the target \"{target}\" has no moment just before it"));
            let hint = "--target-exclusive goes with --target-time, --target-lsn or --target-xid.";
            return Err(usage.with_hint(hint).into());
        }
        Ok(target)
    }

    /// The timeline to follow.
    pub(crate) fn timeline(&self) -> RecoveryTargetTimeline {
        self.target_timeline.unwrap_or(RecoveryTargetTimeline::Latest)
    }
}

/// What becomes of the server at the target; for programs that prepare a recovery.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Recovery target (none: the latest)")]
pub(crate) struct TargetActionArgs {
    /// What the server does at the target [default: pause for an explicit target, promote for the latest]
    #[arg(long, value_name = "ACTION")]
    pub(crate) target_action: Option<TargetActionChoice>,
}

impl TargetActionArgs {
    /// What was asked for, else pause at an explicit target and promote at the latest; which has no other action.
    pub(crate) fn action(&self, target: &RecoveryTarget) -> Result<RecoveryTargetAction, UsageError> {
        let is_latest = *target == RecoveryTarget::Latest;
        let action = match self.target_action {
            Some(TargetActionChoice::Pause) => RecoveryTargetAction::Pause,
            Some(TargetActionChoice::Promote) => RecoveryTargetAction::Promote,
            Some(TargetActionChoice::Shutdown) => RecoveryTargetAction::Shutdown,
            None if is_latest => RecoveryTargetAction::Promote,
            None => RecoveryTargetAction::Pause,
        };
        if is_latest && action != RecoveryTargetAction::Promote {
            let error = UsageError::new(format!("without a target the server cannot {action} at it"));
            let hint =
                "The latest is opened at the end of the archive; name a target, \"pgv target\" shows where one ends.";
            return Err(error.with_hint(hint));
        }
        Ok(action)
    }
}

/// What the server does once it has reached the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TargetActionChoice {
    /// Wait, open for reading
    Pause,
    /// Become a primary on a new timeline
    Promote,
    /// Stop
    Shutdown,
}

/// Options for a standby instead of a recovery that ends.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Standby")]
pub(crate) struct StandbyArgs {
    /// Make it a standby, which follows the archive and, if named, the primary
    #[arg(long, conflicts_with_all = ["target", "target_exclusive", "target_action"])]
    pub(crate) standby: bool,

    /// Connection string of the primary that the standby streams from
    #[arg(long, value_name = "CONNINFO", requires = "standby")]
    pub(crate) primary_conninfo: Option<String>,

    /// Replication slot that the standby uses on the primary
    #[arg(long, value_name = "SLOT", requires = "primary_conninfo")]
    pub(crate) primary_slot_name: Option<String>,
}

impl StandbyArgs {
    /// Checks the connection string of the primary, which is written as it was given; a warning when it holds a password.
    pub(crate) fn check_conninfo(&self) -> Result<Option<String>, PrimaryConninfoError> {
        let Some(conninfo) = &self.primary_conninfo else { return Ok(None) };
        let checked = check_for_libpq(conninfo).map_err(PrimaryConninfoError)?;
        Ok(checked.holds_secret.then(|| {
            "the connection string of the primary holds a password, which stands in postgresql.auto.conf and in every \
             backup of it; a password file (passfile=/path, mode 0600) does without"
                .to_owned()
        }))
    }
}

/// A connection string that the standby could not use.
#[derive(Debug, thiserror::Error)]
#[error("invalid --primary-conninfo")]
pub(crate) struct PrimaryConninfoError(#[source] ConninfoError);

impl Classified for PrimaryConninfoError {
    fn class(&self) -> ErrorClass {
        self.0.class()
    }
}

/// Whether and how a target is looked for in the WAL.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ProvingArgs {
    /// Do not read the WAL for the target: whether it exists is then found out by recovery
    #[arg(long)]
    pub(crate) no_prove: bool,

    /// Threads that read, and restore, of which at most 32 do [default: one for each processor]
    #[arg(short = 'j', long, value_name = "N", value_parser = jobs)]
    pub(crate) jobs: Option<NonZeroUsize>,

    /// Also use WAL that the archive lacks from this old pg_wal, or data directory, of a server that died
    #[arg(long, value_name = "DIR")]
    pub(crate) wal_from: Option<PathBuf>,
}

impl ProvingArgs {
    /// What they ask for.
    pub(crate) fn proving(&self) -> Proving {
        match self.no_prove {
            true => Proving::Skip,
            false => Proving::Read { threads: self.threads() },
        }
    }

    /// How many threads are asked for.
    pub(crate) fn threads(&self) -> usize {
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        self.jobs.map_or(processors, NonZeroUsize::get)
    }
}

/// A number of threads.
pub(crate) fn jobs(text: &str) -> Result<NonZeroUsize, String> {
    let number = text.parse().ok().filter(|number: &NonZeroUsize| number.get() <= JOBS_MAX);
    number.ok_or_else(|| format!("expected a number from 1 to {JOBS_MAX}"))
}

/// The backup that `--backup` names.
pub(crate) fn backup_choice(text: Option<&str>) -> Result<BackupChoice, UsageError> {
    Ok(match text {
        None => BackupChoice::Fitting,
        Some("latest") => BackupChoice::Newest,
        Some(id) => BackupChoice::Id(id.parse().map_err(|error: BackupIdError| UsageError::new(error.to_string()))?),
    })
}

/// What every program takes that prepares a recovery.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct RecoveryArgs {
    /// Leave archiving on in the server that recovers; only for one that takes its original's place
    #[arg(long)]
    pub(crate) keep_archiving: bool,

    /// Show what would be done and touch nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,

    #[command(flatten)]
    pub(crate) output: OutputArgs,

    #[command(flatten)]
    pub(crate) target: TargetArgs,

    #[command(flatten)]
    pub(crate) action: TargetActionArgs,

    #[command(flatten)]
    pub(crate) standby: StandbyArgs,

    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// A tablespace directory and where it goes instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TablespaceMapping {
    pub(crate) old: PathBuf,
    pub(crate) new: PathBuf,
}

impl TablespaceMapping {
    /// Parses `OLD=NEW`; an equals sign in a name is written `\=`, as for pg_basebackup.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (mut sides, mut escaped) = (vec![String::new()], false);
        for c in text.chars() {
            match c {
                '=' if !escaped => sides.push(String::new()),
                _ => {
                    if let Some(side) = sides.last_mut() {
                        if c == '=' {
                            side.pop();
                        }
                        side.push(c);
                    }
                }
            }
            escaped = c == '\\';
        }
        let [old, new] = sides.as_slice() else {
            return Err("expected OLD=NEW with one equals sign".to_owned());
        };
        let mapping = Self { old: PathBuf::from(old), new: PathBuf::from(new) };
        for (side, path) in [("old", &mapping.old), ("new", &mapping.new)] {
            if !path.is_absolute() {
                return Err(format!("the {side} directory \"{}\" is not an absolute path", path.display()));
            }
        }
        Ok(mapping)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Command {
        #[command(flatten)]
        target: TargetArgs,
        #[command(flatten)]
        action: TargetActionArgs,
    }

    fn command(words: &[&str]) -> Result<Command, clap::Error> {
        let words = std::iter::once("x").chain(words.iter().copied());
        <Command as clap::Parser>::try_parse_from(words)
    }

    fn target(words: &[&str]) -> Result<TargetArgs, clap::Error> {
        command(words).map(|command| command.target)
    }

    #[test]
    fn targets_are_read_in_full_and_have_their_default_action() {
        for (words, shown, action) in [
            (&[] as &[_], "latest", RecoveryTargetAction::Promote),
            (&["--target-immediate"], "immediate", RecoveryTargetAction::Pause),
            (&["--target-lsn", "0/16B3740"], "LSN 0/16B3740", RecoveryTargetAction::Pause),
            (&["--target-xid", "7", "--target-exclusive"], "transaction 7 (exclusive)", RecoveryTargetAction::Pause),
            (&["--target-name", "a b"], "restore point \"a b\"", RecoveryTargetAction::Pause),
            (
                &["--target-time", "2026-11-20 14:30:00+01", "--target-action", "promote"],
                "time 2026-11-20 13:30:00.000000+00",
                RecoveryTargetAction::Promote,
            ),
        ] {
            let Command { target, action: asked } = command(words).unwrap();
            let target = target.target().unwrap();
            assert_eq!(target.to_string(), shown, "{words:?}");
            assert_eq!(asked.action(&target).unwrap(), action, "{words:?}");
        }
        assert_eq!(target(&["--target-timeline", "3"]).unwrap().timeline().to_string(), "3");
    }

    #[test]
    fn the_latest_has_no_action_but_promotion() {
        let action = |words: &[&str]| {
            let Command { target, action } = command(words).unwrap();
            action.action(&target.target().unwrap())
        };
        for word in ["pause", "shutdown"] {
            assert!(action(&["--target-action", word]).is_err());
            assert!(action(&["--target-action", word, "--target-immediate"]).is_ok());
        }
        assert!(action(&["--target-action", "promote"]).is_ok());
    }

    #[test]
    fn what_is_no_target_is_refused() {
        for words in [
            &["--target-xid", "0"] as &[_],
            &["--target-lsn", "x"],
            &["--target-name", ""],
            &["--target-timeline", "newest"],
            &["--target-lsn", "0/1", "--target-immediate"],
        ] {
            assert!(target(words).is_err(), "{words:?}");
        }
        for words in [
            &["--target-time", "yesterday"] as &[_],
            &["--target-time", "2026-11-20 14:30:00"],
            &["--target-exclusive"],
            &["--target-exclusive", "--target-name", "x"],
        ] {
            assert!(target(words).unwrap().target().is_err(), "{words:?}");
        }
    }

    #[test]
    fn threads_are_from_1_to_256() {
        assert_eq!(["1", "256"].map(|text| jobs(text).unwrap().get()), [1, 256]);
        for text in ["", "0", "257", "100000", "18446744073709551615", "x"] {
            assert!(jobs(text).is_err(), "{text}");
        }
    }

    #[test]
    fn tablespace_mappings_split_at_the_one_plain_equals_sign() {
        let mapping = |text| TablespaceMapping::parse(text).map(|m| (m.old, m.new));
        assert_eq!(mapping("/a=/b").unwrap(), (PathBuf::from("/a"), PathBuf::from("/b")));
        assert_eq!(mapping(r"/a\=1=/b\=2").unwrap(), (PathBuf::from("/a=1"), PathBuf::from("/b=2")));
        assert_eq!(mapping(r"/a\b=/c").unwrap(), (PathBuf::from(r"/a\b"), PathBuf::from("/c")));
    }

    #[test]
    fn tablespace_mappings_refuse_what_pg_basebackup_refuses() {
        for text in ["", "/a", "=/b", "/a=", "/a=/b=/c", "a=/b", "/a=b", r"/a\=/b"] {
            assert!(TablespaceMapping::parse(text).is_err(), "{text}");
        }
    }
}
