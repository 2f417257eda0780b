//! The bodies of the fuzz targets, on captured frames that are edited at random: lengths, counts, types and bytes.
//!
//! `EXECUTIONS=10000000` makes it that many for each target, and `CORPUS=FOLDER` writes what fuzzers start from.

mod frames;
#[path = "../../fuzz/src/slurm_protocol.rs"]
mod targets;

use frames::{Frame, Framing};
use std::path::Path;

/// Without a word from outside.
const EXECUTIONS: u64 = 20_000;

/// A small generator: the same edits on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

/// Words that mean something as a length, a count or a number.
const WORDS: [u32; 8] = [0, 1, 0xffff_fffe, 0xffff_ffff, 0x7fff_ffff, 0x8000_0000, 0x0010_0000, 100];

fn edit(bytes: &mut Vec<u8>, random: &mut Random) {
    let len = bytes.len();
    let at = random.below(len + 1);
    match random.below(6) {
        0 if at < len => bytes[at] = random.below(256) as u8,
        1 if at + 4 <= len => {
            let word = WORDS[random.below(WORDS.len())];
            bytes[at..at + 4].copy_from_slice(&word.to_be_bytes());
        }
        2 => drop(bytes.drain(at..(at + random.below(9)).min(len))),
        3 => bytes.insert(at, random.below(256) as u8),
        4 => {
            let copy = bytes[at..(at + random.below(64)).min(len)].to_vec();
            bytes.splice(at..at, copy);
        }
        _ if at < len => bytes[at] = bytes[at].wrapping_add(1),
        _ => bytes.push(0),
    }
}

/// The captured frames as this target takes them, with their names.
fn seeds(target: &str, frames: &[Frame]) -> Vec<(String, Vec<u8>)> {
    let of = |kind: &[Framing]| -> Vec<&Frame> {
        frames.iter().filter(|frame| kind.contains(&frame.framing) && frame.bytes.len() < 4096).collect()
    };
    let named = |frame: &Frame, bytes: Vec<u8>| (frame.name.clone(), bytes);
    let versioned =
        |frame: &&Frame| named(frame, [&[frame.version.number() - 38], frame.bytes.as_slice()].concat());
    match target {
        "slurm_persist" => of(&[Framing::Persist]).iter().map(versioned).collect(),
        "slurm_io" => {
            of(&[Framing::StepToSrun]).iter().map(|frame| named(frame, frame.bytes[4..].to_vec())).collect()
        }
        "slurm_message" => {
            let frames = of(&[Framing::Message, Framing::PersistInit]);
            frames.iter().map(|frame| named(frame, frame.bytes.clone())).collect()
        }
        // Any structure may be the one that those bytes are.
        _ => of(&[Framing::Message]).iter().map(versioned).collect(),
    }
}

#[test]
fn bytes_are_read_or_refused() {
    let executions =
        std::env::var("EXECUTIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(EXECUTIONS);
    let frames: Vec<Frame> = frames::releases().iter().flat_map(|release| frames::of(release)).collect();
    for (name, body) in targets::TARGETS {
        let seeds = seeds(name, &frames);
        assert!(!seeds.is_empty(), "{name}");
        if let Ok(folder) = std::env::var("CORPUS") {
            let folder = Path::new(&folder).join(name);
            std::fs::create_dir_all(&folder).expect("it can be made");
            for (at, (frame, seed)) in seeds.iter().enumerate() {
                std::fs::write(folder.join(format!("{at}-{frame}")), seed).expect("it can be written");
            }
        }
        let mut random = Random(name.len() as u64);
        for _ in 0..executions {
            let mut bytes = seeds[random.below(seeds.len())].1.clone();
            for _ in 0..=random.below(4) {
                edit(&mut bytes, &mut random);
            }
            body(&bytes);
        }
    }
}
