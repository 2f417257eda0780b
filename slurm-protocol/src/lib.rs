//! Slurm's wire protocol, releases 22.05 to 26.05: bytes to typed values and back.
//!
//! The tables in `schema/` say what lies where in which version; `build/` makes a type and a [`Shape`] of each
//! structure, and one small interpreter here ([`record`]) reads and writes all of them in all versions. So no version is
//! ever compared by hand. A field that some version or condition leaves out is an `Option`; when it has to be written and
//! is `None`, zero or null is written.
//!
//! A frame is opened in steps, so that nobody's bytes are decoded further than they are trusted: [`frame_length`] says
//! how long it is, [`Envelope::read`] gives header, credential and the bare bytes of the body, [`hash::check`] compares
//! those with what the credential holds, [`Envelope::body`] decodes them. Connections to slurmdbd: [`persist`]. What
//! flows between tasks and `srun`: [`io`].
//!
//! Whatever a length on the wire says, no more is allocated than [`Limits`] allows. Not here: sockets, and who may send
//! what.

pub mod addr;
mod body;
pub mod constants;
pub mod errors;
mod fault;
mod field;
pub mod hash;
pub mod io;
mod json;
mod message;
pub mod persist;
mod read;
pub mod record;
pub mod structures;
mod value;
mod version;
mod write;

pub use body::{Body, Nested};
pub use fault::{Error, Fault};
pub use field::{Field, Look, Many, Wire};
pub use json::View;
pub use message::{Envelope, FRAME_BYTES_MAX, Message, SealError, flags, frame_length, framed};
pub use read::{Limits, Reader};
pub use record::{Op, Record, Shape, Spec};
pub use value::{Bits, Bytes, Double, Text};
pub use version::Version;
pub use write::Writer;

/// *Not given*, in a field of 8 bits.
pub const NO_VAL8: u8 = 0xfe;
/// *Not given*, in a field of 16 bits.
pub const NO_VAL16: u16 = 0xfffe;
/// *Not given*, in a field of 32 bits; as the count of a list it means null.
pub const NO_VAL: u32 = 0xffff_fffe;
/// *Not given*, in a field of 64 bits.
pub const NO_VAL64: u64 = 0xffff_ffff_ffff_fffe;
/// *Unlimited*, or in an update *clear this*.
pub const INFINITE8: u8 = u8::MAX;
/// *Unlimited*, in a field of 16 bits.
pub const INFINITE16: u16 = u16::MAX;
/// *Unlimited*, in a field of 32 bits.
pub const INFINITE: u32 = u32::MAX;
/// *Unlimited*, in a field of 64 bits.
pub const INFINITE64: u64 = u64::MAX;
