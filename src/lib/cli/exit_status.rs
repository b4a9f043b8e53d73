//! The exit statuses, which are part of the protocol with PostgreSQL: the one table.
//!
//! * `pgv-archive`: 1 to 125 whatever happens, one number for each cause. Above 125 PostgreSQL takes the archiver down
//!   and does not count the failure (`src/backend/archive/shell_archive.c`). 1 and 2 are left to shells.
//! * `pgv-fetch`: 1 says *proven absent* and nothing else, because PostgreSQL reads every status of 1 to 125 as the end
//!   of the archive and promotes (`src/backend/access/transam/xlogarchive.c`). In a targeted recovery everything else
//!   is above 125, which stops the server; for a standby that would be an outage, so there it is 1 to 125.
//! * the others: 0, 1 (negative answer), 2 (usage), 3 (refused), 4 (not reachable), 5 (damaged), 70, 130.
//! * `pgv-standby exec`: that of its command; 124 when it had to stop it, 126 and 127 as shells have them.
//!
//! The last digits name the cause in `pgv-archive` (10 and up) and in `pgv-fetch` (110 and up, 210 and up) alike.
//! 126 and 127 are shells' own, 128 + n reads as signal n, 101 is Rust's panic: none of them is used.

use super::context::Outcome;
use super::program::Program;
use crate::error::ErrorClass;
use crate::fetch::RecoveryMode;

/// Of a command of somebody else that we stopped, as timeout(1) has it.
pub(crate) const STOPPED: u8 = 124;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Finished(Outcome),
    Failed(ErrorClass),
}

/// The exit status of a program. `mode` is asked only where it matters.
pub(crate) fn exit_status(program: Program, ending: Ending, mode: impl FnOnce() -> RecoveryMode) -> u8 {
    let class = match ending {
        Ending::Finished(Outcome::Done) => return 0,
        Ending::Finished(Outcome::Plugin(status) | Outcome::Command(status)) => return status,
        Ending::Finished(Outcome::Stopped) => return STOPPED,
        Ending::Finished(Outcome::NegativeAnswer) => ErrorClass::NotFound,
        Ending::Failed(class) => class,
    };
    match (program, class) {
        (Program::Archive, class) => 10 + number(class),

        (Program::Fetch, ErrorClass::NotFound) => 1,
        (Program::Fetch, class) => match mode() {
            RecoveryMode::Standby | RecoveryMode::None => 110 + number(class),
            RecoveryMode::Targeted => 210 + number(class),
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

    fn failed(program: Program, class: ErrorClass, mode: RecoveryMode) -> u8 {
        exit_status(program, Ending::Failed(class), || mode)
    }

    #[test]
    fn success_is_zero_everywhere_and_a_negative_answer_is_not() {
        for program in Program::ALL {
            let unasked = || panic!("success does not depend on the mode");
            assert_eq!(exit_status(program, Ending::Finished(Outcome::Done), unasked), 0);
        }
        let negative = Ending::Finished(Outcome::NegativeAnswer);
        assert_eq!(exit_status(Program::Pgv, negative, || RecoveryMode::Standby), 1);
    }

    #[test]
    fn archive_stays_in_1_to_125_with_one_number_for_each_cause() {
        let statuses: BTreeSet<u8> =
            CLASSES.iter().map(|class| failed(Program::Archive, *class, RecoveryMode::Targeted)).collect();
        assert_eq!(statuses.len(), CLASSES.len());
        assert!(statuses.iter().all(|status| (3..=125).contains(status) && *status != 101), "{statuses:?}");
    }

    #[test]
    fn fetch_says_1_for_proven_absence_alone() {
        for mode in [RecoveryMode::Targeted, RecoveryMode::Standby, RecoveryMode::None] {
            for class in CLASSES {
                let status = failed(Program::Fetch, class, mode);
                assert_eq!(status == 1, class == ErrorClass::NotFound, "{class:?} {mode:?}");
            }
        }
    }

    #[test]
    fn fetch_in_targeted_recovery_is_above_125_and_no_signal_or_shell_status() {
        for class in CLASSES.into_iter().filter(|class| *class != ErrorClass::NotFound) {
            let status = failed(Program::Fetch, class, RecoveryMode::Targeted);
            assert!(status > 128 + 64, "{class:?}: {status}");
        }
    }

    #[test]
    fn fetch_for_a_standby_has_one_number_of_2_to_125_for_each_cause() {
        let others = CLASSES.into_iter().filter(|class| *class != ErrorClass::NotFound);
        let statuses: BTreeSet<u8> = others.map(|class| failed(Program::Fetch, class, RecoveryMode::Standby)).collect();
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
        for program in [Program::Pgv, Program::BaseBackup, Program::Restore, Program::RecoveryConf, Program::Standby] {
            for (class, status) in expected {
                assert_eq!(failed(program, class, RecoveryMode::Standby), status, "{program:?} {class:?}");
            }
        }
    }

    #[test]
    fn the_documentation_has_a_row_for_each_cause() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/exit-statuses.md");
        let document = std::fs::read_to_string(path).unwrap();
        let (targeted, other) = (RecoveryMode::Targeted, RecoveryMode::Standby);
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
}
