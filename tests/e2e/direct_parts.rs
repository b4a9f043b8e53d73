//! The parts of a direct backup against PostgreSQL's own: the checksums of pages against `pg_checksums`, what is taken
//! of a directory against `pg_basebackup`, and the session that keeps a server in backup mode.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use pgv::error::{Classified, ErrorClass};
use pgv::pg::{
    BackupLabel, BackupScope, BackupSource, ControlFile, DataPath, EntryKind, EntryScope, Lsn, PageVerdict,
    TablespaceMap, UnloggedRelations, judge_page, page_checksum,
};
use pgv::server::{
    BackupSession, BackupSessionError, CheckpointMode, ConnectionOptions, ConnectionSettings, ConnectionSources,
    EndedBackup, SqlClient,
};

use crate::support::{PgVersion, TestAccount, TestCluster, TestFolder, pg_basebackup, pg_checksums, run, wait_until};

const BLOCK_BYTES: usize = 8192;
const PATIENCE: Duration = Duration::from_secs(60);

fn scope_of(data: &Path) -> BackupScope {
    BackupScope::of(&ControlFile::decode(&fs::read(data.join("global/pg_control")).unwrap()).unwrap())
}

// ---- what is taken

/// The entries of a data directory that a direct backup takes: its files, and its directories.
#[derive(Default)]
struct Taken {
    files: BTreeSet<String>,
    directories: BTreeSet<String>,
    unexpected: BTreeSet<String>,
}

impl Taken {
    fn of(data: &Path) -> Self {
        let scope = scope_of(data);
        let mut taken = Self::default();
        taken.walk(&scope, data, None);
        for name in scope.wal_directories() {
            taken.directories.insert(format!("pg_wal/{name}"));
        }
        taken
    }

    fn walk(&mut self, scope: &BackupScope, data: &Path, parent: Option<&DataPath>) {
        let directory = parent.map_or(data.to_owned(), |parent| data.join(parent.to_path()));
        let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let paths: Vec<DataPath> = names
            .map(|name| parent.map_or(name.clone(), |parent| format!("{parent}/{name}")))
            .map(|path| DataPath::parse(path.as_bytes()).unwrap())
            .collect();
        let mut unlogged = UnloggedRelations::default();
        paths.iter().for_each(|path| unlogged.note(path));
        for path in &paths {
            let kind = fs::symlink_metadata(data.join(path.to_path())).unwrap().file_type();
            let kind = match () {
                () if kind.is_file() => EntryKind::File,
                () if kind.is_dir() => EntryKind::Directory,
                () if kind.is_symlink() => EntryKind::Link,
                () => EntryKind::Special,
            };
            match scope.entry(path, kind) {
                EntryScope::File if unlogged.leave_out(path) => {}
                EntryScope::File | EntryScope::ControlFile => drop(self.files.insert(path.to_string())),
                EntryScope::EmptyDirectory => drop(self.directories.insert(path.to_string())),
                EntryScope::Directory | EntryScope::Tablespace => {
                    self.directories.insert(path.to_string());
                    self.walk(scope, data, Some(path));
                }
                EntryScope::LeftOut => {}
                EntryScope::Unexpected | EntryScope::Moved => drop(self.unexpected.insert(path.to_string())),
            }
        }
    }
}

/// All of a copy, links to tablespaces followed.
fn directories_of(data: &Path, parent: &str, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(data.join(parent)).unwrap() {
        let path = format!("{parent}{}", entry.unwrap().file_name().into_string().unwrap());
        if data.join(&path).is_dir() {
            directories_of(data, &format!("{path}/"), found);
            found.insert(path);
        }
    }
}

fn takes_what_pg_basebackup_takes(version: PgVersion) {
    let folder = TestFolder::in_memory(&format!("direct-scope-{}", version.number()));
    let server = TestCluster::builder(version, &folder).line("autovacuum = off").start();
    let space = server.create_tablespace(&folder, "apart");
    server.query("CREATE UNLOGGED TABLE plain (id int PRIMARY KEY)");
    server.query("CREATE UNLOGGED TABLE spaced (id int PRIMARY KEY) TABLESPACE apart");
    server.query("INSERT INTO plain SELECT generate_series(1, 1000)");
    server.query("VACUUM plain");
    server.query("SELECT pg_create_physical_replication_slot('unused')");
    server.query("CHECKPOINT");
    let version_directory = scope_of(&server.data).tablespace_directory().to_owned();
    let database = server.query("SELECT oid FROM pg_database WHERE datname = 'postgres'");
    let tablespace = server.query("SELECT oid FROM pg_tablespace WHERE spcname = 'apart'");
    let in_space = format!("pg_tblspc/{tablespace}/{version_directory}/{database}");
    for name in [
        "backup_label",
        "x/backup_label",
        "x/backup_label.old",
        "tablespace_map",
        "backup_manifest",
        "postgresql.auto.conf.tmp",
        "current_logfiles.tmp",
        "x/y/.DS_Store",
        "x/postmaster.pid",
        "x/pg_notify/inside",
        "x/pg_wal/inside",
        "x/global/pg_control",
        "global/t3_16384",
        "global/pg_internal.init.123",
        "base/pgsql_tmp/pgsql_tmp1.1",
        "pgsql_tmp_of_a_person/inside",
        "pg_stat_tmp/inside",
        "pg_dynshmem/inside",
        "pg_replslot/inside",
        "pg_subtrans/inside",
        "base/t3_16384",
        &format!("base/{database}/t3_16384"),
        &format!("base/{database}/t3_16384_vm.7"),
        &format!("base/{database}/t3_16384_other"),
        &format!("base/{database}/77777_init"),
        &format!("base/{database}/77777"),
        &format!("base/{database}/77777_fsm"),
        &format!("base/{database}/77777.12"),
        &format!("base/{database}/777770"),
        // up to 16 a server stops at "77777_vm.bak": "invalid segment number"
        &format!("base/{database}/77777_vmbak"),
        &format!("{in_space}/t3_16384"),
        &format!("{in_space}/88888_init"),
        &format!("{in_space}/88888_vm"),
        &format!("pg_tblspc/{tablespace}/PG_9.6_201608131/5/1259"),
        &format!("pg_tblspc/{tablespace}/of-a-person"),
    ] {
        if version < PgVersion::V15 && name.ends_with(".DS_Store") {
            // those servers send it
            continue;
        }
        let path = server.data.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "planted").unwrap();
        // the server writes its own temporary files there
        TestAccount::get().take_over(path.parent().unwrap());
    }
    std::os::unix::fs::symlink("/etc/passwd", server.data.join("x/link")).unwrap();
    let mut pipe = std::process::Command::new("mkfifo");
    pipe.arg(server.data.join("x/pipe"));
    run(pipe).success();
    let theirs = folder.join("theirs");
    let mapping = format!("{}={}", space.display(), folder.join("theirs-space").display());
    pg_basebackup(&server, &theirs, &["-T", &mapping, "--manifest-checksums=none"]).success();
    let ours = Taken::of(&server.data);

    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(theirs.join("backup_manifest")).unwrap()).unwrap();
    let files = manifest["Files"].as_array().unwrap().iter().map(|file| file["Path"].as_str().unwrap().to_owned());
    let mut files: BTreeSet<String> = files.collect();
    assert!(files.remove("backup_label") && files.len() > 900, "{}", files.len());
    let differing: Vec<_> = ours.files.symmetric_difference(&files).collect();
    assert!(differing.is_empty(), "{version:?}: {differing:?}");
    let mut directories = BTreeSet::new();
    directories_of(&theirs, "", &mut directories);
    let differing: Vec<_> = ours.directories.symmetric_difference(&directories).collect();
    assert!(differing.is_empty(), "{version:?}: {differing:?}");
    assert_eq!(ours.unexpected, BTreeSet::from(["x/link".to_owned(), "x/pipe".to_owned()]));
}

#[test]
fn takes_what_pg_basebackup_of_15_takes() {
    takes_what_pg_basebackup_takes(PgVersion::V15);
}

#[test]
fn takes_what_pg_basebackup_of_18_takes() {
    takes_what_pg_basebackup_takes(PgVersion::V18);
}

#[test]
#[ignore = "slow tier: scripts/test --all"]
fn takes_what_pg_basebackup_of_the_others_takes() {
    for version in [PgVersion::V13, PgVersion::V14, PgVersion::V16, PgVersion::V17] {
        takes_what_pg_basebackup_takes(version);
    }
}

// ---- pages

/// Bad blocks, by file and number, with the checksum in the page and the right one.
type BadBlocks = BTreeMap<(String, u32), (u16, u16)>;

/// The blocks of all relations of a stopped cluster: how many files and blocks, and which blocks are bad.
fn judged(data: &Path) -> (usize, usize, BadBlocks) {
    let scope = scope_of(data);
    let (mut files, mut blocks, mut bad) = (0, 0, BTreeMap::new());
    for name in Taken::of(data).files {
        let path = DataPath::parse(name.as_bytes()).unwrap();
        let Some(first) = scope.first_block(&path) else { continue };
        let content = fs::read(data.join(&name)).unwrap();
        files += 1;
        for (number, page) in (first..).zip(content.chunks_exact(BLOCK_BYTES)) {
            blocks += 1;
            match judge_page(page, number, Lsn::new(u64::MAX).unwrap()) {
                PageVerdict::Good | PageVerdict::New => {}
                PageVerdict::Bad { stored, computed } => drop(bad.insert((name.clone(), number), (stored, computed))),
                PageVerdict::Changing | PageVerdict::Torn { .. } => panic!("{name} {number}"),
            }
        }
    }
    (files, blocks, bad)
}

/// The same, by `pg_checksums`; it counts blocks within the file.
fn by_pg_checksums(version: PgVersion, data: &Path) -> (usize, usize, BadBlocks) {
    let said = pg_checksums(version, data);
    let count = |label: &str| -> usize {
        let line = said.stdout.lines().find(|line| line.starts_with(label)).unwrap_or_else(|| panic!("{said}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let hex = |text: &str| u16::from_str_radix(text, 16).unwrap();
    let bad = said.stderr.lines().filter(|line| line.contains("checksum verification failed")).map(|line| {
        let file = line.split('"').nth(1).unwrap().strip_prefix(&format!("{}/", data.display())).unwrap().to_owned();
        let (_, rest) = line.split_once("block ").unwrap();
        let (block, rest) = rest.split_once(": calculated checksum ").unwrap();
        let (computed, stored) = rest.split_once(" but block contains ").unwrap();
        ((file, block.parse().unwrap()), (hex(stored.trim()), hex(computed)))
    });
    (count("Files scanned:"), count("Blocks scanned:"), bad.collect())
}

fn judges_pages_as_pg_checksums_does(version: PgVersion) {
    let folder = TestFolder::in_memory(&format!("direct-pages-{}", version.number()));
    let mut server = TestCluster::builder(version, &folder).start();
    server.query("CREATE TABLE t (id int PRIMARY KEY, x text)");
    server.query("INSERT INTO t SELECT i, repeat(md5(i::text), 4) FROM generate_series(1, 20000) AS i");
    server.query("VACUUM t");
    let file = server.query("SELECT pg_relation_filepath('t')");
    server.stop();
    let data = server.data.clone();
    // A second file of the relation, of which a real one would begin behind a gigabyte: every page gets the checksum
    // of the block that it is there.
    let second = format!("{file}.1");
    let mut pages = fs::read(data.join(&file)).unwrap();
    for (number, page) in (131_072..).zip(pages.chunks_exact_mut(BLOCK_BYTES)) {
        let checksum = page_checksum(page, number);
        page[8..10].copy_from_slice(&checksum.to_le_bytes());
    }
    fs::write(data.join(&second), &pages).unwrap();
    let sound = judged(&data);
    assert!(sound.1 > 1500 && sound.2.is_empty(), "{sound:?}");
    assert_eq!(sound, by_pg_checksums(version, &data));

    for (name, at) in [
        (file.as_str(), 0),
        (&file, 9 * BLOCK_BYTES + 8),
        (&file, 10 * BLOCK_BYTES + BLOCK_BYTES - 1),
        (&second, 3 * BLOCK_BYTES + 4000),
        ("global/1262", 20),
        (&format!("{file}_fsm"), BLOCK_BYTES + 30),
        (&format!("{file}_vm"), 500),
    ] {
        let mut content = fs::read(data.join(name)).unwrap();
        content[at] ^= 0x10;
        fs::write(data.join(name), content).unwrap();
    }
    // A page in the place of another: right in itself.
    let mut content = fs::read(data.join(&file)).unwrap();
    content.copy_within(20 * BLOCK_BYTES..21 * BLOCK_BYTES, 21 * BLOCK_BYTES);
    fs::write(data.join(&file), content).unwrap();
    let (files, blocks, bad) = judged(&data);
    let expected = by_pg_checksums(version, &data);
    let in_file = |number: u32| if number >= 131_072 { number - 131_072 } else { number };
    let bad: BTreeMap<_, _> = bad.into_iter().map(|((name, number), sums)| ((name, in_file(number)), sums)).collect();
    assert_eq!(bad.len(), 8, "{bad:?}");
    assert_eq!((files, blocks, bad), expected);
}

#[test]
fn judges_pages_as_pg_checksums_of_15_does() {
    judges_pages_as_pg_checksums_does(PgVersion::V15);
}

#[test]
#[ignore = "slow tier: scripts/test --all"]
fn judges_pages_as_pg_checksums_of_the_others_does() {
    for version in [PgVersion::V13, PgVersion::V14, PgVersion::V16, PgVersion::V17, PgVersion::V18] {
        judges_pages_as_pg_checksums_does(version);
    }
}

// ---- the session

fn settings(conninfo: &str) -> ConnectionSettings {
    let options = ConnectionOptions { dbname: Some(conninfo.to_owned()), ..Default::default() };
    let sources = ConnectionSources {
        options: &options,
        conninfo: None,
        variable: &|_| None,
        os_user: Some("postgres"),
        home: None,
        application_name: "pgv-test",
    };
    ConnectionSettings::resolve(&sources).unwrap()
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

async fn begin(conninfo: &str, label: &str) -> Result<BackupSession, BackupSessionError> {
    let client = SqlClient::connect(&settings(conninfo)).await.unwrap();
    BackupSession::begin(client, label, CheckpointMode::Fast, PATIENCE).await
}

/// Begins a backup, lets something happen, and ends it; the session's own view of the start, and the end.
fn backed_up(conninfo: &str, label: &str, meanwhile: impl FnOnce()) -> (Lsn, bool, EndedBackup) {
    block_on(async {
        let session = begin(conninfo, label).await.unwrap();
        assert_eq!(session.timeline().get(), 1);
        let (start, is_standby) = (session.start_lsn(), session.is_standby());
        meanwhile();
        session.check().await.unwrap();
        (start, is_standby, session.end().await.unwrap())
    })
}

/// A standby of the server, from its own base backup, that streams.
fn standby_of(server: &TestCluster, folder: &TestFolder) -> TestCluster {
    let data = folder.join("standby");
    let mut command = server.client("pg_basebackup");
    command.args(["--checkpoint=fast", "--no-sync", "--wal-method=stream", "--pgdata"]).arg(&data);
    run(command).success();
    let mut standby = TestCluster::at(server.version, folder, "standby-server", &data);
    fs::write(data.join("standby.signal"), "").unwrap();
    standby.configure(&[&format!("primary_conninfo = '{}'", server.conninfo())]);
    standby.start();
    standby
}

/// A backup of a primary that has a tablespace with a name that is no text, then one of its standby, then one of the
/// standby that was promoted meanwhile.
fn begins_and_ends(version: PgVersion) {
    let folder = TestFolder::in_memory(&format!("direct-session-{}", version.number()));
    let server = TestCluster::builder(version, &folder).start();
    // limits that a session must not fall under
    server.query("CREATE ROLE limited SUPERUSER LOGIN");
    server.query("ALTER ROLE limited SET statement_timeout = '300ms'");
    server.query("ALTER ROLE limited SET idle_in_transaction_session_timeout = '300ms'");
    if version >= PgVersion::V14 {
        server.query("ALTER ROLE limited SET idle_session_timeout = '300ms'");
    }
    let label = "two\nlines, caf\u{e9} and a \\";
    let limited = server.conninfo().replace("user=postgres", "user=limited");
    let wait = || std::thread::sleep(Duration::from_millis(700));
    let (start, is_standby, ended) = backed_up(&limited, label, wait);
    assert!(!is_standby);
    let parsed = BackupLabel::parse(&ended.label).unwrap();
    assert_eq!((parsed.start_lsn, parsed.from), (start, Some(BackupSource::Primary)));
    assert_eq!(parsed.label.as_deref(), Some(label));
    assert_eq!((ended.stop_timeline, ended.tablespace_map), (parsed.start_timeline, None));
    let order = format!("SELECT '{start}'::pg_lsn < '{0}' AND '{0}' <= pg_current_wal_lsn()", ended.stop_lsn);
    assert_eq!(server.query(&order), "t");

    let standby = standby_of(&server, &folder);
    let replayed = format!("SELECT pg_last_wal_replay_lsn() >= '{}'", server.query("SELECT pg_current_wal_lsn()"));
    wait_until("the standby has replayed", PATIENCE, || standby.query(&replayed) == "t");
    let (start, is_standby, ended) = backed_up(&standby.conninfo(), "standby's", || {});
    assert!(is_standby);
    let parsed = BackupLabel::parse(&ended.label).unwrap();
    assert_eq!((parsed.start_lsn, parsed.from), (start, Some(BackupSource::Standby)));

    let lost = block_on(async {
        let session = begin(&standby.conninfo(), "promoted").await.unwrap();
        standby.promote();
        let lost = session.check().await.unwrap_err();
        // The server says so itself, too.
        let refused = session.end().await.unwrap_err();
        assert!(matches!(refused, BackupSessionError::Server(_)), "{refused}");
        lost
    });
    assert!(matches!(lost, BackupSessionError::Promoted { .. }), "{lost}");
    assert_eq!(lost.class(), ErrorClass::Unavailable);

    names_come_as_bytes(&server, &folder);
    let lost = block_on(async {
        let session = begin(&server.conninfo(), "lost").await.unwrap();
        let others = "backend_type = 'client backend' AND pid <> pg_backend_pid() AND application_name = 'pgv-test'";
        server.query(&format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"));
        let killed = Instant::now();
        let lost = tokio::time::timeout(PATIENCE, session.watch()).await.unwrap();
        assert!(killed.elapsed() < Duration::from_secs(5), "{:?}", killed.elapsed());
        session.end().await.unwrap_err();
        lost
    });
    assert_eq!(lost.class(), ErrorClass::Unavailable, "{lost}");
    server.wait_for_log("aborting backup due to backend exiting before pg_");
}

fn names_come_as_bytes(server: &TestCluster, folder: &TestFolder) {
    use std::os::unix::ffi::OsStrExt as _;
    let location = folder.make("spaces").join(std::ffi::OsStr::from_bytes(b"caf\xe9 x\\y"));
    run({
        let mut mkdir = TestAccount::get().command("mkdir");
        mkdir.args(["-m", "700"]).arg(&location);
        mkdir
    })
    .success();
    server.query("CREATE DATABASE bytes ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
    let create = format!("CREATE TABLESPACE latin1 LOCATION E'{}/caf\\xe9 x\\\\y'", folder.join("spaces").display());
    server.query_in("bytes", &create);
    for database in ["postgres", "bytes"] {
        let ended = block_on(async {
            let conninfo = server.conninfo().replace("dbname=postgres", &format!("dbname={database}"));
            begin(&conninfo, "bytes").await.unwrap().end().await.unwrap()
        });
        let map = ended.tablespace_map.unwrap();
        let location = location.as_os_str().as_bytes();
        // 13 does not escape backslashes
        let found = match server.version {
            PgVersion::V13 => {
                map.splitn(2, |byte| *byte == b' ').nth(1).unwrap().strip_suffix(b"\n").unwrap().to_owned()
            }
            _ => TablespaceMap::parse(&map).unwrap().entries()[0].path.clone(),
        };
        assert_eq!(found, location, "{database} {}", map.escape_ascii());
    }
}

#[test]
fn begins_and_ends_a_backup_of_13() {
    begins_and_ends(PgVersion::V13);
}

#[test]
fn begins_and_ends_a_backup_of_17() {
    begins_and_ends(PgVersion::V17);
}

#[test]
#[ignore = "slow tier: scripts/test --all"]
fn begins_and_ends_a_backup_of_the_others() {
    for version in [PgVersion::V14, PgVersion::V15, PgVersion::V16, PgVersion::V18] {
        begins_and_ends(version);
    }
}

/// A role that may do nothing but this.
#[test]
fn begins_and_ends_with_two_rights() {
    let folder = TestFolder::in_memory("direct-rights");
    let server = TestCluster::builder(PgVersion::V15, &folder).start();
    server.query("CREATE ROLE plain LOGIN");
    let conninfo = server.conninfo().replace("user=postgres", "user=plain");
    let refused = block_on(begin(&conninfo, "x")).map(drop).unwrap_err();
    assert_eq!(refused.class(), ErrorClass::PermissionDenied);
    assert!(refused.to_string().contains("role \"plain\" may not begin a backup on server"), "{refused}");
    server.query("GRANT EXECUTE ON FUNCTION pg_backup_start(text, boolean), pg_backup_stop(boolean) TO plain");
    block_on(async { begin(&conninfo, "x").await.unwrap().end().await.unwrap() });
    let too_long = block_on(begin(&conninfo, &"x".repeat(1100))).map(drop).unwrap_err();
    assert!(std::error::Error::source(&too_long).is_some_and(|cause| cause.to_string().contains("too long")));
}
