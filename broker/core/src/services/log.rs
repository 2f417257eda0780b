//! The last lines this broker has logged, for `flurm dmesg`.

use crate::cx::{Cx, asker};
use flurm_wire::state::{Dmesg, DmesgLines, LogLine};
use flurm_wire::{Address, Message};
use std::collections::VecDeque;

/// Lines kept; older ones are in the broker's standard error.
const LINES_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct LogRing {
    lines: VecDeque<LogLine>,
    followers: Vec<Message>,
}

impl LogRing {
    pub fn request(&mut self, cx: &mut Cx, m: &Message) {
        let mut cx = cx.at_once();
        let dmesg: Dmesg = match m.body() {
            Ok(dmesg) => dmesg,
            Err(error) => return cx.refuse(m, error),
        };
        if dmesg.clear {
            self.lines.clear();
        }
        let lines = DmesgLines { lines: self.lines.iter().cloned().collect() };
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
