//! Readers of `flurm-wire`: any bytes are a message, or a record of the log, or refused.

use flurm_wire::{fact, frame};

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
        "record",
        record,
        &[
            r#"{"v":1,"environments":[{"A":"1","B":null}],"facts":[{"fact":"job","id":16777219079,"events":[{"timestamp":1.5,"name":"submit","context":{"urgency":16}}],"jobspec":"{}","environment":0,"guest":[["output",{"timestamp":2.5,"name":"data"}]]},{"fact":"kvs","namespace":"primary","ops":[{"op":"put","key":"a","value":1}]}]}"#,
        ],
    ),
];

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
