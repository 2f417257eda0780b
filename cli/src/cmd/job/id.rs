//! `flurm job id`, `last`: ids in every encoding, and the latest ones.

use crate::face::Face;
use crate::failure::Failure;
use crate::out::{self, Script};
use flurm_client::job;
use flurm_types::{Encoding, JobId};
use flurm_wire::job::List;
use std::io::{self, BufRead, Write};

/// Write job ids in another encoding
#[derive(Debug, clap::Args)]
pub struct Id {
    /// The encoding
    #[arg(long, value_enum, default_value_t)]
    to: To,
    /// Any encoding; without one: lines of standard input
    #[arg(value_name = "ID")]
    ids: Vec<JobId>,
}

#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
enum To {
    #[default]
    Dec,
    F58,
    F58plain,
    Hex,
    Dothex,
    Kvs,
    Words,
    Emoji,
}

impl To {
    fn show(self, id: JobId) -> String {
        match self {
            To::Dec => id.encode(Encoding::Dec),
            To::F58 => Script::of_locale().id(id),
            To::F58plain => id.encode(Encoding::F58Plain),
            To::Hex => id.encode(Encoding::Hex),
            To::Dothex => id.encode(Encoding::Dothex),
            To::Kvs => id.encode(Encoding::Kvs),
            To::Words => id.encode(Encoding::Words),
            To::Emoji => id.encode(Encoding::Emoji),
        }
    }
}

impl Id {
    pub fn run(self, _face: &Face) -> Result<u8, Failure> {
        let mut out = out::stdout();
        for id in &self.ids {
            writeln!(out, "{}", self.to.show(*id))?;
        }
        if self.ids.is_empty() {
            for line in io::stdin().lock().lines() {
                let line = line.map_err(|e| Failure::new(format!("cannot read standard input: {e}")))?;
                for word in line.split_whitespace() {
                    writeln!(out, "{}", self.to.show(word.parse()?))?;
                }
            }
        }
        Ok(0)
    }
}

/// Print the id of the latest job, or of the N latest
#[derive(Debug, clap::Args)]
pub struct Last {
    /// How many, newest first; or a slice as `[1:3]`, in which 0 is the newest
    #[arg(value_name = "N|[I:J]", default_value = "1", hide_default_value = true, value_parser = Slice::parse)]
    which: Slice,
}

/// Part of a list, as Python cuts it.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
struct Slice {
    from: Option<i64>,
    to: Option<i64>,
}

impl Slice {
    fn parse(text: &str) -> Result<Slice, String> {
        let bad = || "expected a number, or a slice as [1:3]".to_owned();
        let Some(inside) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else {
            let n = text.parse::<u32>().map_err(|_| bad())?;
            return Ok(Slice { from: None, to: Some(n.into()) });
        };
        let bound = |text: &str| match text {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| bad()),
        };
        match inside.split_once(':') {
            Some((from, to)) => Ok(Slice { from: bound(from)?, to: bound(to)? }),
            None => {
                let at = inside.parse::<i64>().map_err(|_| bad())?;
                Ok(Slice { from: Some(at), to: if at == -1 { None } else { Some(at + 1) } })
            }
        }
    }

    fn cut<T>(self, list: &[T]) -> &[T] {
        let len = i64::try_from(list.len()).unwrap_or(i64::MAX);
        let place = |bound: i64| usize::try_from(if bound < 0 { len + bound } else { bound.min(len) });
        let from = place(self.from.unwrap_or(0)).unwrap_or(0);
        let to = place(self.to.unwrap_or(len)).unwrap_or(0);
        if from < to { &list[from..to] } else { &[] }
    }

    /// How many entries from the front are enough; 0 for all of them.
    fn needed(self) -> usize {
        match (self.from, self.to) {
            (None | Some(0..), Some(to @ 0..)) => usize::try_from(to).unwrap_or(0),
            _ => 0,
        }
    }
}

impl Last {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let list = List { max_entries: self.which.needed(), ..List::default() };
        let listed = face.connect()?.run(async |client| job::list(&client, &list).await)?;
        let jobs = self.which.cut(&listed.jobs);
        if jobs.is_empty() {
            return Err(Failure::new("there is no such job").hint("`flurm jobs -a` lists all jobs"));
        }
        let script = Script::of_locale();
        let mut out = out::stdout();
        for job in jobs {
            writeln!(out, "{}", script.id(job.id))?;
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_pythons() {
        let list = [0, 1, 2, 3, 4];
        for (text, cut, needed) in [
            ("1", &list[..1], 1),
            ("3", &list[..3], 3),
            ("[1:3]", &list[1..3], 3),
            ("[:2]", &list[..2], 2),
            ("[2:]", &list[2..], 0),
            ("[-2:]", &list[3..], 0),
            ("[2]", &list[2..3], 3),
            ("[-1]", &list[4..], 0),
            ("[4:1]", &list[..0], 1),
            ("9", &list[..], 9),
        ] {
            let slice = Slice::parse(text).unwrap();
            assert_eq!((slice.cut(&list), slice.needed()), (cut, needed), "{text}");
        }
        assert!(Slice::parse("x").is_err() && Slice::parse("[a:b]").is_err() && Slice::parse("-1").is_err());
    }
}
