//! The units and cron lines in conf/: systemd takes them, and the programs take their options.

use std::path::Path;
use std::process::Command;

use crate::host::Host;
use crate::support::{program, run};

const SYSTEMD_ANALYZE: &str = "/usr/bin/systemd-analyze";

fn units() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/systemd");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut units: Vec<(String, String)> = entries
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(path).unwrap()))
        .collect();
    units.sort();
    units
}

#[test]
fn systemd_takes_every_unit() {
    assert!(Path::new(SYSTEMD_ANALYZE).exists(), "{SYSTEMD_ANALYZE} is missing: apt-get install systemd");
    let host = Host::new("units");
    let programs = program("pgv").parent().unwrap().to_str().unwrap().to_owned() + "/";
    let units = units();
    assert_eq!(units.len(), 8, "a service and a timer for each of four");
    let mut command = Command::new(SYSTEMD_ANALYZE);
    command.args(["verify", "--man=no"]);
    for (name, text) in &units {
        command.arg(host.folder.write(name, text.replace("/usr/local/bin/", &programs)));
    }
    let verified = run(command).success();
    assert_eq!(verified.stderr, "", "{verified}");
}

#[test]
fn every_command_of_units_and_cron_lines_is_one_of_ours() {
    let host = Host::new("units");
    let mut commands: Vec<String> = Vec::new();
    for (_, text) in units() {
        let lines = text.lines().map(|line| line.trim_start_matches('#'));
        commands.extend(lines.filter_map(|line| line.strip_prefix("ExecStart=")).map(str::to_owned));
    }
    let cron = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/pgv.cron")).unwrap();
    for line in cron.lines().filter(|line| !line.starts_with('#')) {
        let (_, command) = line.split_once(" postgres ").unwrap();
        let command = command.trim().trim_start_matches("umask 077; ").trim_start_matches("answer=$(");
        commands.push(command.split(['>', ')']).next().unwrap().trim().to_owned());
    }
    assert_eq!(commands.len(), 10, "{commands:?}");
    for command in commands {
        let command = command.trim().strip_prefix("/usr/local/bin/").unwrap();
        // What is behind "--" is a command of somebody else.
        let (own, others) = command.split_once(" -- ").unwrap_or((command, "true"));
        let line = if own == command {
            format!("{own} --config @/none.toml")
        } else {
            format!("{own} --config @/none.toml -- {others}")
        };
        let outcome = host.sh(&line).expect_code(2);
        assert!(outcome.stderr.contains("does not exist"), "{command}\n{outcome}");
    }
}

/// Cron mails what a line prints, and takes a percent sign for the end of the line.
#[test]
fn the_check_of_the_cron_lines_mails_what_is_not_well_and_nothing_else() {
    const CHECK: &str = "/usr/local/bin/pgv check --log-level warn";
    let host = Host::new("units");
    let cron = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/pgv.cron")).unwrap();
    assert!(cron.lines().all(|line| line.starts_with('#') || !line.contains('%')), "{cron}");
    let (_, line) = cron.lines().find(|line| line.contains(CHECK)).unwrap().split_once(" postgres ").unwrap();
    let mailed = host.sh(&line.replace(CHECK, "pgv check --repo @/none -h @")).success();
    assert!(mailed.stdout.contains("  critical  repository       "), "{mailed}");
    assert!(mailed.stdout.contains("  critical  server           "), "{mailed}");
    let well = host.sh(&line.replace(CHECK, "echo all is well")).success();
    assert_eq!((well.stdout.as_str(), well.stderr.as_str()), ("", ""));
}
