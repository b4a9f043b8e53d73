//! Whether the original still runs as a primary: then no copy of it may archive.

use std::time::Duration;

use super::error::RestoreError;
use crate::pg::SystemIdentifier;
use crate::server::{ConnectionSettings, SqlClient};

/// How long one server is waited for.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// Refuses when one of these servers answers, is the same cluster, and is not in recovery. One that does not answer is
/// taken for gone: that is what a restore is for.
pub(super) fn refuse_running_original(
    originals: &[ConnectionSettings],
    system_identifier: SystemIdentifier,
) -> Result<(), RestoreError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return Err(RestoreError::OriginalIsRunning { server: "unknown".to_owned() }) };
    for settings in originals {
        let settings = ConnectionSettings { connect_timeout: Some(PROBE_TIMEOUT), ..settings.clone() };
        if let Some(server) = runtime.block_on(primary_at(&settings, system_identifier)) {
            return Err(RestoreError::OriginalIsRunning { server });
        }
    }
    Ok(())
}

async fn primary_at(settings: &ConnectionSettings, system_identifier: SystemIdentifier) -> Option<String> {
    let mut client = SqlClient::connect(settings).await.ok()?;
    client.set_query_timeout(PROBE_TIMEOUT);
    let sql = "SELECT system_identifier, pg_is_in_recovery() FROM pg_control_system()";
    let rows = client.query_text("tell whether it is a primary", sql).await;
    let endpoint = client.endpoint().to_string();
    client.close().await;
    let row = rows.ok()?.into_iter().next()?;
    match row.as_slice() {
        [Some(identifier), Some(in_recovery)] => {
            let is_same = identifier.parse::<SystemIdentifier>().is_ok_and(|found| found == system_identifier);
            (is_same && in_recovery == "f").then_some(endpoint)
        }
        _ => None,
    }
}
