//! What has happened, as text: a hash of all of it, and its end for the reader of a failure.

use std::collections::VecDeque;

/// Lines kept for a failure's report.
const TAIL_LINES: usize = 60;
/// A line's part that is kept.
const SHOWN_LEN: usize = 400;

#[derive(Debug)]
pub struct Trace {
    hash: u64,
    tail: VecDeque<String>,
    print: bool,
}

impl Trace {
    pub fn new(print: bool) -> Trace {
        // FNV-1a: two traces that differ anywhere differ in it, but for a chance of one in 2^64.
        Trace { hash: 0xcbf2_9ce4_8422_2325, tail: VecDeque::new(), print }
    }

    pub fn line(&mut self, line: String) {
        for byte in line.bytes().chain([b'\n']) {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
        if self.print {
            eprintln!("{line}");
        }
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        let shown = line.char_indices().nth(SHOWN_LEN).map_or(line.len(), |(at, _)| at);
        self.tail.push_back(line[..shown].to_owned());
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }

    pub fn tail(&self) -> Vec<String> {
        self.tail.iter().cloned().collect()
    }
}
