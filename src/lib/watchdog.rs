//! Work that may hang: a call of the system in a file system that does not answer cannot be interrupted.
//!
//! What counts is progress, not the time altogether: much may come slowly from a slow disk.

use std::convert::Infallible;
use std::io;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use crate::clock::Stopwatch;
use crate::report::{Activity, ActivityState};

/// Has a thread of this name do the work, and looks after it every so often: `give_up` is told what was begun last and
/// for how long nothing has moved since.
///
/// Work that is given up is left behind, and may go on: the caller ends the process before long.
pub(crate) fn watched<T: Send + 'static, E>(
    name: &str,
    activity: &Activity,
    every: Duration,
    give_up: impl Fn(&ActivityState, Duration) -> Option<E>,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<Result<T, E>> {
    // Nothing is ever sent: the channel is closed when the work ends.
    let (open, ended) = channel::<Infallible>();
    let worker = thread::Builder::new().name(name.to_owned()).spawn(move || {
        let _open = open;
        work()
    })?;
    let (mut seen, mut still) = (activity.look(), Stopwatch::start());
    loop {
        match ended.recv_timeout(every) {
            Ok(never) => match never {},
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Ok(Ok(worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))));
            }
        }
        let now = activity.look();
        if now.steps != seen.steps {
            (seen, still) = (now, Stopwatch::start());
        }
        if let Some(error) = give_up(&seen, still.elapsed()) {
            return Ok(Err(error));
        }
    }
}
