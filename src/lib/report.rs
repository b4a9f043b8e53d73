//! How library code speaks to the person or program that runs it, and how that one says "stop": it never prints.

mod size;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

pub(crate) use size::{bytes_text, duration_text};

/// Receives what a long-running verb has to say. Implementations must be cheap: `progress` is called often.
pub trait Reporter: Send + Sync {
    /// A phase began or something worth one line happened.
    fn step(&self, message: &str);
    /// Something the person should know or mend, which does not stop the work.
    fn warn(&self, message: &str);
    /// How far the present phase is.
    fn progress(&self, progress: &Progress);
    /// Where the present phase is, in words of its own: shown with the progress that is reported next.
    fn whereabouts(&self, _place: &str) {}
}

/// How far a phase is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done, as a noun phrase of the user's: "backing up", "restoring".
    pub phase: &'static str,
    /// Bytes done in this phase.
    pub done_bytes: u64,
    /// Bytes expected in this phase; unknown when absent. May be exceeded when it is the server's estimate.
    pub total_bytes: Option<u64>,
}

/// Whether the work should end early, because a signal came. Verbs poll it between steps that are worth finishing.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// One that nobody has asked for yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for the end; there is no way back.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether the end was asked for.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// The flag itself, for a signal handler to set.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

/// What is being done, and that it goes on: said by the work, read by a watchdog.
#[derive(Debug, Clone, Default)]
pub struct Activity(Arc<Mutex<ActivityState>>);

/// How far the work is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ActivityState {
    /// Grows with all that is begun or done.
    pub steps: u64,
    /// What was begun last: "reading object \"x\" in repository \"y\"".
    pub doing: String,
}

impl Activity {
    /// Something begins.
    pub fn begin(&self, doing: String) {
        if let Ok(mut state) = self.0.lock() {
            state.steps += 1;
            state.doing = doing;
        }
    }

    /// It is done, or a part of it.
    pub fn advance(&self) {
        if let Ok(mut state) = self.0.lock() {
            state.steps += 1;
        }
    }

    /// How far it is now.
    pub fn look(&self) -> ActivityState {
        self.0.lock().map(|state| state.clone()).unwrap_or_default()
    }
}

/// Says nothing.
#[derive(Debug, Default)]
pub struct SilentReporter;

impl Reporter for SilentReporter {
    fn step(&self, _message: &str) {}
    fn warn(&self, _message: &str) {}
    fn progress(&self, _progress: &Progress) {}
}

/// Keeps what was said.
#[cfg(test)]
#[derive(Debug, Default)]
pub(crate) struct CollectingReporter {
    lines: Mutex<Vec<String>>,
}

#[cfg(test)]
impl CollectingReporter {
    /// Every step and warning so far, warnings with the prefix `warning: `.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().map(|lines| lines.clone()).unwrap_or_default()
    }

    fn push(&self, line: String) {
        if let Ok(mut lines) = self.lines.lock() {
            lines.push(line);
        }
    }
}

#[cfg(test)]
impl Reporter for CollectingReporter {
    fn step(&self, message: &str) {
        self.push(message.to_owned());
    }

    fn warn(&self, message: &str) {
        self.push(format!("warning: {message}"));
    }

    fn progress(&self, _progress: &Progress) {}
}
