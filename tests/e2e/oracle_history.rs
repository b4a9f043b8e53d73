//! A history on three timelines, and all that its servers say of it.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::restore_oracle::lsn;
use crate::support::{PgVersion, Settled, Site, TestCluster, TestFolder};

const VERSION: PgVersion = PgVersion::V15;

/// A record that ends a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) start: u64,
    pub(crate) is_commit: bool,
    pub(crate) xid: u32,
    /// Microseconds since 1970.
    pub(crate) time: i64,
    /// The rows that it makes visible.
    pub(crate) rows: Vec<i64>,
}

/// Everything on the path of a timeline, oldest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Place {
    /// Begin and end of each record.
    pub(crate) records: Vec<(u64, u64)>,
    pub(crate) endings: Vec<Ending>,
    /// Begin, end and name of each restore point.
    pub(crate) points: Vec<(u64, u64, String)>,
}

impl Place {
    /// The rows of the commits that are recovered.
    pub(crate) fn rows(&self, is_recovered: impl Fn(u64) -> bool) -> Vec<i64> {
        let recovered = self.endings.iter().filter(|ending| is_recovered(ending.start));
        let mut rows: Vec<i64> = recovered.flat_map(|ending| ending.rows.iter().copied()).collect();
        rows.sort_unstable();
        rows
    }

    /// What of it lies before a position.
    fn until(&self, fork: u64) -> Self {
        let mut place = self.clone();
        place.records.retain(|(start, _)| *start < fork);
        place.endings.retain(|ending| ending.start < fork);
        place.points.retain(|(start, ..)| *start < fork);
        place
    }
}

/// The servers are gone, the archive is there.
pub(crate) struct History {
    pub(crate) site: Site,
    /// One for each timeline, from 1 on.
    pub(crate) paths: Vec<Place>,
    /// The timeline of each backup, and where its WAL begins and ends.
    pub(crate) backups: BTreeMap<String, (u32, u64, u64)>,
    pub(crate) first_backup_start: u64,
    pub(crate) first_backup_end: u64,
    /// The transaction of a savepoint that was released: none that recovery can stop at.
    pub(crate) subtransaction: u32,
    /// A prepared transaction that never ended.
    pub(crate) prepared_only: u32,
    /// A time behind the last commit, before the last restore point.
    pub(crate) idle_time: String,
    pub(crate) folder: TestFolder,
}

/// Writes the history.
struct Scribe {
    next_id: i64,
}

impl Scribe {
    /// `INSERT` of so many new rows.
    fn rows(&mut self, count: i64) -> String {
        let first = self.next_id;
        self.next_id += count;
        format!("INSERT INTO oracle SELECT generate_series({first}, {})", self.next_id - 1)
    }

    /// Everything that can end a transaction, twice over.
    fn busy(&mut self, server: &TestCluster, label: &str) {
        for round in 0..2 {
            server.query(&self.rows(1));
            server.query(&format!("BEGIN; {}; ROLLBACK", self.rows(2)));
            let (prepared, undone) = (format!("{label}-{round}-kept"), format!("{label}-{round}-undone"));
            server.query(&format!("BEGIN; {}; PREPARE TRANSACTION '{prepared}'", self.rows(1)));
            server.query(&format!("BEGIN; {}; PREPARE TRANSACTION '{undone}'", self.rows(1)));
            server.query(&format!(
                "BEGIN; {}; SAVEPOINT a; {}; RELEASE a; SAVEPOINT b; {}; ROLLBACK TO b; {}; COMMIT",
                self.rows(1),
                self.rows(1),
                self.rows(1),
                self.rows(1)
            ));
            server.query(&format!("SELECT pg_create_restore_point('{label}-{round}')"));
            server.query(&self.rows(2));
            server.query(&format!("COMMIT PREPARED '{prepared}'"));
            server.query(&format!("ROLLBACK PREPARED '{undone}'"));
            server.query(&format!("BEGIN; SAVEPOINT s; {}; RELEASE s; ROLLBACK", self.rows(1)));
            server.query(&self.rows(1));
            if round == 0 {
                server.query("SELECT pg_switch_wal()");
            }
        }
        // A record over many pages, and one over the end of a segment as often as not.
        server.query("SELECT pg_logical_emit_message(false, 'filler', repeat('x', 700000))");
        server.query(&self.rows(1));
    }
}

impl History {
    pub(crate) fn new() -> Self {
        let folder = TestFolder::in_memory("oracle");
        let builder = TestCluster::builder(VERSION, &folder).initdb("--wal-segsize=1");
        let builder =
            builder.line("max_prepared_transactions = 20").line("autovacuum = off").line("wal_keep_size = 500MB");
        let mut site = Site::of(builder.line("shared_buffers = 2MB").line("bgwriter_delay = 10s"), &folder);
        let mut scribe = Scribe { next_id: 1 };
        let mut backups = BTreeMap::new();
        let primary = &site.primary;
        primary.query("CREATE EXTENSION pg_walinspect");
        primary.query("CREATE TABLE oracle (id bigint PRIMARY KEY, top xid8 DEFAULT pg_current_xact_id())");
        scribe.busy(primary, "before");
        primary.query("SELECT pg_create_restore_point('twice')");
        let first = backup(&site, primary, &mut backups);
        primary.query("SELECT pg_create_restore_point('twice')");
        scribe.busy(primary, "one");
        let fork = primary.now();
        primary.query(&scribe.rows(1));
        backup(&site, primary, &mut backups);
        primary.query("SELECT pg_create_restore_point('twice')");
        scribe.busy(primary, "one-more");
        let prepared = primary
            .query(&format!("BEGIN; {}; SELECT pg_current_xact_id(); PREPARE TRANSACTION 'open'", scribe.rows(1)));
        let subtransaction = subtransaction(primary, &mut scribe);
        let idle_time = primary.now().text;
        primary.query("SELECT pg_create_restore_point('idle')");
        primary.archive_all();
        let mut paths = vec![observe(primary, None, &Place::default())];
        site.primary.stop();

        // Back to before the second backup, and on from there; then once more, within the second timeline.
        let mut two = branch(&site, &folder, "two", &["--target-time", &fork.text, "--target-timeline", "1"]);
        scribe.busy(&two, "two");
        backup(&site, &two, &mut backups);
        two.query(&scribe.rows(2));
        let fork = two.now();
        scribe.busy(&two, "two-more");
        two.query("SELECT pg_create_restore_point('twice')");
        two.archive_all();
        paths.push(observe(&two, Some(2), &paths[0]));
        two.stop();
        let mut three = branch(&site, &folder, "three", &["--target-time", &fork.text, "--target-timeline", "2"]);
        scribe.busy(&three, "three");
        // It goes further than the others, what they wrote when they were stopped included.
        let behind = paths.iter().map(|place| place.records.last().unwrap().1).max().unwrap() + (4 << 20);
        while lsn(&Value::from(three.query("SELECT pg_current_wal_insert_lsn()"))) < behind {
            three.query("SELECT pg_logical_emit_message(false, '', 'further')");
            three.query("SELECT pg_switch_wal()");
        }
        three.archive_all();
        paths.push(observe(&three, Some(3), &paths[1]));
        three.stop();
        let (first_backup_start, first_backup_end) = first;
        let prepared_only = prepared.parse().unwrap();
        Self {
            site,
            paths,
            backups,
            first_backup_start,
            first_backup_end,
            subtransaction,
            prepared_only,
            idle_time,
            folder,
        }
    }

    /// Where the WAL of each backup begins that lies on the path of a timeline.
    pub(crate) fn backup_starts(&self, timeline: u32) -> impl Iterator<Item = u64> {
        let records = &self.path(timeline).records;
        let is_on = move |(of_backup, start, end): &&(u32, u64, u64)| {
            *of_backup <= timeline
                && records.iter().any(|(record, _)| record == start)
                && records.iter().any(|(_, record)| record == end)
        };
        self.backups.values().filter(is_on).map(|(_, start, _)| *start)
    }

    /// What lies on the path of a timeline.
    pub(crate) fn path(&self, timeline: u32) -> &Place {
        &self.paths[usize::try_from(timeline).unwrap() - 1]
    }
}

/// The number of a released savepoint's transaction.
fn subtransaction(primary: &TestCluster, scribe: &mut Scribe) -> u32 {
    let id = scribe.next_id;
    primary.query(&format!("BEGIN; SELECT pg_current_xact_id(); SAVEPOINT s; {}; RELEASE s; COMMIT", scribe.rows(1)));
    primary.query(&format!("SELECT xmin FROM oracle WHERE id = {id}")).parse().unwrap()
}

fn backup(site: &Site, server: &TestCluster, backups: &mut BTreeMap<String, (u32, u64, u64)>) -> (u64, u64) {
    let taken = site.pgv.run("pgv-basebackup", &["--checkpoint", "fast", "--output", "json", "-d", &server.conninfo()]);
    let taken: Value = serde_json::from_str(&taken.success().stdout).unwrap();
    let taken = &taken["backup"];
    let range = (lsn(&taken["start_lsn"]), lsn(&taken["stop_lsn"]));
    let timeline = server.query("SELECT timeline_id FROM pg_control_checkpoint()").parse().unwrap();
    backups.insert(taken["id"].as_str().unwrap().to_owned(), (timeline, range.0, range.1));
    range
}

/// Recovers to a target, takes the original's place, and archives from now on.
fn branch(site: &Site, folder: &TestFolder, name: &str, target: &[&str]) -> TestCluster {
    let data = folder.join(name);
    let in_place = ["--keep-archiving", "--old-primary-is-gone", "--target-action", "promote"];
    site.restore(&data, &[&in_place, target].concat()).success();
    configure_pgdata(site, folder, &data);
    let mut server = TestCluster::at(VERSION, folder, &format!("{name}-s"), &data);
    assert_eq!(server.start_and_settle(), Settled::Open, "log:\n{}", server.log());
    server
}

/// What a person changes after a failover: the configured cluster lives elsewhere now.
fn configure_pgdata(site: &Site, folder: &TestFolder, data: &Path) {
    let text = std::fs::read_to_string(&site.pgv.config).unwrap();
    let lines = text.lines().map(|line| match line.starts_with("pgdata") {
        true => format!("pgdata = \"{}\"", data.display()),
        false => line.to_owned(),
    });
    let changed: Vec<String> = lines.collect();
    folder.write("pgv.toml", changed.join("\n") + "\n");
}

/// What a server says of its WAL, behind what is known of its parent up to the fork.
fn observe(server: &TestCluster, timeline: Option<u32>, parent: &Place) -> Place {
    let (mut place, from) = match timeline {
        None => (Place::default(), server.query("SELECT redo_lsn FROM pg_control_checkpoint()")),
        Some(timeline) => {
            let history = std::fs::read_to_string(server.data.join(format!("pg_wal/{timeline:08}.history"))).unwrap();
            let fork = history.lines().rfind(|line| !line.is_empty()).unwrap().split('\t').nth(1).unwrap().to_owned();
            (parent.until(lsn(&Value::from(fork.as_str()))), fork)
        }
    };
    // The oldest that is kept: enough for all backups.
    let from = if timeline.is_none() { first_lsn(server) } else { from };
    // Transactions of this timeline's rows; those of the parent have their commits there.
    let known: Vec<i64> = place.rows(|_| true);
    let mut by_xid: BTreeMap<u32, Vec<i64>> = BTreeMap::new();
    for line in server.query("SELECT id, top FROM oracle").lines() {
        let (id, xid) = line.split_once('|').unwrap();
        let id: i64 = id.parse().unwrap();
        if !known.contains(&id) {
            by_xid.entry(xid.parse().unwrap()).or_default().push(id);
        }
    }
    let sql = format!(
        "SELECT start_lsn, end_lsn, xid, record_type, \
         CASE WHEN resource_manager = 'Transaction' OR record_type = 'RESTORE_POINT' THEN description END \
         FROM pg_get_wal_records_info_till_end_of_wal('{from}')"
    );
    let end = lsn(&Value::from(server.query("SELECT pg_current_wal_insert_lsn()")));
    // What was written after the last archived segment is in no archive.
    let archived = end / (1 << 20) * (1 << 20);
    for line in server.query(&sql).lines() {
        let fields: Vec<&str> = line.splitn(5, '|').collect();
        let at = |number: usize| lsn(&Value::from(fields[number]));
        let (start, end) = (at(0), at(1));
        if start >= archived {
            break;
        }
        place.records.push((start, end));
        match fields[3] {
            "RESTORE_POINT" => place.points.push((start, end, fields[4].to_owned())),
            kind @ ("COMMIT" | "ABORT" | "COMMIT_PREPARED" | "ABORT_PREPARED") => {
                place.endings.push(ending(start, kind, &fields, &mut by_xid));
            }
            _ => {}
        }
    }
    assert!(by_xid.is_empty(), "no commit was seen of {by_xid:?}");
    place
}

fn first_lsn(server: &TestCluster) -> String {
    let name = server.query("SELECT min(name) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'");
    let number = u64::from_str_radix(&name[8..16], 16).unwrap() * 4096 + u64::from_str_radix(&name[16..], 16).unwrap();
    format!("0/{:X}", number << 20)
}

/// `123: 2026-11-21 05:22:50.123456+00; ...` of a prepared one, else without the number.
fn ending(start: u64, kind: &str, fields: &[&str], by_xid: &mut BTreeMap<u32, Vec<i64>>) -> Ending {
    let mut text = fields[4];
    let mut xid: u32 = fields[2].parse().unwrap();
    if kind.ends_with("_PREPARED") {
        let (prepared, rest) = text.split_once(": ").unwrap();
        (xid, text) = (prepared.parse().unwrap(), rest);
    }
    let time = text.split(';').next().unwrap().trim();
    let time: jiff::Timestamp = time.parse().unwrap_or_else(|error| panic!("{error}: {fields:?}"));
    let is_commit = kind.starts_with("COMMIT");
    let rows = if is_commit { by_xid.remove(&xid).unwrap_or_default() } else { Vec::new() };
    Ending { start, is_commit, xid, time: time.as_microsecond(), rows }
}
