//! How a field of each type lies on the wire.

use crate::NO_VAL;
use crate::body::{Body, Nested};
use crate::fault::{Error, Fault};
use crate::read::Reader;
use crate::record::Record;
use crate::value::{Bits, Bytes, Double, Text};
use crate::write::Writer;

/// What a version makes of a field. Where the type of the field leaves no choice, it is its [`Wire::Own`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wire {
    Bool,
    U8,
    U16,
    U32,
    U64,
    Own,
    /// A count, then items.
    Array(&'static Wire),
    /// The same, with `NO_VAL` for null.
    List(&'static Wire),
    /// Items, as many as another field says.
    Counted(&'static Wire),
}

/// A value that can be read into and written, whichever its type.
///
/// `argument` is the number that an earlier field holds for this one: of items, or of the message whose body it is.
pub trait Field {
    fn read(&mut self, wire: Wire, argument: u64, r: &mut Reader<'_>) -> Result<(), Error>;
    fn write(&self, wire: Wire, argument: u64, w: &mut Writer) -> Result<(), Error>;
    /// What it holds, for conditions and for people.
    fn look(&self) -> Look<'_>;
}

/// A field's value.
#[derive(Clone, Copy)]
pub enum Look<'a> {
    Absent,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Real(f64),
    Text(&'a Text),
    Bytes(&'a [u8]),
    Bits(&'a Bits),
    Many(&'a dyn Many),
    Record(&'a dyn Record),
    Body(&'a Body),
}

/// Values one after the other.
pub trait Many {
    fn count(&self) -> usize;
    fn item(&self, at: usize) -> Look<'_>;
}

impl Wire {
    fn read(self, r: &mut Reader<'_>) -> Result<u64, Error> {
        match self {
            Self::U8 => r.u8().map(u64::from),
            Self::U16 => r.u16().map(u64::from),
            Self::U32 => r.u32().map(u64::from),
            Self::U64 => r.u64(),
            Self::Bool => match r.u8()? {
                truth @ 0..=1 => Ok(truth.into()),
                other => Err(r.error(Fault::Truth(other))),
            },
            Self::Own | Self::Array(_) | Self::List(_) | Self::Counted(_) => unreachable!("{NUMBERS}"),
        }
    }

    fn write(self, value: u64, w: &mut Writer) -> Result<(), Error> {
        let range = |w: &Writer| w.error(Fault::Range(value));
        match self {
            Self::Bool if value > 1 => return Err(range(w)),
            Self::U8 | Self::Bool => w.u8(u8::try_from(value).map_err(|_| range(w))?),
            Self::U16 => w.u16(u16::try_from(value).map_err(|_| range(w))?),
            Self::U32 => w.u32(u32::try_from(value).map_err(|_| range(w))?),
            Self::U64 => w.u64(value),
            Self::Own | Self::Array(_) | Self::List(_) | Self::Counted(_) => unreachable!("{NUMBERS}"),
        }
        Ok(())
    }
}

/// Why a number is never given the layout of a list, nor a list that of a number.
const NUMBERS: &str = "type and layout of a field are made from the same line of the tables";

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Field for $number {
            fn read(&mut self, wire: Wire, _: u64, r: &mut Reader<'_>) -> Result<(), Error> {
                *self = wire.read(r)?.try_into().expect("the type is the widest of its versions");
                Ok(())
            }
            fn write(&self, wire: Wire, _: u64, w: &mut Writer) -> Result<(), Error> {
                wire.write((*self).into(), w)
            }
            fn look(&self) -> Look<'_> {
                Look::Unsigned((*self).into())
            }
        }
    )*};
}

numbers!(u8, u16, u32, u64);

impl Field for bool {
    fn read(&mut self, wire: Wire, _: u64, r: &mut Reader<'_>) -> Result<(), Error> {
        *self = wire.read(r)? != 0;
        Ok(())
    }
    fn write(&self, wire: Wire, _: u64, w: &mut Writer) -> Result<(), Error> {
        wire.write((*self).into(), w)
    }
    fn look(&self) -> Look<'_> {
        Look::Bool(*self)
    }
}

/// Times: seconds since the epoch.
impl Field for i64 {
    fn read(&mut self, _: Wire, _: u64, r: &mut Reader<'_>) -> Result<(), Error> {
        *self = r.u64()?.cast_signed();
        Ok(())
    }
    fn write(&self, _: Wire, _: u64, w: &mut Writer) -> Result<(), Error> {
        w.u64(self.cast_unsigned());
        Ok(())
    }
    fn look(&self) -> Look<'_> {
        Look::Signed(*self)
    }
}

impl Field for Double {
    fn read(&mut self, _: Wire, _: u64, r: &mut Reader<'_>) -> Result<(), Error> {
        *self = Self::from_wire(r.u64()?);
        Ok(())
    }
    fn write(&self, _: Wire, _: u64, w: &mut Writer) -> Result<(), Error> {
        w.u64(self.to_wire());
        Ok(())
    }
    fn look(&self) -> Look<'_> {
        Look::Real(self.get())
    }
}

macro_rules! own {
    ($($value:ident: $look:expr;)*) => {$(
        impl Field for $value {
            fn read(&mut self, _: Wire, _: u64, r: &mut Reader<'_>) -> Result<(), Error> {
                *self = Self::read(r)?;
                Ok(())
            }
            fn write(&self, _: Wire, _: u64, w: &mut Writer) -> Result<(), Error> {
                Self::write(self, w)
            }
            fn look(&self) -> Look<'_> {
                let look: for<'a> fn(&'a Self) -> Look<'a> = $look;
                look(self)
            }
        }
    )*};
}

own! {
    Text: |text| Look::Text(text);
    Bytes: |bytes| Look::Bytes(&bytes.0);
    Bits: |bits| Look::Bits(bits);
}

impl Field for Nested {
    fn read(&mut self, _: Wire, number: u64, r: &mut Reader<'_>) -> Result<(), Error> {
        self.0 = Some(Body::read(number, r)?);
        Ok(())
    }
    fn write(&self, _: Wire, number: u64, w: &mut Writer) -> Result<(), Error> {
        match &self.0 {
            Some(body) if body.number(w.version()).map(u64::from) == Some(number) => body.write(w),
            // Without a body the number has to be that of a message that needs none.
            None if Body::named(number, w.version()).is_some_and(|body| body.record().is_none()) => Ok(()),
            Some(_) | None => Err(w.error(Fault::Message(number))),
        }
    }
    fn look(&self) -> Look<'_> {
        self.0.as_ref().map_or(Look::Absent, Look::Body)
    }
}

impl<T: Field + Default> Field for Box<T> {
    fn read(&mut self, wire: Wire, argument: u64, r: &mut Reader<'_>) -> Result<(), Error> {
        r.charge(size_of::<T>())?;
        (**self).read(wire, argument, r)
    }
    fn write(&self, wire: Wire, argument: u64, w: &mut Writer) -> Result<(), Error> {
        (**self).write(wire, argument, w)
    }
    fn look(&self) -> Look<'_> {
        (**self).look()
    }
}

/// What some versions leave out. Where one has it and nothing is given, nothing is written: null, zero, empty.
impl<T: Field + Default> Field for Option<T> {
    fn read(&mut self, wire: Wire, argument: u64, r: &mut Reader<'_>) -> Result<(), Error> {
        if matches!(wire, Wire::List(_)) && r.peek_u32() == Some(NO_VAL) {
            *self = None;
            return r.u32().map(drop);
        }
        self.insert(T::default()).read(wire, argument, r)
    }
    fn write(&self, wire: Wire, argument: u64, w: &mut Writer) -> Result<(), Error> {
        match self {
            Some(value) => value.write(wire, argument, w),
            None if matches!(wire, Wire::List(_)) => {
                w.u32(NO_VAL);
                Ok(())
            }
            None => T::default().write(wire, argument, w),
        }
    }
    fn look(&self) -> Look<'_> {
        self.as_ref().map_or(Look::Absent, Field::look)
    }
}

impl<T: Field + Default> Field for Vec<T> {
    fn read(&mut self, wire: Wire, argument: u64, r: &mut Reader<'_>) -> Result<(), Error> {
        let (count, item) = match wire {
            Wire::Array(item) | Wire::List(item) => (r.u32()?.into(), item),
            Wire::Counted(item) => (argument, item),
            _ => unreachable!("{NUMBERS}"),
        };
        let count = r.expect_items(count)?;
        r.charge(count.saturating_mul(size_of::<T>()))?;
        self.clear();
        self.reserve_exact(count);
        for _ in 0..count {
            let mut value = T::default();
            value.read(*item, 0, r)?;
            self.push(value);
        }
        Ok(())
    }
    fn write(&self, wire: Wire, argument: u64, w: &mut Writer) -> Result<(), Error> {
        let item = match wire {
            Wire::Array(item) | Wire::List(item) => {
                w.length(self.len())?;
                item
            }
            Wire::Counted(item) => {
                if self.len() as u64 != argument {
                    return Err(w.error(Fault::Count { held: self.len(), stated: argument }));
                }
                item
            }
            _ => unreachable!("{NUMBERS}"),
        };
        self.iter().try_for_each(|value| value.write(*item, 0, w))
    }
    fn look(&self) -> Look<'_> {
        Look::Many(self)
    }
}

impl<T: Field> Many for Vec<T> {
    fn count(&self) -> usize {
        self.len()
    }
    fn item(&self, at: usize) -> Look<'_> {
        self[at].look()
    }
}
