//! Which setting wins, and which files are refused.

use crate::host::Host;

/// What the messages of `pgv info` look like: it always fails here, after the settings were read.
fn format_of(host: &Host, options: &str) -> &'static str {
    let outcome = host.sh(&format!("pgv info --repo @/none --config pgv.toml {options}"));
    match outcome.stderr.chars().next() {
        Some('{') => "json",
        Some('p') => "text",
        other => panic!("neither form: {other:?}\n{outcome}"),
    }
}

#[test]
fn flags_go_before_variables_before_files() {
    let host =
        Host::new("settings").file("pgv.toml", "[log]\nformat = \"json\"\n").file("pgv.env", "PGV_LOG_FORMAT=text\n");
    assert_eq!(format_of(&host, ""), "json");
    assert_eq!(format_of(&host, "--env-file pgv.env"), "text");
    let host = host.variable("PGV_ENV_FILE", "@/pgv.env");
    assert_eq!(format_of(&host, ""), "text");
    let host = host.variable("PGV_LOG_FORMAT", "json");
    assert_eq!(format_of(&host, ""), "json");
    assert_eq!(format_of(&host, "--log-format text"), "text");
}

/// A pipe that nobody writes to would be waited for without end, and no signal would help.
#[test]
fn what_is_no_file_is_refused_and_not_waited_for() {
    let host = Host::new("settings").file("pipe.toml", "env_file = \"pipe\"\n");
    host.sh("mkfifo -m 600 pipe").success();
    for (line, status, what) in [
        ("pgv info --config pipe", 2, "configuration file \"@/pipe\" is a named pipe"),
        ("pgv info --config pipe.toml", 2, "environment file \"@/pipe\" is a named pipe"),
        ("pgv info --env-file pipe", 2, "environment file \"@/pipe\" is a named pipe"),
        ("pgv-archive --config pipe a b", 10, "configuration file \"@/pipe\" is a named pipe"),
        ("touch recovery.signal; pgv-fetch --config pipe a b", 210, "configuration file \"@/pipe\" is a named pipe"),
        ("echo 'x = 1' | pgv info --config /dev/stdin", 2, "configuration file \"/dev/stdin\" is a named pipe"),
        ("pgv info --config /dev/zero", 2, "configuration file \"/dev/zero\" is a device"),
        ("pgv info --config .", 2, "\" is a directory, expected a regular file"),
    ] {
        let words = what.replace('@', host.folder.path().to_str().unwrap());
        let outcome = host.sh(&format!("timeout -s KILL 20 sh -c \"{line}\"")).expect_code(status);
        outcome.expect_stderr(&words).expect_stderr("write the settings into a file");
    }
}

#[test]
fn the_home_file_and_pgv_config_are_found() {
    let host = Host::new("settings");
    host.folder.make(".config");
    host.folder.make(".config/pgv");
    let host = host.file(".config/pgv/pgv.toml", "home = 1\n").file("other.toml", "other = 1\n");
    host.sh("pgv info").expect_code(2).expect_stderr("pgv.toml\" line 1: unknown key \"home\"");
    host.sh("PGV_CONFIG=other.toml pgv info")
        .expect_code(2)
        .expect_stderr("other.toml\" line 1: unknown key \"other\"");
    host.sh("PGV_CONFIG=x pgv info --config other.toml").expect_code(2).expect_stderr("unknown key \"other\"");
    host.sh("env -i PGV_CONFIG=@/other.toml $(command -v pgv) info")
        .expect_code(2)
        .expect_stderr("unknown key \"other\"");
}

#[test]
fn a_file_with_a_secret_must_be_private() {
    for (name, text, option) in [
        ("pgv.env", "PGPASSWORD='canary'\n", "--env-file pgv.env"),
        ("pgv.toml", "[cluster.main]\nconninfo = \"host=db password=canary\"\n", "--config pgv.toml"),
    ] {
        for (mode, accepted) in [(0o600, true), (0o400, true), (0o640, false), (0o644, false)] {
            let host = Host::new("settings").file(name, text).mode(name, mode);
            let outcome = host.sh(&format!("pgv info --repo @/none {option}"));
            assert!(!outcome.stderr.contains("canary"), "{outcome}");
            let path = host.folder.join(name);
            if accepted {
                assert!(!outcome.stderr.contains("holds a password"), "{outcome}");
            } else {
                let mode = format!("holds a password and has mode {mode:04o}, expected 0600");
                let outcome = outcome.expect_code(2).expect_stderr(&mode);
                outcome.expect_stderr(&format!("pgv: hint: Run: chmod 0600 {}\n", path.display()));
            }
        }
    }
    let host = Host::new("settings").file("pgv.env", "PGHOST=db\n").mode("pgv.env", 0o644);
    let outcome = host.variable("PGV_ENV_FILE", "@/pgv.env").sh("pgv info --repo @/none");
    assert!(!outcome.stderr.contains("holds a password"), "{outcome}");
}
