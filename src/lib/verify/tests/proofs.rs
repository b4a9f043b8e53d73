//! Files against their digests, however they lie.

use std::collections::BTreeMap;

use super::scene::{Scene, about, files, options, pattern, place};
use crate::codec::FileHasher;
use crate::pg::DataPath;
use crate::repository::{FileEntry, FileKind, PackOptions, backup_testing};
use crate::verify::{Cost, VerifyOptions};

/// A second backup whose map says something else of a file.
fn with_changed(name: &str, change: impl Fn(&Scene, &mut FileKind)) -> (Scene, crate::repository::BackupId) {
    let (scene, first, _) = Scene::sound();
    let changed = |path: &DataPath, entry: &mut FileEntry| {
        if path.to_text() == Some(name) {
            change(&scene, &mut entry.kind);
        }
    };
    let record = backup_testing::backup_referring_to_with(&scene.test, &first, changed, |record| place(record, 1, 9));
    (scene, record.id)
}

#[test]
fn a_map_that_says_another_digest_is_found() {
    for name in ["PG_VERSION", "base/big", "base/empty", "base/just-above", "base/just-not", "base/small-05"] {
        let (scene, backup) = with_changed(name, |scene, kind| {
            if let FileKind::File { digest, .. } = kind {
                *digest = scene.test.repository.keys().plain_digest(b"something else");
            }
        });
        let report = scene.verify();
        let finding = about(&report, &format!("{backup}/root"));
        assert!(finding.problem.contains(name), "{finding:?}");
        assert_eq!(report.damaged.len(), 1, "{:?}", report.damaged);
    }
}

/// Format 1 allows it, and no writer does so yet: the parts of a file out of order, and not at the ends of frames.
#[test]
fn parts_in_any_order_are_proven() {
    let big = files()["base/big"].clone();
    for (part, is_right) in [(262_144, true), (262_144, false), (100_000, true)] {
        let (scene, _) = with_changed("base/big", |scene, kind| {
            let FileKind::File { bytes, digest, extents } = kind else { return };
            // Of the first pack alone: the first frames, back to front.
            let extent = extents[0];
            assert!(extent.length >= 2 * 262_144, "{extents:?}");
            let (one, mut other) = (extent, extent);
            let mut one = one;
            (one.length, other.length) = (part, part);
            other.offset += part;
            *extents = vec![other, one];
            *bytes = 2 * part;
            let mut hasher = FileHasher::new(scene.test.repository.keys(), *bytes, 8192);
            let part = part as usize;
            hasher.update(&big[part..2 * part]);
            hasher.update(if is_right { &big[..part] } else { &big[part..2 * part] });
            *digest = hasher.finish();
        });
        let report = scene.verify();
        let wrong = report.damaged.iter().any(|finding| finding.problem.contains("base/big"));
        assert_eq!(wrong, !is_right, "{part}: {:?}", report.damaged);
    }
}

#[test]
fn an_extent_outside_of_its_pack_is_found() {
    let (scene, backup) = with_changed("base/just-not", |_, kind| {
        if let FileKind::File { extents, .. } = kind {
            extents[0].offset += 1 << 40;
        }
    });
    let report = scene.verify();
    assert!(about(&report, &format!("file map of backup {backup}")).problem.contains("base/just-not"));
}

/// Several runs of frames, and a file that lies in many of them, with others before and behind.
#[test]
fn files_in_many_runs_are_proven() {
    let scene = Scene::empty();
    scene.archive(1, 2..=4);
    let mut content = BTreeMap::new();
    content.insert("a".to_owned(), pattern(50_000, 1));
    content.insert("b".to_owned(), pattern(30_000_000, 2));
    for number in 0..700 {
        content.insert(format!("c{number:03}"), pattern(40_000, number as u8));
    }
    let record = backup_testing::backup_with(&scene.test, &content, PackOptions::default(), |record| {
        place(record, 1, 3);
        record.sizes.files = content.len() as u64;
        record.sizes.file_bytes = content.values().map(|bytes| bytes.len() as u64).sum();
    });
    assert_eq!(scene.verify().damaged, []);
    for name in ["b", "c350", "c699"] {
        let changed = |path: &DataPath, entry: &mut FileEntry| {
            if let (true, FileKind::File { digest, .. }) = (path.to_text() == Some(name), &mut entry.kind) {
                *digest = scene.test.repository.keys().plain_digest(b"something else");
            }
        };
        let sizes = record.sizes.clone();
        let other = backup_testing::backup_referring_to_with(&scene.test, &record, changed, |record| {
            place(record, 1, 3);
            record.sizes = sizes;
        });
        let report = scene.verify();
        let finding = about(&report, &format!("{}/root", other.id));
        assert!(finding.problem.ends_with(&format!(": {name}")), "{finding:?}");
    }
}

/// With many threads each run has few parts of files, so that frame is read several times.
#[test]
fn a_frame_with_very_many_files_is_proven_by_parts() {
    let scene = Scene::empty();
    scene.archive(1, 2..=4);
    let mut content: BTreeMap<String, Vec<u8>> =
        (0..4000u32).map(|number| (format!("c{number:04}"), number.to_le_bytes()[..3].to_vec())).collect();
    content.insert("b".to_owned(), pattern(900_000, 1));
    content.insert("d".to_owned(), pattern(900_000, 2));
    let record = backup_testing::backup_with(&scene.test, &content, PackOptions::default(), |record| {
        place(record, 1, 3);
        record.sizes.files = content.len() as u64;
        record.sizes.file_bytes = content.values().map(|bytes| bytes.len() as u64).sum();
    });
    let verify = || {
        let [one, many] = [1, 16].map(|threads| scene.verify_with(VerifyOptions { threads, ..options() }));
        assert_eq!(one.damaged, many.damaged);
        assert_eq!(one.read.stored_bytes, many.read.stored_bytes);
        many.damaged
    };
    assert_eq!(verify(), []);
    let pack = scene.objects().into_iter().find(|path| path.to_string_lossy().contains("/packs/")).unwrap();
    // Behind all content are the leaves of the map, which are much larger.
    let mut worst = 0;
    for at in (2000..14_000).step_by(3000) {
        scene.flip(&pack, at * 8);
        let lost = verify().into_iter().flat_map(|finding| finding.costs).filter_map(|cost| match cost {
            Cost::Backup { files, .. } => files,
            _ => None,
        });
        worst = lost.fold(worst, u64::max);
        scene.flip(&pack, at * 8);
    }
    assert!(worst >= 4000, "{worst}");
    let changed = |path: &DataPath, entry: &mut FileEntry| {
        if let (Some("c1234"), FileKind::File { digest, .. }) = (path.to_text(), &mut entry.kind) {
            *digest = scene.test.repository.keys().plain_digest(b"something else");
        }
    };
    let sizes = record.sizes.clone();
    let other = backup_testing::backup_referring_to_with(&scene.test, &record, changed, |record| {
        place(record, 1, 3);
        record.sizes = sizes;
    });
    let found = verify();
    let finding = found.iter().find(|finding| finding.object.ends_with(&format!("{}/root", other.id))).unwrap();
    assert!(finding.problem.ends_with("of 1 files are not those of their content: c1234"), "{finding:?}");
    assert_eq!(found.len(), 1);
}

/// As /tmp is on some systems.
#[test]
fn the_directory_for_temporary_files_may_be_a_link() {
    let (scene, _, _) = Scene::sound();
    let temp = tempfile::tempdir().unwrap();
    let temporary = temp.path().join("link");
    std::os::unix::fs::symlink(temp.path(), &temporary).unwrap();
    assert_eq!(scene.verify_with(VerifyOptions { temporary, ..options() }).damaged, []);
}
