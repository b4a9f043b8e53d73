//! The WAL reader on the pg_wal of a server, record by record against its pg_waldump.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pgv::pg::{
    Lsn, TimelineHistory, TimelineId, WalContent, WalEnding, WalFormat, WalPageScan, WalProgress, WalReader, WalRecord,
    WalRun, WalSegmentHeader, WalSegmentName, WalStart,
};

use crate::support::{PgVersion, TestCluster, TestFolder, as_dumped, parse_dump, pg_basebackup, run, run_within};

const PATIENCE: Duration = Duration::from_secs(120);

/// The segments of a folder in order, by name.
fn segments(folder: &Path) -> Vec<PathBuf> {
    let is_segment = |path: &PathBuf| WalSegmentName::parse(path.file_name().unwrap().to_str().unwrap()).is_ok();
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(is_segment).collect();
    paths.sort();
    paths
}

fn header(path: &Path) -> WalSegmentHeader {
    WalSegmentHeader::decode(&fs::read(path).unwrap()).unwrap()
}

pub(crate) fn read(paths: &[PathBuf]) -> (WalFormat, Vec<WalRecord>, WalRun) {
    let first = header(&paths[0]);
    let start = WalStart::Segment(first.page_address);
    let mut reader = WalReader::new(first.into(), TimelineHistory::first(), start, None);
    let mut records = Vec::new();
    'all: for path in paths {
        for part in fs::read(path).unwrap().chunks(256 << 10) {
            if reader.feed(part, |record| records.push(record)) == WalProgress::Done {
                break 'all;
            }
        }
    }
    (first.into(), records, reader.finish())
}

fn write_much(cluster: &TestCluster) {
    let pgbench = |options: &[&str]| {
        let mut command = cluster.client("pgbench");
        command.args(options).arg("postgres");
        run_within(PATIENCE, command).success();
    };
    pgbench(&["-i", "-q", "-s", "2"]);
    pgbench(&["-c", "4", "-t", "200", "-n"]);
    cluster.query(
        "DO $$ BEGIN CREATE TABLE s (id int); FOR i IN 1..500 LOOP BEGIN INSERT INTO s VALUES (i); \
         EXCEPTION WHEN unique_violation THEN NULL; END; END LOOP; END $$",
    );
    cluster
        .query("DO $$ BEGIN FOR i IN 1..300 LOOP EXECUTE format('CREATE TABLE many_%s (id int)', i); END LOOP; END $$");
    cluster.query("DO $$ BEGIN FOR i IN 1..300 LOOP EXECUTE format('DROP TABLE many_%s', i); END LOOP; END $$");
    // COMPAT: from 15 on block by block through the WAL, when nothing else is asked for
    cluster.query("CREATE DATABASE logged");
    cluster.query_in("logged", "CREATE TABLE in_other (id int)");
    cluster.query("DROP DATABASE logged");
    cluster.query("VACUUM FULL pgbench_accounts");
    cluster.query("SELECT pg_create_restore_point('caf\u{e9}')");
}

/// Leaves a record over several segments of which only the beginning is there, as a failing machine does.
fn break_a_record(cluster: &mut TestCluster) {
    cluster.query("CHECKPOINT");
    let first = cluster.query("SELECT pg_walfile_name(pg_current_wal_insert_lsn())");
    cluster.query("SELECT pg_logical_emit_message(true, 'x', repeat('y', 3000000))");
    cluster.stop_immediately();
    for path in segments(&cluster.data.join("pg_wal")) {
        if path.file_name().unwrap().to_str().unwrap() > first.as_str() {
            fs::remove_file(path).unwrap();
        }
    }
    cluster.start();
}

fn compare_with_pg_waldump(version: PgVersion) {
    let folder = TestFolder::new("wal-reader");
    let lines = ["wal_keep_size = 2GB", "max_wal_size = 4GB", "max_prepared_transactions = 5"];
    let builder = TestCluster::builder(version, &folder).initdb("--wal-segsize=1");
    let mut cluster = lines.into_iter().fold(builder, |builder, line| builder.line(line)).start();
    write_much(&cluster);
    pg_basebackup(&cluster, &folder.join("backup"), &[]).success();
    break_a_record(&mut cluster);
    cluster.query("CREATE TABLE after_the_crash AS SELECT generate_series(1, 1000)");
    cluster.stop_immediately();

    let paths = segments(&cluster.data.join("pg_wal"));
    let (format, records, run_read) = read(&paths);
    let mut command = cluster.tool("pg_waldump");
    let last = WalSegmentName::containing(TimelineId::FIRST, run_read.next_lsn, format.segment_size).to_string();
    command.arg("-p").arg(cluster.data.join("pg_wal")).arg(paths[0].file_name().unwrap()).arg(last);
    // it always ends with a complaint about what follows the last record
    let dump = parse_dump(&run(command).expect_code(1).stdout);
    for (found, expected) in records.iter().zip(&dump) {
        assert_eq!(&as_dumped(found, format.major), expected);
    }
    assert_eq!(records.len(), dump.len());
    assert!(records.len() > 20_000, "only {} records", records.len());
    let has = |is_it: fn(&WalContent) -> bool| assert!(records.iter().any(|record| is_it(&record.content)));
    has(|content| matches!(content, WalContent::OverwrittenRecord { .. }));
    has(|content| matches!(content, WalContent::BackupEnd { start_lsn: Some(_) }));
    has(|content| matches!(content, WalContent::CreateDatabase(created) if created.copied_from.is_none()));
    has(|content| matches!(content, WalContent::Commit(end) if end.subtransactions == 500));
    has(|content| matches!(content, WalContent::Commit(end) if end.dropped_count == 300));

    let WalEnding::Fault(fault) = &run_read.ending else { panic!("{run_read:?}") };
    assert!(fault.is_usual_end(), "{fault}");
    assert_eq!(pages_after(format, &paths, run_read.next_lsn), 0);
}

/// Valid pages after the one in which `end` lies.
fn pages_after(format: WalFormat, paths: &[PathBuf], end: Lsn) -> u64 {
    let first = header(&paths[0]).page_address;
    let mut scan = WalPageScan::new(format, TimelineHistory::first(), end);
    let mut skip = usize::try_from(end.distance_from(first).unwrap()).unwrap();
    for path in paths {
        let bytes = fs::read(path).unwrap();
        scan.feed(&bytes[skip.min(bytes.len())..]);
        skip = skip.saturating_sub(bytes.len());
    }
    scan.valid_pages()
}

#[test]
fn a_server_of_15_is_read_as_pg_waldump_reads_it() {
    compare_with_pg_waldump(PgVersion::V15);
}

#[test]
fn a_server_of_17_is_read_as_pg_waldump_reads_it() {
    compare_with_pg_waldump(PgVersion::V17);
}

#[test]
#[ignore = "slow tier: scripts/test --all"]
fn a_server_of_16_is_read_as_pg_waldump_reads_it() {
    compare_with_pg_waldump(PgVersion::V16);
}

#[test]
#[ignore = "slow tier: scripts/test --all"]
fn a_server_of_18_is_read_as_pg_waldump_reads_it() {
    compare_with_pg_waldump(PgVersion::V18);
}
