//! Whether the original is still alive: two servers that archive as one destroy each other's history.

use std::time::Duration;

use super::error::RestoreError;
use crate::pg::SystemIdentifier;
use crate::server::{ConnectionSettings, SqlClient};

/// How long the original may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Refuses when a primary of this cluster answers. One that cannot be reached, or asks for a password that we do not
/// have, says nothing.
pub(super) fn refuse_living(settings: &ConnectionSettings, expected: SystemIdentifier) -> Result<(), RestoreError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(RestoreError::Thread)?;
    let settings = ConnectionSettings { connect_timeout: Some(PATIENCE), ..settings.clone() };
    let ask = async {
        let client = SqlClient::connect(&settings).await.ok()?;
        let facts = client.server_facts(&[]).await.ok();
        let server = client.endpoint().to_string();
        client.close().await;
        facts.map(|facts| (facts, server))
    };
    // A server that does not answer in time says nothing, as one that cannot be reached.
    let answer = runtime.block_on(async { tokio::time::timeout(PATIENCE, ask).await });
    match answer.ok().flatten() {
        Some((facts, server)) if facts.system_identifier == Some(expected) && !facts.in_recovery => {
            Err(RestoreError::OriginalIsAlive { server })
        }
        _ => Ok(()),
    }
}
