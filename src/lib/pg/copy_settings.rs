//! Settings by which a restored copy would run code that its configuration names, or reach out of itself.
//!
//! INVARIANT: with the harmless values a server of every version still starts and replays, except where a library has a
//! resource manager of its own (15 and later) or stands in `pg_hba.conf` (`oauth`, 18). What is in the *database* (functions,
//! triggers, `ALTER ROLE ... SET`) is none of this: no configuration makes that harmless.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};

use serde::Serialize;

use super::config_text::{ConfigEntry, config_value};
use super::data_path::Escaped;
use super::version::PgMajorVersion;

/// LIMIT: bytes of a value that are shown.
const SHOWN_BYTES_MAX: usize = 300;

/// What a setting does in a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SettingRisk {
    /// The archiver runs or loads it.
    Archives,
    /// The server runs it in a shell.
    RunsCommand,
    /// The server loads it into its processes, or finds what it loads there.
    LoadsLibrary,
    /// A language runs it when it is first used.
    RunsCode,
    /// It touches what belongs to the original.
    ReachesOut,
    /// It makes the copy wait for somebody whom it does not have.
    Waits,
}

/// A setting and the value that makes it harmless.
struct Known {
    name: &'static str,
    risk: SettingRisk,
    /// None where the server would not start without it.
    harmless: Option<&'static str>,
    since: u32,
    until: u32,
}

const fn known(name: &'static str, risk: SettingRisk, harmless: &'static str) -> Known {
    Known { name, risk, harmless: Some(harmless), since: 0, until: u32::MAX }
}

/// COMPAT: names that a version does not know keep it from starting, except those with a point.
const KNOWN: [Known; 27] = {
    use SettingRisk::{Archives, LoadsLibrary, ReachesOut, RunsCode, RunsCommand, Waits};
    [
        known("archive_command", Archives, ""),
        Known { since: 15, ..known("archive_library", Archives, "") },
        known("archive_cleanup_command", RunsCommand, ""),
        known("recovery_end_command", RunsCommand, ""),
        known("restore_command", RunsCommand, ""),
        known("ssl_passphrase_command", RunsCommand, ""),
        // COMPAT: a module of 15 and later.
        known("basebackup_to_shell.command", RunsCommand, ""),
        known("shared_preload_libraries", LoadsLibrary, ""),
        known("session_preload_libraries", LoadsLibrary, ""),
        known("local_preload_libraries", LoadsLibrary, ""),
        known("jit_provider", LoadsLibrary, "llvmjit"),
        known("dynamic_library_path", LoadsLibrary, "$libdir"),
        Known { since: 18, ..known("extension_control_path", LoadsLibrary, "$system") },
        // Loaded for a line of pg_hba.conf alone, which the server refuses without it.
        Known { since: 18, harmless: None, ..known("oauth_validator_libraries", LoadsLibrary, "") },
        known("plperl.on_init", RunsCode, ""),
        known("plperl.on_plperl_init", RunsCode, ""),
        known("plperl.on_plperlu_init", RunsCode, ""),
        known("pltcl.start_proc", RunsCode, ""),
        known("pltclu.start_proc", RunsCode, ""),
        known("plv8.start_proc", RunsCode, ""),
        // It is removed by whoever sees it first, and ends a pause.
        Known { until: 15, ..known("promote_trigger_file", ReachesOut, "") },
        // Both servers would write the same files.
        Known { until: 14, ..known("stats_temp_directory", ReachesOut, "pg_stat_tmp") },
        known("log_directory", ReachesOut, "log"),
        // The copy would write its number there, and remove the file when it ends.
        known(EXTERNAL_PID_FILE, ReachesOut, "external.pid"),
        known(SUBSCRIPTIONS, ReachesOut, "0"),
        known("synchronous_standby_names", Waits, ""),
        known("recovery_min_apply_delay", Waits, "0"),
    ]
};

/// A copy that opens would take over the slots of its original's subscriptions on the publisher.
const SUBSCRIPTIONS: &str = "max_logical_replication_workers";
/// The setting whose harmless value is a file in the data directory; Debian's tools look for it by its whole path.
pub const EXTERNAL_PID_FILE: &str = "external_pid_file";
const PASSPHRASE: &str = "ssl_passphrase_command";

/// A setting that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RiskySetting {
    /// Its name.
    pub name: &'static str,
    /// Its value; bytes that could act on a terminal are escaped, and what is too long is cut.
    pub value: String,
    /// What it does.
    pub risk: SettingRisk,
    /// The value that makes it harmless; none where the server would not start without it.
    pub harmless: Option<&'static str>,
}

/// What is known of the settings of a copy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CopySettings {
    /// What was found, by name.
    pub found: Vec<RiskySetting>,
    /// The lines that make it all harmless.
    pub harmless: Vec<(&'static str, &'static str)>,
}

impl CopySettings {
    /// Looks for them in the settings of all files, in their order; none when these cannot be read: then every setting
    /// gets its harmless value.
    pub fn find(entries: Option<&[ConfigEntry]>, major: PgMajorVersion) -> Self {
        let known = || KNOWN.iter().filter(|known| (known.since..=known.until).contains(&major.get()));
        let Some(entries) = entries else {
            let harmless = known().filter_map(|known| Some((known.name, known.harmless?))).collect();
            return Self { found: Vec::new(), harmless };
        };
        let mut found: Vec<RiskySetting> = known().filter_map(|known| known.found_in(entries)).collect();
        // A key whose passphrase nobody tells keeps the server from starting.
        let has_passphrase = found.iter().any(|setting| setting.name == PASSPHRASE);
        if has_passphrase && let Some(value) = config_value(entries, "ssl").filter(|value| !is_off(value)) {
            let (value, risk) = (shown(value), SettingRisk::RunsCommand);
            found.push(RiskySetting { name: "ssl", value, risk, harmless: Some("off") });
        }
        let mut harmless: Vec<_> = found.iter().filter_map(|one| Some((one.name, one.harmless?))).collect();
        if !harmless.iter().any(|(name, _)| *name == SUBSCRIPTIONS) {
            harmless.push((SUBSCRIPTIONS, "0"));
        }
        // Whether there are subscriptions no file says; that many workers are no finding.
        found.retain(|setting| setting.name != SUBSCRIPTIONS);
        Self { found, harmless }
    }
}

impl Known {
    fn found_in(&self, entries: &[ConfigEntry]) -> Option<RiskySetting> {
        let value = config_value(entries, self.name)?;
        // A directory in the data directory is the copy's own.
        let is_place = self.name.ends_with("_directory") || self.name == EXTERNAL_PID_FILE;
        let is_own = is_place && stays_inside(value);
        let is_harmless =
            is_own || value.is_empty() || self.harmless.is_some_and(|harmless| harmless.as_bytes() == value);
        (!is_harmless).then(|| RiskySetting {
            name: self.name,
            value: shown(value),
            risk: self.risk,
            harmless: self.harmless,
        })
    }
}

/// Whether a path of the configuration stays in the data directory, as the server reads it.
fn stays_inside(path: &[u8]) -> bool {
    let mut depth = 0usize;
    Path::new(OsStr::from_bytes(path)).components().all(|component| {
        match component {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
        true
    })
}

/// As the server reads a boolean: any beginning of a word that is none of another.
fn is_off(value: &[u8]) -> bool {
    let value = value.to_ascii_lowercase();
    let begins = |word: &[u8], least: usize| value.len() >= least && word.starts_with(&value);
    begins(b"false", 1) || begins(b"no", 1) || begins(b"off", 2) || value == b"0"
}

fn shown(value: &[u8]) -> String {
    Escaped(value.get(..SHOWN_BYTES_MAX).unwrap_or(value)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::parse_config;

    fn find(text: &str, major: u32) -> CopySettings {
        CopySettings::find(Some(&parse_config(text.as_bytes()).unwrap()), PgMajorVersion::new(major).unwrap())
    }

    #[test]
    fn the_last_value_of_a_setting_counts_in_any_case_of_letters() {
        let text = "Shared_Preload_Libraries = 'a'\njit_provider = evil\njit_provider = llvmjit\n\
                    archive_command = 'x'\narchive_command = ''\nshared_preload_libraries = 'b,c'\n";
        let found = find(text, 15);
        let names: Vec<_> = found.found.iter().map(|one| (one.name, one.value.as_str())).collect();
        assert_eq!(names, [("shared_preload_libraries", "b,c")]);
        assert_eq!(found.harmless, [("shared_preload_libraries", ""), (SUBSCRIPTIONS, "0")]);
        assert_eq!(find("", 15).harmless, [(SUBSCRIPTIONS, "0")]);
        assert_eq!(find("max_logical_replication_workers = 9\n", 15).harmless, [(SUBSCRIPTIONS, "0")]);
    }

    #[test]
    fn a_directory_is_the_copys_own_as_long_as_it_stays_in_the_data_directory() {
        for path in ["log2", "log/a", "./log", "a/../log", "..log"] {
            assert_eq!(
                find(&format!("log_directory = '{path}'\nexternal_pid_file = '{path}'\n"), 15).harmless,
                [(SUBSCRIPTIONS, "0")],
                "{path}"
            );
        }
        for path in ["/var/log/x", "..", "../log", "./../log", "a/../../log", "a/b/../../../log"] {
            let names = ["log_directory", "stats_temp_directory", EXTERNAL_PID_FILE];
            let found = find(&names.map(|name| format!("{name} = '{path}'\n")).concat(), 13);
            let expected = [
                ("stats_temp_directory", "pg_stat_tmp"),
                ("log_directory", "log"),
                (EXTERNAL_PID_FILE, "external.pid"),
                (SUBSCRIPTIONS, "0"),
            ];
            assert_eq!(found.harmless, expected, "{path}");
            assert_eq!(found.found.last().unwrap().value, path);
        }
    }

    #[test]
    fn a_version_gets_only_what_it_knows() {
        let text = "archive_library = x\nextension_control_path = x\npromote_trigger_file = x\nstats_temp_directory = '/x'\n\
                    oauth_validator_libraries = x\n";
        let names = |major| find(text, major).harmless.iter().map(|(name, _)| *name).collect::<Vec<_>>();
        assert_eq!(names(13), ["promote_trigger_file", "stats_temp_directory", SUBSCRIPTIONS]);
        assert_eq!(names(15), ["archive_library", "promote_trigger_file", SUBSCRIPTIONS]);
        assert_eq!(names(18), ["archive_library", "extension_control_path", SUBSCRIPTIONS]);
        let oauth = find(text, 18).found.into_iter().find(|one| one.name == "oauth_validator_libraries").unwrap();
        assert_eq!(oauth.harmless, None);
        let all = CopySettings::find(None, PgMajorVersion::new(15).unwrap());
        assert!(all.found.is_empty() && all.harmless.len() > 15, "{all:?}");
        assert!(all.harmless.iter().all(|(name, _)| *name != "extension_control_path"));
    }

    #[test]
    fn a_key_with_a_passphrase_goes_with_its_command() {
        for (ssl, is_switched_off) in [("on", true), ("TRUE", true), ("off", false), ("of", false), ("f", false)] {
            let found = find(&format!("ssl = {ssl}\nssl_passphrase_command = 'x'\n"), 15);
            assert_eq!(found.harmless.contains(&("ssl", "off")), is_switched_off, "{ssl}");
        }
        assert!(!find("ssl = on\n", 15).harmless.contains(&("ssl", "off")));
    }

    #[test]
    fn what_is_shown_cannot_act_on_a_terminal() {
        let found = find(&format!("archive_command = 'a\\033[2J\\n{}'\n", "x".repeat(1000)), 15);
        let value = &found.found[0].value;
        assert!(value.len() < 400 && !value.contains(['\n', '\u{1b}']), "{value:?}");
    }
}
