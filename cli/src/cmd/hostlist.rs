//! `flurm hostlist`: sets and lists of hosts, from an instance, from jobs, from the command line.

use crate::face::Face;
use crate::failure::{FAILED, Failure, USAGE};
use crate::out;
use flurm_client::job;
use flurm_types::{Hostlist, Idset, JobId, R};
use flurm_wire::Dest;
use flurm_wire::resource::Status;
use std::collections::BTreeMap;
use std::io::Write;

/// Print and combine lists of hosts
///
/// Sources are `instance` (its hosts), `avail` (those that are up and not drained), `local` (those of the job around us,
/// else of the instance), `stdin`, ids of jobs, and lists of hosts. They are joined, in the order given.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print one host after the other
    #[arg(short, long)]
    expand: bool,
    /// With --expand: between them (default: a blank); \n and \t are known
    #[arg(short, long, value_name = "TEXT", default_value = " ", hide_default_value = true)]
    delimiter: String,
    /// Print how many there are
    #[arg(short, long)]
    count: bool,
    /// Only those at these places, counted from 0; -1 is the last
    #[arg(short, long, value_name = "PLACES", allow_hyphen_values = true)]
    nth: Option<String>,
    /// Print the places of these hosts; fail if one is not there
    #[arg(short = 'F', long, value_name = "HOSTS")]
    find: Option<Hostlist>,
    /// Only the first N; the last ones with -N
    #[arg(short = 'L', long, value_name = "N", allow_hyphen_values = true)]
    limit: Option<i64>,
    /// In order of their names, numbers by size
    #[arg(short = 'S', long)]
    sort: bool,
    /// Each host once, in order
    #[arg(short, long, alias = "unique", conflicts_with_all = ["intersect", "minus", "xor"])]
    union: bool,
    /// Leave these hosts, or those at these places, out
    #[arg(short = 'x', long, value_name = "HOSTS")]
    exclude: Option<String>,
    /// Hosts that all sources have
    #[arg(short, long, conflicts_with_all = ["minus", "xor"])]
    intersect: bool,
    /// Hosts of the first source that no other has
    #[arg(short, long, conflicts_with = "xor")]
    minus: bool,
    /// Hosts that an odd number of sources have
    #[arg(short = 'X', long)]
    xor: bool,
    /// A source that cannot be asked is a list of hosts
    #[arg(short, long)]
    fallback: bool,
    /// Without sources: those of the job around us (default: standard input)
    #[arg(short, long)]
    local: bool,
    /// Print nothing; fail if the result is empty
    #[arg(short, long)]
    quiet: bool,
    #[arg(value_name = "SOURCE")]
    sources: Vec<String>,
}

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let sources = match (self.sources.as_slice(), self.local) {
            ([], true) => vec!["local".to_owned()],
            ([], false) => vec!["stdin".to_owned()],
            (given, _) => given.to_vec(),
        };
        let mut lists = Vec::new();
        for source in &sources {
            match read(face, source) {
                Ok(list) => lists.push(list),
                Err(failure) => {
                    let plain = source.parse().ok().filter(|_| self.fallback);
                    lists.push(plain.ok_or(failure)?);
                }
            }
        }
        let mut hosts = self.combined(&lists);
        if let Some(excluded) = &self.exclude {
            hosts = without(&hosts, excluded)?;
        }
        if self.sort {
            let mut sorted: Vec<String> = hosts.iter().cloned().collect();
            sorted.sort_by_cached_key(|host| natural(host));
            hosts = sorted.into_iter().collect();
        }
        if let Some(limit) = self.limit {
            let all: Vec<&String> = hosts.iter().collect();
            let n = usize::try_from(limit.unsigned_abs()).unwrap_or(usize::MAX).min(all.len());
            let part = if limit < 0 { &all[all.len() - n..] } else { &all[..n] };
            hosts = part.iter().map(|host| (*host).clone()).collect();
        }
        if let Some(places) = &self.nth {
            hosts = nth(&hosts, places)?;
        }
        self.print(&hosts)
    }

    fn combined(&self, lists: &[Hostlist]) -> Hostlist {
        let joined: Hostlist = lists.iter().flat_map(|list| list.iter().cloned()).collect();
        let others = lists.get(1..).unwrap_or_default();
        if self.intersect {
            joined.unique().iter().filter(|host| lists.iter().all(|l| l.contains(host))).cloned().collect()
        } else if self.minus {
            let first = lists.first().map(Hostlist::unique).unwrap_or_default();
            first.iter().filter(|host| !others.iter().any(|l| l.contains(host))).cloned().collect()
        } else if self.xor {
            let odd = |host: &&String| lists.iter().filter(|l| l.contains(host)).count() % 2 == 1;
            joined.unique().iter().filter(odd).cloned().collect()
        } else if self.union {
            let mut sorted: Vec<String> = joined.unique().iter().cloned().collect();
            sorted.sort_by_cached_key(|host| natural(host));
            sorted.into_iter().collect()
        } else {
            joined
        }
    }

    fn print(&self, hosts: &Hostlist) -> Result<u8, Failure> {
        let mut out = out::stdout();
        if let Some(wanted) = &self.find {
            let mut places = Vec::new();
            for host in wanted {
                let place = hosts.find(host);
                let missing = || Failure::new(format!("{host} is not in the list"));
                places.push(place.ok_or_else(missing)?.to_string());
            }
            if !self.quiet {
                writeln!(out, "{}", places.join(" "))?;
            }
            return Ok(0);
        }
        if self.quiet {
            return Ok(if hosts.is_empty() { FAILED } else { 0 });
        }
        if self.count {
            writeln!(out, "{}", hosts.len())?;
        } else if self.expand {
            let between = self.delimiter.replace("\\n", "\n").replace("\\t", "\t");
            let names: Vec<&str> = hosts.iter().map(String::as_str).collect();
            writeln!(out, "{}", names.join(&between))?;
        } else {
            writeln!(out, "{hosts}")?;
        }
        Ok(0)
    }
}

/// The hosts of a source.
fn read(face: &Face, source: &str) -> Result<Hostlist, Failure> {
    match source {
        "instance" => Ok(face.connect()?.call(Dest::Leader, &Status {})?.all.hostlist()),
        "avail" => {
            let info = face.connect()?.call(Dest::Leader, &Status {})?;
            let drained = info.drained.iter().fold(Idset::new(), |all, d| all.union(&d.ranks));
            Ok(info.all.restrict(&info.up.difference(&drained)).hostlist())
        }
        "local" => match face.job() {
            Some(id) => of_job(face, id),
            None => read(face, "instance"),
        },
        "stdin" | "-" => {
            let text = std::io::read_to_string(std::io::stdin())
                .map_err(|e| Failure::new(format!("cannot read standard input: {e}")))?;
            let words: Result<Vec<Hostlist>, _> = text.split_whitespace().map(str::parse).collect();
            Ok(words?.iter().flat_map(|list| list.iter().cloned()).collect())
        }
        word => match word.parse::<JobId>() {
            // A host may well be called `f1`; that is a list then, if no job is.
            Ok(id) => of_job(face, id).or_else(|failure| {
                let marked = word.starts_with('ƒ') || word.starts_with(|c: char| c.is_ascii_digit());
                if marked { Err(failure) } else { Ok(word.parse()?) }
            }),
            Err(_) => Ok(word.parse()?),
        },
    }
}

fn of_job(face: &Face, id: JobId) -> Result<Hostlist, Failure> {
    let found = face.connect()?.run(async |client| job::lookup(&client, id, &["R"]).await)?;
    let text = found.first().map(String::as_str).unwrap_or_default();
    let r = R::parse(text).map_err(|e| Failure::new(format!("the R of {id}: cannot {e}")))?;
    Ok(r.hostlist())
}

fn without(hosts: &Hostlist, excluded: &str) -> Result<Hostlist, Failure> {
    if let Ok(places) = Idset::parse_relaxed(excluded) {
        let kept = hosts.iter().zip(0u32..).filter(|(_, place)| !places.contains(*place));
        return Ok(kept.map(|(host, _)| host.clone()).collect());
    }
    let excluded: Hostlist = excluded.parse()?;
    Ok(hosts.iter().filter(|host| !excluded.contains(host)).cloned().collect())
}

/// Hosts at places: an idset, or one number from the end.
fn nth(hosts: &Hostlist, places: &str) -> Result<Hostlist, Failure> {
    let missing = |place: &str| {
        Failure::new(format!("there is no place {place} in a list of {}", hosts.len())).code(USAGE)
    };
    if let Some(back) = places.strip_prefix('-') {
        let back: usize = back
            .parse()
            .map_err(|_| Failure::usage(format!("cannot read place `{places}`: -N counts from the end")))?;
        let place = hosts.len().checked_sub(back).filter(|_| back > 0).ok_or_else(|| missing(places))?;
        return Ok(hosts.get(place).map(str::to_owned).into_iter().collect());
    }
    let ids = Idset::parse_relaxed(places)?;
    ids.iter()
        .map(|id| {
            let host = usize::try_from(id).ok().and_then(|id| hosts.get(id));
            host.map(str::to_owned).ok_or_else(|| missing(&id.to_string()))
        })
        .collect()
}

/// A key that sorts `n2` before `n10`.
fn natural(host: &str) -> Vec<(u64, String)> {
    let mut parts: BTreeMap<usize, (u64, String)> = BTreeMap::new();
    let (mut at, mut digits) = (0, false);
    for c in host.chars() {
        if c.is_ascii_digit() != digits && parts.contains_key(&at) {
            at += 1;
        }
        digits = c.is_ascii_digit();
        parts.entry(at).or_insert_with(|| (0, String::new())).1.push(c);
    }
    parts
        .into_values()
        .map(|(_, text)| match text.parse::<u64>() {
            Ok(number) => (number, text),
            Err(_) => (0, text),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_order() {
        let hosts: Hostlist = "n[1-4]".parse().unwrap();
        let text = |list: Result<Hostlist, Failure>| list.map(|l| l.to_string());
        assert_eq!(text(nth(&hosts, "0,2")), Ok("n[1,3]".into()));
        assert_eq!(text(nth(&hosts, "-1")), Ok("n4".into()));
        assert!(nth(&hosts, "4").is_err() && nth(&hosts, "-5").is_err() && nth(&hosts, "-0").is_err());
        assert_eq!(text(without(&hosts, "n2,n9")), Ok("n[1,3-4]".into()));
        assert_eq!(text(without(&hosts, "0")), Ok("n[2-4]".into()));
        let mut names = ["n10", "n2", "a3", "n2b", "n1"];
        names.sort_by_cached_key(|name| natural(name));
        assert_eq!(names, ["a3", "n1", "n2", "n2b", "n10"]);
    }
}
