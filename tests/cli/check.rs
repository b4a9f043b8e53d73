//! `pgv check` where something does not answer.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::support::{SilentFileSystem, program};
use crate::wal_host::WalHost;

/// Rows: what hangs, and what is said of it. That nobody else answers, either, keeps it from nothing.
#[test]
fn a_repository_that_hangs_is_critical_in_time() {
    for (place, says) in [("repository/.staging", "opening repository \""), ("repository/main", " \"main/")] {
        let host = WalHost::new("check");
        if place == "repository/main" {
            fs::rename(host.repository.join("main"), host.folder.join("away")).unwrap();
        }
        let _silent = SilentFileSystem::mount(&host.folder, place);
        let (pgv, config) = (program("pgv"), host.folder.join("pgv.toml"));
        let line = format!("{} check --config {} -h /none --stall-timeout 300ms", pgv.display(), config.display());
        let plugin = host.sh(&format!("{line} --nagios")).expect_code(2);
        let expected = "repository critical: the repository does not answer: nothing moved for 300ms while ";
        assert!(plugin.stdout.starts_with("PGV CRITICAL - ") && plugin.stdout.contains(expected), "{plugin}");
        assert!(plugin.stdout.contains(says) && plugin.stdout.contains("server critical: "), "{plugin}");
        assert!(plugin.elapsed < Duration::from_secs(20), "{plugin}");
        let table = host.sh(&format!("{line} --output json")).expect_code(1);
        let answer: Value = serde_json::from_str(&table.stdout).unwrap();
        let advice = answer["checks"][1]["advice"].as_str().unwrap();
        assert!(advice.starts_with("Nothing in it was looked at. Is its file system, or the server"), "{advice}");
    }
}
