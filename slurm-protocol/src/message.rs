//! Frames: length, header, credential, body.

use crate::body::Body;
use crate::fault::{Error, Fault};
use crate::read::{Limits, Reader};
use crate::record;
use crate::structures::{AuthCred, Header};
use crate::version::Version;
use crate::write::Writer;

/// Slurm's own bound of a frame.
pub const FRAME_BYTES_MAX: usize = 1 << 30;

/// Flags of a header.
pub mod flags {
    /// The key of slurmdbd.
    pub const GLOBAL_KEY: u16 = 0x1;
    /// To slurmdbd, on a connection that stays.
    pub const DBD: u16 = 0x2;
    /// No credential between header and body; known since 23.02.
    pub const NO_CREDENTIAL: u16 = 0x40;
}

/// The length of a frame, from the word in front of it.
pub fn frame_length(word: [u8; 4], limits: &Limits) -> Result<usize, Error> {
    let length = u32::from_be_bytes(word);
    let most = limits.frame_bytes_max.min(FRAME_BYTES_MAX);
    match usize::try_from(length) {
        Ok(length) if length <= most => Ok(length),
        _ => Err(Error::new(Fault::Frame { length: length.into(), most }, 0)),
    }
}

/// A frame with its length in front.
pub fn framed(frame: &[u8]) -> Result<Vec<u8>, Error> {
    let length = u32::try_from(frame.len()).ok().filter(|_| frame.len() <= FRAME_BYTES_MAX);
    let fault = Fault::Frame { length: frame.len() as u64, most: FRAME_BYTES_MAX };
    let length = length.ok_or(Error::new(fault, 0))?;
    Ok([&length.to_be_bytes(), frame].concat())
}

/// A frame whose body is still bytes: to be decoded once its sender is known.
#[derive(Debug)]
pub struct Envelope<'a> {
    pub version: Version,
    pub header: Header,
    /// None if the header says so.
    pub auth: Option<AuthCred>,
    pub body_bytes: &'a [u8],
    body_offset: usize,
}

impl<'a> Envelope<'a> {
    /// Opens a frame, its length word taken off.
    pub fn read(frame: &'a [u8], limits: &Limits) -> Result<Self, Error> {
        if frame.len() > limits.frame_bytes_max {
            let fault = Fault::Frame { length: frame.len() as u64, most: limits.frame_bytes_max };
            return Err(Error::new(fault, 0));
        }
        let word = Reader::new(frame, Version::LAST, limits).u16();
        let word = word.map_err(|error| error.within("header", "version"))?;
        let version = Version::from_wire(word);
        let version =
            version.ok_or_else(|| Error::new(Fault::Version(word), 0).within("header", "version"))?;
        let mut reader = Reader::new(frame, version, limits);
        let mut header = Header::default();
        record::read(&mut header, &mut reader)?;
        let auth = if header.flags & flags::NO_CREDENTIAL == 0 {
            let mut auth = AuthCred::default();
            record::read(&mut auth, &mut reader)?;
            Some(auth)
        } else {
            None
        };
        let (body_bytes, body_offset) = (reader.rest(), reader.offset());
        if header.body_length as usize != body_bytes.len() {
            let fault = Fault::BodyLength { stated: header.body_length, found: body_bytes.len() };
            return Err(reader.error(fault).within("header", "body_length"));
        }
        Ok(Self { version, header, auth, body_bytes, body_offset })
    }

    /// Decodes the body, to its last byte.
    pub fn body(&self, limits: &Limits) -> Result<Body, Error> {
        let mut reader = Reader::at(self.body_bytes, self.body_offset, self.version, limits);
        let body = Body::read(self.header.msg_type.into(), &mut reader)?;
        reader.finish()?;
        Ok(body)
    }

    /// All of it.
    pub fn message(self, limits: &Limits) -> Result<Message, Error> {
        let body = self.body(limits)?;
        Ok(Message { version: self.version, header: self.header, auth: self.auth, body })
    }
}

/// A whole message. Version, type and length in the header are written as the rest says, whatever stands there.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub version: Version,
    pub header: Header,
    pub auth: Option<AuthCred>,
    pub body: Body,
}

/// Why a message did not become a frame.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SealError<E> {
    Encode(Error),
    /// What the maker of the credential said.
    Seal(E),
}

impl Message {
    /// Without a credential.
    pub fn new(version: Version, body: Body) -> Self {
        Self { version, header: Header::default(), auth: None, body }
    }

    pub fn read(frame: &[u8], limits: &Limits) -> Result<Self, Error> {
        Envelope::read(frame, limits)?.message(limits)
    }

    /// The frame, without a length word.
    pub fn write(&self) -> Result<Vec<u8>, Error> {
        let body = self.body_bytes()?;
        self.assemble(self.number()?, &body, self.auth.as_ref())
    }

    /// The frame with a credential made for its body: `seal` is given message type and bytes, which it hashes.
    pub fn write_sealed<E>(
        &self,
        seal: impl FnOnce(u16, &[u8]) -> Result<AuthCred, E>,
    ) -> Result<Vec<u8>, SealError<E>> {
        let body = self.body_bytes().map_err(SealError::Encode)?;
        let number = self.number().map_err(SealError::Encode)?;
        let auth = seal(number, &body).map_err(SealError::Seal)?;
        self.assemble(number, &body, Some(&auth)).map_err(SealError::Encode)
    }

    fn number(&self) -> Result<u16, Error> {
        let number = self.body.number(self.version);
        number.ok_or_else(|| Error::new(Fault::Absent(self.body.name()), 0))
    }

    fn body_bytes(&self) -> Result<Vec<u8>, Error> {
        let mut writer = Writer::new(self.version);
        self.body.write(&mut writer)?;
        Ok(writer.into_bytes())
    }

    fn assemble(&self, number: u16, body: &[u8], auth: Option<&AuthCred>) -> Result<Vec<u8>, Error> {
        let mut header = self.header.clone();
        header.version = self.version.to_wire();
        header.msg_type = number;
        header.body_length = u32::try_from(body.len())
            .map_err(|_| Error::new(Fault::Range(body.len() as u64), 0).within("header", "body_length"))?;
        match auth {
            Some(_) => header.flags &= !flags::NO_CREDENTIAL,
            None => header.flags |= flags::NO_CREDENTIAL,
        }
        let mut writer = Writer::after(Vec::with_capacity(body.len() + 512), self.version);
        record::write(&header, &mut writer)?;
        if let Some(auth) = auth {
            record::write(auth, &mut writer)?;
        }
        writer.bytes(body);
        Ok(writer.into_bytes())
    }
}

impl Body {
    /// Its bytes in that version, without header or number: what a credential's hash is made of.
    pub fn to_bytes(&self, version: Version) -> Result<Vec<u8>, Error> {
        let mut writer = Writer::new(version);
        self.write(&mut writer)?;
        Ok(writer.into_bytes())
    }
}
