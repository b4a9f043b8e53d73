//! Passwords as canaries: whichever way one comes, it is in no output at any level of detail, in no message about a
//! failure, in no argument or variable of a process that is started, in no object of the repository, and in no file but
//! those that must hold it, which are for their owner alone.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::support::crash::{processes_started_by, tree_of};
use crate::support::{Ledger, Outcome, PgVersion, Pgv, Site, TestAccount, TestCluster, TestFolder, run, run_within};

const VERSION: PgVersion = PgVersion::V15;
const LIMIT: Duration = Duration::from_secs(60);

/// A way for a password to come to a program.
struct Way {
    /// Also the name of its role.
    name: &'static str,
    options: Vec<String>,
    variables: Vec<(&'static str, String)>,
    config: PathBuf,
}

struct Scene {
    site: Site,
    /// Files that were written by the test and hold a password.
    given: BTreeSet<PathBuf>,
    folder: TestFolder,
}

fn canary_of(way: &str, is_right: bool) -> String {
    format!("{}-canary-{way}-Zq7", if is_right { "right" } else { "wrong" })
}

/// What begins every canary's middle: one that is cut off is found, too.
const MARK: &str = "-canary-";

#[track_caller]
fn assert_silent(outcome: &Outcome, started: &str) {
    for (what, text) in [("stdout", &outcome.stdout), ("stderr", &outcome.stderr)] {
        let line = text.lines().find(|line| line.contains(MARK));
        assert!(line.is_none(), "{what} says {line:?}\ncommand: {}", outcome.line);
    }
    let line = started.lines().find(|line| line.contains(MARK));
    assert!(line.is_none(), "a process was started with {line:?}\ncommand: {}", outcome.line);
}

impl Scene {
    fn new(name: &str) -> Self {
        Self::with(name, "--data-checksums")
    }

    fn with(name: &str, initdb: &str) -> Self {
        let folder = TestFolder::in_memory(name);
        let builder = TestCluster::builder(VERSION, &folder).initdb("--wal-segsize=1").initdb(initdb);
        let site = Site::of(builder, &folder);
        folder.write(
            "primary/pg_hba.conf",
            "local all all trust\nlocal replication all trust\nhost all all 127.0.0.1/32 scram-sha-256\n\
             host replication all 127.0.0.1/32 scram-sha-256\n",
        );
        site.primary.reload();
        Self { site, given: BTreeSet::new(), folder }
    }

    fn create_role(&self, name: &str) {
        let password = canary_of(name, true);
        self.site.primary.query(&format!("CREATE ROLE {name} SUPERUSER LOGIN PASSWORD '{password}'"));
    }

    fn secret_file(&mut self, name: &str, content: String) -> String {
        let path = self.folder.write(name, content);
        self.given.insert(path.clone());
        path.display().to_string()
    }

    /// Every way, with the right password or a wrong one.
    fn ways(&mut self, is_right: bool) -> Vec<Way> {
        let port = self.site.primary.port;
        let place = |role: &str| format!("host=127.0.0.1 port={port} user={role} dbname=postgres");
        // What the file says of the connection would go before what a service says.
        let text = fs::read_to_string(&self.site.pgv.config).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with("conninfo = ")).map(|line| format!("{line}\n"));
        let base: String = lines.collect();
        let plain = self.folder.write("plain.toml", &base);
        let way = |name: &'static str| Way { name, options: vec![], variables: vec![], config: plain.clone() };
        let password = |name: &str| canary_of(name, is_right);
        let connect = |conninfo: String| vec!["-d".to_owned(), conninfo];
        let end = if is_right { "right" } else { "wrong" };

        let mut ways = Vec::new();
        ways.push(Way {
            options: connect(place("variable")),
            variables: vec![("PGPASSWORD", password("variable"))],
            ..way("variable")
        });
        let passfile = self.secret_file(&format!("pgpass.{end}"), format!("*:*:*:passfile:{}\n", password("passfile")));
        ways.push(Way {
            options: connect(place("passfile")),
            variables: vec![("PGPASSFILE", passfile)],
            ..way("passfile")
        });
        let home = self.folder.make(format!("home.{end}")).display().to_string();
        self.secret_file(&format!("home.{end}/.pgpass"), format!("*:*:*:home:{}\n", password("home")));
        ways.push(Way { options: connect(place("home")), variables: vec![("HOME", home)], ..way("home") });
        let conninfo = format!("{} password={}", place("conninfo"), password("conninfo"));
        ways.push(Way { options: connect(conninfo), ..way("conninfo") });
        let uri = format!("postgresql://uri:{}@127.0.0.1:{port}/postgres", password("uri"));
        ways.push(Way { options: connect(uri), ..way("uri") });
        let parameter =
            format!("postgres://127.0.0.1:{port}/postgres?user=parameter&password={}", password("parameter"));
        ways.push(Way { options: connect(parameter), ..way("parameter") });
        let text = format!(
            "[canary]\nhost=127.0.0.1\nport={port}\nuser=service\ndbname=postgres\npassword={}\n",
            password("service")
        );
        let service = self.secret_file(&format!("service.{end}"), text);
        ways.push(Way {
            options: connect("service=canary".to_owned()),
            variables: vec![("PGSERVICEFILE", service)],
            ..way("service")
        });
        let conninfo = format!("conninfo = \"{} password={}\"\n", place("file"), password("file"));
        let text = format!("{base}{conninfo}");
        let config = PathBuf::from(self.secret_file(&format!("file.{end}.toml"), text));
        ways.push(Way { config, ..way("file") });
        for (name, line) in [("envfile", "PGPASSWORD="), ("envconninfo", "PGV_CONNINFO=")] {
            let value = match name {
                "envfile" => password(name),
                _ => format!("\"{} password={}\"", place(name), password(name)),
            };
            let variables = self.secret_file(&format!("{name}.{end}"), format!("{line}{value}\n"));
            let mut options = vec!["--env-file".to_owned(), variables];
            if name == "envfile" {
                options.extend(connect(place(name)));
            }
            ways.push(Way { options, ..way(name) });
        }
        ways
    }

    /// Runs a program with everything it would ever say, and looks for canaries.
    #[track_caller]
    fn call(&self, way: &Way, name: &str, arguments: &[&str], is_json: bool) -> Outcome {
        let pgv = Pgv { config: way.config.clone(), repository: self.site.pgv.repository.clone() };
        let connects =
            ["pgv-basebackup", "init", "check"].iter().any(|verb| name == *verb || arguments.first() == Some(verb));
        let options = if connects { way.options.clone() } else { without_connection(&way.options) };
        let mut arguments: Vec<&str> = arguments.iter().copied().chain(options.iter().map(String::as_str)).collect();
        arguments.extend(["--log-level", "trace"]);
        if is_json {
            arguments.extend(["--log-format", "json"]);
        }
        let mut command = pgv.command(name, &arguments);
        command.envs(way.variables.iter().map(|(name, value)| (*name, value.as_str())));
        command.env("HOME", "/nonexistent").env("PATH", "/usr/bin:/bin");
        if let Some((_, home)) = way.variables.iter().find(|(name, _)| *name == "HOME") {
            command.env("HOME", home);
        }
        let (outcome, started) = processes_started_by(&self.folder, &command);
        assert_silent(&outcome, &started);
        outcome
    }

    /// No file holds a canary but those that the test wrote and `more`, and those are private.
    fn assert_files(&self, more: &[PathBuf]) {
        let mut holders = 0;
        for (path, (mode, content)) in tree_of(self.folder.path()) {
            let path = self.folder.join(path);
            let plain = zstd::decode_all(content.as_slice()).unwrap_or(content);
            if !plain.windows(MARK.len()).any(|window| window == MARK.as_bytes()) {
                continue;
            }
            holders += 1;
            assert!(self.given.contains(&path) || more.contains(&path), "{path:?} holds a password");
            assert_eq!(mode & 0o077, 0, "{path:?} has mode {mode:o}");
        }
        assert!(holders >= self.given.len(), "{holders} files hold a password: the search does not work");
    }
}

fn without_connection(options: &[String]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut rest = options.iter();
    while let Some(option) = rest.next() {
        if option == "-d" {
            rest.next();
        } else {
            kept.push(option.clone());
        }
    }
    kept
}

#[test]
fn a_password_is_nowhere_but_in_the_file_that_holds_it() {
    let mut scene = Scene::new("canaries");
    let (right, wrong) = (scene.ways(true), scene.ways(false));
    let mut ledger = Ledger::create(&scene.site.primary);
    ledger.commit_many(&scene.site.primary, 2);
    for (number, way) in right.iter().enumerate() {
        scene.create_role(way.name);
        let is_json = number % 2 == 0;
        let output = if is_json { "json" } else { "text" };
        scene.call(way, "pgv-basebackup", &["--checkpoint", "fast", "--output", output], is_json).success();
        let failed = scene.call(way, "pgv-basebackup", &["--checkpoint", "fast", "--cluster", "none"], !is_json);
        assert!(!failed.status.success(), "{failed}");
    }
    let is_chosen = |way: &&Way| ["variable", "passfile", "uri", "file", "envfile"].contains(&way.name);
    // Those that came later; the metrics are for everybody to read, so the search below looks at them, too.
    let metrics = scene.folder.join("pgv.prom");
    let metrics_name = metrics.display().to_string();
    let newest = scene.site.backups().pop().unwrap();
    scene.site.primary.archive_all();
    for (number, way) in right.iter().filter(is_chosen).enumerate() {
        let is_json = number % 2 == 0;
        let output = if is_json { "json" } else { "text" };
        let check = ["check", "--no-switch", "--metrics", &metrics_name, "--output", "json"];
        let checked = scene.call(way, "pgv", &check, is_json);
        let answer: Value = serde_json::from_str(&checked.stdout).unwrap();
        let lines = answer["checks"].as_array().unwrap();
        let server = lines.iter().find(|line| line["check"] == "server").unwrap();
        assert_eq!(server["state"], "ok", "the password let nobody in\n{checked}");
        scene.call(way, "pgv", &["check", "--nagios", "--no-switch"], !is_json);
        let direct = ["--method", "direct", "--checkpoint", "fast", "--output", output];
        scene.call(way, "pgv-basebackup", &direct, is_json).success();
        scene.call(way, "pgv", &["pin", &newest, "--reason", "for the auditors"], is_json).success();
        scene.call(way, "pgv", &["expire", "--keep", "2", "--allow-many", "--output", output], is_json).success();
        scene.call(way, "pgv", &["unpin", &newest], !is_json).success();
    }
    scene.call(&right[0], "pgv", &["expire", "--keep", "2", "--apply", "--allow-many"], false).success();
    assert_eq!(fs::metadata(&metrics).unwrap().permissions().mode() & 0o777, 0o644);
    for (number, way) in wrong.iter().filter(is_chosen).enumerate() {
        let failed = scene.call(way, "pgv-basebackup", &["--checkpoint", "fast"], number % 2 == 0).expect_code(4);
        failed.expect_stderr("password authentication failed");
        let check = ["check", "--no-switch", "--metrics", &metrics_name];
        let failed = scene.call(way, "pgv", &check, number % 2 == 0).expect_code(1);
        assert!(failed.stdout.contains("password authentication failed"), "{failed}");
    }
    scene.site.primary.archive_all();
    scene.assert_files(&[]);
}

/// Those that connect to no server read the same files and variables.
#[test]
fn programs_that_need_no_password_say_none() {
    let mut scene = Scene::new("canaries-others");
    let (_, middle) = scene.site.with_history();
    let ways = scene.ways(true);
    let (data, copy) = (scene.site.primary.data.display().to_string(), scene.folder.join("copy"));
    let copy_name = copy.display().to_string();
    let around = scene.site.primary.now().text;
    for way in ways.iter().filter(|way| ["variable", "file", "envfile", "envconninfo"].contains(&way.name)) {
        scene.call(way, "pgv", &["info", "--output", "json"], true).success();
        scene.call(way, "pgv", &["verify", "--quick"], false).success();
        scene.call(way, "pgv", &["target", "--around", &around], false).success();
        scene.call(way, "pgv-archive", &[&format!("{data}/pg_wal/none"), "none"], true);
        scene
            .call(way, "pgv-fetch", &["000000090000000000000001", &format!("{copy_name}.fetched")], false)
            .expect_code(1);
        scene.call(way, "pgv-restore", &["-D", &copy_name, "--output", "json"], way.name == "file").success();
        scene.call(way, "pgv-restore", &["-D", &copy_name], way.name == "file").expect_code(3);
        scene.call(way, "pgv-recovery-conf", &["-D", &copy_name, "--target-immediate"], false);
        fs::remove_dir_all(&copy).unwrap();
    }
    // Started, ended by its own target: every process that came of it was seen.
    let way = ways.iter().find(|way| way.name == "variable").unwrap();
    let bin = VERSION.tool("pg_ctl").parent().unwrap().display().to_string();
    let options = [
        "-D",
        &copy_name,
        "--start",
        "--pg-bindir",
        &bin,
        "--target-time",
        &middle.text,
        "--target-action",
        "shutdown",
    ];
    scene.call(way, "pgv-restore", &options, false).success();
    scene.assert_files(&[]);
    let server_log = fs::read_to_string(format!("{copy_name}.log")).unwrap();
    assert!(server_log.contains("shutting down") || server_log.contains("shut down"), "{server_log}");
}

/// `pgv init` is told how to connect; what it writes is private, what it prints holds no password.
#[test]
fn init_says_no_password() {
    let mut scene = Scene::new("canaries-init");
    let right = scene.ways(true);
    let mut written = Vec::new();
    let is_chosen = |way: &Way| ["variable", "conninfo", "uri", "service", "file", "envconninfo"].contains(&way.name);
    for way in right.iter().filter(|way| is_chosen(way)) {
        scene.create_role(way.name);
        scene.call(way, "pgv", &["init", "--cluster", "main"], false).success();
        scene.call(way, "pgv", &["init", "--cluster", "main", "--output", "json"], true).success();
        // A second repository of its own, with a configuration file that is written anew.
        let repository = scene.folder.join(format!("repository.{}", way.name)).display().to_string();
        let config = scene.folder.join(format!("new.{}.toml", way.name));
        if way.name != "file" {
            let new = Way {
                name: way.name,
                options: way.options.clone(),
                variables: way.variables.clone(),
                config: config.clone(),
            };
            scene.call(&new, "pgv", &["init", "--repo", &repository, "--cluster", "main"], false).success();
            written.push(config);
        }
    }
    for way in scene.ways(false).into_iter().filter(is_chosen) {
        scene.call(&way, "pgv", &["init", "--cluster", "main"], true).expect_code(4);
    }
    scene.assert_files(&written);
}

/// A password that is given to a standby stands in its postgresql.auto.conf, which is private, and nowhere else.
#[test]
fn a_standby_s_password_is_in_its_settings_alone() {
    // Where a group may read the files of the server, too.
    let mut scene = Scene::with("canaries-standby", "--allow-group-access");
    scene.create_role("standby");
    scene.site.with_history();
    let port = scene.site.primary.port;
    let bin = VERSION.tool("pg_ctl").parent().unwrap().display().to_string();
    let mut held = Vec::new();
    for is_right in [true, false] {
        let password = canary_of("standby", is_right);
        let keywords = format!("host=127.0.0.1 port={port} user=standby password={password}");
        let uri = format!("postgresql://standby:{password}@127.0.0.1:{port}/postgres");
        let conninfo = if is_right { keywords } else { uri };
        let data = scene.folder.join(format!("standby-{}", held.len()));
        let name = data.display().to_string();
        let way = Way { name: "standby", options: vec![], variables: vec![], config: scene.site.pgv.config.clone() };
        let follow = ["--standby", "--primary-conninfo", &conninfo];
        let options = [&["-D", &name, "--start", "--pg-bindir", &bin, "--output", "json"], follow.as_slice()].concat();
        scene.call_standby(&way, "pgv-restore", &[&["-D", &name, "--dry-run"], follow.as_slice()].concat());
        scene.call_standby(&way, "pgv-restore", &options);
        let mut stop = TestAccount::get().command(VERSION.tool("pg_ctl"));
        stop.env_clear().current_dir("/").args(["-D", &name, "-m", "fast", "-w", "stop"]);
        run(stop).success();
        let auto = data.join("postgresql.auto.conf");
        assert!(fs::read_to_string(&auto).unwrap().contains(MARK));
        assert_eq!(fs::metadata(&auto).unwrap().permissions().mode() & 0o777, 0o600);
        scene.call_standby(
            &way,
            "pgv-recovery-conf",
            &[&["-D", &name, "--write", "--dry-run", "--output", "json"], follow.as_slice()].concat(),
        );
        scene.call_standby(&way, "pgv-recovery-conf", &[&["-D", &name, "--write"], follow.as_slice()].concat());
        assert_eq!(fs::metadata(&auto).unwrap().permissions().mode() & 0o777, 0o600);
        held.push(auto);
    }
    scene.given.clear();
    scene.assert_files(&held);
}

impl Scene {
    /// Like `call`, of a program that is told the password in an option; a server that it starts runs on, so it is not
    /// traced: what runs is looked at instead.
    #[track_caller]
    fn call_standby(&self, way: &Way, name: &str, arguments: &[&str]) -> Outcome {
        let arguments = [arguments, &["--log-level", "trace"]].concat();
        let pgv = Pgv { config: way.config.clone(), repository: self.site.pgv.repository.clone() };
        let outcome = run_within(LIMIT, pgv.command(name, &arguments)).success();
        let folder = self.folder.path().display().to_string();
        assert_silent(&outcome, &processes_of(&folder));
        outcome
    }
}

/// The arguments and variables of every process that has this folder among its arguments.
fn processes_of(folder: &str) -> String {
    let mut found = String::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let path = entry.unwrap().path();
        let read =
            |name: &str| fs::read(path.join(name)).map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "));
        let Ok(line) = read("cmdline") else { continue };
        if line.contains(folder) {
            found.push_str(&format!("{line} {}\n", read("environ").unwrap_or_default().replace('\n', " ")));
        }
    }
    assert!(found.contains("postgres"), "no server is found");
    found
}

/// What is refused by name is not shown with its value; pages, help and completions know no password at all.
#[test]
fn what_is_refused_is_not_shown_with_its_value() {
    let scene = Scene::new("canaries-refused");
    let socket = scene.site.primary.conninfo();
    let keywords = ["oauth_client_secret", "pasword", "scram_client_key", "scram_server_key"];
    for (number, keyword) in keywords.iter().enumerate() {
        let secret = canary_of(&format!("keyword{number}"), true);
        let port = scene.site.primary.port;
        for conninfo in [
            format!("{socket} {keyword}={secret}"),
            format!("{socket} {keyword}='{secret}"),
            format!("postgresql://x@127.0.0.1:{port}/postgres?{keyword}={secret}"),
            format!("postgresql://x:{secret}@127.0.0.1:{port}/postgres?{keyword}=%zz"),
            format!("postgresql://x:{secret}@127.0.0.1:notaport/postgres"),
            format!("postgresql://x:{secret}@[127.0.0.1:{port}/postgres"),
        ] {
            let way = Way {
                name: "none",
                options: vec!["-d".to_owned(), conninfo.clone()],
                variables: vec![],
                config: scene.site.pgv.config.clone(),
            };
            let outcome = scene.call(&way, "pgv-basebackup", &["--checkpoint", "fast"], number % 2 == 0);
            assert!(!outcome.status.success(), "{conninfo}\n{outcome}");
            let standby = ["--target-immediate", "--standby", "--primary-conninfo", &conninfo];
            let recovery = scene
                .site
                .pgv
                .run("pgv-recovery-conf", &[&["--write", "-D", "/nonexistent"], standby.as_slice()].concat());
            assert!(!recovery.status.success());
            assert_silent(&recovery, "");
        }
        // As a line of a configuration file that cannot be read, and of a file of variables.
        let config = scene
            .folder
            .write(format!("broken{number}.toml"), format!("[cluster.main]\nconninfo = \"password={secret}\n"));
        let way = Way { name: "none", options: vec![], variables: vec![], config };
        assert!(!scene.call(&way, "pgv", &["info"], true).status.success());
        let config =
            scene.folder.write(format!("unknown{number}.toml"), format!("[cluster.main]\n{keyword} = \"{secret}\"\n"));
        let way = Way { name: "none", options: vec![], variables: vec![], config };
        assert!(!scene.call(&way, "pgv", &["info"], false).status.success());
        let variables =
            scene.folder.write(format!("broken{number}.env"), format!("PGPASSWORD=\"{secret}\nPG{keyword}={secret}\n"));
        let way = Way {
            name: "none",
            options: vec!["--env-file".to_owned(), variables.display().to_string()],
            variables: vec![("PGSSLPASSWORD", secret.clone()), ("PGV_UNKNOWN", secret.clone())],
            config: scene.site.pgv.config.clone(),
        };
        scene.call(&way, "pgv", &["info"], number % 2 == 0);
    }
}
