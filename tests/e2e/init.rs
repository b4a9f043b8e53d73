//! `pgv init` with running servers: what it prints is what is missing, and enough.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Outcome, PgVersion, Pgv, TestAccount, TestCluster, TestFolder, run, run_within, wait_until};

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

struct Scene {
    pgv: Pgv,
    primary: TestCluster,
}

impl Scene {
    fn new(version: PgVersion, folder: &TestFolder) -> Self {
        Self::with(TestCluster::builder(version, folder).start(), folder)
    }

    fn with(primary: TestCluster, folder: &TestFolder) -> Self {
        Self { pgv: Pgv::new(folder), primary }
    }

    /// `pgv init` as that role.
    #[track_caller]
    fn init(&self, role: &str, options: &[&str]) -> Outcome {
        let repository = self.pgv.repository.display().to_string();
        let (host, port) = (self.primary.socket_folder.display().to_string(), self.primary.port.to_string());
        let server = ["init", "--repo", &repository, "-h", &host, "-p", &port, "-U", role, "-d", "postgres"];
        self.pgv.run("pgv", &[&server, options].concat()).success()
    }

    #[track_caller]
    fn report(&self, role: &str) -> Value {
        serde_json::from_str(&self.init(role, &["--output", "json"]).stdout).unwrap()
    }

    #[track_caller]
    fn restart(&mut self) {
        self.primary.stop();
        self.primary.start();
    }
}

fn findings(report: &Value) -> Vec<String> {
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or("-").to_owned();
    let findings = report["server"]["findings"].as_array().unwrap();
    findings.iter().map(|finding| format!("{} {}", text(finding, "what"), text(finding, "action"))).collect()
}

/// The indented lines below the heading that begins so, comments and all.
fn block(outcome: &Outcome, heading: &str) -> Vec<String> {
    let mut lines = outcome.stdout.lines().skip_while(|line| !line.starts_with(heading));
    assert!(lines.next().is_some(), "no {heading:?}\n{outcome}");
    let lines = lines.skip_while(|line| !line.starts_with("  "));
    lines.take_while(|line| line.starts_with("  ")).map(|line| line.trim().to_owned()).collect()
}

fn configuration_block(outcome: &Outcome, file: &Path) -> Vec<String> {
    block(outcome, &format!("Put into \"{}\"", file.display()))
}

#[test]
fn a_default_cluster_lacks_exactly_what_is_printed() {
    let folder = TestFolder::new("init-default");
    let mut scene = Scene::new(PgVersion::V15, &folder);
    let report = scene.report("postgres");
    assert_eq!(findings(&report), ["archive_mode restart", "archive_command reload", "archive_timeout reload"]);
    let file = scene.primary.data.join("postgresql.conf");
    for finding in report["server"]["findings"].as_array().unwrap() {
        assert_eq!(finding["file"], file.to_str().unwrap());
    }

    // The lines as they are printed, into the file that is named, and the restart that is asked for.
    let printed = scene.init("postgres", &[]);
    assert!(printed.stdout.contains("then restart the server"), "{printed}");
    let lines = configuration_block(&printed, &file);
    scene.primary.configure(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    // Written, and not in force yet: nothing is to be written again.
    let waiting = scene.report("postgres");
    assert_eq!(findings(&waiting), findings(&report));
    assert!(waiting["server"]["findings"].as_array().unwrap().iter().all(|finding| finding["line"].is_null()));
    let text = scene.init("postgres", &[]).stdout;
    assert!(!text.contains("Put into") && text.contains("archive_mode: the line stands in"), "{text}");
    scene.restart();
    assert_eq!(findings(&scene.report("postgres")), Vec::<String>::new());
    assert!(scene.init("postgres", &[]).stdout.contains("nothing is missing"));

    let segment = scene.primary.archive_all();
    let info = scene.pgv.run("pgv", &["info", "--output", "json"]).success();
    let info: Value = serde_json::from_str(&info.stdout).unwrap();
    let range = &info["clusters"][0]["trees"][0]["wal"][0]["ranges"][0];
    assert_eq!(
        (range["first"].as_str(), range["last"].as_str().unwrap() >= segment.as_str()),
        (Some("000000010000000000000001"), true)
    );
    // The same server writes what init announced: one writer.
    assert_eq!(info["clusters"][0]["writers"].as_array().unwrap().len(), 1);
}

#[test]
fn a_new_server_of_17_lacks_no_more_than_one_of_15() {
    let folder = TestFolder::new("init-17");
    let mut scene = Scene::new(PgVersion::V17, &folder);
    let report = scene.report("postgres");
    let lacks = ["archive_mode restart", "archive_command reload", "archive_timeout reload"];
    assert_eq!(findings(&report), [&lacks[..], &["summarize_wal reload"]].concat());
    let summaries = &report["server"]["findings"][3];
    let file = scene.primary.data.join("postgresql.conf");
    for (key, value) in [("need", "optional"), ("line", "summarize_wal = on"), ("file", file.to_str().unwrap())] {
        assert_eq!(summaries[key], value, "{summaries:#}");
    }

    // Whoever copies the lines that are needed does not take it along, and nothing is missing without it.
    let printed = scene.init("postgres", &[]);
    let lines = configuration_block(&printed, &file);
    assert!(!lines.iter().any(|line| line.contains("summarize_wal")), "{printed}");
    scene.primary.configure(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    scene.restart();
    let printed = scene.init("postgres", &[]);
    assert!(printed.stdout.contains("nothing is missing"), "{printed}");
    let lines = block(&printed, &format!("If you like, put into \"{}\", then reload", file.display()));
    assert_eq!(lines.last().unwrap(), "summarize_wal = on", "{printed}");
    scene.primary.configure(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    scene.primary.reload();
    wait_until("the line is in force", PATIENCE, || findings(&scene.report("postgres")).is_empty());
}

#[test]
fn the_last_word_of_alter_system_is_answered_in_sql() {
    let folder = TestFolder::new("init-alter");
    let builder = TestCluster::builder(PgVersion::V15, &folder).line("archive_mode = on").line("archive_timeout = 60");
    let mut scene = Scene::with(builder.start(), &folder);
    scene.primary.query("ALTER SYSTEM SET archive_command = 'cp %p /nowhere/it''s/%f'");
    scene.primary.query("ALTER SYSTEM SET wal_level = minimal");
    scene.primary.reload();
    let report = scene.report("postgres");
    assert_eq!(findings(&report), ["wal_level restart", "archive_command reload"]);
    let auto = scene.primary.data.join("postgresql.auto.conf");
    assert_eq!(report["server"]["findings"][1]["file"], auto.to_str().unwrap());
    let printed = scene.init("postgres", &[]);
    for line in block(&printed, "Run in SQL") {
        scene.primary.query(&line);
    }
    scene.restart();
    assert_eq!(findings(&scene.report("postgres")), Vec::<String>::new());
    scene.primary.archive_all();
}

#[test]
fn an_option_of_the_start_command_is_told_from_a_line() {
    let folder = TestFolder::new("init-option");
    let mut primary = TestCluster::builder(PgVersion::V15, &folder).archive_command("pgv-archive %p").create();
    primary.start_with(&["archive_mode=off"]);
    let scene = Scene::with(primary, &folder);
    let report = scene.report("postgres");
    assert!(findings(&report).contains(&"archive_mode start_option".to_owned()), "{report:#}");
}

#[test]
fn the_proposed_role_can_do_all_that_is_checked() {
    let folder = TestFolder::new("init-role");
    let scene = Scene::new(PgVersion::V15, &folder);
    let printed = scene.init("postgres", &[]);
    let statements = block(&printed, "Role \"postgres\" is a superuser");
    assert_eq!(statements[0], "CREATE ROLE pgv LOGIN REPLICATION;");
    // The second time only what is missing: the role is good enough.
    let again = scene.init("postgres", &[]);
    assert!(!again.stdout.contains("CREATE ROLE"), "{again}");
    assert!(again.stdout.contains("Backups run as the superuser \"postgres\""), "{again}");
    assert_eq!(scene.report("postgres")["server"]["role_sql"][0], statements[0]);
    for statement in statements {
        scene.primary.query(&statement);
    }
    let report = scene.report("pgv");
    assert_eq!(report["server"]["role"], "pgv");
    let is_right = |finding: &String| finding.starts_with("role") || finding.starts_with("replication");
    assert!(!findings(&report).iter().any(is_right), "{report:#}");
    assert_eq!(report["server"]["role_sql"], Value::Array(Vec::new()));
    // Once it exists, a superuser is not told again.
    assert_eq!(scene.report("postgres")["server"]["role_sql"], Value::Array(Vec::new()));
}

#[test]
fn a_role_without_rights_is_told_the_sql_for_each() {
    let folder = TestFolder::new("init-rights");
    let scene = Scene::new(PgVersion::V15, &folder);
    scene.init("postgres", &[]);
    scene.primary.query("CREATE ROLE \"back-up\" LOGIN");
    let printed = scene.init("back-up", &[]);
    // It may not even see in which file the lines belong.
    assert!(printed.stdout.contains("Put into postgresql.conf (its place is not shown to this role)"), "{printed}");
    let statements = block(&printed, "Run in SQL");
    let optional = block(&printed, "If you like, run in SQL");
    assert!(statements.len() >= 3 && !optional.is_empty(), "{printed}");
    for statement in statements.into_iter().chain(optional) {
        scene.primary.query(&statement);
    }
    let report = scene.report("back-up");
    assert!(!findings(&report).iter().any(|finding| finding.starts_with("role")), "{report:#}");
    assert_eq!(report["server"]["findings"][0]["file"], scene.primary.data.join("postgresql.conf").to_str().unwrap());
}

#[test]
fn a_replication_connection_that_is_refused_names_the_line_of_pg_hba() {
    let folder = TestFolder::new("init-hba");
    let mut scene = Scene::new(PgVersion::V15, &folder);
    let hba = scene.primary.data.join("pg_hba.conf");
    let text = "local all all trust\nlocal replication postgres reject\n";
    folder.write("primary/pg_hba.conf", text);
    scene.primary.reload();
    wait_until("the refusal is seen", PATIENCE, || {
        findings(&scene.report("postgres")).contains(&"replication connection reload".to_owned())
    });
    let printed = scene.init("postgres", &[]);
    assert_eq!(
        configuration_block(&printed, &hba).last().map(String::as_str),
        Some("local replication \"postgres\" scram-sha-256")
    );
    scene.primary.stop();
}

/// A cluster as Debian makes it: configuration in a directory of its own.
struct DebianCluster {
    etc: PathBuf,
    primary: TestCluster,
}

fn debian_cluster(folder: &TestFolder) -> DebianCluster {
    let (etc, data) = (folder.join("etc"), folder.join("data"));
    folder.make("etc");
    let mut create = TestAccount::get().command("pg_createcluster");
    create.env_clear().env("PATH", "/usr/bin:/bin").env("PG_CLUSTER_CONF_ROOT", &etc).current_dir("/");
    create.args(["15", "main", "-D"]).arg(&data).arg("-s").arg(folder.make("run")).arg("-l").arg(folder.join("log"));
    create.args(["--", "--auth=trust", "--username=postgres"]);
    run_within(PATIENCE * 2, create).success();
    let etc = etc.join("15/main");
    let mut primary = TestCluster::at(PgVersion::V15, folder, "debian", &data);
    primary.start_with(&[&format!("config_file={}", etc.join("postgresql.conf").display())]);
    DebianCluster { etc, primary }
}

#[test]
fn on_debian_the_lines_belong_below_etc() {
    let folder = TestFolder::new("init-debian");
    let DebianCluster { etc, primary } = debian_cluster(&folder);
    let mut scene = Scene::with(primary, &folder);
    let config = etc.join("postgresql.conf");
    let printed = scene.init("postgres", &[]);
    let lines = configuration_block(&printed, &config);
    assert!(lines.contains(&"archive_mode = on".to_owned()), "{printed}");
    // Files outside the data directory are offered to be read, at a price that is said.
    assert!(printed.stdout.contains("-- optional: it stores the configuration files"), "{printed}");

    // Debian's own place for additions, which the server reads last.
    folder.write("pgv.conf", lines.join("\n") + "\n");
    let target = etc.join("conf.d/pgv.conf");
    let mut copy = TestAccount::get().command("cp");
    copy.arg(folder.join("pgv.conf")).arg(&target);
    run(copy).success();
    scene.primary.stop();
    scene.primary.start_with(&[&format!("config_file={}", config.display())]);
    let report = scene.report("postgres");
    assert!(!findings(&report).iter().any(|finding| finding.starts_with("archive")), "{report:#}");
    scene.primary.archive_all();
    // From now on that file has the last word.
    folder.write("pgv.conf", "archive_mode = on\narchive_command = 'cp %p /nowhere'\n");
    let mut copy = TestAccount::get().command("cp");
    copy.arg(folder.join("pgv.conf")).arg(&target);
    run(copy).success();
    let report = scene.report("postgres");
    let command =
        report["server"]["findings"].as_array().unwrap().iter().find(|finding| finding["what"] == "archive_command");
    assert_eq!(command.unwrap()["file"], target.to_str().unwrap());
}
