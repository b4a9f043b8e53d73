//! Every kind of damage is found, wherever it is.

use std::path::Path;

use jiff::Timestamp;
use proptest::prelude::*;

use super::scene::{Scene, options};
use crate::repository::{RepositoryDescription, StoredObject};
use crate::store::ObjectKey;
use crate::verify::objects::{self, ObjectWork};
use crate::verify::{Depth, VerifyOptions};

/// Everything that is not content, with other kinds of WAL files besides.
fn scene() -> Scene {
    let (scene, ..) = Scene::sound();
    scene.store("00000002.history", b"1\t0/680000\tno recovery target specified\n");
    scene.store("000000010000000000000003.00000028.backup", b"START WAL LOCATION: 0/300028\n");
    scene.store("00000001000000000000000D.partial", b"not whole");
    scene
}

fn is_content(path: &Path) -> bool {
    let path = path.to_string_lossy();
    path.contains("/packs/") || (path.contains("/wal/") && path.rsplit('/').next().unwrap().len() == 24)
}

fn object(scene: &Scene, path: &Path) -> StoredObject {
    let key = path.strip_prefix(scene.root()).unwrap().to_str().unwrap();
    StoredObject::of_key(&ObjectKey::parse(key).unwrap()).unwrap()
}

#[test]
fn every_flipped_bit_of_every_metadata_object_is_found() {
    flip_every_bit(61, 997);
}

/// The same, with more of the bits before every reader and before the whole of `pgv verify`.
#[test]
#[ignore = "slow tier: scripts/test --all"]
fn flipped_bits_of_metadata_objects_are_found_by_all_that_read_them() {
    flip_every_bit(7, 61);
}

/// The check of one object is asked of every bit; the readers of one in `delivered_each`, verify of one in
/// `verified_each`: of all bits, these would take an hour.
fn flip_every_bit(delivered_each: usize, verified_each: usize) {
    use std::os::unix::fs::FileExt as _;
    let scene = scene();
    scene.mark_the_first();
    let (mut bits, mut verified) = (0, 0);
    let sound = delivered(&scene);
    assert!(sound.iter().all(Result::is_ok), "{sound:?}");
    for path in scene.objects() {
        let object = object(&scene, &path);
        if is_content(&path) || object == StoredObject::Description {
            continue;
        }
        let look = || {
            let work = ObjectWork { object: object.clone(), is_whole: true, segment_size: None };
            objects::check(&scene.test.repository, work).problem
        };
        assert_eq!(look(), None, "{}", path.display());
        let bytes = std::fs::read(&path).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        for bit in 0..bytes.len() * 8 {
            let at = (bit / 8) as u64;
            file.write_all_at(&[bytes[bit / 8] ^ (1 << (bit % 8))], at).unwrap();
            assert!(look().is_some(), "bit {bit} of {}", path.display());
            // Whoever reads it is told, or gets what was written.
            if bit % delivered_each == 0 {
                for (found, sound) in delivered(&scene).iter().zip(&sound) {
                    assert!(found.is_err() || found == sound, "bit {bit} of {}: {found:?}", path.display());
                }
            }
            if bit % verified_each == 0 {
                let damaged = scene.verify().damaged;
                let is_named = damaged.iter().any(|finding| path.ends_with(&finding.object));
                assert!(is_named, "bit {bit} of {}: {damaged:?}", path.display());
                verified += 1;
            }
            file.write_all_at(&[bytes[bit / 8]], at).unwrap();
            bits += 1;
        }
    }
    assert!(bits > 50_000 && verified > 50, "{bits}, {verified}");
}

/// What the readers of everything but content deliver, or that they do not.
fn delivered(scene: &Scene) -> Vec<Result<String, ()>> {
    let (repository, cluster) = (&scene.test.repository, &scene.test.cluster);
    let text = |value: &dyn std::fmt::Debug| Ok(format!("{value:?}"));
    let mut found = vec![repository.identity(cluster).map_err(drop).and_then(|identity| text(&identity))];
    let archive = crate::repository::WalArchive::new(repository, cluster);
    let facts = crate::repository::ArchiveFacts::gather(&archive, crate::pg::testing::segment_size());
    found.push(
        facts
            .map_err(drop)
            .and_then(|facts| if facts.unreadable_histories.is_empty() { text(&facts.histories) } else { Err(()) }),
    );
    let ids = scene.ids();
    let listed = repository.backups(cluster).unwrap_or_default();
    for id in &ids {
        let record = listed.iter().find(|entry| entry.id == *id).and_then(|entry| entry.record.as_ref().ok());
        found.push(record.map_or(Err(()), |record| text(record)));
        let map = record.ok_or(()).and_then(|record| repository.file_map(cluster, record).map_err(drop));
        found.push(map.and_then(|map| {
            let mut lines = format!("{:?}", map.needs());
            let read = map.for_each(&mut |path, entry| {
                lines.push_str(&format!("{path} {entry:?}"));
                Ok::<(), crate::repository::RepositoryError>(())
            });
            read.map_err(drop).map(|()| lines)
        }));
        found.push(scene.notes(id));
    }
    found
}

/// It has no digest of its own: every other object rests on what it says.
#[test]
fn every_flipped_bit_of_the_description_is_found_or_changes_what_is_only_shown() {
    let scene = scene();
    let path = scene.root().join("repository.json");
    let bytes = std::fs::read(&path).unwrap();
    let sound = scene.test.repository.backups(&scene.test.cluster).unwrap().len();
    let read = |bytes: &[u8]| serde_json::from_slice::<RepositoryDescription>(bytes).unwrap();
    let without_time = |bytes: &[u8]| RepositoryDescription { created: Timestamp::UNIX_EPOCH, ..read(bytes) };
    let mut shown = 0;
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, &changed).unwrap();
        let Ok(repository) = scene.reopened() else { continue };
        let report = crate::verify::verify(
            &repository,
            &VerifyOptions { depth: Depth::Quick, ..options() },
            &crate::report::SilentReporter,
            &crate::report::Cancel::new(),
        );
        let is_found = report.is_err() || report.is_ok_and(|report| !report.damaged.is_empty());
        if is_found {
            continue;
        }
        let listed = repository.backups(&scene.test.cluster).unwrap();
        assert_eq!(listed.iter().filter(|entry| entry.record.is_ok()).count(), sound, "bit {bit}");
        // The time of its creation, or the same in other letters: the name of its empty list of features.
        assert_eq!(without_time(&changed), without_time(&bytes), "{}", String::from_utf8_lossy(&changed));
        shown += 1;
    }
    std::fs::write(&path, &bytes).unwrap();
    assert!(shown > 0 && shown < bytes.len() * 8 / 2, "{shown}");
}

/// Cut off anywhere, or another object in its place, or it in the place of another one.
#[test]
fn cuts_and_swaps_of_the_description_are_found() {
    use crate::error::{Classified as _, ErrorClass};
    let scene = scene();
    let path = scene.root().join("repository.json");
    let bytes = std::fs::read(&path).unwrap();
    let is_refused = |content: &[u8], what: &str| {
        std::fs::write(&path, content).unwrap();
        let opened = scene.reopened();
        std::fs::write(&path, &bytes).unwrap();
        let class = opened.err().map(|error| error.class());
        assert_eq!(class, Some(ErrorClass::Corrupt), "{what}");
    };
    // Without the line feed behind it nothing is missing.
    let whole = bytes.trim_ascii_end().len();
    for length in 0..whole {
        is_refused(&bytes[..length], &format!("{length} of {whole} bytes"));
    }
    for other in scene.objects().into_iter().filter(|other| *other != path) {
        let content = std::fs::read(&other).unwrap();
        is_refused(&content, &other.display().to_string());
        std::fs::write(&other, &bytes).unwrap();
        let report = scene.verify();
        std::fs::write(&other, content).unwrap();
        let is_named = report.damaged.iter().any(|finding| other.ends_with(&finding.object));
        assert!(is_named, "{}: {:?}", other.display(), report.damaged);
    }
    assert_eq!(scene.verify().damaged, []);
}

#[test]
fn a_record_that_alone_is_missing_is_damage_and_no_left_over() {
    use crate::verify::VerifyLeftOverKind::{RecordlessBackup, UnfinishedBackup};
    let (scene, _, newest) = Scene::sound();
    let id = newest.id.to_string();
    let of_backup = |path: &std::path::PathBuf| path.to_string_lossy().contains(&id);
    let record = scene.objects().into_iter().find(|path| of_backup(path) && path.ends_with("record")).unwrap();
    std::fs::remove_file(record).unwrap();
    let is_left_over = |kind| scene.verify().left_overs.iter().any(|left_over| left_over.kind == kind);
    assert!(scene.verify().damaged.is_empty() && is_left_over(UnfinishedBackup), "{:?}", scene.verify());
    let a_day_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(25 * 3600);
    let stored = |path: &std::path::PathBuf, time| std::fs::File::open(path).unwrap().set_modified(time).unwrap();
    scene.objects().iter().for_each(|path| stored(path, a_day_ago));
    let report = scene.verify();
    let found = super::scene::about(&report, &format!("backups/{id}/record"));
    assert!(found.problem.contains("it is missing") && !is_left_over(UnfinishedBackup), "{report:?}");
    // Once another one came behind it, it may have been killed.
    let begin = scene.objects().into_iter().find(|path| !of_backup(path) && path.ends_with("begin")).unwrap();
    stored(&begin, std::time::SystemTime::now());
    assert!(scene.verify().damaged.is_empty() && is_left_over(RecordlessBackup), "{:?}", scene.verify());
}

#[test]
fn a_folder_that_is_missing_while_its_packs_are_there_is_damage() {
    let (scene, _, newest) = Scene::sound();
    let tree = scene.root().join(format!("main/{}/backups", scene.test.cluster.system_identifier));
    let (folder, id) = (tree.join(newest.id.to_string()), newest.id);
    std::fs::rename(&folder, tree.join(format!("{id}.bak"))).unwrap();
    let report = scene.verify();
    let found = super::scene::about(&report, &format!("backups/{id}/record"));
    assert!(found.problem.contains("it is missing with all else of the backup"), "{report:?}");
    let is_unfinished = |kind| kind == crate::verify::VerifyLeftOverKind::UnfinishedBackup;
    assert!(!report.left_overs.iter().any(|left_over| is_unfinished(left_over.kind)), "{report:?}");
    // A deletion that others' need of a pack has held up is no damage.
    std::fs::create_dir(&folder).unwrap();
    std::fs::copy(tree.join(format!("{id}.bak/begin")), folder.join("gone")).unwrap();
    let record = format!("backups/{id}/record");
    assert!(!scene.verify().damaged.iter().any(|finding| finding.object.contains(&record)));
}

/// What of an object is delivered, by a tool that knows nothing of pgv.
fn plain(bytes: &[u8]) -> Option<Vec<u8>> {
    zstd::stream::decode_all(bytes).ok()
}

#[test]
fn flips_and_cuts_anywhere_are_found() {
    let scene = scene();
    let objects: Vec<_> = scene.objects().into_iter().filter(|path| !path.ends_with("repository.json")).collect();
    let originals: Vec<Vec<u8>> = objects.iter().map(|path| std::fs::read(path).unwrap()).collect();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(250));
    let cases = (0..objects.len(), any::<proptest::sample::Index>(), 0..8u8, 0..4u8);
    let outcome = runner.run(&cases, |(which, at, bit, kind)| {
        let (path, original) = (&objects[which], &originals[which]);
        let at = at.index(original.len());
        let mut bytes = original.clone();
        if kind == 0 {
            bytes.truncate(at)
        } else {
            bytes[at] ^= 1 << bit
        }
        std::fs::write(path, &bytes).unwrap();
        let report = scene.verify();
        std::fs::write(path, original).unwrap();
        // zstd has bits that mean nothing, and a pack's header no digest of what is stored.
        let means_nothing = path.to_string_lossy().contains("/packs/") && plain(&bytes) == plain(original);
        let is_named = report.damaged.iter().any(|finding| path.ends_with(&finding.object));
        prop_assert!(is_named || means_nothing, "{} {at} {bit} {kind}: {:?}", path.display(), report.damaged);
        Ok(())
    });
    outcome.unwrap();
    assert_eq!(scene.verify().damaged, []);
}

#[test]
fn swapped_objects_are_found_both() {
    let scene = scene();
    let objects: Vec<_> = scene.objects().into_iter().filter(|path| !path.ends_with("repository.json")).collect();
    let exchange = |one: &Path, other: &Path| {
        let (first, second) = (std::fs::read(one).unwrap(), std::fs::read(other).unwrap());
        std::fs::write(one, second).unwrap();
        std::fs::write(other, first).unwrap();
    };
    for (one, other) in objects.iter().zip(objects.iter().skip(1)).chain([(&objects[0], &objects[objects.len() - 1])]) {
        for depth in [Depth::Full, Depth::Quick] {
            exchange(one, other);
            let report = scene.verify_with(VerifyOptions { depth, ..options() });
            exchange(one, other);
            for path in [one, other] {
                let is_named = report.damaged.iter().any(|finding| path.ends_with(&finding.object));
                assert!(is_named, "{}: {:?}", path.display(), report.damaged);
            }
        }
    }
}

/// But for what may be absent: who wrote, notes for people, WAL that no backup needs.
#[test]
fn removed_objects_are_missed() {
    let scene = scene();
    for path in scene.objects() {
        let name = path.to_string_lossy().into_owned();
        let may_be_absent = ["repository.json", "/writers/", ".backup", ".partial", ".history"];
        let outside = ["000000010000000000000002", "00000001000000000000000C"];
        if may_be_absent.iter().any(|part| name.contains(part)) || outside.iter().any(|end| name.ends_with(end)) {
            continue;
        }
        let newest_record = name.ends_with("/record") && {
            let ids = scene.verify().backups;
            name.contains(&ids.last().unwrap().id.to_string())
        };
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let report = scene.verify();
        std::fs::write(&path, bytes).unwrap();
        if newest_record {
            assert_eq!(report.left_overs.len(), 1, "{name}: {:?}", report.left_overs);
            continue;
        }
        let last = name.rsplit('/').next().unwrap();
        let is_named = report.damaged.iter().any(|finding| finding.object.contains(last));
        assert!(is_named, "{name}: {:?}", report.damaged);
    }
}

#[test]
fn a_newer_object_is_not_called_damaged() {
    use crate::error::{Classified as _, ErrorClass};
    let scene = scene();
    let path = scene.objects().into_iter().find(|path| path.to_string_lossy().contains("/writers/")).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[14] = 2;
    std::fs::write(&path, bytes).unwrap();
    let report = scene.verify();
    assert_eq!(report.damaged.len(), 1);
    assert_eq!(report.failure().unwrap().class(), ErrorClass::Unsupported);
}
