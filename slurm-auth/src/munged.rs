//! A munged of the user's own: started in a private directory, with a key made for it, and stopped with the instance.
//!
//! ```text
//!   DIR (0700)   key (0600)   socket   munged.pid   seed
//! ```
//!
//! munged identifies its callers by what the kernel says about them, so no privilege is involved. It wants a socket that
//! everybody can reach and says so; here nobody else shall, and `--force` makes that a warning.

use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// As many bytes as munge's own tool gives a key.
const KEY_BYTES: usize = 128;

/// It starts in a few milliseconds; a loaded machine may need long.
const START_MAX: Duration = Duration::from_secs(20);
/// It ends at once when it is told to.
const END_MAX: Duration = Duration::from_secs(5);
/// Where it writes its number.
const PID: &str = "munged.pid";
/// Between two looks at whether it is there.
const LOOK: Duration = Duration::from_millis(5);

/// Where it is when it is not on the path of an ordinary user.
const PLACES: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/sbin"];

/// Why there is no private munged.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("munged is not installed")]
    NotInstalled,
    #[error("{} belongs to somebody else, or others may enter it", .0.display())]
    Exposed(PathBuf),
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("munged ended at once: {0}")]
    Ended(String),
    #[error("munged was started and does not answer")]
    Silent,
}

/// One that runs, and ends with this value.
#[derive(Debug)]
pub struct Munged {
    folder: PathBuf,
    socket: PathBuf,
    child: Child,
}

impl Munged {
    /// Starts one in that directory, which is made if it is not there. One that is there of somebody who was killed ends
    /// first: it may be about to end anyway, and would take the new one's socket with it.
    ///
    /// # Errors
    /// When munged is not installed, the directory is not ours alone, or munged does not start.
    pub fn start(folder: &Path) -> Result<Self, StartError> {
        private(folder)?;
        if program().is_none() {
            return Err(StartError::NotInstalled);
        }
        let socket = folder.join("socket");
        make_room(folder);
        let key = folder.join("key");
        if !key.exists() {
            make_key(&key).map_err(|error| StartError::File { path: key.clone(), error })?;
        }
        let child = spawn(folder)?;
        let mut started = Self { folder: folder.to_owned(), socket, child };
        started.wait()?;
        Ok(started)
    }

    /// Starts it again if it has ended, and does not wait for it. True if it had. To be called by the thread that started
    /// it, with which it ends.
    ///
    /// # Errors
    /// When it cannot be started any more.
    pub fn revive(&mut self) -> Result<bool, StartError> {
        if matches!(self.child.try_wait(), Ok(None)) {
            return Ok(false);
        }
        self.child = spawn(&self.folder)?;
        drain(&mut self.child);
        Ok(true)
    }

    /// What `AuthInfo=socket=` and [`crate::Munge::open`] take.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Until it listens, or has ended.
    fn wait(&mut self) -> Result<(), StartError> {
        let until = Instant::now() + START_MAX;
        let child = &mut self.child;
        while Instant::now() < until {
            if UnixStream::connect(&self.socket).is_ok() {
                // What it says later goes nowhere: nobody reads it.
                drain(child);
                return Ok(());
            }
            if !matches!(child.try_wait(), Ok(None)) {
                let mut said = String::new();
                if let Some(stderr) = &mut child.stderr {
                    let _ = stderr.read_to_string(&mut said);
                }
                let last = said.lines().last().unwrap_or_default();
                return Err(StartError::Ended(last.to_owned()));
            }
            std::thread::sleep(LOOK);
        }
        Err(StartError::Silent)
    }
}

/// Reads what it says on and on, so that it never waits for a reader nor is ended by a closed pipe.
fn drain(child: &mut Child) {
    if let Some(mut stderr) = child.stderr.take() {
        std::thread::spawn(move || io::copy(&mut stderr, &mut io::sink()));
    }
}

impl Drop for Munged {
    fn drop(&mut self) {
        // A polite end, so that it takes its socket away. One that has been waited for has no number any more.
        if matches!(self.child.try_wait(), Ok(None)) {
            if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::TERM);
            }
            let _ = self.child.wait();
        }
    }
}

fn spawn(folder: &Path) -> Result<Child, StartError> {
    let program = program().ok_or(StartError::NotInstalled)?;
    let option = |name: &str, file: &str| format!("--{name}={}", folder.join(file).display());
    let mut command = Command::new(program);
    command
        .args(["--foreground", "--force"])
        .arg(option("socket", "socket"))
        .arg(option("key-file", "key"))
        .arg(option("pid-file", PID))
        .arg(option("seed-file", "seed"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    // A terminal's keys are not for it; and when we are killed it goes with us.
    let orphaned = || Ok(set_parent_process_death_signal(Some(Signal::TERM))?);
    // SAFETY: one system call, which is allowed after a fork.
    unsafe { command.process_group(0).pre_exec(orphaned) };
    command.spawn().map_err(|_| StartError::NotInstalled)
}

/// Ends the one that is there, if one is. It writes its number before it listens, and takes it away behind its socket.
fn make_room(folder: &Path) {
    let number = fs::read_to_string(folder.join(PID)).unwrap_or_default();
    let Some(pid) = number.trim().parse().ok().and_then(Pid::from_raw) else { return };
    let socket = format!("--socket={}", folder.join("socket").display());
    // The number may be another process's by now. One that is over and was not waited for has no words.
    let is_there = || {
        let words = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
        words.split(|byte| *byte == 0).any(|word| word == socket.as_bytes())
    };
    for signal in [Signal::TERM, Signal::KILL] {
        let until = Instant::now() + END_MAX;
        while is_there() && Instant::now() < until {
            let _ = kill_process(pid, signal);
            std::thread::sleep(LOOK);
        }
    }
}

fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(PLACES.map(PathBuf::from));
    folders.map(|folder| folder.join("munged")).find(|file| file.is_file())
}

/// A directory of ours that nobody else may enter.
fn private(folder: &Path) -> Result<(), StartError> {
    let wrong = |error| StartError::File { path: folder.to_owned(), error };
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(wrong(error)),
        _ => {}
    }
    let found = fs::symlink_metadata(folder).map_err(wrong)?;
    let ours = found.is_dir() && found.uid() == rustix::process::geteuid().as_raw();
    if ours && found.mode() & 0o077 == 0 { Ok(()) } else { Err(StartError::Exposed(folder.to_owned())) }
}

fn make_key(path: &Path) -> io::Result<()> {
    let mut key = [0; KEY_BYTES];
    fs::File::open("/dev/urandom")?.read_exact(&mut key)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(&key)
}
