//! What a backup must hold: where data of the server is missing, or damaged in a way that checksums do not tell by
//! themselves, it fails or says so, by either method.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::support::{Outcome, PgVersion, Site, TestCluster, TestFolder};

const METHODS: [&str; 2] = ["direct", "stream"];

/// A server at rest, so that its files can be moved under its feet.
fn idle_site(folder: &TestFolder) -> Site {
    let builder = TestCluster::builder(PgVersion::V15, folder).initdb("--data-checksums").line("autovacuum = off");
    Site::of(builder.line("checkpoint_timeout = 1d"), folder)
}

fn backup(site: &Site, method: &str) -> Outcome {
    site.backup(&["--method", method])
}

/// PostgreSQL works with such links, and `pg_basebackup` leaves out what is behind them.
#[test]
fn data_behind_a_link_is_no_silent_loss() {
    let folder = TestFolder::new("whole-links");
    let site = idle_site(&folder);
    let server = &site.primary;
    server.create_tablespace(&folder, "apart");
    server.query("CREATE TABLE plain AS SELECT 1 AS x; CREATE TABLE spaced TABLESPACE apart AS SELECT 1 AS x");
    server.query("CHECKPOINT");
    let relation = server.query("SELECT pg_relation_filepath('plain')");
    let spaced = server.query("SELECT pg_relation_filepath('spaced')");
    let database = Path::new(&relation).parent().unwrap().display().to_string();
    let moved = folder.make("moved").join("it");
    for path in ["base", &database, &relation, &spaced, "global", "pg_xact", "pg_multixact", "pg_multixact/members"] {
        let place = server.data.join(path);
        fs::rename(&place, &moved).unwrap();
        symlink(&moved, &place).unwrap();
        for method in METHODS {
            let outcome = backup(&site, method).expect_code(3);
            let words = format!("\"{path}\" in the data directory is a link, which no base backup follows");
            outcome.expect_stderr(&words).expect_stderr("CREATE TABLESPACE").expect_stderr("Nothing of this backup");
        }
        fs::remove_file(&place).unwrap();
        fs::rename(&moved, &place).unwrap();
    }
    assert_eq!(site.backups(), [""; 0]);
    assert!(!site.tree().join("packs").exists() || !server.log().contains("could not open"), "{}", server.log());
    // what is nobody's data is left out with a word
    symlink("/etc/hostname", server.data.join("server.crt")).unwrap();
    symlink("/var/tmp", server.data.join("log")).unwrap();
    for method in METHODS {
        backup(&site, method).success().expect_stderr("log\"");
    }
}

/// A file system that is not mounted, and what a crash leaves of a tablespace.
#[test]
fn a_tablespace_without_its_files_is_no_empty_one() {
    let folder = TestFolder::new("whole-spaces");
    let site = idle_site(&folder);
    let server = &site.primary;
    let space = server.create_tablespace(&folder, "apart");
    server.query("CREATE TABLE spaced TABLESPACE apart AS SELECT 1 AS x; CHECKPOINT");
    let oid = server.query("SELECT oid FROM pg_tablespace WHERE spcname = 'apart'");
    let inside = fs::read_dir(&space).unwrap().next().unwrap().unwrap().path();
    let away = folder.join("away");
    for place in [&inside, &space] {
        fs::rename(place, &away).unwrap();
        for method in METHODS {
            let outcome = backup(&site, method).expect_code(3);
            outcome.expect_stderr(&format!("tablespace {oid} has no directory")).expect_stderr("mounted");
        }
        fs::rename(&away, place).unwrap();
    }
    assert_eq!(site.backups(), [""; 0]);
    symlink("/nowhere", server.data.join("pg_tblspc/77777")).unwrap();
    for method in METHODS {
        backup(&site, method).success().expect_stderr("77777");
    }
}

/// Garbage has any LSN; only one that the server can have written keeps a page from being judged.
#[test]
fn a_page_with_an_impossible_lsn_is_found() {
    let folder = TestFolder::new("whole-pages");
    let site = idle_site(&folder);
    let server = &site.primary;
    server.query("CREATE TABLE hit AS SELECT md5(g::text) AS filler FROM generate_series(1, 20000) AS g");
    server.query("CREATE TABLE cut AS TABLE hit; CHECKPOINT");
    let path = |name: &str| server.query(&format!("SELECT pg_relation_filepath('{name}')"));
    let (hit, cut) = (path("hit"), path("cut"));
    let mut content = fs::read(server.data.join(&hit)).unwrap();
    content[100 * 8192..101 * 8192].copy_from_slice(&b"garbage\n".repeat(1024));
    fs::write(server.data.join(&hit), content).unwrap();
    let outcome = backup(&site, "direct").expect_code(5);
    outcome.expect_stderr(&format!("marked: \"{hit}\": page 100 (found ")).expect_stderr("has a wrong checksum");
    let file = fs::File::options().write(true).open(server.data.join(&cut)).unwrap();
    let bytes = file.metadata().unwrap().len() - 4000;
    file.set_len(bytes).unwrap();
    server.query("DROP TABLE hit; CHECKPOINT");
    for method in METHODS {
        let words = format!("\"{cut}\" has {bytes} bytes, which is no multiple of 8192: its last page is cut short");
        backup(&site, method).success().expect_stderr(&words);
    }
}
