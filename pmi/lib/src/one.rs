//! PMI-1: `PMI_*`.
//!
//! # Safety
//! What the header file says of all of them: strings are terminated, other pointers have room for what is written there, and
//! a length says how much. Null is an error.
#![expect(clippy::missing_safety_doc, reason = "said once for all, above")]

use crate::alone::{self, Alone};
use crate::c::{self, FAIL, INVALID_ARG, INVALID_KEY, INVALID_LENGTH, NOT_INITIALIZED, guard};
use crate::connection::{Connection, Place, To, spawned};
use flurm_pmi::one::{Line, Request};
use flurm_pmi::{KEY_MAX, KVSNAME_MAX, Piece, VALUE_MAX};
use std::ffi::{c_char, c_int, c_void};
use std::process;
use std::sync::{Mutex, PoisonError};

#[derive(Debug)]
struct Client {
    rank: i32,
    size: i32,
    name: String,
    universe: i32,
    appnum: i32,
    to: To,
}

static CLIENT: Mutex<Option<Client>> = Mutex::new(None);

impl Client {
    fn start() -> Option<Client> {
        let Some(place) = Place::find() else {
            let (name, to) = (alone::NAME.into(), To::Nobody(Alone::new()));
            return Some(Client { rank: 0, size: 1, name, universe: 1, appnum: 0, to });
        };
        let to = To::Launcher(Connection::open(place)?);
        let mut client =
            Client { rank: place.rank, size: place.size, name: String::new(), universe: 0, appnum: 0, to };
        client.ask(&Request::Init { version: 1, subversion: 1 }, |_| Some(()))?;
        let number = |line: &Line<'_>, key: &str| line.get(key)?.trim().parse().ok();
        client.name = client.ask(&Request::MyKvsname, |line| line.get("kvsname").map(str::to_owned))?;
        client.universe = client.ask(&Request::UniverseSize, |line| number(line, "size"))?;
        client.appnum = client.ask(&Request::Appnum, |line| number(line, "appnum"))?;
        Some(client)
    }

    /// What the launcher answers, unless it says no.
    fn ask<T>(&mut self, request: &Request, read: impl Fn(&Line<'_>) -> Option<T>) -> Option<T> {
        let To::Launcher(connection) = &mut self.to else { return None };
        let Piece::Line(line) = connection.ask(request.to_string().as_bytes())? else { return None };
        let line = Line::parse(&line).ok()?;
        let good = line.get("rc").is_none_or(|rc| rc.trim() == "0");
        if good { read(&line) } else { None }
    }

    fn done(&mut self, request: &Request) -> Result<(), c_int> {
        match &self.to {
            To::Launcher(_) => self.ask(request, |_| Some(())).ok_or(FAIL),
            To::Nobody(_) => Ok(()),
        }
    }

    fn get(&mut self, key: &str) -> Option<String> {
        match &self.to {
            To::Nobody(alone) => alone.values.get(key).cloned(),
            To::Launcher(_) => {
                let request = Request::Get { kvsname: self.name.clone(), key: key.to_owned() };
                self.ask(&request, |line| line.get("value").map(str::to_owned))
            }
        }
    }

    /// Ranks of this node, from the map that the launcher has left.
    fn clique(&mut self) -> Vec<i32> {
        let map = self.get("PMI_process_mapping").unwrap_or_default();
        ranks_beside(&map, self.rank, self.size).unwrap_or_else(|| vec![self.rank])
    }
}

/// Who is on the node of `rank`, after `(vector,(NODE,NODES,EACH),…)`; none when that cannot be read.
fn ranks_beside(map: &str, rank: i32, size: i32) -> Option<Vec<i32>> {
    let inner = map.trim().strip_prefix("(vector,")?.strip_suffix(')')?;
    let blocks: Option<Vec<Vec<i32>>> = inner
        .split("),")
        .map(|block| {
            let numbers = block.trim_matches(['(', ')', ',']).split(',');
            numbers.map(|n| n.trim().parse().ok().filter(|n| *n >= 0)).collect()
        })
        .collect();
    let mut nodes: Vec<i32> = Vec::new();
    let size = usize::try_from(size).ok()?;
    while nodes.len() < size {
        let before = nodes.len();
        for block in blocks.as_ref()? {
            let &[first, count, each] = block.as_slice() else { return None };
            for node in first..first.checked_add(count)? {
                let room = size - nodes.len();
                nodes.extend(std::iter::repeat_n(node, room.min(usize::try_from(each).ok()?)));
                if nodes.len() == size {
                    break;
                }
            }
        }
        // Blocks are used again from the first one if they do not cover all; empty ones never would.
        if nodes.len() == before {
            return None;
        }
    }
    let mine = *nodes.get(usize::try_from(rank).ok()?)?;
    Some((0..).zip(&nodes).filter(|(_, node)| **node == mine).map(|(rank, _)| rank).collect())
}

/// Runs a body that needs the client.
fn with(body: impl FnOnce(&mut Client) -> Result<(), c_int>) -> c_int {
    guard(|| {
        let mut client = CLIENT.lock().unwrap_or_else(PoisonError::into_inner);
        body(client.as_mut().ok_or(NOT_INITIALIZED)?)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn PMI_Init(spawned_: *mut c_int) -> c_int {
    guard(|| {
        let mut client = CLIENT.lock().unwrap_or_else(PoisonError::into_inner);
        if client.is_none() {
            *client = Some(Client::start().ok_or(FAIL)?);
        }
        // SAFETY: as said above for all.
        unsafe { c::tell(spawned_, spawned()) }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn PMI_Initialized(initialized: *mut c_int) -> c_int {
    guard(|| {
        let client = CLIENT.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: as said above for all.
        unsafe { c::tell(initialized, c_int::from(client.is_some())) }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn PMI_Finalize() -> c_int {
    guard(|| {
        let client = CLIENT.lock().unwrap_or_else(PoisonError::into_inner).take();
        client.ok_or(NOT_INITIALIZED)?.done(&Request::Finalize)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn PMI_Get_size(size: *mut c_int) -> c_int {
    // SAFETY: as said above for all.
    with(|client| unsafe { c::tell(size, client.size) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn PMI_Get_rank(rank: *mut c_int) -> c_int {
    // SAFETY: as said above for all.
    with(|client| unsafe { c::tell(rank, client.rank) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn PMI_Get_universe_size(size: *mut c_int) -> c_int {
    // SAFETY: as said above for all.
    with(|client| unsafe { c::tell(size, client.universe) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn PMI_Get_appnum(appnum: *mut c_int) -> c_int {
    // SAFETY: as said above for all.
    with(|client| unsafe { c::tell(appnum, client.appnum) })
}

#[unsafe(no_mangle)]
pub extern "C" fn PMI_Barrier() -> c_int {
    with(|client| client.done(&Request::Barrier))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn PMI_Abort(exitcode: c_int, message: *const c_char) -> c_int {
    let _ = guard(|| {
        // SAFETY: as said above for all.
        if let Ok(message) = unsafe { c::text(message, INVALID_ARG) }
            && !message.is_empty()
        {
            eprintln!("PMI_Abort({exitcode}): {message}");
        }
        let mut client = CLIENT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Client { to: To::Launcher(connection), .. }) = client.as_mut() {
            // Whether it is heard or not, this process ends.
            let _ = connection.say(Request::Abort { exitcode }.to_string().as_bytes());
        }
        Ok(())
    });
    process::exit(exitcode)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn PMI_KVS_Get_my_name(name: *mut c_char, length: c_int) -> c_int {
    // SAFETY: as said above for all.
    with(|client| unsafe { c::copy(&client.name, name, length) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn PMI_KVS_Get_name_length_max(length: *mut c_int) -> c_int {
    // SAFETY: as said above for all.
    with(|_| unsafe { c::tell(length, KVSNAME_MAX as c_int) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn PMI_KVS_Get_key_length_max(length: *mut c_int) -> c_int {
    // SAFETY: as said above for all.
    with(|_| unsafe { c::tell(length, KEY_MAX as c_int) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn PMI_KVS_Get_value_length_max(length: *mut c_int) -> c_int {
    // SAFETY: as said above for all.
    with(|_| unsafe { c::tell(length, VALUE_MAX as c_int) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn PMI_KVS_Put(kvs: *const c_char, key: *const c_char, value: *const c_char) -> c_int {
    with(|client| {
        // SAFETY: as said above for all.
        let (kvs, key, value) = unsafe { (c::text(kvs, INVALID_ARG)?, c::key(key)?, c::value(value)?) };
        if kvs != client.name {
            return Err(INVALID_ARG);
        }
        if let To::Nobody(alone) = &mut client.to {
            alone.values.insert(key.to_owned(), value.to_owned());
            return Ok(());
        }
        client.done(&Request::Put { kvsname: kvs.into(), key: key.into(), value: value.into() })
    })
}

/// Puts are sent at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn PMI_KVS_Commit(kvs: *const c_char) -> c_int {
    with(|client| {
        // SAFETY: as said above for all.
        let kvs = unsafe { c::text(kvs, INVALID_ARG)? };
        if kvs == client.name { Ok(()) } else { Err(INVALID_ARG) }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn PMI_KVS_Get(
    kvs: *const c_char,
    key: *const c_char,
    value: *mut c_char,
    length: c_int,
) -> c_int {
    with(|client| {
        // SAFETY: as said above for all.
        let (kvs, key) = unsafe { (c::text(kvs, INVALID_ARG)?, c::key(key)?) };
        if kvs != client.name {
            return Err(INVALID_ARG);
        }
        let found = client.get(key).ok_or(INVALID_KEY)?;
        // SAFETY: as said above for all.
        unsafe { c::copy(&found, value, length) }
    })
}

/// One launcher has one space, which is there and stays.
#[unsafe(no_mangle)]
pub extern "C" fn PMI_KVS_Create(_name: *mut c_char, _length: c_int) -> c_int {
    FAIL
}

#[unsafe(no_mangle)]
pub extern "C" fn PMI_KVS_Destroy(_kvs: *const c_char) -> c_int {
    FAIL
}

#[unsafe(no_mangle)]
pub extern "C" fn PMI_KVS_Iter_first(
    _kvs: *const c_char,
    _key: *mut c_char,
    _key_length: c_int,
    _value: *mut c_char,
    _value_length: c_int,
) -> c_int {
    FAIL
}

#[unsafe(no_mangle)]
pub extern "C" fn PMI_KVS_Iter_next(
    _kvs: *const c_char,
    _key: *mut c_char,
    _key_length: c_int,
    _value: *mut c_char,
    _value_length: c_int,
) -> c_int {
    FAIL
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn PMI_Get_id(id: *mut c_char, length: c_int) -> c_int {
    // SAFETY: the same promises.
    unsafe { PMI_KVS_Get_my_name(id, length) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn PMI_Get_kvs_domain_id(id: *mut c_char, length: c_int) -> c_int {
    // SAFETY: the same promises.
    unsafe { PMI_KVS_Get_my_name(id, length) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn PMI_Get_id_length_max(length: *mut c_int) -> c_int {
    // SAFETY: the same promises.
    unsafe { PMI_KVS_Get_name_length_max(length) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn PMI_Get_clique_size(size: *mut c_int) -> c_int {
    // SAFETY: as said above for all.
    with(|client| unsafe { c::tell(size, client.clique().len() as c_int) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn PMI_Get_clique_ranks(ranks: *mut c_int, length: c_int) -> c_int {
    with(|client| {
        let clique = client.clique();
        if ranks.is_null() {
            return Err(INVALID_ARG);
        }
        if usize::try_from(length).is_ok_and(|length| length >= clique.len()) {
            // SAFETY: there is room for `length` numbers, which is enough.
            unsafe { std::ptr::copy_nonoverlapping(clique.as_ptr(), ranks, clique.len()) };
            return Ok(());
        }
        Err(INVALID_LENGTH)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn PMI_Publish_name(_service: *const c_char, _port: *const c_char) -> c_int {
    FAIL
}

#[unsafe(no_mangle)]
pub extern "C" fn PMI_Unpublish_name(_service: *const c_char) -> c_int {
    FAIL
}

#[unsafe(no_mangle)]
pub extern "C" fn PMI_Lookup_name(_service: *const c_char, _port: *mut c_char) -> c_int {
    FAIL
}

/// Jobs do not grow.
#[unsafe(no_mangle)]
pub extern "C" fn PMI_Spawn_multiple(
    _count: c_int,
    _commands: *mut *const c_char,
    _arguments: *mut *mut *const c_char,
    _processes: *const c_int,
    _info_sizes: *const c_int,
    _infos: *const *const c_void,
    _preput_size: c_int,
    _preput: *const c_void,
    _errors: *mut c_int,
) -> c_int {
    FAIL
}

/// There are no options of ours on a command line.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn PMI_Parse_option(
    _count: c_int,
    _arguments: *mut *mut c_char,
    parsed: *mut c_int,
    pairs: *mut *mut c_void,
    size: *mut c_int,
) -> c_int {
    // SAFETY: the same promises.
    guard(|| unsafe { c::tell(parsed, 0).and_then(|()| no_pairs(pairs, size)) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn PMI_Args_to_keyval(
    _count: *mut c_int,
    _arguments: *mut *mut *mut c_char,
    pairs: *mut *mut c_void,
    size: *mut c_int,
) -> c_int {
    // SAFETY: the same promises.
    guard(|| unsafe { no_pairs(pairs, size) })
}

/// # Safety
/// Null, or room for a pointer, and for a number.
unsafe fn no_pairs(pairs: *mut *mut c_void, size: *mut c_int) -> Result<(), c_int> {
    if pairs.is_null() {
        return Err(INVALID_ARG);
    }
    // SAFETY: not null, so there is room.
    unsafe {
        pairs.write(std::ptr::null_mut());
        c::tell(size, 0)
    }
}

/// We have never handed out any.
#[unsafe(no_mangle)]
pub extern "C" fn PMI_Free_keyvals(_pairs: *mut c_void, _size: c_int) -> c_int {
    c::SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn PMI_Get_options(text: *mut c_char, length: *mut c_int) -> c_int {
    guard(|| {
        if length.is_null() {
            return Err(INVALID_ARG);
        }
        // SAFETY: not null, so there is a number; and as said above for all.
        unsafe { c::copy("", text, length.read()) }
    })
}

#[cfg(test)]
mod tests {
    use super::ranks_beside;

    #[test]
    fn neighbours_are_read_from_the_map() {
        for (map, rank, size, beside) in [
            ("(vector,(0,1,4))", 2, 4, Some(vec![0, 1, 2, 3])),
            ("(vector,(0,2,2))", 3, 4, Some(vec![2, 3])),
            ("(vector,(0,2,1),(0,2,1))", 3, 4, Some(vec![1, 3])),
            ("(vector,(0,2,1))", 1, 5, Some(vec![1, 3])),
            ("(vector,(1,1,2),(0,1,1))", 2, 3, Some(vec![2])),
            ("(vector,(0,0,4))", 0, 4, None),
            ("(vector,(0,1))", 0, 1, None),
            ("", 0, 1, None),
            ("(vector,(0,1,1))", 7, 2, None),
        ] {
            assert_eq!(ranks_beside(map, rank, size), beside, "{map}");
        }
    }
}
