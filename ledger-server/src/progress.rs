//! How far an opening has come: a bar on a terminal, a line in the log every few seconds elsewhere.

use std::io::{IsTerminal, stderr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use ledger_core::{Phase, Progress};

/// Between two lines, and before the first one: a quick start says nothing of its progress.
pub const LINE_EVERY: Duration = Duration::from_secs(5);

/// Tells of an opening to whoever is there: what is asked of
/// [`Options::on_progress`](ledger_core::Options::on_progress).
pub fn teller() -> impl Fn(Progress) + Send + Sync {
    let (watched, told) = (stderr().is_terminal(), Mutex::new((None, Lines::begin(Instant::now()))));
    move |progress| {
        // Whoever panicked while telling has left nothing that matters.
        let (bar, lines) = &mut *told.lock().unwrap_or_else(PoisonError::into_inner);
        if watched {
            draw(bar, progress);
        } else if let Some(line) = lines.line(progress, Instant::now()) {
            tracing::info!("{line}");
        }
    }
}

/// Draws the bar, which goes away with the end of its phase.
fn draw(bar: &mut Option<(Phase, ProgressBar)>, progress: Progress) {
    let (_, bar) = match bar {
        Some(of) if of.0 == progress.phase => of,
        _ => bar.insert((progress.phase, new_bar(progress.phase))),
    };
    bar.set_length(progress.total);
    bar.set_position(progress.done.max(bar.position()));
    if progress.done == progress.total {
        bar.finish_and_clear();
    }
}

fn new_bar(phase: Phase) -> ProgressBar {
    let style = "{msg} [{bar:30}] {percent} %, {human_pos} of {human_len} entries, {eta} left";
    let style = ProgressStyle::with_template(style).expect("a template that is right").progress_chars("##.");
    ProgressBar::new(0).with_style(style).with_message(words(phase))
}

fn words(phase: Phase) -> &'static str {
    match phase {
        Phase::Snapshot => "loading the snapshot",
        Phase::Log => "replaying the log",
    }
}

/// When which line is due.
pub struct Lines {
    began: (Option<Phase>, Instant),
    last: Instant,
}

impl Lines {
    /// The opening begins `now`.
    pub fn begin(now: Instant) -> Lines {
        Lines { began: (None, now), last: now }
    }

    /// What is to be said `now`, if anything.
    pub fn line(&mut self, progress: Progress, now: Instant) -> Option<String> {
        let Progress { phase, done, total } = progress;
        if self.began.0 != Some(phase) {
            // What came before the first phase's first news was part of it.
            let since = if self.began.0.is_none() { self.began.1 } else { now };
            self.began = (Some(phase), since);
        }
        if now.saturating_duration_since(self.last) < LINE_EVERY || done == 0 {
            return None;
        }
        self.last = now;
        let took = now.saturating_duration_since(self.began.1).as_secs_f64();
        let left = took * total.saturating_sub(done) as f64 / done as f64;
        let percent = u128::from(done) * 100 / u128::from(total.max(1));
        Some(format!("{}: {percent} %, {done} of {total} entries, about {left:.0} s left", words(phase)))
    }
}
