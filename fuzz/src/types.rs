//! Readers of `flurm-types`: any bytes are read or refused, and what was read is written and read again as the same.

use flurm_types::{Constraint, Encoding, Entry, Fsd, Hostlist, Idset, JobId, R, TaskMap};
use std::fmt::{Debug, Display};
use std::str::FromStr;

type Body = fn(&[u8]);

/// Name, body, and texts to start from.
pub const TARGETS: &[(&str, Body, &[&str])] = &[
    ("idset", idset, &["0", "0-3,7,9-11", "[5-6,42]", "4294967295", ""]),
    ("hostlist", hostlist, &["node[001-003],gpu[2,1]", "r[0-1]n[0-3]-ib0", "a,b,a", "n9,n10"]),
    ("fsd", fsd, &["1.5h", "250ms", "inf", "0", "1e3s", "0x1.8p3", "2d"]),
    (
        "job_id",
        job_id,
        &[
            "ƒSZYdiv",
            "fuZZybuNNy",
            "0x3e8000c07",
            "0000.0003.e800.0c07",
            "16777219079",
            "reform-remote-galileo--heart-package-academy",
            "🚹💂🙌😳💱🏃",
        ],
    ),
    (
        "r",
        r,
        &[
            r#"{"version":1,"execution":{"R_lite":[{"rank":"0-1","children":{"core":"0-3","gpu":"0"}}],"nodelist":["n[0-1]"],"nslots":2,"properties":{"thin":"1"},"starttime":1790000000.5,"expiration":1790003600}}"#,
            r#"{"version":1,"execution":{"R_lite":[{"rank":"0","children":{"core":"0-3"}}],"nodelist":["a"],"starttime":0,"expiration":0},"scheduling":{"writer":"TreePool","children":[{"ranks":"0","topo":{"socket":[{"cores":"0-1","memory":28},{"cores":"2-3"}]}}]}}"#,
        ],
    ),
    (
        "constraint",
        constraint,
        &[
            r#"{"and":[{"properties":["thin","^fat"]},{"not":[{"hostlist":["n[1-3]"]}]},{"or":[{"ranks":["0-3","7"]},{}]}]}"#,
            "{}",
        ],
    ),
    ("query", query, &["thin -host:n[1-2]", "a,b|(rank:0-3&not ^c)", "'x y' or \"z\""]),
    (
        "eventlog",
        eventlog,
        &[
            r#"{"timestamp":1790000000.25,"name":"start"}"#,
            r#"{"timestamp":1.5,"name":"finish","context":{"status":256,"x":[null,true,"é"]}}"#,
        ],
    ),
    (
        "taskmap",
        taskmap,
        &["[[0,4,4,1]]", "0-3;4-7", "(vector,(0,2,4))", r#"{"version":1,"map":[[0,2,1,4]]}"#],
    ),
];

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// Reads a text form; what was read must survive writing.
fn read<T: FromStr + Display + PartialEq + Debug>(bytes: &[u8]) -> Option<T>
where
    T::Err: Debug + PartialEq,
{
    let value: T = text(bytes).parse().ok()?;
    assert_eq!(value.to_string().parse().as_ref(), Ok(&value));
    Some(value)
}

pub fn idset(bytes: &[u8]) {
    if let Some(set) = read::<Idset>(bytes) {
        assert_eq!(Idset::parse_relaxed(text(bytes)), Ok(set));
    } else if let Ok(set) = Idset::parse_relaxed(text(bytes)) {
        assert_eq!(set.to_string().parse(), Ok(set));
    }
}

pub fn hostlist(bytes: &[u8]) {
    read::<Hostlist>(bytes);
}

pub fn fsd(bytes: &[u8]) {
    if let Some(fsd) = read::<Fsd>(bytes) {
        assert!(fsd.as_secs() >= 0.0);
    }
}

pub fn job_id(bytes: &[u8]) {
    if let Some(id) = read::<JobId>(bytes) {
        for encoding in [
            Encoding::Dec,
            Encoding::F58Plain,
            Encoding::Hex,
            Encoding::Dothex,
            Encoding::Kvs,
            Encoding::Words,
            Encoding::Emoji,
        ] {
            assert_eq!(id.encode(encoding).parse(), Ok(id));
        }
    }
}

pub fn r(bytes: &[u8]) {
    if let Ok(set) = R::parse(text(bytes)) {
        assert_eq!(R::parse(&set.to_json()).expect("our own R"), set);
        assert!(set.difference(&set).is_empty() && set.is_subset(&set));
        let own = set.renumber();
        assert_eq!(own.ncores(), set.ncores());
        assert_eq!(R::parse(&own.to_json()).expect("our own R"), own);
    }
}

pub fn constraint(bytes: &[u8]) {
    let Ok(value) = serde_json::from_slice(bytes) else { return };
    if let Ok(constraint) = Constraint::from_json(&value) {
        assert_eq!(Constraint::from_json(&constraint.to_json()).as_ref(), Ok(&constraint));
        let _ = constraint.matches("n1", 1, &|name| name == "thin");
    }
}

pub fn query(bytes: &[u8]) {
    if let Ok(constraint) = Constraint::parse_query(text(bytes)) {
        assert_eq!(Constraint::from_json(&constraint.to_json()).as_ref(), Ok(&constraint));
    }
}

pub fn eventlog(bytes: &[u8]) {
    if let Ok(entry) = Entry::parse_line(text(bytes)) {
        let line = entry.to_line();
        assert!(!line.contains('\n'));
        assert_eq!(Entry::parse_line(&line).expect("our own line"), entry);
    }
}

pub fn taskmap(bytes: &[u8]) {
    if let Some(map) = read::<TaskMap>(bytes) {
        // Writing out every node of a large map takes long and shows nothing new.
        if map.ntasks() < 10_000 && map.nnodes() < 10_000 {
            assert_eq!(map.pmi().parse::<TaskMap>().map(|map| map.raw()), Ok(map.raw()));
        }
    }
}
