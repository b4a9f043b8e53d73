//! A real server of a test: made by initdb or restored by somebody, started and stopped at will.
//!
//! The postmaster is a direct child of the test, so its end is seen at once and a killed test leaves no server behind.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::support::wait::PATIENCE;
use crate::support::{Outcome, PgVersion, TestAccount, TestFolder, run, run_within, wait_until};

/// A data directory and the server that may run in it. Dropping it stops the server.
pub(crate) struct TestCluster {
    pub(crate) version: PgVersion,
    pub(crate) data: PathBuf,
    pub(crate) port: u16,
    /// Where the Unix-domain socket is; also the value for `-h`.
    pub(crate) socket_folder: PathBuf,
    pub(super) log_path: PathBuf,
    pub(super) postmaster: Option<Child>,
    name: String,
}

/// What a new cluster shall be like.
pub(crate) struct Builder<'a> {
    version: PgVersion,
    folder: &'a TestFolder,
    name: String,
    lines: Vec<String>,
    initdb_options: Vec<String>,
}

impl TestCluster {
    /// A new cluster below `folder`.
    pub(crate) fn builder(version: PgVersion, folder: &TestFolder) -> Builder<'_> {
        Builder { version, folder, name: "primary".to_owned(), lines: Vec::new(), initdb_options: Vec::new() }
    }

    /// A cluster that somebody else put at `data`; not started. Port, socket and log are its own, whatever its
    /// configuration says.
    pub(crate) fn at(version: PgVersion, folder: &TestFolder, name: &str, data: &Path) -> Self {
        Self {
            version,
            data: data.to_owned(),
            port: free_port(),
            socket_folder: folder.make(format!("{name}.s")),
            log_path: folder.join(format!("{name}.log")),
            postmaster: None,
            name: name.to_owned(),
        }
    }

    /// Runs SQL in the database `postgres`; rows as lines, columns separated by `|`. Panics when it fails.
    #[track_caller]
    pub(crate) fn query(&self, sql: &str) -> String {
        self.query_in("postgres", sql)
    }

    /// Like `query`, in another database.
    #[track_caller]
    pub(crate) fn query_in(&self, database: &str, sql: &str) -> String {
        self.try_query_in(database, sql).success().stdout.trim_end().to_owned()
    }

    /// Like `query`, but hands back failures.
    #[track_caller]
    pub(crate) fn try_query(&self, sql: &str) -> Outcome {
        self.try_query_in("postgres", sql)
    }

    #[track_caller]
    fn try_query_in(&self, database: &str, sql: &str) -> Outcome {
        let mut command = self.client("psql");
        run({
            command.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", sql]);
            command
        })
    }

    /// One of this version's client programs, told by options where this server is.
    pub(crate) fn client(&self, tool: &str) -> std::process::Command {
        let mut command = self.tool(tool);
        command.arg("-h").arg(&self.socket_folder).args(["-p", &self.port.to_string(), "-U", "postgres"]);
        command
    }

    /// One of this version's programs, as the test account, with an environment that names no server.
    pub(crate) fn tool(&self, tool: &str) -> std::process::Command {
        tool_command(self.version, tool)
    }

    /// A conninfo string for the Unix-domain socket.
    pub(crate) fn conninfo(&self) -> String {
        format!("host={} port={} user=postgres dbname=postgres", self.socket_folder.display(), self.port)
    }

    /// A conninfo string for the loopback address.
    pub(crate) fn tcp_conninfo(&self) -> String {
        format!("host=127.0.0.1 port={} user=postgres dbname=postgres", self.port)
    }

    /// All that the server has said since it was first started.
    pub(crate) fn log(&self) -> String {
        std::fs::read(&self.log_path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Waits until the log contains `text`.
    #[track_caller]
    pub(crate) fn wait_for_log(&self, text: &str) {
        wait_until(&format!("the log of {} contains {text:?}", self.name), PATIENCE, || self.log().contains(text));
    }

    /// Creates a tablespace in a new directory beside the data directory and returns that directory.
    pub(crate) fn create_tablespace(&self, folder: &TestFolder, tablespace: &str) -> PathBuf {
        let location = folder.make(format!("{}.{tablespace}", self.name));
        self.query(&format!("CREATE TABLESPACE {tablespace} LOCATION '{}'", location.display()));
        location
    }

    /// Drops the databases that others are made of, for tests that copy all files many times: a third of them will do.
    pub(crate) fn drop_templates(&self) {
        self.query("UPDATE pg_database SET datistemplate = false WHERE datname LIKE 'template%'");
        self.query("DROP DATABASE template0");
        self.query("DROP DATABASE template1");
    }

    /// Ends the present WAL segment, whatever it holds, and returns its name.
    pub(crate) fn switch_wal(&self) -> String {
        // something must be in the segment, or there is nothing to end
        // 13 cannot subtract, and up to 16 the byte before is meant in any case
        let sql = match self.version {
            PgVersion::V13 => "SELECT pg_walfile_name(pg_create_restore_point('harness'))",
            _ => "SELECT pg_walfile_name(pg_create_restore_point('harness') - 1)",
        };
        let segment = self.query(sql);
        self.query("SELECT pg_switch_wal()");
        segment
    }

    /// Ends the present WAL segment and waits until it and all before it are archived; returns its name.
    #[track_caller]
    pub(crate) fn archive_all(&self) -> String {
        let segment = self.switch_wal();
        self.wait_for_archived(&segment);
        segment
    }

    /// Waits until the server has marked `segment` and everything before it as archived.
    #[track_caller]
    pub(crate) fn wait_for_archived(&self, segment: &str) {
        let status = self.data.join("pg_wal/archive_status");
        wait_until(&format!("{segment} is archived by {}", self.name), PATIENCE, || {
            let waiting = std::fs::read_dir(&status).expect("a server has pg_wal/archive_status").any(|entry| {
                let name = entry.expect("a directory can be read").file_name().to_string_lossy().into_owned();
                name.ends_with(".ready") && name.trim_end_matches(".ready") <= segment
            });
            // a recycled segment has neither mark, one that is not finished has none yet
            let marked = status.join(format!("{segment}.done")).exists();
            !waiting && (marked || !self.data.join("pg_wal").join(segment).exists())
        });
    }

    /// Runs `command` the way the server runs archive_command: `sh -c`, in the data directory, umask 077, as the
    /// server's account; with no environment at all when `environment` is empty.
    #[track_caller]
    pub(crate) fn run_as_server(&self, command: &str, environment: &[(&str, &str)]) -> Outcome {
        let mut shell = TestAccount::get().command("/bin/sh");
        shell.env_clear().envs(environment.iter().copied()).current_dir(&self.data);
        shell.args(["-c", "umask 077; exec /bin/sh -c \"$1\"", "sh", command]);
        run(shell)
    }

    /// Appends lines to postgresql.conf; the caller reloads or restarts.
    pub(crate) fn configure(&self, lines: &[&str]) {
        let path = self.data.join("postgresql.conf");
        let mut text =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("could not read {path:?}: {error}"));
        for line in lines {
            text.push_str(line);
            text.push('\n');
        }
        // a process of the server that is late with an earlier reload must not read half of it
        let new = path.with_extension("harness");
        std::fs::write(&new, text).unwrap_or_else(|error| panic!("could not write {new:?}: {error}"));
        std::fs::set_permissions(&new, std::fs::metadata(&path).expect("it was read").permissions()).unwrap();
        TestAccount::get().take_over(&new);
        std::fs::rename(&new, &path).unwrap_or_else(|error| panic!("could not write {path:?}: {error}"));
    }

    /// Makes the server read its configuration again.
    pub(crate) fn reload(&self) {
        assert_eq!(self.query("SELECT pg_reload_conf()"), "t");
    }

    /// Ends recovery or standby mode and waits until the server takes writes.
    pub(crate) fn promote(&self) {
        assert_eq!(self.query("SELECT pg_promote(true, 60)"), "t", "log:\n{}", self.log());
    }

    /// Whether the server replays WAL.
    pub(crate) fn is_in_recovery(&self) -> bool {
        self.query("SELECT pg_is_in_recovery()") == "t"
    }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(40)..].join("\n");
            eprintln!("-- the last lines of {}:\n{tail}\n--", self.log_path.display());
        }
    }
}

impl Builder<'_> {
    /// Another name than "primary"; each cluster of a folder needs its own.
    pub(crate) fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// A line of postgresql.conf; a later one wins.
    pub(crate) fn line(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// An option of initdb, such as `--wal-segsize=1`.
    pub(crate) fn initdb(mut self, option: &str) -> Self {
        self.initdb_options.push(option.to_owned());
        self
    }

    /// Archives with this command.
    pub(crate) fn archive_command(self, command: &str) -> Self {
        let quoted = command.replace('\'', "''");
        self.line("archive_mode = on").line(format!("archive_command = '{quoted}'"))
    }

    /// Archives with PostgreSQL's own example: cp into `folder`, never over another file.
    pub(crate) fn archive_to_folder(self, folder: &Path) -> Self {
        let folder = folder.display();
        self.archive_command(&format!("test ! -f {folder}/%f && cp %p {folder}/%f"))
    }

    /// Creates the cluster and leaves it stopped.
    pub(crate) fn create(self) -> TestCluster {
        let data = self.folder.join(&self.name);
        let cluster = TestCluster::at(self.version, self.folder, &self.name, &data);
        let mut initdb = cluster.tool("initdb");
        initdb.args(["--no-sync", "--data-checksums", "--encoding=UTF8", "--locale=C", "--auth=trust"]);
        initdb.args(["--username=postgres", "--pgdata"]).arg(&data).args(&self.initdb_options);
        run_within(PATIENCE * 2, initdb).success();
        let (port, sockets) = (cluster.port, cluster.socket_folder.display());
        let mut lines = vec![
            format!("port = {port}"),
            format!("unix_socket_directories = '{sockets}'"),
            "listen_addresses = '127.0.0.1'".to_owned(),
            "fsync = off".to_owned(),
            "shared_buffers = 16MB".to_owned(),
            "max_connections = 30".to_owned(),
            "max_wal_senders = 10".to_owned(),
            "timezone = 'UTC'".to_owned(),
            "log_timezone = 'UTC'".to_owned(),
            "log_line_prefix = '%m [%p] '".to_owned(),
            // a killed server leaves nothing in /dev/shm
            "dynamic_shared_memory_type = mmap".to_owned(),
            // the oracle compares with the exact commit times
            "track_commit_timestamp = on".to_owned(),
        ];
        lines.extend(self.lines);
        cluster.configure(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        cluster
    }

    /// Creates the cluster and starts it.
    pub(crate) fn start(self) -> TestCluster {
        let mut cluster = self.create();
        cluster.start();
        cluster
    }
}

/// A program of `version` as the test account, with nothing in the environment that names a server.
pub(crate) fn tool_command(version: PgVersion, tool: &str) -> std::process::Command {
    let mut command = TestAccount::get().command(version.tool(tool));
    command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LC_ALL", "C").env("TZ", "UTC");
    // libpq looks for the service and password files of the home directory
    command.env("HOME", "/nonexistent").current_dir("/");
    command
}

/// A port of the loopback address that nobody listens on, different for each call of each test process.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // below the range that the kernel hands out for outgoing connections
    let start = u16::try_from(std::process::id() % 1000).expect("it is below 1000") * 10;
    // a copy that is started beside its original takes the next ones
    (0..10_000)
        .map(|_| 20_000 + (start + NEXT.fetch_add(4, Ordering::Relaxed)) % 10_000)
        .find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("one of ten thousand ports is free")
}
