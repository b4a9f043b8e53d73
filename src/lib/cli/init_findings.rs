//! What `pgv init` finds: what the server lacks; and of a restored copy, or one that is configured elsewhere, that first.

use std::path::Path;

use super::program::Program;
use super::typed::{Typed, server_program, shown};
use crate::config::Configuration;
use crate::fs::real_path;
use crate::init::{ArchiveCommand, ClusterFacts, Finding, FindingAction, Need, assess, given_back};
use crate::pg::shell_quote;
use crate::repository::ClusterName;

/// All that is to be done about a server.
pub(super) fn findings(
    facts: &ClusterFacts,
    command: &ArchiveCommand,
    configured: Option<(&Path, &Configuration)>,
    (cluster, typed): (&ClusterName, &Typed),
) -> Vec<Finding> {
    let restored = given_back(facts);
    let mut findings = assess(restored.as_ref().unwrap_or(&facts.state), command);
    // PostgreSQL's own programs are not in PATH everywhere, and refuse root.
    for command in
        findings.iter_mut().filter(|one| one.action == FindingAction::Offline).filter_map(|one| one.command.as_mut())
    {
        if let Some((program, arguments)) = command.split_once(' ') {
            let program = server_program(Some(facts.state.version.get()), program);
            *command = typed.other(&format!("{program} {arguments}"));
        }
    }
    let directory = facts.local_data_directory.as_deref();
    let other = directory.zip(configured).and_then(|(directory, (file, configuration))| {
        other_pgdata(directory, file, configuration.clusters().get(cluster)?.pgdata.as_deref()?)
    });
    let switched_off = restored.as_ref().and(directory).map(|directory| switched_off(directory, typed));
    switched_off.into_iter().chain(other).chain(findings).collect()
}

/// A copy gets back what a restore switched off by the program that did it, and by no line of its own.
fn switched_off(directory: &Path, typed: &Typed) -> Finding {
    let clear = format!("--clear --everything -D {}", shell_quote(&shown(directory)));
    Finding {
        what: "restored copy".to_owned(),
        found: Some("switched off".to_owned()),
        wanted: "given back".to_owned(),
        need: Need::Required,
        reason: "a restore switched off its archiving, and what runs code; once it is open for writing and takes its \
                 original's place, this gives that back, before all else, and a restart brings it into force"
            .to_owned(),
        line: None,
        file: Some(directory.join("postgresql.auto.conf")),
        command: Some(typed.program_alone(Program::RecoveryConf, &clear)),
        action: FindingAction::GiveBack,
    }
}

/// pgv-archive works for no directory but the configured one.
fn other_pgdata(directory: &Path, file: &Path, configured: &Path) -> Option<Finding> {
    let is_same = configured == directory || real_path(configured).is_ok_and(|real| real == directory);
    (!is_same).then(|| Finding {
        what: "pgdata".to_owned(),
        found: Some(shown(configured)),
        wanted: shown(directory),
        need: Need::Required,
        reason:
            "pgv-archive refuses the server's directory, which is not the configured one; a copy beside its original \
                 needs a name of its own instead (--cluster NAME)"
                .to_owned(),
        line: Some(format!("pgdata = {}", toml::Value::String(shown(directory)))),
        file: Some(file.to_owned()),
        command: None,
        action: FindingAction::Configuration,
    })
}
