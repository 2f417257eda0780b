//! Any record as JSON, with the fields that its version has, in the order of the wire.

use crate::body::Body;
use crate::field::Look;
use crate::record::{self, Record};
use crate::version::Version;
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

/// What is shown, in the version in which it travels.
///
/// Texts that are not UTF-8 and bytes are objects of one member: `{"hex": "00ff"}`. Bitmaps are their length and digits.
#[derive(Debug)]
pub struct View<'a> {
    look: Look<'a>,
    version: Version,
}

impl<'a> View<'a> {
    pub fn record(record: &'a dyn Record, version: Version) -> Self {
        Self { look: Look::Record(record), version }
    }

    /// Null for a message without a structure.
    pub fn body(body: &'a Body, version: Version) -> Self {
        Self { look: Look::Body(body), version }
    }
}

fn hex<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut map = serializer.serialize_map(Some(1))?;
    map.serialize_entry("hex", &text)?;
    map.end()
}

impl Serialize for View<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let version = self.version;
        match self.look {
            Look::Absent => serializer.serialize_unit(),
            Look::Bool(value) => serializer.serialize_bool(value),
            Look::Unsigned(value) => serializer.serialize_u64(value),
            Look::Signed(value) => serializer.serialize_i64(value),
            Look::Real(value) => serializer.serialize_f64(value),
            Look::Bytes(bytes) => hex(bytes, serializer),
            Look::Bits(bits) if bits.is_null() => serializer.serialize_unit(),
            Look::Bits(bits) => serializer.collect_str(bits),
            Look::Text(text) => match (text.get(), text.as_str()) {
                (None, _) => serializer.serialize_unit(),
                (_, Some(text)) => serializer.serialize_str(text),
                (Some(bytes), None) => hex(bytes, serializer),
            },
            Look::Many(many) => {
                let mut list = serializer.serialize_seq(Some(many.count()))?;
                for at in 0..many.count() {
                    list.serialize_element(&View { look: many.item(at), version })?;
                }
                list.end()
            }
            Look::Record(record) => {
                let mut map = serializer.serialize_map(None)?;
                for spec in record::present(record, version) {
                    map.serialize_entry(spec.name, &View { look: record.field(spec.slot).look(), version })?;
                }
                map.end()
            }
            Look::Body(body) => match body.record() {
                Some(record) => View::record(record, version).serialize(serializer),
                None => serializer.serialize_unit(),
            },
        }
    }
}
