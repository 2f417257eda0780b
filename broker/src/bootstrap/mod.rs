//! From what the launcher says to one plain value: rank, size, hosts, addresses, key.

pub mod pmi_wire;
