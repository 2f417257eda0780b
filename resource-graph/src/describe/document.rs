//! A JSON document with a graph in it, read in pieces: a machine of 16,384 nodes is 250 MB of text, of which there is
//! never more here than the vertex that is next and the chunk that it came in.
//!
//! Objects down to the lists of vertices and edges are taken apart here. What stands below (an item of such a list, the
//! value of any other key) is read by `serde_json` where it lies in the buffer; if that ends in the middle of it, more is
//! fetched and it is read again.

use super::jgf::{Edges, Item, Reader, Vertices};
use super::{Description, DescriptionError, fail};
use serde_json::value::RawValue;
use std::io::Read;

/// What is asked for at once.
const CHUNK: usize = 1 << 20;

/// Most of a vertex, an edge or a value beside the graph.
const VALUE_MAX: usize = 1 << 26;

/// How deep graphs may stand inside each other before anybody looks at their vertices.
const DEPTH_MAX: usize = 8;

/// A resource graph (JGF), an R (RFC 20) or one inside the other.
#[derive(Debug)]
pub struct Document {
    /// The graph, if there is one.
    pub graph: Option<Description>,
    /// The same document without it, which may be an R.
    pub rest: String,
}

impl Document {
    /// Reads to the end.
    ///
    /// # Errors
    /// The vertex, edge or place in the text where it breaks a rule or cannot be read.
    pub fn read(from: impl Read) -> Result<Document, DescriptionError> {
        Document::read_by(from, CHUNK)
    }

    /// The same with chunks of another size, which makes no difference but in time.
    ///
    /// # Errors
    /// As [`Document::read`].
    pub fn read_by(from: impl Read, chunk: usize) -> Result<Document, DescriptionError> {
        let (chunk, held) = (chunk.max(1), Vec::new());
        let mut text = Text { from, chunk, held, at: 0, line: 0, column: 0, ended: false };
        let (mut graph, mut rest) = (None, String::new());
        text.object(0, &mut graph, Some(&mut rest))?;
        match text.peek()? {
            None => Ok(Document { graph: graph.map(Reader::finish).transpose()?, rest }),
            Some(_) => text.wrong("something behind the end"),
        }
    }
}

struct Text<R> {
    from: R,
    chunk: usize,
    /// What has been fetched, of which the part before `at` has been used.
    held: Vec<u8>,
    at: usize,
    /// Lines before `held`, and bytes before it in its first line.
    line: usize,
    column: usize,
    ended: bool,
}

impl<R: Read> Text<R> {
    /// Fetches more behind what is left.
    fn fetch(&mut self) -> Result<(), DescriptionError> {
        if self.held.len() - self.at > VALUE_MAX {
            return self.wrong(format!("a value of more than {} MiB", VALUE_MAX >> 20));
        }
        (self.line, self.column) = self.position(self.at);
        self.held.drain(..self.at);
        self.at = 0;
        match self.from.by_ref().take(self.chunk as u64).read_to_end(&mut self.held) {
            Ok(read) => self.ended = read == 0,
            Err(error) => return self.wrong(error.to_string()),
        }
        Ok(())
    }

    /// Lines before a place in what is held, and bytes before it in its line.
    fn position(&self, at: usize) -> (usize, usize) {
        let before = &self.held[..at];
        match before.iter().rposition(|byte| *byte == b'\n') {
            None => (self.line, self.column + at),
            Some(last) => {
                let lines = before.iter().filter(|byte| **byte == b'\n').count();
                (self.line + lines, at - last - 1)
            }
        }
    }

    /// Here something is wrong.
    fn wrong<T>(&self, rule: impl Into<String>) -> Result<T, DescriptionError> {
        let (line, column) = self.position(self.at);
        fail(format!("line {} column {}", line + 1, column + 1), rule)
    }

    /// The next byte that is no space; none at the end.
    fn peek(&mut self) -> Result<Option<u8>, DescriptionError> {
        loop {
            let left = &self.held[self.at..];
            let spaces = left.iter().take_while(|byte| matches!(byte, b' ' | b'\n' | b'\t' | b'\r')).count();
            self.at += spaces;
            match self.held.get(self.at) {
                Some(byte) => return Ok(Some(*byte)),
                None if self.ended => return Ok(None),
                None => self.fetch()?,
            }
        }
    }

    /// Is this next? Then it is used.
    fn skip(&mut self, byte: u8) -> Result<bool, DescriptionError> {
        let is_next = self.peek()? == Some(byte);
        self.at += usize::from(is_next);
        Ok(is_next)
    }

    /// The same of what must be next.
    fn expect(&mut self, byte: u8, what: &str) -> Result<(), DescriptionError> {
        match self.skip(byte)? {
            true => Ok(()),
            false if self.ended && self.at == self.held.len() => self.wrong("the text ends in the middle"),
            false => self.wrong(format!("expected {what}")),
        }
    }

    /// Reads the next value, which lends its texts as long as it is used.
    fn value<I: Item>(&mut self, into: &mut I::Into) -> Result<(), DescriptionError> {
        loop {
            self.peek()?;
            match self.value_held::<I>(into)? {
                Some(end) => {
                    self.at += end;
                    return Ok(());
                }
                None => self.fetch()?,
            }
        }
    }

    /// The same of a value that lies here whole, and how long it is.
    fn value_held<I: Item>(&self, into: &mut I::Into) -> Result<Option<usize>, DescriptionError> {
        let left = &self.held[self.at..];
        let mut values = serde_json::Deserializer::from_slice(left).into_iter::<I::Of<'_>>();
        let (read, end) = (values.next(), values.byte_offset());
        match read {
            // A number that ends with what is held may go on.
            Some(Ok(item)) if self.ended || end < left.len() => I::put(item, into).map(|()| Some(end)),
            Some(Err(error)) if self.ended || !(error.is_eof() || is_at_end(&error, left)) => {
                self.wrong_inside(&error)
            }
            None if self.ended => self.wrong("the text ends in the middle"),
            _ => Ok(None),
        }
    }

    /// What `serde_json` says of the value that is next, at its place in the whole text.
    fn wrong_inside<T>(&self, error: &serde_json::Error) -> Result<T, DescriptionError> {
        let (line, column) = self.position(self.at);
        let (down, along) = (error.line().max(1) - 1, error.column());
        let (line, column) = (line + down + 1, if down == 0 { column + along } else { along });
        let said = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        fail(format!("line {line} column {column}"), said.strip_suffix(&place).unwrap_or(&said))
    }

    /// An object in which graphs may stand. What does not belong to one goes to the rest, if that is kept.
    fn object(
        &mut self,
        depth: usize,
        graph: &mut Option<Reader>,
        mut rest: Option<&mut String>,
    ) -> Result<(), DescriptionError> {
        if depth > DEPTH_MAX {
            return self.wrong(format!("graphs inside more than {DEPTH_MAX} others"));
        }
        self.expect(b'{', "an object with `nodes` and `edges`")?;
        if let Some(rest) = &mut rest {
            rest.push('{');
        }
        let mut first = true;
        while !self.skip(b'}')? {
            if !std::mem::take(&mut first) {
                self.expect(b',', "`,` or `}`")?;
            }
            let mut key = String::new();
            if self.peek()?.is_some_and(|byte| byte != b'"') {
                return self.wrong("expected a key, which is a text");
            }
            self.value::<Key>(&mut key)?;
            self.expect(b':', "`:`")?;
            match key.as_str() {
                "graph" => self.object(depth + 1, graph, None)?,
                "nodes" => self.list::<Vertices>(graph.get_or_insert_default())?,
                "edges" => self.list::<Edges>(graph.get_or_insert_default())?,
                key => {
                    let mut value = String::new();
                    // In an R the graph stands here.
                    let inner = key == "scheduling" && self.peek()? == Some(b'{');
                    match inner {
                        true => self.object(depth + 1, graph, Some(&mut value))?,
                        false => self.value::<Raw>(&mut value)?,
                    }
                    if let Some(rest) = &mut rest {
                        let comma = if rest.ends_with('{') { "" } else { "," };
                        let key = serde_json::Value::from(key);
                        rest.push_str(&format!("{comma}{key}:{value}"));
                    }
                }
            }
        }
        if let Some(rest) = rest {
            rest.push('}');
        }
        Ok(())
    }

    fn list<I: Item>(&mut self, into: &mut I::Into) -> Result<(), DescriptionError> {
        self.expect(b'[', "a list")?;
        if self.skip(b']')? {
            return Ok(());
        }
        loop {
            self.value::<I>(into)?;
            if self.skip(b']')? {
                return Ok(());
            }
            self.expect(b',', "`,` or `]`")?;
        }
    }
}

/// Is this about the last that is held, such as a number of which there may be more digits?
fn is_at_end(error: &serde_json::Error, held: &[u8]) -> bool {
    let start = match error.line().max(1) - 1 {
        0 => 0,
        lines => {
            let ends = held.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
            ends.map(|(at, _)| at + 1).nth(lines - 1).unwrap_or(0)
        }
    };
    start + error.column() + 1 >= held.len()
}

/// The key of an object.
struct Key;

impl Item for Key {
    type Of<'a> = String;
    type Into = String;

    fn put(key: String, into: &mut String) -> Result<(), DescriptionError> {
        *into = key;
        Ok(())
    }
}

/// Any value as it is written.
struct Raw;

impl Item for Raw {
    type Of<'a> = &'a RawValue;
    type Into = String;

    fn put(value: &RawValue, into: &mut String) -> Result<(), DescriptionError> {
        into.push_str(value.get());
        Ok(())
    }
}
