//! The stream between the tasks of a node and `srun`: a record that says who calls, then packets both ways.

use crate::fault::{Error, Fault};
use crate::read::{Limits, Reader};
use crate::value::{Bytes, Text};
use crate::version::Version;
use crate::write::Writer;

/// From 23.11 on the key is a text.
const KEY_IS_TEXT: u8 = 40;

/// The first thing a node sends, behind a length word.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Init {
    pub version: Version,
    /// Of the step, from 0.
    pub node: u32,
    pub stdout_objects: u32,
    /// 0 if stderr is merged into stdout.
    pub stderr_objects: u32,
    /// The signature of the launch credential.
    pub key: Vec<u8>,
}

impl Init {
    /// Its length word taken off.
    pub fn read(bytes: &[u8], limits: &Limits) -> Result<Self, Error> {
        let word = Reader::new(bytes, Version::LAST, limits).u16()?;
        let version = Version::from_wire(word).ok_or_else(|| Error::new(Fault::Version(word), 0))?;
        let mut reader = Reader::new(bytes, version, limits);
        reader.u16()?;
        let (node, stdout_objects, stderr_objects) = (reader.u32()?, reader.u32()?, reader.u32()?);
        let key = if version.number() < KEY_IS_TEXT {
            Bytes::read(&mut reader)?.0
        } else {
            Text::read(&mut reader)?.whole().unwrap_or_default().to_owned()
        };
        reader.finish()?;
        Ok(Self { version, node, stdout_objects, stderr_objects, key })
    }

    /// Without a length word.
    pub fn write(&self) -> Result<Vec<u8>, Error> {
        let mut writer = Writer::new(self.version);
        writer.u16(self.version.to_wire());
        writer.u32(self.node);
        writer.u32(self.stdout_objects);
        writer.u32(self.stderr_objects);
        if self.version.number() < KEY_IS_TEXT {
            Bytes(self.key.clone()).write(&mut writer)?;
        } else {
            Text::new(&self.key).write(&mut writer)?;
        }
        Ok(writer.into_bytes())
    }
}

/// What a packet is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    Stdin,
    Stdout,
    Stderr,
    /// For every task of the node.
    AllStdin,
    ConnectionTest,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Stdin, Self::Stdout, Self::Stderr, Self::AllStdin, Self::ConnectionTest];

    fn to_wire(self) -> u16 {
        match self {
            Self::Stdin => 0,
            Self::Stdout => 1,
            Self::Stderr => 2,
            Self::AllStdin => 3,
            Self::ConnectionTest => 4,
        }
    }
}

/// A task id that means all of them.
pub const ALL_TASKS: u16 = 0xffff;

/// The head of a packet; `length` bytes follow. A length of 0 ends that stream of that task.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Head {
    pub kind: Kind,
    /// Of the step.
    pub task: u16,
    /// On the node.
    pub local_task: u16,
    pub length: u32,
}

impl Head {
    pub const LEN: usize = 10;

    /// `length_max`: no packet is longer.
    pub fn read(bytes: &[u8; Self::LEN], length_max: u32) -> Result<Self, Error> {
        let [k0, k1, t0, t1, l0, l1, length @ ..] = *bytes;
        let kind = u16::from_be_bytes([k0, k1]);
        let known = Kind::ALL.into_iter().find(|known| known.to_wire() == kind);
        let length = u32::from_be_bytes(length);
        if length > length_max {
            let fault = Fault::Frame { length: length.into(), most: length_max as usize };
            return Err(Error::new(fault, 6));
        }
        Ok(Self {
            kind: known.ok_or_else(|| Error::new(Fault::Packet(kind), 0))?,
            task: u16::from_be_bytes([t0, t1]),
            local_task: u16::from_be_bytes([l0, l1]),
            length,
        })
    }

    pub fn write(self) -> [u8; Self::LEN] {
        let [k0, k1] = self.kind.to_wire().to_be_bytes();
        let [t0, t1] = self.task.to_be_bytes();
        let [l0, l1] = self.local_task.to_be_bytes();
        let [a, b, c, d] = self.length.to_be_bytes();
        [k0, k1, t0, t1, l0, l1, a, b, c, d]
    }
}
