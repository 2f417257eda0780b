//! Connections that stay: to slurmdbd, and between controllers. After the first exchange a frame is a message type and a
//! body; version and sender are those of the connection.

use crate::body::Body;
use crate::fault::Error;
use crate::message::Envelope;
use crate::read::{Limits, Reader};
use crate::version::Version;
use crate::write::Writer;

/// The type that opens a connection to slurmdbd, which stands there once more in front of the header.
pub const INIT: u16 = 6500;

/// The first frame of a client of slurmdbd, which is an ordinary one behind its type. To a controller it is the ordinary
/// one by itself. None if it begins with something else.
pub fn read_init<'a>(frame: &'a [u8], limits: &Limits) -> Option<Result<Envelope<'a>, Error>> {
    let rest = frame.strip_prefix(&INIT.to_be_bytes())?;
    Some(Envelope::read(rest, limits))
}

/// The first frame, from an ordinary one.
pub fn write_init(frame: &[u8]) -> Vec<u8> {
    [&INIT.to_be_bytes(), frame].concat()
}

/// Any later frame.
pub fn read(frame: &[u8], version: Version, limits: &Limits) -> Result<Body, Error> {
    let mut reader = Reader::new(frame, version, limits);
    let number = reader.u16()?;
    let body = Body::read(number.into(), &mut reader)?;
    reader.finish()?;
    Ok(body)
}

/// The frame of a body, without a length word.
pub fn write(body: &Body, version: Version) -> Result<Vec<u8>, Error> {
    let mut writer = Writer::new(version);
    // A body that the version does not have is refused below.
    writer.u16(body.number(version).unwrap_or_default());
    body.write(&mut writer)?;
    Ok(writer.into_bytes())
}
