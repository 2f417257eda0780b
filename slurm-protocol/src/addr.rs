//! Socket addresses: the sender packs them from memory in network order as if they were its own integers, which on the
//! little-endian machines in use turns them around.
//!
//! Only the types of `core::net`: nothing is connected here.

use crate::structures::SlurmAddr;
use crate::value::Bytes;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// `AF_INET` and `AF_INET6`, as Linux numbers them.
const INET: u16 = 2;
const INET6: u16 = 10;

impl SlurmAddr {
    /// None for family 0, which is *no address*, and for what is no address.
    pub fn socket(&self) -> Option<SocketAddr> {
        let (ip, port) = match self.family {
            INET => (IpAddr::from(Ipv4Addr::from(self.ipv4_raw?.to_le_bytes())), self.ipv4_port_raw?),
            INET6 => {
                let bytes: [u8; 16] = self.ipv6.as_ref()?.0.as_slice().try_into().ok()?;
                (IpAddr::from(Ipv6Addr::from(bytes)), self.ipv6_port_raw?)
            }
            _ => return None,
        };
        Some(SocketAddr::new(ip, port.swap_bytes()))
    }
}

impl From<SocketAddr> for SlurmAddr {
    fn from(address: SocketAddr) -> Self {
        let port = Some(address.port().swap_bytes());
        match address.ip() {
            IpAddr::V4(ip) => Self {
                family: INET,
                ipv4_raw: Some(u32::from_le_bytes(ip.octets())),
                ipv4_port_raw: port,
                ..Self::default()
            },
            IpAddr::V6(ip) => Self {
                family: INET6,
                ipv6: Some(Bytes(ip.octets().to_vec())),
                ipv6_port_raw: port,
                ..Self::default()
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Version, Writer, record};

    #[test]
    fn an_address_lies_on_the_wire_as_little_endian_machines_pack_it() {
        let address = SlurmAddr::from(SocketAddr::from(([127, 0, 0, 1], 0x4599)));
        let mut writer = Writer::new(Version::LAST);
        record::write(&address, &mut writer).expect("fits");
        assert_eq!(writer.into_bytes(), [0, 2, 1, 0, 0, 127, 0x99, 0x45]);
    }

    #[test]
    fn addresses_come_back() {
        for text in ["127.0.0.1:17817", "[2001:db8::1]:6818"] {
            let address: SocketAddr = text.parse().expect("an address");
            assert_eq!(SlurmAddr::from(address).socket(), Some(address));
        }
        assert_eq!(SlurmAddr::default().socket(), None);
    }
}
