//! `pg_waldump` as an oracle for the WAL reader: both sides in one comparable form.

use std::path::Path;

use pgv::pg::{
    CheckpointKind, CreatedDatabase, DroppedRelation, Lsn, PgMajorVersion, TransactionEnd, WalContent, WalRecord,
};

/// A record as pg_waldump tells it, reduced to what both sides know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DumpedRecord {
    pub(crate) lsn: Lsn,
    pub(crate) previous: u64,
    pub(crate) manager: String,
    pub(crate) total_bytes: u32,
    pub(crate) xid: u32,
    /// Empty for records whose content the reader does not tell.
    pub(crate) description: String,
}

/// The lines of pg_waldump, run with TZ=UTC.
pub(crate) fn parse_dump(text: &str) -> Vec<DumpedRecord> {
    text.lines().map(parse_line).collect()
}

pub(crate) fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let rest = text.split_once(before).unwrap_or_else(|| panic!("no {before:?} in {text:?}")).1;
    rest.split_once(after).unwrap_or_else(|| panic!("no {after:?} in {rest:?}")).0.trim()
}

fn position(text: &str) -> u64 {
    let (high, low) = text.split_once('/').unwrap();
    (u64::from_str_radix(high, 16).unwrap() << 32) | u64::from_str_radix(low, 16).unwrap()
}

fn parse_line(line: &str) -> DumpedRecord {
    let manager = between(line, "rmgr: ", " ").to_owned();
    let description = line.split_once("desc: ").unwrap().1;
    DumpedRecord {
        lsn: Lsn::new(position(between(line, "lsn: ", ","))).unwrap(),
        previous: position(between(line, "prev ", ",")),
        total_bytes: between(line, "len (rec/tot):", ",").split_once('/').unwrap().1.trim().parse().unwrap(),
        xid: between(line, "tx:", ",").parse().unwrap(),
        description: reduced(&manager, description.split(", blkref").next().unwrap().trim_end()),
        manager,
    }
}

/// Of a description what the reader tells, too.
fn reduced(manager: &str, description: &str) -> String {
    let word = description.split(' ').next().unwrap();
    let parts = |prefixes: &[&str]| {
        let kept = description.split("; ").filter(|part| prefixes.iter().any(|prefix| part.starts_with(prefix)));
        kept.collect::<Vec<_>>().join("; ")
    };
    match (manager, word) {
        ("Transaction", "COMMIT" | "ABORT" | "COMMIT_PREPARED" | "ABORT_PREPARED") => {
            let mut kept = parts(&[word, "rels: "]);
            if let Some(list) = description.split("; ").find_map(|part| part.strip_prefix("subxacts: ")) {
                kept.push_str(&format!("; subxacts: {}", list.split(' ').count()));
            }
            kept
        }
        ("XLOG", "CHECKPOINT_ONLINE" | "CHECKPOINT_SHUTDOWN") => parts(&[word, "tli ", "prev tli ", "xid "]),
        ("XLOG", "END_OF_RECOVERY") => parts(&[word, "prev tli ", "time "]),
        ("XLOG", "OVERWRITE_CONTRECORD") => parts(&[word]),
        ("XLOG", "CHECKPOINT_REDO") => word.to_owned(),
        ("XLOG", "SWITCH" | "BACKUP_END" | "PARAMETER_CHANGE" | "RESTORE_POINT" | "FPW_CHANGE") => {
            description.to_owned()
        }
        ("Tablespace" | "Database", _) => description.to_owned(),
        _ => String::new(),
    }
}

/// What the reader says, in pg_waldump's words.
pub(crate) fn as_dumped(record: &WalRecord, major: PgMajorVersion) -> DumpedRecord {
    const MANAGERS: [&str; 22] = [
        "XLOG",
        "Transaction",
        "Storage",
        "CLOG",
        "Database",
        "Tablespace",
        "MultiXact",
        "RelMap",
        "Standby",
        "Heap2",
        "Heap",
        "Btree",
        "Hash",
        "Gin",
        "Gist",
        "Sequence",
        "SPGist",
        "BRIN",
        "CommitTs",
        "ReplicationOrigin",
        "Generic",
        "LogicalMessage",
    ];
    DumpedRecord {
        lsn: record.lsn,
        previous: record.previous_lsn.map_or(0, Lsn::get),
        manager: MANAGERS[usize::from(record.resource_manager)].to_owned(),
        total_bytes: record.total_bytes,
        xid: record.xid.unwrap_or(0),
        description: described(&record.content, major),
    }
}

fn shown(lsn: Option<Lsn>) -> String {
    lsn.map_or_else(|| "0/0".to_owned(), |lsn| lsn.to_string())
}

fn time(time: jiff::Timestamp) -> String {
    format!("{} UTC", time.strftime("%Y-%m-%d %H:%M:%S.%6f"))
}

fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

fn described(content: &WalContent, major: PgMajorVersion) -> String {
    let oid_path = |tablespace: u32, database: u32| format!("{tablespace}/{database}");
    match content {
        WalContent::Commit(end) => transaction("COMMIT", end, major),
        WalContent::Abort(end) => transaction("ABORT", end, major),
        WalContent::RestorePoint(point) => format!("RESTORE_POINT {}", String::from_utf8_lossy(&point.name)),
        WalContent::Checkpoint(checkpoint) => {
            let kind = match checkpoint.kind {
                CheckpointKind::Online => "ONLINE",
                CheckpointKind::Shutdown => "SHUTDOWN",
            };
            let (epoch, xid) = (checkpoint.next_xid >> 32, checkpoint.next_xid & 0xFFFF_FFFF);
            let (redo, tli) = (shown(checkpoint.redo_lsn), checkpoint.timeline);
            format!(
                "CHECKPOINT_{kind} redo {redo}; tli {tli}; prev tli {}; xid {epoch}:{xid}",
                checkpoint.previous_timeline
            )
        }
        WalContent::CheckpointRedo => "CHECKPOINT_REDO".to_owned(),
        WalContent::EndOfRecovery(start) => {
            let (timeline, previous) = (start.timeline, start.previous_timeline);
            format!("END_OF_RECOVERY tli {timeline}; prev tli {previous}; time {}", time(start.time))
        }
        WalContent::Switch => "SWITCH".to_owned(),
        WalContent::BackupEnd { start_lsn } => format!("BACKUP_END {}", shown(*start_lsn)),
        WalContent::ParameterChange(change) => format!(
            "PARAMETER_CHANGE max_connections={} max_worker_processes={} max_wal_senders={} max_prepared_xacts={} \
             max_locks_per_xact={} wal_level={} wal_log_hints={} track_commit_timestamp={}",
            change.max_connections,
            change.max_worker_processes,
            change.max_wal_senders,
            change.max_prepared_xacts,
            change.max_locks_per_xact,
            change.wal_level,
            on_off(change.wal_log_hints),
            on_off(change.track_commit_timestamp),
        ),
        WalContent::FullPageWrites(on) => format!("FPW_CHANGE {on}"),
        WalContent::OverwrittenRecord { lsn } => format!("OVERWRITE_CONTRECORD lsn {}", shown(*lsn)),
        WalContent::CreateTablespace { oid, path } => format!("CREATE {oid} \"{}\"", String::from_utf8_lossy(path)),
        WalContent::DropTablespace { oid } => format!("DROP {oid}"),
        WalContent::CreateDatabase(CreatedDatabase { oid, tablespace_oid, copied_from }) => match copied_from {
            Some((database, tablespace)) => format!(
                "CREATE_FILE_COPY copy dir {} to {}",
                oid_path(*tablespace, *database),
                oid_path(*tablespace_oid, *oid)
            ),
            None => format!("CREATE_WAL_LOG create dir {}", oid_path(*tablespace_oid, *oid)),
        },
        WalContent::DropDatabase { oid, tablespaces } => {
            let folders: Vec<String> = tablespaces.iter().map(|tablespace| oid_path(*tablespace, *oid)).collect();
            format!("DROP dir {}", folders.join(" "))
        }
        _ => String::new(),
    }
}

fn transaction(word: &str, end: &TransactionEnd, major: PgMajorVersion) -> String {
    let mut text = match end.xid.filter(|_| end.prepared) {
        Some(xid) => format!("{word}_PREPARED {xid}: {}", time(end.time)),
        None => format!("{word} {}", time(end.time)),
    };
    if !end.dropped.is_empty() {
        let paths: Vec<String> = end.dropped.iter().map(|relation| relation_path(relation, major)).collect();
        text.push_str(&format!("; rels: {}", paths.join(" ")));
    }
    if end.subtransactions > 0 {
        text.push_str(&format!("; subxacts: {}", end.subtransactions));
    }
    text
}

/// The path of a relation's first file, as in `pg_relation_filepath()`.
pub(crate) fn relation_path(relation: &DroppedRelation, major: PgMajorVersion) -> String {
    let DroppedRelation { tablespace_oid, database_oid, file_number } = *relation;
    match (tablespace_oid, database_oid) {
        (1663, Some(database)) => format!("base/{database}/{file_number}"),
        (1664, None) => format!("global/{file_number}"),
        (tablespace, database) => {
            let catalog = match major.get() {
                13 => 202_007_201,
                14 => 202_107_181,
                15 => 202_209_061,
                16 => 202_307_071,
                17 => 202_406_281,
                _ => 202_506_291,
            };
            let folder = format!("pg_tblspc/{tablespace}/PG_{major}_{catalog}");
            format!("{folder}/{}/{file_number}", database.unwrap_or(0))
        }
    }
}

/// The whole content of a file that zstd compressed.
pub(crate) fn unpacked(path: &Path) -> Vec<u8> {
    let file = std::fs::File::open(path).unwrap_or_else(|error| panic!("could not open {path:?}: {error}"));
    zstd::decode_all(file).unwrap_or_else(|error| panic!("could not decompress {path:?}: {error}"))
}
