//! Who looks on while an audit runs: told what happens, and may end it.

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::Ordering;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{AuditError, Interrupt};
use crate::clock::Nanos;

/// Shows phases on stderr: a bar where a person looks, otherwise a line each.
pub(super) struct Watch<'a> {
    interrupt: &'a Interrupt,
    bar: ProgressBar,
    has_lines: bool,
}

impl<'a> Watch<'a> {
    pub(super) fn new(interrupt: &'a Interrupt) -> Self {
        let has_lines = !std::io::stderr().is_terminal();
        let bar = ProgressBar::new(1);
        if has_lines {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        if let Ok(style) = ProgressStyle::with_template("{msg:24} {wide_bar} {prefix}") {
            bar.set_style(style);
        }
        Watch { interrupt, bar, has_lines }
    }

    /// # Errors
    /// [`AuditError::Interrupted`] once Ctrl-C was pressed.
    pub(super) fn check(&self) -> Result<(), AuditError> {
        match self.interrupt.load(Ordering::Relaxed) {
            true => Err(AuditError::Interrupted),
            false => Ok(()),
        }
    }

    /// Something else begins, and takes `span` where that is known.
    pub(super) fn phase(&self, name: &str, span: Nanos) {
        let seconds = span.as_duration().as_secs();
        self.bar.set_message(name.to_owned());
        self.bar.set_length(seconds.max(1));
        self.bar.set_position(0);
        self.bar.set_prefix("");
        match seconds {
            0 => self.say(name),
            _ => self.say(&format!("{name}: {seconds} s")),
        }
    }

    /// So much is left of the phase.
    pub(super) fn tick(&self, left: Nanos) {
        let seconds = left.as_duration().as_secs();
        self.bar.set_position(self.bar.length().unwrap_or(1).saturating_sub(seconds));
        self.bar.set_prefix(format!("{seconds:>4} s left"));
    }

    /// A line for people.
    pub(super) fn say(&self, line: &str) {
        if self.has_lines {
            // Nobody may be reading: that is no reason to stop.
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
