//! A terminal with somebody at it: a program runs on a pseudo terminal, and the test types and reads.

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use crate::{DEADLINE, wait_child};

/// A program at a terminal.
#[derive(Debug)]
pub struct Terminal {
    pub child: Child,
    ours: File,
    /// Keeps the terminal open when the program has gone, to look at its modes.
    theirs: File,
    shown: Arc<(Mutex<Vec<u8>>, Condvar)>,
    seen: usize,
}

impl Terminal {
    /// Starts the program in a session of its own on a terminal of so many rows and columns.
    ///
    /// # Panics
    /// When there is no terminal, or the program cannot be started.
    #[track_caller]
    pub fn start(mut command: Command, rows: u16, cols: u16) -> Terminal {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = openpt(flags).expect("a pseudo terminal");
        grantpt(&ours).expect("it is ours");
        unlockpt(&ours).expect("it is ours");
        let theirs = File::from(ioctl_tiocgptpeer(&ours, flags).expect("its other end"));
        let end = || Stdio::from(theirs.try_clone().expect("a descriptor"));
        command.env("TERM", "dumb").stdin(end()).stdout(end()).stderr(end());
        // SAFETY: two system calls, which are allowed between fork and exec.
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                match libc::ioctl(0, libc::TIOCSCTTY, 0) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            });
        }
        let ours = File::from(ours);
        let mut terminal = Terminal {
            child: command.spawn().expect("the program starts"),
            ours,
            theirs,
            shown: Arc::default(),
            seen: 0,
        };
        terminal.resize(rows, cols);
        let (mut from, shown) =
            (terminal.ours.try_clone().expect("a descriptor"), Arc::clone(&terminal.shown));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(len @ 1..) = from.read(&mut buffer) {
                shown.0.lock().expect("no panic").extend_from_slice(&buffer[..len]);
                shown.1.notify_all();
            }
        });
        terminal
    }

    pub fn resize(&mut self, rows: u16, cols: u16) {
        let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.ours, size).expect("a terminal has a size");
    }

    pub fn type_in(&mut self, text: &str) {
        self.ours.write_all(text.as_bytes()).expect("a terminal can be typed at");
    }

    /// Waits until this text is shown, behind what was waited for before; what was shown up to its end.
    ///
    /// # Panics
    /// When it is not shown in time.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        let end = Instant::now() + DEADLINE;
        let mut shown = self.shown.0.lock().expect("no panic");
        loop {
            let fresh = &shown[self.seen..];
            if let Some(at) = fresh.windows(text.len()).position(|window| window == text.as_bytes()) {
                let until = at + text.len();
                let before = String::from_utf8_lossy(&fresh[..until]).into_owned();
                self.seen += until;
                return before;
            }
            let left = end.saturating_duration_since(Instant::now());
            let all = || String::from_utf8_lossy(fresh).into_owned();
            assert!(!left.is_zero(), "waited for {text:?}, and there is {:?}", all());
            shown = self.shown.1.wait_timeout(shown, left).expect("no panic").0;
        }
    }

    /// All that has been shown so far.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.0.lock().expect("no panic")).into_owned()
    }

    /// How many processes have been started in it and live.
    pub fn processes(&self) -> usize {
        let session = self.child.id().to_string();
        let stats = std::fs::read_dir("/proc").expect("/proc").flatten();
        let stats = stats.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
        let of = |stat: &String| {
            stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(3)) == Some(&session)
        };
        stats.filter(of).count()
    }

    /// Does every key go to the program as it is?
    pub fn is_raw(&self) -> bool {
        let modes = tcgetattr(&self.theirs).expect("a terminal has modes").local_modes;
        !modes.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    /// Waits for the program to end.
    ///
    /// # Panics
    /// When it does not end in time.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        wait_child(&mut self.child, DEADLINE).expect("the program ends in time")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It has mostly ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
