//! PostgreSQL takes a failing restore_command, a damaged and a missing segment for the end of the archive, and opens.
//! Here each of them meets a recovery after its restore was proven and done, and each meets pgv-restore: no server opens
//! short, every cause is told, and once the repository is healed the same directory recovers everything.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::support::{
    Ledger, PgVersion, Pgv, Settled, Site, TestAccount, TestCluster, TestFolder, program, run, wait_until,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// What goes wrong with a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// restore_command says 1 for it, as a careless one does for any error.
    FailingFetch,
    FlippedBit,
    Missing,
    /// A good object of another segment under its name.
    Foreign,
    WrongSize,
    StoreGone,
    PermissionLost,
}

const FAULTS: [Fault; 7] = [
    Fault::FailingFetch,
    Fault::FlippedBit,
    Fault::Missing,
    Fault::Foreign,
    Fault::WrongSize,
    Fault::StoreGone,
    Fault::PermissionLost,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Where the backup begins.
    First,
    Middle,
    Last,
}

const PLACES: [Place; 3] = [Place::First, Place::Middle, Place::Last];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Latest,
    Target,
    Standby,
}

const MODES: [Mode; 3] = [Mode::Latest, Mode::Target, Mode::Standby];

/// A backup and what was archived from it on; the primary is gone.
pub(crate) struct Scene {
    pub(crate) version: PgVersion,
    site: Site,
    /// The segments of the places.
    segments: [String; 3],
    rows: Vec<i64>,
    /// The transaction of the last row.
    xid: String,
    pub(crate) folder: TestFolder,
}

/// A copy of the repository for one mode, and a directory restored from it.
pub(crate) struct Bench<'a> {
    pub(crate) scene: &'a Scene,
    pub(crate) mode: Mode,
    pub(crate) pgv: Pgv,
    /// The mode's folder, relative to the test's.
    pub(crate) name: String,
    pub(crate) restored: PathBuf,
}

/// What is missing while its successor is young may still be on its way.
fn old() -> SystemTime {
    SystemTime::now() - Duration::from_secs(3600)
}

impl Scene {
    pub(crate) fn new(version: PgVersion) -> Self {
        let folder = TestFolder::in_memory("promotion");
        let builder = TestCluster::builder(version, &folder).initdb("--wal-segsize=1").line("shared_buffers = 2MB");
        let mut site = Site::of(builder, &folder);
        let mut ledger = Ledger::create(&site.primary);
        ledger.commit_many(&site.primary, 2);
        let taken = site.backup(&["--output", "json"]).success();
        let taken: Value = serde_json::from_str(&taken.stdout).unwrap();
        let start = taken["backup"]["start_lsn"].as_str().unwrap();
        let first = site.primary.query(&format!("SELECT pg_walfile_name('{start}')"));
        let [_, middle, last] = [(); 3].map(|()| {
            ledger.commit_many(&site.primary, 2);
            site.primary.archive_all()
        });
        let xid = ledger.rows.last().unwrap().xid.to_string();
        let rows = ledger.all();
        // Its last segment would be archived behind the last one.
        site.primary.kill();
        let scene = Self { version, site, segments: [first, middle, last], rows, xid, folder };
        for segment in scene.archived() {
            fs::File::open(segment).unwrap().set_modified(old()).unwrap();
        }
        scene
    }

    fn archived(&self) -> Vec<PathBuf> {
        let name = &self.segments[0];
        let folder = self.stored(&self.site.pgv.repository, name);
        fs::read_dir(folder.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    fn stored(&self, repository: &Path, segment: &str) -> PathBuf {
        let mut trees = fs::read_dir(repository.join("main")).unwrap().map(|entry| entry.unwrap().path());
        let tree = trees.find(|path| path.join("identity").exists()).unwrap();
        tree.join("wal").join(&segment[..8]).join(&segment[..16]).join(segment)
    }

    pub(crate) fn copy(&self, from: &Path, to: &Path) {
        let mut command = TestAccount::get().command("cp");
        command.args(["-a", "--reflink=auto"]).arg(from).arg(to);
        run(command).success();
    }

    pub(crate) fn bench(&self, mode: Mode) -> Bench<'_> {
        let name = format!("{mode:?}");
        let folder = self.folder.make(&name);
        let repository = folder.join("repository");
        self.copy(&self.site.pgv.repository, &repository);
        let text = fs::read_to_string(&self.site.pgv.config).unwrap();
        let old = self.site.pgv.repository.display().to_string();
        let text = text.replace(&old, &repository.display().to_string());
        let text = text + "\n[fetch]\ntimeout = \"200ms\"\nstall_timeout = \"2s\"\n";
        let config = self.folder.write(format!("{name}/pgv.toml"), text);
        let bench =
            Bench { scene: self, mode, pgv: Pgv { config, repository }, restored: folder.join("restored"), name };
        bench.restore(&bench.restored).success();
        bench
    }
}

impl Bench<'_> {
    fn options(&self) -> Vec<&str> {
        match self.mode {
            Mode::Latest => vec![],
            Mode::Target => vec!["--target-xid", &self.scene.xid],
            Mode::Standby => vec!["--standby"],
        }
    }

    fn restore(&self, data: &Path) -> crate::support::Outcome {
        let data = data.display().to_string();
        self.pgv.run("pgv-restore", &[&["-D", &data], self.options().as_slice()].concat())
    }

    pub(crate) fn segment(&self, place: Place) -> &str {
        &self.scene.segments[place as usize]
    }

    pub(crate) fn stored(&self, place: Place) -> PathBuf {
        self.scene.stored(&self.pgv.repository, self.segment(place))
    }

    /// Does the damage; the function that is returned undoes it.
    fn inject(&self, fault: Fault, place: Place) -> Box<dyn FnOnce() + '_> {
        let heal = self.healing(fault, place);
        if fault == Fault::StoreGone {
            fs::rename(&self.pgv.repository, self.pgv.repository.with_extension("away")).unwrap();
            return heal;
        }
        let stored = self.stored(place);
        let whole = fs::read(&stored).unwrap();
        let replace = |bytes: &[u8]| fs::write(&stored, bytes).unwrap();
        match fault {
            Fault::FailingFetch | Fault::StoreGone => {}
            Fault::FlippedBit => {
                let mut bytes = whole.clone();
                // Within the first frame of content: behind the envelope and its copy, before the seek table.
                bytes[1020] ^= 4;
                replace(&bytes);
            }
            Fault::Missing => fs::remove_file(&stored).unwrap(),
            Fault::Foreign => {
                let other = if place == Place::Middle { Place::Last } else { Place::Middle };
                replace(&fs::read(self.stored(other)).unwrap());
            }
            Fault::WrongSize => replace(&whole[..whole.len() - 100]),
            Fault::PermissionLost => fs::set_permissions(&stored, fs::Permissions::from_mode(0o000)).unwrap(),
        }
        heal
    }

    /// What makes the repository sound again as it is now.
    pub(crate) fn healing(&self, fault: Fault, place: Place) -> Box<dyn FnOnce() + '_> {
        let repository = self.pgv.repository.clone();
        if fault == Fault::StoreGone {
            return Box::new(move || fs::rename(repository.with_extension("away"), repository).unwrap());
        }
        let stored = self.stored(place);
        let whole = fs::read(&stored).unwrap();
        Box::new(move || {
            fs::write(&stored, whole).unwrap();
            TestAccount::get().take_over(&stored);
            fs::set_permissions(&stored, fs::Permissions::from_mode(0o600)).unwrap();
            fs::File::open(&stored).unwrap().set_modified(old()).unwrap();
        })
    }

    /// What the log of the server says, by pgv-fetch or by itself.
    fn words(&self, fault: Fault, place: Place) -> String {
        let ended = match place {
            Place::First => "could not locate required checkpoint record".to_owned(),
            _ => "recovery ended before configured recovery target was reached".to_owned(),
        };
        match (fault, place) {
            (Fault::FailingFetch, _) | (Fault::Missing, Place::Last) => ended,
            (Fault::Missing, _) => "is missing in repository".to_owned(),
            (Fault::FlippedBit | Fault::Foreign | Fault::WrongSize, _) => "is damaged: ".to_owned(),
            (Fault::StoreGone, _) => "there is no repository at".to_owned(),
            (Fault::PermissionLost, _) => "ermission denied".to_owned(),
        }
    }

    /// One row: the fault comes between the restore and the start.
    fn row(&self, number: usize, fault: Fault, place: Place) {
        let name = format!("{}/{number}", self.name);
        let data = self.scene.folder.join(&name);
        self.scene.copy(&self.restored, &data);
        let mut copy =
            TestCluster::at(self.scene.version, &self.scene.folder, &format!("{}{number}", self.name), &data);
        let heal = self.inject(fault, place);
        let what = format!("{:?}, {fault:?} at the {place:?}", self.mode);
        let plain = format!("{} --config {} %f %p", program("pgv-fetch").display(), self.pgv.config.display());
        let failing = format!("restore_command=test %f != {} && {plain}", self.segment(place));
        let settings: &[&str] = match (fault, self.mode) {
            (Fault::FailingFetch, Mode::Standby) => &[&failing, "wal_retrieve_retry_interval=100ms"],
            (Fault::FailingFetch, _) => &[&failing],
            (_, Mode::Standby) => &["wal_retrieve_retry_interval=100ms"],
            _ => &[],
        };
        if self.mode == Mode::Standby {
            self.standby_row(&mut copy, settings, fault, place, heal);
        } else {
            self.ends_and_goes_on(&mut copy, settings, (fault, place), &what, heal);
        }
        self.finish(copy);
    }

    /// A recovery ends without opening; healed, it goes on to the end.
    pub(crate) fn ends_and_goes_on(
        &self,
        copy: &mut TestCluster,
        settings: &[&str],
        (fault, place): (Fault, Place),
        what: &str,
        heal: Box<dyn FnOnce() + '_>,
    ) {
        let settled = copy.start_and_settle_with(settings);
        assert!(matches!(settled, Settled::Ended(_)), "{what}: {settled:?}\nlog:\n{}", copy.log());
        let words = self.words(fault, place);
        assert!(copy.log().contains(&words), "{what}: the log does not say {words:?}:\n{}", copy.log());
        let is_of_server = words.starts_with("recovery ended") || words.starts_with("could not locate");
        let names_it = |line: &str| line.contains("pgv-fetch: error: ") && line.contains(self.segment(place));
        let is_named = is_of_server || fault == Fault::StoreGone || copy.log().lines().any(names_it);
        assert!(is_named, "{what}: the segment is not named:\n{}", copy.log());
        assert!(copy.data.join("recovery.signal").exists(), "{what}: recovery has ended");
        heal();
        let expected = if self.mode == Mode::Latest { Settled::Open } else { Settled::Paused };
        assert_eq!(copy.start_and_settle(), expected, "{what}, healed\nlog:\n{}", copy.log());
    }

    /// Everything is there; the directory goes.
    pub(crate) fn finish(&self, mut copy: TestCluster) {
        Ledger::assert(&copy, &self.scene.rows);
        copy.kill();
        let data = copy.data.clone();
        drop(copy);
        fs::remove_dir_all(data).unwrap();
    }

    /// A standby waits, and goes on when it can.
    pub(crate) fn standby_row(
        &self,
        copy: &mut TestCluster,
        settings: &[&str],
        fault: Fault,
        place: Place,
        heal: Box<dyn FnOnce() + '_>,
    ) {
        let what = format!("standby, {fault:?} at the {place:?}");
        copy.launch(&[settings, &["wal_retrieve_retry_interval=100ms", "log_min_messages=debug2"]].concat());
        if fault == Fault::FailingFetch || (fault, place) == (Fault::Missing, Place::Last) {
            // Without this level nothing is said of what seems to be the end: it is asked for again and again.
            let asked = || copy.log().matches("from archive: ").count();
            wait_until(&format!("{what} has asked several times"), PATIENCE, || asked() >= 4);
        } else {
            copy.wait_for_log(&self.words(fault, place));
        }
        assert_eq!(copy.ended(), None, "{what}\nlog:\n{}", copy.log());
        assert!(!copy.log().contains("archive recovery complete"), "{what}\nlog:\n{}", copy.log());
        heal();
        if fault == Fault::FailingFetch {
            copy.kill();
            copy.launch(&["wal_retrieve_retry_interval=100ms"]);
        }
        let count = self.scene.rows.len().to_string();
        wait_until(&format!("{what} has caught up"), PATIENCE, || {
            copy.try_query("SELECT count(*) FROM ledger").stdout.trim() == count
        });
        assert!(copy.is_in_recovery(), "{what}");
    }

    /// The fault is there before the restore: it is refused, unless what is lost is needed by nobody.
    fn refused(&self, fault: Fault, place: Place) {
        let data = self.pgv.repository.with_file_name("refused");
        let heal = self.inject(fault, place);
        let what = format!("{:?}, {fault:?} at the {place:?}", self.mode);
        let outcome = self.restore(&data);
        // A standby follows: what lies behind its backup is not read, only looked at for holes. Without a target, an
        // archive that ends one segment earlier is told from a whole one by the original's pg_wal.
        let is_seen = fault == Fault::StoreGone || (fault, place) == (Fault::Missing, Place::Middle);
        let is_unknown = self.mode == Mode::Standby && place != Place::First && !is_seen;
        if is_unknown {
            outcome.success();
            fs::remove_dir_all(&data).unwrap();
        } else {
            let segment = self.segment(place);
            let (status, words) = match (fault, place) {
                (Fault::Missing, Place::Last) if self.mode == Mode::Latest => (3, "after the end of the archive"),
                (Fault::Missing, Place::Last) => (3, "is not in the archive: WAL was read from "),
                (Fault::Missing, _) => (3, segment),
                (Fault::FlippedBit | Fault::Foreign | Fault::WrongSize, _) => (5, segment),
                (Fault::StoreGone, _) => (4, "there is no repository at"),
                (Fault::PermissionLost, _) => (4, segment),
                (Fault::FailingFetch, _) => unreachable!("pgv-restore reads without it"),
            };
            assert_eq!(outcome.code(), status, "{what}\n{outcome}");
            assert!(outcome.stderr.contains(words), "{what}: no {words:?}\n{outcome}");
            assert!(!data.exists(), "{what}: something was made\n{outcome}");
            // "pgv target" tells of the archive alone.
            let is_of_archive = (self.mode, fault, place) != (Mode::Latest, Fault::Missing, Place::Last);
            if self.mode != Mode::Standby && is_of_archive {
                let asked = self.pgv.run("pgv", &[&["target"], self.options().as_slice()].concat());
                asked.expect_code(status).expect_stderr(words);
            }
        }
        heal();
    }
}

/// Runs the rows of a mode; how many there were.
fn table(bench: &Bench<'_>, rows: &[(Fault, Place)]) -> usize {
    for (number, (fault, place)) in rows.iter().enumerate() {
        bench.row(number, *fault, *place);
    }
    let before = rows.iter().filter(|(fault, _)| *fault != Fault::FailingFetch);
    before.clone().for_each(|(fault, place)| bench.refused(*fault, *place));
    rows.len() + before.count()
}

#[test]
fn no_fault_promotes_postgresql_15_short() {
    let scene = Scene::new(PgVersion::V15);
    let rows: Vec<(Fault, Place)> = FAULTS.iter().flat_map(|fault| PLACES.map(|place| (*fault, place))).collect();
    let count: usize = std::thread::scope(|threads| {
        let workers = MODES.map(|mode| {
            let (scene, rows) = (&scene, &rows);
            threads.spawn(move || table(&scene.bench(mode), rows))
        });
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert_eq!(count, 3 * (21 + 18));
}

/// One row for each fault.
fn each_fault_in_the_middle(version: PgVersion) {
    let scene = Scene::new(version);
    let rows = FAULTS.map(|fault| (fault, Place::Middle));
    assert_eq!(table(&scene.bench(Mode::Latest), &rows), 13);
}

#[test]
fn no_fault_promotes_postgresql_13_short() {
    each_fault_in_the_middle(PgVersion::V13);
}

#[test]
fn no_fault_promotes_postgresql_14_short() {
    each_fault_in_the_middle(PgVersion::V14);
}

#[test]
fn no_fault_promotes_postgresql_16_short() {
    each_fault_in_the_middle(PgVersion::V16);
}

#[test]
fn no_fault_promotes_postgresql_17_short() {
    each_fault_in_the_middle(PgVersion::V17);
}

#[test]
fn no_fault_promotes_postgresql_18_short() {
    each_fault_in_the_middle(PgVersion::V18);
}
