//! A type per structure of the tables. Names are those of the tables, which are those of Slurm's interface.

use crate::body::Nested;
use crate::fault::Error;
use crate::field::{Field, Look, Wire};
use crate::read::Reader;
use crate::record::{self, Op, Record, Shape, Spec};
use crate::value::{Bits, Bytes, Double, Text};
use crate::write::Writer;
use std::fmt;

/// A structure that there is.
#[derive(Debug)]
pub struct Known {
    pub shape: &'static Shape,
    /// One with nothing in it.
    pub empty: fn() -> Box<dyn Record>,
}

/// What every structure can because it is a record.
macro_rules! plumbing {
    ($name:ident) => {
        impl Field for $name {
            fn read(&mut self, _: Wire, _: u64, r: &mut Reader<'_>) -> Result<(), Error> {
                record::read(self, r)
            }
            fn write(&self, _: Wire, _: u64, w: &mut Writer) -> Result<(), Error> {
                record::write(self, w)
            }
            fn look(&self) -> Look<'_> {
                Look::Record(self)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                record::debug(self, f)
            }
        }
    };
}

include!(concat!(env!("OUT_DIR"), "/structures.rs"));
