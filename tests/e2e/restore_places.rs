//! Where and how pgv-restore writes: in place, beside, with tablespaces, in Debian's layout; and what it refuses to
//! write to.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::{
    Ledger, Outcome, PgVersion, Pgv, Settled, Site, TestAccount, TestCluster, TestFolder, pg_amcheck, pg_verifybackup,
    run, run_within,
};

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
const MARKER: &str = "pgv-restore.incomplete";

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Runs a shell command as the test account, with nothing in its environment.
fn shell(command: &str) -> Outcome {
    let mut sh = TestAccount::get().command("/bin/sh");
    sh.env_clear().env("PATH", "/usr/bin:/bin").current_dir("/").args(["-c", command]);
    run_within(PATIENCE, sh)
}

/// Runs a printed command where it is read: as root, when root runs the tests, since the command itself says the account
/// then. Nothing is in the environment but PATH, which has the server's programs, as a person's may.
pub(crate) fn paste(version: PgVersion, command: &str) -> Outcome {
    let programs = version.tool("pg_ctl").parent().unwrap().display().to_string();
    let mut sh = Command::new("/bin/sh");
    sh.env_clear().env("PATH", format!("{programs}:/usr/bin:/bin:/usr/sbin:/sbin")).current_dir("/");
    sh.args(["-c", command]);
    run_within(PATIENCE, sh)
}

/// A server that was started by a command that pgv-restore printed; ended when this goes.
struct Printed {
    version: PgVersion,
    data: PathBuf,
}

impl Printed {
    /// Starts `data` by the first of the next steps.
    #[track_caller]
    fn start(site: &Site, data: &Path, restored: &Outcome) -> Self {
        let report: Value = serde_json::from_str(&restored.stdout).unwrap();
        let command = report["next_steps"][0]["command"].as_str().unwrap();
        let started = Self { version: site.primary.version, data: data.to_owned() };
        let mut log = data.as_os_str().to_owned();
        log.push(".log");
        if Path::new(&log).exists() {
            // That of the harness, which the account cannot write to.
            fs::remove_file(&log).unwrap();
        }
        paste(started.version, command).success();
        started
    }
}

impl Drop for Printed {
    fn drop(&mut self) {
        let mut stop = TestAccount::get().command(self.version.tool("pg_ctl"));
        stop.env_clear().current_dir("/").arg("-D").arg(&self.data).args(["-m", "immediate", "-w", "stop"]);
        run(stop);
    }
}

/// Starts what was restored, on a port of its own, and waits until it has opened.
#[track_caller]
fn opened(site: &Site, folder: &TestFolder, data: &Path) -> TestCluster {
    let name = format!("{}-server", data.file_name().unwrap().display());
    let mut copy = TestCluster::at(site.primary.version, folder, &name, data);
    assert_eq!(copy.start_and_settle(), Settled::Open, "log:\n{}", copy.log());
    copy
}

/// Every path below a directory, with what a write to it would change; links are not followed.
fn fingerprint(root: &Path) -> Vec<(PathBuf, u64, i64, u32)> {
    let mut found = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(path) = waiting.pop() {
        let facts = fs::symlink_metadata(&path).unwrap();
        if facts.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        found.push((path, facts.len(), facts.mtime_nsec() ^ (facts.mtime() << 30), facts.mode()));
    }
    found.sort();
    found
}

/// What was renamed: the directories beside `path` whose names begin with its name and our mark.
fn renamed(path: &Path) -> Vec<PathBuf> {
    let prefix = format!("{}.pgv-", path.file_name().unwrap().display());
    let entries = fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(&prefix)).collect()
}

/// The tablespace links of a data directory, by where they lead.
fn links(data: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(data.join("pg_tblspc")).unwrap();
    let mut links: Vec<PathBuf> = entries.map(|entry| fs::read_link(entry.unwrap().path()).unwrap()).collect();
    links.sort();
    links
}

#[test]
fn tablespaces_go_where_they_are_told_and_never_onto_others() {
    let folder = TestFolder::new("places-ts");
    let mut site = Site::new(PgVersion::V15, &folder);
    let (a, b) = (site.primary.create_tablespace(&folder, "a"), site.primary.create_tablespace(&folder, "b"));
    for name in ["a", "b"] {
        let sql =
            format!("CREATE TABLE in_{name} (id int PRIMARY KEY USING INDEX TABLESPACE {name}) TABLESPACE {name}");
        site.primary.query(&sql);
        site.primary.query(&format!("INSERT INTO in_{name} SELECT generate_series(1, 1000)"));
    }
    let (ledger, _) = site.with_history();
    let (new_a, pool) = (folder.join("new-a"), folder.make("pool"));
    let data = folder.join("copy");
    let map = |old: &Path, new: &Path| format!("--tablespace-mapping={}={}", old.display(), new.display());
    let (below, full) = (data.join("below"), folder.make("full"));
    folder.write("full/photo", "mine");
    symlink(&pool, folder.join("link")).unwrap();

    // The original runs all the time.
    let at = |name: &str| folder.join(name);
    let refusals: Vec<(Vec<String>, i32, &str)> = vec![
        (vec![map(&at("nothing"), &new_a)], 2, "no tablespace of the backup lies at"),
        (vec![map(&a, &new_a), map(&a, &at("x"))], 2, "is mapped twice"),
        (vec![map(&a, &new_a), map(&b, &new_a)], 3, "it is the place of tablespace"),
        (vec![map(&a, &pool), map(&b, &pool.join("x"))], 3, "it lies in the place of tablespace"),
        (vec![map(&a, &pool.join("x")), map(&b, &pool)], 3, "it holds the place of tablespace"),
        (vec![map(&a, &at("link/x")), map(&b, &pool.join("x"))], 3, "it is the place of tablespace"),
        (vec![map(&a, &below), map(&b, &new_a)], 3, "it lies in the directory that is restored into"),
        (vec![map(&a, folder.path()), map(&b, &new_a)], 3, "it holds the repository"),
        (vec![map(&a, &site.pgv.repository.join("x"))], 3, "it lies in the repository"),
        (vec![map(&a, &full), map(&b, &new_a)], 3, "it is not empty"),
        (
            vec![map(&a, &full), map(&b, &new_a), "--move-aside".to_owned()],
            3,
            "it holds something else than PostgreSQL's files",
        ),
        (vec![map(&a, &at("link")), map(&b, &new_a)], 3, "links are not followed"),
        (vec![], 3, "it is a tablespace of a running server"),
        (vec!["--move-aside".to_owned()], 3, "it is a tablespace of a running server"),
        (vec![map(&a, &site.primary.data.join("x")), map(&b, &new_a)], 3, "the data directory of a running server"),
    ];
    for (options, code, words) in refusals {
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        site.restore(&data, &options).expect_code(code).expect_stderr(words);
        assert!(!data.exists() && !new_a.exists() && fs::read_dir(&pool).unwrap().next().is_none(), "{options:?}");
    }

    let pool_option = format!("--tablespace-dir={}", pool.display());
    site.restore(&data, &[&map(&a, &new_a), &pool_option]).success();
    let oid = site.primary.query("SELECT oid FROM pg_tablespace WHERE spcname = 'b'");
    let mut expected = vec![new_a.clone(), pool.join(&oid)];
    expected.sort();
    assert_eq!(links(&data), expected);
    let stored_map = fs::read_to_string(data.join("tablespace_map")).unwrap();
    assert!(stored_map.lines().count() == 2 && expected.iter().all(|path| stored_map.contains(text(path))));
    for place in [&data, &new_a, &pool.join(&oid)] {
        assert!(!place.join(MARKER).exists(), "{place:?}");
    }
    let mut copy = opened(&site, &folder, &data);
    Ledger::assert(&copy, &ledger.all());
    assert_eq!(links(&data), expected, "the server made other links");
    assert_eq!(copy.query("SELECT (SELECT count(*) FROM in_a), (SELECT count(*) FROM in_b)"), "1000|1000");
    pg_amcheck(&copy).success();
    copy.stop();
    assert_eq!(site.primary.query("SELECT count(*) FROM in_a"), "1000");

    // In place: nothing is deleted, and the command that is printed starts it.
    site.primary.stop();
    let before: Vec<_> = [&site.primary.data, &a, &b].map(|path| fingerprint(path).len()).into();
    let restored = site.restore(&site.primary.data, &["--move-aside", "--output", "json"]).success();
    let restored = restored.expect_stderr("rename the tablespaces back before its server is started again");
    let after: Vec<_> = [&site.primary.data, &a, &b]
        .map(|path| {
            let [aside] = renamed(path).try_into().unwrap();
            fingerprint(&aside).len()
        })
        .into();
    assert_eq!(before, after);
    let _server = Printed::start(&site, &site.primary.data, &restored);
    crate::support::wait_until("it has opened", PATIENCE, || !site.primary.is_in_recovery());
    Ledger::assert(&site.primary, &ledger.all());
    assert_eq!(site.primary.query("SELECT count(*) FROM in_b"), "1000");
}

#[test]
fn a_tablespace_inside_the_data_directory_stays_inside() {
    let folder = TestFolder::new("places-inside");
    let site = Site::new(PgVersion::V17, &folder);
    site.primary.query("ALTER SYSTEM SET allow_in_place_tablespaces = on");
    site.primary.reload();
    site.primary.query("CREATE TABLESPACE inside LOCATION ''");
    site.primary.query("CREATE TABLE within TABLESPACE inside AS SELECT generate_series(1, 1000) AS id");
    let (ledger, _) = site.with_history();
    let data = folder.join("copy");
    site.restore(&data, &[]).success();
    let copy = opened(&site, &folder, &data);
    Ledger::assert(&copy, &ledger.all());
    assert_eq!(copy.query("SELECT count(*) FROM within"), "1000");
    pg_amcheck(&copy).success();
}

#[test]
fn in_place_after_everything_was_removed() {
    let folder = TestFolder::new("places-place");
    let builder = TestCluster::builder(PgVersion::V15, &folder).line("session_preload_libraries = 'auto_explain'");
    let mut site = Site::of(builder, &folder);
    let (ledger, _) = site.with_history();
    let data = site.primary.data.clone();
    site.primary.stop();
    let mode = fs::metadata(&data).unwrap().mode();
    shell(&format!("rm -rf {}/*", data.display())).success();
    let restored = site.restore(&data, &["--output", "json"]).success();
    assert_eq!(fs::metadata(&data).unwrap().mode(), mode);
    let _server = Printed::start(&site, &data, &restored);
    crate::support::wait_until("it has opened", PATIENCE, || !site.primary.is_in_recovery());
    Ledger::assert(&site.primary, &ledger.all());
    // It takes its original's place, but for the archive.
    assert_eq!(site.primary.query("SHOW archive_mode"), "off");
    assert_eq!(site.primary.query("SHOW session_preload_libraries"), "auto_explain");
    assert!(restored.stderr.contains("kept, since it is restored in its original's place"), "{restored}");
}

/// A cluster as Debian makes it, archiving into a repository.
pub(crate) fn debian_site(folder: &TestFolder) -> (Site, PathBuf) {
    let (etc, data) = (folder.make("etc"), folder.join("data"));
    let mut create = TestAccount::get().command("pg_createcluster");
    create.env_clear().env("PATH", "/usr/bin:/bin").env("PG_CLUSTER_CONF_ROOT", &etc).current_dir("/");
    create.args(["15", "main", "-D"]).arg(&data).arg("-s").arg(folder.make("run")).arg("-l").arg(folder.join("log"));
    create.args(["--", "--auth=trust", "--username=postgres"]);
    run_within(PATIENCE * 2, create).success();
    let etc = etc.join("15/main");
    let mut primary = TestCluster::at(PgVersion::V15, folder, "debian", &data);
    let (port, sockets) = (primary.port, primary.socket_folder.display());
    let write = |name: &str, content: &str| shell(&format!("cat > {}/{name} <<'END'\n{content}\nEND", etc.display()));
    write("conf.d/site.conf", &format!("port = {port}\nunix_socket_directories = '{sockets}'\narchive_mode = on"))
        .success();
    write("far.conf", "work_mem = '7MB'").success();
    let far = format!("include '{}'\ntrack_commit_timestamp = on", etc.join("far.conf").display());
    write("conf.d/far.conf", &far).success();
    primary.start_with(&[&format!("config_file={}", etc.join("postgresql.conf").display())]);
    let site = Site { pgv: Pgv::new(folder), primary };
    let printed = site.init(&[]).success();
    let line = printed.stdout.lines().map(str::trim).find(|line| line.starts_with("archive_command = ")).unwrap();
    write("conf.d/pgv.conf", line).success();
    site.primary.reload();
    (site, etc)
}

#[test]
fn on_debian_the_printed_command_starts_what_was_restored() {
    let folder = TestFolder::new("places-debian");
    let (mut site, etc) = debian_site(&folder);
    let (ledger, _) = site.with_history();
    let record = site.backup(&["--output", "json"]).success();
    let record: Value = serde_json::from_str(&record.stdout).unwrap();
    let stored = record["backup"]["documents"].to_string();
    for name in ["postgresql.conf", "pg_hba.conf", "pg_ident.conf", "conf.d/site.conf", "far.conf"] {
        assert!(stored.contains(text(&etc.join(name))), "{name}: {stored}");
    }
    site.primary.archive_all();
    site.primary.stop();
    let production = fingerprint(&site.primary.data);
    let before = fingerprint(&etc);
    for gone in [false, true] {
        let data = folder.join(format!("restored-{gone}"));
        let away = folder.join("etc-away");
        let planned = site.restore(&data, &["--output", "json", "--dry-run"]).success();
        let restored = site.restore(&data, &["--output", "json"]).success();
        let configuration = |outcome: &Outcome| {
            let answer: Value = serde_json::from_str(&outcome.stdout).unwrap();
            answer["configuration"].clone()
        };
        // By the backup, and by the files.
        assert_eq!(configuration(&planned), configuration(&restored));
        assert_eq!(configuration(&planned)["is_known"], true, "{planned}");
        if gone {
            fs::rename(&etc, &away).unwrap();
        }
        let server = Printed::start(&site, &data, &restored);
        crate::support::wait_until("it has opened", PATIENCE, || !site.primary.is_in_recovery());
        let ours = data.join("pgv-config").join(etc.strip_prefix("/").unwrap());
        let shown = ["data_directory", "config_file", "hba_file", "ident_file", "external_pid_file", "work_mem"]
            .map(|name| site.primary.query(&format!("SHOW {name}")));
        let at = |name: &str| text(&ours.join(name)).to_owned();
        let files = ["postgresql.conf", "pg_hba.conf", "pg_ident.conf"].map(at);
        let [config, hba, ident] = files;
        let pid_file = text(&data.join("external.pid")).to_owned();
        assert_eq!(shown, [text(&data).to_owned(), config, hba, ident, pid_file, "7MB".to_owned()]);
        let sources = site.primary.query("SELECT DISTINCT sourcefile FROM pg_file_settings ORDER BY 1");
        assert!(sources.lines().all(|file| Path::new(file).starts_with(&data)), "{sources}");
        Ledger::assert(&site.primary, &ledger.all());
        drop(server);
        if gone {
            fs::rename(&away, &etc).unwrap();
        }
        assert_eq!(fingerprint(&site.primary.data), production, "production was touched");
        assert_eq!(fingerprint(&etc), before, "production's configuration was touched");
    }
}

/// A copy reads what its postgresql.conf includes by absolute path where its original reads it, and what it includes
/// upwards where that leads from its own place: that is told.
#[test]
fn includes_that_lead_out_of_a_copy_are_told() {
    let folder = TestFolder::new("places-include");
    let mut site = Site::new(PgVersion::V15, &folder);
    let common = folder.join("common.conf");
    folder.write("common.conf", "work_mem = '7MB'\n");
    let inside = site.primary.data.join("conf.d");
    shell(&format!("mkdir {0}; echo \"include_if_exists '/none/x.conf'\" >{0}/a.conf", inside.display())).success();
    shell(&format!("echo \"include '../../upwards.conf'\" >>{}/a.conf", inside.display())).success();
    folder.write("upwards.conf", "work_mem = '8MB'\n");
    site.primary.configure(&[&format!("include '{}'", text(&common)), "include_dir 'conf.d'"]);
    site.primary.reload();
    site.backup(&[]).success();
    site.primary.archive_all();
    let main = fs::read_to_string(site.primary.data.join("postgresql.conf")).unwrap();
    let line = main.lines().position(|line| line.starts_with("include '")).unwrap() + 1;
    let outcome = site.restore(&folder.join("copy"), &["--dry-run", "--output", "json"]).success();
    let told = format!("\"postgresql.conf\" line {line} includes \"{}\" by its absolute path", text(&common));
    let outcome = outcome.expect_stderr(&told);
    let outcome = outcome.expect_stderr("\"conf.d/a.conf\" line 1 includes \"/none/x.conf\" by its absolute path");
    let plan: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(plan["warnings"].to_string().matches("absolute path").count(), 2, "{plan}");
    let upwards = "\"conf.d/a.conf\" line 2 includes \"../../upwards.conf\", which leads out of the directory";
    let outcome = outcome.expect_stderr(upwards);
    // What lies there is not known: all that could do harm is off.
    assert_eq!(plan["configuration"]["is_known"], false, "{outcome}");
    let elsewhere = folder.make("elsewhere").join("copy");
    site.restore(&elsewhere, &[]).success().expect_stderr(upwards);
    folder.write("elsewhere/upwards.conf", "work_mem = '9MB'\n");
    let mut copy = TestCluster::at(PgVersion::V15, &folder, "elsewhere-server", &elsewhere);
    assert_eq!(copy.start_and_settle(), Settled::Open, "log:\n{}", copy.log());
    assert_eq!(copy.query("SHOW work_mem"), "9MB");
    copy.stop();
    // In place they are right.
    site.primary.stop();
    let in_place = site.restore(&site.primary.data, &["--dry-run", "--move-aside"]).success();
    assert!(!in_place.stderr.contains("absolute path") && !in_place.stderr.contains("leads out"), "{in_place}");
}

#[test]
fn unsafe_targets_are_refused_and_nothing_is_touched() {
    let folder = TestFolder::new("places-unsafe");
    let site = Site::new(PgVersion::V15, &folder);
    let (ledger, _) = site.with_history();
    let other = TestCluster::builder(PgVersion::V15, &folder).name("other").create();
    let at = |name: &str| folder.join(name);
    folder.write("file", "kept");
    symlink(at("file"), at("file-link")).unwrap();
    symlink(at("nothing"), at("dangling")).unwrap();
    folder.make("full");
    folder.write("full/photo", "kept");
    symlink(at("full"), at("full-link")).unwrap();
    folder.make("locked");
    folder.make("done");
    folder.make("done/global");
    for name in [MARKER, "backup_label", "recovery.signal"] {
        folder.write(format!("done/{name}"), "");
    }
    fs::copy(site.primary.data.join("global/pg_control"), at("done/global/pg_control")).unwrap();
    TestAccount::get().take_over(&at("done/global/pg_control"));
    fs::set_permissions(at("locked"), fs::Permissions::from_mode(0o500)).unwrap();
    let repository = site.pgv.repository.clone();
    let rows: Vec<(PathBuf, &str)> = vec![
        (site.primary.data.clone(), "a server (process"),
        (site.primary.data.join("base/new"), "it lies in"),
        (repository.clone(), "it is the repository"),
        (repository.join("main/new"), "it lies in the repository"),
        (folder.path().to_owned(), "it holds the repository"),
        (PathBuf::from("/"), "it is a directory of the system"),
        (PathBuf::from("/etc"), "it is a directory of the system"),
        (PathBuf::from("/usr"), "it is a directory of the system"),
        (PathBuf::from("/usr/share"), "it belongs to user id 0"),
        (PathBuf::from("/usr/pgv-new"), "is not writable"),
        (at("file"), "it is not a directory"),
        (at("file-link"), "it is not a directory"),
        (at("dangling"), "it is not a directory"),
        (at("full-link"), "it is not a directory"),
        (at("locked"), "it is not writable"),
        (at("locked/new"), "is not writable"),
        (at("absent/new"), "there is no directory"),
        (other.data.clone(), "holds another cluster"),
        (at("full"), "it is not empty"),
        (at("done"), "it holds a restore that is complete"),
    ];
    let kept = [at("full"), at("done"), other.data.clone(), at("file")].map(|path| fingerprint(&path));
    for (path, words) in &rows {
        site.restore(path, &[]).expect_code(3).expect_stderr(words);
    }
    // Renaming is for data directories of this cluster, without a server.
    for (path, words) in rows.iter().filter(|(path, _)| *path != at("done")) {
        let outcome = site.restore(path, &["--move-aside"]).expect_code(3);
        assert!(
            outcome.stderr.contains(words)
                || outcome.stderr.contains("it holds something else than PostgreSQL's files"),
            "{outcome}"
        );
    }
    assert_eq!(kept, [at("full"), at("done"), other.data.clone(), at("file")].map(|path| fingerprint(&path)));
    assert!(!at("nothing").exists() && !at("locked/new").exists() && !at("absent").exists());
    fs::set_permissions(at("locked"), fs::Permissions::from_mode(0o700)).unwrap();

    // What a killed restore left is emptied, and nothing else, whatever links lead out of it; and whatever the umask.
    let killed = folder.make("killed");
    folder.write(format!("killed/{MARKER}"), "");
    folder.make("killed/base");
    site.restore(&killed, &["--dry-run"]).expect_code(3).expect_stderr("it is not empty");
    fs::remove_dir(killed.join("base")).unwrap();
    let marker = r#"{"system_identifier":"7000000000000000001","backup":"#;
    let id = &site.backups()[0];
    folder.write(format!("killed/{MARKER}"), format!("{marker}\"{id}\",\"data_directory\":\"/x\"}}"));
    folder.make("killed/base");
    symlink(at("full"), at("killed/base/1")).unwrap();
    symlink(at("full/photo"), at("killed/PG_VERSION")).unwrap();
    let command = site.pgv.command("pgv-restore", &["-D", text(&killed)]);
    let words: Vec<String> = [command.get_program()]
        .into_iter()
        .chain(command.get_args())
        .map(|word| format!("'{}'", word.to_str().unwrap()))
        .collect();
    shell(&format!("umask 000; exec {}", words.join(" "))).success();
    assert_eq!(fs::read_to_string(at("full/photo")).unwrap(), "kept");
    assert_modes(&killed, 0o700, 0o600);
    let extra = ["postgresql.auto.conf", "recovery.signal", "tablespace_map"].map(|name| format!("--ignore={name}"));
    pg_verifybackup(PgVersion::V15, &killed, &extra.iter().map(String::as_str).collect::<Vec<_>>()).success();

    let mounted = folder.make("mounted");
    folder.make("mounted/lost+found");
    site.restore(&mounted, &[]).success();
    let copy = opened(&site, &folder, &mounted);
    Ledger::assert(&copy, &ledger.all());
    assert!(mounted.join("lost+found").exists());
}

#[track_caller]
fn assert_modes(data: &Path, directory: u32, file: u32) {
    for (path, _, _, mode) in fingerprint(data) {
        let expected = match fs::symlink_metadata(&path).unwrap().file_type() {
            kind if kind.is_dir() => directory,
            kind if kind.is_file() => file,
            _ => continue,
        };
        // A file may be closer than the cluster's, never looser.
        assert_eq!(mode & 0o7777 & !expected, 0, "{path:?} has mode {mode:o}");
    }
}

#[test]
fn hostile_settings_are_told_and_do_not_break_the_restore() {
    let folder = TestFolder::new("places-hostile");
    let evidence = folder.join("cleanup-ran");
    let builder = TestCluster::builder(PgVersion::V15, &folder)
        .initdb("--allow-group-access")
        .line("restore_command = 'false'")
        .line("recovery_target_xid = '3'")
        .line("recovery_target_action = shutdown")
        .line("recovery_target_inclusive = off")
        .line(format!("archive_cleanup_command = 'touch {}'", evidence.display()))
        .line("session_preload_libraries = 'auto_explain'")
        .line("shared_preload_libraries = 'auto_explain'");
    let site = Site::of(builder, &folder);
    site.primary.query("ALTER SYSTEM SET recovery_target_name = 'nowhere'");
    let (ledger, middle) = site.with_history();
    let data = folder.join("copy");
    let outcome = site.restore(&data, &["--target-time", &middle.text]).success();
    for name in ["session_preload_libraries", "shared_preload_libraries"] {
        assert!(outcome.stderr.contains(&format!("{name} = 'auto_explain'")), "{outcome}");
    }
    // The cluster lets its group read.
    assert_eq!(fs::metadata(&data).unwrap().mode() & 0o7777, 0o750);
    assert_eq!(fs::metadata(data.join("PG_VERSION")).unwrap().mode() & 0o7777, 0o640);
    assert_modes(&data, 0o750, 0o640);
    let mut copy = TestCluster::at(PgVersion::V15, &folder, "copy-server", &data);
    assert_eq!(copy.start_and_settle(), Settled::Paused, "log:\n{}", copy.log());
    Ledger::assert(&copy, &ledger.until(&middle));
    for name in ["archive_cleanup_command", "session_preload_libraries", "shared_preload_libraries"] {
        assert_eq!(copy.query(&format!("SHOW {name}")), "");
    }
    assert_eq!(copy.query("SHOW archive_mode"), "off");
    assert!(copy.query("SHOW restore_command").contains("pgv-fetch"));
    copy.query("CHECKPOINT");
    copy.promote();
    Ledger::assert(&copy, &ledger.until(&middle));
    assert!(!evidence.exists());
}
