//! Printing: standard output in large pieces, colours where somebody sees them, ids as the locale can show them.

use clap::ValueEnum;
use flurm_types::{Encoding, JobId};
use serde::Serialize;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};

/// What could not be written when an [`Out`] was dropped, for whoever says how the command ended.
static LOST: Mutex<Option<io::Error>> = Mutex::new(None);

/// Standard output; what is written goes out when it is dropped or flushed.
pub struct Out(BufWriter<StdoutLock<'static>>);

pub fn stdout() -> Out {
    Out(BufWriter::with_capacity(1 << 16, io::stdout().lock()))
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        // Nobody can be told here, and a listing that has not been written is no success.
        if let Err(error) = self.0.flush() {
            LOST.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    }
}

/// Why something that was printed has gone nowhere, if it has.
pub fn lost() -> Option<io::Error> {
    LOST.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// One JSON value on one line.
pub fn json(value: &impl Serialize) -> io::Result<()> {
    let mut out = stdout();
    serde_json::to_writer(&mut out, value)?;
    out.write_all(b"\n")?;
    out.flush()
}

/// When to colour.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Color {
    Always,
    Never,
    #[default]
    Auto,
}

impl Color {
    /// Whether to colour standard output. `NO_COLOR` turns the default off.
    pub fn wanted(self) -> bool {
        match self {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) && io::stdout().is_terminal()
            }
        }
    }
}

/// How ids and marks are written.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Script {
    /// Only ASCII can be shown.
    pub ascii: bool,
}

impl Script {
    /// What the locale can show. `FLUX_F58_FORCE_ASCII` says that it is less than it claims.
    pub fn of_locale() -> Script {
        let set = |name| std::env::var(name).ok().filter(|v| !v.is_empty());
        // The first one that is set wins (POSIX).
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default();
        let locale = locale.to_ascii_lowercase();
        let utf8 = locale.ends_with("utf-8") || locale.ends_with("utf8");
        Script { ascii: !utf8 || set("FLUX_F58_FORCE_ASCII").is_some() }
    }

    /// How a line of a tree begins below its parent's, and how those below it do.
    pub fn branch(self, last: bool) -> (&'static str, &'static str) {
        match (self.ascii, last) {
            (true, false) => ("|- ", "|  "),
            (true, true) => ("`- ", "   "),
            (false, false) => ("├─ ", "│  "),
            (false, true) => ("└─ ", "   "),
        }
    }

    pub fn id(self, id: JobId) -> String {
        id.encode(if self.ascii { Encoding::F58Plain } else { Encoding::F58 })
    }
}

/// Do standard output and error go to the same file, pipe or terminal?
pub fn streams_are_one() -> bool {
    let place =
        |fd: BorrowedFd<'_>| rustix::fs::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino, stat.st_rdev));
    let (out, err) = (io::stdout(), io::stderr());
    matches!((place(out.as_fd()), place(err.as_fd())), (Ok(out), Ok(err)) if out == err)
}

/// Does a person read our messages?
pub fn on_terminal() -> bool {
    io::stderr().is_terminal()
}

/// The name of a user; the number when nobody knows one.
pub fn user_name(uid: u32) -> String {
    if uid == rustix::process::getuid().as_raw() {
        // Sites keep users in directories that only libc knows; our own name is in the environment.
        let own =
            ["USER", "LOGNAME"].into_iter().find_map(|n| std::env::var(n).ok()).filter(|n| !n.is_empty());
        if let Some(name) = own {
            return name;
        }
    }
    user(|_, number| number == uid.to_string()).map_or_else(|| uid.to_string(), |(name, _)| name)
}

/// The number of a user, who may be given by it.
pub fn user_id(user: &str) -> Option<u32> {
    let own = rustix::process::getuid().as_raw();
    let of_name = || self::user(|name, _| name == user)?.1.parse().ok();
    user.parse().ok().or_else(|| (user == user_name(own)).then_some(own)).or_else(of_name)
}

/// Name and number of the first such user of this host.
fn user(is_meant: impl Fn(&str, &str) -> bool) -> Option<(String, String)> {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        is_meant(name, number).then(|| (name.to_owned(), number.to_owned()))
    })
}

/// Does a person read the listing?
pub fn listed_on_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Characters in a line of the terminal that listings go to, if they go to one.
pub fn columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(size.ws_col.into()).filter(|cols| *cols > 0)
}

/// A wait status as a shell reports it: the code, or 128 and the signal.
pub fn exit_code(status: i32) -> u8 {
    // Signals end at 64, codes at 255.
    u8::try_from(flurm_types::exit_code(status)).unwrap_or(u8::MAX)
}

/// A line on standard error. That nobody reads it is no reason to end.
pub fn note(line: std::fmt::Arguments<'_>) {
    // One write, so that lines of several processes do not mix.
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Prints a line on standard error, as `eprintln!` does.
#[macro_export]
macro_rules! say {
    ($($arg:tt)*) => { $crate::out::note(format_args!($($arg)*)) };
}
