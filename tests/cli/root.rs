//! Programs that write refuse to run as root.

use crate::host::Host;
use crate::support::{TestAccount, run};

#[test]
fn what_writes_refuses_root_with_the_line_to_type() {
    let host = Host::new("root");
    for (line, status) in [
        ("pgv-archive --repo /srv/pgv 'a b' x", 13),
        ("pgv-fetch --repo /srv/pgv x y", 113),
        ("pgv-basebackup --repo /srv/pgv", 3),
        ("pgv-restore --repo /srv/pgv -D d", 3),
        ("pgv-recovery-conf --clear -D d", 3),
        ("pgv-recovery-conf --repo /srv/pgv --write -D d --target-immediate", 3),
        ("pgv expire --repo /srv/pgv --keep 1 --apply", 3),
        ("pgv pin --repo /srv/pgv 20261121T143000Z-1a2b3c4d", 3),
        ("pgv unpin --repo /srv/pgv 20261121T143000Z-1a2b3c4d", 3),
        ("pgv init --repo /srv/pgv", 3),
        ("pgv archive --repo /srv/pgv 'a b' x", 13),
    ] {
        let mut command = host.command_as_tester("sh");
        command.args(["-c", line]);
        let outcome = run(command);
        if TestAccount::tests_run_as_root() {
            outcome.expect_code(status).expect_stderr(&format!("runuser -u postgres -- {line}\n"));
        } else {
            assert!(!outcome.stderr.contains("does not run as root"), "{outcome}");
        }
    }
}

#[test]
fn an_ordinary_account_and_allow_root_are_not_refused() {
    let host = Host::new("root");
    let outcome = host.sh("pgv-archive --repo /srv/pgv a x");
    assert!(!outcome.stderr.contains("root"), "{outcome}");
    let mut command = host.command_as_tester("sh");
    command.args(["-c", "pgv-archive --allow-root --repo /srv/pgv a x"]);
    let outcome = run(command);
    assert!(!outcome.stderr.contains("does not run as root"), "{outcome}");
}

#[test]
fn what_only_reads_does_not_mind_root() {
    let host = Host::new("root");
    let mut command = host.command_as_tester("sh");
    command.args(["-c", "pgv info --repo /srv/pgv; pgv-restore --dry-run --repo /srv/pgv -D d; pgv completions bash"]);
    let outcome = run(command);
    assert!(!outcome.stderr.contains("does not run as root"), "{outcome}");
}

#[test]
fn what_root_writes_into_a_data_directory_belongs_to_its_owner() {
    use std::os::unix::fs::MetadataExt as _;
    let host = Host::new("root").file("PG_VERSION", "15\n").file("postgresql.conf", "");
    host.folder.make("global");
    let host = host.file("global/pg_control", "");
    let mut command = host.command_as_tester("sh");
    let write = "pgv-recovery-conf --allow-root --repo /srv/pgv --write -D . --target-immediate";
    command.args(["-c", write]);
    run(command).success();
    for name in ["postgresql.auto.conf", "recovery.signal"] {
        let metadata = std::fs::metadata(host.folder.join(name)).unwrap();
        let account = TestAccount::get();
        assert_eq!(
            (metadata.uid(), metadata.gid(), metadata.mode() & 0o777),
            (account.uid, account.gid, 0o600),
            "{name}"
        );
    }
}

#[test]
fn another_accounts_data_directory_is_refused() {
    let host = Host::new("root").file("PG_VERSION", "15\n");
    host.folder.make("global");
    let host = host.file("global/pg_control", "");
    if TestAccount::tests_run_as_root() {
        host.sh("chmod 755 .").success();
        std::os::unix::fs::chown(host.folder.path(), Some(0), Some(0)).unwrap();
        let outcome = host.sh("pgv-recovery-conf --clear -D .").expect_code(4);
        outcome.expect_stderr(&format!("belongs to user 0, and this is user {}", TestAccount::get().uid));
    } else {
        host.sh("pgv-recovery-conf --clear -D .").success();
    }
}
