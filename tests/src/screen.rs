//! A real terminal with a screen and keys, in tmux.

use crate::transcript::Step;
use crate::{DEADLINE, Instance, eventually, run};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Each has a tmux of its own.
static STARTED: AtomicU32 = AtomicU32::new(0);

/// A terminal of 80 columns and 16 rows in tmux, which keeps what is on the screen.
#[derive(Debug)]
pub struct Screen(String);

impl Screen {
    /// Runs a shell line there, and then says how it ended.
    ///
    /// # Panics
    /// Without tmux.
    #[track_caller]
    #[must_use]
    pub fn start(instance: &Instance, command: &str) -> Screen {
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let screen = Screen(format!("flurm-test-{}-{number}", std::process::id()));
        let line = format!(
            "cd {}; export FLURM_URI={} LC_ALL=C.UTF-8 NO_COLOR=1; {command}; echo exit $?; exec cat",
            instance.dir.path().display(),
            instance.uri
        );
        screen.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "16", &line]);
        screen
    }

    /// What tmux answers to a command.
    ///
    /// # Panics
    /// When it refuses it.
    #[track_caller]
    pub fn tmux(&self, args: &[&str]) -> String {
        let mut command = Command::new("tmux");
        command.args(["-u", "-L", &self.0]).args(args).env("LC_ALL", "C.UTF-8");
        run(command, b"").ok()
    }

    /// What is on the screen.
    #[track_caller]
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.tmux(&["capture-pane", "-p"]).lines().map(|line| line.trim_end().to_owned()).collect()
    }

    /// Keys by tmux's names, or text.
    #[track_caller]
    pub fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Waits until the screen is so, with `[..]` and `...` as in transcripts.
    ///
    /// # Panics
    /// When it does not become so.
    #[track_caller]
    pub fn shows(&self, picture: &str) {
        let expected: Vec<String> = picture.lines().map(str::to_owned).collect();
        let step = Step { expected, ..Step::default() };
        let mut last = Vec::new();
        let is_met = |lines: &Vec<String>| {
            let end = lines.iter().rposition(|line| !line.is_empty()).map_or(0, |at| at + 1);
            step.is_met(0, &lines[..end])
        };
        let begun = std::time::Instant::now();
        eventually(&format!("the screen\n{picture}"), DEADLINE * 2, || {
            last = self.lines();
            assert!(
                is_met(&last) || begun.elapsed() < DEADLINE,
                "the screen is\n{}\nnot\n{picture}",
                last.join("\n")
            );
            is_met(&last).then_some(())
        });
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nobody is there to hear that it had gone already.
        let _ = Command::new("tmux").args(["-L", &self.0, "kill-server"]).output();
    }
}
