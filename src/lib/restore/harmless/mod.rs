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

use serde::Serialize;

use super::RestoreOptions;
use super::configuration::AUTO_FILE;
use super::error::RestoreError;
use super::plan::RestorePlan;
use crate::pg::{
    ConfigEntry, CopySettings, LowSetting, PgMajorVersion, RecoveryMode, ReplayNeeds, RestoredArchiving, RiskySetting,
};
use crate::repository::{ClusterName, RepositoryError};
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
    /// It does: it is restored to where this cluster archives from, on that host.
    InPlace,
    /// It does: it archives in its original's place.
    TakesOver,
    /// It does: it becomes a standby of the cluster.
    Standby,
}

impl ConfigTrust {
    fn of(options: &RestoreOptions, cluster: &ClusterName, directory: &Path) -> Result<Self, RepositoryError> {
        if options.trust_config {
            return Ok(Self::Asked);
        }
        if options.mode == RecoveryMode::Standby {
            return Ok(Self::Standby);
        }
        if options.settings.archiving == RestoredArchiving::Unchanged {
            return Ok(Self::TakesOver);
        }
        let writers = options.repository.writers(cluster)?;
        let is_in_place = writers.iter().any(|(_, one)| one.host == options.host && one.directory == directory);
        Ok(if is_in_place { Self::InPlace } else { Self::SwitchedOff })
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

    /// The values that replay needs.
    pub(super) fn minimums(&self) -> Vec<(&'static str, u32)> {
        self.raised.iter().map(|low| (low.name, low.needed)).collect()
    }
}

/// Decides about the settings, and refuses what would harm the original or could not be recovered; with warnings.
pub(super) fn plan(
    options: &RestoreOptions,
    cluster: &ClusterName,
    plan: &RestorePlan,
) -> Result<(CopyPlan, Vec<String>), RestoreError> {
    let trust = ConfigTrust::of(options, cluster, &plan.directory)?;
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
                refuse_lacking_library(on_the_way, plan)?;
            }
            let created = &on_the_way.created_tablespaces;
            warnings.extend(tablespaces::check(created, plan, &options.allowed_tablespace_paths)?);
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
fn refuse_lacking_library(on_the_way: &OnTheWay, plan: &RestorePlan) -> Result<(), CopyError> {
    let Some(manager) = on_the_way.resource_managers.first() else { return Ok(()) };
    let libraries = plan.record.setting("shared_preload_libraries").unwrap_or_default();
    Err(CopyError::NeedsLibrary { manager: *manager, libraries: libraries.to_owned() })
}
