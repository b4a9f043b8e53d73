//! Every setting there is: the one table that files, variables, the sample and the documentation are held against.

/// Where a setting stands in pgv.toml.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nowhere: only variables and flags.
    Outside,
    /// Before the first table.
    Top,
    /// In `[[repo]]`.
    Repo,
    /// In `[cluster.NAME]`.
    Cluster,
    /// In `[[cluster.NAME.node]]`, which no variable sets.
    Node,
    /// In the table of that name.
    Section(&'static str),
}

/// How a setting is written in pgv.toml.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Quoted.
    Text,
    /// A number; quoted is accepted too.
    Number,
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    /// Its name everywhere: table, dot, key.
    pub(crate) key: &'static str,
    pub(crate) variable: &'static str,
    pub(crate) place: Place,
    pub(crate) form: Form,
    /// As it would be written; `None` when there is none.
    pub(crate) default: Option<&'static str>,
    /// What it decides, for the documentation.
    pub(crate) meaning: &'static str,
}

impl Setting {
    /// The key as it is written inside its table.
    pub(crate) fn short_key(&self) -> &'static str {
        self.key.rsplit('.').next().unwrap_or(self.key)
    }
}

macro_rules! setting {
    ($key:literal, $variable:literal, $place:expr, $form:ident, $default:expr, $meaning:literal) => {
        Setting {
            key: $key,
            variable: $variable,
            place: $place,
            form: Form::$form,
            default: $default,
            meaning: $meaning,
        }
    };
}

const ARCHIVE: Place = Place::Section("archive");
const FETCH: Place = Place::Section("fetch");
const BACKUP: Place = Place::Section("backup");
const CHECK: Place = Place::Section("check");
const RESTORE: Place = Place::Section("restore");
const RETENTION: Place = Place::Section("retention");
const LOG: Place = Place::Section("log");

/// The settings, in the order of the documentation.
pub(crate) const SETTINGS: &[Setting] = &[
    setting!("config", "PGV_CONFIG", Place::Outside, Text, None, "the configuration file"),
    setting!("env_file", "PGV_ENV_FILE", Place::Top, Text, None, "a file of variables, one NAME=VALUE a line"),
    setting!("repo.url", "PGV_REPO", Place::Repo, Text, None, "the repository: an absolute path or file:// URL"),
    setting!(
        "repo.id",
        "PGV_REPO_ID",
        Place::Repo,
        Text,
        None,
        "the repository's id; another one found there is refused"
    ),
    setting!(
        "cluster",
        "PGV_CLUSTER",
        Place::Outside,
        Text,
        None,
        "the cluster to work on, when several are configured"
    ),
    setting!("cluster.NAME.pgdata", "PGV_PGDATA", Place::Cluster, Text, None, "the data directory on this host"),
    setting!(
        "cluster.NAME.conninfo",
        "PGV_CONNINFO",
        Place::Cluster,
        Text,
        None,
        "how to connect to the server: a connection string or URI"
    ),
    setting!(
        "cluster.NAME.system_identifier",
        "PGV_SYSTEM_IDENTIFIER",
        Place::Cluster,
        Number,
        None,
        "the cluster's system identifier, by which pgv-archive and pgv-fetch find it"
    ),
    setting!(
        "archive.timeout",
        "PGV_ARCHIVE_TIMEOUT",
        ARCHIVE,
        Text,
        Some("50s"),
        "how long pgv-archive tries before it gives up; less than 60 s"
    ),
    setting!(
        "archive.compression_level",
        "PGV_ARCHIVE_COMPRESSION_LEVEL",
        ARCHIVE,
        Number,
        Some("1"),
        "zstd level of WAL, 1 to 19"
    ),
    setting!(
        "fetch.timeout",
        "PGV_FETCH_TIMEOUT",
        FETCH,
        Text,
        Some("30s"),
        "how long pgv-fetch tries again what may pass, such as a repository that does not answer"
    ),
    setting!(
        "fetch.stall_timeout",
        "PGV_FETCH_STALL_TIMEOUT",
        FETCH,
        Text,
        Some("60s"),
        "how long nothing may move, in the repository or at the destination, before pgv-fetch gives up"
    ),
    setting!(
        "backup.checkpoint",
        "PGV_BACKUP_CHECKPOINT",
        BACKUP,
        Text,
        Some("spread"),
        "how the server makes the checkpoint that a backup starts from: spread or fast"
    ),
    setting!(
        "backup.method",
        "PGV_BACKUP_METHOD",
        BACKUP,
        Text,
        Some("auto"),
        "how a backup reads the files: direct, in the data directory on this host; stream, sent by the server; or auto"
    ),
    setting!(
        "backup.max_rate",
        "PGV_BACKUP_MAX_RATE",
        BACKUP,
        Text,
        None,
        "most bytes a second to read or to ask the server for, 32 KiB to 1 GiB"
    ),
    setting!(
        "backup.archive_timeout",
        "PGV_BACKUP_ARCHIVE_TIMEOUT",
        BACKUP,
        Text,
        Some("60s"),
        "how long a backup waits for WAL, counted from the last one that arrived; of a standby at least 5 minutes"
    ),
    setting!(
        "backup.compression_level",
        "PGV_BACKUP_COMPRESSION_LEVEL",
        BACKUP,
        Number,
        Some("1"),
        "zstd level of backups, 1 to 19"
    ),
    setting!(
        "backup.jobs",
        "PGV_BACKUP_JOBS",
        BACKUP,
        Number,
        None,
        "workers that compress, and read in a direct backup, 1 to 256, of which at most 64 work; one for each processor when absent"
    ),
    setting!(
        "backup.nice",
        "PGV_BACKUP_NICE",
        BACKUP,
        Number,
        Some("0"),
        "how much a backup stands back behind other programs of this host, 0 to 19"
    ),
    setting!("backup.label", "PGV_BACKUP_LABEL", BACKUP, Text, None, "the label of backups"),
    setting!(
        "check.backup_warning",
        "PGV_CHECK_BACKUP_WARNING",
        CHECK,
        Text,
        Some("8d"),
        "age of the last good backup from which on pgv check warns"
    ),
    setting!(
        "check.backup_critical",
        "PGV_CHECK_BACKUP_CRITICAL",
        CHECK,
        Text,
        Some("15d"),
        "age of the last good backup from which on pgv check calls it critical"
    ),
    setting!(
        "check.archive_timeout",
        "PGV_CHECK_ARCHIVE_TIMEOUT",
        CHECK,
        Text,
        Some("60s"),
        "how long pgv check waits for a segment to arrive in the archive"
    ),
    setting!(
        "check.stall_timeout",
        "PGV_CHECK_STALL_TIMEOUT",
        CHECK,
        Text,
        Some("30s"),
        "how long the server or the repository may leave a question of pgv check without an answer"
    ),
    setting!(
        "restore.tablespace_dir",
        "PGV_RESTORE_TABLESPACE_DIR",
        RESTORE,
        Text,
        None,
        "a directory below which tablespaces are restored unless they are mapped"
    ),
    setting!(
        "restore.pg_bindir",
        "PGV_RESTORE_PG_BINDIR",
        RESTORE,
        Text,
        None,
        "the directory of the server's programs, for pgv-restore --start"
    ),
    setting!(
        "retention.keep",
        "PGV_RETENTION_KEEP",
        RETENTION,
        Number,
        None,
        "how many good backups pgv expire keeps, the newest; from 1"
    ),
    setting!(
        "retention.keep_days",
        "PGV_RETENTION_KEEP_DAYS",
        RETENTION,
        Number,
        None,
        "of how many days every moment stays reachable"
    ),
    setting!(
        "retention.wal_days",
        "PGV_RETENTION_WAL_DAYS",
        RETENTION,
        Number,
        None,
        "WAL of so many days stays even when no backup needs it"
    ),
    setting!(
        "retention.grace",
        "PGV_RETENTION_GRACE",
        RETENTION,
        Text,
        None,
        "how long a backup that no rule keeps stays all the same; it goes at once when absent"
    ),
    setting!(
        "log.level",
        "PGV_LOG_LEVEL",
        LOG,
        Text,
        None,
        "error, warn, info, debug or trace; info when absent, warn for pgv-archive"
    ),
    setting!("log.format", "PGV_LOG_FORMAT", LOG, Text, Some("text"), "text, or json for one object a line"),
];

macro_rules! node_setting {
    ($key:literal, $form:ident, $default:expr, $meaning:literal) => {
        setting!($key, "", Place::Node, $form, $default, $meaning)
    };
}

/// The settings of each node of a cluster, in the order of the documentation.
pub(crate) const NODE_SETTINGS: &[Setting] = &[
    node_setting!("cluster.NAME.node.name", Text, None, "what the node is called; required"),
    node_setting!(
        "cluster.NAME.node.conninfo",
        Text,
        None,
        "how to connect to it: a connection string or URI with one host; required"
    ),
    node_setting!("cluster.NAME.node.zone", Text, None, "where it stands, for --prefer-zone"),
    node_setting!(
        "cluster.NAME.node.priority",
        Number,
        Some("0"),
        "of several with the same lag the one with the highest is chosen"
    ),
];

/// The setting of that key.
pub(super) fn setting(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

/// What the setting of that key decides; the key may name a cluster.
pub(crate) fn meaning_of(key: &str) -> Option<&'static str> {
    let of_cluster = key.strip_prefix("cluster.").and_then(|rest| rest.split_once('.'));
    let key = of_cluster.map_or_else(|| key.to_owned(), |(_, short)| format!("cluster.NAME.{short}"));
    let of_node = NODE_SETTINGS.iter().find(|setting| setting.key == key);
    setting(&key).or(of_node).map(|setting| setting.meaning)
}

/// The setting of that variable.
pub(super) fn of_variable(variable: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.variable == variable)
}

/// The settings that stand in a place.
pub(super) fn in_place(place: Place) -> impl Iterator<Item = &'static Setting> + Clone {
    SETTINGS.iter().chain(NODE_SETTINGS).filter(move |setting| setting.place == place)
}

/// The tables that pgv.toml can have, beside `[[repo]]` and `[cluster.NAME]`.
pub(super) fn sections() -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    for setting in SETTINGS {
        if let Place::Section(name) = setting.place
            && !names.contains(&name)
        {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn keys_and_variables_are_unique_and_follow_one_rule() {
        let keys: BTreeSet<_> = SETTINGS.iter().map(|setting| setting.key).collect();
        let variables: BTreeSet<_> = SETTINGS.iter().map(|setting| setting.variable).collect();
        assert_eq!((keys.len(), variables.len()), (SETTINGS.len(), SETTINGS.len()));
        for setting in SETTINGS {
            let plain = setting.key.replace("cluster.NAME.", "").replace("repo.url", "repo").replace('.', "_");
            assert_eq!(setting.variable, format!("PGV_{}", plain.to_uppercase()));
        }
    }

    #[test]
    fn the_documentation_has_a_row_for_each_setting() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
        let document = std::fs::read_to_string(path).unwrap();
        let rows: Vec<&str> = document.lines().filter(|line| line.starts_with("| `PGV_")).collect();
        let expected: Vec<String> = SETTINGS
            .iter()
            .map(|setting| {
                let key = if setting.place == Place::Outside { "" } else { setting.key };
                let key = if key.is_empty() { String::new() } else { format!("`{key}`") };
                let default = setting.default.map(|text| format!("`{text}`")).unwrap_or_default();
                format!("| `{}` | {key} | {default} | {} |", setting.variable, setting.meaning)
            })
            .collect();
        assert_eq!(rows, expected, "docs/configuration.md should have exactly these rows:\n{}", expected.join("\n"));
        let rows: Vec<&str> = document.lines().filter(|line| line.starts_with("| `cluster.NAME.node.")).collect();
        let row = |setting: &Setting| {
            let default = setting.default.map(|text| format!("`{text}`")).unwrap_or_default();
            format!("| `{}` | {default} | {} |", setting.key, setting.meaning)
        };
        let expected: Vec<String> = NODE_SETTINGS.iter().map(row).collect();
        assert_eq!(rows, expected, "docs/configuration.md should have exactly these rows:\n{}", expected.join("\n"));
    }
}
