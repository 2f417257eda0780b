//! From what the launcher says to one plain value: rank, size, hosts, addresses, key.

pub mod card;
pub mod mistake;
pub mod net;
pub mod pmi;
pub mod pmi_wire;
pub mod rendezvous;
pub mod slurm;

pub use mistake::{Mistake, NoBoot};

use std::collections::BTreeMap;

/// The process's environment, as a value.
pub type Vars = BTreeMap<String, String>;

/// Eight letters and digits from the kernel's random numbers.
///
/// # Errors
/// There are none.
pub fn random_name() -> std::io::Result<String> {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let random = crate::boot::Secret::draw()?;
    Ok(random.as_bytes()[..8].iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect())
}
