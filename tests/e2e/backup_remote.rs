//! Backups of a server that is not on this host, as far as pgv can tell: what is recorded of it, and who may see that.

use serde_json::Value;

use crate::support::{PgVersion, Site, TestFolder};

/// The server by an address that leads here and that pgv does not take for one of this host.
fn from_afar(site: &Site, role: &str) -> String {
    format!("host=127.1 port={} user={role} dbname=postgres sslmode=disable", site.primary.port)
}

/// `os`, `libc`, `icu` and the versions of collations that a backup of that role records.
fn recorded(site: &Site, role: &str) -> Value {
    let options = ["--method", "stream", "--output", "json", "-d", &from_afar(site, role)];
    let outcome = site.backup(&options).success();
    assert!(!outcome.stderr.contains("warning"), "{outcome}");
    let answer: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(answer["backup"]["node"]["host"], "127.1");
    answer["backup"]["server"]["libraries"].clone()
}

#[test]
fn the_versions_of_a_remote_server_are_those_that_the_role_may_see() {
    let folder = TestFolder::new("backup-remote");
    let site = Site::new(PgVersion::V15, &folder);
    let release = std::fs::read_to_string("/etc/os-release").unwrap();
    let here = recorded(&site, "postgres");
    assert!(release.contains(here["os"].as_str().unwrap()), "{here}");
    assert!(here["libc"].as_str().unwrap().contains("version 2."), "{here}");
    assert!(here["icu"].as_str().unwrap().contains('.'), "{here}");
    let told = site.restore(&folder.join("same"), &["--dry-run"]).success();
    assert!(!told.stderr.contains("C library"), "{told}");

    let report: Value = serde_json::from_str(&site.init(&["--output", "json"]).success().stdout).unwrap();
    for statement in report["server"]["role_sql"].as_array().unwrap() {
        site.primary.query(statement.as_str().unwrap());
    }
    // As an older system would have it.
    site.primary.query(
        "CREATE OR REPLACE FUNCTION pg_catalog.pg_collation_actual_version(oid) RETURNS text \
         LANGUAGE sql AS $$ SELECT '2.28' $$",
    );
    let seen = recorded(&site, "pgv");
    assert_eq!((seen["libc"].as_str(), seen["libc_collation"].as_str()), (Some("2.28"), Some("2.28")), "{seen}");
    assert_eq!((seen.get("os"), seen.get("icu")), (None, None), "{seen}");
    // What it may not read is not tried.
    assert!(!site.primary.log().contains("permission denied"), "{}", site.primary.log());
    let told = site.restore(&folder.join("other"), &["--dry-run"]).success();
    assert!(told.stderr.contains("the C library 2.28, and here it is 2."), "{told}");
}
