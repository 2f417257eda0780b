//! Captured frames of eight releases, out of `tests/vectors/`. What is in there and how it is packed: its README.

use flurm_slurm_protocol::Version;
use std::path::{Path, PathBuf};

/// What kind of connection a frame was seen on.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Framing {
    /// Header, credential, body.
    Message,
    /// The same behind a type, to slurmdbd.
    PersistInit,
    /// A type and a body.
    Persist,
    /// All that the step daemon sent to srun.
    StepToSrun,
    SrunToStep,
}

impl Framing {
    const NAMES: [(&'static str, Self); 6] = [
        ("msg", Self::Message),
        ("dbd-init", Self::PersistInit),
        ("dbd", Self::Persist),
        ("persist", Self::Persist),
        ("io-client", Self::StepToSrun),
        ("io-server", Self::SrunToStep),
    ];

    pub fn named(name: &str) -> Self {
        let found = Self::NAMES.iter().find(|(known, _)| *known == name);
        found.unwrap_or_else(|| panic!("framing {name}")).1
    }
}

/// A frame without its length word, or one direction of a stream.
#[derive(Clone, Debug)]
pub struct Frame {
    pub framing: Framing,
    pub version: Version,
    pub name: String,
    pub bytes: Vec<u8>,
}

pub fn folder() -> PathBuf {
    // From other crates as well, which read these frames in their tests.
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../slurm-protocol/tests/vectors")
}

/// Frames of one release.
pub fn of(release: &str) -> Vec<Frame> {
    let packed = std::fs::read(folder().join(format!("{release}.lz4"))).expect("the vectors are there");
    let bytes = lz4_flex::decompress_size_prepended(&packed).expect("as it was packed");
    let mut rest = bytes.as_slice();
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n').expect("a line");
        let line = std::str::from_utf8(&rest[..end]).expect("of text");
        let [framing, version, length, name] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let length: usize = length.parse().expect("a length");
        let (frame, after) = rest[end + 1..].split_at(length);
        frames.push(Frame {
            framing: Framing::named(framing),
            version: version.parse().expect("a version"),
            name: name.to_owned(),
            bytes: frame.to_owned(),
        });
        rest = after;
    }
    frames
}

/// Releases that there are, oldest first.
pub fn releases() -> Vec<String> {
    let files = std::fs::read_dir(folder()).expect("the vectors are there");
    let names = files.filter_map(|file| file.ok()?.file_name().into_string().ok());
    let mut releases: Vec<String> =
        names.filter_map(|name| name.strip_suffix(".lz4").map(str::to_owned)).collect();
    releases.sort();
    releases
}
