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
    // A path that is no text cannot be said in TOML; a similar one would be another directory.
    let pgdata = new.pgdata.as_ref().and_then(|path| path.to_str());
    let cluster = [
        ("pgdata", pgdata.map(str::to_owned)),
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt as _;

    #[test]
    fn a_directory_whose_name_is_no_text_is_left_out() {
        let new = NewConfiguration {
            repo_url: "/srv/pgv".to_owned(),
            repo_id: None,
            cluster: ClusterName::parse("main").unwrap(),
            pgdata: Some(std::ffi::OsString::from_vec(b"/data/\xFF".to_vec()).into()),
            conninfo: None,
            system_identifier: None,
        };
        assert!(render_new(&new).ends_with("[cluster.main]\n"), "{}", render_new(&new));
    }
}
