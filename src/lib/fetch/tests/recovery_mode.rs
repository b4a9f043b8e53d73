use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::super::{RecoveryMode, recovery_mode};

struct Folders {
    _temp: tempfile::TempDir,
    data: PathBuf,
    elsewhere: PathBuf,
}

fn folders() -> Folders {
    let temp = tempfile::tempdir().unwrap();
    let (data, elsewhere) = (temp.path().join("data"), temp.path().join("elsewhere"));
    std::fs::create_dir_all(data.join("pg_wal")).unwrap();
    std::fs::create_dir_all(&elsewhere).unwrap();
    Folders { _temp: temp, data, elsewhere }
}

/// Rows: the files beside pg_wal, the files in the working directory, the mode.
#[test]
fn signal_files_beside_pg_wal_come_before_those_of_the_working_directory() {
    let (recovery, standby) = ("recovery.signal", "standby.signal");
    let rows: [(&[&str], &[&str], RecoveryMode); 8] = [
        (&[], &[], RecoveryMode::None),
        (&[recovery], &[], RecoveryMode::Targeted),
        (&[standby], &[], RecoveryMode::Standby),
        (&[recovery, standby], &[], RecoveryMode::Standby),
        (&[], &[recovery], RecoveryMode::Targeted),
        (&[], &[standby], RecoveryMode::Standby),
        (&[standby], &[recovery], RecoveryMode::Standby),
        (&[recovery], &[standby], RecoveryMode::Targeted),
    ];
    for (beside, working, expected) in rows {
        let folders = folders();
        beside.iter().for_each(|name| std::fs::write(folders.data.join(name), b"").unwrap());
        working.iter().for_each(|name| std::fs::write(folders.elsewhere.join(name), b"").unwrap());
        let destination = folders.data.join("pg_wal/RECOVERYXLOG");
        assert_eq!(recovery_mode(&destination, &folders.elsewhere), expected, "{beside:?} {working:?}");
    }
}

#[test]
fn a_relative_destination_is_relative_to_the_working_directory() {
    let folders = folders();
    std::fs::write(folders.data.join("recovery.signal"), b"").unwrap();
    for destination in ["pg_wal/RECOVERYXLOG", "./pg_wal/RECOVERYXLOG", "RECOVERYXLOG", "a/b/c"] {
        let mode = recovery_mode(Path::new(destination), &folders.data);
        assert_eq!(mode, RecoveryMode::Targeted, "{destination}");
    }
    let inside = recovery_mode(Path::new("RECOVERYXLOG"), &folders.data.join("pg_wal"));
    assert_eq!(inside, RecoveryMode::Targeted);
}

/// A pg_wal elsewhere (initdb --waldir) is a link in the data directory.
#[test]
fn a_linked_pg_wal_does_not_lead_away_from_the_data_directory() {
    let folders = folders();
    std::fs::write(folders.data.join("recovery.signal"), b"").unwrap();
    std::fs::remove_dir(folders.data.join("pg_wal")).unwrap();
    symlink(&folders.elsewhere, folders.data.join("pg_wal")).unwrap();
    assert_eq!(recovery_mode(&folders.data.join("pg_wal/x"), Path::new("/")), RecoveryMode::Targeted);
}

/// A link to itself cannot be followed, by root neither.
#[test]
fn what_cannot_be_looked_at_is_taken_for_a_targeted_recovery() {
    for name in ["recovery.signal", "standby.signal"] {
        let folders = folders();
        symlink(folders.data.join(name), folders.data.join(name)).unwrap();
        let mode = recovery_mode(&folders.data.join("pg_wal/x"), Path::new("/"));
        assert_eq!(mode, RecoveryMode::Targeted, "{name}");
    }
}
