//! What a signal does to each program.
//!
//! * `pgv-archive` ends at once, with a status of 1 to 125: death by a signal would take PostgreSQL's archiver down.
//!   What it was writing has no name yet. SIGINT stays as it came: PostgreSQL ignores it there, so that Ctrl-C at a
//!   server in the foreground does not cut the archiving of its shutdown short.
//! * `pgv-fetch` dies of SIGTERM as if nothing had been arranged: PostgreSQL takes exactly that for its own shutdown.
//! * `pgv-recovery-conf --clear` finishes: PostgreSQL takes a status above 125, or death by a signal, of its
//!   `recovery_end_command` for a reason to stop the server. It is the work of a moment and waits for nothing.
//! * `pgv-standby exec` passes signals on to its command; what whoever started us has ignored (nohup) stays ignored.
//! * in all of them SIGXFSZ does nothing.
//! * the others are asked to end, tidily; a second signal ends them at once.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXFSZ};
use signal_hook::flag;

use super::context::Invocation;
use super::exit_status::{Ending, exit_status};
use super::program::Program;
use crate::error::ErrorClass;
use crate::fetch::RecoveryMode;
use crate::fs::read_at_most;
use crate::report::Cancel;

/// LIMIT: bytes of what the kernel says of this process.
const STATUS_BYTES_MAX: u64 = 64 << 10;

/// Arranges the handlers, and gives the flag that they set. A handler that cannot be set leaves the default.
///
/// It comes before the arguments are read as such: a word tells what may be ended.
pub(crate) fn arrange(invocation: &Invocation) -> Cancel {
    // A limit on the size of files (ulimit -f) is then an error of the write, with a status of ours. Programs that this
    // one becomes or starts get the default back, as of every signal with a handler.
    let _ = flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
    let program = invocation.program;
    if program == Program::RecoveryConf && invocation.arguments.iter().any(|word| word == "--clear") {
        return finish_despite();
    }
    let cancel = Cancel::new();
    // The front door itself has no work to end; it may become another program.
    if invocation.verb.is_none() {
        return cancel;
    }
    let interrupted = Ending::Failed(ErrorClass::Interrupted);
    let status = i32::from(exit_status(program, interrupted, || RecoveryMode::None));
    match program {
        Program::Fetch => {}
        Program::Archive => {
            for signal in [SIGTERM, SIGQUIT, SIGHUP] {
                let _ = flag::register_conditional_shutdown(signal, status, Arc::new(AtomicBool::new(true)));
            }
        }
        // Its command gets the signals, from the moment that there is one.
        Program::Standby if invocation.is_exec() => {
            for signal in not_ignored(&[SIGTERM, SIGINT, SIGHUP]) {
                let _ = flag::register(signal, cancel.flag());
            }
        }
        Program::Pgv | Program::BaseBackup | Program::Restore | Program::RecoveryConf | Program::Standby => {
            for signal in [SIGTERM, SIGINT, SIGHUP] {
                // ORDER: the first of a signal's actions sees the flag as it was before this signal.
                let _ = flag::register_conditional_shutdown(signal, status, cancel.flag());
                let _ = flag::register(signal, cancel.flag());
            }
        }
    }
    cancel
}

/// Those of the signals that whoever started this process has not told it to ignore.
pub(super) fn not_ignored(signals: &[i32]) -> Vec<i32> {
    let status = read_at_most(Path::new("/proc/self/status"), STATUS_BYTES_MAX).unwrap_or_default();
    let status = String::from_utf8_lossy(&status);
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    let is_ignored =
        |signal: &i32| u32::try_from(signal - 1).is_ok_and(|bit| mask.checked_shr(bit).unwrap_or(0) & 1 == 1);
    signals.iter().copied().filter(|signal| !is_ignored(signal)).collect()
}

/// Lets the work finish, whatever is sent. A handler that cannot be set leaves the default.
fn finish_despite() -> Cancel {
    for signal in [SIGTERM, SIGINT, SIGHUP, SIGQUIT] {
        let _ = flag::register(signal, Arc::new(AtomicBool::new(false)));
    }
    Cancel::new()
}

#[cfg(test)]
mod tests {
    use signal_hook::consts::SIGPIPE;

    use super::*;

    #[test]
    fn what_is_ignored_already_is_left_so() {
        // Rust has every program ignore SIGPIPE before its main function runs.
        assert_eq!(not_ignored(&[SIGTERM, SIGPIPE, SIGHUP]), [SIGTERM, SIGHUP]);
    }
}
