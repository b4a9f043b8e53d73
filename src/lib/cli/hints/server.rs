//! Hints about servers and connections.

use std::error::Error;
use std::path::Path;

use crate::cli::typed::Typed;
use crate::server::{ConnectError, LockedKeyProblem, ServerMessage, TlsSetupError};

/// The functions of a server that open files and directories of a data directory to send them.
const OF_FILES: [&str; 5] = ["sendFile", "sendDir", "sendTablespace", "ReadDirExtended", "AllocateDir"];

pub(super) fn hint(error: &(dyn Error + 'static), typed: &Typed) -> Vec<String> {
    if let Some(error) = super::find::<ServerMessage>(error) {
        return of_message(error);
    }
    if let Some(TlsSetupError::LockedKey { path, problem }) = super::find::<TlsSetupError>(error) {
        return of_locked_key(path, *problem);
    }
    super::find::<ConnectError>(error).map(|error| of_connection(error, typed)).unwrap_or_default()
}

fn of_connection(error: &ConnectError, typed: &Typed) -> Vec<String> {
    if let Some(endpoint) = error.refused_by_default_ssl_mode() {
        return vec![format!(
            "Without a word from you, pgv trusts no remote server that cannot prove who it is. Name a trusted root \
             (-d \"sslrootcert=FILE\"), or choose less protection than sslmode={} deliberately (-d \"sslmode=require\").",
            endpoint.ssl_mode
        )];
    }
    let hint = match error {
        ConnectError::Unreachable { .. } => {
            "Is the server running there, and does it listen on that address? Another is named with -h HOST and -p PORT."
        }
        ConnectError::PasswordMissing { .. } => {
            "Put a line HOST:PORT:DATABASE:ROLE:PASSWORD into ~/.pgpass (mode 0600), or PGPASSWORD into a file of \
             variables (--env-file). pgv never asks for it."
        }
        ConnectError::ClearTextRefused { .. } => {
            "Use TLS (-d \"sslmode=verify-full\"), or let the server ask with scram-sha-256 in pg_hba.conf."
        }
        ConnectError::Pooler { .. } => {
            "Connect to the server itself: its own host and port (\"SHOW port\"), not those of the pooler."
        }
        ConnectError::AllFailed { attempts } => {
            let mut hints: Vec<String> = Vec::new();
            for hint in attempts.iter().flat_map(|attempt| super::hints(attempt, typed)) {
                if !hints.contains(&hint) {
                    hints.push(hint);
                }
            }
            return hints;
        }
        _ => return Vec::new(),
    };
    vec![hint.to_owned()]
}

fn of_locked_key(path: &Path, problem: LockedKeyProblem) -> Vec<String> {
    match problem {
        LockedKeyProblem::NoPassphrase => {
            vec![
                "Put sslpassword into a service file that nobody else may read, or store the key without one."
                    .to_owned(),
            ]
        }
        LockedKeyProblem::TraditionalForm | LockedKeyProblem::UnknownAlgorithm => vec![format!(
            "To convert it, and name the new file as sslkey: openssl pkcs8 -topk8 -v2 aes256 -in {} -out FILE",
            crate::pg::shell_quote(&path.display().to_string())
        )],
        _ => Vec::new(),
    }
}

/// What the server itself adds, and what its commonest refusals mean for a backup.
fn of_message(message: &ServerMessage) -> Vec<String> {
    let mut hints: Vec<String> = [&message.detail, &message.hint].into_iter().flatten().cloned().collect();
    // invalid_authorization_specification: no line of pg_hba.conf fits, for replication most often
    if message.has_code("28000") && message.message.contains("pg_hba.conf") {
        hints.push(
            "A replication connection needs a line of its own in pg_hba.conf, with \"replication\" for the database: \
             host replication ROLE ADDRESS scram-sha-256"
                .to_owned(),
        );
    }
    // invalid_password
    if message.has_code("28P01") {
        hints.push(
            "Which password is sent: that of PGPASSWORD, if it is set, else that of the first line of ~/.pgpass that fits host, port, \
             database and role."
                .to_owned(),
        );
    }
    // insufficient_privilege: of the role, or of the server's account at a file
    if message.has_code("42501") && message.routine.as_deref().is_some_and(|routine| OF_FILES.contains(&routine)) {
        hints.push(
            "The server's own account may not read it: give it back to that account (chown, chmod), or move it out of the \
             data directory if it is none of the server's."
                .to_owned(),
        );
    } else if message.has_code("42501") {
        hints.push("\"pgv init\" prints the SQL of a role that may do what backups need, and no more.".to_owned());
    }
    // too_many_connections
    if message.has_code("53300") {
        hints.push("For a replication connection, max_wal_senders of the server must be raised.".to_owned());
    }
    hints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_read_is_told_from_what_may_not_be_read() {
        let refused = |routine: &str| {
            let message = ServerMessage {
                severity: "ERROR".to_owned(),
                sqlstate: ServerMessage::sqlstate_of("42501"),
                message: "x".to_owned(),
                detail: None,
                hint: None,
                routine: Some(routine.to_owned()),
            };
            of_message(&message).join("\n")
        };
        assert!(refused("sendFile").starts_with("The server's own account may not read it"));
        assert!(refused("ReadDirExtended").starts_with("The server's own account may not read it"));
        assert!(refused("InitPostgres").starts_with("\"pgv init\" prints the SQL of a role"));
    }

    #[test]
    fn a_key_that_is_not_read_can_be_converted() {
        let path = Path::new("/k/my key").to_owned();
        let hints = |problem| hint(&TlsSetupError::LockedKey { path: path.clone(), problem }, &Typed::default());
        let [converted] = &hints(LockedKeyProblem::TraditionalForm)[..] else { panic!("one hint") };
        assert!(converted.ends_with("openssl pkcs8 -topk8 -v2 aes256 -in '/k/my key' -out FILE"), "{converted}");
        assert!(hints(LockedKeyProblem::NoPassphrase)[0].contains("sslpassword"));
        assert!(hints(LockedKeyProblem::WrongPassphrase).is_empty());
    }
}
