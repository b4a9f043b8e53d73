//! Steps, warnings and progress of long-running verbs: a bar on a terminal, else a line now and then.

use std::io::IsTerminal as _;
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Map, json};

use super::printer::{Printer, escaped};
use super::size::bytes_text;
use crate::clock::Stopwatch;
use crate::config::{LogFormat, LogLevel};
use crate::report::{Progress, Reporter};

/// At most one line of progress in this time where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Shows what a verb reports to whoever runs it.
#[derive(Debug)]
pub(crate) struct TerminalReporter {
    printer: Printer,
    bars: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    phase: Option<Phase>,
    /// Where the work is, in its own words.
    place: Option<String>,
}

/// The phase that progress was last reported of.
#[derive(Debug)]
struct Phase {
    name: &'static str,
    since: Stopwatch,
    last_line: Stopwatch,
    bar: Option<ProgressBar>,
}

impl TerminalReporter {
    /// A bar only where a person watches stderr and wants text and progress at all.
    pub(crate) fn new(printer: Printer) -> Self {
        let wanted = printer.format() == LogFormat::Text && printer.level() >= LogLevel::Info;
        let bars = wanted && std::io::stderr().is_terminal();
        Self { printer, bars, state: Mutex::new(State::default()) }
    }

    /// Prints a line above the bar, if there is one.
    fn line(&self, level: LogLevel, message: &str) {
        let bar = self.state.lock().ok().and_then(|state| state.phase.as_ref().and_then(|phase| phase.bar.clone()));
        match bar {
            Some(bar) => bar.suspend(|| self.printer.message(level, message)),
            None => self.printer.message(level, message),
        }
    }

    fn progress_line(&self, phase: &Phase, progress: &Progress, place: Option<&str>) {
        let mut fields = Map::new();
        let mut message = progress_text(progress, phase.since.elapsed());
        if let Some(place) = place {
            message.push_str(&format!("; {place}"));
        }
        if self.printer.format() == LogFormat::Json {
            fields.insert("phase".to_owned(), json!(progress.phase));
            fields.insert("done_bytes".to_owned(), json!(progress.done_bytes));
            fields.insert("total_bytes".to_owned(), json!(progress.total_bytes));
        }
        self.printer.event(LogLevel::Info, &message, fields);
    }
}

impl Reporter for TerminalReporter {
    fn step(&self, message: &str) {
        self.line(LogLevel::Info, message);
    }

    fn warn(&self, message: &str) {
        self.line(LogLevel::Warn, message);
    }

    fn whereabouts(&self, place: &str) {
        if let Ok(mut state) = self.state.lock() {
            state.place = Some(escaped(place));
        }
    }

    fn progress(&self, progress: &Progress) {
        let Ok(mut state) = self.state.lock() else { return };
        let place = state.place.take();
        let new_phase = state.phase.as_ref().is_none_or(|phase| phase.name != progress.phase);
        if new_phase {
            if let Some(bar) = state.phase.take().and_then(|phase| phase.bar) {
                bar.finish_and_clear();
            }
            state.phase = Some(Phase {
                name: progress.phase,
                since: Stopwatch::start(),
                last_line: Stopwatch::start(),
                bar: self.bars.then(|| new_bar(progress.phase)),
            });
        }
        let Some(phase) = state.phase.as_mut() else { return };
        match &phase.bar {
            Some(bar) => {
                if let Some(place) = &place {
                    bar.set_message(format!("{} {place}", progress.phase));
                }
                update_bar(bar, progress);
            }
            None if new_phase || phase.last_line.elapsed() >= LINE_INTERVAL => {
                phase.last_line = Stopwatch::start();
                self.progress_line(phase, progress, place.as_deref());
            }
            None => {}
        }
    }
}

impl Drop for TerminalReporter {
    fn drop(&mut self) {
        if let Some(bar) = self.state.get_mut().ok().and_then(|state| state.phase.take()).and_then(|phase| phase.bar) {
            bar.finish_and_clear();
        }
    }
}

fn new_bar(phase: &'static str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.set_message(phase);
    bar
}

fn update_bar(bar: &ProgressBar, progress: &Progress) {
    // The server's estimate may turn out too small; the bar then stays full instead of running over.
    let total = progress.total_bytes.map(|total| total.max(progress.done_bytes));
    let template = match total {
        Some(_) => "{msg} {wide_bar} {percent} % of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left",
        None => "{msg} {spinner} {binary_bytes}, {binary_bytes_per_sec}",
    };
    if bar.length() != total || bar.position() == 0 {
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        if let Some(total) = total {
            bar.set_length(total);
        }
    }
    bar.set_position(progress.done_bytes);
}

/// How far it is, how fast, and how long it will take, as far as that can be told.
fn progress_text(progress: &Progress, elapsed: Duration) -> String {
    let Progress { phase, done_bytes, total_bytes } = *progress;
    let mut text = format!("{phase}: {}", bytes_text(done_bytes));
    let total = total_bytes.filter(|total| *total > 0).map(|total| total.max(done_bytes));
    if let Some(total) = total {
        let percent = u128::from(done_bytes) * 100 / u128::from(total);
        text.push_str(&format!(" of {} ({percent} %)", bytes_text(total)));
    }
    let rate = u128::from(done_bytes) * 1000 / elapsed.as_millis().max(1);
    let rate = u64::try_from(rate).unwrap_or(u64::MAX);
    if elapsed >= Duration::from_secs(1) && rate > 0 {
        text.push_str(&format!(", {}/s", bytes_text(rate)));
        if let Some(total) = total {
            let left = Duration::from_secs((total - done_bytes) / rate);
            text.push_str(&format!(", {} left", super::size::duration_text(left)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(done_bytes: u64, total_bytes: Option<u64>, seconds: u64) -> String {
        progress_text(&Progress { phase: "backing up", done_bytes, total_bytes }, Duration::from_secs(seconds))
    }

    #[test]
    fn lines_of_progress_say_what_can_be_told() {
        const MIB: u64 = 1 << 20;
        assert_eq!(text(0, None, 0), "backing up: 0 B");
        assert_eq!(text(0, Some(0), 5), "backing up: 0 B");
        assert_eq!(text(10 * MIB, None, 10), "backing up: 10.0 MiB, 1.0 MiB/s");
        assert_eq!(
            text(10 * MIB, Some(100 * MIB), 10),
            "backing up: 10.0 MiB of 100.0 MiB (10 %), 1.0 MiB/s, 1 min 30 s left"
        );
        assert_eq!(text(3 * MIB, Some(2 * MIB), 3), "backing up: 3.0 MiB of 3.0 MiB (100 %), 1.0 MiB/s, 0 s left");
    }
}
