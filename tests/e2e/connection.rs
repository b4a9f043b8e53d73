//! Backups over the network: TLS that is verified, passwords that are never shown, refusals that say which option.

use std::path::Path;
use std::time::Duration;

use crate::support::{Ledger, PgVersion, Settled, Site, TestAccount, TestCluster, TestFolder, run, run_within};

const PASSWORD: &str = "canary-Xk29-password";

/// A certificate for `localhost` that signs itself, as PostgreSQL's manual makes one.
fn make_certificate(folder: &TestFolder, data: &Path) -> std::path::PathBuf {
    let mut command = TestAccount::get().command("openssl");
    command.args(["req", "-new", "-x509", "-days", "30", "-nodes", "-subj", "/CN=localhost"]);
    command.args(["-addext", "subjectAltName=DNS:localhost", "-out"]).arg(data.join("server.crt"));
    command.arg("-keyout").arg(data.join("server.key"));
    run(command).success();
    let mut chmod = TestAccount::get().command("chmod");
    run({
        chmod.arg("0600").arg(data.join("server.key"));
        chmod
    })
    .success();
    let root = folder.join("root.crt");
    std::fs::copy(data.join("server.crt"), &root).unwrap();
    root
}

/// A site whose server takes TCP connections with TLS and SCRAM alone, and a role with a password.
fn site(folder: &TestFolder) -> (Site, std::path::PathBuf) {
    let site = Site::new(PgVersion::V15, folder);
    let root = make_certificate(folder, &site.primary.data);
    site.primary.query(&format!("CREATE ROLE net LOGIN REPLICATION PASSWORD '{PASSWORD}'"));
    site.primary.query("GRANT pg_read_all_settings TO net");
    std::fs::write(
        site.primary.data.join("pg_hba.conf"),
        "local all all trust\nlocal replication all trust\n\
         hostssl all net 127.0.0.1/32 scram-sha-256\nhostssl replication net 127.0.0.1/32 scram-sha-256\n",
    )
    .unwrap();
    site.primary.configure(&["ssl = on"]);
    site.primary.reload();
    (site, root)
}

fn over_tcp(primary: &TestCluster, more: &str) -> String {
    format!("host=localhost hostaddr=127.0.0.1 port={} user=net dbname=postgres {more}", primary.port)
}

#[test]
fn a_backup_over_tls_with_scram_and_a_password_file() {
    let folder = TestFolder::new("connection-tls");
    let (site, root) = site(&folder);
    let passfile = folder.write("pgpass", format!("localhost:*:*:net:{PASSWORD}\n"));
    let mut chmod = TestAccount::get().command("chmod");
    chmod.arg("0600").arg(&passfile);
    run(chmod).success();
    let strict = format!(
        "sslmode=verify-full channel_binding=require sslrootcert={} passfile={}",
        root.display(),
        passfile.display()
    );
    let mut ledger = Ledger::create(&site.primary);
    ledger.commit_many(&site.primary, 3);
    let outcome = site.backup(&["-d", &over_tcp(&site.primary, &strict)]).success();
    ledger.commit_many(&site.primary, 3);
    site.primary.archive_all();
    assert!(!format!("{outcome}").contains(PASSWORD), "{outcome}");
    assert_eq!(site.backups().len(), 1);
    // What was stored holds no password either.
    for entry in walk(&site.pgv.repository) {
        let bytes = std::fs::read(&entry).unwrap();
        let plain = zstd::decode_all(bytes.as_slice()).unwrap_or(bytes);
        let found = plain.windows(PASSWORD.len()).any(|window| window == PASSWORD.as_bytes());
        // The table of roles holds SCRAM verifiers, never the password; WAL may hold the statement's text nowhere.
        assert!(!found, "{entry:?} holds the password");
    }
    let data = folder.join("copy");
    site.restore(&data, &[]).success();
    let mut copy = TestCluster::at(PgVersion::V15, &folder, "copy-server", &data);
    assert_eq!(copy.start_and_settle(), Settled::Open, "log:\n{}", copy.log());
    Ledger::assert(&copy, &ledger.all());
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(walk(&path)) } else { files.push(path) }
    }
    files
}

/// Rows: what is changed in the connection, the exit status, words of the message.
#[test]
fn a_connection_that_cannot_be_trusted_is_refused() {
    let folder = TestFolder::new("connection-refused");
    let (site, root) = site(&folder);
    let root = root.display();
    let other_root = folder
        .write("other.crt", std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tls/root.crt")).unwrap());
    let password = format!("password={PASSWORD}");
    let rows = [
        (format!("sslmode=verify-full sslrootcert={root} password=wrong"), "password authentication failed"),
        (format!("sslmode=verify-full sslrootcert={root}"), "asks for the password of role \"net\" and none is known"),
        (format!("sslmode=disable {password}"), "pg_hba.conf"),
        (
            format!("sslmode=verify-full sslrootcert={} {password}", other_root.display()),
            "it is not signed by a trusted root",
        ),
        (format!("sslmode=verify-full sslrootcert=/no/such/file {password}"), "/no/such/file"),
        (
            format!("sslmode=verify-full sslrootcert={root} {password} host=elsewhere.example"),
            "it is not made out to \"elsewhere.example\"",
        ),
    ];
    for (more, words) in rows {
        let mut command = site.pgv.command("pgv-basebackup", &["-d", &over_tcp(&site.primary, &more)]);
        command.env("PGPASSFILE", "/dev/null");
        let outcome = run_within(Duration::from_secs(60), command);
        assert!(matches!(outcome.code(), 2..=5), "{more}: {outcome}");
        assert!(outcome.stderr.contains(words), "{more}: {outcome}");
        assert!(!outcome.stderr.contains(PASSWORD), "{outcome}");
    }
    assert_eq!(site.backups(), [""; 0]);
}

/// A password in a file of variables works, and the file must be private.
#[test]
fn a_password_in_a_file_of_variables() {
    let folder = TestFolder::new("connection-env");
    let (site, root) = site(&folder);
    let variables = folder.write("pgv.env", format!("PGPASSWORD={PASSWORD}\n"));
    let chmod = |mode: &str| {
        let mut command = TestAccount::get().command("chmod");
        command.arg(mode).arg(&variables);
        run(command).success();
    };
    let conninfo = over_tcp(&site.primary, &format!("sslmode=verify-full sslrootcert={}", root.display()));
    let options = ["--env-file", variables.to_str().unwrap(), "-d", &conninfo];
    chmod("0644");
    site.backup(&options).expect_code(2).expect_stderr("chmod 0600");
    chmod("0600");
    site.backup(&options).success();
}
