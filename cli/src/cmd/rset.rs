//! `flurm R`: resource sets (RFC 20) made, read and combined, without an instance.

use crate::face::Face;
use crate::failure::{FAILED, Failure};
use crate::out;
use clap::Subcommand;
use flurm_types::{Hostlist, Idset, R, RNode};
use serde_json::Value;
use std::io::Write;

/// Make, read and combine resource sets (RFC 20)
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Encode(Encode),
    Decode(Decode),
    /// Join the sets of standard input; they may not overlap
    Append,
    /// What the first set of standard input has and the others have not
    Diff,
    /// What all sets of standard input have
    Intersect,
    /// Number ranks from 0
    Remap,
    /// Number ranks as these hosts are listed
    Rerank {
        hosts: Hostlist,
    },
    /// Give a property to ranks: NAME:RANKS
    SetProperty {
        #[arg(required = true, value_name = "NAME:RANKS")]
        properties: Vec<String>,
    },
    /// Compare two sets of standard input: fail if the second has what the first has not
    Verify,
}

/// Make a set of sizes
#[derive(Debug, clap::Args)]
struct Encode {
    /// Ranks
    #[arg(short, long, value_name = "RANKS", default_value = "0")]
    ranks: Idset,
    /// Core numbers on each of them
    #[arg(short, long, value_name = "CORES", default_value = "0")]
    cores: Idset,
    /// GPU numbers on each of them
    #[arg(short, long, value_name = "GPUS")]
    gpus: Option<Idset>,
    /// Hosts, in the order of ranks (default: node0, node1, …)
    #[arg(short = 'H', long, value_name = "HOSTS")]
    hosts: Option<Hostlist>,
    /// A property of some ranks; may be repeated
    #[arg(short, long, value_name = "NAME:RANKS")]
    property: Vec<String>,
}

/// Print a set, a part of it, or what is in it
#[derive(Debug, clap::Args)]
struct Decode {
    /// Print it in one short line
    #[arg(short, long, conflicts_with_all = ["nodelist", "ranks", "count"])]
    short: bool,
    /// Print its hosts
    #[arg(short, long, conflicts_with_all = ["ranks", "count"])]
    nodelist: bool,
    /// Print its ranks
    #[arg(short, long, conflicts_with = "count")]
    ranks: bool,
    /// Print how many nodes, cores or gpus it has
    #[arg(short, long, value_name = "TYPE")]
    count: Option<What>,
    /// Only these ranks
    #[arg(short, long, value_name = "RANKS")]
    include: Option<Idset>,
    /// Not these ranks
    #[arg(short = 'x', long, value_name = "RANKS")]
    exclude: Option<Idset>,
    /// Only ranks with this property; not those with ^NAME
    #[arg(short, long, value_name = "NAME")]
    properties: Vec<String>,
}

#[derive(Copy, Clone, Debug, clap::ValueEnum)]
enum What {
    Node,
    Core,
    Gpu,
}

impl Args {
    pub fn run(self, _face: &Face) -> Result<u8, Failure> {
        let r = match self.command {
            Command::Encode(encode) => encode.r()?,
            Command::Decode(decode) => return decode.print(&one()?),
            Command::Append => {
                let wrong = |e| Failure::new(format!("the sets cannot be joined: {e}"));
                let mut sets = read()?.into_iter();
                let first = sets.next().unwrap_or_default();
                sets.try_fold(first, |all, r| {
                    if all.is_disjoint(&r) {
                        all.union(&r).map_err(wrong)
                    } else {
                        Err(Failure::new("the sets cannot be joined: they overlap"))
                    }
                })?
            }
            Command::Diff => {
                let mut sets = read()?.into_iter();
                let first = sets.next().unwrap_or_default();
                sets.fold(first, |left, r| left.difference(&r))
            }
            Command::Intersect => {
                let mut sets = read()?.into_iter();
                let first = sets.next().unwrap_or_default();
                sets.fold(first, |both, r| both.difference(&both.difference(&r)))
            }
            Command::Remap => one()?.renumber(),
            Command::Rerank { hosts } => rerank(&one()?, &hosts)?,
            Command::SetProperty { properties } => {
                let mut r = one()?;
                set_properties(&mut r, &properties)?;
                r
            }
            Command::Verify => {
                let [first, second] = <[R; 2]>::try_from(read()?)
                    .map_err(|sets| Failure::usage(format!("two sets are compared, not {}", sets.len())))?;
                if second.is_subset(&first) {
                    return Ok(0);
                }
                let more = second.difference(&first);
                crate::say!("missing: {}", short(&more));
                return Ok(FAILED);
            }
        };
        writeln!(out::stdout(), "{}", r.to_json())?;
        Ok(0)
    }
}

impl Encode {
    fn r(self) -> Result<R, Failure> {
        let hosts = match self.hosts {
            Some(hosts) if hosts.len() == self.ranks.len() => hosts,
            Some(hosts) => {
                let text = format!("{} hosts for {} ranks", hosts.len(), self.ranks.len());
                return Err(Failure::usage(text).hint("--hosts names one host for each rank"));
            }
            None => self.ranks.iter().map(|rank| format!("node{rank}")).collect(),
        };
        if self.cores.is_empty() {
            return Err(Failure::usage("a node of a set has at least one core"));
        }
        let gpus = self.gpus.unwrap_or_default();
        let mut r = R::from_nodes(self.ranks.iter().zip(hosts.iter()).map(|(rank, host)| RNode {
            rank,
            host: host.clone(),
            cores: self.cores.clone(),
            gpus: gpus.clone(),
        }));
        set_properties(&mut r, &self.property)?;
        Ok(r)
    }
}

impl Decode {
    fn print(&self, r: &R) -> Result<u8, Failure> {
        let mut ranks = r.ranks();
        if let Some(included) = &self.include {
            ranks = ranks.intersection(included);
        }
        if let Some(excluded) = &self.exclude {
            ranks = ranks.difference(excluded);
        }
        for name in self.properties.iter().flat_map(|list| list.split(',')) {
            let with = |name: &str| r.properties.get(name).cloned().unwrap_or_default();
            ranks = match name.strip_prefix('^') {
                Some(name) => ranks.difference(&with(name)),
                None => ranks.intersection(&with(name)),
            };
        }
        let r = r.restrict(&ranks);
        let mut out = out::stdout();
        if let Some(what) = self.count {
            let n = match what {
                What::Node => r.nnodes(),
                What::Core => r.ncores(),
                What::Gpu => r.ngpus(),
            };
            writeln!(out, "{n}")?;
        } else if self.short {
            writeln!(out, "{}", short(&r))?;
        } else if self.nodelist {
            writeln!(out, "{}", r.hostlist())?;
        } else if self.ranks {
            writeln!(out, "{ranks}")?;
        } else {
            writeln!(out, "{}", r.to_json())?;
        }
        Ok(0)
    }
}

fn short(r: &R) -> String {
    super::resource::rlist(r)
}

fn rerank(r: &R, hosts: &Hostlist) -> Result<R, Failure> {
    let place = |host: &str| hosts.find(host).and_then(|place| u32::try_from(place).ok());
    if hosts.unique().len() != hosts.len() {
        return Err(Failure::usage("a host is listed twice"));
    }
    if let Some(node) = r.nodes.iter().find(|node| place(&node.host).is_none()) {
        return Err(Failure::new(format!("{} is not among the hosts", node.host)));
    }
    if r.hostlist().unique().len() != r.nnodes() {
        return Err(Failure::new("the set has a host with several ranks; hosts do not tell them apart"));
    }
    Ok(r.with_ranks(|rank| r.node(rank).and_then(|node| place(&node.host)).expect("it was looked for above")))
}

fn set_properties(r: &mut R, words: &[String]) -> Result<(), Failure> {
    for word in words {
        let parts = word.rsplit_once(':').filter(|(name, _)| !name.is_empty());
        let Some((name, ranks)) = parts else {
            return Err(
                Failure::usage(format!("cannot read property `{word}`")).hint("such as --property=thin:0-3")
            );
        };
        let ranks: Idset = ranks.parse()?;
        if let Some(rank) = ranks.difference(&r.ranks()).first() {
            return Err(Failure::new(format!("there is no rank {rank} in the set")));
        }
        r.properties.entry(name.to_owned()).or_default().union_with(&ranks);
    }
    Ok(())
}

fn one() -> Result<R, Failure> {
    let mut sets = read()?;
    match (sets.pop(), sets.is_empty()) {
        (Some(r), true) => Ok(r),
        (Some(_), false) => Err(Failure::usage("standard input has several sets, and one is taken")),
        (None, _) => Err(Failure::usage("standard input has no set").hint("`flurm resource R` prints one")),
    }
}

/// All sets of standard input.
fn read() -> Result<Vec<R>, Failure> {
    let text = std::io::read_to_string(std::io::stdin())
        .map_err(|e| Failure::new(format!("cannot read standard input: {e}")))?;
    serde_json::Deserializer::from_str(&text)
        .into_iter::<Value>()
        .map(|value| {
            let value = value.map_err(|e| Failure::new(format!("cannot read resource set: {e}")))?;
            R::from_value(&value).map_err(|e| Failure::new(format!("cannot {e}")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(ranks: &str, cores: &str, hosts: Option<&str>) -> Result<R, Failure> {
        let hosts = hosts.map(|hosts| hosts.parse().unwrap());
        let (ranks, cores) = (ranks.parse().unwrap(), cores.parse().unwrap());
        Encode { ranks, cores, gpus: None, hosts, property: vec![] }.r()
    }

    #[test]
    fn ranks_follow_the_hosts() {
        let r = encode("0-2", "0-3", Some("a,b,c")).unwrap();
        let turned = rerank(&r, &"c,b,a".parse().unwrap()).unwrap();
        assert_eq!(turned.hostlist().to_string(), "c,b,a");
        assert!(rerank(&r, &"a,b".parse().unwrap()).is_err());
        assert!(encode("0-2", "0", Some("a,b")).is_err());
    }

    #[test]
    fn properties_are_of_ranks_that_are_there() {
        let mut r = encode("0-1", "0", None).unwrap();
        set_properties(&mut r, &["thin:1".to_owned()]).unwrap();
        assert_eq!(r.properties["thin"].to_string(), "1");
        for wrong in ["thin", ":1", "thin:7"] {
            assert!(set_properties(&mut r, &[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }
}
