//! `flurm resource list`, `info`, `R`: resources as the scheduler sees them.

use super::{Share, ask, targets};
use crate::face::Face;
use crate::failure::Failure;
use crate::format::{self, Column};
use crate::{out, when};
use flurm_types::{Idset, R, Timestamp};
use flurm_wire::Dest;
use flurm_wire::job::{Queue, QueueAct};
use flurm_wire::resource::Expiring;
use std::collections::BTreeMap;
use std::io::Write;

/// Which resources.
#[derive(Debug, clap::Args)]
struct Selection {
    /// Only these: free, allocated, up, down, all
    #[arg(short, long, value_name = "STATE,…", value_delimiter = ',')]
    states: Vec<State>,
    /// Only these ranks or hosts
    #[arg(short, long, value_name = "TARGETS")]
    include: Option<String>,
    /// Only nodes of these queues
    #[arg(short, long, value_name = "QUEUE,…", value_delimiter = ',')]
    queue: Vec<String>,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq, clap::ValueEnum)]
enum State {
    Free,
    Allocated,
    Up,
    Down,
    All,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            State::Free => "free",
            State::Allocated => "allocated",
            State::Up => "up",
            State::Down => "down",
            State::All => "all",
        }
    }
}

/// Resources by state, and the ranks of queues with names.
struct Seen {
    shares: Vec<(State, R)>,
    queues: Vec<(String, Idset)>,
    expiring: Vec<Expiring>,
}

/// Resources in one state.
struct Row {
    state: &'static str,
    queue: String,
    properties: String,
    /// Zero if with the instance.
    expiration: Timestamp,
    r: R,
}

static COLUMNS: &[Column<Row>] = &[
    Column { name: "state", header: "STATE", value: |row, _| row.state.into() },
    Column { name: "queue", header: "QUEUE", value: |row, _| row.queue.clone().into() },
    Column { name: "properties", header: "PROPERTIES", value: |row, _| row.properties.clone().into() },
    Column { name: "propertiesx", header: "PROPERTIES", value: |row, _| row.properties.clone().into() },
    Column { name: "expiration", header: "UNTIL", value: |row, _| row.expiration.into() },
    Column { name: "nnodes", header: "NNODES", value: |row, _| row.r.nnodes().into() },
    Column { name: "ncores", header: "NCORES", value: |row, _| row.r.ncores().into() },
    Column { name: "ngpus", header: "NGPUS", value: |row, _| row.r.ngpus().into() },
    Column { name: "ranks", header: "RANKS", value: |row, _| row.r.ranks().to_string().into() },
    Column { name: "nodelist", header: "NODELIST", value: |row, _| row.r.hostlist().to_string().into() },
    Column { name: "rlist", header: "LIST", value: |row, _| rlist(&row.r).into() },
];

const NAMED: format::Named = &[
    (
        "default",
        "{state:<9} ?:{queue:<10.10+} ?:{propertiesx:<10.10+} ?:{expiration!d:%b%d %R::<12} {nnodes:>6} {ncores:>6} {ngpus:>5} {nodelist:h}",
    ),
    (
        "rlist",
        "{state:<9} ?:{queue:<10.10+} ?:{propertiesx:<10.10+} ?:{expiration!d:%b%d %R::<12} {nnodes:>6} {ncores:>6} {ngpus:>5} {rlist:h}",
    ),
];

/// List resources by state
#[derive(Debug, clap::Args)]
pub struct List {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    format: format::Options,
    /// Leave out states that nothing is in
    #[arg(long, overrides_with = "no_skip_empty")]
    skip_empty: bool,
    /// Show states that nothing is in (the default)
    #[arg(long, overrides_with = "skip_empty")]
    no_skip_empty: bool,
    /// Print JSON: each state with its R
    #[arg(long)]
    json: bool,
}

impl List {
    pub fn run(mut self, face: &Face) -> Result<u8, Failure> {
        self.json |= self.format.take_json();
        let format = self.format.read("FLUX_RESOURCE_LIST_FORMAT_DEFAULT", NAMED, COLUMNS)?;
        let Some(format) = format else { return Ok(0) };
        let default = [State::Free, State::Allocated, State::Down];
        let states = if self.selection.states.is_empty() { &default[..] } else { &self.selection.states };
        let Seen { shares, queues, expiring } = self.selection.shares(face, states)?;
        if self.json {
            let map: BTreeMap<&str, &R> = shares.iter().map(|(state, r)| (state.name(), r)).collect();
            out::json(&map)?;
            return Ok(0);
        }
        let by_properties = format.shows("properties") || format.shows("propertiesx");
        let queues = if format.shows("queue") { queues } else { Vec::new() };
        let shows_end = format.shows("expiration");
        let label = &|rank: u32, r: &R| {
            let end = expiring.iter().find(|expiring| shows_end && expiring.ranks.contains(rank));
            let end = end.map_or(Timestamp::ZERO, |expiring| expiring.expiration);
            let in_queue = queues.iter().filter(|(_, ranks)| ranks.contains(rank));
            let in_queue: Vec<&str> = in_queue.map(|(name, _)| &**name).collect();
            (in_queue.join(","), if by_properties { properties(rank, r) } else { String::new() }, end)
        };
        let mut rows: Vec<Row> = shares
            .into_iter()
            .flat_map(|(state, r)| {
                let parts = split(r, label).into_iter();
                parts.map(move |((queue, properties, expiration), r)| Row {
                    state: state.name(),
                    queue,
                    properties,
                    expiration,
                    r,
                })
            })
            .filter(|row| !self.skip_empty || !row.r.is_empty())
            .collect();
        format.print(&mut out::stdout(), &mut rows, !self.format.no_header, |_| None)?;
        Ok(0)
    }
}

/// Say how many nodes, cores and GPUs there are
#[derive(Debug, clap::Args)]
pub struct Info {
    #[command(flatten)]
    selection: Selection,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Info {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let r = self.selection.union(face)?;
        if self.json {
            out::json(&serde_json::json!({
                "nnodes": r.nnodes(), "ncores": r.ncores(), "ngpus": r.ngpus(),
            }))?;
            return Ok(0);
        }
        let counted = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        let [nodes, cores, gpus] = [(r.nnodes(), "Node"), (r.ncores(), "Core"), (r.ngpus(), "GPU")]
            .map(|(n, what)| counted(n, what));
        writeln!(out::stdout(), "{nodes}, {cores}, {gpus}")?;
        Ok(0)
    }
}

/// Print resources as R (RFC 20)
#[derive(Debug, clap::Args)]
pub struct Raw {
    #[command(flatten)]
    selection: Selection,
}

impl Raw {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        out::json(&self.selection.union(face)?)?;
        Ok(0)
    }
}

impl Selection {
    /// What is in each of `states`.
    fn shares(&self, face: &Face, states: &[State]) -> Result<Seen, Failure> {
        let client = face.connect()?;
        let info = ask(&client)?;
        let status =
            client.call(Dest::Leader, &Queue { queues: self.queue.clone(), ..QueueAct::Status.into() })?;
        let named = status.queues.into_iter().filter(|queue| !queue.name.is_empty());
        let queues: Vec<(String, Idset)> = named.map(|queue| (queue.name, queue.ranks)).collect();
        let share = Share::of(&info, when::now());
        let mut wanted: Option<Idset> =
            self.include.as_ref().map(|word| targets(word, &info.all)).transpose()?;
        if !self.queue.is_empty() {
            let theirs = queues.iter().fold(Idset::new(), |all, (_, ranks)| all.union(ranks));
            wanted = Some(wanted.map_or(theirs.clone(), |wanted| wanted.intersection(&theirs)));
        }
        let pick = |state: &State| {
            let r = match state {
                State::Free => share.free.clone(),
                State::Allocated => share.allocated.clone(),
                State::Down => share.down.clone(),
                State::Up => info.all.difference(&share.down),
                State::All => info.all.clone(),
            };
            (*state, wanted.as_ref().map(|ranks| r.restrict(ranks)).unwrap_or(r))
        };
        let shares = states.iter().map(pick).collect();
        Ok(Seen { shares, queues, expiring: info.expiring })
    }

    /// What is in any of the selected states; everything when none is selected.
    fn union(&self, face: &Face) -> Result<R, Failure> {
        let states = if self.states.is_empty() { &[State::All][..] } else { &self.states };
        let mut shares = self.shares(face, states)?.shares.into_iter().map(|(_, r)| r);
        let first = shares.next().unwrap_or_default();
        shares
            .try_fold(first, |all, r| all.union(&r))
            .map_err(|e| Failure::new(format!("the instance disagrees with itself: {e}")))
    }
}

/// Names of the properties of a rank; those that queues are made of are shown as queues.
fn properties(rank: u32, r: &R) -> String {
    let has = r.properties.iter().filter(|(name, ranks)| !name.starts_with('+') && ranks.contains(rank));
    has.map(|(name, _)| &**name).collect::<Vec<_>>().join(",")
}

/// Parts of an R whose nodes have the same label, in order of their first node.
fn split<L: PartialEq>(r: R, label: impl Fn(u32, &R) -> L) -> Vec<(L, R)> {
    let mut parts: Vec<(L, Idset)> = Vec::new();
    for node in &r.nodes {
        let has = label(node.rank, &r);
        match parts.iter_mut().find(|(label, _)| *label == has) {
            Some((_, ranks)) => drop(ranks.insert(node.rank)),
            None => parts.push((has, node.rank.into())),
        }
    }
    match parts.len() {
        // Nothing to cut, nor anything to lose; and an empty state is shown as well.
        0 => vec![(label(u32::MAX, &r), r)],
        _ => parts.into_iter().map(|(label, ranks)| (label, r.restrict(&ranks))).collect(),
    }
}

/// `rank[0-3]/core[0-3],gpu[0-1]`, groups of ranks with equal parts joined by blanks.
pub fn rlist(r: &R) -> String {
    let mut groups: Vec<(String, Idset)> = Vec::new();
    for node in &r.nodes {
        let bracketed = |name: &str, ids: &Idset| match ids.len() {
            1 => format!("{name}{ids}"),
            _ => format!("{name}[{ids}]"),
        };
        let mut parts = bracketed("core", &node.cores);
        if !node.gpus.is_empty() {
            parts = format!("{parts},{}", bracketed("gpu", &node.gpus));
        }
        match groups.iter_mut().find(|(known, _)| *known == parts) {
            Some((_, ranks)) => drop(ranks.insert(node.rank)),
            None => groups.push((parts, node.rank.into())),
        }
    }
    let groups: Vec<String> = groups
        .into_iter()
        .map(|(parts, ranks)| match ranks.len() {
            1 => format!("rank{ranks}/{parts}"),
            _ => format!("rank[{ranks}]/{parts}"),
        })
        .collect();
    groups.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use flurm_types::RNode;

    #[test]
    fn nodes_are_grouped_by_their_properties() {
        let mut r = R::from_nodes((0..4).map(|rank| RNode {
            rank,
            host: format!("n{rank}"),
            cores: "0-3".parse().unwrap(),
            gpus: if rank == 3 { "0".parse().unwrap() } else { Idset::new() },
        }));
        assert_eq!(rlist(&r), "rank[0-2]/core[0-3] rank3/core[0-3],gpu0");
        r.properties.insert("fat".into(), "1,3".parse().unwrap());
        let parts: Vec<(String, String)> =
            split(r, properties).into_iter().map(|(p, r)| (p, r.ranks().to_string())).collect();
        assert_eq!(parts, [("".into(), "0,2".into()), ("fat".into(), "1,3".into())]);
    }
}
