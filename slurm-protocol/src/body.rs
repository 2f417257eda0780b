//! Bodies of messages: which structure a message type carries in which version.

use crate::fault::{Error, Fault};
use crate::read::Reader;
use crate::record::{self, Record};
use crate::structures::*;
use crate::version::Version;
use crate::write::Writer;
use std::fmt;

/// A message type.
struct Entry {
    name: &'static str,
    /// Number, and the first and last version in which it means this body.
    numbers: &'static [(u16, u8, u8)],
}

include!(concat!(env!("OUT_DIR"), "/body.rs"));

/// The body of another message inside a structure.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Nested(pub Option<Body>);

impl Body {
    /// The message type's name, as Slurm has it.
    pub fn name(&self) -> &'static str {
        self.entry().name
    }

    fn entry(&self) -> &'static Entry {
        &MESSAGES[usize::from(self.index())]
    }

    /// Its message type on the wire; none if that version does not have it.
    pub fn number(&self, version: Version) -> Option<u16> {
        let version = version.number();
        let numbers = self.entry().numbers.iter();
        numbers.clone().find(|(_, since, until)| (*since..=*until).contains(&version)).map(|found| found.0)
    }

    /// The body that this message type has in this version, with nothing in it.
    pub fn named(number: u64, version: Version) -> Option<Self> {
        let wanted = u16::try_from(number).ok()?;
        let version = version.number();
        let start = NUMBERS.partition_point(|(number, ..)| *number < wanted);
        let same = NUMBERS[start..].iter().take_while(|(number, ..)| *number == wanted);
        let mut found = same.filter(|(_, since, until, _)| (*since..=*until).contains(&version));
        found.next().map(|(.., index)| Self::make(*index))
    }

    /// Every message type, with nothing in it; twice where versions gave it different structures.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..MESSAGES.len()).map(|index| Self::make(u16::try_from(index).expect("made from 16 bits")))
    }

    /// The body of that message type, from here.
    pub fn read(number: u64, r: &mut Reader<'_>) -> Result<Self, Error> {
        let mut body = Self::named(number, r.version()).ok_or_else(|| r.error(Fault::Message(number)))?;
        if let Some(record) = body.record_mut() {
            r.charge(size_of_val(record))?;
            record::read(record, r)?;
        }
        Ok(body)
    }

    /// Without the number.
    pub fn write(&self, w: &mut Writer) -> Result<(), Error> {
        if self.number(w.version()).is_none() {
            return Err(w.error(Fault::Absent(self.name())));
        }
        self.record().map_or(Ok(()), |record| record::write(record, w))
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        self.record().map_or(Ok(()), |record| {
            f.write_str(" ")?;
            record::debug(record, f)
        })
    }
}
