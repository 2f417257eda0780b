//! A line on the terminal that says how far many jobs are.

use crate::when;
use std::io::Write;
use std::time::{Duration, Instant};

/// More often than this nobody reads it.
const REDRAW_AFTER: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub struct Progress {
    /// None: not known yet.
    total: Option<usize>,
    jps: bool,
    /// The bar says how many have ended, not how many were submitted.
    of_ends: bool,
    submitted: usize,
    started: usize,
    completed: usize,
    failed: usize,
    /// Ended without having started.
    skipped: usize,
    begun: Instant,
    drawn: Option<Instant>,
    /// A line of output is not over: the bar waits for its end.
    mid_line: bool,
}

impl Progress {
    pub fn new(total: Option<usize>, jps: bool, of_ends: bool) -> Progress {
        Progress {
            total,
            jps,
            of_ends,
            submitted: 0,
            started: 0,
            completed: 0,
            failed: 0,
            skipped: 0,
            begun: Instant::now(),
            drawn: None,
            mid_line: false,
        }
    }

    pub fn submitted(&mut self, jobs: usize) {
        self.submitted += jobs;
        self.draw(false);
    }

    /// There will be no more.
    pub fn all_submitted(&mut self) {
        self.total = Some(self.submitted);
    }

    /// Makes room for a line of text.
    pub fn clear(&mut self) {
        if self.drawn.take().is_some() {
            // A bar that cannot be cleared is no reason to stop.
            let _ = std::io::stderr().write_all(b"\r\x1b[K");
        }
    }

    /// Is told what was printed where it was, and stands below that when it is next drawn.
    pub fn below(&mut self, printed: &[u8]) {
        self.mid_line = printed.last().is_some_and(|last| *last != b'\n');
    }

    /// Draws what has changed too soon after the last time, and the clock.
    pub fn tick(&mut self) {
        self.draw(false);
    }

    /// A job has started; `really` is false for one that ended without.
    pub fn started(&mut self, really: bool) {
        if really {
            self.started += 1;
        } else {
            self.skipped += 1;
        }
        self.draw(false);
    }

    pub fn ended(&mut self, well: bool) {
        if well {
            self.completed += 1;
        } else {
            self.failed += 1;
        }
        self.draw(false);
    }

    pub fn finish(mut self) {
        if std::mem::take(&mut self.mid_line) {
            let _ = std::io::stderr().write_all(b"\n");
        }
        self.draw(true);
        // Whoever types next does so on a line of his own.
        let _ = std::io::stderr().write_all(b"\n");
    }

    fn draw(&mut self, last: bool) {
        if self.mid_line || !last && self.drawn.is_some_and(|at| at.elapsed() < REDRAW_AFTER) {
            return;
        }
        self.drawn = Some(Instant::now());
        let line = format!("\r\x1b[K{}", self.line(self.begun.elapsed().as_secs_f64()));
        // A bar that cannot be drawn is no reason to stop.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }

    fn line(&self, secs: f64) -> String {
        let ended = self.completed + self.failed;
        let running = (self.started + self.skipped).saturating_sub(ended);
        let pending = self.submitted.saturating_sub(ended + running);
        let done = if self.of_ends { ended } else { self.submitted };
        let bar = self.total.map(|total| format!(" {}", bar(done as f64 / total.max(1) as f64)));
        let jps =
            if self.jps { format!(" {:.0} job/s", done as f64 / secs.max(0.001)) } else { String::new() };
        format!(
            "PD:{pending} R:{running} CD:{} F:{}{}{jps} {}",
            self.completed,
            self.failed,
            bar.unwrap_or_default(),
            when::hms(secs)
        )
    }
}

/// How far some work is, on a terminal; the line is gone when it is dropped.
#[derive(Debug)]
pub struct Bar {
    name: String,
    total: usize,
    begun: Instant,
    drawn: Instant,
}

impl Bar {
    pub fn new(name: &str, total: usize) -> Bar {
        let now = Instant::now();
        Bar { name: name.to_owned(), total, begun: now, drawn: now }
    }

    pub fn at(&mut self, done: usize) {
        // Work that is done at once has no line.
        if self.drawn.elapsed() < REDRAW_AFTER {
            return;
        }
        self.drawn = Instant::now();
        let share = done as f64 / self.total.max(1) as f64;
        let time = when::hms(self.begun.elapsed().as_secs_f64());
        let line = format!("\r\x1b[K{} {} {time}", self.name, bar(share));
        // A bar that cannot be drawn is no reason to stop.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        let _ = std::io::stderr().write_all(b"\r\x1b[K");
    }
}

fn bar(share: f64) -> String {
    format!("|{:<20}| {:.0}%", "#".repeat((share * 20.0) as usize), share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_counts_each_job_once() {
        let mut bar = Progress::new(Some(4), true, true);
        (bar.submitted, bar.started, bar.completed, bar.failed) = (4, 2, 1, 0);
        assert_eq!(bar.line(2.0), "PD:2 R:1 CD:1 F:0 |#####               | 25% 0 job/s 0:00:02");
        (bar.started, bar.skipped, bar.completed, bar.failed) = (3, 1, 3, 1);
        assert_eq!(bar.line(2.0), "PD:0 R:0 CD:3 F:1 |####################| 100% 2 job/s 0:00:02");
        let mut bar = Progress::new(None, false, false);
        bar.submitted = 7;
        assert_eq!(bar.line(2.0), "PD:7 R:0 CD:0 F:0 0:00:02");
        bar.all_submitted();
        assert_eq!(bar.line(2.0), "PD:7 R:0 CD:0 F:0 |####################| 100% 0:00:02");
    }
}
