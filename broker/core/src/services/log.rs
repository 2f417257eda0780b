//! The last lines this broker has logged, for `flurm dmesg`; `flurm logger` adds to them.

use crate::cx::{Cx, asker};
use flurm_wire::job::Done;
use flurm_wire::state::{Dmesg, DmesgLines, LOG_LEN_MAX, Log, LogLine};
use flurm_wire::{Address, ErrorCode, Message, Topic, WireError};
use std::collections::VecDeque;

/// Lines kept; older ones are in the broker's standard error.
const LINES_MAX: usize = 1024;
/// RFC 5424's last level: debug.
const LEVEL_MAX: u8 = 7;
/// Bytes of the name of who says it.
const COMPONENT_LEN_MAX: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct LogRing {
    lines: VecDeque<LogLine>,
    followers: Vec<Message>,
}

impl LogRing {
    pub fn request(&mut self, cx: &mut Cx, m: &Message) {
        let mut cx = cx.at_once();
        if m.topic == Log::NAME {
            return match m.body().and_then(|log| append(&mut cx, &log)) {
                Ok(()) => cx.respond(m, &Done {}),
                Err(error) => cx.refuse(m, error),
            };
        }
        let dmesg: Dmesg = match m.body() {
            Ok(dmesg) => dmesg,
            Err(error) => return cx.refuse(m, error),
        };
        let lines = DmesgLines { lines: self.lines.iter().cloned().collect() };
        if dmesg.clear {
            self.lines.clear();
        }
        if dmesg.follow {
            cx.respond_more(m, &lines);
            self.followers.push(asker(m));
        } else {
            cx.respond(m, &lines);
        }
    }

    pub fn cancel(&mut self, src: Address, tag: u64) {
        self.followers.retain(|f| (f.src, f.tag) != (src, tag));
    }

    pub fn add(&mut self, cx: &mut Cx, lines: &[LogLine]) {
        self.lines.extend(lines.iter().cloned());
        let over = self.lines.len().saturating_sub(LINES_MAX);
        self.lines.drain(..over);
        for follower in &self.followers {
            cx.at_once().respond_more(follower, &DmesgLines { lines: lines.to_vec() });
        }
    }

    /// No more lines will come.
    pub fn end(&mut self, cx: &mut Cx) {
        for follower in std::mem::take(&mut self.followers) {
            cx.at_once().respond(&follower, &DmesgLines { lines: Vec::new() });
        }
    }
}

/// What a user says, each line by itself.
fn append(cx: &mut Cx, log: &Log) -> Result<(), WireError> {
    let Log { level, component, text } = log;
    let bad = |c: char| c.is_whitespace() || c.is_control();
    if component.is_empty() || component.len() > COMPONENT_LEN_MAX || component.contains(bad) {
        return Err(WireError::new(ErrorCode::Invalid, format!("`{component}` is no name of a program")));
    }
    if *level > LEVEL_MAX {
        return Err(WireError::new(
            ErrorCode::Invalid,
            format!("{level} is no severity: 0 to {LEVEL_MAX} are"),
        ));
    }
    if text.len() > LOG_LEN_MAX {
        return Err(WireError::new(ErrorCode::TooBig, format!("{} bytes are too many to log", text.len())));
    }
    // What terminals would obey is shown, not done.
    text.lines().for_each(|line| cx.log(*level, component, line.replace(char::is_control, "?")));
    Ok(())
}
