//! Bytes in the making.

use crate::fault::{Error, Fault};
use crate::version::Version;

/// Appends values as they lie on the wire.
#[derive(Debug)]
pub struct Writer {
    bytes: Vec<u8>,
    version: Version,
}

impl Writer {
    pub fn new(version: Version) -> Self {
        Self { bytes: Vec::new(), version }
    }

    /// After bytes that are there already.
    pub(crate) fn after(bytes: Vec<u8>, version: Version) -> Self {
        Self { bytes, version }
    }

    pub fn version(&self) -> Version {
        self.version
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub fn error(&self, fault: Fault) -> Error {
        Error::new(fault, self.bytes.len())
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    pub fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    pub fn u64(&mut self, value: u64) {
        self.bytes(&value.to_be_bytes());
    }

    /// A length in front of what it counts.
    pub fn length(&mut self, length: usize) -> Result<(), Error> {
        match u32::try_from(length) {
            Ok(length) => {
                self.u32(length);
                Ok(())
            }
            Err(_) => Err(self.error(Fault::Range(length as u64))),
        }
    }
}
