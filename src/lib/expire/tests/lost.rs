//! What was lost of backups and may come back: nothing of them goes while it may.

use std::path::PathBuf;

use jiff::{Span, Timestamp};

use super::doing::Scene;
use crate::clock::FixedClock;
use crate::error::{Classified as _, ErrorClass};
use crate::expire::{ExpireError, ExpireOptions, ExpireReport, Rules, WalKept, apply, plan};
use crate::report::{Cancel, SilentReporter};
use crate::repository::BackupId;

fn folder_of(scene: &Scene, backup: BackupId) -> PathBuf {
    scene.test.root().join(format!("main/{}/backups/{backup}", scene.test.cluster.system_identifier))
}

/// Takes the records of these backups away; the clock of the scene is weeks ahead, so they are silent.
fn lose_records(scene: &Scene, backups: &[usize]) -> Vec<(PathBuf, Vec<u8>)> {
    let lose = |backup: &usize| {
        let path = folder_of(scene, scene.backups[*backup].id).join("record");
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        (path, bytes)
    };
    backups.iter().map(lose).collect()
}

/// Of one that the next backup names.
#[test]
fn a_backup_that_lost_its_record_stays_until_somebody_has_looked() {
    let scene = Scene::new();
    let lost = lose_records(&scene, &[1]);
    let before = scene.keys();
    let error = scene.expire_in(&scene.test.repository, 1).unwrap_err();
    assert!(matches!(error, ExpireError::LostRecord { .. }), "{error}");
    assert_eq!(error.class(), ErrorClass::Corrupt);
    assert_eq!(scene.keys(), before);
    lost.into_iter().for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
    assert_eq!(scene.all_listed_are_whole().len(), 4);
    scene.expire(1);
    assert_eq!(scene.all_listed_are_whole(), [scene.backups[3].id]);
}

/// Where room ran out at the record, or no backup ever comes behind it, what else may go must go.
#[test]
fn the_newest_backup_without_a_record_stays_and_holds_up_nothing_but_wal() {
    for (backups, listed) in [(&[0, 1, 2, 3][..], 0), (&[3], 1)] {
        let scene = Scene::new();
        let lost = lose_records(&scene, backups);
        let before = scene.keys();
        let tree = scene.expire(1).trees.remove(0);
        let planned = &tree.unfinished[0];
        assert!(planned.record_missing && !planned.goes, "{planned:?}");
        assert_eq!(tree.wal_kept, Some(WalKept::Recordless { backup: planned.id }), "{backups:?}");
        assert_eq!(scene.all_listed_are_whole().len(), listed, "{backups:?}");
        assert_eq!(scene.keys() == before, listed == 0, "{backups:?}");
        lost.into_iter().for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
        assert_eq!(scene.all_listed_are_whole().len(), listed + backups.len(), "{backups:?}");
    }
}

/// A plan for so many days from now on, done.
fn expire_in_days(scene: &Scene, days: i64) -> Result<ExpireReport, ExpireError> {
    let clock = FixedClock(Timestamp::now().checked_add(Span::new().hours(24 * days).minutes(5)).unwrap());
    let options = ExpireOptions { rules: Rules { allow_many: false, ..scene.options(9).rules }, ..scene.options(9) };
    let mut report = plan(&scene.test.repository, &options, &clock)?;
    apply(&scene.test.repository, &options, &mut report, &SilentReporter, &Cancel::new())?;
    Ok(report)
}

#[test]
fn a_backup_that_was_killed_or_lost_its_record_is_held_for_a_week() {
    let scene = Scene::new();
    let id = scene.backups[3].id;
    let lost = lose_records(&scene, &[3]).remove(0);
    scene.take(11);
    let before = scene.keys();
    for days in [1, 6] {
        let report = expire_in_days(&scene, days).unwrap();
        let planned = &report.trees[0].unfinished[0];
        assert!(planned.record_unclear && !planned.record_missing && !planned.goes, "{days}: {planned:?}");
        assert_eq!(report.trees[0].wal_kept, Some(WalKept::Recordless { backup: id }), "{days}");
        assert_eq!(scene.keys(), before, "{days}");
    }
    std::fs::write(&lost.0, &lost.1).unwrap();
    assert_eq!(scene.all_listed_are_whole().len(), 5);
    std::fs::remove_file(&lost.0).unwrap();
    let report = expire_in_days(&scene, 7).unwrap();
    assert!(report.trees[0].unfinished[0].record_unclear && report.trees[0].unfinished[0].goes, "{report:?}");
    assert!(!scene.has_any_of(3));
    assert_eq!(scene.all_listed_are_whole().len(), 4);
}

/// That as many were killed at their last step as are listed does not come.
#[test]
fn many_records_are_not_lost_without_a_word() {
    let scene = Scene::new();
    lose_records(&scene, &[0, 1, 2, 3]);
    scene.take(11);
    let before = scene.keys();
    let error = expire_in_days(&scene, 8).unwrap_err();
    assert!(matches!(error, ExpireError::TooMany { count: 4, of: 5, .. }), "{error}");
    assert_eq!(scene.keys(), before);
}

/// However old its packs are, and even when a backup that stays needs all of them.
#[test]
fn packs_whose_folder_is_away_stay() {
    for backup in [0, 2] {
        let scene = Scene::new();
        let (folder, away) = (folder_of(&scene, scene.backups[backup].id), scene.test.root().join("away"));
        std::fs::rename(&folder, &away).unwrap();
        let before = scene.keys();
        let error = scene.expire_in(&scene.test.repository, 1).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Corrupt, "{error}");
        assert!(error.to_string().contains(&format!("{}, and not its folder", scene.backups[backup].id)), "{error}");
        assert_eq!(scene.keys(), before);
        std::fs::rename(&away, &folder).unwrap();
        assert_eq!(scene.all_listed_are_whole().len(), 4);
    }
}
