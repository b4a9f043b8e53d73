//! Folders that cannot be listed: everything else is looked at, and they are told with what that costs. A link that leads
//! nowhere stands for them: permissions hide nothing from root.

use std::path::Path;

use super::scene::{Scene, about, costs, options};
use crate::error::{Classified as _, ErrorClass};
use crate::verify::{VerifyOptions, VerifyReport};

fn hide(folder: &Path) {
    assert!(folder.is_dir(), "{}", folder.display());
    std::fs::rename(folder, folder.with_file_name(".hidden")).unwrap();
    std::os::unix::fs::symlink("/nonexistent/elsewhere", folder).unwrap();
}

fn unhide(folder: &Path) {
    std::fs::remove_file(folder).unwrap();
    std::fs::rename(folder.with_file_name(".hidden"), folder).unwrap();
}

impl Scene {
    /// Segments at the end of one folder and at the beginning of the next, with a backup at either end.
    fn of_two_folders() -> (Self, crate::repository::BackupId, crate::repository::BackupId) {
        let scene = Self::empty();
        scene.archive(1, 4093..=4099);
        let (first, second) = (scene.backup(1, 4093), scene.backup(1, 4098));
        assert_eq!(scene.verify().damaged, []);
        (scene, first.id, second.id)
    }

    fn folder(&self, name: &str) -> std::path::PathBuf {
        self.root().join(format!("main/{}/{name}", self.test.cluster.system_identifier))
    }
}

/// Nothing is called damaged.
fn assert_unreadable(report: &VerifyReport) {
    let failure = report.failure().unwrap();
    assert_eq!(failure.class(), ErrorClass::Unavailable, "{:#?}", report.damaged);
}

#[test]
fn wal_that_cannot_be_listed_is_not_called_missing() {
    let (scene, first, second) = Scene::of_two_folders();
    hide(&scene.folder("wal/00000001/0000000100000001"));
    let report = scene.verify();
    assert_unreadable(&report);
    assert_eq!(report.damaged.len(), 1, "{:#?}", report.damaged);
    let finding = about(&report, "wal/00000001/0000000100000001");
    assert!(finding.problem.starts_with("what is in this folder cannot be listed"), "{finding:?}");
    assert_eq!(costs(finding), [format!("all of {second}"), "targets on 1 from 1/0 on".to_owned()]);
    let whole: Vec<_> = report.backups.iter().map(|one| (one.id, one.can_be_restored)).collect();
    assert_eq!(whole, [(first, true), (second, false)]);
    unhide(&scene.folder("wal/00000001/0000000100000001"));
    hide(&scene.folder("wal/00000001/0000000100000000"));
    let report = scene.verify();
    assert_unreadable(&report);
    assert_eq!(report.damaged.len(), 1, "{:#?}", report.damaged);
    let lines = costs(&report.damaged[0]);
    assert_eq!(lines, [format!("all of {first}"), format!("targets on 1 from 0/FFD00100 to 1/200100, {second}")]);
}

#[test]
fn a_hidden_folder_stands_before_nothing_else() {
    for hidden in ["wal", "wal/00000001", "wal/00000001/0000000100000000", "packs", "history"] {
        let (scene, first, _) = Scene::sound();
        scene.store("00000002.history", b"1\t0/680000\tx\n");
        hide(&scene.folder(hidden));
        let damaged = scene.folder(&format!("backups/{}/root", first.id));
        scene.flip(&damaged, 8 * 1010);
        let report = scene.verify();
        assert_eq!(report.failure().unwrap().class(), ErrorClass::Corrupt);
        let finding = about(&report, &format!("/{hidden}"));
        assert!(!costs(finding).is_empty(), "{finding:?}");
        assert_eq!(costs(about(&report, "/root"))[0], format!("all of {}", first.id), "{hidden}");
        assert!(!report.damaged.iter().any(|finding| finding.problem.contains("missing")), "{:#?}", report.damaged);
    }
}

#[test]
fn a_backup_that_cannot_be_listed_is_lost_and_the_other_is_not() {
    let (scene, first, second) = Scene::sound();
    hide(&scene.folder(&format!("backups/{}", second.id)));
    let report = scene.verify();
    assert_unreadable(&report);
    assert_eq!(costs(about(&report, &second.id.to_string())), [format!("all of {}", second.id)]);
    let mut whole: Vec<_> = report.backups.iter().map(|one| (one.id, one.can_be_restored)).collect();
    whole.sort_by_key(|(id, _)| *id != first.id);
    assert_eq!(whole, [(first.id, true), (second.id, false)]);
}

#[test]
fn histories_that_cannot_be_listed_cost_their_timelines() {
    let (scene, ..) = Scene::sound();
    scene.archive(2, 6..=8);
    scene.store("00000002.history", b"1\t0/680000\tx\n");
    assert_eq!(scene.verify().damaged, []);
    hide(&scene.folder("history"));
    let report = scene.verify();
    assert_unreadable(&report);
    assert_eq!(report.damaged.len(), 1, "{:#?}", report.damaged);
    assert_eq!(costs(&report.damaged[0]), ["unknown"]);
}

#[test]
fn a_cluster_that_cannot_be_listed_is_told_beside_the_others() {
    let (scene, ..) = Scene::sound();
    let other = scene.root().join("other");
    std::fs::create_dir_all(other.join("7000000000000000009")).unwrap();
    hide(&other.join("7000000000000000009"));
    hide(&other);
    for cluster in [None, Some(scene.test.cluster.name.clone())] {
        let is_asked_for = cluster.is_none();
        let report = scene.verify_with(VerifyOptions { cluster, ..options() });
        assert_eq!(report.backups.len(), 2);
        let found: Vec<_> = report.damaged.iter().map(|finding| (finding.object.as_str(), costs(finding))).collect();
        let expected = [("other", vec!["unknown".to_owned()])];
        assert_eq!(found, if is_asked_for { &expected[..] } else { &[] });
    }
}
