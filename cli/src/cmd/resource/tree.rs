//! `flurm resource tree`: what each node is made of, equal nodes drawn once.

use super::{Share, ask};
use crate::face::Face;
use crate::failure::Failure;
use crate::out::{self, Script};
use crate::when;
use flurm_types::{Hostlist, Idset, RNode, Socket, counted};
use flurm_wire::resource::StatusInfo;
use std::collections::BTreeMap;
use std::io::Write;

/// Show nodes, their sockets, cores and GPUs as a tree
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Draw each node, equal ones too
    #[arg(long)]
    all: bool,
}

/// What makes nodes look alike.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Look {
    /// Set where alike is not enough: the node's own rank.
    rank: Option<u32>,
    up: bool,
    free_cores: usize,
    free_gpus: usize,
    sockets: Vec<Socket>,
}

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let info = ask(&face.connect()?)?;
        let text = draw(&info, self.all, Script::of_locale());
        out::stdout().write_all(text.as_bytes())?;
        Ok(0)
    }
}

fn draw(info: &StatusInfo, each: bool, script: Script) -> String {
    let share = Share::of(info, when::now());
    let (cores, gpus) = (|n: usize| counted(n as u64, "core"), |n: usize| counted(n as u64, "GPU"));
    let count = |r: &flurm_types::R| format!("{}, {}", cores(r.ncores()), gpus(r.ngpus()));
    let nodes = counted(info.all.nnodes() as u64, "node");
    let mut text = format!("{nodes}, {}; free: {}\n", count(&info.all), count(&share.free));
    let mut looks: BTreeMap<(u32, Look), Vec<&RNode>> = BTreeMap::new();
    let mut first: BTreeMap<Look, u32> = BTreeMap::new();
    for node in &info.all.nodes {
        let look = |rank| Look {
            rank,
            up: share.down.node(node.rank).is_none(),
            free_cores: share.free.node(node.rank).map_or(0, |n| n.cores.len()),
            free_gpus: share.free.node(node.rank).map_or(0, |n| n.gpus.len()),
            sockets: sockets(info, node),
        };
        let own = each.then_some(node.rank);
        // Groups stand in the order of their first node.
        let at = *first.entry(look(own)).or_insert(node.rank);
        looks.entry((at, look(own))).or_default().push(node);
    }
    for (at, ((_, look), nodes)) in looks.iter().enumerate() {
        let (branch, below) = script.branch(at + 1 == looks.len());
        let hosts: Hostlist = nodes.iter().map(|node| node.host.clone()).collect();
        let node = nodes[0];
        let mut line = format!("{branch}{hosts}: {}, {} free", cores(node.cores.len()), look.free_cores);
        if !node.gpus.is_empty() {
            line.push_str(&format!("; {}, {} free", gpus(node.gpus.len()), look.free_gpus));
        }
        if !look.up {
            line.push_str("; down");
        }
        text.push_str(&line);
        text.push('\n');
        for (number, socket) in look.sockets.iter().enumerate() {
            let (branch, _) = script.branch(number + 1 == look.sockets.len());
            text.push_str(&format!("{below}{branch}socket {number}: {}", part("core", &socket.cores)));
            if !socket.gpus.is_empty() {
                text.push_str(&format!(", {}", part("gpu", &socket.gpus)));
            }
            text.push('\n');
        }
    }
    text
}

/// The sockets of a node with what of them is the instance's.
fn sockets(info: &StatusInfo, node: &RNode) -> Vec<Socket> {
    let known = info.all.topology.get(&node.rank).map_or(&[][..], |topology| &topology.sockets);
    let ours = known.iter().map(|socket| Socket {
        cores: socket.cores.intersection(&node.cores),
        gpus: socket.gpus.intersection(&node.gpus),
        memory_gib: socket.memory_gib,
    });
    ours.collect()
}

fn part(kind: &str, ids: &Idset) -> String {
    let plural = if ids.len() == 1 { "" } else { "s" };
    if ids.is_empty() { format!("no {kind}s") } else { format!("{kind}{plural} {ids}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flurm_types::{R, Timestamp, Topology};

    #[test]
    fn equal_nodes_are_drawn_once_and_others_apart() {
        let set = |text: &str| text.parse::<Idset>().expect("an idset");
        let node = |rank, cores: &str| RNode {
            rank,
            host: format!("n{rank}"),
            cores: set(cores),
            gpus: Idset::new(),
        };
        let mut all = R::from_nodes((0..3).map(|rank| node(rank, "0-3")));
        let socket = |cores: &str| Socket { cores: set(cores), ..Socket::default() };
        for rank in 0..3 {
            all.topology.insert(rank, Topology { sockets: [socket("0-1"), socket("2-3")].into() });
        }
        let info = StatusInfo {
            allocated: R::from_nodes([node(1, "0")]),
            up: set("0-2"),
            online: set("0-2"),
            drained: Vec::new(),
            expiration: Timestamp::ZERO,
            expiring: Vec::new(),
            all,
        };
        let expected = "\
3 nodes, 12 cores, 0 GPUs; free: 11 cores, 0 GPUs
|- n[0,2]: 4 cores, 4 free
|  |- socket 0: cores 0-1
|  `- socket 1: cores 2-3
`- n1: 4 cores, 3 free
   |- socket 0: cores 0-1
   `- socket 1: cores 2-3
";
        assert_eq!(draw(&info, false, Script { ascii: true }), expected);
        assert_eq!(draw(&info, true, Script { ascii: true }).lines().count(), 10);
    }
}
