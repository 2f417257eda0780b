//! `flurm startlog`: when the instance was started and stopped, over its restarts on one state directory.

use crate::face::Face;
use crate::failure::{FAILED, Failure};
use crate::{out, when};
use flurm_client::{Client, kvs};
use flurm_types::{Entry, Timestamp};
use flurm_wire::kvs::{Node, PRIMARY};
use flurm_wire::state::{FINISH, Get, START, STARTLOG};
use flurm_wire::{Dest, ErrorCode};
use serde_json::Value;
use std::io::Write;

/// Print when the instance was started and stopped
#[derive(Debug, clap::Args)]
pub struct Args {
    /// End with 1 if it was not stopped in order the last time
    #[arg(long)]
    check: bool,
    /// Print nothing
    #[arg(long)]
    quiet: bool,
    /// Print versions as well
    #[arg(short = 'v', long)]
    show_version: bool,
}

/// One life of the instance.
#[derive(Debug, PartialEq)]
struct Life {
    start: Timestamp,
    finish: Option<Timestamp>,
    version: String,
}

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        face.connected(async |client| {
            let lives = lives(&client).await?;
            if !self.quiet {
                let mut out = out::stdout();
                for (at, life) in lives.iter().enumerate() {
                    writeln!(out, "{}", life.line(at + 1 == lives.len(), self.show_version))?;
                }
                out.flush()?;
            }
            let before = lives.len().checked_sub(2).map(|at| &lives[at]);
            let crashed = before.is_some_and(|life| life.finish.is_none());
            Ok(if self.check && crashed { FAILED } else { 0 })
        })
    }
}

async fn lives(client: &Client) -> Result<Vec<Life>, Failure> {
    match kvs::get(client, PRIMARY, STARTLOG).await {
        Ok(got) => match got.node {
            Some(Node::Value(Value::String(text))) => Ok(read(&text)),
            _ => Err(Failure::new(format!("`{STARTLOG}` is no eventlog"))),
        },
        // An instance without a state directory has one life.
        Err(error) if error.code() == Some(ErrorCode::NotFound) => {
            let info = client.call(Dest::Leader, &Get {}).await?;
            Ok(vec![Life { start: info.starttime, finish: None, version: info.version }])
        }
        Err(error) => Err(error.into()),
    }
}

fn read(text: &str) -> Vec<Life> {
    let mut lives: Vec<Life> = Vec::new();
    for entry in text.lines().filter_map(|line| Entry::parse_line(line).ok()) {
        match entry.name.as_str() {
            START => {
                let version = entry.context.as_ref().and_then(|context| context.get("version"));
                let version = version.and_then(Value::as_str).unwrap_or("?").to_owned();
                lives.push(Life { start: entry.timestamp, finish: None, version });
            }
            FINISH => {
                if let Some(life) = lives.last_mut() {
                    life.finish = Some(entry.timestamp);
                }
            }
            _ => {}
        }
    }
    lives
}

impl Life {
    fn line(&self, last: bool, version: bool) -> String {
        let clock = |time| when::zoned(time).strftime("%Y-%m-%d %H:%M:%S").to_string();
        let (until, lasted) = match (self.finish, last) {
            (Some(finish), _) => (clock(finish), Some(finish)),
            (None, true) => ("running".to_owned(), Some(when::now())),
            (None, false) => ("crashed".to_owned(), None),
        };
        let mut line = format!("{} - {until:<19}", clock(self.start));
        if let Some(end) = lasted {
            line.push_str(&format!(" ({})", when::rough(end.secs_since(self.start).max(0.0))));
        }
        if version {
            line.push_str(&format!(" flurm {}", self.version));
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_without_an_end_is_a_crash_unless_it_is_the_last() {
        let text = concat!(
            "{\"timestamp\":1790000000.0,\"name\":\"start\",\"context\":{\"version\":\"1\"}}\n",
            "{\"timestamp\":1790000060.0,\"name\":\"finish\"}\n",
            "{\"timestamp\":1790000100.0,\"name\":\"start\"}\n",
            "{\"timestamp\":1790000200.0,\"name\":\"start\"}\n",
        );
        let lives = read(text);
        let ends: Vec<bool> = lives.iter().map(|life| life.finish.is_some()).collect();
        assert_eq!(ends, [true, false, false]);
        assert!(lives[0].line(false, true).ends_with(" (1m) flurm 1"), "{}", lives[0].line(false, true));
        assert!(lives[1].line(false, false).contains(" - crashed"));
        assert!(lives[2].line(true, false).contains(" - running"));
    }
}
