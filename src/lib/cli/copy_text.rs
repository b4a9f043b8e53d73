//! What becomes of the settings of a restored copy, in words and for programs.

use serde::Serialize;

use super::printer::field;
use crate::pg::{LowSetting, RiskySetting};
use crate::restore::{ConfigTrust, CopyConfiguration};

/// Lines of a plan: a word, and what it says.
pub(super) fn lines(trust: ConfigTrust, settings: &CopyConfiguration) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    let head = match trust {
        ConfigTrust::SwitchedOff => "switched off, because it is a copy; --trust-config keeps them:",
        ConfigTrust::Asked => "kept, since its configuration is trusted:",
        ConfigTrust::InPlace => "kept, since it is restored in its original's place:",
        ConfigTrust::TakesOver => "kept, since it takes its original's place:",
        ConfigTrust::Standby => "kept, since it is a standby of its cluster:",
    };
    if !settings.risky.is_empty() {
        lines.push(("settings", head.to_owned()));
    }
    lines.extend(settings.risky.iter().map(|setting| ("", risky_text(trust, setting))));
    if !trust.is_kept() {
        if !settings.is_known {
            let all = "its files cannot all be read: every setting that is known to run code is switched off";
            lines.push(("settings", all.to_owned()));
        }
        lines.push(("", "subscriptions do not start in a copy".to_owned()));
        if settings.risky.is_empty()
            && settings.is_known
            && let Some((word, _)) = lines.last_mut()
        {
            *word = "settings";
        }
    }
    let word = |number: usize| if number == 0 { "raised" } else { "" };
    lines.extend(settings.raised.iter().enumerate().map(|(number, low)| (word(number), raised_text(low))));
    lines
}

fn risky_text(trust: ConfigTrust, setting: &RiskySetting) -> String {
    let RiskySetting { name, value, harmless, .. } = setting;
    match harmless {
        None if !trust.is_kept() => format!("{name} = '{value}' stays: pg_hba.conf may need it"),
        _ => format!("{name} = '{value}'"),
    }
}

fn raised_text(low: &LowSetting) -> String {
    let LowSetting { name, needed, found } = low;
    let has = found.map_or_else(|| "no number that is known".to_owned(), |found| found.to_string());
    format!("{name} = {needed} for the time of recovery, which needs it; the configuration has {has}")
}

/// The last words about them; nothing when there is nothing to say.
pub(super) fn last_words(trust: ConfigTrust, settings: &CopyConfiguration) -> String {
    lines(trust, settings).iter().map(|(word, text)| field(word, text)).collect()
}

/// The same for programs; fields are only ever added.
#[derive(Serialize)]
pub(super) struct JsonConfiguration<'a> {
    /// Whether it is kept, and why; `switched_off` where not.
    trust: ConfigTrust,
    #[serde(flatten)]
    settings: &'a CopyConfiguration,
}

impl<'a> JsonConfiguration<'a> {
    pub(super) fn new(trust: ConfigTrust, settings: &'a CopyConfiguration) -> Self {
        Self { trust, settings }
    }
}
