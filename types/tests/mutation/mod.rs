//! Texts that are nearly right: good ones, edited at random. Shared by every crate's `never_panics`.

use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, TestRunner};

/// One change. Places are taken modulo the length there is.
#[derive(Debug, Clone)]
enum Edit {
    Put(Index, u8),
    Insert(Index, u8),
    Cut(Index, Index),
    Repeat(Index, Index, usize),
    Number(Index, &'static str),
}

/// Bytes that mean something to one of our readers.
const SIGNS: &[u8] = b"0123456789-,;:.[](){}+*^&|!'\"\\/ \n\0eExfns_";

/// Numbers at the edges of types.
const NUMBERS: &[&str] = &[
    "0",
    "-1",
    "1e308",
    "4294967295",
    "4294967296",
    "9007199254740993",
    "18446744073709551615",
    "99999999999999999999",
];

fn edit() -> impl Strategy<Value = Edit> {
    let at = any::<Index>;
    let sign = || prop_oneof![4 => select(SIGNS), 1 => any::<u8>()];
    prop_oneof![
        (at(), sign()).prop_map(|(at, byte)| Edit::Put(at, byte)),
        (at(), sign()).prop_map(|(at, byte)| Edit::Insert(at, byte)),
        (at(), at()).prop_map(|(from, to)| Edit::Cut(from, to)),
        (at(), at(), 1..40_usize).prop_map(|(from, to, times)| Edit::Repeat(from, to, times)),
        (at(), select(NUMBERS)).prop_map(|(at, number)| Edit::Number(at, number)),
    ]
}

fn apply(bytes: &mut Vec<u8>, edit: &Edit) {
    let place = |at: &Index, len: usize| at.index(len + 1);
    let len = bytes.len();
    let span = |a: &Index, b: &Index| {
        let (a, b) = (place(a, len), place(b, len));
        // Short pieces keep most of the text alive.
        a.min(b)..a.max(b).min(a.min(b) + 24)
    };
    match edit {
        Edit::Put(at, byte) if len > 0 => bytes[at.index(len)] = *byte,
        Edit::Put(_, byte) => bytes.push(*byte),
        Edit::Insert(at, byte) => bytes.insert(place(at, len), *byte),
        Edit::Cut(a, b) => drop(bytes.drain(span(a, b))),
        Edit::Repeat(a, b, times) => {
            let span = span(a, b);
            let copies = bytes[span.clone()].repeat(*times);
            bytes.splice(span.end..span.end, copies);
        }
        Edit::Number(at, number) => {
            let at = place(at, len);
            let digits = bytes[at..].iter().take_while(|b| b.is_ascii_digit()).count();
            bytes.splice(at..at + digits, number.bytes());
        }
    }
}

/// What a failure shows: the text itself.
struct Edited(Vec<u8>);

impl std::fmt::Debug for Edited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

fn edited((seed, edits): (&'static str, Vec<Edit>)) -> Edited {
    let mut bytes = seed.as_bytes().to_vec();
    edits.iter().for_each(|edit| apply(&mut bytes, edit));
    Edited(bytes)
}

type Body = fn(&[u8]);

/// Runs every target on `cases` edited texts.
pub fn run(targets: &[(&str, Body, &[&'static str])], cases: u32) {
    for (name, body, seeds) in targets {
        for seed in *seeds {
            body(seed.as_bytes());
        }
        let strategy = (select(seeds.to_vec()), prop::collection::vec(edit(), 0..6)).prop_map(edited);
        // PROPTEST_CASES asks for more.
        let config = Config::default();
        let cases = cases.max(config.cases);
        let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..config });
        let done = runner.run(&strategy, |text| {
            body(&text.0);
            Ok(())
        });
        if let Err(error) = done {
            panic!("{name}: {error}");
        }
    }
}
