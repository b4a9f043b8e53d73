//! Options that several programs share, so that they read the same everywhere.
//!
//! `-h` is the host wherever a program connects, as in PostgreSQL's own clients; help is `--help` and `-?`.

use std::path::PathBuf;

use clap::{Arg, ArgAction, Args};

use crate::config::{LogFormat, LogLevel, Overrides};

/// Options of every program that works on a repository.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Common options")]
pub(crate) struct CommonArgs {
    /// Repository: an absolute path or file:// URL
    #[arg(long, value_name = "URL")]
    pub(crate) repo: Option<String>,

    /// Name of the cluster in the repository; may be left out when one is configured
    #[arg(long, value_name = "NAME", visible_aliases = ["stanza", "server"])]
    pub(crate) cluster: Option<String>,

    /// Configuration file [default: /etc/pgv/pgv.toml, else ~/.config/pgv/pgv.toml]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// File of PGV_ and PG variables, one NAME=VALUE a line
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) log: LogArgs,

    /// Run although the account is root
    #[arg(long)]
    pub(crate) allow_root: bool,
}

impl CommonArgs {
    /// What was given on the command line, as settings.
    pub(crate) fn overrides(&self) -> Overrides {
        let mut overrides = self.log.overrides();
        overrides.set("repo.url", "--repo", self.repo.as_deref());
        overrides.set("cluster", "--cluster", self.cluster.as_deref());
        overrides
    }
}

/// Options about log lines, which every program has.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Common options")]
pub(crate) struct LogArgs {
    /// Least severe messages to write to stderr
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<LogLevel>,

    /// Form of the messages on stderr
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
}

impl LogArgs {
    /// What was given on the command line, as settings.
    pub(crate) fn overrides(&self) -> Overrides {
        let mut overrides = Overrides::new();
        overrides.set("log.level", "--log-level", self.log_level.map(LogLevel::as_str));
        overrides.set("log.format", "--log-format", self.log_format.map(LogFormat::as_str));
        overrides
    }
}

/// Where the server is, as PostgreSQL's clients are told.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Connection options")]
pub(crate) struct ConnectionArgs {
    /// Host name, address or socket directory of the server
    #[arg(short = 'h', long, value_name = "HOST")]
    pub(crate) host: Option<String>,

    /// Port of the server
    #[arg(short = 'p', long, value_name = "PORT")]
    pub(crate) port: Option<String>,

    /// Role to connect as
    #[arg(short = 'U', long, value_name = "ROLE")]
    pub(crate) username: Option<String>,

    /// Database name, connection string or URI
    #[arg(short = 'd', long, value_name = "DBNAME")]
    pub(crate) dbname: Option<String>,

    /// Never ask for a password; accepted for compatibility, pgv never does
    #[arg(short = 'w', long)]
    pub(crate) no_password: bool,
}

/// What the answer on stdout looks like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OutputFormat {
    /// For people
    #[default]
    Text,
    /// For programs, with a stable schema
    Json,
}

/// Options of programs that answer on stdout.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct OutputArgs {
    /// Form of the answer on stdout
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) output: OutputFormat,
}

/// What verbs share that ask a server and answer on stdout.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ServerVerbArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,

    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,

    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// Gives a command the flags that are the same everywhere: help and version.
pub(crate) fn decorate(command: clap::Command) -> clap::Command {
    let help = Arg::new("help")
        .long("help")
        .short('?')
        .action(ArgAction::HelpShort)
        .help("Show this help, with examples")
        .help_heading("Common options");
    // -h is help only where it is not the host.
    let is_host = command.get_arguments().any(|arg| arg.get_short() == Some('h'));
    let help = if is_host { help } else { help.short_alias('h') };
    let version = Arg::new("version")
        .long("version")
        .short('V')
        .action(ArgAction::Version)
        .help("Show the version")
        .help_heading("Common options");
    let version_text = if command.get_name() == "pgv" { PLAIN_VERSION } else { PACKAGE_VERSION };
    command
        .disable_help_flag(true)
        .disable_version_flag(true)
        .version(version_text)
        .max_term_width(110)
        // "-1" behind an option is its value, and what is wrong with it is said; no flag of ours is a digit.
        .mut_args(|arg| if arg.get_action().takes_values() { arg.allow_negative_numbers(true) } else { arg })
        .arg(help)
        .arg(version)
}

const PLAIN_VERSION: &str = env!("CARGO_PKG_VERSION");
const PACKAGE_VERSION: &str = concat!("(pgv) ", env!("CARGO_PKG_VERSION"));
