//! Restores when not everything in the repository can be listed or is there: what is readable is restored, what is not is
//! named, and nothing that cannot be seen is taken for absent.

use std::path::Path;

use super::choose::{Request, choose};
use super::decision::may_be_unlisted;
use super::executor_tests::Scene;
use super::testing::{archive, lsn, record, size, time, tli};
use super::{BackupChoice, RestoreError, RestorePlan, plan};
use crate::error::{Classified, ErrorClass};
use crate::pg::{RecoveryTarget, RecoveryTargetTimeline, TargetBound};
use crate::report::{Cancel, SilentReporter};
use crate::repository::{
    ArchiveFacts, BackupId, PackOptions, RepositoryError, Unlistable, UnlistedWal, backup_testing,
};

/// A second backup, in segment 3.
fn second(scene: &Scene) -> BackupId {
    let files = [("PG_VERSION".to_owned(), b"15\n".to_vec())].into();
    let taken = backup_testing::backup_with(&scene.test, &files, PackOptions::default(), |record| {
        (record.start_lsn, record.stop_lsn) = (lsn("0/3000028"), lsn("0/3000100"));
    });
    taken.id
}

fn planned(scene: &Scene, backup: BackupChoice) -> Result<RestorePlan, RestoreError> {
    let mut options = scene.options(&scene.at("data"));
    options.backup = backup;
    plan(&options, &SilentReporter, &Cancel::new()).map(|(_, plan)| plan)
}

/// A link that leads nowhere: permissions hide nothing from root.
fn hide(folder: &Path) {
    std::fs::rename(folder, folder.with_file_name(".hidden")).unwrap();
    std::os::unix::fs::symlink("/nonexistent/elsewhere", folder).unwrap();
}

fn folder(scene: &Scene, name: &str) -> std::path::PathBuf {
    scene.at(&format!("repo/main/{}/{name}", scene.test.cluster.system_identifier))
}

#[test]
fn a_backup_whose_begin_is_missing_is_named_and_the_one_before_it_chosen() {
    let scene = Scene::new();
    let newer = second(&scene);
    // It is the one that is chosen: it has no tablespace.
    let error = planned(&scene, BackupChoice::Fitting).unwrap_err();
    assert!(matches!(error, RestoreError::UnknownTablespace { .. }), "{error}");
    std::fs::remove_file(folder(&scene, &format!("backups/{newer}/begin"))).unwrap();
    for choice in [BackupChoice::Fitting, BackupChoice::Newest] {
        let plan = planned(&scene, choice).unwrap();
        assert_eq!(plan.record.id, scene.record.id);
        let warned = plan.warnings.iter().find(|warning| warning.contains(&newer.to_string()));
        assert!(warned.is_some_and(|warning| warning.contains("\"begin\" is missing")), "{:?}", plan.warnings);
    }
    let error = planned(&scene, BackupChoice::Id(newer)).unwrap_err();
    assert!(matches!(&error, RestoreError::UnreadableBackup { id, .. } if *id == newer), "{error}");
    assert_eq!(error.class(), ErrorClass::Corrupt);
    // Damage is not absence.
    std::fs::remove_file(folder(&scene, &format!("backups/{}/begin", scene.record.id))).unwrap();
    let error = planned(&scene, BackupChoice::Fitting).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Corrupt, "{error}");
}

#[test]
fn a_backup_that_cannot_be_listed_is_named_and_the_one_before_it_chosen() {
    let scene = Scene::new();
    let newer = second(&scene);
    hide(&folder(&scene, &format!("backups/{newer}")));
    let plan = planned(&scene, BackupChoice::Fitting).unwrap();
    assert_eq!(plan.record.id, scene.record.id);
    assert!(plan.warnings.iter().any(|warning| warning.contains(&newer.to_string())), "{:?}", plan.warnings);
    let error = planned(&scene, BackupChoice::Id(newer)).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Unavailable, "{error}");
}

#[test]
fn wal_and_histories_that_cannot_be_listed_are_not_taken_for_absent() {
    for hidden in ["wal/00000001/0000000100000000", "wal/00000001", "wal", "history"] {
        let scene = Scene::new();
        std::fs::create_dir_all(folder(&scene, "history")).unwrap();
        hide(&folder(&scene, hidden));
        let error = planned(&scene, BackupChoice::Fitting).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Unavailable, "{hidden}: {error}");
    }
}

/// Segments 1 to 255 of timeline 1; what follows lies in a folder that cannot be listed.
fn hidden_end() -> ArchiveFacts {
    let mut facts = archive(&[(1, 1, 255, "2026-11-20T12:00:00Z")], &[]);
    let error = RepositoryError::SourceChanged { name: "hidden".to_owned() };
    let hidden = Unlistable { folder: "main/1/wal/00000001/0000000100000001".to_owned(), error };
    facts.unlisted.extend(UnlistedWal::of("00000001/0000000100000001", hidden, size()));
    assert_eq!(facts.unlisted.len(), 1);
    facts
}

#[test]
fn targets_before_what_cannot_be_listed_are_reached_and_no_others() {
    let backups = [record(1, (1, "0/2000028"), (1, "0/2000100"), "2026-11-20T10:00:00Z")];
    let facts = hidden_end();
    let at = |text: &str| RecoveryTarget::Time(time(text), TargetBound::Inclusive);
    let upto = |text: &str| RecoveryTarget::Lsn(lsn(text), TargetBound::Inclusive);
    for (target, is_reached) in [
        (RecoveryTarget::Latest, false),
        (RecoveryTarget::Immediate, true),
        (at("2026-11-20T11:00:00Z"), true),
        (at("2026-11-20T12:30:00Z"), false),
        (upto("0/50000000"), true),
        (upto("1/1000000"), false),
        (upto("5/1000000"), false),
    ] {
        let request = Request { target: target.clone(), timeline: RecoveryTargetTimeline::Latest, backup: None };
        let chosen = choose(&request, &backups, &facts).map_err(|error| may_be_unlisted(error, &facts));
        match chosen {
            Ok(_) => assert!(is_reached, "{target:?}"),
            Err(RestoreError::UnlistedWal { segment, .. }) => {
                assert_eq!((segment.timeline(), is_reached), (tli(1), false), "{target:?}");
            }
            Err(error) => panic!("{target:?}: {error}"),
        }
    }
}
