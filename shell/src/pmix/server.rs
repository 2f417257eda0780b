//! `flurm pmix-server`: libpmix serving the tasks of one job on one rank, told by its shell what to do.
//!
//! libpmix calls back on threads of its own, which must not wait: every callback copies what it was given and hands it
//! to the one loop here. Answers go back through the library's functions, which may be called from any thread.

use super::door::Door;
use super::sys::{self, Fact, Library, ModexDone, Module, OpDone, Proc, Status};
use super::{Order, Setup, Word, facts};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flurm_types::Idset;
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::io::{BufRead as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::ptr;
use std::sync::{OnceLock, mpsc};

/// What the loop hears: lines of the shell and callbacks of the library.
enum Event {
    Order(Order),
    /// The shell does not need us any more, or is gone.
    Over,
    Connected {
        task: u32,
        done: Done,
    },
    Finalized {
        task: u32,
        done: Done,
    },
    Abort {
        task: u32,
        status: i32,
        text: String,
    },
    /// None: over all tasks of the job.
    Fence {
        tasks: Option<Idset>,
        data: Vec<u8>,
        answer: Answer,
    },
    Want {
        task: u32,
        answer: Answer,
    },
    /// What a task of ours has put.
    Has {
        id: u64,
        data: Option<Vec<u8>>,
    },
    Refused {
        what: &'static str,
    },
}

/// A callback of the library that takes a status.
struct Done(Option<OpDone>, *mut c_void);

/// A callback of the library that takes data.
struct Answer(Option<ModexDone>, *mut c_void);

// SAFETY: the pointers are the library's own, which it only wants back; its callbacks may be called from any thread.
unsafe impl Send for Done {}
// SAFETY: as above.
unsafe impl Send for Answer {}

/// The library's callbacks know no context of ours.
static EVENTS: OnceLock<mpsc::Sender<Event>> = OnceLock::new();

/// Only a fence that all tasks of the job take part in is known to be that.
static JOB_SIZE: OnceLock<usize> = OnceLock::new();

fn hand_on(event: Event) {
    if let Some(events) = EVENTS.get() {
        // The loop ends with the process.
        let _ = events.send(event);
    }
}

impl Done {
    fn tell(self, status: Status) {
        if let Some(done) = self.0 {
            // SAFETY: the library's own function with its own data, called once.
            unsafe { done(status, self.1) };
        }
    }
}

impl Answer {
    fn give(self, data: Option<Vec<u8>>, problem: Status) {
        let Some(done) = self.0 else { return };
        let Some(data) = data else {
            // SAFETY: as for `Done`; no data comes with a failure.
            unsafe { done(problem, ptr::null(), 0, self.1, None, ptr::null_mut()) };
            return;
        };
        let data = Box::new(data);
        let (bytes, len) = (data.as_ptr().cast::<c_char>(), data.len());
        let data = Box::into_raw(data).cast::<c_void>();
        // SAFETY: the library gives the box back when it has read what is in it.
        unsafe { done(sys::SUCCESS, bytes, len, self.1, Some(release), data) };
    }
}

unsafe extern "C" fn release(data: *mut c_void) {
    // SAFETY: made by `Answer::give` and given back once.
    drop(unsafe { Box::from_raw(data.cast::<Vec<u8>>()) });
}

/// # Safety
/// `process` points to a process.
unsafe fn task_of(process: *const Proc) -> u32 {
    // SAFETY: as the caller says.
    unsafe { (*process).rank }
}

unsafe extern "C" fn connected(
    process: *const Proc,
    _: *mut c_void,
    done: Option<OpDone>,
    data: *mut c_void,
) -> Status {
    // SAFETY: the library names the client.
    hand_on(Event::Connected { task: unsafe { task_of(process) }, done: Done(done, data) });
    sys::SUCCESS
}

unsafe extern "C" fn finalized(
    process: *const Proc,
    _: *mut c_void,
    done: Option<OpDone>,
    data: *mut c_void,
) -> Status {
    // SAFETY: the library names the client.
    hand_on(Event::Finalized { task: unsafe { task_of(process) }, done: Done(done, data) });
    sys::SUCCESS
}

unsafe extern "C" fn abort(
    process: *const Proc,
    _: *mut c_void,
    status: c_int,
    text: *const c_char,
    _: *mut Proc,
    _: usize,
    _: Option<OpDone>,
    _: *mut c_void,
) -> Status {
    // SAFETY: the library names the client; its text is terminated, or not there.
    let (task, text) = unsafe {
        let text =
            if text.is_null() { String::new() } else { CStr::from_ptr(text).to_string_lossy().into_owned() };
        (task_of(process), text)
    };
    hand_on(Event::Abort { task, status, text });
    sys::SUCCESS
}

unsafe extern "C" fn fence(
    processes: *const Proc,
    n: usize,
    _: *const sys::Info,
    _: usize,
    bytes: *mut c_char,
    len: usize,
    done: Option<ModexDone>,
    data: *mut c_void,
) -> Status {
    // SAFETY: `n` processes and `len` bytes are there; the bytes came from malloc and are ours to free.
    let (tasks, part) = unsafe {
        let tasks = if processes.is_null() { &[][..] } else { std::slice::from_raw_parts(processes, n) };
        let part = if bytes.is_null() {
            Vec::new()
        } else {
            let part = std::slice::from_raw_parts(bytes.cast::<u8>(), len).to_vec();
            libc::free(bytes.cast());
            part
        };
        (tasks, part)
    };
    let all = tasks.is_empty() || tasks.iter().any(|process| process.rank == sys::RANK_WILDCARD);
    let named: Idset = tasks.iter().map(|process| process.rank).collect();
    let all = all || JOB_SIZE.get().is_some_and(|size| named.len() == *size);
    let tasks = (!all).then_some(named);
    hand_on(Event::Fence { tasks, data: part, answer: Answer(done, data) });
    sys::SUCCESS
}

unsafe extern "C" fn modex(
    process: *const Proc,
    _: *const sys::Info,
    _: usize,
    done: Option<ModexDone>,
    data: *mut c_void,
) -> Status {
    // SAFETY: the library names the process that is asked for.
    hand_on(Event::Want { task: unsafe { task_of(process) }, answer: Answer(done, data) });
    sys::SUCCESS
}

unsafe extern "C" fn has(status: Status, bytes: *mut c_char, len: usize, data: *mut c_void) {
    // SAFETY: `len` bytes of the library's, which it frees itself; the box was made for this call.
    let (id, bytes) = unsafe {
        let bytes = (!bytes.is_null()).then(|| std::slice::from_raw_parts(bytes.cast::<u8>(), len).to_vec());
        (*Box::from_raw(data.cast::<u64>()), bytes)
    };
    hand_on(Event::Has { id, data: if status == sys::SUCCESS { bytes.or(Some(Vec::new())) } else { None } });
}

macro_rules! refusing {
    ($($name:ident: $what:literal),*) => {
        $(unsafe extern "C" fn $name() -> Status {
            hand_on(Event::Refused { what: $what });
            sys::ERR_NOT_SUPPORTED
        })*
    };
}

refusing! {
    publish: "publishing a name (MPI_Publish_name)",
    unpublish: "withdrawing a name (MPI_Unpublish_name)",
    lookup: "looking up a name (MPI_Lookup_name)",
    spawn: "spawning tasks (MPI_Comm_spawn)",
    connect: "connecting to other tasks (MPI_Comm_connect)",
    disconnect: "disconnecting from other tasks (MPI_Comm_disconnect)"
}

/// The library itself takes note of what is to be cleared up after a task, but only if there is somebody for all other
/// requests.
unsafe extern "C" fn job_control() -> Status {
    sys::ERR_NOT_SUPPORTED
}

/// Serves until the shell closes our input. The exit code is 1 when there was nothing to serve with.
pub fn serve() -> i32 {
    // Listed as what it is; nothing depends on the name.
    let _ = rustix::thread::set_name(c"flurm-pmix");
    // The shell ends us by closing our input, and leaves us the time to clear up after the tasks.
    // SAFETY: nothing runs in place of the signal.
    unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
    let mut lines = std::io::BufReader::new(std::io::stdin()).lines();
    let mut setup = match lines.next() {
        Some(Ok(line)) => match serde_json::from_str(&line) {
            Ok(Order::Setup(setup)) => setup,
            Ok(_) | Err(_) => return failed("the first line says nothing about a job".into()),
        },
        Some(Err(_)) | None => return 0,
    };
    facts::tell_apart(&mut setup.nodes);
    let (events, queue) = mpsc::channel();
    let first = EVENTS.set(events.clone()).is_ok();
    debug_assert!(first, "one server in a process");
    let size = setup.nodes.iter().map(|node| node.tasks.len()).sum();
    JOB_SIZE.get_or_init(|| size);
    let (library, door) = match start(&setup) {
        Ok(started) => started,
        Err(note) => return failed(note),
    };
    let reader = std::thread::Builder::new().name("orders".into()).spawn(move || {
        for line in lines.map_while(Result::ok) {
            match serde_json::from_str(&line) {
                Ok(order) => hand_on(Event::Order(order)),
                Err(error) => eprintln!("flurm-pmix: an order that is none: {error}"),
            }
        }
        hand_on(Event::Over);
    });
    if let Err(error) = reader {
        return failed(format!("no thread: {error}"));
    }
    Server { library, door, nspace: setup.nspace, next: 0, waiting: BTreeMap::new() }.run(&queue)
}

fn failed(note: String) -> i32 {
    say(&Word::Failed { note });
    1
}

/// True if the shell is there to hear it.
fn say(word: &Word) -> bool {
    let mut line = serde_json::to_string(word).expect("our own words are JSON");
    line.push('\n');
    std::io::stdout().write_all(line.as_bytes()).is_ok()
}

fn start(setup: &Setup) -> Result<(Library, Option<Door>), String> {
    let problem = |dir: &str, error: std::io::Error| format!("{dir}: {error}");
    let mut directory = std::fs::DirBuilder::new();
    directory.recursive(true).mode(0o700);
    let own = format!("{}/pmix", setup.tmpdir);
    let here = setup.nodes.get(setup.node).ok_or("the job has no tasks here")?;
    let of_tasks = here.tasks.iter().map(|task| facts::directory(setup, task));
    for dir in of_tasks.chain([own.clone()]) {
        directory.create(&dir).map_err(|error| problem(&dir, error))?;
    }
    let library = Library::open(&setup.library)?;
    let module = Module {
        client_connected: Some(connected),
        client_finalized: Some(finalized),
        abort: Some(abort),
        fence_nb: Some(fence),
        direct_modex: Some(modex),
        publish: Some(publish),
        lookup: Some(lookup),
        unpublish: Some(unpublish),
        spawn: Some(spawn),
        connect: Some(connect),
        disconnect: Some(disconnect),
        job_control: Some(job_control),
        ..Module::default()
    };
    library.init(module, &facts::of_server(setup, &own))?;
    let nodes = library.regex(&facts::node_list(&setup.nodes))?;
    let processes = library.ppn(&facts::task_list(&setup.nodes))?;
    let about: Vec<Fact> = facts::of_job(setup, nodes, processes);
    library.register_nspace(&setup.nspace, here.tasks.len(), &about)?;
    for task in here.tasks.iter() {
        library.register_client(&Proc::new(&setup.nspace, task))?;
    }
    let first = Proc::new(&setup.nspace, here.tasks.first().unwrap_or(0));
    let mut environment = library.setup_fork(&first)?;
    environment.retain(|(name, _)| name != "PMIX_RANK");
    let door = Door::of(&environment);
    say(&Word::Ready { version: library.version.clone(), environment });
    Ok((library, door))
}

struct Server {
    library: Library,
    door: Option<Door>,
    nspace: String,
    next: u64,
    /// Callbacks to be answered when the shell has an answer.
    waiting: BTreeMap<u64, Answer>,
}

impl Server {
    fn run(mut self, queue: &mpsc::Receiver<Event>) -> i32 {
        loop {
            let there = match queue.recv() {
                Ok(Event::Over) | Err(_) => false,
                Ok(event) => self.take(event),
            };
            if !there {
                self.library.deregister_nspace(&self.nspace);
                // Not `PMIx_server_finalize`: there is nobody left to be told, and our files go with the job's directory.
                // SAFETY: ends the process without running what the library has registered for its end.
                unsafe { libc::_exit(0) };
            }
        }
    }

    /// False when the shell is gone.
    fn take(&mut self, event: Event) -> bool {
        match event {
            Event::Over => false,
            Event::Connected { task, done } => {
                // If it is a stranger who calls himself that, our answer does not reach him.
                let cut = self.door.map(Door::cut_strangers).unwrap_or_default();
                let told = cut.into_iter().flatten().all(|uid| say(&Word::Stranger { uid }));
                done.tell(sys::SUCCESS);
                told && say(&Word::Connected { task })
            }
            Event::Finalized { task, done } => {
                // First, so that it is heard before the end of the task.
                let there = say(&Word::Finalized { task });
                done.tell(sys::SUCCESS);
                there
            }
            // Not answered: the task waits for the end of all, which the shell sees to. Its peers would take it ill.
            Event::Abort { task, status, text } => say(&Word::Abort { task, status, text }),
            Event::Fence { tasks, data, answer } => {
                let id = self.wait_for(answer);
                let tasks = tasks.map(|tasks| tasks.to_string());
                say(&Word::Fence { id, tasks, data: BASE64.encode(data) })
            }
            Event::Want { task, answer } => {
                let id = self.wait_for(answer);
                say(&Word::Want { id, task })
            }
            Event::Has { id, data } => say(&Word::Has { id, data: data.map(|data| BASE64.encode(data)) }),
            Event::Refused { what } => say(&Word::Refused { what: what.to_owned() }),
            Event::Order(order) => {
                self.obey(order);
                true
            }
        }
    }

    fn wait_for(&mut self, answer: Answer) -> u64 {
        self.next += 1;
        self.waiting.insert(self.next, answer);
        self.next
    }

    fn obey(&mut self, order: Order) {
        let bytes = |data: Option<String>| data.and_then(|data| BASE64.decode(data).ok());
        match order {
            // Said once, before.
            Order::Setup(_) => {}
            Order::Fenced { id, data } => {
                if let Some(answer) = self.waiting.remove(&id) {
                    answer.give(bytes(data), sys::ERROR);
                }
            }
            Order::Got { id, data } => {
                if let Some(answer) = self.waiting.remove(&id) {
                    answer.give(bytes(data), sys::ERR_NOT_FOUND);
                }
            }
            Order::Get { id, task } => {
                let data = Box::into_raw(Box::new(id)).cast::<c_void>();
                let process = Proc::new(&self.nspace, task);
                if self.library.dmodex_request(&process, has, data).is_err() {
                    // SAFETY: no callback will come, so the box is ours again.
                    drop(unsafe { Box::from_raw(data.cast::<u64>()) });
                    say(&Word::Has { id, data: None });
                }
            }
        }
    }
}
