//! Readers of `flurm-wire`: any bytes are a message, or a record of the log, or refused.

use flurm_wire::archive::{Entry, Head, find};
use flurm_wire::files::{Index, PIECE_LEN, What, check_path};
use flurm_wire::{archive, fact, frame};

type Body = fn(&[u8]);

/// Name, body, and texts to start from.
pub const TARGETS: &[(&str, Body, &[&str])] = &[
    (
        "frame",
        frame,
        &[
            r#"{"v":1,"kind":"request","topic":"kvs.get","src":{"rank":0,"client":7},"dst":"leader","tag":3,"more":true,"payload":{"key":"a.b"}}"#,
            r#"{"v":1,"kind":"response","topic":"x","src":{"rank":2,"client":0},"dst":{"client":{"rank":0,"client":7}},"tag":3,"error":{"code":"not-found","text":"no such key","hint":"look"}}"#,
            r#"{"v":1,"kind":"cancel","topic":"x","src":{"rank":2,"client":0},"dst":{"rank":4},"tag":18446744073709551615}"#,
        ],
    ),
    (
        "archive",
        archive,
        &[
            "flurm output archive 1 n0\n",
            "\u{1}rec\u{12}@\\[\u{f}\0\0\0\u{f}\0\0\0\u{2}\0\0\0\u{1}\0\0\0\u{7}\0\0\0\0\0\0\0\u{12}\0\0\0\0\0\0\0\0\0\0\0\u{1}\u{6}\0\0\0hello\n",
            "\u{1}idxV=I\u{7f}\n\0\0\0\0\0\0\0\t\0\0\0\0\0\0\0\u{7}\0\0\0\0\0\0\0",
        ],
    ),
    (
        "files",
        files,
        &[
            r#"{"v":1,"runs":[{"id":"a","len":9},{"id":"b-1","len":2000000}],"entries":[{"path":"d","mode":493,"mtime":7,"type":"dir"},{"path":"d/x","mode":420,"mtime":1790000000000000000,"type":"file","run":0,"at":0,"size":9},{"path":"l","mode":511,"mtime":0,"type":"link","target":"d/x"},{"path":"y","mode":420,"mtime":-1,"type":"file","run":1,"at":5,"size":1999995}]}"#,
        ],
    ),
    (
        "record",
        record,
        &[
            r#"{"v":1,"environments":[{"A":"1","B":null}],"facts":[{"fact":"job","id":16777219079,"events":[{"timestamp":1.5,"name":"submit","context":{"urgency":16}}],"jobspec":"{}","environment":0,"guest":[["output",{"timestamp":2.5,"name":"data"}]]},{"fact":"kvs","namespace":"primary","ops":[{"op":"put","key":"a","value":1}]}]}"#,
        ],
    ),
];

/// An output archive: what is found in it is a record, and is written again as one that says the same.
pub fn archive(bytes: &[u8]) {
    let _ = archive::host(bytes);
    let mut rest = bytes;
    while let Some(at) = find(rest) {
        let whole = Head::read(&rest[at..]).and_then(|head| Some((head.open(&rest[at..])?, head.len())));
        let step = match whole {
            Some((record, len)) => {
                let written = record.encode();
                assert_eq!(Head::read(&written).and_then(|head| head.open(&written)), Some(record));
                len
            }
            None => 1,
        };
        rest = &rest[at + step..];
    }
    for entry in bytes.as_chunks().0 {
        assert!(Entry::read(entry).is_none_or(|read| read.encode() == *entry));
    }
}

/// The index of an archive of files: what is let through leads nowhere else, and every byte of a file is in a piece.
pub fn files(bytes: &[u8]) {
    let Some(index) = serde_json::from_slice(bytes).ok().and_then(|value| Index::read(&value).ok()) else {
        return;
    };
    let mut wanted = 0;
    for entry in &index.entries {
        check_path(&entry.path).expect("it was let through");
        if let What::File { size, .. } = entry.what {
            wanted += size;
        }
    }
    // What is large takes long and shows nothing new.
    if wanted > 4 * PIECE_LEN {
        return;
    }
    let mut had = 0;
    for (run, piece) in index.pieces() {
        let len = (index.runs[run].len - piece * PIECE_LEN).min(PIECE_LEN);
        let bytes = vec![0; usize::try_from(len).expect("a piece is small")];
        let shares = index.shares((run, piece), &bytes, 0).expect("it is as long as it should be");
        had += shares.map(|share| share.bytes.len() as u64).sum::<u64>();
    }
    assert_eq!(had, wanted);
}

/// A stream's first bytes: a length that is not too large, then the envelope.
pub fn frame(bytes: &[u8]) {
    if let Some((head, rest)) = bytes.split_first_chunk()
        && let Ok(len) = frame::decode_len(*head)
    {
        message(rest.get(..len).unwrap_or(rest));
    }
    message(bytes);
}

/// An envelope, which is written and read again as the same.
pub fn message(bytes: &[u8]) {
    let Ok(message) = frame::decode(bytes) else { return };
    let written = frame::encode(&message);
    let read = frame::decode(&written).expect("our own frame");
    assert_eq!(frame::encode(&read), written);
    assert_eq!(frame::encode_framed(&message)[4..], written);
}

/// A record of the log, which is written and read again as the same.
pub fn record(bytes: &[u8]) {
    let Ok(facts) = fact::decode_record(bytes) else { return };
    let read = fact::decode_record(&fact::encode_record(&facts)).expect("our own record");
    assert_eq!(read, facts);
}
