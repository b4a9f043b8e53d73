//! Errors that show another one in their place (`#[error(transparent)]`): they hide it from the chain, since what they
//! give as their cause is that one's. Every such variant is named here; a test looks for them in the source.

use std::error::Error;

use super::find;
use crate::archive::ArchiveError;
use crate::backup::BackupError;
use crate::config::ValueError;
use crate::expire::ExpireError;
use crate::fetch::FetchError;
use crate::init::InitError;
use crate::recovery_conf::RecoveryConfError;
use crate::repository::{BackupWriterError, PackError, RepositoryError, SelectionError};
use crate::restore::start::StartError;
use crate::restore::{OldWalError, RestoreError};
use crate::server::{BackupSessionError, ConfigFilesError, ControlFileReadError};
use crate::store::StoreError;
use crate::verify::VerifyError;
use crate::wal_search::WalSearchError;

/// The error that this one shows in its place.
macro_rules! inside {
    ($error:ident: $($kind:ty { $($variant:path),+ $(,)? })+) => {
        $(if let Some(error) = find::<$kind>($error) {
            #[allow(unreachable_patterns, reason = "some have no other variants")]
            return match error {
                $($variant(inner) => Some(inner),)+
                _ => None,
            };
        })+
    };
}

/// The error that is shown in the place of this one.
pub(super) fn inside<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    of_programs(error).or_else(|| of_parts(error))
}

fn of_programs<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    // The place of a repository that is to be created is no place in a repository.
    if let Some(InitError::Store(StoreError::File { source, .. })) = find::<InitError>(error) {
        return Some(source);
    }
    inside! { error:
        ArchiveError { ArchiveError::File }
        BackupError {
            BackupError::Begun, BackupError::Connect, BackupError::ControlFile, BackupError::File,
            BackupError::Incomplete, BackupError::Pack, BackupError::Recording, BackupError::Replication,
            BackupError::Repository, BackupError::Selection, BackupError::Server, BackupError::Session,
            BackupError::Version, BackupError::Writer,
        }
        ExpireError { ExpireError::Repository }
        FetchError { FetchError::Destination, FetchError::File }
        InitError {
            InitError::ControlFile, InitError::File, InitError::Repository, InitError::Server, InitError::Store,
        }
        RecoveryConfError {
            RecoveryConfError::File, RecoveryConfError::LongCommand, RecoveryConfError::Settings,
        }
        RestoreError {
            RestoreError::Copy, RestoreError::File, RestoreError::OldWal, RestoreError::Repository,
            RestoreError::Selection, RestoreError::WalSearch,
        }
        StartError { StartError::File }
        VerifyError { VerifyError::Repository }
    }
    None
}

fn of_parts<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    inside! { error:
        BackupSessionError { BackupSessionError::Server }
        BackupWriterError { BackupWriterError::Pack, BackupWriterError::Repository }
        ConfigFilesError { ConfigFilesError::File }
        ControlFileReadError { ControlFileReadError::File }
        OldWalError { OldWalError::File }
        PackError { PackError::Repository }
        RepositoryError { RepositoryError::Store }
        SelectionError { SelectionError::Repository }
        StoreError { StoreError::Unlistable }
        ValueError { ValueError::Choice, ValueError::Repository }
        WalSearchError { WalSearchError::File, WalSearchError::Repository }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::cli::hints::hints;
    use crate::cli::init::ServerNotAsked;
    use crate::cli::typed::Typed;
    use crate::fs::FileError;
    use crate::server::conninfo::{HostAddress, ServerHost, SslMode};
    use crate::server::{CertificateProblem, ConnectError, Endpoint, ServerMessage};

    /// The file's own name and those of its enums and their transparent variants, as `Enum::Variant`.
    fn transparent_variants(folder: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                transparent_variants(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("hints/inside.rs")
            {
                let text = std::fs::read_to_string(&path).unwrap();
                let (mut name, mut is_next) = (String::new(), false);
                for line in text.lines().map(str::trim) {
                    let word = |text: &str| text.split(|c: char| !c.is_alphanumeric()).next().unwrap().to_owned();
                    match line.split_once("enum ") {
                        Some((before, after)) if before.is_empty() || before.starts_with("pub") => name = word(after),
                        _ => {}
                    }
                    if std::mem::take(&mut is_next) {
                        found.push(format!("{name}::{}", word(line)));
                    }
                    is_next = line == "#[error(transparent)]";
                }
            }
        }
    }

    #[test]
    fn every_error_that_shows_another_is_looked_into() {
        let mut found = Vec::new();
        transparent_variants(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/lib")), &mut found);
        assert!(found.len() > 40, "{found:?}");
        let own = include_str!("inside.rs").split("#[cfg(test)]").next().unwrap();
        let words: Vec<&str> = own.split(|c: char| !c.is_alphanumeric() && c != ':').collect();
        let missing: Vec<&String> = found.iter().filter(|variant| !words.contains(&variant.as_str())).collect();
        assert!(missing.is_empty(), "not in src/lib/cli/hints/inside.rs: {missing:?}");
    }

    fn endpoint(ssl_mode_given: bool) -> Box<Endpoint> {
        Box::new(Endpoint {
            host: ServerHost { address: HostAddress::Tcp { name: "db.example".to_owned(), address: None }, port: 5432 },
            address: None,
            user: "pgv".to_owned(),
            database: None,
            ssl_mode: SslMode::VerifyFull,
            ssl_mode_given,
        })
    }

    /// A server that answers is not stopped.
    #[test]
    fn a_wrong_password_is_told_from_a_stopped_server() {
        let words = |error: ConnectError| hints(&ServerNotAsked(Box::new(error)), &Typed::default()).join("\n");
        let source = Box::new(ServerMessage {
            severity: "FATAL".to_owned(),
            sqlstate: ServerMessage::sqlstate_of("28P01"),
            message: "password authentication failed for user \"pgv\"".to_owned(),
            detail: None,
            hint: None,
            routine: None,
        });
        let wrong = words(ConnectError::Rejected { endpoint: endpoint(true), source });
        assert!(wrong.contains("~/.pgpass") && !wrong.contains("--pgdata"), "{wrong}");
        let stopped = words(ConnectError::Unreachable {
            endpoint: endpoint(true),
            source: std::io::ErrorKind::ConnectionRefused.into(),
        });
        assert!(stopped.contains("--pgdata DIR") && !stopped.contains("~/.pgpass"), "{stopped}");
    }

    /// Whoever wrote no sslmode is told which one lets him in, in whatever the error is wrapped.
    #[test]
    fn a_server_that_proves_nothing_is_told_with_the_option() {
        let refused = |given| ConnectError::CertificateRefused {
            endpoint: endpoint(given),
            source: CertificateProblem::UnknownIssuer,
        };
        let no_tls = || ConnectError::TlsNotOffered { endpoint: endpoint(false) };
        let rows: Vec<Box<dyn Error>> = vec![
            Box::new(BackupError::Connect(refused(false))),
            Box::new(BackupError::Begun(Box::new(BackupError::Connect(refused(false))))),
            Box::new(BackupError::Connect(no_tls())),
            Box::new(BackupError::Connect(ConnectError::AllFailed { attempts: vec![no_tls(), refused(false)] })),
        ];
        for error in rows {
            let hints = hints(error.as_ref(), &Typed::default());
            let told: Vec<&String> = hints.iter().filter(|hint| hint.starts_with("Without a word from you")).collect();
            let [told] = told[..] else { panic!("{error:?}: {hints:?}") };
            assert!(told.contains("sslrootcert=FILE") && told.contains("(-d \"sslmode=require\")"), "{told}");
        }
        let of_choice = hints(&BackupError::Connect(refused(true)), &Typed::default());
        assert!(!of_choice.concat().contains("sslmode"), "{of_choice:?}");
    }

    /// A full disk, wherever it is met, is told with where to look.
    #[test]
    fn what_hides_inside_gives_its_hints() {
        let full =
            || FileError::new("write", Path::new("/srv/x"), std::io::Error::from(std::io::ErrorKind::StorageFull));
        let repository = || RepositoryError::Store(StoreError::File { root: "/srv".to_owned(), source: full() });
        let writer = || BackupWriterError::Pack(PackError::Repository(repository()));
        let rows: Vec<Box<dyn Error>> = vec![
            Box::new(ArchiveError::File(full())),
            Box::new(BackupError::File(full())),
            Box::new(BackupError::Repository(repository())),
            Box::new(BackupError::Selection(SelectionError::Repository(repository()))),
            Box::new(BackupError::Writer(writer())),
            Box::new(BackupError::Pack(PackError::Repository(repository()))),
            Box::new(BackupError::ControlFile(ControlFileReadError::File(full()))),
            Box::new(BackupError::Begun(Box::new(BackupError::Writer(writer())))),
            Box::new(BackupError::Recording(writer())),
            Box::new(ExpireError::Repository(repository())),
            Box::new(FetchError::Destination(full())),
            Box::new(FetchError::File(full())),
            Box::new(InitError::File(full())),
            Box::new(InitError::Repository(repository())),
            Box::new(InitError::ControlFile(ControlFileReadError::File(full()))),
            Box::new(RecoveryConfError::File(full())),
            Box::new(RestoreError::File(full())),
            Box::new(RestoreError::Repository(repository())),
            Box::new(RestoreError::OldWal(OldWalError::File(full()))),
            Box::new(RestoreError::WalSearch(WalSearchError::File(full()))),
            Box::new(RestoreError::WalSearch(WalSearchError::Repository(repository()))),
            Box::new(StartError::File(full())),
            Box::new(VerifyError::Repository(repository())),
        ];
        for error in rows {
            let hints = hints(error.as_ref(), &Typed::default());
            let room = hints.iter().filter(|hint| hint.starts_with("\"df -h /srv/x\"")).count();
            assert_eq!(room, 1, "{error:?}: {hints:?}");
        }
        let of_backup = hints(&BackupError::Begun(Box::new(BackupError::Writer(writer()))), &Typed::default());
        assert!(of_backup.concat().contains("\"pgv expire\" shows"), "{of_backup:?}");
        let of_fetch = hints(&FetchError::Destination(full()), &Typed::default());
        assert!(of_fetch.concat().contains("Once there is room, start PostgreSQL again"), "{of_fetch:?}");
        let of_expire = hints(&ExpireError::Repository(repository()), &Typed::default());
        assert!(of_expire.concat().contains("writes a mark before a backup goes"), "{of_expire:?}");
    }
}
