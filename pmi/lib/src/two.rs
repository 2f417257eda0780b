//! PMI-2: `PMI2_*`.
//!
//! # Safety
//! As in [`one`](crate::one).
#![expect(clippy::missing_safety_doc, reason = "said once for all, above")]

use crate::alone::{self, Alone};
use crate::c::{self, FAIL, INVALID_ARG, INVALID_VALUE, NOT_INITIALIZED, guard};
use crate::connection::{Connection, Place, To, spawned};
use flurm_pmi::two::{Frame, Request};
use flurm_pmi::{Piece, one};
use std::ffi::{c_char, c_int, c_void};
use std::process;
use std::sync::{Mutex, PoisonError};

#[derive(Debug)]
struct Client {
    rank: i32,
    size: i32,
    appnum: i32,
    name: String,
    to: To,
}

static CLIENT: Mutex<Option<Client>> = Mutex::new(None);

impl Client {
    fn start() -> Option<Client> {
        let Some(place) = Place::find() else {
            let to = To::Nobody(Alone::new());
            return Some(Client { rank: 0, size: 1, appnum: 0, name: alone::NAME.into(), to });
        };
        let mut connection = Connection::open(place)?;
        let hello = "cmd=init pmi_version=2 pmi_subversion=0\n";
        let Piece::Line(line) = connection.ask(hello.as_bytes())? else { return None };
        let line = one::Line::parse(&line).ok()?;
        if line.get("rc") != Some("0") || line.get("pmi_version") != Some("2") {
            return None;
        }
        let to = To::Launcher(connection);
        let (rank, size) = (place.rank, place.size);
        let mut client = Client { rank, size, appnum: 0, name: String::new(), to };
        let hello = Request::FullInit.frame().with("pmirank", rank).with("threaded", "FALSE");
        let told = client.ask(&hello)?;
        let number = |key: &str| told.get(key)?.trim().parse().ok();
        (client.rank, client.size, client.appnum) = (number("rank")?, number("size")?, number("appnum")?);
        client.name = client.ask(&Request::JobGetId.frame())?.get("jobid")?.to_owned();
        Some(client)
    }

    /// What the launcher answers, unless it says no.
    fn ask(&mut self, request: &Frame) -> Option<Frame> {
        let To::Launcher(connection) = &mut self.to else { return None };
        let Piece::Frame(body) = connection.ask(&request.to_bytes()?)? else { return None };
        let answer = Frame::parse(&body).ok()?;
        let right = answer.cmd().strip_suffix("-response") == Some(request.cmd());
        (right && answer.rc() == 0).then_some(answer)
    }

    fn done(&mut self, request: &Request) -> Result<(), c_int> {
        match &self.to {
            To::Launcher(_) => self.ask(&request.frame()).map(drop).ok_or(FAIL),
            To::Nobody(_) => Ok(()),
        }
    }

    /// The value, if there is one.
    fn find(&mut self, request: &Request) -> Result<Option<String>, c_int> {
        if let To::Nobody(alone) = &self.to {
            return Ok(match request {
                Request::GetJobAttr { key } if key == "universeSize" => Some("1".into()),
                Request::Get { key } | Request::GetJobAttr { key } | Request::GetNodeAttr { key, .. } => {
                    alone.values.get(key).cloned()
                }
                _ => None,
            });
        }
        let answer = self.ask(&request.frame()).ok_or(FAIL)?;
        let found = answer.get("found").is_some_and(|found| found.eq_ignore_ascii_case("true"));
        Ok(answer.get("value").filter(|_| found).map(str::to_owned))
    }

    fn put(&mut self, request: &Request) -> Result<(), c_int> {
        if let (To::Nobody(alone), Request::Put { key, value } | Request::PutNodeAttr { key, value }) =
            (&mut self.to, request)
        {
            alone.values.insert(key.clone(), value.clone());
        }
        self.done(request)
    }
}

fn with(body: impl FnOnce(&mut Client) -> Result<(), c_int>) -> c_int {
    guard(|| {
        let mut client = CLIENT.lock().unwrap_or_else(PoisonError::into_inner);
        body(client.as_mut().ok_or(NOT_INITIALIZED)?)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn PMI2_Init(
    spawned_: *mut c_int,
    size: *mut c_int,
    rank: *mut c_int,
    appnum: *mut c_int,
) -> c_int {
    guard(|| {
        let mut client = CLIENT.lock().unwrap_or_else(PoisonError::into_inner);
        if client.is_none() {
            *client = Some(Client::start().ok_or(FAIL)?);
        }
        let client = client.as_ref().ok_or(FAIL)?;
        // SAFETY: as said above for all.
        unsafe {
            c::tell(spawned_, spawned())?;
            c::tell(size, client.size)?;
            c::tell(rank, client.rank)?;
            c::tell(appnum, client.appnum)
        }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn PMI2_Finalize() -> c_int {
    guard(|| {
        let client = CLIENT.lock().unwrap_or_else(PoisonError::into_inner).take();
        client.ok_or(NOT_INITIALIZED)?.done(&Request::Finalize)
    })
}

/// Not a code but the answer: 1 or 0.
#[unsafe(no_mangle)]
pub extern "C" fn PMI2_Initialized() -> c_int {
    let client = CLIENT.lock().unwrap_or_else(PoisonError::into_inner);
    c_int::from(client.is_some())
}

/// With `flag` the whole job is meant, which is what a launcher can end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn PMI2_Abort(flag: c_int, message: *const c_char) -> c_int {
    let _ = guard(|| {
        // SAFETY: as said above for all.
        let message = unsafe { c::text(message, INVALID_ARG) }.unwrap_or("").to_owned();
        if !message.is_empty() {
            eprintln!("PMI2_Abort: {message}");
        }
        let mut client = CLIENT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Client { to: To::Launcher(connection), .. }) = client.as_mut()
            && flag != 0
            && let Some(bytes) = (Request::Abort { exitcode: 1, message }).frame().to_bytes()
        {
            // Whether it is heard or not, this process ends.
            let _ = connection.say(&bytes);
        }
        Ok(())
    });
    process::exit(1)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn PMI2_Job_GetId(id: *mut c_char, length: c_int) -> c_int {
    // SAFETY: as said above for all.
    with(|client| unsafe { c::copy(&client.name, id, length) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn PMI2_Job_GetRank(rank: *mut c_int) -> c_int {
    // SAFETY: as said above for all.
    with(|client| unsafe { c::tell(rank, client.rank) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn PMI2_KVS_Put(key: *const c_char, value: *const c_char) -> c_int {
    with(|client| {
        // SAFETY: as said above for all.
        let (key, value) = unsafe { (c::key(key)?, c::value(value)?) };
        client.put(&Request::Put { key: key.into(), value: value.into() })
    })
}

/// The length is told as a negative number when the buffer was too short for it: then the value is cut.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn PMI2_KVS_Get(
    job: *const c_char,
    _source: c_int,
    key: *const c_char,
    value: *mut c_char,
    length_max: c_int,
    length: *mut c_int,
) -> c_int {
    with(|client| {
        // SAFETY: as said above for all.
        let key = unsafe { c::key(key)? };
        if !job.is_null() {
            // SAFETY: as said above for all.
            let job = unsafe { c::text(job, INVALID_ARG)? };
            if job != client.name {
                return Err(FAIL);
            }
        }
        let found = client.find(&Request::Get { key: key.into() })?.ok_or(FAIL)?;
        let room = usize::try_from(length_max).ok().and_then(|max| max.checked_sub(1)).ok_or(INVALID_ARG)?;
        let mut end = found.len().min(room);
        while !found.is_char_boundary(end) {
            end -= 1;
        }
        let told = if end < found.len() { -(found.len() as c_int) } else { found.len() as c_int };
        // SAFETY: as said above for all.
        unsafe {
            c::copy(&found[..end], value, length_max)?;
            c::tell(length, told)
        }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn PMI2_KVS_Fence() -> c_int {
    with(|client| client.done(&Request::Fence))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn PMI2_Info_GetNodeAttr(
    name: *const c_char,
    value: *mut c_char,
    length: c_int,
    found: *mut c_int,
    wait: c_int,
) -> c_int {
    with(|client| {
        // SAFETY: as said above for all.
        let key = unsafe { c::key(name)? };
        let attribute = client.find(&Request::GetNodeAttr { key: key.into(), wait: wait != 0 })?;
        // SAFETY: as said above for all.
        unsafe { hand(attribute, value, length, found) }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn PMI2_Info_PutNodeAttr(name: *const c_char, value: *const c_char) -> c_int {
    with(|client| {
        // SAFETY: as said above for all.
        let (key, value) = unsafe { (c::key(name)?, c::value(value)?) };
        client.put(&Request::PutNodeAttr { key: key.into(), value: value.into() })
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn PMI2_Info_GetJobAttr(
    name: *const c_char,
    value: *mut c_char,
    length: c_int,
    found: *mut c_int,
) -> c_int {
    with(|client| {
        // SAFETY: as said above for all.
        let key = unsafe { c::key(name)? };
        let attribute = client.find(&Request::GetJobAttr { key: key.into() })?;
        // SAFETY: as said above for all.
        unsafe { hand(attribute, value, length, found) }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn PMI2_Info_GetNodeAttrIntArray(
    name: *const c_char,
    array: *mut c_int,
    length: c_int,
    told: *mut c_int,
    found: *mut c_int,
) -> c_int {
    with(|client| {
        // SAFETY: as said above for all.
        let key = unsafe { c::key(name)? };
        let attribute = client.find(&Request::GetNodeAttr { key: key.into(), wait: false })?;
        // SAFETY: as said above for all.
        unsafe { hand_numbers(attribute, array, length, told, found) }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn PMI2_Info_GetJobAttrIntArray(
    name: *const c_char,
    array: *mut c_int,
    length: c_int,
    told: *mut c_int,
    found: *mut c_int,
) -> c_int {
    with(|client| {
        // SAFETY: as said above for all.
        let key = unsafe { c::key(name)? };
        let attribute = client.find(&Request::GetJobAttr { key: key.into() })?;
        // SAFETY: as said above for all.
        unsafe { hand_numbers(attribute, array, length, told, found) }
    })
}

/// # Safety
/// Null, or room for `length` bytes and for a number.
unsafe fn hand(
    attribute: Option<String>,
    value: *mut c_char,
    length: c_int,
    found: *mut c_int,
) -> Result<(), c_int> {
    // SAFETY: promised by the caller.
    unsafe {
        c::tell(found, c_int::from(attribute.is_some()))?;
        attribute.map_or(Ok(()), |text| c::copy(&text, value, length))
    }
}

/// Numbers with commas between them.
///
/// # Safety
/// Null, or room for `length` numbers and for two more.
unsafe fn hand_numbers(
    attribute: Option<String>,
    array: *mut c_int,
    length: c_int,
    told: *mut c_int,
    found: *mut c_int,
) -> Result<(), c_int> {
    let text = attribute.as_deref().unwrap_or("");
    let numbers =
        text.split(',').filter(|n| !n.is_empty()).map(|n| n.trim().parse().map_err(|_| INVALID_VALUE));
    let mut numbers: Vec<c_int> = numbers.collect::<Result<_, _>>()?;
    numbers.truncate(usize::try_from(length).map_err(|_| c::INVALID_LENGTH)?);
    if array.is_null() {
        return Err(INVALID_ARG);
    }
    // SAFETY: there is room for as many numbers as are left; the rest is promised by the caller.
    unsafe {
        std::ptr::copy_nonoverlapping(numbers.as_ptr(), array, numbers.len());
        c::tell(told, numbers.len() as c_int)?;
        c::tell(found, c_int::from(attribute.is_some()))
    }
}

/// Jobs do not grow, and do not know of each other.
#[unsafe(no_mangle)]
pub extern "C" fn PMI2_Job_Spawn(
    _count: c_int,
    _commands: *mut *const c_char,
    _argument_counts: *mut c_int,
    _arguments: *mut *mut *const c_char,
    _processes: *const c_int,
    _info_sizes: *const c_int,
    _infos: *const *const c_void,
    _preput_size: c_int,
    _preput: *const *const c_void,
    _job: *mut c_char,
    _job_length: c_int,
    _errors: *mut c_int,
) -> c_int {
    FAIL
}

#[unsafe(no_mangle)]
pub extern "C" fn PMI2_Job_Connect(_job: *const c_char, _connection: *mut c_void) -> c_int {
    FAIL
}

#[unsafe(no_mangle)]
pub extern "C" fn PMI2_Job_Disconnect(_job: *const c_char) -> c_int {
    FAIL
}

#[unsafe(no_mangle)]
pub extern "C" fn PMI2_Nameserv_publish(
    _service: *const c_char,
    _info: *const c_void,
    _port: *const c_char,
) -> c_int {
    FAIL
}

#[unsafe(no_mangle)]
pub extern "C" fn PMI2_Nameserv_lookup(
    _service: *const c_char,
    _info: *const c_void,
    _port: *mut c_char,
    _length: c_int,
) -> c_int {
    FAIL
}

#[unsafe(no_mangle)]
pub extern "C" fn PMI2_Nameserv_unpublish(_service: *const c_char, _info: *const c_void) -> c_int {
    FAIL
}
