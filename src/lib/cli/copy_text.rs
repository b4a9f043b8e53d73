//! What becomes of the settings of a restored copy, in words and for programs.

use serde::Serialize;

use super::printer::field;
use crate::pg::{LowSetting, RiskySetting};
use crate::restore::{ConfigTrust, CopyConfiguration};

/// Lines of a plan: a word, and what it says.
pub(super) fn lines(trust: ConfigTrust, settings: &CopyConfiguration) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if !trust.is_kept() {
        lines.push(("copy", "its subscriptions do not start".to_owned()));
    }
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
    if !trust.is_kept() && !settings.is_known {
        let all = "not all of its files can be read here: every setting that is known to run code is switched off";
        lines.push(("settings", all.to_owned()));
    }
    let word = |number: usize| if number == 0 { "raised" } else { "" };
    lines.extend(settings.raised.iter().enumerate().map(|(number, low)| (word(number), raised_text(low))));
    lines
}

fn risky_text(trust: ConfigTrust, setting: &RiskySetting) -> String {
    let RiskySetting { name, value, harmless, .. } = setting;
    match harmless {
        None if !trust.is_kept() => format!("{name} = '{value}' stays: pg_hba.conf may need it"),
        Some(_) if *name == "ssl" => format!("{name} = '{value}', whose key needs ssl_passphrase_command"),
        _ => format!("{name} = '{value}'"),
    }
}

fn raised_text(low: &LowSetting) -> String {
    let LowSetting { name, needed, found } = low;
    let has = match found {
        Some(found) => format!("the configuration has {found}"),
        None => "what the configuration has is not known".to_owned(),
    };
    format!("{name} = {needed} for the time of recovery, which needs it; {has}")
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
