//! Real instances of real processes, for end-to-end tests.
//!
//! [`Instance::start`] boots brokers with the built `flurm` binary and ends them when dropped, leaving
//! nothing behind even when the test fails. Waiting is always for an event (a line, an exit, a condition
//! with a deadline), never for time to pass.

pub mod differential;
pub mod lab;
pub mod mpis;
pub mod screen;
pub mod slurm;
pub mod terminal;
pub mod transcript;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up: generous, since CI shares two cores.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The binary under test: `$FLURM_BIN`, else the one built beside the tests.
///
/// # Panics
/// When there is none: build it with `cargo build -p flurm`.
pub fn flurm_bin() -> PathBuf {
    if let Some(path) = std::env::var_os("FLURM_BIN") {
        return path.into();
    }
    let me = std::env::current_exe().expect("a test knows its own path");
    let path = me.ancestors().nth(2).expect("target/PROFILE/deps/test").join("flurm");
    assert!(path.exists(), "{} is missing: run `cargo build -p flurm` first", path.display());
    path
}

/// A folder for `PATH`, with the binary under test in it as `flurm`.
///
/// # Panics
/// When it cannot be made.
pub fn bin_folder(below: &Path) -> PathBuf {
    let bin = below.join("bin");
    std::fs::create_dir(&bin).expect("a bin directory");
    std::os::unix::fs::symlink(flurm_bin(), bin.join("flurm")).expect("a link");
    bin
}

/// `flurm ARGS…` outside any instance, in an environment with nothing of Slurm, Flux, PMI or flurm in it.
pub fn flurm(args: &[&str]) -> Command {
    let mut command = Command::new(flurm_bin());
    command.args(args);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if ["SLURM", "FLUX_", "FLURM_", "PMI_", "PMIX_", "OMPI_", "PALS_"].iter().any(|p| name.starts_with(p))
        {
            command.env_remove(name);
        }
    }
    command
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub stdout: String,
    pub stderr: String,
    pub status: ExitStatus,
}

impl Ran {
    /// Exit code; 128 + signal when killed.
    pub fn code(&self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// Standard output, after checking that the command succeeded.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(
            self.status.success(),
            "exit {}\nstdout: {}\nstderr: {}",
            self.code(),
            self.stdout,
            self.stderr
        );
        self.stdout
    }

    /// The whole, after checking the exit code.
    #[track_caller]
    pub fn code_is(self, code: i32) -> Ran {
        assert_eq!(self.code(), code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }
}

/// Runs a command to its end, feeding `input`; kills it at the deadline.
///
/// # Panics
/// When it cannot be started or does not end in time.
#[track_caller]
pub fn run(mut command: Command, input: &[u8]) -> Ran {
    let what = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{what}: {e}"));
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let feed = std::thread::spawn(move || {
        // A program that does not read its input closes the pipe: that is its right.
        let _ = stdin.write_all(&input);
    });
    let read = |mut from: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            from.read_to_end(&mut bytes).expect("pipes can be read");
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let out = read(Box::new(child.stdout.take().expect("piped")));
    let err = read(Box::new(child.stderr.take().expect("piped")));
    let status = wait_child(&mut child, DEADLINE).unwrap_or_else(|| {
        child.kill().expect("our child");
        panic!("{what}: not finished after {DEADLINE:?}");
    });
    feed.join().expect("the feeder does not panic");
    Ran { stdout: out.join().expect("reader"), stderr: err.join().expect("reader"), status }
}

/// Waits for a child with a deadline.
pub fn wait_child(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().expect("our child") {
            return Some(status);
        }
        if Instant::now() > end {
            return None;
        }
        poll_pause(child.id());
    }
}

/// Blocks until the process ends or a moment has passed: waits on its pidfd, so nothing is slept through.
fn poll_pause(pid: u32) {
    // SAFETY: pidfd_open has no memory arguments; the descriptor is closed below.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, 0) } as i32;
    if fd >= 0 {
        let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid pollfd; `fd` is ours to close.
        unsafe {
            libc::poll(&mut poll, 1, 100);
            libc::close(fd);
        }
    }
}

/// Polls `ready` until it gives a value.
///
/// # Panics
/// After `limit`, naming `what` was waited for.
#[track_caller]
pub fn eventually<T>(what: &str, limit: Duration, mut ready: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < end, "waited {limit:?} for {what}");
        // The condition lives in other processes and has no descriptor to wait on.
        // SAFETY: no descriptors; only a timeout.
        unsafe { libc::poll(std::ptr::null_mut(), 0, 20) };
    }
}

/// How to boot an [`Instance`].
#[derive(Debug, Default)]
pub struct Options {
    pub size: u32,
    /// Further arguments of `flurm start`.
    pub args: Vec<String>,
    /// TOML configuration.
    pub config: Option<String>,
    pub env: Vec<(String, String)>,
}

/// A running instance in test mode; ends (and cleans up) when dropped.
#[derive(Debug)]
pub struct Instance {
    pub uri: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    /// Private scratch space; standard error of `flurm start` is in `stderr`.
    pub dir: tempfile::TempDir,
    ended: bool,
}

impl Instance {
    /// Brokers on this host, four fake nodes' worth of cores each unless configured otherwise.
    #[track_caller]
    pub fn start(size: u32) -> Instance {
        Instance::with(Options { size, ..Options::default() })
    }

    /// # Panics
    /// When it does not come up in time; shows what `flurm start` said.
    #[track_caller]
    pub fn with(options: Options) -> Instance {
        let dir = tempfile::Builder::new().prefix("flurm-test-").tempdir().expect("a temporary directory");
        let mut command = flurm(&["start", &format!("--test-size={}", options.size)]);
        let config = options.config.unwrap_or_else(|| fake_nodes(options.size, 4));
        let file = dir.path().join("flurm.toml");
        std::fs::write(&file, config).expect("config is written");
        command.arg("--config-path").arg(&file);
        command.args(&options.args).envs(options.env);
        // What `cargo xtask options` leaves out, it leaves out where the test looks, not here.
        command.env_remove("XTASK_OPTIONS_ROW");
        command.args(["--", "sh", "-c", r#"echo "$FLURM_URI"; exec cat >/dev/null"#]);
        let stderr = std::fs::File::create(dir.path().join("stderr")).expect("stderr file");
        let mut child = command
            .current_dir(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("flurm starts");
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut instance = Instance { uri: String::new(), child, stdin, stdout, dir, ended: false };
        let mut line = String::new();
        instance.stdout.read_line(&mut line).expect("stdout is read");
        assert!(line.starts_with("local://"), "no URI but {line:?}; stderr: {}", instance.stderr());
        instance.uri = line.trim().to_owned();
        instance
    }

    /// What `flurm start` and its brokers wrote to standard error.
    pub fn stderr(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("stderr")).unwrap_or_default()
    }

    /// The process that was started (`flurm start`).
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `flurm ARGS…` inside the instance.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = flurm(args);
        command.env("FLURM_URI", &self.uri).current_dir(self.dir.path());
        command
    }

    /// Runs `flurm ARGS…` to its end.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Ran {
        run(self.command(args), b"")
    }

    /// Runs `flurm ARGS…` with input.
    #[track_caller]
    pub fn run_with_input(&self, args: &[&str], input: &[u8]) -> Ran {
        run(self.command(args), input)
    }

    /// Standard output of a `flurm ARGS…` that must succeed, without the final newline.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        self.run(args).ok().trim_end().to_owned()
    }

    /// As [`Instance::ok`], read as JSON.
    #[track_caller]
    pub fn json(&self, args: &[&str]) -> serde_json::Value {
        let text = self.ok(args);
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{args:?}: {e}: {text}"))
    }

    /// The URI of another broker of this instance.
    pub fn uri_of(&self, rank: u32) -> String {
        let dir = self.rundir(rank);
        format!("local://{}/local", dir.display())
    }

    /// The private directory of a broker.
    pub fn rundir(&self, rank: u32) -> PathBuf {
        let path = Path::new(self.uri.strip_prefix("local://").expect("a local URI"));
        path.parent().and_then(Path::parent).expect("DIR/RANK/local").join(rank.to_string())
    }

    /// Process id of a broker.
    #[track_caller]
    pub fn broker_pid(&self, rank: u32) -> i32 {
        let mut command = self.command(&["getattr", "broker.pid"]);
        command.env("FLURM_URI", self.uri_of(rank));
        run(command, b"").ok().trim().parse().expect("a pid")
    }

    /// Ends the initial program and waits for all to be gone.
    #[track_caller]
    pub fn end(mut self) -> ExitStatus {
        self.finish()
    }

    /// Waits for `flurm start` to end by itself.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let status = wait_child(&mut self.child, DEADLINE)
            .unwrap_or_else(|| panic!("the instance does not end; stderr: {}", self.stderr()));
        self.ended = true;
        status
    }

    #[track_caller]
    fn finish(&mut self) -> ExitStatus {
        drop(self.stdin.take());
        self.wait()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        drop(self.stdin.take());
        if wait_child(&mut self.child, Duration::from_secs(15)).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- stderr of the instance ---\n{}", self.stderr());
        }
    }
}

/// Configuration of `size` nodes of `cores` cores each on two sockets, whatever the machine has.
pub fn fake_nodes(size: u32, cores: u32) -> String {
    format!(
        "[fake-resources]\nnnodes = {size}\ncores-per-node = {cores}\nsockets-per-node = 2\nhost-prefix = \"node\"\n"
    )
}

/// Sends a signal.
///
/// # Panics
/// When there is no such process.
#[track_caller]
pub fn kill(pid: i32, signal: i32) {
    // SAFETY: kill has no memory arguments.
    let rc = unsafe { libc::kill(pid, signal) };
    assert_eq!(rc, 0, "kill {pid}: {}", std::io::Error::last_os_error());
}

/// Whether a process is there and not a zombie.
pub fn alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(") ").next().unwrap_or("").starts_with('Z'))
}

/// Pids of processes whose command line or environment holds `marker`.
pub fn processes_with(marker: &str) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else { continue };
        if pid == std::process::id() as i32 || !alive(pid) {
            continue;
        }
        let holds = |file: &str| {
            std::fs::read(entry.path().join(file))
                .is_ok_and(|bytes| bytes.windows(marker.len()).any(|w| w == marker.as_bytes()))
        };
        if holds("cmdline") || holds("environ") {
            found.push(pid);
        }
    }
    found
}
