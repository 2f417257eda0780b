//! Only the owner gets in: other users, strangers on the overlay port, secrets.

use flurm_tests::{DEADLINE, Instance, eventually, flurm_bin, processes_with};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

/// Ports on which the brokers of an instance listen, from the kernel's tables.
fn ports(instance: &Instance) -> Vec<(String, u16)> {
    let pid = instance.broker_pid(0);
    let inodes: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("our process")
        .flatten()
        .filter_map(|f| std::fs::read_link(f.path()).ok())
        .filter_map(|l| l.to_str()?.strip_prefix("socket:[")?.strip_suffix(']').map(str::to_owned))
        .collect();
    let tables = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).expect("the kernel's table");
    let mut found = Vec::new();
    for line in tables.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if fields[3] == "0A" && inodes.iter().any(|i| i == fields[9]) {
            let (addr, port) = fields[1].split_once(':').expect("ADDR:PORT");
            let addr = u32::from_str_radix(addr, 16).expect("hex").to_ne_bytes();
            let addr = std::net::Ipv4Addr::from(addr);
            found.push((addr.to_string(), u16::from_str_radix(port, 16).expect("hex")));
        }
    }
    found
}

#[test]
fn a_strangers_bytes_are_dropped_and_the_instance_goes_on() {
    let instance = Instance::start(2);
    let ports = ports(&instance);
    assert!(!ports.is_empty(), "the root of two brokers listens");
    // A ZMTP 3.0 greeting with the NULL mechanism: what a stray ZeroMQ program would say.
    let mut greeting = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0];
    greeting.extend_from_slice(b"NULL");
    greeting.resize(64, 0);
    let mut abort = greeting.clone();
    abort.push(2);
    abort.extend_from_slice(&(1u64 << 46).to_be_bytes());
    let random: Vec<u8> = (0..4096u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let oversized = [&[0xff; 8][..], &random].concat();
    for (host, port) in &ports {
        assert_ne!(host, "0.0.0.0", "one address, not all");
        for bytes in
            [&greeting, &abort, &random, &oversized, &b"GET / HTTP/1.0\r\n\r\n".to_vec(), &Vec::new()]
        {
            let mut stream = TcpStream::connect((host.as_str(), *port)).expect("the port is open");
            stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
            // The broker may close while we still write.
            let _ = stream.write_all(bytes);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            assert!(!answer.windows(4).any(|w| w == b"NULL"), "ZeroMQ has answered a stranger");
        }
    }
    assert_eq!(instance.ok(&["run", "-N2", "-n2", "echo", "fine"]), "fine\nfine");
    assert_eq!(instance.json(&["overlay", "status", "--json"])["status"], "full");
}

#[test]
fn files_and_sockets_are_the_owners_alone() {
    let instance = Instance::start(2);
    let uid = std::fs::metadata(instance.dir.path()).expect("ours").uid();
    for rank in 0..2 {
        let dir = instance.rundir(rank);
        let mut todo = vec![dir.parent().expect("instance directory").to_owned(), dir];
        while let Some(path) = todo.pop() {
            let meta = std::fs::symlink_metadata(&path).expect("it is there");
            assert_eq!(meta.uid(), uid, "{}", path.display());
            if !meta.is_symlink() {
                assert_eq!(meta.permissions().mode() & 0o077, 0, "{} is open to others", path.display());
            }
            if meta.is_dir() {
                todo.extend(std::fs::read_dir(&path).expect("ours").flatten().map(|e| e.path()));
            }
        }
    }
}

/// Whether the broker answers a request that `uid` sends over its socket.
fn is_answered(socket: &Path, uid: u32) -> bool {
    let socket = socket.to_owned();
    // The kernel keeps credentials per thread: by the bare system call only this one becomes the other user.
    let ask = std::thread::spawn(move || -> std::io::Result<Vec<u8>> {
        // SAFETY: no memory is involved.
        let rc = unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) };
        assert_eq!(rc, 0, "{}", std::io::Error::last_os_error());
        let request = br#"{"v":1,"kind":"request","topic":"attr.get","src":{"rank":0,"client":0},"dst":"local","tag":1,"payload":{"name":"rank"}}"#;
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.write_all(&(request.len() as u32).to_be_bytes())?;
        stream.write_all(request)?;
        let mut answer = vec![0; 4096];
        let len = stream.read(&mut answer)?;
        answer.truncate(len);
        Ok(answer)
    });
    // A broken connection is a refusal as well.
    let answer = ask.join().expect("the asking thread does not panic").unwrap_or_default();
    String::from_utf8_lossy(&answer).contains("\"value\"")
}

#[test]
fn another_user_cannot_connect() {
    // Needs to become another user: only root can. Everybody else sees why nothing was tried.
    // SAFETY: no arguments, cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!(
            "not root: cannot try to connect as another user; `files_and_sockets_are_the_owners_alone` still holds"
        );
        return;
    }
    let instance = Instance::start(1);
    // The binary must be readable for the other user, wherever the checkout lies.
    let bin = std::env::temp_dir().join(format!("flurm-stranger-{}", std::process::id()));
    std::fs::copy(flurm_bin(), &bin).expect("a copy");
    let ran = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&bin)
        .args(["submit", "true"])
        .env("FLURM_URI", &instance.uri)
        .current_dir("/")
        .output()
        .expect("setpriv runs");
    std::fs::remove_file(&bin).expect("our copy");
    assert!(!ran.status.success());
    assert!(String::from_utf8_lossy(&ran.stderr).contains("error:"));

    // Even where the directory lets him through, the broker itself refuses by the peer's credentials.
    let dir = instance.rundir(0);
    for path in [dir.parent().expect("instance directory"), &dir] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("ours");
    }
    std::fs::set_permissions(dir.join("local"), std::fs::Permissions::from_mode(0o777)).expect("ours");
    let socket = dir.join("local");
    assert!(!is_answered(&socket, 65534), "the broker answered another user");
    assert!(
        is_answered(&socket, 0),
        "the same words of the owner are answered: the refusal was for the user"
    );
    instance.ok(&["run", "true"]);
}

#[test]
fn no_secret_on_a_command_line_in_an_environment_or_in_a_log() {
    let instance = Instance::start(2);
    instance.ok(&["run", "-N2", "-n2", "true"]);
    let boot = std::fs::read_to_string(instance.rundir(0).join("boot.json")).expect("boot.json");
    let boot: serde_json::Value = serde_json::from_str(&boot).expect("json");
    let secret = boot["secret"].as_str().expect("the secret is kept for a restart, 0600");
    assert!(secret.len() >= 43, "32 bytes of it");
    assert_eq!(processes_with(secret), [] as [i32; 0]);
    assert!(!instance.ok(&["dmesg"]).contains(secret));
    assert!(!instance.stderr().contains(secret));
    assert!(!instance.ok(&["run", "env"]).contains(secret));
    eventually("brokers still up", DEADLINE, || {
        instance.run(&["ping", "--count=1", "1"]).status.success().then_some(())
    });
}
