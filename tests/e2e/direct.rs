//! Direct backups: the files of the data directory are read while the server works in it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{
    Ledger, PgVersion, Settled, Site, TestCluster, TestFolder, dump, pg_amcheck, pg_checksums, wait_until,
};

const PATIENCE: Duration = Duration::from_secs(60);

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn direct_backup(site: &Site) -> Value {
    let answer = json(&site.backup(&["--method", "direct", "--output", "json"]).success().stdout);
    assert_eq!(answer["backup"]["method"], "direct");
    assert_eq!(answer["backup"]["findings"], json("[]"));
    answer["backup"].clone()
}

/// Larger and small relations, unlogged ones, a second database; tablespaces beside the data directory, linked and
/// in it, and in place.
fn some_of_everything(site: &Site, folder: &TestFolder) {
    let server = &site.primary;
    server.create_tablespace(folder, "apart");
    let inside = server.data.join("linked").display().to_string();
    server.run_as_server(&format!("mkdir -m 700 '{inside}'"), &[]).success();
    server.query(&format!("CREATE TABLESPACE linked LOCATION '{inside}'"));
    server.query("ALTER SYSTEM SET allow_in_place_tablespaces = on");
    server.reload();
    server.query("CREATE TABLESPACE in_place LOCATION ''");
    for place in ["pg_default", "apart", "linked", "in_place"] {
        let rows = "SELECT g AS id, md5(g::text) || repeat('x', 200) AS filler FROM generate_series(1, 12000) AS g";
        server.query(&format!("CREATE TABLE of_{place} TABLESPACE {place} AS {rows}"));
        server.query(&format!("CREATE UNLOGGED TABLE un_{place} TABLESPACE {place} AS {rows}"));
        server.query(&format!("CREATE INDEX ON of_{place} (filler)"));
        server.query(&format!("VACUUM ANALYZE of_{place}"));
    }
    server.query("CREATE DATABASE other");
    server.query_in("other", "CREATE TABLE there AS SELECT generate_series(1, 1000) AS id");
}

fn restored(site: &Site, folder: &TestFolder, name: &str, options: &[&str]) -> TestCluster {
    let (data, spaces) =
        (folder.join(name), format!("--tablespace-dir={}", folder.make(format!("{name}.s")).display()));
    site.restore(&data, &[&[spaces.as_str()], options].concat()).success();
    TestCluster::at(site.primary.version, folder, &format!("{name}-server"), &data)
}

/// What is in a server, but for where its tablespaces are.
fn contents(server: &TestCluster) -> String {
    dump(server).lines().filter(|line| !line.starts_with("CREATE TABLESPACE")).collect::<Vec<_>>().join("\n")
}

/// With every kind of tablespace, and rows written before, while and after the files are read.
#[test]
fn a_direct_backup_of_postgresql_15_comes_back() {
    let folder = TestFolder::new("direct");
    let mut site = Site::new(PgVersion::V15, &folder);
    some_of_everything(&site, &folder);
    let mut ledger = Ledger::create(&site.primary);
    ledger.commit_many(&site.primary, 3);
    let options = ["--checkpoint", "fast", "--method", "direct", "--max-rate", "10MB"];
    let mut command = site.pgv.command("pgv-basebackup", &options);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while child.try_wait().unwrap().is_none() {
        ledger.commit(&site.primary);
        site.primary.query("UPDATE of_apart SET filler = md5(filler) WHERE id % 100 = 0; TRUNCATE un_apart");
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    ledger.commit_many(&site.primary, 3);
    site.primary.query("TRUNCATE un_pg_default, un_linked, un_in_place");
    site.primary.archive_all();
    site.pgv.run("pgv", &["verify"]).success();
    let before = contents(&site.primary);
    site.primary.stop();

    let mut copy = restored(&site, &folder, "copy", &[]);
    assert_eq!(copy.start_and_settle(), Settled::Open, "log:\n{}", copy.log());
    Ledger::assert(&copy, &ledger.all());
    assert_eq!(contents(&copy), before);
    for place in ["pg_default", "apart", "linked", "in_place"] {
        assert_eq!(copy.query(&format!("SELECT count(*), max(id) FROM of_{place}")), "12000|12000");
        assert_eq!(copy.query(&format!("SELECT count(*) FROM un_{place}")), "0");
    }
    assert_eq!(copy.query_in("other", "SELECT sum(id) FROM there"), "500500");
    pg_amcheck(&copy).success();
    copy.stop();
    pg_checksums(PgVersion::V15, &folder.join("copy")).success();
}

/// A role that may back up over the replication protocol alone, and one that may do more.
#[test]
fn the_method_is_what_is_possible_or_what_was_asked_for() {
    let folder = TestFolder::new("direct-auto");
    let site = Site::new(PgVersion::V15, &folder);
    site.primary.query("CREATE ROLE blind LOGIN REPLICATION");
    site.primary.query("CREATE ROLE sends LOGIN REPLICATION; CREATE ROLE reads LOGIN");
    site.primary.query("GRANT pg_read_all_settings TO sends, reads");
    let functions = "pg_backup_start(text, boolean), pg_backup_stop(boolean)";
    site.primary.query(&format!("GRANT EXECUTE ON FUNCTION {functions} TO reads"));
    let taken = |role: &str, method: &str| {
        let options = ["--checkpoint", "fast", "-U", role, "--method", method, "--output", "json"];
        site.pgv.run("pgv-basebackup", &options)
    };
    for (role, method, expected) in [
        ("postgres", "auto", "direct"),
        ("postgres", "stream", "stream"),
        ("reads", "auto", "direct"),
        ("reads", "direct", "direct"),
        ("sends", "auto", "stream"),
        ("blind", "auto", "stream"),
    ] {
        let outcome = taken(role, method).success();
        assert_eq!(json(&outcome.stdout)["backup"]["method"], expected, "{role} {method}\n{outcome}");
        // Why not direct, where that was possible or seemed to be.
        let told = outcome.stderr.contains("the server sends its files (stream method): ");
        assert_eq!(told, expected == "stream" && method == "auto", "{role} {method}\n{outcome}");
    }
    // The host's own name proves nothing: it may lead to whatever listens there. "127.1" is a name to pgv, and leads here.
    let by_name = format!("host=127.1 port={} user=postgres dbname=postgres sslmode=disable", site.primary.port);
    let by_name = |method: &str| site.backup(&["-d", &by_name, "--method", method]);
    let way_out = "with -h localhost or -h and the directory of its socket";
    let why = format!("is proven to run in \"{}\" of this host", site.primary.data.display());
    by_name("auto").success().expect_stderr("(stream method): ").expect_stderr(&why).expect_stderr(way_out);
    by_name("direct").expect_code(3).expect_stderr(&why);
    let refused = taken("sends", "direct").expect_code(3);
    let refused = refused.expect_stderr("is not possible: role \"sends\" may not put the server into backup mode");
    refused.expect_stderr("--method stream");
    let refused = taken("blind", "direct").expect_code(3);
    refused.expect_stderr("the role may not see where the data directory is; grant it pg_read_all_settings");
    assert_eq!(site.backups().len(), 7);
}

/// Ended by a signal, or by the loss of the session that keeps the server in backup mode, it leaves nothing listed.
#[test]
fn a_direct_backup_that_ends_early_is_not_listed() {
    let folder = TestFolder::new("direct-ended");
    let site = Site::new(PgVersion::V15, &folder);
    let guard = "FROM pg_stat_activity WHERE query = 'SELECT timeline_id FROM pg_control_checkpoint()'";
    for (what, status, words) in [
        ("INT", Some(130), "was ended by a signal; nothing of it is listed"),
        ("TERM", Some(130), "was ended by a signal; nothing of it is listed"),
        ("KILL", None, ""),
        ("session", Some(4), "terminating connection due to administrator command"),
    ] {
        let options = ["--checkpoint", "fast", "--method", "direct", "--max-rate", "1MB"];
        let mut command = site.pgv.command("pgv-basebackup", &options);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        wait_until("data is stored", PATIENCE, || {
            let entries = std::fs::read_dir(site.tree().join("backups")).into_iter().flatten().flatten();
            entries.count() > 0 && site.primary.query(&format!("SELECT count(*) {guard}")) == "1"
        });
        let pid = Pid::from_child(&child);
        match what {
            "INT" => kill_process(pid, Signal::INT).unwrap(),
            "TERM" => kill_process(pid, Signal::TERM).unwrap(),
            "KILL" => kill_process(pid, Signal::KILL).unwrap(),
            _ => assert_eq!(site.primary.query(&format!("SELECT pg_terminate_backend(pid) {guard}")), "t"),
        }
        let status_of_child = child.wait().unwrap().code();
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(status_of_child, status, "{what}: {stderr}");
        assert!(stderr.contains(words), "{what}: {stderr}");
        assert_eq!(site.backups(), [""; 0], "{what}");
        wait_until("the server has noticed", PATIENCE, || {
            site.primary.query(&format!("SELECT count(*) {guard}")) == "0"
        });
    }
    direct_backup(&site);
    assert_eq!(site.backups().len(), 1);
}

/// A page with a wrong checksum costs neither the backup of the rest nor the one before it.
#[test]
fn a_bad_page_marks_the_backup() {
    let folder = TestFolder::new("direct-findings");
    let builder = TestCluster::builder(PgVersion::V15, &folder).initdb("--data-checksums").line("autovacuum = off");
    let mut site = Site::of(builder, &folder);
    site.primary.query("CREATE TABLE hit AS SELECT md5(g::text) AS filler FROM generate_series(1, 20000) AS g");
    direct_backup(&site);
    let file = site.primary.query("SELECT pg_relation_filepath('hit')");
    site.primary.stop();
    let path = site.primary.data.join(&file);
    let mut content = std::fs::read(&path).unwrap();
    content[3 * 8192 + 4000] ^= 1;
    content[20 * 8192 + 4000] ^= 1;
    std::fs::write(&path, content).unwrap();
    assert_eq!(site.primary.start_and_settle(), Settled::Open);
    let outcome = site.backup(&["--method", "direct"]).expect_code(5);
    let words = format!("is stored, and marked: \"{file}\": pages 3 (found ");
    let outcome = outcome.expect_stderr(&words).expect_stderr("have a wrong checksum");
    assert!(outcome.stdout.contains("finding: "), "{outcome}");
    let ids = site.backups();
    let [whole, marked] = ids.as_slice() else { panic!("{ids:?}") };
    let info = site.pgv.run("pgv", &["info"]).success();
    assert!(info.stdout.contains(&format!("{marked}: finding: ")), "{info}");
    site.primary.archive_all();
    let plan = site.restore(&folder.join("copy"), &["--dry-run"]).success();
    assert!(plan.stdout.contains(whole) && !plan.stdout.contains(&format!("backup {marked}")), "{plan}");
    let named = site.restore(&folder.join("copy"), &["--backup", marked, "--target-immediate"]).success();
    named.expect_stderr("damage was found in backup");

    // The server says so only when it has sent everything.
    let outcome = site.backup(&["--method", "stream"]).expect_code(5);
    let outcome = outcome.expect_stderr("is stored, and marked: checksum verification failed in file");
    assert!(outcome.stdout.contains(&format!("finding: checksum verification failed in file \"./{file}\", block 3")));
    let streamed = site.backups().pop().unwrap();
    site.primary.archive_all();
    let options = ["--backup", &streamed, "--target-immediate", "--manifest"];
    site.restore(&folder.join("streamed"), &options).success().expect_stderr("damage was found in backup");
    assert_eq!(fs::read(folder.join("streamed").join(&file)).unwrap(), fs::read(&path).unwrap());
}

/// Path, and what stands there: mode and content, but for what says when the backup was taken
/// and where its tablespaces are now.
fn tree(root: &Path) -> BTreeMap<String, String> {
    let differ = ["backup_label", "backup_manifest", "global/pg_control", "tablespace_map"];
    let mut found = BTreeMap::new();
    let mut folders = vec![(root.to_owned(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let (path, name) = (entry.path(), format!("{prefix}{}", entry.file_name().display()));
            let facts = std::fs::symlink_metadata(&path).unwrap();
            let content = if facts.is_symlink() {
                folders.push((std::fs::read_link(&path).unwrap(), format!("{name}/")));
                "link".to_owned()
            } else if facts.is_dir() {
                folders.push((path, format!("{name}/")));
                "directory".to_owned()
            } else if differ.contains(&name.as_str()) {
                "file".to_owned()
            } else {
                format!("{} {:x?}", facts.len(), crc32c::crc32c(&std::fs::read(&path).unwrap()))
            };
            found.insert(name, format!("{:o} {content}", facts.permissions().mode()));
        }
    }
    found
}

/// The server sends what we read: of the same moment, both methods restore to the same files.
#[test]
fn both_methods_restore_to_the_same_files() {
    let folder = TestFolder::new("direct-stream");
    let site = Site::of(TestCluster::builder(PgVersion::V15, &folder).line("autovacuum = off"), &folder);
    let server = &site.primary;
    server.create_tablespace(&folder, "apart");
    server.query(
        "CREATE TABLE large TABLESPACE apart AS SELECT md5(g::text) AS filler FROM generate_series(1, 90000) AS g",
    );
    server.query("CREATE UNLOGGED TABLE unlogged AS TABLE large");
    server.query("CREATE TABLE other AS SELECT 1 AS x; CREATE INDEX ON large (filler)");
    server.query("VACUUM large");
    server
        .run_as_server("mkdir -p more/pgsql_tmp more/x; echo x >more-x; echo y >more/.y; : >more/empty", &[])
        .success();
    direct_backup(&site);
    site.backup(&["--method", "stream"]).success();
    server.archive_all();
    let trees: Vec<_> = site
        .backups()
        .iter()
        .zip(["direct", "stream"])
        .map(|(id, name)| {
            restored(&site, &folder, name, &["--backup", id, "--target-immediate"]);
            tree(&folder.join(name))
        })
        .collect();
    let [direct, mut stream]: [_; 2] = trees.try_into().unwrap();
    assert!(stream.remove("backup_manifest").is_some());
    let lines = |tree: &BTreeMap<String, String>| -> Vec<String> {
        tree.iter().map(|(name, what)| format!("{name}: {what}")).collect()
    };
    let (direct, stream) = (lines(&direct), lines(&stream));
    assert!(direct.len() > 900, "{}", direct.len());
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|line| !those.contains(line)).cloned().collect()
    };
    assert_eq!((only(&direct, &stream), only(&stream, &direct)), (Vec::new(), Vec::new()));
}
