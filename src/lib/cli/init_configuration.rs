//! The configuration file as `pgv init` leaves it: written when none is in use, never edited.

use std::path::{Path, PathBuf};

use crate::clock::SystemClock;
use crate::codec::RepositoryId;
use crate::config::{
    Configuration, ConfigurationFile, Environment, LoadOptions, NewConfiguration, Overrides, RepoSettings, load,
    render_new,
};
use crate::error::Classified;
use crate::init::{ClusterFacts, InitConfiguration, remove_abandoned_beside_configuration, write_configuration_file};
use crate::repository::ClusterName;

/// What the configuration file should say.
pub(crate) struct ConfigurationInput<'a> {
    pub(crate) configuration: &'a Configuration,
    pub(crate) repo: &'a RepoSettings,
    pub(crate) repo_id: RepositoryId,
    pub(crate) cluster: &'a ClusterName,
    pub(crate) facts: &'a ClusterFacts,
    /// How the server was found, when it was asked; empty when nothing was said.
    pub(crate) conninfo: Option<&'a str>,
}

/// Writes the configuration file, or says what the one in use lacks.
pub(crate) fn settle_configuration(input: &ConfigurationInput<'_>) -> Result<InitConfiguration, Box<dyn Classified>> {
    if let Some(file) = input.configuration.source() {
        remove_abandoned_beside_configuration(file, &SystemClock);
        let lines_to_add = missing_lines(input, &alone(file)?);
        return Ok(InitConfiguration { file: file.to_owned(), written: false, lines_to_add });
    }
    let text = render_new(&NewConfiguration {
        repo_url: input.repo.url.clone(),
        repo_id: Some(input.repo_id),
        cluster: input.cluster.clone(),
        pgdata: input.facts.local_data_directory.clone(),
        conninfo: input.conninfo.filter(|text| !text.is_empty()).map(str::to_owned),
        system_identifier: Some(input.facts.system_identifier),
    });
    let written = write_configuration_file(input.configuration.new_files(), &text)?;
    remove_abandoned_beside_configuration(&written.path, &SystemClock);
    for error in &written.passed_over {
        tracing::debug!("{error}: {}", error.source);
    }
    Ok(InitConfiguration { file: written.path, written: true, lines_to_add: None })
}

/// What the file itself says, without flags and variables: the server runs pgv-archive without them.
fn alone(file: &Path) -> Result<Configuration, Box<dyn Classified>> {
    Ok(load(LoadOptions {
        file: ConfigurationFile::Read,
        config: Some(file.to_owned()),
        env_file: None,
        overrides: Overrides::new(),
        environment: Environment::default(),
    })?)
}

fn missing_lines(input: &ConfigurationInput<'_>, file: &Configuration) -> Option<String> {
    let mut lines = String::new();
    if !file.repo().is_ok_and(|repo| repo.path == input.repo.path) {
        let id = Some(input.repo_id.to_string());
        lines.push_str(&section("[[repo]]", &[("url", Some(input.repo.url.clone())), ("id", id)]));
    }
    let own = file.clusters().get(input.cluster);
    let system_identifier = input.facts.system_identifier;
    let remembered = own.and_then(|cluster| cluster.system_identifier);
    let needs_identifier = match remembered {
        Some(remembered) => remembered != system_identifier,
        None => own.is_none() || file.clusters().len() > 1,
    };
    let pgdata: Option<&PathBuf> = input.facts.local_data_directory.as_ref();
    let named = own.and_then(|cluster| cluster.pgdata.as_deref());
    let pgdata = pgdata.filter(|pgdata| named.is_none_or(|named| !is_same(named, pgdata)));
    let has_conninfo = own.is_some_and(|cluster| cluster.conninfo.is_some());
    let conninfo = input.conninfo.filter(|text| !text.is_empty() && !has_conninfo);
    let settings = [
        ("pgdata", pgdata.and_then(|path| path.to_str()).map(str::to_owned)),
        ("conninfo", conninfo.map(str::to_owned)),
        ("system_identifier", needs_identifier.then(|| system_identifier.to_string())),
    ];
    if own.is_none() || settings.iter().any(|(_, value)| value.is_some()) {
        lines.push_str(&section(&format!("[cluster.{}]", input.cluster), &settings));
    }
    Some(lines).filter(|lines| !lines.is_empty())
}

fn is_same(one: &Path, other: &Path) -> bool {
    one == other || crate::fs::real_path(one).is_ok_and(|one| one == other)
}

fn section(header: &str, settings: &[(&str, Option<String>)]) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let given = settings.iter().filter_map(|(key, value)| Some(format!("{key} = {}\n", quoted(value.as_deref()?))));
    format!("{header}\n{}", given.collect::<String>())
}
