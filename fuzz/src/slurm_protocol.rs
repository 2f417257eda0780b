//! Readers of `flurm-slurm-protocol`: any bytes are a frame or are refused within bounded memory, and what was read is
//! written as the same bytes.

use flurm_slurm_protocol::io::{Head, Init};
use flurm_slurm_protocol::structures::STRUCTURES;
use flurm_slurm_protocol::{Limits, Message, Reader, Version, View, Writer, persist, record};

type Body = fn(&[u8]);

/// Name and body. The texts to start from are the captured frames of the crate's tests.
pub const TARGETS: &[(&str, Body)] = &[
    ("slurm_message", message),
    ("slurm_persist", persist),
    ("slurm_structure", structure),
    ("slurm_io", io),
];

/// Little, so that an allocation that does not count shows.
fn limits() -> Limits {
    Limits { frame_bytes_max: 1 << 20, memory_bytes_max: 4 << 20, ..Limits::default() }
}

/// An ordinary frame, or the first one to slurmdbd.
pub fn message(bytes: &[u8]) {
    let limits = limits();
    if let Some(Ok(envelope)) = persist::read_init(bytes, &limits) {
        let _ = envelope.body(&limits);
    }
    let Ok(message) = Message::read(bytes, &limits) else { return };
    assert_eq!(message.write().as_deref(), Ok(bytes));
    let _ = serde_json::to_string(&View::body(&message.body, message.version));
    let _ = message.header.orig_addr.socket();
}

/// A byte that says the version, then a frame of a connection that stays.
pub fn persist(bytes: &[u8]) {
    let Some((version, bytes)) = versioned(bytes) else { return };
    if let Ok(body) = persist::read(bytes, version, &limits()) {
        assert_eq!(persist::write(&body, version).as_deref(), Ok(bytes));
    }
}

/// A byte that says the version, two that say which, then a structure.
pub fn structure(bytes: &[u8]) {
    let Some((version, bytes)) = versioned(bytes) else { return };
    let Some((which, bytes)) =
        bytes.split_first_chunk().map(|(which, rest)| (u16::from_be_bytes(*which), rest))
    else {
        return;
    };
    let mut value = (STRUCTURES[usize::from(which) % STRUCTURES.len()].empty)();
    let mut reader = Reader::new(bytes, version, &limits());
    if record::read(&mut *value, &mut reader).is_ok() {
        let mut writer = Writer::new(version);
        let written = record::write(&*value, &mut writer).map(|()| writer.into_bytes());
        assert_eq!(written.as_deref(), Ok(&bytes[..reader.offset()]));
    }
}

/// The first record of a stream, and heads of packets.
pub fn io(bytes: &[u8]) {
    if let Ok(init) = Init::read(bytes, &limits()) {
        // Its key may be null or end early, so the bytes may be others.
        let written = init.write().expect("it was read");
        assert_eq!(Init::read(&written, &limits()).as_ref(), Ok(&init));
    }
    for head in bytes.as_chunks().0 {
        assert!(
            Head::read(head, 1 << 20).is_ok_and(|read| read.write() == *head)
                || Head::read(head, 1 << 20).is_err()
        );
    }
}

fn versioned(bytes: &[u8]) -> Option<(Version, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let version = Version::all().nth(usize::from(*first) % Version::all().count())?;
    Some((version, rest))
}
