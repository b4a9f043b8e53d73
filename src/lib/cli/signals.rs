//! What a signal does to each program.
//!
//! * `pgv-archive` ends at once, with a status of 1 to 125: death by a signal would take PostgreSQL's archiver down.
//!   What it was writing has no name yet. SIGINT stays as it came: PostgreSQL ignores it there, so that Ctrl-C at a
//!   server in the foreground does not cut the archiving of its shutdown short.
//! * `pgv-fetch` dies of SIGTERM as if nothing had been arranged: PostgreSQL takes exactly that for its own shutdown.
//! * `pgv-recovery-conf --clear` finishes: PostgreSQL takes a status above 125, or death by a signal, of its
//!   `recovery_end_command` for a reason to stop the server. It is the work of a moment and waits for nothing.
//! * `pgv-standby exec` passes signals on to its command.
//! * in all of them SIGXFSZ does nothing.
//! * the others are asked to end, tidily; a second signal ends them at once.
//!
//! A SIGHUP or SIGINT that is ignored from the beginning stays so: `nohup` and shells ask for that.

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
use crate::fs;
use crate::report::Cancel;

/// LIMIT: what the kernel says of a process.
const STATUS_BYTES_MAX: u64 = 1 << 16;

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
    let ignored = ignored_from_the_beginning();
    let interrupted = Ending::Failed(ErrorClass::Interrupted);
    let status = i32::from(exit_status(program, interrupted, || RecoveryMode::None));
    match program {
        Program::Fetch => {}
        Program::Archive => {
            for signal in [SIGTERM, SIGQUIT, SIGHUP].into_iter().filter(|signal| !ignored.contains(signal)) {
                let _ = flag::register_conditional_shutdown(signal, status, Arc::new(AtomicBool::new(true)));
            }
        }
        // Its command gets the signals, from the moment that there is one.
        Program::Standby if invocation.is_exec() => {
            for signal in [SIGTERM, SIGINT, SIGHUP].into_iter().filter(|signal| !ignored.contains(signal)) {
                let _ = flag::register(signal, cancel.flag());
            }
        }
        Program::Pgv | Program::BaseBackup | Program::Restore | Program::RecoveryConf | Program::Standby => {
            for signal in [SIGTERM, SIGINT, SIGHUP].into_iter().filter(|signal| !ignored.contains(signal)) {
                // ORDER: the first of a signal's actions sees the flag as it was before this signal.
                let _ = flag::register_conditional_shutdown(signal, status, cancel.flag());
                let _ = flag::register(signal, cancel.flag());
            }
        }
    }
    cancel
}

/// Which of the signals that others ask a program to ignore are ignored.
pub(super) fn ignored_from_the_beginning() -> Vec<i32> {
    let status = fs::read_at_most(Path::new("/proc/self/status"), STATUS_BYTES_MAX).unwrap_or_default();
    let status = String::from_utf8_lossy(&status).into_owned();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    // Bit 0 is signal 1.
    let is_ignored = |signal: &i32| u32::try_from(signal - 1).is_ok_and(|bit| mask >> bit & 1 == 1);
    [SIGHUP, SIGINT].into_iter().filter(is_ignored).collect()
}

/// Lets the work finish, whatever is sent. A handler that cannot be set leaves the default.
fn finish_despite() -> Cancel {
    for signal in [SIGTERM, SIGINT, SIGHUP, SIGQUIT] {
        let _ = flag::register(signal, Arc::new(AtomicBool::new(false)));
    }
    Cancel::new()
}
