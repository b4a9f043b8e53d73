//! The first configuration file of a host, as `pgv init` writes it.

use std::path::PathBuf;

use crate::codec::RepositoryId;
use crate::pg::SystemIdentifier;
use crate::repository::ClusterName;

/// What goes into a new configuration file.
#[derive(Debug, Clone)]
pub struct NewConfiguration {
    /// The repository's URL.
    pub repo_url: String,
    /// The repository's id, to be pinned.
    pub repo_id: Option<RepositoryId>,
    /// The cluster.
    pub cluster: ClusterName,
    /// Its data directory.
    pub pgdata: Option<PathBuf>,
    /// How to connect to its server.
    pub conninfo: Option<String>,
    /// Its system identifier.
    pub system_identifier: Option<SystemIdentifier>,
}

/// The text of a configuration file that says exactly this.
pub fn render_new(new: &NewConfiguration) -> String {
    let repo = [("url", Some(new.repo_url.clone())), ("id", new.repo_id.map(|id| id.to_string()))];
    let cluster = [
        ("pgdata", new.pgdata.as_ref().map(|path| path.to_string_lossy().into_owned())),
        ("conninfo", new.conninfo.clone()),
        ("system_identifier", new.system_identifier.map(|identifier| identifier.to_string())),
    ];
    format!(
        "# Written by pgv init. Every setting is described in docs/configuration.md.\n\n\
         [[repo]]\n{}\n[cluster.{}]\n{}",
        lines(repo),
        new.cluster,
        lines(cluster)
    )
}

fn lines<const N: usize>(values: [(&str, Option<String>); N]) -> String {
    let given = values.into_iter().filter_map(|(key, value)| Some((key, value?)));
    given.map(|(key, value)| format!("{key} = {}\n", quoted(&value))).collect()
}

/// A text as TOML reads it back.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
