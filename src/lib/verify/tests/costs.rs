//! What damage costs, named exactly.

use super::scene::{Scene, about, costs, lsn, segment};

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    let (scene, first, second) = Scene::sound();
    let report = scene.verify();
    assert_eq!(report.damaged, []);
    assert!(report.left_overs.is_empty(), "{:?}", report.left_overs);
    let ids: Vec<_> = report.backups.iter().map(|backup| (backup.id, backup.can_be_restored)).collect();
    assert_eq!(ids, [(first.id, true), (second.id, true)]);
    let bytes: u64 = scene.objects().iter().map(|path| path.metadata().unwrap().len()).sum();
    let unread = report.read.stored_bytes.abs_diff(bytes);
    // The headers of packs and repository.json.
    assert!(unread < 512 * 10, "read {} of {bytes}", report.read.stored_bytes);
    assert_eq!(report.read.objects, scene.objects().len() as u64);
}

#[test]
fn a_hole_between_two_backups_costs_the_targets_up_to_the_second() {
    let (scene, _, second) = Scene::sound();
    for number in [5, 6] {
        std::fs::remove_file(scene.test.stored(&segment(1, number).to_string())).unwrap();
    }
    let report = scene.verify();
    assert_eq!(report.damaged.len(), 1);
    let finding = about(&report, "WAL segments 000000010000000000000005 to 000000010000000000000006");
    assert_eq!(costs(finding), [format!("targets on 1 from 0/500000 to 0/800100, {}", second.id)]);
    assert!(report.backups.iter().all(|backup| backup.can_be_restored));
}

#[test]
fn a_damaged_segment_costs_what_a_missing_one_costs() {
    let (scene, _, second) = Scene::sound();
    scene.flip(&scene.test.stored(&segment(1, 5).to_string()), 8 * 1010);
    let report = scene.verify();
    assert_eq!(report.damaged.len(), 1);
    let finding = about(&report, "000000010000000000000005");
    assert_eq!(costs(finding), [format!("targets on 1 from 0/500000 to 0/800100, {}", second.id)]);
}

#[test]
fn a_segment_inside_a_backup_costs_the_backup_and_its_targets() {
    let (scene, first, second) = Scene::sound();
    scene.flip(&scene.test.stored(&segment(1, 3).to_string()), 8 * 1010);
    let report = scene.verify();
    let expected = [format!("all of {}", first.id), format!("targets on 1 from 0/300100 to 0/800100, {}", second.id)];
    assert_eq!(costs(about(&report, "000000010000000000000003")), expected);
    let lost: Vec<_> = report.backups.iter().filter(|one| !one.can_be_restored).map(|one| one.id).collect();
    assert_eq!(lost, [first.id]);
}

#[test]
fn behind_the_last_backup_all_targets_are_lost() {
    let (scene, ..) = Scene::sound();
    scene.flip(&scene.test.stored(&segment(1, 10).to_string()), 8 * 1010);
    assert_eq!(costs(about(&scene.verify(), "00000000000A")), ["targets on 1 from 0/A00000 on"]);
    let (scene, ..) = Scene::sound();
    scene.flip(&scene.test.stored(&segment(1, 12).to_string()), 8 * 1010);
    let report = scene.verify();
    assert_eq!(costs(about(&report, "00000000000C")), ["targets on 1 from 0/C00000 on"]);
    assert_eq!(report.damaged.len(), 1);
}

#[test]
fn before_the_first_backup_nothing_is_lost() {
    let (scene, ..) = Scene::sound();
    scene.flip(&scene.test.stored(&segment(1, 2).to_string()), 8 * 1010);
    assert_eq!(costs(about(&scene.verify(), "000000000002")), ["nothing"]);
    std::fs::remove_file(scene.test.stored(&segment(1, 2).to_string())).unwrap();
    assert_eq!(scene.verify().damaged, []);
}

#[test]
fn the_last_segments_of_a_backup_may_be_gone_without_another_behind() {
    let scene = Scene::empty();
    scene.archive(1, 2..=2);
    let backup = scene.backup(1, 3);
    let report = scene.verify();
    let finding = about(&report, "WAL segment 000000010000000000000003");
    let expected = [format!("all of {}", backup.id), "targets on 1 from 0/300100 on".to_owned()];
    assert_eq!(costs(finding), expected);
}

#[test]
fn a_damaged_pack_costs_the_files_of_every_backup_that_shares_it() {
    let (scene, first, second) = Scene::sound();
    let of_first = format!("/packs/{}/", first.id);
    let pack = scene.objects().into_iter().find(|path| path.to_string_lossy().contains(&of_first)).unwrap();
    scene.flip(&pack, 8 * 1100);
    let report = scene.verify();
    let finding = about(&report, "/packs/");
    let lines = costs(finding);
    assert!(lines.iter().any(|line| line.ends_with(&format!("files of {}", first.id))), "{lines:?}");
    assert!(lines.iter().any(|line| line.ends_with(&format!("files of {}", second.id))), "{lines:?}");
    assert!(lines.contains(&"targets on 1 from 0/300100 on".to_owned()), "{lines:?}");
    assert!(report.backups.iter().all(|backup| !backup.can_be_restored));
    std::fs::remove_file(&pack).unwrap();
    let report = scene.verify();
    assert_eq!(about(&report, "/packs/").problem, "it is missing");
    assert!(report.backups.iter().all(|backup| !backup.can_be_restored));
}

#[test]
fn a_later_backup_that_is_lost_costs_no_target_that_the_earlier_one_reaches() {
    let (scene, _, second) = Scene::sound();
    let record = format!("backups/{}/record", second.id);
    let path = scene.objects().into_iter().find(|path| path.ends_with(&record)).unwrap();
    scene.flip(&path, 8 * 1000);
    assert_eq!(costs(about(&scene.verify(), &record)), [format!("all of {}", second.id)]);
    let (scene, _, second) = Scene::sound();
    let needs = format!("backups/{}/root", second.id);
    let path = scene.objects().into_iter().find(|path| path.ends_with(&needs)).unwrap();
    scene.flip(&path, 8 * 1000);
    assert_eq!(costs(about(&scene.verify(), &needs)), [format!("all of {}", second.id)]);
}

/// Timeline 2 leaves 1 in segment 6, and a backup is taken on it.
#[test]
fn a_missing_history_costs_its_timeline() {
    let scene = Scene::empty();
    scene.archive(1, 2..=6);
    let before = scene.backup(1, 3);
    scene.archive(2, 6..=12);
    let history = format!("1\t{}\tno recovery target specified\n", lsn("0/680000"));
    scene.store("00000002.history", history.as_bytes());
    let after = scene.backup(2, 9);
    assert_eq!(scene.verify().damaged, []);
    // What the new timeline's first segment hides of the old one is needed by the old one alone.
    std::fs::remove_file(scene.test.stored(&segment(2, 8).to_string())).unwrap();
    let report = scene.verify();
    let finding = about(&report, "WAL segment 000000020000000000000008");
    assert_eq!(costs(finding), [format!("targets on 2 from 0/800000 to 0/900100, {}", after.id)]);
    std::fs::remove_file(scene.test.stored("00000002.history")).unwrap();
    let report = scene.verify();
    assert_eq!(report.damaged.len(), 1);
    let finding = about(&report, "00000002.history");
    assert_eq!(costs(finding), ["timeline 2".to_owned(), format!("all of {}", after.id)]);
    let lost: Vec<_> = report.backups.iter().filter(|one| !one.can_be_restored).map(|one| one.id).collect();
    assert_eq!(lost, [after.id]);
    assert_ne!(before.id, after.id);
}

/// Recovery asks for the newest timeline's segment first and gets an error, though the parent's is there.
#[test]
fn a_damaged_fork_segment_is_not_replaced_by_the_parents() {
    let scene = Scene::empty();
    scene.archive(1, 2..=8);
    scene.backup(1, 3);
    scene.archive(2, 6..=8);
    scene.store("00000002.history", format!("1\t{}\tx\n", lsn("0/680000")).as_bytes());
    scene.flip(&scene.test.stored(&segment(2, 6).to_string()), 8 * 1010);
    let report = scene.verify();
    assert_eq!(costs(about(&report, "000000020000000000000006")), ["targets on 2 from 0/600000 on"]);
}

/// Damage in the copy of the header, at which no reader looks, is named and costs nothing.
#[test]
fn damage_where_no_reader_looks_costs_nothing() {
    use crate::verify::{Depth, VerifyOptions};
    let (scene, ..) = Scene::sound();
    scene.store("00000002.history", b"1\t0/680000\tx\n");
    for path in scene.objects() {
        let name = path.to_string_lossy().into_owned();
        if name.ends_with("repository.json") {
            continue;
        }
        scene.flip(&path, 8 * 600);
        let report = scene.verify();
        assert_eq!(report.damaged.len(), 1, "{name}: {:#?}", report.damaged);
        assert!(path.ends_with(&report.damaged[0].object), "{name}");
        assert_eq!(costs(&report.damaged[0]), ["nothing"], "{name}");
        assert!(report.backups.iter().all(|backup| backup.can_be_restored), "{name}");
        let quick = VerifyOptions { depth: Depth::Quick, ..super::scene::options() };
        assert!(scene.verify_with(quick).backups.iter().all(|backup| backup.can_be_restored), "{name}");
        scene.flip(&path, 8 * 600);
    }
}

#[test]
fn a_pack_with_a_damaged_copy_and_a_damaged_frame_is_lost_with_its_files() {
    let (scene, first, _) = Scene::sound();
    let of_first = format!("/packs/{}/", first.id);
    let pack = scene.objects().into_iter().find(|path| path.to_string_lossy().contains(&of_first)).unwrap();
    scene.flip(&pack, 8 * 600);
    scene.flip(&pack, 8 * 1100);
    let report = scene.verify();
    assert!(costs(about(&report, "/packs/")).iter().any(|line| line.contains("files of")), "{:#?}", report.damaged);
}

#[test]
fn a_damaged_identity_costs_the_cluster() {
    let (scene, ..) = Scene::sound();
    let path = scene.root().join(format!("main/{}/identity", scene.test.cluster.system_identifier));
    scene.flip(&path, 8 * 1010);
    for _ in 0..2 {
        let report = scene.verify();
        assert_eq!(costs(about(&report, "/identity")), ["the cluster"]);
        assert!(report.backups.len() == 2 && report.backups.iter().all(|backup| !backup.can_be_restored));
        std::fs::remove_file(&path).unwrap_or_default();
    }
}

/// Recovery would take the parent's segment, and follow the parent behind the fork.
#[test]
fn a_missing_fork_segment_is_not_replaced_by_the_parents() {
    let scene = Scene::empty();
    scene.archive(1, 2..=8);
    scene.backup(1, 3);
    scene.archive(2, 7..=8);
    scene.store("00000002.history", format!("1\t{}\tx\n", lsn("0/680000")).as_bytes());
    let report = scene.verify();
    let finding = about(&report, "WAL segment 000000020000000000000006");
    // What lies before the fork in that segment is reached along the parent.
    assert_eq!(costs(finding), ["targets on 2 from 0/600000 on"]);
}
