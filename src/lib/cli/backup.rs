//! `pgv-basebackup`: the command line of the base backup.

use std::num::NonZeroUsize;

use clap::Parser;
use serde::Serialize;

use super::args::{CommonArgs, OutputFormat, ServerVerbArgs};
use super::backup_from::FromArgs;
use super::context::{Context, Outcome, VerbArgs};
use super::opening;
use super::printer::{OutputError, escaped, json_answer};
use super::program::Verb;
use super::size::{bytes_text, utc_text};
use crate::backup::{self, BackupOptions, BackupReport, MethodChoice};
use crate::clock::SystemClock;
use crate::config::{BackupMethodChoice, CheckpointMode, Overrides};
use crate::error::Classified;
use crate::repository::BackupRecord;
use crate::server::{self, ConnectionSettings};

/// The label of a backup to which nobody gave one.
const DEFAULT_LABEL: &str = "pgv";

/// Takes a base backup of a running server into the repository
#[derive(Debug, Clone, Parser)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BackupArgs {
    /// How the server makes the checkpoint that the backup starts from
    #[arg(short = 'c', long, value_name = "MODE")]
    pub(crate) checkpoint: Option<CheckpointMode>,

    /// How the files are read [default: auto]
    #[arg(long, value_name = "METHOD")]
    pub(crate) method: Option<BackupMethodChoice>,

    /// Label of the backup, written into its backup_label
    #[arg(short = 'l', long, value_name = "LABEL")]
    pub(crate) label: Option<String>,

    /// Most bytes a second to read or to ask the server for, such as 50MB
    #[arg(short = 'r', long, value_name = "RATE", allow_hyphen_values = true)]
    pub(crate) max_rate: Option<String>,

    /// How long to wait for WAL to arrive in the archive, counted from the last one that did
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub(crate) archive_timeout: Option<String>,

    /// zstd level, 1 to 19
    #[arg(long, value_name = "LEVEL")]
    pub(crate) compression_level: Option<String>,

    /// Workers that compress, and read in a direct backup [default: one for each processor]
    #[arg(short = 'j', long, value_name = "COUNT")]
    pub(crate) jobs: Option<String>,

    /// How much to stand back behind other programs, 0 to 19: processor and disk [default: 0]
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pub(crate) nice: Option<String>,

    #[command(flatten)]
    pub(crate) from: FromArgs,

    #[command(flatten)]
    pub(crate) shared: ServerVerbArgs,
}

const EXAMPLES: &str = "\
Examples:
  pgv-basebackup                                             of the one configured cluster
  pgv-basebackup --checkpoint fast --max-rate 50MB           start at once, spare the server's disks
  pgv-basebackup --repo /srv/pgv --cluster main -h db1 -U pgv
  pgv-basebackup -d 'host=db1 user=pgv sslmode=verify-full'
  pgv-basebackup --method direct --jobs 2 --nice 19          read the files here, with two workers
  pgv-basebackup --from auto                                 of a standby that is fresh, else of the primary

Exit status: 0 the backup is complete and listed; 2 usage or configuration; 3 refused; 4 not
reachable, no room, no permission or too slow; 5 damaged data: with the words \"is stored, and
marked\", pages with wrong checksums were found in a backup that is listed; 70 a defect of pgv;
130 ended by a signal.";

impl VerbArgs for BackupArgs {
    const VERB: Verb = Verb::Backup;

    fn common(&self) -> Option<&CommonArgs> {
        Some(&self.shared.common)
    }

    fn overrides(&self) -> Overrides {
        let mut overrides = self.shared.common.overrides();
        overrides.set("backup.checkpoint", "--checkpoint", self.checkpoint.map(CheckpointMode::as_str));
        overrides.set("backup.method", "--method", self.method.map(BackupMethodChoice::as_str));
        overrides.set("backup.label", "--label", self.label.as_deref());
        overrides.set("backup.max_rate", "--max-rate", self.max_rate.as_deref());
        overrides.set("backup.archive_timeout", "--archive-timeout", self.archive_timeout.as_deref());
        overrides.set("backup.compression_level", "--compression-level", self.compression_level.as_deref());
        overrides.set("backup.jobs", "--jobs", self.jobs.as_deref());
        overrides.set("backup.nice", "--nice", self.nice.as_deref());
        overrides
    }

    fn writes(&self) -> bool {
        true
    }

    fn run(self, context: &Context) -> Result<Outcome, Box<dyn Classified>> {
        run(self, context)
    }
}

/// Runs the verb.
pub(crate) fn run(args: BackupArgs, context: &Context) -> Result<Outcome, Box<dyn Classified>> {
    let configuration = context.configuration();
    let settings = configuration.backup();
    if settings.nice > 0 {
        // ORDER: before any thread is started, since each has a niceness of its own. The kernel takes the priority of
        // reads and writes from it, too, where the scheduler of the disk has priorities.
        let _ = rustix::process::nice(settings.nice);
    }
    let servers = args.from.servers(&args.shared.connection, context)?;
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let options = |connection: &ConnectionSettings| -> Result<BackupOptions, Box<dyn Classified>> {
        Ok(BackupOptions {
            connection: connection.clone(),
            repository: opening::open_repository(configuration.repo()?)?,
            selection: opening::selection(configuration),
            host: opening::host_name(),
            label: settings.label.clone().unwrap_or_else(|| DEFAULT_LABEL.to_owned()),
            method: match settings.method {
                BackupMethodChoice::Auto => MethodChoice::Auto,
                BackupMethodChoice::Direct => MethodChoice::Direct,
                BackupMethodChoice::Stream => MethodChoice::Stream,
            },
            checkpoint: match settings.checkpoint {
                CheckpointMode::Spread => server::CheckpointMode::Spread,
                CheckpointMode::Fast => server::CheckpointMode::Fast,
            },
            max_rate_kib: settings.max_rate.map(|rate| u32::try_from(rate / 1024).unwrap_or(u32::MAX)),
            archive_timeout: settings.archive_timeout,
            level: settings.compression_level,
            workers: settings.jobs.map_or(cores, NonZeroUsize::get),
        })
    };
    let reporter = context.reporter();
    let report = servers.take_first(&reporter, |connection| {
        Ok(backup::run(&options(connection)?, &SystemClock, &reporter, context.cancel()))
    })?;
    drop(reporter);
    let answer = match args.shared.output.output {
        OutputFormat::Text => Ok(text_answer(&report)),
        OutputFormat::Json => json_text(&report),
    };
    context.printer().report(answer, "backup")?;
    match report.failure() {
        Some(failure) => Err(failure.into()),
        None => Ok(Outcome::Done),
    }
}

fn text_answer(report: &BackupReport) -> String {
    let record = &report.record;
    let sizes = &record.sizes;
    let seconds = report.took.as_secs_f64();
    // Whole bytes a second are precise enough for people.
    let bytes_a_second = u128::from(sizes.file_bytes) * 1000 / report.took.as_millis().max(1);
    let rate = bytes_text(u64::try_from(bytes_a_second).unwrap_or(u64::MAX));
    let findings: String = record.findings.iter().map(|finding| format!("finding: {}\n", escaped(finding))).collect();
    format!(
        "backup {} of cluster {} is complete\n\
         {} files, {}; {} stored; {seconds:.1} s, {rate}/s\n\
         WAL from {} to {}, consistent since {}\n{findings}",
        record.id,
        report.cluster,
        sizes.files,
        bytes_text(sizes.file_bytes),
        bytes_text(sizes.stored_bytes),
        record.start_lsn,
        record.stop_lsn,
        utc_text(record.stop_time),
    )
}

/// The version of the answer for programs: fields are added, never renamed or removed, while it stays the same.
const SCHEMA_VERSION: u32 = 1;

/// The answer for programs: the record, and how long it took.
#[derive(Serialize)]
struct JsonAnswer<'a> {
    schema_version: u32,
    cluster: String,
    took_seconds: f64,
    backup: &'a BackupRecord,
}

fn json_text(report: &BackupReport) -> Result<String, OutputError> {
    json_answer(&JsonAnswer {
        schema_version: SCHEMA_VERSION,
        cluster: report.cluster.name.to_string(),
        took_seconds: report.took.as_secs_f64(),
        backup: &report.record,
    })
}
