//! A stream of bytes as lines, and after `cmd=init pmi_version=2` as frames.

use crate::{ProtocolError, one::Line, two};

/// One message of either protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// PMI-1, without the end of the line.
    Line(String),
    /// PMI-2, without the length.
    Frame(String),
}

/// Cuts what has come into messages, at either end of the connection.
#[derive(Debug)]
pub struct Splitter {
    buffer: Vec<u8>,
    /// So many bytes hold no end of a line.
    seen: usize,
    frames: bool,
    len_max: usize,
}

impl Splitter {
    /// Messages longer than `len_max` are errors.
    pub fn new(len_max: usize) -> Splitter {
        Splitter { buffer: Vec::new(), seen: 0, frames: false, len_max }
    }

    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, if it has come.
    ///
    /// # Errors
    /// It is too long, or its length is not a number. Nothing can be read after that.
    pub fn piece(&mut self) -> Result<Option<Piece>, ProtocolError> {
        if self.frames { self.frame() } else { self.line() }
    }

    fn line(&mut self) -> Result<Option<Piece>, ProtocolError> {
        let Some(end) = self.buffer[self.seen..].iter().position(|byte| *byte == b'\n') else {
            self.seen = self.buffer.len();
            return if self.seen > self.len_max { Err(self.too_long()) } else { Ok(None) };
        };
        let end = self.seen + end;
        if end > self.len_max {
            return Err(self.too_long());
        }
        let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        self.buffer.drain(..=end);
        self.seen = 0;
        // Both ends say it in the same words.
        self.frames = Line::parse(&line).is_ok_and(|line| {
            matches!(line.cmd(), "init" | "response_to_init") && line.get("pmi_version") == Some("2")
        });
        Ok(Some(Piece::Line(line)))
    }

    fn frame(&mut self) -> Result<Option<Piece>, ProtocolError> {
        let Some((head, rest)) = self.buffer.split_at_checked(two::HEAD_LEN) else { return Ok(None) };
        let len = std::str::from_utf8(head).ok().and_then(|head| head.trim().parse::<usize>().ok());
        let Some(len) = len else {
            let head = String::from_utf8_lossy(head);
            return Err(ProtocolError::new(&head, "six characters say how long a frame is"));
        };
        if len > self.len_max {
            return Err(self.too_long());
        }
        let Some(body) = rest.get(..len) else { return Ok(None) };
        let body = String::from_utf8_lossy(body).into_owned();
        self.buffer.drain(..two::HEAD_LEN + len);
        Ok(Some(Piece::Frame(body)))
    }

    fn too_long(&self) -> ProtocolError {
        let start = String::from_utf8_lossy(&self.buffer[..self.buffer.len().min(64)]);
        ProtocolError::new(&start, "it has no end")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_decides_what_follows_it() {
        let mut splitter = Splitter::new(100);
        splitter.feed(b"cmd=init pmi_ver");
        assert_eq!(splitter.piece(), Ok(None));
        splitter.feed(b"sion=2 pmi_subversion=0\n    13cmd=finalize;    14cmd=kvs");
        let line = "cmd=init pmi_version=2 pmi_subversion=0".to_owned();
        assert_eq!(splitter.piece(), Ok(Some(Piece::Line(line))));
        assert_eq!(splitter.piece(), Ok(Some(Piece::Frame("cmd=finalize;".into()))));
        assert_eq!(splitter.piece(), Ok(None));
        splitter.feed(b"-fence;");
        assert_eq!(splitter.piece(), Ok(Some(Piece::Frame("cmd=kvs-fence;".into()))));

        let mut splitter = Splitter::new(100);
        splitter.feed(b"cmd=init pmi_version=1 pmi_subversion=1\ncmd=get_maxes\n");
        assert!(matches!(splitter.piece(), Ok(Some(Piece::Line(_)))));
        assert_eq!(splitter.piece(), Ok(Some(Piece::Line("cmd=get_maxes".into()))));
    }

    #[test]
    fn what_has_no_end_or_no_length_is_an_error() {
        let mut splitter = Splitter::new(100);
        splitter.feed(&[b'x'; 101]);
        assert!(splitter.piece().is_err());
        for head in ["abcdef", "999999", "    -1", "  1 1 "] {
            let mut splitter = Splitter::new(100);
            splitter.feed(b"cmd=init pmi_version=2\n");
            splitter.feed(head.as_bytes());
            assert!(splitter.piece().is_ok());
            assert!(splitter.piece().is_err(), "{head}");
        }
    }
}
