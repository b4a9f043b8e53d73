//! A restored copy is harmless until it is told that it takes a place: what its configuration would run, or do to others,
//! is switched off; what its WAL would do to directories of its original is refused.
//!
//! INVARIANT: nothing but `postgresql.auto.conf` of the copy says what is switched off, and
//! `pgv-recovery-conf --clear --trust-config` takes it back.

mod error;
mod host;
mod stored;
mod tablespaces;

use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;

use super::RestoreOptions;
use super::configuration::AUTO_FILE;
use super::error::RestoreError;
use super::plan::RestorePlan;
use crate::pg::{
    ConfigEntry, CopySettings, LowSetting, PgMajorVersion, RecoveryMode, ReplayNeeds, RestoredArchiving, RiskySetting,
    SettingRisk, WalFileName, WalSegmentName,
};
use crate::repository::{ClusterRef, WalArchive, Writer, WriterDescription};
use crate::wal_search::OnTheWay;

pub use error::CopyError;
pub(super) use stored::{StoredFacts, StoredFiles};

/// Whether a copy does what its configuration says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfigTrust {
    /// Not where that runs code or reaches out of the copy: it is a copy.
    #[default]
    SwitchedOff,
    /// It does: somebody said so.
    Asked,
    /// It does: it is restored to where its original archives from, on that host.
    InPlace,
    /// It does: it archives in its original's place.
    TakesOver,
    /// It does: it becomes a standby of the cluster.
    Standby,
}

impl ConfigTrust {
    fn of(
        options: &RestoreOptions,
        cluster: &ClusterRef,
        directory: &Path,
        last_archived: Option<WalSegmentName>,
    ) -> Self {
        if options.trust_config {
            return Self::Asked;
        }
        if options.mode == RecoveryMode::Standby {
            return Self::Standby;
        }
        if options.settings.archiving == RestoredArchiving::Unchanged {
            return Self::TakesOver;
        }
        // pgv-archive runs where the server is; a backup may be taken from anywhere.
        let archive = WalArchive::new(&options.repository, cluster);
        let last = last_archived.and_then(|name| archive.look_up(&WalFileName::Segment(name)).ok().flatten());
        let here = WriterDescription::new(&options.host, directory, Timestamp::UNIX_EPOCH);
        let here = Writer::new(&options.repository, here).id();
        if last.is_some_and(|last| last.writer == here) { Self::InPlace } else { Self::SwitchedOff }
    }

    /// Whether it does.
    pub fn is_kept(self) -> bool {
        self != Self::SwitchedOff
    }
}

/// What is decided about the settings of a copy.
#[derive(Debug, Clone, Default)]
pub struct CopyPlan {
    /// Whether they are trusted.
    pub trust: ConfigTrust,
    /// What is known of them.
    pub settings: CopyConfiguration,
    /// What replay needs, as far as it is known.
    pub(super) needs: Option<ReplayNeeds>,
}

/// The settings of a copy that matter here: before a restore by its backup, afterwards by its files.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CopyConfiguration {
    /// Whether all of its files could be read; else everything that is known is switched off.
    pub is_known: bool,
    /// What runs code or reaches out.
    pub risky: Vec<RiskySetting>,
    /// What is too low for replay, and is set for the time of the recovery.
    pub raised: Vec<LowSetting>,
    /// The lines that make it harmless.
    #[serde(skip)]
    pub(super) harmless: Vec<(&'static str, &'static str)>,
}

impl CopyConfiguration {
    /// By the settings of all files, in their order.
    pub(super) fn of(entries: Option<&[ConfigEntry]>, major: PgMajorVersion, needs: Option<ReplayNeeds>) -> Self {
        let CopySettings { found, harmless } = CopySettings::find(entries, major);
        let raised = needs.map(|needs| needs.lacking(entries)).unwrap_or_default();
        Self { is_known: entries.is_some(), risky: found, raised, harmless }
    }

    /// Whether a copy that stays one may miss something of what was switched off.
    pub fn needs_giving_back(&self) -> bool {
        !self.is_known || self.risky.iter().any(|setting| setting.risk != SettingRisk::Archives)
    }

    /// The values that replay needs.
    pub(super) fn minimums(&self) -> Vec<(&'static str, u32)> {
        self.raised.iter().map(|low| (low.name, low.needed)).collect()
    }
}

/// Decides about the settings, and refuses what would harm the original or could not be recovered; with warnings.
pub(super) fn plan(
    options: &RestoreOptions,
    cluster: &ClusterRef,
    plan: &RestorePlan,
    last_archived: Option<WalSegmentName>,
) -> Result<(CopyPlan, Vec<String>), RestoreError> {
    let trust = ConfigTrust::of(options, cluster, &plan.directory, last_archived);
    let on_the_way = plan.proof.as_ref().map(|proof| &proof.on_the_way);
    let needs = match (plan.stored.needs, on_the_way.and_then(|way| way.needs)) {
        (Some(one), Some(other)) => Some(one.highest(other)),
        (one, other) => one.or(other),
    };
    let entries = plan.stored.entries.as_deref();
    let settings = CopyConfiguration::of(entries, plan.record.major_version, needs);
    let mut warnings = Vec::new();
    match on_the_way {
        Some(on_the_way) => {
            if !trust.is_kept() {
                refuse_lacking_library(on_the_way, plan.record.setting("shared_preload_libraries"))?;
            }
            let created = &on_the_way.created_tablespaces;
            warnings.extend(tablespaces::check(created, plan, &options.allowed_tablespace_paths)?);
            if plan.mode == RecoveryMode::Standby && !plan.tablespaces.is_empty() {
                warnings.push(
                    "a CREATE TABLESPACE behind the end of the backup, which was not read, uses the directory that it was \
                     given originally, also on this machine"
                        .to_owned(),
                );
            }
            if on_the_way.unlisted_tablespaces > 0 {
                warnings.push("the WAL creates more tablespaces than are looked at".to_owned());
            }
        }
        None => warnings.push(
            "no WAL was read, so it is not known whether a CREATE TABLESPACE in it leads to a directory that the original \
             uses"
            .to_owned(),
        ),
    }
    if let Some(entries) = entries {
        warnings.extend(host::lacking_memory(entries, &plan.directory.join(AUTO_FILE)));
    }
    Ok((CopyPlan { trust, settings, needs }, warnings))
}

/// Without the library, replay ends with an error at the first such record.
fn refuse_lacking_library(on_the_way: &OnTheWay, libraries: Option<&str>) -> Result<(), CopyError> {
    let Some(manager) = on_the_way.resource_managers.first() else { return Ok(()) };
    let libraries = libraries.unwrap_or_default().to_owned();
    Err(CopyError::NeedsLibrary { manager: *manager, libraries })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Classified as _, ErrorClass};

    #[test]
    fn wal_of_an_extension_is_refused_without_its_library() {
        let mut way = OnTheWay::default();
        assert_eq!(refuse_lacking_library(&way, Some("a")), Ok(()));
        way.resource_managers.extend([140, 130]);
        let error = refuse_lacking_library(&way, Some("a,b")).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Refused);
        assert!(error.to_string().contains("resource manager 130"), "{error}");
        assert!(error.to_string().ends_with("shared_preload_libraries = 'a,b'"), "{error}");
    }

    #[test]
    fn settings_that_cannot_be_read_are_switched_off_and_raised_as_a_whole() {
        let major = PgMajorVersion::new(15).unwrap();
        let control = crate::restore::testing::control_file(crate::pg::SystemIdentifier::new(7).unwrap());
        let needs = ReplayNeeds::from(&crate::pg::ControlFile::decode(&control).unwrap().settings);
        let unknown = CopyConfiguration::of(None, major, Some(needs));
        assert!(!unknown.is_known && unknown.harmless.len() > 15);
        assert_eq!(unknown.minimums().len(), 5);
        let known = CopyConfiguration::of(Some(&[]), major, None);
        assert!(known.is_known && known.risky.is_empty() && known.minimums().is_empty());
    }
}
