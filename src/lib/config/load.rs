//! From files, environment and flags to one [`Configuration`].
//!
//! Precedence: flag, environment variable, file of variables, configuration file, default.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::file::{FileContent, NodeContent};
use super::settings::{SETTINGS, of_variable};
use super::value::{Origin, Value};
use super::{Account, ConfigError, Configuration, Environment, Overrides, env_file, file, resolve, secret};
use crate::fs::{FileError, RegularFileError, open_regular};
use crate::nearest::nearest;
use crate::repository::ClusterName;

/// Where the configuration file of a host is.
const SYSTEM_FILE: &str = "/etc/pgv/pgv.toml";
/// Where the configuration file of an account is, below its home directory.
const HOME_FILE: &str = ".config/pgv/pgv.toml";
/// LIMIT: bytes of a configuration file or file of variables: room for a thousand clusters. Every part of a dotted key is
/// a table of its own when TOML is read, which takes about a kilobyte.
const FILE_BYTES_MAX: u64 = 128 << 10;

const CONFIGURATION_FILE: &str = "configuration file";
const ENVIRONMENT_FILE: &str = "environment file";

/// Whether files of settings are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigurationFile {
    /// One that was named must exist; the default places may be empty.
    Read,
    /// Even a configuration file that was named may be absent.
    ReadIfPresent,
    /// None is looked for, and of the variables only those about messages count.
    Ignore,
}

/// Where settings come from.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// Whether files of settings are read.
    pub file: ConfigurationFile,
    /// `--config`
    pub config: Option<PathBuf>,
    /// `--env-file`
    pub env_file: Option<PathBuf>,
    /// The other flags.
    pub overrides: Overrides,
    /// The process's variables.
    pub environment: Environment,
}

/// All that was said, merged, with the places where it was said.
#[derive(Debug)]
pub(super) struct Merged {
    /// The last word on each setting; those of clusters from flags and variables alone.
    pub(super) values: BTreeMap<&'static str, Value>,
    /// What the configuration file says of each cluster.
    pub(super) clusters: BTreeMap<ClusterName, BTreeMap<&'static str, Value>>,
    /// What it says of the nodes of each cluster.
    pub(super) nodes: BTreeMap<ClusterName, Vec<NodeContent>>,
    /// What the configuration file calls the repository: its pinned id belongs to that one alone.
    pub(super) url_in_file: Option<String>,
    pub(super) source: Option<PathBuf>,
    /// Whether it was found in its usual place, without having been named.
    pub(super) is_usual_file: bool,
    /// The file of variables, unless the configuration file names it.
    pub(super) env_file: Option<PathBuf>,
    pub(super) new_files: Vec<PathBuf>,
    pub(super) account: Account,
    pub(super) variables: Environment,
    pub(super) warnings: Vec<String>,
}

/// Reads and validates all settings.
pub fn load(options: LoadOptions) -> Result<Configuration, ConfigError> {
    load_on_host(options, Path::new(SYSTEM_FILE))
}

/// The same where the host's configuration file is another one, for tests.
pub(super) fn load_on_host(options: LoadOptions, system_file: &Path) -> Result<Configuration, ConfigError> {
    resolve::resolve(merge(options, system_file)?)
}

/// Reads all sources, lowest first, so that each overrides the ones before it.
fn merge(options: LoadOptions, system_file: &Path) -> Result<Merged, ConfigError> {
    let LoadOptions { file, config, env_file, overrides, environment } = options;
    let account = Account::of_process(&environment);
    let mut warnings = Vec::new();
    let reads_files = file != ConfigurationFile::Ignore;
    let variables = of_process(&environment, reads_files, &mut warnings)?;

    let named = |flag: Option<PathBuf>, name: &'static str, key: &str, from: &Values| {
        let flag = flag.map(|path| (path, Origin::Flag(name)));
        flag.or_else(|| from.get(key).map(|value| (PathBuf::from(&value.text), value.origin.clone())))
    };
    let mut from_env_file = EnvFile::default();
    let named_env_file = named(env_file, "--env-file", "env_file", &variables).filter(|_| reads_files);
    if let Some((path, named_by)) = &named_env_file {
        from_env_file = EnvFile::read(path, named_by, &mut warnings)?;
    }
    let named_config = named(config, "--config", "config", &variables)
        .or_else(|| named(None, "", "config", &from_env_file.settings))
        .filter(|_| reads_files);
    let found = match file {
        ConfigurationFile::Ignore => Found::default(),
        file => find(named_config, system_file, &account, file)?,
    };
    let FileContent { values: mut merged, clusters, nodes } = found.content;
    let url_in_file = merged.get("repo.url").map(|value| value.text.clone());
    if let (None, Some(value)) = (&named_env_file, merged.get("env_file")) {
        // Beside the file that names it: PostgreSQL runs commands in the data directory.
        let folder = found.source.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
        from_env_file = EnvFile::read(&folder.join(&value.text), &value.origin, &mut warnings)?;
    }

    merged.extend(from_env_file.settings);
    merged.extend(variables);
    merged.extend(
        overrides.iter().map(|flag| (flag.key, Value { text: flag.value.clone(), origin: Origin::Flag(flag.flag) })),
    );
    let variables = environment.or(from_env_file.libpq);
    let (source, is_usual_file, new_files) = (found.source, found.is_usual_file, found.new_files);
    let env_file = named_env_file.map(|(path, _)| std::path::absolute(&path).unwrap_or(path));
    Ok(Merged {
        values: merged,
        clusters,
        nodes,
        url_in_file,
        source,
        is_usual_file,
        env_file,
        new_files,
        account,
        variables,
        warnings,
    })
}

type Values = BTreeMap<&'static str, Value>;

/// The settings among the process's variables. An empty variable says nothing.
fn of_process(environment: &Environment, all: bool, warnings: &mut Vec<String>) -> Result<Values, ConfigError> {
    if let Some(name) = environment.not_utf8().find(|name| all && is_ours(name)) {
        return Err(ConfigError::VariableNotUtf8 { name: name.to_owned() });
    }
    let mut values = Values::new();
    for (name, text) in environment.iter().filter(|(name, text)| name.starts_with("PGV_") && !text.is_empty()) {
        match of_variable(name) {
            Some(setting) if all || setting.key.starts_with("log.") => {
                let origin = Origin::Variable(setting.variable);
                values.insert(setting.key, Value { text: text.to_owned(), origin });
            }
            Some(_) => {}
            None => warnings.push(format!("unknown environment variable \"{name}\"{}", suggestion(name))),
        }
    }
    Ok(values)
}

/// Whether a variable is one of pgv's or libpq's.
fn is_ours(name: &str) -> bool {
    name.starts_with("PG")
}

fn suggestion(variable: &str) -> String {
    let near = nearest(variable, SETTINGS.iter().map(|setting| setting.variable));
    near.map(|near| format!(", did you mean \"{near}\"?")).unwrap_or_default()
}

/// What a file of variables says.
#[derive(Default)]
struct EnvFile {
    settings: Values,
    /// PGHOST and the like.
    libpq: Vec<(String, String)>,
}

impl EnvFile {
    fn read(path: &Path, named_by: &Origin, warnings: &mut Vec<String>) -> Result<Self, ConfigError> {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        let path = absolute.as_path();
        let (text, metadata) = read_text(ENVIRONMENT_FILE, path)?.ok_or_else(|| ConfigError::NoFile {
            what: ENVIRONMENT_FILE,
            path: path.to_path_buf(),
            named_by: named_by.clone(),
        })?;
        let origin = |line| Origin::File { path: path.to_path_buf(), line };
        let assignments = env_file::parse(&text)
            .map_err(|error| ConfigError::Syntax { origin: origin(error.line), message: error.message })?;
        if assignments.iter().any(|found| secret::variable_holds_password(&found.name, &found.value)) {
            secret::check_private(path, &metadata)?;
        }
        let mut content = Self::default();
        for found in assignments.into_iter().filter(|found| !found.value.is_empty()) {
            let origin = origin(found.line);
            match of_variable(&found.name) {
                Some(setting) => {
                    content.settings.insert(setting.key, Value { text: found.value, origin });
                }
                None if is_ours(&found.name) && !found.name.starts_with("PGV_") => {
                    content.libpq.push((found.name, found.value));
                }
                None => {
                    let near = suggestion(&found.name);
                    warnings.push(format!("{origin}: unknown variable \"{}\"{near}", found.name));
                }
            }
        }
        Ok(content)
    }
}

/// The configuration file in use, or where it would be.
#[derive(Default)]
struct Found {
    content: FileContent,
    source: Option<PathBuf>,
    is_usual_file: bool,
    new_files: Vec<PathBuf>,
}

/// Looks for the configuration file: where it was named, else in the default places.
fn find(
    named: Option<(PathBuf, Origin)>,
    system_file: &Path,
    account: &Account,
    file: ConfigurationFile,
) -> Result<Found, ConfigError> {
    if let Some((path, named_by)) = named {
        let path = std::path::absolute(&path).unwrap_or(path);
        return match read_text(CONFIGURATION_FILE, &path)? {
            Some((text, metadata)) => parsed(path, &text, &metadata),
            None if file == ConfigurationFile::ReadIfPresent => Ok(Found { new_files: vec![path], ..Found::default() }),
            None => Err(ConfigError::NoFile { what: CONFIGURATION_FILE, path, named_by }),
        };
    }
    let home_file = account.home.as_ref().map(|home| home.join(HOME_FILE));
    for path in std::iter::once(system_file).chain(home_file.as_deref()) {
        if let Some((text, metadata)) = read_text(CONFIGURATION_FILE, path)? {
            return Ok(Found { is_usual_file: true, ..parsed(path.to_path_buf(), &text, &metadata)? });
        }
    }
    let new_files = std::iter::once(system_file.to_path_buf()).chain(home_file).collect();
    Ok(Found { new_files, ..Found::default() })
}

fn parsed(path: PathBuf, text: &str, metadata: &Metadata) -> Result<Found, ConfigError> {
    let content = file::parse(&path, text)?;
    let of_clusters = content.clusters.values().filter_map(|cluster| cluster.get("cluster.NAME.conninfo"));
    let of_nodes = content.nodes.values().flatten().filter_map(|node| node.values.get("cluster.NAME.node.conninfo"));
    let mut conninfos = of_clusters.chain(of_nodes);
    if conninfos.any(|conninfo| secret::conninfo_holds_password(&conninfo.text)) {
        secret::check_private(&path, metadata)?;
    }
    Ok(Found { content, source: Some(path), ..Found::default() })
}

/// The text of a file and what the system says about that very file; `None` when it is absent.
fn read_text(what: &'static str, path: &Path) -> Result<Option<(String, Metadata)>, ConfigError> {
    let read_error = |source| ConfigError::Read { what, source };
    // A pipe whose other end nobody opens would be waited for without end, signals or not.
    let file = match open_regular(path) {
        Ok(file) => file,
        Err(RegularFileError::Other(found)) => {
            return Err(ConfigError::NotRegular { what, path: path.to_path_buf(), found });
        }
        Err(RegularFileError::File(error)) if error.is_not_found() => return Ok(None),
        Err(RegularFileError::File(error)) => return Err(read_error(error)),
    };
    let metadata = file.metadata().map_err(|error| read_error(FileError::new("examine", path, error)))?;
    let mut bytes = Vec::new();
    let read = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| read_error(FileError::new("read", path, error)))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(read_error(FileError::new("read", path, std::io::ErrorKind::FileTooLarge)));
    }
    let text = String::from_utf8(bytes).map_err(|_| ConfigError::NotUtf8 { path: path.to_path_buf() })?;
    Ok(Some((text, metadata)))
}
