//! Which method is possible: the files of the data directory are read only where it is proven to be the server's.

use std::path::{Path, PathBuf};

use super::BackupError;
use super::description::Description;
use super::session::ServerSession;
use crate::report::Reporter;
use crate::repository::BackupMethod;
use crate::server::{LocalDirectory, PostmasterFile, ServerError, SqlClient};

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
    reporter: &dyn Reporter,
) -> Result<Option<PathBuf>, BackupError> {
    if choice == MethodChoice::Stream {
        return Ok(None);
    }
    let problem = match (&description.local_directory, choice) {
        (LocalDirectory::Elsewhere, MethodChoice::Auto) => return Ok(None),
        (LocalDirectory::Elsewhere, _) => "the server's data directory is not proven to be on this host".to_owned(),
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

/// What stands against reading the files of this directory.
fn obstacle(session: &mut ServerSession<'_>, directory: &Path) -> Result<Option<String>, BackupError> {
    let about = session.sql(async |sql| ask(sql).await)?;
    if !about.may_begin {
        return Ok(Some(format!("role \"{}\" may not call {}", about.role, about.function)));
    }
    let running = PostmasterFile::read(directory)?.and_then(|file| file.started);
    let is_same = running.is_some_and(|started| started.abs_diff(about.started) <= START_SECONDS_APART_MAX);
    let path = directory.display();
    Ok((!is_same).then(|| format!("the server that answers is not the one that runs in \"{path}\"")))
}

/// What a server says of the role and of itself.
struct About {
    role: String,
    may_begin: bool,
    /// The function that begins a backup.
    function: &'static str,
    /// In seconds.
    started: i64,
}

async fn ask(sql: &SqlClient) -> Result<About, ServerError> {
    const ACTION: &str = "tell whether the role may begin a backup";
    // COMPAT: the functions have other names and arguments up to 14.
    let (function, start, stop) = match sql.version_num() {
        Some(version) if version < 150_000 => {
            ("pg_start_backup", "pg_start_backup(text, boolean, boolean)", "pg_stop_backup(boolean, boolean)")
        }
        _ => ("pg_backup_start", "pg_backup_start(text, boolean)", "pg_backup_stop(boolean)"),
    };
    let query = format!(
        "SELECT current_user, has_function_privilege('{start}', 'execute') AND has_function_privilege('{stop}', \
         'execute') AND has_function_privilege('pg_control_checkpoint()', 'execute'), \
         extract(epoch FROM pg_postmaster_start_time())::bigint"
    );
    let rows = sql.query_text(ACTION, &query).await?;
    let row = rows.into_iter().next().unwrap_or_default();
    let text = |column: usize| row.get(column).and_then(Option::as_deref).unwrap_or_default();
    Ok(About {
        role: text(0).to_owned(),
        may_begin: text(1) == "t",
        function,
        started: text(2).parse().unwrap_or_default(),
    })
}
