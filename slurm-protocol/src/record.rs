//! The interpreter: reads, writes and shows any structure in any version, by its shape.

use crate::NO_VAL;
use crate::fault::Error;
use crate::field::{Field, Look, Wire};
use crate::read::Reader;
use crate::version::Version;
use crate::write::Writer;
use std::fmt;

/// A structure of the tables.
pub trait Record {
    fn shape(&self) -> &'static Shape;
    /// The field that a [`Spec`] of the shape names.
    fn field(&self, slot: u16) -> &dyn Field;
    fn field_mut(&mut self, slot: u16) -> &mut dyn Field;
}

/// The layout of a structure in all versions.
#[derive(Debug)]
pub struct Shape {
    pub name: &'static str,
    /// First and last version that has it.
    pub since: u8,
    pub until: u8,
    /// In the order of the wire.
    pub fields: &'static [Spec],
}

/// One line of a layout: where a field lies in some versions.
#[derive(Debug)]
pub struct Spec {
    pub name: &'static str,
    pub slot: u16,
    pub since: u8,
    pub until: u8,
    pub wire: Wire,
    /// It is there if this says so; always if it is empty.
    pub when: &'static [Op],
    /// How many items, or which message; nothing if it is empty.
    pub argument: &'static [Op],
}

/// A step of an expression over fields that were read before.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    Const(u64),
    Slot(u16),
    /// A field of a structure that is a field.
    Inner(u16, u16),
    /// The word in front of a list.
    Count(u16),
    Not,
    And,
    Or,
    BitAnd,
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

/// No expression of the tables goes deeper.
const STACK: usize = 8;

impl Spec {
    fn covers(&self, version: Version) -> bool {
        (self.since..=self.until).contains(&version.number())
    }

    fn holds(&self, record: &dyn Record) -> bool {
        self.when.is_empty() || evaluate(self.when, record) != 0
    }

    fn argument(&self, record: &dyn Record) -> u64 {
        if self.argument.is_empty() { 0 } else { evaluate(self.argument, record) }
    }
}

fn number(look: Look<'_>) -> u64 {
    match look {
        Look::Bool(value) => value.into(),
        Look::Unsigned(value) => value,
        Look::Signed(value) => value.cast_unsigned(),
        Look::Absent | Look::Real(_) | Look::Text(_) | Look::Bytes(_) => 0,
        Look::Bits(_) | Look::Many(_) | Look::Record(_) | Look::Body(_) => 0,
    }
}

fn evaluate(program: &[Op], record: &dyn Record) -> u64 {
    let mut stack = [0_u64; STACK];
    let mut top = 0;
    for op in program {
        let value = match *op {
            Op::Const(value) => value,
            Op::Slot(slot) => number(record.field(slot).look()),
            Op::Inner(slot, inner) => match record.field(slot).look() {
                Look::Record(inside) => number(inside.field(inner).look()),
                _ => 0,
            },
            Op::Count(slot) => match record.field(slot).look() {
                Look::Many(items) => items.count() as u64,
                _ => NO_VAL.into(),
            },
            Op::Not => {
                top -= 1;
                u64::from(stack[top] == 0)
            }
            binary => {
                top -= 2;
                let (a, b) = (stack[top], stack[top + 1]);
                match binary {
                    Op::And => u64::from(a != 0 && b != 0),
                    Op::Or => u64::from(a != 0 || b != 0),
                    Op::BitAnd => a & b,
                    Op::Equal => u64::from(a == b),
                    Op::Unequal => u64::from(a != b),
                    Op::Less => u64::from(a < b),
                    Op::AtMost => u64::from(a <= b),
                    Op::Greater => u64::from(a > b),
                    Op::AtLeast => u64::from(a >= b),
                    Op::Const(_) | Op::Slot(_) | Op::Inner(..) | Op::Count(_) | Op::Not => {
                        unreachable!("matched above")
                    }
                }
            }
        };
        stack[top] = value;
        top += 1;
    }
    stack[0]
}

/// The fields that a record with these values has on the wire in this version.
pub(crate) fn present(record: &dyn Record, version: Version) -> impl Iterator<Item = &'static Spec> {
    let fields = record.shape().fields.iter();
    fields.filter(move |spec| spec.covers(version) && spec.holds(record))
}

pub fn read(record: &mut dyn Record, r: &mut Reader<'_>) -> Result<(), Error> {
    let shape = record.shape();
    let version = r.version();
    r.enter()?;
    // Not `present`: each field that is read decides about later ones.
    for spec in shape.fields.iter().filter(|spec| spec.covers(version)) {
        if spec.holds(record) {
            let argument = spec.argument(record);
            let read = record.field_mut(spec.slot).read(spec.wire, argument, r);
            read.map_err(|error| error.within(shape.name, spec.name))?;
        }
    }
    r.leave();
    Ok(())
}

pub fn write(record: &dyn Record, w: &mut Writer) -> Result<(), Error> {
    let shape = record.shape();
    for spec in present(record, w.version()) {
        let written = record.field(spec.slot).write(spec.wire, spec.argument(record), w);
        written.map_err(|error| error.within(shape.name, spec.name))?;
    }
    Ok(())
}

/// Every field that holds something.
pub(crate) fn debug(record: &dyn Record, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let shape = record.shape();
    let mut out = f.debug_struct(shape.name);
    let mut shown = Vec::new();
    for spec in shape.fields {
        if !shown.contains(&spec.slot) {
            shown.push(spec.slot);
            let look = record.field(spec.slot).look();
            if !matches!(look, Look::Absent) {
                out.field(spec.name, &look);
            }
        }
    }
    out.finish()
}

impl fmt::Debug for Look<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("null"),
            Self::Bool(value) => value.fmt(f),
            Self::Unsigned(value) => value.fmt(f),
            Self::Signed(value) => value.fmt(f),
            Self::Real(value) => value.fmt(f),
            Self::Text(value) => value.fmt(f),
            Self::Bytes(value) => value.fmt(f),
            Self::Bits(value) => fmt::Debug::fmt(value, f),
            Self::Many(many) => f.debug_list().entries((0..many.count()).map(|at| many.item(at))).finish(),
            Self::Record(record) => debug(*record, f),
            Self::Body(body) => fmt::Debug::fmt(body, f),
        }
    }
}
