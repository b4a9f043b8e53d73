//! Gives up a fetch that hangs: in a repository that does not answer, or in a data directory that does not.
//!
//! What counts is progress, not the time altogether: a large segment may come slowly from a slow disk.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use super::{FetchError, FetchOptions, FetchReport, run_watched};
use crate::clock::Stopwatch;
use crate::report::{Activity, Reporter};

/// How often it is looked at within the time that nothing may move.
const LOOKS: u32 = 10;

/// Fetches one file, or gives up when nothing has moved for `limit`.
///
/// A call of the system that hangs cannot be interrupted, so the work is done by a thread that is left behind: the
/// caller ends the process. Nothing stands at the destination before it is whole, whenever that is.
pub fn run_within(
    options: FetchOptions,
    reporter: Arc<dyn Reporter>,
    limit: Duration,
) -> Result<FetchReport, FetchError> {
    let (name, activity) = (options.name.clone(), Activity::default());
    let watched = activity.clone();
    // Nothing is ever sent: the channel is closed when the work ends.
    let (open, ended) = channel::<Infallible>();
    let worker = std::thread::Builder::new().name("fetch".to_owned()).spawn(move || {
        let _open = open;
        run_watched(&options, reporter.as_ref(), &watched, limit / LOOKS)
    });
    let worker = worker.map_err(FetchError::Thread)?;
    let (mut seen, mut still) = (activity.look(), Stopwatch::start());
    loop {
        match ended.recv_timeout(limit / LOOKS) {
            Ok(never) => match never {},
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            }
        }
        let now = activity.look();
        if now.steps != seen.steps {
            (seen, still) = (now, Stopwatch::start());
        } else if still.elapsed() >= limit {
            return Err(FetchError::Stalled { name, doing: now.doing, limit });
        }
    }
}
