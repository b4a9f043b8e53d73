//! Extents that lie in packs of earlier backups, modes, configuration from elsewhere, and who else writes.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::clock::FixedClock;
use crate::error::ErrorClass;
use crate::pg::testing as real;
use crate::pg::{
    Lsn, RecoveryMode, RecoveryTarget, RecoveryTargetAction, RestoredArchiving, TimelineHistory, WalSegmentName,
};
use crate::report::CollectingReporter;
use crate::repository::WalCoverage;
use crate::repository::backup_testing::{backup, backup_referring_to};
use crate::repository::testing::{TestRepository, with_real_cluster};
use crate::repository::{BackupRecord, PackOptions};
use crate::restore::choose::Choice;
use crate::restore::configuration::{ConfigurationPlace, redirect_includes};
use crate::restore::plan::Destination;
use crate::restore::tablespaces::TablespaceChoice;
use crate::restore::target_directory::InTheWay;
use crate::restore::testing;

struct Scene {
    test: TestRepository,
    directory: PathBuf,
}

fn files() -> BTreeMap<String, Vec<u8>> {
    let noise = |seed: u32, bytes: usize| {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        (0..bytes).map(|_| next()).collect::<Vec<u8>>()
    };
    BTreeMap::from([
        ("PG_VERSION".to_owned(), b"15\n".to_vec()),
        ("base/1/1249".to_owned(), noise(1, 700_001)),
        ("empty".to_owned(), Vec::new()),
        ("base/".to_owned(), Vec::new()),
        ("base/1/".to_owned(), Vec::new()),
        ("base/1/1259".to_owned(), noise(2, 300_000)),
        ("global/".to_owned(), Vec::new()),
        (ControlFile::PATH.to_owned(), testing::control_file(real::system_identifier())),
        ("postgresql.conf".to_owned(), b"port = 5433\n".to_vec()),
    ])
}

impl Scene {
    fn new() -> Self {
        let test = with_real_cluster();
        let directory = test.temp.path().canonicalize().unwrap().join("data");
        Self { test, directory }
    }

    fn plan(&self, record: &BackupRecord) -> RestorePlan {
        let first = WalSegmentName::parse("000000010000000000000002").unwrap();
        let end_lsn = Lsn::new(0x300_0000).unwrap();
        let coverage = WalCoverage { first, last: Some(first), count: 1, end_lsn, end_time: None, hole: None };
        let path = TimelineHistory::first();
        let choice = Choice {
            left_behind: Vec::new(),
            record: record.clone(),
            path,
            coverage,
            has_hole: false,
            warnings: Vec::new(),
            doubts: Vec::new(),
            parting: None,
        };
        let destination = Destination {
            home: None,
            directory: &self.directory,
            tablespaces: &TablespaceChoice::default(),
            in_the_way: InTheWay::Refuse,
            repository_root: Some(self.test.root()),
            pgdata: None,
            old_wal_bytes: 0,
        };
        let what = (RecoveryMode::Targeted, RecoveryTarget::Latest, RecoveryTargetAction::Promote);
        RestorePlan::new(&self.test.repository, &self.test.cluster, &destination, choice, what).unwrap()
    }

    fn restore(&self, plan: &RestorePlan) -> Result<(), RestoreError> {
        let settings = PreparedSettings {
            restore_command: "false".to_owned(),
            recovery_end_command: "true".to_owned(),
            primary_conninfo: None,
            primary_slot_name: None,
            archiving: RestoredArchiving::Off,
        };
        let (repository, cluster) = (&self.test.repository, &self.test.cluster);
        let (clock, reporter, cancel) =
            (FixedClock(jiff::Timestamp::UNIX_EPOCH), CollectingReporter::default(), Cancel::new());
        let executor = Executor {
            repository,
            cluster,
            plan,
            settings: &settings,
            host: "test",
            level: CompressionLevel::DEFAULT,
            jobs: 3,
            manifest: true,
            clock: &clock,
            reporter: &reporter,
            cancel: &cancel,
        };
        executor.run().map(drop)
    }
}

fn packs() -> PackOptions {
    PackOptions { pack_bytes: 200_000, ..PackOptions::default() }
}

fn assert_restored(directory: &Path) {
    for (name, content) in files() {
        let path = directory.join(&name);
        if !name.ends_with('/') {
            assert_eq!(std::fs::read(&path).unwrap(), content, "{name}");
        }
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, if name.ends_with('/') { 0o700 } else { 0o600 }, "{name}");
    }
    for absent in [MARKER, STAGED_CONTROL_FILE, "standby.signal"] {
        assert!(!directory.join(absent).exists(), "{absent}");
    }
    for present in ["backup_label", "recovery.signal", "postgresql.auto.conf", "pg_hba.conf"] {
        assert!(directory.join(present).exists(), "{present}");
    }
}

#[test]
fn extents_are_followed_into_the_packs_of_an_earlier_backup() {
    let scene = Scene::new();
    let first = backup(&scene.test, &files(), packs());
    let second = backup_referring_to(&scene.test, &first);
    assert_eq!(second.parents, [first.id]);
    scene.restore(&scene.plan(&second)).unwrap();
    assert_restored(&scene.directory);
}

#[test]
fn a_damaged_pack_of_an_earlier_backup_is_named_and_no_control_file_appears() {
    let scene = Scene::new();
    let first = backup(&scene.test, &files(), packs());
    let second = backup_referring_to(&scene.test, &first);
    let pack =
        scene.test.root().join(format!("main/{}/packs/{}/00000000", scene.test.cluster.system_identifier, first.id));
    let mut bytes = std::fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::set_permissions(&pack, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&pack, &bytes).unwrap();
    let plan = scene.plan(&second);
    let error = scene.restore(&plan).unwrap_err();
    assert_eq!(error.class(), crate::error::ErrorClass::Corrupt, "{error}");
    assert!(error.to_string().contains(&first.id.to_string()), "{error}");
    assert!(scene.directory.join(MARKER).exists() && !scene.directory.join(ControlFile::PATH).exists());

    // Mended, the directory is emptied and restored.
    bytes[middle] ^= 1;
    std::fs::write(&pack, &bytes).unwrap();
    let plan = scene.plan(&second);
    assert_eq!(plan.directory_action, DirectoryAction::EmptyAndFill);
    scene.restore(&plan).unwrap();
    assert_restored(&scene.directory);
}

#[test]
fn what_changed_since_the_plan_is_refused() {
    let scene = Scene::new();
    let record = backup(&scene.test, &files(), packs());
    let plan = scene.plan(&record);
    std::fs::create_dir(&scene.directory).unwrap();
    std::fs::write(scene.directory.join("of-somebody-else"), "kept").unwrap();
    let error = scene.restore(&plan).unwrap_err().to_string();
    assert!(error.contains("somebody else has just written into it"), "{error}");
    assert_eq!(std::fs::read_dir(&scene.directory).unwrap().count(), 1);

    std::fs::remove_file(scene.directory.join("of-somebody-else")).unwrap();
    let other = Tree::open(&scene.directory).unwrap();
    assert!(other.lock().unwrap());
    let error = scene.restore(&scene.plan(&record)).unwrap_err().to_string();
    let told = format!("another pgv-restore (process {}) is writing into it", std::process::id());
    assert!(error.contains(&told), "{error}");
    drop(other);
    scene.restore(&scene.plan(&record)).unwrap();
    assert_restored(&scene.directory);
}

/// The control file decides what the server takes the files for.
#[test]
fn a_control_file_of_another_kind_than_the_record_says_is_refused_by_name() {
    type Change = fn(&mut BackupRecord);
    let changes: &[(Change, &str)] = &[
        (
            |record| record.major_version = crate::pg::PgMajorVersion::new(16).unwrap(),
            "major version 15, its record 16",
        ),
        // By pages of another size the files have other digests.
        (|record| record.block_bytes = 16_384, "was not restored as it was backed up"),
        (
            |record| record.wal_segment_size = crate::pg::WalSegmentSize::new(1 << 20).unwrap(),
            "WAL segment size 16777216, its record 1048576",
        ),
    ];
    for (change, words) in changes {
        let scene = Scene::new();
        let mut record = backup(&scene.test, &files(), packs());
        change(&mut record);
        let error = scene.restore(&scene.plan(&record)).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Corrupt, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert!(!scene.directory.join(ControlFile::PATH).exists());
    }
}

/// Configuration lay outside the data directory, and a part of it could not be read when the backup was taken.
#[test]
fn no_configuration_of_the_original_is_read() {
    let scene = Scene::new();
    let mut content = files();
    content.remove("postgresql.conf");
    let mut record = backup(&scene.test, &content, packs());
    let settings = [
        ("data_directory", "/srv/data"),
        ("config_file", "/etc/pg/postgresql.conf"),
        ("hba_file", "/etc/pg/pg_hba.conf"),
        ("ident_file", "/srv/data/maps/pg_ident.conf"),
        ("port", "5499"),
    ];
    record.server.settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let plan = scene.plan(&record);
    scene.restore(&plan).unwrap();
    let command_line: BTreeMap<_, _> = ConfigurationPlace::of(&plan).command_line.into_iter().collect();
    let at = |name: &str| scene.directory.join(name).display().to_string();
    let expected = [
        ("data_directory", at("")),
        ("config_file", at("postgresql.conf")),
        ("hba_file", at("pgv-config/pg_hba.conf")),
        ("ident_file", at("maps/pg_ident.conf")),
        ("port", "5499".to_owned()),
        ("external_pid_file", at("external.pid")),
    ];
    for (name, value) in expected {
        assert_eq!(Path::new(&command_line[name]), Path::new(&value), "{name}");
        assert!(!name.ends_with("_file") || name == "external_pid_file" || Path::new(&value).exists(), "{name}");
    }
    let main = std::fs::read_to_string(scene.directory.join("postgresql.conf")).unwrap();
    assert!(main.contains("port = '5499'") || main.contains("port = 5499"), "{main}");
    let hba = std::fs::read_to_string(&command_line["hba_file"]).unwrap();
    assert_eq!(hba, "local all all peer\n");

    let text = b"a = 1\ninclude '/etc/pg/far.conf' # far\ninclude_dir 'conf.d'\ninclude_if_exists='/srv/data/x'\n\
        include '../near.conf'\ninclude '../../../../x'\ninclude '/srv/data/../y'\ninclude '../../srv/data/z'\n";
    let file = Path::new("/etc/pg/postgresql.conf");
    let redirected = String::from_utf8(redirect_includes(text, file, &plan)).unwrap();
    let lines: Vec<&str> = redirected.lines().collect();
    assert_eq!((lines[0], lines[2]), ("a = 1", "include_dir 'conf.d'"));
    assert_eq!(lines[1], format!("include = '{}'", at("pgv-config/etc/pg/far.conf")));
    assert_eq!(lines[3], format!("include_if_exists = '{}'", at("x")));
    // As its original's server resolves them.
    let upwards = ["pgv-config/etc/near.conf", "pgv-config/x", "pgv-config/srv/y", "z"];
    assert_eq!(lines[4..], upwards.map(|place| format!("include = '{}'", at(place))));
}
