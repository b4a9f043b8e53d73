//! The settings that a recovering server must not have lower than the server that wrote its WAL (contract A3.10;
//! `CheckRequiredParameterValues` in `src/backend/access/transam/xlogrecovery.c`): 13 ends, later ones end or pause.

use serde::Serialize;

use super::config_text::{ConfigEntry, config_value};
use super::control_file::ControlSettings;
use super::recovery_settings::written_setting;
use super::wal::ParameterChange;

/// Their names, and what a server has that is not told (13 to 18 alike).
const DEFAULTS: [(&str, u32); 5] = [
    ("max_connections", 100),
    ("max_locks_per_transaction", 64),
    ("max_prepared_transactions", 0),
    ("max_wal_senders", 10),
    ("max_worker_processes", 8),
];

/// The names of the settings.
pub const REPLAY_SETTINGS: [&str; 5] = [DEFAULTS[0].0, DEFAULTS[1].0, DEFAULTS[2].0, DEFAULTS[3].0, DEFAULTS[4].0];

/// What replay needs at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ReplayNeeds {
    max_connections: u32,
    max_locks_per_transaction: u32,
    max_prepared_transactions: u32,
    max_wal_senders: u32,
    max_worker_processes: u32,
}

/// A setting that is too low, or whose value is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LowSetting {
    /// Its name.
    pub name: &'static str,
    /// What replay needs.
    pub needed: u32,
    /// What the configuration says; none when it says nothing that can be read.
    pub found: Option<u32>,
}

impl From<&ControlSettings> for ReplayNeeds {
    fn from(settings: &ControlSettings) -> Self {
        Self {
            max_connections: settings.max_connections,
            max_locks_per_transaction: settings.max_locks_per_xact,
            max_prepared_transactions: settings.max_prepared_xacts,
            max_wal_senders: settings.max_wal_senders,
            max_worker_processes: settings.max_worker_processes,
        }
    }
}

impl From<&ParameterChange> for ReplayNeeds {
    fn from(change: &ParameterChange) -> Self {
        Self {
            max_connections: change.max_connections,
            max_locks_per_transaction: change.max_locks_per_xact,
            max_prepared_transactions: change.max_prepared_xacts,
            max_wal_senders: change.max_wal_senders,
            max_worker_processes: change.max_worker_processes,
        }
    }
}

impl ReplayNeeds {
    /// What serves both.
    pub fn highest(self, other: Self) -> Self {
        Self {
            max_connections: self.max_connections.max(other.max_connections),
            max_locks_per_transaction: self.max_locks_per_transaction.max(other.max_locks_per_transaction),
            max_prepared_transactions: self.max_prepared_transactions.max(other.max_prepared_transactions),
            max_wal_senders: self.max_wal_senders.max(other.max_wal_senders),
            max_worker_processes: self.max_worker_processes.max(other.max_worker_processes),
        }
    }

    /// In the order of [`REPLAY_SETTINGS`].
    fn values(self) -> [u32; 5] {
        [
            self.max_connections,
            self.max_locks_per_transaction,
            self.max_prepared_transactions,
            self.max_wal_senders,
            self.max_worker_processes,
        ]
    }

    /// What a configuration has too low; all of it when the configuration cannot be read.
    pub fn lacking(self, entries: Option<&[ConfigEntry]>) -> Vec<LowSetting> {
        let low = |((name, default), needed): ((&'static str, u32), u32)| {
            let found = match entries.map(|entries| config_value(entries, name)) {
                None => None,
                Some(None) => Some(default),
                Some(Some(value)) => integer(value),
            };
            found.is_none_or(|found| found < needed).then_some(LowSetting { name, needed, found })
        };
        DEFAULTS.into_iter().zip(self.values()).filter_map(low).collect()
    }
}

/// The minimums that lines of ours in `postgresql.auto.conf` set for a recovery.
pub(super) fn written_minimums(auto_text: &[u8]) -> Vec<(&'static str, u32)> {
    let written = |name: &'static str| Some((name, integer(&written_setting(auto_text, name)?)?));
    REPLAY_SETTINGS.into_iter().filter_map(written).collect()
}

/// A whole number as C writes it: what else the server takes is no value that a person would write here.
fn integer(value: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(value).ok()?.trim_ascii();
    let lower = text.to_ascii_lowercase();
    match (lower.strip_prefix("0x"), lower.strip_prefix('0')) {
        (Some(digits), _) => u32::from_str_radix(digits, 16).ok(),
        (None, Some(digits)) if !digits.is_empty() => u32::from_str_radix(digits, 8).ok(),
        _ => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::parse_config;

    const NEEDS: ReplayNeeds = ReplayNeeds {
        max_connections: 200,
        max_locks_per_transaction: 64,
        max_prepared_transactions: 5,
        max_wal_senders: 10,
        max_worker_processes: 8,
    };

    fn lacking(text: &str) -> Vec<(&'static str, Option<u32>)> {
        let entries = parse_config(text.as_bytes()).unwrap();
        NEEDS.lacking(Some(&entries)).into_iter().map(|low| (low.name, low.found)).collect()
    }

    #[test]
    fn what_is_lower_or_not_known_lacks() {
        let (connections, prepared) = ("max_connections", "max_prepared_transactions");
        assert_eq!(lacking(""), [(connections, Some(100)), (prepared, Some(0))]);
        assert_eq!(lacking("max_connections = 200\nMAX_PREPARED_TRANSACTIONS = 5\n"), []);
        assert_eq!(lacking("max_connections = 0xC8\nmax_prepared_transactions = '012'\n"), []);
        assert_eq!(lacking("max_connections = 0310\nmax_prepared_transactions = ' 5 '\n"), []);
        assert_eq!(
            lacking("max_connections = '2e2'\nmax_prepared_transactions = 4\n"),
            [(connections, None), (prepared, Some(4))]
        );
        assert_eq!(
            lacking("max_connections = 300\nmax_connections = 199\nmax_prepared_transactions=9\n"),
            [(connections, Some(199))]
        );
        assert_eq!(NEEDS.lacking(None).len(), 5);
    }

    #[test]
    fn the_highest_of_each_serves_both() {
        let other = ReplayNeeds { max_connections: 10, max_worker_processes: 30, ..NEEDS };
        assert_eq!(NEEDS.highest(other), ReplayNeeds { max_worker_processes: 30, ..NEEDS });
    }

    #[test]
    fn minimums_are_found_again_where_they_were_written() {
        let text = b"max_connections = 50\n# pgv: begin of recovery settings; \"pgv-recovery-conf --clear\" removes them\n\
            max_connections = '200'\nmax_wal_senders = '20'\n# pgv: end of recovery settings\nmax_worker_processes = 9\n";
        assert_eq!(written_minimums(text), [("max_connections", 200), ("max_wal_senders", 20)]);
        assert_eq!(written_minimums(b"max_connections = 50\n"), []);
    }
}
