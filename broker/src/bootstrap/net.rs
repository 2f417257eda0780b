//! On which of this node's addresses its broker listens.
//!
//! One address, on the network that is meant for it: the one asked for, else `hsn0`, `ib0` (fast networks by the
//! names they have everywhere), else the one of the default route.

use super::Mistake;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

/// Networks that are better than the default route's where they exist.
const FAST: &[&str] = &["hsn0", "ib0"];

/// A network interface and its usable addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub loopback: bool,
    pub addresses: Vec<IpAddr>,
}

impl Interface {
    /// IPv4 where there is one: what more sites have tried.
    fn address(&self) -> Option<IpAddr> {
        self.addresses.iter().min_by_key(|address| address.is_ipv6()).copied()
    }
}

/// What a node offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    pub interfaces: Vec<Interface>,
    /// The interface of the default route.
    pub default: Option<String>,
}

/// Which addresses would do.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub enum Reach {
    /// All brokers are on this host.
    Host,
    Network,
}

impl Network {
    /// This node's.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn discover() -> io::Result<Network> {
        let v4 = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
        let v6 = std::fs::read_to_string("/proc/net/ipv6_route").unwrap_or_default();
        Ok(Network { interfaces: interfaces()?, default: default_v4(&v4).or_else(|| default_v6(&v6)) })
    }

    /// The address to listen on; `host` is this node's name, for the message.
    ///
    /// # Errors
    /// The interface that was asked for is not there, or has no address.
    pub fn choose(&self, host: &str, hint: Option<&str>, reach: Reach) -> Result<IpAddr, Mistake> {
        let named = |name: &str| self.interfaces.iter().find(|interface| interface.name == name);
        if let Some(name) = hint {
            let all: Vec<&str> = self.interfaces.iter().map(|interface| interface.name.as_str()).collect();
            let hint = "name another one with -Stbon.interface-hint=NAME, or leave it out";
            let Some(interface) = named(name) else {
                let has = all.join(", ");
                return Err(Mistake::new(format!("{host} has no interface {name} (has: {has})"), hint));
            };
            return interface.address().ok_or_else(|| {
                Mistake::new(format!("interface {name} of {host} is down or has no address"), hint)
            });
        }
        let fast = FAST.iter().copied().chain(self.default.as_deref()).filter_map(named);
        let others = self.interfaces.iter().filter(|interface| !interface.loopback);
        let chosen = match reach {
            Reach::Host => None,
            // A node with nothing but loopback can only be meant to talk to itself.
            Reach::Network => fast.chain(others).find_map(Interface::address),
        };
        Ok(chosen.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)))
    }
}

/// A listener on that address, at a port that the kernel chooses.
///
/// # Errors
/// The address cannot be bound.
pub fn listen(address: IpAddr) -> io::Result<TcpListener> {
    TcpListener::bind(SocketAddr::new(address, 0))
}

/// The interface with the default route of least metric, out of `/proc/net/route`.
fn default_v4(routes: &str) -> Option<String> {
    let lines = routes.lines().skip(1).filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (name, to, mask) = (*words.first()?, *words.get(1)?, *words.get(7)?);
        let metric: u32 = words.get(6)?.parse().ok()?;
        (to == "00000000" && mask == "00000000").then(|| (metric, name.to_owned()))
    });
    lines.min_by_key(|(metric, _)| *metric).map(|(_, name)| name)
}

/// The same out of `/proc/net/ipv6_route`, whose default on `lo` is the kernel's way to say "unreachable".
fn default_v6(routes: &str) -> Option<String> {
    let lines = routes.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (to, length, name) = (*words.first()?, *words.get(1)?, *words.last()?);
        let metric = u32::from_str_radix(words.get(5)?, 16).ok()?;
        let any = to.bytes().all(|b| b == b'0') && length == "00";
        (any && name != "lo").then(|| (metric, name.to_owned()))
    });
    lines.min_by_key(|(metric, _)| *metric).map(|(_, name)| name)
}

/// Every interface in the kernel's order, with the addresses that another node could use if it is up.
fn interfaces() -> io::Result<Vec<Interface>> {
    let mut list = std::ptr::null_mut();
    // SAFETY: a valid place for the answer, which is freed below.
    if unsafe { libc::getifaddrs(&mut list) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut found: Vec<Interface> = Vec::new();
    let mut next: *const libc::ifaddrs = list;
    while !next.is_null() {
        // SAFETY: an element of the list that getifaddrs made and nobody has freed.
        let entry = unsafe { &*next };
        next = entry.ifa_next;
        // SAFETY: names in the list are C strings.
        let name = unsafe { std::ffi::CStr::from_ptr(entry.ifa_name) }.to_string_lossy().into_owned();
        let flags = entry.ifa_flags.cast_signed();
        // SAFETY: null, or an address whose length its family tells.
        let address = unsafe { address(entry.ifa_addr) }.filter(usable);
        let at = found.iter().position(|interface| interface.name == name).unwrap_or_else(|| {
            let loopback = flags & libc::IFF_LOOPBACK != 0;
            found.push(Interface { name, loopback, addresses: Vec::new() });
            found.len() - 1
        });
        if flags & libc::IFF_UP != 0 {
            found[at].addresses.extend(address);
        }
    }
    // SAFETY: the list of above, freed once.
    unsafe { libc::freeifaddrs(list) };
    Ok(found)
}

/// # Safety
/// `raw` is null or points to a socket address as long as its family says.
unsafe fn address(raw: *const libc::sockaddr) -> Option<IpAddr> {
    if raw.is_null() {
        return None;
    }
    // SAFETY: every socket address begins with its family.
    match i32::from(unsafe { (*raw).sa_family }) {
        libc::AF_INET => {
            // SAFETY: the family says so.
            let v4 = unsafe { &*raw.cast::<libc::sockaddr_in>() };
            Some(IpAddr::from(v4.sin_addr.s_addr.to_ne_bytes()))
        }
        libc::AF_INET6 => {
            // SAFETY: the family says so.
            let v6 = unsafe { &*raw.cast::<libc::sockaddr_in6>() };
            Some(IpAddr::from(v6.sin6_addr.s6_addr))
        }
        _ => None,
    }
}

/// Link-local addresses mean nothing without the interface, which is another one on every node.
fn usable(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_link_local() && !v4.is_unspecified(),
        IpAddr::V6(v6) => !v6.is_unicast_link_local() && !v6.is_unspecified(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name and addresses of an interface.
    type Sketch = (&'static str, &'static [&'static str]);

    fn network(interfaces: &[Sketch], default: Option<&str>) -> Network {
        let interface = |(name, addresses): &Sketch| Interface {
            name: (*name).to_owned(),
            loopback: *name == "lo",
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        };
        Network {
            interfaces: interfaces.iter().map(interface).collect(),
            default: default.map(str::to_owned),
        }
    }

    #[test]
    fn the_fast_network_comes_before_the_default_route() {
        let lo: Sketch = ("lo", &["127.0.0.1"]);
        let eno: Sketch = ("eno1", &["fd00::1", "10.0.0.1"]);
        let aux: Sketch = ("aux0", &["10.9.0.1"]);
        let cases: [(&[Sketch], Option<&str>, &str); 6] = [
            (&[lo, aux, eno], Some("eno1"), "10.0.0.1"),
            (&[lo, eno, ("ib0", &["10.1.0.1"])], Some("eno1"), "10.1.0.1"),
            (&[lo, ("ib0", &["10.1.0.1"]), ("hsn0", &["10.2.0.1"])], None, "10.2.0.1"),
            (&[lo, eno, ("ib0", &[])], Some("eno1"), "10.0.0.1"),
            (&[lo, aux], None, "10.9.0.1"),
            (&[lo], None, "127.0.0.1"),
        ];
        for (interfaces, default, expected) in cases {
            let chosen = network(interfaces, default).choose("c1", None, Reach::Network);
            assert_eq!(chosen, Ok(expected.parse().unwrap()), "{interfaces:?}");
        }
        let all = network(&[lo, eno], Some("eno1"));
        assert_eq!(all.choose("c1", None, Reach::Host), Ok("127.0.0.1".parse().unwrap()));
        assert_eq!(all.choose("c1", Some("eno1"), Reach::Host), Ok("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn a_missing_interface_is_named_with_those_there_are() {
        let all = network(&[("lo", &["127.0.0.1"]), ("eno1", &["10.0.0.1"]), ("ib1", &[])], Some("eno1"));
        let wrong = all.choose("c3", Some("ib0"), Reach::Network).unwrap_err();
        assert_eq!(wrong.what, "c3 has no interface ib0 (has: lo, eno1, ib1)");
        let down = all.choose("c3", Some("ib1"), Reach::Network).unwrap_err();
        assert!(down.what.contains("ib1 of c3 is down"), "{down}");
    }

    #[test]
    fn default_routes_are_read_from_proc() {
        let v4 = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n\
                  eth0 0002A8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0\n\
                  wlan0 00000000 010200C0 0003 0 0 600 00000000 0 0 0\n\
                  eth0 00000000 010200C0 0003 0 0 100 00000000 0 0 0\n";
        assert_eq!(default_v4(v4).as_deref(), Some("eth0"));
        let zero = "0".repeat(32);
        let v6 = format!(
            "{zero} 00 {zero} 00 fd000000000000000000000000000001 00000400 00000001 00000000 00000003 eth1\n\
             {zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200 lo\n"
        );
        assert_eq!(default_v6(&v6).as_deref(), Some("eth1"));
        assert_eq!((default_v4(""), default_v6("")), (None, None));
    }

    #[test]
    fn this_machine_has_a_loopback_that_can_be_bound() {
        let here = Network::discover().unwrap();
        assert!(here.interfaces.iter().any(|i| i.loopback && !i.addresses.is_empty()), "{here:?}");
        let address = here.choose("here", None, Reach::Host).unwrap();
        assert_ne!(listen(address).unwrap().local_addr().unwrap().port(), 0);
    }
}
