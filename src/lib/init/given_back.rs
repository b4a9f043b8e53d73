//! A restored copy whose archiving a restore switched off: what it has once that is given back.
//!
//! INVARIANT: what its files would say then is judged, and not what stands between our marks: to set that by other means
//! would leave the rest of the marks in force.

use std::collections::BTreeMap;

use super::facts::ClusterFacts;
use super::server_state::{AUTO_CONF, AUTO_CONF_BYTES_MAX, JUDGED_SETTINGS, PendingSetting, ServerState};
use crate::fs;
use crate::pg::{ClearScope, ConfigEntry, clear_recovery_settings, config_value, has_switched_off, parse_config};
use crate::server::{ServerSetting, read_config_file};

/// The state of a copy as `pgv-recovery-conf --clear --everything` and a restart leave it; none where no marks of a
/// restore are seen in its data directory.
pub fn given_back(facts: &ClusterFacts) -> Option<ServerState> {
    let file = facts.local_data_directory.as_ref()?.join(AUTO_CONF);
    let text = fs::read_at_most(&file, AUTO_CONF_BYTES_MAX).ok()?;
    if !has_switched_off(&text) {
        return None;
    }
    let entries = |text: &[u8]| parse_config(text).unwrap_or_default();
    let (before, after) = (entries(&text), entries(&clear_recovery_settings(&text, ClearScope::Everything)));
    let mut state = facts.state.clone();
    let main = state.config_file.clone().and_then(|file| Some((read_config_file(&file).ok()?, file)));
    for name in JUDGED_SETTINGS {
        if config_value(&before, name) == config_value(&after, name) {
            continue;
        }
        let of_main = main.as_ref().and_then(|(entries, file)| Some((value(entries, name)?, file)));
        let found = value(&after, name).map(|value| (value, &file)).or(of_main);
        let (written, settings) = (&mut state.written, &mut state.settings);
        match found {
            Some((value, file)) => {
                written.insert(name.to_owned(), PendingSetting { value: value.clone(), file: file.clone() });
                set(settings, name, value);
            }
            // Of files that cannot be read nothing is known.
            None => {
                written.remove(name);
                settings.remove(name);
                if main.is_some() {
                    set(settings, name, default_of(name).to_owned());
                }
            }
        }
    }
    Some(state)
}

fn value(entries: &[ConfigEntry], name: &str) -> Option<String> {
    Some(String::from_utf8_lossy(config_value(entries, name)?).into_owned())
}

/// What a restore switches off has no more than these defaults.
fn default_of(name: &str) -> &'static str {
    if name == "archive_mode" { "off" } else { "" }
}

fn set(settings: &mut BTreeMap<String, ServerSetting>, name: &str, value: String) {
    let setting = ServerSetting {
        value,
        unit: None,
        context: "postmaster".to_owned(),
        source: "configuration file".to_owned(),
        source_file: None,
        source_line: None,
        pending_restart: false,
    };
    settings.insert(name.to_owned(), setting);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::{ArchiveCommand, assess};
    use std::path::Path;

    const CONTROL_15: &[u8] = include_bytes!("../../../tests/data/postgres-15/pg_control");
    const MARKED: &str = "# pgv: begin of archiving settings; this is a restored copy, which must not archive as its \
                          original\narchive_mode = 'off'\n# pgv: end of archiving settings\n";

    fn found(main: &str, auto: &str) -> Option<Vec<String>> {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("global")).unwrap();
        std::fs::write(temp.path().join("global/pg_control"), CONTROL_15).unwrap();
        std::fs::write(temp.path().join("postgresql.conf"), main).unwrap();
        std::fs::write(temp.path().join(AUTO_CONF), auto).unwrap();
        let facts = ClusterFacts::of_data_directory(temp.path()).unwrap();
        let command = ArchiveCommand::new(Path::new("/usr/bin/pgv-archive"), None, None, None).unwrap();
        let state = given_back(&facts)?;
        Some(assess(&state, &command).into_iter().map(|finding| finding.what).collect())
    }

    #[test]
    fn what_a_restore_switched_off_is_not_asked_for_again() {
        let own = "archive_mode = on\narchive_command = 'pgv-archive %p %f'\narchive_timeout = 60s\n";
        let others = |what: &[String]| what.iter().any(|what| what == "archive_mode");
        assert_eq!(found(own, ""), None, "no restore");
        assert!(!others(&found(own, MARKED).unwrap()));
        assert!(others(&found("", MARKED).unwrap()), "its original did not archive either");
    }
}
