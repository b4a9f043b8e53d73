//! Which method is possible: the files of the data directory are read only where it is proven to be the server's.

use std::path::{Path, PathBuf};

use super::BackupError;
use super::description::Description;
use super::session::ServerSession;
use crate::pg::SystemIdentifier;
use crate::report::Reporter;
use crate::repository::BackupMethod;
use crate::server::{LocalDirectory, PostmasterFile};

/// How far the times may lie apart at which a server began and at which it was ready to serve. What else lies at its path
/// under its system identifier, here or behind a tunnel, was started at another time.
const START_SECONDS_APART_MAX: u64 = 300;

/// Which method was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MethodChoice {
    /// Direct where it is possible, else stream.
    Auto,
    /// Files of the data directory are read on this host.
    Direct,
    /// The server sends its files.
    Stream,
}

/// Where the files are read from; `None` when the server is to send them.
pub(super) fn choose(
    choice: MethodChoice,
    session: &mut ServerSession<'_>,
    description: &Description,
    system_identifier: SystemIdentifier,
    reporter: &dyn Reporter,
) -> Result<Option<PathBuf>, BackupError> {
    if choice == MethodChoice::Stream {
        return Ok(None);
    }
    let problem = match (&description.local_directory, choice) {
        (LocalDirectory::Elsewhere, _) => match (unproven(session, description, system_identifier), choice) {
            (Some(problem), _) => problem,
            // Nobody expects to read what lies elsewhere.
            (None, MethodChoice::Auto) => return Ok(None),
            (None, _) => "the server's data directory is not proven to be on this host".to_owned(),
        },
        (LocalDirectory::Unreadable(path), _) => {
            format!("this account cannot read data directory \"{}\"", path.display())
        }
        (LocalDirectory::Proven(path), _) => match obstacle(session, path)? {
            None => return Ok(Some(path.clone())),
            Some(problem) => problem,
        },
    };
    if choice == MethodChoice::Direct {
        return Err(BackupError::NotDirect { problem });
    }
    reporter.step(&format!("the server sends its files ({} method): {problem}", BackupMethod::Stream));
    Ok(None)
}

/// Why the data directory is not known to be here, where it seems to be.
fn unproven(
    session: &ServerSession<'_>,
    description: &Description,
    system_identifier: SystemIdentifier,
) -> Option<String> {
    let server = session.server_here();
    let Some(told) = description.data_directory() else {
        let lacks = "the role may not see where the data directory is; grant it pg_read_all_settings";
        return Some(lacks.to_owned()).filter(|_| server.is_some());
    };
    let directory = LocalDirectory::at(&told, system_identifier).proven()?.display().to_string();
    Some(format!(
        "only a server at a socket or loopback address is proven to run in \"{directory}\" of this host: reach {} with \
         -h localhost or -h and the directory of its socket",
        server?
    ))
}

/// What stands against reading the files of this directory.
fn obstacle(session: &mut ServerSession<'_>, directory: &Path) -> Result<Option<String>, BackupError> {
    let rights = session.sql(async |sql| sql.role_rights().await)?;
    if !rights.begin_backups {
        return Ok(Some(format!("role \"{}\" may not put the server into backup mode", rights.role)));
    }
    let answering = session.sql(async |sql| sql.began().await)?;
    let running = PostmasterFile::read(directory)?.and_then(|file| file.started);
    let is_same = running.zip(answering).is_some_and(|(one, other)| one.abs_diff(other) <= START_SECONDS_APART_MAX);
    let path = directory.display();
    Ok((!is_same).then(|| format!("the server that answers is not the one that runs in \"{path}\"")))
}
