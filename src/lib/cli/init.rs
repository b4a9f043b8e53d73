//! `pgv init`: the command line of the set-up.

use std::path::{Path, PathBuf};

use clap::Parser;

use super::args::{CommonArgs, ConnectionArgs, ServerVerbArgs};
use super::context::{Context, NeedsConfiguration, Outcome, VerbArgs};
use super::init_configuration::{ConfigurationInput, settle_configuration};
use super::init_findings::findings;
use super::init_text;
use super::opening;
use super::program::{Program, Verb};
use super::typed::switch_to;
use super::usage::UsageError;
use crate::clock::SystemClock;
use crate::config::{ClusterSettings, ConfigError, Configuration, account_name};
use crate::error::{Classified, ErrorClass};
use crate::init::{
    ArchiveCommand, ClusterFacts, Finding, InitCluster, InitError, InitReport, InitRepository, InitServer,
    Registration, RegistrationOptions, check_configuration_places, create_role_sql, register,
};
use crate::repository::ClusterName;
use crate::server::{ConnectError, SqlClient};

/// Creates a repository, registers a cluster in it, and says what the server still lacks
#[derive(Debug, Clone, Parser)]
#[command(after_help = EXAMPLES)]
pub(crate) struct InitArgs {
    /// Read the cluster from this data directory instead of from the server; for a stopped one
    #[arg(short = 'D', long, value_name = "DIR")]
    pub(crate) pgdata: Option<PathBuf>,

    /// Accept another system identifier under the same name, after pg_upgrade or a rebuild
    #[arg(long)]
    pub(crate) upgraded: bool,

    #[command(flatten)]
    pub(crate) shared: ServerVerbArgs,
}

const EXAMPLES: &str = "\
Examples:
  pgv init --repo /srv/pgv --cluster main                    from the local server
  pgv init --repo /srv/pgv --cluster main -h db1 -U postgres
  pgv init --repo /srv/pgv --cluster main -D /var/lib/postgresql/15/main
  pgv init --cluster main --upgraded                         after pg_upgrade

The configuration file is written when none is in use yet. Run it as the account that owns the
data directory: runuser -u postgres -- pgv init ...";

impl VerbArgs for InitArgs {
    const VERB: Verb = Verb::Init;

    fn common(&self) -> Option<&CommonArgs> {
        Some(&self.shared.common)
    }

    fn needs_configuration(&self) -> NeedsConfiguration {
        NeedsConfiguration::MayWriteIt
    }

    fn writes(&self) -> bool {
        true
    }

    fn run(self, context: &Context) -> Result<Outcome, Box<dyn Classified>> {
        run(self, context)
    }
}

/// The cluster's name when nobody said another.
const DEFAULT_CLUSTER: &str = "main";

/// The runtime for the connection to the server could not be made.
#[derive(Debug, thiserror::Error)]
#[error("could not start the machinery for network connections")]
pub(crate) struct RuntimeError(#[source] pub(crate) std::io::Error);

impl Classified for RuntimeError {
    fn class(&self) -> ErrorClass {
        ErrorClass::of_io(&self.0)
    }
}

/// The server could not be asked, which another option would not have needed.
#[derive(Debug, thiserror::Error)]
#[error("could not ask the server about the cluster")]
pub(crate) struct ServerNotAsked(#[source] pub(crate) Box<ConnectError>);

impl Classified for ServerNotAsked {
    fn class(&self) -> ErrorClass {
        self.0.class()
    }
}

/// Runs the verb.
pub(crate) fn run(args: InitArgs, context: &Context) -> Result<Outcome, Box<dyn Classified>> {
    if args.pgdata.is_some() && names_a_server(&args.shared.connection) {
        return Err(UsageError::new(
            "--pgdata and connection options exclude each other: one names a directory, the others a server",
        )
        .into());
    }
    let configuration = context.configuration();
    let repo = configuration.repo()?.clone();
    let cluster = cluster_of(configuration)?;
    if configuration.source().is_none() {
        check_configuration_places(configuration.new_files())?;
    }
    let (facts, conninfo) = learn(&args, configuration)?;
    let host = opening::host_name();
    let registration = register(&RegistrationOptions {
        root: &repo.path,
        pinned: repo.id,
        name: &cluster.name,
        name_given: configuration.named_cluster().is_some(),
        facts: &facts,
        upgraded: args.upgraded,
        host: &host,
        clock: &SystemClock,
    })?;
    let settled = settle_configuration(&ConfigurationInput {
        configuration,
        repo: &repo,
        repo_id: registration.repository.id(),
        cluster: &cluster.name,
        facts: &facts,
        conninfo: conninfo.as_deref(),
    })?;
    let program = archive_program()?;
    // Of the settings outside of the file, only a file of variables can be said again: the rest is in the file now.
    let env_file = configuration.command_options().iter().find(|(flag, _)| *flag == "--env-file");
    let env_file = env_file.map(|(_, path)| path);
    // A copy and its original in one configuration are told apart by nothing but their names.
    let same = configuration.clusters_by_system_identifier(facts.system_identifier);
    let is_configured = |name: &&ClusterName| configuration.clusters().contains_key(*name);
    let original = same.iter().map(|other| &other.name).chain(registration.other_names.iter().filter(is_configured));
    let original = original.filter(|name| **name != cluster.name).min();
    let command_of = |name| ArchiveCommand::new(&program, Some(&settled.file), env_file.map(Path::new), name);
    let command = command_of(original.map(|_| &cluster.name))?;
    let mut warnings = warnings(&facts, &program, &registration.other_names);
    if let Some(original) = original {
        warnings.push(two_of_one_system(&cluster.name, original, &command, &command_of(Some(original))?)?);
    }
    let configured = configuration.source().map(|file| (file, configuration));
    let findings = findings(&facts, &command, configured, (&cluster.name, context.typed()));
    let report = InitReport {
        schema_version: 1,
        repository: repository_part(&repo.url, &repo.path, &registration),
        cluster: cluster_part(&cluster.name, &facts, &registration),
        configuration: settled,
        server: server_part(&facts, &command, findings),
        warnings,
    };
    context.answer(&args.shared.output, &report, || init_text::render(&report))?;
    Ok(Outcome::Done)
}

/// What a second cluster of one system identifier means for the commands of both.
fn two_of_one_system(
    name: &ClusterName,
    original: &ClusterName,
    command: &ArchiveCommand,
    of_original: &ArchiveCommand,
) -> Result<String, InitError> {
    Ok(format!(
        "\"{name}\" and \"{original}\" have one system identifier: from now on every program must be told which one is \
         meant. Without --cluster pgv-archive and pgv-fetch take the one whose pgdata they run in, and refuse where \
         there is none. In the configuration of \"{original}\": {}; in that of \"{name}\": {}",
        of_original.line()?,
        command.line()?
    ))
}

/// The cluster that was named, else the only configured one, else "main".
fn cluster_of(configuration: &Configuration) -> Result<ClusterSettings, Box<dyn Classified>> {
    match configuration.cluster() {
        Err(ConfigError::NoCluster) => {
            let name = ClusterName::parse(DEFAULT_CLUSTER);
            Ok(ClusterSettings::named(name.map_err(|error| UsageError::new(error.to_string()))?))
        }
        cluster => Ok(cluster?),
    }
}

fn names_a_server(args: &ConnectionArgs) -> bool {
    args.host.is_some() || args.port.is_some() || args.username.is_some() || args.dbname.is_some()
}

/// Reads the data directory that was named, else asks the server; then also what was said of how to find it.
fn learn(
    args: &InitArgs,
    configuration: &Configuration,
) -> Result<(ClusterFacts, Option<String>), Box<dyn Classified>> {
    if let Some(pgdata) = &args.pgdata {
        return Ok((ClusterFacts::of_data_directory(pgdata)?, None));
    }
    let settings = opening::connection(configuration, &args.shared.connection, Program::Pgv)?;
    let said = opening::connection_said(configuration, &args.shared.connection, Program::Pgv)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(RuntimeError)?;
    let facts = runtime.block_on(async {
        let client = SqlClient::connect(&settings).await.map_err(|source| ServerNotAsked(Box::new(source)))?;
        let facts = ClusterFacts::of_server(&client, &settings).await;
        client.close().await;
        Ok::<_, Box<dyn Classified>>(facts?)
    })?;
    Ok((facts, Some(said)))
}

/// `pgv-archive` beside the program that runs.
fn archive_program() -> Result<PathBuf, InitError> {
    let name = Program::Archive.name();
    let executable = std::env::current_exe();
    let folder = executable.ok().and_then(|path| path.parent().map(Path::to_owned));
    Ok(folder.unwrap_or_else(|| PathBuf::from("/usr/bin")).join(name))
}

fn repository_part(url: &str, path: &Path, registration: &Registration) -> InitRepository {
    InitRepository {
        url: url.to_owned(),
        path: path.to_owned(),
        id: registration.repository.id(),
        created: registration.created,
        rebuilt: registration.rebuilt,
        promises: vec!["create_only", "sync"],
        hard_links: registration.probe.hard_links,
        available_bytes: registration.probe.available_bytes,
    }
}

fn cluster_part(name: &ClusterName, facts: &ClusterFacts, registration: &Registration) -> InitCluster {
    InitCluster {
        name: name.clone(),
        system_identifier: facts.system_identifier,
        major_version: facts.state.version,
        wal_segment_bytes: facts.wal_segment_size.bytes(),
        data_directory: facts.local_data_directory.clone(),
        registered: registration.registered,
        since: registration.since,
        source: facts.source,
    }
}

fn server_part(facts: &ClusterFacts, command: &ArchiveCommand, findings: Vec<Finding>) -> InitServer {
    InitServer {
        asked: facts.state.rights.is_some(),
        in_recovery: facts.state.in_recovery,
        role: facts.state.rights.as_ref().map(|rights| rights.role.clone()),
        archive_command: command.as_str().to_owned(),
        findings,
        role_sql: create_role_sql(&facts.state),
    }
}

/// What else a person should know.
fn warnings(facts: &ClusterFacts, program: &Path, other_names: &[ClusterName]) -> Vec<String> {
    use std::os::unix::fs::MetadataExt as _;
    let mut warnings = Vec::new();
    if program.metadata().is_err() {
        warnings.push(format!("There is no program \"{}\" yet; the archive command needs it.", program.display()));
    }
    if !other_names.is_empty() {
        let names: Vec<String> = other_names.iter().map(|name| format!("\"{name}\"")).collect();
        warnings.push(format!(
            "A cluster with the same system identifier is registered as {}: a copy. Each data directory must archive \
             under one name alone.",
            names.join(", ")
        ));
    }
    if facts.state.in_recovery {
        warnings.push(
            "The server is a standby: with archive_mode = on it archives from its promotion on, and until then its \
             primary must archive."
                .to_owned(),
        );
    }
    match &facts.local_data_directory {
        None if facts.is_local => {}
        None => warnings.push(
            "The server runs on another host: pgv-archive, the configuration file and the repository must be there \
             too, under the paths that the archive command names."
                .to_owned(),
        ),
        Some(directory) => {
            let own = rustix::process::geteuid().as_raw();
            if let Some(owner) = directory.metadata().ok().map(|metadata| metadata.uid()).filter(|owner| *owner != own)
            {
                let line = account_name(owner).map(|name| format!(": {}pgv init ...", switch_to(&name, false)));
                warnings.push(format!(
                    "The server runs as the account with uid {owner}, this is the one with uid {own}: the server could \
                     not write to the repository. Run pgv init as that account{}",
                    line.as_deref().unwrap_or(".")
                ));
            }
        }
    }
    warnings
}
