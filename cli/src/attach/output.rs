//! A job's output log (RFC 24) on our standard output and error.

use crate::events;
use crate::face::Face;
use crate::failure::Failure;
use crate::out;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use flurm_types::{Entry, Idset};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};

#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// Reads the data of an output log, of which the first entry may say how the others are to be read.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Streams whose data is base64 where an entry does not say otherwise.
    base64: Vec<Stream>,
}

/// Output of one task, or the same of several.
#[derive(Debug)]
pub struct Data {
    pub stream: Stream,
    pub ranks: String,
    pub bytes: Vec<u8>,
    eof: bool,
}

impl Decoder {
    /// What tasks have written, if the entry says so.
    pub fn take(&mut self, entry: &Entry) -> Result<Option<Data>, Failure> {
        match entry.name.as_str() {
            "header" => {
                let encoding = entry.context.as_ref().and_then(|context| context.get("encoding"));
                let is_base64 =
                    |name: &str| encoding.and_then(|e| e.get(name)?.as_str()).is_some_and(|e| e == "base64");
                let streams = [("stdout", Stream::Stdout), ("stderr", Stream::Stderr)];
                self.base64 =
                    streams.into_iter().filter(|(name, _)| is_base64(name)).map(|(_, s)| s).collect();
                Ok(None)
            }
            "data" => self.data(entry),
            _ => Ok(None),
        }
    }

    fn data(&self, entry: &Entry) -> Result<Option<Data>, Failure> {
        let stream = match events::text(entry, "stream") {
            Some("stdout") => Stream::Stdout,
            Some("stderr") => Stream::Stderr,
            _ => return Ok(None),
        };
        let ranks = events::text(entry, "rank").unwrap_or("0").to_owned();
        let text = events::text(entry, "data").unwrap_or("");
        let base64 = match events::text(entry, "encoding") {
            Some(encoding) => encoding == "base64",
            None => self.base64.contains(&stream),
        };
        let once = if base64 {
            BASE64_STANDARD
                .decode(text)
                .map_err(|e| Failure::new(format!("the output of the job is no base64: {e}")))?
        } else {
            text.as_bytes().to_vec()
        };
        let times = usize::try_from(events::number(entry, "repeat").unwrap_or(1).max(0)).unwrap_or(1);
        let eof = entry.context.as_ref().and_then(|context| context.get("eof")?.as_bool()) == Some(true);
        Ok(Some(Data { stream, ranks, bytes: once.repeat(times), eof }))
    }
}

/// Collects what is to be printed, and prints it in the order it came.
#[derive(Debug)]
pub struct Printer {
    /// How messages of the shell begin.
    shell: String,
    label: bool,
    decoder: Decoder,
    /// With labels, lines that have no end yet.
    partial: BTreeMap<(Stream, String), Vec<u8>>,
    /// Only the last lines of what is there before the first flush.
    tail: Option<usize>,
    pending: Vec<(Stream, Vec<u8>)>,
    /// Both streams of ours go to the same place.
    together: bool,
    /// What was printed last there is no whole line.
    mid_line: bool,
    lost: bool,
}

impl Printer {
    pub fn new(label: bool, tail: Option<usize>) -> Printer {
        Printer {
            shell: "flurm-shell".to_owned(),
            label,
            decoder: Decoder::default(),
            partial: BTreeMap::new(),
            tail,
            pending: Vec::new(),
            together: out::streams_are_one(),
            mid_line: false,
            lost: false,
        }
    }

    /// Under the name we were called by.
    pub fn called(self, face: &Face) -> Printer {
        Printer { shell: face.prefix("shell"), ..self }
    }

    pub fn entry(&mut self, entry: &Entry) -> Result<(), Failure> {
        if let Some(data) = self.decoder.take(entry)? {
            self.output(data.stream, &data.ranks, &data.bytes, data.eof);
            return Ok(());
        }
        match entry.name.as_str() {
            "redirect" => {
                let text = |key| events::text(entry, key).unwrap_or("?");
                let line = format!("{}: {} redirected to {}\n", text("rank"), text("stream"), text("path"));
                self.push(Stream::Stderr, line.into_bytes());
            }
            "log" => {
                let context = entry.context.as_ref();
                self.lost |= context.and_then(|context| context.get("lost")?.as_bool()) == Some(true);
                let message = events::text(entry, "message").unwrap_or("");
                let level = events::number(entry, "level").unwrap_or(6);
                let rank = events::number(entry, "rank").map_or_else(String::new, |r| format!("[{r}]"));
                // Debugging is for those who read the log itself.
                if level <= 6 {
                    let word = ["FATAL", "FATAL", "FATAL", "ERROR", "WARN", "NOTICE", "INFO"]
                        [usize::try_from(level).unwrap_or(0)];
                    self.end_line();
                    let line = format!("{}{rank}: {word}: {message}\n", self.shell);
                    self.push(Stream::Stderr, line.into_bytes());
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The same for output that is in no log.
    pub fn output(&mut self, stream: Stream, ranks: &str, bytes: &[u8], eof: bool) {
        // A group of ranks that said the same said it once each.
        for rank in split(ranks) {
            self.write(stream, &rank, bytes, eof);
        }
    }

    fn write(&mut self, stream: Stream, rank: &str, bytes: &[u8], eof: bool) {
        if !self.label {
            if !bytes.is_empty() {
                self.push(stream, bytes.to_vec());
            }
            return;
        }
        let key = (stream, rank.to_owned());
        let mut line = self.partial.remove(&key).unwrap_or_default();
        let mut text = Vec::new();
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                labelled(rank, &mut line, &mut text);
            }
        }
        if eof && !line.is_empty() {
            line.push(b'\n');
            labelled(rank, &mut line, &mut text);
        }
        if !line.is_empty() {
            self.partial.insert(key, line);
        }
        if !text.is_empty() {
            self.push(stream, text);
        }
    }

    /// A message of ours begins a line, where it would stand behind output that has no end of line. The output's own
    /// stream gets nothing that the job has not written.
    pub fn end_line(&mut self) {
        if self.together && self.mid_line {
            self.push(Stream::Stderr, b"\n".to_vec());
        }
    }

    fn push(&mut self, stream: Stream, bytes: Vec<u8>) {
        if let Some(last) = bytes.last() {
            self.mid_line = *last != b'\n';
        }
        match self.pending.last_mut() {
            Some((last, text)) if *last == stream => text.extend_from_slice(&bytes),
            _ => self.pending.push((stream, bytes)),
        }
    }

    /// Prints what has come.
    pub fn flush(&mut self) -> Result<(), Failure> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut pending = std::mem::take(&mut self.pending);
        if let Some(lines) = self.tail.take() {
            pending = tail(pending, lines);
        }
        for (stream, bytes) in pending {
            match stream {
                Stream::Stdout => {
                    let mut out = io::stdout().lock();
                    out.write_all(&bytes)?;
                    out.flush()?;
                }
                Stream::Stderr => io::stderr().write_all(&bytes)?,
            }
        }
        Ok(())
    }

    /// Has the instance said that some output which should have come is missing?
    pub fn has_lost(&self) -> bool {
        self.lost
    }

    /// What has come, for who does not want it printed.
    pub fn take(&mut self) -> Vec<(Stream, Vec<u8>)> {
        std::mem::take(&mut self.pending)
    }

    /// Prints lines that will never have an end.
    pub fn finish(&mut self) -> Result<(), Failure> {
        self.close_lines();
        self.flush()
    }

    /// Ends lines that will never have an end.
    pub fn close_lines(&mut self) {
        for ((stream, rank), mut line) in std::mem::take(&mut self.partial) {
            line.push(b'\n');
            let mut text = Vec::new();
            labelled(&rank, &mut line, &mut text);
            self.push(stream, text);
        }
    }
}

fn labelled(rank: &str, line: &mut Vec<u8>, text: &mut Vec<u8>) {
    text.extend_from_slice(rank.as_bytes());
    text.extend_from_slice(b": ");
    text.append(line);
}

fn split(text: &str) -> Vec<String> {
    match text.parse::<Idset>() {
        Ok(ids) if ids.len() > 1 => ids.iter().map(|id| id.to_string()).collect(),
        _ => vec![text.to_owned()],
    }
}

/// The last `lines` lines of it all.
fn tail(pending: Vec<(Stream, Vec<u8>)>, lines: usize) -> Vec<(Stream, Vec<u8>)> {
    let mut kept: VecDeque<(Stream, Vec<u8>)> = VecDeque::new();
    for (stream, bytes) in pending {
        for line in bytes.split_inclusive(|b| *b == b'\n') {
            kept.push_back((stream, line.to_vec()));
            if kept.len() > lines {
                kept.pop_front();
            }
        }
    }
    kept.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use flurm_types::Timestamp;
    use serde_json::json;

    fn printed(label: bool, entries: &[serde_json::Value]) -> Vec<(Stream, String)> {
        let mut printer = Printer::new(label, None);
        for context in entries {
            let entry = Entry::new(Timestamp(1), "data").with_context(context.clone());
            printer.entry(&entry).unwrap();
        }
        let text =
            |(stream, bytes): (Stream, Vec<u8>)| (stream, String::from_utf8_lossy(&bytes).into_owned());
        printer.pending.drain(..).map(text).collect()
    }

    #[test]
    fn labelled_lines_stay_whole_when_ranks_speak_at_once() {
        let data = |rank: &str, data: &str| json!({ "stream": "stdout", "rank": rank, "data": data });
        let all = printed(
            true,
            &[
                data("0", "he"),
                data("1", "ho\n"),
                data("0", "llo\nrest"),
                json!({ "stream": "stdout", "rank": "0", "eof": true }),
                data("2-3", "x\n"),
            ],
        );
        assert_eq!(all, [(Stream::Stdout, "1: ho\n0: hello\n0: rest\n2: x\n3: x\n".to_owned())]);
    }

    #[test]
    fn streams_keep_their_order_and_bytes() {
        let all = printed(
            false,
            &[
                json!({ "stream": "stdout", "rank": "0", "data": "a" }),
                json!({ "stream": "stderr", "rank": "0", "data": "ZQ==", "encoding": "base64" }),
                json!({ "stream": "stdout", "rank": "0", "data": "b", "repeat": 2 }),
            ],
        );
        let all: Vec<&str> = all.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(all, ["a", "e", "bb"]);
    }

    #[test]
    fn a_message_does_not_stand_on_the_line_of_output() {
        let shown = |together: bool, data: &str| {
            let mut printer = Printer { together, ..Printer::new(false, None) };
            let entry = |name: &str, context| Entry::new(Timestamp(1), name).with_context(context);
            printer.entry(&entry("data", json!({ "stream": "stdout", "rank": "0", "data": data }))).unwrap();
            printer.entry(&entry("log", json!({ "level": 4, "message": "only so much is kept" }))).unwrap();
            printer.take().into_iter().map(|(_, bytes)| String::from_utf8(bytes).unwrap()).collect::<Vec<_>>()
        };
        let warning = "flurm-shell: WARN: only so much is kept\n";
        assert_eq!(shown(true, "0123456789"), ["0123456789".to_owned(), format!("\n{warning}")]);
        assert_eq!(shown(true, "whole\n"), ["whole\n", warning]);
        assert_eq!(shown(false, "0123456789"), ["0123456789", warning], "its file is not ours to break");
    }

    #[test]
    fn the_tail_is_the_last_lines_of_both_streams() {
        let pending = vec![(Stream::Stdout, b"1\n2\n".to_vec()), (Stream::Stderr, b"3\n".to_vec())];
        let lines = tail(pending, 2);
        assert_eq!(lines, [(Stream::Stdout, b"2\n".to_vec()), (Stream::Stderr, b"3\n".to_vec())]);
    }
}
