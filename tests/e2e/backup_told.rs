//! What pgv-basebackup says on the way: what it waits for, how far it is, what it cannot store, and what the server says of
//! its archiving.

use std::fs;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::{PgVersion, Site, TestCluster, TestFolder, run_within, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);
/// Configuration that lies elsewhere, and that nobody may read any more.
const OUTSIDE: &str = "outside.conf";

/// A site with a configuration file that cannot be read.
fn site_with_hidden_configuration(folder: &TestFolder) -> Site {
    let outside = folder.write(OUTSIDE, "local all all trust\nlocal replication all trust\n");
    let line = format!("hba_file = '{}'", outside.display());
    let site = Site::of(TestCluster::builder(PgVersion::V15, folder).line(line), folder);
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o000)).unwrap();
    site
}

#[test]
fn what_it_waits_for_and_what_it_cannot_store_is_said() {
    let folder = TestFolder::new("told");
    let site = site_with_hidden_configuration(&folder);
    // Little is left for the checkpoint, which would take its time.
    site.primary.query("CHECKPOINT");
    let spread = site.pgv.run("pgv-basebackup", &[]).success();
    let spread = spread
        .expect_stderr("waiting for the server's checkpoint, which may take minutes; --checkpoint fast hurries it");
    let hidden = format!(
        "configuration file \"{}\" lies outside the data directory and could not be read",
        folder.join(OUTSIDE).display()
    );
    spread.expect_stderr(&hidden);
    let fast = site.backup(&[]).success();
    assert!(
        fast.stderr.contains("waiting for the server's checkpoint") && !fast.stderr.contains("hurries it"),
        "{fast}"
    );

    site.primary.query("CREATE ROLE plain LOGIN REPLICATION");
    let blind = site.backup(&["-U", "plain"]).success();
    blind
        .expect_stderr("the role may not see where the server's configuration files lie")
        .expect_stderr("pg_read_all_settings");
}

/// What the archive holds says nothing of a command that fails, and this role cannot try it.
#[test]
fn archiving_that_fails_is_told_to_a_role_that_may_not_end_a_segment() {
    let folder = TestFolder::new("told-archiver");
    let site = Site::new(PgVersion::V15, &folder);
    site.primary.query("CREATE ROLE plain LOGIN REPLICATION");
    const TOLD: &str = "the server's archiver has failed ";
    let sound = site.backup(&["-U", "plain"]).success();
    assert!(!sound.stderr.contains(TOLD), "{sound}");
    // It stores a segment, and fails all the same, so that the server never goes on to the next.
    let command = site.primary.query("SHOW archive_command").replace('\'', "''");
    site.primary.configure(&[&format!("archive_command = '{command}; false'")]);
    site.primary.reload();
    site.primary.switch_wal();
    let failed = "SELECT last_failed_time > last_archived_time FROM pg_stat_archiver";
    wait_until("archiving has failed", PATIENCE, || site.primary.query(failed) == "t");
    let told = site.backup(&["-U", "plain", "--archive-timeout", "2s"]).expect_code(4);
    let before = told.stderr.split("backing up: ").next().unwrap();
    assert!(before.contains(TOLD) && before.contains("this role may not end a segment"), "{told}");
}

/// On a terminal, by util-linux's script: a bar with the rate and the time that is left.
#[test]
fn a_terminal_gets_a_bar() {
    let folder = TestFolder::new("told-bar");
    let site = Site::new(PgVersion::V15, &folder);
    let backup = site.pgv.command("pgv-basebackup", &["--checkpoint", "fast", "--max-rate", "16MB"]);
    let words: Vec<String> = [backup.get_program()]
        .into_iter()
        .chain(backup.get_args())
        .map(|word| format!("'{}'", word.to_str().unwrap()))
        .collect();
    let line = format!("stty cols 120 rows 40; {}", words.join(" "));
    let mut script = crate::support::TestAccount::get().command("script");
    script
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("TERM", "xterm")
        .env("PGV_BACKUP_METHOD", "stream")
        .current_dir("/");
    script.args(["-q", "-e", "-c", &line, "/dev/null"]);
    let shown = run_within(PATIENCE, script).success();
    assert!(shown.stdout.contains("MiB/s, ") && shown.stdout.contains(" left"), "{shown}");
    let plain = site.backup(&[]).success();
    assert!(plain.stderr.contains("backing up: ") && !plain.stderr.contains('\x1b'), "{plain}");
}

/// Hands connections on: the first to one socket, all others to the other.
fn hand_on(listener: TcpListener, first: PathBuf, others: PathBuf) {
    std::thread::spawn(move || {
        for (number, client) in listener.incoming().enumerate() {
            let server = if number == 0 { &first } else { &others };
            let Ok((client, server)) = client.and_then(|client| Ok((client, UnixStream::connect(server)?))) else {
                return;
            };
            let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || {
                drop(io::copy(&mut from, &mut to));
                drop(to.shutdown(std::net::Shutdown::Write));
            });
            std::thread::spawn(move || back(server, client));
        }
    });
}

fn back(mut server: UnixStream, mut client: TcpStream) {
    drop(io::copy(&mut server, &mut client));
    drop(client.shutdown(std::net::Shutdown::Write));
}

fn socket_of(cluster: &TestCluster) -> PathBuf {
    Path::new(&cluster.socket_folder).join(format!(".s.PGSQL.{}", cluster.port))
}

/// As behind an address that was moved between two connections.
#[test]
fn two_servers_under_one_address_are_refused() {
    let folder = TestFolder::new("told-two");
    let site = Site::new(PgVersion::V15, &folder);
    let other = TestCluster::builder(PgVersion::V15, &folder).name("other").start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let conninfo =
        format!("host=127.0.0.1 port={} user=postgres dbname=postgres", listener.local_addr().unwrap().port());
    hand_on(listener, socket_of(&site.primary), socket_of(&other));
    let refused = site.backup(&["-d", &conninfo]).expect_code(3);
    let identifier = |cluster: &TestCluster| cluster.query("SELECT system_identifier FROM pg_control_system()");
    refused.expect_stderr(&format!(
        "the two connections reached different clusters: {} by SQL, {} by replication",
        identifier(&site.primary),
        identifier(&other)
    ));
    assert_eq!(site.backups(), [""; 0]);
}
