//! Random damage of all kinds: no byte is delivered that was not stored, and `pgv verify` names each damaged object.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use pgv::repository::BackupId;
use pgv::verify::{Depth, VerifyReport};

use crate::support::TestFolder;
use crate::swept::Swept;

/// A generator of which the seed says all.
struct Random(u64);

impl Random {
    /// The numbers of splitmix64, below `limit`.
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }
}

/// What `--sample 10%` reads.
const SAMPLE: Depth = Depth::Sample { percent: 10.0, seed: 7 };

/// What lies in the repository instead of what was stored, by object.
type Damage = BTreeMap<PathBuf, Vec<u8>>;

struct Sweep {
    swept: Swept,
    /// Every object, by its file.
    originals: BTreeMap<PathBuf, Vec<u8>>,
    /// The data objects: segments, packs and leaves.
    data: Vec<PathBuf>,
    /// The same objects of another repository.
    foreign: BTreeMap<PathBuf, Vec<u8>>,
}

#[derive(Debug, Default)]
struct Tally {
    rounds: u32,
    by_kind: BTreeMap<&'static str, u32>,
    /// Objects that were changed.
    changed: u32,
    /// Of those, packs in which only such bits were changed as mean nothing to zstd.
    meaningless: u32,
    /// Damaged WAL files whose content was delivered all the same, and right.
    fetched: u32,
    /// Backups that were restored all the same, and right.
    restored: u32,
    /// Files of backups that were read all the same, and right.
    files: u32,
    /// Changed objects of rounds in which these were asked, too, and how many each named.
    measured: u32,
    quick: u32,
    sample: u32,
}

impl Tally {
    fn add(&mut self, other: Self) {
        let Self { rounds, by_kind: _, changed, meaningless, fetched, restored, files, measured, quick, sample } =
            other;
        self.rounds += rounds;
        self.changed += changed;
        self.meaningless += meaningless;
        self.fetched += fetched;
        self.restored += restored;
        self.files += files;
        self.measured += measured;
        self.quick += quick;
        self.sample += sample;
    }
}

fn is_pack(path: &Path) -> bool {
    path.to_string_lossy().contains("/packs/")
}

fn is_wal(path: &Path) -> bool {
    let path = path.to_string_lossy();
    path.contains("/wal/") || path.contains("/history/")
}

fn plain(bytes: &[u8]) -> Option<Vec<u8>> {
    zstd::stream::decode_all(bytes).ok()
}

impl Sweep {
    fn new(folder: &TestFolder) -> Self {
        let swept = Swept::write(&folder.join("repository"), *b"swept-repository");
        let other = Swept::write(&folder.join("other"), *b"other-repository");
        let read = |path: PathBuf| (path.clone(), std::fs::read(&path).unwrap());
        let originals: BTreeMap<PathBuf, Vec<u8>> = swept.objects().into_iter().map(read).collect();
        let same = |path: PathBuf| (swept.root.join(path.strip_prefix(&other.root).unwrap()), read(path).1);
        let foreign = other.objects().into_iter().map(same).collect();
        let data = originals.keys().filter(|path| is_pack(path) || is_wal(path)).cloned().collect();
        Self { swept, originals, data, foreign }
    }

    /// Damage of a random kind, nearly always of data objects.
    fn damage(&self, random: &mut Random) -> (&'static str, Damage) {
        let all: Vec<&PathBuf> = self.originals.keys().collect();
        let any = |random: &mut Random| match random.below(8) {
            0 => all[random.below(all.len())].clone(),
            _ => self.data[random.below(self.data.len())].clone(),
        };
        let path = any(random);
        let mut bytes = self.originals[&path].clone();
        let at = random.below(bytes.len());
        match random.below(10) {
            0..4 => {
                bytes[at] ^= 1 << random.below(8);
                ("flip", Damage::from([(path, bytes)]))
            }
            4 | 5 => {
                bytes.truncate(at);
                ("cut", Damage::from([(path, bytes)]))
            }
            6 => {
                // A block that was never written, or more than there was.
                let end = (at + 512).min(bytes.len());
                match random.below(2) {
                    0 => bytes[at..end].fill(0),
                    _ => bytes.extend_from_slice(&self.originals[&path][at..end]),
                }
                ("block", Damage::from([(path, bytes)]))
            }
            7 | 8 => {
                let other = self.alike(&path, random);
                let swapped = [(path.clone(), self.originals[&other].clone()), (other, bytes)];
                ("swap", Damage::from(swapped))
            }
            _ => {
                let foreign = self.foreign.get(&path).cloned().unwrap_or_default();
                ("foreign", Damage::from([(path, foreign)]))
            }
        }
    }

    /// Another object, most often of the same sort: two segments, two packs, the same name in another cluster or of
    /// another backup.
    fn alike(&self, path: &Path, random: &mut Random) -> PathBuf {
        let name = path.file_name().unwrap();
        let (is_pack, is_wal) = (is_pack(path), is_wal(path));
        let of_one_name = |other: &&PathBuf| other.file_name().unwrap() == name;
        let of_one_sort = |other: &&PathBuf| self::is_pack(other) == is_pack && self::is_wal(other) == is_wal;
        let others = || self.originals.keys().filter(|other| *other != path);
        let mut chosen: Vec<&PathBuf> = match random.below(5) {
            0 | 1 => others().filter(of_one_name).collect(),
            2 | 3 => others().filter(of_one_sort).collect(),
            _ => Vec::new(),
        };
        if chosen.is_empty() {
            chosen = others().collect();
        }
        chosen[random.below(chosen.len())].clone()
    }

    /// Several damages that do not touch each other, and the objects that are not what their headers say, for everybody
    /// to see.
    fn round(&self, random: &mut Random, count: usize) -> (Vec<&'static str>, Damage, BTreeSet<PathBuf>) {
        let (mut kinds, mut all, mut coarse) = (Vec::new(), Damage::new(), BTreeSet::new());
        while kinds.len() < count {
            let (kind, damage) = self.damage(random);
            if damage.keys().all(|path| !all.contains_key(path)) {
                kinds.push(kind);
                if ["cut", "swap", "foreign"].contains(&kind) {
                    coarse.extend(damage.keys().cloned());
                }
                all.extend(damage);
            }
        }
        (kinds, all, coarse)
    }

    /// Does the damage, asks everybody, and undoes it.
    fn check(&self, damage: &Damage, coarse: &BTreeSet<PathBuf>, is_measured: bool) -> Tally {
        let mut tally = Tally { rounds: 1, ..Tally::default() };
        for (path, bytes) in damage {
            std::fs::write(path, bytes).unwrap();
        }
        let report = self.swept.verify(Depth::Full);
        let changed = damage.iter().filter(|(path, bytes)| self.originals[*path] != **bytes).map(|(path, _)| path);
        let changed: Vec<&PathBuf> = changed.collect();
        for path in &changed {
            let is_named = is_named(path, &report);
            // zstd has bits that mean nothing, and the index of a pack knows what is in the frames.
            let means_nothing = is_pack(path) && plain(&damage[*path]) == plain(&self.originals[*path]);
            assert!(is_named || means_nothing, "{} was not found: {:#?}", path.display(), report.damaged);
            tally.changed += 1;
            tally.meaningless += u32::from(!is_named);
            if is_wal(path) {
                // Damage that no byte of the content is in, as in the copy of the header, keeps nothing back.
                tally.fetched += u32::from(self.swept.fetch(path));
            }
        }
        let (restored, files) = self.swept.restore_all();
        self.check_verdict(&report, &restored);
        (tally.restored, tally.files) = (restored.len() as u32, files);
        if is_measured {
            let (quick, sample) = (self.swept.verify(Depth::Quick), self.swept.verify(SAMPLE));
            let found_by = |report| changed.iter().filter(|path| is_named(path, report)).count() as u32;
            for path in changed.iter().filter(|path| coarse.contains(**path)) {
                assert!(is_named(path, &quick), "{} was not found by a quick look", path.display());
            }
            tally.measured += changed.len() as u32;
            tally.quick += found_by(&quick);
            tally.sample += found_by(&sample);
        }
        for path in damage.keys() {
            std::fs::write(path, &self.originals[path]).unwrap();
        }
        tally
    }
}

impl Sweep {
    /// What verify says of each backup is what a restore of it comes to, with the segment that it needs.
    fn check_verdict(&self, report: &VerifyReport, restored: &BTreeSet<BackupId>) {
        for backup in &report.backups {
            let comes_back = restored.contains(&backup.id) && self.swept.fetch(&self.swept.segment_of(backup.id));
            assert_eq!(backup.can_be_restored, comes_back, "{}: {:#?}", backup.id, report.damaged);
        }
        for restored in restored {
            assert!(report.backups.iter().any(|backup| backup.id == *restored), "{restored} is not told");
        }
    }
}

fn is_named(path: &Path, report: &VerifyReport) -> bool {
    report.damaged.iter().any(|finding| path.ends_with(&finding.object))
}

/// So many damages, up to `at_once` of them at a time.
fn sweep(damages: usize, at_once: usize) {
    let seed = match std::env::var("PGV_TEST_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => 1,
    };
    let folder = TestFolder::in_memory("sweep");
    let sweep = Sweep::new(&folder);
    let is_whole = || {
        assert_eq!(sweep.swept.verify(Depth::Full).damaged, []);
        let (restored, files) = sweep.swept.restore_all();
        assert_eq!((restored.len(), files), (2, 2 * sweep.swept.files_of_one()));
    };
    is_whole();
    let (mut random, mut tally, mut done) = (Random(seed), Tally::default(), 0);
    while done < damages {
        let (kinds, damage, coarse) = sweep.round(&mut random, at_once);
        let check = || sweep.check(&damage, &coarse, tally.rounds % 8 == 0);
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(check));
        let names: Vec<&PathBuf> = damage.keys().collect();
        tally.add(checked.unwrap_or_else(|_| panic!("PGV_TEST_SEED={seed}, damage {done}: {kinds:?} of {names:?}")));
        done += kinds.len();
        kinds.into_iter().for_each(|kind| *tally.by_kind.entry(kind).or_default() += 1);
    }
    println!("PGV_TEST_SEED={seed}: {tally:?}");
    assert!(tally.fetched > 0 && tally.restored > 0 && tally.files > 0, "nothing was delivered: {tally:?}");
    is_whole();
}

#[test]
fn two_thousand_damages_deliver_nothing_wrong_and_are_found() {
    sweep(150, 1);
    sweep(1_850, 8);
}

/// Also what is hidden behind other damage: one at a time, and a few.
#[test]
#[ignore = "slow tier: scripts/test --all"]
fn twenty_thousand_damages_deliver_nothing_wrong_and_are_found() {
    sweep(5_000, 1);
    sweep(15_000, 4);
}
