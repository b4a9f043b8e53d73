//! Why a restored server was not started, or did not come to where it should.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use super::expected::{Comparison, Expected};
use super::log::{LogExcerpt, LoggedCause};
use crate::error::{Classified, ErrorClass};
use crate::fs::FileError;
use crate::pg::{ControlFileError, Lsn, PgMajorVersion};
use crate::server::ConnectError;

/// A start that was refused or failed, or a recovery that ended somewhere else than proven.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// No server of that version is installed here.
    #[error("no programs of PostgreSQL {major} are found {}", describe_search(named.as_ref(), others))]
    NoPrograms {
        /// The version that the backup is of.
        major: PgMajorVersion,
        /// The directory that was named.
        named: Option<PathBuf>,
        /// Directories with programs of other versions.
        others: Vec<(PathBuf, u32)>,
    },
    /// The program that starts servers could not be run.
    #[error("could not run \"{}\"", program.display())]
    NotRun {
        /// Which one.
        program: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The runtime for connections could not be made.
    #[error("could not prepare for connections")]
    Runtime(#[source] std::io::Error),
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The control file of the server that ended cannot be read.
    #[error("could not read the control file in \"{}\"", directory.display())]
    ControlFile {
        /// The data directory.
        directory: PathBuf,
        /// What is wrong with it.
        source: ControlFileError,
    },
    /// The server ended by itself without having come to its target.
    #[error("the server in \"{}\" ended before it had recovered{}", directory.display(), describe_at(*replayed))]
    Ended {
        /// The data directory.
        directory: PathBuf,
        /// Its log.
        log: PathBuf,
        /// How far it was when it was last seen.
        replayed: Option<Lsn>,
        /// What its log says.
        excerpt: LogExcerpt,
    },
    /// The server does not let us in, so that it cannot be asked.
    #[error("the server in \"{}\" runs, but cannot be asked how far its recovery is", directory.display())]
    NotLetIn {
        /// The data directory.
        directory: PathBuf,
        /// What it said.
        source: ConnectError,
    },
    /// It takes longer than was allowed.
    #[error("recovery did not end within {} s{}; the server in \"{}\" runs on", limit.as_secs(), describe_at(*replayed), directory.display())]
    TimedOut {
        /// The data directory.
        directory: PathBuf,
        /// How long was waited.
        limit: Duration,
        /// How far it was when it was last seen.
        replayed: Option<Lsn>,
    },
    /// A signal came.
    #[error("interrupted{}; the server in \"{}\" runs on", describe_at(*replayed), directory.display())]
    Interrupted {
        /// The data directory.
        directory: PathBuf,
        /// How far it was when it was last seen.
        replayed: Option<Lsn>,
    },
    /// Recovery ended, and not where it must by the proof.
    #[error("{difference}")]
    EndedElsewhere {
        /// The data directory.
        directory: PathBuf,
        /// What differs.
        difference: Box<Difference>,
    },
}

/// Where recovery ended, and where it must by the proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Where it must end.
    pub expected: Expected,
    /// Where it ended.
    pub replayed: Option<Lsn>,
    /// How they compare.
    pub comparison: Comparison,
    /// The last commit or abort that was replayed.
    pub last_ending: Option<Timestamp>,
    /// The last commit that must be there.
    pub last_proven: Option<Timestamp>,
    /// What the log explains.
    pub cause: Option<LoggedCause>,
}

impl StartError {
    /// What the server's log says, when that explains it.
    pub fn excerpt(&self) -> Option<&LogExcerpt> {
        match self {
            Self::Ended { excerpt, .. } => Some(excerpt),
            _ => None,
        }
    }
}

impl StartError {
    /// The reason, when the server's log gives one.
    pub fn cause(&self) -> Option<LoggedCause> {
        match self {
            Self::Ended { excerpt, .. } => excerpt.cause,
            Self::EndedElsewhere { difference, .. } => difference.cause,
            _ => None,
        }
    }
}

impl Classified for StartError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NoPrograms { .. } => ErrorClass::Refused,
            Self::NotRun { source, .. } | Self::Runtime(source) => ErrorClass::of_io(source),
            Self::File(error) => error.class(),
            Self::ControlFile { source, .. } => source.class(),
            Self::Ended { excerpt, .. } => match excerpt.cause {
                Some(LoggedCause::NoSpace) => ErrorClass::NoSpace,
                // What was proven to be in the archive was not delivered.
                Some(LoggedCause::WalEnded) => ErrorClass::Corrupt,
                _ => ErrorClass::Unavailable,
            },
            Self::NotLetIn { source, .. } => source.class(),
            Self::TimedOut { .. } => ErrorClass::TimedOut,
            Self::Interrupted { .. } => ErrorClass::Interrupted,
            Self::EndedElsewhere { difference, .. } => match difference.comparison {
                Comparison::Unknown => ErrorClass::Unavailable,
                // What stands there is not what was proven.
                _ => ErrorClass::Corrupt,
            },
        }
    }
}

fn describe_search(named: Option<&PathBuf>, others: &[(PathBuf, u32)]) -> String {
    let place = match named {
        Some(named) => format!("in \"{}\"", named.display()),
        None => "on this machine".to_owned(),
    };
    let others: Vec<String> =
        others.iter().map(|(folder, major)| format!("PostgreSQL {major} in \"{}\"", folder.display())).collect();
    if others.is_empty() { place } else { format!("{place}, only {}", others.join(", ")) }
}

fn describe_at(replayed: Option<Lsn>) -> String {
    replayed.map(|lsn| format!(", at {lsn}")).unwrap_or_default()
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let must = self.expected.lsn();
        let time = crate::pg::format_target_time;
        let (replayed, bytes) = match (self.replayed, self.comparison) {
            (Some(replayed), Comparison::Short(bytes)) => (replayed, bytes),
            (Some(replayed), Comparison::Beyond(bytes)) => {
                return write!(f, "recovery went to {replayed}, {bytes} bytes of WAL beyond {must}, where it must end");
            }
            _ => return write!(f, "it cannot be told where recovery ended; by the proof that is {must}"),
        };
        write!(f, "recovery ended at {replayed}, {bytes} bytes of WAL before {must}, where it must end")?;
        match (self.last_ending, self.last_proven) {
            (Some(last), Some(proven)) if last < proven => {
                write!(f, ": the commits after {} up to {} are missing", time(last), time(proven))
            }
            (None, Some(proven)) => write!(f, ": no commit was replayed; they go up to {}", time(proven)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_both_ends_and_what_is_missing() {
        let time = |text: &str| Some(text.parse::<Timestamp>().unwrap());
        let short = Difference {
            expected: Expected::Exactly("0/5000100".parse().unwrap()),
            replayed: "0/4000100".parse().ok(),
            comparison: Comparison::Short(16 << 20),
            last_ending: time("2026-11-20T14:00:00Z"),
            last_proven: time("2026-11-20T14:30:00Z"),
            cause: None,
        };
        assert_eq!(
            short.to_string(),
            "recovery ended at 0/4000100, 16777216 bytes of WAL before 0/5000100, where it must end: the commits after \
             2026-11-20 14:00:00.000000+00 up to 2026-11-20 14:30:00.000000+00 are missing"
        );
        let no_commits_between = Difference { last_ending: short.last_proven, ..short.clone() };
        assert!(no_commits_between.to_string().ends_with("where it must end"), "{no_commits_between}");
        let beyond =
            Difference { replayed: "0/5000108".parse().ok(), comparison: Comparison::Beyond(8), ..short.clone() };
        let words = "recovery went to 0/5000108, 8 bytes of WAL beyond 0/5000100, where it must end";
        assert_eq!(beyond.to_string(), words);
        let unknown = Difference { replayed: None, comparison: Comparison::Unknown, ..short.clone() };
        assert_eq!(unknown.to_string(), "it cannot be told where recovery ended; by the proof that is 0/5000100");
        for (difference, class) in
            [(short, ErrorClass::Corrupt), (beyond, ErrorClass::Corrupt), (unknown, ErrorClass::Unavailable)]
        {
            let error = StartError::EndedElsewhere { directory: "/d".into(), difference: Box::new(difference) };
            assert_eq!(error.class(), class, "{error}");
        }
    }
}
