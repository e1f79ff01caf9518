//! Progress of long work, for people who look at it. The runtime process, no privilege.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar};

/// A line on standard error while work is long and somebody looks at it. It starts no thread: the process
/// clones later.
pub struct Progress {
    doing: &'static str,
    bar: Option<ProgressBar>,
    since: Instant,
    shown: Instant,
}

impl Progress {
    /// Nothing is shown before the work has taken half a second.
    pub fn new(doing: &'static str) -> Progress {
        let now = Instant::now();
        Progress { doing, bar: None, since: now, shown: now }
    }

    /// What is being done, and how many bytes are done.
    pub fn show(&mut self, what: &str, bytes: u64) {
        let now = Instant::now();
        if now - self.since < Duration::from_millis(500) || now - self.shown < Duration::from_millis(100) {
            return;
        }
        if !std::io::stderr().is_terminal() {
            return;
        }
        self.shown = now;
        let bar = self.bar.get_or_insert_with(ProgressBar::new_spinner);
        // Names are hostile: no control character reaches the terminal.
        let name: String = what.chars().filter(|c| !c.is_control()).take(60).collect();
        bar.set_message(format!("{}: {} {name}", self.doing, HumanBytes(bytes)));
        bar.tick();
    }

    /// Takes the line away.
    pub fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
