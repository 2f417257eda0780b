//! Whose the connections to a job's PMIx server are.
//!
//! libpmix listens on the loopback address, where everybody on the node can connect, and without a security module it
//! believes a client that says who its user is. The kernel knows, and lists it.

use rustix::process::getuid;

/// Where libpmix listens.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(super) struct Door {
    port: u16,
}

impl Door {
    /// As clients are told; none where they are told no such address.
    pub(super) fn of(environment: &[(String, String)]) -> Option<Door> {
        let port = environment.iter().find_map(|(_, value)| {
            let address = value.split_once("tcp4://")?.1;
            let digits = address.split_once(':')?.1;
            digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
        })?;
        Some(Door { port })
    }

    /// Another user who is connected, if there is one; root may be anyone.
    pub(super) fn stranger(self) -> Option<u32> {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
        let ours = getuid().as_raw();
        clients(&table, self.port).find(|uid| *uid != ours && *uid != 0)
    }
}

/// Whose sockets are connected to that port.
fn clients(table: &str, port: u16) -> impl Iterator<Item = u32> {
    table.lines().skip(1).filter_map(move |line| {
        // sl, local address, remote address, state, queues, timer, retransmits, uid.
        let mut fields = line.split_ascii_whitespace().skip(2);
        let there = u16::from_str_radix(fields.next()?.split_once(':')?.1, 16).ok()?;
        let uid = fields.nth(4)?.parse().ok()?;
        (there == port).then_some(uid)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn the_port_is_the_one_that_clients_are_told() {
        let told =
            |value: &str| Door::of(&[("A".into(), "b".into()), ("PMIX_SERVER_URI41".into(), value.into())]);
        assert_eq!(told("f1.0;tcp4://127.0.0.1:43210"), Some(Door { port: 43210 }));
        assert_eq!(told("f1.0;tcp4://127.0.0.1:43210;more"), Some(Door { port: 43210 }));
        for none in ["f1.0;usock:/tmp/x", "tcp4://", "tcp4://127.0.0.1:x", ""] {
            assert_eq!(told(none), None, "{none}");
        }
    }

    #[test]
    fn the_kernel_says_whose_a_connection_is() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let users = || clients(&std::fs::read_to_string("/proc/net/tcp").unwrap(), port).collect::<Vec<_>>();
        assert_eq!(users(), [] as [u32; 0]);
        let _client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        assert_eq!(users(), [getuid().as_raw()]);
        assert_eq!(Door { port }.stranger(), None);
        let of_another =
            "head\n 1: 0100007F:C35A 0100007F:A8CA 01 00000000:00000000 00:00000000 00000000  1234  0 5\n";
        assert_eq!(clients(of_another, 43210).collect::<Vec<_>>(), [1234]);
    }
}
