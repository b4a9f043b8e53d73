//! What errors look like.

use serde_json::Value;

use crate::host::Host;

#[test]
fn an_unknown_key_names_itself_its_line_and_the_nearest() {
    let host = Host::new("messages").file("pgv.toml", "[[repo]]\nurl = \"/srv/pgv\"\n\n[archive]\ntimeuot = \"1s\"\n");
    let outcome = host.sh("pgv-archive --config pgv.toml a b").expect_code(10);
    let path = host.folder.join("pgv.toml");
    assert_eq!(
        outcome.stderr,
        format!(
            "pgv-archive: error: \"{}\" line 5: unknown key \"archive.timeuot\"\n\
             pgv-archive: hint: Did you mean \"archive.timeout\"?\n",
            path.display()
        )
    );
}

#[test]
fn json_messages_are_one_object_a_line_for_every_kind_of_error() {
    let host = Host::new("messages");
    for (line, status) in [
        ("pgv-archive --log-format json", 10),
        ("pgv-archive --log-format=json --nonsense", 10),
        ("PGV_LOG_FORMAT=json pgv-archive --repo s3://x a b", 10),
        ("PGV_LOG_FORMAT=json pgv nonsense", 2),
        ("PGV_LOG_FORMAT=json PGV_REPPO=x pgv info --repo @/none", 0),
    ] {
        let outcome = host.sh(line);
        assert!(!outcome.stderr.is_empty(), "{outcome}");
        let objects: Vec<Value> = outcome.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for object in &objects {
            assert!(object["time"].is_string() && object["message"].is_string(), "{outcome}");
            assert!(["error", "warn"].contains(&object["level"].as_str().unwrap()), "{outcome}");
        }
        if status != 0 {
            assert_eq!(objects.last().unwrap()["exit_status"], status, "{outcome}");
            outcome.expect_code(status);
        }
    }
}

#[test]
fn an_unknown_variable_is_a_warning() {
    let host = Host::new("messages").variable("PGV_REPPO", "/x");
    let warning = "pgv: warning: unknown environment variable \"PGV_REPPO\", did you mean \"PGV_REPO\"?\n";
    host.sh("pgv info --repo @/none").expect_stderr(warning);
    assert!(!host.sh("pgv info --repo @/none --log-level error").stderr.contains("PGV_REPPO"));
}

#[test]
fn what_was_typed_cannot_forge_a_line() {
    let host = Host::new("messages");
    let outcome = host.sh("pgv \"$(printf 'x\\npgv: all is well\\033[2J')\"").expect_code(2);
    assert!(outcome.stderr.lines().all(|line| line.starts_with("pgv: error: ") || line.starts_with("pgv: hint: ")));
    assert!(!outcome.stderr.contains('\u{1b}'), "{outcome}");
}

#[test]
fn what_was_typed_is_shown_as_it_was_typed() {
    let host = Host::new("messages");
    let outcome = host.sh("pgv-restore --repo @/none -D x \"can't\"").expect_code(2);
    outcome.expect_stderr("pgv-restore: error: unexpected argument \"can't\" found\n");
}

#[test]
fn a_negative_value_is_told_what_it_should_be() {
    let host = Host::new("messages").file("pgv.toml", "[[repo]]\nurl = \"@/none\"\n");
    for (line, status, wanted) in [
        ("pgv-restore -D x --target-xid -1", 2, "invalid transaction \"-1\": expected a decimal number"),
        ("pgv-restore -D x --target-timeline -1", 2, "expected \"latest\", \"current\" or a decimal number"),
        ("pgv-restore -D x --target-lsn -0/5", 2, "expected two hexadecimal numbers"),
        ("pgv-restore -D x --target-time '-1 hour'", 2, "-1 hour"),
        ("pgv-recovery-conf --target-xid -1", 2, "invalid transaction \"-1\""),
        ("pgv info --config pgv.toml --cluster -1", 2, "\"-1\""),
        ("pgv-basebackup --config pgv.toml --cluster x -p -1", 2, "\"-1\""),
        ("pgv-basebackup --config pgv.toml --max-rate -5M", 2, "\"-5M\""),
        ("pgv-basebackup --config pgv.toml --jobs -1", 2, "\"-1\""),
        ("pgv-archive --config pgv.toml --timeout -1s a b", 10, "\"-1s\""),
    ] {
        let outcome = host.sh(line).expect_code(status);
        assert!(!outcome.stderr.contains("unexpected argument"), "{outcome}");
        outcome.expect_stderr(wanted);
    }
}

#[test]
fn a_primary_that_could_not_be_reached_is_refused_before_anything_is_written() {
    let host = Host::new("messages").file("pgv.toml", "[[repo]]\nurl = \"@/none\"\n");
    for program in ["pgv-restore -D x", "pgv-recovery-conf"] {
        for (conninfo, problem) in [
            ("db1", "missing \"=\" after the keyword at byte 0 of the connection string"),
            ("host=db1 password='canary", "unterminated quoted value of \"password\" at byte 9"),
            ("hots=db1", "unknown connection option \"hots\""),
        ] {
            let line = format!("{program} --config pgv.toml --standby --primary-conninfo \"{conninfo}\"");
            let outcome = host.sh(&line).expect_code(2);
            assert!(!outcome.stderr.contains("canary"), "{outcome}");
            outcome.expect_stderr(&format!("error: invalid --primary-conninfo: {problem}"));
        }
    }
    let conninfo = "  host=db1   password=canary service=x";
    let outcome = host.sh(&format!("pgv-recovery-conf --config pgv.toml --standby --primary-conninfo '{conninfo}'"));
    let outcome = outcome.success().expect_stderr("warning: the connection string of the primary holds a password");
    assert!(outcome.stdout.contains("primary_conninfo = 'host=db1 password=NOT-SHOWN service=x'"), "{outcome}");
}
