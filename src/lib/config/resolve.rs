//! From merged texts to typed values: every text is checked, whether it will be used or not.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::configuration::Conninfo;
use super::file::NodeContent;
use super::load::Merged;
use super::settings::{Place, in_place, setting};
use super::value::{
    Origin, Value, ValueError, absolute_path, age_below, cluster_name, compression_level, days, duration_below, jobs,
    keep, label, max_rate, nice, node_word, priority, repository_id, system_identifier,
};
use super::{
    ArchiveSettings, BackupSettings, CheckSettings, ClusterSettings, ConfigError, Configuration, FetchSettings,
    LogSettings, NodeSettings, RepoSettings, RestoreSettings, RetentionSettings, repo_url,
};
use crate::repository::ClusterName;

/// PostgreSQL's shutdown and its operators wait for the archive command; a minute is the most they should.
const ARCHIVE_TIMEOUT_LIMIT: Duration = Duration::from_secs(60);
/// A backup that is older than years is as good as none.
const AGE_LIMIT: Duration = Duration::from_secs(3650 * 86_400);
/// Nobody waits longer for WAL that does not come.
const WAIT_LIMIT: Duration = Duration::from_secs(7 * 86_400);

/// Nobody waits longer for room.
const GRACE_LIMIT: Duration = Duration::from_secs(366 * 86_400);

/// Checks every value.
pub(super) fn resolve(merged: Merged) -> Result<Configuration, ConfigError> {
    let values = Values(&merged.values);
    let selected = values.optional("cluster", cluster_name)?;
    let is_cluster_option = values.0.get("cluster").is_some_and(|value| matches!(value.origin, Origin::Flag(_)));
    let repo = repository(&values, merged.url_in_file.as_deref())?;
    let archive = ArchiveSettings {
        timeout: values.required("archive.timeout", duration_below(ARCHIVE_TIMEOUT_LIMIT))?,
        compression_level: values.required("archive.compression_level", compression_level)?,
    };
    let fetch = FetchSettings {
        timeout: values.required("fetch.timeout", duration_below(WAIT_LIMIT))?,
        stall_timeout: values.required("fetch.stall_timeout", duration_below(WAIT_LIMIT))?,
    };
    let backup = BackupSettings {
        checkpoint: values.required("backup.checkpoint", |text| Ok(text.parse()?))?,
        method: values.required("backup.method", |text| Ok(text.parse()?))?,
        max_rate: values.optional("backup.max_rate", max_rate)?,
        archive_timeout: values.required("backup.archive_timeout", duration_below(WAIT_LIMIT))?,
        compression_level: values.required("backup.compression_level", compression_level)?,
        jobs: values.optional("backup.jobs", jobs)?,
        nice: values.required("backup.nice", nice)?,
        label: values.optional("backup.label", label)?,
    };
    let check = CheckSettings {
        backup_warning: values.required("check.backup_warning", age_below(AGE_LIMIT))?,
        backup_critical: values.required("check.backup_critical", age_below(AGE_LIMIT))?,
        archive_timeout: values.required("check.archive_timeout", duration_below(WAIT_LIMIT))?,
        stall_timeout: values.required("check.stall_timeout", duration_below(WAIT_LIMIT))?,
    };
    let restore = RestoreSettings {
        tablespace_dir: values.optional("restore.tablespace_dir", absolute_path)?,
        pg_bindir: values.optional("restore.pg_bindir", absolute_path)?,
    };
    let retention = RetentionSettings {
        keep: values.optional("retention.keep", keep)?,
        keep_days: values.optional("retention.keep_days", days)?,
        wal_days: values.optional("retention.wal_days", days)?,
        grace: values.optional("retention.grace", duration_below(GRACE_LIMIT))?,
    };
    let log = LogSettings {
        level: values.optional("log.level", |text| Ok(text.parse()?))?,
        format: values.required("log.format", |text| Ok(text.parse()?))?,
    };
    let (clusters, warning) = clusters(&merged, selected.as_ref())?;
    let command_options = command_options(&merged);
    let mut warnings = merged.warnings;
    warnings.extend(warning);
    Ok(Configuration {
        source: merged.source,
        is_usual_file: merged.is_usual_file,
        new_files: merged.new_files,
        repo,
        clusters,
        selected,
        is_cluster_option,
        command_options,
        archive,
        fetch,
        backup,
        check,
        restore,
        retention,
        log,
        account: merged.account,
        variables: merged.variables,
        warnings,
    })
}

/// The texts of settings, by key.
struct Values<'a>(&'a BTreeMap<&'static str, Value>);

impl Values<'_> {
    fn optional<T>(
        &self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, ValueError>,
    ) -> Result<Option<T>, ConfigError> {
        debug_assert!(setting(key).is_some(), "{key} is a setting");
        self.0.get(key).map(|value| checked(key, value, parse)).transpose()
    }

    /// A setting that has a default.
    fn required<T>(&self, key: &'static str, parse: impl Fn(&str) -> Result<T, ValueError>) -> Result<T, ConfigError> {
        let default = setting(key).and_then(|setting| setting.default).unwrap_or_default();
        let default = Value { text: default.to_owned(), origin: Origin::Default };
        checked(key, self.0.get(key).unwrap_or(&default), parse)
    }
}

fn checked<T>(key: &str, value: &Value, parse: impl Fn(&str) -> Result<T, ValueError>) -> Result<T, ConfigError> {
    parse(&value.text).map_err(|source| ConfigError::InvalidValue {
        origin: value.origin.clone(),
        key: key.to_owned(),
        text: value.text.clone(),
        source: Box::new(source),
    })
}

/// What a command needs beside the default places: the files, and what was said outside of them.
fn command_options(merged: &Merged) -> Vec<(&'static str, OsString)> {
    let files = [("--config", &merged.source), ("--env-file", &merged.env_file)];
    let files = files.into_iter().filter_map(|(flag, path)| Some((flag, path.as_ref()?.into())));
    let said = [("--repo", "repo.url"), ("--cluster", "cluster")].into_iter().filter_map(|(flag, key)| {
        let value = merged.values.get(key)?;
        let is_outside = matches!(value.origin, Origin::Flag(_) | Origin::Variable(_));
        is_outside.then(|| (flag, OsString::from(&value.text)))
    });
    files.chain(said).collect()
}

/// The repository. The id that the file pins is that of the repository that the file names, and of no other.
fn repository(values: &Values<'_>, url_in_file: Option<&str>) -> Result<Option<RepoSettings>, ConfigError> {
    let id = values.optional("repo.id", repository_id)?;
    let Some(url) = values.0.get("repo.url") else { return Ok(None) };
    let path = checked("repo.url", url, |text| Ok(repo_url::local_path(text)?))?;
    let in_file = url_in_file.and_then(|url| repo_url::local_path(url).ok());
    let pinned_in_file = values.0.get("repo.id").is_some_and(|id| matches!(id.origin, Origin::File { .. }));
    let is_another = in_file.is_some_and(|in_file| in_file != path);
    let id = id.filter(|_| !(pinned_in_file && is_another));
    Ok(Some(RepoSettings { url: url.text.clone(), path, id }))
}

type Clusters = BTreeMap<ClusterName, ClusterSettings>;

/// The clusters of the file; variables speak of the one that was named, else of the only one.
fn clusters(merged: &Merged, selected: Option<&ClusterName>) -> Result<(Clusters, Option<String>), ConfigError> {
    let said: BTreeMap<&'static str, Value> = in_place(Place::Cluster)
        .filter_map(|setting| Some((setting.key, merged.values.get(setting.key)?.clone())))
        .collect();
    let mut texts = merged.clusters.clone();
    let only = texts.keys().next().filter(|_| texts.len() == 1).cloned();
    let mut warning = None;
    match selected.cloned().or(only) {
        Some(name) if !said.is_empty() => texts.entry(name).or_default().extend(said),
        Some(_) => {}
        None => {
            warning = said.values().next().map(|value| {
                format!("{} is not used: it is not said which cluster it is about (PGV_CLUSTER)", value.origin)
            });
        }
    }
    let resolved = texts.into_iter().map(|(name, values)| {
        let nodes = merged.nodes.get(&name).map(Vec::as_slice).unwrap_or_default();
        let nodes = nodes.iter().map(|content| node(&name, content)).collect::<Result<_, ConfigError>>()?;
        Ok((name.clone(), ClusterSettings { nodes, ..cluster(name, &values)? }))
    });
    Ok((resolved.collect::<Result<_, ConfigError>>()?, warning))
}

fn cluster(name: ClusterName, values: &BTreeMap<&'static str, Value>) -> Result<ClusterSettings, ConfigError> {
    let key = |short: &str| format!("cluster.{name}.{short}");
    let pgdata: Option<PathBuf> = match values.get("cluster.NAME.pgdata") {
        Some(value) => Some(checked(&key("pgdata"), value, absolute_path)?),
        None => None,
    };
    let system_identifier = match values.get("cluster.NAME.system_identifier") {
        Some(value) => Some(checked(&key("system_identifier"), value, system_identifier)?),
        None => None,
    };
    let conninfo = values.get("cluster.NAME.conninfo").map(|value| Conninfo::new(value.text.clone()));
    Ok(ClusterSettings { name, pgdata, conninfo, system_identifier, nodes: Vec::new() })
}

fn node(cluster: &ClusterName, content: &NodeContent) -> Result<NodeSettings, ConfigError> {
    let key = |short: &str| format!("cluster.{cluster}.node.{short}");
    let given = |short: &str| content.values.get(format!("cluster.NAME.node.{short}").as_str());
    let required = |short: &str| {
        given(short).ok_or_else(|| ConfigError::MissingKey { origin: content.origin.clone(), key: key(short) })
    };
    let word = |short: &str, value: &Value| checked(&key(short), value, node_word);
    Ok(NodeSettings {
        name: word("name", required("name")?)?,
        conninfo: Conninfo::new(required("conninfo")?.text.clone()),
        zone: given("zone").map(|zone| word("zone", zone)).transpose()?,
        priority: given("priority").map_or(Ok(0), |value| checked(&key("priority"), value, priority))?,
    })
}
