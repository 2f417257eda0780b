//! Whose the connections to a job's PMIx server are.
//!
//! libpmix listens on the loopback address, where everybody on the node can connect, and without a security module it
//! believes a client that says who its user is. The kernel knows, and lists it. A stranger's connection is cut off before
//! anybody is let in, and nobody else's is touched: otherwise it would be a way to end other people's jobs.

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::net::{RecvFlags, Shutdown, SocketAddrAny, getpeername, getsockname, recv, shutdown};
use rustix::process::getuid;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{BorrowedFd, OwnedFd};

/// Where libpmix listens.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(super) struct Door(SocketAddrV4);

/// As the kernel numbers it.
const ESTABLISHED: u8 = 1;
/// The other side has said that it sends no more; what it has sent before is there.
const CLOSE_WAIT: u8 = 8;

impl Door {
    /// As clients are told; none where they are told no such address.
    pub(super) fn of(environment: &[(String, String)]) -> Option<Door> {
        let address = environment.iter().find_map(|(_, value)| {
            let (host, rest) = value.split_once("tcp4://")?.1.split_once(':')?;
            let port = rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
            Some(SocketAddrV4::new(host.parse().ok()?, port))
        })?;
        Some(Door(address))
    }

    /// Cuts off whoever is connected and is neither of our user nor root, who may be anyone. Their users; none of those
    /// who have let go of their end.
    pub(super) fn cut_strangers(self) -> Vec<Option<u32>> {
        let ours = getuid().as_raw();
        self.cut(|uid| uid == ours || uid == 0)
    }

    fn cut(self, admits: impl Fn(u32) -> bool) -> Vec<Option<u32>> {
        let look = || {
            let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
            strangers(&table, self.0, &admits)
        };
        let mut strangers = look();
        if strangers.is_empty() {
            return Vec::new();
        }
        // The list is made in parts, and an end may be missing in one that changes meanwhile.
        let again = look();
        strangers.retain(|peer, who| again.get(peer) == Some(who));
        let mut cut = Vec::new();
        for connection in connections() {
            let of_door = getsockname(&connection).ok().and_then(v4) == Some(self.0);
            let peer = getpeername(&connection).ok().flatten().and_then(v4).filter(|_| of_door);
            if let Some(who) = peer.and_then(|peer| strangers.get(&peer)) {
                close(&connection);
                cut.push(*who);
            }
        }
        cut
    }
}

/// Nothing comes through any more, nor is there anything left to read.
fn close(connection: &OwnedFd) {
    // It may be over already.
    let _ = shutdown(connection, Shutdown::Both);
    let mut buffer = [0; 4096];
    // The library reads no request before we have answered.
    while recv(connection, &mut buffer[..], RecvFlags::DONTWAIT).is_ok_and(|(_, len)| len > 0) {}
}

/// All that we have open, as descriptors of our own: the library may close its at any time.
fn connections() -> Vec<OwnedFd> {
    let Ok(dir) = rustix::fs::openat(CWD, "/proc/self/fd", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
    else {
        return Vec::new();
    };
    let Ok(entries) = rustix::fs::Dir::read_from(&dir) else { return Vec::new() };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str().ok()?.parse().ok());
    let again = numbers.map(|number: i32| {
        // SAFETY: a number that is nobody's any more only makes this call fail.
        fcntl_dupfd_cloexec(unsafe { BorrowedFd::borrow_raw(number) }, 3)
    });
    again.collect::<Vec<Result<OwnedFd, Errno>>>().into_iter().flatten().collect()
}

fn v4(address: SocketAddrAny) -> Option<SocketAddrV4> {
    SocketAddrV4::try_from(address).ok()
}

/// One end of a connection.
struct End {
    local: SocketAddrV4,
    remote: SocketAddrV4,
    state: u8,
    /// None: nobody's any more.
    uid: Option<u32>,
}

/// Peers of that address that are not to be there, with their users.
fn strangers(
    table: &str,
    door: SocketAddrV4,
    admits: impl Fn(u32) -> bool,
) -> BTreeMap<SocketAddrV4, Option<u32>> {
    let ends: Vec<End> = table.lines().skip(1).filter_map(End::read).collect();
    // Both addresses have to be right: a foreign connection may well have our port at its other end.
    let theirs: BTreeMap<SocketAddrV4, Option<u32>> =
        ends.iter().filter(|end| end.remote == door).map(|end| (end.local, end.uid)).collect();
    let open = |end: &&End| end.local == door && [ESTABLISHED, CLOSE_WAIT].contains(&end.state);
    let peers = ends.iter().filter(open).map(|end| (end.remote, theirs.get(&end.remote).copied().flatten()));
    peers.filter(|(_, uid)| !uid.is_some_and(&admits)).collect()
}

impl End {
    /// sl, local address, remote address, state, queues, timer, retransmits, uid, timeout, inode.
    fn read(line: &str) -> Option<End> {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (local, remote) = (address(fields.next()?)?, address(fields.next()?)?);
        let state = u8::from_str_radix(fields.next()?, 16).ok()?;
        let uid = fields.nth(3)?.parse().ok()?;
        let inode: u64 = fields.nth(1)?.parse().ok()?;
        Some(End { local, remote, state, uid: (inode != 0).then_some(uid) })
    }
}

/// The kernel prints the four bytes of an address as a number of this machine.
fn address(text: &str) -> Option<SocketAddrV4> {
    let (host, port) = text.split_once(':')?;
    let host = u32::from_str_radix(host, 16).ok()?.to_ne_bytes();
    Some(SocketAddrV4::new(Ipv4Addr::from(host), u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpListener, TcpStream};

    fn v4_of(address: SocketAddr) -> SocketAddrV4 {
        match address {
            SocketAddr::V4(address) => address,
            SocketAddr::V6(_) => panic!("{address}"),
        }
    }

    #[test]
    fn the_address_is_the_one_that_clients_are_told() {
        let told =
            |value: &str| Door::of(&[("A".into(), "b".into()), ("PMIX_SERVER_URI41".into(), value.into())]);
        let door = Some(Door("127.0.0.1:43210".parse().unwrap()));
        assert_eq!(told("f1.0;tcp4://127.0.0.1:43210"), door);
        assert_eq!(told("f1.0;tcp4://127.0.0.1:43210;more"), door);
        for none in ["f1.0;usock:/tmp/x", "tcp4://", "tcp4://127.0.0.1:x", ""] {
            assert_eq!(told(none), None, "{none}");
        }
    }

    #[test]
    fn only_whoever_is_connected_to_us_is_a_stranger() {
        let door = "127.0.0.1:43210".parse().unwrap();
        // Of our user 7 and of others: who has which ends, in which state.
        let table = |lines: &[(&str, &str, u8, u32, u64)]| {
            let hex = |text: &str| {
                let address: SocketAddrV4 = text.parse().unwrap();
                format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port())
            };
            let line = |(local, remote, state, uid, inode): &(&str, &str, u8, u32, u64)| {
                let (local, remote) = (hex(local), hex(remote));
                format!(" 1: {local} {remote} {state:02X} 0:0 00:0 0000 {uid} 0 {inode} 1\n")
            };
            "head\n".to_owned() + &lines.iter().map(line).collect::<String>()
        };
        let found = |lines: &[_]| strangers(&table(lines), door, |uid| uid == 7 || uid == 0);
        let server = ("127.0.0.1:43210", "127.0.0.1:1000", ESTABLISHED, 7, 50);
        let client = ("127.0.0.1:1000", "127.0.0.1:43210", ESTABLISHED, 7, 51);
        assert_eq!(found(&[server, client]), BTreeMap::new());
        let peer = "127.0.0.1:1000".parse().unwrap();
        let of_another = (client.0, client.1, ESTABLISHED, 1234, 51);
        assert_eq!(found(&[server, client, of_another]), [(peer, Some(1234))].into());
        // Who has sent what he wanted to say and is gone is nobody we know.
        let gone = (client.0, client.1, 5, 0, 0);
        let after = (server.0, server.1, CLOSE_WAIT, 7, 50);
        for lines in [&[after, gone][..], &[after]] {
            assert_eq!(found(lines), [(peer, None)].into());
        }
        // Our port at the other end of a connection between other addresses.
        let foreign = ("127.0.0.3:5578", "127.0.0.2:43210", ESTABLISHED, 1234, 60);
        let elsewhere = ("10.0.0.1:22", "10.0.0.2:43210", ESTABLISHED, 1234, 61);
        assert_eq!(found(&[server, client, foreign, elsewhere]), BTreeMap::new());
    }

    #[test]
    fn a_stranger_is_cut_off_and_nobody_else() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let door = Door(v4_of(listener.local_addr().unwrap()));
        let mut client = TcpStream::connect(door.0).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        assert_eq!(door.cut_strangers(), []);
        assert_eq!(door.cut(|_| true), []);
        server.write_all(b"x").unwrap();
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        // What has been sent is not read either.
        client.write_all(b"a request").unwrap();
        assert_eq!(door.cut(|_| false), [Some(getuid().as_raw())]);
        assert_eq!(client.read(&mut byte).unwrap(), 0);
        assert_eq!(server.read(&mut byte).unwrap(), 0);
        drop(server);
        let foreign = TcpListener::bind("127.0.0.2:0").unwrap();
        let other = TcpStream::connect(foreign.local_addr().unwrap()).unwrap();
        let _accepted = foreign.accept().unwrap();
        let with_its_port =
            SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 9), v4_of(other.local_addr().unwrap()).port());
        assert_eq!(Door(with_its_port).cut(|_| false), []);
    }
}
