//! Help and versions.

use crate::PROGRAMS;
use crate::host::Host;

#[test]
fn every_program_shows_help_with_examples_and_its_version() {
    let host = Host::new("help");
    for name in PROGRAMS {
        let help = host.sh(&format!("{name} --help")).expect_code(0);
        assert_eq!(help.stderr, "");
        assert!(help.stdout.contains(&format!("Usage: {name}")), "{help}");
        assert!(help.stdout.contains("Examples:"), "{help}");
        assert_eq!(host.sh(&format!("{name} '-?'")).expect_code(0).stdout, help.stdout);
        for flag in ["--version", "-V"] {
            let version = host.sh(&format!("{name} {flag}")).expect_code(0).stdout;
            let package = if name == "pgv" { "" } else { "(pgv) " };
            assert_eq!(version, format!("{name} {package}{}\n", env!("CARGO_PKG_VERSION")));
        }
    }
}

#[test]
fn the_front_door_shows_the_whole_tool() {
    let host = Host::new("help");
    let help = host.sh("pgv --help").expect_code(0).stdout;
    // As the help lists them, with all that a person may know by another name.
    let listed = help.lines().skip_while(|line| !line.starts_with("Verbs:")).skip(1);
    let listed = listed
        .take_while(|line| !line.trim().is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let verbs: Vec<&str> = listed.map(|line| line.split_whitespace().next().unwrap()).collect();
    for verb in ["init", "archive", "restore", "standby", "check", "verify", "expire", "pin", "unpin", "target", "man"]
    {
        assert!(verbs.contains(&verb), "{verb}: {help}");
    }
    for verb in verbs.into_iter().chain(["list"]) {
        let of_verb = host.sh(&format!("pgv {verb} --help")).expect_code(0).stdout;
        assert!(of_verb.contains(&format!("Usage: pgv {verb}")), "{of_verb}");
    }
    assert_eq!(host.sh("pgv help restore").expect_code(0).stdout, host.sh("pgv restore --help").stdout);
    assert_eq!(host.sh("pgv help").expect_code(0).stdout, help);
    host.sh("pgv help nonsense").expect_code(2);
}

#[test]
fn h_is_the_host_where_a_program_connects_and_help_elsewhere() {
    let host = Host::new("help");
    for line in ["pgv -h", "pgv-archive -h", "pgv-fetch -h", "pgv target -h", "pgv info -h"] {
        assert!(host.sh(line).expect_code(0).stdout.contains("Usage:"), "{line}");
    }
    for line in ["pgv-basebackup -h", "pgv init -h", "pgv-restore -h", "pgv-standby -h"] {
        host.sh(line).expect_code(2).expect_stderr("a value is required for \"--host <HOST>\"");
    }
}

#[test]
fn help_into_a_closed_pipe_is_no_error() {
    let host = Host::new("help");
    host.sh("{ pgv --help; echo \"status $?\" >&2; } | true").expect_stderr("status 0");
}

#[test]
fn completions_are_shell_text_and_pages_are_written_for_everybody() {
    let host = Host::new("help");
    host.sh("pgv completions bash > completions.bash && bash -n completions.bash").success();
    host.sh("pgv completions zsh && pgv completions fish").success();
    host.sh("pgv man pgv-restore | grep -q '^.TH pgv-restore 1'").success();
    host.sh("mkdir man && pgv man --dir man && test \"$(stat -c %a man/pgv-info.1)\" = 644").success();
    let names = host.sh("ls man").stdout;
    for name in
        PROGRAMS.into_iter().chain(["pgv-check", "pgv-expire", "pgv-pin", "pgv-unpin", "pgv-verify", "pgv-target"])
    {
        assert!(names.lines().any(|line| line == format!("{name}.1")), "{names}");
    }
    host.sh("pgv man pgv-restor").expect_code(2).expect_stderr("Did you mean \"pgv-restore\"?");
    host.sh("touch page");
    for (directory, error, hint) in [
        ("no/where", "No such file or directory", "Make it first: mkdir -p no/where"),
        ("page", "Not a directory", "Name a directory."),
    ] {
        let refused = host.sh(&format!("pgv man --dir {directory}")).expect_code(4).expect_stderr(hint);
        let line = format!("could not write the manual pages into \"{directory}\": {error}");
        refused.expect_stderr(&line);
    }
    host.sh("$(pgv man --dir no/where 2>&1 | sed -n 's/.*mkdir/mkdir/p') && pgv man --dir no/where").success();
}
