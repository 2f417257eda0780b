//! The C functions as a program calls them, against a server over a real socket. Every process has one client, so each
//! rank is a process of its own: this program once more, with `PMI_FD`.

use flurm_pmi::{Effect, Job, Server, Splitter};
use pmi::{one, two};
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};
use std::ptr::{null, null_mut};
use std::sync::{Arc, Mutex};

const AS: &str = "FLURM_TEST_AS";

/// Starts this program as `size` ranks that run the test `name`, and serves them.
fn run(name: &str, size: u32) {
    let known = BTreeMap::from([("PMI_process_mapping".to_owned(), format!("(vector,(0,1,{size}))"))]);
    let job = Job { name: "kvs".into(), size, ranks: (0..size).collect(), known };
    let shared = Arc::new(Mutex::new((Server::new(job), Vec::<UnixStream>::new())));
    let mut children: Vec<Child> = Vec::new();
    for rank in 0..size {
        let (ours, theirs) = UnixStream::pair().expect("a socket");
        // Without close-on-exec: dup clears it.
        // SAFETY: no memory is involved.
        let fd = unsafe { dup(theirs.as_raw_fd()) };
        let mut command = Command::new(std::env::current_exe().expect("a path"));
        command.args(["--exact", name, "--nocapture"]).env(AS, name).env("PMI_FD", fd.to_string());
        command.env("PMI_RANK", rank.to_string()).env("PMI_SIZE", size.to_string());
        children.push(command.spawn().expect("it starts"));
        // SAFETY: as above; the number is ours and used by nobody else.
        unsafe { close(fd) };
        drop(theirs);
        shared.lock().expect("no panics").1.push(ours.try_clone().expect("a copy"));
        let shared = Arc::clone(&shared);
        std::thread::spawn(move || serve(rank as usize, ours, &shared));
    }
    for mut child in children {
        assert!(child.wait().expect("our child").success());
    }
}

unsafe extern "C" {
    fn dup(fd: c_int) -> c_int;
    fn close(fd: c_int) -> c_int;
    fn signal(signum: c_int, handler: usize) -> usize;
}

const SIGPIPE: c_int = 13;
const SIG_DFL: usize = 0;

fn serve(task: usize, mut from: UnixStream, shared: &Mutex<(Server, Vec<UnixStream>)>) {
    let mut splitter = Splitter::new(4096);
    let mut buffer = [0; 4096];
    while let Ok(n) = from.read(&mut buffer)
        && n > 0
    {
        splitter.feed(&buffer[..n]);
        while let Ok(Some(piece)) = splitter.piece() {
            let mut shared = shared.lock().expect("no panics");
            let mut effects = Vec::new();
            shared.0.request(task, &piece, &mut effects).expect("it is PMI");
            for effect in effects {
                if let Effect::Reply { task, bytes } = effect {
                    shared.1[task].write_all(&bytes).expect("a reader");
                }
            }
        }
    }
}

/// Is this process one of the ranks?
fn am(name: &str) -> bool {
    std::env::var(AS).is_ok_and(|of| of == name)
}

fn c(text: &str) -> CString {
    CString::new(text).expect("no zero byte")
}

fn number(ask: unsafe extern "C" fn(*mut c_int) -> c_int) -> c_int {
    let mut number = -7;
    // SAFETY: there is room for a number.
    assert_eq!(unsafe { ask(&raw mut number) }, 0);
    number
}

#[test]
fn pmi_1_exchanges_and_refuses_what_is_wrong() {
    const NAME: &str = "pmi_1_exchanges_and_refuses_what_is_wrong";
    if !am(NAME) {
        return run(NAME, 3);
    }
    let mut buffer = [0 as c_char; 64];
    let mut spawned = 7;
    // SAFETY: all texts are terminated and all rooms as large as is said.
    unsafe {
        assert_eq!(one::PMI_Get_rank(null_mut()), 1, "not initialized");
        assert_eq!(one::PMI_Init(null_mut()), 3);
        assert_eq!(number(one::PMI_Init), 0);
        let (rank, size) = (number(one::PMI_Get_rank), number(one::PMI_Get_size));
        assert_eq!((size, number(one::PMI_Get_universe_size), number(one::PMI_Initialized)), (3, 3, 1));
        assert_eq!((number(one::PMI_Get_appnum), number(one::PMI_Get_clique_size)), (0, 3));
        let mut clique = [0; 3];
        assert_eq!(one::PMI_Get_clique_ranks(clique.as_mut_ptr(), 2), 8);
        assert_eq!(one::PMI_Get_clique_ranks(clique.as_mut_ptr(), 3), 0);
        assert_eq!(clique, [0, 1, 2]);
        assert_eq!(one::PMI_KVS_Get_my_name(buffer.as_mut_ptr(), 3), 8, "too short for `kvs` and zero");
        assert_eq!(one::PMI_KVS_Get_my_name(buffer.as_mut_ptr(), 64), 0);
        let kvs = CStr::from_ptr(buffer.as_ptr()).to_owned();
        let put = |key: &str, value: &str| one::PMI_KVS_Put(kvs.as_ptr(), c(key).as_ptr(), c(value).as_ptr());
        assert_eq!(put(&format!("card-{rank}"), &format!("of {rank} a=b")), 0);
        assert_eq!((put("", "x"), put(&"k".repeat(64), "x"), put("a b", "x")), (5, 5, 4));
        assert_eq!((put("k", &"x".repeat(1024)), put("k", "a\nb")), (7, 6));
        assert_eq!(one::PMI_KVS_Put(null(), c("k").as_ptr(), c("v").as_ptr()), 3);
        assert_eq!(one::PMI_KVS_Put(kvs.as_ptr(), null(), c("v").as_ptr()), 4);
        assert_eq!(one::PMI_KVS_Put(kvs.as_ptr(), c("k").as_ptr(), null()), 6);
        assert_eq!(one::PMI_KVS_Commit(kvs.as_ptr()), 0);
        assert_eq!(one::PMI_Barrier(), 0);
        for other in 0..size {
            let key = c(&format!("card-{other}"));
            assert_eq!(one::PMI_KVS_Get(kvs.as_ptr(), key.as_ptr(), buffer.as_mut_ptr(), 64), 0);
            assert_eq!(CStr::from_ptr(buffer.as_ptr()), &*c(&format!("of {other} a=b")));
            assert_eq!(one::PMI_KVS_Get(kvs.as_ptr(), key.as_ptr(), null_mut(), 64), 3);
            assert_eq!(one::PMI_KVS_Get(kvs.as_ptr(), key.as_ptr(), buffer.as_mut_ptr(), -1), 8);
        }
        assert_eq!(one::PMI_KVS_Get(kvs.as_ptr(), c("none").as_ptr(), buffer.as_mut_ptr(), 64), 4);
        assert_eq!(one::PMI_Publish_name(c("a").as_ptr(), c("b").as_ptr()), -1);
        assert_eq!((one::PMI_Finalize(), one::PMI_Finalize()), (0, 1));
        // The number of the descriptor is somebody else's now.
        assert_eq!(one::PMI_Init(&raw mut spawned), -1);
    }
}

#[test]
fn pmi_2_exchanges_and_waits_for_attributes_of_the_node() {
    const NAME: &str = "pmi_2_exchanges_and_waits_for_attributes_of_the_node";
    if !am(NAME) {
        return run(NAME, 3);
    }
    let mut buffer = [0 as c_char; 64];
    let (mut spawned, mut size, mut rank, mut appnum, mut n) = (7, 7, 7, 7, 7);
    // SAFETY: all texts are terminated and all rooms as large as is said.
    unsafe {
        assert_eq!((two::PMI2_Initialized(), two::PMI2_KVS_Fence()), (0, 1));
        assert_eq!(two::PMI2_Init(&raw mut spawned, &raw mut size, &raw mut rank, &raw mut appnum), 0);
        assert_eq!((spawned, size, appnum, two::PMI2_Initialized()), (0, 3, 0, 1));
        assert_eq!((two::PMI2_Job_GetId(buffer.as_mut_ptr(), 64), number(two::PMI2_Job_GetRank)), (0, rank));
        let job = CStr::from_ptr(buffer.as_ptr()).to_owned();
        let (key, value) = (c(&format!("card-{rank}")), c(&format!("of; {rank}")));
        assert_eq!(two::PMI2_KVS_Put(key.as_ptr(), value.as_ptr()), 0);
        assert_eq!((two::PMI2_KVS_Put(null(), value.as_ptr()), two::PMI2_KVS_Fence()), (4, 0));
        for other in 0..size {
            let key = c(&format!("card-{other}"));
            let mut get =
                |max| two::PMI2_KVS_Get(job.as_ptr(), -1, key.as_ptr(), buffer.as_mut_ptr(), max, &raw mut n);
            assert_eq!(get(64), 0);
            assert_eq!((get(3), get(0)), (0, 3), "cut, and no room at all");
            assert_eq!((n, CStr::from_ptr(buffer.as_ptr())), (-5, c"of"));
        }
        let name = c("segment");
        if rank == 0 {
            assert_eq!(two::PMI2_Info_PutNodeAttr(name.as_ptr(), c("/x").as_ptr()), 0);
        }
        assert_eq!(two::PMI2_Info_GetNodeAttr(name.as_ptr(), buffer.as_mut_ptr(), 64, &raw mut n, 1), 0);
        assert_eq!((n, CStr::from_ptr(buffer.as_ptr())), (1, c"/x"));
        let mut attribute =
            |name: &str| two::PMI2_Info_GetJobAttr(c(name).as_ptr(), buffer.as_mut_ptr(), 64, &raw mut n);
        assert_eq!((attribute("none"), n), (0, 0));
        let mut sizes = [0; 2];
        let (mut told, mut found) = (7, 7);
        assert_eq!(
            two::PMI2_Info_GetJobAttrIntArray(
                c("universeSize").as_ptr(),
                sizes.as_mut_ptr(),
                2,
                &raw mut told,
                &raw mut found
            ),
            0
        );
        assert_eq!((told, found, sizes[0]), (1, 1, 3));
        assert_eq!(two::PMI2_Nameserv_publish(name.as_ptr(), null(), name.as_ptr()), -1);
        assert_eq!((two::PMI2_Finalize(), two::PMI2_Finalize()), (0, 1));
    }
}

#[test]
fn without_a_launcher_a_process_is_alone() {
    const NAME: &str = "without_a_launcher_a_process_is_alone";
    if !am(NAME) {
        let mut command = Command::new(std::env::current_exe().expect("a path"));
        command.args(["--exact", NAME]).env(AS, NAME).env_remove("PMI_FD");
        assert!(command.status().expect("it starts").success());
        return;
    }
    let mut buffer = [0 as c_char; 64];
    // SAFETY: all texts are terminated and all rooms as large as is said.
    unsafe {
        assert_eq!(number(one::PMI_Init), 0);
        assert_eq!((number(one::PMI_Get_rank), number(one::PMI_Get_size)), (0, 1));
        let kvs = c("singleton");
        assert_eq!(one::PMI_KVS_Put(kvs.as_ptr(), c("a").as_ptr(), c("b").as_ptr()), 0);
        assert_eq!(one::PMI_Barrier(), 0);
        assert_eq!(one::PMI_KVS_Get(kvs.as_ptr(), c("a").as_ptr(), buffer.as_mut_ptr(), 64), 0);
        assert_eq!((CStr::from_ptr(buffer.as_ptr()), one::PMI_Finalize()), (c"b", 0));
    }
}

#[test]
fn a_launcher_that_has_gone_and_a_number_that_is_no_socket_are_errors() {
    const NAME: &str = "a_launcher_that_has_gone_and_a_number_that_is_no_socket_are_errors";
    if am(NAME) {
        let mut spawned = 7;
        // SAFETY: Rust programs ignore the signal, others do not; there is room for a number.
        unsafe {
            signal(SIGPIPE, SIG_DFL);
            assert_eq!(one::PMI_Init(&raw mut spawned), -1);
        }
        return;
    }
    let (ours, theirs) = UnixStream::pair().expect("a socket");
    drop(ours);
    // SAFETY: no memory is involved.
    let fd = unsafe { dup(theirs.as_raw_fd()) };
    for fd in [fd, 1] {
        let mut command = Command::new(std::env::current_exe().expect("a path"));
        command.args(["--exact", NAME, "--nocapture"]).env(AS, NAME).env("PMI_FD", fd.to_string());
        let status = command.env("PMI_RANK", "0").env("PMI_SIZE", "1").status().expect("it starts");
        assert!(status.success(), "{fd}: {status}");
    }
    // SAFETY: as above; the number is ours and used by nobody else.
    unsafe { close(fd) };
}
