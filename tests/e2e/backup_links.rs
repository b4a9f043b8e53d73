//! Configuration behind links in the data directory, as configuration management and Kubernetes put it there: no base
//! backup follows links, and a server without its configuration is not the server that it was.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::{PgVersion, Settled, Site, TestAccount, TestCluster, TestFolder, pg_verifybackup};

/// A primary whose configuration lies elsewhere, with links to it in its data directory; and one file that lies in it.
fn site_with_links(folder: &TestFolder) -> Site {
    let mut site = Site::new(PgVersion::V15, folder);
    site.primary.configure(&["include_dir 'conf.d'", "include_dir 'mounted'", "work_mem = '7MB'"]);
    site.primary.stop();
    let managed = folder.make("managed");
    let data = &site.primary.data;
    for name in ["postgresql.conf", "pg_hba.conf"] {
        fs::rename(data.join(name), managed.join(name)).unwrap();
        symlink(managed.join(name), data.join(name)).unwrap();
    }
    folder.write("managed/linked.conf", "maintenance_work_mem = '33MB'\n");
    folder.make("managed/mounted");
    folder.write("managed/mounted/one.conf", "temp_buffers = '9MB'\n");
    let own = data.join("conf.d/own.conf");
    fs::create_dir(data.join("conf.d")).unwrap();
    fs::write(&own, "effective_cache_size = '77MB'\n").unwrap();
    TestAccount::get().take_over(&data.join("conf.d"));
    TestAccount::get().take_over(&own);
    symlink(managed.join("linked.conf"), data.join("conf.d/linked.conf")).unwrap();
    symlink(managed.join("mounted"), data.join("mounted")).unwrap();
    site.primary.start();
    site
}

#[test]
fn configuration_behind_links_comes_back_under_its_own_name() {
    let folder = TestFolder::new("backup-links");
    let site = site_with_links(&folder);
    let afar = format!("host=127.1 port={} user=postgres dbname=postgres sslmode=disable", site.primary.port);
    let hba = fs::read(folder.join("managed/pg_hba.conf")).unwrap();
    let methods: [&[&str]; 3] =
        [&["--method", "direct"], &["--method", "stream"], &["--method", "stream", "-d", &afar]];
    for options in methods {
        let taken = site.backup(options).success();
        assert!(!taken.stderr.contains("is not stored"), "{taken}");
    }
    site.primary.archive_all();
    let managed = folder.join("managed");
    let away = folder.join("managed-away");
    fs::rename(&managed, &away).unwrap();
    for (number, backup) in site.backups().iter().enumerate() {
        let data = folder.join(format!("copy-{number}"));
        let restored = site.restore(&data, &["--backup", backup, "--target-immediate", "--manifest"]).success();
        assert!(!restored.stderr.contains("has no postgresql.conf"), "{restored}");
        assert_eq!(fs::read(data.join("pg_hba.conf")).unwrap(), hba, "{number}");
        pg_verifybackup(PgVersion::V15, &data, &[]).success();
        let mut copy = TestCluster::at(PgVersion::V15, &folder, &format!("copy-{number}-server"), &data);
        let settled = copy.start_and_settle();
        assert!(!matches!(settled, Settled::Ended(_)), "{settled:?}, log:\n{}", copy.log());
        for (name, value) in [
            ("work_mem", "7MB"),
            ("maintenance_work_mem", "33MB"),
            ("temp_buffers", "9MB"),
            ("effective_cache_size", "77MB"),
        ] {
            assert_eq!(copy.query(&format!("SHOW {name}")), value, "{number}");
        }
    }
}

/// A role that may not read them: the backup says so, and so does the restore.
#[test]
fn configuration_that_is_lost_is_told() {
    let folder = TestFolder::new("backup-links-lost");
    let site = site_with_links(&folder);
    site.primary.query("CREATE ROLE plain LOGIN REPLICATION IN ROLE pg_read_all_settings");
    let afar = format!("host=127.1 port={} user=plain dbname=postgres sslmode=disable", site.primary.port);
    let taken = site.backup(&["--method", "stream", "-d", &afar]).success();
    for name in ["postgresql.conf", "pg_hba.conf"] {
        let path = site.primary.data.join(name).display().to_string();
        let line = taken.stderr.lines().find(|line| line.contains(&path)).unwrap_or_else(|| panic!("{taken}"));
        assert!(line.contains("is not stored"), "{taken}");
    }
    site.primary.archive_all();
    let data = folder.join("copy");
    let restored = site.restore(&data, &["--target-immediate"]).success();
    restored.expect_stderr("the backup has no postgresql.conf").expect_stderr("the backup has no pg_hba.conf");
}
