//! Frames that real Slurm clusters sent: each is read to its last byte and written back as it was.

mod frames;

use flurm_slurm_protocol::io::{Head, Init};
use flurm_slurm_protocol::{Body, Envelope, Limits, Message, Version, View, frame_length, framed, persist};
use frames::{Frame, Framing};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Longer than any packet of a stream.
const PACKET_BYTES_MAX: u32 = 1 << 20;

fn message(bytes: &[u8]) -> (Message, Vec<u8>) {
    let message = Message::read(bytes, &Limits::default()).expect("a real frame is read");
    let written = message.write().expect("what was read is written");
    (message, written)
}

/// Reads, writes, and gives what was written with the body, if there is one.
fn through(frame: &Frame) -> (Vec<u8>, Option<Body>) {
    let limits = Limits::default();
    match frame.framing {
        Framing::Message => {
            let (message, written) = message(&frame.bytes);
            assert_eq!(message.version, frame.version);
            (written, Some(message.body))
        }
        Framing::PersistInit => {
            let envelope = persist::read_init(&frame.bytes, &limits).expect("its type stands in front");
            let message =
                envelope.and_then(|envelope| envelope.message(&limits)).expect("a real frame is read");
            (persist::write_init(&message.write().expect("it was read")), Some(message.body))
        }
        Framing::Persist => {
            let body = persist::read(&frame.bytes, frame.version, &limits).expect("a real frame is read");
            (persist::write(&body, frame.version).expect("it was read"), Some(body))
        }
        Framing::StepToSrun => {
            let (word, rest) = frame.bytes.split_first_chunk().expect("a length");
            let (init, rest) = rest.split_at(frame_length(*word, &limits).expect("a small one"));
            let init = Init::read(init, &limits).expect("a real record is read");
            assert_eq!(init.version, frame.version);
            let init = init.write().expect("it was read");
            (framed(&init).into_iter().flatten().chain(packets(rest)).collect(), None)
        }
        Framing::SrunToStep => (packets(&frame.bytes), None),
    }
}

fn packets(mut rest: &[u8]) -> Vec<u8> {
    let mut written = Vec::new();
    while !rest.is_empty() {
        let (head, after) = rest.split_first_chunk().expect("a whole head");
        let head = Head::read(head, PACKET_BYTES_MAX).expect("a real packet is read");
        let (data, after) = after.split_at(head.length as usize);
        written.extend(head.write());
        written.extend(data);
        rest = after;
    }
    written
}

#[test]
fn real_frames_are_read_to_the_last_byte_and_written_back_as_they_were() {
    let mut types: BTreeMap<Version, BTreeSet<String>> = BTreeMap::new();
    let mut count = 0;
    for release in frames::releases() {
        for (at, frame) in frames::of(&release).iter().enumerate() {
            let what = || format!("{release} {at} {}", frame.name);
            let (written, body) =
                std::panic::catch_unwind(|| through(frame)).unwrap_or_else(|_| panic!("{}", what()));
            assert_eq!(written, frame.bytes, "{}", what());
            if let Some(body) = body {
                assert_eq!(body.name(), frame.name, "{}", what());
                let json = serde_json::to_value(View::body(&body, frame.version)).expect("JSON takes it");
                assert_eq!(json.is_null(), body.record().is_none(), "{}", what());
                types.entry(frame.version).or_default().insert(frame.name.clone());
            }
            count += 1;
        }
    }
    assert_eq!(types.len(), 8, "releases");
    assert!(types.values().all(|types| types.len() >= 137), "types per release");
    assert_eq!(types.values().flatten().collect::<BTreeSet<_>>().len(), 150, "types");
    assert_eq!(count, 2006, "frames");
}

#[test]
fn a_frame_cut_anywhere_is_refused() {
    let frames = frames::of("25.05.8");
    let submit =
        frames.iter().find(|frame| frame.name == "REQUEST_SUBMIT_BATCH_JOB").expect("sbatch was captured");
    for end in 0..submit.bytes.len() {
        assert!(Message::read(&submit.bytes[..end], &Limits::default()).is_err(), "{end}");
    }
    let longer = [submit.bytes.as_slice(), &[0]].concat();
    assert!(Envelope::read(&longer, &Limits::default()).is_err());
}

#[test]
fn an_error_names_structure_field_and_byte() {
    let frames = frames::of("25.05.8");
    let submit =
        frames.iter().find(|frame| frame.name == "REQUEST_SUBMIT_BATCH_JOB").expect("sbatch was captured");
    let envelope = Envelope::read(&submit.bytes, &Limits::default()).expect("a real frame");
    let start = submit.bytes.len() - envelope.body_bytes.len();
    let mut broken = submit.bytes.clone();
    // site_factor, then the length of batch_features.
    broken[start + 4] = 0xff;
    let error = Message::read(&broken, &Limits::default()).expect_err("a text of 4 GB");
    assert_eq!((error.structure, error.field, error.offset), ("job_desc_msg", "batch_features", start + 8));
    assert!(error.to_string().starts_with("job_desc_msg.batch_features at byte "), "{error}");
}

/// Makes the files from folders with an `index.json` each, as the README of the vectors says.
#[test]
fn vectors_are_packed() {
    let Ok(source) = std::env::var("UPDATE_VECTORS") else { return };
    for release in std::fs::read_dir(&source).expect("a folder of releases") {
        let folder = release.expect("it can be listed").path();
        let release = folder.file_name().and_then(|name| name.to_str()).expect("a release").to_owned();
        let packed = pack(&folder, &release);
        let target = frames::folder().join(format!("{release}.lz4"));
        std::fs::write(target, lz4_flex::compress_prepend_size(&packed)).expect("it can be written");
    }
}

fn pack(folder: &Path, release: &str) -> Vec<u8> {
    let version: Version = release.parse().expect("a release that we speak");
    let index = std::fs::read(folder.join("index.json")).expect("an index");
    let index: Vec<serde_json::Value> = serde_json::from_slice(&index).expect("of JSON");
    let mut packed = Vec::new();
    let mut seen = BTreeSet::new();
    let mut add = |framing: &str, version: &str, name: &str, file: &str| {
        let bytes = std::fs::read(folder.join(file)).expect("what the index names");
        if seen.insert(bytes.clone()) {
            packed.extend(format!("{framing} {version} {} {name}\n", bytes.len()).bytes());
            packed.extend(bytes);
        }
    };
    for entry in &index {
        let text = |key: &str| entry[key].as_str().unwrap_or_default();
        if text("framing") == "io" {
            add("io-client", version.release(), "IO", text("file"));
            add("io-server", version.release(), "IO", text("peer_file"));
        } else {
            add(text("framing"), &entry["version"].to_string(), text("name"), text("file"));
        }
    }
    packed
}
