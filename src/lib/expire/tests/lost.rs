//! What was lost of backups and may come back: nothing of them goes while it may.

use std::path::PathBuf;

use super::doing::Scene;
use crate::error::{Classified as _, ErrorClass};
use crate::expire::ExpireError;
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

/// Records of all, of the newest, and of one that the next backup names.
#[test]
fn a_backup_that_lost_its_record_stays_until_somebody_has_looked() {
    for backups in [&[0, 1, 2, 3][..], &[3], &[1]] {
        let scene = Scene::new();
        let lost = lose_records(&scene, backups);
        let before = scene.keys();
        let error = scene.expire_in(&scene.test.repository, 1).unwrap_err();
        assert!(matches!(error, ExpireError::LostRecord { .. }), "{backups:?}: {error}");
        assert_eq!(error.class(), ErrorClass::Corrupt, "{backups:?}");
        assert_eq!(scene.keys(), before, "{backups:?}");
        for (path, bytes) in lost {
            std::fs::write(path, bytes).unwrap();
        }
        assert_eq!(scene.all_listed_are_whole().len(), 4, "{backups:?}");
        scene.expire(1);
        assert_eq!(scene.all_listed_are_whole(), [scene.backups[3].id], "{backups:?}");
    }
}
