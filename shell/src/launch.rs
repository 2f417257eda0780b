//! Launcher threads: they open files and pipes for the tasks of a job and start them.
//!
//! Two to four threads, because the kernel needs a thread's time for every start. They live as long as the shell does,
//! and they serve every job, so nothing that a user names may hold them up: a FIFO opens when its other end does, a file
//! on a server that is gone perhaps never. Files of a job are opened on a thread of its own.
//!
//! ```text
//! order --no files--------------------> claimed by a launcher --> started
//!   `---files: prepared, opened aside--'--several nodes open one: met--'
//!   `--claimed by the shell, which ends the job: nothing will be started
//! ```

use crate::cpu::{self, Cores};
use crate::elf::Linked;
use crate::env::{Base, Block};
use crate::files::{Files, null, pipe};
use crate::filter;
use crate::gpu::Vendors;
use crate::io::Lines;
use crate::limits::{self, Limits};
use crate::offer::{self, Program, Want};
use crate::options::pmi::Ask;
use crate::options::{Sink, Source};
use crate::plan::Plan;
use crate::pmix::LIBRARY_VARIABLE;
use crate::refusal::{self, errno_text};
use crate::scratch;
use crate::spawn::{self, Limit, OomAdjust, Process, Stack, Step};
use flurm_jobspec::Content;
use flurm_wire::rexec::Stream;
use std::ffi::{CString, OsStr, c_char};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;

/// One thing to start.
#[derive(Debug)]
pub struct Order {
    pub ticket: u64,
    pub tag: Option<u64>,
    pub work: Work,
}

#[derive(Debug)]
pub enum Work {
    /// All tasks of a job on this rank.
    Tasks {
        plan: Arc<Plan>,
        base: Arc<Base>,
        claim: Claim,
        /// What a PMIx server wants tasks to find in their environment; none before it was seen whether one is needed.
        pmix: Option<Arc<Block>>,
    },
    /// A program of the user's before or after all tasks of a job, on pipes. `prepares`: it is the first one there.
    Hook { plan: Arc<Plan>, base: Arc<Base>, program: String, variables: Block, prepares: bool },
    /// One program outside any job, on pipes.
    Program { command: Vec<String>, cwd: String, base: Arc<Base> },
    /// The initial program, on our own descriptors.
    Initial { command: Vec<String>, cwd: String, base: Base },
}

/// Who decides about tasks that have not started: the launcher that is about to start them, or the shell when it does
/// not want them any more. Whoever takes it first.
#[derive(Clone, Debug, Default)]
pub struct Claim(Arc<AtomicBool>);

impl Claim {
    /// True for the first.
    pub fn take(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn is_taken(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What came of an order. Children that did start are listed even if a later one did not.
#[derive(Debug)]
pub struct Launched {
    pub ticket: u64,
    pub children: Vec<Child>,
    /// Children that the main thread has reaped before it heard of them. Their numbers may be somebody else's by now.
    pub ended: Vec<i32>,
    pub failure: Option<Failure>,
    /// Nothing was started yet: a PMIx server first.
    pub first: Option<PmixFirst>,
    /// Nothing was started yet: files of other nodes first.
    pub opened: Option<Opened>,
}

/// Tasks whose files are open, and were emptied with that: nobody may write before all nodes have come as far.
#[derive(Debug)]
pub struct Opened {
    order: Order,
    files: Files,
}

/// Tasks that wait for a PMIx server.
#[derive(Debug)]
pub struct PmixFirst {
    pub tag: Option<u64>,
    pub base: Arc<Base>,
    pub claim: Claim,
    pub libraries: Vec<String>,
    /// They cannot do without.
    pub must: bool,
}

impl Launched {
    pub(crate) fn new(ticket: u64) -> Launched {
        Launched { ticket, children: Vec::new(), ended: Vec::new(), failure: None, first: None, opened: None }
    }
}

#[derive(Debug)]
pub struct Child {
    pub pid: i32,
    pub stdin: Option<OwnedFd>,
    pub outputs: Vec<Outlet>,
    pub pmi: Option<UnixStream>,
    /// Of a task that has a terminal: our end of it, for its size.
    pub terminal: Option<OwnedFd>,
}

/// Our end of a stream of a task.
#[derive(Debug)]
pub struct Outlet {
    pub stream: Stream,
    pub pipe: OwnedFd,
    /// Whole lines go here, with this label; none: to the job's log.
    pub file: Option<(Arc<Lines>, String)>,
}

/// Why a task did not start.
#[derive(Debug)]
pub struct Failure {
    pub note: String,
    /// Wait status: 127 and 126 as shells have them.
    pub status: i32,
    pub errno: i32,
}

impl Failure {
    pub(crate) fn of(what: &str, source: &io::Error) -> Failure {
        let errno = source.raw_os_error().unwrap_or(libc::EIO);
        Failure { note: format!("{what}: {}", errno_text(errno)), status: 1 << 8, errno }
    }

    pub(crate) fn of_archive(path: &Path, source: &io::Error) -> Failure {
        let note = format!("output archive {}: {source}", path.display());
        Failure { note, status: 1 << 8, errno: source.raw_os_error().unwrap_or(libc::EIO) }
    }

    fn exec(name: &str, program: &Path, errno: i32) -> Failure {
        let code = if errno == libc::ENOENT { 127 } else { 126 };
        Failure { note: format!("{name}: {}", refusal::of_exec(program, errno)), status: code << 8, errno }
    }

    /// Of the job, not of the system.
    fn invalid(note: String) -> Failure {
        Failure { note, status: 1 << 8, errno: libc::EINVAL }
    }
}

/// The threads, and the way to give them work.
#[derive(Debug)]
pub struct Launchers {
    errands: mpsc::Sender<Errand>,
}

/// What waits for a launcher.
#[derive(Debug)]
enum Errand {
    Order(Order),
    /// One whose files are there, or cannot be had.
    Opened(Order, Result<Files, Failure>),
    /// One whose files are open on all nodes.
    Met(Opened),
}

const THREADS_MAX: usize = 4;

/// Opening files needs little.
const ASIDE_STACK_BYTES: usize = 128 << 10;

impl Launchers {
    /// `done` is called on a launcher thread.
    ///
    /// # Errors
    /// No thread can be made.
    pub fn start(done: impl Fn(Launched) + Clone + Send + 'static) -> io::Result<Launchers> {
        let (errands, queue) = mpsc::channel::<Errand>();
        let queue = Arc::new(std::sync::Mutex::new(queue));
        let threads = thread::available_parallelism().map_or(2, usize::from).clamp(2, THREADS_MAX);
        for _ in 0..threads {
            let (queue, errands, done) = (Arc::clone(&queue), errands.clone(), done.clone());
            // The kernel kills what this thread has started when the thread ends; it ends with the process.
            thread::Builder::new().name("launch".to_owned()).stack_size(256 << 10).spawn(move || {
                spawn::block_all_signals();
                let mut stack = Stack::default();
                loop {
                    let errand = queue.lock().expect("nothing panics while it waits for an order").recv();
                    let launched = match errand.expect("this thread holds a sender") {
                        Errand::Order(order) => match pmix_first(&order) {
                            None if order.has_files() => open_aside(order, errands.clone()),
                            None => carry_out(&order, None, &mut stack),
                            first => Some(Launched { first, ..Launched::new(order.ticket) }),
                        },
                        Errand::Opened(order, Ok(files)) if order.meets() => {
                            let launched = Launched::new(order.ticket);
                            Some(Launched { opened: Some(Opened { order, files }), ..launched })
                        }
                        Errand::Opened(order, files) => carry_out(&order, Some(files), &mut stack),
                        Errand::Met(Opened { order, files }) => {
                            carry_out(&order, Some(Ok(files)), &mut stack)
                        }
                    };
                    launched.into_iter().for_each(&done);
                }
            })?;
        }
        Ok(Launchers { errands })
    }

    pub fn order(&self, order: Order) {
        self.send(Errand::Order(order));
    }

    /// Goes on with tasks whose files are open on all nodes.
    pub fn go_on(&self, ticket: u64, mut opened: Opened) {
        opened.order.ticket = ticket;
        self.send(Errand::Met(opened));
    }

    fn send(&self, errand: Errand) {
        let sent = self.errands.send(errand);
        sent.expect("launcher threads wait for orders as long as we live");
    }
}

impl Order {
    /// Does it name files that may take their time to open?
    fn has_files(&self) -> bool {
        let Work::Tasks { plan, .. } = &self.work else { return false };
        let options = &plan.options;
        let sinks = [&options.stdout, &options.stderr];
        matches!(options.stdin, Source::File(_)) || sinks.iter().any(|sink| **sink != Sink::Log)
    }

    /// Does it wait for other nodes once its files are open? Whom nobody wants any more does not.
    fn meets(&self) -> bool {
        matches!(&self.work, Work::Tasks { plan, claim, .. } if plan.shares_files() && !claim.is_taken())
    }
}

/// Looks, once, whether the program of a job needs a PMIx server before it can start.
fn pmix_first(order: &Order) -> Option<PmixFirst> {
    let Work::Tasks { plan, base, claim, pmix: None } = &order.work else { return None };
    let ask = plan.options.pmi.pmix;
    // Most jobs have one task; of several it is good to know whether they speak MPI, even if they get no PMIx.
    if plan.ntasks < 2 && ask == Ask::No {
        return None;
    }
    let command = plan.command_of(0);
    let name = command.first()?;
    // What cannot be found will be said when it cannot be started.
    let path = base.program(name, || find_program(name, base.path.as_deref(), &plan.cwd)).ok()?;
    let path = Path::new(&plan.cwd).join(OsStr::from_bytes(path.as_bytes()));
    // Whoever cannot read it may still be able to run it.
    let linked = Linked::read(&path).ok().flatten();
    let program = plan.program.get_or_init(|| Program::of(&path, linked.as_ref()));
    let want = offer::pmix(ask, program);
    let named = base.get(LIBRARY_VARIABLE);
    (want != Want::No).then(|| PmixFirst {
        tag: order.tag,
        base: Arc::clone(base),
        claim: claim.clone(),
        libraries: offer::libraries(named, &path, linked.as_ref(), base.get("LD_LIBRARY_PATH")),
        must: want == Want::Must,
    })
}

/// Opens the files of a job on a thread that nobody waits for. Something comes of it at once only if there is no thread.
fn open_aside(order: Order, errands: mpsc::Sender<Errand>) -> Option<Launched> {
    let Work::Tasks { plan, claim, .. } = &order.work else { return None };
    let (ticket, plan, claim) = (order.ticket, Arc::clone(plan), claim.clone());
    let aside = thread::Builder::new().name("open".to_owned()).stack_size(ASIDE_STACK_BYTES);
    let opening = aside.spawn(move || {
        let files = prepare_once(&plan).and_then(|()| Files::open(&plan));
        errands.send(Errand::Opened(order, files)).expect("launchers live as long as the process");
    });
    let failure = Failure::of("thread to open files", &opening.err()?);
    claim.take().then(|| Launched { failure: Some(failure), ..Launched::new(ticket) })
}

/// Tells MPICH which PMI to speak.
const MPICH_CHOICE: &str = "MPIR_CVAR_PMI_VERSION";

/// Where Open MPI 4 and 5 share memory between the tasks of a node. They name it after the host and a task's number on its
/// node, so that nodes on one host must not have one directory.
const MEMORY_OF_A_NODE: [&str; 2] =
    ["OMPI_MCA_btl_vader_backing_directory", "OMPI_MCA_btl_sm_backing_directory"];

/// As the kernel has it, whatever the node is called.
fn host() -> &'static str {
    static HOST: OnceLock<String> = OnceLock::new();
    HOST.get_or_init(|| rustix::system::uname().nodename().to_string_lossy().into_owned())
}

/// What differs between programs of one order.
struct One {
    command: Vec<String>,
    stdio: [i32; 3],
    keep: Option<i32>,
    /// Its standard output is a terminal, which becomes its own.
    terminal: bool,
}

/// None: the shell has claimed the order, and does not want it.
fn carry_out(order: &Order, files: Option<Result<Files, Failure>>, stack: &mut Stack) -> Option<Launched> {
    let mut launched = Launched::new(order.ticket);
    let result = match &order.work {
        Work::Tasks { plan, claim, .. } if !claim.take() => {
            // Perhaps it was made after the shell had looked for it.
            let _ = std::fs::remove_dir_all(&plan.tmpdir);
            return None;
        }
        Work::Tasks { plan, base, pmix, .. } => {
            let files = files.unwrap_or_else(|| prepare_once(plan).map(|()| Files::default()));
            let pmix = pmix.as_deref();
            files.and_then(|files| tasks(plan, files, base, pmix, order.tag, stack, &mut launched.children))
        }
        Work::Hook { plan, base, program, variables, prepares } => {
            let ready = if *prepares { prepare(plan) } else { Ok(()) };
            let child = ready.and_then(|()| hook(plan, base, program, variables, order.tag, stack));
            child.map(|child| launched.children.push(child))
        }
        Work::Program { command, cwd, base } => {
            program(command, cwd, base, order.tag, stack).map(|child| launched.children.push(child))
        }
        Work::Initial { command, cwd, base } => {
            let one = One { command: command.clone(), stdio: [0, 1, 2], keep: None, terminal: false };
            let start = Start { foreground: is_foreground(), ..Start::new(base, cwd, order.tag) };
            start.run(&one, &[], None, stack).map(|pid| {
                launched.children.push(Child {
                    pid,
                    stdin: None,
                    outputs: Vec::new(),
                    pmi: None,
                    terminal: None,
                })
            })
        }
    };
    launched.failure = result.err();
    Some(launched)
}

/// Is our process group the one that the terminal at descriptor 0 listens to?
fn is_foreground() -> bool {
    rustix::termios::tcgetpgrp(std::io::stdin()).is_ok_and(|group| group == rustix::process::getpgrp())
}

/// What all programs of one order share.
struct Start<'a> {
    base: &'a Base,
    cwd: &'a str,
    tag: Option<u64>,
    limits: Vec<(Limit, libc::rlimit)>,
    foreground: bool,
    oom_adjust: Option<OomAdjust>,
    umask: Option<u32>,
}

impl<'a> Start<'a> {
    fn new(base: &'a Base, cwd: &'a str, tag: Option<u64>) -> Start<'a> {
        Start { base, cwd, tag, limits: Vec::new(), foreground: false, oom_adjust: None, umask: None }
    }

    fn run(
        &self,
        one: &One,
        blocks: &[&Block],
        mask: Option<&crate::cpu::Mask>,
        stack: &mut Stack,
    ) -> Result<i32, Failure> {
        let name = one.command.first().map_or("", String::as_str);
        let program = self.base.program(name, || find_program(name, self.base.path.as_deref(), self.cwd));
        // Seen from the job's directory, for messages.
        let path = |program: &CString| Path::new(self.cwd).join(OsStr::from_bytes(program.as_bytes()));
        let program = program.map_err(|errno| Failure::exec(name, &Path::new(self.cwd).join(name), errno))?;
        let nul = |_| Failure::invalid(format!("{name}: a word of the command has a NUL in it"));
        let words: Result<Vec<CString>, _> =
            one.command.iter().map(|word| CString::new(word.as_str()).map_err(nul)).collect();
        let mut words = words?;
        let directory = CString::new(self.cwd).map_err(nul)?;
        let environment: Vec<*const c_char> = std::iter::once(&self.base.block)
            .chain(blocks.iter().copied())
            .flat_map(Block::pointers)
            .chain([std::ptr::null()])
            .collect();
        let mut limits = self.limits.clone();
        // The last, so that places in the list are those of the job's.
        limits.extend(self.tag.and_then(tag_limit));
        let mut try_run = |program: &CString, words: &[CString]| {
            let arguments: Vec<*const c_char> =
                words.iter().map(|word| word.as_ptr()).chain([std::ptr::null()]).collect();
            let process = Process {
                program,
                arguments: &arguments,
                environment: &environment,
                directory: &directory,
                stdio: one.stdio,
                keep: one.keep,
                limits: &limits,
                mask,
                foreground: self.foreground,
                terminal: one.terminal,
                oom_adjust: self.oom_adjust.as_ref(),
                umask: self.umask,
            };
            spawn::spawn(&process, stack)
        };
        let error = match try_run(&program, &words) {
            Ok(pid) => return Ok(pid),
            Err(error) => error,
        };
        let errno = error.source.raw_os_error().unwrap_or(libc::EIO);
        match error.step {
            // A script without `#!` is the shell's, as `execvp` has it.
            Step::Exec if errno == libc::ENOEXEC && !refusal::is_binary(&path(&program)) => {
                let sh = c"/bin/sh".to_owned();
                words.splice(0..1, [sh.clone(), program.clone()]);
                try_run(&sh, &words).map_err(|_| Failure::exec(name, &path(&program), errno))
            }
            Step::Exec => Err(Failure::exec(name, &path(&program), errno)),
            Step::Directory => Err(Failure::of(&format!("working directory {}", self.cwd), &error.source)),
            Step::Limits => {
                let name = limits.get(error.at).map_or("?", |(limit, _)| limits::name(*limit));
                Err(Failure::of(&format!("set resource limit {name}"), &error.source))
            }
            Step::OomAdjust => Err(Failure::of("shell option `oom.adjust`", &error.source)),
            Step::Start | Step::Descriptors => Err(Failure::of(name, &error.source)),
        }
    }
}

/// Every descendant inherits this soft limit, which no kernel since 2.4 looks at, and anybody can read it.
fn tag_limit(tag: u64) -> Option<(Limit, libc::rlimit)> {
    let hard = rustix::process::getrlimit(rustix::process::Resource::Locks).maximum;
    let rlim_max = hard.unwrap_or(libc::RLIM_INFINITY);
    (tag <= rlim_max).then_some((libc::RLIMIT_LOCKS, libc::rlimit { rlim_cur: tag, rlim_max }))
}

/// Where `execvp` would find it, seen from the job's directory. The number is an errno.
fn find_program(name: &str, path: Option<&str>, cwd: &str) -> Result<CString, i32> {
    let text = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(|_| libc::EINVAL);
    if name.is_empty() {
        return Err(libc::ENOENT);
    }
    if name.contains('/') {
        return text(Path::new(name));
    }
    let mut found = libc::ENOENT;
    for dir in path.unwrap_or("/usr/local/bin:/usr/bin:/bin").split(':') {
        // An empty element is the current directory.
        let candidate = Path::new(cwd).join(dir).join(name);
        match rustix::fs::access(&candidate, rustix::fs::Access::EXEC_OK) {
            Ok(()) if candidate.is_file() => return text(&candidate),
            Ok(()) => found = libc::EACCES,
            Err(rustix::io::Errno::ACCESS) => found = libc::EACCES,
            Err(_) => {}
        }
    }
    Err(found)
}

fn program(
    command: &[String],
    cwd: &str,
    base: &Base,
    tag: Option<u64>,
    stack: &mut Stack,
) -> Result<Child, Failure> {
    let (stdin, child_stdin) = pipe(false)?;
    let (stdout, child_stdout) = pipe(true)?;
    let (stderr, child_stderr) = pipe(true)?;
    let stdio = [child_stdin.as_raw_fd(), child_stdout.as_raw_fd(), child_stderr.as_raw_fd()];
    let one = One { command: command.to_vec(), stdio, keep: None, terminal: false };
    let pid = Start::new(base, cwd, tag).run(&one, &[], None, stack)?;
    let outputs = vec![
        Outlet { stream: Stream::Stdout, pipe: stdout, file: None },
        Outlet { stream: Stream::Stderr, pipe: stderr, file: None },
    ];
    Ok(Child { pid, stdin: Some(stdin), outputs, pmi: None, terminal: None })
}

fn hook(
    plan: &Plan,
    base: &Base,
    program: &str,
    variables: &Block,
    tag: Option<u64>,
    stack: &mut Stack,
) -> Result<Child, Failure> {
    let (stdout, child_stdout) = pipe(true)?;
    let (stderr, child_stderr) = pipe(true)?;
    let stdio = [null()?, child_stdout.as_raw_fd(), child_stderr.as_raw_fd()];
    let one = One { command: vec![program.to_owned()], stdio, keep: None, terminal: false };
    let pid = Start::new(base, &plan.cwd, tag).run(&one, &[plan.job_variables(), variables], None, stack)?;
    let outputs = vec![
        Outlet { stream: Stream::Stdout, pipe: stdout, file: None },
        Outlet { stream: Stream::Stderr, pipe: stderr, file: None },
    ];
    Ok(Child { pid, stdin: None, outputs, pmi: None, terminal: None })
}

fn cores() -> &'static Cores {
    static CORES: OnceLock<Cores> = OnceLock::new();
    CORES.get_or_init(|| Cores::read(Path::new("/sys/devices/system/cpu")).within(&cpu::allowed()))
}

/// Makes the job's directory, with what travels in the jobspec.
fn prepare(plan: &Plan) -> Result<(), Failure> {
    match std::fs::DirBuilder::new().mode(scratch::MODE).create(&plan.tmpdir) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(Failure::of(&plan.tmpdir, &e)),
        _ => {}
    }
    write_files(plan)
}

/// A prolog has found the job's directory already.
fn prepare_once(plan: &Plan) -> Result<(), Failure> {
    if plan.options.hooks.prolog.is_some() { Ok(()) } else { prepare(plan) }
}

fn tasks(
    plan: &Plan,
    mut files: Files,
    base: &Base,
    pmix: Option<&Block>,
    tag: Option<u64>,
    stack: &mut Stack,
    children: &mut Vec<Child>,
) -> Result<(), Failure> {
    let Limits { set: limits, lowered } = limits::read(&plan.options.limits)
        .map_err(|name| Failure::invalid(format!("shell option `rlimit.{name}` is not a limit")))?;
    let adjust = plan.options.oom_adjust.map_or_else(OomAdjust::raised, OomAdjust::asked);
    let umask = plan.options.umask;
    let start = Start { limits, oom_adjust: Some(adjust), umask, ..Start::new(base, &plan.cwd, tag) };
    for local in 0..plan.tasks.len() {
        let mut task = files.stdio(plan, local)?;
        let variables = plan.task_variables(local, base, Vendors::here);
        let (ours, theirs) = if plan.options.pmi.wire {
            let (ours, theirs) = UnixStream::pair().map_err(|e| Failure::of("socket for PMI", &e))?;
            ours.set_nonblocking(true).map_err(|e| Failure::of("socket for PMI", &e))?;
            (Some(ours), Some(theirs))
        } else {
            (None, None)
        };
        let keep = theirs.as_ref().map(AsRawFd::as_raw_fd);
        let mut pmi = Block::default();
        if let Some(fd) = keep {
            pmi.push("PMI_FD", &fd.to_string());
            pmi.push("PMI_RANK", &plan.tasks[local].to_string());
            pmi.push("PMI_SIZE", &plan.ntasks.to_string());
            pmi.push("PMI_SPAWNED", "0");
            // hydra tells its processes by these which of their node's they are.
            pmi.push("MPI_LOCALRANKID", &local.to_string());
            pmi.push("MPI_LOCALNRANKS", &plan.tasks.len().to_string());
        }
        if let Some(library) = crate::pmi::library() {
            let names = crate::pmi::LIBRARY_VARIABLES.iter();
            // Open MPI 4 asks it wherever it sees `FLUX_JOB_ID`, and ends without an answer: that it is alone, then.
            let names = names.filter(|name| keep.is_some() || **name == crate::pmi::OPENMPI_LIBRARY);
            names.for_each(|name| pmi.push(name, library));
        }
        if plan.shares_host(host()) {
            let free = MEMORY_OF_A_NODE.iter().filter(|name| base.get(name).is_none());
            free.for_each(|name| pmi.push(name, &plan.tmpdir));
        }
        let no_pmix = Block::default();
        let pmix = pmix.filter(|block| !block.is_empty()).unwrap_or(&no_pmix);
        if !pmix.is_empty() {
            pmi.push("PMIX_RANK", &plan.tasks[local].to_string());
            // MPICH since version 5 gives up when it finds both and nobody says which.
            if plan.options.pmi.wire && base.get(MPICH_CHOICE).is_none() {
                pmi.push(MPICH_CHOICE, "1");
            }
        }
        let terminal = task.terminal.take();
        let one =
            One { command: plan.words_of(local), stdio: task.stdio, keep, terminal: terminal.is_some() };
        let mask = plan.binding.mask(local, cores());
        if plan.options.verbose > 1 && plan.tasks[local] == 0 {
            task.tell(&filter::describe(base.removed.iter().map(String::as_str)));
        }
        if let Some(line) = plan.told_binding(local, cores()) {
            task.tell(&line);
        }
        if plan.options.verbose > 0 {
            lowered.iter().for_each(|limit| task.tell(&format!("flurm-shell: rlimit: {limit}\n")));
        }
        if let Some(missing) = plan.binding.missing_cpus(local, cores()) {
            let line =
                format!("flurm-shell: warning: cpu-affinity: {} has no CPU {missing}\n", plan.node.host);
            task.tell(&line);
        }
        if let Some(missing) = plan.binding.missing_gpus(local) {
            let line =
                format!("flurm-shell: warning: gpu-affinity: {} has no GPU {missing}\n", plan.node.host);
            task.tell(&line);
        }
        let pid = start.run(&one, &[plan.job_variables(), &variables, &pmi, pmix], mask.as_ref(), stack)?;
        children.push(Child { pid, stdin: task.stdin.take(), outputs: task.outlets, pmi: ours, terminal });
    }
    Ok(())
}

/// Files that travel in the jobspec. Their paths were checked: none leads out of the directory.
fn write_files(plan: &Plan) -> Result<(), Failure> {
    for (name, file) in &plan.files {
        let path = Path::new(&plan.tmpdir).join(name);
        write_file(&path, file).map_err(|e| Failure::of(&format!("file {name}"), &e))?;
    }
    Ok(())
}

fn write_file(path: &Path, file: &flurm_jobspec::File) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    match (&file.content, file.bytes()) {
        (Content::Link(target), _) => std::os::unix::fs::symlink(target, path),
        (_, Some(bytes)) => {
            let mode = file.mode & 0o7777;
            File::options().write(true).create_new(true).mode(mode).open(path)?.write_all(&bytes)
        }
        (_, None) => std::fs::create_dir_all(path),
    }
}
