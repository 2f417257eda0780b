//! Our terminal while a job has it: raw, so that every key is the job's, and given back as it was however we end.

use flurm_wire::job::Window;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use std::io::{self, IsTerminal};

/// A raw terminal on our standard input, until this is dropped.
pub struct Raw {
    before: Termios,
}

impl Raw {
    pub fn enter() -> io::Result<Raw> {
        let stdin = io::stdin();
        let before = tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        // What was typed before belongs to the job as well.
        tcsetattr(&stdin, OptionalActions::Drain, &raw)?;
        Ok(Raw { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that has hung up has no state to restore.
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.before);
    }
}

/// The size of the terminal on our standard input, if it is one.
pub fn window() -> Option<Window> {
    let stdin = io::stdin();
    let size = stdin.is_terminal().then(|| tcgetwinsize(&stdin).ok())??;
    (size.ws_row > 0 && size.ws_col > 0).then_some(Window { rows: size.ws_row, cols: size.ws_col })
}

/// Looks for `~.` at the beginning of a line, which is for us: who types it leaves the job alone. `~~` is one `~`.
#[derive(Debug, Default)]
pub struct Keys {
    state: State,
}

#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
enum State {
    #[default]
    LineBegin,
    Tilde,
    Line,
}

impl Keys {
    /// What is for the job; true when it is to be left.
    pub fn take(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut out = Vec::with_capacity(typed.len() + 1);
        for key in typed {
            match (self.state, key) {
                (State::LineBegin, b'~') => {
                    self.state = State::Tilde;
                    continue;
                }
                (State::Tilde, b'.') => return (out, true),
                (State::Tilde, b'~') => {}
                (State::Tilde, _) => out.push(b'~'),
                (State::LineBegin | State::Line, _) => {}
            }
            out.push(*key);
            self.state = if matches!(key, b'\r' | b'\n') { State::LineBegin } else { State::Line };
        }
        (out, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tilde_and_a_dot_at_the_beginning_of_a_line_leave() {
        for (typed, wanted, leaves) in [
            (&["ls\r", "~", "."][..], "ls\r", true),
            (&["~~.\r"], "~.\r", false),
            (&["a~.\r"], "a~.\r", false),
            (&["~x\r~."], "~x\r", true),
            (&["cd ~\r", "."], "cd ~\r.", false),
        ] {
            let mut keys = Keys::default();
            let (mut all, mut left) = (Vec::new(), false);
            for piece in typed {
                let (out, leave) = keys.take(piece.as_bytes());
                all.extend(out);
                left |= leave;
            }
            assert_eq!((String::from_utf8(all).unwrap().as_str(), left), (wanted, leaves), "{typed:?}");
        }
    }
}
