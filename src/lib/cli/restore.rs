//! `pgv-restore`: the command line of the restore.

use std::path::PathBuf;

use clap::Parser;

use super::args::{CommonArgs, ConnectionArgs, OutputFormat};
use super::context::{Context, Outcome, VerbArgs};
use super::copy_server::CopyServer;
use super::opening;
use super::program::{Program, Verb};
use super::recovery_args::{ProvingArgs, RecoveryArgs, TablespaceMapping, backup_choice};
use super::recovery_commands::RecoveryCommands;
use super::restore_text::{self, Done};
use super::start::{StartArgs, Starter};
use super::usage::UsageError;
use crate::clock::SystemClock;
use crate::config::Overrides;
use crate::error::Classified;
use crate::pg::{RecoveryMode, RestoredArchiving};
use crate::report::Reporter as _;
use crate::restore::{self, InTheWay, PreparedSettings, RestoreOptions, TablespaceChoice};

/// Restores a cluster as of a moment, and prepares its recovery
#[derive(Debug, Clone, Parser)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RestoreArgs {
    /// Directory to restore into: empty or absent, or see --move-aside, --delta and --resume
    #[arg(short = 'D', long, value_name = "DIR")]
    pub(crate) pgdata: PathBuf,

    /// Backup to start from: its id, or latest [default: the one that fits the target]
    #[arg(long, value_name = "ID")]
    pub(crate) backup: Option<String>,

    /// Restore the tablespace at OLD to NEW; may be given several times
    #[arg(short = 'T', long, value_name = "OLD=NEW", value_parser = TablespaceMapping::parse)]
    pub(crate) tablespace_mapping: Vec<TablespaceMapping>,

    /// Restore every other tablespace to a directory of its own below this one
    #[arg(long, value_name = "DIR")]
    pub(crate) tablespace_dir: Option<PathBuf>,

    /// Let recovery write into this directory, which is not empty, when it replays a CREATE TABLESPACE
    #[arg(long, value_name = "PATH")]
    pub(crate) allow_tablespace_path: Vec<PathBuf>,

    /// Let the copy run the code that its configuration names (libraries, commands), as its original does
    #[arg(long)]
    pub(crate) trust_config: bool,

    /// Rename the directory and tablespaces that are in the way; nothing is deleted
    #[arg(long)]
    pub(crate) move_aside: bool,

    /// Keep what is right in a directory of the same cluster, by digest; the rest is replaced, and what is not in the
    /// backup is removed
    #[arg(long, conflicts_with = "move_aside")]
    pub(crate) delta: bool,

    /// Go on with a killed restore of the same backup: what is right stays, by digest
    #[arg(long, conflicts_with_all = ["move_aside", "delta"])]
    pub(crate) resume: bool,

    /// Write a backup_manifest of what is restored, for pg_verifybackup --no-parse-wal
    #[arg(long)]
    pub(crate) manifest: bool,

    /// Restore the latest of the archive (and of --wal-from), though commits in another pg_wal here are lost with it
    #[arg(long)]
    pub(crate) archive_only: bool,

    /// Confirms that the original will never run again; for --keep-archiving
    #[arg(long, requires = "keep_archiving")]
    pub(crate) old_primary_is_gone: bool,

    #[command(flatten)]
    pub(crate) start: StartArgs,

    #[command(flatten)]
    pub(crate) proving: ProvingArgs,

    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,

    #[command(flatten)]
    pub(crate) recovery: RecoveryArgs,
}

const EXAMPLES: &str = "\
Examples:
  pgv-restore -D /srv/restored --target-time '2026-11-20 14:30:00+00' --dry-run
  pgv-restore -D /srv/restored --target-time '2026-11-20 14:30:00 Europe/Berlin'
  pgv-restore -D /var/lib/postgresql/15/main --move-aside    in place, up to the latest
  pgv-restore -D /var/lib/postgresql/15/main --delta         the same, keeping what is right
  pgv-restore -D DIR --wal-from /var/lib/postgresql/15/main   with what the dead primary had left
  pgv-restore -D DIR --backup latest --target-immediate      the backup alone
  pgv-restore -D DIR --standby --primary-conninfo 'host=db1 user=replicator'

The connection options say where the original is: --keep-archiving asks whether it still runs. --start
takes role and database from them, and reaches the copy where that listens.

Exit status: 0 restored; 1 no such backup; 2 usage or configuration; 3 refused, nothing was
touched; 4 not reachable, no room, no permission, or somebody else came in between; 5 damaged data;
70 a defect of pgv; 130 ended by a signal.";

impl VerbArgs for RestoreArgs {
    const VERB: Verb = Verb::Restore;

    fn common(&self) -> Option<&CommonArgs> {
        Some(&self.recovery.common)
    }

    fn overrides(&self) -> Overrides {
        let mut overrides = self.recovery.common.overrides();
        let tablespace_dir = self.tablespace_dir.as_ref().map(|dir| dir.to_string_lossy());
        overrides.set("restore.tablespace_dir", "--tablespace-dir", tablespace_dir.as_deref());
        let pg_bindir = self.start.pg_bindir.as_ref().map(|dir| dir.to_string_lossy());
        overrides.set("restore.pg_bindir", "--pg-bindir", pg_bindir.as_deref());
        overrides
    }

    fn writes(&self) -> bool {
        !self.recovery.dry_run
    }

    fn run(self, context: &Context) -> Result<Outcome, Box<dyn Classified>> {
        run(self, context)
    }
}

/// Runs the verb.
pub(crate) fn run(args: RestoreArgs, context: &Context) -> Result<Outcome, Box<dyn Classified>> {
    let output = args.recovery.output.output;
    let dry_run = args.recovery.dry_run;
    let (start, connection) = (args.start.clone(), args.connection.clone());
    let password_warning = args.recovery.standby.check_conninfo()?;
    let options = options(args, context)?;
    // What was chosen must not be deleted before it was read.
    let _shared = opening::share(context.configuration().repo()?)?;
    let reporter = context.reporter();
    let (cluster, mut plan) = restore::plan(&options, &reporter, context.cancel())?;
    plan.warnings.extend(password_warning);
    let starter = Starter::find(&start, &plan, &connection, context)?;
    let server = starter.as_ref().map(|starter| CopyServer::of(&plan, &[], Some(starter.programs()), &[]));
    for warning in &plan.warnings {
        reporter.warn(warning);
    }
    if dry_run {
        let planned = (cluster, plan);
        let compared = restore::compare(&options, &planned, &reporter, context.cancel())?;
        drop(reporter);
        let (cluster, plan) = planned;
        let answer = match output {
            OutputFormat::Text => {
                restore_text::plan_text(&cluster, &plan, &options, server.as_ref())
                    + &compared
                        .map(|compared| restore_text::compared_text(plan.directory_action, &compared))
                        .unwrap_or_default()
                    + "Nothing was touched: --dry-run.\n"
            }
            OutputFormat::Json => restore_text::plan_json(&cluster, &plan, &options, server.as_ref(), compared)?,
        };
        context.printer().answer(&answer)?;
        return Ok(Outcome::Done);
    }
    for line in restore_text::plan_text(&cluster, &plan, &options, server.as_ref()).lines() {
        reporter.step(line);
    }
    let report = restore::run(&options, (cluster, plan), &SystemClock, &reporter, context.cancel())?;
    let command_line = &report.configuration.command_line;
    let mut server = CopyServer::of(&report.plan, command_line, starter.as_ref().map(Starter::programs), &[]);
    let started = starter.map(|starter| starter.run(&report.plan, command_line, &mut server, &reporter, context));
    drop(reporter);
    let done = Done { report: &report, server: &server, started: started.as_ref() };
    let answer = match output {
        OutputFormat::Text => Ok(restore_text::report_text(&done, &options, context.typed())),
        OutputFormat::Json => restore_text::report_json(&done, &options, context.typed()),
    };
    context.printer().report(answer, "restore")?;
    match started.and_then(|started| started.into_error(&report.plan)) {
        Some(error) => Err(error.into()),
        None => Ok(Outcome::Done),
    }
}

fn options(args: RestoreArgs, context: &Context) -> Result<RestoreOptions, Box<dyn Classified>> {
    // What was typed comes first: it is wrong whatever is configured.
    let target = args.recovery.target.target()?;
    let action = args.recovery.action.action(&target)?;
    let backup = backup_choice(args.backup.as_deref())?;
    let configuration = context.configuration();
    let repo = configuration.repo()?;
    let commands = RecoveryCommands::of(context)?;
    let is_standby = args.recovery.standby.standby;
    let archiving = match (is_standby, args.recovery.keep_archiving) {
        (false, false) => RestoredArchiving::Off,
        _ => RestoredArchiving::Unchanged,
    };
    if is_standby && args.proving.wal_from.is_some() {
        let usage = UsageError::new("--wal-from is not for --standby: a standby takes what it lacks from its primary");
        let hint = "To go on from the WAL of a primary that died, restore without --standby: it becomes the primary.";
        return Err(usage.with_hint(hint).into());
    }
    let must_ask = args.recovery.keep_archiving && !args.old_primary_is_gone && !is_standby;
    let original =
        if must_ask { Some(opening::connection(configuration, &args.connection, Program::Restore)?) } else { None };
    let tablespaces = TablespaceChoice {
        mapping: args.tablespace_mapping.iter().map(|mapping| (mapping.old.clone(), mapping.new.clone())).collect(),
        directory: configuration.restore().tablespace_dir.clone(),
    };
    Ok(RestoreOptions {
        repository: opening::open_repository(repo)?,
        repository_root: Some(repo.path.clone()),
        home: configuration.account().home.clone(),
        selection: opening::selection(configuration),
        backup,
        directory: args.pgdata.clone(),
        working_directory: opening::working_directory(),
        tablespaces,
        allowed_tablespace_paths: args.allow_tablespace_path.clone(),
        trust_config: args.trust_config,
        in_the_way: match (args.move_aside, args.delta, args.resume) {
            (true, _, _) => InTheWay::MoveAside,
            (_, true, _) => InTheWay::Delta,
            (_, _, true) => InTheWay::Resume,
            (false, false, false) => InTheWay::Refuse,
        },
        mode: if is_standby { RecoveryMode::Standby } else { RecoveryMode::Targeted },
        target,
        action,
        timeline: args.recovery.target.timeline(),
        proving: args.proving.proving(),
        settings: PreparedSettings {
            restore_command: commands.restore,
            recovery_end_command: commands.recovery_end,
            primary_conninfo: args.recovery.standby.primary_conninfo.clone(),
            primary_slot_name: args.recovery.standby.primary_slot_name.clone(),
            archiving,
        },
        pgdata: configuration.cluster().ok().and_then(|cluster| cluster.pgdata),
        original,
        wal_from: args.proving.wal_from.clone(),
        archive_only: args.archive_only,
        host: opening::host_name(),
        level: configuration.archive().compression_level,
        jobs: args.proving.threads(),
        manifest: args.manifest,
        scratch: std::env::temp_dir(),
    })
}
