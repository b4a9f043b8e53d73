//! Tests of the whole way from sources to settings.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;

use super::load::load_on_host;
use super::settings::{NODE_SETTINGS, Place, SETTINGS};
use super::*;
use crate::error::{Classified as _, ErrorClass};
use crate::repository::ClusterName;

/// One host: files in a directory of the test's own, and no variable but those that were set.
struct Host {
    folder: TempDir,
    variables: Vec<(String, String)>,
    overrides: Overrides,
    file: ConfigurationFile,
    config: Option<PathBuf>,
    env_file: Option<PathBuf>,
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("home").to_str().unwrap().to_owned();
        Self {
            folder,
            variables: vec![("HOME".to_owned(), home)],
            overrides: Overrides::new(),
            file: ConfigurationFile::Read,
            config: None,
            env_file: None,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(self, name: &str, text: &str) -> Self {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    fn mode(self, name: &str, mode: u32) -> Self {
        std::fs::set_permissions(self.path(name), Permissions::from_mode(mode)).unwrap();
        self
    }

    fn variable(mut self, name: &str, value: impl AsRef<Path>) -> Self {
        self.variables.push((name.to_owned(), value.as_ref().to_str().unwrap().to_owned()));
        self
    }

    fn flag(mut self, key: &'static str, flag: &'static str, value: &str) -> Self {
        self.overrides.set(key, flag, Some(value));
        self
    }

    fn load(&self) -> Result<Configuration, ConfigError> {
        let options = LoadOptions {
            file: self.file,
            config: self.config.clone(),
            env_file: self.env_file.clone(),
            overrides: self.overrides.clone(),
            environment: self.variables.iter().cloned().collect(),
        };
        load_on_host(options, &self.path("etc/pgv.toml"))
    }

    fn message(&self) -> String {
        let error = self.load().unwrap_err();
        assert_ne!(error.class(), ErrorClass::NotFound, "pgv-fetch would say that the file is proven absent");
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        format!("{error}{cause}").replace(self.folder.path().to_str().unwrap(), "")
    }
}

fn name(text: &str) -> ClusterName {
    ClusterName::parse(text).unwrap()
}

const HOME_FILE: &str = "home/.config/pgv/pgv.toml";

#[test]
fn nothing_configured_is_no_error_until_something_is_asked_for() {
    let host = Host::new();
    let configuration = host.load().unwrap();
    assert_eq!(configuration.source(), None);
    assert_eq!(configuration.new_files(), [host.path("etc/pgv.toml"), host.path(HOME_FILE)]);
    assert_eq!(configuration.repo().unwrap_err().to_string(), "no repository is configured");
    assert_eq!(configuration.cluster().unwrap_err().to_string(), "no cluster is configured");
    assert_eq!(configuration.archive().timeout, Duration::from_secs(50));
    assert_eq!(configuration.fetch().timeout, Duration::from_secs(30));
    assert_eq!(configuration.fetch().stall_timeout, Duration::from_secs(60));
    assert_eq!(configuration.backup().checkpoint, CheckpointMode::Spread);
    assert!(configuration.warnings().is_empty());
}

#[test]
fn files_are_looked_for_in_order_and_not_merged() {
    let text = |label: &str| format!("[backup]\nlabel = \"{label}\"\n");
    let label = |host: &Host| host.load().unwrap().backup().label.clone().unwrap();
    let host = Host::new().write(HOME_FILE, &text("home"));
    assert_eq!(label(&host), "home");
    let host = host.write("etc/pgv.toml", &text("etc"));
    assert_eq!(label(&host), "etc");
    assert_eq!(host.load().unwrap().source(), Some(host.path("etc/pgv.toml").as_path()));
    let variable = host.path("variable.toml");
    let host = host.write("variable.toml", &text("variable")).variable("PGV_CONFIG", variable);
    assert_eq!(label(&host), "variable");
    let mut host = host.write("flag.toml", &text("flag"));
    host.config = Some(host.path("flag.toml"));
    assert_eq!(label(&host), "flag");
}

#[test]
fn a_command_for_the_server_is_told_what_it_would_not_find() {
    let options = |host: &Host| -> Vec<String> {
        let configuration = host.load().unwrap();
        let options = configuration.command_options().iter();
        let root = host.folder.path().to_str().unwrap();
        options.map(|(flag, value)| format!("{flag} {}", value.to_str().unwrap().replace(root, ""))).collect()
    };
    let host = Host::new();
    assert!(options(&host).is_empty());
    let text = "[[repo]]\nurl = \"/srv/one\"\n[cluster.main]\n";
    let host = host.write(HOME_FILE, text).write("pgv.env", "PGV_CLUSTER=main\n");
    assert_eq!(options(&host), ["--config /home/.config/pgv/pgv.toml"]);
    let mut host = host.flag("cluster", "--cluster", "main");
    assert_eq!(options(&host), ["--config /home/.config/pgv/pgv.toml", "--cluster main"]);
    host.overrides = Overrides::new();
    let path = host.path("pgv.env");
    let host = host.variable("PGV_ENV_FILE", path).variable("PGV_REPO", "/srv/two");
    let wanted = ["--config /home/.config/pgv/pgv.toml", "--env-file /pgv.env", "--repo /srv/two"];
    assert_eq!(options(&host), wanted);

    let host = Host::new().write("pgv.env", "PGV_CLUSTER=main\n");
    let in_file = format!("env_file = \"{}\"\n", host.path("pgv.env").display());
    assert_eq!(options(&host.write("etc/pgv.toml", &in_file)), ["--config /etc/pgv.toml"]);
}

#[test]
fn a_file_that_was_named_must_exist_unless_it_will_be_written() {
    let mut host = Host::new();
    host.config = Some(host.path("none.toml"));
    assert_eq!(host.message(), "configuration file \"/none.toml\" does not exist (option \"--config\")");
    host.file = ConfigurationFile::ReadIfPresent;
    assert_eq!(host.load().unwrap().new_files(), [host.path("none.toml")]);

    let host = Host::new().variable("PGV_CONFIG", "/nowhere/none.toml");
    assert_eq!(
        host.message(),
        "configuration file \"/nowhere/none.toml\" does not exist (environment variable \"PGV_CONFIG\")"
    );
    let mut host = Host::new().write("etc/pgv.toml", "env_file = \"/nowhere/pgv.env\"\n");
    assert!(
        host.message().starts_with("environment file \"/nowhere/pgv.env\" does not exist (\"/etc/pgv.toml\" line 1)")
    );
    // A relative path is one beside the file, wherever the program runs.
    let beside = Host::new().write("etc/pgv.toml", "env_file = \"pgv.env\"\n");
    assert!(beside.message().starts_with("environment file \"/etc/pgv.env\" does not exist"), "{}", beside.message());
    let beside = beside.write("etc/pgv.env", "PGV_LOG_FORMAT=nonsense\n");
    assert!(beside.message().contains("nonsense"), "{}", beside.message());
    host.env_file = Some(PathBuf::from("/nowhere/other.env"));
    assert_eq!(host.message(), "environment file \"/nowhere/other.env\" does not exist (option \"--env-file\")");
}

#[test]
fn a_directory_or_bytes_for_a_file_are_refused() {
    let mut host = Host::new().write("etc/pgv.toml/x", "");
    assert_eq!(host.message(), "configuration file \"/etc/pgv.toml\" is a directory, expected a regular file");
    host = Host::new();
    std::fs::create_dir(host.path("etc")).unwrap();
    std::fs::write(host.path("etc/pgv.toml"), b"\xff\xfe").unwrap();
    assert_eq!(host.message(), "\"/etc/pgv.toml\" is not UTF-8");
    std::fs::write(host.path("etc/pgv.toml"), vec![b'#'; (128 << 10) + 1]).unwrap();
    assert!(host.message().contains("could not read"), "{}", host.message());
}

#[test]
fn flags_go_before_variables_before_their_file_before_the_configuration() {
    let label = |host: &Host| host.load().unwrap().backup().label.clone();
    let host = Host::new().write("etc/pgv.toml", "[backup]\nlabel = \"toml\"\n");
    assert_eq!(label(&host).as_deref(), Some("toml"));
    let env_file = host.path("pgv.env");
    let host = host.write("pgv.env", "PGV_BACKUP_LABEL=file\n").variable("PGV_ENV_FILE", env_file);
    assert_eq!(label(&host).as_deref(), Some("file"));
    let host = host.variable("PGV_BACKUP_LABEL", "variable");
    assert_eq!(label(&host).as_deref(), Some("variable"));
    let host = host.flag("backup.label", "--label", "flag");
    assert_eq!(label(&host).as_deref(), Some("flag"));
}

#[test]
fn an_empty_variable_says_nothing() {
    let host = Host::new().write("etc/pgv.toml", "[backup]\nlabel = \"toml\"\n").variable("PGV_BACKUP_LABEL", "");
    assert_eq!(host.load().unwrap().backup().label.as_deref(), Some("toml"));
}

#[test]
fn the_file_of_variables_may_name_the_configuration_file_and_holds_those_of_libpq() {
    let host = Host::new().write("other.toml", "[backup]\nlabel = \"other\"\n");
    let text = format!("PGV_CONFIG={}\nPGHOST=db1\nPGUSER=file\nLANG=C\n", host.path("other.toml").display());
    let env_file = host.path("pgv.env");
    let host = host.write("pgv.env", &text).variable("PGV_ENV_FILE", env_file).variable("PGUSER", "process");
    let configuration = host.load().unwrap();
    assert_eq!(configuration.backup().label.as_deref(), Some("other"));
    assert_eq!(configuration.variable("PGHOST"), Some("db1"));
    assert_eq!(configuration.variable("PGUSER"), Some("process"));
    assert_eq!(configuration.variable("LANG"), None);
    assert!(configuration.warnings()[0].ends_with("pgv.env\" line 4: unknown variable \"LANG\""));
}

#[test]
fn an_unknown_variable_is_a_warning_that_names_the_nearest() {
    let host = Host::new().variable("PGV_REPPO", "/x").variable("PGV_SOMETHING_ELSE", "1");
    assert_eq!(
        host.load().unwrap().warnings(),
        [
            "unknown environment variable \"PGV_REPPO\", did you mean \"PGV_REPO\"?",
            "unknown environment variable \"PGV_SOMETHING_ELSE\"",
        ]
    );
}

#[test]
fn invalid_values_name_their_origin_and_what_is_expected() {
    for (host, expected) in [
        (
            Host::new().write("etc/pgv.toml", "\n[archive]\ntimeout = \"70s\"\n"),
            "\"/etc/pgv.toml\" line 3: invalid value \"70s\" for \"archive.timeout\": expected more than zero and less than 60 s",
        ),
        (
            Host::new().variable("PGV_BACKUP_CHECKPOINT", "slow"),
            "environment variable \"PGV_BACKUP_CHECKPOINT\": invalid value \"slow\" for \"backup.checkpoint\": expected one of spread, fast",
        ),
        (
            Host::new().flag("cluster", "--cluster", "a/b"),
            "option \"--cluster\": invalid value \"a/b\" for \"cluster\": expected at most 63 letters, digits, \"_\" or \"-\", beginning with a letter or digit; \"keys\" is reserved",
        ),
        (
            Host::new().write("etc/pgv.toml", "[cluster.main]\npgdata = \"data\"\n"),
            "\"/etc/pgv.toml\" line 2: invalid value \"data\" for \"cluster.main.pgdata\": expected an absolute path",
        ),
        (
            Host::new().flag("repo.url", "--repo", "s3://bucket"),
            "option \"--repo\": invalid value \"s3://bucket\" for \"repo.url\": not supported yet: repositories on \"s3\"",
        ),
        (
            Host::new().variable("PGV_REPO_ID", "xyz"),
            "environment variable \"PGV_REPO_ID\": invalid value \"xyz\" for \"repo.id\": expected 32 lower-case hexadecimal digits",
        ),
    ] {
        assert_eq!(host.message(), expected);
        assert_eq!(host.load().unwrap_err().class(), ErrorClass::Usage);
    }
}

#[test]
fn a_file_with_a_password_must_be_private() {
    let config = "[cluster.main]\nconninfo = \"host=db password=canary\"\n";
    for (mode, accepted) in [(0o600, true), (0o400, true), (0o640, false), (0o644, false)] {
        let host = Host::new().write("etc/pgv.toml", config).mode("etc/pgv.toml", mode);
        assert_eq!(host.load().is_ok(), accepted, "{mode:o}");
        for text in ["PGPASSWORD=canary\n", "PGV_CONNINFO=postgresql://u:canary@db/\n"] {
            let mut host = Host::new().write("pgv.env", text).mode("pgv.env", mode);
            host.env_file = Some(host.path("pgv.env"));
            match host.load() {
                Ok(configuration) => {
                    assert!(accepted, "{mode:o}");
                    assert!(!format!("{configuration:?}").contains("canary"), "Debug shows the password");
                }
                Err(_) => {
                    assert!(!accepted, "{mode:o}");
                    let expected = format!("\"/pgv.env\" holds a password and has mode {mode:04o}, expected 0600");
                    assert_eq!(host.message(), expected);
                }
            }
        }
    }
    let host =
        Host::new().write("etc/pgv.toml", "[cluster.main]\nconninfo = \"host=db\"\n").mode("etc/pgv.toml", 0o644);
    assert!(host.load().is_ok());
}

#[test]
fn clusters_are_chosen_by_name_or_because_there_is_one() {
    let one = "[cluster.main]\npgdata = \"/main\"\nsystem_identifier = \"7\"\n";
    let two = format!("{one}[cluster.other]\nsystem_identifier = 8\n");
    let host = Host::new().write("etc/pgv.toml", one);
    assert_eq!(host.load().unwrap().cluster().unwrap().pgdata, Some(PathBuf::from("/main")));

    let host = Host::new().write("etc/pgv.toml", &two);
    let configuration = host.load().unwrap();
    assert_eq!(
        configuration.cluster().unwrap_err().to_string(),
        "several clusters are configured and none was named: main, other"
    );
    let eight = configuration.clusters_by_system_identifier("8".parse().unwrap());
    assert_eq!(eight.iter().map(|cluster| &cluster.name).collect::<Vec<_>>(), [&name("other")]);
    assert!(configuration.clusters_by_system_identifier("9".parse().unwrap()).is_empty());

    let host = host.variable("PGV_CLUSTER", "other");
    assert_eq!(host.load().unwrap().cluster().unwrap().name, name("other"));
    let host = host.flag("cluster", "--cluster", "new");
    assert_eq!(host.load().unwrap().cluster().unwrap(), ClusterSettings::named(name("new")));
}

#[test]
fn repo_and_cluster_are_enough_without_a_file() {
    let host = Host::new().flag("repo.url", "--repo", "file:///srv/pgv").flag("cluster", "--cluster", "main");
    let configuration = host.load().unwrap();
    assert_eq!(configuration.repo().unwrap().path, Path::new("/srv/pgv"));
    assert_eq!(configuration.cluster().unwrap().name, name("main"));
}

#[test]
fn variables_speak_of_the_chosen_cluster() {
    let host = Host::new().variable("PGV_PGDATA", "/data").variable("PGV_CLUSTER", "main");
    assert_eq!(host.load().unwrap().cluster().unwrap().pgdata, Some(PathBuf::from("/data")));

    let host =
        Host::new().write("etc/pgv.toml", "[cluster.main]\npgdata = \"/toml\"\n").variable("PGV_PGDATA", "/data");
    assert_eq!(host.load().unwrap().cluster().unwrap().pgdata, Some(PathBuf::from("/data")));

    let host = Host::new().write("etc/pgv.toml", "[cluster.a]\n[cluster.b]\n").variable("PGV_PGDATA", "/data");
    let configuration = host.load().unwrap();
    assert_eq!(configuration.clusters()[&name("a")].pgdata, None);
    assert!(configuration.warnings()[0].starts_with("environment variable \"PGV_PGDATA\" is not used"));
}

#[test]
fn a_pinned_id_belongs_to_the_repository_of_its_file_alone() {
    const ID: &str = "00112233445566778899aabbccddeeff";
    let host = Host::new().write("etc/pgv.toml", &format!("[[repo]]\nurl = \"/srv/pgv\"\nid = \"{ID}\"\n"));
    let id = |host: &Host| host.load().unwrap().repo().unwrap().id.map(|id| id.to_string());
    assert_eq!(id(&host).as_deref(), Some(ID));
    let host = host.flag("repo.url", "--repo", "file:///srv/pgv/");
    assert_eq!(id(&host).as_deref(), Some(ID), "the same place, written differently");
    let host = host.flag("repo.url", "--repo", "/srv/other");
    assert_eq!(id(&host), None);
    let host = host.variable("PGV_REPO_ID", ID);
    assert_eq!(id(&host).as_deref(), Some(ID));
}

#[test]
fn without_files_nothing_of_them_can_fail() {
    let mut host = Host::new()
        .write("etc/pgv.toml", "broken")
        .variable("PGV_CONFIG", "/nowhere")
        .variable("PGV_ENV_FILE", "/nowhere")
        .variable("PGV_ARCHIVE_TIMEOUT", "broken")
        .variable("PGV_LOG_FORMAT", "json");
    host.file = ConfigurationFile::Ignore;
    host.config = Some(PathBuf::from("/nowhere"));
    assert_eq!(host.load().unwrap().log().format, LogFormat::Json);
}

#[test]
fn the_nodes_of_a_cluster_keep_their_order_and_are_checked() {
    let text = "[cluster.main]\nsystem_identifier = 7\n\
                [[cluster.main.node]]\nname = \"b\"\nconninfo = \"host=b\"\npriority = 2\n\
                [[cluster.main.node]]\nname = \"a\"\nconninfo = \"host=a\"\nzone = \"z1\"\n";
    let nodes = Host::new().write("etc/pgv.toml", text).load().unwrap().cluster().unwrap().nodes;
    let told: Vec<_> = nodes.iter().map(|node| (node.name.as_str(), node.conninfo.expose(), node.priority)).collect();
    assert_eq!(told, [("b", "host=b", 2), ("a", "host=a", 0)]);
    assert_eq!(nodes[1].zone.as_deref(), Some("z1"));

    let node = "[[cluster.main.node]]\nname = \"a\"\nconninfo = \"host=a\"\n";
    for (text, message) in [
        (
            "[cluster.main.node]\nname = \"a\"\n".to_owned(),
            "\"cluster.main.node\" is a table, expected a table written",
        ),
        ("[[cluster.main.node]]\nname = \"a\"\n".to_owned(), "line 1: \"cluster.main.node.conninfo\" is missing"),
        (format!("{node}zone = \"a b\"\n"), "line 4: invalid value \"a b\" for \"cluster.main.node.zone\""),
        (format!("{node}prority = 1\n"), "line 4: unknown key \"cluster.main.node.prority\""),
        (format!("{node}priority = -1\n"), "line 4: invalid value \"-1\" for \"cluster.main.node.priority\""),
        ("[cluster.main]\nnod = 1\n".to_owned(), "line 2: unknown key \"cluster.main.nod\""),
    ] {
        let found = Host::new().write("etc/pgv.toml", &text).message();
        assert!(found.contains(message), "{text}: {found}");
    }
    let secret = text.replace("host=a\"", "host=a password=x\"");
    let host = Host::new().write("etc/pgv.toml", &secret).mode("etc/pgv.toml", 0o644);
    assert!(host.message().contains("holds a password and has mode 0644"), "{}", host.message());
}

/// The sample with the settings that it shows as comments switched on.
fn uncommented(sample: &str) -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(rest) if (rest.contains('=') || rest.starts_with("[[")) && !rest.starts_with(' ') => rest.to_owned(),
        _ => line.to_owned(),
    };
    sample.lines().map(|text| line(text) + "\n").collect()
}

#[test]
fn the_sample_file_is_valid_and_shows_every_setting_with_its_default() {
    let sample = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/conf/pgv.toml")).unwrap();
    let configuration = Host::new().write("etc/pgv.toml", &sample).load().unwrap();
    assert_eq!(configuration.repo().unwrap().path, Path::new("/srv/pgv"));
    assert_eq!(configuration.cluster().unwrap().name, name("main"));

    let all = uncommented(&sample);
    let content = file::parse(Path::new("pgv.toml"), &all).unwrap();
    let cluster = &content.clusters[&name("main")];
    for setting in SETTINGS.iter().filter(|setting| setting.place != Place::Outside) {
        let value = content.values.get(setting.key).or_else(|| cluster.get(setting.key));
        let value = value.unwrap_or_else(|| panic!("conf/pgv.toml does not show {}", setting.key));
        if let Some(default) = setting.default {
            assert_eq!(value.text, default, "{}", setting.key);
        }
    }
    let [node] = content.nodes[&name("main")].as_slice() else { panic!("conf/pgv.toml shows one node") };
    for setting in NODE_SETTINGS {
        let value = node.values.get(setting.key);
        let value = value.unwrap_or_else(|| panic!("conf/pgv.toml does not show {}", setting.key));
        assert!(setting.default.is_none_or(|default| value.text == default), "{}", setting.key);
    }
    let without_env_file: String =
        all.lines().filter(|line| !line.starts_with("env_file")).map(|l| format!("{l}\n")).collect();
    Host::new().write("etc/pgv.toml", &without_env_file).load().unwrap();
}

#[test]
fn the_sample_file_of_variables_is_valid() {
    let sample = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/conf/pgv.env")).unwrap();
    // It names no cluster unless one is filled in.
    for (text, cluster) in [(sample.clone(), None), (uncommented(&sample), Some(name("main")))] {
        let mut host = Host::new().write("pgv.env", &text).mode("pgv.env", 0o600);
        host.env_file = Some(host.path("pgv.env"));
        let configuration = host.load().unwrap();
        assert!(configuration.warnings().is_empty(), "{:?}", configuration.warnings());
        assert_eq!(configuration.named_cluster(), cluster.as_ref());
        assert!(!configuration.is_cluster_option());
    }
}

fn text() -> impl Strategy<Value = String> {
    "[ -~é\\\\\"']{0,30}"
}

proptest! {
    #[test]
    fn a_new_file_parses_back_to_the_same(
        path in "/[ -~é]{1,30}", data in text(), conninfo in proptest::option::of(text()),
        id: [u8; 16], identifier in 1_u64..,
    ) {
        let new = NewConfiguration {
            repo_url: path,
            repo_id: Some(crate::codec::RepositoryId::from_bytes(id)),
            cluster: name("main-1"),
            pgdata: Some(PathBuf::from(format!("/{data}"))),
            conninfo,
            system_identifier: crate::pg::SystemIdentifier::new(identifier),
        };
        let content = file::parse(Path::new("pgv.toml"), &render_new(&new)).unwrap();
        let cluster = &content.clusters[&new.cluster];
        prop_assert_eq!(&content.values["repo.url"].text, &new.repo_url);
        prop_assert_eq!(&content.values["repo.id"].text, &new.repo_id.unwrap().to_string());
        prop_assert_eq!(Path::new(&cluster["cluster.NAME.pgdata"].text), new.pgdata.as_deref().unwrap());
        prop_assert_eq!(cluster.get("cluster.NAME.conninfo").map(|value| value.text.clone()), new.conninfo);
        prop_assert_eq!(&cluster["cluster.NAME.system_identifier"].text, &identifier.to_string());
    }
}
