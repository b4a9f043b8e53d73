//! Gives up a fetch that hangs: in a repository that does not answer, or in a data directory that does not.

use std::sync::Arc;
use std::time::Duration;

use super::{FetchError, FetchOptions, FetchReport, run_watched};
use crate::report::{Activity, Reporter};
use crate::watchdog::watched;

/// How often it is looked at within the time that nothing may move.
const LOOKS: u32 = 10;

/// Fetches one file, or gives up when nothing has moved for `limit`.
///
/// What hangs is left behind: the caller ends the process. Nothing stands at the destination before it is whole,
/// whenever that is.
pub fn run_within(
    options: FetchOptions,
    reporter: Arc<dyn Reporter>,
    limit: Duration,
) -> Result<FetchReport, FetchError> {
    let (name, activity) = (options.name.clone(), Activity::default());
    let own = activity.clone();
    let fetched = watched(
        "fetch",
        &activity,
        limit / LOOKS,
        |seen, still| {
            let stalled = || FetchError::Stalled { name: name.clone(), doing: seen.doing.clone(), limit };
            (still >= limit).then(stalled)
        },
        move || run_watched(&options, reporter.as_ref(), &own, limit / LOOKS),
    );
    fetched.map_err(FetchError::Thread)?.unwrap_or_else(Err)
}
