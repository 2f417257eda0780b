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

/// One that runs, and ends with this value if this value started it.
#[derive(Debug)]
pub struct Munged {
    socket: PathBuf,
    child: Option<Child>,
}

impl Munged {
    /// Starts one in that directory, which is made if it is not there; the one that runs there already is taken over, as
    /// after a crash of whoever started it.
    ///
    /// # Errors
    /// When munged is not installed, the directory is not ours alone, or munged does not start.
    pub fn start(folder: &Path) -> Result<Self, StartError> {
        let program = program().ok_or(StartError::NotInstalled)?;
        private(folder)?;
        let socket = folder.join("socket");
        if UnixStream::connect(&socket).is_ok() {
            return Ok(Self { socket, child: None });
        }
        let key = folder.join("key");
        if !key.exists() {
            make_key(&key).map_err(|error| StartError::File { path: key.clone(), error })?;
        }
        let option = |name: &str, file: &Path| format!("--{name}={}", file.display());
        let mut command = Command::new(program);
        command
            .args(["--foreground", "--force"])
            .arg(option("socket", &socket))
            .arg(option("key-file", &key))
            .arg(option("pid-file", &folder.join("munged.pid")))
            .arg(option("seed-file", &folder.join("seed")))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        // A terminal's keys are not for it; and when we are killed it goes with us.
        let orphaned = || Ok(set_parent_process_death_signal(Some(Signal::TERM))?);
        // SAFETY: one system call, which is allowed after a fork.
        unsafe { command.process_group(0).pre_exec(orphaned) };
        let child = command.spawn().map_err(|_| StartError::NotInstalled)?;
        let mut started = Self { socket, child: Some(child) };
        started.wait()?;
        Ok(started)
    }

    /// What `AuthInfo=socket=` and [`crate::Munge::open`] take.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Until it listens, or has ended.
    fn wait(&mut self) -> Result<(), StartError> {
        let until = Instant::now() + START_MAX;
        let Some(child) = &mut self.child else { return Ok(()) };
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
        if let Some(child) = &mut self.child {
            // A polite end, so that it takes its socket away.
            if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::TERM);
            }
            let _ = child.wait();
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
