//! `flurm resource`: what there is, what is free, what is taken out of service.

mod drain;
mod eventlog;
mod expire;
mod jgf;
mod list;
mod query;
mod status;
mod tree;

use crate::face::Face;
use crate::failure::Failure;
use clap::Subcommand;
use flurm_client::blocking::Client;
use flurm_types::{Hostlist, Idset, R, Timestamp};
use flurm_wire::Dest;
use flurm_wire::job::{Queue, QueueAct};
use flurm_wire::resource::{Status, StatusInfo};

/// List, drain and undrain resources
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(list::List),
    Info(list::Info),
    #[command(name = "R")]
    R(list::Raw),
    Status(status::Args),
    Tree(tree::Args),
    Drain(drain::Drain),
    Undrain(drain::Undrain),
    Eventlog(eventlog::Args),
    Expire(expire::Args),
    Jgf(jgf::Args),
    Query(query::Args),
}

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        match self.command {
            Command::List(args) => args.run(face),
            Command::Info(args) => args.run(face),
            Command::R(args) => args.run(face),
            Command::Status(args) => args.run(face),
            Command::Tree(args) => args.run(face),
            Command::Drain(args) => args.run(face),
            Command::Undrain(args) => args.run(face),
            Command::Eventlog(args) => args.run(face),
            Command::Expire(args) => args.run(face),
            Command::Jgf(args) => args.run(face),
            Command::Query(args) => args.run(face),
        }
    }
}

/// The scheduler's view: each core is free, allocated, or on a node that is down or has ended.
#[derive(Debug)]
pub struct Share {
    pub free: R,
    pub allocated: R,
    pub down: R,
}

impl Share {
    pub fn of(info: &StatusInfo, now: Timestamp) -> Share {
        let usable = drained(info).iter().fold(info.up.clone(), |mut up, rank| {
            up.remove(rank);
            up
        });
        let ended = info.expiring.iter().filter(|expiring| expiring.expiration <= now);
        let usable = ended.fold(usable, |usable, ended| usable.difference(&ended.ranks));
        let all = info.all.ranks();
        Share {
            free: info.all.restrict(&usable).difference(&info.allocated),
            allocated: info.allocated.clone(),
            down: info.all.restrict(&all.difference(&usable)).difference(&info.allocated),
        }
    }
}

/// All drained ranks.
fn drained(info: &StatusInfo) -> Idset {
    info.drained.iter().fold(Idset::new(), |all, drained| all.union(&drained.ranks))
}

/// Leaves only these targets, and nodes of these queues.
fn narrow(
    client: &Client,
    info: &mut StatusInfo,
    include: Option<&str>,
    queues: &[String],
) -> Result<(), Failure> {
    if let Some(word) = include {
        info.all = info.all.restrict(&targets(word, &info.all)?);
    }
    if !queues.is_empty() {
        let ask = Queue { queues: queues.to_vec(), ..QueueAct::Status.into() };
        let theirs = client.call(Dest::Leader, &ask)?.queues;
        let theirs = theirs.iter().fold(Idset::new(), |all, queue| all.union(&queue.ranks));
        info.all = info.all.restrict(&theirs);
    }
    Ok(())
}

pub use list::rlist;

pub fn ask(client: &Client) -> Result<StatusInfo, Failure> {
    Ok(client.call(Dest::Leader, &Status {})?)
}

/// Ranks that a word names: ranks, or hosts.
pub fn targets(word: &str, all: &R) -> Result<Idset, Failure> {
    if let Ok(ranks) = Idset::parse_relaxed(word) {
        return match ranks.difference(&all.ranks()).first() {
            None => Ok(ranks),
            Some(rank) => Err(Failure::new(format!("there is no rank {rank} here"))
                .hint(format!("ranks are {}", all.ranks()))),
        };
    }
    let hosts: Hostlist = word.parse()?;
    for host in &hosts {
        if !all.nodes.iter().any(|node| node.host == *host) {
            return Err(Failure::new(format!("there is no node {host} here"))
                .hint(format!("nodes are {}", all.hostlist())));
        }
    }
    Ok(all.nodes.iter().filter(|node| hosts.contains(&node.host)).map(|node| node.rank).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flurm_types::RNode;
    use flurm_wire::resource::{Drained, Expiring};

    fn node(rank: u32, cores: &str) -> RNode {
        RNode { rank, host: format!("n{rank}"), cores: cores.parse().unwrap(), gpus: Idset::new() }
    }

    #[test]
    fn every_core_is_in_one_share() {
        let info = StatusInfo {
            all: R::from_nodes((0..4).map(|rank| node(rank, "0-3"))),
            allocated: R::from_nodes([node(0, "0-1"), node(2, "0-3")]),
            up: "0-2".parse().unwrap(),
            online: "0-2".parse().unwrap(),
            drained: vec![Drained { ranks: 1.into(), reason: String::new(), since: Timestamp::ZERO }],
            expiration: Timestamp::ZERO,
            expiring: Vec::new(),
        };
        let share = Share::of(&info, Timestamp::ZERO);
        let cores = |r: &R| (r.ncores(), r.ranks().to_string());
        assert_eq!(cores(&share.free), (2, "0".into()));
        assert_eq!(cores(&share.allocated), (6, "0,2".into()));
        assert_eq!(cores(&share.down), (8, "1,3".into()));
        let end = Timestamp::from_secs_f64(5.0);
        let info = StatusInfo { expiring: vec![Expiring { ranks: 0.into(), expiration: end }], ..info };
        assert_eq!(cores(&Share::of(&info, Timestamp::from_secs_f64(4.0)).free), (2, "0".into()));
        let share = Share::of(&info, end);
        assert_eq!((cores(&share.free), cores(&share.allocated)), ((0, "".into()), (6, "0,2".into())));
        assert_eq!(cores(&share.down), (10, "0-1,3".into()));
    }

    #[test]
    fn targets_are_ranks_or_hosts() {
        let all = R::from_nodes((0..4).map(|rank| node(rank, "0")));
        assert_eq!(targets("1,3", &all), Ok("1,3".parse().unwrap()));
        assert_eq!(targets("n[2-3]", &all), Ok("2-3".parse().unwrap()));
        for (word, text) in [("7", "there is no rank 7 here"), ("n9", "there is no node n9 here")] {
            assert_eq!(targets(word, &all).unwrap_err().lines().0, text);
        }
    }
}
