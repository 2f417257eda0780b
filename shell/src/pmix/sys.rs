//! libpmix, as far as a server needs it: opened at run time, by hand-written declarations.
//!
//! The layouts below are those of the PMIx standard's C interface. OpenPMIx has not changed them from version 3 to 6, only
//! made the table of a server's functions longer, which is why ours has room behind its end.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;

pub type Status = c_int;

pub const SUCCESS: Status = 0;
pub const ERROR: Status = -1;
pub const ERR_NOT_FOUND: Status = -46;
pub const ERR_NOT_SUPPORTED: Status = -47;
/// Done already: no callback will come.
pub const OPERATION_SUCCEEDED: Status = -157;

/// Every process of a namespace.
pub const RANK_WILDCARD: u32 = u32::MAX - 1;

/// The oldest version with these layouts, and the newest that was looked at.
pub const MAJORS: std::ops::RangeInclusive<u32> = 3..=6;

const NSPACE_BYTES: usize = 256;
const KEY_BYTES: usize = 512;

/// `pmix_data_type_t`.
mod kind {
    pub const BOOL: u16 = 1;
    pub const STRING: u16 = 3;
    pub const UINT16: u16 = 13;
    pub const UINT32: u16 = 14;
    pub const INFO: u16 = 24;
    pub const DATA_ARRAY: u16 = 39;
    pub const PROC_RANK: u16 = 40;
}

#[repr(C)]
#[derive(Copy, Clone, Debug)]
pub struct Proc {
    pub nspace: [c_char; NSPACE_BYTES],
    pub rank: u32,
}

impl Proc {
    pub fn new(nspace: &str, rank: u32) -> Proc {
        Proc { nspace: padded(nspace), rank }
    }
}

#[repr(C)]
#[derive(Copy, Clone)]
union Data {
    flag: bool,
    string: *mut c_char,
    uint16: u16,
    uint32: u32,
    array: *mut DataArray,
    /// As large as its largest member.
    room: [u64; 3],
}

#[repr(C)]
struct Value {
    kind: u16,
    data: Data,
}

#[repr(C)]
pub struct Info {
    key: [c_char; KEY_BYTES],
    flags: u32,
    value: Value,
}

#[repr(C)]
struct DataArray {
    kind: u16,
    size: usize,
    array: *mut Info,
}

const _: () = assert!(size_of::<Value>() == 32 && size_of::<Info>() == 552 && size_of::<Proc>() == 260);

fn padded<const N: usize>(text: &str) -> [c_char; N] {
    let mut out = [0; N];
    // The last byte stays 0.
    for (to, from) in out[..N - 1].iter_mut().zip(text.bytes()) {
        *to = from.cast_signed();
    }
    out
}

/// What is said about a job, a process, or the server itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    pub key: &'static str,
    pub is: Is,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Is {
    Flag(bool),
    Text(String),
    U16(u16),
    U32(u32),
    Rank(u32),
    All(Vec<Fact>),
}

/// Facts as the library reads them, and the memory behind them.
pub struct Infos {
    infos: Vec<Info>,
    texts: Vec<CString>,
    inner: Vec<(Box<DataArray>, Infos)>,
}

impl Infos {
    pub fn of(facts: &[Fact]) -> Infos {
        let mut all = Infos { infos: Vec::with_capacity(facts.len()), texts: Vec::new(), inner: Vec::new() };
        for fact in facts {
            let mut data = Data { room: [0; 3] };
            let kind = match &fact.is {
                Is::Flag(flag) => {
                    data.flag = *flag;
                    kind::BOOL
                }
                Is::Text(text) => {
                    let bytes = text.bytes().filter(|b| *b != 0).collect::<Vec<u8>>();
                    let text = CString::new(bytes).expect("every NUL was taken out");
                    data.string = text.as_ptr().cast_mut();
                    all.texts.push(text);
                    kind::STRING
                }
                Is::U16(n) => {
                    data.uint16 = *n;
                    kind::UINT16
                }
                Is::U32(n) => {
                    data.uint32 = *n;
                    kind::UINT32
                }
                Is::Rank(n) => {
                    data.uint32 = *n;
                    kind::PROC_RANK
                }
                Is::All(facts) => {
                    let mut inner = Infos::of(facts);
                    let (array, size) = inner.parts();
                    let mut array = Box::new(DataArray { kind: kind::INFO, size, array });
                    data.array = &raw mut *array;
                    all.inner.push((array, inner));
                    kind::DATA_ARRAY
                }
            };
            all.infos.push(Info { key: padded(fact.key), flags: 0, value: Value { kind, data } });
        }
        all
    }

    /// Valid as long as this lives and is not changed.
    pub fn parts(&mut self) -> (*mut Info, usize) {
        (self.infos.as_mut_ptr(), self.infos.len())
    }
}

pub type OpDone = unsafe extern "C" fn(status: Status, data: *mut c_void);
pub type Release = unsafe extern "C" fn(data: *mut c_void);
pub type ModexDone = unsafe extern "C" fn(
    status: Status,
    bytes: *const c_char,
    len: usize,
    data: *mut c_void,
    release: Option<Release>,
    release_data: *mut c_void,
);
pub type ModexAnswer =
    unsafe extern "C" fn(status: Status, bytes: *mut c_char, len: usize, data: *mut c_void);

type Client = unsafe extern "C" fn(
    process: *const Proc,
    object: *mut c_void,
    done: Option<OpDone>,
    data: *mut c_void,
) -> Status;
type Abort = unsafe extern "C" fn(
    process: *const Proc,
    object: *mut c_void,
    status: c_int,
    text: *const c_char,
    processes: *mut Proc,
    n: usize,
    done: Option<OpDone>,
    data: *mut c_void,
) -> Status;
type Fence = unsafe extern "C" fn(
    processes: *const Proc,
    n: usize,
    info: *const Info,
    ninfo: usize,
    bytes: *mut c_char,
    len: usize,
    done: Option<ModexDone>,
    data: *mut c_void,
) -> Status;
type Modex = unsafe extern "C" fn(
    process: *const Proc,
    info: *const Info,
    ninfo: usize,
    done: Option<ModexDone>,
    data: *mut c_void,
) -> Status;
/// What is not done here: we look at none of its arguments, and their number differs.
type Refused = unsafe extern "C" fn() -> Status;

/// `pmix_server_module_t`. What is not there the library answers by itself, as not supported.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Module {
    pub client_connected: Option<Client>,
    pub client_finalized: Option<Client>,
    pub abort: Option<Abort>,
    pub fence_nb: Option<Fence>,
    pub direct_modex: Option<Modex>,
    pub publish: Option<Refused>,
    pub lookup: Option<Refused>,
    pub unpublish: Option<Refused>,
    pub spawn: Option<Refused>,
    pub connect: Option<Refused>,
    pub disconnect: Option<Refused>,
    /// Events, a listener, queries, tools, logs, allocations: left to the library.
    pub unused: [usize; 8],
    pub job_control: Option<Refused>,
    /// There is more, and versions to come have more still.
    pub rest: [usize; 32],
}

type Version = unsafe extern "C" fn() -> *const c_char;
type Init = unsafe extern "C" fn(*mut Module, *mut Info, usize) -> Status;
type Abbreviate = unsafe extern "C" fn(*const c_char, *mut *mut c_char) -> Status;
type RegisterNspace =
    unsafe extern "C" fn(*const c_char, c_int, *mut Info, usize, Option<OpDone>, *mut c_void) -> Status;
type DeregisterNspace = unsafe extern "C" fn(*const c_char, Option<OpDone>, *mut c_void);
type RegisterClient = unsafe extern "C" fn(
    *const Proc,
    libc::uid_t,
    libc::gid_t,
    *mut c_void,
    Option<OpDone>,
    *mut c_void,
) -> Status;
type SetupFork = unsafe extern "C" fn(*const Proc, *mut *mut *mut c_char) -> Status;
type DmodexRequest = unsafe extern "C" fn(*const Proc, Option<ModexAnswer>, *mut c_void) -> Status;
type ErrorString = unsafe extern "C" fn(Status) -> *const c_char;

/// The functions of libpmix that a server calls.
pub struct Library {
    pub version: String,
    init: Init,
    regex: Abbreviate,
    ppn: Abbreviate,
    register_nspace: RegisterNspace,
    deregister_nspace: DeregisterNspace,
    register_client: RegisterClient,
    setup_fork: SetupFork,
    dmodex_request: DmodexRequest,
    error_string: ErrorString,
}

impl std::fmt::Debug for Library {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Library").field("version", &self.version).finish_non_exhaustive()
    }
}

/// The words of the dynamic loader for what went wrong last.
fn dl_error() -> String {
    // SAFETY: the text is valid until the next call of the loader on this thread.
    unsafe {
        let text = libc::dlerror();
        if text.is_null() { String::new() } else { CStr::from_ptr(text).to_string_lossy().into_owned() }
    }
}

impl Library {
    /// The first of these files that can be opened: a path, or a name that the loader looks for.
    ///
    /// # Errors
    /// A sentence for each that could not.
    pub fn open(files: &[String]) -> Result<Library, String> {
        let mut problems = Vec::new();
        for file in files {
            match Library::open_one(file) {
                Ok(library) => return Ok(library),
                Err(problem) => problems.push(problem),
            }
        }
        Err(problems.join("; "))
    }

    fn open_one(file: &str) -> Result<Library, String> {
        let name = CString::new(file).map_err(|_| "a file name has no NUL".to_owned())?;
        // SAFETY: a terminated name. The library's components look for its symbols among the global ones. Its
        // constructors run; it is never closed.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
        if handle.is_null() {
            return Err(dl_error());
        }
        let find = |symbol: &CStr| {
            // SAFETY: an open library and a terminated name.
            let at = unsafe { libc::dlsym(handle, symbol.as_ptr()) };
            if at.is_null() { Err(format!("{file}: {}", dl_error())) } else { Ok(at) }
        };
        // SAFETY: each symbol of the standard's interface has the type that it is given here.
        unsafe {
            let version = std::mem::transmute::<*mut c_void, Version>(find(c"PMIx_Get_version")?);
            let version = CStr::from_ptr(version()).to_string_lossy().into_owned();
            let major = major(&version).ok_or_else(|| format!("{file}: what version is `{version}`?"))?;
            if !MAJORS.contains(&major) {
                let (first, last) = (MAJORS.start(), MAJORS.end());
                return Err(format!("{file} is `{version}`; versions {first} to {last} can be used"));
            }
            Ok(Library {
                version,
                init: std::mem::transmute::<*mut c_void, Init>(find(c"PMIx_server_init")?),
                regex: std::mem::transmute::<*mut c_void, Abbreviate>(find(c"PMIx_generate_regex")?),
                ppn: std::mem::transmute::<*mut c_void, Abbreviate>(find(c"PMIx_generate_ppn")?),
                register_nspace: std::mem::transmute::<*mut c_void, RegisterNspace>(find(
                    c"PMIx_server_register_nspace",
                )?),
                deregister_nspace: std::mem::transmute::<*mut c_void, DeregisterNspace>(find(
                    c"PMIx_server_deregister_nspace",
                )?),
                register_client: std::mem::transmute::<*mut c_void, RegisterClient>(find(
                    c"PMIx_server_register_client",
                )?),
                setup_fork: std::mem::transmute::<*mut c_void, SetupFork>(find(c"PMIx_server_setup_fork")?),
                dmodex_request: std::mem::transmute::<*mut c_void, DmodexRequest>(find(
                    c"PMIx_server_dmodex_request",
                )?),
                error_string: std::mem::transmute::<*mut c_void, ErrorString>(find(c"PMIx_Error_string")?),
            })
        }
    }

    /// The library's words for a status.
    fn words(&self, status: Status) -> String {
        // SAFETY: the library returns a text of its own, valid for ever.
        unsafe { CStr::from_ptr((self.error_string)(status)).to_string_lossy().into_owned() }
    }

    fn check(&self, what: &str, status: Status) -> Result<(), String> {
        match status {
            SUCCESS | OPERATION_SUCCEEDED => Ok(()),
            status => Err(format!("{what}: {} ({})", self.words(status), self.version)),
        }
    }

    /// # Errors
    /// The library cannot be a server here.
    pub fn init(&self, module: Module, facts: &[Fact]) -> Result<(), String> {
        let mut infos = Infos::of(facts);
        let (info, n) = infos.parts();
        // It keeps no pointer to the table today; whoever does tomorrow finds it there.
        let module = Box::into_raw(Box::new(module));
        // SAFETY: `module` is never freed, `infos` lives through the call, which returns when the server is up.
        let status = unsafe { (self.init)(module, info, n) };
        self.check("PMIx_server_init", status)
    }

    /// Names of nodes, as the library abbreviates them.
    ///
    /// # Errors
    /// The library's.
    pub fn regex(&self, list: &str) -> Result<String, String> {
        self.abbreviate("PMIx_generate_regex", self.regex, list)
    }

    /// Ranks by node, as the library abbreviates them.
    ///
    /// # Errors
    /// The library's.
    pub fn ppn(&self, list: &str) -> Result<String, String> {
        self.abbreviate("PMIx_generate_ppn", self.ppn, list)
    }

    fn abbreviate(&self, what: &str, function: Abbreviate, list: &str) -> Result<String, String> {
        let list = CString::new(list).map_err(|_| format!("{what}: a name with a NUL"))?;
        let mut out = ptr::null_mut();
        // SAFETY: a terminated text in, a text from malloc out, which is copied and freed.
        unsafe {
            self.check(what, function(list.as_ptr(), &raw mut out))?;
            let text = CStr::from_ptr(out).to_string_lossy().into_owned();
            libc::free(out.cast());
            // Compressed, it is no text any more; the versions that compress take it as it is, too.
            Ok(if text.starts_with("blob:") { format!("raw:{}", list.to_string_lossy()) } else { text })
        }
    }

    /// # Errors
    /// The library's.
    pub fn register_nspace(&self, nspace: &str, local: usize, facts: &[Fact]) -> Result<(), String> {
        let mut infos = Infos::of(facts);
        let (info, n) = infos.parts();
        let nspace = Proc::new(nspace, 0).nspace;
        let local = c_int::try_from(local).unwrap_or(c_int::MAX);
        // SAFETY: everything that is pointed to lives until `wait` returns, after the library's last look at it.
        let status = wait(|done, data| unsafe {
            (self.register_nspace)(nspace.as_ptr(), local, info, n, Some(done), data)
        });
        self.check("PMIx_server_register_nspace", status)
    }

    /// The job is over. What its tasks wanted to have cleared up after them, the library clears up now: files in `/dev/shm`
    /// that nobody else would remove.
    pub fn deregister_nspace(&self, nspace: &str) {
        let nspace = Proc::new(nspace, 0).nspace;
        // SAFETY: the name lives until `wait` returns, after the library's callback.
        wait(|done, data| unsafe {
            (self.deregister_nspace)(nspace.as_ptr(), Some(done), data);
            SUCCESS
        });
    }

    /// # Errors
    /// The library's.
    pub fn register_client(&self, process: &Proc) -> Result<(), String> {
        // SAFETY: asks only.
        let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
        // SAFETY: as above.
        let status = wait(|done, data| unsafe {
            (self.register_client)(process, uid, gid, ptr::null_mut(), Some(done), data)
        });
        self.check("PMIx_server_register_client", status)
    }

    /// What a client must find in its environment.
    ///
    /// # Errors
    /// The library's.
    pub fn setup_fork(&self, process: &Proc) -> Result<Vec<(String, String)>, String> {
        let mut list: *mut *mut c_char = ptr::null_mut();
        // SAFETY: the library makes a list of texts, ended by a null pointer, all from malloc.
        unsafe {
            self.check("PMIx_server_setup_fork", (self.setup_fork)(process, &raw mut list))?;
            let mut variables = Vec::new();
            let mut at = list;
            while !at.is_null() && !(*at).is_null() {
                let text = CStr::from_ptr(*at).to_string_lossy().into_owned();
                if let Some((name, value)) = text.split_once('=') {
                    variables.push((name.to_owned(), value.to_owned()));
                }
                libc::free((*at).cast());
                at = at.add(1);
            }
            libc::free(list.cast());
            Ok(variables)
        }
    }

    /// Asks for what a local client has put, or will put; `answer` is called with `data` unless this fails.
    ///
    /// # Errors
    /// The library's status.
    pub fn dmodex_request(
        &self,
        process: &Proc,
        answer: ModexAnswer,
        data: *mut c_void,
    ) -> Result<(), Status> {
        // SAFETY: the library copies the process before it returns.
        match unsafe { (self.dmodex_request)(process, Some(answer), data) } {
            SUCCESS => Ok(()),
            status => Err(status),
        }
    }
}

/// `4` of `OpenPMIx 4.2.2 (PMIx Standard: …)`.
fn major(version: &str) -> Option<u32> {
    let digits = version.split_once("PMIx ")?.1;
    digits.split('.').next()?.parse().ok()
}

/// Starts something and waits for its callback.
fn wait(start: impl FnOnce(OpDone, *mut c_void) -> Status) -> Status {
    unsafe extern "C" fn done(status: Status, data: *mut c_void) {
        // SAFETY: made below from a box, and given back once.
        let send = unsafe { Box::from_raw(data.cast::<std::sync::mpsc::Sender<Status>>()) };
        // Whoever asked is still waiting.
        let _ = send.send(status);
    }
    let (send, receive) = std::sync::mpsc::channel::<Status>();
    let data = Box::into_raw(Box::new(send)).cast::<c_void>();
    match start(done, data) {
        SUCCESS => receive.recv().unwrap_or(ERROR),
        status => {
            // SAFETY: no callback will come, so the box is ours again.
            drop(unsafe { Box::from_raw(data.cast::<std::sync::mpsc::Sender<Status>>()) });
            status
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_libraries_write_them() {
        assert_eq!(major("OpenPMIx 4.2.2rc2 (PMIx Standard: 4.1)"), Some(4));
        assert_eq!(major("PMIx 3.2.3 (date)"), Some(3));
        assert_eq!(major("Debian"), None);
    }

    #[test]
    fn facts_lie_as_the_library_reads_them() {
        let text = Fact { key: "pmix.jobid", is: Is::Text("f1".into()) };
        let inner = Fact { key: "pmix.pdata", is: Is::All(vec![Fact { key: "pmix.rank", is: Is::Rank(7) }]) };
        let infos = Infos::of(&[text, inner]);
        // SAFETY: the types say which member is set.
        unsafe {
            assert_eq!(CStr::from_ptr(infos.infos[0].key.as_ptr()), c"pmix.jobid");
            assert_eq!(CStr::from_ptr(infos.infos[0].value.data.string), c"f1");
            let array = &*infos.infos[1].value.data.array;
            assert_eq!((infos.infos[1].value.kind, array.kind, array.size), (39, 24, 1));
            assert_eq!((*array.array).value.data.uint32, 7);
        }
    }
}
