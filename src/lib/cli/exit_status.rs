//! The exit statuses, which are part of the protocol with PostgreSQL: the one table.
//!
//! * `pgv-archive`: 1 to 125 whatever happens, one number for each cause. Above 125 PostgreSQL takes the archiver down
//!   and does not count the failure (`src/backend/archive/shell_archive.c`). 1 and 2 are left to shells.
//! * `pgv-fetch`: 1 says *proven absent* and nothing else, because PostgreSQL reads every status of 1 to 125 as the end
//!   of the archive and promotes (`src/backend/access/transam/xlogarchive.c`). In a targeted recovery everything else
//!   is above 125, which stops the server; for a standby that would be an outage, so there it is 1 to 125.
//! * the others: 0, 1 (negative answer), 2 (usage), 3 (refused), 4 (not reachable), 5 (damaged), 70, 130.
//!
//! The last digits name the cause in `pgv-archive` (10 and up) and in `pgv-fetch` (110 and up, 210 and up) alike.
//! 126 and 127 are shells' own, 128 + n reads as signal n, 101 is Rust's panic: none of them is used.

use std::path::Path;

use super::context::Outcome;
use super::program::Program;
use crate::error::ErrorClass;

/// What kind of recovery pgv-fetch works for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FetchSituation {
    /// recovery.signal stands without standby.signal: PostgreSQL would promote at what it takes for the end of WAL.
    TargetedRecovery,
    /// A standby, which asks again, or no signal file at all.
    StandbyOrNone,
}

impl FetchSituation {
    /// Looks for the signal files beside the pg_wal of the destination, then in the working directory.
    pub(crate) fn detect(destination: Option<&Path>, working_directory: &Path) -> Self {
        let beside_pg_wal = destination.and_then(Path::parent).map(|pg_wal| match pg_wal.parent() {
            Some(directory) => working_directory.join(directory),
            None => working_directory.to_path_buf(),
        });
        let folders = beside_pg_wal.iter().map(|path| path.as_path()).chain([working_directory]);
        for folder in folders {
            if exists(&folder.join("standby.signal")) == Some(true) {
                return Self::StandbyOrNone;
            }
            // A file that cannot be looked for may be there: stopping is the error that can be mended.
            if exists(&folder.join("recovery.signal")) != Some(false) {
                return Self::TargetedRecovery;
            }
        }
        Self::StandbyOrNone
    }
}

/// Whether a file exists; `None` when that cannot be told.
fn exists(path: &Path) -> Option<bool> {
    match path.try_exists() {
        Ok(exists) => Some(exists),
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => Some(false),
        Err(_) => None,
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Finished(Outcome),
    Failed(ErrorClass),
}

/// The exit status of a program. `situation` is asked only where it matters.
pub(crate) fn exit_status(program: Program, ending: Ending, situation: impl FnOnce() -> FetchSituation) -> u8 {
    let class = match ending {
        Ending::Finished(Outcome::Done) => return 0,
        Ending::Finished(Outcome::NegativeAnswer) => ErrorClass::NotFound,
        Ending::Failed(class) => class,
    };
    match (program, class) {
        (Program::Archive, class) => 10 + number(class),

        (Program::Fetch, ErrorClass::NotFound) => 1,
        (Program::Fetch, class) => match situation() {
            FetchSituation::StandbyOrNone => 110 + number(class),
            FetchSituation::TargetedRecovery => 210 + number(class),
        },

        (_, ErrorClass::NotFound) => 1,
        (_, ErrorClass::Usage) => 2,
        (_, ErrorClass::Refused | ErrorClass::Conflict | ErrorClass::InvalidInput | ErrorClass::Unsupported) => 3,
        (_, ErrorClass::Unavailable | ErrorClass::TimedOut | ErrorClass::PermissionDenied) => 4,
        (_, ErrorClass::NoSpace | ErrorClass::ReadOnly) => 4,
        (_, ErrorClass::Corrupt) => 5,
        (_, ErrorClass::Internal) => 70,
        (_, ErrorClass::Interrupted) => 130,
    }
}

/// The number of a cause, the same in every program that has one status for each.
fn number(class: ErrorClass) -> u8 {
    match class {
        ErrorClass::Usage => 0,
        ErrorClass::InvalidInput => 1,
        ErrorClass::NotFound => 2,
        ErrorClass::Refused => 3,
        ErrorClass::Conflict => 4,
        ErrorClass::Unavailable => 5,
        ErrorClass::NoSpace => 6,
        ErrorClass::ReadOnly => 7,
        ErrorClass::PermissionDenied => 8,
        ErrorClass::TimedOut => 9,
        ErrorClass::Corrupt => 10,
        ErrorClass::Unsupported => 11,
        ErrorClass::Interrupted => 12,
        ErrorClass::Internal => 13,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fs::{File, create_dir};

    const CLASSES: [ErrorClass; 14] = [
        ErrorClass::Usage,
        ErrorClass::InvalidInput,
        ErrorClass::NotFound,
        ErrorClass::Refused,
        ErrorClass::Conflict,
        ErrorClass::Unavailable,
        ErrorClass::NoSpace,
        ErrorClass::ReadOnly,
        ErrorClass::PermissionDenied,
        ErrorClass::TimedOut,
        ErrorClass::Corrupt,
        ErrorClass::Unsupported,
        ErrorClass::Interrupted,
        ErrorClass::Internal,
    ];

    fn failed(program: Program, class: ErrorClass, situation: FetchSituation) -> u8 {
        exit_status(program, Ending::Failed(class), || situation)
    }

    #[test]
    fn success_is_zero_everywhere_and_a_negative_answer_is_not() {
        for program in Program::ALL {
            let unasked = || panic!("success does not depend on the situation");
            assert_eq!(exit_status(program, Ending::Finished(Outcome::Done), unasked), 0);
        }
        let negative = Ending::Finished(Outcome::NegativeAnswer);
        assert_eq!(exit_status(Program::Pgv, negative, || FetchSituation::StandbyOrNone), 1);
    }

    #[test]
    fn archive_stays_in_1_to_125_with_one_number_for_each_cause() {
        let statuses: BTreeSet<u8> =
            CLASSES.iter().map(|class| failed(Program::Archive, *class, FetchSituation::TargetedRecovery)).collect();
        assert_eq!(statuses.len(), CLASSES.len());
        assert!(statuses.iter().all(|status| (3..=125).contains(status) && *status != 101), "{statuses:?}");
    }

    #[test]
    fn fetch_says_1_for_proven_absence_alone() {
        for situation in [FetchSituation::TargetedRecovery, FetchSituation::StandbyOrNone] {
            for class in CLASSES {
                let status = failed(Program::Fetch, class, situation);
                assert_eq!(status == 1, class == ErrorClass::NotFound, "{class:?} {situation:?}");
            }
        }
    }

    #[test]
    fn fetch_in_targeted_recovery_is_above_125_and_no_signal_or_shell_status() {
        for class in CLASSES.into_iter().filter(|class| *class != ErrorClass::NotFound) {
            let status = failed(Program::Fetch, class, FetchSituation::TargetedRecovery);
            assert!(status > 128 + 64, "{class:?}: {status}");
        }
    }

    #[test]
    fn fetch_for_a_standby_has_one_number_of_2_to_125_for_each_cause() {
        let others = CLASSES.into_iter().filter(|class| *class != ErrorClass::NotFound);
        let statuses: BTreeSet<u8> =
            others.map(|class| failed(Program::Fetch, class, FetchSituation::StandbyOrNone)).collect();
        assert_eq!(statuses.len(), CLASSES.len() - 1);
        assert!(statuses.iter().all(|status| (2..=125).contains(status) && *status != 101), "{statuses:?}");
    }

    #[test]
    fn the_other_programs_follow_the_documented_table() {
        let expected = [
            (ErrorClass::NotFound, 1),
            (ErrorClass::Usage, 2),
            (ErrorClass::InvalidInput, 3),
            (ErrorClass::Refused, 3),
            (ErrorClass::Conflict, 3),
            (ErrorClass::Unsupported, 3),
            (ErrorClass::Unavailable, 4),
            (ErrorClass::NoSpace, 4),
            (ErrorClass::ReadOnly, 4),
            (ErrorClass::PermissionDenied, 4),
            (ErrorClass::TimedOut, 4),
            (ErrorClass::Corrupt, 5),
            (ErrorClass::Internal, 70),
            (ErrorClass::Interrupted, 130),
        ];
        assert_eq!(expected.len(), CLASSES.len());
        for program in [Program::Pgv, Program::BaseBackup, Program::Restore, Program::RecoveryConf] {
            for (class, status) in expected {
                assert_eq!(failed(program, class, FetchSituation::StandbyOrNone), status, "{program:?} {class:?}");
            }
        }
    }

    #[test]
    fn the_documentation_has_a_row_for_each_cause() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/exit-statuses.md");
        let document = std::fs::read_to_string(path).unwrap();
        let (targeted, other) = (FetchSituation::TargetedRecovery, FetchSituation::StandbyOrNone);
        for class in CLASSES {
            let statuses = format!(
                " | {} | {} | {} | {} |",
                failed(Program::Archive, class, other),
                failed(Program::Fetch, class, targeted),
                failed(Program::Fetch, class, other),
                failed(Program::Restore, class, other),
            );
            let row = document.lines().find(|line| line.starts_with(&format!("| {class:?}: ")));
            assert!(row.is_some_and(|row| row.ends_with(&statuses)), "{class:?}{statuses} should be, {row:?} is");
        }
    }

    #[test]
    fn signal_files_are_looked_for_beside_pg_wal_and_then_in_the_working_directory() {
        let folder = tempfile::tempdir().unwrap();
        let (data, elsewhere) = (folder.path().join("data"), folder.path().join("elsewhere"));
        for path in [&data, &data.join("pg_wal"), &elsewhere] {
            create_dir(path).unwrap();
        }
        let absolute = data.join("pg_wal/RECOVERYXLOG");
        let relative = Path::new("pg_wal/RECOVERYXLOG");
        let bare = Path::new("file");
        let cases = |expected: [FetchSituation; 4]| {
            let found = [
                FetchSituation::detect(Some(&absolute), &elsewhere),
                FetchSituation::detect(Some(relative), &data),
                FetchSituation::detect(Some(bare), &data),
                FetchSituation::detect(None, &data),
            ];
            assert_eq!(found, expected);
        };
        cases([FetchSituation::StandbyOrNone; 4]);
        File::create(data.join("recovery.signal")).unwrap();
        cases([FetchSituation::TargetedRecovery; 4]);
        File::create(data.join("standby.signal")).unwrap();
        cases([FetchSituation::StandbyOrNone; 4]);

        File::create(elsewhere.join("recovery.signal")).unwrap();
        assert_eq!(FetchSituation::detect(Some(Path::new("/x/y")), &elsewhere), FetchSituation::TargetedRecovery);
        assert_eq!(FetchSituation::detect(Some(&absolute), &elsewhere), FetchSituation::StandbyOrNone);
    }
}
