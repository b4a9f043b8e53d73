//! `pgv verify`: the command line of the check of all that is stored.

use std::num::NonZero;
use std::path::Path;

use clap::Parser;

use super::args::{CommonArgs, OutputArgs};
use super::context::{Context, Outcome, VerbArgs};
use super::program::Verb;
use super::{opening, verify_text};
use crate::clock::{Clock as _, SystemClock};
use crate::error::Classified;
use crate::repository::BackupId;
use crate::verify::{Depth, VerifyOptions, verify};

/// Checks that all of a repository is as it was stored, and says what damage costs
#[derive(Debug, Clone, Parser)]
#[command(after_help = EXAMPLES)]
pub(crate) struct VerifyArgs {
    /// Look at headers, sizes and seek tables alone, and read no content
    #[arg(long, conflicts_with_all = ["sample", "wal_records"])]
    pub(crate) quick: bool,

    /// Read a random part of the content: more than 0 %, at most 100 %
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub(crate) sample: Option<f64>,

    /// Read the same sample as a run that named this seed
    #[arg(long, value_name = "NUMBER", requires = "sample")]
    pub(crate) seed: Option<u64>,

    /// Look at this backup alone: its objects, its packs, its WAL up to where it is consistent
    #[arg(long, value_name = "ID")]
    pub(crate) backup: Option<BackupId>,

    /// Read every record of the WAL, too, from each backup on along every timeline; with --backup, of its own WAL
    #[arg(long)]
    pub(crate) wal_records: bool,

    /// How many threads read, of which at most 16 work; one for each processor when absent
    #[arg(short = 'j', long, value_name = "COUNT", value_parser = super::recovery_args::jobs)]
    pub(crate) jobs: Option<NonZero<usize>>,

    #[command(flatten)]
    pub(crate) output: OutputArgs,

    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

const EXAMPLES: &str = "\
Examples:
  pgv verify                                                 every stored byte
  pgv verify --wal-records                                   and every record of the WAL
  pgv verify --sample 5%                                     a random part of it
  pgv verify --quick --output json
  pgv verify --backup 20261121T143000Z-1a2b3c4d

Exit status: 0 nothing is damaged; 1 no such cluster or backup; 2 usage or configuration; 3 written by a newer pgv;
4 not reachable; 5 damaged or missing objects.";

fn percent(text: &str) -> Result<f64, String> {
    let number: f64 = text.strip_suffix('%').unwrap_or(text).trim().parse().map_err(|_| "not a number".to_owned())?;
    if number > 0.0 && number <= 100.0 { Ok(number) } else { Err("expected more than 0 and at most 100".to_owned()) }
}

impl VerbArgs for VerifyArgs {
    const VERB: Verb = Verb::Verify;

    fn common(&self) -> Option<&CommonArgs> {
        Some(&self.common)
    }

    fn writes(&self) -> bool {
        false
    }

    fn run(self, context: &Context) -> Result<Outcome, Box<dyn Classified>> {
        let configuration = context.configuration();
        let repo = configuration.repo()?;
        let (repository, store) = opening::open_to_look(repo)?;
        // What is deleted on the way would look like damage.
        let _shared = opening::share(context)?;
        let depth = match (self.quick, self.sample) {
            (true, _) => Depth::Quick,
            (false, Some(percent)) => Depth::Sample { percent, seed: self.seed.unwrap_or_else(seed) },
            (false, None) => Depth::Full,
        };
        let options = VerifyOptions {
            url: repo.url.clone(),
            path: repo.path.clone(),
            configuration_file: configuration.source().map(Path::to_owned),
            cluster: configuration.named_cluster().cloned(),
            backup: self.backup,
            depth,
            wal_records: self.wal_records,
            threads: threads(self.jobs),
            scratch: store.scratch().ok().map(|tree| tree.path().to_owned()),
            temporary: std::env::temp_dir(),
        };
        let report = verify(&repository, &options, &context.reporter(), context.cancel())?;
        context.answer(&self.output, &report, || verify_text::render(&report))?;
        match report.failure() {
            Some(failure) => Err(failure.into()),
            None => Ok(Outcome::Done),
        }
    }
}

fn threads(asked: Option<NonZero<usize>>) -> usize {
    asked.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZero::get)
}

/// Another sample each time.
fn seed() -> u64 {
    u64::try_from(SystemClock.now().as_nanosecond() & i128::from(u32::MAX)).unwrap_or_default()
}
