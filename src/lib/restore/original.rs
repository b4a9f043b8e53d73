//! Whether the original is still alive: two servers that archive as one destroy each other's history.
//!
//! INVARIANT: every host is asked, whatever the others answer, and whatever kind of server the settings prefer.

use std::path::Path;
use std::time::Duration;

use super::error::RestoreError;
use crate::error::chain;
use crate::pg::{DatabaseState, SystemIdentifier};
use crate::server::conninfo::{ServerHost, TargetSession};
use crate::server::{ConnectionSettings, SqlClient, postmaster_of, read_control_file};

/// How long each address of a host may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// How many times that a host may take, whose name leads to several addresses.
const PATIENCE_FOR_HOST: u32 = 3;

/// What a host says.
enum Answer {
    /// The original is a primary there, which calls itself this.
    Alive(String),
    /// No primary is there.
    NoPrimary,
    /// Nothing that tells; and why.
    Unknown(String),
}

/// Refuses when a primary of this cluster answers. A host that cannot be reached, or asks for a password that we do not
/// have, says nothing: that is a warning.
pub(super) fn refuse_living(
    settings: &ConnectionSettings,
    expected: SystemIdentifier,
) -> Result<Option<String>, RestoreError> {
    ask_all(settings, expected, PATIENCE)
}

/// Refuses when a primary of this cluster runs in a directory of this host, wherever it listens.
pub(super) fn refuse_running(pgdata: &Path, expected: SystemIdentifier) -> Result<(), RestoreError> {
    let Ok(Some(control)) = read_control_file(pgdata) else { return Ok(()) };
    if control.system_identifier != expected || control.state != DatabaseState::InProduction {
        return Ok(());
    }
    match postmaster_of(pgdata)? {
        Some(pid) => Err(RestoreError::OriginalIsAlive { server: format!("\"{}\" (process {pid})", pgdata.display()) }),
        None => Ok(()),
    }
}

fn ask_all(
    settings: &ConnectionSettings,
    expected: SystemIdentifier,
    patience: Duration,
) -> Result<Option<String>, RestoreError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(RestoreError::Thread)?;
    let mut unknown = Vec::new();
    for host in &settings.hosts {
        let limit = patience.saturating_mul(PATIENCE_FOR_HOST);
        let question = ask(settings, host, expected, patience);
        match runtime.block_on(async { tokio::time::timeout(limit, question).await }) {
            Ok(Answer::Alive(server)) => return Err(RestoreError::OriginalIsAlive { server }),
            Ok(Answer::NoPrimary) => {}
            Ok(Answer::Unknown(reason)) => unknown.push(reason),
            Err(_) => unknown.push(format!("{host} did not answer within {} s", limit.as_secs())),
        }
    }
    Ok((!unknown.is_empty()).then(|| {
        format!("whether the original still runs, and archives, could not be found out: {}", unknown.join("; "))
    }))
}

async fn ask(
    settings: &ConnectionSettings,
    host: &ServerHost,
    expected: SystemIdentifier,
    patience: Duration,
) -> Answer {
    let settings = ConnectionSettings {
        hosts: vec![host.clone()],
        connect_timeout: Some(patience),
        target_session: TargetSession::Primary,
        ..settings.clone()
    };
    let client = match SqlClient::connect(&settings).await {
        Ok(client) => client,
        Err(error) if error.is_about_role() => return Answer::NoPrimary,
        Err(error) => return Answer::Unknown(chain(&error)),
    };
    let facts = client.server_facts(&[]).await;
    let server = client.endpoint().to_string();
    client.close().await;
    match facts {
        Ok(facts) if facts.in_recovery => Answer::NoPrimary,
        Ok(facts) if facts.system_identifier == Some(expected) => Answer::Alive(server),
        Ok(_) => Answer::Unknown(format!("server {server} is of another cluster")),
        Err(error) => Answer::Unknown(chain(&error)),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::server::conninfo::{ConnectionOptions, ConnectionSources};

    /// One that takes the connection and says nothing must not use up the time of the next.
    #[test]
    fn every_host_is_asked_and_silence_is_told() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").unwrap();
        let [silent_port, closed_port] = [&silent, &closed].map(|socket| socket.local_addr().unwrap().port());
        drop(closed);
        let conninfo = format!(
            "host=127.0.0.1,127.0.0.1 port={silent_port},{closed_port} sslmode=disable target_session_attrs=prefer-standby"
        );
        let sources = ConnectionSources {
            options: &ConnectionOptions { dbname: Some(conninfo), ..ConnectionOptions::default() },
            conninfo: None,
            variable: &|_| None,
            os_user: Some("nobody"),
            home: None,
            application_name: "pgv",
        };
        let settings = ConnectionSettings::resolve(&sources).unwrap();
        let expected = SystemIdentifier::new(7).unwrap();
        let warning = ask_all(&settings, expected, Duration::from_millis(300)).unwrap().unwrap();
        for port in [silent_port, closed_port] {
            assert!(warning.contains(&port.to_string()), "{port}: {warning}");
        }
    }
}
